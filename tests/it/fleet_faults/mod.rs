//! What a fleet on PostgreSQL must not lose, and must not do twice, whatever dies or stalls.
//!
//! As in [`faults`](crate::faults): light every day, with full counts under `OPSROOM_SOAK=1`. Servers, processes, the
//! network between them and the load are real.

mod cancels;
mod claims;
mod clients;
mod deaths;
mod fleet;
mod ledger;
mod load;
mod lost_answers;
mod million;
mod redis;
mod restarts;
mod scene;
mod speed;
mod wakes;
