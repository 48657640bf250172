//! Destruction in a whole vault: nothing that survives opens what was destroyed, wherever a run was stopped and
//! whatever older state comes back.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use sejf::archive::access::Reason;
use sejf::archive::certificate::Certificate;
use sejf::archive::clock::{ClockDoubt, ClockTrust};
use sejf::archive::custody::{CustodianName, Custody};
use sejf::archive::entry::Entry;
use sejf::archive::envelope::Group;
use sejf::archive::epoch::Epoch;
use sejf::archive::matter::{self, Matter, Said};
use sejf::archive::media::Medium;
use sejf::archive::record::{ArchivedFile, Digest, Phase, Record, RecordingId};
use sejf::archive::request::What;
use sejf::archive::scope::Scope;
use sejf::archive::search::{Indexed, Term};
use sejf::base::counters::Counters;
use sejf::base::time::Stamp;
use sejf::seal::header::Header;
use sejf::seal::identity::{Identities, generate_x25519};
use sejf::seal::log_verify::verify_log;
use sejf::seal::open::Opener;
use sejf::seal::random::Seeded;
use sejf::seal::receipt::{Receipt, ReceiptFile, ReceiptState, SCHEMA};
use sejf::seal::recipient::Recipients;
use sejf::seal::stream::seal_whole;
use sejf::shell::keys::KeyKind;
use sejf::shell::vault::catalog::media::Move;
use sejf::shell::vault::catalog::recordings::NewRecord;
use sejf::shell::vault::destroy::{CERTIFICATES, Destroyer, Done, Step};
use sejf::shell::vault::home::{NewVault, Vault};
use sejf::shell::vault::intake::Intake;
use sejf::shell::vault::keyring::{EpochKeys, KeyRing};
use sejf::shell::vault::matters::{MattersError, Speaker, tombstones};
use sejf::shell::vault::place::{Content, Place};

use crate::support::{assert_success, sejf, text};

mod edges;
mod stubborn;
mod versions;

const PEOPLE: [&str; 3] = ["ewa", "jan", "ola"];
/// 15 January 2020, noon: its five years are over.
const OLD: u64 = 1_579_089_600;
/// 15 March 2020.
const LATER: u64 = 1_584_273_600;
/// 15 November 2026.
const NEW: u64 = 1_794_744_000;
/// Is in details of every recording, as nothing else is.
const NEEDLE: &[u8] = b"sealed details of a recording, which must not outlive it";

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(future)
}

/// A vault with recordings in two places: begun so many seconds after 1970, each a few seconds after the last.
struct Bench {
    dir: tempfile::TempDir,
    records: Vec<Record>,
    /// Files that each has; the first is sound, of the others there is nothing but their names.
    files: usize,
}

impl Bench {
    fn new(starts: &[(u64, u64)]) -> Self {
        Self::with_files(starts, 1)
    }

    fn with_files(starts: &[(u64, u64)], files: usize) -> Self {
        let memory = Path::new("/dev/shm");
        let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        let mut bench = Self { dir: dir.expect("temporary folder"), records: Vec::new(), files };
        bench.begin();
        let (vault, ring) = bench.unlock();
        for (number, start) in
            starts.iter().flat_map(|(start, count)| (0..*count).map(move |n| start + n)).enumerate()
        {
            let record =
                bench.archive(&vault, &ring, number as u64, Stamp::from_unix_nanos(start * 1_000_000_000));
            bench.records.push(record);
        }
        let new = bench.records.iter().map(|record| {
            let details = [NEEDLE, record.id.as_bytes()].concat();
            let indexed = Indexed { details, terms: vec![Term(record.receipt_index as i64)] };
            NewRecord { record: record.clone(), indexed: Some(indexed) }
        });
        let new: Vec<_> = new.collect();
        block_on(async {
            let catalog = vault.catalog().await.expect("the catalog");
            catalog.take_in(&new).await.expect("taken in");
            catalog.close().await;
        });
        bench
    }

