use super::*;
use crate::base::counters::Discard;
use crate::call::intake::Intake;
use crate::call::table;
use crate::recording::manifest::RecorderFacts;
use crate::recording::policy::Policy;
use crate::recording::recorder::{self, Content, Finished, SealedAs};
use crate::seal::log::CHECKPOINT_PATH;
use crate::seal::random::Seeded;
use crate::seal::recipient::Recipients;
use crate::shell::disk::RealDisk;
use crate::shell::dispatch::{Progress, WhenFull};
use crate::shell::entropy::OsRandom;
use crate::shell::identity;
use crate::shell::keys::{self, KeyKind};
use crate::shell::pipeline::{Depths, Pipeline, Setup};
use crate::shell::receipts::ReceiptLog;
use crate::shell::status::About;
use crate::shell::store::Mode;
use crate::shell::verify::{self, Asked};

fn token() -> Token {
    Token::new(&mut Seeded::new(&[7; 32], "token", 0))
}

fn start() -> Stamp {
    Stamp::from_unix_nanos(1_795_468_121_000_000_000)
}

/// A pipeline that records into `dir`, as a recorder has it.
fn pipeline(dir: &Path, content: Content) -> Pipeline {
    let pair = keys::generate(KeyKind::X25519).unwrap();
    let recipients = Recipients::parse([pair.recipient.as_str()]).unwrap();
    let signer = identity::load_or_create(Some(&dir.join("state"))).unwrap();
    let facts = RecorderFacts { id: signer.name().into(), version: "1".into() };
    let to = dir.join("spool");
    Pipeline::start(Setup {
        log: ReceiptLog::open(&to, signer).unwrap(),
        to,
        policy: Arc::new(Policy::same(recorder::Config {
            keep: recorder::Keep::All,
            priority: 0,
            folder: "",
            mask_digits: false,
            pause: None,
            content,
            recipients,
            recorder: facts,
            labels: [TRUNK.into(), "canary@1".into(), "canary".into()],
        })),
        load: Arc::new(crate::shell::load::Load::new(0, &[])),
        journal: None,
        in_progress: None,
        status: None,
        shards: 1,
        entropy: Arc::new(|ordinal| Box::new(Seeded::new(&[1; 32], "call", ordinal))),
        disk: Box::new(|| Box::new(RealDisk::new(true))),
        mode: Mode::Replay,
        depths: Depths { batches: 4, blocks: 4, chunks: 64 },
    })
    .unwrap()
}

/// Sends a call through a pipeline of its own, `spoil` having seen each block.
fn through(
    dir: &Path,
    content: Content,
    mut spoil: impl FnMut(FrameBlock) -> FrameBlock,
) -> (CanaryCall, Manifest) {
    let mut pipeline = pipeline(dir, content);
    let intake = Intake::new(table::Config::default());
    let mut dispatcher = pipeline.dispatcher(intake, None, WhenFull::Wait, Arc::new(Progress::default()));
    let mut call = CanaryCall::new(start(), &token(), 3);
    let mut now = start();
    while let Some(block) = call.frames(now) {
        assert!(dispatcher.block(spoil(block)));
        now = now.after(Duration::from_millis(100));
    }
    dispatcher.finish();
    pipeline.close();
    let manifest = pipeline.done.recv().unwrap();
    pipeline.end().unwrap();
    (call, manifest)
}

#[test]
fn a_call_lasts_three_seconds_in_order_of_time_and_is_known_by_its_token() {
    let token = token();
    let mut call = CanaryCall::new(start(), &token, 3);
    let (mut now, mut last, mut frames, mut blocks) = (start(), start(), 0, 0);
    while let Some(block) = call.frames(now) {
        for frame in &block.frames {
            assert!(frame.stamp >= last && frame.stamp <= now && frame.interface == INTERFACE);
            last = frame.stamp;
        }
        frames += block.frames.len() as u64;
        blocks += 1;
        now = now.after(Duration::from_millis(100));
    }
    assert_eq!(frames, call.frames);
    assert!((28..36).contains(&blocks), "{blocks}");
    assert_eq!(call.packets.len(), 2);
    assert!(call.packets.iter().all(|packets| (115..=125).contains(packets)), "{:?}", call.packets);
    assert!(token.owns(&call.call_id));
    let other = Token::new(&mut Seeded::new(&[8; 32], "token", 0));
    assert!(!other.owns(&call.call_id) && !token.owns("canary-1@example"));
    let mut another = CanaryCall::new(start(), &token, 4);
    while another.frames(now).is_some() {}
    assert_ne!(another.call_id, call.call_id);
}

