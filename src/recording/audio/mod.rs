//! The sound of one call on one timeline: the caller left, the callee right.
//!
//! ```text
//! packets ─► reorder ─► clock, drift ─► decoder ─► side ─► lane ─┐
//!   (a stream each)                     (the stream that is heard) ├─► file
//!                                                   side ─► lane ─┘
//! ```
//!
//! 1. Sample n of the file is n / rate seconds after [`Config::start`].
//! 2. What was written stays; nothing is written before both sides are known or a second is past (a quarter of one
//!    while a journal is kept).
//! 3. A stream in order and without loss keeps every sample.

mod clock;
mod drift;
mod file;
mod gaps;
mod grid;
mod mask;
mod opus_lane;
mod pcm;
mod reorder;
mod resample;
mod side;
mod stream;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::base::format::Format;
use crate::base::limits::{GAP_MAX, REORDER_WINDOW, REORDER_WINDOW_LIVE, SILENCE_MAX};
use crate::base::time::Stamp;
use crate::codec;
use crate::codec::ogg;
use crate::recording::audio::file::File;
use crate::recording::audio::gaps::Gaps;
use crate::recording::audio::grid::Grid;
pub use crate::recording::audio::mask::KeyHeard;
use crate::recording::audio::mask::Pauses;
use crate::recording::audio::pcm::PcmLane;
use crate::recording::audio::side::{Lane, Side};
use crate::recording::audio::stream::{Sort, Stream, Target};
use crate::recording::manifest::{Gap, Party};

/// What is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Output {
    /// Ogg Opus.
    Opus,
    /// WAV.
    Wav,
}

/// How a call's sound is written.
#[derive(Clone, Debug)]
pub struct Config {
    /// What is written.
    pub output: Output,
    /// Time of sample 0.
    pub start: Stamp,
    /// Recording id, for the file's tags.
    pub id: String,
}

/// What the timeline must know of a stream.
#[derive(Clone, Copy, Debug)]
pub struct StreamInfo {
    /// Whose voice.
    pub party: Party,
    /// Of several streams of one voice at one time, the lowest rank is heard.
    pub rank: u8,
}

/// The part of an RTP header that placing needs.
#[derive(Clone, Copy, Debug)]
pub struct RtpPart {
    /// Sequence number.
    pub sequence: u16,
    /// RTP timestamp.
    pub timestamp: u32,
    /// Marker bit.
    pub marker: bool,
    /// Payload type.
    pub payload_type: u8,
}

/// What is known of the sound at the end.
#[derive(Clone, Debug, Default)]
pub struct AudioFacts {
    /// Channels written; 0 where nothing was.
    pub channels: u8,
    /// Sample rate written.
    pub rate_hz: u32,
    /// For each stream: packets that came after their place had been given up, or so much faster than they were
    /// made that there was none.
    pub late: Vec<u64>,
    /// Stretches without the sound that was sent.
    pub gaps: Vec<Gap>,
    /// Things a reader should know.
    pub notes: Vec<String>,
    /// Encodings that came and could not be decoded, in alphabetical order.
    pub undecodable: Vec<String>,
    /// For each pause: its beginning and end, in seconds.
    pub pauses: Vec<(f64, f64)>,
    /// Tones of keys that were taken away: whose, and their beginning and end in seconds.
    pub tones: Vec<(Party, f64, f64)>,
    /// Tones that are taken away and not listed.
    pub tones_more: u64,
}

/// The sound of one call.
///
/// Time never goes back: what was written stays, and a packet whose place is written is late. No call
/// appends more than a minute of sound or silence, but for what is being waited for: after each, take
/// the bytes away and call [`Self::drain`] while [`Self::owes`] says so, and before [`Self::finish`]
/// call [`Self::catch_up`] until nothing is owed.
pub struct CallAudio {
    config: Config,
    streams: Vec<Stream>,
    sides: [Side; 2],
    parties: [Option<Party>; 2],
    grid: Grid,
    file: Option<File>,
    page_packets: u64,
    /// How long a missing packet is waited for; a side that has nothing is waited for a little longer.
    window: Duration,
    gaps: Gaps,
    /// One packet's samples.
    pcm: Vec<i16>,
    now: Stamp,
    /// Tick of the latest look at what can be written.
    looked: i64,
    /// More is known than was written.
    owes: bool,
    /// What [`Self::catch_up`] was called for: silence up to then is owed.
    ending: Option<Stamp>,
    /// Ticks of long silences until now.
    silence: i64,
    packets: u64,
    unknown: usize,
    rates: Vec<u32>,
    converted: Option<u32>,
    undecodable: BTreeSet<String>,
    pauses: Pauses,
}

