//! What is said of a recording later: notes, labels, corrections, as versions of it.
//!
//! ```text
//! granted      the log has who, and why; never what
//! put          header and payload of the document, in the first place; durable
//! slip         create-only: from here on there is this version, and nobody else has its number
//! spread       in the other places that have the recording; who is away gets it with the next copying
//! cataloged    files, and what is found by now
//! told         the log has number and SHA-256
//! ```
//!
//! Cut off before the slip, nothing was said, and what was put is put anew. Cut off after it, the log and the catalog are
//! told by whoever looks next; and who says the same again has said it once.

mod fault;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use zeroize::Zeroizing;

use crate::archive::access::{Action, Actor, Grant, Reason, Request};
use crate::archive::copies::{CopyState, lock_until};
use crate::archive::details::Details;
use crate::archive::entry::{Outcome, Resource};
use crate::archive::epoch::Epoch;
use crate::archive::reach::Belongs;
use crate::archive::record::{ArchivedFile, Digest, Phase, Record, RecordingId};
use crate::archive::search::{IndexKey, Indexed};
use crate::archive::slip::Body;
use crate::archive::version::{
    Change, DOCUMENT_BYTES_MAX, History, Said, VersionSlip, copy_name, document_name,
};
use crate::base::time::Span;
use crate::recording::manifest::Manifest;
use crate::recording::redact;
use crate::seal::header::Header;
use crate::seal::identity::{Identities, generate_x25519};
use crate::seal::open::Opener;
use crate::seal::random::Randomness;
use crate::seal::recipient::Recipients;
use crate::seal::stream;
use crate::shell::clock;
use crate::shell::entropy::OsRandom;
use crate::shell::locks::Share;
use crate::shell::vault::catalog::Catalog;
use crate::shell::vault::catalog::rebuild::{MANIFEST_BYTES_MAX, MANIFEST_SUFFIX, details_of};
use crate::shell::vault::catalog::versions::{Added, NewVersion};
use crate::shell::vault::home::{Vault, VaultError, io_error};
use crate::shell::vault::keyring::KeyRing;
use crate::shell::vault::place::{Content, Place, PlaceError};
use crate::shell::vault::turns;

pub use crate::shell::vault::annotate::fault::AnnotateError;

/// What says something of recordings, and shows what was said.
pub struct Annotator<'a> {
    vault: &'a Vault,
    ring: &'a KeyRing,
    catalog: &'a Catalog,
    /// The first place first; one that is away says so.
    places: Vec<Arc<dyn Place>>,
    goes_on: Arc<dyn Fn(Step) -> bool + Send + Sync>,
    patience: Duration,
}

/// Steps after which a test may end it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Step {
    /// The log has it.
    Granted,
    /// An object of the document is in the first place.
    ObjectPut,
    /// All of them are durable there.
    Flushed,
    /// The slip is there.
    SlipPut,
    /// An object is in another place.
    Spread,
    /// The catalog has it.
    Cataloged,
}

/// What somebody wants to say, or to have made.
#[derive(Clone, Copy, Debug)]
pub enum Wish<'a> {
    /// This.
    Say(&'a Change),
    /// A copy of its sound with spans silenced. The original stays.
    Redact(&'a [Span]),
}

impl Wish<'_> {
    /// One word for it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Say(change) => change.kind(),
            Self::Redact(_) => "redacted",
        }
    }
}

/// What somebody asks for.
#[derive(Clone, Debug)]
pub struct Order<'a> {
    /// Of which recording.
    pub id: RecordingId,
    /// What.
    pub wish: Wish<'a>,
    /// The last version that they have seen; where another came after it, nothing is said.
    pub after: Option<u32>,
    /// By whom.
    pub actor: &'a Actor,
    /// Whose the recording is, for who does not reach all of them.
    pub belongs: Option<&'a Belongs>,
    /// Why.
    pub reason: Option<Reason>,
}

/// A file of a version that is to be put.
struct Sealed {
    file: ArchivedFile,
    header: Bytes,
    body: Bytes,
}

