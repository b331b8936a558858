//! Runs that wait for longer than a worker should, or than theirs stays.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Fleet;
use crate::cli::world::until;

/// Half a minute and a little: the shortest wait that is left to a scheduler.
const NAP: &str = "steps:
  - {id: before, run: 'echo kept > file; echo $OPSROOM_WORKER'}
  - {id: nap, needs: [before], uses: wait, with: {for: 31s}}
  - {id: after, needs: [nap], run: 'cat file; echo \"worker=$OPSROOM_WORKER\" >> $OPSROOM_OUTPUT'}
";

fn step(fleet: &Fleet, run: &str, id: &str) -> Value {
    let (status, steps) = fleet.get(&format!("/v1/runs/{run}/steps"));
    assert_eq!(status, 200, "{steps}");
    steps["items"].as_array().unwrap().iter().find(|step| step["id"] == id).unwrap().clone()
}

#[test]
fn a_run_that_waits_needs_no_worker_and_goes_on_with_its_folder_on_another_one() {
    let (fleet, _scheduler) = Fleet::with_scheduler(&[("nap", NAP)]);
    let first = fleet.worker("first", &["--slots", "1"]);
    let run = fleet.run("nap");
    until("it is given up", || fleet.row(&run)["waiting_on"] == "timer");
    assert_eq!(step(&fleet, &run, "nap")["status"], "waiting");
    let (_, why) = fleet.get(&format!("/v1/runs/{run}/why"));
    assert_eq!((&why["blockers"][0]["kind"], &why["blockers"][0]["step"]), (&"timer".into(), &"nap".into()), "{why}");
    assert!(why["wake_at"].is_string(), "{why}");
    let (_, workers) = fleet.get("/v1/workers");
    assert_eq!(workers["items"][0]["running"], 0, "{workers}");
    // Nobody misses it: it owned nothing.
    first.kill();
    let second = fleet.worker("second", &[]);
    let ended = fleet.ended(&run);
    assert_eq!((ended["status"].as_str(), ended["recoveries"].as_u64()), (Some("succeeded"), Some(0)), "{ended}");
    let nap = step(&fleet, &run, "nap");
    let taken = nap["duration_ms"].as_u64().unwrap();
    assert!((31_000..31_500).contains(&taken) && nap["attempts"] == 1, "{nap}");
    assert_eq!(step(&fleet, &run, "after")["outputs"]["worker"], second.worker());
    let (_, log) = fleet.get(&format!("/v1/runs/{run}/events?limit=200"));
    for kind in ["step_waiting", "run_parked", "workspace_stored", "run_resumed"] {
        assert!(log.to_string().contains(kind), "{kind}: {log}");
    }
}

#[test]
fn a_short_wait_does_not_keep_a_worker_that_stops() {
    let mut fleet = Fleet::new();
    let done = fleet.path("done").display().to_string();
    fleet.runbook(
        "brief",
        &format!(
            "steps:\n  - {{id: before, run: \"echo before >> '{done}'\"}}\n  - {{id: nap, needs: [before], uses: wait, with: {{for: 20s}}}}\n  \
             - {{id: after, needs: [nap], run: \"echo $OPSROOM_WORKER >> '{done}'\"}}\n"
        ),
    );
    fleet.serve();
    let _scheduler = fleet.start("scheduler", &["scheduler"]);
    until("the runbook is known", || fleet.get("/v1/runbooks/brief").0 == 200);
    let (first, asked) = (fleet.worker("first", &[]), fleet.worker("asked", &["--slots", "1"]));
    let runs = [fleet.run("brief"), fleet.run("brief")];
    for run in &runs {
        until("it waits", || step(&fleet, run, "nap")["status"] == "waiting");
        assert_eq!(fleet.row(run)["status"], "running", "a short wait stays with its worker");
    }
    let begin = Instant::now();
    let ended = first.stop();
    assert!(ended.code == Some(0) && begin.elapsed() < Duration::from_secs(3), "{:?}: {ended:?}", begin.elapsed());
    let begin = Instant::now();
    assert_eq!(fleet.post(&format!("/v1/workers/{}/drain", asked.worker()), &json!({})).0, 202);
    let mut asked = asked;
    let ended = asked.wait();
    assert!(ended.code == Some(0) && begin.elapsed() < Duration::from_secs(6), "{:?}: {ended:?}", begin.elapsed());
    for run in &runs {
        let row = fleet.row(run);
        assert_eq!((&row["status"], &row["waiting_on"]), (&"queued".into(), &"timer".into()), "{row}");
    }
    let last = fleet.worker("last", &[]);
    for run in &runs {
        let ended = fleet.ended(run);
        assert_eq!((ended["status"].as_str(), ended["recoveries"].as_u64()), (Some("succeeded"), Some(0)), "{ended}");
        let nap = step(&fleet, run, "nap");
        assert!((20_000..20_700).contains(&nap["duration_ms"].as_u64().unwrap()) && nap["attempts"] == 1, "{nap}");
    }
    assert_eq!(fleet.lines("done"), ["before", "before", last.worker(), last.worker()], "no step was repeated");
}
