//! One call being written: packets in, sealed chunks out, a manifest at the end.
//!
//! Plain sound and plain packets exist only between [`Recorder`]'s inputs and its sealer. What
//! leaves through a [`Sink`] is sealed.

mod hand_over;
mod masked;
mod part;
mod pressed;
mod progress;

use std::sync::Arc;

use zeroize::Zeroize;

use crate::base::counters::{Counters, Discard};
use crate::base::frame::FrameMeta;
use crate::base::limits::SILENCE_AHEAD_MAX;
use crate::base::time::Stamp;
use crate::call::closing::{Closed, EndedBy};
use crate::call::media_map::Formats;
use crate::call::stream::{Arrival, RtpHead};
use crate::call::table::StreamOpened;
use crate::recording::audio::{self, AudioFacts, CallAudio};
use crate::recording::journal::Batch;
use crate::recording::losses::Losses;
use crate::recording::manifest::{
    CallFacts, FileFacts, Gap, GapReason, LadderEntry, Manifest, Party, RecorderFacts, SCHEMA, State,
};
use crate::recording::masking::{Masked, Masking};
use crate::recording::packets::PacketWriter;
use crate::recording::parts::Continuation;
use crate::recording::pause::PauseRules;
pub use crate::recording::recorder::hand_over::Round;
pub use crate::recording::recorder::progress::CallProgress;
use crate::recording::reports::Reports;
use crate::recording::stream_record::StreamRecord;
use crate::seal::random::Randomness;
use crate::seal::recipient::Recipients;
use crate::seal::stream::{PagePool, SealError, SealedChunk, SealedFile, Sealer};

/// What a recording holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Content {
    /// Ogg Opus.
    Opus,
    /// The call's own packets.
    Packets,
    /// WAV.
    Wav,
}

impl Content {
    /// The part of a file's name between id and `.age`.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Opus => "opus",
            Self::Packets => "pcapng",
            Self::Wav => "wav",
        }
    }
}

/// How much of a call is kept.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Keep {
    /// Media and manifest.
    #[default]
    All,
    /// The manifest.
    Manifest,
    /// A receipt that says so.
    Nothing,
    /// The same, since it cannot be told whether a rule keeps it out.
    Undecided,
}

impl Keep {
    /// Whether nothing is kept but a receipt.
    pub fn is_nothing(self) -> bool {
        matches!(self, Self::Nothing | Self::Undecided)
    }
}

/// What recordings that one rule made on one trunk share.
#[derive(Debug)]
pub struct Config {
    /// How much of a call to keep.
    pub keep: Keep,
    /// What is kept longest when not all can be: 0 goes first.
    pub priority: u8,
    /// Before the names of files: empty, or a folder with its `/`.
    pub folder: &'static str,
    /// What to keep of a call.
    pub content: Content,
    /// Who can open it.
    pub recipients: Recipients,
    /// Who recorded it.
    pub recorder: RecorderFacts,
    /// Trunk, rule with version, retention class.
    pub labels: [String; 3],
    /// Keep no keys: neither RFC 4733 events nor tones in the sound nor what SIP tells of them.
    pub mask_digits: bool,
    /// What pauses a recording, beside [`Recorder::pause`].
    pub pause: Option<PauseRules>,
}

/// Takes sealed bytes away.
pub trait Sink {
    /// Appends `chunk` to the file `name`.
    fn chunk(&mut self, name: &str, chunk: SealedChunk);
}

/// Buffers that recordings of one thread share.
#[derive(Default)]
pub struct Scratch {
    /// Plain bytes on their way to a sealer.
    plain: Vec<u8>,
    /// Pages for what a sealer cannot seal yet.
    pub pool: PagePool,
    /// What recordings that ended have left for the journal; none where no journal is kept.
    pub left: Option<Batch>,
}

impl Scratch {
    /// Forgets what a recording that broke off has left: it must not come into another.
    pub fn wipe(&mut self) {
        self.plain.zeroize();
    }
}

