//! A look at the file of a data folder: whether its rows are sound.

use std::path::Path;

use sqlx::{Connection, Executor, Row, SqliteConnection, sqlite::SqliteArguments};
use uuid::Uuid;

use super::{
    arguments::{self, arguments},
    connect,
    errors::store_error,
    migrate,
};
use crate::{
    ports::{Artifacts, StoreError},
    store::findings::{self, Finding, Invariant, LOOKED_FOR},
};

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

/// Looks at the database of a data folder and, `deep`, whether its rows are sound. Changes nothing.
pub async fn examine_sqlite(path: &Path, deep: Option<&dyn Artifacts>) -> Vec<Finding> {
    let mut found = Vec::new();
    let looked = match connect::looker(path).await {
        Ok(mut connection) => {
            let looked = look(&mut connection, deep, &mut found).await;
            connection.close().await.ok();
            looked
        }
        Err(error) => Err(error),
    };
    if let Err(error) = looked {
        let fix = "check the data folder (--data-dir, OPSROOM_DATA_DIR), or restore it from a backup";
        found.push(Finding::fail("DB_REACHABLE", error.to_string(), fix));
    }
    found
}

async fn look(
    connection: &mut SqliteConnection,
    deep: Option<&dyn Artifacts>,
    found: &mut Vec<Finding>,
) -> Result<(), StoreError> {
    let (version, wanted) = (migrate::version(connection).await?, migrate::LATEST);
    found.push(Finding::ok("DB_REACHABLE", "the database can be read"));
    if version != wanted {
        let what = format!("its schema is version {version}, this build's is {wanted}");
        let fix = "an older one is migrated when it is used; for a newer one, use the newer build";
        let level = if version < wanted { Finding::warn } else { Finding::fail };
        found.push(level("DB_SCHEMA", what, fix));
        return Ok(());
    }
    found.push(Finding::ok("DB_SCHEMA", "the schema is this build's"));
    let Some(artifacts) = deep else { return Ok(()) };
    found.push(file(connection).await?);
    for invariant in Invariant::ALL {
        let arguments = if invariant == Invariant::Ended {
            arguments!(LOOKED_FOR, arguments::json(&findings::settled()))
        } else {
            arguments!(LOOKED_FOR)
        };
        found.push(invariant.finding(&texts(connection, query(invariant), arguments).await?));
    }
    let recorded = texts(connection, deep!("packs"), arguments!()).await?;
    found.push(match artifacts.list(findings::ARCHIVES).await {
        Ok(there) => findings::packs(&recorded, &there),
        Err(error) => Finding::fail("DEEP_PACKS", error.to_string(), "check the data folder's `artifacts`"),
    });
    Ok(())
}

async fn texts(
    connection: &mut SqliteConnection,
    sql: &'static str,
    arguments: SqliteArguments,
) -> Result<Vec<String>, StoreError> {
    let rows = connection.fetch_all(sqlx::query_with(sql, arguments)).await.map_err(|error| store_error(&error))?;
    rows.iter()
        .map(|row| row.try_get::<String, _>(0).map(|text| named(&text)).map_err(|error| store_error(&error)))
        .collect()
}

/// Whether the pages of the file fit together.
async fn file(connection: &mut SqliteConnection) -> Result<Finding, StoreError> {
    let row = connection.fetch_one("PRAGMA quick_check(1)").await.map_err(|error| store_error(&error))?;
    let answer: String = row.try_get(0).map_err(|error| store_error(&error))?;
    Ok(if answer == "ok" {
        Finding::ok("DB_FILE", "the file is whole")
    } else {
        Finding::fail("DB_FILE", answer, "the file is damaged: restore the data folder from a backup")
    })
}

/// An id in its usual form, where the text begins with one.
fn named(text: &str) -> String {
    let id = text.get(..32).and_then(|digits| Uuid::try_parse(digits).ok());
    id.map_or_else(|| text.to_owned(), |id| format!("{id}{}", &text[32..]))
}
