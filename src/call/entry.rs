//! One call in the table: its signalling, its claims on addresses, its streams.

use std::sync::Arc;
use std::time::Duration;

use crate::base::endpoint::{Endpoint, Ip};
use crate::base::limits::{
    CALL_ADDRESSES_MAX, CALL_FORMATS_MAX, CALL_HOLDS_MAX, CALL_NETS_MAX, CALL_STREAMS_MAX,
};
use crate::base::net::{Net, Path};
use crate::base::party::Party;
use crate::base::time::Stamp;
use crate::call::closing::{Closed, EndedBy, Idle};
use crate::call::media_map::{Claim, Formats, Kind, MediaMap, Security};
use crate::call::session::{Ending, Exchange, Session};
use crate::wire::sdp::{Direction, MediaDescription, MediaKind, SessionDescription};
use crate::wire::sip::{Message, user_part};

/// A stream as the table knows it.
#[derive(Clone, Debug)]
pub struct StreamRef {
    /// Between whom, where it was first seen.
    pub path: Path,
    /// Other networks that the same packets were seen in.
    pub also: Vec<Net>,
    /// In another network than the call's own.
    pub crossed: bool,
    /// Synchronisation source.
    pub ssrc: u32,
    /// Whose voice.
    pub party: Party,
    /// Its last packet, as far as noted: up to date where another call may take its flow.
    pub last: Stamp,
}

impl StreamRef {
    /// Networks it was seen in.
    pub fn nets(&self) -> impl Iterator<Item = Net> {
        std::iter::once(self.path.net).chain(self.also.iter().copied())
    }
}

/// A session description, and the message that it came in.
#[derive(Clone, Copy, Debug)]
pub struct Offer<'a> {
    /// Capture time.
    pub at: Stamp,
    /// Sender of the message.
    pub src: Endpoint,
    /// The message.
    pub message: &'a Message<'a>,
    /// The description in it.
    pub body: &'a [u8],
}

/// What a session description changed.
#[derive(Debug, Default)]
pub struct Negotiated {
    /// Other calls that claim the same addresses.
    pub rivals: Vec<u32>,
    /// The addresses.
    pub endpoints: Vec<Endpoint>,
    /// Payload types of audio descriptions.
    pub formats: Vec<Arc<Formats>>,
    /// Not all of it was kept: the call has more than it may.
    pub full: bool,
}

/// One call.
#[derive(Debug)]
pub struct Entry {
    /// Number of the call in this run.
    pub ordinal: u64,
    /// Its signalling; none for media that no signalling explains.
    pub session: Option<Session>,
    /// Its streams.
    pub streams: Vec<StreamRef>,
    /// Set where keys are agreed in the media path.
    pub keyed_in_media: Option<Security>,
    /// By how many nanoseconds the capture clock was set since it began: its own time is so much behind.
    skew: i64,
    /// Networks that its signalling was seen in; for media without signalling, its own.
    nets: Vec<Net>,
    /// Lists of payload types that it has, each once.
    formats: Vec<Arc<Formats>>,
    first_at: Stamp,
    /// Whether a description has offered protection.
    secured: bool,
    mid_call: bool,
    endpoints: Vec<Endpoint>,
    control: Vec<Endpoint>,
    /// For each exchange and media line: the addresses seen, nearest to the party first.
    hops: Vec<(Exchange, usize, Vec<Endpoint>)>,
    /// Since when caller and callee hold the other, and past holds.
    holding: [Option<Stamp>; 2],
    holds: Vec<(Stamp, Stamp)>,
    orphan: Option<Path>,
    sdp_unreadable: u32,
}

impl Entry {
    /// A call that signalling began.
    pub fn signalled(ordinal: u64, session: Session, mid_call: bool) -> Self {
        let first_at = session.first_at();
        Self { session: Some(session), mid_call, ..Self::bare(ordinal, first_at) }
    }

    /// Media between two addresses that no signalling explains.
    pub fn orphan(ordinal: u64, first_at: Stamp, pair: Path) -> Self {
        Self { orphan: Some(pair), nets: vec![pair.net], ..Self::bare(ordinal, first_at) }
    }

    fn bare(ordinal: u64, first_at: Stamp) -> Self {
        Self {
            ordinal,
            session: None,
            streams: Vec::new(),
            keyed_in_media: None,
            skew: 0,
            nets: Vec::new(),
            formats: Vec::new(),
            first_at,
            secured: false,
            mid_call: false,
            endpoints: Vec::new(),
            control: Vec::new(),
            hops: Vec::new(),
            holding: [None; 2],
            holds: Vec::new(),
            orphan: None,
            sdp_unreadable: 0,
        }
    }

