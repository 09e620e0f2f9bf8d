//! Times and spans as every format writes them.

use std::fmt;

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use crate::engine::batch::WallClock;

/// A moment as RFC 3339 with nanoseconds in UTC; displayed with fewer decimals by precision (`{:.0}`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rfc3339(Timestamp);

impl Rfc3339 {
    /// The wall clock at a monotonic time. Beyond the year 9999 time stands still.
    pub fn at(wall: WallClock, ktime_ns: u64) -> Self {
        let unix_ns = wall.unix_ns(ktime_ns);
        let end = if unix_ns < 0 { Timestamp::MIN } else { Timestamp::MAX };
        Self(Timestamp::from_nanosecond(unix_ns).unwrap_or(end))
    }

    /// From nanoseconds since the Unix epoch.
    pub fn unix_ns(unix_ns: i64) -> Self {
        Self::at(WallClock { offset_ns: unix_ns }, 0)
    }
}

impl fmt::Display for Rfc3339 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.*}", f.precision().unwrap_or(9), self.0)
    }
}

impl Serialize for Rfc3339 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A span in the unit a person would choose.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Span {
    /// How long.
    pub seconds: f64,
}

impl Span {
    /// From nanoseconds.
    pub fn ns(ns: u64) -> Self {
        Self { seconds: ns as f64 / 1e9 }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.seconds {
            s if s < 1.0 => write!(f, "{:.0} ms", s * 1e3),
            s if s < 60.0 => write!(f, "{s:.1} s"),
            s if s < 3600.0 => write!(f, "{:.1} min", s / 60.0),
            s if s < 86_400.0 => write!(f, "{:.1} h", s / 3600.0),
            s => write!(f, "{:.1} d", s / 86_400.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_have_nanoseconds_and_are_utc() {
        let wall = WallClock { offset_ns: 1_795_000_000_000_000_000 };
        assert_eq!(Rfc3339::at(wall, 250_123_456).to_string(), "2026-11-18T11:06:40.250123456Z");
        assert_eq!(Rfc3339::at(wall, 0).to_string(), "2026-11-18T11:06:40.000000000Z");
        assert_eq!(format!("{:.0}", Rfc3339::at(wall, 999)), "2026-11-18T11:06:40Z");
    }

    #[test]
    fn no_clock_is_too_odd() {
        assert_eq!(Rfc3339::at(WallClock { offset_ns: -1 }, 0).to_string(), "1969-12-31T23:59:59.999999999Z");
        let far = Rfc3339::at(WallClock { offset_ns: i64::MAX }, u64::MAX).to_string();
        assert!(far.starts_with("2846-"), "{far}");
    }

    #[test]
    fn spans_read_well() {
        let spans = [0.0, 0.25, 3.21, 90.0, 7200.0, 172_800.0].map(|seconds| Span { seconds }.to_string());
        assert_eq!(spans, ["0 ms", "250 ms", "3.2 s", "1.5 min", "2.0 h", "2.0 d"]);
    }
}
