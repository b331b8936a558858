//! PgBouncer in transaction mode, Debian's.

use std::{sync::Arc, time::Duration};

use opsroom::{
    model::{WaitingOn, WorkerId},
    ports::{CommitAnswer, Store},
    store::{PgConfig, PgSchema, PgStore, Pooling},
};
use sqlx::{ConnectOptions, Executor, Row, postgres::PgConnectOptions};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::{begin, exec};
use crate::{
    servers::{PgBouncer, own_server},
    store::world::{W2, at, cancel, claim, end, new_run, next, park, run_id},
};

/// It refuses settings in the first message, or it was told to drop them: both are noticed.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn it_is_noticed_and_worked_through() {
    let server = own_server().await;
    for ignored in ["", "extra_float_digits,options"] {
        let bouncer = PgBouncer::start(server.port(), ignored).await;
        let database = server.database(None).await;
        let config = PgConfig::from_url(&bouncer.url(database.name())).unwrap();
        let mut schema = PgSchema::open(&config).await.unwrap();
        schema.up().await.unwrap();
        schema.close().await;
        let store = PgStore::open(&config).await.unwrap();
        assert_eq!(store.pooling(), Pooling::Transaction, "ignored: {ignored}");
        work(Arc::new(store)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_hold_behind_it() {
    let server = own_server().await;
    let bouncer = PgBouncer::start(server.port(), "").await;
    let database = server.database(None).await;
    let mut config = PgConfig::from_url(&format!("{}&pgbouncer=true", bouncer.url(database.name()))).unwrap();
    config.lock_timeout = Duration::from_millis(20);
    let store = PgStore::open(&config).await.unwrap();
    begin(&store).await;
    let mut raw = database.connect().await;
    exec(&mut raw, "BEGIN; UPDATE runs SET priority = 1").await;
    let error = store.signal(run_id(1), &cancel(), at(1)).await.unwrap_err();
    assert!(error.to_string().contains("lock timeout"), "{error}");
    exec(&mut raw, "ROLLBACK").await;
    // Nothing of it stays on the server connection that the next one gets.
    let options: PgConnectOptions = bouncer.url(database.name()).parse().unwrap();
    let mut other = options.extra_float_digits(None).connect().await.unwrap();
    let shown = other.fetch_one(sqlx::raw_sql("SHOW lock_timeout")).await.unwrap();
    assert_eq!(shown.get::<String, _>(0), "0");
}

/// The hot verbs from many tasks at once, more than there are server connections.
async fn work(store: Arc<PgStore>) {
    begin(&store).await;
    store.create_runs(&(10..90).map(new_run).collect::<Vec<_>>(), None).await.unwrap();
    let mut tasks = JoinSet::new();
    for number in 0..8 {
        let store = store.clone();
        tasks.spawn(async move {
            let worker = WorkerId(Uuid::from_u128(number + 1));
            let mut done = 0;
            loop {
                let claimed = store.claim(&claim(worker, 3)).await.unwrap();
                if claimed.is_empty() {
                    return done;
                }
                done += claimed.len();
                let batch: Vec<_> = claimed.iter().map(next).collect();
                assert_eq!(store.commit(&batch).await.unwrap(), vec![CommitAnswer::Committed; batch.len()]);
                for run in &claimed {
                    let row = store.run(run.id).await.unwrap().unwrap();
                    assert_eq!(store.commit(&[end(&row)]).await.unwrap(), [CommitAnswer::Committed]);
                    assert_eq!(store.events(run.id, 0, 10).await.unwrap().len(), 4);
                }
            }
        });
    }
    assert_eq!(tasks.join_all().await.into_iter().sum::<usize>(), 80);
    let row = store.run(run_id(1)).await.unwrap().unwrap();
    assert_eq!(store.commit(&[park(&row, WaitingOn::Timer)]).await.unwrap(), [CommitAnswer::Committed]);
    assert_eq!(store.wake_due(at(9_000), 10).await.unwrap().len(), 1);
    store.signal(row.id, &cancel(), at(1)).await.unwrap().unwrap().unwrap();
    assert_eq!(store.claim(&claim(W2, 1)).await.unwrap()[0].signal_seq, 1);
    assert_eq!(store.requeue(&[W2], at(1), 10).await.unwrap().len(), 1);
}
