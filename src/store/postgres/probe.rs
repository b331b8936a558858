//! Whether the database can be written now.

use async_trait::async_trait;
use sqlx::postgres::PgArguments;

use super::PgStore;
use crate::ports::{Probe, StoreError, Unready};

#[async_trait]
impl Probe for PgStore {
    /// A durable write of one row. The reason is told in general: it may name hosts.
    async fn probe(&self) -> Result<(), Unready> {
        let written = self.execute(include_str!("queries/probe.sql"), PgArguments::default()).await;
        written.map_err(|error| {
            tracing::warn!(%error, "the store cannot be written");
            unready(&error)
        })
    }
}

fn unready(error: &StoreError) -> Unready {
    let (code, detail) = match error {
        StoreError::Busy(_) => ("STORE_BUSY", "the database does not answer in time"),
        StoreError::Full(_) => ("STORE_FULL", "there is no space left where the database is"),
        StoreError::Unavailable(_) => ("STORE_UNAVAILABLE", "the database cannot be written"),
        StoreError::Corrupt { .. } | StoreError::Refused(_) => ("STORE_CORRUPT", "the database is damaged"),
    };
    Unready { code, detail: detail.to_owned() }
}
