//! A vault's keys from outside: the command line, `age` through its plugin, a leak.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use sejf::archive::access::{Action, Grant, Request};
use sejf::archive::custody::Custody;
use sejf::archive::details::Details;
use sejf::archive::entry::{Entry, Outcome, Resource};
use sejf::archive::envelope;
use sejf::archive::epoch::Epoch;
use sejf::archive::record::{ArchivedFile, Digest, Phase, Record, RecordingId};
use sejf::archive::search::{IndexKey, Indexed, Query};
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
use sejf::shell::vault::catalog::recordings::NewRecord;
use sejf::shell::vault::home::{NewVault, Vault};
use sejf::shell::vault::keyring::KeyRing;
use sejf::shell::vault::place::{Content, Place};

use crate::support::{assert_success, sejf, text};

/// A folder for a vault: in memory where there is one, for thousands of files are synced.
pub(crate) struct Bench {
    dir: tempfile::TempDir,
    recipients: Vec<String>,
}

const PEOPLE: [&str; 4] = ["ewa", "jan", "ola", "piotr"];

impl Bench {
    pub(crate) fn new() -> Self {
        let memory = Path::new("/dev/shm");
        let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        let dir = dir.expect("temporary folder");
        let mut random = Seeded::new(&[7; 32], "custodians", 0);
        let mut recipients = Vec::new();
        for name in PEOPLE {
            let (identity, recipient) = generate_x25519(&mut random);
            std::fs::write(dir.path().join(name), format!("{}\n", *identity)).expect("identity");
            recipients.push(recipient);
        }
        Self { dir, recipients }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.path("vault")
    }

    pub(crate) fn keys(&self, names: &[&str]) -> Vec<Identities> {
        let read = |name: &&str| std::fs::read_to_string(self.path(name)).expect("identity");
        names.iter().map(|name| Identities::parse(&read(name)).expect("an identity")).collect()
    }

    fn create(&self) -> Vault {
        let (store, key_places) = (self.path("store"), vec![self.path("keys-2")]);
        std::fs::create_dir(&store).expect("folder");
        let custodians = PEOPLE.iter().zip(&self.recipients).take(3);
        let custodians = custodians.map(|(name, key)| (name.parse().expect("a name"), key.clone())).collect();
        let custody = Custody { threshold: 2, custodians };
        let new = NewVault { name: "vault".into(), store, key_places, kind: KeyKind::X25519, custody };
        Vault::create(&self.home(), &new).expect("a vault")
    }

    /// `sejf vault …` with the keys of custodians.
    pub(crate) fn vault(&self, words: &[&str], who: &[&str]) -> Output {
        let home = self.home();
        let mut args = vec!["vault"];
        let split = if words[0] == "keys" { 2 } else { 1 };
        args.extend(&words[..split]);
        args.push(text(&home));
        args.extend(&words[split..]);
        let files: Vec<_> = who.iter().map(|name| self.path(name)).collect();
        files.iter().for_each(|file| args.extend(["-i", text(file)]));
        sejf(&args)
    }

    /// What the log says, and that it is whole.
    pub(crate) fn entries(&self, vault: &Vault) -> Vec<Entry> {
        let read = |path: &str| std::fs::read(vault.log.dir().join("receipts").join(path)).ok();
        let log = verify_log(&read, &vault.key).expect("a log that is whole");
        log.entries.iter().map(|entry| Entry::from_bytes(entry).expect("an entry")).collect()
    }
}

