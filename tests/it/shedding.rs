//! A recorder whose disk, processor or own code fails it: what is lost is the least there is, it is counted, it
//! is said in the manifests it concerns, and all else is as if nothing had happened.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use crossbeam_channel::{Sender, bounded};
use sejf::base::counters::Discard;
use sejf::base::frame::FrameBlock;
use sejf::base::merge::Captured;
use sejf::base::policy::Condition;
use sejf::base::time::Stamp;
use sejf::call::table;
use sejf::fixture::generate;
use sejf::fixture::recipe::{CallRecipe, Recipe};
use sejf::recording::manifest::{EndedBy, GapReason, Manifest, RecorderFacts, State};
use sejf::recording::pause::{MaskedBy, PauseReason};
use sejf::recording::policy::Policy;
use sejf::recording::pressure::{Level, Measures};
use sejf::seal::batch::BatchSealer;
use sejf::seal::identity::{Identities, generate_x25519};
use sejf::seal::random::{Randomness, Seeded};
use sejf::seal::recipient::Recipients;
use sejf::shell::config::Config;
use sejf::shell::disk::{Disk, RealDisk};
use sejf::shell::entropy::OsRandom;
use sejf::shell::journal::{self, Folder, Kept, RealJournalDisk};
use sejf::shell::load::Load;
use sejf::shell::receipts::ReceiptLog;
use sejf::shell::record::{self, Paused, Queues, Recorder, Summary};
use sejf::shell::salvage::{self, Asked};
use sejf::shell::signals::{EXIT_HUNG, LastResort, Stop};
use sejf::shell::source::Captures;
use sejf::shell::status::snapshot::CallState;
use sejf::shell::status::{About, Status};
use sejf::shell::{identity, library, recovery, rulebook, verify};

use crate::support::{again, is_again};

#[test]
fn a_disk_that_stalls_costs_media_and_no_signalling() {
    let scene = Scene::new("wav");
    let disk = TestDisk::default();
    let small = Queues { blocks: 2, batches: 4, chunks: 2 };
    let mut run = Run::start(&scene, &[], small, &disk);
    run.gently = true;
    run.feed_until(Duration::from_secs(5));
    disk.stall(true);
    run.gently = false;
    // Two calls begin meanwhile, and two end.
    run.feed_until(Duration::from_secs(10));
    run.wait("frames are left out", |recorder| recorder.progress().shed.load(Ordering::Relaxed) > 0);
    disk.stall(false);
    run.settle();
    run.gently = true;
    let shed = run.recorder.progress().shed.load(Ordering::Relaxed);
    let met = run.recorder.load().tally().snapshot();
    assert!(met.get(Condition::MediaQueueFull) > 0, "{met:?}");
    let (summary, manifests) = run.finish();

    assert!(summary.balanced, "{summary:?}");
    // On a busy machine so small a queue may be full again later.
    let dropped = summary.counters.discarded.get(&Discard::QueueDrop).copied().unwrap_or(0);
    assert!(dropped >= shed && shed > 0, "{dropped} dropped, {shed} shed while the disk stalled");
    assert_eq!(manifests.len() as u64, CALLS);
    let mut told = 0;
    for (call, manifest) in &manifests {
        // All signalling was seen, whenever it came.
        assert_eq!(
            (manifest.state, manifest.call.ended_by),
            (State::Complete, Some(EndedBy::Bye)),
            "call {call}"
        );
        assert!(manifest.counters.balanced(), "call {call}: {:?}", manifest.counters);
        let lost = manifest.counters.discarded.get(&Discard::QueueDrop).copied().unwrap_or(0);
        told += lost;
        let noted = manifest.notes.iter().any(|note| note.contains("the recorder lost packets"));
        let gap = manifest.gaps.iter().any(|gap| gap.reason == GapReason::QueueDrop);
        assert_eq!(noted, lost > 0, "call {call}: {:?}", manifest.notes);
        assert!(gap || lost < 10, "call {call} lost {lost} and shows no gap: {:?}", manifest.gaps);
    }
    assert_eq!(told, dropped);
    scene.assert_verified(&[]);
}

