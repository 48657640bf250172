//! Passwords, as they are kept: Argon2id (RFC 9106).
//!
//! Of a name that nobody has, a [`Password::decoy`] is tried, so that it takes as long as a wrong password does.

use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use unicode_normalization::UnicodeNormalization;
use zeroize::Zeroizing;

use crate::seal::random::Randomness;

/// How much a try costs.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cost {
    /// Memory, in MiB.
    pub memory_mib: u32,
    /// Passes over it.
    pub passes: u32,
}

impl Default for Cost {
    fn default() -> Self {
        Self { memory_mib: 64, passes: 3 }
    }
}

impl Cost {
    /// The least that is allowed (OWASP).
    pub const LEAST: Self = Self { memory_mib: 19, passes: 2 };

    /// Why it is too cheap, or too dear.
    pub fn fault(&self) -> Option<String> {
        let Self { memory_mib, passes } = *self;
        let is_enough = memory_mib >= Self::LEAST.memory_mib && passes >= Self::LEAST.passes;
        let is_possible = memory_mib <= MEMORY_MIB_MAX && passes <= PASSES_MAX;
        (!is_enough || !is_possible).then(|| {
            format!(
                "a password's hash takes from {} to {MEMORY_MIB_MAX} MiB and from {} to {PASSES_MAX} passes, not {memory_mib} \
                 MiB and {passes}",
                Self::LEAST.memory_mib,
                Self::LEAST.passes
            )
        })
    }
}

/// A password's hash, with what it takes to try one against it.
#[derive(Clone, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Password {
    cost: Cost,
    salt: String,
    hash: String,
}

/// Why a password is not taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PasswordFault {
    /// Too short.
    #[error(
        "a password has at least {CHARS_MIN} characters: several words are easier to keep in mind than signs"
    )]
    TooShort,
    /// Too long.
    #[error("a password has at most {BYTES_MAX} bytes")]
    TooLong,
    /// It is what anybody would try first.
    #[error("a password is not the user's name, nor one sign over and over")]
    TooPlain,
    /// There is not the memory for it, or the cost makes no sense.
    #[error("the password cannot be hashed: there is not the memory for it")]
    NoMemory,
}

impl Password {
    /// Hashes a new password. Takes as long as [`Cost`] says.
    pub fn new(
        user: &str,
        password: &str,
        cost: Cost,
        random: &mut dyn Randomness,
    ) -> Result<Self, PasswordFault> {
        let letters = normal(password);
        if letters.chars().count() < CHARS_MIN {
            return Err(PasswordFault::TooShort);
        }
        if password.len() > BYTES_MAX {
            return Err(PasswordFault::TooLong);
        }
        let mut signs = letters.chars();
        let first = signs.next();
        if letters.eq_ignore_ascii_case(user) || signs.all(|sign| Some(sign) == first) {
            return Err(PasswordFault::TooPlain);
        }
        let mut salt = [0; SALT_BYTES];
        random.fill(&mut salt);
        let hash = hash(&letters, &salt, cost).ok_or(PasswordFault::NoMemory)?;
        Ok(Self { cost, salt: STANDARD_NO_PAD.encode(salt), hash: STANDARD_NO_PAD.encode(*hash) })
    }

    /// What nobody's password fits, at the same cost.
    pub fn decoy(cost: Cost, random: &mut dyn Randomness) -> Self {
        let (mut salt, mut hash) = ([0; SALT_BYTES], [0; HASH_BYTES]);
        random.fill(&mut salt);
        random.fill(&mut hash);
        Self { cost, salt: STANDARD_NO_PAD.encode(salt), hash: STANDARD_NO_PAD.encode(hash) }
    }

    /// What it cost.
    pub fn cost(&self) -> Cost {
        self.cost
    }

    /// Whether this is the password. Takes as long as its cost says, whatever is tried.
    pub fn is(&self, password: &str) -> bool {
        let kept = STANDARD_NO_PAD.decode(&self.hash).unwrap_or_default();
        let salt = STANDARD_NO_PAD.decode(&self.salt).unwrap_or_default();
        let tried = if password.len() > BYTES_MAX { Zeroizing::new(String::new()) } else { normal(password) };
        hash(&tried, &salt, self.cost).is_some_and(|hash| hash[..].ct_eq(&kept[..]).into())
    }
}

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password(..)")
    }
}

