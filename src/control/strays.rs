//! Runs that the store says are this worker's and that nobody here drives: the answer of a claim was lost, a row
//! could not be read, an owner gave up or panicked.

use std::{collections::HashMap, time::Duration};

use tokio::time::Instant;

use crate::model::{Epoch, RunId};

/// A run may be on its way to its owner for a while.
const UNATTENDED: Duration = Duration::from_secs(10);

/// Each time a run comes back it is left alone twice as long, up to 2^6 times.
const DOUBLINGS: u32 = 6;

/// A run that was given back this long ago and has not come back is forgotten.
const FORGOTTEN: Duration = Duration::from_hours(1);

/// What the sweeps of one process remember of them.
#[derive(Debug, Default)]
pub(super) struct Strays {
    known: HashMap<RunId, Stray>,
}

#[derive(Debug)]
struct Stray {
    epoch: Epoch,
    /// When it was first seen like this.
    since: Instant,
    /// How often it was given back in a row.
    given_back: u32,
}

impl Strays {
    /// Those of the owned runs that have had no driver for long enough to be given back.
    pub(super) fn due(
        &mut self,
        owned: &[(RunId, Epoch)],
        is_driven: impl Fn(RunId) -> bool,
        now: Instant,
    ) -> Vec<(RunId, Epoch)> {
        let (driven, unattended): (Vec<_>, Vec<_>) = owned.iter().copied().partition(|(run, _)| is_driven(*run));
        for (run, _) in driven {
            self.known.remove(&run);
        }
        let mut due = Vec::new();
        for (run, epoch) in unattended {
            let stray = self.known.entry(run).or_insert(Stray { epoch, since: now, given_back: 0 });
            if stray.epoch != epoch {
                (stray.epoch, stray.since) = (epoch, now);
            }
            if now.duration_since(stray.since) >= UNATTENDED * 2_u32.pow(stray.given_back.min(DOUBLINGS)) {
                due.push((run, epoch));
            }
        }
        self.known.retain(|run, stray| {
            let is_owned = owned.iter().any(|(owned, _)| owned == run);
            is_owned || (stray.given_back > 0 && now.duration_since(stray.since) < FORGOTTEN)
        });
        due
    }

    /// The run was given back; answers how often in a row.
    pub(super) fn given_back(&mut self, run: RunId, now: Instant) -> u32 {
        let Some(stray) = self.known.get_mut(&run) else { return 1 };
        stray.since = now;
        stray.given_back += 1;
        stray.given_back
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const RUN: RunId = RunId(Uuid::from_u128(1));

    /// Seconds, from the start, at which a run is given back that fails whenever it is taken up again.
    fn give_backs(sweeps: u64) -> Vec<u64> {
        let (mut strays, start, mut epoch) = (Strays::default(), Instant::now(), 1);
        let mut given = Vec::new();
        for sweep in 0..sweeps {
            let now = start + Duration::from_secs(sweep * 5);
            for (run, _) in strays.due(&[(RUN, Epoch(epoch))], |_| false, now) {
                assert_eq!(strays.given_back(run, now) as usize, given.len() + 1);
                given.push(sweep * 5);
                epoch += 2;
            }
        }
        given
    }

    #[tokio::test]
    async fn a_run_that_comes_back_is_left_alone_longer_each_time() {
        // It is seen again 5 s after each: 10, 5 + 20, 5 + 40, …
        assert_eq!(give_backs(60), [10, 35, 80, 165]);
        let gaps: Vec<u64> = give_backs(2_000).windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert_eq!(gaps.last(), Some(&645));
    }

    #[tokio::test]
    async fn a_run_that_is_driven_or_on_its_way_is_no_stray() {
        let (mut strays, start) = (Strays::default(), Instant::now());
        let after = |seconds| start + Duration::from_secs(seconds);
        let owned = |epoch| [(RUN, Epoch(epoch))];
        assert!(strays.due(&owned(1), |_| false, after(0)).is_empty());
        assert!(strays.due(&owned(1), |_| true, after(9)).is_empty());
        assert!(strays.due(&owned(1), |_| false, after(12)).is_empty(), "driven in between");
        assert!(strays.due(&owned(2), |_| false, after(21)).is_empty(), "claimed anew");
        assert_eq!(strays.due(&owned(2), |_| false, after(31)), owned(2));
        strays.given_back(RUN, after(31));
        assert!(strays.due(&[], |_| false, after(32)).is_empty());
        assert_eq!(strays.known.len(), 1);
        strays.due(&[], |_| false, after(32 + 3_600));
        assert!(strays.known.is_empty(), "{strays:?}");
    }
}
