//! A fleet on a Redis, under load, with clients that follow every run: what must hold whatever Redis does meanwhile.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use tokio::task::JoinSet;

use super::{
    fleet::{Api, Fleet, Part, percentile},
    ledger::{Journal, Ledger},
    load::Load,
};
use crate::faults::bars::{figure, judge};

/// So much later than at once may a run begin, for one in a hundred, whatever Redis does.
const DELAY: Duration = Duration::from_secs(2);

/// A fleet of two workers on a Redis, under load.
pub struct Scene {
    fleet: Fleet,
    journal: Journal,
    parts: Vec<Part>,
    api: Api,
}

/// What a client was sent of a run: the sequences of its lifecycle events, in their order.
#[derive(Debug, Default)]
struct Heard {
    durable: Vec<u64>,
    last: u64,
}

impl Scene {
    pub async fn start(database: &str, redis_url: &str) -> Scene {
        let mut fleet = Fleet::new(database);
        fleet.variables = vec![("REDIS_URL", redis_url.to_owned())];
        let journal = Journal::new(&fleet);
        let server = fleet.serve("server").await;
        let api = server.api();
        let mut parts = vec![server, fleet.scheduler("scheduler").await];
        for number in 0..2 {
            parts.push(fleet.worker(&format!("worker-{number}"), 8).await);
        }
        // Each step also says something before and after.
        let talking = "run: [bash, -c, 'echo a; bash \"$0\" \"$1\"; echo b', '";
        api.put_runbook("chain", &journal.chain(3, "0.1").replace("run: [bash, '", talking)).await;
        Scene { fleet, journal, parts, api }
    }

    /// Strikes while clients start runs and follow them; then everything must be there, once.
    pub async fn under_load(mut self, bar: &str, strike: impl AsyncFnOnce()) {
        let load = Load::start(std::slice::from_ref(&self.api), "chain", 4, Duration::from_millis(400));
        let told = load.told.clone();
        let (api, begun) = (self.api.clone(), Instant::now());
        let following = follow_all(api, move || told.made());
        let striking = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            strike().await;
            tokio::time::sleep(Duration::from_secs(1)).await;
            load.stop().await
        };
        let (told, heard) = following.until(striking).await;
        self.fleet.until_all_ended().await;
        let ledger = Ledger::read(&self.fleet).await;
        let made = told.made();
        ledger.check_numbers(made.iter().map(|(number, run)| (*number, &**run)));
        let said = ledger.check(&self.journal);
        assert!(ledger.runs.values().all(|story| story.status == "succeeded"), "{said}");
        assert_eq!(heard.keys().collect::<BTreeSet<_>>(), made.values().collect(), "every run was followed");
        for (run, heard) in &heard {
            let stored: Vec<u64> =
                ledger.runs[run].events.iter().map(|fact| u64::try_from(fact.sequence).unwrap()).collect();
            assert_eq!(heard.durable, stored, "the stream of {run} has each durable event once and in order");
        }
        let delays = self.delays().await;
        let (count, slow) = (delays.len(), percentile(delays, 99));
        for part in &mut self.parts {
            assert!(part.lives(), "{:?} has ended: {}", part.launch, part.log());
        }
        figure(bar, format!("{count} runs in {:?}, every stream complete; {said}", begun.elapsed()));
        judge(bar, format!("99 of 100 runs began within {slow:?}"), slow < DELAY);
        for part in &mut self.parts {
            assert_eq!(part.stop().await.code(), Some(0), "{}", part.log());
        }
    }

    /// From the creation of each run to the beginning of its first step, by the clock of the database.
    async fn delays(&self) -> Vec<Duration> {
        let sql = "SELECT (extract(epoch FROM (min(e.at) - r.created_at)) * 1000000)::bigint
            FROM runs AS r JOIN run_events AS e ON e.run_key = r.key AND e.action = 'step_started'
            GROUP BY r.key, r.created_at";
        let found: Vec<i64> = sqlx::query_scalar(sql).fetch_all(&mut self.fleet.connect().await).await.unwrap();
        found.into_iter().map(|micros| Duration::from_micros(micros.try_into().unwrap_or_default())).collect()
    }
}

/// Followers of runs that are being made.
struct Following<F> {
    api: Api,
    made: F,
    all: JoinSet<(String, Heard)>,
    known: BTreeSet<String>,
}

fn follow_all<F: Fn() -> BTreeMap<usize, String>>(api: Api, made: F) -> Following<F> {
    Following { api, made, all: JoinSet::new(), known: BTreeSet::new() }
}

impl<F: Fn() -> BTreeMap<usize, String>> Following<F> {
    fn look(&mut self) {
        for run in (self.made)().into_values() {
            if self.known.insert(run.clone()) {
                let api = self.api.clone();
                self.all.spawn(async move {
                    let heard = follow(&api, &run).await;
                    (run, heard)
                });
            }
        }
    }

    /// Follows what is made until `work` is done, and each run to its end.
    async fn until<T>(mut self, work: impl Future<Output = T>) -> (T, BTreeMap<String, Heard>) {
        let mut work = std::pin::pin!(work);
        let mut look = tokio::time::interval(Duration::from_millis(50));
        let done = loop {
            tokio::select! {
                done = &mut work => break done,
                _ = look.tick() => self.look(),
            }
        };
        self.look();
        (done, self.all.join_all().await.into_iter().collect())
    }
}

/// One client, which comes back with its last id when it is cut off.
async fn follow(api: &Api, run: &str) -> Heard {
    let mut heard = Heard::default();
    let mut last_id: Option<String> = None;
    loop {
        let mut stream = api.stream(run, last_id.as_deref()).await;
        let mut text = String::new();
        while let Ok(Some(bytes)) = stream.chunk().await {
            text.push_str(std::str::from_utf8(&bytes).unwrap());
            while let Some((message, rest)) = text.split_once("\n\n") {
                let field = |name: &str| message.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
                if field("event:") == Some("close") {
                    return heard;
                }
                if let (Some(id), Some(kind)) = (field("id:"), field("event:")) {
                    heard.take(id, kind);
                    last_id = Some(id.to_owned());
                }
                text = rest.to_owned();
            }
        }
    }
}

impl Heard {
    fn take(&mut self, id: &str, kind: &str) {
        let sequence: u64 = id.split_once('-').unwrap().1.parse().unwrap();
        assert!(sequence > self.last, "{id} after {}", self.last);
        self.last = sequence;
        if kind.starts_with("lifecycle.") {
            self.durable.push(sequence);
        }
    }
}
