//! Where the database is, and how connections to it are made.

use std::{fmt, num::NonZeroU32, path::PathBuf, str::FromStr, time::Duration};

use percent_encoding::percent_decode_str;
use sqlx::{
    ConnectOptions, Connection, Executor, PgConnection, PgPool, Row,
    postgres::{PgConnectOptions, PgPoolOptions, PgSslMode},
};
use tracing::log::LevelFilter;

use super::errors::store_error;
use crate::ports::StoreError;

/// Slower statements are logged.
const SLOW: Duration = Duration::from_millis(250);
/// How long a verb waits for a free connection.
const ACQUIRE: Duration = Duration::from_secs(5);
/// How long the first connection may take.
const FIRST: Duration = Duration::from_secs(10);
/// A connection that nobody has used for so long is closed.
const IDLE: Duration = Duration::from_mins(10);
/// Old connections are replaced, so that a balancer or a failover spreads them anew.
const LIFETIME: Duration = Duration::from_mins(30);

/// URL schemes that mean PostgreSQL. The last one is what Python services have in their environment.
pub const SCHEMES: [&str; 3] = ["postgres", "postgresql", "postgresql+asyncpg"];

/// Parameters of a URL that are understood. Others are refused: a misspelt `sslmode` must not be passed over.
const PARAMETERS: [&str; 17] = [
    "sslmode",
    "ssl",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "host",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
];

/// Those that name files.
const FILES: [&str; 7] = ["sslrootcert", "ssl-root-cert", "ssl-ca", "sslcert", "ssl-cert", "sslkey", "ssl-key"];

/// What is between this process and the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pooling {
    /// Found out when the store is opened.
    #[default]
    Detect,
    /// Nothing, or a pooler that gives each connection a server connection of its own.
    Session,
    /// A pooler that changes the server connection between transactions, such as PgBouncer in transaction mode:
    /// nothing may be left on a connection, neither prepared statements nor settings. Every statement is then a
    /// transaction of several round trips.
    Transaction,
}

/// How to reach a PostgreSQL database. Its `Debug` form has no password.
#[derive(Clone)]
pub struct PgConfig {
    /// As it was given.
    url: String,
    options: PgConnectOptions,
    /// The files that the URL names and a connection needs, each with the name of its parameter.
    files: Vec<(String, PathBuf)>,
    pub pooling: Pooling,
    /// Connections at most. Every one is a process of the server: default is [`PgConfig::default_pool`].
    pub pool: NonZeroU32,
    /// The longest that a statement may take on the server.
    pub statement_timeout: Duration,
    /// The longest that a statement waits for a lock.
    pub lock_timeout: Duration,
    /// The longest that a transaction may stand still.
    pub idle_in_transaction_timeout: Duration,
}

impl fmt::Debug for PgConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PgConfig")
            .field("at", &self.place())
            .field("pooling", &self.pooling)
            .field("pool", &self.pool)
            .finish_non_exhaustive()
    }
}

/// The URL of a database cannot be used. Never shows the URL, which may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the database URL cannot be used: {0}")]
pub struct BadUrl(String);

impl PgConfig {
    /// Reads `postgres://user:password@host:port/database?sslmode=…`. `pgbouncer=true` says that a pooler in
    /// transaction mode is in between.
    pub fn from_url(url: &str) -> Result<PgConfig, BadUrl> {
        let (scheme, rest) = url.split_once("://").ok_or_else(|| BadUrl("it has no scheme".to_owned()))?;
        if !SCHEMES.contains(&scheme) {
            return Err(BadUrl(format!("its scheme is none of {}", SCHEMES.join(", "))));
        }
        let (target, query) = rest.split_once('?').unwrap_or((rest, ""));
        let Query { kept, pooling, files } = Query::read(query)?;
        // The driver's error may quote the URL.
        let options = PgConnectOptions::from_str(&format!("postgres://{target}?{kept}"))
            .map_err(|_| BadUrl("it is not of the form postgres://user:password@host:port/database".to_owned()))?;
        let options = verified(options, &kept);
        let needs_files = !matches!(options.get_ssl_mode(), PgSslMode::Disable | PgSslMode::Prefer);
        Ok(PgConfig {
            url: url.to_owned(),
            options,
            files: if needs_files { files } else { Vec::new() },
            pooling,
            pool: PgConfig::default_pool(),
            statement_timeout: Duration::from_secs(30),
            lock_timeout: Duration::from_secs(5),
            idle_in_transaction_timeout: Duration::from_secs(30),
        })
    }

    /// The same, with one connection.
    #[must_use]
    pub fn alone(self) -> PgConfig {
        PgConfig { pool: NonZeroU32::MIN, ..self }
    }

