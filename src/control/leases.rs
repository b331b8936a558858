//! Who is dead by the leases: the liveness of the fleet.
//!
//! The store declares dead, by its own clock, whose lease has run out; a worker has stopped itself before that. Its
//! clock may be set, though, or another server with another clock may answer after a failover: then leases run out
//! that their workers still count on. So after such a change nobody's runs are taken for one lease: by then every
//! worker has had its beat refused or has given up.
//!
//! A step of the clock shows against `CLOCK_BOOTTIME` of this machine: what the store said the last time, and what it
//! says now, bound the difference of the two clocks from both sides. Between two looks the clock may have been set and
//! set right again, so what was not looked at for a lease is a change as well. And where an answer takes longer than
//! usual the clock may have been set before it was given, by less than it took: nobody is dead by such an answer, the
//! next one tells. A process that starts has nothing to compare with, and goes by the leases alone.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;

use crate::{
    model::WorkerId,
    ports::{BootTime, ExpiredWorkers, Liveness, Store, StoreError},
};

/// Of whom it is told at once.
const SLICE: usize = 100;

/// Clocks drift apart and are slewed; this much more between two looks is a step.
const DRIFT: Duration = Duration::from_millis(250);

/// Liveness by leases.
pub struct Leases {
    store: Arc<dyn Store>,
    boot: Arc<dyn BootTime>,
    lease: Duration,
    seen: Mutex<Seen>,
}

impl std::fmt::Debug for Leases {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Leases").field("lease", &self.lease).finish_non_exhaustive()
    }
}

impl Leases {
    /// `lease`: how long the longest lease in the fleet is.
    pub fn new(store: Arc<dyn Store>, boot: Arc<dyn BootTime>, lease: Duration) -> Leases {
        Leases { store, boot, lease, seen: Mutex::default() }
    }
}

#[async_trait]
impl Liveness for Leases {
    async fn dead(&self) -> Result<Vec<WorkerId>, StoreError> {
        let sent = self.boot.since_boot();
        let expired = self.store.expired_workers(SLICE).await?;
        let heard = self.boot.since_boot();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(seen.dead(expired, (sent, heard), self.lease))
    }
}

/// What was seen the last time.
#[derive(Debug, Default)]
struct Seen {
    last: Option<Look>,
    wait_until: Duration,
    /// What an answer takes: that of a database far away takes longer, and is to be believed.
    usual: Option<Duration>,
}

#[derive(Debug, Clone, Copy)]
struct Look {
    server: i64,
    /// Between these is the store's time less the time since boot, in microseconds.
    least: i64,
    most: i64,
    heard: Duration,
}

impl Seen {
    /// Who of those whose leases have run out is dead.
    fn dead(&mut self, expired: ExpiredWorkers, (sent, heard): (Duration, Duration), lease: Duration) -> Vec<WorkerId> {
        if let Some(why) = self.change(&expired, (sent, heard), lease) {
            self.wait_until = heard + lease;
            tracing::warn!(why, wait = ?lease, "runs of dead workers are taken back only after one lease");
        }
        let took_long = self.takes_long(heard.saturating_sub(sent));
        if heard < self.wait_until || took_long { Vec::new() } else { expired.workers }
    }

    fn takes_long(&mut self, took: Duration) -> bool {
        let usual = self.usual.unwrap_or(took);
        // What stays slow becomes usual after a few turns; what is quick is so at once.
        self.usual = Some(took.min(usual + took.saturating_sub(usual) / 4));
        took > usual + DRIFT
    }

    /// Why what the store says cannot be compared with what it said before.
    fn change(
        &mut self,
        expired: &ExpiredWorkers,
        (sent, heard): (Duration, Duration),
        lease: Duration,
    ) -> Option<&'static str> {
        let now = Look {
            server: expired.server,
            least: expired.now.0.saturating_sub(micros(heard)),
            most: expired.now.0.saturating_sub(micros(sent)),
            heard,
        };
        let last = self.last.replace(now)?;
        let drift = micros(DRIFT);
        if last.server != now.server {
            Some("the database was restarted, or another server has taken over")
        } else if now.least > last.most + drift || now.most < last.least - drift {
            Some("the clock of the database was set")
        } else if sent.saturating_sub(last.heard) > lease {
            Some("nobody here has looked at the clock of the database for longer than a lease")
        } else {
            // An answer that took long says little: what was known better before is still known after it.
            self.last = Some(now.with(last));
            None
        }
    }
}

impl Look {
    /// What both say together; where the clock was slewed in between, what this one says that is nearest to the other.
    fn with(self, before: Look) -> Look {
        let within = |bound: i64| bound.clamp(self.least, self.most);
        Look { least: within(before.least), most: within(before.most), ..self }
    }
}

