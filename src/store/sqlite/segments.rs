//! Where chunks are.

use async_trait::async_trait;
use serde::Serialize;
use sqlx::{FromRow, Row};

use super::{
    SqliteStore,
    arguments::{self, Hex, arguments, id},
    errors::store_error,
};
use crate::{
    model::{Digest, Micros, RunId},
    ports::{SegmentRow, SegmentStore, StoreError},
    store::place::Place,
};

#[async_trait]
impl SegmentStore for SqliteStore {
    async fn put_segments(&self, segments: &[SegmentRow]) -> Result<(), StoreError> {
        if segments.is_empty() {
            return Ok(());
        }
        let rows: Vec<SegmentInsert> = segments.iter().map(SegmentInsert::from).collect();
        self.write(include_str!("queries/put_segments.sql"), arguments!(arguments::json(&rows))).await.map(drop)
    }

    async fn segments(&self, run: RunId, after: u64, limit: usize) -> Result<Vec<SegmentRow>, StoreError> {
        let after = i64::try_from(after).unwrap_or(i64::MAX);
        let arguments = arguments!(id(run.0), after, arguments::limit(limit));
        let rows = self.read(include_str!("queries/segments.sql"), arguments).await?;
        let decode = |row| SegmentRecord::from_row(row).map_err(|error| store_error(&error))?.of(run);
        rows.iter().map(decode).collect()
    }

    async fn unused_segments(&self, limit: usize) -> Result<Vec<String>, StoreError> {
        texts(&self.read(include_str!("queries/unused_segments.sql"), arguments!(arguments::limit(limit))).await?)
    }

    async fn unknown_segments(&self, artifacts: &[String]) -> Result<Vec<String>, StoreError> {
        texts(&self.read(include_str!("queries/unknown_segments.sql"), arguments!(arguments::json(&artifacts))).await?)
    }

    async fn forget_segments(&self, artifacts: &[String]) -> Result<(), StoreError> {
        let arguments = arguments!(arguments::json(&artifacts));
        self.write(include_str!("queries/forget_segments.sql"), arguments).await.map(drop)
    }
}

fn texts(rows: &[sqlx::sqlite::SqliteRow]) -> Result<Vec<String>, StoreError> {
    rows.iter().map(|row| row.try_get(0).map_err(|error| store_error(&error))).collect()
}

/// One row of `put_segments.sql`; the order is that of the statement.
#[derive(Serialize)]
struct SegmentInsert<'a>(Hex, u64, u64, &'a str, u64, u64, Digest, i64);

impl<'a> From<&'a SegmentRow> for SegmentInsert<'a> {
    fn from(row: &'a SegmentRow) -> SegmentInsert<'a> {
        let SegmentRow { run, first_sequence, last_sequence, artifact, position, size, digest, at } = row;
        SegmentInsert(Hex(run.0), *first_sequence, *last_sequence, artifact, *position, *size, *digest, at.0)
    }
}

#[derive(FromRow)]
struct SegmentRecord {
    first_sequence: i64,
    last_sequence: i64,
    artifact: String,
    position: i64,
    size: i64,
    digest: Vec<u8>,
    created_at: i64,
}

impl SegmentRecord {
    fn of(self, run: RunId) -> Result<SegmentRow, StoreError> {
        let place = Place { table: "event_segments", row: format!("{run} {}", self.first_sequence) };
        Ok(SegmentRow {
            run,
            first_sequence: place.number("first_sequence", self.first_sequence)?,
            last_sequence: place.number("last_sequence", self.last_sequence)?,
            artifact: self.artifact,
            position: place.number("position", self.position)?,
            size: place.number("size", self.size)?,
            digest: place.digest("digest", self.digest)?,
            at: Micros(self.created_at),
        })
    }
}
