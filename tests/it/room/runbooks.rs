//! A real `opsroom up` on a folder of runbooks that is edited meanwhile.

use std::fs;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{Answer, Room};
use crate::cli::world::{World, until};

/// The server with its folder `books`.
struct Up {
    room: Room,
}

impl Up {
    fn start(files: &[(&str, &str)]) -> Up {
        Up::with(files, &["--runbooks", "books"])
    }

    fn with(files: &[(&str, &str)], options: &[&str]) -> Up {
        let world = World::new();
        fs::create_dir(world.path("books")).unwrap();
        for (name, text) in files {
            fs::write(world.path("books").join(name), text).unwrap();
        }
        Up { room: Room::on(world, options) }
    }

    fn get(&self, path: &str) -> Answer {
        self.room.get(path)
    }

    /// The same for a caller who has something already.
    fn again(&self, path: &str, tag: &str) -> Answer {
        self.room.send(self.room.request("GET", path).header("if-none-match", tag))
    }

    #[expect(clippy::needless_pass_by_value, reason = "called with `json!` only")]
    fn post(&self, path: &str, body: Value) -> Answer {
        self.room.post(path, &body)
    }

    #[expect(clippy::needless_pass_by_value, reason = "called with `json!` only")]
    fn put(&self, name: &str, body: Value) -> Answer {
        self.room.put(&format!("/v1/runbooks/{name}"), &body)
    }

    fn version(&self, name: &str) -> u64 {
        self.get(&format!("/v1/runbooks/{name}")).json()["version"].as_u64().unwrap_or_default()
    }

    fn until_version(&self, name: &str, version: u64) {
        until(&format!("{name}@{version}"), || self.version(name) == version);
    }

    /// As most editors save.
    fn save(&self, name: &str, text: &str) {
        let beside = self.room.world.path("books").join(".saving");
        fs::write(&beside, text).unwrap();
        fs::rename(beside, self.room.world.path("books").join(name)).unwrap();
    }
}

fn text(name: &str, says: &str) -> String {
    format!("version: 1\nname: {name}\nsteps:\n  - {{id: a, run: echo {says}}}\n")
}

#[test]
fn a_run_keeps_the_version_and_the_files_that_it_began_with() {
    let slow = |says: &str| {
        let here = "cd \"$OPSROOM_FILES/../../..\"";
        format!(
            "version: 1\nname: slow\nfiles: [x.txt]\nsteps:\n  - id: a\n    run: |\n      {here}\n      touch started\n      \
             while ! test -f go; do sleep 0.02; done\n  - id: b\n    needs: [a]\n    run: |\n      echo text-{says}\n      \
             cat \"$OPSROOM_FILES/x.txt\"\n"
        )
    };
    let up = Up::start(&[("slow.yaml", &slow("one")), ("x.txt", "file-one\n")]);
    up.until_version("slow", 1);
    let mut run = up.room.world.start(["run", "slow"]);
    up.room.world.wait_for("started");
    fs::write(up.room.world.path("books/x.txt"), "file-two\n").unwrap();
    up.until_version("slow", 2);
    up.save("slow.yaml", &slow("two"));
    up.until_version("slow", 3);
    fs::write(up.room.world.path("go"), "").unwrap();
    let ended = run.wait();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let logs = up.room.world.ends(["logs", "@latest"]).stdout;
    assert!(logs.contains("text-one") && logs.contains("file-one") && !logs.contains("two"), "{logs}");
    for (given, expected) in [("slow", ["text-two", "file-two"]), ("slow@2", ["text-one", "file-two"])] {
        assert_eq!(up.room.world.ends(["run", given]).code, Some(0));
        let logs = up.room.world.ends(["logs", "@latest"]).stdout;
        assert!(expected.iter().all(|line| logs.contains(line)), "{given}: {logs}");
    }
}

