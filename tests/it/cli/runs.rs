//! Running and looking: every command, every exit code.

use super::world::{World, ended};

const TWO_STEPS: &str = "\
steps:
  - id: first
    run: |
      echo out
      echo err >&2
      echo n=7 >> \"$OPSROOM_OUTPUT\"
  - id: second
    needs: [first]
    uses: log
    with: {message: \"n is ${{ steps.first.outputs.n }}\"}
";

#[test]
fn a_runbook_runs_and_is_shown() {
    let world = World::new();
    world.runbook("two", TWO_STEPS);
    let run = world.ends(["run", "two.yaml"]);
    assert_eq!(run.code, Some(0), "{run:?}");
    for part in ["first started", "first | out", "first | err", "second | n is 7", "two succeeded", "first.n = 7"] {
        assert!(run.stdout.contains(part), "{part}: {run:?}");
    }
    assert!(!run.stdout.contains('\x1b'), "no terminal, no colours: {run:?}");
    let shown = world.json(["show", "@latest"]);
    assert_eq!((&shown["status"], &shown["runbook"]), (&"succeeded".into(), &"two".into()));
    assert_eq!(shown["steps"][1]["status"], "succeeded");
    let id = shown["id"].as_str().unwrap();
    assert!(run.stdout.contains(&format!("opsroom show {id}")));
    let by_prefix = world.ends(["show", &id[..20]]);
    assert!(by_prefix.stdout.contains("STEP") && by_prefix.stdout.contains("second"), "{by_prefix:?}");
    assert_eq!(world.json(["runs"])["items"][0]["id"], id);
    assert!(!world.data().join("workspaces").join(id).exists());
}

#[test]
fn logs_are_what_the_steps_wrote() {
    let world = World::new();
    world.runbook("bytes", "steps: [{id: raw, run: \"printf 'a\\\\377b'; echo e >&2\"}]\n");
    assert_eq!(world.ends(["run", "bytes.yaml"]).code, Some(0));
    let stdout = world.command(["logs", "@latest", "--stream", "stdout"]).output().unwrap().stdout;
    assert_eq!(stdout, b"a\xffb");
    assert_eq!(world.ends(["logs", "@latest", "--step", "raw", "--stream", "stderr"]).stdout, "e\n");
    assert_eq!(world.ends(["logs", "@latest", "--step", "nope"]).code, Some(2));
}

#[test]
fn events_are_in_order_and_complete() {
    let world = World::new();
    world.runbook("two", TWO_STEPS);
    world.ends(["run", "two.yaml", "--quiet"]);
    let lines = world.ends(["events", "@latest", "--output", "json"]).stdout;
    let events: Vec<serde_json::Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let sequences: Vec<u64> = events.iter().map(|event| event["sequence"].as_u64().unwrap()).collect();
    assert!(sequences.is_sorted_by(|a, b| a < b), "{sequences:?}");
    assert_eq!(events[0]["event"]["action"], "run_started");
    assert_eq!(events.last().unwrap()["event"]["action"], "run_finished");
    assert!(events.iter().any(|event| event["event"]["action"] == "log"));
    let prevs: Vec<u64> = events.iter().map(|event| event["prev"].as_u64().unwrap()).collect();
    assert_eq!(prevs[1..], sequences[..sequences.len() - 1], "no gap");
    let after = sequences[2].to_string();
    assert_eq!(world.ends(["events", "--after", &after]).stdout.lines().count(), events.len() - 3);
}

#[test]
fn a_long_wait_ends_in_the_same_process() {
    let world = World::new();
    world.runbook(
        "nap",
        "steps: [{id: nap, uses: wait, with: {for: 31s}}, {id: next, needs: [nap], run: [\"true\"]}]\n",
    );
    let started = std::time::Instant::now();
    let run = world.ends(["run", "nap.yaml"]);
    let taken = started.elapsed();
    assert_eq!(run.code, Some(0), "{run:?}");
    assert!(run.stdout.contains("nap waits for 31.0 s, until "), "{run:?}");
    assert!(31 <= taken.as_secs() && taken.as_secs() < 34, "{taken:?}");
    let events = world.ends(["events", "@latest", "--output", "json"]).stdout;
    assert!(events.contains("step_waiting") && !events.contains("run_parked"), "{events}");
}

#[test]
fn a_failure_is_told_with_its_last_lines() {
    let world = World::new();
    world
        .runbook("fails", "steps: [{id: bad, run: \"echo why; exit 3\"}, {id: next, needs: [bad], run: [\"true\"]}]\n");
    let run = world.ends(["run", "fails.yaml"]);
    assert_eq!(run.code, Some(1), "{run:?}");
    for part in ["fails failed", "step `bad` failed", "    | why", "1 blocked"] {
        assert!(run.stdout.contains(part), "{part}: {run:?}");
    }
    let quiet = world.ends(["run", "fails.yaml", "--quiet"]);
    assert_eq!((quiet.code, quiet.stdout.as_str()), (Some(1), ""));
    assert!(quiet.stderr.contains("step `bad` failed"), "{quiet:?}");
    assert!(world.json(["runs", "--status", "failed", "--limit", "1"])["next_cursor"].is_string());
}

#[test]
fn a_run_out_of_time_fails() {
    let world = World::new();
    world.runbook("slow", "timeout: 200ms\nsteps: [{id: sleep, run: [sleep, \"600\"]}]\n");
    let run = world.ends(["run", "slow.yaml"]);
    assert_eq!(run.code, Some(1), "{run:?}");
    assert!(run.stdout.contains("timed out") && run.stdout.contains("RUN_TIMED_OUT"), "{run:?}");
}

#[test]
fn what_is_invalid_is_refused_with_every_problem() {
    let world = World::new();
    world.runbook("bad", "steps: [{id: a, needs: [b], run: x}, {id: c, uses: nothing, with: {}}]\n");
    let run = world.ends(["run", "bad.yaml"]);
    assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""), "{run:?}");
    assert!(run.stderr.contains("UNKNOWN_STEP") && run.stderr.contains("UNKNOWN_ACTION"), "{run:?}");
    assert!(run.stderr.contains("error[RUNBOOK_INVALID]"), "{run:?}");
    let json = world.json(["run", "bad.yaml"]);
    assert_eq!(json["error"]["code"], "RUNBOOK_INVALID");
    assert_eq!(json["error"]["diagnostics"].as_array().unwrap().len(), 2);
    let validated = world.ends(["validate", "bad.yaml"]);
    assert_eq!(validated.code, Some(1), "{validated:?}");
    let report = world.json(["validate", "bad.yaml"]);
    assert_eq!((&report["valid"], &report["files"][0]["diagnostics"][0]["line"]), (&false.into(), &3.into()));
    assert_eq!(world.ends(["validate", "none.yaml"]).code, Some(2));
}

