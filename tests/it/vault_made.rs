//! A vault with two recordings in it, for tests of what comes after intake.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use sejf::archive::bundle::disclose;
use sejf::archive::custody::Custody;
use sejf::archive::epoch::Epoch;
use sejf::archive::record::{ArchivedFile, Digest, Phase, Record, RecordingId};
use sejf::archive::slip::Slip;
use sejf::base::time::Stamp;
use sejf::seal::header::{self, Header};
use sejf::seal::identity::Identities;
use sejf::seal::receipt::{Receipt, ReceiptFile, ReceiptState, UNKNOWN_RULE};
use sejf::shell::disk::RealDisk;
use sejf::shell::entropy::OsRandom;
use sejf::shell::identity::load_or_create;
use sejf::shell::keys::KeyKind;
use sejf::shell::receipts::ReceiptLog;
use sejf::shell::vault::catalog::Catalog;
use sejf::shell::vault::catalog::recordings::NewRecord;
use sejf::shell::vault::home::{NewVault, Vault};
use sejf::shell::vault::keyring::KeyRing;
use sejf::shell::vault::place::{Content, Place};
use sejf::shell::verify::ReadLog;

use crate::support::{Bench, assert_success, sejf, text};

/// What there is. Custodian `ewa` alone opens it, with the key of the bench, and so does `jan`.
pub(crate) struct MadeVault {
    pub(crate) bench: Bench,
    pub(crate) jan: Bench,
    pub(crate) home: PathBuf,
    /// Oldest first: one as Opus, one as WAV.
    pub(crate) ids: Vec<RecordingId>,
    pub(crate) recorder: String,
    pub(crate) vault_key: String,
}

impl MadeVault {
    pub(crate) fn new() -> Self {
        Self::with(false, false)
    }

    /// With a third recording, as it was found after its recorder had died.
    pub(crate) fn recovered() -> Self {
        Self::with(false, true)
    }

    /// A vault of before headers were kept as recorders make them.
    pub(crate) fn old() -> Self {
        Self::with(true, false)
    }

    fn with(is_old: bool, is_recovered: bool) -> Self {
        let (bench, jan) = (Bench::new(), Bench::new());
        let (home, store) = (bench.path("home"), bench.path("store"));
        std::fs::create_dir(&store).unwrap();
        let custodians = [("ewa", &bench), ("jan", &jan)];
        let custodians = custodians.map(|(name, bench)| (name.parse().unwrap(), bench.recipient.clone()));
        let custody = Custody { threshold: 1, custodians: custodians.to_vec() };
        let name = "archive".to_owned();
        let new = NewVault { name, store, key_places: Vec::new(), kind: KeyKind::X25519, custody };
        let vault = Vault::create(&home, &new).unwrap();
        let ring = unlock(&bench, &vault);
        let epoch: Epoch = "calls-5y/2026-05".parse().unwrap();
        let recipient = ring.epoch(&epoch).unwrap().recipient.clone();
        let (spool, state) = (bench.path("spool"), bench.path("recorder"));
        for (capture, audio) in
            [("basic", "opus"), (if is_recovered { "clock-drift" } else { "bye-lost" }, "wav")]
        {
            let capture = format!("{}/captures/{capture}.pcap", env!("CARGO_MANIFEST_DIR"));
            let args = ["replay", &capture, "--to", text(&spool), "--recipient", &recipient];
            let more = ["--state", text(&state), "--no-sync", "--audio", audio, "--quiet"];
            assert_success(&sejf(&[&args[..], &more].concat()));
        }
        if is_recovered {
            leave(&spool, &state);
        }
        let log = ReadLog::open(&spool, None).unwrap();
        assert!(log.proved);
        let recorder = log.key.unwrap().to_string();
        let config = home.join("vault.toml");
        let mut configured = std::fs::read_to_string(&config).unwrap();
        configured.push_str(&format!("\n[[recorder]]\nkey = {recorder:?}\nspool = {spool:?}\n"));
        std::fs::write(&config, configured).unwrap();
        let vault_key = vault.key.to_string();
        let mut made = Self { vault_key, bench, jan, home, ids: Vec::new(), recorder };
        let (place, mut records) = (vault.places().unwrap().remove(0), Vec::new());
        for (index, entry) in &log.entries {
            let Ok(receipt) = Receipt::from_entry(entry) else { continue };
            let record = made.take_in((&ring, &epoch), &place, *index, receipt, is_old);
            if is_recovered {
                let slip = Content::Bytes(Slip::of(&record).to_bytes().into());
                wait(place.put_new(&record.slip_object(), slip, true)).unwrap();
            }
            made.ids.push(record.id);
            records.push(NewRecord { record, indexed: None });
        }
        assert_eq!(made.ids.len(), if is_recovered { 3 } else { 2 });
        wait(async {
            let catalog = Catalog::open_file(&made.home.join("catalog.db")).await.unwrap();
            catalog.take_in(&records).await.unwrap();
            catalog.close().await;
        });
        made
    }

