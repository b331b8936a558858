//! Runs over HTTP: started once, listed, told something, explained.

use std::{collections::BTreeSet, thread};

use serde_json::{Value, json};

use super::{Answer, Room};
use crate::cli::world::{World, until};

const GREET: &str = "\
lane: B
labels: {team: core}
params:
  host: {type: string}
  times: {type: integer, default: 2}
steps:
  - {id: hi, uses: assert, with: {that: true}}
";
const SLOW: &str = "steps:\n  - {id: nap, run: [sleep, '300']}\n";
const ONCE: &str = "steps:\n  - {id: charge, effect: at_most_once, run: [sleep, '300']}\n";
const FLAKY: &str = "steps:\n  - {id: knock, run: ['false'], retry: {max_attempts: 3, delay: 5m, jitter: none}}\n";
const BROKEN: &str = "steps:\n  - {id: fall, uses: assert, with: {that: false}}\n";

/// A server that has these runbooks.
pub fn room(options: &[&str]) -> Room {
    let world = World::new();
    std::fs::create_dir(world.path("runbooks")).unwrap();
    let all = [("greet", GREET), ("slow", SLOW), ("once", ONCE), ("flaky", FLAKY), ("broken", BROKEN)];
    for (name, body) in all {
        let text = format!("version: 1\nname: {name}\n{body}");
        std::fs::write(world.path(&format!("runbooks/{name}.yaml")), text).unwrap();
    }
    let room = Room::on(world, options);
    until("the runbooks are stored", || {
        all.iter().all(|(name, _)| room.get(&format!("/v1/runbooks/{name}")).status == 200)
    });
    room
}

fn keyed(room: &Room, path: &str, key: &str, body: &Value) -> Answer {
    let request = room.request("POST", path).header("content-type", "application/json");
    room.send(request.header("idempotency-key", key).body(body.to_string()))
}

fn start(room: &Room, runbook: &str) -> String {
    let run = room.post("/v1/runs", &json!({"runbook": runbook})).ok(201);
    run["id"].as_str().unwrap().to_owned()
}

fn greet(host: &str) -> Value {
    json!({"runbook": "greet", "params": {"host": host}})
}

fn ids(list: &Value) -> Vec<String> {
    list["items"].as_array().unwrap().iter().map(|run| run["id"].as_str().unwrap().to_owned()).collect()
}

fn ended(room: &Room, run: &str) -> Value {
    let path = format!("/v1/runs/{run}");
    until("the run ends", || !room.get(&path).ok(200)["ended_at"].is_null());
    room.get(&path).ok(200)
}

#[test]
fn a_run_is_started_with_all_that_is_said() {
    let room = room(&[]);
    let session = room.post("/v1/sessions", &json!({"name": "release"})).ok(201)["id"].clone();
    let body = json!({
        "runbook": "greet", "version": 1, "params": {"host": "web"}, "session_id": session,
        "lane": "C", "priority": -5, "labels": {"env": "prod", "team": "web", "wave": 2},
    });
    let answer = room.post("/v1/runs", &body);
    let run = answer.ok(201);
    let id = run["id"].as_str().unwrap();
    assert_eq!(answer.header("location"), Some(format!("/v1/runs/{id}").as_str()));
    assert_eq!(run["params"], json!({"host": "web", "times": 2}));
    assert_eq!(run["labels"], json!({"team": "web", "env": "prod", "wave": 2}));
    assert_eq!((&run["lane"], &run["priority"], &run["runbook_version"]), (&json!("C"), &json!(-5), &json!(1)));
    assert_eq!((&run["session_id"], &run["trigger"]["kind"]), (&session, &json!("api")));
    let run = ended(&room, id);
    assert_eq!((&run["status"], &run["steps_total"]), (&json!("succeeded"), &json!(1)));
    let steps = room.get(&format!("/v1/runs/{id}/steps")).ok(200);
    assert_eq!((&steps["items"][0]["id"], &steps["items"][0]["status"]), (&json!("hi"), &json!("succeeded")));
}

