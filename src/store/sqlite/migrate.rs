//! The schema and its versions.
//!
//! `PRAGMA user_version` is the number of the last migration. It is part of the transaction that runs the
//! migrations, and the transaction takes the write lock first, so any number of processes may open a fresh
//! file at the same time: one migrates, the others find it done.

use sqlx::{AssertSqlSafe, Executor, Row, SqliteConnection};

use super::errors::store_error;
use crate::ports::StoreError;

/// One step of the schema and the way back.
struct Migration {
    up: &'static str,
    #[expect(dead_code, reason = "the way back is walked by people, and by a test")]
    down: &'static str,
}

macro_rules! migration {
    ($name:literal) => {
        Migration {
            up: include_str!(concat!("../../../migrations/sqlite/", $name, ".up.sql")),
            down: include_str!(concat!("../../../migrations/sqlite/", $name, ".down.sql")),
        }
    };
}

/// In order; the first is version 1.
const MIGRATIONS: &[Migration] = &[
    migration!("0001_init"),
    migration!("0002_probes"),
    migration!("0003_sessions"),
    migration!("0004_runbooks"),
    migration!("0005_archives"),
    migration!("0006_idempotency"),
    migration!("0007_roles"),
    migration!("0008_leases"),
    migration!("0009_segments"),
];

/// Brings the schema up to this build's version.
pub(super) async fn up(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    if pending(version(connection).await?)?.is_empty() {
        return Ok(());
    }
    connection.execute("BEGIN IMMEDIATE").await.map_err(|error| store_error(&error))?;
    let applied = apply(connection).await;
    let end = if applied.is_ok() { "COMMIT" } else { "ROLLBACK" };
    connection.execute(end).await.map_err(|error| store_error(&error))?;
    applied
}

async fn apply(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    // Again, now that nobody else can write.
    for migration in pending(version(connection).await?)? {
        run(connection, migration.up).await?;
    }
    set_version(connection, MIGRATIONS.len()).await
}

/// The migrations after `version`.
fn pending(version: i64) -> Result<&'static [Migration], StoreError> {
    usize::try_from(version).ok().and_then(|version| MIGRATIONS.get(version..)).ok_or_else(|| {
        StoreError::Unavailable(format!(
            "its schema is version {version}, this build knows versions up to {}; use the newer build",
            MIGRATIONS.len()
        ))
    })
}

async fn version(connection: &mut SqliteConnection) -> Result<i64, StoreError> {
    let row = connection.fetch_one("PRAGMA user_version").await.map_err(|error| store_error(&error))?;
    row.try_get(0).map_err(|error| store_error(&error))
}

async fn set_version(connection: &mut SqliteConnection, version: usize) -> Result<(), StoreError> {
    // A pragma takes no arguments; the number is ours.
    run(connection, AssertSqlSafe(format!("PRAGMA user_version = {version}"))).await
}

async fn run(connection: &mut SqliteConnection, sql: impl sqlx::SqlSafeStr) -> Result<(), StoreError> {
    connection.execute(sqlx::raw_sql(sql)).await.map(drop).map_err(|error| store_error(&error))
}
