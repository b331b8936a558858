//! `files:`: what belongs to a runbook reaches its steps.

use std::{fs, os::unix::fs::PermissionsExt};

use super::world::World;

#[test]
fn files_reach_the_steps_and_nobody_may_write_to_them() {
    let world = World::new();
    fs::create_dir_all(world.path("books/scripts")).unwrap();
    fs::write(world.path("books/scripts/hello.sh"), "#!/bin/sh\necho \"hello $1\"\n").unwrap();
    fs::set_permissions(world.path("books/scripts/hello.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(world.path("books/data.txt"), "from the data\n").unwrap();
    let body = r#"files: [data.txt, "scripts/*.sh"]
steps:
  - id: use_them
    run: |
      "$OPSROOM_FILES/scripts/hello.sh" Ada
      cat "$OPSROOM_FILES/data.txt"
      for change in "$OPSROOM_FILES/new" "$OPSROOM_FILES/data.txt" "$OPSROOM_FILES/scripts/new"; do
        test ! -w "$(dirname "$change")" || test "$(id -u)" = 0
      done
      ls -ld "$OPSROOM_FILES/data.txt" "$OPSROOM_FILES/scripts/hello.sh" "$OPSROOM_FILES" | cut -c1-10 > "$OPSROOM_SUMMARY"
"#;
    fs::write(world.path("books/it.yaml"), format!("version: 1\nname: it\n{body}")).unwrap();
    let ended = world.ends(["run", "books/it.yaml"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let logs = world.ends(["logs", "@latest"]).stdout;
    assert!(logs.contains("hello Ada") && logs.contains("from the data"), "{logs}");
    let plan = |file: &str| world.json(["plan", file])["plan"].clone();
    let before = plan("books/it.yaml");
    fs::write(world.path("books/data.txt"), "other\n").unwrap();
    assert_ne!(plan("books/it.yaml"), before, "the plan pins what is in the files");
    fs::write(world.path("books/data.txt"), "from the data\n").unwrap();
    assert_eq!(plan("books/it.yaml"), before);
    let laid: Vec<_> = fs::read_dir(world.data().join("bundles")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(laid.len(), 1, "{laid:?}");
    let mode = |name: &str| fs::metadata(laid[0].join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("data.txt"), mode("scripts/hello.sh"), mode("scripts")), (0o400, 0o500, 0o500));
}

#[test]
fn what_files_cannot_find_is_said_with_its_place() {
    let world = World::new();
    std::os::unix::fs::symlink("/etc/passwd", world.path("link")).unwrap();
    world
        .runbook("wrong", "files:\n  - missing/*.sh\n  - /etc/passwd\n  - ../up\n  - link\nsteps: [{id: a, run: x}]\n");
    let ended = world.ends(["validate", "wrong.yaml"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let report = world.json(["validate", "wrong.yaml"]);
    let found: Vec<(String, u64)> = report["files"][0]["diagnostics"]
        .as_array()
        .unwrap()
        .iter()
        .map(|problem| (problem["code"].as_str().unwrap().to_owned(), problem["line"].as_u64().unwrap()))
        .collect();
    let expected = [("FILES_UNMATCHED", 4), ("FILES_OUTSIDE", 5), ("FILES_OUTSIDE", 6), ("FILES_UNREADABLE", 7)];
    assert_eq!(found, expected.map(|(code, line)| (code.to_owned(), line)));
    assert!(ended.stdout.contains("wrong.yaml:4:5"), "{}", ended.stdout);
}

#[test]
fn a_runbook_without_files_has_no_folder_of_files() {
    let world = World::new();
    world.runbook("plain", "steps:\n  - {id: a, run: 'test -z \"${OPSROOM_FILES+x}\"'}\n");
    assert_eq!(world.ends(["run", "plain.yaml"]).code, Some(0));
    assert!(!world.data().join("bundles").exists());
}
