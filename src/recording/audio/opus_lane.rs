//! One side of an Ogg Opus file: packets of 20 ms that the other side is not ready for.
//!
//! Sound is encoded at its own rate as soon as 20 ms of it are there. Silence is a packet that
//! costs nothing, and an Opus stream's own packets are taken as they came.

use std::collections::VecDeque;

use crate::codec::Encoder;
use crate::codec::opus_packet::{self, Frames, Toc};
use crate::codec::{OpusEncoder, OpusMode};

/// Packets that are not written yet. All positions are samples at 48 kHz.
#[derive(Default)]
pub(super) struct OpusLane {
    /// 20 ms slots written.
    written: u64,
    slots: VecDeque<Slot>,
    /// Slots in `slots`.
    waiting: u64,
    bytes: VecDeque<u8>,
    /// What does not fill a slot yet.
    partial: Vec<i16>,
    rate_hz: u32,
    encoder: Option<OpusEncoder>,
    /// Fewer bits.
    cheaper: bool,
    /// Slots in a row whose samples were all zero.
    zero_slots: u32,
    /// Slots in a row that nobody hears: what a codec makes of silence.
    quiet_slots: u32,
    /// First byte of the latest packet that was carried.
    carried: Option<Toc>,
    /// Samples at the end of `partial` that are not final yet, and for how long they are not.
    hold: usize,
    hold_ms: u32,
}

#[derive(Clone, Copy, Debug)]
enum Slot {
    /// So many bytes of `bytes`.
    Packet(u16),
    /// So many slots of silence.
    Silence(u64),
}

impl OpusLane {
    /// Encodes with fewer bits from the next packet on, or as usual again.
    pub(super) fn set_cheaper(&mut self, cheaper: bool) {
        self.cheaper = cheaper;
        let bits_per_second = bits_per_second(self.rate_hz, cheaper);
        if let Some(encoder) = &mut self.encoder {
            encoder.set_bits_per_second(bits_per_second);
        }
    }

    /// Returns the first position that is not known.
    pub(super) fn end(&self) -> i64 {
        ((self.written + self.waiting) * SLOT) as i64 + self.partial_ticks()
    }

    fn partial_ticks(&self) -> i64 {
        if self.partial.is_empty() { 0 } else { self.partial.len() as i64 * i64::from(HZ / self.rate_hz) }
    }

    /// Keeps the last `millis` of sound back: they may still be muted.
    pub(super) fn set_hold(&mut self, millis: u32) {
        self.hold_ms = millis;
        self.hold = self.rate_hz as usize * millis as usize / 1_000;
        self.encode_full();
    }

    /// Returns the first position that is not final.
    pub(super) fn ready(&self) -> i64 {
        if self.hold == 0 { self.end() } else { ((self.written + self.waiting) * SLOT) as i64 }
    }

    /// Encodes what is kept back of the time before `position`.
    pub(super) fn settle(&mut self, position: i64) {
        while self.ready() < position && self.partial.len() >= self.frame().max(1) {
            self.encode_first();
        }
    }

    /// Silences samples by how far they are from the end, as far as they are not encoded.
    pub(super) fn mute(&mut self, back: std::ops::Range<usize>) {
        let at = |back: usize| self.partial.len().saturating_sub(back);
        let range = at(back.end)..at(back.start);
        self.partial[range].fill(0);
    }

