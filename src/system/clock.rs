//! The system's clock.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::{model::Micros, ports::Clock};

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_later_than_this_line_was_written() {
        assert!(SystemClock.now() > "2025-06-01T00:00:00Z".parse().unwrap());
    }
}
