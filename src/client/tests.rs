//! A server that breaks connections where it is told to.

use std::{
    fmt::Write as _,
    sync::{Arc, Mutex},
};

use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use uuid::Uuid;

use super::{Client, ClientError, Follow, Key, News};
use crate::{
    api::{Artifact, ArtifactKind, CancelRun},
    model::{Digest, Micros, RunId},
};

const RUN: RunId = RunId(Uuid::from_u128(7));

/// The requests that came, and the task that answers them.
struct Server {
    url: String,
    seen: Arc<Mutex<Vec<String>>>,
    _task: JoinSet<()>,
}

impl Server {
    /// Answers one connection after the other with these bytes, and closes each.
    async fn start(answers: Vec<Vec<u8>>) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let mut task = JoinSet::new();
        let heard = seen.clone();
        task.spawn(async move {
            for answer in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                let request = head(&mut stream).await;
                heard.lock().unwrap().push(request);
                let _ = stream.write_all(&answer).await;
                let _ = stream.shutdown().await;
            }
        });
        Server { url, seen, _task: task }
    }

    fn client(&self) -> Client {
        Client::new(&self.url, Some(Key::new("0123456789abcdefghij").unwrap())).unwrap()
    }

    /// The values of a header in the requests, in order; `-` where there was none.
    fn headers(&self, name: &str) -> Vec<String> {
        let value = |request: &String| {
            let line = request.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
            line.unwrap_or("-").to_owned()
        };
        self.seen.lock().unwrap().iter().map(value).collect()
    }
}

/// The head of a request, in lower case.
async fn head(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    while !bytes.windows(4).any(|end| end == b"\r\n\r\n") {
        let mut piece = [0; 4_096];
        let length = stream.read(&mut piece).await.unwrap();
        assert!(length > 0, "no whole request: {}", String::from_utf8_lossy(&bytes));
        bytes.extend(&piece[..length]);
    }
    String::from_utf8(bytes).unwrap().to_lowercase()
}

fn answer(status: &str, kind: &str, length: usize, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n");
    [head.as_bytes(), body].concat()
}

fn problem(status: u16, code: &str) -> Vec<u8> {
    let body = json!({"type": "", "title": "", "status": status, "code": code, "detail": "no", "request_id": "r"});
    let body = body.to_string();
    answer(&format!("{status} X"), "application/problem+json", body.len(), body.as_bytes())
}

#[tokio::test]
async fn a_write_whose_answer_was_lost_is_repeated_with_its_key() {
    let server =
        Server::start(vec![Vec::new(), problem(409, "IDEMPOTENCY_IN_PROGRESS"), problem(409, "RUN_ENDED")]).await;
    let told = server.client().cancel_run(RUN, &CancelRun::default()).await.unwrap_err();
    assert_eq!(told.problem().unwrap().code, "RUN_ENDED");
    let keys = server.headers("idempotency-key");
    assert!(keys.len() == 3 && keys[0].len() == 36 && keys.iter().all(|key| *key == keys[0]), "{keys:?}");
    assert_eq!(server.headers("authorization"), ["bearer 0123456789abcdefghij"; 3]);
}

#[tokio::test]
async fn a_write_whose_answer_broke_off_is_repeated_with_its_key() {
    let half = answer("200 OK", "application/json", 100, b"{\"id\":");
    let server = Server::start(vec![half, problem(409, "RUN_ENDED")]).await;
    let told = server.client().cancel_run(RUN, &CancelRun::default()).await.unwrap_err();
    assert_eq!(told.problem().unwrap().code, "RUN_ENDED");
    let keys = server.headers("idempotency-key");
    assert!(keys.len() == 2 && keys[0] == keys[1], "{keys:?}");
}

#[tokio::test]
async fn what_is_no_server_of_ours_is_said_to_be_none() {
    let page = || answer("200 OK", "text/html", 6, b"<html>");
    let server = Server::start(vec![page(), answer("404 X", "text/html", 6, b"<html>")]).await;
    let client = server.client();
    for status in [200, 404] {
        let error = client.get_run(RUN).await.unwrap_err();
        assert!(matches!(error, ClientError::Foreign { status: told, .. } if told == status), "{error}");
    }
    let elsewhere = answer("302 Found\r\nlocation: http://127.0.0.1:1/", "text/plain", 0, b"");
    let server = Server::start(vec![elsewhere]).await;
    let error = server.client().get_run(RUN).await.unwrap_err();
    assert!(matches!(error, ClientError::Foreign { status: 302, .. }), "the key goes nowhere else: {error}");
}

