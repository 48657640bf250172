//! What is left out of the sound on purpose: pauses, and the tones of keys.
//!
//! Sound inside a pause becomes silence before anything else is made of it, by its place on the
//! timeline: an encoder, a filter or a file never sees it. Tones are known only once they have gone on
//! for a while, so where they are looked for the latest [`HOLD_MS`] of each side are not encoded yet.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::ops::Range;

use crate::base::party::Party;
use crate::base::time::Stamp;
use crate::recording::audio::grid::Grid;
use crate::recording::dtmf::{Detector, LOOK_BACK_MS};

/// The pauses of a call.
#[derive(Debug, Default)]
pub(super) struct Pauses {
    list: Vec<Pause>,
}

#[derive(Clone, Copy, Debug)]
struct Pause {
    from: Edge,
    to: Option<Edge>,
    /// What was written when it began cannot be taken back.
    written: i64,
}

/// A time, and the ticks that had been cut out of the timeline until then.
#[derive(Clone, Copy, Debug)]
struct Edge {
    at: Stamp,
    cut: i64,
}

impl Pauses {
    /// Begins one at `at`, where none goes on. The oldest sound that it can reach is at tick `written`.
    pub(super) fn begin(&mut self, at: Stamp, written: i64, grid: &Grid) {
        if self.list.last().is_some_and(|last| last.to.is_none()) {
            return;
        }
        let from = Edge { at, cut: grid.cut as i64 };
        if self.list.len() < PAUSES_MAX {
            self.list.push(Pause { from, to: None, written });
        } else if let Some(last) = self.list.last_mut() {
            // Too much is left out rather than too little.
            last.to = None;
        }
    }

    /// Ends the one that goes on.
    pub(super) fn end(&mut self, at: Stamp, grid: &Grid) {
        if let Some(last) = self.list.last_mut().filter(|last| last.to.is_none()) {
            last.to = Some(Edge { at, cut: grid.cut as i64 });
        }
    }

    /// All of them in ticks, in order and apart from each other.
    pub(super) fn ticks(&self, grid: &Grid) -> Vec<Range<i64>> {
        let tick = |edge: &Edge| grid.ticks(edge.at.nanos_after(grid.start)) - edge.cut;
        let mut before = 0;
        let spans = self.list.iter().map(|pause| {
            let from = tick(&pause.from).max(pause.written).max(before);
            let to = pause.to.as_ref().map_or(i64::MAX, |to| tick(to).max(from));
            before = to;
            from..to
        });
        spans.collect()
    }
}

/// Looks for keys in the sound of one side.
pub(super) struct Tones {
    detector: Option<Detector>,
    /// Whether what is found is taken away.
    pub(super) mute: bool,
    pub(super) found: VecDeque<(char, i64)>,
    /// What was taken away, in ticks.
    pub(super) muted: Vec<Range<i64>>,
    /// Stretches that no longer fit.
    pub(super) more: u64,
}

impl Tones {
    pub(super) fn new(mute: bool) -> Self {
        Self { detector: None, mute, found: VecDeque::new(), muted: Vec::new(), more: 0 }
    }

    fn detector(&mut self, rate_hz: u32) -> &mut Detector {
        if self.detector.as_ref().is_some_and(|known| known.rate_hz() != rate_hz) {
            self.detector = None;
        }
        self.detector.get_or_insert_with(|| Detector::new(rate_hz))
    }

    /// Takes in sound that ends at tick `end`. Returns what is to be muted: samples before the end.
    pub(super) fn push(&mut self, pcm: &[i16], rate_hz: u32, end: i64, grid: &Grid) -> Vec<Range<usize>> {
        self.detector(rate_hz).push(pcm);
        self.look(rate_hz, end, grid)
    }

    /// Lets silence pass that ends at tick `end`.
    pub(super) fn silence(&mut self, samples: u64, rate_hz: u32, end: i64, grid: &Grid) -> Vec<Range<usize>> {
        self.detector(rate_hz).silence(samples);
        self.look(rate_hz, end, grid)
    }

    fn look(&mut self, rate_hz: u32, end: i64, grid: &Grid) -> Vec<Range<usize>> {
        let Some(detector) = &mut self.detector else { return Vec::new() };
        let position = detector.position();
        let tick = |at: u64| {
            end - (position.saturating_sub(at) as i64) * i64::from(grid.hz) / i64::from(rate_hz.max(1))
        };
        while let Some(key) = detector.poll_pressed() {
            if self.found.len() < FOUND_MAX {
                self.found.push_back((key.digit, tick(key.from)));
            }
        }
        let mut back = Vec::new();
        while let Some(span) = detector.poll_mute() {
            if !self.mute {
                continue;
            }
            let (from, to) = (tick(span.start).max(0), tick(span.end));
            let room = self.muted.len() < SPANS_MAX;
            match self.muted.last_mut() {
                Some(last) if from <= last.end + grid.millis(1) => last.end = last.end.max(to),
                _ if room => self.muted.push(from..to),
                _ => self.more += 1,
            }
            back.push(
                (position.saturating_sub(span.end)) as usize..(position.saturating_sub(span.start)) as usize,
            );
        }
        back
    }
}

