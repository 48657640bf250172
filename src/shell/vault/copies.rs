//! Copies are made, read back, and only then said to be there.
//!
//! ```text
//! due ─► what is where? ─► plan ─► read from a good place, compare ─► put ─► read back, compare ─► lock
//!                                                                              └─► catalog: good ─► met
//! ```
//!
//! Stopped at any step, it begins again with what the catalog has: a put of the same bytes is no second copy, and
//! what was put and not yet written down is found to be there. No key is needed.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;

use crate::archive::access::{Action, Actor, Request};
use crate::archive::class::CopyPolicy;
use crate::archive::copies::{
    CopyFacts, CopyState, Holding, ObjectFacts, Part, PlaceFacts, Plan, PlannedCopy, Worm, lock_until,
    objects, plan, slips,
};
use crate::archive::entry::{Outcome, Resource};
use crate::archive::envelope;
use crate::archive::record::{Phase, Record, RecordingId};
use crate::base::time::Stamp;
use crate::seal::header::Header;
use crate::shell::clock;
use crate::shell::locks::{self, Share};
use crate::shell::receipts::ReceiptsError;
use crate::shell::vault::catalog::copies::{PlaceCounts, Seen, Standing};
use crate::shell::vault::catalog::media::MediumRow;
use crate::shell::vault::catalog::{Catalog, CatalogError};
use crate::shell::vault::config::Config;
use crate::shell::vault::home::Vault;
use crate::shell::vault::log::{Denied, VaultLog};
use crate::shell::vault::place::{self, Content, Found, Pace, Patience, Place, PlaceError};
use crate::shell::vault::turns::{self, Turn};

