//! One side of the call: the stream that is heard, and the lane it is written to.

use std::ops::Range;
use std::time::Duration;

use crate::base::time::Stamp;
use crate::codec::Decoder;
use crate::recording::audio::gaps::Gaps;
use crate::recording::audio::grid::Grid;
use crate::recording::audio::mask;
use crate::recording::audio::mask::{HISTORY_MS, HOLD_MS, PIECE_MS, Tones};
use crate::recording::audio::opus_lane::OpusLane;
use crate::recording::audio::pcm::PcmLane;
use crate::recording::audio::resample::Resampler;
use crate::recording::manifest::GapReason;

/// Where a side's sound waits to be written.
pub(super) enum Lane {
    /// Ogg Opus.
    Opus(Box<OpusLane>),
    /// WAV.
    Pcm(PcmLane),
}

/// One side of the call.
pub(super) struct Side {
    index: usize,
    pub(super) lane: Lane,
    /// The stream that is heard, its rank, and when it sent last.
    heard: Option<(u16, u8, Stamp)>,
    /// End of the latest sound, or of what explains that there is none.
    sound_end: i64,
    noise: Option<Noise>,
    resampler: Option<Box<Resampler>>,
    /// What is left out, in ticks and in order.
    pub(super) masks: Vec<Range<i64>>,
    /// Looks for keys, where that is asked for.
    pub(super) tones: Option<Box<Tones>>,
}

/// Noise between packets.
struct Noise {
    decoder: Box<dyn Decoder>,
    /// It is not believed for longer.
    until: i64,
}

/// Where a stretch of sound went.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Placed {
    /// All or some of it is on the timeline.
    Heard,
    /// Its place was written before it came.
    Late,
    /// Other sound is there already.
    Taken,
}

impl Side {
    /// Makes a side that is silent.
    pub(super) fn new(index: usize, lane: Lane) -> Self {
        Self {
            index,
            lane,
            heard: None,
            sound_end: 0,
            noise: None,
            resampler: None,
            masks: Vec::new(),
            tones: None,
        }
    }

    /// Whether a packet of `stream` is to be heard now: the lowest rank that is alive, and of equal
    /// ones the one that began last. Returns the stream that it takes over from.
    pub(super) fn hears(&mut self, stream: u16, rank: u8, at: Stamp) -> Result<Option<u16>, Ignored> {
        match &mut self.heard {
            Some((heard, its_rank, last)) if *heard == stream => {
                (*its_rank, *last) = (rank, at.max(*last));
                Ok(None)
            }
            Some((heard, its_rank, last)) => {
                let patience = if rank == *its_rank { ALIVE_EQUAL } else { ALIVE };
                let better = (rank, std::cmp::Reverse(stream)) < (*its_rank, std::cmp::Reverse(*heard));
                if !better && at.since(*last) <= patience {
                    return Err(Ignored);
                }
                let before = *heard;
                self.heard = Some((stream, rank, at));
                Ok(Some(before))
            }
            None => {
                self.heard = Some((stream, rank, at));
                Ok(None)
            }
        }
    }

    /// Opus with fewer bits, or as usual.
    pub(super) fn set_cheaper(&mut self, cheaper: bool) {
        if let Lane::Opus(lane) = &mut self.lane {
            lane.set_cheaper(cheaper);
        }
    }

    /// Returns the first tick that is not known.
    pub(super) fn end(&self) -> i64 {
        match &self.lane {
            Lane::Opus(lane) => lane.end(),
            Lane::Pcm(lane) => lane.end(),
        }
    }

    /// Returns the first tick that is not final.
    pub(super) fn ready(&self) -> i64 {
        match &self.lane {
            Lane::Opus(lane) => lane.ready(),
            Lane::Pcm(lane) => lane.ready(),
        }
    }

    /// Makes final what is kept back of the time before `tick`.
    pub(super) fn settle(&mut self, tick: i64) {
        let holds = self.mutes_tones();
        if let Lane::Opus(lane) = &mut self.lane
            && holds
        {
            lane.settle(tick);
        }
    }

    /// Makes everything final.
    pub(super) fn release(&mut self) {
        match &mut self.lane {
            Lane::Opus(lane) => lane.set_hold(0),
            Lane::Pcm(lane) => lane.set_hold(0),
        }
    }

    /// Begins to look for keys; takes their tones away where `mute` says so.
    pub(super) fn watch_tones(&mut self, mute: bool) {
        self.tones = Some(Box::new(Tones::new(mute)));
    }

    /// Whether the tones of keys are taken away.
    pub(super) fn mutes_tones(&self) -> bool {
        self.tones.as_ref().is_some_and(|tones| tones.mute)
    }

