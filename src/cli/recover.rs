//! `opsroom recover`: finishes what processes left behind when they died.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{
    Context, block_on,
    document::{human, printable},
    fault::{Fault, exit, io_fault},
    instance::{Instance, InstanceWorker},
    interrupt::Interrupts,
    out::Out,
};
use crate::{
    api,
    control::{Owned, Reaper, RunView},
    http::documents,
    model::{Lane, Millis, RunId, RunStatus, TenantId, WaitingOn, WorkerId},
    ports::{Liveness, RunFilter, StoreError},
    system::{Burials, FlockLiveness},
    worker::{Ended, LaneConfig},
};

/// How long the supervisor of a dead process may take to end its trees.
const BURIAL: Duration = Duration::from_secs(10);

/// Between two looks whether they are buried.
const GLANCE: Duration = Duration::from_millis(5);

/// Between two looks whether anything is left to do.
const LOOK: Duration = Duration::from_millis(100);

/// Runs under way at once, per lane.
const SLOTS: usize = 16;

const UNFINISHED: [RunStatus; 3] = [RunStatus::Queued, RunStatus::Claimed, RunStatus::Running];

/// Finish the runs that processes left behind when they died
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Kills what is left of the dead processes' steps, then goes on with their runs: steps that are idempotent run
again; a step that is not is held until `opsroom resolve` says what became of it.

Exit codes: 0 all ended well, 1 a run failed, 3 a run is held or could not be finished, 130 interrupted.")]
pub struct Options {
    /// Take no more runs up after this time (as in `90s`, `5m`); those under way are finished
    #[arg(long, value_name = "DURATION")]
    timeout: Option<Millis>,
}

/// What `--output json` prints.
#[derive(Debug, Serialize)]
struct Report {
    killed_processes: usize,
    runs: Vec<api::Run>,
    /// Each with `resolve`: commands that say what became of its steps.
    held: Vec<Value>,
    /// Runs that wait for a time that has not come: `opsroom up` goes on with them then.
    asleep: Vec<api::Run>,
    /// Runs that could not be carried on, with the reason.
    errors: Vec<Value>,
}

/// What has become of the runs of this recovery.
#[derive(Debug, Default)]
struct Outcome {
    ended: BTreeMap<RunId, RunStatus>,
    errors: BTreeMap<RunId, String>,
    interrupted: bool,
}

pub fn execute(context: &Context, options: &Options) -> Result<u8, Fault> {
    if context.config.database.is_some() {
        return Err(Fault::refused("USAGE", "`opsroom recover` is for a data folder; a database is named")
            .help("`opsroom scheduler` takes back what dead workers left, by itself"));
    }
    block_on(async {
        let interrupts = Interrupts::listen()?;
        let instance = Instance::open(&context.config).await?;
        let burials = Burials::new(context.config.data.workers(), []);
        let buried = bury(context, &burials, instance.dead_workers(&context.config).await?).await;
        let worker = instance.start_worker(&context.config, &serving(), BTreeMap::new()).await?;
        let outcome = finish(context, options, &instance, &worker, buried, interrupts).await;
        let killed = burials.killed();
        worker.shutdown().await;
        let code = report(context, &instance, outcome?, killed).await?;
        instance.close().await;
        Ok(code)
    })
}

fn serving() -> LaneConfig {
    LaneConfig { lanes: Lane::ALL.to_vec(), slots: SLOTS }
}

/// Makes sure that nothing of the dead workers' steps lives on; answers whose.
async fn bury(context: &Context, burials: &Burials, dead: Vec<WorkerId>) -> Vec<WorkerId> {
    let started = Instant::now();
    let mut buried = burials.dead(&dead);
    while buried.len() < dead.len() && started.elapsed() < BURIAL {
        tokio::time::sleep(GLANCE).await;
        buried = burials.dead(&dead);
    }
    for worker in dead.iter().filter(|worker| !buried.contains(worker)) {
        context.out.message(format!("steps of a dead process still end (worker {worker}); try again later"));
    }
    buried
}

