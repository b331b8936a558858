//! Database servers of the tests' own: from the system's packages, on free ports, in temporary folders.
//!
//! One PostgreSQL serves the whole run of the test binary, and each test has a database of its own in it
//! ([`database`]); a test that kills its server starts one for itself ([`own_server`]). Servers end with the test
//! process, however it ends: a watchdog waits at a pipe that closes with it.

mod certificates;
mod pgbouncer;
mod postgres;
mod programs;
mod proxy;
pub mod redis;
mod wire;

pub use pgbouncer::PgBouncer;
pub use postgres::{TestDatabase, database, encrypted_server, migrated_database, own_server, pooler};
pub use proxy::{Mode, Proxy};