/// An RTP packet that comes in.
#[derive(Clone, Copy, Debug)]
pub struct RtpIn<'a> {
    /// Its header.
    pub head: RtpHead,
    /// Its payload.
    pub payload: &'a [u8],
    /// Whether the snap length cut it.
    pub cut: bool,
}

/// A finished recording.
#[derive(Debug)]
pub struct Finished {
    /// All that is known of it.
    pub manifest: Manifest,
    /// All its files, the sealed manifest last.
    pub files: Vec<SealedAs>,
    /// Whether something of it could not be sealed for its recipients.
    pub unsealed: bool,
}

/// A sealed file as a receipt names it.
#[derive(Clone, Debug)]
pub struct SealedAs {
    /// File name.
    pub name: String,
    /// Length.
    pub bytes: u64,
    /// SHA-256 of all of it.
    pub sha256: [u8; 32],
}

struct OpenFile {
    name: String,
    sealer: Sealer,
}

/// One call being written.
pub struct Recorder {
    id: String,
    start: Stamp,
    orphan: bool,
    /// The part of the call before this one.
    before: Option<Box<Continuation>>,
    config: Arc<Config>,
    /// What is kept: what `config` says, or packets where there is no time to do more.
    content: Content,
    random: Box<dyn Randomness + Send>,
    streams: Vec<StreamRecord>,
    audio: Option<CallAudio>,
    /// The call's packets: all of them where that is what is kept, else those that no decoder reads.
    packets: PacketWriter,
    /// The file of the sound.
    sound_file: Option<OpenFile>,
    /// The file of the packets.
    packet_file: Option<OpenFile>,
    last_media: Stamp,
    /// Bytes of media payloads, duplicates included.
    media_bytes: u64,
    /// Up to when time was let pass.
    settled: Stamp,
    /// By how many nanoseconds the capture clock was set since the start, and how often.
    skew: i64,
    clock_sets: u32,
    books: Counters,
    rtcp: Reports,
    losses: Losses,
    /// Turned away: the recorder had no room for it.
    refused: bool,
    pressed: pressed::Pressed,
    failed: Option<SealError>,
    journaled: hand_over::Journaled,
    /// Nothing where nothing was ever to be left out.
    masking: Option<Box<Masking>>,
}

impl Recorder {
    /// Begins a recording. `random` is its own: keys come from it, and the id.
    pub fn new(config: Arc<Config>, start: Stamp, orphan: bool, random: Box<dyn Randomness + Send>) -> Self {
        let content = config.content;
        Self::with_content(config, content, start, orphan, random)
    }

    fn with_content(
        config: Arc<Config>,
        content: Content,
        start: Stamp,
        orphan: bool,
        mut random: Box<dyn Randomness + Send>,
    ) -> Self {
        let id = new_id(start, &mut *random);
        let output = match content {
            Content::Opus => Some(audio::Output::Opus),
            Content::Wav => Some(audio::Output::Wav),
            Content::Packets => None,
        };
        let output = output.filter(|_| config.keep == Keep::All);
        let mut audio = output.map(|output| CallAudio::new(audio::Config { output, start, id: id.clone() }));
        if let (Some(audio), Some(mute)) = (&mut audio, config.tones()) {
            audio.watch_tones(mute);
        }
        Self {
            audio,
            masking: config.masking(),
            packets: PacketWriter::default(),
            id,
            start,
            orphan,
            before: None,
            config,
            content,
            random,
            streams: Vec::new(),
            sound_file: None,
            packet_file: None,
            last_media: start,
            media_bytes: 0,
            settled: start,
            skew: 0,
            clock_sets: 0,
            books: Counters::default(),
            rtcp: Reports::default(),
            losses: Losses::default(),
            refused: false,
            pressed: pressed::Pressed::default(),
            failed: None,
            journaled: hand_over::Journaled::default(),
        }
    }

