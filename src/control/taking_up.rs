//! Taking a run up: its state from its committed facts.

use std::sync::Arc;

use super::{OwnError, World};
use crate::{
    engine::{Event, Fact, Run},
    model::Category,
    ports::{RunRow, StoreError, StoredEvent},
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
        let page = facts(world, row, after).await?;
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

/// A page of facts: the rows, or what the archive has of a run whose rows are gone, or going.
async fn facts(world: &World, row: &RunRow, after: u64) -> Result<Vec<StoredEvent>, OwnError> {
    let page = world.store.facts(row.id, after, PAGE).await?;
    // Rows go from the first on, and the first fact of a run is its first event.
    let is_whole = page.first().is_some_and(|first| after > 0 || first.prev == 0);
    if is_whole || !row.status.is_ended() {
        return Ok(page);
    }
    let mut reader = world.history(row.tenant).reader(row.id, after);
    let mut page = Vec::new();
    while page.len() < PAGE
        && let Some(event) = reader.next().await.map_err(|error| StoreError::Unavailable(error.to_string()))?
    {
        if event.event.category == Category::Lifecycle {
            page.push(StoredEvent {
                sequence: event.sequence,
                prev: event.prev,
                at: event.timestamp,
                kind: event.event,
                data: event.data,
            });
        }
    }
    Ok(page)
}

/// The fact that a durable event records, if it records one.
fn fact(plan: &Plan, stored: &StoredEvent) -> Result<Option<Fact>, OwnError> {
    let event = Event::from_stored(plan, &stored.kind, &stored.data)
        .map_err(|error| OwnError::Unreadable { sequence: stored.sequence, why: error.to_string() })?;
    Ok(event.map(|event| Fact { at: stored.at, event }))
}
