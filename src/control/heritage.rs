//! What the dead of a place have left to those who live there.
//!
//! What the ended steps of a run left in its working folder is at the place of its owner. When that owner dies, whoever
//! lives at the same place, or starts there again, goes on with the run: it knows of the death for certain, and before the
//! lease tells everybody, and it takes exactly these runs, so that nobody gets them in between. What it has no slot for
//! goes the way of all others.

use std::{collections::HashSet, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::World;
use crate::{
    model::WorkerId,
    ports::{ClaimRequest, Liveness, RunRow, StoreError},
};

/// How often it is looked who has died.
const LOOK: Duration = Duration::from_millis(500);

/// What one lane inherits.
pub struct Heritage {
    neighbours: Arc<dyn Liveness>,
    next_look: Option<Instant>,
    /// The dead who have left nothing more in this lane, as far as they are still known.
    settled: HashSet<WorkerId>,
}

impl std::fmt::Debug for Heritage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Heritage").field("settled", &self.settled.len()).finish_non_exhaustive()
    }
}

impl Heritage {
    /// Of `neighbours`, who knows of the deaths at this place alone.
    pub fn new(neighbours: Arc<dyn Liveness>) -> Heritage {
        Heritage { neighbours, next_look: None, settled: HashSet::new() }
    }

    /// The runs of dead neighbours, as many as were asked for at most.
    pub async fn claim(&mut self, world: &World, request: &ClaimRequest) -> Result<Vec<RunRow>, StoreError> {
        if self.next_look.is_some_and(|at| Instant::now() < at) {
            return Ok(Vec::new());
        }
        self.next_look = Some(Instant::now() + LOOK);
        let mut dead = self.neighbours.dead().await?;
        self.settled.retain(|worker| dead.contains(worker));
        dead.retain(|worker| *worker != request.worker && !self.settled.contains(worker));
        if dead.is_empty() {
            return Ok(Vec::new());
        }
        let runs = world.store.take_over(&dead, request).await?;
        if runs.len() < request.limit {
            self.settled.extend(dead);
        }
        for run in &runs {
            tracing::info!(run = %run.id, worker = %request.worker, "its worker died here; another one here goes on with it");
        }
        Ok(runs)
    }
}
