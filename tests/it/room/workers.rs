//! Workers over HTTP, and on the command line.

use serde_json::json;

use super::{Room, runs};
use crate::cli::world::until;

#[test]
fn a_room_shows_its_worker() {
    let room = runs::room(&["--slots", "3"]);
    let list = room.get("/v1/workers").ok(200);
    assert_eq!((list["items"].as_array().unwrap().len(), &list["next_cursor"]), (1, &json!(null)));
    let worker = &list["items"][0];
    assert_eq!(
        (&worker["status"], &worker["lanes"], &worker["slots"], &worker["running"], &worker["labels"]),
        (&json!("living"), &json!(["A", "B", "C", "D"]), &json!(3), &json!(0), &json!({}))
    );
    assert_eq!(worker["version"], env!("CARGO_PKG_VERSION"));
    assert!(worker["beat_age_ms"].as_u64().unwrap() < 10_000, "{worker}");

    let run = room.post("/v1/runs", &json!({"runbook": "slow"})).ok(201)["id"].clone();
    until("it runs", || room.get("/v1/workers").ok(200)["items"][0]["running"] == 1);
    room.post(&format!("/v1/runs/{}/cancel", run.as_str().unwrap()), &json!({})).ok(202);

    let printed = room.world.json(["workers", "--output", "json"]);
    assert_eq!(printed["items"][0]["id"], worker["id"]);
    let table = room.world.ends(["workers"]).stdout;
    assert!(table.contains("A,B,C,D") && table.contains("living"), "{table}");
}

#[test]
fn only_workers_with_a_lease_are_drained() {
    let room = Room::start();
    let worker = room.get("/v1/workers").ok(200)["items"][0]["id"].as_str().unwrap().to_owned();
    let drain = |id: &str| room.send(room.request("POST", &format!("/v1/workers/{id}/drain")));
    drain(&worker).is_problem(409, "WORKER_NOT_DRAINABLE");
    drain("01990000-0000-7000-8000-000000000001").is_problem(404, "WORKER_NOT_FOUND");
    drain("x").is_problem(400, "BAD_REQUEST");
    room.get("/v1/workers?limit=0").is_problem(400, "BAD_REQUEST");
    assert_eq!(room.get("/v1/workers").ok(200)["items"][0]["status"], "living");
}
