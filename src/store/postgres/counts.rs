//! Counts over runs.

use super::PgStore;
use crate::{
    model::{RunId, TenantId},
    ports::{LiveCount, StoreError},
};

pub(super) async fn live(_: &PgStore, _: TenantId) -> Result<Vec<LiveCount>, StoreError> {
    Err(StoreError::Unavailable("counts are not available on PostgreSQL".to_owned()))
}

pub(super) async fn queue_position(_: &PgStore, _: RunId) -> Result<Option<u64>, StoreError> {
    Err(StoreError::Unavailable("positions are not available on PostgreSQL".to_owned()))
}