    /// Whether signalling has ended the call.
    pub fn is_over(&self) -> bool {
        self.session.as_ref().is_some_and(|session| session.over().is_some())
    }

    /// First 2xx to an INVITE.
    pub fn answered(&self) -> Option<Stamp> {
        self.session.as_ref().and_then(Session::answered)
    }

    /// Whether a handshake between two addresses can be this call's: anyone can send what looks like
    /// one, and a call taken for protected is not heard.
    pub fn may_be_keyed(&self, src: Endpoint, dst: Endpoint, security: Security) -> bool {
        match security {
            // Without signalling there is nothing to hold it against.
            _ if self.session.is_none() => true,
            // No description needs to speak of ZRTP (RFC 6189 section 8).
            Security::Zrtp => self.endpoints.contains(&src) && self.endpoints.contains(&dst),
            _ => self.secured,
        }
    }

    /// Addresses claimed for media.
    pub fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    /// Addresses claimed for RTCP.
    pub fn control(&self) -> &[Endpoint] {
        &self.control
    }

    /// The two addresses of a call without signalling, the lower one first.
    pub fn orphan_pair(&self) -> Option<Path> {
        self.orphan
    }

    /// Whether its signalling was seen in `net`.
    pub fn is_of(&self, net: Net) -> bool {
        self.nets.contains(&net)
    }

    /// Whether a network is both this call's and the other's.
    pub fn is_akin(&self, other: &Self) -> bool {
        self.nets.iter().any(|net| other.is_of(*net))
    }

    /// Notes that its signalling was seen in `net`. Returns false where there are too many.
    pub fn join(&mut self, net: Net) -> bool {
        if self.is_of(net) {
            return true;
        }
        let room = self.nets.len() < CALL_NETS_MAX;
        if room {
            self.nets.push(net);
        }
        room
    }

    /// The capture clock was set by `nanos`.
    pub fn clock_set(&mut self, nanos: i64) {
        self.skew = self.skew.saturating_add(nanos);
        for stream in &mut self.streams {
            stream.last = stream.last.shifted(nanos);
        }
    }

    /// Capture time in the own time of the call.
    pub fn own(&self, at: Stamp) -> Stamp {
        at.shifted(self.skew.saturating_neg())
    }

    /// Whether media goes on although signalling says that the call is over: who said so may not
    /// have been one of its parties.
    pub fn is_disputed(&self, now: Stamp, last_media: Option<Stamp>) -> bool {
        let over = self.session.as_ref().and_then(Session::over);
        over.zip(last_media).is_some_and(|(over, last)| {
            self.own(last).since(over) > MEDIA_TAIL && now.since(last) < DISPUTE_SILENCE
        })
    }

    /// The stream of the same packets in another network, and its number.
    pub fn same_stream(&mut self, path: Path, ssrc: u32) -> Option<(u16, &mut StreamRef)> {
        let same = |stream: &&mut StreamRef| {
            let known = stream.path;
            stream.ssrc == ssrc && (known.src, known.dst) == (path.src, path.dst)
        };
        let (number, stream) = (0..).zip(&mut self.streams).find(|(_, stream)| same(stream))?;
        (stream.nets().count() < CALL_NETS_MAX && stream.nets().all(|net| net != path.net))
            .then_some((number, stream))
    }

    /// The same list of payload types, kept once. Beyond so many, only static ones are understood.
    fn formats_once(&mut self, formats: &Formats) -> Option<Arc<Formats>> {
        if let Some(known) = self.formats.iter().find(|known| ***known == *formats) {
            return Some(known.clone());
        }
        if self.formats.len() >= CALL_FORMATS_MAX {
            return None;
        }
        let formats = Arc::new(formats.clone());
        self.formats.push(formats.clone());
        Some(formats)
    }

    /// Adds a stream and returns its number, or nothing where there are too many.
    pub fn add_stream(&mut self, stream: StreamRef) -> Option<u16> {
        if self.streams.len() >= CALL_STREAMS_MAX {
            return None;
        }
        self.streams.push(stream);
        Some((self.streams.len() - 1) as u16)
    }

