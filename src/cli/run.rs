//! `opsroom run FILE`: executes one runbook in this process, and only that.

use std::{path::PathBuf, sync::Arc, time::Duration};

use futures::FutureExt;
use tokio::sync::mpsc;

use super::{
    Context, block_on,
    document::RunDocument,
    embedded::{Embedded, EmbeddedWorker},
    fault::{Fault, exit, io_fault},
    interrupt::Interrupts,
    leftovers,
    live::{View, Watch},
    loading::{self, Loaded, ParamOptions},
    named, summary,
};
use crate::{
    control::{Owned, RunView, Submission, Wishes},
    model::{Event, RunId, RunStatus, TenantId},
    ports::{Artifacts, Subscription, Trigger},
};

/// Between two frames of the live view.
const FRAME: Duration = Duration::from_millis(100);

/// Run a runbook here and now, without a server
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  opsroom run runbooks/disk-usage.yaml
  opsroom run disk-usage
  opsroom run deploy.yaml -p env=prod -p 'hosts=[\"a\",\"b\"]'
  opsroom run deploy.yaml --params-file prod.yaml --output json

Exit codes: 0 succeeded, 1 failed or timed out, 2 refused (runbook, params, usage),
3 a fault of opsroom or of the machine, 130 cancelled by a signal.
Ctrl-C cancels: on_cancel and finally are run. The second cancels those too, the third ends opsroom itself.")]
pub struct Options {
    /// A runbook file, `-` for standard input, or the name of a runbook (deploy, deploy@3)
    #[arg(value_name = "FILE|NAME")]
    file: PathBuf,
    #[command(flatten)]
    params: ParamOptions,
    /// Show nothing while it runs; only errors
    #[arg(short, long)]
    quiet: bool,
}

pub fn execute(context: &Context, options: &Options) -> Result<u8, Fault> {
    let loaded = named::load(context, &options.file)?;
    let params = loading::bind(&loaded.plan, &options.params)?;
    let Loaded { plan, source, bundle, version } = loaded;
    let trigger = Trigger { kind: "manual".to_owned(), actor: context.config.actor.clone() };
    let submission = Submission { plan, source, params, trigger, wishes: Wishes { version, ..Wishes::default() } };
    block_on(async {
        let interrupts = Interrupts::listen()?;
        let embedded = Embedded::open(&context.config).await?;
        leftovers::mention(context, &embedded).await?;
        if !bundle.is_empty() {
            embedded.world.bundles.put(&bundle).await?;
        }
        let worker = embedded.start_worker(&context.config).await?;
        let ended = drive(context, options, &embedded, &worker, submission, interrupts).await;
        worker.shutdown().await;
        embedded.close().await;
        ended
    })
}

async fn drive(
    context: &Context,
    options: &Options,
    embedded: &Embedded,
    worker: &EmbeddedWorker,
    submission: Submission,
    interrupts: Interrupts,
) -> Result<u8, Fault> {
    let plan = submission.plan.clone();
    let run = embedded.runs.submit(&[submission], Some(worker.id)).await?.remove(0);
    let attending = interrupts.cancel(embedded.runs.clone(), run, context.config.actor.clone(), context.out.clone());
    worker.listen_for_signals();
    let view = View::choose(&context.out, options.quiet);
    let watch = Watch::new(plan, run, matches!(view, View::Lines(_)));
    let mut show = Show { embedded, watch, view, run };
    let owned = own(worker, run, &mut show).await?;
    let view = embedded.runs.view(run).await?;
    let code = code(owned, &view, attending.was_interrupted())?;
    report(context, options, embedded, &view, &show.watch).await;
    Ok(code)
}

