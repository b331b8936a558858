//! Requests made up from the document, by the thousand: schemathesis, with all its checks.

use std::{
    fmt::Write as _,
    path::Path,
    process::{Command, Stdio},
};

use serde_json::json;

use super::Room;
use crate::cli::world::World;

/// How many requests are made up for each operation (a minute for all), and when it has got stuck, in seconds.
const EXAMPLES: &str = "25";
const TIME: &str = "300";

#[test]
fn made_up_requests_get_documented_answers() {
    let world = World::new();
    let room = Room::on(world, &[]);
    let cursors = fill(&room);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let program = root.join("target/python/bin/schemathesis");
    assert!(program.exists(), "the Python clients are not installed: run ./scripts/python.sh");
    // The key comes from a file: a command line is for everybody to see.
    let config = room.world.path("schemathesis.toml");
    std::fs::write(&config, format!("{CONFIG}{cursors}")).unwrap();
    let report = room.world.path("schemathesis.txt");
    let output = Command::new("timeout")
        .args(["--signal=INT", TIME])
        .arg(&program)
        .arg("--config-file")
        .arg(&config)
        .args(["run", "--url", &room.url, "--checks", "all", "--max-examples", EXAMPLES])
        .args(["--phases", "examples,coverage,fuzzing", "--seed", "4711", "--no-color"])
        .args(["--request-timeout", "20", "--suppress-health-check", "all"])
        // It never ends.
        .args(["--exclude-operation-id", "streamRunChanges"])
        .arg(root.join("schemas/openapi.yaml"))
        .env("OPSROOM_KEY", &room.key)
        .current_dir(room.world.path(""))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    std::fs::write(&report, &*said).unwrap();
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(!room.log().contains("a request failed"), "{}", room.log());
    assert_eq!(room.get("/readyz").status, 200);
}

/// A key that was used before is refused with 422, and so are params that no runbook has.
const CONFIG: &str = r#"
headers = { Authorization = "Bearer ${OPSROOM_KEY}" }

[checks.positive_data_acceptance]
expected-statuses = ["2xx", "3xx", "401", "403", "404", "409", "410", "413", "415", "416", "422", "429"]

# There is one worker and no second page, so no text is a cursor.
[[operations]]
include-operation-id = "listWorkers"

[operations.checks.positive_data_acceptance]
expected-statuses = ["2xx", "3xx", "400", "401", "403"]
"#;

/// Two of everything that is listed, so that there is a second page; answers the cursors to them, since no other
/// text is one.
fn fill(room: &Room) -> String {
    let run = room.run("disk-usage");
    room.run("disk-usage");
    for number in 1..=2 {
        room.post("/v1/sessions", &json!({"name": format!("session {number}")})).ok(201);
        let source = format!("version: 1\nname: two\nsteps:\n  - {{id: a, uses: log, with: {{message: m{number}}}}}\n");
        room.put("/v1/runbooks/two", &json!({"source": source})).ok(201);
        let upload = room.request("POST", &format!("/v1/runs/{run}/artifacts?name=file-{number}"));
        room.send(upload.header("content-type", "application/octet-stream").body("content")).ok(201);
    }
    let lists = [
        ("listRuns", "/v1/runs".to_owned()),
        ("listSessions", "/v1/sessions".to_owned()),
        ("listRunbooks", "/v1/runbooks".to_owned()),
        ("listRunbookVersions", "/v1/runbooks/two/versions".to_owned()),
        ("listArtifacts", format!("/v1/runs/{run}/artifacts")),
    ];
    let mut config = String::new();
    for (operation, path) in lists {
        let page = room.get(&format!("{path}?limit=1")).ok(200);
        let cursor = page["next_cursor"].as_str().unwrap();
        writeln!(config, "\n[[operations]]\ninclude-operation-id = \"{operation}\"").unwrap();
        writeln!(config, "parameters = {{ \"query.cursor\" = \"{cursor}\" }}").unwrap();
    }
    config
}
