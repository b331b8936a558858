//! Archives of runs, and what becomes superfluous once they exist.

use async_trait::async_trait;
use serde::Serialize;
use sqlx::{FromRow, Row};

use super::{
    SqliteStore,
    arguments::{self, Hex, arguments, hex_list, id},
    errors::store_error,
    rows::{self, EventRecord, decode_all},
};
use crate::{
    model::{Digest, Micros, RunId, TenantId},
    ports::{ArchiveRow, ArchiveStore, EVENT_BYTES, EndedRun, StoreError, StoredEvent},
    store::place::Place,
};

#[async_trait]
impl ArchiveStore for SqliteStore {
    async fn unarchived(&self, limit: usize) -> Result<Vec<EndedRun>, StoreError> {
        let arguments = arguments!(arguments::limit(limit));
        decode_all::<EndedRecord, _>(&self.read(include_str!("queries/unarchived.sql"), arguments).await?)
    }

    async fn events_of(&self, runs: &[RunId], limit: usize) -> Result<Vec<(RunId, Vec<StoredEvent>)>, StoreError> {
        let arguments = arguments!(hex_list(runs.iter().map(|run| run.0)), arguments::limit(limit), EVENT_BYTES);
        let rows = self.read(include_str!("queries/events_of.sql"), arguments).await?;
        let mut answer: Vec<(RunId, Vec<StoredEvent>)> = runs.iter().map(|run| (*run, Vec::new())).collect();
        let (mut last, mut bytes) = (0, 0);
        for row in &rows {
            let place: i64 = row.try_get("place").map_err(|error| store_error(&error))?;
            last = usize::try_from(place).unwrap_or(usize::MAX);
            bytes = row.try_get("bytes").map_err(|error| store_error(&error))?;
            let event = EventRecord::from_row(row).map_err(|error| store_error(&error))?.try_into()?;
            if let Some((_, events)) = answer.get_mut(last) {
                events.push(event);
            }
        }
        if rows.len() >= limit || bytes >= EVENT_BYTES {
            // Perhaps not all of the last one.
            answer.truncate(last);
        }
        Ok(answer)
    }

    async fn record_archives(&self, archives: &[ArchiveRow]) -> Result<(), StoreError> {
        let Some(ArchiveRow { artifact, at, .. }) = archives.first() else { return Ok(()) };
        let rows: Vec<ArchiveInsert> = archives.iter().map(ArchiveInsert::from).collect();
        let arguments = arguments!(artifact.clone(), at.0, arguments::json(&rows));
        self.write(include_str!("queries/record_archives.sql"), arguments).await.map(drop)
    }

    async fn archive(&self, run: RunId) -> Result<Option<ArchiveRow>, StoreError> {
        let rows = self.read(include_str!("queries/archive.sql"), arguments!(id(run.0))).await?;
        let record = rows.first().map(ArchiveRecord::from_row).transpose().map_err(|error| store_error(&error))?;
        record.map(|record| record.of(run)).transpose()
    }

    async fn settled(&self, runs: &[RunId]) -> Result<Vec<RunId>, StoreError> {
        let arguments = arguments!(hex_list(runs.iter().map(|run| run.0)));
        let rows = self.read(include_str!("queries/settled.sql"), arguments).await?;
        rows.iter().map(|row| rows::id_of("runs", "id", row).map(RunId)).collect()
    }

    async fn trim_events(&self, before: Micros, limit: usize) -> Result<bool, StoreError> {
        let arguments = arguments!(before.0, arguments::limit(limit));
        Ok(!self.write(include_str!("queries/trim_events.sql"), arguments).await?.is_empty())
    }

    async fn expired(&self, before: Micros, limit: usize) -> Result<Vec<RunId>, StoreError> {
        let arguments = arguments!(before.0, arguments::limit(limit));
        let rows = self.read(include_str!("queries/expired.sql"), arguments).await?;
        rows.iter().map(|row| rows::id_of("runs", "id", row).map(RunId)).collect()
    }

    async fn delete_runs(&self, runs: &[RunId]) -> Result<(), StoreError> {
        let arguments = arguments!(hex_list(runs.iter().map(|run| run.0)));
        self.write(include_str!("queries/delete_runs.sql"), arguments).await.map(drop)
    }

    async fn unused_packs(&self, limit: usize) -> Result<Vec<String>, StoreError> {
        rows::texts(&self.read(include_str!("queries/unused_packs.sql"), arguments!(arguments::limit(limit))).await?)
    }

    async fn unknown_packs(&self, artifacts: &[String]) -> Result<Vec<String>, StoreError> {
        let arguments = arguments!(arguments::json(&artifacts));
        rows::texts(&self.read(include_str!("queries/unknown_packs.sql"), arguments).await?)
    }

    async fn forget_packs(&self, artifacts: &[String]) -> Result<(), StoreError> {
        let arguments = arguments!(arguments::json(&artifacts));
        self.write(include_str!("queries/forget_packs.sql"), arguments).await.map(drop)
    }
}

#[derive(FromRow)]
struct EndedRecord {
    id: Vec<u8>,
    tenant_id: Vec<u8>,
    ended_at: i64,
    sequence_head: i64,
}

impl TryFrom<EndedRecord> for EndedRun {
    type Error = StoreError;

    fn try_from(record: EndedRecord) -> Result<EndedRun, StoreError> {
        let unnamed = Place { table: "runs", row: format!("{:02x?}", record.id) };
        let run = RunId(unnamed.id("id", &record.id)?);
        let at = Place::run(run);
        Ok(EndedRun {
            run,
            tenant: TenantId(at.id("tenant_id", &record.tenant_id)?),
            ended_at: Micros(record.ended_at),
            sequence_head: at.number("sequence_head", record.sequence_head)?,
        })
    }
}

/// One row of `record_archives.sql`; the order is that of the statement.
#[derive(Serialize)]
struct ArchiveInsert(Hex, u64, u64, Digest, Digest, u64, u64, i64);

impl From<&ArchiveRow> for ArchiveInsert {
    fn from(row: &ArchiveRow) -> ArchiveInsert {
        let ArchiveRow { run, position, size, digest, head, events, last_sequence, at, .. } = row;
        ArchiveInsert(Hex(run.0), *position, *size, *digest, *head, *events, *last_sequence, at.0)
    }
}

#[derive(FromRow)]
struct ArchiveRecord {
    artifact: String,
    position: i64,
    size: i64,
    digest: Vec<u8>,
    head: Vec<u8>,
    events: i64,
    last_sequence: i64,
    archived_at: i64,
}

impl ArchiveRecord {
    fn of(self, run: RunId) -> Result<ArchiveRow, StoreError> {
        let place = Place { table: "run_archives", row: run.to_string() };
        Ok(ArchiveRow {
            run,
            artifact: self.artifact,
            position: place.number("position", self.position)?,
            size: place.number("size", self.size)?,
            digest: place.digest("digest", self.digest)?,
            head: place.digest("head", self.head)?,
            events: place.number("events", self.events)?,
            last_sequence: place.number("last_sequence", self.last_sequence)?,
            at: Micros(self.archived_at),
        })
    }
}
