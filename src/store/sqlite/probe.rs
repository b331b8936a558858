//! Whether the database can be written now.

use async_trait::async_trait;

use sqlx::sqlite::SqliteArguments;

use super::SqliteStore;
use crate::ports::{Probe, StoreError, Unready};

#[async_trait]
impl Probe for SqliteStore {
    /// A durable write of one row. The reason is told in general: it may name folders.
    async fn probe(&self) -> Result<(), Unready> {
        let written = self.write(include_str!("queries/probe.sql"), SqliteArguments::default()).await;
        written.map(drop).map_err(|error| {
            tracing::warn!(%error, "the store cannot be written");
            unready(&error)
        })
    }
}

fn unready(error: &StoreError) -> Unready {
    let (code, detail) = match error {
        StoreError::Busy(_) => ("STORE_BUSY", "another process holds the database"),
        StoreError::Full(_) => ("STORE_FULL", "there is no space left where the data folder is"),
        StoreError::Unavailable(_) => ("STORE_UNAVAILABLE", "the data folder cannot be written"),
        StoreError::Corrupt { .. } | StoreError::Refused(_) => ("STORE_CORRUPT", "the database is damaged"),
    };
    Unready { code, detail: detail.to_owned() }
}
