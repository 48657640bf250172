//! One stream of a call: packets in any order to sound at its place.

use std::sync::Arc;
use std::time::Duration;

use crate::base::format::Format;
use crate::base::time::Stamp;
use crate::codec;
use crate::codec::Decoder;
use crate::codec::opus_packet::Frames;
use crate::recording::audio::RtpPart;
use crate::recording::audio::clock::{Clock, Fit};
use crate::recording::audio::drift::Advice;
use crate::recording::audio::gaps::Gaps;
use crate::recording::audio::grid::Grid;
use crate::recording::audio::mask::touches;
use crate::recording::audio::reorder::{Held, Reorder, Turn};
use crate::recording::audio::side::{Lane, Placed, Side};
use crate::recording::manifest::GapReason;

/// What a stream writes to.
pub(super) struct Target<'a> {
    pub(super) side: &'a mut Side,
    pub(super) grid: &'a Grid,
    pub(super) gaps: &'a mut Gaps,
    pub(super) pcm: &'a mut Vec<i16>,
    /// How long a missing packet is waited for.
    pub(super) window: Duration,
}

/// One packet in its turn.
struct Packet<'a> {
    at: Stamp,
    timestamp: u32,
    codec: u8,
    payload: &'a [u8],
    /// It came after packets that follow it: its arrival says nothing of its stream's pace.
    overtaken: bool,
}

/// One stream of a call.
pub(super) struct Stream {
    pub(super) side: usize,
    pub(super) rank: u8,
    /// Packets that came after their place was given up.
    pub(super) late: u64,
    /// Its clock was so far off that it was placed anew.
    pub(super) broken_clock: bool,
    /// Opus packets of two channels came: ffmpeg's own decoder stumbles over them in a stream of one.
    stereo: bool,
    codecs: Vec<Codec>,
    order: Reorder,
    clock: Option<Clock>,
    /// Where the first packet is to be: its timestamp and tick.
    first: Option<(u32, i64)>,
    /// Packets lost since the latest sound.
    lost: u64,
    /// RFC 4733 events since the latest sound.
    events: bool,
    /// End of the latest sound, and the duration of its packet, in ticks.
    end: i64,
    frame: i64,
    /// Up to where its own sound has taken the timeline since it was heard last.
    reach: i64,
    /// The timestamp that follows the latest packet, and its duration, in RTP time.
    next_timestamp: u32,
    units: u32,
    /// Another stream was heard: what came meanwhile is not known here.
    ignored: bool,
}

/// A payload type as this stream uses it.
struct Codec {
    payload_type: u8,
    format: Option<Arc<Format>>,
    kind: Kind,
}

enum Kind {
    /// RFC 4733: occupies sequence numbers, no time.
    Event,
    /// RFC 3389.
    Noise,
    /// Sound; its rate, and a decoder as soon as one is needed.
    Speech { rate_hz: u32, decoder: Option<Box<dyn Decoder>> },
    /// There is no decoder.
    Unknown,
}

/// What a payload type is to the timeline.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Sort {
    /// Says nothing of the rate.
    Beside,
    /// Sound at a rate.
    Speech(u32),
    /// Cannot be decoded.
    Unknown,
}

impl Stream {
    /// Makes a stream of which nothing has come.
    pub(super) fn new(side: usize, rank: u8) -> Self {
        Self {
            side,
            rank,
            late: 0,
            broken_clock: false,
            stereo: false,
            codecs: Vec::new(),
            order: Reorder::default(),
            clock: None,
            first: None,
            lost: 0,
            events: false,
            end: 0,
            frame: 0,
            reach: 0,
            next_timestamp: 0,
            units: 0,
            ignored: false,
        }
    }

