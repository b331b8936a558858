//! Simulated ports with seeded faults.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use serde_json::Value;
use tokio::sync::Notify;
use uuid::Uuid;

use crate::{
    engine::testing::Rng,
    model::{
        Attempt, Category, Digest, Epoch, Event, Failure, FailureReason, Lane, Micros, RunId, RunStatus, SessionId,
        Success, TenantId, WorkerId,
    },
    ports::{
        Announcements, AttemptContext, Beat, BundleError, Bundles, ClaimRequest, Clock, CommitAnswer, Creation,
        Doorbell, Executor, Executors, ExpiredWorkers, Feed, Idempotency, Ids, LiveCount, Liveness, LogStream, Mask,
        MaskStream, Masks, NewRun, Page, Queue, RunCommit, RunFilter, RunRow, SecretError, SecretValue, Secrets,
        SignalKind, SignalRow, Spool, StepRow, Store, StoreError, StoredEvent, Subscription, WorkerRow, WorkerState,
        Workspaces,
    },
    runbook::Bundle,
    store::MemoryStore,
};

/// How often each fault occurred.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Faults {
    pub before_write: u32,
    pub after_write: u32,
    pub refused: u32,
    pub lost_claims: u32,
    pub full: u32,
    pub lost_rings: u32,
    pub doubled_rings: u32,
    pub kills: u32,
    pub freezes: u32,
    pub clock_jumps: u32,
}

impl Faults {
    pub fn add(&mut self, other: &Faults) {
        self.before_write += other.before_write;
        self.after_write += other.after_write;
        self.refused += other.refused;
        self.lost_claims += other.lost_claims;
        self.full += other.full;
        self.lost_rings += other.lost_rings;
        self.doubled_rings += other.doubled_rings;
        self.kills += other.kills;
        self.freezes += other.freezes;
        self.clock_jumps += other.clock_jumps;
    }

    pub fn all_occurred(&self) -> bool {
        let store = [self.before_write, self.after_write, self.refused, self.lost_claims, self.full];
        let others = [self.lost_rings, self.doubled_rings, self.kills, self.freezes, self.clock_jumps];
        store.iter().chain(&others).all(|n| *n > 0)
    }
}

/// A store that is slow, fails before it wrote, fails after it wrote, and now and then refuses a commit.
pub struct FaultyStore {
    truth: Arc<MemoryStore>,
    rng: Arc<Mutex<Rng>>,
    faults: Arc<Mutex<Faults>>,
}

impl FaultyStore {
    pub fn new(truth: Arc<MemoryStore>, rng: Arc<Mutex<Rng>>, faults: Arc<Mutex<Faults>>) -> FaultyStore {
        FaultyStore { truth, rng, faults }
    }

    fn one_in(&self, n: usize) -> bool {
        self.rng.lock().unwrap().one_in(n)
    }

    async fn slow(&self) {
        let millis = self.rng.lock().unwrap().below(4) as u64;
        if millis > 0 {
            tokio::time::sleep(Duration::from_millis(millis)).await;
        }
    }

    async fn before(&self) -> Result<(), StoreError> {
        self.slow().await;
        if self.one_in(25) {
            self.faults.lock().unwrap().before_write += 1;
            return Err(StoreError::Busy("before the write".into()));
        }
        Ok(())
    }

    async fn after<T>(&self, answer: T) -> Result<T, StoreError> {
        self.slow().await;
        if self.one_in(25) {
            self.faults.lock().unwrap().after_write += 1;
            return Err(StoreError::Busy("after the write".into()));
        }
        Ok(answer)
    }
}

#[async_trait]
impl Store for FaultyStore {
    async fn put_plan(&self, tenant: TenantId, digest: Digest, plan: &[u8], source: &str) -> Result<(), StoreError> {
        self.truth.put_plan(tenant, digest, plan, source).await
    }

    async fn plan(&self, tenant: TenantId, digest: Digest) -> Result<Option<Vec<u8>>, StoreError> {
        self.truth.plan(tenant, digest).await
    }

