//! Many ended runs at once, for measurements on a store that is full.

use super::{PgStore, arguments::arguments, types::stored_json};
use crate::{
    ports::StoreError,
    store::seed::{EndedRun, SeedRows},
};

/// Writes ended runs in one statement, as their owners would have left them.
pub(super) async fn seed(store: &PgStore, runs: &[EndedRun]) -> Result<(), StoreError> {
    let SeedRows { runs, labels, events, steps } = SeedRows::new(1, runs)?;
    let arguments = arguments!(stored_json(runs), stored_json(labels), stored_json(events), stored_json(steps));
    store.rows_once(include_str!("queries/seed.sql"), arguments).await.map(drop)
}
