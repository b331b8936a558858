//! Rust source as tokens, as far as following paths needs it.

/// The source as tokens with their lines; comments, strings, characters and lifetimes are left out.
pub fn tokens(text: &str) -> Vec<(usize, Token)> {
    let (mut rest, mut line, mut found) = (text, 1, Vec::new());
    while let Some(next) = rest.chars().next() {
        let length = match blank(rest) {
            Some(length) => length,
            None if is_word(next) => {
                let length = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
                found.push((line, Token::Word(rest[..length].to_owned())));
                length
            }
            None if rest.starts_with("::") => {
                found.push((line, Token::Path));
                2
            }
            None => {
                found.push((line, Token::Sign(next)));
                next.len_utf8()
            }
        };
        line += rest[..length].matches('\n').count();
        rest = &rest[length..];
    }
    found
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The length of what counts as blank at the start of `rest`: space, comment, literal, lifetime.
fn blank(rest: &str) -> Option<usize> {
    let first = rest.chars().next()?;
    if first.is_whitespace() {
        return Some(first.len_utf8());
    }
    if rest.starts_with("//") {
        return Some(rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return Some(block_comment(rest));
    }
    if first == '\'' {
        return Some(quote(rest));
    }
    let prefix = ["br", "cr", "r", "b", "c", ""].into_iter().find(|prefix| {
        rest.strip_prefix(prefix).is_some_and(|tail| {
            tail.trim_start_matches('#').starts_with('"') && (tail.starts_with('"') || prefix.ends_with('r'))
        })
    })?;
    let tail = &rest[prefix.len()..];
    let hashes = tail.len() - tail.trim_start_matches('#').len();
    let body = &tail[hashes + 1..];
    let end = format!("\"{}", "#".repeat(hashes));
    let inner = if prefix.ends_with('r') { body.find(&end) } else { unescaped(body) };
    Some(inner.map_or(rest.len(), |inner| prefix.len() + hashes + 1 + inner + end.len()))
}

fn block_comment(rest: &str) -> usize {
    let (mut at, mut open) = (2, 1);
    while open > 0 && at < rest.len() {
        let tail = &rest.as_bytes()[at..];
        let step = if tail.starts_with(b"*/") { -1 } else { i32::from(tail.starts_with(b"/*")) };
        open += step;
        at += if step == 0 { 1 } else { 2 };
    }
    // Only ASCII was matched, but the last byte may stand inside a character of a comment without end.
    (at..=rest.len()).find(|at| rest.is_char_boundary(*at)).unwrap_or(rest.len())
}

/// The length of a character literal, or of the tick of a lifetime.
fn quote(rest: &str) -> usize {
    let mut chars = rest.char_indices().skip(1);
    match (chars.next(), chars.next()) {
        (Some((_, '\\')), Some((escaped, _))) => {
            let after = escaped + 1;
            rest[after..].find('\'').map_or(1, |end| after + end + 1)
        }
        (Some(_), Some((end, '\''))) => end + 1,
        _ => 1,
    }
}

/// The position of the first quote that no backslash escapes.
fn unescaped(body: &str) -> Option<usize> {
    let mut escaped = false;
    body.char_indices().find_map(|(at, c)| {
        let found = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        found.then_some(at)
    })
}

/// A token.
#[derive(Debug, PartialEq)]
pub enum Token {
    Word(String),
    /// `::`
    Path,
    Sign(char),
}

impl Token {
    /// Whether the token is spelled like this.
    pub fn is(&self, text: &str) -> bool {
        match self {
            Token::Word(word) => word == text,
            Token::Path => text == "::",
            Token::Sign(sign) => text.chars().eq([*sign]),
        }
    }
}
