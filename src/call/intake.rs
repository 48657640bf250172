//! Frames in, tasks out: which recording each frame belongs to.
//!
//! Owns all that is one for the whole capture: fragments, TCP, the call table. Decides and copies
//! nothing that it need not: media leaves as a place in its block.
//!
//! Accounting: every frame handed in is, in the end, in exactly one place: in tasks whose recorder
//! counts it, or in [`Intake::take_books`] as discarded.

use std::sync::Arc;

use crate::base::counters::{Counters, Discard};
use crate::base::frame::{FrameBlock, OwnedFrame};
use crate::base::limits::HEP_DELAY_MAX;
use crate::base::net::Path;
use crate::base::policy::Conditions;
use crate::base::time::Stamp;
use crate::call::fragments::Reassembler;
use crate::call::media_map::Security;
use crate::call::stream::RtpHead;
use crate::call::table::{self, Event, Held, Leaving, MediaPacket, Table, Transport, Verdict};
use crate::call::tcp::{self, FrameRef, TcpMessage};
use crate::call::transcript::{Change, Kept, Transcripts};
use crate::wire::demux::{self, Protocol};
use crate::wire::hep::{Hep, looks_like_hep};
use crate::wire::link::{self, Content, Fragment, Tcp, Udp};
use crate::wire::rtp::RtpPacket;
use crate::wire::sip::{Message, SipError};
use crate::wire::zrtp;

/// What a shard is to do.
#[derive(Debug)]
pub enum Task {
    /// An RTP packet whose frame is in the block at hand.
    Media(MediaTask),
    /// A frame in the block at hand that belongs to a call beside its media.
    Aside(AsideTask),
    /// Nothing any more: it was taken.
    Done,
    /// Anything that happens less than once a packet.
    Rare(Box<RareTask>),
}

/// An RTP packet whose frame is in the block at hand.
#[derive(Clone, Copy, Debug)]
pub struct MediaTask {
    /// Its call.
    pub slot: u32,
    /// Its stream.
    pub stream: u16,
    /// Whether the snap length cut it.
    pub cut: bool,
    /// Its frame's place in the block.
    pub frame: u32,
    /// Its header.
    pub head: RtpHead,
    /// Where in the frame the RTP payload begins.
    pub offset: u32,
    /// Length of the RTP payload.
    pub len: u32,
}

/// A frame in the block at hand that belongs to a call beside its media.
#[derive(Clone, Copy, Debug)]
pub struct AsideTask {
    /// Its call.
    pub slot: u32,
    /// Its frame's place in the block.
    pub frame: u32,
    /// What it is.
    pub kind: AsideKind,
}

/// What a frame beside the media is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AsideKind {
    /// STUN, DTLS or ZRTP.
    Beside,
    /// Media that a TURN server relays.
    Relayed,
    /// RTCP; the payload is at this place of the frame.
    Rtcp {
        /// Where in the frame the UDP payload begins.
        offset: u32,
        /// Length of the payload.
        len: u32,
    },
    /// SIP.
    Signalling,
}

/// Anything that happens less than once a packet.
#[derive(Debug)]
pub enum RareTask {
    /// A table event.
    Event(Event),
    /// An RTP packet with frames of its own: it waited, or it was fragmented.
    Media {
        /// Its call.
        slot: u32,
        /// Its stream.
        stream: u16,
        /// The packet.
        held: Held,
    },
    /// What is beside the media in frames of its own: it was fragmented. Places in a frame say nothing then.
    Aside {
        /// Its call.
        slot: u32,
        /// What it is, other than SIP.
        kind: AsideKind,
        /// The datagram.
        held: Held,
    },
    /// SIP in frames of its own: fragmented, or over TCP.
    Signalling {
        /// Its call.
        slot: u32,
        /// Frames, and whether each is to be counted here.
        frames: Vec<FrameRef>,
    },
    /// Frames of the call that the recorder had no room for.
    Lost {
        /// Its call.
        slot: u32,
        /// How many.
        frames: u64,
        /// The first.
        from: Stamp,
        /// The last.
        to: Stamp,
    },
}

impl Task {
    /// Takes the task out of its place.
    pub fn take(&mut self) -> Self {
        std::mem::replace(self, Self::Done)
    }

