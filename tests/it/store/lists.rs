//! Lists: newest first, filtered, in pages.

use opsroom::{
    model::{Category, EventKind, RunId, RunStatus, TenantId, WaitingOn},
    ports::{CommitAnswer, NewRun, RunCommit, RunFilter, StoredEvent},
};
use serde_json::json;
use uuid::Uuid;

use super::world::{TENANT, W1, World, end, event, new_run, next, park, plan, run_id};

async fn ids(world: &World, filter: RunFilter) -> Vec<RunId> {
    let limit = if filter.limit == 0 { 1_000 } else { filter.limit };
    let page = world.b.runs(TENANT, &RunFilter { limit, ..filter }).await.unwrap();
    page.items.iter().map(|run| run.id).collect()
}

pub async fn newest_first_in_pages(world: &World) {
    world.queued([3, 1, 5, 2, 4]).await;
    let other = TenantId(Uuid::from_u128(2));
    world.a.put_plan(other, plan(), b"{}", "").await.unwrap();
    world.a.create_runs(&[NewRun { tenant: other, ..new_run(6) }]).await.unwrap();
    let mut seen = Vec::new();
    let mut before = None;
    loop {
        let page = world.b.runs(TENANT, &RunFilter { limit: 2, before, ..RunFilter::default() }).await.unwrap();
        seen.extend(page.items.iter().map(|run| run.id));
        assert_eq!(page.more, seen.len() < 5);
        before = seen.last().copied();
        if !page.more {
            break;
        }
    }
    assert_eq!(seen, [5, 4, 3, 2, 1].map(run_id));
    let none = world.b.runs(TENANT, &RunFilter { limit: 0, ..RunFilter::default() }).await.unwrap();
    assert!(none.items.is_empty() && none.more);
    let first = RunFilter { before: Some(RunId(Uuid::nil())), ..RunFilter::default() };
    assert!(ids(world, first).await.is_empty());
}

pub async fn filters(world: &World) {
    for number in 1..=6 {
        let runbook = if number % 2 == 0 { "deploy" } else { "it's \"odd\"" };
        let run = NewRun { runbook: runbook.into(), claimed_by: Some(W1), ..new_run(number) };
        world.a.create_runs(&[run]).await.unwrap();
    }
    let row = async |number| world.row(run_id(number)).await;
    let commits = [
        next(&row(1).await),
        end(&row(2).await),
        RunCommit { status: RunStatus::Succeeded, error: None, ..end(&row(3).await) },
        park(&row(4).await, WaitingOn::Timer),
        end(&row(5).await),
    ];
    assert_eq!(world.a.commit(&commits).await.unwrap(), vec![CommitAnswer::Committed; 5]);
    let with = |status: &[RunStatus], runbook: Option<&str>| RunFilter {
        status: status.to_vec(),
        runbook: runbook.map(str::to_owned),
        ..RunFilter::default()
    };
    let odd = Some("it's \"odd\"");
    let cases: [(RunFilter, &[u128]); 12] = [
        (with(&[], None), &[6, 5, 4, 3, 2, 1]),
        (with(&[RunStatus::Running], None), &[1]),
        (with(&[RunStatus::Queued, RunStatus::Claimed], None), &[6, 4]),
        (with(&[RunStatus::Failed], None), &[5, 2]),
        (with(&[RunStatus::Failed, RunStatus::Succeeded], None), &[5, 3, 2]),
        (with(&[RunStatus::Failed, RunStatus::Running], None), &[5, 2, 1]),
        (with(&[RunStatus::TimedOut], None), &[]),
        (with(&[], odd), &[5, 3, 1]),
        (with(&[RunStatus::Failed], odd), &[5]),
        (with(&[RunStatus::Queued], Some("deploy")), &[4]),
        (with(&[], Some("deplo")), &[]),
        (RunFilter { before: Some(run_id(5)), ..with(&[RunStatus::Failed], None) }, &[2]),
    ];
    for (filter, expected) in cases {
        let expected: Vec<RunId> = expected.iter().copied().map(run_id).collect();
        assert_eq!(ids(world, filter.clone()).await, expected, "{filter:?}");
    }
}

