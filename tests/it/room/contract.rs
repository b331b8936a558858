//! What holds for every route: the document describes it, and what is unknown is refused.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use uuid::Uuid;

use super::{Room, document};

/// The paths in `.route("…")` of the sources.
fn routes() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let calls = text.split(".route(").skip(1);
                for call in calls {
                    let literal =
                        call.trim_start().strip_prefix('"').unwrap_or_else(|| panic!("{}: {call}", path.display()));
                    found.insert(literal.split('"').next().unwrap().to_owned());
                }
            }
        }
    }
    found
}

/// A path of the document with something in place of its parameters.
fn instance(path: &str) -> String {
    let id = Uuid::from_u128(0x0199_0000_0000_7000_8000_0000_0000_0001).to_string();
    let parts = path.split('/').map(|part| match part {
        "{id}" | "{artifact}" | "{session}" => id.as_str(),
        "{version}" => "1",
        part if part.starts_with('{') => "nothing",
        part => part,
    });
    parts.collect::<Vec<_>>().join("/")
}

/// Paths are compared as they are written down; methods as the server tells them.
#[test]
fn the_routes_are_those_of_the_document() {
    let operations = document::operations();
    let documented: BTreeSet<String> = operations.keys().cloned().collect();
    assert_eq!(routes(), documented);
    let room = Room::start();
    let mut served = BTreeMap::new();
    for path in operations.keys() {
        let answer = room.send(room.request("PURGE", &instance(path)));
        answer.is_problem(405, "METHOD_NOT_ALLOWED");
        let allowed = answer.header("allow").unwrap().split(',').map(str::trim).filter(|method| *method != "HEAD");
        let mut allowed: Vec<String> = allowed.map(str::to_owned).collect();
        allowed.sort();
        served.insert(path.clone(), allowed);
    }
    let documented: BTreeMap<String, Vec<String>> = operations
        .into_iter()
        .map(|(path, mut methods)| {
            methods.sort();
            (path, methods)
        })
        .collect();
    assert_eq!(served, documented);
}

#[test]
fn unknown_parameters_are_refused_everywhere() {
    let room = Room::start();
    for (path, methods) in document::operations() {
        for method in methods {
            let answer = room.send(room.request(&method, &format!("{}?surprise=1", instance(&path))));
            let problem = answer.is_problem(400, "UNKNOWN_PARAMETER");
            assert_eq!(problem["errors"][0]["pointer"], "surprise", "{method} {path}");
        }
    }
}

#[test]
fn bodies_must_be_json_of_a_known_size_everywhere() {
    let room = Room::start();
    let json = [
        ("POST", "/v1/runs"),
        ("POST", "/v1/runs/batch"),
        ("POST", "/v1/validate"),
        ("POST", "/v1/plans"),
        ("POST", "/v1/sessions"),
        ("PUT", "/v1/runbooks/nothing"),
    ];
    for (method, path) in json {
        let send = |media_type: &str, body: &str| {
            room.send(room.request(method, path).header("content-type", media_type).body(body.to_owned()))
        };
        send("text/plain", "{}").is_problem(415, "UNSUPPORTED_MEDIA_TYPE");
        send("application/json", "{").is_problem(400, "BAD_JSON");
        send("application/json", "{\"surprise\": 1, \"surprise\": 2}").is_problem(400, "BAD_JSON");
        let unknown = send("application/json", "{\"surprise\": 1}").is_problem(400, "UNKNOWN_FIELD");
        assert_eq!(unknown["errors"][0]["pointer"], "/surprise", "{method} {path}");
        send("application/json; charset=utf-8", "[]").is_problem(400, "BAD_REQUEST");
        // Where files may come along, larger ones are taken.
        let limit = if ["/v1/validate", "/v1/plans"].contains(&path) || method == "PUT" { 18 << 20 } else { 1 << 20 };
        send("application/json", &format!("{{\"x\": \"{}\"}}", "y".repeat(limit))).is_problem(413, "BODY_TOO_LARGE");
        // Nothing announces its size: it is counted as it comes.
        let body = reqwest::blocking::Body::new(std::io::Read::take(std::io::repeat(b' '), (limit as u64) * 3));
        let chunked = room.request(method, path).header("content-type", "application/json").body(body);
        room.send(chunked).is_problem(413, "BODY_TOO_LARGE");
        let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
        send("application/json", &deep).is_problem(400, "BAD_JSON");
    }
}

#[test]
fn requests_have_ids() {
    let room = Room::start();
    let with = |id: &str| room.send(room.request("GET", "/healthz").header("x-request-id", id));
    assert_eq!(with("my-id/7").header("x-request-id"), Some("my-id/7"));
    for foreign in ["a b", "<script>", &"x".repeat(101), ""] {
        let id = with(foreign).header("x-request-id").unwrap().to_owned();
        assert!(id.parse::<Uuid>().is_ok_and(|id| id.get_version_num() == 7), "{id}");
    }
    for (method, path) in [("GET", "/nowhere"), ("DELETE", "/healthz"), ("GET", "/v1/runs/not-an-id")] {
        let answer = room.send(room.request(method, path));
        assert!((400..500).contains(&answer.status), "{answer:?}");
        assert_eq!(answer.json()["request_id"], answer.header("x-request-id").unwrap());
    }
}

#[test]
fn what_is_asked_for_again_is_not_sent_again() {
    let room = Room::start();
    for path in ["/v1/runs", "/v1/runbooks", "/v1/runbooks/disk-usage", "/v1/sessions", "/ui/style.css"] {
        let first = room.get(path);
        assert_eq!(first.status, 200, "{path}");
        let tag = first.header("etag").unwrap();
        let again = room.send(room.request("GET", path).header("if-none-match", tag));
        assert_eq!((again.status, again.body.len()), (304, 0), "{path}");
        assert_eq!(again.header("etag"), Some(tag));
    }
}
