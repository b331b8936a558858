//! From SQLite's result codes to what a caller can do about them.

use sqlx::error::DatabaseError;

use crate::ports::StoreError;

/// <https://www.sqlite.org/rescode.html>; an extended code carries its primary code in the low byte.
mod code {
    pub const ERROR: i32 = 1;
    pub const BUSY: i32 = 5;
    pub const LOCKED: i32 = 6;
    pub const READONLY: i32 = 8;
    pub const CORRUPT: i32 = 11;
    pub const FULL: i32 = 13;
    pub const CANTOPEN: i32 = 14;
    pub const TOOBIG: i32 = 18;
    pub const CONSTRAINT: i32 = 19;
    pub const MISMATCH: i32 = 20;
    pub const NOTADB: i32 = 26;
}

/// What a script of the commit answers when a guard did not hold (`queries/commit_running.sql`).
const UNMATCHED: &str = "integer overflow";
/// What JSON functions say of text that they cannot read.
const MALFORMED: &str = "malformed JSON";

/// Whether the guard of a commit script did not hold.
pub(super) fn is_unmatched(error: &sqlx::Error) -> bool {
    database(error).is_some_and(|error| error.message() == UNMATCHED)
}

/// Translates an error of the driver.
pub(super) fn store_error(error: &sqlx::Error) -> StoreError {
    match error {
        sqlx::Error::Database(error) => from_database(&**error),
        sqlx::Error::PoolTimedOut => StoreError::Busy("no free connection for reading".to_owned()),
        sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => StoreError::Unavailable("it was closed".to_owned()),
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

fn database(error: &sqlx::Error) -> Option<&dyn DatabaseError> {
    error.as_database_error()
}

fn from_database(error: &dyn DatabaseError) -> StoreError {
    let extended: i32 = error.code().and_then(|code| code.parse().ok()).unwrap_or_default();
    let text = error.message().to_owned();
    let unavailable = |what_to_do: &str| StoreError::Unavailable(format!("{text}; {what_to_do}"));
    match extended & 0xff {
        code::BUSY | code::LOCKED => StoreError::Busy(text),
        code::FULL => StoreError::Full(format!("{text}; free space on its disk")),
        code::CONSTRAINT | code::TOOBIG | code::MISMATCH => StoreError::Refused(text),
        code::ERROR if text == MALFORMED => StoreError::Refused(text),
        code::READONLY => unavailable("make the data folder and the files in it writable for this user"),
        code::CANTOPEN => unavailable("check that the data folder exists and belongs to this user"),
        code::NOTADB => unavailable("the file is no database: move it away, or give another data folder"),
        code::CORRUPT => unavailable("the file is damaged: restore it from a backup"),
        _ => StoreError::Unavailable(format!("{text} (SQLite result {extended})")),
    }
}
