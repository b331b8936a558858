//! What a step starts with, and how its end and its output are told.

use std::path::PathBuf;

use opsroom::ports::{ProcessSpec, Processes as _, SpawnError};
use rustix::fs::{FileType, Mode};

use super::world::{PATIENCE, World, code, signal, until};

async fn refused(world: &World, spec: ProcessSpec) -> SpawnError {
    world.processes.spawn(spec).await.err().unwrap()
}

#[tokio::test]
async fn codes_and_signals_are_told_apart() {
    let world = World::new().await;
    for status in [0, 1, 7, 126, 255] {
        let (exit, ..) = world.run(world.mark.script(&format!("exit {status}"))).await;
        assert_eq!(exit, code(status));
    }
    for number in [1, 2, 6, 9, 13, 15] {
        let (exit, ..) = world.run(world.mark.script(&format!("kill -{number} $$"))).await;
        assert_eq!(exit, signal(number));
    }
}

#[tokio::test]
async fn wait_answers_the_same_again_and_survives_being_dropped() {
    let world = World::new().await;
    let mut process = world.spawn("read line < /dev/zero; $S").await;
    assert!(tokio::time::timeout(std::time::Duration::from_millis(1), process.wait()).await.is_err());
    process.terminate(std::time::Duration::ZERO);
    assert_eq!(process.wait().await.unwrap(), signal(9));
    assert_eq!(process.wait().await.unwrap(), signal(9));
    process.terminate(std::time::Duration::ZERO);
}

#[tokio::test]
async fn a_program_that_cannot_start_says_why() {
    let world = World::new().await;
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("plain"), "true").unwrap();
    std::fs::write(path("script"), "#!/no/such/interpreter\n").unwrap();
    let runnable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(path("script"), runnable).unwrap();

    let not_found = |program: &str| SpawnError::NotFound { program: program.into() };
    assert_eq!(refused(&world, world.mark.spec(&["no-such-program"])).await, not_found("no-such-program"));
    assert_eq!(refused(&world, world.mark.spec(&["/no/such/program"])).await, not_found("/no/such/program"));
    for (argv, wanted) in [
        (vec![path("plain")], "Permission denied"),
        (vec![path("")], "Permission denied"),
        (vec![path("script")], "interpreter"),
        (vec![], "no program"),
        (vec![String::new()], "no program"),
        (vec!["true".into(), "a\0b".into()], "NUL"),
    ] {
        let argv: Vec<&str> = argv.iter().map(String::as_str).collect();
        let error = refused(&world, world.mark.spec(&argv)).await.to_string();
        assert!(error.contains(wanted), "{argv:?}: {error}");
    }
    for cwd in ["/no/such/folder", "/etc/passwd"] {
        let spec = ProcessSpec { cwd: cwd.into(), ..world.mark.spec(&["true"]) };
        let error = refused(&world, spec).await.to_string();
        assert!(error.contains("working directory") && error.contains(cwd), "{error}");
    }
    // None of that was the supervisor's end.
    assert_eq!(world.output("echo fine").await, "fine\n");
}

#[tokio::test]
async fn the_program_is_looked_up_in_the_steps_own_path_and_folder() {
    let world = World::new().await;
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("mine");
    std::fs::write(&script, "#!/bin/sh\npwd\n").unwrap();
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let here = folder.path().canonicalize().unwrap();
    for (argv, path) in [("mine", here.to_str().unwrap()), ("mine", ""), ("./mine", "/nowhere")] {
        let env = [("PATH".into(), format!("/nowhere:{path}"))].into();
        let (exit, output, _) = world.run(ProcessSpec { argv: vec![argv.into()], env, cwd: here.clone() }).await;
        assert_eq!((exit, PathBuf::from(String::from_utf8(output).unwrap().trim())), (code(0), here.clone()));
    }
}

