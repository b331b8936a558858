//! Floor 4: the stores. Each keeps what the engine decided and guards every write by ownership; none
//! knows a rule about runs.
//!
//! One conformance suite (`tests/it/store`) holds all of them to the words of
//! [`ports::Store`](crate::ports::Store).

mod check;
mod guard;
mod listing;
mod memory;
mod postgres;
mod seed;
mod signal;
mod sqlite;
mod text;

pub use memory::MemoryStore;
pub use postgres::{BadUrl, MigrationState, PgConfig, PgSchema, PgStore, Pooling, SCHEMES as POSTGRES_SCHEMES};
pub use seed::EndedRun;
pub use sqlite::SqliteStore;
