//! The configuration of a process: one struct a section, read once.
//!
//! The only reader of environment variables. What a command needs is passed to it by part.

mod mistaken;
mod redis;

use std::{
    collections::BTreeMap,
    ffi::OsString,
    num::NonZeroUsize,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    time::Duration,
};

pub use self::redis::{RedisConfig, RedisOptions};
use super::fault::{Fault, io_fault};
use crate::{
    actions::{HttpConfig, Network},
    client::Key,
    control::{KEPT, LeaseConfig},
    model::Millis,
    store::PgConfig,
    system::{EnvSecrets, ObjectConfig, tls},
};

/// Everything that the environment and the global options say.
#[derive(Debug, Clone)]
pub struct Config {
    pub data: DataConfig,
    pub artifacts: ArtifactsConfig,
    pub log: LogConfig,
    pub secrets: SecretsConfig,
    pub processes: ProcessConfig,
    pub http: HttpSection,
    pub server: ServerConfig,
    /// The database of a fleet; without one, everything is in the data folder.
    pub database: Option<DatabaseConfig>,
    /// The Redis of a fleet. A data folder needs none, and uses none.
    pub redis: Option<RedisConfig>,
    /// Who works here, for the trigger of runs and for signals.
    pub actor: String,
    /// Whether a browser could show something.
    pub has_display: bool,
    /// Pairs of a variable that is set and not read, and of the one that was probably meant.
    pub mistaken: Vec<(String, String)>,
}

/// Where the rows of a fleet are.
#[derive(Debug, Clone)]
pub struct DatabaseConfig {
    /// `--database-url-file`, `--database-url`, else `DATABASE_URL`. Its `Debug` form has no password.
    pub postgres: PgConfig,
    /// `OPSROOM_LEASE`: how long a worker counts as living after a sign of life; the same in the whole fleet.
    pub lease: LeaseConfig,
}

/// The global options.
#[derive(Debug, Clone, Copy, Default)]
pub struct Globals<'a> {
    pub data_dir: Option<&'a Path>,
    pub server: Option<&'a str>,
    pub database_url: Option<&'a str>,
    pub database_url_file: Option<&'a Path>,
    pub redis: RedisOptions<'a>,
}

/// Whose runs commands show and change.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// `--server`, else `OPSROOM_URL`; without either, commands work on the data folder.
    pub url: Option<String>,
    /// `OPSROOM_KEY`. It is no option, because everybody sees the options of a process.
    pub key: Option<Key>,
    /// `OPSROOM_KEY_FILE`.
    pub key_file: Option<PathBuf>,
}

/// Where everything is kept.
#[derive(Debug, Clone)]
pub struct DataConfig {
    /// `--data-dir`, else `OPSROOM_DATA_DIR`, else `opsroom` in the XDG data folder.
    pub folder: PathBuf,
    /// `OPSROOM_RETENTION_DAYS`: how long ended runs, their artifacts and their archives are kept; 90 by default.
    pub retention: Duration,
}

impl DataConfig {
    pub fn database(&self) -> PathBuf {
        self.folder.join("opsroom.db")
    }

    /// The key of this instance.
    pub fn key(&self) -> PathBuf {
        self.folder.join("api.key")
    }

    /// Digests of the sessions of browsers.
    pub fn browser_sessions(&self) -> PathBuf {
        self.folder.join("browser-sessions")
    }

    /// Locks of the worker processes and of their supervisors.
    pub fn workers(&self) -> PathBuf {
        self.folder.join("workers")
    }

    pub fn spool(&self) -> PathBuf {
        self.folder.join("spool")
    }

    pub fn artifacts(&self) -> PathBuf {
        self.folder.join("artifacts")
    }
}

/// Where artifacts are.
#[derive(Debug, Clone)]
pub struct ArtifactsConfig {
    /// `OPSROOM_ARTIFACTS_URL`: `file:///path` or `s3://bucket/prefix`; in the data folder by default.
    pub place: ArtifactsPlace,
    /// `OPSROOM_WORKSPACE_LIMIT_MIB`: the largest working folder, in bytes, that is stored when its run parks.
    pub workspace_limit: u64,
}

