//! `wait`: lets time pass.

use std::time::Duration;

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Value, json};

use super::attempt::{cancelled, invalid, read_with, succeeded};
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

    async fn execute(&self, context: AttemptContext) -> Result<Success, Failure> {
        let rest = end(&context)?.since(context.now);
        tokio::select! {
            // A wait that is over is over, also when the cancel comes at the same time.
            biased;
            () = sleep(rest) => Ok(succeeded(Value::Null)),
            () = context.cancel.cancelled() => Err(cancelled()),
        }
    }
}

/// Nothing left to wait for is no trip through the timer.
async fn sleep(rest: Duration) {
    if !rest.is_zero() {
        tokio::time::sleep(rest).await;
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
    use tokio::time::Instant;

    use super::*;
    use crate::actions::testing::{NOW, World};

    async fn waited(with: Value, since: Micros) -> Result<Duration, Failure> {
        let mut context = World::new().context(with);
        context.since = since;
        let start = Instant::now();
        Wait.execute(context).await.map(|_| start.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn it_counts_from_the_beginning_of_the_try() {
        assert_eq!(waited(json!({"for": "1h"}), NOW).await.unwrap().as_secs(), 60 * 60);
        let earlier = Micros(NOW.0 - 45 * 60 * 1_000_000);
        assert_eq!(waited(json!({"for": "1h"}), earlier).await.unwrap().as_secs(), 15 * 60);
        assert_eq!(waited(json!({"for": "1h"}), Micros(0)).await.unwrap(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_point_in_time_does_not_move() {
        let until = Micros(NOW.0 + 90 * 1_000_000).to_string();
        assert_eq!(waited(json!({"until": until}), Micros(0)).await.unwrap().as_secs(), 90);
        assert_eq!(waited(json!({"until": "2001-01-01T00:00:00Z"}), NOW).await.unwrap(), Duration::ZERO);
        assert_eq!(waited(json!({"until": "2001-01-01"}), NOW).await.unwrap_err().code, "WITH_INVALID");
    }

    #[tokio::test(start_paused = true)]
    async fn a_cancel_ends_it() {
        let context = World::new().context(json!({"for": "1d"}));
        context.cancel.cancel();
        let start = Instant::now();
        assert_eq!(Wait.execute(context).await.unwrap_err().code, "CANCELLED");
        assert_eq!(start.elapsed(), Duration::ZERO);
    }
}
