//! Takes back what dead workers left, and wakes what is due.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures::FutureExt;
use tokio_util::sync::CancellationToken;

use super::World;
use crate::{
    engine::WAKE_EARLY,
    model::{Lane, RunId},
    ports::{Liveness, Queue, StoreError},
};

/// Rows touched in one transaction.
const SLICE: usize = 500;

/// How often to sweep.
const TURN: Duration = Duration::from_millis(WAKE_EARLY.0);

/// The sweeps of one process. Every sweep is guarded by the store, so any number of processes may sweep.
#[derive(Clone)]
pub struct Reaper {
    world: World,
    liveness: Arc<dyn Liveness>,
}

impl std::fmt::Debug for Reaper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reaper").finish_non_exhaustive()
    }
}

impl Reaper {
    pub fn new(world: World, liveness: Arc<dyn Liveness>) -> Reaper {
        Reaper { world, liveness }
    }

    /// Sweeps every 500 ms until `stop` fires. Each part has its turns, whatever becomes of the other: where very many
    /// runs are due at once, those of dead workers do not wait until they are woken.
    pub async fn run(self, stop: CancellationToken) {
        tokio::join!(turns(&stop, || self.bury_dead()), turns(&stop, || self.wake_due()));
    }

    /// Requeues the runs of dead workers and wakes due ones; answers how many runs moved.
    pub async fn sweep(&self) -> Result<usize, StoreError> {
        Ok(self.bury_dead().await? + self.wake_due().await?)
    }

    async fn bury_dead(&self) -> Result<usize, StoreError> {
        let World { store, clock, queue, .. } = &self.world;
        let dead = self.liveness.dead().await?;
        if dead.is_empty() {
            return Ok(0);
        }
        let mut moved = 0;
        loop {
            let runs = store.requeue(&dead, clock.now(), SLICE).await?;
            ring(&**queue, &runs);
            moved += runs.len();
            if runs.len() < SLICE {
                break;
            }
        }
        tracing::info!(workers = dead.len(), runs = moved, "the runs of dead workers were taken back");
        store.forget_workers(&dead).await?;
        self.liveness.forget(&dead);
        Ok(moved)
    }

    async fn wake_due(&self) -> Result<usize, StoreError> {
        let World { store, clock, queue, .. } = &self.world;
        // What falls due before the next turn: its owner should be there by then.
        let due = clock.now().plus(WAKE_EARLY);
        let mut moved = 0;
        loop {
            let runs = store.wake_due(due, SLICE).await?;
            ring(&**queue, &runs);
            moved += runs.len();
            if runs.len() < SLICE {
                return Ok(moved);
            }
        }
    }
}

async fn turns<T: Future<Output = Result<usize, StoreError>>>(stop: &CancellationToken, part: impl Fn() -> T) {
    let mut every = tokio::time::interval(TURN);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while stop.run_until_cancelled(every.tick()).await.is_some() {
        guarded(part()).await;
    }
}

/// A part of a sweep. The process lives on its sweeps: neither an error nor a fault in one of them may end them.
pub(super) async fn guarded<T>(part: impl Future<Output = Result<T, StoreError>>) {
    match AssertUnwindSafe(part).catch_unwind().await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => tracing::warn!(%error, "a sweep failed; the next one tries again"),
        Err(_) => tracing::error!("a sweep panicked; this is a fault of opsroom"),
    }
}

pub(super) fn ring(queue: &dyn Queue, runs: &[(RunId, Lane)]) {
    for (_, lane) in runs {
        queue.ring(*lane);
    }
}
