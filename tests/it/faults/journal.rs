//! What the steps themselves wrote down, held against what was recorded about them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    path::PathBuf,
};

use serde_json::Value;

use crate::cli::world::World;

/// Three branches, in each of which every kind of step comes once.
pub const STEPS: [(&str, &str); 9] = [
    ("idempotent_1", ""),
    ("fails_1", "idempotent_1"),
    ("held_1", "fails_1"),
    ("fails_2", ""),
    ("held_2", "fails_2"),
    ("idempotent_2", "held_2"),
    ("held_3", ""),
    ("idempotent_3", "held_3"),
    ("fails_3", "idempotent_3"),
];

/// Run, step, attempt.
type Key = (String, String, u64);

/// Two files that steps append to: when they begin and when they end.
pub struct Journal {
    begun: PathBuf,
    ended: PathBuf,
}

impl Journal {
    /// Writes `kills.yaml`, whose steps keep the journal.
    pub fn new(world: &World) -> Journal {
        let journal = Journal { begun: world.path("begun"), ended: world.path("ended") };
        let line = "printf '%s %s %s\\n' \"$OPSROOM_RUN_ID\" \"$OPSROOM_STEP\" \"$OPSROOM_ATTEMPT\"";
        let (begun, ended) = (journal.begun.display(), journal.ended.display());
        let script = world.path("work.sh");
        std::fs::write(
            &script,
            format!("{line} >> '{begun}'\necho begun\nsleep 0.1\necho ended\n{line} >> '{ended}'\n"),
        )
        .unwrap();
        let mut body = "steps:\n".to_owned();
        for (step, needs) in STEPS {
            let effect = match kind(step) {
                "idempotent" => "effect: idempotent",
                "fails" => "effect: at_most_once, on_unknown: fail, continue_on_error: true",
                _ => "effect: at_most_once, on_unknown: hold",
            };
            writeln!(body, "  - {{id: {step}, needs: [{needs}], {effect}, run: [sh, '{}']}}", script.display())
                .unwrap();
        }
        world.runbook("kills", &body);
        journal
    }

    /// How many runs have begun a step.
    pub fn runs(&self) -> usize {
        read(&self.begun).into_iter().map(|(run, ..)| run).collect::<BTreeSet<_>>().len()
    }

    /// How many attempts came to their end.
    pub fn ends(&self) -> usize {
        std::fs::read_to_string(&self.ended).unwrap_or_default().lines().count()
    }

    /// Holds every run against its journal; says what there was.
    pub fn check(&self, world: &World) -> String {
        let begun = unique(read(&self.begun));
        let ended = unique(read(&self.ended));
        let page = world.json(["runs", "--limit", "10000"]);
        let mut counts = BTreeMap::<String, usize>::new();
        for run in page["items"].as_array().unwrap() {
            let status = run["status"].as_str().unwrap();
            assert!(["succeeded", "failed"].contains(&status), "has not ended as it should: {run}");
            *counts.entry(status.to_owned()).or_default() += 1;
            let given_up = Record::new(world, run["id"].as_str().unwrap()).check(&begun, &ended);
            *counts.entry("given up".to_owned()).or_default() += usize::from(given_up);
        }
        let recorded: BTreeSet<&str> =
            page["items"].as_array().unwrap().iter().filter_map(|run| run["id"].as_str()).collect();
        assert!(begun.iter().all(|(run, ..)| recorded.contains(run.as_str())), "a step of a run that is not recorded");
        format!("{counts:?}, {} attempts begun, each once", begun.len())
    }
}

fn kind(step: &str) -> &str {
    step.split_once('_').unwrap().0
}

fn read(file: &PathBuf) -> Vec<Key> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let line = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let [run, step, attempt] = words[..] else { panic!("a torn line: {line}") };
        (run.to_owned(), step.to_owned(), attempt.parse().unwrap())
    };
    // A line is written at once, so only whole ones are there.
    text.lines().map(line).collect()
}

fn unique(lines: Vec<Key>) -> BTreeSet<Key> {
    let count = lines.len();
    let set: BTreeSet<Key> = lines.into_iter().collect();
    assert_eq!(set.len(), count, "an attempt was executed twice");
    set
}