    /// Whether something of `from..to` is left out.
    pub(super) fn masked(&self, from: i64, to: i64) -> bool {
        mask::touches(&self.masks, from, to)
    }

    /// Whether something that a decoder made up for `from..to` could be made of what is left out, and heard.
    pub(super) fn would_tell(&self, from: i64, to: i64, grid: &Grid) -> bool {
        let history = grid.millis(HISTORY_MS);
        let inside = |mask: &Range<i64>| mask.start <= from && to + history <= mask.end;
        self.masked(from - history, to) && !self.masks.iter().any(inside)
    }

    /// Silences what is known and not written from `tick` on.
    pub(super) fn mute_from(&mut self, tick: i64) {
        let back = (self.end() - tick).max(0) as usize;
        match &mut self.lane {
            Lane::Opus(lane) => lane.mute_from(tick),
            Lane::Pcm(lane) => lane.mute(0..back),
        }
        // It gives out sound that it took in before.
        self.resampler = None;
    }

    /// Returns the first tick that is not written.
    pub(super) fn written(&self) -> i64 {
        match &self.lane {
            Lane::Opus(lane) => lane.written(),
            Lane::Pcm(lane) => lane.written(),
        }
    }

    /// Returns the end of the latest sound.
    pub(super) fn sound_end(&self) -> i64 {
        self.sound_end
    }

    /// Lists silence up to `tick`, where it is long enough, and lets the next one begin at `until`.
    pub(super) fn sound(&mut self, tick: i64, until: i64, grid: &Grid, gaps: &mut Gaps) {
        if tick - self.sound_end >= grid.millis(SILENCE_MS_MIN) {
            gaps.add(self.index, GapReason::Silence, self.sound_end, tick);
        }
        self.sound_end = self.sound_end.max(until);
    }

    /// Lists a stretch that could not be heard.
    pub(super) fn gap(&mut self, reason: GapReason, from: i64, to: i64, grid: &Grid, gaps: &mut Gaps) {
        self.sound(from, to, grid, gaps);
        gaps.add(self.index, reason, from, to);
    }

    /// Begins noise at `tick`, or gives it another level.
    pub(super) fn begin_noise(&mut self, decoder: Box<dyn Decoder>, tick: i64, grid: &Grid) {
        self.fill(tick, grid);
        self.noise = Some(Noise { decoder, until: tick + grid.millis(NOISE_MS_MAX) });
    }

    /// Ends noise at `tick`, where a packet comes.
    pub(super) fn end_noise(&mut self, tick: i64, grid: &Grid) {
        if let Some(noise) = &self.noise {
            self.sound_end = self.sound_end.max(tick.min(noise.until));
            self.fill(tick, grid);
            self.noise = None;
        }
    }

    /// Whether noise fills what no packet does.
    pub(super) fn noisy(&self) -> bool {
        self.noise.is_some()
    }

    /// Fills up to `tick` with noise or silence.
    pub(super) fn fill(&mut self, tick: i64, grid: &Grid) {
        if let Some(mut noise) = self.noise.take() {
            let ticks = tick.min(noise.until) - self.end();
            if ticks > 0 {
                let rate_hz = noise.decoder.sample_rate_hz();
                let mut pcm = Vec::new();
                noise
                    .decoder
                    .conceal((ticks as u64 * u64::from(rate_hz) / u64::from(grid.hz)) as usize, &mut pcm);
                self.push(&pcm, rate_hz, grid);
                self.sound_end = self.sound_end.max(self.end());
            }
            self.noise = Some(noise);
        }
        let rest = tick - self.end();
        if rest > 0 {
            self.silence(rest as usize);
            if self.tones.is_some() {
                self.listen(None, rest, grid);
            }
        }
    }

    fn silence(&mut self, ticks: usize) {
        match &mut self.lane {
            Lane::Opus(lane) => lane.silence(ticks),
            Lane::Pcm(lane) => lane.silence(ticks),
        }
    }

    /// Lets the detector hear what has just been added to the lane: sound, or `ticks` of silence.
    fn listen(&mut self, pcm: Option<&[i16]>, ticks: i64, grid: &Grid) {
        let end = self.end();
        let Some(tones) = &mut self.tones else { return };
        let rate_hz = match &self.lane {
            Lane::Opus(lane) => lane.rate_hz(),
            Lane::Pcm(_) => grid.hz,
        };
        let samples = (ticks * i64::from(rate_hz) / i64::from(grid.hz)) as u64;
        let mute = match pcm {
            Some(pcm) => tones.push(pcm, rate_hz, end, grid),
            None => tones.silence(samples, rate_hz, end, grid),
        };
        for back in mute {
            match &mut self.lane {
                Lane::Opus(lane) => lane.mute(back),
                Lane::Pcm(lane) => lane.mute(back),
            }
        }
    }

