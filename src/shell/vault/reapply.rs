//! What was destroyed stays so, whatever older state comes back: key places from a backup, an older catalog. The log
//! says what it was, and it is destroyed again when the vault is unlocked, before anything is released.

use std::collections::{BTreeMap, BTreeSet};

use crate::archive::access::{Action, Actor, Grant, Reason, Request};
use crate::archive::certificate::Erased;
use crate::archive::clock::ClockTrust;
use crate::archive::entry::{IDS_MAX, Outcome, Resource};
use crate::archive::epoch::Epoch;
use crate::archive::matter::MatterError;
use crate::archive::record::RecordingId;
use crate::shell::clock;
use crate::shell::vault::catalog::Catalog;
use crate::shell::vault::destroy::{AGAIN, Destroyer};
use crate::shell::vault::home::{CATALOG, Vault, VaultError};
use crate::shell::vault::keyfault::KeyFault;
use crate::shell::vault::keyring::KeyRing;
use crate::shell::vault::matters::{self, MattersError, catch_up};

/// Destroys again what has come back. How many recordings and epochs there were.
pub(super) fn at_unlock(vault: &Vault, ring: &KeyRing) -> Result<u64, MattersError> {
    // Whoever unlocks may be within a runtime already.
    std::thread::scope(|threads| {
        let work = || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.map_err(MattersError::Runtime)?.block_on(reapply(vault, ring))
        };
        threads.spawn(work).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

async fn reapply(vault: &Vault, ring: &KeyRing) -> Result<u64, MattersError> {
    let actor = vault.actor_of(ring);
    // The catalog has all of it in order. Where there is none, or it cannot be read, the log has.
    let is_there = vault.config.vault.catalog.is_some() || vault.home.join(CATALOG).exists();
    if is_there {
        match by_catalog(vault, ring, &actor).await {
            Err(MattersError::Catalog(fault) | MattersError::Vault(VaultError::Catalog(fault))) => {
                tracing::warn!(%fault, "what was destroyed is looked up in the log");
            }
            other => return other,
        }
    }
    let back = Buried::of_log(vault)?.back(vault, ring)?;
    by_log(vault, ring, &actor, &back)
}

async fn by_catalog(vault: &Vault, ring: &KeyRing, actor: &Actor) -> Result<u64, MattersError> {
    // One that was lost is made anew by whoever unlocks: by the log it knows what was destroyed all the same.
    let catalog = vault.catalog_as_it_is().await?;
    let done = async {
        catch_up(vault, &catalog).await?;
        let buried = catalog.bury().await?;
        let back = Buried::of_catalog(&catalog).await?.back(vault, ring)?;
        if back.is_empty() {
            return Ok(buried);
        }
        let places = vault.places_if_there()?;
        let (now, trust) = (clock::now(), ClockTrust::Trusted);
        let destroyer = Destroyer {
            vault,
            ring,
            catalog: &catalog,
            places: &places,
            actor,
            now,
            trust,
            go_on: &|_| true,
        };
        Ok(buried + destroyer.destroy_again(&back).await?)
    };
    let done = done.await;
    catalog.close().await;
    done
}

/// Keys alone: without a catalog nobody knows which objects there were.
fn by_log(vault: &Vault, ring: &KeyRing, actor: &Actor, back: &[Back]) -> Result<u64, MattersError> {
    let ask = |resource: Resource, epoch: &Epoch| -> Result<Grant, MattersError> {
        let reason = Some(Reason { code: "retention".into(), text: format!("{epoch}: destroyed before") });
        let (action, now) = (Action::Destroy, clock::now());
        Ok(vault.log.ask(&Request { actor, action, resource, reason, now })?)
    };
    let mut again = 0;
    for Back { epoch, ids } in back {
        let Some(ids) = ids else {
            let grant = ask(Resource::epoch(epoch), epoch)?;
            ring.destroy_epoch(&grant, epoch)?;
            vault.log.outcome(&grant, Outcome::Failed(AGAIN.into()))?;
            again += 1;
            continue;
        };
        for ids in ids.chunks(IDS_MAX) {
            let grant = ask(Resource::of(ids), epoch)?;
            again += ring.destroy_envelopes(&grant, epoch, ids)?;
            vault.log.outcome(&grant, Outcome::Failed(AGAIN.into()))?;
        }
    }
    Ok(again)
}

/// What was destroyed of each epoch; of one that was destroyed as a whole, nothing is listed.
#[derive(Default)]
pub(super) struct Buried(BTreeMap<Epoch, Option<BTreeSet<RecordingId>>>);

/// What has come back of an epoch: these recordings, or its key.
pub(super) struct Back {
    pub(super) epoch: Epoch,
    pub(super) ids: Option<Vec<RecordingId>>,
}

impl Buried {
    pub(super) async fn of_catalog(catalog: &Catalog) -> Result<Self, MattersError> {
        let mut buried = Self::default();
        for (epoch, is_whole) in catalog.epochs_with_tombstones().await? {
            let ids =
                if is_whole { None } else { Some(catalog.tombstones(&epoch).await?.into_iter().collect()) };
            buried.0.insert(epoch, ids);
        }
        Ok(buried)
    }

    fn of_log(vault: &Vault) -> Result<Self, MattersError> {
        let mut buried = Self::default();
        vault.log.each(0, |index, bytes| -> Result<(), MattersError> {
            let Some(certificate) = matters::certificate(index, bytes)? else { return Ok(()) };
            let fault = MatterError { index, at: certificate.at };
            let epoch: Epoch = certificate.epoch.parse().map_err(|_| fault)?;
            match &certificate.erased {
                Erased::Epoch => drop(buried.0.insert(epoch, None)),
                Erased::Recordings(erased) => {
                    let ids = buried.0.entry(epoch).or_insert_with(|| Some(BTreeSet::new()));
                    if let Some(ids) = ids {
                        ids.extend(erased.iter().map(|erased| erased.id));
                    }
                }
            }
            Ok(())
        })?;
        Ok(buried)
    }

    pub(super) fn back(&self, vault: &Vault, ring: &KeyRing) -> Result<Vec<Back>, MattersError> {
        let mut back = Vec::new();
        for (epoch, buried) in &self.0 {
            if vault.keys.is_destroyed(epoch)? {
                continue;
            }
            let Some(buried) = buried else {
                back.push(Back { epoch: epoch.clone(), ids: None });
                continue;
            };
            let there = match ring.recordings(epoch) {
                Ok(there) => there,
                Err(KeyFault::Destroyed(_)) => continue,
                // Nothing of this epoch opens while that is so, and the next unlocking looks again.
                Err(
                    fault @ (KeyFault::Damaged { .. }
                    | KeyFault::Open { .. }
                    | KeyFault::WrongRecipient { .. }),
                ) => {
                    tracing::error!(%epoch, %fault, "whether something destroyed has come back is not known");
                    continue;
                }
                Err(fault) => return Err(fault.into()),
            };
            let ids: Vec<_> = there.into_iter().filter(|id| buried.contains(id)).collect();
            if !ids.is_empty() {
                back.push(Back { epoch: epoch.clone(), ids: Some(ids) });
            }
        }
        Ok(back)
    }
}
