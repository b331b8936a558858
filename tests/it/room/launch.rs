//! Starting a server, and talking to it.

use std::{
    io::Write as _,
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    time::{Duration, Instant},
};

use opsroom::system::tls;
use reqwest::{
    Method,
    blocking::{Client, RequestBuilder, Response},
    header::HeaderMap,
};
use serde_json::Value;

use super::document;
use crate::cli::world::{Ended, PATIENCE, Running, World, until};

/// A server on a data folder of its own. Killed when it is dropped.
pub struct Room {
    pub world: World,
    running: Option<Running>,
    pub url: String,
    pub key: String,
    client: Client,
    options: Vec<String>,
    starts: u32,
}

/// A whole answer, which the document describes.
#[derive(Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    pub is_head: bool,
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:?}\n{}", self.status, self.headers, String::from_utf8_lossy(&self.body))
    }
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    /// The body of an answer with this status.
    #[track_caller]
    pub fn ok(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        self.json()
    }

    /// Fails unless it is this problem.
    #[track_caller]
    pub fn is_problem(&self, status: u16, code: &str) -> Value {
        let body = self.ok(status);
        assert_eq!(body["code"], code, "{self:?}");
        assert_eq!(body["request_id"], self.header("x-request-id").unwrap());
        body
    }
}

impl Room {
    pub fn start() -> Room {
        Room::with(&[])
    }

    /// With more options for `up`. The folder `runbooks` of the world is followed, if it is there.
    pub fn with(options: &[&str]) -> Room {
        Room::on(World::new(), options)
    }

    pub fn on(world: World, options: &[&str]) -> Room {
        tls::install();
        let client = Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).timeout(PATIENCE);
        let mut room = Room {
            world,
            running: None,
            url: String::new(),
            key: String::new(),
            client: client.build().unwrap(),
            options: options.iter().map(|&option| option.to_owned()).collect(),
            starts: 0,
        };
        room.launch();
        room
    }

    /// Starts the server, again after a stop; then at the same address, where its clients look for it.
    pub fn launch(&mut self) {
        self.starts += 1;
        let name = format!("up-{}", self.starts);
        let options: Vec<&str> = self.options.iter().map(String::as_str).collect();
        let listen = self.url.strip_prefix("http://").unwrap_or("127.0.0.1:0").to_owned();
        let mut arguments = vec!["up", "--listen", &listen, "--output", "json"];
        arguments.extend(options);
        self.running = Some(self.world.start_with(&name, &arguments));
        let out = self.world.path(&format!("{name}.out"));
        let err = self.world.path(&format!("{name}.err"));
        let mut said = String::new();
        until(&format!("`up` says where it is; {}", err.display()), || {
            said = std::fs::read_to_string(&out).unwrap();
            said.ends_with('\n')
        });
        let said: Value = serde_json::from_str(said.lines().next().unwrap()).unwrap();
        said["url"].as_str().unwrap().clone_into(&mut self.url);
        self.key = std::fs::read_to_string(self.world.data().join("api.key")).unwrap().trim().to_owned();
        until("it is ready", || self.get("/readyz").status == 200);
    }

    /// Asks it to stop, and waits until it has.
    pub fn stop(&mut self) -> Ended {
        self.signal(rustix::process::Signal::TERM);
        self.wait()
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        self.running.as_ref().unwrap().signal(signal);
    }

    pub fn wait(&mut self) -> Ended {
        self.running.take().unwrap().wait()
    }

    pub fn kill(&mut self) {
        self.running.take().unwrap().kill();
    }

    /// The process, for looking at its memory and descriptors.
    pub fn pid(&self) -> u32 {
        self.running.as_ref().unwrap().pid()
    }

    pub fn data(&self) -> PathBuf {
        self.world.data()
    }

    /// What the server has logged and said since its last start.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.world.path(&format!("up-{}.err", self.starts))).unwrap()
    }

    /// A request with the key, to be sent with [`Room::send`].
    pub fn request(&self, method: &str, path: &str) -> RequestBuilder {
        self.anonymous(method, path).bearer_auth(&self.key)
    }

    /// A request without the key.
    pub fn anonymous(&self, method: &str, path: &str) -> RequestBuilder {
        self.client.request(Method::from_bytes(method.as_bytes()).unwrap(), format!("{}{path}", self.url))
    }

    /// Sends a request and holds the answer against the document.
    #[track_caller]
    pub fn send(&self, request: RequestBuilder) -> Answer {
        let request = request.build().unwrap();
        let (method, path) = (request.method().as_str().to_owned(), request.url().path().to_owned());
        let response = self.client.execute(request).unwrap_or_else(|error| panic!("{error:?}\n{}", self.log()));
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let is_head = method == "HEAD";
        let answer = Answer { status, headers, body: response.bytes().unwrap().to_vec(), is_head };
        document::check(&method, &path, &answer);
        answer
    }

    #[track_caller]
    pub fn get(&self, path: &str) -> Answer {
        self.send(self.request("GET", path))
    }

    #[track_caller]
    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(self.request("POST", path).header("content-type", "application/json").body(body.to_string()))
    }

    #[track_caller]
    pub fn put(&self, path: &str, body: &Value) -> Answer {
        self.send(self.request("PUT", path).header("content-type", "application/json").body(body.to_string()))
    }

    #[track_caller]
    pub fn patch(&self, path: &str, body: &Value) -> Answer {
        self.send(self.request("PATCH", path).header("content-type", "application/json").body(body.to_string()))
    }

    /// An answer that does not end, as of an event stream: read it as it comes.
    pub fn stream(&self, path: &str) -> Response {
        self.request("GET", path).timeout(PATIENCE).send().unwrap()
    }

    /// A bare connection.
    pub fn connect(&self) -> TcpStream {
        let address: SocketAddr = self.url.trim_start_matches("http://").parse().unwrap();
        let stream = TcpStream::connect_timeout(&address, PATIENCE).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// The bytes that a bare request is answered with, until the server closes.
    pub fn bare(&self, request: &str) -> String {
        use std::io::Read as _;
        let mut stream = self.connect();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        // A reset after the answer is an end as well.
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// Starts a run of a runbook that the server knows; answers its id.
    pub fn run(&self, runbook: &str) -> String {
        let run = self.post("/v1/runs", &serde_json::json!({"runbook": runbook})).ok(201);
        run["id"].as_str().unwrap().to_owned()
    }

    /// Waits until a run has ended; answers it.
    pub fn ended(&self, run: &str) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let now = self.get(&format!("/v1/runs/{run}")).ok(200);
            if !now["ended_at"].is_null() {
                return now;
            }
            assert!(Instant::now() < deadline, "not in time: {now}\n{}", self.log());
            pause(Duration::from_millis(20));
        }
    }
}

/// Between two looks at something that gives no signal.
#[expect(clippy::disallowed_methods, reason = "a poll with a deadline, outside of any runtime")]
pub fn pause(time: Duration) {
    std::thread::sleep(time);
}
