//! A process's line to the store: slow, with errors before and after the write, held back or cut.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::sync::oneshot;

use super::{host::Host, scene::Scene, truth::Truth};
use crate::{
    model::{Digest, Epoch, Lane, Micros, RunId, RunStatus, TenantId, WorkerId},
    ports::{
        Beat, ClaimRequest, CommitAnswer, Creation, ExpiredWorkers, Idempotency, LiveCount, NewRun, Page, RunCommit,
        RunFilter, RunRow, SignalKind, SignalRow, StepRow, Store, StoreError, StoredEvent, WorkerRow, WorkerState,
    },
};

/// A statement that has no answer by then has failed, and may still be carried out.
const PATIENCE: Duration = Duration::from_secs(5);

/// The process's end.
#[derive(Clone)]
pub struct LineStore {
    host: Arc<Host>,
    truth: Arc<Truth>,
    scene: Scene,
}

impl LineStore {
    pub fn new(host: Arc<Host>, truth: Arc<Truth>) -> LineStore {
        let scene = truth.scene.clone();
        LineStore { host, truth, scene }
    }

    async fn slow(&self) {
        let millis = self.scene.below(4) as u64;
        if millis > 0 {
            tokio::time::sleep(Duration::from_millis(millis)).await;
        }
    }

    /// There, the statement, and back. `None`: it was lost on the way.
    async fn way<T>(
        &self,
        fails: bool,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Option<Result<T, StoreError>> {
        self.slow().await;
        if !self.host.passes().await {
            return None;
        }
        if fails && self.scene.one_in(25) {
            self.scene.faults().before_write += 1;
            return Some(Err(StoreError::Busy("before the write".into())));
        }
        let answer = work.await;
        self.slow().await;
        if !self.host.comes_back().await {
            return None;
        }
        if fails && self.scene.one_in(25) {
            self.scene.faults().after_write += 1;
            return Some(Err(StoreError::Busy("after the write".into())));
        }
        Some(answer)
    }

    /// Sends a statement. What was sent is on its way, whatever becomes of the sender.
    async fn send<T, F>(&self, fails: bool, work: impl FnOnce(Arc<Truth>) -> F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let (line, work) = (self.clone(), work(self.truth.clone()));
        self.scene.outside.spawn(async move {
            let answer = line.way(fails, work).await;
            if answer.is_none() && line.scene.one_in(2) {
                // Nobody says that nothing will come.
                tokio::time::sleep(PATIENCE).await;
            }
            if reply.is_closed() && answer.is_some() {
                line.scene.faults().late_requests += 1;
            }
            let _ = reply.send(answer);
        });
        let unanswered = |why: &str| Err(StoreError::Unavailable(why.to_owned()));
        match tokio::time::timeout(PATIENCE, answer).await {
            Ok(Ok(Some(answer))) => answer,
            Ok(Ok(None) | Err(_)) => unanswered("the line is cut"),
            Err(_) => unanswered("no answer"),
        }
    }

    async fn write<T, F>(&self, work: impl FnOnce(Arc<Truth>) -> F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        self.send(true, work).await
    }

    /// Nothing depends on when a read is carried out, so it goes without a messenger.
    async fn read<T>(&self, work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        match tokio::time::timeout(PATIENCE, self.way(false, work)).await {
            Ok(Some(answer)) => answer,
            Ok(None) => Err(StoreError::Unavailable("the line is cut".to_owned())),
            Err(_) => Err(StoreError::Unavailable("no answer".to_owned())),
        }
    }
}

#[async_trait]
impl Store for LineStore {
    async fn put_plan(&self, tenant: TenantId, digest: Digest, plan: &[u8], source: &str) -> Result<(), StoreError> {
        self.truth.store.put_plan(tenant, digest, plan, source).await
    }

    async fn plan(&self, tenant: TenantId, digest: Digest) -> Result<Option<Vec<u8>>, StoreError> {
        self.read(self.truth.store.plan(tenant, digest)).await
    }

    async fn source(&self, tenant: TenantId, digest: Digest) -> Result<Option<String>, StoreError> {
        self.truth.store.source(tenant, digest).await
    }

    async fn create_runs(&self, runs: &[NewRun], idempotency: Option<&Idempotency>) -> Result<Creation, StoreError> {
        let (runs, idempotency) = (runs.to_vec(), idempotency.cloned());
        self.write(|truth| async move { truth.store.create_runs(&runs, idempotency.as_ref()).await }).await
    }

    async fn claim(&self, request: &ClaimRequest) -> Result<Vec<RunRow>, StoreError> {
        let (request, scene) = (request.clone(), self.scene.clone());
        let (found, mut count) = oneshot::channel();
        let claimed = self.write(|truth| async move {
            let rows = truth.claim(&request).await?;
            let _ = found.send(rows.len());
            Ok(rows)
        });
        let claimed = claimed.await;
        if claimed.is_err() && count.try_recv().is_ok_and(|count| count > 0) {
            scene.faults().lost_claims += 1;
        }
        claimed
    }

