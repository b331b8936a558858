//! Lists: newest first, filtered, in pages.

use opsroom::{
    model::{Category, EventKind, Lane, Micros, RunId, RunStatus, SessionId, TenantId, WaitingOn},
    ports::{CommitAnswer, LabelFilter, LiveCount, NewRun, RunCommit, RunFilter, StoredEvent, Trigger},
};
use serde_json::json;
use uuid::Uuid;

use super::{
    sessions::session,
    world::{TENANT, W1, World, end, event, new_run, next, object, park, plan, run_id},
};

async fn ids(world: &World, filter: RunFilter) -> Vec<RunId> {
    let limit = if filter.limit == 0 { 1_000 } else { filter.limit };
    let page = world.b.runs(TENANT, &RunFilter { limit, ..filter }).await.unwrap();
    page.items.iter().map(|run| run.id).collect()
}

pub async fn newest_first_in_pages(world: &World) {
    world.queued([3, 1, 5, 2, 4]).await;
    let other = TenantId(Uuid::from_u128(2));
    world.a.put_plan(other, plan(), b"{}", "").await.unwrap();
    world.a.create_runs(&[NewRun { tenant: other, ..new_run(6) }], None).await.unwrap();
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
        world.a.create_runs(&[run], None).await.unwrap();
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
    world.a.create_runs(&runs, None).await.unwrap();
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

/// Runs of which every seventh differs in something from the others.
async fn varied(world: &World) {
    world.a.create_session(&session(1), None).await.unwrap();
    for number in 1..=42_u128 {
        let run = NewRun {
            runbook: if number % 7 == 1 { "Straße-Sperren".into() } else { "deploy".into() },
            lane: if number % 7 == 2 { Lane::C } else { Lane::A },
            session: (number % 7 == 3).then(|| session(1).id),
            trigger: Trigger {
                kind: if number % 7 == 4 { "schedule".to_owned() } else { "manual".to_owned() },
                actor: if number % 7 == 5 { "Zoë \"it's\"".to_owned() } else { "ada".to_owned() },
            },
            labels: match number % 7 {
                6 => object(json!({"env": "prod", "tier": 3, "odd \"name\"": [true, "x"]})),
                0 => object(json!({"env": "staging", "critical": true})),
                _ => object(json!({})),
            },
            runbook_version: u32::try_from(number).ok(),
            ..new_run(number)
        };
        world.a.create_runs(&[run], None).await.unwrap();
    }
}

fn numbers(remainder: u128) -> Vec<RunId> {
    (1..=42).rev().filter(|number| number % 7 == remainder).map(run_id).collect()
}

fn label(name: &str, value: Option<&str>) -> LabelFilter {
    LabelFilter { name: name.to_owned(), value: value.map(str::to_owned) }
}

fn labels(all: &[(&str, Option<&str>)]) -> RunFilter {
    RunFilter { labels: all.iter().map(|(name, value)| label(name, *value)).collect(), ..RunFilter::default() }
}

pub async fn every_filter(world: &World) {
    varied(world).await;
    let any = RunFilter::default;
    let some = |text: &str| Some(text.to_owned());
    let cases = [
        (RunFilter { runbook: some("Straße-Sperren"), ..any() }, numbers(1)),
        (RunFilter { runbook: some("straße-sperren"), ..any() }, vec![]),
        (RunFilter { lane: Some(Lane::C), ..any() }, numbers(2)),
        (RunFilter { lane: Some(Lane::D), ..any() }, vec![]),
        (RunFilter { session: Some(session(1).id), ..any() }, numbers(3)),
        (RunFilter { session: Some(SessionId(Uuid::from_u128(9))), ..any() }, vec![]),
        (RunFilter { trigger: some("schedule"), ..any() }, numbers(4)),
        (RunFilter { trigger: some("git"), ..any() }, vec![]),
        (RunFilter { actor: some("Zoë \"it's\""), ..any() }, numbers(5)),
        (labels(&[("env", Some("prod"))]), numbers(6)),
        (labels(&[("env", Some("staging"))]), numbers(0)),
        (labels(&[("env", Some("PROD"))]), vec![]),
        (labels(&[("tier", Some("3"))]), numbers(6)),
        (labels(&[("critical", Some("true"))]), numbers(0)),
        (labels(&[("odd \"name\"", Some("[true,\"x\"]"))]), numbers(6)),
        (labels(&[("odd \"name\"", None)]), numbers(6)),
        (labels(&[("critical", None), ("env", None)]), numbers(0)),
        (labels(&[("critical", None), ("tier", None)]), vec![]),
        (labels(&[("team", None)]), vec![]),
    ];
    for (filter, expected) in cases {
        assert_eq!(ids(world, filter.clone()).await, expected, "{filter:?}");
    }
    let row = world.row(run_id(3)).await;
    assert_eq!((row.session, row.runbook_version), (Some(session(1).id), Some(3)));
    // Another tenant sees none of them.
    let page = world.b.runs(TenantId(Uuid::from_u128(2)), &RunFilter { limit: 9, ..labels(&[("env", None)]) }).await;
    assert!(page.unwrap().items.is_empty());
}

pub async fn two_filters(world: &World) {
    varied(world).await;
    let rows = world.b.runs(TENANT, &RunFilter { limit: 100, ..RunFilter::default() }).await.unwrap().items;
    let some = |text: &str| Some(text.to_owned());
    let any = RunFilter::default;
    let filters = [
        RunFilter { status: vec![RunStatus::Queued], ..any() },
        RunFilter { lane: Some(Lane::A), ..any() },
        RunFilter { runbook: some("deploy"), ..any() },
        RunFilter { session: Some(session(1).id), ..any() },
        RunFilter { trigger: some("manual"), ..any() },
        RunFilter { actor: some("ada"), ..any() },
        labels(&[("env", None)]),
        labels(&[("env", Some("prod"))]),
        RunFilter { text: some("STRASSE"), ..any() },
        RunFilter { text: some("PLOY"), ..any() },
        RunFilter { text: some("zoë"), ..any() },
        RunFilter { text: some("stag"), ..any() },
    ];
    for one in &filters {
        for other in &filters {
            let (first, second) = (ids(world, one.clone()).await, ids(world, other.clone()).await);
            let expected: Vec<RunId> =
                rows.iter().map(|row| row.id).filter(|id| first.contains(id) && second.contains(id)).collect();
            let both = RunFilter {
                status: [one.status.clone(), other.status.clone()].concat(),
                lane: one.lane.or(other.lane),
                runbook: one.runbook.clone().or(other.runbook.clone()),
                session: one.session.or(other.session),
                trigger: one.trigger.clone().or(other.trigger.clone()),
                actor: one.actor.clone().or(other.actor.clone()),
                labels: [one.labels.clone(), other.labels.clone()].concat(),
                text: one.text.clone().or(other.text.clone()),
                ..any()
            };
            // Two texts are one filter.
            if one.text.is_none() || other.text.is_none() || one.text == other.text {
                assert_eq!(ids(world, both.clone()).await, expected, "{both:?}");
                assert_eq!(paged(world, both).await, expected);
            }
        }
    }
}

/// The same, three at a time.
async fn paged(world: &World, filter: RunFilter) -> Vec<RunId> {
    let mut found: Vec<RunId> = Vec::new();
    loop {
        let before = found.last().copied();
        let page = world.b.runs(TENANT, &RunFilter { before, limit: 3, ..filter.clone() }).await.unwrap();
        found.extend(page.items.iter().map(|row| row.id));
        if !page.more {
            return found;
        }
    }
}

pub async fn text_in_any_case(world: &World) {
    varied(world).await;
    let cases = [
        ("STRASSE", vec![]),
        ("strAße", numbers(1)),
        ("-sper", numbers(1)),
        ("ZOË", numbers(5)),
        ("it's", numbers(5)),
        ("PROD", numbers(6)),
        ("stagi", numbers(0)),
        ("%", vec![]),
        ("_", vec![]),
        ("env", vec![]),
        (&run_id(12).to_string(), vec![run_id(12)]),
        (&run_id(12).to_string().to_uppercase()[..36], vec![run_id(12)]),
    ];
    for (text, expected) in cases {
        let filter = RunFilter { text: Some(text.to_owned()), ..RunFilter::default() };
        assert_eq!(ids(world, filter).await, expected, "{text}");
    }
    // A part of several things at once is found once.
    let both = NewRun { runbook: "ada".into(), labels: object(json!({"a": "ada", "b": "Ada"})), ..new_run(100) };
    world.a.create_runs(&[both], None).await.unwrap();
    let filter = RunFilter { text: Some("ADA".to_owned()), limit: 2, ..RunFilter::default() };
    let page = world.b.runs(TENANT, &filter).await.unwrap();
    assert_eq!(page.items.iter().map(|row| row.id).collect::<Vec<_>>(), [run_id(100), run_id(42)]);
    assert!(page.more);
}

pub async fn since_and_until(world: &World) {
    // One run in each of four milliseconds.
    let id = |millis: u128| RunId(Uuid::from_u128((millis << 80) + (7 << 76) + (2 << 62)));
    let runs: Vec<NewRun> = (1_000..1_004).map(|millis| NewRun { id: id(millis), ..new_run(1) }).collect();
    world.a.create_runs(&runs, None).await.unwrap();
    let at = |millis: i64| Some(Micros(millis * 1_000));
    let cases: [(Option<Micros>, Option<Micros>, &[u128]); 8] = [
        (None, None, &[1_003, 1_002, 1_001, 1_000]),
        (at(1_001), None, &[1_003, 1_002, 1_001]),
        (None, at(1_001), &[1_000]),
        (at(1_001), at(1_003), &[1_002, 1_001]),
        (at(1_002), at(1_002), &[]),
        (at(1_004), None, &[]),
        (Some(Micros(-5)), Some(Micros(i64::MAX)), &[1_003, 1_002, 1_001, 1_000]),
        (Some(Micros(i64::MAX)), Some(Micros(-5)), &[]),
    ];
    for (since, until, expected) in cases {
        let expected: Vec<RunId> = expected.iter().copied().map(id).collect();
        let filter = RunFilter { since, until, ..RunFilter::default() };
        assert_eq!(ids(world, filter.clone()).await, expected, "{filter:?}");
    }
}

pub async fn lanes_are_counted(world: &World) {
    assert_eq!(world.a.live_counts(TENANT).await.unwrap(), []);
    world.a.create_session(&session(1), None).await.unwrap();
    let inside = |number| NewRun { session: Some(session(1).id), lane: Lane::B, ..new_run(number) };
    world.queued([1, 2]).await;
    world.a.create_runs(&[inside(3), inside(4), NewRun { claimed_by: Some(W1), ..inside(5) }], None).await.unwrap();
    let ended = world.owned(6, W1).await;
    world.owned(7, W1).await;
    assert_eq!(world.commit(end(&ended)).await, CommitAnswer::Committed);
    let parked = world.owned(8, W1).await;
    assert_eq!(world.commit(park(&parked, WaitingOn::StepOutcome)).await, CommitAnswer::Committed);
    let expected = [
        LiveCount { lane: Lane::A, session: None, queued: 3, running: 1 },
        LiveCount { lane: Lane::B, session: Some(session(1).id), queued: 2, running: 1 },
    ];
    assert_eq!(world.b.live_counts(TENANT).await.unwrap(), expected);
    assert_eq!(world.b.live_counts(TenantId(Uuid::from_u128(2))).await.unwrap(), []);
}

pub async fn a_place_in_the_queue(world: &World) {
    let run = |number, priority| NewRun { priority, ..new_run(number) };
    let other_lane = NewRun { lane: Lane::B, ..run(6, 99) };
    world.a.create_runs(&[run(1, 0), run(2, 5), run(3, 0), run(4, -1), run(5, 5), other_lane], None).await.unwrap();
    world.owned(7, W1).await;
    let cases =
        [(1, Some(3)), (2, Some(1)), (3, Some(4)), (4, Some(5)), (5, Some(2)), (6, Some(1)), (7, None), (8, None)];
    for (number, place) in cases {
        assert_eq!(world.b.queue_position(run_id(number)).await.unwrap(), place, "{number}");
    }
    let parked = world.owned(9, W1).await;
    assert_eq!(world.commit(park(&parked, WaitingOn::Timer)).await, CommitAnswer::Committed);
    assert_eq!(world.b.queue_position(run_id(9)).await.unwrap(), None);
}

/// Runs that are weeks apart, each with a value of its own.
pub async fn many_values_far_apart(world: &World) {
    let id = |number: u128| {
        let weeks_later = 1_790_000_000_000 + number * 7 * 24 * 3_600_000;
        RunId(Uuid::from_u128((weeks_later << 80) + (7 << 76) + (2 << 62)))
    };
    for number in 0..30 {
        let labels = object(json!({"ticket": format!("OPS-{number}"), "even": number % 2 == 0}));
        world.a.create_runs(&[NewRun { id: id(number), labels, ..new_run(1) }], None).await.unwrap();
    }
    let newest = |count: u128| (30 - count..30).rev().map(id).collect::<Vec<_>>();
    let text = RunFilter { text: Some("ops-".to_owned()), ..RunFilter::default() };
    assert_eq!(ids(world, text.clone()).await, newest(30));
    assert_eq!(ids(world, RunFilter { limit: 2, ..text.clone() }).await, newest(2));
    assert_eq!(ids(world, RunFilter { limit: 7, ..labels(&[("ticket", None)]) }).await, newest(7));
    assert_eq!(paged(world, text.clone()).await, newest(30));
    assert_eq!(paged(world, labels(&[("ticket", None)])).await, newest(30));
    let odd = RunFilter { labels: labels(&[("even", Some("false"))]).labels, ..text };
    assert_eq!(paged(world, odd).await, newest(30).into_iter().step_by(2).collect::<Vec<_>>());
}

/// A label with a value for nearly every run is searched for whole values only; all others as ever.
pub async fn a_label_of_too_many_values(world: &World) {
    let runs: Vec<NewRun> = (1..=1_001)
        .map(|number| NewRun {
            labels: object(json!({"commit": format!("c{number:05}"), "env": if number == 7 { "prod" } else { "dev" }})),
            ..new_run(number)
        })
        .collect();
    world.a.create_runs(&runs, None).await.unwrap();
    let found = async |text: &str| ids(world, RunFilter { text: Some(text.to_owned()), ..RunFilter::default() }).await;
    assert_eq!(found("c00042").await, [run_id(42)]);
    assert_eq!(found("PRO").await, [run_id(7)]);
    assert_eq!(found("c0004").await, []);
    assert_eq!(found("C00042").await, []);
    let all = [labels(&[("commit", None)]).labels, labels(&[("env", Some("prod"))]).labels].concat();
    assert_eq!(ids(world, RunFilter { labels: all, ..RunFilter::default() }).await, [run_id(7)]);
    assert_eq!(ids(world, labels(&[("commit", Some("c00042"))])).await, [run_id(42)]);
}
