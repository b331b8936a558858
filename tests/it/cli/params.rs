//! How params are given.

use super::world::World;

const PARAMS: &str = "\
params:
  text: {type: string}
  number: {type: integer, default: 1}
  list: {type: array, items: {type: string}, default: []}
steps:
  - id: show
    uses: log
    with: {message: \"text=${{ params.text }} number=${{ params.number }} list=${{ params.list }}\"}
";

fn logged<const N: usize>(arguments: [&str; N]) -> String {
    let world = World::new();
    world.runbook("params", PARAMS);
    std::fs::write(world.path("params.yaml.txt"), "text: from-file\nnumber: 5\n").unwrap();
    let run = world.command(arguments).output().unwrap();
    assert_eq!(run.status.code(), Some(0), "{run:?}");
    world.ends(["logs"]).stdout
}

#[test]
fn strings_are_literal_and_others_json() {
    for text in ["007", "null", "@x", "true", "a=b", ""] {
        let given = format!("text={text}");
        assert_eq!(
            logged(["run", "params.yaml", "-p", &given, "-p", "number=42", "-p", "list=[\"a\"]"]),
            format!("text={text} number=42 list=[\"a\"]\n")
        );
    }
}

#[test]
fn a_file_gives_params_and_options_win() {
    let run = ["run", "params.yaml", "--params-file", "params.yaml.txt", "-p", "number=6"];
    assert_eq!(logged(run), "text=from-file number=6 list=[]\n");
}

#[test]
fn all_that_is_wrong_is_told() {
    let world = World::new();
    world.runbook("params", PARAMS);
    let run = world.ends(["run", "params.yaml", "-p", "txt=1", "-p", "number=many", "-p", "list={}"]);
    assert_eq!(run.code, Some(2), "{run:?}");
    for part in [
        "error[BAD_PARAM]",
        "`txt`",
        "did you mean `text`?",
        "`text`: it has to be given",
        "`many` is not JSON",
        "`list`",
    ] {
        assert!(run.stderr.contains(part), "{part}: {run:?}");
    }
    let json = world.json(["run", "params.yaml", "-p", "txt=1"]);
    assert_eq!(json["error"]["params"].as_array().unwrap().len(), 2, "{json}");
    assert!(world.ends(["run", "params.yaml", "-p", "text"]).stderr.contains("has no value"));
    assert!(world.ends(["run", "params.yaml", "--params-file", "no"]).stderr.contains("error[FILE_UNREADABLE]"));
    assert_eq!(world.json(["runs"])["items"], serde_json::json!([]), "nothing was stored");
}
