//! A data folder with runbooks, and the binary on it.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

/// Long enough for a busy machine; nothing waits as long when it works.
pub const PATIENCE: Duration = Duration::from_mins(1);

pub struct World {
    folder: TempDir,
}

/// What a command left behind.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl World {
    pub fn new() -> World {
        // Beside the build: on a real disk, whatever the temporary folder is.
        World { folder: tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn data(&self) -> PathBuf {
        self.path("data")
    }

    /// Writes a runbook named after its file, with these lines as its body.
    pub fn runbook(&self, name: &str, body: &str) -> PathBuf {
        let file = self.path(&format!("{name}.yaml"));
        std::fs::write(&file, format!("version: 1\nname: {name}\n{body}")).unwrap();
        file
    }

    /// The binary in a small, known environment.
    pub fn command<const N: usize>(&self, arguments: [&str; N]) -> Command {
        let mut command = Command::new(binary());
        command
            .args(arguments)
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("HOME", self.folder.path())
            .env("USER", "ann")
            .env("TZ", "UTC")
            .env("OPSROOM_DATA_DIR", self.data())
            .current_dir(self.folder.path())
            .stdin(Stdio::null());
        command
    }

    pub fn ends<const N: usize>(&self, arguments: [&str; N]) -> Ended {
        ended(self.command(arguments).output().unwrap())
    }

    /// The command's one JSON document; its exit code does not matter.
    pub fn json<const N: usize>(&self, arguments: [&str; N]) -> Value {
        let ended = ended(self.command(arguments).args(["--output", "json"]).output().unwrap());
        serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended:?}"))
    }

    /// Starts the command and leaves it running, its streams going to files.
    pub fn start<const N: usize>(&self, arguments: [&str; N]) -> Running {
        self.start_as("command", arguments)
    }

    /// One of several at the same time, told apart by their names.
    pub fn start_as<const N: usize>(&self, name: &str, arguments: [&str; N]) -> Running {
        self.start_with(name, &arguments)
    }

    /// The same, with any number of arguments.
    pub fn start_with(&self, name: &str, arguments: &[&str]) -> Running {
        let mut command = self.command([]);
        command.args(arguments);
        self.launch(name, command)
    }

    /// The same, with a command that was made elsewhere.
    pub fn launch(&self, name: &str, mut command: Command) -> Running {
        let (stdout, stderr) = (self.path(&format!("{name}.out")), self.path(&format!("{name}.err")));
        let file = |path: &Path| std::fs::File::create(path).unwrap();
        let child = command.stdout(file(&stdout)).stderr(file(&stderr)).spawn().unwrap();
        Running { child, stdout, stderr }
    }

    /// Waits for a file that a step writes.
    pub fn wait_for(&self, name: &str) {
        let file = self.path(name);
        until(&format!("`{name}` is there"), || file.exists());
    }
}

/// The binary under test: the one built with the tests, or the one that the environment names.
#[expect(clippy::disallowed_methods, reason = "how a release build is tested without building the tests as one")]
fn binary() -> PathBuf {
    std::env::var_os("OPSROOM_TEST_BINARY").map_or_else(|| env!("CARGO_BIN_EXE_opsroom").into(), PathBuf::from)
}

pub fn ended(output: Output) -> Ended {
    Ended {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        pause();
    }
}

/// Between two looks at something that gives no signal.
fn pause() {
    pause_for(Duration::from_millis(10));
}

#[expect(clippy::disallowed_methods, reason = "a poll with a deadline, outside of any runtime")]
pub fn pause_for(time: Duration) {
    std::thread::sleep(time);
}

/// A command under way; killed when it is dropped.
pub struct Running {
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Running {
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(self.child.id().try_into().unwrap()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// What it has written to standard output so far, and to standard error.
    pub fn output(&self) -> (String, String) {
        let read = |path: &Path| std::fs::read_to_string(path).unwrap();
        (read(&self.stdout), read(&self.stderr))
    }

    pub fn said(&self, text: &str) {
        let read = |path: &Path| std::fs::read_to_string(path).unwrap();
        until(&format!("it says `{text}`"), || read(&self.stderr).contains(text) || read(&self.stdout).contains(text));
    }

    pub fn wait(&mut self) -> Ended {
        let mut status = None;
        until("the command ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        let read = |path: &Path| std::fs::read_to_string(path).unwrap();
        Ended { code: status.unwrap().code(), stdout: read(&self.stdout), stderr: read(&self.stderr) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended already, as a rule.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
