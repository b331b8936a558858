//! Params of a run: what is given, checked against what the runbook declares.

use std::fmt;

use serde_json::{Map, Value};

use super::{
    ParamSpec,
    diagnostic::suggestion,
    schema::{Checker, clip},
};

/// What is wrong with one param.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ParamProblem {
    /// The param's name.
    pub param: String,
    /// JSON pointer into the param's value; empty for the value itself.
    pub pointer: String,
    /// What is wrong, without the param's name.
    pub message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

impl fmt::Display for ParamProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "param `{}`", self.param)?;
        if !self.pointer.is_empty() {
            write!(f, " at `{}`", self.pointer)?;
        }
        write!(f, ": {}", self.message)?;
        self.help.as_ref().map_or(Ok(()), |help| write!(f, " ({help})"))
    }
}

impl ParamProblem {
    fn new(param: &str, message: impl Into<String>) -> ParamProblem {
        ParamProblem { param: param.to_owned(), pointer: String::new(), message: message.into(), help: None }
    }
}

/// The params of a run: the given values with the defaults filled in, in the order of the declaration.
///
/// An optional param (`required: false`) without a default that is not given is `null`, so that expressions can
/// ask for it. Every problem is reported: unknown names, missing params, and values that do not fit their schema.
pub fn bind(specs: &[ParamSpec], mut given: Map<String, Value>) -> Result<Map<String, Value>, Vec<ParamProblem>> {
    let mut problems = Vec::new();
    let mut bound = Map::new();
    for spec in specs {
        match given.swap_remove(&spec.name).or_else(|| spec.default.clone()) {
            Some(value) => {
                problems.extend(check(spec, &value));
                bound.insert(spec.name.clone(), value);
            }
            None if spec.required => problems.push(missing(spec)),
            None => {
                bound.insert(spec.name.clone(), Value::Null);
            }
        }
    }
    for name in given.keys() {
        let help = suggestion(name, specs.iter().map(|spec| spec.name.as_str()));
        problems.push(ParamProblem { help, ..ParamProblem::new(name, "the runbook has no such param") });
    }
    if problems.is_empty() { Ok(bound) } else { Err(problems) }
}

/// The value of a param from text, as in `-p name=value`.
///
/// A param that may be a string takes the text literally (`007`, `null` and `@x` stay text); others parse it as
/// JSON. Whether the value fits its schema is for [`bind`].
pub fn from_text(spec: &ParamSpec, text: &str) -> Result<Value, ParamProblem> {
    if takes_string(&spec.schema) {
        return Ok(Value::String(text.to_owned()));
    }
    serde_json::from_str(text).map_err(|error| {
        let help = Some("lists and maps are written as JSON: `[\"a\", \"b\"]`".to_owned());
        ParamProblem { help, ..ParamProblem::new(&spec.name, format!("`{}` is not JSON: {error}", clip(text))) }
    })
}

/// Whether the type is a string, or is not said but only strings are allowed.
fn takes_string(schema: &Value) -> bool {
    match schema.get("type") {
        Some(Value::String(name)) => name == "string",
        Some(Value::Array(names)) => names.iter().any(|name| name == "string"),
        _ => match schema.get("enum") {
            Some(Value::Array(options)) => options.iter().all(Value::is_string),
            _ => ["pattern", "format", "minLength", "maxLength"].iter().any(|keyword| schema.get(keyword).is_some()),
        },
    }
}

fn missing(spec: &ParamSpec) -> ParamProblem {
    let help = spec.schema.get("description").and_then(Value::as_str).map(str::to_owned);
    ParamProblem { help, ..ParamProblem::new(&spec.name, "it has to be given") }
}

fn check(spec: &ParamSpec, value: &Value) -> Vec<ParamProblem> {
    let checker = match Checker::new(spec.schema.clone()) {
        Ok(checker) => checker,
        // The compiler checked the schema; a plan of another build may still have one that this one cannot read.
        Err(error) => {
            return vec![ParamProblem::new(&spec.name, format!("its schema is not usable: {}", error.masked()))];
        }
    };
    let violations = checker.check(value).into_iter();
    let problems = violations.map(|violation| ParamProblem {
        param: spec.name.clone(),
        pointer: violation.pointer,
        message: violation.message,
        help: violation.help,
    });
    problems.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn spec(name: &str, schema: Value, required: bool, default: Option<Value>) -> ParamSpec {
        ParamSpec { name: name.to_owned(), schema, required, default }
    }

    fn specs() -> Vec<ParamSpec> {
        vec![
            spec("env", json!({"type": "string", "enum": ["staging", "prod"]}), false, Some(json!("staging"))),
            spec(
                "hosts",
                json!({"type": "array", "items": {"type": "string", "format": "hostname"}, "minItems": 1}),
                true,
                None,
            ),
            spec("mail", json!({"type": "string", "format": "email"}), false, None),
        ]
    }

    fn problems(given: Value) -> Vec<String> {
        let Value::Object(given) = given else { unreachable!() };
        bind(&specs(), given).unwrap_err().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn defaults_are_filled_in() {
        let Value::Object(given) = json!({"hosts": ["a.example"]}) else { unreachable!() };
        let bound = bind(&specs(), given).unwrap();
        assert_eq!(Value::Object(bound), json!({"env": "staging", "hosts": ["a.example"], "mail": null}));
    }

    #[test]
    fn every_problem_is_reported() {
        assert_eq!(
            problems(json!({"env": "prd", "mail": "x", "host": []})),
            [
                "param `env`: `prd` is not allowed here (did you mean `prod`?)",
                "param `hosts`: it has to be given",
                "param `mail`: `x` is not a valid email",
                "param `host`: the runbook has no such param (did you mean `hosts`?)",
            ]
        );
        assert_eq!(problems(json!({"hosts": ["a", "-b-"]})), ["param `hosts` at `/1`: `-b-` is not a valid hostname"]);
        assert_eq!(problems(json!({"hosts": []})), ["param `hosts`: the list is empty"]);
    }

    #[test]
    fn text_is_literal_for_strings_and_json_for_others() {
        let string = spec("s", json!({"type": "string"}), true, None);
        for text in ["007", "null", "@x", "", "[1]"] {
            assert_eq!(from_text(&string, text), Ok(json!(text)));
        }
        let number = spec("n", json!({"type": "integer"}), true, None);
        assert_eq!(from_text(&number, "7"), Ok(json!(7)));
        assert!(from_text(&number, "x").unwrap_err().to_string().starts_with("param `n`: `x` is not JSON: "));
        assert!(from_text(&number, &"[".repeat(100_000)).unwrap_err().to_string().len() < 400);
        assert_eq!(from_text(&spec("l", json!({"type": "array"}), true, None), "[\"a\"]"), Ok(json!(["a"])));
    }
}
