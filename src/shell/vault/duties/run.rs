//! One duty, carried out. Each run that did or found something is in the vault's log, as the vault's own.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use crate::archive::access::{Action, Actor, Request};
use crate::archive::clock::ClockTrust;
use crate::archive::copies::Worm;
use crate::archive::duties::{Came, Duty, Policy};
use crate::archive::entry::{self, Entry, Resource};
use crate::archive::epoch::{Epoch, Month};
use crate::archive::media::Due;
use crate::archive::record::RecordingId;
use crate::archive::review::State;
use crate::base::time::Stamp;
use crate::shell::clock;
use crate::shell::entropy::OsRandom;
use crate::shell::vault::catalog::Catalog;
use crate::shell::vault::config::PlaceConfig;
use crate::shell::vault::copies::{Copier, Report, worm_text};
use crate::shell::vault::destroy::preview;
use crate::shell::vault::duties::Looked;
use crate::shell::vault::home::{Vault, io_error};
use crate::shell::vault::keyring::{KeyRing, MONTHS_AHEAD};
use crate::shell::vault::matters::{catch_up, clock_trust, look_at_clock};
use crate::shell::vault::place::Pace;
use crate::shell::vault::restore_test::restore_test;
use crate::shell::vault::review;
use crate::shell::vault::scrub::{Cursors, scrub};

type Fault = Box<dyn std::error::Error + Send + Sync>;
type IsOver<'a> = &'a (dyn Fn() -> bool + Sync);

/// What came of a run.
pub(super) struct Outcome {
    pub(super) came: Came,
    /// For people: no numbers or names of parties.
    pub(super) words: String,
    /// Whether there are copies that were not there before.
    pub(super) has_copied: bool,
}

impl Outcome {
    pub(super) fn new(came: Came, words: String) -> Self {
        Self { came, words, has_copied: false }
    }

    /// Well, unless something is wrong.
    fn of(wrong: &[String], well: String) -> Self {
        if wrong.is_empty() { Self::new(Came::Well, well) } else { Self::new(Came::Found, few(wrong)) }
    }
}

/// Carries duties out.
pub(super) struct Runner<'a> {
    vault: &'a Vault,
    /// What copies were last looked at for.
    pub(super) looked: Looked,
    /// Where the copies that are due go on, where their slice was over.
    copies_after: Option<(Stamp, RecordingId)>,
    /// What failed in the slices before: how much, and the first of it.
    copies_failed: (u64, Vec<String>),
    /// Where the scrub of each place goes on.
    scrub_after: Cursors,
    /// What is wrong by the slices before: the first few.
    pub(super) scrub_found: Vec<String>,
}

impl<'a> Runner<'a> {
    pub(super) fn new(vault: &'a Vault, looked: Looked, scrub_found: Vec<String>) -> Self {
        let (copies_after, copies_failed, scrub_after) = (None, (0, Vec::new()), Cursors::new());
        Self { vault, looked, copies_after, copies_failed, scrub_after, scrub_found }
    }

    /// Does one, or a slice of it.
    pub(super) async fn run(
        &mut self,
        duty: Duty,
        policy: &Policy,
        keys: Option<Arc<KeyRing>>,
        is_over: IsOver<'_>,
    ) -> Outcome {
        let done = self.try_run(duty, policy, keys, is_over).await;
        done.unwrap_or_else(|fault| Outcome::new(Came::Failed, fault.to_string()))
    }

    async fn try_run(
        &mut self,
        duty: Duty,
        policy: &Policy,
        keys: Option<Arc<KeyRing>>,
        is_over: IsOver<'_>,
    ) -> Result<Outcome, Fault> {
        let catalog = self.vault.catalog().await?;
        let done = match duty {
            Duty::Keys => self.keys(keys.as_deref()),
            Duty::Copies => self.copies(&catalog, is_over).await,
            Duty::Scrub => self.scrub(&catalog, policy, is_over).await,
            Duty::WormTest => self.worm_test(&catalog).await,
            Duty::RestoreTest => self.restore_test(&catalog, policy, keys.as_deref()).await,
            Duty::Clock => self.clock(&catalog).await,
            Duty::DestructionPlan => self.destruction_plan(&catalog).await,
            Duty::Media => self.media(&catalog).await,
            Duty::Review => self.review(&catalog).await,
        };
        catalog.close().await;
        done
    }