    /// Silences all from `position` on that is not written: whole packets where they are encoded.
    pub(super) fn mute_from(&mut self, position: i64) {
        let mut at = self.written;
        let slots = std::mem::take(&mut self.slots);
        let mut bytes = std::mem::take(&mut self.bytes).into_iter();
        self.waiting = 0;
        for slot in slots {
            match slot {
                Slot::Silence(count) => {
                    self.silent_slots(count);
                    at += count;
                }
                Slot::Packet(length) => {
                    let packet: Vec<u8> = bytes.by_ref().take(usize::from(length)).collect();
                    at += 1;
                    if (at * SLOT) as i64 > position {
                        self.silent_slots(1);
                        // What follows must not sound of what is gone.
                        (self.encoder, self.carried) = (None, None);
                    } else {
                        self.packet(&packet);
                    }
                }
            }
        }
        let ahead = position.saturating_sub((at * SLOT) as i64).clamp(0, self.partial_ticks());
        let ahead = ahead * i64::from(self.rate_hz) / i64::from(HZ);
        let from = (ahead as usize).min(self.partial.len());
        self.partial[from..].fill(0);
    }

    /// Returns the first position that is not written.
    pub(super) fn written(&self) -> i64 {
        (self.written * SLOT) as i64
    }

    /// Makes [`Self::push`] take samples at `rate_hz`: 8, 12, 16, 24 or 48 kHz.
    pub(super) fn set_rate(&mut self, rate_hz: u32) {
        if self.rate_hz == rate_hz {
            return;
        }
        // The nearest sample is good enough for less than 20 ms.
        let (from, to) = (self.rate_hz as usize, rate_hz as usize);
        if from > 0 && !self.partial.is_empty() {
            let length = self.partial.len() * to / from;
            self.partial = (0..length).map(|index| self.partial[index * from / to]).collect();
        }
        self.rate_hz = rate_hz;
        self.hold = rate_hz as usize * self.hold_ms as usize / 1_000;
        self.encoder = None;
    }

    /// Returns the rate of what is encoded; 0 where nothing is.
    pub(super) fn rate_hz(&self) -> u32 {
        self.rate_hz
    }

    /// Adds silence.
    pub(super) fn silence(&mut self, ticks: usize) {
        let mut ticks = ticks as u64;
        if self.rate_hz == 0 {
            self.rate_hz = 8_000;
        }
        let tick = u64::from(HZ / self.rate_hz);
        if self.hold > 0 {
            return self.silence_held(ticks, tick);
        }
        // The encoder's own ending of what came before.
        while ticks >= tick && (!self.partial.is_empty() || self.sounding()) {
            let room = (self.frame() - self.partial.len()) as u64;
            let zeros = room.min(ticks / tick);
            self.partial.resize(self.partial.len() + zeros as usize, 0);
            ticks -= zeros * tick;
            self.encode_full();
        }
        let whole = ticks / SLOT;
        if whole > 0 {
            self.silent_slots(whole);
            ticks -= whole * SLOT;
        }
        self.partial.resize(self.partial.len() + (ticks / tick) as usize, 0);
    }

    /// Silence behind sound that is kept back: as much as pushes all of it out and ends it, then the rest.
    fn silence_held(&mut self, ticks: u64, tick: u64) {
        let end = (self.hold + (ENDING_SLOTS as usize + 3) * self.frame()) as u64;
        let zeros = end.min(ticks / tick);
        self.partial.resize(self.partial.len() + zeros as usize, 0);
        self.encode_full();
        // What is kept back is zeros now: which of them come first is all the same.
        let rest = ticks / tick - zeros;
        let whole = rest * tick / SLOT;
        if whole > 0 {
            self.silent_slots(whole);
        }
        self.partial.resize(self.partial.len() + ((rest * tick - whole * SLOT) / tick) as usize, 0);
        self.encode_full();
    }

    fn sounding(&self) -> bool {
        self.encoder.is_some()
    }

    fn frame(&self) -> usize {
        self.rate_hz as usize / 50
    }

    fn silent_slots(&mut self, slots: u64) {
        self.waiting += slots;
        if let Some(Slot::Silence(count)) = self.slots.back_mut() {
            *count += slots;
        } else {
            self.slots.push_back(Slot::Silence(slots));
        }
    }

