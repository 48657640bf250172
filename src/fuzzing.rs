//! Bodies of the fuzz targets: any bytes in, no panic, and what must always hold, holds. Not for use.

use std::io::{Cursor, Read};
use std::path::Path;
use std::sync::Arc;

use crate::archive::tarball::{self, Index};
use crate::base::counters::Counters;
use crate::base::format::Format;
use crate::base::frame::{FrameBlock, FrameMeta, LinkType};
use crate::base::time::Stamp;
use crate::call::intake::Intake;
use crate::call::table;
use crate::call::transcript::CALL_MESSAGES_KEPT;
use crate::recording::audio::{CallAudio, Config, Output, RtpPart, StreamInfo};
use crate::recording::journal::{Entry, entries};
use crate::recording::manifest::{Manifest, Party, RecorderFacts};
use crate::recording::pause::{PauseBy, PauseRules};
use crate::recording::playback::play;
use crate::recording::recorder::{self, Content, Keep};
use crate::recording::salvage::Ending;
use crate::seal::identity::{Identities, generate_x25519};
use crate::seal::open::Opener;
use crate::seal::random::{Randomness, Seeded};
use crate::seal::recipient::Recipients;
use crate::seal::segment::Frames;
use crate::shell::handover::record::{self, Found};
use crate::shell::shard;
use crate::shell::source::Captures;
use crate::wire::rtcp;
use crate::wire::sdp::SessionDescription;
use crate::wire::sip::Message;

/// Frames through signalling, the call table and recorders. See [`push_frame`] for their form.
pub fn frames(data: &[u8]) {
    let Some((content, frames)) = data.split_first() else { return };
    let content = [Content::Wav, Content::Packets, Content::Opus][usize::from(content % 3)];
    let block = block(frames);
    let mut intake = Intake::new(table::Config {
        orphans: data.len().is_multiple_of(2),
        signals: data.len().is_multiple_of(3),
        ..table::Config::default()
    });
    let mut tasks = Vec::new();
    for (index, frame) in (0..).zip(&block.frames) {
        intake.handle_timeout(frame.stamp, &mut |task| tasks.push(task));
        intake.frame(&block, index, &mut |task| tasks.push(task));
    }
    intake.finish(&mut |task| tasks.push(task));
    let captured = block.frames.len() as u64;
    let masking = data.len().is_multiple_of(3);
    let recording = recording(content, masking);
    let (books, finished) = shard::run_alone(recording, Arc::new(entropy), &block, tasks);
    let discarded = |counters: &crate::base::counters::Counters| counters.discarded.values().sum::<u64>();
    let accounted = books.recorded + discarded(&books) + discarded(&intake.take_books());
    assert_eq!(captured, accounted, "frames captured, and frames accounted for");
    for finished in finished {
        let json = serde_json::to_vec(&finished.manifest).expect("a manifest is JSON");
        let again: Manifest = serde_json::from_slice(&json).expect("a manifest reads back");
        assert_eq!(again.streams.len(), finished.manifest.streams.len());
    }
}

/// Appends a frame in the form that [`frames`] reads: link type, time since the frame before, bytes.
pub fn push_frame(data: &mut Vec<u8>, link: LinkType, millis: u8, frame: &[u8]) {
    let link = LINKS.iter().position(|known| *known == link).unwrap_or(0);
    let length = u16::try_from(frame.len()).unwrap_or(u16::MAX);
    data.extend_from_slice(&[link as u8, millis]);
    data.extend_from_slice(&length.to_be_bytes());
    data.extend_from_slice(&frame[..usize::from(length)]);
}

/// A segment of a journal, and a batch as it is inside one.
pub fn journal(data: &[u8]) {
    let mut frames = Frames::new(data);
    let mut held = 0;
    while let Ok(Some((_, payload))) = frames.next_frame() {
        held += payload.len();
    }
    assert!(held as u64 <= frames.valid_bytes() && frames.valid_bytes() <= data.len() as u64);
    let mut held = 0;
    for entry in entries(data).into_iter().flatten().flatten() {
        held += match entry {
            Entry::Bytes { bytes, .. } => bytes.len(),
            Entry::Facts { json, .. } => json.len(),
            Entry::End { .. } => 0,
        };
    }
    assert!(held < data.len().max(1));
    for content in [Content::Opus, Content::Packets, Content::Wav] {
        let (mut ending, mut out) = (Ending::new(content), Vec::new());
        data.chunks(97).for_each(|part| ending.push(part, &mut out));
        let ended = ending.finish(&mut out);
        assert!(out.len() as u64 + ended.dropped == data.len() as u64);
    }
}

