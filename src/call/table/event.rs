//! What the call table takes in, and what it says.

use std::sync::Arc;

use crate::base::counters::Discard;
use crate::base::endpoint::Endpoint;
use crate::base::limits::{CALLS_MAX, FLOWS_MAX, ORPHANS_MAX, UNANSWERED_MAX, UNANSWERED_PER_SOURCE_MAX};
use crate::base::net::{Path, Tunnel};
use crate::base::party::Party;
use crate::base::seed::HashSeed;
use crate::base::time::Stamp;
use crate::call::closing::Closed;
use crate::call::flow::Held;
use crate::call::media_map::{Formats, Kind, Security};

/// What the table is told to do.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Record RTP that no signalling explains.
    pub orphans: bool,
    /// All requests are told as [`Event::Signal`]: any may carry digits.
    pub signals: bool,
    /// Random where packets come from a wire; the same for the same output is not needed.
    pub seed: HashSeed,
    /// Ceilings.
    pub limits: Limits,
}

/// How much the table holds at once.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Calls.
    pub calls: usize,
    /// Calls without an answer and without media.
    pub unanswered: usize,
    /// The same, of one source address.
    pub unanswered_per_source: usize,
    /// Calls without signalling.
    pub orphans: usize,
    /// Flows of media.
    pub flows: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            calls: CALLS_MAX,
            unanswered: UNANSWERED_MAX,
            unanswered_per_source: UNANSWERED_PER_SOURCE_MAX,
            orphans: ORPHANS_MAX,
            flows: FLOWS_MAX,
        }
    }
}

/// How signalling came.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Transport {
    /// From a probe or proxy, in HEP.
    Hep,
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// WebSocket over TCP (RFC 7118).
    WebSocket,
}

/// How a call begins: what rules go by.
#[derive(Clone, Debug)]
pub struct Opening {
    /// Sender.
    pub src: Endpoint,
    /// Receiver.
    pub dst: Endpoint,
    /// VLAN tags inside the tunnel, outermost first, two at most.
    pub vlans: Vec<u16>,
    /// The tunnel that names the network, where there is one.
    pub tunnel: Option<Tunnel>,
    /// How it came.
    pub transport: Transport,
    /// The message, from start line to end of body; empty for media without signalling, which comes by UDP.
    pub message: Box<[u8]>,
}

impl Opening {
    /// Between whom it came, and what is in it.
    pub(super) fn new(path: Path, transport: Transport, message: &[u8]) -> Self {
        Self {
            src: path.src,
            dst: path.dst,
            vlans: path.net.vlans().collect(),
            tunnel: path.net.tunnel(),
            transport,
            message: message.into(),
        }
    }
}

/// What the shards must know.
#[derive(Debug)]
pub enum Event {
    /// A call began. Comes before anything else about it.
    Opened {
        /// Its place, reused after it closes.
        slot: u32,
        /// Number of the call in this run, from 0. Never reused.
        ordinal: u64,
        /// First message or packet.
        at: Stamp,
        /// Media without signalling.
        orphan: bool,
        /// The message that began it, or between whom its media is.
        first: Box<Opening>,
    },
    /// A stream began, or what is known of it changed.
    Stream {
        /// Its call.
        slot: u32,
        /// Its number in the call, from 0.
        stream: u16,
        /// What is known of it.
        facts: Box<StreamOpened>,
    },
    /// A description was seen that lists these payload types.
    Formats {
        /// The call.
        slot: u32,
        /// Payload types.
        formats: Arc<Formats>,
    },
    /// A request of the call that may ask for something: INFO, or any where [`Config::signals`] says so. Once a
    /// hop that it is seen at.
    Signal {
        /// The call.
        slot: u32,
        /// Capture time.
        at: Stamp,
        /// Who sent it.
        party: Party,
        /// The message, from start line to end of body.
        bytes: Box<[u8]>,
    },
    /// The capture clock was set while the call ran: its own time, in which all other events are, goes
    /// on as before, and frames that come are to be taken for so much earlier.
    ClockSet {
        /// The call.
        slot: u32,
        /// By how many nanoseconds, back where negative.
        nanos: i64,
    },
    /// A call ended. Comes after everything else about it.
    Closed {
        /// Its place.
        slot: u32,
        /// How many calls ended before it: the order of receipts, whoever finishes first.
        order: u64,
        /// All that signalling tells.
        closed: Box<Closed>,
    },
}

/// What is known of a stream when it begins.
#[derive(Clone, Debug)]
pub struct StreamOpened {
    /// Sender.
    pub src: Endpoint,
    /// Receiver.
    pub dst: Endpoint,
    /// Synchronisation source.
    pub ssrc: u32,
    /// Whose voice.
    pub party: Party,
    /// 0 from the party itself, higher behind a relay, [`SHADOW_RANK`] never to be heard.
    pub rank: u8,
    /// What is sent.
    pub kind: Kind,
    /// Payload types.
    pub formats: Arc<Formats>,
    /// Protection.
    pub security: Security,
}

/// One RTP packet as the table needs it.
#[derive(Clone, Copy, Debug)]
pub struct MediaPacket {
    /// Capture time.
    pub at: Stamp,
    /// Between whom.
    pub path: Path,
    /// Synchronisation source.
    pub ssrc: u32,
    /// Sequence number.
    pub sequence: u16,
}

/// Where a packet goes.
#[derive(Debug)]
pub enum Verdict {
    /// To a stream of a call.
    Stream {
        /// The call.
        slot: u32,
        /// The stream.
        stream: u16,
    },
    /// To a stream of a call, after the packets that waited.
    Claimed {
        /// The call.
        slot: u32,
        /// The stream.
        stream: u16,
        /// Earlier packets of the flow.
        held: Vec<Held>,
    },
    /// It waits. Counted when it leaves.
    Held,
    /// Nowhere.
    Discard(Discard),
}

/// A call that another process goes on with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Leaving {
    /// Its place.
    pub slot: u32,
    /// As its [`Event::Closed`] says.
    pub order: u64,
    /// Signalling says that it is over, and its media says that it is not.
    pub disputed: bool,
}

impl Event {
    /// Returns the call it is about.
    pub fn slot(&self) -> u32 {
        match self {
            Self::Opened { slot, .. }
            | Self::Stream { slot, .. }
            | Self::Formats { slot, .. }
            | Self::Signal { slot, .. }
            | Self::ClockSet { slot, .. }
            | Self::Closed { slot, .. } => *slot,
        }
    }
}

/// Never heard: the same SSRC again from an address that nobody negotiated.
pub const SHADOW_RANK: u8 = 9;
