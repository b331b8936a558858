//! Writes of owners.

use opsroom::{
    model::{Epoch, RunStatus, StepStatus, WaitingOn},
    ports::{CommitAnswer, RunCommit, RunRow, SignalKind},
};
use serde_json::{Value, json};

use super::world::{W1, W2, World, at, cancel, claim, end, event, next, object, park, run_id, step};

pub async fn a_commit_moves_a_run_on(world: &World) {
    let before = world.owned(1, W1).await;
    let first = next(&before);
    assert_eq!(world.commit(first.clone()).await, CommitAnswer::Committed);
    let mut expected = RunRow {
        status: RunStatus::Running,
        version: before.version + 1,
        heartbeat_at: Some(first.at),
        sequence_head: 2,
        stamp_head: first.stamp_head,
        started_at: first.started_at,
        ..before
    };
    assert_eq!(world.everything(expected.id).await, (expected.clone(), first.events.clone(), vec![]));

    // A later commit does not move the start.
    let second = RunCommit { at: at(3_000), started_at: Some(at(3_000)), ..next(&expected) };
    assert_eq!(world.commit(second.clone()).await, CommitAnswer::Committed);
    expected.version += 1;
    expected.heartbeat_at = Some(at(3_000));
    expected.sequence_head = 4;
    let events = [first.events, second.events].concat();
    assert_eq!(world.everything(expected.id).await, (expected, events, vec![]));
}

pub async fn a_park_ends_ownership(world: &World) {
    for (number, waiting_on) in [(1, WaitingOn::Timer), (2, WaitingOn::StepOutcome)] {
        let before = world.owned(number, W1).await;
        let commit = park(&before, waiting_on);
        assert_eq!(world.commit(commit.clone()).await, CommitAnswer::Committed);
        let expected = RunRow {
            status: RunStatus::Queued,
            waiting_on: Some(waiting_on),
            claimable: false,
            epoch: before.epoch.next(),
            version: before.version + 1,
            claimed_by: None,
            claimed_at: None,
            heartbeat_at: None,
            wake_at: Some(at(5_000)),
            sequence_head: 2,
            stamp_head: commit.stamp_head,
            started_at: commit.started_at,
            ..before
        };
        assert_eq!(world.everything(expected.id).await, (expected, commit.events, commit.steps));
    }
    assert!(world.a.owners().await.unwrap().is_empty());
}

pub async fn a_hand_back_is_claimable_at_once(world: &World) {
    let before = world.owned(1, W1).await;
    assert_eq!(world.commit(park(&before, WaitingOn::Capacity)).await, CommitAnswer::Committed);
    let row = world.row(before.id).await;
    assert_eq!((row.waiting_on, row.claimable, row.wake_at), (Some(WaitingOn::Capacity), true, None));
    let claimed = world.b.claim(&claim(W2, 1)).await.unwrap().remove(0);
    assert_eq!(claimed.epoch, Epoch(3));
    assert_eq!(claimed.sequence_head, 2);
    assert_eq!(world.commit(next(&claimed)).await, CommitAnswer::Committed);
}

pub async fn an_end_seals_the_run(world: &World) {
    let ends = [RunStatus::Succeeded, RunStatus::Failed, RunStatus::Cancelled, RunStatus::TimedOut];
    for (number, status) in (1..).zip(ends) {
        let before = world.owned(number, W1).await;
        let commit = RunCommit { status, ..end(&before) };
        assert_eq!(world.commit(commit.clone()).await, CommitAnswer::Committed);
        let expected = RunRow {
            status,
            version: before.version + 1,
            sequence_head: 2,
            stamp_head: commit.stamp_head,
            started_at: commit.started_at,
            ended_at: Some(commit.at),
            error: commit.error.clone(),
            ..before
        };
        let sealed = world.everything(expected.id).await;
        assert_eq!(sealed, (expected.clone(), commit.events, commit.steps));

        assert_eq!(world.commit(next(&expected)).await, CommitAnswer::Fenced);
        assert_eq!(world.commit(park(&expected, WaitingOn::Timer)).await, CommitAnswer::Fenced);
        assert_eq!(world.a.signal(expected.id, &cancel(), at(9_000)).await.unwrap(), Some(Err(status)));
        assert!(world.b.requeue(&[W1], at(9_000), 10).await.unwrap().is_empty());
        assert!(world.b.wake_due(at(99_000), 10).await.unwrap().is_empty());
        assert!(world.b.claim(&claim(W2, 10)).await.unwrap().is_empty());
        assert_eq!(world.everything(expected.id).await, sealed);
    }
    assert!(world.a.owners().await.unwrap().is_empty());
}