#[test]
fn runs_that_are_not_there_are_refused() {
    let world = World::new();
    let unknown = "fe999999-0000-7000-8000-000000000000";
    // So old that it would have been removed.
    let old = "01890000-0000-7000-8000-000000000000";
    for (name, code) in [("@latest", "NOT_FOUND"), ("0199", "NOT_FOUND"), (unknown, "NOT_FOUND"), (old, "EXPIRED")] {
        let shown = world.ends(["show", name]);
        assert_eq!(shown.code, Some(2), "{shown:?}");
        assert!(shown.stderr.contains(&format!("error[RUN_{code}]")), "{shown:?}");
    }
    assert!(world.ends(["show", "@last"]).stderr.contains("error[BAD_RUN_ID]"));
    assert_eq!(world.json(["cancel", "@latest~3"])["error"]["code"], "RUN_NOT_FOUND");
}

#[test]
fn several_runs_can_be_told_apart() {
    let world = World::new();
    world.runbook("one", "steps: [{id: a, uses: assert, with: {that: true}}]\n");
    let ids: Vec<String> = (0..3).map(|_| world.json(["run", "one.yaml"])["id"].as_str().unwrap().to_owned()).collect();
    for (back, id) in ids.iter().rev().enumerate() {
        assert_eq!(world.json(["show", &format!("@latest~{back}")])["id"], *id);
    }
    let ambiguous = world.ends(["show", "0"]);
    assert!(ambiguous.stderr.contains("error[RUN_AMBIGUOUS]") && ambiguous.stderr.contains(&ids[0]), "{ambiguous:?}");
    let cancelled = world.ends(["cancel", &ids[0]]);
    assert!(cancelled.code == Some(2) && cancelled.stderr.contains("error[RUN_ENDED]"), "{cancelled:?}");
    let resolved = world.ends(["resolve", &ids[0], "a", "retry"]);
    assert!(resolved.code == Some(2) && resolved.stderr.contains("error[RUN_ENDED]"), "{resolved:?}");
    assert_eq!(world.json(["runs", "--runbook", "other"])["items"], serde_json::json!([]));
}