/// A record of calls that one process has left for another.
pub fn handover(data: &[u8]) {
    let now = Stamp::from_unix_nanos(1_795_468_121_220_582_001);
    // Frames have checksums: what is found by chance is what is in them.
    let _ = record::find(&[data.to_vec(), data.iter().rev().copied().collect()], now);
    let Ok(Found { calls, .. }) = record::decode(data, now) else { return };
    let again = record::decode(&record::encode(&calls, now), now);
    assert!(again.is_ok_and(|again| again.calls.len() + again.unreadable as usize == calls.len()));
    let mut intake = Intake::new(table::Config::default());
    intake.keep_transcripts();
    let mut tasks = 0;
    for call in &calls {
        intake.resume(call.continuation.start, &call.messages, &mut |_| tasks += 1);
    }
    assert_eq!(intake.take_books(), Counters::default(), "another process has counted these frames");
    let left = intake.leave(now, &mut |_| tasks += 1);
    assert!(left.iter().all(|(_, messages)| messages.len() <= CALL_MESSAGES_KEPT));
    assert!(tasks >= left.len(), "each call that goes on was opened");
}

/// A datagram as SIP.
pub fn sip(data: &[u8]) {
    let Ok(message) = Message::parse(data) else { return };
    let names = [message.from(), message.to(), message.contact()];
    assert!(names.iter().flatten().all(|name| name.uri.len() <= data.len()));
    let lines = message.lines().count();
    assert!(lines <= data.len());
    let _ = (message.call_id(), message.cseq(), message.via_branch(), message.user_agent());
    assert!(message.p_asserted_identity().count() <= data.len());
    message.sdp().inspect(|body| sdp(body));
}

/// A body as SDP, and as RTCP.
pub fn sdp(data: &[u8]) {
    let _ = SessionDescription::parse(data);
    assert!(rtcp::packets(data).count() <= data.len());
}

/// A capture file: pcap, pcapng, gzip of either. An odd length reads it twice, merged.
pub fn capture(data: &[u8]) {
    let input = || Box::new(Cursor::new(data.to_vec())) as Box<dyn Read + Send>;
    let inputs = if data.len().is_multiple_of(2) { vec![input()] } else { vec![input(), input()] };
    let count = inputs.len();
    let Ok(mut captures) = Captures::read(Path::new("fuzzed"), inputs) else { return };
    let (mut block, mut frames) = (FrameBlock::default(), 0_u64);
    while captures.fill(&mut block) {
        for frame in &block.frames {
            frames += 1;
            assert_eq!(frame.number, frames);
            assert!(block.data(frame).len() <= frame.wire_len as usize);
        }
    }
    assert!(captures.damages().len() <= count);
}

/// Packets on the timeline of one call. Ten bytes each, then the payload: stream, time, sequence
/// number, timestamp step, payload type, length.
pub fn audio(data: &[u8]) {
    let Some((settings, mut rest)) = data.split_first() else { return };
    let output = if settings & 1 == 0 { Output::Wav } else { Output::Opus };
    let mut audio = CallAudio::new(Config { output, start: START, id: "fuzzed".into() });
    if settings & 2 != 0 {
        audio.watch_tones(settings & 4 != 0);
    }
    for number in 0..STREAMS {
        let party = [Party::Caller, Party::Callee, Party::Unknown, Party::Caller][usize::from(number)];
        audio.add_stream(number, StreamInfo { party, rank: u8::from(number == 3) });
    }
    let (mut at, mut timestamps, mut out) = (START, [0_u32; STREAMS as usize], Vec::new());
    while let Some((head, more)) = rest.split_first_chunk::<10>() {
        let [stream, millis, s1, s2, t1, t2, t3, t4, payload_type, length] = *head;
        let (payload, more) = more.split_at(more.len().min(usize::from(length)));
        rest = more;
        at = at.after(std::time::Duration::from_millis(u64::from(millis) * 4));
        let stream = u16::from(stream) % STREAMS;
        let timestamp = &mut timestamps[usize::from(stream)];
        *timestamp = timestamp.wrapping_add(u32::from_be_bytes([t1, t2, t3, t4]));
        let sequence = u16::from_be_bytes([s1, s2]);
        let format = format(payload_type);
        let part = RtpPart {
            sequence,
            timestamp: *timestamp,
            marker: payload_type & 0x80 != 0,
            payload_type: payload_type & 0x7f,
        };
        audio.packet(stream, at, part, format.map(Arc::new).as_ref(), payload, &mut out);
        out.clear();
        match settings & 8 != 0 {
            true if s2 % 64 == 1 => audio.pause(at),
            true if s2 % 64 == 9 => audio.resume(at),
            _ => {}
        }
        if millis % 16 == 0 {
            audio.handle_timeout(at, &mut out);
            out.clear();
        }
    }
    let facts = audio.finish(at, &mut out);
    assert!(facts.gaps.iter().all(|gap| gap.length_s.is_finite() && gap.length_s >= 0.0), "{:?}", facts.gaps);
}

