//! A review of this vault: facts are gathered here, [`crate::archive::review`] says what they mean.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;

use crate::archive::access::{Action, Actor, Grant, Request};
use crate::archive::copies::Worm;
use crate::archive::entry::{Outcome, Resource};
use crate::archive::epoch::{Epoch, Month};
use crate::archive::report::Language;
use crate::archive::review::report;
use crate::archive::review::{
    Advisories, CertificateFacts, CopiesFacts, CustodianFacts, Facts, KeyFacts, Known, MediumFacts,
    PlaceStands, RecorderFacts, Review, State, TokenFacts, UserFacts, review,
};
use crate::archive::sampling::{Sampling, Told};
use crate::archive::user::Standing;
use crate::base::time::Stamp;
use crate::seal::event::{Event, EventKind};
use crate::seal::note::VerifyKey;
use crate::shell::clock;
use crate::shell::receipts::ReceiptsError;
use crate::shell::vault::audit;
use crate::shell::vault::catalog::Catalog;
use crate::shell::vault::config::PlaceConfig;
use crate::shell::vault::duties::standing;
use crate::shell::vault::home::{Vault, VaultError, io_error, write_new};
use crate::shell::vault::intake::serve::TLS;
use crate::shell::vault::intake::tls::{certificate_until, enrolled_until};
use crate::shell::vault::keyring::MONTHS_AHEAD;
use crate::shell::vault::log::Denied;
use crate::shell::vault::place::Patience;
use crate::shell::vault::users::UserStore;

