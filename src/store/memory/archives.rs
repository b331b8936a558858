//! Archives of runs.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;

use super::MemoryStore;
use crate::{
    model::{Micros, RunId},
    ports::{ArchiveRow, ArchiveStore, EVENT_BYTES, EndedRun, StoreError, StoredEvent},
};

/// What is archived.
#[derive(Debug, Default)]
pub(super) struct Archives {
    rows: BTreeMap<RunId, ArchiveRow>,
    trimmed: BTreeSet<RunId>,
    packs: Vec<String>,
}

impl Archives {
    /// Archives that were made before `before`, oldest first.
    fn older(&self, before: Micros, trimmed: bool) -> Vec<RunId> {
        let is_meant = |row: &&ArchiveRow| row.at < before && self.trimmed.contains(&row.run) == trimmed;
        let mut rows: Vec<&ArchiveRow> = self.rows.values().filter(is_meant).collect();
        rows.sort_by_key(|row| row.at);
        rows.into_iter().map(|row| row.run).collect()
    }

    pub(super) fn has(&self, run: RunId) -> bool {
        self.rows.contains_key(&run)
    }

    fn is_used(&self, pack: &str) -> bool {
        self.rows.values().any(|row| row.artifact == pack)
    }
}

#[async_trait]
impl ArchiveStore for MemoryStore {
    async fn unarchived(&self, limit: usize) -> Result<Vec<EndedRun>, StoreError> {
        let state = self.state();
        let mut ended: Vec<EndedRun> = state
            .all()
            .filter(|run| !state.archives.rows.contains_key(&run.row.id))
            .filter_map(|run| {
                let (row, ended_at) = (&run.row, run.row.ended_at?);
                Some(EndedRun { run: row.id, tenant: row.tenant, ended_at, sequence_head: row.sequence_head })
            })
            .collect();
        ended.sort_by_key(|run| run.ended_at);
        ended.truncate(limit);
        Ok(ended)
    }

    async fn events_of(&self, runs: &[RunId], limit: usize) -> Result<Vec<(RunId, Vec<StoredEvent>)>, StoreError> {
        let state = self.state();
        let (mut answer, mut left, mut bytes) = (Vec::new(), limit, 0);
        for run in runs {
            let events = state.run(*run).map(|run| run.events_after(0, usize::MAX)).unwrap_or_default();
            bytes += events.iter().map(|event| event.data.to_string().len()).sum::<usize>();
            if events.len() >= left || i64::try_from(bytes).is_ok_and(|bytes| bytes >= EVENT_BYTES) {
                break;
            }
            left -= events.len();
            answer.push((*run, events));
        }
        Ok(answer)
    }

    async fn record_archives(&self, archives: &[ArchiveRow]) -> Result<(), StoreError> {
        let mut state = self.state();
        for row in archives {
            if !state.archives.packs.contains(&row.artifact) {
                state.archives.packs.push(row.artifact.clone());
            }
            if state.run(row.run).is_some_and(|run| run.row.status.is_ended()) {
                state.archives.rows.entry(row.run).or_insert_with(|| row.clone());
            }
        }
        Ok(())
    }

    async fn archive(&self, run: RunId) -> Result<Option<ArchiveRow>, StoreError> {
        Ok(self.state().archives.rows.get(&run).cloned())
    }

    async fn settled(&self, runs: &[RunId]) -> Result<Vec<RunId>, StoreError> {
        let state = self.state();
        let is_settled = |run: &RunId| state.run(*run).is_none() || state.archives.rows.contains_key(run);
        Ok(runs.iter().copied().filter(is_settled).collect())
    }

    async fn trim_events(&self, before: Micros, limit: usize) -> Result<bool, StoreError> {
        let mut state = self.state();
        let mut left = limit;
        for run in state.archives.older(before, false) {
            left -= state.run_mut(run).map_or(0, |run| run.trim_events(left));
            if left == 0 {
                return Ok(true);
            }
            state.archives.trimmed.insert(run);
        }
        Ok(false)
    }

    async fn expired(&self, before: Micros, limit: usize) -> Result<Vec<RunId>, StoreError> {
        let mut runs = self.state().archives.older(before, true);
        runs.truncate(limit);
        Ok(runs)
    }

    async fn delete_runs(&self, runs: &[RunId]) -> Result<(), StoreError> {
        let mut state = self.state();
        for run in runs {
            if state.remove_ended(*run) {
                state.archives.rows.remove(run);
                state.archives.trimmed.remove(run);
                state.artifacts.remove(*run);
                state.segments.remove(*run);
            }
        }
        Ok(())
    }

    async fn unused_packs(&self, limit: usize) -> Result<Vec<String>, StoreError> {
        let archives = &self.state().archives;
        Ok(archives.packs.iter().filter(|pack| !archives.is_used(pack)).take(limit).cloned().collect())
    }

    async fn unknown_packs(&self, artifacts: &[String]) -> Result<Vec<String>, StoreError> {
        let archives = &self.state().archives;
        Ok(artifacts.iter().filter(|artifact| !archives.packs.contains(artifact)).cloned().collect())
    }

    async fn forget_packs(&self, artifacts: &[String]) -> Result<(), StoreError> {
        let archives = &mut self.state().archives;
        let unused: Vec<String> = artifacts.iter().filter(|pack| !archives.is_used(pack)).cloned().collect();
        archives.packs.retain(|pack| !unused.contains(pack));
        Ok(())
    }
}