#[test]
fn what_went_through_the_whole_path_passes() {
    for content in [Content::Opus, Content::Wav, Content::Packets] {
        let dir = tempfile::tempdir().unwrap();
        let (call, manifest) = through(dir.path(), content, |block| block);
        let spool = dir.path().join("spool");
        assert!(call.is_of(&manifest));
        call.check(&manifest, &spool).unwrap_or_else(|fault| panic!("{content:?}: {fault}"));
        assert!(spool.join("receipts").join(CHECKPOINT_PATH).exists());
    }
}

#[test]
fn each_thing_that_goes_wrong_is_a_fault() {
    let dir = tempfile::tempdir().unwrap();
    let (call, manifest) = through(dir.path(), Content::Opus, |block| block);
    let spool = dir.path().join("spool");
    let path = spool.join(&manifest.files[0].name);
    let sealed = std::fs::read(&path).unwrap();
    let fault = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        call.check(&manifest, &spool).unwrap_err()
    };
    let mut flipped = sealed.clone();
    *flipped.last_mut().unwrap() ^= 1;
    assert!(matches!(fault(&flipped), CanaryFault::Changed { .. }));
    assert!(matches!(fault(&sealed[..sealed.len() - 1]), CanaryFault::Changed { .. }));
    assert!(matches!(fault(b"OggS plain sound"), CanaryFault::NotSealed { .. }));
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(call.check(&manifest, &spool), Err(CanaryFault::Io { .. })));
    std::fs::write(&path, &sealed).unwrap();
    assert!(call.check(&manifest, &spool).is_ok());
    std::fs::remove_file(spool.join(format!("{}.json.age", manifest.id))).unwrap();
    assert!(matches!(call.check(&manifest, &spool), Err(CanaryFault::Io { .. })));

    let but = |change: fn(&mut Manifest)| {
        let mut manifest = manifest.clone();
        change(&mut manifest);
        call.check(&manifest, &spool).unwrap_err()
    };
    assert!(matches!(but(|m| m.state = State::Interrupted), CanaryFault::State { .. }));
    assert!(matches!(but(|m| m.counters.recorded -= 1), CanaryFault::Lost { .. }));
    assert!(matches!(but(|m| m.counters.discard(Discard::QueueDrop, 1)), CanaryFault::Lost { .. }));
    assert!(matches!(but(|m| m.files.clear()), CanaryFault::Empty));
    assert!(matches!(but(|m| m.duration_s = 1e6), CanaryFault::Short { .. }));
    assert!(matches!(but(|m| drop(m.streams.pop())), CanaryFault::Streams { .. }));
}

#[test]
fn a_packet_that_is_lost_on_the_way_is_a_fault() {
    let dir = tempfile::tempdir().unwrap();
    let mut blocks = 0;
    let (call, manifest) = through(dir.path(), Content::Opus, |mut block| {
        blocks += 1;
        if blocks == 20 {
            block.frames.remove(3);
        }
        block
    });
    let fault = call.check(&manifest, &dir.path().join("spool")).unwrap_err();
    assert!(matches!(fault, CanaryFault::Streams { .. }), "{fault}");
}

#[test]
fn old_canaries_go_and_nothing_else_does() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join(FOLDER);
    std::fs::create_dir(&folder).unwrap();
    let write = |path: PathBuf| std::fs::write(path, b"x").unwrap();
    for number in 0..13 {
        let id = format!("0193c4a5-0000-7000-8000-{number:012}");
        write(folder.join(format!("{id}.opus.age")));
        write(folder.join(format!("{id}.json.age")));
        write(dir.path().join(format!("{id}.opus.age")));
    }
    let old = "0193c4a5-0000-7000-8000-000000000000";
    for other in ["notes.txt", "a.opus.age", &format!("{old}.opus.age.part")] {
        write(folder.join(other));
    }
    std::os::unix::fs::symlink("/etc/passwd", folder.join("0193c4a5-0000-7000-8000-000000000001.x.age"))
        .unwrap();
    prune(&mut RealDisk::new(true), dir.path(), KEPT).unwrap();
    let names: BTreeSet<_> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(names.len(), 2 * KEPT + 4, "{names:?}");
    assert!(!names.contains(&format!("{old}.opus.age")));
    assert!(names.contains("0193c4a5-0000-7000-8000-000000000012.json.age"));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 14);
    assert!(prune(&mut RealDisk::new(true), &folder, KEPT).is_err());
}