/// Why there is no review.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReviewError {
    /// Not granted.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// The log.
    #[error(transparent)]
    Log(#[from] ReceiptsError),
    /// The vault.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// Somebody else waits for one.
    #[error("the archive is being reviewed for somebody else: try again in a moment")]
    Busy,
    /// The report cannot be signed.
    #[error("signing the report: {0}")]
    Note(#[from] crate::seal::note::NoteError),
}

/// Makes a review, and keeps it as the last one. What cannot be found out is in it, as that.
pub async fn make(vault: &Vault, catalog: Option<&Catalog>) -> Result<Review, ReviewError> {
    let made = review(&gather(vault, catalog).await?, &vault.config.review);
    let bytes = serde_json::to_vec_pretty(&made).expect("texts and times");
    if let Err(fault) = write_new(&vault.home, LAST, &bytes, 0o600) {
        // It is made all the same: a full disk is something that it tells.
        tracing::warn!("keeping the last review: {fault}");
    }
    Ok(made)
}

/// The last one, where it is younger than that; else another, which is made for one at a time.
pub async fn younger_than(
    age: Duration,
    vault: &Vault,
    catalog: Option<&Catalog>,
) -> Result<Review, ReviewError> {
    let now = clock::now();
    let is_of_now = |made: &Review| made.at <= now && now.since(made.at) < age;
    if let Some(made) =
        last(&vault.home).filter(|made| is_of_now(made) && made.vault == vault.key.to_string())
    {
        return Ok(made);
    }
    let _turn = vault.reviewing.try_lock().map_err(|_| ReviewError::Busy)?;
    make(vault, catalog).await
}

/// The same for somebody: whether they may see it, the log has first.
pub async fn ask(
    vault: &Vault,
    catalog: Option<&Catalog>,
    actor: &Actor,
) -> Result<(Review, Grant), ReviewError> {
    let (action, resource, now) = (Action::Review, Resource::Vault, clock::now());
    let grant = vault.log.ask(&Request { actor, action, resource, reason: None, now })?;
    let made = make(vault, catalog).await?;
    let counts = json!({
        "fails": made.count(State::Fails), "attention": made.count(State::Attention),
        "unknown": made.count(State::Unknown), "ok": made.count(State::Ok),
    });
    vault.log.outcome(&grant, Outcome::Done(json!({ "review": counts })))?;
    Ok((made, grant))
}

/// The last review that was made; nothing before the first, and where it cannot be read.
pub fn last(home: &Path) -> Option<Review> {
    let bytes = std::fs::read(home.join(LAST)).ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// The report of a review, signed: the log has its SHA-256 first.
pub fn signed_report(
    vault: &Vault,
    made: &Review,
    language: Language,
    grant: &Grant,
) -> Result<String, ReviewError> {
    let page = report::html(made, language);
    let told = json!({ "report": report::digest(&page), "made": made.at });
    let entry = vault.log.outcome(grant, Outcome::Done(told))?;
    Ok(report::sign(&page, made.at, entry, &vault.signer())?)
}

/// Decides by what samples of the quarter that is over are drawn, where that is not decided: by the log as it is then,
/// which nobody chooses. Whether it was decided now.
pub fn decide_seed(vault: &Vault) -> Result<bool, ReviewError> {
    let now = clock::now();
    let quarter = Sampling::current(now);
    if vault.digested(|log| log.sampling.seed(quarter).is_some())? {
        return Ok(false);
    }
    let signed = vault.log.signed()?;
    let root = crate::archive::record::Digest(signed.root.0);
    let told = Told::Seed { quarter, size: signed.size, root };
    let (actor, action, resource) = (Actor::vault(), Action::Duty, Resource::Vault);
    let grant = vault.log.ask(&Request { actor: &actor, action, resource, reason: None, now })?;
    vault.log.outcome(&grant, Outcome::Done(told.to_json()))?;
    Ok(true)
}

/// All that is known now.
async fn gather(vault: &Vault, catalog: Option<&Catalog>) -> Result<Facts, ReviewError> {
    let now = clock::now();
    let limits = &vault.config.review;
    let log = vault.digested(Clone::clone)?;
    let no_catalog = || Err::<(), _>("the catalog does not open: `sejf vault status` says why".to_owned());
    let (places, copies, media, recorders) = match catalog {
        Some(catalog) => (
            places(vault, catalog).await,
            copies(vault, catalog, now.before(limits.copies.0)).await,
            media(catalog, now).await,
            recorders(vault, catalog, now).await,
        ),
        None => {
            let why = no_catalog().expect_err("it is one");
            (Err(why.clone()), Err(why.clone()), Err(why.clone()), Err(why))
        }
    };
    let audited = audit::standing(vault);
    let begun = vault.keys.scheme().map_or(now, |scheme| scheme.made);
    Ok(Facts {
        now,
        vault: vault.key.to_string(),
        tool: concat!("sejf ", env!("CARGO_PKG_VERSION")).into(),
        users: users(vault),
        keys: keys(vault, now),
        places,
        copies,
        media,
        duties: standing(vault, begun),
        certificates: certificates(vault, now),
        recorders,
        log,
        witnessed: elsewhere(&audited, "witness"),
        forwarded: elsewhere(&audited, "forward"),
        advisories: limits.advisories.as_deref().map(|path| advisories(&vault.home.join(path))),
    })
}

/// When the one that is the furthest behind had the log last; nothing where there is none of that kind.
fn elsewhere(audited: &[audit::Standing], kind: &str) -> Option<Known<Stamp>> {
    let mut oldest: Option<Stamp> = None;
    for one in audited.iter().filter(|one| one.kind == kind) {
        match one.reached.at {
            Some(at) if !one.wrong => oldest = Some(oldest.map_or(at, |oldest| oldest.min(at))),
            Some(at) => {
                return Some(Err(format!("`{}`: {} entries behind, last {at}", one.name, one.behind)));
            }
            None => {
                return Some(Err(format!(
                    "`{}`: {} entries behind, and it never had any",
                    one.name, one.behind
                )));
            }
        }
    }
    oldest.map(Ok)
}

fn users(vault: &Vault) -> Known<Vec<UserFacts>> {
    let users = UserStore::default().users(vault).map_err(|fault| fault.to_string())?;
    let facts = users.all().map(|(name, user)| UserFacts {
        name: name.to_string(),
        is_active: user.standing == Standing::Active,
        is_disabled: user.standing == Standing::Disabled,
        has_roles: !user.roles.is_empty(),
        has_second_factor: user.has_second_factor(),
        recovery_codes: user.recovery_codes(),
        certified: user.certified_since(),
        tokens: users
            .tokens(name)
            .map(|(number, token)| TokenFacts { number, since: token.since, until: token.until })
            .collect(),
    });
    Ok(facts.collect())
}

fn keys(vault: &Vault, now: Stamp) -> Known<KeyFacts> {
    let said = |fault: &dyn std::fmt::Display| fault.to_string();
    let scheme = vault.keys.scheme().map_err(|fault| said(&fault))?;
    let drills = vault.drills(&scheme, now).map_err(|fault| said(&fault))?;
    let known: BTreeSet<Epoch> =
        vault.keys.epochs().map_err(|fault| said(&fault))?.into_iter().map(|state| state.epoch).collect();
    let (mut lacking, mut urgent, mut month) = (Vec::new(), 0, Month::of(now));
    for ahead in 0..=MONTHS_AHEAD {
        let epochs = vault.classes().into_iter().map(|class| Epoch { month, class });
        let missing: Vec<_> = epochs.filter(|epoch| !known.contains(epoch)).collect();
        urgent += if ahead < 2 { missing.len() } else { 0 };
        lacking.extend(missing.iter().map(ToString::to_string));
        month = month.next();
    }
    Ok(KeyFacts {
        lacking,
        urgent,
        months: MONTHS_AHEAD,
        threshold: scheme.threshold.into(),
        custodians: drills
            .into_iter()
            .map(|shown| CustodianFacts { name: shown.custodian.to_string(), shown: shown.at })
            .collect(),
        absent: vault.keys.absent().iter().map(|place| place.display().to_string()).collect(),
        places: vault.config.vault.key_places.len() + 1,
        made: scheme.made,
    })
}

async fn places(vault: &Vault, catalog: &Catalog) -> Known<Vec<PlaceStands>> {
    let facts = catalog.places().await.map_err(|fault| fault.to_string())?;
    let counts = catalog.copy_counts().await.map_err(|fault| fault.to_string())?;
    let mut all = Vec::new();
    for config in &vault.config.places {
        let known = facts.iter().find(|place| place.name == config.name);
        let own = || counts.iter().filter(|count| count.place == config.name);
        let is_good = |count: &&crate::shell::vault::catalog::copies::PlaceCounts| {
            count.state == crate::archive::copies::CopyState::Good
        };
        all.push(PlaceStands {
            name: config.name.clone(),
            absent: absent(vault, config),
            is_to_be_worm: config.is_to_be_worm(),
            worm: known.map_or(Worm::Untested, |place| place.worm.clone()),
            worm_tested: known.and_then(|place| place.worm_tested),
            good: own().filter(is_good).map(|count| count.count).sum(),
            wrong: own().filter(|count| !is_good(count)).map(|count| count.count).sum(),
            oldest_read: own().map(|count| count.oldest).min(),
        });
    }
    Ok(all)
}

/// A folder whose disk is not mounted is known at once; of a store, its last use tells.
fn absent(vault: &Vault, config: &PlaceConfig) -> Option<String> {
    vault.place(config, Patience::default()).err().map(|fault| fault.to_string())
}

async fn copies(vault: &Vault, catalog: &Catalog, before: Stamp) -> Known<CopiesFacts> {
    use crate::shell::vault::catalog::copies::Standing::{Due, Met, Short};
    let said = |fault: crate::shell::vault::catalog::CatalogError| fault.to_string();
    let counts = catalog.standing_counts().await.map_err(said)?;
    let count = |standing| counts.get(&standing).copied().unwrap_or(0);
    let lost = catalog.copies_lost(LOST_MAX).await.map_err(said)?;
    Ok(CopiesFacts {
        recordings: count(Due) + count(Short) + count(Met),
        short: count(Due) + count(Short),
        short_for_long: catalog.copies_short_since(before).await.map_err(said)?,
        lost: lost.len() as u64,
        need_worm: vault.config.classes.iter().any(|class| class.worm),
    })
}

async fn media(catalog: &Catalog, now: Stamp) -> Known<Vec<MediumFacts>> {
    let media = catalog.media(None).await.map_err(|fault| fault.to_string())?;
    Ok(media
        .iter()
        .map(|medium| MediumFacts { id: medium.id.clone(), due: medium.kept().due(now) })
        .collect())
}

async fn recorders(vault: &Vault, catalog: &Catalog, now: Stamp) -> Known<Vec<RecorderFacts>> {
    let said = |fault: crate::shell::vault::catalog::CatalogError| fault.to_string();
    let mut keys: BTreeSet<String> = catalog.recorders().await.map_err(said)?.into_iter().collect();
    keys.extend(vault.config.recorders.iter().map(|recorder| recorder.key.trim().to_owned()));
    let since = now.before(DROPS_SINCE);
    let mut all = Vec::new();
    for key in keys {
        let books = catalog.books(&key).await.map_err(said)?;
        let receipts = catalog.receipt_facts(&key, since).await.map_err(said)?;
        let events = catalog.newest_events(&key, EVENTS).await.map_err(said)?;
        let events: Vec<_> = events.iter().filter_map(|entry| Event::from_entry(entry).ok()).collect();
        let mut dropped = receipts.dropped;
        for event in events.iter().filter(|event| event.at >= since) {
            if let EventKind::Dropped { kernel, queue, .. } = event.kind {
                *dropped.entry("kernel".into()).or_default() += kernel;
                *dropped.entry("queue".into()).or_default() += queue;
            }
        }
        dropped.retain(|_, count| *count > 0);
        all.push(RecorderFacts {
            name: key.parse::<VerifyKey>().map_or(key.clone(), |key| key.name().to_owned()),
            taken_in: receipts.taken_in,
            log_size: books.size,
            missing: books.missing(),
            awaited: books.awaited,
            version: events.first().map(|event| event.version.clone()).max(receipts.version),
            captured: receipts.captured,
            dropped,
            troubles: troubles(&events),
            newest_event: events.first().map(|event| event.at),
        });
    }
    Ok(all)
}

/// What stands still by the newest events, which come first.
fn troubles(events: &[Event]) -> Vec<String> {
    let (mut seen, mut troubles) = (BTreeSet::new(), Vec::new());
    for event in events {
        let (of, trouble) = match &event.kind {
            EventKind::InterfaceDown { interface } => {
                (format!("interface {interface}"), Some(format!("interface {interface} is down")))
            }
            EventKind::InterfaceUp { interface } => (format!("interface {interface}"), None),
            EventKind::JournalDegraded => ("journal".into(), Some("its journal cannot be written".into())),
            EventKind::JournalRestored => ("journal".into(), None),
            EventKind::Stopped { how } => ("run".into(), Some(format!("it stopped ({})", how.as_str()))),
            EventKind::Started { .. } => ("run".into(), None),
            EventKind::Recovered { faults, .. } if *faults > 0 => {
                ("recovery".into(), Some(format!("{faults} things of a run that died are not recovered")))
            }
            _ => continue,
        };
        if seen.insert(of) {
            troubles.extend(trouble);
        }
        // Of what was before it started nothing goes on.
        if matches!(event.kind, EventKind::Started { .. }) {
            break;
        }
    }
    troubles
}

fn certificates(vault: &Vault, now: Stamp) -> Vec<CertificateFacts> {
    let tls = vault.home.join(TLS);
    let mut all = Vec::new();
    let mut add = |subject: &str, until: Known<Stamp>, is_renewed| {
        all.push(CertificateFacts { subject: subject.into(), until, is_renewed });
    };
    if let Some(web) = &vault.config.web {
        match &web.certificate {
            Some(path) => add("web", certificate_until(&vault.home.join(path)), false),
            None => add("web", Ok(now.after(OWN_LASTS)), true),
        }
    }
    if tls.join("authority.pem").exists() {
        add("authority", certificate_until(&tls.join("authority.pem")), false);
        add("intake", Ok(now.after(OWN_LASTS)), true);
        match enrolled_until(&tls) {
            Ok(enrolled) => {
                for (recorder, until) in enrolled {
                    add(&format!("recorder {recorder}"), Ok(until), false);
                }
            }
            Err(why) => add("recorders", Err(why), false),
        }
    }
    all
}

fn advisories(path: &Path) -> Known<Advisories> {
    let said = |fault: std::io::Error| format!("reading `{}`: {fault}", path.display());
    let file = std::fs::File::open(path).map_err(said)?;
    let mut bytes = Vec::new();
    file.take(ADVISORIES_BYTES_MAX).read_to_end(&mut bytes).map_err(said)?;
    Advisories::parse(&bytes)
}

/// Writes a report where nothing is yet.
pub fn write_report(path: &PathBuf, text: &str) -> Result<(), VaultError> {
    use std::io::Write;
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(path)
        .map_err(io_error("making the report, which overwrites nothing,", path))?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(io_error("writing", path))
}

/// The last review, in the vault's home.
const LAST: &str = "review.json";
const LOST_MAX: usize = 10_000;
const DROPS_SINCE: Duration = Duration::from_secs(7 * 86_400);
const EVENTS: u32 = 500;
/// What the vault makes anew every day lasts so long.
const OWN_LASTS: Duration = Duration::from_secs(30 * 86_400);
const ADVISORIES_BYTES_MAX: u64 = 16 << 20;
