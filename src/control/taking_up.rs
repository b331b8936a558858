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
    let mut run = Run::new(plan, row.id, Arc::new(row.params.clone()));
    let mut after = 0;
    // A run without a committed event has nothing to read.
    while after < row.sequence_head {
        let page = world.store.facts(row.id, after, PAGE).await?;
        let Some(last) = page.last() else { break };
        after = last.sequence;
        for stored in &page {
            if let Some(fact) = fact(plan, stored)? {
                run.apply(plan, &fact);
            }
        }
    }
    Ok(run)
}

/// The fact that a durable event records, if it records one.
fn fact(plan: &Plan, stored: &StoredEvent) -> Result<Option<Fact>, OwnError> {
    let event = Event::from_stored(plan, &stored.kind, &stored.data)
        .map_err(|error| OwnError::Unreadable { sequence: stored.sequence, why: error.to_string() })?;
    Ok(event.map(|event| Fact { at: stored.at, event }))
}
