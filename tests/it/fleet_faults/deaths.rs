//! Workers that are killed, stopped and cut off while they have runs under way.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use rustix::process::Signal;
use sqlx::Row;

use super::{
    fleet::{Fleet, Part, Random, lease, percentile, send, until_within},
    ledger::{Journal, Ledger},
};
use crate::{
    faults::{
        bars::{count, figure, judge},
        traces::{Traced, carriers},
    },
    servers::{Mode, Proxy, TestDatabase, migrated_database},
};

/// From the end of a lease to the claim by somebody else.
const RECOVERY: Duration = Duration::from_secs(1);

const SLOTS: usize = 6;

/// A server, a scheduler and workers, with runs to do.
struct Scene {
    fleet: Fleet,
    journal: Journal,
    server: Part,
    _scheduler: Part,
    workers: Vec<Part>,
    runs: usize,
    _database: TestDatabase,
}

impl Scene {
    async fn new(workers: usize) -> Scene {
        let database = migrated_database().await;
        let fleet = Fleet::new(&database.url);
        let journal = Journal::new(&fleet);
        let server = fleet.serve("server").await;
        let scheduler = fleet.scheduler("scheduler").await;
        let mut crew = Vec::new();
        for number in 0..workers {
            crew.push(fleet.worker(&format!("worker-{number}"), SLOTS).await);
        }
        server.api().put_runbook("chain", &journal.chain(4, "0.3")).await;
        Scene { fleet, journal, server, _scheduler: scheduler, workers: crew, runs: 0, _database: database }
    }

    async fn submit(&mut self, count: usize) {
        self.server.api().create_many("chain", self.runs, count).await;
        self.runs += count;
    }

    /// There are always some runs that anybody may claim.
    async fn keep_busy(&mut self) {
        let sql = "SELECT count(*) FROM runs WHERE claimable";
        let waiting: i64 = sqlx::query_scalar(sql).fetch_one(&mut self.fleet.connect().await).await.unwrap();
        if waiting < i64::try_from(SLOTS).unwrap() {
            self.submit(2 * SLOTS).await;
        }
    }

