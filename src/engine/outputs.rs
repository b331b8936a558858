//! The outputs of a step: what it set itself, and what its `outputs:` compute from the result.

use serde_json::Value;

use super::{MAX_OUTPUTS, Run, RunScope};
use crate::{
    model::{Failure, StepIx, Success},
    runbook::Plan,
};

/// Completes what an attempt leaves behind. An expression that fails, or more than [`MAX_OUTPUTS`] bytes of JSON,
/// makes it a failure that no retry mends.
pub(super) fn complete(plan: &Plan, run: &Run, step: StepIx, mut success: Success) -> Result<Success, Failure> {
    let planned = plan.step(step);
    let result = success.result.take().unwrap_or(Value::Null);
    for (name, template) in &planned.outputs {
        let scope = RunScope { result: Some(&result), ..RunScope::new(plan, run, step) };
        let value = template
            .render(&scope)
            .map_err(|error| Failure::permanent("OUTPUT_FAILED", format!("outputs.{name}: {error}")))?;
        success.outputs.insert(name.clone(), value);
    }
    if planned.keep_result && !result.is_null() {
        success.result = Some(result);
    }
    // Most steps have nothing to weigh.
    let weighs = |value: &Value| serde_json::to_string(value).map_or(usize::MAX, |text| text.len());
    let size = success.outputs.values().map(weighs).sum::<usize>() + success.result.as_ref().map_or(0, weighs);
    if size > MAX_OUTPUTS {
        let message = format!(
            "the outputs are {size} bytes of JSON; the limit is {MAX_OUTPUTS}: write a file to $OPSROOM_ARTIFACTS instead"
        );
        return Err(Failure::permanent("OUTPUT_TOO_LARGE", message));
    }
    Ok(success)
}
