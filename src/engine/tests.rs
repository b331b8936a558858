//! The engine against a hostile world, and its rules one by one.

mod rules;
mod waits;
mod world;

use world::World;

use super::{
    Event, Fact, Run, Verdict,
    testing::{Rng, generated_plan},
};

/// How many generated runs one property test looks at.
const RUNS: u64 = 10_000;

#[test]
fn generated_runs_hold_every_invariant() {
    let mut ends = std::collections::BTreeMap::<&str, u32>::new();
    for seed in 0..RUNS {
        let world = World::play(seed);
        *ends.entry(world.run.verdict().as_str()).or_default() += 1;
    }
    assert_eq!(ends.len(), 4, "every ending is reached: {ends:?}");
    assert!(ends.values().all(|n| u64::from(*n) > RUNS / 200), "no ending is rare: {ends:?}");
}

#[test]
fn facts_survive_being_stored() {
    let mut kinds = std::collections::BTreeSet::new();
    for seed in 0..RUNS / 5 {
        let world = World::play(seed);
        for Fact { event, .. } in &world.log {
            let (kind, data) = event.clone().into_stored(&world.plan);
            let text = data.to_string();
            let data = serde_json::from_str(&text).unwrap();
            let back = Event::from_stored(&world.plan, &kind, &data).unwrap();
            assert_eq!(back.as_ref(), Some(event), "seed {seed}: {kind} {text}");
            kinds.insert(kind.action);
        }
    }
    assert!(kinds.len() >= 19, "nearly every kind of fact occurs: {kinds:?}");
}

#[test]
fn a_stored_fact_that_makes_no_sense_is_an_error_not_a_panic() {
    let plan = generated_plan(&mut Rng(1));
    let kind = |action: &str| crate::model::EventKind {
        category: crate::model::Category::Lifecycle,
        action: action.to_owned(),
    };
    for (action, data) in [
        ("step_started", serde_json::json!({"step": "nobody", "attempt": 1})),
        ("step_started", serde_json::json!({"attempt": 1})),
        ("step_started", serde_json::json!({"step": "s0"})),
        ("step_started", serde_json::json!({"step": "s0", "attempt": -1})),
        ("step_started", serde_json::json!([1, 2])),
        ("run_finished", serde_json::json!({"status": "splendid"})),
        ("run_exploded", serde_json::json!({})),
        ("run_started", serde_json::json!({"surprise": 1})),
    ] {
        assert!(Event::from_stored(&plan, &kind(action), &data).is_err(), "{action} {data}");
    }
}

#[test]
fn verdict_words_read_back() {
    for verdict in [Verdict::Retry, Verdict::Succeeded, Verdict::Failed] {
        assert_eq!(Verdict::parse(verdict.as_str()), Some(verdict));
    }
    assert_eq!(Verdict::parse("maybe"), None);
}

/// The run that the log describes equals the run that was decided on.
fn assert_same(decided: &Run, replayed: &Run, seed: u64) {
    assert_eq!(decided.stage(), replayed.stage(), "seed {seed}: stage");
    assert_eq!(decided.ending(), replayed.ending(), "seed {seed}: ending");
    assert_eq!(decided.steps(), replayed.steps(), "seed {seed}: steps");
    assert_eq!(decided.verdict(), replayed.verdict(), "seed {seed}: verdict");
    assert_eq!(decided.index.open, replayed.index.open, "seed {seed}: open");
    assert_eq!(decided.index.unmet, replayed.index.unmet, "seed {seed}: unmet");
    assert_eq!(decided.index.running, replayed.index.running, "seed {seed}: running");
    assert_eq!(decided.index.held, replayed.index.held, "seed {seed}: held");
    assert_eq!(decided.index.waits, replayed.index.waits, "seed {seed}: waits");
    assert_eq!(decided.index.phase_deadline, replayed.index.phase_deadline, "seed {seed}: phase deadline");
}
