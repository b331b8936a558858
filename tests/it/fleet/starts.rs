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
fn a_fleet_works_behind_a_pooler_in_transaction_mode() {
    let server = block_on(servers::own_server());
    let database = block_on(server.database(None));
    // Its own process; nothing of it needs the runtime that started it.
    let bouncer = block_on(servers::PgBouncer::start(server.port(), ""));
    let mut fleet = Fleet::on(&bouncer.url(database.name()));
    fleet.runbook("quick", "steps:\n  - {id: a, run: \"echo hello\"}\n");
    fleet.serve();
    let _scheduler = fleet.start("scheduler", &["scheduler"]);
    until("the runbook is known", || fleet.get("/v1/runbooks/quick").0 == 200);
    let worker = fleet.worker("worker", &[]);
    for _ in 0..3 {
        let run = fleet.run("quick");
        assert_eq!(fleet.ended(&run)["status"], "succeeded");
    }
    let ended = worker.stop();
    assert_eq!(ended.code, Some(0), "{ended:?}");
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

#[test]
fn the_database_is_among_the_figures() {
    let (fleet, _scheduler) = Fleet::with_scheduler(&[("quick", "steps:\n  - {id: a, run: \"echo hello\"}\n")]);
    let worker = fleet.worker("worker", &[]);
    let run = fleet.run("quick");
    fleet.ended(&run);
    drop(worker);
    let text = fleet.stream("/metrics").text().unwrap();
    let value = |name: &str| -> f64 {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{name}:\n{text}"));
        line.trim().parse().unwrap()
    };
    assert!(value("opsroom_database_connections{state=\"idle\"}") >= 1.0);
    assert!(value("opsroom_database_connections{state=\"used\"}") >= 0.0);
    let statements = value("opsroom_database_statement_seconds_count");
    assert!(statements >= 3.0, "{statements}");
    assert!(value("opsroom_database_acquire_seconds_count") >= statements);
    assert!(value("opsroom_database_acquire_seconds_bucket{le=\"0.001\"}") >= 1.0);
    let ratio = value("opsroom_database_cache_hit_ratio");
    assert!(ratio > 0.0 && ratio <= 1.0, "{ratio}");
    assert_eq!((value("opsroom_database_lock_waits"), value("opsroom_database_deadlocks")), (0.0, 0.0));
}