    /// Frames that whoever takes it counts.
    pub fn frames(&self) -> u64 {
        match self {
            Self::Media(_) | Self::Aside(_) => 1,
            Self::Done => 0,
            Self::Rare(task) => match task.as_ref() {
                RareTask::Event(_) => 0,
                RareTask::Media { held, .. } | RareTask::Aside { held, .. } => held.frames.len() as u64,
                RareTask::Signalling { frames, .. } => {
                    frames.iter().filter(|listed| listed.first).count() as u64
                }
                RareTask::Lost { frames, .. } => *frames,
            },
        }
    }

    /// Returns the call it is for.
    pub fn slot(&self) -> u32 {
        match self {
            Self::Media(task) => task.slot,
            Self::Aside(task) => task.slot,
            Self::Done => 0,
            Self::Rare(task) => match task.as_ref() {
                RareTask::Media { slot, .. }
                | RareTask::Aside { slot, .. }
                | RareTask::Signalling { slot, .. }
                | RareTask::Lost { slot, .. } => *slot,
                RareTask::Event(event) => event.slot(),
            },
        }
    }
}

/// All that is one for the whole capture.
#[derive(Debug, Default)]
pub struct Intake {
    table: Table,
    fragments: Reassembler,
    tcp: tcp::Flows,
    books: Counters,
    /// Where another process may go on with calls.
    transcripts: Option<Transcripts>,
}

/// Where a datagram stands: in the block, or in frames of its own.
enum Place<'a> {
    Block { block: &'a FrameBlock, index: u32 },
    Own { frames: Vec<OwnedFrame> },
}

impl Intake {
    /// Makes an empty one.
    pub fn new(config: table::Config) -> Self {
        Self { tcp: tcp::Flows::new(config.seed), table: Table::new(config), ..Self::default() }
    }

    /// Keeps what another process needs to go on with calls.
    pub fn keep_transcripts(&mut self) {
        self.transcripts.get_or_insert_default();
    }

    /// What is kept for another process.
    pub fn transcripts(&self) -> Option<&Transcripts> {
        self.transcripts.as_ref()
    }

    /// What another process would need at `at` that is not as it was when this was asked before.
    pub fn changes(&mut self, at: Stamp) -> Vec<Change> {
        let table = &self.table;
        let changes = |all: &mut Transcripts| all.changes(|slot| table.goes_on(slot, at));
        self.transcripts.as_mut().map(changes).unwrap_or_default()
    }

    /// Calls that are open.
    pub fn live(&self) -> usize {
        self.table.live()
    }

    /// Calls that were opened.
    pub fn opened(&self) -> u64 {
        self.table.opened()
    }

    /// Frames captured so far, and those among them that are in no recording. What is missing from
    /// `recorded` is in the recorders' own books.
    pub fn books(&mut self) -> &Counters {
        for held in [self.table.take_books(), self.fragments.take_books(), self.tcp.take_books()] {
            self.books.settle(&held);
        }
        &self.books
    }

    /// The same, handed over.
    pub fn take_books(&mut self) -> Counters {
        self.books();
        std::mem::take(&mut self.books)
    }

    /// How often each condition was met.
    pub fn conditions(&self) -> Conditions {
        self.table.conditions()
    }

    /// Looks for media without signalling, or no longer.
    pub fn set_orphans(&mut self, orphans: bool) {
        self.table.set_orphans(orphans);
    }

    /// Counts a frame that is not looked at.
    pub fn pass_over(&mut self, reason: Discard) {
        self.books.captured += 1;
        self.books.discard(reason, 1);
    }

    /// Says of a frame that was taken in and left nothing behind why it is in no recording.
    pub fn give_up(&mut self, reason: Discard) {
        self.books.discard(reason, 1);
    }

    /// Counts frames that were lost before they came here.
    pub fn pass_over_many(&mut self, reason: Discard, frames: u64) {
        self.books.captured += frames;
        self.books.discard(reason, frames);
    }

    /// Takes in one frame of `block`.
    pub fn frame(&mut self, block: &FrameBlock, index: u32, take: &mut impl FnMut(Task)) {
        self.books.captured += 1;
        let meta = &block.frames[index as usize];
        let data = block.data(meta);
        let content = link::parse(meta.link, data, meta.wire_len);
        self.content(meta.stamp, &content, Place::Block { block, index }, take);
    }

