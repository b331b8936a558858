//! A real server that speaks S3, one for all tests of the process; it ends with the process.

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

use opsroom::system::ObjectConfig;

const BUCKET: &str = "opsroom-tests";

/// The running server. Its input is a pipe from us: when we end, however we do, so does it.
struct Server {
    port: u16,
    _child: Child,
}

fn program(bucket: &str) -> Command {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = root.join("target/python/bin/python");
    assert!(python.exists(), "{} is missing: ./scripts/python.sh makes it", python.display());
    let mut command = Command::new(python);
    command.arg(root.join("tests/clients/s3_server.py")).arg(bucket);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

fn start(bucket: &str) -> Server {
    let mut child = program(bucket).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    Server { port: line.trim().parse().expect("the server says its port"), _child: child }
}

/// The port of the server that all tests share.
pub fn port() -> u16 {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| start(BUCKET)).port
}

/// The variables of a user of the server behind this port.
pub fn variables(port: u16) -> Vec<(String, String)> {
    [
        ("AWS_ENDPOINT_URL", &*format!("http://127.0.0.1:{port}")),
        ("AWS_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", "AKIACANARYCANARY0001"),
        ("AWS_SECRET_ACCESS_KEY", "canary-secret-access-key"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

/// A prefix of the shared bucket that nobody else has.
pub fn config(port: u16) -> ObjectConfig {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let prefix = format!("tests/{}", NEXT.fetch_add(1, Ordering::Relaxed));
    ObjectConfig { variables: variables(port), ..ObjectConfig::new(BUCKET, prefix) }
}

/// A whole bucket that nobody else has.
pub fn own_bucket(port: u16) -> ObjectConfig {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let bucket = format!("opsroom-own-{}", NEXT.fetch_add(1, Ordering::Relaxed));
    let answer = reqwest::blocking::Client::builder().no_proxy().build().unwrap();
    let request = answer.put(format!("http://127.0.0.1:{port}/{bucket}"));
    // Signatures are not checked by this server; it wants to know the region.
    let scope = "AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=x";
    assert!(request.header("authorization", scope).send().unwrap().status().is_success());
    ObjectConfig { variables: variables(port), ..ObjectConfig::new(bucket, "") }
}
