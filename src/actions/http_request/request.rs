//! From `with` to requests.

use std::{collections::BTreeMap, time::Duration};

use reqwest::{
    Method, Request, StatusCode, Url,
    header::{self, HeaderMap, HeaderName, HeaderValue},
};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{
    actions::attempt::{invalid, read_with},
    model::{Failure, Millis},
    ports::{AttemptContext, SecretValue},
};

/// The client sets these; two of them disagreeing is how requests are smuggled.
const NOT_OURS: [HeaderName; 4] =
    [header::CONNECTION, header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::UPGRADE];
/// Those that carry credentials, when they are given in plain.
const CREDENTIALS: [HeaderName; 3] = [header::AUTHORIZATION, header::COOKIE, header::PROXY_AUTHORIZATION];

#[derive(Deserialize)]
struct With {
    method: Option<String>,
    url: String,
    #[serde(default)]
    query: Map<String, Value>,
    #[serde(default)]
    headers: Map<String, Value>,
    #[serde(default)]
    secret_headers: BTreeMap<String, String>,
    bearer: Option<String>,
    body: Option<String>,
    expect: Option<Expect>,
    timeout: Option<String>,
}

#[derive(Deserialize)]
struct Expect {
    status: Option<Value>,
}

/// What is to be sent, and what is to come back.
#[derive(Debug)]
pub(super) struct Exchange {
    hop: Hop,
    /// Statuses (`404`) and classes (`2xx`) that are a success.
    expected: Vec<String>,
    pub timeout: Duration,
    pub timeout_text: Millis,
}

/// One request on the way, from redirect to redirect.
#[derive(Debug, Clone)]
pub(super) struct Hop {
    pub url: Url,
    method: Method,
    headers: HeaderMap,
    /// Only for the origin that the runbook names.
    secret_headers: HeaderMap,
    body: Option<Vec<u8>>,
}

impl Exchange {
    pub fn new(context: &AttemptContext) -> Result<Exchange, Failure> {
        let with: With = read_with(&context.with)?;
        let timeout: Millis = match &with.timeout {
            Some(text) => text.parse().map_err(|error| invalid(&format!("with.timeout: {error}")))?,
            None => Millis::seconds(30),
        };
        let method = with.method.as_deref().unwrap_or("GET");
        let (body, content_type) = body(&with, context.with.get("json"));
        let mut headers = headers(&with.headers)?;
        if let Some(content_type) = content_type {
            headers.entry(header::CONTENT_TYPE).or_insert(HeaderValue::from_static(content_type));
        }
        let hop = Hop {
            url: url(&with)?,
            method: method.parse().map_err(|_| invalid("with.method: not a method"))?,
            headers,
            secret_headers: secret_headers(&with, &context.secrets)?,
            body,
        };
        let status = with.expect.and_then(|expect| expect.status).unwrap_or_else(|| "2xx".into());
        let expected = match status {
            Value::Array(items) => items.iter().map(text).collect(),
            one => vec![text(&one)],
        };
        Ok(Exchange { hop, expected, timeout: timeout.duration(), timeout_text: timeout })
    }

    pub fn first_hop(&self) -> Hop {
        self.hop.clone()
    }

    /// The request for a person, without the query.
    pub fn shown(&self) -> String {
        let mut url = self.hop.url.clone();
        url.set_query(None);
        url.set_fragment(None);
        format!("{} {url}", self.hop.method)
    }

    pub fn expects(&self, status: u16) -> bool {
        self.names_status(status) || self.expected.contains(&format!("{}xx", status / 100))
    }

    /// Whether this very status is expected, not just its class.
    pub fn names_status(&self, status: u16) -> bool {
        self.expected.contains(&status.to_string())
    }
}

impl Hop {
    pub fn request(&self) -> Request {
        let mut request = Request::new(self.method.clone(), self.url.clone());
        let headers = request.headers_mut();
        headers.extend(self.headers.clone());
        headers.extend(self.secret_headers.clone());
        *request.body_mut() = self.body.clone().map(Into::into);
        request
    }

