//! The form of the record of calls in progress.
//!
//! ```text
//! record = half × 2             two memfds, written in turn
//! half   = frame*               the first says all, each other one what has changed since the one before
//! frame  = checksum (4) length (4) sequence (8) lines    CRC-32C of all behind it; numbers are little-endian
//! lines  = head LF (call LF)*   JSON
//! ```
//!
//! A frame is valid where its checksum is right and its sequence is that of the one before and one. Whoever
//! is killed while he writes leaves valid frames with something behind them that is none: it is not read. So
//! at any time the record says what was right a frame ago. When a half has grown long, all goes into the
//! other one, which counts from its first whole frame on: of two halves, the one whose last sequence is
//! higher.
//!
//! A line that makes no sense costs its call; another version costs all, which are then recorded as calls
//! whose beginning was not seen.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::base::endpoint::{Endpoint, Ip};
use crate::base::net::{Net, Path};
use crate::base::time::Stamp;
use crate::call::table::Transport;
use crate::call::transcript::{CALL_BYTES_KEPT, CALL_MESSAGES_KEPT, Kept};
use crate::recording::parts::{Continuation, LeftCall};
use crate::shell::canary;

/// Why a record tells nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordFault {
    /// Another version wrote it.
    #[error("it has version {found}, this program knows {VERSION}")]
    Version {
        /// The version it says.
        found: u32,
    },
    /// It was written long ago: its calls are over.
    #[error("it was written {0:?} ago")]
    Stale(Duration),
    /// It does not begin as a record does.
    #[error("it does not begin as one")]
    Unreadable(#[source] serde_json::Error),
    /// There is no whole frame in it.
    #[error("whoever wrote it did not finish")]
    Unfinished,
    /// Longer than any.
    #[error("it is longer than {HALF_BYTES_MAX} bytes")]
    Long,
    /// It could not be read.
    #[error("reading it: {0}")]
    Io(#[from] io::Error),
}

/// What a process finds of the one before.
#[derive(Debug, Default, PartialEq)]
pub struct Found {
    /// Calls that go on, in the order in which they began.
    pub calls: Vec<LeftCall>,
    /// Calls that could not be read.
    pub unreadable: u64,
    /// Sequence of the last frame.
    pub sequence: u64,
}

/// A frame begins with this.
#[derive(Default, Deserialize, Serialize)]
pub(super) struct Head {
    #[serde(rename = "sejf-calls")]
    pub(super) version: u32,
    /// It says all.
    pub(super) whole: bool,
    /// Lines that follow.
    pub(super) calls: u64,
    /// Calls of frames before that are over.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) gone: Vec<u64>,
    /// By the machine's clock.
    pub(super) left_at: u64,
    /// Capture time that was reached, of a recorder that went on after this; none where it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) reached: Option<u64>,
}

#[derive(Serialize)]
struct CallOut<'a> {
    call: u64,
    continuation: &'a Continuation,
    messages: Vec<MessageLine>,
}

#[derive(Deserialize)]
struct CallLine {
    call: u64,
    continuation: Continuation,
    messages: Vec<MessageLine>,
}

#[derive(Deserialize, Serialize)]
struct MessageLine {
    at: u64,
    net: u64,
    src: SocketAddr,
    dst: SocketAddr,
    via: Via,
    sip: String,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum Via {
    Hep,
    Tcp,
    Udp,
    Ws,
}

#[derive(Deserialize)]
struct Versioned {
    #[serde(rename = "sejf-calls")]
    version: u32,
}

/// A frame being put together.
pub(super) struct Frame(Vec<u8>);

impl Frame {
    pub(super) fn new(head: &Head) -> Self {
        let mut frame = Self(vec![0; FRAME_HEAD_BYTES]);
        frame.line(head);
        frame
    }

    pub(super) fn call(&mut self, call: u64, continuation: &Continuation, messages: &[Kept]) {
        let messages = messages.iter().map(MessageLine::from).collect();
        self.line(&CallOut { call, continuation, messages });
    }

    fn line(&mut self, line: &impl Serialize) {
        // Cannot fail: there are no maps in it, whose keys might not be text, and memory takes all.
        let _ = serde_json::to_writer(&mut self.0, line);
        self.0.push(b'\n');
    }

    fn lines(&self) -> &[u8] {
        &self.0[FRAME_HEAD_BYTES..]
    }