    /// Connections for a machine of this size: two for each core and one more. A server serves its active
    /// connections from its cores and its disk, and the committer shares each among many runs.
    pub fn default_pool() -> NonZeroU32 {
        let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        let size = u32::try_from(cores.saturating_mul(2).saturating_add(1)).unwrap_or(5);
        NonZeroU32::new(size.clamp(5, 32)).unwrap_or(NonZeroU32::MIN)
    }

    /// The same server and role, another database, whose name is a plain word.
    pub fn in_database(&self, name: &str) -> Result<PgConfig, BadUrl> {
        let (server, query) = self.url.split_once('?').unwrap_or((&self.url, ""));
        let (scheme, rest) = server.split_once("://").unwrap_or_default();
        let authority = rest.split_once('/').map_or(rest, |(authority, _)| authority);
        let kept: Vec<&str> =
            query.split('&').filter(|pair| !pair.is_empty() && !pair.starts_with("dbname=")).collect();
        let mark = if kept.is_empty() { "" } else { "?" };
        let config = PgConfig::from_url(&format!("{scheme}://{authority}/{name}{mark}{}", kept.join("&")))?;
        Ok(PgConfig { url: config.url, options: config.options, files: config.files, ..self.clone() })
    }

    /// The URL with its password: for the environment of a process of ours, never for people or logs.
    pub fn secret_url(&self) -> &str {
        &self.url
    }

    /// Shown in the server's list of connections; default `opsroom`.
    #[must_use]
    pub fn named(mut self, application: &str) -> PgConfig {
        self.options = self.options.application_name(application);
        self
    }

    /// Host, port and database, for messages: no user, no password.
    pub fn place(&self) -> String {
        let database = self.options.get_database().unwrap_or_else(|| self.options.get_username());
        match self.options.get_socket() {
            Some(socket) => format!("{}:{}/{database}", socket.display(), self.options.get_port()),
            None => format!("{}:{}/{database}", self.options.get_host(), self.options.get_port()),
        }
    }

    /// What a connection is opened with, where it is ours alone.
    pub fn session_options(&self) -> PgConnectOptions {
        let given = self.options.get_options().unwrap_or_default();
        let settings = self.settings().into_iter().filter(|(name, _)| !given.contains(name));
        self.bare_options().options(settings)
    }

    /// The same through a pooler: without settings, which it refuses.
    pub fn bare_options(&self) -> PgConnectOptions {
        let options = match self.options.get_application_name() {
            Some(_) => self.options.clone(),
            None => self.options.clone().application_name("opsroom"),
        };
        options.extra_float_digits(None).log_statements(LevelFilter::Off).log_slow_statements(LevelFilter::Warn, SLOW)
    }

    fn settings(&self) -> [(&'static str, String); 7] {
        [
            ("statement_timeout", millis(self.statement_timeout)),
            ("lock_timeout", millis(self.lock_timeout)),
            ("idle_in_transaction_session_timeout", millis(self.idle_in_transaction_timeout)),
            // What the statements are written for, whatever the database's own default is (mod.rs).
            ("default_transaction_isolation", "read committed".to_owned()),
            // Compiling a plan costs more than any of these statements runs.
            ("jit", "off".to_owned()),
            // For small arrays the planner thinks that a plan for their very values is cheaper, and plans every
            // commit anew: that takes longer than the commit (docs/benchmarks.md).
            ("plan_cache_mode", "force_generic_plan".to_owned()),
            // A plan that was made while a table was small would read all of it, and goes on doing so while the table
            // grows, until somebody analyzes it.
            ("enable_seqscan", "off".to_owned()),
        ]
    }

    /// Begins a transaction with the settings that a pooled connection cannot keep. Our own words and numbers.
    pub(super) fn begin(&self) -> String {
        format!(
            "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL statement_timeout = {}; SET LOCAL lock_timeout = {}; \
             SET LOCAL idle_in_transaction_session_timeout = {}; SET LOCAL jit = off; \
             SET LOCAL enable_seqscan = off",
            millis(self.statement_timeout),
            millis(self.lock_timeout),
            millis(self.idle_in_transaction_timeout)
        )
    }
}

fn millis(duration: Duration) -> String {
    duration.as_millis().to_string()
}

/// With a root certificate, `require` checks the server's, as libpq does.
fn verified(options: PgConnectOptions, query: &str) -> PgConnectOptions {
    let has_root = ["sslrootcert=", "ssl-root-cert=", "ssl-ca="].iter().any(|name| query.contains(name));
    match options.get_ssl_mode() {
        PgSslMode::Require if has_root => options.ssl_mode(PgSslMode::VerifyCa),
        _ => options,
    }
}

/// The parameters of a URL.
struct Query {
    /// Those that the driver understands, as they were.
    kept: String,
    pooling: Pooling,
    files: Vec<(String, PathBuf)>,
}

impl Query {
    fn read(query: &str) -> Result<Query, BadUrl> {
        let mut kept = Vec::new();
        let (mut pooling, mut files) = (Pooling::Detect, Vec::new());
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            match name {
                "pgbouncer" if value == "true" => pooling = Pooling::Transaction,
                "pgbouncer" if value == "false" => pooling = Pooling::Session,
                "pgbouncer" => return Err(BadUrl("`pgbouncer` is `true` or `false`".to_owned())),
                "sslmode" | "ssl-mode" | "ssl" if !ssl_mode(value) => {
                    return Err(BadUrl(format!("`{name}` is one of disable, prefer, require, verify-ca, verify-full")));
                }
                // As asyncpg calls it.
                "ssl" => kept.push(format!("sslmode={value}")),
                name if PARAMETERS.contains(&name) || name.starts_with("options[") => {
                    if FILES.contains(&name) {
                        files.extend(path_of(value).map(|path| (name.to_owned(), path)));
                    }
                    kept.push(pair.to_owned());
                }
                name => {
                    let name = percent_decode_str(name).decode_utf8_lossy();
                    return Err(BadUrl(format!("it has a parameter `{name:.40}`, which is not known")));
                }
            }
        }
        Ok(Query { kept: kept.join("&"), pooling, files })
    }
}

