//! A world for one test: its own supervisor, and a way to find its processes that owes nothing to the code
//! under test.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    path::PathBuf,
    process::Stdio,
    time::{Duration, Instant},
};

use opsroom::{
    model::WorkerId,
    ports::{Exit, Process, ProcessSpec, Processes as _},
    system::{Supervised, SupervisorConfig},
};
use tokio::io::AsyncReadExt as _;

/// How long anything may take that should be quick.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// What a tree of a step is made of. Each is a script in which `$S` is a sleep that can be told from all
/// others, with the number of such sleeps it comes to.
pub const SHAPES: [(&str, usize); 6] = [
    ("$S & $S & wait", 2),
    ("setsid $S & setsid sh -c \"$S & wait\" & wait", 2),
    ("(setsid sh -c \"$S & exit\" &); (setsid sh -c \"(setsid $S &)\" &); $S & wait", 3),
    ("trap '' TERM; $S & setsid $S & wait", 2),
    ("env -i PATH=/usr/bin:/bin setsid $S & (env -i PATH=/usr/bin:/bin setsid sh -c \"$S &\" &); $S", 3),
    ("trap '' TERM; while :; do $S & wait $!; done", 1),
];

/// Names the processes of one test: in their environment and in the argument of their sleeps.
#[derive(Debug, Clone)]
pub struct Mark(pub String);

impl Mark {
    #[expect(clippy::disallowed_methods, reason = "a test has no ids port")]
    pub fn new() -> Mark {
        Mark(format!("{:010}", uuid::Uuid::now_v7().as_u128() % 10_000_000_000))
    }

    /// Hours, told apart by their fraction.
    pub fn sleep(&self) -> String {
        format!("sleep 90000.{}", self.0)
    }

    /// The script as a step; `$S` is this mark's sleep.
    pub fn script(&self, script: &str) -> ProcessSpec {
        self.spec(&["sh", "-c", &script.replace("$S", &self.sleep())])
    }

    pub fn spec(&self, argv: &[&str]) -> ProcessSpec {
        let env = [("PATH", "/usr/bin:/bin"), ("TEST_MARK", &self.0)];
        let env: BTreeMap<_, _> = env.map(|(name, value)| (name.into(), value.into())).into();
        ProcessSpec { argv: argv.iter().map(ToString::to_string).collect(), env, cwd: PathBuf::from("/") }
    }

    /// All living processes with the mark, as `pid command line`.
    pub fn living(&self) -> Vec<String> {
        let variable = format!("TEST_MARK={}", self.0);
        let has = |text: &[u8], wanted: &str| text.split(|byte| *byte == 0).any(|part| part == wanted.as_bytes());
        let entries = std::fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path());
        let processes = entries.filter_map(|path| {
            let command = std::fs::read(path.join("cmdline")).ok()?;
            let environment = std::fs::read(path.join("environ")).unwrap_or_default();
            let marked = has(&environment, &variable) || has(&command, &format!("90000.{}", self.0));
            let command = String::from_utf8_lossy(&command).replace('\0', " ");
            marked.then(|| format!("{} {command}", path.file_name().unwrap().display()))
        });
        processes.collect()
    }

    pub fn sleeping(&self) -> usize {
        let sleep = format!("{} ", self.sleep());
        self.living()
            .iter()
            .filter_map(|process| process.split_once(' '))
            .filter(|(_, command)| *command == sleep)
            .count()
    }

    pub async fn until_sleeping(&self, count: usize) {
        until(&format!("{count} sleeps"), PATIENCE, || self.sleeping() >= count).await;
    }

    pub async fn until_none_is_left(&self, within: Duration) {
        let started = Instant::now();
        while !self.living().is_empty() {
            assert!(started.elapsed() < within, "left behind: {:#?}", self.living());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// Polls until `condition` holds.
pub async fn until(what: &str, within: Duration, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < within, "not within {within:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub struct World {
    pub processes: Supervised,
    pub mark: Mark,
    pub config: SupervisorConfig,
}

impl World {
    pub async fn new() -> World {
        World::with(config()).await
    }

    pub async fn with(config: SupervisorConfig) -> World {
        World { processes: Supervised::start(config.clone()).await.unwrap(), mark: Mark::new(), config }
    }

    pub async fn spawn(&self, script: &str) -> Box<dyn Process> {
        self.processes.spawn(self.mark.script(script)).await.unwrap()
    }

    /// Runs a step to its end: how it ended, its output, its errors.
    pub async fn run(&self, spec: ProcessSpec) -> (Exit, Vec<u8>, Vec<u8>) {
        let mut process = self.processes.spawn(spec).await.unwrap();
        let (mut out, mut err) = (process.take_stdout().unwrap(), process.take_stderr().unwrap());
        let (mut output, mut errors) = (Vec::new(), Vec::new());
        let (_, _, exit) = tokio::join!(out.read_to_end(&mut output), err.read_to_end(&mut errors), process.wait());
        (exit.unwrap(), output, errors)
    }

    /// The output of a step that ends well.
    pub async fn output(&self, script: &str) -> String {
        let (exit, output, errors) = self.run(self.mark.script(script)).await;
        assert_eq!(exit, code(0), "{}", String::from_utf8_lossy(&errors));
        String::from_utf8(output).unwrap()
    }
}

#[expect(clippy::disallowed_methods, reason = "a test has no ids port")]
pub fn config() -> SupervisorConfig {
    let executable = env!("CARGO_BIN_EXE_opsroom").into();
    SupervisorConfig { executable, ..SupervisorConfig::new(WorkerId(uuid::Uuid::now_v7())) }
}

pub fn code(code: i32) -> Exit {
    Exit { code: Some(code), signal: None }
}

pub fn signal(signal: i32) -> Exit {
    Exit { code: None, signal: Some(signal) }
}

/// Sends a signal to a process of ours.
pub fn send(pid: u32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(pid.cast_signed()).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

/// This binary again, as a worker of its own that serves [`worker`](super::worker) its orders.
pub fn worker_command() -> std::process::Command {
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "--ignored", "--nocapture", "processes::worker::act_as_worker"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    command
}

/// The middle and the hundredth slowest of some durations.
pub fn percentiles(mut durations: Vec<Duration>) -> String {
    durations.sort();
    let at = |share: usize| durations[(durations.len() - 1) * share / 100];
    let mut text = String::new();
    write!(text, "p50 {:?}, p99 {:?}, max {:?}", at(50), at(99), at(100)).unwrap();
    text
}
