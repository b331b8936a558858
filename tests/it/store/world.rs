//! A store with two handles, and short ways to make what the cases need.

use std::sync::Arc;

use opsroom::{
    model::{
        Category, Digest, EventKind, Failure, Lane, Micros, RunId, RunStatus, StepIx, StepStatus, TenantId, WaitingOn,
        WorkerId,
    },
    ports::{
        ArchiveStore, ArtifactIndex, ClaimRequest, CommitAnswer, IdempotencyStore, NewRun, RunCommit, RunRow,
        RunbookStore, SegmentStore, SessionStore, SignalKind, StepRow, Store, StoredEvent, Trigger,
    },
    store::{MemoryStore, PgConfig, PgStore, SqliteStore},
};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::servers::{TestDatabase, migrated_database, pooler};

pub const TENANT: TenantId = TenantId::DEFAULT;
pub const W1: WorkerId = WorkerId(Uuid::from_u128(0xa1));
pub const W2: WorkerId = WorkerId(Uuid::from_u128(0xa2));
/// The time at which the stories begin.
pub const T0: Micros = Micros(1_790_000_000_000_000);

/// All the ports that a store implements.
pub trait AnyStore: Store + SessionStore + IdempotencyStore + ArchiveStore + ArtifactIndex + SegmentStore {}
impl<T: Store + SessionStore + IdempotencyStore + ArchiveStore + ArtifactIndex + SegmentStore> AnyStore for T {}

pub struct World {
    pub a: Arc<dyn AnyStore>,
    pub b: Arc<dyn AnyStore>,
    /// The same two, as keepers of answers.
    pub answers: [Arc<dyn IdempotencyStore>; 2],
    /// The same two, as the port of runbooks.
    pub runbooks: [Arc<dyn RunbookStore>; 2],
    _folder: Option<tempfile::TempDir>,
    _database: Option<TestDatabase>,
}

impl World {
    pub async fn memory() -> World {
        let store = Arc::new(MemoryStore::new());
        let answers: [Arc<dyn IdempotencyStore>; 2] = [store.clone(), store.clone()];
        let runbooks: [Arc<dyn RunbookStore>; 2] = [store.clone(), store.clone()];
        World { a: store.clone(), b: store, answers, runbooks, _folder: None, _database: None }.with_plan().await
    }

    pub async fn sqlite() -> World {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("opsroom.db");
        let a = Arc::new(SqliteStore::open(&path).await.unwrap());
        let b = Arc::new(SqliteStore::open(&path).await.unwrap());
        let runbooks: [Arc<dyn RunbookStore>; 2] = [a.clone(), b.clone()];
        let answers: [Arc<dyn IdempotencyStore>; 2] = [a.clone(), b.clone()];
        World { a, b, answers, runbooks, _folder: Some(folder), _database: None }.with_plan().await
    }

    /// Two stores on one database, as in two processes.
    pub async fn postgres() -> World {
        let database = migrated_database().await;
        let config = database.config();
        World::on(database, &config).await
    }

    /// The same, with a pooler in transaction mode between one of them and the server.
    pub async fn pooled() -> World {
        let database = migrated_database().await;
        let config = PgConfig::from_url(&pooler().await.url(database.name())).unwrap();
        World::on(database, &config).await
    }

    async fn on(database: TestDatabase, config: &PgConfig) -> World {
        let a = Arc::new(PgStore::open(config).await.unwrap());
        let b = Arc::new(PgStore::open(&database.config()).await.unwrap());
        let runbooks: [Arc<dyn RunbookStore>; 2] = [a.clone(), b.clone()];
        let answers: [Arc<dyn IdempotencyStore>; 2] = [a.clone(), b.clone()];
        World { a, b, answers, runbooks, _folder: None, _database: Some(database) }.with_plan().await
    }

    async fn with_plan(self) -> World {
        self.a.put_plan(TENANT, plan(), b"{}", "name: deploy\n").await.unwrap();
        self
    }

    /// Creates queued runs.
    pub async fn queued(&self, numbers: impl IntoIterator<Item = u128>) {
        let runs: Vec<NewRun> = numbers.into_iter().map(new_run).collect();
        self.a.create_runs(&runs, None).await.unwrap();
    }

    /// Creates a run that `worker` owns.
    pub async fn owned(&self, number: u128, worker: WorkerId) -> RunRow {
        self.a.create_runs(&[NewRun { claimed_by: Some(worker), ..new_run(number) }], None).await.unwrap();
        self.row(run_id(number)).await
    }

