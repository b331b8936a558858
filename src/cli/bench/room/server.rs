//! The system under test, of this very program: `opsroom up` on a folder of its own, or `serve`, `worker` and
//! `scheduler` on a database of their own.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::{sleep, timeout},
};

use super::{
    super::{
        BenchError,
        ground::{Database, clear_redis, own_redis},
        workloads::is_tmpfs,
    },
    client::{Client, Target},
    usage::Usage,
};
use crate::{cli::config::RedisConfig, store::PgConfig};

/// How long the server may take to start or to leave before the measurement is given up.
const PATIENCE: Duration = Duration::from_mins(1);

/// The folder of one measurement, removed with it: `data` and `runbooks` are inside.
pub struct Ground {
    pub folder: PathBuf,
    pub program: PathBuf,
    env: BTreeMap<String, String>,
    database: Option<Database>,
    redis: Option<RedisConfig>,
    /// Whether the parts of a fleet are one process.
    together: bool,
}

impl Ground {
    /// Makes a folder called `name` in `place`, which must be on a disk.
    pub fn make(place: &Path, name: &str, env: BTreeMap<String, String>) -> Result<Ground, BenchError> {
        // The server works in a folder of its own, so a relative path would lead elsewhere.
        let folder = std::path::absolute(place)?.join(name);
        fs::create_dir_all(folder.join("runbooks"))?;
        let ground =
            Ground { folder, program: std::env::current_exe()?, env, database: None, redis: None, together: false };
        if is_tmpfs(&ground.folder)? {
            return Err(BenchError::Tmpfs(ground.folder.clone()));
        }
        Ok(ground)
    }

    /// Its programs work on a fleet's database, one of their own on this server.
    pub async fn on_database(&mut self, given: &PgConfig, together: bool) -> Result<(), BenchError> {
        let database = Database::make(given).await?;
        // Processes show their environment to this user alone.
        self.env.insert("DATABASE_URL".to_owned(), database.config.secret_url().to_owned());
        (self.database, self.together) = (Some(database), together);
        Ok(())
    }

    /// Its programs tell each other through this Redis, under a prefix of their own.
    pub fn on_redis(&mut self, given: &RedisConfig) {
        let own = own_redis(given);
        self.env.insert("REDIS_URL".to_owned(), own.server.secret_url().to_owned());
        self.env.insert("OPSROOM_REDIS_PREFIX".to_owned(), own.prefix.clone());
        self.redis = Some(own);
    }

    /// Removes the database and what is in Redis, if there is any.
    pub async fn clear(&mut self) {
        if let Some(redis) = self.redis.take() {
            clear_redis(&redis).await;
        }
        if let Some(database) = self.database.take() {
            database.remove().await;
        }
    }

    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Writes a runbook into the folder that the server reads. `body` is what follows the name.
    pub fn runbook(&self, name: &str, body: &str) -> Result<(), BenchError> {
        let file = self.folder.join("runbooks").join(format!("{name}.yaml"));
        Ok(fs::write(file, format!("version: 1\nname: {name}\n{body}"))?)
    }

    /// This program in a known environment.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.env_clear().envs(&self.env).current_dir(&self.folder).stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    /// Runs another command of this program to its end, and answers the JSON that it prints.
    pub async fn run(&self, arguments: &[&str]) -> Result<Value, BenchError> {
        let mut command = self.command();
        command.args(arguments).args(["--output", "json", "--data-dir"]).arg(self.data());
        let output = command.output().await?;
        let what = format!("opsroom {}", arguments.join(" "));
        if !output.status.success() {
            let why = String::from_utf8_lossy(&output.stderr).into_owned();
            return Err(BenchError::Unreadable { what, why });
        }
        serde_json::from_slice(&output.stdout).map_err(|error| BenchError::Unreadable { what, why: error.to_string() })
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.folder) {
            tracing::warn!(%error, folder = %self.folder.display(), "the folder of the benchmark is left");
        }
    }
}

/// A server that is ready, with the processes that belong to it.
pub(super) struct Server {
    pub target: Target,
    /// The process with the API.
    pub pid: u32,
    /// The process that executes; of `up` it is the same.
    pub worker: u32,
    /// From the start of the processes to the first answer that it is ready.
    pub ready_after: Duration,
    /// The one with the API first.
    processes: Vec<Process>,
    log: PathBuf,
}

/// One process of this program.
struct Process {
    child: Child,
    pid: u32,
    /// What it printed when it was ready.
    said: Value,
}

