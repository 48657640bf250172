//! The signalling of open calls, kept so that another process can go on with them: what a call's dialogs,
//! offers and answers are made of, and no more.
//!
//! A call keeps its first message, its first answer and the newest others, [`CALL_MESSAGES_KEPT`] and
//! [`CALL_BYTES_KEPT`] at most. Told to a table again in this order they make the same call.
//!
//! Whoever keeps a record of them asks for what has changed ([`Transcripts::changes`]): bytes are shared, so
//! that asking costs little.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::base::net::Path;
use crate::base::time::Stamp;
use crate::call::table::Transport;
use crate::wire::sip::{Message, Method, StartLine};

/// A message of a call.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept {
    /// Capture time.
    pub at: Stamp,
    /// Between whom.
    pub path: Path,
    /// How it came.
    pub transport: Transport,
    /// From start line to end of body.
    pub bytes: Arc<[u8]>,
}

/// Messages of all open calls.
#[derive(Debug, Default)]
pub struct Transcripts {
    /// By slot.
    calls: BTreeMap<u32, Transcript>,
    bytes: usize,
    left_out: u64,
    /// Slots to be looked at when somebody asks what has changed.
    watched: BTreeSet<u32>,
    /// Calls that were told of and have ended since.
    gone: Vec<u64>,
}

#[derive(Debug, Default)]
struct Transcript {
    /// Number of the call among all.
    ordinal: u64,
    kept: Vec<(Weight, Kept)>,
    bytes: usize,
    /// It is another than when it was told of.
    changed: bool,
    /// How it was told of, where it was.
    told: Option<Goes>,
}

/// That a call goes on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Goes {
    /// Signalling says so.
    On,
    /// Media says so, and signalling does not: see [`crate::call::table::Table::leave`].
    Disputed,
}

/// A call as it is now, by its number among all: its messages, oldest first. None where it is over.
pub type Change = (u64, Option<Vec<Kept>>);

/// What a call is without a message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Weight {
    /// Not the same call.
    Needed,
    /// The same, with older descriptions or without one of its branches.
    Useful,
}

impl Transcripts {
    /// A call has begun in `slot`; `ordinal` is its number among all.
    pub fn begin(&mut self, slot: u32, ordinal: u64) {
        self.forget(slot);
        self.calls.insert(slot, Transcript { ordinal, ..Transcript::default() });
    }

    /// Keeps a message of the call in `slot`, where it changes what the call is.
    pub fn note(&mut self, slot: u32, at: Stamp, path: Path, transport: Transport, bytes: &[u8]) {
        let Some(call) = self.calls.get_mut(&slot) else { return };
        let first = call.kept.is_empty();
        let answered = call.kept.iter().skip(1).any(|(weight, _)| *weight == Weight::Needed);
        let weight = match Message::parse(bytes) {
            Ok(message) if first || (!answered && is_answer(&message)) => Weight::Needed,
            Ok(message) if matters(&message) => Weight::Useful,
            _ => return,
        };
        let is_known = |(_, kept): &(Weight, Kept)| kept.path == path && *kept.bytes == *bytes;
        if call.kept.iter().any(is_known) {
            return;
        }
        if bytes.len() > CALL_BYTES_KEPT || self.bytes + bytes.len() > BYTES_KEPT {
            self.left_out += 1;
            return;
        }
        while call.kept.len() >= CALL_MESSAGES_KEPT || call.bytes + bytes.len() > CALL_BYTES_KEPT {
            let Some(oldest) = call.kept.iter().position(|(weight, _)| *weight == Weight::Useful) else {
                self.left_out += 1;
                return;
            };
            let (_, gone) = call.kept.remove(oldest);
            call.bytes -= gone.bytes.len();
            self.bytes -= gone.bytes.len();
        }
        call.bytes += bytes.len();
        self.bytes += bytes.len();
        call.kept.push((weight, Kept { at, path, transport, bytes: bytes.into() }));
        call.changed = true;
        self.watched.insert(slot);
    }

    /// What is another than when this was asked before. `goes_on` says of the call in a slot whether it does;
    /// of one that does not, its end is told once.
    pub fn changes(&mut self, goes_on: impl Fn(u32) -> Option<Goes>) -> Vec<Change> {
        let mut changes: Vec<Change> = self.gone.drain(..).map(|ordinal| (ordinal, None)).collect();
        for slot in std::mem::take(&mut self.watched) {
            let Some(call) = self.calls.get_mut(&slot) else { continue };
            let now = goes_on(slot);
            if now != Some(Goes::On) {
                // Media may begin or cease to dispute it without any message.
                self.watched.insert(slot);
            }
            let changed = std::mem::take(&mut call.changed);
            let before = std::mem::replace(&mut call.told, now);
            match now {
                Some(goes) if changed || before != now => {
                    changes.push((call.ordinal, Some(call.as_it(goes))));
                }
                None if before.is_some() => changes.push((call.ordinal, None)),
                _ => {}
            }
        }
        changes
    }

