//! Fuel. The tree is rewritten so that evaluation pays for what can become large.
//!
//! | written | evaluated |
//! |---|---|
//! | `list.map(x, …)` | the list is `@charge(list, weight, @fuel)`: length × nodes of the body, paid in advance |
//! | `a + b`, `[a]`, `{k: a}` | operands that are not literals are `@weigh(a, …, @fuel)`: what is copied |
//! | `a == b`, `f(a)` inside of a loop | operands weighed: what is compared or read again and again |
//! | `a.matches(b)` | `@matches(a, b, @fuel)`: a regular expression of bounded size |
//! | `success()` | `@success` |
//!
//! `@charge` also turns maps into the sorted list of their keys, so that loops over a map have one order.

use std::sync::{
    Arc, LazyLock,
    atomic::{AtomicU64, Ordering},
};

use cel::{
    Env, ExecutionError, IdedExpr,
    common::{
        ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, ListExpr, LiteralValue, MapExpr, SelectExpr, operators},
        types::{CelBool, CelBytes, CelInt, CelList, CelMap, CelMapKey, CelOptional, CelString, DYN_TYPE, Type},
        value::{CowVal, StaticVal, Val},
    },
};
use regex::RegexBuilder;

use super::{ExprError, StatusFunction, parse};
use crate::runbook::diagnostic::closest;

/// Units that one evaluation may use; about 100 ms and 16 MiB at the worst. A unit is a node of a loop's body, a
/// scalar or 16 bytes of text.
pub(super) const FUEL: u64 = 1_000_000;
/// The variable that holds the tank. No CEL source can name it, because of the `@`.
pub(super) const VARIABLE: &str = "@fuel";

const CHARGE: &str = "@charge";
const WEIGH: &str = "@weigh";
const GLANCE: &str = "@glance";
const MATCHES: &str = "@matches";

/// Comprehensions inside of the bodies of comprehensions.
const MAX_LOOPS: usize = 2;
/// What a regular expression may occupy when it is compiled, and what compiling it costs.
const REGEX_BYTES: usize = 64 * 1024;
const REGEX_FUEL: u64 = 500;

/// The standard functions, and those of the rewritten trees.
pub(super) fn environment() -> Arc<Env> {
    static ENVIRONMENT: LazyLock<Arc<Env>> = LazyLock::new(|| {
        let mut env = Env::stdlib();
        let dynamic = |n| std::iter::repeat_with(|| DYN_TYPE).take(n).collect();
        // The names are ours alone (`@`), so that no declaration can conflict; were one to, evaluation would say
        // that the function is not known.
        let _ = env.add_overload(CHARGE, "charge", dynamic(3), charge);
        let _ = env.add_overload(WEIGH, "weigh", dynamic(3), weigh);
        let _ = env.add_overload(GLANCE, "glance", dynamic(2), glance);
        let _ = env.add_overload(MATCHES, "matches", dynamic(3), matches);
        Arc::new(env)
    });
    Arc::clone(&ENVIRONMENT)
}

/// The tank of one evaluation.
#[derive(Debug, Clone)]
pub(super) struct Fuel(Arc<AtomicU64>);

impl Fuel {
    pub(super) fn full() -> Fuel {
        Fuel(Arc::new(AtomicU64::new(FUEL)))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }

    /// Takes units; an empty tank stays empty. An empty one does not even measure: errors may be swallowed by `||`
    /// and `exists`, and then the next turn asks again.
    fn take(&self, units: impl FnOnce() -> u64) -> Result<(), ExecutionError> {
        let left = self.0.load(Ordering::Relaxed);
        let left = if left == 0 { 0 } else { left.saturating_sub(units()) };
        self.0.store(left, Ordering::Relaxed);
        if left == 0 { Err(ExecutionError::function_error("expression", "takes too long")) } else { Ok(()) }
    }
}

impl Val for Fuel {
    fn get_type(&self) -> &Type {
        <Self as Val>::cel_type()
    }

    fn cel_type() -> &'static Type {
        static FUEL_TYPE: Type = Type::new_unspecified_type("fuel");
        &FUEL_TYPE
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v> {
        Box::new(self.clone())
    }

    fn as_any(&self) -> Option<&dyn std::any::Any> {
        Some(self)
    }
}

impl StaticVal for Fuel {}

/// A rewritten tree.
pub(super) struct Metered {
    pub(super) tree: IdedExpr,
    pub(super) uses_fuel: bool,
    pub(super) functions: Vec<StatusFunction>,
}

/// Rewrites a tree, and checks the names of functions and the nesting of loops on the way.
pub(super) fn rewrite(tree: &IdedExpr, source: &str) -> Result<Metered, ExprError> {
    let mut rewriter = Rewriter { source, uses_fuel: false, functions: Vec::new(), loops: 0 };
    let tree = rewriter.node(tree)?;
    Ok(Metered { tree, uses_fuel: rewriter.uses_fuel, functions: rewriter.functions })
}

