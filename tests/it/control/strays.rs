//! Runs that are this worker's in the store and that nobody drives.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use opsroom::{
    control::{Attendant, Limits},
    model::{Failure, Lane, Micros, RunStatus, Success},
    ports::{AttemptContext, ClaimRequest, Executor},
};
use serde_json::json;
use tokio::time::Instant;

use super::world::{Act, Gate, Place, Process, chain, submission};

fn attend(process: &Process) {
    let attendant = Attendant::new(process.world.clone(), process.worker).giving_back();
    process.tasks.spawn(attendant.run(process.stop.clone()));
}

/// Takes long, in the time of the test.
struct Slow;

#[async_trait]
impl Executor for Slow {
    async fn execute(&self, _: AttemptContext) -> Result<Success, Failure> {
        tokio::time::sleep(Duration::from_mins(5)).await;
        Ok(Success::default())
    }

    fn needs_workspace(&self) -> bool {
        false
    }
}

#[tokio::test(start_paused = true)]
async fn runs_of_a_claim_whose_answer_was_lost_are_given_back() {
    let place = Place::memory();
    let actions = [("slow", Arc::new(Slow) as Act)];
    let process = Process::with(&place, place.store.clone(), actions, Limits::default()).await;
    let plan = chain([("assert", json!({"that": true}))]);
    let lost = process.runs.submit(&vec![submission(&plan); 5], None).await.unwrap();
    let request = ClaimRequest { worker: process.worker, lane: Lane::A, limit: 10, now: Micros(0) };
    assert_eq!(place.store.claim(&request).await.unwrap().len(), 5);
    let long = process.submit(&chain([("slow", json!({}))])).await;
    let start = Instant::now();
    process.serve(8);
    attend(&process);
    for run in lost {
        assert_eq!(process.ends(run).await, RunStatus::Succeeded);
        assert_eq!(process.row(run).await.recoveries, 0, "nothing had begun");
    }
    assert!((10..17).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
    // What is driven stays with its owner, however long it says nothing.
    tokio::time::sleep(Duration::from_mins(6)).await;
    let row = process.row(long).await;
    assert_eq!((row.status, row.epoch.0, row.recoveries), (RunStatus::Succeeded, 1, 0), "{row:?}");
    process.stop().await;
}

/// An owner that is gone leaves a run that was under way.
#[tokio::test(start_paused = true)]
async fn a_run_whose_owner_is_gone_is_recovered_in_the_same_process() {
    let place = Place::memory();
    let gate = Gate::default();
    let actions = [("gate", Arc::new(gate.clone()) as Act)];
    let process = Process::with(&place, place.store.clone(), actions, Limits::default()).await;
    let mut step = opsroom::runbook::PlannedStep::new("s0", "gate");
    step.effect = opsroom::model::EffectModel::Idempotent;
    let plan = Arc::new(opsroom::runbook::Plan::new("one", vec![step]));
    let run = process.runs.submit(&[submission(&plan)], Some(process.worker)).await.unwrap().remove(0);
    let owner = process.owner.clone();
    let row = process.row(run).await;
    let mut owning = tokio::task::JoinSet::new();
    owning.spawn(async move { owner.own(row).await });
    process.until(run, |row| row.status == RunStatus::Running).await;
    owning.shutdown().await;
    process.serve(4);
    attend(&process);
    gate.open.cancel();
    assert_eq!(process.ends(run).await, RunStatus::Succeeded);
    assert_eq!(process.row(run).await.recoveries, 1);
    process.stop().await;
}
