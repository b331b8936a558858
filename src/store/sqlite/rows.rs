//! From rows to the domain. A value that this build cannot read is `Corrupt`, and names its place.

use std::sync::Arc;

use sqlx::{Decode, FromRow, Row, Sqlite, Type, sqlite::SqliteRow};
use uuid::Uuid;

use super::errors::store_error;
use crate::{
    model::{Epoch, EventKind, Failure, Lane, Micros, RunId, RunStatus, SessionId, StepIx, TenantId, WorkerId},
    ports::{LiveCount, RunRow, SessionRow, SignalRow, StepRow, StoreError, StoredEvent, Trigger},
    store::{guard::Guard, place::Place, signal},
};

/// Decodes all rows of a result.
pub(super) fn decode_all<R, T>(rows: &[SqliteRow]) -> Result<Vec<T>, StoreError>
where
    R: for<'r> FromRow<'r, SqliteRow>,
    T: TryFrom<R, Error = StoreError>,
{
    rows.iter().map(decode::<R, T>).collect()
}

/// Decodes one row.
pub(super) fn decode<R, T>(row: &SqliteRow) -> Result<T, StoreError>
where
    R: for<'r> FromRow<'r, SqliteRow>,
    T: TryFrom<R, Error = StoreError>,
{
    R::from_row(row).map_err(|error| store_error(&error))?.try_into()
}

/// The only value of a result of at most one row.
pub(super) fn scalar<T>(rows: &[SqliteRow]) -> Result<Option<T>, StoreError>
where
    T: for<'r> Decode<'r, Sqlite> + Type<Sqlite>,
{
    rows.first().map(|row| row.try_get(0)).transpose().map_err(|error| store_error(&error))
}

/// The first column of every row.
pub(super) fn texts(rows: &[SqliteRow]) -> Result<Vec<String>, StoreError> {
    rows.iter().map(|row| row.try_get(0).map_err(|error| store_error(&error))).collect()
}

/// The id in a column of 16 bytes.
pub(super) fn id_of(table: &'static str, column: &'static str, row: &SqliteRow) -> Result<Uuid, StoreError> {
    let bytes: Vec<u8> = row.try_get(0).map_err(|error| store_error(&error))?;
    Place { table, row: format!("{bytes:02x?}") }.id(column, &bytes)
}

/// The id and the lane that sweeps answer.
pub(super) fn run_and_lane(row: &SqliteRow) -> Result<(RunId, Lane), StoreError> {
    let id = RunId(id_of("runs", "id", row)?);
    let lane: String = row.try_get(1).map_err(|error| store_error(&error))?;
    Ok((id, Place::run(id).word("lane", &lane)?))
}

/// What `owned.sql` answers.
pub(super) fn run_and_epoch(row: &SqliteRow) -> Result<(RunId, Epoch), StoreError> {
    let id = RunId(id_of("runs", "id", row)?);
    Ok((id, Epoch(row.try_get(1).map_err(|error| store_error(&error))?)))
}

/// What `signal.sql` answers.
pub(super) fn status_and_seq(run: RunId, row: &SqliteRow) -> Result<(RunStatus, i64), StoreError> {
    let status: String = row.try_get(0).map_err(|error| store_error(&error))?;
    let seq = row.try_get(1).map_err(|error| store_error(&error))?;
    Ok((Place::run(run).word("status", &status)?, seq))
}

/// `runs` with its `run_inputs`.
#[derive(Debug, FromRow)]
pub(super) struct RunRecord {
    id: Vec<u8>,
    tenant_id: Vec<u8>,
    runbook: String,
    runbook_version: Option<i64>,
    session_id: Option<Vec<u8>>,
    plan_digest: Vec<u8>,
    lane: String,
    priority: i64,
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
    claimed_by: Option<Vec<u8>>,
    claimed_at: Option<i64>,
    heartbeat_at: Option<i64>,
    wake_at: Option<i64>,
    signal_seq: i64,
    signals_applied: i64,
    sequence_head: i64,
    stamp_head: i64,
    recoveries: i64,
    recoveries_applied: i64,
    error: Option<String>,
    created_at: i64,
    started_at: Option<i64>,
    ended_at: Option<i64>,
}

impl TryFrom<RunRecord> for RunRow {
    type Error = StoreError;

    fn try_from(record: RunRecord) -> Result<RunRow, StoreError> {
        let unnamed = Place { table: "runs", row: format!("{:02x?}", record.id) };
        let id = RunId(unnamed.id("id", &record.id)?);
        let at = Place::run(id);
        let input = Place { table: "run_inputs", row: id.to_string() };
        Ok(RunRow {
            id,
            tenant: TenantId(at.id("tenant_id", &record.tenant_id)?),
            runbook: record.runbook.into(),
            runbook_version: record
                .runbook_version
                .map(|version| input.number("runbook_version", version))
                .transpose()?,
            session: record.session_id.map(|id| at.id("session_id", &id).map(SessionId)).transpose()?,
            plan: input.digest("plan_digest", record.plan_digest)?,
            lane: at.word("lane", &record.lane)?,
            priority: at.number("priority", record.priority)?,
            labels: input.json("labels", &record.labels)?,
            params: input.json("params", &record.params)?,
            trigger: Trigger { kind: record.trigger_kind, actor: record.trigger_actor },
            steps_total: input.number("steps_total", record.steps_total)?,
            status: at.word("status", &record.status)?,
            waiting_on: record.waiting_on.map(|word| at.word("waiting_on", &word)).transpose()?,
            claimable: record.claimable,
            epoch: Epoch(record.epoch),
            version: record.version,
            claimed_by: record.claimed_by.map(|id| at.id("claimed_by", &id).map(WorkerId)).transpose()?,
            claimed_at: record.claimed_at.map(Micros),
            heartbeat_at: record.heartbeat_at.map(Micros),
            wake_at: record.wake_at.map(Micros),
            signal_seq: record.signal_seq,
            signals_applied: record.signals_applied,
            sequence_head: at.number("sequence_head", record.sequence_head)?,
            stamp_head: Micros(record.stamp_head),
            recoveries: at.number("recoveries", record.recoveries)?,
            recoveries_applied: at.number("recoveries_applied", record.recoveries_applied)?,
            error: record.error.map(|text| at.json::<Failure>("error", &text)).transpose()?,
            created_at: Micros(record.created_at),
            started_at: record.started_at.map(Micros),
            ended_at: record.ended_at.map(Micros),
        })
    }
}

