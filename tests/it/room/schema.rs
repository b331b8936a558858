//! Every event that a server shows keeps to `schemas/event.v2.schema.json`, and the two contracts agree.

use std::collections::BTreeSet;

use jsonschema::Validator;
use serde_json::{Value, json};

use super::{Room, events::history};

fn schema() -> Value {
    serde_json::from_str(include_str!("../../../schemas/event.v2.schema.json")).unwrap()
}

fn validator() -> Validator {
    jsonschema::options().should_validate_formats(true).build(&schema()).unwrap()
}

/// Runs that end in every way that a server alone can bring about.
const RUNBOOKS: [(&str, &str); 6] = [
    (
        "good",
        "- id: a\n  run: echo hi; printf '\\377' >&2; echo 'x=1' >> $OPSROOM_OUTPUT\n- id: b\n  if: false\n  run: 'true'\n",
    ),
    (
        "bad",
        "- id: a\n  run: exit 75\n  retry: {max_attempts: 2, max_delay: 10ms}\n- id: b\n  needs: [a]\n  run: 'true'\n",
    ),
    ("slow", "- id: a\n  run: sleep 60\n  timeout: 100ms\n"),
    ("long", "- id: a\n  effect: idempotent\n  run: sleep 60\n"),
    ("wait", "- id: a\n  uses: wait\n  with: {for: 50ms}\n- id: b\n  uses: log\n  with: {message: hello}\n"),
    ("emit", "- id: a\n  uses: events.emit\n  with: {count: 5, bytes: 10, category: llm}\n"),
];

#[test]
fn all_events_keep_to_the_schema() {
    let world = crate::cli::world::World::new();
    std::fs::create_dir_all(world.path("runbooks")).unwrap();
    for (name, steps) in RUNBOOKS {
        let text = format!("version: 1\nname: {name}\nsteps:\n{steps}finally:\n- id: last\n  run: 'true'\n");
        std::fs::write(world.path(&format!("runbooks/{name}.yaml")), text).unwrap();
    }
    let mut room = Room::on(world, &[]);
    let mut runs = Vec::new();
    for (name, _) in RUNBOOKS {
        crate::cli::world::until(name, || room.get(&format!("/v1/runbooks/{name}")).status == 200);
        let made = room.post("/v1/runs", &json!({"runbook": name}));
        assert_eq!(made.status, 201, "{name}: {made:?} {:?}", room.get(&format!("/v1/runbooks/{name}")));
        runs.push(made.json()["id"].as_str().unwrap().to_owned());
    }
    let long = runs[3].clone();
    crate::cli::world::until("it runs", || room.get(&format!("/v1/runs/{long}")).json()["status"] == "running");
    for run in runs.iter().filter(|run| **run != long) {
        room.ended(run);
    }
    room.kill();
    room.launch();
    room.post(&format!("/v1/runs/{long}/cancel"), &json!({"reason": "enough", "force": false}));
    let validator = validator();
    let mut kinds = BTreeSet::new();
    for run in runs {
        room.ended(&run);
        for event in history(&room, &run) {
            let wrong: Vec<String> = validator.iter_errors(&event).map(|error| error.to_string()).collect();
            assert!(wrong.is_empty(), "{event}: {wrong:?}");
            kinds.insert(event["event"]["action"].as_str().unwrap().to_owned());
        }
    }
    for kind in ["run_recovered", "cancel_requested", "step_retrying", "step_failed", "phase_started", "log", "emitted"]
    {
        assert!(kinds.contains(kind), "no {kind} among {kinds:?}");
    }
}

#[test]
fn what_is_no_event_is_refused() {
    let good = json!({
        "run_id": "01990000-0000-7000-8000-000000000000", "timestamp": "2026-01-01T00:00:00.000Z", "sequence": 2,
        "prev": 1, "source": null, "event": {"category": "lifecycle", "action": "step_started"},
        "data": {"step": "a", "attempt": 1},
    });
    let validator = validator();
    assert!(validator.is_valid(&good));
    let changes = [
        ("/timestamp", json!("2026-01-01T00:00:00Z")),
        ("/timestamp", json!("2026-13-01T00:00:00.000Z")),
        ("/sequence", json!(0)),
        ("/event/action", json!("step_vanished")),
        ("/event/category", json!("gossip")),
        ("/data", json!({"step": "a"})),
        ("/data", json!({"step": "a", "attempt": 1, "more": 1})),
        ("/source", json!({"agent_id": "x"})),
    ];
    for (place, value) in changes {
        let mut bad = good.clone();
        *bad.pointer_mut(place).unwrap() = value;
        assert!(!validator.is_valid(&bad), "{bad}");
    }
}

#[test]
fn the_document_describes_the_same_event() {
    let document: Value = serde_saphyr::from_str(include_str!("../../../schemas/openapi.yaml")).unwrap();
    let (event, schema) = (&document["components"]["schemas"]["Event"], schema());
    let names = |of: &Value| of["properties"].as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
    let required =
        |of: &Value| of["required"].as_array().unwrap().iter().map(ToString::to_string).collect::<BTreeSet<_>>();
    assert_eq!((names(event), required(event)), (names(&schema), required(&schema)));
    let kind = &document["components"]["schemas"]["EventKind"];
    assert_eq!(kind["properties"], schema["properties"]["event"]["properties"]);
    let source = &document["components"]["schemas"]["EventSource"];
    assert_eq!(source["properties"], schema["$defs"]["source"]["properties"]);
    for side in [event, kind, source, &schema] {
        assert_eq!(side["additionalProperties"], false);
    }
}
