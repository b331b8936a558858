//! Creating runs.

use std::{collections::BTreeSet, fmt, sync::Arc};

use serde_json::{Map, Value, json};
use tokio_util::task::TaskTracker;

use super::{Runs, handoff::Passage};
use crate::{
    model::{Category, Digest, Event, EventKind, Lane, RunId, SessionId, TenantId, WorkerId},
    ports::{Creation, Feed, Idempotency, IdempotentAnswer, NewRun, RunRow, Store, StoreError, Trigger},
    runbook::Plan,
};

/// A run to be started: a compiled runbook and bound params.
#[derive(Debug, Clone)]
pub struct Submission {
    pub plan: Arc<Plan>,
    /// The runbook's text, kept with the plan; not looked at if the plan is stored already.
    pub source: Arc<str>,
    pub params: Map<String, Value>,
    pub trigger: Trigger,
    pub wishes: Wishes,
}

/// What a submission says besides its runbook.
#[derive(Debug, Clone, Default)]
pub struct Wishes {
    /// The version of the stored runbook that the plan is of; the plan is stored with it already.
    pub version: Option<StoredVersion>,
    pub session: Option<SessionId>,
    /// In place of the runbook's.
    pub lane: Option<Lane>,
    pub priority: Option<i32>,
    /// Besides the runbook's; the same name replaces.
    pub labels: Map<String, Value>,
}

/// A version of a stored runbook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredVersion {
    pub number: u32,
    /// The digest of its plan.
    pub plan: Digest,
}

/// Makes the status and body of an answer out of the runs as they are born.
pub type Answer<'a> = dyn Fn(&[RunRow]) -> (u16, Vec<u8>) + Send + Sync + 'a;

/// A key that makes a submission happen once.
pub struct Once<'a> {
    pub key: String,
    /// Of the whole request.
    pub request: Digest,
    /// The answer, which is kept with the runs.
    pub answer: &'a Answer<'a>,
}

impl fmt::Debug for Once<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Once").field("key", &self.key).finish_non_exhaustive()
    }
}

/// What became of a submission.
#[derive(Debug)]
pub enum Submitted {
    /// The runs as they were born, in the order given.
    Created(Vec<RunRow>),
    /// The same request came before: this was its answer.
    Replayed(IdempotentAnswer),
}

/// Why nothing was submitted.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    #[error("the idempotency key was used before, for another request")]
    KeyReused,
    #[error("no session {0}")]
    NoSession(SessionId),
    #[error("session {0} is archived and takes no runs")]
    SessionArchived(SessionId),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl SubmitError {
    /// The refusal in the answer of a store, if it is one.
    pub(super) fn check(creation: Creation) -> Result<Option<IdempotentAnswer>, SubmitError> {
        match creation {
            Creation::Created => Ok(None),
            Creation::Replayed(answer) => Ok(Some(answer)),
            Creation::Mismatched => Err(SubmitError::KeyReused),
            Creation::NoSession(session) => Err(SubmitError::NoSession(session)),
            Creation::SessionArchived(session) => Err(SubmitError::SessionArchived(session)),
        }
    }
}

impl Runs {
    /// Creates runs, all or none, and rings their lanes. With `claimed_by` they are born claimed by that
    /// worker and nobody else gets them.
    pub async fn submit(
        &self,
        submissions: &[Submission],
        claimed_by: Option<WorkerId>,
    ) -> Result<Vec<RunId>, SubmitError> {
        let (runs, passages) = self.new_runs(submissions, claimed_by).await?;
        let ids = runs.iter().map(|run| run.id).collect();
        self.create(runs, passages, None).await?;
        Ok(ids)
    }

    /// Creates runs as [`Runs::submit`] does; with a key, once for each key.
    pub async fn submit_once(
        &self,
        submissions: &[Submission],
        once: Option<&Once<'_>>,
    ) -> Result<Submitted, SubmitError> {
        let (runs, passages) = self.new_runs(submissions, None).await?;
        let rows: Vec<RunRow> = runs.iter().map(NewRun::row).collect();
        let idempotency = once.map(|once| self.idempotency(once, &rows));
        match self.create(runs, passages, idempotency).await? {
            Some(answer) => Ok(Submitted::Replayed(answer)),
            None => Ok(Submitted::Created(rows)),
        }
    }

