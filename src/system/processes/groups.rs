//! [`Grouped`]: processes without a supervisor, for systems other than Linux.
//!
//! A step is a process group. Members that leave the group survive it, and all do when the worker is killed.

use std::{
    fmt, io,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use async_trait::async_trait;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::AsyncRead,
    process::{Child, Command},
    time::{Instant, sleep_until},
};

use super::SupervisorConfig;
use crate::ports::{Exit, Process, ProcessSpec, Processes, SpawnError};

/// Starts each process in a group of its own.
#[derive(Debug)]
pub struct Grouped {
    config: SupervisorConfig,
}

struct GroupedProcess {
    child: Child,
    group: Option<Pid>,
    kill_at: Option<Instant>,
    answer: Option<Exit>,
}

impl Grouped {
    #[expect(clippy::unused_async, reason = "the same as on Linux")]
    pub async fn start(config: SupervisorConfig) -> io::Result<Grouped> {
        Ok(Grouped { config })
    }

    /// There is nobody to hold a lease against.
    pub fn extend(&self, _valid: Duration) {}

    /// Nor until a time.
    pub fn extend_until(&self, _until: Duration) {}

    /// Nothing to wait for: each process kills its group when it is dropped.
    #[expect(clippy::unused_async, reason = "the same as on Linux")]
    pub async fn shutdown(self) {}

    pub fn supervisor_id(&self) -> Option<u32> {
        None
    }
}

/// There is no supervisor to become.
#[cfg(not(target_os = "linux"))]
pub fn supervisor_hook() -> Option<std::process::ExitCode> {
    None
}

/// Nothing marks the processes of a dead worker here.
#[cfg(not(target_os = "linux"))]
pub fn kill_leftovers(_dead: &[crate::model::WorkerId]) -> usize {
    0
}

/// There are no supervisors here.
#[cfg(not(target_os = "linux"))]
pub fn kill_supervisor(_dead: crate::model::WorkerId) -> bool {
    false
}

#[async_trait]
impl Processes for Grouped {
    async fn spawn(&self, spec: ProcessSpec) -> Result<Box<dyn Process>, SpawnError> {
        let program = spec.argv.first().cloned().unwrap_or_default();
        let child = Command::new(&program)
            .args(spec.argv.iter().skip(1))
            .env_clear()
            .envs(&spec.env)
            .env("OPSROOM_WORKER", self.config.worker.to_string())
            .current_dir(&spec.cwd)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(|error| explain(program, &spec, &error))?;
        let group = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        Ok(Box::new(GroupedProcess { child, group, kill_at: None, answer: None }))
    }
}

#[async_trait]
impl Process for GroupedProcess {
    fn id(&self) -> u32 {
        self.group.map_or(0, |group| group.as_raw_nonzero().get().unsigned_abs())
    }

    fn take_stdout(&mut self) -> Option<Box<dyn AsyncRead + Send + Unpin>> {
        self.child.stdout.take().map(|pipe| Box::new(pipe) as _)
    }

    fn take_stderr(&mut self) -> Option<Box<dyn AsyncRead + Send + Unpin>> {
        self.child.stderr.take().map(|pipe| Box::new(pipe) as _)
    }

    async fn wait(&mut self) -> Result<Exit, SpawnError> {
        if let Some(exit) = self.answer {
            return Ok(exit);
        }
        let status = match self.kill_at {
            None => self.child.wait().await,
            Some(kill_at) => tokio::select! {
                status = self.child.wait() => status,
                () = sleep_until(kill_at) => {
                    self.signal(Signal::KILL);
                    self.child.wait().await
                }
            },
        };
        // Those left in the group keep its id from being used again; when none is left, nothing happens unless
        // the system gave the id to a new group within these microseconds.
        self.signal(Signal::KILL);
        let exit = status.map_or(Err(SpawnError::SupervisorLost), |status| Ok(exit_of(status)))?;
        self.answer = Some(exit);
        Ok(exit)
    }

    fn terminate(&mut self, grace: Duration) {
        let signal = if grace.is_zero() { Signal::KILL } else { Signal::TERM };
        self.signal(signal);
        // A grace beyond the clock's range never runs out.
        let kill_at = Instant::now().checked_add(grace);
        self.kill_at = self.kill_at.into_iter().chain(kill_at).min();
    }
}

impl GroupedProcess {
    fn signal(&self, signal: Signal) {
        if let (None, Some(group)) = (self.answer, self.group) {
            // An error means that the group is empty.
            let _ = kill_process_group(group, signal);
        }
    }
}

impl Drop for GroupedProcess {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

impl fmt::Debug for GroupedProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupedProcess").field("group", &self.group).finish_non_exhaustive()
    }
}

fn explain(program: String, spec: &ProcessSpec, error: &io::Error) -> SpawnError {
    if error.kind() != io::ErrorKind::NotFound {
        return SpawnError::Failed { program, why: error.to_string() };
    }
    if !spec.cwd.is_dir() {
        return SpawnError::Failed { program, why: format!("working directory `{}`: {error}", spec.cwd.display()) };
    }
    SpawnError::NotFound { program }
}

fn exit_of(status: ExitStatus) -> Exit {
    use std::os::unix::process::ExitStatusExt as _;
    Exit { code: status.code(), signal: status.signal() }
}
