//! `http.request`: one request and what became of it.
//!
//! [`request`] reads `with`, [`guard`] says which addresses may be reached, [`client`] connects to those
//! alone, [`answer`] reads the response. Redirects are followed here, not by the client, so that every
//! hop passes the guard and secrets stay with the origin that they are meant for.

mod answer;
mod client;
mod guard;
mod request;
#[cfg(test)]
mod tests;

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use reqwest::{Client, Response, StatusCode, Url, header};
use serde_json::{Value, json};

use self::{answer::Answer, request::Exchange};
pub use self::{
    client::HttpConfig,
    guard::{Network, ParseNetwork},
};
use super::{
    Deps,
    attempt::{cancelled, shortened, succeeded},
};
use crate::{
    model::{EffectModel, Failure, FailureReason, Success},
    ports::{AttemptContext, Executor, Mask},
    runbook::Action,
};

const MAX_REDIRECTS: usize = 10;
/// Of the body of a failure, for its message.
const MAX_SAID: usize = 300;

pub(super) const ACTION: Action = Action {
    name: "http.request",
    summary: "Sends an HTTP request",
    schema,
    result: "{status, headers, body}: body is parsed where the answer says it is JSON, else text; at most 1 MiB",
    example: "- id: drain\n  uses: http.request\n  secrets: [lb_token]\n  with:\n    method: POST\n    url: https://lb.example.com/drain\n    bearer: lb_token\n    json: {host: \"${{ params.host }}\"}\n    expect: {status: [200, 202]}\n",
    effect,
    secret_fields: &["secret_headers", "bearer"],
};

/// What only reads is idempotent. A method that is an expression may be anything.
fn effect(with: &Value) -> EffectModel {
    match with.get("method") {
        None => EffectModel::Idempotent,
        Some(Value::String(method)) if matches!(method.as_str(), "GET" | "HEAD" | "OPTIONS") => EffectModel::Idempotent,
        Some(_) => EffectModel::AtMostOnce,
    }
}

fn schema() -> Value {
    let scalar = json!(["string", "number", "boolean"]);
    json!({
        "type": "object",
        "properties": {
            "method": {
                "enum": ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"],
                "default": "GET",
                "description": "The method. GET, HEAD and OPTIONS are idempotent, the others at_most_once.",
            },
            "url": {"type": "string", "description": "An http or https URL."},
            "query": {
                "type": "object",
                "additionalProperties": {"anyOf": [{"type": scalar}, {"type": "array", "items": {"type": scalar}}]},
                "description": "Added to the URL's query; a list repeats its name.",
            },
            "headers": {
                "type": "object",
                "additionalProperties": {"type": scalar},
                "description": "Headers of the request.",
            },
            "secret_headers": {
                "type": "object",
                "additionalProperties": {"type": "string"},
                "description": "Headers whose values are secrets, by the secret's name. Not sent on to another origin.",
            },
            "bearer": {"type": "string", "description": "The name of the secret that is sent as bearer token."},
            "json": {"description": "The body, sent as JSON."},
            "body": {"type": "string", "description": "The body, sent as it is."},
            "expect": {
                "type": "object",
                "properties": {"status": expected_status()},
                "additionalProperties": false,
                "description": "What counts as success.",
            },
            "timeout": {
                "type": "string",
                "pattern": "^[0-9]+(ms|s|m|h|d)$",
                "default": "30s",
                "description": "Limit on the whole exchange, redirects included.",
            },
        },
        "required": ["url"],
        "not": {"required": ["json", "body"]},
        "additionalProperties": false,
    })
}

fn expected_status() -> Value {
    let status = json!({"anyOf": [
        {"type": "integer", "minimum": 100, "maximum": 599},
        {"type": "string", "pattern": "^[1-5]xx$"},
    ]});
    json!({
        "anyOf": [status, {"type": "array", "items": status, "minItems": 1}],
        "default": "2xx",
        "description": "A status, a class such as 2xx, or a list of them. A redirect that is named is not followed.",
    })
}

/// Executes `http.request`. All attempts of a process share its connections.
pub(super) struct HttpRequest {
    config: Arc<HttpConfig>,
    /// Made when it is first needed: reading the system's certificates takes a while.
    client: OnceLock<Result<Client, String>>,
}