    async fn source(&self, tenant: TenantId, digest: Digest) -> Result<Option<String>, StoreError> {
        self.truth.source(tenant, digest).await
    }

    async fn create_runs(&self, runs: &[NewRun], idempotency: Option<&Idempotency>) -> Result<Creation, StoreError> {
        self.truth.create_runs(runs, idempotency).await
    }

    async fn claim(&self, request: &ClaimRequest) -> Result<Vec<RunRow>, StoreError> {
        self.before().await?;
        let claimed = self.truth.claim(request).await?;
        let found = claimed.len();
        let answer = self.after(claimed).await;
        if answer.is_err() && found > 0 {
            self.faults.lock().unwrap().lost_claims += 1;
        }
        answer
    }

    async fn commit(&self, batch: &[RunCommit]) -> Result<Vec<CommitAnswer>, StoreError> {
        self.before().await?;
        if self.one_in(100) {
            self.faults.lock().unwrap().full += 1;
            return Err(StoreError::Full("no room".into()));
        }
        let refused = self.one_in(200).then(|| self.rng.lock().unwrap().below(batch.len()));
        let mut answers = Vec::new();
        for (index, commit) in batch.iter().enumerate() {
            if refused == Some(index) {
                self.faults.lock().unwrap().refused += 1;
                answers.push(CommitAnswer::Refused("a value that the store does not take".into()));
            } else {
                answers.extend(self.truth.commit(std::slice::from_ref(commit)).await?);
            }
        }
        self.after(answers).await
    }

    async fn signal(
        &self,
        run: RunId,
        kind: &SignalKind,
        at: Micros,
    ) -> Result<Option<Result<SignalRow, RunStatus>>, StoreError> {
        self.truth.signal(run, kind, at).await
    }

    async fn signals(&self, run: RunId, after: i64) -> Result<Vec<SignalRow>, StoreError> {
        self.slow().await;
        self.truth.signals(run, after).await
    }

    async fn signalled(&self, worker: WorkerId) -> Result<Vec<RunId>, StoreError> {
        self.before().await?;
        self.truth.signalled(worker).await
    }

    async fn register_worker(&self, worker: &WorkerRow, lease: Option<Duration>) -> Result<Beat, StoreError> {
        self.truth.register_worker(worker, lease).await
    }

    async fn beat(&self, worker: WorkerId, lease: Option<Duration>) -> Result<Beat, StoreError> {
        self.before().await?;
        let answer = self.truth.beat(worker, lease).await?;
        self.after(answer).await
    }

    async fn expired_workers(&self, limit: usize) -> Result<ExpiredWorkers, StoreError> {
        self.before().await?;
        let answer = self.truth.expired_workers(limit).await?;
        self.after(answer).await
    }

    async fn workers(
        &self,
        tenant: TenantId,
        after: Option<WorkerId>,
        limit: usize,
    ) -> Result<Page<WorkerState>, StoreError> {
        self.truth.workers(tenant, after, limit).await
    }

    async fn drain_worker(&self, tenant: TenantId, worker: WorkerId) -> Result<bool, StoreError> {
        self.truth.drain_worker(tenant, worker).await
    }

    async fn forget_workers(&self, workers: &[WorkerId]) -> Result<(), StoreError> {
        self.before().await?;
        self.truth.forget_workers(workers).await
    }

    async fn owners(&self) -> Result<Vec<WorkerId>, StoreError> {
        self.before().await?;
        self.truth.owners().await
    }

    async fn requeue(&self, dead: &[WorkerId], now: Micros, limit: usize) -> Result<Vec<(RunId, Lane)>, StoreError> {
        self.before().await?;
        let answer = self.truth.requeue(dead, now, limit).await?;
        self.after(answer).await
    }

    async fn take_over(&self, dead: &[WorkerId], request: &ClaimRequest) -> Result<Vec<RunRow>, StoreError> {
        self.before().await?;
        let answer = self.truth.take_over(dead, request).await?;
        self.after(answer).await
    }

