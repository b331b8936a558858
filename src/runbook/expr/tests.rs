use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;

struct World(Value);

impl Scope for World {
    fn root(&self, name: &str) -> Option<Value> {
        self.0.get(name).cloned()
    }

    fn step(&self, id: &str) -> Option<Value> {
        self.0.get("steps")?.get(id).cloned()
    }

    fn holds(&self, function: StatusFunction) -> bool {
        matches!(function, StatusFunction::Always | StatusFunction::Failure)
    }
}

fn world() -> World {
    World(json!({
        "params": {"env": "prod", "n": 3, "big": u64::MAX, "half": 0.5, "hosts": ["a", "b"], "map": {"z": 1, "a": 2}, "none": null},
        "env": {"HOME": "/root"},
        "item": {"name": "x"},
        "steps": {"build": {"outputs": {"id": 7, "tags": ["x"]}, "status": "succeeded", "result": {"exit_code": 0}}},
    }))
}

fn eval(source: &str) -> Result<Value, String> {
    Expr::compile(source).map_err(|error| format!("compile: {error}"))?.eval(&world()).map_err(|error| error.message)
}

/// Lines of `expression => JSON`, or `expression => ! message`.
fn check(table: &str) {
    for line in table.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (source, expected) = line.split_once(" => ").unwrap();
        match (expected.strip_prefix("! "), eval(source)) {
            (Some(message), Err(error)) => assert_eq!(error, message, "{source}"),
            (None, Ok(value)) => assert_eq!(value.to_string(), expected, "{source}"),
            (_, result) => unreachable!("{source}: {result:?}"),
        }
    }
}

#[test]
fn values_keep_their_types() {
    check(
        r#"
        params.n => 3
        params.n + 1 => 4
        params.big => 18446744073709551615
        params.half * 2.0 => 1.0
        params.hosts => ["a","b"]
        params.map => {"z":1,"a":2}
        params.none => null
        params.none == null => true
        params.n == 3 ? 'three' : 'other' => "three"
        params.hosts.map(h, h + '!') => ["a!","b!"]
        params.hosts.filter(h, h != 'a') => ["b"]
        params.hosts.exists(h, h == 'b') && params.hosts.all(h, size(h) == 1) => true
        params.map.map(k, k) => ["a","z"]
        {'b': 1, 'a': [params.n]} => {"a":[3],"b":1}
        'b' in params.hosts => true
        has(params.nothing) => false
        params.?nothing.orValue('x') => "x"
        optional.of(params.n).value() => 3
        optional.none() => null
        params['env'] + '-' + string(params.n) => "prod-3"
        params.hosts[1] => "b"
        'web-01'.matches('^[a-z]+-[0-9]+$') => true
        type(params.n) == int => true
        timestamp('2026-01-02T03:04:05Z') => "2026-01-02T03:04:05+00:00"
        duration('90s') => "90000ms"
        steps.build.outputs.id => 7
        steps.build.outputs.id + 1 => 8
        steps['build'].status == 'succeeded' => true
        failure() && !success() && always() => true
        cancelled() => false
        -params.n => -3
        "#,
    );
}

#[test]
fn failures_are_readable() {
    check(
        r"
        params.envv => ! no such key `envv` in `params`; did you mean `env`?
        steps.build.outputs.it + 1 => ! no such key `it` in `steps.build.outputs`; did you mean `id`?
        steps.other.outputs.x => ! there is no step `other` here
        steps.build.outputs.id.x => ! `steps.build.outputs.id` is a number and has no key `x`
        nothing.x => ! `nothing` is not known here
        params.n + 'a' => ! `+` does not work on int and string
        params.n + 1.5 => ! `+` does not work on int and float
        1 / 0 => ! division by zero
        9223372036854775807 + 1 => ! `+` gives a number that is too large
        params.hosts[9] => ! the index is beyond the end of the list
        1.0 / 0.0 => ! the result is inf, which JSON does not have
        params.env && true => ! `&&` does not work on string and bool
        b'abc' => ! a value of the type `bytes` cannot be a result; convert it with `string(…)`
        int('x') > 1 => ! `int` failed: string parse error: invalid digit found in string
        ",
    );
}