    /// Finds the codec of a payload type, or makes it. `made` tells that it is new.
    pub(super) fn codec(&mut self, payload_type: u8, format: Option<&Arc<Format>>) -> (u8, bool) {
        let alike = |known: &Arc<Format>, format: &Arc<Format>| Arc::ptr_eq(known, format) || known == format;
        let same = |codec: &Codec| {
            codec.payload_type == payload_type
                && match (&codec.format, format) {
                    (Some(known), Some(format)) => alike(known, format),
                    (None, None) => true,
                    _ => false,
                }
        };
        if let Some(known) = self.codecs.iter().position(same) {
            // So that the next packet need not compare texts.
            self.codecs[known].format = format.cloned();
            return (known as u8, false);
        }
        let codec = Codec { payload_type, format: format.cloned(), kind: Kind::of(format.map(Arc::as_ref)) };
        if self.codecs.len() == CODECS_MAX {
            // Packets that wait keep the number of one that is gone; what they hold is noise then.
            self.codecs.pop();
        }
        self.codecs.push(codec);
        ((self.codecs.len() - 1) as u8, true)
    }

    /// Returns what a codec is to the timeline.
    pub(super) fn sort(&self, codec: u8) -> Sort {
        match &self.codecs[usize::from(codec)].kind {
            Kind::Event | Kind::Noise => Sort::Beside,
            Kind::Speech { rate_hz, .. } => Sort::Speech(*rate_hz),
            Kind::Unknown => Sort::Unknown,
        }
    }

    /// Whether packets wait for others.
    pub(super) fn holds(&self) -> bool {
        self.order.holds()
    }

    /// Another stream is heard instead.
    pub(super) fn ignore(&mut self) {
        self.ignored = true;
    }

    /// Forgets where it is on the timeline.
    pub(super) fn unanchor(&mut self) {
        self.clock = None;
        self.first = None;
    }

    fn restart(&mut self) {
        self.order.restart();
        self.unanchor();
        self.lost = 0;
    }

    /// Takes in a packet that is heard.
    pub(super) fn packet(
        &mut self,
        at: Stamp,
        part: RtpPart,
        codec: u8,
        payload: &[u8],
        target: &mut Target<'_>,
    ) {
        if std::mem::take(&mut self.ignored) {
            self.restart();
            self.reach = 0;
        }
        let mut turn = self.order.offer(part.sequence);
        if turn == Turn::Restart {
            self.settle(at, true, target);
            self.restart();
            turn = self.order.offer(part.sequence);
        }
        let overtaken = self.order.overtaken(turn);
        let packet = Packet { at, timestamp: part.timestamp, codec, payload, overtaken };
        match turn {
            Turn::Next(extended) if !self.stalls(&packet, target) => {
                self.lost += self.order.passed(extended);
                self.deliver(&packet, target);
            }
            Turn::Next(extended) => {
                self.order.set_stalled(true);
                self.hold(extended, &packet);
            }
            Turn::Wait(extended) => {
                self.hold(extended, &packet);
                self.settle(at, false, target);
            }
            Turn::Late => self.late += 1,
            Turn::Again | Turn::Restart => {}
        }
    }

    fn hold(&mut self, extended: u64, packet: &Packet<'_>) {
        self.order.hold(Held {
            extended,
            at: packet.at,
            timestamp: packet.timestamp,
            codec: packet.codec,
            payload: packet.payload.into(),
            overtaken: packet.overtaken,
        });
    }

    fn stalls(&self, packet: &Packet<'_>, target: &Target<'_>) -> bool {
        let Some(clock) = &self.clock else { return false };
        if !matches!(self.codecs[usize::from(packet.codec)].kind, Kind::Speech { .. }) {
            return false;
        }
        let went_on = packet.timestamp == self.next_timestamp;
        clock.fit(packet.timestamp, target.grid.tick(packet.at), went_on, target.grid) == Fit::Stalled
    }

    /// Passes on what waited long enough; everything where `force` says so.
    pub(super) fn settle(&mut self, now: Stamp, force: bool, target: &mut Target<'_>) {
        if self.order.starting() {
            if !self.order.open(now, force, self.comes_in_a_burst()) {
                return;
            }
            self.first = self.first_place(target);
        }
        if self.order.stalled() {
            self.unstall(now, force);
        }
        while let Some(held) = self.order.pop(now, target.window, force) {
            self.lost += self.order.passed(held.extended);
            let Held { at, timestamp, codec, overtaken, .. } = held;
            self.deliver(&Packet { at, timestamp, codec, payload: &held.payload, overtaken }, target);
        }
    }