    /// Begins what is no recording: there is no room for another. It is counted and receipted as failed.
    pub fn refused(
        config: Arc<Config>,
        start: Stamp,
        orphan: bool,
        random: Box<dyn Randomness + Send>,
    ) -> Self {
        let mut recorder = Self::new(config, start, orphan, random);
        (recorder.refused, recorder.audio) = (true, None);
        recorder
    }

    /// Why frames of the call are not kept, where none of them are.
    fn unkept(&self) -> Option<Discard> {
        match self.config.keep {
            _ if self.is_broken() => Some(Discard::Failed),
            _ if self.refused => Some(Discard::Shed),
            Keep::All => None,
            Keep::Manifest => Some(Discard::MetadataOnly),
            Keep::Nothing => Some(Discard::Excluded),
            Keep::Undecided => Some(Discard::Undecided),
        }
    }

    /// Whether nothing of the call is kept but a receipt.
    fn is_left_out(&self) -> bool {
        self.refused || self.config.keep.is_nothing()
    }

    /// A stream began, or more is known of it.
    pub fn stream(&mut self, number: u16, facts: &StreamOpened) {
        self.changed();
        if let Some(stream) = self.streams.get_mut(usize::from(number)) {
            stream.update(facts);
            return;
        }
        self.streams.push(StreamRecord::new(facts));
        if let Some(audio) = &mut self.audio {
            audio.add_stream(number, audio::StreamInfo { party: facts.party, rank: facts.rank });
        }
    }

    /// Payload types that the parties may use.
    pub fn formats(&mut self, formats: &Formats) {
        if let Some(audio) = &mut self.audio {
            formats.values().for_each(|format| audio.note_format(format));
        }
    }

    /// Takes in an RTP packet of a stream. `frames` are the captured frames it came in.
    pub fn media(
        &mut self,
        number: u16,
        packet: RtpIn<'_>,
        frames: &[(&FrameMeta, &[u8])],
        scratch: &mut Scratch,
        sink: &mut impl Sink,
    ) {
        self.books.captured += frames.len() as u64;
        let Some(at) = frames.last().map(|(frame, _)| self.own(frame.stamp)) else { return };
        let Some(stream) = self.streams.get_mut(usize::from(number)) else {
            return self.books.discard(Discard::Malformed, frames.len() as u64);
        };
        self.last_media = self.last_media.max(at);
        self.media_bytes += packet.payload.len() as u64;
        let reason = match stream.packet(at, packet.head) {
            Arrival::Duplicate => Some(Discard::Duplicate),
            _ if packet.cut && self.audio.is_some() => Some(Discard::Cut),
            _ => None,
        };
        if let Some(reason) = reason {
            return self.books.discard(reason, frames.len() as u64);
        }
        let copy = stream.is_copy();
        if let Some(reason) = self.unkept() {
            return self.books.discard(reason, frames.len() as u64);
        }
        if self.audio.is_some() && copy {
            return self.books.discard(Discard::RelayCopy, frames.len() as u64);
        }
        let (masked, span) =
            if self.masking.is_some() { self.mask_media(number, at, packet) } else { (Masked::No, at..at) };
        let (Some(audio), Some(stream)) = (&mut self.audio, self.streams.get_mut(usize::from(number))) else {
            return self.keep_media(number, packet, frames, (masked, span), scratch, sink);
        };
        match masked {
            Masked::Whole => self.books.discard(Discard::Masked, frames.len() as u64),
            Masked::No | Masked::Part => self.books.recorded += frames.len() as u64,
        }
        let mut kept_as_sent = true;
        if stream.audible() {
            stream.sound(number, at, packet, audio, &mut scratch.plain);
            kept_as_sent = !stream.decodable();
            if self.masking.is_some() {
                self.follow_keys();
            }
            self.seal_owed(scratch, sink);
        }
        if kept_as_sent && masked == Masked::No {
            self.write_frames(frames, scratch, sink);
        }
    }

    /// Packets were lost between these times by the recorder, `frames` of them known to be this call's.
    pub fn lost(&mut self, frames: u64, from: Stamp, to: Stamp, reason: Discard) {
        self.books.captured += frames;
        if frames > 0 {
            self.books.discard(reason, frames);
        }
        self.losses.note(frames, from, to, reason);
    }

