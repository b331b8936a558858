//! Attends to the runs of one worker: passes on signals that nobody announced, gives back what nobody drives, and
//! shows that the worker lives where no lease does.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    World,
    reaper::{guarded, ring},
    strays::Strays,
};
use crate::{model::WorkerId, ports::StoreError};

/// How often signals are looked for.
const TURN: Duration = Duration::from_millis(250);

/// A sign of life every so many turns: 3 s.
const BEAT: u32 = 12;

/// Runs that nobody drives every so many turns: 5 s.
const STRAYS: u32 = 20;

/// A run that was given back as often as this in a row is an error, each time.
const FAILING: u32 = 5;

/// The rounds of one worker.
#[derive(Clone)]
pub struct Attendant {
    world: World,
    worker: WorkerId,
    beats: bool,
    strays: Option<Arc<Mutex<Strays>>>,
}

impl std::fmt::Debug for Attendant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Attendant").field("worker", &self.worker).finish_non_exhaustive()
    }
}

impl Attendant {
    /// For a worker without a lease, which executes only what it is given: signals every 250 ms, a sign of life every
    /// 3 s.
    pub fn new(world: World, worker: WorkerId) -> Attendant {
        Attendant { world, worker, beats: true, strays: None }
    }

    /// For a worker that claims: every 5 s it also gives back what is its own and what nobody drives.
    #[must_use]
    pub fn giving_back(self) -> Attendant {
        Attendant { strays: Some(Arc::default()), ..self }
    }

    /// For a worker whose [`Fence`](super::Fence) beats.
    #[must_use]
    pub fn with_lease(self) -> Attendant {
        Attendant { beats: false, ..self }
    }

    /// Attends until `stop` fires.
    pub async fn run(self, stop: CancellationToken) {
        let mut every = tokio::time::interval(TURN);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut turn = 0_u32;
        while stop.run_until_cancelled(every.tick()).await.is_some() {
            if self.beats && turn % BEAT == BEAT - 1 {
                guarded(self.world.store.beat(self.worker, None)).await;
            }
            if turn % STRAYS == STRAYS - 1
                && let Some(strays) = &self.strays
            {
                guarded(self.give_back(strays)).await;
            }
            guarded(self.pass_on_signals()).await;
            turn = turn.wrapping_add(1);
        }
    }

    /// Gives back what this worker owns in the store and what no owner in this process has driven for a while.
    async fn give_back(&self, strays: &Mutex<Strays>) -> Result<(), StoreError> {
        let World { store, queue, signals, .. } = &self.world;
        let owned = store.owned(self.worker).await?;
        let due = locked(strays).due(&owned, |run| signals.is_listening(run), Instant::now());
        if due.is_empty() {
            return Ok(());
        }
        let given = store.give_back(self.worker, &due).await?;
        for (run, _) in &given {
            let times = locked(strays).given_back(*run, Instant::now());
            if times < FAILING {
                tracing::warn!(%run, times, "nobody drove the run; it was given back");
            } else {
                tracing::error!(%run, times, "the run cannot be carried on: it was given back again and again");
            }
        }
        ring(&**queue, &given);
        Ok(())
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

fn locked(strays: &Mutex<Strays>) -> MutexGuard<'_, Strays> {
    strays.lock().unwrap_or_else(PoisonError::into_inner)
}