#[test]
fn what_is_wrong_is_named_by_its_place() {
    let room = room(&[]);
    let wrong = room.post("/v1/runs", &json!({"runbook": "greet", "params": {"times": "x", "odd": 1}}));
    let pointers = |answer: &Answer| -> BTreeSet<String> {
        let errors = answer.json()["errors"].as_array().cloned().unwrap_or_default();
        errors.iter().map(|error| error["pointer"].as_str().unwrap().to_owned()).collect()
    };
    wrong.is_problem(422, "PARAMS_INVALID");
    let expected = ["/params/host", "/params/odd", "/params/times"].map(str::to_owned);
    assert_eq!(pointers(&wrong), BTreeSet::from(expected));
    let missing = room.post("/v1/runs", &json!({"runbook": "nothing"}));
    missing.is_problem(404, "RUNBOOK_NOT_FOUND");
    assert_eq!(pointers(&missing), BTreeSet::from(["/runbook".to_owned()]));
    room.post("/v1/runs", &json!({"runbook": "greet", "version": 7})).is_problem(404, "RUNBOOK_NOT_FOUND");
    room.post("/v1/runs", &json!({"runbook": "greet", "priority": 101})).is_problem(400, "BAD_REQUEST");
    room.post("/v1/runs", &json!({"runbook": "greet", "when": 1})).is_problem(400, "UNKNOWN_FIELD");
    // A batch starts all or none.
    let batch =
        json!({"runs": [greet("a"), {"runbook": "greet"}, greet("b"), {"runbook": "greet", "params": {"host": 1}}]});
    let refused = room.post("/v1/runs/batch", &batch);
    refused.is_problem(422, "PARAMS_INVALID");
    assert_eq!(pointers(&refused), BTreeSet::from(["/runs/1/params/host", "/runs/3/params/host"].map(str::to_owned)));
    assert_eq!(ids(&room.get("/v1/runs").ok(200)).len(), 0);
    let none = room.post("/v1/runs/batch", &json!({"runs": []}));
    none.is_problem(400, "BAD_REQUEST");
}

#[test]
fn a_key_starts_a_run_once() {
    let mut room = room(&[]);
    let first = keyed(&room, "/v1/runs", "k-1", &greet("a"));
    let again = keyed(&room, "/v1/runs", "k-1", &greet("a"));
    assert_eq!((first.status, again.status, &first.body), (201, 201, &again.body));
    keyed(&room, "/v1/runs", "k-1", &greet("b")).is_problem(422, "IDEMPOTENCY_MISMATCH");
    keyed(&room, "/v1/runs/batch", "k-1", &json!({"runs": [greet("a")]})).is_problem(422, "IDEMPOTENCY_MISMATCH");
    // What was refused keeps no key.
    keyed(&room, "/v1/runs", "k-2", &json!({"runbook": "greet"})).is_problem(422, "PARAMS_INVALID");
    assert_eq!(keyed(&room, "/v1/runs", "k-2", &greet("b")).status, 201);
    let batch = json!({"runs": [greet("c"), greet("d")]});
    let both = keyed(&room, "/v1/runs/batch", "k-3", &batch);
    // Also when the runbook would not take these params any more.
    let changed = "version: 1\nname: greet\nparams:\n  place: {type: string}\nsteps:\n- {id: hi, uses: log, with: {message: hi}}\n";
    room.put("/v1/runbooks/greet", &json!({"source": changed})).ok(201);
    keyed(&room, "/v1/runs", "k-4", &greet("a")).is_problem(422, "PARAMS_INVALID");
    let kept = keyed(&room, "/v1/runs", "k-1", &greet("a"));
    assert_eq!((kept.status, &kept.body, kept.header("location")), (201, &first.body, first.header("location")));
    assert_eq!(keyed(&room, "/v1/runs/batch", "k-3", &batch).body, both.body);
    // Also after a restart.
    room.stop();
    room.launch();
    assert_eq!(keyed(&room, "/v1/runs/batch", "k-3", &batch).body, both.body);
    assert_eq!(ids(&room.get("/v1/runs").ok(200)).len(), 4);
}