    /// Takes in frames that carry signalling of this call. `count` is false where another call has
    /// counted them already.
    pub fn signalling(
        &mut self,
        frames: &[(&FrameMeta, &[u8])],
        count: bool,
        scratch: &mut Scratch,
        sink: &mut impl Sink,
    ) {
        self.keep(frames, (count, false), scratch, sink);
    }

    /// Keeps frames beside the media; `media` where they tell of it.
    fn keep(
        &mut self,
        frames: &[(&FrameMeta, &[u8])],
        (count, media): (bool, bool),
        scratch: &mut Scratch,
        sink: &mut impl Sink,
    ) {
        if count {
            self.books.captured += frames.len() as u64;
        }
        match self.unkept() {
            None => {}
            Some(_) if !count => return,
            // Signalling is what a manifest is made of.
            Some(Discard::MetadataOnly) => return self.books.recorded += frames.len() as u64,
            Some(reason) => return self.books.discard(reason, frames.len() as u64),
        }
        if self.masking.is_some() && self.audio.is_none() {
            return self.keep_beside(frames, (count, media), scratch, sink);
        }
        if count {
            self.books.recorded += frames.len() as u64;
        }
        if self.audio.is_none() {
            self.write_frames(frames, scratch, sink);
        }
    }

    /// Takes in RTCP of this call: kept with its packets, and what it says in the manifest.
    pub fn rtcp(
        &mut self,
        payload: &[u8],
        frames: &[(&FrameMeta, &[u8])],
        scratch: &mut Scratch,
        sink: &mut impl Sink,
    ) {
        if let Some((frame, _)) = frames.last() {
            let closed = self.streams.iter().any(StreamRecord::encrypted);
            self.rtcp.datagram(self.own(frame.stamp), payload, closed);
        }
        self.keep(frames, (true, true), scratch, sink);
    }

    /// Takes in media that a TURN server relays: kept as what is beside the media is, unless keys are not kept,
    /// which it may carry and cannot be looked for.
    pub fn relayed(&mut self, frames: &[(&FrameMeta, &[u8])], scratch: &mut Scratch, sink: &mut impl Sink) {
        if self.unkept().is_none() && self.audio.is_none() && self.leaves_out_relayed() {
            self.books.captured += frames.len() as u64;
            return self.books.discard(Discard::Masked, frames.len() as u64);
        }
        self.beside(frames, scratch, sink);
    }

    /// Takes in STUN, DTLS or ZRTP of this call: kept where packets are, except in a pause, since STUN may relay
    /// media too; else counted as no telephony.
    pub fn beside(&mut self, frames: &[(&FrameMeta, &[u8])], scratch: &mut Scratch, sink: &mut impl Sink) {
        self.books.captured += frames.len() as u64;
        if let Some(reason) = self.unkept() {
            return self.books.discard(reason, frames.len() as u64);
        }
        if self.audio.is_none() {
            if self.masking.is_some() {
                return self.keep_beside(frames, (true, true), scratch, sink);
            }
            self.books.recorded += frames.len() as u64;
            return self.write_frames(frames, scratch, sink);
        }
        self.books.discard(Discard::NotTelephony, frames.len() as u64);
    }

    fn write_frames(&mut self, frames: &[(&FrameMeta, &[u8])], scratch: &mut Scratch, sink: &mut impl Sink) {
        for (frame, data) in frames {
            self.packets.frame(frame, data, &mut scratch.plain);
        }
        self.seal(Content::Packets, scratch, sink);
    }

    /// The capture clock was set by `nanos`: what comes is so much earlier than it says, so that the
    /// timeline has neither a hole nor a stretch twice. Captured packets keep the time they came with.
    pub fn clock_set(&mut self, nanos: i64) {
        self.skew = self.skew.saturating_add(nanos);
        self.clock_sets += 1;
    }

    fn own(&self, at: Stamp) -> Stamp {
        at.shifted(self.skew.saturating_neg())
    }

