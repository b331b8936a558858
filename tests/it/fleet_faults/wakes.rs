//! Many runs that wait for the same moment.

use std::time::{Duration, Instant};

use serde_json::json;

use super::fleet::{Api, Fleet, percentile, until_within};
use crate::{
    faults::bars::{count, figure, judge},
    servers::{migrated_database, redis},
};

/// Two steps: the moment, and what comes after it.
const ALARM: &str = "params: {at: {type: string}}
steps:
  - {id: alarm, uses: wait, with: {until: \"${{ params.at }}\"}}
  - {id: after, needs: [alarm], uses: assert, with: {that: true}}
";

/// More tasks than this do not wait in a lane (`queue/redis/promote.rs`).
const OUTSTANDING: u64 = 2_000;

/// So late may one in a hundred be.
const AWAKE: Duration = Duration::from_secs(30);

/// Fault 4. Runs park, two schedulers wake them all at once, and a Redis tells two workers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_that_are_due_at_once_all_go_on_once() {
    let (runs, lead) = (count(400_usize, 20_000), count(32_u32, 60));
    let database = migrated_database().await;
    let redis = redis::start().await;
    let mut fleet = Fleet::new(&database.url);
    fleet.variables = vec![("REDIS_URL", redis.url())];
    let server = fleet.serve("server").await;
    let api = server.api();
    let mut parts = vec![server, fleet.scheduler("scheduler-0").await, fleet.scheduler("scheduler-1").await];
    for number in 0..2 {
        parts.push(fleet.worker(&format!("worker-{number}"), 128).await);
    }
    api.put_runbook("alarm", ALARM).await;
    let (at, begun) = (moment(&fleet, lead).await, Instant::now());
    set_alarms(&api, runs, &at).await;
    let all = i64::try_from(runs).unwrap();
    until_within("all wait without an owner", Duration::from_secs(lead.into()), async || {
        counted(&fleet, "SELECT count(*) FROM runs WHERE waiting_on = 'timer' AND NOT claimable").await == all
    })
    .await;
    let (parked, since, mut most) = (begun.elapsed(), Instant::now(), 0);
    until_within("all have ended", Duration::from_secs(lead.into()) + 4 * AWAKE, async || {
        let waiting: u64 = redis.ask("LLEN opsroom:{core:apalis:queues:list}:A:active").await;
        most = most.max(waiting);
        fleet.open_runs().await == 0
    })
    .await;
    assert!(most <= OUTSTANDING, "{most} doorbells");
    assert_eq!(counted(&fleet, ODD).await, 0, "runs that did not go on, or did something twice");
    let late = lateness(&fleet, &at).await;
    assert_eq!(late.len(), runs);
    let (p50, p99) = (percentile(late.clone(), 50), percentile(late, 99));
    figure("fleet-wakes", format!("{runs} runs parked within {parked:?}, ended {:?} later", since.elapsed()));
    let said = format!("all due at once, each once: p50 {p50:?}, p99 {p99:?} late; {most} doorbells at most");
    judge("fleet-wakes", said, p99 < AWAKE);
    for part in &mut parts {
        assert!(part.lives(), "{:?} has ended: {}", part.launch, part.log());
    }
    assert!(api.is_ready().await);
}

/// Runs that did not end well, or of which something was begun more than once.
const ODD: &str = "SELECT count(*) FROM runs AS r WHERE status <> 'succeeded' OR recoveries > 0
    OR (SELECT count(*) FROM run_events AS e WHERE e.run_key = r.key AND e.action = 'step_started') <> 2
    OR (SELECT count(*) FROM run_steps AS s WHERE s.run_key = r.key AND s.attempts = 1) <> 2";

async fn counted(fleet: &Fleet, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(&mut fleet.connect().await).await.unwrap()
}

/// A time by the clock of the database, so many seconds from now.
async fn moment(fleet: &Fleet, seconds: u32) -> String {
    let sql = "SELECT to_char(now() + $1 * interval '1 second', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')";
    sqlx::query_scalar(sql).bind(f64::from(seconds)).fetch_one(&mut fleet.connect().await).await.unwrap()
}

async fn set_alarms(api: &Api, runs: usize, at: &str) {
    for first in (0..runs).step_by(500) {
        let one = json!({"runbook": "alarm", "params": {"at": at}});
        let body = json!({"runs": vec![one; 500.min(runs - first)]});
        let answer = api.post("/v1/runs/batch", &body, None).await.unwrap();
        assert_eq!(answer.status, 201, "{:?}", answer.body);
    }
}

/// How long after their moment the second steps have begun; none before it.
async fn lateness(fleet: &Fleet, at: &str) -> Vec<Duration> {
    let sql = "SELECT (extract(epoch FROM (max(at) - $1::timestamptz)) * 1000000)::bigint
        FROM run_events WHERE action = 'step_started' GROUP BY run_key";
    let found: Vec<i64> = sqlx::query_scalar(sql).bind(at).fetch_all(&mut fleet.connect().await).await.unwrap();
    found
        .into_iter()
        .map(|micros| Duration::from_micros(u64::try_from(micros).expect("nobody goes on before the moment")))
        .collect()
}
