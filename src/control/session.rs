//! One run in the hands of its owner: input, decision, commit, effects, again.
//!
//! An owner has at most one commit under way. While it is, inputs gather, and all of them are decided
//! into the next one. Effects begin when the facts that call for them are committed, never before.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::mpsc,
    task::{Id, JoinError, JoinSet},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::{
    OwnError, Owned, Owner,
    attempt::{self, Prepared},
    committer::{CommitError, Terms},
    events::{BLOCK, Events},
    patience::patiently,
    rest::step_rows,
    run_folder::{self, RunFolder},
    said,
    signals::Listening,
    taking_up,
};
use crate::{
    engine::{Decision, Effect, Input, Rejection, Run, Stage, Verdict, WorkspaceState, decide},
    model::{AttemptId, Failure, Micros, Outcome, RunId, RunStatus, Snapshot, StepIx, WaitingOn},
    ports::{
        CommitAnswer, LogChunk, LogPayload, LogSender, NewRun, RunCommit, RunRow, SignalKind, SignalRow, StoredEvent,
        log_channel,
    },
    runbook::Plan,
};

/// Chunks on their way from the attempts of a run to its owner; with 64 KiB each, 4 MiB.
const CHUNKS: usize = 64;

/// Notes that one commit takes, in number and in bytes: a step that has much to tell must keep neither a fact
/// nor a cancel waiting for long.
const NOTES: usize = 1_024;
const NOTE_BYTES: usize = 1 << 20;

pub(super) struct Session {
    owner: Owner,
    row: RunRow,
    plan: Arc<Plan>,
    run: Run,
    events: Events,
    /// Decided and not yet handed to the committer.
    draft: Draft,
    /// Effects of what was written when the run was created.
    begun: Vec<Effect>,
    /// The clock and the monotone time when the session began.
    opened: (Micros, Instant),
    /// The row's version after the last commit.
    version: i64,
    signals_seen: i64,
    signals_committed: i64,
    recoveries_applied: u32,
    /// Set while the last thing decided was to give the run up until something happens.
    parking: Option<WaitingOn>,
    /// Set once the run is to be handed back: the attempts that were stopped for it.
    handed: Option<BTreeSet<AttemptId>>,
    attempts: JoinSet<Outcome>,
    tasks: BTreeMap<Id, AttemptId>,
    running: BTreeMap<AttemptId, CancellationToken>,
    chunks: mpsc::Receiver<LogChunk>,
    chunk_sender: LogSender,
    folder: RunFolder,
    /// Attempts that were started: what was stored before the last one began is not what there is now.
    starts: u64,
    /// The working folder could not be stored; it is not tried again in this session.
    cannot_store: bool,
}

/// Facts and notes, and the effects that wait for the facts to be durable.
#[derive(Default)]
struct Draft {
    events: Vec<StoredEvent>,
    effects: Vec<Effect>,
    /// How many of the events are notes, and how large those are.
    notes: usize,
    note_bytes: usize,
}

impl Draft {
    fn has_room(&self) -> bool {
        self.notes < NOTES && self.note_bytes < NOTE_BYTES
    }
}

/// A commit under way.
struct InFlight {
    answer: Pin<Box<dyn Future<Output = Result<CommitAnswer, CommitError>> + Send>>,
    head: u64,
    effects: Vec<Effect>,
    /// For a park or an end: what ownership ends with, and its facts, to be sent again after a signal.
    rest: Option<(Owned, Vec<StoredEvent>)>,
}

/// The working folder is being stored: after how many starts, and what it comes to.
struct Storing {
    starts: u64,
    stored: Pin<Box<dyn Future<Output = Result<Option<Snapshot>, Failure>> + Send>>,
}

