//! Plans, and the creation of runs.

use opsroom::{
    model::{Digest, Epoch, Micros, RunStatus, TenantId, WaitingOn},
    ports::{CommitAnswer, NewRun, RunFilter, RunRow, StoreError},
};
use serde_json::{Value, json};
use uuid::Uuid;

use super::world::{T0, TENANT, W1, World, event, new_run, next, object, plan, run_id};

pub async fn a_plan_is_kept_under_its_digest(world: &World) {
    let digest = Digest::of(b"plan");
    assert_eq!(world.a.plan(TENANT, digest).await.unwrap(), None);
    world.a.put_plan(TENANT, digest, b"first", "source 1").await.unwrap();
    world.b.put_plan(TENANT, digest, b"second", "source 2").await.unwrap();
    assert_eq!(world.b.plan(TENANT, digest).await.unwrap(), Some(b"first".to_vec()));
    assert_eq!(world.a.source(TENANT, digest).await.unwrap().as_deref(), Some("source 1"));
    let other = TenantId(Uuid::from_u128(2));
    assert_eq!(world.a.plan(other, digest).await.unwrap(), None);
    assert_eq!(world.a.source(other, digest).await.unwrap(), None);
}

pub async fn a_new_run_reads_back(world: &World) {
    let new = NewRun { priority: -7, created_at: T0, ..new_run(1) };
    world.a.create_runs(std::slice::from_ref(&new), None).await.unwrap();
    let expected = RunRow {
        id: new.id,
        tenant: new.tenant,
        runbook: new.runbook,
        runbook_version: None,
        session: None,
        plan: new.plan,
        lane: new.lane,
        priority: -7,
        labels: new.labels,
        params: new.params,
        trigger: new.trigger,
        steps_total: 2,
        status: RunStatus::Queued,
        waiting_on: Some(WaitingOn::Capacity),
        claimable: true,
        epoch: Epoch(0),
        version: 0,
        claimed_by: None,
        claimed_at: None,
        heartbeat_at: None,
        wake_at: None,
        signal_seq: 0,
        signals_applied: 0,
        sequence_head: 0,
        stamp_head: Micros(0),
        recoveries: 0,
        recoveries_applied: 0,
        error: None,
        created_at: T0,
        started_at: None,
        ended_at: None,
    };
    assert_eq!(world.row(run_id(1)).await, expected);
    assert_eq!(world.b.run(run_id(2)).await.unwrap(), None);
    assert!(world.b.events(run_id(1), 0, 10).await.unwrap().is_empty());
    assert!(world.b.steps(run_id(1)).await.unwrap().is_empty());
}

pub async fn a_run_may_be_born_claimed(world: &World) {
    let row = world.owned(1, W1).await;
    assert_eq!((row.status, row.epoch, row.claimed_by), (RunStatus::Claimed, Epoch(1), Some(W1)));
    assert_eq!((row.claimed_at, row.heartbeat_at), (Some(row.created_at), Some(row.created_at)));
    assert_eq!((row.waiting_on, row.claimable), (None, false));
    assert_eq!(world.a.owners().await.unwrap(), [W1]);
}

pub async fn a_run_may_be_born_with_its_first_decision(world: &World) {
    let opening = vec![event(1, json!({})), event(2, json!({"step": "a", "attempt": 1}))];
    let new = NewRun { claimed_by: Some(W1), opening: opening.clone(), ..new_run(1) };
    world.a.create_runs(&[new_run(2), new.clone()], None).await.unwrap();
    let row = world.row(run_id(1)).await;
    assert_eq!(row, new.row());
    assert_eq!((row.status, row.sequence_head, row.stamp_head), (RunStatus::Running, 2, opening[1].at));
    assert_eq!(row.started_at, Some(opening[0].at));
    assert_eq!(world.b.events(run_id(1), 0, 10).await.unwrap(), opening);
    assert!(world.b.events(run_id(2), 0, 10).await.unwrap().is_empty());
    // Its owner goes on from there.
    assert_eq!(world.a.commit(&[next(&row)]).await.unwrap(), [CommitAnswer::Committed]);
    // Nobody decides for a run without an owner.
    let unowned = NewRun { claimed_by: None, opening, ..new_run(3) };
    assert!(matches!(world.a.create_runs(&[unowned], None).await, Err(StoreError::Refused(_))));
}

pub async fn a_known_id_is_refused_and_nothing_is_written(world: &World) {
    world.queued([1]).await;
    for batch in [[new_run(2), new_run(1)], [new_run(3), new_run(3)]] {
        let answer = world.b.create_runs(&batch, None).await;
        assert!(matches!(answer, Err(StoreError::Refused(_))), "{answer:?}");
    }
    let all = world.a.runs(TENANT, &RunFilter { limit: 10, ..RunFilter::default() }).await.unwrap();
    assert_eq!(all.items.len(), 1);
    // The store goes on working.
    world.queued([2, 3]).await;
}

pub async fn a_run_needs_its_plan(world: &World) {
    for run in [
        NewRun { plan: Digest::of(b"unknown"), ..new_run(1) },
        NewRun { tenant: TenantId(Uuid::from_u128(2)), plan: plan(), ..new_run(1) },
    ] {
        let answer = world.a.create_runs(&[run], None).await;
        assert!(matches!(answer, Err(StoreError::Refused(_))), "{answer:?}");
    }
    assert_eq!(world.a.run(run_id(1)).await.unwrap(), None);
}

pub async fn what_nobody_could_read_back_is_refused(world: &World) {
    let deep = (0..200).fold(Value::Null, |inner, _| json!([inner]));
    for run in [
        NewRun { params: object(json!({"deep": deep})), ..new_run(1) },
        NewRun { labels: object(json!({"deep": deep})), ..new_run(1) },
    ] {
        let answer = world.a.create_runs(&[new_run(2), run], None).await;
        assert!(matches!(answer, Err(StoreError::Refused(_))), "{answer:?}");
    }
    assert_eq!(world.a.run(run_id(2)).await.unwrap(), None);
}
