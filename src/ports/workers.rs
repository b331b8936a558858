//! Workers as the store knows them, and what their leases say.

use std::{collections::BTreeMap, time::Duration};

use crate::model::{Lane, Micros, TenantId, WorkerId};

/// A worker process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerRow {
    pub id: WorkerId,
    pub tenant: TenantId,
    pub host: String,
    pub pid: u32,
    pub version: String,
    /// The lanes that it claims from, in order; none for a process that only executes its own runs.
    pub lanes: Vec<Lane>,
    /// Runs under way at once in each of its lanes.
    pub slots: u32,
    pub labels: BTreeMap<String, String>,
    pub started_at: Micros,
    /// It was asked to claim nothing more and to end.
    pub draining: bool,
}

/// What the store says to a sign of life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beat {
    /// The worker lives, by the store's own clock at `now`.
    Held { now: Micros, draining: bool },
    /// The worker is not known, or its lease ran out before. It never gets it back.
    Lost,
}

/// Who is dead by the leases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpiredWorkers {
    /// The store's own time.
    pub now: Micros,
    /// Another number when another server answers, or the same one after a restart.
    pub server: i64,
    /// In the order of their ids.
    pub workers: Vec<WorkerId>,
}

/// A worker as views show it, by the store's own clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerState {
    pub row: WorkerRow,
    /// Its last sign of life, and how long ago that was.
    pub beat_at: Micros,
    pub beat_age: Duration,
    /// When its lease runs out, or ran out; without one, something else tells whether it lives.
    pub lease_until: Option<Micros>,
    /// Its lease has run out.
    pub is_expired: bool,
    /// Runs that it owns.
    pub running: u64,
}

impl WorkerState {
    pub fn has_lease(&self) -> bool {
        self.lease_until.is_some()
    }
}
