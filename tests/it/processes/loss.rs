//! Workers and supervisors that die, stop or lose their lease.

use std::{fs::File, time::Duration};

use opsroom::{
    ports::{Processes as _, SpawnError},
    system::{SupervisorConfig, kill_leftovers, wait_until_gone},
};
use rustix::process::Signal;

use super::{
    cancel::forest,
    worker::Orders,
    world::{Mark, PATIENCE, SHAPES, World, code, config, send, until},
};

#[tokio::test]
async fn a_killed_worker_leaves_no_orphan() {
    let mark = Mark::new();
    let folder = tempfile::tempdir().unwrap();
    let lock = folder.path().join("worker.supervisor.lock");
    let orders = Orders { lock: Some(lock.clone()), ..Orders::new(&mark, 50) };
    let mut worker = orders.start();
    assert!(!wait_until_gone(&lock, Duration::ZERO).await.unwrap());
    worker.kill().unwrap();
    let (gone, ()) = tokio::join!(wait_until_gone(&lock, PATIENCE), mark.until_none_is_left(Duration::from_secs(2)));
    assert!(gone.unwrap() && !lock.exists());
    worker.wait().unwrap();
    assert_eq!(kill_leftovers(&[orders.worker]), 0);
}

#[tokio::test]
async fn the_lock_is_free_only_when_nothing_is_left() {
    let mark = Mark::new();
    let folder = tempfile::tempdir().unwrap();
    let lock = folder.path().join("worker.supervisor.lock");
    let mut worker = Orders { lock: Some(lock.clone()), ..Orders::new(&mark, 12) }.start();
    worker.kill().unwrap();
    assert!(wait_until_gone(&lock, PATIENCE).await.unwrap());
    assert_eq!(mark.living(), Vec::<String>::new());
    worker.wait().unwrap();
}

#[tokio::test]
async fn a_stopped_worker_loses_its_trees_with_its_lease() {
    let mark = Mark::new();
    let mut worker = Orders { lease_ms: Some(1000), ..Orders::new(&mark, 12) }.start();
    send(worker.id(), Signal::STOP);
    mark.until_none_is_left(PATIENCE).await;
    // Nor does it get them back.
    send(worker.id(), Signal::CONT);
    worker.kill().unwrap();
    worker.wait().unwrap();
}

#[tokio::test]
async fn a_lease_that_is_extended_holds_and_one_that_is_over_starts_nothing() {
    let lease = Duration::from_millis(300);
    let world = World::with(SupervisorConfig { lease: Some(lease), ..config() }).await;
    let mut process = world.spawn("$S").await;
    for _ in 0..10 {
        world.processes.extend(lease);
        assert!(tokio::time::timeout(lease / 5, process.wait()).await.is_err());
    }
    assert_eq!(process.wait().await, Err(SpawnError::SupervisorLost));
    assert_eq!(world.mark.living(), Vec::<String>::new());
    let refused = world.processes.spawn(world.mark.spec(&["true"])).await.err();
    assert_eq!(refused, Some(SpawnError::SupervisorLost));
    world.processes.extend(PATIENCE);
    assert_eq!(world.output("echo back").await, "back\n");
}

#[tokio::test]
async fn a_killed_supervisor_is_replaced_and_leaves_no_orphan() {
    let folder = tempfile::tempdir().unwrap();
    let lock = Some(folder.path().join("worker.supervisor.lock"));
    let world = World::with(SupervisorConfig { lock, ..config() }).await;
    for _ in 0..3 {
        let trees = forest(&world, 24).await;
        send(world.processes.supervisor_id().unwrap(), Signal::KILL);
        for mut tree in trees {
            assert_eq!(tree.wait().await, Err(SpawnError::SupervisorLost));
        }
        assert_eq!(world.mark.living(), Vec::<String>::new());
        let (exit, ..) = world.run(world.mark.script("exit 4")).await;
        assert_eq!(exit, code(4));
    }
}

#[tokio::test]
async fn a_supervisor_that_does_not_answer_dies_with_the_adapter() {
    let world = World::new().await;
    let supervisor = world.processes.supervisor_id().unwrap();
    let _trees = forest(&world, SHAPES.len()).await;
    // Signals that end other processes: it goes when the worker does.
    for signal in [Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT] {
        send(supervisor, signal);
    }
    assert_eq!(world.output("echo still here").await, "still here\n");
    drop(world.processes);
    let gone = || {
        !File::open(format!("/proc/{supervisor}/cmdline")).is_ok_and(|mut file| {
            let mut command = String::new();
            std::io::Read::read_to_string(&mut file, &mut command).is_ok_and(|length| length > 0)
        })
    };
    until("the supervisor to leave", PATIENCE, gone).await;
    world.mark.until_none_is_left(PATIENCE).await;
}

#[tokio::test]
async fn leftovers_of_a_dead_worker_are_found_by_what_they_carry() {
    let mark = Mark::new();
    let orders = Orders::new(&mark, SHAPES.len());
    let mut worker = orders.start();
    let supervisor = only_child(worker.id());
    // Both at once, as when the machine runs out of memory: neither may act on the other's end.
    send(worker.id(), Signal::STOP);
    send(supervisor, Signal::KILL);
    send(worker.id(), Signal::KILL);
    worker.wait().unwrap();
    let killed = kill_leftovers(&[config().worker, orders.worker]);
    assert!(killed > 0);
    assert_eq!(mark.living(), Vec::<String>::new());
    assert_eq!(kill_leftovers(&[orders.worker]), 0);
}

#[tokio::test]
async fn a_leftover_that_lost_its_tag_is_known_by_its_environment() {
    let (worker, other) = (config().worker, config().worker);
    let start = |worker: opsroom::model::WorkerId| {
        let mut command = std::process::Command::new("sleep");
        command.arg("90000").env_clear().env("OPSROOM_WORKER", worker.to_string()).spawn().unwrap()
    };
    let (mut leftover, mut foreign) = (start(worker), start(other));
    assert_eq!(kill_leftovers(&[worker]), 1);
    assert!(!leftover.wait().unwrap().success());
    assert!(foreign.try_wait().unwrap().is_none());
    foreign.kill().unwrap();
    foreign.wait().unwrap();
}

#[tokio::test]
async fn a_worker_inside_a_step_goes_with_all_that_it_started() {
    let world = World::new().await;
    let orders = Orders::new(&world.mark, 12);
    let mut process = world.spawn(&format!("{} & $S", orders.as_script())).await;
    // One is ours, the others the inner worker's.
    world.mark.until_sleeping(1 + orders.sleeps()).await;
    process.terminate(Duration::ZERO);
    process.wait().await.unwrap();
    assert_eq!(world.mark.living(), Vec::<String>::new());
}

/// The one child that a process has, whichever of its threads made it.
fn only_child(pid: u32) -> u32 {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let lists = threads.map(|thread| std::fs::read_to_string(thread.unwrap().path().join("children")).unwrap());
    lists.collect::<String>().trim().parse().unwrap()
}
