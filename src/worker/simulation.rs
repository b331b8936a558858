//! Deterministic simulation: the real owners, committer, fence, leases, reaper, services and engine over simulated ports
//! with seeded faults. Time is tokio's paused clock, so a seed replays exactly.
//!
//! In three of four worlds workers live by leases: processes are killed, stopped and go on, their lines to the store are
//! cut, hold everything or the answers back and heal, machines' clocks are off and drift, the clock of the database is
//! set and other servers take over, and several processes sweep. In the fourth locks say who is dead, and processes that
//! are taken for dead go on.
//!
//! `OPSROOM_SOAK=1 cargo test --release --lib simulation` plays 100,000 seeds, `OPSROOM_SIM_SEEDS=5000` so many
//! (from `OPSROOM_SIM_FROM` on), and `OPSROOM_SIM_SEED=4711` one, and tells what happens in it.

mod check;
mod fleet;
mod host;
mod line;
mod ports;
mod process;
mod scene;
mod truth;
mod work;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde_json::Map;
use tokio::{sync::oneshot, time::Instant};

use self::{
    check::check_run,
    fleet::{Fleet, open_runs, runs_of},
    scene::{Faults, Scene},
};
use crate::{
    control::{LeaseConfig, Submission, Wishes},
    engine::{
        Verdict,
        testing::{Rng, generated_plan},
    },
    model::{RunId, RunStatus},
    ports::Trigger,
    runbook::Plan,
};

/// Seeds played by the normal test run, and by a soak.
const SEEDS: u64 = 2_000;
const SOAK: u64 = 100_000;

/// After so much simulated time, at most, nothing is broken any more.
const DISTURBED: Duration = Duration::from_mins(2);

/// Simulated time after which a run counts as stuck.
const STUCK: Duration = Duration::from_hours(1);

#[expect(clippy::disallowed_methods, reason = "the flag of this test")]
fn flag(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap())
}

fn seeds() -> std::ops::Range<u64> {
    if let Some(seed) = flag("OPSROOM_SIM_SEED") {
        return seed..seed + 1;
    }
    let all = if flag("OPSROOM_SOAK") == Some(1) { SOAK } else { SEEDS };
    let first = flag("OPSROOM_SIM_FROM").unwrap_or(0);
    first..first + flag("OPSROOM_SIM_SEEDS").unwrap_or(all)
}

#[test]
fn every_run_ends_once_whatever_fails_around_it() {
    let seeds = seeds();
    let tells = seeds.end - seeds.start == 1;
    let mut total = Faults::default();
    let mut ends = BTreeMap::<&str, u32>::new();
    for seed in seeds.clone() {
        let played = std::panic::catch_unwind(|| play(seed, tells));
        let Played { faults, runs } = played.unwrap_or_else(|_| {
            panic!("replay it with: OPSROOM_SIM_SEED={seed} cargo test --lib simulation::every -- --nocapture")
        });
        total.add(&faults);
        for (status, _) in runs {
            *ends.entry(status.as_str()).or_default() += 1;
        }
    }
    println!("{} seeds: {ends:?}, {total:?}", seeds.end - seeds.start);
    if seeds.end - seeds.start >= SEEDS {
        assert_eq!(ends.len(), 4, "every ending occurs");
        assert_eq!(total.missing(), Vec::<&str>::new(), "every fault occurs");
    }
}

#[test]
fn a_seed_replays_exactly() {
    for seed in 0..40 {
        assert_eq!(play(seed, false), play(seed, false), "seed {seed}");
    }
}

/// What became of a world.
#[derive(Debug, PartialEq)]
struct Played {
    faults: Faults,
    /// How each run ended, and its history in a number.
    runs: Vec<(RunStatus, u64)>,
}

fn play(seed: u64, tells: bool) -> Played {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let scene = Scene::new(seed, tells);
        let played = tokio::time::timeout(STUCK, Play::new(seed, scene.clone()).play_out()).await;
        scene.assert_right();
        played.expect("every run ends")
    })
}

/// How workers live in the world of a seed.
fn lease(seed: u64) -> Option<LeaseConfig> {
    match seed % 4 {
        0 => None,
        1 => Some(LeaseConfig::default()),
        _ => Some(LeaseConfig::of(Duration::from_secs(3))),
    }
}

/// For how long things are broken in the world of a seed. Where it is soon over, what has gone astray is not set free by
/// the next thing that breaks.
fn disturbed(seed: u64) -> Duration {
    if seed / 4 % 8 == 7 { Duration::from_secs(seed / 32 % 16) } else { DISTURBED }
}

/// One seed: a few runs, a few processes that die and come back, a person who answers.
struct Play {
    rng: Rng,
    scene: Scene,
    fleet: Fleet,
    disturbed: Duration,
    /// What is still to be asked for, and what was and has no answer.
    plans: Vec<Arc<Plan>>,
    asked: Option<(Arc<Plan>, oneshot::Receiver<bool>)>,
}

