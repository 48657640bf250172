//! Where the copies of a recording are, and who saw and heard it.

use std::sync::Arc;

use axum::response::Response;
use serde_json::{Value, json};

use crate::archive::accesses::Accesses;
use crate::archive::class::Class;
use crate::archive::copies::{PlaceFacts, Worm};
use crate::archive::entry::Entry;
use crate::archive::record::Record;
use crate::shell::vault::catalog::CatalogError;
use crate::web::call::{Call, ok};
use crate::web::problem::Problem;
use crate::web::recordings::{parsed, unknown};
use crate::web::shared::{Shared, aside, beside};

/// Its copies, and what its class asks for.
pub(super) async fn copies(shared: Arc<Shared>, call: Call) -> Result<Response, Problem> {
    let (record, _) = call.recording.as_ref().ok_or_else(unknown)?;
    let record = record.clone();
    let read = async move { Ok(told(&shared, &record).await?) };
    Ok(ok(&aside(read).await?))
}

async fn told(shared: &Shared, record: &Record) -> Result<Value, CatalogError> {
    let (catalog, config) = (shared.intake.catalog(), &shared.vault().config);
    let places = catalog.places().await?;
    let known = catalog.copies_of(&[record.id]).await?.remove(&record.id).unwrap_or_default();
    let copies = known.iter().map(|copy| {
        let facts = places.iter().find(|place| place.name == copy.place);
        json!({
            "place": copy.place, "state": copy.state.as_str(), "checked": copy.checked,
            "site": facts.map(|facts| &facts.site), "worm": facts.map(worm),
            "configured": config.places.iter().any(|place| place.name == copy.place),
        })
    });
    let media = catalog.offline_copies(&[record.id]).await?;
    let media = media.iter().map(|(_, medium)| {
        json!({
            "medium": medium.id, "label": medium.label, "state": if medium.is_whole { "good" } else { "broken" },
            "checked": medium.checked, "place": medium.place, "out": medium.is_out,
        })
    });
    let class = record.class.as_ref().and_then(|class| config.class(class));
    let met = catalog.copies_met(&[record.id]).await?;
    Ok(json!({
        "class": record.class,
        "policy": class.map(policy),
        "met": !met.is_empty(),
        "copies": copies.collect::<Vec<_>>(),
        "media": media.collect::<Vec<_>>(),
    }))
}

/// What a class asks for.
pub(super) fn policy(class: &Class) -> Value {
    let policy = class.copies;
    json!({ "total": policy.total, "sites": policy.sites, "offline": policy.offline, "worm": class.worm })
}

/// What a place's self-test said.
pub(super) fn worm(facts: &PlaceFacts) -> Value {
    let (state, fault) = match &facts.worm {
        Worm::Untested => ("untested", ""),
        Worm::Passed => ("passed", ""),
        Worm::Failed(fault) => ("failed", fault.as_str()),
    };
    json!({ "state": state, "fault": fault, "tested": facts.worm_tested })
}

/// Who saw and heard it, and why: as the log has it, the newest part of it first.
pub(super) async fn accesses(shared: Arc<Shared>, call: Call) -> Result<Response, Problem> {
    let (record, _) = call.recording.as_ref().ok_or_else(unknown)?;
    let (id, before) = (record.id, parsed::<u64>(&call, "before")?);
    let read = beside(&shared, move |shared| {
        let log = &shared.vault().log;
        let fault = |fault| Problem::fault("reading the log", &fault);
        let (_, size) = log.read_from(0, 1).map_err(fault)?;
        let to = before.unwrap_or(size).min(size);
        let from = to.saturating_sub(ENTRIES_MAX);
        let (mut found, mut next, name) = (Accesses::of(id), from, id.to_string());
        while next < to {
            let (entries, _) = log.read_from(next, (to - next).min(ENTRIES)).map_err(fault)?;
            if entries.is_empty() {
                break;
            }
            for bytes in &entries {
                // Most entries are of others, and take time to read.
                if contains(bytes, name.as_bytes())
                    && let Ok(entry) = Entry::from_bytes(bytes)
                {
                    found.add(next, &entry);
                }
                next += 1;
            }
        }
        Ok((found.newest_first(), from, to, size))
    });
    let (found, from, to, size) = read.await?;
    Ok(ok(
        &json!({ "accesses": found, "from": from, "to": to, "size": size, "before": (from > 0).then_some(from) }),
    ))
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|part| part == wanted)
}

/// Entries that one request looks through: what goes before is asked for.
const ENTRIES_MAX: u64 = 65_536;
const ENTRIES: u64 = 4_096;
