//! Programs that are not ours, as people use them: curl, a browser, a Python reader of server-sent events.

use std::process::Command;

use serde_json::json;

use super::{Room, programs};
use crate::cli::world::{World, until};

/// Counts until it is told to stop; begins again when its worker is gone.
const TICKER: &str = r#"version: 1
name: ticker
params: {ticks: {type: integer, default: 100000}}
steps:
  - id: count
    effect: idempotent
    env: {TICKS: "${{ params.ticks }}"}
    run: |
      printf '\033[32mgreen\033[0m\n'
      for ((n = 1; n <= TICKS; n++)); do echo "tick $n"; sleep 0.2; done
  - id: done
    needs: [count]
    uses: log
    with: {message: done}
"#;

/// Its words try to be markup wherever words of a runbook are shown.
const HOSTILE: &str = r#"version: 1
name: hostile
description: <script>window.hacked=1</script><img src=x onerror="window.hacked=1">
labels: {note: '<img src=x onerror="window.hacked=1">'}
params:
  text: {type: string, minLength: 3, description: '<img src=x onerror="window.hacked=1">'}
  count: {type: integer, minimum: 1, maximum: 5, default: 1}
  dry: {type: boolean, default: true}
  mode: {enum: [fast, slow], default: fast}
steps:
  - id: shout
    env: {TEXT: "${{ params.text }}"}
    run: |
      echo "$TEXT"
      printf '%s\n' "$TEXT" >&2
      printf '<script>window.hacked=1</script>' >"$OPSROOM_ARTIFACTS/note.html"
      echo "$TEXT" >"$OPSROOM_SUMMARY"
      exit 7
"#;

const BROKEN: &str = "version: 1\nname: broken\nstepz: ['<img src=x onerror=\"window.hacked=1\">']\n";

/// Talks in chunks and in durable events at the same time.
const TALK: &str = "version: 1
name: talk
steps:
  - id: emit
    uses: events.emit
    with: {count: 300, bytes: 40, every: 10ms, category: dispatch}
  - id: write
    run: for ((n = 1; n <= 200; n++)); do echo \"line $n\"; sleep 0.015; done
";

/// Leaves a file behind.
const REPORT: &str = "version: 1
name: report
params: {lines: {type: integer, default: 30}}
steps:
  - id: write
    env: {LINES: \"${{ params.lines }}\"}
    run: |
      for ((n = 1; n <= LINES; n++)); do echo \"line $n\"; sleep 0.02; done
      seq -w 1 1000 >\"$OPSROOM_ARTIFACTS/numbers.txt\"
";

/// A room with these runbooks in its folder; it does not wait long for runs when it stops.
fn room(runbooks: &[(&str, &str)]) -> Room {
    let world = World::new();
    std::fs::create_dir(world.path("runbooks")).unwrap();
    for (name, text) in runbooks {
        std::fs::write(world.path("runbooks").join(format!("{name}.yaml")), text).unwrap();
    }
    let room = Room::on(world, &["--drain", "1s"]);
    until("the runbooks of the folder are taken up", || {
        room.get("/v1/runbooks").ok(200)["items"].as_array().unwrap().len() == runbooks.len()
    });
    room
}

/// The `id:` lines of a stream.
fn ids(stream: &str) -> Vec<&str> {
    stream.lines().filter_map(|line| line.strip_prefix("id: ")).collect()
}

#[test]
fn curl_starts_a_run_follows_it_resumes_and_reads_a_range() {
    let room = room(&[("report", REPORT)]);
    let body = json!({"runbook": "report", "params": {"lines": 20}}).to_string();
    let made = programs::curl(&room, &["--header", "content-type: application/json", "--data", &body, "/v1/runs"]);
    assert_eq!(made.status, 201, "{made:?}");
    let run = made.json()["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/runs/{run}/events/stream");

    let stream = programs::curl(&room, &[&path]);
    assert!(stream.head.contains("content-type: text/event-stream"), "{}", stream.head);
    let text = stream.text();
    let all = ids(&text);
    assert!(text.contains("event: lifecycle.run_finished\n") && text.contains("line 20"), "{text}");
    assert!(text.trim_end().lines().rev().nth(1).unwrap_or_default().starts_with("event: close"), "{text}");

    let middle = all.len() / 2;
    let resumed = programs::curl(&room, &["--header", &format!("last-event-id: {}", all[middle]), &path]).text();
    assert_eq!(ids(&resumed), all[middle + 1..]);

    let artifacts = programs::curl(&room, &[&format!("/v1/runs/{run}/artifacts")]).json();
    let [file] = &artifacts["items"].as_array().unwrap()[..] else { panic!("{artifacts}") };
    assert!(file["name"].as_str().unwrap().ends_with("numbers.txt"), "{file}");
    let content = format!("/v1/artifacts/{}/content", file["id"].as_str().unwrap());
    let part = programs::curl(&room, &["--range", "10-19", &content]);
    assert_eq!((part.status, part.text().as_str()), (206, "0003\n0004\n"), "{}", part.head);
    assert!(part.head.contains("content-range: bytes 10-19/5000"), "{}", part.head);
}

#[test]
fn a_browser_signs_in_watches_cancels_and_goes_on_after_a_restart() {
    let chromium = ["chromium", "chromium-browser", "google-chrome"].into_iter().find(|name| {
        let found = Command::new("sh").args(["-c", "command -v \"$0\" >/dev/null", name]).status();
        found.is_ok_and(|status| status.success())
    });
    let chromium = chromium.expect("Chromium is not installed: run ./scripts/test.sh");
    let path = Command::new("sh").args(["-c", "command -v \"$0\"", chromium]).output().unwrap().stdout;
    let path = String::from_utf8(path).unwrap();

    let mut room = room(&[("ticker", TICKER), ("hostile", HOSTILE), ("broken", BROKEN)]);
    let pictures = room.world.path("pictures");
    std::fs::create_dir(&pictures).unwrap();
    let browser = programs::python(&room, "browser.py", &[path.trim(), pictures.to_str().unwrap()]);
    let lines = browser.ends(|line| {
        if line == "restart" {
            room.stop();
            room.launch();
        }
    });
    assert!(lines.last().is_some_and(|line| line.starts_with("ok ")), "{lines:?}\n{}", room.log());
    println!("{lines:?}");
}

#[test]
fn a_python_reader_gets_every_event_once_however_often_it_is_cut_off() {
    let room = room(&[("talk", TALK)]);
    let run = room.run("talk");
    let lines = programs::python(&room, "sse_reader.py", &[&run]).ends(|_| ());
    let figures: serde_json::Value = serde_json::from_str(lines.last().unwrap()).unwrap();
    assert!(figures["durable"].as_u64().unwrap() >= 300 && figures["reconnects"].as_u64().unwrap() >= 10, "{figures}");
    println!("{figures}");
}
