//! Runs: creating them, telling them something, showing them.

use std::{collections::BTreeSet, sync::Arc};

use serde_json::{Map, Value, json};
use tokio_util::task::TaskTracker;

use super::{
    Handoff, OwnError, World,
    handoff::Passage,
    rest::{StepView, step_rows, step_views},
    views::Views,
};
use crate::{
    engine::{Run, Step, Verdict},
    model::{Category, Digest, Event, EventKind, Lane, RunId, RunStatus, TenantId, WorkerId},
    ports::{Feed, NewRun, RunRow, SignalKind, SignalRow, StoreError, Trigger},
    runbook::Plan,
};

/// A run to be started: a compiled runbook and bound params.
#[derive(Debug, Clone)]
pub struct Submission {
    pub plan: Arc<Plan>,
    /// The runbook's text, kept with the plan.
    pub source: Arc<str>,
    pub params: Map<String, Value>,
    pub trigger: Trigger,
}

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
    world: World,
    tenant: TenantId,
    handoff: Handoff,
    views: Views,
}

impl Runs {
    pub fn new(world: World, tenant: TenantId) -> Runs {
        Runs { world, tenant, handoff: Handoff::default(), views: Views::default() }
    }

    /// Hands runs to lanes of this process where they have a free slot.
    #[must_use]
    pub fn hand_to(self, handoff: Handoff) -> Runs {
        Runs { handoff, ..self }
    }

    /// Creates runs, all or none, and rings their lanes. With `claimed_by` they are born claimed by that
    /// worker and nobody else gets them.
    pub async fn submit(
        &self,
        submissions: &[Submission],
        claimed_by: Option<WorkerId>,
    ) -> Result<Vec<RunId>, StoreError> {
        let mut runs = Vec::with_capacity(submissions.len());
        let mut passages = Vec::new();
        for submission in submissions {
            let digest = self.world.plans.put(self.tenant, &submission.plan, &submission.source).await?;
            let mut run = self.new_run(submission, digest, claimed_by);
            if claimed_by.is_none() {
                passages.extend(self.handoff.take(&mut run, &submission.plan));
            }
            runs.push(run);
        }
        let runs = if passages.is_empty() {
            self.world.store.create_runs(&runs).await?;
            announce(&*self.world.feed, self.tenant, &runs);
            runs
        } else {
            self.create_and_hand_over(runs, passages).await?
        };
        let queued: BTreeSet<Lane> = runs.iter().filter(|run| run.claimed_by.is_none()).map(|run| run.lane).collect();
        for lane in queued {
            self.world.queue.ring(lane);
        }
        Ok(runs.into_iter().map(|run| run.id).collect())
    }

    /// In a task of its own: a caller that goes away must not leave runs that are created and in nobody's hands.
    async fn create_and_hand_over(&self, runs: Vec<NewRun>, passages: Vec<Passage>) -> Result<Vec<NewRun>, StoreError> {
        let (store, feed, tenant) = (self.world.store.clone(), self.world.feed.clone(), self.tenant);
        let task = TaskTracker::new().spawn(async move {
            store.create_runs(&runs).await?;
            announce(&*feed, tenant, &runs);
            for passage in passages {
                passage.hand_over();
            }
            Ok(runs)
        });
        task.await.unwrap_or_else(|error| Err(StoreError::Unavailable(format!("the submission panicked: {error}"))))
    }

    fn new_run(&self, submission: &Submission, plan: Digest, claimed_by: Option<WorkerId>) -> NewRun {
        NewRun {
            id: self.world.ids.run_id(),
            tenant: self.tenant,
            runbook: submission.plan.name.as_str().into(),
            plan,
            lane: submission.plan.lane,
            priority: submission.plan.priority,
            labels: submission.plan.labels.clone(),
            params: submission.params.clone(),
            trigger: submission.trigger.clone(),
            steps_total: u32::try_from(submission.plan.steps.len()).unwrap_or(u32::MAX),
            created_at: self.world.clock.now(),
            claimed_by,
            opening: Vec::new(),
        }
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

    /// A run of another tenant does not exist.
    async fn row(&self, run: RunId) -> Result<RunRow, RunsError> {
        let row = self.world.store.run(run).await?.filter(|row| row.tenant == self.tenant);
        row.ok_or(RunsError::NotFound(run))
    }

    /// The run as its committed events describe it.
    pub async fn view(&self, run: RunId) -> Result<RunView, RunsError> {
        let row = self.row(run).await?;
        let plan = self.world.plans.get(row.tenant, row.plan).await.map_err(OwnError::from)?;
        let run = self.views.fold(&self.world, &row, &plan).await?;
        Ok(RunView { row, plan, run })
    }
}

/// Tells readers of all runs what there is now. A run that another lane was quick to claim may have begun already.
fn announce(feed: &dyn Feed, tenant: TenantId, runs: &[NewRun]) {
    if feed.is_watched(tenant) {
        let events: Vec<Arc<Event>> = runs.iter().map(|run| Arc::new(created(run))).collect();
        feed.announce(tenant, &events);
    }
}

/// What readers of all runs are told of a new one. It is not in the run's own events: the row says the same.
fn created(run: &NewRun) -> Event {
    let data = json!({
        "runbook": &*run.runbook,
        "status": run.birth().status.as_str(),
        "lane": run.lane.as_str(),
        "priority": run.priority,
        "trigger": { "kind": run.trigger.kind, "actor": run.trigger.actor },
        "steps_total": run.steps_total,
    });
    Event {
        run_id: run.id,
        timestamp: run.created_at,
        sequence: 0,
        prev: 0,
        source: None,
        event: EventKind { category: Category::Lifecycle, action: "run_created".to_owned() },
        data,
    }
}
