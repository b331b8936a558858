//! A million runs that have ended do not slow down those that have not.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use opsroom::{
    model::{Micros, RunId, RunStatus, WorkerId},
    ports::{NewRun, RunFilter, RunRow, Store, WorkerRow},
    store::PgStore,
};
use sqlx::Executor as _;
use uuid::Uuid;

use super::{claims::open, fleet::percentile};
use crate::{
    faults::bars::{count, figure, judge},
    servers::{TestDatabase, migrated_database},
    store::world::{TENANT, W1, claim, end, new_run, next, plan},
};

const QUERY: Duration = Duration::from_millis(5);
const TRANSACTION: Duration = Duration::from_millis(10);

/// Beside those of the seeded ones, which are older.
const FIRST: u128 = 1 << 40;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_million_ended_runs_are_in_nobodys_way() {
    let (runs, rounds) = (count(20_000_u32, 1_000_000), count(100_u128, 2_000));
    let database = migrated_database().await;
    let store = open(&database).await;
    store.put_plan(TENANT, plan(), b"{}", "name: deploy\n").await.unwrap();
    let since = Instant::now();
    seed(&database, runs).await;
    let seeded = since.elapsed();
    let mut times = Times::default();
    for number in 0..rounds {
        times.round(&store, number).await;
    }
    figure("fleet-million", format!("{runs} ended runs seeded in {seeded:?}, then {rounds} rounds"));
    for (name, of, bar) in times.all() {
        let (p50, p95) = (percentile(of.clone(), 50), percentile(of, 95));
        judge("fleet-million", format!("{name}: p50 {p50:?}, p95 {p95:?} (at most {bar:?})"), p95 < bar);
    }
    let claims = count(500_usize, 20_000);
    let bloat = bloat(&database, &store, claims).await;
    figure("fleet-bloat", bloat);
    store.close().await;
}

/// Ended runs as the store would have written them.
async fn seed(database: &TestDatabase, runs: u32) {
    let mut connection = database.connect().await;
    let sql = format!(
        "WITH made AS (
            INSERT INTO runs (
                id, tenant_id, lane, priority, status, claimable, epoch, version, signal_seq, signals_applied,
                sequence_head, stamp_head, recoveries, recoveries_applied, created_at, started_at, ended_at
            )
            SELECT ('01900000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, '{tenant}', 'A', 0,
                CASE WHEN n % 20 = 0 THEN 'failed' ELSE 'succeeded' END, false, 1, 4, 0, 0, 3, now(), 0, 0,
                now() - interval '1 day', now() - interval '1 day', now() - interval '1 day'
            FROM generate_series(1, {runs}) AS n
            RETURNING key, id
        ), inputs AS (
            INSERT INTO run_inputs (
                run_key, tenant_id, run_id, runbook, plan_digest, steps_total, trigger_kind, trigger_actor, labels, params
            )
            SELECT key, '{tenant}', id, 'deploy-' || key % 50, decode('{digest}', 'hex'), 2, 'api', 'ada', '{{}}', '{{}}' FROM made
        )
        INSERT INTO run_events (run_key, sequence, prev, at, category, action, data)
        SELECT key, n, n - 1, now(), 'lifecycle', 'step_started', '{{\"step\":\"a\",\"attempt\":1}}'
        FROM made CROSS JOIN generate_series(1, 3) AS n",
        tenant = TENANT.0,
        digest = plan().to_string().trim_start_matches("sha256:"),
    );
    connection.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(sql))).await.unwrap();
    connection.execute(sqlx::raw_sql("VACUUM ANALYZE")).await.unwrap();
}

/// How long each verb took.
#[derive(Default)]
struct Times {
    create: Vec<Duration>,
    claim: Vec<Duration>,
    commit: Vec<Duration>,
    status: Vec<Duration>,
    list: Vec<Duration>,
    failed: Vec<Duration>,
    runbook: Vec<Duration>,
    expired: Vec<Duration>,
    due: Vec<Duration>,
}

/// The answer, and how long it took.
macro_rules! timed {
    ($times:expr, $call:expr) => {{
        let since = Instant::now();
        let answer = $call.await.unwrap();
        $times.push(since.elapsed());
        answer
    }};
}

