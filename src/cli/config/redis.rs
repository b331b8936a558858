//! The Redis of a fleet, as the environment and the options name it.

use std::path::Path;

use super::{Variables, io_fault};
use crate::{cli::fault::Fault, redis_client::RedisServer};

/// What tells processes of a fleet of each other's news at once.
#[derive(Debug, Clone)]
pub struct RedisConfig {
    /// `--redis-url-file`, `--redis-url`, else `REDIS_URL`; see [`RedisServer::from_url`]. Its `Debug` form has no
    /// password.
    pub server: RedisServer,
    /// `OPSROOM_REDIS_PREFIX`, before the name of every key and channel; by default nothing.
    pub prefix: String,
}

/// The options that name a Redis.
#[derive(Debug, Clone, Copy, Default)]
pub struct RedisOptions<'a> {
    pub url: Option<&'a str>,
    pub file: Option<&'a Path>,
}

impl RedisOptions<'_> {
    pub fn is_none(&self) -> bool {
        self.url.is_none() && self.file.is_none()
    }
}

/// The Redis that is named, if one is.
pub(super) fn read(variables: &Variables, options: RedisOptions<'_>) -> Result<Option<RedisConfig>, Fault> {
    let (from, url) = match (options.file, options.url) {
        (Some(file), _) => {
            let text = std::fs::read_to_string(file)
                .map_err(|error| io_fault("BAD_CONFIG", &format!("--redis-url-file `{}`", file.display()), &error))?;
            ("--redis-url-file", text)
        }
        (None, Some(url)) if has_password(url) => {
            return Err(Fault::refused(
                "PASSWORD_SHOWN",
                "--redis-url holds a password, which everybody sees who lists processes",
            )
            .help("put the URL into REDIS_URL, or into a file and give --redis-url-file"));
        }
        (None, Some(url)) => ("--redis-url", url.to_owned()),
        (None, None) => match variables.text("REDIS_URL") {
            Some(url) => ("REDIS_URL", url.to_owned()),
            None => return Ok(None),
        },
    };
    let server = RedisServer::from_url(url.trim()).map_err(|error| {
        Fault::refused("BAD_REDIS_URL", format!("{from}: {error}"))
            .help("write it as redis://user:password@host:6379, rediss:// for TLS; docs/redis.md has the other forms")
    })?;
    let prefix = variables.text("OPSROOM_REDIS_PREFIX").unwrap_or_default().to_owned();
    if prefix.contains(['{', '}']) || prefix.chars().any(|letter| letter.is_control() || letter.is_whitespace()) {
        return Err(Fault::refused("BAD_CONFIG", "OPSROOM_REDIS_PREFIX has braces or blanks")
            .help("write letters and a colon at the end, as in `staging:`"));
    }
    Ok(Some(RedisConfig { server, prefix }))
}

/// Whether a URL, however it is garbled, may hold a password.
fn has_password(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.rsplit_once('@').is_some_and(|(login, _)| login.contains(':')) || rest.contains("password=")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::fault::exit;

    fn variables(set: &[(&str, &str)]) -> Variables {
        Variables(set.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect())
    }

    #[test]
    fn a_redis_is_named_and_never_shown() {
        let read = |set: &[(&str, &str)]| read(&variables(set), RedisOptions::default());
        let url = ("REDIS_URL", "rediss://ops:s3cret@redis.example:7000");
        let redis = read(&[url, ("OPSROOM_REDIS_PREFIX", "staging:")]).unwrap().unwrap();
        assert!(!format!("{redis:?}").contains("s3cret"));
        assert_eq!((&*redis.server.place(), &*redis.prefix), ("redis.example:7000", "staging:"));
        assert_eq!(read(&[url]).unwrap().unwrap().prefix, "");
        assert!(read(&[]).unwrap().is_none());
        assert_eq!(read(&[url, ("OPSROOM_REDIS_PREFIX", "{a}")]).unwrap_err().code, "BAD_CONFIG");
        let fault = read(&[("REDIS_URL", "http://:s3cret@redis")]).unwrap_err();
        assert_eq!((&*fault.code, fault.exit), ("BAD_REDIS_URL", exit::REFUSED));
        assert!(!format!("{fault:?}").contains("s3cret"));
    }

    #[test]
    fn an_option_is_for_addresses_and_a_file_for_passwords() {
        let set = variables(&[("REDIS_URL", "redis://other")]);
        let with = |url| read(&set, RedisOptions { url: Some(url), file: None });
        assert_eq!(with("redis://ops@redis:7000").unwrap().unwrap().server.place(), "redis:7000");
        for shown in [
            "redis://:s3cret@redis",
            "redis://ops:s3/cret@redis",
            "redis+sentinel://a/main?sentinel_password=s3cret",
            "ops:s3cret@redis",
        ] {
            let fault = with(shown).unwrap_err();
            assert_eq!(fault.code, "PASSWORD_SHOWN");
            assert!(!format!("{fault:?}").contains("s3cret"));
        }
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("redis");
        std::fs::write(&file, "redis://:s3cret@from.file\n").unwrap();
        let options = RedisOptions { url: None, file: Some(&file) };
        assert_eq!(read(&set, options).unwrap().unwrap().server.place(), "from.file:6379");
        let options = RedisOptions { url: None, file: Some(Path::new("/none/redis")) };
        assert_eq!(read(&set, options).unwrap_err().code, "BAD_CONFIG");
    }
}
