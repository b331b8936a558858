//! Runs: telling them something, showing them.

use std::{sync::Arc, time::Duration};

use super::{
    Handoff, LaneCount, OwnError, World,
    history::KEPT,
    rest::{StepView, step_rows, step_views},
    sessions::by_lane,
    views::Views,
    why::{Circumstances, Silence, Why, why},
    workers::{Workers, WorkersError},
};
use crate::{
    engine::{Run, Step, Verdict},
    model::{RunId, RunStatus, TenantId},
    ports::{Page, RunFilter, RunRow, SignalKind, SignalRow, StoreError},
    runbook::Plan,
};

/// A run with its plan and its state.
#[derive(Debug, Clone)]
pub struct RunView {
    pub row: RunRow,
    pub plan: Arc<Plan>,
    pub run: Arc<Run>,
}

#[derive(Debug, thiserror::Error)]
pub enum RunsError {
    #[error("no run {0}")]
    NotFound(RunId),
    /// There is none, and one so old would have been removed.
    #[error("run {0} is not there any more")]
    Expired(RunId),
    #[error("run {run} has ended: {status}")]
    Ended { run: RunId, status: RunStatus },
    #[error("run {run} has no step `{step}`")]
    NoSuchStep { run: RunId, step: String },
    /// Only a step whose outcome is unknown is resolved.
    #[error("step `{step}` is {status}; only a step of unknown outcome is resolved")]
    NotHeld { step: String, status: &'static str },
    #[error(transparent)]
    Own(#[from] OwnError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The service over runs of one tenant. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Runs {
    pub(super) world: World,
    pub(super) tenant: TenantId,
    pub(super) handoff: Handoff,
    kept: Duration,
    views: Views,
}

impl Runs {
    pub fn new(world: World, tenant: TenantId) -> Runs {
        Runs { world, tenant, handoff: Handoff::default(), kept: KEPT, views: Views::default() }
    }

    /// Hands runs to lanes of this process where they have a free slot.
    #[must_use]
    pub fn hand_to(self, handoff: Handoff) -> Runs {
        Runs { handoff, ..self }
    }

    /// How long runs are kept after their end.
    #[must_use]
    pub fn kept_for(self, kept: Duration) -> Runs {
        Runs { kept, ..self }
    }

    /// The runs of a filter, newest first.
    pub async fn list(&self, filter: &RunFilter) -> Result<Page<RunRow>, RunsError> {
        Ok(self.world.store.runs(self.tenant, filter).await?)
    }

    /// What waits and runs in each lane, with the runs of it that the living workers execute at once.
    pub async fn lanes(&self) -> Result<Vec<(LaneCount, usize)>, RunsError> {
        let counts = by_lane(self.world.store.live_counts(self.tenant).await?.iter());
        let slots = Workers::new(self.world.store.clone(), self.tenant).slots().await?;
        Ok(counts.map(|count| (count, slots.get(&count.lane).copied().unwrap_or(0))).to_vec())
    }

    /// Why a run is where it is, with its row.
    pub async fn why(&self, run: RunId) -> Result<(RunRow, Why), RunsError> {
        let view = self.view(run).await?;
        let mut around = Circumstances::default();
        if view.row.status == RunStatus::Queued {
            let lanes = self.lanes().await?;
            let (count, slots) = lanes[view.row.lane as usize];
            let served = lanes.iter().filter(|(_, slots)| *slots > 0).map(|(count, _)| count.lane).collect();
            around = Circumstances {
                position: self.world.store.queue_position(run).await?,
                running_in_lane: count.running,
                slots,
                served,
                silent: None,
            };
        } else if let Some(worker) = view.row.claimed_by.filter(|_| view.row.status.is_owned()) {
            around.silent = match Workers::new(self.world.store.clone(), self.tenant).get(worker).await {
                Ok(found) => Silence::of(&found.state),
                Err(WorkersError::Store(error)) => return Err(error.into()),
                Err(_) => None,
            };
        }
        let why = why(&view, &around);
        Ok((view.row, why))
    }

    /// Asks a run to stop; works whether or not it has an owner.
    pub async fn cancel(&self, run: RunId, by: &str, reason: &str, force: bool) -> Result<(), RunsError> {
        self.signal(run, SignalKind::Cancel { by: by.to_owned(), reason: reason.to_owned(), force }).await.map(drop)
    }

    /// Says what became of a step whose outcome is unknown.
    pub async fn resolve(
        &self,
        run: RunId,
        step: &str,
        verdict: Verdict,
        by: &str,
        note: &str,
    ) -> Result<(), RunsError> {
        let view = self.view(run).await?;
        if view.row.status.is_ended() {
            return Err(RunsError::Ended { run, status: view.row.status });
        }
        let ix = view.plan.find(step).ok_or_else(|| RunsError::NoSuchStep { run, step: step.to_owned() })?;
        let state = view.run.step(ix).state;
        if state != Step::Unknown {
            return Err(RunsError::NotHeld { step: step.to_owned(), status: state.status().as_str() });
        }
        let (step, verdict) = (step.to_owned(), verdict.as_str().to_owned());
        self.signal(run, SignalKind::Resolve { step, verdict, by: by.to_owned(), note: note.to_owned() })
            .await
            .map(drop)
    }

    async fn signal(&self, run: RunId, kind: SignalKind) -> Result<SignalRow, RunsError> {
        let lane = self.row(run).await?.lane;
        match self.world.store.signal(run, &kind, self.world.clock.now()).await? {
            None => Err(RunsError::NotFound(run)),
            Some(Err(status)) => Err(RunsError::Ended { run, status }),
            Some(Ok(signal)) => {
                self.world.signals.ring(run);
                self.world.queue.ring(lane);
                Ok(signal)
            }
        }
    }

    /// Every step of the plan, in its order, as it stands now.
    ///
    /// Steps of a run that has ended come from the rows it left; nothing is folded for them.
    pub async fn steps(&self, run: RunId) -> Result<Vec<StepView>, RunsError> {
        let row = self.row(run).await?;
        let plan = self.world.plans.get(row.tenant, row.plan).await.map_err(OwnError::from)?;
        let rows = if row.status.is_ended() { self.world.store.steps(run).await? } else { Vec::new() };
        if rows.len() == plan.steps.len() {
            return Ok(step_views(&plan, rows));
        }
        let state = self.views.fold(&self.world, &row, &plan).await?;
        Ok(step_views(&plan, step_rows(&plan, &state)))
    }

    /// The run's row, in one read. A run of another tenant does not exist.
    pub async fn row(&self, run: RunId) -> Result<RunRow, RunsError> {
        let row = self.world.store.run(run).await?.filter(|row| row.tenant == self.tenant);
        row.ok_or_else(|| self.missing(run))
    }

    /// A run that is not there is one that never was, or one that was removed.
    fn missing(&self, run: RunId) -> RunsError {
        let created = run.0.get_timestamp().map(|at| at.to_unix());
        let created = created.map(|(seconds, nanos)| Duration::new(seconds, nanos));
        let now = Duration::from_micros(self.world.clock.now().0.max(0).unsigned_abs());
        match created {
            Some(created) if created + self.kept < now => RunsError::Expired(run),
            _ => RunsError::NotFound(run),
        }
    }

    /// The plan that a run executes.
    pub async fn plan(&self, row: &RunRow) -> Result<Arc<Plan>, OwnError> {
        Ok(self.world.plans.get(row.tenant, row.plan).await?)
    }

    /// The run as its committed events describe it.
    pub async fn view(&self, run: RunId) -> Result<RunView, RunsError> {
        let row = self.row(run).await?;
        let plan = self.world.plans.get(row.tenant, row.plan).await.map_err(OwnError::from)?;
        let run = self.views.fold(&self.world, &row, &plan).await?;
        Ok(RunView { row, plan, run })
    }
}
