//! A disk that fails at any of its operations leaves whole recordings or none, and says what to do.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use sejf::fixture::generate;
use sejf::fixture::recipe::{CallRecipe, Recipe};
use sejf::recording::manifest::{Manifest, RecorderFacts};
use sejf::recording::recorder::{self, Content, Keep};
use sejf::seal::identity::{Identities, generate_x25519};
use sejf::seal::random::{Randomness, Seeded};
use sejf::seal::recipient::Recipients;
use sejf::shell::disk::{Disk, RealDisk};
use sejf::shell::identity;
use sejf::shell::receipts::ReceiptLog;
use sejf::shell::replay::{self, Observer, Progress};
use sejf::shell::signals::Stop;
use sejf::shell::verify::{self, Fault, Report};

/// Every operation of a run fails once, in every way; runs mostly wait, so several go on at once.
#[test]
fn any_operation_may_fail() {
    let capture = tempfile::NamedTempFile::new().expect("file");
    let kind = CallRecipe { talk: Duration::from_millis(400), ..CallRecipe::default() };
    let recipe =
        Recipe { calls: 3, spacing: Duration::from_millis(700), kinds: vec![kind], ..Recipe::default() };
    std::fs::write(capture.path(), generate(&recipe).expect("a sound recipe").capture).expect("capture");
    let next = AtomicUsize::new(0);
    let passed = AtomicUsize::new(usize::MAX);
    let checked = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let (place, kind) = (number / KINDS.len(), KINDS[number % KINDS.len()]);
                    if place >= passed.load(Ordering::Relaxed) {
                        return;
                    }
                    if fail_at(capture.path(), place, kind) {
                        checked.fetch_add(1, Ordering::Relaxed);
                    } else {
                        passed.fetch_min(place, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let checked = checked.into_inner();
    assert!((60..3_000).contains(&checked), "{checked} failures");
}

/// Runs once with operation number `place` failing. Returns false where the run had no such operation.
fn fail_at(capture: &Path, place: usize, kind: ErrorKind) -> bool {
    let dir = tempfile::tempdir().expect("folder");
    let to = dir.path().join("out");
    let what = format!("operation {place} with {kind:?}");
    let faults = Faults { left: Arc::new(AtomicUsize::new(place)), kind };
    let outcome = run(capture, &to, 1, Some(&faults));
    let fired = faults.left.load(Ordering::Relaxed) > place;
    if !fired {
        assert_eq!(outcome.err(), None, "{what} never came");
        return false;
    }
    match &outcome {
        // A narrower tile that stays does no harm.
        Ok(()) => {}
        Err(said) => assert_says(said, &to, kind, &what),
    }
    assert_whole(&to, outcome.is_err(), &what);
    // The folder is good for another run, and what that one records is all right.
    if kind == KINDS[0] {
        assert_eq!(run(capture, &to, 2, None).err(), None, "again after {what}");
        assert_whole(&to, outcome.is_err(), &format!("again after {what}"));
    }
    true
}

fn assert_says(said: &str, to: &Path, kind: ErrorKind, what: &str) {
    assert!(!said.contains('\n'), "{what}: {said}");
    assert!(said.contains(to.to_str().expect("UTF-8")), "{what}: names no path: {said}");
    let remedy = match kind {
        ErrorKind::StorageFull => "free some space",
        ErrorKind::PermissionDenied => "that you may write to",
        _ => "",
    };
    assert!(said.contains(remedy), "{what}: says no remedy: {said}");
}

/// Every receipt's files are whole; what has no receipt is told by `verify`; nothing is half done.
fn assert_whole(to: &Path, failed: bool, what: &str) {
    if !to.exists() {
        return;
    }
    let report = verify_with_key(to);
    for fault in &report.faults {
        let expected = match fault {
            // Named, and the receipt could not be written.
            Fault::Added { name } => failed && (name.ends_with(".age") || name.starts_with("receipts/")),
            Fault::NoReceipts | Fault::PublicKey | Fault::Log { .. } => {
                failed && !to.join("receipts/checkpoint").exists()
            }
            _ => false,
        };
        assert!(expected, "{what}: {fault}");
    }
    let names: Vec<PathBuf> =
        std::fs::read_dir(to).expect("folder").map(|entry| entry.expect("entry").path()).collect();
    let left = names.iter().find(|name| name.extension().is_some_and(|end| end == "part"));
    assert!(left.is_none(), "{what}: {left:?} is left");
    let told = |name: &Path| {
        let name = name.file_name().and_then(|name| name.to_str()).expect("UTF-8");
        report.faults.iter().any(|fault| fault.to_string().contains(name))
    };
    let sealed = names.iter().filter(|name| name.extension().is_some_and(|end| end == "age"));
    let unreceipted = sealed.clone().filter(|name| told(name)).count() as u64;
    assert_eq!(report.files + unreceipted, sealed.count() as u64, "{what}: a file that nobody tells of");
}

fn verify_with_key(to: &Path) -> Report {
    let (identity, _) = pair();
    let identities = Identities::parse(&identity).expect("an identity");
    let asked = verify::Asked { identities: Some(&identities), ..verify::Asked::default() };
    verify::directory(to, &asked).expect("the folder can be read")
}

/// Replays with a fixed key.
pub(crate) fn run(capture: &Path, to: &Path, seed: u8, faults: Option<&Faults>) -> Result<(), String> {
    let signer = identity::from_seed(&[1; 32]);
    let recorder = RecorderFacts { id: signer.name().into(), version: "test".into() };
    let log = ReceiptLog::open(to, signer).map_err(|error| error.to_string())?;
    let (_, recipient) = pair();
    let faults = faults.cloned();
    let config = replay::Config {
        filter: None,
        journal: None,
        pace: None,
        captures: vec![capture.into()],
        to: to.into(),
        recording: recorder::Config {
            keep: Keep::All,
            priority: 0,
            folder: "",
            content: Content::Wav,
            recipients: Recipients::parse([recipient]).expect("a recipient"),
            recorder,
            labels: ["default".into(), "default@1".into(), "standard".into()],
            mask_digits: false,
            pause: None,
        },
        orphans: false,
        shards: 1,
        entropy: Arc::new(move |ordinal| {
            Box::new(Seeded::new(&[seed; 32], "recording", ordinal)) as Box<dyn Randomness + Send>
        }),
        log,
        stop: Stop::default(),
        disk: Box::new(move || match &faults {
            Some(faults) => Box::new(FaultyDisk { disk: RealDisk::new(true), faults: faults.clone() }),
            None => Box::new(RealDisk::new(true)),
        }),
    };
    replay::replay(config, &mut Silent).map(drop).map_err(|error| error.to_string())
}

fn pair() -> (String, String) {
    let (identity, recipient) = generate_x25519(&mut Seeded::new(&[7; 32], "test", 0));
    (identity.to_string(), recipient)
}

struct Silent;

impl Observer for Silent {
    fn recorded(&mut self, _: &Manifest) {}

    fn progress(&mut self, _: &Progress) {}
}

/// Which operation fails, over all disks of a run.
#[derive(Clone)]
pub(crate) struct Faults {
    /// Operations before the one that fails; wraps when it has failed.
    left: Arc<AtomicUsize>,
    kind: ErrorKind,
}

impl Faults {
    fn pass(&self) -> io::Result<()> {
        let left = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
            // Once: a disk that comes back must not confuse anybody either.
            if left > usize::MAX / 2 { None } else { Some(left.wrapping_sub(1)) }
        });
        if left == Ok(0) { Err(self.kind.into()) } else { Ok(()) }
    }
}

