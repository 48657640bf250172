//! The fuzz targets over generated captures with bytes changed, lost, doubled and put elsewhere. Every
//! failure names its seed. With libFuzzer: `cargo +nightly fuzz run frames` in `tests/fuzz`.

use std::sync::Arc;

use sejf::archive::tarball;
use sejf::base::endpoint::{Endpoint, Ip};
use sejf::base::frame::LinkType;
use sejf::base::net::{Net, Path};
use sejf::base::time::Stamp;
use sejf::call::table::Transport;
use sejf::call::transcript::Kept;
use sejf::codec::ogg::{Head, OggOpus, PACKET_SAMPLES};
use sejf::fixture::generate;
use sejf::fixture::generator::Generator;
use sejf::fixture::recipe::Recipe;
use sejf::fixture::scenarios::scenarios;
use sejf::fuzzing;
use sejf::recording::journal::Batch;
use sejf::recording::parts::{Continuation, LeftCall};
use sejf::recording::recorder::Content;
use sejf::seal::random::{Randomness, Seeded};
use sejf::seal::recipient::Recipients;
use sejf::seal::segment::{FrameHead, FrameKind};
use sejf::seal::stream::{PagePool, Sealer};
use sejf::shell::handover::record;

#[test]
fn frames() {
    let all = scenarios();
    smoke("frames", 400, |chance| {
        let (_, recipe) = &all[chance.below(all.len())];
        let mut data = vec![chance.below(3) as u8];
        for (frame, millis, link) in frames_of(recipe, chance.below(2) == 0) {
            let mut frame = frame;
            if chance.below(8) == 0 {
                chance.mutate(&mut frame);
            }
            match chance.below(60) {
                0 => {}
                1 => {
                    fuzzing::push_frame(&mut data, link, millis, &frame);
                    fuzzing::push_frame(&mut data, link, chance.byte(), &frame);
                }
                2 => fuzzing::push_frame(&mut data, LinkType(chance.below(300) as u16), millis, &frame),
                _ => fuzzing::push_frame(&mut data, link, millis, &frame),
            }
        }
        if chance.below(4) == 0 {
            chance.mutate(&mut data);
        }
        fuzzing::frames(&data);
    });
}

#[test]
fn sip_and_sdp() {
    let messages: Vec<Vec<u8>> = scenarios()
        .iter()
        .flat_map(|(_, recipe)| frames_of(recipe, true))
        .filter_map(|(frame, ..)| frame.get(42..).map(<[u8]>::to_vec))
        .filter(|payload| payload.windows(7).any(|window| window == b"SIP/2.0"))
        .collect();
    assert!(messages.len() > 200, "only {} messages", messages.len());
    smoke("sip", 20_000, |chance| {
        let mut message = messages[chance.below(messages.len())].clone();
        chance.mutate(&mut message);
        fuzzing::sip(&message);
        let body = message.windows(4).position(|window| window == b"\r\n\r\n").map_or(0, |end| end + 4);
        fuzzing::sdp(&message[body..]);
    });
}

#[test]
fn archives_of_bundles() {
    let mut whole = Vec::new();
    for (path, content) in [("a", &b""[..]), ("recordings/x/receipt.json", &[7; 700]), ("z", b"end")] {
        whole.extend(tarball::head(path, content.len() as u64, 77).unwrap());
        whole.extend_from_slice(content);
        whole.resize(whole.len() + tarball::padding(content.len() as u64), 0);
    }
    whole.extend(tarball::END);
    fuzzing::archive(&whole);
    smoke("archives", 20_000, |chance| {
        let mut data = whole.clone();
        chance.mutate(&mut data);
        fuzzing::archive(&data);
    });
}

#[test]
fn sound_that_is_played() {
    let head = Head { pre_skip: 312, input_rate_hz: 8_000, vendor: "v", comments: &[], serial: 7 };
    let mut whole = vec![2];
    let mut file = OggOpus::new(&head, &mut whole).with_pages(3);
    (0..9).for_each(|_| file.packet(vec![0x98, 2, 0xff, 0xfe, 0x98, 0xff, 0xfe], &mut whole));
    file.finish(9 * PACKET_SAMPLES, &mut whole);
    smoke("playback", 5_000, |chance| {
        let mut data = whole.clone();
        chance.mutate(&mut data);
        fuzzing::playback(&data);
    });
}

