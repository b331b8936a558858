//! Many runs that wait for the same moment.

use std::time::{Duration, Instant};

use serde_json::json;

use super::fleet::{Fleet, percentile, until_within};
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
    let mut parts = vec![fleet.scheduler("scheduler-0").await, fleet.scheduler("scheduler-1").await];
    for number in 0..2 {
        parts.push(fleet.worker(&format!("worker-{number}"), 128).await);
    }
    api.put_runbook("alarm", ALARM).await;
    let mut connection = fleet.connect().await;
    let at: String =
        sqlx::query_scalar("SELECT to_char(now() + $1 * interval '1 second', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')")
            .bind(f64::from(lead))
            .fetch_one(&mut connection)
            .await
            .unwrap();
    let begun = Instant::now();
    for first in (0..runs).step_by(500) {
        let one = json!({"runbook": "alarm", "params": {"at": at}});
        let body = json!({"runs": vec![one; 500.min(runs - first)]});
        let answer = api.post("/v1/runs/batch", &body, None).await.unwrap();
        assert_eq!(answer.status, 201, "{:?}", answer.body);
    }
    let all = i64::try_from(runs).unwrap();
    let counted = async |sql: &'static str| -> i64 {
        sqlx::query_scalar(sql).fetch_one(&mut fleet.connect().await).await.unwrap()
    };
    until_within("all wait without an owner", Duration::from_secs(lead.into()), async || {
        counted("SELECT count(*) FROM runs WHERE waiting_on = 'timer' AND NOT claimable").await == all
    })
    .await;
    let parked = begun.elapsed();

    let (mut most, since) = (0, Instant::now());
    until_within("all have ended", Duration::from_secs(lead.into()) + 4 * AWAKE, async || {
        let waiting: u64 = redis.ask("LLEN opsroom:{core:apalis:queues:list}:A:active").await;
        most = most.max(waiting);
        counted("SELECT count(*) FROM runs WHERE ended_at IS NULL").await == 0
    })
    .await;
    assert!(most <= OUTSTANDING, "{most} doorbells");
    let odd = counted(
        "SELECT count(*) FROM runs AS r WHERE status <> 'succeeded' OR recoveries > 0
            OR (SELECT count(*) FROM run_events AS e WHERE e.run_key = r.key AND e.action = 'step_started') <> 2
            OR (SELECT count(*) FROM run_steps AS s WHERE s.run_key = r.key AND s.attempts = 1) <> 2",
    )
    .await;
    assert_eq!(odd, 0, "runs that did not go on, or did something twice");
    let late = lateness(&fleet, &at).await;
    assert_eq!(late.len(), runs);
    let (p50, p99) = (percentile(late.clone(), 50), percentile(late, 99));
    figure(
        "fleet-wakes",
        format!("{runs} runs parked {parked:?} after the first was made; {:?} to the end", since.elapsed()),
    );
    judge(
        "fleet-wakes",
        format!("all due at once, each once: p50 {p50:?}, p99 {p99:?} late; {most} doorbells at most"),
        p99 < AWAKE,
    );
    for part in &mut parts {
        assert!(part.lives(), "{:?} has ended: {}", part.launch, part.log());
    }
    assert!(api.is_ready().await);
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
