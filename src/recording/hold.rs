//! Packets of a call that wait until it is known whether they carry the tone of a key.
//!
//! ```text
//! packet ─┬─► queue ───────────────── 300 ms ─────────────────► kept or left out
//!         └─► in order ─► decoder ─► detector ─► stretches by RTP time ─┘
//! ```
//!
//! Every stream is listened to by itself: where packets are kept, so is each copy of a voice.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use crate::base::format::Format;
use crate::base::frame::{FrameMeta, OwnedFrame};
use crate::base::time::Stamp;
use crate::codec;
use crate::codec::Decoder;
use crate::recording::dtmf::Detector;

/// What waits.
#[derive(Debug, Default)]
pub struct Hold {
    queue: VecDeque<Waiting>,
    bytes: usize,
    listeners: Vec<Listener>,
}

/// Frames of one packet.
#[derive(Debug)]
pub struct Waiting {
    /// As captured.
    pub frames: Vec<OwnedFrame>,
    /// When it came.
    pub at: Stamp,
    /// Its stream, where it is media.
    pub stream: Option<u16>,
    /// The time that its content stands for, where it is media or tells of it.
    pub span: Option<Range<Stamp>>,
    /// Whether it is counted in this call's books.
    pub count: bool,
    /// Whether it is left out.
    pub masked: bool,
}

/// A packet as a stream's listener takes it.
#[derive(Debug)]
pub struct Piece {
    /// Sequence number.
    pub sequence: u16,
    /// When it came.
    pub at: Stamp,
    /// Its place in time.
    pub place: Stamp,
    /// Payload type and encoding, where it is sound that can be decoded.
    pub sound: Option<(u8, Arc<Format>)>,
    /// What is to be decoded.
    pub payload: Box<[u8]>,
}

/// Listens to one stream.
#[derive(Default)]
struct Listener {
    /// In order of their numbers.
    waiting: VecDeque<Piece>,
    next: Option<u16>,
    /// Of the encoding that came last.
    decoder: Option<(u8, Arc<Format>, Box<dyn Decoder>)>,
    detector: Option<Detector>,
    pcm: Vec<i16>,
    /// Where the latest samples are: position of the first, how many, and their place.
    placed: VecDeque<(u64, u64, Stamp)>,
    /// Tones, in order.
    tones: Vec<Range<Stamp>>,
    more: u64,
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").field("waiting", &self.waiting.len()).finish_non_exhaustive()
    }
}

impl Hold {
    /// Takes frames in. Where they are more than any call sends in that time, they are left out.
    pub fn push(&mut self, frames: &[(&FrameMeta, &[u8])], mut waiting: Waiting) {
        let bytes: usize = frames.iter().map(|(_, data)| data.len()).sum();
        if self.bytes + bytes > HELD_BYTES_MAX {
            waiting.masked = true;
        } else {
            self.bytes += bytes;
        }
        waiting.frames = frames
            .iter()
            .map(|(meta, data)| OwnedFrame {
                meta: **meta,
                bytes: if waiting.masked { Box::default() } else { (*data).into() },
            })
            .collect();
        self.queue.push_back(waiting);
    }

    /// Leaves out what waits of the frames `numbers`.
    pub fn leave_out(&mut self, numbers: &[u64]) {
        for waiting in &mut self.queue {
            waiting.masked |= waiting.frames.iter().any(|frame| numbers.contains(&frame.meta.number));
        }
    }

    /// The oldest packet, where it has waited long enough at `now`; any where `force` says so.
    pub fn pop(&mut self, now: Stamp, force: bool) -> Option<Waiting> {
        let first = self.queue.front()?;
        if !force && now.since(first.at) < HELD && self.queue.len() <= HELD_PACKETS_MAX {
            return None;
        }
        let mut waiting = self.queue.pop_front()?;
        let held: usize = waiting.frames.iter().map(|frame| frame.bytes.len()).sum();
        self.bytes = self.bytes.saturating_sub(held);
        if let (Some(stream), Some(span)) = (waiting.stream, &waiting.span) {
            waiting.masked |= self.listeners.get(usize::from(stream)).is_some_and(|l| l.touches(span));
        }
        Some(waiting)
    }

    /// Listens to a packet of `stream`. `pressed` is told of keys, and when they were pressed.
    pub fn listen(&mut self, stream: u16, piece: Piece, pressed: &mut impl FnMut(char, Stamp)) {
        let index = usize::from(stream);
        if self.listeners.len() <= index {
            self.listeners.resize_with(index + 1, Listener::default);
        }
        let now = piece.at;
        self.listeners[index].take(piece);
        self.listeners[index].advance(now, false, pressed);
    }

    /// Lets time pass, to the end where `force` says so.
    pub fn settle(&mut self, now: Stamp, force: bool, pressed: &mut impl FnMut(u16, char, Stamp)) {
        for (number, listener) in (0..).zip(&mut self.listeners) {
            listener.advance(now, force, &mut |digit, at| pressed(number, digit, at));
        }
    }

    /// The tones of each stream, and how many more there were.
    pub fn tones(&self) -> impl Iterator<Item = (u16, &[Range<Stamp>])> {
        (0..).zip(self.listeners.iter().map(|listener| listener.tones.as_slice()))
    }

    /// Tones that are not listed.
    pub fn more(&self) -> u64 {
        self.listeners.iter().map(|listener| listener.more).sum()
    }
}

