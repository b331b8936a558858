//! What only single verbs read.

use std::sync::Arc;

use sqlx::{FromRow, Row, postgres::PgRow};
use uuid::Uuid;

use super::{
    errors::store_error,
    types::{At, restored, restored_json},
};
use crate::{
    model::{Epoch, Lane, RunId, RunStatus, StepIx, WorkerId},
    ports::{SignalRow, StepRow, StoreError},
    store::{guard::Guard, place::Place, signal},
};

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

/// What `signal.sql` answers: no number where the run had ended.
pub(super) fn status_and_seq(run: RunId, row: &PgRow) -> Result<(RunStatus, Option<i64>), StoreError> {
    let status: String = row.try_get(0).map_err(|error| store_error(&error))?;
    let seq = row.try_get(1).map_err(|error| store_error(&error))?;
    Ok((Place::run(run).word("status", &status)?, seq))
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
            outputs: at.json("outputs", &restored_json(record.outputs))?,
            error: record.error.map(|text| at.json("error", &restored_json(text))).transpose()?,
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
        let kind = signal::signal_kind(&self.kind, &restored_json(self.data))
            .map_err(|(column, why)| place.corrupt(column, why))?;
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
