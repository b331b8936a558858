//! The connection breaks after COMMIT and before the answer.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use opsroom::{
    model::{Digest, RunStatus},
    ports::{CommitAnswer, Creation, Idempotency, IdempotentAnswer, RunRow, Store as _},
    store::{PgConfig, PgStore},
};

use serde_json::json;

use super::{
    fleet::{Api, Fleet, Launch, PATIENCE, until_within},
    ledger::{Journal, Ledger},
    load::Load,
};
use crate::{
    faults::bars::{count, figure},
    servers::{Proxy, migrated_database},
    store::world::{TENANT, W1, at, cancel, claim, end, new_run, next, plan, run_id},
};

/// Parts of the statements whose answers are lost.
pub const CREATE: &str = "INSERT INTO runs (";
pub const CLAIM: &str = "claimed AS (";
pub const COMMIT: &str = "held.key";
pub const SIGNAL: &str = "INSERT INTO run_signals";

/// Each verb of the store alone: what it answers then is what is true.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_verb_finds_out_what_became_of_it() {
    let database = migrated_database().await;
    let (proxy, url) = Proxy::to(&database.url).await;
    let store = PgStore::open_migrated(&PgConfig::from_url(&url).unwrap()).await.unwrap();
    store.put_plan(TENANT, plan(), b"{}", "name: deploy\n").await.unwrap();
    let rounds = count(24_u32, 125);
    for round in 1..=rounds {
        let run = run_id(u128::from(round));
        let new = [new_run(u128::from(round))];
        let key = (round % 2 == 0).then(|| keyed(round));
        proxy.lose_answers_of(CREATE, 1);
        assert_eq!(store.create_runs(&new, key.as_ref()).await.unwrap(), Creation::Created);
        if key.is_some() {
            let replayed = store.create_runs(&new, key.as_ref()).await.unwrap();
            assert!(matches!(replayed, Creation::Replayed(_)), "{replayed:?}");
        }

        proxy.lose_answers_of(CLAIM, 1);
        let row = claimed(&store).await;
        assert_eq!(row.id, run);
        proxy.lose_answers_of(SIGNAL, 1);
        let signal = store.signal(run, &cancel(), at(2)).await.unwrap().unwrap().unwrap();
        assert_eq!((signal.seq, store.signals(run, 0).await.unwrap().len()), (1, 1));
        proxy.lose_answers_of(COMMIT, 1);
        assert_eq!(store.commit(&[next(&row)]).await.unwrap(), [CommitAnswer::Committed]);
        let row = store.run(run).await.unwrap().unwrap();
        proxy.lose_answers_of(COMMIT, 1);
        let row = RunRow { signals_applied: 1, ..row };
        assert_eq!(store.commit(&[end(&row)]).await.unwrap(), [CommitAnswer::Committed]);

        let row = store.run(run).await.unwrap().unwrap();
        let events = store.events(run, 0, 100).await.unwrap();
        let sequences: BTreeSet<u64> = events.iter().map(|event| event.sequence).collect();
        assert_eq!((row.status, events.len(), sequences.len()), (RunStatus::Failed, 4, 4));
    }
    assert_eq!((proxy.lost(), proxy.to_lose()), (5 * u64::from(rounds), 0));
    let mut connection = database.connect().await;
    let runs: i64 = sqlx::query_scalar("SELECT count(*) FROM runs").fetch_one(&mut connection).await.unwrap();
    assert_eq!(runs, i64::from(rounds));
    figure(
        "lost-answers",
        format!(
            "store: {} answers lost after COMMIT (create, claim, signal, commit, end), {runs} runs, each once",
            proxy.lost()
        ),
    );
    store.close().await;
}

fn keyed(round: u32) -> Idempotency {
    let answer = IdempotentAnswer {
        request: Digest::of(&round.to_be_bytes()),
        status: 201,
        body: format!("{{\"round\":{round}}}").into_bytes(),
        created_at: at(1),
    };
    Idempotency { tenant: TENANT, key: format!("key-{round}"), answer }
}

