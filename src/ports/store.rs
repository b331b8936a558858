//! The store: what is true. SQL holds no rule about runs; it keeps what the engine decided and guards
//! every write by ownership.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use serde_json::{Map, Value};

use super::{Beat, ExpiredWorkers, IdempotentAnswer, WorkerRow, WorkerState};
use crate::model::{
    Attempt, Digest, Epoch, EventKind, Failure, Lane, Micros, RunId, RunStatus, SessionId, StepIx, StepStatus,
    TenantId, WaitingOn, WorkerId,
};

/// What can go wrong in a store. Callers tell "again" from "never" from "not yours" by the variant.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// Passing: busy, deadlock, lost connection. The statement may or may not have been carried out.
    #[error("the store is busy: {0}")]
    Busy(String),
    /// A constraint says no, for good: the same write will fail again.
    #[error("the store refused the write: {0}")]
    Refused(String),
    /// The disk or the database is full.
    #[error("the store is full: {0}")]
    Full(String),
    /// A row that this build cannot read.
    #[error("corrupt row in {table}.{column} ({row}): {why}")]
    Corrupt { table: &'static str, column: &'static str, row: String, why: String },
    /// Not reachable, read-only, or of a newer version.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
}

impl StoreError {
    /// Whether the same call may succeed later, when somebody has made room or the store is back.
    pub const fn is_passing(&self) -> bool {
        matches!(self, StoreError::Busy(_) | StoreError::Full(_) | StoreError::Unavailable(_))
    }
}

/// A run to be created.
#[derive(Debug, Clone)]
pub struct NewRun {
    pub id: RunId,
    pub tenant: TenantId,
    /// The runbook's name.
    pub runbook: Arc<str>,
    /// The version of the stored runbook; `None` for a file that was run directly.
    pub runbook_version: Option<u32>,
    /// An open session of the tenant.
    pub session: Option<SessionId>,
    /// A plan that [`Store::put_plan`] has stored.
    pub plan: Digest,
    pub lane: Lane,
    pub priority: i32,
    pub labels: Map<String, Value>,
    /// Bound params, defaults included.
    pub params: Map<String, Value>,
    pub trigger: Trigger,
    /// The number of steps in the plan, for views.
    pub steps_total: u32,
    pub created_at: Micros,
    /// Born owned by this worker, with epoch 1 and version 1; else `queued` with epoch 0.
    pub claimed_by: Option<WorkerId>,
    /// What its owner has decided already: with events the run is born `running`, without `claimed`.
    pub opening: Vec<StoredEvent>,
}

impl NewRun {
    /// The state a run is born with.
    pub fn birth(&self) -> RunBirth {
        let owned = self.claimed_by.is_some();
        let status = match (owned, self.opening.is_empty()) {
            (false, _) => RunStatus::Queued,
            (true, true) => RunStatus::Claimed,
            (true, false) => RunStatus::Running,
        };
        RunBirth {
            status,
            waiting_on: (!owned).then_some(WaitingOn::Capacity),
            claimable: !owned,
            epoch: Epoch(i64::from(owned)),
            sequence_head: self.opening.last().map_or(0, |event| event.sequence),
            stamp_head: self.opening.last().map_or(Micros(0), |event| event.at),
            started_at: self.opening.first().map(|event| event.at),
        }
    }

    /// The row as it is once the run is created.
    pub fn row(&self) -> RunRow {
        let RunBirth { status, waiting_on, claimable, epoch, sequence_head, stamp_head, started_at } = self.birth();
        let claimed_at = self.claimed_by.map(|_| self.created_at);
        RunRow {
            id: self.id,
            tenant: self.tenant,
            runbook: self.runbook.clone(),
            runbook_version: self.runbook_version,
            session: self.session,
            plan: self.plan,
            lane: self.lane,
            priority: self.priority,
            labels: self.labels.clone(),
            params: self.params.clone(),
            trigger: self.trigger.clone(),
            steps_total: self.steps_total,
            status,
            waiting_on,
            claimable,
            epoch,
            version: epoch.0,
            claimed_by: self.claimed_by,
            claimed_at,
            heartbeat_at: claimed_at,
            wake_at: None,
            signal_seq: 0,
            signals_applied: 0,
            sequence_head,
            stamp_head,
            recoveries: 0,
            recoveries_applied: 0,
            error: None,
            created_at: self.created_at,
            started_at,
            ended_at: None,
        }
    }
}

/// What [`NewRun::birth`] says. Its version is its epoch.
#[derive(Debug, Clone, Copy)]
pub struct RunBirth {
    pub status: RunStatus,
    pub waiting_on: Option<WaitingOn>,
    pub claimable: bool,
    pub epoch: Epoch,
    pub sequence_head: u64,
    pub stamp_head: Micros,
    pub started_at: Option<Micros>,
}

