//! Tells the owners of this process that a signal waits for them in the store.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::Notify;

use crate::model::RunId;

/// Which runs of this process listen for signals. A ring is only a hint: owners ask the store, and are
/// rung again by the poll that covers lost hints. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Signals {
    listening: Arc<Mutex<HashMap<RunId, Arc<Notify>>>>,
}

impl Signals {
    /// Listens for a run until the answer is dropped.
    pub fn listen(&self, run: RunId) -> Listening {
        let bell = Arc::new(Notify::new());
        self.lock().insert(run, bell.clone());
        Listening { run, bell, signals: self.clone() }
    }

    /// Wakes the run's owner, if it lives in this process.
    pub fn ring(&self, run: RunId) {
        if let Some(bell) = self.lock().get(&run) {
            bell.notify_one();
        }
    }

    /// Whether the run's owner is in this process, and driving it.
    pub fn is_listening(&self, run: RunId) -> bool {
        self.lock().contains_key(&run)
    }

    /// Whether any run of this process is listening.
    pub fn is_idle(&self) -> bool {
        self.lock().is_empty()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<RunId, Arc<Notify>>> {
        self.listening.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The listening end for one run.
#[derive(Debug)]
pub struct Listening {
    run: RunId,
    bell: Arc<Notify>,
    signals: Signals,
}

impl Listening {
    /// Waits for the next ring; one that came before is remembered.
    pub async fn rung(&self) {
        self.bell.notified().await;
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let mut listening = self.signals.lock();
        // A later owner of the same run may listen already.
        if listening.get(&self.run).is_some_and(|bell| Arc::ptr_eq(bell, &self.bell)) {
            listening.remove(&self.run);
        }
    }
}
