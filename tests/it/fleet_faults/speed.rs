//! What a second worker adds.

use std::{fmt::Write as _, time::Duration};

use super::{
    fleet::Fleet,
    ledger::{Journal, Ledger},
};
use crate::{
    faults::bars::{count, figure, judge},
    servers::migrated_database,
};

const SLOTS: usize = 4;
const STEPS: usize = 5;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_workers_do_almost_twice_as_much_as_one() {
    let (rounds, runs) = (count(1, 5), count(24, 80));
    let mut ratios = Vec::new();
    let mut said = String::new();
    for _ in 0..rounds {
        let one = span_of(1, runs).await;
        let two = span_of(2, runs).await;
        let ratio = one.as_secs_f64() / two.as_secs_f64();
        said = format!("one worker {one:?}, two {two:?}");
        ratios.push(ratio);
    }
    ratios.sort_by(f64::total_cmp);
    let median = ratios[ratios.len() / 2];
    figure("fleet-two-workers", format!("{runs} runs of {STEPS} steps of 100 ms, {SLOTS} slots a worker; {said}"));
    judge(
        "fleet-two-workers",
        format!("two workers do {median:.2} times as much as one ({ratios:.2?})"),
        median >= 1.8,
    );
    assert!(median > 1.2, "a second worker helps: {median}");
}

/// From the first start to the last end, by the clock of the database.
async fn span_of(workers: usize, runs: usize) -> Duration {
    let database = migrated_database().await;
    let fleet = Fleet::new(&database.url);
    let journal = Journal::new(&fleet);
    let server = fleet.serve("server").await;
    let mut crew = Vec::new();
    for number in 0..workers {
        crew.push(fleet.worker(&format!("worker-{number}"), SLOTS).await);
    }
    let api = server.api();
    let mut body = "steps:\n  - {id: step_0, run: [sleep, \"0.1\"]}\n".to_owned();
    for step in 1..STEPS {
        writeln!(body, "  - {{id: step_{step}, needs: [step_{}], run: [sleep, \"0.1\"]}}", step - 1).unwrap();
    }
    api.put_runbook("sleeps", &body).await;
    api.create_many("sleeps", 0, runs).await;
    fleet.until_all_ended().await;
    let ledger = Ledger::read(&fleet).await;
    assert!(ledger.runs.values().all(|story| story.status == "succeeded"));
    assert!(journal.begun().is_empty());
    let first = ledger.runs.values().map(|story| story.events[0].at).min().unwrap();
    let last = ledger.runs.values().filter_map(|story| story.ended_at).max().unwrap();
    Duration::from_micros(u64::try_from(last - first).unwrap())
}
