//! What goes on beside the lanes and the server, one line a loop.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::{mpsc, watch},
    time::{Interval, MissedTickBehavior},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    cli::instance::{Files, Instance},
    control::{Archiver, Owned, Reaper, RunbookSync, Runbooks, Sweeper, World, put_shipped},
    http::metrics::Metrics,
    model::{Micros, Millis, TenantId},
    ports::{Clock, IdempotencyStore, StoreError},
    system::{FolderWorkspaces, NotifiedFolder},
    worker::Ended,
};

/// Where runbooks are, if nobody says.
const RUNBOOKS: &str = "runbooks";

/// How often figures are folded.
const FOLD: Duration = Duration::from_secs(5);

/// How often old answers of keyed requests are removed, how long they are kept, and how many go at once.
const PRUNE: Duration = Duration::from_mins(10);
const KEPT: Millis = Millis::seconds(24 * 3_600);
const PRUNED: usize = 1_000;

/// How often old files are looked for.
const TIDY: Duration = Duration::from_hours(1);

/// The folder of runbooks to follow, if there is one.
pub fn runbook_folder(given: Option<&Path>) -> Option<PathBuf> {
    given.map(Path::to_owned).or_else(|| Path::new(RUNBOOKS).is_dir().then(|| RUNBOOKS.into()))
}

/// Starts what every process does for itself; ends when `stop` fires.
pub fn local(tasks: &TaskTracker, stop: &CancellationToken, instance: &Instance, metrics: Option<&Metrics>) {
    if let Some(metrics) = metrics {
        tasks.spawn(fold(metrics.clone(), stop.clone()));
    }
    tasks.spawn(tidy(instance.folder.clone(), instance.files.clone(), stop.clone()));
}

/// Starts what has to be done for all processes, by one of them or by several at once; ends when `stop` fires.
pub fn schedule(tasks: &TaskTracker, stop: &CancellationToken, instance: &Instance, reaper: Reaper) {
    tasks.spawn(reaper.run(stop.clone()));
    tasks.spawn(archiver(instance).run(stop.clone()));
    tasks.spawn(sweeper(instance).run(stop.clone()));
    tasks.spawn(prune(instance.rows(), instance.world.clock.clone(), stop.clone()));
}

/// Follows the folder of runbooks, or stores the shipped ones. What is answered becomes true once all of them were
/// looked at.
pub fn follow(
    tasks: &TaskTracker,
    stop: CancellationToken,
    runbooks: Runbooks,
    folder: Option<&Path>,
) -> watch::Receiver<bool> {
    let (looked, known) = watch::channel(false);
    let folder = folder.map(|folder| Arc::new(NotifiedFolder::new(folder)));
    tasks.spawn(async move {
        let Some(folder) = folder else {
            shipped(runbooks).await;
            looked.send_replace(true);
            return;
        };
        let mut sync = RunbookSync::new(runbooks, folder, TenantId::DEFAULT);
        sync.pass().await;
        looked.send_replace(true);
        sync.run(stop).await;
    });
    known
}

/// Counts how runs end in this process, as long as there is a lane.
pub fn count_ends(tasks: &TaskTracker) -> mpsc::UnboundedSender<Arc<Ended>> {
    let (sender, mut ended) = mpsc::unbounded_channel::<Arc<Ended>>();
    tasks.spawn(async move {
        while let Some(ended) = ended.recv().await {
            if let (_, Ok(Owned::Ended(status))) = &*ended {
                metrics::counter!("opsroom_runs_ended_total", "status" => status.as_str()).increment(1);
            }
        }
    });
    sender
}

fn archiver(instance: &Instance) -> Archiver {
    let World { spool, clock, .. } = instance.world.clone();
    let history = instance.world.history(TenantId::DEFAULT);
    Archiver::new(instance.rows(), instance.artifacts(), spool, clock, history)
}

fn sweeper(instance: &Instance) -> Sweeper {
    let World { spool, clock, .. } = instance.world.clone();
    let segments = instance.world.segments.clone();
    Sweeper::new(instance.retention, instance.rows(), instance.artifacts(), spool, clock)
        .with_segments(segments)
        .with_bundles(instance.rows(), instance.world.bundles.clone())
}

async fn shipped(runbooks: Runbooks) {
    if let Err(error) = put_shipped(&runbooks, TenantId::DEFAULT).await {
        tracing::warn!(%error, "the shipped runbooks could not be stored");
    }
}

async fn fold(metrics: Metrics, stop: CancellationToken) {
    let mut ticks = ticks(FOLD);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        metrics.fold();
    }
}

async fn prune(answers: Arc<dyn IdempotencyStore>, clock: Arc<dyn Clock>, stop: CancellationToken) {
    let mut ticks = ticks(PRUNE);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        if let Err(error) = prune_all(&*answers, clock.now().before(KEPT)).await {
            tracing::warn!(%error, "old answers could not be removed; the next time tries again");
        }
    }
}

/// Removes working folders of failed runs, and files that dead processes left unfinished, a day after.
async fn tidy(data: PathBuf, files: Files, stop: CancellationToken) {
    let mut ticks = ticks(TIDY);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        let (data, files) = (data.clone(), files.clone());
        let tidied = tokio::task::spawn_blocking(move || {
            FolderWorkspaces::new(&data).tidy()?;
            files.tidy()
        });
        if let Ok(Err(error)) = tidied.await {
            tracing::warn!(%error, "old files could not be removed; the next time tries again");
        }
    }
}

async fn prune_all(answers: &dyn IdempotencyStore, before: Micros) -> Result<(), StoreError> {
    while answers.prune_idempotent_answers(before, PRUNED).await? == PRUNED {}
    Ok(())
}

fn ticks(period: Duration) -> Interval {
    let mut ticks = tokio::time::interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