/// The one run there is. Its claim was carried out and not answered: then the worker owns it and drives it not, as
/// its attendant finds out.
async fn claimed(store: &PgStore) -> RunRow {
    let mut rows = store.claim(&claim(W1, 1)).await.unwrap();
    if rows.is_empty() {
        let owned = store.owned(W1).await.unwrap();
        assert_eq!(owned.len(), 1, "carried out");
        assert_eq!(store.give_back(W1, &owned).await.unwrap().len(), 1);
        rows = store.claim(&claim(W1, 1)).await.unwrap();
    }
    rows.remove(0)
}

/// The same between the processes of a fleet and their database, as clients of the API see it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_see_each_run_once() {
    let losses = count(32, 500);
    let database = migrated_database().await;
    let fleet = Fleet::new(&database.url);
    let journal = Journal::new(&fleet);
    let (proxy, url) = Proxy::to(&database.url).await;
    let through = |name: &str, arguments: &[&str]| Launch {
        name: name.to_owned(),
        database_url: url.clone(),
        arguments: arguments.iter().map(ToString::to_string).collect(),
    };
    let server = fleet.launch(through("server", &["serve", "--listen", "127.0.0.1:0"])).await;
    let _scheduler = fleet.scheduler("scheduler").await;
    let _worker = fleet.launch(through("worker", &["worker", "--lanes", "A", "--slots", "12"])).await;
    let api = server.api();
    api.put_runbook("chain", &journal.chain(3, "0.05")).await;
    let load = Load::start(std::slice::from_ref(&api), "chain", 4, Duration::from_millis(150));
    let mut cancelled = Vec::new();
    for number in 0..losses {
        let of = [CREATE, CLAIM, COMMIT, SIGNAL][number % 4];
        proxy.lose_answers_of(of, 1);
        if of == SIGNAL {
            cancelled.push(cancel_one(&api, 1_000_000 + number).await);
        }
        until_within("an answer is lost", PATIENCE, async || proxy.to_lose() == 0).await;
    }
    let told = load.stop().await;
    fleet.until_all_ended().await;
    let ledger = Ledger::read(&fleet).await;
    let mut made = told.made();
    made.extend(cancelled.iter().map(|(number, run, _)| (*number, run.clone())));
    let unheard = ledger.check_numbers(made.iter().map(|(number, run)| (*number, &**run)));
    let said = ledger.check(&journal);
    let sql = "SELECT r.id::text, count(*) FROM run_signals s JOIN runs r ON r.key = s.run_key GROUP BY r.id";
    let signals: BTreeMap<String, i64> =
        sqlx::query_as(sql).fetch_all(&mut fleet.connect().await).await.unwrap().into_iter().collect();
    let acknowledged = cancelled.into_iter().filter(|(_, _, is_acknowledged)| *is_acknowledged);
    let wanted: BTreeMap<String, i64> = acknowledged.map(|(_, run, _)| (run, 1)).collect();
    figure(
        "fleet-lost-answers",
        format!(
            "{} answers lost after COMMIT (create, claim, commit, signal): {} runs acknowledged, each there once; \
             {unheard} more of which nobody was told; {} cancels, each once; {}; {said}",
            proxy.lost(),
            made.len(),
            wanted.len(),
            told.failures()
        ),
    );
    assert_eq!(signals, wanted, "each acknowledged cancel is there, once");
}

/// Starts a run and cancels it; whether that was acknowledged.
async fn cancel_one(api: &Api, number: usize) -> (usize, String, bool) {
    let run = api.create("chain", number, None).await.unwrap();
    let body = json!({"reason": format!("number {number}")});
    let answer = api.post(&format!("/v1/runs/{run}/cancel"), &body, None).await.unwrap();
    assert!([202, 409].contains(&answer.status), "{answer:?}");
    (number, run, answer.status == 202)
}
