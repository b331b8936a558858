//! The disk of the data folder is full, or cannot be written, while the server is up.

use std::{
    fs::File,
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};

use super::{Answer, Room};
use crate::{
    cli::world::{World, until},
    faults::full::{SmallDisk, run},
};

/// A server whose data folder is on a disk of a few megabytes; `None` where this user may not mount.
fn room() -> Option<(Room, SmallDisk)> {
    let world = World::new();
    let disk = SmallDisk::mount(&world)?;
    std::fs::create_dir(world.path("runbooks")).unwrap();
    let text = "version: 1\nname: note\nparams:\n  filling: {type: string}\nsteps:\n  \
                - {id: a, uses: log, with: {message: hello}}\n";
    std::fs::write(world.path("runbooks/note.yaml"), text).unwrap();
    let room = Room::on(world, &[]);
    // A file that was written just now is read when it has come to rest.
    until("the runbook is known", || room.get("/v1/runbooks/note").status == 200);
    Some((room, disk))
}

/// Writes until nothing more fits.
fn fill(file: &Path) {
    let mut filler = File::create(file).unwrap();
    for size in [1 << 20, 4_096, 1] {
        while filler.write_all(&vec![0; size]).is_ok() {}
    }
    let _ = filler.sync_all();
}

fn submit(room: &Room) -> Answer {
    // Wide, so that a few of them need more pages than the store has spare.
    let params = json!({"filling": "x".repeat(20_000)});
    room.post("/v1/runs", &json!({"runbook": "note", "params": params}))
}

/// Starts runs until one is refused; answers those that were acknowledged, and the refusal.
fn until_refused(room: &Room) -> (Vec<Value>, Answer) {
    let mut acknowledged = Vec::new();
    for _ in 0..2_000 {
        let answer = submit(room);
        if answer.status != 201 {
            return (acknowledged, answer);
        }
        acknowledged.push(answer.json()["id"].clone());
    }
    panic!("nothing was refused: {} runs", acknowledged.len());
}

fn failing(room: &Room) -> Vec<String> {
    let readiness = room.get("/readyz").json();
    let checks = readiness["checks"].as_array().unwrap().iter();
    checks.filter(|check| check["ok"] == false).map(|check| check["code"].as_str().unwrap().to_owned()).collect()
}

fn all_end(room: &Room, runs: &[Value]) {
    for run in runs {
        assert_eq!(room.ended(run.as_str().unwrap())["status"], "succeeded");
    }
}

#[test]
fn a_full_disk_is_told_and_gets_over() {
    let Some((room, _disk)) = room() else { return };
    let before = submit(&room).ok(201)["id"].clone();
    all_end(&room, std::slice::from_ref(&before));
    let filler = room.data().join("filler");
    fill(&filler);
    let (mut acknowledged, refused) = until_refused(&room);
    refused.is_problem(507, "STORE_FULL");
    until("it is not ready", || failing(&room).iter().any(|code| code == "DISK_FULL"));
    // What is there can still be read.
    assert_eq!(room.get(&format!("/v1/runs/{}", before.as_str().unwrap())).ok(200)["status"], "succeeded");
    std::fs::remove_file(&filler).unwrap();
    until("it is ready again", || failing(&room).is_empty());
    acknowledged.push(submit(&room).ok(201)["id"].clone());
    acknowledged.push(before);
    all_end(&room, &acknowledged);
}

/// Makes files immutable: what is open already cannot be written either, as on a disk that has become read-only.
struct Immutable(Vec<PathBuf>);

impl Immutable {
    fn make(room: &Room) -> Immutable {
        let names = ["opsroom.db", "opsroom.db-wal", "artifacts/.unfinished", "spool"];
        let made = Immutable(names.map(|name| room.data().join(name)).into());
        run(Command::new("chattr").arg("+i").args(&made.0)).unwrap();
        made
    }
}

impl Drop for Immutable {
    fn drop(&mut self) {
        run(Command::new("chattr").arg("-i").args(&self.0)).unwrap();
    }
}

#[test]
fn a_folder_that_cannot_be_written_is_told_and_gets_over() {
    let Some((room, _disk)) = room() else { return };
    let mut acknowledged = vec![submit(&room).ok(201)["id"].clone()];
    all_end(&room, &acknowledged);
    let immutable = Immutable::make(&room);
    let refused = submit(&room);
    refused.is_problem(503, "STORE_UNAVAILABLE");
    assert!(refused.header("retry-after").is_some());
    until("it is not ready", || room.get("/readyz").status == 503);
    let answer = room.get("/readyz");
    assert!(!answer.text().contains(room.data().to_str().unwrap()), "{answer:?}");
    assert!(failing(&room).contains(&"STORE_UNAVAILABLE".to_owned()), "{answer:?}");
    drop(immutable);
    until("it is ready again", || failing(&room).is_empty());
    acknowledged.push(submit(&room).ok(201)["id"].clone());
    all_end(&room, &acknowledged);
}

#[test]
fn a_folder_that_is_read_only_from_the_start_is_refused() {
    let world = World::new();
    let file = world.path("data");
    std::fs::write(&file, "no folder").unwrap();
    let refused = world.ends(["up", "--listen", "127.0.0.1:0"]);
    assert!(refused.code == Some(3) && refused.stderr.contains("error[DATA_DIR_UNUSABLE]"), "{refused:?}");
}
