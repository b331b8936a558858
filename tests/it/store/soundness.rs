//! What `doctor` finds in a sound store, and where something was broken on purpose.

use std::{path::Path, time::Duration};

use opsroom::{
    model::{Digest, Micros, RunStatus, WaitingOn},
    ports::{
        ArchiveRow, ArchiveStore, Artifacts, CommitAnswer, NewRun, NewRunbookVersion, RunCommit, RunRow, RunbookStore,
        Store,
    },
    store::{Finding, Level, PgStore, SqliteStore, examine_postgres, examine_sqlite},
    system::{FolderArtifacts, SystemClock},
};
use sqlx::{AssertSqlSafe, Connection, Executor, SqliteConnection, sqlite::SqliteConnectOptions};

use super::{
    workers::worker,
    world::{TENANT, W1, at, cancel, end, new_run, next, park, plan, run_id},
};
use crate::servers::{TestDatabase, migrated_database};

/// The file of an archive.
const PACK: &str = "archives/one";

/// One run of every kind: executed, parked, ended and archived, ended and not archived; a runbook of two versions.
async fn story<S: Store + ArchiveStore + RunbookStore>(store: &S) {
    store.put_plan(TENANT, plan(), b"{}", "name: deploy\n").await.unwrap();
    store.register_worker(&worker(W1), Some(Duration::from_hours(1))).await.unwrap();
    let runs: Vec<NewRun> = (1..=4).map(|number| NewRun { claimed_by: Some(W1), ..new_run(number) }).collect();
    store.create_runs(&runs, None).await.unwrap();
    store.create_runs(&[new_run(5)], None).await.unwrap();
    let row = async |number| -> RunRow { store.run(run_id(number)).await.unwrap().unwrap() };
    let far = Some(Micros(4_000_000_000_000_000));
    let commits = [
        next(&row(1).await),
        RunCommit { wake_at: far, ..park(&row(2).await, WaitingOn::Timer) },
        end(&row(3).await),
        RunCommit { status: RunStatus::Succeeded, error: None, ..end(&row(4).await) },
    ];
    assert_eq!(store.commit(&commits).await.unwrap(), vec![CommitAnswer::Committed; 4]);
    store.signal(run_id(1), &cancel(), at(3_000)).await.unwrap().unwrap().unwrap();
    store.record_archives(&[archive()]).await.unwrap();
    for source in ["one", "two"] {
        store.put_version(TENANT, &version(source)).await.unwrap();
    }
}

fn archive() -> ArchiveRow {
    ArchiveRow {
        run: run_id(3),
        artifact: PACK.to_owned(),
        position: 0,
        size: 7,
        digest: Digest::of(b"archive"),
        head: Digest::of(b"head"),
        events: 2,
        last_sequence: 2,
        at: at(9_000),
    }
}

fn version(source: &str) -> NewRunbookVersion {
    NewRunbookVersion {
        name: "deploy".into(),
        digest: Digest::of(source.as_bytes()),
        plan: plan(),
        source: source.into(),
        bundle: None,
        origin: "deploy.yaml".into(),
        once: false,
        created_at: at(1),
    }
}

/// What is broken on purpose, and the code that tells of it. `{ended}` is the run that ended and is not archived.
const BREAKS: [(&str, &str); 12] = [
    ("DELETE FROM workers", "DEEP_OWNERS"),
    ("UPDATE run_events SET prev = sequence WHERE sequence = 2", "DEEP_SEQUENCES"),
    ("UPDATE run_events SET prev = 0 WHERE sequence = 2", "DEEP_SEQUENCES"),
    ("DELETE FROM run_events WHERE sequence = 2 AND run_key = {ended}", "DEEP_SEQUENCES"),
    ("DELETE FROM run_events WHERE run_key = {ended}", "DEEP_EVENTS"),
    ("UPDATE run_steps SET status = 'running' WHERE run_key = {ended}", "DEEP_ENDED"),
    ("UPDATE runs SET signal_seq = signal_seq + 1 WHERE key = {ended}", "DEEP_SIGNALS"),
    ("DELETE FROM run_signals", "DEEP_SIGNALS"),
    ("UPDATE run_archives SET trimmed = (1 = 1)", "DEEP_ARCHIVES"),
    ("UPDATE runs SET archived_at = NULL", "DEEP_ARCHIVES"),
    ("UPDATE runbooks SET latest = 5", "DEEP_VERSIONS"),
    ("DELETE FROM run_inputs WHERE run_key = {ended}", "DEEP_INPUTS"),
];

fn sql(text: &str) -> String {
    text.replace("{ended}", "(SELECT key FROM runs WHERE status = 'succeeded')")
}

/// The codes of what is not well.
fn failed(findings: &[Finding]) -> Vec<&'static str> {
    findings.iter().filter(|finding| finding.level == Level::Fail).map(|finding| finding.code).collect()
}

