//! Workers and their leases.

use std::{collections::BTreeSet, time::Duration};

use super::{run::Run, state::State};
use crate::{
    model::{Micros, TenantId, WorkerId},
    ports::{Beat, Page, WorkerRow, WorkerState},
};

#[derive(Debug)]
pub(super) struct Worker {
    row: WorkerRow,
    pub(super) beat_at: Micros,
    lease_until: Option<Micros>,
    is_lost: bool,
}

impl Worker {
    fn has_expired(&self, now: Micros) -> bool {
        self.is_lost || self.lease_until.is_some_and(|until| until < now)
    }

    fn beat(&mut self, now: Micros, lease: Option<Duration>) -> Beat {
        if self.has_expired(now) {
            return Beat::Lost;
        }
        self.beat_at = now;
        self.lease_until = lease.map(|lease| after(now, lease));
        Beat::Held { now, draining: self.row.draining }
    }
}

fn after(now: Micros, lease: Duration) -> Micros {
    Micros(now.0.saturating_add(i64::try_from(lease.as_micros()).unwrap_or(i64::MAX)))
}

impl State {
    pub(super) fn register_worker(&mut self, row: &WorkerRow, now: Micros, lease: Option<Duration>) -> Beat {
        let new = || Worker { row: row.clone(), beat_at: now, lease_until: None, is_lost: false };
        self.workers.entry(row.id).or_insert_with(new).beat(now, lease)
    }

    pub(super) fn beat(&mut self, worker: WorkerId, now: Micros, lease: Option<Duration>) -> Beat {
        self.workers.get_mut(&worker).map_or(Beat::Lost, |worker| worker.beat(now, lease))
    }

    pub(super) fn expired_workers(&mut self, now: Micros, limit: usize) -> Vec<WorkerId> {
        for worker in self.workers.values_mut() {
            worker.is_lost = worker.has_expired(now);
        }
        let lost = self.workers.iter().filter(|(_, worker)| worker.is_lost).map(|(id, _)| *id);
        let unknown = self.owning().into_iter().filter(|owner| !self.workers.contains_key(owner));
        let all: BTreeSet<WorkerId> = lost.chain(unknown).collect();
        all.into_iter().take(limit).collect()
    }

    pub(super) fn workers(
        &self,
        tenant: TenantId,
        after: Option<WorkerId>,
        limit: usize,
        now: Micros,
    ) -> Page<WorkerState> {
        let is_after = |id: &WorkerId| after.is_none_or(|after| *id > after);
        let mut found =
            self.workers.iter().filter(|(id, worker)| worker.row.tenant == tenant && is_after(id)).map(|(_, w)| w);
        let items = found.by_ref().take(limit).map(|worker| self.worker_state(worker, now)).collect();
        Page { items, more: found.next().is_some() }
    }

    pub(super) fn drain_worker(&mut self, tenant: TenantId, worker: WorkerId) -> bool {
        let Some(worker) = self.workers.get_mut(&worker).filter(|worker| worker.row.tenant == tenant) else {
            return false;
        };
        worker.row.draining = true;
        true
    }

    pub(super) fn forget_workers(&mut self, workers: &[WorkerId]) {
        let busy = self.owning();
        self.workers.retain(|id, _| busy.contains(id) || !workers.contains(id));
    }

    pub(super) fn owners(&self) -> Vec<WorkerId> {
        let all: BTreeSet<WorkerId> = self.workers.keys().copied().chain(self.owning()).collect();
        all.into_iter().collect()
    }

    /// Whoever owns a run.
    fn owning(&self) -> BTreeSet<WorkerId> {
        self.all().filter_map(Run::owner).collect()
    }

    fn worker_state(&self, worker: &Worker, now: Micros) -> WorkerState {
        let running = self.all().filter(|run| run.owner() == Some(worker.row.id)).count();
        WorkerState {
            row: worker.row.clone(),
            beat_at: worker.beat_at,
            beat_age: now.since(worker.beat_at),
            lease_until: worker.lease_until,
            is_expired: worker.has_expired(now),
            running: running as u64,
        }
    }
}
