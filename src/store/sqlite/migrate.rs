//! The schema and its versions.
//!
//! `PRAGMA user_version` is the number of the last migration. It is part of the transaction that runs the
//! migrations, and the transaction takes the write lock first, so any number of processes may open a fresh
//! file at the same time: one migrates, the others find it done.

use sqlx::{AssertSqlSafe, Executor, Row, SqliteConnection};

use super::errors::store_error;
use crate::ports::StoreError;

/// One step of the schema and the way back.
pub(super) struct Migration {
    pub(super) name: &'static str,
    up: &'static str,
    down: &'static str,
}

macro_rules! migration {
    ($name:literal) => {
        Migration {
            name: $name,
            up: include_str!(concat!("../../../migrations/sqlite/", $name, ".up.sql")),
            down: include_str!(concat!("../../../migrations/sqlite/", $name, ".down.sql")),
        }
    };
}

/// In order; the first is version 1.
pub(super) const MIGRATIONS: &[Migration] = &[
    migration!("0001_init"),
    migration!("0002_probes"),
    migration!("0003_sessions"),
    migration!("0004_runbooks"),
    migration!("0005_archives"),
    migration!("0006_idempotency"),
    migration!("0007_roles"),
    migration!("0008_leases"),
    migration!("0009_segments"),
    migration!("0010_leaner_commits"),
];

/// The version of this build's schema.
#[expect(clippy::cast_possible_wrap, reason = "there are a handful")]
pub(super) const LATEST: i64 = MIGRATIONS.len() as i64;

/// Brings the schema up to this build's version.
pub(super) async fn up(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    if pending(version(connection).await?)?.is_empty() {
        return Ok(());
    }
    locked(connection, apply).await
}

/// Applies the next migration, if there is one; answers its name.
pub(super) async fn step_up(connection: &mut SqliteConnection) -> Result<Option<&'static str>, StoreError> {
    let step = async |connection: &mut SqliteConnection| {
        let version = version(connection).await?;
        let Some(migration) = pending(version)?.first() else { return Ok(None) };
        run(connection, migration.up).await?;
        set_version(connection, version + 1).await?;
        Ok(Some(migration.name))
    };
    locked(connection, step).await
}

/// Takes back the last migration that was applied, if there is one; answers its name.
pub(super) async fn step_down(connection: &mut SqliteConnection) -> Result<Option<&'static str>, StoreError> {
    let step = async |connection: &mut SqliteConnection| {
        let version = version(connection).await?;
        let applied = &MIGRATIONS[..MIGRATIONS.len() - pending(version)?.len()];
        let Some(migration) = applied.last() else { return Ok(None) };
        run(connection, migration.down).await?;
        set_version(connection, version - 1).await?;
        Ok(Some(migration.name))
    };
    locked(connection, step).await
}

/// Does something in one transaction while nobody else can write.
async fn locked<T>(
    connection: &mut SqliteConnection,
    step: impl AsyncFnOnce(&mut SqliteConnection) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    connection.execute("BEGIN IMMEDIATE").await.map_err(|error| store_error(&error))?;
    let done = step(connection).await;
    let end = if done.is_ok() { "COMMIT" } else { "ROLLBACK" };
    connection.execute(end).await.map_err(|error| store_error(&error))?;
    done
}

async fn apply(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    // Again, now that nobody else can write.
    for migration in pending(version(connection).await?)? {
        run(connection, migration.up).await?;
    }
    set_version(connection, LATEST).await
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

pub(super) async fn version(connection: &mut SqliteConnection) -> Result<i64, StoreError> {
    let row = connection.fetch_one("PRAGMA user_version").await.map_err(|error| store_error(&error))?;
    row.try_get(0).map_err(|error| store_error(&error))
}

/// How many of this build's migrations the database has. A newer schema is `Unavailable`.
pub(super) async fn known_version(connection: &mut SqliteConnection) -> Result<usize, StoreError> {
    Ok(MIGRATIONS.len() - pending(version(connection).await?)?.len())
}

async fn set_version(connection: &mut SqliteConnection, version: i64) -> Result<(), StoreError> {
    // A pragma takes no arguments; the number is ours.
    run(connection, AssertSqlSafe(format!("PRAGMA user_version = {version}"))).await
}

async fn run(connection: &mut SqliteConnection, sql: impl sqlx::SqlSafeStr) -> Result<(), StoreError> {
    connection.execute(sqlx::raw_sql(sql)).await.map(drop).map_err(|error| store_error(&error))
}
