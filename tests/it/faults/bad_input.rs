//! Files and params that nobody should have to fear: refused at once, with a code and a place.

use std::{
    fmt::Write as _,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{
    bars::{figure, judge},
    traces::peak_memory,
};
use crate::cli::world::World;

const WITHIN: Duration = Duration::from_millis(200);

/// What a refusal may add to the memory of the process, in KiB.
const ROOM: u64 = 64 << 10;

const HEAD: &str = "version: 1\nname: bad\n";
const STEP: &str = "steps: [{id: a, run: [\"true\"]}]\n";

/// A file, the code of its problem, and the line and column where it is.
struct Bad {
    name: &'static str,
    bytes: Vec<u8>,
    code: &'static str,
    at: (u64, u64),
}

fn bad(name: &'static str, text: impl Into<Vec<u8>>, code: &'static str, at: (u64, u64)) -> Bad {
    Bad { name, bytes: text.into(), code, at }
}

fn files() -> Vec<Bad> {
    let many = (0..90_000).fold(format!("{HEAD}steps:\n"), |mut text, step| {
        writeln!(text, "  - {{id: s{step}, run: [\"true\", \"{}\"]}}", "x".repeat(80)).unwrap();
        text
    });
    let aliases = (1..10).fold(format!("{HEAD}l0: &l0 [x,x,x,x,x,x,x,x,x,x]\n"), |mut text, level| {
        let below = vec![format!("*l{}", level - 1); 10].join(",");
        writeln!(text, "l{level}: &l{level} [{below}]").unwrap();
        text
    });
    let deep = |piece: &str| format!("{HEAD}steps: {}", piece.repeat(100_000));
    let bomb = "((a{1000}){1000}){1000}";
    let circle = "steps:\n  - {id: a, needs: [b], run: [\"true\"]}\n  - {id: b, needs: [a], run: [\"true\"]}\n";
    let nested = format!("{}true{}", "(".repeat(100_000), ")".repeat(100_000));
    let step_if = |condition: &str| format!("steps:\n  - id: a\n    if: {condition}\n    run: [\"true\"]\n");
    let windows =
        format!("\u{feff}{HEAD}steps:\n  - id: a\n    run: [\"true\"]\n    tmeout: 5s\n").replace('\n', "\r\n");
    let params = "params: {x: {type: string}}\n";
    vec![
        bad("ten megabytes", many, "YAML_TOO_LARGE", (1, 1)),
        bad("an alias bomb", format!("{aliases}{STEP}"), "YAML_TOO_MANY_NODES", (7, 9)),
        bad("deep lists", deep("["), "YAML_TOO_DEEP", (3, 263)),
        bad("deep maps", deep("{a: "), "YAML_TOO_DEEP", (3, 260)),
        bad("deep dashes", format!("{HEAD}steps:\n{}\n", "- ".repeat(100_000)), "YAML_TOO_DEEP", (4, 127)),
        bad("a circle", format!("{HEAD}{circle}"), "NEEDS_CYCLE", (5, 21)),
        bad(
            "a pattern bomb",
            format!("{HEAD}params: {{x: {{type: string, pattern: \"{bomb}\"}}}}\n{STEP}"),
            "BAD_PARAM_SCHEMA",
            (3, 37),
        ),
        bad(
            "a matches bomb",
            format!("{HEAD}{params}{}", step_if(&format!("params.x.matches(\"{bomb}\")"))),
            "EXPRESSION_SYNTAX",
            (6, 18),
        ),
        bad("a deep expression", format!("{HEAD}{}", step_if(&nested)), "EXPRESSION_SYNTAX", (5, 9)),
        bad("a NUL", format!("{HEAD}steps: [{{id: a, run: [\"tr\0ue\"]}}]\n"), "YAML_SYNTAX", (3, 26)),
        bad("only NULs", vec![0; 1_000_000], "YAML_SYNTAX", (1, 1)),
        bad("nothing", "", "YAML_SYNTAX", (1, 1)),
        bad("Windows lines", windows, "UNKNOWN_KEY", (6, 5)),
    ]
}

/// What a refusal took.
struct Cost {
    time: Duration,
    memory: u64,
    code: Option<i32>,
    said: Value,
}

fn costs(world: &World, arguments: &[&str]) -> Cost {
    let output = world.path("said");
    let mut command = world.command(["--output", "json"]);
    command.args(arguments).stdout(std::fs::File::create(&output).unwrap()).stderr(Stdio::null());
    let started = Instant::now();
    let (status, memory) = peak_memory(&mut command.spawn().unwrap());
    let said = std::fs::read_to_string(&output).unwrap();
    assert!(said.len() < 20_000, "{} bytes about {arguments:?}", said.len());
    Cost { time: started.elapsed(), memory, code: status.code(), said: serde_json::from_str(&said).unwrap() }
}

#[test]
fn bad_files_are_refused_at_once() {
    let world = World::new();
    world.runbook("good", STEP);
    let floor = costs(&world, &["validate", "good.yaml"]).memory;
    let (mut slowest, mut largest) = ((Duration::ZERO, ""), 0);
    for Bad { name, bytes, code, at } in files() {
        std::fs::write(world.path("bad.yaml"), bytes).unwrap();
        let validated = costs(&world, &["validate", "bad.yaml"]);
        let run = costs(&world, &["run", "bad.yaml"]);
        assert_eq!((validated.code, run.code), (Some(1), Some(2)), "{name}: {}", validated.said);
        assert_eq!(run.said["error"]["code"], "RUNBOOK_INVALID", "{name}");
        for problem in [&validated.said["files"][0]["diagnostics"][0], &run.said["error"]["diagnostics"][0]] {
            let place = [&problem["line"], &problem["column"]].map(|number| number.as_u64().unwrap());
            assert_eq!((problem["code"].as_str().unwrap(), place), (code, [at.0, at.1]), "{name}: {problem}");
        }
        for cost in [validated, run] {
            slowest = slowest.max((cost.time, name));
            largest = largest.max(cost.memory.saturating_sub(floor));
            assert!(cost.memory <= floor + ROOM, "{name}: {} KiB, a good file {floor} KiB", cost.memory);
        }
    }
    judge(
        "bad input",
        format!("the slowest refusal {:?} ({}), the largest {largest:+} KiB", slowest.0, slowest.1),
        slowest.0 < WITHIN,
    );
    assert!(!world.data().exists(), "nothing was made for what was not run");
}

#[test]
fn what_cannot_be_read_is_refused() {
    let world = World::new();
    std::fs::create_dir(world.path("folder.yaml")).unwrap();
    std::fs::write(world.path("latin.yaml"), b"version: 1\nname: bad\ndescription: caf\xe9\n").unwrap();
    for (file, why) in
        [("folder.yaml", "Is a directory"), ("missing.yaml", "No such file"), ("latin.yaml", "line 3 is not UTF-8")]
    {
        for command in ["validate", "run"] {
            let cost = costs(&world, &[command, file]);
            let error = &cost.said["error"];
            assert_eq!((cost.code, error["code"].as_str()), (Some(2), Some("FILE_UNREADABLE")), "{}", cost.said);
            assert!(error["message"].as_str().unwrap().contains(why), "{error}");
        }
    }
}

#[test]
fn bad_params_are_refused_at_once() {
    let world = World::new();
    let lists = format!("{}{}", "[".repeat(60_000), "]".repeat(60_000));
    let backtracking = format!("{}!", "a".repeat(100_000));
    world.runbook("lists", &format!("params: {{x: {{type: array}}}}\n{STEP}"));
    world.runbook("matched", &format!("params: {{x: {{type: string, pattern: \"^(a+)+$\"}}}}\n{STEP}"));
    write(&world.path("deep.json"), &format!("{{\"x\": {lists}}}"));
    write(
        &world.path("aliases.yaml"),
        &(1..12).fold("l0: &l0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned(), |text, level| {
            format!("{text}l{level}: &l{level} [{}]\n", vec![format!("*l{}", level - 1); 10].join(","))
        }),
    );
    let cases = [
        ("lists.yaml", "-p", format!("x={lists}"), "BAD_PARAM"),
        ("lists.yaml", "--params-file", "deep.json".to_owned(), "BAD_PARAMS_FILE"),
        ("lists.yaml", "--params-file", "aliases.yaml".to_owned(), "BAD_PARAMS_FILE"),
        ("matched.yaml", "-p", format!("x={backtracking}"), "BAD_PARAM"),
    ];
    let mut slowest = Duration::ZERO;
    for (file, option, value, code) in cases {
        let cost = costs(&world, &["run", file, option, &value]);
        assert_eq!((cost.code, cost.said["error"]["code"].as_str()), (Some(2), Some(code)), "{}", cost.said);
        slowest = slowest.max(cost.time);
        figure("bad params", format!("{file} {option}: {:?}, {} KiB", cost.time, cost.memory));
    }
    judge("bad params", format!("the slowest refusal {slowest:?}"), slowest < WITHIN);
    assert!(!world.data().exists(), "nothing was made for what was not run");
}

fn write(file: &Path, text: &str) {
    std::fs::write(file, text).unwrap();
}
