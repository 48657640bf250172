//! Destruction, carried out: what [`crate::archive::retention`] has planned, and nothing else.
//!
//! ```text
//! plan ─► granted, in the log ─► looked again: a hold may have come ─► envelopes gone in all key places, looked up
//!      ─► objects removed where places let us ─► certificate, in the log ─► catalog forgets ─► certificate as files
//! ```
//!
//! Stopped at any point, the next run goes on: what was granted and has no envelope any more is finished, whatever
//! was said since; what still has one is decided about anew. A catalog, a key place or files that come back from an
//! older state lose what the log says was destroyed.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::archive::access::{Action, Actor, Grant, Reason, Request as Asking};
use crate::archive::certificate::{
    self, Authority, Certificate, Erased, ErasedRecording, METHOD, SCHEMA, TECHNIQUE, few,
};
use crate::archive::clock::ClockTrust;
use crate::archive::entry::{Entry, Outcome, Resource};
use crate::archive::epoch::Epoch;
use crate::archive::matter::{Matter, MatterError, Said};
use crate::archive::record::{Phase, Record, RecordingId};
use crate::archive::request::number_in;
use crate::archive::retention::{Kept, PlannedEpoch, PlannedPurge, RetentionFacts, WhyKept};
use crate::archive::search::Cursor;
use crate::base::time::Stamp;
use crate::seal::log::ENTRY_BYTES_MAX;
use crate::shell::clock;
use crate::shell::vault::annotate;
use crate::shell::vault::catalog::Catalog;
use crate::shell::vault::catalog::recordings::Filter;
use crate::shell::vault::catalog::retention::MattersRead;
use crate::shell::vault::home::{Vault, write_new};
use crate::shell::vault::keyfault::KeyFault;
use crate::shell::vault::keyring::KeyRing;
use crate::shell::vault::matters::{self, Matters, MattersError, catch_up};
use crate::shell::vault::place::Place;
use crate::shell::vault::reapply::{Back, Buried};

/// Destroys what is due.
pub struct Destroyer<'a> {
    /// The vault.
    pub vault: &'a Vault,
    /// Its keys.
    pub ring: &'a KeyRing,
    /// Its catalog.
    pub catalog: &'a Catalog,
    /// Places that have copies.
    pub places: &'a [Arc<dyn Place>],
    /// Who carries it out.
    pub actor: &'a Actor,
    /// When, and whether that is to be believed.
    pub now: Stamp,
    /// See [`crate::archive::clock`].
    pub trust: ClockTrust,
    /// Asked after each step whether to go on.
    pub go_on: &'a (dyn Fn(Step) -> bool + Sync),
}

/// How far a batch has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Step {
    /// The log lets it be done.
    Granted,
    /// Envelopes are gone.
    Erased,
    /// Objects are removed.
    Removed,
    /// The certificate is in the log.
    Certified,
    /// The catalog has forgotten.
    Forgotten,
    /// The certificate is in files.
    Written,
    /// One more was tried again that had been left.
    Swept,
}

/// What a run did.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Done {
    /// Recordings that were destroyed.
    pub recordings: u64,
    /// Of them, those that an earlier run had begun.
    pub finished: u64,
    /// Epochs whose keys were destroyed.
    pub epochs: u64,
    /// What had come back and was destroyed again.
    pub again: u64,
    /// Recordings of which objects are left in places that lock them, or were not reached.
    pub left: u64,
    /// Recordings whose files, as they came, could not be removed: they open with the key of their epoch.
    pub received: u64,
    /// Recordings that were to be destroyed, until a hold or something else came in between.
    pub spared: u64,
}

/// What would be done, in numbers and with reasons.
#[derive(Debug, Default)]
pub struct Preview {
    /// To be destroyed, in order.
    pub purges: Vec<PlannedPurge>,
    /// To be kept: how many for each kind of reason, with one of them.
    pub kept: BTreeMap<String, u64>,
    /// Epochs whose keys are to be destroyed.
    pub epochs: Vec<PlannedEpoch>,
}

