//! The journal under a disk that forgets: what was not synced when the power failed is gone, in whole or in
//! part, and any operation may fail before. What had been synced comes back, and nothing that is wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use sejf::base::format::Format;
use sejf::fixture::generate;
use sejf::fixture::recipe::{CallRecipe, Recipe};
use sejf::recording::journal::{Entry, Id, entries};
use sejf::recording::manifest::{Manifest, RecorderFacts, State};
use sejf::recording::recorder::{self, Content};
use sejf::seal::batch::{BatchOpener, BatchSealer};
use sejf::seal::identity::{Identities, generate_x25519};
use sejf::seal::random::{Randomness, Seeded};
use sejf::seal::recipient::Recipients;
use sejf::seal::segment::{FrameKind, Frames};
use sejf::shell::disk::{Disk, RealDisk};
use sejf::shell::entropy::OsRandom;
use sejf::shell::journal::{self, Folder, JournalDisk, Kept, RealJournalDisk};
use sejf::shell::pace::Pace;
use sejf::shell::receipts::ReceiptLog;
use sejf::shell::replay::{self, Observer, Progress};
use sejf::shell::salvage::{self, Asked};
use sejf::shell::{identity, library, recovery, verify};

/// Power fails at some operation, and before that one operation of the journal may have failed too.
#[test]
fn what_was_synced_comes_back_after_a_power_cut() {
    let scene = Scene::new();
    let rounds = if std::env::var_os("SEJF_LONG_TESTS").is_some() { 600 } else { 24 };
    let (next, held) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                loop {
                    let round = next.fetch_add(1, Ordering::Relaxed);
                    if round >= rounds {
                        return;
                    }
                    // Later and later, over the whole run and beyond its end.
                    let cut_at = 5 + round * OPERATIONS / rounds;
                    let fail_at = (round % 3 != 0).then_some(round * 7 % (cut_at + 1));
                    held.fetch_add(scene.cut(cut_at, fail_at), Ordering::Relaxed);
                }
            });
        }
    });
    assert!(held.into_inner() > 0, "no run had anything in its journal that could have been lost");
}

/// Power fails when files have just been given their names, and some of the names come through: whole recordings,
/// or interrupted ones, and no half of either.
#[test]
fn names_that_came_through_in_part_make_whole_recordings() {
    let scene = Scene::new();
    // In turn a content and a manifest: of one recording, and of the next where two are named at once.
    for kept in [0b0001, 0b0010, 0b0110, 0b1001] {
        let what = format!("names {kept:04b}");
        let dir = tempfile::tempdir().expect("folder");
        let (to, out) = (dir.path().join("out"), dir.path().join("salvaged"));
        let world = World::new(usize::MAX, None);
        world.lock().names_kept = Some(kept);
        scene.record(&to, &world).expect_err("the power failed");
        let names = std::mem::take(&mut world.lock().pending);
        // How many of its two files each has a name for.
        let mut named: BTreeMap<Id, usize> = BTreeMap::new();
        for operation in &names {
            let Pending::Rename(_, to) = operation else { panic!("{what}: only names were kept") };
            let name = to.file_name().and_then(|name| name.to_str()).expect("UTF-8");
            *named.entry(uuid_of(name.split('.').next().expect("an id"))).or_default() += 1;
        }
        let whole: BTreeSet<Id> = named.keys().copied().collect();
        let half =
            named.into_iter().filter(|(_, files)| *files == 1).map(|(id, _)| id).collect::<BTreeSet<_>>();
        assert!(!whole.is_empty(), "{what}");
        names.into_iter().for_each(Pending::apply);

        // A key holder who comes before the next start finds them as well.
        let salvaged = |to: &Path, out: &Path| {
            let recipients = Recipients::parse([&scene.recipient]).expect("a recipient");
            let asked = Asked {
                dir: to,
                to: out,
                identities: &scene.identities,
                journal: None,
                recipients: &recipients,
            };
            let made = salvage::salvage(&asked, &mut Seeded::new(&[3; 32], "salvage", 0)).expect("salvaged");
            assert!(made.faults.is_empty(), "{what}: {:?}", made.faults);
            scene.manifests(out)
        };
        let before = salvaged(&to, &dir.path().join("before"));
        scene.recover_again_and_again(&to, &what);
        let report = scene.verify(&to);
        assert!(report.faults.is_empty(), "{what}: {:?}", report.faults);
        let there = scene.manifests(&to);
        let ids = |manifests: &[(PathBuf, Manifest)]| -> BTreeSet<Id> {
            manifests.iter().map(|(_, manifest)| uuid_of(&manifest.id)).collect()
        };
        assert_eq!(ids(&there), whole, "{what}");
        let after = salvaged(&to, &out);
        assert!(ids(&after).is_disjoint(&whole), "{what}");
        let is_whole = |(_, manifest): &&(PathBuf, Manifest)| whole.contains(&uuid_of(&manifest.id));
        for (folder, manifest) in there.iter().chain(before.iter().filter(is_whole)) {
            assert_eq!(manifest.state, State::Complete, "{what}");
            let plain = scene.open(&folder.join(&manifest.files[0].name));
            assert!(plain == scene.truth[&manifest.start.as_unix_millis()], "{what}: {}", manifest.id);
        }
        assert!(half.is_subset(&ids(&before)), "{what}: half of a name hides a recording");
    }
}

