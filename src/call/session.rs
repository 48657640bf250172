//! The signalling of one call, as seen from aside: one Call-ID (RFC 3261 section 12 and 17).
//!
//! ```text
//!            2xx to INVITE                 BYE in every answered dialog
//! Inviting ────────────────► Answered ───────────────────────────────────► Over
//!    │  ▲                        ▲  BYE refused; a later INVITE of a dialog   │▲
//!    │  │                        └─────────────── is accepted ───────────────┘│
//!    │  └── 1xx, 2xx from another branch ── Over                              │
//!    └──────────────────── final failure, not 401/407/3xx-retry ──────────────┘
//! ```
//!
//! # One Call-ID, several calls
//! A message belongs to the call of its Call-ID in its network, and where there are several, to the
//! one whose branches and tags it knows best ([`Session::kinship`]). An INVITE outside a dialog begins
//! a call of its own ([`Session::is_another`]) although its Call-ID is known:
//!
//! - in a network of the call: where the call was answered and is over, and no Via of the INVITE is known;
//! - in another network: where no Via is known, and either the From tag is not known, or it comes
//!   between the same two addresses as an INVITE of the call and is no later one (CSeq). So relays that
//!   keep Call-ID and From tag, and switches that mirror a packet twice, make one call, and two tenants
//!   with one Call-ID make two.
//!
//! Anything else in another network belongs to the call where a branch or a tag of it is known.
//!
//! An observer sees each message once a hop, in any order, and some not at all. So nothing here
//! waits for a message: each one only adds what it says.

use crate::base::endpoint::Endpoint;
use crate::base::limits::{CALL_DIALOGS_MAX, CALL_MESSAGES_MAX, HEADER_BYTES_MAX, TAG_BYTES_MAX};
use crate::base::net::Path;
use crate::base::party::Party;
use crate::base::time::Stamp;
use crate::wire::sip::{Message, Method, StartLine};

/// What ended a call, as far as signalling tells.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ending {
    /// BYE.
    Bye,
    /// CANCEL.
    Cancel,
    /// A final failure response.
    Failure,
}

/// One message of a call.
#[derive(Clone, Debug)]
pub struct Rung {
    /// Capture time.
    pub at: Stamp,
    /// Sender.
    pub src: Endpoint,
    /// Receiver.
    pub dst: Endpoint,
    /// Method, or status code and reason phrase.
    pub message: String,
    /// CSeq, as `101 INVITE`.
    pub cseq: String,
    /// Whether it carried a session description.
    pub sdp: bool,
}

/// Which exchange of session descriptions one belongs to: hops of the same message share it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Exchange {
    cseq: u32,
    party: Party,
    tag: Box<[u8]>,
}

/// A dialog that a 2xx made.
#[derive(Clone, Debug)]
struct Dialog {
    /// Its To tag; empty where the answer has none.
    tag: Box<[u8]>,
    /// The BYE that ended it.
    ended: Option<Request>,
}

/// A request in a call: its CSeq, and whose it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Request {
    cseq: u32,
    by: Party,
}

/// The signalling of one call.
#[derive(Clone, Debug)]
pub struct Session {
    call_id: Box<[u8]>,
    from: Box<[u8]>,
    to: Box<[u8]>,
    /// From tags of INVITEs outside a dialog: one, or one a hop where a relay writes its own.
    caller_tags: Vec<Box<[u8]>>,
    /// Topmost branches of its INVITEs, the latest ones.
    branches: Vec<Box<[u8]>>,
    /// Between whom INVITEs outside a dialog went, and their highest CSeq.
    pairs: Vec<(Endpoint, Endpoint)>,
    invite_cseq: u32,
    first_at: Stamp,
    last_at: Stamp,
    answered: Option<Stamp>,
    status: Option<u16>,
    cancelled: bool,
    dialogs: Vec<Dialog>,
    /// A BYE where no answer was seen.
    loose_bye: Option<Request>,
    byes_refused: u32,
    /// An INVITE of a dialog since the call is over.
    revival: Option<Request>,
    /// It has more dialogs than are kept.
    full: bool,
    over: Option<Stamp>,
    ladder: Vec<Rung>,
    ladder_more: u64,
}

