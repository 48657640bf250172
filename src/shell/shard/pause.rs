//! A shard and whoever pauses a recording: asked for by one thread, done by another, which may be busy.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use crossbeam_channel::Sender;

use crate::base::time::Stamp;
use crate::recording::pause::PauseReason;
use crate::shell::canary;
use crate::shell::shard::Shard;

/// What is asked of all shards: the one that has the recording does it.
#[derive(Clone)]
pub(in crate::shell) struct PauseAsked {
    /// Id of the recording.
    pub(in crate::shell) id: String,
    /// Why it is to pause; nothing where it is to go on.
    pub(in crate::shell) pause: Option<PauseReason>,
    /// When it was asked for.
    pub(in crate::shell) at: Stamp,
    /// Whether it is still to be done.
    pub(in crate::shell) claim: Claim,
    /// Each shard answers once: what came of it, or nothing where it has no such recording.
    pub(in crate::shell) reply: Sender<Option<Paused>>,
}

/// What has come of a pause, or of its end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Paused {
    /// It is done.
    Done,
    /// It was so before.
    Already,
    /// It is a canary call's, which shows that calls are recorded: a pause would say that they are not.
    Canary,
    /// No such call goes on.
    NoSuchCall,
    /// It will be done when what was captured before it is worked through, if the call goes on until then.
    Unconfirmed,
    /// It was called off: there was no room to ask everybody, and it will not be done.
    Busy,
}

impl From<bool> for Paused {
    fn from(changed: bool) -> Self {
        if changed { Self::Done } else { Self::Already }
    }
}

/// Settles between two threads whether something that was asked for is done or called off.
#[derive(Clone, Debug, Default)]
pub(in crate::shell) struct Claim(Arc<AtomicU8>);

impl Claim {
    /// It is being done. Returns false where it was called off before.
    fn take(&self) -> bool {
        self.settle(TAKEN)
    }

    /// It is not wanted any more. Returns false where it is being done already, or done.
    pub(in crate::shell) fn call_off(&self) -> bool {
        self.settle(CALLED_OFF)
    }

    fn settle(&self, how: u8) -> bool {
        self.0.compare_exchange(OPEN, how, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

impl Shard {
    /// Pauses the recording, or has it go on, where it is here and that is still wanted.
    pub(super) fn pause(&mut self, PauseAsked { id, pause, at, claim, reply }: PauseAsked) {
        let recorder = self.recorders.iter_mut().flatten().find(|recorder| recorder.id() == id);
        let paused = recorder.filter(|_| claim.take()).map(|recorder| match pause {
            // No trunk of a configuration has this name.
            _ if recorder.labels()[0] == canary::TRUNK => Paused::Canary,
            Some(why) => Paused::from(recorder.pause(at, why)),
            None => Paused::from(recorder.resume(at)),
        });
        // Whoever asked may have gone.
        let _ = reply.try_send(paused);
    }
}

const OPEN: u8 = 0;
const TAKEN: u8 = 1;
const CALLED_OFF: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_called_off_is_not_done_and_what_is_done_is_not_called_off() {
        let (off, done) = (Claim::default(), Claim::default());
        assert!(off.call_off() && !off.take());
        assert!(done.take() && !done.call_off());
    }
}
