//! Floor 4: the actions. One file each: descriptor, schema, executor, tests.
//!
//! To add one, write its file and its line in `registry`. Validation, `explain`, docs and forms derive
//! from the descriptor.

mod assert;
mod attempt;
mod events_emit;
mod file_write;
mod http_request;
mod log;
mod registry;
mod run;
#[cfg(test)]
mod testing;
mod wait;

pub use http_request::{HttpConfig, Network, ParseNetwork};
pub use registry::{Deps, Registry, catalog};
