//! Notes: durable events of a run that are no facts about its state.

use serde_json::{Map, Value};

use crate::model::{Category, EventKind, Failure};

/// The `data` of a note, as JSON.
const MAX_BYTES: usize = 1 << 20;

/// What is stored must be readable again; this leaves room for what is put around it.
const MAX_DEPTH: usize = 64;

/// The name of what happened.
const MAX_ACTION: usize = 64;

/// Something an action has to say that must not be lost: work was given to somebody, a model answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Note {
    kind: EventKind,
    data: Map<String, Value>,
    size: usize,
}

impl Note {
    /// A note of the category `dispatch`, `llm` or `system`.
    ///
    /// `action` is lower-case words of letters, digits and `_`, with dots between them. `data` has at most 1 MiB
    /// of JSON; `step` and `attempt` are added to it. Fails with `NOTE_INVALID` or `NOTE_TOO_LARGE`, for good.
    pub fn new(category: Category, action: &str, data: Map<String, Value>) -> Result<Note, Failure> {
        let kind = EventKind { category, action: action.to_owned() };
        if category == Category::Lifecycle {
            return Err(invalid(&kind, "facts about a run are decided, not told"));
        }
        if !is_name(action) {
            return Err(invalid(&kind, "an action is words of a-z, 0-9 and `_` with dots between them"));
        }
        if matches!((category, action), (Category::System, "log") | (Category::Llm, "stream")) {
            return Err(invalid(&kind, "this name is that of chunks, which are not durable"));
        }
        if data.values().any(|value| !is_within(value, MAX_DEPTH)) {
            return Err(invalid(&kind, "its data is nested too deeply"));
        }
        let size = serde_json::to_string(&data).map_or(usize::MAX, |text| text.len());
        if size > MAX_BYTES {
            let message = format!("event {kind}: {size} bytes of JSON; a durable event has at most {MAX_BYTES}");
            return Err(Failure::permanent("NOTE_TOO_LARGE", message));
        }
        Ok(Note { kind, data, size })
    }

    /// The size of its data as JSON, in bytes.
    pub fn size(&self) -> usize {
        self.size
    }

    pub fn into_parts(self) -> (EventKind, Map<String, Value>) {
        (self.kind, self.data)
    }
}

fn invalid(kind: &EventKind, why: &str) -> Failure {
    Failure::permanent("NOTE_INVALID", format!("event {kind}: {why}"))
}

fn is_name(action: &str) -> bool {
    let is_word = |word: &str| {
        !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    };
    action.len() <= MAX_ACTION && action.split('.').all(is_word)
}

fn is_within(value: &Value, levels: usize) -> bool {
    match value {
        Value::Array(items) => levels > 0 && items.iter().all(|item| is_within(item, levels - 1)),
        Value::Object(map) => levels > 0 && map.values().all(|item| is_within(item, levels - 1)),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn code(category: Category, action: &str, data: Value) -> Option<String> {
        let Value::Object(data) = data else { unreachable!("data is an object") };
        Note::new(category, action, data).err().map(|failure| failure.code)
    }

    #[test]
    fn facts_and_chunks_are_nobodys_notes() {
        for (category, action) in [
            (Category::Lifecycle, "run_finished"),
            (Category::System, "log"),
            (Category::Llm, "stream"),
            (Category::Dispatch, ""),
            (Category::Dispatch, "Sent"),
            (Category::Dispatch, "a..b"),
        ] {
            assert_eq!(code(category, action, json!({})).as_deref(), Some("NOTE_INVALID"), "{action}");
        }
        assert_eq!(code(Category::Dispatch, "task.sent_2", json!({"a": [1]})), None);
        assert_eq!(code(Category::Llm, "log", json!({})), None);
    }

    #[test]
    fn size_and_depth_have_limits() {
        let fits = "x".repeat(MAX_BYTES - r#"{"a":""}"#.len());
        assert_eq!(code(Category::Llm, "answer", json!({"a": fits})), None);
        assert_eq!(code(Category::Llm, "answer", json!({"a": fits + "x"})).as_deref(), Some("NOTE_TOO_LARGE"));
        let deep = (0..70).fold(json!(1), |inner, _| json!([inner]));
        assert_eq!(code(Category::Llm, "answer", json!({"a": deep})).as_deref(), Some("NOTE_INVALID"));
    }
}