#[tokio::test]
async fn nothing_is_inherited() {
    let world = World::new().await;
    let (_, output, _) = world.run(world.mark.spec(&["env"])).await;
    let mut lines: Vec<_> = String::from_utf8(output).unwrap().lines().map(ToOwned::to_owned).collect();
    lines.sort();
    let worker = format!("OPSROOM_WORKER={}", world.config.worker);
    assert_eq!(lines, [worker, "PATH=/usr/bin:/bin".into(), format!("TEST_MARK={}", world.mark.0)]);

    assert_eq!(world.output("umask").await, "0022\n");
    // The fourth is the folder that ls reads.
    assert_eq!(world.output("exec ls /proc/self/fd").await, "0\n1\n2\n3\n");
    assert_eq!(world.output("exec readlink /proc/self/fd/0").await, "/dev/null\n");
    let status = world.output("exec cat /proc/self/status").await;
    for mask in ["SigPnd", "ShdPnd", "SigBlk", "SigIgn", "SigCgt"] {
        let line = status.lines().find(|line| line.starts_with(mask)).unwrap();
        assert_eq!(line.split_whitespace().nth(1), Some("0000000000000000"), "{line}");
    }
    let mut process = world.processes.spawn(world.mark.spec(&["cat", "/proc/self/stat"])).await.unwrap();
    let mut stat = String::new();
    tokio::io::AsyncReadExt::read_to_string(&mut process.take_stdout().unwrap(), &mut stat).await.unwrap();
    let own = process.id().to_string();
    let fields: Vec<_> = stat.split(' ').collect();
    // Process, group and session.
    assert_eq!([fields[0], fields[4], fields[5]], [&own; 3]);
    process.wait().await.unwrap();
}

#[tokio::test]
async fn output_arrives_whole_and_apart_from_errors() {
    let world = World::new().await;
    let script = "seq 1 1500000 & seq 1 1500000 >&2; wait";
    let (exit, output, errors) = world.run(world.mark.script(script)).await;
    let mut wanted = String::new();
    (1..=1_500_000).for_each(|number| std::fmt::Write::write_fmt(&mut wanted, format_args!("{number}\n")).unwrap());
    assert_eq!(exit, code(0));
    assert!(output == wanted.as_bytes() && errors == wanted.as_bytes());
}

#[tokio::test]
async fn four_mebibytes_of_arguments_and_environment_fit() {
    let world = World::new().await;
    let count = "for a; do printf %s \"$a\"; done | wc -c; env | wc -c; ulimit -s";
    let mut spec = world.mark.spec(&["sh", "-c", count, "sh"]);
    spec.argv.extend((0..32).map(|_| "x".repeat(100_000)));
    spec.env.extend((0..10).map(|number| (format!("V{number}"), "y".repeat(100_000))));
    let (exit, output, errors) = world.run(spec).await;
    // env itself gets the large environment, but not the arguments.
    let lines: Vec<u64> =
        String::from_utf8(output).unwrap().lines().map(|line| line.parse().unwrap_or(u64::MAX)).collect();
    assert_eq!(exit, code(0), "{}", String::from_utf8_lossy(&errors));
    assert!(lines[0] == 3_200_000 && lines[1] > 1_000_000, "{lines:?}");

    let mut spec = world.mark.spec(&["true"]);
    spec.argv.push("x".repeat(200_000));
    let error = refused(&world, spec).await.to_string();
    assert!(error.contains("too long"), "{error}");
    assert_eq!(world.output("echo fine").await, "fine\n");
}

#[tokio::test]
async fn five_hundred_run_at_once() {
    let world = World::new().await;
    let folder = tempfile::tempdir().unwrap();
    let gate = folder.path().join("gate");
    rustix::fs::mknodat(rustix::fs::CWD, &gate, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    let gate = gate.to_str().unwrap();
    // Each waits at the gate until somebody opens it for writing.
    let spawns = (0..500).map(|_| world.processes.spawn(world.mark.spec(&["cat", gate])));
    let mut processes: Vec<_> =
        futures::future::join_all(spawns).await.into_iter().map(|process| process.unwrap()).collect();
    until("all at the gate", PATIENCE, || world.mark.living().len() == 500).await;
    let opened = std::fs::File::options().write(true).open(gate).unwrap();
    let ends = processes.iter_mut().map(|process| process.wait());
    drop(opened);
    let ends = tokio::time::timeout(PATIENCE, futures::future::join_all(ends)).await.unwrap();
    assert!(ends.into_iter().all(|end| end == Ok(code(0))));
}
