//! Artifacts over HTTP: what steps leave behind, what is added, and how it is read.

use opsroom::model::Digest;
use serde_json::json;

use super::{Answer, Room};

const MAKE: &str = "version: 1\nname: make\nsteps:\n- id: make\n  run: |\n    \
    mkdir -p $OPSROOM_ARTIFACTS/out && printf '# hi' > $OPSROOM_ARTIFACTS/out/a.md\n    \
    echo '# all good' > $OPSROOM_SUMMARY\n";

fn room() -> (Room, String) {
    let world = crate::cli::world::World::new();
    std::fs::create_dir_all(world.path("runbooks")).unwrap();
    std::fs::write(world.path("runbooks/make.yaml"), MAKE).unwrap();
    let room = Room::on(world, &[]);
    crate::cli::world::until("the runbook is there", || room.get("/v1/runbooks/make").status == 200);
    let run = room.post("/v1/runs", &json!({"runbook": "make"})).ok(201)["id"].as_str().unwrap().to_owned();
    room.ended(&run);
    (room, run)
}

fn upload(room: &Room, run: &str, query: &str, content: impl Into<reqwest::blocking::Body>) -> Answer {
    let path = format!("/v1/runs/{run}/artifacts?{query}");
    room.send(room.request("POST", &path).header("content-type", "application/octet-stream").body(content))
}

#[test]
fn what_steps_leave_behind_is_listed_and_read() {
    let (room, run) = room();
    let list = room.get(&format!("/v1/runs/{run}/artifacts")).ok(200);
    let names: Vec<_> = list["items"].as_array().unwrap().iter().map(|item| (&item["name"], &item["kind"])).collect();
    assert_eq!(names, [(&json!("out/a.md"), &json!("markdown")), (&json!("summary.md"), &json!("markdown"))]);
    assert_eq!(list["items"][0]["step"], "make");
    let content = room.get(&format!("/v1/artifacts/{}/content", list["items"][0]["id"].as_str().unwrap()));
    assert_eq!((content.status, content.text()), (200, "# hi".to_owned()));
}

#[test]
fn uploads_are_kept_replaced_and_read_in_parts() {
    let (room, run) = room();
    // Larger than other bodies may be.
    let large: Vec<u8> = (0..12_000_000_u32).map(|n| u8::try_from(n % 251).unwrap()).collect();
    let made = upload(&room, &run, "name=data/dump.bin", large.clone());
    let artifact = made.ok(201);
    assert_eq!((&artifact["size"], &artifact["step"]), (&json!(12_000_000), &json!(null)));
    assert_eq!(artifact["digest"], Digest::of(&large).to_string());
    let path = format!("/v1/artifacts/{}/content", artifact["id"].as_str().unwrap());
    assert_eq!(made.header("location"), Some(path.as_str()));
    let whole = room.get(&path);
    assert!(whole.body == large);
    assert_eq!(whole.header("content-disposition"), Some("attachment; filename=\"dump.bin\""));
    assert_eq!(whole.header("x-content-type-options"), Some("nosniff"));
    assert!(whole.header("content-security-policy").unwrap().contains("sandbox"));
    let tag = whole.header("etag").unwrap().to_owned();
    let part = |range: &str, if_range: &str| {
        room.send(room.request("GET", &path).header("range", range).header("if-range", if_range))
    };
    let middle = part("bytes=5000000-5000099", &tag);
    assert_eq!((middle.status, &middle.body[..]), (206, &large[5_000_000..5_000_100]));
    assert_eq!(part("bytes=0-9", "\"other\"").status, 200, "of another content everything is sent");
    assert_eq!(room.send(room.request("GET", &path).header("if-none-match", &tag)).status, 304);

    let replaced = upload(&room, &run, "name=data/dump.bin", "small").ok(201);
    assert_eq!(replaced["id"], artifact["id"]);
    assert_eq!(room.get(&path).text(), "small");
    assert_eq!(std::fs::read_dir(room.data().join("artifacts/uploads").join(&run)).unwrap().count(), 1);
}

#[test]
fn kinds_are_checked() {
    let (room, run) = room();
    assert_eq!(upload(&room, &run, "name=a.json", "{\"a\": 1}").ok(201)["kind"], "json");
    let link = upload(&room, &run, "name=page&kind=link", "https://example.com/x").ok(201);
    assert_eq!((&link["kind"], &link["url"]), (&json!("link"), &json!("https://example.com/x")));
    upload(&room, &run, "name=b.json", "{").is_problem(422, "CONTENT_INVALID");
    upload(&room, &run, "name=b.md", vec![0xff]).is_problem(422, "CONTENT_INVALID");
    upload(&room, &run, "name=b&kind=link", "javascript:alert(1)").is_problem(422, "CONTENT_INVALID");
    for bad in ["..%2Fx", "a%2F%2Fb", "%C3%A4", "a%20b", ""] {
        upload(&room, &run, &format!("name={bad}"), "x").is_problem(400, "BAD_REQUEST");
    }
    let unknown = "01999999-0000-7000-8000-000000000000";
    upload(&room, unknown, "name=a", "x").is_problem(404, "RUN_NOT_FOUND");
    room.get(&format!("/v1/runs/{unknown}/artifacts")).is_problem(404, "RUN_NOT_FOUND");
    room.get(&format!("/v1/artifacts/{unknown}/content")).is_problem(404, "ARTIFACT_NOT_FOUND");
    let list = room.get(&format!("/v1/runs/{run}/artifacts")).ok(200);
    assert_eq!(list["items"].as_array().unwrap().len(), 4, "what was refused left nothing: {list}");
    let (mut seen, mut cursor) = (0, String::new());
    loop {
        let page = room.get(&format!("/v1/runs/{run}/artifacts?limit=3{cursor}")).ok(200);
        seen += page["items"].as_array().unwrap().len();
        let Some(next) = page["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(seen, 4);
}

#[test]
fn a_keyed_upload_is_stored_once() {
    let (room, run) = room();
    let keyed = |key: &str, content: &'static str| {
        let path = format!("/v1/runs/{run}/artifacts?name=keyed");
        let request = room.request("POST", &path).header("content-type", "application/octet-stream");
        room.send(request.header("idempotency-key", key).body(content))
    };
    let first = keyed("u1", "one");
    let latest = keyed("u2", "two").ok(201);
    let again = keyed("u1", "one");
    assert_eq!((again.status, &again.body), (first.status, &first.body));
    let content = format!("/v1/artifacts/{}/content", latest["id"].as_str().unwrap());
    assert_eq!(room.get(&content).text(), "two", "the repetition has not replaced it");
    keyed("u1", "three").is_problem(422, "IDEMPOTENCY_MISMATCH");
    keyed("a b", "four").is_problem(400, "BAD_REQUEST");
}
