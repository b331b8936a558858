//! `wait`: lets time pass.

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Value, json};

use super::attempt::{invalid, read_with, succeeded};
use crate::{
    model::{EffectModel, Failure, Micros, Millis, Success},
    ports::{AttemptContext, Executor},
    runbook::Action,
};

pub(super) const ACTION: Action = Action {
    name: "wait",
    summary: "Waits for a span of time or until a point in time",
    schema,
    result: "null",
    example: "- id: settle\n  uses: wait\n  with: {for: 30s}\n",
    effect: |_| EffectModel::Idempotent,
    secret_fields: &[],
};

fn schema() -> Value {
    json!({
        "type": "object",
        "properties": {
            "for": {
                "type": "string",
                "pattern": "^[0-9]+(ms|s|m|h|d)$",
                "description": "How long: 50ms, 30s, 5m, 2h or 1d.",
            },
            "until": {
                "type": "string",
                "format": "date-time",
                "description": "When it ends, RFC 3339; a time in the past does not wait.",
            },
        },
        "minProperties": 1,
        "maxProperties": 1,
        "additionalProperties": false,
    })
}

#[derive(Deserialize)]
struct With {
    #[serde(rename = "for")]
    span: Option<String>,
    until: Option<String>,
}

#[derive(Debug)]
pub(super) struct Wait;

#[async_trait]
impl Executor for Wait {
    fn needs_workspace(&self) -> bool {
        false
    }

    fn waits_until(&self, context: &AttemptContext) -> Result<Option<Micros>, Failure> {
        end(context).map(Some)
    }

    /// Its time has come.
    async fn execute(&self, _: AttemptContext) -> Result<Success, Failure> {
        Ok(succeeded(Value::Null))
    }
}

/// Counted from the beginning of the step's try: a wait that is repeated after its worker died does not
/// begin again.
fn end(context: &AttemptContext) -> Result<Micros, Failure> {
    let With { span, until } = read_with(&context.with)?;
    match (span, until) {
        (Some(span), None) => {
            let span: Millis = span.parse().map_err(|error| invalid(&format!("with.for: {error}")))?;
            Ok(context.since.plus(span))
        }
        (None, Some(until)) => until.parse().map_err(|error| invalid(&format!("with.until: {error}"))),
        _ => Err(invalid("with: give either `for` or `until`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::testing::{NOW, World};

    /// How many seconds an attempt that begins now waits, if its try began then.
    fn waits(with: Value, since: Micros) -> Result<i64, Failure> {
        let mut context = World::new().context(with);
        context.since = since;
        let until = Wait.waits_until(&context)?.expect("it has nothing else to do");
        Ok((until.0 - NOW.0) / 1_000_000)
    }

    #[test]
    fn it_counts_from_the_beginning_of_the_try() {
        assert_eq!(waits(json!({"for": "1h"}), NOW).unwrap(), 60 * 60);
        let earlier = Micros(NOW.0 - 45 * 60 * 1_000_000);
        assert_eq!(waits(json!({"for": "1h"}), earlier).unwrap(), 15 * 60);
        assert!(waits(json!({"for": "1h"}), Micros(0)).unwrap() < 0);
    }

    #[test]
    fn a_point_in_time_does_not_move() {
        let until = Micros(NOW.0 + 90 * 1_000_000).to_string();
        assert_eq!(waits(json!({"until": until}), Micros(0)).unwrap(), 90);
        assert!(waits(json!({"until": "2001-01-01T00:00:00Z"}), NOW).unwrap() < 0);
        assert_eq!(waits(json!({"until": "2001-01-01"}), NOW).unwrap_err().code, "WITH_INVALID");
    }

    #[tokio::test]
    async fn when_its_time_has_come_it_is_done() {
        let context = World::new().context(json!({"for": "0ms"}));
        assert_eq!(Wait.execute(context).await.unwrap(), succeeded(Value::Null));
    }
}
