//! The sampling queue of this vault: draws, and verdicts. The log is what keeps them.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::archive::access::{Action, Actor, Grant};
use crate::archive::entry::Outcome;
use crate::archive::reach::Belongs;
use crate::archive::record::{Phase, RecordingId};
use crate::archive::sampling::{Lot, Quarter, Queue, Sampling, Told, Verdict};
use crate::archive::search::Cursor;
use crate::recording::playback::content_of;
use crate::recording::recorder::Content;
use crate::shell::clock;
use crate::shell::receipts::ReceiptsError;
use crate::shell::vault::catalog::recordings::Filter;
use crate::shell::vault::catalog::{Catalog, CatalogError};
use crate::shell::vault::home::Vault;
use crate::shell::vault::keyring::KeyRing;
use crate::shell::vault::review::{ReviewError, decide_seed};

/// Why there is no sample, or no verdict.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SamplingError {
    /// The catalog.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The log.
    #[error(transparent)]
    Log(#[from] ReceiptsError),
    /// By what is drawn is not decided.
    #[error(transparent)]
    Seed(#[from] ReviewError),
    /// Which recordings are within reach is not known.
    #[error(
        "the vault is locked, and without keys it is not known which recordings are within reach: a custodian unlocks it \
         with `sejf vault running unlock`"
    )]
    Locked,
    /// Somebody else looks through all recordings now.
    #[error("a sample is being drawn for somebody else: try again in a moment")]
    Busy,
    /// Not of this sample.
    #[error("recording {0} was not drawn for you in this quarter: see which were")]
    NotDrawn(RecordingId),
}

/// What is known of draws besides the log: to draw is to look through all recordings of a quarter.
#[derive(Debug, Default)]
pub(in crate::shell::vault) struct Draws {
    /// One at a time.
    turn: tokio::sync::Mutex<()>,
    /// For whom there was nothing, and when.
    none: Mutex<BTreeMap<String, (Quarter, Instant)>>,
}

impl Draws {
    fn was_none(&self, quarter: Quarter, reviewer: &str) -> bool {
        let none = self.none.lock().unwrap_or_else(PoisonError::into_inner);
        none.get(reviewer).is_some_and(|(of, at)| *of == quarter && at.elapsed() < NONE_LASTS)
    }

    fn is_none(&self, quarter: Quarter, reviewer: &str) {
        let mut none = self.none.lock().unwrap_or_else(PoisonError::into_inner);
        none.retain(|_, (_, at)| at.elapsed() < NONE_LASTS);
        none.insert(reviewer.to_owned(), (quarter, clock::monotonic()));
    }
}

/// What is drawn for somebody of the quarter that is over; drawn now where it is the first time. `actor` has the roles that
/// count, whatever a broken glass would let them reach.
pub async fn queue(
    vault: &Vault,
    catalog: &Catalog,
    ring: Option<&KeyRing>,
    actor: &Actor,
    grant: &Grant,
) -> Result<(Quarter, Queue), SamplingError> {
    let quarter = Sampling::current(clock::now());
    if let Some(known) = known(vault, quarter, grant.actor())? {
        return Ok((quarter, known));
    }
    if vault.config.review.sample == 0 || vault.draws.was_none(quarter, grant.actor()) {
        return Ok((quarter, Queue::default()));
    }
    let _turn = vault.draws.turn.try_lock().map_err(|_| SamplingError::Busy)?;
    // It may have been drawn just before.
    if let Some(known) = known(vault, quarter, grant.actor())? {
        return Ok((quarter, known));
    }
    decide_seed(vault)?;
    let Some(seed) = vault.digested(|log| log.sampling.seed(quarter).copied())? else {
        return Ok((quarter, Queue::default()));
    };
    let mut lot = Lot::new(&seed, grant.actor(), vault.config.review.sample);
    let (from, to) = quarter.range();
    let filter = Filter { from: Some(from), to: Some(to), phase: Some(Phase::Archived), ..Filter::default() };
    let is_limited = !actor.reaches(Action::Open, &Belongs::default());
    let mut after: Option<Cursor> = None;
    loop {
        let page = catalog.page(after.as_ref(), PAGE, &filter).await?;
        let Some(last) = page.last() else { break };
        after = Some(Cursor { start: last.receipt.start, id: last.id });
        // What has no sound is heard by nobody.
        for record in page.iter().filter(|record| record.files.iter().any(|file| is_sound(&file.name))) {
            if is_limited {
                let ring = ring.ok_or(SamplingError::Locked)?;
                let details = match catalog.open_details(ring, &record.id).await {
                    // Who spoke is not to be known: it is within the reach of those alone who reach all.
                    Err(CatalogError::Damaged { .. }) => None,
                    details => details?,
                };
                let belongs = details.map(|details| Belongs::of(&details, &vault.config.teams));
                if !actor.reaches(Action::Open, &belongs.unwrap_or_default()) {
                    continue;
                }
            }
            lot.add(record.id);
        }
    }
    let (ids, of) = lot.drawn();
    if ids.is_empty() {
        // Nothing was within reach: what comes late may still be drawn, in a while.
        vault.draws.is_none(quarter, grant.actor());
        return Ok((quarter, Queue::default()));
    }
    let told = Told::Drawn { quarter, reviewer: grant.actor().into(), of, ids };
    vault.log.outcome(grant, Outcome::Done(told.to_json()))?;
    Ok((quarter, known(vault, quarter, grant.actor())?.unwrap_or_default()))
}

/// Says what a recording is that was drawn. `version` is the version of the recording that says more.
pub fn judge(
    vault: &Vault,
    grant: &Grant,
    id: RecordingId,
    verdict: Verdict,
    version: Option<u32>,
) -> Result<(), SamplingError> {
    let quarter = is_drawn(vault, grant.actor(), id)?;
    let told = Told::Verdict { quarter, reviewer: grant.actor().into(), id, verdict, version };
    vault.log.outcome(grant, Outcome::Done(told.to_json()))?;
    Ok(())
}

/// In which quarter a recording was drawn for somebody, of those that are looked at.
pub fn is_drawn(vault: &Vault, reviewer: &str, id: RecordingId) -> Result<Quarter, SamplingError> {
    let quarter = Sampling::current(clock::now());
    let queue = known(vault, quarter, reviewer)?.unwrap_or_default();
    let is_drawn = queue.drawn.iter().any(|(drawn, _)| *drawn == id);
    is_drawn.then_some(quarter).ok_or(SamplingError::NotDrawn(id))
}

fn known(vault: &Vault, quarter: Quarter, reviewer: &str) -> Result<Option<Queue>, ReceiptsError> {
    vault.digested(|log| log.sampling.queue(quarter, reviewer).cloned())
}

fn is_sound(name: &str) -> bool {
    matches!(content_of(name), Some(Content::Opus | Content::Wav))
}

const PAGE: u32 = 500;
const NONE_LASTS: Duration = Duration::from_secs(3_600);