/// Every operation of the journal fails once, one after the other: recording goes on, and all is kept.
#[test]
fn any_operation_of_the_journal_may_fail() {
    let scene = Scene::new();
    let next = AtomicUsize::new(0);
    let fired = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    // The first ones all; then every seventh, because rounds are alike.
                    let place = if number < 20 { number } else { 20 + (number - 20) * 7 };
                    if place > 90 {
                        return;
                    }
                    let world = World::new(usize::MAX, Some(place));
                    let dir = tempfile::tempdir().expect("folder");
                    let to = dir.path().join("out");
                    let manifests =
                        scene.record(&to, &world).expect("a journal that fails ends no recording");
                    assert_eq!(manifests.len() as u64, CALLS, "operation {place}");
                    fired.fetch_add(usize::from(world.lock().failed), Ordering::Relaxed);
                    let report = scene.verify(&to);
                    assert!(report.faults.is_empty(), "operation {place}: {:?}", report.faults);
                }
            });
        }
    });
    assert!(fired.into_inner() > 10, "the operations never came");
}

/// No room for a single segment: recording goes on, and the journal says what it cannot do.
#[test]
fn a_full_disk_leaves_recording_alone() {
    let scene = Scene::new();
    let world = World::new(usize::MAX, None);
    world.lock().full = true;
    let dir = tempfile::tempdir().expect("folder");
    let manifests = scene.record(dir.path(), &world).expect("recording goes on");
    assert_eq!(manifests.len() as u64, CALLS);
    let status = world.lock().status.clone();
    assert!(status.is_degraded() && status.failures.load(Ordering::Relaxed) > 0);
    assert_eq!(status.rounds.load(Ordering::Relaxed), 0);
    assert!(scene.verify(dir.path()).faults.is_empty());
}

/// Every sync fails, and so every segment dies: they do not fill the disk.
#[test]
fn a_broken_disk_is_not_filled_with_dead_segments() {
    let scene = Scene::new();
    let world = World::new(usize::MAX, None);
    world.lock().broken = true;
    let dir = tempfile::tempdir().expect("folder");
    let manifests = scene.record(dir.path(), &world).expect("recording goes on");
    assert_eq!(manifests.len() as u64, CALLS);
    let World { status, segments, .. } = &*world.lock();
    assert!(status.is_degraded());
    assert_eq!(status.batches.load(Ordering::Relaxed), 0);
    assert!((2..=4 * journal::SEGMENTS_MIN).contains(segments), "{segments} segments were made");
    assert!(scene.verify(dir.path()).faults.is_empty());
}