    /// Whether the packet that came last of those that wait at the start came much sooner after another than it was
    /// made: what was held up on the way is still coming.
    fn comes_in_a_burst(&self) -> bool {
        let held = self.order.held();
        let Some(last) = held.iter().max_by_key(|held| (held.at, held.extended)) else { return false };
        let before = held.iter().filter(|held| held.at < last.at);
        let Some(before) = before.max_by_key(|held| (held.at, held.extended)) else { return held.len() > 1 };
        let hz = i64::from(self.clock_hz(usize::from(last.codec)).max(1));
        let made = i64::from(last.timestamp.wrapping_sub(before.timestamp) as i32) * 1_000_000_000 / hz;
        last.at.nanos_after(before.at) < made / 2
    }

    /// The place of the first packet: when the one that came first came; before that where others show that it
    /// was delayed, as far as nothing is known there. What came in the same packet (RFC 2198) is older than it.
    fn first_place(&self, target: &Target<'_>) -> Option<(u32, i64)> {
        let (grid, held) = (target.grid, self.order.held());
        let first = held.iter().min_by_key(|held| (held.at, std::cmp::Reverse(held.extended)))?;
        let hz = self.clock_hz(usize::from(first.codec));
        let tick = grid.tick(first.at);
        let probe = Clock::new(grid, hz, first.timestamp, tick);
        // Those whose timestamps go on as their numbers do: where a sender sets its clock they say nothing of the way.
        let next = held.iter().skip(1);
        let steps = held.iter().zip(next).filter(|(one, next)| one.extended + 1 == next.extended);
        let step = steps.map(|(one, next)| next.timestamp.wrapping_sub(one.timestamp)).min().unwrap_or(0);
        let in_step = |held: &Held| {
            let numbers = held.extended.wrapping_sub(first.extended) as u32;
            held.timestamp.wrapping_sub(first.timestamp) == step.wrapping_mul(numbers)
        };
        let sooner = |held: &Held| {
            let most = if in_step(held) { HELD_UP_MS } else { FIRST_SOONER_MS };
            (grid.tick(held.at) - probe.place(held.timestamp)).clamp(-grid.millis(most), 0)
        };
        let sooner = held.iter().map(sooner).min().unwrap_or(0);
        Some((first.timestamp, (tick + sooner).max(target.side.end()).min(tick)))
    }

    /// Decides what a stall was: packets that come faster than they were made were held up on the
    /// way and keep their places; at their usual pace, their sender had paused.
    fn unstall(&mut self, now: Stamp, force: bool) {
        let held = self.order.held();
        let (Some(first), Some(last), Some(clock)) = (held.front(), held.back(), &mut self.clock) else {
            return self.order.set_stalled(false);
        };
        if !force && held.len() < STALL_PACKETS && now.since(first.at).as_millis() < STALL_MS {
            return;
        }
        let made = i64::from(last.timestamp.wrapping_sub(first.timestamp) as i32) * 1_000_000_000
            / i64::from(clock.hz());
        if made > 0 && last.at.nanos_after(first.at) < made / 2 {
            clock.catch_up();
        } else {
            self.clock = None;
        }
        self.order.set_stalled(false);
    }

    fn clock_hz(&self, codec: usize) -> u32 {
        let codec = &self.codecs[codec];
        match (&codec.kind, &self.clock) {
            // Shares the clock of the sound around it, whatever its own format says.
            (Kind::Noise, Some(clock)) => clock.hz(),
            _ => codec.format.as_ref().map_or(0, |format| format.clock_rate_hz),
        }
    }

