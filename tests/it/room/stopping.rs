//! Starting, stopping, and who holds the folder.

use std::{
    io::Read,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use serde_json::json;

use super::Room;
use crate::cli::world::{World, until};

/// A world whose folder of runbooks has one that writes a line, waits, and writes another.
fn slow(seconds: f64) -> World {
    let world = World::new();
    std::fs::create_dir(world.path("runbooks")).unwrap();
    let said = world.path("said");
    let text = format!(
        "version: 1\nname: slow\nsteps:\n  - id: a\n    effect: idempotent\n    run: |\n      echo begun >> '{0}'\n      sleep {seconds}\n      echo done >> '{0}'\n",
        said.display()
    );
    std::fs::write(world.path("runbooks/slow.yaml"), text).unwrap();
    world
}

fn begin(room: &Room) -> String {
    until("the runbook is known", || room.get("/v1/runbooks/slow").status == 200);
    let run = room.run("slow");
    until("the step has begun", || said(room).contains("begun"));
    run
}

fn said(room: &Room) -> String {
    std::fs::read_to_string(room.world.path("said")).unwrap_or_default()
}

#[test]
fn a_second_up_is_told_who_holds_the_folder() {
    let room = Room::start();
    let second = room.world.ends(["up", "--listen", "127.0.0.1:0"]);
    assert_eq!(second.code, Some(2), "{second:?}");
    assert!(second.stderr.contains("error[DATA_DIR_IN_USE]"), "{second:?}");
    assert!(second.stderr.contains(&room.url) && second.stderr.contains(&room.pid().to_string()), "{second:?}");
    let told = room.world.json(["up", "--listen", "127.0.0.1:0"]);
    assert_eq!(told["error"]["holder"]["pid"], room.pid());
}

#[test]
fn a_port_that_is_taken_is_named() {
    let room = Room::start();
    let address = room.url.trim_start_matches("http://");
    let other = World::new();
    let refused = other.ends(["up", "--listen", address]);
    assert!(refused.code == Some(2) && refused.stderr.contains("error[PORT_IN_USE]"), "{refused:?}");
    assert!(refused.stderr.contains(address), "{refused:?}");
}

#[test]
fn a_killed_server_does_not_hold_the_folder() {
    let mut room = Room::start();
    room.kill();
    room.launch();
    assert_eq!(room.get("/healthz").status, 200);
}

#[test]
fn one_run_after_another_works_in_the_same_folder_under_its_own_name() {
    let world = slow(0.0);
    let text = "version: 1\nname: where\nsteps:\n  - id: a\n    run: stat -c '%i %w' . ; basename \"$PWD\"\n";
    std::fs::write(world.path("runbooks/where.yaml"), text).unwrap();
    let mut room = Room::on(world, &[]);
    until("the runbook is known", || room.get("/v1/runbooks/where").status == 200);
    let told = [(), ()].map(|()| {
        let run = room.run("where");
        assert_eq!(room.ended(&run)["status"], "succeeded");
        let folder = room.data().join("workspaces").join(&run);
        until("its folder is put away", || !folder.exists());
        let log = room.get(&format!("/v1/runs/{run}/steps/a/log")).text();
        let (made, name) = log.trim().split_once('\n').unwrap();
        assert_eq!(name, run);
        made.to_owned()
    });
    assert_eq!(told[0], told[1], "it was renamed, not made again");
    assert_eq!(room.stop().code, Some(0));
    for folder in ["workspaces", "scratch"] {
        assert_eq!(std::fs::read_dir(room.data().join(folder)).unwrap().count(), 0, "{folder}");
    }
}

#[test]
fn a_stop_waits_for_what_is_under_way() {
    let mut room = Room::on(slow(2.0), &["--drain", "30s"]);
    let run = begin(&room);
    room.signal(Signal::TERM);
    until("nothing is accepted", || std::net::TcpStream::connect(room.url.trim_start_matches("http://")).is_err());
    assert!(!said(&room).contains("done"));
    let ended = room.wait();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stderr.contains("waiting for 1 run to end"), "{ended:?}");
    room.launch();
    assert_eq!(room.ended(&run)["status"], "succeeded");
    assert_eq!(said(&room), "begun\ndone\n");
}