/// A version that the catalog has not.
struct FoundVersion {
    /// Which of the places has it whole.
    at: usize,
    files: Vec<ArchivedFile>,
}

/// A version that there is now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Written {
    /// Its number.
    pub number: u32,
    /// SHA-256 of its document, which the log has.
    pub sha256: Digest,
    /// It was there already: said before by the same for the same reason, as where a run was interrupted.
    pub was_there: bool,
}

/// Writing versions, and erasing recordings that get them, is for one at a time.
pub(super) async fn alone(home: &Path) -> Result<std::fs::File, VaultError> {
    alone_within(home, PATIENCE).await
}

async fn alone_within(home: &Path, patience: Duration) -> Result<std::fs::File, VaultError> {
    let path = home.join(LOCK);
    let locked = turns::lock(&path, Share::Alone, clock::monotonic() + patience).await;
    let locked = locked.map_err(io_error("locking", &path))?;
    locked.ok_or_else(|| VaultError::Annotating { home: home.into() })
}

impl<'a> Annotator<'a> {
    /// With all places of the vault.
    pub fn open(vault: &'a Vault, ring: &'a KeyRing, catalog: &'a Catalog) -> Result<Self, AnnotateError> {
        let places = vault.places_if_there()?;
        Ok(Self { vault, ring, catalog, places, goes_on: Arc::new(|_| true), patience: PATIENCE })
    }