/// Decides about all recordings, without doing anything. `each` gets every recording that is kept.
pub async fn preview(
    vault: &Vault,
    catalog: &Catalog,
    now: Stamp,
    trust: ClockTrust,
    each: &mut dyn FnMut(&Kept),
) -> Result<Preview, MattersError> {
    let matters = Matters::load(vault, catalog).await?;
    let rules = matters.rules(vault, now, trust);
    let mut preview = Preview::default();
    for phase in [Phase::Staged, Phase::Archived] {
        let mut after = None;
        while let Some(page) = page(catalog, phase, &mut after).await? {
            let plan = rules.plan(facts(catalog, &page).await?.into_iter());
            for kept in &plan.kept {
                *preview.kept.entry(kind(&kept.why)).or_default() += 1;
                each(kept);
            }
            preview.purges.extend(plan.purges);
        }
    }
    for count in catalog.count_epochs().await? {
        if count.all > 0 && !vault.keys.is_destroyed(&count.epoch)? {
            let facts = catalog.epoch_facts(&count.epoch).await?;
            preview.epochs.extend(rules.epoch(&count.epoch, &facts).ok());
        }
    }
    Ok(preview)
}

/// What a reason is a case of: without its dates and numbers.
fn kind(why: &WhyKept) -> String {
    match why {
        WhyKept::KeepMin(_) => "must be kept: the minimum is not over".into(),
        WhyKept::NotDue(_) => "not due yet".into(),
        WhyKept::Unasked(_) => "due, and nobody has asked for destruction".into(),
        WhyKept::CoolsOff { request, .. } => format!("request {request} may be taken back"),
        other => other.to_string(),
    }
}

async fn page(
    catalog: &Catalog,
    phase: Phase,
    after: &mut Option<Cursor>,
) -> Result<Option<Vec<Record>>, MattersError> {
    let filter = Filter { phase: Some(phase), ..Filter::default() };
    let page = catalog.page(after.as_ref(), PAGE, &filter).await?;
    *after = page.last().map(|last| Cursor { start: last.receipt.start, id: last.id });
    Ok((!page.is_empty()).then_some(page))
}

async fn facts(catalog: &Catalog, records: &[Record]) -> Result<Vec<RetentionFacts>, MattersError> {
    let ids: Vec<_> = records.iter().map(|record| record.id).collect();
    let events = catalog.events_of(&ids).await?;
    Ok(records.iter().map(|record| RetentionFacts::of(record, events.get(&record.id).copied())).collect())
}

/// Purges of one epoch at one request's word.
type Batches = BTreeMap<(Epoch, u64), Vec<PlannedPurge>>;