#[test]
fn capture_files() {
    let captures: Vec<Vec<u8>> = scenarios()
        .iter()
        .filter(|(name, _)| name.starts_with("pcap") || *name == "basic")
        .map(|(_, recipe)| generate(recipe).expect("a sound recipe").capture)
        .collect();
    smoke("capture", 3_000, |chance| {
        let mut capture = captures[chance.below(captures.len())].clone();
        capture.truncate(24 + chance.below(8_000));
        chance.mutate(&mut capture);
        fuzzing::capture(&capture);
    });
}

#[test]
fn timelines() {
    smoke("audio", 600, |chance| {
        let mut data = vec![chance.byte()];
        let mut sequences = [0_u16; 4];
        let types = [0, 0, 8, 9, 3, 18, 13, 96, 97, 98, 99, 100, 101, 102, 77];
        let usual = types[chance.below(types.len())];
        for _ in 0..chance.below(300) {
            let stream = chance.below(4);
            let sequence = &mut sequences[stream];
            *sequence = match chance.below(30) {
                0 => chance.below(65_536) as u16,
                1 => sequence.wrapping_sub(2),
                2 => sequence.wrapping_add(7),
                _ => sequence.wrapping_add(1),
            };
            let millis = if chance.below(40) == 0 { chance.byte() } else { 2 };
            let step: u32 = match chance.below(60) {
                0 => chance.next() as u32,
                1 => 0,
                2 => 80,
                _ => 160,
            };
            let payload_type = if chance.below(20) == 0 { types[chance.below(types.len())] } else { usual };
            let length = if chance.below(10) == 0 { chance.byte() } else { 160 };
            data.extend([stream as u8, millis]);
            data.extend(sequence.to_be_bytes());
            data.extend(step.to_be_bytes());
            data.extend([payload_type | (chance.byte() & 0x80), length]);
            data.extend((0..length).map(|_| chance.byte()));
        }
        fuzzing::audio(&data);
    });
}

#[test]
fn sealed_files() {
    let recipients = Recipients::parse([fuzzing::sealing_recipient()]).expect("a recipient");
    let mut random = Seeded::new(&[3; 32], "smoke", 0);
    let mut files = Vec::new();
    for length in [0, 100, 65_536, 70_000] {
        let (mut sealer, header) = Sealer::start(&recipients, &mut random).expect("sealed");
        let (mut pool, mut bytes) = (PagePool::default(), header.into_vec());
        sealer.write(&vec![5; length], &mut pool, &mut |chunk| bytes.extend(chunk.as_bytes()));
        sealer.finish(&mut pool, &mut |chunk| bytes.extend(chunk.as_bytes()));
        fuzzing::age(&bytes);
        files.push(bytes);
    }
    smoke("age", 4_000, |chance| {
        let mut file = files[chance.below(files.len())].clone();
        if chance.below(2) == 0 {
            // Most of what can be malformed is at the start.
            let place = chance.below(file.len().min(300));
            file[place] ^= 1 << chance.below(8);
        } else {
            chance.mutate(&mut file);
        }
        fuzzing::age(&file);
    });
}

