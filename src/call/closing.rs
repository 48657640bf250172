//! How a call ends, and all that signalling can say of it then.

use serde::{Deserialize, Serialize};

use crate::base::time::Stamp;
use crate::call::session::Rung;

/// Why a call is closed now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Idle {
    /// The capture ended first.
    CaptureEnd,
    /// Another process goes on with it.
    Handover,
    /// Media stopped long ago and nothing was signalled.
    MediaEnd,
    /// Signalling ended it and the line has been quiet since.
    Over,
    /// Never answered, and there was no room for another call.
    TableFull,
    /// No answer and no more messages.
    Timeout,
}

/// What ended a call.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum EndedBy {
    /// BYE.
    Bye,
    /// There was no room: the oldest call without an answer gave way to a new one.
    CallTableFull,
    /// CANCEL.
    Cancel,
    /// The capture ended first.
    CaptureEnd,
    /// A final failure response.
    Failure,
    /// The recorder was started anew: another recording is the next part of the call.
    Handover,
    /// Media stopped and nothing was signalled.
    MediaEnd,
    /// No answer, no more messages.
    Timeout,
}

/// A closed call.
#[derive(Clone, Debug)]
pub struct Closed {
    /// Call-IDs; none where there was no signalling.
    pub call_ids: Vec<String>,
    /// URI of From in the first message.
    pub from: String,
    /// URI of To in the first message.
    pub to: String,
    /// User part of `from`.
    pub caller: String,
    /// User part of `to`.
    pub callee: String,
    /// First message or packet.
    pub start: Stamp,
    /// Last message or packet.
    pub end: Stamp,
    /// First 2xx to an INVITE.
    pub answered: Option<Stamp>,
    /// Last final status of the first INVITE.
    pub status: Option<u16>,
    /// What ended it.
    pub ended_by: EndedBy,
    /// No signalling at all.
    pub orphan: bool,
    /// The first INVITE was not seen.
    pub mid_call: bool,
    /// When either side had put the other on hold.
    pub holds: Vec<(Stamp, Stamp)>,
    /// When signalling said it was over, where media went on for longer.
    pub media_after: Option<Stamp>,
    /// SIP messages, oldest first.
    pub ladder: Vec<Rung>,
    /// SIP messages that did not fit in the ladder.
    pub ladder_more: u64,
    /// Session descriptions that could not be read.
    pub sdp_unreadable: u32,
}
