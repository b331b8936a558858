//! The test binary as a worker: what a test that kills or stops a worker runs.

use std::{
    io::{BufRead as _, Write as _},
    process::Child,
    time::Duration,
};

use opsroom::{model::WorkerId, system::SupervisorConfig};
use serde::{Deserialize, Serialize};

use super::{
    cancel::forest,
    world::{Mark, SHAPES, World, config, worker_command},
};

/// What a worker is told on its standard input.
#[derive(Serialize, Deserialize)]
pub struct Orders {
    pub worker: WorkerId,
    pub mark: String,
    pub trees: usize,
    pub lock: Option<std::path::PathBuf>,
    /// Extended five times within its length, for as long as the worker runs.
    pub lease_ms: Option<u64>,
}

impl Orders {
    pub fn new(mark: &Mark, trees: usize) -> Orders {
        Orders { worker: config().worker, mark: mark.0.clone(), trees, lock: None, lease_ms: None }
    }

    /// The worker as a line of a script.
    pub fn as_script(&self) -> String {
        let command = worker_command();
        let words: Vec<_> = [command.get_program()].into_iter().chain(command.get_args()).collect();
        let words = words.join(std::ffi::OsStr::new(" ")).into_string().unwrap();
        format!("echo '{}' | {words}", serde_json::to_string(self).unwrap())
    }

    /// How many sleeps its trees come to.
    pub fn sleeps(&self) -> usize {
        SHAPES.iter().cycle().take(self.trees).map(|(_, sleeps)| sleeps).sum()
    }

    /// Starts a worker and waits until its trees are up.
    pub fn start(&self) -> Child {
        let mut child = worker_command().spawn().unwrap();
        let mut orders = serde_json::to_vec(self).unwrap();
        orders.push(b'\n');
        child.stdin.as_mut().unwrap().write_all(&orders).unwrap();
        let lines = std::io::BufReader::new(child.stdout.as_mut().unwrap()).lines();
        assert!(lines.map_while(Result::ok).any(|line| line == "up"), "the worker did not come up");
        child
    }
}

#[tokio::test]
#[ignore = "not a test: the part of the worker, played for other tests"]
async fn act_as_worker() {
    let mut orders = String::new();
    std::io::stdin().read_line(&mut orders).unwrap();
    let Ok(orders) = serde_json::from_str::<Orders>(&orders) else { return };
    let lease = orders.lease_ms.map(Duration::from_millis);
    let config = SupervisorConfig { worker: orders.worker, lock: orders.lock, lease, ..config() };
    let world = World { mark: Mark(orders.mark), ..World::with(config).await };
    let extend = async {
        let Some(lease) = lease else { return std::future::pending::<()>().await };
        loop {
            world.processes.extend(lease);
            tokio::time::sleep(lease / 5).await;
        }
    };
    let serve = async {
        let _trees = forest(&world, orders.trees).await;
        std::io::stdout().write_all(b"\nup\n").unwrap();
        std::future::pending::<()>().await;
    };
    tokio::join!(extend, serve);
}