    /// Takes in what a frame, a datagram put together or a tunnel carries.
    fn content(&mut self, at: Stamp, content: &Content<'_>, place: Place<'_>, take: &mut impl FnMut(Task)) {
        match (content, place) {
            (Content::Udp(udp), place) => self.udp(at, udp, place, take),
            (Content::Tcp(segment), Place::Block { block, index }) => {
                self.segment(at, segment, block, index, take);
            }
            (Content::Fragment(fragment), Place::Block { block, index }) => {
                self.fragment(at, fragment, block, index, take);
            }
            // TCP in fragments does not carry SIP in practice: path MTU discovery sees to that.
            (Content::Tcp(_) | Content::Fragment(_), place @ Place::Own { .. }) => {
                self.books.discard(Discard::Fragment, place.frames());
            }
            (Content::Other(reason), place) => self.books.discard(*reason, place.frames()),
        }
    }

    fn fragment(
        &mut self,
        at: Stamp,
        fragment: &Fragment<'_>,
        block: &FrameBlock,
        index: u32,
        take: &mut impl FnMut(Task),
    ) {
        let frame = OwnedFrame::copy(block, &block.frames[index as usize]);
        let Some(whole) = self.fragments.handle(at, fragment, frame) else { return };
        let content = link::transport(&whole.key, &whole.payload, whole.cut);
        self.content(at, &content, Place::Own { frames: whole.frames }, take);
    }

    fn udp(&mut self, at: Stamp, udp: &Udp<'_>, place: Place<'_>, take: &mut impl FnMut(Task)) {
        // Media of a call may use such a port too, and is then no tunnel.
        if demux::is_tunnel_port(udp.dst.port)
            && let Some(content) = link::tunnelled(udp)
            && self.table.control(udp.path()).is_none()
        {
            return self.content(at, &content, place, take);
        }
        match demux::classify(udp.payload) {
            Protocol::Rtp => self.rtp(at, udp, place, take),
            Protocol::Rtcp => {
                let kind =
                    AsideKind::Rtcp { offset: place.offset(udp.payload), len: udp.payload.len() as u32 };
                self.control(udp, kind, Discard::MediaUnclaimed, place, take);
            }
            // A method may begin with a letter that TURN channels begin with too.
            Protocol::Other | Protocol::TurnChannel if demux::looks_like_sip(udp.payload) => {
                self.sip_datagram(at, udp, Transport::Udp, place, take);
            }
            Protocol::Other | Protocol::TurnChannel if looks_like_hep(udp.payload) => {
                self.hep(at, udp, place, take);
            }
            Protocol::Dtls => {
                self.keyed(udp, Security::Dtls);
                self.control(udp, AsideKind::Beside, Discard::NotTelephony, place, take);
            }
            Protocol::Zrtp => {
                if zrtp::is_confirmation(udp.payload) {
                    self.keyed(udp, Security::Zrtp);
                }
                self.control(udp, AsideKind::Beside, Discard::NotTelephony, place, take);
            }
            Protocol::Stun | Protocol::TurnChannel => {
                let kind =
                    if demux::relays_media(udp.payload) { AsideKind::Relayed } else { AsideKind::Beside };
                self.control(udp, kind, Discard::NotTelephony, place, take);
            }
            Protocol::Other => {
                let tunnel = demux::is_tunnel_port(udp.src.port) || demux::is_tunnel_port(udp.dst.port);
                let reason = if tunnel { Discard::Tunnel } else { Discard::NotTelephony };
                self.books.discard(reason, place.frames());
            }
        }
        self.events(take);
    }

    fn rtp(&mut self, at: Stamp, udp: &Udp<'_>, place: Place<'_>, take: &mut impl FnMut(Task)) {
        let Ok(rtp) = RtpPacket::parse(udp.payload) else {
            let reason = if udp.cut { Discard::Cut } else { Discard::NotTelephony };
            return self.books.discard(reason, place.frames());
        };
        let packet = MediaPacket { at, path: udp.path(), ssrc: rtp.ssrc(), sequence: rtp.sequence() };
        let verdict = self.table.media(&packet, || place.copy(udp));
        self.events(take);
        match verdict {
            Verdict::Stream { slot, stream } => take(place.media(slot, stream, udp, &rtp)),
            Verdict::Claimed { slot, stream, held } => {
                for held in held {
                    take(Task::Rare(Box::new(RareTask::Media { slot, stream, held })));
                }
                take(place.media(slot, stream, udp, &rtp));
            }
            Verdict::Held => {}
            Verdict::Discard(reason) => self.books.discard(reason, place.frames()),
        }
    }

    fn keyed(&mut self, udp: &Udp<'_>, security: Security) {
        self.table.keyed_in_media(udp.path(), security);
    }

