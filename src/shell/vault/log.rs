//! The vault's signed log: C2SP tiles, as a recorder's receipts. What is granted stands here first.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use crate::archive::access::{Decision, Grant, Request, decide, decide_within};
use crate::archive::entry::{Entry, Outcome};
use crate::archive::reach::Belongs;
use crate::seal::log::{LogError, ReadFile};
use crate::seal::log_verify::read_range;
use crate::seal::note::{Checkpoint, Signer};
use crate::shell::clock;
use crate::shell::disk::Disk;
use crate::shell::receipts::{DIR_NAME, ReceiptLog, ReceiptsError, read_file};

/// Why nothing was granted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Denied {
    /// The rules say no; the log has that.
    #[error(transparent)]
    Refused(#[from] crate::archive::access::Refusal),
    /// The log cannot be written: nothing is released.
    #[error("nothing is done, because the log of it cannot be written: {0}")]
    Unlogged(#[from] ReceiptsError),
}

/// The log. Several processes of one vault may write it, one after the other.
pub struct VaultLog {
    dir: PathBuf,
    signer: Box<dyn Fn() -> Signer + Send + Sync>,
    disk: Mutex<Box<dyn Disk>>,
    /// Why the last try to write it failed.
    fault: Mutex<Option<String>>,
}

impl VaultLog {
    /// The log in `dir`, signed by whom `signer` gives.
    pub fn new(dir: &Path, signer: impl Fn() -> Signer + Send + Sync + 'static, disk: Box<dyn Disk>) -> Self {
        Self { dir: dir.into(), signer: Box::new(signer), disk: Mutex::new(disk), fault: Mutex::default() }
    }

    /// Its folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Decides, and has the log say so on the disk before anything comes of it.
    pub fn ask(&self, request: &Request<'_>) -> Result<Grant, Denied> {
        self.ask_within(request, None)
    }

    /// The same of a recording of which it is known whose it is.
    pub fn ask_within(&self, request: &Request<'_>, belongs: Option<&Belongs>) -> Result<Grant, Denied> {
        match decide_within(request, belongs) {
            Ok(decision) => {
                let entry = self.write(&[Entry::granted(&decision)])?;
                Ok(Grant::logged(decision, entry))
            }
            Err(refusal) => {
                let Request { actor, action, resource, reason, now } = request;
                let refused = Entry {
                    schema: crate::archive::entry::SCHEMA,
                    at: *now,
                    actor: actor.name.clone(),
                    origin: actor.origin.clone(),
                    action: *action,
                    resource: resource.clone(),
                    reason: reason.clone(),
                    outcome: Outcome::Refused(refusal.clone()),
                };
                self.write(&[refused])?;
                Err(refusal.into())
            }
        }
    }

    /// Decides where nothing is released by it, and the entry may come with the outcome: for what the vault does
    /// many times a second.
    pub fn decide_now(&self, request: &Request<'_>) -> Result<Decision, Denied> {
        decide(request).map_err(Denied::Refused)
    }

    /// How something that was granted went.
    pub fn outcome(&self, grant: &Grant, outcome: Outcome) -> Result<u64, ReceiptsError> {
        self.write(&[grant.entry_of(clock::now(), outcome)])
    }

    /// Entries from `from` on, at most `count`, and how many there are in all; proved by the signature. Who writes
    /// meanwhile is not held up for longer than it takes to see how far it is signed.
    pub fn read_from(&self, from: u64, count: u64) -> Result<(Vec<Vec<u8>>, u64), ReceiptsError> {
        let dir = self.dir.join(DIR_NAME);
        let mut tries = TRIES;
        loop {
            tries -= 1;
            let writer = self.disk.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            // Whoever has the log is done with it then: all that is signed is on the disk.
            let log = self.open()?;
            let signed = log.signed();
            let held = (tries == 0).then_some((writer, log));
            match read_range(&|path| read_file(&dir, path), &signed, from, count) {
                Ok(entries) => return Ok((entries, signed.size)),
                // A file that another checkpoint does not need any more: at last nobody else may write one.
                Err(LogError::Missing { .. }) if held.is_none() => {}
                Err(source) => return Err(ReceiptsError::Log { dir, source }),
            }
        }
    }

    /// What is signed just now, and the note that says so; `act` may read the log's files meanwhile, which stay as they are
    /// for so long. Who writes waits for it.
    pub fn signed_with<T>(
        &self,
        act: impl FnOnce(&Checkpoint, &str, &ReadFile<'_>) -> T,
    ) -> Result<T, ReceiptsError> {
        let dir = self.dir.join(DIR_NAME);
        let _writer = self.disk.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let log = self.open()?;
        let signed = log.signed();
        let note = (self.signer)().sign(&signed);
        Ok(act(&signed, &note, &|path| read_file(&dir, path)))
    }

    /// Goes through all entries from `from` on with their numbers, some at a time.
    pub fn each<E: From<ReceiptsError>>(
        &self,
        from: u64,
        mut each: impl FnMut(u64, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut next = from;
        loop {
            let (entries, _) = self.read_from(next, ENTRIES_AT_ONCE)?;
            if entries.is_empty() {
                return Ok(());
            }
            for entry in &entries {
                each(next, entry)?;
                next += 1;
            }
        }
    }

    /// How far it is signed.
    pub fn signed(&self) -> Result<Checkpoint, ReceiptsError> {
        let _writer = self.disk.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        Ok(self.open()?.signed())
    }

    /// Why it could not be written the last time; nothing where it could.
    pub fn fault(&self) -> Option<String> {
        self.fault.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// Adds entries, on the disk when this returns. The number of the first.
    pub fn write(&self, entries: &[Entry]) -> Result<u64, ReceiptsError> {
        let written = self.try_write(entries);
        let fault = written.as_ref().err().map(ToString::to_string);
        *self.fault.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = fault;
        written
    }

    fn try_write(&self, entries: &[Entry]) -> Result<u64, ReceiptsError> {
        let mut disk = self.disk.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut log = self.open()?;
        let mut first = None;
        for entry in entries {
            let index = log.append_entry(&entry.to_bytes())?;
            first.get_or_insert(index);
        }
        log.commit(&mut **disk)?;
        Ok(first.unwrap_or_default())
    }

    /// Another process may be writing just now.
    fn open(&self) -> Result<ReceiptLog, ReceiptsError> {
        ReceiptLog::open_within(&self.dir, (self.signer)(), PATIENCE)
    }
}

const PATIENCE: Duration = Duration::from_secs(30);

/// Entries that are in memory at once: of the longest ones, a quarter of a gigabyte.
pub const ENTRIES_AT_ONCE: u64 = 4_096;
const TRIES: u32 = 5;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::access::{Action, Actor, Reason};
    use crate::archive::entry::Resource;
    use crate::base::time::Stamp;
    use crate::seal::log_verify::verify_log;
    use crate::shell::disk::RealDisk;

    #[test]
    fn what_is_granted_and_what_is_refused_is_in_the_log_first() {
        let dir = tempfile::tempdir().unwrap();
        let signer = || Signer::from_seed("vault", &[3; 32]).unwrap();
        let log = VaultLog::new(dir.path(), signer, Box::new(RealDisk::new(true)));
        let actor = Actor::local_administrator("root", Some(Stamp::ZERO));
        let reason = Some(Reason { code: "complaint".into(), text: String::new() });
        let ask = |reason: Option<Reason>| {
            let (action, resource) = (Action::Open, Resource::Vault);
            log.ask(&Request { actor: &actor, action, resource, reason, now: Stamp::ZERO })
        };
        let grant = ask(reason).unwrap();
        assert_eq!((grant.entry(), grant.actor(), grant.action()), (0, "local:root", Action::Open));
        assert!(matches!(ask(None), Err(Denied::Refused(_))));
        log.outcome(&grant, Outcome::Done(serde_json::json!({"bytes": 7}))).unwrap();
        let read = |path: &str| std::fs::read(dir.path().join("receipts").join(path)).ok();
        let entries = verify_log(&read, signer().verify_key()).unwrap().entries;
        let outcomes: Vec<_> =
            entries.iter().map(|entry| Entry::from_bytes(entry).unwrap().outcome).collect();
        assert_eq!(outcomes.len(), 3);
        assert_eq!(outcomes[0], Outcome::Granted);
        assert!(matches!(outcomes[1], Outcome::Refused(_)) && matches!(outcomes[2], Outcome::Done(_)));
    }

    /// Each entry is a commit of its own, by a log that is opened for it: what the ones before needed goes.
    #[test]
    fn it_keeps_no_more_files_than_it_needs() {
        let dir = tempfile::tempdir().unwrap();
        let signer = || Signer::from_seed("vault", &[3; 32]).unwrap();
        let log = VaultLog::new(dir.path(), signer, Box::new(RealDisk::new(false)));
        let actor = Actor::vault();
        let write = |count: usize| {
            let (action, resource, now) = (Action::TakeIn, Resource::Vault, Stamp::ZERO);
            let decision = log.decide_now(&Request { actor: &actor, action, resource, reason: None, now });
            log.write(&vec![Entry::granted(&decision.unwrap()); count]).unwrap();
        };
        for count in [1, 1, 300, 1, 253, 1, 1, 700, 1, 1] {
            write(count);
        }
        (0..300).for_each(|_| write(1));
        let receipts = dir.path().join("receipts");
        let (mut files, mut folders) = (Vec::new(), vec![receipts.clone()]);
        while let Some(folder) = folders.pop() {
            let found: Vec<_> =
                std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
            assert!(!found.is_empty(), "{} is left", folder.display());
            found
                .into_iter()
                .for_each(|path| if path.is_dir() { folders.push(path) } else { files.push(path) });
        }
        // Of 1,560 entries six tiles of entries and six of hashes are full; key and checkpoint; and at the edge of each
        // of three levels what is needed, and what the checkpoint before needed.
        assert!((17..=20).contains(&files.len()), "{files:?}");
        let read = |path: &str| std::fs::read(receipts.join(path)).ok();
        assert_eq!(verify_log(&read, signer().verify_key()).unwrap().entries.len(), 1_560);
    }

    /// Else the next entry would take all others for what nobody has signed, and remove them.
    #[test]
    fn where_the_checkpoint_was_lost_nothing_is_written_nor_removed() {
        for count in [2, 300] {
            let dir = tempfile::tempdir().unwrap();
            let signer = || Signer::from_seed("vault", &[3; 32]).unwrap();
            let log = VaultLog::new(dir.path(), signer, Box::new(RealDisk::new(false)));
            let actor = Actor::vault();
            let ask = || {
                let (action, resource, now) = (Action::TakeIn, Resource::Vault, Stamp::ZERO);
                log.ask(&Request { actor: &actor, action, resource, reason: None, now })
            };
            (0..count).for_each(|_| drop(ask().unwrap()));
            let receipts = dir.path().join("receipts");
            let checkpoint = std::fs::read(receipts.join("checkpoint")).unwrap();
            std::fs::remove_file(receipts.join("checkpoint")).unwrap();
            let refused = ask();
            assert!(matches!(refused, Err(Denied::Unlogged(ReceiptsError::Log { .. }))), "{refused:?}");
            assert!(log.read_from(0, 1).is_err());
            std::fs::write(receipts.join("checkpoint"), checkpoint).unwrap();
            let read = |path: &str| std::fs::read(receipts.join(path)).ok();
            assert_eq!(verify_log(&read, signer().verify_key()).unwrap().entries.len(), count);
            ask().unwrap();
        }
    }

    /// Nobody waits for somebody who reads, and nobody reads what is not signed.
    #[test]
    fn it_is_read_from_any_entry_on_while_others_write() {
        let dir = tempfile::tempdir().unwrap();
        let log = || {
            let signer = || Signer::from_seed("vault", &[3; 32]).unwrap();
            VaultLog::new(dir.path(), signer, Box::new(RealDisk::new(false)))
        };
        let actor = Actor::vault();
        let write = |log: &VaultLog, number: u64| {
            let (action, resource, now) = (Action::TakeIn, Resource::Request(number), Stamp::ZERO);
            let decision = log.decide_now(&Request { actor: &actor, action, resource, reason: None, now });
            log.write(&[Entry::granted(&decision.unwrap())]).unwrap()
        };
        let number = |entry: &[u8]| match Entry::from_bytes(entry).unwrap().resource {
            Resource::Request(number) => number,
            other => panic!("{other:?}"),
        };
        assert_eq!(log().read_from(0, 9).unwrap(), (Vec::new(), 0));
        std::thread::scope(|threads| {
            let writing = threads.spawn(|| (0..300).for_each(|at| assert_eq!(write(&log(), at), at)));
            let (log, mut next) = (log(), 0);
            while next < 300 {
                let (entries, size) = log.read_from(next, 100).unwrap();
                for entry in &entries {
                    assert_eq!(number(entry), next);
                    next += 1;
                }
                assert!(next <= size && size <= 300);
            }
            writing.join().unwrap();
        });
        let mut seen = 0;
        let counted = log().each(7, |index, entry| -> Result<(), ReceiptsError> {
            assert_eq!((number(entry), index), (index, 7 + seen));
            seen += 1;
            Ok(())
        });
        counted.unwrap();
        assert_eq!(seen, 293);
        // What is not asked for need not be there.
        std::fs::remove_file(dir.path().join("receipts/tile/entries/000")).unwrap();
        assert_eq!(log().read_from(280, 99).unwrap().0.len(), 20);
        assert!(log().read_from(0, 1).is_err());
    }

    /// Access fails closed.
    #[test]
    fn where_the_log_cannot_be_written_nothing_is_granted() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "in the way").unwrap();
        let signer = || Signer::from_seed("vault", &[3; 32]).unwrap();
        let log = VaultLog::new(&file, signer, Box::new(RealDisk::new(true)));
        let actor = Actor::vault();
        let (action, resource, now) = (Action::TakeIn, Resource::Vault, Stamp::ZERO);
        let asked = log.ask(&Request { actor: &actor, action, resource, reason: None, now });
        assert!(matches!(asked, Err(Denied::Unlogged(_))));
    }
}
