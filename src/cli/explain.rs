//! `opsroom explain [KEY|ACTION]`: what the language and its actions know.

use serde_json::{Value, json};

use super::{
    Context,
    fault::{Fault, exit},
};
use crate::{
    actions,
    runbook::{self, Action, Catalog},
};

/// Explain a key of the language or an action
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  opsroom explain                     all keys and actions
  opsroom explain steps.retry
  opsroom explain http.request")]
pub struct Options {
    /// A key such as `steps.retry`, or an action such as `http.request`
    #[arg(value_name = "KEY|ACTION")]
    topic: Option<String>,
}

pub fn execute(context: &Context, options: &Options) -> Result<u8, Fault> {
    let catalog = actions::catalog();
    let topic = options.topic.as_deref();
    let text = runbook::explain(topic, &catalog).map_err(|unknown| {
        let fault = Fault::refused("UNKNOWN_TOPIC", format!("there is no key or action `{}`", unknown.path));
        fault.help(unknown.help.unwrap_or_else(|| "`opsroom explain` lists both".to_owned()))
    })?;
    if context.out.is_json() {
        context.out.json(&document(topic, &catalog, &text));
    } else {
        context.out.line(text.trim_end());
    }
    Ok(exit::SUCCESS)
}

/// An action is described by its parts, a key by its text.
fn document(topic: Option<&str>, catalog: &Catalog, text: &str) -> Value {
    match topic.map(|topic| (topic, catalog.get(topic))) {
        None => json!({"text": text, "actions": catalog.iter().map(action).collect::<Vec<_>>()}),
        Some((_, Some(described))) => action(described),
        Some((topic, None)) => json!({"key": topic, "text": text}),
    }
}

fn action(action: &Action) -> Value {
    json!({
        "action": action.name,
        "summary": action.summary,
        "with": (action.schema)(),
        "result": action.result,
        "example": action.example,
        "secret_fields": action.secret_fields,
    })
}
