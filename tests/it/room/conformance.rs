//! Requests made up from the document, by the thousand: schemathesis, with all its checks.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use super::Room;
use crate::cli::world::World;

/// How many requests are made up for each operation, and when to stop at the latest, in seconds.
const EXAMPLES: &str = "25";
const TIME: &str = "90";

#[test]
fn made_up_requests_get_documented_answers() {
    let world = World::new();
    let room = Room::on(world, &[]);
    // Something to find under the ids that are made up from answers.
    room.run("disk-usage");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let program = root.join("target/python/bin/schemathesis");
    assert!(program.exists(), "the Python clients are not installed: run ./scripts/python.sh");
    // The key comes from a file: a command line is for everybody to see.
    let config = room.world.path("schemathesis.toml");
    std::fs::write(&config, CONFIG).unwrap();
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

const CONFIG: &str = r#"
headers = { Authorization = "Bearer ${OPSROOM_KEY}" }
"#;
