//! Sessions over HTTP.

use serde_json::{Value, json};

use super::{Room, runs};
use crate::cli::world::until;

fn id(session: &Value) -> String {
    session["id"].as_str().unwrap().to_owned()
}

/// Queued and running runs of lane A.
fn lane_a(room: &Room, session: &str) -> (u64, u64) {
    let lanes = room.get(&format!("/v1/sessions/{session}")).ok(200)["lanes"].clone();
    assert_eq!(lanes.as_array().unwrap().len(), 4);
    (lanes[0]["queued"].as_u64().unwrap(), lanes[0]["running"].as_u64().unwrap())
}

#[test]
fn a_session_is_opened_changed_and_listed() {
    let room = Room::start();
    let answer = room.post("/v1/sessions", &json!({"name": "outage", "labels": {"severity": 1}}));
    let session = answer.ok(201);
    assert_eq!(answer.header("location"), Some(format!("/v1/sessions/{}", id(&session)).as_str()));
    let path = format!("/v1/sessions/{}", id(&session));
    let read = room.get(&path);
    assert_eq!(read.ok(200), session);
    let tag = read.header("etag").unwrap().to_owned();
    assert_eq!(room.send(room.request("GET", &path).header("if-none-match", &tag)).status, 304);
    let renamed = room.patch(&path, &json!({"name": "outage of the web"})).ok(200);
    assert_eq!(renamed["name"], "outage of the web");
    assert_eq!(room.send(room.request("GET", &path).header("if-none-match", &tag)).status, 200);
    room.patch(&path, &json!({})).is_problem(400, "BAD_REQUEST");
    room.post("/v1/sessions", &json!({"name": ""})).is_problem(400, "BAD_REQUEST");
    room.get("/v1/sessions/01990000-0000-7000-8000-000000000001").is_problem(404, "SESSION_NOT_FOUND");
}

#[test]
fn a_key_opens_a_session_once() {
    let room = Room::start();
    let open = |name: &str| {
        let request = room.request("POST", "/v1/sessions").header("content-type", "application/json");
        room.send(request.header("idempotency-key", "s").body(json!({ "name": name }).to_string()))
    };
    assert_eq!(open("one").ok(201), open("one").ok(201));
    open("two").is_problem(422, "IDEMPOTENCY_MISMATCH");
    assert_eq!(room.get("/v1/sessions").ok(200)["items"].as_array().unwrap().len(), 1);
}

#[test]
fn an_archived_session_takes_no_runs() {
    let room = runs::room(&["--slots", "1"]);
    let [first, second] =
        ["first", "second"].map(|name| id(&room.post("/v1/sessions", &json!({ "name": name })).ok(201)));
    let start = |session: &str| room.post("/v1/runs", &json!({"runbook": "slow", "session_id": session}));
    let running = start(&first).ok(201);
    until("it runs", || lane_a(&room, &first) == (0, 1));
    let waiting = start(&first).ok(201);
    assert_eq!((lane_a(&room, &first), lane_a(&room, &second)), ((1, 1), (0, 0)));
    let path = format!("/v1/sessions/{first}");
    let archived = room.patch(&path, &json!({"archived": true})).ok(200);
    assert!(archived["archived_at"].is_string());
    start(&first).is_problem(409, "SESSION_ARCHIVED");
    start("01990000-0000-7000-8000-000000000001").is_problem(404, "SESSION_NOT_FOUND");
    let names = |query: &str| -> Vec<String> {
        let list = room.get(&format!("/v1/sessions{query}")).ok(200);
        list["items"].as_array().unwrap().iter().map(|session| session["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(
        (names(""), names("?archived=true")),
        (vec!["second".to_owned()], vec!["second".to_owned(), "first".to_owned()])
    );
    // Its runs go on, and are found by it.
    let list = room.get(&format!("/v1/runs?session={first}")).ok(200);
    assert_eq!(list["items"].as_array().unwrap().len(), 2);
    room.patch(&path, &json!({"archived": false})).ok(200);
    start(&first).ok(201);
    for run in [running, waiting] {
        room.post(&format!("/v1/runs/{}/cancel", id(&run)), &json!({})).ok(202);
    }
}

#[test]
fn sessions_come_in_pages() {
    let room = Room::start();
    let mut opened: Vec<String> =
        (0..5).map(|number| id(&room.post("/v1/sessions", &json!({"name": format!("{number}")})).ok(201))).collect();
    opened.reverse();
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = room.get(&format!("/v1/sessions?limit=2{cursor}")).ok(200);
        seen.extend(page["items"].as_array().unwrap().iter().map(id));
        let Some(next) = page["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(seen, opened);
}
