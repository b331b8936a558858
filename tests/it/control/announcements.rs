//! What readers of all runs are told.

use std::collections::BTreeMap;

use opsroom::{
    model::{RunStatus, TenantId},
    ports::Announced,
};
use serde_json::json;

use super::world::{Gate, PATIENCE, Place, Process, chain, submission};

#[tokio::test(flavor = "multi_thread")]
async fn every_run_is_announced_from_its_creation_to_its_end() {
    let place = Place::sqlite().await;
    let gate = Gate::default();
    let actions = [("gate", std::sync::Arc::new(gate.clone()) as super::world::Act)];
    let process = Process::with(&place, place.store.clone(), actions, opsroom::control::Limits::default()).await;
    let mut announced = process.world.feed.subscribe_all(TenantId::DEFAULT);
    process.serve(32);
    let plan = chain([("assert", json!({"that": true})), ("gate", json!({}))]);
    let runs = process.runs.submit(&vec![submission(&plan); 20], None).await.unwrap();
    // Its owner listens by then: nobody here looks for signals that it has missed.
    process.until(runs[7], |row| row.status == RunStatus::Running).await;
    process.runs.cancel(runs[7], "eve", "", false).await.unwrap();
    assert_eq!(process.ends(runs[7]).await, RunStatus::Cancelled);
    gate.open.cancel();
    for run in &runs {
        process.ends(*run).await;
    }
    let mut seen: BTreeMap<_, Vec<String>> = BTreeMap::new();
    while seen.values().filter(|actions| actions.last().is_some_and(|last| last == "run_finished")).count() < 20 {
        match tokio::time::timeout(PATIENCE, announced.next()).await.unwrap() {
            Announced::Event(event) => {
                assert!(event.is_about_run(), "{event:?}");
                seen.entry(event.run_id).or_default().push(event.event.action.clone());
            }
            Announced::Missed(count) => panic!("missed {count}"),
        }
    }
    for (run, actions) in &seen {
        let cancelled = *run == runs[7];
        let middle = if cancelled { "cancel_requested" } else { "run_started" };
        assert!(actions.iter().any(|action| action == "run_created"), "{run}: {actions:?}");
        assert!(actions.iter().any(|action| action == middle), "{run}: {actions:?}");
    }
    process.stop().await;
}
