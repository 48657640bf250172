//! Captures at a pace of their own: for tests of what only happens in time, or in some order of states.

use std::fmt;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;

use crate::base::frame::FrameBlock;
use crate::shell::clock;
use crate::shell::source::{Captures, Damage};

/// When frames of a capture may go on.
pub struct Pace {
    /// Frames of so long, by the capture, come together.
    step: Duration,
    wait: Box<dyn FnMut(Duration) + Send>,
}

impl Pace {
    /// No sooner than they came to the capture, counted from its first one, at `speed` times its pace.
    pub fn at_speed(speed: f64) -> Self {
        let speed = speed.max(SPEED_MIN);
        let mut begun: Option<Instant> = None;
        Self::new(STEP.mul_f64(speed), move |came| {
            let begun = *begun.get_or_insert_with(clock::monotonic);
            thread::sleep(came.div_f64(speed).saturating_sub(begun.elapsed()));
        })
    }

    /// Before each `step` of the capture's time is sent, `wait` is called with the end of it, counted from the
    /// first frame, and returns when it may be.
    pub fn new(step: Duration, wait: impl FnMut(Duration) + Send + 'static) -> Self {
        Self { step, wait: Box::new(wait) }
    }
}

impl fmt::Debug for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pace").field("step", &self.step).finish_non_exhaustive()
    }
}

/// Sends frames at `pace`.
pub(super) fn read(
    mut captures: Captures,
    mut pace: Pace,
    blocks: &Sender<FrameBlock>,
) -> (Vec<Damage>, bool) {
    let mut first = None;
    let mut read = FrameBlock::default();
    while captures.fill(&mut read) {
        let mut small = FrameBlock::default();
        let mut until = None;
        for frame in &read.frames {
            let came = frame.stamp.since(*first.get_or_insert(frame.stamp));
            if *until.get_or_insert(came + pace.step) <= came {
                if !send(&mut small, &mut pace, until.take().unwrap_or_default(), blocks) {
                    return (captures.damages().to_vec(), captures.is_stopped());
                }
                until = Some(came + pace.step);
            }
            small.push(*frame, read.data(frame));
        }
        if !send(&mut small, &mut pace, until.unwrap_or_default(), blocks) {
            break;
        }
    }
    (captures.damages().to_vec(), captures.is_stopped())
}

fn send(block: &mut FrameBlock, pace: &mut Pace, until: Duration, blocks: &Sender<FrameBlock>) -> bool {
    (pace.wait)(until);
    blocks.send(std::mem::take(block)).is_ok()
}

/// Slower is never meant.
const SPEED_MIN: f64 = 1e-3;
/// Frames of so long come together.
const STEP: Duration = Duration::from_millis(20);