/// Why no copies are made at all. What goes wrong with one of them is in the [`Report`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CopyFault {
    /// The catalog cannot be read or written.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// A place is configured in a way that cannot be.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// Nothing was granted.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// The log cannot be written.
    #[error(transparent)]
    Log(#[from] ReceiptsError),
    /// Who copies and who re-wraps cannot be kept apart.
    #[error("locking `{}`, so that nobody changes headers while they are copied: {source}", home.display())]
    Turn {
        /// The vault's home.
        home: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// No room for what is on its way from one place to another.
    #[error("making folder `{}` for what is being copied: {source}", path.display())]
    Scratch {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// What was done, and what could not be.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Report {
    /// Recordings that were looked at.
    pub recordings: u64,
    /// Copies that were made.
    pub made: u64,
    /// Copies that were broken or missing, and are not any more.
    pub mended: u64,
    /// Recordings that have all that their classes ask for.
    pub met: u64,
    /// Recordings of which more is missing than copies that we can make.
    pub short: u64,
    /// Recordings of which no good copy is known: the first of them.
    pub lost: Vec<RecordingId>,
    /// What failed, and is tried again the next time: the first few.
    pub failures: Vec<String>,
    /// How much failed.
    pub failed: u64,
}

impl Report {
    fn fail(&mut self, what: String) {
        self.failed += 1;
        if self.failures.len() < FAILURES_MAX {
            self.failures.push(what);
        }
    }

    fn has_done_something(&self) -> bool {
        self.made + self.mended + self.failed > 0 || !self.lost.is_empty()
    }

    pub(super) fn add(&mut self, other: Self) {
        self.recordings += other.recordings;
        self.made += other.made;
        self.mended += other.mended;
        self.met += other.met;
        self.short += other.short;
        self.lost.extend(other.lost);
        self.lost.truncate(LOST_MAX);
        self.failed += other.failed;
        self.failures.extend(other.failures);
        self.failures.truncate(FAILURES_MAX);
    }
}

/// Makes copies, and mends them.
pub struct Copier<'a> {
    pub(super) catalog: &'a Catalog,
    pub(super) log: &'a VaultLog,
    config: &'a Config,
    pub(super) places: Vec<Arc<dyn Place>>,
    /// Places that are configured and not there now, with why.
    pub absent: Vec<(String, PlaceError)>,
    scratch: Scratch,
    home: &'a Path,
    /// Changes of copies that were written down from here: those of others are still to be looked at.
    noted: AtomicU64,
}

impl<'a> Copier<'a> {
    /// Opens the places. One that is not there is left out; where it is named so that it can never be, this fails.
    pub async fn open(vault: &'a Vault, catalog: &'a Catalog) -> Result<Self, CopyFault> {
        Self::open_with(vault, catalog, Patience::default()).await
    }

    /// The same with another patience.
    pub async fn open_with(
        vault: &'a Vault,
        catalog: &'a Catalog,
        patience: Patience,
    ) -> Result<Self, CopyFault> {
        let (mut places, mut absent) = (Vec::new(), Vec::new());
        for config in &vault.config.places {
            catalog.set_place(&config.name, &config.site, false).await?;
            match vault.place(config, patience) {
                Ok(place) => places.push(place),
                Err(error @ PlaceError::Config { .. }) => return Err(error.into()),
                Err(error) => absent.push((config.name.clone(), error)),
            }
        }
        let path = vault.home.join(SCRATCH);
        let scratch = Scratch::begin(&path).map_err(|source| CopyFault::Scratch { path, source })?;
        let (log, config, home) = (&vault.log, &vault.config, &*vault.home);
        Ok(Self { catalog, log, config, places, absent, scratch, home, noted: AtomicU64::new(0) })
    }

    /// What is known of all places: those that are configured, and media.
    pub async fn facts(&self) -> Result<Vec<PlaceFacts>, CatalogError> {
        let known = self.catalog.places().await?;
        let order = |name: &str| self.config.places.iter().position(|config| config.name == name);
        let mut facts: Vec<PlaceFacts> = known
            .into_iter()
            .filter(|place| place.offline || order(&place.name).is_some())
            .map(|place| PlaceFacts { takes: self.place(&place.name).is_some() && !place.offline, ..place })
            .collect();
        facts.sort_by_key(|place| order(&place.name).unwrap_or(usize::MAX));
        // Of one that somebody has taken out, nobody can say where it is.
        let media = self.catalog.media(None).await?;
        facts.extend(media.iter().filter(|medium| !medium.is_out).map(|medium| PlaceFacts {
            name: medium_name(medium),
            site: medium.place.clone(),
            offline: true,
            takes: false,
            worm: Worm::Untested,
            worm_tested: None,
        }));
        Ok(facts)
    }

    /// Copies of recordings, on media too.
    async fn copies_of(
        &self,
        ids: &[RecordingId],
    ) -> Result<BTreeMap<RecordingId, Vec<CopyFacts>>, CatalogError> {
        let mut copies = self.catalog.copies_of(ids).await?;
        for (id, medium) in self.catalog.offline_copies(ids).await? {
            let state = if medium.is_whole { CopyState::Good } else { CopyState::Broken };
            let place = medium_name(&medium);
            copies.entry(id).or_default().push(CopyFacts { place, state, checked: medium.checked });
        }
        Ok(copies)
    }

    /// Looks at all that is due, and makes what is missing. `is_over` says when to stop: between two recordings.
    pub async fn run(&self, is_over: &(dyn Fn() -> bool + Sync)) -> Result<Report, CopyFault> {
        Ok(self.run_from(None, BATCH, is_over).await?.0)
    }

    /// The same from a place in what is due on, so many recordings at a time: where one that was stopped was to go on,
    /// so that those which fail again and again hold up nobody. Also where to go on, where this was stopped.
    pub async fn run_from(
        &self,
        mut after: Option<(Stamp, RecordingId)>,
        batch: u32,
        is_over: &(dyn Fn() -> bool + Sync),
    ) -> Result<(Report, Option<(Stamp, RecordingId)>), CopyFault> {
        let mut report = Report::default();
        loop {
            let due = self.catalog.copies_due(after, batch).await?;
            let Some(last) = due.last().copied() else { return Ok((report, None)) };
            let ids: Vec<RecordingId> = due.into_iter().map(|(_, id)| id).collect();
            let (one, reached) = self.settle(&ids, is_over).await?;
            report.add(one);
            if is_over() {
                return Ok((report, reached.or(after)));
            }
            after = Some(last);
        }
    }

    /// Has recordings looked at again that lacked something, or all of them.
    pub async fn look_at_all(&self, also_met: bool) -> Result<(), CatalogError> {
        self.catalog.copies_all_due(also_met).await
    }

    /// How many recordings stand how, and what there is in each place.
    pub async fn counts(&self) -> Result<(BTreeMap<Standing, u64>, Vec<PlaceCounts>), CatalogError> {
        Ok((self.catalog.standing_counts().await?, self.catalog.copy_counts().await?))
    }

    /// What would be done of what is due: the first `limit` recordings.
    pub async fn planned(&self, limit: u32) -> Result<Plan, CopyFault> {
        let due = self.catalog.copies_due(None, limit).await?;
        let ids: Vec<RecordingId> = due.into_iter().map(|(_, id)| id).collect();
        let records = self.catalog.get_all(&ids).await?;
        let mut copies = self.copies_of(&ids).await?;
        let holdings: Vec<Holding> = records
            .iter()
            .filter_map(|record| {
                let mut known = copies.remove(&record.id).unwrap_or_default();
                // Whatever is archived was taken in at the first place.
                if let Some(first) = self.config.places.first()
                    && known.iter().all(|copy| copy.place != first.name)
                {
                    let (place, checked) = (first.name.clone(), record.taken_in);
                    known.push(CopyFacts { place, state: CopyState::Good, checked });
                }
                self.holding(record, known)
            })
            .collect();
        Ok(plan(&holdings, &self.facts().await?, clock::now()))
    }

    /// Looks at some recordings, and makes what is missing. The log has it, where something was done. Also the last one
    /// that was looked at; none where it was stopped before the first.
    pub(super) async fn settle(
        &self,
        ids: &[RecordingId],
        is_over: &(dyn Fn() -> bool + Sync),
    ) -> Result<(Report, Option<(Stamp, RecordingId)>), CopyFault> {
        let actor = Actor::vault();
        let (action, resource) = (Action::Copy, Resource::of(ids));
        let request = Request { actor: &actor, action, resource, reason: None, now: clock::now() };
        // Nothing is released by a copy: the entry says how it went.
        let decision = self.log.decide_now(&request)?;
        let changes = self.catalog.changes(ids).await?;
        let facts = self.facts().await?;
        let mut copies = self.copies_of(ids).await?;
        let (mut report, mut reached) = (Report::default(), None);
        let mut standing = Vec::new();
        // In the order in which they are due, so that it can go on where it was stopped.
        let mut records = self.catalog.get_all(ids).await?;
        records.sort_by_key(|record| (record.receipt.start, record.id));
        for record in records {
            if is_over() {
                break;
            }
            reached = Some((record.receipt.start, record.id));
            if record.phase != Phase::Archived {
                continue;
            }
            report.recordings += 1;
            let Some(_turn) = self.turn().await? else {
                report.fail(format!("{}: {REWRAPPED}", record.id));
                continue;
            };
            let mut on_media = copies.remove(&record.id).unwrap_or_default();
            on_media.retain(|copy| self.place(&copy.place).is_none());
            let before = self.noted.load(Ordering::Relaxed);
            let stands = self.settle_one(&record, &on_media, &facts, &mut report).await?;
            let own = self.noted.load(Ordering::Relaxed) - before;
            let changes = changes.get(&record.id).copied().unwrap_or_default() + own;
            standing.extend(stands.map(|stands| (record.id, stands, changes)));
        }
        if report.has_done_something() {
            let outcome = Outcome::Done(serde_json::to_value(&report).unwrap_or_default());
            self.log.write(&[crate::archive::entry::Entry::of(&decision, outcome)])?;
        }
        self.catalog.set_standing(&standing).await?;
        Ok((report, reached))
    }

    /// How the recording stands afterwards; nothing where it is to be looked at again.
    async fn settle_one(
        &self,
        record: &Record,
        on_media: &[CopyFacts],
        facts: &[PlaceFacts],
        report: &mut Report,
    ) -> Result<Option<Standing>, CopyFault> {
        self.look_at_first(record, report).await?;
        for _ in 0..ROUNDS_MAX {
            let Some(holding) = self.known(record, on_media).await? else {
                let class = record.class.as_ref().map(ToString::to_string).unwrap_or_default();
                report.fail(format!("{}: its class `{class}` is not in vault.toml: add it there", record.id));
                return Ok(None);
            };
            let made = plan(std::slice::from_ref(&holding), facts, clock::now());
            if made.copies.is_empty() {
                report.lost.extend(&made.lost);
                let is_met = made.short.is_empty() && made.lost.is_empty();
                *if is_met { &mut report.met } else { &mut report.short } += 1;
                return Ok(Some(if is_met { Standing::Met } else { Standing::Short }));
            }
            // Again, with what was learned: a place that was read from may have had something else.
            if !self.make_all(record, &made.copies, report).await? {
                let now = self.known(record, on_media).await?;
                if now.is_some_and(|now| now.copies.iter().all(|copy| copy.state != CopyState::Good)) {
                    report.lost.push(record.id);
                }
                return Ok(None);
            }
        }
        Ok(None)
    }

    /// Whether all of them were made.
    async fn make_all(
        &self,
        record: &Record,
        copies: &[PlannedCopy],
        report: &mut Report,
    ) -> Result<bool, CopyFault> {
        let mut are_made = true;
        for copy in copies {
            match self.make(record, copy).await? {
                Made::Yes if copy.mends() => report.mended += 1,
                Made::Yes => report.made += 1,
                Made::Stale => return Ok(false),
                Made::No(why) => {
                    are_made = false;
                    report.fail(format!("{}: {} to `{}`: {why}", record.id, copy.why(), copy.to()));
                }
            }
        }
        Ok(are_made)
    }

    async fn known(&self, record: &Record, on_media: &[CopyFacts]) -> Result<Option<Holding>, CatalogError> {
        let mut copies = self.catalog.copies_of(&[record.id]).await?.remove(&record.id).unwrap_or_default();
        copies.extend_from_slice(on_media);
        Ok(self.holding(record, copies))
    }

    fn holding(&self, record: &Record, copies: Vec<CopyFacts>) -> Option<Holding> {
        let Some(class) = &record.class else {
            // A call that was not recorded has no class: its slip is kept twice, where there are two places.
            let total = self.config.places.len().min(2) as u32;
            let policy = CopyPolicy { total, sites: 1, offline: 0 };
            return record.files.is_empty().then_some(Holding { id: record.id, policy, worm: false, copies });
        };
        let class = self.config.class(class)?;
        Some(Holding { id: record.id, policy: class.copies, worm: class.worm, copies })
    }

    /// Recordings are taken in at the first place: whether it is there is seen and not believed.
    async fn look_at_first(&self, record: &Record, report: &mut Report) -> Result<(), CopyFault> {
        let Some(first) = self.config.places.first().and_then(|config| self.place(&config.name)) else {
            return Ok(());
        };
        let known = self.catalog.copies_of(&[record.id]).await?;
        if known.values().flatten().any(|copy| copy.place == first.name()) {
            return Ok(());
        }
        match self.look(record, &**first, Pace::default()).await {
            Ok(found) => Ok(self.note(record, first.name(), &found, clock::now()).await?),
            Err(error) => {
                report.fail(format!("{}: {error}", record.id));
                Ok(())
            }
        }
    }

    /// Reads all objects of a recording in a place.
    pub(super) async fn look(
        &self,
        record: &Record,
        place: &dyn Place,
        pace: Pace,
    ) -> Result<Found, PlaceError> {
        for object in objects(record) {
            let found = place::check(place, &object.name, object.bytes, object.sha256, pace).await?;
            if found != Found::Good {
                return Ok(found);
            }
        }
        Ok(Found::Good)
    }

    /// Writes down what was found.
    pub(super) async fn note(
        &self,
        record: &Record,
        place: &str,
        found: &Found,
        at: Stamp,
    ) -> Result<(), CatalogError> {
        let state = match found {
            Found::Good => CopyState::Good,
            Found::Missing => CopyState::Missing,
            Found::Wrong(_) => CopyState::Broken,
        };
        let seen = Seen { id: record.id, place: place.into(), state, at };
        let changed = self.catalog.set_copies(&[seen]).await?;
        self.noted.fetch_add(changed, Ordering::Relaxed);
        Ok(())
    }

    async fn make(&self, record: &Record, copy: &PlannedCopy) -> Result<Made, CopyFault> {
        let Some(to) = self.place(copy.to()) else { return Ok(Made::No("the place is not there".into())) };
        for object in objects(record) {
            let content = match self.read(record, copy, &object).await? {
                Ok(content) => content,
                Err(made) => return Ok(made),
            };
            if object.part == Part::Header && !is_under_envelope(record.id, &content) {
                return Ok(Made::No(format!(
                    "`{}` is not under the recording's envelope, and goes nowhere",
                    object.name
                )));
            }
            if let Err(error) = self.put(&**to, copy, &object, content).await {
                return Ok(Made::No(error.to_string()));
            }
        }
        let found = match self.look(record, &**to, Pace::default()).await {
            Ok(found) => found,
            Err(error) => return Ok(Made::No(error.to_string())),
        };
        if let Some(made) = self.is_stale(record, &**to).await? {
            return Ok(made);
        }
        if found == Found::Good
            && let Err(error) = self.lock(record, &**to).await
        {
            return Ok(Made::No(error.to_string()));
        }
        self.note(record, copy.to(), &found, clock::now()).await?;
        Ok(match found {
            Found::Good => Made::Yes,
            Found::Missing => Made::No("it was put, and is not there".into()),
            Found::Wrong(why) => Made::No(format!("it was put, and reads otherwise: {why}")),
        })
    }

    /// From the first place that has it as it should be. One that has not is written down.
    async fn read(
        &self,
        record: &Record,
        copy: &PlannedCopy,
        object: &ObjectFacts,
    ) -> Result<Result<Content, Made>, CopyFault> {
        if object.part == Part::Slip {
            let slip = slips(record).into_iter().find(|(name, _)| *name == object.name);
            return Ok(slip
                .map(|(_, slip)| Content::Bytes(slip.into()))
                .ok_or_else(|| Made::No(format!("`{}` is no slip of it", object.name))));
        }
        let scratch = &self.scratch.path;
        let mut why = String::from("no place has it");
        for from in copy.from().iter().filter_map(|name| self.place(name)) {
            match place::fetch(&**from, &object.name, object.bytes, object.sha256, scratch).await {
                Ok(Ok(content)) => return Ok(Ok(content)),
                Ok(Err(found)) => {
                    if !self.is_current(record).await? {
                        return Ok(Err(Made::Stale));
                    }
                    self.note(record, from.name(), &found, clock::now()).await?;
                    why = format!("`{}` has it no more as it should be", from.name());
                }
                Err(error) => why = error.to_string(),
            }
        }
        Ok(Err(Made::No(why)))
    }

    async fn put(
        &self,
        to: &dyn Place,
        copy: &PlannedCopy,
        object: &ObjectFacts,
        content: Content,
    ) -> Result<(), PlaceError> {
        if copy.mends() {
            let pace = Pace::default();
            let found = place::check(to, &object.name, object.bytes, object.sha256, pace).await;
            return if matches!(found, Ok(Found::Good)) {
                Ok(())
            } else {
                overwrite(to, object, content).await
            };
        }
        match to.put_new(&object.name, content.clone(), false).await {
            // Headers change; and of a name that nobody else uses, anything else is a copy that is broken.
            Err(PlaceError::Exists { .. }) => overwrite(to, object, content).await,
            other => other,
        }
    }

    /// Not the header, which must go when its recording has to.
    async fn lock(&self, record: &Record, to: &dyn Place) -> Result<(), PlaceError> {
        if !to.locks() {
            return Ok(());
        }
        let class = record.class.as_ref().and_then(|class| self.config.class(class));
        let Some(until) = class.and_then(|class| lock_until(class, record)) else { return Ok(()) };
        if until <= clock::now() {
            return Ok(());
        }
        for object in objects(record).iter().filter(|object| object.part != Part::Header) {
            to.lock(&object.name, until).await?;
        }
        Ok(())
    }

    /// Whether the recording is as it was when this began. What was put of one that was destroyed meanwhile goes.
    async fn is_stale(&self, record: &Record, to: &dyn Place) -> Result<Option<Made>, CopyFault> {
        let now = self.catalog.get(&record.id).await?;
        if now.as_ref().is_some_and(|now| now.files == record.files && now.phase == Phase::Archived) {
            return Ok(None);
        }
        if now.is_none_or(|now| now.phase == Phase::Destroyed) {
            for object in objects(record).iter().filter(|object| object.part != Part::Slip) {
                if let Err(error) = to.remove(&object.name).await {
                    return Ok(Some(Made::No(format!("destroyed meanwhile, and its copy stays: {error}"))));
                }
            }
        }
        Ok(Some(Made::Stale))
    }

    pub(super) async fn is_current(&self, record: &Record) -> Result<bool, CatalogError> {
        let now = self.catalog.get(&record.id).await?;
        Ok(now.is_some_and(|now| now.files == record.files && now.phase == record.phase))
    }

    /// For one recording: meanwhile no header is put under another envelope. Nothing where that is being done for long.
    pub(super) async fn turn(&self) -> Result<Option<Turn>, CopyFault> {
        let fault = |source| CopyFault::Turn { home: self.home.into(), source };
        turns::copying(self.home).await.map_err(fault)
    }

    pub(super) fn place(&self, name: &str) -> Option<&Arc<dyn Place>> {
        self.places.iter().find(|place| place.name() == name)
    }

    /// Tries whether the places keep what was written once, and writes down what came of it.
    pub async fn test_worm(&self, wanted: &[String]) -> Result<Vec<Tested>, CopyFault> {
        let mut all = Vec::new();
        let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|wanted| wanted == name);
        for place in self.places.iter().filter(|place| is_wanted(place.name())) {
            let (actor, now) = (Actor::vault(), clock::now());
            let (action, resource) = (Action::Copy, Resource::Place(place.name().into()));
            let grant = self.log.ask(&Request { actor: &actor, action, resource, reason: None, now })?;
            let outcome = place.worm_test(now).await;
            let said = match &outcome {
                Ok(worm) => {
                    self.catalog.set_worm(place.name(), worm, now).await?;
                    Outcome::Done(serde_json::json!({ "worm": worm_text(worm) }))
                }
                // What could not be asked is as it was, until that is too old.
                Err(error) => Outcome::Failed(error.to_string()),
            };
            self.log.outcome(&grant, said)?;
            all.push(Tested { place: place.name().into(), outcome });
        }
        Ok(all)
    }
}

