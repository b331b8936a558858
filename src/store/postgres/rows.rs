//! From rows to the domain. A value that this build cannot read is `Corrupt`, and names its place.

use std::{fmt::Display, str::FromStr, sync::Arc};

use serde::de::DeserializeOwned;
use sqlx::{Decode, FromRow, Postgres, Row, Type, postgres::PgRow};
use uuid::Uuid;

use super::{
    errors::store_error,
    types::{At, restored, restored_json},
};
use crate::{
    model::{Digest, Epoch, EventKind, Failure, Lane, RunId, RunStatus, SessionId, StepIx, TenantId, WorkerId},
    ports::{LiveCount, RunRow, SessionRow, SignalRow, StepRow, StoreError, StoredEvent, Trigger},
    store::{guard::Guard, signal},
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

/// The only value of a result of at most one row.
pub(super) fn scalar<T>(rows: &[PgRow]) -> Result<Option<T>, StoreError>
where
    T: for<'r> Decode<'r, Postgres> + Type<Postgres>,
{
    rows.first().map(|row| row.try_get(0)).transpose().map_err(|error| store_error(&error))
}

/// The id in the first column.
pub(super) fn id_of(row: &PgRow) -> Result<Uuid, StoreError> {
    row.try_get(0).map_err(|error| store_error(&error))
}

/// The id and the lane that sweeps answer.
pub(super) fn run_and_lane(row: &PgRow) -> Result<(RunId, Lane), StoreError> {
    let id = RunId(id_of(row)?);
    let lane: String = row.try_get(1).map_err(|error| store_error(&error))?;
    Ok((id, Place::run(id).word("lane", &lane)?))
}

/// What `owned.sql` answers.
pub(super) fn run_and_epoch(row: &PgRow) -> Result<(RunId, Epoch), StoreError> {
    let id = RunId(id_of(row)?);
    Ok((id, Epoch(row.try_get(1).map_err(|error| store_error(&error))?)))
}

/// What `signal.sql` answers.
pub(super) fn status_and_seq(run: RunId, row: &PgRow) -> Result<(RunStatus, i64), StoreError> {
    let status: String = row.try_get(0).map_err(|error| store_error(&error))?;
    let seq = row.try_get(1).map_err(|error| store_error(&error))?;
    Ok((Place::run(run).word("status", &status)?, seq))
}

/// A row, for saying where something unreadable is.
pub(super) struct Place {
    pub(super) table: &'static str,
    pub(super) row: String,
}

impl Place {
    pub(super) fn run(id: RunId) -> Place {
        Place { table: "runs", row: id.to_string() }
    }

    pub(super) fn corrupt(&self, column: &'static str, why: impl Display) -> StoreError {
        StoreError::Corrupt { table: self.table, column, row: self.row.clone(), why: why.to_string() }
    }

    pub(super) fn word<T: FromStr<Err: Display>>(&self, column: &'static str, word: &str) -> Result<T, StoreError> {
        word.parse().map_err(|why| self.corrupt(column, why))
    }

    /// From the text of a JSON column.
    pub(super) fn json<T: DeserializeOwned>(&self, column: &'static str, text: String) -> Result<T, StoreError> {
        serde_json::from_str(&restored_json(text)).map_err(|why| self.corrupt(column, why))
    }

    pub(super) fn digest(&self, column: &'static str, bytes: Vec<u8>) -> Result<Digest, StoreError> {
        bytes.try_into().map(Digest).map_err(|_| self.corrupt(column, "not 32 bytes"))
    }

    pub(super) fn number<T: TryFrom<i64, Error: Display>>(
        &self,
        column: &'static str,
        number: i64,
    ) -> Result<T, StoreError> {
        T::try_from(number).map_err(|why| self.corrupt(column, format!("{number}: {why}")))
    }
}

/// `runs` with its `run_inputs`.
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
        let digest = record.plan_digest.try_into().map_err(|_| input.corrupt("plan_digest", "not 32 bytes"))?;
        Ok(RunRow {
            id,
            tenant: TenantId(record.tenant_id),
            runbook: restored(record.runbook).into(),
            runbook_version: record
                .runbook_version
                .map(|version| input.number("runbook_version", version))
                .transpose()?,
            session: record.session_id.map(SessionId),
            plan: Digest(digest),
            lane: at.word("lane", &record.lane)?,
            priority: record.priority,
            labels: input.json("labels", record.labels)?,
            params: input.json("params", record.params)?,
            trigger: Trigger { kind: restored(record.trigger_kind), actor: restored(record.trigger_actor) },
            steps_total: input.number("steps_total", record.steps_total)?,
            status: at.word("status", &record.status)?,
            waiting_on: record.waiting_on.map(|word| at.word("waiting_on", &word)).transpose()?,
            claimable: record.claimable,
            epoch: Epoch(record.epoch),
            version: record.version,
            claimed_by: record.claimed_by.map(WorkerId),
            claimed_at: record.claimed_at.map(|At(at)| at),
            heartbeat_at: record.heartbeat_at.map(|At(at)| at),
            wake_at: record.wake_at.map(|At(at)| at),
            signal_seq: record.signal_seq,
            signals_applied: record.signals_applied,
            sequence_head: at.number("sequence_head", record.sequence_head)?,
            stamp_head: record.stamp_head.0,
            recoveries: at.number("recoveries", record.recoveries)?,
            recoveries_applied: at.number("recoveries_applied", record.recoveries_applied)?,
            error: record.error.map(|text| at.json::<Failure>("error", text)).transpose()?,
            created_at: record.created_at.0,
            started_at: record.started_at.map(|At(at)| at),
            ended_at: record.ended_at.map(|At(at)| at),
        })
    }
}

