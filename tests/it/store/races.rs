//! Two connections at the same time.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use futures::future::join;
use opsroom::{
    model::{RunStatus, SessionId, WaitingOn, WorkerId},
    ports::{CommitAnswer, Creation, NewRun, RunCommit, RunRow, SessionChange, SessionRow},
};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::world::{TENANT, W1, W2, World, at, cancel, claim, end, new_run, next, park, run_id};

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

/// Claims of different sizes beside new runs, signals and commits: nobody is stuck, nobody gets a run twice.
pub async fn sixteen_claimers(world: &World) {
    const RUNS: usize = 400;
    let mut tasks = JoinSet::new();
    let done = Arc::new(AtomicUsize::new(0));
    for number in 0..16 {
        let store = if number % 2 == 0 { world.a.clone() } else { world.b.clone() };
        let (worker, done) = (WorkerId(Uuid::from_u128(number + 1)), done.clone());
        tasks.spawn(async move {
            let mut mine = Vec::new();
            while done.load(Ordering::Relaxed) < RUNS {
                let claimed = store.claim(&claim(worker, 1 + usize::try_from(number % 5).unwrap())).await.unwrap();
                let batch: Vec<RunCommit> = claimed.iter().map(next).collect();
                let answers = store.commit(&batch).await.unwrap();
                assert!(answers.iter().all(|answer| *answer == CommitAnswer::Committed), "{answers:?}");
                done.fetch_add(claimed.len(), Ordering::Relaxed);
                mine.extend(claimed.into_iter().map(|run| run.id));
                tokio::task::yield_now().await;
            }
            mine
        });
    }
    for number in (1..=RUNS as u128).step_by(10) {
        world.queued(number..number + 10).await;
        let told = world.b.signal(run_id(number), &cancel(), at(1)).await.unwrap().unwrap();
        assert_eq!(told.unwrap().seq, 1);
    }
    let mine: Vec<_> = tasks.join_all().await.into_iter().flatten().collect();
    assert_eq!(mine.len(), RUNS);
    assert_eq!(mine.iter().collect::<BTreeSet<_>>().len(), RUNS);
}

/// A batch that is sent again while it is still being written, its runs in another order: no deadlock, one write.
pub async fn one_batch_for_two_committers(world: &World) {
    for round in 0..10 {
        let mut batch = Vec::new();
        for number in 1..=20 {
            batch.push(next(&world.owned(round * 100 + number, W1).await));
        }
        let again: Vec<RunCommit> = batch.iter().rev().cloned().collect();
        let (a, b) = (world.a.clone(), world.b.clone());
        let (first, second) = join(a.commit(&batch), b.commit(&again)).await;
        assert_eq!(first.unwrap(), vec![CommitAnswer::Committed; 20]);
        assert_eq!(second.unwrap(), vec![CommitAnswer::Committed; 20]);
        for commit in &batch {
            let (row, events, _) = world.everything(commit.run).await;
            assert_eq!((row.version, events), (commit.version + 1, commit.events.clone()));
        }
    }
}

/// No run enters a session that is archived.
pub async fn create_against_archive(world: &World) {
    for round in 0..20 {
        let session = SessionId(Uuid::from_u128(round + 1));
        let row = SessionRow {
            id: session,
            tenant: TENANT,
            name: "s".to_owned(),
            labels: serde_json::Map::new(),
            created_at: at(0),
            created_by: "ada".to_owned(),
            archived_at: None,
        };
        world.a.create_session(&row, None).await.unwrap();
        let run = NewRun { session: Some(session), ..new_run(round + 1) };
        let archive = SessionChange { name: None, archived: Some(true) };
        let (a, b) = (world.a.clone(), world.b.clone());
        let runs = [run];
        let (created, archived) =
            join(a.create_runs(&runs, None), b.update_session(TENANT, session, &archive, at(1))).await;
        archived.unwrap();
        match created.unwrap() {
            Creation::Created => assert!(world.a.run(runs[0].id).await.unwrap().is_some()),
            Creation::SessionArchived(told) => {
                assert_eq!(told, session);
                assert!(world.a.run(runs[0].id).await.unwrap().is_none());
            }
            other => unreachable!("{other:?}"),
        }
        assert_eq!(
            world.a.create_runs(&[NewRun { session: Some(session), ..new_run(round + 1_000) }], None).await.unwrap(),
            Creation::SessionArchived(session)
        );
    }
}
