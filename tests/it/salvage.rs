//! Files cut, torn and emptied at any byte: what is salvaged is the start of what was recorded, and all of it
//! that was whole.

use std::path::Path;

use sejf::recording::journal::Batch;
use sejf::recording::recorder::Content;
use sejf::seal::batch::BatchSealer;
use sejf::seal::identity::{Identities, generate_x25519};
use sejf::seal::random::{Randomness, Seeded};
use sejf::seal::recipient::Recipients;
use sejf::seal::segment::{FRAME_HEAD_BYTES, FrameHead, FrameKind};
use sejf::seal::stream::{PagePool, Sealer};
use sejf::shell::library;
use sejf::shell::salvage::{self, Asked, Fault};

#[test]
fn any_cut_leaves_a_true_beginning_and_no_less_than_was_whole() {
    let scene = Scene::new();
    let rounds = if std::env::var_os("SEJF_LONG_TESTS").is_some() { 5_000 } else { 150 };
    let mut lost = 0;
    for round in 0..rounds {
        let mut chance = Chance(Seeded::new(&[5; 32], "cuts", round));
        let mut part = scene.part.clone();
        let part_whole = match chance.below(4) {
            0 => part.len(),
            // Cut, or zeros where the disk had not been told yet.
            kind => {
                let at = chance.below(part.len() + 1);
                part.truncate(at);
                if kind == 1 {
                    part.resize(scene.part.len(), 0);
                }
                at
            }
        };
        let mut journal = scene.journal.clone();
        let journal_whole = match chance.below(3) {
            0 => journal.len(),
            1 => {
                let at = chance.below(journal.len() + 1);
                journal.truncate(at);
                at
            }
            _ => {
                let at = chance.below(journal.len());
                journal[at] ^= 1 << chance.below(8);
                at
            }
        };
        let expected = scene.expected(part_whole, journal_whole);
        let (found, faults) = scene.salvage(&part, &journal);
        assert!(scene.plain.starts_with(&found), "round {round}: wrong bytes");
        assert!(found.len() >= expected, "round {round}: {} of {expected}", found.len());
        for fault in &faults {
            assert!(matches!(fault, Fault::Hole { .. } | Fault::File { .. }), "round {round}: {fault}");
        }
        lost += usize::from(found.len() < scene.plain.len());
    }
    assert!(lost > 20, "only {lost} rounds lost anything");
}

#[test]
fn a_journal_that_disagrees_is_told_and_the_file_believed() {
    let scene = Scene::new();
    let mut batch = Batch::new(1 << 20);
    batch.bytes(&ID, Content::Wav, 50_000, b"not what the file says");
    let journal = journal_of(&scene.recipients, &[batch]);
    let (found, faults) = scene.salvage(&scene.part, &journal);
    assert_eq!(found, scene.plain[..CHUNKS * 65_536]);
    assert!(matches!(faults[..], [Fault::Differs { offset: 50_000, bytes: 22, .. }]), "{faults:?}");
}

/// A WAV file of three chunks in its part, and the rest in a journal that overlaps it.
struct Scene {
    identities: Identities,
    recipients: Recipients,
    plain: Vec<u8>,
    part: Vec<u8>,
    /// Where the part's chunks end.
    chunk_ends: Vec<usize>,
    journal: Vec<u8>,
    /// Where batches end, and the plain bytes of each.
    batches: Vec<(usize, usize, usize)>,
}

