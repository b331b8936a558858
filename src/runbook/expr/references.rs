//! What an expression refers to.

use cel::{
    IdedExpr,
    common::{
        ast::{Expr, LiteralValue, operators},
        value::Val,
    },
};
use serde_json::Value;

use super::{ExprError, Scope, parse, value};

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
    /// Every use of a root, in order.
    pub mentions: Vec<Mention>,
}

/// One use of a root: `params.hosts[0].name` mentions `params.hosts`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mention {
    /// The root and the fields whose names are known: `["steps", "build", "outputs"]`.
    pub path: Vec<String>,
    /// Byte offset of the root in the expression.
    pub offset: usize,
}

impl References {
    pub(super) fn of_path(path: &[String], offset: usize) -> Result<References, ExprError> {
        let mut references = References::default();
        references.add(path.to_vec(), offset)?;
        Ok(references)
    }

    fn add(&mut self, path: Vec<String>, offset: usize) -> Result<(), ExprError> {
        if path[0] == "steps" {
            let Some(step) = path.get(1) else {
                return Err(ExprError::at(
                    offset,
                    "`steps` is followed by the id of a step, as in `steps.build.outputs`",
                ));
            };
            push_once(&mut self.steps, step);
            // `steps.a` as a whole has the result in it too.
            if path.get(2).is_none_or(|field| field == "result") {
                push_once(&mut self.results, step);
            }
        } else {
            push_once(&mut self.roots, &path[0]);
        }
        self.mentions.push(Mention { path, offset });
        Ok(())
    }
}

fn push_once(names: &mut Vec<String>, name: &str) {
    if !names.iter().any(|known| known == name) {
        names.push(name.to_owned());
    }
}

/// Names that are types or namespaces of functions where they are not variables.
const BUILT_IN: [&str; 13] = [
    "bool",
    "int",
    "uint",
    "double",
    "string",
    "bytes",
    "list",
    "map",
    "null_type",
    "type",
    "optional_type",
    "optional",
    "base64",
];

/// Walks a tree. The second result says which parts of the roots have to be converted for an evaluation.
pub(super) fn find(tree: &IdedExpr, source: &str) -> Result<(References, Inputs), ExprError> {
    let mut walk = Walk { source, bound: Vec::new(), found: References::default() };
    walk.node(tree)?;
    let inputs = Inputs::of(&walk.found.mentions);
    Ok((walk.found, inputs))
}

struct Walk<'a> {
    source: &'a str,
    bound: Vec<&'a str>,
    found: References,
}

impl<'a> Walk<'a> {
    fn node(&mut self, tree: &'a IdedExpr) -> Result<(), ExprError> {
        if let Some(path) = chain(tree) {
            return self.mention(path);
        }
        match &tree.expr {
            Expr::Comprehension(c) => {
                self.node(&c.iter_range)?;
                self.node(&c.accu_init)?;
                let outer = self.bound.len();
                self.bound.extend([c.iter_var.as_str(), c.accu_var.as_str()]);
                self.bound.extend(c.iter_var2.as_deref());
                for part in [&c.loop_cond, &c.loop_step, &c.result] {
                    self.node(part)?;
                }
                self.bound.truncate(outer);
                Ok(())
            }
            Expr::Struct(object) => Err(ExprError {
                message: format!("`{}{{…}}` is not available: there are no message types", object.type_name),
                offset: parse::position_of_call(self.source, &object.type_name),
            }),
            _ => {
                // `params.list[params.index]`: the chain ended at the index, whose own names count too.
                parse::children(tree).into_iter().try_for_each(|child| self.node(child))
            }
        }
    }

    fn mention(&mut self, path: Vec<String>) -> Result<(), ExprError> {
        let name = path[0].as_str();
        if name.starts_with('@') || self.bound.contains(&name) || BUILT_IN.contains(&name) {
            return Ok(());
        }
        let offset = parse::position(self.source, &path).unwrap_or(0);
        if name.starts_with('.') {
            return Err(ExprError::at(offset, format!("`{name}` starts with a dot")));
        }
        self.found.add(path, offset)
    }
}

/// The names in `a.b["c"].d`; `None` where the node is anything else.
pub(super) fn chain(tree: &IdedExpr) -> Option<Vec<String>> {
    match &tree.expr {
        Expr::Ident(name) => Some(vec![name.clone()]),
        Expr::Select(select) => {
            let mut path = chain(&select.operand)?;
            path.push(select.field.clone());
            Some(path)
        }
        Expr::Call(call)
            if call.target.is_none()
                && [operators::INDEX, operators::OPT_INDEX, operators::OPT_SELECT]
                    .contains(&call.func_name.as_str()) =>
        {
            let [operand, key] = call.args.as_slice() else { return None };
            let Expr::Literal(LiteralValue::String(key)) = &key.expr else { return None };
            let mut path = chain(operand)?;
            path.push(key.inner().to_owned());
            Some(path)
        }
        _ => None,
    }
}

