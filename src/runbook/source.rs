//! YAML text as JSON with positions.
//!
//! Read at the level of the parser's events (`granit_parser`, the parser of serde-saphyr), because the language
//! needs what a serde value loses: the position of every key and value, the text of a scalar as written, and all
//! duplicate keys at once. Everything that grows is bounded while it grows.

mod build;
mod scalar;

#[cfg(test)]
mod tests;

use serde::Serialize;
use serde_json::Value;

use super::diagnostic::{Code, Diagnostic};

/// The largest file, in bytes.
pub const MAX_BYTES: usize = 1024 * 1024;
/// The deepest nesting of lists and maps.
pub const MAX_NESTING: usize = 64;
/// Scalars, lists and maps, after the expansion of aliases.
pub const MAX_NODES: usize = 200_000;

/// A half-open range of bytes in the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize)]
pub struct Span {
    pub start: usize,
    pub end: usize,
}

/// A file that is YAML, lowered to JSON.
#[derive(Debug)]
pub struct Source {
    file: String,
    text: String,
    /// Where each line starts.
    lines: Vec<usize>,
    json: Value,
    root: Mark,
}

/// Where a node stands. The tree of marks has the shape of the JSON.
#[derive(Debug, Clone)]
pub(super) struct Mark {
    pub(super) key: Option<Span>,
    pub(super) value: Span,
    /// Whether the value is written plainly, so that its text is the scalar as written.
    pub(super) plain: bool,
    /// In the order of the JSON's items or entries.
    pub(super) children: Vec<Mark>,
}

impl Source {
    /// Reads a file. Problems that leave a usable tree (duplicate keys) are given beside it.
    pub fn read(file: &str, text: &str) -> (Option<Source>, Vec<Diagnostic>) {
        let mut source = Source::blank(file);
        if text.len() > MAX_BYTES {
            // How many it has in all is not known: nobody reads such a file to its end.
            let message = format!("the file has more than {MAX_BYTES} bytes");
            return (None, vec![source.diagnose(Code::YamlTooLarge, Span::default(), "", message)]);
        }
        text.clone_into(&mut source.text);
        source.lines = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        let built = build::build(text);
        let problems = built.problems.into_iter();
        let problems = problems.map(|p| source.diagnose(p.code, p.span, "", p.message).with_help(p.help)).collect();
        let Some((json, root)) = built.tree else { return (None, problems) };
        source.json = json;
        source.root = root;
        (Some(source), problems)
    }

    /// A file of which nothing can be read.
    pub(super) fn blank(file: &str) -> Source {
        let root = Mark { key: None, value: Span::default(), plain: false, children: Vec::new() };
        Source { file: file.to_owned(), text: String::new(), lines: vec![0], json: Value::Null, root }
    }

    /// The document.
    pub fn json(&self) -> &Value {
        &self.json
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    /// Where the value at a JSON pointer stands; where there is none, its nearest ancestor.
    pub fn value_span(&self, pointer: &str) -> Span {
        self.mark(pointer).0.value
    }

    /// Where the key of the value at a JSON pointer stands; for items of lists, the value.
    pub fn key_span(&self, pointer: &str) -> Span {
        let (mark, _) = self.mark(pointer);
        mark.key.unwrap_or(mark.value)
    }

    /// The text of a scalar as it is written, where it is written without quotes: `1.10`, `012`, `yes`.
    pub fn plain_text(&self, pointer: &str) -> Option<&str> {
        match self.mark(pointer) {
            (mark, true) if mark.plain => self.text.get(mark.value.start..mark.value.end),
            _ => None,
        }
    }

    /// Makes a number or boolean that is written plainly the string as it is written; whether it was one.
    pub(super) fn take_text(&mut self, pointer: &str) -> bool {
        let Some(text) = self.plain_text(pointer).map(str::to_owned) else { return false };
        match self.json.pointer_mut(pointer) {
            Some(value @ (Value::Number(_) | Value::Bool(_))) => {
                *value = Value::String(text);
                true
            }
            _ => false,
        }
    }

    /// Line and column from 1; columns count characters.
    pub fn position(&self, offset: usize) -> (u32, u32) {
        let line = self.lines.partition_point(|start| *start <= offset).max(1);
        let start = self.lines[line - 1];
        let column = self.text.get(start..offset).map_or(0, |before| before.chars().count()) + 1;
        (clamp(line), clamp(column))
    }

    /// A diagnostic at a range of bytes.
    pub fn diagnose(&self, code: Code, span: Span, pointer: &str, message: impl Into<String>) -> Diagnostic {
        let span = self.first_line(span);
        let (line, column) = self.position(span.start);
        let (_, end_column) = self.position(span.end);
        Diagnostic {
            code,
            severity: code.severity(),
            message: message.into(),
            file: self.file.clone(),
            line,
            column,
            end_column: end_column.max(column + 1),
            span,
            help: None,
            fix: None,
            pointer: pointer.to_owned(),
        }
    }

    /// The part of the span that is on its first line: a whole step is not worth underlining.
    fn first_line(&self, span: Span) -> Span {
        let text = self.text.get(span.start..span.end).unwrap_or_default();
        let line = text.lines().next().unwrap_or_default().trim_end();
        Span { start: span.start, end: span.start + line.len() }
    }

    /// The mark at a pointer and whether it is exactly there.
    fn mark(&self, pointer: &str) -> (&Mark, bool) {
        let (mut mark, mut json) = (&self.root, &self.json);
        for token in pointer.split('/').skip(1) {
            let index = match json {
                Value::Array(_) => token.parse().ok(),
                Value::Object(entries) => {
                    let token = token.replace("~1", "/").replace("~0", "~");
                    entries.keys().position(|key| *key == token)
                }
                _ => None,
            };
            let Some((index, child)) = index.and_then(|index: usize| Some((index, mark.children.get(index)?))) else {
                return (mark, false);
            };
            let next = match json {
                Value::Array(items) => items.get(index),
                Value::Object(entries) => entries.values().nth(index),
                _ => None,
            };
            let Some(next) = next else { return (mark, false) };
            (mark, json) = (child, next);
        }
        (mark, true)
    }
}

fn clamp(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// A pointer to a key of the map at `parent`.
pub fn child(parent: &str, key: &str) -> String {
    if key.contains(['~', '/']) {
        format!("{parent}/{}", key.replace('~', "~0").replace('/', "~1"))
    } else {
        format!("{parent}/{key}")
    }
}