struct Rewriter<'a> {
    source: &'a str,
    uses_fuel: bool,
    functions: Vec<StatusFunction>,
    /// Bodies around the node at hand.
    loops: usize,
}

/// How an operand is paid for.
#[derive(Clone, Copy)]
enum Price {
    /// Everything inside: it is copied.
    Copied,
    /// An eighth of it: it is compared.
    Compared,
    /// The text itself: it is read.
    Read,
    Free,
}

impl Rewriter<'_> {
    fn node(&mut self, node: &IdedExpr) -> Result<IdedExpr, ExprError> {
        let expr = match &node.expr {
            Expr::Call(call) => return self.call(node, call),
            Expr::Comprehension(comprehension) => self.comprehension(comprehension)?,
            Expr::List(list) => {
                let elements =
                    list.elements.iter().map(|item| self.priced(item, Price::Copied)).collect::<Result<_, _>>()?;
                Expr::List(ListExpr::new_with_optionals(elements, list.optional_indices.clone()))
            }
            Expr::Map(map) => self.map(map)?,
            Expr::Select(select) => Expr::Select(SelectExpr {
                operand: Box::new(self.node(&select.operand)?),
                field: select.field.clone(),
                test: select.test,
            }),
            other => other.clone(),
        };
        Ok(IdedExpr { id: node.id, expr })
    }

    fn map(&mut self, map: &MapExpr) -> Result<Expr, ExprError> {
        let mut map = map.clone();
        for entry in &mut map.entries {
            if let EntryExpr::MapEntry(entry) = &mut entry.expr {
                entry.key = self.priced(&entry.key, Price::Copied)?;
                entry.value = self.priced(&entry.value, Price::Copied)?;
            }
        }
        Ok(Expr::Map(map))
    }

    fn comprehension(&mut self, c: &ComprehensionExpr) -> Result<Expr, ExprError> {
        if self.loops == MAX_LOOPS {
            return Err(ExprError::new(format!("comprehensions nest deeper than {MAX_LOOPS}")));
        }
        let weight = count(&c.loop_step) + count(&c.loop_cond);
        let range = self.node(&c.iter_range)?;
        let weight = literal_int(i64::try_from(weight).unwrap_or(i64::MAX));
        let iter_range = self.paid(CHARGE, vec![range, weight]);
        self.loops += 1;
        let loop_step = self.node(&c.loop_step)?;
        self.loops -= 1;
        Ok(Expr::Comprehension(Box::new(ComprehensionExpr { iter_range, loop_step, ..c.clone() })))
    }

    fn call(&mut self, node: &IdedExpr, call: &CallExpr) -> Result<IdedExpr, ExprError> {
        if let Some(variable) = self.status_function(call)? {
            return Ok(IdedExpr { id: node.id, expr: Expr::Ident(variable.to_owned()) });
        }
        self.check_name(call)?;
        if call.func_name == "matches" {
            return self.matches(call);
        }
        let price = self.price(call);
        // `f` of a namespace (`optional.of`) has no operand before the dot.
        let target = match &call.target {
            Some(target) if is_namespace(target) => Some(target.clone()),
            Some(target) => Some(Box::new(self.priced(target, price)?)),
            None => None,
        };
        let args = call.args.iter().map(|arg| self.priced(arg, price)).collect::<Result<_, _>>()?;
        let expr = Expr::Call(CallExpr { func_name: call.func_name.clone(), target, args });
        let rewritten = IdedExpr { id: node.id, expr };
        let copies = [operators::OPT_INDEX, operators::OPT_SELECT].contains(&call.func_name.as_str());
        Ok(if copies && self.loops > 0 { self.weighed(rewritten, Price::Copied) } else { rewritten })
    }

    fn price(&self, call: &CallExpr) -> Price {
        match call.func_name.as_str() {
            // The accumulator of a `map` or `filter`: the evaluator appends in place and knows it by its form.
            operators::ADD if matches!(&call.args[0].expr, Expr::Ident(name) if name.starts_with('@')) => Price::Free,
            operators::ADD | "of" | "ofNonZeroValue" => Price::Copied,
            operators::CONDITIONAL | operators::LOGICAL_AND | operators::LOGICAL_OR | operators::LOGICAL_NOT => {
                Price::Free
            }
            operators::INDEX | operators::OPT_INDEX | operators::OPT_SELECT | operators::NOT_STRICTLY_FALSE => {
                Price::Free
            }
            _ if self.loops == 0 => Price::Free,
            operators::EQUALS | operators::NOT_EQUALS | operators::IN => Price::Compared,
            _ => Price::Read,
        }
    }

    fn matches(&mut self, call: &CallExpr) -> Result<IdedExpr, ExprError> {
        let operands: Vec<&IdedExpr> = call.target.as_deref().into_iter().chain(&call.args).collect();
        if let Some(Expr::Literal(LiteralValue::String(pattern))) = operands.get(1).map(|pattern| &pattern.expr)
            && let Err(error) = RegexBuilder::new(pattern.inner()).size_limit(REGEX_BYTES).build()
        {
            return Err(self.error("matches", format!("the pattern is not usable: {}", regex_problem(&error))));
        }
        let operands = operands.into_iter().map(|operand| self.node(operand)).collect::<Result<_, _>>()?;
        Ok(self.paid(MATCHES, operands))
    }

    fn status_function(&mut self, call: &CallExpr) -> Result<Option<&'static str>, ExprError> {
        let known = StatusFunction::NAMES.into_iter().find(|(_, name, _)| *name == call.func_name);
        let Some((function, name, variable)) = known.filter(|_| call.target.is_none()) else {
            return Ok(None);
        };
        if !call.args.is_empty() {
            return Err(self.error(name, format!("`{name}()` takes no arguments")));
        }
        if !self.functions.contains(&function) {
            self.functions.push(function);
        }
        Ok(Some(variable))
    }

    fn check_name(&self, call: &CallExpr) -> Result<(), ExprError> {
        let name = call.func_name.as_str();
        if !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
            return Ok(());
        }
        let arity = call.args.len() + usize::from(call.target.as_ref().is_some_and(|target| !is_namespace(target)));
        match FUNCTIONS.iter().find(|(known, _)| *known == name) {
            Some((_, arities)) if arities.contains(&arity) => Ok(()),
            Some(_) => Err(self.error(name, format!("`{name}` does not take this number of arguments"))),
            None => {
                let names =
                    FUNCTIONS.iter().map(|(known, _)| *known).chain(StatusFunction::NAMES.map(|(_, name, _)| name));
                let hint = closest(name, names.chain(MACROS)).map(|close| format!("; did you mean `{close}`?"));
                Err(self.error(name, format!("there is no function `{name}`{}", hint.unwrap_or_default())))
            }
        }
    }

    fn priced(&mut self, node: &IdedExpr, price: Price) -> Result<IdedExpr, ExprError> {
        let rewritten = self.node(node)?;
        Ok(self.weighed(rewritten, price))
    }

    fn weighed(&mut self, node: IdedExpr, price: Price) -> IdedExpr {
        match (price, &node.expr) {
            (Price::Free, _) | (_, Expr::Literal(_)) => node,
            (Price::Copied, _) => self.paid(WEIGH, vec![node, literal_int(1)]),
            (Price::Compared, _) => self.paid(WEIGH, vec![node, literal_int(8)]),
            (Price::Read, _) => self.paid(GLANCE, vec![node]),
        }
    }

    fn paid(&mut self, function: &str, mut args: Vec<IdedExpr>) -> IdedExpr {
        self.uses_fuel = true;
        args.push(IdedExpr { id: 0, expr: Expr::Ident(VARIABLE.to_owned()) });
        IdedExpr { id: 0, expr: Expr::Call(CallExpr { func_name: function.to_owned(), target: None, args }) }
    }

    fn error(&self, function: &str, message: String) -> ExprError {
        ExprError { message, offset: parse::position_of_call(self.source, function) }
    }
}

