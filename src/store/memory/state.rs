//! Everything the store knows: plans, runs and workers, and the verbs over more than one run.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashSet},
};

use super::{
    archives::Archives, artifacts::Artifacts, list, run::Run, runbooks::Runbooks, segments::Segments, workers::Worker,
};
use crate::{
    model::{Digest, Epoch, Lane, Micros, RunId, RunStatus, SessionId, TenantId, WorkerId},
    ports::{
        ClaimRequest, CommitAnswer, Creation, Idempotency, IdempotentAnswer, LiveCount, NewRun, Page, RunCommit,
        RunFilter, RunRow, SessionRow, StoreError,
    },
    store::check::{self, Once},
};

#[derive(Debug, Default)]
pub(super) struct State {
    plans: BTreeMap<(TenantId, Digest), Plan>,
    runs: BTreeMap<RunId, Run>,
    pub(super) workers: BTreeMap<WorkerId, Worker>,
    pub(super) archives: Archives,
    pub(super) artifacts: Artifacts,
    /// Of writes, by tenant and key.
    pub(super) answers: BTreeMap<(TenantId, String), IdempotentAnswer>,
    pub(super) runbooks: Runbooks,
    pub(super) segments: Segments,
    pub(super) sessions: BTreeMap<SessionId, SessionRow>,
}

#[derive(Debug)]
struct Plan {
    plan: Vec<u8>,
    source: String,
}

impl State {
    pub(super) fn put_plan(&mut self, tenant: TenantId, digest: Digest, plan: &[u8], source: &str) {
        self.plans.entry((tenant, digest)).or_insert_with(|| Plan { plan: plan.to_vec(), source: source.to_owned() });
    }

    pub(super) fn plan(&self, tenant: TenantId, digest: Digest) -> Option<Vec<u8>> {
        self.plans.get(&(tenant, digest)).map(|plan| plan.plan.clone())
    }

    pub(super) fn source(&self, tenant: TenantId, digest: Digest) -> Option<String> {
        self.plans.get(&(tenant, digest)).map(|plan| plan.source.clone())
    }

    /// Whether the plan of a run has these files.
    pub(super) fn runs_with_files(&self, bundle: Digest) -> bool {
        let has_files = |plan: &Plan| {
            let plan: Option<serde_json::Value> = serde_json::from_slice(&plan.plan).ok();
            plan.is_some_and(|plan| plan["files"] == bundle.to_string())
        };
        let plans = self.plans.iter().filter(|(_, plan)| has_files(plan));
        plans.map(|(key, _)| *key).any(|key| self.runs.values().any(|run| (run.row.tenant, run.row.plan) == key))
    }

    pub(super) fn create_runs(
        &mut self,
        runs: &[NewRun],
        idempotency: Option<&Idempotency>,
    ) -> Result<Creation, StoreError> {
        if let Some(answer) = self.known(idempotency).or_else(|| self.closed(runs)) {
            return Ok(answer);
        }
        let mut ids = BTreeSet::new();
        for run in runs {
            check::new_run(run)?;
            if self.runs.contains_key(&run.id) || !ids.insert(run.id) {
                return Err(StoreError::Refused(format!("run {} exists already", run.id)));
            }
            if !self.plans.contains_key(&(run.tenant, run.plan)) {
                return Err(StoreError::Refused(format!("run {}: plan {} is not stored", run.id, run.plan)));
            }
        }
        self.runs.extend(runs.iter().map(|run| (run.id, Run::new(run))));
        self.keep(idempotency);
        Ok(Creation::Created)
    }

    /// What a known key answers.
    pub(super) fn known(&self, idempotency: Option<&Idempotency>) -> Option<Creation> {
        let wanted = idempotency?;
        let stored = self.answers.get(&(wanted.tenant, wanted.key.clone()))?;
        let same = stored.request == wanted.answer.request;
        Some(if same { Creation::Replayed(stored.clone()) } else { Creation::Mismatched })
    }

    pub(super) fn keep(&mut self, idempotency: Option<&Idempotency>) {
        if let Some(Idempotency { tenant, key, answer }) = idempotency {
            self.answers.insert((*tenant, key.clone()), answer.clone());
        }
    }

    /// The first session that takes no runs.
    fn closed(&self, runs: &[NewRun]) -> Option<Creation> {
        let named: BTreeSet<_> =
            runs.iter().filter_map(|run| run.session.map(|session| (session, run.tenant))).collect();
        named.into_iter().find_map(|(session, tenant)| {
            match self.sessions.get(&session).filter(|row| row.tenant == tenant) {
                None => Some(Creation::NoSession(session)),
                Some(row) => row.archived_at.map(|_| Creation::SessionArchived(session)),
            }
        })
    }

    pub(super) fn live_counts(&self, tenant: TenantId) -> Vec<LiveCount> {
        let mut counts: BTreeMap<(Lane, Option<SessionId>), (u64, u64)> = BTreeMap::new();
        let live = self.runs.values().map(|run| &run.row).filter(|row| row.tenant == tenant && !row.status.is_ended());
        for row in live {
            let (queued, running) = counts.entry((row.lane, row.session)).or_default();
            *(if row.status.is_owned() { running } else { queued }) += 1;
        }
        let count = |((lane, session), (queued, running))| LiveCount { lane, session, queued, running };
        counts.into_iter().map(count).collect()
    }

