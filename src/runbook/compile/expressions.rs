//! Expressions in a runbook: parsed, with every name they use checked.

use std::{collections::HashSet, ops::Range};

use serde_json::Value;

use super::{
    header::Params,
    report::{Report, child, item},
};
use crate::runbook::{
    Expr, ExprError, Mention, Template, TextPart,
    diagnostic::{Code, closest, suggestion},
    source::Span,
    template::{self, Piece},
};

/// What an expression may look at where it stands.
#[derive(Clone, Copy)]
pub(super) struct Site<'a> {
    pub(super) params: &'a Params,
    /// The variables that are set before.
    pub(super) env: &'a HashSet<String>,
    pub(super) steps: bool,
    pub(super) result: bool,
    /// `item`, `index` and `matrix`.
    pub(super) fan_out: bool,
}

/// An expression reads a step; whether it may is known when all steps are.
#[derive(Debug)]
pub(super) struct StepUse {
    /// From the step's id on: `["build", "outputs", "id"]`.
    pub(super) path: Vec<String>,
    pub(super) span: Span,
    pub(super) pointer: String,
}

/// A value with expressions in it. Steps that it reads are added to `uses`.
pub(super) fn lower(
    value: &Value,
    pointer: &str,
    site: &Site<'_>,
    uses: &mut Vec<StepUse>,
    report: &mut Report<'_>,
) -> Template {
    match value {
        Value::String(text) => string(text, pointer, site, uses, report),
        Value::Array(items) if has_expression(value) => {
            let items = items.iter().enumerate();
            Template::List(
                items.map(|(index, value)| lower(value, &item(pointer, index), site, uses, report)).collect(),
            )
        }
        Value::Object(entries) if has_expression(value) => {
            let lowered = entries.iter().map(|(key, value)| {
                let at = child(pointer, key);
                if template::has_expression(key) {
                    report.key(Code::MisplacedExpression, &at, "the key of a map cannot be an expression", None);
                }
                (key.clone(), lower(value, &at, site, uses, report))
            });
            Template::Map(lowered.collect())
        }
        literal => Template::Literal(literal.clone()),
    }
}

/// A condition: an expression without `${{ }}`.
pub(super) fn bare(
    value: &Value,
    pointer: &str,
    site: &Site<'_>,
    uses: &mut Vec<StepUse>,
    report: &mut Report<'_>,
) -> Option<Expr> {
    if let Value::Bool(bool) = value {
        return Expr::compile(if *bool { "true" } else { "false" }).ok();
    }
    let text = value.as_str()?;
    let trimmed = text.trim();
    if let Ok([Piece::Expression { source, .. }]) = template::pieces(trimmed).as_deref() {
        let message = "this is an expression already; it is written without `${{ }}`";
        let diagnostic =
            report.source.diagnose(Code::MisplacedExpression, report.source.value_span(pointer), pointer, message);
        report.push(diagnostic.with_fix((*source).to_owned()));
        return None;
    }
    let start = text.len() - text.trim_start().len();
    let expr = compile(text, start..start + trimmed.len(), pointer, site, uses, report)?;
    if let Some(kind) = never_bool(&expr, site) {
        let message = format!("a condition is true or false, and this is {kind}");
        report.value(Code::NotABool, pointer, message, None);
    }
    Some(expr)
}

/// The variables of an `env`, and their names. A variable may use those above it.
pub(super) fn lower_env(
    env: &Value,
    pointer: &str,
    site: &Site<'_>,
    report: &mut Report<'_>,
) -> (Vec<(String, Template)>, Vec<StepUse>) {
    let mut uses = Vec::new();
    let mut names = site.env.clone();
    let mut lowered = Vec::new();
    for (name, value) in env.as_object().into_iter().flatten() {
        let at = child(pointer, name);
        let template = match (value, report.source.plain_text(&at)) {
            // `1.10` and `012` are meant as they are written.
            (Value::Number(_) | Value::Bool(_), Some(text)) => Template::Literal(Value::String(text.to_owned())),
            _ => lower(value, &at, &Site { env: &names, ..*site }, &mut uses, report),
        };
        names.insert(name.clone());
        lowered.push((name.clone(), template));
    }
    (lowered, uses)
}