impl Listener {
    fn touches(&self, span: &Range<Stamp>) -> bool {
        self.tones.iter().rev().take_while(|tone| tone.end > span.start).any(|tone| tone.start < span.end)
    }

    fn take(&mut self, piece: Piece) {
        let ahead = |sequence: u16, than: u16| sequence.wrapping_sub(than) as i16;
        if let Some(next) = self.next
            && ahead(piece.sequence, next) < 0
        {
            // Too late to be listened to; its place tells what it is part of.
            if ahead(piece.sequence, next) < -RESTART {
                self.next = None;
            }
            return;
        }
        let at = self.waiting.iter().rposition(|known| ahead(known.sequence, piece.sequence) < 0);
        self.waiting.insert(at.map_or(0, |at| at + 1), piece);
    }

    fn advance(&mut self, now: Stamp, force: bool, pressed: &mut impl FnMut(char, Stamp)) {
        while let Some(first) = self.waiting.front() {
            let in_turn = self.next.is_none_or(|next| next == first.sequence);
            let waited = now.since(first.at) >= ORDER || self.waiting.len() > WAITING_MAX;
            if !in_turn && !waited && !force {
                break;
            }
            if let Some(piece) = self.waiting.pop_front() {
                self.next = Some(piece.sequence.wrapping_add(1));
                self.hear(&piece, !in_turn, pressed);
            }
        }
    }

    fn hear(&mut self, piece: &Piece, lost: bool, pressed: &mut impl FnMut(char, Stamp)) {
        let Some((payload_type, format)) = &piece.sound else { return };
        let known = self.decoder.take().filter(|(number, f, _)| number == payload_type && f == format);
        let fresh = || codec::decoder(format).map(|decoder| (*payload_type, format.clone(), decoder));
        let Some(mut known) = known.or_else(fresh) else { return };
        self.pcm.clear();
        let decoded = known.2.decode(&piece.payload, &mut self.pcm);
        let rate_hz = known.2.sample_rate_hz();
        self.decoder = Some(known);
        if decoded.is_err() || rate_hz < RATE_HZ_MIN {
            return;
        }
        if self.detector.as_ref().is_none_or(|detector| detector.rate_hz() != rate_hz) {
            self.detector = Some(Detector::new(rate_hz));
            self.placed.clear();
        }
        let Some(detector) = &mut self.detector else { return };
        if let Some((_, samples, place)) = self.placed.back() {
            let missing = piece.place.nanos_after(after(*place, *samples, rate_hz));
            let samples = missing.clamp(0, 1_000_000_000) as u64 * u64::from(rate_hz) / 1_000_000_000;
            match samples {
                // Jitter of the clocks' rounding.
                _ if missing < SEAM_NS => {}
                _ if lost => detector.lost(samples),
                _ => detector.silence(samples),
            }
        }
        if self.placed.len() >= PLACED_MAX {
            self.placed.pop_front();
        }
        self.placed.push_back((detector.position(), self.pcm.len() as u64, piece.place));
        detector.push(&self.pcm);
        self.find(rate_hz, pressed);
    }

    fn find(&mut self, rate_hz: u32, pressed: &mut impl FnMut(char, Stamp)) {
        let Some(detector) = &mut self.detector else { return };
        let placed = &self.placed;
        let place = |position: u64| {
            let piece = placed.iter().find(|(from, samples, _)| position < from + samples).or(placed.back());
            piece.map_or(Stamp::ZERO, |(from, samples, place)| {
                after(*place, position.saturating_sub(*from).min(*samples), rate_hz)
            })
        };
        while let Some(key) = detector.poll_pressed() {
            pressed(key.digit, place(key.from));
        }
        while let Some(span) = detector.poll_mute() {
            let (from, to) = (place(span.start), place(span.end));
            let room = self.tones.len() < TONES_MAX;
            match self.tones.last_mut() {
                Some(last) if from <= last.end => last.end = last.end.max(to),
                _ if room => self.tones.push(from..to),
                Some(last) => {
                    // The list must know the latest: the two become one stretch.
                    last.end = to;
                    self.more += 1;
                }
                None => {}
            }
        }
    }
}

fn after(place: Stamp, samples: u64, rate_hz: u32) -> Stamp {
    place.after(Duration::from_nanos(samples * 1_000_000_000 / u64::from(rate_hz.max(1))))
}

/// A packet waits for so long: for those before it, and for as much sound as tells.
pub const HELD: Duration = Duration::from_millis(300);
/// Earlier packets are waited for before a stream is listened to.
const ORDER: Duration = Duration::from_millis(80);
/// What one call may hold: a video call sends a tenth of it.
const HELD_BYTES_MAX: usize = 2 << 20;
/// Packets that one call may hold.
const HELD_PACKETS_MAX: usize = 16_384;
/// Packets of a stream that wait for earlier ones.
const WAITING_MAX: usize = 64;
/// Packets before the latest that still tell where it is: 300 ms of those of 5 ms.
const PLACED_MAX: usize = 64;
/// Further back, a sender began anew.
const RESTART: i16 = 100;
/// Tones that are told apart.
const TONES_MAX: usize = 1_024;
/// The highest tone is 1,633 Hz.
const RATE_HZ_MIN: u32 = 8_000;
/// 2 ms.
const SEAM_NS: i64 = 2_000_000;