impl CallAudio {
    /// Begins at `config.start`.
    pub fn new(config: Config) -> Self {
        let lane = || match config.output {
            Output::Opus => Lane::Opus(Box::default()),
            Output::Wav => Lane::Pcm(PcmLane::default()),
        };
        let hz = if config.output == Output::Opus { OPUS_HZ } else { 0 };
        Self {
            streams: Vec::new(),
            sides: [Side::new(0, lane()), Side::new(1, lane())],
            parties: [None; 2],
            grid: Grid { start: config.start, hz, cut: 0 },
            file: None,
            page_packets: ogg::PAGE_PACKETS,
            window: REORDER_WINDOW,
            gaps: Gaps::default(),
            pcm: Vec::new(),
            now: config.start,
            looked: 0,
            owes: false,
            ending: None,
            silence: 0,
            packets: 0,
            unknown: 0,
            rates: Vec::new(),
            converted: None,
            undecodable: BTreeSet::new(),
            pauses: Pauses::default(),
            config,
        }
    }

    /// Lets sound into the file in short pieces and waits less for what is missing, for a journal: what is not
    /// in the file is lost with the power. Says so before the first packet. What comes later than this waits is
    /// late, where a file of a capture would still have had it.
    pub fn write_early(&mut self) {
        self.page_packets = EARLY_PAGE_PACKETS;
        self.window = REORDER_WINDOW_LIVE;
    }

    /// How long a side that has nothing is waited for: after so long without media all that came is in the file.
    pub fn wait(&self) -> Duration {
        match self.window {
            REORDER_WINDOW_LIVE => REORDER_WINDOW_LIVE + JITTER_LIVE,
            window => window + JITTER,
        }
    }

    /// Opus with fewer bits from the next packet on, or as usual again.
    pub fn set_cheaper(&mut self, cheaper: bool) {
        self.sides.iter_mut().for_each(|side| side.set_cheaper(cheaper));
    }

    /// A stream began; numbers come in order.
    ///
    /// The caller is left and the callee right. Of streams whose party is not known, the first is
    /// left, the second right, and so on in turn.
    pub fn add_stream(&mut self, number: u16, info: StreamInfo) {
        if usize::from(number) != self.streams.len() {
            return;
        }
        let side = match info.party {
            Party::Caller => 0,
            Party::Callee => 1,
            Party::Unknown => {
                self.unknown += 1;
                (self.unknown - 1) % 2
            }
        };
        self.parties[side].get_or_insert(info.party);
        self.streams.push(Stream::new(side, info.rank));
    }

    /// A payload type that the parties may use.
    pub fn note_format(&mut self, format: &Format) {
        if let Some(rate_hz) = codec::native_rate_hz(format)
            && !self.rates.contains(&rate_hz)
            && format.encoding != "CN"
        {
            self.rates.push(rate_hz);
        }
    }

    /// Takes in a packet that is no duplicate; appends file bytes that became final to `out`.
    pub fn packet(
        &mut self,
        number: u16,
        at: Stamp,
        part: RtpPart,
        format: Option<&Arc<Format>>,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) {
        let Some(stream) = self.streams.get_mut(usize::from(number)) else { return };
        self.now = self.now.max(at);
        let (side, rank) = (stream.side, stream.rank);
        let (codec, new) = stream.codec(part.payload_type, format);
        let sort = stream.sort(codec);
        // What cannot be decoded must not hide a copy that can.
        let rank = if sort == Sort::Unknown { rank.saturating_add(RANK_UNKNOWN) } else { rank };
        let takes_over = match self.sides[side].hears(number, rank, at) {
            Ok(before) => before,
            Err(_) => return stream.ignore(),
        };
        self.packets += 1;
        if new || self.grid.hz == 0 {
            self.meet(sort, format.map(Arc::as_ref));
        }
        if self.grid.hz == 0 {
            return;
        }
        let tick = self.grid.tick(at);
        if tick - self.looked > self.grid.millis(LOOK_MS) {
            (0..self.streams.len()).for_each(|number| self.settle(number, false));
            self.skip_idle(tick);
            self.count_silence(tick);
            self.write(out);
        }
        if let Some(before) = takes_over {
            self.settle(usize::from(before), true);
        }
        let Some(stream) = self.streams.get_mut(usize::from(number)) else { return };
        let side = &mut self.sides[side];
        let mut target =
            Target { side, grid: &self.grid, gaps: &mut self.gaps, pcm: &mut self.pcm, window: self.window };
        stream.packet(at, part, codec, payload, &mut target);
        self.write(out);
    }

