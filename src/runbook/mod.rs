//! Floor 1: the runbook language, from YAML text to a [`Plan`].
//!
//! `source` reads YAML and keeps positions; `schema` checks it against `schemas/runbook.schema.json`;
//! `template` and `expr` are the expressions in it; `compile` lowers it to a step DAG and checks what a schema
//! cannot: names, cycles, expressions, types. `params` checks what a run is started with; `explain` is help on all
//! of it. Every problem of a file is reported as a `diagnostic`, with its position. Nothing here executes anything.

mod catalog;
mod compile;
pub mod diagnostic;
mod explain;
mod expr;
mod files;
pub mod params;
mod plan;
pub mod schema;
mod shipped;
mod source;
mod template;

pub use catalog::{Action, Catalog};
pub use compile::{Compiled, compile, compile_with_files, diagnose, name_of};
pub use diagnostic::{Code, Diagnostic, Severity, closest};
pub use explain::{UnknownPath, explain};
pub use expr::{Expr, ExprError, Mention, References, Scope, StatusFunction};
pub use files::{
    Beside, Bundle, BundleEntry, BundleFile, FilesProblem, Glob, MAX_BUNDLE_BYTES, MAX_BUNDLE_FILES, globs,
    is_bundle_path,
};
pub use plan::{
    Condition, Jitter, ParamSpec, Phase, Plan, PlannedStep, RetryOn, RetryPolicy, StepFolder, Template, TextPart,
    to_text,
};
pub use shipped::{SHIPPED, Shipped};
pub use source::Span;