    fn begin(&self) {
        let mut random = Seeded::new(&[7; 32], "custodians", 0);
        let mut custodians = Vec::new();
        for name in PEOPLE {
            let (identity, recipient) = generate_x25519(&mut random);
            std::fs::write(self.path(name), format!("{}\n", *identity)).expect("identity");
            custodians.push((name.parse().expect("a name"), recipient));
        }
        let (store, second) = (self.path("store"), self.path("store-2"));
        for folder in [&store, &second] {
            std::fs::create_dir(folder).expect("folder");
        }
        let custody = Custody { threshold: 2, custodians };
        let key_places = vec![self.path("keys-2")];
        let new = NewVault { name: "vault".into(), store, key_places, kind: KeyKind::X25519, custody };
        drop(Vault::create(&self.home(), &new).expect("a vault"));
        let path = self.home().join("vault.toml");
        let mut config = std::fs::read_to_string(&path).expect("configuration");
        config += &format!(
            "\n[[place]]\nname = \"second\"\nsite = \"there\"\nkind = \"directory\"\npath = {second:?}\n"
        );
        std::fs::write(path, config).expect("configuration");
    }

    /// Puts a recording into both places, as intake does. What came stays in `incoming`, where nobody has removed it.
    fn archive(&self, vault: &Vault, ring: &KeyRing, number: u64, start: Stamp) -> Record {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&(start.as_unix_millis() << 16).to_be_bytes());
        id[8..].copy_from_slice(&number.to_be_bytes());
        let id = RecordingId::from_bytes(id);
        let epoch = Epoch::of("calls-5y".parse().expect("a class"), start);
        let keys = ring.epoch(&epoch).expect("an epoch");
        let envelope = ring.envelopes_for(&epoch, &[id]).expect("envelopes").remove(0);
        let to = Recipients::parse([&keys.recipient]).expect("a recipient");
        let mut random = Seeded::new(&[9; 32], "recordings", number);
        let sealed = seal_whole(&sound(&id), &to, &mut random).expect("sealed");
        let before = Header::read(&mut &sealed[..]).expect("a header").to_bytes().len();
        let header = envelope.rewrap(&mut &sealed[..], &keys.identities, &mut random).expect("a header");
        let mut record = record(number, id, start, &header, &sealed[before..]);
        for more in 1..self.files {
            let (name, file) = (format!("{id}.{more}.pcapng.age"), record.files[0].clone());
            record.receipt.files.push(ReceiptFile { name: name.clone(), bytes: 1, sha256: [4; 32] });
            record.files.push(ArchivedFile { name, ..file });
        }
        // Wherever intake writes, while it does and when it is done.
        let name = &record.files[0].name;
        for path in [
            format!("staged/{name}"),
            format!("staged/.{name}.new"),
            format!("recorders/0123456789abcdef0123456789abcdef/{name}"),
            format!("recorders/0123456789abcdef0123456789abcdef/.{name}.part"),
        ] {
            let path = vault.incoming().join(path);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("incoming");
            std::fs::write(path, &sealed).expect("incoming");
        }
        for place in vault.places().expect("places") {
            let put = |bytes: &[u8]| Content::Bytes(bytes.to_vec().into());
            let file = &record.files[0];
            block_on(async {
                place.put_new(&file.header_object(&id, start), put(&header), true).await.expect("put");
                place
                    .put_new(&file.body_object(&id, start), put(&sealed[before..]), true)
                    .await
                    .expect("put");
            });
        }
        record
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn home(&self) -> PathBuf {
        self.path("vault")
    }

    fn unlock(&self) -> (Vault, KeyRing) {
        let vault = Vault::open(&self.home()).expect("the vault");
        let ring = vault.unlock(&self.identities()).expect("unlocked");
        (vault, ring)
    }

    fn identities(&self) -> Vec<Identities> {
        let read = |name: &&str| std::fs::read_to_string(self.path(name)).expect("identity");
        PEOPLE[..2].iter().map(|name| Identities::parse(&read(name)).expect("an identity")).collect()
    }

    /// `sejf destroy run HOME …`
    fn sejf(&self, words: &[&str], who: &[&str]) -> Output {
        let (home, files) = (self.home(), who.iter().map(|name| self.path(name)).collect::<Vec<_>>());
        let mut args = words[..2].to_vec();
        args.push(text(&home));
        args.extend(&words[2..]);
        files.iter().for_each(|file| args.extend(["-i", text(file)]));
        sejf(&args)
    }

