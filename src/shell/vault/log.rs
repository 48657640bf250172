//! The vault's signed log: C2SP tiles, as a recorder's receipts. What is granted stands here first.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use crate::archive::access::{Decision, Grant, Request, decide};
use crate::archive::entry::{Entry, Outcome};
use crate::seal::note::Signer;
use crate::shell::clock;
use crate::shell::disk::Disk;
use crate::shell::receipts::{ReceiptLog, ReceiptsError};

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
}

impl VaultLog {
    /// The log in `dir`, signed by whom `signer` gives.
    pub fn new(dir: &Path, signer: impl Fn() -> Signer + Send + Sync + 'static, disk: Box<dyn Disk>) -> Self {
        Self { dir: dir.into(), signer: Box::new(signer), disk: Mutex::new(disk) }
    }

    /// Its folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Decides, and has the log say so on the disk before anything comes of it.
    pub fn ask(&self, request: &Request<'_>) -> Result<Grant, Denied> {
        match decide(request) {
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

    /// All entries as they were written, checked against the signature.
    pub fn read(&self) -> Result<Vec<Vec<u8>>, ReceiptsError> {
        let _writer = self.disk.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        Ok(self.open()?.verified()?.map(|log| log.entries).unwrap_or_default())
    }

    /// Adds entries, on the disk when this returns. The number of the first.
    pub fn write(&self, entries: &[Entry]) -> Result<u64, ReceiptsError> {
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
