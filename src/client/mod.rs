//! Floor 5: a client of the HTTP interface, for the command line and for programs in Rust.
//!
//! `operations` is generated from `schemas/openapi.yaml`: one method for each operation that answers JSON. `transport`
//! sends and repeats what can be repeated, `follow` reads the events of a run over interruptions, `transfer` moves
//! the contents of artifacts. Deliberately absent: anything that prints.

mod error;
mod follow;
mod operations;
#[cfg(test)]
mod tests;
mod transfer;
mod transport;

pub use error::ClientError;
pub use follow::{Follow, News};
pub use transport::{Client, Key, KeyError, Local};
