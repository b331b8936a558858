//! PostgreSQL crashes under load; every process of the fleet is replaced under load.

use std::time::{Duration, Instant};

use super::{
    fleet::{Fleet, Part, until_within},
    ledger::{Journal, Ledger},
    load::Load,
};
use crate::{
    faults::bars::{count, figure},
    servers::{migrated_database, own_server},
};

const READY: Duration = Duration::from_mins(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_of_the_database_loses_no_acknowledged_write() {
    let crashes = count(2, 20);
    let database_server = own_server().await;
    let database = database_server.database(None).await;
    let fleet = Fleet::new(&database.url);
    let journal = Journal::new(&fleet);
    let server = fleet.serve("server").await;
    let scheduler = fleet.scheduler("scheduler").await;
    let mut parts = vec![scheduler];
    for number in 0..2 {
        parts.push(fleet.worker(&format!("worker-{number}"), 6).await);
    }
    server.api().put_runbook("chain", &journal.chain(3, "0.1")).await;
    let load = Load::start(&[server.api()], "chain", 6, Duration::from_millis(250));
    let mut away = Duration::ZERO;
    for _ in 0..crashes {
        tokio::time::sleep(Duration::from_secs(2)).await;
        let since = Instant::now();
        database_server.crash().await;
        database_server.start().await;
        until_within("the server is ready again", READY, async || server.api().is_ready().await).await;
        away = away.max(since.elapsed());
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let told = load.stop().await;
    fleet.until_all_ended().await;
    parts.push(server);
    for part in &mut parts {
        assert!(part.lives(), "{:?} has ended: {}", part.launch, part.log());
    }
    let ledger = Ledger::read(&fleet).await;
    let made = told.made();
    let unheard = ledger.check_numbers(made.iter().map(|(number, run)| (*number, &**run)));
    let said = ledger.check(&journal);
    assert!(ledger.runs.values().all(|story| story.status == "succeeded"));
    figure(
        "fleet-database-crash",
        format!(
            "{crashes} crashes of PostgreSQL under load, away at most {away:?}: {} runs acknowledged, all there once and \
             ended; {unheard} more of which nobody was told; {}; {said}; all processes came back by themselves",
            made.len(),
            told.failures(),
        ),
    );
}

/// One process after another is stopped in order and started again, as in an update.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_fails_no_run() {
    let rounds = count(1, 10);
    let database = migrated_database().await;
    let fleet = Fleet::new(&database.url);
    let journal = Journal::new(&fleet);
    let mut parts = Vec::new();
    for name in ["server-0", "server-1"] {
        parts.push(fleet.serve(name).await);
    }
    for name in ["scheduler-0", "scheduler-1"] {
        parts.push(fleet.scheduler(name).await);
    }
    for name in ["worker-0", "worker-1"] {
        let arguments = ["worker", "--lanes", "A", "--slots", "6", "--drain-timeout", "200ms"];
        parts.push(fleet.start(name, &arguments).await);
    }
    let apis = [parts[0].api(), parts[1].api()];
    apis[0].put_runbook("chain", &journal.chain(3, "0.3")).await;
    let load = Load::start(&apis, "chain", 6, Duration::from_millis(300));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut slowest = Duration::ZERO;
    for _ in 0..rounds {
        for part in &mut parts {
            let since = Instant::now();
            replace(&fleet, part).await;
            slowest = slowest.max(since.elapsed());
        }
    }
    let told = load.stop().await;
    fleet.until_all_ended().await;
    let ledger = Ledger::read(&fleet).await;
    let made = told.made();
    ledger.check_numbers(made.iter().map(|(number, run)| (*number, &**run)));
    let said = ledger.check(&journal);
    let handed_back = ledger.runs.values().filter(|story| story.actions().contains(&"run_resumed")).count();
    let recovered = ledger.runs.values().filter(|story| story.recoveries > 0).count();
    figure(
        "fleet-rolling-restart",
        format!(
            "{} processes replaced under load, one at most {slowest:?}: {} runs acknowledged, all succeeded, {handed_back} \
             handed back, {recovered} recovered; {}; {said}",
            rounds * parts.len(),
            made.len(),
            told.failures()
        ),
    );
    assert!(ledger.runs.values().all(|story| story.status == "succeeded"));
    assert_eq!(recovered, 0, "who is stopped in order hands back what it has");
}

async fn replace(fleet: &Fleet, part: &mut Part) {
    let ended = part.stop().await;
    // 1: runs were handed back.
    assert!(matches!(ended.code(), Some(0 | 1)), "{ended:?}: {}", part.log());
    let mut launch = part.launch.clone();
    // Where its clients look for it.
    if let Some(listen) = launch.arguments.iter().position(|argument| argument == "--listen") {
        part.url.trim_start_matches("http://").clone_into(&mut launch.arguments[listen + 1]);
    }
    *part = fleet.launch(launch).await;
    if !part.url.is_empty() {
        let api = part.api();
        until_within("it is ready", READY, async || api.is_ready().await).await;
    }
}
