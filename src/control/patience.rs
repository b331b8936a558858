//! Waiting for a store that is full or away, where owners are to be patient.

use std::{future::Future, time::Duration};

use super::World;
use crate::ports::StoreError;

const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(2);

/// An error that may be over later.
pub(super) trait Passing: std::fmt::Display {
    fn is_passing(&self) -> bool;
}

impl Passing for StoreError {
    fn is_passing(&self) -> bool {
        StoreError::is_passing(self)
    }
}

/// Does something until it does not fail in passing any more; once, where owners are not patient.
pub(super) async fn patiently<T, E: Passing, F>(world: &World, mut act: impl FnMut() -> F) -> Result<T, E>
where
    F: Future<Output = Result<T, E>>,
{
    let mut wait = FIRST;
    loop {
        match act().await {
            Err(error) if world.limits.patient && error.is_passing() => {
                tracing::warn!(%error, "the store cannot be used now; trying again");
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(LONGEST);
            }
            result => return result,
        }
    }
}
