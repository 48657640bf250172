//! Budget: 500 recordings of 100 kB a second into a folder and SQLite, with everything on the disk.
//!
//! `cargo bench --bench intake [RECORDINGS]`; `TMPDIR` says on which disk.

#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::disallowed_methods, reason = "a bench")]

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sejf::archive::custody::Custody;
use sejf::archive::epoch::Epoch;
use sejf::archive::record::{Digest, RecordingId};
use sejf::base::counters::Counters;
use sejf::base::time::Stamp;
use sejf::seal::identity::{Identities, generate_x25519};
use sejf::seal::note::Signer;
use sejf::seal::random::{Randomness, Seeded};
use sejf::seal::receipt::{Receipt, ReceiptFile, ReceiptState, SCHEMA};
use sejf::seal::recipient::Recipients;
use sejf::seal::stream::seal_whole;
use sejf::shell::disk::RealDisk;
use sejf::shell::keys::KeyKind;
use sejf::shell::receipts::ReceiptLog;
use sejf::shell::vault::home::{NewVault, Vault};
use sejf::shell::vault::intake::Intake;

const SOUND_BYTES: usize = 100_000;
const START_S: u64 = 1_795_468_121;

fn main() {
    let count = std::env::args().filter_map(|argument| argument.parse().ok()).next().unwrap_or(5_000_u64);
    let dir = tempfile::tempdir().unwrap();
    let (home, spool) = (dir.path().join("home"), dir.path().join("spool"));
    let mut random = Seeded::new(&[1; 32], "bench", 0);
    let (identity, recipient) = generate_x25519(&mut random);
    fs::create_dir(dir.path().join("store")).unwrap();
    let new = NewVault {
        name: "bench".into(),
        store: dir.path().join("store"),
        key_places: Vec::new(),
        kind: KeyKind::X25519,
        custody: Custody { threshold: 1, custodians: vec![("ewa".parse().unwrap(), recipient)] },
    };
    let vault = Vault::create(&home, &new).unwrap();
    let signer = Signer::generate("recorder", &mut random).unwrap();
    let config = fs::read_to_string(home.join("vault.toml")).unwrap();
    let config = format!("{config}\n[[recorder]]\nkey = \"{}\"\n", signer.verify_key());
    fs::write(home.join("vault.toml"), config).unwrap();
    let ring = vault.unlock(&[Identities::parse(&identity).unwrap()]).unwrap();
    let start = Stamp::from_unix_nanos(START_S * 1_000_000_000);
    let epoch = ring.epoch(&Epoch::of("calls-5y".parse().unwrap(), start)).unwrap();
    record(&spool, count, &epoch.recipient, signer, &mut random);
    let vault = Arc::new(Vault::open(&home).unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (report, took) = runtime.block_on(async {
        let intake = Intake::open(vault).await.unwrap();
        intake.set_keys(Some(Arc::new(ring)));
        let (begun, used) = (Instant::now(), processor_time());
        let report = intake.take_in_folder(&spool).await.unwrap();
        let took = (begun.elapsed(), processor_time().saturating_sub(used));
        intake.catalog().close().await;
        (report, took)
    });
    assert_eq!(report.archived, count, "{report:?}");
    let (wall, used) = (took.0.as_secs_f64(), took.1.as_secs_f64());
    println!("{count} recordings of {SOUND_BYTES} bytes in {wall:.2} s: {:.0} a second", count as f64 / wall);
    // On a machine that does other things too, this is what it would be without them and with a disk that keeps up.
    println!("{used:.2} s of one processor: {:.0} a second of it", count as f64 / used);
}

fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap())
}

fn record(spool: &Path, count: u64, recipient: &str, signer: Signer, random: &mut Seeded) {
    fs::create_dir(spool).unwrap();
    let recipients = Recipients::parse([recipient]).unwrap();
    let name = signer.name().to_owned();
    let mut log = ReceiptLog::open(spool, signer).unwrap();
    let mut sound = vec![0; SOUND_BYTES];
    random.fill(&mut sound);
    for number in 0..count {
        let start = Stamp::from_unix_nanos((START_S + number) * 1_000_000_000);
        let end = start.after(Duration::from_secs(60));
        let mut id = [0; 16];
        id[..8].copy_from_slice(&(start.as_unix_millis() << 16).to_be_bytes());
        id[8..].copy_from_slice(&number.to_be_bytes());
        let id = RecordingId::from_bytes(id).to_string();
        let manifest = serde_json::json!({
            "schema": 1, "id": id, "state": "complete", "start": start, "end": end, "answered": null,
            "duration_s": 60.0, "trunk": "t", "rule": "all@1", "retention_class": "calls-5y",
            "call": {"call_ids": [id], "from": "sip:+48221234567@a", "to": "sip:+48227654321@b",
                "caller": format!("+4822{number:07}"), "callee": "+48227654321", "ended_by": null,
                "status": 200, "orphan": false},
            "streams": [], "gaps": [], "files": [], "counters": Counters::default(), "ladder": [], "notes": [],
            "recorder": {"id": name, "version": "0"},
        });
        let manifest = serde_json::to_vec(&manifest).unwrap();
        let mut put = |kind: &str, plain: &[u8]| {
            let sealed = seal_whole(plain, &recipients, random).unwrap();
            let name = format!("{id}.{kind}.age");
            fs::write(spool.join(&name), &sealed).unwrap();
            ReceiptFile { name, bytes: sealed.len() as u64, sha256: Digest::of(&sealed).0 }
        };
        let files = vec![put("opus", &sound), put("json", &manifest)];
        let receipt = Receipt {
            schema: SCHEMA,
            id,
            state: ReceiptState::Complete,
            start,
            end,
            files,
            rule: "all@1".into(),
            counters: Counters::default(),
            recorder: name.clone(),
            version: "0".into(),
        };
        log.append_receipt(&receipt).unwrap();
    }
    log.commit(&mut RealDisk::new(true)).unwrap();
}
