//! Where chunks are. No verb locks a run: READ COMMITTED, single statements.

use async_trait::async_trait;
use sqlx::{FromRow, Row};

use super::{
    PgStore,
    arguments::{self, arguments},
    errors::store_error,
    types::{At, stored},
};
use crate::{
    model::{Digest, RunId},
    ports::{SegmentRow, SegmentStore, StoreError},
};

#[async_trait]
impl SegmentStore for PgStore {
    async fn put_segments(&self, segments: &[SegmentRow]) -> Result<(), StoreError> {
        if segments.is_empty() {
            return Ok(());
        }
        let column = |number: fn(&SegmentRow) -> u64| -> Result<Vec<i64>, StoreError> {
            let signed = |row| i64::try_from(number(row)).map_err(|why| StoreError::Refused(why.to_string()));
            segments.iter().map(signed).collect()
        };
        let arguments = arguments!(
            segments.iter().map(|row| row.run.0).collect::<Vec<_>>(),
            column(|row| row.first_sequence)?,
            column(|row| row.last_sequence)?,
            segments.iter().map(|row| stored(&row.artifact).into_owned()).collect::<Vec<_>>(),
            column(|row| row.position)?,
            column(|row| row.size)?,
            segments.iter().map(|row| row.digest.0.to_vec()).collect::<Vec<_>>(),
            segments.iter().map(|row| At(row.at)).collect::<Vec<_>>(),
        );
        self.execute(include_str!("queries/put_segments.sql"), arguments).await
    }

    async fn segments(&self, run: RunId, after: u64, limit: usize) -> Result<Vec<SegmentRow>, StoreError> {
        let after = i64::try_from(after).unwrap_or(i64::MAX);
        let arguments = arguments!(run.0, after, arguments::limit(limit));
        let rows = self.rows(include_str!("queries/segments.sql"), arguments).await?;
        let decode = |row| SegmentRecord::from_row(row).map_err(|error| store_error(&error))?.of(run);
        rows.iter().map(decode).collect()
    }

    async fn unused_segments(&self, limit: usize) -> Result<Vec<String>, StoreError> {
        texts(&self.rows(include_str!("queries/unused_segments.sql"), arguments!(arguments::limit(limit))).await?)
    }

    async fn unknown_segments(&self, artifacts: &[String]) -> Result<Vec<String>, StoreError> {
        texts(&self.rows(include_str!("queries/unknown_segments.sql"), arguments!(names(artifacts))).await?)
    }

    async fn forget_segments(&self, artifacts: &[String]) -> Result<(), StoreError> {
        self.execute(include_str!("queries/forget_segments.sql"), arguments!(names(artifacts))).await
    }
}

fn names(artifacts: &[String]) -> Vec<String> {
    artifacts.iter().map(|name| stored(name).into_owned()).collect()
}

fn texts(rows: &[sqlx::postgres::PgRow]) -> Result<Vec<String>, StoreError> {
    rows.iter().map(|row| row.try_get(0).map_err(|error| store_error(&error))).collect()
}

#[derive(FromRow)]
struct SegmentRecord {
    first_sequence: i64,
    last_sequence: i64,
    artifact: String,
    position: i64,
    size: i64,
    digest: Vec<u8>,
    created_at: At,
}

impl SegmentRecord {
    fn of(self, run: RunId) -> Result<SegmentRow, StoreError> {
        let row = format!("{run} {}", self.first_sequence);
        let corrupt = |column, why: String| StoreError::Corrupt { table: "event_segments", column, row, why };
        let number = |column: &'static str, number: i64| u64::try_from(number).map_err(|why| (column, why.to_string()));
        let decoded = (|| {
            Ok(SegmentRow {
                run,
                first_sequence: number("first_sequence", self.first_sequence)?,
                last_sequence: number("last_sequence", self.last_sequence)?,
                position: number("position", self.position)?,
                size: number("size", self.size)?,
                digest: self.digest.try_into().map(Digest).map_err(|_| ("digest", "not 32 bytes".to_owned()))?,
                artifact: self.artifact,
                at: self.created_at.0,
            })
        })();
        decoded.map_err(|(column, why)| corrupt(column, why))
    }
}
