//! What must hold for a run that has ended, whatever happened to it.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash as _, Hasher as _},
};

use super::fleet::Fleet;
use crate::{
    engine::{Event, Fact, Run, Stage},
    model::{Attempt, RunId, RunStatus, StepIx, TenantId, WaitingOn},
    ports::StoredEvent,
    runbook::Plan,
};

/// How it ended, and its history in a number.
pub async fn check_run(fleet: &Fleet, id: RunId) -> (RunStatus, u64) {
    let truth = fleet.truth();
    let row = truth.run(id).await.unwrap().expect("a run that was created is never lost");
    let plan = Plan::from_json(&truth.plan(TenantId::DEFAULT, row.plan).await.unwrap().unwrap()).unwrap();
    let stored = truth.events(id, 0, 1_000_000).await.unwrap();

    // The log: sequences rise, `prev` never skips back, times never fall.
    for pair in stored.windows(2) {
        assert!(pair[0].sequence < pair[1].sequence, "{id}: sequences rise");
        assert!(
            pair[0].sequence <= pair[1].prev && pair[1].prev < pair[1].sequence,
            "{id}: prev links to what came before"
        );
        assert!(pair[0].at <= pair[1].at, "{id}: time does not run back");
    }
    assert_eq!(stored.last().unwrap().sequence, row.sequence_head, "{id}: the head is the last event");

    // The state is the fold of the log, and the row and the steps at rest agree with it.
    let facts: Vec<_> = stored
        .iter()
        .filter_map(|stored| {
            let event = Event::from_stored(&plan, &stored.kind, &stored.data).unwrap()?;
            Some(Fact { at: stored.at, event })
        })
        .collect();
    let run = Run::replay(&plan, id, std::sync::Arc::default(), &facts);
    let Stage::Ended(status) = run.stage() else { panic!("{id}: not ended: {:?}", run.stage()) };
    assert_eq!(row.status, status, "{id}: row and log agree");
    assert_eq!(facts.iter().filter(|f| matches!(f.event, Event::RunFinished { .. })).count(), 1, "{id}: one end");
    assert!(row.signal_seq == row.signals_applied, "{id}: no signal was overlooked");
    let rest = truth.steps(id).await.unwrap();
    assert_eq!(rest.len(), plan.steps.len());
    for (row, record) in rest.iter().zip(run.steps()) {
        assert_eq!((row.status, row.attempts), (record.state.status(), record.attempt), "{id}: {} at rest", row.id);
    }

    check_attempts(id, &facts);
    check_waits(id, &facts);
    let is_nap = |fact: &&Fact| matches!(fact.event, Event::RunParked { waiting_on: WaitingOn::Timer });
    fleet.shared.scene.faults().naps += u32::try_from(facts.iter().filter(is_nap).count()).unwrap();

    // Effects: every attempt that was executed had been committed, and none was executed twice.
    for ((run, step, attempt), times) in fleet.shared.works.executed() {
        if run == id {
            assert_eq!(times, 1, "{id}: {step} attempt {attempt} was executed once");
            let ix = plan.find(&step);
            let started = |event: &Event| matches!(event, Event::StepStarted { step, attempt: a, .. } if Some(*step) == ix && *a == attempt);
            assert!(facts.iter().any(|fact| started(&fact.event)), "{id}: {step} attempt {attempt} was committed");
        }
    }

    // The feed: what was shown is what is stored.
    for shown in fleet.shared.feed.shown(id) {
        let row = stored.iter().find(|event| event.sequence == shown.sequence);
        let row = row.unwrap_or_else(|| panic!("{id}: {} was shown and never committed", shown.sequence));
        assert_eq!((&row.kind, &row.data, row.prev), (&shown.event, &shown.data, shown.prev), "{id}: shown as stored");
    }
    (status, trace(&stored))
}

/// A wait lasts its time, is recorded once, and ends.
fn check_waits(id: RunId, facts: &[Fact]) {
    let mut until = BTreeMap::new();
    for Fact { at, event } in facts {
        match event {
            Event::StepWaiting { step, until: time, .. } => {
                assert!(until.insert(*step, *time).is_none(), "{id}: {step:?} waits, and begins to wait again");
            }
            Event::StepSucceeded { step, .. } => {
                let time = until.remove(step);
                assert!(time.is_none_or(|time| time <= *at), "{id}: {step:?} did not wait long enough");
            }
            Event::StepStarted { step, .. } => {
                assert!(!until.contains_key(step), "{id}: {step:?} began again while it waited");
            }
            // A timeout of the attempt, a cancel, the end of the run.
            Event::StepFailed { step, .. } | Event::StepRetrying { step, .. } | Event::StepCancelled { step, .. } => {
                until.remove(step);
            }
            _ => {}
        }
    }
    assert!(until.is_empty(), "{id}: nobody waits any more");
}

/// Each attempt begins once and ends once.
fn check_attempts(id: RunId, facts: &[Fact]) {
    let (mut begun, mut ended) = (BTreeMap::<(StepIx, Attempt), u32>::new(), BTreeMap::<(StepIx, Attempt), u32>::new());
    for Fact { event, .. } in facts {
        match event {
            Event::StepStarted { step, attempt, .. } => *begun.entry((*step, *attempt)).or_default() += 1,
            Event::StepSucceeded { step, attempt, .. }
            | Event::StepFailed { step, attempt, .. }
            | Event::StepRetrying { step, attempt, .. }
            | Event::StepInterrupted { step, attempt, .. }
                if *attempt > 0 =>
            {
                *ended.entry((*step, *attempt)).or_default() += 1;
            }
            _ => {}
        }
        if let Event::StepFailed { failure, .. } | Event::StepRetrying { failure, .. } = event {
            assert_ne!(failure.code, "INTERNAL", "{id}: {failure}");
        }
    }
    assert!(begun.values().all(|times| *times == 1), "{id}: an attempt was recorded twice: {begun:?}");
    assert!(ended.values().all(|times| *times == 1), "{id}: an attempt ended twice: {ended:?}");
}

fn trace(stored: &[StoredEvent]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for StoredEvent { sequence, at, kind, data, .. } in stored {
        (sequence, at.0, &kind.action, data.to_string()).hash(&mut hasher);
    }
    hasher.finish()
}
