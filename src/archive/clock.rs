//! Whether the clock may be believed: what is destroyed by a wrong one does not come back.
//!
//! A clock is compared with one that only goes forward and nobody sets, from the first time that both were read since
//! the machine started, and with the newest entry of the log. Over a restart only one bound is left: it was off for
//! longer than nothing.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::time::Stamp;

/// Both clocks, read together.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reading {
    /// What the wall clock says.
    pub wall: Stamp,
    /// Since the machine started, with the time it slept.
    pub running: Duration,
    /// Which start that was.
    pub boot: String,
}

/// What is known of an earlier time.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Past {
    /// When both clocks were first read since a start, and believed: see [`to_keep`].
    pub believed: Option<Reading>,
    /// Time of the newest entry in the log.
    pub newest_entry: Option<Stamp>,
}

/// Whether the clock may be believed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ClockTrust {
    /// Nothing speaks against it.
    Trusted,
    /// Something does: nothing is destroyed.
    Doubted(ClockDoubt),
}

/// What speaks against a clock.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ClockDoubt {
    /// It is before the log's newest entry.
    #[error("the clock says {now}, and the newest entry of the log is of {newest}")]
    BeforeLog {
        /// What it says.
        now: Stamp,
        /// What was written earlier.
        newest: Stamp,
    },
    /// It went further than time did.
    #[error("the clock says {now}, and by the time that has passed it is {expected} or not much later")]
    Ahead {
        /// What it says.
        now: Stamp,
        /// What it should say.
        expected: Stamp,
    },
    /// It went back.
    #[error("the clock says {now}, and by the time that has passed it is {expected}")]
    Behind {
        /// What it says.
        now: Stamp,
        /// What it should say.
        expected: Stamp,
    },
}

/// Compares a reading with the past.
pub fn trust(now: &Reading, past: &Past) -> ClockTrust {
    let wall = now.wall;
    if let Some(newest) = past.newest_entry
        && wall.after(SKEW) < newest
    {
        return ClockTrust::Doubted(ClockDoubt::BeforeLog { now: wall, newest });
    }
    let expected = match &past.believed {
        Some(past) if past.boot == now.boot => {
            let expected = past.wall.after(now.running.saturating_sub(past.running));
            if wall.after(JUMP_MAX) < expected {
                return ClockTrust::Doubted(ClockDoubt::Behind { now: wall, expected });
            }
            expected
        }
        // It was off in between, nobody knows for how long: for more than a day, somebody has to look.
        Some(past) if wall.after(SKEW) < past.wall => {
            return ClockTrust::Doubted(ClockDoubt::Behind { now: wall, expected: past.wall });
        }
        Some(past) => past.wall.after(now.running),
        None => match past.newest_entry {
            Some(newest) => newest.after(now.running),
            None => return ClockTrust::Trusted,
        },
    };
    if wall > expected.after(JUMP_MAX) {
        return ClockTrust::Doubted(ClockDoubt::Ahead { now: wall, expected });
    }
    ClockTrust::Trusted
}

/// The reading to hold later ones against, where a believed one is another than is known. Of one start the first stays:
/// else a clock could go as far as one likes, in steps that are each small enough.
pub fn to_keep(now: &Reading, believed: Option<&Reading>) -> Option<Reading> {
    let is_known = believed.is_some_and(|believed| believed.boot == now.boot);
    (!is_known).then(|| now.clone())
}

/// How far a clock may be from where it should be.
pub const JUMP_MAX: Duration = Duration::from_secs(86_400);
/// Processes of one vault read the clock before they wait for each other, and time services set it by a little.
const SKEW: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400;

    fn reading(wall_s: u64, running_s: u64, boot: &str) -> Reading {
        let wall = Stamp::from_unix_nanos(wall_s * 1_000_000_000);
        Reading { wall, running: Duration::from_secs(running_s), boot: boot.into() }
    }

    fn past(believed: Option<Reading>, newest_s: u64) -> Past {
        Past { believed, newest_entry: Some(Stamp::from_unix_nanos(newest_s * 1_000_000_000)) }
    }

    fn is_trusted(now: &Reading, past: &Past) -> bool {
        trust(now, past) == ClockTrust::Trusted
    }

    #[test]
    fn a_clock_that_jumps_by_more_than_a_day_is_doubted_both_ways() {
        let start = 10_000 * DAY;
        let past = past(Some(reading(start, 500, "a")), start - 9);
        for (passed, wall, trusted) in [
            (0, start, true),
            (40 * DAY, start + 40 * DAY, true),
            (40 * DAY, start + 41 * DAY, true),
            (40 * DAY, start + 41 * DAY + 1, false),
            (40 * DAY, start + 39 * DAY, true),
            (40 * DAY, start + 39 * DAY - 1, false),
            (40 * DAY, start + 40 * DAY + 10 * 365 * DAY, false),
            (40 * DAY, 0, false),
        ] {
            assert_eq!(is_trusted(&reading(wall, 500 + passed, "a"), &past), trusted, "{passed} {wall}");
        }
    }

    #[test]
    fn many_small_steps_are_one_large_one() {
        let (start, step) = (10_000 * DAY, DAY - 3_600);
        let mut past = past(None, start - 9);
        let mut believed = Vec::new();
        for number in 0..5 {
            let now = reading(start + number * step, 500 + number, "a");
            let is_believed = is_trusted(&now, &past);
            believed.push(is_believed);
            if is_believed {
                past.believed = to_keep(&now, past.believed.as_ref()).or(past.believed);
            }
        }
        assert_eq!(believed, [true, true, false, false, false]);
        let restarted = reading(start + 9, 5, "b");
        assert_eq!(to_keep(&restarted, past.believed.as_ref()), Some(restarted));
    }

    #[test]
    fn over_a_restart_it_may_have_been_off_for_a_day() {
        let start = 10_000 * DAY;
        let past = past(Some(reading(start, 500 * DAY, "a")), start - 9);
        assert!(is_trusted(&reading(start + DAY + 60, 60, "b"), &past));
        assert!(is_trusted(&reading(start + 31 * DAY, 30 * DAY, "b"), &past));
        assert!(!is_trusted(&reading(start + 2 * DAY, 60, "b"), &past));
        assert!(!is_trusted(&reading(start - DAY, 60, "b"), &past));
    }

    #[test]
    fn without_an_earlier_reading_the_log_is_what_there_is() {
        let start = 10_000 * DAY;
        assert!(is_trusted(&reading(start, 60, "a"), &Past::default()));
        assert!(is_trusted(&reading(start + DAY, 60, "a"), &past(None, start)));
        assert!(!is_trusted(&reading(start + 2 * DAY, 60, "a"), &past(None, start)));
        let before = reading(start - 61, 60, "a");
        assert!(matches!(
            trust(&before, &past(None, start)),
            ClockTrust::Doubted(ClockDoubt::BeforeLog { .. })
        ));
    }
}
