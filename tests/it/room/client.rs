//! The command line as a client of a server.

use std::{collections::BTreeSet, process::Command};

use rustix::process::Signal;
use serde_json::Value;

use super::Room;
use crate::cli::world::{Ended, World, ended, until};

/// Leaves an output, a file and words on both streams behind.
const MADE: &str = "\
params: {who: {type: string, default: nobody}, times: {type: integer, default: 1}}
labels: {team: db}
steps:
  - id: make
    env: {WHO: \"${{ params.who }}\"}
    run: |
      echo \"for $WHO\"; echo err >&2
      echo n=7 >> \"$OPSROOM_OUTPUT\"
      printf 'report\\n' > \"$OPSROOM_ARTIFACTS/report.txt\"
  - {id: say, needs: [make], uses: log, with: {message: \"n is ${{ steps.make.outputs.n }}\"}}
";

/// Begins again when its worker is gone.
const TICKER: &str = "\
steps:
  - id: count
    effect: idempotent
    run: |
      if [ -e MARK ]; then last=30; else touch MARK; last=100000; fi
      for ((n = 1; n <= last; n++)); do echo \"tick $n\"; sleep 0.05; done
";

const SLOW: &str = "\
steps: [{id: work, run: \"touch MARK; exec sleep 600\"}]
on_cancel: [{id: undo, run: [touch, MARK.undone]}]
";

/// What is printed of a run; the words in capitals stand for its ids.
const COMMANDS: &[&[&str]] = &[
    &["runs"],
    &["runs", "--status", "succeeded", "--lane", "C", "--label", "ticket=OPS-7", "--session", "SESSION"],
    &["runs", "--trigger", "api", "--text", "MADE", "--since", "2020-01-01T00:00:00Z"],
    &["runs", "--runbook", "other"],
    &["show", "ID"],
    &["show", "BEGIN"],
    &["why", "@latest"],
    &["logs", "@latest"],
    &["logs", "-f", "--step", "make", "--stream", "stderr"],
    &["events", "@latest"],
    &["events", "-f", "--after", "2"],
    &["sessions"],
    &["sessions", "show", "SESSION"],
    &["artifacts", "list"],
    &["runbooks", "versions", "made"],
    &["runbooks", "source", "made@1"],
    &["validate", "runbooks/made.yaml"],
    // What goes wrong is the same as well.
    &["show", "@latest~7"],
    &["logs", "@latest", "--step", "nope"],
    &["resolve", "@latest", "make", "retry"],
    &["cancel", "@latest"],
    &["runbooks", "show", "none"],
    &["runs", "--cursor", "x"],
];

/// A room whose folder has these runbooks; `MARK` is a file of its world.
fn room(runbooks: &[(&str, &str)]) -> Room {
    let world = World::new();
    std::fs::create_dir(world.path("runbooks")).unwrap();
    for (name, body) in runbooks {
        let body = body.replace("MARK", world.path("mark").to_str().unwrap());
        let text = format!("version: 1\nname: {name}\n{body}");
        std::fs::write(world.path("runbooks").join(format!("{name}.yaml")), text).unwrap();
    }
    let room = Room::on(world, &["--drain", "1s"]);
    until("the runbooks are stored", || {
        let list = room.get("/v1/runbooks").ok(200);
        list["items"].as_array().unwrap().len() == runbooks.len()
    });
    room
}

/// A command that knows nothing but the server's URL and key, in a folder of its own.
fn away(room: &Room, elsewhere: &World, arguments: &[&str]) -> Command {
    let mut command = elsewhere.command([]);
    command.args(arguments).args(["--server", &room.url]).env("OPSROOM_KEY", &room.key);
    command
}

fn far(room: &Room, elsewhere: &World, arguments: &[&str]) -> Ended {
    ended(away(room, elsewhere, arguments).output().unwrap())
}

fn near(room: &Room, arguments: &[&str]) -> Ended {
    ended(room.world.command([]).args(arguments).output().unwrap())
}

fn json(ended: &Ended) -> Value {
    serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended:?}"))
}

#[test]
fn every_command_prints_the_same_here_and_from_a_server() {
    let (room, elsewhere) = (room(&[("made", MADE)]), World::new());
    let session = json(&far(&room, &elsewhere, &["sessions", "create", "release 7", "--output", "json"]));
    let session = session["id"].as_str().unwrap();
    let options = ["--session", session, "-p", "who=ann", "-p", "times=3", "--label", "ticket=OPS-7", "--lane", "C"];
    let ran = far(&room, &elsewhere, &[&["run", "made"], &options[..]].concat());
    assert_eq!(ran.code, Some(0), "{ran:?}");
    for part in ["made started", "make | for ann", "say | n is 7", "made succeeded", "make.n = 7", "report.txt"] {
        assert!(ran.stdout.contains(part), "{part}: {ran:?}");
    }
    let run = json(&near(&room, &["show", "--output", "json"]));
    let id = run["id"].as_str().unwrap();
    assert_eq!((&run["session_id"], &run["lane"], &run["params"]["times"]), (&session.into(), &"C".into(), &3.into()));
    assert_eq!((&run["labels"]["team"], &run["labels"]["ticket"]), (&"db".into(), &"OPS-7".into()));
    std::fs::create_dir(elsewhere.path("runbooks")).unwrap();
    std::fs::copy(room.world.path("runbooks/made.yaml"), elsewhere.path("runbooks/made.yaml")).unwrap();
    let word = |word: &'static str| match word {
        "ID" => id,
        "BEGIN" => &id[..14],
        "SESSION" => session,
        word => word,
    };
    for command in COMMANDS {
        for format in ["text", "json"] {
            let command: Vec<&str> = command.iter().copied().map(word).collect();
            let arguments = [&command, &["--output", format][..]].concat();
            let (here, there) = (near(&room, &arguments), far(&room, &elsewhere, &arguments));
            assert_eq!((here.code, &here.stdout), (there.code, &there.stdout), "{arguments:?}: {here:?} {there:?}");
            assert_eq!(here.stderr, there.stderr, "{arguments:?}");
            let success = here.code == Some(0) || here.stderr.contains("error[");
            assert!(success, "{arguments:?}: {here:?}");
        }
    }
}

#[test]
fn what_a_server_refuses_is_said_with_what_helps() {
    let (room, elsewhere) = (room(&[("made", MADE)]), World::new());
    let session = json(&far(&room, &elsewhere, &["sessions", "create", "release 7", "--output", "json"]));
    let session = session["id"].as_str().unwrap();
    // A name is what the server has; its own folder is not asked.
    let refused = far(&room, &elsewhere, &["run", "./made.yaml"]);
    assert!(refused.code == Some(2) && refused.stderr.contains("runbooks put"), "{refused:?}");
    let archived = json(&far(&room, &elsewhere, &["sessions", "archive", session, "--output", "json"]));
    assert!(archived["archived_at"].is_string(), "{archived}");
    let late = far(&room, &elsewhere, &["run", "made", "--session", session]);
    assert!(late.code == Some(2) && late.stderr.contains("error[SESSION_ARCHIVED]"), "{late:?}");
    let wrong = json(&far(&room, &elsewhere, &["run", "made", "-p", "nobody=1", "--output", "json"]));
    assert_eq!(wrong["error"]["code"], "PARAMS_INVALID", "{wrong}");
}

#[test]
fn a_name_goes_to_the_server_that_holds_the_folder() {
    let failing = "steps: [{id: bad, run: \"echo why; exit 3\"}]\n";
    let room = room(&[("made", MADE), ("failing", failing), ("slow", SLOW)]);
    let detached = near(&room, &["run", "made", "--detach"]);
    assert_eq!(detached.code, Some(0), "{detached:?}");
    let run = room.ended(detached.stdout.trim());
    assert_eq!((&run["status"], &run["trigger"]["kind"]), (&"succeeded".into(), &"api".into()), "the server ran it");
    let failed = near(&room, &["run", "failing"]);
    assert_eq!(failed.code, Some(1), "{failed:?}");
    assert!(failed.stdout.contains("step `bad` failed") && failed.stdout.contains("    | why"), "{failed:?}");
    let whole = json(&near(&room, &["run", "failing", "--output", "json"]));
    assert_eq!((&whole["status"], &whole["steps"][0]["error"]["reason"]), (&"failed".into(), &"exit:3".into()));
    // A file is run here, whoever holds the folder.
    let here = json(&near(&room, &["run", "runbooks/made.yaml", "--output", "json"]));
    assert_eq!((&here["trigger"]["kind"], &here["artifacts"][0]["name"]), (&"manual".into(), &"report.txt".into()));

    let mut run = room.world.start(["run", "slow"]);
    room.world.wait_for("mark");
    run.signal(Signal::INT);
    let ended = run.wait();
    assert_eq!(ended.code, Some(130), "{ended:?}");
    assert!(ended.stderr.contains("cancelling") && ended.stdout.contains("slow cancelled"), "{ended:?}");
    assert!(room.world.path("mark.undone").exists(), "{ended:?}");
}

#[test]
fn who_follows_gets_every_event_once_over_a_killed_server() {
    let mut room = room(&[("ticker", TICKER)]);
    let mut run = room.world.start_as("run", ["run", "ticker"]);
    run.said("tick 3");
    let mut follow = room.world.start_as("events", ["events", "-f", "--server", &room.url, "--output", "json"]);
    follow.said("\"step_started\"");
    let mut logs = room.world.start_as("logs", ["logs", "-f", "--server", &room.url]);
    logs.said("tick 3");
    room.kill();
    run.said("connection is lost");
    follow.said("connection is lost");
    room.launch();
    let (run, follow, logs) = (run.wait(), follow.wait(), logs.wait());
    assert_eq!((run.code, follow.code, logs.code), (Some(0), Some(0), Some(0)), "{run:?} {follow:?}");
    assert!(follow.stderr.contains("connected again"), "{follow:?}");
    assert!(run.stdout.contains("goes on after 1 lost workers") && run.stdout.contains("tick 30"), "{run:?}");
    assert_eq!(run.stdout.matches("tick 30\n").count(), 1, "{run:?}");
    assert!(logs.stdout.ends_with("tick 29\ntick 30\n"), "{logs:?}");

    let sequences = |lines: &str, durable: bool| -> Vec<u64> {
        let events = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let wanted = events.filter(|event| !durable || event["event"]["action"] != "log");
        wanted.map(|event| event["sequence"].as_u64().unwrap()).collect()
    };
    let given = sequences(&follow.stdout, false);
    assert!(given.is_sorted_by(|a, b| a < b), "each once, in order: {given:?}");
    let kept = near(&room, &["events", "--output", "json"]);
    let durable = sequences(&kept.stdout, true);
    assert!(durable.len() > 4, "{kept:?}");
    assert_eq!(sequences(&follow.stdout, true), durable);
    let missing: BTreeSet<u64> =
        sequences(&kept.stdout, false).into_iter().filter(|sequence| !given.contains(sequence)).collect();
    assert_eq!(missing, BTreeSet::new(), "what is kept was given as well");
}

#[test]
fn artifacts_go_up_and_down_whole() {
    let (room, elsewhere) = (room(&[("made", MADE)]), World::new());
    assert_eq!(far(&room, &elsewhere, &["run", "made", "-q"]).code, Some(0));
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[1]).collect();
    std::fs::write(elsewhere.path("blob.bin"), &bytes).unwrap();
    let put = far(&room, &elsewhere, &["artifacts", "put", "@latest", "blob.bin", "--name", "deep/blob.bin"]);
    assert_eq!((put.code, put.stderr.as_str()), (Some(0), ""), "no terminal, no bar: {put:?}");
    let list = json(&far(&room, &elsewhere, &["artifacts", "list", "--output", "json"]));
    let sizes: Vec<u64> = list["items"].as_array().unwrap().iter().map(|item| item["size"].as_u64().unwrap()).collect();
    assert_eq!(sizes, [3_000_000, 7], "{list}");
    let get = far(&room, &elsewhere, &["artifacts", "get", "@latest", "deep/blob.bin", "--to", "back.bin"]);
    assert_eq!(get.code, Some(0), "{get:?}");
    assert!(std::fs::read(elsewhere.path("back.bin")).unwrap() == bytes);
    let again = far(&room, &elsewhere, &["artifacts", "get", "@latest", "deep/blob.bin", "--to", "back.bin"]);
    assert!(again.code == Some(2) && again.stderr.contains("--force"), "{again:?}");
    for ended in [
        far(&room, &elsewhere, &["artifacts", "get", "@latest", "report.txt", "--to", "-"]),
        near(&room, &["artifacts", "get", "@latest", "report.txt", "--to", "-"]),
    ] {
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), "report\n"), "{ended:?}");
    }
    // The same without a server, on the same folder.
    std::fs::write(room.world.path("local.md"), "# here\n").unwrap();
    assert_eq!(near(&room, &["artifacts", "put", "@latest", "local.md"]).code, Some(0));
    let list = json(&far(&room, &elsewhere, &["artifacts", "list", "--output", "json"]));
    let kinds: BTreeSet<&str> =
        list["items"].as_array().unwrap().iter().map(|item| item["kind"].as_str().unwrap()).collect();
    assert!(kinds.contains("markdown"), "{list}");
    let none = far(&room, &elsewhere, &["artifacts", "get", "@latest", "none"]);
    assert!(none.code == Some(2) && none.stderr.contains("error[ARTIFACT_NOT_FOUND]"), "{none:?}");
}

