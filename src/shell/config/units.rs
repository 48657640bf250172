//! Sizes, times and the like, as people write them.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Why a text is no such value.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum UnitError {
    /// Not an address to listen on.
    #[error("`{text}` is no address with a port, and not `off`: write 127.0.0.1:9464")]
    Listen {
        /// As written.
        text: String,
    },
    /// Not permissions.
    #[error("`{text}` is no mode: write three octal digits, as in 0660")]
    Mode {
        /// As written.
        text: String,
    },
    /// Not a size.
    #[error("`{text}` is no size: write a number and KiB, MiB, GiB or TiB, as in 64MiB")]
    Size {
        /// As written.
        text: String,
    },
    /// Not a time.
    #[error("`{text}` is no time: write a number and ms, s, m, h or d, as in 250ms")]
    Time {
        /// As written.
        text: String,
    },
}

/// Bytes: `64MiB`.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Size(pub u64);

/// Length of time, to the millisecond: `250ms`, `15m`.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Time(pub Duration);

/// Permissions of a file: `0660`.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mode(pub u32);

/// Where to listen: an address, or nothing (`off`).
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Listen(pub Option<SocketAddr>);

impl Size {
    /// In mebibytes.
    pub const fn mib(number: u64) -> Self {
        Self(number << 20)
    }

    /// As the machine counts; the largest where it cannot.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl Time {
    /// In milliseconds.
    pub const fn ms(number: u64) -> Self {
        Self(Duration::from_millis(number))
    }
}

/// Splits `64 MiB` into its number and what that counts.
fn split<'t>(text: &'t str, units: &[(&str, u64)]) -> Option<u64> {
    let text: &'t str = text.trim();
    let digits = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let one = units.iter().find(|(name, _)| *name == unit.trim()).map(|(_, one)| *one)?;
    number.parse::<u64>().ok()?.checked_mul(one)
}

/// Writes a number with the largest unit that divides it.
fn join(f: &mut fmt::Formatter<'_>, number: u64, units: &[(&str, u64)]) -> fmt::Result {
    let fits = units.iter().rev().find(|(_, one)| number.is_multiple_of(*one) && number >= *one);
    let (name, one) = fits.or(units.first()).copied().unwrap_or(("", 1));
    write!(f, "{}{name}", number / one)
}

impl FromStr for Size {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        split(text, SIZES).map(Self).ok_or_else(|| UnitError::Size { text: text.into() })
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        join(f, self.0, SIZES)
    }
}

impl FromStr for Time {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let ms = split(text, TIMES).ok_or_else(|| UnitError::Time { text: text.into() })?;
        Ok(Self::ms(ms))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        join(f, u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX), TIMES)
    }
}

impl FromStr for Mode {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let wrong = || UnitError::Mode { text: text.into() };
        let mode = u32::from_str_radix(text, 8).map_err(|_| wrong())?;
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        if digits && (3..=4).contains(&text.len()) && mode <= 0o777 { Ok(Self(mode)) } else { Err(wrong()) }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

impl FromStr for Listen {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        if text == OFF {
            return Ok(Self(None));
        }
        let address = text.parse().map_err(|_| UnitError::Listen { text: text.into() })?;
        Ok(Self(Some(address)))
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(address) => address.fmt(f),
            None => f.write_str(OFF),
        }
    }
}

macro_rules! as_text {
    ($($unit:ty),*) => {$(
        impl TryFrom<String> for $unit {
            type Error = UnitError;

            fn try_from(text: String) -> Result<Self, UnitError> {
                text.parse()
            }
        }

        impl From<$unit> for String {
            fn from(unit: $unit) -> Self {
                unit.to_string()
            }
        }
    )*};
}

as_text!(Size, Time, Mode, Listen);

const OFF: &str = "off";
const SIZES: &[(&str, u64)] =
    &[("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)];
/// In milliseconds.
const TIMES: &[(&str, u64)] = &[("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_read_and_written() {
        for (text, bytes) in [("64MiB", 64 << 20), ("1 KiB", 1_024), ("0B", 0), ("1536MiB", 1_536 << 20)] {
            let size: Size = text.parse().unwrap();
            assert_eq!((size.0, size.to_string().parse()), (bytes, Ok(size)), "{text}");
        }
        for (text, ms, again) in [("250ms", 250, "250ms"), ("90s", 90_000, "90s"), ("60m", 3_600_000, "1h")] {
            let time: Time = text.parse().unwrap();
            assert_eq!((time, time.to_string()), (Time::ms(ms), again.into()));
        }
        for wrong in ["", "64", "64MB", "MiB", "-1MiB", "1.5GiB", "99999999999TiB"] {
            assert!(wrong.parse::<Size>().is_err(), "{wrong}");
        }
        for wrong in ["", "250", "ms", "1 week", "-1s"] {
            assert!(wrong.parse::<Time>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn modes_and_addresses() {
        assert_eq!("0660".parse(), Ok(Mode(0o660)));
        assert_eq!(Mode(0o60).to_string(), "0060");
        assert!(["", "9", "77777", "1777", "+066"].iter().all(|text| text.parse::<Mode>().is_err()));
        assert_eq!("off".parse(), Ok(Listen(None)));
        assert!("127.0.0.1".parse::<Listen>().is_err());
        assert_eq!("[::1]:9464".parse::<Listen>().unwrap().to_string(), "[::1]:9464");
    }
}
