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
/// Once the store has told its time it never runs back; a system that is ahead does not make it stand still until then.
#[derive(Debug)]
pub struct OffsetClock<B = BootClock> {
    boot: B,
    /// The store's time less the time since boot.
    offset: AtomicI64,
    is_told: AtomicBool,
    /// The latest that was shown since.
    latest: AtomicI64,
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
        OffsetClock { boot, offset, is_told: AtomicBool::new(false), latest: AtomicI64::new(i64::MIN) }
    }
}

impl<B: BootTime> Clock for OffsetClock<B> {
    fn now(&self) -> Micros {
        // Before the offset: whoever is told later shows what was known until now, and keeps nothing of it.
        let is_told = self.is_told.load(Ordering::Acquire);
        let now = micros(self.boot.since_boot()) + self.offset.load(Ordering::Relaxed);
        if !is_told {
            return Micros(now);
        }
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
        self.is_told.store(true, Ordering::Release);
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

    /// Milliseconds since boot.
    #[derive(Clone, Default)]
    struct Hand(Arc<AtomicU64>);

    impl BootTime for Hand {
        fn since_boot(&self) -> Duration {
            Duration::from_millis(self.0.load(Ordering::Relaxed))
        }
    }

    #[test]
    fn a_system_that_is_ahead_does_not_make_it_stand_still() {
        let hand = Hand::default();
        let clock = OffsetClock::over(hand.clone(), Micros(5_000_000_000));
        assert_eq!(clock.now(), Micros(5_000_000_000));
        clock.told(Micros(4_000_000_000), Duration::ZERO, Duration::ZERO);
        assert_eq!(clock.now(), Micros(4_000_000_000));
        hand.0.store(500, Ordering::Relaxed);
        assert_eq!(clock.now(), Micros(4_000_500_000));
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
