//! Workers, their deaths, and what wakes parked runs.

use std::{collections::BTreeMap, time::Duration};

use opsroom::{
    model::{Epoch, Lane, Micros, RunId, RunStatus, WaitingOn, WorkerId},
    ports::{Beat, CommitAnswer, NewRun, RunCommit, RunRow, WorkerRow},
};

use super::world::{AnyStore, TENANT, W1, W2, World, at, claim, end, new_run, next, park, run_id};

const W3: WorkerId = WorkerId(uuid::Uuid::from_u128(0xa3));

pub fn worker(id: WorkerId) -> WorkerRow {
    WorkerRow {
        id,
        tenant: TENANT,
        host: "host-1".to_owned(),
        pid: u32::MAX,
        version: "0.1.0".to_owned(),
        lanes: vec![Lane::A, Lane::C],
        slots: 4,
        labels: BTreeMap::from([("zone".to_owned(), "\"a\"".to_owned())]),
        started_at: at(0),
        draining: false,
    }
}

/// A sign of life that is answered, and the store's time.
pub async fn held(store: &dyn AnyStore, worker: WorkerId, lease: Option<Duration>) -> Micros {
    match store.beat(worker, lease).await.unwrap() {
        Beat::Held { now, .. } => now,
        Beat::Lost => panic!("{worker} is lost"),
    }
}

pub async fn owners_are_workers_and_whoever_owns(world: &World) {
    assert!(world.a.owners().await.unwrap().is_empty());
    world.a.register_worker(&worker(W1), None).await.unwrap();
    world.b.register_worker(&worker(W1), None).await.unwrap();
    assert_eq!(world.b.owners().await.unwrap(), [W1]);
    let row = world.owned(1, W2).await;
    assert_eq!(world.b.owners().await.unwrap(), [W1, W2]);
    assert_eq!(world.commit(end(&row)).await, CommitAnswer::Committed);
    assert_eq!(world.b.owners().await.unwrap(), [W1]);
}

pub async fn a_beat_shows_in_views(world: &World) {
    world.a.register_worker(&worker(W1), None).await.unwrap();
    let before = held(&*world.a, W1, None).await;
    let hour = Micros(before.0 - 3_600_000_000);
    world.a.create_runs(&[NewRun { claimed_by: Some(W1), created_at: hour, ..new_run(1) }], None).await.unwrap();
    let row = world.row(run_id(1)).await;
    assert_eq!(row.heartbeat_at, Some(before));
    let beat = held(&*world.b, W1, None).await;
    assert!(beat >= before);
    assert_eq!(world.row(row.id).await.heartbeat_at, Some(beat));
    // A commit is a sign of life too.
    let later = Micros(beat.0 + 1_000_000);
    assert_eq!(world.commit(RunCommit { at: later, ..next(&row) }).await, CommitAnswer::Committed);
    assert_eq!(world.row(row.id).await.heartbeat_at, Some(later));
    // Not of a run that has ended.
    assert_eq!(world.commit(end(&world.row(row.id).await)).await, CommitAnswer::Committed);
    let ended = world.row(row.id).await.heartbeat_at;
    held(&*world.a, W1, None).await;
    assert_eq!(world.row(row.id).await.heartbeat_at, ended);
    // Of nobody: nothing.
    assert_eq!(world.a.beat(W2, None).await.unwrap(), Beat::Lost);
    assert_eq!(world.a.owners().await.unwrap(), [W1]);
}

pub async fn a_busy_worker_is_not_forgotten(world: &World) {
    world.a.register_worker(&worker(W1), None).await.unwrap();
    world.a.register_worker(&worker(W2), None).await.unwrap();
    let row = world.owned(1, W1).await;
    world.b.forget_workers(&[W1, W2]).await.unwrap();
    held(&*world.a, W1, None).await;
    assert_eq!(world.a.owners().await.unwrap(), [W1]);
    assert_eq!(world.commit(end(&row)).await, CommitAnswer::Committed);
    world.b.forget_workers(&[W1]).await.unwrap();
    assert!(world.a.owners().await.unwrap().is_empty());
    // The run still says who ended it.
    assert_eq!(world.row(row.id).await.claimed_by, Some(W1));
}

