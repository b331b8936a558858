//! Data that was not written by a friend.

use std::collections::BTreeMap;

use opsroom::{
    model::{Category, Digest, EventKind, Failure, FailureReason, Lane, RunStatus, StepStatus, WorkerId},
    ports::{CommitAnswer, NewRun, RunCommit, RunRow, SignalKind, Trigger, WorkerRow, WorkerState},
};
use serde_json::{Value, json};
use uuid::Uuid;

use super::world::{TENANT, W1, World, at, end, event, new_run, object, run_id, step};

const TEXTS: [&str; 9] = [
    "",
    "'; DROP TABLE runs; --",
    "\" \\ \\\" \u{0} end",
    "\u{0}",
    "日本語 \u{1f680} \u{202e}rtl\u{202c} \u{feff}",
    "line\r\nline\ttab\u{7f}\u{1b}[31m",
    "\u{2028}\u{2029}\u{ffff}\u{10ffff}",
    "{\"json\": [1, 2]}",
    "null",
];

fn numbers() -> Value {
    json!([0, -1, i64::MIN, i64::MAX, u64::MAX, 0.1, -0.0, 1e300, 5e-324, 1.0, 123_456_789.123_456_79])
}

pub async fn any_text_and_number_comes_back(world: &World) {
    for (number, text) in (1..).zip(TEXTS) {
        let data = json!({text: text, "n": numbers(), "list": [text, null, true, {"": [[], {}]}]});
        let row = created(world, number, text, &data).await;
        signalled(world, &row, text).await;
        ended(world, &row, text, &data).await;
    }
}

async fn created(world: &World, number: u128, text: &str, data: &Value) -> RunRow {
    let new = NewRun {
        runbook: text.into(),
        labels: object(data.clone()),
        params: object(data.clone()),
        trigger: Trigger { kind: text.to_owned(), actor: text.to_owned() },
        claimed_by: Some(W1),
        ..new_run(number)
    };
    world.a.create_runs(std::slice::from_ref(&new), None).await.unwrap();
    let row = world.row(new.id).await;
    assert_eq!((&row.runbook, &row.trigger), (&new.runbook, &new.trigger));
    assert_eq!((&row.labels, &row.params), (&new.labels, &new.params));
    row
}

async fn signalled(world: &World, row: &RunRow, text: &str) {
    let kind = SignalKind::Resolve {
        step: text.to_owned(),
        verdict: text.to_owned(),
        by: text.to_owned(),
        note: text.to_owned(),
    };
    world.a.signal(row.id, &kind, at(1)).await.unwrap().unwrap().unwrap();
    assert_eq!(world.b.signals(row.id, 0).await.unwrap()[0].kind, kind);
}

async fn ended(world: &World, row: &RunRow, text: &str, data: &Value) {
    let failure =
        Failure { code: text.to_owned(), message: text.to_owned(), reason: FailureReason::Exit(-9), retryable: false };
    let mut failed = step(0, StepStatus::Failed);
    failed.id = text.into();
    failed.uses = text.into();
    failed.outputs = object(data.clone());
    failed.error = Some(failure.clone());
    let mut said = event(1, data.clone());
    said.kind = EventKind { category: Category::System, action: text.to_owned() };
    let commit = RunCommit {
        events: vec![said, event(2, json!(text)), event(3, Value::Null), event(4, numbers())],
        sequence_head: 4,
        signals_applied: 1,
        error: Some(failure),
        steps: vec![failed],
        ..end(row)
    };
    assert_eq!(world.commit(commit.clone()).await, CommitAnswer::Committed);
    let (row, events, steps) = world.everything(row.id).await;
    assert_eq!((row.status, row.error), (RunStatus::Failed, commit.error));
    assert_eq!((events, steps), (commit.events, commit.steps));
}

pub async fn any_plan_and_worker_comes_back(world: &World) {
    for (number, text) in (1..).zip(TEXTS) {
        let worker = WorkerRow {
            id: WorkerId(Uuid::from_u128(number)),
            tenant: TENANT,
            host: text.to_owned(),
            pid: 0,
            version: text.to_owned(),
            lanes: vec![Lane::A, Lane::C],
            slots: 4,
            labels: BTreeMap::from([(text.to_owned(), text.to_owned())]),
            started_at: at(0),
            draining: false,
        };
        world.a.register_worker(&worker, None).await.unwrap();
        let digest = Digest::of(text.as_bytes());
        world.a.put_plan(TENANT, digest, text.as_bytes(), text).await.unwrap();
        assert_eq!(world.b.plan(TENANT, digest).await.unwrap().as_deref(), Some(text.as_bytes()));
        assert_eq!(world.b.source(TENANT, digest).await.unwrap().as_deref(), Some(text));
    }
    let workers = world.b.workers(TENANT, None, 100).await.unwrap().items;
    let told = |worker: &WorkerState| (worker.row.host.clone(), worker.row.labels.clone());
    let expected = TEXTS.map(|text| (text.to_owned(), BTreeMap::from([(text.to_owned(), text.to_owned())])));
    assert_eq!(workers.iter().map(told).collect::<Vec<_>>(), expected);
    let digest = Digest::of(&[255, 0]);
    world.a.put_plan(TENANT, digest, &[255, 0, 1], "").await.unwrap();
    assert_eq!(world.b.plan(TENANT, digest).await.unwrap(), Some(vec![255, 0, 1]));
}

pub async fn large_and_deep(world: &World) {
    let deep =
        (0..98).fold(json!("\u{0}"), |inner, level| if level % 2 == 0 { json!([inner]) } else { json!({"k": inner}) });
    let params = object(json!({"blob": "x\u{1f680}\"\\".repeat(1 << 17), "deep": deep}));
    world.a.create_runs(&[NewRun { params: params.clone(), claimed_by: Some(W1), ..new_run(1) }], None).await.unwrap();
    let row = world.row(run_id(1)).await;
    assert!(row.params == params);
    let mut large = step(0, StepStatus::Succeeded);
    large.outputs = params.clone();
    let commit = RunCommit { events: vec![event(1, json!(params))], sequence_head: 1, steps: vec![large], ..end(&row) };
    assert_eq!(world.commit(commit.clone()).await, CommitAnswer::Committed);
    let (_, events, steps) = world.everything(row.id).await;
    assert!(events == commit.events);
    assert!(steps == commit.steps);
}
