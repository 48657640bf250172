//! Legal holds: what one covers is not destroyed, whatever else is said.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::archive::access::Reason;
use crate::archive::scope::Scope;
use crate::base::time::Stamp;

/// A hold.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hold {
    /// Its name, as the court's file number. Given once: one that was let go is not taken up again.
    pub name: HoldName,
    /// What it keeps, what is recorded later included.
    pub scope: Scope,
    /// Who said so.
    pub by: String,
    /// When.
    pub at: Stamp,
    /// Why.
    pub reason: Option<Reason>,
    /// When it was let go.
    pub released: Option<Stamp>,
}

impl Hold {
    /// Whether it holds.
    pub fn is_in_force(&self) -> bool {
        self.released.is_none()
    }
}

/// A hold's name: letters, digits, `-`, `_`, `.`, `/`, at most [`HOLD_NAME_MAX`]. It is in the log for ever.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HoldName(String);

/// A text that is no name of a hold.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "`{0}` is no name of a hold: A to Z, a to z, 0 to 9, `-`, `_`, `.`, `/`, at most {HOLD_NAME_MAX} characters"
)]
pub struct HoldNameError(String);

impl HoldName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for HoldName {
    type Err = HoldNameError;

    fn from_str(text: &str) -> Result<Self, HoldNameError> {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte);
        let is_name = (1..=HOLD_NAME_MAX).contains(&text.len()) && text.bytes().all(is_allowed);
        if is_name { Ok(Self(text.into())) } else { Err(HoldNameError(text.into())) }
    }
}

impl TryFrom<String> for HoldName {
    type Error = HoldNameError;

    fn try_from(text: String) -> Result<Self, HoldNameError> {
        text.parse()
    }
}

impl From<HoldName> for String {
    fn from(name: HoldName) -> Self {
        name.0
    }
}

impl fmt::Display for HoldName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Characters of a hold's name.
pub const HOLD_NAME_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain() {
        assert_eq!("XII-K.17/26".parse::<HoldName>().unwrap().to_string(), "XII-K.17/26");
        for wrong in ["", "a b", "a\n", "ż", &"a".repeat(65)] {
            assert!(wrong.parse::<HoldName>().is_err(), "{wrong}");
        }
    }
}
