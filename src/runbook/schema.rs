//! JSON Schema, with our own words for what does not fit.
//!
//! `jsonschema` checks offline and with a regex engine of linear time; its messages repeat whole values and its
//! `oneOf` errors list every branch, so each kind of error is said anew, with the allowed names.

mod words;

#[cfg(test)]
mod tests;

use std::sync::LazyLock;

use jsonschema::{PatternOptions, ValidationError, Validator, error::ValidationErrorKind};
use serde_json::Value;

use super::{
    diagnostic::{Code, suggestion},
    source,
};

pub(super) use words::{clip, noun};

/// The contract: `schemas/runbook.schema.json`.
pub const RUNBOOK: &str = include_str!("../../schemas/runbook.schema.json");

/// The contract as JSON.
pub fn runbook() -> &'static Value {
    // The text is part of the program and a test reads it.
    static SCHEMA: LazyLock<Value> = LazyLock::new(|| serde_json::from_str(RUNBOOK).unwrap_or_default());
    &SCHEMA
}

/// The contract, compiled once.
pub(super) fn runbook_checker() -> &'static Checker {
    static CHECKER: LazyLock<Checker> =
        LazyLock::new(|| Checker::new(runbook().clone()).unwrap_or_else(|_| Checker::none()));
    &CHECKER
}

/// What a compiled pattern may occupy.
const PATTERN_BYTES: usize = 256 * 1024;
/// More problems than anybody reads.
const MAX_VIOLATIONS: usize = 1_000;
const MAX_UNKNOWN: usize = 100;

/// A compiled schema.
pub(super) struct Checker {
    schema: Value,
    /// `None` accepts everything.
    validator: Option<Validator>,
}

/// A value that does not fit.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Violation {
    pub(super) code: Code,
    /// JSON pointer into the value.
    pub(super) pointer: String,
    /// Whether the key is at fault rather than the value.
    pub(super) at_key: bool,
    pub(super) message: String,
    pub(super) help: Option<String>,
    /// Whether a string would fit as far as types go.
    pub(super) wants_string: bool,
    /// Whether it is about a combination of schemas, so that an expression deeper inside may be the reason.
    pub(super) combines: bool,
}

impl Checker {
    /// Compiles a schema of draft 2020-12; formats are enforced, references elsewhere are not followed.
    pub(super) fn new(schema: Value) -> Result<Checker, Box<ValidationError<'static>>> {
        let options = jsonschema::draft202012::options().offline().should_validate_formats(true);
        let patterns = PatternOptions::regex().size_limit(PATTERN_BYTES).dfa_size_limit(8 * PATTERN_BYTES);
        let validator = options.with_pattern_options(patterns).build(&schema).map_err(Box::new)?;
        Ok(Checker { schema, validator: Some(validator) })
    }

    fn none() -> Checker {
        Checker { schema: Value::Null, validator: None }
    }

    /// Everything that does not fit.
    pub(super) fn check(&self, value: &Value) -> Vec<Violation> {
        let Some(validator) = &self.validator else { return Vec::new() };
        if validator.is_valid(value) {
            return Vec::new();
        }
        validator.iter_errors(value).take(MAX_VIOLATIONS).flat_map(|error| self.violations(&error)).collect()
    }

    fn violations(&self, error: &ValidationError<'_>) -> Vec<Violation> {
        let pointer = error.instance_path().as_str();
        match error.kind() {
            ValidationErrorKind::AdditionalProperties { unexpected }
            | ValidationErrorKind::UnevaluatedProperties { unexpected } => {
                unexpected.iter().take(MAX_UNKNOWN).map(|key| self.unknown_key(error, pointer, key)).collect()
            }
            ValidationErrorKind::PropertyNames { error: inner } => {
                let key = inner.instance().as_str().unwrap_or_default().to_owned();
                let (_, message, _) = words::say(self.holder(inner), inner);
                let message = format!("the name {message}");
                vec![Violation { at_key: true, ..violation(Code::BadValue, source::child(pointer, &key), message) }]
            }
            kind => {
                let (code, message, help) = words::say(self.holder(error), error);
                let combines = matches!(
                    kind,
                    ValidationErrorKind::AnyOf { .. }
                        | ValidationErrorKind::OneOfNotValid { .. }
                        | ValidationErrorKind::OneOfMultipleValid { .. }
                        | ValidationErrorKind::Not { .. }
                        | ValidationErrorKind::Contains
                        | ValidationErrorKind::UniqueItems
                );
                let wants_string = words::wants_string(kind);
                vec![Violation { help, wants_string, combines, ..violation(code, pointer.to_owned(), message) }]
            }
        }
    }

    fn unknown_key(&self, error: &ValidationError<'_>, pointer: &str, key: &str) -> Violation {
        let allowed = self.holder(error).and_then(|holder| holder.get("properties")).and_then(Value::as_object);
        let given = error.instance().as_object();
        // A key that is there already is not what was meant.
        let names = allowed.into_iter().flat_map(|entries| entries.keys().map(String::as_str));
        let names = names.filter(|name| given.is_none_or(|given| !given.contains_key(*name)));
        let help = suggestion(key, names);
        let message = format!("unknown key `{key}`");
        Violation { at_key: true, help, ..violation(Code::UnknownKey, source::child(pointer, key), message) }
    }

    /// The schema that has the failing keyword in it.
    fn holder(&self, error: &ValidationError<'_>) -> Option<&Value> {
        let path = error.schema_path().as_str();
        let keyword = error.kind().keyword();
        let end = path.rfind("/dependentRequired").or_else(|| path.rfind(&format!("/{keyword}")))?;
        self.schema.pointer(&path[..end])
    }
}

fn violation(code: Code, pointer: String, message: String) -> Violation {
    Violation { code, pointer, at_key: false, message, help: None, wants_string: false, combines: false }
}
