//! Keys as files, opened or not.
//!
//! ```text
//! vault.id                             whose keys these are
//! lock                                 held by who changes something (first place)
//! destroy.begun                        what was begun and is to be finished (first place); ids, no keys; a line each
//! root-3/scheme.json                   who has shares of root key 3, and how many it takes
//! root-3/custody/ewa.age               a share, sealed to its custodian
//! root-3/epochs/CLASS/2026-11.1.age    an epoch's identity, sealed to root key 3
//! epochs/CLASS/2026-11.1.pub           its recipient
//! epochs/CLASS/2026-11.destroyed       there was one
//! envelopes/CLASS/2026-11/000017.3.age a group of envelopes, sealed to the epoch's recipient
//! ```
//!
//! See [`mirror`](crate::shell::vault) for generations. Another root key is another folder, complete before it gets
//! its name: the highest one counts, and those below are shredded.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroizing;

use crate::archive::custody::{self, CustodianName, Custody, CustodyError, Holder, Scheme, Share};
use crate::archive::epoch::{ClassName, Epoch};
use crate::base::time::Stamp;
use crate::seal::identity::{self, Identities};
use crate::seal::open::Opener;
use crate::seal::recipient::Recipients;
use crate::seal::stream::seal_whole;
use crate::shell::clock;
use crate::shell::entropy::OsRandom;
use crate::shell::keys::{self, KeyKind};
use crate::shell::locks;
use crate::shell::vault::keydisk::{KeyDisk, RealKeyDisk};
use crate::shell::vault::keyfault::KeyFault;
use crate::shell::vault::keyring::KeyRing;
use crate::shell::vault::mirror::{MARK, Mirror, ROOT_DIR, Repair, Slot};

/// The keys of a vault as they lie in its key places. Cheap to clone.
#[derive(Clone, Debug)]
pub struct KeyStore {
    pub(super) mirror: Arc<Mirror>,
}

/// An epoch, as far as it is known without a key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct EpochState {
    /// Which.
    pub epoch: Epoch,
    /// What recorders seal to; none where its key was destroyed.
    pub recipient: Option<String>,
}

/// Whose shares were opened just now: a second factor for each of them.
#[derive(Debug)]
pub struct Proof {
    shares: Vec<Share>,
    at: Stamp,
    /// Why a key that should have fitted did not.
    fault: Option<KeyFault>,
}

impl Proof {
    /// Custodians who were here.
    pub fn custodians(&self) -> Vec<CustodianName> {
        self.shares.iter().map(|share| share.custodian().clone()).collect()
    }
}

impl KeyStore {
    /// Begins a vault's keys in its home and in further places, and splits a new root key among custodians. `vault`
    /// tells this vault from others.
    pub fn create(
        home: &Path,
        key_places: &[PathBuf],
        vault: &str,
        kind: KeyKind,
        custody: &Custody,
    ) -> Result<Self, KeyFault> {
        Self::create_on(home, key_places, vault, kind, custody, Arc::new(RealKeyDisk))
    }

    /// The same on any disk.
    pub fn create_on(
        home: &Path,
        key_places: &[PathBuf],
        vault: &str,
        kind: KeyKind,
        custody: &Custody,
        disk: Arc<dyn KeyDisk>,
    ) -> Result<Self, KeyFault> {
        let places = places(home, key_places);
        for place in &places {
            // A place that a try before this one had begun is begun again.
            let root = disk.list(place).map_err(KeyFault::io("listing", place))?;
            if root.iter().any(|name| name.starts_with(ROOT_DIR)) {
                return Err(KeyFault::Exists { place: place.clone() });
            }
        }
        let begun = Mirror::new(Arc::clone(&disk), places.clone(), Vec::new());
        let store = Self { mirror: Arc::new(begun) };
        let lock = store.lock()?;
        let root = NewRoot::make(1, kind, custody)?;
        store.write_root(&root, &[])?;
        for place in store.mirror.places() {
            store.mark(place, vault)?;
        }
        store.name_root(1)?;
        drop(lock);
        Ok(Self { mirror: Arc::new(Mirror::new(disk, places, Vec::new()).marked(vault)) })
    }

    /// Opens the keys of the vault `vault`. Places that are not there are told by [`KeyStore::absent`]: without
    /// them keys can be read, and not changed.
    pub fn open(home: &Path, key_places: &[PathBuf], vault: &str) -> Result<Self, KeyFault> {
        Self::open_on(home, key_places, vault, Arc::new(RealKeyDisk))
    }

