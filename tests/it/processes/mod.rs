//! The processes of steps, with real processes. Linux only: the supervisor is.

mod cancel;
mod groups;
mod loss;
mod start;
mod worker;
pub mod world;
