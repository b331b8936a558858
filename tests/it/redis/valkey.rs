//! The same promises on Valkey: doorbells with apalis' scripts and ours, streams, a fleet, the doctor, a cluster.

use super::{
    bells, connections, doctor, feed, fleet,
    servers::{self, Product, valkey},
    traps,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn doorbells() {
    let server = valkey().await;
    let said: String = server.ask("INFO server").await;
    assert!(said.contains("valkey_version:"), "{said}");
    bells::hear_each_other(&server).await;
    bells::wake_one(&valkey().await).await;
    bells::come_back(&valkey().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks() {
    traps::take_twenty_thousand(&valkey().await).await;
    traps::inherit_from_the_dead(&valkey().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn live_events() {
    feed::reach_others(&valkey().await).await;
    feed::end_with_the_run(&valkey().await).await;
    feed::fence_owners(&valkey().await).await;
    feed::show_what_is_missing(&valkey().await).await;
    feed::send_again(&valkey().await).await;
    feed::leave_spoilt_ones_alone(&valkey().await).await;
}

#[test]
fn a_fleet() {
    fleet::pick_up_and_stream(Product::Valkey);
}

#[test]
fn the_doctor() {
    doctor::examine(Product::Valkey);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster() {
    connections::work_in_a_cluster(&servers::cluster_of(Product::Valkey).await).await;
}
