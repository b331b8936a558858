//! What is left behind at a place: folders of runs that went on elsewhere, or ended there, and what tells of workers that
//! have died.
//!
//! A run that is parked takes its folder along before it goes. One whose worker died, or lost its lease, leaves folders
//! that nobody looks after any more. A worker that died leaves its lock; everybody here looks at all of them, so it goes
//! when it has nothing more to say.

use std::{collections::HashSet, sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use super::{World, reaper::guarded, taking_up};
use crate::{
    engine::WorkspaceState,
    model::{RunId, RunStatus, WorkerId},
    ports::{Liveness, RunRow, Snapshots, StoreError},
};

/// How often it is looked for them.
const TURN: Duration = Duration::from_mins(1);

/// Looks after one place.
#[derive(Clone)]
pub struct Departures {
    world: World,
    neighbours: Arc<dyn Liveness>,
}

impl std::fmt::Debug for Departures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Departures").finish_non_exhaustive()
    }
}

impl Departures {
    /// `neighbours` knows who lives at this place, this worker included.
    pub fn new(world: World, neighbours: Arc<dyn Liveness>) -> Departures {
        Departures { world, neighbours }
    }

    /// Tidies every minute until `stop` fires.
    pub async fn run(self, stop: CancellationToken) {
        let mut every = tokio::time::interval(TURN);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while stop.run_until_cancelled(every.tick()).await.is_some() {
            guarded(self.tidy()).await;
            guarded(self.forget_dead()).await;
        }
    }

    /// Forgets those who have died here, own nothing and are no worker any more for the store; answers how many. Then
    /// nobody here inherits from them, and no run here is theirs. What the store of another database knows of them its
    /// leases tell.
    pub async fn forget_dead(&self) -> Result<usize, StoreError> {
        let mut dead = self.neighbours.dead().await?;
        if dead.is_empty() {
            return Ok(0);
        }
        let known: HashSet<WorkerId> = self.world.store.owners().await?.into_iter().collect();
        dead.retain(|worker| !known.contains(worker));
        self.neighbours.forget(&dead);
        Ok(dead.len())
    }

    /// Removes the folders of runs that are not here any more; answers of how many.
    pub async fn tidy(&self) -> Result<usize, StoreError> {
        let Some(snapshots) = &self.world.snapshots else { return Ok(0) };
        let runs = match self.world.workspaces.runs() {
            Ok(runs) => runs,
            Err(error) => {
                tracing::warn!(%error, "working folders that were left behind could not be looked for");
                return Ok(0);
            }
        };
        let mut tidied = 0;
        for run in runs {
            // One that this database does not know may be another one's.
            let Some(row) = self.world.store.run(run).await? else { continue };
            if row.status.is_ended() {
                self.close(&row);
                tidied += 1;
            } else if let Some(owner) = row.claimed_by
                && !self.is_here(run, owner)
                && self.remove(&**snapshots, &row).await?
            {
                tidied += 1;
            }
        }
        Ok(tidied)
    }

    fn is_here(&self, run: RunId, owner: WorkerId) -> bool {
        self.neighbours.knows(owner) || self.world.signals.is_listening(run)
    }

    /// The run ended elsewhere, or here and its worker died before it could put the folder away.
    fn close(&self, row: &RunRow) {
        if !self.world.signals.is_listening(row.id) {
            tracing::info!(run = %row.id, "the run has ended: its folder here is put away");
            self.world.workspaces.close(row.id, row.status != RunStatus::Succeeded);
        }
    }

    /// Removes the folder of a run that somebody else goes on with, unless its facts say that what is here counts.
    async fn remove(&self, snapshots: &dyn Snapshots, row: &RunRow) -> Result<bool, StoreError> {
        let Ok(plan) = self.world.plans.get(row.tenant, row.plan).await else { return Ok(false) };
        let Ok(run) = taking_up::replay(&self.world, row, &plan).await else { return Ok(false) };
        if matches!(run.workspace(), WorkspaceState::At(place) if place == snapshots.place()) {
            return Ok(false);
        }
        let Some(aside) = snapshots.set_aside(row.id).await else { return Ok(false) };
        let now = self.world.store.run(row.id).await;
        let is_gone = now.is_ok_and(|now| now.is_none_or(|now| now.epoch == row.epoch));
        if is_gone {
            tracing::info!(run = %row.id, "the run goes on elsewhere: its folder here is removed");
            snapshots.discard(aside).await;
        } else {
            // It may have come back in between.
            snapshots.put_back(row.id, aside).await;
        }
        Ok(is_gone)
    }
}
