//! Starting: in any order, or not at all.

use serde_json::Value;

use super::{Fleet, launch::block_on};
use crate::{cli::world::until, servers};

#[test]
fn a_worker_waits_for_its_database() {
    let server = block_on(servers::own_server());
    let database = block_on(server.database(None));
    block_on(server.crash());
    let fleet = Fleet::on(&database.url);
    let running = fleet.launch("worker", &["worker"]);
    running.said("waiting for the database");
    block_on(server.start());
    until("it is a worker", || running.output().0.contains("\"worker\""));
    let (_, said) = running.output();
    assert!(!said.contains("postgres://"), "{said}");
}

#[test]
fn a_database_that_stays_away_is_a_clear_error() {
    let fleet = Fleet::on("postgres://ann:hush@127.0.0.1:1/nowhere");
    for command in ["serve", "worker", "scheduler"] {
        let ended = fleet.launch(command, &[command, "--wait", "1s"]).wait();
        assert_eq!(ended.code, Some(3), "{ended:?}");
        let fault: Value = serde_json::from_str(ended.stdout.lines().last().unwrap()).unwrap();
        assert_eq!(fault["error"]["code"], "DATABASE_UNAVAILABLE", "{fault}");
        assert!(fault.to_string().contains("127.0.0.1:1/nowhere"), "{fault}");
        assert!(!ended.stdout.contains("hush") && !ended.stderr.contains("hush"), "{ended:?}");
    }
}

#[test]
fn without_a_database_the_commands_say_what_to_do() {
    let world = crate::cli::world::World::new();
    for command in ["serve", "worker", "scheduler"] {
        let refused = world.ends([command]);
        assert!(refused.code == Some(2) && refused.stderr.contains("DATABASE_NEEDED"), "{refused:?}");
        assert!(refused.stderr.contains("DATABASE_URL"), "{refused:?}");
    }
    let shown = world.ends(["worker", "--database-url", "postgres://ann:hush@db/ops"]);
    assert!(shown.code == Some(2) && shown.stderr.contains("PASSWORD_SHOWN"), "{shown:?}");
    assert!(!shown.stderr.contains("hush"), "{shown:?}");
}

#[test]
fn commands_work_on_the_database_without_a_server() {
    let (fleet, _scheduler) = Fleet::with_scheduler(&[("quick", "steps:\n  - {id: a, run: \"echo hello\"}\n")]);
    let run = fleet.run("quick");
    let json = |arguments: &[&str]| -> Value {
        let output = fleet.command(arguments).args(["--output", "json"]).output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
    };
    assert!(json(&["runs"]).to_string().contains(&run));
    json(&["cancel", &run]);
    assert!(json(&["show", &run]).to_string().contains(&run));
    // Whoever takes it next ends it.
    let drained = fleet.start("worker", &["worker", "--drain"]).wait();
    assert_eq!(drained.code, Some(0), "{drained:?}");
    assert_eq!(fleet.row(&run)["status"], "cancelled");
    // It is executed here, by a worker of the database that lives for this run.
    let done = fleet.command(&["run", "quick"]).output().unwrap();
    assert!(done.status.success(), "{done:?}");
    let (_, ended) = fleet.get("/v1/runs?status=succeeded");
    assert_eq!(ended["items"].as_array().map(Vec::len), Some(1), "{ended}");
}
