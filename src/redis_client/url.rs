//! The address of a Redis: `REDIS_URL`.
//!
//! | form | meaning |
//! |---|---|
//! | `redis://user:password@host:6379/0` | one server; `rediss` over TLS; `valkey`, `valkeys` are the same |
//! | `redis+sentinel://user:password@host:26379,host:26379/service/0` | the master that Sentinels name |
//! | `redis+cluster://user:password@host:6379,host:6379` | a cluster, entered at any of these nodes |
//!
//! `rediss+sentinel` and `rediss+cluster` use TLS; `redis-sentinel` and `redis-cluster` are the same as with `+`.
//! Parameters: `ssl_ca_certs`, `ssl_certfile`, `ssl_keyfile` (paths of PEM files), `sentinel_username`,
//! `sentinel_password`.

use std::fs;

use percent_encoding::percent_decode_str;
use redis::{ClientTlsConfig, TlsCertificates};

/// The URL of a Redis cannot be used. Never shows the URL, which may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the Redis URL cannot be used: {0}")]
pub struct BadRedisUrl(pub String);

fn bad<T>(why: impl Into<String>) -> Result<T, BadRedisUrl> {
    Err(BadRedisUrl(why.into()))
}

/// What stands behind the addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    One,
    Sentinel { service: String },
    Cluster,
}

#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Login {
    pub user: Option<String>,
    pub password: Option<String>,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Login")
    }
}

/// The parts of a URL.
#[derive(Clone)]
pub(super) struct Parts {
    pub kind: Kind,
    pub nodes: Vec<(String, u16)>,
    pub login: Login,
    pub sentinel_login: Login,
    pub database: i64,
    pub tls: Option<TlsCertificates>,
}

