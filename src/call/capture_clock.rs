//! Capture time as a whole: goes forward, unless many frames agree that it does not.
//!
//! One frame with a wild time must not end every call; a clock that was set must not either. So a
//! frame that is far from its time is judged by those that follow it.
//!
//! Where they agree that time has jumped, it was either a pause in the capture or the clock that was
//! set. Back, it was set. Forward, only somebody with another clock can tell: [`CaptureClock::passed`].
//! Without him it counts as a pause. What was set is told, so that running calls can take it out of
//! their timelines: [`Moment::Set`].

use std::time::Duration;

use crate::base::frame::FrameMeta;
use crate::base::time::Stamp;

/// What happens before a frame.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Moment {
    /// The clock was set by so many nanoseconds, back where they are negative.
    Set(i64),
    /// A step of time has passed.
    Step(Stamp),
}

/// The time that timeouts go by.
#[derive(Debug, Default)]
pub struct CaptureClock {
    now: Stamp,
    begun: bool,
    /// After a step nothing times out before this: what still lives has then been heard of.
    settled: Stamp,
    ticked: u64,
    /// A tick comes so often; each second where none is said.
    step: Option<Duration>,
    /// Frames whose time was not believed.
    wild: u64,
    /// Times that the clock was set, or the capture paused.
    steps: u64,
    /// How long the run has been going by a clock that is never set, and how long it had been when
    /// capture time last went on.
    passed: Option<Duration>,
    passed_at_now: Duration,
}

impl CaptureClock {
    /// Makes a clock that ticks so often.
    pub fn with_step(step: Duration) -> Self {
        Self { step: Some(step), ..Self::default() }
    }

    /// The time, as far as it is believed.
    pub fn now(&self) -> Stamp {
        self.now
    }

    /// It is `now` before any frame has come: as another process knew it.
    pub fn begin(&mut self, now: Stamp) {
        if !self.begun {
            (self.begun, self.now) = (true, now);
        }
        self.pass(now);
    }

    /// Says how long the run has been going, by a clock that is never set: before the frames that came
    /// since are handed in.
    pub fn passed(&mut self, since_start: Duration) {
        self.passed = Some(since_start);
    }

    /// Frames whose time was not believed, and times that capture time jumped.
    pub fn oddities(&self) -> (u64, u64) {
        (self.wild, self.steps)
    }

    /// Goes on to `frames[0]`, and corrects its stamp where those after it say that it is wild. Returns
    /// by how many nanoseconds the clock was set before it, where it was.
    #[must_use]
    pub fn advance(&mut self, frames: &mut [FrameMeta]) -> Option<i64> {
        let (frame, after) = frames.split_first_mut()?;
        if !self.begun {
            (self.begun, self.now) = (true, frame.stamp);
        }
        if near(frame.stamp, self.now) {
            self.now = self.now.max(frame.stamp);
            self.passed_at_now = self.passed.unwrap_or_default();
            return None;
        }
        let after = &after[..after.len().min(WITNESSES)];
        let against = after.iter().filter(|later| near(later.stamp, self.now)).count();
        match after.len() {
            // Nobody to ask: believed for this frame, and for nothing else.
            0 => {}
            heard if 2 * against >= heard => {
                self.wild += 1;
                frame.stamp = self.now;
            }
            _ => {
                let set = self.set_by(frame.stamp);
                self.steps += 1;
                self.now = frame.stamp;
                self.passed_at_now = self.passed.unwrap_or_default();
                self.settled = frame.stamp.after(SETTLE);
                return set;
            }
        }
        None
    }

    /// By how much the clock was set, where it now says `stamp`.
    fn set_by(&self, stamp: Stamp) -> Option<i64> {
        let jump = stamp.nanos_after(self.now);
        let passed = self.passed.map(|passed| passed.saturating_sub(self.passed_at_now));
        let set = match passed {
            Some(passed) => jump.saturating_sub(i64::try_from(passed.as_nanos()).unwrap_or(i64::MAX)),
            None if jump < 0 => jump,
            None => return None,
        };
        (set.unsigned_abs() > STEP_BACK.as_nanos() as u64).then_some(set)
    }

    /// Nothing came, and the clock that frames are stamped by says `now`.
    pub fn pass(&mut self, now: Stamp) {
        if self.begun && near(now, self.now) {
            self.now = self.now.max(now);
        }
    }

    /// Returns the time where a step has passed since the last tick.
    #[must_use]
    pub fn tick(&mut self) -> Option<Stamp> {
        let nanos = self.step.unwrap_or(SECOND).as_nanos().max(1) as u64;
        let step = self.now.as_unix_nanos() / nanos;
        if step == self.ticked || self.now < self.settled {
            return None;
        }
        self.ticked = step;
        Some(self.now)
    }
}

fn near(stamp: Stamp, now: Stamp) -> bool {
    let after = stamp.nanos_after(now);
    let most = if after < 0 { STEP_BACK } else { STEP };
    after.unsigned_abs() <= most.as_nanos() as u64
}

