//! The processes of steps, with a supervisor that is started by the first of them.

use std::{
    num::NonZeroUsize,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use tokio::{
    io::AsyncRead,
    sync::{OwnedSemaphorePermit, Semaphore},
};

use crate::{
    model::WorkerId,
    ports::{Exit, Process, ProcessSpec, Processes, SpawnError},
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
    /// One for each process that may run at the same time.
    turns: Arc<Semaphore>,
}

/// A process that ends its turn when it is done with.
struct Turn {
    process: Box<dyn Process>,
    _turn: OwnedSemaphorePermit,
}

impl std::fmt::Debug for LazyProcesses {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LazyProcesses").field("config", &self.config).finish_non_exhaustive()
    }
}

impl LazyProcesses {
    /// `lock` is held by the supervisor until the last tree is gone. Of the processes `at_once` run at the same time;
    /// a spawn waits for its turn.
    pub fn new(worker: WorkerId, lock: PathBuf, at_once: NonZeroUsize) -> LazyProcesses {
        let config = SupervisorConfig { lock: Some(lock), ..SupervisorConfig::new(worker) };
        LazyProcesses {
            config,
            starting: tokio::sync::Mutex::new(()),
            started: Mutex::default(),
            lease: Mutex::default(),
            turns: Arc::new(Semaphore::new(at_once.get().min(Semaphore::MAX_PERMITS))),
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
        // It is never closed.
        let turn = self.turns.clone().acquire_owned().await.map_err(|_| SpawnError::SupervisorLost)?;
        let started = self.started().clone();
        let supervised = match started {
            Some(supervised) => supervised,
            None => self.supervised().await?,
        };
        Ok(Box::new(Turn { process: supervised.spawn(spec).await?, _turn: turn }))
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

#[async_trait]
impl Process for Turn {
    fn id(&self) -> u32 {
        self.process.id()
    }

    fn take_stdout(&mut self) -> Option<Box<dyn AsyncRead + Send + Unpin>> {
        self.process.take_stdout()
    }

    fn take_stderr(&mut self) -> Option<Box<dyn AsyncRead + Send + Unpin>> {
        self.process.take_stderr()
    }

    async fn wait(&mut self) -> Result<Exit, SpawnError> {
        self.process.wait().await
    }

    fn terminate(&mut self, grace: Duration) {
        self.process.terminate(grace);
    }
}
