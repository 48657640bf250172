//! A vault's catalog from outside: searched, lost, made anew.

use std::path::{Path, PathBuf};
use std::process::Output;

use bytes::Bytes;
use sejf::archive::custody::Custody;
use sejf::archive::envelope::Envelope;
use sejf::archive::epoch::Epoch;
use sejf::archive::record::{ArchivedFile, Digest, Phase, Record, RecordingId};
use sejf::archive::search::{IndexKeys, Indexed};
use sejf::archive::slip::Slip;
use sejf::base::counters::Counters;
use sejf::base::time::Stamp;
use sejf::recording::manifest::Manifest;
use sejf::seal::header::Header;
use sejf::seal::identity::{Identities, generate_x25519};
use sejf::seal::random::Seeded;
use sejf::seal::receipt::{Receipt, ReceiptFile, ReceiptState, SCHEMA};
use sejf::seal::recipient::Recipients;
use sejf::seal::stream::seal_whole;
use sejf::shell::keys::KeyKind;
use sejf::shell::vault::catalog::Catalog;
use sejf::shell::vault::catalog::rebuild::details_of;
use sejf::shell::vault::catalog::recordings::NewRecord;
use sejf::shell::vault::home::{NewVault, Vault};
use sejf::shell::vault::keyring::KeyRing;
use sejf::shell::vault::place::{Content, Place};

use crate::support::{sejf, text};

struct Archive {
    dir: tempfile::TempDir,
    home: PathBuf,
}

impl Archive {
    /// Three recordings, as intake leaves them.
    async fn filled() -> Self {
        let memory = Path::new("/dev/shm");
        let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        let dir = dir.expect("temporary folder");
        let home = dir.path().join("vault");
        let mut random = Seeded::new(&[7; 32], "custodian", 0);
        let (identity, recipient) = generate_x25519(&mut random);
        std::fs::write(dir.path().join("ewa"), format!("{}\n", *identity)).expect("identity");
        let store = dir.path().join("store");
        std::fs::create_dir(&store).expect("folder");
        let custody = Custody { threshold: 1, custodians: vec![("ewa".parse().expect("a name"), recipient)] };
        let new =
            NewVault { name: "vault".into(), store, key_places: vec![], kind: KeyKind::X25519, custody };
        let vault = Vault::create(&home, &new).expect("a vault");
        let ring = vault.unlock(&[Identities::parse(&identity).expect("an identity")]).expect("unlocked");
        let catalog = vault.catalog().await.expect("a catalog");
        let place = vault.places().expect("places").remove(0);
        for (number, caller) in (0..).zip(["+48221234567", "+48229876543", "+49301234567"]) {
            add(&catalog, &ring, &*place, number, caller, &mut random).await;
        }
        place.flush().await.expect("flushed");
        catalog.close().await;
        Self { dir, home }
    }

    fn vault(&self, words: &[&str], more: &[&str]) -> (Option<i32>, String) {
        let (home, key) = (text(&self.home).to_owned(), self.dir.path().join("ewa"));
        let args = [&["vault"], words, &[&home, "-i", text(&key)], more].concat();
        let Output { status, stdout, stderr } = sejf(&args);
        (status.code(), String::from_utf8_lossy(&stdout).into_owned() + &String::from_utf8_lossy(&stderr))
    }

    fn found(&self, more: &[&str]) -> Vec<String> {
        let hits = self.lines(more).into_iter().filter(|line| line.get("next").is_none());
        hits.map(|hit| hit["details"]["caller"].as_str().expect("a caller").to_owned()).collect()
    }

    fn lines(&self, more: &[&str]) -> Vec<serde_json::Value> {
        let (_, said) = self.vault(&["search"], &[more, &["--json"]].concat());
        said.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }
}