    /// Waits until a worker has steps under way.
    async fn until_at_work(&mut self, worker: &str) {
        let since = Instant::now();
        while running(&self.fleet, worker).await.len() < 2 {
            assert!(since.elapsed() < 10 * lease(), "worker {worker} does nothing");
            self.keep_busy().await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until workers have steps under way that nothing but the end of the lease ends in time.
    async fn until_slow(&mut self, workers: &[String]) {
        let span = 2 * lease();
        self.journal.slow_down(span);
        for worker in workers {
            self.until_at_work(worker).await;
        }
        let slow = format!("sleep {} ", span.as_secs_f64());
        for worker in workers {
            let since = Instant::now();
            while steps_of(worker).iter().filter(|process| process.command == slow).count() < 2 {
                assert!(since.elapsed() < 5 * span, "worker {worker} has no slow steps under way");
                // The runs that it had may have been at their last steps, and others slow with all the rest.
                self.keep_busy().await;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        self.journal.speed_up();
    }

    async fn id(&self, worker: usize) -> String {
        let mut id = None;
        until_within("it is a worker", 10 * lease(), async || {
            id = self.fleet.worker_id(&self.workers[worker]).await;
            id.is_some()
        })
        .await;
        id.unwrap()
    }

    async fn finish(&self) -> (Ledger, String) {
        self.fleet.until_all_ended().await;
        let ledger = Ledger::read(&self.fleet).await;
        assert_eq!(ledger.check_numbers([]), self.runs, "every run that was made is there, once");
        let others: Vec<_> = ledger.runs.values().filter(|story| story.status != "succeeded").collect();
        assert!(others.is_empty(), "{others:?}");
        let said = ledger.check(&self.journal);
        (ledger, said)
    }
}

/// The runs that a worker has under way.
async fn running(fleet: &Fleet, worker: &str) -> Vec<String> {
    let sql = "SELECT id::text FROM runs WHERE claimed_by = $1::uuid AND status = 'running'";
    let rows = sqlx::query(sql).bind(worker).fetch_all(&mut fleet.connect().await).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

/// Steps that a worker has started, and what they have started.
fn steps_of(worker: &str) -> BTreeSet<Traced> {
    let all = carriers(&[&format!("OPSROOM_WORKER={worker}")]);
    all.into_iter().filter(|process| !process.command.contains("opsroom")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_worker_loses_nothing() {
    let (runs, kills) = count((60, 4), (2_000, 200));
    let mut scene = Scene::new(3).await;
    let (mut random, started) = (Random(4711), Instant::now());
    let mut struck: Vec<(i64, Vec<String>)> = Vec::new();
    for _ in 0..kills {
        scene.keep_busy().await;
        let victim = random.between(0, scene.workers.len());
        let id = scene.id(victim).await;
        scene.until_at_work(&id).await;
        tokio::time::sleep(Duration::from_millis(u64::try_from(random.between(0, 400)).unwrap())).await;
        let owned = running(&scene.fleet, &id).await;
        scene.workers[victim].kill();
        struck.push((scene.fleet.now().await, owned));
        // On the same machine, at once: what the dead one left is still there.
        let launch = scene.workers[victim].launch.clone();
        scene.workers[victim] = scene.fleet.launch(launch).await;
        tokio::time::sleep(Duration::from_millis(u64::try_from(random.between(0, 1_500)).unwrap())).await;
    }
    while scene.runs < runs {
        scene.submit(500.min(runs - scene.runs)).await;
    }
    let (ledger, said) = scene.finish().await;
    let recoveries = recoveries(&ledger, &struck);
    assert!(recoveries.len() >= kills, "the kills hit runs: {}", recoveries.len());
    let p99 = percentile(recoveries.clone(), 99);
    judge(
        "fleet-kill",
        format!(
            "{} runs, {kills} workers killed, {} runs taken from them: p50 {:?}, p99 {p99:?} after the kill (lease {:?}); \
             {said}; {:?} in all",
            scene.runs,
            recoveries.len(),
            percentile(recoveries.clone(), 50),
            lease(),
            started.elapsed()
        ),
        p99 < lease() + RECOVERY,
    );
    assert_eq!(leftovers(&scene).await, BTreeSet::new());
}

/// How long after each kill each of the runs went on.
fn recoveries(ledger: &Ledger, struck: &[(i64, Vec<String>)]) -> Vec<Duration> {
    let mut all = Vec::new();
    for (killed_at, runs) in struck {
        for run in runs {
            let story = &ledger.runs[run];
            // Its last write came between the look and the kill.
            if story.ended_at.is_some_and(|ended_at| ended_at <= *killed_at) {
                continue;
            }
            let recovered = story.events.iter().find(|fact| fact.action == "run_recovered" && fact.at > *killed_at);
            let recovered = recovered.unwrap_or_else(|| panic!("{run} was under way at {killed_at}: {story:#?}"));
            all.push(Duration::from_micros(u64::try_from(recovered.at - killed_at).unwrap()));
        }
    }
    all
}

fn send_all(processes: &BTreeSet<Traced>, signal: Signal) {
    for process in processes {
        send(process.pid, signal);
    }
}

/// What is left of the test besides the processes that it holds.
async fn leftovers(scene: &Scene) -> BTreeSet<Traced> {
    let mut left = BTreeSet::new();
    for _ in 0..100 {
        left = scene.fleet.living();
        left.retain(|process| !process.command.contains("opsroom"));
        if left.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    left
}

/// One of two stopped workers is stopped alone, the other with its supervisor and its steps, as when a machine is
/// suspended.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_worker_begins_and_writes_nothing_more() {
    let rounds = count(1, 25);
    let mut scene = Scene::new(4).await;
    let mut slowest = Duration::ZERO;
    let mut stopped: Vec<(String, i64)> = Vec::new();
    for round in 0..rounds {
        scene.keep_busy().await;
        let (alone, whole) = ((2 * round) % 4, (2 * round + 1) % 4);
        let ids = [scene.id(alone).await, scene.id(whole).await];
        scene.until_slow(&ids).await;
        let machine = carriers(&[&scene.fleet.world.path(&format!("worker-{whole}")).display().to_string(), &ids[1]]);
        let at = scene.fleet.now().await;
        let since = Instant::now();
        scene.workers[alone].signal(Signal::STOP);
        send_all(&machine, Signal::STOP);
        stopped.extend(ids.iter().map(|id| (id.clone(), at)));
        scene.keep_busy().await;
        until_within("the steps of a stopped worker are ended", lease() + lease() / 10, async || {
            steps_of(&ids[0]).is_empty()
        })
        .await;
        slowest = slowest.max(since.elapsed());
        tokio::time::sleep((2 * lease()).saturating_sub(since.elapsed())).await;
        scene.workers[alone].signal(Signal::CONT);
        send_all(&machine, Signal::CONT);
        until_within("nothing of a thawed machine is left", lease(), async || steps_of(&ids[1]).is_empty()).await;
        for (worker, old) in [(alone, &ids[0]), (whole, &ids[1])] {
            assert_ne!(scene.id(worker).await, **old, "it goes on as somebody else");
        }
    }
    let (ledger, said) = scene.finish().await;
    let late = late_spawns(&scene.journal, &ledger, &stopped);
    figure(
        "fleet-stop",
        format!(
            "{} stops of {:?}: no stale write, {late} spawns after the lease, steps ended at most {slowest:?} after the \
             stop (lease {:?}); {} runs, {said}",
            2 * rounds,
            2 * lease(),
            lease(),
            scene.runs
        ),
    );
    assert_eq!(late, 0);
    assert!(scene.workers.iter_mut().all(Part::lives));
}

/// Attempts that a stopped worker has begun after its lease. Steps that were themselves stopped may have begun to
/// speak later; those were recorded as begun before.
fn late_spawns(journal: &Journal, ledger: &Ledger, stopped: &[(String, i64)]) -> usize {
    let ends: BTreeMap<&str, i64> = stopped.iter().map(|(worker, at)| (&**worker, *at)).collect();
    let lease = i64::try_from(lease().as_micros()).unwrap();
    let is_late = |line: &super::ledger::Line| {
        let Some(at) = ends.get(&*line.worker) else { return false };
        let (run, step, attempt) = &line.key;
        let recorded = ledger.runs[run].events.iter().find(|fact| {
            fact.action == "step_started" && fact.data["step"] == **step && fact.data["attempt"] == *attempt
        });
        line.at > at + lease && recorded.is_none_or(|fact| fact.at > *at)
    };
    journal.begun().iter().filter(|line| is_late(line)).count()
}

/// The network is silent: no connection breaks, and nothing is heard.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_is_cut_off_fences_itself() {
    let rounds = count(1, 10);
    let mut scene = Scene::new(1).await;
    let (proxy, url) = Proxy::to(&scene.fleet.url).await;
    let launch =
        super::fleet::Launch { name: "remote".to_owned(), database_url: url, ..scene.workers[0].launch.clone() };
    scene.workers.push(scene.fleet.launch(launch).await);
    let (mut slowest, mut back) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..rounds {
        scene.keep_busy().await;
        let id = scene.id(1).await;
        scene.until_slow(std::slice::from_ref(&id)).await;
        let owned = running(&scene.fleet, &id).await;
        let (at, since) = (scene.fleet.now().await, Instant::now());
        proxy.set(Mode::Stalled);
        until_within("it ends its steps", lease() + lease() / 10, async || steps_of(&id).is_empty()).await;
        slowest = slowest.max(since.elapsed());
        until_within("others have its runs", 2 * lease() + RECOVERY, async || {
            running(&scene.fleet, &id).await.is_empty()
        })
        .await;
        tokio::time::sleep((2 * lease()).saturating_sub(since.elapsed())).await;
        assert_eq!(steps_of(&id), BTreeSet::new());
        let late = scene
            .journal
            .begun()
            .iter()
            .filter(|line| line.worker == id && line.at > at + i64::try_from(lease().as_micros()).unwrap())
            .count();
        assert_eq!(late, 0, "of {} runs", owned.len());
        let since = Instant::now();
        proxy.set(Mode::Open);
        until_within("it is a worker again", Duration::from_secs(30), async || {
            scene.fleet.worker_id(&scene.workers[1]).await.is_some_and(|now| now != id)
        })
        .await;
        back = back.max(since.elapsed());
    }
    let (_, said) = scene.finish().await;
    figure(
        "fleet-partition",
        format!(
            "{rounds} silences of {:?}: steps ended at most {slowest:?} after the beginning (lease {:?}), a worker again at \
             most {back:?} after the end; {} runs, {said}",
            2 * lease(),
            lease(),
            scene.runs
        ),
    );
}
