//! Custodians: people who hold the root key together, and nobody alone.
//!
//! The root identity's text is split (Shamir, over GF(256)) into as many shares as there are custodians, of which
//! `threshold` give it back and one less give nothing. Each share is a text, sealed to its custodian's own key:
//!
//! ```text
//! sejf share 1
//! generation 3
//! custodian ewa
//! threshold 2
//! root age1…
//! share AbCd…          base64: number of the share, then a byte for each of the identity's text
//! ```

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::prelude::BASE64_STANDARD_NO_PAD;
use blahaj::Sharks;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::archive::record::Digest;
use crate::base::time::Stamp;
use crate::seal::random::{RandCore, Randomness};

/// A custodian's name: a to z, 0 to 9, `-`, at most [`CUSTODIAN_NAME_MAX`]. It is part of paths.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CustodianName(String);

/// Who is to hold the root key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Custody {
    /// How many of them it takes.
    pub threshold: u8,
    /// Each with the recipient of their own key.
    pub custodians: Vec<(CustodianName, String)>,
}

/// What is known of a root key without any key: `scheme.json`.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scheme {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Which root key this is, from 1.
    pub generation: u64,
    /// How many custodians it takes.
    pub threshold: u8,
    /// Recipient of the root identity.
    pub root: String,
    /// When it was made.
    pub made: Stamp,
    /// Who has a share.
    pub holders: Vec<Holder>,
}

/// One who has a share.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Holder {
    /// Their name.
    pub name: CustodianName,
    /// Their own recipient.
    pub recipient: String,
    /// SHA-256 of the share's text, so that a share that opens can be told from one put in its place. A share is
    /// as random as a key, so this tells nothing of it.
    pub share: Digest,
}

/// A share, opened. Zeroized when dropped; does not print.
#[derive(Clone)]
pub struct Share {
    custodian: CustodianName,
    generation: u64,
    threshold: u8,
    root: String,
    bytes: Zeroizing<Vec<u8>>,
}

/// Why there is no root key.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CustodyError {
    /// No name.
    #[error(
        "`{0}` names no custodian: a to z, 0 to 9 and `-`, at most {CUSTODIAN_NAME_MAX} characters, not first `-`"
    )]
    Name(String),
    /// One name twice.
    #[error("two custodians are named `{0}`")]
    Twice(CustodianName),
    /// One key twice: its holder would count as two.
    #[error("`{0}` and `{1}` have the same key, and would be one person who counts twice")]
    SameKey(CustodianName, CustodianName),
    /// More needed than there are, or none.
    #[error(
        "{threshold} of {count} custodians make no sense: take 1 to {count}, at most {CUSTODIANS_MAX} in all"
    )]
    Threshold {
        /// How many it is to take.
        threshold: u8,
        /// How many there are.
        count: usize,
    },
    /// Not the text of a share.
    #[error("this is no share, or a damaged one")]
    Malformed,
    /// Shares of several root keys.
    #[error("the shares are of different root keys")]
    Mixed,
    /// Fewer than it takes.
    #[error("{have} of the {needed} shares that it takes")]
    TooFew {
        /// Different shares that are here.
        have: usize,
        /// How many it takes.
        needed: u8,
    },
}

impl CustodianName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for CustodianName {
    type Err = CustodyError;

    fn from_str(text: &str) -> Result<Self, CustodyError> {
        let is_allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let is_name = (1..=CUSTODIAN_NAME_MAX).contains(&text.len())
            && text.bytes().all(is_allowed)
            && !text.starts_with('-');
        if is_name { Ok(Self(text.into())) } else { Err(CustodyError::Name(text.into())) }
    }
}

impl TryFrom<String> for CustodianName {
    type Error = CustodyError;

    fn try_from(text: String) -> Result<Self, CustodyError> {
        text.parse()
    }
}

impl From<CustodianName> for String {
    fn from(name: CustodianName) -> Self {
        name.0
    }
}

impl fmt::Display for CustodianName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Custody {
    /// Whether it can be: names and keys that differ, and a threshold that can be reached.
    pub fn check(&self) -> Result<(), CustodyError> {
        let count = self.custodians.len();
        if !(1..=CUSTODIANS_MAX).contains(&count) || !(1..=count).contains(&usize::from(self.threshold)) {
            return Err(CustodyError::Threshold { threshold: self.threshold, count });
        }
        for (nth, (name, key)) in self.custodians.iter().enumerate() {
            for (other, other_key) in &self.custodians[..nth] {
                if name == other {
                    return Err(CustodyError::Twice(name.clone()));
                }
                if key == other_key {
                    return Err(CustodyError::SameKey(other.clone(), name.clone()));
                }
            }
        }
        Ok(())
    }