    /// The same on any disk.
    pub fn open_on(
        home: &Path,
        key_places: &[PathBuf],
        vault: &str,
        disk: Arc<dyn KeyDisk>,
    ) -> Result<Self, KeyFault> {
        let (mut there, mut absent) = (Vec::new(), Vec::new());
        for (nth, place) in places(home, key_places).into_iter().enumerate() {
            let mark = place.join(MARK);
            let read = match disk.read(&mark).map_err(KeyFault::io("reading", &mark)) {
                // A disk or a host that fails is away, and holds up no reading.
                Err(_) if nth > 0 => None,
                other => other?,
            };
            match read {
                Some(mark) if mark.trim_ascii() == vault.as_bytes() => there.push(place),
                Some(mark) => {
                    let other = String::from_utf8_lossy(mark.trim_ascii()).into_owned();
                    return Err(KeyFault::Foreign { place, other, own: vault.into() });
                }
                None if nth == 0 => return Err(KeyFault::None { place }),
                None => absent.push(place),
            }
        }
        Ok(Self { mirror: Arc::new(Mirror::new(disk, there, absent).marked(vault)) })
    }

    /// Begins a key place that is new, or whose disk was lost: the others' files come with the next repair.
    pub fn begin_place(&self, place: &Path, vault: &str) -> Result<(), KeyFault> {
        self.mark(place, vault)
    }

    /// Key places that should be there and are not.
    pub fn absent(&self) -> Vec<PathBuf> {
        self.mirror.absent()
    }

    /// Who holds the root key.
    pub fn scheme(&self) -> Result<Scheme, KeyFault> {
        let generation = self.root_generation()?;
        let slot = Slot::new(root_dir(generation), "scheme", "json");
        let damaged = |_| KeyFault::Damaged { path: PathBuf::new() };
        let read = self.mirror.read(&slot, 0, |bytes| serde_json::from_slice(bytes).map_err(damaged))?;
        read.ok_or_else(|| KeyFault::Damaged { path: self.first().join(&slot.dir).join("scheme.json") })
    }

    /// The recipient of an epoch whose key was made, locked or not.
    pub fn recipient(&self, epoch: &Epoch) -> Result<String, KeyFault> {
        if self.is_destroyed(epoch)? {
            return Err(KeyFault::Destroyed(epoch.clone()));
        }
        let read = self.mirror.read_newest(&recipient_slot(epoch), |bytes| Ok(recipient_text(bytes)))?;
        read.map(|(_, text)| text).ok_or_else(|| KeyFault::NoEpoch(epoch.clone()))
    }

    /// All epochs that have or had a key, oldest first.
    pub fn epochs(&self) -> Result<Vec<EpochState>, KeyFault> {
        let mut epochs = Vec::new();
        for class in self.mirror.dirs(EPOCHS_DIR)? {
            let Ok(class) = class.parse::<ClassName>() else { continue };
            let found = self.mirror.newest(&format!("{EPOCHS_DIR}/{class}"))?;
            let months: std::collections::BTreeSet<_> =
                found.keys().filter_map(|slot| slot.stem.parse().ok()).collect();
            for month in months {
                let epoch = Epoch { month, class: class.clone() };
                let recipient = match self.recipient(&epoch) {
                    Err(KeyFault::Destroyed(_)) => None,
                    other => Some(other?),
                };
                epochs.push(EpochState { epoch, recipient });
            }
        }
        epochs.sort_by(|a, b| a.epoch.cmp(&b.epoch));
        Ok(epochs)
    }

    /// Whether an epoch's key was destroyed.
    pub fn is_destroyed(&self, epoch: &Epoch) -> Result<bool, KeyFault> {
        Ok(self.mirror.exists(&tombstone_slot(epoch), 0))
    }

    /// The entry of the vault's log that let an epoch's key be destroyed; nothing where it was not.
    pub fn destroyed_by(&self, epoch: &Epoch) -> Result<Option<u64>, KeyFault> {
        Ok(self.mirror.read(&tombstone_slot(epoch), 0, |bytes| Ok(entry_in(bytes)))?.flatten())
    }

    /// Which shares these keys open.
    pub fn prove(&self, identities: &[Identities]) -> Result<Proof, KeyFault> {
        let scheme = self.scheme()?;
        let mut proof = Proof { shares: Vec::new(), at: clock::now(), fault: None };
        for holder in &scheme.holders {
            match self.open_share(&scheme, holder, identities) {
                Ok(Some(share)) => proof.shares.push(share),
                Ok(None) => {}
                Err(fault) => {
                    proof.fault.get_or_insert(fault);
                }
            }
        }
        Ok(proof)
    }

