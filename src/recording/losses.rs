//! What the recorder itself lost, so that nobody takes it for the network's fault.

use crate::base::counters::Discard;
use crate::base::time::Stamp;
use crate::recording::manifest::{Gap, GapReason};

/// Stretches in which packets were lost between the wire and this recording.
#[derive(Debug, Default)]
pub(super) struct Losses {
    list: Vec<Loss>,
    /// Frames that are known to have been this call's.
    frames: u64,
}

#[derive(Clone, Copy, Debug)]
struct Loss {
    from: Stamp,
    to: Stamp,
    reason: Discard,
    /// Some of it is known to have been this call's.
    known: bool,
}

impl Losses {
    /// Notes a stretch; `frames` of it are known to be this call's.
    pub(super) fn note(&mut self, frames: u64, from: Stamp, to: Stamp, reason: Discard) {
        self.frames += frames;
        let full = self.list.len() >= LOSSES_MAX;
        match self.list.last_mut() {
            Some(last) if full || (last.reason == reason && from.since(last.to) < JOIN) => {
                last.to = last.to.max(to);
                last.known |= frames > 0;
            }
            _ => self.list.push(Loss { from, to, reason, known: frames > 0 }),
        }
    }

    /// Says of gaps that began in such a stretch that they are the recorder's. Silence in which packets of the
    /// call are known to have been lost is told apart: nobody knows whose they were.
    pub(super) fn explain(&self, gaps: &mut Vec<Gap>, start: Stamp) {
        let seconds = |at: Stamp| at.nanos_after(start) as f64 / 1e9;
        for loss in self.list.iter().filter(|loss| loss.known) {
            let (from, to) = (seconds(loss.from), seconds(loss.to));
            let split = |gap: Gap| {
                let end = gap.at_s + gap.length_s;
                let (from, to) = (from.max(gap.at_s), to.min(end));
                if gap.reason != GapReason::Silence || to <= from {
                    return vec![gap];
                }
                let part =
                    |at_s: f64, end: f64, reason| Gap { at_s, length_s: end - at_s, reason, ..gap.clone() };
                let mut parts = vec![
                    part(gap.at_s, from, GapReason::Silence),
                    part(from, to, GapReason::QueueDrop),
                    part(to, end, GapReason::Silence),
                ];
                parts.retain(|part| part.length_s > 0.0);
                parts
            };
            *gaps = std::mem::take(gaps).into_iter().flat_map(split).collect();
        }
        gaps.sort_by(|a, b| a.at_s.total_cmp(&b.at_s));
        for gap in gaps.iter_mut().filter(|gap| gap.reason == GapReason::NetworkLoss) {
            let (from, to) = (gap.at_s, gap.at_s + gap.length_s);
            let cause = self
                .list
                .iter()
                .find(|loss| from <= seconds(loss.to) + SLACK_S && to >= seconds(loss.from) - SLACK_S);
            if let Some(loss) = cause {
                gap.reason = match loss.reason {
                    Discard::QueueDrop => GapReason::QueueDrop,
                    _ => GapReason::CaptureDrop,
                };
            }
        }
    }

    /// Says it in words.
    pub(super) fn notes(&self) -> Option<String> {
        let (first, last) = (self.list.first()?, self.list.last()?);
        let known = match self.frames {
            0 => String::new(),
            frames => format!(", {frames} of them known to be this call's"),
        };
        Some(format!(
            "the recorder lost packets between {} and {}, in {} stretches{known}",
            first.from,
            last.to,
            self.list.len(),
        ))
    }
}

/// Stretches that are told apart; later ones widen the last.
const LOSSES_MAX: usize = 256;
/// Losses closer than this are one stretch.
const JOIN: std::time::Duration = std::time::Duration::from_millis(500);
/// A gap is placed by RTP time, a loss by capture time: they differ by the jitter.
const SLACK_S: f64 = 0.2;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::party::Party;

    #[test]
    fn gaps_in_a_stretch_are_the_recorders() {
        let at = |millis: u64| Stamp::from_unix_nanos(1_000_000_000_000 + millis * 1_000_000);
        let mut losses = Losses::default();
        losses.note(0, at(10_000), at(10_500), Discard::CaptureDrop);
        losses.note(3, at(20_000), at(20_060), Discard::QueueDrop);
        let gap = |at_s, reason| Gap { party: Party::Caller, at_s, length_s: 0.1, reason };
        let mut gaps = vec![
            gap(5.0, GapReason::NetworkLoss),
            gap(10.2, GapReason::NetworkLoss),
            gap(10.3, GapReason::Silence),
            gap(19.9, GapReason::NetworkLoss),
            gap(20.01, GapReason::Silence),
        ];
        losses.explain(&mut gaps, at(0));
        let reasons: Vec<_> = gaps.iter().map(|gap| gap.reason).collect();
        use GapReason::{CaptureDrop, NetworkLoss, QueueDrop, Silence};
        assert_eq!(reasons, [NetworkLoss, CaptureDrop, Silence, QueueDrop, QueueDrop, Silence]);
        let length: f64 = gaps.iter().map(|gap| gap.length_s).sum();
        assert!((length - 0.5).abs() < 1e-9 && (gaps[5].at_s - 20.06).abs() < 1e-9, "{gaps:?}");
        assert!(losses.notes().is_some_and(|note| note.contains("2 stretches, 3 of them")));
    }

    #[test]
    fn the_list_is_bounded() {
        let mut losses = Losses::default();
        for second in 0..10_000_u64 {
            let at = Stamp::from_unix_nanos(second * 1_000_000_000);
            losses.note(1, at, at, Discard::CaptureDrop);
        }
        assert_eq!(losses.list.len(), LOSSES_MAX);
        assert_eq!(losses.frames, 10_000);
    }
}
