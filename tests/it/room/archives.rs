//! `opsroom archive verify`, while the server is up and afterwards.

use std::path::PathBuf;

use super::Room;
use crate::cli::world::until;

fn archives(room: &Room) -> Vec<PathBuf> {
    let Ok(files) = std::fs::read_dir(room.data().join("artifacts/archives")) else { return Vec::new() };
    files.map(|file| file.unwrap().path()).collect()
}

#[test]
fn archives_are_checked_and_damage_is_found() {
    let mut room = Room::start();
    let source = "version: 1\nname: talk\nsteps: [{id: a, run: echo hello}]\n";
    room.put("/v1/runbooks/talk", &serde_json::json!({"source": source})).ok(201);
    let run = room.run("talk");
    room.ended(&run);
    until("it is archived", || room.world.ends(["archive", "verify", &run]).code == Some(0));
    room.stop();
    let good = room.world.ends(["archive", "verify", "@latest"]);
    assert!(good.stdout.contains("good, 5 events"), "{good:?}");
    let all = room.world.json(["archive", "verify", "--all"]);
    assert_eq!((all["run"].as_str(), all["good"].as_bool()), (Some(&*run), Some(true)), "{all}");
    for file in archives(&room) {
        let mut bytes = std::fs::read(&file).unwrap();
        bytes[20] ^= 1;
        std::fs::write(&file, bytes).unwrap();
    }
    let bad = room.world.ends(["archive", "verify", "--all"]);
    assert_eq!(bad.code, Some(1), "{bad:?}");
    assert!(bad.stdout.contains("DAMAGED") && bad.stdout.contains("0 good, 1 damaged"), "{bad:?}");
    let missing = room.world.ends(["archive", "verify", "01937c3a-0000-7000-8000-000000000000"]);
    assert_eq!(missing.code, Some(2), "{missing:?}");
    assert_eq!(room.world.ends(["archive", "verify"]).code, Some(2));
}