    fn idempotency(&self, once: &Once<'_>, rows: &[RunRow]) -> Idempotency {
        let (status, body) = (once.answer)(rows);
        let created_at = self.world.clock.now();
        let answer = IdempotentAnswer { request: once.request, status, body, created_at };
        Idempotency { tenant: self.tenant, key: once.key.clone(), answer }
    }

    /// The runs of submissions, and the ways of those that this process can take at once.
    async fn new_runs(
        &self,
        submissions: &[Submission],
        claimed_by: Option<WorkerId>,
    ) -> Result<(Vec<NewRun>, Vec<Passage>), StoreError> {
        let mut runs = Vec::with_capacity(submissions.len());
        let mut passages = Vec::new();
        // Batches are mostly of one runbook; its plan is digested once.
        let mut known: Option<(&Arc<Plan>, Digest)> = None;
        for submission in submissions {
            let digest = match (submission.wishes.version, known) {
                (Some(version), _) => version.plan,
                (None, Some((plan, digest))) if Arc::ptr_eq(plan, &submission.plan) => digest,
                _ => self.world.plans.put(self.tenant, &submission.plan, &submission.source).await?,
            };
            known = Some((&submission.plan, digest));
            let mut run = self.new_run(submission, digest, claimed_by);
            if claimed_by.is_none() {
                passages.extend(self.handoff.take(&mut run, &submission.plan));
            }
            runs.push(run);
        }
        Ok((runs, passages))
    }

    /// Answers what an earlier request with the same key was answered, if there was one.
    async fn create(
        &self,
        runs: Vec<NewRun>,
        passages: Vec<Passage>,
        idempotency: Option<Idempotency>,
    ) -> Result<Option<IdempotentAnswer>, SubmitError> {
        let queued: BTreeSet<Lane> = runs.iter().filter(|run| run.claimed_by.is_none()).map(|run| run.lane).collect();
        let (store, feed, tenant) = (self.world.store.clone(), self.world.feed.clone(), self.tenant);
        let work = async move { create(&*store, &*feed, tenant, runs, idempotency).await };
        let replayed = if passages.is_empty() {
            work.await?
        } else {
            // In a task of its own: a caller that goes away must not leave runs that are created and in nobody's
            // hands.
            let task = TaskTracker::new().spawn(async move {
                let replayed = work.await?;
                if replayed.is_none() {
                    passages.into_iter().for_each(Passage::hand_over);
                }
                Ok::<_, SubmitError>(replayed)
            });
            let panicked = |error| StoreError::Unavailable(format!("the submission panicked: {error}"));
            task.await.map_err(panicked)??
        };
        if replayed.is_none() {
            for lane in queued {
                self.world.queue.ring(lane);
            }
        }
        Ok(replayed)
    }

    fn new_run(&self, submission: &Submission, plan: Digest, claimed_by: Option<WorkerId>) -> NewRun {
        let wishes = &submission.wishes;
        let mut labels = submission.plan.labels.clone();
        labels.extend(wishes.labels.iter().map(|(name, value)| (name.clone(), value.clone())));
        NewRun {
            id: self.world.ids.run_id(),
            tenant: self.tenant,
            runbook: submission.plan.name.as_str().into(),
            runbook_version: wishes.version.map(|version| version.number),
            session: wishes.session,
            plan,
            lane: wishes.lane.unwrap_or(submission.plan.lane),
            priority: wishes.priority.unwrap_or(submission.plan.priority),
            labels,
            params: submission.params.clone(),
            trigger: submission.trigger.clone(),
            steps_total: u32::try_from(submission.plan.steps.len()).unwrap_or(u32::MAX),
            created_at: self.world.clock.now(),
            claimed_by,
            opening: Vec::new(),
        }
    }
}

async fn create(
    store: &dyn Store,
    feed: &dyn Feed,
    tenant: TenantId,
    runs: Vec<NewRun>,
    idempotency: Option<Idempotency>,
) -> Result<Option<IdempotentAnswer>, SubmitError> {
    let replayed = SubmitError::check(store.create_runs(&runs, idempotency.as_ref()).await?)?;
    if replayed.is_none() {
        announce(feed, tenant, &runs);
    }
    Ok(replayed)
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
