//! One stream of a recording: what is counted of it, and how its payloads become sound.

use std::sync::Arc;
use std::time::Duration;

use crate::base::endpoint::Endpoint;
use crate::base::format::Format;
use crate::base::party::Party;
use crate::base::time::Stamp;
use crate::call::media_map::{Formats, Kind, Security};
use crate::call::quality::{self, Heard};
use crate::call::stream::{Arrival, RtpHead, StreamCount};
use crate::call::table::{SHADOW_RANK, StreamOpened};
use crate::codec;
use crate::codec::opus_packet::Frames;
use crate::recording::audio::{CallAudio, RtpPart};
use crate::recording::manifest::StreamFacts;
use crate::recording::recorder::RtpIn;
use crate::recording::reports::Reports;
use crate::wire::event;
use crate::wire::red;

/// What a payload type means.
#[derive(Debug)]
struct Meaning {
    payload_type: u8,
    /// As the timeline is told: of closed media with a name that no decoder answers to.
    format: Option<Arc<Format>>,
    kind: Payload,
    /// Of the clock that jitter is measured by; 0 where it says nothing of jitter.
    clock_rate_hz: u32,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Payload {
    /// RFC 4733.
    Event,
    /// RFC 2198.
    Redundant,
    /// Sound that a decoder reads.
    Sound,
    /// Anything else.
    Unknown,
}

/// What a packet stands for in time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Reach {
    /// Of its timestamp; 0 where that says nothing.
    pub clock_rate_hz: u32,
    /// It also holds sound from so long before its timestamp.
    pub before: Duration,
    /// Its own sound.
    pub length: Duration,
    /// Whether it tells of a key.
    pub key: bool,
}

/// One stream of a recording.
#[derive(Debug)]
pub struct StreamRecord {
    src: Endpoint,
    dst: Endpoint,
    ssrc: u32,
    party: Party,
    rank: u8,
    kind: Kind,
    security: Security,
    formats: Arc<Formats>,
    /// What the payload type of the last packet means, looked up once.
    last: Option<Meaning>,
    count: Option<StreamCount>,
    digits: u64,
    /// RTP timestamps of the latest events: each comes in several packets.
    digit_stamps: [Option<u32>; 4],
    /// The last packet is the first of an event.
    event_began: bool,
}

impl StreamRecord {
    /// A stream that is about to begin.
    pub fn new(facts: &StreamOpened) -> Self {
        Self {
            src: facts.src,
            dst: facts.dst,
            ssrc: facts.ssrc,
            party: facts.party,
            rank: facts.rank,
            kind: facts.kind,
            security: facts.security,
            formats: facts.formats.clone(),
            last: None,
            count: None,
            digits: 0,
            digit_stamps: [None; 4],
            event_began: false,
        }
    }

    /// More is known of it.
    pub fn update(&mut self, facts: &StreamOpened) {
        self.security = facts.security;
        self.formats = facts.formats.clone();
        self.kind = facts.kind;
        self.last = None;
    }

    /// Whether its packets may become sound.
    pub fn audible(&self) -> bool {
        self.kind == Kind::Audio && !self.is_copy()
    }

    /// Whether it is the same voice again, seen at another hop.
    pub fn is_copy(&self) -> bool {
        self.rank >= SHADOW_RANK
    }

    /// Whether its payloads are under a key.
    pub fn encrypted(&self) -> bool {
        self.security != Security::None
    }

    /// Whether the last packet's encoding is one that a decoder reads, so that nothing else need be kept.
    pub fn decodable(&self) -> bool {
        self.security == Security::None && self.kind() != Payload::Unknown
    }

    /// Counts a packet.
    pub fn packet(&mut self, at: Stamp, head: RtpHead) -> Arrival {
        let (kind, clock_rate_hz) = self.resolve(head.payload_type);
        let arrival = match &mut self.count {
            None => {
                self.count = Some(StreamCount::new(at, head));
                Arrival::New
            }
            Some(count) => count.packet(at, head, clock_rate_hz),
        };
        self.event_began = kind == Payload::Event && !self.digit_stamps.contains(&Some(head.timestamp));
        if self.event_began {
            self.digits += 1;
            self.digit_stamps.rotate_right(1);
            self.digit_stamps[0] = Some(head.timestamp);
        }
        arrival
    }

    /// Its packets; none before the first.
    pub fn count(&self) -> Option<&StreamCount> {
        self.count.as_ref()
    }

    /// Whose voice.
    pub fn party(&self) -> Party {
        self.party
    }

