//! A machine with one process on it: its clock, its line to the store, and whether the process goes on.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll, Waker},
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

use crate::{model::Micros, ports::BootTime};

/// Machines were started up to so long before the world.
const BOOTED: usize = 1_000_000;

/// How much faster or slower a machine's clock may go, in millionths.
const DRIFT: i64 = 500;

/// What becomes of what is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Line {
    #[default]
    Open,
    /// Everything is held back, and goes on when the line is open again.
    Stalled,
    /// What is sent arrives, and answers are held back.
    Deaf,
    /// Whatever is on its way is lost.
    Cut,
}

/// Shared by the process on it and by those who do things to it.
pub struct Host {
    pub name: usize,
    /// Which data folder it has; others may have the same.
    pub place: usize,
    start: Instant,
    /// Its time since boot at the start.
    booted: Duration,
    drift: i64,
    /// What its own clock said at the start.
    pub wall: Micros,
    state: Mutex<State>,
    line_changed: Notify,
}

#[derive(Default)]
struct State {
    stopped: bool,
    dead: bool,
    /// Whether its sweeps have seen the clock of the database.
    has_looked: bool,
    line: Line,
    /// When it went on after its last stop.
    went_on: Option<Instant>,
    waiting: Vec<Waker>,
}

impl Host {
    pub fn new(name: usize, below: impl Fn(usize) -> usize) -> Host {
        let signed = |n: usize| i64::try_from(n).unwrap();
        Host {
            name,
            place: below(3),
            start: Instant::now(),
            booted: Duration::from_secs(below(BOOTED) as u64),
            drift: signed(below(1_001)) * 2 * DRIFT / 1_000 - DRIFT,
            // Up to 12 days off.
            wall: Micros(1_699_000_000_000_000 + signed(below(2_000_000)) * 1_000_000),
            state: Mutex::new(State::default()),
            line_changed: Notify::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// SIGSTOP.
    pub fn stop(&self) {
        self.state().stopped = true;
    }

    /// SIGCONT.
    pub fn go_on(&self) {
        let waiting = {
            let mut state = self.state();
            (state.stopped, state.went_on) = (false, Some(Instant::now()));
            std::mem::take(&mut state.waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
    }

    /// SIGKILL, or its end.
    pub fn die(&self) {
        self.state().dead = true;
    }

    pub fn is_dead(&self) -> bool {
        self.state().dead
    }

    pub fn is_stopped(&self) -> bool {
        self.state().stopped
    }

    /// Whether it is stopped, or has only just gone on, so that nothing in it had its turn yet.
    pub fn stands_still(&self) -> bool {
        let state = self.state();
        state.stopped || state.went_on == Some(Instant::now())
    }

    /// Its sweeps have asked who is dead, and had an answer.
    pub fn look(&self) {
        self.state().has_looked = true;
    }

    pub fn has_looked(&self) -> bool {
        self.state().has_looked
    }

    pub fn set_line(&self, line: Line) {
        self.state().line = line;
        self.line_changed.notify_waiters();
    }

    pub fn line(&self) -> Line {
        self.state().line
    }

    /// Waits for as long as the line holds back what is sent; whether it let pass.
    pub async fn passes(&self) -> bool {
        self.lets_through(|line| line == Line::Stalled).await
    }

    /// The same for an answer.
    pub async fn comes_back(&self) -> bool {
        self.lets_through(|line| line == Line::Stalled || line == Line::Deaf).await
    }

    async fn lets_through(&self, holds_back: impl Fn(Line) -> bool) -> bool {
        loop {
            let changed = self.line_changed.notified();
            match self.line() {
                Line::Cut => return false,
                line if holds_back(line) => changed.await,
                _ => return true,
            }
        }
    }

    /// Work of the process: it gets no turn while the process is stopped, and never again once it is dead.
    pub fn run<F: Future>(self: &Arc<Host>, work: F) -> OnHost<F> {
        OnHost { host: self.clone(), work: Box::pin(work) }
    }

    fn gives_turn(&self, waker: &Waker) -> bool {
        let mut state = self.state();
        if state.stopped && !state.dead && !state.waiting.iter().any(|waiting| waiting.will_wake(waker)) {
            state.waiting.push(waker.clone());
        }
        !state.stopped && !state.dead
    }
}

impl BootTime for Host {
    fn since_boot(&self) -> Duration {
        let elapsed = self.start.elapsed();
        let micros = i64::try_from(elapsed.as_micros()).unwrap();
        let shown = micros + micros * self.drift / 1_000_000;
        self.booted + Duration::from_micros(shown.unsigned_abs())
    }
}

/// A host's time since boot, by value.
pub struct Boot(pub Arc<Host>);

impl BootTime for Boot {
    fn since_boot(&self) -> Duration {
        self.0.since_boot()
    }
}

/// See [`Host::run`].
pub struct OnHost<F> {
    host: Arc<Host>,
    work: Pin<Box<F>>,
}

impl<F: Future> Future for OnHost<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        if self.host.gives_turn(context.waker()) { self.work.as_mut().poll(context) } else { Poll::Pending }
    }
}