    pub(super) fn queue_position(&self, run: RunId) -> Option<u64> {
        let place = |run: &Run| (Reverse(run.row.priority), run.row.created_at, run.row.id);
        let run = self.runs.get(&run).filter(|run| run.row.claimable)?;
        let waiting = self.runs.values().filter(|other| other.row.claimable && other.row.lane == run.row.lane);
        Some(waiting.filter(|other| place(other) <= place(run)).count() as u64)
    }

    pub(super) fn run(&self, id: RunId) -> Option<&Run> {
        self.runs.get(&id)
    }

    /// All runs, in the order of their ids.
    pub(super) fn all(&self) -> impl Iterator<Item = &Run> {
        self.runs.values()
    }

    /// Removes a run that has ended; answers whether there was one.
    pub(super) fn remove_ended(&mut self, id: RunId) -> bool {
        let has_ended = self.runs.get(&id).is_some_and(|run| run.row.status.is_ended());
        has_ended && self.runs.remove(&id).is_some()
    }

    pub(super) fn run_mut(&mut self, id: RunId) -> Option<&mut Run> {
        self.runs.get_mut(&id)
    }

    /// The row as views show it: an owned run lives as long as its worker does.
    pub(super) fn view(&self, run: &Run) -> RunRow {
        let mut row = run.row.clone();
        let beat_at = run.owner().and_then(|worker| self.workers.get(&worker)).map(|worker| worker.beat_at);
        row.heartbeat_at = row.heartbeat_at.max(beat_at);
        row
    }

    pub(super) fn claim(&mut self, request: &ClaimRequest) -> Vec<RunRow> {
        let mut found: Vec<&mut Run> =
            self.runs.values_mut().filter(|run| run.row.claimable && run.row.lane == request.lane).collect();
        found.sort_by_key(|run| (Reverse(run.row.priority), run.row.created_at, run.row.id));
        found.truncate(request.limit);
        found.into_iter().map(|run| run.claim(request.worker, request.now)).collect()
    }

    pub(super) fn commit(&mut self, once: &mut Once, commit: &RunCommit) -> CommitAnswer {
        if let Err(why) = once.first(commit.run).and_then(|()| check::commit(commit)) {
            return CommitAnswer::Refused(why);
        }
        self.runs.get_mut(&commit.run).map_or(CommitAnswer::Fenced, |run| run.commit(commit))
    }

    pub(super) fn signalled(&self, worker: WorkerId) -> Vec<RunId> {
        self.runs
            .values()
            .filter(|run| run.owner() == Some(worker) && run.row.signal_seq > run.row.signals_applied)
            .map(|run| run.row.id)
            .collect()
    }

    pub(super) fn requeue(&mut self, dead: &[WorkerId], limit: usize) -> Vec<(RunId, Lane)> {
        self.runs
            .values_mut()
            .filter(|run| run.owner().is_some_and(|owner| dead.contains(&owner)))
            .take(limit)
            .map(|run| {
                run.requeue();
                (run.row.id, run.row.lane)
            })
            .collect()
    }

    pub(super) fn take_over(&mut self, dead: &[WorkerId], request: &ClaimRequest) -> Vec<RunRow> {
        let is_theirs =
            |run: &&mut Run| run.row.lane == request.lane && run.owner().is_some_and(|owner| dead.contains(&owner));
        let theirs = self.runs.values_mut().filter(is_theirs).take(request.limit);
        theirs.map(|run| run.take_over(request.worker, request.now)).collect()
    }

    pub(super) fn owned(&self, worker: WorkerId) -> Vec<(RunId, Epoch)> {
        self.runs.values().filter(|run| run.owner() == Some(worker)).map(|run| (run.row.id, run.row.epoch)).collect()
    }

    pub(super) fn give_back(&mut self, worker: WorkerId, runs: &[(RunId, Epoch)]) -> Vec<(RunId, Lane)> {
        let mut given = Vec::new();
        for (id, epoch) in runs {
            let ours = |run: &&mut Run| run.owner() == Some(worker) && run.row.epoch == *epoch;
            if let Some(run) = self.runs.get_mut(id).filter(ours) {
                run.give_back();
                given.push((*id, run.row.lane));
            }
        }
        given
    }

    pub(super) fn wake_due(&mut self, now: Micros, limit: usize) -> Vec<(RunId, Lane)> {
        let mut due: Vec<&mut Run> = self
            .runs
            .values_mut()
            .filter(|run| run.row.status == RunStatus::Queued && run.row.wake_at.is_some_and(|at| at <= now))
            .collect();
        due.sort_by_key(|run| (run.row.wake_at, run.row.id));
        due.truncate(limit);
        due.into_iter()
            .map(|run| {
                run.wake();
                (run.row.id, run.row.lane)
            })
            .collect()
    }

    pub(super) fn runs(&self, tenant: TenantId, filter: &RunFilter) -> Page<RunRow> {
        let rows = self.runs.values().map(|run| &run.row);
        let wide = if filter.text.is_some() { list::wide_labels(tenant, rows) } else { HashSet::new() };
        let mut found = self.runs.values().rev().filter(|run| list::includes(tenant, filter, &wide, &run.row));
        let items = found.by_ref().take(filter.limit).map(|run| self.view(run)).collect();
        Page { items, more: found.next().is_some() }
    }
}
