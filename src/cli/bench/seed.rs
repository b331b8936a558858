//! `bench seed`: a data folder full of ended runs.

use std::time::Instant;

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{
    super::{
        Context, block_on,
        fault::{Fault, exit},
        instance::Instance,
    },
    BenchError,
};
use crate::{
    control::{Draft, Origin, Put},
    engine::Event,
    model::{Failure, Lane, Micros, RunId, RunStatus, SessionId, StepIx, StepStatus, Success, TenantId, WorkerId},
    ports::{NewRun, SessionRow, StepRow, StoredEvent, Trigger},
    runbook::Plan,
    store::EndedRun,
};

/// Runs in one transaction.
const BATCH: u32 = 5_000;
/// How far back the oldest run lies: within what retention keeps.
const SPAN: i64 = 60 * 24 * 3_600 * 1_000_000;
/// Runs last so long.
const LASTS: i64 = 1_500_000;
const SESSIONS: usize = 12;

const RUNBOOKS: [(&str, usize); 8] = [
    ("disk-usage-check", 30),
    ("deploy-web", 20),
    ("deploy-api", 15),
    ("tls-expiry-report", 12),
    ("rotate-logs", 10),
    ("backup-database", 8),
    ("restore-drill", 4),
    ("incident-triage", 1),
];
const LANES: [(Lane, usize); 4] = [(Lane::A, 60), (Lane::B, 25), (Lane::C, 12), (Lane::D, 3)];
const STATUSES: [(RunStatus, usize); 4] =
    [(RunStatus::Succeeded, 900), (RunStatus::Failed, 66), (RunStatus::Cancelled, 30), (RunStatus::TimedOut, 4)];
const TRIGGERS: [(&str, usize); 4] = [("schedule", 50), ("api", 30), ("manual", 15), ("webhook", 5)];
const TEAMS: [(&str, usize); 5] = [("core", 40), ("web", 30), ("data", 20), ("network", 9), ("audit", 1)];
const STAGES: [(&str, usize); 3] = [("prod", 50), ("staging", 30), ("dev", 20)];

/// Fill the data folder with ended runs, to measure on
///
/// Runs of several runbooks, actors, lanes, labels, sessions and outcomes over the last 60 days, with their steps
/// and events. Nothing else may write to the folder meanwhile.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "\
Examples:
  opsroom --data-dir /var/tmp/full bench seed --runs 1000000")]
pub struct Options {
    /// How many
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    runs: u32,
}

pub fn execute(context: &Context, options: &Options) -> Result<u8, Fault> {
    let began = Instant::now();
    block_on(async {
        let instance = Instance::open(&context.config).await?;
        let seeded = seed(&instance, options.runs).await;
        instance.close().await;
        seeded
    })?;
    let seconds = (began.elapsed().as_secs_f64() * 10.0).round() / 10.0;
    if context.out.is_json() {
        context.out.json(&json!({"runs": options.runs, "seconds": seconds}));
    } else {
        context.out.line(format!("{} runs in {seconds} s", options.runs));
    }
    Ok(exit::SUCCESS)
}

async fn seed(instance: &Instance, count: u32) -> Result<(), Fault> {
    let now = instance.world.clock.now();
    let mut ground = Ground {
        runbooks: runbooks(instance).await?,
        sessions: sessions(instance, now).await?,
        worker: instance.world.ids.worker_id(),
        // Another folder gets other runs, and a second time the same folder too.
        rng: Rng(instance.world.ids.worker_id().0.as_u64_pair().1),
    };
    let store = &instance.ledger;
    for first in (0..count).step_by(BATCH as usize) {
        let runs: Vec<EndedRun> = (first..count.min(first + BATCH))
            .map(|number| {
                let age = SPAN / i64::from(count) * i64::from(count - number);
                ground.run(Micros(now.0 - age - LASTS), number < count / 200)
            })
            .collect();
        store.seed(&runs).await?;
    }
    Ok(())
}

/// Stores the runbooks, as `PUT /v1/runbooks` would.
async fn runbooks(instance: &Instance) -> Result<Vec<(Put, usize)>, Fault> {
    let mut stored = Vec::new();
    for (name, weight) in RUNBOOKS {
        let yaml = format!(
            "version: 1\nname: {name}\nparams:\n  host: {{type: string, default: web-1}}\nsteps:\n  \
             - {{id: look, uses: assert, with: {{that: true}}}}\n  \
             - {{id: act, needs: [look], uses: assert, with: {{that: true}}}}\n"
        );
        let draft = Draft::new(format!("{name}.yaml"), yaml);
        let put = instance.runbooks.put(TenantId::DEFAULT, draft, &Origin::Api("bench".to_owned())).await;
        stored.push((put.map_err(|error| BenchError::Compile(error.to_string()))?, weight));
    }
    Ok(stored)
}

async fn sessions(instance: &Instance, now: Micros) -> Result<Vec<SessionId>, Fault> {
    let mut ids = Vec::new();
    for number in 1..=SESSIONS {
        let session = SessionRow {
            id: instance.world.ids.session_id(),
            tenant: TenantId::DEFAULT,
            name: format!("release week {number}"),
            labels: Map::new(),
            created_at: now,
            created_by: "bench".to_owned(),
            archived_at: None,
        };
        instance.rows().create_session(&session, None).await?;
        ids.push(session.id);
    }
    Ok(ids)
}

