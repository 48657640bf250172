//! The vault's users, kept: a sealed file in its home, and the log, which has each change and the file's SHA-256.
//!
//! ```text
//! lock ─► newest state ─► change? ─► users.next, flush ─► log: change, SHA-256 ─► users.next takes the place of users
//! ```
//!
//! What was killed after the log has it is finished by whoever comes next. A file that the log does not name was edited,
//! or put back: nobody signs in before it is the right one again.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::json;

use crate::archive::access::{Action, Grant};
use crate::archive::entry::{Entry, Outcome, Resource, SCHEMA};
use crate::archive::record::Digest;
use crate::archive::user::UserName;
use crate::archive::users::{Change, Users, UsersFault};
use crate::shell::clock;
use crate::shell::disk::remedy;
use crate::shell::entropy::{NoRandomness, OsRandom};
use crate::shell::locks;
use crate::shell::receipts::ReceiptsError;
use crate::shell::vault::home::{Vault, VaultError, write_new};

/// Users of one vault. Several processes may change them.
#[derive(Debug, Default)]
pub struct UserStore {
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    /// The file as it was when it was read; nothing before.
    file: Option<Option<FileId>>,
    users: Arc<Users>,
    /// Entries of the log that were looked through.
    read: u64,
    /// What the newest of them says of the file.
    named: Option<String>,
}

/// What tells that a file is another.
#[derive(Clone, Debug, Eq, PartialEq)]
struct FileId {
    inode: u64,
    bytes: u64,
    changed: (i64, i64),
}

/// Who says what happens to users, for the log.
#[derive(Clone, Copy, Debug)]
pub enum Voice<'a> {
    /// It was granted to somebody.
    Granted(&'a Grant),
    /// Who proves who they are.
    Own {
        /// Who.
        user: &'a UserName,
        /// From where.
        origin: &'a str,
        /// By what.
        action: Action,
    },
}

/// Why users are not known, or not changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UsersError {
    /// It may not be.
    #[error(transparent)]
    Fault(#[from] UsersFault),
    /// The log cannot be read, or written: nothing has changed.
    #[error("nothing is done, because the log of it cannot be written or read: {0}")]
    Log(#[from] ReceiptsError),
    /// The file cannot be written.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The operating system refused.
    #[error("{doing} `{}`: {source}{}", path.display(), remedy(source))]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another process does not let go of it.
    #[error("another process has been changing the users for half a minute: see which, and try again")]
    Busy,
    /// It is not the one that the log names.
    #[error(
        "`{}` is not what the vault's log says it is: it was edited, or an older one was put back. Nobody signs in \
         before the newest one is there again; see the log for what was done since",
        path.display()
    )]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// The log is shorter than it was.
    #[error("the vault's log has {size} entries, and had {read}: bring back the newest log")]
    LogShrank {
        /// Entries that there are.
        size: u64,
        /// Entries that there were.
        read: u64,
    },
    /// No random bytes.
    #[error(transparent)]
    Random(#[from] NoRandomness),
}

impl UserStore {
    /// All users as they are now.
    pub fn users(&self, vault: &Vault) -> Result<Arc<Users>, UsersError> {
        let mut seen = self.seen();
        // What is left of a change may be one that the log has: it is finished, or removed.
        if seen.file.as_ref() != Some(&file_id(vault)?) || is_there(vault, NEXT)? {
            let _lock = lock(vault)?;
            load(vault, &mut seen)?;
        }
        Ok(Arc::clone(&seen.users))
    }

    /// Has something happen: it is in the log, and on the disk, when this returns. The users after it.
    pub fn change(&self, vault: &Vault, voice: Voice<'_>, change: &Change) -> Result<Arc<Users>, UsersError> {
        self.change_with(vault, voice, |_| Ok(change.clone())).map(|(users, ())| users)
    }

