//! The working folder of a run follows it from machine to machine, or the run says that it is lost.

use std::{
    path::Path,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use opsroom::{
    control::Departures,
    engine::Verdict,
    model::{Failure, FailureReason, RunId, RunStatus, Success, WaitingOn, WorkerId},
    ports::{AttemptContext, Executor, Liveness, Store as _, StoreError},
    runbook::{Phase, Plan, PlannedStep, StepFolder, Template},
    system::FolderArtifacts,
};
use serde_json::json;

use super::{Fleet, Machine, all, until};
use crate::control::world::Act;

/// A step, and the names it found in its folder.
type Seen = (String, Vec<String>);

/// Writes what it found and leaves a mark; the first attempt of `lost` is lost.
#[derive(Clone, Default)]
struct Mark {
    seen: Arc<Mutex<Vec<Seen>>>,
}

#[async_trait]
impl Executor for Mark {
    async fn execute(&self, context: AttemptContext) -> Result<Success, Failure> {
        let mut names: Vec<String> = std::fs::read_dir(&context.workspace)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        let step = context.step.to_string();
        self.seen.lock().unwrap().push((step.clone(), names));
        std::fs::write(
            context.workspace.join(&step),
            vec![b'x'; usize::try_from(context.with["bytes"].as_u64().unwrap_or(1)).unwrap()],
        )
        .unwrap();
        if context.with["lost"] == true && context.attempt == 1 {
            return Err(Failure::error("GONE", "as if its worker had died").because(FailureReason::WorkerLost));
        }
        Ok(Success::default())
    }
}

impl Mark {
    fn seen(&self) -> Vec<(String, Vec<String>)> {
        self.seen.lock().unwrap().clone()
    }
}

fn step(id: &str, need: Option<u32>) -> PlannedStep {
    PlannedStep {
        needs: need.map(opsroom::model::StepIx).into_iter().collect(),
        with: Template::Literal(json!({"lost": id == "held", "bytes": if id == "large" { 3 << 20 } else { 1 }})),
        ..PlannedStep::new(id, "mark")
    }
}

/// `a`, then `held`, whose first attempt is lost so that the run waits for a person, then `c`.
fn plan(first: &str) -> Arc<Plan> {
    let last = PlannedStep { phase: Phase::Finally, ..step("last", None) };
    Arc::new(Plan::new("marks", vec![step(first, None), step("held", Some(0)), step("c", Some(1)), last]))
}

async fn machine(fleet: &Fleet, name: &str, mark: &Mark) -> Machine {
    fleet.machine_with(name, 2 << 20, [("mark", Arc::new(mark.clone()) as Act)]).await
}

async fn parked(machine: &Machine, run: RunId) {
    machine.process.until(run, |row| row.waiting_on == Some(WaitingOn::StepOutcome)).await;
}

async fn resolve(machine: &Machine, run: RunId) {
    let resolved = machine.process.runs.resolve(run, "held", Verdict::Succeeded, "ada", "").await;
    resolved.unwrap();
}

fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| !name.starts_with('.'));
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parked_run_goes_on_elsewhere_with_its_folder() {
    let (fleet, here, there) = (Fleet::new().await, Mark::default(), Mark::default());
    let one = machine(&fleet, "one", &here).await;
    one.work();
    let run = one.process.submit(&plan("a")).await;
    parked(&one, run).await;
    until("nothing is kept here", async || names(&one.folder.join("workspaces")).is_empty()).await;
    assert_eq!(fleet.artifacts.list("workspaces").await.unwrap().len(), 1);
    one.process.stop().await;
    let other = machine(&fleet, "other", &there).await;
    other.work();
    resolve(&other, run).await;
    assert_eq!(other.process.ends(run).await, RunStatus::Succeeded);
    let expected = [("c", vec!["a", "held"]), ("last", vec!["a", "c", "held"])];
    assert_eq!(
        there.seen(),
        expected.map(|(step, names)| (step.to_owned(), names.iter().copied().map(str::to_owned).collect()))
    );
    until("nothing is left", async || {
        names(&other.folder.join("workspaces")).is_empty()
            && fleet.artifacts.list("workspaces").await.unwrap().is_empty()
    })
    .await;
    let kinds: Vec<String> = all(&other.history(), run).await.iter().map(|event| event.event.action.clone()).collect();
    let count = |kind: &str| kinds.iter().filter(|action| *action == kind).count();
    assert_eq!((count("workspace_used"), count("workspace_stored")), (2, 1), "{kinds:?}");
    other.process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_waits_for_a_time_goes_on_elsewhere_with_its_folder() {
    let (fleet, here, there) = (Fleet::new().await, Mark::default(), Mark::default());
    let wait = PlannedStep {
        needs: vec![opsroom::model::StepIx(0)],
        with: Template::Literal(json!({"for": "1h"})),
        ..PlannedStep::new("wait", "wait")
    };
    let last = PlannedStep { phase: Phase::Finally, ..step("last", None) };
    let one = machine(&fleet, "one", &here).await;
    one.work();
    let run = one.process.submit(&Arc::new(Plan::new("marks", vec![step("a", None), wait, last]))).await;
    one.process.until(run, |row| row.waiting_on == Some(WaitingOn::Timer)).await;
    until("nothing is kept here", async || names(&one.folder.join("workspaces")).is_empty()).await;
    assert_eq!(fleet.artifacts.list("workspaces").await.unwrap().len(), 1);
    one.process.stop().await;
    let other = machine(&fleet, "other", &there).await;
    other.work();
    other.process.runs.cancel(run, "ada", "", false).await.unwrap();
    assert_eq!(other.process.ends(run).await, RunStatus::Cancelled);
    assert_eq!(there.seen(), [("last".to_owned(), vec!["a".to_owned()])]);
    other.process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_folder_of_a_dead_worker_is_lost_and_handlers_still_run() {
    let (fleet, here, there) = (Fleet::new().await, Mark::default(), Mark::default());
    // It is too large to be stored: the run waits, and its folder stays where it is.
    let one = machine(&fleet, "one", &here).await;
    one.work();
    let run = one.process.submit(&plan("large")).await;
    parked(&one, run).await;
    let told = all(&one.history(), run).await;
    let refused = told.iter().find(|event| event.event.action == "workspace_not_stored").expect("it is told");
    assert_eq!(refused.data["error"]["code"], "WORKSPACE_TOO_LARGE");
    one.process.stop().await;
    let other = machine(&fleet, "other", &there).await;
    other.work();
    resolve(&other, run).await;
    assert_eq!(other.process.ends(run).await, RunStatus::Failed);
    let row = other.process.row(run).await;
    let error = row.error.unwrap();
    assert!(error.message.contains("WORKSPACE_LOST"), "{error:?}");
    assert_eq!(there.seen(), [("last".to_owned(), vec![])], "the handler begins with an empty folder");
    other.process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_place_finds_the_folder() {
    let (fleet, mark) = (Fleet::new().await, Mark::default());
    let one = machine(&fleet, "one", &mark).await;
    one.work();
    let run = one.process.submit(&plan("large")).await;
    parked(&one, run).await;
    one.process.stop().await;
    // Another worker process on the same disk.
    let again = machine(&fleet, "one", &mark).await;
    again.work();
    resolve(&again, run).await;
    assert_eq!(again.process.ends(run).await, RunStatus::Succeeded);
    assert_eq!(mark.seen()[2], ("c".to_owned(), vec!["held".to_owned(), "large".to_owned()]));
    again.process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_stored_and_is_gone_is_lost() {
    let (fleet, mark) = (Fleet::new().await, Mark::default());
    let one = machine(&fleet, "one", &mark).await;
    one.work();
    let run = one.process.submit(&plan("a")).await;
    parked(&one, run).await;
    one.process.stop().await;
    fleet.artifacts.delete_below("workspaces").await.unwrap();
    let other = machine(&fleet, "other", &mark).await;
    other.work();
    resolve(&other, run).await;
    assert_eq!(other.process.ends(run).await, RunStatus::Failed);
    assert!(other.process.row(run).await.error.unwrap().message.contains("WORKSPACE_LOST"));
    other.process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_without_a_part_in_it_store_nothing_and_lose_nothing() {
    let (fleet, here, there) = (Fleet::new().await, Mark::default(), Mark::default());
    let plan = plan("large");
    let mut plan = Plan::from_json(&plan.to_json()).unwrap();
    for step in &mut plan.steps {
        step.workspace = StepFolder::None;
    }
    let one = machine(&fleet, "one", &here).await;
    one.work();
    let run = one.process.submit(&Arc::new(plan.link())).await;
    parked(&one, run).await;
    assert!(fleet.artifacts.list("workspaces").await.unwrap().is_empty());
    one.process.stop().await;
    let other = machine(&fleet, "other", &there).await;
    other.work();
    resolve(&other, run).await;
    assert_eq!(other.process.ends(run).await, RunStatus::Succeeded);
    let seen: Vec<_> = here.seen().into_iter().chain(there.seen()).collect();
    assert_eq!(seen.len(), 4);
    assert!(seen.iter().all(|(_, names)| names.is_empty()), "each has a folder of its own: {seen:?}");
    assert!(fleet.store.run(run).await.unwrap().is_some());
    other.process.stop().await;
}

/// Who has lived on this machine.
struct Here(Vec<WorkerId>);

#[async_trait]
impl Liveness for Here {
    async fn dead(&self) -> Result<Vec<WorkerId>, StoreError> {
        Ok(Vec::new())
    }

    fn knows(&self, worker: WorkerId) -> bool {
        self.0.contains(&worker)
    }
}

/// How many folders are tidied on a machine where these have lived.
async fn tidy(machine: &Machine, here: &[WorkerId]) -> usize {
    Departures::new(machine.process.world.clone(), Arc::new(Here(here.to_vec()))).tidy().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_run_has_left_behind_goes_when_it_goes_on_elsewhere() {
    let (fleet, mark) = (Fleet::new().await, Mark::default());
    let (one, other) = (machine(&fleet, "one", &mark).await, machine(&fleet, "other", &mark).await);
    one.work();
    let talk = PlannedStep {
        needs: vec![opsroom::model::StepIx(1)],
        with: Template::Literal(json!({"millis": 60_000})),
        ..PlannedStep::new("talk", "talk")
    };
    let plan = Arc::new(Plan::new("marks", vec![step("a", None), step("held", Some(0)), talk]));
    let run = one.process.submit(&plan).await;
    parked(&one, run).await;
    let folder = one.folder.join("workspaces").join(run.to_string());
    until("it has left", async || !folder.exists()).await;
    // As if its worker had died before it could leave.
    std::fs::create_dir_all(folder.join("full")).unwrap();
    let scratch = one.folder.join("scratch").join(run.to_string());
    std::fs::create_dir_all(&scratch).unwrap();
    let (first, second) = (one.process.worker, other.process.worker);
    assert_eq!((tidy(&one, &[first]).await, folder.exists()), (0, true), "nobody has it");
    one.process.stop.cancel();
    other.work();
    resolve(&other, run).await;
    other.process.until(run, |row| row.claimed_by == Some(second)).await;
    assert_eq!((tidy(&one, &[first, second]).await, folder.exists()), (0, true), "who has it shares the folder");
    // Told to stop, the first may have taken the run all the same when it woke, and be about to hand it back.
    until("what is here goes", async || tidy(&one, &[first]).await == 1).await;
    assert!(!folder.exists());
    other.process.runs.cancel(run, "ada", "", false).await.unwrap();
    assert_eq!(other.process.ends(run).await, RunStatus::Cancelled);
    assert_eq!((tidy(&one, &[first]).await, scratch.exists()), (1, false));
    assert_eq!(tidy(&one, &[first]).await, 0, "nothing is left");
    one.process.stop().await;
    other.process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_counts_of_a_run_stays_until_it_has_ended_and_then_for_a_day() {
    let (fleet, mark) = (Fleet::new().await, Mark::default());
    let (one, other) = (machine(&fleet, "one", &mark).await, machine(&fleet, "other", &mark).await);
    one.work();
    let run = one.process.submit(&plan("large")).await;
    parked(&one, run).await;
    let folder = one.folder.join("workspaces").join(run.to_string());
    one.process.stop.cancel();
    other.work();
    resolve(&other, run).await;
    assert_eq!(other.process.ends(run).await, RunStatus::Failed);
    assert_eq!(tidy(&one, &[one.process.worker]).await, 1);
    assert!(folder.join("large").exists() && folder.join(".opsroom-kept").exists());
    assert_eq!(tidy(&one, &[one.process.worker]).await, 0);
    one.process.stop().await;
    other.process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_cannot_take_its_folder_along_waits_with_a_worker_that_stops() {
    let (disk, mark) = (tempfile::tempdir().unwrap(), Mark::default());
    let fleet = Fleet::with(Arc::new(FolderArtifacts::new(disk.path()).unwrap())).await;
    let one = machine(&fleet, "one", &mark).await;
    one.work();
    let nap = PlannedStep {
        needs: vec![opsroom::model::StepIx(0)],
        with: Template::Literal(json!({"for": "1s"})),
        ..PlannedStep::new("nap", "wait")
    };
    let run =
        one.process.submit(&Arc::new(Plan::new("marks", vec![step("large", None), nap, step("c", Some(1))]))).await;
    let names = async || -> Vec<String> {
        let events = one.process.world.store.events(run, 0, 1_000).await.unwrap();
        events.into_iter().map(|event| event.kind.action).collect()
    };
    until("it waits", async || names().await.contains(&"step_waiting".to_owned())).await;
    one.process.stop.cancel();
    assert_eq!(one.process.ends(run).await, RunStatus::Succeeded);
    let names = names().await;
    assert!(
        names.contains(&"workspace_not_stored".to_owned()) && !names.contains(&"run_parked".to_owned()),
        "{names:?}"
    );
    assert_eq!(mark.seen().last().unwrap().1, ["large"]);
    one.process.stop().await;
}