/// What a tree is, where it can be seen to be neither true nor false.
pub(super) fn never_bool(tree: &IdedExpr) -> Option<&'static str> {
    const ARITHMETIC: [&str; 6] = [
        operators::ADD,
        operators::SUBSTRACT,
        operators::MULTIPLY,
        operators::DIVIDE,
        operators::MODULO,
        operators::NEGATE,
    ];
    match &tree.expr {
        Expr::Literal(LiteralValue::Boolean(_)) => None,
        Expr::Literal(LiteralValue::String(_)) => Some("a string"),
        Expr::Literal(LiteralValue::Null) => Some("null"),
        Expr::Literal(LiteralValue::Bytes(_)) => Some("bytes"),
        Expr::Literal(_) => Some("a number"),
        Expr::List(_) => Some("a list"),
        Expr::Map(_) => Some("a map"),
        Expr::Call(call) if call.target.is_none() && ARITHMETIC.contains(&call.func_name.as_str()) => {
            Some("the result of arithmetic")
        }
        Expr::Call(call) => match call.func_name.as_str() {
            "size" | "int" | "double" | "uint" => Some("a number"),
            "string" => Some("a string"),
            _ => None,
        },
        _ => None,
    }
}

/// The parts of the roots that an expression looks at: only these are converted to CEL.
pub(super) struct Inputs {
    roots: Vec<Input>,
    steps: Vec<Input>,
}

struct Input {
    name: String,
    /// The fields that are read; `None` for the whole.
    fields: Option<Vec<String>>,
}

impl Inputs {
    fn of(mentions: &[Mention]) -> Inputs {
        let mut inputs = Inputs { roots: Vec::new(), steps: Vec::new() };
        for Mention { path, .. } in mentions {
            if path[0] == "steps" {
                note(&mut inputs.steps, &path[1..]);
            } else {
                note(&mut inputs.roots, path);
            }
        }
        inputs
    }

    /// The JSON of every input.
    pub(super) fn fetch(&self, scope: &dyn Scope) -> Fetched<'_> {
        let roots = self.roots.iter().filter_map(|input| Some((input, scope.root(&input.name)?))).collect();
        let steps = self.steps.iter().filter_map(|input| Some((input, scope.step(&input.name)?))).collect();
        Fetched { roots, steps, has_steps: !self.steps.is_empty() }
    }
}

fn note(inputs: &mut Vec<Input>, path: &[String]) {
    let field = path.get(1).cloned();
    match inputs.iter_mut().find(|input| input.name == path[0]) {
        Some(input) => match (field, &mut input.fields) {
            (Some(field), Some(fields)) => push_once(fields, &field),
            (_, fields) => *fields = None,
        },
        None => inputs.push(Input { name: path[0].clone(), fields: field.map(|field| vec![field]) }),
    }
}

/// The JSON that an evaluation borrows from.
pub(super) struct Fetched<'a> {
    roots: Vec<(&'a Input, Value)>,
    steps: Vec<(&'a Input, Value)>,
    has_steps: bool,
}

impl Fetched<'_> {
    /// The variables of the evaluation.
    pub(super) fn values(&self) -> impl Iterator<Item = (&str, Result<Box<dyn Val + '_>, ExprError>)> {
        let roots = self.roots.iter().map(|(input, json)| (input.name.as_str(), convert(input, json)));
        let steps = self.has_steps.then(|| {
            let entries = self.steps.iter().map(|(input, json)| Ok((input.name.as_str(), convert(input, json)?)));
            ("steps", entries.collect::<Result<Vec<_>, _>>().map(value::map))
        });
        roots.chain(steps)
    }
}

fn convert<'v>(input: &Input, json: &'v Value) -> Result<Box<dyn Val + 'v>, ExprError> {
    match (&input.fields, json) {
        (Some(fields), Value::Object(object)) => {
            let entries = fields.iter().filter_map(|field| object.get_key_value(field));
            let entries = entries.map(|(name, json)| Ok((name.as_str(), value::from_json(json)?)));
            Ok(value::map(entries.collect::<Result<Vec<_>, ExprError>>()?))
        }
        (_, json) => value::from_json(json),
    }
}