#[test]
fn a_broken_file_is_told_everywhere() {
    let up = Up::start(&[("deploy.yaml", &text("deploy", "one"))]);
    up.until_version("deploy", 1);
    let good = up.get("/v1/runbooks/deploy");
    assert_eq!(up.again("/v1/runbooks/deploy", good.header("etag").unwrap()).status, 304);
    up.save("deploy.yaml", "version: 1\nname: deploy\nsteps:\n  - {id: a, rum: echo}\n");
    until("it is shown", || !up.get("/v1/runbooks/deploy").json()["problem"].is_null());
    let shown = up.again("/v1/runbooks/deploy", good.header("etag").unwrap());
    assert_eq!(shown.status, 200, "a new problem is news");
    let problem = &shown.json()["problem"];
    assert_eq!((&problem["file"], &problem["diagnostics"][0]["line"]), (&"deploy.yaml".into(), &4.into()));
    until("the log says so", || {
        let log = up.room.log();
        log.contains("deploy.yaml:4:") && log.contains("rum")
    });
    up.save("deploy.yaml", &text("deploy", "two"));
    up.until_version("deploy", 2);
    until("it is well", || up.get("/v1/runbooks/deploy").json()["problem"].is_null());
}

#[test]
fn runbooks_are_put_listed_and_read() {
    let up = Up::start(&[]);
    let first = up.put("deploy", json!({"source": text("deploy", "one")}));
    assert_eq!((first.status, &first.json()["version"]), (201, &1.into()), "{}", first.text());
    let again = up.put("deploy", json!({"source": text("deploy", "one")}));
    assert_eq!((again.status, again.json()), (200, first.json()));
    assert!(first.json()["origin"].as_str().unwrap().starts_with("api: "));
    for name in ["a", "b"] {
        assert_eq!(up.put(name, json!({"source": text(name, "x")})).status, 201);
    }
    up.put("deploy", json!({"source": text("deploy", "two # é\r")}));
    let page = up.get("/v1/runbooks?limit=2").json();
    let cursor = page["next_cursor"].as_str().unwrap();
    let rest = up.get(&format!("/v1/runbooks?limit=2&cursor={cursor}")).json();
    let names =
        |page: &Value| page["items"].as_array().unwrap().iter().map(|item| item["name"].clone()).collect::<Vec<_>>();
    assert_eq!(
        (names(&page), names(&rest), &rest["next_cursor"]),
        (vec!["a".into(), "b".into()], vec!["deploy".into()], &Value::Null)
    );
    let versions = up.get("/v1/runbooks/deploy/versions?limit=1").json();
    assert_eq!((&versions["items"][0]["version"], versions["next_cursor"].is_string()), (&2.into(), true));
    let source = up.get("/v1/runbooks/deploy/versions/2/source");
    assert_eq!(source.text(), text("deploy", "two # é\r"));
    let digest = up.get("/v1/runbooks/deploy").json()["digest"].as_str().unwrap().to_owned();
    assert_eq!(source.header("etag").unwrap(), format!("\"{digest}\""));
    let wrong = [
        ("/v1/runbooks/missing", 404, "RUNBOOK_NOT_FOUND"),
        ("/v1/runbooks/missing/versions", 404, "RUNBOOK_NOT_FOUND"),
        ("/v1/runbooks/deploy/versions/9/source", 404, "RUNBOOK_NOT_FOUND"),
        ("/v1/runbooks/deploy/versions/0/source", 400, "BAD_REQUEST"),
        ("/v1/runbooks/deploy/versions/x/source", 400, "BAD_REQUEST"),
        ("/v1/runbooks?cursor=x", 400, "BAD_CURSOR"),
    ];
    for (path, status, code) in wrong {
        let answer = up.get(path);
        assert_eq!((answer.status, &answer.json()["code"]), (status, &code.into()), "{path}");
    }
}

