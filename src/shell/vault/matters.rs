//! Holds, events, requests for destruction: said here, kept in the log, copied into the catalog.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::json;

use crate::archive::access::{Action, Actor, Grant, Reason, Request as Asking};
use crate::archive::certificate::Certificate;
use crate::archive::clock::{ClockDoubt, ClockTrust, Past, Reading, to_keep, trust};
use crate::archive::custody::CustodianName;
use crate::archive::entry::{Entry, Outcome, Resource};
use crate::archive::epoch::{ClassName, Epoch};
use crate::archive::hold::{Hold, HoldName};
use crate::archive::matter::{self, IDS_MAX, Matter, MatterError, Said};
use crate::archive::person::Person;
use crate::archive::record::RecordingId;
use crate::archive::request::{Agreement, ApprovalError, Request, What};
use crate::archive::retention::Rules;
use crate::archive::scope::Scope;
use crate::archive::user::UserName;
use crate::base::time::Stamp;
use crate::seal::log::ENTRY_BYTES_MAX;
use crate::seal::note::VerifyKey;
use crate::shell::clock;
use crate::shell::receipts::ReceiptsError;
use crate::shell::vault::catalog::retention::MattersRead;
use crate::shell::vault::catalog::{Catalog, CatalogError};
use crate::shell::vault::home::{Vault, VaultError, write_new};
use crate::shell::vault::keyfault::KeyFault;
use crate::shell::vault::log::{Denied, ENTRIES_AT_ONCE};

/// Why it was not done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MattersError {
    /// The vault is of no use.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The catalog is of no use.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The keys are of no use.
    #[error(transparent)]
    Keys(#[from] KeyFault),
    /// Nothing was granted.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// The log cannot be read or written.
    #[error(transparent)]
    Log(#[from] ReceiptsError),
    /// The log says what this version does not understand.
    #[error(transparent)]
    Matter(#[from] MatterError),
    /// Nobody can agree to it.
    #[error(transparent)]
    Approval(#[from] ApprovalError),
    /// The log was put back to an older state, or the catalog is another vault's.
    #[error(
        "the vault's log has {size} entries, and catalog `{catalog}` has read {read}: the log was put back, or it is \
         another vault's catalog. Bring back the newest log, or name another catalog"
    )]
    LogShrank {
        /// Entries that there are.
        size: u64,
        /// Entries that were read.
        read: u64,
        /// The catalog.
        catalog: String,
    },
    /// The clock is not to be trusted.
    #[error(
        "nothing is destroyed, because the clock is not to be trusted: {0}. Put it right, or where it is right say \
         `sejf destroy clock`, with the keys of the custodians"
    )]
    Clock(ClockDoubt),
    /// Nothing waits for the catalog.
    #[error("starting to wait for the catalog: {0}")]
    Runtime(std::io::Error),
    /// Both clocks cannot be read.
    #[error("reading since when this machine runs: {0}")]
    Uptime(std::io::Error),
    /// There is one of that name.
    #[error("there is a hold `{0}` already, or there was one: give another name")]
    HoldExists(HoldName),
    /// A class that nothing has.
    #[error("there is no class `{class}`, neither in vault.toml nor of a recording: there are {known}")]
    NoClass {
        /// What was named.
        class: ClassName,
        /// Those that there are.
        known: String,
    },
    /// A recorder that nobody knows.
    #[error("no recorder, or more than one, is named `{recorder}`: give the whole key; there are {known}")]
    NoRecorder {
        /// What was named.
        recorder: String,
        /// Keys of those that there are.
        known: String,
    },
    /// There is none.
    #[error("there is no hold `{0}` in force: see `sejf hold list`")]
    NoHold(HoldName),
    /// There is none.
    #[error("there is no request {0}: see `sejf destroy list`")]
    NoRequest(u64),
    /// Nobody showed a key.
    #[error("this takes a custodian's key, and the keys that were given open no share: name it with -i")]
    NoCustodian,
    /// Fewer keys than the vault takes.
    #[error("this takes the keys of {needed} custodians, and {shown} were shown")]
    TooFew {
        /// How many it takes.
        needed: u8,
        /// How many were shown.
        shown: usize,
    },
    /// More recordings than one entry holds.
    #[error("{0} recordings, and one hold or request takes at most {IDS_MAX}: say it in several")]
    TooMany(usize),
    /// A request that means everything.
    #[error("name the recordings, or a class: nobody asks for the destruction of everything at once")]
    Everything,
    /// Destruction without a reason.
    #[error("this takes a reason: say why, with --reason CODE --note TEXT")]
    NoReason,
    /// Was told to stop.
    #[error("stopped; what was begun is finished the next time")]
    Stopped,
    /// Its certificate would be longer than an entry of the log. Nothing was erased.
    #[error(
        "nothing is destroyed of {count} recordings, because their certificate would have {bytes} bytes, and an entry \
         of the log has at most {ENTRY_BYTES_MAX}: shorten the names of places and folders in vault.toml"
    )]
    TooLong {
        /// Recordings.
        count: usize,
        /// Bytes.
        bytes: usize,
    },
    /// A key is gone, and nobody's word is found for it.
    #[error(
        "the key of {0} is gone, and the log does not say at which request's word: nothing is certified of it; see \
         `sejf vault keys check`"
    )]
    NoWord(Epoch),
    /// A recording still opens.
    #[error("recording {0} still has an envelope after it was destroyed: see `sejf vault keys check`")]
    StillThere(RecordingId),
    /// Certificates cannot be written.
    #[error("writing certificate `{}`: {source}", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// What decides about destruction.