    fn deliver(&mut self, packet: &Packet<'_>, target: &mut Target<'_>) {
        let index = usize::from(packet.codec);
        match &self.codecs[index].kind {
            Kind::Event => {
                let arrival = target.grid.tick(packet.at);
                target.side.sound(arrival, arrival + target.grid.millis(EVENT_MS), target.grid, target.gaps);
                self.events = true;
            }
            Kind::Noise => self.noise(packet, target),
            Kind::Unknown => self.unknown(index, packet, target),
            Kind::Speech { rate_hz, .. } => {
                let rate_hz = *rate_hz;
                let place = self.place(index, packet, target);
                self.note_duration(index, packet);
                target.side.end_noise(place, target.grid);
                if !self.carry(index, place, packet, target) {
                    self.speech(index, rate_hz, place, packet, target);
                }
                (self.lost, self.events) = (0, false);
            }
        }
    }

    /// Returns the place of a packet, and anchors the stream where that is needed.
    fn place(&mut self, index: usize, packet: &Packet<'_>, target: &Target<'_>) -> i64 {
        let grid = target.grid;
        let arrival = grid.tick(packet.at);
        let hz = self.clock_hz(index);
        let went_on = packet.timestamp == self.next_timestamp;
        if let Some(clock) = &mut self.clock
            && clock.hz() == hz
        {
            if packet.overtaken && clock.fits_overtaken(packet.timestamp, arrival, grid) {
                return clock.advance(packet.timestamp, None, grid);
            }
            if clock.fit(packet.timestamp, arrival, went_on, grid) == Fit::Agrees {
                return clock.advance(packet.timestamp, Some(arrival), grid);
            }
        }
        let mut place = arrival;
        if let Some((timestamp, first)) = self.first.take() {
            place = Clock::new(grid, hz, timestamp, first).place(packet.timestamp);
        }
        // A new stream that follows closely continues the one before it without a seam.
        let seam = target.side.end() - place;
        if target.side.end() > 0 && seam.abs() <= grid.millis(SEAM_MS) {
            place += seam;
        }
        // Its own sound is there already: the sender, or the way, makes up for having been late. What was said
        // before is not put aside for it.
        let overlap = target.side.end() - place;
        let own = overlap > 0 && self.reach > place;
        let most = grid.millis(AHEAD_MS_MAX);
        if own && overlap <= most {
            let missing = (self.lost as i64).saturating_mul(self.frame);
            place += overlap + missing.min(most - overlap);
        }
        let mut clock = Clock::new(grid, hz, packet.timestamp, place);
        clock.advance(packet.timestamp, Some(arrival), grid);
        self.clock = Some(clock);
        if !own {
            (self.end, self.lost) = (place, 0);
        }
        place
    }

    /// Sound from `place` to `end` is on the timeline, if it was `heard`; otherwise it is counted where it is
    /// `written` there, or its own sound has the place.
    fn took(&mut self, place: i64, end: i64, heard: bool, written: i64) {
        if heard {
            self.reach = self.reach.max(end);
        } else {
            self.late += u64::from(end <= written.max(self.reach));
        }
        (self.end, self.frame) = (end, end - place);
    }

    fn note_duration(&mut self, index: usize, packet: &Packet<'_>) {
        let codec = &self.codecs[index];
        let (Kind::Speech { rate_hz, .. }, Some(format)) = (&codec.kind, &codec.format) else { return };
        if let Some(samples) = codec::samples_in(format, packet.payload) {
            self.units = (samples as u64 * u64::from(format.clock_rate_hz) / u64::from(*rate_hz)) as u32;
        }
        self.next_timestamp = packet.timestamp.wrapping_add(self.units);
    }

