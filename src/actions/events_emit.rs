//! `events.emit`: durable events in a run's stream, for demonstrations and benchmarks of readers.

use std::time::Duration;

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::attempt::{cancelled, invalid, read_with, succeeded};
use crate::{
    model::{Category, EffectModel, Failure, Millis, Success},
    ports::{AttemptContext, Executor},
    runbook::Action,
};

/// What the events are called.
const NAME: &str = "emitted";

/// The step is told this often how it goes, in events.
const BREATH: u64 = 256;

pub(super) const ACTION: Action = Action {
    name: "events.emit",
    summary: "Puts durable events into the run's stream, to show or to measure what reads them",
    schema,
    result: "{count}",
    example: "- id: emit\n  uses: events.emit\n  with: {count: 1000, bytes: 200, every: 1ms}\n",
    effect: |_| EffectModel::Idempotent,
    secret_fields: &[],
};

fn schema() -> Value {
    json!({
        "type": "object",
        "properties": {
            "count": {
                "type": "integer",
                "minimum": 0,
                "maximum": 10_000_000,
                "default": 1,
                "description": "How many.",
            },
            "bytes": {
                "type": "integer",
                "minimum": 0,
                "maximum": 1_000_000,
                "default": 0,
                "description": "The length of the text in each.",
            },
            "every": {
                "type": "string",
                "pattern": "^[0-9]+(ms|s|m|h|d)$",
                "description": "One in this time, as in 10ms; without it, as fast as they can be kept.",
            },
            "category": {
                "enum": ["dispatch", "llm", "system"],
                "default": "dispatch",
                "description": "The category; the events are called `emitted`.",
            },
            "data": {"type": "object", "description": "What is in each, besides `n`, counted from 1, and `text`."},
        },
        "additionalProperties": false,
    })
}

#[derive(Deserialize)]
struct With {
    #[serde(default = "one")]
    count: u64,
    #[serde(default)]
    bytes: usize,
    every: Option<String>,
    #[serde(default = "dispatch")]
    category: Category,
    #[serde(default)]
    data: Map<String, Value>,
}

fn one() -> u64 {
    1
}

fn dispatch() -> Category {
    Category::Dispatch
}

#[derive(Debug)]
pub(super) struct EventsEmit;

#[async_trait]
impl Executor for EventsEmit {
    fn needs_workspace(&self) -> bool {
        false
    }

    async fn execute(&self, context: AttemptContext) -> Result<Success, Failure> {
        let With { count, bytes, every, category, mut data } = read_with(&context.with)?;
        let mut pace = pace(every.as_deref())?;
        if bytes > 0 {
            data.insert("text".to_owned(), Value::String("x".repeat(bytes)));
        }
        for n in 1..=count {
            if let Some(pace) = &mut pace {
                let due = context.cancel.run_until_cancelled(pace.tick()).await;
                due.ok_or_else(cancelled)?;
            } else if n % BREATH == 0 && context.cancel.is_cancelled() {
                return Err(cancelled());
            }
            let mut data = data.clone();
            data.insert("n".to_owned(), Value::from(n));
            context.log.note(category, NAME, data).await?;
        }
        Ok(succeeded(json!({ "count": count })))
    }
}

fn pace(every: Option<&str>) -> Result<Option<tokio::time::Interval>, Failure> {
    let Some(every) = every else { return Ok(None) };
    let every: Millis = every.parse().map_err(|error| invalid(&format!("with.every: {error}")))?;
    Ok(Some(every.duration()).filter(|every| *every > Duration::ZERO).map(tokio::time::interval))
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;
    use crate::{actions::testing::World, model::EventKind, ports::LogPayload};

    async fn emitted(with: Value) -> Vec<(EventKind, Value)> {
        let mut world = World::new();
        EventsEmit.execute(world.context(with)).await.unwrap();
        let mut notes = Vec::new();
        while let Ok(chunk) = world.chunks.try_recv() {
            let LogPayload::Note { note, .. } = chunk.payload else { unreachable!("only notes: {chunk:?}") };
            let (kind, data) = note.into_parts();
            notes.push((kind, data.into()));
        }
        notes
    }

    #[tokio::test]
    async fn events_are_counted_and_masked() {
        let notes = emitted(json!({"count": 2, "bytes": 3, "category": "llm", "data": {"k": "hunter2"}})).await;
        let kind = EventKind { category: Category::Llm, action: NAME.to_owned() };
        let data = |n| json!({"k": "***", "n": n, "text": "xxx"});
        assert_eq!(notes, [(kind.clone(), data(1)), (kind, data(2))]);
    }

    #[tokio::test(start_paused = true)]
    async fn they_can_be_given_time() {
        let start = Instant::now();
        assert_eq!(emitted(json!({"count": 5, "every": "10ms"})).await.len(), 5);
        assert_eq!(start.elapsed().as_millis(), 40);
    }

    #[tokio::test]
    async fn a_cancel_ends_it() {
        for with in [json!({"count": 1_000_000, "every": "1h"}), json!({"count": 1_000_000})] {
            let mut world = World::with_room(10_000);
            let context = world.context(with);
            context.cancel.cancel();
            assert_eq!(EventsEmit.execute(context).await.unwrap_err().code, "CANCELLED");
            world.chunks.close();
        }
    }
}
