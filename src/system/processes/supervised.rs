//! [`Supervised`]: the [`Processes`] of a worker on Linux.

use std::{
    fmt, io,
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::Path,
    process::{ExitCode, Stdio},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use rustix::{
    pipe::PipeFlags,
    process::{Resource, Rlimit},
};
use tokio::{
    io::AsyncRead,
    net::unix::pipe::Receiver,
    process::{Child, Command},
    sync::oneshot,
    task::JoinSet,
    time::timeout,
};

use super::{
    SupervisorConfig, kill_leftovers,
    link::{Link, News},
    lock,
};
use crate::{
    ports::{BootTime, Exit, Process, ProcessSpec, Processes, SpawnError},
    system::{
        BootClock,
        supervisor::{self, Arguments, Stage},
    },
};

/// How long a supervisor whose socket is closed may take to kill its trees, before it is killed itself.
const LEAVE_PATIENCE: Duration = Duration::from_secs(5);

/// How long the supervisor before may take to let go of the lock.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);

/// Starts processes through a supervisor of its own, and a new supervisor when that one was lost.
///
/// Dropping it kills every tree.
pub struct Supervised {
    config: SupervisorConfig,
    /// The soft limit of open files before ours was raised: what steps get.
    open_files: Option<u64>,
    current: Mutex<Option<Current>>,
    /// Held while a supervisor is started, so that there is one at a time.
    starting: tokio::sync::Mutex<()>,
    /// The `CLOCK_BOOTTIME` at which the lease runs out.
    lease: Mutex<Option<Duration>>,
    next: AtomicU64,
    /// For the next process: made while the one before starts, so that nobody waits for them.
    spare: Mutex<Option<Pipes>>,
}

/// What a process writes to, standard output and standard error.
struct Pipes {
    ours: [Receiver; 2],
    theirs: [OwnedFd; 2],
}

struct Current {
    link: Arc<Link>,
    pid: Option<u32>,
    /// Ends with the supervisor; aborted when we are dropped.
    _attending: JoinSet<()>,
}

struct SupervisedProcess {
    id: u64,
    pid: u32,
    link: Arc<Link>,
    stdout: Option<Receiver>,
    stderr: Option<Receiver>,
    exited: oneshot::Receiver<Exit>,
    answer: Option<Result<Exit, SpawnError>>,
}

/// Becomes the supervisor when the command line says so. To be called first thing in `main`.
pub fn supervisor_hook() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    let hidden = arguments.next().is_some_and(|argument| argument == supervisor::ARGUMENT);
    hidden.then(|| supervisor::run(arguments))
}

impl Supervised {
    /// Starts the supervisor. Needs a tokio runtime, here and for every call.
    ///
    /// Raises this process's soft limit of open files to the hard one; the steps keep the old one.
    pub async fn start(config: SupervisorConfig) -> io::Result<Supervised> {
        let lease = config.lease.map(|valid| boot_time().saturating_add(valid));
        let supervised = Supervised {
            config,
            open_files: raise_open_files(),
            current: Mutex::new(None),
            starting: tokio::sync::Mutex::new(()),
            lease: Mutex::new(lease),
            next: AtomicU64::new(1),
            spare: Mutex::default(),
        };
        supervised.link().await?;
        Ok(supervised)
    }

    /// Lets the trees live for `valid` from now. The first call switches the lease on if the configuration did
    /// not. Once it has run out every tree is killed, and nothing starts until the next call.
    pub fn extend(&self, valid: Duration) {
        self.extend_until(boot_time().saturating_add(valid));
    }

    /// Lets the trees live until this time since boot.
    pub fn extend_until(&self, until: Duration) {
        *self.lease() = Some(until);
        if let Some(link) = self.open_link() {
            link.send(supervisor::encode_extend(until));
        }
    }

    /// Kills every tree and waits until nothing of any is left.
    pub async fn shutdown(self) {
        if let Some(link) = self.open_link() {
            link.close();
            link.until_abandoned().await;
        }
    }

    /// The process id of the supervisor, while there is one.
    pub fn supervisor_id(&self) -> Option<u32> {
        self.current().as_ref().filter(|current| !current.link.is_closed()).and_then(|current| current.pid)
    }

