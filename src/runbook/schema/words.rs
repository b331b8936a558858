//! Messages for the errors of JSON Schema.

use jsonschema::{
    ValidationError,
    error::{TypeKind, ValidationErrorKind as Kind},
};
use serde_json::Value;

use crate::runbook::diagnostic::{Code, suggestion};

/// The code, the message and the hint for an error. `holder` is the schema with the failing keyword.
pub(super) fn say(holder: Option<&Value>, error: &ValidationError<'_>) -> (Code, String, Option<String>) {
    let value = error.instance();
    let description = || holder?.get("description").and_then(Value::as_str).map(str::to_owned);
    match error.kind() {
        Kind::Type { kind } => {
            let message = format!("expected {}, found {}", types(kind), shown(value));
            (Code::WrongType, message, description())
        }
        Kind::Required { property } => {
            let property = property.as_str().unwrap_or_default();
            let message = match dependent(holder, error, property) {
                Some(key) => format!("`{key}` is for `{property}`, which is missing"),
                None => format!("missing key `{property}`"),
            };
            (Code::MissingKey, message, property_description(holder, property))
        }
        Kind::Enum { options } => {
            let names: Vec<&str> = options.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            let help = value.as_str().and_then(|word| suggestion(word, names.iter().copied()));
            let help = help.or_else(|| Some(format!("allowed are {}", list(options))));
            (Code::BadValue, format!("{} is not allowed here", shown(value)), help)
        }
        Kind::Constant { expected_value } => {
            (Code::BadValue, format!("expected {expected_value}, found {}", shown(value)), description())
        }
        Kind::Pattern { pattern } => {
            let text = value.as_str().unwrap_or_default();
            let message = if pattern.ends_with("(ms|s|m|h|d)$") {
                format!("`{}` is not a duration", clip(text))
            } else {
                format!("`{}` does not match `{pattern}`", clip(text))
            };
            (Code::BadValue, message, description())
        }
        Kind::Format { format } => (Code::BadValue, format!("{} is not a valid {format}", shown(value)), None),
        Kind::OneOfNotValid { .. } | Kind::AnyOf { .. } => alternatives(holder, error),
        Kind::OneOfMultipleValid { .. } => match names(holder, error.kind().keyword()) {
            Some(names) => (Code::ConflictingKeys, format!("`{}` exclude each other", names.join("` and `")), None),
            None => (
                Code::BadValue,
                "the value fits more than one of the forms that exclude each other".to_owned(),
                description(),
            ),
        },
        kind => (Code::BadValue, bound(kind).unwrap_or_else(|| clip(&error.masked().to_string())), description()),
    }
}

/// The key that is there and wants the missing one.
fn dependent<'a>(holder: Option<&'a Value>, error: &ValidationError<'_>, missing: &str) -> Option<&'a str> {
    if !error.schema_path().as_str().contains("/dependentRequired") {
        return None;
    }
    let wants = holder?.get("dependentRequired")?.as_object()?.iter();
    let wants_missing = |names: &Value| names.as_array().is_some_and(|names| names.iter().any(|name| name == missing));
    let mut keys = wants.filter(|(_, names)| wants_missing(names)).map(|(key, _)| key.as_str());
    keys.find(|key| error.instance().get(key).is_some())
}

/// Whether the schema asks for a string and nothing else.
pub(super) fn wants_string(kind: &Kind) -> bool {
    matches!(kind, Kind::Type { kind: TypeKind::Single(single) } if single.as_str() == "string")
}

fn alternatives(holder: Option<&Value>, error: &ValidationError<'_>) -> (Code, String, Option<String>) {
    let keyword = error.kind().keyword();
    if let Some(names) = names(holder, keyword) {
        return (Code::MissingKey, format!("one of the keys `{}` is missing", names.join("`, `")), None);
    }
    let description = holder.and_then(|holder| holder.get("description")).and_then(Value::as_str);
    (
        Code::BadValue,
        format!("{} fits none of the allowed forms", shown(error.instance())),
        description.map(str::to_owned),
    )
}

/// The names where every branch is `{"required": [name]}`.
fn names(holder: Option<&Value>, keyword: &str) -> Option<Vec<String>> {
    let branches = holder?.get(keyword)?.as_array()?;
    branches
        .iter()
        .map(|branch| match (branch.as_object()?.len(), branch.get("required")?.as_array()?.as_slice()) {
            (1, [Value::String(name)]) => Some(name.clone()),
            _ => None,
        })
        .collect()
}

fn bound(kind: &Kind) -> Option<String> {
    Some(match kind {
        Kind::Minimum { limit } => format!("the number has to be at least {limit}"),
        Kind::Maximum { limit } => format!("the number has to be at most {limit}"),
        Kind::ExclusiveMinimum { limit } => format!("the number has to be greater than {limit}"),
        Kind::ExclusiveMaximum { limit } => format!("the number has to be less than {limit}"),
        Kind::MultipleOf { multiple_of } => format!("the number has to be a multiple of {multiple_of}"),
        Kind::MinLength { limit: 1 } => "the text is empty".to_owned(),
        Kind::MinLength { limit } => format!("the text has to have at least {limit} characters"),
        Kind::MaxLength { limit } => format!("the text has to have at most {limit} characters"),
        Kind::MinItems { limit: 1 } => "the list is empty".to_owned(),
        Kind::MinItems { limit } => format!("the list has to have at least {limit} items"),
        Kind::MaxItems { limit } => format!("the list has to have at most {limit} items"),
        Kind::MinProperties { limit: 1 } => "the map is empty".to_owned(),
        Kind::MinProperties { limit } => format!("the map has to have at least {limit} entries"),
        Kind::MaxProperties { limit } => format!("the map has to have at most {limit} entries"),
        Kind::UniqueItems => "the list has an item twice".to_owned(),
        Kind::Contains => "no item of the list is what one has to be".to_owned(),
        Kind::FalseSchema => "nothing is allowed here".to_owned(),
        Kind::Not { .. } => "this is not allowed here".to_owned(),
        _ => return None,
    })
}

fn property_description(holder: Option<&Value>, property: &str) -> Option<String> {
    holder?.get("properties")?.get(property)?.get("description")?.as_str().map(str::to_owned)
}

fn types(kind: &TypeKind) -> String {
    let names: Vec<&str> = match kind {
        TypeKind::Single(single) => vec![single.as_str()],
        TypeKind::Multiple(set) => set.iter().map(jsonschema::JsonType::as_str).collect(),
    };
    let names: Vec<&str> = names.into_iter().map(noun).collect();
    names.join(" or ")
}

/// The words of YAML rather than those of JSON.
pub(in crate::runbook) fn noun(name: &str) -> &'static str {
    match name {
        "string" => "a string",
        "integer" => "an integer",
        "number" => "a number",
        "boolean" => "a boolean",
        "array" => "a list",
        "object" => "a map",
        _ => "null",
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(bool) => format!("the boolean {bool}"),
        Value::Number(number) => format!("the number {number}"),
        Value::String(text) => format!("`{}`", clip(text)),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a map".to_owned(),
    }
}

fn list(options: &Value) -> String {
    let options = options.as_array().map(Vec::as_slice).unwrap_or_default();
    options.iter().map(|option| format!("`{option}`")).collect::<Vec<_>>().join(", ")
}

/// The beginning of a text, short enough for a message.
pub(in crate::runbook) fn clip(text: &str) -> String {
    const LIMIT: usize = 80;
    let line = text.lines().next().unwrap_or_default();
    match line.char_indices().nth(LIMIT) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None if line.len() < text.trim_end().len() => format!("{line}…"),
        None => line.to_owned(),
    }
}
