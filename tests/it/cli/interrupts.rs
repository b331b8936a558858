//! Cancelling: by signals and from another process.

use rustix::process::Signal;

use super::world::World;

const SLOW: &str = "\
steps: [{id: work, run: \"touch started; exec sleep 600\", env: {X: y}}]
on_cancel: [{id: undo, run: [touch, UNDONE]}]
finally: [{id: tidy, run: [touch, TIDIED]}]
";

/// A runbook whose steps leave their marks beside it.
fn slow(world: &World, body: &str) {
    let here = world.path("");
    let here = here.to_str().unwrap();
    let body = body
        .replace("touch started", &format!("touch {here}started"))
        .replace("UNDONE", &format!("{here}undone"))
        .replace("TIDIED", &format!("{here}tidied"));
    world.runbook("slow", &body);
}

#[test]
fn a_signal_cancels_and_the_handlers_run() {
    for signal in [Signal::INT, Signal::TERM] {
        let world = World::new();
        slow(&world, SLOW);
        let mut run = world.start(["run", "slow.yaml"]);
        world.wait_for("started");
        run.signal(signal);
        let ended = run.wait();
        assert_eq!(ended.code, Some(130), "{ended:?}");
        assert!(ended.stderr.contains("cancelling") && ended.stdout.contains("slow cancelled"), "{ended:?}");
        assert!(world.path("undone").exists() && world.path("tidied").exists(), "{ended:?}");
        assert_eq!(world.json(["show"])["status"], "cancelled");
    }
}

#[test]
fn a_second_signal_ends_the_handlers_too() {
    let world = World::new();
    slow(&world, &SLOW.replace("[touch, UNDONE]", "[sleep, \"600\"]"));
    let mut run = world.start(["run", "slow.yaml"]);
    world.wait_for("started");
    run.signal(Signal::INT);
    run.said("undo started");
    run.signal(Signal::INT);
    let ended = run.wait();
    assert_eq!(ended.code, Some(130), "{ended:?}");
    assert!(ended.stderr.contains("by force") && !world.path("tidied").exists(), "{ended:?}");
    assert_eq!(world.json(["show"])["status"], "cancelled");
}

#[test]
fn a_step_that_never_stops_talking_keeps_neither_a_signal_nor_a_timeout_waiting() {
    let world = World::new();
    slow(&world, "steps: [{id: work, run: \"touch started; exec yes\"}]\n");
    let mut run = world.start(["run", "--quiet", "slow.yaml"]);
    world.wait_for("started");
    run.signal(Signal::INT);
    assert_eq!(run.wait().code, Some(130));

    slow(&world, "timeout: 1s\nsteps: [{id: work, run: yes}]\n");
    assert_eq!(world.start(["run", "--quiet", "slow.yaml"]).wait().code, Some(1));
    assert_eq!(world.json(["show"])["status"], "timed_out");
}

#[test]
fn a_third_signal_ends_the_process_and_its_children() {
    let world = World::new();
    let stubborn = "trap '' TERM; echo $$ > PID.new; mv PID.new PID; while :; do sleep 1; done";
    let here = world.path("pid");
    let script = stubborn.replace("PID", here.to_str().unwrap());
    world.runbook("stubborn", &format!("steps: [{{id: work, run: \"{script}\"}}]\n"));
    let mut run = world.start(["run", "stubborn.yaml"]);
    world.wait_for("pid");
    run.signal(Signal::INT);
    run.said("cancelling: ");
    run.signal(Signal::INT);
    run.said("by force");
    run.signal(Signal::INT);
    assert_eq!(run.wait().code, Some(130));
    let pid = std::fs::read_to_string(world.path("pid")).unwrap();
    super::world::until("its child is gone", || !std::path::Path::new("/proc").join(pid.trim()).exists());
}

#[test]
fn another_process_can_cancel() {
    let world = World::new();
    slow(&world, SLOW);
    let mut run = world.start(["run", "slow.yaml"]);
    world.wait_for("started");
    let cancel = world.ends(["cancel", "@latest", "--reason", "wrong hosts"]);
    assert_eq!((cancel.code, cancel.stderr.as_str()), (Some(0), ""), "{cancel:?}");
    let ended = run.wait();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stdout.contains("cancelled by ann: wrong hosts"), "{ended:?}");
    assert!(world.path("undone").exists());
}

#[test]
fn processes_run_so_many_at_once_and_those_that_wait_for_their_turn_can_be_cancelled() {
    let world = World::new();
    let here = world.path("");
    let here = here.to_str().unwrap();
    let step = |n: usize, work: &str| {
        let counted = format!("touch {here}at-work.{n}; ls {here} | grep -c at-work >> {here}counts");
        format!("  - {{id: s{n}, run: \"{counted}; {work}; rm {here}at-work.{n}\"}}\n")
    };
    let six = |work| format!("steps:\n{}", (0..6).map(|n| step(n, work)).collect::<String>());
    let bounded = |runbook| {
        let mut command = world.command(["run", runbook]);
        command.env("OPSROOM_PROCESSES", "2");
        world.launch(runbook, command)
    };
    world.runbook("short", &six("sleep 0.2"));
    assert_eq!(bounded("short.yaml").wait().code, Some(0));
    let counts = std::fs::read_to_string(world.path("counts")).unwrap();
    assert_eq!(counts.lines().count(), 6, "{counts}");
    assert!(counts.lines().all(|line| ["1", "2"].contains(&line)) && counts.contains('2'), "{counts}");

    world.runbook("long", &six("sleep 600"));
    let mut run = bounded("long.yaml");
    super::world::until("two are at work", || {
        std::fs::read_to_string(world.path("counts")).unwrap().lines().count() == 8
    });
    run.signal(Signal::INT);
    assert_eq!(run.wait().code, Some(130));
    let steps = world.json(["show"])["steps"].clone();
    let cancelled = |step: &serde_json::Value| step["status"] == "cancelled";
    assert!(steps.as_array().unwrap().iter().all(cancelled), "{steps}");
}