#[test]
fn what_is_cut_off_is_taken_up_again() {
    let mut room = Room::on(slow(3.0), &["--drain", "300ms"]);
    let run = begin(&room);
    let begin = Instant::now();
    let ended = room.stop();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("1 run cut off and handed back"), "{ended:?}");
    assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
    assert_eq!(said(&room), "begun\n");
    room.launch();
    let run = room.ended(&run);
    // It was interrupted, not lost: nobody died.
    assert_eq!((run["status"].as_str(), &run["recoveries"]), (Some("succeeded"), &json!(0)));
    assert_eq!(said(&room), "begun\nbegun\ndone\n");
}

#[test]
fn the_second_signal_ends_it_at_once() {
    let mut room = Room::on(slow(30.0), &["--drain", "30s"]);
    let run = begin(&room);
    room.signal(Signal::TERM);
    until("it is stopping", || room.log().contains("stopping"));
    let begin = Instant::now();
    room.signal(Signal::INT);
    let ended = room.wait();
    assert!(ended.code == Some(130) && begin.elapsed() < Duration::from_secs(5), "{ended:?}");
    room.launch();
    until("it is running again", || room.get(&format!("/v1/runs/{run}")).ok(200)["recoveries"] == 1);
}

#[test]
fn open_streams_end_with_the_server() {
    let mut room = Room::start();
    let mut stream = room.stream("/v1/events/stream");
    assert_eq!(stream.status(), 200);
    let mut first = Vec::new();
    while !first.ends_with(b"event: sync") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        first.extend(byte);
    }
    let begin = Instant::now();
    let ended = room.stop();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
    // Its end is one in order, not a connection that was cut.
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
}

#[test]
fn it_tells_its_figures() {
    let room = Room::on(slow(0.0), &[]);
    let run = begin(&room);
    room.ended(&run);
    room.get("/nowhere");
    let stream = room.stream("/v1/events/stream");
    let has = |line: &str| room.get("/metrics").text().lines().any(|found| found.starts_with(line));
    for line in [
        "http_requests_total{route=\"/v1/runs\",method=\"POST\",status=\"201\"} 1",
        "http_requests_total{route=\"unmatched\",method=\"GET\",status=\"404\"} 1",
        "http_request_duration_seconds_bucket{route=\"/readyz\"",
        "opsroom_build_info{version=\"",
        "process_resident_memory_bytes ",
        "process_open_fds ",
        "process_threads ",
        "opsroom_lane_queued{lane=\"A\"} 0",
        "opsroom_lane_running{lane=\"D\"} 0",
    ] {
        assert!(has(line), "{line}\n{}", room.get("/metrics").text());
    }
    until("the end of the run is counted", || has("opsroom_runs_ended_total{status=\"succeeded\"} 1"));
    until("the stream is counted", || has("opsroom_sse_subscribers 1"));
    drop(stream);
    until("its end is counted", || has("opsroom_sse_subscribers 0"));
}

/// One that waits so long that nobody has to own it.
#[test]
fn a_run_that_waits_outlives_the_server() {
    let world = World::new();
    std::fs::create_dir(world.path("runbooks")).unwrap();
    let text = "version: 1\nname: nap\nsteps:\n  - {id: nap, uses: wait, with: {for: 31s}}\n";
    std::fs::write(world.path("runbooks/nap.yaml"), text).unwrap();
    let mut room = Room::on(world, &[]);
    until("the runbook is known", || room.get("/v1/runbooks/nap").status == 200);
    let run = room.run("nap");
    until("it is given up", || room.get(&format!("/v1/runs/{run}")).json()["waiting_on"] == "timer");
    room.kill();
    let left = room.world.json(["recover"]);
    assert_eq!((left["asleep"][0]["id"].as_str(), left["runs"].as_array().map(Vec::len)), (Some(&*run), Some(0)));
    let told = room.world.ends(["recover"]);
    assert!(told.code == Some(0) && told.stdout.contains("`opsroom up` goes on with it then"), "{told:?}");
    let shown = room.world.ends(["show", &run]);
    assert!(shown.stdout.contains("queued: timer") && shown.stdout.contains("waiting"), "{shown:?}");
    room.launch();
    let ended = room.ended(&run);
    assert_eq!((ended["status"].as_str(), ended["recoveries"].as_u64()), (Some("succeeded"), Some(0)), "{ended}");
    let steps = room.get(&format!("/v1/runs/{run}/steps")).json();
    let taken = steps["items"][0]["duration_ms"].as_u64().unwrap();
    assert!((31_000..31_500).contains(&taken), "{steps}");
}