#[test]
fn journals() {
    let mut files = Vec::new();
    let mut batch = Batch::new(1 << 20);
    batch.bytes(&[1; 16], Content::Wav, 7, b"some bytes of a file");
    batch.facts(&[2; 16], b"{}");
    batch.end(&[1; 16], Content::Opus, 9);
    files.push(batch.as_bytes().to_vec());
    let mut segment = Vec::new();
    for sequence in 0..4 {
        let head = FrameHead { segment: [3; 16], sequence, generation: 1, kind: FrameKind::Batch };
        segment.extend(head.to_bytes(batch.as_bytes()));
        segment.extend_from_slice(batch.as_bytes());
    }
    files.push(segment);
    let mut page = b"OggS\0\0".to_vec();
    page.resize(26, 1);
    page.extend([2, 200, 3]);
    page.resize(29 + 203, 7);
    files.push([&page[..], &page[..], &page[..90]].concat());
    let block = |length: u32| {
        let mut block = [6, length, 0, 0, 0, 4, 4, 0].map(u32::to_le_bytes).concat();
        block.resize(length as usize - 4, 2);
        block.extend(length.to_le_bytes());
        block
    };
    files.push([block(40), block(44), block(64)].concat());
    smoke("journal", 20_000, |chance| {
        let mut file = files[chance.below(files.len())].clone();
        chance.mutate(&mut file);
        fuzzing::journal(&file);
    });
}

#[test]
fn records_of_calls() {
    let now = Stamp::from_unix_nanos(1_795_468_121_220_582_001);
    let at = |last| Endpoint::new(Ip::v4([192, 0, 2, last]), 5_060);
    let all = scenarios();
    let records: Vec<Vec<u8>> = all
        .iter()
        .map(|(_, recipe)| {
            let payloads =
                frames_of(recipe, true).into_iter().filter_map(|(frame, ..)| frame.get(42..).map(Arc::from));
            let kept = |bytes| Kept {
                at: now,
                path: Path { net: Net::PLAIN, src: at(1), dst: at(2) },
                transport: Transport::Udp,
                bytes,
            };
            let continuation = Continuation {
                number: 2,
                first: "0193c4a5-0000-7000-8000-000000000001".into(),
                start: now,
                offset_ns: 7,
                labels: Default::default(),
                pause: None,
                cut: false,
            };
            let messages = payloads.map(kept).take(8).collect();
            record::encode(&[LeftCall { continuation, messages }], now)
        })
        .collect();
    smoke("handover", 20_000, |chance| {
        let mut record = records[chance.below(records.len())].clone();
        if chance.below(8) > 0 {
            chance.mutate(&mut record);
        }
        fuzzing::handover(&record);
    });
}

/// Frames, the time since the one before, and the link type.
fn frames_of(recipe: &Recipe, first_only: bool) -> Vec<(Vec<u8>, u8, LinkType)> {
    let mut generator = Generator::new(recipe).expect("a sound recipe");
    let (mut frames, mut before) = (Vec::new(), None);
    let link = recipe.file.interfaces[0].link;
    while let Some(frame) = generator.next_frame() {
        let now = frame.stamp.as_unix_nanos();
        let millis = (now - before.unwrap_or(now)) / 1_000_000;
        before = Some(now);
        frames.push((frame.bytes.to_vec(), millis.min(255) as u8, link));
        if first_only && frames.len() == 60 {
            break;
        }
    }
    frames
}

/// Runs `body` with many seeds.
fn smoke(name: &str, seeds: u64, mut body: impl FnMut(&mut Chance)) {
    let seeds = if std::env::var_os("SEJF_LONG_TESTS").is_some() { seeds * 20 } else { seeds };
    for seed in 0..seeds {
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            body(&mut Chance(Seeded::new(&[0; 32], name, seed)));
        }));
        assert!(outcome.is_ok(), "{name}: seed {seed} fails");
    }
}

/// Repeatable chance.
struct Chance(Seeded);

impl Chance {
    fn next(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn byte(&mut self) -> u8 {
        self.next() as u8
    }

    /// Changes a few places: bits, bytes, runs cut out, doubled, and numbers at their limits.
    fn mutate(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.below(6) {
            if bytes.is_empty() {
                return;
            }
            let at = self.below(bytes.len());
            let run = at..(at + 1 + self.below(16)).min(bytes.len());
            match self.below(7) {
                0 => bytes[at] ^= 1 << self.below(8),
                1 => bytes[at] = self.byte(),
                2 => drop(bytes.drain(run)),
                3 => {
                    let copy = bytes[run].to_vec();
                    bytes.splice(at..at, copy);
                }
                4 => bytes[run].fill(0xff),
                5 => bytes[run].fill(0),
                _ => bytes.truncate(at),
            }
        }
    }
}
