//! Media in a safe: what is due, how parity is laid out, and what must never be on one.
//!
//! ```text
//! recordings/2026/11/23/ID.opus.age   plain age files, under their envelopes
//! receipts/ID.json, ID.proof.json     what the recorder signed, and that it stands in its log
//! medium.json                         what this medium is
//! vault.pub, vault.checkpoint         the archive's key, and how far its log was
//! README.txt, sejf                    how to check it, and with what
//! parity/slices, parity/slices.copy   SHA-256 of each slice of all that, and of each recovery slice
//! parity/recovery                     recovery slices (Reed–Solomon)
//! MANIFEST, MANIFEST.sig              all of it, signed; MANIFEST.copy, MANIFEST.sig.copy
//! ```
//!
//! The files above `parity` one after the other, in the order of the manifest, are one run of bytes, cut into slices.
//! Slices that lie side by side are in different groups, so that a scratch hurts each group a little.

use jiff::ToSpan;
use jiff::tz::TimeZone;
use regex::bytes::Regex;
use serde::{Deserialize, Serialize};

use crate::archive::record::RecordingId;
use crate::base::time::Stamp;

/// What a medium says of itself: `medium.json`. Nothing of who spoke.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Medium {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Its number.
    pub id: String,
    /// What is written on it.
    pub label: String,
    /// Public key of the archive.
    pub vault: String,
    /// When it was written.
    pub written: Stamp,
    /// Recordings.
    pub recordings: Vec<RecordingId>,
}

/// How parity is laid out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Layout {
    /// Bytes of a slice; even.
    pub slice_bytes: u64,
    /// Slices in all, the last one filled up with zeros.
    pub slices: u64,
}

/// Slices that mend each other.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Group {
    /// Numbers of its slices.
    pub slices: Vec<u64>,
    /// Number of its first recovery slice.
    pub recovery: u64,
    /// How many it has: so many may be lost.
    pub recovery_count: u64,
}

/// What is known of a medium that was written.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Kept {
    /// Its number.
    pub id: String,
    /// When it was written, or last checked and found whole.
    pub checked: Stamp,
    /// Whether it was found whole then.
    pub is_whole: bool,
    /// Recordings on it.
    pub recordings: u64,
    /// Those of them that were destroyed.
    pub destroyed: u64,
}

/// What is to be done with a medium.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Due {
    /// Nothing before then.
    Check(Stamp),
    /// Check it now.
    CheckNow(Stamp),
    /// It was found damaged: mend it, or write another.
    Mend,
    /// All that is on it was destroyed: destroy it too.
    Destroy,
}

impl Kept {
    /// What is to be done. Nobody opens what was destroyed, so a medium waits for its last recording.
    pub fn due(&self, now: Stamp) -> Due {
        if self.destroyed >= self.recordings {
            return Due::Destroy;
        }
        if !self.is_whole {
            return Due::Mend;
        }
        let at = check_by(self.checked);
        if at <= now { Due::CheckNow(at) } else { Due::Check(at) }
    }
}

/// Twelve months later, in UTC.
fn check_by(checked: Stamp) -> Stamp {
    let from = jiff::Timestamp::from_nanosecond(i128::from(checked.as_unix_nanos())).unwrap_or_default();
    let by = TimeZone::UTC.to_datetime(from).checked_add(CHECK_MONTHS.months());
    let by = by.and_then(|by| TimeZone::UTC.to_timestamp(by)).map(|by| by.as_nanosecond());
    by.ok().and_then(|nanos| u64::try_from(nanos).ok()).map_or(checked, Stamp::from_unix_nanos)
}

impl Layout {
    /// For so many bytes.
    pub fn of(bytes: u64) -> Self {
        let slice_bytes = if bytes <= SMALL_BYTES { SLICE_BYTES_SMALL } else { SLICE_BYTES };
        Self { slice_bytes, slices: bytes.div_ceil(slice_bytes) }
    }