impl Session {
    /// Loads plan and state, and decides the first inputs. `refused`: the store has refused what the
    /// attempts under way led to, so they failed.
    pub(super) async fn open(owner: &Owner, row: RunRow, refused: bool) -> Result<Session, OwnError> {
        let world = &owner.world;
        let plan = world.plans.get(row.tenant, row.plan).await?;
        let run = taking_up::replay(world, &row, &plan).await?;
        let folder = RunFolder::of(world, row.id, run.workspace()).await;
        let mut session = Session { folder, ..Session::new(owner, row, plan, run) };
        session.begin(refused).await?;
        Ok(session)
    }

    /// A run that is about to be created in the hands of its owner, and what the owner has decided about
    /// it: written with it, in one transaction. `None` where the first decision already ends the run or
    /// gives it up: such a run is created as any other.
    pub(super) fn born(owner: &Owner, new: &mut NewRun, plan: Arc<Plan>) -> Option<Session> {
        new.claimed_by = Some(owner.worker);
        let row = new.row();
        let run = Run::new(&plan, row.id, Arc::new(row.params.clone()));
        let mut session = Session::new(owner, row, plan, run);
        session.feed(Input::Begin);
        session.feed(Input::Slots(owner.world.limits.slots));
        if matches!(session.run.stage(), Stage::Ended(_)) || session.run.waiting_on(session.now()).is_some() {
            new.claimed_by = None;
            return None;
        }
        let Draft { events, effects, .. } = std::mem::take(&mut session.draft);
        new.opening = events;
        session.row = new.row();
        session.begun = effects;
        Some(session)
    }

    pub(super) fn id(&self) -> RunId {
        self.row.id
    }

    fn new(owner: &Owner, row: RunRow, plan: Arc<Plan>, run: Run) -> Session {
        let (chunk_sender, chunks) = log_channel(CHUNKS);
        Session {
            events: Events::new(&row, &owner.world),
            version: row.version,
            signals_seen: row.signals_applied,
            signals_committed: row.signals_applied,
            recoveries_applied: row.recoveries_applied,
            owner: owner.clone(),
            plan,
            run,
            draft: Draft::default(),
            begun: Vec::new(),
            opened: (owner.world.clock.now().max(row.stamp_head), Instant::now()),
            parking: None,
            handed: None,
            attempts: JoinSet::new(),
            tasks: BTreeMap::new(),
            running: BTreeMap::new(),
            chunks,
            chunk_sender,
            folder: RunFolder::new(row.id),
            starts: 0,
            cannot_store: false,
            row,
        }
    }

    async fn begin(&mut self, refused: bool) -> Result<(), OwnError> {
        if refused {
            self.fail_running();
        } else if self.row.recoveries > self.row.recoveries_applied {
            self.tell_dropped().await?;
            self.feed(Input::Recovered { recoveries: self.row.recoveries });
            self.recoveries_applied = self.row.recoveries;
        }
        // Signals first: a cancel that came before the start keeps the run from starting.
        if self.row.signal_seq > self.signals_seen {
            self.take_signals().await?;
        }
        if self.draft.events.is_empty() {
            self.feed(Input::Begin);
        }
        let slots = if self.owner.hand_back.is_cancelled() { 0 } else { self.owner.world.limits.slots };
        self.feed(Input::Slots(slots));
        self.feed(Input::Tick);
        Ok(())
    }

    /// What the dead owner said last may not have left its machine.
    async fn tell_dropped(&mut self) -> Result<(), OwnError> {
        let (world, head) = (&self.owner.world, self.row.sequence_head);
        if !world.segments.is_on() || self.run.running().next().is_none() {
            return Ok(());
        }
        let sent = world.segments.last_sequence(self.row.id, head).await?;
        let (from, to) = (sent + 1, head + BLOCK - 1);
        if from <= to {
            let stored = self.events.dropped((from, to), self.now());
            self.draft.events.push(stored);
        }
        Ok(())
    }

    fn fail_running(&mut self) {
        let running: Vec<StepIx> = self.run.running().collect();
        for step in running {
            let attempt = AttemptId { step, number: self.run.step(step).attempt };
            let failure = Failure::permanent("STORE_REFUSED", "the store refused what the step led to");
            self.feed(Input::Finished { attempt, outcome: Outcome::Failed(failure) });
        }
    }

