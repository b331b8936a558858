//! A real `opsroom up` for clients that are no Rust programs, with its key and its runbooks.

use std::{
    io::{BufRead, BufReader, Write},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

/// Long enough for a busy machine; nothing waits as long when it works.
pub const PATIENCE: Duration = Duration::from_mins(2);

/// A data folder, a folder of runbooks, and the server on them. Ends with everything below it when dropped.
pub struct Room {
    folder: TempDir,
    listen: String,
    server: Option<Child>,
}

impl Room {
    /// `runbooks` are names and texts.
    pub fn with(runbooks: &[(&str, &str)]) -> Room {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        std::fs::create_dir(folder.path().join("runbooks")).unwrap();
        for (name, text) in runbooks {
            std::fs::write(folder.path().join("runbooks").join(format!("{name}.yaml")), text).unwrap();
        }
        let mut room = Room { folder, listen: "127.0.0.1:0".to_owned(), server: None };
        room.start();
        room
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.listen)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn key(&self) -> String {
        std::fs::read_to_string(self.path("data/api.key")).unwrap().trim().to_owned()
    }

    /// Stops as an operator does, and starts again on the same address.
    pub fn restart(&mut self) {
        let mut server = self.server.take().unwrap();
        signal(&server, "TERM");
        wait(&mut server);
        self.start();
    }

    fn start(&mut self) {
        let errors = std::fs::File::options().create(true).append(true).open(self.path("up.err")).unwrap();
        let mut server = Command::new(binary())
            .args(["up", "--output", "json", "--drain", "1s", "--listen", &self.listen])
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("HOME", self.folder.path())
            .env("OPSROOM_DATA_DIR", self.path("data"))
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
        self.server = Some(server);
        let said: Value =
            serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}, {}", self.errors()));
        self.listen = said["url"].as_str().unwrap().trim_start_matches("http://").trim_end_matches('/').to_owned();
    }

    pub fn errors(&self) -> String {
        std::fs::read_to_string(self.path("up.err")).unwrap_or_default()
    }

    /// `curl` with the key, which is in no process list: it comes over standard input.
    pub fn curl(&self, arguments: &[&str]) -> Fetched {
        let mut curl =
            Command::new("curl")
                .args(["--silent", "--show-error", "--no-buffer", "--include", "--max-time", "100", "--config", "-"])
                .args(arguments.iter().map(|argument| {
                    if argument.starts_with('/') { self.url() + argument } else { (*argument).to_owned() }
                }))
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
        let config = format!("header = \"authorization: Bearer {}\"\n", self.key());
        curl.stdin.take().unwrap().write_all(config.as_bytes()).unwrap();
        let output = curl.wait_with_output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        Fetched::read(&output.stdout)
    }

    /// Starts a run and gives its id.
    pub fn starts(&self, body: &Value) -> String {
        let body = body.to_string();
        let made = self.curl(&["--header", "content-type: application/json", "--data", &body, "/v1/runs"]);
        assert_eq!(made.status, 201, "{made:?}");
        made.json()["id"].as_str().unwrap().to_owned()
    }

    /// A Python program of `tests/clients`, in a process group of its own.
    pub fn python(&self, script: &str, arguments: &[&str]) -> Python {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let interpreter = root.join("target/python/bin/python");
        assert!(
            interpreter.exists(),
            "the Python clients are not installed: run ./scripts/test.sh, or ./scripts/python.sh"
        );
        let errors = std::fs::File::create(self.path("python.err")).unwrap();
        let child = Command::new(interpreter)
            .arg(root.join("tests/clients").join(script))
            .arg(self.url())
            .args(arguments)
            .env("OPSROOM_KEY", self.key())
            .env_remove("OPSROOM_URL")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(errors)
            .process_group(0)
            .spawn()
            .unwrap();
        Python { child, errors: self.path("python.err") }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take() {
            signal(&server, "TERM");
            wait(&mut server);
        }
    }
}

/// What a server answered.
#[derive(Debug)]
pub struct Fetched {
    pub status: u16,
    /// In lower case.
    pub head: String,
    pub body: Vec<u8>,
}

impl Fetched {
    fn read(bytes: &[u8]) -> Fetched {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").expect("a head");
        let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        Fetched { status, head, body: bytes[end + 4..].to_vec() }
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }
}

/// A running Python program.
pub struct Python {
    child: Child,
    errors: PathBuf,
}

impl Python {
    /// Reads its lines to the end. `answer` gets each and may do something before the program goes on.
    pub fn ends(mut self, mut answer: impl FnMut(&str)) -> Vec<String> {
        let mut stdin = self.child.stdin.take().unwrap();
        let mut lines = Vec::new();
        for line in BufReader::new(self.child.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            answer(&line);
            // It may have ended meanwhile.
            let _ = stdin.write_all(b"\n");
            lines.push(line);
        }
        let status = self.child.wait().unwrap();
        let errors = std::fs::read_to_string(&self.errors).unwrap_or_default();
        assert!(status.success(), "{status}: {lines:?}\n{errors}");
        lines
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            signal(&self.child, "TERM");
            wait(&mut self.child);
        }
    }
}

fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill").args(["-s", name, &child.id().to_string()]).status().unwrap();
    assert!(sent.success(), "process {} is gone", child.id());
}

/// Waits for a process that was told to end; kills it if it does not.
fn wait(child: &mut Child) {
    let begin = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if begin.elapsed() > PATIENCE {
            child.kill().unwrap();
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

fn binary() -> PathBuf {
    std::env::var_os("OPSROOM_TEST_BINARY").map_or_else(|| env!("CARGO_BIN_EXE_opsroom").into(), PathBuf::from)
}
