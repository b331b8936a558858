//! Who drives a run from its claim to its end, park or loss.

use super::{CommitError, Committer, PlanError, World, session::Session};
use crate::{
    model::{RunStatus, WaitingOn, WorkerId},
    ports::{RunRow, StoreError},
};

/// A run whose commits are refused more often than this is given back.
const MAX_REFUSALS: u32 = 3;

/// How ownership ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owned {
    /// The run ended like this.
    Ended(RunStatus),
    /// The run waits, without an owner.
    Parked(WaitingOn),
    /// Somebody else owns the run now; nothing of ours was written since.
    Fenced,
}

/// Why an owner gave up. The run is taken up again by whoever finds its owner dead.
#[derive(Debug, thiserror::Error)]
pub enum OwnError {
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Commit(#[from] CommitError),
    #[error("event {sequence} of the run cannot be read: {why}")]
    Unreadable { sequence: u64, why: String },
    #[error("the store refuses the run's commits: {0}")]
    Refused(String),
}

/// Drives claimed runs. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Owner {
    pub(super) world: World,
    pub(super) committer: Committer,
    pub(super) worker: WorkerId,
}

impl Owner {
    pub fn new(world: World, committer: Committer, worker: WorkerId) -> Owner {
        Owner { world, committer, worker }
    }

    pub fn world(&self) -> &World {
        &self.world
    }

    /// Owns a run that this worker has claimed, until it ends, parks or is lost. Dropping the future
    /// ends every attempt by force.
    pub async fn own(&self, row: RunRow) -> Result<Owned, OwnError> {
        let listening = self.world.signals.listen(row.id);
        let (mut row, mut refusals) = (row, 0);
        loop {
            let mut session = Session::open(self, row.clone(), refusals > 0).await?;
            match session.drive(&listening).await {
                Err(OwnError::Refused(why)) if refusals < MAX_REFUSALS => {
                    refusals += 1;
                    tracing::error!(run = %row.id, why, refusals, "a commit was refused; the run goes on without it");
                    drop(session);
                    row = self.world.store.run(row.id).await?.ok_or(OwnError::Refused(why))?;
                }
                ended => {
                    session.close(ended.as_ref().ok());
                    return ended;
                }
            }
        }
    }
}
