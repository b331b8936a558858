//! How many runs wait and run, and which place in the queue one has.

use sqlx::FromRow;
use uuid::Uuid;

use super::{
    PgStore,
    arguments::arguments,
    records::{decode_all, scalar},
};
use crate::{
    model::{RunId, SessionId, TenantId},
    ports::{LiveCount, StoreError},
    store::place::Place,
};

pub(super) async fn live(store: &PgStore, tenant: TenantId) -> Result<Vec<LiveCount>, StoreError> {
    let rows = store.rows(include_str!("queries/live_counts.sql"), arguments!(tenant.0)).await?;
    decode_all::<LiveCountRecord, _>(&rows)
}

pub(super) async fn queue_position(store: &PgStore, run: RunId) -> Result<Option<u64>, StoreError> {
    let rows = store.rows(include_str!("queries/queue_position.sql"), arguments!(run.0)).await?;
    let position: Option<i64> = scalar(&rows)?;
    Ok(position.and_then(|position| u64::try_from(position).ok()))
}

#[derive(Debug, FromRow)]
struct LiveCountRecord {
    lane: String,
    session_id: Option<Uuid>,
    queued: i64,
    running: i64,
}

impl TryFrom<LiveCountRecord> for LiveCount {
    type Error = StoreError;

    fn try_from(record: LiveCountRecord) -> Result<LiveCount, StoreError> {
        let at = Place { table: "runs", row: format!("live runs of lane {}", record.lane) };
        Ok(LiveCount {
            lane: at.word("lane", &record.lane)?,
            session: record.session_id.map(SessionId),
            queued: at.number("claimed_by", record.queued)?,
            running: at.number("claimed_by", record.running)?,
        })
    }
}
