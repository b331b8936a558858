//! Expressions: CEL, evaluated over JSON.
//!
//! `parse` bounds the text and parses it; `references` finds what an expression looks at; `meter` rewrites the
//! tree so that evaluation pays, from its `fuel`, for what it copies, compares and repeats; `value` converts between JSON and CEL;
//! `lookup` evaluates plain paths without CEL and explains a failed one. The crate `cel` has no fuel of its own,
//! and its parser and evaluator recurse on the machine's stack, hence the bounds.

mod expression;
mod fuel;
mod lookup;
mod meter;
mod parse;
mod references;
mod value;

#[cfg(test)]
mod tests;

use serde_json::Value;

pub use expression::{Expr, ExprError};
pub use parse::is_reserved_word;
pub use references::{Mention, References};

/// What an expression may look at when it is evaluated.
pub trait Scope {
    /// The value of a root other than `steps` (`params`, `env`, `run`, `result`, …); `None` where it does not exist.
    fn root(&self, name: &str) -> Option<Value>;

    /// `{outputs, status, result}` of a step.
    fn step(&self, id: &str) -> Option<Value>;

    /// Whether a status function holds here.
    fn holds(&self, function: StatusFunction) -> bool;
}

/// `success()`, `failure()`, `cancelled()`, `always()`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatusFunction {
    Success,
    Failure,
    Cancelled,
    Always,
}

impl StatusFunction {
    /// The name as an expression writes it, and the variable that its calls are rewritten to. No CEL source
    /// can name the variable, because of the `@`.
    const NAMES: [(StatusFunction, &'static str, &'static str); 4] = [
        (StatusFunction::Success, "success", "@success"),
        (StatusFunction::Failure, "failure", "@failure"),
        (StatusFunction::Cancelled, "cancelled", "@cancelled"),
        (StatusFunction::Always, "always", "@always"),
    ];
}
