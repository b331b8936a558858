//! Every process is replaced while runs come and go.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use serde_json::json;

use super::{Fleet, Member};
use crate::cli::world::{pause_for, until};

/// Runs that are submitted while the fleet is replaced.
const RUNS: usize = 300;

#[test]
fn a_rolling_restart_under_load_fails_no_run_and_repeats_none() {
    let mut fleet = Fleet::new();
    let file = fleet.path("done").display().to_string();
    // Nothing here may be done twice, and a worker that dies over it holds its run for a person.
    fleet.runbook(
        "short",
        &format!(
            "params: {{n: {{type: integer}}}}\nsteps:\n  - {{id: a, uses: assert, with: {{that: true}}}}\n  \
             - id: b\n    needs: [a]\n    env: {{N: \"${{{{ params.n }}}}\"}}\n    run: \"sleep 0.05; echo $N >> '{file}'\"\n"
        ),
    );
    fleet.serve();
    let mut schedulers = vec![fleet.start("scheduler-0", &["scheduler"])];
    until("the runbook is known", || fleet.get("/v1/runbooks/short").0 == 200);
    let worker = |name: &str| fleet.worker(name, &["--slots", "8"]);
    let mut workers = vec![worker("worker-0"), worker("worker-1")];
    let submitted = AtomicBool::new(false);
    let runs: Vec<String> = thread::scope(|scope| {
        let submitting = scope.spawn(|| {
            let submit = |n| {
                pause_for(Duration::from_millis(15));
                fleet.run_with(&json!({"runbook": "short", "params": {"n": n}}))
            };
            let runs = (0..RUNS).map(submit).collect();
            submitted.store(true, Ordering::SeqCst);
            runs
        });
        let mut next = 2;
        while !submitted.load(Ordering::SeqCst) {
            // The new one first, as a rolling update does.
            workers.push(worker(&format!("worker-{next}")));
            stop(workers.remove(0));
            schedulers.push(fleet.start(&format!("scheduler-{next}"), &["scheduler"]));
            stop(schedulers.remove(0));
            next += 1;
        }
        assert!(next > 3, "only {next} were started");
        submitting.join().unwrap()
    });
    for run in &runs {
        let run = fleet.ended(run);
        assert_eq!((run["status"].as_str(), run["recoveries"].as_u64()), (Some("succeeded"), Some(0)), "{run}");
    }
    let lines = fleet.lines("done");
    let done: BTreeSet<&String> = lines.iter().collect();
    assert_eq!((lines.len(), done.len()), (RUNS, RUNS), "each was done once");
}

fn stop(member: Member) {
    let name = member.name().to_owned();
    let ended = member.stop();
    assert_eq!(ended.code, Some(0), "{name}: {ended:?}");
}
