//! What is printed, and what never is.

use std::{
    io::{BufRead as _, BufReader},
    process::Stdio,
};

use super::world::World;

#[test]
fn a_reader_that_leaves_changes_nothing_else() {
    let world = World::new();
    world.runbook(
        "talks",
        "steps: [{id: talk, run: \"for i in $(seq 2000); do echo line $i; done\"}, {id: bad, needs: [talk], run: [\"false\"]}]\n",
    );
    for (arguments, code) in [(["run", "talks.yaml"], 1), (["logs", "@latest"], 0), (["events", "@latest"], 0)] {
        let mut child = world.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut first = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(!first.is_empty());
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{arguments:?}");
    }
    assert_eq!(world.json(["show"])["status"], "failed");
}

#[test]
fn colours_follow_no_color() {
    let world = World::new();
    for (name, coloured) in [("CLICOLOR_FORCE", true), ("NO_COLOR", false)] {
        let output = world.command(["show", "@latest"]).env(name, "1").output().unwrap();
        assert_eq!(output.stderr.contains(&0x1b), coloured, "{name}");
    }
}

#[test]
fn a_secret_is_seen_by_its_step_only() {
    const SECRET: &str = "c4n4ry-v4lue-0123456789";
    let world = World::new();
    world.runbook(
        "keys",
        "secrets: [api_key]\nsteps:\n  - id: with_it\n    secrets: [api_key]\n    run: |\n      echo \"${#API_KEY} $API_KEY\"; echo \"out=$API_KEY\" >> \"$OPSROOM_OUTPUT\"; echo \"$API_KEY\" >&2; exit 4\n  - id: without\n    run: env\n",
    );
    let command = |arguments: [&str; 2]| {
        let mut command = world.command(arguments);
        command.env("OPSROOM_SECRET_API_KEY", SECRET).env("OPSROOM_LOG", "trace");
        command.output().unwrap()
    };
    let mut said = Vec::new();
    for arguments in [
        ["run", "keys.yaml"],
        ["show", "@latest"],
        ["logs", "@latest"],
        ["events", "@latest"],
        ["events", "--output=json"],
    ] {
        let output = command(arguments);
        said.extend(output.stdout);
        said.extend(output.stderr);
    }
    let said = String::from_utf8_lossy(&said);
    assert!(said.contains(&format!("{} ***", SECRET.len())), "the step had it: {said}");
    assert!(!said.contains(SECRET), "{said}");
    assert!(!said.contains("OPSROOM_SECRET"), "not inherited");
    for file in files(&world.data()) {
        let bytes = std::fs::read(&file).unwrap();
        assert!(!bytes.windows(SECRET.len()).any(|window| window == SECRET.as_bytes()), "{}", file.display());
    }
}

#[test]
fn a_missing_secret_says_what_to_set() {
    let world = World::new();
    world.runbook("keys", "secrets: [api_key]\nsteps: [{id: a, secrets: [api_key], run: [\"true\"]}]\n");
    let run = world.ends(["run", "keys.yaml"]);
    assert!(run.code == Some(1) && run.stdout.contains("OPSROOM_SECRET_API_KEY"), "{run:?}");
}

#[test]
fn a_variable_with_another_tools_name_is_told_of() {
    let world = World::new();
    let output =
        world.command(["runs"]).env("OPSROOM_TOKEN", "c4n4ry").env("OPSROOM_SECRET_TOKEN", "x").output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && told.contains("OPSROOM_TOKEN is not read; OPSROOM_KEY"), "{told}");
    assert!(!told.contains("c4n4ry") && !told.contains("OPSROOM_SECRET_TOKEN"), "{told}");
}

fn files(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[test]
fn only_the_owner_can_read_the_data_folder() {
    use std::os::unix::fs::PermissionsExt as _;
    let world = World::new();
    world.ends(["runs"]);
    assert_eq!(std::fs::metadata(world.data()).unwrap().permissions().mode() & 0o777, 0o700);
}
