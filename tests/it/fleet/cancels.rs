//! Cancels that reach steps in other processes.

use std::time::{Duration, Instant};

use serde_json::json;

use super::Fleet;
use crate::cli::world::until;

fn slow(fleet: &Fleet) {
    let begun = fleet.path("begun").display().to_string();
    fleet.runbook("slow", &format!("steps:\n  - {{id: a, run: \"echo $$ >> '{begun}'; sleep 600\"}}\n"));
}

#[test]
fn a_cancel_reaches_a_step_on_another_machine() {
    let mut fleet = Fleet::new();
    slow(&fleet);
    fleet.serve();
    let _scheduler = fleet.start("scheduler", &["scheduler"]);
    until("the runbook is known", || fleet.get("/v1/runbooks/slow").0 == 200);
    let _worker = fleet.worker("worker", &[]);
    let run = fleet.run("slow");
    until("the step has begun", || fleet.lines("begun").len() == 1);
    let asked = Instant::now();
    assert_eq!(fleet.post(&format!("/v1/runs/{run}/cancel"), &json!({"reason": "enough"})).0, 202);
    assert_eq!(fleet.ended(&run)["status"], "cancelled");
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    let pid = fleet.lines("begun")[0].clone();
    until("the process is gone", || !std::path::Path::new(&format!("/proc/{pid}")).exists());
}

#[test]
fn a_cancel_ends_a_run_whose_owner_is_dead() {
    let mut fleet = Fleet::new();
    slow(&fleet);
    fleet.serve();
    let _scheduler = fleet.start("scheduler", &["scheduler"]);
    until("the runbook is known", || fleet.get("/v1/runbooks/slow").0 == 200);
    let worker = fleet.worker("worker", &[]);
    let run = fleet.run("slow");
    until("the step has begun", || fleet.lines("begun").len() == 1);
    worker.kill();
    assert_eq!(fleet.post(&format!("/v1/runs/{run}/cancel"), &json!({})).0, 202);
    let _other = fleet.worker("other", &[]);
    assert_eq!(fleet.ended(&run)["status"], "cancelled");
    assert_eq!(fleet.lines("begun").len(), 1, "it was not begun again");
}