    /// Lets time pass, so that one silent side does not hold back the other.
    pub fn tick(&mut self, now: Stamp, scratch: &mut Scratch, sink: &mut impl Sink) {
        if self.is_broken() {
            return;
        }
        self.release(now, false, scratch, sink);
        let mut now = self.own(now);
        let Some(audio) = &mut self.audio else { return };
        // Both silent: there is nothing to wait for, and the end of the call is not known yet.
        if self.journaled.is_on() {
            // The last of it must not wait for the end of the silence.
            now = now.min(self.last_media.after(audio.wait()));
            if now <= self.settled {
                return;
            }
            self.settled = now;
        } else if now.since(self.last_media) > SILENCE_AHEAD_MAX {
            return;
        }
        audio.handle_timeout(now, &mut scratch.plain);
        self.follow_keys();
        self.seal_owed(scratch, sink);
    }

    /// Seals the sound that is ready; after long silence it comes a minute at a time.
    fn seal_owed(&mut self, scratch: &mut Scratch, sink: &mut impl Sink) {
        self.seal_sound(scratch, sink);
        while let Some(audio) = self.audio.as_mut().filter(|audio| audio.owes()) {
            audio.drain(&mut scratch.plain);
            self.seal_sound(scratch, sink);
        }
    }

    fn seal_sound(&mut self, scratch: &mut Scratch, sink: &mut impl Sink) {
        self.seal(self.content, scratch, sink);
    }

    /// Seals what is in `scratch.plain` into the file of `content`, and empties it.
    fn seal(&mut self, content: Content, scratch: &mut Scratch, sink: &mut impl Sink) {
        let Scratch { plain, pool, .. } = scratch;
        if plain.is_empty() {
            return;
        }
        let journal = self.keeps_journal();
        let file = if content == Content::Packets { &mut self.packet_file } else { &mut self.sound_file };
        if file.is_none() && self.failed.is_none() {
            let name = format!("{}{}.{}.age", self.config.folder, self.id, content.extension());
            match Sealer::start(&self.config.recipients, &mut *self.random) {
                Ok((mut sealer, header)) => {
                    if journal {
                        sealer.keep_journal();
                    }
                    sink.chunk(&name, header);
                    *file = Some(OpenFile { name, sealer });
                }
                Err(error) => self.failed = Some(error),
            }
        }
        if let Some(OpenFile { name, sealer }) = file {
            // Should it break off in the middle, nothing may be sealed with this key again.
            self.pressed.sealing = true;
            sealer.write(plain, pool, &mut |chunk| sink.chunk(name, chunk));
            self.pressed.sealing = false;
        }
        plain.clear();
    }

    /// Ends the recording.
    pub fn close(mut self, closed: Closed, scratch: &mut Scratch, sink: &mut impl Sink) -> Finished {
        if self.is_broken() {
            self.settle_broken();
        } else {
            self.release(closed.end, true, scratch, sink);
        }
        // Nothing was ever sent: a file of silence would only say so at length.
        let heard = self.streams.iter().any(StreamRecord::audible);
        let facts = self.audio.take().filter(|_| heard).map(|mut audio| {
            while audio.catch_up(closed.end, &mut scratch.plain) {
                self.seal_sound(scratch, sink);
            }
            let facts = audio.finish(closed.end, &mut scratch.plain);
            self.seal_sound(scratch, sink);
            facts
        });
        self.hand_over_rest(scratch.left.as_mut(), None);
        let (mut facts_of_files, mut files) = (Vec::new(), Vec::new());
        for (file, content) in
            [(self.sound_file.take(), self.content), (self.packet_file.take(), Content::Packets)]
        {
            if let Some(OpenFile { name, sealer }) = file {
                let sealed = sealer.finish(&mut scratch.pool, &mut |chunk| sink.chunk(&name, chunk));
                facts_of_files.push(file_facts(name.clone(), &sealed, content, facts.as_ref()));
                files.push(SealedAs { name, bytes: sealed.bytes, sha256: sealed.sha256 });
            }
        }
        let mut manifest = self.manifest(closed, facts, facts_of_files);
        if self.config.keep.is_nothing() {
            manifest.forget_parties();
        }
        if self.is_left_out() {
            return Finished { manifest, files, unsealed: false };
        }
        self.hand_over_rest(scratch.left.as_mut(), Some(&manifest));
        match self.seal_manifest(&manifest, scratch, sink) {
            Ok(file) => files.push(file),
            Err(error) => self.failed = Some(error),
        }
        Finished { manifest, files, unsealed: self.failed.is_some() }
    }