pub(crate) fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn a_vault_is_begun_unlocked_rotated_and_looked_at() {
    let bench = Bench::new();
    let home = bench.home();
    let custodians: Vec<_> =
        PEOPLE.iter().zip(&bench.recipients).map(|(name, key)| format!("{name}={key}")).collect();
    let (store, second) = (bench.path("store"), bench.path("keys-2"));
    let mut args = vec!["vault", "init", text(&home), "--threshold", "2", "--store", text(&store)];
    args.extend(["--key-place", text(&second)]);
    custodians[..3].iter().for_each(|custodian| args.extend(["--custodian", custodian]));
    let begun = sejf(&args);
    assert_success(&begun);
    assert!(!said(&begun).contains("Warning"), "{}", said(&begun));
    assert_eq!(sejf(&args).status.code(), Some(2), "a second time");

    let alone = bench.vault(&["unlock"], &["ewa"]);
    assert_eq!(alone.status.code(), Some(2));
    assert!(said(&alone).contains("1 of the 2 custodians that it takes: ewa"), "{}", said(&alone));
    assert_success(&bench.vault(&["unlock"], &["ewa", "jan"]));
    let epochs = bench.vault(&["keys", "epochs"], &[]);
    assert_eq!(said(&epochs).lines().count(), 3, "{}", said(&epochs));
    let recipients = bench.vault(&["keys", "recipients"], &[]);
    let table: toml::Table = said(&recipients).parse().expect("a table");
    let recipient = table["recipients"]["calls-5y"].as_str().expect("a recipient");
    assert!(Recipients::parse([recipient]).is_ok());

    let joins = ["keys", "rotate", "--remove", "jan", "--add", &custodians[3]];
    let rotated = bench.vault(&joins, &["ewa", "ola"]);
    assert_success(&rotated);
    assert_eq!(bench.vault(&["unlock"], &["ewa", "jan"]).status.code(), Some(2));
    assert_success(&bench.vault(&["unlock"], &["ewa", "piotr"]));
    assert_eq!(said(&bench.vault(&["keys", "recipients"], &[])), said(&recipients));
    let checked = bench.vault(&["keys", "check"], &["ola", "piotr"]);
    assert!(
        said(&checked).contains("3 epochs and 0 envelopes open; 0 files mended, 0 lost"),
        "{}",
        said(&checked)
    );

    let drilled = bench.vault(&["keys", "drill"], &["ola"]);
    assert!(said(&drilled).contains("ola: the share opens"));
    let nobody = bench.vault(&["keys", "drill"], &["jan"]);
    assert_eq!(nobody.status.code(), Some(2), "{}", said(&nobody));
    let status = bench.vault(&["status", "--json"], &[]);
    let status: serde_json::Value = serde_json::from_slice(&status.stdout).expect("JSON");
    assert_eq!((&status["root"]["generation"], &status["well"]), (&2.into(), &true.into()));

    let leaked = bench.vault(&["keys", "leak", "ewa"], &[]);
    assert!(said(&leaked).contains("1 of the 2 keys that it takes: they open nothing"), "{}", said(&leaked));
    let leaked = bench.vault(&["keys", "leak", "ewa", "ola"], &["ewa", "ola"]);
    assert!(said(&leaked).contains("open 0 recordings"), "{}", said(&leaked));

    let vault = Vault::open(&home).expect("the vault");
    let entries = bench.entries(&vault);
    let count = |action| entries.iter().filter(|entry| entry.action == action).count();
    // Each is granted, then done; without a key nobody is granted anything.
    assert_eq!((count(Action::Configure), count(Action::Rewrap), count(Action::Drill)), (2, 2, 3));
    assert!(entries.iter().any(|entry| matches!(entry.outcome, Outcome::Failed(_))));
    assert!(entries.iter().any(|entry| matches!(entry.outcome, Outcome::Refused(_))));
}