#[derive(Debug, Clone)]
pub enum ArtifactsPlace {
    DataFolder,
    Folder(PathBuf),
    /// With the `AWS_*` variables: no child process inherits them, no message has their values.
    Objects(ObjectConfig),
}

/// What is logged, on standard error.
#[derive(Debug, Clone)]
pub struct LogConfig {
    /// `OPSROOM_LOG`, in the syntax of `tracing` (`info`, `opsroom::control=debug`); by default warnings, but
    /// not every statement that had to wait for the disk or for another process.
    pub filter: String,
    /// `OPSROOM_LOG_FORMAT=json`.
    pub json: bool,
}

/// The `OPSROOM_SECRET_*` variables. They go to the secret provider and to nothing else: no child process
/// inherits them.
#[derive(Clone)]
pub struct SecretsConfig {
    pub variables: Vec<(String, String)>,
}

impl std::fmt::Debug for SecretsConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SecretsConfig").field("variables", &self.variables.len()).finish()
    }
}

/// What every process of a step gets.
#[derive(Debug, Clone)]
pub struct ProcessConfig {
    pub base_env: BTreeMap<String, String>,
    /// `OPSROOM_PROCESSES`: so many of them run at once, the others wait for their turn; 512 by default.
    pub at_once: NonZeroUsize,
}

/// How `http.request` reaches the world.
#[derive(Debug, Clone)]
pub struct HttpSection {
    /// `OPSROOM_HTTP_ALLOW`: networks that may be reached although they are refused by default.
    pub allowed: Vec<Network>,
    /// `OPSROOM_HTTP_REFUSE`: more networks to refuse.
    pub refused: Vec<Network>,
    /// `OPSROOM_HTTP_PROXY`.
    pub proxy: Option<String>,
}

impl HttpSection {
    pub fn to_config(&self) -> HttpConfig {
        let tls_config = || {
            // Only a run that makes requests pays for the certificates.
            tls::install();
            tls::client_config()
        };
        HttpConfig::new(tls_config).networks(&self.refused, &self.allowed).proxy(self.proxy.clone())
    }
}

/// Variables that steps inherit; `LC_*` besides.
const INHERITED: &[&str] = &["PATH", "HOME", "LANG", "LANGUAGE", "TZ", "USER", "LOGNAME", "TMPDIR", "SHELL"];

/// Shorter ones are lost to a slow disk, with longer ones runs wait long for somebody to take them over.
const LEASES: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_mins(5);

/// Enough for what a worker has slots for; a run with a thousand steps side by side does not bring down its machine.
const PROCESSES: NonZeroUsize = NonZeroUsize::new(512).unwrap();

const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

impl Config {
    /// Reads the environment.
    pub fn read(globals: &Globals<'_>) -> Result<Config, Fault> {
        Config::from_variables(&Variables::of_process(), globals)
    }

    fn from_variables(variables: &Variables, globals: &Globals<'_>) -> Result<Config, Fault> {
        let database = database(variables, globals)?;
        let redis = match redis::read(variables, globals.redis) {
            // The variable may be meant for other programs; a data folder uses no Redis.
            Err(_) if database.is_none() && globals.redis.is_none() => None,
            read => read?,
        };
        Ok(Config {
            data: DataConfig { folder: data_folder(variables, globals.data_dir)?, retention: retention(variables)? },
            artifacts: ArtifactsConfig { place: artifacts(variables)?, workspace_limit: workspace_limit(variables)? },
            log: LogConfig {
                filter: variables.text("OPSROOM_LOG").unwrap_or("warn,sqlx::query=error").to_owned(),
                json: log_format(variables)?,
            },
            secrets: SecretsConfig { variables: secrets(variables)? },
            processes: ProcessConfig { base_env: base_env(variables), at_once: at_once(variables)? },
            http: HttpSection {
                allowed: networks(variables, "OPSROOM_HTTP_ALLOW")?,
                refused: networks(variables, "OPSROOM_HTTP_REFUSE")?,
                proxy: variables.text("OPSROOM_HTTP_PROXY").map(str::to_owned),
            },
            server: ServerConfig {
                url: globals.server.or(variables.text("OPSROOM_URL")).map(str::to_owned),
                key: variables.text("OPSROOM_KEY").map(key).transpose()?,
                key_file: variables.path("OPSROOM_KEY_FILE"),
            },
            database,
            redis,
            actor: variables.text("USER").or(variables.text("LOGNAME")).unwrap_or("unknown").to_owned(),
            has_display: cfg!(target_os = "macos")
                || variables.text("DISPLAY").or(variables.text("WAYLAND_DISPLAY")).is_some(),
            mistaken: mistaken::mistaken(variables),
        })
    }
}