    /// What the last packet's encoding is called in a sentence.
    pub fn encoding(&self) -> String {
        let name = self.last.as_ref().and_then(|meaning| meaning.format.as_ref());
        match name {
            _ if self.encrypted() => "encrypted media".into(),
            Some(format) => format.encoding.clone(),
            None => "an unknown encoding".into(),
        }
    }

    /// The key that the last packet is the first to tell of. `payload` is its payload.
    pub fn pressed(&self, payload: &[u8]) -> Option<char> {
        let readable = self.event_began && !self.encrypted();
        event::parse(payload).ok().filter(|_| readable).and_then(|event| event.digit())
    }

    /// What the last packet stands for in time. `payload` is its payload.
    pub fn reach(&self, payload: &[u8]) -> Reach {
        let format = self.last.as_ref().and_then(|meaning| meaning.format.as_deref());
        let mut reach = Reach {
            clock_rate_hz: format.map_or(0, |format| format.clock_rate_hz),
            before: Duration::ZERO,
            length: LENGTH_UNKNOWN,
            key: self.kind() == Payload::Event,
        };
        let Some(format) = format.filter(|_| !self.encrypted()) else { return reach };
        match self.kind() {
            Payload::Sound => {
                reach.length = length(format, payload);
                let opus = Some(payload).filter(|_| format.encoding == "OPUS").and_then(Frames::parse);
                if let Some(frames) = opus.filter(Frames::holds_earlier) {
                    let nanos = frames.toc().frame_samples() as u64 * 1_000_000 / 48;
                    reach.before = Duration::from_nanos(nanos);
                }
            }
            Payload::Redundant => {
                let Ok(blocks) = red::parse(payload) else { return reach };
                let is_key = |payload_type| {
                    self.format(payload_type).is_some_and(|format| format.encoding == "TELEPHONE-EVENT")
                };
                let earliest = blocks.redundant.iter().map(|block| block.timestamp_offset).max();
                let nanos = u64::from(earliest.unwrap_or(0)) * 1_000_000_000;
                reach.before = Duration::from_nanos(nanos / u64::from(reach.clock_rate_hz.max(1)));
                reach.key = is_key(blocks.primary.payload_type)
                    || blocks.redundant.iter().any(|block| is_key(block.payload_type));
                if let Some(format) = self.format(blocks.primary.payload_type) {
                    reach.length = length(&format, blocks.primary.payload);
                }
            }
            Payload::Event | Payload::Unknown => {}
        }
        reach
    }