    /// All groups.
    pub fn groups(self) -> impl Iterator<Item = Group> {
        let mut recovery = 0;
        (0..self.slices.div_ceil(WINDOW)).flat_map(move |window| {
            let first = window * WINDOW;
            let count = (self.slices - first).min(WINDOW);
            let groups = count.div_ceil(GROUP);
            (0..groups)
                .map(|group| {
                    let slices: Vec<u64> = (first + group..first + count).step_by(groups as usize).collect();
                    let recovery_count = (slices.len() as u64).div_ceil(10).max(RECOVERY_MIN);
                    let made = Group { slices, recovery, recovery_count };
                    recovery += recovery_count;
                    made
                })
                .collect::<Vec<_>>()
        })
    }

    /// Recovery slices in all.
    pub fn recovery(self) -> u64 {
        self.groups().map(|group| group.recovery_count).sum()
    }
}

impl Group {
    /// Its recovery slices; `slices` are as long as each other.
    pub fn encode(&self, slices: &[Vec<u8>]) -> Option<Vec<Vec<u8>>> {
        reed_solomon_simd::encode(self.slices.len(), usize::try_from(self.recovery_count).ok()?, slices).ok()
    }

    /// Its slices, made of those that are whole. `None` where too many are lost.
    pub fn decode(&self, slices: &[Option<Vec<u8>>], recovery: &[Option<Vec<u8>>]) -> Option<Vec<Vec<u8>>> {
        let there = |list: &[Option<Vec<u8>>]| -> Vec<(usize, Vec<u8>)> {
            list.iter().enumerate().filter_map(|(nth, slice)| Some((nth, slice.clone()?))).collect()
        };
        let (originals, recovered) = (there(slices), there(recovery));
        if originals.len() == slices.len() {
            return Some(originals.into_iter().map(|(_, slice)| slice).collect());
        }
        let mut made = reed_solomon_simd::decode(slices.len(), recovery.len(), originals, recovered).ok()?;
        let slice = |(nth, slice): (usize, &Option<Vec<u8>>)| slice.clone().or_else(|| made.remove(&nth));
        slices.iter().enumerate().map(slice).collect()
    }
}

/// Looks for private keys in what is to be written.
#[derive(Clone, Debug)]
pub struct SecretScan(Regex);

impl SecretScan {
    /// For files.
    pub fn new() -> Self {
        Self(Regex::new(&format!("{KEYS}|{FORMS}")).expect("the patterns are well formed"))
    }

    /// For a program, which has the names of key formats in it and must have no key.
    pub fn of_programs() -> Self {
        Self(Regex::new(KEYS).expect("the pattern is well formed"))
    }

    /// Whether there is one. Give blocks that overlap by [`SecretScan::OVERLAP_BYTES`].
    pub fn finds(&self, block: &[u8]) -> bool {
        self.0.is_match(block)
    }

    /// Longer than what is looked for.
    pub const OVERLAP_BYTES: usize = 512;
}

impl Default for SecretScan {
    fn default() -> Self {
        Self::new()
    }
}

const KEYS: &str =
    r"(?-u)(?i:AGE-SECRET-KEY-(?:PQ-)?1[a-z0-9]{40})|PRIVATE\+KEY\+[!-*,-~]{1,64}\+[0-9a-f]{8}\+A";
const FORMS: &str = "(?i:AGE-PLUGIN-[a-z0-9-]{1,32}1[a-z0-9]{10})|sejf-envelopes 1\\n|sejf share 1\\n|\
                     -----BEGIN [A-Z ]{0,32}PRIVATE KEY-----";

