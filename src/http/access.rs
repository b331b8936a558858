//! Who may call: programs with the key, browsers with a session, and each only from where it belongs.
//!
//! - The key is compared as a digest, in constant time. Wrong ones are answered ever more slowly.
//! - A browser gets a session by a link that works once; the session's cookie is HttpOnly and SameSite=Strict, and
//!   writes with it must come from a page of this server.
//! - The `Host` header must be an address or a known name, so that no foreign name can be pointed at this server.
//! - There are no CORS headers: pages of other sites read nothing.

mod links;
mod sessions;
mod tries;

use std::{net::IpAddr, sync::Arc};

use axum::{
    Router,
    extract::{FromRequestParts, MatchedPath, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header, request::Parts, uri::Authority},
    middleware::Next,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::Deserialize;
use serde_json::json;
use subtle::ConstantTimeEq;

use self::{links::Links, sessions::Sessions, tries::Tries};
use super::{
    contract,
    extract::Query,
    idempotency::IdempotencyKey,
    problem::{Code, Problem},
    respond,
};
use crate::{
    model::Digest,
    ports::{Clock, SecretValue},
};

/// The cookie of a browser's session.
const COOKIE: &str = "opsroom_session";

/// What every answer carries, unless its handler says otherwise.
const HEADERS: [(HeaderName, &str); 5] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
         form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
];

/// Who is calling: an extractor for handlers.
#[derive(Debug, Clone)]
pub struct Caller {
    /// For the trigger of runs and for signals: `api-key` or `browser`.
    pub actor: Arc<str>,
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Caller, Problem> {
        parts.extensions.get::<Caller>().cloned().ok_or_else(unauthenticated)
    }
}

/// Decides over all requests. Cheap to clone.
#[derive(Clone)]
pub struct Access(Arc<Inner>);

struct Inner {
    key: Digest,
    /// Names, in lower case, under which the server is reached.
    hosts: Vec<String>,
    links: Links,
    sessions: Sessions,
    tries: Tries,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Access").field("hosts", &self.0.hosts).finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Key,
    Cookie,
}

impl Access {
    /// `hosts` are names besides `localhost`; addresses are always known.
    pub fn new(key: &SecretValue, hosts: &[String], clock: Arc<dyn Clock>) -> Access {
        let hosts = hosts.iter().map(|host| host.trim_end_matches('.').to_lowercase()).collect();
        let key = Digest::of(key.expose().as_bytes());
        let (links, sessions, tries) = (Links::default(), Sessions::default(), Tries::default());
        Access(Arc::new(Inner { key, hosts, links, sessions, tries, clock }))
    }

    /// Browsers stay signed in over restarts: their sessions, as digests, are kept in the file.
    pub fn keep_sessions_in(&self, file: &std::path::Path) -> std::io::Result<()> {
        self.0.sessions.keep_in(file)
    }

    /// A path that signs a browser in, once, and until when.
    pub fn login_link(&self) -> std::io::Result<(String, crate::model::Micros)> {
        let (token, expires_at) = self.0.links.create(self.0.clock.now(), None)?;
        Ok((format!("/login?token={token}"), expires_at))
    }

    fn check(&self, request: &Request) -> Result<Option<Caller>, Problem> {
        self.check_host(request.headers(), request.uri())?;
        let route = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
        // Nothing is there: the fallback says so to everybody.
        let Some(route) = route else { return Ok(None) };
        let operation = contract::operation(request.method(), route);
        let access = match operation {
            Some(operation) => operation.access,
            // The method does not exist, which is no secret where nothing else is.
            None if contract::is_public(route) => contract::Access::Anyone,
            None => contract::Access::KeyOrCookie,
        };
        if access == contract::Access::Anyone {
            return Ok(None);
        }
        let way = self.authenticate(request.headers())?;
        if way == Way::Cookie {
            if access == contract::Access::Key {
                return Err(unauthenticated().help("this needs the key; a browser session is not enough"));
            }
            check_origin(request.method(), request.headers())?;
        }
        let actor = if way == Way::Key { "api-key" } else { "browser" };
        Ok(Some(Caller { actor: actor.into() }))
    }

    fn authenticate(&self, headers: &HeaderMap) -> Result<Way, Problem> {
        let now = self.0.clock.now();
        if let Some(given) = headers.get(header::AUTHORIZATION) {
            let key = bearer(given).map(|key| Digest::of(key.as_bytes()));
            if key.is_some_and(|key| key.0.ct_eq(&self.0.key.0).into()) {
                return Ok(Way::Key);
            }
            // The right key passes at any time: nobody can lock its owner out.
            return Err(match self.0.tries.failed(now) {
                Some(wait) => Problem::new(Code::TooManyTries, "too many requests with a wrong key").retry_after(wait),
                None => unauthenticated(),
            });
        }
        let known = session_cookies(headers).any(|token| self.0.sessions.touch(token, now));
        if known { Ok(Way::Cookie) } else { Err(unauthenticated()) }
    }

    fn check_host(&self, headers: &HeaderMap, uri: &Uri) -> Result<(), Problem> {
        let given = uri.authority().map(Authority::as_str);
        let given = given.or_else(|| headers.get(header::HOST)?.to_str().ok()).unwrap_or_default();
        let name = host_name(given).to_lowercase();
        let name = name.trim_end_matches('.');
        let known = name == "localhost"
            || name.ends_with(".localhost")
            || name.parse::<IpAddr>().is_ok()
            || self.0.hosts.iter().any(|host| host == name);
        if known {
            return Ok(());
        }
        Err(Problem::new(Code::BadHost, format!("this server is not known as `{name}`"))
            .help("use its address, or start it with `--host NAME`"))
    }
}

