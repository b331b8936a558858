//! The process supervisor: a small, single-threaded process between a worker and the processes of its steps.
//!
//! Invariants:
//! - A step is answered as ended only when nothing of its tree is left.
//! - When the worker is gone (its end of the socket closes) or its lease has run out, every tree is killed
//!   without grace; the supervisor leaves, and gives up its lock, only after the last of them.
//! - No signal goes to a process id that may have been reused: leaders and orphans are our own unreaped
//!   children, and any other process is signalled through a pidfd after its tag was read again.
//!
//! It is a separate process because it must outlive the worker, and single-threaded because the parent-death
//! signal of the steps follows the thread that made them. It is a child subreaper, so whatever a step leaves
//! behind, by any number of forks and sessions, becomes its child: once a leader is dead, the rest of the tree
//! hangs below children that are no leaders. So an ended step costs no look into /proc unless something is left.
//!
//! Deliberately absent: the data of the steps, which flows through pipes between them and the worker.

mod event_loop;
mod launch;
mod look;
mod sys;
mod tag;
mod trees;
mod wire;

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    process::ExitCode,
};

pub use look::{all_processes, hold, own_pid, signal_if};
use rustix::{
    fs::Mode,
    process::{Resource, Rlimit},
};
pub use tag::Tags;
pub use wire::{ANSWER, Answer, Stage, WORKER_VARIABLE, encode_extend, encode_spawn, encode_terminate};

use self::event_loop::EventLoop;
use crate::model::WorkerId;

/// The hidden first argument that makes the binary a supervisor.
pub const ARGUMENT: &str = "__supervise";

/// What follows [`ARGUMENT`] on the command line.
#[derive(Debug, Clone)]
pub struct Arguments {
    pub worker: WorkerId,
    /// The soft limit of open files for the steps; a worker raises its own.
    pub open_files: Option<u64>,
    /// The file whose lock came as standard output; removed when the last tree is gone.
    pub lock: Option<PathBuf>,
}

impl Arguments {
    /// In the order in which [`run`] reads them.
    pub fn to_command_line(&self) -> [std::ffi::OsString; 4] {
        let open_files = self.open_files.map_or(String::new(), |limit| limit.to_string());
        let lock = self.lock.clone().unwrap_or_default();
        [ARGUMENT.into(), self.worker.to_string().into(), open_files.into(), lock.into()]
    }

    fn parse(mut rest: impl Iterator<Item = std::ffi::OsString>) -> Option<Arguments> {
        let worker = rest.next()?.to_str()?.parse().ok()?;
        let open_files = rest.next()?.to_str()?.parse().ok();
        let lock = rest.next().filter(|path| !path.is_empty()).map(PathBuf::from);
        Some(Arguments { worker, open_files, lock })
    }
}

/// The supervisor, from its first instruction to its last. Standard input is the socket to the worker, standard
/// output the locked file. `rest` are the arguments after [`ARGUMENT`].
pub fn run(rest: impl Iterator<Item = std::ffi::OsString>) -> ExitCode {
    let Some(arguments) = Arguments::parse(rest) else { return ExitCode::from(2) };
    match supervise(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Ends every leader through its parent-death signal; the worker sweeps the rest.
            let _ = rustix::io::write(rustix::stdio::stderr(), format!("process supervisor: {error}\n").as_bytes());
            ExitCode::FAILURE
        }
    }
}

fn supervise(arguments: &Arguments) -> io::Result<()> {
    sys::close_inherited();
    let signals = sys::own_signals()?;
    let socket = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    let lock = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdout(), 3)?;
    let nothing = File::options().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&nothing)?;
    rustix::stdio::dup2_stdout(&nothing)?;
    drop(nothing);
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    rustix::process::umask(Mode::from_raw_mode(0o022));
    // Nothing to hold on to: a working directory could be unmounted or removed while we run.
    rustix::process::chdir("/")?;
    limit_open_files(arguments.open_files);
    EventLoop::new(socket, signals, Tags::new(arguments.worker))?.run()?;
    arguments.lock.as_deref().map(remove_lock);
    drop(lock);
    Ok(())
}

fn limit_open_files(soft: Option<u64>) {
    let maximum = rustix::process::getrlimit(Resource::Nofile).maximum;
    if let Some(soft) = soft {
        // A smaller limit than asked for is no reason not to start.
        let _ = rustix::process::setrlimit(Resource::Nofile, Rlimit { current: Some(soft), maximum });
    }
}

fn remove_lock(path: &Path) {
    // Whoever waits for the lock removes the file as well.
    let _ = std::fs::remove_file(path);
}
