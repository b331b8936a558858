//! The store in memory: for the simulation and for tests. Plain and ordered, so that it is easy to see
//! that it is right and the same inputs give the same answers; nothing outlives the process.
//!
//! One mutex over everything makes every verb serializable.

mod archives;
mod artifacts;
mod idempotency;
#[cfg(test)]
mod interleavings;
mod list;
mod run;
mod runbooks;
mod segments;
mod sessions;
mod state;
mod workers;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use tokio::time::Instant;

use self::state::State;
use crate::{
    model::{Digest, Epoch, Lane, Micros, RunId, RunStatus, TenantId, WorkerId},
    ports::{
        Beat, ClaimRequest, Clock, CommitAnswer, Creation, ExpiredWorkers, Idempotency, LiveCount, NewRun, Page,
        RunCommit, RunFilter, RunRow, SignalKind, SignalRow, StepRow, Store, StoreError, StoredEvent, WorkerRow,
        WorkerState,
    },
    store::check::Once,
};

/// A store that lives in this process only.
pub struct MemoryStore {
    state: Mutex<State>,
    clock: Time,
}

/// What the store calls now.
enum Time {
    Given(Arc<dyn Clock>),
    /// The time since it was made, from a day long past: the same in every test, and paused with tokio's.
    Own(Instant),
}

/// When the stores without a clock were made.
const MADE: Micros = Micros(1_700_000_000_000_000);

impl Default for MemoryStore {
    fn default() -> MemoryStore {
        MemoryStore { state: Mutex::default(), clock: Time::Own(Instant::now()) }
    }
}