    pub(super) async fn drive(&mut self, listening: &Listening) -> Result<Owned, OwnError> {
        let mut in_flight: Option<InFlight> = None;
        let mut storing: Option<Storing> = None;
        if self.row.sequence_head > 0 {
            self.events.committed(self.row.sequence_head);
        }
        if self.owner.hand_back.is_cancelled() {
            self.stop_attempts();
        }
        for effect in std::mem::take(&mut self.begun) {
            self.carry_out(effect);
        }
        loop {
            if in_flight.is_none() {
                self.consider_parking(&mut storing);
                // A run is given back when its folder is stored.
                let is_leaving = self.is_handed_back() && storing.is_some();
                if self.must_commit() && !is_leaving {
                    self.owner.fence.check()?;
                    in_flight = Some(self.commit());
                }
            }
            // A run that is being given up takes in nothing more until it is known whether it was.
            let resting = in_flight.as_ref().is_some_and(|commit| commit.rest.is_some());
            let (room, now) = (self.events.has_room() && self.draft.has_room(), self.now());
            let wake_in = self.run.wake_at().map(|at| at.since(now));
            tokio::select! {
                biased;
                answer = answer_of(&mut in_flight) => {
                    if let Some(commit) = in_flight.take()
                        && let Some(owned) = self.answered(answer?, commit).await?
                    {
                        return Ok(owned);
                    }
                }
                // The rare ones first: a step that never stops talking must not keep a cancel waiting.
                () = listening.rung(), if !resting => self.hear_signals().await,
                () = self.owner.hand_back.cancelled(), if self.handed.is_none() && !resting => self.stop_attempts(),
                () = sleep_for(wake_in), if !resting => self.feed(Input::Tick),
                (starts, stored) = stored_of(&mut storing), if !resting => {
                    storing = None;
                    self.stored(starts, stored);
                }
                Some(report) = self.attempts.join_next_with_id(), if !resting => self.reported(report),
                Some(chunk) = self.chunks.recv(), if room && !resting => self.hear(chunk),
            }
        }
    }

    /// Decides about one input. What it leads to goes into the next commit.
    fn feed(&mut self, input: Input) {
        // Never before the last event, so that what was decided and what is replayed have the same times.
        let now = self.now();
        match decide(&self.plan, &mut self.run, input, now) {
            Ok(Decision { events, effects }) => {
                if !events.is_empty() {
                    self.parking = None;
                }
                for event in events {
                    let stored = self.events.fact(&self.plan, event, now);
                    self.draft.events.push(stored);
                }
                self.draft.effects.extend(effects);
            }
            Err(Rejection::Stale | Rejection::Ended | Rejection::NotHeld) => {}
        }
    }

    /// The time of the session: the clock's when it was opened, and monotone since, so that a clock that is
    /// set back does not stretch timeouts. Never before the last event.
    fn now(&self) -> Micros {
        let (clock, instant) = self.opened;
        let elapsed = i64::try_from(instant.elapsed().as_micros()).unwrap_or(i64::MAX);
        Micros(clock.0.saturating_add(elapsed)).max(self.events.stamp())
    }

    fn consider_parking(&mut self, storing: &mut Option<Storing>) {
        if self.parking.is_some() || storing.is_some() {
            return;
        }
        // Where nobody wakes it, its owner waits with it.
        let may_park = self.owner.world.limits.is_woken || self.run.timer().is_none();
        let waiting_on = self.run.waiting_on(self.now()).filter(|_| may_park);
        if (waiting_on.is_some() || self.is_handed_back()) && self.must_store() {
            let stored = Box::pin(run_folder::store(self.owner.world.clone(), self.row.id));
            *storing = Some(Storing { starts: self.starts, stored });
        } else if let Some(waiting_on) = waiting_on {
            self.feed(Input::Park);
            self.parking = Some(waiting_on);
        }
    }