/// A disk on which each sync takes as long as many hand-overs: they come late, and nobody waits for them.
#[test]
fn a_slow_disk_makes_late_rounds_and_nothing_else() {
    let scene = Scene::new();
    let world = World::new(usize::MAX, None);
    let stall = Duration::from_millis(600);
    world.lock().stall = Some(stall);
    let dir = tempfile::tempdir().expect("folder");
    let manifests = scene.record(dir.path(), &world).expect("recording goes on");
    assert_eq!(manifests.len() as u64, CALLS);
    let status = world.lock().status.clone();
    assert!(status.sync_us_max.load(Ordering::Relaxed) >= stall.as_micros() as u64);
    assert_eq!(status.failures.load(Ordering::Relaxed), 0);
    assert!(scene.verify(dir.path()).faults.is_empty());
}

struct Scene {
    capture: tempfile::NamedTempFile,
    identities: Identities,
    recipient: String,
    /// Plain bytes of each call's file, by start time, from a run that nothing happened to.
    truth: BTreeMap<u64, Vec<u8>>,
}

impl Scene {
    fn new() -> Self {
        let (identity, recipient) = generate_x25519(&mut Seeded::new(&[7; 32], "test", 0));
        let capture = tempfile::NamedTempFile::new().expect("file");
        let quick = CallRecipe { talk: Duration::from_secs(60), ..CallRecipe::default() };
        // One that fills its chunk so slowly that segments are let go meanwhile.
        let slow = CallRecipe { format: Format::new("G729", 8_000), ptime_ms: 100, ..quick.clone() };
        let kinds = vec![quick.clone(), slow, quick.clone(), quick];
        let recipe = Recipe { calls: CALLS, spacing: Duration::from_secs(4), kinds, ..Recipe::default() };
        std::fs::write(capture.path(), generate(&recipe).expect("a sound recipe").capture).expect("capture");
        let identities = Identities::parse(&identity).expect("an identity");
        let mut scene = Self { capture, identities, recipient, truth: BTreeMap::new() };
        let dir = tempfile::tempdir().expect("folder");
        let manifests = scene.record(dir.path(), &World::new(usize::MAX, None)).expect("all is well");
        for manifest in manifests {
            let plain = scene.open(&dir.path().join(&manifest.files[0].name));
            scene.truth.insert(manifest.start.as_unix_millis(), plain);
        }
        assert_eq!(scene.truth.len() as u64, CALLS);
        scene
    }

    /// Records until the power fails, starts again, salvages. Returns how many recordings were held against what
    /// the journal had on the disk.
    fn cut(&self, cut_at: usize, fail_at: Option<usize>) -> usize {
        let what = format!("cut at {cut_at}, failure at {fail_at:?}");
        let dir = tempfile::tempdir().expect("folder");
        let to = dir.path().join("out");
        let world = World::new(cut_at, fail_at);
        // Storage says that it failed, because the power did.
        let _ = self.record(&to, &world);
        world.lock().leave_some(cut_at);

        self.recover_again_and_again(&to, &what);
        let report = self.verify(&to);
        assert!(report.faults.is_empty(), "{what}: {:?}", report.faults);

        let out = dir.path().join("salvaged");
        let recipients = Recipients::parse([&self.recipient]).expect("a recipient");
        let asked = Asked {
            dir: &to,
            to: &out,
            identities: &self.identities,
            journal: None,
            recipients: &recipients,
        };
        let made = salvage::salvage(&asked, &mut Seeded::new(&[3; 32], "salvage", cut_at as u64));
        let made = made.unwrap_or_else(|error| panic!("{what}: {error}"));
        // Of a call that came faster than the journal could take it there are holes, and the journal says so.
        let skipped = world.lock().status.skipped_bytes.load(Ordering::Relaxed) > 0;
        for fault in &made.faults {
            let hole = matches!(fault, salvage::Fault::Hole { .. });
            assert!(hole && skipped, "{what}: {fault}");
        }
        let mut lengths = BTreeMap::new();
        for (folder, manifest) in [&to, &out].into_iter().flat_map(|folder| self.manifests(folder)) {
            let length = manifest.files.first().map_or(0, |file| {
                let plain = self.open(&folder.join(&file.name));
                let truth = &self.truth[&manifest.start.as_unix_millis()];
                assert!(truth.starts_with(&plain), "{what}: {} is not what was recorded", manifest.id);
                plain.len() as u64
            });
            let id = uuid_of(&manifest.id);
            assert_eq!(lengths.insert(id, length), None, "{what}: {} is there twice", manifest.id);
        }
        let synced = self.synced(&world);
        for (id, length) in &synced {
            let found = lengths.get(id).copied().unwrap_or(0);
            assert!(
                found + BLOCK_BYTES >= *length,
                "{what}: {length} bytes were on the disk and {found} came back"
            );
        }
        synced.len()
    }

