//! Secrets that are shown once and kept as their hash: invitations, recovery codes, tokens, ids of sessions. They are
//! random and long, so that a plain hash keeps them.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::archive::record::Digest;
use crate::base::time::Stamp;
use crate::seal::random::Randomness;

/// What is shown.
pub type Shown = Zeroizing<String>;

/// What is kept of it.
#[derive(Clone, Copy, Eq, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Kept(Digest);

impl Kept {
    /// Of what somebody shows.
    pub fn of(shown: &str) -> Self {
        Self(Digest::of(shown.as_bytes()))
    }

    /// Whether this is of what somebody shows; in constant time.
    pub fn is(&self, shown: &str) -> bool {
        self.is_same(&Self::of(shown))
    }

    /// The same, where what is shown was hashed already: for whoever looks through many.
    pub fn is_same(&self, shown: &Self) -> bool {
        shown.0.0.ct_eq(&self.0.0).into()
    }

    /// For keys of maps: says nothing of what was shown.
    pub fn bytes(&self) -> [u8; 32] {
        self.0.0
    }
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Kept(..)")
    }
}

/// A new secret of 256 bits, and what is kept of it.
pub fn generate(random: &mut dyn Randomness) -> (Shown, Kept) {
    let mut bytes = Zeroizing::new([0; 32]);
    random.fill(&mut *bytes);
    let shown = Zeroizing::new(URL_SAFE_NO_PAD.encode(*bytes));
    let kept = Kept::of(&shown);
    (shown, kept)
}

/// An invitation: whoever shows it sets a password and a second factor, once.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Invite {
    /// Of the secret.
    pub kept: Kept,
    /// Until when.
    pub until: Stamp,
}

impl Invite {
    /// Whether this is it, in time.
    pub fn is(&self, shown: &Kept, now: Stamp) -> bool {
        self.kept.is_same(shown) && now < self.until
    }
}

/// Codes for whoever has lost the second factor: written down, each used once. 80 bits each, in letters and digits that
/// are not taken for each other.
pub fn recovery_codes(random: &mut dyn Randomness) -> (Vec<Shown>, Vec<Kept>) {
    let code = |random: &mut dyn Randomness| {
        let mut bytes = Zeroizing::new([0; 16]);
        random.fill(&mut *bytes);
        let mut code = Zeroizing::new(String::with_capacity(19));
        for (at, byte) in bytes.iter().enumerate() {
            if at > 0 && at % 4 == 0 {
                code.push('-');
            }
            code.push(char::from(LETTERS[usize::from(byte % 32)]));
        }
        code
    };
    let shown: Vec<Shown> = (0..RECOVERY_CODES).map(|_| code(random)).collect();
    let kept = shown.iter().map(|code| Kept::of(&plain(code))).collect();
    (shown, kept)
}

/// A recovery code as it is kept: whoever types it may write it small, and without the dashes.
pub fn plain(code: &str) -> Shown {
    let is_sign = |sign: &char| !sign.is_whitespace() && *sign != '-';
    Zeroizing::new(code.chars().filter(is_sign).map(|sign| sign.to_ascii_uppercase()).collect())
}

/// Recovery codes that somebody has at once.
pub const RECOVERY_CODES: usize = 10;
/// Crockford's base 32: no I, L, O, U.
const LETTERS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::random::Seeded;

    #[test]
    fn what_is_kept_knows_what_was_shown() {
        let mut random = Seeded::new(&[1; 32], "once", 0);
        let ((shown, kept), (other, _)) = (generate(&mut random), generate(&mut random));
        assert!(kept.is(&shown) && !kept.is(&other) && !kept.is(""));
        assert_eq!((shown.len(), format!("{kept:?}").as_str()), (43, "Kept(..)"));
        let until = Stamp::from_unix_nanos(10);
        let invite = Invite { kept, until };
        let (shown, other) = (Kept::of(&shown), Kept::of(&other));
        assert!(invite.is(&shown, Stamp::from_unix_nanos(9)) && !invite.is(&other, Stamp::ZERO));
        assert!(!invite.is(&shown, until));
    }

    #[test]
    fn recovery_codes_are_many_and_read_as_they_are_typed() {
        let (shown, kept) = recovery_codes(&mut Seeded::new(&[2; 32], "once", 0));
        assert_eq!((shown.len(), kept.len()), (RECOVERY_CODES, RECOVERY_CODES));
        for (at, code) in shown.iter().enumerate() {
            assert_eq!(code.len(), 19, "{code:?}");
            let typed = format!(" {} ", code.replace('-', " ").to_lowercase());
            let fitting: Vec<_> = (0..kept.len()).filter(|one| kept[*one].is(&plain(&typed))).collect();
            assert_eq!(fitting, [at]);
        }
    }
}
