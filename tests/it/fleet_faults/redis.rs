//! Redis dies, is emptied, is silent, is full, is replaced: under load, with clients that follow the runs.
//!
//! Nothing of it may lose a run, do a step twice, hold a run up for long, or leave a hole in a stream.

use std::time::{Duration, Instant};

use super::scene::Scene;
use crate::{
    faults::bars::count,
    servers::{
        migrated_database,
        redis::{self as servers, Redis, SentinelPair},
    },
};

async fn pause(millis: u64) {
    tokio::time::sleep(Duration::from_millis(millis)).await;
}

/// Fault 3.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_is_killed_and_emptied_loses_nothing() {
    let (kills, flushes) = (count(3, 20), count(2, 10));
    let database = migrated_database().await;
    let redis = servers::start().await;
    let scene = Scene::start(&database.url, &redis.url()).await;
    scene
        .under_load("redis-kills", async || {
            for _ in 0..kills {
                redis.kill();
                pause(700).await;
                redis.start().await;
                pause(700).await;
            }
            for _ in 0..flushes {
                redis.ask::<()>("FLUSHALL").await;
                pause(300).await;
            }
        })
        .await;
}

/// `CLIENT PAUSE`, and a process that is stopped.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_is_silent_holds_nobody_up() {
    let millis = count(3_000, 30_000);
    let database = migrated_database().await;
    let redis = servers::start().await;
    let scene = Scene::start(&database.url, &redis.url()).await;
    scene
        .under_load("redis-silence", async || {
            redis.ask::<()>(&format!("CLIENT PAUSE {millis} ALL")).await;
            pause(millis + 1_000).await;
            redis.freeze();
            pause(millis).await;
            redis.thaw();
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_is_full_holds_nobody_up() {
    let (rounds, millis) = (count(1, 5), count(2_000, 10_000));
    let database = migrated_database().await;
    let redis = servers::start().await;
    let scene = Scene::start(&database.url, &redis.url()).await;
    scene
        .under_load("redis-full", async || {
            for _ in 0..rounds {
                redis.ask::<()>("CONFIG SET maxmemory 1").await;
                pause(millis).await;
                redis.ask::<()>("CONFIG SET maxmemory 0").await;
                pause(500).await;
            }
        })
        .await;
}

/// The master dies, its replica takes over, and what comes back is the replica from then on: again and again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failovers_of_sentinels_lose_nothing() {
    let failovers = count(1, 5);
    let database = migrated_database().await;
    let mut pair = SentinelPair::start().await;
    let scene = Scene::start(&database.url, &pair.url()).await;
    scene
        .under_load("redis-failover", async || {
            for _ in 0..failovers {
                pair.fail_over().await;
                pause(1_000).await;
                pair.bring_back().await;
                pause(500).await;
            }
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_of_three_nodes_carries_a_fleet() {
    let database = migrated_database().await;
    let nodes = servers::cluster().await;
    let hosts: Vec<String> = nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
    let scene = Scene::start(&database.url, &format!("redis+cluster://{}", hosts.join(","))).await;
    scene.under_load("redis-cluster", async || pause(count(1_000, 10_000)).await).await;
    let mut streams = 0;
    for node in &nodes {
        streams += node.ask::<Vec<String>>("KEYS run:*:events").await.len();
    }
    assert!(streams > 0, "the events went through the cluster");
}

/// A node that comes back has lost what it had, and nobody replaces it meanwhile: its slots are unreachable.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_whose_nodes_die_loses_nothing() {
    let kills = count(2, 15);
    let database = migrated_database().await;
    let nodes = servers::cluster().await;
    let hosts: Vec<String> = nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
    let scene = Scene::start(&database.url, &format!("redis+cluster://{}", hosts.join(","))).await;
    scene
        .under_load("redis-cluster-kills", async || {
            for node in nodes.iter().cycle().take(kills) {
                node.kill();
                pause(1_000).await;
                node.start().await;
                until_whole(&nodes).await;
                pause(500).await;
            }
        })
        .await;
}

/// All nodes know that they reach each other.
async fn until_whole(nodes: &[Redis]) {
    let begun = Instant::now();
    for node in nodes {
        while !node.ask::<String>("CLUSTER INFO").await.contains("cluster_state:ok") {
            assert!(begun.elapsed() < Duration::from_secs(30), "the cluster does not come back");
            pause(50).await;
        }
    }
}
