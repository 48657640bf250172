//! How often each duty is done: `[duties]` in vault.toml.

use std::time::Duration;

use serde::Deserialize;

use crate::archive::duties::Duty;

/// How often each duty is done. What is not said is as it is by default.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// Looks whether copies are missing; also soon after something was taken in.
    pub copies: Every,
    /// Makes the keys of the coming months.
    pub keys: Every,
    /// Looks at the clock.
    pub clock: Every,
    /// Tries whether places keep what was written once.
    pub worm_test: Every,
    /// Goes on reading copies.
    pub scrub: Every,
    /// Within which every byte of every copy is read.
    pub scrub_period: Length,
    /// Megabytes a second that are read from each place at most; as fast as it goes where it is not said.
    pub scrub_rate: Option<Rate>,
    /// Restores a sample.
    pub restore_test: Every,
    /// Recordings of the sample, from each place.
    pub restore_sample: Sample,
    /// Says what could be destroyed.
    pub destruction_plan: Every,
    /// Says which media are due.
    pub media: Every,
    /// Reviews the archive.
    pub review: Every,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            copies: Every::After(Duration::from_secs(300)),
            keys: Every::After(DAY),
            clock: Every::After(HOUR),
            worm_test: Every::After(DAY),
            scrub: Every::After(HOUR),
            scrub_period: Length(DAY * 30),
            scrub_rate: None,
            restore_test: Every::After(DAY),
            restore_sample: Sample(20),
            destruction_plan: Every::After(DAY),
            media: Every::After(DAY),
            review: Every::After(DAY),
        }
    }
}

impl Policy {
    /// How often a duty is done; nothing where it is off.
    pub fn every(&self, duty: Duty) -> Option<Duration> {
        let every = match duty {
            Duty::Copies => self.copies,
            Duty::Keys => self.keys,
            Duty::Clock => self.clock,
            Duty::WormTest => self.worm_test,
            Duty::Scrub => self.scrub,
            Duty::RestoreTest => self.restore_test,
            Duty::DestructionPlan => self.destruction_plan,
            Duty::Media => self.media,
            Duty::Review => self.review,
        };
        match every {
            Every::Off => None,
            Every::After(every) => Some(every),
        }
    }
}

/// How often.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(try_from = "String")]
pub enum Every {
    /// Never.
    Off,
    /// So long after it was begun the last time.
    After(Duration),
}

impl TryFrom<String> for Every {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text.trim() == "off" {
            Ok(Self::Off)
        } else {
            Length::try_from(text).map(|length| Self::After(length.0))
        }
    }
}

/// A length of time: `30 seconds`, `5 minutes`, `1 hour`, `30 days`.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(try_from = "String")]
pub struct Length(pub Duration);

impl TryFrom<String> for Length {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let fault =
            || format!("`{text}` is no length of time: write `5 minutes`, `1 hour` or `30 days`, or `off`");
        let (number, unit) = text.trim().split_once(' ').ok_or_else(fault)?;
        let number: u32 = number.parse().map_err(|_| fault())?;
        let unit = match unit.trim().trim_end_matches('s') {
            "second" => Duration::from_secs(1),
            "minute" => Duration::from_secs(60),
            "hour" => HOUR,
            "day" => DAY,
            "week" => DAY * 7,
            _ => return Err(fault()),
        };
        let length = unit.checked_mul(number).filter(|length| !length.is_zero() && *length <= LENGTH_MAX);
        length.map(Self).ok_or_else(|| format!("`{text}` is none of `1 second` to `3650 days`"))
    }
}

/// Megabytes a second.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(try_from = "u64")]
pub struct Rate(u64);

impl Rate {
    /// In bytes.
    pub fn bytes_per_second(self) -> u64 {
        self.0.saturating_mul(1_000_000)
    }
}

impl TryFrom<u64> for Rate {
    type Error = String;

    fn try_from(rate: u64) -> Result<Self, String> {
        if rate > 0 {
            Ok(Self(rate))
        } else {
            Err("`scrub_rate` is in MB a second, and 0 reads nothing".into())
        }
    }
}

/// How many recordings are restored for practice.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(try_from = "u32")]
pub struct Sample(u32);

impl Sample {
    /// So many.
    pub fn count(self) -> u32 {
        self.0
    }
}

impl TryFrom<u32> for Sample {
    type Error = String;

    fn try_from(count: u32) -> Result<Self, String> {
        if (1..=SAMPLE_MAX).contains(&count) {
            Ok(Self(count))
        } else {
            Err(format!(
                "`restore_sample` is 1 to {SAMPLE_MAX}: a sample lies on the disk of the vault's home for a while"
            ))
        }
    }
}

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);
const LENGTH_MAX: Duration = Duration::from_secs(3_650 * 86_400);
const SAMPLE_MAX: u32 = 10_000;
