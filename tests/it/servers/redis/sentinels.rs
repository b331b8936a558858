//! A master and its replica, and three Sentinels that watch them.

use std::{
    collections::HashMap,
    fs,
    sync::Mutex,
    time::{Duration, Instant},
};

use super::{Options, Redis, free_port, start};

/// Sentinels of a pair, and how many of them must agree that its master is gone.
const SENTINELS: usize = 3;
const QUORUM: usize = 2;

/// Long enough for a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// Watches the master at a port under the name `main`; when so many Sentinels find it gone it is replaced, within about
/// two seconds.
pub async fn sentinel(master: u16, quorum: usize) -> Redis {
    let folder = tempfile::Builder::new().prefix("opsroom-sentinel-").tempdir().unwrap();
    let port = free_port();
    let text = format!(
        "port {port}\nbind 127.0.0.1\ndir {}\nsentinel monitor main 127.0.0.1 {master} {quorum}\n\
         sentinel down-after-milliseconds main 500\nsentinel failover-timeout main 2000\n",
        folder.path().display()
    );
    let config = folder.path().join("sentinel.conf");
    fs::write(&config, text).unwrap();
    let arguments = vec![config.display().to_string(), "--sentinel".to_owned()];
    let redis = Redis { folder, port, options: Options { arguments, ..Options::default() }, process: Mutex::new(None) };
    redis.spawn(redis.options.arguments.clone());
    redis.until_ready().await;
    redis
}

/// Two servers, of which the Sentinels name one.
pub struct SentinelPair {
    master: Redis,
    replica: Redis,
    sentinels: Vec<Redis>,
}

impl SentinelPair {
    pub async fn start() -> SentinelPair {
        let (master, replica) = (start().await, start().await);
        let mut sentinels = Vec::new();
        for _ in 0..SENTINELS {
            let sentinel = sentinel(master.port, QUORUM).await;
            // They look for each other and for replicas more often than every ten seconds.
            sentinel.ask::<()>("SENTINEL DEBUG info-period 500 publish-period 500").await;
            sentinels.push(sentinel);
        }
        let pair = SentinelPair { master, replica, sentinels };
        pair.pair_up().await;
        pair
    }

    pub fn url(&self) -> String {
        let hosts: Vec<String> = self.sentinels.iter().map(|one| format!("127.0.0.1:{}", one.port)).collect();
        format!("redis+sentinel://{}/main", hosts.join(","))
    }

    /// Kills the master, and waits until all Sentinels name the other one.
    pub async fn fail_over(&mut self) {
        self.master.kill();
        std::mem::swap(&mut self.master, &mut self.replica);
        let port = self.master.port.to_string();
        for sentinel in &self.sentinels {
            until("another master is named", async || {
                let named: Vec<String> = sentinel.ask("SENTINEL GET-MASTER-ADDR-BY-NAME main").await;
                named.last() == Some(&port)
            })
            .await;
        }
        until("it knows that it is the master", async || is_said(&self.master, "role:master").await).await;
    }

    /// The one that was killed comes back, with nothing, as the replica of the other.
    pub async fn bring_back(&self) {
        self.replica.start().await;
        self.pair_up().await;
    }

    async fn pair_up(&self) {
        self.replica.ask::<()>(&format!("REPLICAOF 127.0.0.1 {}", self.master.port)).await;
        until("it is a replica", async || is_said(&self.replica, "master_link_status:up").await).await;
        for sentinel in &self.sentinels {
            until("a Sentinel could replace the master", async || {
                let replicas: Vec<HashMap<String, String>> = sentinel.ask("SENTINEL REPLICAS main").await;
                let is_fit = |replica: &HashMap<String, String>| {
                    replica["flags"] == "slave" && replica["master-link-status"] == "ok"
                };
                let others: Vec<HashMap<String, String>> = sentinel.ask("SENTINEL SENTINELS main").await;
                replicas.iter().any(is_fit) && others.len() == SENTINELS - 1
            })
            .await;
        }
    }
}

async fn is_said(redis: &Redis, what: &str) -> bool {
    // One that changes its role cuts its clients off.
    let Ok(mut link) = redis.server().connect().await else { return false };
    let said = redis::cmd("INFO").arg("replication").query_async::<String>(&mut link).await;
    said.is_ok_and(|said| said.contains(what))
}

async fn until(what: &str, mut is_true: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !is_true().await {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