    /// Adds sound at the end, silence where it is left out.
    fn push(&mut self, pcm: &[i16], rate_hz: u32, grid: &Grid) {
        if self.masks.is_empty() {
            return self.push_all(pcm, rate_hz, grid);
        }
        let masks = std::mem::take(&mut self.masks);
        let kept = mask::without(pcm, rate_hz, self.end(), &masks, grid);
        self.push_all(&kept, rate_hz, grid);
        self.masks = masks;
    }

    fn push_all(&mut self, pcm: &[i16], rate_hz: u32, grid: &Grid) {
        let wanted = match &self.lane {
            Lane::Opus(_) => opus_rate(rate_hz),
            Lane::Pcm(_) => grid.hz,
        };
        if let Lane::Opus(lane) = &mut self.lane {
            lane.set_rate(wanted);
        }
        if wanted == rate_hz {
            self.resampler = None;
            return self.push_native(pcm, wanted, grid);
        }
        let mut resampler = match self.resampler.take() {
            Some(same) if same.source_hz() == rate_hz => same,
            _ => Box::new(Resampler::new(rate_hz, wanted)),
        };
        let mut converted = Vec::with_capacity(pcm.len() * wanted as usize / rate_hz as usize + 8);
        resampler.push(pcm, &mut converted);
        self.resampler = Some(resampler);
        self.push_native(&converted, wanted, grid);
    }

    fn push_native(&mut self, pcm: &[i16], rate_hz: u32, grid: &Grid) {
        if self.tones.is_none() {
            return self.push_lane(pcm);
        }
        if self.mutes_tones() {
            match &mut self.lane {
                Lane::Opus(lane) => lane.set_hold(HOLD_MS),
                Lane::Pcm(lane) => lane.set_hold(grid.millis(HOLD_MS) as usize),
            }
        }
        for piece in pcm.chunks((rate_hz * PIECE_MS / 1_000).max(1) as usize) {
            self.push_lane(piece);
            self.listen(Some(piece), 0, grid);
        }
    }

    fn push_lane(&mut self, pcm: &[i16]) {
        match &mut self.lane {
            Lane::Opus(lane) => lane.push(pcm),
            Lane::Pcm(lane) => lane.push(pcm),
        }
    }

    /// Puts sound at tick `place`: what is written or taken already is left out, what is missing
    /// before it is filled.
    pub(super) fn put(&mut self, place: i64, pcm: &[i16], rate_hz: u32, grid: &Grid) -> Placed {
        let ticks = pcm.len() as i64 * i64::from(grid.hz) / i64::from(rate_hz);
        let end = self.end();
        if place > end + self.slack(rate_hz, grid) {
            self.fill(place, grid);
            self.push(pcm, rate_hz, grid);
        } else if end - place <= self.slack(rate_hz, grid) {
            self.push(pcm, rate_hz, grid);
        } else {
            let skip = ((end - place) * i64::from(rate_hz) / i64::from(grid.hz)) as usize;
            match pcm.get(skip..) {
                None | Some([]) if place + ticks <= self.written() => return Placed::Late,
                None | Some([]) => return Placed::Taken,
                Some(rest) => self.push(rest, rate_hz, grid),
            }
        }
        self.sound_end = self.sound_end.max(place + ticks);
        Placed::Heard
    }

    /// Ticks that sound may be off its place before it is moved: none, but for rounding between
    /// rates and the samples that a resampler has not given out yet.
    fn slack(&self, rate_hz: u32, grid: &Grid) -> i64 {
        let converted = match &self.lane {
            Lane::Opus(_) => opus_rate(rate_hz) != rate_hz,
            Lane::Pcm(_) => rate_hz != grid.hz,
        };
        if self.resampler.is_some() || converted { grid.millis(CONVERTED_SLACK_MS) } else { 0 }
    }
}

/// Another stream of this side is alive.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Ignored;

/// The rate that Opus encodes `rate_hz` at: its own, or the next above.
pub(super) fn opus_rate(rate_hz: u32) -> u32 {
    [8_000, 12_000, 16_000, 24_000].into_iter().find(|rate| rate_hz <= *rate).unwrap_or(48_000)
}

/// A stream that is silent for so long is not heard any more.
const ALIVE: Duration = Duration::from_millis(200);
/// The same where another of the same rank has begun to send.
const ALIVE_EQUAL: Duration = Duration::from_millis(100);
/// Shorter silence is not listed.
const SILENCE_MS_MIN: u32 = 200;
/// Noise without a packet is not made for longer.
const NOISE_MS_MAX: u32 = 60_000;
/// Half the filter of a resampler, at most.
const CONVERTED_SLACK_MS: u32 = 3;