#[derive(Debug, FromRow)]
struct SessionRecord {
    id: Uuid,
    tenant_id: Uuid,
    name: String,
    labels: String,
    created_at: At,
    created_by: String,
    archived_at: Option<At>,
}

/// A session.
pub(super) fn session(row: &PgRow) -> Result<SessionRow, StoreError> {
    let record = SessionRecord::from_row(row).map_err(|error| store_error(&error))?;
    let at = Place { table: "sessions", row: record.id.to_string() };
    Ok(SessionRow {
        id: SessionId(record.id),
        tenant: TenantId(record.tenant_id),
        name: restored(record.name),
        labels: at.json("labels", record.labels)?,
        created_at: record.created_at.0,
        created_by: restored(record.created_by),
        archived_at: record.archived_at.map(|At(at)| at),
    })
}

#[derive(Debug, FromRow)]
struct LiveCountRecord {
    lane: String,
    session_id: Option<Uuid>,
    queued: i64,
    running: i64,
}

/// A count of `live_counts.sql`.
pub(super) fn live_count(row: &PgRow) -> Result<LiveCount, StoreError> {
    let record = LiveCountRecord::from_row(row).map_err(|error| store_error(&error))?;
    let at = Place { table: "runs", row: format!("live runs of lane {}", record.lane) };
    Ok(LiveCount {
        lane: at.word("lane", &record.lane)?,
        session: record.session_id.map(SessionId),
        queued: at.number("claimed_by", record.queued)?,
        running: at.number("claimed_by", record.running)?,
    })
}

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
            data: at.json("data", record.data)?,
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
    started_at: Option<At>,
    ended_at: Option<At>,
    outputs: String,
    error: Option<String>,
}

impl TryFrom<StepRecord> for StepRow {
    type Error = StoreError;

    fn try_from(record: StepRecord) -> Result<StepRow, StoreError> {
        let at = Place { table: "run_steps", row: format!("step {} ({})", record.step_index, record.step_id) };
        Ok(StepRow {
            step: StepIx(at.number("step_index", record.step_index)?),
            id: Arc::from(restored(record.step_id)),
            uses: Arc::from(restored(record.uses)),
            status: at.word("status", &record.status)?,
            attempts: at.number("attempts", record.attempts)?,
            started_at: record.started_at.map(|At(at)| at),
            ended_at: record.ended_at.map(|At(at)| at),
            outputs: at.json("outputs", record.outputs)?,
            error: record.error.map(|text| at.json("error", text)).transpose()?,
        })
    }
}

#[derive(Debug, FromRow)]
pub(super) struct SignalRecord {
    seq: i64,
    at: At,
    kind: String,
    data: String,
}

impl SignalRecord {
    /// The signal; a row does not say again whose it is.
    pub(super) fn of(self, run: RunId) -> Result<SignalRow, StoreError> {
        let place = Place { table: "run_signals", row: format!("{run} signal {}", self.seq) };
        let kind = signal::signal_kind(&self.kind, &restored_json(self.data)).map_err(|(column, why)| place.corrupt(column, why))?;
        Ok(SignalRow { run, seq: self.seq, at: self.at.0, kind })
    }
}

/// What the guards of commits look at (`commit_state.sql`).
#[derive(Debug, FromRow)]
pub(super) struct GuardRecord {
    id: Uuid,
    epoch: i64,
    version: i64,
    status: String,
    claimed_by: Option<Uuid>,
    signal_seq: i64,
    sequence_head: i64,
}

impl TryFrom<GuardRecord> for Guard {
    type Error = StoreError;

    fn try_from(record: GuardRecord) -> Result<Guard, StoreError> {
        let id = RunId(record.id);
        let at = Place::run(id);
        Ok(Guard {
            id,
            epoch: Epoch(record.epoch),
            version: record.version,
            status: at.word("status", &record.status)?,
            claimed_by: record.claimed_by.map(WorkerId),
            signal_seq: record.signal_seq,
            sequence_head: at.number("sequence_head", record.sequence_head)?,
        })
    }
}
