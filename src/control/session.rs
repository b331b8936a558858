//! One run in the hands of its owner: input, decision, commit, effects, again.
//!
//! An owner has at most one commit under way. While it is, inputs gather, and all of them are decided
//! into the next one. Effects begin when the facts that call for them are committed, never before.

mod attempts;
mod commits;
mod folder;
mod talk;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::mpsc,
    task::{Id, JoinSet},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use self::{
    commits::{Draft, InFlight, answer_of},
    folder::{Storing, stored_of},
};
use super::{
    OwnError, Owned, Owner,
    events::{BLOCK, Events},
    run_folder::RunFolder,
    signals::Listening,
    taking_up,
};
use crate::{
    engine::{Decision, Effect, Input, Rejection, Run, Stage, Verdict, decide},
    model::{AttemptId, Micros, Outcome, RunId, WaitingOn},
    ports::{LogChunk, LogSender, NewRun, RunRow, SignalKind, SignalRow, log_channel},
    runbook::Plan,
};

/// Chunks on their way from the attempts of a run to its owner; with 64 KiB each, 4 MiB.
const CHUNKS: usize = 64;

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
    /// The worker is about to end: what does nothing but wait is given up.
    is_leaving: bool,
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
            is_leaving: false,
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
                () = self.owner.leave.cancelled(), if !self.is_leaving && !resting => self.leave(),
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

    /// A ring is only a hint: where the store cannot be read now, the next poll rings again.
    async fn hear_signals(&mut self) {
        if let Err(error) = self.take_signals().await {
            tracing::warn!(run = %self.row.id, %error, "signals could not be read; they are asked for again");
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
        self.close_folder(owned).await;
    }
}

async fn sleep_for(span: Option<Duration>) {
    match span {
        Some(span) => tokio::time::sleep(span).await,
        None => std::future::pending().await,
    }
}