    /// Looks for the tones of keys; takes them away where `mute` says so. The sound is then written
    /// 80 ms later, and Opus is decoded and encoded anew.
    pub fn watch_tones(&mut self, mute: bool) {
        self.sides.iter_mut().for_each(|side| side.watch_tones(mute));
    }

    /// The next key whose tone was heard.
    pub fn poll_key(&mut self) -> Option<KeyHeard> {
        let (grid, parties) = (self.grid, self.parties);
        self.sides.iter_mut().zip(parties).find_map(|(side, party)| {
            let (digit, tick) = side.tones.as_mut()?.found.pop_front()?;
            let nanos = (grid.seconds(tick + grid.cut as i64) * 1e9).max(0.0) as u64;
            let at = grid.start.after(std::time::Duration::from_nanos(nanos));
            Some(KeyHeard { party: party.unwrap_or(Party::Unknown), digit, at })
        })
    }

    /// Silence from `at` on, on both sides, by the place of the sound. What was written cannot be taken
    /// back: at most the sound of packets that came before.
    pub fn pause(&mut self, at: Stamp) {
        let written = self.file.as_ref().map_or(0, File::ticks);
        self.pauses.begin(at, written, &self.grid);
        self.mask();
        if let Some(last) = self.sides[0].masks.last().cloned() {
            self.sides.iter_mut().for_each(|side| side.mute_from(last.start));
        }
    }

    /// Sound again from `at` on.
    pub fn resume(&mut self, at: Stamp) {
        self.pauses.end(at, &self.grid);
        self.mask();
    }

    fn mask(&mut self) {
        if self.grid.hz > 0 {
            let masks = self.pauses.ticks(&self.grid);
            self.sides.iter_mut().for_each(|side| side.masks.clone_from(&masks));
        }
    }

    /// A codec is new: it may decide the rate of the file.
    fn meet(&mut self, sort: Sort, format: Option<&Format>) {
        let before = self.grid.hz;
        self.meet_rate(sort, format);
        if before == 0 {
            self.mask();
        }
    }

    fn meet_rate(&mut self, sort: Sort, format: Option<&Format>) {
        match sort {
            Sort::Beside => {}
            Sort::Speech(rate_hz) if self.grid.hz == 0 => self.grid.hz = rate_hz,
            Sort::Speech(rate_hz) => {
                if self.config.output == Output::Wav && rate_hz != self.grid.hz {
                    self.converted = Some(rate_hz);
                }
            }
            Sort::Unknown => {
                let name = format.map_or("unknown", |format| format.encoding.as_str());
                if self.undecodable.len() < UNDECODABLE_MAX && !self.undecodable.contains(name) {
                    self.undecodable.insert(name.to_owned());
                }
                if self.grid.hz == 0 {
                    self.grid.hz = self.likely_rate();
                }
            }
        }
    }

    /// The rate of a file of which no sound is known: the highest that the parties may use, up to
    /// what telephones have.
    fn likely_rate(&self) -> u32 {
        self.rates.iter().copied().filter(|rate| *rate <= 16_000).max().unwrap_or(8_000)
    }

    fn settle(&mut self, number: usize, force: bool) {
        let Some(stream) = self.streams.get_mut(number) else { return };
        let side = &mut self.sides[stream.side];
        let mut target =
            Target { side, grid: &self.grid, gaps: &mut self.gaps, pcm: &mut self.pcm, window: self.window };
        stream.settle(self.now, force, &mut target);
    }