/// The schema that [`Medium`] is.
pub const SCHEMA: u32 = 1;
/// What is signed.
pub const STATEMENT: &str = "medium";
/// Months after which a medium must have been checked again.
pub const CHECK_MONTHS: i32 = 12;
const SLICE_BYTES: u64 = 64 << 10;
const SLICE_BYTES_SMALL: u64 = 4 << 10;
const SMALL_BYTES: u64 = 16 << 20;
/// Slices of a group: with a tenth as many recovery slices.
const GROUP: u64 = 200;
/// Slices whose groups are woven into each other: 16 groups, so that 20 MB side by side may be lost.
const WINDOW: u64 = 16 * GROUP;
const RECOVERY_MIN: u64 = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::identity::{generate_hybrid, generate_x25519};
    use crate::seal::random::Seeded;

    #[test]
    fn every_slice_is_in_one_group_and_recovery_is_a_tenth() {
        for slices in [0, 1, 2, 3, 199, 200, 201, 3_199, 3_200, 3_201, 10_000] {
            let layout = Layout { slice_bytes: 64, slices };
            let groups: Vec<Group> = layout.groups().collect();
            let mut all: Vec<u64> = groups.iter().flat_map(|group| group.slices.clone()).collect();
            all.sort_unstable();
            assert_eq!(all, (0..slices).collect::<Vec<_>>());
            let mut next = 0;
            for group in &groups {
                assert_eq!(group.recovery, next);
                assert!(group.slices.len() as u64 <= GROUP && !group.slices.is_empty());
                assert!(group.recovery_count * 10 >= group.slices.len() as u64);
                next += group.recovery_count;
            }
            assert_eq!(layout.recovery(), next);
        }
    }

    #[test]
    fn as_many_as_there_is_recovery_may_be_lost_and_one_more_may_not() {
        let layout = Layout { slice_bytes: 64, slices: 47 };
        let group = layout.groups().next().unwrap();
        let slices: Vec<Vec<u8>> = (0..47_u8).map(|number| vec![number.wrapping_mul(37); 64]).collect();
        let recovery = group.encode(&slices).unwrap();
        assert_eq!(recovery.len(), 5);
        for lost in 0..=6 {
            let holed: Vec<Option<Vec<u8>>> = (0..)
                .zip(&slices)
                .map(|(nth, slice)| (nth % 9 >= 1 || nth / 9 >= lost).then(|| slice.clone()))
                .collect();
            let missing = holed.iter().filter(|slice| slice.is_none()).count();
            let whole: Vec<_> = recovery.iter().cloned().map(Some).collect();
            let mended = group.decode(&holed, &whole);
            assert_eq!(mended.is_some(), missing <= 5, "{missing}");
            assert!(mended.is_none_or(|mended| mended == slices));
        }
    }

    #[test]
    fn media_are_due_for_check_within_a_year_and_for_destruction_with_their_last_recording() {
        let day = |day: u64| Stamp::from_unix_nanos(1_772_323_200_000_000_000 + day * 86_400_000_000_000);
        let kept = Kept { id: "m".into(), checked: day(0), is_whole: true, recordings: 3, destroyed: 2 };
        for now in 0..800 {
            // 1 March 2026 to 1 March 2027.
            let due = kept.due(day(now));
            assert_eq!(matches!(due, Due::CheckNow(_)), now >= 365, "{now}: {due:?}");
        }
        assert_eq!(Kept { is_whole: false, ..kept.clone() }.due(day(1)), Due::Mend);
        assert_eq!(Kept { destroyed: 3, ..kept }.due(day(1)), Due::Destroy);
    }

    #[test]
    fn keys_are_seen_and_recipients_are_not() {
        let mut random = Seeded::new(&[1; 32], "scan", 0);
        let scan = SecretScan::new();
        for (secret, public) in [generate_x25519(&mut random), generate_hybrid(&mut random)] {
            assert!(scan.finds(secret.as_bytes()) && SecretScan::of_programs().finds(secret.as_bytes()));
            assert!(scan.finds(secret.to_ascii_lowercase().as_bytes()));
            assert!(!scan.finds(public.as_bytes()));
        }
        let signer = crate::seal::note::Signer::generate("vault-1", &mut random).unwrap();
        assert!(scan.finds(signer.to_text().as_bytes()));
        assert!(!scan.finds(signer.verify_key().to_string().as_bytes()));
        assert!(scan.finds(b"..sejf-envelopes 1\n..") && scan.finds(b"-----BEGIN OPENSSH PRIVATE KEY-----"));
        assert!(!SecretScan::of_programs().finds(b"AGE-SECRET-KEY-PRIVATE+KEY+sejf-envelopes 1\n"));
    }
}