pub async fn another_owner_is_fenced(world: &World) {
    let row = world.owned(1, W1).await;
    let before = world.everything(row.id).await;
    for good in [next(&row), end(&row), park(&row, WaitingOn::Timer)] {
        let wrong = [
            RunCommit { run: run_id(99), ..good.clone() },
            RunCommit { epoch: good.epoch.next(), ..good.clone() },
            RunCommit { epoch: Epoch(0), ..good.clone() },
            RunCommit { worker: W2, ..good.clone() },
            RunCommit { version: good.version + 1, ..good.clone() },
            RunCommit { version: good.version - 1, ..good },
        ];
        for commit in wrong {
            assert_eq!(world.commit(commit).await, CommitAnswer::Fenced);
            assert_eq!(world.everything(row.id).await, before);
        }
    }
    assert_eq!(world.commit(next(&row)).await, CommitAnswer::Committed);
}

pub async fn a_repeated_commit_is_written_once(world: &World) {
    for (number, make) in (1..).zip([next as fn(&RunRow) -> RunCommit, end, |row| park(row, WaitingOn::Timer)]) {
        let row = world.owned(number, W1).await;
        let commit = make(&row);
        assert_eq!(world.a.commit(std::slice::from_ref(&commit)).await.unwrap(), [CommitAnswer::Committed]);
        let written = world.everything(row.id).await;
        assert_eq!(world.b.commit(std::slice::from_ref(&commit)).await.unwrap(), [CommitAnswer::Committed]);
        assert_eq!(world.everything(row.id).await, written);
        // The same, but from somebody else: not this commit.
        assert_eq!(world.commit(RunCommit { sequence_head: 77, ..commit }).await, CommitAnswer::Fenced);
    }
}

pub async fn an_old_commit_is_fenced(world: &World) {
    let row = world.owned(1, W1).await;
    let first = next(&row);
    assert_eq!(world.commit(first.clone()).await, CommitAnswer::Committed);
    assert_eq!(world.commit(next(&world.row(row.id).await)).await, CommitAnswer::Committed);
    let written = world.everything(row.id).await;
    assert_eq!(world.commit(first).await, CommitAnswer::Fenced);
    assert_eq!(world.everything(row.id).await, written);

    // A park that somebody has woken since.
    let parked = park(&world.row(row.id).await, WaitingOn::Timer);
    assert_eq!(world.commit(parked.clone()).await, CommitAnswer::Committed);
    world.b.wake_due(at(9_000), 1).await.unwrap();
    assert_eq!(world.commit(parked).await, CommitAnswer::Fenced);
}

pub async fn a_park_waits_for_signals(world: &World) {
    for (number, make) in (1..).zip([
        end as fn(&RunRow) -> RunCommit,
        |row| park(row, WaitingOn::Timer),
        |row| RunCommit { needs_all_signals: true, ..next(row) },
    ]) {
        let row = world.owned(number, W1).await;
        world.b.signal(row.id, &cancel(), at(1_500)).await.unwrap().unwrap().unwrap();
        let before = world.everything(row.id).await;
        assert_eq!(world.commit(make(&row)).await, CommitAnswer::Signalled);
        assert_eq!(world.everything(row.id).await, before);
        let aware = RunCommit { signals_applied: 1, ..make(&row) };
        assert_eq!(world.commit(aware).await, CommitAnswer::Committed);
        assert_eq!(world.row(row.id).await.signals_applied, 1);
    }
    // One that needs not all of them does not wait.
    let row = world.owned(9, W1).await;
    world.b.signal(row.id, &cancel(), at(1_500)).await.unwrap().unwrap().unwrap();
    assert_eq!(world.commit(next(&row)).await, CommitAnswer::Committed);
}

