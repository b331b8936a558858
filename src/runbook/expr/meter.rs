//! The tree is rewritten so that evaluation pays, from its fuel, for what can become large.
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

use cel::{
    IdedExpr,
    common::{
        ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, ListExpr, LiteralValue, MapExpr, SelectExpr, operators},
        types::CelInt,
    },
};

use super::{
    ExprError, StatusFunction,
    fuel::{self, CHARGE, GLANCE, MATCHES, VARIABLE, WEIGH},
    parse,
};
use crate::runbook::diagnostic::closest;

/// Comprehensions inside of the bodies of comprehensions.
const MAX_LOOPS: usize = 2;
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
            operators::CONDITIONAL
            | operators::LOGICAL_AND
            | operators::LOGICAL_OR
            | operators::LOGICAL_NOT
            | operators::INDEX
            | operators::OPT_INDEX
            | operators::OPT_SELECT
            | operators::NOT_STRICTLY_FALSE => Price::Free,
            _ if self.loops == 0 => Price::Free,
            operators::EQUALS | operators::NOT_EQUALS | operators::IN => Price::Compared,
            _ => Price::Read,
        }
    }

    fn matches(&mut self, call: &CallExpr) -> Result<IdedExpr, ExprError> {
        let operands: Vec<&IdedExpr> = call.target.as_deref().into_iter().chain(&call.args).collect();
        if let Some(Expr::Literal(LiteralValue::String(pattern))) = operands.get(1).map(|pattern| &pattern.expr)
            && let Err(problem) = fuel::check_pattern(pattern.inner())
        {
            return Err(self.error("matches", format!("the pattern is not usable: {problem}")));
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
const FUNCTIONS: [(&str, &[usize]); 32] = [
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
