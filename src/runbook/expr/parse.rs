//! From text to a syntax tree that is safe to walk and to evaluate.
//!
//! The parser of `cel` recurses, so the text is bounded before it sees it: a scan counts brackets and operators,
//! which bound the depth of every tree that it can build.

use cel::{
    IdedExpr, ParseErrors,
    common::ast::{EntryExpr, Expr},
    parser::PrattParser,
};

use super::{ExprError, references};

const MAX_SOURCE: usize = 4 * 1024;
const MAX_BRACKETS: usize = 24;
const MAX_OPERATORS: usize = 256;
/// Levels of the tree; evaluation recurses as deep.
const MAX_DEPTH: usize = 48;
const MAX_RECURSION: u16 = 64;

/// Parses CEL within the bounds.
pub(super) fn parse(source: &str) -> Result<IdedExpr, ExprError> {
    if source.len() > MAX_SOURCE {
        return Err(ExprError::new(format!("the expression is longer than {MAX_SOURCE} bytes")));
    }
    if source.trim().is_empty() {
        return Err(ExprError::new("an expression is missing"));
    }
    scan(source)?;
    // The hand-written parser of the two: the generated one needs 200 KiB of stack for every bracket.
    let parser = PrattParser::new().enable_optional_syntax(true).max_recursion_depth(MAX_RECURSION);
    let tree = parser.parse(source).map_err(|errors| first_error(source, &errors))?;
    if depth(&tree).is_none_or(|depth| depth > MAX_DEPTH) {
        return Err(ExprError::new(format!("the expression nests deeper than {MAX_DEPTH} levels")));
    }
    Ok(tree)
}

/// The segments of `a.b.c`, where the source is nothing more than that.
pub(super) fn plain_path(source: &str) -> Option<Vec<String>> {
    let source = source.trim();
    if source.len() > MAX_SOURCE || source.bytes().filter(|byte| *byte == b'.').count() > MAX_BRACKETS {
        return None;
    }
    let path: Vec<String> = source.split('.').map(str::to_owned).collect();
    path.iter().all(|segment| is_identifier(segment) && !is_reserved_word(segment)).then_some(path)
}

/// Whether a word cannot be an identifier in CEL.
pub fn is_reserved_word(word: &str) -> bool {
    const WORDS: [&str; 22] = [
        "as",
        "break",
        "const",
        "continue",
        "else",
        "false",
        "for",
        "function",
        "if",
        "import",
        "in",
        "let",
        "loop",
        "namespace",
        "null",
        "package",
        "return",
        "true",
        "type",
        "var",
        "void",
        "while",
    ];
    WORDS.contains(&word)
}

fn is_identifier(word: &str) -> bool {
    let mut bytes = word.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Counts what makes trees deep, outside of string literals.
fn scan(source: &str) -> Result<(), ExprError> {
    let bytes = source.as_bytes();
    let (mut brackets, mut operators, mut at) = (0_usize, 0_usize, 0);
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'\'' | b'"' => {
                at = string_end(bytes, at);
                continue;
            }
            b'(' | b'[' | b'{' => {
                brackets += 1;
                operators += 1;
            }
            b')' | b']' | b'}' => brackets = brackets.saturating_sub(1),
            b'.' | b'+' | b'-' | b'*' | b'/' | b'%' | b'!' | b'<' | b'>' | b'=' | b'&' | b'|' | b'?' | b',' => {
                operators += 1;
            }
            _ => {}
        }
        if brackets > MAX_BRACKETS {
            return Err(ExprError::at(at, format!("brackets nest deeper than {MAX_BRACKETS}")));
        }
        if operators > MAX_OPERATORS {
            return Err(ExprError::at(at, format!("the expression has more than {MAX_OPERATORS} operators")));
        }
        at += 1;
    }
    Ok(())
}

/// The index after the string literal that starts at `start`.
fn string_end(bytes: &[u8], start: usize) -> usize {
    let quote = bytes[start];
    let raw = start > 0 && matches!(bytes[start - 1], b'r' | b'R');
    let triple = bytes[start..].starts_with(&[quote; 3]);
    let mut at = start + if triple { 3 } else { 1 };
    while at < bytes.len() {
        if bytes[at] == b'\\' && !raw {
            at += 2;
        } else if triple && bytes[at..].starts_with(&[quote; 3]) {
            return at + 3;
        } else if !triple && bytes[at] == quote {
            return at + 1;
        } else {
            at += 1;
        }
    }
    bytes.len()
}

/// The levels that evaluation recurses into; `None` where the tree has a hole that the evaluator would panic at.
pub(super) fn depth(tree: &IdedExpr) -> Option<usize> {
    match &tree.expr {
        Expr::Unspecified => None,
        // `a.b.c` is one lookup.
        Expr::Select(_) if references::chain(tree).is_some() => Some(1),
        _ => children(tree).into_iter().try_fold(0, |deepest, child| Some(deepest.max(depth(child)?))).map(|d| d + 1),
    }
}