    /// Whether what ended steps have left is here and nowhere else.
    fn must_store(&self) -> bool {
        let snapshots = self.owner.world.snapshots.as_ref().filter(|_| !self.cannot_store);
        snapshots.is_some_and(|snapshots| match self.run.workspace() {
            WorkspaceState::At(place) => place == snapshots.place(),
            WorkspaceState::Unused | WorkspaceState::Stored(_) => false,
        })
    }

    fn stored(&mut self, starts: u64, stored: Result<Option<Snapshot>, Failure>) {
        if starts != self.starts {
            // Something has begun since then, and may have changed the folder.
            return;
        }
        if let Err(failure) = &stored {
            tracing::error!(run = %self.row.id, %failure, "the working folder of a run that waits was not stored");
            self.cannot_store = true;
        }
        self.feed(Input::WorkspaceStored(stored));
    }

    /// The worker is being drained: nothing begins any more, and what is under way is stopped.
    fn stop_attempts(&mut self) {
        self.feed(Input::Slots(0));
        let is_open =
            |(attempt, cancel): (&AttemptId, &CancellationToken)| (!cancel.is_cancelled()).then_some(*attempt);
        let open: BTreeSet<AttemptId> = self.running.iter().filter_map(is_open).collect();
        open.iter().filter_map(|attempt| self.running.get(attempt)).for_each(CancellationToken::cancel);
        self.handed = Some(open);
    }

    /// Whether nothing is under way any more and the run goes back to its lane.
    fn is_handed_back(&self) -> bool {
        self.handed.is_some() && self.attempts.is_empty()
    }

    fn must_commit(&self) -> bool {
        self.is_handed_back()
            || !self.draft.events.is_empty()
            || self.signals_seen > self.signals_committed
            || self.parking.is_some()
            || self.events.needs_commit()
    }

    fn commit(&mut self) -> InFlight {
        let Draft { events, effects, note_bytes, .. } = std::mem::take(&mut self.draft);
        let (status, rest, waiting_on) = match (self.run.stage(), self.parking) {
            (Stage::Ended(status), _) => (status, Some(Owned::Ended(status)), None),
            (_, Some(waiting_on)) => (RunStatus::Queued, Some(Owned::Parked(waiting_on)), Some(waiting_on)),
            (_, None) if self.is_handed_back() => {
                (RunStatus::Queued, Some(Owned::HandedBack), Some(WaitingOn::Capacity))
            }
            (_, None) => (RunStatus::Running, None, None),
        };
        let head = self.events.head();
        self.signals_committed = self.signals_seen;
        let rest = rest.map(|owned| (owned, events.clone()));
        let commit = RunCommit {
            run: self.row.id,
            epoch: self.row.epoch,
            worker: self.owner.worker,
            version: self.version,
            at: self.now(),
            events,
            status,
            waiting_on,
            // What may be claimed at once needs no time to wake.
            wake_at: self.run.wake_at().filter(|_| waiting_on.is_some_and(|on| on != WaitingOn::Capacity)),
            signals_applied: self.signals_seen,
            needs_all_signals: rest.is_some(),
            recoveries_applied: self.recoveries_applied,
            sequence_head: head,
            stamp_head: self.events.stamp(),
            error: self.run.error(&self.plan).filter(|_| status.is_ended()),
            started_at: self.run.started_at(),
            steps: if rest.is_some() { step_rows(&self.plan, &self.run) } else { Vec::new() },
        };
        let committer = self.owner.committer.clone();
        let terms = Terms { bytes: note_bytes, patient: self.owner.world.limits.patient };
        InFlight { answer: Box::pin(async move { committer.commit(commit, terms).await }), head, effects, rest }
    }