    /// The link to the living supervisor; starts one if there is none.
    async fn link(&self) -> io::Result<Arc<Link>> {
        if let Some(link) = self.open_link() {
            return Ok(link);
        }
        let _starting = self.starting.lock().await;
        if let Some(link) = self.open_link() {
            return Ok(link);
        }
        let before = self.current().as_ref().map(|current| current.link.clone());
        if let Some(before) = before {
            // It is still being buried.
            before.until_abandoned().await;
        }
        if self.lease_is_over() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let started = self.start_supervisor().await?;
        let link = started.link.clone();
        *self.current() = Some(started);
        Ok(link)
    }

    async fn start_supervisor(&self) -> io::Result<Current> {
        let (ours, theirs) = UnixStream::pair()?;
        // Taken here, so that it is held from before the first spawn can be sent.
        let output = match &self.config.lock {
            Some(path) => Stdio::from(lock::take(path, LOCK_PATIENCE).await?),
            None => Stdio::null(),
        };
        let arguments = Arguments {
            worker: self.config.worker,
            open_files: self.open_files,
            lock: self.config.lock.as_deref().map(std::path::absolute).transpose()?,
        };
        // Its own group keeps a Ctrl-C meant for the worker away from it.
        let child = Command::new(&self.config.executable)
            .arg0("opsroom")
            .args(arguments.to_command_line())
            .env_clear()
            .stdin(OwnedFd::from(theirs))
            .stdout(output)
            .process_group(0)
            .spawn()?;
        let link = Arc::new(Link::new(ours)?);
        let lease = *self.lease();
        if let Some(until) = lease {
            link.send(supervisor::encode_extend(until));
        }
        let mut attending = JoinSet::new();
        let pid = child.id();
        attending.spawn(attend(link.clone(), child, self.config.worker));
        Ok(Current { link, pid, _attending: attending })
    }

    fn open_link(&self) -> Option<Arc<Link>> {
        self.current().as_ref().map(|current| current.link.clone()).filter(|link| !link.is_closed())
    }

    fn current(&self) -> MutexGuard<'_, Option<Current>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lease(&self) -> MutexGuard<'_, Option<Duration>> {
        self.lease.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn spare(&self) -> MutexGuard<'_, Option<Pipes>> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lease_is_over(&self) -> bool {
        self.lease().is_some_and(|until| until <= boot_time())
    }
}

/// Serves one supervisor until it is gone, makes sure that nothing of its trees is left, and only then lets
/// those who wait know.
async fn attend(link: Arc<Link>, mut child: Child, worker: crate::model::WorkerId) {
    tokio::select! {
        () = link.read_answers() => {}
        () = link.write_outbox() => {}
    }
    link.close();
    // It leaves with success only when nothing is left.
    let left = timeout(LEAVE_PATIENCE, child.wait()).await;
    if !matches!(left, Ok(Ok(status)) if status.success()) {
        // An error means that it is gone already.
        let _ = child.kill().await;
        let _ = tokio::task::spawn_blocking(move || kill_leftovers(&[worker])).await;
    }
    link.abandon();
}

impl Drop for Supervised {
    fn drop(&mut self) {
        if let Some(current) = self.current.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
            current.link.close();
            current.link.abandon();
        }
    }
}

impl fmt::Debug for Supervised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Supervised").field("config", &self.config).finish_non_exhaustive()
    }
}

