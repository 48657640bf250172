//! Who keeps the record current.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use rustix::fs::{MemfdFlags, memfd_create};

use crate::base::time::Stamp;
use crate::call::transcript::Kept;
use crate::recording::parts::{Continuation, LeftCall};
use crate::shell::handover::in_progress::Notes;
use crate::shell::handover::record::{self, Frame, HALF_BYTES_MAX, Head, VERSION, is_left};

/// A record that is being written.
#[derive(Debug)]
pub(super) struct Writer {
    halves: [File; 2],
    /// Which of them counts.
    active: usize,
    /// Of the last frame.
    sequence: u64,
    /// Bytes of the half that counts, and of the frame in it that says all. Nothing is behind them where a
    /// write has failed, as far as whoever reads is concerned.
    length: u64,
    whole_bytes: u64,
    /// Changes are written beside what they change until they are so long, or half as long as all.
    changes_min: u64,
    /// What was to be written last may be there in part: all is written again.
    is_torn: bool,
    calls: BTreeMap<u64, Call>,
    touched: BTreeSet<u64>,
    gone: Vec<u64>,
    reached: Stamp,
    begun: Option<Begun>,
}

/// A call as it was told.
#[derive(Debug, Default)]
struct Call {
    messages: Option<Vec<Kept>>,
    part: Option<Continuation>,
    is_written: bool,
}

/// Dispatch has told of all its calls.
#[derive(Debug)]
struct Begun {
    at: Stamp,
    /// Of which of them no shard has said anything yet.
    awaited: BTreeSet<u64>,
}

impl Writer {
    /// An empty one, whose first frame comes after `sequence`.
    pub(super) fn new(sequence: u64) -> io::Result<Self> {
        let half = || memfd_create(super::RECORD_NAME, MemfdFlags::CLOEXEC).map(File::from);
        Ok(Self {
            halves: [half()?, half()?],
            active: 0,
            sequence,
            length: 0,
            whole_bytes: 0,
            changes_min: CHANGES_MIN,
            is_torn: true,
            calls: BTreeMap::new(),
            touched: BTreeSet::new(),
            gone: Vec::new(),
            reached: Stamp::ZERO,
            begun: None,
        })
    }

    pub(super) fn halves(&self) -> &[File; 2] {
        &self.halves
    }

    /// Of the last frame.
    pub(super) fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Whether anything was ever written.
    pub(super) fn has_written(&self) -> bool {
        self.length > 0
    }

    /// Takes in what has changed. Returns whether a record of it can take the place of that of the process
    /// before: all that went on there is here too, or has ended.
    pub(super) fn take(&mut self, notes: Notes, now: Stamp) -> bool {
        let Notes { reached, calls, parts } = notes;
        if let Some(reached) = reached {
            self.reached = reached;
            self.begun.get_or_insert_with(|| {
                let awaited = calls.iter().filter(|(_, messages)| messages.is_some()).map(|(call, _)| *call);
                let awaited =
                    awaited.filter(|call| self.calls.get(call).is_none_or(|call| call.part.is_none()));
                Begun { at: now, awaited: awaited.collect() }
            });
        }
        if let Some(begun) = &mut self.begun {
            let ended = calls.iter().filter(|(_, messages)| messages.is_none()).map(|(call, _)| call);
            for call in ended.chain(parts.keys()) {
                begun.awaited.remove(call);
            }
        }
        for (call, messages) in calls {
            self.touch(call, |known| known.messages = messages);
        }
        for (call, part) in parts {
            self.touch(call, |known| known.part = part.filter(is_left));
        }
        self.begun.as_ref().is_some_and(|begun| begun.awaited.is_empty() || now.since(begun.at) > PATIENCE)
    }

    fn touch(&mut self, number: u64, change: impl FnOnce(&mut Call)) {
        let call = self.calls.entry(number).or_default();
        change(call);
        if call.is_whole() {
            self.touched.insert(number);
            return;
        }
        self.touched.remove(&number);
        if std::mem::take(&mut call.is_written) {
            self.gone.push(number);
        }
        if call.messages.is_none() && call.part.is_none() {
            self.calls.remove(&number);
        }
    }

