//! Generated plans, for the property tests of the engine and the simulation of the control layer.

use std::sync::LazyLock;

use crate::{
    model::{EffectModel, Millis, OnUnknown, StepIx},
    runbook::{Condition, Expr, Phase, Plan, PlannedStep, RetryOn, RetryPolicy},
};

/// SplitMix64.
#[derive(Debug)]
pub struct Rng(pub u64);

impl Rng {
    pub fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((x ^ (x >> 31)) % n as u64).unwrap()
    }

    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())]
    }
}

static CONDITIONS: LazyLock<Vec<Condition>> = LazyLock::new(|| {
    let plain = ["true", "false", "params.absent == 1"];
    let asking = ["always()", "success()", "failure()", "cancelled()", "failure() || cancelled()"];
    let compile = |text: &str, asks| Condition { expr: Expr::compile(text).unwrap(), has_status_function: asks };
    plain.iter().map(|t| compile(t, false)).chain(asking.iter().map(|t| compile(t, true))).collect()
});

fn retry_policy(rng: &mut Rng) -> RetryPolicy {
    let mut policy = RetryPolicy {
        max_attempts: 1 + u32::try_from(rng.below(4)).unwrap(),
        delay: Millis(5),
        ..RetryPolicy::never()
    };
    if rng.one_in(6) {
        policy.on = vec![RetryOn::Timeout, RetryOn::Exit(75)];
    }
    policy
}

fn step(rng: &mut Rng, id: &str, phase: Phase, before: u32) -> PlannedStep {
    let mut step = PlannedStep::new(id, "assert");
    step.phase = phase;
    if phase == Phase::Body {
        step.needs = (0..before).filter(|_| rng.one_in(3)).map(StepIx).collect();
    }
    if rng.one_in(4) {
        step.condition = Some(CONDITIONS[rng.below(CONDITIONS.len())].clone());
    }
    step.retry = retry_policy(rng);
    step.timeout = rng.one_in(3).then_some(Millis(40));
    step.deadline = rng.one_in(5).then_some(Millis(60));
    step.effect = rng.pick(EffectModel::ALL);
    step.on_unknown = rng.pick(OnUnknown::ALL);
    step.continue_on_error = rng.one_in(4);
    step
}

pub fn generated_plan(rng: &mut Rng) -> Plan {
    let mut steps = Vec::new();
    for i in 0..=u32::try_from(rng.below(8)).unwrap() {
        steps.push(step(rng, &format!("s{i}"), Phase::Body, i));
    }
    for (phase, name) in [(Phase::OnFailure, "f"), (Phase::OnCancel, "c"), (Phase::Finally, "z")] {
        for i in 0..rng.below(3) {
            steps.push(step(rng, &format!("{name}{i}"), phase, 0));
        }
    }
    let mut plan = Plan::new("generated", steps);
    plan.timeout = rng.one_in(3).then_some(Millis(150));
    plan.handler_timeout = Millis(100);
    plan
}
