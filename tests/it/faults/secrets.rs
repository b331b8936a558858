//! Canaries that sing everywhere they can, and must be heard nowhere.

use std::{
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use base64::prelude::*;

use super::{
    bars::figure,
    traces::{carriers, contains},
};
use crate::cli::world::{World, until};

/// One that stays as it is in every encoding but Base64, and one that does not.
const CANARIES: [&str; 2] = ["c4n4ryPlainValue0123456789", "c4n4ry \"ödd\\value\"/?&=+%~'x'"];

/// The length of the parts in which they are written.
const PART: usize = 12;

const LEAK: &str = r#"
secrets: [plain_key, odd_key]
steps:
  - id: leak
    secrets: [plain_key, odd_key]
    effect: idempotent
    env: {HERE: "WORLD"}
    run: |
      forms='import json, os, urllib.parse as u; s = os.environ["SECRET"]; print(u.quote(s), u.quote(s, safe=""), u.quote_plus(s), json.dumps(s), json.dumps(s, ensure_ascii=False))'
      for secret in "$PLAIN_KEY" "$ODD_KEY"; do
        echo "whole $secret"
        printf %s "${secret:0:12}"; sleep 0.3; printf '%s\n' "${secret:12}"
        for before in '' x xy; do printf '%s%s' "$before" "$secret" | base64 -w0; echo; done
        printf '%s' "$secret" | base64 -w0 | tr '+/' '-_'; echo
        SECRET="$secret" python3 -c "$forms"
        echo "out_$number=$secret" >> "$OPSROOM_OUTPUT"
        echo "$secret" >> "$OPSROOM_SUMMARY"
        echo "$secret" >> "$OPSROOM_ARTIFACTS/report.txt"
        SECRET="$secret" python3 -c "$forms" >> "$OPSROOM_ARTIFACTS/forms.txt"
      done
      if [ ! -e "$HERE/go" ]; then touch "$HERE/leaked"; sleep 600; fi
  - id: error
    needs: [leak]
    secrets: [plain_key, odd_key]
    run: echo "error $PLAIN_KEY" >&2; echo "error $ODD_KEY" >&2; exit 4
  - id: artifact
    needs: [leak]
    secrets: [plain_key]
    run: touch "$OPSROOM_ARTIFACTS/$PLAIN_KEY"
  - id: output
    needs: [leak]
    secrets: [plain_key]
    run: echo "$PLAIN_KEY=1" >> "$OPSROOM_OUTPUT"
  - id: argument
    needs: [leak]
    secrets: [plain_key]
    run: ["no-such-program", "--key"]
"#;

/// A command that has the canaries as its secrets, and says as much as it can.
fn singing(world: &World, arguments: &[&str]) -> Command {
    let mut command = world.command([]);
    command
        .args(arguments)
        .env("OPSROOM_SECRET_PLAIN_KEY", CANARIES[0])
        .env("OPSROOM_SECRET_ODD_KEY", CANARIES[1])
        .env("OPSROOM_LOG", "trace");
    command
}

/// Kills the first attempt when it has leaked everything; the command lines of all processes at that moment.
fn kill_in_the_middle(world: &World, log: &Path) -> String {
    let here = world.path("").display().to_string();
    world.runbook("leak", &LEAK.replace("WORLD", &here).replace("out_$number", "out_${#secret}"));
    let log = std::fs::File::create(log).unwrap();
    let mut first = singing(world, &["run", "leak.yaml"]).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
    until("the first attempt has leaked", || world.path("leaked").exists());
    let commands: Vec<String> = carriers(&[&here]).into_iter().map(|process| process.command).collect();
    first.kill().unwrap();
    first.wait().unwrap();
    std::fs::write(world.path("go"), "").unwrap();
    commands.join("\n")
}

/// What the killed attempt had written must be gone as well.
#[test]
fn no_canary_is_heard() {
    let (world, forms) = (World::new(), CANARIES.iter().flat_map(|canary| forms(canary)).collect::<Vec<_>>());
    let log = world.path("killed.log");
    silent("a command line", kill_in_the_middle(&world, &log).as_bytes(), &forms);

    let mut said = std::fs::read(&log).unwrap();
    let shows = ["show", "logs", "events", "runs"].map(|command| [command, "--output"]);
    let shows =
        shows.iter().flat_map(|[command, option]| [vec![*command, option, "text"], vec![*command, option, "json"]]);
    for arguments in [vec!["recover"]].into_iter().chain(shows) {
        let output = singing(&world, &arguments).output().unwrap();
        said.extend(output.stdout);
        said.extend(output.stderr);
    }
    silent("the output", &said, &forms);
    let heard = String::from_utf8_lossy(&said);
    assert!(heard.contains("whole ***") && heard.contains("error ***"), "they did sing: {heard}");
    let steps = world.json(["show"])["steps"].clone();
    assert_eq!((&steps[0]["status"], &steps[1]["status"]), (&"succeeded".into(), &"failed".into()), "{steps}");

    let (mut count, mut size) = (0, 0);
    for file in files(&world.data()) {
        let bytes = std::fs::read(&file).unwrap();
        silent(&format!("the name {}", file.display()), file.as_os_str().as_bytes(), &forms);
        silent(&file.display().to_string(), &bytes, &forms);
        (count, size) = (count + 1, size + bytes.len());
    }
    let (canaries, forms) = (CANARIES.len(), forms.len());
    figure(
        "secrets",
        format!(
            "{forms} forms of {canaries} canaries: in none of {count} files ({size} bytes), no output, no command line"
        ),
    );
}

fn silent(place: &str, bytes: &[u8], forms: &[Vec<u8>]) {
    for form in forms {
        assert!(
            !contains(bytes, form),
            "{place} has `{}`:\n{}",
            String::from_utf8_lossy(form),
            String::from_utf8_lossy(bytes)
        );
    }
}

/// The value, its two parts, and what common encoders make of it; whole wherever it stands in the encoded text.
fn forms(canary: &str) -> Vec<Vec<u8>> {
    let split = canary.char_indices().nth(PART).unwrap().0;
    let json = serde_json::to_string(canary).unwrap();
    let mut forms = vec![canary.to_owned(), canary[..split].to_owned(), canary[split..].to_owned()];
    forms.push(json[1..json.len() - 1].to_owned());
    forms.push(percent_encoding::utf8_percent_encode(canary, percent_encoding::NON_ALPHANUMERIC).to_string());
    for before in ["", "x", "xy"] {
        let whole = BASE64_STANDARD.encode(format!("{before}{canary}"));
        // Without the characters in which the neighbours have a part.
        let inner = whole[4..whole.len() - 4].to_owned();
        forms.push(inner.replace('+', "-").replace('/', "_"));
        forms.push(inner);
    }
    forms.into_iter().map(String::into_bytes).collect()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}