pub async fn requeue_takes_from_the_dead(world: &World) {
    let claimed = world.owned(1, W1).await;
    let second = world.owned(2, W1).await;
    world.a.create_runs(&[NewRun { lane: Lane::C, claimed_by: Some(W1), ..new_run(3) }], None).await.unwrap();
    let alive = world.owned(4, W2).await;
    assert_eq!(world.commit(next(&second)).await, CommitAnswer::Committed);
    let running = world.row(second.id).await;

    let mut requeued = world.b.requeue(&[W1], at(9_000), 2).await.unwrap();
    requeued.extend(world.b.requeue(&[W1], at(9_000), 2).await.unwrap());
    requeued.sort();
    assert_eq!(requeued, [(run_id(1), Lane::A), (run_id(2), Lane::A), (run_id(3), Lane::C)]);
    assert!(world.b.requeue(&[W1], at(9_000), 2).await.unwrap().is_empty());

    for before in [claimed.clone(), running.clone()] {
        let expected = RunRow {
            status: RunStatus::Queued,
            waiting_on: Some(WaitingOn::Capacity),
            claimable: true,
            epoch: before.epoch.next(),
            version: before.version + 1,
            claimed_by: None,
            claimed_at: None,
            heartbeat_at: None,
            recoveries: 1,
            ..before
        };
        assert_eq!(world.row(expected.id).await, expected);
    }
    assert_eq!(world.row(alive.id).await, alive);
    // The late owner.
    assert_eq!(world.commit(next(&running)).await, CommitAnswer::Fenced);
    assert_eq!(world.commit(end(&claimed)).await, CommitAnswer::Fenced);
    // The next one takes the recovery in.
    let again = world.a.claim(&claim(W2, 2)).await.unwrap().remove(0);
    assert_eq!((again.recoveries, again.recoveries_applied), (1, 0));
    assert_eq!(world.commit(next(&again)).await, CommitAnswer::Committed);
    assert_eq!(world.row(again.id).await.recoveries_applied, 1);
}

pub async fn a_neighbour_takes_over_from_the_dead(world: &World) {
    let claimed = world.owned(1, W1).await;
    let second = world.owned(2, W1).await;
    world.a.create_runs(&[NewRun { lane: Lane::C, claimed_by: Some(W1), ..new_run(3) }], None).await.unwrap();
    let ended = world.owned(4, W1).await;
    assert_eq!(world.commit(end(&ended)).await, CommitAnswer::Committed);
    let alive = world.owned(5, W3).await;
    world.queued([6]).await;
    assert_eq!(world.commit(next(&second)).await, CommitAnswer::Committed);
    let running = world.row(second.id).await;

    assert!(world.b.take_over(&[], &claim(W2, 9)).await.unwrap().is_empty());
    assert!(world.b.take_over(&[W1], &claim(W2, 0)).await.unwrap().is_empty());
    let mut taken = world.b.take_over(&[W1], &claim(W2, 1)).await.unwrap();
    assert_eq!(taken.len(), 1, "no more than asked for");
    taken.extend(world.b.take_over(&[W1], &claim(W2, 9)).await.unwrap());
    assert!(world.a.take_over(&[W1], &claim(W2, 9)).await.unwrap().is_empty(), "the other lane is not ours");
    let expected = [claimed.clone(), running.clone()].map(|before| RunRow {
        status: RunStatus::Claimed,
        epoch: before.epoch.next(),
        version: before.version + 1,
        claimed_by: Some(W2),
        claimed_at: Some(at(1_000)),
        heartbeat_at: Some(at(1_000)),
        recoveries: 1,
        ..before
    });
    assert_eq!(taken, expected);
    for row in expected {
        assert_eq!(world.row(row.id).await, row);
    }
    assert_eq!(world.row(alive.id).await, alive);
    assert_eq!(world.row(run_id(3)).await.claimed_by, Some(W1));
    assert_eq!(world.row(run_id(6)).await.status, RunStatus::Queued);
    // The late owner.
    assert_eq!(world.commit(next(&running)).await, CommitAnswer::Fenced);
    // Nobody else finds them, and the new one takes the recovery in.
    assert_eq!(world.a.requeue(&[W1], at(9_000), 9).await.unwrap(), [(run_id(3), Lane::C)]);
    assert_eq!(world.commit(next(&taken[1])).await, CommitAnswer::Committed);
    assert_eq!(world.row(second.id).await.recoveries_applied, 1);
}