    /// Splits a root identity: a share for each custodian, in their order.
    pub fn split(
        &self,
        identity: &str,
        root: &str,
        generation: u64,
        random: &mut dyn Randomness,
    ) -> Result<Vec<Share>, CustodyError> {
        self.check()?;
        let mut random = RandCore(random);
        let dealer = Sharks(self.threshold).dealer_rng(identity.as_bytes(), &mut random);
        let shares = self.custodians.iter().zip(dealer).map(|((name, _), share)| Share {
            custodian: name.clone(),
            generation,
            threshold: self.threshold,
            root: root.into(),
            bytes: Zeroizing::new(Vec::from(&share)),
        });
        Ok(shares.collect())
    }
}

impl Scheme {
    /// The holder of that name.
    pub fn holder(&self, name: &CustodianName) -> Option<&Holder> {
        self.holders.iter().find(|holder| holder.name == *name)
    }

    /// Custodians who have a share, as they were given.
    pub fn custody(&self) -> Custody {
        let custodians = self.holders.iter().map(|holder| (holder.name.clone(), holder.recipient.clone()));
        Custody { threshold: self.threshold, custodians: custodians.collect() }
    }
}

impl Share {
    /// Whose it is.
    pub fn custodian(&self) -> &CustodianName {
        &self.custodian
    }

    /// Of which root key.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// What is sealed to the custodian.
    pub fn to_text(&self) -> Zeroizing<String> {
        let Self { custodian, generation, threshold, root, bytes } = self;
        let share = Zeroizing::new(BASE64_STANDARD_NO_PAD.encode(&**bytes));
        Zeroizing::new(format!(
            "{MAGIC}\ngeneration {generation}\ncustodian {custodian}\nthreshold {threshold}\nroot {root}\nshare {}\n",
            *share
        ))
    }

    /// Reads what [`Share::to_text`] wrote.
    pub fn from_text(text: &str) -> Result<Self, CustodyError> {
        let mut lines = text.lines();
        let mut field = |name: &str| {
            let line = lines.next().and_then(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.ok_or(CustodyError::Malformed)
        };
        if field("sejf")? != "share 1" {
            return Err(CustodyError::Malformed);
        }
        let number = |text: &str| text.parse().map_err(|_| CustodyError::Malformed);
        let generation = number(field("generation")?)?;
        let custodian = field("custodian")?.parse()?;
        let threshold = field("threshold")?.parse().map_err(|_| CustodyError::Malformed)?;
        let root = field("root")?.into();
        let bytes = BASE64_STANDARD_NO_PAD.decode(field("share")?).map(Zeroizing::new);
        let bytes = bytes.map_err(|_| CustodyError::Malformed)?;
        if bytes.len() < 2 || bytes[0] == 0 || threshold == 0 || lines.next().is_some() {
            return Err(CustodyError::Malformed);
        }
        Ok(Self { custodian, generation, threshold, root, bytes })
    }

    /// For [`Holder::share`].
    pub fn digest(&self) -> Digest {
        Digest::of(self.to_text().as_bytes())
    }
}

impl fmt::Debug for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Share({}, ..)", self.custodian)
    }
}

/// Puts shares together: the root identity's text. Whether it is the one it should be, its recipient tells.
pub fn combine(shares: &[Share]) -> Result<Zeroizing<String>, CustodyError> {
    let first = shares.first().ok_or(CustodyError::TooFew { have: 0, needed: 1 })?;
    let key = |share: &Share| (share.generation, share.threshold, share.root.clone(), share.bytes.len());
    if shares.iter().any(|share| key(share) != key(first)) {
        return Err(CustodyError::Mixed);
    }
    // One share twice is one share.
    let mut distinct: Vec<&Share> = Vec::new();
    for share in shares {
        if distinct.iter().all(|other| other.bytes[0] != share.bytes[0]) {
            distinct.push(share);
        }
    }
    let needed = first.threshold;
    if distinct.len() < usize::from(needed) {
        return Err(CustodyError::TooFew { have: distinct.len(), needed });
    }
    let parse = |share: &&Share| blahaj::Share::try_from(&share.bytes[..]);
    let parsed: Result<Vec<_>, _> = distinct.iter().take(usize::from(needed)).map(parse).collect();
    let parsed = parsed.map_err(|_| CustodyError::Malformed)?;
    let secret = Sharks(needed).recover(&parsed).map(Zeroizing::new).map_err(|_| CustodyError::Malformed)?;
    let text = std::str::from_utf8(&secret).map_err(|_| CustodyError::Malformed)?;
    Ok(Zeroizing::new(text.into()))
}

