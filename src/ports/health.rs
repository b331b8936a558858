//! Whether a part of the world can be used now.

use async_trait::async_trait;

/// Why a part cannot be used: a stable code and a sentence without secrets or paths, since anybody may read it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {detail}")]
pub struct Unready {
    pub code: &'static str,
    pub detail: String,
}

/// Something that can try itself. Cheap; called once a second at most.
#[async_trait]
pub trait Probe: Send + Sync {
    async fn probe(&self) -> Result<(), Unready>;

    /// Brings the part's own gauges up to date, before somebody reads them. What cannot be had stays as it was.
    async fn gauge(&self) {}
}
