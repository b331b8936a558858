//! Live events between processes, and what a Redis that comes and goes does to them.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use opsroom::{
    feed::{RedisFeed, RedisFeedConfig},
    model::{Category, Epoch, Event, EventKind, Micros, RunId, TenantId},
    ports::{Announced, Feed, Subscription},
    redis_client::RedisServer,
};
use serde_json::json;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

use super::servers::{self, Redis, ask};

pub const RUN: RunId = RunId(Uuid::from_u128(0x0192_7e4a_0000_7000_8000_0000_0000_0007));
const SOON: Duration = Duration::from_secs(10);

/// The feed of one process.
pub struct Process {
    pub feed: RedisFeed,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Process {
    pub fn start(server: RedisServer, name: &str) -> Process {
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let config = RedisFeedConfig { server, prefix: "test:".to_owned(), name: name.to_owned() };
        Process { feed: RedisFeed::start(config, &tasks, &stop), tasks, stop }
    }

    pub fn publish(&self, sequences: impl IntoIterator<Item = u64>) {
        let events: Vec<Arc<Event>> = sequences.into_iter().map(fact).collect();
        self.feed.publish(RUN, Epoch(1), &events);
    }

    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        let ended = tokio::time::timeout(Duration::from_secs(10), self.tasks.wait()).await;
        assert!(ended.is_ok(), "it does not stop");
    }
}

fn pair(redis: &Redis) -> (Process, Process) {
    (Process::start(redis.server(), "worker"), Process::start(redis.server(), "api"))
}

pub fn event(sequence: u64, category: Category, action: &str) -> Arc<Event> {
    Arc::new(Event {
        run_id: RUN,
        timestamp: Micros(1_760_000_000_000_000 + i64::try_from(sequence).unwrap() * 1_000),
        sequence,
        prev: sequence - 1,
        source: None,
        event: EventKind { category, action: action.into() },
        data: json!({ "step": "ünïcode", "n": sequence }),
    })
}

pub fn fact(sequence: u64) -> Arc<Event> {
    event(sequence, Category::Lifecycle, "step_started")
}

fn end(sequence: u64) -> Arc<Event> {
    event(sequence, Category::Lifecycle, "run_finished")
}

/// The next events, until one with this sequence.
pub async fn until(reader: &mut dyn Subscription, last: u64) -> Vec<Arc<Event>> {
    let mut seen = Vec::new();
    let reading = async {
        while seen.last().is_none_or(|event: &Arc<Event>| event.sequence < last) {
            seen.push(reader.next().await.expect("the feed is open"));
        }
    };
    let in_time = tokio::time::timeout(SOON, reading).await.is_ok();
    assert!(in_time, "{last} does not come; seen: {:?}", sequences(&seen));
    seen
}

pub fn sequences(events: &[Arc<Event>]) -> Vec<u64> {
    events.iter().map(|event| event.sequence).collect()
}

/// Publishes single events until another process has seen one: its reader listens from then on.
pub async fn in_touch(from: &Process, reader: &mut dyn Subscription) -> u64 {
    for sequence in 1.. {
        from.publish([sequence]);
        if tokio::time::timeout(Duration::from_millis(100), reader.next()).await.is_ok() {
            while tokio::time::timeout(Duration::from_millis(100), reader.next()).await.is_ok() {}
            return sequence;
        }
    }
    unreachable!()
}

/// The ids in the stream.
pub async fn ids(redis: &Redis) -> Vec<String> {
    type Entries = Vec<(String, Vec<String>)>;
    let entries: Entries = redis.ask(&format!("XRANGE test:run:{RUN}:events - +")).await;
    entries.into_iter().map(|(id, _)| id).collect()
}

