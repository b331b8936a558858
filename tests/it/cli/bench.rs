//! The workloads of the control room, small: they drive a real server, and fail when it does not do its part.

use serde_json::Value;

use super::world::World;
use crate::servers::{self, own_server};

/// Runs a workload beside the tests, and checks that it left nothing behind.
fn bench<const N: usize>(arguments: [&str; N]) -> Value {
    bench_on(&[], arguments)
}

/// The same, on servers that these variables name.
fn bench_on<const N: usize>(variables: &[(&str, &str)], arguments: [&str; N]) -> Value {
    let world = World::new();
    let place = world.path("bench");
    std::fs::create_dir(&place).unwrap();
    let mut command = world.command(["bench"]);
    command.envs(variables.iter().copied());
    let ended = super::world::ended(
        command.args(arguments).arg("--dir").arg(&place).args(["--output", "json"]).output().unwrap(),
    );
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(std::fs::read_dir(&place).unwrap().count(), 0, "the folder of the measurement is removed");
    assert!(!world.data().join("opsroom.db").exists(), "the data folder is not touched");
    serde_json::from_str(&ended.stdout).unwrap()
}

/// The figure, which must be a number above zero.
fn figure(report: &Value, name: &str) -> f64 {
    let value = report[name].as_f64().unwrap_or_default();
    assert!(value > 0.0, "{name} in {report}");
    value
}

#[test]
fn start_and_rest() {
    let report = bench(["up", "--samples", "2", "--idle", "1"]);
    figure(&report, "ready_ms");
    figure(&report, "resident_mib");
}

#[test]
fn batches_over_http() {
    let report = bench(["http", "--runs", "40", "--batch", "7", "--samples", "1"]);
    // A round to warm up, one that counts, and 200 single ones.
    assert_eq!(report["runs_recorded"], 280);
    figure(&report, "steps_per_s");
    figure(&report, "submit_p50_ms");
}

#[test]
fn the_delay_of_events() {
    let report = bench(["sse", "--events", "50"]);
    assert_eq!(report["events"], 50);
    figure(&report, "p95_ms");
    figure(&report, "line_p95_ms");
}

#[test]
fn a_page_of_events_of_a_run_that_lives_and_of_its_archive() {
    let report = bench(["history", "--events", "300", "--samples", "10"]);
    assert_eq!(report["events"], 300);
    figure(&report, "live_p95_ms");
    figure(&report, "archived_p95_ms");
}

#[test]
fn subscribers_that_read_and_that_do_not() {
    let report = bench(["subscribers", "--readers", "20", "--stuck", "5", "--seconds", "5"]);
    figure(&report, "deliveries");
}

#[test]
fn a_reader_that_comes_back_also_after_a_kill() {
    let report = bench(["resume", "--events", "5000", "--reconnects", "20"]);
    assert!(figure(&report, "plain_durable") >= 5_000.0 && figure(&report, "killed_durable") >= 5_000.0, "{report}");
    assert!(figure(&report, "plain_reconnects") >= 5.0, "{report}");
}

#[test]
fn reads_on_a_store_with_many_runs() {
    let report = bench(["queries", "--runs", "2000", "--clients", "5", "--steps", "100", "--seconds", "2"]);
    figure(&report, "status_p99_ms");
    figure(&report, "list_worst_p99_ms");
}

#[test]
fn slow_connections() {
    figure(&bench(["slowloris", "--connections", "20", "--seconds", "2"]), "ratio");
}

#[test]
fn many_small_runs() {
    assert_eq!(bench(["soak", "--runs", "1000"])["runs_recorded"], 1_000);
}

