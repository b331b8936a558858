//! After a kill: held steps, `resolve`, `recover`.

use super::world::{World, until};

/// `work` says how often it began; the first time it does not end.
fn runbook(world: &World, effect: &str) {
    let here = world.path("");
    let here = here.to_str().unwrap().trim_end_matches('/');
    let body = format!(
        "steps:\n  - id: work\n    effect: {effect}\n    env: {{HERE: \"{here}\"}}\n    run: |\n      echo $$ >> \"$HERE/began\"\n      if [ ! -e \"$HERE/go\" ]; then touch \"$HERE/started\"; sleep 600; fi\n  - {{id: after, needs: [work], uses: log, with: {{message: done}}}}\n"
    );
    world.runbook("work", &body);
}

fn kill_in_the_middle(world: &World) {
    let mut run = world.start(["run", "work.yaml"]);
    world.wait_for("started");
    run.kill();
    std::fs::write(world.path("go"), "").unwrap();
    let pid = began(world).remove(0);
    until("the step's process is gone", || !std::path::Path::new("/proc").join(&pid).exists());
}

fn began(world: &World) -> Vec<String> {
    std::fs::read_to_string(world.path("began")).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn an_idempotent_step_runs_again() {
    let world = World::new();
    runbook(&world, "idempotent");
    kill_in_the_middle(&world);
    let other = world.runbook("other", "steps: [{id: a, uses: assert, with: {that: true}}]\n");
    let mentioned = world.ends(["run", other.to_str().unwrap()]);
    assert!(mentioned.code == Some(0) && mentioned.stderr.contains("1 run was left behind"), "{mentioned:?}");
    assert!(world.ends(["show", "@latest~1"]).stdout.contains("opsroom recover"));
    let recovered = world.ends(["recover"]);
    assert_eq!(recovered.code, Some(0), "{recovered:?}");
    assert!(recovered.stdout.contains("work succeeded"), "{recovered:?}");
    let shown = world.json(["show", "@latest~1"]);
    assert_eq!((&shown["steps"][0]["attempts"], &shown["recoveries"]), (&2.into(), &1.into()));
    assert_eq!(began(&world).len(), 2);
    let again = world.ends(["recover"]);
    assert!(again.code == Some(0) && again.stdout.contains("nothing was left behind"), "{again:?}");
    assert_eq!(std::fs::read_dir(world.data().join("workers")).unwrap().count(), 0, "no lock stays");
}

#[test]
fn another_step_is_held_until_somebody_says_what_it_did() {
    for (verdict, code, began_in_all) in [("succeeded", 0, 1), ("failed", 1, 1), ("retry", 0, 2)] {
        let world = World::new();
        runbook(&world, "at_most_once");
        kill_in_the_middle(&world);
        let held = world.ends(["recover"]);
        assert_eq!(held.code, Some(3), "{held:?}");
        assert!(held.stdout.contains("opsroom resolve") && held.stdout.contains(" work retry|"), "{held:?}");
        let shown = world.json(["show"]);
        assert_eq!((&shown["waiting_on"], &shown["steps"][0]["status"]), (&"step_outcome".into(), &"unknown".into()));
        let resolved = world.ends(["resolve", "@latest", "work", verdict, "--note", "looked"]);
        assert_eq!(resolved.code, Some(0), "{resolved:?}");
        let recovered = world.ends(["recover"]);
        assert_eq!(recovered.code, Some(code), "{recovered:?}");
        assert_eq!(began(&world).len(), began_in_all, "{verdict}");
    }
}

#[test]
fn a_run_left_behind_can_be_cancelled() {
    let world = World::new();
    runbook(&world, "idempotent");
    kill_in_the_middle(&world);
    let cancel = world.ends(["cancel", "@latest"]);
    assert!(cancel.code == Some(0) && cancel.stderr.contains("opsroom recover"), "{cancel:?}");
    let report = world.json(["recover"]);
    assert_eq!(report["runs"][0]["status"], "cancelled", "{report}");
    assert_eq!(began(&world).len(), 1);
}
