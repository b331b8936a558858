//! What the hot verb costs, beside the least that a durable write costs on the same disk in the same run.
//!
//! `cargo test --release --test it -- store::speed --ignored --nocapture`

use std::time::{Duration, Instant};

use opsroom::{
    ports::{CommitAnswer, NewRun, RunCommit, RunRow, Store},
    store::SqliteStore,
};
use serde_json::json;

use super::world::{TENANT, W1, claim, end, event, new_run, plan, run_id};

/// One step costs two events and one write of its run.
pub fn one_step(row: &RunRow) -> RunCommit {
    let head = row.sequence_head;
    let data = json!({
        "step": 12, "attempt": 1, "exit": 0, "result": null,
        "outputs": {"digest": "sha256:abcdef0123456789abcdef0123456789", "bytes": 12_345},
    });
    RunCommit { events: vec![event(head + 1, data.clone()), event(head + 2, data)], ..super::world::next(row) }
}

pub fn quantile(durations: &mut [Duration], q: usize) -> Duration {
    durations.sort();
    durations[(durations.len() - 1) * q / 100]
}

async fn owned(store: &SqliteStore, first: u128, count: u128) -> Vec<RunRow> {
    let runs: Vec<NewRun> =
        (first..first + count).map(|number| NewRun { claimed_by: Some(W1), ..new_run(number) }).collect();
    store.create_runs(&runs, None).await.unwrap();
    let mut rows = Vec::new();
    for run in &runs {
        rows.push(store.run(run.id).await.unwrap().unwrap());
    }
    rows
}

pub fn moved_on(row: &mut RunRow) {
    row.version += 1;
    row.sequence_head += 2;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement, not a check"]
async fn commits() {
    // Not in /tmp, which may be in memory.
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let store = SqliteStore::open(&folder.path().join("db")).await.unwrap();
    store.put_plan(TENANT, plan(), b"{}", "").await.unwrap();
    one_by_one(&store).await;
    for (first, size, steps) in [(1, 16, 20), (2, 64, 20), (3, 256, 20), (4, 1_000, 20), (5, 256, 100)] {
        in_batches(&store, first * 1_000_000, size, steps).await;
    }
    other_verbs(&store).await;
    store.close().await.unwrap();
}

async fn one_by_one(store: &SqliteStore) {
    let mut row = owned(store, 1, 1).await.remove(0);
    let (mut floors, mut singles) = (Vec::new(), Vec::new());
    for _ in 0..2_000 {
        floors.push(store.one_row_commit().await.unwrap());
        let batch = [one_step(&row)];
        let begin = Instant::now();
        assert_eq!(store.commit(&batch).await.unwrap(), [CommitAnswer::Committed]);
        singles.push(begin.elapsed());
        moved_on(&mut row);
    }
    let (floor, one) = (quantile(&mut floors, 50), quantile(&mut singles, 50));
    println!("one durable row: p50 {floor:?} p99 {:?}", quantile(&mut floors, 99));
    println!("one step alone: p50 {one:?} p99 {:?}", quantile(&mut singles, 99));
    println!("ratio: {:.2}", one.as_secs_f64() / floor.as_secs_f64());
}

async fn in_batches(store: &SqliteStore, first: u128, size: u128, steps: usize) {
    let mut times = Vec::new();
    for round in 0..5 {
        let mut rows = owned(store, first + round * size, size).await;
        for _ in 0..steps {
            let batch: Vec<_> = rows.iter().map(one_step).collect();
            let begin = Instant::now();
            let answers = store.commit(&batch).await.unwrap();
            times.push(begin.elapsed());
            assert!(answers.iter().all(|answer| *answer == CommitAnswer::Committed));
            rows.iter_mut().for_each(moved_on);
        }
        let batch: Vec<_> = rows.iter().map(end).collect();
        store.commit(&batch).await.unwrap();
    }
    let total: Duration = times.iter().sum();
    let rate = size as f64 * times.len() as f64 / total.as_secs_f64();
    let (p50, p99) = (quantile(&mut times, 50), quantile(&mut times, 99));
    println!("{size} steps a commit, {steps} a run: {rate:.0} steps/s, p50 {p50:?} p99 {p99:?}");
}

async fn other_verbs(store: &SqliteStore) {
    let runs: Vec<NewRun> = (1..=20_000).map(|number| new_run(90_000_000 + number)).collect();
    let begin = Instant::now();
    for part in runs.chunks(500) {
        store.create_runs(part, None).await.unwrap();
    }
    println!("create_runs, 500 at a time: {:.0} runs/s", 20_000.0 / begin.elapsed().as_secs_f64());
    let mut claims = Vec::new();
    for _ in 0..400 {
        let begin = Instant::now();
        assert_eq!(store.claim(&claim(W1, 50)).await.unwrap().len(), 50);
        claims.push(begin.elapsed());
    }
    println!("claim of 50: p50 {:?} p99 {:?}", quantile(&mut claims, 50), quantile(&mut claims, 99));
    let begin = Instant::now();
    for _ in 0..1_000 {
        store.run(run_id(1)).await.unwrap().unwrap();
    }
    println!("run: {:?}", begin.elapsed() / 1_000);
    let begin = Instant::now();
    for _ in 0..1_000 {
        store.change_mark().await.unwrap();
    }
    println!("change_mark: {:?}", begin.elapsed() / 1_000);
}