    /// Starts up with a disk that fails at the first operation, at the second, and so on until all is done.
    fn recover_again_and_again(&self, to: &Path, what: &str) {
        for fail_at in 0..200 {
            let signer = identity::from_seed(&[1; 32]);
            let recorder = RecorderFacts { id: signer.name().into(), version: "test".into() };
            let mut log = ReceiptLog::open(to, signer).expect("receipts as they were signed");
            let folder = Folder::take(&to.join("journal"), to).expect("nobody else is there");
            let leftovers = recovery::scan(to, &folder, &log).expect("a folder");
            if leftovers.is_empty() {
                return;
            }
            let mut disk = PowerDisk(World::new(usize::MAX, Some(fail_at)), RealJournalDisk::default());
            let recovered = leftovers.recover(&mut disk, &recorder, &mut OsRandom::new().expect("random"));
            // Dying before the receipts is one more way to die.
            if fail_at % 2 == 0 && !recovered.receipts.is_empty() && fail_at < 6 {
                continue;
            }
            for receipt in &recovered.receipts {
                for file in &receipt.files {
                    let bytes = std::fs::metadata(to.join(&file.name)).expect("I1: a receipt's file").len();
                    assert_eq!(bytes, file.bytes, "{what}");
                }
                log.append_receipt(receipt).expect("appended");
            }
            log.commit(&mut RealDisk::new(true)).expect("committed");
        }
        panic!("{what}: start-up is never done");
    }

    /// Plain length of each file that has any, up to the first byte that is in no batch that a sync had answered
    /// for.
    fn synced(&self, world: &Arc<Mutex<World>>) -> BTreeMap<Id, u64> {
        let mut pieces: BTreeMap<Id, Vec<(u64, u64)>> = BTreeMap::new();
        for segment in world.lock().acknowledged.values() {
            let mut frames = Frames::new(&segment[..]);
            let mut opener = None;
            while let Some((head, payload)) = frames.next_frame().expect("memory") {
                if head.kind == FrameKind::Header {
                    opener = Some(BatchOpener::open(payload, &self.identities).expect("our key"));
                    continue;
                }
                let batch = opener.as_ref().expect("a header first").batch(payload).expect("a whole batch");
                for entry in entries(&batch).expect("a batch") {
                    if let Entry::Bytes { id, offset, bytes, .. } = entry.expect("an entry") {
                        pieces.entry(id).or_default().push((offset, offset + bytes.len() as u64));
                    }
                }
            }
        }
        let lengths = pieces.into_iter().map(|(id, mut pieces)| {
            pieces.sort_unstable();
            let joined = |end: u64, (from, to): (u64, u64)| if from <= end { end.max(to) } else { end };
            (id, pieces.into_iter().fold(0, joined))
        });
        lengths.filter(|(_, length)| *length > 0).collect()
    }