pub async fn prefixes(world: &World) {
    let texts = [
        "01990000-0000-7000-8000-000000000001",
        "01990000-0000-7000-8000-0000000000ff",
        "01990001-0000-7000-8000-000000000000",
        "ffffffff-ffff-ffff-ffff-ffffffffffff",
    ];
    let runs: Vec<NewRun> = texts.iter().map(|text| NewRun { id: text.parse().unwrap(), ..new_run(1) }).collect();
    world.a.create_runs(&runs).await.unwrap();
    let cases: [(&str, usize); 16] = [
        ("", 4),
        ("0", 3),
        ("0199000", 3),
        ("01990000", 2),
        ("01990000-", 2),
        ("01990000-0000-7000-8000-0000000000f", 1),
        ("01990000-0000-7000-8000-0000000000ff", 1),
        ("01990000-0000-7000-8000-0000000000ff0", 0),
        ("ff", 1),
        ("FF", 1),
        ("0199-", 0),
        ("019900000", 0),
        ("%", 0),
        ("0199_", 0),
        ("é", 0),
        ("{0199", 0),
    ];
    for (prefix, count) in cases {
        let filter = RunFilter { id_prefix: Some(prefix.to_owned()), ..RunFilter::default() };
        assert_eq!(ids(world, filter).await.len(), count, "{prefix}");
    }
    let filter = RunFilter {
        id_prefix: Some("0199".to_owned()),
        before: Some(texts[1].parse().unwrap()),
        ..RunFilter::default()
    };
    assert_eq!(ids(world, filter).await, [texts[0].parse().unwrap()]);
}

pub async fn events_in_order(world: &World) {
    let row = world.owned(1, W1).await;
    let sequences = [3, 4, 100, 1 << 20];
    let events = sequences.map(|sequence| event(sequence, json!(sequence))).to_vec();
    let commit = RunCommit { events: events.clone(), sequence_head: 1 << 20, ..next(&row) };
    assert_eq!(world.commit(commit).await, CommitAnswer::Committed);
    let after = async |after, limit| world.b.events(row.id, after, limit).await.unwrap();
    assert_eq!(after(0, 10).await, events);
    assert_eq!(after(3, 2).await, events[1..3]);
    assert_eq!(after(1 << 20, 10).await, []);
    assert_eq!(after(u64::MAX, 10).await, []);
    assert_eq!(after(0, 0).await, []);
    assert_eq!(world.b.events(run_id(2), 0, 10).await.unwrap(), []);
}

pub async fn facts_are_events_of_one_category(world: &World) {
    let row = world.owned(1, W1).await;
    let kinds = [Category::Lifecycle, Category::Dispatch, Category::Llm, Category::Lifecycle, Category::System];
    let events: Vec<_> = (1..)
        .zip(kinds)
        .map(|(sequence, category)| {
            let kind = EventKind { category, action: "step_started".to_owned() };
            StoredEvent { kind, ..event(sequence, json!({ "n": sequence })) }
        })
        .collect();
    let commit = RunCommit { events: events.clone(), sequence_head: 5, ..next(&row) };
    assert_eq!(world.commit(commit).await, CommitAnswer::Committed);
    let facts = async |after, limit| world.b.facts(row.id, after, limit).await.unwrap();
    assert_eq!(facts(0, 10).await, [events[0].clone(), events[3].clone()]);
    assert_eq!(facts(0, 1).await, events[..1]);
    assert_eq!(facts(1, 1).await, events[3..4]);
    assert!(facts(4, 10).await.is_empty() && facts(u64::MAX, 10).await.is_empty());
    assert_eq!(world.b.events(row.id, 0, 10).await.unwrap(), events);
}
