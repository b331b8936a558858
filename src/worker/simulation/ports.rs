//! Simulated ports beside the store and the steps.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use serde_json::Value;
use tokio::sync::Notify;
use uuid::Uuid;

use super::scene::Scene;
use crate::{
    model::{Category, Digest, Epoch, Event, Failure, Lane, RunId, SessionId, TenantId, WorkerId},
    ports::{
        Announcements, BundleError, Bundles, Doorbell, Executor, Executors, Feed, Ids, Liveness, Mask, MaskStream,
        Masks, Queue, SecretError, SecretValue, Secrets, Spool, Store, StoreError, Subscription, Workspaces,
    },
    runbook::Bundle,
};

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
    scene: Scene,
}

impl SimQueue {
    pub fn new(scene: Scene) -> SimQueue {
        SimQueue { bell: Arc::default(), scene }
    }
}

impl Queue for SimQueue {
    fn ring(&self, _: Lane) {
        let draw = self.scene.below(6);
        if draw == 0 {
            self.scene.faults().lost_rings += 1;
            return;
        }
        self.bell.notify_one();
        if draw == 1 {
            self.scene.faults().doubled_rings += 1;
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

/// By locks: whose lock is free is dead.
pub struct SimLiveness {
    pub store: Arc<dyn Store>,
    pub dead: Arc<Mutex<BTreeMap<WorkerId, usize>>>,
    /// Who this process is.
    pub own: Arc<Mutex<Option<WorkerId>>>,
}

#[async_trait]
impl Liveness for SimLiveness {
    async fn dead(&self) -> Result<Vec<WorkerId>, StoreError> {
        let (owners, own) = (self.store.owners().await?, *self.own.lock().unwrap());
        let dead = self.dead.lock().unwrap();
        Ok(owners.into_iter().filter(|owner| Some(*owner) != own && dead.contains_key(owner)).collect())
    }
}

/// By locks, in one data folder.
pub struct Neighbours {
    pub dead: Arc<Mutex<BTreeMap<WorkerId, usize>>>,
    pub place: usize,
}

#[async_trait]
impl Liveness for Neighbours {
    async fn dead(&self) -> Result<Vec<WorkerId>, StoreError> {
        let dead = self.dead.lock().unwrap();
        Ok(dead.iter().filter(|(_, place)| **place == self.place).map(|(worker, _)| *worker).collect())
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

impl Executors for SimRest {
    fn get(&self, _: &str) -> Option<Arc<dyn Executor>> {
        None
    }

    fn check(&self, _: &str, _: &Value) -> Result<(), Failure> {
        Ok(())
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

    fn is_untouched(&self, _: &Path) -> bool {
        true
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