/// The layer for all routes.
pub async fn guard(State(access): State<Access>, mut request: Request, next: Next) -> Response {
    let mut response = match access.check(&request) {
        Err(problem) => problem.into_response(),
        Ok(None) => next.run(request).await,
        Ok(Some(caller)) => {
            request.extensions_mut().insert(caller.clone());
            let mut response = next.run(request).await;
            response.extensions_mut().insert(caller);
            response
        }
    };
    for (name, value) in HEADERS {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

pub fn routes(access: Access) -> Router {
    Router::new()
        .route("/v1/login-links", post(create_login_link))
        .route("/login", get(login))
        .route("/logout", post(logout))
        .with_state(access)
}

/// The answer to a repeated key is the same link, as long as it works: it is kept in memory, never in the store.
async fn create_login_link(
    State(access): State<Access>,
    IdempotencyKey(key): IdempotencyKey,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let inner = &access.0;
    let (token, expires_at) = inner.links.create(inner.clock.now(), key).map_err(Problem::internal)?;
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost");
    let url = format!("http://{host}/login?token={token}");
    respond::json(StatusCode::CREATED, &json!({"url": url, "expires_at": expires_at}))
}

#[derive(Debug, Deserialize)]
struct Login {
    token: String,
}

async fn login(State(access): State<Access>, Query(Login { token }): Query<Login>) -> Result<Response, Problem> {
    let inner = &access.0;
    let now = inner.clock.now();
    if !inner.links.redeem(&token, now) {
        let problem = Problem::new(Code::LoginExpired, "the link was used already, or is older than 60 seconds");
        return Err(challenge(problem).help("`opsroom open` makes a new one"));
    }
    let session = inner.sessions.open(now).map_err(Problem::internal)?;
    let lifetime = sessions::LIFETIME.0 / 1_000;
    let cookie = format!("{COOKIE}={session}; Path=/; Max-Age={lifetime}; HttpOnly; SameSite=Strict");
    Ok((StatusCode::SEE_OTHER, [(header::LOCATION, "/".to_owned()), (header::SET_COOKIE, cookie)]).into_response())
}

async fn logout(State(access): State<Access>, headers: HeaderMap) -> Response {
    for token in session_cookies(&headers) {
        access.0.sessions.close(token);
    }
    let gone = format!("{COOKIE}=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict");
    (StatusCode::NO_CONTENT, [(header::SET_COOKIE, gone)]).into_response()
}

/// With a cookie, only pages of this server may write.
fn check_origin(method: &Method, headers: &HeaderMap) -> Result<(), Problem> {
    if method.is_safe() {
        return Ok(());
    }
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let own = match (text(HeaderName::from_static("sec-fetch-site")), text(header::ORIGIN)) {
        (Some(site), _) => site == "same-origin",
        (None, Some(origin)) => {
            let authority = origin.split_once("://").map(|(_, authority)| authority);
            authority.is_some() && authority == text(header::HOST)
        }
        (None, None) => false,
    };
    if own { Ok(()) } else { Err(Problem::new(Code::BadOrigin, "a browser session writes only from its own pages")) }
}

fn unauthenticated() -> Problem {
    let detail = "send `Authorization: Bearer KEY`; the key is in the file `api.key` of the data folder";
    challenge(Problem::new(Code::Unauthenticated, detail).help("`opsroom open` signs a browser in"))
}

fn challenge(problem: Problem) -> Problem {
    problem.header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"opsroom\""))
}

fn bearer(value: &HeaderValue) -> Option<&str> {
    let (scheme, key) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
}

fn session_cookies(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lists = headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    let pairs = lists.flat_map(|list| list.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.filter(|(name, _)| *name == COOKIE).map(|(_, value)| value)
}

/// The name in `name:port` or `[address]:port`.
fn host_name(authority: &str) -> &str {
    let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    if let Some((address, _)) = authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return address;
    }
    authority.split_once(':').map_or(authority, |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::SystemClock;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    #[test]
    fn only_addresses_and_known_names_are_hosts() {
        let names = ["Ops.example.com".to_owned()];
        let access = Access::new(&SecretValue::new("k"), &names, Arc::new(SystemClock));
        let accepts = |host: &str| access.check_host(&headers(&[("host", host)]), &Uri::from_static("/")).is_ok();
        for host in ["localhost:8484", "127.0.0.1", "[::1]:8484", "10.1.2.3:80", "OPS.example.com.:1", "a.localhost"] {
            assert!(accepts(host), "{host}");
        }
        for host in ["", "evil.example", "localhost.evil.example", "127.0.0.1.nip.io", "x@evil.example"] {
            assert!(!accepts(host), "{host}");
        }
    }

    #[test]
    fn a_cookie_writes_from_its_own_pages_only() {
        let post = |pairs: &[(&'static str, &str)]| check_origin(&Method::POST, &headers(pairs)).is_ok();
        assert!(post(&[("sec-fetch-site", "same-origin"), ("host", "localhost:1")]));
        assert!(post(&[("origin", "http://localhost:1"), ("host", "localhost:1")]));
        assert!(!post(&[("host", "localhost:1")]));
        assert!(!post(&[("origin", "http://localhost:2"), ("host", "localhost:1")]));
        assert!(!post(&[("origin", "null"), ("host", "localhost:1")]));
        assert!(!post(&[("sec-fetch-site", "same-site"), ("origin", "http://localhost:1"), ("host", "localhost:1")]));
        assert!(check_origin(&Method::GET, &headers(&[("origin", "http://evil.example")])).is_ok());
    }
}
