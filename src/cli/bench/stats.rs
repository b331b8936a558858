//! Medians and percentiles.

use std::time::Duration;

/// The value below which `share` of the samples lie (nearest rank), in milliseconds.
pub(super) fn percentile(samples: &[Duration], share: f64) -> Option<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rank between 0 and the length")]
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.clamp(1, sorted.len().max(1)) - 1).map(|d| d.as_secs_f64() * 1_000.0)
}

pub(super) fn median(samples: &[Duration]) -> Option<f64> {
    percentile(samples, 0.5)
}

/// Two digits after the point are more than the noise.
pub(super) fn rounded(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_rank() {
        let samples: Vec<Duration> = (1..=100).rev().map(Duration::from_millis).collect();
        assert_eq!(percentile(&samples, 0.5), Some(50.0));
        assert_eq!(percentile(&samples, 0.95), Some(95.0));
        assert_eq!(percentile(&samples, 1.0), Some(100.0));
        assert_eq!(percentile(&[], 0.5), None);
        assert_eq!(median(&[Duration::from_millis(3)]), Some(3.0));
    }
}