pub async fn steps_at_rest_are_replaced(world: &World) {
    let row = world.owned(1, W1).await;
    assert_eq!(world.commit(park(&row, WaitingOn::Capacity)).await, CommitAnswer::Committed);
    let claimed = world.a.claim(&claim(W2, 1)).await.unwrap().remove(0);
    let mut last = step(1, StepStatus::Failed);
    last.attempts = 3;
    last.outputs = object(json!({}));
    let done = RunCommit { steps: vec![last.clone(), step(2, StepStatus::Unknown)], ..end(&claimed) };
    assert_eq!(world.commit(done).await, CommitAnswer::Committed);
    let expected = vec![step(0, StepStatus::Succeeded), last, step(2, StepStatus::Unknown)];
    assert_eq!(world.b.steps(row.id).await.unwrap(), expected);
}

pub async fn a_batch_answers_in_order(world: &World) {
    let mut rows = Vec::new();
    for number in 1..=7 {
        rows.push(world.owned(number, W1).await);
    }
    world.b.signal(rows[3].id, &cancel(), at(1_500)).await.unwrap().unwrap().unwrap();
    world.a.commit(&[next(&rows[5])]).await.unwrap();
    let batch = [
        next(&rows[0]),
        RunCommit { worker: W2, ..next(&rows[1]) },
        end(&rows[2]),
        end(&rows[3]),
        park(&rows[4], WaitingOn::Timer),
        next(&rows[5]),
        RunCommit { status: RunStatus::Claimed, ..next(&rows[6]) },
    ];
    let answers = world.a.commit(&batch).await.unwrap();
    assert_eq!(
        answers[..6],
        [
            CommitAnswer::Committed,
            CommitAnswer::Fenced,
            CommitAnswer::Committed,
            CommitAnswer::Signalled,
            CommitAnswer::Committed,
            CommitAnswer::Committed,
        ]
    );
    assert!(matches!(answers[6], CommitAnswer::Refused(_)));
    for (row, events) in rows.iter().zip([2, 0, 2, 0, 2, 2, 0]) {
        assert_eq!(world.b.events(row.id, 0, 10).await.unwrap().len(), events, "{}", row.id);
    }
}

pub async fn only_the_culprit_is_refused(world: &World) {
    let mut batch = Vec::new();
    for number in 1..=64 {
        batch.push(next(&world.owned(number, W1).await));
    }
    // An event that exists already.
    world.a.commit(&[batch[40].clone()]).await.unwrap();
    let row = world.row(batch[40].run).await;
    batch[40] = RunCommit { events: batch[40].events.clone(), ..next(&row) };
    let before = world.everything(row.id).await;
    // And one that another owner holds.
    batch[7].worker = W2;
    let answers = world.a.commit(&batch).await.unwrap();
    assert_eq!(answers.len(), batch.len());
    for (index, answer) in answers.iter().enumerate() {
        match index {
            40 => assert!(matches!(answer, CommitAnswer::Refused(_)), "{answer:?}"),
            7 => assert_eq!(*answer, CommitAnswer::Fenced),
            _ => assert_eq!(*answer, CommitAnswer::Committed),
        }
    }
    assert_eq!(world.everything(row.id).await, before);
    assert_eq!(world.row(batch[41].run).await.sequence_head, 2);
}

