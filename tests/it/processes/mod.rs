//! The processes of steps, with real processes. Linux only: the supervisor is.
#![expect(clippy::unwrap_used, reason = "helpers of tests, where it is allowed")]

mod cancel;
mod groups;
mod loss;
mod start;
mod worker;
mod world;
