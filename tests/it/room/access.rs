//! Who may call.

use std::os::unix::fs::PermissionsExt;

use opsroom::{ports::Ids, system::RandomIds};
use serde_json::{Value, json};

use super::{Answer, Room, document};
use crate::cli::world::World;

/// A browser that has signed in.
fn sign_in(room: &Room) -> String {
    let link = room.post("/v1/login-links", &Value::Null).ok(201);
    let url = link["url"].as_str().unwrap();
    let path = url.strip_prefix(&room.url).unwrap();
    let answer = room.send(room.anonymous("GET", path));
    assert_eq!((answer.status, answer.header("location")), (303, Some("/")));
    let cookie = answer.header("set-cookie").unwrap();
    for word in ["HttpOnly", "SameSite=Strict", "Path=/"] {
        assert!(cookie.contains(word), "{cookie}");
    }
    assert_eq!(room.send(room.anonymous("GET", path)).is_problem(401, "LOGIN_EXPIRED")["status"], 401);
    cookie.split(';').next().unwrap().to_owned()
}

#[test]
fn only_what_is_public_answers_without_the_key() {
    let room = Room::start();
    let public = ["/", "/ui/style.css", "/docs", "/openapi.yaml", "/healthz", "/health", "/readyz"];
    for path in public {
        assert_eq!(room.send(room.anonymous("GET", path)).status, 200, "{path}");
    }
    for (path, methods) in document::operations() {
        if public.contains(&path.as_str()) || path == "/ui/{file}" || path == "/login" {
            continue;
        }
        let path = path.replace("{id}", "x").replace(['{', '}'], "");
        for method in methods {
            let answer = room.send(room.anonymous(&method, &path));
            answer.is_problem(401, "UNAUTHENTICATED");
            assert!(answer.header("www-authenticate").unwrap().starts_with("Bearer"));
            let wrong = room.anonymous(&method, &path).bearer_auth("ops_wrong");
            room.send(wrong).is_problem(401, "UNAUTHENTICATED");
        }
    }
}

#[test]
fn the_key_is_for_this_user_and_nobody_hears_of_it() {
    let mut room = Room::start();
    let file = room.data().join("api.key");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(room.key.starts_with("ops_") && room.key.len() > 40);
    assert_eq!(room.get("/v1/runs").status, 200);
    // The same key after a restart, and never in what was said.
    let key = room.key.clone();
    let ended = room.stop();
    assert!(!ended.stdout.contains(&key) && !ended.stderr.contains(&key));
    room.launch();
    assert_eq!(room.key, key);
}

#[test]
fn wrong_keys_are_slowed_down_and_the_right_one_is_not() {
    let room = Room::start();
    let wrong = || room.send(room.anonymous("GET", "/v1/runs").bearer_auth("ops_wrong"));
    let slowed = (0..300).map(|_| wrong()).find(|answer| answer.status == 429).unwrap();
    slowed.is_problem(429, "TOO_MANY_TRIES");
    assert!(slowed.header("retry-after").unwrap().parse::<u32>().unwrap() > 0);
    assert_eq!(room.get("/v1/runs").status, 200);
}

#[test]
fn a_browser_signs_in_once_reads_and_writes_from_its_own_pages() {
    let room = Room::start();
    let cookie = sign_in(&room);
    let with = |method: &str, path: &str, headers: &[(&str, &str)]| -> Answer {
        let mut request = room.anonymous(method, path).header("cookie", &cookie);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        room.send(request)
    };
    assert_eq!(with("GET", "/v1/runs", &[]).status, 200);
    // A link for another browser needs the key.
    with("POST", "/v1/login-links", &[("sec-fetch-site", "same-origin")]).is_problem(401, "UNAUTHENTICATED");
    let cancel = format!("/v1/runs/{}/cancel", RandomIds.run_id());
    let cancel = cancel.as_str();
    with("POST", cancel, &[]).is_problem(403, "BAD_ORIGIN");
    with("POST", cancel, &[("origin", "http://evil.example")]).is_problem(403, "BAD_ORIGIN");
    with("POST", cancel, &[("sec-fetch-site", "cross-site")]).is_problem(403, "BAD_ORIGIN");
    with("POST", cancel, &[("origin", &room.url)]).is_problem(404, "RUN_NOT_FOUND");
    with("POST", cancel, &[("sec-fetch-site", "same-origin")]).is_problem(404, "RUN_NOT_FOUND");
    let out = with("POST", "/logout", &[("origin", &room.url)]);
    assert_eq!(out.status, 204);
    with("GET", "/v1/runs", &[]).is_problem(401, "UNAUTHENTICATED");
}