    fn noise(&mut self, packet: &Packet<'_>, target: &mut Target<'_>) {
        let Some(clock) = &mut self.clock else { return };
        let arrival = target.grid.tick(packet.at);
        if clock.fit(packet.timestamp, arrival, false, target.grid) != Fit::Agrees {
            return;
        }
        let place = clock.advance(packet.timestamp, Some(arrival), target.grid);
        let rate_hz = self.codecs.iter().find_map(|codec| match codec.kind {
            Kind::Speech { rate_hz, .. } => Some(rate_hz),
            _ => None,
        });
        let Some(mut decoder) = codec::decoder(&Format::new("CN", rate_hz.unwrap_or(8_000))) else { return };
        if decoder.decode(packet.payload, target.pcm).is_ok() {
            target.side.sound(place, place, target.grid, target.gaps);
            // What a room sounds like while nothing is to be kept is not kept either.
            if !target.side.masked(place, place + 1) {
                target.side.begin_noise(decoder, place, target.grid);
            }
        }
        target.pcm.clear();
        (self.lost, self.end) = (0, place);
    }

    fn unknown(&mut self, index: usize, packet: &Packet<'_>, target: &mut Target<'_>) {
        let place = match self.clock_hz(index) {
            0 => target.grid.tick(packet.at),
            _ => self.place(index, packet, target),
        };
        // How long it lasts is not known: as long as the one before it, if that makes sense.
        let step = place - self.end;
        let from = if (0..=target.grid.millis(UNKNOWN_MS_MAX)).contains(&step) { self.end } else { place };
        let end = place + target.grid.millis(UNKNOWN_MS);
        target.side.gap(GapReason::Undecodable, from.min(place), end, target.grid, target.gaps);
        target.side.end_noise(place, target.grid);
        (self.end, self.lost) = (end, 0);
    }

    /// Takes an Opus packet into an Opus file as it is. Returns false where that is not possible.
    fn carry(&mut self, index: usize, place: i64, packet: &Packet<'_>, target: &mut Target<'_>) -> bool {
        // Keys are looked for in sound that is decoded.
        if target.side.mutes_tones() {
            return false;
        }
        let masks = std::mem::take(&mut target.side.masks);
        let carried = self.carry_unmasked(index, place, packet, target, &masks);
        target.side.masks = masks;
        carried
    }

    fn carry_unmasked(
        &mut self,
        index: usize,
        place: i64,
        packet: &Packet<'_>,
        target: &mut Target<'_>,
        masks: &[std::ops::Range<i64>],
    ) -> bool {
        let Lane::Opus(lane) = &mut target.side.lane else { return false };
        if self.codecs[index].format.as_ref().is_none_or(|format| format.encoding != "OPUS") {
            return false;
        }
        let Some(frames) = Frames::parse(packet.payload) else { return false };
        self.stereo |= frames.toc().stereo();
        if self.stereo {
            return false;
        }
        let whole = frames.samples() == SLOT;
        if !whole && frames.toc().frame_samples() != SLOT {
            return false;
        }
        let ticks = frames.samples() as i64;
        let missing = (self.lost as i64 * self.frame).min(place - self.end).max(0);
        let mut heard = false;
        // The sound before it, where it holds that as well, must not be left out either.
        let reach = if frames.holds_earlier() { SLOT as i64 } else { 0 };
        let masked = |place: i64| touches(masks, place - reach, place + SLOT as i64);
        if whole {
            heard = lane.carry(place, self.lost, packet.payload, masked(place));
        } else {
            for frame in 0..frames.count() {
                target.pcm.clear();
                let mut single = Vec::with_capacity(1 + frames.frame(frame).len());
                frames.single(frame, &mut single);
                let place = place + (frame * SLOT) as i64;
                heard |= lane.carry(place, self.lost, &single, masked(place));
            }
        }
        self.list_loss(missing, target);
        target.side.sound(place, place + ticks, target.grid, target.gaps);
        self.took(place, place + ticks, heard, target.side.written());
        if let Some(clock) = &mut self.clock {
            match clock.drift(packet.at) {
                Advice::Keep => {}
                // Packets slip by a slot at a time.
                Advice::Gently(off) => clock.moved(off),
                Advice::AtPause(off) | Advice::Now(off) => {
                    clock.moved(off);
                    self.broken_clock = true;
                }
            }
        }
        true
    }

