//! The plans of hot statements: on empty tables and on small ones, because a plan that was made then is kept while they
//! grow, and on a table with 100,000 runs, held to the texts in `tests/it/store/plans`, which `OPSROOM_BLESS=1` writes anew. Lists have
//! theirs beside them.

use std::{collections::BTreeSet, fs, path::Path};

use sqlx::{AssertSqlSafe, ConnectOptions, Executor, PgConnection, Row};

use super::{exec, number};
use crate::servers::{TestDatabase, migrated_database};

/// A statement, and the indexes that its plan must use.
const HOT: [(&str, &str, &[&str]); 17] = [
    ("claim", include_str!("../../../../src/store/postgres/queries/claim.sql"), &["idx_runs_claimable", "pk_runs"]),
    ("commit_alone", include_str!("../../../../src/store/postgres/queries/commit_alone.sql"), &["uq_runs_id"]),
    ("commit_running", include_str!("../../../../src/store/postgres/queries/commit_running.sql"), &["uq_runs_id"]),
    ("commit_leaving", include_str!("../../../../src/store/postgres/queries/commit_leaving.sql"), &["uq_runs_id"]),
    ("commit_state", include_str!("../../../../src/store/postgres/queries/commit_state.sql"), &["uq_runs_id"]),
    ("signal", include_str!("../../../../src/store/postgres/queries/signal.sql"), &["uq_runs_id"]),
    ("signalled", include_str!("../../../../src/store/postgres/queries/signalled.sql"), &["idx_runs_owner"]),
    ("wake_due", include_str!("../../../../src/store/postgres/queries/wake_due.sql"), &["idx_runs_wake_at"]),
    ("requeue", include_str!("../../../../src/store/postgres/queries/requeue.sql"), &["idx_runs_owner"]),
    ("take_over", include_str!("../../../../src/store/postgres/queries/take_over.sql"), &["idx_runs_owner"]),
    ("give_back", include_str!("../../../../src/store/postgres/queries/give_back.sql"), &["uq_runs_id"]),
    ("owners", include_str!("../../../../src/store/postgres/queries/owners.sql"), &["idx_runs_owner"]),
    ("record_archives", include_str!("../../../../src/store/postgres/queries/record_archives.sql"), &["uq_runs_id"]),
    ("runs", include_str!("../../../../src/store/postgres/queries/runs.sql"), &["uq_runs_id", "pk_run_inputs"]),
    ("events", include_str!("../../../../src/store/postgres/queries/events.sql"), &["pk_run_events", "uq_runs_id"]),
    ("create_alone", include_str!("../../../../src/store/postgres/queries/create_alone.sql"), &[]),
    ("create_runs", include_str!("../../../../src/store/postgres/queries/create_runs.sql"), &["idx_sessions_open"]),
];

/// Ended runs, and a few of every other kind.
const SEED: &str = "
INSERT INTO plans (tenant_id, digest, plan, source)
VALUES ('00000000-0000-0000-0000-000000000001', sha256(''), '', '');

