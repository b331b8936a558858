//! What a run looks like while it happens.

use std::sync::Arc;

use opsroom::{
    control::{Limits, Runs},
    model::{RunStatus, StepStatus, TenantId},
};
use serde_json::json;

use super::world::{Act, Gate, Place, Process, chain};

/// One service looks all the time, and sees what one sees that looks for the first time.
#[tokio::test(flavor = "multi_thread")]
async fn looking_again_shows_the_same_as_looking_for_the_first_time() {
    let place = Place::sqlite().await;
    let gate = Gate::default();
    let actions = [("gate", Arc::new(gate.clone()) as Act)];
    let process = Process::with(&place, place.store.clone(), actions, Limits::default()).await;
    let assertion = || ("assert", json!({"that": true}));
    let emit = ("events.emit", json!({"count": 500}));
    let mut steps = vec![assertion(); 30];
    steps.extend([emit, ("gate", json!({}))]);
    let run = process.submit(&chain(steps)).await;
    process.serve(4);
    let fresh = || Runs::new(process.world.clone(), TenantId::DEFAULT);
    let mut looks = 0;
    while *gate.begun.lock().unwrap() == 0 {
        let again = process.runs.view(run).await.unwrap();
        let done = again.run.steps().iter().filter(|step| step.state.is_settled()).count();
        let steps = process.runs.steps(run).await.unwrap();
        assert!(steps.iter().filter(|step| step.status == StepStatus::Succeeded).count() >= done);
        looks += 1;
    }
    // At rest: nothing changes between the two.
    let (again, first) = (process.runs.view(run).await.unwrap(), fresh().view(run).await.unwrap());
    assert_eq!((&again.run, again.row.sequence_head), (&first.run, first.row.sequence_head));
    assert_eq!(process.runs.steps(run).await.unwrap(), fresh().steps(run).await.unwrap());
    let (live, plan) = (process.runs.steps(run).await.unwrap(), &again.plan);
    assert_eq!((live[31].status, &live[31].needs[..]), (StepStatus::Running, &[plan.steps[30].id.clone()][..]));
    gate.open.cancel();
    assert_eq!(process.ends(run).await, RunStatus::Succeeded);
    let (again, first) = (process.runs.view(run).await.unwrap(), fresh().view(run).await.unwrap());
    assert_eq!(again.run, first.run);
    // Those of an ended run come from its rows, and say the same as its events.
    let rows = process.runs.steps(run).await.unwrap();
    assert!(
        rows.iter().all(|step| step.status == StepStatus::Succeeded && step.attempts == 1 && step.ended_at.is_some())
    );
    assert_eq!(rows.len(), 32);
    println!("{looks} looks");
    process.stop().await;
}
