//! What apalis-redis does by itself, and what must not come of it. The numbers are those of the decision record.

use std::time::{Duration, Instant};

use apalis::prelude::{TaskBuilder, TaskId};
use apalis_redis::{Config, queries::push_tasks};
use opsroom::{model::Lane, ports::Queue};
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
    let mut link = redis.link().await;
    let queue = Config::default().queue(QUEUE).emit_events(false);
    for chunk in (0..count).collect::<Vec<_>>().chunks(500) {
        let task = |n: &usize| {
            TaskBuilder::new(br#"{"lane":"A"}"#.to_vec()).task_id(TaskId::from_string(format!("rx:{n}"))).build()
        };
        push_tasks(&mut link, &queue, &chunk.iter().map(task).collect::<Vec<_>>()).await.unwrap();
    }
}

/// 3 and 10: its own promotion fails for ever beyond 8,000 tasks, and what is done stays for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_thousand_tasks_due_at_once_wedge_nothing_and_leave_nothing() {
    let redis = servers::start().await;
    push(&redis, 20_000).await;
    assert!(left(&redis).await >= 60_000);
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
        () = until("all are done and gone", async || left(&redis).await == 0) => {}
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
    let redis = servers::start().await;
    push(&redis, 1).await;
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