    pub(super) fn bytes(mut self, sequence: u64) -> Vec<u8> {
        let length = self.lines().len() as u32;
        self.0[4..8].copy_from_slice(&length.to_le_bytes());
        self.0[8..16].copy_from_slice(&sequence.to_le_bytes());
        let checksum = crc32c::crc32c(&self.0[4..]);
        self.0[..4].copy_from_slice(&checksum.to_le_bytes());
        self.0
    }
}

/// Canary calls end with their process, and to the next one they would be calls like any other.
pub(super) fn is_left(continuation: &Continuation) -> bool {
    continuation.labels[0] != canary::TRUNK
}

/// All of `calls` in one frame, left at `now` by a recorder that has ended.
pub(super) fn whole(calls: &[LeftCall], now: Stamp) -> Frame {
    let calls: Vec<_> = calls.iter().filter(|call| is_left(&call.continuation)).collect();
    let (version, left_at) = (VERSION, now.as_unix_nanos());
    let head = Head { version, whole: true, calls: calls.len() as u64, left_at, ..Head::default() };
    let mut frame = Frame::new(&head);
    for (number, call) in (0..).zip(calls) {
        frame.call(number, &call.continuation, &call.messages);
    }
    frame
}

/// The lines of such a frame.
pub fn encode(calls: &[LeftCall], now: Stamp) -> Vec<u8> {
    whole(calls, now).lines().into()
}

/// Reads the lines of a frame that says all, at `now`.
pub fn decode(lines: &[u8], now: Stamp) -> Result<Found, RecordFault> {
    Reading::default().finish([lines].into_iter(), now)
}

/// Reads a record at `now`: nothing where nothing was ever written.
pub fn find(halves: &[Vec<u8>], now: Stamp) -> Result<Found, RecordFault> {
    let last = |half: &Vec<u8>| frames(half).last().map(|(sequence, _)| sequence);
    match halves.iter().filter_map(|half| Some((last(half)?, half))).max_by_key(|(sequence, _)| *sequence) {
        Some((sequence, half)) => {
            let found = Reading::default().finish(frames(half).map(|(_, lines)| lines), now)?;
            Ok(Found { sequence, ..found })
        }
        None if halves.iter().all(Vec::is_empty) => Ok(Found::default()),
        None => Err(RecordFault::Unfinished),
    }
}

/// Reads a half. Its place, which others share, stays where it is.
pub(super) fn read(half: &File) -> Result<Vec<u8>, RecordFault> {
    let length = usize::try_from(half.metadata()?.len()).unwrap_or(usize::MAX);
    if length > HALF_BYTES_MAX {
        return Err(RecordFault::Long);
    }
    let mut bytes = vec![0; length];
    half.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

/// Valid frames of a half from its beginning: sequence and lines.
fn frames(half: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    let (mut rest, mut next) = (half, None);
    std::iter::from_fn(move || {
        let (head, behind) = rest.split_first_chunk::<FRAME_HEAD_BYTES>()?;
        let [checksum, length] =
            [0, 4].map(|at| u32::from_le_bytes([0, 1, 2, 3].map(|more| head[at + more])));
        let sequence = u64::from_le_bytes([8, 9, 10, 11, 12, 13, 14, 15].map(|at| head[at]));
        let (lines, behind) = behind.split_at_checked(length as usize)?;
        let is_valid = crc32c::crc32c(&rest[4..FRAME_HEAD_BYTES + lines.len()]) == checksum
            && next.is_none_or(|next| next == sequence);
        next = sequence.checked_add(1);
        rest = behind;
        is_valid.then_some((sequence, lines))
    })
    .fuse()
}

/// Frames so far.
#[derive(Default)]
struct Reading {
    calls: BTreeMap<u64, LeftCall>,
    unreadable: u64,
    head: Option<Head>,
}

impl Reading {
    fn finish<'a>(
        mut self,
        frames: impl Iterator<Item = &'a [u8]>,
        now: Stamp,
    ) -> Result<Found, RecordFault> {
        frames.into_iter().try_for_each(|lines| self.frame(lines))?;
        let head = self.head.ok_or(RecordFault::Unfinished)?;
        let left_at = Stamp::from_unix_nanos(head.left_at);
        if now.since(left_at) > STALE {
            return Err(RecordFault::Stale(now.since(left_at)));
        }
        let Self { mut calls, mut unreadable, .. } = self;
        for call in calls.values_mut() {
            let reached = head.reached.map(Stamp::from_unix_nanos);
            call.continuation.cut = reached.is_some();
            reached.into_iter().for_each(|reached| call.continuation.advance(reached));
        }
        let count = calls.len();
        calls.retain(|_, call| is_sane(call, left_at));
        unreadable += (count - calls.len()) as u64;
        Ok(Found { calls: calls.into_values().collect(), unreadable, sequence: 0 })
    }

    fn frame(&mut self, lines: &[u8]) -> Result<(), RecordFault> {
        let mut lines = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let first = lines.next().unwrap_or_default();
        let Versioned { version } = serde_json::from_slice(first).map_err(RecordFault::Unreadable)?;
        if version != VERSION {
            return Err(RecordFault::Version { found: version });
        }
        let head: Head = serde_json::from_slice(first).map_err(RecordFault::Unreadable)?;
        if head.whole {
            *self = Self::default();
        } else if self.head.is_none() {
            return Err(RecordFault::Unfinished);
        }
        for gone in &head.gone {
            self.calls.remove(gone);
        }
        let mut read = 0;
        for (call, left) in lines.filter_map(call) {
            read += 1;
            self.calls.insert(call, left);
        }
        self.unreadable = self.unreadable.saturating_add(head.calls.saturating_sub(read));
        self.head = Some(head);
        Ok(())
    }
}

fn call(line: &[u8]) -> Option<(u64, LeftCall)> {
    let CallLine { call, continuation, messages } = serde_json::from_slice(line).ok()?;
    // Before anything is done with them.
    if !(1..=CALL_MESSAGES_KEPT).contains(&messages.len()) {
        return None;
    }
    let messages: Vec<Kept> = messages.into_iter().map(MessageLine::kept).collect::<Option<_>>()?;
    let bytes: usize = messages.iter().map(|message| message.bytes.len()).sum();
    (bytes <= CALL_BYTES_KEPT).then_some((call, LeftCall { continuation, messages }))
}

fn is_sane(LeftCall { continuation, .. }: &LeftCall, left_at: Stamp) -> bool {
    // Times far from each other would make hours of silence.
    let distance = continuation.start.nanos_after(left_at).unsigned_abs();
    let texts = continuation.labels.iter().chain(continuation.pause.iter().map(|why| &why.text));
    uuid::Uuid::parse_str(&continuation.first).is_ok()
        && continuation.number > 1
        && u128::from(distance) < CLOCKS_APART.as_nanos()
        && texts.map(String::len).sum::<usize>() <= TEXT_BYTES_MAX
}

impl From<&Kept> for MessageLine {
    fn from(kept: &Kept) -> Self {
        let address = |at: Endpoint| SocketAddr::new(at.ip.to_std(), at.port);
        Self {
            at: kept.at.as_unix_nanos(),
            net: kept.path.net.to_bits(),
            src: address(kept.path.src),
            dst: address(kept.path.dst),
            via: match kept.transport {
                Transport::Hep => Via::Hep,
                Transport::Tcp => Via::Tcp,
                Transport::Udp => Via::Udp,
                Transport::WebSocket => Via::Ws,
            },
            sip: STANDARD.encode(&kept.bytes),
        }
    }
}

impl MessageLine {
    fn kept(self) -> Option<Kept> {
        let endpoint = |at: SocketAddr| Endpoint::new(Ip::from(at.ip()), at.port());
        Some(Kept {
            at: Stamp::from_unix_nanos(self.at),
            path: Path { net: Net::from_bits(self.net), src: endpoint(self.src), dst: endpoint(self.dst) },
            transport: match self.via {
                Via::Hep => Transport::Hep,
                Via::Tcp => Transport::Tcp,
                Via::Udp => Transport::Udp,
                Via::Ws => Transport::WebSocket,
            },
            bytes: STANDARD.decode(self.sip).ok()?.into(),
        })
    }
}

/// Of the record's form, and of [`Net::to_bits`].
pub(super) const VERSION: u32 = 2;
/// Checksum, length and sequence.
const FRAME_HEAD_BYTES: usize = 16;
/// What all calls may keep in Base64, and their facts, and what has changed since.
pub(super) const HALF_BYTES_MAX: usize = 192 << 20;
/// Labels, and the reason of a pause.
const TEXT_BYTES_MAX: usize = 4_096;
/// A call that waited for so long to go on has ended since.
const STALE: Duration = Duration::from_secs(300);
/// What capture time and that of the machine may be apart.
const CLOCKS_APART: Duration = Duration::from_secs(24 * 3_600);

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::recording::pause::{MaskedBy, PauseReason};