/// A file for what is on its way, where it is large; locked, so that nobody takes it for that of a process which died.
struct Scratch {
    path: PathBuf,
    _lock: File,
}

impl Scratch {
    /// One of our own. Those of processes that died are removed.
    fn begin(dir: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(dir)?;
        for entry in std::fs::read_dir(dir)? {
            let path = entry?.path();
            let is_left = File::open(&path).and_then(|file| locks::alone(&file, Duration::ZERO));
            if is_left.unwrap_or_default() {
                std::fs::remove_file(&path)?;
            }
        }
        for number in 0.. {
            let path = dir.join(format!("{}-{number}.copying", std::process::id()));
            match File::create_new(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
                Ok(file) => {
                    locks::now(&file, Share::Alone)?;
                    return Ok(Self { path, _lock: file });
                }
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Else the next one removes it.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// No place has a name with a space before its number.
fn medium_name(medium: &MediumRow) -> String {
    format!("medium {}", medium.id)
}

/// What a self-test came to.
#[derive(Debug)]
pub struct Tested {
    /// The place.
    pub place: String,
    /// What it showed, or why it could not be made.
    pub outcome: Result<Worm, PlaceError>,
}

/// For people.
pub fn worm_text(worm: &Worm) -> String {
    match worm {
        Worm::Untested => "not tested".into(),
        Worm::Passed => "WORM".into(),
        Worm::Failed(why) => format!("not WORM: {why}"),
    }
}

enum Made {
    Yes,
    /// The recording is not as it was: look again.
    Stale,
    No(String),
}

/// No header of before is to stay beneath: it may be under an envelope that has leaked.
async fn overwrite(to: &dyn Place, object: &ObjectFacts, content: Content) -> Result<(), PlaceError> {
    match content {
        Content::Bytes(bytes) if object.part == Part::Header => to.replace(&object.name, bytes).await,
        other => to.mend(&object.name, other).await,
    }
}

/// A header under the epoch's key would open without the envelope, for as long as it is anywhere.
fn is_under_envelope(id: RecordingId, header: &Content) -> bool {
    let Content::Bytes(bytes) = header else { return false };
    Header::read(&mut &bytes[..]).ok().and_then(|header| envelope::recording_of(&header)) == Some(id)
}

pub(super) const REWRAPPED: &str = "recordings are being put under other envelopes: it is looked at later";
/// Below the vault's home: sealed bytes that are on their way.
const SCRATCH: &str = "copying";
const BATCH: u32 = 256;
const FAILURES_MAX: usize = 20;
const ROUNDS_MAX: usize = 3;
const LOST_MAX: usize = 1_000;
