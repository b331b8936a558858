//! What a data folder keeps of workers that have died in it.

use std::{collections::BTreeMap, fs, path::Path, sync::Arc, time::Duration};

use opsroom::{
    control::{Departures, Heritage, Limits},
    model::{Lane, TenantId, WorkerId},
    ports::{ClaimRequest, Clock as _, Ids as _, Liveness as _, WorkerRow},
    system::{Burials, RandomIds, SystemClock, WorkerLock},
};

use super::world::{Place, Process, chain};

/// What a killed process leaves.
fn dies(folder: &Path) -> WorkerId {
    let worker = RandomIds.worker_id();
    fs::write(folder.join(format!("{worker}.lock")), "4711\n").unwrap();
    worker
}

fn files(folder: &Path) -> usize {
    fs::read_dir(folder).unwrap().count()
}

/// Looks until so many files are left.
async fn until_left(departures: &Departures, folder: &Path, count: usize) {
    for _ in 0..1_000 {
        departures.forget_dead().await.unwrap();
        if files(folder) == count {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("{} files are left", files(folder));
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_deaths_leave_nothing_behind() {
    let place = Place::sqlite().await;
    let process = Process::with(&place, place.store.clone(), [], Limits::default()).await;
    let folder = place.folder.path().join("workers");
    let _lock = WorkerLock::acquire(&folder, process.worker).unwrap();
    for _ in 0..50 {
        dies(&folder);
    }
    let burials = Arc::new(Burials::new(&folder, [process.worker]));
    let departures = Departures::new(process.world.clone(), burials.clone());
    until_left(&departures, &folder, 1).await;
    assert_eq!(departures.forget_dead().await.unwrap(), 0);
    assert!(burials.knows(process.worker));
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_worker_is_known_for_as_long_as_it_owns_a_run_or_is_registered() {
    let place = Place::sqlite().await;
    let process = Process::with(&place, place.store.clone(), [], Limits::default()).await;
    let folder = place.folder.path().join("workers");
    let _lock = WorkerLock::acquire(&folder, process.worker).unwrap();
    let store = process.world.store.clone();
    let (owner, idle) = (dies(&folder), dies(&folder));
    let row = |id| WorkerRow {
        id,
        tenant: TenantId::DEFAULT,
        host: "here".into(),
        pid: 1,
        version: "1".into(),
        lanes: vec![Lane::A],
        slots: 1,
        labels: BTreeMap::new(),
        started_at: SystemClock.now(),
        draining: false,
    };
    for worker in [owner, idle] {
        store.register_worker(&row(worker), None).await.unwrap();
    }
    let run = process.submit(&chain([("assert", serde_json::json!({"that": true}))])).await;
    let claim = |worker| ClaimRequest { worker, lane: Lane::A, limit: 1, now: SystemClock.now() };
    assert_eq!(store.claim(&claim(owner)).await.unwrap()[0].id, run);
    let burials = Arc::new(Burials::new(&folder, [process.worker]));
    burials.clear(Duration::from_secs(10)).await.unwrap();
    let departures = Departures::new(process.world.clone(), burials.clone());
    assert_eq!(departures.forget_dead().await.unwrap(), 0, "both are workers still, as far as the store knows");
    store.forget_workers(&[owner, idle]).await.unwrap();
    until_left(&departures, &folder, 2).await;
    assert!(burials.knows(owner) && !burials.knows(idle));
    // Whoever lives here still inherits.
    let mut heritage = Heritage::new(burials.clone());
    let inherited = heritage.claim(&process.world, &claim(process.worker)).await.unwrap();
    assert_eq!(inherited.iter().map(|row| row.id).collect::<Vec<_>>(), [run]);
    store.forget_workers(&[owner]).await.unwrap();
    until_left(&departures, &folder, 1).await;
    process.stop().await;
}
