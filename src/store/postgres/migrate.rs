//! The schema and its versions.
//!
//! Each migration is one transaction that also writes its row of `schema_migrations`, and takes an advisory
//! lock first: any number of processes may open a fresh database at the same time. The lock is the
//! transaction's, so a pooler may be in between.

use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, Row};

use super::errors::store_error;
use crate::{ports::StoreError, store::schema::MigrationState};

/// One step of the schema and the way back.
struct Migration {
    name: &'static str,
    up: &'static str,
    down: &'static str,
}

macro_rules! migration {
    ($name:literal) => {
        Migration {
            name: $name,
            up: include_str!(concat!("../../../migrations/postgres/", $name, ".up.sql")),
            down: include_str!(concat!("../../../migrations/postgres/", $name, ".down.sql")),
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
    migration!("0010_leaner_commits"),
];

/// Begins a migration: nobody else migrates meanwhile, however long it takes.
const BEGIN: &str = "BEGIN; SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = '60s'; \
    SELECT pg_advisory_xact_lock(7237401823456211)";
const TABLE: &str = "CREATE TABLE IF NOT EXISTS schema_migrations (
    version    bigint      NOT NULL,
    name       text        NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT pk_schema_migrations PRIMARY KEY (version)
)";

/// Brings the schema up to this build's version; answers the names of what it applied.
pub(super) async fn up(connection: &mut PgConnection) -> Result<Vec<&'static str>, StoreError> {
    let mut applied = Vec::new();
    while !pending(version(connection).await?)?.is_empty() {
        applied.extend(one(connection, next_up).await?);
    }
    Ok(applied)
}

/// Takes back the last `steps` migrations; answers their names, the last one first.
pub(super) async fn down(connection: &mut PgConnection, steps: usize) -> Result<Vec<&'static str>, StoreError> {
    let mut undone = Vec::new();
    for _ in 0..steps {
        let Some(name) = one(connection, last_down).await? else { break };
        undone.push(name);
    }
    Ok(undone)
}

/// Applies the next migration, if there is one; answers its name.
pub(super) async fn step_up(connection: &mut PgConnection) -> Result<Option<&'static str>, StoreError> {
    one(connection, next_up).await
}

/// Takes back the last migration that was applied, if there is one; answers its name.
pub(super) async fn step_down(connection: &mut PgConnection) -> Result<Option<&'static str>, StoreError> {
    one(connection, last_down).await
}

/// Workers that hold a lease, or were heard of within a minute where there are no leases yet: host and process.
pub(super) async fn live_workers(connection: &mut PgConnection) -> Result<Vec<String>, StoreError> {
    let sql = match version(connection).await? {
        0 => return Ok(Vec::new()),
        1..=7 => include_str!("queries/doctor/beating_workers.sql"),
        _ => include_str!("queries/doctor/live_workers.sql"),
    };
    let rows = connection.fetch_all(sqlx::raw_sql(sql)).await.map_err(|error| store_error(&error))?;
    rows.iter().map(|row| row.try_get(0).map_err(|error| store_error(&error))).collect()
}

/// What this build knows, and what of it the database has.
pub(super) async fn status(connection: &mut PgConnection) -> Result<Vec<MigrationState>, StoreError> {
    let version = version(connection).await?;
    let open = pending(version)?.len();
    let state = |(index, migration): (usize, &Migration)| MigrationState {
        version: index + 1,
        name: migration.name,
        applied: index + open < MIGRATIONS.len(),
    };
    Ok(MIGRATIONS.iter().enumerate().map(state).collect())
}

/// That nothing is to be migrated.
pub(super) async fn current(connection: &mut PgConnection) -> Result<(), StoreError> {
    match pending(version(connection).await?)? {
        [] => Ok(()),
        [first, ..] => Err(StoreError::Unavailable(format!(
            "its schema lacks {} of this build; run `opsroom migrate up` with a role that may change it",
            first.name
        ))),
    }
}

/// What to do, decided under the lock: the name, the script, and the row to write or to remove.
type Step = (&'static str, &'static str, String);

fn next_up(version: i64) -> Result<Option<Step>, StoreError> {
    let step = |migration: &'static Migration| {
        let row =
            format!("INSERT INTO schema_migrations (version, name) VALUES ({}, '{}')", version + 1, migration.name);
        (migration.name, migration.up, row)
    };
    Ok(pending(version)?.first().map(step))
}

fn last_down(version: i64) -> Result<Option<Step>, StoreError> {
    let done = &MIGRATIONS[..MIGRATIONS.len() - pending(version)?.len()];
    let row = format!("DELETE FROM schema_migrations WHERE version = {version}");
    Ok(done.last().map(|migration| (migration.name, migration.down, row)))
}

/// Carries out one step under the lock, if there is one.
async fn one(
    connection: &mut PgConnection,
    decide: fn(i64) -> Result<Option<Step>, StoreError>,
) -> Result<Option<&'static str>, StoreError> {
    let mut transaction = connection.begin_with(BEGIN).await.map_err(|error| store_error(&error))?;
    run(&mut transaction, TABLE).await?;
    // Again, now that nobody else can migrate.
    let Some((name, script, row)) = decide(version(&mut transaction).await?)? else { return Ok(None) };
    run(&mut transaction, script).await.map_err(|error| at(name, error))?;
    run(&mut transaction, AssertSqlSafe(row)).await?;
    transaction.commit().await.map_err(|error| store_error(&error))?;
    Ok(Some(name))
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

async fn version(connection: &mut PgConnection) -> Result<i64, StoreError> {
    let number = async |connection: &mut PgConnection, sql: &'static str| {
        let row = connection.fetch_one(sqlx::raw_sql(sql)).await?;
        row.try_get::<i64, _>(0)
    };
    let has_table = "SELECT (to_regclass('schema_migrations') IS NOT NULL)::int::bigint";
    let last = "SELECT coalesce(max(version), 0)::bigint FROM schema_migrations";
    let found = match number(connection, has_table).await {
        Ok(0) => Ok(0),
        Ok(_) => number(connection, last).await,
        Err(error) => Err(error),
    };
    found.map_err(|error| store_error(&error))
}

async fn run(connection: &mut PgConnection, sql: impl sqlx::SqlSafeStr) -> Result<(), StoreError> {
    connection.execute(sqlx::raw_sql(sql)).await.map(drop).map_err(|error| store_error(&error))
}

/// Says which migration an error is about.
fn at(name: &str, error: StoreError) -> StoreError {
    match error {
        StoreError::Unavailable(why) => StoreError::Unavailable(format!("migration {name}: {why}")),
        StoreError::Refused(why) => StoreError::Refused(format!("migration {name}: {why}")),
        other => other,
    }
}
