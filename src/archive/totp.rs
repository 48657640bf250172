//! One-time passwords by time (RFC 6238): HMAC-SHA-1, six digits, steps of 30 s, as authenticator apps have it.

use ring::hmac;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::base::time::Stamp;
use crate::seal::random::Randomness;

/// What app and vault share. Does not print.
#[derive(Clone, Eq, PartialEq)]
pub struct Secret(Zeroizing<[u8; SECRET_BYTES]>);

impl Secret {
    /// A new one.
    pub fn generate(random: &mut dyn Randomness) -> Self {
        let mut bytes = Zeroizing::new([0; SECRET_BYTES]);
        random.fill(&mut *bytes);
        Self(bytes)
    }

    /// In base 32 (RFC 4648), as apps take it.
    pub fn to_base32(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(SECRET_BYTES * 8 / 5));
        for five in self.0.chunks_exact(5) {
            let bits = five.iter().fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
            (0..8).rev().for_each(|at| text.push(char::from(BASE32[(bits >> (at * 5) & 31) as usize])));
        }
        text
    }

    /// What [`Secret::to_base32`] wrote.
    pub fn from_base32(text: &str) -> Option<Self> {
        let mut bytes = Zeroizing::new([0; SECRET_BYTES]);
        if text.len() != SECRET_BYTES * 8 / 5 {
            return None;
        }
        for (five, eight) in bytes.chunks_exact_mut(5).zip(text.as_bytes().chunks_exact(8)) {
            let mut bits = 0_u64;
            for letter in eight {
                bits = bits << 5 | BASE32.iter().position(|known| known == letter)? as u64;
            }
            five.copy_from_slice(&bits.to_be_bytes()[3..]);
        }
        Some(Self(bytes))
    }

    /// The link that an app reads as a QR code.
    pub fn to_uri(&self, vault: &str, user: &str) -> Zeroizing<String> {
        let (vault, secret) = (percent(vault), self.to_base32());
        let (label, more) = (format!("{vault}:{}", percent(user)), "algorithm=SHA1&digits=6&period=30");
        Zeroizing::new(format!("otpauth://totp/{label}?secret={}&issuer={vault}&{more}", *secret))
    }

    /// The code of a step.
    pub fn code(&self, step: u64) -> u32 {
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &*self.0);
        let tag = hmac::sign(&key, &step.to_be_bytes());
        // RFC 4226 section 5.3.
        let at = usize::from(tag.as_ref()[19] & 15);
        let word = tag.as_ref()[at..at + 4].iter().fold(0, |word, byte| word << 8 | u32::from(*byte));
        (word & 0x7fff_ffff) % 1_000_000
    }

    /// The step whose code this is: this one, the one before or the one after, and later than `used`, for a code counts
    /// once, and so do all that came before it.
    pub fn check(&self, code: &str, now: Stamp, used: Option<u64>) -> Option<u64> {
        let is_code = code.len() == 6 && code.bytes().all(|byte| byte.is_ascii_digit());
        let code: u32 = code.parse().ok().filter(|_| is_code)?;
        let step = step(now);
        let mut found = None;
        // All three, so that how long it takes says nothing.
        for near in [step.saturating_sub(1), step, step + 1] {
            if bool::from(self.code(near).ct_eq(&code)) && used.is_none_or(|used| near > used) {
                found = Some(near);
            }
        }
        found
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl serde::Serialize for Secret {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_base32())
    }
}

impl<'de> serde::Deserialize<'de> for Secret {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Zeroizing::new(String::deserialize(deserializer)?);
        Self::from_base32(&text).ok_or_else(|| serde::de::Error::custom("no secret in base 32"))
    }
}

/// The step that a time is in.
pub fn step(now: Stamp) -> u64 {
    now.as_unix_millis() / (STEP_SECONDS * 1_000)
}