#[test]
fn a_disk_that_is_full_for_a_while_costs_nothing() {
    let scene = Scene::new("pcap");
    let disk = TestDisk::default();
    disk.fill(true);
    let mut run = Run::start(&scene, &[], ROOM, &disk);
    run.feed_until(Duration::MAX);
    run.wait("the disk is found full", |recorder| {
        recorder.trouble().is_failing() && recorder.load().tally().snapshot().get(Condition::DiskFull) > 0
    });
    disk.fill(false);
    let (summary, manifests) = run.finish();
    assert!(summary.balanced, "{summary:?}");
    assert!(summary.counters.discarded.is_empty(), "{summary:?}");
    assert!(manifests.values().all(|manifest| manifest.state == State::Complete));
    assert_eq!(manifests.len() as u64, CALLS);
    scene.assert_verified(&[]);
}

/// The kernel says that it could not write, and some of what it could not is gone.
#[test]
fn after_a_failed_sync_only_what_is_there_is_receipted() {
    let scene = Scene::new("pcap");
    let disk = TestDisk::default();
    disk.lose_next_sync();
    let mut run = Run::start(&scene, &[], ROOM, &disk);
    let met = |recorder: &Recorder| recorder.load().tally().snapshot().get(Condition::SyncFailed) == 1;
    // The first call is over, and is committed; the last is still to begin.
    run.feed_until(Duration::from_millis(13_900));
    run.wait("a sync fails", met);
    // Doubt is over when all that was open then has been written anew: what comes now is written once.
    let (before, begun) = (run.start, Duration::from_millis(13_900));
    let (load, whole) = (run.recorder.load().clone(), run.finish());
    let (summary, manifests) = whole;
    assert!(summary.balanced, "{summary:?}");
    assert_eq!(load.tally().snapshot().get(Condition::SyncFailed), 1);
    let lost = disk.lost().expect("a file was being written");
    let failed = manifests.values().filter(|manifest| manifest.state == State::Failed);
    let failed: Vec<_> = failed.map(|manifest| manifest.id.as_str()).collect();
    assert_eq!(manifests.len() as u64, CALLS);
    assert_eq!(failed.len(), 1, "{failed:?}");
    assert!(lost.contains(failed[0]), "{lost} is not of {failed:?}");
    // Its own manifest, which was sealed before, has no final name either.
    scene.assert_verified(&[&lost, &format!("lost: {}.json.age.part", failed[0])]);
    let listed = library::Library::open(&scene.to()).expect("a folder");
    assert_eq!((listed.lost(), manifests_of(&listed, &scene).len() as u64), (1, CALLS - 1));
    let asked = scene.to().join(failed[0]);
    let shown = library::manifest_of(&asked, &scene.identities).expect_err("it is not whole");
    assert!(shown.to_string().contains("sejf salvage"), "{shown}");
    let anew = disk.replaced();
    let late = manifests.values().filter(|manifest| manifest.start.since(before) >= begun);
    let late: Vec<_> = late.map(|manifest| manifest.id.as_str()).collect();
    assert!(!late.is_empty() && !anew.is_empty(), "{late:?} {anew:?}");
    assert!(!anew.iter().any(|name| late.iter().any(|id| name.contains(id))), "{late:?} {anew:?}");
}

/// Somebody removes the file of a call in progress: that call is lost by itself, and all others have their names.
#[test]
fn what_somebody_removed_holds_up_nobody_else() {
    let scene = Scene::new("pcap");
    let mut run = Run::start(&scene, &[], ROOM, &TestDisk::default());
    run.feed_until(Duration::from_millis(4_500));
    let parts = || {
        let all = std::fs::read_dir(scene.to()).expect("a folder").map(|entry| entry.expect("a file").path());
        all.filter(|path| path.to_string_lossy().ends_with(".pcapng.age.part")).min()
    };
    run.wait("a call is being written", |_| parts().is_some());
    let removed = parts().expect("it is there");
    std::fs::remove_file(&removed).expect("removed");
    let (summary, manifests) = run.finish();
    assert!(summary.balanced, "{summary:?}");
    assert_eq!(manifests.len() as u64, CALLS);
    let failed = manifests.values().filter(|manifest| manifest.state == State::Failed);
    let failed: Vec<_> = failed.map(|manifest| manifest.id.as_str()).collect();
    assert!(failed.len() == 1 && removed.to_string_lossy().contains(failed[0]), "{failed:?}");
    scene.assert_verified(&[&format!("lost: {}.json.age.part", failed[0])]);
}