impl Destroyer<'_> {
    /// Finishes what was begun, destroys again what has come back, then destroys what is due.
    pub async fn run(&self) -> Result<Done, MattersError> {
        let mut done = Done::default();
        // What has no envelope there may have one in a place that is away.
        if let Some(place) = self.vault.keys.absent().first() {
            return Err(KeyFault::Absent { place: place.clone() }.into());
        }
        let mut matters = Matters::load(self.vault, self.catalog).await?;
        done.again = self.reapply().await?;
        if let ClockTrust::Doubted(doubt) = self.trust {
            return Err(MattersError::Clock(doubt));
        }
        self.finish(&mut matters, &mut done).await?;
        let mut after = None;
        while let Some(page) = page(self.catalog, Phase::Archived, &mut after).await? {
            let plan = {
                let rules = matters.rules(self.vault, self.now, self.trust);
                rules.plan(facts(self.catalog, &page).await?.into_iter())
            };
            for purges in batches(plan.purges, &page) {
                let (destroyed, read) = self.batch(&matters, &purges, false).await?;
                done.recordings += destroyed.0;
                done.spared += destroyed.1;
                match read {
                    Some(read) => matters.read = read,
                    // Somebody else has said something.
                    None => matters = Matters::load(self.vault, self.catalog).await?,
                }
            }
        }
        self.epochs(&mut done).await?;
        self.sweep().await?;
        write_certificates(self.vault, self.catalog).await?;
        (done.left, done.received) = self.count_left().await?;
        Ok(done)
    }

    /// What was granted and has no envelope any more is finished; nobody can take that back.
    async fn finish(&self, matters: &mut Matters, done: &mut Done) -> Result<(), MattersError> {
        let begun: BTreeMap<_, _> = self.catalog.begun().await?.into_iter().collect();
        let ids: Vec<_> = begun.keys().copied().collect();
        let mut words = BTreeMap::new();
        for grant in begun.values().copied().collect::<BTreeSet<_>>() {
            words.insert(grant, self.request_of(grant)?);
        }
        for ids in ids.chunks(BATCH) {
            let records = self.catalog.get_all(ids).await?;
            let mut gone = Vec::new();
            for record in records.into_iter().filter(|record| record.phase == Phase::Archived) {
                if let Some(epoch) = record.epoch()
                    && !self.opens(&epoch, &record.id)?
                {
                    gone.push(record);
                }
            }
            let rules = matters.rules(self.vault, self.now, self.trust);
            let finish = |facts: &RetentionFacts| {
                let request = begun.get(&facts.id).and_then(|grant| words.get(grant).copied().flatten());
                rules.finish(facts, request)
            };
            let purges = facts(self.catalog, &gone).await?.iter().filter_map(finish).collect();
            for purges in batches(purges, &gone) {
                let (destroyed, _) = self.batch(matters, &purges, true).await?;
                done.recordings += destroyed.0;
                done.finished += destroyed.0;
            }
        }
        *matters = Matters::load(self.vault, self.catalog).await?;
        Ok(())
    }

    /// Destroys a batch: all of one epoch, at one request's word. How many were destroyed and spared, and how far the
    /// log was read where nobody else has written to it.
    async fn batch(
        &self,
        matters: &Matters,
        purges: &[PlannedPurge],
        finishing: bool,
    ) -> Result<((u64, u64), Option<MattersRead>), MattersError> {
        let Some(first) = purges.first() else { return Ok(((0, 0), Some(matters.read))) };
        let (epoch, request) = (first.epoch().clone(), first.request());
        let ids: Vec<_> = purges.iter().map(PlannedPurge::id).collect();
        let request = matters.request(request)?.clone();
        // What is said of them from here on finds no envelope; what was said is erased with them. Who says it may take
        // long, and neither the grant nor what was looked at is to grow old meanwhile.
        let _alone = annotate::alone(&self.vault.home).await?;
        let grant = self.ask(Resource::of(&ids), request.because(&epoch))?;
        self.step(Step::Granted)?;
        let is_alone = grant.entry() == matters.read.size;
        if !is_alone && !finishing && !self.is_planned_still(purges).await? {
            let why = "a hold, or something else that was said, came in between".to_owned();
            self.vault.log.outcome(&grant, Outcome::Failed(why))?;
            return Ok(((0, ids.len() as u64), None));
        }
        let records = self.catalog.get_all(&ids).await?;
        let erased = records.iter().map(|record| ErasedRecording {
            id: record.id,
            sha256: record.files.iter().map(|file| file.body_sha256).collect(),
        });
        let erased = Erased::Recordings(erased.collect());
        let mut certificate = self.certificate(&grant, &epoch, erased, Authority::of(&request));
        certificate.media = few(self.media_of(&ids).await?);
        certificate.remains = vec![OLD_BLOCKS.replace("EPOCH", &epoch.to_string())];
        self.has_room(&grant, &certificate)?;
        self.erase(&grant, &epoch, &ids)?;
        self.step(Step::Erased)?;
        let removed = self.remove(&records).await?;
        certificate.copies.extend(removed.copies);
        certificate.remains.extend(removed.remains);
        self.step(Step::Removed)?;
        certificate.at = clock::now();
        let matter = Matter::Destroyed(certificate.clone());
        let index = self.vault.log.outcome(&grant, matter.outcome())?;
        self.step(Step::Certified)?;
        let said = [(grant.entry(), Said::Begun(ids.clone())), (index, Said::Done(matter))];
        let read = self.absorb(matters.read, &said).await?;
        self.catalog.set_destroyed(&ids).await?;
        self.step(Step::Forgotten)?;
        write_certificate(self.vault, index, &certificate)?;
        self.step(Step::Written)?;
        Ok(((ids.len() as u64, 0), read))
    }

    /// What is erased must be certified: whether the entry has room, whatever becomes of the copies.
    fn has_room(&self, grant: &Grant, certificate: &Certificate) -> Result<(), MattersError> {
        let (mut longest, more) = (certificate.clone(), self.longest());
        longest.copies.extend(more.copies);
        longest.remains.extend(more.remains);
        let entry = grant.entry_of(clock::now(), Matter::Destroyed(longest).outcome());
        let (bytes, count) = (entry.to_bytes().len(), certificate.recordings().len());
        if bytes <= ENTRY_BYTES_MAX {
            return Ok(());
        }
        let fault = MattersError::TooLong { count, bytes };
        self.vault.log.outcome(grant, Outcome::Failed(fault.to_string()))?;
        Err(fault)
    }

    /// Takes two entries of our own into the catalog without reading the log again, where nobody else has written.
    async fn absorb(
        &self,
        read: MattersRead,
        said: &[(u64, Said); 2],
    ) -> Result<Option<MattersRead>, MattersError> {
        let to = MattersRead { size: read.size + 2, newest: read.newest.max(Some(clock::now())) };
        let is_alone = said[0].0 == read.size && said[1].0 == read.size + 1;
        if is_alone && self.catalog.absorb(read.size, said, to).await? {
            return Ok(Some(to));
        }
        catch_up(self.vault, self.catalog).await?;
        Ok(None)
    }

    fn ask(&self, resource: Resource, reason: Reason) -> Result<Grant, MattersError> {
        let (actor, action, now) = (self.actor, Action::Destroy, self.now);
        Ok(self.vault.log.ask(&Asking { actor, action, resource, reason: Some(reason), now })?)
    }

    pub(super) fn step(&self, step: Step) -> Result<(), MattersError> {
        if (self.go_on)(step) { Ok(()) } else { Err(MattersError::Stopped) }
    }

    /// Whether nothing has come in between: whoever lays a hold after the grant is in the log comes too late, and
    /// whoever has before does not.
    async fn is_planned_still(&self, purges: &[PlannedPurge]) -> Result<bool, MattersError> {
        let matters = Matters::load(self.vault, self.catalog).await?;
        let ids: Vec<_> = purges.iter().map(PlannedPurge::id).collect();
        let records = self.catalog.get_all(&ids).await?;
        let rules = matters.rules(self.vault, self.now, self.trust);
        let again = rules.plan(facts(self.catalog, &records).await?.into_iter());
        let same = |purge: &PlannedPurge| again.purges.contains(purge);
        Ok(purges.iter().all(same))
    }

    fn erase(&self, grant: &Grant, epoch: &Epoch, ids: &[RecordingId]) -> Result<(), MattersError> {
        let groups = self.ring.groups_with(epoch, ids)?;
        match self.ring.destroy_envelopes(grant, epoch, ids) {
            // With the whole epoch, before.
            Ok(_) | Err(KeyFault::Destroyed(_)) => {}
            Err(fault) => return Err(fault.into()),
        }
        match self.ring.left_in(epoch, &groups, ids)? {
            Some(id) => Err(MattersError::StillThere(id)),
            None => Ok(()),
        }
    }

    fn opens(&self, epoch: &Epoch, id: &RecordingId) -> Result<bool, MattersError> {
        match self.ring.opens(epoch, id) {
            Ok(opens) => Ok(opens.is_some()),
            Err(KeyFault::Destroyed(_)) => Ok(false),
            Err(fault) => Err(fault.into()),
        }
    }

    /// The request at whose word an entry of the log granted something.
    fn request_of(&self, grant: u64) -> Result<Option<u64>, MattersError> {
        let (entries, _) = self.vault.log.read_from(grant, 1)?;
        let entry = entries.first().and_then(|bytes| Entry::from_bytes(bytes).ok());
        Ok(entry.and_then(|entry| number_in(entry.reason.as_ref()?)))
    }

    /// Destroys the keys of epochs of which nothing is left.
    async fn epochs(&self, done: &mut Done) -> Result<(), MattersError> {
        let buried = self.catalog.epochs_with_tombstones().await?;
        for count in self.catalog.count_epochs().await? {
            let epoch = count.epoch;
            if count.all == 0 || buried.contains(&(epoch.clone(), true)) {
                continue;
            }
            let matters = Matters::load(self.vault, self.catalog).await?;
            let rules = matters.rules(self.vault, self.now, self.trust);
            // One whose key is gone and of which the log does not say so was begun: nobody can take that back.
            let is_begun = self.vault.keys.is_destroyed(&epoch)?;
            let judged = if is_begun {
                let grant = self.vault.keys.destroyed_by(&epoch)?;
                let request = grant.map(|grant| self.request_of(grant)).transpose()?.flatten();
                Ok(rules.finish_epoch(&epoch, request.ok_or_else(|| MattersError::NoWord(epoch.clone()))?))
            } else {
                rules.epoch(&epoch, &self.catalog.epoch_facts(&epoch).await?)
            };
            let Ok(planned) = judged else { continue };
            let is_done = self.epoch(&matters, &planned, is_begun).await?;
            *if is_done { &mut done.epochs } else { &mut done.spared } += 1;
        }
        Ok(())
    }

    /// Whether its key is gone now: something may have come in between.
    async fn epoch(
        &self,
        matters: &Matters,
        planned: &PlannedEpoch,
        is_begun: bool,
    ) -> Result<bool, MattersError> {
        let (epoch, request) = (planned.epoch(), matters.request(planned.request())?);
        let grant = self.ask(Resource::epoch(epoch), request.because(epoch))?;
        self.step(Step::Granted)?;
        if let Err(why) = self.erase_epoch(&grant, planned, is_begun).await? {
            self.vault.log.outcome(&grant, Outcome::Failed(why))?;
            return Ok(false);
        }
        self.step(Step::Erased)?;
        let mut certificate = self.certificate(&grant, epoch, Erased::Epoch, Authority::of(request));
        let ids = self.catalog.tombstones(epoch).await?;
        certificate.media = few(self.media_of(&ids).await?);
        certificate.remains = vec![RECORDERS_COPIES.replace("EPOCH", &epoch.to_string())];
        self.vault.log.outcome(&grant, Matter::Destroyed(certificate).outcome())?;
        self.step(Step::Certified)?;
        catch_up(self.vault, self.catalog).await?;
        self.catalog.set_epoch_destroyed(epoch).await?;
        self.step(Step::Forgotten)?;
        Ok(true)
    }

    /// Looks again, for the key of a recording that has come meanwhile is the only one: why it is kept after all.
    async fn erase_epoch(
        &self,
        grant: &Grant,
        planned: &PlannedEpoch,
        is_begun: bool,
    ) -> Result<Result<(), String>, MattersError> {
        let epoch = planned.epoch();
        if is_begun {
            self.ring.destroy_epoch(grant, epoch)?;
            return Ok(Ok(()));
        }
        let matters = Matters::load(self.vault, self.catalog).await?;
        let facts = self.catalog.epoch_facts(epoch).await?;
        match matters.rules(self.vault, self.now, self.trust).epoch(epoch, &facts) {
            Ok(again) if again == *planned => {}
            Ok(_) => return Ok(Err("another request came in between".into())),
            Err(why) => return Ok(Err(why.to_string())),
        }
        match self.ring.destroy_empty_epoch(grant, epoch) {
            Err(fault @ KeyFault::InUse { .. }) => Ok(Err(fault.to_string())),
            done => Ok(Ok(done?)),
        }
    }

    /// What the log says was destroyed and has come back: with an older catalog, older key places, or objects that
    /// were restored.
    /// To be called after whatever brings back an older state, before anybody opens a recording. How many there were.
    pub async fn reapply(&self) -> Result<u64, MattersError> {
        catch_up(self.vault, self.catalog).await?;
        let buried = self.catalog.bury().await?;
        let back = Buried::of_catalog(self.catalog).await?.back(self.vault, self.ring)?;
        Ok(buried + self.destroy_again(&back).await?)
    }

    /// Destroys what has come back. How many recordings and epochs there were.
    pub(super) async fn destroy_again(&self, back: &[Back]) -> Result<u64, MattersError> {
        let mut again = 0;
        for Back { epoch, ids } in back {
            let reason = || Reason { code: "retention".into(), text: format!("{epoch}: destroyed before") };
            let Some(ids) = ids else {
                let grant = self.ask(Resource::epoch(epoch), reason())?;
                self.ring.destroy_epoch(&grant, epoch)?;
                self.vault.log.outcome(&grant, Outcome::Failed(AGAIN.into()))?;
                again += 1;
                continue;
            };
            for ids in ids.chunks(BATCH) {
                let grant = self.ask(Resource::of(ids), reason())?;
                self.erase(&grant, epoch, ids)?;
                let records = self.catalog.get_all(ids).await?;
                self.remove_again(&records).await?;
                self.vault.log.outcome(&grant, Outcome::Failed(AGAIN.into()))?;
                again += ids.len() as u64;
            }
        }
        Ok(again)
    }

    /// What is known before anything is done.
    fn certificate(&self, grant: &Grant, epoch: &Epoch, erased: Erased, authority: Authority) -> Certificate {
        let verification = match &erased {
            Erased::Recordings(_) => {
                "the files that had these envelopes were read again in every key place: none is left, nor an older file"
            }
            Erased::Epoch => {
                "the key was overwritten and removed in every key place, with all envelopes under it"
            }
        };
        Certificate {
            schema: SCHEMA,
            vault: self.vault.key.to_string(),
            erased,
            epoch: epoch.to_string(),
            method: METHOD.into(),
            technique: TECHNIQUE.into(),
            tool: concat!("sejf ", env!("CARGO_PKG_VERSION")).into(),
            verification: verification.into(),
            authority,
            by: grant.actor().into(),
            at: clock::now(),
            grant: grant.entry(),
            key_places: self.vault.config.vault.key_places.len() as u64 + 1,
            copies: Vec::new(),
            media: Vec::new(),
            remains: Vec::new(),
        }
    }
}

