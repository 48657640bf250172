//! How what is kept stands: copies and places, media, keys. Nothing of who spoke, and no key.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};

use crate::archive::access::Action;
use crate::archive::copies::{CopyState, PlaceFacts};
use crate::archive::duties::Standing as Duty;
use crate::archive::epoch::Epoch;
use crate::archive::reach::Belongs;
use crate::base::text::steers;
use crate::shell::clock;
use crate::shell::vault::catalog::copies::{PlaceCounts, Standing};
use crate::shell::vault::catalog::media::MediumRow;
use crate::shell::vault::config::{PlaceConfig, PlaceKind};
use crate::shell::vault::drills::DRILL_DAYS;
use crate::shell::vault::duties::standing;
use crate::shell::vault::home::Vault;
use crate::shell::vault::keyfault::KeyFault;
use crate::shell::vault::media::{MediaError, note};
use crate::shell::vault::place::Patience;
use crate::web::call::{Call, ok};
use crate::web::desk::failed;
use crate::web::held::{policy, worm};
use crate::web::problem::Problem;
use crate::web::shared::{Shared, aside};

/// Classes, places, recordings that lack something, and duties.
pub(super) async fn copies(shared: Arc<Shared>, call: Call) -> Result<Response, Problem> {
    // Which recordings there are, whoever reaches only so far does not learn here either.
    let is_limited = !call.who()?.actor.reaches(Action::ShowStock, &Belongs::default());
    let told = aside(async move {
        let (catalog, vault) = (shared.intake.catalog(), shared.vault());
        let (counts, places) = (catalog.standing_counts().await?, catalog.places().await?);
        let (copies, epochs) = (catalog.copy_counts().await?, catalog.count_epochs().await?);
        let lost = catalog.copies_lost(LOST_MAX).await?;
        let count = |which| counts.get(&which).copied().unwrap_or_default();
        let classes = vault.config.classes.iter().map(|class| {
            let of = epochs.iter().filter(|one| one.epoch.class == class.name);
            let mut told = policy(class);
            told["class"] = json!(class.name);
            told["recordings"] = json!(of.map(|one| one.left).sum::<u64>());
            told
        });
        let scheme = vault.keys.scheme()?;
        Ok(json!({
            "met": count(Standing::Met), "short": count(Standing::Short), "due": count(Standing::Due),
            "classes": classes.collect::<Vec<_>>(),
            "places": told_places(vault, &places, &copies),
            "lost": { "count": lost.len(), "more": lost.len() >= LOST_MAX, "ids": if is_limited { &[] } else { &lost[..] } },
            "duties": standing(vault, scheme.made).iter().map(duty).collect::<Vec<_>>(),
        }))
    });
    Ok(ok(&told.await?))
}

fn told_places(vault: &Vault, known: &[PlaceFacts], counts: &[PlaceCounts]) -> Vec<Value> {
    let is_configured = |name: &str| vault.config.places.iter().find(|place| place.name == name);
    let gone = known.iter().filter(|place| !place.offline && is_configured(&place.name).is_none());
    let names = vault.config.places.iter().map(|place| place.name.as_str());
    names.chain(gone.map(|place| place.name.as_str())).map(|name| {
        let (config, facts) = (is_configured(name), known.iter().find(|place| place.name == name));
        let found = |state| counts.iter().find(|one| one.place == name && one.state == state);
        let count = |state| found(state).map_or(0, |one| one.count);
        let oldest = counts.iter().filter(|one| one.place == name).map(|one| one.oldest).min();
        let fault = config.and_then(|config| vault.place(config, Patience::default()).err());
        json!({
            "place": name,
            "configured": config.is_some(),
            "site": config.map(|config| &config.site).or(facts.map(|facts| &facts.site)),
            "kind": config.map(kind),
            "fault": fault.map(|fault| fault.to_string()),
            "to_be_worm": config.is_some_and(PlaceConfig::is_to_be_worm),
            "worm": facts.map(worm),
            "worm_counts": facts.is_some_and(|facts| facts.is_worm(clock::now())),
            "good": count(CopyState::Good), "broken": count(CopyState::Broken), "missing": count(CopyState::Missing),
            "oldest": oldest,
        })
    }).collect()
}

fn kind(config: &PlaceConfig) -> &'static str {
    match config.kind {
        PlaceKind::Directory { .. } => "directory",
        PlaceKind::S3 { .. } => "s3",
        PlaceKind::Azure { .. } => "azure",
        PlaceKind::Gcs { .. } => "gcs",
    }
}

fn duty(standing: &Duty) -> Value {
    let mut told = json!(standing);
    told["wrong"] = json!(standing.is_wrong());
    told
}

/// All media.
pub(super) async fn media(shared: Arc<Shared>, _: Call) -> Result<Response, Problem> {
    let told = aside(async move {
        let media = shared.intake.catalog().media(None).await?;
        Ok(json!({ "media": media.iter().map(of_medium).collect::<Vec<_>>() }))
    });
    Ok(ok(&told.await?))
}

fn of_medium(medium: &MediumRow) -> Value {
    let mut told = json!(medium);
    told["due"] = json!(medium.kept().due(clock::now()));
    told
}