#[derive(Clone, Debug, Default)]
pub struct Matters {
    /// All holds.
    pub holds: Vec<Hold>,
    /// All requests.
    pub requests: Vec<Request>,
    /// How far the log was read for it.
    pub read: MattersRead,
}

impl Matters {
    /// Reads on in the log, then all of it from the catalog.
    pub async fn load(vault: &Vault, catalog: &Catalog) -> Result<Self, MattersError> {
        let read = catch_up(vault, catalog).await?;
        Ok(Self { holds: catalog.holds().await?, requests: catalog.requests().await?, read })
    }

    /// Puts in order what decides.
    pub fn rules<'a>(&'a self, vault: &'a Vault, now: Stamp, trust: ClockTrust) -> Rules<'a> {
        Rules::new(&vault.config.classes, &self.holds, &self.requests, now, trust)
    }

    /// The request of that number.
    pub fn request(&self, number: u64) -> Result<&Request, MattersError> {
        self.requests.iter().find(|one| one.number == number).ok_or(MattersError::NoRequest(number))
    }

    /// The hold of that name.
    pub fn hold(&self, name: &HoldName) -> Option<&Hold> {
        self.holds.iter().find(|hold| hold.name == *name)
    }
}

/// A scope as recordings can have it: a hold on a class or a recorder that was misspelt would hold nothing. A recorder
/// may be given by its name where that is one's alone.
pub async fn known_scope(vault: &Vault, catalog: &Catalog, scope: Scope) -> Result<Scope, MattersError> {
    let listed = |all: &BTreeSet<String>| all.iter().cloned().collect::<Vec<_>>().join(", ");
    if let Some(class) = &scope.class {
        let mut classes: BTreeSet<_> = vault.classes().iter().map(ToString::to_string).collect();
        classes.extend(catalog.epochs().await?.iter().map(|epoch| epoch.class.to_string()));
        if !classes.contains(class.as_str()) {
            return Err(MattersError::NoClass { class: class.clone(), known: listed(&classes) });
        }
    }
    let Some(named) = scope.recorder.clone() else { return Ok(scope) };
    let mut recorders: BTreeSet<_> = catalog.recorders().await?.into_iter().collect();
    recorders.extend(vault.config.recorders.iter().map(|recorder| recorder.key.trim().to_owned()));
    let is_named = |key: &&String| **key == named || key.split('+').next() == Some(named.as_str());
    let mut fitting = recorders.iter().filter(is_named);
    let recorder = match (fitting.next(), fitting.next()) {
        (Some(recorder), None) => recorder.clone(),
        // One that has sent nothing yet.
        (None, _) if named.parse::<VerifyKey>().is_ok() => named,
        _ => return Err(MattersError::NoRecorder { recorder: named, known: listed(&recorders) }),
    };
    Ok(Scope { recorder: Some(recorder), ..scope })
}

