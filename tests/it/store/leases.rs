//! Leases of workers, by the store's own clock.

use std::{collections::BTreeMap, time::Duration};

use futures::future::join;
use opsroom::{
    model::{Lane, TenantId, WorkerId},
    ports::{Beat, CommitAnswer, WorkerRow, WorkerState},
};
use uuid::Uuid;

use super::{
    workers::{held, worker},
    world::{TENANT, W1, W2, World, claim, end, next, run_id},
};

/// Longer than any test.
const LONG: Option<Duration> = Some(Duration::from_hours(1));
/// Over soon.
const SHORT: Option<Duration> = Some(Duration::from_millis(5));

const OTHERS: TenantId = TenantId(Uuid::from_u128(0xbb));

/// Waits until the store says that these are dead.
async fn until_dead(world: &World, expected: &[WorkerId]) {
    let wait = async {
        while world.b.expired_workers(10).await.unwrap().workers != expected {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), wait).await.expect("leases run out");
}

pub async fn beats_hold_a_lease(world: &World) {
    let Beat::Held { now, draining: false } = world.a.register_worker(&worker(W1), LONG).await.unwrap() else {
        panic!("a new worker has a lease")
    };
    let beat = held(&*world.b, W1, LONG).await;
    assert!(beat >= now);
    // To register once more is a beat: a lost answer may be repeated.
    let Beat::Held { now, .. } = world.a.register_worker(&worker(W1), LONG).await.unwrap() else { panic!("lost") };
    assert!(now >= beat);
    let expired = world.b.expired_workers(10).await.unwrap();
    assert!(expired.workers.is_empty() && expired.now >= now, "{expired:?}");
    assert_eq!(world.a.expired_workers(10).await.unwrap().server, expired.server);
}

pub async fn a_lease_that_ran_out_is_lost_for_good(world: &World) {
    world.a.register_worker(&worker(W1), SHORT).await.unwrap();
    world.a.register_worker(&worker(W2), LONG).await.unwrap();
    until_dead(world, &[W1]).await;
    assert_eq!(world.a.beat(W1, LONG).await.unwrap(), Beat::Lost);
    assert_eq!(world.a.register_worker(&worker(W1), LONG).await.unwrap(), Beat::Lost);
    assert_eq!(world.a.beat(W1, None).await.unwrap(), Beat::Lost);
    until_dead(world, &[W1]).await;
    world.b.forget_workers(&[W1]).await.unwrap();
    until_dead(world, &[]).await;
    assert_eq!(world.a.beat(W1, LONG).await.unwrap(), Beat::Lost);
    held(&*world.a, W2, LONG).await;
}

/// Also where nobody has looked in between.
pub async fn a_late_beat_is_lost(world: &World) {
    world.a.register_worker(&worker(W1), SHORT).await.unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(world.a.beat(W1, LONG).await.unwrap(), Beat::Lost);
    until_dead(world, &[W1]).await;
}

pub async fn whoever_has_no_lease_does_not_expire(world: &World) {
    world.a.register_worker(&worker(W1), None).await.unwrap();
    assert!(world.b.expired_workers(10).await.unwrap().workers.is_empty());
    held(&*world.a, W1, None).await;
    assert!(world.b.expired_workers(10).await.unwrap().workers.is_empty());
}

pub async fn an_owner_that_nobody_knows_is_dead(world: &World) {
    world.a.register_worker(&worker(W2), LONG).await.unwrap();
    let (lost, kept) = (world.owned(1, W1).await, world.owned(2, W2).await);
    until_dead(world, &[W1]).await;
    assert_eq!(world.b.requeue(&[W1], lost.created_at, 10).await.unwrap(), [(run_id(1), Lane::A)]);
    until_dead(world, &[]).await;
    assert_eq!(world.row(kept.id).await, kept);
    // A worker that was dead and forgotten, and whose claim was on its way all the time.
    world.a.register_worker(&worker(W1), SHORT).await.unwrap();
    until_dead(world, &[W1]).await;
    world.b.forget_workers(&[W1]).await.unwrap();
    until_dead(world, &[]).await;
    assert_eq!(world.a.claim(&claim(W1, 1)).await.unwrap()[0].id, lost.id);
    until_dead(world, &[W1]).await;
}

pub async fn the_dead_are_told_in_slices(world: &World) {
    let ids: Vec<WorkerId> = (1..=5).map(|number| WorkerId(Uuid::from_u128(number))).collect();
    for id in &ids {
        world.a.register_worker(&worker(*id), SHORT).await.unwrap();
    }
    until_dead(world, &ids).await;
    assert_eq!(world.a.expired_workers(2).await.unwrap().workers, ids[..2]);
    world.a.forget_workers(&ids[..2]).await.unwrap();
    assert_eq!(world.a.expired_workers(2).await.unwrap().workers, ids[2..4]);
}

