//! `log`: one line in the run's log.

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::attempt::{read_with, shortened, succeeded};
use crate::{
    model::{EffectModel, Failure, Success},
    ports::{AttemptContext, Executor},
    runbook::Action,
};

/// A record is one chunk, and a chunk is at most 64 KiB.
const MAX_MESSAGE: usize = 48 << 10;
const MAX_FIELDS: usize = 12 << 10;

pub(super) const ACTION: Action = Action {
    name: "log",
    summary: "Writes a line to the run's log",
    schema,
    result: "null",
    example: "- id: tell\n  uses: log\n  with:\n    message: restarting ${{ params.env }}\n    level: info\n",
    effect: |_| EffectModel::Idempotent,
    secret_fields: &[],
};

fn schema() -> Value {
    json!({
        "type": "object",
        "properties": {
            "message": {"description": "The line; what is not a string is written as JSON."},
            "level": {
                "enum": ["debug", "info", "warn", "error"],
                "default": "info",
                "description": "How much it matters.",
            },
            "fields": {"type": "object", "description": "Values beside the line, for machines; at most 12 KiB."},
        },
        "required": ["message"],
        "additionalProperties": false,
    })
}

#[derive(Deserialize)]
struct With {
    message: Value,
    #[serde(default)]
    level: Level,
    #[serde(default)]
    fields: Map<String, Value>,
}

#[derive(Deserialize, Default, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum Level {
    Debug,
    #[default]
    Info,
    Warn,
    Error,
}

impl Level {
    fn as_str(self) -> &'static str {
        match self {
            Level::Debug => "debug",
            Level::Info => "info",
            Level::Warn => "warn",
            Level::Error => "error",
        }
    }
}

#[derive(Debug)]
pub(super) struct Log;

#[async_trait]
impl Executor for Log {
    fn needs_workspace(&self) -> bool {
        false
    }

    async fn execute(&self, context: AttemptContext) -> Result<Success, Failure> {
        let With { message, level, fields } = read_with(&context.with)?;
        let message = match message {
            Value::String(text) => text,
            other => other.to_string(),
        };
        if Value::from(fields.clone()).to_string().len() > MAX_FIELDS {
            return Err(Failure::permanent("LOG_TOO_LARGE", "the fields of a log line are limited to 12 KiB"));
        }
        // Masked before it is cut, so that a cut cannot leave half a secret.
        let message = shortened(&context.log.mask().text(&message), MAX_MESSAGE);
        context.log.record(level.as_str(), &message, fields).await;
        Ok(succeeded(Value::Null))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{actions::testing::World, ports::LogPayload};

    async fn logged(with: Value) -> (&'static str, String, Value) {
        let mut world = World::new();
        Log.execute(world.context(with)).await.unwrap();
        match world.chunks.recv().await.unwrap().payload {
            LogPayload::Record { level, text, fields } => (level, text, fields.into()),
            other => unreachable!("a log line is a record: {other:?}"),
        }
    }

    #[tokio::test]
    async fn lines_carry_level_text_and_fields() {
        let line = logged(json!({"message": "hello hunter2", "level": "warn", "fields": {"k": "hunter2"}})).await;
        assert_eq!(line, ("warn", "hello ***".to_owned(), json!({"k": "***"})));
        assert_eq!(logged(json!({"message": {"a": 1}})).await, ("info", r#"{"a":1}"#.to_owned(), json!({})));
    }

    #[tokio::test]
    async fn a_line_fits_a_chunk() {
        let (_, text, _) = logged(json!({"message": "ä".repeat(100_000)})).await;
        assert!(text.len() <= MAX_MESSAGE && text.ends_with('…'));
        let too_many = json!({"message": "x", "fields": {"k": "v".repeat(MAX_FIELDS)}});
        assert!(Log.execute(World::new().context(too_many)).await.is_err());
    }
}