/// A key that was pressed, as a tone in the sound.
#[derive(Clone, Copy)]
pub struct KeyHeard {
    /// By whom.
    pub party: Party,
    /// Which.
    pub digit: char,
    /// When its tone began.
    pub at: Stamp,
}

/// Hides the digit: it may be one of a card number.
impl std::fmt::Debug for KeyHeard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyHeard").field("party", &self.party).finish_non_exhaustive()
    }
}

/// Whether any of `spans`, which are in order, has something of `from..to`.
pub(super) fn touches(spans: &[Range<i64>], from: i64, to: i64) -> bool {
    spans.iter().rev().take_while(|span| span.end > from).any(|span| span.start < to)
}

/// `pcm`, whose first sample is at tick `from`, without what lies in `spans`.
pub(super) fn without<'a>(
    pcm: &'a [i16],
    rate_hz: u32,
    from: i64,
    spans: &[Range<i64>],
    grid: &Grid,
) -> Cow<'a, [i16]> {
    let (hz, rate) = (i64::from(grid.hz), i64::from(rate_hz));
    if !touches(spans, from, from + pcm.len() as i64 * hz / rate + 1) {
        return Cow::Borrowed(pcm);
    }
    let mut kept = pcm.to_vec();
    // The first sample at or after a tick.
    let sample = |tick: i64| {
        let ticks = tick.saturating_sub(from).clamp(0, pcm.len() as i64 * hz / rate + 1);
        (((ticks * rate + hz - 1) / hz) as usize).min(pcm.len())
    };
    for span in spans.iter().rev().take_while(|span| span.end > from) {
        let (first, last) = (sample(span.start), sample(span.end));
        kept[first..last.max(first)].fill(0);
    }
    Cow::Owned(kept)
}

/// Sound that waits where tones are looked for: what a detector reaches back to, and the piece that it
/// is given.
pub(super) const HOLD_MS: u32 = LOOK_BACK_MS + PIECE_MS;
/// Sound is given to a detector in pieces of this length at most.
pub(super) const PIECE_MS: u32 = 20;
/// Pauses of one call.
const PAUSES_MAX: usize = 1_024;
/// Stretches of tones that are listed one by one.
const SPANS_MAX: usize = 1_024;
/// Keys that nobody has taken yet.
const FOUND_MAX: usize = 64;
/// What a decoder may make up lost sound from.
pub(super) const HISTORY_MS: u32 = 120;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_inside_becomes_silence() {
        let grid = Grid { start: Stamp::ZERO, hz: 48_000, cut: 0 };
        let pcm = [7_i16; 160];
        let spans = [0..100, 48_000 + 60..48_000 + 120, 96_000..i64::MAX];
        let kept = without(&pcm, 8_000, 48_000, &spans, &grid);
        let silent: Vec<_> = (0..160).filter(|n| kept[*n] == 0).collect();
        assert_eq!(silent, (10..20).collect::<Vec<_>>());
        assert!(matches!(without(&pcm, 8_000, 200, &spans, &grid), Cow::Borrowed(_)));
        assert_eq!(without(&pcm, 8_000, 95_994, &spans, &grid)[..2], [7, 0]);
        assert!(without(&pcm, 8_000, 200_000, &spans, &grid).iter().all(|s| *s == 0));
    }

    #[test]
    fn pauses_are_in_order_and_reach_no_further_back_than_what_is_written() {
        let grid = Grid { start: Stamp::ZERO, hz: 8_000, cut: 0 };
        let at = |ms: u64| Stamp::from_unix_nanos(ms * 1_000_000);
        let mut pauses = Pauses::default();
        pauses.begin(at(1_000), 8_080, &grid);
        pauses.end(at(2_000), &grid);
        pauses.end(at(9_000), &grid);
        pauses.begin(at(1_500), 0, &grid);
        assert_eq!(pauses.ticks(&grid), [8_080..16_000, 16_000..i64::MAX]);
        assert!(touches(&pauses.ticks(&grid), 0, 8_081) && !touches(&pauses.ticks(&grid), 0, 8_080));
    }
}