/// Who or what started a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trigger {
    /// `manual`, `api`, `schedule`, `webhook`, `git`, `parent`.
    pub kind: String,
    /// The person or thing, as far as it is known.
    pub actor: String,
}

/// A run as it is stored.
#[derive(Debug, Clone, PartialEq)]
pub struct RunRow {
    pub id: RunId,
    pub tenant: TenantId,
    pub runbook: Arc<str>,
    pub runbook_version: Option<u32>,
    pub session: Option<SessionId>,
    pub plan: Digest,
    pub lane: Lane,
    pub priority: i32,
    pub labels: Map<String, Value>,
    pub params: Map<String, Value>,
    pub trigger: Trigger,
    pub steps_total: u32,
    pub status: RunStatus,
    /// Set exactly while the run is queued.
    pub waiting_on: Option<WaitingOn>,
    /// Whether a claim may take it now (queued runs only).
    pub claimable: bool,
    pub epoch: Epoch,
    /// Raised by every write of an owner; guards against a repeated one.
    pub version: i64,
    pub claimed_by: Option<WorkerId>,
    pub claimed_at: Option<Micros>,
    pub heartbeat_at: Option<Micros>,
    /// When a parked run becomes claimable by itself.
    pub wake_at: Option<Micros>,
    /// Signals received, and those that decisions have taken in.
    pub signal_seq: i64,
    pub signals_applied: i64,
    /// The last committed event sequence.
    pub sequence_head: u64,
    /// The time in the id of that event; later ids are never earlier.
    pub stamp_head: Micros,
    /// How often an owner of the run died.
    pub recoveries: u32,
    /// Recoveries that an owner has taken in; less than `recoveries` after a death.
    pub recoveries_applied: u32,
    /// Why the run failed.
    pub error: Option<Failure>,
    pub created_at: Micros,
    pub started_at: Option<Micros>,
    pub ended_at: Option<Micros>,
}

/// A durable event as it is stored: a fact that the engine decided, or a note of an attempt.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredEvent {
    pub sequence: u64,
    pub prev: u64,
    pub at: Micros,
    pub kind: EventKind,
    pub data: Value,
}

/// A step at rest: written when its run parks or ends, so that ended runs can be queried without
/// folding their events.
#[derive(Debug, Clone, PartialEq)]
pub struct StepRow {
    pub step: StepIx,
    pub id: Arc<str>,
    pub uses: Arc<str>,
    pub status: StepStatus,
    /// The last attempt's number; 0 if it never ran.
    pub attempts: Attempt,
    pub started_at: Option<Micros>,
    pub ended_at: Option<Micros>,
    pub outputs: Map<String, Value>,
    pub error: Option<Failure>,
}

/// One write of a run's owner. Holds only if the row still has this epoch, claimant and version.
#[derive(Debug, Clone)]
pub struct RunCommit {
    pub run: RunId,
    pub epoch: Epoch,
    pub worker: WorkerId,
    /// The version the owner knows; the write makes it `version + 1`.
    pub version: i64,
    pub at: Micros,
    pub events: Vec<StoredEvent>,
    /// `Running`; `Queued` for a park or a hand-back (ownership ends, the epoch is raised); or an end.
    pub status: RunStatus,
    /// With `Queued`: why. `claimable` is true exactly when it waits on capacity.
    pub waiting_on: Option<WaitingOn>,
    pub wake_at: Option<Micros>,
    pub signals_applied: i64,
    /// Holds only if the row has no signal beyond `signals_applied`. Set for parks and ends.
    pub needs_all_signals: bool,
    pub recoveries_applied: u32,
    pub sequence_head: u64,
    pub stamp_head: Micros,
    pub error: Option<Failure>,
    pub started_at: Option<Micros>,
    /// Steps at rest, for parks and ends: inserted, or replaced where the step has a row already.
    pub steps: Vec<StepRow>,
}

/// What became of one [`RunCommit`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommitAnswer {
    Committed,
    /// The run has another owner, another version or has ended: nothing was written, and the sender
    /// must drop the run.
    Fenced,
    /// A park or end came before a signal: nothing was written; read the signals and decide again.
    Signalled,
    /// This commit itself cannot be written (too large, a value the store refuses); others in its batch
    /// were.
    Refused(String),
}

/// Which runs to claim.
#[derive(Debug, Clone)]
pub struct ClaimRequest {
    pub worker: WorkerId,
    pub lane: Lane,
    pub limit: usize,
    pub now: Micros,
}