/// The journal has what the disk has not kept, and keeps it beyond the end.
#[test]
fn what_the_disk_lost_is_salvaged() {
    let scene = Scene::new("pcap");
    let disk = TestDisk::default();
    disk.lose_next_sync();
    let mut run = Run::start_with(&scene, &[], ROOM, &disk, Some(scene.journal()));
    run.feed_until(Duration::from_millis(13_900));
    run.wait("a sync fails", |recorder| recorder.load().tally().snapshot().get(Condition::SyncFailed) > 0);
    run.wait_for_journal();
    let (summary, manifests) = run.finish();
    assert!(summary.balanced, "{summary:?}");
    let lost = disk.lost().expect("a file was being written");
    let failed = manifests.values().find(|manifest| manifest.state == State::Failed).expect("one has failed");
    assert!(lost.contains(&failed.id), "{lost} is not of {}", failed.id);

    let out = scene.dir.path().join("salvaged");
    let recipients = Recipients::parse([&scene.recipient]).expect("a recipient");
    let asked = Asked {
        dir: &scene.to(),
        to: &out,
        identities: &scene.identities,
        journal: None,
        recipients: &recipients,
    };
    let made = salvage::salvage(&asked, &mut Seeded::new(&[3; 32], "salvage", 0)).expect("a key");
    assert!(made.faults.is_empty(), "{:?}", made.faults);
    let made: Vec<_> = made.salvaged.iter().map(|made| (made.id.as_str(), made.whole)).collect();
    assert_eq!(made, [(failed.id.as_str(), true)]);
}

/// What is not confirmed in time is not told as refused: it is done in its turn.
#[test]
fn a_pause_of_a_busy_recorder_is_done_later_and_told_so() {
    let scene = Scene::new("pcap");
    let disk = TestDisk::default();
    disk.stall(true);
    let mut run = Run::start(&scene, &[], Queues { blocks: 1_000, batches: 1_000, chunks: 1 }, &disk);
    // The third call begins on the shard of the first, which by then has given more than there is room for.
    run.feed_until(Duration::from_millis(4_500));
    let fed = run.fed;
    run.wait("all is dispatched", |recorder| recorder.progress().packets.load(Ordering::Relaxed) == fed);
    let status = run.status.clone();
    let (start, second) = (run.start, Duration::from_secs(1));
    let first = || status.calls(false).into_iter().find(|call| call.since.since(start) < second);
    run.wait("the first call goes on", |_| first().is_some());
    let id = first().expect("it goes on").id;
    let why = PauseReason { text: "card".into(), by: MaskedBy::Control };
    assert_eq!(run.recorder.pause(&id, Some(&why)), Paused::Unconfirmed);
    let paused = || status.calls(false).iter().any(|call| call.id == id && call.state == CallState::Paused);
    assert!(!paused());
    disk.stall(false);
    run.feed_until(Duration::from_millis(5_900));
    run.wait("it is paused", |_| paused());
    let nobody = "0193c4a5-0000-7000-8000-000000000001";
    run.settle();
    assert_eq!(run.recorder.pause(nobody, Some(&why)), Paused::NoSuchCall);
    assert!(run.finish().0.balanced);
}

#[test]
fn a_stop_that_hangs_is_cut_off_and_says_what_is_left() {
    let output = again("shedding::hanging", &[]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(EXIT_HUNG), "{said}");
    assert!(said.contains("is cut off: the disk hangs"), "{said}");
}

/// Not a test of its own: it ends the process.
#[test]
#[ignore = "run by another test, in a process of its own"]
fn hanging() {
    if !is_again() {
        return;
    }
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let scene = Scene::new("pcap");
    let disk = TestDisk::default();
    disk.stall(true);
    let run = Run::start(&scene, &[], ROOM, &disk);
    let stop = Stop::default();
    let _last = LastResort::arm(stop.clone(), Duration::from_secs(1), || "the disk hangs".into());
    stop.ask();
    run.finish();
}

