use std::sync::Arc;

use serde_json::Map;

use super::*;
use crate::{
    engine::{Event, Fact, Run},
    model::{Digest, Failure, Lane, RunId, TenantId, WorkerId},
    ports::{NewRun, Trigger, WorkerRow},
    runbook::{Plan, PlannedStep},
};

const RUN: &str = "01990000-0000-7000-8000-000000000001";

fn at(millis: i64) -> Micros {
    Micros(millis * 1_000)
}

/// A run of the steps `build` (three attempts) and `deploy`, after these events.
fn view(events: Vec<Event>) -> RunView {
    let mut build = PlannedStep::new("build", "run");
    build.retry.max_attempts = 3;
    let plan = Plan::new("release", vec![build, PlannedStep::new("deploy", "http")]);
    let id: RunId = RUN.parse().unwrap();
    let mut run = Run::new(&plan, id, Arc::default());
    for (millis, event) in (1..).zip(events) {
        run.apply(&plan, &Fact { at: at(millis), event });
    }
    let new = NewRun {
        id,
        tenant: TenantId::DEFAULT,
        runbook: "release".into(),
        runbook_version: None,
        session: None,
        plan: Digest::of(b""),
        lane: Lane::B,
        priority: 0,
        labels: Map::new(),
        params: Map::new(),
        trigger: Trigger { kind: "manual".to_owned(), actor: "ada".to_owned() },
        steps_total: 2,
        created_at: at(0),
        claimed_by: None,
        opening: Vec::new(),
    };
    RunView { row: new.row(), plan: Arc::new(plan), run: Arc::new(run) }
}

fn with(mut view: RunView, status: RunStatus, waiting_on: Option<WaitingOn>) -> RunView {
    view.row.status = status;
    view.row.waiting_on = waiting_on;
    view.row.claimed_by = status.is_owned().then_some(WorkerId(uuid::Uuid::nil()));
    view
}

const BUILD: StepIx = StepIx(0);
const DEPLOY: StepIx = StepIx(1);

fn started(step: StepIx, attempt: u32) -> Event {
    Event::StepStarted { step, attempt, again: false }
}

fn failure() -> Failure {
    Failure::error("EXIT_NONZERO", "it ended with 1")
}

/// The kinds, steps and details of the blockers.
fn blockers(why: &Why) -> Vec<(BlockerKind, Option<&str>, &str)> {
    why.blockers.iter().map(|b| (b.kind, b.step.as_deref(), b.detail.as_str())).collect()
}

#[test]
fn a_queued_run_has_a_place() {
    let around = Circumstances { position: Some(3), running_in_lane: 2, slots: 2, served: vec![Lane::B], silent: None };
    let found = why(&view(vec![]), &around);
    let detail = "2 runs are under way and 2 wait before it in lane B";
    assert_eq!(blockers(&found), [(BlockerKind::LaneFull, None, detail)]);
    assert_eq!(found.summary, format!("It waits for a free slot: {detail}."));
    assert_eq!((found.position, found.wake_at, found.blockers[0].since), (Some(3), None, Some(at(0))));
    assert_eq!(found.actions, [format!("opsroom cancel {RUN}")]);
    let first = Circumstances { position: Some(1), running_in_lane: 1, ..around };
    assert_eq!(blockers(&why(&view(vec![]), &first))[0].2, "1 run is under way and none waits before it in lane B");
}

#[test]
fn without_workers_it_says_so() {
    let around = Circumstances { position: Some(1), ..Circumstances::default() };
    let found = why(&view(vec![]), &around);
    assert_eq!(blockers(&found), [(BlockerKind::NoWorker, None, "no worker serves lane B")]);
    assert_eq!(found.actions[0], "opsroom up");
    let elsewhere = Circumstances { served: vec![Lane::A, Lane::C], ..around };
    let found = why(&view(vec![]), &elsewhere);
    assert_eq!(blockers(&found)[0].2, "no worker serves lane B; those that live serve A, C");
    assert_eq!(found.actions[0], "opsroom worker --lanes B");
}

#[test]
fn after_a_death_it_says_that_too() {
    let mut view = view(vec![Event::RunStarted, started(BUILD, 1)]);
    view.row.recoveries = 1;
    let around = Circumstances { slots: 4, position: Some(1), ..Circumstances::default() };
    assert!(why(&view, &around).summary.starts_with("Its worker died; it waits for a free slot"));
}

#[test]
fn a_running_run_names_its_steps() {
    let events = vec![Event::RunStarted, started(BUILD, 1), started(DEPLOY, 1)];
    let found = why(&with(view(events), RunStatus::Running, None), &Circumstances::default());
    assert_eq!(found.summary, "`build`, `deploy` are at work.");
    let expected = [
        (BlockerKind::StepRunning, Some("build"), "attempt 1 of at most 3 of `run` is under way"),
        (BlockerKind::StepRunning, Some("deploy"), "attempt 1 of `http` is under way"),
    ];
    assert_eq!(blockers(&found), expected);
    assert_eq!(found.blockers[0].since, Some(at(2)));
}