/// Brings the catalog up to the log.
pub async fn catch_up(vault: &Vault, catalog: &Catalog) -> Result<MattersRead, MattersError> {
    loop {
        let from = catalog.matters_read().await?;
        let (entries, size) = vault.log.read_from(from.size, ENTRIES_AT_ONCE)?;
        if size < from.size {
            let catalog = catalog.name().to_owned();
            return Err(MattersError::LogShrank { size, read: from.size, catalog });
        }
        let (mut said, mut to) = (Vec::new(), from);
        for bytes in &entries {
            let index = to.size;
            let entry = Entry::from_bytes(bytes).map_err(|_| MatterError { index, at: Stamp::ZERO })?;
            to.newest = if is_clock_word(&entry) { Some(entry.at) } else { to.newest.max(Some(entry.at)) };
            to.size += 1;
            said.extend(matter::read(index, &entry)?.map(|said| (index, said)));
        }
        let is_taken = to == from || catalog.absorb(from.size, &said, to).await?;
        if is_taken && to.size >= size {
            return Ok(to);
        }
    }
}

/// All recordings that the log says were destroyed, with the number of the entry: what a catalog that is made anew
/// must not bring back.
pub fn tombstones(vault: &Vault) -> Result<Vec<(RecordingId, u64)>, MattersError> {
    let mut all = Vec::new();
    vault.log.each(0, |index, bytes| -> Result<(), MattersError> {
        if let Some(certificate) = certificate(index, bytes)? {
            all.extend(certificate.recordings().iter().map(|recording| (recording.id, index)));
        }
        Ok(())
    })?;
    Ok(all)
}

/// The certificate that an entry is, where it is one.
pub(super) fn certificate(index: u64, bytes: &[u8]) -> Result<Option<Certificate>, MatterError> {
    let entry = Entry::from_bytes(bytes).map_err(|_| MatterError { index, at: Stamp::ZERO })?;
    Ok(match matter::read(index, &entry)? {
        Some(Said::Done(Matter::Destroyed(certificate))) => Some(certificate),
        _ => None,
    })
}

/// The certificate that entry `index` of the log is, where it is one.
pub fn certificate_at(vault: &Vault, index: u64) -> Result<Option<Certificate>, MattersError> {
    let (entries, _) = vault.log.read_from(index, 1)?;
    entries.first().map_or(Ok(None), |bytes| Ok(certificate(index, bytes)?))
}

/// Whether the clock may be believed. `newest` is of the log's entries. Nothing is written.
pub fn look_at_clock(vault: &Vault, newest: Option<Stamp>) -> Result<ClockTrust, MattersError> {
    let past = Past { believed: believed(vault), newest_entry: newest };
    Ok(trust(&reading()?, &past))
}

/// The same, and where it may be believed, that is remembered.
pub fn clock_trust(vault: &Vault, newest: Option<Stamp>) -> Result<ClockTrust, MattersError> {
    let reading = reading()?;
    let past = Past { believed: believed(vault), newest_entry: newest };
    let trusted = trust(&reading, &past);
    if trusted == ClockTrust::Trusted
        && let Some(reading) = to_keep(&reading, past.believed.as_ref())
    {
        believe(vault, &reading)?;
    }
    Ok(trusted)
}

/// What cannot be read is nothing to go by: then the log is.
fn believed(vault: &Vault) -> Option<Reading> {
    let bytes = std::fs::read(vault.home.join(CLOCK)).ok()?;
    serde_json::from_slice(&bytes).ok()
}

fn reading() -> Result<Reading, MattersError> {
    let (running, boot) = clock::since_boot().map_err(MattersError::Uptime)?;
    Ok(Reading { wall: clock::now(), running, boot })
}

fn believe(vault: &Vault, reading: &Reading) -> Result<(), MattersError> {
    let bytes = serde_json::to_vec(reading).expect("times and a name");
    Ok(write_new(&vault.home, CLOCK, &bytes, 0o600)?)
}