/// Something from outside that a run must take in.
#[derive(Debug, Clone, PartialEq)]
pub enum SignalKind {
    Cancel {
        by: String,
        reason: String,
        force: bool,
    },
    /// A person says what became of an `unknown` step.
    Resolve {
        step: String,
        verdict: String,
        by: String,
        note: String,
    },
}

#[derive(Debug, Clone, PartialEq)]
pub struct SignalRow {
    pub run: RunId,
    /// From 1, without gaps, per run.
    pub seq: i64,
    pub at: Micros,
    pub kind: SignalKind,
}

/// The key of a request that creates something, and the answer to keep under it.
#[derive(Debug, Clone)]
pub struct Idempotency {
    pub tenant: TenantId,
    pub key: String,
    pub answer: IdempotentAnswer,
}

/// What became of a request to create runs or a session. Only `Created` has written anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Creation {
    Created,
    /// The key is known, with the same request: this was answered.
    Replayed(IdempotentAnswer),
    /// The key is known, with another request.
    Mismatched,
    /// A run names a session that the tenant does not have.
    NoSession(SessionId),
    /// A run names a session that takes no runs any more.
    SessionArchived(SessionId),
}

/// A label that runs must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelFilter {
    pub name: String,
    /// The text of a string, or the JSON of anything else; `None` for any value.
    pub value: Option<String>,
}

/// Which runs to list, newest first. All that is given must hold.
#[derive(Debug, Clone, Default)]
pub struct RunFilter {
    /// One of these; empty for any.
    pub status: Vec<RunStatus>,
    pub lane: Option<Lane>,
    pub runbook: Option<String>,
    pub session: Option<SessionId>,
    pub labels: Vec<LabelFilter>,
    /// The kind and the actor of the trigger.
    pub trigger: Option<String>,
    pub actor: Option<String>,
    /// Created at this time or later, and before that one, by the time in the id, in whole milliseconds.
    pub since: Option<Micros>,
    pub until: Option<Micros>,
    /// A part of the runbook's name, the actor or a label's value, in any case, or the beginning of the id.
    pub text: Option<String>,
    /// Matches the beginning of the id's text.
    pub id_prefix: Option<String>,
    /// Only runs created before this one (the cursor).
    pub before: Option<RunId>,
    /// At most this many.
    pub limit: usize,
}

/// How many runs of a lane and a session have not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LiveCount {
    pub lane: Lane,
    /// `None` for the runs of no session.
    pub session: Option<SessionId>,
    pub queued: u64,
    /// Claimed ones as well.
    pub running: u64,
}

/// A page of a list.
#[derive(Debug, Clone, PartialEq)]
pub struct Page<T> {
    pub items: Vec<T>,
    pub more: bool,
}

/// The store. Every verb is one transaction; isolation and lock order are documented per adapter.
/// Lock order everywhere: worker, runs by id, events, steps.
#[async_trait]
pub trait Store: Send + Sync {
    /// Stores a plan under its digest, with the source text it came from; a known digest is left alone.
    async fn put_plan(&self, tenant: TenantId, digest: Digest, plan: &[u8], source: &str) -> Result<(), StoreError>;

    /// The plan's JSON.
    async fn plan(&self, tenant: TenantId, digest: Digest) -> Result<Option<Vec<u8>>, StoreError>;

    /// The runbook's text as it was when the plan was made.
    async fn source(&self, tenant: TenantId, digest: Digest) -> Result<Option<String>, StoreError>;

    /// Creates runs, all or none. An id that exists is `Refused`. Of two requests with the same key at the
    /// same time, one creates and the other is told the first one's answer.
    async fn create_runs(&self, runs: &[NewRun], idempotency: Option<&Idempotency>) -> Result<Creation, StoreError>;

    /// Takes ownership of claimable runs of a lane, highest priority first, then oldest:
    /// `queued → claimed`, epoch + 1. Two claims never get the same run.
    async fn claim(&self, request: &ClaimRequest) -> Result<Vec<RunRow>, StoreError>;

    /// Writes the decisions of owners, each guarded by its own ownership; answers in the same order. A
    /// `Busy` error may hide a success: repeat the call with the same batch, which is safe (a commit
    /// that was written already answers `Committed`).
    async fn commit(&self, batch: &[RunCommit]) -> Result<Vec<CommitAnswer>, StoreError>;

    /// Appends a signal to a run that has not ended and makes an unowned run claimable. `None`: no such
    /// run. `Some(Err(status))`: it ended before.
    async fn signal(
        &self,
        run: RunId,
        kind: &SignalKind,
        at: Micros,
    ) -> Result<Option<Result<SignalRow, RunStatus>>, StoreError>;

    /// Signals of a run after `after`, in order.
    async fn signals(&self, run: RunId, after: i64) -> Result<Vec<SignalRow>, StoreError>;