impl Session {
    /// Starts with the first message seen.
    pub fn new(at: Stamp, message: &Message<'_>) -> Self {
        let owned = |bytes: Option<&[u8]>| bounded(bytes.unwrap_or_default(), HEADER_BYTES_MAX).into();
        let (from, to) = (message.from(), message.to());
        let tag = from.as_ref().and_then(|party| party.tag).unwrap_or_default();
        let mut session = Self {
            call_id: owned(message.call_id()),
            from: owned(from.as_ref().map(|party| party.uri)),
            to: owned(to.as_ref().map(|party| party.uri)),
            caller_tags: vec![bounded(tag, TAG_BYTES_MAX).into()],
            branches: Vec::new(),
            pairs: Vec::new(),
            invite_cseq: 0,
            first_at: at,
            last_at: at,
            answered: None,
            status: None,
            cancelled: false,
            dialogs: Vec::new(),
            loose_bye: None,
            byes_refused: 0,
            revival: None,
            full: false,
            over: None,
            ladder: Vec::new(),
            ladder_more: 0,
        };
        session.ladder.reserve(4);
        session
    }

    /// Takes in one message of this call.
    pub fn handle(&mut self, at: Stamp, path: Path, message: &Message<'_>, sdp: bool) {
        self.last_at = self.last_at.max(at);
        self.note(at, path.src, path.dst, message, sdp);
        match message.start() {
            StartLine::Request { method, .. } => self.request(at, path, *method, message),
            StartLine::Response { status, .. } => self.response(at, *status, message),
        }
    }

    fn request(&mut self, at: Stamp, path: Path, method: Method<'_>, message: &Message<'_>) {
        match method {
            // Another try after a challenge or a redirection.
            Method::Invite => self.invite(path, message),
            Method::Cancel => self.cancelled = true,
            Method::Bye => self.bye(at, message),
            _ => {}
        }
    }

    fn invite(&mut self, path: Path, message: &Message<'_>) {
        let known = self.knows_branch(message);
        if self.answered.is_none() {
            self.over = None;
        } else if self.over.is_some() && !begins(message) && !known {
            self.revival = Some(self.request_of(message));
        }
        if let Some(branch) = message.via_branch() {
            let branch = bounded(branch, TAG_BYTES_MAX);
            if !self.branches.iter().any(|known| **known == *branch) {
                if self.branches.len() >= BRANCHES_MAX {
                    self.branches.remove(0);
                }
                self.branches.push(branch.into());
            }
        }
        if !begins(message) {
            return;
        }
        let tag = bounded(message.from().and_then(|from| from.tag).unwrap_or_default(), TAG_BYTES_MAX);
        if self.caller_tags.len() < HOPS_MAX && !self.is_caller(tag) {
            self.caller_tags.push(tag.into());
        }
        let pair = (path.src, path.dst);
        if self.pairs.len() < HOPS_MAX && !self.pairs.contains(&pair) {
            self.pairs.push(pair);
        }
        self.invite_cseq = self.invite_cseq.max(message.cseq().map_or(0, |(number, _)| number));
    }

    fn bye(&mut self, at: Stamp, message: &Message<'_>) {
        let request = self.request_of(message);
        if self.dialogs.is_empty() {
            self.loose_bye.get_or_insert(request);
        }
        for dialog in self.dialogs.iter_mut().filter(|dialog| dialog.is_of(message)) {
            dialog.ended.get_or_insert(request);
        }
        if self.dialogs.iter().all(|dialog| dialog.ended.is_some()) {
            self.over.get_or_insert(at);
        }
    }

    /// A BYE that its receiver did not accept ends nothing. One that timed out does, and so does one for
    /// a dialog that the receiver knows no more (RFC 3261 section 15.1.1).
    fn bye_answered(&mut self, status: u16, message: &Message<'_>) {
        let refused = Some(self.request_of(message));
        let known = self.dialogs.iter().any(|dialog| dialog.ended == refused);
        if !(known || self.loose_bye == refused) || status < 300 || status == 408 || (known && status == 481)
        {
            return;
        }
        for dialog in self.dialogs.iter_mut().filter(|dialog| dialog.ended == refused) {
            dialog.ended = None;
        }
        self.loose_bye = self.loose_bye.filter(|loose| Some(*loose) != refused);
        self.over = None;
        self.byes_refused += 1;
    }