#[tokio::test]
async fn a_fleet_on_a_database_that_is_made_and_removed() {
    // A server of its own: others make such databases too.
    let server = own_server().await;
    let given = server.database(None).await;
    let url = given.url.clone();

    let chain = bench_on(&[("DATABASE_URL", &url)], ["chain", "--size", "5", "--samples", "2"]);
    assert_eq!((&chain["store"], &chain["steps_recorded"]), (&"postgres".into(), &15.into()), "{chain}");
    for cost in ["statements", "commits", "rows_written", "wal_bytes"] {
        figure(&chain["per_step"], cost);
    }
    // A step's end and the start of the next one are one statement; runs begin and end besides.
    assert!(figure(&chain["per_step"], "statements") < 3.0, "{chain}");

    let http = bench_on(&[("DATABASE_URL", &url)], ["http", "--runs", "40", "--batch", "7", "--samples", "1"]);
    assert_eq!(http["runs_recorded"], 280);
    figure(&http, "worker_cores");
    let together =
        bench_on(&[("DATABASE_URL", &url)], ["http", "--runs", "40", "--batch", "7", "--samples", "1", "--together"]);
    assert_eq!(together["runs_recorded"], 280);

    let left = sqlx::query_scalar("SELECT count(*) FROM pg_database WHERE datname LIKE 'opsroom_bench_%'");
    let left: i64 = left.fetch_one(&mut given.connect().await).await.unwrap();
    assert_eq!(left, 0, "databases are removed");
}

#[test]
fn a_fleet_with_a_redis() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (server, redis) = runtime.block_on(async { (own_server().await, servers::redis::start().await) });
    let database = runtime.block_on(server.database(None));
    let (database_url, redis_url) = (database.url.clone(), redis.url());
    let on = [("DATABASE_URL", &*database_url), ("REDIS_URL", &*redis_url)];
    let report = bench_on(&on, ["pickup", "--samples", "20"]);
    assert_eq!((report["store"].as_str(), report["redis"].as_bool()), (Some("postgres"), Some(true)));
    // The poll beneath takes a second.
    assert!(figure(&report, "p50_ms") < 200.0, "{report}");
    let report = bench_on(&on, ["sse", "--events", "50"]);
    assert_eq!(report["events"], 50);
    // The look into the store takes up to 250 ms.
    assert!(figure(&report, "p50_ms") < 100.0, "{report}");
    let report = bench_on(&on, ["history", "--events", "1000", "--samples", "10"]);
    assert_eq!(report["events"], 1_000);
    figure(&report, "p95_ms");
    // A client that hangs up and comes back, also over the death of the server.
    let report = bench_on(&on, ["resume", "--events", "2000", "--reconnects", "10"]);
    assert_eq!((&report["plain_lost_chunks"], &report["killed_lost_chunks"]), (&0.into(), &0.into()), "{report}");
    let left: Vec<String> = runtime.block_on(redis.ask("KEYS *"));
    assert!(left.iter().all(|key| key == "core:apalis:queues:list"), "{left:?}");
}

/// Needs no database, and no folder.
#[test]
fn events_appended_to_streams() {
    let world = World::new();
    let append = |redis: Option<&str>| {
        let mut command = world.command(["bench", "append", "--rate", "1000", "--seconds", "2", "--runs", "7"]);
        command.args(["--output", "json"]).envs(redis.map(|url| ("REDIS_URL", url)));
        super::world::ended(command.output().unwrap())
    };
    let none = append(None);
    assert_eq!(none.code, Some(2), "{none:?}");
    assert!(none.stderr.contains("NO_REDIS"), "{none:?}");

    let runtime = tokio::runtime::Runtime::new().unwrap();
    let redis = runtime.block_on(servers::redis::start());
    let ended = append(Some(&redis.url()));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let report: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!((&report["events"], &report["events_recorded"]), (&2_000.into(), &2_000.into()), "{report}");
    figure(&report, "p99_ms");
    assert!((500.0..1_010.0).contains(&figure(&report, "rate")), "{report}");
    assert_eq!(runtime.block_on(redis.ask::<u64>("DBSIZE")), 0, "its keys are removed");
}

#[test]
fn a_relative_folder_is_as_good_as_an_absolute_one() {
    let world = World::new();
    let place = world.path("bench");
    std::fs::create_dir(&place).unwrap();
    let arguments = ["bench", "spawn", "--size", "2", "--samples", "1", "--dir", "here", "--output", "json"];
    let ended = super::world::ended(world.command(arguments).current_dir(&place).output().unwrap());
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(std::fs::read_dir(place.join("here")).unwrap().count(), 0);
    let report: Value = serde_json::from_str(&ended.stdout).unwrap();
    let (median, floor, ratio) = (figure(&report, "median_ms"), figure(&report, "floor_ms"), figure(&report, "ratio"));
    assert!((median / (2.0 * floor) - ratio).abs() < 0.01, "two steps, two floors: {report}");
    figure(&report, "floor_apart_ms");
}
