//! Runs that go through several processes.

use std::io::{BufRead, BufReader};

use serde_json::{Value, json};

use super::Fleet;
use crate::cli::world::until;

const TALKS: &str = "steps:\n  - {id: a, run: \"echo one from $OPSROOM_WORKER; sleep 0.2; echo two\"}\n  \
                     - {id: b, needs: [a], uses: assert, with: {that: true}}\n";

#[test]
fn a_run_goes_through_a_server_a_worker_and_a_scheduler() {
    let (fleet, scheduler) = Fleet::with_scheduler(&[("talks", TALKS)]);
    let waits = fleet.run("talks");
    assert_eq!(fleet.row(&waits)["status"], "queued", "nobody executes anything");
    let worker = fleet.worker("worker", &["--label", "zone=dmz"]);
    until("the worker is ready", || worker.get("/readyz").0 == 200);
    let run = fleet.ended(&waits);
    assert_eq!((run["status"].as_str(), run["recoveries"].as_u64()), (Some("succeeded"), Some(0)), "{run}");
    let (_, steps) = fleet.get(&format!("/v1/runs/{waits}/steps"));
    assert!(steps["items"].as_array().unwrap().iter().all(|step| step["status"] == "succeeded"), "{steps}");
    // What a worker on another machine wrote comes by way of the artifact store.
    let mut text = String::new();
    until("the log is there", || {
        let (_, page) = fleet.get(&format!("/v1/runs/{waits}/events?limit=200"));
        text = page.to_string();
        text.contains("one from") && text.contains("two")
    });
    assert!(text.contains(worker.worker()), "{text}");
    assert_eq!(worker.stop().code, Some(0));
    assert_eq!(scheduler.stop().code, Some(0));
    assert_eq!(fleet.row(&waits)["status"], "succeeded");
}

#[test]
fn a_server_without_lanes_streams_what_a_worker_does() {
    let (fleet, _scheduler) = Fleet::with_scheduler(&[("talks", TALKS)]);
    let run = fleet.run("talks");
    let stream = BufReader::new(fleet.stream(&format!("/v1/runs/{run}/events/stream")));
    let _worker = fleet.worker("worker", &[]);
    let mut seen = Vec::new();
    for line in stream.lines() {
        let line = line.unwrap();
        if let Some(data) = line.strip_prefix("data:")
            && let Ok(event) = serde_json::from_str::<Value>(data)
        {
            seen.push(event);
        }
        if line == "event: close" {
            break;
        }
    }
    let sequences: Vec<u64> = seen.iter().filter_map(|event| event["sequence"].as_u64()).collect();
    assert!(sequences.windows(2).all(|pair| pair[0] < pair[1]), "{sequences:?}");
    let said = Value::from(seen).to_string();
    for action in ["run_started", "step_started", "step_succeeded", "run_finished"] {
        assert!(said.contains(action), "{action}: {said}");
    }
}

#[test]
fn workers_share_the_work_and_keep_to_their_lanes() {
    let body = |lane: &str, file: &str| {
        format!("lane: {lane}\nsteps:\n  - {{id: a, run: \"echo $OPSROOM_WORKER >> '{file}'; sleep 0.3\"}}\n")
    };
    let mut fleet = Fleet::new();
    let path = |name: &str| fleet.path(name).display().to_string();
    let (in_a, in_b) = (body("A", &path("in-a")), body("B", &path("in-b")));
    fleet.runbook("in-a", &in_a);
    fleet.runbook("in-b", &in_b);
    fleet.serve();
    let _scheduler = fleet.start("scheduler", &["scheduler"]);
    until("the runbooks are known", || {
        fleet.get("/v1/runbooks/in-a").0 == 200 && fleet.get("/v1/runbooks/in-b").0 == 200
    });
    let first = fleet.worker("first", &["--lanes", "A", "--slots", "2"]);
    let second = fleet.worker("second", &["--lanes", "A,B", "--slots", "2"]);
    let batch = |runbook: &str, count: usize| {
        let (status, made) = fleet.post("/v1/runs/batch", &json!({"runs": vec![json!({"runbook": runbook}); count]}));
        assert_eq!(status, 201, "{made}");
        let runs = made["runs"].as_array().or_else(|| made["items"].as_array()).unwrap().clone();
        runs.iter().map(|run| run["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let runs = [batch("in-a", 12), batch("in-b", 6)].concat();
    for run in &runs {
        assert_eq!(fleet.ended(run)["status"], "succeeded");
    }
    let (a, b) = (fleet.lines("in-a"), fleet.lines("in-b"));
    assert_eq!((a.len(), b.len()), (12, 6));
    for worker in [&first, &second] {
        assert!(a.iter().any(|who| who == worker.worker()), "{} has done none of {a:?}", worker.name());
    }
    assert!(b.iter().all(|who| who == second.worker()), "{b:?}");
}