/// A frame further off than this is looked at twice.
const STEP: Duration = Duration::from_secs(60);
/// The same, of a frame that is back: queues and interfaces disorder frames by less.
const STEP_BACK: Duration = Duration::from_secs(5);
const SECOND: Duration = Duration::from_secs(1);
/// Frames that are asked.
const WITNESSES: usize = 8;
/// Longer than live media pauses between packets.
const SETTLE: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::frame::LinkType;

    fn frames(seconds: &[u64]) -> Vec<FrameMeta> {
        let frame = |seconds: &u64| FrameMeta {
            stamp: Stamp::from_unix_nanos(seconds * 1_000_000_000),
            number: 0,
            offset: 0,
            len: 0,
            wire_len: 0,
            link: LinkType::ETHERNET,
            interface: 0,
        };
        seconds.iter().map(frame).collect()
    }

    fn run(seconds: &[u64]) -> (CaptureClock, Vec<u64>, Vec<u64>) {
        let mut frames = frames(seconds);
        let (mut clock, mut ticks) = (CaptureClock::default(), Vec::new());
        for index in 0..frames.len() {
            let _ = clock.advance(&mut frames[index..]);
            ticks.extend(clock.tick().map(|at| at.as_unix_nanos() / 1_000_000_000));
        }
        let stamps = frames.iter().map(|frame| frame.stamp.as_unix_nanos() / 1_000_000_000).collect();
        (clock, stamps, ticks)
    }

    #[test]
    fn a_wild_frame_is_put_right_and_moves_nothing() {
        let (clock, stamps, ticks) = run(&[1_000, 1_001, 90_000, 1_002, 5, 1_003, 1_004, 1_005]);
        assert_eq!(stamps, [1_000, 1_001, 1_001, 1_002, 1_002, 1_003, 1_004, 1_005]);
        assert_eq!(ticks, [1_000, 1_001, 1_002, 1_003, 1_004, 1_005]);
        assert_eq!(clock.oddities(), (2, 0));
    }

    #[test]
    fn ticks_come_as_often_as_asked() {
        let mut clock = CaptureClock::with_step(Duration::from_millis(100));
        let mut ticks = 0;
        for ms in (1_000_000..1_002_000).step_by(10) {
            clock.pass(Stamp::from_unix_nanos(ms * 1_000_000));
            assert_eq!(clock.now(), Stamp::ZERO, "nothing has begun");
        }
        let mut frames = frames(&[1_000]);
        let _ = clock.advance(&mut frames);
        for ms in (1_000_000..1_002_000).step_by(10) {
            clock.pass(Stamp::from_unix_nanos(ms * 1_000_000));
            ticks += usize::from(clock.tick().is_some());
        }
        assert_eq!(ticks, 20);
    }

    #[test]
    fn a_pause_is_a_pause_and_nothing_times_out_at_once() {
        let (clock, stamps, ticks) = run(&[1_000, 9_000, 9_001, 9_002, 9_003, 9_004]);
        assert_eq!(stamps, [1_000, 9_000, 9_001, 9_002, 9_003, 9_004]);
        assert_eq!(ticks, [1_000, 9_003, 9_004]);
        assert_eq!(clock.oddities(), (0, 1));
    }

    /// Hands in frames of these seconds, after as many true seconds, and returns what was set.
    fn set(passed: &[u64], seconds: &[u64]) -> Vec<i64> {
        let mut frames = frames(seconds);
        let (mut clock, mut set) = (CaptureClock::default(), Vec::new());
        for index in 0..frames.len() {
            if let Some(passed) = passed.get(index) {
                clock.passed(Duration::from_secs(*passed));
            }
            set.extend(clock.advance(&mut frames[index..]).map(|nanos| nanos / 1_000_000_000));
        }
        set
    }

    #[test]
    fn a_clock_that_was_set_is_told_from_a_pause() {
        let set_back = [1_000, 1_001, 400, 401, 402, 403, 404];
        assert_eq!(set(&[], &set_back), [-601]);
        assert_eq!(set(&[], &[1_000, 1_001, 990, 991, 992, 993]), [-11]);
        let jumped = [1_000, 1_001, 9_000, 9_001, 9_002, 9_003];
        assert_eq!(set(&[], &jumped), [0; 0], "nobody knows");
        assert_eq!(set(&[0, 1, 2, 3, 4, 5], &jumped), [7_998]);
        assert_eq!(set(&[0, 1, 8_000, 8_001, 8_002, 8_003], &jumped), [0; 0], "a pause");
        assert_eq!(set(&[0, 1, 2, 3, 4, 5, 6], &set_back), [-602]);
    }

    #[test]
    fn a_first_frame_from_the_future_does_not_stop_the_clock() {
        let (clock, _, ticks) = run(&[900_000, 1_000, 1_001, 1_002, 1_003, 1_004, 1_005]);
        assert_eq!(clock.now(), Stamp::from_unix_nanos(1_005_000_000_000));
        assert_eq!(ticks.last(), Some(&1_005));
    }

    #[test]
    fn a_last_frame_without_witnesses_moves_nothing() {
        let (clock, stamps, ticks) = run(&[1_000, 1_001, 90_000]);
        assert_eq!((stamps[2], ticks.last()), (90_000, Some(&1_001)));
        assert_eq!(clock.now(), Stamp::from_unix_nanos(1_001_000_000_000));
    }
}
