use std::{
    fmt::Write as _,
    time::{Duration, Instant},
};

use serde_json::json;

use super::*;

fn read(text: &str) -> Source {
    let (source, problems) = Source::read("x.yaml", text);
    assert!(problems.is_empty(), "{problems:?}");
    source.unwrap()
}

/// `CODE line:column message` of every problem.
fn problems(text: &str) -> Vec<String> {
    let (_, problems) = Source::read("x.yaml", text);
    problems.iter().map(|p| format!("{} {}:{} {}", p.code, p.line, p.column, p.message)).collect()
}

#[test]
fn scalars_are_those_of_yaml_1_2() {
    let source = read(
        "{a: no, b: yes, c: true, d: 012, e: 1_000, f: 1.10, g: ~, h: 0x1f, i: 0o17, j: -3, k: '1', l: 1e3, m: .inf, n: +5, o: 18446744073709551615, p: 1:30, q: !!str 5, r: , t: on}",
    );
    assert_eq!(
        *source.json(),
        json!({"a": "no", "b": "yes", "c": true, "d": 12, "e": "1_000", "f": 1.10, "g": null, "h": 31, "i": 15, "j": -3, "k": "1", "l": 1000.0, "m": ".inf", "n": 5, "o": u64::MAX, "p": "1:30", "q": "5", "r": null, "t": "on"})
    );
    assert_eq!(source.plain_text("/d"), Some("012"));
    assert_eq!(source.plain_text("/f"), Some("1.10"));
    assert_eq!(source.plain_text("/k"), None);
    assert_eq!(source.plain_text("/nothing"), None);
}

#[test]
fn positions_count_characters_in_any_line_ending() {
    for text in ["a: 1\nlist:\n  - ä: {ö: x}\n", "a: 1\r\nlist:\r\n  - ä: {ö: x}\r\n"] {
        let source = read(text);
        let at = |span: Span| source.position(span.start);
        assert_eq!(at(source.key_span("/list")), (2, 1));
        assert_eq!(at(source.key_span("/list/0")), (3, 5));
        assert_eq!(at(source.key_span("/list/0/ä")), (3, 5));
        assert_eq!(at(source.key_span("/list/0/ä/ö")), (3, 9));
        assert_eq!(at(source.value_span("/list/0/ä/ö")), (3, 12));
        assert_eq!(at(source.value_span("/list/0/missing")), (3, 5));
        let x = source.value_span("/list/0/ä/ö");
        assert_eq!(&text[x.start..x.end], "x");
    }
}

#[test]
fn problems_have_positions() {
    let cases = [
        (
            "a: 1\na: 2\nb: 3\nb: 4\n",
            vec![
                "YAML_DUPLICATE_KEY 2:1 `a` is given twice; the first one is in line 1",
                "YAML_DUPLICATE_KEY 4:1 `b` is given twice; the first one is in line 3",
            ],
        ),
        ("a: 1\n---\nb: 2\n", vec!["YAML_MULTIPLE_DOCUMENTS 2:1 a second document starts here; a file is one runbook"]),
        ("", vec!["YAML_SYNTAX 1:1 the file is empty"]),
        ("# nothing\n", vec!["YAML_SYNTAX 1:1 the file is empty"]),
        ("? [a]\n: 1\n", vec!["YAML_UNSUPPORTED 1:3 the key of a map has to be a scalar"]),
        ("a: !ruby x\n", vec!["YAML_UNSUPPORTED 1:10 tags are not supported"]),
        ("a: &x [*x]\n", vec!["YAML_UNSUPPORTED 1:8 an alias cannot stand inside of the value it names"]),
    ];
    for (text, expected) in cases {
        assert_eq!(problems(text), expected, "{text}");
    }
    for text in ["a: [1\n", "a: 'x\n", "a: b: c\n", "a: *x\n", "a:\n  - b\n c: 1\n", "%\n", "@", "a: \"\\q\""] {
        let found = problems(text);
        assert!(found.len() == 1 && found[0].starts_with("YAML_SYNTAX "), "{text}: {found:?}");
    }
}

#[test]
fn byte_order_marks_and_odd_line_ends_are_read() {
    let source = read("\u{feff}a: 1\nb: x\n");
    assert_eq!(*source.json(), json!({"a": 1, "b": "x"}));
    assert_eq!(source.position(source.value_span("/b").start), (2, 4));
    assert_eq!(*read("a: 1\rb: 2\r").json(), json!({"a": 1, "b": 2}));
}

#[test]
fn aliases_are_copied() {
    assert_eq!(*read("a: &x {b: 1}\nc: *x\n").json(), json!({"a": {"b": 1}, "c": {"b": 1}}));
}

#[test]
fn bombs_are_refused_fast() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let line = format!("a{level}: &a{level} [{}]\n", vec![format!("*a{}", level - 1); 10].join(", "));
        bomb.push_str(&line);
    }
    let text_bomb = format!("a: &a \"{}\"\nb: [{}]\n", "x".repeat(500_000), vec!["*a"; 10_000].join(", "));
    let mut nested = String::new();
    for level in 0..1_400 {
        let _ = writeln!(nested, "{}a:", " ".repeat(level));
    }
    let cases = [
        ("x".repeat(10_000_000), "YAML_TOO_LARGE"),
        (bomb, "YAML_TOO_MANY_NODES"),
        (text_bomb, "YAML_TOO_MANY_NODES"),
        ("[".repeat(100_000), "YAML_TOO_DEEP"),
        ("{a: ".repeat(100_000), "YAML_TOO_DEEP"),
        ("- ".repeat(100_000), "YAML_TOO_DEEP"),
        (nested[..nested.len().min(MAX_BYTES)].to_owned(), "YAML_TOO_DEEP"),
        (format!("[{}]", "a,".repeat(300_000)), "YAML_TOO_MANY_NODES"),
        ("\"".repeat(1_000_000), "YAML_SYNTAX"),
        ("&a ".repeat(300_000), "YAML_SYNTAX"),
        ("? ".repeat(300_000), "YAML_"),
    ];
    for (text, code) in cases {
        let started = Instant::now();
        let found = problems(&text);
        let took = started.elapsed();
        let start = &text[..text.len().min(20)];
        assert!(found.last().is_some_and(|p| p.starts_with(code)), "{start}: {:?}", found.first());
        // What is shipped is some ten times faster than the debug build, and tests share the machine.
        assert!(
            took < Duration::from_millis(if cfg!(debug_assertions) { 10_000 } else { 200 }),
            "{start} took {took:?}"
        );
    }
}