/// The functions of the environment and how many operands they take, the one before the dot included.
const FUNCTIONS: [(&str, &[usize]); 33] = [
    ("size", &[1]),
    ("contains", &[2]),
    ("startsWith", &[2]),
    ("endsWith", &[2]),
    ("matches", &[2]),
    ("string", &[1]),
    ("int", &[1]),
    ("uint", &[1]),
    ("double", &[1]),
    ("bool", &[1]),
    ("bytes", &[1]),
    ("dyn", &[1]),
    ("type", &[1]),
    ("duration", &[1]),
    ("timestamp", &[1]),
    ("getFullYear", &[1, 2]),
    ("getMonth", &[1, 2]),
    ("getDate", &[1, 2]),
    ("getDayOfMonth", &[1, 2]),
    ("getDayOfWeek", &[1, 2]),
    ("getDayOfYear", &[1, 2]),
    ("getHours", &[1, 2]),
    ("getMinutes", &[1, 2]),
    ("getSeconds", &[1, 2]),
    ("getMilliseconds", &[1, 2]),
    ("of", &[1]),
    ("none", &[0]),
    ("ofNonZeroValue", &[1]),
    ("value", &[1]),
    ("hasValue", &[1]),
    ("or", &[2]),
    ("orValue", &[2]),
    ("in", &[2]),
];

const MACROS: [&str; 6] = ["has", "all", "exists", "exists_one", "map", "filter"];