    /// A commit has its answer; `Some` when ownership has ended.
    async fn answered(&mut self, answer: CommitAnswer, commit: InFlight) -> Result<Option<Owned>, OwnError> {
        match answer {
            CommitAnswer::Committed => {
                self.version += 1;
                self.events.committed(commit.head);
                if let Some((owned, _)) = commit.rest {
                    if owned == Owned::HandedBack {
                        self.owner.world.queue.ring(self.row.lane);
                    }
                    return Ok(Some(owned));
                }
                commit.effects.into_iter().for_each(|effect| self.carry_out(effect));
                Ok(None)
            }
            CommitAnswer::Fenced => Ok(Some(Owned::Fenced)),
            CommitAnswer::Signalled => {
                // Nothing was written: the same facts go into the next commit, and what the signal leads
                // to after them.
                let facts = commit.rest.map(|(_, facts)| facts).unwrap_or_default();
                self.draft.events.splice(0..0, facts);
                self.draft.effects.splice(0..0, commit.effects);
                let (world, seen) = (&self.owner.world, self.signals_seen);
                let signals = patiently(world, || world.store.signals(self.row.id, seen)).await?;
                self.heard(signals);
                Ok(None)
            }
            CommitAnswer::Refused(why) => Err(OwnError::Refused(why)),
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            // Recorded before the drain, and not begun since.
            Effect::Start { attempt, .. } if self.handed.is_some() => {
                self.feed(Input::Finished { attempt, outcome: Outcome::NotBegun });
            }
            Effect::Start { attempt, since, deadline } => self.start(attempt, since, deadline),
            Effect::Interrupt { attempt, .. } => {
                if let Some(cancel) = self.running.get(&attempt) {
                    cancel.cancel();
                }
            }
        }
    }

    fn start(&mut self, attempt: AttemptId, since: Micros, deadline: Option<Micros>) {
        let (cancel, now) = (CancellationToken::new(), self.now());
        let prepared = Prepared {
            run: self.row.id,
            tenant: self.row.tenant,
            attempt,
            since,
            now,
            limit: deadline.map(|deadline| deadline.since(now)),
            plan: self.plan.clone(),
            inputs: attempt::render(&self.plan, &self.run, attempt.step),
            cancel: cancel.clone(),
            sender: self.chunk_sender.clone(),
            folder: self.folder.clone(),
            gate: self.owner.fence.gate(),
        };
        self.starts += 1;
        let task = self.attempts.spawn(attempt::execute(self.owner.world.clone(), prepared));
        self.tasks.insert(task.id(), attempt);
        self.running.insert(attempt, cancel);
    }

    /// An attempt has ended, and perhaps others with it: all of them go into one decision.
    fn reported(&mut self, first: Result<(Id, Outcome), JoinError>) {
        let mut next = Some(first);
        while let Some(report) = next {
            self.drain_chunks();
            self.finished(report);
            next = self.attempts.try_join_next_with_id();
        }
    }

    fn finished(&mut self, report: Result<(Id, Outcome), JoinError>) {
        let (task, outcome) = match report {
            Ok(report) => report,
            Err(error) => {
                let failure = Failure::permanent("INTERNAL", "the action panicked; this is a fault of opsroom");
                (error.id(), Outcome::Failed(failure))
            }
        };
        let Some(attempt) = self.tasks.remove(&task) else { return };
        self.running.remove(&attempt);
        self.note_use_of_folder();
        let handed = self.handed.as_ref().is_some_and(|handed| handed.contains(&attempt));
        let outcome = if handed && outcome == Outcome::Cancelled { Outcome::Interrupted } else { outcome };
        self.feed(Input::Finished { attempt, outcome });
    }

    /// What ended steps leave in the folder counts from here on, and is here. Steps that leave nothing there bind a run
    /// to no machine.
    fn note_use_of_folder(&mut self) {
        let world = &self.owner.world;
        let Some(snapshots) = world.snapshots.clone().filter(|_| self.folder.is_used()) else { return };
        if matches!(self.run.workspace(), WorkspaceState::Unused) && world.workspaces.is_empty(self.row.id) {
            return;
        }
        let is_known = matches!(self.run.workspace(), WorkspaceState::At(place) if place == snapshots.place());
        if !is_known {
            self.feed(Input::WorkspaceUsed { place: snapshots.place().to_owned() });
        }
    }

