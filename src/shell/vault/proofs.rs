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

/// Recorders' logs. What was read of one is kept: an export has many recordings of it.
#[derive(Default)]
pub struct RecorderLogs {
    known: BTreeMap<String, Option<(String, Vec<Hash>)>>,
}

impl RecorderLogs {
    /// The proof that a recording's receipt is in its recorder's log: from the spool where that is on this machine,
    /// else from what the catalog knows. `None` where neither has all of it.
    pub async fn prove(
        &mut self,
        vault: &Vault,
        catalog: &Catalog,
        record: &Record,
    ) -> Result<Option<Proof>, CatalogError> {
        let Ok(key) = record.recorder.parse::<VerifyKey>() else { return Ok(None) };
        let entry = record.receipt.to_entry();
        let spools = vault.config.recorders.iter().filter(|recorder| recorder.key == record.recorder);
        for spool in spools.filter_map(|recorder| recorder.spool.as_ref()) {
            let proof = prove_in(&spool.join(DIR_NAME), &key, record.receipt_index);
            let proof = proof.map(|(_, proof)| proof);
            if let Some(proof) = proof.filter(|proof| proof.verify(&entry, &key).is_ok()) {
                return Ok(Some(proof));
            }
        }
        if !self.known.contains_key(&record.recorder) {
            let log = leaves(catalog, &record.recorder).await?;
            self.known.insert(record.recorder.clone(), log);
        }
        let Some(Some((checkpoint, leaves))) = self.known.get(&record.recorder) else { return Ok(None) };
        let proof = Proof::make(&key, &leaves[..], record.receipt_index, checkpoint);
        Ok(proof.filter(|proof| proof.verify(&entry, &key).is_ok()))
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

/// All entries of a recorder's log, hashed, with its checkpoint. `None` where one is not known.
async fn leaves(catalog: &Catalog, recorder: &str) -> Result<Option<(String, Vec<Hash>)>, CatalogError> {
    let Some(position) = catalog.recorder_position(recorder).await? else { return Ok(None) };
    let mut leaves = Vec::new();
    loop {
        let from = leaves.len() as u64;
        let page = catalog.receipts_of(recorder, from, PAGE).await?;
        // An entry that is no receipt, or whose recording is not here yet.
        let is_whole = (from..).zip(&page).all(|(index, (found, _))| index == *found);
        if page.is_empty() || !is_whole {
            break;
        }
        let ids: Vec<_> = page.iter().map(|(_, id)| *id).collect();
        let mut records: BTreeMap<_, _> =
            catalog.get_all(&ids).await?.into_iter().map(|record| (record.id, record)).collect();
        for id in ids {
            let Some(record) = records.remove(&id) else { return Ok(None) };
            leaves.push(Hash::leaf(&record.receipt.to_entry()));
        }
    }
    let is_whole = leaves.len() as u64 >= position.size;
    leaves.truncate(usize::try_from(position.size).unwrap_or(usize::MAX));
    Ok(is_whole.then_some((position.checkpoint, leaves)))
}

const TRIES: usize = 5;
const BUNDLE: u64 = 256;
const PAGE: u32 = 256;