impl Play {
    fn new(seed: u64, scene: Scene) -> Play {
        let fleet = Fleet::new(scene.clone(), lease(seed));
        Play { rng: Rng(seed), fleet, scene, disturbed: disturbed(seed), plans: Vec::new(), asked: None }
    }

    async fn play_out(mut self) -> Played {
        let started = Instant::now();
        for _ in 0..=self.rng.below(2) {
            self.fleet.start_process();
        }
        self.plans = (0..=self.rng.below(3)).map(|_| Arc::new(generated_plan(&mut self.rng))).collect();
        // Let a process come up, so that the short way is open.
        tokio::time::sleep(Duration::from_millis(self.rng.below(20) as u64)).await;
        self.submit();
        while !self.is_done().await {
            tokio::time::sleep(self.pause()).await;
            self.submit();
            if started.elapsed() < self.disturbed {
                self.disturb().await;
            } else {
                self.fleet.repair();
                self.answer().await;
            }
            self.fleet.keep_alive();
            self.scene.assert_right();
        }
        self.fleet.settle().await;
        // Runs may have been created by requests that were held back until then.
        while !self.is_done().await {
            tokio::time::sleep(Duration::from_secs(1)).await;
            self.fleet.keep_alive();
            self.answer().await;
        }
        self.fleet.end();
        self.scene.assert_right();
        let mut runs = Vec::new();
        for run in runs_of(self.fleet.truth(), &[]).await {
            runs.push(check_run(&self.fleet, run).await);
        }
        let faults = self.scene.faults().clone();
        Played { faults, runs }
    }

    /// One request at a time. What was not answered well is asked for again.
    fn submit(&mut self) {
        if let Some((plan, answer)) = &mut self.asked {
            match answer.try_recv() {
                Ok(true) => {}
                Err(oneshot::error::TryRecvError::Empty) => return,
                Ok(false) | Err(oneshot::error::TryRecvError::Closed) => {
                    self.scene.faults().asked_again += 1;
                    self.plans.push(plan.clone());
                }
            }
        }
        self.asked = None;
        if let Some(plan) = self.plans.pop() {
            let trigger = Trigger { kind: "manual".into(), actor: "ann".into() };
            let submission = Submission {
                plan: plan.clone(),
                source: "".into(),
                params: Map::new(),
                trigger,
                wishes: Wishes::default(),
            };
            match self.fleet.submit(submission) {
                Some(answer) => self.asked = Some((plan, answer)),
                None => self.plans.push(plan),
            }
        }
    }

    /// Whether everything that was asked for is there and has ended.
    async fn is_done(&self) -> bool {
        self.plans.is_empty() && self.asked.is_none() && self.open_runs().await.is_empty()
    }

    /// Mostly a moment, now and then as long as a part of a lease.
    fn pause(&mut self) -> Duration {
        let (least, range) = if self.rng.one_in(4) { (100, 3_000) } else { (5, 60) };
        Duration::from_millis(least + self.rng.below(range) as u64)
    }

    async fn open_runs(&self) -> Vec<RunId> {
        open_runs(self.fleet.truth()).await
    }

    /// Something happens from outside.
    async fn disturb(&mut self) {
        match self.rng.below(24) {
            0 => self.fleet.kill_one(&mut self.rng),
            1 | 2 => self.fleet.stop_one(&mut self.rng),
            3 | 4 => self.fleet.break_line(&mut self.rng),
            5 if self.rng.one_in(2) => self.fleet.jump_clock(&mut self.rng),
            6 if self.rng.one_in(2) => self.fleet.drain_one(&mut self.rng),
            7 | 8 => self.fleet.start_process(),
            9 if self.rng.one_in(2) => {
                let runs = self.open_runs().await;
                if !runs.is_empty() {
                    let run = self.rng.pick(&runs);
                    // The run may have ended; then there is nothing to cancel.
                    let _ = self.fleet.service().cancel(run, "eve", "", self.rng.one_in(3)).await;
                }
            }
            10..=13 => self.answer().await,
            14 | 15 => self.fleet.hold_answers(&mut self.rng),
            _ => {}
        }
    }

    /// A person looks for held steps and says something about each.
    async fn answer(&mut self) {
        for run in self.open_runs().await {
            let view = self.fleet.service().view(run).await.unwrap();
            let held: Vec<_> = view.run.held().map(|ix| view.plan.step(ix).id.clone()).collect();
            for step in held {
                let verdict = self.rng.pick(&[Verdict::Retry, Verdict::Succeeded, Verdict::Failed]);
                // Somebody else may have said it already.
                let _ = self.fleet.service().resolve(run, &step, verdict, "ann", "").await;
            }
        }
    }
}