#[derive(Debug, FromRow)]
struct SessionRecord {
    id: Vec<u8>,
    tenant_id: Vec<u8>,
    name: String,
    labels: String,
    created_at: i64,
    created_by: String,
    archived_at: Option<i64>,
}

/// A session.
pub(super) fn session(row: &SqliteRow) -> Result<SessionRow, StoreError> {
    let record = SessionRecord::from_row(row).map_err(|error| store_error(&error))?;
    let at = Place { table: "sessions", row: format!("{:02x?}", record.id) };
    Ok(SessionRow {
        id: SessionId(at.id("id", &record.id)?),
        tenant: TenantId(at.id("tenant_id", &record.tenant_id)?),
        name: record.name,
        labels: at.json("labels", &record.labels)?,
        created_at: Micros(record.created_at),
        created_by: record.created_by,
        archived_at: record.archived_at.map(Micros),
    })
}

#[derive(Debug, FromRow)]
struct LiveCountRecord {
    lane: String,
    session_id: Option<Vec<u8>>,
    queued: i64,
    running: i64,
}

/// A count of `live_counts.sql`.
pub(super) fn live_count(row: &SqliteRow) -> Result<LiveCount, StoreError> {
    let record = LiveCountRecord::from_row(row).map_err(|error| store_error(&error))?;
    let at = Place { table: "runs", row: format!("live runs of lane {}", record.lane) };
    Ok(LiveCount {
        lane: at.word("lane", &record.lane)?,
        session: record.session_id.map(|id| at.id("session_id", &id).map(SessionId)).transpose()?,
        queued: at.number("claimed_by", record.queued)?,
        running: at.number("claimed_by", record.running)?,
    })
}

#[derive(Debug, FromRow)]
pub(super) struct EventRecord {
    sequence: i64,
    prev: i64,
    at: i64,
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
            at: Micros(record.at),
            kind: EventKind { category: at.word("category", &record.category)?, action: record.action },
            data: at.json("data", &record.data)?,
        })
    }
}

#[derive(Debug, FromRow)]
pub(super) struct StepRecord {
    step_index: i64,
    step_id: String,
    uses: String,
    status: String,
    attempts: i64,
    started_at: Option<i64>,
    ended_at: Option<i64>,
    outputs: String,
    error: Option<String>,
}

impl TryFrom<StepRecord> for StepRow {
    type Error = StoreError;

    fn try_from(record: StepRecord) -> Result<StepRow, StoreError> {
        let at = Place { table: "run_steps", row: format!("step {} ({})", record.step_index, record.step_id) };
        Ok(StepRow {
            step: StepIx(at.number("step_index", record.step_index)?),
            id: Arc::from(record.step_id),
            uses: Arc::from(record.uses),
            status: at.word("status", &record.status)?,
            attempts: at.number("attempts", record.attempts)?,
            started_at: record.started_at.map(Micros),
            ended_at: record.ended_at.map(Micros),
            outputs: at.json("outputs", &record.outputs)?,
            error: record.error.map(|text| at.json("error", &text)).transpose()?,
        })
    }
}

#[derive(Debug, FromRow)]
pub(super) struct SignalRecord {
    seq: i64,
    at: i64,
    kind: String,
    data: String,
}

impl SignalRecord {
    /// The signal; a row does not say again whose it is.
    pub(super) fn of(self, run: RunId) -> Result<SignalRow, StoreError> {
        let place = Place { table: "run_signals", row: format!("{run} signal {}", self.seq) };
        let kind = signal::signal_kind(&self.kind, &self.data).map_err(|(column, why)| place.corrupt(column, why))?;
        Ok(SignalRow { run, seq: self.seq, at: Micros(self.at), kind })
    }
}

/// What the guards of commits look at (`commit_state.sql`).
#[derive(Debug, FromRow)]
pub(super) struct GuardRecord {
    id: Vec<u8>,
    epoch: i64,
    version: i64,
    status: String,
    claimed_by: Option<Vec<u8>>,
    signal_seq: i64,
    sequence_head: i64,
}

impl TryFrom<GuardRecord> for Guard {
    type Error = StoreError;

    fn try_from(record: GuardRecord) -> Result<Guard, StoreError> {
        let unnamed = Place { table: "runs", row: format!("{:02x?}", record.id) };
        let id = RunId(unnamed.id("id", &record.id)?);
        let at = Place::run(id);
        Ok(Guard {
            id,
            epoch: Epoch(record.epoch),
            version: record.version,
            status: at.word("status", &record.status)?,
            claimed_by: record.claimed_by.map(|id| at.id("claimed_by", &id).map(WorkerId)).transpose()?,
            signal_seq: record.signal_seq,
            sequence_head: at.number("sequence_head", record.sequence_head)?,
        })
    }
}
