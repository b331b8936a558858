//! What version 1 of the language has and this build does not: refused, never ignored.

use serde_json::{Map, Value};

use super::{
    keys,
    report::{Report, child, item},
};
use crate::runbook::{diagnostic::Code, plan::Phase};

/// Actions of version 1; `uses` of one that the catalog does not have is not a typing error.
const ACTIONS: &[&str] = &[
    "approval",
    "artifact.get",
    "artifact.put",
    "file.read",
    "file.write",
    "git.clone",
    "http.request",
    "log",
    "assert",
    "notify.email",
    "notify.pagerduty",
    "notify.slack",
    "notify.teams",
    "notify.webhook",
    "runbook",
    "sql.query",
    "transform.jq",
    "wait",
    "llm.chat",
    "agent",
    "mcp.call",
];

/// Whether the name is an action that another build has.
pub(super) fn is_planned_action(name: &str) -> bool {
    ACTIONS.contains(&name)
}

/// Reports every key that is valid and not available.
pub(super) fn check(json: &Value, report: &mut Report<'_>) {
    let Some(top) = json.as_object() else { return };
    refuse(top, "", keys::TOP_UNAVAILABLE, report);
    for phase in [Phase::Body, Phase::OnFailure, Phase::OnCancel, Phase::Finally] {
        let key = keys::of_phase(phase);
        let steps = top.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        for (index, step) in steps.iter().enumerate().filter_map(|(index, step)| Some((index, step.as_object()?))) {
            let pointer = item(&child("", key), index);
            let is_known = |key: &&str| phase == Phase::Body || !keys::BODY_ONLY.contains(key);
            let unavailable: Vec<&str> = keys::STEP_UNAVAILABLE.iter().copied().filter(is_known).collect();
            refuse(step, &pointer, &unavailable, report);
            if step.get("workspace").is_some_and(|workspace| workspace == "own") {
                let message = "`own` is valid, but not available in this build: use `shared` or `none`";
                report.value(Code::NotAvailable, &child(&pointer, "workspace"), message, None);
            }
        }
    }
}

fn refuse(map: &Map<String, Value>, pointer: &str, unavailable: &[&str], report: &mut Report<'_>) {
    for key in unavailable.iter().filter(|key| asks_for_something(map.get(**key))) {
        let message = format!("`{key}` is valid, but not available in this build");
        report.key(Code::NotAvailable, &child(pointer, key), message, None);
    }
}

/// An empty list, `rollback: never` and `distribute: false` ask for nothing.
fn asks_for_something(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null | Value::Bool(false)) => false,
        Some(Value::Array(items)) => !items.is_empty(),
        Some(Value::String(text)) => text != "never",
        Some(_) => true,
    }
}