struct FaultyDisk {
    disk: RealDisk,
    faults: Faults,
}

impl Disk for FaultyDisk {
    fn create(&mut self, path: &Path) -> io::Result<()> {
        self.faults.pass()?;
        self.disk.create(path)
    }

    fn append(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let passed = self.faults.pass();
        // A full disk takes a part.
        let bytes = if passed.is_ok() { bytes } else { &bytes[..bytes.len() / 2] };
        self.disk.append(path, bytes)?;
        passed
    }

    fn close(&mut self, path: &Path) -> io::Result<()> {
        self.faults.pass()?;
        self.disk.close(path)
    }

    fn create_dir(&mut self, path: &Path) -> io::Result<()> {
        self.faults.pass()?;
        self.disk.create_dir(path)
    }

    fn sync(&mut self, dir: &Path) -> io::Result<()> {
        self.faults.pass()?;
        self.disk.sync(dir)
    }

    fn rename_new(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        self.faults.pass()?;
        self.disk.rename_new(from, to)
    }

    fn replace(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.faults.pass()?;
        self.disk.replace(path, bytes)
    }

    fn remove(&mut self, path: &Path) -> io::Result<()> {
        // Removing is what a run does about a failure; that it may fail too is its own test's affair.
        self.disk.remove(path)
    }

    fn read(&mut self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        self.faults.pass()?;
        self.disk.read(path)
    }
}

const KINDS: [ErrorKind; 3] = [ErrorKind::StorageFull, ErrorKind::PermissionDenied, ErrorKind::Other];
const WORKERS: usize = 8;