/// The schema that [`Scheme`] is.
pub const SCHEMA: u32 = 1;
/// Characters of a custodian's name.
pub const CUSTODIAN_NAME_MAX: usize = 32;
/// Custodians at most: shares are numbered by a byte that is not zero.
pub const CUSTODIANS_MAX: usize = 255;
const MAGIC: &str = "sejf share 1";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::identity::generate_x25519;
    use crate::seal::random::Seeded;

    fn custody(threshold: u8, names: &[&str]) -> Custody {
        let custodian = |name: &&str| (name.parse().unwrap(), format!("age1{name}"));
        Custody { threshold, custodians: names.iter().map(custodian).collect() }
    }

    #[test]
    fn as_many_as_it_takes_give_the_key_and_one_less_do_not() {
        let mut random = Seeded::new(&[1; 32], "custody", 0);
        let (identity, root) = generate_x25519(&mut random);
        for (threshold, names) in
            [(1, &["a"][..]), (2, &["a", "b", "c"]), (3, &["a", "b", "c"]), (3, &["a", "b", "c", "d", "e"])]
        {
            let custody = custody(threshold, names);
            let split = || {
                let shares = custody.split(&identity, &root, 7, &mut Seeded::new(&[2; 32], "custody", 0));
                let texts: Vec<_> = shares.unwrap().iter().map(Share::to_text).collect();
                texts.iter().map(|text| Share::from_text(text).unwrap()).collect::<Vec<_>>()
            };
            for without in 0..1_u32 << names.len() {
                let mut shares = split();
                let mut nth = 0;
                shares.retain(|_| {
                    nth += 1;
                    without >> (nth - 1) & 1 == 0
                });
                let have = shares.len();
                if have >= usize::from(threshold) {
                    assert_eq!(*combine(&shares).unwrap(), *identity);
                } else {
                    assert!(matches!(combine(&shares), Err(CustodyError::TooFew { .. })), "{have}");
                }
            }
        }
    }

    #[test]
    fn one_share_twice_is_one_and_shares_of_two_keys_do_not_mix() {
        let mut random = Seeded::new(&[3; 32], "custody", 0);
        let (identity, root) = generate_x25519(&mut random);
        let custody = custody(2, &["ewa", "jan"]);
        let share = |generation, nth: usize| {
            let mut random = Seeded::new(&[4; 32], "custody", 0);
            custody.split(&identity, &root, generation, &mut random).unwrap().swap_remove(nth)
        };
        let twice = combine(&[share(1, 0), share(1, 0)]);
        assert_eq!(twice, Err(CustodyError::TooFew { have: 1, needed: 2 }));
        assert_eq!(combine(&[share(1, 0), share(2, 1)]), Err(CustodyError::Mixed));
        assert!(combine(&[share(1, 1), share(1, 0)]).is_ok());
        assert_eq!(format!("{:?}", share(1, 0)), "Share(ewa, ..)");
    }

    #[test]
    fn what_cannot_be_is_refused() {
        assert!(matches!(custody(3, &["a", "b"]).check(), Err(CustodyError::Threshold { .. })));
        assert!(matches!(custody(0, &["a", "b"]).check(), Err(CustodyError::Threshold { .. })));
        assert!(matches!(custody(1, &["a", "a"]).check(), Err(CustodyError::Twice(_))));
        let mut same = custody(1, &["a", "b"]);
        same.custodians[1].1 = same.custodians[0].1.clone();
        assert!(matches!(same.check(), Err(CustodyError::SameKey(..))));
        for text in ["", "sejf share 1\n", "sejf share 2\ngeneration 1\n", "AGE-SECRET-KEY-1"] {
            assert!(Share::from_text(text).is_err(), "{text}");
        }
        for name in ["", "-a", "Ewa", "a/b", "../a", "a.b"] {
            assert!(name.parse::<CustodianName>().is_err(), "{name}");
        }
    }
}
