//! Claims, one at a time; for claims against each other see `races`.

use opsroom::{
    model::{Epoch, Lane, Micros, RunStatus, WaitingOn},
    ports::{CommitAnswer, NewRun},
};

use super::world::{T0, W1, W2, World, at, claim, end, new_run, park, run_id};

pub async fn highest_priority_then_oldest(world: &World) {
    let run = |number, priority, created_at| NewRun { priority, created_at, ..new_run(number) };
    let runs = [
        run(1, 0, Micros(T0.0 + 5)),
        run(2, 5, Micros(T0.0 + 9)),
        run(3, 0, Micros(T0.0 + 4)),
        run(4, -1, Micros(T0.0)),
        run(5, 5, Micros(T0.0 + 8)),
        run(7, 0, Micros(T0.0 + 5)),
        run(6, 0, Micros(T0.0 + 5)),
    ];
    world.a.create_runs(&runs, None).await.unwrap();
    let mut order: Vec<_> = world.b.claim(&claim(W1, 3)).await.unwrap();
    order.extend(world.a.claim(&claim(W1, 100)).await.unwrap());
    assert_eq!(order.iter().map(|run| run.id).collect::<Vec<_>>(), [5, 2, 3, 1, 6, 7, 4].map(run_id));
}

pub async fn only_its_lane_and_no_more_than_asked_for(world: &World) {
    world.queued(1..=5).await;
    world.a.create_runs(&[NewRun { lane: Lane::D, ..new_run(6) }], None).await.unwrap();
    assert!(world.a.claim(&claim(W1, 0)).await.unwrap().is_empty());
    assert_eq!(world.a.claim(&claim(W1, 2)).await.unwrap().len(), 2);
    assert_eq!(world.b.claim(&claim(W2, usize::MAX)).await.unwrap().len(), 3);
    assert!(world.a.claim(&claim(W1, 10)).await.unwrap().is_empty());
    assert_eq!(world.row(run_id(6)).await.status, RunStatus::Queued);
}

pub async fn a_claim_makes_an_owner(world: &World) {
    world.queued([1]).await;
    let before = world.row(run_id(1)).await;
    let claimed = world.a.claim(&claim(W1, 1)).await.unwrap().remove(0);
    let mut expected = before.clone();
    expected.status = RunStatus::Claimed;
    expected.waiting_on = None;
    expected.claimable = false;
    expected.epoch = Epoch(1);
    expected.version = before.version + 1;
    expected.claimed_by = Some(W1);
    expected.claimed_at = Some(at(1_000));
    expected.heartbeat_at = Some(at(1_000));
    assert_eq!(claimed, expected);
    assert_eq!(world.row(run_id(1)).await, expected);
}

pub async fn only_claimable_runs(world: &World) {
    let parked = world.owned(1, W1).await;
    let ended = world.owned(2, W1).await;
    world.owned(3, W1).await;
    assert_eq!(world.commit(park(&parked, WaitingOn::Timer)).await, CommitAnswer::Committed);
    assert_eq!(world.commit(end(&ended)).await, CommitAnswer::Committed);
    assert!(world.b.claim(&claim(W2, 10)).await.unwrap().is_empty());
}
