//! What the outside tells a run.

use opsroom::{
    model::{RunStatus, WaitingOn},
    ports::{CommitAnswer, RunCommit, RunRow, SignalKind, SignalRow},
};

use super::world::{W1, W2, World, at, cancel, claim, end, next, park, run_id};

fn resolve() -> SignalKind {
    SignalKind::Resolve {
        step: "deploy".to_owned(),
        verdict: "failed".to_owned(),
        by: "grace".to_owned(),
        note: "it never reached the host".to_owned(),
    }
}

pub async fn signals_are_numbered(world: &World) {
    let run = world.owned(1, W1).await.id;
    let other = world.owned(2, W1).await.id;
    let first = world.a.signal(run, &cancel(), at(10)).await.unwrap().unwrap().unwrap();
    let second = world.b.signal(run, &resolve(), at(11)).await.unwrap().unwrap().unwrap();
    let elsewhere = world.b.signal(other, &resolve(), at(12)).await.unwrap().unwrap().unwrap();
    assert_eq!(first, SignalRow { run, seq: 1, at: at(10), kind: cancel() });
    assert_eq!(second, SignalRow { run, seq: 2, at: at(11), kind: resolve() });
    assert_eq!(elsewhere.seq, 1);
    assert_eq!(world.a.signals(run, 0).await.unwrap(), [first, second.clone()]);
    assert_eq!(world.a.signals(run, 1).await.unwrap(), [second]);
    assert!(world.a.signals(run, 2).await.unwrap().is_empty());
    assert!(world.a.signals(run_id(9), 0).await.unwrap().is_empty());
}

pub async fn a_signal_wakes_a_parked_run(world: &World) {
    let owned = world.owned(1, W1).await;
    assert_eq!(world.commit(park(&owned, WaitingOn::StepOutcome)).await, CommitAnswer::Committed);
    let parked = world.row(owned.id).await;
    world.b.signal(parked.id, &resolve(), at(10)).await.unwrap().unwrap().unwrap();
    let woken = RunRow {
        waiting_on: Some(WaitingOn::Capacity),
        claimable: true,
        wake_at: None,
        epoch: parked.epoch.next(),
        version: parked.version + 1,
        signal_seq: 1,
        ..parked
    };
    assert_eq!(world.row(woken.id).await, woken);
    let claimed = world.a.claim(&claim(W2, 1)).await.unwrap().remove(0);
    assert_eq!((claimed.signal_seq, claimed.signals_applied), (1, 0));
    // A run that was claimable before stays so.
    world.queued([2]).await;
    world.b.signal(run_id(2), &cancel(), at(10)).await.unwrap().unwrap().unwrap();
    assert!(world.row(run_id(2)).await.claimable);
}

pub async fn a_signal_leaves_an_owner_alone(world: &World) {
    let owned = world.owned(1, W1).await;
    world.b.signal(owned.id, &cancel(), at(10)).await.unwrap().unwrap().unwrap();
    let signalled = RunRow { signal_seq: 1, ..owned };
    assert_eq!(world.row(signalled.id).await, signalled);
    assert_eq!(world.commit(next(&signalled)).await, CommitAnswer::Committed);
}

pub async fn a_signal_comes_too_late(world: &World) {
    assert_eq!(world.a.signal(run_id(9), &cancel(), at(10)).await.unwrap(), None);
    let owned = world.owned(1, W1).await;
    assert_eq!(world.commit(end(&owned)).await, CommitAnswer::Committed);
    assert_eq!(world.b.signal(owned.id, &cancel(), at(10)).await.unwrap(), Some(Err(RunStatus::Failed)));
    assert!(world.a.signals(owned.id, 0).await.unwrap().is_empty());
}

pub async fn signalled_lists_what_is_not_taken_in(world: &World) {
    let rows = [world.owned(1, W1).await, world.owned(2, W1).await, world.owned(3, W2).await];
    world.owned(4, W1).await;
    for row in &rows {
        world.b.signal(row.id, &cancel(), at(10)).await.unwrap().unwrap().unwrap();
    }
    assert_eq!(world.a.signalled(W1).await.unwrap(), [rows[0].id, rows[1].id]);
    let aware = RunCommit { signals_applied: 1, ..next(&rows[0]) };
    assert_eq!(world.commit(aware).await, CommitAnswer::Committed);
    assert_eq!(world.a.signalled(W1).await.unwrap(), [rows[1].id]);
    let ended = RunCommit { signals_applied: 1, ..end(&rows[1]) };
    assert_eq!(world.commit(ended).await, CommitAnswer::Committed);
    assert!(world.a.signalled(W1).await.unwrap().is_empty());
    assert_eq!(world.a.signalled(W2).await.unwrap(), [rows[2].id]);
}