/// Batches of one epoch, at one request's word, of which each has room in a certificate.
fn batches(purges: Vec<PlannedPurge>, records: &[Record]) -> Vec<Vec<PlannedPurge>> {
    let files: BTreeMap<_, _> = records.iter().map(|record| (record.id, record.files.len())).collect();
    let mut batches = Batches::new();
    for purge in purges {
        batches.entry((purge.epoch().clone(), purge.request())).or_default().push(purge);
    }
    let files_of = |purge: &PlannedPurge| files.get(&purge.id()).copied().unwrap_or_default();
    batches.into_values().flat_map(|purges| certificate::batches(purges, files_of)).collect()
}

/// Writes the certificates that the log has, as far as the catalog has read it, and the folder has not. How many there
/// were.
pub async fn write_certificates(vault: &Vault, catalog: &Catalog) -> Result<u64, MattersError> {
    let mut written = 0;
    for index in catalog.certificates().await? {
        if page_of(vault, index).exists() {
            continue;
        }
        let (entries, _) = vault.log.read_from(index, 1)?;
        let bytes = entries.first().map_or(&[][..], Vec::as_slice);
        let certificate = matters::certificate(index, bytes)?;
        let certificate = certificate.ok_or(MatterError { index, at: Stamp::ZERO })?;
        written += u64::from(write_certificate(vault, index, &certificate)?);
    }
    Ok(written)
}