/// The nodes directly below.
pub(super) fn children(tree: &IdedExpr) -> Vec<&IdedExpr> {
    match &tree.expr {
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => Vec::new(),
        Expr::Call(call) => call.target.as_deref().into_iter().chain(&call.args).collect(),
        Expr::Comprehension(c) => vec![&c.iter_range, &c.accu_init, &c.loop_cond, &c.loop_step, &c.result],
        Expr::List(list) => list.elements.iter().collect(),
        Expr::Map(map) => map.entries.iter().flat_map(|entry| entry_nodes(&entry.expr)).collect(),
        Expr::Select(select) => vec![&select.operand],
        Expr::Struct(object) => object.entries.iter().flat_map(|entry| entry_nodes(&entry.expr)).collect(),
    }
}

fn entry_nodes(entry: &EntryExpr) -> Vec<&IdedExpr> {
    match entry {
        EntryExpr::StructField(field) => vec![&field.value],
        EntryExpr::MapEntry(entry) => vec![&entry.key, &entry.value],
    }
}

/// The first error, without the parser's lists of expected tokens.
fn first_error(source: &str, errors: &ParseErrors) -> ExprError {
    let Some(error) = errors.errors.first() else {
        return ExprError::new("this is not an expression");
    };
    let offset = offset_of(source, error.pos);
    let message = error.msg.strip_prefix("Syntax error: ").unwrap_or(&error.msg);
    let message = message.split(" expecting ").next().unwrap_or(message);
    let token = offset.map(|at| source[at..].split(char::is_whitespace).next().unwrap_or_default());
    let message = match (message.strip_prefix("mismatched input "), token) {
        (Some("'<EOF>'"), _) => "the expression ends too early".to_owned(),
        (Some(found), _) => format!("unexpected {}", found.replace('\'', "`")),
        (None, Some("")) if message == "unexpected token" => "the expression ends too early".to_owned(),
        (None, Some(token)) if message == "unexpected token" => format!("unexpected `{token}`"),
        _ => message.to_owned(),
    };
    ExprError { message, offset }
}

/// The byte offset of a line and a column, both from 1, the column in bytes.
fn offset_of(source: &str, (line, column): (isize, isize)) -> Option<usize> {
    let line = usize::try_from(line).ok()?.checked_sub(1)?;
    let column = usize::try_from(column).ok()?.checked_sub(1)?;
    let start: usize = source.split_inclusive('\n').take(line).map(str::len).sum();
    Some((start + column).min(source.len())).filter(|offset| source.is_char_boundary(*offset))
}

/// The byte offset where a path of names is written, or at least its root.
///
/// The parser keeps no positions of a tree that it accepts; the text is searched instead, outside of string
/// literals and only at the start of a name.
pub(super) fn position(source: &str, path: &[String]) -> Option<usize> {
    let roots = name_starts(source).filter(|at| names_at(source, *at) == path[0]);
    let depth_at = |at: usize| {
        let written =
            source[at..].split(|c: char| !(c.is_alphanumeric() || "_.?[]'\"".contains(c))).next().unwrap_or("");
        let words = written.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|word| !word.is_empty());
        words.zip(path).take_while(|(word, name)| word == name).count()
    };
    roots.map(|at| (depth_at(at), at)).max_by_key(|(depth, at)| (*depth, std::cmp::Reverse(*at))).map(|(_, at)| at)
}

/// The byte offset of a call of a function.
pub(super) fn position_of_call(source: &str, function: &str) -> Option<usize> {
    let bytes = source.as_bytes();
    let is_called = |at: &usize| {
        let name = source[*at..].strip_prefix(function);
        let before = at.checked_sub(1).is_none_or(|before| !is_name_byte(bytes[before]));
        before && name.is_some_and(|rest| rest.trim_start().starts_with(['(', '{']))
    };
    outside_strings(bytes).filter(|at| source.is_char_boundary(*at)).find(is_called)
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn names_at(source: &str, at: usize) -> &str {
    let end = source[at..].bytes().position(|byte| !is_name_byte(byte)).map_or(source.len(), |length| at + length);
    &source[at..end]
}

/// Where names start that do not follow a dot.
fn name_starts(source: &str) -> impl Iterator<Item = usize> {
    let bytes = source.as_bytes();
    outside_strings(bytes).filter(|at| {
        is_name_byte(bytes[*at])
            && at.checked_sub(1).is_none_or(|before| !is_name_byte(bytes[before]) && bytes[before] != b'.')
    })
}

fn outside_strings(bytes: &[u8]) -> impl Iterator<Item = usize> {
    let mut next = 0;
    std::iter::from_fn(move || {
        while matches!(bytes.get(next), Some(b'\'' | b'"')) {
            next = string_end(bytes, next);
        }
        (next < bytes.len()).then(|| {
            next += 1;
            next - 1
        })
    })
}