/// As it stands in addresses and forms (RFC 3986).
pub fn percent(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// Seconds of a step.
pub const STEP_SECONDS: u64 = 30;
/// Bytes of a secret: as many as HMAC-SHA-1 gives (RFC 4226 section 4, R6).
pub const SECRET_BYTES: usize = 20;
const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::random::Seeded;

    fn at(seconds: u64) -> Stamp {
        Stamp::from_unix_nanos(seconds * 1_000_000_000)
    }

    /// RFC 6238 appendix B, its last six digits.
    #[test]
    fn codes_are_those_of_the_rfc() {
        let secret = Secret(Zeroizing::new(*b"12345678901234567890"));
        assert_eq!(*secret.to_base32(), "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ");
        for (seconds, code) in [
            (59, 287_082),
            (1_111_111_109, 81_804),
            (1_111_111_111, 50_471),
            (1_234_567_890, 5_924),
            (2_000_000_000, 279_037),
            (20_000_000_000, 353_130),
        ] {
            // Stamps end in 2554: the step itself.
            assert_eq!(secret.code(seconds / STEP_SECONDS), code, "{seconds}");
        }
    }

    #[test]
    fn a_code_counts_once_and_a_step_around_it() {
        let secret = Secret::generate(&mut Seeded::new(&[1; 32], "totp", 0));
        let now = at(1_800_000_010);
        let code = |step: u64| format!("{:06}", secret.code(step));
        let this = step(now);
        for (step, counts) in
            [(this - 2, false), (this - 1, true), (this, true), (this + 1, true), (this + 2, false)]
        {
            assert_eq!(secret.check(&code(step), now, None).is_some(), counts, "{step}");
        }
        let used = secret.check(&code(this), now, None);
        assert_eq!(used, Some(this));
        assert_eq!(secret.check(&code(this), now, used), None);
        assert_eq!(secret.check(&code(this - 1), now, used), None, "one of before");
        assert_eq!(secret.check(&code(this + 1), now, used), Some(this + 1));
        // A clock that goes back makes no code count again.
        assert_eq!(secret.check(&code(this), now.before(std::time::Duration::from_secs(30)), used), None);
        for wrong in ["", "12345", "1234567", "12 456", "+12345", "١٢٣٤٥٦"] {
            assert_eq!(secret.check(wrong, now, None), None, "{wrong}");
        }
    }

    /// Whatever is tried, and in whatever order of times: each step counts at most once, and only near its time.
    #[test]
    fn no_step_counts_twice() {
        let (mut random, secret) =
            (Seeded::new(&[2; 32], "totp", 0), Secret(Zeroizing::new([7; SECRET_BYTES])));
        let (mut used, mut counted) = (None, std::collections::BTreeSet::new());
        for _ in 0..20_000 {
            let mut bytes = [0; 2];
            random.fill(&mut bytes);
            let now = at(1_800_000_000 + u64::from(bytes[0]) * 10);
            let tried = step(now) + u64::from(bytes[1] % 7) - 3;
            if let Some(step) = secret.check(&format!("{:06}", secret.code(tried)), now, used) {
                assert!(super::step(now).abs_diff(step) <= 1);
                assert!(counted.insert(step), "step {step} counted twice");
                used = Some(step);
            }
        }
        assert!(counted.len() > 3, "{counted:?}");
    }

    #[test]
    fn a_secret_comes_back_and_does_not_print() {
        let secret = Secret::generate(&mut Seeded::new(&[3; 32], "totp", 0));
        assert_eq!(Secret::from_base32(&secret.to_base32()), Some(secret.clone()));
        assert_eq!(format!("{secret:?}"), "Secret(..)");
        for wrong in ["", "A", "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJ1", "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQA"] {
            assert_eq!(Secret::from_base32(wrong), None);
        }
        let uri = secret.to_uri("a b", "x@y");
        assert!(
            uri.starts_with("otpauth://totp/a%20b:x%40y?secret=") && uri.contains("&issuer=a%20b&"),
            "{uri:?}"
        );
    }
}
