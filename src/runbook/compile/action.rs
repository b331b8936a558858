//! What a step does: `run` or `uses` with `with`.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::{
    expressions::{self, Site},
    keys,
    report::{Report, child, item},
    step::Lowering,
    unavailable,
};
use crate::{
    model::EffectModel,
    runbook::{
        Action, Catalog, Template,
        diagnostic::{Code, suggestion},
        plan::Phase,
        schema::{Checker, Violation},
        source::Source,
        template::{self, Piece},
    },
};

/// The catalog, with the schemas compiled once for all steps.
pub(super) struct Actions<'a> {
    pub(super) catalog: &'a Catalog,
    checkers: HashMap<&'static str, Checker>,
    /// Actions whose schema does not compile, and why.
    broken: HashMap<&'static str, String>,
}

impl<'a> Actions<'a> {
    /// Compiles the schemas of the actions that the runbook uses.
    pub(super) fn new(catalog: &'a Catalog, runbook: &Value) -> Actions<'a> {
        let mut actions = Actions { catalog, checkers: HashMap::new(), broken: HashMap::new() };
        for (_, step) in steps(runbook) {
            let action = step.get("uses").and_then(Value::as_str).and_then(|name| catalog.get(name));
            let Some(action) = action.filter(|action| !actions.checkers.contains_key(action.name)) else { continue };
            match Checker::new((action.schema)()) {
                Ok(checker) => drop(actions.checkers.insert(action.name, checker)),
                Err(error) => drop(actions.broken.insert(action.name, error.masked().to_string())),
            }
        }
        actions
    }
}

/// Every step of every phase, with its pointer.
fn steps(runbook: &Value) -> impl Iterator<Item = (String, &Value)> {
    let phases = [Phase::Body, Phase::OnFailure, Phase::OnCancel, Phase::Finally];
    phases.into_iter().flat_map(|phase| {
        let base = child("", keys::of_phase(phase));
        let steps = runbook.get(keys::of_phase(phase)).and_then(Value::as_array).into_iter().flatten();
        steps.enumerate().map(move |(index, step)| (item(&base, index), step))
    })
}

/// A lowered action.
pub(super) struct Lowered {
    pub(super) name: String,
    pub(super) with: Template,
    pub(super) effect: EffectModel,
    /// Named by the fields of `with` that hold names of secrets.
    pub(super) secrets: Vec<String>,
}

/// Lowers the action of a step; a step without one was reported before.
pub(super) fn lower(step: &mut Lowering<'_, '_, '_>, site: &Site<'_>) -> Lowered {
    let nothing = Lowered {
        name: String::new(),
        with: Template::Literal(Value::Object(Map::new())),
        effect: EffectModel::AtMostOnce,
        secrets: Vec::new(),
    };
    match (step.map.get("run"), step.map.get("uses").and_then(Value::as_str)) {
        (Some(Value::String(script)), None) => {
            Lowered { with: script_of(step, script, site), name: "run".to_owned(), ..nothing }
        }
        (Some(Value::Array(argv)), None) => {
            Lowered { with: argv_of(step, argv, site), name: "run".to_owned(), ..nothing }
        }
        (None, Some(name)) => {
            if let Some(action) = known(step, name) {
                return uses(step, action, site);
            }
            // Its expressions can be checked even so.
            let (with, at) = (step.map.get("with").unwrap_or(&Value::Null), step.at("with"));
            expressions::lower(with, &at, site, &mut step.uses, step.report);
            Lowered { name: name.to_owned(), ..nothing }
        }
        _ => nothing,
    }
}

/// Makes scalars in `with` the strings that the action's schema wants.
pub(super) fn take_texts(source: &mut Source, actions: &Actions<'_>) {
    let mut wanted = Vec::new();
    for (pointer, step) in steps(source.json()) {
        let checker = step.get("uses").and_then(Value::as_str).and_then(|name| actions.checkers.get(name));
        let (Some(checker), Some(with)) = (checker, step.get("with").filter(|with| has_scalar(with))) else { continue };
        let strings = checker.check(with).into_iter().filter(|violation| violation.wants_string);
        wanted.extend(strings.map(|violation| format!("{pointer}/with{}", violation.pointer)));
    }
    for pointer in wanted {
        source.take_text(&pointer);
    }
}

fn has_scalar(value: &Value) -> bool {
    match value {
        Value::Number(_) | Value::Bool(_) => true,
        Value::Array(items) => items.iter().any(has_scalar),
        Value::Object(entries) => entries.values().any(has_scalar),
        _ => false,
    }
}

/// `run` as text: a script. Expressions in it would be put into code.
fn script_of(step: &mut Lowering<'_, '_, '_>, script: &str, site: &Site<'_>) -> Template {
    let at = step.at("run");
    let text = match template::pieces(script) {
        Ok(pieces) => {
            refuse_expressions(step.report, script, &pieces, &at, site);
            let texts = pieces.into_iter().filter_map(|piece| match piece {
                Piece::Text(text) => Some(text),
                Piece::Expression { .. } => None,
            });
            texts.collect()
        }
        // `${{` is nothing that a shell knows either.
        Err(template::Unclosed(open)) => {
            let span = step.report.within(&at, script, open..open + 3);
            let help = Some("a literal `${{` is written `$${{`".to_owned());
            step.report.span(Code::UnclosedExpression, span, &at, "`${{` is not closed", help);
            String::new()
        }
    };
    let shell = step.text("shell").unwrap_or("bash").to_owned();
    if shell.contains("${{") {
        let at = step.at("shell");
        step.report.value(Code::MisplacedExpression, &at, "an expression cannot choose the shell", None);
    }
    Template::Literal(json!({"script": text, "shell": shell}))
}

fn refuse_expressions(report: &mut Report<'_>, script: &str, pieces: &[Piece<'_>], at: &str, site: &Site<'_>) {
    for piece in pieces {
        let Piece::Expression { source, range } = piece else { continue };
        let name = variable_for(source, site);
        let start = script[..range.start].rfind("${{").unwrap_or(range.start);
        let end = script[range.end..].find("}}").map_or(range.end, |close| range.end + close + 2);
        let span = report.within(at, script, start..end);
        let message = "an expression in a script would be run as code";
        let help = format!("pass it through the environment and write `\"${name}\"` in the script");
        let diagnostic = report.source.diagnose(Code::ExpressionInRun, span, at, message).with_help(Some(help));
        report.push(diagnostic.with_fix(format!("env: {{{name}: {}}}", json!(format!("${{{{ {source} }}}}")))));
    }
}

