//! What the executors have in common.

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::model::{Failure, Success};

/// Reads `with` into the action's own type. It was checked against the schema; what a schema cannot say
/// fails here, for good.
pub(super) fn read_with<T: DeserializeOwned>(with: &Value) -> Result<T, Failure> {
    T::deserialize(with).map_err(|error| invalid(&format!("with: {error}")))
}

/// Parameters that no further attempt makes valid.
pub(super) fn invalid(message: &str) -> Failure {
    Failure::permanent("WITH_INVALID", shortened(message, 500))
}

/// What an executor answers after its attempt was cancelled; it does not count.
pub(super) fn cancelled() -> Failure {
    Failure::error("CANCELLED", "the attempt was cancelled")
}

pub(super) fn succeeded(result: Value) -> Success {
    Success { result: Some(result), ..Success::default() }
}

/// At most `limit` bytes of a text, cut between characters and marked where something is missing.
pub(super) fn shortened(text: &str, limit: usize) -> String {
    if text.len() <= limit {
        return text.to_owned();
    }
    format!("{}…", &text[..text.floor_char_boundary(limit.saturating_sub('…'.len_utf8()))])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shortening_keeps_characters_whole() {
        assert_eq!(shortened("abc", 3), "abc");
        assert_eq!(shortened("ääää", 7), "ää…");
        assert_eq!(shortened("abcdef", 5), "ab…");
    }
}