pub async fn due_runs_wake(world: &World) {
    for number in 1..=4 {
        let row = world.owned(number, W1).await;
        let wake_at = (number < 4).then(|| Micros(at(100).0 - i64::try_from(number).unwrap()));
        let parked = RunCommit { wake_at, ..park(&row, WaitingOn::Timer) };
        assert_eq!(world.commit(parked).await, CommitAnswer::Committed);
    }
    assert!(world.a.wake_due(at(99), 10).await.unwrap().is_empty());
    let before = world.row(run_id(3)).await;
    // The one that is due longest first.
    assert_eq!(world.a.wake_due(at(100), 1).await.unwrap(), [(run_id(3), Lane::A)]);
    let woken = RunRow {
        waiting_on: Some(WaitingOn::Capacity),
        claimable: true,
        wake_at: None,
        epoch: before.epoch.next(),
        version: before.version + 1,
        ..before
    };
    assert_eq!(world.row(run_id(3)).await, woken);
    assert_eq!(world.b.wake_due(at(100), 10).await.unwrap().len(), 2);
    assert!(world.b.wake_due(at(999_999), 10).await.unwrap().is_empty());
    assert_eq!(world.a.claim(&claim(W2, 10)).await.unwrap().len(), 3);
}

pub async fn an_owner_gives_back_what_it_does_not_drive(world: &World) {
    let (claimed, running, other) = (world.owned(1, W1).await, world.owned(2, W1).await, world.owned(3, W2).await);
    assert_eq!(world.commit(next(&running)).await, CommitAnswer::Committed);
    let ended = world.owned(4, W1).await;
    assert_eq!(world.commit(end(&ended)).await, CommitAnswer::Committed);
    let owned = world.b.owned(W1).await.unwrap();
    assert_eq!(owned, [(claimed.id, claimed.epoch), (running.id, running.epoch)]);

    let nobodys = (run_id(99), claimed.epoch);
    let later = (claimed.id, claimed.epoch.next());
    let others = [nobodys, later, (other.id, other.epoch), (ended.id, ended.epoch)];
    assert!(world.a.give_back(W1, &others).await.unwrap().is_empty());
    assert!(world.a.give_back(W1, &[]).await.unwrap().is_empty());
    let before = world.row(running.id).await;
    let mut given = world.a.give_back(W1, &[owned.as_slice(), &others].concat()).await.unwrap();
    given.sort();
    assert_eq!(given, [(claimed.id, Lane::A), (running.id, Lane::A)]);
    for (before, recoveries) in [(claimed, 0), (before, 1)] {
        let expected = RunRow {
            status: RunStatus::Queued,
            waiting_on: Some(WaitingOn::Capacity),
            claimable: true,
            epoch: before.epoch.next(),
            version: before.version + 1,
            claimed_by: None,
            claimed_at: None,
            heartbeat_at: None,
            recoveries,
            ..before
        };
        assert_eq!(world.row(expected.id).await, expected);
    }
    // The late owner is fenced, and what was given back is claimed as any other.
    assert_eq!(world.commit(next(&before_of(world, running.id, W1).await)).await, CommitAnswer::Fenced);
    assert_eq!(world.b.claim(&claim(W2, 10)).await.unwrap().len(), 2);
    assert!(world.a.give_back(W1, &owned).await.unwrap().is_empty());
}

/// The row as an owner still has it that was taken from.
async fn before_of(world: &World, run: RunId, owner: WorkerId) -> RunRow {
    let row = world.row(run).await;
    RunRow { claimed_by: Some(owner), epoch: Epoch(row.epoch.0 - 1), version: row.version - 1, ..row }
}
