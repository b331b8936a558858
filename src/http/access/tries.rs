//! How many tries with a wrong key there may be: a bucket that fills up again with time.

use std::sync::{Mutex, PoisonError};

use crate::model::Micros;

/// Tries that may fail at once.
const BURST: i64 = 100;

/// One more may fail every so many microseconds.
const REFILL: i64 = 1_000_000;

/// The time at which the bucket is full again.
#[derive(Debug, Default)]
pub struct Tries(Mutex<i64>);

impl Tries {
    /// Notes a failed try; answers how many seconds to wait if there were too many.
    pub fn failed(&self, now: Micros) -> Option<u32> {
        let mut full_at = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let next = (*full_at).max(now.0) + REFILL;
        let wait = next - now.0 - BURST * REFILL;
        if wait > 0 {
            return u32::try_from((wait + REFILL - 1) / REFILL).ok();
        }
        *full_at = next;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_may_fail_at_once_and_then_one_a_second() {
        let tries = Tries::default();
        let now = Micros(1_790_000_000_000_000);
        for _ in 0..BURST {
            assert_eq!(tries.failed(now), None);
        }
        assert_eq!(tries.failed(now), Some(1));
        assert_eq!(tries.failed(Micros(now.0 + REFILL)), None);
        assert_eq!(tries.failed(Micros(now.0 + REFILL)), Some(1));
    }
}
