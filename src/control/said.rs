//! What attempts say, as the data of events.

use base64::Engine as _;
use serde_json::{Map, Value, json};

use crate::{
    model::{Attempt, StepIx},
    ports::LogStream,
    runbook::Plan,
};

/// Where something was said: the step, the attempt, the stream.
pub(super) type Place = (StepIx, Attempt, LogStream);

/// The data of a chunk of bytes: text, or base64 where they are none.
pub(super) fn bytes(plan: &Plan, (step, attempt, stream): Place, bytes: Vec<u8>) -> Value {
    let (step, stream) = (&*plan.step(step).id, stream.as_str());
    match String::from_utf8(bytes) {
        Ok(text) => json!({ "step": step, "attempt": attempt, "stream": stream, "text": text }),
        Err(error) => {
            let base64 = base64::engine::general_purpose::STANDARD.encode(error.as_bytes());
            json!({ "step": step, "attempt": attempt, "stream": stream, "base64": base64 })
        }
    }
}

/// The data of a structured line.
pub(super) fn record(plan: &Plan, place: Place, level: &str, text: &str, fields: Map<String, Value>) -> Value {
    let (step, attempt, stream) = place;
    let step = &*plan.step(step).id;
    let mut data = json!({ "step": step, "attempt": attempt, "stream": stream.as_str(), "level": level, "text": text });
    if !fields.is_empty() {
        data["fields"] = Value::Object(fields);
    }
    data
}