/// The environment, as it was when the process started.
struct Variables(BTreeMap<String, OsString>);

impl Variables {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the environment")]
    fn of_process() -> Variables {
        // A name that is not UTF-8 is none of ours.
        Variables(std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value))).collect())
    }

    /// A variable that is set, not empty and UTF-8.
    fn text(&self, name: &str) -> Option<&str> {
        debug_assert!(mistaken::is_setting(name), "{name} is missing in the list of settings");
        self.0.get(name).and_then(|value| value.to_str()).filter(|value| !value.is_empty())
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        debug_assert!(mistaken::is_setting(name), "{name} is missing in the list of settings");
        self.0.get(name).filter(|value| !value.is_empty()).map(PathBuf::from)
    }
}

fn data_folder(variables: &Variables, option: Option<&Path>) -> Result<PathBuf, Fault> {
    let chosen = option.map(Path::to_owned).or_else(|| variables.path("OPSROOM_DATA_DIR"));
    // As the XDG specification says, a relative XDG_DATA_HOME is ignored.
    let xdg = || variables.path("XDG_DATA_HOME").filter(|path| path.is_absolute());
    let home = || variables.path("HOME").filter(|path| path.is_absolute()).map(|home| home.join(".local/share"));
    let folder = chosen.or_else(|| xdg().or_else(home).map(|folder| folder.join("opsroom"))).ok_or_else(|| {
        Fault::refused("NO_DATA_DIR", "there is no place for the data folder: HOME is not set")
            .help("set OPSROOM_DATA_DIR or give --data-dir")
    })?;
    std::path::absolute(&folder)
        .map_err(|error| Fault::refused("BAD_DATA_DIR", format!("`{}`: {error}", folder.display())))
}

fn key(text: &str) -> Result<Key, Fault> {
    Key::new(text).map_err(|error| {
        Fault::refused("BAD_CONFIG", format!("OPSROOM_KEY: {error}"))
            .help("put the key of the server there, or the path of a file with it into OPSROOM_KEY_FILE")
    })
}

fn at_once(variables: &Variables) -> Result<NonZeroUsize, Fault> {
    let Some(text) = variables.text("OPSROOM_PROCESSES") else { return Ok(PROCESSES) };
    text.parse().map_err(|_| {
        Fault::refused("BAD_CONFIG", format!("OPSROOM_PROCESSES: `{text}` is not a number from 1 on"))
            .help("it is the number of processes that the steps of a worker may have at once")
    })
}

