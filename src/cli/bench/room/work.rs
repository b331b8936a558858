//! Runs over HTTP: how they are started, waited for and counted.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::time::sleep;

use super::{super::BenchError, client::Client};

/// How long runs may take before the measurement is given up.
const PATIENCE: Duration = Duration::from_mins(10);

/// Runs that have not ended.
const LIVE: &str = "status=queued&status=claimed&status=running";

/// Starts one run and answers its id.
pub(super) async fn start(client: &mut Client, runbook: &str, params: Value) -> Result<String, BenchError> {
    let body = json!({ "runbook": runbook, "params": params }).to_string();
    let run = client.post("/v1/runs", body).await?;
    Ok(run["id"].as_str().unwrap_or_default().to_owned())
}

/// The body that starts these runbooks, one run each.
pub(super) fn batch<'a>(runbooks: impl IntoIterator<Item = &'a str>) -> String {
    let runs: Vec<Value> = runbooks.into_iter().map(|runbook| json!({ "runbook": runbook })).collect();
    json!({ "runs": runs }).to_string()
}

/// Waits until nothing is queued or under way, looking this often.
pub(super) async fn until_idle(client: &mut Client, every: Duration) -> Result<(), BenchError> {
    let deadline = Instant::now() + PATIENCE;
    let path = format!("/v1/runs?limit=1&{LIVE}");
    while client.get(&path).await?["items"].as_array().is_none_or(|items| !items.is_empty()) {
        if Instant::now() > deadline {
            return Err(BenchError::TooLong("the runs".to_owned()));
        }
        sleep(every).await;
    }
    Ok(())
}

/// Runs queued or under way, in all lanes.
pub(super) async fn live(client: &mut Client) -> Result<u64, BenchError> {
    let lanes = client.get("/v1/lanes").await?;
    let count = |lane: &Value| lane["queued"].as_u64().unwrap_or(0) + lane["running"].as_u64().unwrap_or(0);
    Ok(lanes["items"].as_array().map_or(0, |lanes| lanes.iter().map(count).sum()))
}

/// Waits for the end of one run, which must succeed, and answers its document.
pub(super) async fn until_ended(client: &mut Client, run: &str) -> Result<Value, BenchError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let run = client.get(&format!("/v1/runs/{run}")).await?;
        if run["ended_at"].is_string() {
            let status = run["status"].as_str().unwrap_or_default();
            return if status == "succeeded" { Ok(run) } else { Err(BenchError::NotSucceeded(run.to_string())) };
        }
        if Instant::now() > deadline {
            return Err(BenchError::TooLong(format!("run {run}")));
        }
        sleep(Duration::from_millis(20)).await;
    }
}

/// Pages through all runs and answers how many succeeded, and how many steps these have.
pub(super) async fn succeeded(client: &mut Client) -> Result<(u64, u64), BenchError> {
    let (mut runs, mut steps) = (0, 0);
    let mut cursor = String::new();
    loop {
        let page = client.get(&format!("/v1/runs?limit=200&status=succeeded{cursor}")).await?;
        for run in page["items"].as_array().into_iter().flatten() {
            runs += 1;
            steps += run["steps_total"].as_u64().unwrap_or_default();
        }
        let Some(next) = page["next_cursor"].as_str() else { return Ok((runs, steps)) };
        cursor = format!("&cursor={next}");
    }
}

/// The sequences of the durable events of a run, in the order of its history.
pub(super) async fn history(client: &mut Client, run: &str) -> Result<Vec<u64>, BenchError> {
    let mut sequences = Vec::new();
    let mut start = String::new();
    loop {
        let page = client.get(&format!("/v1/runs/{run}/events?limit=1000{start}")).await?;
        let durable = |event: &&Value| event["event"]["category"] != "system" || event["event"]["action"] != "log";
        let events = page["events"].as_array().into_iter().flatten().filter(durable);
        sequences.extend(events.filter_map(|event| event["sequence"].as_u64()));
        let Some(next) = page["next_id"].as_str() else { return Ok(sequences) };
        start = format!("&start_id={next}");
    }
}

/// Fails unless exactly this many runs, of this many steps each, have succeeded.
pub(super) async fn expect(client: &mut Client, runs: u64, steps: u64) -> Result<(), BenchError> {
    let (found_runs, found_steps) = succeeded(client).await?;
    for (what, found, expected) in [("runs", found_runs, runs), ("steps", found_steps, runs * steps)] {
        if found != expected {
            return Err(BenchError::NotRecorded { what, found, expected });
        }
    }
    Ok(())
}

/// Steps that do nothing, one after another: the rest of a runbook.
pub(super) fn chain(steps: usize) -> String {
    let step = |i: usize| {
        let needs = if i == 0 { String::new() } else { format!("needs: [s{}], ", i - 1) };
        format!("  - {{id: s{i}, {needs}uses: assert, with: {{that: true}}}}\n")
    };
    format!("steps:\n{}", (0..steps).map(step).collect::<String>())
}

/// Asks for `path` every `pause` until `stop` is true, and answers how long each answer took.
pub(super) async fn probe(
    client: &mut Client,
    path: &str,
    pause: Duration,
    stop: impl Fn() -> bool,
) -> Result<Vec<Duration>, BenchError> {
    let mut samples = Vec::new();
    while !stop() {
        let asked = Instant::now();
        let (status, _) = client.get_bytes(path).await?;
        samples.push(asked.elapsed());
        if status != 200 {
            return Err(BenchError::Broken(format!("GET {path} answered {status} while the server was busy")));
        }
        sleep(pause).await;
    }
    Ok(samples)
}