#[async_trait]
impl Processes for Supervised {
    async fn spawn(&self, spec: ProcessSpec) -> Result<Box<dyn Process>, SpawnError> {
        let program = spec.argv.first().cloned().unwrap_or_default();
        let failed = |why: &dyn fmt::Display| SpawnError::Failed { program: program.clone(), why: why.to_string() };
        if program.is_empty() {
            return Err(failed(&"no program was given"));
        }
        let link = self.link().await.map_err(|_| SpawnError::SupervisorLost)?;
        // The supervisor asks the same, but one that was stopped together with us may not know it yet.
        if self.lease_is_over() {
            return Err(SpawnError::SupervisorLost);
        }
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let worker = self.config.worker.to_string();
        let frame = supervisor::encode_spawn(id, &worker, &spec).map_err(|why| failed(&why))?;
        let spare = self.spare().take();
        let Pipes { ours: [stdout, stderr], theirs } =
            spare.map_or_else(Pipes::new, Ok).map_err(|error| failed(&error))?;
        let News { started, exited } = link.spawn(id, frame, theirs)?;
        // Made before the answer is there: a caller that goes away meanwhile drops it, and that kills the tree.
        let (stdout, stderr) = (Some(stdout), Some(stderr));
        let mut process = SupervisedProcess { id, pid: 0, link, stdout, stderr, exited, answer: None };
        // Whoever needs some and finds none makes them, and says what is wrong.
        *self.spare() = Pipes::new().ok();
        match started.await {
            Ok(Ok(pid)) => process.pid = pid.unsigned_abs(),
            Ok(Err((stage, errno))) => {
                process.answer = Some(Err(SpawnError::SupervisorLost));
                return Err(explain(&program, &spec.cwd, stage, errno));
            }
            Err(_) => {
                process.answer = Some(Err(SpawnError::SupervisorLost));
                return Err(SpawnError::SupervisorLost);
            }
        }
        Ok(Box::new(process))
    }
    fn extend(&self, until: Duration) {
        self.extend_until(until);
    }
}

#[async_trait]
impl Process for SupervisedProcess {
    fn id(&self) -> u32 {
        self.pid
    }

    fn take_stdout(&mut self) -> Option<Box<dyn AsyncRead + Send + Unpin>> {
        self.stdout.take().map(|pipe| Box::new(pipe) as _)
    }

    fn take_stderr(&mut self) -> Option<Box<dyn AsyncRead + Send + Unpin>> {
        self.stderr.take().map(|pipe| Box::new(pipe) as _)
    }

    async fn wait(&mut self) -> Result<Exit, SpawnError> {
        if let Some(answer) = &self.answer {
            return answer.clone();
        }
        let answer = (&mut self.exited).await.map_err(|_| SpawnError::SupervisorLost);
        self.answer.insert(answer).clone()
    }

    fn terminate(&mut self, grace: Duration) {
        self.link.send(supervisor::encode_terminate(self.id, grace));
    }
}

impl Drop for SupervisedProcess {
    fn drop(&mut self) {
        if self.answer.is_none() {
            self.terminate(Duration::ZERO);
        }
    }
}

impl Pipes {
    /// Our ends for reading, theirs for writing; theirs block, as programs expect.
    fn new() -> io::Result<Pipes> {
        let pipe = || io::Result::Ok(rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?);
        let ((stdout, their_stdout), (stderr, their_stderr)) = (pipe()?, pipe()?);
        let ours = [Receiver::from_owned_fd(stdout)?, Receiver::from_owned_fd(stderr)?];
        Ok(Pipes { ours, theirs: [their_stdout, their_stderr] })
    }
}

fn explain(program: &str, cwd: &Path, stage: Stage, errno: i32) -> SpawnError {
    let error = io::Error::from_raw_os_error(errno);
    let missing = error.kind() == io::ErrorKind::NotFound;
    let why = match stage {
        Stage::Exec if missing && program.contains('/') && cwd.join(program).exists() => {
            "the interpreter in its first line does not exist".to_owned()
        }
        Stage::Exec if missing => return SpawnError::NotFound { program: program.to_owned() },
        Stage::Exec => error.to_string(),
        Stage::Cwd => format!("working directory `{}`: {error}", cwd.display()),
        Stage::Clone | Stage::Setup => format!("no process could be made: {error}"),
    };
    SpawnError::Failed { program: program.to_owned(), why }
}

fn boot_time() -> Duration {
    BootClock.since_boot()
}

/// Each process takes two descriptors of ours, and the usual soft limit is 1,024. Answers what it was.
fn raise_open_files() -> Option<u64> {
    let own = rustix::process::getrlimit(Resource::Nofile);
    // If it cannot be raised, spawns fail with a clear error once it is reached.
    let _ = rustix::process::setrlimit(Resource::Nofile, Rlimit { current: own.maximum, ..own });
    own.current
}
