//! Floor 4: what the operating system gives: clock, ids, secrets, files, locks, processes.
//!
//! The only module that reads the clock and draws ids.

mod artifacts;
mod beside;
mod bundles;
mod burials;
mod clock;
mod ids;
mod key;
mod liveness;
mod mask;
mod object_artifacts;
mod processes;
mod runbook_folder;
mod secrets;
mod snapshots;
mod spool;
mod spools_below;
#[cfg(target_os = "linux")]
mod supervisor;
pub mod tls;
mod up_lock;
mod usage;
mod workspaces;

pub use artifacts::FolderArtifacts;
pub use beside::gather;
pub use bundles::FolderBundles;
pub use burials::{Burials, LockLiveness, supervisor_lock};
pub use clock::{BootClock, OffsetClock, SystemClock};
pub use ids::RandomIds;
pub use key::{fresh_secret, local_key, read_key};
pub use liveness::{FlockLiveness, WorkerLock};
pub use mask::{SecretMask, SecretMasks};
pub use object_artifacts::{ObjectArtifacts, ObjectConfig, ObjectConfigError};
pub use processes::{Grouped, Supervised, SupervisorConfig, kill_leftovers, supervisor_hook, wait_until_gone};
pub use runbook_folder::NotifiedFolder;
pub use secrets::EnvSecrets;
pub use snapshots::StoredSnapshots;
pub use spool::FolderSpool;
pub use spools_below::SpoolsBelow;
pub use up_lock::{UpInfo, UpLock, UpLockError};
pub use usage::{Usage, raise_descriptor_limit};
pub use workspaces::FolderWorkspaces;
