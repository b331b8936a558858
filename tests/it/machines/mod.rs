//! Several machines: one store and one store of artifacts, but each has a disk of its own.

mod segments;
mod workspaces;

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;
use opsroom::{
    control::{Archiver, Archives, History, Limits, Plans, Segments, Signals, Uploads, World},
    feed::MemoryFeed,
    model::{Event, Failure, RunId, Success, TenantId},
    ports::{Artifacts, AttemptContext, Executor, Ids, LogStream},
    queue::ChannelQueue,
    store::SqliteStore,
    system::{
        EnvSecrets, FolderBundles, FolderSpool, FolderWorkspaces, ObjectArtifacts, RandomIds, SecretMasks,
        StoredSnapshots, SystemClock,
    },
};
use serde_json::json;

use crate::{
    artifacts::server,
    control::world::{Act, Actions, Process},
};

/// What all machines share.
pub struct Fleet {
    pub store: Arc<SqliteStore>,
    pub artifacts: Arc<dyn Artifacts>,
    folder: tempfile::TempDir,
}

impl Fleet {
    /// Artifacts are in a real object store.
    pub async fn new() -> Fleet {
        let config = std::thread::spawn(|| server::config(server::port())).join().unwrap();
        Fleet::with(Arc::new(ObjectArtifacts::new(&config).unwrap())).await
    }

    pub async fn with(artifacts: Arc<dyn Artifacts>) -> Fleet {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(SqliteStore::open(&folder.path().join("opsroom.db")).await.unwrap());
        Fleet { store, artifacts, folder }
    }

    /// A machine with a disk of this name.
    pub async fn machine(&self, name: &str) -> Machine {
        self.machine_with(name, 64 << 20, []).await
    }

    pub async fn machine_with(
        &self,
        name: &str,
        limit: u64,
        actions: impl IntoIterator<Item = (&'static str, Act)>,
    ) -> Machine {
        let (folder, worker) = (self.folder.path().join(name), RandomIds.worker_id());
        std::fs::create_dir_all(&folder).unwrap();
        let spool_folder = folder.join("spool").join(worker.to_string());
        let spool = Arc::new(FolderSpool::new(&spool_folder).unwrap());
        let (store, artifacts, clock) = (self.store.clone(), self.artifacts.clone(), Arc::new(SystemClock));
        let uploads = Uploads::new(worker, store.clone(), artifacts.clone(), spool.clone(), clock.clone());
        let own: BTreeMap<&'static str, Act> = actions.into_iter().chain([("talk", Arc::new(Talk) as Act)]).collect();
        let world = World {
            archives: Archives::new(store.clone(), artifacts.clone()),
            segments: Segments::new(store.clone(), artifacts.clone()).with_uploads(uploads.clone()),
            plans: Plans::new(store.clone()),
            store: store.clone(),
            queue: Arc::new(ChannelQueue::new()),
            feed: Arc::new(MemoryFeed::new()),
            spool,
            clock,
            ids: Arc::new(RandomIds),
            secrets: Arc::new(EnvSecrets::new([])),
            masks: Arc::new(SecretMasks::default()),
            executors: Arc::new(Actions::new(&folder, own)),
            workspaces: Arc::new(FolderWorkspaces::new(&folder)),
            snapshots: Some(Arc::new(StoredSnapshots::new(artifacts.clone(), &folder, limit).unwrap())),
            bundles: Arc::new(FolderBundles::new(artifacts, folder.join("bundles"))),
            signals: Signals::default(),
            limits: Limits::default(),
        };
        Machine { process: Process::of(worker, world).await, uploads, folder, spool_folder }
    }
}

pub struct Machine {
    pub process: Process,
    pub uploads: Uploads,
    pub folder: PathBuf,
    pub spool_folder: PathBuf,
}

impl Machine {
    /// Takes runs, and sends what they say.
    pub fn work(&self) {
        self.process.serve(4);
        self.send();
    }

    pub fn send(&self) {
        self.process.tasks.spawn(self.uploads.clone().run(self.process.stop.clone()));
    }

    pub fn history(&self) -> History {
        self.process.world.history(TenantId::DEFAULT)
    }

    /// Any machine can archive: what it needs is in the two stores.
    pub fn archiver(&self, fleet: &Fleet) -> Archiver {
        let World { spool, clock, .. } = self.process.world.clone();
        Archiver::new(fleet.store.clone(), fleet.artifacts.clone(), spool, clock, self.history())
    }
}

pub async fn all(history: &History, run: RunId) -> Vec<Event> {
    let (mut reader, mut events) = (history.reader(run, 0), Vec::new());
    while let Some(event) = reader.next().await.unwrap() {
        events.push(event);
    }
    events
}

/// Waits until something holds.
pub async fn until(what: &str, is: impl AsyncFn() -> bool) {
    for _ in 0..1_500 {
        if is().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("waited in vain: {what}");
}

/// Says `lines` lines of `bytes` bytes, then waits for `open` where it is given.
struct Talk;

#[async_trait]
impl Executor for Talk {
    async fn execute(&self, context: AttemptContext) -> Result<Success, Failure> {
        let number = |name: &str| context.with[name].as_u64().unwrap_or(0);
        for line in 0..number("lines") {
            let filler = "x".repeat(usize::try_from(number("bytes")).unwrap());
            context.log.bytes(LogStream::Stdout, format!("line {line} {filler}\n").into_bytes()).await;
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(number("millis"))) => Ok(Success::default()),
            () = context.cancel.cancelled() => Err(Failure::error("STOPPED", "as asked")),
        }
    }

    fn needs_workspace(&self) -> bool {
        false
    }
}

/// A step that talks.
pub fn talk(lines: u64, bytes: u64, millis: u64) -> (&'static str, serde_json::Value) {
    ("talk", json!({"lines": lines, "bytes": bytes, "millis": millis}))
}