fn is_clock_word(entry: &Entry) -> bool {
    entry.action == Action::Configure
        && matches!(&entry.outcome, Outcome::Done(value) if value.get(CLOCK_WORD).is_some())
}

/// Who speaks: with their custodians' keys, if any were shown just now, or as a user.
#[derive(Clone, Debug)]
pub struct Speaker {
    /// For the log.
    pub actor: Actor,
    /// Whose keys were shown.
    pub custodians: Vec<CustodianName>,
    /// Who has signed in as whom, with a second factor.
    pub user: Option<UserName>,
    /// What was granted to them already: one act, of that action on that resource.
    pub granted: Option<Arc<Grant>>,
    /// Why they speak.
    pub reason: Option<Reason>,
    /// When.
    pub now: Stamp,
}

impl Speaker {
    /// Whoever runs this now, with the custodians whose keys were shown.
    pub fn here(vault: &Vault, custodians: Vec<CustodianName>, reason: Option<Reason>) -> Self {
        let (actor, now) = (vault.actor(&custodians), clock::now());
        Self { actor, custodians, user: None, granted: None, reason, now }
    }

    /// As whom they may ask and agree.
    pub fn people(&self) -> Vec<Person> {
        let custodians = self.custodians.iter().cloned().map(Person::Custodian);
        custodians.chain(self.user.clone().map(Person::User)).collect()
    }

    /// Has it granted, unless just this was.
    pub(super) fn ask(
        &self,
        vault: &Vault,
        action: Action,
        resource: Resource,
    ) -> Result<Arc<Grant>, Denied> {
        let is_it = |grant: &&Arc<Grant>| grant.action() == action && *grant.resource() == resource;
        if let Some(grant) = self.granted.as_ref().filter(is_it) {
            return Ok(Arc::clone(grant));
        }
        let (actor, reason, now) = (&self.actor, self.reason.clone(), self.now);
        vault.log.ask(&Asking { actor, action, resource, reason, now }).map(Arc::new)
    }

    /// Does what was granted: it is in the log, then in the catalog.
    async fn say(
        &self,
        vault: &Vault,
        catalog: &Catalog,
        grant: &Grant,
        matter: &Matter,
    ) -> Result<(), MattersError> {
        vault.log.outcome(grant, matter.outcome())?;
        catch_up(vault, catalog).await.map(drop)
    }

    /// Lays a hold on recordings.
    pub async fn hold(
        &self,
        vault: &Vault,
        catalog: &Catalog,
        name: &HoldName,
        scope: &Scope,
    ) -> Result<(), MattersError> {
        fits(scope.recordings.len())?;
        if Matters::load(vault, catalog).await?.hold(name).is_some() {
            return Err(MattersError::HoldExists(name.clone()));
        }
        let grant = self.ask(vault, Action::Hold, Resource::Hold(name.to_string()))?;
        let hold = Hold {
            name: name.clone(),
            scope: scope.clone(),
            by: grant.actor().into(),
            at: self.now,
            reason: self.reason.clone(),
            released: None,
        };
        let matter = Matter::Held(hold.clone());
        self.say(vault, catalog, &grant, &matter).await?;
        // Of two that were laid by one name at once, the first in the log holds.
        match Matters::load(vault, catalog).await?.hold(name) {
            Some(held) if *held == hold => Ok(()),
            _ => Err(MattersError::HoldExists(name.clone())),
        }
    }

    /// Lets a hold go.
    pub async fn release(
        &self,
        vault: &Vault,
        catalog: &Catalog,
        name: &HoldName,
    ) -> Result<(), MattersError> {
        let matters = Matters::load(vault, catalog).await?;
        if !matters.hold(name).is_some_and(Hold::is_in_force) {
            return Err(MattersError::NoHold(name.clone()));
        }
        let grant = self.ask(vault, Action::ReleaseHold, Resource::Hold(name.to_string()))?;
        self.say(vault, catalog, &grant, &Matter::Released { hold: name.clone(), at: self.now }).await
    }

