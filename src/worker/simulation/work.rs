//! What steps do: processes below a supervisor, and requests. Who begins what is written down, and held against the
//! leases.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::{
    host::Host,
    scene::Scene,
    truth::{Post, Truth},
};
use crate::{
    model::{Attempt, Category, Failure, FailureReason, Micros, RunId, Success},
    ports::{
        AttemptContext, BootTime, Executor, Executors, LogStream, Process, ProcessSpec, Processes, SpawnError, Store,
        StoredEvent,
    },
};

/// Ends the trees of a worker at its deadline, whatever has become of the worker.
pub struct Supervisor {
    host: Arc<Host>,
    state: Mutex<Deadline>,
}

#[derive(Default)]
struct Deadline {
    until: Option<Duration>,
    closed: bool,
}

impl Supervisor {
    pub fn new(host: Arc<Host>) -> Supervisor {
        Supervisor { host, state: Mutex::default() }
    }

    /// Since boot; `None` before the first beat.
    pub fn until(&self) -> Option<Duration> {
        self.state.lock().unwrap().until
    }

    /// Whether the deadline has passed. It is not prolonged after that.
    pub fn is_over(&self) -> bool {
        self.overdue().is_some()
    }

    /// The worker has ended: nothing of it goes on.
    pub fn close(&self) {
        self.state.lock().unwrap().closed = true;
    }

    pub fn is_closed(&self) -> bool {
        self.state.lock().unwrap().closed
    }

    /// For how long the deadline has passed.
    fn overdue(&self) -> Option<Duration> {
        self.until().and_then(|until| self.host.since_boot().checked_sub(until))
    }
}

#[async_trait]
impl Processes for Supervisor {
    async fn spawn(&self, _: ProcessSpec) -> Result<Box<dyn Process>, SpawnError> {
        Err(SpawnError::SupervisorLost)
    }

    fn extend(&self, until: Duration) {
        if !self.is_over() {
            let mut state = self.state.lock().unwrap();
            state.until = state.until.max(Some(until));
        }
    }
}

/// How a step does its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A tree of processes: ended by the supervisor.
    Tree,
    /// A request: ended by the worker, and by nobody while the worker is stopped.
    Request,
}

/// Something of a step that is under way.
struct Effort {
    number: u64,
    attempt: Attempt,
    kind: Kind,
    post: Arc<Post>,
    /// When it ends by itself.
    ends_at: Instant,
    /// How long after the deadline the last process of the tree is gone.
    dying: Duration,
}

impl Effort {
    fn goes_on(&self) -> bool {
        let killed = self.kind == Kind::Tree && self.post.supervisor.overdue().is_some_and(|by| by >= self.dying);
        Instant::now() < self.ends_at && !killed && !self.post.host.is_dead() && !self.post.supervisor.is_closed()
    }

    /// A request that was sent before its worker was stopped is still being served: no lease can call it back.
    fn is_out_of_reach(&self) -> bool {
        self.kind == Kind::Request && self.post.supervisor.is_over() && self.post.host.stands_still()
    }
}

type Executed = BTreeMap<(RunId, String, Attempt), u32>;

/// Everything that steps have done.
pub struct Works {
    truth: Arc<Truth>,
    scene: Scene,
    /// Within this time everything of a worker is ended that has lost its lease.
    budget: Duration,
    executed: Mutex<Executed>,
    under_way: Mutex<BTreeMap<(RunId, String), Vec<Effort>>>,
    numbers: Mutex<u64>,
}

impl Works {
    pub fn new(truth: Arc<Truth>, budget: Duration) -> Works {
        let scene = truth.scene.clone();
        Works {
            truth,
            scene,
            budget,
            executed: Mutex::default(),
            under_way: Mutex::default(),
            numbers: Mutex::default(),
        }
    }

    pub fn executed(&self) -> Executed {
        self.executed.lock().unwrap().clone()
    }

    /// An attempt begins: its fact is durable, its worker has the run and its lease, and nothing else of the step goes
    /// on.
    async fn begin(self: &Arc<Works>, post: &Arc<Post>, context: &AttemptContext, takes: Duration) -> UnderWay {
        let (run, step, attempt) = (context.run, context.step.to_string(), context.attempt);
        let worker = post.worker;
        self.scene.tell(|| format!("{run} {step} {attempt} begins, by {worker} on {}", post.host.name));
        let events = self.truth.store.events(run, 0, 1_000_000).await.unwrap();
        let committed = |e: &StoredEvent| {
            e.kind.action == "step_started" && e.data["step"] == step.as_str() && e.data["attempt"] == attempt
        };
        if !events.iter().any(committed) {
            self.scene.wrong(format_args!("{run}: {step} attempt {attempt} began before its fact was durable"));
        }
        if self.truth.lease.is_some() {
            self.must_hold(post, run, &step).await;
        }
        *self.executed.lock().unwrap().entry((run, step.clone(), attempt)).or_default() += 1;
        let kind = if self.scene.one_in(2) { Kind::Tree } else { Kind::Request };
        let dying = self.scene.span(self.budget);
        let number = {
            let mut numbers = self.numbers.lock().unwrap();
            *numbers += 1;
            *numbers
        };
        let effort = Effort { number, attempt, kind, post: post.clone(), ends_at: Instant::now() + takes, dying };
        let key = (run, step);
        self.under_way.lock().unwrap().entry(key.clone()).or_default().push(effort);
        UnderWay { works: self.clone(), key, number }
    }