    fn request_of(&self, message: &Message<'_>) -> Request {
        let sender = self.sender(message);
        let by = match message.start() {
            StartLine::Request { .. } => sender,
            StartLine::Response { .. } => sender.other(),
        };
        Request { cseq: message.cseq().map_or(0, |(number, _)| number), by }
    }

    fn is_caller(&self, tag: &[u8]) -> bool {
        let tag = bounded(tag, TAG_BYTES_MAX);
        self.caller_tags.iter().any(|known| **known == *tag)
    }

    fn knows_branch(&self, message: &Message<'_>) -> bool {
        message.via_branches().any(|branch| {
            let branch = bounded(branch, TAG_BYTES_MAX);
            self.branches.iter().any(|known| **known == *branch)
        })
    }

    /// How well a message with this Call-ID fits: 0 for not at all, more for a tag of a party, of a
    /// dialog, and for a branch.
    pub fn kinship(&self, message: &Message<'_>) -> u8 {
        let tags = tags(message);
        let branch = self.knows_branch(message);
        let dialog = self.dialogs.iter().any(|dialog| !dialog.tag.is_empty() && dialog.is_of(message));
        let party = tags.into_iter().any(|tag| !tag.is_empty() && self.is_caller(tag));
        u8::from(branch) * 4 + u8::from(dialog) * 2 + u8::from(party)
    }

    /// Whether an INVITE with this Call-ID begins another call. `near`: it is in a network of this one.
    pub fn is_another(&self, path: Path, message: &Message<'_>, near: bool) -> bool {
        if !begins(message) || self.knows_branch(message) {
            return false;
        }
        if near {
            return self.answered.is_some() && self.over.is_some();
        }
        let known = message.from().and_then(|from| from.tag).is_some_and(|tag| self.is_caller(tag));
        let later = message.cseq().is_some_and(|(number, _)| number > self.invite_cseq);
        !known || (self.pairs.contains(&(path.src, path.dst)) && !later)
    }

    fn response(&mut self, at: Stamp, status: u16, message: &Message<'_>) {
        match message.cseq() {
            Some((_, Method::Invite)) => {}
            Some((_, Method::Bye)) => return self.bye_answered(status, message),
            _ => return,
        }
        if status >= 200 && self.answered.is_none() {
            self.status = Some(status);
        }
        match status {
            200..=299 => self.accepted(at, message),
            // A challenge is followed by another INVITE; a provisional response by anything.
            100..=199 | 401 | 407 => {}
            _ if self.answered.is_none() => {
                self.over.get_or_insert(at);
            }
            _ => {}
        }
    }

    fn accepted(&mut self, at: Stamp, message: &Message<'_>) {
        self.answered.get_or_insert(at);
        if self.revival.is_some_and(|revival| revival == self.request_of(message)) {
            self.revival = None;
            self.dialogs
                .iter_mut()
                .filter(|dialog| dialog.is_of(message))
                .for_each(|dialog| dialog.ended = None);
            self.loose_bye = None;
            self.over = None;
        }
        let tag = bounded(message.to().and_then(|to| to.tag).unwrap_or_default(), TAG_BYTES_MAX);
        if self.dialogs.iter().any(|known| *known.tag == *tag) {
            return;
        }
        if self.dialogs.len() < CALL_DIALOGS_MAX {
            self.dialogs.push(Dialog { tag: tag.into(), ended: None });
            self.over = None;
        } else {
            self.full = true;
        }
    }

    fn note(&mut self, at: Stamp, src: Endpoint, dst: Endpoint, message: &Message<'_>, sdp: bool) {
        if self.ladder.len() >= CALL_MESSAGES_MAX {
            self.ladder_more += 1;
            return;
        }
        let text =
            |bytes: &[u8]| String::from_utf8_lossy(&bytes[..bytes.len().min(LADDER_TEXT_MAX)]).into_owned();
        let said = match message.start() {
            StartLine::Request { method, .. } => text(method.as_bytes()),
            StartLine::Response { status, reason } => format!("{status} {}", text(reason)),
        };
        let cseq = message
            .cseq()
            .map(|(number, method)| format!("{number} {}", text(method.as_bytes())))
            .unwrap_or_default();
        self.ladder.push(Rung { at, src, dst, message: said, cseq, sdp });
    }

