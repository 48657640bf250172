//! A shard and calls that go on in another process.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::base::counters::Counters;
use crate::base::time::Stamp;
use crate::call::closing::{Closed, EndedBy};
use crate::recording::parts::Continuation;
use crate::recording::pause::PauseReason;
use crate::recording::recorder::Recorder;
use crate::shell::handover::InProgress;
use crate::shell::shard::Shard;

/// What a shard has at its end.
#[derive(Debug, Default)]
pub(in crate::shell) struct Ended {
    /// What its recordings counted.
    pub(in crate::shell) books: Counters,
    /// What the next part of recordings must know, by the order in which their calls were closed.
    pub(in crate::shell) left: Vec<(u64, Continuation)>,
    /// Recordings that nobody ended, because what feeds the shard failed, or storage.
    pub(in crate::shell) unfinished: usize,
}

/// What a shard tells of its calls while they go on.
pub(super) struct Notes {
    to: Arc<InProgress>,
    /// Capture time when it was told last.
    told: Stamp,
    /// Calls that have signalling, by slot.
    calls: BTreeMap<u32, Noted>,
    /// Calls that were told of and have ended since.
    gone: Vec<(u64, Option<Continuation>)>,
}

/// A call, and what was told of it.
struct Noted {
    ordinal: u64,
    course: Option<(i64, Option<PauseReason>)>,
}

impl Shard {
    /// Tells `to` what goes on, for a process that comes after this one was killed.
    pub(in crate::shell) fn note_in(mut self, to: Option<Arc<InProgress>>) -> Self {
        let notes = |to| Notes { to, told: Stamp::ZERO, calls: BTreeMap::new(), gone: Vec::new() };
        self.notes = to.map(notes);
        self
    }

    pub(super) fn note_opened(&mut self, slot: u32, ordinal: u64, orphan: bool) {
        if let Some(notes) = self.notes.as_mut().filter(|_| !orphan) {
            notes.calls.insert(slot, Noted { ordinal, course: None });
        }
    }

    pub(super) fn note_closed(&mut self, slot: u32) {
        let Some(notes) = &mut self.notes else { return };
        if let Some(Noted { ordinal, course: Some(_) }) = notes.calls.remove(&slot) {
            notes.gone.push((ordinal, None));
        }
    }

    /// Tells, once a second, what the next parts of recordings must know, where that has changed but for the
    /// time that has passed.
    pub(super) fn note(&mut self, now: Stamp) {
        let Some(notes) = &mut self.notes else { return };
        if now.since(notes.told) < NOTE_EVERY && now >= notes.told {
            return;
        }
        notes.told = now;
        let mut changes = std::mem::take(&mut notes.gone);
        for (slot, noted) in &mut notes.calls {
            let Some(Some(recorder)) = self.recorders.get(*slot as usize) else { continue };
            let course = recorder.course();
            if noted.course.as_ref() != Some(&course) {
                noted.course = Some(course);
                changes.push((noted.ordinal, recorder.continuation_now(now)));
            }
        }
        if !changes.is_empty() {
            notes.to.parts(changes);
        }
    }

    /// The call in `slot`, which is about to be opened, goes on where another recording has ended.
    pub(super) fn expect(&mut self, slot: u32, before: Box<Continuation>) {
        self.expected.insert(slot, before);
    }

    /// Notes what the next part of a recording must know, where there will be one.
    pub(super) fn leave(&mut self, order: u64, recorder: &Recorder, closed: &Closed) {
        if closed.ended_by == EndedBy::Handover
            && let Some(continuation) = recorder.continuation(closed.end)
        {
            self.left.push((order, continuation));
        }
    }
}

/// Capture time between two tellings.
const NOTE_EVERY: Duration = Duration::from_millis(900);

#[cfg(test)]
mod tests {
    use arc_swap::ArcSwap;
    use crossbeam_channel::{Receiver, bounded};

    use super::*;
    use crate::base::endpoint::{Endpoint, Ip};
    use crate::base::frame::FrameBlock;
    use crate::call::intake::{RareTask, Task};
    use crate::call::table::{Event, Opening, Transport};
    use crate::recording::manifest::RecorderFacts;
    use crate::recording::pause::MaskedBy;
    use crate::recording::policy::Policy;
    use crate::recording::recorder::{Config, Content, Keep};
    use crate::seal::random::Seeded;
    use crate::seal::recipient::Recipients;
    use crate::shell::canary;
    use crate::shell::load::Load;
    use crate::shell::shard::{Claim, PauseAsked, Paused, Spent, StoreWork, Work};

    #[test]
    fn a_shard_tells_of_recordings_that_nobody_ended() {
        let (shard, _stored) = shard("default");
        let (sender, work) = bounded(2);
        sender.send(Work::Batch { block: Arc::default(), tasks: vec![opened(3)] }).unwrap();
        drop(sender);
        assert_eq!(shard.run(&work).unfinished, 1);
    }