    async fn owned(&self, worker: WorkerId) -> Result<Vec<(RunId, Epoch)>, StoreError> {
        self.before().await?;
        self.truth.owned(worker).await
    }

    async fn give_back(&self, worker: WorkerId, runs: &[(RunId, Epoch)]) -> Result<Vec<(RunId, Lane)>, StoreError> {
        self.before().await?;
        let answer = self.truth.give_back(worker, runs).await?;
        self.after(answer).await
    }

    async fn wake_due(&self, now: Micros, limit: usize) -> Result<Vec<(RunId, Lane)>, StoreError> {
        self.before().await?;
        let answer = self.truth.wake_due(now, limit).await?;
        self.after(answer).await
    }

    async fn run(&self, run: RunId) -> Result<Option<RunRow>, StoreError> {
        self.truth.run(run).await
    }

    async fn runs(&self, tenant: TenantId, filter: &RunFilter) -> Result<Page<RunRow>, StoreError> {
        self.truth.runs(tenant, filter).await
    }

    async fn live_counts(&self, tenant: TenantId) -> Result<Vec<LiveCount>, StoreError> {
        self.truth.live_counts(tenant).await
    }

    async fn queue_position(&self, run: RunId) -> Result<Option<u64>, StoreError> {
        self.truth.queue_position(run).await
    }

    async fn events(&self, run: RunId, after: u64, limit: usize) -> Result<Vec<StoredEvent>, StoreError> {
        self.slow().await;
        self.truth.events(run, after, limit).await
    }

    async fn facts(&self, run: RunId, after: u64, limit: usize) -> Result<Vec<StoredEvent>, StoreError> {
        self.slow().await;
        self.truth.facts(run, after, limit).await
    }

    async fn steps(&self, run: RunId) -> Result<Vec<StepRow>, StoreError> {
        self.truth.steps(run).await
    }

    async fn change_mark(&self) -> Result<i64, StoreError> {
        self.truth.change_mark().await
    }
}

/// Simulated time with jumps.
#[derive(Debug)]
pub struct SimClock {
    start: tokio::time::Instant,
    offset_millis: AtomicI64,
}

impl Default for SimClock {
    fn default() -> SimClock {
        SimClock { start: tokio::time::Instant::now(), offset_millis: AtomicI64::new(0) }
    }
}

impl SimClock {
    pub fn jump(&self, millis: i64) {
        self.offset_millis.fetch_add(millis, Ordering::Relaxed);
    }
}

impl Clock for SimClock {
    fn now(&self) -> Micros {
        let elapsed = i64::try_from(self.start.elapsed().as_micros()).unwrap();
        Micros(1_700_000_000_000_000 + elapsed + self.offset_millis.load(Ordering::Relaxed) * 1_000)
    }
}

#[derive(Debug, Default)]
pub struct SimIds(AtomicU64);

impl SimIds {
    fn next(&self) -> Uuid {
        Uuid::from_u128(u128::from(self.0.fetch_add(1, Ordering::Relaxed) + 1))
    }
}

impl Ids for SimIds {
    fn run_id(&self) -> RunId {
        RunId(self.next())
    }

    fn worker_id(&self) -> WorkerId {
        WorkerId(self.next())
    }

    fn session_id(&self) -> SessionId {
        SessionId(self.next())
    }

    fn request_id(&self) -> Uuid {
        self.next()
    }
}

/// Doorbells that are lost or ring twice.
pub struct SimQueue {
    bell: Arc<Notify>,
    rng: Arc<Mutex<Rng>>,
    faults: Arc<Mutex<Faults>>,
}

impl SimQueue {
    pub fn new(rng: Arc<Mutex<Rng>>, faults: Arc<Mutex<Faults>>) -> SimQueue {
        SimQueue { bell: Arc::default(), rng, faults }
    }
}

