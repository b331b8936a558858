//! Where chunks are.

use std::collections::BTreeMap;

use async_trait::async_trait;

use super::{MemoryStore, state::State};
use crate::{
    model::RunId,
    ports::{SegmentRow, SegmentStore, StoreError},
};

/// By run and first sequence.
#[derive(Debug, Default)]
pub(super) struct Segments(BTreeMap<(RunId, u64), SegmentRow>);

impl Segments {
    pub(super) fn remove(&mut self, run: RunId) {
        self.0.retain(|(of, _), _| *of != run);
    }
}

fn is_used(state: &State, artifact: &str) -> bool {
    state.segments.0.values().any(|row| row.artifact == artifact && !state.archives.has(row.run))
}

#[async_trait]
impl SegmentStore for MemoryStore {
    async fn put_segments(&self, segments: &[SegmentRow]) -> Result<(), StoreError> {
        let mut state = self.state();
        for row in segments {
            if state.run(row.run).is_some() && !state.archives.has(row.run) {
                state.segments.0.entry((row.run, row.first_sequence)).or_insert_with(|| row.clone());
            }
        }
        Ok(())
    }

    async fn segments(&self, run: RunId, after: u64, limit: usize) -> Result<Vec<SegmentRow>, StoreError> {
        let state = self.state();
        let of_run = state.segments.0.range((run, 0)..=(run, u64::MAX)).map(|(_, row)| row);
        Ok(of_run.filter(|row| row.last_sequence > after).take(limit).cloned().collect())
    }

    async fn unused_segments(&self, limit: usize) -> Result<Vec<String>, StoreError> {
        let state = self.state();
        let mut files: Vec<String> = state.segments.0.values().map(|row| row.artifact.clone()).collect();
        files.sort();
        files.dedup();
        files.retain(|file| !is_used(&state, file));
        files.truncate(limit);
        Ok(files)
    }

    async fn unknown_segments(&self, artifacts: &[String]) -> Result<Vec<String>, StoreError> {
        let state = self.state();
        let is_known = |artifact: &&String| state.segments.0.values().any(|row| row.artifact == **artifact);
        Ok(artifacts.iter().filter(|artifact| !is_known(artifact)).cloned().collect())
    }

    async fn forget_segments(&self, artifacts: &[String]) -> Result<(), StoreError> {
        let mut state = self.state();
        let unused: Vec<&String> = artifacts.iter().filter(|file| !is_used(&state, file)).collect();
        state.segments.0.retain(|_, row| !unused.contains(&&row.artifact));
        Ok(())
    }
}
