//! Connections that break, that wait too long, and what is said about them.

use std::time::{Duration, Instant};

use opsroom::{
    model::{Digest, RunStatus},
    ports::{CommitAnswer, Creation, Idempotency, IdempotentAnswer, NewRun, RunRow, Store, StoreError},
    store::{PgConfig, PgStore, Pooling},
};
use sqlx::{Connection, Executor, Row};
use tokio::task::JoinSet;

use super::{Fixture, exec, number};
use crate::{
    servers::{database, own_server},
    store::world::{TENANT, W1, W2, at, cancel, claim, end, new_run, next, plan, run_id},
};

#[tokio::test]
async fn errors_name_the_place_and_no_password() {
    let database = database().await;
    let (_, rest) = database.url.split_once('@').unwrap();
    for (url, expected) in [
        (format!("postgres://nobody:s3cret@{rest}"), "check user and password"),
        (format!("postgres://postgres:s3cret@{}", rest.replace("/test_", "/missing_")), "create the database"),
        ("postgres://postgres:s3cret@127.0.0.1:1/ops".to_owned(), "127.0.0.1:1/ops"),
    ] {
        let Err(StoreError::Unavailable(why)) = PgStore::open(&PgConfig::from_url(&url).unwrap()).await else {
            unreachable!("opened {url}")
        };
        assert!(why.contains(expected) && !why.contains("s3cret"), "{why}");
    }
}

#[tokio::test]
async fn connections_have_their_limits_and_their_name() {
    let world = Fixture::new().await;
    assert_eq!(world.store.pooling(), Pooling::Session);
    let mut config = world.database.config();
    config.statement_timeout = Duration::from_millis(1_234);
    let mut connection = sqlx::PgConnection::connect_with(&config.session_options()).await.unwrap();
    for (setting, expected) in [
        ("statement_timeout", "1234ms"),
        ("lock_timeout", "5s"),
        ("idle_in_transaction_session_timeout", "30s"),
        ("application_name", "opsroom"),
        ("default_transaction_isolation", "read committed"),
        ("jit", "off"),
        ("TimeZone", "UTC"),
    ] {
        let row = connection.fetch_one(sqlx::raw_sql(sqlx::AssertSqlSafe(format!("SHOW {setting}")))).await.unwrap();
        assert_eq!(row.get::<String, _>(0), expected, "{setting}");
    }
}

#[tokio::test]
async fn a_lock_is_not_waited_for_for_ever() {
    let world = Fixture::new().await;
    let mut config = world.database.config();
    config.lock_timeout = Duration::from_millis(20);
    let store = PgStore::open(&config).await.unwrap();
    let mut raw = world.database.connect().await;
    exec(&mut raw, "BEGIN; UPDATE runs SET priority = 1").await;
    let begin = Instant::now();
    let Err(StoreError::Busy(why)) = store.signal(run_id(1), &cancel(), at(1)).await else { unreachable!("written") };
    assert!(why.contains("lock timeout"), "{why}");
    assert!(begin.elapsed() < Duration::from_secs(10));
    exec(&mut raw, "ROLLBACK").await;
    store.signal(run_id(1), &cancel(), at(1)).await.unwrap().unwrap().unwrap();
}

/// Backends are ended all the time: every write is there once, and nobody is told otherwise.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn broken_connections_lose_and_double_nothing() {
    let world = Fixture::new().await;
    let mut tasks = JoinSet::new();
    let mut killer = JoinSet::new();
    let mut raw = world.database.connect().await;
    killer.spawn(async move {
        loop {
            exec(
                &mut raw,
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                WHERE application_name = 'opsroom' AND datname = current_database() ORDER BY random() LIMIT 1",
            )
            .await;
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    });
    let store = std::sync::Arc::new(world.store);
    for number in 100..104 {
        let store = store.clone();
        tasks.spawn(async move { writes(&store, number).await });
    }
    tasks.join_all().await;
    killer.shutdown().await;
    let mut raw = world.database.connect().await;
    assert_eq!(number(&mut raw, "SELECT count(*) FROM runs").await, 1 + 4 * 25);
    assert_eq!(number(&mut raw, "SELECT count(*) FROM idempotency_keys").await, 4 * 25);
    assert_eq!(number(&mut raw, "SELECT count(*) FROM run_events").await, 4 * 25 * 4);
    assert_eq!(number(&mut raw, "SELECT count(*) FROM run_signals").await, 4 * 25);
}