    /// Adds sound at the lane's rate.
    pub(super) fn push(&mut self, mut pcm: &[i16]) {
        while !pcm.is_empty() {
            let room = (self.frame() + self.hold).saturating_sub(self.partial.len());
            let (now, later) = pcm.split_at(pcm.len().min(room));
            self.partial.extend_from_slice(now);
            pcm = later;
            self.encode_full();
        }
    }

    fn encode_full(&mut self) {
        while self.frame() > 0 && self.partial.len() >= self.frame() + self.hold {
            self.encode_first();
        }
    }

    /// Encodes the first 20 ms of what is not encoded.
    fn encode_first(&mut self) {
        let length = self.frame();
        let frame = &self.partial[..length];
        self.zero_slots = if frame.iter().all(|sample| *sample == 0) { self.zero_slots + 1 } else { 0 };
        let quiet = frame.iter().all(|sample| sample.unsigned_abs() <= QUIET_PEAK);
        self.quiet_slots = if quiet { self.quiet_slots.saturating_add(1) } else { 0 };
        let over = self.zero_slots > ENDING_SLOTS || self.quiet_slots > QUIET_SLOTS;
        if over || (quiet && self.encoder.is_none()) {
            // Whatever comes next begins with a fresh encoder, as decoders are then.
            self.encoder = None;
            self.partial.drain(..length);
            return self.silent_slots(1);
        }
        if self.encoder.is_none() {
            self.encoder = encoder(self.rate_hz, self.cheaper);
        }
        let mut packet = Vec::with_capacity(PACKET_ROOM);
        if let Some(encoder) = &mut self.encoder {
            encoder.encode(&self.partial[..length], &mut packet);
        }
        self.partial.drain(..length);
        self.packet(&packet);
    }

    /// Adds a packet of 20 ms.
    fn packet(&mut self, packet: &[u8]) {
        match u16::try_from(packet.len()) {
            Ok(length @ 1..) => {
                self.bytes.extend(packet);
                self.slots.push_back(Slot::Packet(length));
                self.waiting += 1;
            }
            _ => self.silent_slots(1),
        }
    }

    /// Adds a packet of 20 ms of an Opus stream as it is, without its padding, at the slot nearest to `place`. Before it
    /// come `lost` packets that never came. Returns whether there was room. Where `masked`, silence
    /// takes its place and that of those before it.
    pub(super) fn carry(&mut self, place: i64, lost: u64, packet: &[u8], masked: bool) -> bool {
        let Some(frames) = Frames::parse(packet).filter(|frames| frames.samples() as u64 == SLOT) else {
            return false;
        };
        if !self.partial.is_empty() || self.sounding() {
            let rest = self.frame() - self.partial.len();
            self.silence(rest * (HZ / self.rate_hz.max(1)) as usize);
            self.encoder = None;
        }
        let end = (self.written + self.waiting) as i64;
        let mut slot = end;
        if (place - end * SLOT as i64).abs() > SLIP_TICKS {
            slot = (place + SLOT as i64 / 2).div_euclid(SLOT as i64);
        }
        if slot < end {
            return false;
        }
        if masked {
            self.carried = None;
            self.silent_slots((slot - end + 1) as u64);
            return true;
        }
        self.fill(slot - end, lost);
        // Padding may hold speech of before, also of what was masked.
        let mut bare = Vec::with_capacity(packet.len());
        frames.bare(&mut bare);
        self.packet(&bare);
        self.carried = Some(frames.toc());
        true
    }

    /// Fills slots in a carried stream: what was lost, or the short silence between talkspurts, is
    /// the decoder's to conceal; longer silence is silence.
    fn fill(&mut self, slots: i64, lost: u64) {
        let slots = slots.max(0) as u64;
        let concealed = slots.min(lost.max(PAUSE_SLOTS_MAX));
        if let Some(toc) = self.carried
            && slots == concealed
        {
            let mut packet = Vec::with_capacity(1);
            opus_packet::lost(toc, &mut packet);
            (0..concealed).for_each(|_| self.packet(&packet));
        } else if slots > 0 {
            self.silent_slots(slots);
        }
    }

