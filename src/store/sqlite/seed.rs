//! Many ended runs at once, for measurements on a store that is full.

use super::{SqliteStore, arguments::arguments, errors::store_error, rows};
use crate::{
    ports::StoreError,
    store::seed::{EndedRun, SeedRows},
};

/// Writes ended runs in one transaction, as their owners would have left them. Only for this: nobody else may
/// write runs meanwhile.
pub(super) async fn seed(store: &SqliteStore, runs: &[EndedRun]) -> Result<(), StoreError> {
    store.writer.hurry().await.map_err(|error| store_error(&error))?;
    let first: Option<i64> = rows::scalar(&store.read(include_str!("queries/seed_key.sql"), arguments!()).await?)?;
    let rows = SeedRows::new(first.unwrap_or(1), runs)?;
    let arguments = arguments!(rows.runs, rows.labels, rows.events, rows.steps);
    store.write(include_str!("queries/seed.sql"), arguments).await.map(drop)
}
