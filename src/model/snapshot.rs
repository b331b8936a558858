//! The working folder of a run as it was stored.

use serde::{Deserialize, Serialize};

use super::Digest;

/// A stored working folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Its key in the artifact store.
    pub artifact: String,
    /// In bytes, as it is stored.
    pub size: u64,
    /// Of those bytes.
    pub digest: Digest,
}
