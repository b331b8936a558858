//! A hundred clients that do at random whatever the API lets them do.

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
    fleet::{Api, Fleet, Random, percentile},
};
use crate::{
    faults::bars::{count, figure},
    servers::migrated_database,
};

const CLIENTS: usize = 100;

/// Long enough that it can be cancelled.
const RUNBOOK: &str = "steps:
  - {id: first, uses: wait, with: {for: 1s}}
  - {id: second, needs: [first], run: [sleep, \"0.02\"]}
";

/// What all clients together were told.
#[derive(Default)]
struct Told {
    /// Runs by the keys of their requests.
    made: Mutex<BTreeMap<String, String>>,
    /// Acknowledged cancels: run and reason.
    cancelled: Mutex<BTreeSet<(String, String)>>,
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
    let workers = [fleet.worker("worker-0", 16).await, fleet.worker("worker-1", 16).await];
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
    clients.join_all().await;
    fleet.until_all_ended().await;
    let said = check(&fleet, &told).await;
    let counted = counted(&database).await;
    let times = told.times.lock().unwrap().clone();
    figure(
        "fleet-clients",
        format!(
            "{CLIENTS} clients for {span:?}: {said}; {} answers {:?}, p50 {:?}, p99 {:?}",
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
    format!("{} runs made, each there once; {} cancels, each there once", made.len(), cancelled.len())
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
                (3, Some(run)) => self.resolve(&run).await,
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

    /// Nothing is unknown here: it is refused, and changes nothing.
    async fn resolve(&self, run: &str) {
        let path = format!("/v1/runs/{run}/steps/second/resolve");
        let answer = self.call(Method::POST, &path, Some(json!({"verdict": "retry"})), None).await;
        assert!(answer.is_none_or(|(status, _)| (400..500).contains(&status)));
    }
}