/// Executes the run while it is shown.
async fn own(worker: &EmbeddedWorker, run: RunId, show: &mut Show<'_>) -> Result<Owned, Fault> {
    let world = &show.embedded.world;
    let row = world.store.run(run).await?.ok_or_else(|| Fault::internal("INTERNAL", format!("run {run} is gone")))?;
    let mut events = world.feed.subscribe(run);
    let (sender, mut ended) = mpsc::unbounded_channel();
    let mut execution = std::pin::pin!(worker.lanes().report_to(sender).execute(vec![row], 1));
    let mut frames = tokio::time::interval(FRAME);
    loop {
        tokio::select! {
            done = &mut execution => {
                done.map_err(|error| io_fault("INTERNAL", "the lane", &error))?;
                break;
            }
            Some(event) = events.next() => show.event(&event).await?,
            _ = frames.tick() => show.tick(),
        }
    }
    show.rest(&mut *events).await?;
    let ended = ended.recv().await.and_then(Arc::into_inner);
    match ended {
        Some((_, Ok(owned))) => Ok(owned),
        Some((_, Err(error))) => {
            let help = format!("`opsroom recover` goes on with run {run} where it stopped");
            let fault = Fault::from(error);
            let help = fault.help.as_ref().map_or_else(|| help.clone(), |first| format!("{first}; {help}"));
            Err(fault.help(help).detail("run", serde_json::json!(run)))
        }
        None => Err(Fault::internal("INTERNAL", format!("the owner of run {run} ended unexpectedly"))
            .help("this is a fault of opsroom; `opsroom recover` goes on with the run")),
    }
}

/// What is shown of the run while it happens.
struct Show<'a> {
    embedded: &'a Embedded,
    watch: Watch,
    view: View,
    run: RunId,
}

impl Show<'_> {
    async fn event(&mut self, event: &Event) -> Result<(), Fault> {
        if event.prev > self.watch.last {
            // The feed dropped what we were too slow for; store and spool have it.
            self.catch_up(event.sequence).await?;
        }
        self.take(event);
        Ok(())
    }

    async fn catch_up(&mut self, until: u64) -> Result<(), Fault> {
        let world = &self.embedded.world;
        let mut history = world.history(TenantId::DEFAULT).reader(self.run, self.watch.last);
        while let Some(event) = history.next().await? {
            if event.sequence >= until {
                break;
            }
            self.take(&event);
        }
        Ok(())
    }

    fn take(&mut self, event: &Event) {
        if let Some(news) = self.watch.take(event) {
            self.view.show(&self.watch, &news);
        }
    }

    fn tick(&mut self) {
        self.view.tick(&self.watch, self.embedded.world.clock.now());
    }

    /// What was published before the end.
    async fn rest(&mut self, events: &mut dyn Subscription) -> Result<(), Fault> {
        while let Some(Some(event)) = events.next().now_or_never() {
            self.event(&event).await?;
        }
        self.view.finish(&self.watch, self.embedded.world.clock.now());
        Ok(())
    }
}

async fn report(context: &Context, options: &Options, embedded: &Embedded, view: &RunView, watch: &Watch) {
    let artifacts = embedded.artifacts.list(&view.row.id.to_string()).await.unwrap_or_default();
    let now = embedded.world.clock.now();
    if context.out.is_json() {
        context.out.json(&RunDocument::whole(view, artifacts, now));
        return;
    }
    let folder = context.config.data.artifacts();
    for line in summary::of_run(view, watch, &artifacts, &folder, now) {
        if !options.quiet {
            context.out.line(line);
        } else if view.row.status != RunStatus::Succeeded {
            context.out.message(line);
        }
    }
}

fn code(owned: Owned, view: &RunView, interrupted: bool) -> Result<u8, Fault> {
    let run = view.row.id;
    match owned {
        Owned::Ended(RunStatus::Succeeded) => Ok(exit::SUCCESS),
        Owned::Ended(RunStatus::Cancelled) if interrupted => Ok(exit::INTERRUPTED),
        Owned::Ended(_) => Ok(exit::FAILED),
        // The summary has said how to resolve it.
        Owned::Parked(_) => Ok(exit::FAULT),
        Owned::Fenced => Err(Fault::internal("RUN_TAKEN_OVER", format!("another process has taken run {run} over"))
            .help(format!("`opsroom show {run}` tells how it goes on"))),
    }
}
