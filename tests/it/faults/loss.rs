//! The supervisor of the steps' processes dies: alone, or together with its worker.

use std::{collections::BTreeSet, process::Command, time::Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::traces::{Traced, carriers, until_gone};
use crate::{
    cli::world::{PATIENCE, Running, World, until},
    processes::world::Mark,
};

/// `work` says that it began, and does not end before there is a file `go`.
struct Scene {
    world: World,
    mark: Mark,
    run: Running,
}

impl Scene {
    fn new(effect: &str) -> Scene {
        let (world, mark) = (World::new(), Mark::new());
        let here = world.path("").display().to_string();
        let body = format!(
            "env: {{HERE: \"{here}\", TEST_MARK: \"{}\"}}\nsteps:\n  - id: work\n    effect: {effect}\n    run: |\n      echo $$ >> \"$HERE/began\"\n      if [ ! -e \"$HERE/go\" ]; then setsid {sleep} & {sleep}; fi\n",
            mark.0,
            sleep = mark.sleep()
        );
        world.runbook("work", &body);
        let run = world.start(["run", "work.yaml"]);
        until("the step runs", || mark.sleeping() == 2);
        std::fs::write(world.path("go"), "").unwrap();
        Scene { world, mark, run }
    }

    fn supervisor(&self) -> Traced {
        let ours = carriers(&[&self.world.path("").display().to_string()]);
        let mut supervisors = ours.into_iter().filter(|process| process.command.contains("__supervise"));
        let only = supervisors.next().unwrap();
        assert_eq!(supervisors.next(), None);
        only
    }

    fn began(&self) -> usize {
        std::fs::read_to_string(self.world.path("began")).unwrap().lines().count()
    }

    /// Nothing of the first attempt is left, and nothing else of ours.
    fn is_clean(&self) {
        assert_eq!(self.mark.living(), Vec::<String>::new());
        until_gone(carriers(&[&self.world.path("").display().to_string()]), Instant::now(), PATIENCE);
    }
}

fn send(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), signal).unwrap();
}

#[test]
fn without_its_supervisor_an_idempotent_step_runs_again() {
    let mut scene = Scene::new("idempotent");
    send(scene.supervisor().pid, Signal::KILL);
    let ended = scene.run.wait();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!((scene.began(), &scene.world.json(["show"])["steps"][0]["attempts"]), (2, &2.into()));
    scene.is_clean();
}

#[test]
fn without_its_supervisor_another_step_is_held() {
    let mut scene = Scene::new("at_most_once");
    send(scene.supervisor().pid, Signal::KILL);
    let ended = scene.run.wait();
    assert_eq!(ended.code, Some(3), "{ended:?}");
    let how =
        format!("opsroom resolve {} work retry|succeeded|failed", scene.world.json(["show"])["id"].as_str().unwrap());
    assert!(ended.stdout.contains(&how), "{ended:?}");
    assert_eq!((scene.began(), &scene.world.json(["show"])["waiting_on"]), (1, &"step_outcome".into()));
    scene.is_clean();
    scene.world.ends(["resolve", "@latest", "work", "succeeded"]);
    let recovered = scene.world.ends(["recover"]);
    assert_eq!((recovered.code, scene.began()), (Some(0), 1), "{recovered:?}");
}

/// As when the machine runs out of memory: neither can act on the other's end, and the step lives on.
#[test]
fn what_outlived_worker_and_supervisor_is_killed_and_nothing_else() {
    let mut scene = Scene::new("idempotent");
    let here = scene.world.path("").display().to_string();
    let mut foreign = Command::new("sleep").arg("90000").env("OPSROOM_DATA_DIR", &here).spawn().unwrap();
    let supervisor = scene.supervisor();
    scene.run.signal(Signal::STOP);
    send(supervisor.pid, Signal::KILL);
    scene.run.kill();
    until_gone(BTreeSet::from([supervisor]), Instant::now(), PATIENCE);
    assert_eq!(scene.mark.sleeping(), 2, "the step lives on");
    let report = scene.world.json(["recover"]);
    assert_eq!(report["runs"][0]["status"], "succeeded", "{report}");
    assert!(report["killed_processes"].as_u64().unwrap() >= 2, "{report}");
    assert_eq!(scene.began(), 2);
    assert!(foreign.try_wait().unwrap().is_none(), "it was not ours to kill");
    foreign.kill().unwrap();
    foreign.wait().unwrap();
    scene.is_clean();
}