/// The database that is named, if one is.
fn database(variables: &Variables, globals: &Globals<'_>) -> Result<Option<DatabaseConfig>, Fault> {
    let lease = lease(variables)?;
    let url = match (globals.database_url_file, globals.database_url) {
        (Some(file), _) => std::fs::read_to_string(file)
            .map_err(|error| io_fault("BAD_CONFIG", &format!("--database-url-file `{}`", file.display()), &error))?,
        (None, Some(url)) => {
            if has_password(url) {
                return Err(Fault::refused(
                    "PASSWORD_SHOWN",
                    "--database-url holds a password, which everybody sees who lists processes",
                )
                .help("put the URL into DATABASE_URL, or into a file and give --database-url-file"));
            }
            url.to_owned()
        }
        (None, None) => match variables.text("DATABASE_URL") {
            Some(url) => url.to_owned(),
            None => return Ok(None),
        },
    };
    let mut postgres = PgConfig::from_url(url.trim()).map_err(|error| {
        Fault::refused("BAD_DATABASE_URL", error.to_string())
            .help("write it as postgres://user:password@host:5432/database?sslmode=verify-full")
    })?;
    if let Some(text) = variables.text("OPSROOM_DATABASE_POOL") {
        let size = text.parse().map_err(|_| {
            Fault::refused("BAD_CONFIG", format!("OPSROOM_DATABASE_POOL is `{text}`"))
                .help("write how many connections this process may hold at most, as in `10`")
        })?;
        postgres.pool = size;
    }
    Ok(Some(DatabaseConfig { postgres, lease }))
}

fn lease(variables: &Variables) -> Result<LeaseConfig, Fault> {
    let Some(text) = variables.text("OPSROOM_LEASE") else { return Ok(LeaseConfig::default()) };
    let lease = text.parse::<Millis>().ok().map(Millis::duration).filter(|lease| LEASES.contains(lease));
    lease.map(LeaseConfig::of).ok_or_else(|| {
        Fault::refused("BAD_CONFIG", format!("OPSROOM_LEASE: `{text}` is not a time from 1s to 5m"))
            .help("all workers and schedulers of a database need the same; 10s is a good one")
    })
}

fn has_password(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let (target, query) = rest.split_once('?').unwrap_or((rest, ""));
    let authority = target.split_once('/').map_or(target, |(authority, _)| authority);
    let user = authority.rsplit_once('@').map(|(user, _)| user);
    user.is_some_and(|user| user.contains(':')) || query.split('&').any(|pair| pair.starts_with("password="))
}

fn retention(variables: &Variables) -> Result<Duration, Fault> {
    let Some(text) = variables.text("OPSROOM_RETENTION_DAYS") else { return Ok(KEPT) };
    let days = text.parse().ok().filter(|days| (1..=36_500).contains(days));
    days.map(|days: u64| Duration::from_secs(days * 86_400)).ok_or_else(|| {
        Fault::refused("BAD_CONFIG", format!("OPSROOM_RETENTION_DAYS is `{text}`"))
            .help("write a number of days from 1 to 36500")
    })
}

fn artifacts(variables: &Variables) -> Result<ArtifactsPlace, Fault> {
    let Some(url) = variables.text("OPSROOM_ARTIFACTS_URL") else { return Ok(ArtifactsPlace::DataFolder) };
    if let Some(path) = url.strip_prefix("file://").filter(|path| path.len() > 1 && path.starts_with('/')) {
        return Ok(ArtifactsPlace::Folder(path.into()));
    }
    let (bucket, prefix) =
        url.strip_prefix("s3://").map(|rest| rest.split_once('/').unwrap_or((rest, ""))).unwrap_or_default();
    let is_bucket = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    if bucket.is_empty() || !bucket.bytes().all(is_bucket) {
        // The text may hold a password, of somebody who took it for another kind of URL.
        return Err(Fault::refused("BAD_CONFIG", "OPSROOM_ARTIFACTS_URL is neither a folder nor a bucket")
            .help("write file:///path or s3://bucket/prefix; credentials go into the AWS_* variables"));
    }
    let own = variables.0.iter().filter(|(name, _)| name.starts_with("AWS_"));
    let own = own.filter_map(|(name, value)| Some((name.clone(), value.to_str()?.to_owned())));
    let own = own.filter(|(_, value)| !value.is_empty()).collect();
    Ok(ArtifactsPlace::Objects(ObjectConfig { variables: own, ..ObjectConfig::new(bucket, prefix) }))
}

