//! `opsroom explain [ACTION]`: what the language and its actions know.

use serde_json::{Value, json};

use super::{
    Context,
    fault::{Fault, exit},
};
use crate::{
    actions,
    runbook::{Action, diagnostic},
};

/// Explain an action: its parameters, its result, an example
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  opsroom explain                     lists the actions
  opsroom explain http.request")]
pub struct Options {
    /// An action
    topic: Option<String>,
}

pub fn execute(context: &Context, options: &Options) -> Result<u8, Fault> {
    let catalog = actions::catalog();
    match &options.topic {
        None => list(context, catalog.iter()),
        Some(topic) => match catalog.get(topic) {
            Some(action) => explain(context, action),
            None => {
                let names: Vec<&str> = catalog.iter().map(|action| action.name).collect();
                let help = diagnostic::suggestion(topic, names.iter().copied());
                let fault = Fault::refused("UNKNOWN_TOPIC", format!("there is no action `{topic}`"));
                return Err(fault.help(help.unwrap_or_else(|| "`opsroom explain` lists the actions".to_owned())));
            }
        },
    }
    Ok(exit::SUCCESS)
}

fn list<'a>(context: &Context, actions: impl Iterator<Item = &'a Action>) {
    if context.out.is_json() {
        let actions: Vec<Value> = actions.map(document).collect();
        context.out.json(&json!({ "actions": actions }));
        return;
    }
    for action in actions {
        context.out.line(format!("{:<14} {}", action.name, action.summary));
    }
}

fn document(action: &Action) -> Value {
    json!({
        "name": action.name,
        "summary": action.summary,
        "with": (action.schema)(),
        "result": action.result,
        "example": action.example,
        "secret_fields": action.secret_fields,
    })
}

fn explain(context: &Context, action: &Action) {
    let out = &context.out;
    if out.is_json() {
        out.json(&document(action));
        return;
    }
    out.line(format!("{}: {}", action.name, action.summary));
    out.line("\nwith:");
    let schema = (action.schema)();
    let required = schema.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
    for (name, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let kind = property.get("type").map(crate::runbook::to_text).unwrap_or_default();
        let must = if required.iter().any(|name_of| name_of == name.as_str()) { ", required" } else { "" };
        let text = property.get("description").and_then(Value::as_str).unwrap_or_default();
        out.line(format!("  {name} ({kind}{must}): {text}"));
    }
    out.line(format!("\nresult: {}", action.result));
    out.line(format!("\nexample:\n{}", action.example.trim_end()));
}
