//! The working folder of a run in the hands of its owner: here, or to be restored, or lost.
//!
//! Where one machine is all there is, it is always here. Otherwise the run's facts say where what its ended steps have
//! left is: at a place, or stored when the run was parked.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::sync::OnceCell;

use super::World;
use crate::{
    engine::WorkspaceState,
    model::{Failure, RunId, Snapshot},
    ports::SnapshotError,
    runbook::Phase,
};

/// How often storing is tried, and the pause between.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_secs(1);

/// How long what was stored and is not needed any more may hold up an owner.
const FORGETTING: Duration = Duration::from_secs(10);

/// Cheap to clone; attempts share it.
#[derive(Clone)]
pub(super) struct RunFolder {
    inner: Arc<Inner>,
}

struct Inner {
    run: RunId,
    begins: Begins,
    /// What had to be done before the first use is done.
    is_ready: OnceCell<()>,
    /// The same, for handlers of a run whose folder is lost.
    is_fresh: OnceCell<()>,
    is_used: AtomicBool,
}

/// Where the folder is as the session begins.
enum Begins {
    /// As it is here; the only case where one machine is all there is.
    Here,
    /// Whatever is here is of an attempt that does not count.
    Empty,
    Stored(Snapshot),
    Elsewhere,
}

impl RunFolder {
    /// Of a run that is being created.
    pub(super) fn new(run: RunId) -> RunFolder {
        RunFolder::beginning(run, Begins::Here)
    }

    /// Of a run that is taken up.
    pub(super) async fn of(world: &World, run: RunId, state: &WorkspaceState) -> RunFolder {
        let Some(snapshots) = &world.snapshots else { return RunFolder::new(run) };
        let begins = match state {
            WorkspaceState::Unused => Begins::Empty,
            WorkspaceState::Stored(snapshot) => Begins::Stored(snapshot.clone()),
            WorkspaceState::At(place) if place == snapshots.place() && snapshots.is_here(run).await => Begins::Here,
            WorkspaceState::At(_) => Begins::Elsewhere,
        };
        RunFolder::beginning(run, begins)
    }

    fn beginning(run: RunId, begins: Begins) -> RunFolder {
        let (is_ready, is_fresh, is_used) = <(OnceCell<()>, OnceCell<()>, AtomicBool)>::default();
        RunFolder { inner: Arc::new(Inner { run, begins, is_ready, is_fresh, is_used }) }
    }

    /// Whether an attempt of this session has been given it.
    pub(super) fn is_used(&self) -> bool {
        self.inner.is_used.load(Ordering::Relaxed)
    }

    /// The folder for a step. One that is lost fails steps of the body; handlers begin with an empty one.
    pub(super) async fn open(&self, world: &World, phase: Phase) -> Result<PathBuf, Failure> {
        match self.prepare(world).await {
            Err(failure) if failure.code != "WORKSPACE_LOST" || phase == Phase::Body => return Err(failure),
            Err(_) => self.empty(world, &self.inner.is_fresh).await,
            Ok(()) => {}
        }
        let opened = world.workspaces.open(self.inner.run).map_err(|error| {
            Failure::error("WORKSPACE_FAILED", format!("the working folder could not be made: {error}"))
        });
        self.inner.is_used.store(opened.is_ok(), Ordering::Relaxed);
        opened
    }

    async fn prepare(&self, world: &World) -> Result<(), Failure> {
        let Inner { run, begins, is_ready, .. } = &*self.inner;
        match (begins, &world.snapshots) {
            (Begins::Here, _) | (_, None) => Ok(()),
            (Begins::Empty, _) => {
                self.empty(world, is_ready).await;
                Ok(())
            }
            (Begins::Stored(snapshot), Some(snapshots)) => {
                let restored = is_ready.get_or_try_init(|| snapshots.restore(*run, snapshot)).await;
                restored.map(drop).map_err(|error| failure(&error))
            }
            (Begins::Elsewhere, _) => Err(Failure::permanent(
                "WORKSPACE_LOST",
                "the working folder with what earlier steps left is on another machine, which did not store it; start \
                 a new run, and give steps that need no such files `workspace: none`",
            )),
        }
    }

    async fn empty(&self, world: &World, once: &OnceCell<()>) {
        let emptied = async {
            if let Some(snapshots) = &world.snapshots {
                snapshots.leave(self.inner.run).await;
            }
        };
        once.get_or_init(|| emptied).await;
    }
}

fn failure(error: &SnapshotError) -> Failure {
    let message = format!("the working folder could not be restored: {error}");
    if error.is_passing() { Failure::error(error.code(), message) } else { Failure::permanent(error.code(), message) }
}

/// Stores the folder of a run that is about to be given up.
pub(super) async fn store(world: World, run: RunId) -> Result<Option<Snapshot>, Failure> {
    let Some(snapshots) = &world.snapshots else { return Ok(None) };
    let mut tries = 1;
    loop {
        match snapshots.store(run).await {
            Err(error) if error.is_passing() && tries < TRIES => {
                tracing::warn!(%run, %error, "a working folder could not be stored; trying again");
                tries += 1;
                tokio::time::sleep(PAUSE).await;
            }
            stored => return stored.map_err(|error| Failure::permanent(error.code(), error.to_string())),
        }
    }
}

/// The run is given up: where its folder is stored, it is not needed here.
pub(super) async fn parked(world: &World, run: RunId, state: &WorkspaceState) {
    if let (Some(snapshots), WorkspaceState::Stored(snapshot)) = (&world.snapshots, state) {
        snapshots.leave(run).await;
        forget(world, run, Some(snapshot)).await;
    }
}

/// Deletes what was stored of the run, but for one.
pub(super) async fn forget(world: &World, run: RunId, but: Option<&Snapshot>) {
    let Some(snapshots) = &world.snapshots else { return };
    let forgotten = tokio::time::timeout(FORGETTING, snapshots.forget(run, but)).await;
    let why = match forgotten {
        Ok(Ok(())) => return,
        Ok(Err(error)) => error.to_string(),
        Err(_) => "the artifact store does not answer in time".to_owned(),
    };
    tracing::warn!(%run, why, "old snapshots of a working folder could not be deleted; they go with the run");
}