#[test]
fn a_file_is_stored_and_run_by_its_name() {
    let (room, elsewhere) = (room(&[]), World::new());
    elsewhere.runbook("fresh", "files: [\"word.txt\"]\nsteps: [{id: say, run: 'cat \"$OPSROOM_FILES/word.txt\"'}]\n");
    std::fs::write(elsewhere.path("word.txt"), "hello\n").unwrap();
    for version in ["version 1", "version 1"] {
        let put = far(&room, &elsewhere, &["runbooks", "put", "fresh.yaml"]);
        assert!(put.code == Some(0) && put.stdout.contains(version), "{put:?}");
    }
    let ran = far(&room, &elsewhere, &["run", "fresh@1"]);
    assert!(ran.code == Some(0) && ran.stdout.contains("say | hello"), "{ran:?}");
    elsewhere.runbook("fresh", "steps: [{id: say, runn: x}]\n");
    let put = far(&room, &elsewhere, &["runbooks", "put", "fresh.yaml"]);
    assert!(put.code == Some(2) && put.stderr.contains("error[RUNBOOK_INVALID]"), "{put:?}");
    let checked = json(&far(&room, &elsewhere, &["validate", "fresh.yaml", "--output", "json"]));
    assert_eq!((&checked["valid"], &checked["files"][0]["diagnostics"][0]["line"]), (&false.into(), &3.into()));
}