#[test]
fn what_is_not_valid_is_refused_with_its_places() {
    let up = Up::start(&[]);
    let bad = json!({"source": "version: 1\nname: deploy\nsteps:\n  - {id: a, rum: x}\n", "file_name": "d.yaml"});
    let refused = up.put("deploy", bad.clone());
    let problem = refused.json();
    assert_eq!((refused.status, &problem["code"]), (422, &"RUNBOOK_INVALID".into()));
    assert_eq!((&problem["diagnostics"][0]["file"], &problem["diagnostics"][0]["line"]), (&"d.yaml".into(), &4.into()));
    let other = up.put("other", json!({"source": text("deploy", "x")}));
    assert_eq!((other.status, &other.json()["diagnostics"][0]["code"]), (400, &"NAME_MISMATCH".into()));
    assert_eq!(up.get("/v1/runbooks").json()["items"], json!([]), "nothing was stored");
    let report = up.post("/v1/validate", bad);
    assert_eq!((report.status, &report.json()["valid"], &report.json()["plan"]), (200, &false.into(), &Value::Null));
    let report = up.post("/v1/validate", json!({"source": text("deploy", "x")})).json();
    assert_eq!(
        (&report["valid"], &report["runbook"], &report["diagnostics"]),
        (&true.into(), &"deploy".into(), &json!([]))
    );
    let with_files = text("deploy", "x").replace("steps", "files: [a.sh]\nsteps");
    let file = STANDARD.encode("#!/bin/sh\n");
    let valid = |files: Value| up.post("/v1/validate", json!({"source": with_files, "files": files}));
    assert_eq!(valid(json!({"a.sh": file})).json()["valid"], true);
    assert_eq!(valid(json!({})).json()["diagnostics"][0]["code"], "FILES_UNMATCHED");
    for (status, files, pointer) in [
        // Well formed, but not what the runbook says.
        (422, json!({"a.sh": file, "b.sh": file}), "/files/b.sh"),
        (400, json!({"../a.sh": file}), "/files/..~1a.sh"),
        (400, json!({"a.sh": "*"}), "/files/a.sh"),
    ] {
        let answer = valid(files);
        assert_eq!(
            (answer.status, &answer.json()["errors"][0]["pointer"]),
            (status, &pointer.into()),
            "{}",
            answer.text()
        );
    }
}

#[test]
fn a_plan_is_the_same_document_everywhere() {
    let up = Up::start(&[]);
    let source = "version: 1\nname: deploy\nparams: {to: {type: string}}\nsteps:\n  - {id: a, env: {TO: \"${{ params.to }}\"}, run: echo}\n";
    up.put("deploy", json!({"source": source}));
    let by_name = up.post("/v1/plans", json!({"runbook": "deploy", "params": {"to": "x"}}));
    assert_eq!(by_name.status, 200, "{}", by_name.text());
    let by_source = up.post("/v1/plans", json!({"source": source, "params": {"to": "x"}}));
    assert_eq!(by_name.json(), by_source.json());
    assert_eq!(by_name.json(), up.room.world.json(["plan", "deploy", "-p", "to=x"]));
    assert_eq!(by_name.json()["steps"][0]["env"]["TO"], "x");
    let wrong = [
        (json!({"runbook": "deploy"}), 422, "PARAMS_INVALID"),
        (json!({"runbook": "deploy", "params": {"to": 1, "tp": 2}}), 422, "PARAMS_INVALID"),
        (json!({"runbook": "deploy", "version": 7, "params": {"to": "x"}}), 404, "RUNBOOK_NOT_FOUND"),
        (json!({"runbook": "deploy", "source": source}), 400, "BAD_REQUEST"),
        (json!({}), 400, "BAD_REQUEST"),
        (json!({"source": "{["}), 422, "RUNBOOK_INVALID"),
    ];
    for (body, status, code) in wrong {
        let answer = up.post("/v1/plans", body);
        assert_eq!((answer.status, &answer.json()["code"]), (status, &code.into()), "{}", answer.text());
    }
    let wrong = up.post("/v1/plans", json!({"runbook": "deploy", "params": {"to": 1, "tp": 2}})).json();
    let pointers: Vec<_> = wrong["errors"].as_array().unwrap().iter().map(|error| error["pointer"].clone()).collect();
    assert_eq!(pointers, ["/params/to", "/params/tp"]);
}

#[test]
fn without_a_folder_there_are_the_shipped_ones() {
    let up = Up::with(&[], &[]);
    until("they are stored", || up.get("/v1/runbooks").json()["items"].as_array().unwrap().len() == 5);
    let list = up.get("/v1/runbooks").json();
    assert!(
        list["items"].as_array().unwrap().iter().all(|item| item["origin"].as_str().unwrap().starts_with("shipped: "))
    );
}

#[test]
fn as_many_files_as_the_language_allows_are_taken() {
    let up = Up::start(&[]);
    let with_files = text("large", "x").replace("steps", "files: [a.bin]\nsteps");
    let put = |bytes: usize| {
        let file = STANDARD.encode(vec![7; bytes]);
        up.put("large", json!({"source": with_files, "files": {"a.bin": file}})).status
    };
    assert_eq!(put(10 << 20), 201);
    assert_eq!(put((10 << 20) + 1), 422, "the language says no");
    assert_eq!(put(16 << 20), 413);
    // Elsewhere nothing has changed.
    up.post("/v1/sessions", json!({"name": "x".repeat(2 << 20)})).is_problem(413, "BODY_TOO_LARGE");
}