    /// The request that a redirect asks for, as browsers do it. Secrets do not leave their origin, and
    /// are not sent again when a later redirect leads back.
    pub fn redirected(mut self, status: StatusCode, next: Url) -> Hop {
        let to_get = status == StatusCode::SEE_OTHER && self.method != Method::HEAD
            || matches!(status, StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND) && self.method == Method::POST;
        if to_get {
            self.method = Method::GET;
            self.body = None;
            for name in [header::CONTENT_TYPE, header::CONTENT_ENCODING, header::CONTENT_LANGUAGE] {
                self.headers.remove(name);
            }
        }
        if self.url.origin() != next.origin() {
            self.secret_headers.clear();
            for name in CREDENTIALS {
                self.headers.remove(name);
            }
        }
        self.url = next;
        self
    }
}

fn url(with: &With) -> Result<Url, Failure> {
    let mut url: Url = with.url.parse().map_err(|error| invalid(&format!("with.url: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(invalid("with.url: only http and https URLs can be requested"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(invalid("with.url: credentials in a URL end up in logs; use `bearer` or `secret_headers`"));
    }
    for (name, value) in &with.query {
        match value {
            Value::Array(items) => {
                let pairs = items.iter().map(|item| (name, text(item)));
                url.query_pairs_mut().extend_pairs(pairs);
            }
            one => {
                url.query_pairs_mut().append_pair(name, &text(one));
            }
        }
    }
    Ok(url)
}

/// The body and the type that it has where no header says otherwise. `json: null` is a body too.
fn body(with: &With, json: Option<&Value>) -> (Option<Vec<u8>>, Option<&'static str>) {
    match (json, &with.body) {
        (Some(json), _) => (Some(json.to_string().into_bytes()), Some("application/json")),
        (None, Some(body)) => (Some(body.clone().into_bytes()), Some("text/plain; charset=utf-8")),
        (None, None) => (None, None),
    }
}

fn headers(given: &Map<String, Value>) -> Result<HeaderMap, Failure> {
    let mut headers = HeaderMap::new();
    for (name, value) in given {
        let value = HeaderValue::from_str(&text(value))
            .map_err(|_| invalid(&format!("with.headers.{name}: the value has characters that no header may have")))?;
        headers.append(header_name(name)?, value);
    }
    Ok(headers)
}

fn secret_headers(with: &With, secrets: &BTreeMap<String, SecretValue>) -> Result<HeaderMap, Failure> {
    let mut headers = HeaderMap::new();
    for (name, secret) in &with.secret_headers {
        headers.insert(header_name(name)?, secret_value("", secret, secrets)?);
    }
    if let Some(secret) = &with.bearer {
        headers.insert(header::AUTHORIZATION, secret_value("Bearer ", secret, secrets)?);
    }
    Ok(headers)
}

/// A secret often ends with the newline of the file that it came from.
fn secret_value(scheme: &str, name: &str, secrets: &BTreeMap<String, SecretValue>) -> Result<HeaderValue, Failure> {
    let secret = secrets.get(name).ok_or_else(|| {
        Failure::permanent("SECRET_MISSING", format!("the step has no secret `{name}`: list it under `secrets:`"))
    })?;
    let mut value = HeaderValue::from_str(&format!("{scheme}{}", secret.expose().trim_end_matches(['\n', '\r'])))
        .map_err(|_| Failure::permanent("SECRET_INVALID", format!("the secret `{name}` cannot be sent in a header")))?;
    value.set_sensitive(true);
    Ok(value)
}

fn header_name(name: &str) -> Result<HeaderName, Failure> {
    match name.parse::<HeaderName>() {
        Ok(name) if NOT_OURS.contains(&name) => Err(invalid(&format!("the header `{name}` is set by opsroom"))),
        Ok(name) => Ok(name),
        Err(_) => Err(invalid(&format!("`{name}` is not the name of a header"))),
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
