//! The floors of the source tree, enforced: a module imports only from floors strictly below its own.
//!
//! Reads `src/` as text, without comments and literals. `main.rs` and `lib.rs` compose and are exempt.
//! Everything else must be on the list, and a path that names no module of the list fails, so nothing is
//! skipped silently. Not seen: what a macro builds out of identifiers that it was given.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

mod source;

use source::{Token, tokens};

/// The modules, from the bottom up. Siblings on a floor never import each other.
const FLOORS: &[&[&str]] = &[
    &["model"],
    &["runbook"],
    &["engine", "api"],
    &["ports", "redis_client"],
    &["store", "queue", "feed", "actions", "system", "control"],
    &["worker", "http", "client"],
    &["cli"],
];

/// Pairs that the floors would allow and the design does not: HTTP calls services, never a store.
const NEVER: &[(&str, &str)] = &[("http", "store")];

/// Files that declare and compose the modules.
const EXEMPT: &[&str] = &["main.rs", "lib.rs"];

/// The crate's own name, which leads to its root like `crate`.
const OWN_NAME: &str = "opsroom";

fn floor(module: &str) -> Option<usize> {
    FLOORS.iter().position(|modules| modules.contains(&module))
}

/// Every breach of the rules below `src`, one line each, sorted.
fn violations(src: &Path) -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    for file in files(src)? {
        let path = file.strip_prefix(src).unwrap_or(&file);
        let names: Vec<String> = path.iter().map(|part| part.to_string_lossy().into_owned()).collect();
        if names.len() == 1 && EXEMPT.contains(&names[0].as_str()) {
            continue;
        }
        let module = names[0].trim_end_matches(".rs");
        if floor(module).is_none() {
            found.push(format!("{}: module `{module}` is on no floor", path.display()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&file)?;
            let paths = Paths::read(&tokens(&text), depth(&names));
            found.extend(
                paths.problems(module).into_iter().map(|(line, why)| format!("{}:{line}: {why}", path.display())),
            );
        }
    }
    found.sort();
    Ok(found)
}

fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path)?);
        } else {
            found.push(path);
        }
    }
    Ok(found)
}

/// How deep the module of a file is: `engine.rs` and `engine/mod.rs` are 1, `engine/run.rs` is 2.
fn depth(names: &[String]) -> usize {
    names.len() - usize::from(names.len() > 1 && names.last().is_some_and(|name| name == "mod.rs"))
}

/// Where paths from the root of the crate lead, and what cannot be followed.
#[derive(Default)]
struct Paths {
    targets: Vec<(usize, String)>,
    refused: Vec<(usize, &'static str)>,
    /// Tokens that belong to a path that was followed already.
    seen: BTreeSet<usize>,
}

impl Paths {
    fn read(tokens: &[(usize, Token)], depth: usize) -> Paths {
        let mut paths = Paths::default();
        let is = |at: usize, text: &str| tokens.get(at).is_some_and(|(_, token)| token.is(text));
        // The braces that are open, true for those of an inline module.
        let mut braces: Vec<bool> = Vec::new();
        for (at, (line, token)) in tokens.iter().enumerate() {
            let level = depth + braces.iter().filter(|module| **module).count();
            match token {
                Token::Sign('{') => braces.push(at > 1 && is(at - 2, "mod")),
                Token::Sign('}') => drop(braces.pop()),
                Token::Sign('#') if is(at + 1, "[") && gives_path(&tokens[at + 2..]) => {
                    paths.refused.push((*line, "a `#[path]` module is outside the floors"));
                }
                Token::Word(word) if word == "include" && is(at + 1, "!") => {
                    paths.refused.push((*line, "`include!` brings in code from outside the floors"));
                }
                Token::Word(word) if word == "extern" && is(at + 1, "crate") && is(at + 2, "self") => {
                    paths.refused.push((*line, "`extern crate self` gives the root another name"));
                    paths.seen.extend([at + 1, at + 2]);
                }
                Token::Word(_)
                    if !paths.seen.contains(&at) && (at == 0 || !is(at - 1, "::") || leads(tokens, at - 1)) =>
                {
                    paths.follow(tokens, at, level);
                }
                _ => {}
            }
        }
        paths
    }