    /// Says when the event came from which recordings count. Of two such words the later date counts.
    pub async fn name_event(
        &self,
        vault: &Vault,
        catalog: &Catalog,
        at: Stamp,
        ids: &[RecordingId],
    ) -> Result<(), MattersError> {
        for ids in ids.chunks(IDS_MAX) {
            let grant = self.ask(vault, Action::NameEvent, Resource::of(ids))?;
            let matter = Matter::Named { at, recordings: ids.to_vec() };
            self.say(vault, catalog, &grant, &matter).await?;
        }
        Ok(())
    }

    /// Asks for destruction. The request's number.
    pub async fn ask_destruction(
        &self,
        vault: &Vault,
        catalog: &Catalog,
        scope: &Scope,
        what: What,
        due_by: Option<Stamp>,
    ) -> Result<u64, MattersError> {
        fits(scope.recordings.len())?;
        if scope.recordings.is_empty() && scope.class.is_none() {
            return Err(MattersError::Everything);
        }
        let by = self.people().into_iter().next().ok_or(MattersError::NoCustodian)?;
        let reason = self.reason.clone().ok_or(MattersError::NoReason)?;
        let grant = self.ask(vault, Action::AskDestruction, destroyed(scope))?;
        let request = Request {
            number: grant.entry(),
            by,
            actor: grant.actor().into(),
            at: self.now,
            scope: scope.clone(),
            what,
            due_by,
            reason,
            agreed: None,
            withdrawn: None,
        };
        let number = request.number;
        self.say(vault, catalog, &grant, &Matter::Asked(request)).await?;
        Ok(number)
    }

    /// Agrees to what another has asked for. Who it was.
    pub async fn approve(
        &self,
        vault: &Vault,
        catalog: &Catalog,
        number: u64,
    ) -> Result<Person, MattersError> {
        let (matters, people) = (Matters::load(vault, catalog).await?, self.people());
        let approver = matters.request(number)?.approver(&people)?;
        let by = approver.ok_or(MattersError::NoCustodian)?.clone();
        let grant = self.ask(vault, Action::ApproveDestruction, Resource::Request(number))?;
        let agreement = Agreement { by: by.clone(), actor: grant.actor().into(), at: self.now };
        self.say(vault, catalog, &grant, &Matter::Agreed { request: number, agreement }).await?;
        Ok(by)
    }

    /// Takes a request back.
    pub async fn withdraw(&self, vault: &Vault, catalog: &Catalog, number: u64) -> Result<(), MattersError> {
        Matters::load(vault, catalog).await?.request(number)?;
        let grant = self.ask(vault, Action::AskDestruction, Resource::Request(number))?;
        let matter = Matter::Withdrawn { request: number, at: self.now };
        self.say(vault, catalog, &grant, &matter).await
    }

    /// Says that the clock is right, whatever the log and the time since say. Takes as many custodians as the vault.
    pub async fn confirm_clock(&self, vault: &Vault, catalog: &Catalog) -> Result<(), MattersError> {
        let needed = vault.keys.scheme()?.threshold;
        let shown = self.custodians.len();
        if shown < usize::from(needed) {
            return Err(MattersError::TooFew { needed, shown });
        }
        let grant = self.ask(vault, Action::Configure, Resource::Vault)?;
        let reading = reading()?;
        vault.log.outcome(&grant, Outcome::Done(json!({ CLOCK_WORD: self.custodians })))?;
        believe(vault, &reading)?;
        catch_up(vault, catalog).await.map(drop)
    }
}

/// What the log names as that of which the destruction of `scope` is asked for.
pub fn destroyed(scope: &Scope) -> Resource {
    let ids: Vec<_> = scope.recordings.iter().copied().collect();
    match (&scope.class, ids.is_empty()) {
        (Some(class), true) => Resource::Epoch(format!("{class}/*")),
        _ => Resource::of(&ids),
    }
}

fn fits(count: usize) -> Result<(), MattersError> {
    if count > IDS_MAX { Err(MattersError::TooMany(count)) } else { Ok(()) }
}

const CLOCK: &str = "clock.json";
const CLOCK_WORD: &str = "clock-is-right";
