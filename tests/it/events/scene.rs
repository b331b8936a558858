//! A run whose events are written the way an owner writes them, and everything that reads them.

use std::sync::{Arc, Mutex};

use opsroom::{
    control::{History, Streams},
    feed::MemoryFeed,
    model::{Category, Digest, Event, EventKind, Lane, Micros, RunId, RunStatus, TenantId, WorkerId},
    ports::{Clock, CommitAnswer, Feed, NewRun, RunCommit, Spool, Store, StoredEvent, Trigger},
    store::{MemoryStore, SqliteStore},
    system::{FolderSpool, SystemClock},
};
use serde_json::{Map, Value, json};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

pub const RUN: RunId = RunId(Uuid::from_u128(0x0199_0000_0000_7000_8000_0000_0000_0001));
const OWNER: WorkerId = WorkerId(Uuid::from_u128(0xa1));

/// What one process has.
pub struct Scene {
    pub store: Arc<dyn Store>,
    pub spool: Arc<dyn Spool>,
    pub feed: Arc<MemoryFeed>,
    pub history: History,
    pub tasks: TaskTracker,
    pub stop: CancellationToken,
    _folder: Arc<tempfile::TempDir>,
}

impl Scene {
    pub async fn memory(feed: MemoryFeed) -> Scene {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        Scene::of(Arc::new(MemoryStore::new()), feed, folder).created().await
    }

    /// And the store once more, for its other ports.
    pub async fn memory_and_store(feed: MemoryFeed) -> (Scene, Arc<MemoryStore>) {
        let (folder, store) = (Arc::new(tempfile::tempdir().unwrap()), Arc::new(MemoryStore::new()));
        (Scene::of(store.clone(), feed, folder).created().await, store)
    }

    /// Two processes on one folder.
    pub async fn two_processes() -> (Scene, Scene) {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let open = async || Arc::new(SqliteStore::open(&folder.path().join("opsroom.db")).await.unwrap());
        let (a, b) = (open().await, open().await);
        let scene = |store| Scene::of(store, MemoryFeed::new(), folder.clone());
        (scene(a).created().await, scene(b))
    }

    fn of(store: Arc<dyn Store>, feed: MemoryFeed, folder: Arc<tempfile::TempDir>) -> Scene {
        let spool: Arc<dyn Spool> = Arc::new(FolderSpool::new(folder.path().join("spool")).unwrap());
        Scene {
            history: History::new(TenantId::DEFAULT, store.clone(), spool.clone(), Arc::new(SystemClock)),
            store,
            spool,
            feed: Arc::new(feed),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            _folder: folder,
        }
    }

    async fn created(self) -> Scene {
        let plan = Digest::of(b"{}");
        self.store.put_plan(TenantId::DEFAULT, plan, b"{}", "").await.unwrap();
        let run = NewRun {
            session: None,
            runbook_version: None,
            id: RUN,
            tenant: TenantId::DEFAULT,
            runbook: "talk".into(),
            plan,
            lane: Lane::A,
            priority: 0,
            labels: Map::new(),
            params: Map::new(),
            trigger: Trigger { kind: "manual".to_owned(), actor: "ada".to_owned() },
            steps_total: 1,
            created_at: SystemClock.now(),
            claimed_by: Some(OWNER),
            opening: Vec::new(),
        };
        self.store.create_runs(&[run], None).await.unwrap();
        self
    }

    pub fn streams(&self) -> Streams {
        Streams::start(self.history.clone(), self.feed.clone(), &self.tasks, self.stop.clone())
    }

    pub fn writer(&self) -> Writer {
        Writer {
            store: self.store.clone(),
            spool: self.spool.clone(),
            feed: self.feed.clone(),
            version: 1,
            prev: 0,
            stamp: Micros(0),
            waiting: Vec::new(),
            written: Arc::default(),
        }
    }

