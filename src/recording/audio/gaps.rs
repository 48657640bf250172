//! The list of stretches without the sound that was sent.

use crate::recording::manifest::{Gap, GapReason, Party};

/// Gaps of a call, in ticks until the end.
#[derive(Debug, Default)]
pub(super) struct Gaps {
    list: Vec<Span>,
    /// Gaps that no longer fit.
    more: u64,
}

#[derive(Clone, Copy, Debug)]
struct Span {
    side: u8,
    reason: GapReason,
    from: i64,
    to: i64,
}

impl Gaps {
    /// Adds a stretch of one side; it joins the side's latest one where they touch and agree.
    pub(super) fn add(&mut self, side: usize, reason: GapReason, from: i64, to: i64) {
        let from = from.max(0);
        if to <= from {
            return;
        }
        let last = self.list.iter_mut().rev().take(LOOK_BACK).find(|span| usize::from(span.side) == side);
        if let Some(last) = last
            && last.reason == reason
            && last.to == from
        {
            last.to = to;
        } else if self.list.len() < GAPS_MAX {
            self.list.push(Span { side: side as u8, reason, from, to });
        } else {
            self.more += 1;
        }
    }

    /// Lists what was left out of a side on purpose, `spans` in order, in place of all else there.
    pub(super) fn mask(&mut self, side: usize, spans: &[std::ops::Range<i64>]) {
        if spans.is_empty() {
            return;
        }
        for span in std::mem::take(&mut self.list) {
            if usize::from(span.side) != side {
                self.list.push(span);
                continue;
            }
            let mut from = span.from;
            for mask in spans.iter().filter(|mask| mask.end > span.from && mask.start < span.to) {
                if mask.start > from {
                    self.list.push(Span { from, to: mask.start, ..span });
                }
                from = from.max(mask.end);
            }
            if from < span.to {
                self.list.push(Span { from, ..span });
            }
        }
        let masked = spans.iter().filter(|mask| mask.end > mask.start);
        self.list.extend(masked.map(|mask| Span {
            side: side as u8,
            reason: GapReason::Masked,
            from: mask.start,
            to: mask.end,
        }));
    }

    /// Returns how many are not listed.
    pub(super) fn more(&self) -> u64 {
        self.more
    }

    /// Returns the list in seconds, without what is past `end`.
    pub(super) fn finish(self, parties: [Party; 2], end: i64, seconds: impl Fn(i64) -> f64) -> Vec<Gap> {
        let rounded = |ticks: i64| (seconds(ticks) * 1e6).round() / 1e6;
        let inside = self.list.into_iter().filter(|span| span.from < end);
        inside
            .map(|span| Gap {
                party: parties[usize::from(span.side)],
                at_s: rounded(span.from),
                length_s: rounded(span.to.min(end) - span.from),
                reason: span.reason,
            })
            .collect()
    }
}

/// Gaps listed one by one.
const GAPS_MAX: usize = 4_096;
/// Where the other side has had so many gaps since, they are not joined.
const LOOK_BACK: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn touching_gaps_of_one_side_are_one() {
        let mut gaps = Gaps::default();
        gaps.add(0, GapReason::NetworkLoss, 160, 320);
        gaps.add(1, GapReason::NetworkLoss, 160, 320);
        gaps.add(0, GapReason::NetworkLoss, 320, 480);
        gaps.add(0, GapReason::Silence, 480, 800);
        gaps.add(0, GapReason::Silence, 900, 900);
        let list = gaps.finish([Party::Caller, Party::Callee], 640, |ticks| ticks as f64 / 8_000.0);
        let have: Vec<_> = list.iter().map(|gap| (gap.party, gap.at_s, gap.length_s)).collect();
        assert_eq!(
            have,
            [(Party::Caller, 0.02, 0.04), (Party::Callee, 0.02, 0.02), (Party::Caller, 0.06, 0.02)]
        );
    }
}
