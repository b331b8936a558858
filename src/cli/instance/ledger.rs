//! The rows of an instance: one SQLite file, or a database.

use std::sync::Arc;

use crate::{
    ports::{
        ArchiveStore, ArtifactIndex, IdempotencyStore, Probe, RunbookStore, SegmentStore, SessionStore, Store,
        StoreError,
    },
    store::{EndedRun, PgStore, SqliteStore},
};

/// Every port that is answered out of rows; one adapter has them all.
pub trait Rows:
    Store + SessionStore + RunbookStore + IdempotencyStore + ArchiveStore + ArtifactIndex + SegmentStore + Probe
{
}

impl<T> Rows for T where
    T: Store + SessionStore + RunbookStore + IdempotencyStore + ArchiveStore + ArtifactIndex + SegmentStore + Probe
{
}

/// The adapter behind the rows, for what only some of them can do.
#[derive(Debug, Clone)]
pub enum Ledger {
    /// A file in the data folder.
    Folder(Arc<SqliteStore>),
    /// A PostgreSQL database, and where it is.
    Database(Arc<PgStore>, Arc<str>),
}

impl Ledger {
    pub fn rows(&self) -> Arc<dyn Rows> {
        match self {
            Ledger::Folder(store) => store.clone(),
            Ledger::Database(store, _) => store.clone(),
        }
    }

    /// Where it is, for people; without a password.
    pub fn place(&self) -> String {
        match self {
            Ledger::Folder(_) => "the data folder".to_owned(),
            Ledger::Database(_, place) => format!("the database {place}"),
        }
    }

    /// How many commits may be under way at once.
    pub fn writers(&self) -> usize {
        match self {
            // SQLite has one.
            Ledger::Folder(_) => 1,
            Ledger::Database(..) => 2,
        }
    }

    /// Writes ended runs, for measurements.
    pub async fn seed(&self, runs: &[EndedRun]) -> Result<(), StoreError> {
        match self {
            Ledger::Folder(store) => store.seed(runs).await,
            Ledger::Database(store, _) => store.seed(runs).await,
        }
    }

    /// Closes it; whoever still has a part in it keeps it open.
    pub async fn close(self) {
        match self {
            Ledger::Folder(store) => {
                if let Some(store) = Arc::into_inner(store)
                    && let Err(error) = store.close().await
                {
                    tracing::warn!(%error, "the database could not be closed; it is complete all the same");
                }
            }
            Ledger::Database(store, _) => store.close().await,
        }
    }
}