    /// Puts the root key together from the shares that these keys open, finishes what was begun, and brings all
    /// key places to the same.
    pub fn unlock(&self, identities: &[Identities]) -> Result<KeyRing, KeyFault> {
        let proof = self.prove(identities)?;
        self.unlock_with(proof)
    }

    /// The same with shares that are open.
    pub fn unlock_with(&self, proof: Proof) -> Result<KeyRing, KeyFault> {
        let scheme = self.scheme()?;
        let opened = proof.custodians();
        let text = match custody::combine(&proof.shares) {
            Err(CustodyError::TooFew { .. }) => {
                let all = scheme.holders.iter().map(|holder| holder.name.clone()).collect();
                let too_few = KeyFault::TooFew { opened, needed: scheme.threshold, all };
                return Err(proof.fault.unwrap_or(too_few));
            }
            Err(CustodyError::Malformed) => return Err(KeyFault::NotTheRoot),
            other => other?,
        };
        let root = Identities::parse(&text).map_err(|_| KeyFault::NotTheRoot)?;
        if root.recipients() != [scheme.root.clone()] {
            return Err(KeyFault::NotTheRoot);
        }
        let ring = KeyRing::new(self.clone(), root, scheme, opened, proof.at);
        if self.absent().is_empty() {
            self.repair()?;
            match ring.finish_begun() {
                // The list itself: what it says is in the vault's log too.
                Err(fault @ KeyFault::Damaged { .. }) => {
                    tracing::error!(%fault, "what was begun to be destroyed is not finished");
                }
                other => other?,
            }
        }
        Ok(ring)
    }

    /// Finishes what a power cut has left, and brings all key places to the same. Takes no key.
    pub fn repair(&self) -> Result<Repair, KeyFault> {
        let _lock = self.lock()?;
        self.mirror.writable()?;
        let generation = self.root_generation()?;
        for place in self.mirror.places() {
            self.complete_root(place, generation)?;
        }
        self.shred_roots_below(generation)?;
        for state in self.epochs()? {
            if state.recipient.is_none() {
                self.erase_epoch(&state.epoch)?;
            }
        }
        self.mirror.repair(&[&root_dir(generation), EPOCHS_DIR, ENVELOPES_DIR])
    }

    /// Held by who changes something, in this process or another.
    pub(super) fn lock(&self) -> Result<Lock, KeyFault> {
        let path = self.first().join(LOCK);
        let disk = self.mirror.disk();
        disk.create_dir(self.first()).map_err(KeyFault::io("making folder", self.first()))?;
        let open = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = open.map_err(KeyFault::io("opening", &path))?;
        if locks::alone(&file, PATIENCE).map_err(KeyFault::io("locking", &path))? {
            return Ok(Lock { _file: file });
        }
        Err(KeyFault::Busy { place: self.first().into() })
    }

    /// The folder in the vault's home.
    pub(super) fn first(&self) -> &Path {
        &self.mirror.places()[0]
    }

    pub(super) fn root_generation(&self) -> Result<u64, KeyFault> {
        let roots = self.mirror.dirs("")?;
        let newest = roots.iter().filter_map(|name| name.strip_prefix(ROOT_DIR)?.parse().ok()).max();
        newest.ok_or_else(|| KeyFault::None { place: self.first().into() })
    }

    fn open_share(
        &self,
        scheme: &Scheme,
        holder: &Holder,
        identities: &[Identities],
    ) -> Result<Option<Share>, KeyFault> {
        let slot = Slot::new(custody_dir(&root_dir(scheme.generation)), holder.name.as_str(), "age");
        let read = self.mirror.read(&slot, 0, |bytes| {
            let mut fault = None;
            for identities in identities {
                match Opener::open(bytes, identities).and_then(|mut opener| opener.read_whole()) {
                    Err(error) if error.is_no_match() => {}
                    Err(error) => {
                        fault.get_or_insert(KeyFault::from(error));
                    }
                    Ok(plain) => {
                        let text = std::str::from_utf8(&plain).map_err(|_| CustodyError::Malformed)?;
                        let share = Share::from_text(text)?;
                        let is_theirs = *share.custodian() == holder.name && share.digest() == holder.share;
                        let other = || KeyFault::Damaged { path: PathBuf::new() };
                        return is_theirs.then_some(Some(share)).ok_or_else(other);
                    }
                }
            }
            fault.map_or(Ok(None), Err)
        })?;
        Ok(read.flatten())
    }

