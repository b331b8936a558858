//! What a process costs that has nothing to do.

use std::{sync::Arc, time::Duration};

use opsroom::{
    control::{Attendant, Reaper},
    model::Lane,
    system::{Burials, LockLiveness},
    worker::{LaneConfig, Lanes},
};

use super::world::{Place, Process};

/// User and system time of this process, in ticks of 10 ms.
fn ticks() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let after = stat.rsplit(')').next().unwrap();
    after.split_whitespace().skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement, not a check"]
async fn four_lanes_and_a_reaper() {
    let place = Place::sqlite().await;
    let process = Process::new(&place).await;
    let lanes =
        Lanes::new(process.owner.clone(), process.worker, process.tasks.clone()).accept(process.handoff.clone());
    let stop = process.stop.clone();
    process.tasks.spawn(async move {
        lanes.serve(&LaneConfig { lanes: Lane::ALL.to_vec(), slots: 64 }, stop).await.unwrap();
    });
    let burials = Burials::new(place.folder.path().join("workers"), [process.worker]);
    let liveness = Arc::new(LockLiveness::new(place.store.clone(), burials));
    let reaper = Reaper::new(process.world.clone(), liveness);
    let attendant = Attendant::new(process.world.clone(), process.worker).giving_back();
    process.tasks.spawn(attendant.run(process.stop.clone()));
    process.tasks.spawn(reaper.run(process.stop.clone()));
    tokio::time::sleep(Duration::from_secs(2)).await;
    let before = ticks();
    tokio::time::sleep(Duration::from_secs(20)).await;
    let percent = (ticks() - before) as f64 / 20.0;
    let memory = std::fs::read_to_string("/proc/self/status").unwrap();
    let memory = memory.lines().find(|line| line.starts_with("VmRSS")).unwrap_or_default().to_owned();
    println!("idle: {percent} % of a core, {memory}");
    process.stop().await;
}