    /// Follows one path (or one item of a group) that starts at `at` in a module `level` deep.
    fn follow(&mut self, tokens: &[(usize, Token)], mut at: usize, mut level: usize) {
        let is = |at: usize, text: &str| tokens.get(at).is_some_and(|(_, token)| token.is(text));
        let line = tokens.get(at).map_or(0, |(line, _)| *line);
        // `pub(crate)`, `pub(in super::super)`
        let scope = at > 0 && (is(at - 1, "(") || is(at - 1, "in"));
        let mut up = false;
        while let Some((_, Token::Word(word))) = tokens.get(at) {
            match word.as_str() {
                "crate" => level = 0,
                OWN_NAME if is(at + 1, "::") && !up => level = 0,
                "super" if level == 0 => return self.refused.push((line, "`super` above the root")),
                "super" => level -= 1,
                "self" if is(at + 1, "::") => {}
                _ => break,
            }
            up = true;
            self.seen.insert(at);
            if !is(at + 1, "::") {
                let names_root = level == 0 && !scope;
                return if names_root {
                    self.refused.push((line, "the root itself is imported"));
                };
            }
            at += 2;
        }
        match tokens.get(at) {
            Some((_, Token::Sign('{'))) if up => self.group(tokens, at + 1, level),
            Some((_, Token::Sign('*'))) if up && level == 0 => {
                self.refused.push((line, "everything of the root is imported"));
            }
            Some((_, Token::Word(word))) if up && level == 0 => self.targets.push((line, word.clone())),
            _ => {}
        }
    }

    /// Follows every item of a group `{a::b, c}` whose first item starts at `at`.
    fn group(&mut self, tokens: &[(usize, Token)], mut at: usize, level: usize) {
        let mut open = 1;
        let mut first = true;
        while let Some((line, token)) = tokens.get(at).filter(|_| open > 0) {
            match token {
                Token::Sign('{') => {
                    if first {
                        self.group(tokens, at + 1, level);
                    }
                    first = false;
                    open += 1;
                }
                Token::Sign('}') => open -= 1,
                Token::Sign(',') if open == 1 => first = true,
                Token::Sign('*') if first && level == 0 => {
                    self.refused.push((*line, "everything of the root is imported"));
                }
                Token::Word(word) if first => {
                    first = false;
                    match word.as_str() {
                        "self" if level == 0 => self.refused.push((*line, "the root itself is imported")),
                        "super" => self.follow(tokens, at, level),
                        _ if level == 0 => self.targets.push((*line, word.clone())),
                        _ => {}
                    }
                }
                _ => {}
            }
            self.seen.insert(at);
            at += 1;
        }
    }

    fn problems(self, module: &str) -> Vec<(usize, String)> {
        let mut problems: Vec<_> = self.refused.into_iter().map(|(line, why)| (line, why.to_owned())).collect();
        for (line, target) in self.targets {
            let forbidden = NEVER.contains(&(module, target.as_str()));
            let problem = match floor(&target) {
                _ if target == module => continue,
                None => format!("`{target}` is no module of the list: name the module that has it"),
                Some(theirs) if forbidden || floor(module).is_none_or(|mine| theirs >= mine) => {
                    format!("{module} may not import {target}")
                }
                Some(_) => continue,
            };
            problems.push((line, problem));
        }
        problems
    }
}

/// Whether the attribute that starts here is `path = …`, or a `cfg_attr` with one.
fn gives_path(attribute: &[(usize, Token)]) -> bool {
    let words: Vec<_> = attribute.iter().map(|(_, token)| token).take_while(|token| !token.is("]")).collect();
    let given = |at: usize| words[at].is("path") && words.get(at + 1).is_some_and(|token| token.is("="));
    words.first().is_some_and(|first| first.is("path") || first.is("cfg_attr")) && (0..words.len()).any(given)
}

/// Words that may stand before a path that starts with `::`.
const KEYWORDS: &[&str] = &[
    "as", "const", "dyn", "else", "for", "if", "impl", "in", "let", "match", "move", "mut", "pub", "ref", "return",
    "static", "use", "where", "while",
];

/// Whether the `::` at `at` opens a path of its own: `use ::name`, not `a::name`.
fn leads(tokens: &[(usize, Token)], at: usize) -> bool {
    match at.checked_sub(1).and_then(|before| tokens.get(before)) {
        Some((_, Token::Word(word))) => KEYWORDS.contains(&word.as_str()),
        Some((_, token)) => !token.is(">"),
        None => true,
    }
}

#[test]
fn modules_import_from_lower_floors_only() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    assert_eq!(violations(&src).unwrap(), Vec::<String>::new());
}

/// The violations of a source tree with these files.
fn planted(files: &[(&str, &str)]) -> io::Result<Vec<String>> {
    let tree = tempfile::tempdir()?;
    for (name, text) in files {
        let path = tree.path().join(name);
        fs::create_dir_all(path.parent().unwrap_or(tree.path()))?;
        fs::write(path, text)?;
    }
    violations(tree.path())
}

/// The violations of one file, as `line: why`.
fn check(name: &str, text: &str) -> Vec<String> {
    let prefix = format!("{name}:");
    let found = planted(&[(name, text)]).unwrap_or_else(|error| vec![error.to_string()]);
    found.into_iter().map(|line| line.trim_start_matches(&prefix).to_owned()).collect()
}

