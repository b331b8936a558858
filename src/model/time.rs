//! Points in time and spans of time. Only `system` reads a clock.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// A point in time: microseconds since the Unix epoch, UTC. RFC 3339 with milliseconds at the edges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Micros(pub i64);

impl Micros {
    /// `self + span`, saturating.
    #[must_use]
    pub fn plus(self, span: Millis) -> Micros {
        Micros(self.0.saturating_add_unsigned(span.0.saturating_mul(1_000)))
    }

    /// `self - span`, saturating.
    #[must_use]
    pub fn before(self, span: Millis) -> Micros {
        Micros(self.0.saturating_sub_unsigned(span.0.saturating_mul(1_000)))
    }

    /// The time from `earlier` to `self`; zero if `earlier` is later.
    pub fn since(self, earlier: Micros) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Whole milliseconds since the epoch, rounded down.
    pub fn millis(self) -> i64 {
        self.0.div_euclid(1_000)
    }
}

impl fmt::Display for Micros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(at) => write!(f, "{at:.3}"),
            // Beyond the year 9999 there is no RFC 3339 form; show the number rather than fail.
            Err(_) => write!(f, "{}us", self.0),
        }
    }
}

impl FromStr for Micros {
    type Err = jiff::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse::<jiff::Timestamp>().map(|at| Micros(at.as_microsecond()))
    }
}

impl Serialize for Micros {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Micros {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// A span of time in milliseconds; written `50ms`, `30s`, `5m`, `2h` or `1d` in runbooks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Millis(pub u64);

impl Millis {
    pub const fn seconds(n: u64) -> Millis {
        Millis(n * 1_000)
    }

    pub fn duration(self) -> Duration {
        Duration::from_millis(self.0)
    }
}

/// The text is not a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a duration is a whole number and a unit: 50ms, 30s, 5m, 2h or 1d")]
pub struct ParseDuration;

const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

impl FromStr for Millis {
    type Err = ParseDuration;

    /// At most 3,650 days, so that a point in time plus a span is always a point in time.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let number: u64 = number.parse().map_err(|_| ParseDuration)?;
        let factor = UNITS.iter().find(|(name, _)| *name == unit).ok_or(ParseDuration)?.1;
        let millis = number.checked_mul(factor).ok_or(ParseDuration)?;
        if millis > 3_650 * 86_400_000 { Err(ParseDuration) } else { Ok(Millis(millis)) }
    }
}

impl fmt::Display for Millis {
    /// The shortest exact form: `90s` rather than `90000ms`, `2h` rather than `120m`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, factor) = UNITS
            .iter()
            .rev()
            .find(|(_, factor)| self.0 >= *factor && self.0.is_multiple_of(*factor))
            .unwrap_or(&UNITS[0]);
        write!(f, "{}{unit}", self.0 / factor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_and_write() {
        for text in ["0ms", "50ms", "30s", "5m", "2h", "1d", "90s"] {
            assert_eq!(text.parse::<Millis>().unwrap().to_string(), text);
        }
        for text in ["", "5", "s", "1.5s", "-1s", "1 s", "1w", "99999999999999999999s", "4000d", "1S"] {
            assert_eq!(text.parse::<Millis>(), Err(ParseDuration), "{text}");
        }
    }

    #[test]
    fn times_are_rfc_3339_with_milliseconds() {
        let at: Micros = "2026-03-29T01:00:00.123456Z".parse().unwrap();
        assert_eq!(at.to_string(), "2026-03-29T01:00:00.123Z");
        assert_eq!(Micros(i64::MAX).to_string(), format!("{}us", i64::MAX));
    }
}