/// A sealed file, opened with a key that fits the files of [`sealing_recipient`].
pub fn age(data: &[u8]) {
    let (identity, _) = pair();
    let identities = Identities::parse(&identity).expect("an identity just made");
    let Ok(mut opener) = Opener::open(data, &identities) else { return };
    let mut given = 0;
    while let Ok(Some(chunk)) = opener.next_chunk() {
        given += chunk.len();
    }
    assert!(given <= data.len());
    assert!(!matches!(opener.next_chunk(), Ok(Some(_))), "something after the end");
}

/// A tar archive: what is taken has one form, so its files make the same archive again.
pub fn archive(data: &[u8]) {
    let Ok(index) = Index::read(&mut Cursor::new(data), data.len() as u64) else { return };
    let mut files: Vec<_> = index.files.iter().collect();
    files.sort_by_key(|(_, place)| place.at);
    let mut again = Vec::with_capacity(data.len());
    for (path, place) in files {
        again.extend(tarball::head(path, place.bytes, index.made_s).expect("it was read just now"));
        again.extend_from_slice(&data[place.at as usize..][..place.bytes as usize]);
        again.resize(again.len() + tarball::padding(place.bytes), 0);
    }
    again.extend(tarball::END);
    assert!(again == data, "an archive of another form was taken");
}

/// Recorded sound, played to its end.
pub fn playback(data: &[u8]) {
    let Some((content, mut plain)) = data.split_first() else { return };
    let content = [Content::Wav, Content::Packets, Content::Opus][usize::from(content % 3)];
    if let Ok(played) = play(&mut plain, content) {
        // Opus says 120 ms in a byte.
        assert!(played.samples <= data.len() as u64 * 5_760, "{played:?} of {} bytes", data.len());
    }
}

/// Who can open what is fuzzed.
pub fn sealing_recipient() -> String {
    pair().1
}

fn pair() -> (zeroize::Zeroizing<String>, String) {
    generate_x25519(&mut Seeded::new(&[7; 32], "fuzzing", 0))
}

fn block(mut data: &[u8]) -> FrameBlock {
    let (mut block, mut stamp) = (FrameBlock::default(), START);
    while let Some(([link, millis, l1, l2], more)) = data.split_first_chunk() {
        let length = usize::from(u16::from_be_bytes([*l1, *l2]));
        let (frame, more) = more.split_at(more.len().min(length));
        data = more;
        stamp = stamp.after(std::time::Duration::from_millis(u64::from(*millis)));
        let meta = FrameMeta {
            stamp,
            number: block.frames.len() as u64 + 1,
            offset: 0,
            len: 0,
            // Some are cut by the snap length.
            wire_len: frame.len() as u32 + u32::from(link >> 7),
            link: LINKS[usize::from(link & 0x7f) % LINKS.len()],
            interface: 0,
        };
        block.push(meta, frame);
    }
    block
}

fn recording(content: Content, masking: bool) -> recorder::Config {
    recorder::Config {
        keep: Keep::All,
        priority: 0,
        folder: "",
        content,
        recipients: Recipients::parse([sealing_recipient()]).expect("a recipient just made"),
        recorder: RecorderFacts { id: "fuzzing".into(), version: "0".into() },
        labels: ["default".into(), "default@1".into(), "standard".into()],
        mask_digits: masking,
        pause: masking.then(|| PauseRules {
            dtmf_pause: Some("1".into()),
            dtmf_resume: Some("2".into()),
            header: Some("X-Recording".into()),
            by: PauseBy::Either,
        }),
    }
}

fn entropy(ordinal: u64) -> Box<dyn Randomness + Send> {
    Box::new(Seeded::new(&[9; 32], "fuzzing", ordinal))
}

fn format(payload_type: u8) -> Option<Format> {
    match payload_type & 0x7f {
        96 => Some(Format { channels: 2, ..Format::new("OPUS", 48_000) }),
        97 => Some(Format::new("AMR", 8_000)),
        98 => Some(Format::new("AMR-WB", 16_000)),
        99 => Some(Format::new("L16", 16_000)),
        100 => Some(Format::new("SPEEX", 16_000)),
        101 => Some(Format::new("TELEPHONE-EVENT", 8_000)),
        102 => Some(Format::new("G726-32", 8_000)),
        other => Format::static_payload_type(other),
    }
}

const START: Stamp = Stamp::from_unix_nanos(1_780_000_000_000_000_000);
const STREAMS: u16 = 4;
const LINKS: [LinkType; 9] = [
    LinkType::ETHERNET,
    LinkType::NULL,
    LinkType::RAW,
    LinkType::LOOP,
    LinkType::LINUX_SLL,
    LinkType::IPV4,
    LinkType::IPV6,
    LinkType::LINUX_SLL2,
    LinkType(9_999),
];
