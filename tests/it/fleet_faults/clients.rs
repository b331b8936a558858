//! A hundred clients that do at random whatever the API lets them do, while now and then a worker dies: steps of which
//! nobody knows what became are held until a client says that they are to be tried again.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use reqwest::Method;
use serde_json::{Value, json};
use sqlx::Row as _;
use tokio::task::JoinSet;

use super::{
    claims::counted,
    fleet::{Api, Fleet, PATIENCE, Random, percentile},
};
use crate::{
    faults::bars::{count, figure},
    servers::migrated_database,
};

const CLIENTS: usize = 100;

/// Long enough that it can be cancelled.
const RUNBOOK: &str = "steps:
  - {id: first, uses: wait, with: {for: 1s}}
  - {id: second, needs: [first], run: [sleep, \"0.5\"]}
";

/// A worker is killed about this often.
const DEATHS: Duration = Duration::from_secs(15);

/// What all clients together were told.
#[derive(Default)]
struct Told {
    /// Runs by the keys of their requests.
    made: Mutex<BTreeMap<String, String>>,
    /// Acknowledged cancels: run and reason.
    cancelled: Mutex<BTreeSet<(String, String)>>,
    /// Acknowledged verdicts on steps: run and note.
    resolved: Mutex<BTreeSet<(String, String)>>,
    answers: Mutex<BTreeMap<String, usize>>,
    times: Mutex<Vec<Duration>>,
    /// Answers that no client should ever see.
    wrong: Mutex<Vec<String>>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_clients_lose_no_update() {
    let span = Duration::from_secs(count(10, 300));
    let database = migrated_database().await;
    let fleet = Fleet::new(&database.url);
    let servers = [fleet.serve("server-0").await, fleet.serve("server-1").await];
    let scheduler = fleet.scheduler("scheduler").await;
    let mut workers = [fleet.worker("worker-0", 128).await, fleet.worker("worker-1", 128).await];
    let apis = [servers[0].api(), servers[1].api()];
    apis[0].put_runbook("short", RUNBOOK).await;
    let (told, until) = (Arc::new(Told::default()), Instant::now() + span);
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        let client = Client {
            api: apis[number % 2].clone(),
            name: number,
            random: Random(u64::try_from(number).unwrap() + 1),
            told: told.clone(),
        };
        clients.spawn(client.run(until));
    }
    let mut deaths = 0;
    while Instant::now() + Duration::from_secs(5) < until {
        tokio::time::sleep((until - Instant::now()).min(2 * DEATHS) / 2).await;
        workers[deaths % 2].kill();
        let launch = workers[deaths % 2].launch.clone();
        workers[deaths % 2] = fleet.launch(launch).await;
        deaths += 1;
    }
    clients.join_all().await;
    finish(&fleet, &apis[0], &told).await;
    let said = check(&fleet, &told).await;
    let counted = counted(&database).await;
    let times = told.times.lock().unwrap().clone();
    figure(
        "fleet-clients",
        format!(
            "{CLIENTS} clients for {span:?}, {deaths} deaths of workers: {said}; {} answers {:?}, p50 {:?}, p99 {:?}",
            times.len(),
            told.answers.lock().unwrap(),
            percentile(times.clone(), 50),
            percentile(times.clone(), 99),
        ),
    );
    figure("fleet-clients", counted.check());
    assert_eq!(*told.wrong.lock().unwrap(), Vec::<String>::new());
    drop((servers, workers, scheduler));
    let url = fleet.url.clone();
    let artifacts = format!("file://{}", fleet.world.path("artifacts").display());
    let mut doctor = fleet.world.command(["doctor", "--deep"]);
    let doctor = doctor.env("DATABASE_URL", url).env("OPSROOM_ARTIFACTS_URL", artifacts).output().unwrap();
    assert!(doctor.status.success(), "{doctor:?}");
}

/// Waits until all runs have ended; what is held is tried again.
async fn finish(fleet: &Fleet, api: &Api, told: &Arc<Told>) {
    let client = Client { api: api.clone(), name: CLIENTS, random: Random(1), told: told.clone() };
    let since = Instant::now();
    for round in 0.. {
        let sql = "SELECT id::text FROM runs WHERE ended_at IS NULL AND waiting_on = 'step_outcome'";
        let held: Vec<String> = sqlx::query_scalar(sql).fetch_all(&mut fleet.connect().await).await.unwrap();
        for run in held {
            client.resolve(&run, round).await;
        }
        if fleet.open_runs().await == 0 || since.elapsed() > PATIENCE {
            break;
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    fleet.until_all_ended().await;
}

/// Holds what clients were told against the database.
async fn check(fleet: &Fleet, told: &Told) -> String {
    let mut connection = fleet.connect().await;
    let sql = "SELECT i.labels ->> 'key', r.id::text FROM runs r JOIN run_inputs i ON i.run_key = r.key";
    let mut stored = BTreeMap::<String, String>::new();
    for row in sqlx::query(sql).fetch_all(&mut connection).await.unwrap() {
        let (key, run): (String, String) = (row.get(0), row.get(1));
        let other = stored.insert(key.clone(), run);
        assert_eq!(other, None, "a run of {key} is there twice");
    }
    let made = told.made.lock().unwrap().clone();
    for (key, run) in &made {
        assert_eq!(stored.get(key), Some(run), "the run of {key} was acknowledged");
    }
    let sql = "SELECT r.id::text, s.data ->> 'reason' FROM run_signals s JOIN runs r ON r.key = s.run_key \
               WHERE s.kind = 'cancel'";
    let rows = sqlx::query(sql).fetch_all(&mut connection).await.unwrap();
    let signals: Vec<(String, String)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    let distinct: BTreeSet<(String, String)> = signals.iter().cloned().collect();
    let cancelled = told.cancelled.lock().unwrap().clone();
    assert_eq!((distinct.len(), &distinct), (signals.len(), &cancelled), "each acknowledged cancel is there, once");
    let sql = "SELECT r.id::text, s.data ->> 'note' FROM run_signals s JOIN runs r ON r.key = s.run_key \
               WHERE s.kind = 'resolve'";
    let rows = sqlx::query(sql).fetch_all(&mut connection).await.unwrap();
    let signals: Vec<(String, String)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    let distinct: BTreeSet<(String, String)> = signals.iter().cloned().collect();
    let resolved = told.resolved.lock().unwrap().clone();
    assert_eq!((distinct.len(), &distinct), (signals.len(), &resolved), "each acknowledged verdict is there, once");
    assert!(!resolved.is_empty(), "no step was ever held");
    format!(
        "{} runs made, {} cancels and {} retries of held steps, each there once",
        made.len(),
        cancelled.len(),
        resolved.len()
    )
}

struct Client {
    api: Api,
    name: usize,
    random: Random,
    told: Arc<Told>,
}

impl Client {
    async fn run(mut self, until: Instant) {
        let mut mine: Vec<String> = Vec::new();
        for round in 0_usize.. {
            if Instant::now() >= until {
                return;
            }
            let run = mine.get(self.random.between(0, mine.len().max(1))).cloned();
            match (self.random.between(0, 8), run) {
                (0 | 1, _) | (_, None) => mine.extend(self.create(round).await),
                (2, Some(_)) => self.cancel(&mine[mine.len() - 1], round).await,
                (3, Some(run)) => self.retry(&run, round).await,
                (4, _) => drop(self.call(Method::GET, "/v1/runs?limit=20", None, None).await),
                (5, Some(run)) => drop(self.call(Method::GET, &format!("/v1/runs/{run}/steps"), None, None).await),
                (_, Some(run)) => drop(self.call(Method::GET, &format!("/v1/runs/{run}"), None, None).await),
            }
            tokio::time::sleep(Duration::from_millis(u64::try_from(self.random.between(50, 500)).unwrap())).await;
        }
    }

    async fn call(&self, method: Method, path: &str, body: Option<Value>, key: Option<&str>) -> Option<(u16, Value)> {
        let since = Instant::now();
        let what = format!("{method} {}", path.split('/').nth(4).unwrap_or("-").split('?').next().unwrap());
        match self.api.send(method, path, body.as_ref(), key).await {
            Ok(answer) => {
                self.told.times.lock().unwrap().push(since.elapsed());
                *self.told.answers.lock().unwrap().entry(format!("{what} {}", answer.status)).or_default() += 1;
                if answer.status >= 500 {
                    self.told.wrong.lock().unwrap().push(format!("{what}: {answer:?}"));
                }
                Some((answer.status, answer.body))
            }
            Err(error) => {
                self.told.wrong.lock().unwrap().push(format!("{what}: {error}"));
                None
            }
        }
    }

    /// Now and then the same request is sent twice at once.
    async fn create(&mut self, round: usize) -> Option<String> {
        let key = format!("{}-{round}", self.name);
        let body = json!({"runbook": "short", "labels": {"key": key}});
        let once = || self.call(Method::POST, "/v1/runs", Some(body.clone()), Some(&key));
        let answers = if round.is_multiple_of(3) {
            let (one, two) = futures::future::join(once(), once()).await;
            vec![one, two]
        } else {
            vec![once().await]
        };
        let ids: BTreeSet<String> = answers
            .into_iter()
            .flatten()
            .filter(|(status, _)| *status == 201)
            .map(|(_, body)| body["id"].as_str().unwrap().to_owned())
            .collect();
        assert!(ids.len() <= 1, "one key, two runs: {ids:?}");
        let run = ids.into_iter().next()?;
        self.told.made.lock().unwrap().insert(key, run.clone());
        Some(run)
    }

    async fn cancel(&self, run: &str, round: usize) {
        let reason = format!("{}-{round}", self.name);
        let answer =
            self.call(Method::POST, &format!("/v1/runs/{run}/cancel"), Some(json!({"reason": reason})), None).await;
        if answer.is_some_and(|(status, _)| status == 202) {
            self.told.cancelled.lock().unwrap().insert((run.to_owned(), reason));
        }
    }

    /// Tries a step again if nobody knows what became of it; else it is refused, and changes nothing.
    async fn retry(&self, run: &str, round: usize) {
        let held = self.call(Method::GET, &format!("/v1/runs/{run}"), None, None).await;
        if held.is_some_and(|(_, body)| body["waiting_on"] == "step_outcome") || round.is_multiple_of(5) {
            self.resolve(run, round).await;
        }
    }

    async fn resolve(&self, run: &str, round: usize) {
        let note = format!("{}-{round}", self.name);
        let path = format!("/v1/runs/{run}/steps/second/resolve");
        let body = json!({"verdict": "retry", "note": note});
        let Some((status, _)) = self.call(Method::POST, &path, Some(body), None).await else { return };
        assert!(status == 202 || (400..500).contains(&status), "{status}");
        if status == 202 {
            self.told.resolved.lock().unwrap().insert((run.to_owned(), note));
        }
    }
}