    /// Lists `missing` ticks of loss after the latest sound.
    fn list_loss(&self, missing: i64, target: &mut Target<'_>) {
        if missing > 0 {
            target.side.gap(GapReason::NetworkLoss, self.end, self.end + missing, target.grid, target.gaps);
        }
    }

    fn speech(
        &mut self,
        index: usize,
        rate_hz: u32,
        place: i64,
        packet: &Packet<'_>,
        target: &mut Target<'_>,
    ) {
        let codec = &mut self.codecs[index];
        let Kind::Speech { decoder, .. } = &mut codec.kind else { return };
        if decoder.is_none() {
            *decoder = codec.format.as_deref().and_then(codec::decoder);
        }
        let Some(mut decoder) = decoder.take() else { return };
        if self.lost > 0 && place > self.end {
            // Nothing is made up from sound that is left out.
            if target.side.would_tell(self.end, place, target.grid)
                && let Some(fresh) = self.codecs[index].format.as_deref().and_then(codec::decoder)
            {
                decoder = fresh;
            }
            self.conceal(&mut *decoder, rate_hz, place, packet, target);
        }
        target.pcm.clear();
        if decoder.decode(packet.payload, target.pcm).is_err() {
            target.pcm.clear();
            if target.side.would_tell(place, place + self.frame, target.grid)
                && let Some(fresh) = self.codecs[index].format.as_deref().and_then(codec::decoder)
            {
                decoder = fresh;
            }
            decoder
                .conceal((self.frame * i64::from(rate_hz) / i64::from(target.grid.hz)) as usize, target.pcm);
        }
        if let Kind::Speech { decoder: kept, .. } = &mut self.codecs[index].kind {
            *kept = Some(decoder);
        }
        let ticks = target.pcm.len() as i64 * i64::from(target.grid.hz) / i64::from(rate_hz);
        let moved = self.correct_drift(rate_hz, packet.at, target);
        target.side.sound(place, place, target.grid, target.gaps);
        let placed = target.side.put(place, target.pcm, rate_hz, target.grid);
        self.took(place, place + ticks, placed == Placed::Heard, target.side.written());
        self.end += moved;
    }

    /// Lengthens or shortens the packet in `pcm` by a sample now and then, where the stream has
    /// drifted. Returns by how many ticks.
    fn correct_drift(&mut self, rate_hz: u32, at: Stamp, target: &mut Target<'_>) -> i64 {
        let Some(clock) = &mut self.clock else { return 0 };
        let silent = || target.pcm.iter().all(|sample| sample.unsigned_abs() < SILENT_BELOW);
        let off = match clock.drift(at) {
            Advice::Keep => return 0,
            Advice::Gently(off) => off,
            Advice::AtPause(_) if !silent() => return 0,
            Advice::AtPause(off) | Advice::Now(off) => {
                clock.moved(off);
                self.broken_clock = true;
                return 0;
            }
        };
        let sample = (i64::from(target.grid.hz) / i64::from(rate_hz)).max(1);
        if off.abs() < sample || target.grid.hz < rate_hz {
            return 0;
        }
        let samples = (off.abs() / sample).min(clock.gently(target.pcm.len(), silent())) * off.signum();
        stretch(target.pcm, samples);
        clock.moved(samples * sample);
        samples * sample
    }

    /// Makes up for lost packets before the packet at `place`.
    fn conceal(
        &mut self,
        decoder: &mut dyn Decoder,
        rate_hz: u32,
        place: i64,
        packet: &Packet<'_>,
        target: &mut Target<'_>,
    ) {
        let grid = target.grid;
        let frame = if self.frame > 0 { self.frame } else { grid.millis(20) };
        let missing = (place - self.end).min((self.lost as i64).saturating_mul(frame));
        if self.events {
            // The digit's time is not lost sound.
            self.end = place - missing;
        }
        let samples = |ticks: i64| (ticks * i64::from(rate_hz) / i64::from(grid.hz)).max(0) as usize;
        let audible = missing.min(grid.millis(CONCEAL_MS_MAX));
        let recovered = audible.min(frame);
        target.pcm.clear();
        decoder.conceal(samples(audible - recovered), target.pcm);
        let back = missing == audible && decoder.recover(packet.payload, samples(recovered), target.pcm);
        if !back {
            decoder.conceal(samples(recovered), target.pcm);
        }
        let lost = if back { missing - recovered } else { missing };
        self.list_loss(lost, target);
        target.side.put(self.end, target.pcm, rate_hz, grid);
        target.side.sound(self.end, self.end + missing, grid, target.gaps);
    }
}

