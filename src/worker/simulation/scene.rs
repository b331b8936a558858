//! One simulated world: chance, what went wrong on purpose, and what must never have happened.

use std::{
    fmt::Display,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::engine::testing::Rng;

/// Counts of one kind, by name.
macro_rules! faults {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// How often each fault occurred, and what came of it.
        #[derive(Debug, Clone, Default, PartialEq, Eq)]
        pub struct Faults {
            $($(#[$doc])* pub $name: u32,)*
        }

        impl Faults {
            pub fn add(&mut self, other: &Faults) {
                $(self.$name += other.$name;)*
            }

            /// Those that never occurred.
            pub fn missing(&self) -> Vec<&'static str> {
                [$((stringify!($name), self.$name)),*].into_iter().filter(|(_, n)| *n == 0).map(|(name, _)| name).collect()
            }
        }
    };
}

faults! {
    /// The store answered with an error before it wrote, or after.
    before_write,
    after_write,
    refused,
    lost_claims,
    /// A request for a run had no good answer.
    asked_again,
    full,
    lost_rings,
    doubled_rings,
    kills,
    /// Declared dead although it goes on; only where locks say who is dead.
    mistaken_deaths,
    clock_jumps,
    drains,
    /// A line between a process and the store was cut, or held everything back.
    cuts,
    stalls,
    heals,
    /// What a process sent arrived, and the answers did not.
    held_answers,
    /// The store carried something out whose sender waited no more.
    late_requests,
    /// A process was stopped for less than its lease, or for more.
    short_stops,
    long_stops,
    /// The clock of the database was set; another server took over.
    database_clock_steps,
    failovers,
    /// The same after answers that had taken long.
    slow_failovers,
    leases_lost,
    /// A process lives on under a new id.
    comebacks,
    /// A worker's runs were taken back.
    burials,
    /// Runs that went to somebody who lives where their worker died.
    inherited,
    /// A run gave up its owner until a time, and was woken.
    naps,
    fenced_commits,
    /// Something of a step was still under way when its worker's lease ran out.
    ended_by_deadline,
    /// A request that had begun before was still being served when the step began again elsewhere.
    requests_outlived,
}

/// Cheap to clone.
#[derive(Clone)]
pub struct Scene {
    rng: Arc<Mutex<Rng>>,
    faults: Arc<Mutex<Faults>>,
    wrong: Arc<Mutex<Vec<String>>>,
    /// Whether what happens is told on standard error.
    tells: bool,
    start: Instant,
    /// What goes on outside of all processes: requests on their way, and repairs.
    pub outside: TaskTracker,
}

impl Scene {
    pub fn new(seed: u64, tells: bool) -> Scene {
        Scene {
            rng: Arc::new(Mutex::new(Rng(!seed))),
            faults: Arc::default(),
            wrong: Arc::default(),
            tells,
            start: Instant::now(),
            outside: TaskTracker::new(),
        }
    }

    pub fn below(&self, n: usize) -> usize {
        self.rng.lock().unwrap().below(n)
    }

    pub fn one_in(&self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// Whole milliseconds below `limit`.
    pub fn span(&self, limit: Duration) -> Duration {
        let millis = usize::try_from(limit.as_millis()).unwrap();
        Duration::from_millis(self.below(millis.max(1)) as u64)
    }

    pub fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().unwrap()
    }

    /// A rule was broken. Steps and sweeps survive panics, so it is only written down here.
    pub fn wrong(&self, what: impl Display) {
        self.wrong.lock().unwrap().push(format!("{:?}: {what}", self.start.elapsed()));
    }

    /// Panics with the rules that were broken so far.
    pub fn assert_right(&self) {
        let wrong = self.wrong.lock().unwrap();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    /// Tells what happens, when one seed is looked at.
    pub fn tell<T: Display>(&self, what: impl FnOnce() -> T) {
        if self.tells {
            eprintln!("{:>12?}  {}", self.start.elapsed(), what());
        }
    }
}