    /// The call in `slot` has ended.
    pub fn forget(&mut self, slot: u32) {
        self.take(slot);
    }

    /// Takes the messages of a call, oldest first.
    pub fn take(&mut self, slot: u32) -> Vec<Kept> {
        let Some(call) = self.calls.remove(&slot) else { return Vec::new() };
        self.bytes -= call.bytes;
        self.watched.remove(&slot);
        self.gone.extend(call.told.map(|_| call.ordinal));
        call.kept.into_iter().map(|(_, kept)| kept).collect()
    }

    /// The capture clock was set by `nanos`: what comes is stamped by the new time.
    pub fn clock_set(&mut self, nanos: i64) {
        for (slot, call) in &mut self.calls {
            call.kept.iter_mut().for_each(|(_, kept)| kept.at = kept.at.shifted(nanos));
            call.changed = true;
            self.watched.insert(*slot);
        }
    }

    /// Bytes of all messages.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Messages for which there was no room.
    pub fn left_out(&self) -> u64 {
        self.left_out
    }
}

impl Transcript {
    /// What makes a call that `goes` on.
    fn as_it(&self, goes: Goes) -> Vec<Kept> {
        let wanted = |kept: &&Kept| goes == Goes::On || !kept.hangs_up();
        self.kept.iter().map(|(_, kept)| kept).filter(wanted).cloned().collect()
    }
}

impl Kept {
    /// Whether it is a BYE, or answers one.
    pub fn hangs_up(&self) -> bool {
        Message::parse(&self.bytes).is_ok_and(|message| method_of(&message) == Some(Method::Bye))
    }
}

fn method_of<'a>(message: &Message<'a>) -> Option<Method<'a>> {
    match message.start() {
        StartLine::Request { method, .. } => Some(*method),
        StartLine::Response { .. } => message.cseq().map(|(_, method)| method),
    }
}

fn is_answer(message: &Message<'_>) -> bool {
    matches!(message.start(), StartLine::Response { status: 200..=299, .. })
        && method_of(message) == Some(Method::Invite)
}

/// Whether a call is another after this message: it begins, answers, ends or describes something.
fn matters(message: &Message<'_>) -> bool {
    let described = || message.sdp().is_some();
    match (message.start(), method_of(message)) {
        (StartLine::Request { .. }, Some(Method::Invite | Method::Bye | Method::Cancel)) => true,
        (StartLine::Response { status: 200.., .. }, Some(Method::Invite)) => true,
        // One that is accepted changes nothing.
        (StartLine::Response { status: 300.., .. }, Some(Method::Bye)) => true,
        (_, Some(Method::Invite | Method::Ack | Method::Prack | Method::Update)) => described(),
        _ => false,
    }
}

