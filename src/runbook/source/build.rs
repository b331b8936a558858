//! From the parser's events to JSON and marks, within the bounds.

use std::collections::HashMap;

use serde_json::{Map, Value};
use serde_saphyr::granit_parser::{self, Event, Options, Parser, ScalarStyle, Tag};

use super::{MAX_NESTING, MAX_NODES, Mark, Span, scalar};
use crate::runbook::diagnostic::Code;

/// Bytes of scalars after the expansion of aliases.
const MAX_TEXT: usize = 4 * super::MAX_BYTES;
/// After so many problems of one kind nobody reads on.
const MAX_PROBLEMS: usize = 200;

/// The result of reading: without a tree there is at least one problem.
pub(super) struct Built {
    pub(super) tree: Option<(Value, Mark)>,
    pub(super) problems: Vec<Problem>,
}

pub(super) struct Problem {
    pub(super) code: Code,
    pub(super) span: Span,
    pub(super) message: String,
    pub(super) help: Option<String>,
}

/// Reads one document.
pub(super) fn build(text: &str) -> Built {
    let mut options = Options::default();
    options.set_emit_comments(false);
    let mut builder = Builder {
        text,
        open: Vec::new(),
        root: None,
        documents: 0,
        anchors: HashMap::new(),
        nodes: 0,
        bytes: 0,
        problems: Vec::new(),
    };
    let mut parser = Parser::new_from_str_with_options(text, options);
    let end = loop {
        match parser.next_event() {
            None => break Ok(()),
            Some(Ok((event, span))) => {
                if let Err(stop) = builder.event(event, span) {
                    break Err(stop);
                }
            }
            Some(Err(error)) => {
                let at = byte_offset(text, error.marker());
                break Err(syntax_error(Span { start: at, end: at }, error.info()));
            }
        }
    };
    if let Err(stop) = end {
        builder.problems.push(stop);
        return Built { tree: None, problems: builder.problems };
    }
    if builder.root.is_none() {
        builder.problems.push(problem(Code::YamlSyntax, Span::default(), "the file is empty"));
    }
    Built { tree: builder.root.map(|node| (node.json, node.mark)), problems: builder.problems }
}

fn syntax_error(span: Span, message: String) -> Problem {
    // The parser has its own limits on nesting, for collections that have not begun for us.
    if message.contains("limit exceeded") {
        return too_deep(span);
    }
    problem(Code::YamlSyntax, span, message)
}

fn too_deep(span: Span) -> Problem {
    problem(Code::YamlTooDeep, span, format!("lists and maps nest deeper than {MAX_NESTING} levels"))
}

fn problem(code: Code, span: Span, message: impl Into<String>) -> Problem {
    Problem { code, span, message: message.into(), help: None }
}

/// A finished node and what it costs.
#[derive(Clone)]
struct Node {
    json: Value,
    mark: Mark,
    nodes: usize,
    bytes: usize,
}

/// A list or map whose end has not come yet.
struct Open {
    items: Items,
    marks: Vec<Mark>,
    start: usize,
    anchor: usize,
    nodes: usize,
    bytes: usize,
}

enum Items {
    List(Vec<Value>),
    Map { entries: Map<String, Value>, key: Option<Key> },
}

struct Key {
    name: String,
    span: Span,
}

struct Builder<'a> {
    text: &'a str,
    open: Vec<Open>,
    root: Option<Node>,
    documents: usize,
    anchors: HashMap<usize, Node>,
    nodes: usize,
    bytes: usize,
    problems: Vec<Problem>,
}