/// What is recorded of one run.
struct Record {
    run: String,
    events: Vec<Value>,
    shown: Value,
}

impl Record {
    fn new(world: &World, run: &str) -> Record {
        let events = world.ends(["events", run, "--output", "json"]);
        let events = events.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        Record { run: run.to_owned(), events, shown: world.json(["show", run]) }
    }

    /// Whether the run was given up because its process died too often.
    fn check(&self, begun: &BTreeSet<Key>, ended: &BTreeSet<Key>) -> bool {
        self.check_order();
        let actions: Vec<&str> = self.events.iter().map(action).collect();
        assert_eq!(actions.iter().filter(|action| **action == "run_finished").count(), 1, "{actions:?}");
        assert_eq!(actions.last(), Some(&"run_finished"));
        assert_eq!(actions.iter().filter(|action| **action == "run_started").count(), 1, "{actions:?}");
        for (step, _) in STEPS {
            self.check_step(step, begun, ended);
        }
        actions.contains(&"run_given_up")
    }

    /// Sequences rise, and where one is missing it was a chunk that died with its process on the way to the
    /// spool, so that a recovery follows; the events say so by their `prev`.
    fn check_order(&self) {
        let (mut last, mut recovery_owed) = (0, None);
        for event in &self.events {
            let (sequence, prev) = (event["sequence"].as_u64().unwrap(), event["prev"].as_u64().unwrap());
            assert!(sequence > last, "out of order after {last}: {event}");
            if prev > last {
                recovery_owed = Some(event);
            }
            if action(event) == "run_recovered" {
                recovery_owed = None;
            }
            last = sequence;
        }
        assert_eq!(recovery_owed, None, "something before it is missing");
    }

    fn check_step(&self, step: &str, begun: &BTreeSet<Key>, ended: &BTreeSet<Key>) {
        let mut story = Story::default();
        let key = |attempt| (self.run.clone(), step.to_owned(), attempt);
        for event in self.events.iter().filter(|event| event["data"]["step"] == step && action(event) != "log") {
            assert_eq!(story.end, None, "step {step} has ended, and then {event}");
            let attempt = event["data"]["attempt"].as_u64().unwrap_or_default();
            match action(event) {
                "step_started" => {
                    assert_eq!(attempt, story.attempts + 1, "a gap: {event}");
                    assert!(attempt == 1 || story.may_repeat, "{step} of {} is repeated: {event}", self.run);
                    story = Story { attempts: attempt, ..Story::default() };
                }
                // Only what may be repeated may be lost without anybody being asked.
                "step_interrupted" => story.may_repeat = kind(step) == "idempotent",
                "step_unknown" => {}
                "step_resolved" if event["data"]["verdict"] == "retry" => story.may_repeat = kind(step) == "held",
                "step_resolved" => story.has_word = true,
                "step_succeeded" => {
                    assert!(story.has_word || ended.contains(&key(attempt)), "succeeded without having ended: {event}");
                    story.end = Some("succeeded");
                }
                "step_failed" => story.end = Some("failed"),
                "step_blocked" => story.end = Some("blocked"),
                "step_cancelled" => story.end = Some("cancelled"),
                other => panic!("{other}: {event}"),
            }
        }
        let shown = self.shown["steps"].as_array().unwrap().iter().find(|shown| shown["id"] == step).unwrap();
        assert_eq!(shown["status"].as_str(), story.end, "{step} of {}", self.run);
        assert_eq!(shown["attempts"], story.attempts, "{step} of {}", self.run);
        let executed = begun.iter().filter(|(run, of, _)| *run == self.run && of == step);
        for (.., attempt) in executed {
            assert!((1..=story.attempts).contains(attempt), "attempt {attempt} of {step} was never recorded as begun");
        }
    }
}

/// What the log says about one step.
#[derive(Default)]
struct Story<'a> {
    attempts: u64,
    /// Whether another attempt would be right.
    may_repeat: bool,
    /// A person has said how it ended.
    has_word: bool,
    end: Option<&'a str>,
}

fn action(event: &Value) -> &str {
    event["event"]["action"].as_str().unwrap()
}