    /// Writes what has changed, at `now`; where nothing has, that it is so.
    pub(super) fn write(&mut self, now: Stamp) -> io::Result<()> {
        let changes = self.length - self.whole_bytes;
        if self.is_torn || changes > self.changes_min.max(self.whole_bytes / 2) {
            self.touched =
                self.calls.iter().filter(|(_, call)| call.is_whole()).map(|(call, _)| *call).collect();
            self.gone.clear();
            let frame = self.frame(true, now);
            return self.begin_half(frame);
        }
        let frame = self.frame(false, now).bytes(self.sequence + 1);
        self.is_torn = true;
        self.halves[self.active].write_all_at(&frame, self.length)?;
        self.is_torn = false;
        self.sequence += 1;
        self.length += frame.len() as u64;
        Ok(())
    }

    /// Writes that the recorder has ended and leaves these calls.
    pub(super) fn leave(&mut self, calls: &[LeftCall], now: Stamp) -> io::Result<()> {
        self.begin_half(record::whole(calls, now))
    }

    fn frame(&mut self, whole: bool, now: Stamp) -> Frame {
        let mut frame = Frame::new(&Head {
            version: VERSION,
            whole,
            calls: self.touched.len() as u64,
            gone: std::mem::take(&mut self.gone),
            left_at: now.as_unix_nanos(),
            reached: Some(self.reached.as_unix_nanos()),
        });
        for number in std::mem::take(&mut self.touched) {
            let Some(call) = self.calls.get_mut(&number) else { continue };
            if let Call { messages: Some(messages), part: Some(part), is_written } = call {
                frame.call(number, part, messages);
                *is_written = true;
            }
        }
        frame
    }

    /// Writes a frame that says all into the half that does not count, which then does.
    fn begin_half(&mut self, frame: Frame) -> io::Result<()> {
        let frame = frame.bytes(self.sequence + 1);
        let other = 1 - self.active;
        self.is_torn = true;
        if frame.len() > HALF_BYTES_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.halves[other].set_len(0)?;
        self.halves[other].write_all_at(&frame, 0)?;
        self.is_torn = false;
        self.active = other;
        self.sequence += 1;
        self.length = frame.len() as u64;
        self.whole_bytes = self.length;
        // Memory that nobody needs.
        self.halves[1 - other].set_len(0)
    }
}

impl Call {
    fn is_whole(&self) -> bool {
        self.part.is_some() && self.messages.as_ref().is_some_and(|messages| !messages.is_empty())
    }
}