pub async fn until_stream_ends_at(redis: &Redis, sequence: u64) {
    let begun = Instant::now();
    while ids(redis).await.last() != Some(&fact(sequence).id().to_string()) {
        assert!(begun.elapsed() < SOON, "{:?}", ids(redis).await.last());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn events_reach_other_processes_in_order_under_the_ids_they_have_everywhere() {
    reach_others(&servers::start().await).await;
}

pub async fn reach_others(redis: &Redis) {
    let (worker, api) = pair(redis);
    let (mut here, mut there) = (worker.feed.subscribe(RUN), api.feed.subscribe(RUN));
    let first = in_touch(&worker, &mut *there).await + 1;
    until(&mut *here, first - 1).await;
    for sequence in first..first + 100 {
        worker.publish([sequence]);
    }
    let expected: Vec<Arc<Event>> = (first..first + 100).map(fact).collect();
    assert_eq!(until(&mut *there, first + 99).await, expected);
    assert_eq!(until(&mut *here, first + 99).await, expected, "each once");
    let all: Vec<String> = (1..first + 100).map(|sequence| fact(sequence).id().to_string()).collect();
    assert_eq!(ids(redis).await, all);
    let last: Vec<(String, HashMap<String, String>)> =
        redis.ask(&format!("XREVRANGE test:run:{RUN}:events + - COUNT 1")).await;
    let fields = &last[0].1;
    assert_eq!(fields["event"], r#"{"category":"lifecycle","action":"step_started"}"#);
    assert_eq!((&*fields["source"], &*fields["sequence"]), ("null", &*(first + 99).to_string()));
    worker.stop().await;
    api.stop().await;
}

#[tokio::test]
async fn the_end_of_a_run_ends_its_subscriptions_and_gives_its_stream_a_day() {
    end_with_the_run(&servers::start().await).await;
}

pub async fn end_with_the_run(redis: &Redis) {
    let (worker, api) = pair(redis);
    let mut there = api.feed.subscribe(RUN);
    let next = in_touch(&worker, &mut *there).await + 1;
    let ttl = format!("TTL test:run:{RUN}:events");
    let week = 7 * 86_400;
    assert!((week - 100..=week).contains(&redis.ask::<i64>(&ttl).await), "no stream stays for ever");
    worker.feed.publish(RUN, Epoch(1), &[end(next)]);
    worker.feed.close(RUN);
    assert_eq!(until(&mut *there, next).await, [end(next)]);
    assert!(tokio::time::timeout(SOON, there.next()).await.unwrap().is_none());
    assert!((86_000..=86_400).contains(&redis.ask::<i64>(&ttl).await));
    worker.stop().await;
    api.stop().await;
}

#[tokio::test]
async fn an_owner_that_was_replaced_writes_no_more() {
    fence_owners(&servers::start().await).await;
}

pub async fn fence_owners(redis: &Redis) {
    let (old, new) = pair(redis);
    old.publish([1, 2]);
    until_stream_ends_at(redis, 2).await;
    new.feed.publish(RUN, Epoch(2), &[fact(10)]);
    until_stream_ends_at(redis, 10).await;
    old.publish([11, 12]);
    new.feed.publish(RUN, Epoch(2), &[fact(13)]);
    until_stream_ends_at(redis, 13).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let expected: Vec<String> = [1, 2, 10, 13].map(|sequence| fact(sequence).id().to_string()).to_vec();
    assert_eq!(ids(redis).await, expected);
    old.stop().await;
    new.stop().await;
}

#[tokio::test]
async fn whoever_comes_late_sees_by_prev_what_is_missing() {
    show_what_is_missing(&servers::start().await).await;
}

pub async fn show_what_is_missing(redis: &Redis) {
    let (worker, api) = pair(redis);
    worker.publish(1..=500);
    until_stream_ends_at(redis, 500).await;
    let mut late = api.feed.subscribe(RUN);
    let seen = until(&mut *late, 500).await;
    assert!(seen[0].sequence > 1 && seen[0].prev == seen[0].sequence - 1, "{:?}", seen[0]);
    assert!(seen.windows(2).all(|pair| pair[1].prev == pair[0].sequence));
    worker.stop().await;
    api.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_redis_loses_is_sent_again_and_nobody_here_notices() {
    send_again(&servers::start().await).await;
}

pub async fn send_again(redis: &Redis) {
    let (worker, api) = pair(redis);
    let (mut here, mut there) = (worker.feed.subscribe(RUN), api.feed.subscribe(RUN));
    let mut last = in_touch(&worker, &mut *there).await;
    until(&mut *here, last).await;
    for round in 0..4 {
        match round % 2 {
            0 => redis.kill(),
            _ => redis.ask::<()>("FLUSHALL").await,
        }
        let begun = Instant::now();
        worker.publish(last + 1..=last + 50);
        assert!(begun.elapsed() < Duration::from_millis(200), "a run never waits");
        assert_eq!(until(&mut *here, last + 50).await.len(), 50);
        if round % 2 == 0 {
            redis.start().await;
        }
        last += 50;
        until_stream_ends_at(redis, last).await;
        let all: Vec<String> = (1..=last).map(|sequence| fact(sequence).id().to_string()).collect();
        assert_eq!(ids(redis).await, all, "the stream is whole again");
        assert_eq!(sequences(&until(&mut *there, last).await).last(), Some(&last));
    }
    worker.stop().await;
    api.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_does_not_answer_or_is_full_holds_no_run_up() {
    let redis = servers::start().await;
    let (worker, api) = pair(&redis);
    let (mut here, mut there) = (worker.feed.subscribe(RUN), api.feed.subscribe(RUN));
    let mut last = in_touch(&worker, &mut *there).await;
    until(&mut *here, last).await;
    for fault in ["freeze", "pause", "full"] {
        match fault {
            "freeze" => redis.freeze(),
            "pause" => redis.ask::<()>("CLIENT PAUSE 600 ALL").await,
            _ => redis.ask::<()>("CONFIG SET maxmemory 1").await,
        }
        let begun = Instant::now();
        worker.publish(last + 1..=last + 2_000);
        assert!(begun.elapsed() < Duration::from_millis(500), "{fault}: {:?}", begun.elapsed());
        assert_eq!(until(&mut *here, last + 2_000).await.len(), 2_000);
        last += 2_000;
        tokio::time::sleep(Duration::from_millis(400)).await;
        match fault {
            "freeze" => redis.thaw(),
            "pause" => {}
            _ => redis.ask::<()>("CONFIG SET maxmemory 0").await,
        }
        until_stream_ends_at(&redis, last).await;
        let seen = until(&mut *there, last).await;
        assert_eq!(seen.len(), 2_000, "{fault}");
    }
    worker.stop().await;
    api.stop().await;
}

/// One stream that somebody has replaced or cut holds up no other.
#[tokio::test]
async fn a_stream_that_is_spoilt_is_left_alone() {
    leave_spoilt_ones_alone(&servers::start().await).await;
}

pub async fn leave_spoilt_ones_alone(redis: &Redis) {
    let (worker, api) = pair(redis);
    let mut there = api.feed.subscribe(RUN);
    let last = in_touch(&worker, &mut *there).await;
    let (replaced, cut) = (RunId(Uuid::from_u128(1)), RunId(Uuid::from_u128(2)));
    redis.ask::<()>(&format!("SET test:run:{replaced}:events theirs")).await;
    redis.ask::<()>(&format!("XADD test:run:{cut}:events {}-0 theirs 1", i64::MAX)).await;
    redis.ask::<()>(&format!("XDEL test:run:{cut}:events {}-0", i64::MAX)).await;
    for next in last + 1..=last + 20 {
        let begun = Instant::now();
        worker.feed.publish(replaced, Epoch(1), &[fact(next)]);
        worker.feed.publish(cut, Epoch(1), &[fact(next)]);
        worker.publish([next]);
        until(&mut *there, next).await;
        assert!(begun.elapsed() < Duration::from_millis(500), "{:?}", begun.elapsed());
    }
    assert_eq!(redis.ask::<String>(&format!("GET test:run:{replaced}:events")).await, "theirs");
    worker.stop().await;
    api.stop().await;
}

#[tokio::test]
async fn a_redis_that_is_absent_from_the_start_is_found_later() {
    let port = servers::free_port();
    let server = RedisServer::from_url(&format!("redis://127.0.0.1:{port}")).unwrap();
    let worker = Process::start(server, "worker");
    let mut here = worker.feed.subscribe(RUN);
    worker.publish(1..=10);
    assert_eq!(until(&mut *here, 10).await.len(), 10);
    worker.stop().await;
}

#[tokio::test]
async fn a_reader_that_does_not_read_holds_nobody_up() {
    let redis = servers::start().await;
    let (worker, api) = pair(&redis);
    let (mut slow, mut fast) = (api.feed.subscribe(RUN), api.feed.subscribe(RUN));
    let mut last = in_touch(&worker, &mut *fast).await;
    until(&mut *slow, last).await;
    let behind = last;
    for _ in 0..12 {
        worker.publish(last + 1..=last + 1_000);
        last += 1_000;
        until(&mut *fast, last).await;
    }
    let first = tokio::time::timeout(SOON, slow.next()).await.unwrap().unwrap();
    assert!(first.prev > behind, "it has lost something and sees it: {}", first.sequence);
    until(&mut *slow, last).await;
    worker.stop().await;
    api.stop().await;
}

#[tokio::test]
async fn runs_as_wholes_are_announced_to_other_processes_that_watch() {
    let redis = servers::start().await;
    let (worker, api) = pair(&redis);
    let tenant = TenantId::DEFAULT;
    let mut watching = api.feed.subscribe_all(tenant);
    let mut own = worker.feed.subscribe_all(tenant);
    let announced = event(1, Category::Lifecycle, "run_started");
    let heard = async {
        loop {
            if worker.feed.is_watched(tenant) {
                worker.feed.announce(tenant, std::slice::from_ref(&announced));
            }
            if let Ok(heard) = tokio::time::timeout(Duration::from_millis(100), watching.next()).await {
                return heard;
            }
        }
    };
    assert_eq!(tokio::time::timeout(SOON, heard).await.unwrap(), Announced::Event(announced.clone()));
    assert_eq!(own.next().await, Announced::Event(announced));
    drop((watching, own));
    let unwatched = async {
        while worker.feed.is_watched(tenant) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    assert!(tokio::time::timeout(SOON, unwatched).await.is_ok(), "nobody watches, so nothing is said");
    worker.stop().await;
    api.stop().await;
}

/// 5,000 events a second over 50 runs: from the call to a reader in another process. And a burst of 1,000.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn speed_of_events() {
    let redis = servers::start().await;
    let (worker, api) = pair(&redis);
    let mut there = api.feed.subscribe(RUN);
    let mut last = in_touch(&worker, &mut *there).await;
    let mut took = Vec::new();
    let mut ticks = tokio::time::interval(Duration::from_millis(10));
    for _ in 0..500 {
        ticks.tick().await;
        let begun = Instant::now();
        for run in 1..50 {
            worker.feed.publish(RunId(Uuid::from_u128(run)), Epoch(1), &[fact(last + 1)]);
        }
        worker.publish([last + 1]);
        until(&mut *there, last + 1).await;
        last += 1;
        took.push(begun.elapsed());
    }
    took.sort();
    println!("an event among 5,000/s: p50 {:?}, p95 {:?}, p99 {:?}", took[250], took[475], took[495]);
    let begun = Instant::now();
    worker.publish(last + 1..=last + 1_000);
    until(&mut *there, last + 1_000).await;
    println!("1,000 events written and read: {:?}", begun.elapsed());
    let begun = Instant::now();
    let mut link = redis.link().await;
    let entries: Vec<(String, Vec<String>)> =
        ask(&mut link, &format!("XREVRANGE test:run:{RUN}:events + - COUNT 1000")).await;
    println!("{} entries fetched: {:?}", entries.len(), begun.elapsed());
    assert!(took[475] < Duration::from_millis(10));
    worker.stop().await;
    api.stop().await;
}
