//! Lists of runs.

use super::PgStore;
use crate::{
    model::TenantId,
    ports::{Page, RunFilter, RunRow, StoreError},
};

pub(super) async fn runs(_: &PgStore, _: TenantId, _: &RunFilter) -> Result<Page<RunRow>, StoreError> {
    Err(StoreError::Unavailable("lists are not available on PostgreSQL".to_owned()))
}
