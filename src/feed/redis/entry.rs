//! An event as an entry of a stream: the fields of the V2 event, the nested ones as JSON.

use std::{collections::HashMap, sync::Arc};

use redis::streams::StreamRangeReply;
use serde_json::Value;

use crate::model::Event;

/// The fields, in their order in the stream.
pub(super) const FIELDS: [&str; 7] = ["run_id", "timestamp", "sequence", "prev", "source", "event", "data"];

/// The values of the fields.
pub(super) fn values(event: &Event) -> [String; 7] {
    // The model has no map with keys other than text, so nothing of it fails to become JSON.
    let json = |value: serde_json::Result<String>| value.unwrap_or_else(|_| "null".to_owned());
    [
        event.run_id.to_string(),
        event.timestamp.to_string(),
        event.sequence.to_string(),
        event.prev.to_string(),
        json(serde_json::to_string(&event.source)),
        json(serde_json::to_string(&event.event)),
        json(serde_json::to_string(&event.data)),
    ]
}

/// The events of entries, in their order; what somebody else has written is passed over.
pub(super) fn events(page: StreamRangeReply) -> Vec<Arc<Event>> {
    let text = |(name, value): (&String, &redis::Value)| {
        Some((name.clone(), redis::from_redis_value_ref::<String>(value).ok()?))
    };
    let entries = page.ids.into_iter();
    entries.filter_map(|entry| event(&entry.map.iter().filter_map(text).collect())).map(Arc::new).collect()
}

fn event(fields: &HashMap<String, String>) -> Option<Event> {
    let text = |name: &str| fields.get(name).map(String::as_str);
    Some(Event {
        run_id: text("run_id")?.parse().ok()?,
        timestamp: text("timestamp")?.parse().ok()?,
        sequence: text("sequence")?.parse().ok()?,
        prev: text("prev")?.parse().ok()?,
        source: serde_json::from_str(text("source")?).ok()?,
        event: serde_json::from_str(text("event")?).ok()?,
        data: serde_json::from_str::<Value>(text("data")?).ok()?,
    })
}