#[test]
fn what_does_not_parse_says_where() {
    let cases = [
        ("", None, "an expression is missing"),
        ("1 +", Some(3), "the expression ends too early"),
        ("params.", Some(7), "expected identifier after '.'"),
        ("a b", Some(2), "unexpected `b`"),
        ("'ä' + )", Some(7), "unexpected `)`"),
        ("sise(params.hosts)", Some(0), "there is no function `sise`; did you mean `size`?"),
        ("sucess()", Some(0), "there is no function `sucess`; did you mean `success`?"),
        ("always(1)", Some(0), "`always()` takes no arguments"),
        ("size(1, 2)", Some(0), "`size` does not take this number of arguments"),
        ("steps[params.x]", Some(0), "`steps` is followed by the id of a step, as in `steps.build.outputs`"),
        ("Foo{a: 1}", Some(0), "`Foo{…}` is not available: there are no message types"),
        ("'a'.matches('(')", Some(4), "the pattern is not usable: unclosed group"),
        ("[1].map(a, [1].map(b, [1].map(c, c)))", None, "comprehensions nest deeper than 2"),
    ];
    for (source, offset, message) in cases {
        let error = Expr::compile(source).unwrap_err();
        assert_eq!((error.message.as_str(), error.offset), (message, offset), "{source}");
    }
}

#[test]
fn references_leave_out_bound_names_and_types() {
    let expr = Expr::compile(
        "params.hosts.filter(h, h.x == params.n && h in steps.a.outputs.list) == [] || steps.b.result.x == type(int) || success()",
    )
    .unwrap();
    let found = expr.references();
    assert_eq!(found.roots, ["params"]);
    assert_eq!(found.steps, ["a", "b"]);
    assert_eq!(found.results, ["b"]);
    assert!(found.status_function);
    let paths: Vec<String> =
        found.mentions.iter().map(|mention| format!("{}@{}", mention.path.join("."), mention.offset)).collect();
    assert_eq!(paths, ["params.hosts@0", "params.n@30", "steps.a.outputs.list@47", "steps.b.result.x@78"]);
}

#[test]
fn a_plan_stores_the_source() {
    let expr = Expr::compile("params.a +  1").unwrap();
    assert_eq!(serde_json::to_value(&expr).unwrap(), json!("params.a +  1"));
    assert_eq!(serde_json::from_value::<Expr>(json!("params.a +  1")).unwrap(), expr);
    assert!(serde_json::from_value::<Expr>(json!("(")).is_err());
}

#[test]
fn hostile_sources_are_refused_fast() {
    let sources = [
        "(".repeat(5_000),
        "(".repeat(4_000),
        "!".repeat(4_000) + "true",
        "-".repeat(4_000) + "1",
        "a.".repeat(2_000) + "a",
        "a+".repeat(2_000) + "a",
        "[".repeat(2_000) + &"]".repeat(2_000),
        "{1:".repeat(1_000) + "1" + &"}".repeat(1_000),
        "a?".repeat(1_000) + "a" + &":a".repeat(1_000),
        "x\u{0}\u{1}\u{feff}".repeat(500),
        "'".to_owned(),
        "'''".to_owned(),
        "r'\\".to_owned(),
        "a[".repeat(300),
        "f(".repeat(300),
        "\"\\u".to_owned(),
        "1".repeat(4_000),
        "a in ".repeat(700) + "a",
        "a && ".repeat(120) + "a",
        "a == ".repeat(120) + "a",
        "a ? a : ".repeat(120) + "a",
        "(".repeat(24) + "1" + &")".repeat(24),
        "(-".repeat(24) + "1" + &")".repeat(24),
        "a.b(".repeat(24) + "1" + &")".repeat(24),
    ];
    for source in sources {
        let started = Instant::now();
        if let Ok(expr) = Expr::compile(&source) {
            let _ = expr.eval(&world());
        }
        assert!(
            started.elapsed() < Duration::from_millis(if cfg!(debug_assertions) { 5_000 } else { 200 }),
            "{} took {:?}",
            &source[..20.min(source.len())],
            started.elapsed()
        );
    }
}