#[test]
fn every_planted_breach_is_found() {
    let breaches = [
        // Upwards, sideways, and past a service.
        ("engine/run.rs", "use crate::store::Rows;", "1: engine may not import store"),
        ("store/mod.rs", "use crate::queue::Bell;", "1: store may not import queue"),
        ("http/runs.rs", "use crate::store::Rows;", "1: http may not import store"),
        ("http/runs.rs", "use crate::worker::Lane;", "1: http may not import worker"),
        // Every spelling of the way to the root.
        ("model.rs", "\n\npub use crate::cli;", "3: model may not import cli"),
        ("engine/run.rs", "use crate::{model::Id, ports::Store};", "1: engine may not import ports"),
        (
            "engine/run.rs",
            "use crate::{\n  model::{Id, Lane},\n  control::{self, Owner},\n};",
            "3: engine may not import control",
        ),
        ("engine/run.rs", "use {std::fmt, crate::{{model, store}}};", "1: engine may not import store"),
        ("engine/run.rs", "use super::super::store::Rows;", "1: engine may not import store"),
        ("engine/mod.rs", "use super::{store as s, model};", "1: engine may not import store"),
        ("engine/run.rs", "use super::{super::store::Rows, decide};", "1: engine may not import store"),
        ("engine/run.rs", "use self::super::super::store;", "1: engine may not import store"),
        ("engine/run.rs", "mod tests { use super::super::super::store; }", "1: engine may not import store"),
        ("engine/run.rs", "fn f() { mod a { fn g() { crate::cli::main() } } }", "1: engine may not import cli"),
        ("engine/run.rs", "type S = Box<dyn crate::store::S>;", "1: engine may not import store"),
        ("engine/run.rs", "macro_rules! m { () => { $crate::store::get() } }", "1: engine may not import store"),
        ("engine/run.rs", "use opsroom::store;", "1: engine may not import store"),
        ("engine/run.rs", "use ::opsroom::store;", "1: engine may not import store"),
        ("engine/run.rs", "const C: char = '\"'; use crate::store::A; // \"", "1: engine may not import store"),
        ("engine/run.rs", "fn f<'a>(x: &'a crate::store::A) {}", "1: engine may not import store"),
        // What cannot be followed is refused, not skipped.
        ("engine/run.rs", "use crate::*;", "1: everything of the root is imported"),
        ("engine/run.rs", "use super::super::{self};", "1: the root itself is imported"),
        ("engine/run.rs", "use crate as root;", "1: the root itself is imported"),
        ("engine/run.rs", "use crate::Plan;", "1: `Plan` is no module of the list: name the module that has it"),
        ("engine/mod.rs", "use super::super::other;", "1: `super` above the root"),
        ("engine/mod.rs", "#[path = \"../store/a.rs\"] mod a;", "1: a `#[path]` module is outside the floors"),
        (
            "engine/mod.rs",
            "#[cfg_attr(unix, path = \"../a.rs\")] mod a;",
            "1: a `#[path]` module is outside the floors",
        ),
        ("engine/mod.rs", "include!(\"../store/a.rs\");", "1: `include!` brings in code from outside the floors"),
        ("engine/mod.rs", "extern crate self as me;", "1: `extern crate self` gives the root another name"),
    ];
    for (name, text, expected) in breaches {
        assert_eq!(check(name, text), [expected], "{name}: {text}");
    }
}

#[test]
fn a_module_that_is_not_listed_fails() {
    let found =
        planted(&[("util/mod.rs", ""), ("helpers.rs", ""), ("lib.rs", "use crate::cli;"), ("main.rs", "")]).unwrap();
    let expected = ["helpers.rs: module `helpers` is on no floor", "util/mod.rs: module `util` is on no floor"];
    assert_eq!(found, expected);
}

#[test]
fn what_is_allowed_passes() {
    let allowed = [
        ("control/owner.rs", "use crate::{engine::{Run, decide}, model, ports::Store, runbook::Plan};"),
        ("cli/run.rs", "use crate::{http, store::memory, worker};"),
        ("engine/run.rs", "use super::{decide, event}; pub(crate) fn f() {} pub(in super::super) fn g() {}"),
        ("engine/run.rs", "mod tests { use super::super::decide; use super::*; }"),
        ("engine/run.rs", "use crate::engine::decide; fn f(&self) { self.store(); a::cli::b(); Vec::<u8>::new() }"),
        ("engine/run.rs", "//! See [`crate::store`].\n/* use crate::store; /* nested */ crate::cli */ fn f() {}"),
        (
            "engine/run.rs",
            r##"const A: &str = "crate::store \" crate::cli"; const B: &str = r#"crate::"store"#; const C: &[u8] = b"crate::x";"##,
        ),
        ("store/queries/claim.sql", "select 1 -- use crate::cli;"),
    ];
    for (name, text) in allowed {
        assert_eq!(check(name, text), Vec::<String>::new(), "{name}: {text}");
    }
}
