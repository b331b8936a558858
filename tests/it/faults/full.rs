//! A data folder on a disk that is full, or read-only.

use std::{
    fmt::Write as _,
    path::PathBuf,
    process::{Command, Output},
};

use super::bars::figure;
use crate::cli::world::World;

/// A file system of a few megabytes where the data folder is; gone when it is dropped.
pub struct SmallDisk {
    place: PathBuf,
}

impl SmallDisk {
    /// `None`, with a word about it, where this user may not mount.
    pub fn mount(world: &World) -> Option<SmallDisk> {
        let (image, place) = (world.path("disk.img"), world.data());
        std::fs::create_dir(&place).unwrap();
        std::fs::File::create(&image).unwrap().set_len(16 << 20).unwrap();
        let made = run(Command::new("mkfs.ext4").args(["-q", "-m", "0", "-O", "^has_journal"]).arg(&image));
        let mounted = made.and_then(|()| run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&place)));
        match mounted {
            Ok(()) => Some(SmallDisk { place }),
            Err(why) => {
                figure("disk", format!("skipped, no small disk can be mounted here: {why}"));
                None
            }
        }
    }

    fn make_read_only(&self) {
        run(Command::new("mount").args(["-o", "remount,ro"]).arg(&self.place)).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: processes of a server that was just stopped may still be ending there.
        if let Err(why) = run(Command::new("umount").arg("--lazy").arg(&self.place)) {
            figure("disk", format!("could not be unmounted: {why}"));
        }
    }
}

pub fn run(command: &mut Command) -> Result<(), String> {
    match command.output() {
        Ok(Output { status, .. }) if status.success() => Ok(()),
        Ok(Output { stderr, .. }) => Err(String::from_utf8_lossy(&stderr).trim().to_owned()),
        Err(error) => Err(format!("{}: {error}", command.get_program().display())),
    }
}

/// A step fills the disk; the ones after it cannot be recorded until somebody has made room.
#[test]
fn a_full_disk_stops_a_run_and_loses_nothing() {
    let world = World::new();
    let Some(_disk) = SmallDisk::mount(&world) else { return };
    let (filler, said) = (world.data().join("filler"), world.path("said"));
    let mut body = format!(
        "steps:\n  - {{id: fill, run: \"cat /dev/zero > '{}' || true\"}}\n  - {{id: step_0, needs: [fill], uses: assert, with: {{that: true}}}}\n",
        filler.display()
    );
    for step in 1..60 {
        writeln!(
            body,
            "  - {{id: step_{step}, needs: [step_{}], effect: idempotent, run: \"echo {step} >> '{}'\"}}",
            step - 1,
            said.display()
        )
        .unwrap();
    }
    world.runbook("fills", &body);
    let run = world.ends(["run", "fills.yaml"]);
    assert!(run.code == Some(3) && run.stderr.contains("error[STORE_FULL]"), "{run:?}");
    assert!(run.stderr.contains("free space") && run.stderr.contains("opsroom recover"), "{run:?}");
    let again = world.ends(["recover"]);
    assert_eq!(again.code, Some(3), "{again:?}");
    std::fs::remove_file(&filler).unwrap();

    let recovered = world.ends(["recover"]);
    assert_eq!(recovered.code, Some(0), "{recovered:?}");
    let shown = world.json(["show"]);
    assert_eq!(shown["status"], "succeeded", "{shown}");
    let steps = shown["steps"].as_array().unwrap();
    let attempts: u64 = steps.iter().filter_map(|step| step["attempts"].as_u64()).sum();
    let executed: Vec<String> = std::fs::read_to_string(said).unwrap().lines().map(str::to_owned).collect();
    let mut once = executed.clone();
    once.dedup();
    assert_eq!(once, (1..60).map(|step| step.to_string()).collect::<Vec<_>>(), "{executed:?}");
    figure(
        "disk",
        format!("full: STORE_FULL, exit 3; after room was made all {} steps, {attempts} attempts", steps.len()),
    );
}

#[test]
fn a_read_only_folder_is_said_to_be_one() {
    let world = World::new();
    let Some(disk) = SmallDisk::mount(&world) else { return };
    world.runbook("simple", "steps: [{id: a, uses: assert, with: {that: true}}]\n");
    assert_eq!(world.ends(["run", "simple.yaml"]).code, Some(0));
    disk.make_read_only();
    for arguments in [&["run", "simple.yaml"][..], &["recover"], &["runs"], &["show"]] {
        let output = world.command([]).args(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{arguments:?}: {said}");
        assert!(said.contains("error[STORE_UNAVAILABLE]") && said.contains("Read-only"), "{arguments:?}: {said}");
        assert!(said.contains("OPSROOM_DATA_DIR"), "{arguments:?}: {said}");
    }
}
