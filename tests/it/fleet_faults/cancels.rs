//! Many trees of processes on workers, cancelled over the API of a server, or left by a worker that is killed.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    time::{Duration, Instant},
};

use serde_json::json;

use super::fleet::{Fleet, PATIENCE, Part, percentile, until_within};
use crate::{
    faults::{
        bars::{count, figure, judge},
        traces::contains,
    },
    processes::world::{Mark, SHAPES},
    servers::{TestDatabase, migrated_database},
};

/// From the call to the end of a tree that goes when it is asked to.
const WITHIN: Duration = Duration::from_millis(1_500);

/// From TERM to KILL, the default.
const GRACE: Duration = Duration::from_secs(5);

/// After the death of their worker.
const ORPHANED: Duration = Duration::from_secs(2);

/// Steps of one run.
const WIDTH: usize = 25;

/// Trees that can be told apart: each sleeps for a time of its own.
struct Forest {
    fleet: Fleet,
    server: Part,
    workers: Vec<Part>,
    _scheduler: Part,
    mark: Mark,
    runs: Vec<String>,
    trees: usize,
    _database: TestDatabase,
}

impl Forest {
    async fn new(trees: usize, workers: usize) -> Forest {
        let (database, mark) = (migrated_database().await, Mark::new());
        let fleet = Fleet::new(&database.url);
        let server = fleet.serve("server").await;
        let scheduler = fleet.scheduler("scheduler").await;
        let (mut crew, widths) = (Vec::new(), (0..trees).step_by(WIDTH).map(|first| WIDTH.min(trees - first)));
        let slots = widths.len().div_ceil(workers);
        for number in 0..workers {
            crew.push(fleet.worker(&format!("worker-{number}"), slots).await);
        }
        let (api, mut runs) = (server.api(), Vec::new());
        for (number, width) in widths.enumerate() {
            let name = format!("forest-{number}");
            api.put_runbook(&name, &wood(&mark, number * WIDTH, width)).await;
            runs.push(api.create(&name, number, None).await.unwrap());
        }
        let forest =
            Forest { fleet, server, workers: crew, _scheduler: scheduler, mark, runs, trees, _database: database };
        let sleeps: usize = (0..trees).map(|tree| SHAPES[tree % WIDTH % SHAPES.len()].1).sum();
        until_within(&format!("{sleeps} sleeps"), PATIENCE, async || forest.sleeps() >= sleeps).await;
        forest
    }

    fn sleeps(&self) -> usize {
        let of_mine = |command: &[u8]| command.starts_with(b"sleep\0") && contains(command, self.mark.0.as_bytes());
        commands().iter().filter(|command| of_mine(command)).count()
    }

    /// The trees of which something lives.
    fn living(&self) -> BTreeSet<usize> {
        let mark = format!(".{}", self.mark.0);
        let trees = commands().into_iter().filter_map(|command| {
            let command = String::from_utf8_lossy(&command).into_owned();
            let (before, _) = command.split_once(&mark)?;
            before.get(before.len() - 4..)?.parse().ok()
        });
        trees.collect()
    }

    /// When each tree was gone.
    async fn until_gone(&self, since: Instant, within: Duration) -> BTreeMap<usize, Duration> {
        let mut gone = BTreeMap::new();
        while gone.len() < self.trees {
            let living = self.living();
            let now = since.elapsed();
            (0..self.trees).filter(|tree| !living.contains(tree)).for_each(|tree| {
                gone.entry(tree).or_insert(now);
            });
            assert!(now < within || gone.len() == self.trees, "after {now:?} there are still {living:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        gone
    }
}

/// The command lines of all processes.
fn commands() -> Vec<Vec<u8>> {
    let entries = std::fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap());
    let processes = entries.filter(|entry| entry.file_name().as_encoded_bytes()[0].is_ascii_digit());
    processes.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok()).collect()
}

/// A run of `width` trees, numbered from `first`.
fn wood(mark: &Mark, first: usize, width: usize) -> String {
    let mut body = "steps:\n".to_owned();
    for (step, (script, _)) in SHAPES.iter().cycle().take(width).enumerate() {
        let sleep = format!("sleep 9{:04}.{}", first + step, mark.0);
        let script = serde_json::to_string(&script.replace("$S", &sleep)).unwrap();
        writeln!(body, "  - {{id: tree_{step}, effect: idempotent, shell: sh -u, run: {script}}}").unwrap();
    }
    body
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_tree_survives_a_cancel() {
    let trees = count(50, 500);
    let forest = Forest::new(trees, 2).await;
    let (api, since) = (forest.server.api(), Instant::now());
    let cancelling = futures::future::join_all(forest.runs.iter().map(async |run| {
        let answer = api.post(&format!("/v1/runs/{run}/cancel"), &json!({"reason": "enough"}), None).await.unwrap();
        assert_eq!(answer.status, 202, "{answer:?}");
    }));
    let within = GRACE + 10 * WITHIN;
    let (_, gone) = futures::future::join(cancelling, forest.until_gone(since, within)).await;
    forest.fleet.until_all_ended().await;
    // What ignores TERM has the grace.
    let stubborn = |tree: &usize| SHAPES[tree % WIDTH % SHAPES.len()].0.starts_with("trap '' TERM");
    let (hard, easy): (Vec<_>, Vec<_>) = gone.iter().partition(|(tree, _)| stubborn(tree));
    let times = |of: Vec<(&usize, &Duration)>| of.into_iter().map(|(_, time)| *time).collect::<Vec<_>>();
    let (hard, easy) = (times(hard), times(easy));
    let (p99, p99_hard) = (percentile(easy.clone(), 99), percentile(hard.clone(), 99));
    judge(
        "fleet-cancel",
        format!(
            "{trees} trees of {} runs on 2 workers cancelled over the API: p50 {:?}, p99 {p99:?}; the {} that ignore TERM: \
             p99 {p99_hard:?} (grace {GRACE:?}); no survivor",
            forest.runs.len(),
            percentile(easy.clone(), 50),
            hard.len()
        ),
        p99 <= WITHIN && p99_hard <= GRACE + WITHIN,
    );
    let sql = "SELECT count(*) FROM runs WHERE status = 'cancelled'";
    let cancelled: i64 = sqlx::query_scalar(sql).fetch_one(&mut forest.fleet.connect().await).await.unwrap();
    assert_eq!(cancelled, i64::try_from(forest.runs.len()).unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_tree_survives_its_worker() {
    let trees = count(25, 50);
    let mut forest = Forest::new(trees, 1).await;
    let since = Instant::now();
    forest.workers[0].kill();
    let gone = forest.until_gone(since, ORPHANED).await;
    figure(
        "fleet-orphans",
        format!("{trees} trees, all gone at most {:?} after the SIGKILL of their worker", gone.values().max().unwrap()),
    );
}