#[test]
fn hostile_evaluations_end() {
    let list: Vec<Value> = (0..20_000).map(|i| json!({"n": i, "s": "x".repeat(20)})).collect();
    let world = World(json!({"params": {"list": list, "text": "x".repeat(200_000)}}));
    let doubling = format!("[params.text]{}", ".map(a, a + a)".repeat(20));
    let sources = [
        "params.list.map(a, params.list.map(b, a.n + b.n))",
        "params.list.exists(a, params.list.exists(b, a.n == b.n - 100000))",
        "params.list.all(a, a in params.list)",
        "params.list.map(a, params.text)",
        "params.list.all(a, params.text == params.text + 'x' || true)",
        "params.list.all(a, params.text.matches('(a|b|x)*y') || true)",
        "params.text.matches('((\\\\w{50}){50}' + '){50}')",
        "[params.list, params.list, params.list, params.list, params.list]",
        doubling.as_str(),
    ];
    for source in sources {
        let started = Instant::now();
        let error = Expr::compile(source).unwrap().eval(&world).unwrap_err();
        // Debug builds are some ten times slower than what is shipped, and tests share the machine.
        let limit = Duration::from_secs(if cfg!(debug_assertions) { 30 } else { 1 });
        assert!(started.elapsed() < limit, "{source} took {:?}: {error}", started.elapsed());
    }
}

#[test]
fn deep_and_large_values_are_refused() {
    let mut deep = json!(1);
    for _ in 0..200 {
        deep = json!([deep]);
    }
    let world = World(
        json!({"params": Map::from_iter([("deep".to_owned(), deep), ("text".to_owned(), json!("x".repeat(300_000)))])}),
    );
    let eval = |source: &str| Expr::compile(source).unwrap().eval(&world).unwrap_err().message;
    assert_eq!(eval("size(params.deep) == 1"), "a value nests deeper than 128 levels");
    assert_eq!(eval("params.text"), "the result is larger than 256 KiB");
    assert_eq!(eval("params.text + 'x'"), "the result is larger than 256 KiB");
}

#[test]
fn arithmetic_never_panics() {
    let sources = [
        "timestamp('9999-12-31T23:59:59Z') + duration('1000000h')",
        "timestamp('0001-01-01T00:00:00Z') - duration('1000000h')",
        "timestamp('9999-12-31T23:59:59Z') - timestamp('0001-01-01T00:00:00Z')",
        "duration('2000000h') + duration('2000000h')",
        "duration('9223372036s') + duration('9223372036s')",
        "duration('-9223372036854775s') - duration('9223372036854775s')",
        "-9223372036854775808 / -1",
        "-9223372036854775808 % -1",
        "-(-9223372036854775808)",
        "-9223372036854775808 - 1",
        "9223372036854775807 * 2",
        "18446744073709551615u + 1u",
        "0u - 1u",
        "1 % 0",
        "int(1e300)",
        "int(-1e300)",
        "uint(-1.0)",
        "uint(1e300)",
        "int('9223372036854775808')",
        "[1][-1]",
        "[1][9223372036854775807]",
        "'abc'[0]",
        "{1: 2}[1.5]",
        "timestamp('x')",
        "duration('x')",
        "timestamp('2026-01-01T00:00:00Z').getHours('nowhere/else')",
        "timestamp('2026-01-01T00:00:00Z').getHours('+99:99')",
        "string(b'\\xff')",
        "{'a': 1, 'a': 2}",
        "{[1]: 2}",
        "null + null",
        "optional.none().value()",
        "[1, 2].map(x, x, x)",
        "params.?a.?b.?c",
        "type(type(1))",
        "timestamp(9223372036854775807)",
        "timestamp(-9223372036854775807)",
        "int(timestamp('2026-01-01T00:00:00Z'))",
        "size(1)",
        "'a' in 'abc'",
        "1 in {'a': 1}",
        "double('nan') == double('nan')",
    ];
    for source in sources {
        if let Err(message) = eval(source) {
            assert!(!message.contains("gave up"), "{source}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the words, compiling and evaluating answer, and offsets are inside of the text.
    #[test]
    fn random_words_never_panic(
        words in prop::collection::vec("params|steps|\\.|build|outputs|hosts|n|env|\\[|\\]|\\(|\\)|\\{|\\}|:|,|'a'|\"|'|ä|1|-|\\+|/|%|\\?|==|&&|!|map|has|size|h|in|matches| |always|u|1e9|b'x'|optional|of", 0..24)
    ) {
        let source = words.concat();
        match Expr::compile(&source) {
            Ok(expr) => {
                let _ = expr.eval(&world());
                for mention in &expr.references().mentions {
                    prop_assert!(source.is_char_boundary(mention.offset));
                }
            }
            Err(error) => prop_assert!(error.offset.is_none_or(|offset| source.is_char_boundary(offset)), "{source}: {error:?}"),
        }
    }
}