#[test]
fn who_has_not_shown_their_share_for_long_is_overdue() {
    let bench = Bench::new();
    let vault = bench.create();
    let scheme = vault.keys.scheme().expect("a scheme");
    let days = |days: u64| scheme.made.after(std::time::Duration::from_secs(days * 86_400));
    let overdue = |now: Stamp| {
        let drills = vault.drills(&scheme, now).expect("drills");
        drills
            .iter()
            .filter(|shown| shown.is_overdue)
            .map(|shown| shown.custodian.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(overdue(days(90)), [""; 0]);
    assert_eq!(overdue(days(91)), ["ewa", "jan", "ola"]);
    vault.drill(&bench.keys(&["jan"])).expect("a drill");
    let shown = vault.drills(&scheme, scheme.made).expect("drills")[1].at.expect("it was shown");
    assert_eq!(overdue(shown.after(std::time::Duration::from_secs(89 * 86_400))), [""; 0]);
    // 91 days after the shares were made, jan has shown it since.
    assert!(shown > scheme.made);
    // What cannot be written down keeps nobody out.
    let written = bench.home().join("drills.json");
    std::fs::remove_file(&written).expect("removed");
    std::fs::create_dir(&written).expect("folder");
    assert!(vault.unlock(&bench.keys(&["ewa", "jan"])).is_ok());
    assert!(vault.drill(&bench.keys(&["ewa"])).is_err());
}

/// Recordings in two places and the catalog, as intake leaves them.
pub(crate) struct Archive {
    pub(crate) vault: Vault,
    pub(crate) ring: KeyRing,
    pub(crate) epoch: Epoch,
    pub(crate) places: Vec<Arc<dyn Place>>,
    pub(crate) records: Vec<Record>,
}

impl Archive {
    pub(crate) fn new(bench: &Bench, count: u32) -> Self {
        let vault = bench.create();
        std::fs::create_dir(bench.path("store-2")).expect("folder");
        let mut config = std::fs::read_to_string(bench.home().join("vault.toml")).expect("configuration");
        let second = bench.path("store-2");
        config += &format!(
            "\n[[place]]\nname = \"second\"\nsite = \"there\"\nkind = \"directory\"\npath = {second:?}\n"
        );
        std::fs::write(bench.home().join("vault.toml"), config).expect("configuration");
        drop(vault);
        let vault = Vault::open(&bench.home()).expect("the vault");
        let ring = vault.unlock(&bench.keys(&["ewa", "ola"])).expect("unlocked");
        let start = Stamp::from_unix_nanos(1_795_468_121_220_582_001);
        let epoch = Epoch::of("calls-5y".parse().expect("a class"), start);
        let places = vault.places().expect("places");
        let ids: Vec<_> = (0..count).map(|number| id(number, start)).collect();
        let envelopes = ring.envelopes_for(&epoch, &ids).expect("envelopes");
        let keys = ring.epoch(&epoch).expect("an epoch");
        let to = Recipients::parse([&keys.recipient]).expect("a recipient");
        let mut random = Seeded::new(&[9; 32], "recordings", 0);
        let mut records = Vec::new();
        block_on(async {
            for (number, envelope) in (0..).zip(&envelopes) {
                let sealed = seal_whole(&sound(number), &to, &mut random).expect("sealed");
                let before = Header::read(&mut &sealed[..]).expect("a header").to_bytes().len();
                let header =
                    envelope.rewrap(&mut &sealed[..], &keys.identities, &mut random).expect("a header");
                let record = record(number, envelope.id(), start, &header, &sealed[before..]);
                for place in &places {
                    let (file, id) = (&record.files[0], &record.id);
                    let put = |bytes: &[u8]| Content::Bytes(bytes.to_vec().into());
                    place.put_new(&file.header_object(id, start), put(&header), true).await.expect("put");
                    place
                        .put_new(&file.body_object(id, start), put(&sealed[before..]), true)
                        .await
                        .expect("put");
                }
                records.push(record);
            }
            let catalog = vault.catalog().await.expect("the catalog");
            let mut new = Vec::new();
            for (record, envelope) in records.iter().zip(&envelopes) {
                let details = details(record.receipt_index);
                let (details, terms) =
                    (details.seal(envelope, &mut random), IndexKey::new(&keys.index_key).terms(&details));
                let indexed = Some(Indexed { details, terms });
                new.push(NewRecord { record: record.clone(), indexed });
            }
            catalog.take_in(&new).await.expect("taken in");
            catalog.close().await;
        });
        Self { vault, ring, epoch, places, records }
    }

    /// Whom a search by the caller finds; all details that are looked at must open.
    pub(crate) fn find(&self, ring: &KeyRing, number: u64) -> Vec<RecordingId> {
        let query =
            Query { parties: vec![details(number).caller.parse().expect("a number")], ..Query::default() };
        let page = block_on(async {
            let catalog = self.vault.catalog().await.expect("the catalog");
            let page =
                catalog.search(&self.ask(Action::Search), &query, ring, None, 9).await.expect("searched");
            catalog.close().await;
            page
        });
        assert!(page.unreadable.is_empty(), "{:?}", page.unreadable);
        page.hits.iter().map(|hit| hit.record.id).collect()
    }

    /// A grant of something with the whole vault, or with the epoch where it is a re-wrap.
    pub(crate) fn ask(&self, action: Action) -> Grant {
        let actor = self.vault.actor(&["ewa".parse().expect("a name")]);
        let resource = if action == Action::Rewrap { Resource::epoch(&self.epoch) } else { Resource::Vault };
        let request = Request { actor: &actor, action, resource, reason: None, now: vault_now() };
        self.vault.log.ask(&request).expect("granted")
    }

    /// Opens a recording as it is in a place.
    pub(crate) fn open(&self, place: &Arc<dyn Place>, record: &Record, keys: &Identities) -> Option<Vec<u8>> {
        let (file, id, start) = (&record.files[0], &record.id, record.receipt.start);
        let get = |object: String| block_on(place.get(&object, None)).expect("read").expect("it is there");
        let whole = [get(file.header_object(id, start)), get(file.body_object(id, start))].concat();
        let opened = Opener::open(&whole[..], keys).and_then(|mut opener| opener.read_whole());
        opened.ok().map(|plain| plain.to_vec())
    }
}

pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(future)
}

pub(crate) fn id(number: u32, start: Stamp) -> RecordingId {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&(start.as_unix_millis() << 16).to_be_bytes());
    bytes[12..].copy_from_slice(&number.to_be_bytes());
    RecordingId::from_bytes(bytes)
}