impl Kind {
    fn of(format: Option<&Format>) -> Self {
        let Some(format) = format else { return Self::Unknown };
        match format.encoding.as_str() {
            "TELEPHONE-EVENT" => Self::Event,
            "CN" => Self::Noise,
            _ => match codec::native_rate_hz(format) {
                Some(rate_hz) if rate_hz > 0 && format.clock_rate_hz > 0 => {
                    Self::Speech { rate_hz, decoder: None }
                }
                _ => Self::Unknown,
            },
        }
    }
}

/// Makes `pcm` longer by `more` samples, or shorter where that is negative; first and last stay.
fn stretch(pcm: &mut Vec<i16>, more: i64) {
    let old = pcm.len();
    let new = old.saturating_add_signed(more as isize);
    if old < 2 || new < 2 {
        return;
    }
    let step = (old - 1) as f32 / (new - 1) as f32;
    let at = |index: usize, pcm: &[i16]| {
        let place = index as f32 * step;
        let whole = (place as usize).min(old - 2);
        let part = place - whole as f32;
        let (a, b) = (f32::from(pcm[whole]), f32::from(pcm[whole + 1]));
        (a + (b - a) * part).round() as i16
    };
    if new > old {
        // Each new sample lies at or before its old place: from the back, none is needed again.
        pcm.resize(new, 0);
        (1..new).rev().for_each(|index| pcm[index] = at(index, pcm));
    } else {
        (0..new).for_each(|index| pcm[index] = at(index, pcm));
        pcm.truncate(new);
    }
}

/// Payload types of one stream.
const CODECS_MAX: usize = 16;
/// The first packet is believed to be so much too late, where later ones show it.
const FIRST_SOONER_MS: u32 = 15;
/// The same where they follow it without a break: all of them were held up on the way.
const HELD_UP_MS: u32 = 400;
/// Sound may be so far ahead of the time it came, where it would else be put on the stream's own.
const AHEAD_MS_MAX: u32 = 2_000;
/// Packets that tell a blocked way from a sender that paused.
const STALL_PACKETS: usize = 6;
/// How long those may take.
const STALL_MS: u128 = 200;
/// A new stream this close to the end of sound is put at the end.
const SEAM_MS: u32 = 15;
/// An event explains silence until so long after it.
const EVENT_MS: u32 = 60;
/// Duration of a packet that cannot be decoded.
const UNKNOWN_MS: u32 = 20;
/// Longest packet, and the space between two that are one stretch.
const UNKNOWN_MS_MAX: u32 = 100;
/// More is not made up.
const CONCEAL_MS_MAX: u32 = 400;
/// 20 ms at 48 kHz.
const SLOT: usize = 960;
/// 44 dB below the loudest: a pause.
const SILENT_BELOW: u16 = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stretched_packet_keeps_its_ends_and_its_line() {
        let line: Vec<i16> = (0..160).map(|n| n * 100).collect();
        for (more, length) in [(1, 161), (-1, 159), (4, 164), (-4, 156)] {
            let mut pcm = line.clone();
            stretch(&mut pcm, more);
            assert_eq!((pcm.len(), pcm[0], pcm[length - 1]), (length, 0, 15_900));
            let even = 15_900.0 / (length - 1) as f32;
            for pair in pcm.windows(2) {
                assert!((f32::from(pair[1] - pair[0]) - even).abs() < 2.0, "{pair:?}");
            }
        }
    }
}
