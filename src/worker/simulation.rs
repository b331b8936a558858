//! Deterministic simulation: the real owners, committer, reaper, services and engine over simulated ports
//! with seeded faults. Time is tokio's paused clock, so a seed replays exactly.
//!
//! `OPSROOM_SIM_SEEDS=100000 cargo test --release --lib simulation` plays more seeds;
//! `OPSROOM_SIM_SEED=4711` plays one.

mod check;
mod fleet;
mod ports;

use std::{sync::Arc, time::Duration};

use serde_json::Map;

use self::{check::check_run, fleet::Fleet, ports::Faults};
use crate::{
    control::{Submission, Wishes},
    engine::{
        Verdict,
        testing::{Rng, generated_plan},
    },
    model::{RunId, RunStatus},
    ports::{RunFilter, Trigger},
};

/// Seeds played by the normal test run.
const SEEDS: u64 = 2_000;

/// Simulated time after which a run counts as stuck.
const STUCK: Duration = Duration::from_hours(1);

#[expect(clippy::disallowed_methods, reason = "the flag of this test")]
fn flag(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap())
}

#[test]
fn every_run_ends_once_whatever_fails_around_it() {
    let seeds = match flag("OPSROOM_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..flag("OPSROOM_SIM_SEEDS").unwrap_or(SEEDS),
    };
    let mut total = Faults::default();
    let mut ends = std::collections::BTreeMap::<&str, u32>::new();
    for seed in seeds.clone() {
        let played = std::panic::catch_unwind(|| play(seed));
        let (faults, statuses) = played.unwrap_or_else(|_| panic!("replay it with OPSROOM_SIM_SEED={seed}"));
        total.add(&faults);
        for status in statuses {
            *ends.entry(status.as_str()).or_default() += 1;
        }
    }
    println!("{} seeds: {ends:?}, {total:?}", seeds.end - seeds.start);
    if seeds.end - seeds.start >= SEEDS {
        assert_eq!(ends.len(), 4, "every ending occurs");
        assert!(total.all_occurred(), "every fault occurs: {total:?}");
    }
}

#[test]
fn a_seed_replays_exactly() {
    for seed in 0..20 {
        assert_eq!(play(seed), play(seed), "seed {seed}");
    }
}

fn play(seed: u64) -> (Faults, Vec<RunStatus>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async { tokio::time::timeout(STUCK, Play::new(seed).play_out()).await.expect("every run ends") })
}

/// One seed: a few runs, a few processes that die and come back, a person who answers.
struct Play {
    rng: Rng,
    fleet: Fleet,
    runs: Vec<RunId>,
}

impl Play {
    fn new(seed: u64) -> Play {
        Play { rng: Rng(seed), fleet: Fleet::new(seed), runs: Vec::new() }
    }

    async fn play_out(mut self) -> (Faults, Vec<RunStatus>) {
        let plans: Vec<_> = (0..=self.rng.below(3)).map(|_| Arc::new(generated_plan(&mut self.rng))).collect();
        for _ in 0..=self.rng.below(2) {
            self.fleet.start_process();
        }
        for plan in &plans {
            let trigger = Trigger { kind: "manual".into(), actor: "ann".into() };
            let submission = Submission {
                plan: plan.clone(),
                source: "".into(),
                params: Map::new(),
                trigger,
                wishes: Wishes::default(),
            };
            // Let a process come up, so that the short way is open.
            tokio::time::sleep(Duration::from_millis(self.rng.below(20) as u64)).await;
            let runs = self.fleet.inside().submit(&[submission], None).await.unwrap();
            self.runs.extend(runs);
        }
        while !self.all_ended().await {
            let pause = Duration::from_millis(5 + self.rng.below(60) as u64);
            tokio::time::sleep(pause).await;
            self.disturb().await;
        }
        self.fleet.settle().await;
        let mut statuses = Vec::new();
        for run in &self.runs {
            statuses.push(check_run(&self.fleet, *run).await);
        }
        (self.fleet.faults(), statuses)
    }

    async fn all_ended(&self) -> bool {
        let open = RunFilter {
            status: vec![RunStatus::Queued, RunStatus::Claimed, RunStatus::Running],
            limit: 100,
            ..RunFilter::default()
        };
        self.fleet.truth().runs(crate::model::TenantId::DEFAULT, &open).await.unwrap().items.is_empty()
    }

    /// Something happens from outside.
    async fn disturb(&mut self) {
        match self.rng.below(16) {
            0 => self.fleet.kill_one(&mut self.rng),
            1 => self.fleet.freeze_one(&mut self.rng),
            2 => self.fleet.jump_clock(&mut self.rng),
            3 => {
                let run = self.runs[self.rng.below(self.runs.len())];
                // The run may have ended; then there is nothing to cancel.
                let _ = self.fleet.service().cancel(run, "eve", "", self.rng.one_in(3)).await;
            }
            4 | 5 => self.answer().await,
            _ => {}
        }
        // Somebody always starts a process again.
        self.fleet.keep_alive();
    }

    /// A person looks for held steps and says something about each.
    async fn answer(&mut self) {
        for run in self.runs.clone() {
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