    async fn copies(&mut self, catalog: &Catalog, is_over: IsOver<'_>) -> Result<Outcome, Fault> {
        let vault = self.vault;
        let copier = Copier::open(vault, catalog).await?;
        self.look_again(&copier, catalog).await?;
        let absent = absent(&copier);
        let (report, after) = copier.run_from(self.copies_after, BATCH, is_over).await?;
        self.copies_after = after;
        let Report { recordings, made, mended, met, short, .. } = &report;
        self.copies_failed.0 += report.failed;
        self.copies_failed.1.extend(report.failures.iter().cloned());
        self.copies_failed.1.truncate(FOUND_MAX);
        let mut words = format!(
            "{recordings} recordings looked at: {made} copies made, {mended} mended; {met} have all, {short} lack what \
             cannot be made from here"
        );
        if *recordings == 0 {
            words = "nothing was to be made".into();
        }
        // Also what was lost long ago, and is looked at no more.
        let mut wrong = lost(catalog).await?;
        wrong.extend(absent);
        let came = if after.is_some() {
            if wrong.is_empty() { Came::More } else { Came::FoundSoFar }
        } else if self.copies_failed.0 > 0 {
            let (failed, failures) = std::mem::take(&mut self.copies_failed);
            words = format!("{failed} copies failed: {}", few(&failures));
            Came::Failed
        } else if wrong.is_empty() {
            Came::Well
        } else {
            words = few(&wrong);
            Came::Found
        };
        Ok(Outcome { came, words, has_copied: made + mended + met > 0 })
    }

    /// Has recordings looked at again for which something was configured otherwise, or has come.
    async fn look_again(&mut self, copier: &Copier<'_>, catalog: &Catalog) -> Result<(), Fault> {
        let config = &self.vault.config;
        let classes =
            config.classes.iter().map(|class| format!("{} {:?} {}", class.name, class.copies, class.worm));
        let places = config.places.iter().map(|place| format!("{} {}", place.name, place.site));
        let rules = classes.chain(places).collect::<Vec<_>>().join("\n");
        let mut there: BTreeSet<String> =
            copier.places.iter().map(|place| format!("place {}", place.name())).collect();
        // A test that a place has passed, and a medium that was written, are something that was lacking.
        let facts = copier.facts().await?;
        let now = clock::now();
        there.extend(
            facts.iter().filter(|place| place.is_worm(now)).map(|place| format!("worm {}", place.name)),
        );
        let media = catalog.media(None).await?;
        let media = media.iter().filter(|medium| medium.is_whole && !medium.is_out);
        there.extend(media.map(|medium| format!("medium {} at {}", medium.id, medium.place)));
        // One that is away for a while has not come when it is there again.
        let names: BTreeSet<&str> = config.places.iter().map(|place| place.name.as_str()).collect();
        let is_configured =
            |what: &&String| what.split_once(' ').is_some_and(|(_, name)| names.contains(name));
        let known: Vec<String> = self.looked.there.iter().filter(is_configured).cloned().collect();
        let is_other = !self.looked.rules.is_empty() && self.looked.rules != rules;
        if is_other || !there.is_subset(&self.looked.there) {
            copier.look_at_all(is_other).await?;
            self.copies_after = None;
        }
        there.extend(known);
        self.looked = Looked { rules, there };
        Ok(())
    }

    async fn scrub(
        &mut self,
        catalog: &Catalog,
        policy: &Policy,
        is_over: IsOver<'_>,
    ) -> Result<Outcome, Fault> {
        let copier = Copier::open(self.vault, catalog).await?;
        let pace = Pace { bytes_per_second: policy.scrub_rate.map(|rate| rate.bytes_per_second()) };
        let before = clock::now().before(policy.scrub_period.0);
        let was_over = AtomicBool::new(false);
        let seen_over = || {
            let is_over = is_over();
            was_over.fetch_or(is_over, Ordering::Relaxed);
            is_over
        };
        let scrubbed = scrub(&copier, before, pace, &mut self.scrub_after, &seen_over).await?;
        let mending = &scrubbed.mending;
        let found = &mut self.scrub_found;
        found.extend(mending.lost.iter().map(|id| format!("no good copy is known of {id}")));
        found.extend(mending.failures.iter().map(|why| format!("not mended: {why}")));
        found.extend(scrubbed.unread.iter().map(|what| format!("not read: {what}")));
        found.truncate(FOUND_MAX);
        let words = format!(
            "{} copies read, {} wrong, {} mended",
            scrubbed.copies, scrubbed.wrong_count, mending.mended
        );
        if scrubbed.wrong_count > 0 {
            tracing::warn!("scrub: {words}");
        }
        let mut outcome = Outcome::of(&self.scrub_found, words);
        if was_over.load(Ordering::Relaxed) {
            outcome.came = if outcome.came == Came::Well { Came::More } else { Came::FoundSoFar };
        } else {
            self.scrub_found.clear();
        }
        outcome.has_copied = mending.mended > 0;
        Ok(outcome)
    }