    fn seal_manifest(
        &mut self,
        manifest: &Manifest,
        scratch: &mut Scratch,
        sink: &mut impl Sink,
    ) -> Result<SealedAs, SealError> {
        let name = format!("{}{}.json.age", self.config.folder, self.id);
        let json = serde_json::to_vec(manifest).expect("a manifest has no maps with keys that are not text");
        let (mut sealer, header) = Sealer::start(&self.config.recipients, &mut *self.random)?;
        sink.chunk(&name, header);
        let mut take = |chunk| sink.chunk(&name, chunk);
        sealer.write(&json, &mut scratch.pool, &mut take);
        let SealedFile { bytes, sha256 } = sealer.finish(&mut scratch.pool, &mut take);
        Ok(SealedAs { name, bytes, sha256 })
    }

    fn manifest(&self, closed: Closed, audio: Option<AudioFacts>, files: Vec<FileFacts>) -> Manifest {
        let mut notes = self.notes(&closed, audio.as_ref());
        let mut masked_gaps = Vec::new();
        let (masked, more) = self.masked_facts(closed.end, audio.as_ref(), &mut masked_gaps);
        notes.extend(more);
        let late =
            |number: usize| audio.as_ref().and_then(|audio| audio.late.get(number).copied()).unwrap_or(0);
        let mut streams: Vec<_> = self
            .streams
            .iter()
            .enumerate()
            .filter_map(|(number, stream)| stream.facts(late(number), &self.rtcp))
            .collect();
        streams.sort_by_key(|stream| stream.first);
        masked_gaps.extend(audio.map(|audio| audio.gaps).unwrap_or_default());
        let mut gaps = with_holds(masked_gaps, &closed.holds, self.start);
        self.losses.explain(&mut gaps, self.start);
        let [trunk, rule, retention_class] = self.config.labels.clone();
        let nanos = closed.end.since(self.start).as_nanos() as f64;
        Manifest {
            schema: SCHEMA,
            id: self.id.clone(),
            part: self.part(&closed),
            state: self.state(&closed),
            start: self.start,
            end: closed.end,
            answered: closed.answered,
            duration_s: (nanos / 1e6).round() / 1e3,
            trunk,
            rule,
            retention_class,
            streams,
            gaps,
            masked,
            files,
            counters: self.books.clone(),
            ladder: closed.ladder.into_iter().map(ladder_entry).collect(),
            notes,
            recorder: self.config.recorder.clone(),
            call: CallFacts {
                call_ids: closed.call_ids,
                from: closed.from,
                to: closed.to,
                caller: closed.caller,
                callee: closed.callee,
                ended_by: Some(closed.ended_by),
                status: closed.status,
                orphan: self.orphan,
            },
        }
    }

    fn state(&self, closed: &Closed) -> State {
        match (closed.ended_by, closed.answered) {
            _ if self.failed.is_some() || self.refused || self.is_broken() => State::Failed,
            _ if self.config.keep.is_nothing() => State::Excluded,
            (EndedBy::CallTableFull, _) => State::Failed,
            (EndedBy::Handover, _) => State::Interrupted,
            (EndedBy::CaptureEnd, Some(_)) => State::Interrupted,
            (EndedBy::CaptureEnd, None) if closed.orphan || closed.mid_call => State::Interrupted,
            (_, Some(_)) => State::Complete,
            (_, None) if closed.orphan || closed.mid_call => State::Complete,
            (_, None) => State::Unanswered,
        }
    }