    /// Asks for the destruction of what is due of these, and has it agreed to.
    fn agree(&self, vault: &Vault, scope: &Scope) -> u64 {
        block_on(async {
            let catalog = vault.catalog().await.expect("the catalog");
            let ewa = speaker(vault, "ewa");
            let number = ewa.ask_destruction(vault, &catalog, scope, What::Due, None).await.expect("asked");
            speaker(vault, "jan").approve(vault, &catalog, number).await.expect("agreed");
            catalog.close().await;
            number
        })
    }

    /// Runs a destruction that goes on as `go_on` says.
    fn destroy(
        &self,
        vault: &Vault,
        ring: &KeyRing,
        go_on: &(dyn Fn(Step) -> bool + Sync),
    ) -> Result<Done, MattersError> {
        let places = vault.places().expect("places");
        destroy(vault, ring, &places, ClockTrust::Trusted, go_on)
    }

    /// Every identity that is left anywhere: of custodians, epochs, and all envelopes in all key places.
    fn surviving_keys(&self, vault: &Vault, ring: &KeyRing) -> Keys {
        let mut keys = Keys::default();
        for name in PEOPLE {
            let text = std::fs::read_to_string(self.path(name)).expect("identity");
            keys.others.push(Identities::parse(&text).expect("an identity"));
        }
        for state in vault.keys.epochs().expect("epochs") {
            if state.recipient.is_some() {
                keys.epochs.push(ring.epoch(&state.epoch).expect("an epoch"));
            }
        }
        let places = [self.home().join("keys"), self.path("keys-2")];
        for path in places.iter().flat_map(|place| files(&place.join("envelopes"))) {
            let bytes = std::fs::read(&path).expect("a group");
            let open = |keys: &Identities| {
                Opener::open(&bytes[..], keys).and_then(|mut opener| opener.read_whole()).ok()
            };
            let plain = keys.epochs.iter().find_map(|epoch| open(&epoch.identities));
            let group = Group::from_bytes(&plain.expect("a key for it")).expect("a group");
            keys.others.extend(group.ids().map(|id| group.get(&id).expect("an envelope").identities()));
        }
        keys
    }

    /// Which recordings open, with any key that is left, of the copies in a folder.
    fn open_in(&self, folder: &Path, keys: &Keys) -> BTreeSet<RecordingId> {
        let opens = |record: &&Record| {
            let (file, id, start) = (&record.files[0], &record.id, record.receipt.start);
            let read = |object: String| std::fs::read(folder.join(object)).ok();
            let parts = (read(file.header_object(id, start)), read(file.body_object(id, start)));
            let (Some(header), Some(body)) = parts else { return false };
            let whole = [header, body].concat();
            keys.iter().any(|keys| {
                let opened = Opener::open(&whole[..], keys).and_then(|mut opener| opener.read_whole());
                opened.is_ok_and(|plain| plain[..] == sound(id)[..])
            })
        };
        self.records.iter().filter(opens).map(|record| record.id).collect()
    }

    /// Has a medium in the register, with some of the recordings.
    fn register_medium(&self, vault: &Vault, id: &str, range: Range<usize>) {
        let records = &self.records[range];
        let at = Stamp::from_unix_nanos(NEW * 1_000_000_000);
        let medium = Medium {
            schema: 1,
            id: id.into(),
            label: "safe 3".into(),
            vault: vault.key.to_string(),
            written: at,
            recordings: records.iter().map(|record| record.id).collect(),
        };
        let written = Move {
            at,
            what: "written".into(),
            who: "local:root".into(),
            seal: String::new(),
            place: "bank, box 7".into(),
            reason: "audit".into(),
            entry: 1,
        };
        block_on(async {
            let catalog = vault.catalog().await.expect("the catalog");
            catalog.add_medium(&medium, records, &written).await.expect("registered");
            catalog.close().await;
        });
    }

    fn ids(&self, range: Range<usize>) -> BTreeSet<RecordingId> {
        self.records[range].iter().map(|record| record.id).collect()
    }

