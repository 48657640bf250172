//! In-band DTMF: finds the tones of keys in sound, and where they begin and end (ITU-T Q.23, Q.24).
//!
//! ```text
//!          3 windows agree             a window agrees
//! (sound) ────────────────► Tone ◄────────────────────┐
//!    ▲                       │  └───────────────────────┘
//!    └───────────────────────┘ none for 30 ms
//! ```
//!
//! A window is 20 ms and moves by 5 ms. It agrees where two frequencies, one of each group, hold most
//! of its energy, are no more than 2.5 % off, and are 12 dB apart at most. Speech does that for one
//! window now and then and hardly ever for three. Tones of 23 ms may be found and those of 40 ms are.

use std::collections::VecDeque;
use std::f32::consts::TAU;
use std::fmt;
use std::ops::Range;

/// Looks for tones in one channel of sound. Positions are samples since its beginning.
pub struct Detector {
    rate_hz: u32,
    /// Samples in a block: 5 ms.
    hop: usize,
    /// Samples taken in, and those of them that are in whole blocks.
    position: u64,
    block: Block,
    filled: usize,
    blocks: VecDeque<Block>,
    /// For each frequency, how a sample turns it, and where it stands.
    steps: [Phasor; 8],
    phasors: [Phasor; 8],
    /// The key that the latest windows agree on, how many of them, and where the first began.
    run: Option<(Key, u32, u64)>,
    tone: Option<Tone>,
    /// Sound that never came: its beginning and end.
    gap: Option<(u64, u64)>,
    muted: u64,
    mute: VecDeque<Range<u64>>,
    pressed: VecDeque<Pressed>,
}

/// A key as its tones say.
#[derive(Clone, Copy)]
pub struct Pressed {
    /// One of `0123456789*#ABCD`.
    pub digit: char,
    /// Where its tone began.
    pub from: u64,
}

/// Hides the digit: it may be one of a card number.
impl fmt::Debug for Pressed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pressed").field("from", &self.from).finish_non_exhaustive()
    }
}

/// Row and column of the keypad.
#[derive(Clone, Copy, Eq, PartialEq)]
struct Key {
    low: u8,
    high: u8,
}

#[derive(Clone, Copy, Default)]
struct Phasor {
    re: f32,
    im: f32,
}

/// 5 ms: what each frequency has of it, and its energy.
#[derive(Clone, Default)]
struct Block {
    parts: [Phasor; 8],
    energy: f32,
}

/// What is going on.
struct Tone {
    key: Key,
    /// Amplitudes of low and high, the greatest so far.
    peak: [f32; 2],
    /// End of the latest window that agreed.
    last: u64,
}

/// What one frequency is in a window.
#[derive(Clone, Copy, Default)]
struct Line {
    amplitude: f32,
    /// Hz from where it should be.
    off_hz: f32,
}

impl Detector {
    /// Makes one for sound at `rate_hz`, 8,000 or more.
    pub fn new(rate_hz: u32) -> Self {
        let step = |hz: f32| {
            let angle = TAU * hz / rate_hz as f32;
            Phasor { re: angle.cos(), im: -angle.sin() }
        };
        Self {
            rate_hz,
            hop: (rate_hz as usize * HOP_MS / 1_000).max(1),
            position: 0,
            block: Block::default(),
            filled: 0,
            blocks: VecDeque::with_capacity(WINDOW_HOPS),
            steps: FREQUENCIES_HZ.map(step),
            phasors: [Phasor { re: 1.0, im: 0.0 }; 8],
            run: None,
            tone: None,
            gap: None,
            muted: 0,
            mute: VecDeque::new(),
            pressed: VecDeque::new(),
        }
    }

    /// Rate of the sound.
    pub fn rate_hz(&self) -> u32 {
        self.rate_hz
    }

    /// Samples taken in.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Takes in sound.
    pub fn push(&mut self, mut pcm: &[i16]) {
        while !pcm.is_empty() {
            let (now, later) = pcm.split_at(pcm.len().min(self.hop - self.filled));
            self.take(now);
            pcm = later;
            if self.filled == self.hop {
                let block = std::mem::take(&mut self.block);
                self.filled = 0;
                if self.blocks.len() == WINDOW_HOPS {
                    self.blocks.pop_front();
                }
                self.blocks.push_back(block);
                // A rotation in single precision shrinks or grows in time.
                self.phasors.iter_mut().for_each(Phasor::normalize);
                self.look();
            }
        }
    }

