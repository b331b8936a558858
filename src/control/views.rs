//! Folded runs that were looked at lately: looking again reads only what has happened since.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use serde_json::Value;

use super::{OwnError, World, taking_up};
use crate::{
    engine::Run,
    model::RunId,
    ports::{RunRow, StoredEvent},
    runbook::Plan,
};

/// Runs that are kept.
const RUNS: usize = 256;

/// What all of them may weigh, in bytes of facts as a guess of what they hold.
const BYTES: usize = 64 << 20;

/// The runs, the latest last. Cheap to clone; clones share.
#[derive(Debug, Clone, Default)]
pub(super) struct Views {
    kept: Arc<Mutex<Kept>>,
}

#[derive(Debug, Default)]
struct Kept {
    runs: HashMap<RunId, Folded>,
    bytes: usize,
    /// Counts looks, to know the one that is longest ago.
    looks: u64,
}

#[derive(Debug, Clone)]
struct Folded {
    run: Arc<Run>,
    /// Every fact up to this sequence is in it.
    until: u64,
    bytes: usize,
    looked: u64,
}

impl Views {
    /// The run as its facts describe it, up to the row's head; further, if somebody else has looked since.
    pub(super) async fn fold(&self, world: &World, row: &RunRow, plan: &Plan) -> Result<Arc<Run>, OwnError> {
        let mut folded = self.find(row.id).unwrap_or_else(|| Folded {
            run: Arc::new(taking_up::unborn(row, plan)),
            until: 0,
            bytes: plan.steps.len() * size_of::<crate::engine::StepRecord>(),
            looked: 0,
        });
        if folded.until < row.sequence_head {
            let run = Arc::make_mut(&mut folded.run);
            let bytes = &mut folded.bytes;
            taking_up::fold(world, row, plan, run, folded.until, |fact| *bytes += weight(fact)).await?;
            folded.until = row.sequence_head;
        }
        let run = folded.run.clone();
        self.keep(row.id, folded);
        Ok(run)
    }

    fn find(&self, run: RunId) -> Option<Folded> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).runs.get(&run).cloned()
    }

    fn keep(&self, run: RunId, folded: Folded) {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).keep(run, folded);
    }
}

impl Kept {
    fn keep(&mut self, run: RunId, folded: Folded) {
        self.looks += 1;
        let known = self.runs.get(&run);
        if known.is_some_and(|known| known.until > folded.until) {
            // Somebody else has read further in the meantime.
            return;
        }
        self.bytes = self.bytes + folded.bytes - known.map_or(0, |known| known.bytes);
        self.runs.insert(run, Folded { looked: self.looks, ..folded });
        while self.runs.len() > RUNS || self.bytes > BYTES {
            let Some(oldest) = self.runs.iter().min_by_key(|(_, kept)| kept.looked).map(|(run, _)| *run) else {
                return;
            };
            self.bytes -= self.runs.remove(&oldest).map_or(0, |gone| gone.bytes);
        }
    }
}

/// About how much memory the fact's data holds. Outputs and messages are what counts.
fn weight(fact: &StoredEvent) -> usize {
    fn of(value: &Value) -> usize {
        match value {
            Value::String(text) => text.len() + 32,
            Value::Array(items) => items.iter().map(of).sum::<usize>() + 32,
            Value::Object(map) => map.iter().map(|(key, value)| key.len() + of(value) + 64).sum::<usize>() + 32,
            _ => 32,
        }
    }
    of(&fact.data)
}

#[cfg(test)]
mod tests {
    use serde_json::Map;
    use uuid::Uuid;

    use super::*;

    fn folded(until: u64, bytes: usize) -> Folded {
        let plan = Plan::new("test", Vec::new());
        let run = Run::new(&plan, RunId(Uuid::nil()), Arc::new(Map::new()));
        Folded { run: Arc::new(run), until, bytes, looked: 0 }
    }

    fn run(number: usize) -> RunId {
        RunId(Uuid::from_u128(number as u128))
    }

    #[test]
    fn the_longest_unseen_goes_first_by_count_and_by_weight() {
        let mut kept = Kept::default();
        for number in 0..RUNS {
            kept.keep(run(number), folded(1, 10));
        }
        kept.keep(run(0), folded(2, 20));
        kept.keep(run(RUNS), folded(1, 10));
        assert!(kept.runs.contains_key(&run(0)) && !kept.runs.contains_key(&run(1)));
        assert_eq!((kept.runs.len(), kept.bytes), (RUNS, RUNS * 10 + 10));
        kept.keep(run(7), folded(2, BYTES - 5));
        assert_eq!((kept.runs.len(), kept.bytes), (1, BYTES - 5));
        kept.keep(run(8), folded(1, BYTES + 1));
        assert_eq!((kept.runs.len(), kept.bytes), (0, 0), "what alone is too much is not kept");
    }

    #[test]
    fn whoever_read_less_does_not_undo_what_others_have_read() {
        let mut kept = Kept::default();
        kept.keep(run(1), folded(9, 10));
        kept.keep(run(1), folded(3, 5));
        assert_eq!((kept.runs[&run(1)].until, kept.bytes), (9, 10));
    }
}
