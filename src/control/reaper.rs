//! Takes back what dead workers left and what nobody drives, wakes what is due, and passes on signals that nobody
//! announced.

use std::{
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::FutureExt;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{World, strays::Strays};
use crate::{
    model::{Lane, RunId, WorkerId},
    ports::{Liveness, Queue, StoreError},
};

/// Rows touched in one transaction.
const SLICE: usize = 500;

/// How often signals are looked for.
const TURN: Duration = Duration::from_millis(250);

/// Dead workers and due runs every so many turns: 500 ms.
const SWEEP: u32 = 2;

/// A sign of life every so many turns: 3 s.
const BEAT: u32 = 12;

/// Runs that nobody drives every so many turns: 5 s.
const STRAYS: u32 = 20;

/// A run that was given back as often as this in a row is an error, each time.
const FAILING: u32 = 5;

/// The sweeps of one process. Every sweep is guarded by the store, so any number of processes may sweep.
#[derive(Clone)]
pub struct Reaper {
    world: World,
    liveness: Arc<dyn Liveness>,
    worker: WorkerId,
    strays: Arc<Mutex<Strays>>,
}

impl std::fmt::Debug for Reaper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reaper").field("worker", &self.worker).finish_non_exhaustive()
    }
}

impl Reaper {
    pub fn new(world: World, liveness: Arc<dyn Liveness>, worker: WorkerId) -> Reaper {
        Reaper { world, liveness, worker, strays: Arc::default() }
    }

    /// Sweeps until `stop` fires: dead workers and due runs every 500 ms, signals every 250 ms, a sign of life every
    /// 3 s, and runs of this worker that nobody drives every 5 s.
    pub async fn run(self, stop: CancellationToken) {
        self.every_turn(stop, true).await;
    }

    /// Runs only the part that owners need: signals from other processes, and signs of life.
    pub async fn run_signals(self, stop: CancellationToken) {
        self.every_turn(stop, false).await;
    }

    async fn every_turn(self, stop: CancellationToken, sweeps: bool) {
        let mut every = tokio::time::interval(TURN);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut turn = 0_u32;
        while stop.run_until_cancelled(every.tick()).await.is_some() {
            // The process lives on these sweeps: a fault in one of them must not end them.
            if AssertUnwindSafe(self.turn(turn, sweeps)).catch_unwind().await.is_err() {
                tracing::error!("a sweep panicked; this is a fault of opsroom");
            }
            turn = turn.wrapping_add(1);
        }
    }

    /// What is due this turn. Each part is tried, whatever became of the others.
    async fn turn(&self, turn: u32, sweeps: bool) {
        if sweeps && turn.is_multiple_of(SWEEP) {
            self.note(self.sweep().await.map(drop));
        }
        if turn % BEAT == BEAT - 1 {
            self.note(self.world.store.beat(self.worker, self.world.clock.now()).await);
        }
        if sweeps && turn % STRAYS == STRAYS - 1 {
            self.note(self.give_back_strays().await);
        }
        self.note(self.pass_on_signals().await);
    }

    fn note(&self, result: Result<(), StoreError>) {
        if let Err(error) = result {
            tracing::warn!(worker = %self.worker, %error, "a sweep failed; the next one tries again");
        }
    }

    /// Requeues the runs of dead workers and wakes due ones; answers how many runs moved.
    pub async fn sweep(&self) -> Result<usize, StoreError> {
        Ok(self.bury_dead().await? + self.wake_due().await?)
    }

    async fn bury_dead(&self) -> Result<usize, StoreError> {
        let World { store, clock, queue, .. } = &self.world;
        let dead = self.liveness.dead(&store.owners().await?);
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
        let mut moved = 0;
        loop {
            let runs = store.wake_due(clock.now(), SLICE).await?;
            ring(&**queue, &runs);
            moved += runs.len();
            if runs.len() < SLICE {
                return Ok(moved);
            }
        }
    }

    /// Gives back what this worker owns in the store and what no owner in this process has driven for a while.
    async fn give_back_strays(&self) -> Result<(), StoreError> {
        let World { store, queue, signals, .. } = &self.world;
        let owned = store.owned(self.worker).await?;
        let due = self.strays().due(&owned, |run| signals.is_listening(run), Instant::now());
        if due.is_empty() {
            return Ok(());
        }
        let given = store.give_back(self.worker, &due).await?;
        for (run, _) in &given {
            let times = self.strays().given_back(*run, Instant::now());
            if times < FAILING {
                tracing::warn!(%run, times, "nobody drove the run; it was given back");
            } else {
                tracing::error!(%run, times, "the run cannot be carried on: it was given back again and again");
            }
        }
        ring(&**queue, &given);
        Ok(())
    }

    fn strays(&self) -> std::sync::MutexGuard<'_, Strays> {
        self.strays.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn pass_on_signals(&self) -> Result<(), StoreError> {
        if self.world.signals.is_idle() {
            return Ok(());
        }
        for run in self.world.store.signalled(self.worker).await? {
            self.world.signals.ring(run);
        }
        Ok(())
    }
}

fn ring(queue: &dyn Queue, runs: &[(RunId, Lane)]) {
    for (_, lane) in runs {
        queue.ring(*lane);
    }
}