async fn add(
    catalog: &Catalog,
    ring: &KeyRing,
    place: &dyn Place,
    number: u64,
    caller: &str,
    random: &mut Seeded,
) {
    let start = Stamp::from_unix_nanos((1_795_468_121 + number * 86_400) * 1_000_000_000);
    let id = RecordingId::from_bytes([number as u8 + 1; 16]);
    let name = format!("{id}.json.age");
    let receipt = Receipt {
        schema: SCHEMA,
        id: id.to_string(),
        state: ReceiptState::Complete,
        start,
        end: start.after(std::time::Duration::from_secs(60)),
        files: vec![ReceiptFile { name: name.clone(), bytes: 1, sha256: [0; 32] }],
        rule: "all@1".into(),
        counters: Counters::default(),
        recorder: "r".into(),
        version: "0".into(),
    };
    let manifest: Manifest = serde_json::from_value(serde_json::json!({
        "schema": 1, "id": id, "state": "complete", "start": start, "end": receipt.end, "answered": null,
        "duration_s": 60.0, "trunk": "Orange", "rule": "all@1", "retention_class": "calls-5y",
        "call": {
            "call_ids": ["1@pbx"], "from": "sip:a@b", "to": "sip:c@d", "caller": caller, "callee": "701",
            "ended_by": "bye", "status": 200, "orphan": false,
        },
        "streams": [], "gaps": [], "files": [], "counters": Counters::default(), "ladder": [], "notes": [],
        "recorder": {"id": "r", "version": "0"},
    }))
    .expect("a manifest");
    let epoch = Epoch::of("calls-5y".parse().expect("a class"), start);
    let keys = ring.epoch(&epoch).expect("keys");
    let envelope = Envelope::generate(id, random);
    ring.add_envelopes(&epoch, vec![envelope.clone()]).expect("envelopes");
    let recipients = Recipients::parse([keys.recipient.clone()]).expect("a recipient");
    let sealed =
        seal_whole(&serde_json::to_vec(&manifest).expect("JSON"), &recipients, random).expect("sealed");
    let body = sealed[Header::read(&mut &sealed[..]).expect("a header").to_bytes().len()..].to_vec();
    let header = envelope.rewrap(&mut &sealed[..], &keys.identities, random).expect("a header");
    let file = ArchivedFile {
        name,
        header_sha256: Digest::of(&header),
        header_bytes: header.len() as u64,
        body_sha256: Digest::of(&body),
        body_bytes: body.len() as u64,
    };
    let record = Record {
        id,
        recorder: "recorder+key".into(),
        receipt_index: number,
        receipt,
        class: Some(epoch.class.clone()),
        phase: Phase::Archived,
        taken_in: start,
        files: vec![file.clone()],
    };
    for (object, bytes) in [
        (file.header_object(&id, start), header),
        (file.body_object(&id, start), body),
        (record.slip_object(), Slip::of(&record).to_bytes()),
    ] {
        place.put_new(&object, Content::Bytes(Bytes::from(bytes)), true).await.expect("put");
    }
    let details = details_of(&manifest);
    let key = ring.index_keys(&epoch).expect("keys").remove(0);
    let indexed = Some(Indexed { details: details.seal(&envelope, random), terms: key.terms(&details) });
    catalog.take_in(&[NewRecord { record, indexed }]).await.expect("taken in");
}

#[test]
fn a_catalog_that_is_lost_is_made_anew_and_finds_the_same() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let archive = runtime.block_on(Archive::filled());
    let all = ["+49301234567", "+48229876543", "+48221234567"];
    let check = |archive: &Archive| {
        assert_eq!(archive.found(&[]), all);
        assert_eq!(archive.found(&["--party", "+4822*"]), all[1..]);
        assert_eq!(archive.found(&["--party", "0048 22 987 65 43"]), [all[1]]);
        assert_eq!(archive.found(&["--party", "701", "--to", "2026-11-25", "--trunk", "orange"]), all[1..]);
        assert_eq!(archive.found(&["--limit", "1"]), [all[0]]);
        assert_eq!(archive.vault(&["search"], &["--party", "702"]).0, Some(1));
    };
    check(&archive);
    let (code, said) = archive.vault(&["search"], &["--limit", "1", "--party", "701"]);
    assert!(code == Some(0) && said.contains("+49301234567 → 701"), "{said}");
    let place = said.split_once("--after ").expect("a place to go on").1.trim().to_owned();
    assert_eq!(archive.found(&["--after", &place, "--party", "701"]), all[1..]);
    let last = archive.lines(&["--limit", "1", "--party", "701"]).pop().expect("a line");
    assert_eq!(last["next"], place);
    assert_eq!(archive.vault(&["search"], &["--party", "+48*"]).0, Some(2), "too short a beginning");

    let (code, said) = archive.vault(&["catalog", "rebuild"], &[]);
    assert!(code == Some(0) && said.contains("3 recordings") && said.contains("0 differences"), "{said}");
    // What is in the catalog says nothing of who spoke.
    for file in ["catalog.db", "catalog.new.db"] {
        let bytes = std::fs::read(archive.home.join(file)).expect("the catalog");
        for word in ["2212345", "1@pbx", "Orange"] {
            assert!(!bytes.windows(word.len()).any(|window| window == word.as_bytes()), "{word} in {file}");
        }
    }
    std::fs::remove_file(archive.home.join("catalog.db")).expect("removed");
    let (code, said) = archive.vault(&["catalog", "rebuild"], &["--replace"]);
    assert!(code == Some(0) && said.contains("3 recordings"), "{said}");
    check(&archive);
    let (code, said) = archive.vault(&["catalog", "rebuild"], &["--replace"]);
    assert!(code == Some(0) && said.contains("0 differences"), "{said}");
    check(&archive);
}

#[test]
fn what_does_not_open_is_said_in_json_where_that_is_asked_for() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let archive = runtime.block_on(Archive::filled());
    let id = RecordingId::from_bytes([2; 16]);
    runtime.block_on(async {
        let catalog = Catalog::open_file(&archive.home.join("catalog.db")).await.expect("the catalog");
        let changed = Indexed { details: vec![0; 99], terms: Vec::new() };
        catalog.set_details(&id, &changed).await.expect("changed");
        catalog.close().await;
    });
    let lines = archive.lines(&[]);
    let faulty: Vec<_> = lines.iter().filter(|line| line.get("fault").is_some()).collect();
    assert_eq!((lines.len(), faulty.len()), (3, 1), "{lines:?}");
    assert_eq!(faulty[0]["id"], id.to_string());
}