fn workspace_limit(variables: &Variables) -> Result<u64, Fault> {
    const DEFAULT_MIB: u64 = 256;
    let text = variables.text("OPSROOM_WORKSPACE_LIMIT_MIB");
    let mib = text.map_or(Some(DEFAULT_MIB), |text| text.parse().ok().filter(|mib| (1..=1 << 20).contains(mib)));
    mib.map(|mib| mib << 20).ok_or_else(|| {
        Fault::refused("BAD_CONFIG", "OPSROOM_WORKSPACE_LIMIT_MIB is not a size")
            .help("write a number of MiB from 1 to 1048576")
    })
}

fn log_format(variables: &Variables) -> Result<bool, Fault> {
    match variables.text("OPSROOM_LOG_FORMAT") {
        None | Some("text") => Ok(false),
        Some("json") => Ok(true),
        Some(other) => Err(Fault::refused("BAD_CONFIG", format!("OPSROOM_LOG_FORMAT is `{other}`"))
            .help("allowed are `text` and `json`")),
    }
}

fn secrets(variables: &Variables) -> Result<Vec<(String, String)>, Fault> {
    let secrets = variables.0.iter().filter(|(name, _)| name.starts_with(EnvSecrets::PREFIX));
    secrets
        .map(|(name, value)| {
            let text = value.to_str().ok_or_else(|| {
                Fault::refused("BAD_CONFIG", format!("{name} is not UTF-8")).help("encode binary secrets, as in base64")
            })?;
            Ok((name.clone(), text.to_owned()))
        })
        .collect()
}

fn base_env(variables: &Variables) -> BTreeMap<String, String> {
    let inherited = |name: &str| INHERITED.contains(&name) || name.starts_with("LC_");
    let mut env: BTreeMap<String, String> = variables
        .0
        .iter()
        .filter(|(name, _)| inherited(name))
        .filter_map(|(name, value)| Some((name.clone(), value.to_str()?.to_owned())))
        .collect();
    env.entry("PATH".to_owned()).or_insert_with(|| DEFAULT_PATH.to_owned());
    env
}