impl Queue for SimQueue {
    fn ring(&self, _: Lane) {
        let draw = self.rng.lock().unwrap().below(6);
        if draw == 0 {
            self.faults.lock().unwrap().lost_rings += 1;
            return;
        }
        self.bell.notify_one();
        if draw == 1 {
            self.faults.lock().unwrap().doubled_rings += 1;
            self.bell.notify_waiters();
        }
    }

    fn listen(&self, _: Lane) -> Box<dyn Doorbell> {
        Box::new(SimBell(self.bell.clone()))
    }
}

struct SimBell(Arc<Notify>);

#[async_trait]
impl Doorbell for SimBell {
    async fn heard(&self) {
        self.0.notified().await;
    }
}

/// Keeps everything that was published.
#[derive(Debug, Default)]
pub struct SimFeed(Mutex<Vec<Arc<Event>>>);

impl SimFeed {
    /// The durable events that were shown.
    pub fn shown(&self, run: RunId) -> Vec<Arc<Event>> {
        let shown = self.0.lock().unwrap();
        shown.iter().filter(|event| event.run_id == run && event.event.category != Category::System).cloned().collect()
    }
}

impl Feed for SimFeed {
    fn publish(&self, _: RunId, _: Epoch, events: &[Arc<Event>]) {
        self.0.lock().unwrap().extend_from_slice(events);
    }

    fn subscribe(&self, _: RunId) -> Box<dyn Subscription> {
        Box::new(SimRest)
    }

    fn close(&self, _: RunId) {}

    fn is_watched(&self, _: TenantId) -> bool {
        false
    }

    fn announce(&self, _: TenantId, _: &[Arc<Event>]) {}

    fn subscribe_all(&self, _: TenantId) -> Box<dyn Announcements> {
        unreachable!("nobody watches")
    }
}

pub struct SimLiveness {
    pub store: Arc<dyn Store>,
    pub dead: Arc<Mutex<std::collections::BTreeSet<WorkerId>>>,
    pub own: WorkerId,
}

#[async_trait]
impl Liveness for SimLiveness {
    async fn dead(&self) -> Result<Vec<WorkerId>, StoreError> {
        let owners = self.store.owners().await?;
        let dead = self.dead.lock().unwrap();
        Ok(owners.into_iter().filter(|owner| *owner != self.own && dead.contains(owner)).collect())
    }
}

type Executed = BTreeMap<(RunId, String, Attempt), u32>;

/// Steps that take a while, say something, and end in any way.
pub struct SimExecutors {
    truth: Arc<MemoryStore>,
    rng: Arc<Mutex<Rng>>,
    executed: Arc<Mutex<Executed>>,
}

impl SimExecutors {
    pub fn new(truth: Arc<MemoryStore>, rng: Arc<Mutex<Rng>>) -> SimExecutors {
        SimExecutors { truth, rng, executed: Arc::default() }
    }

    pub fn executed(&self) -> Executed {
        self.executed.lock().unwrap().clone()
    }
}

impl Executors for SimExecutors {
    fn get(&self, _: &str) -> Option<Arc<dyn Executor>> {
        Some(Arc::new(SimExecutor {
            truth: self.truth.clone(),
            rng: self.rng.clone(),
            executed: self.executed.clone(),
        }))
    }

    fn check(&self, _: &str, _: &Value) -> Result<(), Failure> {
        Ok(())
    }
}

struct SimExecutor {
    truth: Arc<MemoryStore>,
    rng: Arc<Mutex<Rng>>,
    executed: Arc<Mutex<Executed>>,
}

impl SimExecutor {
    fn below(&self, n: usize) -> usize {
        self.rng.lock().unwrap().below(n)
    }
}