/// As the driver reads it; `None` where the value is no path but what would be in the file.
fn path_of(value: &str) -> Option<PathBuf> {
    let value = value.replace('+', " ");
    let value = percent_decode_str(&value).decode_utf8_lossy();
    (!value.trim_start().starts_with("-----BEGIN")).then(|| value.into_owned().into())
}

/// `allow` is left out: the driver would never encrypt.
fn ssl_mode(word: &str) -> bool {
    matches!(word, "disable" | "prefer" | "require" | "verify-ca" | "verify-full")
}

/// Connects once, to say early and clearly what is wrong, and finds out what is in between.
pub(super) async fn first(config: &PgConfig) -> Result<(PgConnection, Pooling), StoreError> {
    if config.pooling == Pooling::Transaction {
        return Ok((one(config, &config.bare_options()).await?, Pooling::Transaction));
    }
    match one(config, &config.session_options()).await {
        Ok(mut connection) if config.pooling == Pooling::Detect => {
            let found = detect(config, &mut connection).await?;
            Ok((connection, found))
        }
        Ok(connection) => Ok((connection, Pooling::Session)),
        // PgBouncer: "unsupported startup parameter: options".
        Err(StoreError::Unavailable(why)) if why.contains("startup parameter") && config.pooling == Pooling::Detect => {
            Ok((one(config, &config.bare_options()).await?, Pooling::Transaction))
        }
        Err(error) => Err(error),
    }
}

async fn one(config: &PgConfig, options: &PgConnectOptions) -> Result<PgConnection, StoreError> {
    let at = |why: String| StoreError::Unavailable(format!("{}: {why}", config.place()));
    // The driver's error has no name.
    for (name, path) in &config.files {
        if let Err(error) = tokio::fs::File::open(path).await {
            return Err(at(format!("`{name}`: the file `{}` cannot be read: {error}", path.display())));
        }
    }
    match tokio::time::timeout(FIRST, options.connect()).await {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(error)) => Err(match (store_error(&error), &error) {
            (StoreError::Busy(_), sqlx::Error::Io(error)) => at(format!("it cannot be connected to: {error}")),
            (StoreError::Unavailable(why) | StoreError::Busy(why) | StoreError::Refused(why), _) => at(why),
            (other, _) => other,
        }),
        Err(_) => Err(at(format!("no answer within {FIRST:?}; check the address and the network"))),
    }
}

/// A pooler in transaction mode gives a second connection the server connection that the first one has just
/// used, though the first is still open; a server never does.
async fn detect(config: &PgConfig, mine: &mut PgConnection) -> Result<Pooling, StoreError> {
    let mut other = one(config, &config.session_options()).await?;
    let mut found = Pooling::Session;
    for _ in 0..3 {
        if backend(mine).await? == backend(&mut other).await? {
            found = Pooling::Transaction;
        }
    }
    other.close().await.ok();
    Ok(found)
}

async fn backend(connection: &mut PgConnection) -> Result<i32, StoreError> {
    // A simple query: nothing is prepared.
    let row = connection.fetch_one(sqlx::raw_sql("SELECT pg_backend_pid()")).await;
    row.and_then(|row| row.try_get(0)).map_err(|error| store_error(&error))
}

