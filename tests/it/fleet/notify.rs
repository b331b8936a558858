//! Doorbells between processes.

use std::time::Duration;

use opsroom::{
    model::Lane,
    ports::Queue,
    queue::{NotifyConfig, NotifyQueue},
    store::PgConfig,
};
use tokio::time::timeout;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::servers;

struct Process {
    queue: NotifyQueue,
    tasks: TaskTracker,
    stop: CancellationToken,
}

fn process(url: &str, name: &str) -> Process {
    let (tasks, stop) = <(TaskTracker, CancellationToken)>::default();
    let connection = PgConfig::from_url(url).unwrap().bare_options();
    let config = NotifyConfig { connection, listens: true, name: name.to_owned() };
    Process { queue: NotifyQueue::start(config, &tasks, stop.clone()), tasks, stop }
}

impl Process {
    async fn end(self) {
        self.stop.cancel();
        self.tasks.close();
        timeout(Duration::from_secs(5), self.tasks.wait()).await.expect("it ends");
    }
}

/// Rings until the other one hears it: it may be about to connect.
async fn rings_through(from: &Process, to: &Process, lane: Lane) {
    let bell = to.queue.listen(lane);
    for _ in 0..100 {
        from.queue.ring(lane);
        if timeout(Duration::from_millis(100), bell.heard()).await.is_ok() {
            return;
        }
    }
    panic!("nothing is heard");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ring_is_heard_in_other_processes_and_only_in_its_lane() {
    let database = servers::database().await;
    let (one, two) = (process(&database.url, "one"), process(&database.url, "two"));
    rings_through(&one, &two, Lane::A).await;
    rings_through(&two, &one, Lane::B).await;
    // What is on its way has come by then.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let (here, there, other) = (one.queue.listen(Lane::C), two.queue.listen(Lane::C), two.queue.listen(Lane::D));
    one.queue.ring(Lane::C);
    timeout(Duration::from_secs(1), here.heard()).await.expect("at once in the process itself");
    timeout(Duration::from_secs(1), there.heard()).await.expect("soon in the other");
    assert!(timeout(Duration::from_millis(200), other.heard()).await.is_err(), "another lane");
    assert!(timeout(Duration::from_millis(200), here.heard()).await.is_err(), "its own ring does not come back");
    one.end().await;
    two.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_rings_are_few_notifications() {
    let database = servers::database().await;
    let (one, two) = (process(&database.url, "one"), process(&database.url, "two"));
    rings_through(&one, &two, Lane::A).await;
    let count = || async {
        let mut connection = database.connect().await;
        let sql = "SELECT sum(xact_commit)::bigint FROM pg_stat_database WHERE datname = current_database()";
        let count: i64 = sqlx::query_scalar(sql).fetch_one(&mut connection).await.unwrap();
        count
    };
    let bell = two.queue.listen(Lane::A);
    let before = count().await;
    for _ in 0..10_000 {
        one.queue.ring(Lane::A);
    }
    timeout(Duration::from_secs(1), bell.heard()).await.expect("it is heard");
    // The statistics of a backend come a second late at most.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let told = count().await - before;
    assert!(told < 200, "{told} transactions for 10,000 rings");
    one.end().await;
    two.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_connection_is_made_again() {
    let server = servers::own_server().await;
    let database = server.database(None).await;
    let (one, two) = (process(&database.url, "one"), process(&database.url, "two"));
    rings_through(&one, &two, Lane::A).await;
    server.crash().await;
    let missed = two.queue.listen(Lane::D);
    server.start().await;
    rings_through(&one, &two, Lane::A).await;
    timeout(Duration::from_secs(10), missed.heard()).await.expect("something may have been missed: look");
    one.end().await;
    two.end().await;
}