/// Messages kept of a call.
pub const CALL_MESSAGES_KEPT: usize = 16;
/// Bytes kept of a call's messages.
pub const CALL_BYTES_KEPT: usize = 32 << 10;
/// Bytes kept of all calls: of some 16,000 with four messages each.
pub const BYTES_KEPT: usize = 64 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::endpoint::{Endpoint, Ip};
    use crate::base::net::Net;

    fn path(port: u16) -> Path {
        let at = |last| Endpoint::new(Ip::v4([192, 0, 2, last]), port);
        Path { net: Net::PLAIN, src: at(1), dst: at(2) }
    }

    fn request(method: &str, cseq: u32, body: &str) -> String {
        let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
        format!(
            "{method} sip:b@example.org SIP/2.0\r\nCall-ID: a\r\nFrom: <sip:a@example.org>;tag=1\r\nTo: <sip:b@example.org>\r\nCSeq: {cseq} {method}\r\n{kind}Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    }

    fn response(status: u16, cseq: &str, body: &str) -> String {
        request("INVITE", 1, body)
            .replacen("INVITE sip:b@example.org SIP/2.0", &format!("SIP/2.0 {status} So"), 1)
            .replacen("CSeq: 1 INVITE", &format!("CSeq: {cseq}"), 1)
    }

    fn note(kept: &mut Transcripts, port: u16, message: &str) {
        kept.note(3, Stamp::from_unix_nanos(5), path(port), Transport::Udp, message.as_bytes());
    }

    #[test]
    fn what_makes_the_call_is_kept_and_the_rest_is_not() {
        let mut kept = Transcripts::default();
        note(&mut kept, 1, &request("INVITE", 1, "v=0"));
        assert_eq!(kept.bytes(), 0, "of no call that has begun");
        kept.begin(3, 8);
        let wanted = [
            request("INVITE", 1, "v=0"),
            response(183, "1 INVITE", "v=0"),
            response(200, "1 INVITE", "v=0"),
            request("ACK", 1, "v=0"),
            request("BYE", 2, ""),
            response(481, "2 BYE", ""),
        ];
        for message in &wanted {
            note(&mut kept, 1, message);
            note(&mut kept, 1, message);
        }
        for message in [
            response(180, "1 INVITE", ""),
            request("ACK", 1, ""),
            request("INFO", 3, "v=0"),
            request("OPTIONS", 3, "v=0"),
            response(200, "2 BYE", ""),
            "no SIP".into(),
        ] {
            note(&mut kept, 1, &message);
        }
        note(&mut kept, 9, &wanted[0]);
        kept.clock_set(-2);
        let taken = kept.take(3);
        let said: Vec<_> = taken.iter().map(|kept| String::from_utf8_lossy(&kept.bytes)).collect();
        assert_eq!(said[..6], wanted);
        assert_eq!((said.len(), taken[6].path), (7, path(9)), "the same at another hop is another");
        assert_eq!(taken[0].at, Stamp::from_unix_nanos(3));
        assert_eq!(taken.iter().filter(|kept| kept.hangs_up()).count(), 2);
        assert_eq!((kept.bytes(), kept.take(3).len()), (0, 0));
    }

    #[test]
    fn the_first_message_and_answer_outlive_many_others() {
        let mut kept = Transcripts::default();
        kept.begin(3, 0);
        note(&mut kept, 1, &request("INVITE", 1, "v=0"));
        note(&mut kept, 1, &response(200, "1 INVITE", "v=0"));
        for cseq in 2..100 {
            note(&mut kept, 1, &request("INVITE", cseq, "v=0"));
        }
        note(&mut kept, 1, &request("INVITE", 200, &"v".repeat(CALL_BYTES_KEPT)));
        assert_eq!(kept.left_out(), 1, "larger than a call may be");
        let taken = kept.take(3);
        assert_eq!(taken.len(), CALL_MESSAGES_KEPT);
        let cseq = |kept: &Kept| Message::parse(&kept.bytes).unwrap().cseq().unwrap().0;
        assert_eq!(taken.iter().map(cseq).take(3).collect::<Vec<_>>(), [1, 1, 86]);
        assert_eq!(taken.last().map(cseq), Some(99));
    }

    #[test]
    fn what_has_changed_is_told_once() {
        let mut kept = Transcripts::default();
        let on = |_| Some(Goes::On);
        let count = |changes: Vec<Change>| {
            changes.into_iter().map(|(call, kept)| (call, kept.map(|kept| kept.len()))).collect::<Vec<_>>()
        };
        kept.begin(3, 7);
        assert_eq!(count(kept.changes(on)), [], "nothing is known of it");
        note(&mut kept, 1, &request("INVITE", 1, "v=0"));
        assert_eq!(count(kept.changes(on)), [(7, Some(1))]);
        note(&mut kept, 1, &request("INVITE", 1, "v=0"));
        note(&mut kept, 1, &request("OPTIONS", 9, ""));
        assert_eq!(count(kept.changes(on)), [], "nothing that matters");
        note(&mut kept, 1, &request("BYE", 2, ""));
        assert_eq!(count(kept.changes(|_| None)), [(7, None)], "it is over");
        assert_eq!(count(kept.changes(|_| None)), []);
        assert_eq!(count(kept.changes(|_| Some(Goes::Disputed))), [(7, Some(1))], "without its BYE");
        assert_eq!(count(kept.changes(|_| Some(Goes::Disputed))), []);
        assert_eq!(count(kept.changes(|_| None)), [(7, None)], "silent since");
        note(&mut kept, 1, &response(500, "2 BYE", ""));
        assert_eq!(count(kept.changes(on)), [(7, Some(3))], "the BYE was refused");
        kept.clock_set(5);
        assert_eq!(count(kept.changes(on)), [(7, Some(3))], "its times are others");
        kept.begin(3, 8);
        note(&mut kept, 1, &request("INVITE", 1, "v=0"));
        assert_eq!(count(kept.changes(on)), [(7, None), (8, Some(1))], "another call in its place");
        kept.begin(4, 9);
        let invite = request("INVITE", 1, "v=0");
        kept.note(4, Stamp::ZERO, path(1), Transport::Udp, invite.as_bytes());
        kept.forget(4);
        assert_eq!(count(kept.changes(on)), [], "nobody was told that it began");
    }

    #[test]
    fn all_calls_together_have_a_ceiling() {
        let mut kept = Transcripts::default();
        let long = request("INVITE", 1, &"v".repeat(30_000));
        for slot in 0..3_000 {
            kept.begin(slot, 0);
            kept.note(slot, Stamp::ZERO, path(1), Transport::Udp, long.as_bytes());
        }
        assert!(kept.bytes() <= BYTES_KEPT && kept.left_out() > 0);
        assert!(kept.take(2_999).is_empty());
        for slot in 0..3_000 {
            kept.forget(slot);
        }
        assert_eq!(kept.bytes(), 0);
    }
}