#[test]
fn what_is_wrong_with_the_server_or_the_key_is_said() {
    let (room, elsewhere) = (room(&[]), World::new());
    let nobody = elsewhere.ends(["runs", "--server", "http://127.0.0.1:1"]);
    assert_eq!(nobody.code, Some(3), "{nobody:?}");
    for part in ["error[SERVER_UNREACHABLE]", "http://127.0.0.1:1", "opsroom up"] {
        assert!(nobody.stderr.contains(part), "{part}: {nobody:?}");
    }
    let bad = elsewhere.ends(["runs", "--server", "127.0.0.1:8484"]);
    assert!(bad.code == Some(2) && bad.stderr.contains("error[BAD_URL]"), "{bad:?}");
    let none = elsewhere.ends(["runs", "--server", &room.url]);
    assert_eq!(none.code, Some(2), "{none:?}");
    for part in ["error[UNAUTHENTICATED]", "OPSROOM_KEY", "OPSROOM_KEY_FILE", "api.key"] {
        assert!(none.stderr.contains(part), "{part}: {none:?}");
    }
    let wrong = elsewhere.command(["runs"]).env("OPSROOM_URL", &room.url).env("OPSROOM_KEY", "x".repeat(40)).output();
    assert!(ended(wrong.unwrap()).stderr.contains("error[UNAUTHENTICATED]"));
    let file = elsewhere.path("key");
    std::fs::write(&file, format!("{}\n", room.key)).unwrap();
    let told = |file: &std::path::Path| {
        let mut command = elsewhere.command(["runs"]);
        ended(command.env("OPSROOM_URL", &room.url).env("OPSROOM_KEY_FILE", file).output().unwrap())
    };
    assert_eq!(told(&file).code, Some(0));
    assert!(told(&elsewhere.path("none")).stderr.contains("error[KEY_UNUSABLE]"));
    // The folder's own key goes to servers of this machine; it needs no option.
    assert_eq!(room.world.ends(["runs", "--server", &room.url]).code, Some(0));
    let refused = elsewhere.ends(["recover", "--server", &room.url]);
    assert!(refused.code == Some(2) && refused.stderr.contains("takes no --server"), "{refused:?}");
    let alone = elsewhere.ends(["run", "made", "--detach"]);
    assert!(alone.code == Some(2) && alone.stderr.contains("error[NO_SERVER]"), "{alone:?}");
}

#[test]
fn the_key_is_never_said() {
    let (room, elsewhere) = (room(&[("made", MADE)]), World::new());
    for command in [&["runs"][..], &["run", "made"], &["events", "-f"], &["show", "@latest~9"]] {
        let said = away(&room, &elsewhere, command).env("OPSROOM_LOG", "trace").output().unwrap();
        let said = ended(said);
        assert!(said.stderr.contains("TRACE"), "it is a full log: {said:?}");
        assert!(!said.stderr.contains(&room.key) && !said.stdout.contains(&room.key), "{command:?}");
    }
    assert!(!room.log().contains(&room.key));
}
