//! Floor 4: what the operating system gives: clock, ids, secrets, files, locks.
//!
//! The only module that reads the clock and draws ids.

mod artifacts;
mod clock;
mod ids;
mod liveness;
mod mask;
mod secrets;
mod spool;
pub mod tls;

pub use artifacts::FolderArtifacts;
pub use clock::SystemClock;
pub use ids::RandomIds;
pub use liveness::{FlockLiveness, WorkerLock};
pub use mask::SecretMask;
pub use secrets::EnvSecrets;
pub use spool::FolderSpool;
