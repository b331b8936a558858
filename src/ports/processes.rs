//! The processes of steps: each a tree that can be ended as a whole.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use async_trait::async_trait;
use tokio::io::AsyncRead;

/// What to run.
#[derive(Debug, Clone)]
pub struct ProcessSpec {
    /// The program and its arguments; the program is looked up in the spec's own `PATH`.
    pub argv: Vec<String>,
    /// The whole environment; nothing is inherited. `OPSROOM_WORKER`, the worker's id, is added to it.
    pub env: BTreeMap<String, String>,
    pub cwd: PathBuf,
}

/// How a process ended. Exactly one of the two is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    pub code: Option<i32>,
    pub signal: Option<i32>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpawnError {
    #[error("`{program}` was not found")]
    NotFound { program: String },
    #[error("`{program}` could not be started: {why}")]
    Failed { program: String, why: String },
    /// The supervisor is gone: nobody knows what became of its processes.
    #[error("the process supervisor is gone")]
    SupervisorLost,
}

/// Starts processes. Each runs in its own session and group below the worker's supervisor, which kills
/// every tree when the worker dies.
#[async_trait]
pub trait Processes: Send + Sync {
    async fn spawn(&self, spec: ProcessSpec) -> Result<Box<dyn Process>, SpawnError>;

    /// Lets the trees live until this time since boot. Once it has passed without a later one, every tree is killed
    /// without grace, and nothing starts any more. Without a call there is no such time.
    fn extend(&self, _until: Duration) {}
}

/// One running tree. Dropping it kills the tree.
#[async_trait]
pub trait Process: Send {
    /// The process id of the leader.
    fn id(&self) -> u32;

    /// The read end of standard output; `None` after it was taken.
    fn take_stdout(&mut self) -> Option<Box<dyn AsyncRead + Send + Unpin>>;

    fn take_stderr(&mut self) -> Option<Box<dyn AsyncRead + Send + Unpin>>;

    /// Waits for the leader to end; then whatever it left behind in its tree is killed, without grace.
    /// Answers when nothing of the tree is left. May be dropped before it answers, and called again.
    async fn wait(&mut self) -> Result<Exit, SpawnError>;

    /// TERM to the group; after `grace` KILL to everything in the tree. Returns at once; `wait` tells the end.
    fn terminate(&mut self, grace: Duration);
}
