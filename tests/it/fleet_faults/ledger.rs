//! What the steps themselves wrote down, held against what the database says about them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    path::PathBuf,
};

use serde_json::Value;
use sqlx::Row;

use super::fleet::Fleet;

/// Run, step, attempt.
pub type Key = (String, String, u64);

/// Files that steps append to: when they begin and when they end.
pub struct Journal {
    script: PathBuf,
    begun: PathBuf,
    ended: PathBuf,
    slow: PathBuf,
}

/// A line of the journal: which worker executed it, and when it began, in microseconds.
#[derive(Debug, Clone)]
pub struct Line {
    pub key: Key,
    pub worker: String,
    pub at: i64,
}

impl Journal {
    pub fn new(fleet: &Fleet) -> Journal {
        let path = |name: &str| fleet.world.path(name);
        let journal =
            Journal { script: path("work.sh"), begun: path("begun"), ended: path("ended"), slow: path("slow") };
        let line = "printf '%s %s %s %s %s\\n' \"$OPSROOM_RUN_ID\" \"$OPSROOM_STEP\" \"$OPSROOM_ATTEMPT\" \
                    \"$OPSROOM_WORKER\" \"${EPOCHREALTIME/[.,]/}\"";
        let (begun, ended) = (journal.begun.display(), journal.ended.display());
        let slow = journal.slow.display();
        let pause = format!("if [ \"$OPSROOM_ATTEMPT\" = 1 ] && [ -s '{slow}' ]; then sleep \"$(cat '{slow}')\"; fi");
        let script = format!("{line} >> '{begun}'\n{pause}\nsleep \"$1\"\n{line} >> '{ended}'\n");
        std::fs::write(&journal.script, script).unwrap();
        journal
    }

    /// From now on first attempts take so much longer.
    pub fn slow_down(&self, by: std::time::Duration) {
        std::fs::write(&self.slow, by.as_secs_f64().to_string()).unwrap();
    }

    /// From now on they are as fast as ever.
    pub fn speed_up(&self) {
        std::fs::write(&self.slow, "").unwrap();
    }

    /// A chain of steps that keep the journal; each may be repeated, and takes `seconds`.
    pub fn chain(&self, steps: usize, seconds: &str) -> String {
        let mut body = "steps:\n".to_owned();
        for step in 0..steps {
            let needs = if step == 0 { String::new() } else { format!("step_{}", step - 1) };
            let script = self.script.display();
            writeln!(
                body,
                "  - {{id: step_{step}, needs: [{needs}], effect: idempotent, run: [bash, '{script}', \"{seconds}\"]}}"
            )
            .unwrap();
        }
        body
    }

    pub fn begun(&self) -> Vec<Line> {
        read(&self.begun)
    }

    fn ended(&self) -> BTreeSet<Key> {
        read(&self.ended).into_iter().map(|line| line.key).collect()
    }
}

fn read(file: &PathBuf) -> Vec<Line> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let line = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let [run, step, attempt, worker, at] = words[..] else { panic!("a torn line: {line}") };
        let key = (run.to_owned(), step.to_owned(), attempt.parse().unwrap());
        Line { key, worker: worker.to_owned(), at: at.parse().unwrap() }
    };
    // A line is written at once, so only whole ones are there.
    text.lines().map(line).collect()
}

/// All runs of a database with their events.
pub struct Ledger {
    pub runs: BTreeMap<String, Story>,
}

/// What is recorded of one run.
#[derive(Debug, Default)]
pub struct Story {
    pub status: String,
    /// The label by which its client knows it.
    pub number: Option<usize>,
    pub recoveries: i64,
    pub ended_at: Option<i64>,
    pub events: Vec<Fact>,
}

#[derive(Debug)]
pub struct Fact {
    pub sequence: i64,
    /// Microseconds, by the clock of the database.
    pub at: i64,
    pub action: String,
    pub data: Value,
}

const SQL: &str = "
    SELECT r.id::text AS id, r.status, i.labels ->> 'number' AS number, r.recoveries,
        (extract(epoch FROM r.ended_at) * 1000000)::bigint AS ended_at,
        e.sequence, (extract(epoch FROM e.at) * 1000000)::bigint AS at, e.action, e.data::text AS data
    FROM runs AS r
    JOIN run_inputs AS i ON i.run_key = r.key
    LEFT JOIN run_events AS e ON e.run_key = r.key AND e.category = 'lifecycle'
    ORDER BY r.id, e.sequence";

impl Ledger {
    pub async fn read(fleet: &Fleet) -> Ledger {
        let mut runs = BTreeMap::<String, Story>::new();
        for row in sqlx::query(SQL).fetch_all(&mut fleet.connect().await).await.unwrap() {
            let story = runs.entry(row.get("id")).or_default();
            story.status = row.get("status");
            story.number = row.get::<Option<String>, _>("number").map(|number| number.parse().unwrap());
            story.recoveries = row.get("recoveries");
            story.ended_at = row.get("ended_at");
            if let Some(sequence) = row.get("sequence") {
                let data = serde_json::from_str(row.get("data")).unwrap();
                story.events.push(Fact { sequence, at: row.get("at"), action: row.get("action"), data });
            }
        }
        Ledger { runs }
    }