    fn control(
        &mut self,
        udp: &Udp<'_>,
        kind: AsideKind,
        unclaimed: Discard,
        place: Place<'_>,
        take: &mut impl FnMut(Task),
    ) {
        match self.table.control(udp.path()) {
            Some(slot) => {
                self.events(take);
                take(place.aside(slot, kind, udp));
            }
            None => self.books.discard(unclaimed, place.frames()),
        }
    }

    fn sip_datagram(
        &mut self,
        at: Stamp,
        udp: &Udp<'_>,
        transport: Transport,
        place: Place<'_>,
        take: &mut impl FnMut(Task),
    ) {
        match self.sip(at, udp.path(), transport, udp.payload) {
            Ok(slot) => {
                self.events(take);
                self.note(slot, at, udp.path(), transport, udp.payload);
                take(place.aside(slot, AsideKind::Signalling, udp));
            }
            Err(reason) => self.books.discard(reason, place.frames()),
        }
    }

    /// SIP that somebody else saw. His clock may be wrong, so it counts only where it agrees with ours.
    fn hep(&mut self, at: Stamp, udp: &Udp<'_>, place: Place<'_>, take: &mut impl FnMut(Task)) {
        match Hep::parse(udp.payload) {
            Some(hep) if hep.is_sip() => {
                let seen = hep.at.filter(|seen| *seen <= at && at.since(*seen) <= HEP_DELAY_MAX);
                let inner = Udp { src: hep.src, dst: hep.dst, payload: hep.payload, ..*udp };
                self.sip_datagram(seen.unwrap_or(at), &inner, Transport::Hep, place, take);
            }
            Some(_) => self.books.discard(Discard::NotTelephony, place.frames()),
            None => {
                let reason = if udp.cut { Discard::Cut } else { Discard::Malformed };
                self.books.discard(reason, place.frames());
            }
        }
    }

    fn sip(&mut self, at: Stamp, path: Path, transport: Transport, bytes: &[u8]) -> Result<u32, Discard> {
        let message = Message::parse(bytes).map_err(|error| match error {
            SipError::Empty => Discard::NotTelephony,
            _ => Discard::SipUnparsable,
        })?;
        self.table.sip(at, path, transport, &message)
    }

    fn segment(
        &mut self,
        at: Stamp,
        segment: &Tcp<'_>,
        block: &FrameBlock,
        index: u32,
        take: &mut impl FnMut(Task),
    ) {
        self.tcp.handle(at, segment, || OwnedFrame::copy(block, &block.frames[index as usize]));
        self.tcp_messages(take);
    }

    fn tcp_messages(&mut self, take: &mut impl FnMut(Task)) {
        while let Some(TcpMessage { at, path, web, bytes, frames, .. }) = self.tcp.poll_message() {
            let transport = if web { Transport::WebSocket } else { Transport::Tcp };
            match self.sip(at, path, transport, &bytes) {
                Ok(slot) => {
                    self.events(take);
                    self.note(slot, at, path, transport, &bytes);
                    take(Task::Rare(Box::new(RareTask::Signalling { slot, frames })));
                }
                Err(reason) => {
                    self.books.discard(reason, frames.iter().filter(|listed| listed.first).count() as u64);
                }
            }
        }
    }

    fn events(&mut self, take: &mut impl FnMut(Task)) {
        while let Some(event) = self.table.poll_event() {
            self.follow(&event);
            take(Task::Rare(Box::new(RareTask::Event(event))));
        }
    }

    /// Keeps transcripts of the calls that are open.
    fn follow(&mut self, event: &Event) {
        let Some(transcripts) = &mut self.transcripts else { return };
        match event {
            Event::Opened { slot, ordinal, orphan: false, .. } => transcripts.begin(*slot, *ordinal),
            Event::Closed { slot, .. } => transcripts.forget(*slot),
            _ => {}
        }
    }

    fn note(&mut self, slot: u32, at: Stamp, path: Path, transport: Transport, bytes: &[u8]) {
        if let Some(transcripts) = &mut self.transcripts {
            transcripts.note(slot, at, path, transport, bytes);
        }
    }

    /// Lets time pass: closes what is over, forgets what waits in vain.
    pub fn handle_timeout(&mut self, now: Stamp, take: &mut impl FnMut(Task)) {
        self.fragments.handle_timeout(now);
        self.tcp.handle_timeout(now);
        self.tcp_messages(take);
        self.table.sweep(now);
        self.events(take);
    }