    /// Waits no longer than this for others who are writing versions.
    #[must_use]
    pub fn within(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// For tests: ends after a step where `goes_on` says no.
    #[must_use]
    pub fn ending(mut self, goes_on: impl Fn(Step) -> bool + Send + Sync + 'static) -> Self {
        self.goes_on = Arc::new(goes_on);
        self
    }

    /// Says something. The log has it before and after.
    pub async fn say(&self, order: &Order<'_>) -> Result<Written, AnnotateError> {
        let id = order.id;
        let _alone = self.alone().await?;
        let record = self.record(&id).await?;
        let (action, resource, now) = (Action::Annotate, Resource::Recording(id), clock::now());
        let (actor, reason) = (order.actor, order.reason.clone());
        let request = Request { actor, action, resource, reason, now };
        let grant = self.vault.log.ask_within(&request, order.belongs)?;
        self.passed(Step::Granted)?;
        self.say_granted(record, order, &grant).await
    }

    /// The same where it was granted already, as to who asks over HTTPS.
    pub async fn say_with(&self, order: &Order<'_>, grant: &Grant) -> Result<Written, AnnotateError> {
        if grant.action() != Action::Annotate || *grant.resource() != Resource::Recording(order.id) {
            return Err(AnnotateError::NotGranted(order.id));
        }
        let _alone = self.alone().await?;
        let record = self.record(&order.id).await?;
        self.say_granted(record, order, grant).await
    }

    async fn say_granted(
        &self,
        record: Record,
        order: &Order<'_>,
        grant: &Grant,
    ) -> Result<Written, AnnotateError> {
        let done = self.write(record, order, grant).await;
        let outcome = match &done {
            Ok(written) => Outcome::Done(serde_json::json!({
                "version": written.number, "kind": order.wish.kind(), "sha256": written.sha256,
            })),
            Err(ended @ AnnotateError::Ended(_)) => {
                tracing::debug!(%ended, "by a test");
                return done;
            }
            Err(error) => Outcome::Failed(error.to_string()),
        };
        self.vault.log.outcome(grant, outcome)?;
        done
    }

    /// All that was said of a recording, and what holds now. The log has who asked.
    pub async fn history(
        &self,
        id: &RecordingId,
        actor: &Actor,
        belongs: Option<&Belongs>,
        reason: Option<Reason>,
    ) -> Result<(Record, History), AnnotateError> {
        let record = self.record(id).await?;
        let (action, resource, now) = (Action::Show, Resource::Recording(*id), clock::now());
        let grant = self.vault.log.ask_within(&Request { actor, action, resource, reason, now }, belongs)?;
        self.history_granted(record, &grant).await
    }

    /// The same where it was granted already.
    pub async fn history_with(
        &self,
        id: &RecordingId,
        grant: &Grant,
    ) -> Result<(Record, History), AnnotateError> {
        if grant.action() != Action::Show || *grant.resource() != Resource::Recording(*id) {
            return Err(AnnotateError::NotGranted(*id));
        }
        self.history_granted(self.record(id).await?, grant).await
    }

    async fn alone(&self) -> Result<std::fs::File, VaultError> {
        alone_within(&self.vault.home, self.patience).await
    }

    async fn history_granted(
        &self,
        record: Record,
        grant: &Grant,
    ) -> Result<(Record, History), AnnotateError> {
        let id = &record.id.clone();
        {
            let _turn = self.turn().await?;
            let history = self.known(&record).await?;
            match self.found(&record, history.number() + 1).await {
                Ok(None) => return Ok((record, history)),
                // What is known is read from where it is; who says something must know the rest.
                Err(AnnotateError::Place(error)) => {
                    tracing::warn!(%error, "whether there is a version that the catalog has not is not known");
                    return Ok((record, history));
                }
                Err(error) => return Err(error),
                Ok(Some(_)) => {}
            }
        }
        // Somebody is writing it just now, or was cut off: who is alone knows which.
        let _alone = self.alone().await?;
        let _turn = self.turn().await?;
        let mut record = self.record(id).await?;
        let history = self.load(&mut record, grant).await?;
        Ok((record, history))
    }

    async fn turn(&self) -> Result<turns::Turn, AnnotateError> {
        let home = &self.vault.home;
        let turn = turns::copying(home).await.map_err(io_error("locking", home))?;
        turn.ok_or(AnnotateError::Rewrapping)
    }

    async fn record(&self, id: &RecordingId) -> Result<Record, AnnotateError> {
        let record = self.catalog.get(id).await?.ok_or(AnnotateError::Unknown(*id))?;
        if record.phase == Phase::Archived && record.class.is_some() && !record.files.is_empty() {
            return Ok(record);
        }
        Err(AnnotateError::Nothing { id: *id, phase: record.phase })
    }

    async fn write(
        &self,
        mut record: Record,
        order: &Order<'_>,
        grant: &Grant,
    ) -> Result<Written, AnnotateError> {
        let _turn = self.turn().await?;
        let id = record.id;
        let mut history = self.load(&mut record, grant).await?;
        let number = history.number() + 1;
        let (change, sound) = match order.wish {
            Wish::Say(change) => (change.clone(), None),
            Wish::Redact(spans) => {
                let of = sound_of(&record)?.clone();
                // It is made when it is known that it may be: until then it is no file.
                let file = Body { name: copy_name(&id, number, &of.name), sha256: Digest::of(b""), bytes: 0 };
                let change = Change::Redacted { of: of.name.clone(), spans: spans.to_vec(), file };
                (change, Some((of, spans)))
            }
        };
        let reason = grant.reason().cloned().unwrap_or(Reason { code: String::new(), text: String::new() });
        let mut said = Said { at: clock::now(), author: grant.actor().into(), reason, change };
        if let Some(last) = history.steps().last().filter(|_| history.says(&said)) {
            return Ok(Written { number: last.version.number, sha256: last.digest, was_there: true });
        }
        if order.after.is_some_and(|after| after != history.number()) {
            return Err(AnnotateError::Meanwhile { id, number: history.number() });
        }
        let refused = |source| AnnotateError::Version { id, source };
        history.may(&said.change).map_err(refused)?;
        let mut sealed = Vec::new();
        if let (Some((of, spans)), Change::Redacted { file, .. }) = (sound, &mut said.change) {
            let copy = self.redact(&record, &of, spans, number).await?;
            *file = Body::of(&copy.file);
            sealed.push(copy);
        }
        let mut salt = [0; 32];
        OsRandom::new()?.fill(&mut salt);
        let version = history.next(said, salt).map_err(refused)?;
        let document = Zeroizing::new(version.to_bytes());
        sealed.insert(0, self.seal(&record, document_name(&id, number), &document)?);
        let files = self.put(&record, number, sealed).await?;
        history.push(&document).map_err(|source| AnnotateError::History { id, source })?;
        let sha256 = Digest::of(&document);
        match self.take_over(&mut record, &FoundVersion { at: 0, files }, &history).await {
            Ok(()) => Ok(Written { number, sha256, was_there: false }),
            Err(ended @ AnnotateError::Ended(_)) => Err(ended),
            Err(source) => Err(AnnotateError::Unfinished { id, number, sha256, source: source.into() }),
        }
    }

    /// A copy of the sound with spans silenced, sealed; in the open it is in memory alone, and for that long.
    async fn redact(
        &self,
        record: &Record,
        of: &ArchivedFile,
        spans: &[Span],
        number: u32,
    ) -> Result<Sealed, AnnotateError> {
        let id = record.id;
        let plain = self.read(record, of, SOUND_BYTES_MAX).await?;
        let silenced =
            redact::silence(plain, spans).map_err(|source| AnnotateError::Redact { id, source })?;
        self.seal(record, copy_name(&id, number, &of.name), &silenced)
    }

    /// Reads what was said, as far as the catalog knows it.
    async fn known(&self, record: &Record) -> Result<History, AnnotateError> {
        let id = record.id;
        let broken = |source| AnnotateError::History { id, source };
        let manifest = record.originals().find(|file| file.name.ends_with(MANIFEST_SUFFIX));
        let details = match manifest {
            Some(file) => {
                let plain = self.read(record, file, MANIFEST_BYTES_MAX).await?;
                let manifest = serde_json::from_slice::<Manifest>(&plain).map_err(|error| {
                    AnnotateError::Unread { id, name: file.name.clone(), why: error.to_string() }
                })?;
                details_of(&manifest)
            }
            // Of one that has no manifest nothing is known.
            None => Details::default(),
        };
        let mut history = History::begin(id, &record.receipt.to_entry(), details);
        for files in record.versions().values() {
            let Some(document) = files.first() else { continue };
            let plain = self.read(record, document, DOCUMENT_BYTES_MAX).await?;
            history.push(&plain).map_err(broken)?;
        }
        Ok(history)
    }

    /// The same with what was said by somebody who was interrupted: it is told to the log and the catalog first.
    async fn load(&self, record: &mut Record, grant: &Grant) -> Result<History, AnnotateError> {
        let (id, mut history) = (record.id, self.known(record).await?);
        let broken = |source| AnnotateError::History { id, source };
        while let Some(found) = self.found(record, history.number() + 1).await? {
            let Some(document) = found.files.first() else { break };
            let plain = self.read(record, document, DOCUMENT_BYTES_MAX).await?;
            history.push(&plain).map_err(broken)?;
            if let Some(last) = history.steps().last() {
                let told = serde_json::json!({
                    "version": last.version.number, "kind": last.version.change.kind(), "sha256": last.digest,
                    "found": true,
                });
                self.vault.log.outcome(grant, Outcome::Done(told))?;
            }
            self.take_over(record, &found, &history).await?;
        }
        Ok(history)
    }

    /// A version that the catalog has not. Its number is free only where no place has its slip: the first must say so,
    /// of the others those that can be asked.
    async fn found(&self, record: &Record, number: u32) -> Result<Option<FoundVersion>, AnnotateError> {
        let (object, mut broken) = (record.version_slip_object(number), None);
        for (at, place) in self.places.iter().enumerate() {
            let bytes = match place.get(&object, None).await {
                Ok(Some(bytes)) => bytes,
                Ok(None) => continue,
                Err(error) if at == 0 => return Err(error.into()),
                Err(error) => {
                    tracing::warn!(place = place.name(), %error, "whether a version is here is not known");
                    continue;
                }
            };
            match VersionSlip::from_bytes(&bytes, &record.id, number) {
                Ok(slip) => {
                    return Ok(Some(FoundVersion { at, files: self.with_headers(record, slip, at).await? }));
                }
                // Another place may have it whole.
                Err(source) => {
                    broken.get_or_insert(AnnotateError::Slip { object: object.clone(), source });
                }
            }
        }
        broken.map_or(Ok(None), Err)
    }

    /// Files of a slip, with their headers from the place that has it, or from another one.
    async fn with_headers(
        &self,
        record: &Record,
        slip: VersionSlip,
        at: usize,
    ) -> Result<Vec<ArchivedFile>, AnnotateError> {
        let mut files = Vec::with_capacity(slip.bodies.len());
        for body in slip.bodies {
            let mut file = ArchivedFile::from(body);
            let object = file.header_object(&record.id, record.receipt.start);
            let mut fault = format!("no place has `{object}`");
            for place in self.places[at..].iter().chain(&self.places[..at]) {
                match place.get(&object, Some(0..HEADER_BYTES_MAX)).await {
                    Ok(Some(header)) => {
                        file.set_header(&header);
                        break;
                    }
                    Ok(None) => {}
                    Err(error) => fault = error.to_string(),
                }
            }
            if file.header_bytes == 0 {
                return Err(AnnotateError::Unread { id: record.id, name: file.name, why: fault });
            }
            files.push(file);
        }
        Ok(files)
    }

    /// Opens a small file from the first place that has it as it should be.
    async fn read(
        &self,
        record: &Record,
        file: &ArchivedFile,
        bytes_max: u64,
    ) -> Result<Zeroizing<Vec<u8>>, AnnotateError> {
        let unread = |why: String| AnnotateError::Unread { id: record.id, name: file.name.clone(), why };
        if file.body_bytes > bytes_max {
            return Err(unread(format!("it is longer than {bytes_max} bytes")));
        }
        let opens = self.ring.opens(&self.epoch(record)?, &record.id)?;
        let opens = opens.ok_or(AnnotateError::Nothing { id: record.id, phase: Phase::Destroyed })?;
        let mut first = None;
        for place in &self.places {
            match read_in(&**place, record, file, &opens).await {
                Ok(plain) => return Ok(plain),
                Err(why) => {
                    first.get_or_insert(format!("{}: {why}", place.name()));
                }
            }
        }
        Err(unread(first.unwrap_or_else(|| "there is no place".into())))
    }

    fn epoch(&self, record: &Record) -> Result<Epoch, AnnotateError> {
        record.epoch().ok_or(AnnotateError::Nothing { id: record.id, phase: record.phase })
    }

    /// Seals a file of a version under the recording's envelope.
    fn seal(&self, record: &Record, name: String, plain: &[u8]) -> Result<Sealed, AnnotateError> {
        let id = record.id;
        let envelope = self.ring.envelope(&self.epoch(record)?, &id)?;
        let envelope = envelope.ok_or(AnnotateError::Nothing { id, phase: Phase::Destroyed })?;
        let mut random = OsRandom::new()?;
        // A key for the time between: what is kept is under the envelope alone.
        let (identity, recipient) = generate_x25519(&mut random);
        let sealed_to = Recipients::parse([&recipient]).expect("it was made just now");
        let opens = Identities::parse(&identity).expect("it was made just now");
        let sealed = stream::seal_whole(plain, &sealed_to, &mut random)
            .expect("its recipient was made just now, and is the only one");
        let fault = |source| AnnotateError::Seal { id, source };
        let header = envelope.rewrap(&mut &sealed[..], &opens, &mut random).map_err(fault)?;
        let before = Header::read(&mut &sealed[..]).map_err(|error| fault(error.into()))?.to_bytes().len();
        let body = Bytes::from(sealed).slice(before..);
        let file = ArchivedFile {
            name,
            header_sha256: Digest::of(&header),
            header_bytes: header.len() as u64,
            body_sha256: Digest::of(&body),
            body_bytes: body.len() as u64,
        };
        Ok(Sealed { file, header: header.into(), body })
    }

    /// Puts the files of a version into the first place; its slip last.
    async fn put(
        &self,
        record: &Record,
        number: u32,
        sealed: Vec<Sealed>,
    ) -> Result<Vec<ArchivedFile>, AnnotateError> {
        let (id, start) = (record.id, record.receipt.start);
        let files: Vec<ArchivedFile> = sealed.iter().map(|sealed| sealed.file.clone()).collect();
        let Some(first) = self.places.first() else { return Ok(files) };
        for Sealed { file, header, body } in sealed {
            for (object, bytes) in
                [(file.body_object(&id, start), body), (file.header_object(&id, start), header)]
            {
                put_anew(&**first, &object, bytes).await?;
                self.passed(Step::ObjectPut)?;
            }
        }
        first.flush().await?;
        self.passed(Step::Flushed)?;
        let slip = VersionSlip::of(&id, number, &files).to_bytes().into();
        let object = record.version_slip_object(number);
        match first.put_new(&object, Content::Bytes(slip), false).await {
            Err(PlaceError::Exists { .. }) => return Err(AnnotateError::Meanwhile { id, number }),
            other => other?,
        }
        self.passed(Step::SlipPut)?;
        Ok(files)
    }

    /// Spreads a version that is in a place, and tells the catalog. `history` ends with it.
    async fn take_over(
        &self,
        record: &mut Record,
        found: &FoundVersion,
        history: &History,
    ) -> Result<(), AnnotateError> {
        let (id, number, files) = (record.id, history.number(), &found.files[..]);
        let with = with_files(record, files);
        let behind = self.spread(&with, found, number).await?;
        let epoch = self.epoch(record)?;
        let destroyed = AnnotateError::Nothing { id, phase: Phase::Destroyed };
        let Some(envelope) = self.ring.envelope(&epoch, &id)? else { return Err(destroyed) };
        let terms = IndexKey::new(&self.ring.epoch(&epoch)?.index_key).terms(history.now());
        let details = history.now().seal(&envelope, &mut OsRandom::new()?);
        let indexed = Indexed { details, terms };
        let new = NewVersion { id, number, files, indexed: &indexed, behind: &behind };
        match self.catalog.add_version(&new).await? {
            Added::Yes => {}
            Added::Taken => return Err(AnnotateError::Meanwhile { id, number }),
            Added::NotArchived => return Err(destroyed),
        }
        *record = with;
        self.passed(Step::Cataloged)
    }

    /// Puts a version into the other places that have the recording. Those that had it and have not got this.
    async fn spread(
        &self,
        record: &Record,
        found: &FoundVersion,
        number: u32,
    ) -> Result<Vec<String>, AnnotateError> {
        let known = self.catalog.copies_of(&[record.id]).await?.remove(&record.id).unwrap_or_default();
        let is_good =
            |name: &str| known.iter().any(|copy| copy.place == name && copy.state == CopyState::Good);
        let Some(from) = self.places.get(found.at) else { return Ok(Vec::new()) };
        let mut behind = Vec::new();
        for (at, place) in self.places.iter().enumerate() {
            // Whatever is archived is in the first.
            if at == found.at || (at > 0 && !is_good(place.name())) {
                continue;
            }
            match self.spread_to(&**from, &**place, record, &found.files, number).await {
                Ok(()) => {}
                Err(ended @ AnnotateError::Ended(_)) => return Err(ended),
                Err(error) => {
                    tracing::warn!(place = place.name(), %error, "a version is not in this place yet");
                    behind.push(place.name().to_owned());
                }
            }
        }
        Ok(behind)
    }

    async fn spread_to(
        &self,
        from: &dyn Place,
        to: &dyn Place,
        record: &Record,
        files: &[ArchivedFile],
        number: u32,
    ) -> Result<(), AnnotateError> {
        let (id, start) = (record.id, record.receipt.start);
        let (slip, bytes) =
            (record.version_slip_object(number), Bytes::from(VersionSlip::of(&id, number, files).to_bytes()));
        // Of what has another slip nothing is exchanged: a scrub says what of it holds.
        if to.get(&slip, None).await?.is_some_and(|there| there != bytes) {
            return Err(PlaceError::Exists { place: to.name().into(), object: slip }.into());
        }
        let mut kept = Vec::new();
        for file in files {
            for object in [file.body_object(&id, start), file.header_object(&id, start)] {
                let Some(bytes) = from.get(&object, None).await? else {
                    let why = format!("{} has `{object}` no more", from.name());
                    return Err(AnnotateError::Unread { id, name: file.name.clone(), why });
                };
                put_anew(to, &object, bytes).await?;
                self.passed(Step::Spread)?;
            }
            kept.push(file.body_object(&id, start));
        }
        to.flush().await?;
        to.put_new(&slip, Content::Bytes(bytes), true).await?;
        to.flush().await?;
        self.passed(Step::Spread)?;
        kept.push(slip);
        let class = record.class.as_ref().and_then(|class| self.vault.config.class(class));
        let until = class.and_then(|class| lock_until(class, record)).filter(|until| *until > clock::now());
        if let Some(until) = until.filter(|_| to.locks()) {
            for object in &kept {
                to.lock(object, until).await?;
            }
        }
        Ok(())
    }

    fn passed(&self, step: Step) -> Result<(), AnnotateError> {
        if (self.goes_on)(step) { Ok(()) } else { Err(AnnotateError::Ended(step)) }
    }
}

/// The one file that there is something to hear of.
fn sound_of(record: &Record) -> Result<&ArchivedFile, AnnotateError> {
    let mut sounds = record.originals().filter(|file| SOUNDS.iter().any(|end| file.name.ends_with(end)));
    match (sounds.next(), sounds.next()) {
        (Some(of), None) => Ok(of),
        _ => Err(AnnotateError::NoSound(record.id)),
    }
}

fn with_files(record: &Record, files: &[ArchivedFile]) -> Record {
    let mut with = record.clone();
    with.files.extend_from_slice(files);
    with
}

async fn read_in(
    place: &dyn Place,
    record: &Record,
    file: &ArchivedFile,
    opens: &Identities,
) -> Result<Zeroizing<Vec<u8>>, String> {
    let (id, start) = (&record.id, record.receipt.start);
    let (header, body) = (file.header_object(id, start), file.body_object(id, start));
    let get = async |object: &str, bytes_max: u64| {
        let found = place.get(object, Some(0..bytes_max)).await.map_err(|error| error.to_string())?;
        found.ok_or_else(|| format!("`{object}` is not there"))
    };
    // The header may be another one by now: it opens nothing that is not this file.
    let header = get(&header, HEADER_BYTES_MAX).await?;
    let payload = get(&body, file.body_bytes.saturating_add(1)).await?;
    if Digest::of(&payload) != file.body_sha256 {
        return Err(format!("`{body}` has been changed"));
    }
    let sealed = [&header[..], &payload].concat();
    let opened = Opener::open(&sealed[..], opens).and_then(|mut opener| opener.read_whole());
    opened.map_err(|error| error.to_string())
}

/// Puts an object of a version that has no slip in that place: what else has its name is of a run that was cut off.
async fn put_anew(place: &dyn Place, object: &str, bytes: Bytes) -> Result<(), PlaceError> {
    match place.put_new(object, Content::Bytes(bytes.clone()), true).await {
        Err(PlaceError::Exists { .. }) => {
            place.remove(object).await?;
            place.put_new(object, Content::Bytes(bytes), true).await
        }
        other => other,
    }
}

const SOUNDS: [&str; 2] = [".opus.age", ".wav.age"];
/// Sound that is silenced is in memory: a day of Opus, some hours of WAV.
const SOUND_BYTES_MAX: u64 = 1 << 30;
const LOCK: &str = "versions.lock";
/// Some objects in all places.
const PATIENCE: Duration = Duration::from_secs(600);
/// Of a header as we write it, with much room.
const HEADER_BYTES_MAX: u64 = 64 << 10;
