//! Clients that cost without getting anywhere.

use std::{
    io::{Read as _, Write as _},
    time::{Duration, Instant},
};

use super::{Room, launch::pause};
use crate::faults::bars::figure;

fn head(room: &Room, length: usize) -> String {
    let host = room.url.trim_start_matches("http://");
    let key = &room.key;
    format!(
        "POST /v1/validate HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {key}\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n"
    )
}

/// The 99th percentile of requests to a route that looks into the store.
fn p99(room: &Room) -> Duration {
    let mut times: Vec<Duration> = (0..300)
        .map(|_| {
            let begin = Instant::now();
            assert_eq!(room.get("/v1/runs?limit=1").status, 200);
            begin.elapsed()
        })
        .collect();
    times.sort();
    times[times.len() * 99 / 100]
}

#[test]
fn half_open_connections_harm_nobody_and_are_cut() {
    let room = Room::start();
    p99(&room);
    let before = p99(&room);
    let begin = Instant::now();
    let mut half: Vec<_> = (0..500)
        .map(|number: usize| {
            let mut stream = room.connect();
            // Some say nothing at all.
            let said = ["", "GET", "GET /v1/runs HTTP/1.1\r\n", "POST /v1/runs HTTP/1.1\r\nhost: localhost\r\nx"];
            stream.write_all(said[number % said.len()].as_bytes()).unwrap();
            stream
        })
        .collect();
    let during = p99(&room);
    figure("slowloris", format!("p99 {before:?} before, {during:?} with 500 half-open connections"));
    assert!(during < before * 2 + Duration::from_millis(20), "{before:?} -> {during:?}");
    // More bytes do not buy more time.
    pause(Duration::from_secs(5));
    for stream in &mut half {
        let _ = stream.write_all(b"x");
    }
    for stream in &mut half {
        let mut rest = Vec::new();
        // Reset or closed, each within its time.
        let _ = stream.read_to_end(&mut rest);
        assert!(begin.elapsed() < Duration::from_secs(25), "{:?}", begin.elapsed());
    }
    assert_eq!(room.get("/healthz").status, 200);
}

#[test]
fn a_body_that_does_not_come_is_given_up() {
    let room = Room::start();
    let mut stream = room.connect();
    stream.write_all(format!("{}{{\"source\":", head(&room, 1_000)).as_bytes()).unwrap();
    let begin = Instant::now();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(answer.contains("REQUEST_TIMEOUT") && answer.contains("x-request-id"), "{answer}");
    assert!(begin.elapsed() < Duration::from_secs(30), "{:?}", begin.elapsed());
}

#[test]
fn heads_have_a_size() {
    let room = Room::start();
    let host = room.url.trim_start_matches("http://");
    let large = format!("GET /healthz HTTP/1.1\r\nhost: {host}\r\nx: {}\r\n\r\n", "y".repeat(100_000));
    assert!(room.bare(&large).starts_with("HTTP/1.1 431"));
    let many = format!("GET /healthz HTTP/1.1\r\nhost: {host}\r\n{}\r\n", "a: b\r\n".repeat(500));
    assert!(room.bare(&many).starts_with("HTTP/1.1 431"));
    for nonsense in ["nonsense\r\n\r\n", "GET\r\n\r\n", "GET / HTTP/9.9\r\n\r\n"] {
        assert!(room.bare(nonsense).starts_with("HTTP/1.1 400"), "{nonsense}");
    }
    assert_eq!(room.get("/healthz").status, 200);
}

/// Asks for far more than the kernel keeps, and reads none of it.
#[test]
fn an_answer_that_nobody_reads_is_given_up() {
    let room = Room::start();
    let host = room.url.trim_start_matches("http://");
    let ask = format!("GET /openapi.yaml HTTP/1.1\r\nhost: {host}\r\n\r\n");
    let mut stream = room.connect();
    stream.set_nonblocking(true).unwrap();
    let begin = Instant::now();
    let mut asked = 0;
    // Until the server has stopped reading, since nobody reads its answers, and then until it hangs up.
    let error = loop {
        match stream.write(ask.as_bytes()) {
            Ok(_) => asked += 1,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => pause(Duration::from_millis(50)),
            Err(error) => break error,
        }
        assert!(begin.elapsed() < Duration::from_mins(1), "{asked} requests");
    };
    figure("reader", format!("cut after {:?} and {asked} requests: {error}", begin.elapsed()));
    assert!(begin.elapsed() > Duration::from_secs(15), "{:?}", begin.elapsed());
    assert_eq!(room.get("/healthz").status, 200);
}