    async fn worm_test(&self, catalog: &Catalog) -> Result<Outcome, Fault> {
        let copier = Copier::open(self.vault, catalog).await?;
        let is_asked = |name: &str| {
            let config = self.vault.config.places.iter().find(|config| config.name == name);
            config.is_some_and(PlaceConfig::is_to_be_worm)
        };
        let (mut wrong, mut said, mut fault) = (absent(&copier), Vec::new(), None);
        for tested in copier.test_worm(&[]).await? {
            match tested.outcome {
                Ok(worm @ (Worm::Failed(_) | Worm::Untested)) if is_asked(&tested.place) => {
                    wrong.push(format!("`{}` is to be WORM: {}", tested.place, worm_text(&worm)));
                }
                Ok(Worm::Passed) => said.push(format!("`{}` is WORM", tested.place)),
                Ok(_) => said.push(format!("`{}` is not", tested.place)),
                Err(error) => fault = Some(error),
            }
        }
        match fault {
            Some(fault) => Err(fault.into()),
            None => Ok(Outcome::of(&wrong, said.join(", "))),
        }
    }

    async fn restore_test(
        &self,
        catalog: &Catalog,
        policy: &Policy,
        keys: Option<&KeyRing>,
    ) -> Result<Outcome, Fault> {
        let copier = Copier::open(self.vault, catalog).await?;
        let folder = self.vault.home.join(RESTORED);
        remove_folder(&folder)?;
        let mut random = OsRandom::new()?;
        let report = restore_test(&copier, keys, policy.restore_sample.count(), &folder, &mut random).await;
        remove_folder(&folder)?;
        let report = report?;
        let wrong: Vec<String> = report
            .places
            .iter()
            .flat_map(|place| place.failures.iter().map(|why| format!("`{}`: {why}", place.place)))
            .collect();
        let files: u64 = report.places.iter().map(|place| place.files).sum();
        let opened: u64 = report.places.iter().map(|place| place.opened).sum();
        let words = match (files, report.opened) {
            (0, _) => "there is nothing to restore".into(),
            (_, true) => format!("{files} files restored, {opened} opened"),
            (_, false) => format!("{files} files restored; none opened, because the vault is locked"),
        };
        Ok(Outcome::of(&wrong, words))
    }

    fn keys(&self, ring: Option<&KeyRing>) -> Result<Outcome, Fault> {
        let (vault, now) = (self.vault, clock::now());
        let away: Vec<String> = vault
            .keys
            .absent()
            .iter()
            .map(|place| format!("key place `{}` is not there", place.display()))
            .collect();
        if let (Some(ring), true) = (ring, away.is_empty()) {
            ring.make_ahead(&vault.classes(), now)?;
        }
        let lacking = lacking(vault, now)?;
        let outcome = if !away.is_empty() {
            Outcome::new(Came::Found, format!("{}: no key can be made", few(&away)))
        } else if let Some(first) = lacking.first() {
            let next = Month::of(now).next();
            let is_urgent = lacking.iter().any(|epoch| epoch.month <= next);
            let words = format!("{} keys are to be made, the first {first}: unlock the vault", lacking.len());
            Outcome::new(if is_urgent { Came::Found } else { Came::Waits }, words)
        } else {
            Outcome::new(Came::Well, format!("recipients are there for {MONTHS_AHEAD} months to come"))
        };
        self.log(
            Duty::Keys,
            outcome.came,
            &outcome.words,
            &json!({ "lacking": lacking.iter().map(ToString::to_string).collect::<Vec<_>>() }),
        )?;
        Ok(outcome)
    }

    async fn clock(&self, catalog: &Catalog) -> Result<Outcome, Fault> {
        let newest = catch_up(self.vault, catalog).await?.newest;
        let outcome = match clock_trust(self.vault, newest)? {
            ClockTrust::Trusted => Outcome::new(Came::Well, "nothing speaks against the clock".into()),
            ClockTrust::Doubted(doubt) => {
                Outcome::new(Came::Found, format!("{doubt}: put it right; nothing is destroyed before"))
            }
        };
        self.log(Duty::Clock, outcome.came, &outcome.words, &json!({}))?;
        Ok(outcome)
    }

    async fn destruction_plan(&self, catalog: &Catalog) -> Result<Outcome, Fault> {
        let newest = catch_up(self.vault, catalog).await?.newest;
        let trust = look_at_clock(self.vault, newest)?;
        let preview = preview(self.vault, catalog, clock::now(), trust, &mut |_| {}).await?;
        let kept: u64 = preview.kept.values().sum();
        let (purges, epochs) = (preview.purges.len(), preview.epochs.len());
        let words =
            format!("{purges} recordings and {epochs} epochs may be destroyed, {kept} recordings are kept");
        let outcome = Outcome::new(Came::Well, words);
        self.log(
            Duty::DestructionPlan,
            outcome.came,
            &outcome.words,
            &json!({ "recordings": purges, "epochs": epochs, "kept": preview.kept }),
        )?;
        Ok(outcome)
    }

