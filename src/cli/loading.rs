//! From a file on disk to a compiled runbook with bound params.

use std::{
    collections::BTreeMap,
    io::Read as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_json::{Map, Value, json};

use super::{
    fault::{Fault, exit},
    out::Out,
};
use crate::{
    actions,
    control::StoredVersion,
    runbook::{
        self, Beside, Bundle, Compiled, Diagnostic, ParamSpec, Plan, diagnostic,
        params::{self, ParamProblem},
    },
    system::gather,
};

/// Larger files are not even read; the compiler's own limit is 1 MiB.
const MAX_FILE: u64 = 2 << 20;

/// A runbook file that compiled.
#[derive(Debug)]
pub struct Loaded {
    pub plan: Arc<Plan>,
    pub source: Arc<str>,
    /// The files that belong to it.
    pub bundle: Bundle,
    /// Of a stored runbook; its files are stored already.
    pub version: Option<StoredVersion>,
}

/// A runbook file as it was read.
#[derive(Debug)]
pub struct SourceFile {
    /// What diagnostics call it.
    pub name: String,
    pub text: String,
    /// What `files:` finds beside it.
    pub beside: Beside,
}

/// The params options of `run` and `plan`.
#[derive(Debug, Clone, clap::Args)]
pub struct ParamOptions {
    /// A param of the runbook. Text for a string param, JSON for all others
    #[arg(short, long = "param", value_name = "NAME=VALUE")]
    pub param: Vec<String>,
    /// A JSON or YAML file with a map of params; `-p` wins
    #[arg(long, value_name = "FILE")]
    pub params_file: Option<PathBuf>,
}

/// Reads a file; `-` is standard input.
pub fn read(path: &Path) -> Result<SourceFile, Fault> {
    let name = if path == Path::new("-") { "<stdin>".to_owned() } else { path.display().to_string() };
    let unreadable = |error: &dyn std::fmt::Display| {
        Fault::refused("FILE_UNREADABLE", format!("`{name}`: {error}")).help("give the path of a runbook file")
    };
    let mut bytes = Vec::new();
    let read = if path == Path::new("-") {
        std::io::stdin().lock().take(MAX_FILE).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(MAX_FILE).read_to_end(&mut bytes))
    };
    read.map_err(|error| unreadable(&error))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let line = error.as_bytes()[..error.utf8_error().valid_up_to()].split(|byte| *byte == b'\n').count();
        unreadable(&format!("line {line} is not UTF-8"))
    })?;
    let beside = match path.parent().filter(|_| path != Path::new("-")) {
        // The parent of a bare name is empty.
        Some(folder) => gather(&Path::new(".").join(folder), &runbook::globs(&text)),
        None => Beside::default(),
    };
    Ok(SourceFile { name, text, beside })
}

/// Compiles a file with the files that belong to it.
pub fn compile(file: &SourceFile) -> Result<Compiled, Vec<Diagnostic>> {
    runbook::compile_with_files(&file.name, &file.text, &actions::catalog(), &file.beside)
}

/// Reads and compiles a runbook. Problems go to standard error in the form that people read, and into the
/// fault for programs.
pub fn load(path: &Path, out: &Out) -> Result<Loaded, Fault> {
    load_file(read(path)?, out)
}

/// Compiles a text that has no files beside it.
pub fn load_text(name: &str, text: &str, out: &Out) -> Result<Loaded, Fault> {
    load_file(SourceFile { name: name.to_owned(), text: text.to_owned(), beside: Beside::default() }, out)
}

fn load_file(file: SourceFile, out: &Out) -> Result<Loaded, Fault> {
    let compiled = compile(&file).map_err(|problems| invalid(&problems, &file.text))?;
    let SourceFile { text, beside, .. } = file;
    if !compiled.warnings.is_empty() {
        out.message(diagnostic::to_text(&compiled.warnings, &text, Out::is_stderr_coloured()));
    }
    Ok(Loaded { plan: Arc::new(compiled.plan), source: text.into(), bundle: beside.bundle, version: None })
}