async fn files(folder: &Path) -> FolderArtifacts {
    let artifacts = FolderArtifacts::new(folder.join("artifacts")).unwrap();
    let file = folder.join("pack");
    std::fs::write(&file, "archive").unwrap();
    artifacts.put_file(PACK, &file).await.unwrap();
    artifacts
}

struct Server {
    database: TestDatabase,
    folder: tempfile::TempDir,
    artifacts: FolderArtifacts,
}

impl Server {
    async fn new() -> Server {
        let database = migrated_database().await;
        let store = PgStore::open(&database.config()).await.unwrap();
        story(&store).await;
        store.close().await;
        let folder = tempfile::tempdir().unwrap();
        let artifacts = files(folder.path()).await;
        Server { database, folder, artifacts }
    }

    async fn exec(&self, sql: &str) {
        self.database.connect().await.execute(sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))).await.unwrap();
    }

    async fn look(&self) -> Vec<Finding> {
        examine_postgres(&self.database.config(), &SystemClock, Some(&self.artifacts)).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_sound_database_has_no_failures() {
    let world = Server::new().await;
    let findings = world.look().await;
    assert_eq!(failed(&findings), [""; 0], "{findings:#?}");
    let ok = |code| findings.iter().any(|finding| finding.code == code && finding.level == Level::Ok);
    for code in ["DB_REACHABLE", "DB_VERSION", "DB_SCHEMA", "DB_GRANTS", "DB_TIMEOUTS", "DB_DURABILITY", "DEEP_PACKS"] {
        assert!(ok(code), "{code}: {findings:#?}");
    }
    assert_eq!(findings.iter().filter(|finding| finding.code.starts_with("DEEP_")).count(), 10);
    // A superuser may more than it should.
    assert!(findings.iter().any(|finding| finding.code == "DB_ROLE" && finding.level == Level::Warn));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_broken_in_a_database_is_found() {
    let only_here = [
        ("UPDATE workers SET lease_until = clock_timestamp() - interval '1 minute'", "DEEP_OWNERS"),
        ("UPDATE workers SET lost_at = clock_timestamp() - interval '1 minute'", "DEEP_OWNERS"),
        (
            "UPDATE runs SET wake_at = clock_timestamp() - interval '2 minutes' WHERE wake_at IS NOT NULL",
            "DEEP_WAKE_UPS",
        ),
        ("ALTER TABLE runs SET (autovacuum_enabled = false)", "DB_AUTOVACUUM"),
        ("DROP TABLE probes", "DB_GRANTS"),
        ("DELETE FROM schema_migrations WHERE version = (SELECT max(version) FROM schema_migrations)", "DB_SCHEMA"),
        ("INSERT INTO schema_migrations (version, name) VALUES (99, '0099_later')", "DB_SCHEMA"),
        (
            "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET synchronous_commit = off', current_database()); END $$",
            "DB_DURABILITY",
        ),
    ];
    for (broken, code) in BREAKS.iter().chain(&only_here) {
        let world = Server::new().await;
        world.exec(&sql(broken)).await;
        let findings = world.look().await;
        assert_eq!(failed(&findings), [*code], "{broken}: {findings:#?}");
    }
    let world = Server::new().await;
    world.artifacts.delete(PACK).await.unwrap();
    assert_eq!(failed(&world.look().await), ["DEEP_PACKS"]);
    drop(world.folder);
}

#[tokio::test]
async fn a_database_that_does_not_answer_is_a_finding() {
    let config = opsroom::store::PgConfig::from_url("postgres://ann:hush@127.0.0.1:1/ops").unwrap();
    let findings = examine_postgres(&config, &SystemClock, None).await;
    assert_eq!(failed(&findings), ["DB_REACHABLE"]);
    assert!(!format!("{findings:?}").contains("hush"));
}

async fn raw(path: &Path) -> SqliteConnection {
    SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(path)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_broken_in_a_data_folder_is_found() {
    let only_here = [
        ("UPDATE runs SET wake_at = 1 WHERE wake_at IS NOT NULL", "DEEP_WAKE_UPS"),
        ("PRAGMA user_version = 99", "DB_SCHEMA"),
    ];
    for (broken, code) in [("SELECT 1", "")].iter().chain(&BREAKS).chain(&only_here) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("db");
        let store = SqliteStore::open(&path).await.unwrap();
        story(&store).await;
        store.close().await.unwrap();
        let artifacts = files(folder.path()).await;
        let mut raw = raw(&path).await;
        raw.execute("PRAGMA foreign_keys = off; PRAGMA ignore_check_constraints = on").await.unwrap();
        raw.execute(sqlx::raw_sql(AssertSqlSafe(sql(broken)))).await.unwrap();
        raw.close().await.unwrap();
        let findings = examine_sqlite(&path, Some(&artifacts)).await;
        let expected: Vec<&str> = Some(*code).filter(|code| !code.is_empty()).into_iter().collect();
        assert_eq!(failed(&findings), expected, "{broken}: {findings:#?}");
    }
}