fn manifests_of(library: &library::Library, scene: &Scene) -> Vec<Manifest> {
    let (manifests, faults) = library.manifests(&scene.identities).expect("a folder");
    assert!(faults.is_empty(), "{faults:?}");
    manifests
}

#[test]
fn a_fault_in_one_call_ends_that_call_only() {
    for (forced, kept) in [(Condition::CallPanicked, true), (Condition::RecipientMissing, false)] {
        let scene = Scene::new("pcap");
        let mut run = Run::start(&scene, &[forced], ROOM, &TestDisk::default());
        run.feed_until(Duration::MAX);
        let load = run.recorder.load().clone();
        let (summary, manifests) = run.finish();
        assert!(summary.balanced, "{forced:?}: {summary:?}");
        assert_eq!(load.tally().snapshot().get(forced), 2, "{forced:?}");
        assert_eq!(manifests.len() as u64, CALLS);
        for (call, manifest) in &manifests {
            assert!(manifest.counters.balanced(), "{forced:?}, call {call}: {:?}", manifest.counters);
            let failed = manifest.counters.discarded.get(&Discard::Failed).copied().unwrap_or(0);
            if call % 4 == 1 {
                assert_eq!(manifest.state, State::Failed, "{forced:?}, call {call}");
                // What came before the fault is in a file that opens.
                assert_eq!((failed > 100, manifest.files.len()), (kept, usize::from(kept)), "{forced:?}");
                let told =
                    manifest.notes.iter().any(|note| note.contains("fault") || note.contains("sealed"));
                assert!(told, "{:?}", manifest.notes);
            } else {
                assert_eq!((manifest.state, failed), (State::Complete, 0), "{forced:?}, call {call}");
                assert!(manifest.counters.discarded.is_empty(), "{:?}", manifest.counters);
            }
        }
        scene.assert_verified(&[]);
    }
}

#[test]
fn each_measure_is_told_by_the_calls_it_concerns() {
    let taken =
        Measures { level: Level::LeaveOut, cheaper: true, as_sent: true, admit_from: 0, keep_from: 0 };
    let run = |measures: &Measures| {
        let scene = Scene::new("opus");
        let mut run = Run::start(&scene, &[], ROOM, &TestDisk::default());
        run.recorder.load().take(measures);
        run.gently = true;
        run.feed_until(Duration::MAX);
        let (summary, manifests) = run.finish();
        assert!(summary.balanced, "{summary:?}");
        scene.assert_verified(&[]);
        manifests
    };
    let says = |manifest: &Manifest, words: &str| manifest.notes.iter().any(|note| note.contains(words));

    for manifest in run(&taken).values() {
        assert!(says(manifest, "kept as it was sent"), "{:?}", manifest.notes);
        assert_eq!(manifest.files[0].format, "pcapng");
    }
    for manifest in run(&Measures { as_sent: false, ..taken }).values() {
        assert!(says(manifest, "fewer bits"), "{:?}", manifest.notes);
        assert_eq!(manifest.files[0].format, "opus");
    }
    for (call, manifest) in run(&Measures { admit_from: 200, ..Measures::default() }) {
        let low = call % 2 == 1;
        assert_eq!(manifest.state, if low { State::Failed } else { State::Complete }, "call {call}");
        assert_eq!(says(&manifest, "no room for another call"), low, "call {call}");
    }
    for (call, manifest) in run(&Measures { keep_from: 200, ..Measures::default() }) {
        let lost = manifest.counters.discarded.get(&Discard::QueueDrop).copied().unwrap_or(0);
        let low = call % 2 == 1;
        assert_eq!(lost > 100, low, "call {call} lost {lost}");
        assert_eq!((manifest.state, lost > 0), (State::Complete, low), "call {call}");
    }
}

/// Calls of two priorities in turn, and who can open them.
pub(crate) struct Scene {
    dir: tempfile::TempDir,
    pub(crate) capture: PathBuf,
    config: Config,
    identities: Identities,
    recipient: String,
}

