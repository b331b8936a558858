//! A compiled expression and its evaluation.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, LazyLock, Mutex, PoisonError},
};

use cel::{Context, IdedExpr, Value as CelValue};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use serde_json::Value;

use super::{References, Scope, StatusFunction, lookup, meter, parse, references, value};

/// A compiled expression. Serialised as its source.
#[derive(Clone)]
pub struct Expr {
    inner: Arc<Inner>,
}

struct Inner {
    source: Box<str>,
    code: Code,
    references: References,
}

enum Code {
    /// `a.b.c`: looked up in the JSON itself. Most expressions are of this kind.
    Path(Vec<String>),
    Tree(Box<Tree>),
}

struct Tree {
    /// As written, for messages.
    written: IdedExpr,
    /// As evaluated: see [`meter`].
    metered: IdedExpr,
    uses_fuel: bool,
    functions: Vec<StatusFunction>,
    inputs: references::Inputs,
}

/// An expression that does not parse, or whose evaluation failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ExprError {
    pub message: String,
    /// Byte offset into the expression, where it is known.
    pub offset: Option<usize>,
}

impl ExprError {
    pub(super) fn new(message: impl Into<String>) -> ExprError {
        ExprError { message: message.into(), offset: None }
    }

    pub(super) fn at(offset: usize, message: impl Into<String>) -> ExprError {
        ExprError { message: message.into(), offset: Some(offset) }
    }
}

/// Generated runbooks repeat their expressions; parsing is what costs. Emptied when full, so that it stays small.
static COMPILED: LazyLock<Mutex<HashMap<Box<str>, Expr>>> = LazyLock::new(Mutex::default);
const COMPILED_LIMIT: usize = 1_024;

impl Expr {
    /// Parses CEL. At most 4 KiB of source, 256 operators, brackets 24 deep and comprehensions two deep.
    pub fn compile(source: &str) -> Result<Expr, ExprError> {
        if let Some(path) = parse::plain_path(source) {
            return Expr::from_path(source, path);
        }
        if let Some(known) = COMPILED.lock().unwrap_or_else(PoisonError::into_inner).get(source) {
            return Ok(known.clone());
        }
        let expr = Expr::from_tree(source)?;
        let mut compiled = COMPILED.lock().unwrap_or_else(PoisonError::into_inner);
        if compiled.len() >= COMPILED_LIMIT {
            compiled.clear();
        }
        compiled.insert(source.into(), expr.clone());
        Ok(expr)
    }

    pub fn source(&self) -> &str {
        &self.inner.source
    }

    pub fn references(&self) -> &References {
        &self.inner.references
    }

    /// The value as JSON. Bounded in time and memory whatever the input: see [`meter::FUEL`].
    pub fn eval(&self, scope: &dyn Scope) -> Result<Value, ExprError> {
        match &self.inner.code {
            Code::Path(path) => lookup::resolve(scope, path).and_then(value::within_limit),
            Code::Tree(tree) => tree.eval(scope),
        }
    }

    fn from_path(source: &str, path: Vec<String>) -> Result<Expr, ExprError> {
        let offset = source.len() - source.trim_start().len();
        let references = References::of_path(&path, offset)?;
        Ok(Expr { inner: Arc::new(Inner { source: source.into(), code: Code::Path(path), references }) })
    }

    fn from_tree(source: &str) -> Result<Expr, ExprError> {
        let (written, positions) = parse::parse(source)?;
        let (references, inputs) = references::find(&written, &positions)?;
        let metered = meter::rewrite(&written, &positions)?;
        let tree =
            Tree { written, metered: metered.tree, uses_fuel: metered.uses_fuel, functions: metered.functions, inputs };
        let code = Code::Tree(Box::new(tree));
        let references = References { status_function: !metered_functions(&code).is_empty(), ..references };
        Ok(Expr { inner: Arc::new(Inner { source: source.into(), code, references }) })
    }
}

fn metered_functions(code: &Code) -> &[StatusFunction] {
    match code {
        Code::Path(_) => &[],
        Code::Tree(tree) => &tree.functions,
    }
}

impl Tree {
    fn eval(&self, scope: &dyn Scope) -> Result<Value, ExprError> {
        let inputs = self.inputs.fetch(scope);
        let fuel = meter::Fuel::full();
        let mut context = Context::with_env(meter::environment());
        for (name, input) in inputs.values() {
            context.add_variable_as_val(name, input?);
        }
        for (function, _, variable) in StatusFunction::NAMES {
            if self.functions.contains(&function) {
                context.add_variable_from_value(variable, scope.holds(function));
            }
        }
        if self.uses_fuel {
            context.add_variable_as_val(meter::VARIABLE, Box::new(fuel.clone()));
        }
        let result = CelValue::resolve_val(&self.metered, &context);
        // An error may have been swallowed by `||` or `exists`, so ask the tank.
        if fuel.is_empty() {
            return Err(ExprError::new("the expression takes too long: it looks at, copies or compares too much data"));
        }
        match result {
            Ok(found) => value::to_json(found.as_ref()),
            Err(error) => Err(lookup::explain(&error, &self.written, scope)),
        }
    }
}

impl PartialEq for Expr {
    fn eq(&self, other: &Expr) -> bool {
        self.source() == other.source()
    }
}

impl fmt::Debug for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Expr({})", self.source())
    }
}

impl Serialize for Expr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.source())
    }
}

impl<'de> Deserialize<'de> for Expr {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Expr::compile(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}