    /// Leaves silence out where nobody has said anything for too long.
    fn skip_idle(&mut self, tick: i64) {
        let end = self.sides.iter().map(Side::sound_end).max().unwrap_or(0);
        let most = self.silence_max();
        if tick - end > most {
            self.grid.cut += (tick - end - most) as u64;
            self.looked = self.grid.tick(self.now);
            self.streams.iter_mut().for_each(Stream::unanchor);
        }
    }

    /// The longest silence that may be written now.
    fn silence_max(&self) -> i64 {
        let left = self.grid.ticks(SILENCE_MAX.as_nanos() as i64) - self.silence;
        left.clamp(self.grid.millis(PAUSE_MS), self.grid.ticks(GAP_MAX.as_nanos() as i64))
    }

    /// Somebody is heard again at `tick`.
    fn count_silence(&mut self, tick: i64) {
        let end = self.sides.iter().map(Side::sound_end).max().unwrap_or(0);
        let silence = (tick - end).min(self.silence_max());
        if silence > self.grid.millis(PAUSE_MS) {
            self.silence = self.silence.saturating_add(silence);
        }
    }

    /// Whether more can be written than was: [`Self::drain`].
    pub fn owes(&self) -> bool {
        self.owes
    }

    /// Appends a minute, at most, of what is owed.
    pub fn drain(&mut self, out: &mut Vec<u8>) {
        if self.owes {
            self.write(out);
        }
    }

    /// Lets time pass to the end of the call. Returns whether more is owed.
    pub fn catch_up(&mut self, end: Stamp, out: &mut Vec<u8>) -> bool {
        if self.packets > 0 && self.grid.hz == 0 {
            self.grid.hz = self.likely_rate();
        }
        self.ending = Some(end);
        self.handle_timeout(end, out);
        self.owes
    }

    /// Lets time pass.
    pub fn handle_timeout(&mut self, now: Stamp, out: &mut Vec<u8>) {
        self.now = self.now.max(now);
        if self.grid.hz == 0 {
            return;
        }
        (0..self.streams.len()).for_each(|number| self.settle(number, false));
        self.write(out);
        if self.pcm.capacity() > PCM_KEPT {
            self.pcm = Vec::new();
        }
    }

    /// Writes what both sides know, and silence where time has passed.
    fn write(&mut self, out: &mut Vec<u8>) {
        self.looked = self.grid.tick(self.now);
        let most = self.silence_max();
        let end = self.sides.iter().map(Side::sound_end).max().unwrap_or(0);
        // Where both are silent nobody waits, and the call may have ended.
        let all = self.ending.is_some() || self.sides.iter().any(Side::noisy);
        let last = end.saturating_add(if all { most } else { 0 });
        let last = self.ending.map_or(last, |end| last.min(self.grid.tick(end)));
        let passed = (self.looked - self.grid.ticks(self.wait().as_nanos() as i64)).min(last);
        let mut until = i64::MAX;
        for (index, side) in self.sides.iter_mut().enumerate() {
            let mut known = side.ready();
            if passed > known {
                let waits = self.streams.iter().any(|stream| stream.side == index && stream.holds());
                if !waits {
                    known = passed;
                }
            }
            until = until.min(known);
        }
        let file = self.file.get_or_insert_with(|| File::new(&self.config, self.page_packets));
        let now = until.min(file.ticks().saturating_add(self.grid.millis(WRITE_MS_MAX)));
        self.owes = now < until;
        self.sides.iter_mut().for_each(|side| side.settle(now));
        file.write(&mut self.sides, now, &self.grid, out);
    }

