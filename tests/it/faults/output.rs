//! A step that writes far more than anybody reads.

use std::{
    fmt::Write as _,
    io::{BufRead as _, BufReader, Read as _},
    process::Stdio,
    time::Instant,
};

use base64::Engine as _;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::{
    bars::{count, figure},
    traces::peak_memory,
};
use crate::cli::world::World;

/// What all those bytes may add to the memory of a process, in KiB.
const ROOM: u64 = 64 << 10;

#[test]
fn random_bytes_in_bulk() {
    let size: u64 = count(10_000_000, 200_000_000);
    let world = World::new();
    let sum = world.path("sum");
    let script = format!(
        "mkfifo copy; sha256sum < copy > '{}' & head -c {size} /dev/urandom | tee copy; wait; rm copy",
        sum.display()
    );
    world.runbook(
        "silent",
        "steps: [{id: work, run: \"mkfifo copy; cat < copy > /dev/null & : > copy; wait; rm copy\"}]\n",
    );
    world.runbook("loud", &format!("steps: [{{id: work, run: \"{script}\"}}]\n"));

    let silent = peak(&world, ["run", "silent.yaml"]);
    let started = Instant::now();
    let loud = peak(&world, ["run", "loud.yaml"]);
    let (run_took, started) = (started.elapsed(), Instant::now());
    let (logs, sha) = hashed_logs(&world);
    let logs_took = started.elapsed();
    let events = check_events(&world, size);
    figure(
        "output",
        format!(
            "{} MB of random bytes: run {run_took:?}, its memory {loud} KiB (silent {silent} KiB, {:+} KiB); logs {logs_took:?}, \
             {} KiB; {events}",
            size / 1_000_000,
            loud.cast_signed() - silent.cast_signed(),
            logs.1,
        ),
    );
    let written = std::fs::read_to_string(sum).unwrap();
    assert_eq!((sha.as_str(), logs.0), (written.split_whitespace().next().unwrap(), size), "what `logs` gives back");
    assert!(loud <= silent + ROOM && logs.1 <= silent + ROOM);
}

fn peak<const N: usize>(world: &World, arguments: [&str; N]) -> u64 {
    let mut child = world.command(arguments).stdout(Stdio::null()).spawn().unwrap();
    let (status, peak) = peak_memory(&mut child);
    assert!(status.success(), "{arguments:?}: {status}");
    peak
}

/// How many bytes `logs` gives back, its memory, and their SHA-256.
fn hashed_logs(world: &World) -> ((u64, u64), String) {
    let mut child = world
        .command(["logs", "@latest", "--step", "work", "--stream", "stdout"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = child.stdout.take().unwrap();
    let reader = std::thread::spawn(move || {
        let (mut hash, mut buffer, mut size) = (Sha256::new(), vec![0; 1 << 16], 0);
        while let length @ 1.. = output.read(&mut buffer).unwrap() {
            hash.update(&buffer[..length]);
            size += length as u64;
        }
        (size, hash.finalize())
    });
    let (status, peak) = peak_memory(&mut child);
    assert!(status.success());
    let (size, digest) = reader.join().unwrap();
    let mut text = String::new();
    for byte in digest {
        write!(text, "{byte:02x}").unwrap();
    }
    ((size, peak), text)
}

/// Every event is a V2 event, and none is missing between two of them.
fn check_events(world: &World, size: u64) -> String {
    let mut child = world.command(["events", "@latest", "--output", "json"]).stdout(Stdio::piped()).spawn().unwrap();
    let (mut last, mut events, mut bytes) = (0, 0, 0);
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let event: Value = serde_json::from_str(&line.unwrap()).unwrap();
        let (sequence, prev) = (event["sequence"].as_u64().unwrap(), event["prev"].as_u64().unwrap());
        assert!(prev == last && sequence > last, "after {last}: {sequence}, {prev}");
        bytes += payload(&event);
        (last, events) = (sequence, events + 1);
    }
    assert!(child.wait().unwrap().success());
    assert_eq!(bytes, size, "the bytes of all chunks");
    format!("{events} events, each valid, none missing")
}

/// How many bytes of the step the event carries, after a look at its shape.
fn payload(event: &Value) -> u64 {
    let names: Vec<&str> = event.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(names, ["run_id", "timestamp", "sequence", "prev", "source", "event", "data"]);
    let stamp = event["timestamp"].as_str().unwrap();
    assert!(stamp.len() == 24 && stamp.ends_with('Z'), "{stamp}");
    let kind = [&event["event"]["category"], &event["event"]["action"]].map(|word| word.as_str().unwrap());
    let data = &event["data"];
    match kind {
        ["lifecycle", _] => 0,
        ["system", "log"] => {
            assert!(data["step"] == "work" && data["attempt"] == 1 && data["stream"] == "stdout", "{data}");
            match (&data["text"], &data["base64"]) {
                (Value::String(text), Value::Null) => text.len() as u64,
                (Value::Null, Value::String(base64)) => {
                    base64::engine::general_purpose::STANDARD.decode(base64).unwrap().len() as u64
                }
                _ => panic!("neither text nor base64: {data}"),
            }
        }
        other => panic!("{other:?}"),
    }
}