/// Only they are dead: whoever dies from now on may have steps that still run.
struct Buried(Vec<WorkerId>);

#[async_trait]
impl Liveness for Buried {
    async fn dead(&self) -> Result<Vec<WorkerId>, StoreError> {
        Ok(self.0.clone())
    }
}

/// Takes the runs of the buried workers back, and serves all lanes until nothing is left to do.
async fn finish(
    context: &Context,
    options: &Options,
    instance: &Instance,
    worker: &InstanceWorker,
    buried: Vec<WorkerId>,
    mut interrupts: Interrupts,
) -> Result<Outcome, Fault> {
    let world = worker.owner.world().clone();
    Reaper::new(world, Arc::new(Buried(buried.clone()))).sweep().await?;
    let locks = FlockLiveness::new(context.config.data.workers(), [worker.id]);
    for dead in buried {
        // A file that stays says the same.
        let _ = locks.forget(dead);
    }
    worker.listen_for_signals();
    let (sender, mut ended) = mpsc::unbounded_channel();
    let stop = CancellationToken::new();
    let lanes = serving();
    let mut serving = std::pin::pin!(worker.lanes().report_to(sender).serve(&lanes, stop.clone()));
    let mut outcome = Outcome::default();
    let mut look = tokio::time::interval(LOOK);
    let mut time_is_up = std::pin::pin!(time_is_up(options.timeout));
    loop {
        tokio::select! {
            done = &mut serving => {
                done.map_err(|error| io_fault("INTERNAL", "the lanes", &error))?;
                break;
            }
            Some(report) = ended.recv() => outcome.note(context, instance, &report).await?,
            _ = look.tick(), if !stop.is_cancelled() => {
                if is_idle(instance, worker.id, &outcome).await? {
                    stop.cancel();
                }
            }
            () = &mut time_is_up, if !stop.is_cancelled() => stop.cancel(),
            _ = interrupts.next() => outcome.interrupt(&context.out, &stop),
        }
    }
    while let Ok(report) = ended.try_recv() {
        outcome.note(context, instance, &report).await?;
    }
    Ok(outcome)
}

async fn time_is_up(timeout: Option<Millis>) {
    match timeout {
        Some(timeout) => tokio::time::sleep(timeout.duration()).await,
        None => std::future::pending().await,
    }
}

/// Whether no run can be claimed and none is ours. One that we gave up stays ours until we are gone.
async fn is_idle(instance: &Instance, own: WorkerId, outcome: &Outcome) -> Result<bool, Fault> {
    let mut filter = RunFilter { status: UNFINISHED.to_vec(), limit: 500, ..RunFilter::default() };
    loop {
        let page = instance.world.store.runs(TenantId::DEFAULT, &filter).await?;
        let busy = |row: &crate::ports::RunRow| {
            row.claimable || (row.claimed_by == Some(own) && !outcome.errors.contains_key(&row.id))
        };
        if page.items.iter().any(busy) {
            return Ok(false);
        }
        match page.items.last() {
            Some(last) if page.more => filter.before = Some(last.id),
            _ => return Ok(true),
        }
    }
}

impl Outcome {
    async fn note(&mut self, context: &Context, instance: &Instance, ended: &Ended) -> Result<(), Fault> {
        let (run, owned) = ended;
        match owned {
            Ok(Owned::Ended(status)) => {
                self.ended.insert(*run, *status);
                if !context.out.is_json() {
                    let row = instance.runs.row(*run).await?;
                    context.out.line(line(&documents::run(&row, instance.world.clock.now())));
                }
            }
            // Told at the end, or another process's business now.
            Ok(Owned::Parked(_) | Owned::HandedBack | Owned::Fenced) => {}
            Err(error) => {
                context.out.message(format!("run {run} could not be carried on: {error}"));
                self.errors.insert(*run, error.to_string());
            }
        }
        Ok(())
    }