    /// The capture clock was set by `nanos` before the frame that comes next.
    pub fn clock_set(&mut self, nanos: i64, take: &mut impl FnMut(Task)) {
        self.table.clock_set(nanos);
        if let Some(transcripts) = &mut self.transcripts {
            transcripts.clock_set(nanos);
        }
        self.events(take);
    }

    /// Goes on with a call that another process has left at `at`: `kept` is what it had kept of it, and
    /// whose frames it has counted. Returns the call's place; none where these messages begin no call.
    pub fn resume(&mut self, at: Stamp, kept: &[Kept], take: &mut impl FnMut(Task)) -> Option<u32> {
        let mut begun = None;
        for Kept { at, path, transport, bytes } in kept {
            let Ok(message) = Message::parse(bytes) else { continue };
            let Ok(slot) = self.table.sip(*at, *path, *transport, &message) else { continue };
            while let Some(event) = self.table.poll_event() {
                self.follow(&event);
                match &event {
                    Event::Opened { slot, .. } => begun = begun.or(Some(*slot)),
                    // It was done when it was asked for.
                    Event::Signal { .. } => continue,
                    _ => {}
                }
                take(Task::Rare(Box::new(RareTask::Event(event))));
            }
            self.note(slot, *at, *path, *transport, bytes);
        }
        if let Some(slot) = begun {
            self.table.lives(slot, at);
        }
        begun
    }

    /// Ends everything: another process goes on from `at`. Returns what it needs of each call that goes on,
    /// with the call's `order`.
    pub fn leave(&mut self, at: Stamp, take: &mut impl FnMut(Task)) -> Vec<(u64, Vec<Kept>)> {
        self.fragments.finish();
        self.tcp.finish();
        self.tcp_messages(take);
        let mut left = Vec::new();
        for Leaving { slot, order, disputed } in self.table.leave(at) {
            let mut kept = self.transcripts.as_mut().map(|all| all.take(slot)).unwrap_or_default();
            kept.retain(|message| !(disputed && message.hangs_up()));
            left.push((order, kept));
        }
        self.events(take);
        left
    }

    /// Ends everything: the capture is over.
    pub fn finish(&mut self, take: &mut impl FnMut(Task)) {
        self.fragments.finish();
        self.tcp.finish();
        self.tcp_messages(take);
        self.table.finish();
        self.events(take);
    }
}

impl Place<'_> {
    fn frames(&self) -> u64 {
        match self {
            Self::Block { .. } => 1,
            Self::Own { frames } => frames.len() as u64,
        }
    }

    /// Where in its frame `payload` begins; 0 where it is in no single frame.
    fn offset(&self, payload: &[u8]) -> u32 {
        match self {
            Self::Block { block, index } => {
                let data = block.data(&block.frames[*index as usize]);
                // `payload` is a part of `data`.
                (payload.as_ptr() as usize).wrapping_sub(data.as_ptr() as usize) as u32
            }
            Self::Own { .. } => 0,
        }
    }

    fn copy(&self, udp: &Udp<'_>) -> Held {
        let frames = match self {
            Self::Block { block, index } => vec![OwnedFrame::copy(block, &block.frames[*index as usize])],
            Self::Own { frames } => frames.clone(),
        };
        Held { frames, payload: udp.payload.into(), cut: udp.cut }
    }

    fn media(self, slot: u32, stream: u16, udp: &Udp<'_>, rtp: &RtpPacket<'_>) -> Task {
        match self {
            Self::Block { index, .. } => Task::Media(MediaTask {
                slot,
                stream,
                cut: udp.cut,
                frame: index,
                head: rtp.into(),
                offset: self.offset(rtp.payload()),
                len: rtp.payload().len() as u32,
            }),
            Self::Own { frames } => {
                let held = Held { frames, payload: udp.payload.into(), cut: udp.cut };
                Task::Rare(Box::new(RareTask::Media { slot, stream, held }))
            }
        }
    }

    fn aside(self, slot: u32, kind: AsideKind, udp: &Udp<'_>) -> Task {
        match self {
            Self::Block { index, .. } => Task::Aside(AsideTask { slot, frame: index, kind }),
            Self::Own { frames } if kind != AsideKind::Signalling => {
                let held = Held { frames, payload: udp.payload.into(), cut: udp.cut };
                Task::Rare(Box::new(RareTask::Aside { slot, kind, held }))
            }
            Self::Own { frames } => {
                let shared = |frame| FrameRef { frame: Arc::new(frame), first: true };
                let frames = frames.into_iter().map(shared).collect();
                Task::Rare(Box::new(RareTask::Signalling { slot, frames }))
            }
        }
    }
}