    fn record(&self, to: &Path, world: &Arc<Mutex<World>>) -> Result<Vec<Manifest>, String> {
        let signer = identity::from_seed(&[1; 32]);
        let recorder = RecorderFacts { id: signer.name().into(), version: "test".into() };
        let log = ReceiptLog::open(to, signer).map_err(|error| error.to_string())?;
        let folder = Folder::take(&to.join("journal"), to).map_err(|error| error.to_string())?;
        let leftovers = recovery::scan(to, &folder, &log).map_err(|error| error.to_string())?;
        let recipients = || Recipients::parse([&self.recipient]).expect("a recipient");
        let for_journal = recipients();
        let (journal_world, store_world) = (world.clone(), world.clone());
        let config = journal::Config {
            recordings: to.into(),
            segment_bytes: journal::SEGMENT_BYTES_MIN,
            segments: journal::SEGMENTS_MIN,
            hand_over: Duration::from_millis(10),
            key: Box::new(move |random| BatchSealer::start(&for_journal, random)),
            random: Box::new(|| Box::new(OsRandom::new().expect("random bytes"))),
            status: world.lock().status.clone(),
            disk: Box::new(move || Box::new(PowerDisk(journal_world.clone(), RealJournalDisk::default()))),
        };
        let config = replay::Config {
            stop: sejf::shell::signals::Stop::default(),
            filter: None,
            captures: vec![self.capture.path().into()],
            to: to.into(),
            recording: recorder::Config {
                keep: recorder::Keep::All,
                mask_digits: false,
                pause: None,
                priority: 0,
                folder: "",
                content: Content::Packets,
                recipients: recipients(),
                recorder,
                labels: ["default".into(), "default@1".into(), "standard".into()],
            },
            orphans: false,
            shards: 2,
            entropy: Arc::new(|_| Box::new(OsRandom::new().expect("random")) as Box<dyn Randomness + Send>),
            log,
            disk: Box::new(move || Box::new(PowerDisk(store_world.clone(), RealDisk::new(true)))),
            journal: Some(Kept { config, folder, leftovers }),
            pace: Some(World::pace(world)),
        };
        let mut kept = Keep(Vec::new());
        replay::replay(config, &mut kept).map_err(|error| error.to_string())?;
        Ok(kept.0)
    }

    fn verify(&self, to: &Path) -> verify::Report {
        let asked = verify::Asked { identities: Some(&self.identities), ..verify::Asked::default() };
        let mut report = verify::directory(to, &asked).expect("the folder can be read");
        // A cut before the first receipt leaves nothing to be found wanting.
        if !to.join("receipts/checkpoint").exists() {
            report
                .faults
                .retain(|fault| !matches!(fault, verify::Fault::NoReceipts | verify::Fault::PublicKey));
        }
        report
    }

    fn manifests(&self, folder: &Path) -> Vec<(PathBuf, Manifest)> {
        let (manifests, faults) = library::Library::open(folder)
            .and_then(|library| library.manifests(&self.identities))
            .expect("folder");
        assert!(faults.is_empty(), "{faults:?}");
        manifests.into_iter().map(|manifest| (folder.into(), manifest)).collect()
    }

    fn open(&self, path: &Path) -> Vec<u8> {
        let mut plain = Vec::new();
        let mut reader = library::open(path, &self.identities).expect("opens");
        io::Read::read_to_end(&mut reader, &mut plain).expect("opens to its end");
        plain
    }
}

fn uuid_of(id: &str) -> Id {
    let digits: String = id.chars().filter(|digit| *digit != '-').collect();
    u128::from_str_radix(&digits, 16).expect("a UUID").to_be_bytes()
}

struct Keep(Vec<Manifest>);

impl Observer for Keep {
    fn recorded(&mut self, manifest: &Manifest) {
        self.0.push(manifest.clone());
    }

    fn progress(&mut self, _: &Progress) {}
}

