//! Proofs that entries are in signed logs: the vault's own, and those of recorders as far as they are here.

use std::collections::BTreeMap;
use std::path::Path;

use crate::archive::proof::Proof;
use crate::archive::record::Record;
use crate::seal::log::{CHECKPOINT_PATH, parse_bundle};
use crate::seal::log_survey::bundle_path;
use crate::seal::log_verify::TileNodes;
use crate::seal::note::VerifyKey;
use crate::seal::tree::Hash;
use crate::shell::receipts::{DIR_NAME, read_file};
use crate::shell::vault::catalog::{Catalog, CatalogError};
use crate::shell::vault::home::Vault;

/// Recorders' logs. What had to be reckoned of one is kept: an export has many recordings of it.
#[derive(Default)]
pub struct RecorderLogs {
    reckoned: BTreeMap<String, Option<Vec<Hash>>>,
}

impl RecorderLogs {
    /// The proof that a recording's receipt is in its recorder's log, from hashes of its entries alone: what else the
    /// log says is of other people. From the spool where that is on this machine, else from what the catalog knows.
    /// `None` where neither has all of it.
    pub async fn prove(
        &mut self,
        vault: &Vault,
        catalog: &Catalog,
        record: &Record,
    ) -> Result<Option<Proof>, CatalogError> {
        let Ok(key) = record.recorder.parse::<VerifyKey>() else { return Ok(None) };
        let (entry, index) = (record.receipt.to_entry(), record.receipt_index);
        let good = |proof: &Proof| proof.verify(&entry, &key).is_ok();
        let spools = vault.config.recorders.iter().filter(|recorder| recorder.key == record.recorder);
        for spool in spools.filter_map(|recorder| recorder.spool.as_ref()) {
            let proof = prove_in(&spool.join(DIR_NAME), &key, index).map(|(_, proof)| proof);
            if let Some(proof) = proof.filter(good) {
                return Ok(Some(proof));
            }
        }
        let Some(position) = catalog.recorder_position(&record.recorder).await? else { return Ok(None) };
        let hashes = catalog.hashes(&record.recorder, index, position.size).await?;
        if let Some(proof) = Proof::make(&key, &hashes, index, &position.checkpoint).filter(good) {
            return Ok(Some(proof));
        }
        // Noted before the catalog kept hashes.
        if !self.reckoned.contains_key(&record.recorder) {
            let leaves = leaves(catalog, &record.recorder, position.size).await?;
            if let Some(leaves) = &leaves {
                catalog.put_hashes(&record.recorder, leaves).await?;
            }
            self.reckoned.insert(record.recorder.clone(), leaves);
        }
        let Some(Some(leaves)) = self.reckoned.get(&record.recorder) else { return Ok(None) };
        Ok(Proof::make(&key, &leaves[..], index, &position.checkpoint).filter(good))
    }
}

/// An entry of the log in the folder `dir`, and its proof. `None` where it is not there, or the log is damaged.
pub fn prove_in(dir: &Path, key: &VerifyKey, index: u64) -> Option<(Vec<u8>, Proof)> {
    // Whoever writes the log just now removes files that the checkpoint does not need any more.
    (0..TRIES).find_map(|_| {
        let read = |path: &str| read_file(dir, path);
        let checkpoint = String::from_utf8(read(CHECKPOINT_PATH)?).ok()?;
        let size = key.open(&checkpoint).ok()?.size;
        if index >= size {
            return None;
        }
        let (bundle, at) = (index / BUNDLE, usize::try_from(index % BUNDLE).ok()?);
        let width = usize::try_from((size - bundle * BUNDLE).min(BUNDLE)).ok()?;
        let entries = read(&bundle_path(index, size))?;
        let entry = parse_bundle(&entries, width)?.get(at)?.to_vec();
        let proof = Proof::make(key, &TileNodes { read: &read, size }, index, &checkpoint)?;
        proof.verify(&entry, key).ok()?;
        Some((entry, proof))
    })
}

/// All entries of a recorder's log, hashed. `None` where one is not known.
async fn leaves(catalog: &Catalog, recorder: &str, size: u64) -> Result<Option<Vec<Hash>>, CatalogError> {
    let mut leaves = BTreeMap::new();
    let mut from = 0;
    loop {
        let page = catalog.receipts_of(recorder, from, PAGE).await?;
        let Some((last, _)) = page.last() else { break };
        from = last + 1;
        let ids: Vec<_> = page.iter().map(|(_, id)| *id).collect();
        for record in catalog.get_all(&ids).await? {
            leaves.insert(record.receipt_index, Hash::leaf(&record.receipt.to_entry()));
        }
    }
    // What is awaited, and what happened to the recorder itself.
    from = 0;
    loop {
        let page = catalog.awaited(recorder, from, PAGE).await?;
        let Some(last) = page.last() else { break };
        from = last.index + 1;
        leaves.extend(page.iter().map(|one| (one.index, Hash::leaf(&one.receipt.to_entry()))));
    }
    from = 0;
    loop {
        let page = catalog.recorder_events(recorder, from, PAGE).await?;
        let Some((last, _)) = page.last() else { break };
        from = last + 1;
        leaves.extend(page.iter().map(|(index, entry)| (*index, Hash::leaf(entry))));
    }
    leaves.split_off(&size);
    let is_whole = leaves.keys().copied().eq(0..size);
    Ok(is_whole.then(|| leaves.into_values().collect()))
}

const TRIES: usize = 5;
const BUNDLE: u64 = 256;
const PAGE: u32 = 256;