    /// Takes in a session description: claims the addresses it names. `akin` tells whether another call
    /// is of one of this call's networks.
    pub fn negotiate(
        &mut self,
        slot: u32,
        offer: &Offer<'_>,
        map: &mut MediaMap,
        akin: impl Fn(&Self, u32) -> bool,
    ) -> Negotiated {
        let Offer { at, src, message, body } = *offer;
        let mut changed = Negotiated::default();
        let Some(session) = &self.session else { return changed };
        let Ok(description) = SessionDescription::parse(body) else {
            self.sdp_unreadable += 1;
            return changed;
        };
        let (party, exchange) = (session.sender(message), session.exchange(message));
        for (line, media) in description.media.iter().enumerate() {
            if media.port == 0 {
                continue;
            }
            let formats = self.formats_once(&media.formats);
            changed.full |= formats.is_none();
            let formats = formats.unwrap_or_default();
            let kind = if media.kind == MediaKind::Audio { Kind::Audio } else { Kind::Other };
            if kind == Kind::Audio {
                self.hold(self.own(at), party, media);
                changed.formats.push(formats.clone());
            }
            // A name instead of an address: the sender of the message is the best guess.
            let ip = media.connection.unwrap_or(src.ip);
            let mut addresses: Vec<Endpoint> =
                if ip.is_unspecified() { Vec::new() } else { vec![Endpoint::new(ip, media.port)] };
            let rank = self.rank(&exchange, line, addresses.first().copied());
            addresses.extend(candidates(media));
            changed.full |= !self.claim_control(slot, media, ip, map);
            for endpoint in addresses {
                let security = security(&description, media);
                self.secured |= security != Security::None;
                let claim = Claim { slot, party, kind, rank, at, formats: formats.clone(), security };
                if !note(&mut self.endpoints, endpoint) {
                    changed.full = true;
                    continue;
                }
                changed.rivals.extend(map.claim(endpoint, claim, |other| akin(self, other)));
                changed.endpoints.push(endpoint);
            }
        }
        changed
    }

    fn claim_control(&mut self, slot: u32, media: &MediaDescription, ip: Ip, map: &mut MediaMap) -> bool {
        let at = match media.rtcp {
            Some((port, host)) => Endpoint::new(host.unwrap_or(ip), port),
            None => Endpoint::new(ip, media.port.saturating_add(1)),
        };
        if at.ip.is_unspecified() {
            return true;
        }
        let room = note(&mut self.control, at);
        if room {
            map.claim_control(at, slot);
        }
        room
    }

    /// How many addresses were written over this one's place on the way: 0 for the party's own.
    fn rank(&mut self, exchange: &Exchange, line: usize, at: Option<Endpoint>) -> u8 {
        let Some(at) = at else { return 0 };
        let found = self.hops.iter().position(|(known, number, _)| known == exchange && *number == line);
        let index = found.unwrap_or_else(|| {
            self.hops.push((exchange.clone(), line, Vec::new()));
            self.hops.len() - 1
        });
        let seen = &mut self.hops[index].2;
        let rank = seen.iter().position(|known| *known == at).unwrap_or_else(|| {
            if seen.len() <= usize::from(HOP_RANK_MAX) {
                seen.push(at);
            }
            seen.len() - 1
        });
        if self.hops.len() > HOPS_MAX {
            self.hops.remove(0);
        }
        u8::try_from(rank).unwrap_or(u8::MAX).min(HOP_RANK_MAX)
    }

    fn hold(&mut self, at: Stamp, party: Party, media: &MediaDescription) {
        let holds = matches!(media.direction, Direction::SendOnly | Direction::Inactive)
            || media.connection.is_some_and(Ip::is_unspecified);
        let side = usize::from(party == Party::Callee);
        match (holds, self.holding[side]) {
            (true, None) => self.holding[side] = Some(at),
            (false, Some(since)) => {
                self.holding[side] = None;
                if self.holds.len() < CALL_HOLDS_MAX {
                    self.holds.push((since, at));
                }
            }
            _ => {}
        }
    }

    /// Returns why the call should be closed at `now`, if it should.
    pub fn idle(&self, now: Stamp, last_media: Option<Stamp>) -> Option<Idle> {
        let (now, last_media) = (self.own(now), last_media.map(|last| self.own(last)));
        let quiet = |since: Stamp, limit: Duration| now.since(since) >= limit;
        let Some(session) = &self.session else {
            return quiet(last_media.unwrap_or(self.first_at), ORPHAN_SILENCE).then_some(Idle::MediaEnd);
        };
        let last = session.last_at().max(last_media.unwrap_or(Stamp::ZERO));
        match (session.over(), session.answered()) {
            (Some(_), Some(_)) => quiet(last, AFTER_BYE).then_some(Idle::Over),
            (Some(_), None) => quiet(last, AFTER_FAILURE).then_some(Idle::Over),
            (None, Some(_)) => quiet(last, ANSWERED_SILENCE).then_some(Idle::MediaEnd),
            (None, None) => quiet(last, UNANSWERED_SILENCE).then_some(Idle::Timeout),
        }
    }

