//! Pauses and keys that are not kept, as the recorder does them.

use std::ops::Range;

use crate::base::counters::Discard;
use crate::base::frame::FrameMeta;
use crate::base::party::Party;
use crate::base::time::Stamp;
use crate::recording::audio::AudioFacts;
use crate::recording::hold::{Piece, Waiting};
use crate::recording::manifest::{Gap, GapReason, MaskedSpan};
use crate::recording::masking::{Masked, Masking};
use crate::recording::pause::{Action, KeyVia, MaskedBy, PauseReason};
use crate::recording::recorder::{Config, Content, Recorder, RtpIn, Scratch, Sink};

impl Config {
    /// Whether recordings must be handed SIP requests: [`Recorder::signal`].
    pub fn wants_signals(&self) -> bool {
        self.mask_digits || self.pause.is_some()
    }

    pub(super) fn masking(&self) -> Option<Box<Masking>> {
        let keys = self.pause.as_ref().is_some_and(|rules| rules.keys());
        let hold = self.content == Content::Packets && (self.mask_digits || keys);
        (self.mask_digits || self.pause.is_some())
            .then(|| Box::new(Masking::new(self.mask_digits, self.pause.as_ref(), hold)))
    }

    /// Whether tones are looked for in the sound, and whether they are taken away.
    pub(super) fn tones(&self) -> Option<bool> {
        let keys = self.pause.as_ref().is_some_and(|rules| rules.keys());
        (self.mask_digits || keys).then_some(self.mask_digits)
    }
}

impl Recorder {
    /// Keeps nothing of the media from `at` on, until [`Self::resume`] or the end of the call. Returns
    /// whether that is a change.
    ///
    /// Sound is silence by its place on the timeline, so packets that are late are judged by when they
    /// were sent. What was handed to the sealer before is not taken back: where `at` lies before what is
    /// written, the pause begins there. Nothing is written before both sides are known, which for
    /// packets that came before `at` is usually within 20 ms.
    pub fn pause(&mut self, at: Stamp, why: PauseReason) -> bool {
        let masking = self.masking.get_or_insert_with(|| Box::new(Masking::new(false, None, false)));
        let begun = masking.pause(at, why);
        if let Some(audio) = self.audio.as_mut().filter(|_| begun) {
            audio.pause(at);
        }
        begun
    }

    /// Keeps the media again from `at` on. Returns whether that is a change.
    pub fn resume(&mut self, at: Stamp) -> bool {
        let ended = self.masking.as_mut().is_some_and(|masking| masking.resume(at));
        if let Some(audio) = self.audio.as_mut().filter(|_| ended) {
            audio.resume(at);
        }
        ended
    }

    /// Whether it is paused.
    pub fn paused(&self) -> bool {
        self.masking.as_ref().is_some_and(|masking| masking.paused())
    }

    /// Takes in a SIP request of this call that `party` sent; the frames it came in follow as
    /// [`Self::signalling`]. Where nothing can be paused and keys are kept there is no need to.
    pub fn signal(&mut self, at: Stamp, party: Party, sip: &[u8]) {
        let Some(masking) = &mut self.masking else { return };
        let action = masking.signal(at, party, sip);
        self.act(at, action);
        if let Some(masking) = &mut self.masking {
            masking.judge_signal(sip);
        }
    }

    /// Whether relayed media is left out. The manifest then says so.
    pub(super) fn leaves_out_relayed(&mut self) -> bool {
        let Some(masking) = self.masking.as_mut().filter(|masking| masking.keys) else { return false };
        masking.unheard.insert("media that a TURN server relays".into());
        true
    }

    /// Takes in one message in several frames, each with whether it is counted here: all are left out, or none.
    pub fn signalling_in_parts(
        &mut self,
        frames: &[(&FrameMeta, &[u8], bool)],
        scratch: &mut Scratch,
        sink: &mut impl Sink,
    ) {
        if let Some(masking) = &mut self.masking {
            masking.leaves_out(frames.iter().map(|(frame, ..)| frame.number));
        }
        for (frame, data, count) in frames {
            self.signalling(&[(frame, data)], *count, scratch, sink);
        }
    }

    fn act(&mut self, at: Stamp, action: Option<Action>) {
        match action {
            Some(Action::Pause(why)) => self.pause(at, why),
            Some(Action::Resume) => self.resume(at),
            None => return,
        };
    }

