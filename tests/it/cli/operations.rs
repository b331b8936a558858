//! `migrate` and `doctor`: what keeps a database well.

use std::process::Output;

use serde_json::Value;

use super::world::{Ended, World, ended};
use crate::servers::{TestDatabase, database};

impl World {
    /// The command on a database.
    fn on(&self, database: &TestDatabase, arguments: &[&str]) -> Ended {
        let output: Output = self.command([]).args(arguments).env("DATABASE_URL", &database.url).output().unwrap();
        ended(output)
    }

    fn json_on(&self, database: &TestDatabase, arguments: &[&str]) -> Value {
        let ended = self.on(database, &[arguments, &["--output", "json"]].concat());
        serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended:?}"))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_database_is_migrated_up_and_down() {
    let (world, database) = (World::new(), database().await);
    let status = world.json_on(&database, &["migrate", "status"]);
    assert_eq!(status["version"], 0);
    let wanted = status["wanted"].as_u64().unwrap();

    // Several at once: each migration is applied by one of them.
    let applied: Vec<Value> = std::thread::scope(|scope| {
        let both: Vec<_> = (0..3).map(|_| scope.spawn(|| world.json_on(&database, &["migrate", "up"]))).collect();
        both.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let names: Vec<&str> = applied
        .iter()
        .flat_map(|one| one["migrations"].as_array().unwrap())
        .filter_map(|one| one["name"].as_str())
        .collect();
    assert_eq!(names.len() as u64, wanted, "{applied:?}");
    assert!(applied.iter().all(|one| one["to"] == wanted), "{applied:?}");
    let again = world.on(&database, &["migrate", "up"]);
    assert_eq!((again.code, again.stdout.contains("nothing to do")), (Some(0), true), "{again:?}");

    let down = world.on(&database, &["migrate", "down"]);
    assert_eq!(down.code, Some(0), "{down:?}");
    assert!(down.stderr.contains("took back"), "{down:?}");
    assert_eq!(world.json_on(&database, &["migrate", "status"])["version"], wanted - 1);
    assert_eq!(world.json_on(&database, &["migrate", "down", "--to", "3"])["to"], 3);
    let further = world.on(&database, &["migrate", "down", "--to", "5"]);
    assert_eq!(further.code, Some(2), "{further:?}");
    assert_eq!(world.json_on(&database, &["migrate", "up"])["to"], wanted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn live_workers_keep_the_schema() {
    use sqlx::Executor;
    let (world, database) = (World::new(), database().await);
    world.json_on(&database, &["migrate", "up"]);
    let worker = "INSERT INTO workers (id, tenant_id, host, pid, version, started_at, beat_at, lease_until)
        SELECT gen_random_uuid(), gen_random_uuid(), 'web-1', 42, '1', now(), now(), now() + interval '1 hour'";
    database.connect().await.execute(worker).await.unwrap();
    let refused = world.json_on(&database, &["migrate", "down"]);
    assert_eq!(refused["error"]["code"], "WORKERS_ALIVE", "{refused}");
    assert!(refused["error"]["message"].as_str().unwrap().contains("web-1 (pid 42)"), "{refused}");
    assert!(world.json_on(&database, &["migrate", "down", "--force"])["to"].is_u64());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_server_says_what_to_do_about_an_old_schema() {
    let (world, database) = (World::new(), database().await);
    let refused = world.on(&database, &["runs"]);
    assert_eq!(refused.code, Some(3), "{refused:?}");
    assert!(refused.stderr.contains("opsroom migrate up"), "{refused:?}");
    world.json_on(&database, &["migrate", "up"]);
    assert_eq!(world.on(&database, &["runs"]).code, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_doctor_looks_at_a_database() {
    let (world, database) = (World::new(), database().await);
    let before = world.json_on(&database, &["doctor", "--deep"]);
    assert_eq!(before["level"], "fail");
    assert_eq!(world.on(&database, &["doctor"]).code, Some(1));
    world.json_on(&database, &["migrate", "up"]);
    let after = world.on(&database, &["doctor", "--deep"]);
    assert_eq!(after.code, Some(0), "{after:?}");
    assert!(after.stdout.contains("DEEP_OWNERS") && after.stdout.contains("ok    DB_SCHEMA"), "{after:?}");
    assert!(after.stdout.contains("warn  DB_ROLE"), "{after:?}");
}

#[test]
fn a_data_folder_is_migrated_and_looked_at() {
    let world = World::new();
    let nothing = world.json(["migrate", "status"]);
    assert_eq!(nothing["error"]["code"], "NO_DATABASE");
    assert_eq!(world.ends(["doctor"]).code, Some(0));
    assert!(!world.data().join("opsroom.db").exists(), "looking makes nothing");
    let runbook = world.runbook("fine", "steps:\n  - {id: a, run: 'true'}\n");
    assert_eq!(world.ends(["run", runbook.to_str().unwrap()]).code, Some(0));
    let looked = world.ends(["doctor", "--deep"]);
    assert_eq!(looked.code, Some(0), "{looked:?}");
    assert!(looked.stdout.contains("DB_FILE") && looked.stdout.contains("DATA_FOLDER"), "{looked:?}");

    let status = world.json(["migrate", "status"]);
    assert_eq!(status["version"], status["wanted"]);
    let down = world.json(["migrate", "down"]);
    assert_eq!(down["to"].as_u64().unwrap() + 1, status["wanted"].as_u64().unwrap());
    let old = world.json(["doctor"]);
    assert!(old["findings"].as_array().unwrap().iter().any(|one| one["code"] == "DB_SCHEMA" && one["level"] == "warn"));
    assert_eq!(world.json(["migrate", "up"])["to"], status["wanted"]);
    assert_eq!(world.ends(["doctor", "--deep"]).code, Some(0));
}