    pub(in crate::shell::handover) fn now() -> Stamp {
        Stamp::from_unix_nanos(1_795_468_121_220_582_001)
    }

    pub(in crate::shell::handover) fn left() -> LeftCall {
        let at = |last, port| Endpoint::new(Ip::v4([192, 0, 2, last]), port);
        let kept = |transport, src, bytes: &[u8]| Kept {
            at: now().before(Duration::from_secs(3_600)),
            path: Path { net: Net::PLAIN.tagged(7), src, dst: at(2, 5_060) },
            transport,
            bytes: bytes.into(),
        };
        let v6 = Endpoint::new(Ip::v6([0x20; 16]), 5_061);
        LeftCall {
            continuation: Continuation {
                number: 2,
                first: "0193c4a5-0000-7000-8000-000000000001".into(),
                start: now(),
                offset_ns: 61_000_000_001,
                labels: ["carrier".into(), "all@7".into(), "standard".into()],
                pause: Some(PauseReason { text: "card".into(), by: MaskedBy::Control }),
                cut: false,
            },
            messages: vec![
                kept(Transport::Udp, at(1, 5_060), b"INVITE\r\n\r\n\0\xff"),
                kept(Transport::WebSocket, v6, b"SIP/2.0 200 OK"),
            ],
        }
    }

