//! What goes when it is old, in slices so small that nobody waits for them.
//!
//! A day after a run was archived its rows of events go; the archive has them. After [`Retention::runs`] the run goes,
//! with its artifacts and its archive: first the contents, then the rows, so that a crash between leaves rows, which
//! the next round removes.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio_util::sync::CancellationToken;

use super::{
    artifacts::delete_all,
    segments::{SegmentError, Segments},
};
use crate::{
    model::{Digest, Micros},
    ports::{ArchiveStore, ArtifactError, Artifacts, BundleError, Bundles, Clock, RunbookStore, Spool, StoreError},
};

/// How often to look.
const ROUND: Duration = Duration::from_mins(1);

/// Between two slices, so that whoever waits for the writer gets it.
const BREATH: Duration = Duration::from_millis(10);

/// Rows of events that go at once: about 2 ms.
const EVENTS: usize = 500;

/// How long the files of a runbook may be stored without anything that names them.
const NAMELESS: Duration = Duration::from_hours(1);

/// Bundles that are asked about at once.
const BUNDLES: usize = 500;

/// Runs that go at once.
const RUNS: usize = 16;

/// How long things are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Rows of events, after their run was archived.
    pub events: Duration,
    /// Runs, after they were archived.
    pub runs: Duration,
}

impl Default for Retention {
    fn default() -> Retention {
        Retention { events: Duration::from_hours(24), runs: super::KEPT }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum RetentionError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Artifacts(#[from] ArtifactError),
    #[error("the logs of a run: {0}")]
    Spool(#[from] std::io::Error),
    #[error(transparent)]
    Segments(#[from] SegmentError),
    #[error(transparent)]
    Bundles(#[from] BundleError),
}

/// The loop that removes what is old.
#[derive(Clone)]
pub struct Sweeper {
    retention: Retention,
    index: Arc<dyn ArchiveStore>,
    artifacts: Arc<dyn Artifacts>,
    spool: Arc<dyn Spool>,
    clock: Arc<dyn Clock>,
    segments: Segments,
    bundles: Option<(Arc<dyn RunbookStore>, Arc<dyn Bundles>)>,
    /// Bundles that had no name when they were looked at, and when that was.
    nameless: Arc<Mutex<(Micros, Vec<Digest>)>>,
}

impl std::fmt::Debug for Sweeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sweeper").field("retention", &self.retention).finish_non_exhaustive()
    }
}

impl Sweeper {
    pub fn new(
        retention: Retention,
        index: Arc<dyn ArchiveStore>,
        artifacts: Arc<dyn Artifacts>,
        spool: Arc<dyn Spool>,
        clock: Arc<dyn Clock>,
    ) -> Sweeper {
        Sweeper {
            retention,
            index,
            artifacts,
            spool,
            clock,
            segments: Segments::default(),
            bundles: None,
            nameless: Arc::default(),
        }
    }

    /// Removes segments of archived runs, too.
    #[must_use]
    pub fn with_segments(self, segments: Segments) -> Sweeper {
        Sweeper { segments, ..self }
    }

    /// Removes what is old, every minute, until `stop` fires.
    pub async fn run(self, stop: CancellationToken) {
        loop {
            match stop.run_until_cancelled(self.round()).await {
                None => return,
                Some(Ok(())) => {}
                Some(Err(error)) => {
                    tracing::warn!(%error, "what is old could not be removed; the next round tries again");
                }
            }
            if stop.run_until_cancelled(tokio::time::sleep(ROUND)).await.is_none() {
                return;
            }
        }
    }

    /// Removes the files of runbooks that belong to nothing any more, too.
    #[must_use]
    pub fn with_bundles(self, runbooks: Arc<dyn RunbookStore>, bundles: Arc<dyn Bundles>) -> Sweeper {
        Sweeper { bundles: Some((runbooks, bundles)), ..self }
    }

    /// Removes everything that is old now.
    pub async fn round(&self) -> Result<(), RetentionError> {
        while self.index.trim_events(self.before(self.retention.events), EVENTS).await? {
            tokio::time::sleep(BREATH).await;
        }
        while self.delete_runs().await? {
            tokio::time::sleep(BREATH).await;
        }
        while self.delete_packs().await? {
            tokio::time::sleep(BREATH).await;
        }
        self.segments.sweep(&*self.clock).await?;
        self.forget_bundles().await
    }

    /// Files are stored a moment before the version, or the plan, that names them: what has no name now and had none
    /// an hour ago goes.
    async fn forget_bundles(&self) -> Result<(), RetentionError> {
        let Some((runbooks, bundles)) = &self.bundles else { return Ok(()) };
        let now = self.clock.now();
        let (looked, before) = self.nameless.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if now.since(looked) < NAMELESS {
            return Ok(());
        }
        let mut nameless = Vec::new();
        for known in bundles.stored().await?.chunks(BUNDLES) {
            nameless.extend(runbooks.unnamed_bundles(known).await?);
        }
        let (gone, waiting): (Vec<Digest>, Vec<Digest>) = nameless.into_iter().partition(|one| before.contains(one));
        for bundle in gone {
            bundles.remove(bundle).await?;
        }
        *self.nameless.lock().unwrap_or_else(PoisonError::into_inner) = (now, waiting);
        Ok(())
    }

    fn before(&self, age: Duration) -> Micros {
        let age = i64::try_from(age.as_micros()).unwrap_or(i64::MAX);
        Micros(self.clock.now().0.saturating_sub(age))
    }

    async fn delete_runs(&self) -> Result<bool, RetentionError> {
        let runs = self.index.expired(self.before(self.retention.runs), RUNS).await?;
        for run in &runs {
            // The rows go all the same: what cannot be removed must not keep everything after it.
            if let Err(error) = delete_all(&*self.artifacts, *run).await {
                tracing::warn!(%run, %error, "artifacts of an old run could not be removed");
            }
            if let Err(error) = self.spool.remove(*run) {
                tracing::warn!(%run, %error, "logs of an old run could not be removed");
            }
        }
        if !runs.is_empty() {
            self.index.delete_runs(&runs).await?;
        }
        Ok(!runs.is_empty())
    }

    async fn delete_packs(&self) -> Result<bool, RetentionError> {
        let packs = self.index.unused_packs(RUNS).await?;
        for pack in &packs {
            self.artifacts.delete(pack).await?;
        }
        if !packs.is_empty() {
            self.index.forget_packs(&packs).await?;
        }
        Ok(!packs.is_empty())
    }
}
