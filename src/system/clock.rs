//! The clocks: the system's, the time since boot, and the store's as far as it is known here.

use std::{
    sync::atomic::{AtomicBool, AtomicI64, Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crate::{
    model::Micros,
    ports::{BootTime, Clock, StoreTime},
};

/// Wall-clock time. It may jump; durations are measured with `tokio::time` or `Instant`.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
    fn now(&self) -> Micros {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }
}

/// `CLOCK_BOOTTIME`.
#[derive(Debug, Clone, Copy, Default)]
pub struct BootClock;

impl BootTime for BootClock {
    fn since_boot(&self) -> Duration {
        // Elsewhere the monotonic clock has to do; it stands still while the machine sleeps.
        #[cfg(target_os = "linux")]
        let clock = rustix::time::ClockId::Boottime;
        #[cfg(not(target_os = "linux"))]
        let clock = rustix::time::ClockId::Monotonic;
        let now = rustix::time::clock_gettime(clock);
        // The time since the machine started is not negative.
        Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or(0))
    }
}

/// The store's time: the time since boot, and the difference that beats tell. Before the first one it is the system's.
/// It never runs back.
#[derive(Debug)]
pub struct OffsetClock<B = BootClock> {
    boot: B,
    /// The store's time less the time since boot.
    offset: AtomicI64,
    latest: AtomicI64,
    /// Whether the store has told its time.
    is_told: AtomicBool,
}

impl OffsetClock {
    pub fn new() -> OffsetClock {
        OffsetClock::over(BootClock, SystemClock.now())
    }
}

impl Default for OffsetClock {
    fn default() -> OffsetClock {
        OffsetClock::new()
    }
}

impl<B: BootTime> OffsetClock<B> {
    /// A clock that shows `now` at first.
    pub fn over(boot: B, now: Micros) -> OffsetClock<B> {
        let offset = AtomicI64::new(now.0 - micros(boot.since_boot()));
        OffsetClock { boot, offset, latest: AtomicI64::new(i64::MIN), is_told: AtomicBool::new(false) }
    }
}

impl<B: BootTime> Clock for OffsetClock<B> {
    fn now(&self) -> Micros {
        let now = micros(self.boot.since_boot()) + self.offset.load(Ordering::Relaxed);
        Micros(self.latest.fetch_max(now, Ordering::Relaxed).max(now))
    }
}

impl<B: BootTime> StoreTime for OffsetClock<B> {
    fn told(&self, now: Micros, sent: Duration, heard: Duration) {
        let (least, most) = (now.0 - micros(heard), now.0 - micros(sent));
        // What agrees with what is known already says nothing new.
        if !(least..=most).contains(&self.offset.load(Ordering::Relaxed)) {
            self.offset.store(least + (most - least) / 2, Ordering::Relaxed);
        }
        // What was shown before was the machine's time. Were it ahead, this clock would stand until the store's is there.
        if !self.is_told.swap(true, Ordering::Relaxed) {
            self.latest.store(i64::MIN, Ordering::Relaxed);
        }
    }
}

fn micros(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, atomic::AtomicU64};

    use super::*;

    #[test]
    fn it_is_later_than_this_line_was_written() {
        assert!(SystemClock.now() > "2025-06-01T00:00:00Z".parse().unwrap());
    }

    #[test]
    fn the_time_since_boot_goes_on() {
        let before = BootClock.since_boot();
        assert!(before > Duration::ZERO && BootClock.since_boot() >= before);
    }

    #[test]
    fn a_machine_that_is_ahead_does_not_make_it_stand() {
        let clock = OffsetClock::over(Hand::default(), Micros(9_000_000_000));
        assert_eq!(clock.now(), Micros(9_000_000_000));
        clock.told(Micros(5_000_000_000), Duration::ZERO, Duration::ZERO);
        assert_eq!(clock.now(), Micros(5_000_000_000));
    }

    /// Milliseconds since boot.
    #[derive(Clone, Default)]
    struct Hand(Arc<AtomicU64>);

    impl BootTime for Hand {
        fn since_boot(&self) -> Duration {
            Duration::from_millis(self.0.load(Ordering::Relaxed))
        }
    }

    #[test]
    fn it_is_the_stores_time_and_never_runs_back() {
        let hand = Hand::default();
        let at = |millis: u64| hand.0.store(millis, Ordering::Relaxed);
        let span = Duration::from_millis;
        at(1_000);
        let clock = OffsetClock::over(hand.clone(), Micros(5_000_000_000));
        assert_eq!(clock.now(), Micros(5_000_000_000));
        at(1_500);
        assert_eq!(clock.now(), Micros(5_000_500_000));
        // The store is 10 s ahead: between the two, as near as can be told.
        clock.told(Micros(5_010_500_000), span(1_490), span(1_510));
        assert_eq!(clock.now(), Micros(5_010_500_000));
        // An answer that took long and agrees changes nothing.
        at(4_000);
        clock.told(Micros(5_012_000_000), span(2_000), span(4_000));
        assert_eq!(clock.now(), Micros(5_013_000_000));
        // The store's clock is set back: time stands until it has caught up.
        clock.told(Micros(5_012_000_000), span(3_999), span(4_001));
        assert_eq!(clock.now(), Micros(5_013_000_000));
        at(4_500);
        assert_eq!(clock.now(), Micros(5_013_000_000));
        at(6_000);
        assert_eq!(clock.now(), Micros(5_014_000_000));
    }
}