impl Parts {
    pub fn read(url: &str) -> Result<Parts, BadRedisUrl> {
        let Some((scheme, rest)) = url.split_once("://") else { return bad("it has no scheme, as in redis://host") };
        let (encrypted, mut kind) = scheme_of(scheme)?;
        let rest = rest.split('#').next().unwrap_or(rest);
        let (target, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = target.split_once('/').unwrap_or((target, ""));
        let (login, hosts) =
            authority.rsplit_once('@').map_or((None, authority), |(login, hosts)| (Some(login), hosts));
        let port = if matches!(kind, Kind::Sentinel { .. }) { 26_379 } else { 6_379 };
        let nodes = hosts.split(',').map(|host| node(host, port)).collect::<Result<Vec<_>, _>>()?;
        if kind == Kind::One && nodes.len() > 1 {
            return bad("it has several hosts: use redis+sentinel:// or redis+cluster://");
        }
        let database = match &mut kind {
            Kind::Sentinel { service } => {
                let (name, database) = path.split_once('/').unwrap_or((path, ""));
                *service = decoded(name)?;
                if service.is_empty() {
                    return bad("it names no service of the Sentinels, as in redis+sentinel://host/mymaster");
                }
                database
            }
            _ => path,
        };
        let query = Query::read(query)?;
        Ok(Parts {
            database: number(database, &kind)?,
            kind,
            nodes,
            login: login.map_or(Ok(Login::default()), login_of)?,
            tls: query.certificates(encrypted)?,
            sentinel_login: query.sentinel,
        })
    }
}

fn scheme_of(scheme: &str) -> Result<(bool, Kind), BadRedisUrl> {
    let (base, kind) = match scheme.split_once(['+', '-']) {
        None => (scheme, Kind::One),
        Some((base, "sentinel")) => (base, Kind::Sentinel { service: String::new() }),
        Some((base, "cluster")) => (base, Kind::Cluster),
        Some(_) => ("", Kind::One),
    };
    match base {
        "redis" | "valkey" => Ok((false, kind)),
        "rediss" | "valkeys" => Ok((true, kind)),
        _ => bad("its scheme is none of redis, rediss, valkey, valkeys, each alone or with +sentinel or +cluster"),
    }
}

fn node(text: &str, default_port: u16) -> Result<(String, u16), BadRedisUrl> {
    let is_bare = text.ends_with(']') || !text.contains(':');
    let (host, port) =
        if is_bare { (text, None) } else { text.rsplit_once(':').map_or((text, None), |(h, p)| (h, Some(p))) };
    let port = match port {
        None => default_port,
        Some(port) => port.parse().or_else(|_| bad("a port is no number from 1 to 65535"))?,
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if host.is_empty() {
        return bad("it has no host");
    }
    Ok((decoded(host)?, port))
}

fn number(text: &str, kind: &Kind) -> Result<i64, BadRedisUrl> {
    match text.trim_end_matches('/') {
        "" => Ok(0),
        "0" if *kind == Kind::Cluster => Ok(0),
        _ if *kind == Kind::Cluster => bad("a cluster has no numbered databases"),
        text => text.parse().ok().filter(|found| *found >= 0).map_or_else(|| bad("its database is no number"), Ok),
    }
}

fn login_of(text: &str) -> Result<Login, BadRedisUrl> {
    let (user, password) = text.split_once(':').map_or((text, None), |(user, password)| (user, Some(password)));
    let present = |text: String| Some(text).filter(|text| !text.is_empty());
    Ok(Login { user: present(decoded(user)?), password: password.map(decoded).transpose()?.and_then(present) })
}

fn decoded(text: &str) -> Result<String, BadRedisUrl> {
    let decoded = percent_decode_str(text).decode_utf8();
    decoded.map(std::borrow::Cow::into_owned).or_else(|_| bad("a part of it is not UTF-8"))
}

#[derive(Default)]
struct Query {
    ca: Option<String>,
    certificate: Option<String>,
    key: Option<String>,
    sentinel: Login,
}

impl Query {
    fn read(text: &str) -> Result<Query, BadRedisUrl> {
        let mut query = Query::default();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = Some(decoded(value)?);
            match name {
                "ssl_ca_certs" => query.ca = value,
                "ssl_certfile" => query.certificate = value,
                "ssl_keyfile" => query.key = value,
                "sentinel_username" => query.sentinel.user = value,
                "sentinel_password" => query.sentinel.password = value,
                name => return bad(format!("it has a parameter `{name:.40}`, which is not known")),
            }
        }
        Ok(query)
    }

    fn certificates(&self, encrypted: bool) -> Result<Option<TlsCertificates>, BadRedisUrl> {
        if !encrypted {
            let given = self.ca.is_some() || self.certificate.is_some() || self.key.is_some();
            return if given { bad("it has certificates, but its scheme is not `rediss`") } else { Ok(None) };
        }
        let client_tls = match (&self.certificate, &self.key) {
            (None, None) => None,
            (Some(certificate), Some(key)) => {
                Some(ClientTlsConfig { client_cert: pem(certificate)?, client_key: pem(key)? })
            }
            _ => return bad("`ssl_certfile` and `ssl_keyfile` belong together"),
        };
        Ok(Some(TlsCertificates { client_tls, root_cert: self.ca.as_deref().map(pem).transpose()? }))
    }
}

fn pem(path: &str) -> Result<Vec<u8>, BadRedisUrl> {
    fs::read(path).or_else(|error| bad(format!("`{path}` cannot be read: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(url: &str) -> Parts {
        Parts::read(url).unwrap()
    }

    fn refused(url: &str) -> String {
        Parts::read(url).err().unwrap().to_string()
    }

    #[test]
    fn one_server() {
        let parts = read("rediss://ann:p%40ss@[::1]:7000/3");
        assert_eq!((parts.kind, parts.database), (Kind::One, 3));
        assert_eq!(parts.nodes, [("::1".to_owned(), 7000)]);
        assert_eq!(parts.login, Login { user: Some("ann".into()), password: Some("p@ss".into()) });
        assert!(parts.tls.is_some());
        assert_eq!(read("valkey://:secret@host").login, Login { user: None, password: Some("secret".into()) });
        assert_eq!(read("redis://host").nodes, [("host".to_owned(), 6379)]);
    }

    #[test]
    fn sentinels_and_clusters() {
        let parts = read("redis+sentinel://:s@a:1,b/main/2?sentinel_password=t");
        assert_eq!((parts.kind, parts.database), (Kind::Sentinel { service: "main".into() }, 2));
        assert_eq!(parts.nodes, [("a".to_owned(), 1), ("b".to_owned(), 26_379)]);
        assert_eq!(parts.sentinel_login.password.as_deref(), Some("t"));
        let parts = read("rediss-cluster://a:1,b:2/0");
        assert_eq!((parts.kind, parts.nodes.len(), parts.tls.is_some()), (Kind::Cluster, 2, true));
    }

    #[test]
    fn what_is_wrong_is_said_without_the_password() {
        for (url, why) in [
            ("s3cret", "no scheme"),
            ("http://s3cret@host", "scheme is none of"),
            ("redis://:s3cret@host:port", "a port"),
            ("redis://:s3cret@", "no host"),
            ("redis://:s3cret@a,b", "several hosts"),
            ("redis://:s3cret@a/first", "database"),
            ("redis+cluster://:s3cret@a/1", "no numbered databases"),
            ("redis+sentinel://:s3cret@a", "names no service"),
            ("redis://:s3cret@a?tls=yes", "`tls`"),
            ("redis://:s3cret@a?ssl_ca_certs=/ca.pem", "not `rediss`"),
            ("rediss://:s3cret@a?ssl_certfile=/c.pem", "belong together"),
            ("rediss://:s3cret@a?ssl_ca_certs=/none/ca.pem", "`/none/ca.pem` cannot be read"),
        ] {
            let said = refused(url);
            assert!(said.contains(why) && !said.contains("s3cret"), "{url}: {said}");
        }
    }
}
