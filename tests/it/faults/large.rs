//! Runbooks of thousands of steps.

use std::{
    fmt::Write as _,
    process::Stdio,
    time::{Duration, Instant},
};

use super::{
    bars::{count, figure, judge},
    traces::peak_memory,
};
use crate::cli::world::World;

/// What thousands of steps may add to the memory of a process, in KiB.
const ROOM: u64 = 100 << 10;

/// What a step of the large runbook may cost, by that of one of ten steps, is for `bench`: see `scripts/bars.sh`.
#[test]
fn thousands_of_steps_run_to_the_end() {
    let (steps, world) = (count(2_000, 10_000), World::new());
    let floor = {
        write(&world, "small", 10, |step| format!("needs: [s{}]", step - 1));
        measured(&world, ["run", "-q", "small.yaml"]).1
    };
    write(&world, "chain", steps, |step| format!("needs: [s{}]", step - 1));
    write(&world, "wide", steps, |_| "needs: [s0]".to_owned());
    for name in ["chain", "wide"] {
        let file = format!("{name}.yaml");
        let (validated, checking) = measured(&world, ["validate", &file]);
        let (took, running) = measured(&world, ["run", "-q", &file]);
        let shown = world.json(["show"]);
        let succeeded = shown["steps"].as_array().unwrap().iter().filter(|step| step["status"] == "succeeded").count();
        assert_eq!((shown["status"].as_str(), succeeded), (Some("succeeded"), steps));
        figure(
            "large",
            format!(
                "{name} of {steps} steps: run {took:?}, {running} KiB (of ten steps {floor} KiB, {:+} KiB)",
                running.cast_signed() - floor.cast_signed()
            ),
        );
        assert!(running.max(checking) <= floor + ROOM);
        judge(
            "large",
            format!("{name} of {steps} steps: validate {validated:?}, {checking} KiB"),
            validated < Duration::from_secs(1),
        );
    }
}

fn write(world: &World, name: &str, steps: usize, needs: impl Fn(usize) -> String) {
    let mut body = "steps:\n  - {id: s0, uses: assert, with: {that: true}}\n".to_owned();
    for step in 1..steps {
        writeln!(body, "  - {{id: s{step}, {}, uses: assert, with: {{that: true}}}}", needs(step)).unwrap();
    }
    world.runbook(name, &body);
}

/// How long a command takes, and how much memory.
fn measured<const N: usize>(world: &World, arguments: [&str; N]) -> (Duration, u64) {
    let mut command = world.command(arguments);
    let started = Instant::now();
    let (status, memory) = peak_memory(&mut command.stdout(Stdio::null()).spawn().unwrap());
    assert!(status.success(), "{arguments:?}: {status}");
    (started.elapsed(), memory)
}