    /// The same, decided once nobody else changes them.
    pub fn change_with<C: Into<Planned<T>>, T: Default>(
        &self,
        vault: &Vault,
        voice: Voice<'_>,
        plan: impl FnOnce(&Users) -> Result<C, UsersFault>,
    ) -> Result<(Arc<Users>, T), UsersError> {
        let mut seen = self.seen();
        let _lock = lock(vault)?;
        load(vault, &mut seen)?;
        let mut users = (*seen.users).clone();
        let Planned { change, more } = plan(&users)?.into();
        let (now, mut told) = (clock::now(), change.told(&users));
        let user = change.user(&users);
        users.apply(&change, now)?;
        let sealed = users.seal(&vault.signer(), &mut OsRandom::new()?);
        let digest = Digest::of(&sealed).to_string();
        told["generation"] = json!(users.generation());
        told[STATE] = json!(digest);
        write_new(&vault.home, NEXT, &sealed, 0o600)?;
        let entry = match voice {
            Voice::Granted(grant) => grant.entry_of(now, Outcome::Done(told)),
            Voice::Own { user: own, origin, action } => Entry {
                schema: SCHEMA,
                at: now,
                actor: own.actor(),
                origin: origin.into(),
                action,
                resource: Resource::User(user.unwrap_or_else(|| own.clone()).to_string()),
                reason: None,
                outcome: Outcome::Done(told),
            },
        };
        // Whatever comes in between, what is in memory is looked at again.
        seen.file = None;
        vault.log.write(&[entry])?;
        put(vault)?;
        load(vault, &mut seen)?;
        Ok((Arc::clone(&seen.users), more))
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        // What a panic left is read anew where the file is another.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A change, and what whoever planned it wants to know.
#[derive(Debug)]
pub struct Planned<T> {
    /// What is to happen.
    pub change: Change,
    /// For the caller.
    pub more: T,
}

impl From<Change> for Planned<()> {
    fn from(change: Change) -> Self {
        Self { change, more: () }
    }
}

impl<T> From<(Change, T)> for Planned<T> {
    fn from((change, more): (Change, T)) -> Self {
        Self { change, more }
    }
}

/// Reads the file that the log names. Under the lock.
fn load(vault: &Vault, seen: &mut Seen) -> Result<(), UsersError> {
    look_through(vault, seen)?;
    let id = file_id(vault)?;
    if seen.file.as_ref() == Some(&id) {
        return remove_left_over(vault);
    }
    let (path, named) = (vault.home.join(FILE), seen.named.as_deref());
    let mut sealed = read(vault, FILE)?;
    let is_named = |sealed: &Option<Vec<u8>>| {
        sealed.as_ref().map(|sealed| Digest::of(sealed).to_string()).as_deref() == named
    };
    if !is_named(&sealed) {
        // Somebody was killed after the log had it.
        let next = read(vault, NEXT)?;
        if next.is_none() || !is_named(&next) {
            return Err(UsersError::Changed { path });
        }
        put(vault)?;
        sealed = next;
    }
    seen.users = match sealed {
        None => Arc::default(),
        Some(sealed) => {
            let users = Users::open(&sealed, &vault.signer()).map_err(|_| UsersError::Changed { path })?;
            Arc::new(users)
        }
    };
    seen.file = Some(file_id(vault)?);
    remove_left_over(vault)
}

/// What the log never had, once the file is the one that it names. Under the lock.
fn remove_left_over(vault: &Vault) -> Result<(), UsersError> {
    let path = vault.home.join(NEXT);
    match std::fs::remove_file(&path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(UsersError::Io { doing: "removing what a change left behind,", path, source })
        }
        _ => Ok(()),
    }
}

/// Finds what the log says last of the file: backwards, for the log is long and people sign in often.
fn look_through(vault: &Vault, seen: &mut Seen) -> Result<(), UsersError> {
    let (_, size) = vault.log.read_from(0, 1)?;
    if size < seen.read {
        return Err(UsersError::LogShrank { size, read: seen.read });
    }
    let mut to = size;
    while to > seen.read {
        let from = to.saturating_sub(ENTRIES).max(seen.read);
        let (entries, _) = vault.log.read_from(from, to - from)?;
        if let Some(named) = entries.iter().rev().find_map(|entry| named_in(entry)) {
            seen.named = Some(named);
            // Also where the file is still that of before: whoever was to replace it may have been killed.
            seen.file = None;
            break;
        }
        to = from;
    }
    seen.read = size;
    Ok(())
}

/// The SHA-256 that an entry says the file has.
fn named_in(bytes: &[u8]) -> Option<String> {
    let mark = format!("\"{STATE}\":");
    if !bytes.windows(mark.len()).any(|window| window == mark.as_bytes()) {
        return None;
    }
    let entry = Entry::from_bytes(bytes).ok()?;
    let is_ours = matches!(
        entry.action,
        Action::Configure
            | Action::SignIn
            | Action::StepUp
            | Action::ManageUsers
            | Action::ApproveUsers
            | Action::CertifyRoles
            | Action::MakeToken
            | Action::ChangeOwn
    );
    match entry.outcome {
        Outcome::Done(told) if is_ours => told.get(STATE)?.as_str().map(str::to_owned),
        _ => None,
    }
}

fn put(vault: &Vault) -> Result<(), UsersError> {
    let path = vault.home.join(FILE);
    let renamed =
        std::fs::rename(vault.home.join(NEXT), &path).and_then(|()| File::open(&vault.home)?.sync_all());
    renamed.map_err(|source| UsersError::Io { doing: "writing", path, source })
}

fn read(vault: &Vault, name: &str) -> Result<Option<Vec<u8>>, UsersError> {
    let path = vault.home.join(name);
    match std::fs::read(&path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(UsersError::Io { doing: "reading", path, source }),
    }
}

fn is_there(vault: &Vault, name: &str) -> Result<bool, UsersError> {
    let path = vault.home.join(name);
    path.try_exists().map_err(|source| UsersError::Io { doing: "looking for", path, source })
}

fn file_id(vault: &Vault) -> Result<Option<FileId>, UsersError> {
    let path = vault.home.join(FILE);
    match std::fs::symlink_metadata(&path) {
        Ok(facts) => Ok(Some(FileId {
            inode: facts.ino(),
            bytes: facts.len(),
            changed: (facts.ctime(), facts.ctime_nsec()),
        })),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(UsersError::Io { doing: "looking at", path, source }),
    }
}

/// Held until it is dropped.
fn lock(vault: &Vault) -> Result<File, UsersError> {
    let path = vault.home.join(LOCK);
    let io = |source| UsersError::Io { doing: "locking", path: path.clone(), source };
    let file =
        OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path).map_err(io)?;
    if locks::alone(&file, PATIENCE).map_err(io)? { Ok(file) } else { Err(UsersError::Busy) }
}

/// All users, sealed: in the vault's home.
pub const FILE: &str = "users";
const NEXT: &str = "users.next";
const LOCK: &str = "users.lock";
/// Name under which entries of the log have the SHA-256 of the file.
const STATE: &str = "users";
const ENTRIES: u64 = 4_096;
const PATIENCE: Duration = Duration::from_secs(30);