fn networks(variables: &Variables, name: &str) -> Result<Vec<Network>, Fault> {
    let list = variables.text(name).unwrap_or_default();
    list.split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
        .map(|item| {
            item.parse().map_err(|_| {
                Fault::refused("BAD_CONFIG", format!("{name}: `{item}` is not a network"))
                    .help("write addresses or networks with commas between: `169.254.0.0/16,fd00::/8`")
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables<const N: usize>(set: [(&str, &str); N]) -> Variables {
        Variables(set.map(|(name, value)| (name.to_owned(), value.into())).into())
    }

    fn folder<const N: usize>(set: [(&str, &str); N], option: Option<&str>) -> PathBuf {
        let globals = Globals { data_dir: option.map(Path::new), ..Globals::default() };
        Config::from_variables(&variables(set), &globals).unwrap().data.folder
    }

    #[test]
    fn the_data_folder_is_looked_for_in_order() {
        let home = ("HOME", "/home/ann");
        assert_eq!(folder([home], None), Path::new("/home/ann/.local/share/opsroom"));
        assert_eq!(folder([home, ("XDG_DATA_HOME", "/data")], None), Path::new("/data/opsroom"));
        assert_eq!(folder([home, ("XDG_DATA_HOME", "data")], None), Path::new("/home/ann/.local/share/opsroom"));
        let set = [home, ("XDG_DATA_HOME", "/data"), ("OPSROOM_DATA_DIR", "/ops")];
        assert_eq!(folder(set, None), Path::new("/ops"));
        assert_eq!(folder(set, Some("/here")), Path::new("/here"));
        assert_eq!(Config::from_variables(&variables([]), &Globals::default()).unwrap_err().code, "NO_DATA_DIR");
    }

    #[test]
    fn children_inherit_little_and_no_secret() {
        let set = [("HOME", "/h"), ("LC_ALL", "C"), ("OPSROOM_SECRET_KEY", "k"), ("AWS_TOKEN", "t")];
        let config = Config::from_variables(&variables(set), &Globals::default()).unwrap();
        assert_eq!(config.processes.base_env.keys().collect::<Vec<_>>(), ["HOME", "LC_ALL", "PATH"]);
        assert_eq!(config.secrets.variables, [("OPSROOM_SECRET_KEY".to_owned(), "k".to_owned())]);
        assert!(!format!("{config:?}").contains("\"k\""));
    }

    #[test]
    fn artifacts_are_where_the_url_says() {
        let place = |url: &str| {
            let set = [("HOME", "/h"), ("OPSROOM_ARTIFACTS_URL", url), ("AWS_SECRET_ACCESS_KEY", "canary")];
            let config = Config::from_variables(&variables(set), &Globals::default()).unwrap();
            assert!(!format!("{config:?}").contains("canary"));
            assert!(!config.processes.base_env.contains_key("AWS_SECRET_ACCESS_KEY"));
            config.artifacts.place
        };
        assert!(matches!(place(""), ArtifactsPlace::DataFolder));
        assert!(matches!(place("file:///mnt/a"), ArtifactsPlace::Folder(path) if path == Path::new("/mnt/a")));
        for (url, expected) in [("s3://b", ("b", "")), ("s3://my.bucket/a/b", ("my.bucket", "a/b"))] {
            let ArtifactsPlace::Objects(config) = place(url) else { panic!("{url}") };
            assert_eq!((&*config.bucket, &*config.prefix), expected);
            assert_eq!(config.variables.len(), 1);
        }
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        let home = ("HOME", "/h");
        for bad in [
            ("OPSROOM_LOG_FORMAT", "xml"),
            ("OPSROOM_HTTP_ALLOW", "10.0.0.0/99"),
            ("OPSROOM_RETENTION_DAYS", "0"),
            ("OPSROOM_PROCESSES", "0"),
            ("OPSROOM_PROCESSES", "many"),
            ("OPSROOM_LEASE", "10"),
            ("OPSROOM_LEASE", "200ms"),
            ("OPSROOM_KEY", "a b"),
            ("OPSROOM_ARTIFACTS_URL", "https://key:secret@host/bucket"),
            ("OPSROOM_ARTIFACTS_URL", "s3://"),
            ("OPSROOM_ARTIFACTS_URL", "s3://user:secret@bucket/x"),
            ("OPSROOM_ARTIFACTS_URL", "file://relative"),
            ("OPSROOM_WORKSPACE_LIMIT_MIB", "0"),
        ] {
            let fault = Config::from_variables(&variables([home, bad]), &Globals::default()).unwrap_err();
            assert_eq!((&*fault.code, fault.exit), ("BAD_CONFIG", 2));
            assert!(!fault.message.contains("secret"));
        }
    }

    #[test]
    fn a_database_is_named_without_showing_its_password() {
        let home = ("HOME", "/h");
        let read = |url| {
            Config::from_variables(&variables([home]), &Globals { database_url: Some(url), ..Globals::default() })
        };
        assert!(read("postgres://ann@db:5432/ops").unwrap().database.is_some());
        for shown in ["postgres://ann:hush@db/ops", "postgres://db/ops?user=ann&password=hush"] {
            let fault = read(shown).unwrap_err();
            assert_eq!((&*fault.code, fault.exit), ("PASSWORD_SHOWN", 2));
            assert!(!fault.to_string().contains("hush"));
        }
        let set = [home, ("DATABASE_URL", "postgres://ann:hush@db/ops")];
        let config = Config::from_variables(&variables(set), &Globals::default()).unwrap();
        assert!(config.database.is_some() && !format!("{config:?}").contains("hush"));
        assert!(!config.processes.base_env.contains_key("DATABASE_URL"));
        let set = [home, ("DATABASE_URL", "mysql://ann:hush@db/ops")];
        let fault = Config::from_variables(&variables(set), &Globals::default()).unwrap_err();
        assert!(fault.code == "BAD_DATABASE_URL" && !fault.to_string().contains("hush"), "{fault}");
    }
}
