//! What an epoch has, and the file it is in.

use std::fmt::Write as _;
use std::path::PathBuf;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use zeroize::Zeroizing;

use crate::archive::envelope::Group;
use crate::archive::epoch::Epoch;
use crate::archive::search::IndexKey;
use crate::seal::identity::{self, Identities};
use crate::seal::open::Opener;
use crate::seal::random::Randomness;
use crate::seal::recipient::Recipients;
use crate::shell::entropy::OsRandom;
use crate::shell::vault::keyfault::KeyFault;

/// What an epoch has. Does not print.
pub struct EpochKeys {
    /// Open what recorders have sealed to it, now and before its key was renewed.
    pub identities: Identities,
    /// What recorders seal to.
    pub recipient: String,
    /// Key of the blind index over its recordings; is destroyed with it.
    pub index_key: Zeroizing<[u8; 32]>,
    /// Those of before it was renewed, newest first: some recordings are still found by them.
    pub(in crate::shell::vault) old_index_keys: Vec<Zeroizing<[u8; 32]>>,
    pub(super) seal_to: Recipients,
    pub(in crate::shell::vault) groups_from: u32,
    /// Text of the identities, newest first.
    pub(in crate::shell::vault) identity_text: Zeroizing<String>,
    pub(in crate::shell::vault) generation: u64,
}

impl std::fmt::Debug for EpochKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "EpochKeys({}, ..)", self.recipient)
    }
}

impl EpochKeys {
    /// Reads what [`epoch_text`] wrote: an identity file that `age` takes as it is.
    pub(super) fn parse(epoch: &Epoch, plain: &[u8]) -> Result<Self, KeyFault> {
        let damaged = || KeyFault::Damaged { path: PathBuf::new() };
        let text = std::str::from_utf8(plain).map_err(|_| damaged())?;
        let fields = |name: &'static str| {
            text.lines().filter_map(move |line| line.strip_prefix("# ")?.strip_prefix(name))
        };
        let field = |name| fields(name).next();
        if field("epoch ") != Some(&epoch.to_string()) {
            return Err(damaged());
        }
        let groups_from = field("groups from ").and_then(|text| text.parse().ok()).ok_or_else(damaged)?;
        let index_keys = fields("index key ").map(|text| index_key(text).ok_or_else(damaged));
        let mut index_keys = index_keys.collect::<Result<Vec<_>, _>>()?.into_iter();
        let index_key = index_keys.next().ok_or_else(damaged)?;
        let identities = Identities::parse(text)?;
        let recipient = identities.recipients().into_iter().next().ok_or_else(damaged)?;
        let seal_to = Recipients::parse([&recipient])?;
        let mut identity_text = Zeroizing::new(String::with_capacity(text.len()));
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            identity_text.push_str(line);
            identity_text.push('\n');
        }
        Ok(Self {
            identities,
            recipient,
            index_key,
            old_index_keys: index_keys.collect(),
            seal_to,
            groups_from,
            identity_text,
            generation: 0,
        })
    }

    /// Keys of the blind index, newest first.
    pub fn index_keys(&self) -> impl Iterator<Item = IndexKey> {
        std::iter::once(&self.index_key).chain(&self.old_index_keys).map(|key| IndexKey::new(key))
    }

    pub(in crate::shell::vault) fn open_group(&self, bytes: &[u8]) -> Result<Group, KeyFault> {
        let plain = Opener::open(bytes, &self.identities)?.read_whole()?;
        Group::from_bytes(&plain).map_err(|_| KeyFault::Damaged { path: PathBuf::new() })
    }
}

/// An epoch's file. Envelopes in groups below `groups_from` are of a key that has leaked, and are to be renewed.
pub(in crate::shell::vault) fn epoch_text<'a>(
    epoch: &Epoch,
    identities: &str,
    groups_from: u32,
    index_keys: impl ExactSizeIterator<Item = &'a Zeroizing<[u8; 32]>>,
) -> Zeroizing<String> {
    // With room for all of it, so that no half of a key is left behind where a string grew.
    let mut text = Zeroizing::new(String::with_capacity(256 + 64 * index_keys.len() + identities.len()));
    // Writing to a string does not fail.
    let _ = writeln!(text, "# epoch {epoch}\n# groups from {groups_from}");
    for key in index_keys {
        let key = Zeroizing::new(BASE64_STANDARD.encode(**key));
        let _ = writeln!(text, "# index key {}", *key);
    }
    text.push_str(identities);
    text.push('\n');
    text
}

/// A new identity of the kind that the root is of: post-quantum and others cannot be mixed.
pub(in crate::shell::vault) fn new_identity(root: &str) -> Result<Zeroizing<String>, KeyFault> {
    let mut random = OsRandom::new()?;
    let is_hybrid = root.starts_with("age1pq1");
    let (identity, _) = if is_hybrid {
        identity::generate_hybrid(&mut random)
    } else {
        identity::generate_x25519(&mut random)
    };
    Ok(identity)
}

fn index_key(text: &str) -> Option<Zeroizing<[u8; 32]>> {
    let decoded = Zeroizing::new(BASE64_STANDARD.decode(text).ok()?);
    let mut key = Zeroizing::new([0; 32]);
    key.copy_from_slice(<&[u8; 32]>::try_from(&decoded[..]).ok()?);
    Some(key)
}

pub(in crate::shell::vault) fn new_index_key() -> Result<Zeroizing<[u8; 32]>, KeyFault> {
    let mut key = Zeroizing::new([0; 32]);
    OsRandom::new()?.fill(&mut *key);
    Ok(key)
}