/// Whether an expression stands anywhere in the value.
pub(super) fn has_expression(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains("${{"),
        Value::Array(items) => items.iter().any(has_expression),
        Value::Object(entries) => entries.iter().any(|(key, value)| key.contains("${{") || has_expression(value)),
        _ => false,
    }
}

fn string(text: &str, pointer: &str, site: &Site<'_>, uses: &mut Vec<StepUse>, report: &mut Report<'_>) -> Template {
    if !text.contains("${{") {
        return Template::Literal(Value::String(text.to_owned()));
    }
    let pieces = match template::pieces(text) {
        Ok(pieces) => pieces,
        Err(template::Unclosed(at)) => {
            let span = report.within(pointer, text, at..at + 3);
            let help = "an expression ends with `}}`; a literal `${{` is written `$${{`";
            report.span(Code::UnclosedExpression, span, pointer, "`${{` is not closed", Some(help.to_owned()));
            return Template::Literal(Value::Null);
        }
    };
    let mut parts = Vec::with_capacity(pieces.len());
    for piece in pieces {
        match piece {
            Piece::Text(text) => parts.push(TextPart::Literal(text)),
            Piece::Expression { range, .. } => {
                parts.extend(compile(text, range, pointer, site, uses, report).map(TextPart::Expr));
            }
        }
    }
    match parts.as_slice() {
        [TextPart::Expr(expr)] => Template::Expr(expr.clone()),
        [TextPart::Literal(text)] => Template::Literal(Value::String(text.clone())),
        _ => Template::Text(parts),
    }
}

/// Compiles the part of a string and checks its names.
fn compile(
    text: &str,
    range: Range<usize>,
    pointer: &str,
    site: &Site<'_>,
    uses: &mut Vec<StepUse>,
    report: &mut Report<'_>,
) -> Option<Expr> {
    let start = range.start;
    let source = &text[range.clone()];
    match Expr::compile(source) {
        Ok(expr) => {
            for mention in &expr.references().mentions {
                let at = start + mention.offset;
                let length = source[mention.offset..]
                    .bytes()
                    .take_while(|b| b.is_ascii_alphanumeric() || b"_.".contains(b))
                    .count();
                let span = report.within(pointer, text, at..at + length);
                check_mention(mention, span, pointer, site, uses, report);
            }
            Some(expr)
        }
        Err(ExprError { message, offset }) => {
            let span = match offset.and_then(|offset| source.get(offset..)) {
                Some(rest) if !rest.is_empty() => {
                    let length = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len()).max(1);
                    let length = rest.chars().next().map_or(length, |first| length.max(first.len_utf8()));
                    let whole = report.within(pointer, text, range);
                    let at = whole.start + (source.len() - rest.len());
                    Span { start: at, end: (at + length).min(whole.end.max(at)) }
                }
                _ => report.within(pointer, text, range),
            };
            report.span(Code::ExpressionSyntax, span, pointer, message, None);
            None
        }
    }
}

/// Checks one use of a root.
fn check_mention(
    mention: &Mention,
    span: Span,
    pointer: &str,
    site: &Site<'_>,
    uses: &mut Vec<StepUse>,
    report: &mut Report<'_>,
) {
    let path = &mention.path;
    let problem = match path[0].as_str() {
        "steps" if site.steps => {
            uses.push(StepUse { path: path[1..].to_vec(), span, pointer: pointer.to_owned() });
            None
        }
        "params" => check_param(&path[1..], site.params),
        "env" => check_env(&path[1..], site.env),
        "run" | "trigger" => None,
        "result" if site.result => None,
        "item" | "index" | "matrix" if site.fan_out => None,
        root => Some(unknown_root(root, site)),
    };
    if let Some((code, message, help)) = problem {
        report.span(code, span, pointer, message, help);
    }
}