    fn take(&mut self, pcm: &[i16]) {
        for (index, step) in self.steps.iter().enumerate() {
            let (mut phasor, mut part) = (self.phasors[index], self.block.parts[index]);
            for sample in pcm {
                let sample = f32::from(*sample);
                part.re += sample * phasor.re;
                part.im += sample * phasor.im;
                phasor = phasor.times(*step);
            }
            (self.phasors[index], self.block.parts[index]) = (phasor, part);
        }
        self.block.energy += pcm.iter().map(|sample| f32::from(*sample) * f32::from(*sample)).sum::<f32>();
        self.filled += pcm.len();
        self.position += pcm.len() as u64;
    }

    /// Lets time pass without sound: silence.
    pub fn silence(&mut self, samples: u64) {
        let some = samples.min(self.samples(WINDOW_MS + BRIDGE_MS + HOP_MS as u32));
        let zeros = [0; 64];
        let mut left = some;
        while left > 0 {
            let now = left.min(zeros.len() as u64);
            self.push(&zeros[..now as usize]);
            left -= now;
        }
        self.position += samples - some;
    }

    /// Lets time pass of which the sound never came: a tone on both sides of it is one.
    pub fn lost(&mut self, samples: u64) {
        if samples > self.samples(LOST_MS_MAX) {
            return self.silence(samples);
        }
        let from = self.position;
        self.position += samples;
        self.gap = Some((from, self.position));
        self.blocks.clear();
        (self.block, self.filled, self.run) = (Block::default(), 0, None);
        if let Some(tone) = &mut self.tone {
            // The next window is whole so much later.
            tone.last = self.position + u64::from(self.rate_hz) * u64::from(WINDOW_MS) / 1_000;
            let until = self.position;
            self.mute_to(until);
        }
    }

    /// The next stretch that is a tone, with some sound around it: at most [`LOOK_BACK_MS`] back.
    pub fn poll_mute(&mut self) -> Option<Range<u64>> {
        self.mute.pop_front()
    }

    /// The next key, as soon as it is known.
    pub fn poll_pressed(&mut self) -> Option<Pressed> {
        self.pressed.pop_front()
    }

    fn samples(&self, millis: u32) -> u64 {
        u64::from(self.rate_hz) * u64::from(millis) / 1_000
    }

    /// Looks at the latest window.
    fn look(&mut self) {
        if self.blocks.len() < WINDOW_HOPS {
            return;
        }
        let begin = self.position.saturating_sub((self.hop * WINDOW_HOPS) as u64);
        let agrees = self.agrees();
        self.run = match (agrees, self.run) {
            (Some((key, _)), Some((known, windows, from))) if key == known => Some((key, windows + 1, from)),
            (Some((key, _)), _) => Some((key, 1, begin)),
            (None, _) => None,
        };
        if let (Some((key, windows, from)), Some((_, peak))) = (self.run, agrees)
            && windows >= WINDOWS_MIN
            && self.tone.as_ref().is_none_or(|tone| tone.key != key)
        {
            self.begin(key, peak, from);
        }
        self.go_on();
    }

    fn begin(&mut self, key: Key, peak: [f32; 2], from: u64) {
        let mut onset = from.saturating_sub(self.samples(MARGIN_MS));
        if let Some((begin, end)) = self.gap
            && from <= end + self.samples(MARGIN_MS)
        {
            // What came just before the loss was too short to tell.
            onset = onset.min(begin.saturating_sub(self.samples(UNTOLD_MS)));
        }
        self.tone = Some(Tone { key, peak, last: self.position });
        self.muted = self.muted.max(onset);
        if self.pressed.len() < PRESSED_MAX {
            let digit = KEYS[usize::from(key.low)][usize::from(key.high)];
            self.pressed.push_back(Pressed { digit: char::from(digit), from });
        }
    }

    /// Follows a tone that was found, to its end.
    fn go_on(&mut self) {
        let Some(tone) = &self.tone else { return };
        let lines = [tone.key.low, tone.key.high + 4].map(|index| self.line(usize::from(index)));
        let loud = lines.iter().zip(tone.peak).all(|(line, peak)| line.amplitude >= peak * STILL_LOUD);
        let (margin, bridge) = (self.samples(MARGIN_MS), self.samples(BRIDGE_MS));
        let position = self.position;
        let Some(tone) = &mut self.tone else { return };
        if loud {
            tone.last = tone.last.max(position);
            for (peak, line) in tone.peak.iter_mut().zip(lines) {
                *peak = peak.max(line.amplitude);
            }
        }
        let last = tone.last;
        if position > last + bridge {
            self.tone = None;
        }
        self.mute_to(position.min(last + margin));
    }

    fn mute_to(&mut self, until: u64) {
        if until > self.muted {
            match self.mute.back_mut() {
                Some(range) if range.end == self.muted => range.end = until,
                _ => self.mute.push_back(self.muted..until),
            }
            self.muted = until;
        }
    }

