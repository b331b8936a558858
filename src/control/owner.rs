//! Who drives a run from its claim to its end, park or loss.

use super::{
    CommitError, Committer, Fence, Lost, PlanError, World,
    patience::{Passing, patiently},
    session::Session,
};
use tokio_util::sync::CancellationToken;

use crate::{
    model::{Epoch, RunId, RunStatus, WaitingOn, WorkerId},
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
    /// The worker is drained: the run waits for another one, with nothing under way.
    HandedBack,
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
    #[error("the process was told to end at once")]
    Halted,
    #[error(transparent)]
    LeaseLost(#[from] Lost),
    #[error("the owner of the run panicked; this is a fault of opsroom")]
    Panicked,
}

/// Drives claimed runs. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Owner {
    pub(super) world: World,
    pub(super) committer: Committer,
    pub(super) worker: WorkerId,
    pub(super) fence: Fence,
    /// Fires: a run is given up as soon as nothing of it is under way.
    pub(super) leave: CancellationToken,
    /// Fires: what is under way is interrupted, and the runs are handed back.
    pub(super) hand_back: CancellationToken,
}

impl Owner {
    pub fn new(world: World, committer: Committer, worker: WorkerId) -> Owner {
        let (leave, hand_back) = (CancellationToken::new(), CancellationToken::new());
        Owner { world, committer, worker, fence: Fence::default(), leave, hand_back }
    }

    /// Nothing begins and nothing is committed once the lease is lost.
    #[must_use]
    pub fn fenced(self, fence: Fence) -> Owner {
        Owner { fence, ..self }
    }

    /// When `token` fires, a run that only waits for a time is given up, however near that is: somebody else goes on with
    /// it. What has something under way stays until it has not.
    #[must_use]
    pub fn leave_on(self, token: CancellationToken) -> Owner {
        Owner { leave: token, ..self }
    }

    /// When `token` fires, every run goes back to its lane as soon as its attempts were stopped (with the grace of a
    /// cancel): those are interrupted, which is no failure.
    #[must_use]
    pub fn hand_back_on(self, token: CancellationToken) -> Owner {
        Owner { hand_back: token, ..self }
    }

    /// Whether a run may be taken on.
    pub(super) fn may_begin(&self) -> bool {
        self.fence.check().is_ok() && !self.hand_back.is_cancelled()
    }

    /// The fence of its worker.
    pub fn fence(&self) -> &Fence {
        &self.fence
    }

    pub fn world(&self) -> &World {
        &self.world
    }

    /// Gives a claimed run back to its lane. Answers it if that is not possible: it was begun, or the store does not
    /// answer.
    pub async fn decline(&self, claim: Claim) -> Option<Claim> {
        let Claim::Row(row) = &claim else { return Some(claim) };
        if row.status != RunStatus::Claimed {
            return Some(claim);
        }
        let World { store, queue, .. } = &self.world;
        match store.give_back(self.worker, &[(row.id, row.epoch)]).await {
            Ok(given) => {
                for (_, lane) in &given {
                    queue.ring(*lane);
                }
                None
            }
            Err(error) => {
                tracing::warn!(run = %row.id, %error, "the run cannot be given back; it is begun");
                Some(claim)
            }
        }
    }

    /// Owns a run that this worker has claimed, until it ends, parks or is lost. Dropping the future
    /// ends every attempt by force.
    pub async fn own(&self, claim: impl Into<Claim>) -> Result<Owned, OwnError> {
        let claim = claim.into();
        let (run, epoch) = (claim.run(), claim.epoch());
        let listening = self.world.signals.listen(run);
        let mut refusals = 0;
        let mut session = match claim {
            Claim::Row(row) => match Box::pin(self.open(*row, false)).await? {
                Some(session) => session,
                None => return Ok(Owned::Fenced),
            },
            Claim::Born(Born(session)) => *session,
        };
        loop {
            match session.drive(&listening).await {
                Err(OwnError::Refused(why)) if refusals < MAX_REFUSALS => {
                    refusals += 1;
                    tracing::error!(%run, why, refusals, "a commit was refused; the run goes on without it");
                    session.abandon().await;
                    match Box::pin(patiently(&self.world, || self.reopen(run, epoch, true))).await? {
                        Some(again) => session = again,
                        None => return Ok(Owned::Fenced),
                    }
                }
                ended => {
                    session.close(ended.as_ref().ok()).await;
                    return ended;
                }
            }
        }
    }

    /// A session for a run as it was claimed. `None` if somebody else owns it by now.
    async fn open(&self, row: RunRow, refused: bool) -> Result<Option<Session>, OwnError> {
        let (run, epoch) = (row.id, row.epoch);
        match Session::open(self, row, refused).await {
            Err(error) if self.world.limits.patient && error.is_passing() => {
                tracing::warn!(%run, %error, "the run cannot be taken up now; trying again");
                patiently(&self.world, || self.reopen(run, epoch, refused)).await
            }
            opened => opened.map(Some),
        }
    }

    /// A session for the run as it is now. `None` if it is not ours any more.
    async fn reopen(&self, run: RunId, epoch: Epoch, refused: bool) -> Result<Option<Session>, OwnError> {
        match self.world.store.run(run).await? {
            Some(row) if row.status.is_owned() && row.claimed_by == Some(self.worker) && row.epoch == epoch => {
                Session::open(self, row, refused).await.map(Some)
            }
            _ => Ok(None),
        }
    }
}

impl Passing for OwnError {
    fn is_passing(&self) -> bool {
        match self {
            OwnError::Store(error) | OwnError::Plan(PlanError::Store(error)) => error.is_passing(),
            _ => false,
        }
    }
}

/// A run that this worker owns.
#[derive(Debug)]
pub enum Claim {
    /// As the store has it.
    Row(Box<RunRow>),
    /// Created in this worker's hands, with its first decision.
    Born(Born),
}

/// A run that was created in the hands of its owner.
pub struct Born(pub(super) Box<Session>);

impl std::fmt::Debug for Born {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Born({})", self.0.id())
    }
}

impl Claim {
    pub fn run(&self) -> RunId {
        match self {
            Claim::Row(row) => row.id,
            Claim::Born(Born(session)) => session.id(),
        }
    }
}

impl Claim {
    /// The epoch that the claim began.
    pub fn epoch(&self) -> Epoch {
        match self {
            Claim::Row(row) => row.epoch,
            Claim::Born(_) => Epoch(1),
        }
    }
}

impl From<RunRow> for Claim {
    fn from(row: RunRow) -> Claim {
        Claim::Row(Box::new(row))
    }
}
