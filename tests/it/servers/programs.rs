//! Starting servers and seeing to their end.

use std::{
    fs,
    io::{PipeWriter, pipe},
    net::TcpListener,
    os::unix::{fs::chown, process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// A folder for a server, of the user it runs as; removed by the watchdog.
pub struct Folder {
    pub path: PathBuf,
    /// Closes with the test process.
    _alive: PipeWriter,
}

impl Folder {
    /// The watchdog ends whose number is in `pid_file` and removes the folder.
    pub fn new(name: &str, pid_file: &str) -> Folder {
        let path = tempfile::Builder::new().prefix(name).tempdir().unwrap().keep();
        if let Some((user, group)) = server_user() {
            chown(&path, Some(user), Some(group)).unwrap();
        }
        let (reader, alive) = pipe().unwrap();
        let script = r#"trap '' INT TERM HUP
            while read -r _; do :; done
            for _ in 1 2 3 4 5 6; do
                pid=$(head -n 1 "$1" 2>/dev/null) && kill -QUIT "$pid" 2>/dev/null
                sleep 0.2
            done
            # Whoever was started in the background of a shell may have been told to ignore QUIT.
            pid=$(head -n 1 "$1" 2>/dev/null) && kill -KILL "$pid" 2>/dev/null
            rm -rf -- "$0""#;
        let mut watchdog = Command::new("sh");
        watchdog.args(["-c", script]).arg(&path).arg(path.join(pid_file));
        watchdog.stdin(reader).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        #[expect(clippy::zombie_processes, reason = "it outlives this process, on purpose")]
        watchdog.spawn().unwrap();
        Folder { path, _alive: alive }
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path.join(name);
        fs::write(&path, text).unwrap();
        path
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.path.join("log")).unwrap_or_default()
    }
}

/// A program as the user that servers may run as, with its output in the folder's log.
pub fn program(path: &Path, folder: &Folder) -> Command {
    let log = fs::OpenOptions::new().create(true).append(true).open(folder.path.join("log")).unwrap();
    let mut command = Command::new(path);
    command.current_dir(&folder.path).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    command.env_clear().env("PATH", "/usr/bin:/bin").env("LC_ALL", "C.UTF-8").process_group(0);
    if let Some((user, group)) = server_user() {
        command.uid(user).gid(group);
    }
    command
}

/// Servers refuse to run as root: then they run as the user `postgres` of Debian's packages.
fn server_user() -> Option<(u32, u32)> {
    let id = |option: &str, user: &str| {
        let output = Command::new("id").args([option, user]).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().parse::<u32>()
    };
    let me = Command::new("id").arg("-u").output().unwrap();
    if me.stdout.trim_ascii() != b"0" {
        return None;
    }
    let missing = "there is no user `postgres`: install the package postgresql (scripts/test.sh does)";
    Some((id("-u", "postgres").expect(missing), id("-g", "postgres").expect(missing)))
}

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
