//! Capture time.

use std::fmt;
use std::time::Duration;

/// Capture time: nanoseconds since the Unix epoch, copied from the packet header.
///
/// Deliberately not [`std::time::Instant`], which cannot be rebuilt from a capture file, so a
/// replay could never reproduce a live run. Good until the year 2554.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd, Hash)]
pub struct Stamp(u64);

impl Stamp {
    /// The Unix epoch.
    pub const ZERO: Self = Self(0);

    /// Makes a stamp from nanoseconds since the Unix epoch.
    pub const fn from_unix_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Returns nanoseconds since the Unix epoch.
    pub const fn as_unix_nanos(self) -> u64 {
        self.0
    }

    /// Returns milliseconds since the Unix epoch, rounded down.
    pub const fn as_unix_millis(self) -> u64 {
        self.0 / 1_000_000
    }

    /// Returns the time since `earlier`, or zero where `earlier` is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// Returns `self - other` in nanoseconds, negative where `other` is later.
    pub const fn nanos_after(self, other: Self) -> i64 {
        self.0.wrapping_sub(other.0) as i64
    }

    /// Returns this time plus `duration`, stopping at the end of the range.
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// Returns this time minus `duration`, stopping at the epoch.
    pub fn before(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// Returns this time plus `nanos`, which may be negative, stopping at both ends of the range.
    pub const fn shifted(self, nanos: i64) -> Self {
        Self(self.0.saturating_add_signed(nanos))
    }
}

/// RFC 3339 in UTC with nanoseconds, as manifests print it.
impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = jiff::Timestamp::from_nanosecond(i128::from(self.0)).map_err(|_| fmt::Error)?;
        write!(f, "{at:.9}")
    }
}

impl serde::Serialize for Stamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Stamp {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        let at: jiff::Timestamp = text.parse().map_err(serde::de::Error::custom)?;
        u64::try_from(at.as_nanosecond()).map(Self).map_err(serde::de::Error::custom)
    }
}

/// From when to when, of a sound's own time.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Span {
    /// Milliseconds from its beginning.
    pub from_ms: u64,
    /// The first that is heard again.
    pub to_ms: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_nanoseconds_and_reads_them_back() {
        let at = Stamp::from_unix_nanos(1_795_468_121_220_582_001);
        assert_eq!(at.to_string(), "2026-11-23T21:08:41.220582001Z");
        let json = serde_json::to_string(&at).unwrap();
        assert_eq!(serde_json::from_str::<Stamp>(&json).unwrap(), at);
    }

    #[test]
    fn differences_are_signed_where_asked() {
        let (a, b) = (Stamp::from_unix_nanos(5), Stamp::from_unix_nanos(9));
        assert_eq!(a.nanos_after(b), -4);
        assert_eq!(a.since(b), Duration::ZERO);
        assert_eq!(b.since(a), Duration::from_nanos(4));
        assert_eq!((a.shifted(4), b.shifted(-4), a.shifted(-9)), (b, a, Stamp::ZERO));
    }
}
