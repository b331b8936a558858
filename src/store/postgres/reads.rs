//! The verbs that read lists.

use sqlx::FromRow;

use super::{
    PgStore,
    arguments::{self, arguments},
    errors::store_error,
    records::{EventRecord, decode_all},
    rows::{SignalRecord, StepRecord},
};
use crate::{
    model::{Category, RunId},
    ports::{SignalRow, StepRow, StoreError, StoredEvent},
};

pub(super) async fn events(
    store: &PgStore,
    run: RunId,
    after: u64,
    limit: usize,
) -> Result<Vec<StoredEvent>, StoreError> {
    // Nothing stored has a number beyond what SQL can count.
    let Ok(after) = i64::try_from(after) else { return Ok(Vec::new()) };
    let arguments = arguments!(run.0, after, arguments::limit(limit));
    decode_all::<EventRecord, _>(&store.rows(include_str!("queries/events.sql"), arguments).await?)
}

pub(super) async fn facts(
    store: &PgStore,
    run: RunId,
    after: u64,
    limit: usize,
) -> Result<Vec<StoredEvent>, StoreError> {
    let Ok(after) = i64::try_from(after) else { return Ok(Vec::new()) };
    let arguments = arguments!(run.0, after, arguments::limit(limit), Category::Lifecycle.as_str());
    decode_all::<EventRecord, _>(&store.rows(include_str!("queries/facts.sql"), arguments).await?)
}

pub(super) async fn steps(store: &PgStore, run: RunId) -> Result<Vec<StepRow>, StoreError> {
    decode_all::<StepRecord, _>(&store.rows(include_str!("queries/steps.sql"), arguments!(run.0)).await?)
}

pub(super) async fn signals(store: &PgStore, run: RunId, after: i64) -> Result<Vec<SignalRow>, StoreError> {
    let rows = store.rows(include_str!("queries/signals.sql"), arguments!(run.0, after)).await?;
    rows.iter().map(|row| SignalRecord::from_row(row).map_err(|error| store_error(&error))?.of(run)).collect()
}
