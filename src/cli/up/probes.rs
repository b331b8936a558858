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

pub fn health(instance: &Instance, lanes: LanesAlive, folder: Option<PathBuf>, known: watch::Receiver<bool>) -> Health {
    let parts: [(&str, Arc<dyn Probe>); 4] = [
        ("store", instance.rows()),
        ("artifacts", instance.files.probe.clone()),
        ("lanes", Arc::new(lanes)),
        ("runbooks", Arc::new(RunbookFolder { folder, known })),
    ];
    Health::new(parts)
}

/// Whether the lanes are being served.
#[derive(Debug, Clone, Default)]
pub struct LanesAlive(Arc<AtomicBool>);

/// The lanes live as long as this does.
#[derive(Debug)]
pub struct Living(Arc<AtomicBool>);

impl LanesAlive {
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
impl Probe for LanesAlive {
    async fn probe(&self) -> Result<(), Unready> {
        if self.0.load(Ordering::SeqCst) {
            return Ok(());
        }
        Err(Unready { code: "LANES_STOPPED", detail: "the lanes take no runs".to_owned() })
    }
}

/// The folder that is followed, if there is one, and whether its runbooks were looked at, or the shipped ones stored.
struct RunbookFolder {
    folder: Option<PathBuf>,
    known: watch::Receiver<bool>,
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
