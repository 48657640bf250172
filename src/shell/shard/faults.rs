//! A fault in one call costs that call: a panic ends it as failed, and the others go on.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::base::counters::Discard;
use crate::base::frame::FrameBlock;
use crate::base::policy::Condition;
use crate::base::time::Stamp;
use crate::call::closing::Closed;
use crate::call::intake::{RareTask, Task};
use crate::call::table::Event;
use crate::recording::manifest::State;
use crate::recording::recorder::{Finished, Recorder};
use crate::shell::load::Load;
use crate::shell::shard::{Shard, recorder_of};

/// Faults that are brought about on purpose.
#[derive(Debug, Default)]
pub(super) struct Forced {
    /// Slots of calls whose next packet is met with a panic.
    panics: BTreeSet<u32>,
}

impl Forced {
    /// A call began: every fourth is to meet what is forced.
    pub(super) fn begin(&mut self, load: &Load, (slot, ordinal): (u32, u64), recorder: &mut Recorder) {
        self.panics.remove(&slot);
        if ordinal % FORCED_EVERY != 1 {
            return;
        }
        if load.tally().is_forced(Condition::CallPanicked) {
            self.panics.insert(slot);
        }
        if load.tally().is_forced(Condition::RecipientMissing) {
            recorder.forget_recipients();
        }
    }

    fn meet(&mut self, task: &Task) {
        if !self.panics.is_empty() && matches!(task, Task::Media(_)) && self.panics.remove(&task.slot()) {
            panic!("forced by --force {}", Condition::CallPanicked.as_str());
        }
    }
}

impl Shard {
    /// Works through the tasks of one call.
    pub(super) fn turn(
        &mut self,
        block: &FrameBlock,
        slot: u32,
        tasks: &mut [Task],
        (mut index, next): (u32, &[u32]),
    ) {
        let mut captured = recorder_of(&mut self.recorders, slot).map_or(0, |recorder| recorder.captured());
        loop {
            let work = || {
                while let Some(task) = tasks.get_mut(index as usize) {
                    let task = task.take();
                    index = next[index as usize];
                    if matches!(&task, Task::Rare(rare) if matches!(**rare, RareTask::Event(Event::Opened { .. })))
                    {
                        captured = 0;
                    }
                    let frames = task.frames();
                    captured += frames;
                    self.guarded(block, slot, frames, task);
                }
            };
            match catch_unwind(AssertUnwindSafe(work)) {
                Ok(()) => return,
                Err(_) => self.broke(slot, captured),
            }
        }
    }

    /// A task whose frames are counted whatever has become of the call.
    fn guarded(&mut self, block: &FrameBlock, slot: u32, frames: u64, task: Task) {
        match recorder_of(&mut self.recorders, slot) {
            Some(recorder) if recorder.is_broken() && !is_close(&task) => recorder.pass(frames),
            None if frames > 0 => {
                self.books.captured += frames;
                self.books.discard(Discard::Failed, frames);
            }
            _ => {
                self.forced.meet(&task);
                self.task(block, task);
            }
        }
    }

    /// The recorder failed in the call in `slot`, which has had so many frames.
    pub(super) fn broke(&mut self, slot: u32, captured: u64) {
        self.scratch.wipe();
        self.load.tally().note(Condition::CallPanicked);
        tracing::error!("a fault of the recorder in one call: it ends as failed, the others go on");
        if let Some(recorder) = recorder_of(&mut self.recorders, slot) {
            recorder.break_off(captured);
        }
    }

    /// A call could not even begin.
    pub(super) fn begin_broken(&mut self, ordinal: u64, at: Stamp, orphan: bool) -> Recorder {
        self.scratch.wipe();
        self.load.tally().note(Condition::CallPanicked);
        tracing::error!("a fault of the recorder in the beginning of one call: it ends as failed");
        let mut recorder = Recorder::new(self.policy.load().otherwise(), at, orphan, (self.entropy)(ordinal));
        recorder.break_off(0);
        recorder
    }

    /// Ends a recording, and settles its books. Nothing where not even its failure can be told.
    pub(super) fn close(&mut self, recorder: Recorder, closed: Closed, order: u64) -> Option<Finished> {
        let (config, id, books) = recorder.identity();
        let (again, orphan, mut fallen_books) = (closed.clone(), closed.orphan, books.clone());
        let (scratch, store) = (&mut self.scratch, &mut self.store);
        let finished = catch_unwind(AssertUnwindSafe(|| recorder.close(closed, scratch, store)));
        let finished = finished.or_else(|_| {
            self.scratch.wipe();
            self.load.tally().note(Condition::CallPanicked);
            tracing::error!("a fault of the recorder in the end of one call: it ends as failed");
            // Of its own: what the recording drew has been used.
            let (scratch, store, entropy) = (&mut self.scratch, &mut self.store, &self.entropy);
            catch_unwind(AssertUnwindSafe(|| {
                let random = entropy(FALLEN_ORDINALS + order);
                let fallen = Recorder::fallen(config, again.start, orphan, random, (id, books));
                fallen.close(again, scratch, store)
            }))
        });
        let Ok(finished) = finished else {
            self.scratch.wipe();
            // Its frames came in all the same: what waited for the end is in no file.
            let waited = fallen_books.captured.saturating_sub(fallen_books.accounted());
            if waited > 0 {
                fallen_books.discard(Discard::Failed, waited);
            }
            self.books.add(&fallen_books);
            return None;
        };
        self.books.add(&finished.manifest.counters);
        if finished.manifest.state == State::Failed && finished.unsealed {
            self.load.tally().note(Condition::RecipientMissing);
        }
        Some(finished)
    }
}