/// What runs are made of.
struct Ground {
    runbooks: Vec<(Put, usize)>,
    sessions: Vec<SessionId>,
    worker: WorkerId,
    rng: Rng,
}

impl Ground {
    /// A run of this time. The oldest have an actor and a label of their own, so that there is something that only
    /// very old runs have.
    fn run(&mut self, created_at: Micros, oldest: bool) -> EndedRun {
        let rng = &mut self.rng;
        let weights: Vec<(usize, usize)> =
            self.runbooks.iter().enumerate().map(|(index, (_, weight))| (index, *weight)).collect();
        let Put { version, plan, .. } = &self.runbooks[rng.weighted(&weights)].0;
        let status = rng.weighted(&STATUSES);
        let mut labels = Map::new();
        labels.insert("team".to_owned(), rng.weighted(&TEAMS).into());
        labels.insert("stage".to_owned(), rng.weighted(&STAGES).into());
        if rng.below(10) == 0 {
            labels.insert("ticket".to_owned(), format!("OPS-{}", rng.below(500)).into());
        }
        if oldest {
            labels.insert("legacy".to_owned(), true.into());
        }
        let actor = if oldest { "retired-script".to_owned() } else { format!("person-{}", rng.below(40)) };
        let run = NewRun {
            id: rng.id(created_at),
            tenant: TenantId::DEFAULT,
            runbook: version.name.clone(),
            runbook_version: Some(version.version),
            session: (rng.below(10) == 0).then(|| self.sessions[rng.below(SESSIONS)]),
            plan: version.plan,
            lane: rng.weighted(&LANES),
            priority: 0,
            labels,
            params: Map::from_iter([("host".to_owned(), Value::from(format!("web-{}", rng.below(200))))]),
            trigger: Trigger { kind: rng.weighted(&TRIGGERS).to_owned(), actor },
            steps_total: 2,
            created_at,
            claimed_by: None,
            opening: Vec::new(),
        };
        ended(run, plan, status, self.worker)
    }
}

/// The run with the events that lead to its end: the second step goes as the run does.
fn ended(run: NewRun, plan: &Plan, status: RunStatus, worker: WorkerId) -> EndedRun {
    let at = |part: i64| Micros(run.created_at.0 + LASTS * part / 5);
    let failure = Failure::error("ASSERTION_FAILED", "`that` is false");
    let (look, act) = (StepIx(0), StepIx(1));
    let (attempt, again, success) = (1, false, Success::default());
    let started = |step| Event::StepStarted { step, attempt, again };
    let (outcome, settled, error) = match status {
        RunStatus::Succeeded => {
            (Event::StepSucceeded { step: act, attempt, success: success.clone() }, StepStatus::Succeeded, None)
        }
        RunStatus::Failed => (
            Event::StepFailed { step: act, attempt, failure: failure.clone() },
            StepStatus::Failed,
            Some(Failure::error("STEP_FAILED", "step `act` failed: ASSERTION_FAILED: `that` is false")),
        ),
        _ => (
            Event::StepCancelled { step: act, attempt },
            StepStatus::Cancelled,
            Some(Failure::permanent("CANCELLED", "cancelled by bench")),
        ),
    };
    let finished = Event::RunFinished { status, error: error.clone() };
    let facts = [
        Event::RunStarted,
        started(look),
        Event::StepSucceeded { step: look, attempt, success },
        started(act),
        outcome,
        finished,
    ];
    let stored = |(part, event): (u8, Event)| {
        let (kind, data) = event.into_stored(plan);
        let sequence = u64::from(part) + 1;
        StoredEvent { sequence, prev: sequence - 1, at: at(part.into()), kind, data }
    };
    let events = (0..).zip(facts).map(stored).collect();
    let step = |ix: StepIx, status, part: i64| StepRow {
        step: ix,
        id: plan.step(ix).id.clone(),
        uses: plan.step(ix).uses.clone(),
        status,
        attempts: attempt,
        started_at: Some(at(part)),
        ended_at: Some(at(part + 1)),
        outputs: Map::new(),
        error: (status == StepStatus::Failed).then(|| failure.clone()),
    };
    let steps = vec![step(look, StepStatus::Succeeded, 1), step(act, settled, 3)];
    EndedRun { status, worker, ended_at: at(5), error, events, steps, run }
}

/// SplitMix64: realistic needs no more.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % n as u64).unwrap_or(0)
    }

    /// One of them, each as often as its weight says.
    fn weighted<T: Copy>(&mut self, choices: &[(T, usize)]) -> T {
        let mut at = self.below(choices.iter().map(|(_, weight)| weight).sum());
        for (choice, weight) in choices {
            if at < *weight {
                return *choice;
            }
            at -= weight;
        }
        choices[0].0
    }

    /// A UUIDv7 of a time.
    fn id(&mut self, at: Micros) -> RunId {
        let millis = u128::try_from(at.millis()).unwrap_or(0);
        let (high, low) = (u128::from(self.next() & 0xfff), u128::from(self.next() >> 2));
        RunId(Uuid::from_u128((millis << 80) | (7 << 76) | (high << 64) | (2 << 62) | low))
    }
}
