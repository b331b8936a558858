//! What apalis-redis does by itself, and what must not come of it. The numbers are those of the decision record.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use apalis::prelude::{TaskBuilder, TaskId};
use apalis_redis::{Config, queries::push_tasks};
use opsroom::{model::Lane, ports::Queue, redis_client::RedisLink};
use redis::AsyncCommands;

use super::{
    bells::{Process, heard_again, hears},
    servers::{self, Redis, ask},
};

const QUEUE: &str = "test:opsroom:{core:apalis:queues:list}:A";

async fn until(what: &str, mut is_true: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !is_true().await {
        assert!(Instant::now() < end, "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The keys of the queue that grow with the number of tasks, and how much is in them.
async fn left(redis: &Redis) -> u64 {
    let mut link = redis.link().await;
    let mut sum = 0;
    for (command, key) in [("LLEN", "active"), ("ZCARD", "scheduled"), ("SCARD", "done"), ("HLEN", "data")] {
        sum += ask::<u64>(&mut link, &format!("{command} {QUEUE}:{key}")).await;
    }
    let records: Vec<String> = link.keys(format!("{QUEUE}:meta:*")).await.unwrap();
    sum + records.len() as u64
}

async fn push(redis: &Redis, count: usize) {
    push_all(redis, (0..count).map(|n| (format!("rx:{n}"), br#"{"lane":"A"}"#.to_vec())).collect()).await;
}

/// Pushes tasks as another program would: their ids, and what they say.
async fn push_all(redis: &Redis, tasks: Vec<(String, Vec<u8>)>) {
    let mut link = redis.link().await;
    let queue = Config::default().queue(QUEUE).emit_events(false);
    for chunk in tasks.chunks(500) {
        let task = |(id, said): &(String, Vec<u8>)| {
            TaskBuilder::new(said.clone()).task_id(TaskId::from_string(id.clone())).build()
        };
        push_tasks(&mut link, &queue, &chunk.iter().map(task).collect::<Vec<_>>()).await.unwrap();
    }
}

/// What Redis knows of the workers of the lane.
#[derive(Debug, Default)]
struct Watched {
    /// The seconds of the heartbeats of each worker.
    beats: BTreeMap<String, BTreeSet<u64>>,
    /// The most tasks that one of them had in its hands, and how often it had any.
    most: u64,
    busy: u64,
}

impl Watched {
    async fn look(&mut self, link: &mut RedisLink) {
        let workers: Vec<(String, u64)> = ask(link, &format!("ZRANGE {QUEUE}:workers 0 -1 WITHSCORES")).await;
        for (name, beat) in workers {
            let flying: u64 = ask(link, &format!("SCARD {QUEUE}:inflight:{name}")).await;
            self.most = self.most.max(flying);
            self.busy += u64::from(flying > 0);
            self.beats.entry(name).or_default().insert(beat);
        }
    }

    /// Looks every few milliseconds.
    async fn watch(&mut self, redis: &Redis, span: Duration) {
        let (mut link, end) = (redis.link().await, Instant::now() + span);
        while Instant::now() < end {
            self.look(&mut link).await;
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
    }
}

/// One worker all the time, which was heard of at least so often, and never later than before it is taken for dead.
fn one_that_beats(watched: &Watched, times: usize) {
    let names: Vec<&String> = watched.beats.keys().collect();
    assert_eq!(names, ["A-worker-1"], "no other one took its place: {watched:?}");
    let beats: Vec<u64> = watched.beats["A-worker-1"].iter().copied().collect();
    assert!(beats.len() >= times, "{beats:?}");
    assert!(beats.windows(2).all(|pair| pair[1] - pair[0] < 6), "{beats:?}");
}

/// 3 and 10: its own promotion fails for ever beyond 8,000 tasks, and what is done stays for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_thousand_tasks_due_at_once_wedge_nothing_and_leave_nothing() {
    take_twenty_thousand(&servers::start().await).await;
}

pub async fn take_twenty_thousand(redis: &Redis) {
    push(redis, 20_000).await;
    assert!(left(redis).await >= 60_000);
    let worker = Process::start(redis.server(), "worker", &[Lane::A]);
    let bell = worker.queue.listen(Lane::A);
    let hearing = async {
        loop {
            bell.heard().await;
        }
    };
    let begun = Instant::now();
    tokio::select! {
        () = hearing => {}
        () = until("all are done and gone", async || left(redis).await == 0) => {}
    }
    println!("20,000 tasks: {:?}", begun.elapsed());
    worker.stop().await;
}

/// 3: what nobody takes is bounded.
#[tokio::test]
async fn no_more_than_two_thousand_wait() {
    let redis = servers::start().await;
    push(&redis, 1_995).await;
    let api = Process::start(redis.server(), "api", &[]);
    let waiting = async || -> u64 { redis.ask(&format!("LLEN {QUEUE}:active")).await };
    let mut seen = 0;
    for _ in 0..50 {
        api.queue.ring(Lane::A);
        tokio::time::sleep(Duration::from_millis(10)).await;
        seen = waiting().await;
    }
    assert_eq!(seen, 2_000);
    api.stop().await;
}

/// 1 and 2: a pushed task is announced, and the tick beneath finds what was not.
#[tokio::test]
async fn a_task_that_nobody_announced_is_found_by_the_tick() {
    let redis = servers::start().await;
    let worker = Process::start(redis.server(), "worker", &[Lane::A]);
    let bell = worker.queue.listen(Lane::A);
    for n in 0..5 {
        // Left by a process that died between its push and its promotion.
        push(&redis, n + 1).await;
        let begun = Instant::now();
        assert!(hears(&*bell, Duration::from_secs(5)).await);
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
        while hears(&*bell, Duration::from_millis(700)).await {}
        until("it is removed", async || left(&redis).await == 0).await;
    }
    worker.stop().await;
}

/// 6 and 9: an acknowledgement of a task that was taken away ends an apalis worker; another one takes its place.
#[tokio::test]
async fn a_task_that_is_taken_away_ends_nothing_for_good() {
    let redis = servers::start().await;
    let (api, worker) =
        (Process::start(redis.server(), "api", &[]), Process::start(redis.server(), "worker", &[Lane::A]));
    let bell = worker.queue.listen(Lane::A);
    heard_again(&api, &*bell).await;
    let mut link = redis.link().await;
    let names = async |link: &mut _| -> Vec<String> { ask(link, &format!("ZRANGE {QUEUE}:workers 0 -1")).await };
    let first = names(&mut link).await;
    let taken = async {
        // Whoever is rung is full, so the handler takes its 20 ms.
        while names(&mut link).await == first {
            api.queue.ring(Lane::A);
            hears(&*bell, Duration::from_millis(20)).await;
            let flying: Vec<String> = link.keys(format!("{QUEUE}:inflight:*")).await.unwrap();
            for key in flying {
                let _: u64 = link.unlink(key).await.unwrap();
            }
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(10), taken).await.is_ok(), "no acknowledgement failed");
    let took = heard_again(&api, &*bell).await;
    assert!(took < Duration::from_secs(3), "{took:?}");
    api.stop().await;
    worker.stop().await;
}

/// 4: tasks that were fetched and not begun would hold up heartbeats and acknowledgements.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lane_with_slow_handlers_beats_and_has_one_task_in_its_hands() {
    let redis = servers::start().await;
    push(&redis, 1_500).await;
    let worker = Process::start(redis.server(), "worker", &[Lane::A]);
    let bell = worker.queue.listen(Lane::A);
    // Nobody waits again for longer than a handler does: each takes as long as one can.
    let mut heard = 0;
    let working = async {
        loop {
            bell.heard().await;
            heard += 1;
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    };
    let mut watched = Watched::default();
    tokio::select! {
        () = working => {}
        () = watched.watch(&redis, Duration::from_secs(9)) => {}
    }
    one_that_beats(&watched, 3);
    assert_eq!(watched.most, 1, "{watched:?}");
    assert!(heard > 20 && watched.busy > 100, "it was at work: {heard} rings, {watched:?}");
    assert!(left(&redis).await > 500, "there was always more to do");
    worker.stop().await;
}

/// 7 and 16: what cannot be read ends the worker that takes it, once; nobody tries it again, and the lane goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_that_cannot_be_read_are_not_tried_again() {
    let redis = servers::start().await;
    let (api, worker) =
        (Process::start(redis.server(), "api", &[]), Process::start(redis.server(), "worker", &[Lane::A]));
    let bell = worker.queue.listen(Lane::A);
    heard_again(&api, &*bell).await;
    let said: [&[u8]; 5] = [b"", b"not json", br#"{"lane":"Z"}"#, br#"{"lane":"A"}"#, br#"{"lane":"A"}"#];
    let tasks = said.iter().enumerate().map(|(n, said)| (format!("rbad:{n}"), said.to_vec()));
    push_all(&redis, tasks.collect()).await;
    // What eviction may leave of a task.
    redis.ask::<()>(&format!("HDEL {QUEUE}:data rbad:3")).await;
    redis.ask::<()>(&format!("UNLINK {QUEUE}:meta:rbad:4")).await;
    let hearing = async {
        loop {
            bell.heard().await;
        }
    };
    tokio::select! {
        () = hearing => {}
        () = until("they are gone", async || {
            let flying: Vec<String> = redis.ask(&format!("KEYS {QUEUE}:inflight:*")).await;
            left(&redis).await == 0 && flying.is_empty()
        }) => {}
    }
    heard_again(&api, &*bell).await;
    // Tasks of the dead come back after three heartbeats: those would end this one too.
    let mut link = redis.link().await;
    let mut watched = Watched::default();
    watched.look(&mut link).await;
    let known = watched.beats.len();
    watched.watch(&redis, Duration::from_secs(8)).await;
    assert_eq!(watched.beats.len(), known, "{watched:?}");
    assert!(watched.beats.values().any(|beats| beats.len() >= 3), "{watched:?}");
    let took = heard_again(&api, &*bell).await;
    assert!(took < Duration::from_secs(3), "{took:?}");
    api.stop().await;
    worker.stop().await;
}

/// 8: what is done leaves the hands of its worker, while that lives, and is removed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_that_are_done_are_acknowledged() {
    let redis = servers::start().await;
    push(&redis, 300).await;
    let worker = Process::start(redis.server(), "worker", &[Lane::A]);
    let bell = worker.queue.listen(Lane::A);
    let hearing = async {
        loop {
            bell.heard().await;
        }
    };
    tokio::select! {
        () = hearing => {}
        () = until("all are acknowledged and gone", async || {
            let flying: u64 = redis.ask(&format!("SCARD {QUEUE}:inflight:A-worker-1")).await;
            left(&redis).await == 0 && flying == 0
        }) => {}
    }
    // What was not acknowledged would come back with the orphans.
    let names: Vec<String> = redis.ask(&format!("ZRANGE {QUEUE}:workers 0 -1")).await;
    assert_eq!(names, ["A-worker-1"]);
    worker.stop().await;
}

/// 11: a worker outlives its heartbeats, idle and at work.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_lives_for_many_heartbeats() {
    let redis = servers::start().await;
    let (api, worker) =
        (Process::start(redis.server(), "api", &[]), Process::start(redis.server(), "worker", &[Lane::A]));
    let bell = worker.queue.listen(Lane::A);
    heard_again(&api, &*bell).await;
    let mut watched = Watched::default();
    watched.watch(&redis, Duration::from_secs(5)).await;
    let ringing = async {
        loop {
            api.queue.ring(Lane::A);
            assert!(hears(&*bell, Duration::from_secs(5)).await);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::select! {
        () = ringing => {}
        () = watched.watch(&redis, Duration::from_secs(5)) => {}
    }
    one_that_beats(&watched, 4);
    heard_again(&api, &*bell).await;
    api.stop().await;
    worker.stop().await;
}

/// 5: a worker stops in order, whatever waits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopping_with_many_tasks_waiting_does_not_hang() {
    let redis = servers::start().await;
    push(&redis, 3_000).await;
    let worker = Process::start(redis.server(), "worker", &[Lane::A]);
    let bell = worker.queue.listen(Lane::A);
    assert!(hears(&*bell, Duration::from_secs(5)).await);
    let begun = Instant::now();
    worker.stop().await;
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    // It is not in the list any more, and nothing is left in its hands.
    assert_eq!(redis.ask::<Vec<String>>("KEYS test:*inflight:*").await, [""; 0]);
    assert_eq!(redis.ask::<Vec<String>>("KEYS test:*workers:metadata:*").await, [""; 0]);
}

/// 12 and 13: ids are never numbers, and never come twice.
#[tokio::test]
async fn every_ring_has_an_id_of_its_own() {
    let redis = servers::start().await;
    for name in ["api-1", "api-2"] {
        let api = Process::start(redis.server(), name, &[]);
        for _ in 0..3 {
            api.queue.ring(Lane::A);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        api.stop().await;
    }
    let mut ids: Vec<String> = redis.ask(&format!("HKEYS {QUEUE}:data")).await;
    ids.sort();
    assert_eq!(ids, ["rapi-1:1", "rapi-1:2", "rapi-1:3", "rapi-2:1", "rapi-2:2", "rapi-2:3"]);
}

/// 14: what a dead process had in its hands comes back after three heartbeats of two seconds.
#[tokio::test]
async fn what_a_dead_process_had_taken_comes_back() {
    inherit_from_the_dead(&servers::start().await).await;
}

pub async fn inherit_from_the_dead(redis: &Redis) {
    push(redis, 1).await;
    let mut link = redis.link().await;
    let _: u64 = ask(&mut link, &format!("ZREM {QUEUE}:scheduled rx:0")).await;
    let _: u64 = ask(&mut link, &format!("SADD {QUEUE}:inflight:a-dead-1 rx:0")).await;
    let now: Vec<String> = ask(&mut link, "TIME").await;
    let _: u64 = ask(&mut link, &format!("ZADD {QUEUE}:workers {} a-dead-1", now[0])).await;
    let worker = Process::start(redis.server(), "worker", &[Lane::A]);
    let bell = worker.queue.listen(Lane::A);
    let begun = Instant::now();
    assert!(hears(&*bell, Duration::from_secs(15)).await);
    let took = begun.elapsed();
    assert!((4..11).contains(&took.as_secs()), "{took:?}");
    worker.stop().await;
}
