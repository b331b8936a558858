//! A compiled expression and its evaluation.

use std::{
    collections::HashMap,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, LazyLock, Mutex, PoisonError},
};

use cel::{Context, ExecutionError, IdedExpr, Value as CelValue};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use serde_json::Value;

use super::{References, Scope, StatusFunction, fuel, lookup, meter, parse, references, value};

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
    levels: usize,
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

    /// What the expression is ("a string"), where it can be seen to be neither true nor false.
    pub fn never_bool(&self) -> Option<&'static str> {
        match &self.inner.code {
            Code::Path(_) => None,
            Code::Tree(tree) => references::never_bool(&tree.written),
        }
    }

    /// The value as JSON. Bounded in time and memory whatever the input: see [`fuel::FUEL`].
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
        let written = parse::parse(source)?;
        let (references, inputs) = references::find(&written, source)?;
        let metered = meter::rewrite(&written, source)?;
        let tree = Tree {
            levels: parse::depth(&metered.tree).unwrap_or(usize::MAX),
            written,
            metered: metered.tree,
            uses_fuel: metered.uses_fuel,
            functions: metered.functions,
            inputs,
        };
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

/// Levels that are evaluated on the stack of the caller. The evaluator takes up to 64 KiB for each.
const LEVELS_IN_PLACE: usize = 8;
/// Enough for the deepest tree: 48 levels, each with a level of fuel.
const STACK: usize = 16 * 1024 * 1024;

impl Tree {
    fn eval(&self, scope: &dyn Scope) -> Result<Value, ExprError> {
        let inputs = self.inputs.fetch(scope);
        let holds =
            StatusFunction::NAMES.map(|(function, ..)| self.functions.contains(&function) && scope.holds(function));
        let result = if self.levels <= LEVELS_IN_PLACE {
            self.run(&inputs, holds)
        } else {
            std::thread::scope(|threads| {
                let builder = std::thread::Builder::new().name("expression".to_owned()).stack_size(STACK);
                let thread = builder.spawn_scoped(threads, || self.run(&inputs, holds));
                let joined = thread
                    .map_err(|error| format!("no thread: {error}"))
                    .and_then(|thread| thread.join().map_err(|_| gave_up().message));
                joined.unwrap_or_else(|problem| Err(Stopped::Refused(ExprError::new(problem))))
            })
        };
        result.map_err(|stopped| match stopped {
            Stopped::Refused(error) => error,
            Stopped::Failed(error) => lookup::explain(&error, &self.written, scope),
        })
    }

    fn run(&self, inputs: &references::Fetched<'_>, holds: [bool; 4]) -> Result<Value, Stopped> {
        let tank = fuel::Fuel::full();
        let mut context = Context::with_env(fuel::environment());
        for (name, input) in inputs.values() {
            context.add_variable_as_val(name, input.map_err(Stopped::Refused)?);
        }
        for ((function, _, variable), holds) in StatusFunction::NAMES.into_iter().zip(holds) {
            if self.functions.contains(&function) {
                context.add_variable_from_value(variable, holds);
            }
        }
        if self.uses_fuel {
            context.add_variable_as_val(fuel::VARIABLE, Box::new(tank.clone()));
        }
        // The evaluator has its own invariants; should one break, it is this expression that fails and not the worker.
        let evaluation = AssertUnwindSafe(|| CelValue::resolve_val(&self.metered, &context));
        let result = catch_unwind(evaluation).map_err(|_| Stopped::Refused(gave_up()))?;
        // An error may have been swallowed by `||` or `exists`, so ask the tank.
        if tank.is_empty() {
            let message = "the expression takes too long: it looks at, copies or compares too much data";
            return Err(Stopped::Refused(ExprError::new(message)));
        }
        let found = result.map_err(|error| Stopped::Failed(Box::new(error)))?;
        value::to_json(found.as_ref()).map_err(Stopped::Refused)
    }
}

fn gave_up() -> ExprError {
    ExprError::new("the evaluator gave up on the expression")
}

/// Why an evaluation has no value.
enum Stopped {
    Refused(ExprError),
    /// To be explained with the scope at hand.
    Failed(Box<ExecutionError>),
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