/// One medium, and who had it when.
pub(super) async fn medium(shared: Arc<Shared>, call: Call) -> Result<Response, Problem> {
    let told = aside(async move {
        let (catalog, id) = (shared.intake.catalog(), call.param("medium"));
        let found = catalog.media(Some(id)).await?;
        let found = found.first().ok_or_else(unknown)?;
        let moves = catalog.medium_moves(id).await?;
        let is_destroyed = moves.iter().any(|moved| moved.what == DESTROYED);
        Ok(json!({ "medium": of_medium(found), "moves": moves, "destroyed": is_destroyed }))
    });
    Ok(ok(&told.await?))
}

/// Says that one was taken out, or is back.
pub(super) async fn move_medium(shared: Arc<Shared>, call: Call) -> Result<Response, Problem> {
    let grant = Arc::clone(call.grant()?);
    aside(async move {
        // What was granted and came to nothing, the log says of it.
        match movable(&shared, &call).await {
            Ok((what, place, seal)) => {
                let (catalog, id) = (shared.intake.catalog(), call.param("medium"));
                note(shared.vault(), catalog, &grant, &what, (&seal, &place)).await?;
                let found = catalog.media(Some(id)).await?;
                Ok(ok(&json!({ "medium": found.first().map(of_medium) })))
            }
            Err(problem) => Err(failed(&shared, &grant, problem)),
        }
    })
    .await
}

/// What is done with it, where it lies then, and under which seal: where that can be.
async fn movable(shared: &Shared, call: &Call) -> Result<(String, String, String), Problem> {
    let what = call.text("what").to_owned();
    if !["check-out", "check-in"].contains(&what.as_str()) {
        return Err(Problem::bad("`what` is check-out or check-in"));
    }
    let text = |name: &str| {
        let text = call.text(name).trim();
        let is_plain = text.len() <= TEXT_BYTES_MAX && !text.chars().any(steers);
        let detail = || format!("`{name}` is one line of at most {TEXT_BYTES_MAX} bytes");
        if is_plain { Ok(text.to_owned()) } else { Err(Problem::bad(detail())) }
    };
    let (place, seal) = (text("place")?, text("seal")?);
    if place.is_empty() {
        return Err(Problem::bad("`place` says where it lies then, or who has it"));
    }
    let (catalog, id) = (shared.intake.catalog(), call.param("medium"));
    let found = catalog.media(Some(id)).await?;
    let found = found.first().ok_or_else(unknown)?;
    let conflict = |detail: &str| Err(Problem::new(StatusCode::CONFLICT, "conflict", detail));
    if catalog.medium_moves(id).await?.iter().any(|moved| moved.what == DESTROYED) {
        return conflict("the register says that this medium was destroyed");
    }
    match (found.is_out, what == "check-out") {
        (true, true) => conflict("it is out already: it comes back first"),
        (false, false) => conflict("it is in its place already"),
        _ => Ok((what, place, seal)),
    }
}

fn unknown() -> Problem {
    Problem::not_found("the register has no such medium: see /api/v1/media")
}

/// Custodians, epochs, drills.
pub(super) async fn keys(shared: Arc<Shared>, _: Call) -> Result<Response, Problem> {
    let told = aside(async move {
        let (vault, now) = (shared.vault(), clock::now());
        let scheme = vault.keys.scheme()?;
        let drills = vault.drills(&scheme, now).map_err(|fault| Problem::fault("reading drills", &fault))?;
        let counts = shared.intake.catalog().count_epochs().await?;
        let counts: BTreeMap<Epoch, (u64, u64)> =
            counts.into_iter().map(|one| (one.epoch, (one.left, one.all))).collect();
        let epochs = vault.keys.epochs()?;
        let epochs = epochs.iter().map(|state| {
            let (left, all) = counts.get(&state.epoch).copied().unwrap_or_default();
            json!({
                "class": state.epoch.class, "month": state.epoch.month.to_string(),
                "recipient": state.recipient, "destroyed": state.recipient.is_none(), "left": left, "all": all,
            })
        });
        let custodians = drills.iter().map(|shown| {
            let holder = scheme.holder(&shown.custodian);
            json!({
                "name": shown.custodian, "recipient": holder.map(|holder| &holder.recipient),
                "shown": shown.at, "overdue": shown.is_overdue,
            })
        });
        Ok(json!({
            "vault": vault.config.vault.name,
            "log_key": vault.key.to_string(),
            "locked": shared.intake.keys().is_none(),
            "root": { "generation": scheme.generation, "recipient": scheme.root, "made": scheme.made },
            "threshold": scheme.threshold,
            "custodians": custodians.collect::<Vec<_>>(),
            "drill_days": DRILL_DAYS,
            "key_places": vault.config.vault.key_places.len() + 1,
            "key_places_absent": vault.keys.absent(),
            "epochs": epochs.collect::<Vec<_>>(),
        }))
    });
    Ok(ok(&told.await?))
}

impl From<KeyFault> for Problem {
    fn from(fault: KeyFault) -> Self {
        Self::fault("reading how the keys stand", &fault)
    }
}

impl From<MediaError> for Problem {
    fn from(error: MediaError) -> Self {
        match error {
            MediaError::Unknown(_) => unknown(),
            MediaError::Denied(denied) => denied.into(),
            MediaError::Log(fault) => Self::unlogged(&fault),
            other => Self::fault("writing into the register of media", &other),
        }
    }
}

const DESTROYED: &str = "destroyed";
const LOST_MAX: usize = 100;
const TEXT_BYTES_MAX: usize = 200;
