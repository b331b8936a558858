//! Sending requests: the key, the time limits, and what is repeated.
//!
//! A request that could not be sent is sent again, and so is one whose answer did not come: reads are harmless, and
//! every write carries an `Idempotency-Key`, so that it is done once however often it arrives.

use std::{fmt, pin::Pin, sync::Arc, time::Duration};

use axum::http;
use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{
    Body, Method, RequestBuilder, Response, StatusCode, Url,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue},
    redirect::Policy,
};
use serde::{Serialize, de::DeserializeOwned};

use super::ClientError;
use crate::{
    api::{Problem, Query},
    ports::Ids as _,
    system::{RandomIds, tls},
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The server gives a request up after 30 seconds.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(40);

/// Without a byte for this long a connection is dead: streams have a heartbeat every 15 seconds.
const SILENCE: Duration = Duration::from_secs(45);

/// How often a request is sent at most.
const TRIES: u32 = 4;

/// What stays as it is in a segment of a path or in a query.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The key of an instance. It is never shown.
#[derive(Clone)]
pub struct Key(HeaderValue);

/// The text cannot be a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a key is one line of visible characters")]
pub struct KeyError;

impl Key {
    /// Blanks around it are no part of it.
    pub fn new(text: &str) -> Result<Key, KeyError> {
        let text = text.trim();
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(KeyError);
        }
        let mut value = HeaderValue::from_str(&format!("Bearer {text}")).map_err(|_| KeyError)?;
        value.set_sensitive(true);
        Ok(Key(value))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

/// A server, as a client sees it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Client {
    /// Without a slash at the end.
    url: Arc<str>,
    key: Option<Key>,
    http: reqwest::Client,
    /// The server is on this machine, at whatever address: no proxy is asked.
    here: bool,
    /// Answers in this process, in place of a server.
    local: Option<Local>,
}

type Answering = Pin<Box<dyn Future<Output = http::Response<Body>> + Send>>;

/// The interface without a network between: what answers requests in this process.
#[derive(Clone)]
pub struct Local(Arc<dyn Fn(http::Request<Body>) -> Answering + Send + Sync>);

impl Local {
    pub fn new<F: Future<Output = http::Response<Body>> + Send + 'static>(
        answer: impl Fn(http::Request<Body>) -> F + Send + Sync + 'static,
    ) -> Local {
        Local(Arc::new(move |request| Box::pin(answer(request))))
    }
}

impl fmt::Debug for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Local")
    }
}

/// One request that is sent until it is answered.
#[derive(Debug)]
pub(super) struct Call {
    pub method: Method,
    /// With the query, encoded.
    pub target: String,
    /// JSON.
    pub body: Option<Vec<u8>>,
}

impl Client {
    /// A client of the server at `url`, `http://host:port` or with a path before `/v1`.
    pub fn new(url: &str, key: Option<Key>) -> Result<Client, ClientError> {
        Client::build(url, key, false)
    }

    /// A client of a server of this machine, at whatever address it listens: the key goes through no proxy.
    pub fn of_this_machine(url: &str, key: Option<Key>) -> Result<Client, ClientError> {
        Client::build(url, key, true)
    }

    fn build(url: &str, key: Option<Key>, here: bool) -> Result<Client, ClientError> {
        let bad = |why: &dyn fmt::Display| ClientError::BadUrl { url: url.to_owned(), why: why.to_string() };
        let parsed = Url::parse(url).map_err(|error| bad(&error))?;
        if !matches!(parsed.scheme(), "http" | "https") || !parsed.has_host() {
            return Err(bad(&"it begins with neither http:// nor https://"));
        }
        if !parsed.username().is_empty() || parsed.password().is_some() {
            return Err(ClientError::BadUrl {
                url: format!("{}://…", parsed.scheme()),
                why: "it holds a name or a password; a server is given a key".to_owned(),
            });
        }
        if parsed.query().is_some() || parsed.fragment().is_some() {
            return Err(bad(&"it has a `?` or a `#`"));
        }
        let here = here || is_local(&parsed);
        let http = builder(&parsed, here).read_timeout(SILENCE).build().map_err(|error| bad(&error))?;
        Ok(Client { url: parsed.as_str().trim_end_matches('/').into(), key, http, here, local: None })
    }

