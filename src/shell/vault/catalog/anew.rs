//! The catalog of a vault made anew, and compared with the one that there is.

use std::collections::BTreeSet;

use crate::archive::access::{Action, Request};
use crate::archive::entry::{Outcome, Resource};
use crate::archive::epoch::Epoch;
use crate::archive::record::{Phase, RecordingId};
use crate::archive::search::Cursor;
use crate::shell::clock;
use crate::shell::entropy::OsRandom;
use crate::shell::vault::catalog::awaited::NewEntries;
use crate::shell::vault::catalog::rebuild::{Rebuilt, Sources, rebuild};
use crate::shell::vault::catalog::recordings::{Filter, NewRecord};
use crate::shell::vault::catalog::{Catalog, CatalogError};
use crate::shell::vault::home::Vault;
use crate::shell::vault::keyring::KeyRing;
use crate::shell::vault::matters::{self, MattersError};

/// Makes the catalog of a vault anew in `into`: what is destroyed stays so, by the vault's log. What only `present`
/// can have is taken over from it where there is one: recordings that are staged, how far recorders' logs are known, and
/// what of them is awaited or was no receipt, and the register of media. Without it recorders show all of theirs again, from
/// the beginning of their logs, and media are learned again when they are checked
/// ([`crate::shell::vault::media::MediaWriter::learn`]).
pub async fn rebuild_vault(
    vault: &Vault,
    ring: &KeyRing,
    present: Option<&Catalog>,
    into: &Catalog,
) -> Result<Rebuilt, MattersError> {
    let actor = vault.actor_of(ring);
    let (action, resource, now) = (Action::Rebuild, Resource::Vault, clock::now());
    let grant = vault.log.ask(&Request { actor: &actor, action, resource, reason: None, now })?;
    let rebuilt = run(vault, ring, present, into).await;
    let outcome = match &rebuilt {
        Ok(rebuilt) => Outcome::Done(serde_json::json!({
            "recordings": rebuilt.recordings, "faults": rebuilt.faults.len(),
        })),
        Err(fault) => Outcome::Failed(fault.to_string()),
    };
    vault.log.outcome(&grant, outcome)?;
    rebuilt
}

async fn run(
    vault: &Vault,
    ring: &KeyRing,
    present: Option<&Catalog>,
    into: &Catalog,
) -> Result<Rebuilt, MattersError> {
    let place = vault.first_place()?;
    let tombstones: BTreeSet<RecordingId> =
        matters::tombstones(vault)?.into_iter().map(|(id, _)| id).collect();
    let is_destroyed = |epoch: &Epoch, id: &RecordingId| {
        tombstones.contains(id) || vault.keys.is_destroyed(epoch).unwrap_or_default()
    };
    let (mut staged, mut positions) = (Vec::new(), Vec::new());
    if let Some(present) = present {
        staged = staged_in(present).await?;
        for recorder in present.recorders().await? {
            let position = present.recorder_position(&recorder).await?;
            positions.extend(position.map(|position| (recorder, position)));
        }
    }
    let sources = Sources {
        place: &*place,
        keys: ring,
        entry: &|_, _| None,
        is_destroyed: &is_destroyed,
        staged,
        positions,
    };
    let mut random = OsRandom::new().map_err(crate::shell::vault::home::VaultError::from)?;
    let rebuilt = rebuild(into, &sources, &mut random).await?;
    if let Some(present) = present {
        into.copy_register(present).await?;
        take_over_logs(present, into).await?;
    }
    // Holds, requests and tombstones are the log's.
    matters::catch_up(vault, into).await?;
    into.bury().await?;
    Ok(rebuilt)
}

/// What recorders' logs say and is in no recording: the logs are known, and nobody shows it a second time.
pub(super) async fn take_over_logs(present: &Catalog, into: &Catalog) -> Result<(), CatalogError> {
    for recorder in present.recorders().await? {
        into.copy_hashes(present, &recorder).await?;
        let mut from = 0;
        loop {
            let awaited = present.awaited(&recorder, from, PAGE).await?;
            let Some(last) = awaited.last() else { break };
            from = last.index + 1;
            let faults: Vec<(u64, String)> =
                awaited.iter().map(|awaited| (awaited.index, awaited.fault.clone())).collect();
            let receipts = awaited.into_iter().map(|awaited| (awaited.index, awaited.receipt)).collect();
            into.add_entries(&recorder, &NewEntries { receipts, others: Vec::new() }).await?;
            into.set_awaited_faults(&recorder, &faults).await?;
        }
        let mut from = 0;
        loop {
            let others = present.recorder_events(&recorder, from, PAGE).await?;
            let Some((last, _)) = others.last() else { break };
            from = last + 1;
            into.add_entries(&recorder, &NewEntries { receipts: Vec::new(), others }).await?;
        }
    }
    Ok(())
}

async fn staged_in(present: &Catalog) -> Result<Vec<NewRecord>, CatalogError> {
    let filter = Filter { phase: Some(Phase::Staged), ..Filter::default() };
    let mut staged: Vec<NewRecord> = Vec::new();
    loop {
        let last = staged.last().map(|last| &last.record);
        let after = last.map(|last| Cursor { start: last.receipt.start, id: last.id });
        let page = present.page(after.as_ref(), PAGE, &filter).await?;
        if page.is_empty() {
            return Ok(staged);
        }
        staged.extend(page.into_iter().map(|record| NewRecord { record, indexed: None }));
    }
}

const PAGE: u32 = 500;
