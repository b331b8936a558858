//! Starting the processes of a fleet, and talking to its server.

use std::{
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use opsroom::system::tls;
use reqwest::{
    Method,
    blocking::{Client, Response},
};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{
    cli::world::{Ended, PATIENCE, Running, World, pause_for, until},
    servers::{self, TestDatabase},
};

/// How long a worker counts as living in these tests.
pub const LEASE: Duration = Duration::from_secs(2);

const KEY: &str = "the-key-of-the-test-fleet";

/// A database, and the processes on it. They are killed when it is dropped.
pub struct Fleet {
    pub world: World,
    /// How long workers of this fleet count as living; for all that are started from now on.
    pub lease: Duration,
    url: String,
    /// Goes after the processes that use it.
    _database: Option<TestDatabase>,
    client: Client,
    pub server: Option<Member>,
}

/// A process of the fleet.
pub struct Member {
    name: String,
    running: Running,
    /// What it has said about itself.
    pub said: Value,
}

pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Runtime::new().unwrap().block_on(future)
}

impl Fleet {
    /// On an empty database of the server of this test run.
    pub fn new() -> Fleet {
        let database = block_on(servers::database());
        let fleet = Fleet::on(&database.url);
        Fleet { _database: Some(database), ..fleet }
    }

    pub fn on(url: &str) -> Fleet {
        tls::install();
        let client = Client::builder().no_proxy().timeout(PATIENCE).build().unwrap();
        let world = World::new();
        std::fs::write(world.path("key"), KEY).unwrap();
        std::fs::create_dir(world.path("runbooks")).unwrap();
        Fleet { world, lease: LEASE, url: url.to_owned(), _database: None, client, server: None }
    }

    /// With a server, a scheduler that follows the folder of runbooks, and nobody who executes anything.
    pub fn with_scheduler(runbooks: &[(&str, &str)]) -> (Fleet, Member) {
        let mut fleet = Fleet::new();
        for (name, body) in runbooks {
            fleet.runbook(name, body);
        }
        fleet.serve();
        let scheduler = fleet.start("scheduler", &["scheduler"]);
        for (name, _) in runbooks {
            until(&format!("the runbook `{name}` is known"), || fleet.get(&format!("/v1/runbooks/{name}")).0 == 200);
        }
        (fleet, scheduler)
    }

    /// Writes a runbook into the folder that a scheduler follows.
    pub fn runbook(&self, name: &str, body: &str) {
        let file = self.world.path(&format!("runbooks/{name}.yaml"));
        std::fs::write(file, format!("version: 1\nname: {name}\n{body}")).unwrap();
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.world.path(name)
    }

    /// The lines of a file that steps write to.
    pub fn lines(&self, name: &str) -> Vec<String> {
        let text = std::fs::read_to_string(self.path(name)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// The binary with the database in its environment.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.world.command([]);
        command
            .args(arguments)
            .env("DATABASE_URL", &self.url)
            .env("OPSROOM_KEY_FILE", self.path("key"))
            .env("OPSROOM_LEASE", format!("{}ms", self.lease.as_millis()))
            .env("OPSROOM_ARTIFACTS_URL", format!("file://{}", self.path("artifacts").display()));
        command
    }

    /// Starts a process in the background, and does not wait for it.
    pub fn launch(&self, name: &str, arguments: &[&str]) -> Running {
        // Every process is a machine of its own: nothing but the database and the artifacts is shared.
        let folder = self.path(&format!("data-{name}"));
        let mut command = self.command(arguments);
        command.args(["--output", "json"]).env("OPSROOM_DATA_DIR", folder);
        self.world.launch(name, command)
    }

    /// Starts a process, and waits until it says what it is.
    pub fn start(&self, name: &str, arguments: &[&str]) -> Member {
        let running = self.launch(name, arguments);
        let mut said = String::new();
        until(&format!("`{name}` says what it is: {:?}", running.output()), || {
            said = running.output().0;
            said.ends_with('\n')
        });
        Member { name: name.to_owned(), running, said: serde_json::from_str(said.lines().next().unwrap()).unwrap() }
    }

    pub fn worker(&self, name: &str, options: &[&str]) -> Member {
        self.start(name, &[&["worker", "--listen", "127.0.0.1:0"], options].concat())
    }

    pub fn serve(&mut self) {
        let member = self.start("serve", &["serve", "--listen", "127.0.0.1:0"]);
        self.server = Some(member);
        until("the server is ready", || self.get("/readyz").0 == 200);
    }

    fn at(&self, path: &str) -> String {
        let server = self.server.as_ref().expect("there is a server");
        format!("{}{path}", server.said["url"].as_str().unwrap())
    }

    pub fn get(&self, path: &str) -> (u16, Value) {
        self.send("GET", path, None)
    }

    pub fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        self.send("POST", path, Some(body))
    }

    fn send(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let mut request = self.client.request(method, self.at(path)).bearer_auth(KEY);
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let answer = request.send().unwrap_or_else(|error| panic!("{error:?}"));
        let status = answer.status().as_u16();
        (status, answer.json().unwrap_or_default())
    }

    pub fn stream(&self, path: &str) -> Response {
        self.client.get(self.at(path)).bearer_auth(KEY).send().unwrap()
    }

    /// Starts a run; answers its id.
    pub fn run(&self, runbook: &str) -> String {
        self.run_with(&json!({"runbook": runbook}))
    }

    pub fn run_with(&self, request: &Value) -> String {
        let (status, run) = self.post("/v1/runs", request);
        assert_eq!(status, 201, "{run}");
        run["id"].as_str().unwrap().to_owned()
    }

    pub fn row(&self, run: &str) -> Value {
        let (status, run) = self.get(&format!("/v1/runs/{run}"));
        assert_eq!(status, 200, "{run}");
        run
    }

    /// Waits until a run has ended; answers it.
    pub fn ended(&self, run: &str) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let now = self.row(run);
            if !now["ended_at"].is_null() {
                return now;
            }
            assert!(Instant::now() < deadline, "not in time: {now}");
            pause_for(Duration::from_millis(20));
        }
    }
}

impl Member {
    pub fn signal(&self, signal: Signal) {
        self.running.signal(signal);
    }

    pub fn kill(mut self) {
        self.running.kill();
    }

    pub fn wait(&mut self) -> Ended {
        self.running.wait()
    }

    /// Asks it to stop, and waits until it has.
    pub fn stop(mut self) -> Ended {
        self.signal(Signal::TERM);
        self.wait()
    }

    /// What it logged and said to people.
    pub fn log(&self) -> String {
        self.running.output().1
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The worker's id when it started.
    pub fn worker(&self) -> &str {
        self.said["worker"].as_str().unwrap()
    }

    /// What a path of its own answers, without a key.
    pub fn get(&self, path: &str) -> (u16, String) {
        let client = Client::builder().no_proxy().timeout(PATIENCE).build().unwrap();
        let answer = client.get(format!("{}{path}", self.said["url"].as_str().unwrap())).send().unwrap();
        (answer.status().as_u16(), answer.text().unwrap())
    }
}