    async fn media(&self, catalog: &Catalog) -> Result<Outcome, Fault> {
        let now = clock::now();
        let media = catalog.media(None).await?;
        let due: Vec<String> = media
            .iter()
            .filter_map(|medium| {
                let what = match medium.kept().due(now) {
                    Due::Check(_) => return None,
                    Due::CheckNow(_) => "is to be checked",
                    Due::Mend => "is damaged: mend it, or write another",
                    Due::Destroy => "has only what was destroyed: destroy it too",
                };
                Some(format!("medium {} {what}", medium.id))
            })
            .collect();
        let outcome = Outcome::of(&due, format!("{} media, none of them due", media.len()));
        self.log(
            Duty::Media,
            outcome.came,
            &outcome.words,
            &json!({ "media": media.len(), "due": due.len() }),
        )?;
        Ok(outcome)
    }

    /// Holds all of it against what it should be. What fails is told by `vault status`, and is this duty's no more than
    /// others'.
    async fn review(&self, catalog: &Catalog) -> Result<Outcome, Fault> {
        review::decide_seed(self.vault)?;
        let made = review::make(self.vault, Some(catalog)).await?;
        let count = |state| made.count(state);
        let words = format!(
            "{} checks fail, {} need attention, {} cannot be known, {} are well",
            count(State::Fails),
            count(State::Attention),
            count(State::Unknown),
            count(State::Ok)
        );
        let failing: BTreeSet<&str> = made
            .findings
            .iter()
            .filter(|finding| finding.state == State::Fails)
            .map(|finding| finding.id.as_str())
            .collect();
        self.log(Duty::Review, Came::Well, &words, &json!({ "fails": failing }))?;
        Ok(Outcome::new(Came::Well, words))
    }

    /// One entry for what changes nothing, or did not come to its end.
    pub(super) fn log(
        &self,
        duty: Duty,
        came: Came,
        words: &str,
        details: &serde_json::Value,
    ) -> Result<(), Fault> {
        let (actor, action, resource) = (Actor::vault(), Action::Duty, Resource::Vault);
        let request = Request { actor: &actor, action, resource, reason: None, now: clock::now() };
        let decision = self.vault.log.decide_now(&request)?;
        let said = json!({ "duty": duty, "came": came, "words": words, "details": details });
        self.vault.log.write(&[Entry::of(&decision, entry::Outcome::Done(said))])?;
        Ok(())
    }
}

/// Epochs of this month and of those to come whose recipients recorders do not find.
fn lacking(vault: &Vault, now: Stamp) -> Result<Vec<Epoch>, Fault> {
    let known: BTreeSet<Epoch> = vault.keys.epochs()?.into_iter().map(|state| state.epoch).collect();
    let mut lacking = Vec::new();
    let mut month = Month::of(now);
    for _ in 0..=MONTHS_AHEAD {
        let epochs = vault.classes().into_iter().map(|class| Epoch { month, class });
        lacking.extend(epochs.filter(|epoch| !known.contains(epoch)));
        month = month.next();
    }
    Ok(lacking)
}

/// Of which no copy is good, wherever it is.
async fn lost(catalog: &Catalog) -> Result<Vec<String>, Fault> {
    let lost = catalog.copies_lost(FOUND_MAX).await?;
    Ok(lost.iter().map(|id| format!("no good copy is known of {id}")).collect())
}

fn absent(copier: &Copier<'_>) -> Vec<String> {
    copier.absent.iter().map(|(name, error)| format!("`{name}` is not there: {error}")).collect()
}

/// The first, and how many more there are.
fn few(lines: &[String]) -> String {
    let shown = lines.iter().take(SHOWN_MAX).map(String::as_str).collect::<Vec<_>>().join("; ");
    match lines.len().saturating_sub(SHOWN_MAX) {
        0 => shown,
        more => format!("{shown}; and {more} more"),
    }
}

fn remove_folder(path: &Path) -> Result<(), Fault> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(io_error("removing what was restored for practice,", path)(error).into())
        }
        _ => Ok(()),
    }
}

/// Sealed files, restored for practice; below the vault's home.
const RESTORED: &str = "restoring";
/// Recordings at a time, so that it is not long to the end of a slice.
const BATCH: u32 = 32;
const SHOWN_MAX: usize = 3;
const FOUND_MAX: usize = 64;