fn is_close(task: &Task) -> bool {
    matches!(task, Task::Rare(rare) if matches!(**rare, RareTask::Event(Event::Closed { .. })))
}

/// Beyond all numbers of calls.
const FALLEN_ORDINALS: u64 = 1 << 62;
/// How many calls there are to one that meets what is forced.
const FORCED_EVERY: u64 = 4;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arc_swap::ArcSwap;
    use crossbeam_channel::bounded;

    use super::*;
    use crate::base::endpoint::{Endpoint, Ip};
    use crate::base::frame::{FrameMeta, LinkType};
    use crate::call::closing::EndedBy;
    use crate::call::intake::{AsideKind, AsideTask};
    use crate::call::table::{Opening, Transport};
    use crate::recording::manifest::RecorderFacts;
    use crate::recording::policy::Policy;
    use crate::recording::recorder::{Config, Content, Keep};
    use crate::seal::random::{Randomness, Seeded};
    use crate::seal::recipient::Recipients;
    use crate::shell::shard::{Spent, StoreWork, Work};

    /// Has an id to give, and nothing to seal with.
    struct RunsDry(Option<Seeded>);

    impl Randomness for RunsDry {
        fn fill(&mut self, bytes: &mut [u8]) {
            self.0.take().expect("forced by a test").fill(bytes);
        }
    }

    #[test]
    fn a_call_whose_failure_cannot_even_be_told_is_in_the_books() {
        let key = age::x25519::Identity::generate().to_public().to_string();
        let config = Config {
            keep: Keep::All,
            priority: 0,
            folder: "",
            content: Content::Packets,
            recipients: Recipients::parse([key.as_str()]).unwrap(),
            recorder: RecorderFacts { id: "recorder-1".into(), version: "0".into() },
            labels: ["default".into(), "default@1".into(), "standard".into()],
            mask_digits: false,
            pause: None,
        };
        let policy = Arc::new(ArcSwap::from_pointee(Policy::same(config)));
        let ((store, stored), (sender, work)) = (bounded(64), bounded(2));
        let spent = Spent { blocks: bounded(1).0, tasks: bounded(1).0, taken: Arc::default() };
        let entropy = Arc::new(|ordinal| -> Box<dyn Randomness + Send> {
            Box::new(RunsDry(Some(Seeded::new(&[9; 32], "test", ordinal))))
        });
        let load = Arc::new(Load::new(8, &[]));
        let shard = Shard::new(policy, load.clone(), entropy, store, spent);
        let (nobody, slot) = (Endpoint::new(Ip::v4([0; 4]), 0), 3);
        let mut block = FrameBlock::default();
        let meta = FrameMeta {
            stamp: Stamp::ZERO,
            number: 1,
            offset: 0,
            len: 0,
            wire_len: 4,
            link: LinkType::ETHERNET,
            interface: 0,
        };
        block.push(meta, b"SIP ");
        let first = Box::new(Opening {
            src: nobody,
            dst: nobody,
            vlans: Vec::new(),
            tunnel: None,
            transport: Transport::Udp,
            message: Box::default(),
        });
        let rare = |event| Task::Rare(Box::new(RareTask::Event(event)));
        let signalling = || Task::Aside(AsideTask { slot, frame: 0, kind: AsideKind::Signalling });
        let tasks = vec![
            rare(Event::Opened { slot, ordinal: 9, at: Stamp::ZERO, orphan: false, first }),
            signalling(),
            signalling(),
            rare(Event::Closed { slot, order: 0, closed: Box::new(closed()) }),
        ];
        sender.send(Work::Batch { block: Arc::new(block), tasks }).unwrap();
        drop(sender);
        let ended = shard.run(&work);
        assert_eq!((ended.unfinished, ended.books.captured), (1, 2));
        assert!(ended.books.balanced(), "{:?}", ended.books);
        assert!(load.tally().snapshot().get(Condition::CallPanicked) >= 2);
        assert!(!stored.try_iter().any(|work| matches!(work, StoreWork::Finished { .. })));
    }

    fn closed() -> Closed {
        Closed {
            call_ids: Vec::new(),
            from: String::new(),
            to: String::new(),
            caller: String::new(),
            callee: String::new(),
            start: Stamp::ZERO,
            end: Stamp::ZERO,
            answered: None,
            status: None,
            ended_by: EndedBy::Bye,
            orphan: false,
            mid_call: false,
            holds: Vec::new(),
            media_after: None,
            ladder: Vec::new(),
            ladder_more: 0,
            sdp_unreadable: 0,
        }
    }
}
