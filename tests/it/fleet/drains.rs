//! Workers that end: when nothing is left, when they are told to, and when a step takes too long.

use rustix::process::Signal;

use super::Fleet;
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

#[test]
fn what_takes_too_long_goes_back_interrupted_and_on_elsewhere() {
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
    let _scheduler = fleet.start("scheduler", &["scheduler"]);
    until("the runbook is known", || fleet.get("/v1/runbooks/long").0 == 200);
    let mut first = fleet.worker("first", &["--drain-timeout", "300ms"]);
    let run = fleet.run("long");
    until("the step has begun", || fleet.lines("begun").len() == 1);
    first.signal(Signal::TERM);
    let ended = first.wait();
    assert!(ended.code == Some(1) && ended.stderr.contains("1 run cut off and handed back"), "{ended:?}");
    let row = fleet.row(&run);
    assert_eq!((row["status"].as_str(), row["recoveries"].as_u64()), (Some("queued"), Some(0)), "{row}");
    let second = fleet.worker("second", &[]);
    assert_eq!(fleet.ended(&run)["status"], "succeeded");
    assert_eq!(fleet.lines("begun")[1], second.worker());
    let (_, events) = fleet.get(&format!("/v1/runs/{run}/events?limit=200"));
    assert!(events.to_string().contains("step_interrupted"), "{events}");
}