    /// The same for uploads: the limit on silence would also run while a body is still being sent.
    pub(super) fn for_uploads(&self) -> Result<Client, ClientError> {
        let bad = |why: String| ClientError::BadUrl { url: self.url.to_string(), why };
        let parsed = Url::parse(&self.url).map_err(|error| bad(error.to_string()))?;
        let http = builder(&parsed, self.here).build().map_err(|error| bad(error.to_string()))?;
        Ok(Client { http, ..self.clone() })
    }

    /// A client of what answers in this process.
    pub fn local(local: Local) -> Result<Client, ClientError> {
        Ok(Client { local: Some(local), ..Client::new("http://localhost", None)? })
    }

    /// Whether the server is on this machine.
    pub fn is_on_this_machine(&self) -> bool {
        Url::parse(&self.url).is_ok_and(|url| is_local(&url))
    }

    /// Where the server is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Sends a request and reads its JSON answer.
    pub(super) async fn send<T: DeserializeOwned>(&self, call: &Call) -> Result<T, ClientError> {
        let (status, bytes) = self.whole(call).await?;
        serde_json::from_slice(&bytes).map_err(|error| self.foreign(status, &error))
    }

    /// Sends a request whose answer is of no interest, or is text.
    pub(super) async fn send_for_text(&self, call: &Call) -> Result<String, ClientError> {
        let (_, bytes) = self.whole(call).await?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Sends a request until its whole answer has come. All tries have one key, so that an answer that is lost on the
    /// way, or in the middle, is asked for again and nothing happens twice.
    async fn whole(&self, call: &Call) -> Result<(StatusCode, Bytes), ClientError> {
        let key = (call.method != Method::GET).then(|| RandomIds.request_id().to_string());
        let build = || {
            let mut request = self.request(call.method.clone(), &call.target).timeout(ANSWER_TIMEOUT);
            if let Some(key) = &key {
                request = request.header("idempotency-key", key);
            }
            match &call.body {
                Some(body) => request.header(CONTENT_TYPE, "application/json").body(body.clone()),
                None => request,
            }
        };
        self.repeated(|| {
            let request = build();
            async move {
                let response = self.once(request).await?;
                let status = response.status();
                let bytes = response.bytes().await.map_err(|error| ClientError::unreachable(&self.url, &error))?;
                Ok((status, bytes))
            }
        })
        .await
    }

    /// Sends what `build` makes until there is a final answer; anything but success is an error.
    pub(super) async fn answered(&self, build: impl Fn() -> RequestBuilder) -> Result<Response, ClientError> {
        self.repeated(|| self.once(build())).await
    }

    /// Tries until it succeeds, or fails in a way that will not pass.
    async fn repeated<T, F>(&self, attempt: impl Fn() -> F) -> Result<T, ClientError>
    where
        F: Future<Output = Result<T, ClientError>>,
    {
        let mut tries = 1;
        loop {
            let error = match attempt().await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            if tries >= TRIES || !error.is_passing() {
                return Err(error);
            }
            tracing::debug!(%error, tries, "the request is sent again");
            tokio::time::sleep(pause(tries)).await;
            tries += 1;
        }
    }

    /// Sends a request once.
    pub(super) async fn once(&self, request: RequestBuilder) -> Result<Response, ClientError> {
        let response = self.execute(request).await.map_err(|error| ClientError::unreachable(&self.url, &error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(self.refusal(response).await)
    }

    async fn execute(&self, request: RequestBuilder) -> reqwest::Result<Response> {
        match &self.local {
            None => request.send().await,
            Some(Local(answer)) => Ok(answer(request.build()?.try_into()?).await.into()),
        }
    }

    /// A request to this server, with the key.
    pub(super) fn request(&self, method: Method, target: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{target}", self.url));
        match &self.key {
            Some(Key(value)) => request.header(AUTHORIZATION, value.clone()),
            None => request,
        }
    }

    async fn refusal(&self, response: Response) -> ClientError {
        let status = response.status();
        let bytes = match response.bytes().await {
            Ok(bytes) => bytes,
            Err(error) => return ClientError::unreachable(&self.url, &error),
        };
        match serde_json::from_slice::<Problem>(&bytes) {
            Ok(problem) => ClientError::Problem(Box::new(problem)),
            Err(_) => self.foreign(status, &"there is no problem document"),
        }
    }

    pub(super) fn foreign(&self, status: StatusCode, why: &dyn fmt::Display) -> ClientError {
        ClientError::Foreign { url: self.url.to_string(), status: status.as_u16(), why: why.to_string() }
    }
}

fn builder(url: &Url, here: bool) -> reqwest::ClientBuilder {
    let builder = reqwest::Client::builder()
        .user_agent(concat!("opsroom/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_TIMEOUT)
        // The key goes to the server that was named, and to no other.
        .redirect(Policy::none());
    let builder = if here { builder.no_proxy() } else { builder };
    // Only a server behind TLS costs the reading of the system's certificates.
    let tls = if url.scheme() == "https" { tls::client_config() } else { tls::unused_config() };
    builder.tls_backend_preconfigured(tls)
}

/// Whether the server is on this machine, where no proxy leads.
fn is_local(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Before the next try.
pub(super) fn pause(tries: u32) -> Duration {
    Duration::from_millis(100 << (tries - 1).min(5))
}

/// A value as a segment of a path.
pub(super) fn segment(value: impl fmt::Display) -> String {
    utf8_percent_encode(&value.to_string(), PLAIN).to_string()
}

/// A path with its query.
pub(super) fn target(path: &str, query: &impl Query) -> String {
    let pairs = query.pairs();
    let encoded: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={}", segment(value))).collect();
    if encoded.is_empty() { path.to_owned() } else { format!("{path}?{}", encoded.join("&")) }
}

/// A body as JSON.
pub(super) fn json(body: &impl Serialize) -> Vec<u8> {
    // Plain data with text keys: serialisation cannot fail.
    serde_json::to_vec(body).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::ListRunsQuery;

    #[test]
    fn urls_are_checked_before_they_are_used() {
        let why = |url: &str| Client::new(url, None).map(|client| client.url().to_owned()).map_err(|e| e.to_string());
        assert_eq!(why("http://127.0.0.1:8484/").unwrap(), "http://127.0.0.1:8484");
        assert_eq!(why("http://ops.example/room/").unwrap(), "http://ops.example/room");
        for bad in ["", "localhost:8484", "ftp://a", "http://", "http://a/?x=1"] {
            assert!(why(bad).unwrap_err().contains("not the URL of a server"), "{bad}");
        }
        let secret = why("http://ann:hunter2@ops.example").unwrap_err();
        assert!(!secret.contains("hunter2"), "{secret}");
    }

    #[test]
    fn a_key_is_never_shown() {
        let key = Key::new(" 0123456789abcdefghij\n").unwrap();
        let client = Client::new("http://127.0.0.1:1", Some(key)).unwrap();
        assert!(!format!("{client:?}").contains("0123456789"), "{client:?}");
        assert!(Key::new("").is_err() && Key::new("a b").is_err() && Key::new("ä").is_err());
    }

    #[test]
    fn what_stands_in_a_url_is_encoded() {
        let query = ListRunsQuery { label: vec!["team=a&b".to_owned()], limit: Some(3), ..ListRunsQuery::default() };
        assert_eq!(target("/v1/runs", &query), "/v1/runs?label=team%3Da%26b&limit=3");
        assert_eq!(segment("build/../x y"), "build%2F..%2Fx%20y");
        assert_eq!((1..=7).map(|tries| pause(tries).as_millis()).max(), Some(3_200));
    }
}