    async fn commit(&self, batch: &[RunCommit]) -> Result<Vec<CommitAnswer>, StoreError> {
        let (batch, scene) = (batch.to_vec(), self.scene.clone());
        self.write(|truth| async move {
            if scene.one_in(100) {
                scene.faults().full += 1;
                return Err(StoreError::Full("no room".into()));
            }
            let refused = scene.one_in(200).then(|| scene.below(batch.len()));
            let mut answers = Vec::new();
            for (index, commit) in batch.iter().enumerate() {
                if refused == Some(index) {
                    scene.faults().refused += 1;
                    answers.push(CommitAnswer::Refused("a value that the store does not take".into()));
                } else {
                    answers.push(truth.commit(commit).await?);
                }
            }
            Ok(answers)
        })
        .await
    }

    async fn signal(
        &self,
        run: RunId,
        kind: &SignalKind,
        at: Micros,
    ) -> Result<Option<Result<SignalRow, RunStatus>>, StoreError> {
        self.read(self.truth.store.signal(run, kind, at)).await
    }

    async fn signals(&self, run: RunId, after: i64) -> Result<Vec<SignalRow>, StoreError> {
        self.read(self.truth.store.signals(run, after)).await
    }

    async fn signalled(&self, worker: WorkerId) -> Result<Vec<RunId>, StoreError> {
        self.read(self.truth.store.signalled(worker)).await
    }

    async fn register_worker(&self, worker: &WorkerRow, lease: Option<Duration>) -> Result<Beat, StoreError> {
        let worker = worker.clone();
        self.write(|truth| async move { truth.register(&worker, lease).await }).await
    }

    async fn beat(&self, worker: WorkerId, lease: Option<Duration>) -> Result<Beat, StoreError> {
        self.write(|truth| async move { truth.beat(worker, lease).await }).await
    }

    async fn expired_workers(&self, limit: usize) -> Result<ExpiredWorkers, StoreError> {
        let answer = self.write(|truth| async move { truth.expired(limit).await }).await?;
        self.host.look();
        Ok(answer)
    }

    async fn workers(
        &self,
        tenant: TenantId,
        after: Option<WorkerId>,
        limit: usize,
    ) -> Result<Page<WorkerState>, StoreError> {
        self.read(self.truth.store.workers(tenant, after, limit)).await
    }

    async fn drain_worker(&self, tenant: TenantId, worker: WorkerId) -> Result<bool, StoreError> {
        self.read(self.truth.store.drain_worker(tenant, worker)).await
    }

    async fn forget_workers(&self, workers: &[WorkerId]) -> Result<(), StoreError> {
        let workers = workers.to_vec();
        self.write(|truth| async move { truth.forget(&workers).await }).await
    }

    async fn owners(&self) -> Result<Vec<WorkerId>, StoreError> {
        self.read(self.truth.store.owners()).await
    }

    async fn requeue(&self, dead: &[WorkerId], now: Micros, limit: usize) -> Result<Vec<(RunId, Lane)>, StoreError> {
        let dead = dead.to_vec();
        self.write(|truth| async move { truth.requeue(&dead, now, limit).await }).await
    }

    async fn take_over(&self, dead: &[WorkerId], request: &ClaimRequest) -> Result<Vec<RunRow>, StoreError> {
        let (dead, request) = (dead.to_vec(), request.clone());
        self.write(|truth| async move { truth.take_over(&dead, &request).await }).await
    }

    async fn owned(&self, worker: WorkerId) -> Result<Vec<(RunId, Epoch)>, StoreError> {
        self.read(self.truth.store.owned(worker)).await
    }

    async fn give_back(&self, worker: WorkerId, runs: &[(RunId, Epoch)]) -> Result<Vec<(RunId, Lane)>, StoreError> {
        let runs = runs.to_vec();
        self.write(|truth| async move { truth.store.give_back(worker, &runs).await }).await
    }

    async fn wake_due(&self, now: Micros, limit: usize) -> Result<Vec<(RunId, Lane)>, StoreError> {
        self.write(|truth| async move { truth.store.wake_due(now, limit).await }).await
    }

    async fn run(&self, run: RunId) -> Result<Option<RunRow>, StoreError> {
        self.read(self.truth.store.run(run)).await
    }

    async fn runs(&self, tenant: TenantId, filter: &RunFilter) -> Result<Page<RunRow>, StoreError> {
        self.read(self.truth.store.runs(tenant, filter)).await
    }

    async fn live_counts(&self, tenant: TenantId) -> Result<Vec<LiveCount>, StoreError> {
        self.read(self.truth.store.live_counts(tenant)).await
    }

    async fn queue_position(&self, run: RunId) -> Result<Option<u64>, StoreError> {
        self.read(self.truth.store.queue_position(run)).await
    }

    async fn events(&self, run: RunId, after: u64, limit: usize) -> Result<Vec<StoredEvent>, StoreError> {
        self.read(self.truth.store.events(run, after, limit)).await
    }

    async fn facts(&self, run: RunId, after: u64, limit: usize) -> Result<Vec<StoredEvent>, StoreError> {
        self.read(self.truth.store.facts(run, after, limit)).await
    }

    async fn steps(&self, run: RunId) -> Result<Vec<StepRow>, StoreError> {
        self.read(self.truth.store.steps(run)).await
    }

    async fn change_mark(&self) -> Result<i64, StoreError> {
        self.truth.store.change_mark().await
    }
}