impl std::fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryStore").field("state", &self.state).finish_non_exhaustive()
    }
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> MemoryStore {
        MemoryStore::default()
    }

    /// An empty store whose own time is this clock's.
    pub fn with_clock(clock: Arc<dyn Clock>) -> MemoryStore {
        MemoryStore { clock: Time::Given(clock), ..MemoryStore::default() }
    }

    fn now(&self) -> Micros {
        match &self.clock {
            Time::Given(clock) => clock.now(),
            Time::Own(made) => Micros(MADE.0 + i64::try_from(made.elapsed().as_micros()).unwrap_or(0)),
        }
    }

    /// A verb changes nothing before it has checked everything, so the state is whole even after a
    /// panic in another thread.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn put_plan(&self, tenant: TenantId, digest: Digest, plan: &[u8], source: &str) -> Result<(), StoreError> {
        self.state().put_plan(tenant, digest, plan, source);
        Ok(())
    }

    async fn plan(&self, tenant: TenantId, digest: Digest) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.state().plan(tenant, digest))
    }

    async fn source(&self, tenant: TenantId, digest: Digest) -> Result<Option<String>, StoreError> {
        Ok(self.state().source(tenant, digest))
    }

    async fn create_runs(&self, runs: &[NewRun], idempotency: Option<&Idempotency>) -> Result<Creation, StoreError> {
        self.state().create_runs(runs, idempotency)
    }

    async fn claim(&self, request: &ClaimRequest) -> Result<Vec<RunRow>, StoreError> {
        Ok(self.state().claim(request))
    }

    async fn commit(&self, batch: &[RunCommit]) -> Result<Vec<CommitAnswer>, StoreError> {
        let mut state = self.state();
        let mut once = Once::default();
        Ok(batch.iter().map(|commit| state.commit(&mut once, commit)).collect())
    }

    async fn signal(
        &self,
        run: RunId,
        kind: &SignalKind,
        at: Micros,
    ) -> Result<Option<Result<SignalRow, RunStatus>>, StoreError> {
        Ok(self.state().run_mut(run).map(|run| run.signal(kind, at)))
    }

    async fn signals(&self, run: RunId, after: i64) -> Result<Vec<SignalRow>, StoreError> {
        Ok(self.state().run(run).map(|run| run.signals_after(after)).unwrap_or_default())
    }

    async fn signalled(&self, worker: WorkerId) -> Result<Vec<RunId>, StoreError> {
        Ok(self.state().signalled(worker))
    }

    async fn register_worker(&self, worker: &WorkerRow, lease: Option<Duration>) -> Result<Beat, StoreError> {
        Ok(self.state().register_worker(worker, self.now(), lease))
    }

    async fn beat(&self, worker: WorkerId, lease: Option<Duration>) -> Result<Beat, StoreError> {
        Ok(self.state().beat(worker, self.now(), lease))
    }

    async fn expired_workers(&self, limit: usize) -> Result<ExpiredWorkers, StoreError> {
        let now = self.now();
        Ok(ExpiredWorkers { now, server: 0, workers: self.state().expired_workers(now, limit) })
    }

    async fn workers(
        &self,
        tenant: TenantId,
        after: Option<WorkerId>,
        limit: usize,
    ) -> Result<Page<WorkerState>, StoreError> {
        Ok(self.state().workers(tenant, after, limit, self.now()))
    }

    async fn drain_worker(&self, tenant: TenantId, worker: WorkerId) -> Result<bool, StoreError> {
        Ok(self.state().drain_worker(tenant, worker))
    }

    async fn forget_workers(&self, workers: &[WorkerId]) -> Result<(), StoreError> {
        self.state().forget_workers(workers);
        Ok(())
    }

    async fn owners(&self) -> Result<Vec<WorkerId>, StoreError> {
        Ok(self.state().owners())
    }

    async fn requeue(&self, dead: &[WorkerId], _now: Micros, limit: usize) -> Result<Vec<(RunId, Lane)>, StoreError> {
        Ok(self.state().requeue(dead, limit))
    }

    async fn take_over(&self, dead: &[WorkerId], request: &ClaimRequest) -> Result<Vec<RunRow>, StoreError> {
        Ok(self.state().take_over(dead, request))
    }

    async fn owned(&self, worker: WorkerId) -> Result<Vec<(RunId, Epoch)>, StoreError> {
        Ok(self.state().owned(worker))
    }

    async fn give_back(&self, worker: WorkerId, runs: &[(RunId, Epoch)]) -> Result<Vec<(RunId, Lane)>, StoreError> {
        Ok(self.state().give_back(worker, runs))
    }

    async fn wake_due(&self, now: Micros, limit: usize) -> Result<Vec<(RunId, Lane)>, StoreError> {
        Ok(self.state().wake_due(now, limit))
    }

    async fn run(&self, run: RunId) -> Result<Option<RunRow>, StoreError> {
        let state = self.state();
        Ok(state.run(run).map(|run| state.view(run)))
    }

    async fn runs(&self, tenant: TenantId, filter: &RunFilter) -> Result<Page<RunRow>, StoreError> {
        Ok(self.state().runs(tenant, filter))
    }

    async fn live_counts(&self, tenant: TenantId) -> Result<Vec<LiveCount>, StoreError> {
        Ok(self.state().live_counts(tenant))
    }

    async fn queue_position(&self, run: RunId) -> Result<Option<u64>, StoreError> {
        Ok(self.state().queue_position(run))
    }

    async fn events(&self, run: RunId, after: u64, limit: usize) -> Result<Vec<StoredEvent>, StoreError> {
        Ok(self.state().run(run).map(|run| run.events_after(after, limit)).unwrap_or_default())
    }

    async fn facts(&self, run: RunId, after: u64, limit: usize) -> Result<Vec<StoredEvent>, StoreError> {
        Ok(self.state().run(run).map(|run| run.facts_after(after, limit)).unwrap_or_default())
    }

    async fn steps(&self, run: RunId) -> Result<Vec<StepRow>, StoreError> {
        Ok(self.state().run(run).map(|run| run.steps.values().cloned().collect()).unwrap_or_default())
    }

    async fn change_mark(&self) -> Result<i64, StoreError> {
        // No other process can write here.
        Ok(0)
    }
}
