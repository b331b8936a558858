//! Many processes on one data folder.

use std::process::{Child, Stdio};

use super::bars::figure;
use crate::cli::world::{World, ended};

const PROCESSES: usize = 20;

/// The folder does not exist before: they make it, and the database in it, at the same time.
#[test]
fn twenty_runs_at_once_on_a_fresh_folder() {
    let world = World::new();
    world.runbook(
        "crowd",
        "params: {number: {type: integer}}\nsteps:\n  - {id: first, env: {N: \"${{ params.number }}\"}, run: \"echo I am $N\"}\n  - {id: second, needs: [first], uses: assert, with: {that: \"${{ params.number >= 0 }}\"}}\n",
    );
    let start = |number: usize| -> Child {
        let mut command = world.command(["run", "crowd.yaml", "-p"]);
        command.arg(format!("number={number}")).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let started = std::time::Instant::now();
    let children: Vec<Child> = (0..PROCESSES).map(start).collect();
    for child in children {
        let ended = ended(child.wait_with_output().unwrap());
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{ended:?}");
    }
    figure("crowd", format!("{PROCESSES} processes on one fresh folder, all succeeded, {:?}", started.elapsed()));
    let runs = world.json(["runs", "--limit", "100"]);
    let succeeded = runs["items"].as_array().unwrap().iter().filter(|run| run["status"] == "succeeded").count();
    assert_eq!(succeeded, PROCESSES, "{runs}");
    let mut said: Vec<String> = runs["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|run| world.ends(["logs", run["id"].as_str().unwrap()]).stdout)
        .collect();
    let mut expected: Vec<String> = (0..PROCESSES).map(|number| format!("I am {number}\n")).collect();
    said.sort();
    expected.sort();
    assert_eq!(said, expected);
}
