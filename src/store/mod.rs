//! Floor 4: the stores. Each keeps what the engine decided and guards every write by ownership; none
//! knows a rule about runs.
//!
//! One conformance suite (`tests/it/store`) holds all of them to the words of
//! [`ports::Store`](crate::ports::Store).

mod check;
mod findings;
mod guard;
mod listing;
mod memory;
mod place;
mod postgres;
mod schema;
mod seed;
mod signal;
mod sqlite;
mod text;

pub use findings::{Finding, Level};
pub use memory::MemoryStore;
pub use postgres::{
    BadUrl, PgConfig, PgCounts, PgSchema, PgStore, Pooling, SCHEMES as POSTGRES_SCHEMES, examine_postgres,
};
pub use schema::MigrationState;
pub use seed::EndedRun;
pub use sqlite::{SqliteSchema, SqliteStore, examine_sqlite};
