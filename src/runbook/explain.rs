//! Help on the language, derived from the schema's descriptions and the descriptors of the actions.

use std::fmt::Write as _;

use serde_json::Value;

use super::{
    Action, Catalog,
    compile::keys,
    diagnostic::{closest, suggestion},
    schema,
};

const UNAVAILABLE: &str = " Not available in this build.";

/// There is no such key or action.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no key or action `{path}`{}", help.as_ref().map(|help| format!("; {help}")).unwrap_or_default())]
pub struct UnknownPath {
    pub path: String,
    /// A did-you-mean, or the names to choose from.
    pub help: Option<String>,
}

/// Help on a key (`steps.retry`), an action (`http.request`), or an overview of both.
pub fn explain(path: Option<&str>, catalog: &Catalog) -> Result<String, UnknownPath> {
    let Some(path) = path.map(str::trim).filter(|path| !path.is_empty()) else { return Ok(overview(catalog)) };
    if let Some(action) = catalog.get(path) {
        return Ok(of_action(action));
    }
    let mut node = schema::runbook();
    let mut walked = String::new();
    for name in path.split('.') {
        let node_here = inner(node);
        match property(node_here, name) {
            Some(next) => node = next,
            None => return Err(unknown(path, name, &walked, node_here, catalog)),
        }
        walked.push_str(if walked.is_empty() { "" } else { "." });
        walked.push_str(name);
    }
    Ok(of_key(path, node))
}

fn overview(catalog: &Catalog) -> String {
    let mut text = "A runbook has these keys:\n".to_owned();
    list_properties(&mut text, schema::runbook(), Some(""));
    text.push_str("\nActions for `uses`:\n");
    let actions: Vec<&Action> = catalog.iter().filter(|action| action.name != "run").collect();
    let width = actions.iter().map(|action| action.name.len()).max().unwrap_or(0);
    for action in actions {
        let _ = writeln!(text, "  {:width$}  {}", action.name, action.summary);
    }
    text.push_str("\nMore: `opsroom explain steps.retry`, `opsroom explain http.request`.\n");
    text
}

fn of_action(action: &Action) -> String {
    let schema = (action.schema)();
    let mut text = format!("{}: {}\n\nParameters:\n", action.name, action.summary);
    list_properties(&mut text, &schema, None);
    if !action.secret_fields.is_empty() {
        let _ = writeln!(text, "\nNames of secrets go into: {}", action.secret_fields.join(", "));
    }
    let _ = writeln!(text, "\nResult: {}", action.result);
    if !action.example.is_empty() {
        let _ = writeln!(text, "\nExample:\n{}", action.example.trim_end());
    }
    text
}

fn of_key(path: &str, node: &Value) -> String {
    let mut text = format!("{path} ({})\n", type_of(node));
    if let Some(description) = description(node) {
        let _ = writeln!(text, "{description}");
    }
    if !keys::is_available(path) {
        let _ = writeln!(text, "{}", UNAVAILABLE.trim_start());
    }
    if let Some(words) = resolve(node).get("enum").and_then(Value::as_array) {
        let words: Vec<String> = words.iter().map(to_yaml).collect();
        let _ = writeln!(text, "\nOne of: {}", words.join(", "));
    }
    if inner(node).get("properties").is_some() {
        text.push_str("\nKeys:\n");
        list_properties(&mut text, inner(node), Some(path));
    }
    let examples = node.get("examples").or_else(|| resolve(node).get("examples")).and_then(Value::as_array);
    for example in examples.into_iter().flatten() {
        let _ = writeln!(text, "\nExample: {}", to_yaml(example));
    }
    text
}

/// `path` is that of a key of the language, whose parts may not be available.
fn list_properties(text: &mut String, schema: &Value, path: Option<&str>) {
    let required: Vec<&str> =
        schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    let properties: Vec<(&String, &Value)> =
        schema.get("properties").and_then(Value::as_object).into_iter().flatten().collect();
    let width = properties.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    for (name, property) in properties {
        let at = path.map(|path| if path.is_empty() { name.clone() } else { format!("{path}.{name}") });
        let unavailable = if at.is_none_or(|at| keys::is_available(&at)) { "" } else { UNAVAILABLE };
        let needed = if required.contains(&name.as_str()) { " Required." } else { "" };
        let _ = writeln!(
            text,
            "  {name:width$}  {}{needed}{unavailable}",
            description(property).unwrap_or(type_of(property).as_str())
        );
    }
}

/// The schema whose keys a path goes on with: references, items of lists, and params by any name.
fn inner(node: &Value) -> &Value {
    let node = resolve(node);
    match node.get("items") {
        Some(items) if node.get("properties").is_none() => resolve(items),
        _ => node,
    }
}