    /// Ends the timeline at `end`, or where the sound that came by then ends: the last packet's goes on, and that of
    /// a sender that was late at first is behind.
    pub fn finish(mut self, end: Stamp, out: &mut Vec<u8>) -> AudioFacts {
        let late = |streams: &[Stream]| streams.iter().map(|stream| stream.late).collect();
        if self.packets == 0 {
            return AudioFacts { late: late(&self.streams), ..AudioFacts::default() };
        }
        if self.grid.hz == 0 {
            self.grid.hz = self.likely_rate();
        }
        self.mask();
        self.now = self.now.max(end);
        (0..self.streams.len()).for_each(|number| self.settle(number, true));
        self.skip_idle(self.grid.tick(end));
        let end_tick = self.grid.tick(end).max(0);
        let known = self.sides.iter().map(Side::end).max().unwrap_or(0);
        let total = known.max(end_tick);
        for side in &mut self.sides {
            side.release();
            side.end_noise(total, &self.grid);
            side.sound(total, total, &self.grid, &mut self.gaps);
        }
        let file = self.file.take().unwrap_or_else(|| File::new(&self.config, self.page_packets));
        file.finish(&mut self.sides, total, &self.grid, out);
        self.list_masked(total);
        let notes = self.notes();
        let parties = [self.parties[0].unwrap_or(Party::Caller), self.parties[1].unwrap_or(Party::Callee)];
        let grid = self.grid;
        let seconds = |ticks: i64| (grid.seconds(ticks.min(total)) * 1e6).round() / 1e6;
        let spans = |spans: &[std::ops::Range<i64>]| -> Vec<(f64, f64)> {
            spans.iter().map(|span| (seconds(span.start), seconds(span.end))).collect()
        };
        let tones = self.sides.iter().zip(parties).flat_map(|(side, party)| {
            let muted = side.tones.as_ref().map_or(&[][..], |tones| &tones.muted);
            spans(muted).into_iter().map(move |(from, to)| (party, from, to))
        });
        AudioFacts {
            tones: tones.collect(),
            tones_more: self
                .sides
                .iter()
                .filter_map(|side| side.tones.as_ref())
                .map(|tones| tones.more)
                .sum(),
            pauses: spans(&self.sides[0].masks),
            channels: 2,
            rate_hz: grid.hz,
            late: late(&self.streams),
            gaps: self.gaps.finish(parties, total, |ticks| grid.seconds(ticks)),
            notes,
            undecodable: self.undecodable.into_iter().filter(|name| name != ENCRYPTED).collect(),
        }
    }

    fn list_masked(&mut self, total: i64) {
        for (index, side) in self.sides.iter().enumerate() {
            let mut spans = side.masks.clone();
            let tones = side.tones.as_ref().map_or(&[][..], |tones| &tones.muted);
            // A tone inside a pause is no stretch of its own.
            spans.extend(tones.iter().filter(|tone| !side.masked(tone.start, tone.end)).cloned());
            spans.sort_unstable_by_key(|span| span.start);
            spans.iter_mut().for_each(|span| span.end = span.end.min(total));
            self.gaps.mask(index, &spans);
        }
    }

    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        for name in &self.undecodable {
            notes.push(match name.as_str() {
                ENCRYPTED => "encrypted media could not be opened: silence in its place".into(),
                name => format!("{name} could not be decoded: silence in its place"),
            });
        }
        if let Some(rate_hz) = self.converted {
            notes.push(format!("sound at {rate_hz} Hz was converted to the {} Hz of the file", self.grid.hz));
        }
        if self.streams.iter().any(|stream| stream.broken_clock) {
            notes.push(
                "a sender's clock was far off: its sound was placed anew where it had moved away".into(),
            );
        }
        if self.grid.cut > 0 {
            let seconds = self.grid.seconds(self.grid.cut as i64);
            notes.push(format!("{seconds:.3} s in which nobody spoke were left out"));
        }
        if self.gaps.more() > 0 {
            notes.push(format!("{} more gaps are not listed", self.gaps.more()));
        }
        notes
    }
}

impl fmt::Debug for CallAudio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallAudio").field("config", &self.config).finish_non_exhaustive()
    }
}

/// 100 ms.
const EARLY_PAGE_PACKETS: u64 = 5;
/// Ticks of an Opus file.
const OPUS_HZ: u32 = 48_000;
/// The name that closed media comes under.
const ENCRYPTED: &str = "ENCRYPTED";
/// Behind all ranks of what can be decoded.
const RANK_UNKNOWN: u8 = 128;
/// Encodings that are named in the notes.
const UNDECODABLE_MAX: usize = 16;
/// Time is looked at before a packet that comes so long after the one before it.
const LOOK_MS: u32 = 500;
/// A side that has nothing for so long after the window is silent.
const JITTER: Duration = Duration::from_millis(200);
/// The same while a journal is kept.
const JITTER_LIVE: Duration = Duration::from_millis(40);
/// As much is written at once.
const WRITE_MS_MAX: u32 = 60_000;
/// Shorter silence is a pause and not counted.
const PAUSE_MS: u32 = 2_000;
/// 20 ms at 48 kHz.
const PCM_KEPT: usize = 960;

#[cfg(test)]
mod tests;
