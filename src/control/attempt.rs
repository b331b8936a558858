//! One attempt of a step, from its rendered inputs to its outcome.

use std::{collections::BTreeMap, os::unix::fs::DirBuilderExt as _, path::PathBuf, sync::Arc, time::Duration};

use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

use super::{World, run_folder::RunFolder};
use crate::{
    engine::{Run, RunScope},
    model::{AttemptId, Failure, FailureReason, Micros, Outcome, RunId, StepIx, Success, TenantId},
    ports::{AttemptContext, BundleError, Executor, Gate, LogSender, LogSink, Mask, SecretValue},
    runbook::{Plan, PlannedStep, to_text},
};

/// Where a step works that has no part in the run's folder; it goes with the attempt.
const OWN: &str = "work";

/// After the grace period an executor has this long to report; then it is dropped, which kills what it
/// started.
const REPORT: Duration = Duration::from_secs(5);

/// What an attempt needs of the run, taken when it starts: the attempt itself never looks at the run.
pub(super) struct Prepared {
    pub run: RunId,
    pub tenant: TenantId,
    pub attempt: AttemptId,
    pub since: Micros,
    pub now: Micros,
    /// How long it may take.
    pub limit: Option<Duration>,
    pub plan: Arc<Plan>,
    /// `with` and `env`, rendered.
    pub inputs: Result<(Value, BTreeMap<String, String>), Failure>,
    pub cancel: CancellationToken,
    pub sender: LogSender,
    /// The run's working folder.
    pub folder: RunFolder,
    /// Closed once the worker has lost its lease.
    pub gate: Gate,
}

/// Evaluates a step's `env` and `with`; `env` first, as `with` may read it.
pub fn render(plan: &Plan, run: &Run, step: StepIx) -> Result<(Value, BTreeMap<String, String>), Failure> {
    let planned = plan.step(step);
    let fail = |place: String, error| Failure::permanent("EXPRESSION_FAILED", format!("{place}: {error}"));
    let mut env = Map::new();
    for (name, template) in &planned.env {
        let scope = RunScope { env: Some(&env), ..RunScope::new(plan, run, step) };
        let value = template.render(&scope).map_err(|error| fail(format!("env.{name}"), error))?;
        env.insert(name.clone(), Value::String(to_text(&value)));
    }
    let scope = RunScope { env: Some(&env), ..RunScope::new(plan, run, step) };
    let with = planned.with.render(&scope).map_err(|error| fail("with".to_owned(), error))?;
    let env = env.into_iter().map(|(name, value)| (name, to_text(&value))).collect();
    Ok((with, env))
}

/// Executes an attempt. Never panics the caller and always ends soon after it was cancelled.
pub(super) async fn execute(world: World, prepared: Prepared) -> Outcome {
    let uses = prepared.plan.step(prepared.attempt.step).uses.clone();
    let (cancel, limit, run, gate) = (prepared.cancel.clone(), prepared.limit, prepared.run, prepared.gate.clone());
    // A cancel or the deadline may have come while the attempt's fact was being written.
    if cancel.is_cancelled() {
        return Outcome::Cancelled;
    }
    if limit.is_some_and(|limit| limit.is_zero()) {
        return Outcome::Failed(Failure::timed_out());
    }
    let Some(executor) = world.executors.get(&uses) else {
        let message = format!("this build has no action `{uses}`");
        return Outcome::Failed(Failure::permanent("UNKNOWN_ACTION", message));
    };
    let (context, mask) = match context(&world, prepared, &*executor).await {
        Ok(ready) => ready,
        Err(failure) => return Outcome::Failed(failure),
    };
    let scratch = context.scratch.clone();
    let outcome = match executor.waits_until(&context) {
        Ok(Some(until)) if until > context.now => Outcome::Waits { until },
        Ok(_) => {
            let work = async { gate.through(executor.execute(context)).await };
            supervise(&world, work, cancel, limit).await
        }
        Err(failure) => Outcome::Failed(failure),
    };
    match outcome {
        _ if !executor.needs_workspace() => {}
        Outcome::Succeeded(_) => world.workspaces.hand_on_scratch(run, scratch),
        // A process that was ended by force may be about to write to it.
        _ => world.workspaces.discard_scratch(run, &scratch),
    }
    masked(outcome, &*mask)
}

