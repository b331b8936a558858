//! What a commit costs on PostgreSQL: time, statements, rows and bytes of the log for each step, beside the least that
//! a durable write costs on the same disk in the same run.
//!
//! `cargo test --release --test it -- store::postgres::speed --ignored --nocapture`

use std::time::{Duration, Instant};

use opsroom::{
    ports::{CommitAnswer, NewRun, RunRow, Store},
    store::PgStore,
};
use sqlx::{Executor, PgConnection, Row};
use tokio::task::JoinSet;

use crate::{
    servers::own_server,
    store::{
        speed::{moved_on, one_step, quantile},
        world::{TENANT, W1, claim, end, new_run, plan},
    },
};

/// What the server has written so far.
#[derive(Clone, Copy)]
struct Written {
    wal: i64,
    syncs: i64,
    updates: i64,
    hot: i64,
    inserts: i64,
}

async fn written(connection: &mut PgConnection) -> Written {
    // Statistics are sent when a session has been idle for a while.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let sql = "SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint, (SELECT wal_sync FROM pg_stat_wal),
        sum(n_tup_upd)::bigint, sum(n_tup_hot_upd)::bigint, sum(n_tup_ins)::bigint FROM pg_stat_user_tables";
    let row = connection.fetch_one(sqlx::raw_sql(sql)).await.unwrap();
    Written { wal: row.get(0), syncs: row.get(1), updates: row.get(2), hot: row.get(3), inserts: row.get(4) }
}

fn print(what: &str, steps: usize, elapsed: Duration, before: Written, after: Written) {
    let per = |number: fn(Written) -> i64| (number(after) - number(before)) as f64 / steps as f64;
    println!(
        "{what}: {:.0} steps/s; for each step {:.0} bytes of log, {:.2} syncs, {:.2} rows inserted, {:.2} updated, {:.2} of them HOT",
        steps as f64 / elapsed.as_secs_f64(),
        per(|w| w.wal),
        per(|w| w.syncs),
        per(|w| w.inserts),
        per(|w| w.updates),
        per(|w| w.hot),
    );
}

async fn owned(store: &PgStore, first: u128, count: u128) -> Vec<RunRow> {
    let runs: Vec<NewRun> =
        (first..first + count).map(|number| NewRun { claimed_by: Some(W1), ..new_run(number) }).collect();
    store.create_runs(&runs, None).await.unwrap();
    runs.iter().map(NewRun::row).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement, not a check"]
async fn commits() {
    let server = own_server().await;
    let database = server.database(None).await;
    let store = std::sync::Arc::new(PgStore::open(&database.config()).await.unwrap());
    store.put_plan(TENANT, plan(), b"{}", "").await.unwrap();
    let mut raw = database.connect().await;
    chain(&store, &mut raw).await;
    for (number, size) in (1..).zip([16_u128, 100, 256]) {
        for writers in [1, 2] {
            batches(&store, &mut raw, number * 10_000_000 + u128::from(writers) * 1_000_000, size, writers).await;
        }
    }
    claims(&store).await;
}

/// One run after another, a commit for each step: what a chain waits for.
async fn chain(store: &PgStore, raw: &mut PgConnection) {
    let mut row = owned(store, 1, 1).await.remove(0);
    let (mut floors, mut singles) = (Vec::new(), Vec::new());
    let before = written(raw).await;
    let begin = Instant::now();
    for _ in 0..2_000 {
        let batch = [one_step(&row)];
        let begin = Instant::now();
        assert_eq!(store.commit(&batch).await.unwrap(), [CommitAnswer::Committed]);
        singles.push(begin.elapsed());
        moved_on(&mut row);
    }
    let elapsed = begin.elapsed();
    print("a chain", 2_000, elapsed, before, written(raw).await);
    for _ in 0..2_000 {
        let begin = Instant::now();
        raw.execute("UPDATE probes SET written = written + 1").await.unwrap();
        floors.push(begin.elapsed());
    }
    let (floor, one) = (quantile(&mut floors, 50), quantile(&mut singles, 50));
    println!("one durable row: p50 {floor:?} p99 {:?}", quantile(&mut floors, 99));
    println!("one step alone: p50 {one:?} p99 {:?}", quantile(&mut singles, 99));
    println!("ratio: {:.2}", one.as_secs_f64() / floor.as_secs_f64());
}

/// Many runs a commit, one or two commits at a time.
async fn batches(store: &std::sync::Arc<PgStore>, raw: &mut PgConnection, first: u128, size: u128, writers: u32) {
    const STEPS: usize = 40;
    let mut parts = Vec::new();
    for writer in 0..writers {
        parts.push(owned(store, first + u128::from(writer) * size, size).await);
    }
    let before = written(raw).await;
    let begin = Instant::now();
    let mut tasks = JoinSet::new();
    for mut rows in parts {
        let store = store.clone();
        tasks.spawn(async move {
            for _ in 0..STEPS {
                let batch: Vec<_> = rows.iter().map(one_step).collect();
                let answers = store.commit(&batch).await.unwrap();
                assert!(answers.iter().all(|answer| *answer == CommitAnswer::Committed));
                rows.iter_mut().for_each(moved_on);
            }
            let ends: Vec<_> = rows.iter().map(end).collect();
            (begin.elapsed(), ends)
        });
    }
    let done = tasks.join_all().await;
    let elapsed = done.iter().map(|(elapsed, _)| *elapsed).max().unwrap();
    let steps = usize::try_from(size).unwrap() * STEPS * done.len();
    print(&format!("{size} runs a commit, {writers} at a time"), steps, elapsed, before, written(raw).await);
    for (_, ends) in done {
        store.commit(&ends).await.unwrap();
    }
}

async fn claims(store: &PgStore) {
    let runs: Vec<NewRun> = (1..=20_000).map(|number| new_run(900_000_000 + number)).collect();
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
}
