//! Time of day and days of the week.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::base::time::Stamp;

/// Why a text is no span of time.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ScheduleError {
    /// Not days of the week.
    #[error("`{text}` is no day of the week: write mon, tue, wed, thu, fri, sat, sun, or a range: mon-fri")]
    Days {
        /// As written.
        text: String,
    },
    /// Not hours.
    #[error("`{text}` is no span of hours: write 08:00-18:00; 22:00-06:00 goes over midnight")]
    Hours {
        /// As written.
        text: String,
    },
}

/// A span of the day, its end left out: `08:00-18:00`. `22:00-06:00` goes over midnight.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Hours {
    from_min: u16,
    to_min: u16,
}

/// Days of the week: `mon`, `mon-fri`, `sat-mon`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Days {
    first: u8,
    last: u8,
}

/// A moment as the clock on a wall shows it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct WallTime {
    /// 0 is Monday.
    day: u8,
    /// Minutes since midnight, as the clock shows them.
    minute: u16,
}

impl WallTime {
    /// What clocks in `zone` show.
    pub(super) fn new(at: Stamp, zone: &TimeZone) -> Self {
        // Stamps end in the year 2554, timestamps in 9999.
        let at = Timestamp::from_nanosecond(i128::from(at.as_unix_nanos())).unwrap_or_default();
        let there = zone.to_datetime(at);
        let minute = u16::from(there.hour().unsigned_abs()) * 60 + u16::from(there.minute().unsigned_abs());
        Self { day: there.weekday().to_monday_zero_offset().unsigned_abs(), minute }
    }

    /// Whether this is in one of `hours` (all day where there are none) on one of `days` (any where there
    /// are none). After midnight, a span that goes over it still belongs to the day on which it began.
    pub(super) fn is_in(self, hours: &[Hours], days: &[Days]) -> bool {
        let on = |day: u8| days.is_empty() || days.iter().any(|days| days.contains(day));
        if hours.is_empty() {
            return on(self.day);
        }
        hours.iter().any(|hours| {
            let Hours { from_min, to_min } = *hours;
            if from_min < to_min {
                (from_min..to_min).contains(&self.minute) && on(self.day)
            } else {
                (self.minute >= from_min && on(self.day))
                    || (self.minute < to_min && on((self.day + DAYS.len() as u8 - 1) % DAYS.len() as u8))
            }
        })
    }
}

impl fmt::Display for WallTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let day = DAYS.get(usize::from(self.day)).copied().unwrap_or_default();
        write!(f, "{day} {:02}:{:02}", self.minute / 60, self.minute % 60)
    }
}

impl Days {
    fn contains(self, day: u8) -> bool {
        if self.first <= self.last {
            (self.first..=self.last).contains(&day)
        } else {
            day >= self.first || day <= self.last
        }
    }
}

impl FromStr for Hours {
    type Err = ScheduleError;

    fn from_str(text: &str) -> Result<Self, ScheduleError> {
        let span = text.split_once('-').and_then(|(from, to)| Some((minutes(from)?, minutes(to)?)));
        match span {
            Some((from_min, to_min)) if from_min != to_min && from_min < DAY_MIN => {
                Ok(Self { from_min, to_min })
            }
            _ => Err(ScheduleError::Hours { text: text.into() }),
        }
    }
}

fn minutes(text: &str) -> Option<u16> {
    let (hour, minute) = text.trim().split_once(':')?;
    let digits = |text: &str| (text.len() == 2).then(|| text.parse::<u16>().ok()).flatten();
    let (hour, minute) = (digits(hour)?, digits(minute)?);
    let all = hour * 60 + minute;
    (minute < 60 && all <= DAY_MIN).then_some(all)
}

impl fmt::Display for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from_min, to_min } = *self;
        write!(f, "{:02}:{:02}-{:02}:{:02}", from_min / 60, from_min % 60, to_min / 60, to_min % 60)
    }
}

impl FromStr for Days {
    type Err = ScheduleError;