    fn read_back(lines: &[u8]) -> (Vec<LeftCall>, u64) {
        let Found { calls, unreadable, .. } = decode(lines, now()).unwrap();
        (calls, unreadable)
    }

    #[test]
    fn a_record_reads_back_and_a_damaged_line_costs_one_call() {
        let calls = vec![left(), left(), left()];
        let record = encode(&calls, now());
        assert_eq!(read_back(&record), (calls.clone(), 0));
        let mut damaged = record.clone();
        let second = record.iter().position(|byte| *byte == b'\n').unwrap() + 5;
        damaged[second] = b'}';
        assert_eq!(read_back(&damaged), (calls[1..].to_vec(), 1));
        let cut = &record[..record.len() - 30];
        assert_eq!(read_back(cut), (calls[..2].to_vec(), 1));
    }

    #[test]
    fn a_canary_call_is_left_to_nobody() {
        let mut canarys = left();
        canarys.continuation.labels[0] = canary::TRUNK.into();
        assert_eq!(read_back(&encode(&[canarys, left()], now())), (vec![left()], 0));
    }

    #[test]
    fn what_is_not_meant_for_now_is_refused() {
        let record = encode(&[left()], now());
        let late = now().after(Duration::from_secs(301));
        assert!(matches!(decode(&record, late), Err(RecordFault::Stale(_))));
        let other = String::from_utf8(record).unwrap().replacen("calls\":2", "calls\":9", 1);
        assert!(matches!(decode(other.as_bytes(), now()), Err(RecordFault::Version { found: 9 })));
        for nonsense in [&b"hello"[..], b"{\"sejf-calls\":2}", b"\n\n", b"{\"sejf-calls\":-1}"] {
            assert!(matches!(decode(nonsense, now()), Err(RecordFault::Unreadable(_))));
        }
    }

    #[test]
    fn calls_beyond_what_is_kept_are_refused() {
        let spoil: [fn(&mut LeftCall); 6] = [
            |call| call.messages.clear(),
            |call| call.messages = vec![call.messages[0].clone(); CALL_MESSAGES_KEPT + 1],
            |call| call.messages[0].bytes = vec![0; CALL_BYTES_KEPT + 1].into(),
            |call| call.continuation.first = "../../etc".into(),
            |call| call.continuation.start = Stamp::ZERO,
            |call| call.continuation.labels[0] = "x".repeat(TEXT_BYTES_MAX),
        ];
        for spoil in spoil {
            let mut call = left();
            spoil(&mut call);
            assert_eq!(read_back(&encode(&[call, left()], now())), (vec![left()], 1));
        }
    }

    #[test]
    fn the_newest_half_counts_whichever_it_is() {
        let half = |sequence, calls: &[LeftCall]| whole(calls, now()).bytes(sequence);
        let count = |halves: &[Vec<u8>]| {
            find(halves, now()).map(|found| (found.calls.len(), found.sequence)).unwrap()
        };
        let [old, new] = [half(8, &[left()]), half(9, &[left(), left()])];
        assert_eq!(count(&[old.clone(), new.clone()]), (2, 9));
        assert_eq!(count(&[new.clone(), old.clone()]), (2, 9));
        assert_eq!(count(&[new.clone(), Vec::new()]), (2, 9));
        assert_eq!(count(&[]), (0, 0));
        assert_eq!(count(&[Vec::new(), Vec::new()]), (0, 0), "nothing was written yet");
        // Wherever the newer one is cut, the older one counts, until the newer one is whole.
        for cut in 0..new.len() {
            assert_eq!(count(&[old.clone(), new[..cut].to_vec()]), (1, 8), "cut at {cut}");
        }
        assert!(matches!(find(&[new[..90].to_vec()], now()), Err(RecordFault::Unfinished)));
        // Any byte that is another makes it invalid.
        for place in 0..new.len() {
            let mut damaged = new.clone();
            damaged[place] ^= 0x10;
            assert_eq!(count(&[old.clone(), damaged]), (1, 8), "damaged at {place}");
        }
        // A frame that belongs elsewhere ends what is read.
        let strange = [old.clone(), half(7, &[]), half(9, &[])].concat();
        assert_eq!(count(&[strange]), (1, 8));
        assert_eq!(count(&[[old, half(9, &[])].concat()]), (0, 9));
    }
}
