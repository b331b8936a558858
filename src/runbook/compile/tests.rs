mod bad;
mod good;
mod hostile;

use serde_json::{Value, json};

use super::*;
use crate::{model::EffectModel, runbook::Action};

fn action(
    name: &'static str,
    schema: fn() -> Value,
    effect: fn(&Value) -> EffectModel,
    secret_fields: &'static [&'static str],
) -> Action {
    Action { name, summary: "An action.", schema, result: "{}", example: "", effect, secret_fields }
}

fn idempotent(_: &Value) -> EffectModel {
    EffectModel::Idempotent
}

fn at_most_once(_: &Value) -> EffectModel {
    EffectModel::AtMostOnce
}

fn by_method(with: &Value) -> EffectModel {
    match with.get("method") {
        None => EffectModel::Idempotent,
        Some(method) if method == "GET" => EffectModel::Idempotent,
        _ => EffectModel::AtMostOnce,
    }
}

#[expect(clippy::needless_pass_by_value, reason = "called with `json!` only")]
fn closed(properties: Value, required: &[&str]) -> Value {
    json!({"type": "object", "additionalProperties": false, "properties": properties, "required": required})
}

#[expect(clippy::too_many_lines, reason = "a table")]
/// Descriptors like those of the shipped actions.
fn catalog() -> Catalog {
    Catalog::new([
        action("run", || json!({"type": "object"}), at_most_once, &[]),
        action(
            "assert",
            || closed(json!({"that": {"type": "boolean"}, "message": {"type": "string"}}), &["that"]),
            idempotent,
            &[],
        ),
        action(
            "log",
            || {
                closed(
                    json!({"message": {"type": "string"}, "level": {"enum": ["debug", "info", "warn", "error"]}}),
                    &["message"],
                )
            },
            idempotent,
            &[],
        ),
        action(
            "http.request",
            || {
                let mut schema = closed(
                    json!({
                        "method": {"type": "string", "enum": ["GET", "POST", "PUT", "DELETE"]},
                        "url": {"type": "string", "format": "uri"},
                        "query": {"type": "object"},
                        "headers": {"type": "object", "additionalProperties": {"type": "string"}},
                        "secret_headers": {"type": "object", "additionalProperties": {"type": "string"}},
                        "json": true,
                        "body": {"type": "string"},
                        "expect": {"type": "object", "additionalProperties": false, "properties": {"status": {"type": "array", "items": {"type": "integer"}}}},
                        "timeout": {"type": "string"},
                        "token": {"type": "string"},
                    }),
                    &["url"],
                );
                schema["not"] = json!({"required": ["json", "body"]});
                schema
            },
            by_method,
            &["secret_headers", "token"],
        ),
        action(
            "wait",
            || closed(json!({"for": {"type": "string"}, "until": {"type": "string"}}), &[]),
            idempotent,
            &[],
        ),
        action(
            "file.write",
            || {
                closed(
                    json!({"path": {"type": "string"}, "content": {"type": "string"}, "mode": {"type": "string"}}),
                    &["path", "content"],
                )
            },
            at_most_once,
            &[],
        ),
    ])
}

fn compiled(text: &str) -> Compiled {
    compile("x.yaml", text, &catalog()).unwrap_or_else(|problems| unreachable!("{problems:#?}"))
}

/// A runbook with these lines under `steps:`.
fn with_steps(steps: &str) -> String {
    format!("version: 1\nname: x\nsteps:\n{steps}")
}

/// `CODE line:column message` of everything that is reported.
fn reported(text: &str) -> Vec<String> {
    let diagnostics = match compile("x.yaml", text, &catalog()) {
        Ok(compiled) => compiled.warnings,
        Err(diagnostics) => diagnostics,
    };
    diagnostics.iter().map(|d| format!("{} {}:{} {}", d.code, d.line, d.column, d.message)).collect()
}
