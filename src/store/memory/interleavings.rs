//! Every interleaving of owners, signals, sweeps and beats over the real verbs of this store.
//!
//! Actors are short scripts whose steps are verbs; between two steps of one actor any steps of the others may come. All
//! orders are played, each on a store of its own, and after every step the invariants are looked at. What an actor does
//! next depends only on the answers that it got, as with a process.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use futures::FutureExt;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::MemoryStore;
use crate::{
    model::{Category, Digest, Epoch, EventKind, Lane, Micros, RunId, RunStatus, TenantId, WaitingOn, WorkerId},
    ports::{
        Beat, ClaimRequest, Clock, CommitAnswer, NewRun, RunCommit, RunRow, SignalKind, Store, StoredEvent, Trigger,
        WorkerRow,
    },
};

const TENANT: TenantId = TenantId::DEFAULT;
const RUN: RunId = RunId(Uuid::from_u128(7));
const W1: WorkerId = WorkerId(Uuid::from_u128(1));
const W2: WorkerId = WorkerId(Uuid::from_u128(2));
const LEASE: Duration = Duration::from_secs(10);

/// The store's clock, in seconds.
#[derive(Default)]
struct Hand(AtomicI64);

impl Clock for Hand {
    fn now(&self) -> Micros {
        Micros(self.0.load(Ordering::SeqCst) * 1_000_000)
    }
}

/// One step of an actor.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Act {
    /// Claims, if the actor owns nothing.
    Claim,
    /// A commit that goes on, one that parks, one that hands back, one that ends; each repeats what its last answer
    /// allows: after `Signalled` the signals are read first.
    Run,
    Park,
    HandBack,
    End,
    /// Sends the last commit once more, as after a lost reply.
    Again,
    Signal,
    Beat,
    /// The store's time goes on, in seconds; a lease has ten.
    Time(i64),
    /// Who is dead by the leases is told, and then, as a step of its own, their runs are taken back and they are
    /// forgotten.
    Look,
    Requeue,
    Forget,
    Wake,
}

/// Somebody with a script.
#[derive(Debug, Clone)]
struct Actor {
    worker: WorkerId,
    script: &'static [Act],
    at: usize,
    /// What it believes to own.
    row: Option<RunRow>,
    last: Option<RunCommit>,
    /// Whom it was told dead.
    dead: Vec<WorkerId>,
}

impl Actor {
    fn new(worker: WorkerId, script: &'static [Act]) -> Actor {
        Actor { worker, script, at: 0, row: None, last: None, dead: Vec::new() }
    }
}

/// What has happened so far in one order of things.
struct Play {
    store: MemoryStore,
    hand: Arc<Hand>,
    actors: Vec<Actor>,
    /// Which worker wrote in which epoch.
    writers: Vec<(Epoch, WorkerId)>,
    events: u64,
    /// Workers that somebody was told dead.
    told_dead: Vec<WorkerId>,
}

fn now<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("the verbs of this store never wait")
}

fn worker(id: WorkerId) -> WorkerRow {
    WorkerRow {
        id,
        tenant: TENANT,
        host: String::new(),
        pid: 0,
        version: String::new(),
        lanes: vec![Lane::A],
        slots: 1,
        labels: std::collections::BTreeMap::new(),
        started_at: Micros(0),
        draining: false,
    }
}

