//! A store that is full for a while.

use std::{sync::Arc, time::Duration};

use opsroom::{
    control::Limits,
    model::{Category, Lane, RunStatus, StepIx},
    runbook::{Plan, PlannedStep, Template},
    store::SqliteStore,
    worker::{LaneConfig, Lanes},
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::world::{Gate, PATIENCE, Place, Process, chain};

const EVENTS: usize = 2_000;

async fn full_store() -> (Place, Arc<SqliteStore>) {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(SqliteStore::open(&folder.path().join("opsroom.db")).await.unwrap());
    store.limit_pages(400).await.unwrap();
    (Place { store: store.clone(), folder }, store)
}

/// A run that writes 10 MB where there is room for 1.6.
async fn until_it_is_full(process: &Process) -> opsroom::model::RunId {
    process.serve(4);
    let emit = json!({ "count": EVENTS, "bytes": 5_000 });
    let run = process.submit(&chain([("events.emit", emit), ("assert", json!({"that": true}))])).await;
    let mut head = 0;
    process.until(run, |row| row.sequence_head > 10).await;
    loop {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let row = process.row(run).await;
        assert!(!row.status.is_ended(), "there was room enough: {row:?}");
        if row.sequence_head == head {
            return run;
        }
        head = row.sequence_head;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn owners_wait_for_room_and_lose_nothing() {
    let (place, store) = full_store().await;
    let limits = Limits { patient: true, ..Limits::default() };
    let process = Process::with(&place, place.store.clone(), [], limits).await;
    let run = until_it_is_full(&process).await;
    store.limit_pages(1_000_000).await.unwrap();
    assert_eq!(process.ends(run).await, RunStatus::Succeeded);
    let row = process.row(run).await;
    assert_eq!((row.epoch.0, row.recoveries), (1, 0), "the same owner, all along");
    let events = store_events(&process, run).await;
    assert_eq!(events, EVENTS);
    let attempts: Vec<u32> = process.runs.steps(run).await.unwrap().iter().map(|step| step.attempts).collect();
    assert_eq!(attempts, [1, 1]);
    process.stop().await;
}

async fn store_events(process: &Process, run: opsroom::model::RunId) -> usize {
    let events = process.world.store.events(run, 0, 10_000).await.unwrap();
    assert!(events.windows(2).all(|pair| pair[1].prev == pair[0].sequence), "nothing is missing and nothing is twice");
    events.iter().filter(|event| event.kind.category == Category::Dispatch).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_halt_ends_the_waiting() {
    let (place, store) = full_store().await;
    let limits = Limits { patient: true, ..Limits::default() };
    let process = Process::with(&place, place.store.clone(), [], limits).await;
    let run = until_it_is_full(&process).await;
    process.stop.cancel();
    process.halt.cancel();
    let worker = process.worker;
    tokio::time::timeout(Duration::from_secs(10), process.stop()).await.expect("nobody waits for room any more");
    store.limit_pages(1_000_000).await.unwrap();
    let taken = store_requeued(&place, worker).await;
    assert_eq!(taken, [run]);
}

async fn store_requeued(place: &Place, worker: opsroom::model::WorkerId) -> Vec<opsroom::model::RunId> {
    let taken = place.store.requeue(&[worker], opsroom::model::Micros(0), 10).await.unwrap();
    taken.into_iter().map(|(run, _)| run).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn owners_that_are_not_patient_give_up() {
    let (place, _store) = full_store().await;
    let process = Process::new(&place).await;
    let run = until_it_is_full(&process).await;
    let row = process.row(run).await;
    assert_eq!(row.claimed_by, Some(process.worker));
    assert!(!process.world.signals.is_listening(run), "nobody drives it");
    tokio::time::timeout(PATIENCE, process.stop()).await.unwrap();
}

/// A worker that drains while the store takes nothing: what was decided behind a commit under way begins nowhere, and is
/// not handed on as if it had.
#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_was_only_decided_is_not_handed_back() {
    let (place, store) = full_store().await;
    let limits = Limits { patient: true, ..Limits::default() };
    let (first, second) = (Gate::default(), Gate::default());
    let gates = || [("first", Arc::new(first.clone()) as _), ("second", Arc::new(second.clone()) as _)];
    let process = Process::with(&place, place.store.clone(), gates(), limits).await;
    let hand_back = CancellationToken::new();
    let lanes = Lanes::new(process.owner.clone(), process.worker, process.tasks.clone())
        .accept(process.handoff.clone())
        .hand_back_on(hand_back.clone());
    let (stop, config) = (process.stop.clone(), LaneConfig { lanes: vec![Lane::A], slots: 4 });
    process.tasks.spawn(async move { lanes.serve(&config, stop).await.unwrap() });

    let after = PlannedStep {
        needs: vec![StepIx(1)],
        with: Template::Literal(json!({"that": true})),
        ..PlannedStep::new("after", "assert")
    };
    let plan = Plan::new("gates", vec![PlannedStep::new("a", "first"), PlannedStep::new("b", "second"), after]);
    let run = process.submit(&Arc::new(plan.link())).await;
    while *first.begun.lock().unwrap() + *second.begun.lock().unwrap() < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // Another run's commit keeps the only writer.
    let emit = json!({ "count": EVENTS, "bytes": 5_000 });
    let filler = process.submit(&chain([("events.emit", emit)])).await;
    process.until(filler, |row| row.sequence_head > 10).await;
    let mut head = 0;
    while std::mem::replace(&mut head, process.row(filler).await.sequence_head) != head {
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    // The end of one step is a commit under way; that of the other, and the beginning of the third, are decided behind it.
    for what in [&first.open, &second.open, &hand_back] {
        what.cancel();
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    store.limit_pages(1_000_000).await.unwrap();
    process.stop().await;

    let next = Process::with(&place, place.store.clone(), gates(), Limits::default()).await;
    next.serve(4);
    assert_eq!(next.ends(run).await, RunStatus::Succeeded);
    next.stop().await;
}
