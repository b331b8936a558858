//! Who among the owners of runs is dead.

use async_trait::async_trait;

use super::StoreError;
use crate::model::WorkerId;

/// Tells dead workers from live ones. Embedded: a free file lock is a dead worker. In the fleet the
/// leases in the store say it. Asked often: never waits for anybody to die.
#[async_trait]
pub trait Liveness: Send + Sync {
    /// Those of the known workers, and of the owners of runs, that are dead for certain: nothing of theirs goes on.
    async fn dead(&self) -> Result<Vec<WorkerId>, StoreError>;

    /// Whether the worker lives, or has lived, where this one does.
    fn knows(&self, _worker: WorkerId) -> bool {
        true
    }

    /// These are dead and own nothing any more: whatever is kept about them may go.
    fn forget(&self, _dead: &[WorkerId]) {}
}