    async fn must_hold(&self, post: &Post, run: RunId, step: &str) {
        let worker = post.worker;
        if post.supervisor.is_over() {
            self.scene
                .wrong(format_args!("{run}: {step} began after {worker} had lost its lease by its own reckoning"));
        }
        if !self.truth.holds_lease(worker) && !self.truth.has_stepped_lately() {
            self.scene.wrong(format_args!("{run}: {step} began after {worker} had lost its lease in the store"));
        }
        let row = self.truth.store.run(run).await.unwrap().expect("runs do not vanish");
        if row.claimed_by != Some(worker) || !row.status.is_owned() {
            self.scene.wrong(format_args!("{run}: {step} began by {worker}, and {:?} has the run", row.claimed_by));
        }
        let under_way = self.under_way.lock().unwrap();
        for effort in under_way.get(&(run, step.to_owned())).into_iter().flatten().filter(|effort| effort.goes_on()) {
            if effort.is_out_of_reach() {
                self.scene.faults().requests_outlived += 1;
            } else {
                let (kind, attempt, by) = (effort.kind, effort.attempt, effort.post.worker);
                self.scene.wrong(format_args!(
                    "{run}: {step} began by {worker} while the {kind:?} of attempt {attempt} by {by} went on"
                ));
            }
        }
    }
}

/// Dropped, it ends what is under way.
struct UnderWay {
    works: Arc<Works>,
    key: (RunId, String),
    number: u64,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut under_way = self.works.under_way.lock().unwrap();
        let efforts = under_way.get_mut(&self.key).expect("it was put there");
        let place = efforts.iter().position(|effort| effort.number == self.number).expect("it was put there");
        let effort = &efforts[place];
        let by_deadline = effort.post.supervisor.is_over();
        // The supervisor takes its time.
        if !by_deadline || effort.kind == Kind::Request {
            efforts.swap_remove(place);
        }
        if by_deadline {
            self.works.scene.faults().ended_by_deadline += 1;
        }
    }
}

/// The actions of one worker.
pub struct SimExecutors {
    pub works: Arc<Works>,
    pub post: Arc<Post>,
}

impl Executors for SimExecutors {
    fn get(&self, _: &str) -> Option<Arc<dyn Executor>> {
        Some(Arc::new(SimExecutor { works: self.works.clone(), post: self.post.clone() }))
    }

    fn check(&self, _: &str, _: &Value) -> Result<(), Failure> {
        Ok(())
    }
}

/// Steps that take a while, say something, and end in any way.
struct SimExecutor {
    works: Arc<Works>,
    post: Arc<Post>,
}

#[async_trait]
impl Executor for SimExecutor {
    async fn execute(&self, context: AttemptContext) -> Result<Success, Failure> {
        self.post.host.run(self.work(&context)).await
    }

    fn waits_until(&self, context: &AttemptContext) -> Result<Option<Micros>, Failure> {
        let scene = &self.works.scene;
        let long = Duration::from_secs(if scene.one_in(2) { 2 } else { 60 });
        let until = Micros(context.now.0 + i64::try_from(scene.span(long).as_micros()).unwrap());
        Ok(scene.one_in(16).then_some(until))
    }

    fn needs_workspace(&self) -> bool {
        false
    }
}

impl SimExecutor {
    /// What an action waits for before it begins anything, as for a connection: meanwhile the lease may be lost, and
    /// nobody asks but the gate.
    async fn get_ready(&self, context: &AttemptContext) -> Result<(), Failure> {
        let scene = &self.works.scene;
        let Some(lease) = self.works.truth.lease.filter(|_| scene.one_in(4)) else { return Ok(()) };
        let ready = tokio::time::sleep(scene.span(lease));
        context.cancel.run_until_cancelled(ready).await.ok_or_else(|| Failure::error("STOPPED", "as asked"))
    }

    async fn work(&self, context: &AttemptContext) -> Result<Success, Failure> {
        self.get_ready(context).await?;
        let scene = &self.works.scene;
        let takes = match self.works.truth.lease {
            // Long enough for the lease to be lost meanwhile.
            Some(lease) if scene.one_in(3) => scene.span(lease * 3),
            _ => scene.span(Duration::from_millis(40)),
        };
        let under_way = self.works.begin(&self.post, context, takes).await;
        let stubborn = scene.one_in(10);
        tokio::select! {
            biased;
            () = context.cancel.cancelled(), if !stubborn => return Err(Failure::error("STOPPED", "as asked")),
            () = tokio::time::sleep(takes) => {}
        }
        if self.post.supervisor.is_over() {
            return Err(lost());
        }
        drop(under_way);
        if scene.one_in(3) {
            context.log.bytes(LogStream::Stdout, b"working".to_vec()).await;
            context.log.note(Category::Dispatch, "told", Map::new()).await?;
        }
        match scene.below(8) {
            0 => Err(Failure::error("E", "it broke")),
            1 => Err(Failure::error("X", "exit").because(FailureReason::Exit(75))),
            2 => Err(lost()),
            _ => Ok(Success::default()),
        }
    }
}

fn lost() -> Failure {
    Failure::error("SUPERVISOR_LOST", "gone").because(FailureReason::WorkerLost)
}