/// Sends until an answer comes, as the callers of the store do.
macro_rules! until_told {
    ($call:expr) => {
        loop {
            match $call.await {
                Err(StoreError::Busy(_) | StoreError::Unavailable(_)) => {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                told => break told.unwrap(),
            }
        }
    };
}

async fn writes(store: &PgStore, writer: u128) {
    for number in (writer * 1_000..).take(25) {
        let run = NewRun { claimed_by: Some(W1), ..new_run(number) };
        let key = Idempotency {
            tenant: TENANT,
            key: number.to_string(),
            answer: IdempotentAnswer {
                request: Digest::of(b"a request"),
                status: 201,
                body: number.to_string().into_bytes(),
                created_at: at(number),
            },
        };
        let created = until_told!(store.create_runs(std::slice::from_ref(&run), Some(&key)));
        // `Replayed` where the store had given up between: it is the same answer.
        assert!(matches!(created, Creation::Created | Creation::Replayed(_)), "{created:?}");
        let mut row: RunRow = until_told!(store.run(run.id)).unwrap();
        for _ in 0..2 {
            let commit = next(&row);
            let answers = until_told!(store.commit(std::slice::from_ref(&commit)));
            assert_eq!(answers, [CommitAnswer::Committed]);
            row = until_told!(store.run(run.id)).unwrap();
            assert_eq!((row.status, row.sequence_head), (RunStatus::Running, commit.sequence_head));
        }
        let signal = until_told!(store.signal(run.id, &cancel(), at(number))).unwrap();
        assert_eq!(signal.unwrap().seq, 1);
    }
}

/// What was answered is there after a crash of the server, which a store survives.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_of_the_server_loses_nothing_that_was_answered() {
    let server = own_server().await;
    let database = server.database(None).await;
    let store = PgStore::open(&database.config()).await.unwrap();
    store.put_plan(TENANT, plan(), b"{}", "").await.unwrap();
    for round in 0..3 {
        let run = NewRun { claimed_by: Some(W1), ..new_run(round) };
        store.create_runs(std::slice::from_ref(&run), None).await.unwrap();
        let row = store.run(run.id).await.unwrap().unwrap();
        assert_eq!(store.commit(&[next(&row)]).await.unwrap(), [CommitAnswer::Committed]);
        server.crash().await;
        assert!(matches!(store.run(run.id).await, Err(StoreError::Busy(_) | StoreError::Unavailable(_))));
        server.start().await;
        let after = until_told!(store.run(run.id)).unwrap();
        assert_eq!(after.sequence_head, 2);
        assert_eq!(until_told!(store.events(run.id, 0, 10)).len(), 2);
    }
}

/// A claim does not wait for the disk. A crash may take it back, and then its owner writes nothing any more; a claim that
/// somebody has committed behind is there in any case.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_that_a_crash_takes_back_fences_its_owner() {
    let server = own_server().await;
    let database = server.database(None).await;
    let store = PgStore::open(&database.config()).await.unwrap();
    store.put_plan(TENANT, plan(), b"{}", "").await.unwrap();
    // The log's own writer is kept away, or nearly all claims would be on the disk by the time of the crash.
    exec(&mut database.connect().await, "ALTER SYSTEM SET wal_writer_delay = '10s'").await;
    exec(&mut database.connect().await, "SELECT pg_reload_conf()").await;
    let mut taken_back = 0;
    for round in 0..4 {
        let run = new_run(round);
        store.create_runs(std::slice::from_ref(&run), None).await.unwrap();
        let row = until_told!(store.claim(&claim(W1, 1))).remove(0);
        assert_eq!(row.id, run.id);
        let goes_on = round == 0;
        if goes_on {
            assert_eq!(store.commit(&[next(&row)]).await.unwrap(), [CommitAnswer::Committed]);
        }
        server.crash().await;
        server.start().await;
        let after = until_told!(store.run(run.id)).unwrap();
        let is_there = after.status != RunStatus::Queued;
        assert!(is_there || !goes_on, "what was committed is there, and the claim before it");
        if !is_there {
            taken_back += 1;
            assert_eq!(until_told!(store.commit(&[next(&row)])), [CommitAnswer::Fenced]);
            let again = until_told!(store.claim(&claim(W2, 1))).remove(0);
            assert_eq!((again.id, again.claimed_by), (run.id, Some(W2)));
            assert_eq!(until_told!(store.commit(&[next(&again)])), [CommitAnswer::Committed]);
        }
        // Whoever owns it ends it, so that the next claim is that of the next run.
        let owned = until_told!(store.run(run.id)).unwrap();
        assert_eq!(until_told!(store.commit(&[end(&owned)])), [CommitAnswer::Committed]);
    }
    assert!(taken_back > 0, "no claim was taken back: the test shows nothing");
}