/// What all disks of a run have in common: what is still in memory, and when the power fails.
struct World {
    /// Operations until the power fails.
    left: usize,
    /// Operations of the journal until one fails.
    until_failure: Option<usize>,
    failed: bool,
    dead: bool,
    /// Room for no segment.
    full: bool,
    /// No sync of a segment comes to a good end.
    broken: bool,
    /// Segments made.
    segments: usize,
    /// How long each sync of a segment takes.
    stall: Option<Duration>,
    /// The power fails when files have been given names, and these of each four come through, by bit.
    names_kept: Option<u8>,
    /// In order.
    pending: Vec<Pending>,
    /// What of each segment a sync has answered for, frame after frame.
    acknowledged: BTreeMap<[u8; 16], Vec<u8>>,
    /// The segment of each path, by its last frame.
    segment_of: BTreeMap<PathBuf, [u8; 16]>,
    /// What the journal says of itself.
    status: Arc<journal::Status>,
}

enum Pending {
    Create(PathBuf),
    Append(PathBuf, Vec<u8>),
    Rename(PathBuf, PathBuf),
    Write(PathBuf, u64, Vec<u8>),
}

trait Locked {
    fn lock(&self) -> MutexGuard<'_, World>;
}

impl Locked for Arc<Mutex<World>> {
    fn lock(&self) -> MutexGuard<'_, World> {
        Mutex::lock(self).unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl World {
    fn new(cut_at: usize, fail_at: Option<usize>) -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self {
            left: cut_at,
            until_failure: fail_at,
            failed: false,
            dead: false,
            full: false,
            broken: false,
            segments: 0,
            stall: None,
            names_kept: None,
            pending: Vec::new(),
            acknowledged: BTreeMap::new(),
            segment_of: BTreeMap::new(),
            status: Arc::default(),
        }))
    }

    /// Frames come when what came before them is in the journal and on the disk, however slow the machine: each
    /// step waits for two hand-overs that are, the second of which has begun after it was asked for.
    fn pace(world: &Arc<Mutex<Self>>) -> Pace {
        let World { stall, broken, status, .. } = &*world.lock();
        if *broken {
            return Pace::at_speed(SPEED);
        }
        if let Some(stall) = *stall {
            // A disk that is slow by itself has not answered even once by then.
            let (status, mut steps) = (status.clone(), 0);
            let slowest = move || status.sync_us_max.load(Ordering::Relaxed);
            return Pace::new(STEP, move |_| {
                steps += 1;
                std::thread::sleep(STEP.div_f64(SPEED));
                while steps == STALLED_BY && u128::from(slowest()) < stall.as_micros() {
                    std::thread::sleep(Duration::from_millis(1));
                }
            });
        }
        let (world, status) = (world.clone(), status.clone());
        Pace::new(STEP, move |_| {
            let safe = || status.rounds.load(Ordering::Relaxed);
            let without = || status.is_degraded() && status.failures.load(Ordering::Relaxed) > 0;
            let enough = safe() + 2;
            while safe() < enough && !without() && !world.lock().dead {
                std::thread::sleep(Duration::from_millis(1));
            }
        })
    }

    /// Where names are being given, the power fails and only some of them come through.
    fn cut_names(&mut self) -> io::Result<()> {
        let is_name = |operation: &Pending| matches!(operation, Pending::Rename(..));
        let Some(kept) = self.names_kept.filter(|_| self.pending.iter().any(is_name)) else { return Ok(()) };
        self.pending.retain(is_name);
        let mut bits = (0..4).cycle();
        self.pending.retain(|_| bits.next().is_some_and(|bit| kept >> bit & 1 == 1));
        self.dead = true;
        Err(ErrorKind::Other.into())
    }

    /// One more operation: may the power fail?
    fn step(&mut self, of_journal: bool) -> io::Result<()> {
        self.dead |= self.left == 0;
        if self.dead {
            return Err(ErrorKind::Other.into());
        }
        self.left -= 1;
        if of_journal && let Some(until) = &mut self.until_failure {
            let now = *until == 0;
            *until = until.wrapping_sub(1);
            if now {
                self.until_failure = None;
                self.failed = true;
                return Err(ErrorKind::Other.into());
            }
        }
        Ok(())
    }

    /// Puts on the disk what waits and is asked for.
    fn settle(&mut self, which: impl Fn(&Pending) -> bool) {
        let (now, later) = std::mem::take(&mut self.pending).into_iter().partition(which);
        self.pending = later;
        for operation in now {
            if let Pending::Write(path, _, bytes) = &operation {
                self.acknowledge(path, bytes);
            }
            operation.apply();
        }
    }

    fn acknowledge(&mut self, path: &Path, bytes: &[u8]) {
        if bytes.len() == sejf::seal::segment::FRAME_HEAD_BYTES && bytes.starts_with(b"sejfjrn") {
            let id = bytes[8..24].try_into().expect("16 bytes");
            self.segment_of.insert(path.into(), id);
        }
        if let Some(id) = self.segment_of.get(path)
            && bytes.iter().any(|byte| *byte != 0)
        {
            self.acknowledged.entry(*id).or_default().extend_from_slice(bytes);
        }
    }

    /// The kernel had begun to write, in no order between files, when the power failed.
    fn leave_some(&mut self, seed: usize) {
        let mut chance = Seeded::new(&[9; 32], "left", seed as u64);
        let mut lost = BTreeSet::new();
        for mut operation in std::mem::take(&mut self.pending) {
            let mut byte = [0; 2];
            chance.fill(&mut byte);
            let path = operation.path().to_path_buf();
            if lost.contains(&path) {
                continue;
            }
            if byte[0] < 90 {
                // Torn: what follows in this file is lost.
                if let Pending::Append(_, bytes) | Pending::Write(_, _, bytes) = &mut operation {
                    bytes.truncate(bytes.len() * usize::from(byte[1]) / 256);
                    operation.apply();
                }
                lost.insert(path);
                continue;
            }
            if let Pending::Rename(_, to) = &operation {
                lost.remove(to);
            }
            operation.apply();
        }
    }
}

