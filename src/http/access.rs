//! Who is calling.

use std::sync::Arc;

use axum::{extract::FromRequestParts, http::request::Parts};

use super::problem::{Code, Problem};

/// Who is calling: an extractor for handlers.
#[derive(Debug, Clone)]
pub struct Caller {
    /// For the trigger of runs and for signals.
    pub actor: Arc<str>,
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Caller, Problem> {
        let caller = parts.extensions.get::<Caller>().cloned();
        caller.ok_or_else(|| Problem::new(Code::Unauthenticated, "the request is not authenticated"))
    }
}