type Problem = (Code, String, Option<String>);

fn check_param(path: &[String], params: &Params) -> Option<Problem> {
    let (name, mut fields) = path.split_first()?;
    let Some(spec) = params.get(name) else {
        let names = params.specs.iter().map(|spec| spec.name.as_str());
        let message = format!("the runbook has no param `{name}`");
        return Some((Code::UnknownParam, message, suggestion(name, names)));
    };
    let mut schema = &spec.schema;
    // As far as the schema says what fields there are.
    while let Some((field, rest)) = fields.split_first() {
        let properties = schema.get("properties").and_then(Value::as_object)?;
        let Some(next) = properties.get(field) else {
            let closed = schema.get("additionalProperties").is_some_and(|open| open == false);
            let message = format!("the param `{name}` has no field `{field}`");
            return closed
                .then(|| (Code::UnknownField, message, suggestion(field, properties.keys().map(String::as_str))));
        };
        (schema, fields) = (next, rest);
    }
    None
}

fn check_env(path: &[String], env: &HashSet<String>) -> Option<Problem> {
    let name = path.first().filter(|name| !env.contains(*name))?;
    let mut names: Vec<&str> = env.iter().map(String::as_str).collect();
    names.sort_unstable();
    let message = format!("the variable `{name}` is not set here");
    let help = suggestion(name, names.iter().copied());
    let help = help
        .or_else(|| Some("`env` has the variables of the runbook and the step, not those of the worker".to_owned()));
    Some((Code::UnknownEnv, message, help))
}

fn unknown_root(root: &str, site: &Site<'_>) -> Problem {
    const ROOTS: [&str; 8] = ["params", "steps", "env", "run", "trigger", "result", "item", "matrix"];
    let (message, help) = match root {
        "steps" => ("steps cannot be read here".to_owned(), None),
        "result" => ("`result` is not known here".to_owned(), Some("it exists in `outputs` and in `retry.if`")),
        "item" | "index" => (format!("`{root}` is not known here"), Some("it exists in steps with `foreach`")),
        "matrix" => ("`matrix` is not known here".to_owned(), Some("it exists in steps with `matrix`")),
        "event" => ("`event` is not known here".to_owned(), Some("it exists in `triggers`")),
        "secrets" | "secret" => (
            "secrets cannot be read by expressions".to_owned(),
            Some("list the secret under `secrets:` of the step; it arrives as an environment variable"),
        ),
        "success" | "failure" | "cancelled" | "always" => {
            return (Code::UnknownRoot, format!("`{root}` is a function"), Some(format!("write `{root}()`")));
        }
        _ => (format!("`{root}` is not known"), None),
    };
    let close = || match site.params.get(root) {
        Some(_) => Some(format!("did you mean `params.{root}`?")),
        None => closest(root, ROOTS).map(|close| format!("did you mean `{close}`?")),
    };
    let help = help.map(str::to_owned).or_else(close);
    let roots = || Some("expressions start with `params`, `steps`, `env`, `run` or `trigger`".to_owned());
    (Code::UnknownRoot, message, help.or_else(roots))
}

/// What the expression is, where it cannot be true or false.
fn never_bool(expr: &Expr, site: &Site<'_>) -> Option<String> {
    if let Some(kind) = expr.never_bool() {
        return Some(kind.to_owned());
    }
    let [Mention { path, .. }] = expr.references().mentions.as_slice() else { return None };
    let [root, name] = path.as_slice() else { return None };
    if expr.source().trim() != format!("{root}.{name}") {
        return None;
    }
    match (root.as_str(), site.params.get(name)?.schema.get("type")?.as_str()?) {
        ("params", kind) if kind != "boolean" => Some(format!("the param `{name}` of the type {kind}")),
        _ => None,
    }
}
