//! What only SQLite promises: its file, its schema, its plans, and other processes.

use std::{os::unix::fs::PermissionsExt, path::Path, time::Duration};

use futures::future::join;
use opsroom::{
    model::{RunStatus, WaitingOn},
    ports::{CommitAnswer, NewRun, RunFilter, Store, StoreError},
    store::SqliteStore,
};
use sqlx::{AssertSqlSafe, Connection, Executor, Row, SqliteConnection, sqlite::SqliteConnectOptions};
use tokio::task::JoinSet;

use super::world::{TENANT, W1, at, cancel, claim, new_run, next, park, plan, run_id};

/// A store in a folder of its own, with one run that `W1` owns.
struct Fixture {
    store: SqliteStore,
    folder: tempfile::TempDir,
}

impl Fixture {
    async fn new() -> Fixture {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&folder.path().join("db")).await.unwrap();
        store.put_plan(TENANT, plan(), b"{}", "").await.unwrap();
        store.create_runs(&[NewRun { claimed_by: Some(W1), ..new_run(1) }], None).await.unwrap();
        Fixture { store, folder }
    }

    fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("db")
    }

    /// Another program on the same file.
    async fn raw(&self) -> SqliteConnection {
        raw(&self.path()).await
    }
}

async fn raw(path: &Path) -> SqliteConnection {
    SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(path).foreign_keys(true)).await.unwrap()
}

async fn exec(connection: &mut SqliteConnection, sql: &str) {
    connection.execute(sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))).await.unwrap();
}

#[tokio::test]
async fn only_this_user_reads_the_file() {
    let world = Fixture::new().await;
    for entry in std::fs::read_dir(world.folder.path()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", entry.path());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_may_open_a_fresh_file_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut tasks = JoinSet::new();
    for number in 1..=20 {
        let path = folder.path().join("db");
        tasks.spawn(async move {
            let store = SqliteStore::open(&path).await.unwrap();
            store.put_plan(TENANT, plan(), b"{}", "").await.unwrap();
            store.create_runs(&[new_run(number)], None).await.unwrap();
            store.close().await.unwrap();
        });
    }
    tasks.join_all().await;
    let store = SqliteStore::open(&folder.path().join("db")).await.unwrap();
    let page = store.runs(TENANT, &RunFilter { limit: 100, ..RunFilter::default() }).await.unwrap();
    assert_eq!(page.items.len(), 20);
}

#[tokio::test]
async fn a_newer_schema_is_left_alone() {
    let world = Fixture::new().await;
    exec(&mut world.raw().await, "PRAGMA user_version = 99").await;
    let Err(StoreError::Unavailable(why)) = SqliteStore::open(&world.path()).await else { unreachable!("opened") };
    assert!(why.contains("version 99") && why.contains("newer build"), "{why}");
}

#[tokio::test]
async fn what_is_no_database_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    std::fs::write(&path, "not a database, but long enough to have a header\n".repeat(100)).unwrap();
    let Err(StoreError::Unavailable(why)) = SqliteStore::open(&path).await else { unreachable!("opened") };
    assert!(why.contains("move it away"), "{why}");
    let missing = SqliteStore::open(&folder.path().join("missing/db")).await;
    assert!(matches!(missing, Err(StoreError::Unavailable(_))), "{missing:?}");
}