fn micros(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Micros;

    #[test]
    fn who_has_expired_is_dead_by_a_quick_answer_alone() {
        let worker = WorkerId(uuid::Uuid::from_u128(1));
        let mut seen = Seen::default();
        let mut dead = |now: i64, sent: u64, heard: u64| {
            let expired = ExpiredWorkers { now: Micros(now * 1_000), server: 1, workers: vec![worker] };
            seen.dead(expired, (Duration::from_millis(sent), Duration::from_millis(heard)), Duration::from_secs(3))
        };
        assert_eq!(dead(500, 500, 501), [worker]);
        assert_eq!(dead(1_400, 1_000, 1_900), [], "by an answer that took long");
        assert_eq!(dead(2_000, 2_000, 2_001), [worker]);
        assert_eq!(dead(3_000, 2_500, 2_501), [], "by a clock that was set");
        assert_eq!(dead(6_000, 5_500, 5_501), [worker], "a lease later");
    }

    fn look(seen: &mut Seen, server: i64, now: i64, sent: u64, heard: u64) -> bool {
        let expired = ExpiredWorkers { now: Micros(now * 1_000), server, workers: Vec::new() };
        let (sent, heard) = (Duration::from_millis(sent), Duration::from_millis(heard));
        seen.change(&expired, (sent, heard), Duration::from_secs(3)).is_some()
    }

    #[test]
    fn a_steady_clock_is_no_change_however_slow_the_answers_are() {
        let mut seen = Seen::default();
        assert!(!look(&mut seen, 1, 1_000_000, 500, 501));
        assert!(!look(&mut seen, 1, 1_000_500, 1_000, 1_001));
        // Said at 1,500, heard at 9,000.
        assert!(!look(&mut seen, 1, 1_001_000, 1_500, 9_000));
        assert!(!look(&mut seen, 1, 1_009_000, 9_500, 9_501));
        // Slewed by 0.1 s.
        assert!(!look(&mut seen, 1, 1_009_600, 10_000, 10_001));
    }

    #[test]
    fn a_step_does_not_hide_in_an_answer_that_took_long() {
        let mut seen = Seen::default();
        assert!(!look(&mut seen, 1, 1_000_000, 500, 501));
        // Set by 1.6 s meanwhile: as if it had been answered at 2,100 and been heard soon.
        assert!(!look(&mut seen, 1, 1_001_600, 500, 2_300));
        assert!(look(&mut seen, 1, 1_003_500, 2_400, 2_401));
        assert!(!look(&mut seen, 1, 1_004_000, 2_900, 2_901));
    }

    #[test]
    fn a_step_does_not_pass_for_a_slew_in_an_answer_that_took_long() {
        let mut seen = Seen::default();
        assert!(!look(&mut seen, 1, 1_000_000, 500, 501));
        // Set by 0.767 s meanwhile, of which the 0.557 s that the answer took hide all but 0.21 s.
        assert!(!look(&mut seen, 1, 1_001_267, 1_000, 1_557));
        assert!(look(&mut seen, 1, 1_001_827, 1_560, 1_561));
        assert!(!look(&mut seen, 1, 1_002_327, 2_060, 2_061));
    }

    #[test]
    fn an_answer_that_took_long_says_nobody_to_be_dead() {
        let long = |answers: &[u64]| {
            let mut seen = Seen::default();
            answers.iter().map(|millis| seen.takes_long(Duration::from_millis(*millis))).collect::<Vec<_>>()
        };
        assert_eq!(long(&[400, 300, 550, 20, 271, 20, 270]), [false, false, false, false, true, false, false]);
        assert_eq!(long(&[1, 1_000, 1_000, 1_000, 1_000, 1_000, 1_000, 1_000])[5..], [true, false, false], "for good");
    }

    #[test]
    fn what_happened_in_a_long_silence_is_not_known() {
        let mut seen = Seen::default();
        assert!(!look(&mut seen, 1, 1_000_000, 500, 501));
        assert!(!look(&mut seen, 1, 1_003_000, 3_500, 3_501));
        // Set back and set right meanwhile, perhaps, and leases were granted in between.
        assert!(look(&mut seen, 1, 1_006_002, 6_502, 6_503));
        assert!(!look(&mut seen, 1, 1_006_500, 7_000, 7_001));
    }

    #[test]
    fn a_step_of_the_clock_and_another_server_are_changes() {
        for step in [-3_600_000, -400, 400, 20_000] {
            let mut seen = Seen::default();
            assert!(!look(&mut seen, 1, 1_000_000, 500, 501));
            assert!(look(&mut seen, 1, 1_000_500 + step, 1_000, 1_001), "{step}");
            assert!(!look(&mut seen, 1, 1_001_000 + step, 1_500, 1_501), "{step}");
        }
        let mut seen = Seen::default();
        assert!(!look(&mut seen, 1, 1_000_000, 500, 501));
        assert!(look(&mut seen, 2, 1_000_500, 1_000, 1_001));
        assert!(!look(&mut seen, 2, 1_001_000, 1_500, 1_501));
    }
}