impl Pending {
    fn path(&self) -> &Path {
        match self {
            Self::Create(path) | Self::Append(path, _) | Self::Write(path, ..) | Self::Rename(path, _) => {
                path
            }
        }
    }

    fn apply(self) {
        use std::io::Write;
        use std::os::unix::fs::FileExt;
        let open = |path: &Path| std::fs::OpenOptions::new().append(true).open(path);
        match self {
            Self::Create(path) => drop(std::fs::File::create_new(path).expect("a new file")),
            Self::Append(path, bytes) => open(&path).expect("a file").write_all(&bytes).expect("room"),
            Self::Rename(from, to) => std::fs::rename(from, to).expect("renamed"),
            Self::Write(path, at, bytes) => {
                let file = std::fs::OpenOptions::new().write(true).open(path).expect("a segment");
                file.write_all_at(&bytes, at).expect("room");
            }
        }
    }
}

/// A disk that keeps what it is told in memory until it is synced.
struct PowerDisk<D>(Arc<Mutex<World>>, D);

impl Disk for PowerDisk<RealDisk> {
    fn create(&mut self, path: &Path) -> io::Result<()> {
        let mut world = self.0.lock();
        world.step(false)?;
        world.pending.push(Pending::Create(path.into()));
        Ok(())
    }

    fn append(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut world = self.0.lock();
        world.step(false)?;
        world.pending.push(Pending::Append(path.into(), bytes.into()));
        Ok(())
    }

    fn close(&mut self, _: &Path) -> io::Result<()> {
        self.0.lock().step(false)
    }

    fn create_dir(&mut self, path: &Path) -> io::Result<()> {
        self.0.lock().step(false)?;
        self.1.create_dir(path)
    }