    pub async fn row(&self, run: RunId) -> RunRow {
        self.b.run(run).await.unwrap().unwrap()
    }

    pub async fn commit(&self, commit: RunCommit) -> CommitAnswer {
        let mut answers = self.a.commit(&[commit]).await.unwrap();
        assert_eq!(answers.len(), 1);
        answers.remove(0)
    }

    /// Everything that is known of a run, to show that something changed nothing.
    pub async fn everything(&self, run: RunId) -> (RunRow, Vec<StoredEvent>, Vec<StepRow>) {
        (self.row(run).await, self.b.events(run, 0, usize::MAX).await.unwrap(), self.b.steps(run).await.unwrap())
    }
}

/// Ids that sort by their number, as those of later runs sort after those of earlier ones.
pub fn run_id(number: u128) -> RunId {
    RunId(Uuid::from_u128((0x0199_0000_0000_7000_8000 << 48) + number))
}

pub fn plan() -> Digest {
    Digest::of(b"{}")
}

/// One second later for each number.
pub fn at(number: u128) -> Micros {
    Micros(T0.0 + i64::try_from(number).unwrap() * 1_000_000)
}

pub fn object(value: Value) -> Map<String, Value> {
    serde_json::from_value(value).unwrap()
}

pub fn new_run(number: u128) -> NewRun {
    NewRun {
        id: run_id(number),
        tenant: TENANT,
        runbook: "deploy".into(),
        runbook_version: None,
        session: None,
        plan: plan(),
        lane: Lane::A,
        priority: 0,
        labels: object(json!({"team": "core"})),
        params: object(json!({"version": "1.2.3", "replicas": 3})),
        trigger: Trigger { kind: "manual".to_owned(), actor: "ada".to_owned() },
        steps_total: 2,
        created_at: at(number),
        claimed_by: None,
        opening: Vec::new(),
    }
}

pub fn claim(worker: WorkerId, limit: usize) -> ClaimRequest {
    ClaimRequest { worker, lane: Lane::A, limit, now: at(1_000) }
}

pub fn event(sequence: u64, data: Value) -> StoredEvent {
    StoredEvent {
        sequence,
        prev: sequence - 1,
        at: at(2_000),
        kind: EventKind { category: Category::Lifecycle, action: "step_started".to_owned() },
        data,
    }
}

/// The owner's next write: two events.
pub fn next(row: &RunRow) -> RunCommit {
    let head = row.sequence_head;
    RunCommit {
        run: row.id,
        epoch: row.epoch,
        worker: row.claimed_by.unwrap(),
        version: row.version,
        at: at(2_000),
        events: vec![event(head + 1, json!({"step": 0})), event(head + 2, json!({"step": 1, "attempt": 1}))],
        status: RunStatus::Running,
        waiting_on: None,
        wake_at: None,
        signals_applied: row.signals_applied,
        needs_all_signals: false,
        recoveries_applied: row.recoveries,
        sequence_head: head + 2,
        stamp_head: at(2_000),
        error: None,
        started_at: Some(at(2_000)),
        steps: Vec::new(),
    }
}

pub fn park(row: &RunRow, waiting_on: WaitingOn) -> RunCommit {
    RunCommit {
        status: RunStatus::Queued,
        waiting_on: Some(waiting_on),
        wake_at: Some(at(5_000)),
        needs_all_signals: true,
        steps: vec![step(0, StepStatus::Succeeded), step(1, StepStatus::Pending)],
        ..next(row)
    }
}

pub fn end(row: &RunRow) -> RunCommit {
    RunCommit {
        status: RunStatus::Failed,
        needs_all_signals: true,
        error: Some(Failure::error("EXIT_NONZERO", "it ended with 1")),
        steps: vec![step(0, StepStatus::Succeeded), step(1, StepStatus::Failed)],
        ..next(row)
    }
}

pub fn step(number: u32, status: StepStatus) -> StepRow {
    StepRow {
        step: StepIx(number),
        id: format!("step-{number}").into(),
        uses: "run".into(),
        status,
        attempts: 1,
        started_at: Some(at(2_000)),
        ended_at: status.is_settled().then(|| at(2_001)),
        outputs: object(json!({"digest": "sha256:00", "bytes": 17})),
        error: (status == StepStatus::Failed).then(|| Failure::permanent("EXIT_NONZERO", "1")),
    }
}

pub fn cancel() -> SignalKind {
    SignalKind::Cancel { by: "ada".to_owned(), reason: "wrong version".to_owned(), force: false }
}