fn invalid(problems: &[Diagnostic], text: &str) -> Fault {
    let count = problems.iter().filter(|problem| problem.severity == runbook::Severity::Error).count();
    let what = if count == 1 { "1 problem".to_owned() } else { format!("{count} problems") };
    let fault = Fault::refused("RUNBOOK_INVALID", format!("the runbook has {what}; nothing was done"));
    Fault {
        rendered: Some(diagnostic::to_text(problems, text, Out::is_stderr_coloured())),
        exit: exit::REFUSED,
        ..fault
    }
    .detail("diagnostics", diagnostic::to_json(problems))
}

impl ParamOptions {
    pub fn is_empty(&self) -> bool {
        self.param.is_empty() && self.params_file.is_none()
    }
}

/// The params that the options give, as the runbook declares them; nothing else is checked.
pub fn given(specs: &[ParamSpec], options: &ParamOptions) -> Result<Map<String, Value>, Fault> {
    let (given, problems) = read_params(specs, options)?;
    if problems.is_empty() { Ok(given) } else { Err(bad_params(specs, &problems)) }
}

/// Binds the params that the options give to those that the runbook declares.
pub fn bind(plan: &Plan, options: &ParamOptions) -> Result<Map<String, Value>, Fault> {
    let (given, mut problems) = read_params(&plan.params, options)?;
    // A param whose text could not be read is not missing as well.
    let unread: Vec<String> = problems.iter().map(|problem| problem.param.clone()).collect();
    match params::bind(&plan.params, given) {
        Ok(bound) if problems.is_empty() => return Ok(bound),
        Ok(_) => {}
        Err(more) => problems.extend(more.into_iter().filter(|problem| !unread.contains(&problem.param))),
    }
    Err(bad_params(&plan.params, &problems))
}

fn read_params(specs: &[ParamSpec], options: &ParamOptions) -> Result<(Map<String, Value>, Vec<ParamProblem>), Fault> {
    let mut given = match &options.params_file {
        Some(path) => params_file(path)?,
        None => Map::new(),
    };
    let specs: BTreeMap<&str, &ParamSpec> = specs.iter().map(|spec| (spec.name.as_str(), spec)).collect();
    let mut problems = Vec::new();
    for option in &options.param {
        let (name, text) = option.split_once('=').ok_or_else(|| {
            Fault::refused("BAD_PARAM", format!("`-p {option}` has no value"))
                .help(format!("write `-p {option}=VALUE`"))
        })?;
        let value = match specs.get(name) {
            Some(spec) => params::from_text(spec, text),
            // Binding says that there is no such param.
            None => Ok(Value::String(text.to_owned())),
        };
        match value {
            Ok(value) => drop(given.insert(name.to_owned(), value)),
            Err(problem) => problems.push(problem),
        }
    }
    Ok((given, problems))
}

fn bad_params(specs: &[ParamSpec], problems: &[ParamProblem]) -> Fault {
    let message = problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n  ");
    let message =
        if problems.len() == 1 { message } else { format!("{} params are wrong:\n  {message}", problems.len()) };
    Fault::refused("BAD_PARAM", message).help(declared(specs)).detail("params", json!(problems))
}

fn declared(specs: &[ParamSpec]) -> String {
    if specs.is_empty() {
        return "the runbook takes no params".to_owned();
    }
    let one = |spec: &ParamSpec| match &spec.default {
        Some(default) => format!("{} (default {default})", spec.name),
        None if spec.required => format!("{} (required)", spec.name),
        None => spec.name.clone(),
    };
    format!("the runbook takes {}", specs.iter().map(one).collect::<Vec<_>>().join(", "))
}

fn params_file(path: &Path) -> Result<Map<String, Value>, Fault> {
    let SourceFile { name, text, .. } = read(path)?;
    let wrong = |why: String| {
        Fault::refused("BAD_PARAMS_FILE", format!("`{name}`: {why}")).help("it holds one JSON or YAML map of params")
    };
    let value: Value = serde_saphyr::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    match value {
        Value::Object(map) => Ok(map),
        Value::Null => Ok(Map::new()),
        _ => Err(wrong("it is not a map".to_owned())),
    }
}
