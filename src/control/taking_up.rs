//! Taking a run up: its state from its committed facts.

use std::sync::Arc;

use super::{OwnError, World};
use crate::{
    engine::{Event, Fact, Run},
    ports::{RunRow, StoredEvent},
    runbook::Plan,
};

/// Events read at once.
const PAGE: usize = 10_000;

/// The run as its durable events describe it.
pub(super) async fn replay(world: &World, row: &RunRow, plan: &Plan) -> Result<Run, OwnError> {
    let mut run = unborn(row, plan);
    fold(world, row, plan, &mut run, 0, |_| ()).await?;
    Ok(run)
}

/// The run before anything was decided about it.
pub(super) fn unborn(row: &RunRow, plan: &Plan) -> Run {
    Run::new(plan, row.id, Arc::new(row.params.clone()))
}

/// Applies the facts after a sequence, up to the row's head, and tells `each` of them.
pub(super) async fn fold(
    world: &World,
    row: &RunRow,
    plan: &Plan,
    run: &mut Run,
    mut after: u64,
    mut each: impl FnMut(&StoredEvent),
) -> Result<(), OwnError> {
    // A run without a committed event has nothing to read.
    while after < row.sequence_head {
        let page = world.store.facts(row.id, after, PAGE).await?;
        // What was committed since the row was read is for the next look: it would be applied twice.
        for stored in page.iter().take_while(|stored| stored.sequence <= row.sequence_head) {
            if let Some(fact) = fact(plan, stored)? {
                run.apply(plan, &fact);
                each(stored);
            }
        }
        match page.last() {
            Some(last) if page.len() == PAGE => after = last.sequence,
            _ => break,
        }
    }
    Ok(())
}

/// The fact that a durable event records, if it records one.
fn fact(plan: &Plan, stored: &StoredEvent) -> Result<Option<Fact>, OwnError> {
    let event = Event::from_stored(plan, &stored.kind, &stored.data)
        .map_err(|error| OwnError::Unreadable { sequence: stored.sequence, why: error.to_string() })?;
    Ok(event.map(|event| Fact { at: stored.at, event }))
}