    /// Returns which party sent `message`: the caller's tag is that of From outside a dialog.
    pub fn sender(&self, message: &Message<'_>) -> Party {
        let from_caller = self.is_caller(message.from().and_then(|from| from.tag).unwrap_or_default());
        match (message.start(), from_caller) {
            (StartLine::Request { .. }, true) | (StartLine::Response { .. }, false) => Party::Caller,
            (StartLine::Request { .. }, false) | (StartLine::Response { .. }, true) => Party::Callee,
        }
    }

    /// Returns the exchange that a session description in `message` belongs to.
    pub fn exchange(&self, message: &Message<'_>) -> Exchange {
        let party = self.sender(message);
        // Branches of a fork answer the same CSeq with a tag each; requests have the tag of the dialog.
        let tag = bounded(message.to().and_then(|to| to.tag).unwrap_or_default(), TAG_BYTES_MAX).into();
        Exchange { cseq: message.cseq().map_or(0, |(number, _)| number), party, tag }
    }

    /// Call-ID.
    pub fn call_id(&self) -> &[u8] {
        &self.call_id
    }

    /// URI of From in the first message.
    pub fn from(&self) -> &[u8] {
        &self.from
    }

    /// URI of To in the first message.
    pub fn to(&self) -> &[u8] {
        &self.to
    }

    /// It is known to live at this time.
    pub fn lives(&mut self, at: Stamp) {
        self.last_at = self.last_at.max(at);
    }

    /// First message.
    pub fn first_at(&self) -> Stamp {
        self.first_at
    }

    /// Latest message.
    pub fn last_at(&self) -> Stamp {
        self.last_at
    }

    /// First 2xx to an INVITE.
    pub fn answered(&self) -> Option<Stamp> {
        self.answered
    }

    /// Last final status before the answer, or the answer's.
    pub fn status(&self) -> Option<u16> {
        self.status
    }

    /// When signalling ended the call, if it has.
    pub fn over(&self) -> Option<Stamp> {
        self.over
    }

    /// What ended the call, as far as signalling tells.
    pub fn ending(&self) -> Option<Ending> {
        let bye = self.loose_bye.is_some() || self.dialogs.iter().any(|dialog| dialog.ended.is_some());
        match (bye, self.answered, self.over) {
            (true, ..) => Some(Ending::Bye),
            (false, None, _) if self.cancelled => Some(Ending::Cancel),
            (false, None, Some(_)) => Some(Ending::Failure),
            _ => None,
        }
    }

    /// BYEs that were refused.
    pub fn byes_refused(&self) -> u32 {
        self.byes_refused
    }

    /// Dialogs that answers have made.
    pub fn dialogs(&self) -> usize {
        self.dialogs.len()
    }

    /// Whether it has more dialogs than are kept.
    pub fn is_full(&self) -> bool {
        self.full
    }

    /// Hands over the ladder, and how many messages did not fit in it.
    pub fn take_ladder(&mut self) -> (Vec<Rung>, u64) {
        (std::mem::take(&mut self.ladder), self.ladder_more)
    }
}

impl Dialog {
    /// Whether a message has its tag. A side without one (RFC 2543) has an empty one.
    fn is_of(&self, message: &Message<'_>) -> bool {
        tags(message).into_iter().any(|tag| *bounded(tag, TAG_BYTES_MAX) == *self.tag)
    }
}

/// Whether a message is an INVITE outside a dialog.
pub fn begins(message: &Message<'_>) -> bool {
    matches!(message.start(), StartLine::Request { method: Method::Invite, .. })
        && message.to().is_none_or(|to| to.tag.is_none())
}

/// As much of a Call-ID as tells it from others.
pub fn call_id_key(call_id: &[u8]) -> &[u8] {
    bounded(call_id, HEADER_BYTES_MAX)
}

/// Tags of To and From; empty where there is none.
fn tags<'a>(message: &Message<'a>) -> [&'a [u8]; 2] {
    [message.to(), message.from()].map(|party| party.and_then(|party| party.tag).unwrap_or_default())
}

fn bounded(bytes: &[u8], limit: usize) -> &[u8] {
    &bytes[..bytes.len().min(limit)]
}

/// Branches remembered: an INVITE and its retries, at some hops.
const BRANCHES_MAX: usize = 16;
/// Longest method or reason phrase kept in the ladder.
const LADDER_TEXT_MAX: usize = 64;
/// Relays that may each write their own From tag.
const HOPS_MAX: usize = 16;