    fn phases(&self, vault: &Vault) -> BTreeMap<RecordingId, Phase> {
        block_on(async {
            let catalog = vault.catalog().await.expect("the catalog");
            let ids: Vec<_> = self.records.iter().map(|record| record.id).collect();
            let all = catalog.get_all(&ids).await.expect("records");
            catalog.close().await;
            all.into_iter().map(|record| (record.id, record.phase)).collect()
        })
    }

    fn destroyed(&self, vault: &Vault) -> BTreeSet<RecordingId> {
        let phases = self.phases(vault).into_iter();
        phases.filter(|(_, phase)| *phase == Phase::Destroyed).map(|(id, _)| id).collect()
    }

    /// Certificates in the log, with the number of their entries; of each the files say the same.
    fn certificates(&self, vault: &Vault) -> Vec<(u64, Certificate)> {
        let read = |path: &str| std::fs::read(vault.log.dir().join("receipts").join(path)).ok();
        let log = verify_log(&read, &vault.key).expect("a log that is whole");
        let mut all = Vec::new();
        for (index, bytes) in (0..).zip(&log.entries) {
            let entry = Entry::from_bytes(bytes).expect("an entry");
            let said = matter::read(index, &entry).expect("understood");
            let Some(Said::Done(Matter::Destroyed(certificate))) = said else { continue };
            let file = |kind: &str| {
                let path = self.home().join(CERTIFICATES).join(format!("{index:08}.{kind}"));
                std::fs::read_to_string(path).expect("a certificate")
            };
            let note = file("note");
            let signed = vault.key.open_text(&note).expect("a signature");
            assert_eq!(Certificate::from_text(signed).as_ref(), Some(&certificate));
            assert!(file("html").contains("Cryptographic Erase (CE)"));
            all.push((index, certificate));
        }
        all
    }
}

#[derive(Default)]
struct Keys {
    others: Vec<Identities>,
    epochs: Vec<Arc<EpochKeys>>,
}

impl Keys {
    fn iter(&self) -> impl Iterator<Item = &Identities> {
        self.others.iter().chain(self.epochs.iter().map(|epoch| &epoch.identities))
    }
}

fn sound(id: &RecordingId) -> Vec<u8> {
    format!("what was said in {id}").into_bytes()
}

fn speaker(vault: &Vault, name: &str) -> Speaker {
    let custodian: CustodianName = name.parse().expect("a name");
    let reason = Reason { code: "retention".into(), text: "T-17".into() };
    Speaker::here(vault, vec![custodian], Some(reason))
}

fn scope(ids: &BTreeSet<RecordingId>) -> Scope {
    Scope { recordings: ids.clone(), ..Scope::default() }
}

fn destroy(
    vault: &Vault,
    ring: &KeyRing,
    places: &[Arc<dyn Place>],
    trust: ClockTrust,
    go_on: &(dyn Fn(Step) -> bool + Sync),
) -> Result<Done, MattersError> {
    let speaker = speaker(vault, "ewa");
    block_on(async {
        let catalog = vault.catalog().await.expect("the catalog");
        let (actor, now) = (&speaker.actor, speaker.now);
        let catalog = &catalog;
        let destroyer = Destroyer { vault, ring, catalog, places, actor, now, trust, go_on };
        let done = destroyer.run().await;
        catalog.close().await;
        done
    })
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.expect("an entry").path();
        // The mark of a place is no object.
        let is_hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if path.is_dir() {
            all.extend(files(&path));
        } else if !is_hidden {
            all.push(path);
        }
    }
    all
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("folder");
    for entry in std::fs::read_dir(from).expect("folder") {
        let entry = entry.expect("an entry");
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).expect("copied");
        }
    }
}

fn contains(bytes: &[u8], needle: &[u8]) -> bool {
    bytes.windows(needle.len()).any(|window| window == needle)
}