    /// What of a packet can be listened to: payload type and encoding of its own sound, and that.
    pub fn listened<'a>(&self, payload_type: u8, payload: &'a [u8]) -> (Option<(u8, Arc<Format>)>, &'a [u8]) {
        if self.encrypted() || !self.audible_anywhere() {
            return (None, &[]);
        }
        match self.kind() {
            Payload::Sound => {
                let format = self.last.as_ref().and_then(|meaning| meaning.format.clone());
                let format = format.filter(|format| format.encoding != "CN");
                (format.map(|format| (payload_type, format)), payload)
            }
            Payload::Redundant => {
                let Ok(blocks) = red::parse(payload) else { return (None, &[]) };
                let number = blocks.primary.payload_type;
                let format = self
                    .format(number)
                    .filter(|format| !matches!(format.encoding.as_str(), "CN" | "TELEPHONE-EVENT" | "RED"));
                (format.map(|format| (number, Arc::new(format))), blocks.primary.payload)
            }
            Payload::Event | Payload::Unknown => (None, &[]),
        }
    }

    fn audible_anywhere(&self) -> bool {
        self.kind == Kind::Audio
    }

    fn kind(&self) -> Payload {
        self.last.as_ref().map_or(Payload::Unknown, |meaning| meaning.kind)
    }

    fn resolve(&mut self, payload_type: u8) -> (Payload, u32) {
        if let Some(meaning) = &self.last
            && meaning.payload_type == payload_type
        {
            return (meaning.kind, meaning.clock_rate_hz);
        }
        let format = self.format(payload_type);
        let kind = match &format {
            Some(format) if format.encoding == "TELEPHONE-EVENT" => Payload::Event,
            Some(format) if format.encoding == "RED" => Payload::Redundant,
            Some(format) if codec::is_built_in(format) => Payload::Sound,
            _ => Payload::Unknown,
        };
        // The packets of one event all have the time of its beginning.
        let clock = format.as_ref().filter(|_| kind != Payload::Event);
        let clock_rate_hz = clock.map_or(0, |format| format.clock_rate_hz);
        let format = match format {
            // Same clock, never noise.
            Some(format) if self.encrypted() => Some(Format { encoding: ENCRYPTED.into(), ..format }),
            format => format,
        };
        self.last = Some(Meaning { payload_type, format: format.map(Arc::new), kind, clock_rate_hz });
        (kind, clock_rate_hz)
    }

    fn format(&self, payload_type: u8) -> Option<Format> {
        self.formats.get(&payload_type).cloned().or_else(|| Format::static_payload_type(payload_type))
    }

    /// Turns a packet that [`Self::packet`] has counted into sound.
    pub fn sound(
        &mut self,
        number: u16,
        at: Stamp,
        packet: RtpIn<'_>,
        audio: &mut CallAudio,
        out: &mut Vec<u8>,
    ) {
        let RtpIn { head: RtpHead { sequence, timestamp, payload_type, marker }, payload, .. } = packet;
        let part = RtpPart { sequence, timestamp, marker, payload_type };
        let Some(Meaning { format, kind, .. }) = &self.last else { return };
        if *kind == Payload::Redundant && !self.encrypted() {
            self.redundant(number, at, part, payload, audio, out);
        } else {
            audio.packet(number, at, part, format.as_ref(), payload, out);
        }
    }

    /// RFC 2198: the primary encoding, and earlier ones in case their own packets were lost.
    fn redundant(
        &self,
        number: u16,
        at: Stamp,
        part: RtpPart,
        payload: &[u8],
        audio: &mut CallAudio,
        out: &mut Vec<u8>,
    ) {
        let Ok(blocks) = red::parse(payload) else { return };
        let earlier = blocks.redundant.len() as u16;
        for (index, block) in blocks.redundant.iter().enumerate() {
            let part = RtpPart {
                sequence: part.sequence.wrapping_sub(earlier - index as u16),
                timestamp: part.timestamp.wrapping_sub(block.timestamp_offset),
                marker: false,
                payload_type: block.payload_type,
            };
            audio.packet(
                number,
                at,
                part,
                self.format(block.payload_type).map(Arc::new).as_ref(),
                block.payload,
                out,
            );
        }
        let part = RtpPart { payload_type: blocks.primary.payload_type, ..part };
        let format = self.format(part.payload_type).map(Arc::new);
        audio.packet(number, at, part, format.as_ref(), blocks.primary.payload, out);
    }

    /// What the manifest says of it; nothing where no packet came.
    pub fn facts(&self, late: u64, rtcp: &Reports) -> Option<StreamFacts> {
        let count = self.count.as_ref()?;
        let speech = |payload_type: u8| {
            self.format(payload_type)
                .is_some_and(|format| !matches!(format.encoding.as_str(), "TELEPHONE-EVENT" | "CN"))
        };
        let payload_type = count.main_payload_type(speech);
        let format = self.format(payload_type);
        let codec = format
            .as_ref()
            .map_or_else(|| format!("unknown-{payload_type}"), |format| format.encoding.clone());
        let clock_rate_hz = format.as_ref().map_or(0, |format| format.clock_rate_hz);
        let loss_map = count.loss_map();
        let mos = quality::mos(&Heard {
            encoding: &codec,
            packets: count.packets(),
            lost: count.lost(),
            loss_runs: loss_map.len() as u64,
            jitter_ms: count.jitter_ms(),
        });
        Some(StreamFacts {
            ssrc: format!("{:#010x}", self.ssrc),
            party: self.party,
            src: self.src.to_string(),
            dst: self.dst.to_string(),
            codec,
            payload_type,
            clock_rate_hz,
            encrypted: self.security.as_str().into(),
            unopened: self.security != Security::None,
            first: count.first_at(),
            last: count.last_at(),
            packets: count.packets(),
            lost: count.lost(),
            duplicate: count.duplicate(),
            late,
            reordered: count.reordered(),
            jitter_ms: (count.jitter_ms() * 1_000.0).round() / 1_000.0,
            mos,
            digits: self.digits,
            loss_map,
            payload_types: count.payload_types(),
            rtcp: rtcp.of(self.ssrc, clock_rate_hz),
        })
    }
}

fn length(format: &Format, payload: &[u8]) -> Duration {
    match (codec::samples_in(format, payload), codec::native_rate_hz(format)) {
        (Some(samples), Some(rate_hz @ 1..)) => {
            Duration::from_nanos(samples as u64 * 1_000_000_000 / u64::from(rate_hz))
        }
        _ => LENGTH_UNKNOWN,
    }
}

/// Of a packet that cannot be read.
const LENGTH_UNKNOWN: Duration = Duration::from_millis(20);
/// No codec's name, so no decoder's either.
const ENCRYPTED: &str = "ENCRYPTED";
