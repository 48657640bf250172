//! Retention classes: how long recordings are kept, in how many places, and what it takes to destroy them.

use jiff::Span;
use serde::Deserialize;

use crate::archive::epoch::ClassName;

/// A class as it is configured.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Class {
    /// Its name; recorders name it in their rules.
    pub name: ClassName,
    /// Kept at least this long: `5 years`, `6 months`, `30 days`. Nobody destroys earlier but for an erasure that
    /// the law demands.
    pub keep_min: Period,
    /// Destroyed when this is over; with none, when somebody asks after `keep_min`.
    pub keep_max: Option<Period>,
    /// From when it counts.
    #[serde(default)]
    pub base: Base,
    /// What it takes to destroy.
    #[serde(default)]
    pub destruction: Approval,
    /// How many copies, and where.
    #[serde(default)]
    pub copies: CopyPolicy,
    /// Whether copies count only in places that passed the WORM self-test.
    #[serde(default)]
    pub worm: bool,
    /// Whether an erasure that a person has asked for may come before `keep_min`: only where no law asks to keep.
    #[serde(default)]
    pub early_erasure: bool,
}

/// From when retention counts.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum Base {
    /// The recording's start.
    #[default]
    Start,
    /// Its end.
    End,
    /// 1 January of the year after it ended, in UTC: what the Polish rule for investment firms asks.
    NextYear,
    /// An event that somebody names later, as the end of a contract. Until then it is kept.
    Event,
}

/// What destruction takes besides being due.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum Approval {
    /// Two people: one asks, a custodian who is another agrees.
    #[default]
    FourEyes,
    /// One asks, and may take it back for [`COOLING_OFF_DAYS`].
    CoolingOff,
}

/// How many copies there must be, and where.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct CopyPolicy {
    /// Copies in all.
    pub total: u32,
    /// Sites that must have one.
    pub sites: u32,
    /// Copies on media that are offline.
    pub offline: u32,
}

impl Default for CopyPolicy {
    fn default() -> Self {
        Self { total: 3, sites: 2, offline: 1 }
    }
}

/// A length of time in calendar units: five years are five years, leap days or not.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct Period(pub Span);

impl TryFrom<String> for Period {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let fault = || format!("`{text}` is no period: write `30 days`, `6 months` or `5 years`");
        let (number, unit) = text.trim().split_once(' ').ok_or_else(fault)?;
        let number: i64 =
            number.parse().ok().filter(|number| (0..=PERIOD_MAX).contains(number)).ok_or_else(fault)?;
        let span = Span::new();
        match unit.trim().trim_end_matches('s') {
            "day" => span.try_days(number),
            "week" => span.try_weeks(number),
            "month" => span.try_months(number),
            "year" => span.try_years(number.min(YEARS_MAX)),
            _ => return Err(fault()),
        }
        .map(Self)
        .map_err(|_| fault())
    }
}

/// How long one who asks alone has to wait.
pub const COOLING_OFF_DAYS: i64 = 14;
const PERIOD_MAX: i64 = 10_000;
const YEARS_MAX: i64 = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_is_read_with_the_careful_defaults() {
        let class: Class = toml::from_str("name = 'calls-5y'\nkeep_min = '5 years'").unwrap();
        assert_eq!(class.destruction, Approval::FourEyes);
        assert_eq!(class.copies, CopyPolicy { total: 3, sites: 2, offline: 1 });
        assert_eq!(class.keep_min.0.get_years(), 5);
        for wrong in [
            "keep_min = '5'",
            "keep_min = '-5 years'",
            "keep_min = '5 fortnights'",
            "keep_min = '5 years'\nx = 1",
        ] {
            assert!(toml::from_str::<Class>(&format!("name = 'a'\n{wrong}")).is_err(), "{wrong}");
        }
    }
}
