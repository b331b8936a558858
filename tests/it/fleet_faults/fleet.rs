//! Processes of a fleet, each with a data folder of its own as on a machine of its own, and clients that talk to them.

use std::{
    fs::File,
    path::PathBuf,
    process::{Child, ExitStatus, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use opsroom::system::tls;
use reqwest::{Client, Method};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};

use crate::{
    cli::world::World,
    faults::{
        bars::is_soak,
        traces::{Traced, carriers},
    },
};

/// Long enough for a busy machine; nothing waits as long when it works.
pub const PATIENCE: Duration = Duration::from_mins(2);

/// The lease of every day is short, so that a test of every day is; a soak has the usual one.
pub fn lease() -> Duration {
    if is_soak() { Duration::from_secs(10) } else { Duration::from_secs(5) }
}

const KEY: &str = "opsroom_0123456789abcdefghijklmnopqrstuvwxyz";

/// What the processes of one test have in common.
pub struct Fleet {
    pub world: World,
    /// The database, straight.
    pub url: String,
    /// More of the environment of every process.
    pub variables: Vec<(&'static str, String)>,
    starts: AtomicU32,
}

/// One process. Killed when it is dropped.
pub struct Part {
    child: Child,
    /// What it was started with.
    pub launch: Launch,
    /// Where it listens.
    pub url: String,
    err: PathBuf,
}

#[derive(Debug, Clone)]
pub struct Launch {
    /// Its data folder's name.
    pub name: String,
    pub database_url: String,
    pub arguments: Vec<String>,
}

impl Fleet {
    pub fn new(url: &str) -> Fleet {
        tls::install();
        let world = World::new();
        std::fs::write(world.path("key"), KEY).unwrap();
        std::fs::create_dir(world.path("artifacts")).unwrap();
        Fleet { world, url: url.to_owned(), variables: Vec::new(), starts: AtomicU32::new(0) }
    }

    /// Starts a process on the database and waits until it says that it is there.
    pub async fn start(&self, name: &str, arguments: &[&str]) -> Part {
        let arguments = arguments.iter().map(ToString::to_string).collect();
        self.launch(Launch { name: name.to_owned(), database_url: self.url.clone(), arguments }).await
    }

    pub async fn launch(&self, launch: Launch) -> Part {
        let file = |kind: &str| {
            let number = self.starts.fetch_add(1, Ordering::Relaxed);
            self.world.path(&format!("{}-{number}.{kind}", launch.name))
        };
        let (out, err) = (file("out"), file("err"));
        let mut command = self.world.command([]);
        command
            .args(&launch.arguments)
            .args(["--output", "json"])
            .env("DATABASE_URL", &launch.database_url)
            .env("OPSROOM_DATA_DIR", self.world.path(&launch.name))
            .env("OPSROOM_KEY_FILE", self.world.path("key"))
            .env("OPSROOM_ARTIFACTS_URL", format!("file://{}", self.world.path("artifacts").display()))
            .env("OPSROOM_LEASE", format!("{}s", lease().as_secs()))
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdout(Stdio::from(File::create(&out).unwrap()))
            .stderr(Stdio::from(File::create(&err).unwrap()));
        let mut part = Part { child: command.spawn().unwrap(), launch, url: String::new(), err };
        let mut said = String::new();
        until_within("a process says where it is", PATIENCE, async || {
            let ended = part.child.try_wait().unwrap();
            assert_eq!(ended, None, "{:?}: {}", part.launch, part.log());
            said = std::fs::read_to_string(&out).unwrap();
            said.ends_with('\n')
        })
        .await;
        let said: Value = serde_json::from_str(said.lines().next().unwrap()).unwrap();
        said["url"].as_str().unwrap_or_default().clone_into(&mut part.url);
        part
    }

    pub async fn serve(&self, name: &str) -> Part {
        self.start(name, &["serve", "--listen", "127.0.0.1:0"]).await
    }

    pub async fn scheduler(&self, name: &str) -> Part {
        self.start(name, &["scheduler"]).await
    }

    pub async fn worker(&self, name: &str, slots: usize) -> Part {
        self.start(name, &["worker", "--lanes", "A", "--slots", &slots.to_string()]).await
    }

    /// A connection of the test's own.
    pub async fn connect(&self) -> PgConnection {
        PgConnection::connect(&self.url).await.unwrap()
    }

    /// The id that a process lives under as a worker; `None` when it is none just now.
    pub async fn worker_id(&self, part: &Part) -> Option<String> {
        let sql = "SELECT id::text FROM workers WHERE pid = $1 AND lost_at IS NULL ORDER BY id DESC LIMIT 1";
        let pid = i64::from(part.pid());
        sqlx::query_scalar(sql).bind(pid).fetch_optional(&mut self.connect().await).await.unwrap()
    }

    /// The time in the database, in microseconds.
    pub async fn now(&self) -> i64 {
        let sql = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint";
        sqlx::query_scalar(sql).fetch_one(&mut self.connect().await).await.unwrap()
    }

    /// Runs that have not ended.
    pub async fn open_runs(&self) -> i64 {
        let sql = "SELECT count(*) FROM runs WHERE ended_at IS NULL";
        sqlx::query_scalar(sql).fetch_one(&mut self.connect().await).await.unwrap()
    }

    pub async fn until_all_ended(&self) {
        let since = Instant::now();
        while self.open_runs().await > 0 {
            if since.elapsed() > PATIENCE {
                let sql =
                    "SELECT json_agg(row_to_json(r))::text FROM (SELECT * FROM runs WHERE ended_at IS NULL LIMIT 3) r";
                let left: String = sqlx::query_scalar(sql).fetch_one(&mut self.connect().await).await.unwrap();
                panic!("{} runs do not end: {left}", self.open_runs().await);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Everything of this test that lives: parts, supervisors, steps.
    pub fn living(&self) -> std::collections::BTreeSet<Traced> {
        carriers(&[&self.world.path("").display().to_string()])
    }
}

impl Part {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        send(self.pid(), signal);
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to stop, and waits until it has.
    pub async fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        let mut ended = None;
        until_within("it stops", PATIENCE, async || {
            ended = self.child.try_wait().unwrap();
            ended.is_some()
        })
        .await;
        ended.unwrap()
    }

    pub fn lives(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.err).unwrap_or_default()
    }

    pub fn api(&self) -> Api {
        let client = Client::builder().no_proxy().timeout(Duration::from_secs(30)).build().unwrap();
        Api { client, url: self.url.clone() }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // A stopped process cannot be waited for before it goes on; SIGKILL ends it all the same.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn send(pid: u32, signal: Signal) {
    // It may have ended by itself.
    let _ = kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), signal);
}

/// A client of a server.
#[derive(Clone)]
pub struct Api {
    client: Client,
    pub url: String,
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: Value,
}

impl Api {
    /// An error where no whole answer came.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        key: Option<&str>,
    ) -> Result<Answer, String> {
        let mut request = self.client.request(method, format!("{}{path}", self.url)).bearer_auth(KEY);
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        let response = request.send().await.map_err(|error| error.to_string())?;
        let status = response.status().as_u16();
        let bytes = response.bytes().await.map_err(|error| error.to_string())?;
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        Ok(Answer { status, body })
    }

    pub async fn get(&self, path: &str) -> Result<Answer, String> {
        self.send(Method::GET, path, None, None).await
    }

    pub async fn post(&self, path: &str, body: &Value, key: Option<&str>) -> Result<Answer, String> {
        self.send(Method::POST, path, Some(body), key).await
    }

    /// Stores a runbook.
    pub async fn put_runbook(&self, name: &str, body: &str) {
        let source = json!({"source": format!("version: 1\nname: {name}\n{body}")});
        let answer = self.send(Method::PUT, &format!("/v1/runbooks/{name}"), Some(&source), None).await.unwrap();
        assert!([200, 201].contains(&answer.status), "{answer:?}");
    }

    /// Starts a run that is known by its number; its id if that is acknowledged.
    pub async fn create(&self, runbook: &str, number: usize, key: Option<&str>) -> Result<String, String> {
        let body = json!({"runbook": runbook, "labels": {"number": number.to_string()}});
        let answer = self.post("/v1/runs", &body, key).await?;
        match answer.status {
            201 => Ok(answer.body["id"].as_str().unwrap().to_owned()),
            _ => Err(format!("{answer:?}")),
        }
    }

    /// Starts runs at once, numbered from `first`.
    pub async fn create_many(&self, runbook: &str, first: usize, count: usize) -> Vec<String> {
        let mut ids = Vec::new();
        for first in (first..first + count).step_by(500) {
            let numbers = first..(first + 500).min(first + count);
            let runs: Vec<Value> =
                numbers.map(|number| json!({"runbook": runbook, "labels": {"number": number.to_string()}})).collect();
            let answer = self.post("/v1/runs/batch", &json!({"runs": runs}), None).await.unwrap();
            assert_eq!(answer.status, 201, "{answer:?}");
            let items = answer.body["items"].as_array().unwrap();
            ids.extend(items.iter().map(|item| item["id"].as_str().unwrap().to_owned()));
        }
        ids.truncate(count);
        ids
    }

    /// Follows a run, after the event with this id.
    pub async fn stream(&self, run: &str, last_id: Option<&str>) -> reqwest::Response {
        let path = format!("{}/v1/runs/{run}/events/stream", self.url);
        let mut request = self.client.get(path).bearer_auth(KEY).timeout(PATIENCE);
        if let Some(id) = last_id {
            request = request.header("last-event-id", id);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status().as_u16(), 200);
        response
    }

    pub async fn is_ready(&self) -> bool {
        self.get("/readyz").await.is_ok_and(|answer| answer.status == 200)
    }
}

/// Polls until `condition` holds.
pub async fn until_within(what: &str, within: Duration, mut condition: impl AsyncFnMut() -> bool) {
    let since = Instant::now();
    while !condition().await {
        assert!(since.elapsed() < within, "not within {within:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Numbers that are the same every time; when exactly something strikes differs anyway.
pub struct Random(pub u64);

impl Random {
    pub fn between(&mut self, from: usize, to: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        from + usize::try_from(self.0 >> 33).unwrap() % (to - from)
    }
}

/// The hundredth slowest, and the like.
pub fn percentile(mut of: Vec<Duration>, share: usize) -> Duration {
    of.sort();
    of.get((of.len().saturating_sub(1)) * share / 100).copied().unwrap_or_default()
}