/// A name for the variable that holds an expression: its last field in upper case.
fn variable_for(source: &str, site: &Site<'_>) -> String {
    let last = source
        .rsplit(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .find(|word| !word.is_empty())
        .unwrap_or("value");
    let name = last.to_ascii_uppercase();
    let name = if name.starts_with(|c: char| c.is_ascii_digit()) { "VALUE".to_owned() } else { name };
    if site.env.contains(&name) { format!("{name}_VALUE") } else { name }
}

/// Programs whose flags take code.
const INTERPRETERS: [&str; 18] = [
    "sh",
    "bash",
    "dash",
    "ash",
    "zsh",
    "ksh",
    "fish",
    "python",
    "python3",
    "perl",
    "ruby",
    "node",
    "php",
    "lua",
    "pwsh",
    "powershell",
    "cmd",
    "su",
];
const CODE_FLAGS: [&str; 9] =
    ["--command", "--eval", "--execute", "-command", "-encodedcommand", "--print", "-pe", "/c", "/k"];

/// `run` as a list: whole items may be expressions, but not code.
fn argv_of(step: &mut Lowering<'_, '_, '_>, argv: &[Value], site: &Site<'_>) -> Template {
    let base = step.at("run");
    let (mut interpreter, mut code_next) = (false, false);
    let mut items = Vec::with_capacity(argv.len());
    for (index, argument) in argv.iter().enumerate() {
        let at = item(&base, index);
        let text = argument.as_str().unwrap_or_default();
        let is_expression = template::has_expression(text);
        if is_expression && (code_next || is_mixed(text)) {
            let message = if code_next {
                "an expression after this flag would be run as code"
            } else {
                "an item of `run` is either an expression as a whole or has none"
            };
            let help = "pass the value through `env`, or as an item of its own";
            step.report.value(Code::ExpressionInRun, &at, message, Some(help.to_owned()));
        }
        items.push(expressions::lower(argument, &at, site, &mut step.uses, step.report));
        code_next = interpreter && !is_expression && takes_code(text);
        let program = text.rsplit(['/', '\\']).next().unwrap_or_default();
        interpreter |= INTERPRETERS.contains(&program.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.'))
            || INTERPRETERS.contains(&program);
    }
    match items
        .iter()
        .map(|item| if let Template::Literal(value) = item { Some(value.clone()) } else { None })
        .collect()
    {
        Some(literals) => Template::Literal(json!({"argv": Value::Array(literals)})),
        None => Template::Map(vec![("argv".to_owned(), Template::List(items))]),
    }
}

fn is_mixed(text: &str) -> bool {
    !matches!(template::pieces(text).as_deref(), Ok([Piece::Expression { .. }]) | Err(_))
}

/// `-c`, `-e`, `-r` and combinations such as `-lc`.
fn takes_code(flag: &str) -> bool {
    let short = flag.strip_prefix('-').is_some_and(|letters| {
        letters.len() <= 4
            && letters.bytes().all(|b| b.is_ascii_alphabetic())
            && letters.ends_with(['c', 'e', 'E', 'r', 'p'])
    });
    short || CODE_FLAGS.contains(&flag.to_ascii_lowercase().as_str())
}

/// The action of a name.
fn known<'c>(step: &mut Lowering<'c, '_, '_>, name: &str) -> Option<&'c Action> {
    let at = step.at("uses");
    if name == "run" {
        step.report.value(
            Code::UnknownAction,
            &at,
            "`run` is a key of its own",
            Some("write `run:` instead of `uses:`".to_owned()),
        );
        return None;
    }
    if let Some(action) = step.actions.catalog.get(name) {
        return Some(action);
    }
    if unavailable::is_planned_action(name) {
        let message = format!("the action `{name}` is valid, but not available in this build");
        step.report.value(Code::NotAvailable, &at, message, None);
        return None;
    }
    let names: Vec<&str> =
        step.actions.catalog.iter().map(|action| action.name).filter(|name| *name != "run").collect();
    let help = suggestion(name, names.iter().copied());
    step.report.value(Code::UnknownAction, &at, format!("there is no action `{name}`"), help);
    None
}

