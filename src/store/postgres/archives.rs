//! Archives of runs, and what becomes superfluous once they exist.

use async_trait::async_trait;
use sqlx::{FromRow, Row};
use uuid::Uuid;

use super::{
    PgStore,
    arguments::{self, arguments},
    errors::store_error,
    records::{self, EventRecord, decode_all},
    types::{At, stored},
};
use crate::{
    model::{Micros, RunId, TenantId},
    ports::{ArchiveRow, ArchiveStore, EVENT_BYTES, EndedRun, StoreError, StoredEvent},
    store::place::Place,
};

#[async_trait]
impl ArchiveStore for PgStore {
    async fn unarchived(&self, limit: usize) -> Result<Vec<EndedRun>, StoreError> {
        let arguments = arguments!(arguments::limit(limit));
        decode_all::<EndedRecord, _>(&self.rows(include_str!("queries/unarchived.sql"), arguments).await?)
    }

    async fn events_of(&self, runs: &[RunId], limit: usize) -> Result<Vec<(RunId, Vec<StoredEvent>)>, StoreError> {
        let arguments = arguments!(ids(runs), arguments::limit(limit), EVENT_BYTES);
        let rows = self.rows(include_str!("queries/events_of.sql"), arguments).await?;
        let mut answer: Vec<(RunId, Vec<StoredEvent>)> = runs.iter().map(|run| (*run, Vec::new())).collect();
        let (mut last, mut bytes) = (0, 0);
        for row in &rows {
            // From 1.
            let place: i64 = row.try_get("place").map_err(|error| store_error(&error))?;
            last = usize::try_from(place - 1).unwrap_or(usize::MAX);
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
        let column = |number: fn(&ArchiveRow) -> u64| -> Result<Vec<i64>, StoreError> {
            let signed = |row| i64::try_from(number(row)).map_err(|why| StoreError::Refused(why.to_string()));
            archives.iter().map(signed).collect()
        };
        let arguments = arguments!(
            stored(artifact).into_owned(),
            At(*at),
            archives.iter().map(|row| row.run.0).collect::<Vec<_>>(),
            column(|row| row.position)?,
            column(|row| row.size)?,
            archives.iter().map(|row| row.digest.0.to_vec()).collect::<Vec<_>>(),
            archives.iter().map(|row| row.head.0.to_vec()).collect::<Vec<_>>(),
            column(|row| row.events)?,
            column(|row| row.last_sequence)?,
            archives.iter().map(|row| At(row.at)).collect::<Vec<_>>(),
        );
        self.execute(include_str!("queries/record_archives.sql"), arguments).await
    }

    async fn archive(&self, run: RunId) -> Result<Option<ArchiveRow>, StoreError> {
        let rows = self.rows(include_str!("queries/archive.sql"), arguments!(run.0)).await?;
        let record = rows.first().map(ArchiveRecord::from_row).transpose().map_err(|error| store_error(&error))?;
        record.map(|record| record.of(run)).transpose()
    }

    async fn settled(&self, runs: &[RunId]) -> Result<Vec<RunId>, StoreError> {
        let rows = self.rows(include_str!("queries/settled.sql"), arguments!(ids(runs))).await?;
        rows.iter().map(records::run_id).collect()
    }

    async fn trim_events(&self, before: Micros, limit: usize) -> Result<bool, StoreError> {
        let both = || Ok::<_, StoreError>(arguments!(At(before), arguments::limit(limit)));
        let gone: Option<i64> = records::scalar(&self.rows(include_str!("queries/trim_events.sql"), both()?).await?)?;
        // Repeating this changes nothing, so it need not be in the transaction that deletes.
        self.execute(include_str!("queries/mark_trimmed.sql"), both()?).await?;
        Ok(gone.and_then(|gone| usize::try_from(gone).ok()).is_some_and(|gone| gone >= limit))
    }

    async fn expired(&self, before: Micros, limit: usize) -> Result<Vec<RunId>, StoreError> {
        let arguments = arguments!(At(before), arguments::limit(limit));
        let rows = self.rows(include_str!("queries/expired.sql"), arguments).await?;
        rows.iter().map(records::run_id).collect()
    }

    async fn delete_runs(&self, runs: &[RunId]) -> Result<(), StoreError> {
        self.execute(include_str!("queries/delete_runs.sql"), arguments!(ids(runs))).await
    }

    async fn unused_packs(&self, limit: usize) -> Result<Vec<String>, StoreError> {
        let arguments = arguments!(arguments::limit(limit));
        records::texts(&self.rows(include_str!("queries/unused_packs.sql"), arguments).await?)
    }

    async fn unknown_packs(&self, artifacts: &[String]) -> Result<Vec<String>, StoreError> {
        let arguments = arguments!(names(artifacts));
        records::texts(&self.rows(include_str!("queries/unknown_packs.sql"), arguments).await?)
    }

    async fn forget_packs(&self, artifacts: &[String]) -> Result<(), StoreError> {
        self.execute(include_str!("queries/forget_packs.sql"), arguments!(names(artifacts))).await
    }
}

fn ids(runs: &[RunId]) -> Vec<Uuid> {
    runs.iter().map(|run| run.0).collect()
}

fn names(artifacts: &[String]) -> Vec<String> {
    artifacts.iter().map(|name| stored(name).into_owned()).collect()
}

#[derive(FromRow)]
struct EndedRecord {
    id: Uuid,
    tenant_id: Uuid,
    ended_at: At,
    sequence_head: i64,
}

impl TryFrom<EndedRecord> for EndedRun {
    type Error = StoreError;

    fn try_from(record: EndedRecord) -> Result<EndedRun, StoreError> {
        let run = RunId(record.id);
        Ok(EndedRun {
            run,
            tenant: TenantId(record.tenant_id),
            ended_at: record.ended_at.0,
            sequence_head: Place::run(run).number("sequence_head", record.sequence_head)?,
        })
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
    archived_at: At,
}

impl ArchiveRecord {
    fn of(self, run: RunId) -> Result<ArchiveRow, StoreError> {
        let place = Place { table: "run_archives", row: run.to_string() };
        Ok(ArchiveRow {
            run,
            artifact: super::types::restored(self.artifact),
            position: place.number("position", self.position)?,
            size: place.number("size", self.size)?,
            digest: place.digest("digest", self.digest)?,
            head: place.digest("head", self.head)?,
            events: place.number("events", self.events)?,
            last_sequence: place.number("last_sequence", self.last_sequence)?,
            at: self.archived_at.0,
        })
    }
}