impl Scene {
    fn new(format: &str) -> Self {
        let high: Vec<String> =
            (0..CALLS).step_by(2).map(|call| format!("\"192.0.2.{}\"", 10 + call)).collect();
        Self::of(&format!(
            "[[trunk]]\nname = \"high\"\npriority = 200\naddresses = [{}]\n\
             [[rule]]\nname = \"high\"\ntrunk = \"high\"\naction = \"record\"\nformat = \"{format}\"\n\
             [[rule]]\nname = \"low\"\npriority = 50\naction = \"record\"\nformat = \"{format}\"\n",
            high.join(", "),
        ))
    }

    /// Calls that are recorded by these rules.
    pub(crate) fn of(rules: &str) -> Self {
        let dir = tempfile::tempdir().expect("folder");
        let kind = CallRecipe { talk: Duration::from_secs(6), ..CallRecipe::default() };
        let recipe =
            Recipe { calls: CALLS, spacing: Duration::from_secs(2), kinds: vec![kind], ..Recipe::default() };
        let capture = dir.path().join("capture.pcap");
        std::fs::write(&capture, generate(&recipe).expect("a sound recipe").capture).expect("capture");
        let (identity, recipient) = generate_x25519(&mut Seeded::new(&[7; 32], "test", 0));
        let text = format!(
            "[recorder]\nto = {:?}\nallow_single_recipient = true\n[[capture]]\ninterface = \"lo\"\n\
             [recipients]\ndefault = [\"{recipient}\"]\n{rules}",
            dir.path().join("out"),
        );
        let path = dir.path().join("sejf.toml");
        std::fs::write(&path, text).expect("configuration");
        let (config, _) = Config::load(&path).expect("a sound configuration");
        let identities = Identities::parse(&identity).expect("an identity");
        Self { dir, capture, config, identities, recipient }
    }

    /// A journal that hands over often.
    fn journal(&self) -> Kept {
        let to = self.to();
        let folder = Folder::take(&to.join("journal"), &to).expect("nobody else is there");
        let log = ReceiptLog::open(&to, identity::from_seed(&[1; 32])).expect("a log");
        let leftovers = recovery::scan(&to, &folder, &log).expect("a folder");
        let recipients = Recipients::parse([&self.recipient]).expect("a recipient");
        let config = journal::Config {
            recordings: to,
            segment_bytes: journal::SEGMENT_BYTES_MIN,
            segments: journal::SEGMENTS_MIN,
            hand_over: Duration::from_millis(10),
            key: Box::new(move |random| BatchSealer::start(&recipients, random)),
            random: Box::new(|| Box::new(OsRandom::new().expect("random bytes"))),
            status: Arc::default(),
            disk: Box::new(|| Box::new(RealJournalDisk::default())),
        };
        Kept { config, folder, leftovers }
    }

    /// What becomes of calls.
    pub(crate) fn policy(&self) -> Policy {
        let facts = RecorderFacts { id: identity::from_seed(&[1; 32]).name().into(), version: "test".into() };
        rulebook::policy(&self.config, &facts).expect("recipients")
    }

    fn to(&self) -> PathBuf {
        self.dir.path().join("out")
    }

    /// Nothing is wrong with the folder but files that were lost.
    fn assert_verified(&self, lost: &[&str]) {
        let asked = verify::Asked { identities: Some(&self.identities), ..verify::Asked::default() };
        let report = verify::directory(&self.to(), &asked).expect("the folder can be read");
        let told = |name: &&str| report.faults.iter().any(|fault| fault.to_string().contains(name));
        assert!(lost.iter().all(|name| told(&&**name)), "{:?}", report.faults);
        assert_eq!(report.faults.len(), lost.len(), "{:?}", report.faults);
        assert_eq!(report.receipts, CALLS);
    }
}

/// A recorder that is fed a capture block by block.
pub(crate) struct Run {
    pub(crate) recorder: Recorder,
    status: Arc<Status>,
    sender: Sender<(usize, Captured)>,
    blocks: std::vec::IntoIter<FrameBlock>,
    start: Stamp,
    fed: u64,
    /// Wait for each block to have been worked through before the next.
    gently: bool,
}

impl Run {
    /// Nothing stands in its way.
    pub(crate) fn freely(scene: &Scene) -> Self {
        Self::start(scene, &[], ROOM, &TestDisk::default())
    }

