//! A whole fleet with a Redis that is killed, flushed and frozen under it.

use std::{
    io::{BufRead, BufReader},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::servers::{self, Options, Product};
use crate::{
    cli::world::{pause_for, until},
    fleet::Fleet,
};

const TALKS: &str = "steps:\n  - {id: a, run: \"for i in 1 2 3 4 5; do echo line $i; sleep 0.1; done\"}\n  \
                     - {id: b, needs: [a], uses: assert, with: {that: true}}\n  \
                     - {id: c, needs: [b], uses: assert, with: {that: true}}\n";

fn started(redis_url: &str) -> (Fleet, Vec<crate::fleet::Member>) {
    let mut fleet = Fleet::new();
    fleet.variables = vec![("REDIS_URL", redis_url.to_owned())];
    fleet.runbook("talks", TALKS);
    fleet.serve();
    let members = vec![fleet.start("scheduler", &["scheduler"]), fleet.worker("one", &[]), fleet.worker("two", &[])];
    until("the runbook is known", || fleet.get("/v1/runbooks/talks").0 == 200);
    (fleet, members)
}

/// Every event of the run's stream, as one client sees it to the end.
fn stream_of(fleet: &Fleet, run: &str) -> Vec<Value> {
    let stream = BufReader::new(fleet.stream(&format!("/v1/runs/{run}/events/stream")));
    let mut seen = Vec::new();
    for line in stream.lines() {
        let line = line.unwrap();
        if let Some(data) = line.strip_prefix("data:")
            && let Ok(event) = serde_json::from_str::<Value>(data)
            && event["sequence"].is_u64()
        {
            seen.push(event);
        }
        if line == "event: close" {
            return seen;
        }
    }
    panic!("the stream ends without its last word: {seen:?}");
}

/// Each durable event once and in order: what the store has, the stream had.
fn is_complete(fleet: &Fleet, run: &str, seen: &[Value]) {
    let sequences: Vec<u64> = seen.iter().map(|event| event["sequence"].as_u64().unwrap()).collect();
    assert!(sequences.windows(2).all(|pair| pair[0] < pair[1]), "{sequences:?}");
    let (status, page) = fleet.get(&format!("/v1/runs/{run}/events?limit=1000"));
    assert_eq!(status, 200, "{page}");
    for event in page["events"].as_array().unwrap() {
        let is_durable = event["event"]["category"] != "system";
        let sequence = event["sequence"].as_u64().unwrap();
        assert!(!is_durable || sequences.contains(&sequence), "{event} was not in the stream: {sequences:?}");
    }
    assert_eq!(seen.last().unwrap()["event"]["action"], "run_finished");
}

#[test]
fn a_run_is_picked_up_and_streamed_through_redis() {
    pick_up_and_stream(Product::Redis);
}

pub fn pick_up_and_stream(product: Product) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let redis = runtime.block_on(servers::start_with(Options { product, ..Options::default() }));
    let (fleet, members) = started(&redis.url());
    let run = fleet.run("talks");
    let seen = stream_of(&fleet, &run);
    is_complete(&fleet, &run, &seen);
    assert_eq!(fleet.ended(&run)["status"], "succeeded");
    let ids: Vec<(String, Vec<String>)> = runtime.block_on(redis.ask(&format!("XRANGE run:{run}:events - +")));
    assert!(ids.len() >= 10, "it went through the stream of A2: {}", ids.len());
    let ttl: i64 = runtime.block_on(redis.ask(&format!("TTL run:{run}:events")));
    assert!((86_000..=86_400).contains(&ttl), "{ttl}");
    for member in members {
        assert!(!member.log().contains("redis://"), "{}", member.log());
        assert_eq!(member.stop().code, Some(0));
    }
}

#[test]
fn runs_end_and_streams_are_complete_whatever_becomes_of_redis() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let redis = runtime.block_on(servers::start());
    let (fleet, members) = started(&redis.url());
    let (mut runs, begun) = (Vec::new(), Instant::now());
    for round in 0..8 {
        let (status, made) = fleet.post("/v1/runs/batch", &json!({"runs": vec![json!({"runbook": "talks"}); 3]}));
        assert_eq!(status, 201, "{made}");
        let made = made["runs"].as_array().or_else(|| made["items"].as_array()).unwrap().clone();
        runs.extend(made.iter().map(|run| run["id"].as_str().unwrap().to_owned()));
        match round % 4 {
            0 => redis.kill(),
            1 => runtime.block_on(redis.start()),
            2 => runtime.block_on(redis.ask::<()>("FLUSHALL")),
            _ => redis.freeze(),
        }
        pause_for(Duration::from_millis(400));
        if round % 4 == 3 {
            redis.thaw();
        }
    }
    for run in &runs {
        let seen = stream_of(&fleet, run);
        assert_eq!(fleet.ended(run)["status"], "succeeded");
        is_complete(&fleet, run, &seen);
    }
    println!("{} runs in {:?}", runs.len(), begun.elapsed());
    for member in members {
        assert_eq!(member.stop().code, Some(0));
    }
}

#[test]
fn a_fleet_whose_redis_was_never_there_works() {
    let (fleet, members) = started(&format!("redis://:s3cret@127.0.0.1:{}", servers::free_port()));
    let run = fleet.run("talks");
    let seen = stream_of(&fleet, &run);
    is_complete(&fleet, &run, &seen);
    let log: String = members.iter().map(crate::fleet::Member::log).collect();
    assert!(log.contains("wake-ups") && !log.contains("s3cret"), "{log}");
}
