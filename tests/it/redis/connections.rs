//! The ways to reach a Redis: TLS, passwords, users, Sentinels, a cluster.

use std::time::Duration;

use opsroom::{
    model::Lane,
    ports::{Feed, Queue},
    redis_client::RedisServer,
};

use super::{
    bells::{Process, heard_again},
    feed,
    servers::{self, Options, Redis},
};

/// Doorbells work over it.
async fn works(server: &RedisServer) {
    let (api, worker) =
        (Process::start(server.clone(), "api", &[]), Process::start(server.clone(), "worker", &[Lane::A]));
    let bell = worker.queue.listen(Lane::A);
    heard_again(&api, &*bell).await;
    api.stop().await;
    worker.stop().await;
}

#[tokio::test]
async fn tls_and_a_password() {
    let redis = servers::start_with(Options {
        is_encrypted: true,
        login: ":s3cret",
        arguments: ["--requirepass", "s3cret"].map(str::to_owned).to_vec(),
        ..Options::default()
    })
    .await;
    works(&redis.server()).await;
    let plain = redis.url().split('?').next().unwrap().to_owned();
    let error = RedisServer::from_url(&plain).unwrap().connect().await.unwrap_err();
    assert!(error.to_string().to_lowercase().contains("certificate"), "the certificate is checked: {error}");
    let wrong = redis.url().replace("s3cret", "wr0ng");
    let error = RedisServer::from_url(&wrong).unwrap().connect().await.unwrap_err();
    assert!(!format!("{error} {error:?}").contains("wr0ng"), "{error:?}");
}

#[tokio::test]
async fn a_user_with_no_more_rights_than_the_docs_name() {
    let rights = "user ops on >s3cret ~test:* ~core:apalis:* &test:* +@all -@admin -@dangerous +info";
    let arguments = std::iter::once("--user".to_owned()).chain(rights.split(' ').skip(1).map(str::to_owned));
    let redis =
        servers::start_with(Options { login: "ops:s3cret", arguments: arguments.collect(), ..Options::default() })
            .await;
    works(&redis.server()).await;
    assert!(!format!("{:?}", redis.server()).contains("s3cret"));
}

async fn replica_of(master: &Redis) -> Redis {
    let arguments = vec!["--replicaof".to_owned(), "127.0.0.1".to_owned(), master.port.to_string()];
    let replica = servers::start_with(Options { arguments, ..Options::default() }).await;
    loop {
        let info: String = replica.ask("INFO replication").await;
        if info.contains("master_link_status:up") {
            return replica;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_master_behind_sentinels_is_found() {
    let master = servers::start().await;
    let replica = replica_of(&master).await;
    let sentinel = servers::sentinel(master.port, 1).await;
    let url = format!("redis+sentinel://127.0.0.1:{}/main", sentinel.port);
    let server = RedisServer::from_url(&url).unwrap();
    let (api, worker) = (Process::start(server.clone(), "api", &[]), Process::start(server, "worker", &[Lane::A]));
    let bell = worker.queue.listen(Lane::A);
    heard_again(&api, &*bell).await;
    // Sentinel asks the master for its replicas every ten seconds.
    while !sentinel.ask::<String>("INFO sentinel").await.contains("slaves=1") {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    master.kill();
    let took = heard_again(&api, &*bell).await;
    assert!(replica.ask::<String>("INFO replication").await.contains("role:master"), "{took:?}");
    api.stop().await;
    worker.stop().await;
}

/// Three nodes. `core:apalis:queues:list`, which apalis-redis writes whatever the queue, is on one of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_of_three_nodes() {
    work_in_a_cluster(&servers::cluster().await).await;
}

pub async fn work_in_a_cluster(nodes: &[Redis]) {
    let hosts: Vec<String> = nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
    works(&RedisServer::from_url(&format!("redis+cluster://{}", hosts.join(","))).unwrap()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_carries_events() {
    let nodes = servers::cluster().await;
    let server = RedisServer::from_url(&format!("redis+cluster://127.0.0.1:{}", nodes[1].port)).unwrap();
    let (worker, api) = (feed::Process::start(server.clone(), "worker"), feed::Process::start(server, "api"));
    let mut there = api.feed.subscribe(feed::RUN);
    let last = feed::in_touch(&worker, &mut *there).await;
    worker.publish(last + 1..=last + 100);
    assert_eq!(feed::until(&mut *there, last + 100).await.len(), 100);
    worker.stop().await;
    api.stop().await;
}
