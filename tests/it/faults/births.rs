//! Processes that die while they make the data folder.

use std::{
    process::Stdio,
    time::{Duration, Instant},
};

use super::{
    bars::{count, figure},
    traces::{carriers, pause, until_gone},
};
use crate::cli::world::{PATIENCE, World};

/// The first kills come before there is a folder, the last ones in the middle of the run.
#[test]
fn a_folder_that_was_half_made_is_as_good_as_a_new_one() {
    let worlds = count(12, 120);
    let (mut left, mut made) = (0, 0);
    for number in 0..worlds {
        let world = World::new();
        world.runbook("first", "steps:\n  - {id: a, uses: assert, with: {that: true}}\n  - {id: b, needs: [a], effect: idempotent, run: [sleep, \"0.02\"]}\n");
        let start = || world.command(["run", "-q", "first.yaml"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let (started, age) = (Instant::now(), Duration::from_micros(250_000 * number / worlds));
        let mut children = [start().unwrap(), start().unwrap()];
        while started.elapsed() < age {
            pause();
        }
        for child in &mut children {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        let mark = world.path("").display().to_string();
        until_gone(carriers(&[&mark]), Instant::now(), PATIENCE);
        let next = world.ends(["run", "-q", "first.yaml"]);
        assert_eq!(next.code, Some(0), "after {age:?}: {next:?}");
        let recovered = world.ends(["recover"]);
        assert_eq!(recovered.code, Some(0), "after {age:?}: {recovered:?}");
        let runs = world.json(["runs"])["items"].clone();
        let runs = runs.as_array().unwrap();
        assert!(runs.iter().all(|run| run["status"] == "succeeded"), "after {age:?}: {runs:?}");
        left += runs.iter().filter(|run| run["recoveries"] != 0).count();
        made += runs.len() - 1;
    }
    figure(
        "births",
        format!(
            "{worlds} folders, two processes killed in each; {made} runs had been made, {left} were left behind; all ended"
        ),
    );
}
