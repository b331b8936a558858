//! SIGINT while a run has many trees of processes under way, some of which do not want to go.

use std::{
    fmt::Write as _,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use super::{
    bars::{count, figure},
    traces::{carriers, pause, until_gone},
};
use crate::{
    cli::world::{Running, World, until},
    processes::world::{Mark, SHAPES},
};

/// From TERM to KILL (the default), and a second.
const WITHIN: Duration = Duration::from_secs(6);

/// Steps of one run; fewer than its slots.
const WIDTH: usize = 50;

#[test]
fn no_tree_survives_an_interrupt() {
    let (trees, mark, world) = (count(40, 200), Mark::new(), World::new());
    let widths: Vec<usize> = (0..trees).step_by(WIDTH).map(|first| WIDTH.min(trees - first)).collect();
    let sleeps: usize =
        widths.iter().flat_map(|width| SHAPES.iter().cycle().take(*width)).map(|(_, sleeps)| sleeps).sum();
    let mut runs: Vec<Running> =
        widths.iter().enumerate().map(|(number, width)| start(&world, &mark, number, *width)).collect();
    until(&format!("{sleeps} sleeps"), || mark.sleeping() >= sleeps);

    let since = Instant::now();
    for run in &runs {
        run.signal(Signal::INT);
    }
    while !mark.living().is_empty() {
        assert!(since.elapsed() < WITHIN, "after {:?}: {:#?}", since.elapsed(), mark.living());
        pause();
    }
    let gone = since.elapsed();
    for run in &mut runs {
        let ended = run.wait();
        assert_eq!(ended.code, Some(130), "{ended:?}");
    }
    let left = carriers(&[&world.path("").display().to_string()]);
    until_gone(left, since, WITHIN);
    figure(
        "cancel",
        format!("{trees} trees with {sleeps} sleeps, all gone {gone:?} after the signal (grace 5 s); exit code 130"),
    );
}

fn start(world: &World, mark: &Mark, number: usize, width: usize) -> Running {
    let mut body = format!("env: {{TEST_MARK: \"{}\"}}\nsteps:\n", mark.0);
    for (step, (script, _)) in SHAPES.iter().cycle().take(width).enumerate() {
        let script = serde_json::to_string(&script.replace("$S", &mark.sleep())).unwrap();
        writeln!(body, "  - {{id: tree_{step}, shell: sh -u, run: {script}}}").unwrap();
    }
    let name = format!("forest-{number}");
    let file = world.runbook(&name, &body);
    world.start_as(&name, ["run", file.to_str().unwrap()])
}