INSERT INTO runs (
    id, tenant_id, lane, priority, status, waiting_on, claimable, epoch, version, claimed_by, claimed_at, heartbeat_at,
    wake_at, signal_seq, signals_applied, sequence_head, stamp_head, recoveries, recoveries_applied, created_at, ended_at
)
SELECT ('01990000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, '00000000-0000-0000-0000-000000000001',
    chr(65 + n % 4), 0, k.status, k.waiting_on, k.waiting_on IS NOT DISTINCT FROM 'capacity', 1, 1, k.owner,
    CASE WHEN k.owner IS NOT NULL THEN now() END, CASE WHEN k.owner IS NOT NULL THEN now() END,
    CASE WHEN k.waiting_on = 'timer' THEN now() + n * interval '1 second' END,
    0, 0, 2, now(), 0, 0, now(), CASE WHEN k.status = 'succeeded' THEN now() END
FROM generate_series(1, 100000) AS n
CROSS JOIN LATERAL (
    SELECT CASE WHEN n <= 97000 THEN 'succeeded' WHEN n <= 98000 THEN 'running' ELSE 'queued' END AS status,
        CASE WHEN n > 99000 THEN 'timer' WHEN n > 98000 THEN 'capacity' END AS waiting_on,
        CASE WHEN n <= 98000 THEN ('00000000-0000-0000-0000-0000000000' || lpad(to_hex(n % 20), 2, '0'))::uuid END AS owner
) AS k;

INSERT INTO run_inputs (
    run_key, tenant_id, run_id, runbook, plan_digest, steps_total, trigger_kind, trigger_actor, labels, params
)
SELECT key, tenant_id, id, 'runbook-' || key % 50, sha256(''), 5, 'api', 'actor-' || key % 20, '{}', '{}' FROM runs;

INSERT INTO run_events (run_key, sequence, prev, at, category, action, data)
SELECT key, n, n - 1, now(), 'lifecycle', 'step_started', '{}' FROM runs, generate_series(1, 2) AS n;
";

/// How many parameters a statement has.
fn parameters(sql: &str) -> usize {
    let numbers = sql.split('$').skip(1).map(|rest| rest.split(|c: char| !c.is_ascii_digit()).next().unwrap_or(""));
    numbers.filter_map(|digits| digits.parse::<usize>().ok()).collect::<BTreeSet<_>>().into_iter().max().unwrap_or(0)
}

async fn plan(connection: &mut PgConnection, name: &str, sql: &str) -> String {
    exec(connection, &format!("PREPARE {name} AS {sql}")).await;
    let values = vec!["NULL"; parameters(sql)].join(", ");
    let values = if values.is_empty() { values } else { format!("({values})") };
    let explain = format!("EXPLAIN (COSTS OFF) EXECUTE {name}{values}");
    let rows = connection.fetch_all(sqlx::raw_sql(AssertSqlSafe(explain))).await.unwrap();
    rows.iter().fold(String::new(), |plan, row| plan + row.get::<&str, _>(0) + "\n")
}

/// A plan that uses its indexes, and reads no table as a whole.
fn check(name: &str, plan: &str, indexes: &[&str]) {
    for index in indexes {
        assert!(plan.contains(index), "{name} does not use {index}:\n{plan}");
    }
    for table in ["runs", "run_events", "run_inputs", "run_steps"] {
        assert!(!plan.contains(&format!("Seq Scan on {table}")), "{name} reads all of {table}:\n{plan}");
    }
    if indexes.contains(&"uq_runs_id") {
        // Each of these holds `id`, and not as its first column: the planner takes a walk through all of it for a look-up.
        for index in ["idx_runs_live", "idx_runs_ended", "idx_runs_lane", "idx_runs_owner"] {
            assert!(!plan.contains(index), "{name} walks through {index}:\n{plan}");
        }
    }
}

/// A connection that makes plans once for all arguments.
async fn planner(database: &TestDatabase) -> PgConnection {
    let mut connection = database.config().session_options().connect().await.unwrap();
    exec(&mut connection, "SET plan_cache_mode = force_generic_plan").await;
    connection
}

/// What is looked up by its id is; what belongs to a worker may be found among all live runs, which are few here.
async fn check_look_ups(connection: &mut PgConnection, tables: &str) {
    for (name, sql, indexes) in HOT.into_iter().filter(|(_, _, indexes)| indexes.contains(&"uq_runs_id")) {
        let plan = plan(connection, &format!("{tables}_{name}"), sql).await;
        check(&format!("{name} on tables that are {tables}"), &plan, indexes);
    }
}

#[tokio::test]
async fn runs_are_looked_up_by_their_ids_in_young_tables_too() {
    let database = migrated_database().await;
    let mut connection = planner(&database).await;
    check_look_ups(&mut connection, "empty").await;
    exec(&mut connection, SEED).await;
    exec(&mut connection, "DELETE FROM runs WHERE key > 5").await;
    check_look_ups(&mut connection, "small").await;
    exec(&mut connection, "VACUUM").await;
    check_look_ups(&mut connection, "vacuumed").await;
    exec(&mut connection, "ANALYZE").await;
    check_look_ups(&mut connection, "analyzed").await;
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "how a person says that the new plans are right")]
async fn hot_statements_use_their_indexes() {
    let database = migrated_database().await;
    let mut connection = planner(&database).await;
    exec(&mut connection, SEED).await;
    exec(&mut connection, "ANALYZE").await;
    let version = number(&mut connection, "SELECT current_setting('server_version_num')::bigint / 10000").await;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/store/plans");
    for (name, sql, indexes) in HOT {
        let plan = plan(&mut connection, name, sql).await;
        check(name, &plan, indexes);
        let file = folder.join(format!("{name}.txt"));
        if std::env::var_os("OPSROOM_BLESS").is_some() {
            fs::create_dir_all(&folder).unwrap();
            fs::write(&file, &plan).unwrap();
        }
        // Other versions put the same plan in other words.
        if version == 15 {
            let kept = fs::read_to_string(&file).unwrap_or_default();
            assert_eq!(plan, kept, "the plan of {name} has changed; OPSROOM_BLESS=1 keeps it");
        }
    }
}