#[test]
fn canaries_that_are_gone_are_no_fault_and_other_recordings_are() {
    let dir = tempfile::tempdir().unwrap();
    let (_, manifest) = through(dir.path(), Content::Opus, |block| block);
    let spool = dir.path().join("kept");
    let signer = identity::load_or_create(Some(&dir.path().join("state"))).unwrap();
    let mut log = ReceiptLog::open(&spool, signer).unwrap();
    let mut disk = RealDisk::new(true);
    disk.create_dir(&spool.join(FOLDER)).unwrap();
    let sha256 = digest::digest(&digest::SHA256, b"sealed").as_ref().try_into().unwrap();
    for name in ["canary/a.opus.age", "b.opus.age"] {
        std::fs::write(spool.join(name), b"sealed").unwrap();
        let files = vec![SealedAs { name: name.into(), bytes: 6, sha256 }];
        log.append(&Finished { manifest: manifest.clone(), files, unsealed: false }).unwrap();
    }
    log.commit(&mut disk).unwrap();
    let faults = || {
        let report = verify::directory(&spool, &Asked::default()).unwrap();
        report.faults.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert!(faults().is_empty(), "{:?}", faults());
    std::fs::write(spool.join("canary/a.opus.age"), b"others").unwrap();
    assert_eq!(faults(), ["changed: canary/a.opus.age is not as it was sealed"]);
    std::fs::remove_file(spool.join("canary/a.opus.age")).unwrap();
    assert!(faults().is_empty(), "{:?}", faults());
    std::fs::remove_file(spool.join("b.opus.age")).unwrap();
    assert_eq!(faults(), ["missing: b.opus.age"]);
    assert!(is_name("canary/a") && !is_name("canary") && !is_name("canary-a") && !is_name("x/canary/a"));
}

/// A driver with a pipeline that `answer`s by itself, until the status shows what is waited for.
fn drive(
    answer: impl Fn(&CanaryCall) -> Option<Manifest> + Send + 'static,
    reached: impl Fn(&Status) -> bool,
) {
    let dir = tempfile::tempdir().unwrap();
    let status = Arc::new(Status::new(About::default()));
    let (sender, done) = crossbeam_channel::bounded(4);
    let stop = Arc::new(AtomicBool::new(false));
    let driver = Driver {
        token: Arc::new(token()),
        dir: dir.path().into(),
        status: status.clone(),
        inject: Box::new(move |block, _| {
            let call = CanaryCall::new(start(), &token(), 1);
            if block.frames.is_empty()
                && let Some(manifest) = answer(&call)
            {
                // A full queue is what the driver must bear.
                let _ = sender.try_send(manifest);
            }
            true
        }),
        done,
        disk: Box::new(RealDisk::new(true)),
        random: Box::new(OsRandom::new().unwrap()),
        pace: Pace {
            every: Duration::from_millis(1),
            step: Duration::from_millis(1),
            patience: Duration::from_millis(20),
        },
    };
    let stopped = stop.clone();
    let thread = std::thread::spawn(move || driver.run(&stopped));
    while !reached(&status) {
        std::thread::sleep(Duration::from_millis(5));
    }
    stop.store(true, Ordering::Relaxed);
    thread.join().unwrap();
}

#[test]
fn a_recording_that_never_comes_is_an_alarm() {
    drive(|_| None, |status| status.snapshot().canary.failures >= 1);
}

#[test]
fn another_recording_is_not_taken_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let (_, manifest) = through(dir.path(), Content::Opus, |block| block);
    drive(
        move |_| Some(manifest.clone()),
        |status| {
            let canary = status.snapshot().canary;
            assert!(canary.last_success.is_none());
            canary.fault.is_some_and(|fault| fault.contains("no recording came out"))
        },
    );
}

#[test]
fn a_recorder_that_does_well_is_told_so() {
    let dir = tempfile::tempdir().unwrap();
    let spool = dir.path().join("spool");
    let mut pipeline = pipeline(dir.path(), Content::Opus);
    let intake = Intake::new(table::Config::default());
    let mut dispatcher = pipeline.dispatcher(intake, None, WhenFull::Wait, Arc::new(Progress::default()));
    let status = Arc::new(Status::new(About::default()));
    let stop = Arc::new(AtomicBool::new(false));
    let driver = Driver {
        token: Arc::new(token()),
        dir: spool,
        status: status.clone(),
        inject: Box::new(move |block, now| {
            if block.frames.is_empty() { dispatcher.idle(now) } else { dispatcher.block(block) }
        }),
        done: pipeline.done.clone(),
        disk: Box::new(RealDisk::new(true)),
        random: Box::new(OsRandom::new().unwrap()),
        pace: Pace { step: Duration::from_millis(20), ..Pace::default() },
    };
    let stopped = stop.clone();
    let thread = std::thread::spawn(move || driver.run(&stopped));
    let canary = loop {
        let canary = status.snapshot().canary;
        if canary.last_success.is_some() || canary.failures > 0 {
            break canary;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    stop.store(true, Ordering::Relaxed);
    thread.join().unwrap();
    assert_eq!((canary.failures, canary.fault), (0, None));
    pipeline.end().unwrap();
}
