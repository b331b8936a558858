//! `assert`: fails unless a condition holds.

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Value, json};

use super::attempt::{read_with, shortened, succeeded};
use crate::{
    model::{EffectModel, Failure, Success},
    ports::{AttemptContext, Executor},
    runbook::Action,
};

pub(super) const ACTION: Action = Action {
    name: "assert",
    summary: "Fails unless a condition holds",
    schema,
    result: "null",
    example: "- id: enough_hosts\n  uses: assert\n  with:\n    that: ${{ size(params.hosts) >= 2 }}\n    message: at least two hosts are needed\n",
    effect: |_| EffectModel::Idempotent,
    secret_fields: &[],
};

fn schema() -> Value {
    json!({
        "type": "object",
        "properties": {
            "that": {"type": "boolean", "description": "The condition, usually a whole-value expression."},
            "message": {"type": "string", "description": "What is wrong when it does not hold."},
        },
        "required": ["that"],
        "additionalProperties": false,
    })
}

#[derive(Deserialize)]
struct With {
    that: bool,
    message: Option<String>,
}

#[derive(Debug)]
pub(super) struct Assert;

#[async_trait]
impl Executor for Assert {
    fn needs_workspace(&self) -> bool {
        false
    }

    /// The failure may be retried: a retry policy on an assert was written by somebody who knows why.
    async fn execute(&self, context: AttemptContext) -> Result<Success, Failure> {
        let With { that, message } = read_with(&context.with)?;
        if that {
            return Ok(succeeded(Value::Null));
        }
        let message = message.unwrap_or_else(|| "the condition does not hold".to_owned());
        Err(Failure::error("ASSERTION_FAILED", shortened(&context.log.mask().text(&message), 2_000)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::testing::World;

    #[tokio::test]
    async fn it_fails_with_its_message() {
        let world = World::new();
        assert!(Assert.execute(world.context(json!({"that": true}))).await.is_ok());
        let context = world.context(json!({"that": false, "message": "too few, says hunter2"}));
        let failure = Assert.execute(context).await.unwrap_err();
        assert_eq!(failure.to_string(), "ASSERTION_FAILED: too few, says ***");
        assert!(failure.retryable);
    }
}
