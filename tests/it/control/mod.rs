//! The execution core in one process: lanes, owners, committer, reaper and services over real adapters.

mod announcements;
#[cfg(target_os = "linux")]
mod graves;
mod idle;
mod notes;
mod parking;
mod patience;
mod stops;
mod strays;
mod sync;
mod views;
pub mod world;
