//! From SQLSTATEs to what a caller can do about them.

use std::io;

use sqlx::error::DatabaseError;

use crate::ports::StoreError;

/// Translates an error of the driver.
pub(super) fn store_error(error: &sqlx::Error) -> StoreError {
    match error {
        sqlx::Error::Database(error) => from_database(&**error),
        sqlx::Error::PoolTimedOut => StoreError::Busy("no free connection to the database".to_owned()),
        sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => StoreError::Unavailable("it was closed".to_owned()),
        sqlx::Error::Io(error) if is_about_tls(error) => without_trust(error),
        sqlx::Error::Io(error) => StoreError::Busy(format!("the connection to the database was lost: {error}")),
        sqlx::Error::Protocol(why) => StoreError::Busy(format!("the connection to the database was lost: {why}")),
        // The driver has only words for it.
        sqlx::Error::Tls(error) if error.to_string().contains("does not support TLS") => StoreError::Unavailable(
            "the server does not speak TLS; set `ssl = on` there, or `sslmode=disable` in the URL if nobody else can be in \
             between"
                .to_owned(),
        ),
        sqlx::Error::Tls(error) => without_trust(error),
        sqlx::Error::ColumnDecode { index, source } => StoreError::Corrupt {
            table: "unknown",
            column: "unknown",
            row: format!("column {index} of a result"),
            why: source.to_string(),
        },
        sqlx::Error::Encode(why) => StoreError::Refused(why.to_string()),
        other => StoreError::Unavailable(other.to_string()),
    }
}

/// The handshake failed: not the network, but what one side thinks of the other.
fn is_about_tls(error: &io::Error) -> bool {
    error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()).is_some()
}

fn without_trust(error: &impl std::fmt::Display) -> StoreError {
    StoreError::Unavailable(format!(
        "TLS with the database failed: {error}; check host, `sslmode` and `sslrootcert` of the database URL"
    ))
}

/// Whether nobody can tell if the statement was carried out: the connection broke before its answer came.
pub(super) fn is_uncertain(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Protocol(_) => true,
        // The server was told to stop, or it crashed, between commit and answer; or it has ended a session that said
        // nothing in its transaction.
        sqlx::Error::Database(error) => {
            error.code().is_some_and(|code| ["57P", "08", "25P03", "25P04"].iter().any(|lost| code.starts_with(lost)))
        }
        _ => false,
    }
}

/// Whether a prepared statement is not what this connection made it: a pooler has changed the server connection.
pub(super) fn is_mixed_up(error: &sqlx::Error) -> bool {
    matches!(error.as_database_error().and_then(DatabaseError::code).as_deref(), Some("26000" | "42P05"))
}

/// Why a statement is sent again, in a word.
pub(super) fn reason(error: &sqlx::Error) -> &'static str {
    match error {
        error if is_mixed_up(error) => "pooler",
        sqlx::Error::PoolTimedOut => "no_connection",
        sqlx::Error::Database(error) => match error.code().as_deref() {
            Some("40P01") => "deadlock",
            Some("40001") => "serialization",
            Some("55P03") => "lock_timeout",
            Some("57014") => "statement_timeout",
            Some("53300") => "too_many_connections",
            _ => "other",
        },
        _ => "connection_lost",
    }
}

/// The name of the constraint that refused a row.
pub(super) fn constraint(error: &sqlx::Error) -> Option<&str> {
    error.as_database_error().and_then(DatabaseError::constraint)
}

/// <https://www.postgresql.org/docs/current/errcodes-appendix.html>; the first two characters are the class.
fn from_database(error: &dyn DatabaseError) -> StoreError {
    let text = error.message().to_owned();
    let code = error.code().unwrap_or_default().into_owned();
    let unavailable = |what_to_do: &str| StoreError::Unavailable(format!("{text}; {what_to_do}"));
    match code.as_str() {
        "53100" => StoreError::Full(format!("{text}; free space on the disk of the database")),
        "25006" => unavailable("the database is read-only: connect to its primary"),
        "28000" | "28P01" => unavailable("check user and password of the database URL"),
        "3D000" => unavailable("create the database, or correct its name in the URL"),
        "42501" => unavailable("grant the role of the database URL what it needs (opsroom_readwrite)"),
        "42P01" | "42703" | "42883" => {
            unavailable("the schema is not what this build expects: run `opsroom migrate up`")
        }
        // Too many connections; a lock was not to be had in time; a session that was ended in its transaction.
        "53300" | "55P03" | "25P03" | "25P04" => StoreError::Busy(text),
        _ => match code.get(..2) {
            // Connection lost; serialization failure or deadlock; shutdown, or cancelled by a time limit.
            Some("08" | "40" | "57") => StoreError::Busy(text),
            Some("53") => unavailable("the database has run out of memory or connections"),
            Some("58" | "XX") => unavailable("look into the log of the database"),
            // Data, constraints, program limits (too large for an index or a column).
            Some("22" | "23" | "54") => StoreError::Refused(text),
            _ => StoreError::Unavailable(format!("{text} (SQLSTATE {code})")),
        },
    }
}