    /// What an attempt said precedes its end: it is in the channel by now. No more than the channel holds,
    /// because another attempt may go on talking for ever.
    fn drain_chunks(&mut self) {
        for _ in 0..CHUNKS {
            let Ok(chunk) = self.chunks.try_recv() else { return };
            self.chunk(chunk);
        }
    }

    /// A ring is only a hint: where the store cannot be read now, the next poll rings again.
    async fn hear_signals(&mut self) {
        if let Err(error) = self.take_signals().await {
            tracing::warn!(run = %self.row.id, %error, "signals could not be read; they are asked for again");
        }
    }

    /// Something was said, and perhaps more.
    fn hear(&mut self, first: LogChunk) {
        self.chunk(first);
        for _ in 0..CHUNKS {
            if !self.events.has_room() || !self.draft.has_room() {
                return;
            }
            let Ok(chunk) = self.chunks.try_recv() else { return };
            self.chunk(chunk);
        }
    }

    fn chunk(&mut self, chunk: LogChunk) {
        let now = self.now();
        let LogChunk { step, attempt, stream, payload } = chunk;
        let place = (step, attempt, stream);
        match payload {
            LogPayload::Bytes(bytes) => {
                let size = bytes.len();
                self.events.chunk(said::bytes(&self.plan, place, bytes), size, now);
            }
            LogPayload::Record { level, text, fields } => {
                let size = text.len();
                self.events.chunk(said::record(&self.plan, place, level, &text, fields), size, now);
            }
            LogPayload::Note { note, .. } => {
                self.draft.notes += 1;
                self.draft.note_bytes += note.size();
                let stored = self.events.note(&self.plan, (step, attempt), note, now);
                self.draft.events.push(stored);
            }
        }
    }

    async fn take_signals(&mut self) -> Result<(), OwnError> {
        let signals = self.owner.world.store.signals(self.row.id, self.signals_seen).await?;
        self.heard(signals);
        Ok(())
    }

    fn heard(&mut self, signals: Vec<SignalRow>) {
        for SignalRow { seq, kind, .. } in signals {
            self.signals_seen = seq;
            match kind {
                SignalKind::Cancel { by, reason, force } => self.feed(Input::Cancel { by, reason, force }),
                SignalKind::Resolve { step, verdict, by, note } => match Verdict::parse(&verdict) {
                    Some(verdict) => self.feed(Input::Resolve { step, verdict, by, note }),
                    None => {
                        tracing::warn!(run = %self.row.id, seq, verdict, "a signal with an unknown verdict was passed over");
                    }
                },
            }
        }
    }

    /// Ends every attempt by force, and waits for it.
    pub(super) async fn abandon(mut self) {
        self.attempts.shutdown().await;
    }

    /// Ends what is left: attempts by force, the event stream, the working folder.
    pub(super) async fn close(mut self, owned: Option<&Owned>) {
        self.attempts.abort_all();
        self.events.close();
        let (world, run) = (&self.owner.world, self.row.id);
        match owned {
            Some(Owned::Ended(status)) => {
                world.workspaces.close(run, *status != RunStatus::Succeeded);
                if self.run.was_stored() {
                    run_folder::forget(world, run, None).await;
                }
            }
            Some(Owned::Parked(_) | Owned::HandedBack) => run_folder::parked(world, run, self.run.workspace()).await,
            Some(Owned::Fenced) | None => {}
        }
    }
}

async fn answer_of(in_flight: &mut Option<InFlight>) -> Result<CommitAnswer, CommitError> {
    match in_flight {
        Some(commit) => commit.answer.as_mut().await,
        None => std::future::pending().await,
    }
}

async fn stored_of(storing: &mut Option<Storing>) -> (u64, Result<Option<Snapshot>, Failure>) {
    match storing {
        Some(storing) => (storing.starts, storing.stored.as_mut().await),
        None => std::future::pending().await,
    }
}

async fn sleep_for(span: Option<Duration>) {
    match span {
        Some(span) => tokio::time::sleep(span).await,
        None => std::future::pending().await,
    }
}
