//! From rows to the domain. A value that this build cannot read is `Corrupt`, and names its place.

use sqlx::{Decode, FromRow, Postgres, Row, Type, postgres::PgRow};
use uuid::Uuid;

use super::{
    errors::store_error,
    types::{At, restored, restored_json},
};
use crate::{
    model::{Epoch, EventKind, Failure, RunId, SessionId, TenantId, WorkerId},
    ports::{Page, RunRow, StoreError, StoredEvent, Trigger},
    store::place::Place,
};

/// Decodes all rows of a result.
pub(super) fn decode_all<R, T>(rows: &[PgRow]) -> Result<Vec<T>, StoreError>
where
    R: for<'r> FromRow<'r, PgRow>,
    T: TryFrom<R, Error = StoreError>,
{
    rows.iter().map(decode::<R, T>).collect()
}

/// Decodes one row.
pub(super) fn decode<R, T>(row: &PgRow) -> Result<T, StoreError>
where
    R: for<'r> FromRow<'r, PgRow>,
    T: TryFrom<R, Error = StoreError>,
{
    R::from_row(row).map_err(|error| store_error(&error))?.try_into()
}

/// A page of a list of which one more was asked for than it may have.
pub(super) fn page<R, T>(rows: &[PgRow], limit: usize) -> Result<Page<T>, StoreError>
where
    R: for<'r> FromRow<'r, PgRow>,
    T: TryFrom<R, Error = StoreError>,
{
    let mut items = decode_all::<R, T>(rows)?;
    let more = items.len() > limit;
    items.truncate(limit);
    Ok(Page { items, more })
}

/// The only value of a result of at most one row.
pub(super) fn scalar<T>(rows: &[PgRow]) -> Result<Option<T>, StoreError>
where
    T: for<'r> Decode<'r, Postgres> + Type<Postgres>,
{
    rows.first().map(|row| row.try_get(0)).transpose().map_err(|error| store_error(&error))
}

/// The first column of every row.
pub(super) fn texts(rows: &[PgRow]) -> Result<Vec<String>, StoreError> {
    rows.iter().map(|row| row.try_get(0).map(restored).map_err(|error| store_error(&error))).collect()
}

/// The run in the first column.
pub(super) fn run_id(row: &PgRow) -> Result<RunId, StoreError> {
    row.try_get(0).map(RunId).map_err(|error| store_error(&error))
}

/// `runs` with its `run_inputs`; JSON as text.
#[derive(Debug, FromRow)]
pub(super) struct RunRecord {
    id: Uuid,
    tenant_id: Uuid,
    runbook: String,
    runbook_version: Option<i64>,
    session_id: Option<Uuid>,
    plan_digest: Vec<u8>,
    lane: String,
    priority: i32,
    labels: String,
    params: String,
    trigger_kind: String,
    trigger_actor: String,
    steps_total: i64,
    status: String,
    waiting_on: Option<String>,
    claimable: bool,
    epoch: i64,
    version: i64,
    claimed_by: Option<Uuid>,
    claimed_at: Option<At>,
    heartbeat_at: Option<At>,
    wake_at: Option<At>,
    signal_seq: i64,
    signals_applied: i64,
    sequence_head: i64,
    stamp_head: At,
    recoveries: i64,
    recoveries_applied: i64,
    error: Option<String>,
    created_at: At,
    started_at: Option<At>,
    ended_at: Option<At>,
}

impl TryFrom<RunRecord> for RunRow {
    type Error = StoreError;

    fn try_from(record: RunRecord) -> Result<RunRow, StoreError> {
        let id = RunId(record.id);
        let at = Place::run(id);
        let input = Place { table: "run_inputs", row: id.to_string() };
        let version = record.runbook_version.map(|version| input.number("runbook_version", version)).transpose()?;
        Ok(RunRow {
            id,
            tenant: TenantId(record.tenant_id),
            runbook: restored(record.runbook).into(),
            runbook_version: version,
            session: record.session_id.map(SessionId),
            plan: input.digest("plan_digest", record.plan_digest)?,
            lane: at.word("lane", &record.lane)?,
            priority: record.priority,
            labels: input.json("labels", &restored_json(record.labels))?,
            params: input.json("params", &restored_json(record.params))?,
            trigger: Trigger { kind: restored(record.trigger_kind), actor: restored(record.trigger_actor) },
            steps_total: input.number("steps_total", record.steps_total)?,
            status: at.word("status", &record.status)?,
            waiting_on: record.waiting_on.map(|word| at.word("waiting_on", &word)).transpose()?,
            claimable: record.claimable,
            epoch: Epoch(record.epoch),
            version: record.version,
            claimed_by: record.claimed_by.map(WorkerId),
            claimed_at: record.claimed_at.map(|at| at.0),
            heartbeat_at: record.heartbeat_at.map(|at| at.0),
            wake_at: record.wake_at.map(|at| at.0),
            signal_seq: record.signal_seq,
            signals_applied: record.signals_applied,
            sequence_head: at.number("sequence_head", record.sequence_head)?,
            stamp_head: record.stamp_head.0,
            recoveries: at.number("recoveries", record.recoveries)?,
            recoveries_applied: at.number("recoveries_applied", record.recoveries_applied)?,
            error: record.error.map(|text| at.json::<Failure>("error", &restored_json(text))).transpose()?,
            created_at: record.created_at.0,
            started_at: record.started_at.map(|at| at.0),
            ended_at: record.ended_at.map(|at| at.0),
        })
    }
}

/// `run_events`; JSON as text.
#[derive(Debug, FromRow)]
pub(super) struct EventRecord {
    sequence: i64,
    prev: i64,
    at: At,
    category: String,
    action: String,
    data: String,
}

impl TryFrom<EventRecord> for StoredEvent {
    type Error = StoreError;

    fn try_from(record: EventRecord) -> Result<StoredEvent, StoreError> {
        let at = Place { table: "run_events", row: format!("sequence {}", record.sequence) };
        Ok(StoredEvent {
            sequence: at.number("sequence", record.sequence)?,
            prev: at.number("prev", record.prev)?,
            at: record.at.0,
            kind: EventKind { category: at.word("category", &record.category)?, action: restored(record.action) },
            data: at.json("data", &restored_json(record.data))?,
        })
    }
}