impl Process {
    /// Starts it and waits for its line.
    async fn start(ground: &Ground, log: &Path, command: &str, options: &[&str]) -> Result<Process, BenchError> {
        let errors = File::options().create(true).append(true).open(log)?;
        let mut child = ground
            .command()
            .args([command, "--output", "json", "--data-dir"])
            .arg(ground.data())
            .args(options)
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn()?;
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            let read = async move { BufReader::new(stdout).read_line(&mut line).await.map(|_| line) };
            line = timeout(PATIENCE, read).await.map_err(|_| failed(log, "says nothing"))??;
        }
        let said = serde_json::from_str(&line).map_err(|_| failed(log, &format!("said `{}`", line.trim())))?;
        let pid = child.id().unwrap_or_default();
        Ok(Process { child, pid, said })
    }
}

impl Server {
    pub async fn start(ground: &Ground) -> Result<Server, BenchError> {
        Server::start_with(ground, &[]).await
    }

    /// With more options of what executes runs.
    pub async fn start_with(ground: &Ground, options: &[&str]) -> Result<Server, BenchError> {
        let log = ground.folder.join("up.log");
        let runbooks = ground.folder.join("runbooks").display().to_string();
        let listen: &[&str] = &["--listen", "127.0.0.1:0"];
        let follow: &[&str] = &["--runbooks", runbooks.as_str()];
        let started = Instant::now();
        let processes = match (ground.database.is_some(), ground.together) {
            (false, _) => vec![Process::start(ground, &log, "up", &[listen, follow, options].concat()).await?],
            (true, true) => {
                let options = [listen, follow, &["--with", "worker,scheduler"], options].concat();
                vec![Process::start(ground, &log, "serve", &options).await?]
            }
            (true, false) => vec![
                Process::start(ground, &log, "serve", listen).await?,
                Process::start(ground, &log, "worker", options).await?,
                Process::start(ground, &log, "scheduler", follow).await?,
            ],
        };
        let url = processes[0].said["url"].as_str().unwrap_or_default();
        let address = url.trim_start_matches("http://").trim_end_matches('/').parse();
        let address = address.map_err(|_| failed(&log, &format!("listens at `{url}`, which is no address")))?;
        let key = fs::read_to_string(ground.data().join("api.key"))?.trim().to_owned();
        let (pid, worker) = (processes[0].pid, processes.get(1).unwrap_or(&processes[0]).pid);
        let target = Target { address, key };
        let mut server = Server { target, pid, worker, ready_after: Duration::ZERO, processes, log };
        server.wait_until_ready().await?;
        server.ready_after = started.elapsed();
        server.wait_for_runbooks(ground).await?;
        Ok(server)
    }

    /// The folder is read after the server is ready.
    async fn wait_for_runbooks(&self, ground: &Ground) -> Result<(), BenchError> {
        let mut client = self.client().await?;
        let deadline = Instant::now() + PATIENCE;
        for file in fs::read_dir(ground.folder.join("runbooks"))? {
            let file = file?.path();
            let name = file.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            while client.get_bytes(&format!("/v1/runbooks/{name}")).await?.0 != 200 {
                if Instant::now() > deadline {
                    return Err(failed(&self.log, &format!("does not find the runbook `{name}`")));
                }
                sleep(Duration::from_millis(2)).await;
            }
        }
        Ok(())
    }

    async fn wait_until_ready(&mut self) -> Result<(), BenchError> {
        let mut client = self.client().await?;
        let deadline = Instant::now() + PATIENCE;
        while client.get_bytes("/readyz").await?.0 != 200 {
            if Instant::now() > deadline {
                return Err(failed(&self.log, "does not become ready"));
            }
            sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }

    pub async fn client(&self) -> Result<Client, BenchError> {
        Client::connect(&self.target).await
    }

    /// What the process with the API uses.
    pub fn usage(&self) -> Result<Usage, BenchError> {
        Ok(Usage::of(self.pid)?)
    }

    /// What the process that executes uses.
    pub fn worker_usage(&self) -> Result<Usage, BenchError> {
        Ok(Usage::of(self.worker)?)
    }

    /// Asks all of it to leave and waits until it has.
    pub async fn stop(mut self) -> Result<(), BenchError> {
        for process in &self.processes {
            if let Some(pid) = process.child.id().and_then(|pid| rustix::process::Pid::from_raw(pid.cast_signed())) {
                rustix::process::kill_process(pid, rustix::process::Signal::TERM).map_err(std::io::Error::from)?;
            }
        }
        for process in &mut self.processes {
            let left = timeout(PATIENCE, process.child.wait()).await;
            let status = left.map_err(|_| failed(&self.log, "does not leave"))??;
            if !status.success() {
                return Err(failed(&self.log, &format!("left with {status}")));
            }
        }
        Ok(())
    }

    /// As if the machine had taken it.
    pub async fn kill(mut self) -> Result<(), BenchError> {
        for process in &mut self.processes {
            process.child.kill().await?;
        }
        Ok(())
    }
}

fn failed(log: &Path, what: &str) -> BenchError {
    let log = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    let last = lines[lines.len().saturating_sub(10)..].join("\n");
    BenchError::Server { what: what.to_owned(), log: if last.is_empty() { last } else { format!(":\n{last}") } }
}