#[test]
fn a_first_runbook_is_written_once_and_runs() {
    let world = World::new();
    assert_eq!(world.ends(["init"]).code, Some(0));
    let run = world.ends(["run", "runbooks/hello.yaml", "-p", "name=Ada"]);
    assert!(run.code == Some(0) && run.stdout.contains("Hello, Ada!"), "{run:?}");
    let again = world.ends(["init"]);
    assert!(again.code == Some(2) && again.stderr.contains("error[FILE_EXISTS]"), "{again:?}");
}

#[test]
fn a_plan_is_rendered_and_nothing_is_stored() {
    let world = World::new();
    world.runbook(
        "planned",
        "params: {host: {type: string}}\nsecrets: [key]\nsteps:\n  - {id: a, uses: log, with: {message: \"on ${{ params.host }}\"}}\n  - {id: b, needs: [a], if: \"params.host == 'x'\", secrets: [key], retry: {max_attempts: 3}, run: [echo, \"${{ params.host }}\"]}\n",
    );
    let plan = world.json(["plan", "planned.yaml", "-p", "host=web"]);
    assert_eq!(plan["steps"][0]["with"]["message"], "on web");
    assert_eq!(plan["steps"][1]["needs"], serde_json::json!(["a"]));
    assert_eq!(plan["steps"][1]["secrets"], serde_json::json!(["key"]));
    assert_eq!(plan["plan"], world.json(["validate", "planned.yaml"])["files"][0]["plan"]);
    let text = world.ends(["plan", "planned.yaml", "-p", "host=web"]).stdout;
    assert!(text.contains("if: params.host == 'x'") && text.contains("3 attempts"), "{text}");
    assert!(!world.data().exists());
}

#[test]
fn the_rest_answers() {
    let world = World::new();
    assert!(world.ends(["version"]).stdout.starts_with("opsroom "));
    assert_eq!(world.json(["version"])["name"], "opsroom");
    assert!(world.ends(["explain"]).stdout.contains("http.request"));
    assert!(world.ends(["explain", "steps.retry"]).stdout.contains("max_attempts"));
    assert_eq!(world.json(["explain", "assert"])["action"], "assert");
    let unknown = world.ends(["explain", "asert"]);
    assert!(unknown.code == Some(2) && unknown.stderr.contains("assert"), "{unknown:?}");
    assert!(world.ends(["completions", "bash"]).stdout.contains("opsroom"));
    let usage = world.ends(["run"]);
    assert!(usage.code == Some(2) && usage.stderr.contains("error[USAGE]"), "{usage:?}");
    assert_eq!(world.json(["nothing"])["error"]["code"], "USAGE");
    assert_eq!(world.ends(["run", "--help"]).code, Some(0));
    assert!(world.ends(["runs"]).stdout.is_empty());
}

#[test]
fn a_data_folder_that_cannot_be_used_is_our_fault() {
    let world = World::new();
    world.runbook("one", "steps: [{id: a, uses: assert, with: {that: true}}]\n");
    std::fs::write(world.path("file"), "").unwrap();
    let run = world.ends(["run", "one.yaml", "--data-dir", "file"]);
    assert!(run.code == Some(3) && run.stderr.contains("error[DATA_DIR_UNUSABLE]"), "{run:?}");
    std::fs::create_dir(world.data()).unwrap();
    std::fs::write(world.data().join("opsroom.db"), "this is no database at all, whatever it is called").unwrap();
    let run = world.ends(["run", "one.yaml"]);
    assert!(run.code == Some(3) && run.stderr.contains("error[STORE_"), "{run:?}");
}

#[test]
fn twenty_runs_at_once_on_one_folder_all_succeed() {
    let world = World::new();
    world.runbook("two", TWO_STEPS);
    let children: Vec<_> = (0..20)
        .map(|_| {
            let mut command = world.command(["run", "two.yaml"]);
            command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap()
        })
        .collect();
    for child in children {
        let run = ended(child.wait_with_output().unwrap());
        assert_eq!(run.code, Some(0), "{run:?}");
    }
    let runs = world.json(["runs", "--status", "succeeded", "--limit", "100"]);
    assert_eq!(runs["items"].as_array().unwrap().len(), 20);
}