/// The page comes last of the files of a certificate: where it is, all of it is.
fn page_of(vault: &Vault, index: u64) -> PathBuf {
    vault.home.join(CERTIFICATES).join(format!("{index:08}.html"))
}

/// Writes a certificate, entry `index` of the log, as a signed note and as a page. Whether it was not there.
fn write_certificate(vault: &Vault, index: u64, certificate: &Certificate) -> Result<bool, MattersError> {
    let folder = vault.home.join(CERTIFICATES);
    let fault = |path: &Path, source| MattersError::Certificate { path: path.into(), source };
    if page_of(vault, index).exists() {
        return Ok(false);
    }
    std::fs::create_dir_all(&folder).map_err(|error| fault(&folder, error))?;
    let note = vault.signer().sign_statement(&certificate.to_text());
    let note = note.map_err(|error| fault(&folder, io::Error::other(error)))?;
    write_new(&folder, &format!("{index:08}.note"), note.as_bytes(), 0o644)?;
    write_new(&folder, &format!("{index:08}.html"), certificate.to_html(index).as_bytes(), 0o644)?;
    Ok(true)
}

/// Recordings of one grant: the log's entry names them all.
const BATCH: usize = crate::archive::entry::IDS_MAX;
const PAGE: u32 = 2_000;
/// Folder of certificates in a vault's home.
pub const CERTIFICATES: &str = "certificates";
/// Not said as done a second time: the certificate is of the first.
pub(super) const AGAIN: &str = "it had been destroyed and came back from an older state: destroyed again";
const OLD_BLOCKS: &str = "file systems on flash, and such that copy on write, may keep old blocks of the key places: \
    sealed envelopes, which custodians together could open until the key of EPOCH is destroyed as a whole";
const RECORDERS_COPIES: &str = "nothing that recorders have sealed in EPOCH opens any more, wherever it is";