pub(crate) fn sound(number: u32) -> Vec<u8> {
    format!("what was said in call {number}").into_bytes()
}

pub(crate) fn details(number: u64) -> Details {
    Details { caller: format!("+48 22 {number:07}"), trunk: "orange".into(), ..Details::default() }
}

fn record(number: u32, id: RecordingId, start: Stamp, header: &[u8], body: &[u8]) -> Record {
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
        receipt_index: number.into(),
        receipt,
        class: Some("calls-5y".parse().expect("a class")),
        phase: Phase::Archived,
        taken_in: start,
        files: vec![file],
    }
}

fn vault_now() -> Stamp {
    sejf::shell::clock::now()
}

/// The command that everybody has opens what is archived, through the vault and its log.
#[test]
fn age_opens_an_archived_file_through_the_vault() {
    if Command::new("age").arg("--version").output().is_err() {
        println!("skipped: no `age` command here");
        return;
    }
    let bench = Bench::new();
    let archive = Archive::new(&bench, 3);
    let record = &archive.records[1];
    let (file, start) = (&record.files[0], record.receipt.start);
    let read = |object: String| std::fs::read(bench.path("store").join(object)).expect("an object");
    let whole =
        [read(file.header_object(&record.id, start)), read(file.body_object(&record.id, start))].concat();
    assert_eq!(envelope::recording_of(&Header::read(&mut &whole[..]).expect("a header")), Some(record.id));
    std::fs::write(bench.path("call.opus.age"), whole).expect("file");
    std::fs::create_dir(bench.path("bin")).expect("folder");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_sejf"), bench.path("bin/age-plugin-sejf")).expect("link");
    let identity = bench.vault(&["keys", "identity"], &[]);
    assert_success(&identity);
    std::fs::write(bench.path("identity"), &identity.stdout).expect("file");
    let age = |who: &[&str], reason: Option<&str>| {
        let mut command = Command::new("age");
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path =
            std::env::join_paths(std::iter::once(bench.path("bin")).chain(std::env::split_paths(&path)));
        command.env("PATH", path.expect("a path"));
        let files: Vec<_> = who.iter().map(|name| bench.path(name)).collect();
        command.env("SEJF_IDENTITY", std::env::join_paths(files).expect("paths"));
        command.env_remove("SEJF_REASON").envs(reason.map(|reason| ("SEJF_REASON", reason)));
        command.args(["-d", "-i", text(&bench.path("identity")), text(&bench.path("call.opus.age"))]);
        command.output().expect("age runs")
    };
    let opened = age(&["ewa", "jan"], Some("complaint T-17"));
    assert_success(&opened);
    assert_eq!(opened.stdout, sound(1));
    // Too few custodians; a reason that is none.
    for refused in [age(&["ewa"], Some("complaint T-17")), age(&["ewa", "jan"], Some("curiosity"))] {
        assert!(!refused.status.success() && refused.stdout.is_empty(), "{}", said(&refused));
    }
    let opens: Vec<_> =
        bench.entries(&archive.vault).into_iter().filter(|entry| entry.action == Action::Open).collect();
    assert_eq!(opens.len(), 2);
    assert_eq!(opens[0].outcome, Outcome::Granted);
    assert_eq!(opens[0].resource, Resource::Recording(record.id));
    assert_eq!(opens[0].reason.as_ref().map(|reason| &*reason.text), Some("T-17"));
    assert!(matches!(opens[1].outcome, Outcome::Done(_)));
    // Once destroyed, not even so.
    let actor = archive.vault.actor_of(&archive.ring);
    let reason = Some(archive.vault.reason("retention", "").expect("a reason"));
    let (action, resource, now) = (Action::Destroy, Resource::Recording(record.id), vault_now());
    let request = Request { actor: &actor, action, resource, reason, now };
    let grant = archive.vault.log.ask(&request).expect("granted");
    assert_eq!(archive.ring.destroy_envelopes(&grant, &archive.epoch, &[record.id]).expect("destroyed"), 1);
    let gone = age(&["ewa", "jan"], Some("complaint T-17"));
    assert!(!gone.status.success() && gone.stdout.is_empty(), "{}", said(&gone));
    assert!(said(&gone).contains("no envelope"), "{}", said(&gone));
}