    /// Holds every run against the journal: all have ended as they should, nothing twice; says what there was.
    pub fn check(&self, journal: &Journal) -> String {
        let (begun, ended) = (journal.begun(), journal.ended());
        let mut executed = BTreeMap::<(String, String), BTreeSet<u64>>::new();
        for line in &begun {
            let (run, step, attempt) = line.key.clone();
            let is_new = executed.entry((run, step)).or_default().insert(attempt);
            assert!(is_new, "an attempt was executed twice: {line:?}");
        }
        let mut counts = BTreeMap::<&str, usize>::new();
        for (run, story) in &self.runs {
            *counts.entry(&story.status).or_default() += 1;
            *counts.entry("recoveries").or_default() += usize::try_from(story.recoveries).unwrap();
            story.check(run, &executed, &ended);
        }
        let unknown = executed.keys().find(|(run, _)| !self.runs.contains_key(run));
        assert_eq!(unknown, None, "a step of a run that is not recorded");
        format!("{counts:?}, {} attempts begun, each once", begun.len())
    }

    /// The runs with these numbers are there, each once; answers how many others with a number are.
    pub fn check_numbers<'a>(&self, acknowledged: impl IntoIterator<Item = (usize, &'a str)>) -> usize {
        let mut numbers = BTreeMap::<usize, &str>::new();
        for (run, story) in &self.runs {
            if let Some(number) = story.number {
                let other = numbers.insert(number, run);
                assert_eq!(other, None, "run {number} is there twice: {run}");
            }
        }
        let mut count = 0;
        for (number, run) in acknowledged {
            assert_eq!(numbers.get(&number), Some(&run), "run {number} was acknowledged");
            count += 1;
        }
        numbers.len() - count
    }
}

impl Story {
    pub fn actions(&self) -> Vec<&str> {
        self.events.iter().map(|fact| &*fact.action).collect()
    }

    fn check(&self, run: &str, executed: &BTreeMap<(String, String), BTreeSet<u64>>, ended: &BTreeSet<Key>) {
        assert!(["succeeded", "cancelled"].contains(&&*self.status), "{run} has not ended as it should: {self:#?}");
        let actions = self.actions();
        let times = |wanted: &str| actions.iter().filter(|action| **action == wanted).count();
        let started = times("run_started");
        assert!(started == 1 || (started == 0 && self.status == "cancelled"), "{run}: {actions:?}");
        assert_eq!((times("run_finished"), actions.last()), (1, Some(&"run_finished")), "{run}: {actions:?}");
        assert!(self.events.is_sorted_by(|a, b| a.sequence < b.sequence), "{run}: {self:#?}");
        let mut steps = BTreeMap::<&str, Step>::new();
        for fact in &self.events {
            match fact.data["step"].as_str() {
                Some(step) => steps.entry(step).or_default().take(run, fact, step, ended),
                // What was under way is known to be lost, or it was no loss.
                None if fact.action == "run_recovered" => steps.values_mut().for_each(Step::lose),
                None => {}
            }
        }
        for (step, state) in &steps {
            assert!(state.end.is_some(), "{step} of {run} has no end: {self:#?}");
            let executed = executed.get(&(run.to_owned(), (*step).to_owned()));
            let last = executed.and_then(BTreeSet::last).copied().unwrap_or_default();
            assert!(last <= state.attempts, "attempt {last} of {step} of {run} was never recorded as begun");
        }
    }
}

/// What the events say about one step.
#[derive(Debug, Default)]
struct Step {
    attempts: u64,
    is_under_way: bool,
    /// Its owner is gone: it may be interrupted and nothing else.
    is_lost: bool,
    end: Option<String>,
}

impl Step {
    fn lose(&mut self) {
        self.is_lost = self.is_under_way;
    }

    fn take(&mut self, run: &str, fact: &Fact, step: &str, ended: &BTreeSet<Key>) {
        assert_eq!(self.end, None, "{step} of {run} has ended, and then {fact:?}");
        let attempt = fact.data["attempt"].as_u64().unwrap_or_default();
        match &*fact.action {
            "step_started" => {
                assert!(!self.is_under_way, "{step} of {run} is started twice: {fact:?}");
                assert_eq!(attempt, self.attempts + 1, "{step} of {run}: {fact:?}");
                *self = Step { attempts: attempt, is_under_way: true, ..Step::default() };
            }
            "step_interrupted" => (self.is_under_way, self.is_lost) = (false, false),
            "step_succeeded" => {
                assert!(!self.is_lost, "a stale write: {step} of {run}: {fact:?}");
                assert_eq!(attempt, self.attempts, "a stale write: {step} of {run}: {fact:?}");
                let key = (run.to_owned(), step.to_owned(), attempt);
                assert!(ended.contains(&key), "{step} of {run} succeeded without having ended: {fact:?}");
                self.end = Some("succeeded".to_owned());
            }
            "step_cancelled" | "step_skipped" | "step_blocked" => self.end = Some(fact.action.clone()),
            _ => panic!("{step} of {run}: {fact:?}"),
        }
    }
}
