//! What a step says through `$OPSROOM_OUTPUT`: lines `name=value`, and for longer values
//!
//! ```text
//! name<<EOF
//! any text
//! EOF
//! ```

use std::{
    fs::{File, OpenOptions},
    io::{self, Read},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use rustix::fs::OFlags;
use serde_json::{Map, Value};

use crate::{actions::attempt::shortened, model::Failure, ports::Mask};

/// All outputs of a step together, as they are kept.
const MAX_OUTPUTS: usize = 256 << 10;
const MAX_NAME: usize = 64;

/// Reads the outputs that a step has set; masked. No file is no outputs.
pub(super) async fn read(file: &Path, mask: &dyn Mask) -> Result<Map<String, Value>, Failure> {
    let path = file.to_owned();
    let bytes = tokio::task::spawn_blocking(move || read_bounded(&path, MAX_OUTPUTS + 1))
        .await
        .unwrap_or_else(|error| Err(io::Error::other(error)))
        .map_err(|error| failure(format!("$OPSROOM_OUTPUT cannot be read: {error}")))?;
    let Some(bytes) = bytes else { return Ok(Map::new()) };
    if bytes.len() > MAX_OUTPUTS {
        return Err(failure("$OPSROOM_OUTPUT holds more than 256 KiB; use an artifact for large results".to_owned()));
    }
    let text = String::from_utf8(bytes).map_err(|_| failure("$OPSROOM_OUTPUT is not UTF-8".to_owned()))?;
    let outputs = parse(&text).map_err(|problem| {
        // Masked before it is cut.
        let line = shortened(&mask.text(problem.line), 80);
        failure(mask.text(&format!("$OPSROOM_OUTPUT, line {}: {}: `{line}`", problem.number, problem.what)))
    })?;
    let mut outputs = Value::Object(outputs.into_iter().map(|(name, value)| (name, value.into())).collect());
    mask.json(&mut outputs);
    match outputs {
        Value::Object(outputs) => Ok(outputs),
        _ => Ok(Map::new()),
    }
}

/// At most `limit` bytes of a regular file; `None` if there is none. Never follows a link and never
/// waits for a pipe: the file was made by the step.
pub(super) fn read_bounded(path: &Path, limit: usize) -> io::Result<Option<Vec<u8>>> {
    let file = match open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(limit as u64).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

/// Opens a regular file that a step has made.
pub(super) fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("not a regular file")) }
}

fn failure(message: String) -> Failure {
    Failure::permanent("OUTPUT_INVALID", message)
}

#[derive(Debug)]
struct Problem<'a> {
    number: u32,
    line: &'a str,
    what: String,
}

/// The outputs in order; a later one of the same name replaces the earlier.
fn parse(text: &str) -> Result<Vec<(String, String)>, Problem<'_>> {
    let mut outputs = Vec::new();
    let mut lines = text.lines().zip(1_u32..);
    while let Some((line, number)) = lines.next() {
        let at = |what: &str| Problem { number, line, what: what.to_owned() };
        if line.trim().is_empty() {
            continue;
        }
        let (equals, heredoc) = (line.find('='), line.find("<<"));
        let (name, value) = match (equals, heredoc) {
            (_, Some(arrow)) if equals.is_none_or(|equals| arrow < equals) => {
                let end = line[arrow + 2..].trim();
                if end.is_empty() {
                    return Err(at("a word is missing after `<<`"));
                }
                let value = heredoc_value(&mut lines, end).ok_or_else(|| at(&format!("no line `{end}` ends it")))?;
                (&line[..arrow], value)
            }
            (Some(equals), _) => (&line[..equals], line[equals + 1..].to_owned()),
            (None, _) => return Err(at("not `name=value` or `name<<WORD`")),
        };
        if !is_name(name.trim()) {
            return Err(at("an output's name is letters, digits and `_`"));
        }
        outputs.push((name.trim().to_owned(), value));
    }
    Ok(outputs)
}

fn heredoc_value<'a>(lines: &mut impl Iterator<Item = (&'a str, u32)>, end: &str) -> Option<String> {
    let mut value = Vec::new();
    for (line, _) in lines {
        if line == end {
            return Some(value.join("\n"));
        }
        value.push(line);
    }
    None
}

/// A name that can follow `outputs.` in an expression.
fn is_name(name: &str) -> bool {
    name.len() <= MAX_NAME
        && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Vec<(String, String)> {
        parse(text).unwrap()
    }

    #[test]
    fn lines_and_heredocs() {
        let text = "a=1\n\nurl=https://x/?q=1<<2\r\nempty=\nlong<<EOF\none\n two=2\n\nEOF\nlast<<X\nX\n_b2 = c ";
        let expected = [
            ("a", "1"),
            ("url", "https://x/?q=1<<2"),
            ("empty", ""),
            ("long", "one\n two=2\n"),
            ("last", ""),
            ("_b2", " c "),
        ];
        assert_eq!(parsed(text), expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert_eq!(parsed(""), []);
    }

    #[test]
    fn problems_name_the_line() {
        for (text, line) in [
            ("a=1\nnonsense", 2),
            ("a<<EOF\nx\n", 1),
            ("a<<\n", 1),
            ("=1", 1),
            ("a\nb=1", 1),
            ("a=1\nb-c=1", 2),
            ("1a=1", 1),
        ] {
            let problem = parse(text).unwrap_err();
            assert_eq!(problem.number, line, "{text:?}: {problem:?}");
        }
        assert!(parse(&format!("{}=1", "n".repeat(65))).is_err());
    }
}
