//! Reading a response.

use reqwest::{Response, header::CONTENT_TYPE};
use serde_json::{Map, Value};

use super::{client, request::Exchange};
use crate::{model::Failure, ports::Mask};

/// Of a body, after it was unpacked.
const MAX_BODY: usize = 1 << 20;

/// A response as it is kept; not yet masked.
#[derive(Debug)]
pub(super) struct Answer {
    pub status: u16,
    /// `503 Service Unavailable`.
    pub status_text: String,
    /// By lower-case name; values of the same name are joined by commas.
    pub headers: Map<String, Value>,
    pub body: Value,
}

/// Reads the whole response.
pub(super) async fn read(mut response: Response, exchange: &Exchange, mask: &dyn Mask) -> Result<Answer, Failure> {
    let status = response.status();
    let is_json = is_json(&response);
    let headers = headers(&response);
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(|error| client::failure(error, &exchange.shown(), mask))? {
        body.extend_from_slice(&piece);
        if body.len() > MAX_BODY {
            if exchange.expects(status.as_u16()) {
                let message = format!("{} answered more than 1 MiB", exchange.shown());
                return Err(Failure::permanent("RESPONSE_TOO_LARGE", mask.text(&message)));
            }
            // The status is the news; its beginning is enough to tell why.
            break;
        }
    }
    let body = match serde_json::from_slice(&body) {
        Ok(value) if is_json => value,
        _ => Value::String(String::from_utf8_lossy(&body).into_owned()),
    };
    Ok(Answer { status: status.as_u16(), status_text: status.to_string(), headers, body })
}

/// A body as text.
pub(super) fn text(body: Value) -> String {
    match body {
        Value::String(text) => text,
        other => other.to_string(),
    }
}

/// `application/json`, or any type that says it is JSON: `application/problem+json`.
fn is_json(response: &Response) -> bool {
    let kind = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    kind == "application/json" || kind.ends_with("+json")
}

fn headers(response: &Response) -> Map<String, Value> {
    let mut headers = Map::new();
    for (name, value) in response.headers() {
        let value = String::from_utf8_lossy(value.as_bytes());
        match headers.get_mut(name.as_str()) {
            Some(Value::String(earlier)) => {
                earlier.push_str(", ");
                earlier.push_str(&value);
            }
            _ => {
                headers.insert(name.as_str().to_owned(), Value::String(value.into_owned()));
            }
        }
    }
    headers
}