impl Builder<'_> {
    fn event(&mut self, event: Event<'_>, span: granit_parser::Span) -> Result<(), Problem> {
        let span = self.span(span);
        match event {
            Event::DocumentStart(..) => self.document(span),
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain;
                let json = self.scalar(&text, plain, tag.as_deref(), span);
                let bytes = text.len();
                self.finish(
                    Node { json, mark: Mark { key: None, value: span, plain, children: Vec::new() }, nodes: 1, bytes },
                    anchor,
                )
            }
            Event::SequenceStart(_, anchor, tag) => self.start(Items::List(Vec::new()), anchor, tag.as_deref(), span),
            Event::MappingStart(_, anchor, tag) => {
                self.start(Items::Map { entries: Map::new(), key: None }, anchor, tag.as_deref(), span)
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(span),
            Event::Alias(anchor) => self.alias(anchor, span),
            _ => Ok(()),
        }
    }

    fn document(&mut self, span: Span) -> Result<(), Problem> {
        self.documents += 1;
        if self.documents > 1 {
            return Err(problem(
                Code::YamlMultipleDocuments,
                span,
                "a second document starts here; a file is one runbook",
            ));
        }
        Ok(())
    }

    fn scalar(&mut self, text: &str, plain: bool, tag: Option<&Tag>, span: Span) -> Value {
        match tag.map(|tag| (tag.is_yaml_core_schema(), tag.suffix())) {
            None | Some((true, "int" | "float" | "bool" | "null")) if plain => scalar::resolve(text),
            None | Some((true, "str") | (false, "")) => Value::String(text.to_owned()),
            _ => {
                self.report(problem(Code::YamlUnsupported, span, "tags are not supported"));
                Value::String(text.to_owned())
            }
        }
    }

    fn start(&mut self, items: Items, anchor: usize, tag: Option<&Tag>, span: Span) -> Result<(), Problem> {
        if tag.is_some_and(|tag| !tag.is_yaml_core_schema()) {
            self.report(problem(Code::YamlUnsupported, span, "tags are not supported"));
        }
        if self.open.len() == MAX_NESTING {
            return Err(too_deep(span));
        }
        self.pay(1, 0, span)?;
        self.open.push(Open { items, marks: Vec::new(), start: span.start, anchor, nodes: 1, bytes: 0 });
        Ok(())
    }

    fn end(&mut self, span: Span) -> Result<(), Problem> {
        let Some(open) = self.open.pop() else { return Ok(()) };
        let json = match open.items {
            Items::List(items) => Value::Array(items),
            Items::Map { entries, .. } => Value::Object(entries),
        };
        let end = open.start + self.text.get(open.start..span.end).unwrap_or_default().trim_end().len();
        let value = Span { start: open.start, end };
        let mark = Mark { key: None, value, plain: false, children: open.marks };
        self.attach(Node { json, mark, nodes: open.nodes, bytes: open.bytes }, open.anchor)
    }

    fn alias(&mut self, anchor: usize, span: Span) -> Result<(), Problem> {
        let Some((nodes, bytes)) = self.anchors.get(&anchor).map(|node| (node.nodes, node.bytes)) else {
            return Err(problem(Code::YamlUnsupported, span, "an alias cannot stand inside of the value it names"));
        };
        // Paid before it is copied: this is what stops a bomb.
        self.pay(nodes, bytes, span)?;
        let depth = self.anchors.get(&anchor).map_or(0, |node| levels(&node.json));
        if self.open.len() + depth > MAX_NESTING {
            return Err(too_deep(span));
        }
        match self.anchors.get(&anchor).cloned() {
            Some(node) => self.attach(node, 0),
            None => Ok(()),
        }
    }

    fn finish(&mut self, node: Node, anchor: usize) -> Result<(), Problem> {
        self.pay(1, node.bytes, node.mark.value)?;
        self.attach(node, anchor)
    }

    fn pay(&mut self, nodes: usize, bytes: usize, span: Span) -> Result<(), Problem> {
        self.nodes += nodes;
        self.bytes += bytes;
        if self.nodes > MAX_NODES {
            return Err(problem(
                Code::YamlTooManyNodes,
                span,
                format!("the file has more than {MAX_NODES} values, aliases expanded"),
            ));
        }
        if self.bytes > MAX_TEXT {
            return Err(problem(
                Code::YamlTooManyNodes,
                span,
                format!("the file has more than {MAX_TEXT} bytes, aliases expanded"),
            ));
        }
        Ok(())
    }

    /// Puts a finished node where it belongs.
    fn attach(&mut self, node: Node, anchor: usize) -> Result<(), Problem> {
        if anchor != 0 {
            // The copy that aliases are made from counts too: anchors nest.
            self.pay(node.nodes, node.bytes, node.mark.value)?;
            self.anchors.insert(anchor, node.clone());
        }
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        open.nodes += node.nodes;
        open.bytes += node.bytes;
        match &mut open.items {
            Items::List(items) => {
                items.push(node.json);
                open.marks.push(node.mark);
            }
            Items::Map { entries, key } => match key.take() {
                None => {
                    let named = key_name(self.text, &node);
                    *key = Some(named.map_err(|()| {
                        problem(Code::YamlUnsupported, node.mark.value, "the key of a map has to be a scalar")
                    })?);
                }
                Some(key) => {
                    if entries.contains_key(&key.name) {
                        let index = entries.keys().position(|known| *known == key.name).unwrap_or(0);
                        let first = open.marks[index].key.unwrap_or_default().start;
                        let line = self.text[..first].matches('\n').count() + 1;
                        let message = format!("`{}` is given twice; the first one is in line {line}", key.name);
                        self.report(problem(Code::YamlDuplicateKey, key.span, message));
                    } else {
                        entries.insert(key.name, node.json);
                        open.marks.push(Mark { key: Some(key.span), ..node.mark });
                    }
                }
            },
        }
        Ok(())
    }

    fn report(&mut self, problem: Problem) {
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(problem);
        }
    }

    fn span(&self, span: granit_parser::Span) -> Span {
        let start = byte_offset(self.text, &span.start);
        Span { start, end: byte_offset(self.text, &span.end).max(start) }
    }
}

/// The name of a key: as written where it is plain, so that `1.10:` is not `1.1`.
fn key_name(text: &str, node: &Node) -> Result<Key, ()> {
    let span = node.mark.value;
    let name = match &node.json {
        Value::String(name) => name.clone(),
        Value::Array(_) | Value::Object(_) => return Err(()),
        _ => text.get(span.start..span.end).unwrap_or_default().to_owned(),
    };
    Ok(Key { name, span })
}

fn levels(json: &Value) -> usize {
    match json {
        Value::Array(items) => 1 + items.iter().map(levels).max().unwrap_or(0),
        Value::Object(entries) => 1 + entries.values().map(levels).max().unwrap_or(0),
        _ => 0,
    }
}

fn byte_offset(text: &str, marker: &granit_parser::Marker) -> usize {
    let offset = marker.byte_offset().or_else(|| text.char_indices().nth(marker.index()).map(|(at, _)| at));
    offset.unwrap_or(text.len()).min(text.len())
}