#[test]
fn of_many_equal_requests_one_starts_a_run() {
    let room = room(&[]);
    let answers: Vec<Answer> = thread::scope(|scope| {
        let threads: Vec<_> = (0..16).map(|_| scope.spawn(|| keyed(&room, "/v1/runs", "same", &greet("a")))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for answer in &answers {
        assert_eq!(answer.ok(201)["id"], answers[0].ok(201)["id"]);
    }
    assert_eq!(ids(&room.get("/v1/runs").ok(200)).len(), 1);
}

#[test]
fn a_batch_of_a_thousand_keeps_its_order() {
    let room = room(&[]);
    let runs: Vec<Value> = (0..1_000).map(|number| greet(&format!("h{number}"))).collect();
    let refs = room.post("/v1/runs/batch", &json!({ "runs": runs })).ok(201);
    let created = ids(&refs);
    assert_eq!(created.len(), 1_000);
    assert!(created.is_sorted());
    let last = room.get(&format!("/v1/runs/{}", created[999])).ok(200);
    assert_eq!(last["params"]["host"], "h999");
    let many: Vec<Value> = (0..1_001).map(|_| greet("h")).collect();
    room.post("/v1/runs/batch", &json!({ "runs": many })).is_problem(400, "BAD_REQUEST");
}

#[test]
fn lists_are_filtered() {
    let room = room(&[]);
    let run = |body: Value| room.post("/v1/runs", &body).ok(201)["id"].as_str().unwrap().to_owned();
    let plain = run(greet("a"));
    let labelled = run(json!({"runbook": "greet", "params": {"host": "b"}, "labels": {"env": "prod", "wave": 2}}));
    let lane = run(json!({"runbook": "slow", "lane": "D"}));
    let broken = run(json!({"runbook": "broken"}));
    for run in [&plain, &labelled, &broken] {
        ended(&room, run);
    }
    let created = room.get(&format!("/v1/runs/{labelled}")).ok(200)["created_at"].as_str().unwrap().to_owned();
    let cases: [(String, Vec<&String>); 16] = [
        (String::new(), vec![&broken, &lane, &labelled, &plain]),
        ("status=failed".to_owned(), vec![&broken]),
        ("status=failed&status=running".to_owned(), vec![&broken, &lane]),
        ("lane=D".to_owned(), vec![&lane]),
        ("runbook=greet".to_owned(), vec![&labelled, &plain]),
        ("label=env%3Dprod".to_owned(), vec![&labelled]),
        ("label=env".to_owned(), vec![&labelled]),
        ("label=team%3Dcore&label=wave%3D2".to_owned(), vec![&labelled]),
        ("label=env%3Ddev".to_owned(), vec![]),
        ("trigger=api".to_owned(), vec![&broken, &lane, &labelled, &plain]),
        ("trigger=git".to_owned(), vec![]),
        ("text=GREE".to_owned(), vec![&labelled, &plain]),
        ("text=PROD&status=succeeded".to_owned(), vec![&labelled]),
        (format!("text={broken}"), vec![&broken]),
        (format!("until={created}"), vec![&plain]),
        (format!("since={created}&lane=B"), vec![&labelled]),
    ];
    for (query, expected) in cases {
        let found = ids(&room.get(&format!("/v1/runs?{query}")).ok(200));
        assert_eq!(found.iter().collect::<Vec<_>>(), expected, "{query}");
    }
    for query in ["status=asleep", "lane=E", "limit=0", "limit=201", "since=yesterday", "session=x", "text="] {
        room.get(&format!("/v1/runs?{query}")).is_problem(400, "BAD_REQUEST");
    }
    room.get("/v1/runs?label=a&label=b&label=c&label=d&label=e&label=f").is_problem(400, "BAD_REQUEST");
    room.get("/v1/runs?cursor=x").is_problem(400, "BAD_CURSOR");
    room.get("/v1/runs?order=up").is_problem(400, "UNKNOWN_PARAMETER");
}

#[test]
fn pages_have_no_gaps_while_runs_are_started() {
    let room = room(&[]);
    let batch = |count: usize| json!({"runs": (0..count).map(|_| greet("h")).collect::<Vec<_>>()});
    let first: Vec<String> = ids(&room.post("/v1/runs/batch", &batch(100)).ok(201));
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = room.get(&format!("/v1/runs?limit=7&runbook=greet{cursor}")).ok(200);
        seen.extend(ids(&page));
        room.post("/v1/runs/batch", &batch(3)).ok(201);
        let Some(next) = page["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    let mut expected = first;
    expected.reverse();
    assert_eq!(seen, expected);
}

#[test]
fn a_known_document_is_not_sent_again() {
    let room = room(&[]);
    let run = start(&room, "slow");
    let path = format!("/v1/runs/{run}");
    until("it runs", || room.get(&path).ok(200)["status"] == "running");
    let tag = |answer: &Answer| answer.header("etag").unwrap().to_owned();
    let first = tag(&room.get(&path));
    let with = |tag: &str| room.send(room.request("GET", &path).header("if-none-match", tag));
    assert_eq!((with(&first).status, with("\"other\"").status), (304, 200));
    let told = room.post(&format!("{path}/cancel"), &json!({"reason": "enough"}));
    assert_eq!(told.ok(202)["id"], json!(run));
    let last = ended(&room, &run);
    assert_eq!((&last["status"], &last["error"]["code"]), (&json!("cancelled"), &json!("CANCELLED")));
    assert_eq!(with(&first).status, 200);
    // The body may be left out.
    room.send(room.request("POST", &format!("{path}/cancel"))).is_problem(409, "RUN_ENDED");
    let list = room.get("/v1/runs");
    let again = room.send(room.request("GET", "/v1/runs").header("if-none-match", tag(&list)));
    assert_eq!(again.status, 304);
}

#[test]
fn runs_that_are_not_there() {
    let room = room(&[]);
    let fresh = start(&room, "broken");
    let (head, _) = fresh.split_at(24);
    let unknown = format!("{head}000000000000");
    let old = "01800000-0000-7000-8000-000000000001";
    for (id, status, code) in [(unknown.as_str(), 404, "RUN_NOT_FOUND"), (old, 410, "RUN_EXPIRED")] {
        for path in ["", "/steps", "/why"] {
            room.get(&format!("/v1/runs/{id}{path}")).is_problem(status, code);
        }
        room.post(&format!("/v1/runs/{id}/cancel"), &json!({})).is_problem(status, code);
        let verdict = json!({"verdict": "retry"});
        room.post(&format!("/v1/runs/{id}/steps/a/resolve"), &verdict).is_problem(status, code);
    }
    room.get("/v1/runs/x").is_problem(400, "BAD_REQUEST");
}

/// The kinds of the blockers, and the summary.
fn why(room: &Room, run: &str) -> (Vec<String>, Value) {
    let why = room.get(&format!("/v1/runs/{run}/why")).ok(200);
    let kinds = why["blockers"].as_array().unwrap().iter().map(|blocker| blocker["kind"].as_str().unwrap().to_owned());
    (kinds.collect(), why)
}

#[test]
fn why_tells_the_blocker() {
    let room = room(&["--slots", "1"]);
    let running = start(&room, "slow");
    until("it is at work", || why(&room, &running).0 == ["step_running"]);
    let waiting = [start(&room, "slow"), start(&room, "slow")];
    let (kinds, told) = why(&room, &waiting[1]);
    assert_eq!(
        (kinds, &told["position"], &told["waiting_on"]),
        (vec!["lane_full".to_owned()], &json!(2), &json!("capacity"))
    );
    let lanes = room.get("/v1/lanes").ok(200);
    assert_eq!(lanes["items"][0], json!({"lane": "A", "queued": 2, "running": 1, "slots": 1}));
    for run in waiting.iter().chain([&running]) {
        room.post(&format!("/v1/runs/{run}/cancel"), &json!({})).ok(202);
    }
    ended(&room, &waiting[1]);
    let flaky = start(&room, "flaky");
    until("it is retried", || why(&room, &flaky).0 == ["step_retrying"]);
    let (_, told) = why(&room, &flaky);
    assert!(told["wake_at"].is_string() && told["blockers"][0]["step"] == "knock", "{told}");
    room.post(&format!("/v1/runs/{flaky}/cancel"), &json!({})).ok(202);
    let broken = start(&room, "broken");
    ended(&room, &broken);
    let (kinds, told) = why(&room, &broken);
    assert_eq!((kinds, &told["blockers"][0]["step"]), (vec!["step_failed".to_owned()], &json!("fall")));
}

#[test]
fn a_person_resolves_what_nobody_knows() {
    let mut room = room(&[]);
    let run = start(&room, "once");
    until("it is at work", || why(&room, &run).0 == ["step_running"]);
    let resolve =
        |room: &Room, step: &str, body: &Value| room.post(&format!("/v1/runs/{run}/steps/{step}/resolve"), body);
    let verdict = json!({"verdict": "succeeded", "note": "the bank says so"});
    resolve(&room, "charge", &verdict).is_problem(409, "STEP_NOT_HELD");
    resolve(&room, "nothing", &verdict).is_problem(404, "STEP_NOT_FOUND");
    room.kill();
    room.launch();
    until("it is held", || why(&room, &run).0 == ["step_outcome"]);
    let (_, told) = why(&room, &run);
    assert_eq!(told["actions"][0], format!("opsroom resolve {run} charge retry|succeeded|failed"));
    resolve(&room, "charge", &json!({"verdict": "maybe"})).is_problem(400, "BAD_REQUEST");
    resolve(&room, "charge", &verdict).ok(202);
    assert_eq!(ended(&room, &run)["status"], "succeeded");
}
