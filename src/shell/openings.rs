//! How the calls of a capture begin: what rules decide on, without recording anything.

use std::sync::Arc;

use crate::base::frame::FrameBlock;
use crate::base::time::Stamp;
use crate::call::intake::{Intake, RareTask, Task};
use crate::call::table::{self, Event, Opening};
use crate::shell::source::Captures;

/// How a call begins.
#[derive(Clone, Debug)]
pub struct CallOpening {
    /// Its frame, counted from 1, as Wireshark counts: of several the last one, and for media without
    /// signalling the one by which it is believed to be media.
    pub frame: u64,
    /// When it was captured.
    pub at: Stamp,
    /// Media without signalling.
    pub orphan: bool,
    /// The message, and what its frame says.
    pub first: Opening,
}

/// Reads `captures` to their end, and tells of each call as a recorder would see it; of media without
/// signalling where `orphans` are asked for.
pub fn read(captures: &mut Captures, orphans: bool, mut take: impl FnMut(CallOpening)) {
    let mut intake = Intake::new(table::Config { orphans, ..table::Config::default() });
    let mut block = FrameBlock::default();
    while captures.fill(&mut block) {
        let whole = Arc::new(std::mem::take(&mut block));
        for (index, frame) in (0..).zip(&whole.frames) {
            let mut tell = |task: Task| opened(task, frame.number, &mut take);
            intake.handle_timeout(frame.stamp, &mut tell);
            intake.frame(&whole, index, &mut tell);
        }
    }
    intake.finish(&mut |_| {});
}

fn opened(task: Task, frame: u64, take: &mut impl FnMut(CallOpening)) {
    if let Task::Rare(task) = task
        && let RareTask::Event(Event::Opened { at, orphan, first, .. }) = *task
    {
        take(CallOpening { frame, at, orphan, first: *first });
    }
}