fn property<'a>(node: &'a Value, name: &str) -> Option<&'a Value> {
    let own = node.get("properties").and_then(|properties| properties.get(name));
    // `params.<any name>` is a param.
    own.or_else(|| node.pointer("/else/additionalProperties").filter(|_| name.starts_with('<') || name == "*"))
}

fn resolve(node: &Value) -> &Value {
    let target = node.get("$ref").and_then(Value::as_str).and_then(|reference| reference.strip_prefix('#'));
    target.and_then(|pointer| schema::runbook().pointer(pointer)).unwrap_or(node)
}

fn description(node: &Value) -> Option<&str> {
    node.get("description").or_else(|| resolve(node).get("description"))?.as_str()
}

fn type_of(node: &Value) -> String {
    let node = resolve(node);
    match node.get("type") {
        Some(Value::String(name)) => schema::noun(name).to_owned(),
        Some(Value::Array(names)) => {
            names.iter().filter_map(Value::as_str).map(schema::noun).collect::<Vec<_>>().join(" or ")
        }
        _ => node.get("const").map_or_else(|| "any value".to_owned(), |only| format!("always {}", to_yaml(only))),
    }
}

/// JSON is YAML; only lone strings read better without quotes.
fn to_yaml(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn unknown(path: &str, name: &str, walked: &str, node: &Value, catalog: &Catalog) -> UnknownPath {
    let names = node.get("properties").and_then(Value::as_object);
    let names: Vec<&str> = names.into_iter().flat_map(|names| names.keys().map(String::as_str)).collect();
    let action =
        closest(path, catalog.iter().map(|action| action.name)).map(|action| format!("did you mean `{action}`?"));
    let key = closest(name, names.iter().copied()).map(|key| {
        let separator = if walked.is_empty() { "" } else { "." };
        format!("did you mean `{walked}{separator}{key}`?")
    });
    let help = action.or(key).or_else(|| suggestion(name, names));
    UnknownPath { path: path.to_owned(), help }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::EffectModel;

    fn catalog() -> Catalog {
        Catalog::new([Action {
            name: "http.request",
            summary: "Sends a request.",
            schema: || json!({"properties": {"url": {"type": "string", "description": "Where to."}, "json": true}, "required": ["url"]}),
            result: "{status, headers, body}",
            example: "uses: http.request\nwith: {url: \"https://example.org\"}",
            effect: |_| EffectModel::Idempotent,
            secret_fields: &["bearer"],
        }])
    }

    #[test]
    fn keys_and_actions_are_explained() {
        let overview = explain(None, &catalog()).unwrap();
        assert!(
            overview.contains("  steps            The steps. They run as their `needs` allow. Required.\n"),
            "{overview}"
        );
        assert!(overview.contains("  http.request  Sends a request.\n"));
        let retry = explain(Some("steps.retry"), &catalog()).unwrap();
        assert!(
            retry.starts_with(
                "steps.retry (a map)\nHow often and when a failed step runs again.\n\nKeys:\n  max_attempts  Attempts"
            ),
            "{retry}"
        );
        let foreach = explain(Some("steps.foreach"), &catalog()).unwrap();
        assert!(foreach.contains("\nNot available in this build.\n"), "{foreach}");
        assert!(explain(Some("steps"), &catalog()).unwrap().contains(" Not available in this build.\n"));
        let jitter = explain(Some("steps.retry.jitter"), &catalog()).unwrap();
        assert!(jitter.ends_with("\nOne of: none, full\n"), "{jitter}");
        assert_eq!(
            explain(Some("http.request"), &catalog()).unwrap(),
            "http.request: Sends a request.\n\nParameters:\n  url   Where to. Required.\n  json  any value\n\nNames of secrets go into: bearer\n\nResult: {status, headers, body}\n\nExample:\nuses: http.request\nwith: {url: \"https://example.org\"}\n"
        );
    }

    #[test]
    fn unknown_paths_have_a_suggestion() {
        let error = |path: &str| explain(Some(path), &catalog()).unwrap_err().to_string();
        assert_eq!(error("steps.retri"), "there is no key or action `steps.retri`; did you mean `steps.retry`?");
        assert_eq!(error("http.requst"), "there is no key or action `http.requst`; did you mean `http.request`?");
        assert_eq!(error("name.x"), "there is no key or action `name.x`");
    }

    #[test]
    fn every_key_of_the_schema_can_be_explained() {
        fn walk(path: &str, node: &Value) {
            for (name, property) in inner(node).get("properties").and_then(Value::as_object).into_iter().flatten() {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                let text = explain(Some(&path), &catalog()).unwrap();
                assert!(text.lines().count() >= 2, "{text}");
                walk(&path, property);
            }
        }
        walk("", schema::runbook());
    }
}
