//! What can go wrong between a client and its server.

use std::{error::Error, fmt::Write, io};

use crate::api::Problem;

/// Why an operation has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Not a URL of a server.
    #[error("`{url}` is not the URL of a server: {why}")]
    BadUrl { url: String, why: String },
    /// Nobody answers there. Nothing was done, unless the connection broke while the answer was awaited.
    #[error("cannot reach {url}: {why}")]
    Unreachable { url: String, why: String },
    /// The server refused the request or failed.
    #[error("{}: {}", .0.code, .0.detail)]
    Problem(Box<Problem>),
    /// What came back is not what the document says: another program, or another version.
    #[error("{url} answers {status} with something else than opsroom's API: {why}")]
    Foreign { url: String, status: u16, why: String },
    /// What was downloaded is not what was stored.
    #[error("the content of artifact `{name}` is not the one that was stored: its digest differs")]
    Damaged { name: String },
    /// A local file.
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl ClientError {
    /// An error of the transport, in its own words and those of its causes.
    pub(super) fn unreachable(url: &str, error: &reqwest::Error) -> ClientError {
        ClientError::Unreachable { url: url.to_owned(), why: causes(error) }
    }

    /// The problem, if the server named one.
    pub fn problem(&self) -> Option<&Problem> {
        if let ClientError::Problem(problem) = self { Some(problem) } else { None }
    }

    /// Whether the same request may succeed a little later.
    pub fn is_passing(&self) -> bool {
        match self {
            ClientError::Unreachable { .. } => true,
            // The first of two equal requests, whose connection broke, is still being answered.
            ClientError::Problem(problem) if problem.code == "IDEMPOTENCY_IN_PROGRESS" => true,
            ClientError::Problem(problem) => matches!(problem.status, 408 | 502 | 503 | 504),
            ClientError::Foreign { status, .. } => matches!(status, 502..=504),
            ClientError::BadUrl { .. } | ClientError::Damaged { .. } | ClientError::Io(_) => false,
        }
    }
}

/// The causes of an error, without the outermost one, which only repeats the URL.
fn causes(error: &reqwest::Error) -> String {
    let mut text = String::new();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let said = inner.to_string();
        // Some errors say again what their cause says.
        if !text.contains(&said) {
            let separator = if text.is_empty() { "" } else { ": " };
            let _ = write!(text, "{separator}{said}");
        }
        cause = inner.source();
    }
    if !text.is_empty() {
        return text;
    }
    if error.is_timeout() { "no answer in time".to_owned() } else { "the connection failed".to_owned() }
}