async fn context(
    world: &World,
    prepared: Prepared,
    executor: &dyn Executor,
) -> Result<(AttemptContext, Arc<dyn Mask>), Failure> {
    let step = prepared.plan.step(prepared.attempt.step);
    let (with, env) = prepared.inputs?;
    world.executors.check(&step.uses, &with)?;
    let mut secrets = BTreeMap::new();
    for name in &step.secrets {
        let value = world.secrets.get(prepared.tenant, name).await;
        let value = value.map_err(|error| Failure::permanent("SECRET_MISSING", error.to_string()))?;
        secrets.insert(name.clone(), value);
    }
    let values: Vec<SecretValue> = secrets.values().cloned().collect();
    let mask = world.masks.mask(&values);
    let number = prepared.attempt.number;
    let (workspace, scratch) = folders(world, prepared.run, step, &prepared.folder, executor).await?;
    let files = files(world, &prepared.plan, executor).await?;
    let context = AttemptContext {
        run: prepared.run,
        runbook: prepared.plan.name.as_str().into(),
        step: step.id.clone(),
        attempt: number,
        since: prepared.since,
        now: prepared.now,
        with,
        env,
        secrets,
        workspace,
        scratch,
        files,
        cancel: prepared.cancel,
        grace: world.limits.grace,
        log: LogSink::new(prepared.attempt.step, number, mask.clone(), prepared.sender),
    };
    Ok((context, mask))
}

/// The folder of the runbook's files, if it has some and the action wants it.
async fn files(world: &World, plan: &Plan, executor: &dyn Executor) -> Result<Option<PathBuf>, Failure> {
    let Some(digest) = plan.files.filter(|_| executor.needs_workspace()) else { return Ok(None) };
    match world.bundles.lay(digest).await {
        Ok(folder) => Ok(Some(folder)),
        // What is wrong with the store stays wrong; a disk may be free the next time.
        Err(error @ (BundleError::Missing(_) | BundleError::Damaged(_))) => {
            Err(Failure::permanent("FILES_LOST", error.to_string()))
        }
        Err(error) => Err(Failure::error("FILES_FAILED", error.to_string())),
    }
}

/// The folder to work in and the attempt's own, if the action wants them.
async fn folders(
    world: &World,
    run: RunId,
    step: &PlannedStep,
    folder: &RunFolder,
    executor: &dyn Executor,
) -> Result<(PathBuf, PathBuf), Failure> {
    if !executor.needs_workspace() {
        return Ok(<(PathBuf, PathBuf)>::default());
    }
    let fail = |error| Failure::error("WORKSPACE_FAILED", format!("the working folder could not be made: {error}"));
    if step.workspace.is_shared() {
        let shared = folder.open(world, step.phase).await?;
        return Ok((shared, world.workspaces.scratch(run).map_err(fail)?));
    }
    let scratch = world.workspaces.scratch(run).map_err(fail)?;
    let own = scratch.join(OWN);
    std::fs::DirBuilder::new().mode(0o700).create(&own).map_err(fail)?;
    Ok((own, scratch))
}

/// Runs the executor against its deadline and its cancellation.
async fn supervise(
    world: &World,
    work: impl Future<Output = Result<Success, Failure>>,
    cancel: CancellationToken,
    limit: Option<Duration>,
) -> Outcome {
    let mut work = std::pin::pin!(work);
    let is_over = tokio::select! {
        biased;
        result = &mut work => return outcome(result, cancel.is_cancelled()),
        () = cancel.cancelled() => false,
        () = over(limit) => true,
    };
    // The executor ends its work by itself; one that does not is dropped, which ends it by force.
    cancel.cancel();
    let result = tokio::time::timeout(world.limits.grace + REPORT, work).await;
    if let Ok(Err(failure)) = &result
        && failure.reason == FailureReason::WorkerLost
    {
        return Outcome::Lost;
    }
    if is_over { Outcome::Failed(Failure::timed_out()) } else { Outcome::Cancelled }
}

async fn over(limit: Option<Duration>) {
    match limit {
        Some(limit) => tokio::time::sleep(limit).await,
        None => std::future::pending().await,
    }
}

fn outcome(result: Result<Success, Failure>, cancelled: bool) -> Outcome {
    match result {
        Err(failure) if failure.reason == FailureReason::WorkerLost => Outcome::Lost,
        _ if cancelled => Outcome::Cancelled,
        Ok(success) => Outcome::Succeeded(success),
        Err(failure) => Outcome::Failed(failure),
    }
}

/// Nothing that a step says leaves the worker with a secret in it.
fn masked(outcome: Outcome, mask: &dyn Mask) -> Outcome {
    match outcome {
        Outcome::Succeeded(Success { outputs, mut result }) => {
            let mut outputs = Value::Object(outputs);
            mask.json(&mut outputs);
            if let Some(result) = &mut result {
                mask.json(result);
            }
            let outputs = if let Value::Object(outputs) = outputs { outputs } else { Map::new() };
            Outcome::Succeeded(Success { outputs, result })
        }
        Outcome::Failed(failure) => Outcome::Failed(Failure { message: mask.text(&failure.message), ..failure }),
        other => other,
    }
}