impl Times {
    async fn round(&mut self, store: &PgStore, number: u128) {
        let run = new_run(FIRST + number);
        timed!(self.create, store.create_runs(std::slice::from_ref(&run), None));
        let row = timed!(self.claim, store.claim(&claim(W1, 1))).remove(0);
        timed!(self.commit, store.commit(&[next(&row)]));
        timed!(self.status, store.run(run.id)).unwrap();
        let begun = RunRow { version: row.version + 1, sequence_head: row.sequence_head + 2, ..row };
        timed!(self.commit, store.commit(&[end(&begun)]));
        let old = RunId(Uuid::from_u128((0x0190_0000_0000_7000_8000 << 48) + number + 1));
        timed!(self.status, store.run(old)).unwrap();
        let list = RunFilter { limit: 50, ..RunFilter::default() };
        timed!(self.list, store.runs(TENANT, &list));
        let failed = RunFilter { status: vec![RunStatus::Failed], ..list.clone() };
        timed!(self.failed, store.runs(TENANT, &failed));
        let runbook = RunFilter { runbook: Some("deploy-7".to_owned()), ..list };
        timed!(self.runbook, store.runs(TENANT, &runbook));
        timed!(self.expired, store.expired_workers(100));
        timed!(self.due, store.wake_due(Micros(0), 500));
    }

    fn all(self) -> [(&'static str, Vec<Duration>, Duration); 9] {
        [
            ("create", self.create, TRANSACTION),
            ("claim", self.claim, TRANSACTION),
            ("commit", self.commit, TRANSACTION),
            ("reaper, expired", self.expired, TRANSACTION),
            ("reaper, due", self.due, TRANSACTION),
            ("status", self.status, QUERY),
            ("list", self.list, QUERY),
            ("list of failed", self.failed, QUERY),
            ("list of a runbook", self.runbook, QUERY),
        ]
    }
}

/// Claims, heartbeats and hand-backs of the same few runs, again and again: what is left of it.
async fn bloat(database: &TestDatabase, store: &Arc<PgStore>, rounds: usize) -> String {
    const LIVE: u128 = 50;
    let runs: Vec<NewRun> = (0..LIVE).map(|number| new_run(2 * FIRST + number)).collect();
    store.create_runs(&runs, None).await.unwrap();
    let worker = WorkerRow {
        id: WorkerId(Uuid::from_u128(7)),
        tenant: TENANT,
        host: "here".into(),
        pid: 1,
        version: "1".into(),
        lanes: Vec::new(),
        slots: 1,
        labels: std::collections::BTreeMap::new(),
        started_at: Micros(0),
        draining: false,
    };
    let lease = Some(Duration::from_mins(1));
    store.register_worker(&worker, lease).await.unwrap();
    let before = sizes(database).await;
    for _ in 0..rounds {
        let rows = store.claim(&claim(worker.id, LIVE.try_into().unwrap())).await.unwrap();
        assert_eq!(rows.len() as u128, LIVE);
        store.beat(worker.id, lease).await.unwrap();
        let owned: Vec<_> = rows.iter().map(|row| (row.id, row.epoch)).collect();
        store.give_back(worker.id, &owned).await.unwrap();
    }
    let after = sizes(database).await;
    let grown = after.0 - before.0;
    // Vacuum needs a moment to come by; so much may be in its way in between.
    let bound = 64 << 20;
    assert!(grown < bound, "runs and its indexes grew by {grown} bytes");
    let sql = "SELECT 100 * sum(n_tup_hot_upd)::float8 / greatest(1, sum(n_tup_upd))::float8 FROM pg_stat_user_tables \
               WHERE relname = 'workers'";
    let hot: f64 = sqlx::query_scalar(sql).fetch_one(&mut database.connect().await).await.unwrap();
    format!(
        "{} claims of {LIVE} runs, as many hand-backs, {rounds} heartbeats: runs grew by {} KiB (of {} MiB), workers is {} KiB, {hot:.0} % \
         of its updates touch no index",
        u128::try_from(rounds).unwrap() * LIVE,
        grown >> 10,
        before.0 >> 20,
        after.1 >> 10
    )
}

/// Bytes of the tables of runs and of workers, with their indexes.
async fn sizes(database: &TestDatabase) -> (i64, i64) {
    let sql = "SELECT pg_total_relation_size('runs'), pg_total_relation_size('workers')";
    sqlx::query_as(sql).fetch_one(&mut database.connect().await).await.unwrap()
}