    fn from_str(text: &str) -> Result<Self, ScheduleError> {
        let day = |text: &str| {
            let place = DAYS.iter().position(|day| day.eq_ignore_ascii_case(text.trim()));
            place.map(|place| place as u8).ok_or_else(|| ScheduleError::Days { text: text.into() })
        };
        match text.split_once('-') {
            Some((first, last)) => Ok(Self { first: day(first)?, last: day(last)? }),
            None => Ok(Self { first: day(text)?, last: day(text)? }),
        }
    }
}

impl fmt::Display for Days {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |day: u8| DAYS.get(usize::from(day)).copied().unwrap_or_default();
        f.write_str(name(self.first))?;
        if self.first == self.last { Ok(()) } else { write!(f, "-{}", name(self.last)) }
    }
}

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const DAY_MIN: u16 = 24 * 60;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Stamp {
        let at: Timestamp = text.parse().unwrap();
        Stamp::from_unix_nanos(u64::try_from(at.as_nanosecond()).unwrap())
    }

    fn inside(moment: &str, hours: &[&str], days: &[&str]) -> bool {
        let warsaw = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        let hours: Vec<Hours> = hours.iter().map(|text| text.parse().unwrap()).collect();
        let days: Vec<Days> = days.iter().map(|text| text.parse().unwrap()).collect();
        WallTime::new(at(moment), &warsaw).is_in(&hours, &days)
    }

    #[test]
    fn hours_are_those_of_the_zone_in_summer_and_winter() {
        // Wednesday 25 November 2026; CET is an hour ahead, CEST two.
        assert!(inside("2026-11-25T07:00:00Z", &["08:00-18:00"], &["mon-fri"]));
        assert!(!inside("2026-11-25T06:59:59Z", &["08:00-18:00"], &["mon-fri"]));
        assert!(!inside("2026-11-25T17:00:00Z", &["08:00-18:00"], &[]));
        assert!(inside("2026-07-01T06:00:00Z", &["08:00-18:00"], &[]));
        assert!(!inside("2026-11-25T07:00:00Z", &["08:00-18:00"], &["sat-sun"]));
        assert!(inside("2026-11-25T07:00:00Z", &[], &["wed"]));
        assert!(inside("2026-11-25T22:59:00Z", &["00:00-24:00"], &["wed"]));
        assert!(inside("2026-11-28T12:00:00Z", &[], &["fri-mon"]));
        assert!(!inside("2026-11-25T12:00:00Z", &[], &["fri-mon"]));
    }

    #[test]
    fn a_span_over_midnight_belongs_to_the_day_it_began_on() {
        // Friday 27 November to Saturday.
        assert!(inside("2026-11-27T21:30:00Z", &["22:00-06:00"], &["fri"]));
        assert!(inside("2026-11-28T04:30:00Z", &["22:00-06:00"], &["fri"]));
        assert!(!inside("2026-11-28T05:00:00Z", &["22:00-06:00"], &["fri"]));
        assert!(!inside("2026-11-28T04:30:00Z", &["22:00-06:00"], &["sat"]));
        // Monday before dawn belongs to Sunday.
        assert!(inside("2026-11-30T02:00:00Z", &["22:00-06:00"], &["sun"]));
    }

    #[test]
    fn what_is_no_span_is_refused() {
        for wrong in
            ["", "8:00-18:00", "08:00", "08:00-08:00", "24:00-06:00", "08:60-09:00", "08:00-24:01", "é-é"]
        {
            assert!(wrong.parse::<Hours>().is_err(), "{wrong}");
        }
        for wrong in ["", "monday", "mon-", "mo"] {
            assert!(wrong.parse::<Days>().is_err(), "{wrong}");
        }
        assert_eq!("22:00-06:30".parse::<Hours>().unwrap().to_string(), "22:00-06:30");
        assert_eq!("Mon-FRI".parse::<Days>().unwrap().to_string(), "mon-fri");
    }

    #[test]
    fn the_ends_of_time_have_a_day() {
        for nanos in [0, u64::MAX] {
            let wall = WallTime::new(Stamp::from_unix_nanos(nanos), &TimeZone::UTC);
            assert!(wall.is_in(&[], &["mon-sun".parse().unwrap()]), "{wall}");
        }
    }
}