#[test]
fn a_foreign_page_reads_nothing() {
    let room = Room::start();
    for method in ["GET", "OPTIONS"] {
        let answer = room.send(room.request(method, "/v1/runs").header("origin", "http://evil.example"));
        assert!(!answer.headers.keys().any(|name| name.as_str().starts_with("access-control")), "{answer:?}");
    }
    for name in ["evil.example", "localhost.evil.example", "127.0.0.1.nip.io"] {
        let request = room.anonymous("GET", "/healthz").header("host", name);
        room.send(request).is_problem(421, "BAD_HOST");
    }
    for name in ["localhost:1", "[::1]", "10.0.0.7:8484"] {
        assert_eq!(room.send(room.anonymous("GET", "/healthz").header("host", name)).status, 200, "{name}");
    }
    let named = Room::with(&["--host", "ops.example.com"]);
    let request = named.anonymous("GET", "/healthz").header("host", "ops.example.com:80");
    assert_eq!(named.send(request).status, 200);
}

#[test]
fn answers_tell_browsers_to_be_careful() {
    let room = Room::start();
    for path in ["/", "/docs", "/v1/runs", "/nowhere"] {
        let answer = room.get(path);
        assert!(answer.header("content-security-policy").unwrap().contains("default-src 'none'"), "{path}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.header("x-frame-options"), Some("DENY"));
        assert_eq!(answer.header("referrer-policy"), Some("no-referrer"));
        assert!(answer.header("cache-control").is_some());
    }
}

#[test]
fn a_keyed_write_is_done_once() {
    let room = Room::start();
    let link = |key: &str| {
        room.send(room.request("POST", "/v1/login-links").header("idempotency-key", key)).ok(201)["url"].clone()
    };
    assert_eq!(link("k1"), link("k1"));
    assert_ne!(link("k1"), link("k2"));
    let put = |key: &str, source: &str| {
        let body = json!({"source": source}).to_string();
        let request = room.request("PUT", "/v1/runbooks/keyed").header("content-type", "application/json");
        room.send(request.header("idempotency-key", key).body(body))
    };
    let _ = room.put("/v1/runbooks/keyed", &json!({"source": 1})).is_problem(400, "BAD_REQUEST");
    let source =
        |text: &str| format!("version: 1\nname: keyed\nsteps:\n  - {{id: a, uses: log, with: {{message: {text}}}}}\n");
    let first = put("p1", &source("one"));
    assert_eq!(first.ok(201)["version"], 1);
    assert_eq!(put("p2", &source("two")).ok(201)["version"], 2);
    // The first answer again, though there is a newer version by now.
    let again = put("p1", &source("one"));
    assert_eq!((again.status, again.body), (first.status, first.body));
    put("p1", &source("three")).is_problem(422, "IDEMPOTENCY_MISMATCH");
    for bad in ["", "a b", "ä", &"x".repeat(256)] {
        let request = room.request("PUT", "/v1/runbooks/keyed").header("idempotency-key", bad.as_bytes());
        let problem = room.send(request).is_problem(400, "BAD_REQUEST");
        assert_eq!(problem["errors"][0]["pointer"], "idempotency-key");
    }
}

#[test]
fn other_machines_need_a_key_file() {
    let world = World::new();
    let refused = world.ends(["up", "--listen", "0.0.0.0:0"]);
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(refused.stderr.contains("error[KEY_FILE_NEEDED]"), "{refused:?}");
    let weak = world.path("weak");
    std::fs::write(&weak, "short\n").unwrap();
    let refused = world.ends(["up", "--listen", "0.0.0.0:0", "--key-file", weak.to_str().unwrap()]);
    assert!(refused.code != Some(0) && refused.stderr.contains("error[KEY_UNUSABLE]"), "{refused:?}");
}

#[test]
fn open_gives_a_link_that_signs_in() {
    let room = Room::start();
    let link = room.world.json(["open"]);
    let path = link["url"].as_str().unwrap().strip_prefix(&room.url).unwrap();
    assert_eq!(room.send(room.anonymous("GET", path)).status, 303);
    let ended = room.world.ends(["open"]);
    assert!(ended.code == Some(2) && ended.stderr.contains("error[NO_BROWSER]"), "{ended:?}");
    assert!(!ended.stdout.contains("token="));
    let nobody = World::new().ends(["open"]);
    assert!(nobody.code == Some(2) && nobody.stderr.contains("error[NO_SERVER]"), "{nobody:?}");
}
