//! Lists of runs and counts over them.

use super::PgStore;
use crate::{
    model::{RunId, TenantId},
    ports::{LiveCount, Page, RunFilter, RunRow, StoreError},
};

pub(super) async fn runs(_: &PgStore, _: TenantId, _: &RunFilter) -> Result<Page<RunRow>, StoreError> {
    Err(StoreError::Unavailable("lists are not available on PostgreSQL".to_owned()))
}

pub(super) async fn live_counts(_: &PgStore, _: TenantId) -> Result<Vec<LiveCount>, StoreError> {
    Err(StoreError::Unavailable("counts are not available on PostgreSQL".to_owned()))
}

pub(super) async fn queue_position(_: &PgStore, _: RunId) -> Result<Option<u64>, StoreError> {
    Err(StoreError::Unavailable("positions are not available on PostgreSQL".to_owned()))
}