fn record(number: u64, id: RecordingId, start: Stamp, header: &[u8], body: &[u8]) -> Record {
    let name = format!("{id}.opus.age");
    let bytes = (header.len() + body.len()) as u64;
    let receipt = Receipt {
        schema: SCHEMA,
        id: id.to_string(),
        state: ReceiptState::Complete,
        start,
        end: start.after(std::time::Duration::from_secs(60)),
        files: vec![ReceiptFile { name: name.clone(), bytes, sha256: [3; 32] }],
        rule: "all@1".into(),
        counters: Counters::default(),
        recorder: "recorder".into(),
        version: "0.1.0".into(),
    };
    let file = ArchivedFile {
        name,
        header_sha256: Digest::of(header),
        header_bytes: header.len() as u64,
        body_sha256: Digest::of(body),
        body_bytes: body.len() as u64,
    };
    Record {
        id,
        recorder: "recorder".into(),
        receipt_index: number,
        receipt,
        class: Some("calls-5y".parse().expect("a class")),
        phase: Phase::Archived,
        taken_in: start,
        files: vec![file],
    }
}

/// The whole way, from the command line: held, let go, asked, agreed, destroyed; then older states come back.
#[test]
fn what_was_destroyed_opens_with_no_key_from_no_copy() {
    // A whole month, half of another, and one whose time is not over.
    let bench = Bench::new(&[(OLD, 5), (LATER, 6), (NEW, 3)]);
    let (media, database) = (bench.path("media"), bench.path("database"));
    copy(&bench.path("store"), &media);
    copy(&bench.home(), &database);
    let (vault, ring) = bench.unlock();
    let all = bench.ids(0..14);
    let before = bench.surviving_keys(&vault, &ring);
    assert_eq!(bench.open_in(&media, &before), all, "nothing is shown by what never opened");
    drop((vault, ring, before));

    let held: Vec<_> = bench.records[6..8].iter().map(|record| record.id.to_string()).collect();
    let hold = ["hold", "add", "K.17/26", "--recording", &held[0], "--recording", &held[1]];
    assert_eq!(bench.sejf(&hold, &[]).status.code(), Some(2), "without a reason");
    assert_success(&bench.sejf(&[&hold[..], &["--reason", "court-order"]].concat(), &[]));
    let ask = ["destroy", "ask", "--class", "calls-5y", "--to", "2020-02-01", "--reason", "retention"];
    assert_success(&bench.sejf(&ask, &["ewa"]));
    let list = bench.path("list");
    std::fs::write(&list, bench.ids(5..9).iter().map(|id| format!("{id}\n")).collect::<String>())
        .expect("list");
    let ids = ["destroy", "ask", "--recordings-file", text(&list), "--reason", "retention", "--note", "T-17"];
    assert_success(&bench.sejf(&ids, &["ewa"]));
    let requests = bench.sejf(&["destroy", "list", "--json"], &[]);
    let numbers: Vec<String> =
        crate::support::lines(&requests.stdout).iter().map(|request| request["number"].to_string()).collect();
    let nothing = bench.sejf(&["destroy", "run"], &["ewa", "jan"]);
    assert_success(&nothing);
    assert!(said(&nothing).contains("0 recordings and the keys of 0 epochs"), "{}", said(&nothing));
    for number in &numbers {
        let approve = ["destroy", "approve", "--request", number];
        let own = bench.sejf(&[&approve[..], &["--reason", "retention"]].concat(), &["ewa"]);
        assert!(said(&own).contains("another person has to agree"), "{}", said(&own));
        assert_success(&bench.sejf(&[&approve[..], &["--reason", "retention"]].concat(), &["jan"]));
    }
    let plan = bench.sejf(&["destroy", "plan"], &[]);
    for line in
        ["7  to be destroyed", "2  kept: hold K.17/26", "3  kept: must be kept", "2  kept: due, and nobody"]
    {
        assert!(said(&plan).contains(line), "{line}: {}", said(&plan));
    }
    let run = bench.sejf(&["destroy", "run"], &["ewa", "jan"]);
    assert_success(&run);
    // The epoch goes with its last recording, where a request for its whole class says so.
    assert!(said(&run).contains("7 recordings and the keys of 1 epochs are destroyed."), "{}", said(&run));
    let release = ["hold", "release", "K.17/26", "--reason", "court-order"];
    assert_eq!(bench.sejf(&release, &[]).status.code(), Some(2), "without a key");
    assert_success(&bench.sejf(&release, &["ola"]));
    assert!(
        said(&bench.sejf(&["destroy", "run"], &["ewa", "ola"])).contains("2 recordings"),
        "held no longer"
    );

    let (vault, ring) = bench.unlock();
    let kept: BTreeSet<_> = bench.ids(9..14);
    let gone: BTreeSet<_> = bench.ids(0..9);
    let keys = bench.surviving_keys(&vault, &ring);
    for copy in ["store", "store-2", "media"] {
        assert_eq!(bench.open_in(&bench.path(copy), &keys), kept, "{copy}");
    }
    assert_eq!(bench.destroyed(&vault), gone);
    assert_eq!(
        tombstones(&vault).expect("tombstones").iter().map(|(id, _)| *id).collect::<BTreeSet<_>>(),
        gone
    );
    // Nor is anything left of them: objects, files as they came, details in the database.
    let names =
        |folder: &Path| files(folder).iter().map(|path| path.display().to_string()).collect::<String>();
    let left = ["store", "store-2", "vault/incoming"].map(|folder| names(&bench.path(folder))).concat();
    let databases: Vec<u8> = files(&bench.home())
        .iter()
        .filter(|path| path.display().to_string().contains("catalog.db"))
        .flat_map(|path| std::fs::read(path).expect("the catalog"))
        .collect();
    for record in &bench.records {
        let is_kept = kept.contains(&record.id);
        assert_eq!(left.contains(&record.id.to_string()), is_kept);
        assert_eq!(contains(&databases, &[NEEDLE, record.id.as_bytes()].concat()), is_kept);
    }
    let certified: Vec<_> =
        bench.certificates(&vault).into_iter().flat_map(|(_, one)| one.recordings().to_vec()).collect();
    assert_eq!(certified.len(), gone.len(), "each once");
    drop((vault, ring, keys));
    what_comes_back_goes_again(&bench, &database, &gone, &kept);
}

