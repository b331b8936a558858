//! From what services answer to the documents of the interface: one place, for handlers and commands.

use std::time::Duration;

use crate::{
    api,
    control::{self, Blocker, LaneCount, SessionView, StepView, Why, WorkerHealth, WorkerView},
    model::{Micros, RunStatus, StepStatus, StreamId},
    ports::{RunRow, WorkerState},
};

/// A run.
pub fn run(row: &RunRow, now: Micros) -> api::Run {
    api::Run {
        id: row.id,
        runbook: row.runbook.to_string(),
        runbook_version: row.runbook_version,
        plan: row.plan,
        status: row.status,
        waiting_on: row.waiting_on,
        lane: row.lane,
        priority: row.priority,
        session_id: row.session.map(|session| session.0),
        labels: row.labels.clone(),
        params: row.params.clone(),
        trigger: trigger(row),
        steps_total: row.steps_total.into(),
        recoveries: row.recoveries.into(),
        error: row.error.clone(),
        created_at: row.created_at,
        started_at: row.started_at,
        ended_at: row.ended_at,
        duration_ms: row.started_at.map(|started| millis(row.ended_at.unwrap_or(now).since(started))),
        last_event_id: (row.sequence_head > 0)
            .then(|| StreamId { millis: row.stamp_head.millis(), sequence: row.sequence_head }.to_string()),
    }
}

fn trigger(row: &RunRow) -> api::Trigger {
    // Only this program writes kinds, and it knows the words.
    let kind = row.trigger.kind.parse().unwrap_or(api::TriggerKind::Manual);
    api::Trigger { kind, actor: row.trigger.actor.clone() }
}

/// A run as a batch answers it.
pub fn run_ref(row: &RunRow) -> api::RunRef {
    api::RunRef { id: row.id, runbook: row.runbook.to_string(), status: row.status }
}

/// What changes whenever the document of a run does, its duration aside.
pub fn run_version(row: &RunRow) -> String {
    format!("{}.{}.{}", row.epoch.0, row.version, row.signal_seq)
}

/// A step.
pub fn step(view: StepView, now: Micros) -> api::Step {
    let under_way = matches!(view.status, StepStatus::Running | StepStatus::Retrying | StepStatus::Waiting);
    let until = view.ended_at.or(under_way.then_some(now));
    api::Step {
        id: view.id.to_string(),
        index: view.index.0.into(),
        phase: view.phase,
        uses: view.uses.to_string(),
        needs: view.needs.iter().map(ToString::to_string).collect(),
        status: view.status,
        attempts: view.attempts.into(),
        started_at: view.started_at,
        ended_at: view.ended_at,
        duration_ms: view.started_at.zip(until).map(|(started, until)| millis(until.since(started))),
        outputs: view.outputs,
        error: view.error,
    }
}

/// Why a run is where it is.
pub fn why(row: &RunRow, why: Why) -> api::Why {
    api::Why {
        run_id: row.id,
        status: row.status,
        waiting_on: row.waiting_on.filter(|_| row.status == RunStatus::Queued),
        summary: why.summary,
        position: why.position,
        wake_at: why.wake_at,
        blockers: why.blockers.into_iter().map(blocker).collect(),
        actions: why.actions,
    }
}

fn blocker(blocker: Blocker) -> api::Blocker {
    let kind = match blocker.kind {
        control::BlockerKind::LaneFull => api::BlockerKind::LaneFull,
        control::BlockerKind::NoWorker => api::BlockerKind::NoWorker,
        control::BlockerKind::Timer => api::BlockerKind::Timer,
        control::BlockerKind::StepRunning => api::BlockerKind::StepRunning,
        control::BlockerKind::StepRetrying => api::BlockerKind::StepRetrying,
        control::BlockerKind::StepOutcome => api::BlockerKind::StepOutcome,
        control::BlockerKind::StepFailed => api::BlockerKind::StepFailed,
    };
    let step = blocker.step.map(|step| step.to_string());
    api::Blocker { kind, step, detail: blocker.detail, since: blocker.since }
}

/// A session.
pub fn session(view: &SessionView) -> api::Session {
    let row = &view.row;
    api::Session {
        id: row.id.0,
        name: row.name.clone(),
        labels: row.labels.clone(),
        created_at: row.created_at,
        created_by: row.created_by.clone(),
        archived_at: row.archived_at,
        lanes: view.lanes.iter().map(lane_count).collect(),
    }
}

fn lane_count(count: &LaneCount) -> api::LaneCount {
    api::LaneCount { lane: count.lane, queued: count.queued, running: count.running }
}

/// A lane, with the runs of it that the living workers execute at once.
pub fn lane(count: &LaneCount, slots: usize) -> api::LaneInfo {
    api::LaneInfo { lane: count.lane, queued: count.queued, running: count.running, slots: slots as u64 }
}

pub fn worker(view: &WorkerView) -> api::Worker {
    let WorkerState { row, beat_at, beat_age, running, .. } = &view.state;
    api::Worker {
        id: row.id.0,
        status: match view.health {
            WorkerHealth::Living => api::WorkerStatus::Living,
            WorkerHealth::Draining => api::WorkerStatus::Draining,
            WorkerHealth::Expired => api::WorkerStatus::Expired,
        },
        host: row.host.clone(),
        pid: row.pid.into(),
        version: row.version.clone(),
        lanes: row.lanes.clone(),
        slots: row.slots.into(),
        running: *running,
        labels: row.labels.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect(),
        started_at: row.started_at,
        beat_at: *beat_at,
        beat_age_ms: millis(*beat_age),
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
