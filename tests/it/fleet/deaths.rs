//! Workers that die, or stand still.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::{Fleet, launch::LEASE};
use crate::cli::world::{pause_for, until};

/// A step that says who runs it, waits while there is a file `wait`, and says that it is done.
fn patient(fleet: &Fleet) {
    let folder = fleet.path("").display().to_string();
    fleet.runbook(
        "patient",
        &format!(
            "steps:\n  - id: a\n    effect: idempotent\n    run: |\n      cd '{folder}'\n      echo $OPSROOM_WORKER >> begun\n      \
             while [ -e wait ]; do sleep 0.02; done\n      echo $OPSROOM_WORKER >> done\n"
        ),
    );
}

fn scene() -> (Fleet, super::Member) {
    let mut fleet = Fleet::new();
    patient(&fleet);
    std::fs::write(fleet.path("wait"), "").unwrap();
    fleet.serve();
    let scheduler = fleet.start("scheduler", &["scheduler"]);
    until("the runbook is known", || fleet.get("/v1/runbooks/patient").0 == 200);
    (fleet, scheduler)
}

#[test]
fn the_run_of_a_killed_worker_goes_on_elsewhere_within_a_lease_and_a_second() {
    let (fleet, _scheduler) = scene();
    let first = fleet.worker("first", &[]);
    let run = fleet.run("patient");
    until("the step has begun", || fleet.lines("begun").len() == 1);
    let second = fleet.worker("second", &[]);
    first.kill();
    let killed = Instant::now();
    until("the step has begun again", || fleet.lines("begun").len() == 2);
    let after = killed.elapsed();
    assert!(after < LEASE + Duration::from_millis(1_500), "{after:?}");
    assert_eq!(fleet.lines("begun")[1], second.worker());
    std::fs::remove_file(fleet.path("wait")).unwrap();
    let run = fleet.ended(&run);
    assert_eq!((run["status"].as_str(), run["recoveries"].as_u64()), (Some("succeeded"), Some(1)), "{run}");
    assert_eq!(fleet.lines("done"), [second.worker()], "what the dead one had begun is dead, too");
}

/// Long before its lease has told everybody; and nobody else gets the run, though there is a free slot.
#[test]
fn a_worker_that_is_started_again_goes_on_where_the_folder_is() {
    let mut fleet = Fleet::new();
    fleet.lease = Duration::from_secs(30);
    let folder = fleet.path("").display().to_string();
    fleet.runbook(
        "keeps",
        &format!(
            "steps:\n  - {{id: first, run: 'echo kept > file'}}\n  - id: second\n    needs: [first]\n    effect: idempotent\n    \
             run: |\n      cat file >> '{folder}/found'\n      echo $OPSROOM_WORKER >> '{folder}/begun'\n      \
             while [ -e '{folder}/wait' ]; do sleep 0.02; done\n"
        ),
    );
    std::fs::write(fleet.path("wait"), "").unwrap();
    fleet.serve();
    let _scheduler = fleet.start("scheduler", &["scheduler"]);
    until("the runbook is known", || fleet.get("/v1/runbooks/keeps").0 == 200);
    let first = fleet.worker("first", &[]);
    let run = fleet.run("keeps");
    until("the step has begun", || fleet.lines("begun").len() == 1);
    let _other = fleet.worker("other", &[]);
    first.kill();
    let killed = Instant::now();
    let again = fleet.worker("first", &[]);
    until("the step has begun again", || fleet.lines("begun").len() == 2);
    assert!(killed.elapsed() < Duration::from_secs(20), "{:?}", killed.elapsed());
    assert_eq!(fleet.lines("begun")[1], again.worker());
    std::fs::remove_file(fleet.path("wait")).unwrap();
    let run = fleet.ended(&run);
    assert_eq!((run["status"].as_str(), run["recoveries"].as_u64()), (Some("succeeded"), Some(1)), "{run}");
    assert_eq!(fleet.lines("found"), ["kept", "kept"]);
}

#[test]
fn a_worker_that_stood_still_ends_what_it_had_and_goes_on_under_a_new_id() {
    let (fleet, _scheduler) = scene();
    let first = fleet.worker("first", &[]);
    let run = fleet.run("patient");
    until("the step has begun", || fleet.lines("begun").len() == 1);
    first.signal(Signal::STOP);
    let second = fleet.worker("second", &[]);
    until("the step has begun again", || fleet.lines("begun").len() == 2);
    first.signal(Signal::CONT);
    until("it knows that it has lost", || first.log().contains("LEASE_LOST"));
    until("it is a worker again", || first.log().contains("under a new id"));
    std::fs::remove_file(fleet.path("wait")).unwrap();
    let run = fleet.ended(&run);
    assert_eq!((run["status"].as_str(), run["recoveries"].as_u64()), (Some("succeeded"), Some(1)), "{run}");
    pause_for(Duration::from_millis(200));
    assert_eq!(fleet.lines("done"), [second.worker()]);
    // It takes runs again.
    second.kill();
    let again = fleet.run("patient");
    assert_eq!(fleet.ended(&again)["status"], "succeeded");
    until("it is ready", || first.get("/readyz").0 == 200);
}