    /// Runs owned by `worker` that have signals not yet taken in.
    async fn signalled(&self, worker: WorkerId) -> Result<Vec<RunId>, StoreError>;

    /// Makes a worker known, before it owns anything; of one that is known it is a beat. `lease` as for `beat`.
    async fn register_worker(&self, worker: &WorkerRow, lease: Option<Duration>) -> Result<Beat, StoreError>;

    /// Shows that the worker lives, by the store's own clock: views show the latest of this and a run's own
    /// `heartbeat_at`. With a lease, the worker counts as living for so long from now; a lease that has run out is never
    /// prolonged. Without one, something else tells whether it lives.
    async fn beat(&self, worker: WorkerId, lease: Option<Duration>) -> Result<Beat, StoreError>;

    /// Declares dead, for good, whose lease has run out by the store's own clock, and answers all who are dead and
    /// known, or own runs without being known; at most `limit`. Workers without a lease never are.
    async fn expired_workers(&self, limit: usize) -> Result<ExpiredWorkers, StoreError>;

    /// The workers of a tenant with an id above `after`, in the order of their ids, which is that of their starts.
    async fn workers(
        &self,
        tenant: TenantId,
        after: Option<WorkerId>,
        limit: usize,
    ) -> Result<Page<WorkerState>, StoreError>;

    /// Asks a worker to drain; it learns of it with its next beat. Answers whether there is such a worker.
    async fn drain_worker(&self, tenant: TenantId, worker: WorkerId) -> Result<bool, StoreError>;

    /// Removes workers that own nothing any more.
    async fn forget_workers(&self, workers: &[WorkerId]) -> Result<(), StoreError>;

    /// Every registered worker, and everyone who owns a run.
    async fn owners(&self) -> Result<Vec<WorkerId>, StoreError>;

    /// Runs of dead workers: back to `queued`, claimable, recoveries + 1, epoch + 1. At most `limit`;
    /// answers the lane of each.
    async fn requeue(&self, dead: &[WorkerId], now: Micros, limit: usize) -> Result<Vec<(RunId, Lane)>, StoreError>;

    /// Takes ownership of the runs of dead workers in a lane, oldest first: `requeue` and a `claim` of exactly these in one,
    /// so that nobody gets them in between; epoch + 1, recoveries + 1.
    async fn take_over(&self, dead: &[WorkerId], request: &ClaimRequest) -> Result<Vec<RunRow>, StoreError>;

    /// The runs that a worker owns, with their epochs. Reads no more of them than that, so that a row that this build
    /// cannot read is among them.
    async fn owned(&self, worker: WorkerId) -> Result<Vec<(RunId, Epoch)>, StoreError>;

    /// Runs that `worker` owns with these epochs and drives no more: back to `queued`, claimable, epoch + 1;
    /// recoveries + 1 where the run was `running`. Others are passed over. Answers the lane of each.
    async fn give_back(&self, worker: WorkerId, runs: &[(RunId, Epoch)]) -> Result<Vec<(RunId, Lane)>, StoreError>;

    /// Parked runs whose `wake_at` has come: claimable. At most `limit`; answers the lane of each.
    async fn wake_due(&self, now: Micros, limit: usize) -> Result<Vec<(RunId, Lane)>, StoreError>;

    async fn run(&self, run: RunId) -> Result<Option<RunRow>, StoreError>;

    /// Newest first.
    async fn runs(&self, tenant: TenantId, filter: &RunFilter) -> Result<Page<RunRow>, StoreError>;

    /// The live runs of a tenant by lane and session; where there are none, there is no count.
    async fn live_counts(&self, tenant: TenantId) -> Result<Vec<LiveCount>, StoreError>;

    /// The place of a claimable run in the queue of its lane, from 1; `None` if it is not waiting there.
    async fn queue_position(&self, run: RunId) -> Result<Option<u64>, StoreError>;

    /// Durable events with a sequence above `after`, in order, at most `limit`.
    async fn events(&self, run: RunId, after: u64, limit: usize) -> Result<Vec<StoredEvent>, StoreError>;

    /// Those of the durable events that are facts about the run's state: the category `lifecycle`. As `events`
    /// otherwise; what the run's steps noted is passed over without being read.
    async fn facts(&self, run: RunId, after: u64, limit: usize) -> Result<Vec<StoredEvent>, StoreError>;

    /// The steps at rest; empty while the run has never parked or ended.
    async fn steps(&self, run: RunId) -> Result<Vec<StepRow>, StoreError>;

    /// A number that changes when another process has written; for noticing foreign changes cheaply.
    async fn change_mark(&self) -> Result<i64, StoreError>;
}