pub async fn nonsense_is_refused(world: &World) {
    let row = world.owned(1, W1).await;
    let before = world.everything(row.id).await;
    let good = next(&row);
    let deep = (0..200).fold(Value::Null, |inner, _| json!([inner]));
    let mut deep_step = step(0, StepStatus::Succeeded);
    deep_step.outputs = object(json!({"deep": deep}));
    let wrong = [
        RunCommit { status: RunStatus::Claimed, ..good.clone() },
        RunCommit { status: RunStatus::Queued, ..good.clone() },
        RunCommit { waiting_on: Some(WaitingOn::Timer), ..good.clone() },
        RunCommit { signals_applied: 1, ..good.clone() },
        RunCommit { signals_applied: -1, ..good.clone() },
        RunCommit { recoveries_applied: 1, ..good.clone() },
        RunCommit { sequence_head: u64::MAX, ..good.clone() },
        RunCommit { events: vec![event(u64::MAX, json!(0))], ..good.clone() },
        RunCommit { events: vec![event(2, json!(0)), event(1, json!(0))], ..good.clone() },
        RunCommit { events: vec![event(2, json!(0)), event(2, json!(0))], ..good.clone() },
        RunCommit { events: vec![event(1, deep)], ..good.clone() },
        RunCommit { steps: vec![deep_step], ..end(&row) },
    ];
    for commit in wrong {
        let shown = format!("{commit:?}");
        let answer = world.commit(commit).await;
        assert!(matches!(answer, CommitAnswer::Refused(_)), "{answer:?} for {shown:.300}");
        assert_eq!(world.everything(row.id).await, before);
    }
    let answers = world.a.commit(&[good.clone(), good]).await.unwrap();
    assert_eq!(answers[0], CommitAnswer::Committed);
    assert!(matches!(answers[1], CommitAnswer::Refused(_)));
}

pub async fn a_thousand_runs_in_one_batch(world: &World) {
    world.queued(1..=1_000).await;
    let claimed = world.a.claim(&claim(W1, 1_000)).await.unwrap();
    assert_eq!(claimed.len(), 1_000);
    for make in [next as fn(&RunRow) -> RunCommit, end] {
        let mut batch = Vec::new();
        for run in &claimed {
            batch.push(make(&world.row(run.id).await));
        }
        let answers = world.a.commit(&batch).await.unwrap();
        assert_eq!(answers, vec![CommitAnswer::Committed; 1_000]);
    }
    for run in &claimed {
        let (row, events, steps) = world.everything(run.id).await;
        assert_eq!((row.sequence_head, events.len(), steps.len()), (4, 4, 2));
    }
}

pub async fn an_empty_batch(world: &World) {
    assert!(world.a.commit(&[]).await.unwrap().is_empty());
    world.a.create_runs(&[], None).await.unwrap();
    assert!(world.a.requeue(&[], at(1), 10).await.unwrap().is_empty());
    world.a.forget_workers(&[]).await.unwrap();

    // A commit without events is a mere sign of life; its resend is recognised all the same.
    let row = world.owned(1, W1).await;
    let quiet = RunCommit { events: vec![], sequence_head: 0, ..next(&row) };
    assert_eq!(world.commit(quiet.clone()).await, CommitAnswer::Committed);
    assert_eq!(world.commit(quiet.clone()).await, CommitAnswer::Committed);
    assert_eq!(world.row(row.id).await.version, row.version + 1);
    // Until another one has followed it.
    let second = RunCommit { version: row.version + 1, ..quiet.clone() };
    assert_eq!(world.commit(second).await, CommitAnswer::Committed);
    assert_eq!(world.commit(quiet).await, CommitAnswer::Fenced);
    let kind = SignalKind::Resolve {
        step: "s".to_owned(),
        verdict: "succeeded".to_owned(),
        by: "ada".to_owned(),
        note: String::new(),
    };
    assert!(world.a.signal(row.id, &kind, at(1)).await.unwrap().unwrap().is_ok());
}
