//! `${{ … }}` in strings.

use std::ops::Range;

/// A piece of a string.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    Text(String),
    Expression {
        /// Without the surrounding white space.
        source: &'a str,
        /// Where the source stands in the string.
        range: Range<usize>,
    },
}

/// `${{` without `}}`, at this offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unclosed(pub(super) usize);

/// Takes a string apart. `$${{` stands for a literal `${{`.
pub(super) fn pieces(text: &str) -> Result<Vec<Piece<'_>>, Unclosed> {
    let mut pieces = Vec::new();
    let mut literal = String::new();
    let mut at = 0;
    while let Some(found) = text[at..].find("${{") {
        let open = at + found;
        if text[at..open].ends_with('$') {
            literal.push_str(&text[at..open - 1]);
            literal.push_str("${{");
            at = open + 3;
            continue;
        }
        literal.push_str(&text[at..open]);
        if !literal.is_empty() {
            pieces.push(Piece::Text(std::mem::take(&mut literal)));
        }
        let inner = open + 3;
        let close = inner + closing(&text[inner..]).ok_or(Unclosed(open))?;
        let raw = &text[inner..close];
        let start = inner + (raw.len() - raw.trim_start().len());
        let source = raw.trim();
        pieces.push(Piece::Expression { source, range: start..start + source.len() });
        at = close + 2;
    }
    literal.push_str(&text[at..]);
    if !literal.is_empty() || pieces.is_empty() {
        pieces.push(Piece::Text(literal));
    }
    Ok(pieces)
}

/// Whether there is an expression in the string, well-formed or not.
pub(super) fn has_expression(text: &str) -> bool {
    text.contains("${{") && !matches!(pieces(text).as_deref(), Ok([Piece::Text(_)]))
}

/// The offset of the `}}` that ends an expression: not in a string literal, and not of a map in it.
fn closing(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let (mut at, mut depth) = (0, 0_usize);
    while at < bytes.len() {
        match bytes[at] {
            quote @ (b'\'' | b'"') => {
                at += 1;
                while at < bytes.len() && bytes[at] != quote {
                    at += if bytes[at] == b'\\' { 2 } else { 1 };
                }
            }
            b'{' => depth += 1,
            b'}' if depth > 0 => depth -= 1,
            b'}' if bytes.get(at + 1) == Some(&b'}') => return Some(at),
            _ => {}
        }
        at += 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Text as it is, expressions as `<source@offset>`.
    fn check(text: &str, expected: &str) {
        let shown = match pieces(text) {
            Err(Unclosed(at)) => format!("unclosed at {at}"),
            Ok(pieces) => pieces
                .into_iter()
                .map(|piece| match piece {
                    Piece::Text(text) => text,
                    Piece::Expression { source, range } => {
                        assert_eq!(&text[range.clone()], source);
                        format!("<{source}@{}>", range.start)
                    }
                })
                .collect(),
        };
        assert_eq!(shown, expected, "{text}");
    }

    #[test]
    fn strings_are_taken_apart() {
        check("", "");
        check("plain", "plain");
        check("${{ a }}", "<a@4>");
        check("${{a}}", "<a@3>");
        check("x ${{ a }} y ${{ b }}", "x <a@6> y <b@17>");
        check("${{ a }}${{ b }}", "<a@4><b@12>");
        check("$${{ a }}", "${{ a }}");
        check("1 $${{ ${{ b }}", "1 ${{ <b@11>");
        check("${{ {'a': {'b': 1}} }}", "<{'a': {'b': 1}}@4>");
        check("${{ '}}' + \"}}\" }}", "<'}}' + \"}}\"@4>");
        check("ä ${{ 'ü' }}", "ä <'ü'@7>");
        check("${{ }}", "<@4>");
        check("x ${{ a", "unclosed at 2");
        check("${{ a }", "unclosed at 0");
        check("${{ 'a }}", "unclosed at 0");
        check("${{ '\\", "unclosed at 0");
        check("${ {a}}", "${ {a}}");
        check("$", "$");
    }
}
