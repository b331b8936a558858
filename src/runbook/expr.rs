//! Expressions: CEL, evaluated over JSON.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use serde_json::Value;

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

/// A compiled expression. Serialised as its source.
#[derive(Clone)]
pub struct Expr {
    source: Arc<str>,
    program: Arc<cel::Program>,
    references: Arc<References>,
}

/// What an expression refers to, found by walking its syntax tree.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct References {
    /// Root identifiers other than `steps`, without those bound by comprehensions.
    pub roots: Vec<String>,
    /// Steps as in `steps.<id>`.
    pub steps: Vec<String>,
    /// Steps whose `.result` is read.
    pub results: Vec<String>,
    /// Whether a status function is called.
    pub status_function: bool,
}

/// An expression that does not parse, or whose evaluation failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ExprError {
    pub message: String,
    /// Byte offset into the expression, where it is known.
    pub offset: Option<usize>,
}

impl Expr {
    pub fn compile(source: &str) -> Result<Expr, ExprError> {
        let _ = source;
        todo!()
    }

    pub fn source(&self) -> &str {
        &self.source
    }

    pub fn references(&self) -> &References {
        &self.references
    }

    /// The value as JSON.
    pub fn eval(&self, scope: &dyn Scope) -> Result<Value, ExprError> {
        let _ = (scope, &self.program);
        todo!()
    }
}

impl PartialEq for Expr {
    fn eq(&self, other: &Expr) -> bool {
        self.source == other.source
    }
}

impl fmt::Debug for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Expr({})", self.source)
    }
}

impl Serialize for Expr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.source)
    }
}

impl<'de> Deserialize<'de> for Expr {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Expr::compile(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}
