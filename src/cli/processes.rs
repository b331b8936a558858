//! The processes of steps, with a supervisor that is started by the first of them.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;

use crate::{
    model::WorkerId,
    ports::{Process, ProcessSpec, Processes, SpawnError},
    system::{Supervised, SupervisorConfig, wait_until_gone},
};

/// How long the supervisor may take to leave after its last tree is gone.
const FAREWELL: Duration = Duration::from_secs(2);

/// Starts the supervisor with the first process: a run without processes does without it.
pub struct LazyProcesses {
    config: SupervisorConfig,
    /// Held while the supervisor is started, so that there is one.
    starting: tokio::sync::Mutex<()>,
    started: Mutex<Option<Arc<Supervised>>>,
    /// Since boot; until then the trees may live.
    lease: Mutex<Option<Duration>>,
}

impl std::fmt::Debug for LazyProcesses {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LazyProcesses").field("config", &self.config).finish_non_exhaustive()
    }
}

impl LazyProcesses {
    /// `lock` is held by the supervisor until the last tree is gone.
    pub fn new(worker: WorkerId, lock: PathBuf) -> LazyProcesses {
        let config = SupervisorConfig { lock: Some(lock), ..SupervisorConfig::new(worker) };
        LazyProcesses {
            config,
            starting: tokio::sync::Mutex::new(()),
            started: Mutex::default(),
            lease: Mutex::default(),
        }
    }

    /// Kills what is left of the steps and waits until the supervisor is gone.
    pub async fn stop(&self) {
        let Some(supervised) = self.started().take() else { return };
        drop(supervised);
        if let Some(lock) = &self.config.lock
            && !wait_until_gone(lock, FAREWELL).await.unwrap_or(true)
        {
            tracing::warn!(lock = %lock.display(), "the process supervisor takes long to leave");
        }
    }

    async fn supervised(&self) -> Result<Arc<Supervised>, SpawnError> {
        let _starting = self.starting.lock().await;
        if let Some(supervised) = self.started().as_ref() {
            return Ok(supervised.clone());
        }
        let supervised = Supervised::start(self.config.clone()).await.map_err(|error| {
            tracing::error!(%error, "the process supervisor could not be started");
            SpawnError::SupervisorLost
        })?;
        let supervised = Arc::new(supervised);
        let lease = self.lease();
        if let Some(until) = *lease {
            supervised.extend_until(until);
        }
        *self.started() = Some(supervised.clone());
        Ok(supervised)
    }

    fn lease(&self) -> MutexGuard<'_, Option<Duration>> {
        self.lease.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn started(&self) -> MutexGuard<'_, Option<Arc<Supervised>>> {
        self.started.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Processes for LazyProcesses {
    async fn spawn(&self, spec: ProcessSpec) -> Result<Box<dyn Process>, SpawnError> {
        let started = self.started().clone();
        let supervised = match started {
            Some(supervised) => supervised,
            None => self.supervised().await?,
        };
        supervised.spawn(spec).await
    }
    fn extend(&self, until: Duration) {
        // Held, so that a supervisor that is being started learns the latest.
        let mut lease = self.lease();
        *lease = Some(until);
        if let Some(supervised) = self.started().as_ref() {
            supervised.extend_until(until);
        }
    }
}
