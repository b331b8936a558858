//! A run that this process executes, and only that.

use std::{collections::BTreeMap, sync::Arc};

use futures::FutureExt;
use tokio::sync::mpsc;

use super::{
    Options, code, report,
    show::{FRAME, Show},
};
use crate::{
    cli::{
        Context, block_on,
        document::Whole,
        fault::{Fault, exit, io_fault},
        instance::{Instance, InstanceWorker},
        interrupt::Interrupts,
        leftovers,
        loading::{self, Loaded},
        named,
        place::Answering,
        sessions::labels,
    },
    control::{Owned, Submission, Wishes},
    model::{Event, RunId, SessionId, TenantId},
    ports::{Subscription, Trigger},
    worker::LaneConfig,
};

pub fn run(context: &Context, options: &Options) -> Result<u8, Fault> {
    let loaded = named::load(context, &options.file)?;
    let params = loading::bind(&loaded.plan, &options.params)?;
    let Loaded { plan, source, bundle, version } = loaded;
    let wishes = Wishes {
        version,
        session: options.session.map(SessionId),
        lane: options.lane,
        priority: options.priority,
        labels: labels(&options.label)?,
    };
    let trigger = Trigger { kind: "manual".to_owned(), actor: context.config.actor.clone() };
    let submission = Submission { plan, source, params, trigger, wishes };
    block_on(async {
        let interrupts = Interrupts::listen()?;
        let instance = Instance::open(&context.config).await?;
        leftovers::mention(context, &instance).await?;
        if instance.is_fleet() && !options.quiet {
            context.out.message(format!(
                "this command executes the run; the workers of {} do where a server is named (--server)",
                instance.ledger.place()
            ));
        }
        if !bundle.is_empty() {
            instance.world.bundles.put(&bundle).await?;
        }
        let worker = instance.start_worker(&context.config, &LaneConfig::default(), BTreeMap::new()).await?;
        let ended = drive(context, options, &instance, &worker, submission, interrupts).await;
        worker.shutdown().await;
        instance.close().await;
        ended
    })
}

async fn drive(
    context: &Context,
    options: &Options,
    instance: &Instance,
    worker: &InstanceWorker,
    submission: Submission,
    interrupts: Interrupts,
) -> Result<u8, Fault> {
    let plan = submission.plan.clone();
    let run = instance.runs.submit(&[submission], Some(worker.id)).await?.remove(0);
    let (runs, actor) = (instance.runs.clone(), context.config.actor.clone());
    let attending = interrupts.cancel(context.out.clone(), move |name, force| {
        let (runs, actor) = (runs.clone(), actor.clone());
        async move {
            // An ended run needs no cancel, and the store's own trouble ends the run anyway.
            if let Err(error) = runs.cancel(run, &actor, name, force).await {
                tracing::debug!(%run, %error, "the run could not be told");
            }
        }
    });
    worker.listen_for_signals();
    let mut shown = Shown { instance, show: Show::new(context, plan, run, options.quiet) };
    let owned = own(worker, run, &mut shown).await?;
    let (client, answering) = Answering::start(instance, &context.config.actor)?;
    let whole = Whole::read(&client, run).await;
    answering.end().await;
    let whole = whole?;
    let code = match owned {
        Owned::Ended(status) => code(status, attending.was_interrupted()),
        // The summary says how to resolve it.
        Owned::Parked(_) | Owned::HandedBack => exit::FAULT,
        Owned::Fenced => {
            return Err(Fault::internal("RUN_TAKEN_OVER", format!("another process has taken run {run} over"))
                .help(format!("`opsroom show {run}` tells how it goes on")));
        }
    };
    report(context, options, &whole, &shown.show.watch);
    Ok(code)
}

/// Executes the run while it is shown.
async fn own(worker: &InstanceWorker, run: RunId, shown: &mut Shown<'_>) -> Result<Owned, Fault> {
    let world = &shown.instance.world;
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
            Some(event) = events.next() => shown.event(&event).await?,
            _ = frames.tick() => shown.show.tick(),
        }
    }
    shown.rest(&mut *events).await?;
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

/// What is shown, and where what was missed is found.
struct Shown<'a> {
    instance: &'a Instance,
    show: Show,
}

impl Shown<'_> {
    async fn event(&mut self, event: &Event) -> Result<(), Fault> {
        if event.prev > self.show.watch.last {
            // The feed dropped what we were too slow for; store and spool have it.
            self.catch_up(event.sequence).await?;
        }
        self.show.take(event);
        Ok(())
    }

    async fn catch_up(&mut self, until: u64) -> Result<(), Fault> {
        let world = &self.instance.world;
        let mut history = world.history(TenantId::DEFAULT).reader(self.show.run, self.show.watch.last);
        while let Some(event) = history.next().await? {
            if event.sequence >= until {
                break;
            }
            self.show.take(&event);
        }
        Ok(())
    }

    /// What was published before the end.
    async fn rest(&mut self, events: &mut dyn Subscription) -> Result<(), Fault> {
        while let Some(Some(event)) = events.next().now_or_never() {
            self.event(&event).await?;
        }
        self.show.finish();
        Ok(())
    }
}