impl Scene {
    fn new() -> Self {
        let (identity, recipient) = generate_x25519(&mut Seeded::new(&[7; 32], "test", 0));
        let recipients = Recipients::parse([recipient]).expect("a recipient");
        let length = CHUNKS * 65_536 + 30_000;
        let plain: Vec<u8> = (0..length).map(|at| (at * 31 + at / 251) as u8).collect();
        let (mut sealer, header) =
            Sealer::start(&recipients, &mut Seeded::new(&[8; 32], "part", 0)).expect("sealed");
        let (mut part, mut pool, mut chunk_ends) = (header.into_vec(), PagePool::default(), Vec::new());
        sealer.write(&plain, &mut pool, &mut |chunk| {
            part.extend(chunk.into_vec());
            chunk_ends.push(part.len());
        });
        let (mut all, mut spans) = (Vec::new(), Vec::new());
        // From the middle of the second chunk on, each batch beginning a little before the last one ended.
        let mut from = 100_000;
        while from < length {
            let to = (from + 4_000).min(length);
            let mut batch = Batch::new(1 << 20);
            batch.bytes(&[9; 16], Content::Wav, 0, b"somebody else");
            batch.bytes(&ID, Content::Wav, (from - 60) as u64, &plain[from - 60..to]);
            all.push(batch);
            spans.push((from - 60, to));
            from = to;
        }
        let journal = journal_of(&recipients, &all);
        let mut ends = frame_ends(&journal);
        ends.remove(0);
        let batches = ends.into_iter().zip(spans).map(|(end, (from, to))| (end, from, to)).collect();
        let identities = Identities::parse(&identity).expect("an identity");
        Self { identities, recipients, plain, part, chunk_ends, journal, batches }
    }

    /// Plain bytes that are whole in what was left.
    fn expected(&self, part: usize, journal: usize) -> usize {
        let mut at = self.chunk_ends.iter().filter(|end| **end <= part).count() * 65_536;
        for (end, from, to) in &self.batches {
            if *end <= journal && *from <= at {
                at = at.max(*to);
            }
        }
        at
    }

    fn salvage(&self, part: &[u8], journal: &[u8]) -> (Vec<u8>, Vec<Fault>) {
        let dir = tempfile::tempdir().expect("folder");
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        std::fs::create_dir(&from).expect("folder");
        let id = uuid(ID);
        std::fs::write(from.join(format!("{id}.wav.interrupted.age")), part).expect("part");
        std::fs::write(from.join(format!("{}.journal", uuid([3; 16]))), journal).expect("journal");
        let asked = Asked {
            dir: &from,
            to: &to,
            identities: &self.identities,
            journal: None,
            recipients: &self.recipients,
        };
        let report = salvage::salvage(&asked, &mut Seeded::new(&[1; 32], "salvage", 0)).expect("salvaged");
        (self.open(&to.join(format!("{id}.wav.age"))), report.faults)
    }

    fn open(&self, path: &Path) -> Vec<u8> {
        let mut plain = Vec::new();
        if path.exists() {
            let mut reader = library::open(path, &self.identities).expect("opens");
            std::io::Read::read_to_end(&mut reader, &mut plain).expect("opens to its end");
        }
        plain
    }
}

fn journal_of(recipients: &Recipients, batches: &[Batch]) -> Vec<u8> {
    let mut random = Seeded::new(&[4; 32], "journal", 0);
    let (sealer, header) = BatchSealer::start(recipients, &mut random).expect("a key");
    let mut file = Vec::new();
    let mut frame = |sequence, kind, payload: &[u8]| {
        let head = FrameHead { segment: [6; 16], sequence, generation: 1, kind };
        file.extend_from_slice(&head.to_bytes(payload));
        file.extend_from_slice(payload);
    };
    frame(0, FrameKind::Header, header.as_bytes());
    for (sequence, batch) in (1..).zip(batches) {
        frame(sequence, FrameKind::Batch, sealer.seal(batch.as_bytes(), &mut random, Vec::new()).as_bytes());
    }
    file
}

fn frame_ends(journal: &[u8]) -> Vec<usize> {
    let (mut at, mut ends) = (0, Vec::new());
    while let Some(length) = journal.get(at + 44..at + 48) {
        at += FRAME_HEAD_BYTES + u32::from_le_bytes(length.try_into().expect("4 bytes")) as usize;
        ends.push(at);
    }
    ends
}

fn uuid(id: [u8; 16]) -> String {
    let hex: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

struct Chance(Seeded);

impl Chance {
    fn below(&mut self, end: usize) -> usize {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        (u64::from_le_bytes(bytes) % end.max(1) as u64) as usize
    }
}

const ID: [u8; 16] = [1, 0x93, 0xc4, 0xa5, 0, 0, 0x70, 0, 0x80, 0, 0, 0, 0, 0, 0, 1];
/// Whole chunks in the part.
const CHUNKS: usize = 3;