    fn start(scene: &Scene, forced: &[Condition], queues: Queues, disk: &TestDisk) -> Self {
        Self::start_with(scene, forced, queues, disk, None)
    }

    fn start_with(
        scene: &Scene,
        forced: &[Condition],
        queues: Queues,
        disk: &TestDisk,
        journal: Option<Kept>,
    ) -> Self {
        let signer = identity::from_seed(&[1; 32]);
        let facts = RecorderFacts { id: signer.name().into(), version: "test".into() };
        let log = ReceiptLog::open(&scene.to(), signer).expect("a log");
        let (random, disk) = (OsRandom::new().expect("random bytes"), disk.clone());
        let status = Arc::new(Status::new(About::default()));
        let config = record::Config {
            resume: None,
            in_progress: None,
            rings: Vec::new(),
            depths: queues,
            status: status.clone(),
            to: scene.to(),
            policy: Arc::new(scene.policy()),
            journal: journal.map(|kept| (kept, facts)),
            table: table::Config::default(),
            shards: 2,
            entropy: Arc::new(move |_| Box::new(random.clone()) as Box<dyn Randomness + Send>),
            log,
            load: Arc::new(Load::new(1_000, forced)),
            disk: Box::new(move || Box::new(disk.clone())),
        };
        let (sender, captured) = bounded(queues.blocks);
        let recorder = Recorder::fed(config, 1, (sender.clone(), captured)).expect("it starts");
        let blocks = blocks(&scene.capture);
        let start = blocks[0].frames[0].stamp;
        Self { recorder, status, sender, blocks: blocks.into_iter(), start, fed: 0, gently: false }
    }

    /// Hands in what came in the first so much of the capture.
    pub(crate) fn feed_until(&mut self, end: Duration) {
        while let Some(block) = self.blocks.as_slice().first()
            && block.frames[0].stamp.since(self.start) < end
        {
            self.fed += block.frames.len() as u64;
            let block = self.blocks.next().expect("looked at");
            self.sender.send((0, Captured::Block(block))).expect("it takes them");
            if self.gently {
                self.settle();
            }
            // Much slower than its sealers fill, so that nothing leaves before the journal has had it.
            if self.recorder.journal().is_some() && self.fed.is_multiple_of(200) {
                self.settle();
                self.wait_for_journal();
            }
        }
    }

    /// Waits until the journal has all that recordings have.
    fn wait_for_journal(&self) {
        let rounds = |recorder: &Recorder| recorder.journal().expect("one").rounds.load(Ordering::Relaxed);
        let until = rounds(&self.recorder) + 2;
        self.wait("the journal has it all", |recorder| rounds(recorder) >= until);
    }

    /// Waits until all that was handed in has gone to the disk's thread, or further.
    pub(crate) fn settle(&self) {
        let fed = self.fed;
        self.wait("all is taken in", |recorder| {
            recorder.progress().packets.load(Ordering::Relaxed) == fed
                && recorder.queues().iter().all(|(_, used, _)| *used == 0)
        });
    }