    #[test]
    fn a_call_is_paused_and_a_canary_call_is_not() {
        for (trunk, want) in [
            ("default", [Paused::Done, Paused::Already, Paused::Done, Paused::Already]),
            (canary::TRUNK, [Paused::Canary; 4]),
        ] {
            let (mut shard, _stored) = shard(trunk);
            shard.task(&FrameBlock::default(), opened(3));
            let id = shard.recorders[3].as_ref().unwrap().id().to_owned();
            let (reply, answers) = bounded(1);
            let why = PauseReason { text: "card".into(), by: MaskedBy::Control };
            let asked = |id: &str, pause| PauseAsked {
                id: id.into(),
                pause,
                at: Stamp::ZERO,
                claim: Claim::default(),
                reply: reply.clone(),
            };
            for (pause, want) in [Some(why.clone()), Some(why), None, None].into_iter().zip(want) {
                shard.pause(asked(&id, pause));
                assert_eq!(answers.try_recv(), Ok(Some(want)), "{trunk}");
            }
            shard.pause(asked("another", None));
            assert_eq!(answers.try_recv(), Ok(None));
            assert!(!shard.recorders[3].as_ref().unwrap().paused());
        }
    }

    fn shard(trunk: &str) -> (Shard, Receiver<StoreWork>) {
        let key = age::x25519::Identity::generate().to_public().to_string();
        let config = Config {
            keep: Keep::All,
            priority: 0,
            folder: "",
            content: Content::Wav,
            recipients: Recipients::parse([key.as_str()]).unwrap(),
            recorder: RecorderFacts { id: "recorder-1".into(), version: "0".into() },
            labels: [trunk.into(), "default@1".into(), "standard".into()],
            mask_digits: false,
            pause: None,
        };
        let policy = Arc::new(ArcSwap::from_pointee(Policy::same(config)));
        let (store, stored) = bounded(64);
        let spent = Spent { blocks: bounded(1).0, tasks: bounded(1).0, taken: Arc::default() };
        let entropy = Arc::new(|ordinal| -> Box<dyn crate::seal::random::Randomness + Send> {
            Box::new(Seeded::new(&[9; 32], "test", ordinal))
        });
        (Shard::new(policy, Arc::new(Load::new(8, &[])), entropy, store, spent), stored)
    }

    /// Nothing is told twice, and whoever keeps notes hears of every end that he has heard the beginning of.
    #[test]
    fn what_goes_on_is_told_when_it_is_another_and_when_it_ends() {
        let second = |seconds: u64| Stamp::from_unix_nanos(seconds * 1_000_000_000);
        let told = Arc::new(InProgress::default());
        let (shard, _stored) = shard("default");
        let mut shard = shard.note_in(Some(told.clone()));
        let parts = |shard: &mut Shard, at| {
            shard.note(second(at));
            told.take().parts
        };
        let none = FrameBlock::default();
        shard.task(&none, opened(3));
        let noted = parts(&mut shard, 10);
        let Some(Some(next)) = noted.get(&9) else { panic!("{noted:?}") };
        assert_eq!((next.number, next.start, next.offset_ns), (2, second(10), 10_000_000_000));
        assert!(parts(&mut shard, 11).is_empty());
        let why = PauseReason { text: "card".into(), by: MaskedBy::Control };
        shard.recorders[3].as_mut().unwrap().pause(second(11), why.clone());
        assert_eq!(parts(&mut shard, 12)[&9].as_ref().unwrap().pause, Some(why));
        // Of what has passed, an hour is none.
        let set = Event::ClockSet { slot: 3, nanos: 3_600_000_000_000 };
        shard.task(&none, Task::Rare(Box::new(RareTask::Event(set))));
        let next = parts(&mut shard, 3_613)[&9].clone().unwrap();
        assert_eq!((next.start, next.offset_ns), (second(3_613), 13_000_000_000));
        shard.note_closed(3);
        assert_eq!(parts(&mut shard, 3_614), [(9, None)].into());
        shard.task(&none, opened(3));
        shard.note_closed(3);
        assert!(parts(&mut shard, 3_615).is_empty(), "it had not been told of");
    }

    fn opened(slot: u32) -> Task {
        let nobody = Endpoint::new(Ip::v4([0; 4]), 0);
        let first = Box::new(Opening {
            src: nobody,
            dst: nobody,
            vlans: Vec::new(),
            tunnel: None,
            transport: Transport::Udp,
            message: Box::default(),
        });
        let opened = Event::Opened { slot, ordinal: 9, at: Stamp::ZERO, orphan: false, first };
        Task::Rare(Box::new(RareTask::Event(opened)))
    }
}
