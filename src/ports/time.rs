//! Time and ids: the only sources of either.

use uuid::Uuid;

use crate::model::{Micros, RunId, SessionId, WorkerId};

/// The clock. Waiting is done with `tokio::time`; this only tells what time it is.
pub trait Clock: Send + Sync {
    fn now(&self) -> Micros;
}

/// Fresh ids.
pub trait Ids: Send + Sync {
    fn run_id(&self) -> RunId;
    fn worker_id(&self) -> WorkerId;
    fn session_id(&self) -> SessionId;
    /// Names an HTTP request in logs and problems.
    fn request_id(&self) -> Uuid;
}
