//! SIGKILL of whatever executes, in the middle of many runs, again and again.

use std::{
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use super::{
    bars::{count, figure},
    journal::{Journal, STEPS},
    traces::{carriers, pause, until_gone},
};
use crate::cli::world::{PATIENCE, World};

/// How long after a kill anything of it may still be there.
const BURIAL: Duration = Duration::from_secs(2);

/// Runs are left behind by so many `opsroom run` at once.
const WAVE: usize = 8;

#[test]
fn nothing_is_lost_or_done_twice() {
    let (runs, kills) = (count(24, 200), count(6, 50));
    let started = Instant::now();
    let mut fleet = Fleet::new();
    while fleet.begun < runs {
        fleet.leave_behind();
    }
    while fleet.kills < kills {
        let resolved = fleet.resolve_held();
        if !fleet.recover_and_kill() && resolved == 0 {
            // Everything has ended before the last kill: there must be more to do.
            fleet.leave_behind();
        }
    }
    fleet.finish();
    let checked = fleet.journal.check(&fleet.world);
    let slowest = fleet.graves.iter().max().unwrap();
    let Fleet { begun, kills, waves, resolved, .. } = fleet;
    figure(
        "kill",
        format!(
            "{begun} runs, {kills} kills of one process in the middle of them, {waves} of {WAVE} processes at once; \
             {checked}; {resolved} held steps resolved; nothing left after at most {slowest:?}; {:?} in all",
            started.elapsed(),
        ),
    );
    assert_eq!(carriers(&[&fleet.mark]), std::collections::BTreeSet::new());
}

struct Fleet {
    world: World,
    journal: Journal,
    /// In the environment or on the command line of everything that is started here.
    mark: String,
    begun: usize,
    kills: usize,
    waves: usize,
    resolved: usize,
    /// How long it took after each kill until nothing was left.
    graves: Vec<Duration>,
    random: u64,
}

impl Fleet {
    fn new() -> Fleet {
        let world = World::new();
        let journal = Journal::new(&world);
        let mark = world.path("").display().to_string();
        Fleet { world, journal, mark, begun: 0, kills: 0, waves: 0, resolved: 0, graves: Vec::new(), random: 4711 }
    }

    /// The same numbers every time; when exactly a kill strikes differs anyway.
    fn random(&mut self, from: usize, to: usize) -> usize {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        from + usize::try_from(self.random >> 33).unwrap() % (to - from)
    }

    fn start<const N: usize>(&self, arguments: [&str; N]) -> Child {
        self.world.command(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    /// Starts some runs and kills their processes once each has begun a step.
    fn leave_behind(&mut self) {
        let before = self.journal.runs();
        let children: Vec<Child> = (0..WAVE).map(|_| self.start(["run", "kills.yaml"])).collect();
        wait("the runs begin", || self.journal.runs() >= before + WAVE);
        self.kill(children);
        self.begun += WAVE;
        self.waves += 1;
    }

    /// Goes on with what was left behind and kills that; false if it had ended before.
    fn recover_and_kill(&mut self) -> bool {
        let target = self.journal.ends() + self.random(10, 40);
        // Now and then two at once, which must not get into each other's way.
        let processes = 1 + usize::from(self.kills % 3 == 2);
        let mut children: Vec<Child> = (0..processes).map(|_| self.start(["recover"])).collect();
        let mut ended = false;
        wait("steps end", || {
            ended = children.iter_mut().all(|child| child.try_wait().unwrap().is_some());
            ended || self.journal.ends() >= target
        });
        if !ended {
            self.kill(children);
            self.kills += 1;
        }
        !ended
    }

    fn kill(&mut self, mut children: Vec<Child>) {
        for child in &mut children {
            child.kill().unwrap();
        }
        let since = Instant::now();
        for child in &mut children {
            child.wait().unwrap();
        }
        let left = carriers(&[&self.mark]);
        if self.graves.len() % 2 == 1 {
            // Whoever follows need not wait for it.
            let mut next = self.start(["recover"]);
            self.graves.push(until_gone(left, since, BURIAL));
            next.kill().unwrap();
            let since = Instant::now();
            next.wait().unwrap();
            self.graves.push(until_gone(carriers(&[&self.mark]), since, BURIAL));
        } else {
            self.graves.push(until_gone(left, since, BURIAL));
        }
    }

    /// Says of every held step what became of it, each answer in its turn.
    fn resolve_held(&mut self) -> usize {
        let page = self.world.json(["runs", "--status", "queued", "--limit", "1000"]);
        let held = page["items"].as_array().unwrap().iter().filter(|run| run["waiting_on"] == "step_outcome");
        let mut count = 0;
        for run in held {
            let run = run["id"].as_str().unwrap();
            let shown = self.world.json(["show", run]);
            for step in shown["steps"].as_array().unwrap().iter().filter(|step| step["status"] == "unknown") {
                let verdict = ["retry", "succeeded", "retry", "failed"][self.resolved % 4];
                let ended = self.world.ends(["resolve", run, step["id"].as_str().unwrap(), verdict]);
                assert_eq!(ended.code, Some(0), "{ended:?}");
                self.resolved += 1;
                count += 1;
            }
        }
        count
    }

    fn finish(&mut self) {
        for _ in 0..STEPS.len() {
            self.resolve_held();
            let ended = self.world.ends(["recover"]);
            assert!(matches!(ended.code, Some(0 | 1 | 3)), "{ended:?}");
            if ended.code != Some(3) {
                return;
            }
        }
        panic!("runs are held again and again");
    }
}

fn wait(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        pause();
    }
}