    fn interrupt(&mut self, out: &Out, stop: &CancellationToken) {
        if self.interrupted {
            std::process::exit(exit::INTERRUPTED.into());
        }
        self.interrupted = true;
        stop.cancel();
        out.message("no more runs are taken up; those under way are finished; once more ends opsroom at once");
    }
}

fn line(run: &api::Run) -> String {
    let taken = run.duration_ms.map(Duration::from_millis).map(|taken| format!(" in {}", human(taken)));
    let error = run.error.as_ref().map(|error| format!(": {}", printable(&error.to_string()))).unwrap_or_default();
    format!("{} {} {}{}{error}", run.id, run.runbook, run.status, taken.unwrap_or_default())
}

/// What a person can type to resolve the held steps of a run.
fn resolve_commands(view: &RunView) -> Vec<String> {
    let command = |ix| format!("opsroom resolve {} {} retry|succeeded|failed", view.row.id, view.plan.step(ix).id);
    view.run.held().map(command).collect()
}

/// Runs that wait for this.
async fn parked(instance: &Instance, waiting_on: WaitingOn) -> Result<Vec<RunView>, Fault> {
    let mut filter = RunFilter { status: vec![RunStatus::Queued], limit: 500, ..RunFilter::default() };
    let mut parked = Vec::new();
    loop {
        let page = instance.world.store.runs(TenantId::DEFAULT, &filter).await?;
        for row in page.items.iter().filter(|row| row.waiting_on == Some(waiting_on)) {
            parked.push(instance.runs.view(row.id).await?);
        }
        match page.items.last() {
            Some(last) if page.more => filter.before = Some(last.id),
            _ => return Ok(parked),
        }
    }
}

async fn report(context: &Context, instance: &Instance, outcome: Outcome, killed: usize) -> Result<u8, Fault> {
    let held = parked(instance, WaitingOn::StepOutcome).await?;
    let asleep = parked(instance, WaitingOn::Timer).await?;
    let now = instance.world.clock.now();
    if context.out.is_json() {
        let mut runs = Vec::new();
        for run in outcome.ended.keys() {
            runs.push(documents::run(&instance.runs.row(*run).await?, now));
        }
        let document = |view: &RunView| {
            let mut document = json!(documents::run(&view.row, now));
            document["resolve"] = json!(resolve_commands(view));
            document
        };
        context.out.json(&Report {
            killed_processes: killed,
            runs,
            held: held.iter().map(document).collect(),
            asleep: asleep.iter().map(|view| documents::run(&view.row, now)).collect(),
            errors: outcome.errors.iter().map(|(run, error)| json!({"run": run, "error": error})).collect(),
        });
    } else {
        text(&context.out, &outcome, (&held, &asleep), killed);
    }
    Ok(code(&outcome, &held))
}

fn text(out: &Out, outcome: &Outcome, (held, asleep): (&[RunView], &[RunView]), killed: usize) {
    if killed > 0 {
        out.line(format!("{killed} processes of dead workers were killed"));
    }
    if outcome.ended.is_empty() && outcome.errors.is_empty() && held.is_empty() && asleep.is_empty() {
        out.line("nothing was left behind");
    }
    for RunView { row, .. } in asleep {
        let until = row.wake_at.map(|at| format!(" until {at}")).unwrap_or_default();
        out.line(format!("{} {} waits{until}: `opsroom up` goes on with it then", row.id, row.runbook));
    }
    for view in held {
        out.line(format!("{} {} is held; say what became of the step:", view.row.id, view.row.runbook));
        for command in resolve_commands(view) {
            out.line(format!("  {command}"));
        }
    }
}

fn code(outcome: &Outcome, held: &[RunView]) -> u8 {
    if outcome.interrupted {
        exit::INTERRUPTED
    } else if !held.is_empty() || !outcome.errors.is_empty() {
        exit::FAULT
    } else if outcome.ended.values().any(|status| *status != RunStatus::Succeeded) {
        exit::FAILED
    } else {
        exit::SUCCESS
    }
}
