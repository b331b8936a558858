//! What stays in Redis of runs that have ended, and what late readers get of those that have not.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use opsroom::{
    model::{Category, Epoch, RunId},
    ports::Feed,
};
use uuid::Uuid;

use super::{
    feed::{Process, event, fact, ids, sequences, until_stream_ends_at},
    servers,
};
use crate::faults::bars::{count, figure};

/// Events of a run of ten steps.
const EVENTS: u64 = 24;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_ended_runs_leave_is_bounded() {
    let runs: u64 = count(2_000, 100_000);
    let redis = servers::start().await;
    let worker = Process::start(redis.server(), "worker");
    let begun = Instant::now();
    let used = async || -> u64 {
        let said: String = redis.ask("INFO memory").await;
        said.lines().find_map(|line| line.strip_prefix("used_memory:")).unwrap().trim().parse().unwrap()
    };
    let empty = used().await;
    for number in 0..runs {
        let run = RunId(Uuid::from_u128(u128::from(number) + 1));
        let mut events: Vec<_> = (1..EVENTS).map(|sequence| of_run(run, sequence, "step_started")).collect();
        // The end of every tenth run is never told: its owner has died.
        if number % 10 > 0 {
            events.push(of_run(run, EVENTS, "run_finished"));
        }
        worker.feed.publish(run, Epoch(1), &events);
        worker.feed.close(run);
        // No faster than a fleet: what is not taken would be left out.
        while number % 500 == 499 && redis.ask::<u64>("DBSIZE").await <= number {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    let bytes = used().await - empty;
    let names: Vec<String> = redis.ask("KEYS *").await;
    assert_eq!(names.len() as u64, runs, "one key a run: {:?}", names.first());
    let mut link = redis.link().await;
    let (day, mut longer) = (86_400, 0);
    for name in names.iter().take(5_000) {
        let left: i64 = servers::ask(&mut link, &format!("TTL {name}")).await;
        assert!((1..=7 * day).contains(&left), "{name}: {left}");
        longer += usize::from(left > day);
    }
    assert!((1..=700).contains(&longer), "only what never ended stays for longer: {longer}");
    let each = bytes / runs;
    figure(
        "redis-memory",
        format!("{runs} runs of {EVENTS} events: {} MiB, {each} B each, in {:?}", bytes >> 20, begun.elapsed()),
    );
    assert!(each < 6_000, "{each}");
    worker.stop().await;
}

fn of_run(run: RunId, sequence: u64, action: &str) -> Arc<opsroom::model::Event> {
    let mut event = Arc::unwrap_or_clone(event(sequence, Category::Lifecycle, action));
    event.run_id = run;
    Arc::new(event)
}

#[tokio::test]
async fn a_late_reader_is_told_what_a_stream_remembers() {
    let redis = servers::start().await;
    let (worker, api) = (Process::start(redis.server(), "worker"), Process::start(redis.server(), "api"));
    worker.publish(1..=1_000);
    until_stream_ends_at(&redis, 1_000).await;
    assert_eq!(ids(&redis).await.len(), 1_000);
    let run = fact(1).run_id;
    let recalled = api.feed.recall(run, 300, fact(901).id()).await;
    assert_eq!(sequences(&recalled), (301..=900).collect::<Vec<_>>());
    assert_eq!(recalled[0], fact(301));
    assert!(api.feed.recall(run, 300, fact(301).id()).await.is_empty());
    redis.freeze();
    let begun = Instant::now();
    assert!(api.feed.recall(run, 300, fact(901).id()).await.is_empty());
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    let begun = Instant::now();
    assert!(api.feed.recall(run, 300, fact(901).id()).await.is_empty());
    assert!(begun.elapsed() < Duration::from_millis(100), "not everybody waits for it");
    redis.thaw();
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    assert_eq!(api.feed.recall(run, 899, fact(901).id()).await, [fact(900)]);
    worker.stop().await;
    api.stop().await;
}
