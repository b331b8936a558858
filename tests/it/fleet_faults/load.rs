//! Clients that start runs for as long as they are asked to, and remember what they were told.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::fleet::Api;

/// What clients were told.
#[derive(Default)]
pub struct Told {
    numbers: AtomicUsize,
    /// Runs that a server has acknowledged, by their numbers.
    pub made: Mutex<BTreeMap<usize, String>>,
    /// Tries that had no good answer.
    pub failures: AtomicUsize,
    pub last_failure: Mutex<String>,
}

pub struct Load {
    pub told: Arc<Told>,
    stop: CancellationToken,
    clients: JoinSet<()>,
}

impl Load {
    /// Clients of several servers, each with a pause after every run. Every second run has a key, with which its
    /// client tries until it is told yes; the others are tried once.
    pub fn start(apis: &[Api], runbook: &'static str, clients: usize, pause: Duration) -> Load {
        let (told, stop, mut tasks) = (Arc::new(Told::default()), CancellationToken::new(), JoinSet::new());
        for number in 0..clients {
            let mut apis = apis.to_vec();
            let own = number % apis.len();
            apis.rotate_left(own);
            let client = Client { apis, runbook, pause, told: told.clone() };
            tasks.spawn(client.run(stop.clone()));
        }
        Load { told, stop, clients: tasks }
    }

    /// Lets every client finish what it is at.
    pub async fn stop(self) -> Arc<Told> {
        self.stop.cancel();
        self.clients.join_all().await;
        self.told
    }
}

struct Client {
    apis: Vec<Api>,
    runbook: &'static str,
    pause: Duration,
    told: Arc<Told>,
}

impl Client {
    async fn run(self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let number = self.told.numbers.fetch_add(1, Ordering::Relaxed);
            let key = (number.is_multiple_of(2)).then(|| format!("number-{number}"));
            for server in 0_usize.. {
                let api = &self.apis[server % self.apis.len()];
                match api.create(self.runbook, number, key.as_deref()).await {
                    Ok(run) => {
                        self.told.made.lock().unwrap().insert(number, run);
                        break;
                    }
                    Err(error) => {
                        self.told.failures.fetch_add(1, Ordering::Relaxed);
                        *self.told.last_failure.lock().unwrap() = error;
                    }
                }
                if key.is_none() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            tokio::time::sleep(self.pause).await;
        }
    }
}

impl Told {
    pub fn made(&self) -> BTreeMap<usize, String> {
        self.made.lock().unwrap().clone()
    }

    pub fn failures(&self) -> String {
        let (count, last) = (self.failures.load(Ordering::Relaxed), self.last_failure.lock().unwrap());
        if count == 0 { "no answer missed".to_owned() } else { format!("{count} answers missed (last: {last:.160})") }
    }
}