    pub async fn close(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// Writes a run's events as its owner does.
pub struct Writer {
    store: Arc<dyn Store>,
    spool: Arc<dyn Spool>,
    feed: Arc<MemoryFeed>,
    version: i64,
    prev: u64,
    stamp: Micros,
    waiting: Vec<Arc<Event>>,
    /// Everything that was shown, in order.
    pub written: Arc<Mutex<Vec<u64>>>,
}

impl Writer {
    /// The next events are of another time; for runs whose events have few milliseconds.
    pub fn at(&mut self, millis: i64) {
        self.stamp = Micros(millis * 1_000);
    }

    fn assign(&mut self, category: Category, action: &str, data: Value) -> Arc<Event> {
        let sequence = self.prev + 1;
        let prev = std::mem::replace(&mut self.prev, sequence);
        let kind = EventKind { category, action: action.to_owned() };
        // Whole milliseconds, as in the JSON of events.
        let timestamp = if self.stamp.0 > 0 { self.stamp } else { Micros(SystemClock.now().millis() * 1_000) };
        Arc::new(Event { run_id: RUN, timestamp, sequence, prev, source: None, event: kind, data })
    }

    /// A gap in the numbers, as between two owners; what is between was lost.
    pub fn skip(&mut self, numbers: u64) {
        self.prev += numbers;
    }

    pub fn chunk(&mut self, text: &str) {
        let data = json!({"step": "talk", "attempt": 1, "stream": "stdout", "text": text});
        let event = self.assign(Category::System, "log", data);
        self.waiting.push(event);
    }

    pub fn durable(&mut self) {
        let event = self.assign(Category::Lifecycle, "step_started", json!({"step": "talk", "attempt": 1}));
        self.waiting.push(event);
    }

    /// Commits what is durable, waits, keeps the chunks, waits, shows everything.
    pub async fn flush(&mut self, pause: impl AsyncFn()) {
        self.commit(RunStatus::Running).await;
        pause().await;
        self.show(&pause).await;
    }

    pub async fn end(&mut self) {
        self.commit_end().await;
        self.show_rest().await;
        self.feed.close(RUN);
    }

    /// Commits the end, and has not kept the chunks before it yet.
    pub async fn commit_end(&mut self) {
        let event = self.assign(Category::Lifecycle, "run_finished", json!({"status": "succeeded"}));
        self.waiting.push(event);
        self.commit(RunStatus::Succeeded).await;
    }

    pub async fn show_rest(&mut self) {
        self.show(&async || {}).await;
    }

    async fn commit(&mut self, status: RunStatus) {
        let durable = self.waiting.iter().filter(|event| event.event.category == Category::Lifecycle);
        let events: Vec<StoredEvent> = durable.map(|event| stored(event)).collect();
        if events.is_empty() && status == RunStatus::Running {
            return;
        }
        let commit = RunCommit {
            run: RUN,
            epoch: opsroom::model::Epoch(1),
            worker: OWNER,
            version: self.version,
            at: SystemClock.now(),
            stamp_head: events.last().map_or(Micros(0), |event| event.at),
            events,
            status,
            waiting_on: None,
            wake_at: None,
            signals_applied: 0,
            needs_all_signals: false,
            recoveries_applied: 0,
            sequence_head: self.prev,
            error: None,
            started_at: Some(SystemClock.now()),
            steps: Vec::new(),
        };
        assert_eq!(self.store.commit(&[commit]).await.unwrap(), [CommitAnswer::Committed]);
        self.version += 1;
    }

    async fn show(&mut self, pause: &impl AsyncFn()) {
        let batch = std::mem::take(&mut self.waiting);
        let chunks: Vec<_> = batch.iter().filter(|event| event.event.category == Category::System).cloned().collect();
        self.spool.append(RUN, &chunks).unwrap();
        self.written.lock().unwrap().extend(batch.iter().map(|event| event.sequence));
        pause().await;
        self.feed.publish(RUN, opsroom::model::Epoch(1), &batch);
    }
}

fn stored(event: &Event) -> StoredEvent {
    StoredEvent {
        sequence: event.sequence,
        prev: event.prev,
        at: event.timestamp,
        kind: event.event.clone(),
        data: event.data.clone(),
    }
}
