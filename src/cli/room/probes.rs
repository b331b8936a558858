//! The parts that must be usable for the process to be ready.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use tokio::sync::watch;

use crate::{
    cli::instance::Instance,
    http::health::Health,
    ports::{Probe, Unready},
};

/// `worker`: if there is one; `runbooks`: of the scheduler, if there is one.
pub fn health(instance: &Instance, worker: Option<WorkerAlive>, runbooks: Option<RunbookFolder>) -> Health {
    let mut parts: Vec<(&str, Arc<dyn Probe>)> =
        vec![("store", instance.rows()), ("artifacts", instance.files.probe.clone())];
    if let Some(worker) = worker {
        parts.push(("lanes", Arc::new(worker)));
    }
    if let Some(runbooks) = runbooks {
        parts.push(("runbooks", Arc::new(runbooks)));
    }
    Health::new(parts)
}

/// Whether the lanes are being served, by a worker that has its lease.
#[derive(Debug, Clone, Default)]
pub struct WorkerAlive(Arc<AtomicBool>);

/// The lanes live as long as this does.
#[derive(Debug)]
pub struct Living(Arc<AtomicBool>);

impl WorkerAlive {
    pub fn living(&self) -> Living {
        self.0.store(true, Ordering::SeqCst);
        Living(self.0.clone())
    }
}

impl Drop for Living {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

#[async_trait]
impl Probe for WorkerAlive {
    async fn probe(&self) -> Result<(), Unready> {
        if self.0.load(Ordering::SeqCst) {
            return Ok(());
        }
        Err(Unready {
            code: "LANES_STOPPED",
            detail: "the lanes take no runs, or the lease of the worker is lost".to_owned(),
        })
    }
}

/// The folder that is followed, if there is one, and whether its runbooks were looked at, or the shipped ones stored.
pub struct RunbookFolder {
    pub folder: Option<PathBuf>,
    pub known: watch::Receiver<bool>,
}

#[async_trait]
impl Probe for RunbookFolder {
    async fn probe(&self) -> Result<(), Unready> {
        if !*self.known.borrow() {
            return Err(Unready { code: "RUNBOOKS_LOADING", detail: "the runbooks are being looked at".to_owned() });
        }
        let Some(folder) = &self.folder else { return Ok(()) };
        tokio::fs::read_dir(folder).await.map(drop).map_err(|error| {
            tracing::warn!(folder = %folder.display(), %error, "the folder of runbooks cannot be read");
            Unready { code: "RUNBOOKS_UNREADABLE", detail: "the folder of runbooks cannot be read".to_owned() }
        })
    }
}
