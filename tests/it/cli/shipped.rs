//! The shipped runbooks, as a user would run them, on what this machine has.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use super::world::{World, until};

fn shipped(name: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("runbooks").join(name);
    file.to_str().unwrap().to_owned()
}

fn sh(folder: &Path, script: &str) {
    let done = Command::new("bash").args(["-euc", script]).current_dir(folder).output().unwrap();
    assert!(done.status.success(), "{script}: {done:?}");
}

/// The text of the run's only artifact of this name.
fn artifact(world: &World, name: &str) -> String {
    fn find(folder: &Path, name: &str) -> Option<PathBuf> {
        fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .find_map(|path| if path.is_dir() { find(&path, name) } else { path.ends_with(name).then_some(path) })
    }
    fs::read_to_string(find(&world.data().join("artifacts"), name).unwrap()).unwrap()
}

#[test]
fn all_are_valid() {
    let world = World::new();
    let mut seen = 0;
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("runbooks")).unwrap() {
        let file = entry.unwrap().path();
        let ended = world.ends(["validate", file.to_str().unwrap()]);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        seen += 1;
    }
    assert!(seen >= 5);
}

#[test]
fn disk_usage_measures_and_judges() {
    let world = World::new();
    let file = shipped("disk-usage.yaml");
    let ended = world.ends(["run", &file, "-p", "threshold=100"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(artifact(&world, "disk-usage.md").contains('/'), "the root is in the report");
}

#[test]
fn git_build_test_builds_a_commit_and_fails_with_its_tests() {
    let world = World::new();
    sh(
        &world.path(""),
        "git init -q -b main repo && cd repo && printf 'all:\\n\\techo built > out\\ntest:\\n\\ttest -f out\\n' > Makefile \
        && git add -A && git -c user.name=a -c user.email=a@example.com commit -qm first",
    );
    let repo = format!("repo={}", world.path("repo").display());
    let file = shipped("git-build-test.yaml");
    let ended = world.ends(["run", &file, "-p", &repo, "-p", r#"build=["make"]"#, "-p", r#"test=["make","test"]"#]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let ended = world.ends(["run", &file, "-p", &repo, "-p", r#"build=["make"]"#, "-p", r#"test=["false"]"#]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
}

#[test]
fn log_cleanup_shows_first_and_removes_only_what_is_old() {
    let world = World::new();
    // It works only in places where logs are; this is one of them.
    let logs = tempfile::tempdir_in("/var/tmp").unwrap();
    let script =
        "mkdir deep && touch -d '40 days ago' old.gz 'deep/with space.gz' old.txt && touch new.gz && chmod -R u+rwX .";
    sh(logs.path(), script);
    let file = shipped("log-cleanup.yaml");
    let here = format!("path={}", logs.path().display());
    let left = || ["old.gz", "deep/with space.gz"].iter().filter(|name| logs.path().join(name).exists()).count();
    let ended = world.ends(["run", &file, "-p", &here]);
    assert_eq!((ended.code, left()), (Some(0), 2), "a dry run removes nothing: {ended:?}");
    let ended = world.ends(["run", &file, "-p", &here, "-p", "dry_run=false"]);
    assert_eq!((ended.code, left()), (Some(0), 0), "{ended:?}");
    assert!(logs.path().join("old.txt").exists() && logs.path().join("new.gz").exists());
    let ended = world.ends(["run", &file, "-p", "path=/etc", "-p", "dry_run=false"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
}

#[test]
fn http_health_tells_the_well_from_the_ill() {
    let world = World::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // Ends with the test process; it answers only this test.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = String::new();
            BufReader::new(stream.try_clone().unwrap()).read_line(&mut request).unwrap();
            let status = if request.contains("/ill") { "500 Internal Server Error" } else { "200 OK" };
            let _ = write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        }
    });
    let file = shipped("http-health.yaml");
    let well = format!(r#"urls=["http://{address}/well"]"#);
    let ended = world.ends(["run", &file, "-p", &well]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let both = format!(r#"urls=["http://{address}/well","http://{address}/ill"]"#);
    let ended = world.ends(["run", &file, "-p", &both, "-p", "attempts=1"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stdout.contains("500") || ended.stdout.contains("/ill"), "{ended:?}");
}

/// `openssl s_server` with a certificate of its own; ended with the test.
struct TlsServer {
    child: Child,
    address: String,
}

impl TlsServer {
    fn start(world: &World, days: u32) -> TlsServer {
        let name = format!("d{days}");
        sh(
            &world.path(""),
            &format!(
                "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=localhost -days {days} -keyout {name}.key -out {name}.pem 2>/dev/null"
            ),
        );
        let mut child = Command::new("openssl")
            .args([
                "s_server",
                "-accept",
                "127.0.0.1:0",
                "-key",
                &format!("{name}.key"),
                "-cert",
                &format!("{name}.pem"),
            ])
            .current_dir(world.path(""))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap());
        let mut address = None;
        until("the server says where it listens", || {
            let mut line = String::new();
            said.read_line(&mut line).unwrap();
            address = line.trim().strip_prefix("ACCEPT ").map(str::to_owned);
            address.is_some()
        });
        // Somebody has to read what it says from then on.
        std::thread::spawn(move || std::io::copy(&mut said.by_ref(), &mut std::io::sink()));
        TlsServer { child, address: address.unwrap() }
    }
}

impl Drop for TlsServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn tls_expiry_counts_the_days() {
    let world = World::new();
    let server = TlsServer::start(&world, 90);
    let soon = TlsServer::start(&world, 5);
    let file = shipped("tls-expiry.yaml");
    let one = format!(r#"hosts=["{}"]"#, server.address);
    let ended = world.ends(["run", &file, "-p", &one]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let both = format!(r#"hosts=["{}","{}"]"#, server.address, soon.address);
    let ended = world.ends(["run", &file, "-p", &both]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
}