    fn mark(&self, place: &Path, vault: &str) -> Result<(), KeyFault> {
        let (path, disk) = (place.join(MARK), self.mirror.disk());
        disk.create_dir(place)
            .and_then(|()| disk.write(&path, format!("{vault}\n").as_bytes()))
            .and_then(|()| disk.sync_dir(place))
            .map_err(KeyFault::io("writing", &path))
    }

    /// Writes all that is under a root key, in all places, under a name that does not count yet.
    pub(super) fn write_root(&self, root: &NewRoot, epochs: &[(Slot, u64, Vec<u8>)]) -> Result<(), KeyFault> {
        let dir = new_root_dir(root.scheme.generation);
        let mut files = vec![(Slot::new(dir.clone(), "scheme", "json"), 0, root.scheme_bytes())];
        for (holder, share) in root.scheme.holders.iter().zip(&root.shares) {
            files.push((Slot::new(custody_dir(&dir), holder.name.as_str(), "age"), 0, share.clone()));
        }
        for (slot, generation, bytes) in epochs {
            let below = Slot { dir: format!("{dir}/{}", slot.dir), ..slot.clone() };
            files.push((below, *generation, bytes.clone()));
        }
        self.mirror.writable()?;
        for place in self.mirror.places() {
            self.mirror.shred_dir(place, &dir)?;
            for (slot, generation, bytes) in &files {
                self.mirror.write_in(place, slot, *generation, bytes)?;
            }
        }
        Ok(())
    }

    /// From here on it counts.
    pub(super) fn name_root(&self, generation: u64) -> Result<(), KeyFault> {
        let disk = self.mirror.disk();
        for place in self.mirror.places() {
            let (from, to) = (place.join(new_root_dir(generation)), place.join(root_dir(generation)));
            disk.rename(&from, &to)
                .and_then(|()| disk.sync_dir(place))
                .map_err(KeyFault::io("naming", &to))?;
        }
        Ok(())
    }

    pub(super) fn shred_roots_below(&self, generation: u64) -> Result<(), KeyFault> {
        for name in self.mirror.dirs("")? {
            let number = name.strip_prefix(ROOT_DIR).and_then(|number| number.parse::<u64>().ok());
            if number.is_some_and(|number| number < generation) {
                for place in self.mirror.places() {
                    self.mirror.shred_dir(place, &name)?;
                }
            }
        }
        Ok(())
    }

    /// A place that has not the newest root key gets it as a whole: a half one would have its name.
    fn complete_root(&self, place: &Path, generation: u64) -> Result<(), KeyFault> {
        let (disk, name) = (self.mirror.disk(), root_dir(generation));
        if disk.is_dir(&place.join(&name)) {
            return Ok(());
        }
        let Some(from) = self.mirror.places().iter().find(|other| disk.is_dir(&other.join(&name))) else {
            return Ok(());
        };
        let aside = new_root_dir(generation);
        self.mirror.shred_dir(place, &aside)?;
        copy_dir(disk, &from.join(&name), &place.join(&aside))?;
        let (from, to) = (place.join(aside), place.join(&name));
        disk.rename(&from, &to).and_then(|()| disk.sync_dir(place)).map_err(KeyFault::io("naming", &to))
    }

    pub(super) fn damaged(&self, slot: &Slot) -> KeyFault {
        KeyFault::Damaged { path: self.first().join(&slot.dir).join(&slot.stem) }
    }

    /// Shreds all that an epoch has, but for the word that it had it.
    pub(super) fn erase_epoch(&self, epoch: &Epoch) -> Result<(), KeyFault> {
        // Another root key that was begun has its identity too.
        self.mirror.shred_begun("")?;
        let generation = self.root_generation()?;
        self.mirror.shred(&identity_slot(generation, epoch))?;
        for place in self.mirror.places() {
            self.mirror.shred_dir(place, &envelopes_dir(epoch))?;
        }
        self.mirror.shred(&recipient_slot(epoch))
    }
}

/// Lets go of the lock when dropped.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

/// A root key that was made, split and sealed.
pub(super) struct NewRoot {
    pub(super) scheme: Scheme,
    /// For each holder, the sealed share.
    shares: Vec<Vec<u8>>,
    /// For the ring that made it.
    pub(super) identity: Zeroizing<String>,
}