/// A custodian whose key is in hardware: SoftHSM stands for it.
#[test]
fn a_custodians_key_may_be_in_hardware() {
    let modules = ["/usr/lib/softhsm/libsofthsm2.so", "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so"];
    let named = std::env::var("SEJF_SOFTHSM").ok();
    let module = named.iter().map(String::as_str).chain(modules).find(|path| Path::new(path).exists());
    let util = std::env::var("SEJF_SOFTHSM_UTIL").unwrap_or_else(|_| "softhsm2-util".into());
    let has_util = Command::new(&util).arg("--version").output().is_ok();
    let Some(module) = module.filter(|_| has_util) else {
        println!("skipped: no SoftHSM here (Debian: softhsm2)");
        return;
    };
    let bench = Bench::new();
    let (config, tokens) = (bench.path("softhsm.conf"), bench.path("tokens"));
    std::fs::create_dir(&tokens).expect("folder");
    std::fs::write(&config, format!("directories.tokendir = {}\n", tokens.display())).expect("configuration");
    let init = ["--init-token", "--free", "--label", "ewa token", "--so-pin", "12345678", "--pin", "4321"];
    let mut made = Command::new(&util);
    made.args(init).arg("--module").arg(module).env("SOFTHSM2_CONF", &config);
    assert_success(&made.output().expect("softhsm2-util runs"));
    std::fs::write(bench.path("pin"), "4321\n").expect("a PIN");
    let uri = format!(
        "pkcs11:token=ewa%20token;object=sejf?module-path={module}&pin-source={}",
        bench.path("pin").display()
    );
    let run = |args: &[&str]| {
        let program = env!("CARGO_BIN_EXE_sejf");
        Command::new(program).args(args).env("SOFTHSM2_CONF", &config).output().expect("the program runs")
    };
    assert_eq!(run(&["vault", "keys", "hsm", &uri]).status.code(), Some(2), "no key yet");
    let made = run(&["vault", "keys", "hsm", "--make", &uri]);
    assert_success(&made);
    assert_eq!(run(&["vault", "keys", "hsm", "--make", &uri]).status.code(), Some(2), "a second time");
    let identity = said(&run(&["vault", "keys", "hsm", &uri]));
    assert_eq!(identity, said(&made));
    let recipient =
        identity.lines().next().and_then(|line| line.strip_prefix("# recipient: ")).expect("a recipient");
    assert!(recipient.starts_with("age1tag1"));
    std::fs::write(bench.path("ewa.hsm"), &identity).expect("file");

    let (home, jan) = (bench.home(), format!("jan={}", bench.recipients[1]));
    let ewa = format!("ewa={recipient}");
    let custodians = ["--custodian", &ewa, "--custodian", &jan, "--threshold", "2"];
    assert_success(&run(&[&["vault", "init", text(&home)], &custodians[..]].concat()));
    let unlock = |who: &[&str]| {
        let files: Vec<_> = who.iter().map(|name| bench.path(name)).collect();
        let mut args = vec!["vault", "unlock", text(&home)];
        files.iter().for_each(|file| args.extend(["-i", text(file)]));
        run(&args)
    };
    assert_success(&unlock(&["ewa.hsm", "jan"]));
    assert_eq!(unlock(&["jan"]).status.code(), Some(2));
    std::fs::write(bench.path("pin"), "1111\n").expect("a PIN");
    let wrong = unlock(&["ewa.hsm", "jan"]);
    assert!(wrong.status.code() == Some(2) && said(&wrong).contains("logging in"), "{}", said(&wrong));
}
