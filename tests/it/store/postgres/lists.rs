//! Lists of runs: from which index they are taken.

use std::path::Path;

use opsroom::{
    model::{Micros, RunStatus},
    ports::{NewRun, Trigger},
    store::EndedRun,
};
use serde_json::json;
use sqlx::{AssertSqlSafe, Executor, PgConnection, Row};

use super::Fixture;
use crate::store::world::{W1, at, event, new_run, object, step};

/// Runs of a few kinds, and some of none that is common.
async fn seeded() -> Fixture {
    let world = Fixture::new().await;
    let runs: Vec<EndedRun> = (2..4_002_u128)
        .map(|number| {
            let run = NewRun {
                labels: object(json!({"team": format!("t{}", number % 5)})),
                runbook: if number % 50 == 0 { "rare".into() } else { "deploy".into() },
                trigger: Trigger { kind: "api".to_owned(), actor: format!("person-{}", number % 40) },
                ..new_run(number)
            };
            let status = if number % 100 == 0 { RunStatus::TimedOut } else { RunStatus::Succeeded };
            let events = vec![event(1, json!({"a": 1e16})), event(2, json!(null))];
            let steps = vec![step(0, opsroom::model::StepStatus::Succeeded)];
            EndedRun { run, status, worker: W1, ended_at: Micros(at(number).0 + 1), error: None, events, steps }
        })
        .collect();
    world.store.seed(&runs).await.unwrap();
    world.database.connect().await.execute("ANALYZE").await.unwrap();
    world
}

const TYPES: &str = "uuid, uuid, uuid, bigint, text[], text, text, uuid, text, text, text[], text[], text[], text[], \
    text[], text[], text[], uuid, uuid, text[], text[], boolean, bigint, bigint";

/// How the server carries out a list or the density of a source, of the team `t1`, the runbook `rare` and so on.
async fn plan_of(connection: &mut PgConnection, sources: &[&str], parts: [&str; 3]) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store/postgres/queries/list");
    let part = |name: &str| std::fs::read_to_string(folder.join(name).with_extension("sql")).unwrap();
    let [begin, each, end] = parts;
    let sources: Vec<String> = sources.iter().map(|source| format!("{}{}", part(source), part(each))).collect();
    let sql = format!("{}{}{}", part(begin), sources.join(&part("union")), part(end));
    let null = "NULL";
    let arguments = [
        "'00000000-0000-0000-0000-000000000001'",
        "'00000000-0000-0000-0000-000000000000'",
        "'ffffffff-ffff-ffff-ffff-ffffffffffff'",
        "51",
        null,
        null,
        "'rare'",
        "'01990000-0000-7000-9000-000000000001'",
        "'api'",
        "'person-7'",
        null,
        null,
        null,
        "'{rare}'",
        "'{person-7}'",
        "'{team}'",
        "'{t1}'",
        null,
        null,
        if sources[0].contains("run_labels") { "'{team}'" } else { "'{timed_out}'" },
        "'{t1}'",
        "true",
        "500",
        "0",
    ];
    let all = format!(
        "SET plan_cache_mode = force_custom_plan; SET enable_bitmapscan = off; DEALLOCATE ALL; PREPARE list ({TYPES}) AS {sql}; \
         EXPLAIN (COSTS OFF) EXECUTE list ({})",
        arguments.join(", ")
    );
    let rows = connection.fetch_all(sqlx::raw_sql(AssertSqlSafe(all))).await.unwrap();
    rows.iter().map(|row| row.get::<String, _>(0) + "\n").collect()
}

/// Every list takes its runs from an index in the order of their ids, whatever the planner thinks of the data.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn lists_use_their_indexes() {
    let world = seeded().await;
    let mut raw = world.database.connect().await;
    let cases = [
        ("by_lane", "idx_runs_lane"),
        ("by_live", "idx_runs_live"),
        ("by_ended", "idx_runs_ended"),
        ("by_session", "idx_runs_session"),
        ("by_runbook", "idx_run_inputs_runbook"),
        ("by_actor", "idx_run_inputs_actor"),
        ("by_trigger", "idx_run_inputs_trigger"),
        ("by_label", "pk_run_labels"),
        ("by_text_runbook", "idx_run_inputs_runbook"),
        ("by_text_actor", "idx_run_inputs_actor"),
        ("by_text_label", "pk_run_labels"),
    ];
    let kinds = [["begin", "filter", "end"], ["begin", "plain", "end"], ["density_begin", "density", "density_end"]];
    for (source, index) in cases {
        for kind in kinds {
            let plan = plan_of(&mut raw, &[source], kind).await;
            let used = [format!("Backward using {index}"), format!("using {index}")];
            assert!(used.iter().any(|used| plan.contains(used)), "{source}: {index} is not used:\n{plan}");
            // Such a scan would go on through all that sorts before its range.
            assert!(!plan.contains("ROW("), "{source} compares rows:\n{plan}");
            for table in ["runs", "run_inputs", "run_labels"] {
                assert!(!plan.contains(&format!("Seq Scan on {table}")), "{source} reads all of {table}:\n{plan}");
            }
        }
    }
}

/// What `seed` writes is read back as what its owners would have left.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn seeded_runs_read_back() {
    use opsroom::ports::{ArchiveStore, Store};
    let world = seeded().await;
    let id = new_run(4_000).id;
    let row = world.store.run(id).await.unwrap().unwrap();
    assert_eq!((row.status, row.sequence_head, row.created_at), (RunStatus::TimedOut, 2, at(4_000)));
    assert_eq!(row.ended_at, Some(Micros(at(4_000).0 + 1)));
    assert_eq!(row.params, new_run(1).params);
    let events = world.store.events(id, 0, 10).await.unwrap();
    assert_eq!(events, [event(1, json!({"a": 1e16})), event(2, json!(null))]);
    assert_eq!(world.store.steps(id).await.unwrap(), [step(0, opsroom::model::StepStatus::Succeeded)]);
    assert!(world.store.unarchived(10).await.unwrap().is_empty());
}
