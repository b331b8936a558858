//! How a worker's supervisor is started.

use std::{path::PathBuf, time::Duration};

use crate::model::WorkerId;

#[derive(Debug, Clone)]
pub struct SupervisorConfig {
    /// The worker whose steps these are; every process of a step has it as `OPSROOM_WORKER`.
    pub worker: WorkerId,
    /// The binary to run as supervisor: this one.
    pub executable: PathBuf,
    /// A file that stays locked until the last tree is gone, `<data>/workers/<id>.supervisor.lock`.
    pub lock: Option<PathBuf>,
    /// Every tree dies when this time passes without [`extend`](super::Supervised::extend). `None`: only with
    /// the worker.
    pub lease: Option<Duration>,
}

impl SupervisorConfig {
    /// This very binary, no lock, no lease.
    pub fn new(worker: WorkerId) -> SupervisorConfig {
        // Not the path: the file behind it may be replaced by an upgrade while we run.
        let executable = if cfg!(target_os = "linux") { Ok("/proc/self/exe".into()) } else { std::env::current_exe() };
        SupervisorConfig { worker, executable: executable.unwrap_or_default(), lock: None, lease: None }
    }
}
