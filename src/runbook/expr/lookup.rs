//! Paths looked up in the JSON itself, and readable messages for failed evaluations.

use cel::{ExecutionError, IdedExpr};
use serde_json::Value;

use super::{ExprError, Scope, parse, references};

/// The value at `a.b.c`.
pub(super) fn resolve(scope: &dyn Scope, path: &[String]) -> Result<Value, ExprError> {
    let (mut value, mut depth) = start(scope, path)?;
    while let Some(field) = path.get(depth) {
        let Value::Object(entries) = &mut value else {
            return Err(not_an_object(&path[..depth], &value, field));
        };
        // Moves the value out of the copy that the scope gave.
        let Some(found) = entries.swap_remove(field.as_str()) else {
            return Err(no_such_key(&path[..depth], entries.keys(), field));
        };
        value = found;
        depth += 1;
    }
    Ok(value)
}

/// A message for a person from an error of the evaluator.
pub(super) fn explain(error: &ExecutionError, tree: &IdedExpr, scope: &dyn Scope) -> ExprError {
    match error {
        ExecutionError::NoSuchKey(key) => {
            broken_path(tree, key, scope).unwrap_or_else(|| ExprError::new(format!("no such key `{key}`")))
        }
        ExecutionError::UndeclaredReference(name) => ExprError::new(format!("`{name}` is not known here")),
        ExecutionError::UnsupportedBinaryOperator(operator, left, right) => ExprError::new(format!(
            "`{}` does not work on {} and {}",
            symbol(operator),
            left.type_of(),
            right.type_of()
        )),
        ExecutionError::NoSuchOverload(overload) => {
            let types = overload.argument_types().join(" and ");
            ExprError::new(format!("`{}` does not work on {types}", symbol(overload.function())))
        }
        ExecutionError::UnexpectedType { got, want } => ExprError::new(format!("expected {want}, found {got}")),
        ExecutionError::DivisionByZero(_) | ExecutionError::RemainderByZero(_) => ExprError::new("division by zero"),
        ExecutionError::Overflow(operator, ..) => {
            ExprError::new(format!("`{}` gives a number that is too large", symbol(operator)))
        }
        ExecutionError::IndexOutOfBounds(_) => ExprError::new("the index is beyond the end of the list"),
        ExecutionError::FunctionError { function, message } => {
            ExprError::new(format!("`{}` failed: {}", symbol(function), clip(message)))
        }
        other => ExprError::new(clip(&other.to_string())),
    }
}

fn start(scope: &dyn Scope, path: &[String]) -> Result<(Value, usize), ExprError> {
    if path[0] == "steps" && path.len() > 1 {
        let step = scope.step(&path[1]).ok_or_else(|| ExprError::new(format!("there is no step `{}` here", path[1])));
        return Ok((step?, 2));
    }
    let root = scope.root(&path[0]).ok_or_else(|| ExprError::new(format!("`{}` is not known here", path[0])));
    Ok((root?, 1))
}

/// The first path of the expression that breaks at `key`.
fn broken_path(tree: &IdedExpr, key: &str, scope: &dyn Scope) -> Option<ExprError> {
    if let Some(path) = references::chain(tree) {
        let breaks = path.iter().skip(1).any(|field| field == key);
        return if breaks { resolve(scope, &path).err() } else { None };
    }
    parse::children(tree).into_iter().find_map(|child| broken_path(child, key, scope))
}

fn no_such_key<'a>(prefix: &[String], keys: impl Iterator<Item = &'a String>, field: &str) -> ExprError {
    let keys: Vec<&str> = keys.map(String::as_str).collect();
    let hint = match crate::runbook::diagnostic::closest(field, keys.iter().copied()) {
        Some(close) => format!("; did you mean `{close}`?"),
        None if keys.is_empty() => "; it is empty".to_owned(),
        None => String::new(),
    };
    ExprError::new(format!("no such key `{field}` in `{}`{hint}", prefix.join(".")))
}

fn not_an_object(prefix: &[String], value: &Value, field: &str) -> ExprError {
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    };
    ExprError::new(format!("`{}` is {kind} and has no key `{field}`", prefix.join(".")))
}

/// `+` for `_+_` or `add`, `matches` for `@matches`.
fn symbol(function: &str) -> String {
    let word = match function {
        "add" => "+",
        "sub" => "-",
        "mul" => "*",
        "div" => "/",
        "rem" => "%",
        "_[_]" => "[…]",
        "_?_:_" => "?:",
        other => other,
    };
    word.trim_matches(|c| c == '_' || c == '@').to_owned()
}

/// Messages of the evaluator may print whole values; those may be large.
fn clip(message: &str) -> String {
    const LIMIT: usize = 200;
    match message.char_indices().nth(LIMIT) {
        Some((end, _)) => format!("{}…", &message[..end]),
        None => message.to_owned(),
    }
}