/// Bytes of changes that are no reason to write all again.
const CHANGES_MIN: u64 = 1 << 20;
/// How long shards may take to say what they know of the calls of the process before.
const PATIENCE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::transcript::{Goes, Transcripts};
    use crate::shell::handover::record::Found;
    use crate::shell::handover::record::tests::{left, now};

    type Told = (u64, Option<LeftCall>);

    /// Notes of calls, both of whose tellers agree.
    fn notes(told: &[Told]) -> Notes {
        let messages = |(call, left): &Told| (*call, left.as_ref().map(|left| left.messages.clone()));
        let part = |(call, left): &Told| (*call, left.as_ref().map(|left| left.continuation.clone()));
        Notes {
            reached: Some(now()),
            calls: told.iter().map(messages).collect(),
            parts: told.iter().map(part).collect(),
        }
    }

    fn named(name: &str) -> LeftCall {
        let mut left = left();
        left.continuation.labels[1] = name.into();
        left
    }

    fn halves(writer: &Writer) -> [Vec<u8>; 2] {
        [0, 1].map(|half| record::read(&writer.halves()[half]).unwrap())
    }

    fn names(found: &Found) -> Vec<&str> {
        found.calls.iter().map(|call| &*call.continuation.labels[1]).collect()
    }

    /// Calls that come, change and go, in so many frames; a half is full twice.
    fn story() -> Vec<Vec<Told>> {
        (0..40_u64)
            .map(|frame| {
                let name = |call: u64| format!("{call}-{frame}-{}", "x".repeat(100));
                let mut told: Vec<Told> =
                    (0..14).map(|call| (call, Some(named(&name(call + frame))))).collect();
                told.retain(|(call, _)| (call + frame) % 3 > 0);
                told.push((100 + frame, Some(named(&format!("new {frame}")))));
                told.extend(frame.checked_sub(3).map(|old| (100 + old, None)));
                told
            })
            .collect()
    }

    /// What is read is what was right when one of the frames was written: the last one that is whole.
    #[test]
    fn a_record_that_is_cut_anywhere_says_what_was_right_a_frame_ago() {
        let mut writer = Writer::new(4).unwrap();
        writer.changes_min = 20_000;
        let (mut truth, mut before) = (BTreeMap::new(), vec![Vec::new(), Vec::new()]);
        let (mut wholes, mut right) = (0, Vec::new());
        for told in story() {
            for (call, left) in &told {
                match left {
                    Some(left) => drop(truth.insert(*call, left.continuation.labels[1].clone())),
                    None => drop(truth.remove(call)),
                }
            }
            assert!(writer.take(notes(&told), now()), "both have told of all calls");
            writer.write(now()).unwrap();
            let after = halves(&writer);
            let wrong = std::mem::replace(&mut right, truth.values().cloned().collect());
            let active = writer.active;
            let whole = before[active].is_empty() || writer.length == writer.whole_bytes;
            wholes += usize::from(whole);
            // The write as it was when the process died in it: before the other half was emptied.
            let begun = if whole { 0 } else { before[active].len() };
            for cut in (begun..=after[active].len()).step_by(331).chain([after[active].len()]) {
                let mut torn = before.clone();
                torn[active] = after[active][..cut].to_vec();
                let is_whole = cut == after[active].len();
                let found = record::find(&torn, now()).ok();
                let said = found.as_ref().map(names).unwrap_or_default();
                assert_eq!(said, if is_whole { &right } else { &wrong }[..], "cut at {cut} of {active}");
            }
            before = after.to_vec();
        }
        assert!(wholes >= 3, "{wholes} times all was written");
        let found = record::find(&before, now()).unwrap();
        assert_eq!(found.sequence, 4 + 40, "a frame each");
        assert!(found.calls.iter().all(|call| call.continuation.cut), "nobody ended them");
    }

    #[test]
    fn every_byte_of_a_small_change_may_be_the_last() {
        let mut writer = Writer::new(0).unwrap();
        writer.take(notes(&[(1, Some(named("one"))), (2, Some(named("two")))]), now());
        writer.write(now()).unwrap();
        let before = halves(&writer);
        writer.take(notes(&[(1, None), (3, Some(named("three")))]), now());
        writer.write(now()).unwrap();
        let after = halves(&writer);
        let active = writer.active;
        for cut in before[active].len()..after[active].len() {
            let found = record::find(&[after[active][..cut].to_vec()], now()).unwrap();
            assert_eq!((names(&found), found.sequence), (vec!["one", "two"], 1), "cut at {cut}");
        }
        let found = record::find(&after, now()).unwrap();
        assert_eq!((names(&found), found.sequence), (vec!["two", "three"], 2));
    }

    #[test]
    fn a_part_begins_where_the_recorder_was_last_seen() {
        let mut writer = Writer::new(0).unwrap();
        writer.take(notes(&[(1, Some(left()))]), now());
        writer.write(now()).unwrap();
        let later = now().after(Duration::from_secs(7));
        writer.take(Notes { reached: Some(later), ..Notes::default() }, now());
        writer.write(now()).unwrap();
        let found = record::find(&halves(&writer), now()).unwrap();
        let Continuation { start, offset_ns, cut, .. } = found.calls[0].continuation.clone();
        assert_eq!((start, offset_ns, cut), (later, left().continuation.offset_ns + 7_000_000_000, true));
        // A recorder that ends says itself where its parts end.
        writer.leave(&[left()], now()).unwrap();
        let found = record::find(&halves(&writer), now()).unwrap();
        assert_eq!((found.calls, found.sequence), (vec![left()], 3));
        let hour = now().after(Duration::from_secs(3_600));
        assert!(record::find(&halves(&writer), hour).is_err(), "its calls are over");
    }

    #[test]
    fn a_record_takes_the_place_of_the_one_before_when_shards_have_told_of_its_calls() {
        let both = |call| notes(&[(call, Some(left()))]);
        let mut writer = Writer::new(0).unwrap();
        let parts = Notes { reached: None, calls: BTreeMap::new(), ..both(1) };
        assert!(!writer.take(parts, now()), "dispatch has not begun");
        let calls = notes(&[(1, Some(left())), (2, Some(left())), (3, Some(left())), (4, Some(left()))]);
        assert!(!writer.take(Notes { parts: BTreeMap::new(), ..calls }, now()));
        assert!(!writer.take(Notes { calls: BTreeMap::new(), ..both(2) }, now()));
        let none = Notes { parts: [(3, None)].into(), ..Notes::default() };
        assert!(!writer.take(none, now()), "a call of which there is no next part");
        let late = now().after(Duration::from_secs(11));
        assert!(writer.take(Notes::default(), late), "a shard that hangs is not waited for for ever");
        let over = Notes { calls: [(4, None)].into(), ..Notes::default() };
        assert!(writer.take(over, now()), "the last one has ended meanwhile");
        writer.write(now()).unwrap();
        assert_eq!(record::find(&halves(&writer), now()).unwrap().calls.len(), 2);
    }

    #[test]
    fn a_call_that_one_of_two_knows_is_not_written_and_none_is_kept_that_has_ended() {
        let mut writer = Writer::new(0).unwrap();
        let both = notes(&[(1, Some(left()))]);
        writer.take(Notes { parts: BTreeMap::new(), ..both }, now());
        writer.write(now()).unwrap();
        let found = |writer: &Writer| record::find(&halves(writer), now()).unwrap().calls.len();
        assert_eq!(found(&writer), 0);
        writer.take(Notes { calls: BTreeMap::new(), ..notes(&[(1, Some(left()))]) }, now());
        writer.write(now()).unwrap();
        assert_eq!(found(&writer), 1);
        writer.take(Notes { calls: [(1, None)].into(), ..Notes::default() }, now());
        writer.write(now()).unwrap();
        assert_eq!(found(&writer), 0, "its BYE was seen");
        writer.take(Notes { parts: [(1, None)].into(), ..Notes::default() }, now());
        assert!(writer.calls.is_empty());
    }

    /// What it costs: `cargo test --release --lib handover::writer -- --ignored --nocapture`.
    #[test]
    #[ignore = "measures, and holds nothing"]
    fn what_two_thousand_calls_cost() {
        let mut transcripts = Transcripts::default();
        for slot in 0..2_000 {
            transcripts.begin(slot, slot.into());
            for (cseq, method) in (0..).zip(["INVITE", "ACK", "INVITE", "ACK", "INVITE"]) {
                let sip = format!(
                    "{method} sip:b SIP/2.0\r\nCall-ID: {slot}\r\nCSeq: {cseq} {method}\r\n\
                     Content-Type: application/sdp\r\nContent-Length: 700\r\n\r\n{}",
                    "v".repeat(700)
                );
                let Kept { at, path, transport, .. } = left().messages[0];
                transcripts.note(slot, at, path, transport, sip.as_bytes());
            }
        }
        let clock = crate::shell::clock::monotonic();
        let changes = transcripts.changes(|_| Some(Goes::On));
        println!("dispatch, all of {} calls: {:?}", changes.len(), clock.elapsed());
        let clock = crate::shell::clock::monotonic();
        let changes = transcripts.changes(|_| Some(Goes::On));
        println!("dispatch, {} calls: {:?}", changes.len(), clock.elapsed());
        let mut call = left();
        call.messages = vec![Kept { bytes: vec![b'x'; 900].into(), ..left().messages[0].clone() }; 5];
        let all: Vec<_> = (0..2_000).map(|number| (number, Some(call.clone()))).collect();
        let mut writer = Writer::new(0).unwrap();
        let told = notes(&all);
        let clock = crate::shell::clock::monotonic();
        writer.take(told, now());
        writer.write(now()).unwrap();
        println!("all: {} bytes in {:?}", writer.length, clock.elapsed());
        let told = notes(&all[..40]);
        let (clock, before) = (crate::shell::clock::monotonic(), writer.length);
        writer.take(told, now());
        writer.write(now()).unwrap();
        println!("40 changes: {} bytes in {:?}", writer.length - before, clock.elapsed());
    }
}