fn what_comes_back_goes_again(
    bench: &Bench,
    database: &Path,
    gone: &BTreeSet<RecordingId>,
    kept: &BTreeSet<RecordingId>,
) {
    // An older database, as a backup has it.
    for name in ["catalog.db", "catalog.db-wal", "catalog.db-shm"] {
        let (from, to) = (database.join(name), bench.home().join(name));
        let _ = std::fs::remove_file(&to);
        if from.exists() {
            std::fs::copy(from, to).expect("copied");
        }
    }
    assert!(
        bench.phases(&Vault::open(&bench.home()).expect("the vault")).values().all(|p| *p == Phase::Archived)
    );
    // Whoever takes recordings in knows at once what must not come back.
    block_on(async {
        let vault = Arc::new(Vault::open(&bench.home()).expect("the vault"));
        let intake = Intake::open(vault).await.expect("an intake");
        let mut buried = BTreeSet::new();
        for (epoch, _) in intake.catalog().epochs_with_tombstones().await.expect("epochs") {
            buried.extend(intake.catalog().tombstones(&epoch).await.expect("tombstones"));
        }
        assert_eq!(&buried, gone);
        intake.catalog().close().await;
    });
    let unlocked = bench.sejf(&["vault", "unlock"], &["ewa", "jan"]);
    assert!(
        said(&unlocked).contains(&format!("{} had been destroyed before", gone.len())),
        "{}",
        said(&unlocked)
    );
    assert_eq!(&bench.destroyed(&Vault::open(&bench.home()).expect("the vault")), gone);

    // Older keys in all places: worse than any single loss.
    for place in ["vault/keys", "keys-2"] {
        std::fs::remove_dir_all(bench.path(place)).expect("removed");
        copy(&database.join("keys"), &bench.path(place));
    }
    let vault = Vault::open(&bench.home()).expect("the vault");
    let ring = vault.keys.unlock(&bench.identities()).expect("the keys, as files alone");
    let keys = bench.surviving_keys(&vault, &ring);
    assert_eq!(bench.open_in(&bench.path("media"), &keys).len(), 14, "or nothing is shown");
    drop((vault, ring, keys));
    // Unlocking is enough, with a catalog or without one.
    for is_catalog_there in [true, false] {
        for place in ["vault/keys", "keys-2"] {
            std::fs::remove_dir_all(bench.path(place)).expect("removed");
            copy(&database.join("keys"), &bench.path(place));
        }
        let (catalog, aside) = (bench.home().join("catalog.db"), bench.path("catalog-aside.db"));
        if !is_catalog_there {
            std::fs::rename(&catalog, &aside).expect("renamed");
        }
        let (vault, ring) = bench.unlock();
        // The epoch of January as one, and those of March.
        assert_eq!(ring.came_back(), 1 + 4, "with a catalog: {is_catalog_there}");
        let keys = bench.surviving_keys(&vault, &ring);
        assert_eq!(&bench.open_in(&bench.path("media"), &keys), kept, "with a catalog: {is_catalog_there}");
        if !is_catalog_there {
            std::fs::rename(&aside, &catalog).expect("renamed");
        }
        assert_eq!(bench.unlock().1.came_back(), 0);
    }
    let (vault, _) = bench.unlock();
    let certified = bench.certificates(&vault).iter().map(|(_, one)| one.recordings().len()).sum::<usize>();
    assert_eq!(certified, gone.len(), "not certified twice");
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Stopped after any step and begun again: destroyed once, certified once, and nothing else is touched.
#[test]
fn stopped_at_any_step_it_is_finished_once() {
    let mut steps = 0;
    for stop in 0.. {
        let bench = Bench::new(&[(OLD, 3), (LATER, 2)]);
        let (vault, ring) = bench.unlock();
        let whole = Scope {
            class: Some("calls-5y".parse().expect("a class")),
            to: Some(Stamp::from_unix_nanos(1_580_515_200_000_000_000)),
            ..Scope::default()
        };
        bench.agree(&vault, &whole);
        bench.register_medium(&vault, "M-3", 0..4);
        bench.register_medium(&vault, "M-4", 3..5);
        let count = AtomicUsize::new(0);
        let go_on = |_| count.fetch_add(1, Ordering::Relaxed) != stop;
        let done = bench.destroy(&vault, &ring, &go_on);
        let was_stopped = matches!(done, Err(MattersError::Stopped));
        drop((vault, ring));
        let (vault, ring) = bench.unlock();
        if was_stopped {
            let done = bench.destroy(&vault, &ring, &|_| true).expect("destroyed");
            assert_eq!(done.spared, 0, "after step {stop}");
        } else {
            assert_eq!(done.expect("destroyed"), Done { recordings: 3, epochs: 1, ..Done::default() });
        }
        let keys = bench.surviving_keys(&vault, &ring);
        assert_eq!(bench.destroyed(&vault), bench.ids(0..3), "after step {stop}");
        assert_eq!(bench.open_in(&bench.path("store"), &keys), bench.ids(3..5), "after step {stop}");
        let certificates = bench.certificates(&vault);
        let ids: Vec<_> =
            certificates.iter().flat_map(|(_, one)| one.recordings()).map(|one| one.id).collect();
        assert_eq!(ids.len(), 3, "certified once, after step {stop}");
        assert_eq!(certificates.len(), 2, "one for the recordings, one for the epoch, after step {stop}");
        assert_eq!(certificates[0].1.authority.asked_by, "ewa");
        let media = "M-3 (safe 3), at bank, box 7: 3 recordings, sealed; nobody can open them";
        assert!(certificates.iter().all(|(_, one)| one.media == [media]), "{certificates:?}");
        if !was_stopped {
            break;
        }
        steps += 1;
    }
    // Six of the recordings, four of the epoch.
    assert_eq!(steps, 10);
}

/// A hold that comes before the grant is in the log keeps; one that comes after comes too late, and what was begun is
/// finished.
#[test]
fn a_hold_in_between_keeps_what_is_not_granted_yet() {
    let bench = Bench::new(&[(OLD, 4)]);
    let (vault, ring) = bench.unlock();
    let (first, second) = (bench.ids(0..2), bench.ids(2..4));
    bench.agree(&vault, &scope(&first));
    bench.agree(&vault, &scope(&second));
    let hold = |name: &str, ids: &BTreeSet<RecordingId>| {
        let (name, scope) = (name.parse().expect("a name"), scope(ids));
        std::thread::scope(|threads| {
            let lay = || {
                let vault = Vault::open(&bench.home()).expect("the vault");
                block_on(async {
                    let catalog = vault.catalog().await.expect("the catalog");
                    speaker(&vault, "ola").hold(&vault, &catalog, &name, &scope).await.expect("held");
                    catalog.close().await;
                });
            };
            threads.spawn(lay).join().expect("held");
        });
    };
    let laid = AtomicBool::new(false);
    let go_on = |step| {
        if step == Step::Written && !laid.swap(true, Ordering::Relaxed) {
            hold("K.1", &second);
        }
        true
    };
    let done = bench.destroy(&vault, &ring, &go_on).expect("destroyed");
    assert_eq!((done.recordings, done.spared), (2, 2));
    assert_eq!(bench.destroyed(&vault), first);
    assert_eq!(bench.destroy(&vault, &ring, &|_| true).expect("destroyed"), Done::default());

    let release = || {
        block_on(async {
            let catalog = vault.catalog().await.expect("the catalog");
            let name = "K.1".parse().expect("a name");
            speaker(&vault, "ola").release(&vault, &catalog, &name).await.expect("let go");
            catalog.close().await;
        });
    };
    release();
    let stopped = bench.destroy(&vault, &ring, &|step| step != Step::Granted);
    assert!(matches!(stopped, Err(MattersError::Stopped)));
    hold("K.2", &second);
    // Granted and not begun: it is decided about anew.
    assert_eq!(bench.destroy(&vault, &ring, &|_| true).expect("destroyed"), Done::default());
    let name = "K.2".parse().expect("a name");
    block_on(async {
        let catalog = vault.catalog().await.expect("the catalog");
        speaker(&vault, "ola").release(&vault, &catalog, &name).await.expect("let go");
        catalog.close().await;
    });
    let stopped = bench.destroy(&vault, &ring, &|step| step != Step::Erased);
    assert!(matches!(stopped, Err(MattersError::Stopped)));
    hold("K.3", &second);
    let done = bench.destroy(&vault, &ring, &|_| true).expect("destroyed");
    assert_eq!(done, Done { recordings: 2, finished: 2, ..Done::default() });
    assert_eq!(bench.destroyed(&vault), bench.ids(0..4));
}

#[test]
fn a_clock_in_doubt_destroys_nothing() {
    let bench = Bench::new(&[(OLD, 2)]);
    let (vault, ring) = bench.unlock();
    bench.agree(&vault, &scope(&bench.ids(0..2)));
    let at = Stamp::from_unix_nanos(1);
    let doubt = ClockTrust::Doubted(ClockDoubt::BeforeLog { now: at, newest: at });
    let places = vault.places().expect("places");
    let refused = destroy(&vault, &ring, &places, doubt, &|_| true);
    assert!(matches!(refused, Err(MattersError::Clock(_))));
    assert!(bench.destroyed(&vault).is_empty());
    // An entry from the future, as a clock that was wrong has left it; then the clock is put right.
    let ahead = Speaker { now: Stamp::from_unix_nanos(4_000_000_000_000_000_000), ..speaker(&vault, "ewa") };
    block_on(async {
        let catalog = vault.catalog().await.expect("the catalog");
        let name = "K.17".parse().expect("a name");
        ahead.hold(&vault, &catalog, &name, &scope(&bench.ids(0..1))).await.expect("held");
        catalog.close().await;
    });
    let run = bench.sejf(&["destroy", "run"], &["ewa", "jan"]);
    assert_eq!(run.status.code(), Some(2));
    assert!(said(&run).contains("the clock is not to be trusted"), "{}", said(&run));
    assert_eq!(bench.sejf(&["destroy", "clock"], &["ewa"]).status.code(), Some(2), "it takes two");
    assert_success(&bench.sejf(&["destroy", "clock"], &["ewa", "jan"]));
    assert!(said(&bench.sejf(&["destroy", "run"], &["ewa", "jan"])).contains("1 recordings"));
    assert_eq!(bench.destroyed(&vault), bench.ids(1..2));
}