    fn sync(&mut self, _: &Path) -> io::Result<()> {
        let mut world = self.0.lock();
        world.step(false)?;
        world.cut_names()?;
        world.settle(|_| true);
        Ok(())
    }

    fn rename_new(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let mut world = self.0.lock();
        world.step(false)?;
        world.pending.push(Pending::Rename(from.into(), to.into()));
        Ok(())
    }

    fn replace(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut world = self.0.lock();
        world.step(false)?;
        // What waited was of the file that had the name before.
        world.pending.retain(|operation| operation.path() != path);
        self.1.replace(path, bytes)
    }

    fn remove(&mut self, path: &Path) -> io::Result<()> {
        let mut world = self.0.lock();
        world.step(false)?;
        world.settle(|operation| operation.path() == path);
        self.1.remove(path)
    }

    /// What has not reached the disk is there all the same.
    fn read(&mut self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        let world = self.0.lock();
        let mut bytes = self.1.read(path)?;
        for operation in world.pending.iter().filter(|operation| operation.path() == path) {
            match operation {
                Pending::Create(_) => bytes = Some(Vec::new()),
                Pending::Append(_, more) => bytes.get_or_insert_default().extend_from_slice(more),
                Pending::Rename(..) | Pending::Write(..) => {}
            }
        }
        Ok(bytes)
    }
}

impl JournalDisk for PowerDisk<RealJournalDisk> {
    fn allocate(&mut self, path: &Path, bytes: u64) -> io::Result<()> {
        let mut world = self.0.lock();
        world.step(true)?;
        if world.full {
            return Err(ErrorKind::StorageFull.into());
        }
        world.segments += 1;
        drop(world);
        self.1.allocate(path, bytes)
    }

    fn write_at(&mut self, path: &Path, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut world = self.0.lock();
        world.step(true)?;
        world.pending.push(Pending::Write(path.into(), offset, bytes.into()));
        Ok(())
    }

    fn sync_data(&mut self, path: &Path) -> io::Result<()> {
        let stall = self.0.lock().stall;
        std::thread::sleep(stall.unwrap_or_default());
        let mut world = self.0.lock();
        let outcome = world.step(true);
        let outcome = if world.broken { Err(ErrorKind::Other.into()) } else { outcome };
        if outcome.is_err() {
            // The kernel has thrown the pages away, where it goes on at all.
            let dead = world.dead;
            world.pending.retain(|operation| dead || operation.path() != path);
            return outcome;
        }
        world.settle(|operation| operation.path() == path);
        Ok(())
    }

    fn sync(&mut self, _: &Path) -> io::Result<()> {
        let mut world = self.0.lock();
        world.step(true)?;
        world.cut_names()?;
        world.settle(|_| true);
        Ok(())
    }

    fn close(&mut self, path: &Path) {
        self.1.close(path);
    }

    fn remove(&mut self, path: &Path) -> io::Result<()> {
        let mut world = self.0.lock();
        world.step(true)?;
        world.pending.retain(|operation| operation.path() != path);
        self.1.remove(path)
    }

    fn truncate(&mut self, path: &Path, bytes: u64) -> io::Result<()> {
        self.0.lock().step(true)?;
        self.1.truncate(path, bytes)
    }

    fn rename_new(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.lock().step(true)?;
        self.1.rename_new(from, to)
    }
}

const CALLS: u64 = 4;
/// Of packets, what is no whole block at the end is left out.
const BLOCK_BYTES: u64 = 512;
/// How much faster than life calls go where a clock says when.
const SPEED: f64 = 25.0;
/// How much of them comes at once where the journal says when.
const STEP: Duration = Duration::from_millis(500);
/// After so many of these the journal has something to sync.
const STALLED_BY: u32 = 40;
/// About as many operations as a run has.
const OPERATIONS: usize = 1_000;
const WORKERS: usize = 6;