    /// Waits for a state, for as long as a machine that is very busy may take.
    fn wait(&self, what: &str, holds: impl Fn(&Recorder) -> bool) {
        let end = Instant::now() + Duration::from_secs(120);
        while !holds(&self.recorder) {
            assert!(Instant::now() < end, "it never came that {what}: {:?}", self.recorder.queues());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Hands in the rest. Manifests by the number of their call.
    fn finish(self) -> (Summary, BTreeMap<u64, Manifest>) {
        let start = self.start;
        let (summary, all) = self.finish_all();
        let mut manifests = BTreeMap::new();
        for manifest in all {
            let call = manifest.start.since(start).as_millis() / 2_000;
            assert_eq!(manifests.insert(call as u64, manifest), None, "call {call} is there twice");
        }
        (summary, manifests)
    }

    /// The same, as they come.
    pub(crate) fn finish_all(mut self) -> (Summary, Vec<Manifest>) {
        self.feed_until(Duration::MAX);
        drop(self.sender);
        let mut manifests = Vec::new();
        let summary = self.recorder.finish(|manifest| manifests.push(manifest.clone()));
        (summary.expect("it ends well"), manifests)
    }
}

/// The capture in blocks of 20 frames.
fn blocks(capture: &Path) -> Vec<FrameBlock> {
    let mut captures = Captures::open(&[capture.into()]).expect("a capture");
    let mut blocks: Vec<FrameBlock> = Vec::new();
    loop {
        let mut whole = FrameBlock::default();
        if !captures.fill(&mut whole) {
            return blocks;
        }
        for frame in &whole.frames {
            if blocks.last().is_none_or(|block| block.frames.len() == 20) {
                blocks.push(FrameBlock::default());
            }
            blocks.last_mut().expect("pushed").push(*frame, whole.data(frame));
        }
    }
}

/// A disk that stalls, is full, or loses what it was given, as it is told.
#[derive(Clone, Default)]
struct TestDisk {
    real: Arc<Mutex<RealDisk>>,
    state: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    stalled: Mutex<bool>,
    moves: Condvar,
    full: AtomicBool,
    loses: AtomicBool,
    lost: Mutex<Option<String>>,
    /// Names of unfinished files that were written anew.
    replaced: Mutex<Vec<String>>,
}

impl TestDisk {
    fn stall(&self, stalled: bool) {
        *self.state.stalled.lock().unwrap() = stalled;
        self.state.moves.notify_all();
    }

    fn fill(&self, full: bool) {
        self.state.full.store(full, Ordering::Relaxed);
    }

    fn lose_next_sync(&self) {
        self.state.loses.store(true, Ordering::Relaxed);
    }

    fn replaced(&self) -> Vec<String> {
        self.state.replaced.lock().unwrap().clone()
    }

    /// Name of the file that was lost.
    fn lost(&self) -> Option<String> {
        self.state.lost.lock().unwrap().clone()
    }

    fn pass(&self) -> io::Result<()> {
        let stalled = self.state.stalled.lock().unwrap();
        drop(self.state.moves.wait_while(stalled, |stalled| *stalled).unwrap());
        if self.state.full.load(Ordering::Relaxed) { Err(ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

impl Disk for TestDisk {
    fn create(&mut self, path: &Path) -> io::Result<()> {
        self.pass()?;
        self.real.lock().unwrap().create(path)
    }

    fn append(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.pass()?;
        self.real.lock().unwrap().append(path, bytes)
    }

    fn close(&mut self, path: &Path) -> io::Result<()> {
        self.real.lock().unwrap().close(path)
    }

    fn create_dir(&mut self, path: &Path) -> io::Result<()> {
        self.real.lock().unwrap().create_dir(path)
    }

    fn sync(&mut self, dir: &Path) -> io::Result<()> {
        self.pass()?;
        let part = |path: &PathBuf| path.to_string_lossy().ends_with(".pcapng.age.part");
        let mut paths =
            std::fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
        paths.retain(part);
        paths.sort();
        if let Some(path) = paths.first()
            && self.state.loses.swap(false, Ordering::Relaxed)
        {
            // The oldest call's, which is being committed: one byte of it never reached the disk.
            let mut bytes = std::fs::read(path)?;
            if let Some(last) = bytes.last_mut() {
                *last ^= 1;
            }
            std::fs::write(path, bytes)?;
            let name = path.file_name().expect("a file").to_string_lossy().into_owned();
            *self.state.lost.lock().unwrap() = Some(name);
            return Err(io::Error::from_raw_os_error(5));
        }
        Ok(())
    }

    fn rename_new(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        self.pass()?;
        self.real.lock().unwrap().rename_new(from, to)
    }

    fn replace(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.pass()?;
        let name = path.file_name().expect("a file").to_string_lossy().into_owned();
        if name.ends_with(".part") {
            self.state.replaced.lock().unwrap().push(name);
        }
        self.real.lock().unwrap().replace(path, bytes)
    }

    fn remove(&mut self, path: &Path) -> io::Result<()> {
        self.real.lock().unwrap().remove(path)
    }

    fn read(&mut self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        self.real.lock().unwrap().read(path)
    }
}

pub(crate) const CALLS: u64 = 8;
/// Room for a whole capture.
const ROOM: Queues = Queues { blocks: 1_000, batches: 1_000, chunks: 1_000 };
