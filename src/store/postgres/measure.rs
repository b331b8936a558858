//! What benchmarks ask of a server: a database of their own, the floor of a commit, and what was written.

use std::time::{Duration, Instant};

use sqlx::{AssertSqlSafe, Executor, Row};

use super::{PgSchema, errors::store_error};
use crate::ports::StoreError;

/// A server counts a transaction for everybody when the connection that did it ends.
const PATIENCE: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(20);

/// What a server has done for one database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PgCounts {
    /// Transactions that were committed, those that only read included.
    pub commits: u64,
    /// Rows that were inserted, updated and deleted, in all tables.
    pub rows_written: u64,
    /// Bytes of the write-ahead log, of all databases of the server.
    pub wal_bytes: u64,
}

impl PgSchema {
    /// Makes a database on the server. `name` is a plain word; the role needs CREATEDB.
    pub async fn create_database(&mut self, name: &str) -> Result<(), StoreError> {
        let sql = format!("CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'");
        self.connection.execute(AssertSqlSafe(sql)).await.map(drop).map_err(|error| store_error(&error))
    }

    /// Removes a database with everything in it; whoever is connected to it is cut off.
    pub async fn drop_database(&mut self, name: &str) -> Result<(), StoreError> {
        let sql = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
        self.connection.execute(AssertSqlSafe(sql)).await.map(drop).map_err(|error| store_error(&error))
    }

    /// What the server has done for another database so far. Waits until nobody is connected to it, since only
    /// then everything is counted.
    pub async fn counts(&mut self, database: &str) -> Result<PgCounts, StoreError> {
        let began = Instant::now();
        while self.clients(database).await? > 0 {
            if began.elapsed() > PATIENCE {
                return Err(StoreError::Busy(format!("others are connected to database {database}")));
            }
            tokio::time::sleep(LOOK).await;
        }
        let query = sqlx::query(include_str!("queries/counts.sql")).bind(database);
        let read = async {
            let row = query.fetch_one(&mut self.connection).await?;
            let number = |column| row.try_get::<i64, _>(column).map(|count| u64::try_from(count).unwrap_or(0));
            Ok(PgCounts {
                commits: number("xact_commit")?,
                rows_written: number("rows_written")?,
                wal_bytes: number("wal_bytes")?,
            })
        };
        read.await.map_err(|error: sqlx::Error| store_error(&error))
    }

    async fn clients(&mut self, database: &str) -> Result<i64, StoreError> {
        let query = sqlx::query_scalar(include_str!("queries/clients.sql")).bind(database);
        query.fetch_one(&mut self.connection).await.map_err(|error| store_error(&error))
    }

    /// How long a durable commit of one row takes on this one connection: the floor that a benchmark compares commits
    /// with. The first prepares it, and takes longer.
    pub async fn one_row_commit(&mut self) -> Result<Duration, StoreError> {
        let began = Instant::now();
        let written = sqlx::query(include_str!("queries/probe.sql")).execute(&mut self.connection).await;
        written.map_err(|error| store_error(&error))?;
        Ok(began.elapsed())
    }
}
