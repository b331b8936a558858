//! Doorbells: "there may be a run to claim in this lane".

use async_trait::async_trait;

use crate::model::Lane;

/// Rings doorbells and hands out listeners. A ring may be lost or come twice: the claim backend
/// polls too, and a claim decides.
pub trait Queue: Send + Sync {
    /// Wakes the lane's listeners. Never blocks and never fails a caller.
    fn ring(&self, lane: Lane);

    /// A listener for one lane. A ring before `heard` is called is remembered.
    fn listen(&self, lane: Lane) -> Box<dyn Doorbell>;
}

/// The listening end of a lane.
#[async_trait]
pub trait Doorbell: Send + Sync {
    /// Waits for the next ring; several rings may be one.
    async fn heard(&self);
}
