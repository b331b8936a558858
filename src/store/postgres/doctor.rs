//! A look at a database: whether it can serve, and whether its rows are sound.

use std::time::Duration;

use sqlx::{Connection, Executor, FromRow, PgConnection, Row, postgres::PgArguments};

use super::{
    arguments::arguments,
    checks::{self, Client, Clocks, ServerRecord, TableRecord},
    connect::{self, PgConfig, Pooling},
    errors::store_error,
    migrate,
    types::{At, restored},
};
use crate::{
    ports::{Artifacts, Clock, StoreError},
    store::findings::{self, Finding, Invariant, LOOKED_FOR},
};

/// The tables of the schema.
pub(super) const TABLES: [&str; 18] = [
    "archive_packs",
    "artifacts",
    "event_segments",
    "idempotency_keys",
    "plans",
    "probes",
    "run_archives",
    "run_events",
    "run_inputs",
    "run_labels",
    "run_signals",
    "run_steps",
    "runbook_versions",
    "runbooks",
    "runs",
    "schema_migrations",
    "sessions",
    "workers",
];

/// Invariants are looked for in whole tables, which may take long.
const DEEP: Duration = Duration::from_mins(10);

macro_rules! deep {
    ($name:literal) => {
        include_str!(concat!("queries/deep/", $name, ".sql"))
    };
}

const fn query(invariant: Invariant) -> &'static str {
    match invariant {
        Invariant::Owners => deep!("owners"),
        Invariant::Sequences => deep!("sequences"),
        Invariant::EventsKept => deep!("events_kept"),
        Invariant::Ended => deep!("ended"),
        Invariant::Signals => deep!("signals"),
        Invariant::Archives => deep!("archives"),
        Invariant::WakeUps => deep!("wake_ups"),
        Invariant::Versions => deep!("versions"),
        Invariant::Inputs => deep!("inputs"),
    }
}

/// Looks at a database: what its server says of itself and, `deep`, whether its rows are sound and the
/// files that they name are there. Never fails: a
/// database that cannot be reached is a finding.
pub async fn examine_postgres(config: &PgConfig, clock: &dyn Clock, deep: Option<&dyn Artifacts>) -> Vec<Finding> {
    let mut patient = config.clone();
    patient.statement_timeout = DEEP;
    let (mut connection, pooling) = match connect::first(if deep.is_some() { &patient } else { config }).await {
        Ok(first) => first,
        Err(error) => {
            let fix = "check host, port, user and password of the database URL, and that the server runs";
            return vec![Finding::fail("DB_REACHABLE", error.to_string(), fix)];
        }
    };
    let mut found = vec![Finding::ok("DB_REACHABLE", format!("{} answers", config.place()))];
    let client = Client { pool: config.pool, pooling };
    let looked = look(&mut connection, client, clock, &mut found).await;
    let is_current = found.iter().all(|finding| finding.code != "DB_SCHEMA" || finding.fix.is_none());
    let looked = match (looked, deep) {
        (Ok(()), Some(artifacts)) if is_current => look_deeper(&mut connection, pooling, artifacts, &mut found).await,
        (looked, _) => looked,
    };
    if let Err(error) = looked {
        found.push(Finding::fail("DB_ANSWERS", error.to_string(), "try again; look into the log of the server"));
    }
    connection.close().await.ok();
    found
}

async fn look(
    connection: &mut PgConnection,
    client: Client,
    clock: &dyn Clock,
    found: &mut Vec<Finding>,
) -> Result<(), StoreError> {
    let mut begun = connection.begin().await.map_err(|error| store_error(&error))?;
    let server: ServerRecord = one(&mut begun, include_str!("queries/doctor/server.sql"), arguments!()).await?;
    found.extend(checks::server(&server, client));
    let before = clock.now();
    let row = begun.fetch_one(sqlx::query(include_str!("queries/doctor/clock.sql")).persistent(false)).await;
    let At(database) = row.and_then(|row| row.try_get(0)).map_err(|error| store_error(&error))?;
    found.push(checks::clock(Clocks { before, database, after: clock.now() }));
    match migrate::current(&mut begun).await {
        Ok(()) => found.push(Finding::ok("DB_SCHEMA", "the schema is this build's")),
        Err(StoreError::Unavailable(why)) => {
            let fix = "run `opsroom migrate up`, or use the build that the schema belongs to";
            found.push(Finding::fail("DB_SCHEMA", why, fix));
            return Ok(());
        }
        Err(error) => return Err(error),
    }
    let names: Vec<String> = TABLES.iter().map(|name| (*name).to_owned()).collect();
    let query = sqlx::query_with(include_str!("queries/doctor/tables.sql"), arguments!(names)).persistent(false);
    let rows = begun.fetch_all(query).await.map_err(|error| store_error(&error))?;
    let tables = rows.iter().map(TableRecord::from_row).collect::<Result<Vec<_>, _>>();
    let tables = tables.map_err(|error| store_error(&error))?;
    found.push(checks::grants(&tables, &TABLES, &server.role));
    found.push(checks::vacuum(&server, &tables));
    found.push(checks::bloat(&tables));
    Ok(())
}

async fn look_deeper(
    connection: &mut PgConnection,
    pooling: Pooling,
    artifacts: &dyn Artifacts,
    found: &mut Vec<Finding>,
) -> Result<(), StoreError> {
    for invariant in Invariant::ALL {
        let arguments = if invariant == Invariant::Ended {
            arguments!(LOOKED_FOR, findings::settled())
        } else {
            arguments!(LOOKED_FOR)
        };
        found.push(invariant.finding(&texts(connection, pooling, query(invariant), arguments).await?));
    }
    let recorded = texts(connection, pooling, deep!("packs"), arguments!()).await?;
    found.push(match artifacts.list(findings::ARCHIVES).await {
        Ok(there) => findings::packs(&recorded, &there),
        Err(error) => Finding::fail("DEEP_PACKS", error.to_string(), "check the artifact store, then try again"),
    });
    Ok(())
}

/// The first column of a statement that may take long.
async fn texts(
    connection: &mut PgConnection,
    pooling: Pooling,
    sql: &'static str,
    arguments: PgArguments,
) -> Result<Vec<String>, StoreError> {
    let mut begun = connection.begin().await.map_err(|error| store_error(&error))?;
    if pooling == Pooling::Transaction {
        // What the connection itself may not keep.
        let patience = sqlx::AssertSqlSafe(format!("SET LOCAL statement_timeout = {}", DEEP.as_millis()));
        begun.execute(patience).await.map_err(|error| store_error(&error))?;
    }
    let query = sqlx::query_with(sql, arguments).persistent(false);
    let rows = begun.fetch_all(query).await.map_err(|error| store_error(&error))?;
    rows.iter().map(|row| row.try_get(0).map(restored).map_err(|error| store_error(&error))).collect()
}

async fn one<R>(connection: &mut PgConnection, sql: &'static str, arguments: PgArguments) -> Result<R, StoreError>
where
    R: for<'r> FromRow<'r, sqlx::postgres::PgRow>,
{
    let row = connection.fetch_one(sqlx::query_with(sql, arguments).persistent(false)).await;
    row.and_then(|row| R::from_row(&row)).map_err(|error| store_error(&error))
}