pub async fn a_worker_is_asked_to_drain(world: &World) {
    world.a.register_worker(&worker(W1), LONG).await.unwrap();
    assert!(!world.b.drain_worker(TENANT, W2).await.unwrap());
    assert!(!world.b.drain_worker(OTHERS, W1).await.unwrap());
    assert!(matches!(world.a.beat(W1, LONG).await.unwrap(), Beat::Held { draining: false, .. }));
    assert!(world.b.drain_worker(TENANT, W1).await.unwrap());
    assert!(world.b.drain_worker(TENANT, W1).await.unwrap());
    assert!(matches!(world.a.beat(W1, LONG).await.unwrap(), Beat::Held { draining: true, .. }));
    // To register once more changes nothing.
    assert!(matches!(world.a.register_worker(&worker(W1), LONG).await, Ok(Beat::Held { draining: true, .. })));
}

pub async fn workers_are_listed_with_what_they_do(world: &World) {
    let mut second = WorkerRow { lanes: Vec::new(), slots: 0, labels: BTreeMap::new(), draining: true, ..worker(W2) };
    world.a.register_worker(&worker(W1), LONG).await.unwrap();
    world.a.register_worker(&second, None).await.unwrap();
    let elsewhere = WorkerRow { id: WorkerId(Uuid::from_u128(0xa3)), tenant: OTHERS, ..worker(W1) };
    world.a.register_worker(&elsewhere, LONG).await.unwrap();
    let (running, ended) = (world.owned(1, W1).await, world.owned(2, W1).await);
    assert_eq!(world.commit(next(&running)).await, CommitAnswer::Committed);
    assert_eq!(world.commit(end(&ended)).await, CommitAnswer::Committed);
    let beat_at = held(&*world.a, W1, LONG).await;

    let page = world.b.workers(TENANT, None, 1).await.unwrap();
    assert!(page.more);
    let first = WorkerState {
        row: worker(W1),
        beat_at,
        beat_age: page.items[0].beat_age,
        lease_until: page.items[0].lease_until,
        is_expired: false,
        running: 1,
    };
    assert_eq!(page.items, [first]);
    assert!(page.items[0].beat_age < Duration::from_secs(30));
    let lease = page.items[0].lease_until.unwrap().since(beat_at);
    assert!(lease.abs_diff(LONG.unwrap()) < Duration::from_secs(1), "{lease:?}");
    let rest = world.b.workers(TENANT, Some(W1), 1).await.unwrap();
    assert!(!rest.more);
    assert_eq!(rest.items.len(), 1);
    assert!(!rest.items[0].has_lease() && !rest.items[0].is_expired);
    second.started_at = rest.items[0].row.started_at;
    assert_eq!(rest.items[0].row, second);
    assert!(world.b.workers(TENANT, Some(W2), 10).await.unwrap().items.is_empty());
}

pub async fn a_worker_that_ran_out_is_listed_as_such(world: &World) {
    world.a.register_worker(&worker(W1), SHORT).await.unwrap();
    let wait = async {
        while !world.b.workers(TENANT, None, 10).await.unwrap().items[0].is_expired {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), wait).await.unwrap();
    until_dead(world, &[W1]).await;
    assert!(world.b.workers(TENANT, None, 10).await.unwrap().items[0].is_expired);
}

/// Whoever was told dead never hears again that it lives, however close the two were.
pub async fn beat_against_expiry(world: &World) {
    for number in 1..=100 {
        let id = WorkerId(Uuid::from_u128(number));
        world
            .a
            .register_worker(&worker(id), Some(Duration::from_micros(1_000 + 20 * u64::try_from(number).unwrap())))
            .await
            .unwrap();
        let mut told_dead = false;
        for _ in 0..8 {
            let (beat, expired) = join(world.a.beat(id, SHORT), world.b.expired_workers(10)).await;
            let (beat, expired) = (beat.unwrap(), expired.unwrap().workers.contains(&id));
            assert!(!told_dead || beat == Beat::Lost, "round {number}");
            told_dead |= expired;
            if told_dead {
                assert_eq!(world.b.beat(id, LONG).await.unwrap(), Beat::Lost, "round {number}");
            }
            tokio::time::sleep(Duration::from_micros(u64::try_from(number).unwrap() * 37 % 1_500)).await;
        }
        until_dead(world, &[id]).await;
        world.a.forget_workers(&[id]).await.unwrap();
    }
}
