//! Epochs: a retention class in a month. What was recorded in one is under one key, and can be erased as a whole.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::base::time::Stamp;

/// A retention class's name: a to z, 0 to 9, `-`, at most [`CLASS_NAME_MAX`]. It is part of paths and of receipts.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ClassName(String);

/// A month of the Gregorian calendar in UTC, so that it is the same month everywhere.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Month {
    year: i16,
    month: i8,
}

/// A class in a month: `calls-5y/2026-11`.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Epoch {
    /// The month a recording began in.
    pub month: Month,
    /// Its retention class.
    pub class: ClassName,
}

/// Why a text names no class, month or epoch.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum EpochError {
    /// No class.
    #[error("`{0}` names no retention class: a to z, 0 to 9 and `-`, at most {CLASS_NAME_MAX} characters")]
    Class(String),
    /// No month.
    #[error("`{0}` is no month: they are written 2026-11")]
    Month(String),
    /// No epoch.
    #[error("`{0}` is no epoch: they are written CLASS/2026-11")]
    Epoch(String),
}

impl ClassName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ClassName {
    type Err = EpochError;

    fn from_str(text: &str) -> Result<Self, EpochError> {
        let is_allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let is_name = (1..=CLASS_NAME_MAX).contains(&text.len())
            && text.bytes().all(is_allowed)
            && !text.starts_with('-');
        if is_name { Ok(Self(text.into())) } else { Err(EpochError::Class(text.into())) }
    }
}

impl TryFrom<String> for ClassName {
    type Error = EpochError;

    fn try_from(text: String) -> Result<Self, EpochError> {
        text.parse()
    }
}

impl From<ClassName> for String {
    fn from(name: ClassName) -> Self {
        name.0
    }
}

impl fmt::Display for ClassName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Month {
    /// The month that `at` is in.
    pub fn of(at: Stamp) -> Self {
        let nanos = i128::from(at.as_unix_nanos());
        let date = TimeZone::UTC.to_datetime(Timestamp::from_nanosecond(nanos).unwrap_or(Timestamp::MAX));
        Self { year: date.year(), month: date.month() }
    }

    /// Its first moment.
    pub fn start(self) -> Stamp {
        let first = jiff::civil::Date::new(self.year, self.month, 1)
            .and_then(|day| TimeZone::UTC.to_timestamp(day.into()));
        let nanos = first.map_or(i128::MAX, Timestamp::as_nanosecond);
        Stamp::from_unix_nanos(u64::try_from(nanos).unwrap_or(if nanos < 0 { 0 } else { u64::MAX }))
    }

    /// The month after this one.
    pub fn next(self) -> Self {
        if self.month == 12 {
            Self { year: self.year.saturating_add(1), month: 1 }
        } else {
            Self { month: self.month + 1, ..self }
        }
    }

    /// The month before this one.
    pub fn previous(self) -> Self {
        if self.month == 1 {
            Self { year: self.year.saturating_sub(1), month: 12 }
        } else {
            Self { month: self.month - 1, ..self }
        }
    }
}

impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}", self.year, self.month)
    }
}

impl FromStr for Month {
    type Err = EpochError;

    fn from_str(text: &str) -> Result<Self, EpochError> {
        let parse = || {
            let (year, month) = text.split_once('-').filter(|_| text.len() == 7)?;
            let is_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
            let parsed = Self { year: year.parse().ok()?, month: month.parse().ok()? };
            (is_digits(year) && is_digits(month) && (1..=12).contains(&parsed.month)).then_some(parsed)
        };
        parse().ok_or_else(|| EpochError::Month(text.into()))
    }
}

impl Epoch {
    /// The epoch of a recording of `class` that began at `start`.
    pub fn of(class: ClassName, start: Stamp) -> Self {
        Self { month: Month::of(start), class }
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.class, self.month)
    }
}

impl FromStr for Epoch {
    type Err = EpochError;

    fn from_str(text: &str) -> Result<Self, EpochError> {
        let (class, month) = text.split_once('/').ok_or_else(|| EpochError::Epoch(text.into()))?;
        Ok(Self { class: class.parse()?, month: month.parse()? })
    }
}

/// Characters of a class's name.
pub const CLASS_NAME_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_is_read_as_it_is_written() {
        let epoch = Epoch::of("calls-5y".parse().unwrap(), Stamp::from_unix_nanos(1_795_468_121_220_582_001));
        assert_eq!(epoch.to_string(), "calls-5y/2026-11");
        assert_eq!("calls-5y/2026-11".parse(), Ok(epoch));
        for text in
            ["calls-5y", "Calls/2026-11", "a/2026-13", "a/2026-1", "a/+026-11", "../2026-11", "/2026-11"]
        {
            assert!(text.parse::<Epoch>().is_err(), "{text}");
        }
    }

    #[test]
    fn months_follow_each_other_over_the_year() {
        let december: Month = "2026-12".parse().unwrap();
        assert_eq!(december.next().to_string(), "2027-01");
        assert_eq!(december.next().previous(), december);
        assert!("2026-11".parse::<Month>().unwrap() < december);
        assert_eq!(december.start().to_string(), "2026-12-01T00:00:00.000000000Z");
        assert_eq!(Month::of(december.start()), december);
        assert_eq!("0001-01".parse::<Month>().unwrap().start(), Stamp::ZERO);
        assert_eq!("9999-01".parse::<Month>().unwrap().start().as_unix_nanos(), u64::MAX);
    }
}