#[tokio::test]
async fn a_download_that_breaks_off_continues() {
    let content = b"0123456789";
    let artifact = |digest| Artifact {
        id: Uuid::from_u128(1),
        run_id: RUN,
        step: None,
        name: "digits".to_owned(),
        kind: ArtifactKind::File,
        media_type: "text/plain".to_owned(),
        size: 10,
        digest,
        url: None,
        created_at: Micros(0),
        created_by: "ann".to_owned(),
    };
    let first = || answer("200 OK", "text/plain", 10, b"0123");
    let rest = || answer("206 Partial Content", "text/plain", 6, b"456789");
    let server = Server::start(vec![first(), rest(), first(), rest()]).await;
    let (client, mut into) = (server.client(), std::io::Cursor::new(Vec::new()));
    client.download_artifact(&artifact(Digest::of(content)), &mut into, |_| {}).await.unwrap();
    assert_eq!((into.into_inner(), server.headers("range")), (content.to_vec(), vec!["-".into(), "bytes=4-".into()]));
    let mut into = std::io::Cursor::new(Vec::new());
    let error = client.download_artifact(&artifact(Digest::of(b"other")), &mut into, |_| {}).await.unwrap_err();
    assert!(matches!(error, ClientError::Damaged { .. }), "{error}");
}

fn stream(sequences: &[u64], end: &str) -> Vec<u8> {
    let mut body =
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\nretry: 1000\n\n: heartbeat\n\n".to_owned();
    for sequence in sequences {
        let data = json!({
            "run_id": RUN, "timestamp": "2026-03-29T01:00:00.000Z", "sequence": sequence, "prev": sequence - 1,
            "source": null, "event": {"category": "system", "action": "log"}, "data": {},
        });
        write!(body, "id: 1774746000000-{sequence}\nevent: system.log\ndata: {data}\n\n").unwrap();
    }
    body.push_str(end);
    body.into_bytes()
}

async fn told(follow: &mut Follow) -> Vec<String> {
    let mut told = Vec::new();
    while let Some(news) = follow.next().await.unwrap() {
        told.push(match news {
            News::Event(event) => event.sequence.to_string(),
            News::Lost { .. } => "lost".to_owned(),
            News::Back => "back".to_owned(),
        });
    }
    told
}

#[tokio::test]
async fn a_stream_that_breaks_goes_on_and_nothing_comes_twice() {
    let half = "id: 1774746000000-4\nevent: system.log\ndata: {";
    let close = "event: close\ndata: {\"status\":\"succeeded\"}\n\n";
    let answers = vec![
        stream(&[1, 2, 3], half),
        problem(503, "STOPPING"),
        // A server that gives too much again.
        stream(&[2, 3, 4], ""),
        stream(&[5], close),
    ];
    let server = Server::start(answers).await;
    let mut follow = server.client().follow(RUN, 0).await.unwrap();
    assert_eq!(told(&mut follow).await, ["1", "2", "3", "lost", "back", "4", "lost", "back", "5"]);
    let ids = server.headers("last-event-id");
    assert_eq!(ids, ["-", "1774746000000-3", "1774746000000-3", "1774746000000-4"]);
}

#[tokio::test]
async fn streams_that_open_and_give_nothing_are_asked_for_less_and_less_often() {
    let empty = || stream(&[], "");
    let server = Server::start(vec![empty(), empty(), empty(), stream(&[1], "event: close\ndata: {}\n\n")]).await;
    let began = std::time::Instant::now();
    let mut follow = server.client().follow(RUN, 0).await.unwrap();
    assert_eq!(told(&mut follow).await, ["lost", "back", "lost", "back", "lost", "back", "1"]);
    // 100, 200 and 400 ms.
    assert!(began.elapsed().as_millis() >= 700, "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_run_that_is_gone_ends_the_stream_with_its_problem() {
    let server = Server::start(vec![stream(&[1], ""), problem(410, "RUN_EXPIRED")]).await;
    let mut follow = server.client().follow(RUN, 0).await.unwrap();
    let mut news = Vec::new();
    let error = loop {
        match follow.next().await {
            Ok(next) => news.push(next),
            Err(error) => break error,
        }
    };
    assert_eq!((news.len(), error.problem().unwrap().code.as_str()), (2, "RUN_EXPIRED"));
    assert!(follow.next().await.unwrap().is_none());
}