/// The connections of a store, made when they are needed.
pub(super) fn pool(config: &PgConfig, pooling: Pooling) -> PgPool {
    let options = match pooling {
        Pooling::Transaction => config.bare_options().statement_cache_capacity(0),
        Pooling::Session | Pooling::Detect => config.session_options(),
    };
    PgPoolOptions::new()
        .max_connections(config.pool.get())
        .acquire_timeout(ACQUIRE)
        .idle_timeout(IDLE)
        .max_lifetime(LIFETIME)
        // A round trip before each verb would cost a third of it; a dead connection is noticed by the verb, which
        // is repeated on another one.
        .test_before_acquire(false)
        .connect_lazy_with(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(url: &str) -> String {
        PgConfig::from_url(url).unwrap_err().to_string()
    }

    #[test]
    fn the_schemes_of_other_services_are_taken() {
        for scheme in SCHEMES {
            let config = PgConfig::from_url(&format!("{scheme}://me:s3cret@db.example:6543/ops")).unwrap();
            assert_eq!(config.place(), "db.example:6543/ops");
            assert!(!format!("{config:?}").contains("s3cret"));
        }
        assert!(refused("mysql://me@db/ops").contains("postgresql+asyncpg"));
        assert!(refused("db/ops").contains("no scheme"));
    }

    #[test]
    fn errors_never_show_the_url() {
        for url in ["postgres://me:s3cret@db:port/ops", "postgres://me:s3cret@db/ops?sslmode=s3cret", "s3cret://x"] {
            assert!(!refused(url).contains("s3cret"), "{}", refused(url));
        }
        assert!(refused("postgres://db/ops?ssl_mode=require").contains("`ssl_mode`"));
        assert!(refused("postgres://db/ops?sslmode=allow").contains("verify-full"));
    }

    #[test]
    fn encryption_is_as_the_url_says() {
        let mode = |query: &str| {
            PgConfig::from_url(&format!("postgresql+asyncpg://db/ops?{query}")).unwrap().options.get_ssl_mode()
        };
        assert!(matches!(mode("sslmode=disable"), PgSslMode::Disable));
        assert!(matches!(mode("ssl=require"), PgSslMode::Require));
        assert!(matches!(mode("sslmode=require&sslrootcert=/ca.pem"), PgSslMode::VerifyCa));
        assert!(matches!(mode("sslmode=verify-full"), PgSslMode::VerifyFull));
        assert!(matches!(mode(""), PgSslMode::Prefer));
    }

    #[test]
    fn files_are_those_that_a_connection_needs() {
        let files = |query: &str| PgConfig::from_url(&format!("postgres://db/ops?{query}")).unwrap().files;
        let named = |name: &str, path: &str| (name.to_owned(), PathBuf::from(path));
        assert_eq!(
            files("sslmode=verify-full&sslrootcert=/a%20b/ca.pem&ssl-key=/key"),
            [named("sslrootcert", "/a b/ca.pem"), named("ssl-key", "/key")]
        );
        assert_eq!(files("sslmode=verify-ca&sslrootcert=-----BEGIN+CERTIFICATE-----%0A"), []);
        assert_eq!(files("sslmode=prefer&sslrootcert=/ca.pem"), []);
    }

    #[test]
    fn another_database_of_the_same_server() {
        let moved = |url: &str| {
            let config = PgConfig::from_url(url).unwrap().in_database("bench_1").unwrap();
            (config.place(), config.secret_url().to_owned())
        };
        assert_eq!(
            moved("postgres://me:s3cret@db:6543/ops?sslmode=disable&dbname=x"),
            ("db:6543/bench_1".to_owned(), "postgres://me:s3cret@db:6543/bench_1?sslmode=disable".to_owned())
        );
        assert_eq!(moved("postgresql+asyncpg://me@db").0, "db:5432/bench_1");
    }

    #[test]
    fn settings_of_the_url_win() {
        let config = PgConfig::from_url("postgres://db/ops?options=-c%20lock_timeout%3D77").unwrap();
        let options = config.session_options();
        let given = options.get_options().unwrap();
        assert!(given.contains("lock_timeout=77") && !given.contains("lock_timeout=5000"), "{given}");
        assert!(given.contains("statement_timeout=30000"), "{given}");
    }

    #[test]
    fn a_pooler_may_be_named() {
        let pooling = |query: &str| PgConfig::from_url(&format!("postgres://db/ops{query}")).map(|found| found.pooling);
        assert_eq!(pooling("?pgbouncer=true"), Ok(Pooling::Transaction));
        assert_eq!(pooling("?pgbouncer=false"), Ok(Pooling::Session));
        assert_eq!(pooling(""), Ok(Pooling::Detect));
        assert!(pooling("?pgbouncer=1").is_err());
    }
}
