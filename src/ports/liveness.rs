//! Who among the owners of runs is dead.

use crate::model::WorkerId;

/// Tells dead workers from live ones. Embedded: a free file lock is a dead worker. In the fleet the
/// leases in the store say it. Asked often: never waits for anybody to die.
pub trait Liveness: Send + Sync {
    /// Those of `owners` that are dead for certain.
    fn dead(&self, owners: &[WorkerId]) -> Vec<WorkerId>;

    /// These are dead and own nothing any more: whatever is kept about them may go.
    fn forget(&self, _dead: &[WorkerId]) {}
}