    /// Says all there is to say at the end.
    pub fn closed(&mut self, idle: Idle, last_media: Option<Stamp>) -> Closed {
        let last_media = last_media.map(|last| self.own(last));
        let mut session = self.session.take();
        let last_sip = session.as_ref().map(Session::last_at);
        let end = [last_sip, last_media, Some(self.first_at)].into_iter().flatten().max().unwrap_or_default();
        let open = self.holding.into_iter().flatten().map(|since| (since, end));
        self.holds.extend(open);
        let ending = session.as_ref().and_then(Session::ending);
        let ended_by = match (ending, idle) {
            (_, Idle::Handover) => EndedBy::Handover,
            (Some(Ending::Bye), _) => EndedBy::Bye,
            (Some(Ending::Cancel), _) => EndedBy::Cancel,
            (Some(Ending::Failure), _) => EndedBy::Failure,
            (None, Idle::CaptureEnd) => EndedBy::CaptureEnd,
            (None, Idle::MediaEnd | Idle::Over) => EndedBy::MediaEnd,
            (None, Idle::Timeout) => EndedBy::Timeout,
            (None, Idle::TableFull) => EndedBy::CallTableFull,
        };
        let over = session.as_ref().and_then(Session::over);
        let (ladder, ladder_more) = session.as_mut().map(Session::take_ladder).unwrap_or_default();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let of = |part: fn(&Session) -> &[u8]| session.as_ref().map(part).unwrap_or_default();
        Closed {
            call_ids: session.iter().map(|session| text(session.call_id())).collect(),
            from: text(of(Session::from)),
            to: text(of(Session::to)),
            caller: text(user_part(of(Session::from)).unwrap_or_default()),
            callee: text(user_part(of(Session::to)).unwrap_or_default()),
            start: self.first_at,
            end,
            answered: session.as_ref().and_then(Session::answered),
            status: session.as_ref().and_then(Session::status),
            ended_by,
            orphan: session.is_none(),
            mid_call: self.mid_call,
            holds: std::mem::take(&mut self.holds),
            media_after: over.filter(|over| last_media.is_some_and(|last| last.since(*over) > MEDIA_TAIL)),
            ladder,
            ladder_more,
            sdp_unreadable: self.sdp_unreadable,
        }
    }
}

/// Adds an address to a call's. Returns false where there are too many.
fn note(known: &mut Vec<Endpoint>, at: Endpoint) -> bool {
    let there = known.contains(&at);
    let room = there || known.len() < CALL_ADDRESSES_MAX;
    if room && !there {
        known.push(at);
    }
    room
}

/// Addresses that ICE may move the media to (RFC 8839 section 5.1), the RTP component's.
fn candidates(media: &MediaDescription) -> impl Iterator<Item = Endpoint> {
    media
        .candidates
        .iter()
        .filter(|candidate| candidate.component == 1 && !candidate.endpoint.ip.is_unspecified())
        .take(CANDIDATES_MAX)
        .map(|candidate| candidate.endpoint)
}

fn security(description: &SessionDescription, media: &MediaDescription) -> Security {
    let fingerprint = media.fingerprint.is_some() || description.fingerprint.is_some();
    if media.protocol.starts_with("UDP/TLS/") || (fingerprint && media.protocol.contains("SAVP")) {
        Security::Dtls
    } else if !media.crypto.is_empty() || media.protocol.contains("SAVP") {
        Security::Sdes
    } else if fingerprint {
        Security::Dtls
    } else {
        Security::None
    }
}

/// Exchanges remembered for ranking.
const HOPS_MAX: usize = 32;
/// Ranks above this would read as a shadow.
const HOP_RANK_MAX: u8 = 8;
/// ICE candidates taken from one media description.
const CANDIDATES_MAX: usize = 16;
/// An answered call is kept open for the tail of its media and repeated messages.
const AFTER_BYE: Duration = Duration::from_secs(5);
/// A failed call is kept open for repeated responses (RFC 3261 timer D).
const AFTER_FAILURE: Duration = Duration::from_secs(32);
/// An answered call without BYE and without a packet is given up. Longer than a hold, which may be
/// silent; a lost BYE costs nothing but memory until then.
const ANSWERED_SILENCE: Duration = Duration::from_secs(3_600);
/// Longer than timer C of RFC 3261 (3 minutes).
const UNANSWERED_SILENCE: Duration = Duration::from_secs(300);
/// Media without signalling is closed after so much silence.
const ORPHAN_SILENCE: Duration = Duration::from_secs(30);
/// A call whose end is disputed takes new streams while its media is not silent for so long.
const DISPUTE_SILENCE: Duration = Duration::from_secs(3);
/// Media that goes on for longer than this after BYE is worth a note.
const MEDIA_TAIL: Duration = Duration::from_secs(2);