/// However a keyboard composes its letters (RFC 8265 section 4.2.2: NFC).
fn normal(password: &str) -> Zeroizing<String> {
    Zeroizing::new(password.nfc().collect())
}

fn hash(password: &str, salt: &[u8], cost: Cost) -> Option<Zeroizing<[u8; HASH_BYTES]>> {
    let params = Params::new(cost.memory_mib.checked_mul(1_024)?, cost.passes, 1, Some(HASH_BYTES)).ok()?;
    let mut hash = Zeroizing::new([0; HASH_BYTES]);
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    argon2.hash_password_into(password.as_bytes(), salt, &mut *hash).ok()?;
    Some(hash)
}

/// Characters of the shortest password (NIST SP 800-63B-4: 15 where it stands alone; here a second factor is with it).
pub const CHARS_MIN: usize = 12;
/// Bytes of the longest.
pub const BYTES_MAX: usize = 512;
const SALT_BYTES: usize = 16;
const HASH_BYTES: usize = 32;
const MEMORY_MIB_MAX: u32 = 1_024;
const PASSES_MAX: u32 = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::random::Seeded;

    const CHEAP: Cost = Cost { memory_mib: 1, passes: 1 };

    fn random() -> Seeded {
        Seeded::new(&[1; 32], "password", 0)
    }

    /// RFC 9106 has a vector with a secret and associated data, which nobody uses for passwords; this is of the
    /// reference implementation's own test (`hashtest(version, 2, 16, 1, "password", "somesalt", …)`).
    #[test]
    fn the_hash_is_that_of_the_reference() {
        let params = Params::new(1 << 16, 2, 1, Some(32)).unwrap();
        let mut hash = [0; 32];
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        argon2.hash_password_into(b"password", b"somesalt", &mut hash).unwrap();
        let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "09316115d5cf24ed5a15a31a3ba326e5cf32edc24702987c02b6566f61913cf7");
    }

    #[test]
    fn a_password_fits_itself_alone() {
        let kept = Password::new("ewa", "Zażółć gęślą jaźń", CHEAP, &mut random()).unwrap();
        assert!(kept.is("Zażółć gęślą jaźń"));
        // The same with letters put together from others.
        assert!(kept.is(&"Zażółć gęślą jaźń".nfd().collect::<String>()));
        for wrong in ["", "zażółć gęślą jaźń", "Zażółć gęślą jaźń ", &"x".repeat(BYTES_MAX + 1)]
        {
            assert!(!kept.is(wrong), "{wrong}");
        }
        let text = serde_json::to_string(&kept).unwrap();
        assert!(serde_json::from_str::<Password>(&text).unwrap().is("Zażółć gęślą jaźń"));
        assert_eq!(format!("{kept:?}"), "Password(..)");
        let decoy = Password::decoy(CHEAP, &mut random());
        assert!(!decoy.is("") && !decoy.is("Zażółć gęślą jaźń") && decoy.cost() == CHEAP);
    }

    #[test]
    fn weak_passwords_and_cheap_hashes_are_refused() {
        let new =
            |password: &str| Password::new("ewa.nowakowska", password, CHEAP, &mut random()).unwrap_err();
        assert_eq!(new("short"), PasswordFault::TooShort);
        assert_eq!(new("aaaaaaaaaaaaaaaa"), PasswordFault::TooPlain);
        assert_eq!(new("Ewa.Nowakowska"), PasswordFault::TooPlain);
        assert_eq!(new(&"ab".repeat(300)), PasswordFault::TooLong);
        assert_eq!(Cost::default().fault(), None);
        assert_eq!(Cost::LEAST.fault(), None);
        for (memory_mib, passes) in [(18, 3), (64, 1), (0, 0), (u32::MAX, 3), (64, u32::MAX)] {
            assert!(Cost { memory_mib, passes }.fault().is_some(), "{memory_mib} {passes}");
        }
    }
}