impl HttpRequest {
    pub(super) fn new(deps: &Deps) -> HttpRequest {
        HttpRequest { config: deps.http.clone(), client: OnceLock::new() }
    }

    async fn client(&self) -> Result<Client, Failure> {
        if self.client.get().is_none() {
            let config = self.config.clone();
            let made = tokio::task::spawn_blocking(move || client::client(&config)).await;
            // Whoever is first wins; the others drop theirs.
            let _ = self.client.set(made.unwrap_or_else(|error| Err(error.to_string())));
        }
        match self.client.get() {
            Some(Ok(client)) => Ok(client.clone()),
            Some(Err(why)) => Err(Failure::error("HTTP_FAILED", format!("no HTTP client: {why}"))),
            None => Err(Failure::error("HTTP_FAILED", "no HTTP client")),
        }
    }
}

#[async_trait]
impl Executor for HttpRequest {
    async fn execute(&self, context: AttemptContext) -> Result<Success, Failure> {
        let exchange = Exchange::new(&context)?;
        let client = self.client().await?;
        let mask = context.log.mask();
        let ended = tokio::select! {
            ended = tokio::time::timeout(exchange.timeout, self.exchange(&client, &exchange, mask)) => ended,
            () = context.cancel.cancelled() => return Err(cancelled()),
        };
        let Ok(answer) = ended else {
            let message = format!("{} did not answer within {}", exchange.shown(), exchange.timeout_text);
            return Err(Failure::error("HTTP_TIMEOUT", mask.text(&message)).because(FailureReason::Timeout));
        };
        judge(answer?, &exchange, mask)
    }
}

impl HttpRequest {
    /// Sends the request and follows where it is led.
    async fn exchange(&self, client: &Client, exchange: &Exchange, mask: &dyn Mask) -> Result<Answer, Failure> {
        let mut hop = exchange.first_hop();
        for _ in 0..=MAX_REDIRECTS {
            self.config.guard.check_url(&hop.url).map_err(|error| client::forbidden(&error, mask))?;
            let sent = client.execute(hop.request()).await;
            let response = sent.map_err(|error| client::failure(error, &exchange.shown(), mask))?;
            match location(&response, exchange) {
                Some(next) => hop = hop.redirected(response.status(), next?),
                None => return answer::read(response, exchange, mask).await,
            }
        }
        let message = format!("{} was redirected more than {MAX_REDIRECTS} times", exchange.shown());
        Err(Failure::permanent("HTTP_REDIRECTS", mask.text(&message)))
    }
}

/// Where the response leads, if it is a redirect and nobody asked to see it.
fn location(response: &Response, exchange: &Exchange) -> Option<Result<Url, Failure>> {
    let redirects = [
        StatusCode::MOVED_PERMANENTLY,
        StatusCode::FOUND,
        StatusCode::SEE_OTHER,
        StatusCode::TEMPORARY_REDIRECT,
        StatusCode::PERMANENT_REDIRECT,
    ];
    let status = response.status();
    if !redirects.contains(&status) || exchange.names_status(status.as_u16()) {
        return None;
    }
    let location = response.headers().get(header::LOCATION)?;
    let next = location.to_str().ok().and_then(|location| response.url().join(location).ok());
    let next = next.filter(|url| matches!(url.scheme(), "http" | "https"));
    Some(next.ok_or_else(|| Failure::error("HTTP_REDIRECTS", "a redirect leads to something that is not an HTTP URL")))
}

fn judge(answer: Answer, exchange: &Exchange, mask: &dyn Mask) -> Result<Success, Failure> {
    let Answer { status, status_text, headers, body } = answer;
    if exchange.expects(status) {
        let mut result = json!({"status": status, "headers": headers, "body": body});
        mask.json(&mut result);
        return Ok(succeeded(result));
    }
    // Masked whole, before anything is cut off.
    let said = mask.text(&answer::text(body));
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut message = mask.text(&format!("{} answered {status_text}", exchange.shown()));
    if !said.is_empty() {
        message.push_str(": ");
        message.push_str(&shortened(&said, MAX_SAID));
    }
    Err(Failure::error("HTTP_STATUS", message).because(FailureReason::Status(status)))
}