#[test]
fn a_silent_worker_is_no_worker_at_work() {
    let running = with(view(vec![Event::RunStarted, started(BUILD, 1)]), RunStatus::Running, None);
    let silence = Silence { age: Duration::from_millis(7_900), lease_until: at(60_000), is_expired: false };
    let told = |silence| why(&running, &Circumstances { silent: Some(silence), ..Circumstances::default() }).summary;
    assert_eq!(
        told(silence),
        "Its worker's last sign is 7 s old: its lease runs out at 1970-01-01T00:01:00.000Z, and then the run is taken \
         back. Last seen: `build` is at work."
    );
    let expired = told(Silence { is_expired: true, ..silence });
    assert!(expired.contains("its lease ran out at 1970-01-01T00:01:00.000Z"), "{expired}");
}

#[test]
fn a_worker_is_silent_once_it_has_missed_a_beat() {
    let state = |age: u64, lease_until: Option<i64>, is_expired| WorkerState {
        row: WorkerRow {
            id: WorkerId(uuid::Uuid::nil()),
            tenant: TenantId::DEFAULT,
            host: String::new(),
            pid: 1,
            version: String::new(),
            lanes: Vec::new(),
            slots: 1,
            labels: std::collections::BTreeMap::new(),
            started_at: at(0),
            draining: false,
        },
        beat_at: at(50_000),
        beat_age: Duration::from_millis(age),
        lease_until: lease_until.map(at),
        is_expired,
        running: 1,
    };
    assert_eq!(Silence::of(&state(4_900, Some(60_000), false)), None);
    let silence = Silence::of(&state(5_100, Some(60_000), false)).unwrap();
    assert_eq!((silence.age, silence.lease_until), (Duration::from_millis(5_100), at(60_000)));
    assert!(Silence::of(&state(10_100, Some(60_000), true)).unwrap().is_expired);
    assert_eq!(Silence::of(&state(5_100, None, false)), None, "a lock says whether it lives");
}

#[test]
fn a_retried_step_has_a_time() {
    let retrying = Event::StepRetrying { step: BUILD, attempt: 1, failure: failure(), until: at(60_000) };
    let events = vec![Event::RunStarted, started(BUILD, 1), retrying];
    let detail = "attempt 2 begins at 1970-01-01T00:01:00.000Z, after EXIT_NONZERO: it ended with 1";
    let expected = [(BlockerKind::StepRetrying, Some("build"), detail)];
    let running = why(&with(view(events.clone()), RunStatus::Running, None), &Circumstances::default());
    assert_eq!(blockers(&running), expected);
    assert_eq!(running.summary, "1 step waits for the next attempt.");
    assert_eq!(running.wake_at, Some(at(60_000)));
    // The same once the run has parked.
    let mut parked = with(view(events), RunStatus::Queued, Some(WaitingOn::Timer));
    parked.row.wake_at = Some(at(60_000));
    let parked = why(&parked, &Circumstances::default());
    assert_eq!(blockers(&parked), expected);
    assert_eq!(parked.summary, "It does nothing until 1970-01-01T00:01:00.000Z, then goes on by itself.");
    assert_eq!(parked.wake_at, Some(at(60_000)));
}

#[test]
fn a_held_step_has_its_command() {
    let events = vec![Event::RunStarted, started(DEPLOY, 1), Event::StepUnknown { step: DEPLOY, attempt: 1 }];
    let found = why(&with(view(events), RunStatus::Queued, Some(WaitingOn::StepOutcome)), &Circumstances::default());
    let detail = "its worker died in attempt 1; nobody knows what it did";
    assert_eq!(blockers(&found), [(BlockerKind::StepOutcome, Some("deploy"), detail)]);
    assert_eq!(found.actions[0], format!("opsroom resolve {RUN} deploy retry|succeeded|failed"));
}

#[test]
fn what_failed_is_named_at_the_end() {
    let failed = Event::StepFailed { step: BUILD, attempt: 1, failure: failure() };
    let finished = Event::RunFinished { status: RunStatus::Failed, error: None };
    let events = vec![Event::RunStarted, started(BUILD, 1), failed, finished];
    let mut view = with(view(events), RunStatus::Failed, None);
    view.row.error = Some(Failure::error("STEP_FAILED", "step `build` failed: EXIT_NONZERO: it ended with 1"));
    let found = why(&view, &Circumstances::default());
    let expected = [(BlockerKind::StepFailed, Some("build"), "EXIT_NONZERO: it ended with 1")];
    assert_eq!(blockers(&found), expected);
    assert_eq!(found.summary, "It has failed: step `build` failed: EXIT_NONZERO: it ended with 1.");
    assert_eq!(found.actions, [format!("opsroom logs {RUN} --step build")]);
}

#[test]
fn a_cancelled_run_says_that_it_is_ending() {
    let cancel = Event::CancelRequested { by: "ada".to_owned(), reason: String::new(), force: false };
    let events = vec![Event::RunStarted, started(BUILD, 1), cancel];
    let found = why(&with(view(events), RunStatus::Running, None), &Circumstances::default());
    assert_eq!(found.summary, "It is being cancelled: `build` is at work.");
    let ended = why(&with(view(vec![]), RunStatus::Succeeded, None), &Circumstances::default());
    assert_eq!((ended.summary.as_str(), ended.blockers.len()), ("It has succeeded.", 0));
}