impl NewRoot {
    pub(super) fn make(generation: u64, kind: KeyKind, custody: &Custody) -> Result<Self, KeyFault> {
        custody.check()?;
        let mut random = OsRandom::new()?;
        let (identity, root) = match kind {
            KeyKind::Hybrid => identity::generate_hybrid(&mut random),
            KeyKind::X25519 => identity::generate_x25519(&mut random),
        };
        let (mut holders, mut shares) = (Vec::new(), Vec::new());
        for (share, (name, recipient)) in
            custody.split(&identity, &root, generation, &mut random)?.iter().zip(&custody.custodians)
        {
            let parsed = keys::recipients(std::slice::from_ref(recipient), &[]);
            let to = parsed.map_err(|source| {
                let custodian = name.clone();
                KeyFault::Recipient { custodian, source: Box::new(source) }
            })?;
            shares.push(seal_whole(share.to_text().as_bytes(), &to, &mut random)?);
            let (name, recipient) = (name.clone(), recipient.clone());
            holders.push(Holder { name, recipient, share: share.digest() });
        }
        let (schema, threshold, made) = (custody::SCHEMA, custody.threshold, clock::now());
        let scheme = Scheme { schema, generation, threshold, root, made, holders };
        Ok(Self { scheme, shares, identity })
    }

    /// Who can open what is sealed to it.
    pub(super) fn recipients(&self) -> Result<Recipients, KeyFault> {
        Ok(Recipients::parse([&self.scheme.root])?)
    }

    fn scheme_bytes(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(&self.scheme).expect("a scheme has no maps with keys that are not text")
    }
}

fn places(home: &Path, key_places: &[PathBuf]) -> Vec<PathBuf> {
    std::iter::once(home.join(KEYS_DIR)).chain(key_places.iter().cloned()).collect()
}

fn copy_dir(disk: &dyn KeyDisk, from: &Path, to: &Path) -> Result<(), KeyFault> {
    disk.create_dir(to).map_err(KeyFault::io("making folder", to))?;
    for name in disk.list(from).map_err(KeyFault::io("listing", from))? {
        let (from, to) = (from.join(&name), to.join(&name));
        if disk.is_dir(&from) {
            copy_dir(disk, &from, &to)?;
        } else if let Some(bytes) = disk.read(&from).map_err(KeyFault::io("reading", &from))? {
            disk.write(&to, &bytes).map_err(KeyFault::io("writing", &to))?;
        }
    }
    disk.sync_dir(to).map_err(KeyFault::io("syncing", to))
}

pub(super) fn root_dir(generation: u64) -> String {
    format!("{ROOT_DIR}{generation}")
}

fn new_root_dir(generation: u64) -> String {
    format!(".{ROOT_DIR}{generation}.new")
}

fn custody_dir(root: &str) -> String {
    format!("{root}/custody")
}

pub(super) fn identity_slot(root: u64, epoch: &Epoch) -> Slot {
    let dir = format!("{}/{EPOCHS_DIR}/{}", root_dir(root), epoch.class);
    Slot::new(dir, epoch.month.to_string(), "age")
}

pub(super) fn recipient_slot(epoch: &Epoch) -> Slot {
    Slot::new(format!("{EPOCHS_DIR}/{}", epoch.class), epoch.month.to_string(), "pub")
}

pub(super) fn tombstone_slot(epoch: &Epoch) -> Slot {
    Slot { ext: "destroyed".into(), ..recipient_slot(epoch) }
}

pub(super) fn envelopes_dir(epoch: &Epoch) -> String {
    format!("{ENVELOPES_DIR}/{}/{}", epoch.class, epoch.month)
}

pub(super) fn group_slot(epoch: &Epoch, group: u32) -> Slot {
    Slot::new(envelopes_dir(epoch), format!("{group:06}"), "age")
}

fn entry_in(tombstone: &[u8]) -> Option<u64> {
    let (_, rest) = std::str::from_utf8(tombstone).ok()?.split_once(TOMBSTONE_ENTRY)?;
    rest.split(' ').next()?.parse().ok()
}

pub(super) fn recipient_text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim().to_owned()
}

/// Folder of the first key place, in a vault's home.
pub const KEYS_DIR: &str = "keys";
pub(super) const EPOCHS_DIR: &str = "epochs";
/// Stands in what is left of an epoch, before the number of the entry.
pub(super) const TOMBSTONE_ENTRY: &str = ": destroyed, entry ";
const ENVELOPES_DIR: &str = "envelopes";
const LOCK: &str = "lock";
const PATIENCE: Duration = Duration::from_secs(60);
