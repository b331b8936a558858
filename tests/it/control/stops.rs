//! Lanes that stop: nothing that is theirs is left in nobody's hands.

use std::{sync::Arc, time::Duration};

use opsroom::{
    control::{Limits, Runs},
    model::{RunId, RunStatus, TenantId},
    ports::{RunFilter, RunRow},
    runbook::Plan,
};
use serde_json::json;
use tokio::task::JoinSet;

use super::world::{Act, Gate, Place, Process, chain, submission};

const ROUNDS: u64 = 500;

/// A cheap stream of numbers that only look random.
fn number(seed: u64, below: u64) -> u64 {
    let mut x = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (x ^ (x >> 31)) % below
}

async fn submit_some(runs: Runs, plan: Arc<Plan>, pause: Duration) -> Vec<RunId> {
    let first = runs.submit(&[submission(&plan)], None).await.unwrap();
    tokio::time::sleep(pause).await;
    let rest = runs.submit(&vec![submission(&plan); 2], None).await.unwrap();
    [first, rest].concat()
}

/// Submissions race a stop within `span`, again and again; what the lanes did not get waits for others.
async fn play(place: Place, span: Duration) {
    let span = u64::try_from(span.as_micros()).unwrap();
    let plan = chain([("assert", json!({"that": true})), ("assert", json!({"that": true}))]);
    let mut all = Vec::new();
    for round in 0..ROUNDS {
        let process = Process::new(&place).await;
        process.serve(4);
        let mut submitting = JoinSet::new();
        for client in 0..3 {
            let pause = Duration::from_micros(number(round * 8 + client, span));
            submitting.spawn(submit_some(process.runs.clone(), plan.clone(), pause));
        }
        tokio::time::sleep(Duration::from_micros(number(round * 8 + 7, span))).await;
        process.stop.cancel();
        all.extend(submitting.join_all().await.concat());
        process.stop().await;
        let owned = listed(&place, &[RunStatus::Claimed, RunStatus::Running]).await;
        assert!(owned.is_empty(), "round {round}: {owned:?}");
    }
    let queued = listed(&place, &[RunStatus::Queued]).await;
    assert!(queued.iter().all(|row| row.claimable) && queued.len() < all.len(), "{} of {}", queued.len(), all.len());
    let last = Process::new(&place).await;
    last.serve(16);
    for run in &all {
        last.ends(*run).await;
    }
    last.stop().await;
    for run in &all {
        let row = place.store.run(*run).await.unwrap().unwrap();
        assert_eq!((row.status, row.recoveries), (RunStatus::Succeeded, 0), "{row:?}");
    }
    println!("{} of {} runs ended before the last start", all.len() - queued.len(), all.len());
}

async fn listed(place: &Place, status: &[RunStatus]) -> Vec<RunRow> {
    let filter = RunFilter { status: status.to_vec(), limit: 10_000, ..RunFilter::default() };
    place.store.runs(TenantId::DEFAULT, &filter).await.unwrap().items
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_stop_beside_submissions_loses_nothing_in_memory() {
    play(Place::memory(), Duration::from_millis(4)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_stop_beside_submissions_loses_nothing_on_disk() {
    play(Place::sqlite().await, Duration::from_millis(25)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_waits_for_what_is_under_way_and_a_halt_does_not() {
    let place = Place::sqlite().await;
    let gate = Gate::default();
    let actions = [("gate", Arc::new(gate.clone()) as Act)];
    let process = Process::with(&place, place.store.clone(), actions, Limits::default()).await;
    process.serve(4);
    let runs = process.runs.submit(&vec![submission(&chain([("gate", json!({}))])); 6], None).await.unwrap();
    while *gate.begun.lock().unwrap() < 4 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    process.stop.cancel();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let mut owned = 0;
    for run in &runs {
        let row = process.row(*run).await;
        owned += usize::from(row.claimed_by == Some(process.worker));
        assert!(row.status == RunStatus::Running || row.claimable, "{row:?}");
    }
    assert_eq!((owned, *gate.begun.lock().unwrap()), (4, 4), "nothing more is taken up, nothing is given up");
    process.halt.cancel();
    let worker = process.worker;
    process.stop().await;
    // They are the worker's until somebody finds it dead.
    let taken = place.store.requeue(&[worker], opsroom::model::Micros(0), 10).await.unwrap();
    assert_eq!(taken.len(), 4);
    let next =
        Process::with(&place, place.store.clone(), [("gate", Arc::new(gate.clone()) as Act)], Limits::default()).await;
    gate.open.cancel();
    next.serve(8);
    for run in runs {
        next.until(run, |row| row.status.is_ended() || row.waiting_on.is_some_and(|on| on.as_str() != "capacity"))
            .await;
    }
    next.stop().await;
}
