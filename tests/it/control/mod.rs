//! The execution core in one process: lanes, owners, committer, reaper and services over real adapters.

mod announcements;
mod notes;
mod stops;
mod sync;
mod world;