impl Play {
    /// A run that the first actor owns, and the actors at the beginning of their scripts.
    fn begin(actors: &[(WorkerId, &'static [Act])]) -> Play {
        let hand = Arc::new(Hand::default());
        let store = MemoryStore::with_clock(hand.clone());
        let plan = Digest::of(b"{}");
        now(store.put_plan(TENANT, plan, b"{}", "")).unwrap();
        for id in [W1, W2] {
            now(store.register_worker(&worker(id), Some(LEASE))).unwrap();
        }
        let run = NewRun {
            id: RUN,
            tenant: TENANT,
            runbook: "r".into(),
            runbook_version: None,
            session: None,
            plan,
            lane: Lane::A,
            priority: 0,
            labels: Map::new(),
            params: Map::new(),
            trigger: Trigger { kind: "manual".into(), actor: "ada".into() },
            steps_total: 1,
            created_at: Micros(0),
            claimed_by: Some(W1),
            opening: Vec::new(),
        };
        now(store.create_runs(&[run], None)).unwrap();
        let mut actors: Vec<Actor> = actors.iter().map(|(worker, script)| Actor::new(*worker, script)).collect();
        actors[0].row = now(store.run(RUN)).unwrap();
        Play { store, hand, actors, writers: Vec::new(), events: 0, told_dead: Vec::new() }
    }

    fn row(&self) -> RunRow {
        now(self.store.run(RUN)).unwrap().unwrap()
    }

    fn step(&mut self, number: usize) {
        let mut actor = self.actors[number].clone();
        let act = actor.script[actor.at];
        actor.at += 1;
        self.carry_out(&mut actor, act);
        self.actors[number] = actor;
    }

    fn carry_out(&mut self, actor: &mut Actor, act: Act) {
        match act {
            Act::Claim if actor.row.is_some() => {}
            Act::Claim => {
                let request = ClaimRequest { worker: actor.worker, lane: Lane::A, limit: 1, now: Micros(0) };
                actor.row = now(self.store.claim(&request)).unwrap().pop();
            }
            Act::Run | Act::Park | Act::HandBack | Act::End => self.commit_as(actor, act),
            Act::Again => {
                if let Some(commit) = actor.last.clone() {
                    self.commit(actor, commit);
                }
            }
            Act::Signal => {
                let cancel = SignalKind::Cancel { by: "eve".into(), reason: String::new(), force: false };
                // It may have ended.
                let _ = now(self.store.signal(RUN, &cancel, Micros(0))).unwrap();
            }
            Act::Beat => {
                let beat = now(self.store.beat(actor.worker, Some(LEASE))).unwrap();
                assert!(!self.told_dead.contains(&actor.worker) || beat == Beat::Lost, "the dead do not come back");
            }
            Act::Time(seconds) => {
                self.hand.0.fetch_add(seconds, Ordering::SeqCst);
            }
            Act::Look => {
                actor.dead = now(self.store.expired_workers(10)).unwrap().workers;
                self.told_dead.extend(&actor.dead);
            }
            Act::Requeue => drop(now(self.store.requeue(&actor.dead, Micros(0), 10)).unwrap()),
            Act::Forget => now(self.store.forget_workers(&actor.dead)).unwrap(),
            Act::Wake => drop(now(self.store.wake_due(Micros(i64::MAX), 10)).unwrap()),
        }
    }

    /// The next commit of an owner that knows its row, with all signals that it knows of taken in.
    fn commit_as(&mut self, actor: &mut Actor, act: Act) {
        let Some(row) = actor.row.clone() else { return };
        let (status, waiting_on) = match act {
            Act::Run => (RunStatus::Running, None),
            Act::Park => (RunStatus::Queued, Some(WaitingOn::Timer)),
            Act::HandBack => (RunStatus::Queued, Some(WaitingOn::Capacity)),
            _ => (RunStatus::Succeeded, None),
        };
        let head = row.sequence_head + 1;
        let kind = EventKind { category: Category::Lifecycle, action: "step_started".to_owned() };
        let commit = RunCommit {
            run: RUN,
            epoch: row.epoch,
            worker: actor.worker,
            version: row.version,
            at: Micros(0),
            events: vec![StoredEvent { sequence: head, prev: head - 1, at: Micros(0), kind, data: Value::Null }],
            status,
            waiting_on,
            wake_at: (act == Act::Park).then_some(Micros(1_000_000_000)),
            signals_applied: row.signals_applied,
            needs_all_signals: act != Act::Run,
            recoveries_applied: row.recoveries,
            sequence_head: head,
            stamp_head: Micros(0),
            error: None,
            started_at: Some(Micros(0)),
            steps: Vec::new(),
        };
        self.commit(actor, commit);
    }

    fn commit(&mut self, actor: &mut Actor, commit: RunCommit) {
        let before = now(self.store.events(RUN, 0, 100)).unwrap().len();
        let answer = now(self.store.commit(std::slice::from_ref(&commit))).unwrap().remove(0);
        let written = now(self.store.events(RUN, 0, 100)).unwrap().len() - before;
        match answer {
            CommitAnswer::Committed => {
                assert!(written <= 1, "a commit is written once");
                if written == 1 {
                    self.events += 1;
                    self.writers.push((commit.epoch, commit.worker));
                }
                let mut row = self.row();
                // What it believes: it keeps the run only if it went on with it.
                row.signals_applied = commit.signals_applied;
                (row.version, row.epoch, row.sequence_head) = (commit.version + 1, commit.epoch, commit.sequence_head);
                actor.row = (commit.status == RunStatus::Running).then_some(row);
            }
            CommitAnswer::Signalled => {
                assert_eq!(written, 0);
                // Reads the signals; the next commit has them.
                let last = now(self.store.signals(RUN, commit.signals_applied)).unwrap().pop().expect("a signal");
                if let Some(row) = &mut actor.row {
                    row.signals_applied = last.seq;
                }
            }
            CommitAnswer::Fenced => {
                assert_eq!(written, 0, "a fenced commit writes nothing");
                actor.row = None;
            }
            CommitAnswer::Refused(why) => panic!("{why}"),
        }
        actor.last = Some(commit);
    }

    /// What holds at every moment.
    fn check(&self) {
        let row = self.row();
        // No lost wake-up.
        if row.status == RunStatus::Queued && row.signal_seq > row.signals_applied {
            assert!(row.claimable, "a parked run with a signal that nobody took in is claimable: {row:?}");
        }
        // Nobody but one owner writes in an epoch.
        for (epoch, worker) in &self.writers {
            assert!(self.writers.iter().all(|(other, by)| other != epoch || by == worker), "{:?}", self.writers);
        }
        assert_eq!(now(self.store.events(RUN, 0, 100)).unwrap().len() as u64, self.events);
        // An ended run is sealed with every signal taken in.
        if row.status.is_ended() {
            assert_eq!(row.signal_seq, row.signals_applied, "{row:?}");
        }
        assert_eq!(row.claimable, row.status == RunStatus::Queued && row.waiting_on == Some(WaitingOn::Capacity));
    }

    /// Whatever happened, somebody can go on: the dead are swept, what is parked is woken, and a new owner takes the run
    /// to its end.
    fn finish(&mut self) {
        self.hand.0.fetch_add(60, Ordering::SeqCst);
        let sweeper: &[Act] = &[Act::Look, Act::Requeue, Act::Forget, Act::Wake];
        for act in sweeper {
            let mut actor = self.actors[0].clone();
            self.carry_out(&mut actor, *act);
            self.actors[0].dead = actor.dead;
        }
        if self.row().status.is_ended() {
            return;
        }
        let mut last = Actor::new(WorkerId(Uuid::from_u128(9)), &[]);
        now(self.store.register_worker(&worker(last.worker), Some(LEASE))).unwrap();
        self.carry_out(&mut last, Act::Claim);
        assert!(last.row.is_some(), "the run can be claimed: {:?}", self.row());
        self.carry_out(&mut last, Act::End);
        self.carry_out(&mut last, Act::End);
        assert_eq!(self.row().status, RunStatus::Succeeded);
        self.check();
    }
}

/// Plays every order of the actors' steps; answers how many there were.
fn explore(actors: &[(WorkerId, &'static [Act])]) -> usize {
    let mut orders = 0;
    let mut order: Vec<usize> = Vec::new();
    let lengths: Vec<usize> = actors.iter().map(|(_, script)| script.len()).collect();
    next_step(&lengths, &mut order, &mut |order| {
        let mut play = Play::begin(actors);
        for actor in order {
            play.step(*actor);
            play.check();
        }
        play.finish();
        orders += 1;
    });
    orders
}

fn next_step(left: &[usize], order: &mut Vec<usize>, each: &mut impl FnMut(&[usize])) {
    if left.iter().all(|left| *left == 0) {
        return each(order);
    }
    for actor in 0..left.len() {
        if left[actor] > 0 {
            let mut rest = left.to_vec();
            rest[actor] -= 1;
            order.push(actor);
            next_step(&rest, order, each);
            order.pop();
        }
    }
}

use Act::{Again, Beat as Beats, Claim, End, Forget, HandBack, Look, Park, Requeue, Run, Signal, Time, Wake};

#[test]
fn park_signal_and_claim() {
    let owner: &[Act] = &[Run, Park, Park, Claim, Park];
    assert_eq!(explore(&[(W1, owner), (W2, &[Claim, Run, Park]), (W2, &[Signal, Signal])]), 2_520);
}

#[test]
fn park_signal_and_wake() {
    let owner: &[Act] = &[Park, Park, Claim, End];
    assert_eq!(explore(&[(W1, owner), (W2, &[Wake]), (W2, &[Signal, Signal]), (W2, &[Claim, Run])]), 3_780);
}

#[test]
fn commit_requeue_and_claim() {
    let owner: &[Act] = &[Run, Again, Park, Again];
    let sweeper: &[Act] = &[Time(11), Look, Requeue, Forget];
    assert_eq!(explore(&[(W1, owner), (W2, sweeper), (W2, &[Claim, Run])]), 3_150);
}

#[test]
fn beats_and_leases() {
    let sweeper: &[Act] = &[Time(6), Look, Time(6), Look, Requeue];
    let owner: &[Act] = &[Beats, Run, Beats, Run];
    assert_eq!(explore(&[(W1, owner), (W2, sweeper), (W2, &[Claim])]), 1_260);
}

#[test]
fn hand_back_against_everything() {
    let owner: &[Act] = &[HandBack, Again, HandBack];
    let sweeper: &[Act] = &[Time(11), Look, Requeue];
    assert_eq!(explore(&[(W1, owner), (W2, sweeper), (W2, &[Signal]), (W2, &[Claim, End])]), 5_040);
}

/// The explorer finds what is wrong: an owner that took the run without raising its epoch would write in another's.
#[test]
fn two_writers_in_one_epoch_are_found() {
    let mut play = Play::begin(&[(W1, &[Run])]);
    play.step(0);
    play.writers.push((play.row().epoch, W2));
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| play.check())).is_err());
}