    /// Looks at a packet that was counted: what it says, and how much of it is left out.
    pub(super) fn mask_media(&mut self, number: u16, at: Stamp, packet: RtpIn<'_>) -> (Masked, Range<Stamp>) {
        let (Some(masking), Some(stream)) = (&mut self.masking, self.streams.get(usize::from(number))) else {
            return (Masked::No, at..at);
        };
        let reach = stream.reach(packet.payload);
        let party = stream.party();
        if masking.keys && stream.audible() && !stream.decodable() {
            masking.unheard.insert(stream.encoding());
        }
        let span = masking.span(number, at, packet.head.timestamp, &reach);
        let key = stream.pressed(packet.payload);
        let action = key.and_then(|digit| masking.key(at, party, digit, KeyVia::Event));
        self.act(at, action);
        let masked = self.masking.as_ref().map_or(Masked::No, |masking| masking.judge(&span, reach.key));
        (masked, span)
    }

    /// Follows the keys whose tones were heard in the sound.
    pub(super) fn follow_keys(&mut self) {
        while let Some(key) = self.audio.as_mut().and_then(|audio| audio.poll_key()) {
            let Some(masking) = &mut self.masking else { return };
            let action = masking.key(key.at, key.party, key.digit, KeyVia::Tone);
            // It has gone on until now.
            let at = if action == Some(Action::Resume) { self.last_media } else { key.at };
            self.act(at, action);
        }
    }

    /// Keeps a media packet where packets are kept.
    pub(super) fn keep_media(
        &mut self,
        number: u16,
        packet: RtpIn<'_>,
        frames: &[(&FrameMeta, &[u8])],
        (masked, span): (Masked, Range<Stamp>),
        scratch: &mut Scratch,
        sink: &mut impl Sink,
    ) {
        let at = frames.last().map_or(self.last_media, |(frame, _)| frame.stamp);
        let Some(hold) = self.masking.as_mut().and_then(|masking| masking.hold.as_mut()) else {
            if masked != Masked::No {
                return self.books.discard(Discard::Masked, frames.len() as u64);
            }
            self.books.recorded += frames.len() as u64;
            return self.write_frames(frames, scratch, sink);
        };
        let place = if span.start > at { at } else { span.start };
        let mut keys = Vec::new();
        if let Some(stream) = self.streams.get(usize::from(number)) {
            let (sound, payload) = stream.listened(packet.head.payload_type, packet.payload);
            let piece = Piece { sequence: packet.head.sequence, at, place, sound, payload: payload.into() };
            hold.listen(number, piece, &mut |digit, at| keys.push((number, digit, at)));
        }
        let masked = masked != Masked::No;
        let waiting =
            Waiting { frames: Vec::new(), at, stream: Some(number), span: Some(span), count: true, masked };
        hold.push(frames, waiting);
        self.follow_packets(keys);
        self.release(at, false, scratch, sink);
    }

    fn follow_packets(&mut self, keys: Vec<(u16, char, Stamp)>) {
        for (number, digit, at) in keys {
            let Some(masking) = &mut self.masking else { return };
            let party = self.streams.get(usize::from(number)).map_or(Party::Unknown, |stream| stream.party());
            let action = masking.key(at, party, digit, KeyVia::Tone);
            let at = if action == Some(Action::Resume) { self.last_media } else { at };
            self.act(at, action);
        }
    }

    /// Keeps frames beside the media where packets are kept; `media` where they tell of it, as RTCP does.
    /// They are left out where they tell of keys that are not kept, or of media in a pause.
    pub(super) fn keep_beside(
        &mut self,
        frames: &[(&FrameMeta, &[u8])],
        (count, media): (bool, bool),
        scratch: &mut Scratch,
        sink: &mut impl Sink,
    ) {
        let Some(at) = frames.last().map(|(frame, _)| frame.stamp) else { return };
        let Some(masking) = &mut self.masking else { return };
        let span = media.then(|| at..at.after(std::time::Duration::from_nanos(1)));
        let mut masked = masking.leaves_out(frames.iter().map(|(frame, _)| frame.number));
        masked |= span.as_ref().is_some_and(|span| masking.judge(span, false) != Masked::No);
        if let Some(hold) = &mut masking.hold {
            let waiting = Waiting { frames: Vec::new(), at, stream: None, span, count, masked };
            hold.push(frames, waiting);
            return self.release(at, false, scratch, sink);
        }
        self.count_kept(frames.len() as u64, count, masked);
        if !masked {
            self.write_frames(frames, scratch, sink);
        }
    }

