//! Takes back what dead workers left, wakes what is due, and passes on signals that nobody announced.

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use super::World;
use crate::{
    model::{Lane, RunId, WorkerId},
    ports::{Liveness, Queue, StoreError},
};

/// Rows touched in one transaction.
const SLICE: usize = 500;

/// How often signals are looked for.
const TURN: Duration = Duration::from_millis(250);

/// A sign of life every so many turns: 3 s.
const BEAT: u32 = 12;

/// The sweeps of one process. Every sweep is guarded by the store, so any number of processes may sweep.
#[derive(Clone)]
pub struct Reaper {
    world: World,
    liveness: Arc<dyn Liveness>,
    worker: WorkerId,
}

impl std::fmt::Debug for Reaper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reaper").field("worker", &self.worker).finish_non_exhaustive()
    }
}

impl Reaper {
    pub fn new(world: World, liveness: Arc<dyn Liveness>, worker: WorkerId) -> Reaper {
        Reaper { world, liveness, worker }
    }

    /// Sweeps until `stop` fires: dead workers and due runs every 500 ms, signals every 250 ms, and a sign
    /// of life every 3 s.
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
            if let Err(error) = self.turn(turn, sweeps).await {
                tracing::warn!(%error, "a sweep failed; the next one tries again");
            }
            turn = turn.wrapping_add(1);
        }
    }

    async fn turn(&self, turn: u32, sweeps: bool) -> Result<(), StoreError> {
        if sweeps && turn.is_multiple_of(2) {
            self.sweep().await?;
        }
        if turn % BEAT == BEAT - 1 {
            self.world.store.beat(self.worker, self.world.clock.now()).await?;
        }
        self.pass_on_signals().await
    }

    /// Requeues the runs of dead workers and wakes due ones; answers how many runs moved.
    pub async fn sweep(&self) -> Result<usize, StoreError> {
        let World { store, clock, queue, .. } = &self.world;
        let mut moved = 0;
        let owners = store.owners().await?;
        let dead = self.liveness.dead(&owners);
        if !dead.is_empty() {
            loop {
                let runs = store.requeue(&dead, clock.now(), SLICE).await?;
                ring(&**queue, &runs);
                moved += runs.len();
                if runs.len() < SLICE {
                    break;
                }
            }
            store.forget_workers(&dead).await?;
        }
        loop {
            let runs = store.wake_due(clock.now(), SLICE).await?;
            ring(&**queue, &runs);
            moved += runs.len();
            if runs.len() < SLICE {
                return Ok(moved);
            }
        }
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
