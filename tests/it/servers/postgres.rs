//! PostgreSQL.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use opsroom::store::{PgConfig, PgSchema};
use rustix::process::{Pid, Signal, kill_process};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use tokio::sync::{Mutex, OnceCell};

use super::{
    PgBouncer,
    certificates::make_certificates,
    programs::{Folder, free_port, program},
};

/// A server in a folder of its own, with fsync on.
pub struct Server {
    folder: Folder,
    bin: PathBuf,
    port: u16,
    /// It takes no connection without TLS.
    is_encrypted: bool,
    process: Mutex<Option<Child>>,
    databases: AtomicU32,
}

/// A database of one test; it goes with the value.
pub struct TestDatabase {
    pub url: String,
    name: String,
    maintenance: String,
    bin: PathBuf,
}

static SHARED: OnceCell<Server> = OnceCell::const_new();

/// A new and empty database on the server of this run.
pub async fn database() -> TestDatabase {
    shared().await.database(None).await
}

/// A new database with this build's schema.
pub async fn migrated_database() -> TestDatabase {
    static TEMPLATE: OnceCell<TestDatabase> = OnceCell::const_new();
    let server = shared().await;
    let template = TEMPLATE
        .get_or_init(async || {
            let template = server.database(None).await;
            let config = PgConfig::from_url(&template.url).unwrap();
            let mut schema = PgSchema::open(&config).await.unwrap();
            schema.up().await.unwrap();
            schema.close().await;
            template
        })
        .await;
    server.database(Some(&template.name)).await
}

async fn shared() -> &'static Server {
    SHARED.get_or_init(own_server).await
}

/// A pooler in transaction mode before the server of this run.
pub async fn pooler() -> &'static PgBouncer {
    static POOLER: OnceCell<PgBouncer> = OnceCell::const_new();
    POOLER.get_or_init(async || PgBouncer::start(shared().await.port, "").await).await
}

/// A server of one test, which may kill and restart it.
pub async fn own_server() -> Server {
    server(false).await
}

/// A server of one test, which speaks nothing but TLS. Its certificate is for `localhost`.
pub async fn encrypted_server() -> Server {
    server(true).await
}

async fn server(is_encrypted: bool) -> Server {
    let bin = binaries();
    let folder = Folder::new("opsroom-postgres-", "data/postmaster.pid");
    let data = folder.path.join("data");
    let mut init = program(&bin.join("initdb"), &folder);
    init.arg("-D").arg(&data).args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8"]);
    let status = init.status().unwrap();
    assert!(status.success(), "initdb: {}", folder.log());
    if is_encrypted {
        make_certificates(program(Path::new("/bin/sh"), &folder));
        folder.write("data/pg_hba.conf", "hostssl all all 127.0.0.1/32 trust\n");
    }
    let port = free_port();
    let server = Server { folder, bin, port, is_encrypted, process: Mutex::new(None), databases: AtomicU32::new(0) };
    server.start().await;
    server
}

impl Server {
    /// Starts it again, on the same port and data.
    pub async fn start(&self) {
        let mut server = program(&self.bin.join("postgres"), &self.folder);
        server.arg("-D").arg(self.folder.path.join("data"));
        for setting in [
            format!("port={}", self.port),
            "listen_addresses=127.0.0.1".to_owned(),
            format!("unix_socket_directories={}", self.folder.path.display()),
            "max_connections=300".to_owned(),
            "fsync=on".to_owned(),
            "synchronous_commit=on".to_owned(),
            "max_wal_size=512MB".to_owned(),
            "track_wal_io_timing=on".to_owned(),
        ] {
            server.arg("-c").arg(setting);
        }
        if self.is_encrypted {
            for (setting, file) in [("ssl_cert_file", "server.pem"), ("ssl_key_file", "server.key")] {
                server.arg("-c").arg(format!("{setting}={}", self.folder.path.join(file).display()));
            }
            server.args(["-c", "ssl=on"]);
        }
        *self.process.lock().await = Some(server.spawn().unwrap());
        self.until_ready().await;
    }

    async fn until_ready(&self) {
        let url = self.url("postgres");
        let wait = async {
            loop {
                match PgConnection::connect(&url).await {
                    Ok(connection) => return connection.close().await.ok(),
                    Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            }
        };
        let ready = tokio::time::timeout(Duration::from_mins(1), wait).await;
        assert!(ready.is_ok(), "PostgreSQL did not start: {}", self.folder.log());
    }

    /// Ends it as a crash does: nothing is written down, and the next start recovers from the log.
    pub async fn crash(&self) {
        let Some(mut process) = self.process.lock().await.take() else { return };
        let pid = Pid::from_raw(i32::try_from(process.id()).unwrap()).unwrap();
        kill_process(pid, Signal::QUIT).unwrap();
        tokio::task::spawn_blocking(move || process.wait().unwrap()).await.unwrap();
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self, database: &str) -> String {
        if self.is_encrypted {
            let ca = self.certificate("ca.pem");
            return format!(
                "postgres://postgres@localhost:{}/{database}?sslmode=verify-full&sslrootcert={ca}",
                self.port
            );
        }
        format!("postgres://postgres@127.0.0.1:{}/{database}?sslmode=disable", self.port)
    }

    /// The path of one of the files that [`make_certificates`] makes.
    pub fn certificate(&self, name: &str) -> String {
        self.folder.path.join(name).display().to_string()
    }

    /// A new database, empty or a copy of another one.
    pub async fn database(&self, template: Option<&str>) -> TestDatabase {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let maintenance = self.url("postgres");
        let mut connection = PgConnection::connect(&maintenance).await.unwrap();
        let sql = format!("CREATE DATABASE {name} TEMPLATE {}", template.unwrap_or("template0"));
        connection.execute(sqlx::raw_sql(AssertSqlSafe(sql))).await.unwrap();
        connection.close().await.unwrap();
        TestDatabase { url: self.url(&name), name, maintenance, bin: self.bin.clone() }
    }
}

impl TestDatabase {
    pub fn config(&self) -> PgConfig {
        PgConfig::from_url(&self.url).unwrap()
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// A connection of the test's own.
    pub async fn connect(&self) -> PgConnection {
        PgConnection::connect(&self.url).await.unwrap()
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let sql = format!("DROP DATABASE {} WITH (FORCE)", self.name);
        let mut psql = Command::new(self.bin.join("psql"));
        // A server that the test has ended takes its databases with it.
        psql.args(["-q", "-d", &self.maintenance, "-c", &sql]).stderr(std::process::Stdio::null());
        psql.status().ok();
    }
}

/// Where the newest PostgreSQL of this machine has its programs.
fn binaries() -> PathBuf {
    let told = Command::new("pg_config").arg("--bindir").output().ok();
    let told = told.map(|output| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()));
    let mut packaged: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .map(|folder| folder.map(|entry| entry.unwrap().path().join("bin")).collect())
        .unwrap_or_default();
    packaged.sort_by_key(|path| version(path));
    let found = packaged.into_iter().rev().chain(told).find(|bin| bin.join("initdb").exists());
    found.expect("PostgreSQL is missing: install the package postgresql (scripts/test.sh does)")
}

fn version(bin: &Path) -> u32 {
    let folder = bin.parent().and_then(Path::file_name);
    folder.and_then(|name| name.to_str()?.parse().ok()).unwrap_or_default()
}
