//! The execution core in one process: lanes, owners, committer, reaper and services over real adapters.

mod announcements;
mod notes;
mod patience;
mod stops;
mod strays;
mod sync;
mod world;
