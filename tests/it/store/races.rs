//! Two connections at the same time.

use std::collections::BTreeSet;

use futures::future::join;
use opsroom::{
    model::{RunStatus, WaitingOn, WorkerId},
    ports::{CommitAnswer, RunRow},
};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::world::{W1, W2, World, at, cancel, claim, end, next, park, run_id};

/// Rounds of each race; every round is another run.
const ROUNDS: u128 = 40;

pub async fn no_run_is_claimed_twice(world: &World) {
    world.queued(1..=200).await;
    let mut tasks = JoinSet::new();
    for number in 0..8 {
        let store = if number % 2 == 0 { world.a.clone() } else { world.b.clone() };
        let worker = WorkerId(Uuid::from_u128(number + 1));
        tasks.spawn(async move {
            let mut mine: Vec<RunRow> = Vec::new();
            loop {
                let claimed = store.claim(&claim(worker, 3)).await.unwrap();
                if claimed.is_empty() {
                    return mine;
                }
                assert!(claimed.iter().all(|run| run.claimed_by == Some(worker)));
                mine.extend(claimed);
            }
        });
    }
    let claimed: Vec<RunRow> = tasks.join_all().await.into_iter().flatten().collect();
    assert_eq!(claimed.len(), 200);
    assert_eq!(claimed.iter().map(|run| run.id).collect::<BTreeSet<_>>().len(), 200);
    for run in claimed {
        assert_eq!(world.row(run.id).await, run);
    }
}

pub async fn park_against_signal(world: &World) {
    for number in 1..=ROUNDS {
        let row = world.owned(number, W1).await;
        let (a, b) = (world.a.clone(), world.b.clone());
        let batch = [park(&row, WaitingOn::StepOutcome)];
        let (answers, signal) = join(a.commit(&batch), b.signal(row.id, &cancel(), at(1))).await;
        signal.unwrap().unwrap().unwrap();
        let after = world.row(row.id).await;
        match answers.unwrap()[0] {
            // The signal came after the park and woke the run.
            CommitAnswer::Committed => assert!(after.claimable, "{after:?}"),
            CommitAnswer::Signalled => assert_eq!(after, RunRow { signal_seq: 1, ..row }),
            ref other => unreachable!("{other:?}"),
        }
    }
}

pub async fn end_against_signal(world: &World) {
    for number in 1..=ROUNDS {
        let row = world.owned(number, W1).await;
        let (a, b) = (world.a.clone(), world.b.clone());
        let batch = [end(&row)];
        let (answers, signal) = join(a.commit(&batch), b.signal(row.id, &cancel(), at(1))).await;
        let after = world.row(row.id).await;
        match (answers.unwrap().remove(0), signal.unwrap().unwrap()) {
            (CommitAnswer::Committed, Err(RunStatus::Failed)) => assert_eq!(after.signal_seq, 0),
            (CommitAnswer::Signalled, Ok(_)) => assert_eq!(after, RunRow { signal_seq: 1, ..row }),
            other => unreachable!("{other:?}"),
        }
    }
}

pub async fn commit_against_requeue(world: &World) {
    for number in 1..=ROUNDS {
        let row = world.owned(number, W1).await;
        let (a, b) = (world.a.clone(), world.b.clone());
        let commit = next(&row);
        let batch = [commit.clone()];
        let (answers, requeued) = join(a.commit(&batch), b.requeue(&[W1], at(1), 10)).await;
        assert_eq!(requeued.unwrap().len(), 1);
        let (after, events, _) = world.everything(row.id).await;
        assert_eq!((after.status, after.epoch, after.claimed_by), (RunStatus::Queued, row.epoch.next(), None));
        match answers.unwrap()[0] {
            CommitAnswer::Committed => assert_eq!((after.sequence_head, events), (2, commit.events)),
            CommitAnswer::Fenced => assert_eq!((after.sequence_head, events), (0, vec![])),
            ref other => unreachable!("{other:?}"),
        }
        // The late owner tries once more.
        assert_eq!(world.commit(next(&row)).await, CommitAnswer::Fenced);
        assert_eq!(world.a.claim(&claim(W2, 1)).await.unwrap()[0].id, row.id);
    }
}

/// The caller goes away in the middle of a commit and sends it again, as after a lost reply.
pub async fn lost_replies(world: &World) {
    for number in 1..=ROUNDS {
        let row = world.owned(number, W1).await;
        let commit = if number % 2 == 0 { next(&row) } else { end(&row) };
        let batch = [commit.clone()];
        for polls in 0..(number % 5) {
            let mut lost = Box::pin(world.a.commit(&batch));
            for _ in 0..=polls {
                if futures::poll!(&mut lost).is_ready() {
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
        assert_eq!(world.commit(commit.clone()).await, CommitAnswer::Committed);
        let (after, events, steps) = world.everything(row.id).await;
        assert_eq!((after.version, after.sequence_head), (row.version + 1, 2));
        assert_eq!((events, steps), (commit.events, commit.steps));
    }
    assert_eq!(world.row(run_id(1)).await.status, RunStatus::Failed);
}