    fn notes(&self, closed: &Closed, audio: Option<&AudioFacts>) -> Vec<String> {
        let mut notes = Vec::new();
        if closed.orphan {
            notes.push("media without signalling: who spoke with whom is not known".into());
        }
        if closed.ended_by == EndedBy::CallTableFull {
            notes.push(
                "too many calls waited for an answer at once: this one gave way before it was answered"
                    .into(),
            );
        }
        notes.extend(self.note_before());
        if closed.mid_call {
            notes.push(
                "the first INVITE was not seen: the call began before the capture, or its start was lost"
                    .into(),
            );
        }
        if let Some(over) = closed.media_after {
            notes.push(format!("media went on after signalling had ended the call at {over}"));
        }
        if self.clock_sets > 0 {
            let (times, seconds) = (self.clock_sets, self.skew as f64 / 1e9);
            notes.push(format!(
                "the capture clock was set during the call ({times} times, by {seconds:+.3} s in all): times here go on as before"
            ));
        }
        if closed.ladder_more > 0 {
            notes.push(format!("{} more SIP messages are counted and not in the ladder", closed.ladder_more));
        }
        if closed.sdp_unreadable > 0 {
            notes.push(format!("{} session descriptions could not be read", closed.sdp_unreadable));
        }
        if self.refused {
            notes.push("not recorded: the recorder had no room for another call".into());
        }
        if let Some(error) = &self.failed {
            notes.push(format!("nothing could be sealed: {error}"));
        }
        notes.extend(self.pressed.notes());
        if let (packets @ 1.., unreadable) = self.rtcp.packets() {
            let broken =
                if unreadable > 0 { format!(", {unreadable} parts unreadable") } else { String::new() };
            notes.push(format!("{packets} RTCP packets{broken}"));
        }
        notes.extend(self.losses.notes());
        if let Some(audio) = audio {
            notes.extend(audio.notes.iter().cloned());
        }
        notes
    }
}

/// A UUIDv7.
fn new_id(start: Stamp, random: &mut dyn Randomness) -> String {
    let mut entropy = [0; 10];
    random.fill(&mut entropy);
    uuid::Builder::from_unix_timestamp_millis(start.as_unix_millis(), &entropy).into_uuid().to_string()
}

fn file_facts(name: String, sealed: &SealedFile, content: Content, audio: Option<&AudioFacts>) -> FileFacts {
    let audio = audio.filter(|_| content != Content::Packets);
    FileFacts {
        name,
        kind: if audio.is_some() { "audio" } else { "packets" }.into(),
        bytes: sealed.bytes,
        sha256: hex(&sealed.sha256),
        format: content.extension().into(),
        channels: audio.map_or(0, |audio| audio.channels),
        sample_rate_hz: audio.map_or(0, |audio| audio.rate_hz),
    }
}

/// Silence while a side was on hold is hold.
fn with_holds(mut gaps: Vec<Gap>, holds: &[(Stamp, Stamp)], start: Stamp) -> Vec<Gap> {
    let seconds = |at: Stamp| at.nanos_after(start) as f64 / 1e9;
    for gap in gaps.iter_mut().filter(|gap| gap.reason == GapReason::Silence) {
        let middle = gap.at_s + gap.length_s / 2.0;
        if holds.iter().any(|(from, to)| (seconds(*from)..=seconds(*to)).contains(&middle)) {
            gap.reason = GapReason::Hold;
        }
    }
    gaps.sort_by(|a, b| {
        a.at_s.total_cmp(&b.at_s).then((a.party == Party::Callee).cmp(&(b.party == Party::Callee)))
    });
    gaps
}

fn ladder_entry(rung: crate::call::session::Rung) -> LadderEntry {
    LadderEntry {
        at: rung.at,
        src: rung.src.to_string(),
        dst: rung.dst.to_string(),
        message: rung.message,
        cseq: rung.cseq,
        sdp: rung.sdp,
    }
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