#[async_trait]
impl Executor for SimExecutor {
    async fn execute(&self, context: AttemptContext) -> Result<Success, Failure> {
        let step = context.step.to_string();
        let events = self.truth.events(context.run, 0, 1_000_000).await.unwrap();
        let committed = |e: &StoredEvent| {
            e.kind.action == "step_started" && e.data["step"] == step.as_str() && e.data["attempt"] == context.attempt
        };
        assert!(events.iter().any(committed), "{step} attempt {} began before its fact was durable", context.attempt);
        *self.executed.lock().unwrap().entry((context.run, step, context.attempt)).or_default() += 1;

        let work = Duration::from_millis(self.below(40) as u64);
        let stubborn = self.below(10) == 0;
        tokio::select! {
            biased;
            () = context.cancel.cancelled(), if !stubborn => return Err(Failure::error("STOPPED", "as asked")),
            () = tokio::time::sleep(work) => {}
        }
        if self.below(3) == 0 {
            context.log.bytes(LogStream::Stdout, b"working".to_vec()).await;
            context.log.note(Category::Dispatch, "told", serde_json::Map::new()).await?;
        }
        match self.below(8) {
            0 => Err(Failure::error("E", "it broke")),
            1 => Err(Failure::error("X", "exit").because(FailureReason::Exit(75))),
            2 => Err(Failure::error("SUPERVISOR_LOST", "gone").because(FailureReason::WorkerLost)),
            _ => Ok(Success::default()),
        }
    }

    fn needs_workspace(&self) -> bool {
        false
    }
}

/// Ports that play no part.
pub struct SimRest;

#[async_trait]
impl Subscription for SimRest {
    async fn next(&mut self) -> Option<Arc<Event>> {
        None
    }
}

impl Spool for SimRest {
    fn append(&self, _: RunId, _: &[Arc<Event>]) -> io::Result<()> {
        Ok(())
    }

    fn read(&self, _: RunId, _: u64, _: usize) -> io::Result<Vec<Event>> {
        Ok(Vec::new())
    }

    fn size(&self, _: RunId) -> io::Result<u64> {
        Ok(0)
    }

    fn close(&self, _: RunId) {}

    fn remove(&self, _: RunId) -> io::Result<()> {
        Ok(())
    }

    fn runs(&self, _: usize) -> io::Result<Vec<RunId>> {
        Ok(Vec::new())
    }
}

#[async_trait]
impl Secrets for SimRest {
    async fn get(&self, _: TenantId, name: &str) -> Result<SecretValue, SecretError> {
        Err(SecretError::Missing { name: name.to_owned(), hint: String::new() })
    }
}

impl Masks for SimRest {
    fn mask(&self, _: &[SecretValue]) -> Arc<dyn Mask> {
        Arc::new(SimRest)
    }
}

impl Mask for SimRest {
    fn text(&self, text: &str) -> String {
        text.to_owned()
    }

    fn json(&self, _: &mut Value) {}

    fn stream(&self) -> Box<dyn MaskStream> {
        Box::new(SimRest)
    }
}

impl MaskStream for SimRest {
    fn push(&mut self, bytes: &[u8]) -> Vec<u8> {
        bytes.to_vec()
    }

    fn finish(&mut self) -> Vec<u8> {
        Vec::new()
    }
}

impl Workspaces for SimRest {
    fn open(&self, _: RunId) -> io::Result<PathBuf> {
        Ok(PathBuf::new())
    }

    fn is_empty(&self, _: RunId) -> bool {
        true
    }

    fn scratch(&self, _: RunId) -> io::Result<PathBuf> {
        Ok(PathBuf::new())
    }

    fn discard_scratch(&self, _: RunId, _: &Path) {}

    fn hand_on_scratch(&self, _: RunId, _: PathBuf) {}

    fn close(&self, _: RunId, _: bool) {}
}

#[async_trait]
impl Bundles for SimRest {
    async fn put(&self, _: &Bundle) -> Result<(), BundleError> {
        Ok(())
    }

    async fn lay(&self, digest: Digest) -> Result<PathBuf, BundleError> {
        Err(BundleError::Missing(digest))
    }

    async fn stored(&self) -> Result<Vec<Digest>, BundleError> {
        Ok(Vec::new())
    }

    async fn remove(&self, _: Digest) -> Result<(), BundleError> {
        Ok(())
    }
}
