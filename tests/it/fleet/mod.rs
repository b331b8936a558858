//! Real servers, workers and schedulers of this build on a database of their own.

mod cancels;
mod deaths;
mod drains;
mod encryption;
mod launch;
mod notify;
mod restarts;
mod runs;
mod starts;
mod waits;

pub use launch::{Fleet, Member};