    /// What intake does, for a test: under an envelope, in two objects.
    fn take_in(
        &self,
        (ring, epoch): (&KeyRing, &Epoch),
        place: &Arc<dyn Place>,
        receipt_index: u64,
        receipt: Receipt,
        is_old: bool,
    ) -> Record {
        let id: RecordingId = receipt.id.parse().unwrap();
        assert_eq!(Epoch::of(epoch.class.clone(), receipt.start), *epoch);
        let envelope = ring.envelopes_for(epoch, &[id]).unwrap().remove(0);
        let identities = &ring.epoch(epoch).unwrap().identities;
        let mut files = Vec::new();
        for file in &receipt.files {
            let sealed = std::fs::read(self.bench.path("spool").join(&file.name)).unwrap();
            let before = Header::read(&mut &sealed[..]).map_or(0, |header| header.to_bytes().len());
            let mut random = OsRandom::new().unwrap();
            let mut header = match before {
                0 => Vec::new(),
                _ => envelope.rewrap(&mut &sealed[..], identities, &mut random).unwrap(),
            };
            if is_old {
                let key = disclose(&mut &header[..], &envelope.identities()).unwrap().file_key;
                let mut stanzas = Header::read(&mut &header[..]).unwrap().stanzas;
                stanzas.truncate(1);
                header = header::write(&stanzas, &key);
            }
            let body = sealed[before..].to_vec();
            let archived = ArchivedFile {
                name: file.name.clone(),
                header_sha256: Digest::of(&header),
                header_bytes: header.len() as u64,
                body_sha256: Digest::of(&body),
                body_bytes: body.len() as u64,
            };
            let objects = [
                (archived.header_object(&id, receipt.start), header),
                (archived.body_object(&id, receipt.start), body),
            ];
            for (object, bytes) in objects {
                wait(place.put_new(&object, Content::Bytes(bytes.into()), true)).unwrap();
            }
            files.push(archived);
        }
        Record {
            id,
            recorder: self.recorder.clone(),
            receipt_index,
            receipt,
            class: Some(epoch.class.clone()),
            phase: Phase::Archived,
            taken_in: Stamp::from_unix_nanos(1_800_000_000_000_000_000),
            files,
        }
    }
}

/// What a dead run leaves, and the receipt that the next one writes: sound that is cut within a chunk, and a manifest
/// of which the header had only begun.
fn leave(spool: &Path, state: &Path) {
    let log = ReadLog::open(spool, None).unwrap();
    let receipts: Vec<_> =
        log.entries.iter().filter_map(|(_, entry)| Receipt::from_entry(entry).ok()).collect();
    let last = receipts.last().unwrap();
    let id = format!("{}fff", &last.id[..last.id.len() - 3]);
    let mut files = Vec::new();
    for kind in ["opus", "wav", "json"] {
        let end = format!(".{kind}.age");
        let whole = receipts.iter().flat_map(|receipt| &receipt.files).find(|file| file.name.ends_with(&end));
        let mut bytes = std::fs::read(spool.join(&whole.unwrap().name)).unwrap();
        bytes.truncate(if kind == "json" { 20 } else { bytes.len() - 9 });
        let name = format!("{id}.{kind}.interrupted.age");
        std::fs::write(spool.join(&name), &bytes).unwrap();
        files.push(ReceiptFile { name, bytes: bytes.len() as u64, sha256: Digest::of(&bytes).0 });
    }
    let (state_of, rule) = (ReceiptState::Interrupted, UNKNOWN_RULE.to_owned());
    let receipt = Receipt { id, files, state: state_of, rule, ..last.clone() };
    let mut log = ReceiptLog::open(spool, load_or_create(Some(state)).unwrap()).unwrap();
    log.append_receipt(&receipt).unwrap();
    log.commit(&mut RealDisk::new(false)).unwrap();
}

fn unlock(bench: &Bench, vault: &Vault) -> KeyRing {
    let key = std::fs::read_to_string(bench.key()).unwrap();
    vault.unlock(&[Identities::parse(&key).unwrap()]).unwrap()
}

pub(crate) fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}