    /// The key whose tones the latest window is, and their amplitudes.
    fn agrees(&self) -> Option<(Key, [f32; 2])> {
        let lines: [Line; 8] = std::array::from_fn(|index| self.line(index));
        let loudest =
            |from: usize| (from..from + 4).max_by(|a, b| lines[*a].amplitude.total_cmp(&lines[*b].amplitude));
        let (low, high) = (loudest(0)?, loudest(4)?);
        let amplitudes = [lines[low].amplitude, lines[high].amplitude];
        let [a, b] = amplitudes;
        let tuned = |index: usize| lines[index].off_hz.abs() <= FREQUENCIES_HZ[index] * OFF_MAX;
        let energy: f32 = self.blocks.iter().map(|block| block.energy).sum();
        let share = (a * a + b * b) / 2.0 * (self.hop * WINDOW_HOPS) as f32 / energy.max(1.0);
        let twisted = a.max(b) > a.min(b) * TWIST_MAX;
        if a.min(b) < AMPLITUDE_MIN || twisted || share < SHARE_MIN || !tuned(low) || !tuned(high) {
            return None;
        }
        Some((Key { low: low as u8, high: (high - 4) as u8 }, amplitudes))
    }

    /// One frequency in the latest window: its two halves tell how far off it is, and are then added up
    /// as if it were not.
    fn line(&self, index: usize) -> Line {
        let half = |from: usize| {
            self.blocks.iter().skip(from).take(WINDOW_HOPS / 2).fold(Phasor::default(), |sum, block| {
                let part = block.parts[index];
                Phasor { re: sum.re + part.re, im: sum.im + part.im }
            })
        };
        let (first, second) = (half(0), half(WINDOW_HOPS / 2));
        let samples = (self.hop * WINDOW_HOPS) as f32;
        let turned = second.times(Phasor { re: first.re, im: -first.im });
        let off_hz = turned.im.atan2(turned.re) / TAU * 2.0 * self.rate_hz as f32 / samples;
        // Half a window smears what is off its place.
        let smear = std::f32::consts::PI * off_hz * samples / 2.0 / self.rate_hz as f32;
        let kept = if smear.abs() < 0.01 { 1.0 } else { smear.sin() / smear };
        Line { amplitude: (first.length() + second.length()) * 2.0 / samples / kept.max(0.6), off_hz }
    }
}

impl fmt::Debug for Detector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Detector").field("rate_hz", &self.rate_hz).finish_non_exhaustive()
    }
}

impl Phasor {
    fn times(self, other: Self) -> Self {
        Self { re: self.re * other.re - self.im * other.im, im: self.re * other.im + self.im * other.re }
    }

    fn length(self) -> f32 {
        self.re.hypot(self.im)
    }

    fn normalize(&mut self) {
        let length = self.length();
        (self.re, self.im) = (self.re / length, self.im / length);
    }
}

/// How far back from what was taken in a stretch that is found may begin: the windows that must agree,
/// a margin, a block that is not full, and sound that was lost.
pub const LOOK_BACK_MS: u32 = 60;
/// The low group and the high group (ITU-T Q.23).
const FREQUENCIES_HZ: [f32; 8] = [697.0, 770.0, 852.0, 941.0, 1_209.0, 1_336.0, 1_477.0, 1_633.0];
const KEYS: [&[u8; 4]; 4] = [b"123A", b"456B", b"789C", b"*0#D"];
/// Step of a window.
const HOP_MS: usize = 5;
/// Steps in a window.
const WINDOW_HOPS: usize = 4;
/// Length of a window.
const WINDOW_MS: u32 = 20;
/// Windows that must agree.
const WINDOWS_MIN: u32 = 3;
/// Taken away before and after a tone.
const MARGIN_MS: u32 = 15;
/// A tone may break off for so long.
const BRIDGE_MS: u32 = 30;
/// Lost sound that may be within a tone.
const LOST_MS_MAX: u32 = 60;
/// A tone that is cut off sooner by a loss is not known yet.
const UNTOLD_MS: u32 = 30;
/// Each of two tones: -42 dBm0, where 0 dBm0 has an amplitude of 22,300.
const AMPLITUDE_MIN: f32 = 177.0;
/// 12 dB between the two.
const TWIST_MAX: f32 = 4.0;
/// Of a window's energy, in the two tones.
const SHARE_MIN: f32 = 0.80;
/// Q.24: 1.5 % must be taken, 3.5 % must not.
const OFF_MAX: f32 = 0.025;
/// A tone goes on while both are above this part of their greatest amplitude.
const STILL_LOUD: f32 = 0.35;
/// Keys that nobody has taken yet.
const PRESSED_MAX: usize = 64;

#[cfg(test)]
mod tests;
