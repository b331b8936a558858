//! Many claimers and many who create, on one database.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use opsroom::{
    model::{RunId, RunStatus, WorkerId},
    ports::{CommitAnswer, NewRun, RunRow, Store as _},
    store::PgStore,
};
use sqlx::PgConnection;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::{
    faults::bars::{count, figure},
    servers::{TestDatabase, migrated_database},
    store::world::{TENANT, claim, end, new_run, next, plan},
};

const CLAIMERS: u128 = 16;
const CREATORS: u128 = 4;
/// Runs created at once.
const BATCH: u128 = 20;

/// What the database has counted.
pub struct Counted {
    deadlocks: i64,
    /// Whatever was refused or given up, and so every statement that had to be repeated.
    rollbacks: i64,
    transactions: i64,
}

impl Counted {
    /// Less than one of a hundred was for nothing.
    pub fn check(&self) -> String {
        let Counted { deadlocks, rollbacks, transactions } = self;
        let said = format!("{deadlocks} deadlocks and {rollbacks} rollbacks in {transactions} transactions");
        assert!(rollbacks * 100 < *transactions, "{said}");
        said
    }
}

/// The statistics of a database, once they are written down.
pub async fn counted(database: &TestDatabase) -> Counted {
    let mut connection: PgConnection = database.connect().await;
    let sql = "SELECT deadlocks, xact_rollback, xact_commit + xact_rollback FROM pg_stat_database \
               WHERE datname = current_database()";
    sqlx::query("SELECT pg_stat_force_next_flush()").execute(&mut connection).await.unwrap();
    let (deadlocks, rollbacks, transactions) = sqlx::query_as(sql).fetch_one(&mut connection).await.unwrap();
    Counted { deadlocks, rollbacks, transactions }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn none_is_stuck_and_none_claimed_twice() {
    let database = migrated_database().await;
    // Two stores, as in two processes.
    let (a, b) = (open(&database).await, open(&database).await);
    a.put_plan(TENANT, plan(), b"{}", "name: deploy\n").await.unwrap();
    let (span, numbers) = (Duration::from_secs(count(4, 300)), Arc::new(AtomicU64::new(1)));
    let until = Instant::now() + span;
    let mut creating = JoinSet::new();
    for number in 0..CREATORS {
        let store = if number % 2 == 0 { a.clone() } else { b.clone() };
        creating.spawn(create(store, numbers.clone(), until));
    }
    let mut claiming = JoinSet::new();
    for number in 0..CLAIMERS {
        let store = if number % 2 == 0 { a.clone() } else { b.clone() };
        claiming.spawn(drive(store, WorkerId(Uuid::from_u128(number + 1)), until));
    }
    let created: u128 = creating.join_all().await.into_iter().sum();
    let mut claims = BTreeMap::<RunId, u32>::new();
    for driven in claiming.join_all().await {
        for run in driven {
            *claims.entry(run).or_default() += 1;
        }
    }
    let twice: Vec<_> = claims.iter().filter(|(_, times)| **times > 1).collect();
    assert!(twice.is_empty(), "claimed twice: {twice:?}");
    let mut connection = database.connect().await;
    let sql = "SELECT count(*) FILTER (WHERE status <> 'failed'), count(*), max(epoch) FROM runs";
    let (open, all, epoch): (i64, i64, i64) = sqlx::query_as(sql).fetch_one(&mut connection).await.unwrap();
    assert_eq!((open, epoch), (0, 1), "of {all} runs, and the highest epoch");
    assert_eq!((u128::try_from(all).unwrap(), claims.len() as u128), (created, created));
    a.close().await;
    b.close().await;
    let counted = counted(&database).await.check();
    figure(
        "claims",
        format!(
            "{CLAIMERS} claimers, {CREATORS} creators, {span:?}: {created} runs, each claimed once and ended; {counted}"
        ),
    );
}

pub async fn open(database: &TestDatabase) -> Arc<PgStore> {
    Arc::new(PgStore::open_migrated(&database.config()).await.unwrap())
}

async fn create(store: Arc<PgStore>, numbers: Arc<AtomicU64>, until: Instant) -> u128 {
    let mut created = 0;
    while Instant::now() < until {
        let first = u128::from(numbers.fetch_add(u64::try_from(BATCH).unwrap(), Ordering::Relaxed));
        let runs: Vec<NewRun> = (first..first + BATCH)
            .map(|number| NewRun { priority: i32::try_from(number % 3).unwrap(), ..new_run(number) })
            .collect();
        store.create_runs(&runs, None).await.unwrap();
        created += BATCH;
    }
    created
}

/// Claims and drives until there has been nothing for a while; answers what it claimed.
async fn drive(store: Arc<PgStore>, worker: WorkerId, until: Instant) -> Vec<RunId> {
    let (mut claimed, mut last) = (Vec::new(), Instant::now());
    while Instant::now() < until || last.elapsed() < Duration::from_millis(500) {
        let rows = store.claim(&claim(worker, 8)).await.unwrap();
        if rows.is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
            continue;
        }
        last = Instant::now();
        claimed.extend(rows.iter().map(|row| row.id));
        carry_out(&store, &rows).await;
    }
    claimed
}

/// Two writes of each run, in batches, as owners do.
async fn carry_out(store: &PgStore, rows: &[RunRow]) {
    let begun: Vec<_> = rows.iter().map(next).collect();
    let answers = store.commit(&begun).await.unwrap();
    assert!(answers.iter().all(|answer| *answer == CommitAnswer::Committed), "{answers:?}");
    let ended: Vec<_> = rows
        .iter()
        .map(|row| {
            let head = row.sequence_head + 2;
            let begun =
                RunRow { version: row.version + 1, status: RunStatus::Running, sequence_head: head, ..row.clone() };
            end(&begun)
        })
        .collect();
    let answers = store.commit(&ended).await.unwrap();
    assert!(answers.iter().all(|answer| *answer == CommitAnswer::Committed), "{answers:?}");
}
