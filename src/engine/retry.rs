//! Backoff: a pure function of the policy, the run's seed, the step and the attempt.

use crate::{
    model::{AttemptId, Millis},
    runbook::{Jitter, RetryPolicy},
};

/// The wait after the `failures`-th failure (from 1): `delay × backoff^(failures − 1)`, at most
/// `max_delay`, then a share of it by jitter. Full jitter after
/// <https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/>.
pub fn delay(policy: &RetryPolicy, seed: u64, attempt: AttemptId, failures: u32) -> Millis {
    let exponent = i32::try_from(failures.saturating_sub(1)).unwrap_or(i32::MAX);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "`as` saturates, and the cap is applied before it"
    )]
    let full = (policy.delay.0 as f64 * policy.backoff.powi(exponent)).min(policy.max_delay.0 as f64) as u64;
    match policy.jitter {
        Jitter::None => Millis(full),
        Jitter::Full => Millis(noise(seed, attempt) % full.saturating_add(1).max(1)),
    }
}

/// The same number for the same attempt of the same run, wherever it is computed.
fn noise(seed: u64, attempt: AttemptId) -> u64 {
    mix(seed ^ mix(u64::from(attempt.step.0) << 32 | u64::from(attempt.number)))
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood 2014).
fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::StepIx;

    fn policy(jitter: Jitter) -> RetryPolicy {
        RetryPolicy {
            max_attempts: 9,
            delay: Millis(100),
            backoff: 2.0,
            max_delay: Millis(1_000),
            jitter,
            ..RetryPolicy::never()
        }
    }

    fn attempt(number: u32) -> AttemptId {
        AttemptId { step: StepIx(3), number }
    }

    #[test]
    fn grows_by_the_factor_up_to_the_cap() {
        let waits: Vec<u64> = (1..=6).map(|n| delay(&policy(Jitter::None), 7, attempt(n), n).0).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1_000, 1_000]);
        assert_eq!(delay(&policy(Jitter::None), 7, attempt(1), u32::MAX).0, 1_000);
    }

    #[test]
    fn full_jitter_is_deterministic_and_spreads_over_the_whole_delay() {
        let draws: Vec<u64> = (0..1_000).map(|seed| delay(&policy(Jitter::Full), seed, attempt(1), 1).0).collect();
        assert_eq!(
            draws,
            (0..1_000).map(|seed| delay(&policy(Jitter::Full), seed, attempt(1), 1).0).collect::<Vec<_>>()
        );
        assert!(draws.iter().all(|d| *d <= 100));
        let mean = draws.iter().sum::<u64>() as f64 / 1_000.0;
        assert!((45.0..55.0).contains(&mean), "mean {mean}");
    }
}
