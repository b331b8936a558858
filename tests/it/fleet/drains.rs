//! Workers that end: when nothing is left, when they are told to, and when a step takes too long.

use rustix::process::Signal;

use super::{Fleet, Member};
use crate::cli::world::until;

#[test]
fn a_draining_worker_does_what_waits_and_ends() {
    let (fleet, _scheduler) = Fleet::with_scheduler(&[
        ("quick", "steps:\n  - {id: a, run: \"sleep 0.1\"}\n"),
        ("other", "lane: B\nsteps:\n  - {id: a, run: \"true\"}\n"),
    ]);
    let runs: Vec<String> = (0..20).map(|_| fleet.run("quick")).collect();
    let elsewhere = fleet.run("other");
    let mut worker = fleet.start("worker", &["worker", "--drain", "--lanes", "A", "--slots", "4"]);
    let ended = worker.wait();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    for run in &runs {
        assert_eq!(fleet.row(run)["status"], "succeeded");
    }
    assert_eq!(fleet.row(&elsewhere)["status"], "queued", "it is in a lane that was not asked for");
    let mut idle = fleet.start("idle", &["worker", "--drain", "--lanes", "C,D"]);
    assert_eq!(idle.wait().code, Some(0));
}

/// A fleet with a run whose first attempt takes ten minutes, under way on a worker.
fn long(options: &[&str]) -> (Fleet, Vec<Member>, String) {
    let mut fleet = Fleet::new();
    let folder = fleet.path("").display().to_string();
    fleet.runbook(
        "long",
        &format!(
            "steps:\n  - id: a\n    effect: idempotent\n    run: |\n      cd '{folder}'\n      echo $OPSROOM_WORKER >> begun\n      \
             [ $(wc -l < begun) -gt 1 ] || sleep 600\n"
        ),
    );
    fleet.serve();
    let scheduler = fleet.start("scheduler", &["scheduler"]);
    until("the runbook is known", || fleet.get("/v1/runbooks/long").0 == 200);
    let first = fleet.worker("first", options);
    let run = fleet.run("long");
    until("the step has begun", || fleet.lines("begun").len() == 1);
    (fleet, vec![first, scheduler], run)
}

/// The worker has ended and handed the run back; another one goes on with it.
fn goes_on(fleet: &Fleet, first: &mut Member, run: &str) {
    let ended = first.wait();
    assert!(ended.code == Some(1) && ended.stderr.contains("1 run cut off and handed back"), "{ended:?}");
    let row = fleet.row(run);
    assert_eq!((row["status"].as_str(), row["recoveries"].as_u64()), (Some("queued"), Some(0)), "{row}");
    let second = fleet.worker("second", &[]);
    assert_eq!(fleet.ended(run)["status"], "succeeded");
    assert_eq!(fleet.lines("begun")[1], second.worker());
    let (_, events) = fleet.get(&format!("/v1/runs/{run}/events?limit=200"));
    assert!(events.to_string().contains("step_interrupted"), "{events}");
}

#[test]
fn what_takes_too_long_goes_back_interrupted_and_on_elsewhere() {
    let (fleet, mut members, run) = long(&["--drain-timeout", "300ms"]);
    members[0].signal(Signal::TERM);
    goes_on(&fleet, &mut members[0], &run);
}

#[test]
fn a_worker_that_somebody_asks_to_end_gives_its_runs_the_same_time() {
    let (fleet, mut members, run) = long(&["--drain-timeout", "300ms"]);
    let ask = |worker: &str| fleet.command(&["workers", "drain", worker]).output().unwrap();
    let unknown = ask("ffff");
    assert_eq!(unknown.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("WORKER_NOT_FOUND"), "{unknown:?}");
    // The beginning of its id is enough.
    let asked = ask(&members[0].worker()[..20]);
    assert!(asked.status.success(), "{asked:?}");
    goes_on(&fleet, &mut members[0], &run);
}

#[test]
fn everybody_sees_that_a_worker_stops() {
    let (fleet, mut members, _) = long(&[]);
    members[0].signal(Signal::TERM);
    until("it is shown as draining", || fleet.get("/v1/workers").1["items"][0]["status"] == "draining");
    members[0].signal(Signal::TERM);
    assert_eq!(members[0].wait().code, Some(130));
}
