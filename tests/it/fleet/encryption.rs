//! A database that speaks TLS, and one that does not.

use serde_json::Value;
use sqlx::{Executor, Row};

use super::{Fleet, launch::block_on};
use crate::{cli::world::until, servers};

/// Connections of ours, with whether they are encrypted and what they last did.
const BACKENDS: &str = "SELECT s.ssl, a.query FROM pg_stat_ssl s JOIN pg_stat_activity a USING (pid)
    WHERE a.application_name LIKE 'opsroom%'";

#[test]
fn every_connection_of_a_fleet_is_encrypted_and_the_server_known() {
    let server = block_on(servers::encrypted_server());
    let database = block_on(server.database(None));
    let mut fleet = Fleet::on(&database.url);
    fleet.runbook("quick", "steps:\n  - {id: a, run: \"echo hello\"}\n");
    fleet.serve();
    let _scheduler = fleet.start("scheduler", &["scheduler"]);
    until("the runbook is known", || fleet.get("/v1/runbooks/quick").0 == 200);
    let worker = fleet.worker("worker", &[]);
    let run = fleet.run("quick");
    assert_eq!(fleet.ended(&run)["status"], "succeeded");
    let backends = || {
        block_on(async {
            let rows = database.connect().await.fetch_all(BACKENDS).await.unwrap();
            rows.iter().map(|row| (row.get("ssl"), row.get("query"))).collect::<Vec<(bool, String)>>()
        })
    };
    let is_open = |what: &str| backends().iter().any(|(_, query)| query.contains(what));
    until("the connection for wake-ups is open", || is_open("LISTEN") || is_open("pg_notify"));
    until("the worker beats", || is_open("lease_until"));
    assert!(backends().iter().all(|(is_encrypted, _)| *is_encrypted), "{:?}", backends());
    let doctor = fleet.command(&["doctor", "--output", "json"]).output().unwrap();
    let found: Value = serde_json::from_slice(&doctor.stdout).unwrap();
    let tls = found["findings"].as_array().unwrap().iter().find(|finding| finding["code"] == "DB_TLS");
    assert_eq!(tls.unwrap()["what"], "the connection to the server is encrypted", "{found}");
    assert_eq!(worker.stop().code, Some(0));
}

#[test]
fn a_server_that_cannot_be_trusted_is_refused() {
    let server = block_on(servers::encrypted_server());
    let database = block_on(server.database(None));
    let plain = block_on(servers::database());
    let at =
        |host: &str, query: &str| format!("postgres://ann:hush@{host}:{}/{}?{query}", server.port(), database.name());
    let root = |name: &str| format!("sslmode=verify-full&sslrootcert={}", server.certificate(name));
    let unencrypted = plain.url.replace("postgres@", "postgres:hush@").replace("disable", "require");
    for (url, expected) in [
        (at("localhost", &root("other.pem")), "UnknownIssuer"),
        (at("localhost", "sslmode=verify-full"), "UnknownIssuer"),
        (at("127.0.0.1", &root("ca.pem")), "not valid for name"),
        (at("localhost", &root("missing.pem")), "missing.pem"),
        (unencrypted, "the server does not speak TLS"),
        (at("localhost", "sslmode=disable"), "no encryption"),
    ] {
        let fleet = Fleet::on(&url);
        for arguments in [&["migrate", "status"][..], &["doctor"], &["worker", "--wait", "0s"]] {
            let output = fleet.command(arguments).args(["--output", "json"]).output().unwrap();
            let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
            assert!(!output.status.success() && !said.contains("hush"), "{arguments:?}: {said}");
            assert!(said.contains(expected), "{arguments:?} says {expected}: {said}");
        }
    }
}
