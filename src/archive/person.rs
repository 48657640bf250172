//! Who asks for what takes two, and who agrees: a custodian, whose key was shown, or a user, whose second factor was.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::archive::custody::CustodianName;
use crate::archive::user::UserName;

/// Somebody who was proved to be there.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Person {
    /// With their key: `ewa`.
    Custodian(CustodianName),
    /// With their second factor: `user:ewa`.
    User(UserName),
}

/// A text that names nobody.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{0}` is neither the name of a custodian nor `user:` and that of a user")]
pub struct NoPerson(String);

impl Person {
    /// Whether both may be one: a custodian and a user of one name are taken for that. Of a user who is named by a mail
    /// address, what stands before the `@` counts: custodians' names have none.
    pub fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Custodian(custodian), Self::User(user))
            | (Self::User(user), Self::Custodian(custodian)) => {
                user.as_str().split('@').next() == Some(custodian.as_str())
            }
            _ => self == other,
        }
    }
}

impl fmt::Display for Person {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Custodian(name) => name.fmt(f),
            Self::User(name) => write!(f, "{USER}{name}"),
        }
    }
}

impl FromStr for Person {
    type Err = NoPerson;

    fn from_str(text: &str) -> Result<Self, NoPerson> {
        let nobody = || NoPerson(text.into());
        match text.strip_prefix(USER) {
            Some(name) => name.parse().map(Self::User).map_err(|_| nobody()),
            None => text.parse().map(Self::Custodian).map_err(|_| nobody()),
        }
    }
}

impl TryFrom<String> for Person {
    type Error = NoPerson;

    fn try_from(text: String) -> Result<Self, NoPerson> {
        text.parse()
    }
}

impl From<Person> for String {
    fn from(person: Person) -> Self {
        person.to_string()
    }
}

impl From<CustodianName> for Person {
    fn from(name: CustodianName) -> Self {
        Self::Custodian(name)
    }
}

const USER: &str = "user:";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_custodian_and_a_user_of_one_name_are_taken_for_one() {
        let of = |text: &str| text.parse::<Person>().unwrap();
        assert!(of("ewa").is(&of("user:ewa")) && !of("ewa").is(&of("user:jan")));
        assert!(of("user:ewa@example.org").is(&of("ewa")) && of("ewa").is(&of("user:ewa@example.org")));
        assert!(!of("user:ewa@example.org").is(&of("user:ewa")) && !of("ewa").is(&of("user:jan@ewa")));
        for text in ["ewa", "user:ewa", "user:jan.k@example.org"] {
            assert_eq!(of(text).to_string(), text);
            assert_eq!(serde_json::from_value::<Person>(serde_json::json!(text)).unwrap(), of(text));
        }
        for wrong in ["", "user:", "Ewa", "user:user:ewa", "local:root", "a.b", "user:a b"] {
            assert!(wrong.parse::<Person>().is_err(), "{wrong}");
        }
    }
}