    /// Appends the packet of the next slot; `delimited` so that another can follow it.
    pub(super) fn take(&mut self, delimited: bool, out: &mut Vec<u8>) {
        self.written += 1;
        let length = match self.slots.front_mut() {
            Some(Slot::Packet(length)) => {
                let length = usize::from(*length);
                self.slots.pop_front();
                Some(length)
            }
            Some(Slot::Silence(count)) => {
                *count -= 1;
                if *count == 0 {
                    self.slots.pop_front();
                }
                None
            }
            None => {
                // Nobody knows what was here, and time has passed: silence, and partial sound with it.
                self.partial.clear();
                return append(&opus_packet::SILENCE, delimited, out);
            }
        };
        self.waiting -= 1;
        match length {
            None => append(&opus_packet::SILENCE, delimited, out),
            Some(length) => {
                let packet: Vec<u8> = self.bytes.drain(..length).collect();
                append(&packet, delimited, out);
            }
        }
    }
}

fn append(packet: &[u8], delimited: bool, out: &mut Vec<u8>) {
    match Frames::parse(packet).filter(|_| delimited) {
        Some(frames) => frames.self_delimited(out),
        None => out.extend_from_slice(packet),
    }
}

/// Makes the encoder of a side.
///
/// CELT, not SILK: at a bit rate where the waveform is kept (0.99 correlation with speech), it costs
/// a third; and ffmpeg's own decoder drops 2.5 ms at each change between the two modes where two
/// streams stand side by side, so that silence, which is CELT, must not be a change.
pub(super) fn encoder(rate_hz: u32, cheaper: bool) -> Option<OpusEncoder> {
    OpusEncoder::with_mode(rate_hz, bits_per_second(rate_hz, cheaper), OpusMode::LowDelay, COMPLEXITY)
}

/// Bits of a side at `rate_hz`; `cheaper` takes a third less.
fn bits_per_second(rate_hz: u32, cheaper: bool) -> i32 {
    let usual = match rate_hz {
        0..=8_000 => 24_000,
        8_001..=16_000 => 32_000,
        _ => 40_000,
    };
    if cheaper { usual * 2 / 3 } else { usual }
}

/// The least, always: more of it is not heard at these rates.
const COMPLEXITY: i32 = 0;
/// Rate of positions.
const HZ: u32 = 48_000;
/// 20 ms.
const SLOT: u64 = 960;
/// Zero slots that are still encoded, so that what came before rings out.
const ENDING_SLOTS: u32 = 2;
/// The zero of A-law is 8.
const QUIET_PEAK: u16 = 8;
/// Two seconds: an encoder is not kept for longer.
const QUIET_SLOTS: u32 = 100;
/// A carried packet may be so far from its slot (15 ms) before the stream slips by one.
const SLIP_TICKS: i64 = 720;
/// Half a second between packets is the sender's silence suppression, with noise of its own.
const PAUSE_SLOTS_MAX: u64 = 25;
/// A usual packet.
const PACKET_ROOM: usize = 96;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_padding_of_a_carried_packet_comes_through_on_either_side() {
        let one = [0x9b, 0x40 | 1, 4, 1, 2, 0xdd, 0xdd, 0xdd, 0xdd];
        // Two of 10 ms.
        let two = [0x93, 0x40 | 2, 4, 1, 2, 3, 4, 0xdd, 0xdd, 0xdd, 0xdd];
        for (packet, want) in [(&one[..], &[0x98, 1, 2][..]), (&two, &[0x93, 0x82, 2, 1, 2, 3, 4])] {
            for delimited in [false, true] {
                let mut lane = OpusLane::default();
                assert!(lane.carry(0, 0, packet, false));
                let mut out = Vec::new();
                lane.take(delimited, &mut out);
                assert!(!out.contains(&0xdd), "{out:?}");
                if !delimited {
                    assert_eq!(out, want);
                }
            }
        }
    }
}