fn uses(step: &mut Lowering<'_, '_, '_>, action: &Action, site: &Site<'_>) -> Lowered {
    let empty = Value::Object(Map::new());
    let given = step.map.get("with");
    let with = given.unwrap_or(&empty);
    let at = step.at("with");
    let literal = literal_part(with);
    check_with(step, action, with, given.is_some());
    let secrets = secrets_of(step, action, with, &at);
    let lowered = expressions::lower(with, &at, site, &mut step.uses, step.report);
    Lowered { name: action.name.to_owned(), with: lowered, effect: (action.effect)(&literal), secrets }
}

/// Checks `with` against the action's schema, except where expressions decide.
fn check_with(step: &mut Lowering<'_, '_, '_>, action: &Action, with: &Value, given: bool) {
    let mut expressions = Vec::new();
    pointers_of_expressions(with, String::new(), &mut expressions);
    let is_below = |below: &str, above: &str| {
        below.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let is_open = |violation: &Violation| {
        let pointer = &violation.pointer;
        expressions
            .iter()
            .any(|expression| is_below(pointer, expression) || (violation.combines && is_below(expression, pointer)))
    };
    if let Some(problem) = step.actions.broken.get(action.name) {
        let message = format!("the schema of `{}` is not usable: {problem}", action.name);
        let at = step.at("uses");
        step.report.value(Code::BadWith, &at, message, None);
    }
    let Some(checker) = step.actions.checkers.get(action.name) else { return };
    // Without `with` there is no such place in the file; the name of the action is the nearest.
    let base = if given { step.at("with") } else { step.at("uses") };
    for violation in checker.check(with).into_iter().filter(|violation| !is_open(violation)) {
        let message = match violation.code {
            Code::UnknownKey | Code::MissingKey => format!("{} of `{}`", violation.message, action.name),
            _ => violation.message.clone(),
        };
        step.report.violation(&base, Violation { message, ..violation }, Some(Code::BadWith));
    }
}

fn pointers_of_expressions(value: &Value, pointer: String, found: &mut Vec<String>) {
    match value {
        Value::String(text) if text.contains("${{") => found.push(pointer),
        Value::Array(items) => {
            items
                .iter()
                .enumerate()
                .for_each(|(index, value)| pointers_of_expressions(value, item(&pointer, index), found));
        }
        Value::Object(entries) => {
            entries.iter().for_each(|(key, value)| pointers_of_expressions(value, child(&pointer, key), found));
        }
        _ => {}
    }
}

/// The value with every string that holds an expression as null.
fn literal_part(value: &Value) -> Value {
    match value {
        Value::String(text) if template::has_expression(text) => Value::Null,
        Value::Array(items) => items.iter().map(literal_part).collect(),
        Value::Object(entries) => {
            Value::Object(entries.iter().map(|(key, value)| (key.clone(), literal_part(value))).collect())
        }
        other => other.clone(),
    }
}

/// The secrets that the action's secret fields name.
fn secrets_of(step: &mut Lowering<'_, '_, '_>, action: &Action, with: &Value, at: &str) -> Vec<String> {
    let mut secrets = Vec::new();
    for field in action.secret_fields {
        let pointer = child(at, field);
        let named: Vec<(String, &Value)> = match with.get(*field) {
            Some(Value::Object(entries)) => entries.iter().map(|(key, value)| (child(&pointer, key), value)).collect(),
            Some(value) => vec![(pointer, value)],
            None => Vec::new(),
        };
        for (pointer, value) in named {
            let Some(secret) = value.as_str() else { continue };
            if secret.contains("${{") {
                let message = "the name of a secret cannot be an expression";
                step.report.value(Code::MisplacedExpression, &pointer, message, None);
                continue;
            }
            step.check_secret(secret, &pointer);
            secrets.push(secret.to_owned());
        }
    }
    secrets
}