fn is_namespace(target: &IdedExpr) -> bool {
    matches!(&target.expr, Expr::Ident(name) if name == "optional")
}

fn literal_int(int: i64) -> IdedExpr {
    IdedExpr { id: 0, expr: Expr::Literal(LiteralValue::Int(CelInt::from(int))) }
}

fn count(tree: &IdedExpr) -> usize {
    1 + parse::children(tree).into_iter().map(count).sum::<usize>()
}

/// `(range, weight, fuel)`: pays for a loop.
fn charge<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let [range, weight, fuel] = three(args)?;
    let weight = weight.downcast_ref::<CelInt>().and_then(|int| u64::try_from(*int.inner()).ok()).unwrap_or(1);
    let length = range.as_sizer().map_or(0, |sizer| u64::try_from(*sizer.size().inner()).unwrap_or(0));
    // Each item is copied into the loop's variable.
    pay(fuel.as_ref(), || length.saturating_mul(weight).saturating_add(units(range.as_ref())))?;
    Ok(match range.downcast_ref::<CelMap>() {
        Some(map) => {
            let mut keys: Vec<&CelMapKey<'v>> = map.inner().keys().collect();
            keys.sort();
            CowVal::owned(CelList::from(keys.into_iter().map(key_value).collect::<Vec<_>>()))
        }
        None => range,
    })
}

/// `(value, divisor, fuel)`: pays for everything inside of the value.
fn weigh<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let [value, divisor, fuel] = three(args)?;
    let divisor = divisor.downcast_ref::<CelInt>().and_then(|int| u64::try_from(*int.inner()).ok()).unwrap_or(1);
    pay(fuel.as_ref(), || 1 + units(value.as_ref()) / divisor.max(1))?;
    Ok(value)
}

/// `(value, fuel)`: pays for the text, where the value is one.
fn glance<'b, 'v>(mut args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let (Some(fuel), Some(value)) = (args.pop(), args.pop()) else {
        return Err(ExecutionError::MissingArgumentOrTarget);
    };
    pay(fuel.as_ref(), || text_units(value.as_ref()).unwrap_or(1))?;
    Ok(value)
}

/// `(text, pattern, fuel)`: whether the pattern is found in the text.
fn matches<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let [text, pattern, fuel] = three(args)?;
    let (Some(text), Some(pattern)) = (text.downcast_ref::<CelString>(), pattern.downcast_ref::<CelString>()) else {
        let types = [&text, &pattern].map(|operand| operand.get_type().name().to_owned());
        return Err(ExecutionError::no_such_overload("matches", types.to_vec()));
    };
    pay(fuel.as_ref(), || REGEX_FUEL + units(text) + units(pattern))?;
    let regex = RegexBuilder::new(pattern.inner()).size_limit(REGEX_BYTES).build();
    let regex = regex.map_err(|error| ExecutionError::function_error("matches", regex_problem(&error)))?;
    Ok(CowVal::owned(CelBool::from(regex.is_match(text.inner()))))
}

/// The last line of the message; those before it draw the pattern.
fn regex_problem(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default();
    last.strip_prefix("error: ").unwrap_or(last).to_owned()
}

fn three<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<[CowVal<'b, 'v>; 3], ExecutionError> {
    args.try_into().map_err(|_| ExecutionError::MissingArgumentOrTarget)
}

fn pay(fuel: &dyn Val, units: impl FnOnce() -> u64) -> Result<(), ExecutionError> {
    fuel.downcast_ref::<Fuel>().ok_or(ExecutionError::MissingArgumentOrTarget)?.take(units)
}

fn text_units(value: &dyn Val) -> Option<u64> {
    let bytes = match value.downcast_ref::<CelString>() {
        Some(text) => text.inner().len(),
        None => value.downcast_ref::<CelBytes>()?.inner().len(),
    };
    Some(1 + bytes as u64 / 16)
}

fn units(value: &dyn Val) -> u64 {
    if let Some(list) = value.downcast_ref::<CelList>() {
        1 + list.inner().iter().map(|item| units(item.as_ref())).sum::<u64>()
    } else if let Some(map) = value.downcast_ref::<CelMap>() {
        1 + map.inner().values().map(|item| 2 + units(item.as_ref())).sum::<u64>()
    } else if let Some(inner) = value.downcast_ref::<CelOptional>().and_then(CelOptional::option) {
        1 + units(inner)
    } else {
        text_units(value).unwrap_or(1)
    }
}

fn key_value<'v>(key: &CelMapKey<'v>) -> Box<dyn Val + 'v> {
    match key {
        CelMapKey::String(text) => Box::new(text.clone()),
        CelMapKey::Int(int) => Box::new(*int),
        CelMapKey::UInt(uint) => Box::new(*uint),
        CelMapKey::Bool(bool) => Box::new(*bool),
    }
}