    fn count_kept(&mut self, frames: u64, count: bool, masked: bool) {
        match (count, masked) {
            (false, _) => {}
            (true, true) => self.books.discard(Discard::Masked, frames),
            (true, false) => self.books.recorded += frames,
        }
    }

    /// Writes what has waited long enough; everything where `force` says so.
    pub(super) fn release(&mut self, now: Stamp, force: bool, scratch: &mut Scratch, sink: &mut impl Sink) {
        let Some(hold) = self.masking.as_mut().and_then(|masking| masking.hold.as_mut()) else { return };
        let mut keys = Vec::new();
        hold.settle(now, force, &mut |number, digit, at| keys.push((number, digit, at)));
        self.follow_packets(keys);
        loop {
            let Some(masking) = &mut self.masking else { return };
            let Some(waiting) = masking.hold.as_mut().and_then(|hold| hold.pop(now, force)) else { return };
            // More may be known than when it came.
            let paused = waiting.span.as_ref().map_or(Masked::No, |span| masking.judge(span, false));
            let masked = waiting.masked || paused != Masked::No;
            self.count_kept(waiting.frames.len() as u64, waiting.count, masked);
            if !masked {
                let frames: Vec<(&FrameMeta, &[u8])> =
                    waiting.frames.iter().map(|frame| (&frame.meta, &*frame.bytes)).collect();
                self.write_frames(&frames, scratch, sink);
            }
        }
    }

    /// What the manifest says of it: stretches, and notes.
    pub(super) fn masked_facts(
        &self,
        end: Stamp,
        audio: Option<&AudioFacts>,
        gaps: &mut Vec<Gap>,
    ) -> (Vec<MaskedSpan>, Vec<String>) {
        let Some(masking) = &self.masking else { return (Vec::new(), Vec::new()) };
        let seconds = |at: Stamp| (at.min(end).nanos_after(self.start) as f64 / 1e3).round() / 1e6;
        let mut masked = Vec::new();
        for (index, pause) in masking.pauses().iter().enumerate() {
            let in_sound = audio.and_then(|audio| audio.pauses.get(index).copied());
            let (from_s, to_s) =
                in_sound.unwrap_or_else(|| (seconds(pause.from), seconds(pause.to.unwrap_or(end))));
            masked.push(MaskedSpan {
                at: pause.from,
                from_s,
                to_s,
                party: None,
                by: pause.why.by,
                reason: pause.why.text.clone(),
            });
        }
        let mut tones: Vec<_> = audio.map(|audio| audio.tones.clone()).unwrap_or_default();
        let mut more = audio.map_or(0, |audio| audio.tones_more);
        if let Some(hold) = masking.hold.as_ref().filter(|_| masking.keys) {
            for (number, spans) in hold.tones() {
                let stream = self.streams.get(usize::from(number));
                let party = stream.map_or(Party::Unknown, |stream| stream.party());
                tones.extend(spans.iter().map(|span| (party, seconds(span.start), seconds(span.end))));
            }
            more += hold.more();
        }
        for (party, from_s, to_s) in tones {
            let nanos = (from_s.max(0.0) * 1e9) as u64;
            let at = self.start.after(std::time::Duration::from_nanos(nanos));
            let by = MaskedBy::Tone;
            masked.push(MaskedSpan { at, from_s, to_s, party: Some(party), by, reason: String::new() });
        }
        masked.sort_by(|a, b| a.from_s.total_cmp(&b.from_s));
        if audio.is_none() {
            for span in &masked {
                let both = [Party::Caller, Party::Callee];
                let parties = both.into_iter().filter(|party| span.party.is_none_or(|only| only == *party));
                gaps.extend(parties.map(|party| Gap {
                    party,
                    at_s: span.from_s,
                    length_s: ((span.to_s - span.from_s) * 1e6).round() / 1e6,
                    reason: GapReason::Masked,
                }));
            }
        }
        let mut notes = Vec::new();
        for name in &masking.unheard {
            notes.push(format!("the tones of keys could not be looked for in {name}"));
        }
        if more > 0 {
            notes.push(format!("{more} more tones of keys were left out and are not listed"));
        }
        (masked, notes)
    }
}