#[tokio::test]
async fn a_copy_taken_midway_opens() {
    let world = Fixture::new().await;
    let mut row = world.store.run(run_id(1)).await.unwrap().unwrap();
    let copies = tempfile::tempdir().unwrap();
    for number in 0..10 {
        assert_eq!(world.store.commit(&[next(&row)]).await.unwrap(), [CommitAnswer::Committed]);
        row = world.store.run(row.id).await.unwrap().unwrap();
        // As a power cut would leave it: no shared-memory index, the log cut off within a frame.
        let copy = copies.path().join(number.to_string());
        std::fs::copy(world.path(), &copy).unwrap();
        let log = std::fs::read(world.folder.path().join("db-wal")).unwrap();
        std::fs::write(copies.path().join(format!("{number}-wal")), &log[..log.len() - 100 * number]).unwrap();
        let copy = SqliteStore::open(&copy).await.unwrap();
        let (after, events) = (copy.run(row.id).await.unwrap().unwrap(), copy.events(row.id, 0, 100).await.unwrap());
        if number == 0 {
            assert_eq!(after, row);
        }
        // Whatever was lost, it was lost whole.
        assert_eq!(events.len() as u64, after.sequence_head);
        assert_eq!(copy.commit(&[next(&after)]).await.unwrap(), [CommitAnswer::Committed]);
        copy.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_corrupt_row_names_its_place() {
    let cases = [
        ("UPDATE runs SET status = 'asleep'", "runs", "status"),
        ("UPDATE runs SET error = '{'", "runs", "error"),
        ("UPDATE runs SET recoveries = -1, recoveries_applied = -2", "runs", "recoveries"),
        ("UPDATE runs SET claimed_by = x'00'", "runs", "claimed_by"),
        ("UPDATE run_inputs SET params = '[]'", "run_inputs", "params"),
        ("UPDATE run_inputs SET plan_digest = x'00'", "run_inputs", "plan_digest"),
    ];
    for (damage, in_table, in_column) in cases {
        let world = Fixture::new().await;
        let mut raw = world.raw().await;
        exec(&mut raw, "PRAGMA ignore_check_constraints = on; PRAGMA foreign_keys = off").await;
        exec(&mut raw, damage).await;
        match world.store.run(run_id(1)).await {
            Err(StoreError::Corrupt { table, column, row, .. }) => {
                assert_eq!((table, column, row), (in_table, in_column, run_id(1).to_string()));
            }
            other => unreachable!("{damage}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn the_mark_changes_when_another_process_writes() {
    let world = Fixture::new().await;
    let mark = world.store.change_mark().await.unwrap();
    world.store.create_runs(&[new_run(2)], None).await.unwrap();
    assert_eq!(world.store.change_mark().await.unwrap(), mark, "its own write");
    let other = SqliteStore::open(&world.path()).await.unwrap();
    other.create_runs(&[new_run(3)], None).await.unwrap();
    let after = world.store.change_mark().await.unwrap();
    assert_ne!(after, mark);
    assert_eq!(world.store.change_mark().await.unwrap(), after);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_of_another_process_is_waited_for() {
    let world = Fixture::new().await;
    let row = world.store.run(run_id(1)).await.unwrap().unwrap();
    let mut raw = world.raw().await;
    exec(&mut raw, "BEGIN IMMEDIATE").await;
    // Readers do not wait.
    assert!(world.store.run(row.id).await.unwrap().is_some());
    let batch = [next(&row)];
    let release = async {
        tokio::time::sleep(Duration::from_millis(150)).await;
        exec(&mut raw, "ROLLBACK").await;
    };
    let (answers, ()) = join(world.store.commit(&batch), release).await;
    assert_eq!(answers.unwrap(), [CommitAnswer::Committed]);
}

#[tokio::test]
async fn a_full_disk_is_full_and_passes() {
    let world = Fixture::new().await;
    let row = world.store.run(run_id(1)).await.unwrap().unwrap();
    world.store.limit_pages(1).await.unwrap();
    let mut commit = next(&row);
    commit.events[0].data = serde_json::json!("x".repeat(1 << 20));
    let answer = world.store.commit(std::slice::from_ref(&commit)).await;
    assert!(matches!(answer, Err(StoreError::Full(_))), "{answer:?}");
    assert_eq!(world.store.run(row.id).await.unwrap().unwrap(), row);
    world.store.limit_pages(1 << 30).await.unwrap();
    assert_eq!(world.store.commit(&[commit]).await.unwrap(), [CommitAnswer::Committed]);
}

const MIGRATIONS: &[(&str, &str)] = &[
    (
        include_str!("../../../migrations/sqlite/0001_init.up.sql"),
        include_str!("../../../migrations/sqlite/0001_init.down.sql"),
    ),
    (
        include_str!("../../../migrations/sqlite/0002_probes.up.sql"),
        include_str!("../../../migrations/sqlite/0002_probes.down.sql"),
    ),
    (
        include_str!("../../../migrations/sqlite/0003_sessions.up.sql"),
        include_str!("../../../migrations/sqlite/0003_sessions.down.sql"),
    ),
    (
        include_str!("../../../migrations/sqlite/0004_runbooks.up.sql"),
        include_str!("../../../migrations/sqlite/0004_runbooks.down.sql"),
    ),
    (
        include_str!("../../../migrations/sqlite/0005_archives.up.sql"),
        include_str!("../../../migrations/sqlite/0005_archives.down.sql"),
    ),
    (
        include_str!("../../../migrations/sqlite/0006_idempotency.up.sql"),
        include_str!("../../../migrations/sqlite/0006_idempotency.down.sql"),
    ),
    (
        include_str!("../../../migrations/sqlite/0007_roles.up.sql"),
        include_str!("../../../migrations/sqlite/0007_roles.down.sql"),
    ),
    (
        include_str!("../../../migrations/sqlite/0008_leases.up.sql"),
        include_str!("../../../migrations/sqlite/0008_leases.down.sql"),
    ),
    (
        include_str!("../../../migrations/sqlite/0009_segments.up.sql"),
        include_str!("../../../migrations/sqlite/0009_segments.down.sql"),
    ),
    (
        include_str!("../../../migrations/sqlite/0010_leaner_commits.up.sql"),
        include_str!("../../../migrations/sqlite/0010_leaner_commits.down.sql"),
    ),
];

async fn schema(connection: &mut SqliteConnection) -> Vec<(String, String)> {
    let sql = "SELECT name, coalesce(sql, '') FROM sqlite_schema ORDER BY name";
    let rows = connection.fetch_all(sql).await.unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

#[tokio::test]
async fn migrations_go_up_down_and_up() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("by-hand");
    std::fs::write(&path, "").unwrap();
    let mut raw = raw(&path).await;
    let mut on_the_way = vec![schema(&mut raw).await];
    for (up, _) in MIGRATIONS {
        exec(&mut raw, up).await;
        on_the_way.push(schema(&mut raw).await);
    }
    let full = on_the_way.pop().unwrap();
    for (_, down) in MIGRATIONS.iter().rev() {
        exec(&mut raw, down).await;
        assert_eq!(schema(&mut raw).await, on_the_way.pop().unwrap());
    }
    for (up, _) in MIGRATIONS {
        exec(&mut raw, up).await;
    }
    assert_eq!(schema(&mut raw).await, full);

    let world = Fixture::new().await;
    let mut opened = world.raw().await;
    assert_eq!(schema(&mut opened).await, full, "what `open` makes");
    let version: i64 = opened.fetch_one("PRAGMA user_version").await.unwrap().get(0);
    assert_eq!(version, i64::try_from(MIGRATIONS.len()).unwrap());
}

#[tokio::test]
async fn names_keep_to_the_rules() {
    let world = Fixture::new().await;
    let mut raw = world.raw().await;
    for (name, sql) in schema(&mut raw).await {
        if sql.starts_with("CREATE INDEX") {
            assert!(name.starts_with("idx_"), "{name}");
        }
        for constraint in sql.split("CONSTRAINT ").skip(1) {
            let prefix = match constraint.split_whitespace().nth(1).unwrap() {
                "PRIMARY" => "pk_",
                "FOREIGN" | "REFERENCES" => "fk_",
                "UNIQUE" => "uq_",
                "CHECK" => "chk_",
                other => unreachable!("{other}"),
            };
            assert!(constraint.starts_with(&format!("{prefix}{name}")), "{constraint}");
        }
    }
}

/// The words in a CHECK (… IN (…)) of a constraint.
fn checked_words(schema: &[(String, String)], constraint: &str) -> Vec<String> {
    let sql = &schema.iter().find(|(_, sql)| sql.contains(constraint)).unwrap().1;
    let list = sql.split_once(constraint).unwrap().1.split_once("IN (").unwrap().1.split_once(')').unwrap().0;
    let mut words: Vec<_> = list.split(',').map(|word| word.trim().trim_matches('\'').to_owned()).collect();
    words.sort();
    words
}

/// The words that constraints list, by the model.
pub fn listed_words() -> Vec<(&'static str, Vec<String>)> {
    use opsroom::model::{Category, Lane, StepStatus};
    fn sorted(words: impl Iterator<Item = &'static str>) -> Vec<String> {
        let mut words: Vec<String> = words.map(str::to_owned).collect();
        words.sort();
        words
    }
    let statuses = |keep: fn(RunStatus) -> bool| {
        sorted(RunStatus::ALL.iter().filter(|status| keep(**status)).map(|word| word.as_str()))
    };
    let categories = [Category::Lifecycle, Category::Llm, Category::Dispatch, Category::System];
    vec![
        ("chk_runs_status", statuses(|_| true)),
        ("chk_runs_owner", statuses(RunStatus::is_owned)),
        ("chk_runs_ended_at", statuses(|status| !status.is_ended())),
        ("chk_runs_waiting_on", sorted(WaitingOn::ALL.iter().map(|word| word.as_str()))),
        ("chk_runs_lane", sorted(Lane::ALL.iter().map(|word| word.as_str()))),
        ("chk_run_steps_status", sorted(StepStatus::ALL.iter().map(|word| word.as_str()))),
        ("chk_run_events_category", sorted(categories.iter().map(|word| word.as_str()))),
    ]
}

#[tokio::test]
async fn the_schema_knows_the_words_of_the_model() {
    let world = Fixture::new().await;
    let schema = schema(&mut world.raw().await).await;
    for (constraint, words) in listed_words() {
        assert_eq!(checked_words(&schema, constraint), words, "{constraint}");
    }
}

#[tokio::test]
async fn the_constraints_hold() {
    let world = Fixture::new().await;
    let mut raw = world.raw().await;
    let wrong = [
        "UPDATE runs SET claimed_by = NULL",
        "UPDATE runs SET claimed_at = NULL",
        "UPDATE runs SET heartbeat_at = NULL",
        "UPDATE runs SET status = 'queued'",
        "UPDATE runs SET status = 'failed'",
        "UPDATE runs SET status = 'asleep'",
        "UPDATE runs SET waiting_on = 'capacity'",
        "UPDATE runs SET claimable = 1",
        "UPDATE runs SET ended_at = 1",
        "UPDATE runs SET wake_at = 1",
        "UPDATE runs SET signals_applied = 1",
        "UPDATE runs SET lane = 'E'",
        "UPDATE runs SET id = x'00'",
        "UPDATE runs SET status = 'queued', claimed_by = NULL, claimed_at = NULL, heartbeat_at = NULL",
        "INSERT INTO run_events VALUES (99, 1, 0, 0, 'system', 'x', '{}')",
        "INSERT INTO run_events VALUES (1, 1, 0, 0, 'other', 'x', '{}')",
        "INSERT INTO run_signals VALUES (1, 1, 0, 'other', '{}')",
        "DELETE FROM plans",
    ];
    for sql in wrong {
        let answer = raw.execute(sql).await;
        let error = answer.map(|_| sql).unwrap_err();
        assert!(error.as_database_error().unwrap().message().contains("constraint"), "{sql}: {error}");
    }
}

/// How SQLite would carry a statement out.
async fn query_plan(connection: &mut SqliteConnection, sql: &str) -> String {
    let sql: String = sql.lines().filter(|line| !line.trim_start().starts_with("--")).collect::<Vec<_>>().join("\n");
    let mut plan = String::new();
    for statement in sql.split(';').map(str::trim).filter(|text| !text.is_empty()) {
        let rows = connection.fetch_all(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {statement}"))).await.unwrap();
        for row in rows {
            plan += row.get("detail");
            plan.push('\n');
        }
    }
    plan
}

/// Every statement finds its rows by an index; none looks at all runs, events or steps.
#[tokio::test]
async fn statements_use_their_indexes() {
    let cases = [
        (include_str!("../../../src/store/sqlite/queries/claim.sql"), "idx_runs_claimable"),
        (include_str!("../../../src/store/sqlite/queries/wake_due.sql"), "idx_runs_wake_at"),
        (include_str!("../../../src/store/sqlite/queries/requeue.sql"), "idx_runs_owner"),
        (include_str!("../../../src/store/sqlite/queries/take_over.sql"), "idx_runs_owner"),
        (include_str!("../../../src/store/sqlite/queries/signalled.sql"), "idx_runs_owner"),
        (include_str!("../../../src/store/sqlite/queries/forget_workers.sql"), "idx_runs_owner"),
        (include_str!("../../../src/store/sqlite/queries/live_counts.sql"), "idx_runs_live"),
        (include_str!("../../../src/store/sqlite/queries/live_counts.sql"), "idx_runs_owner"),
        (include_str!("../../../src/store/sqlite/queries/queue_position.sql"), "idx_runs_claimable"),
        (include_str!("../../../src/store/sqlite/queries/sessions.sql"), "idx_sessions_tenant"),
        (include_str!("../../../src/store/sqlite/queries/sessions_open.sql"), "idx_sessions_open"),
        (include_str!("../../../src/store/sqlite/queries/run.sql"), "sqlite_autoindex_runs_1"),
        (include_str!("../../../src/store/sqlite/queries/commit_running.sql"), "sqlite_autoindex_runs_1"),
        (include_str!("../../../src/store/sqlite/queries/commit_leaving.sql"), "sqlite_autoindex_runs_1"),
        (include_str!("../../../src/store/sqlite/queries/commit_end.sql"), "sqlite_autoindex_runs_1"),
        (include_str!("../../../src/store/sqlite/queries/commit_state.sql"), "sqlite_autoindex_runs_1"),
        (include_str!("../../../src/store/sqlite/queries/signal.sql"), "sqlite_autoindex_runs_1"),
        (include_str!("../../../src/store/sqlite/queries/events.sql"), "sqlite_autoindex_run_events_1"),
        (include_str!("../../../src/store/sqlite/queries/steps.sql"), "sqlite_autoindex_run_steps_1"),
        (include_str!("../../../src/store/sqlite/queries/signals.sql"), "sqlite_autoindex_run_signals_1"),
    ];
    let world = Fixture::new().await;
    let mut raw = world.raw().await;
    for (sql, index) in cases {
        let plan = query_plan(&mut raw, sql).await;
        assert!(plan.contains(index), "{index} is not used:\n{sql}\n{plan}");
        for table in ["runs", "run_events", "run_steps", "run_inputs", "i", "run_signals"] {
            let whole = format!("SCAN {table}");
            assert!(plan.lines().all(|line| line != whole), "{whole}:\n{sql}\n{plan}");
        }
        assert!(!plan.contains("TEMP B-TREE FOR ORDER BY") || index == "idx_runs_owner", "sorts:\n{sql}\n{plan}");
    }
}

/// SQLite makes a plan for the value of a LIMIT that is a bare parameter, and so prepares the statement anew each time that
/// the parameter is bound (`sqlite3ExprIsInteger` in 3.51); of an expression it asks nothing.
#[test]
fn no_limit_is_a_bare_parameter() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store/sqlite/queries");
    let mut limits = 0;
    for folder in [folder.clone(), folder.join("list"), folder.join("deep")] {
        for file in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file())
        {
            let sql = std::fs::read_to_string(&file).unwrap();
            limits += sql.matches("LIMIT +$").count();
            assert!(!sql.contains("LIMIT $"), "write `LIMIT +$…` in {}", file.display());
        }
    }
    assert!(limits > 30, "{limits}");
}

/// Every list takes its runs from an index in the order of their ids, and looks at no more than it needs to.
#[tokio::test]
async fn lists_use_their_indexes() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store/sqlite/queries/list");
    let part = |name: &str| std::fs::read_to_string(folder.join(name).with_extension("sql")).unwrap();
    let cases = [
        ("by_lane", "idx_runs_lane (tenant_id=? AND lane=? AND id>? AND id<?)"),
        ("by_live", "idx_runs_live (tenant_id=? AND id>? AND id<?)"),
        ("by_ended", "idx_runs_ended (tenant_id=? AND status=? AND id>? AND id<?)"),
        ("by_session", "idx_runs_session (session_id=? AND id>? AND id<?)"),
        ("by_runbook", "idx_run_inputs_runbook (tenant_id=? AND runbook=? AND run_id>? AND run_id<?)"),
        ("by_actor", "idx_run_inputs_actor (tenant_id=? AND trigger_actor=? AND run_id>? AND run_id<?)"),
        ("by_trigger", "idx_run_inputs_trigger (tenant_id=? AND trigger_kind=? AND run_id>? AND run_id<?)"),
        ("by_label", "PRIMARY KEY (tenant_id=? AND name=? AND value=? AND run_id>? AND run_id<?)"),
        ("by_text_runbook", "idx_run_inputs_runbook (tenant_id=? AND runbook=? AND run_id>? AND run_id<?)"),
        ("by_text_actor", "idx_run_inputs_actor (tenant_id=? AND trigger_actor=? AND run_id>? AND run_id<?)"),
        ("by_text_label", "PRIMARY KEY (tenant_id=? AND name=? AND value=? AND run_id>? AND run_id<?)"),
        ("by_text_id", "sqlite_autoindex_runs_1 (id>? AND id<?)"),
    ];
    let world = Fixture::new().await;
    let mut raw = world.raw().await;
    for (source, index) in cases {
        let list = [part("begin"), part(source), part("filter"), part("end")].concat();
        let density = [part("density_begin"), part(source), part("density"), part("density_end")].concat();
        for sql in [list, density] {
            let plan = query_plan(&mut raw, &sql).await;
            assert!(plan.contains(index), "{index} is not used:\n{sql}\n{plan}");
            for table in ["runs", "i", "x", "run_labels"] {
                assert!(plan.lines().all(|line| !line.starts_with(&format!("SCAN {table}"))), "{sql}\n{plan}");
            }
            // Only the few that were picked are sorted.
            let sorts = plan.lines().filter(|line| line.contains("TEMP B-TREE FOR ORDER BY")).count();
            assert!(sorts <= 2, "sorts:\n{sql}\n{plan}");
        }
    }
    for names in ["runbook_names", "actor_names", "label_names", "label_values"] {
        let plan = query_plan(&mut raw, &part(names)).await;
        assert!(plan.lines().all(|line| !line.contains("SCAN run_")), "{names}:\n{plan}");
    }
}

/// Thousands of parked runs are not in the claim's index at all.
#[tokio::test]
async fn parked_runs_are_out_of_the_way() {
    let world = Fixture::new().await;
    let runs: Vec<NewRun> =
        (2..=2_001).map(|number| NewRun { claimed_by: Some(W1), priority: 9, ..new_run(number) }).collect();
    world.store.create_runs(&runs, None).await.unwrap();
    let mut parks = Vec::new();
    for run in &runs {
        parks.push(park(&world.store.run(run.id).await.unwrap().unwrap(), WaitingOn::StepOutcome));
    }
    world.store.commit(&parks).await.unwrap();
    world.store.create_runs(&[new_run(9_000)], None).await.unwrap();
    let mut raw = world.raw().await;
    let counted = "SELECT count(*) FROM runs INDEXED BY idx_runs_claimable WHERE claimable";
    assert_eq!(raw.fetch_one(counted).await.unwrap().get::<i64, _>(0), 1);
    assert_eq!(world.store.claim(&claim(W1, 10)).await.unwrap()[0].id, run_id(9_000));
    // One that is signalled comes back in.
    world.store.signal(run_id(5), &cancel(), at(1)).await.unwrap().unwrap().unwrap();
    assert_eq!(world.store.claim(&claim(W1, 10)).await.unwrap()[0].id, run_id(5));
}
