//! The verbs that read lists.

use sqlx::FromRow;
use uuid::Uuid;

use super::{
    SqliteStore,
    arguments::{self, arguments, id},
    errors::store_error,
    rows::{EventRecord, RunRecord, SignalRecord, StepRecord, decode_all},
};
use crate::{
    model::{Category, RunId, RunStatus, TenantId},
    ports::{Page, RunFilter, RunRow, SignalRow, StepRow, StoreError, StoredEvent},
};

pub(super) async fn runs(
    store: &SqliteStore,
    tenant: TenantId,
    filter: &RunFilter,
) -> Result<Page<RunRow>, StoreError> {
    let Some((first, last)) = id_range(filter) else { return Ok(Page { items: Vec::new(), more: false }) };
    let words: Vec<&str> = filter.status.iter().map(|status| status.as_str()).collect();
    let arguments = arguments!(
        id(tenant.0),
        id(first),
        id(last),
        // One more than asked for tells whether there are more.
        arguments::limit(filter.limit).saturating_add(1),
        (!words.is_empty()).then(|| arguments::json(&words)),
        filter.runbook.clone(),
        words.first().copied(),
    );
    let rows = store.read(statement(filter), arguments).await?;
    let mut items: Vec<RunRow> = decode_all::<RunRecord, _>(&rows)?;
    let more = items.len() > filter.limit;
    items.truncate(filter.limit);
    Ok(Page { items, more })
}

/// The statement whose index fits the filter. All apply the whole filter.
fn statement(filter: &RunFilter) -> &'static str {
    if filter.runbook.is_some() {
        return include_str!("queries/runs_of_runbook.sql");
    }
    match filter.status.as_slice() {
        [] => include_str!("queries/runs.sql"),
        [status] if status.is_ended() => include_str!("queries/runs_ended.sql"),
        all if !all.iter().copied().any(RunStatus::is_ended) => include_str!("queries/runs_live.sql"),
        _ => include_str!("queries/runs.sql"),
    }
}

/// The ids between which the filter's runs are, both included; `None` if there can be none.
fn id_range(filter: &RunFilter) -> Option<(Uuid, Uuid)> {
    let (mut first, mut last) = match &filter.id_prefix {
        Some(prefix) => prefix_range(prefix)?,
        None => (Uuid::nil(), Uuid::max()),
    };
    if let Some(before) = filter.before {
        last = last.min(Uuid::from_u128(before.0.as_u128().checked_sub(1)?));
    }
    first = first.min(last).max(first);
    (first <= last).then_some((first, last))
}

/// The first and the last id whose text begins with `prefix`.
fn prefix_range(prefix: &str) -> Option<(Uuid, Uuid)> {
    const FIRST: &str = "00000000-0000-0000-0000-000000000000";
    const LAST: &str = "ffffffff-ffff-ffff-ffff-ffffffffffff";
    let fill = |rest: &str| {
        let text = format!("{prefix}{}", rest.get(prefix.len()..)?);
        let id: Uuid = text.parse().ok()?;
        // The parser knows more spellings than the one that is shown.
        (id.to_string() == text.to_lowercase()).then_some(id)
    };
    Some((fill(FIRST)?, fill(LAST)?))
}

pub(super) async fn events(
    store: &SqliteStore,
    run: RunId,
    after: u64,
    limit: usize,
) -> Result<Vec<StoredEvent>, StoreError> {
    // Nothing stored has a number beyond what SQL can count.
    let Ok(after) = i64::try_from(after) else { return Ok(Vec::new()) };
    let arguments = arguments!(id(run.0), after, arguments::limit(limit));
    decode_all::<EventRecord, _>(&store.read(include_str!("queries/events.sql"), arguments).await?)
}

pub(super) async fn facts(
    store: &SqliteStore,
    run: RunId,
    after: u64,
    limit: usize,
) -> Result<Vec<StoredEvent>, StoreError> {
    let Ok(after) = i64::try_from(after) else { return Ok(Vec::new()) };
    let arguments = arguments!(id(run.0), after, arguments::limit(limit), Category::Lifecycle.as_str());
    decode_all::<EventRecord, _>(&store.read(include_str!("queries/facts.sql"), arguments).await?)
}

pub(super) async fn steps(store: &SqliteStore, run: RunId) -> Result<Vec<StepRow>, StoreError> {
    decode_all::<StepRecord, _>(&store.read(include_str!("queries/steps.sql"), arguments!(id(run.0))).await?)
}

pub(super) async fn signals(store: &SqliteStore, run: RunId, after: i64) -> Result<Vec<SignalRow>, StoreError> {
    let rows = store.read(include_str!("queries/signals.sql"), arguments!(id(run.0), after)).await?;
    rows.iter().map(|row| SignalRecord::from_row(row).map_err(|error| store_error(&error))?.of(run)).collect()
}
