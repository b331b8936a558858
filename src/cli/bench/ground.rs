//! Where a workload of steps keeps its rows: a SQLite file of its own, or a database of its own on a server.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use super::BenchError;
use crate::{
    cli::config::RedisConfig,
    ports::{Ids, Store, StoreError},
    store::{PgConfig, PgCounts, PgSchema, PgStore, SqliteStore},
    system::RandomIds,
};

/// The place. A database is removed with [`Ground::remove`].
pub(super) enum Ground {
    File(PathBuf),
    Database(Box<Database>),
}

/// The Redis of a measurement: the one that is named, with a prefix of its own.
pub(super) fn own_redis(given: &RedisConfig) -> RedisConfig {
    let prefix = format!("{}opsroom-bench-{}:", given.prefix, RandomIds.worker_id().0.simple());
    RedisConfig { server: given.server.clone(), prefix }
}

/// Removes what a measurement has left in Redis.
pub(super) async fn clear_redis(own: &RedisConfig) {
    if let Err(error) = own.server.forget(&own.prefix).await {
        tracing::warn!(%error, prefix = own.prefix, "the keys of the benchmark could not be removed");
    }
}

impl Ground {
    /// In `dir`, or on the server of `database`.
    pub async fn make(dir: &Path, database: Option<&PgConfig>) -> Result<Ground, BenchError> {
        match database {
            Some(config) => Database::make(config).await.map(Box::new).map(Ground::Database),
            None => Ok(Ground::File(dir.join("bench.db"))),
        }
    }

    pub const fn name(&self) -> &'static str {
        match self {
            Ground::File(_) => "sqlite",
            Ground::Database(_) => "postgres",
        }
    }

    pub async fn open(&self) -> Result<Rows, BenchError> {
        Ok(match self {
            Ground::File(file) => Rows::File(Arc::new(SqliteStore::open(file).await?)),
            Ground::Database(database) => Rows::Database(Arc::new(PgStore::open(&database.config).await?)),
        })
    }

    /// The least that a step can cost, `n` times: `process`, if the step has one, which says how long it took, and then
    /// a commit of one row.
    pub async fn floors(
        &self,
        n: usize,
        process: Option<fn() -> io::Result<Duration>>,
    ) -> Result<Vec<Duration>, BenchError> {
        let process = || process.map_or(Ok(Duration::ZERO), |process| process());
        let mut floors = Vec::with_capacity(n);
        match self {
            Ground::File(file) => {
                let store = SqliteStore::open(file).await?;
                store.one_row_commit().await?;
                for _ in 0..n {
                    floors.push(process()? + store.one_row_commit().await?);
                }
                store.close().await?;
            }
            Ground::Database(database) => {
                let mut schema = PgSchema::open(&database.config).await?;
                schema.one_row_commit().await?;
                for _ in 0..n {
                    floors.push(process()? + schema.one_row_commit().await?);
                }
                schema.close().await;
            }
        }
        Ok(floors)
    }

    /// What the server has done for the place so far, where there is a server; nobody may have it open.
    pub async fn counts(&mut self) -> Result<Option<PgCounts>, BenchError> {
        match self {
            Ground::File(_) => Ok(None),
            Ground::Database(database) => Ok(Some(database.server.counts(&database.name).await?)),
        }
    }

    /// Removes a database. A file goes with its folder.
    pub async fn remove(self) {
        if let Ground::Database(database) = self {
            database.remove().await;
        }
    }
}

/// A database that was made for a measurement.
pub(super) struct Database {
    pub config: PgConfig,
    name: String,
    /// Connected to the database that was named, from which others are made, counted and removed.
    server: PgSchema,
}

impl Database {
    pub async fn make(given: &PgConfig) -> Result<Database, BenchError> {
        let name = format!("opsroom_bench_{}", RandomIds.worker_id().0.simple());
        let config = given.in_database(&name).map_err(|error| StoreError::Unavailable(error.to_string()))?;
        let mut server = PgSchema::open(given).await?;
        let made = async {
            server.create_database(&name).await?;
            let mut schema = PgSchema::open(&config).await?;
            let migrated = schema.up().await;
            schema.close().await;
            migrated
        };
        if let Err(error) = made.await {
            server.drop_database(&name).await.ok();
            return Err(error.into());
        }
        Ok(Database { config, name, server })
    }

    pub async fn remove(mut self) {
        if let Err(error) = self.server.drop_database(&self.name).await {
            tracing::warn!(%error, database = self.name, "the database of the benchmark could not be removed");
        }
        self.server.close().await;
    }
}

/// The opened store.
#[derive(Clone)]
pub(super) enum Rows {
    File(Arc<SqliteStore>),
    Database(Arc<PgStore>),
}

impl Rows {
    pub fn store(&self) -> Arc<dyn Store> {
        match self {
            Rows::File(store) => store.clone(),
            Rows::Database(store) => store.clone(),
        }
    }

    /// How many commits may be under way at once, as in an instance.
    pub const fn writers(&self) -> usize {
        match self {
            Rows::File(_) => 1,
            Rows::Database(_) => 2,
        }
    }

    /// Statements that were sent to a server.
    pub fn statements(&self) -> Option<u64> {
        match self {
            Rows::File(_) => None,
            Rows::Database(store) => Some(store.statements()),
        }
    }

    /// Closes it; nobody else has a part in it any more.
    pub async fn close(self) -> Result<(), BenchError> {
        match self {
            Rows::File(store) => match Arc::into_inner(store) {
                Some(store) => Ok(store.close().await?),
                None => Ok(()),
            },
            Rows::Database(store) => {
                store.close().await;
                Ok(())
            }
        }
    }
}
