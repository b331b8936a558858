//! Workers and their leases, by the clock of the server.

use std::time::Duration;

use sqlx::{FromRow, Row, postgres::PgRow};
use uuid::Uuid;

use super::{
    PgStore,
    arguments::{self, arguments},
    errors::store_error,
    records::page,
    types::{At, restored, restored_json, stored},
};
use crate::{
    model::{Lane, TenantId, WorkerId},
    ports::{Beat, ExpiredWorkers, Page, StoreError, WorkerRow, WorkerState},
    store::place::Place,
};

pub(super) async fn register(store: &PgStore, worker: &WorkerRow, lease: Option<Duration>) -> Result<Beat, StoreError> {
    let arguments = arguments!(
        worker.id.0,
        worker.tenant.0,
        stored(&worker.host).into_owned(),
        i64::from(worker.pid),
        stored(&worker.version).into_owned(),
        At(worker.started_at),
        worker.lanes.iter().map(|lane| lane.as_str()).collect::<Vec<_>>(),
        i32::try_from(worker.slots).unwrap_or(i32::MAX),
        arguments::json(&worker.labels),
        worker.draining,
        micros(lease)
    );
    answer(&store.rows(include_str!("queries/register_worker.sql"), arguments).await?)
}

pub(super) async fn beat(store: &PgStore, worker: WorkerId, lease: Option<Duration>) -> Result<Beat, StoreError> {
    answer(&store.rows(include_str!("queries/beat.sql"), arguments!(worker.0, micros(lease))).await?)
}

pub(super) async fn expired(store: &PgStore, limit: usize) -> Result<ExpiredWorkers, StoreError> {
    let rows = store.rows(include_str!("queries/expired_workers.sql"), arguments!(arguments::limit(limit))).await?;
    let row = rows.first().ok_or_else(|| StoreError::Unavailable("it tells no time".to_owned()))?;
    let read =
        || -> Result<(At, i64, Vec<Uuid>), sqlx::Error> { Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?)) };
    let (At(now), server, workers) = read().map_err(|error| store_error(&error))?;
    Ok(ExpiredWorkers { now, server, workers: workers.into_iter().map(WorkerId).collect() })
}

pub(super) async fn list(
    store: &PgStore,
    tenant: TenantId,
    after: Option<WorkerId>,
    limit: usize,
) -> Result<Page<WorkerState>, StoreError> {
    let arguments = arguments!(tenant.0, after.map(|worker| worker.0), arguments::limit(limit.saturating_add(1)));
    let rows = store.rows(include_str!("queries/workers.sql"), arguments).await?;
    page::<WorkerRecord, _>(&rows, limit)
}

pub(super) async fn drain(store: &PgStore, tenant: TenantId, worker: WorkerId) -> Result<bool, StoreError> {
    let rows = store.rows(include_str!("queries/drain_worker.sql"), arguments!(worker.0, tenant.0)).await?;
    Ok(!rows.is_empty())
}

/// Ten years at most, so that no date is out of range.
fn micros(lease: Option<Duration>) -> Option<i64> {
    const MOST: i64 = 315_360_000_000_000;
    lease.map(|lease| i64::try_from(lease.as_micros()).unwrap_or(MOST).min(MOST))
}

/// No row: the worker is lost.
fn answer(rows: &[PgRow]) -> Result<Beat, StoreError> {
    let Some(row) = rows.first() else { return Ok(Beat::Lost) };
    let At(now) = row.try_get(0).map_err(|error| store_error(&error))?;
    let draining = row.try_get(1).map_err(|error| store_error(&error))?;
    Ok(Beat::Held { now, draining })
}

#[derive(Debug, FromRow)]
struct WorkerRecord {
    id: Uuid,
    tenant_id: Uuid,
    host: String,
    pid: i64,
    version: String,
    started_at: At,
    lanes: Vec<String>,
    slots: i32,
    labels: String,
    draining: bool,
    beat_at: At,
    beat_age: i64,
    lease_until: Option<At>,
    is_expired: bool,
    running: i64,
}

impl TryFrom<WorkerRecord> for WorkerState {
    type Error = StoreError;

    fn try_from(record: WorkerRecord) -> Result<WorkerState, StoreError> {
        let id = WorkerId(record.id);
        let at = Place { table: "workers", row: id.to_string() };
        let row = WorkerRow {
            id,
            tenant: TenantId(record.tenant_id),
            host: restored(record.host),
            pid: at.number("pid", record.pid)?,
            version: restored(record.version),
            lanes: record.lanes.iter().map(|lane| at.word("lanes", lane)).collect::<Result<Vec<Lane>, _>>()?,
            slots: at.number("slots", i64::from(record.slots))?,
            labels: at.json("labels", &restored_json(record.labels))?,
            started_at: record.started_at.0,
            draining: record.draining,
        };
        Ok(WorkerState {
            row,
            beat_at: record.beat_at.0,
            beat_age: Duration::from_micros(at.number("beat_at", record.beat_age)?),
            lease_until: record.lease_until.map(|At(until)| until),
            is_expired: record.is_expired,
            running: at.number("claimed_by", record.running)?,
        })
    }
}
