//! Whether the database can be written now.

use async_trait::async_trait;
use sqlx::{Row, postgres::PgArguments};

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

    async fn gauge(&self) {
        let (open, idle) = self.connections();
        let idle = f64::from(u32::try_from(idle).unwrap_or(u32::MAX));
        metrics::gauge!("opsroom_database_connections", "state" => "idle").set(idle);
        metrics::gauge!("opsroom_database_connections", "state" => "used").set((f64::from(open) - idle).max(0.0));
        let Ok(rows) = self.rows(include_str!("queries/gauges.sql"), PgArguments::default()).await else { return };
        let Some(row) = rows.first() else { return };
        for (column, gauge) in [
            ("cache_hit_ratio", metrics::gauge!("opsroom_database_cache_hit_ratio")),
            ("lock_waits", metrics::gauge!("opsroom_database_lock_waits")),
            ("deadlocks", metrics::gauge!("opsroom_database_deadlocks")),
        ] {
            if let Ok(value) = row.try_get::<f64, _>(column) {
                gauge.set(value);
            }
        }
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
