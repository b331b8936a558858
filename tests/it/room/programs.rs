//! Clients that are no Rust programs, started with the key of a room.

use std::{
    io::{BufRead, BufReader, Write},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{Room, launch::pause};

/// How long a program may take to end once it is told to.
const END: Duration = Duration::from_secs(20);

/// `curl` with the key, which is in no process list: it comes over standard input.
pub fn curl(room: &Room, arguments: &[&str]) -> Fetched {
    let here = |argument: &&str| {
        if argument.starts_with('/') { format!("{}{argument}", room.url) } else { (*argument).to_owned() }
    };
    let mut curl = Command::new("curl")
        .args(["--silent", "--show-error", "--no-buffer", "--include", "--max-time", "100", "--config", "-"])
        .args(arguments.iter().map(here))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("curl is not installed: run ./scripts/test.sh");
    let config = format!("header = \"authorization: Bearer {}\"\n", room.key);
    curl.stdin.take().unwrap().write_all(config.as_bytes()).unwrap();
    let output = curl.wait_with_output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Fetched::read(&output.stdout)
}

/// A program of `tests/clients`, in a process group of its own.
pub fn python(room: &Room, script: &str, arguments: &[&str]) -> Python {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let interpreter = root.join("target/python/bin/python");
    assert!(interpreter.exists(), "the Python clients are not installed: run ./scripts/python.sh");
    let errors = room.world.path("python.err");
    let child = Command::new(interpreter)
        .arg(root.join("tests/clients").join(script))
        .arg(&room.url)
        .args(arguments)
        .env("OPSROOM_KEY", &room.key)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(std::fs::File::create(&errors).unwrap())
        .process_group(0)
        .spawn()
        .unwrap();
    Python { child, errors }
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
            // Playwright's driver ends its browser when its Python is gone.
            terminate(&mut self.child);
        }
    }
}

fn terminate(child: &mut Child) {
    let _ = Command::new("kill").arg(child.id().to_string()).status();
    let begin = Instant::now();
    while matches!(child.try_wait(), Ok(None)) {
        if begin.elapsed() > END {
            let _ = child.kill();
        }
        pause(Duration::from_millis(20));
    }
}
