//! Workers and their leases. The store's own clock is that of the machine, which all processes on the file share.

use std::time::Duration;

use sqlx::{FromRow, Row, sqlite::SqliteRow};

use super::{
    SqliteStore,
    arguments::{self, arguments, id},
    errors::store_error,
    rows::{self, decode_all},
};
use crate::{
    model::{Micros, TenantId, WorkerId},
    ports::{Beat, ExpiredWorkers, Page, StoreError, WorkerRow, WorkerState},
    store::place::Place,
};

pub(super) async fn register(
    store: &SqliteStore,
    worker: &WorkerRow,
    lease: Option<Duration>,
) -> Result<Beat, StoreError> {
    let arguments = arguments!(
        id(worker.id.0),
        id(worker.tenant.0),
        worker.host.clone(),
        i64::from(worker.pid),
        worker.version.clone(),
        worker.started_at.0,
        arguments::json(&worker.lanes),
        i64::from(worker.slots),
        arguments::json(&worker.labels),
        worker.draining,
        micros(lease)
    );
    answer(&store.write(include_str!("queries/register_worker.sql"), arguments).await?)
}

pub(super) async fn beat(store: &SqliteStore, worker: WorkerId, lease: Option<Duration>) -> Result<Beat, StoreError> {
    let arguments = arguments!(id(worker.0), micros(lease));
    answer(&store.write(include_str!("queries/beat.sql"), arguments).await?)
}

pub(super) async fn expired(store: &SqliteStore, limit: usize) -> Result<ExpiredWorkers, StoreError> {
    let rows = store.write(include_str!("queries/expired_workers.sql"), arguments!(arguments::limit(limit))).await?;
    let (first, dead) = rows.split_first().ok_or_else(|| StoreError::Unavailable("it tells no time".to_owned()))?;
    let now = first.try_get(1).map_err(|error| store_error(&error))?;
    let workers = dead.iter().map(|row| rows::id_of("workers", "id", row).map(WorkerId)).collect::<Result<_, _>>()?;
    Ok(ExpiredWorkers { now: Micros(now), server: 0, workers })
}

pub(super) async fn list(
    store: &SqliteStore,
    tenant: TenantId,
    after: Option<WorkerId>,
    limit: usize,
) -> Result<Page<WorkerState>, StoreError> {
    let after = after.map(|worker| id(worker.0));
    let arguments = arguments!(id(tenant.0), after, arguments::limit(limit.saturating_add(1)));
    let rows = store.read(include_str!("queries/workers.sql"), arguments).await?;
    let mut items = decode_all::<WorkerRecord, WorkerState>(&rows)?;
    let more = items.len() > limit;
    items.truncate(limit);
    Ok(Page { items, more })
}

fn micros(lease: Option<Duration>) -> Option<i64> {
    lease.map(|lease| i64::try_from(lease.as_micros()).unwrap_or(i64::MAX / 2))
}

/// No row: the worker is lost.
fn answer(rows: &[SqliteRow]) -> Result<Beat, StoreError> {
    let Some(row) = rows.first() else { return Ok(Beat::Lost) };
    let now = row.try_get(0).map_err(|error| store_error(&error))?;
    let draining = row.try_get(1).map_err(|error| store_error(&error))?;
    Ok(Beat::Held { now: Micros(now), draining })
}

#[derive(Debug, FromRow)]
struct WorkerRecord {
    id: Vec<u8>,
    tenant_id: Vec<u8>,
    host: String,
    pid: i64,
    version: String,
    started_at: i64,
    lanes: String,
    slots: i64,
    labels: String,
    draining: bool,
    beat_at: i64,
    beat_age: i64,
    lease_until: Option<i64>,
    is_expired: bool,
    running: i64,
}

impl TryFrom<WorkerRecord> for WorkerState {
    type Error = StoreError;

    fn try_from(record: WorkerRecord) -> Result<WorkerState, StoreError> {
        let unnamed = Place { table: "workers", row: format!("{:02x?}", record.id) };
        let id = WorkerId(unnamed.id("id", &record.id)?);
        let at = Place { table: "workers", row: id.to_string() };
        let row = WorkerRow {
            id,
            tenant: TenantId(at.id("tenant_id", &record.tenant_id)?),
            host: record.host,
            pid: at.number("pid", record.pid)?,
            version: record.version,
            lanes: at.json("lanes", &record.lanes)?,
            slots: at.number("slots", record.slots)?,
            labels: at.json("labels", &record.labels)?,
            started_at: Micros(record.started_at),
            draining: record.draining,
        };
        Ok(WorkerState {
            row,
            beat_at: Micros(record.beat_at),
            beat_age: Duration::from_micros(at.number("beat_at", record.beat_age)?),
            lease_until: record.lease_until.map(Micros),
            is_expired: record.is_expired,
            running: at.number("claimed_by", record.running)?,
        })
    }
}
