//! Frames to datagrams and segments.
//!
//! [`parse`] takes the link layer off, then `ip` the network and transport headers. Checksums are
//! not verified: a capture on the sending host sees them before the card fills them in.
//!
//! Two things make a payload shorter than its headers say, and they are kept apart throughout: the
//! snap length took the end away (the payload that is there comes out, marked as cut), or the headers
//! lie (the frame is malformed). Bytes after what the headers say are padding, trailers and checksums
//! of the link layer, and never come out.

//!
//! Tunnels are taken apart on the way, see `tunnel`: what is inside comes out with its own addresses.
//! Those over UDP are only opened by [`tunnelled`], because media may use the same ports.

mod ip;
mod tunnel;

use etherparse::ether_type as ether;
use etherparse::{EtherType, Ethernet2HeaderSlice};

use crate::base::counters::Discard;
use crate::base::endpoint::{Endpoint, Ip};
use crate::base::frame::LinkType;
use crate::base::limits::TUNNELS_MAX;
use crate::base::net::{Net, Path, Tunnel};

/// What a frame carries.
#[derive(Clone, Copy, Debug)]
pub enum Content<'a> {
    /// A whole UDP datagram.
    Udp(Udp<'a>),
    /// A TCP segment.
    Tcp(Tcp<'a>),
    /// A part of an IP datagram.
    Fragment(Fragment<'a>),
    /// Neither.
    Other(Discard),
}

/// A UDP datagram.
#[derive(Clone, Copy, Debug)]
pub struct Udp<'a> {
    /// Network of both addresses.
    pub net: Net,
    /// Sender.
    pub src: Endpoint,
    /// Receiver.
    pub dst: Endpoint,
    /// Payload, without link-layer padding.
    pub payload: &'a [u8],
    /// Whether the snap length cut the payload.
    pub cut: bool,
    /// Tunnels it came through.
    pub tunnels: u8,
}

impl Udp<'_> {
    /// Between whom.
    pub fn path(&self) -> Path {
        Path { net: self.net, src: self.src, dst: self.dst }
    }
}

/// A TCP segment.
#[derive(Clone, Copy, Debug)]
pub struct Tcp<'a> {
    /// Network of both addresses.
    pub net: Net,
    /// Sender.
    pub src: Endpoint,
    /// Receiver.
    pub dst: Endpoint,
    /// Sequence number of the first payload byte (of SYN itself where set).
    pub sequence: u32,
    /// SYN flag.
    pub syn: bool,
    /// FIN flag.
    pub fin: bool,
    /// RST flag.
    pub rst: bool,
    /// Payload, without link-layer padding.
    pub payload: &'a [u8],
    /// Whether the snap length cut the payload.
    pub cut: bool,
}

/// Fragments with the same key are of the same datagram (RFC 791, RFC 8200 section 4.5).
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct FragmentKey {
    /// Network of both addresses.
    pub net: Net,
    /// Sender.
    pub src: Ip,
    /// Receiver.
    pub dst: Ip,
    /// Identification.
    pub id: u32,
    /// Upper-layer protocol number; for IPv6, what follows the fragment header.
    pub protocol: u8,
}

/// A part of an IP datagram.
#[derive(Clone, Copy, Debug)]
pub struct Fragment<'a> {
    /// Which datagram.
    pub key: FragmentKey,
    /// Where in the datagram's payload, in bytes.
    pub offset_bytes: u32,
    /// Whether more follow.
    pub more: bool,
    /// The part.
    pub payload: &'a [u8],
    /// Bytes the part had on the wire: more than `payload` has where it is cut.
    pub wire_bytes: u32,
    /// Whether the snap length cut the part.
    pub cut: bool,
}

/// Takes a frame apart down to UDP or TCP. `wire_len` is its length before any snap length.
///
/// Total: never panics, and reads headers only, so that its cost does not grow with the frame.
pub fn parse(link: LinkType, frame: &[u8], wire_len: u32) -> Content<'_> {
    let missing = (wire_len as usize).saturating_sub(frame.len());
    let frame = Seen { bytes: frame, missing, tunnels: 0, net: Net::PLAIN };
    match link {
        LinkType::ETHERNET => ethernet(frame),
        LinkType::LINUX_SLL => cooked(frame, SLL_PROTOCOL_AT, SLL_BYTES),
        LinkType::LINUX_SLL2 => cooked(frame, SLL2_PROTOCOL_AT, SLL2_BYTES),
        LinkType::RAW | RAW_BSD | RAW_OPENBSD => raw(frame),
        LinkType::IPV4 => ip::v4(frame),
        LinkType::IPV6 => ip::v6(frame),
        LinkType::NULL | LinkType::LOOP => loopback(frame),
        LinkType(_) => Content::Other(Discard::UnknownLink),
    }
}

/// Takes the payload of an IP datagram apart, as put together from the fragments of `key`. Never
/// answers with a fragment: one inside another is malformed.
pub fn transport<'a>(key: &FragmentKey, payload: &'a [u8], cut: bool) -> Content<'a> {
    // How much is missing is not known any more; the transport header says it again.
    let missing = if cut { MISSING_UNKNOWN } else { 0 };
    let route = ip::Route { protocol: key.protocol, src: key.src, dst: key.dst };
    match ip::upper(route, Seen { bytes: payload, missing, tunnels: 0, net: key.net }) {
        Content::Fragment(_) => Content::Other(Discard::Malformed),
        content => content,
    }
}

/// Takes a datagram to the port of a tunnel apart: VXLAN (RFC 7348) and its GPE, Geneve (RFC 8926),
/// GTP-U (3GPP TS 29.281), TZSP. `None` where it is not exactly what such a tunnel would send.
pub fn tunnelled<'a>(udp: &Udp<'a>) -> Option<Content<'a>> {
    tunnel::in_udp(udp)
}

/// The bytes of a layer, and how many more it had before the snap length.
#[derive(Clone, Copy)]
struct Seen<'a> {
    bytes: &'a [u8],
    missing: usize,
    /// Tunnels around it.
    tunnels: u8,
    /// The network it is of, as far as the headers around it say.
    net: Net,
}

impl<'a> Seen<'a> {
    /// What follows a header of `header_bytes`, which has been read and so is there.
    fn after(self, header_bytes: usize) -> Self {
        Self { bytes: self.bytes.get(header_bytes..).unwrap_or_default(), ..self }
    }

    /// The first `wire_bytes`, as a length field says; none where there never were so many.
    fn limit(self, wire_bytes: usize) -> Option<Self> {
        match self.bytes.get(..wire_bytes) {
            Some(bytes) => Some(Self { bytes, missing: 0, ..self }),
            None => {
                let missing = wire_bytes - self.bytes.len();
                (missing <= self.missing).then_some(Self { missing, ..self })
            }
        }
    }

    /// The same, as what a tunnel carries; none where it is one too many.
    fn inside(self) -> Option<Self> {
        (self.tunnels < TUNNELS_MAX).then_some(Self { tunnels: self.tunnels + 1, ..self })
    }

    /// The same, inside a VLAN tag.
    fn tagged(self, tag: u16) -> Self {
        Self { net: self.net.tagged(tag), ..self }
    }

    /// The same, inside a tunnel that names its network.
    fn named(self, tunnel: Tunnel) -> Self {
        Self { net: Net::tunnelled(tunnel), ..self }
    }

    fn is_cut(self) -> bool {
        self.missing > 0
    }

    /// Why a header that needs more bytes than there are cannot be read.
    fn too_short(self) -> Discard {
        if self.is_cut() { Discard::Cut } else { Discard::Malformed }
    }
}

fn ethernet(frame: Seen<'_>) -> Content<'_> {
    if let Some(udp) = plain(frame.bytes) {
        return Content::Udp(Udp { tunnels: frame.tunnels, net: frame.net, ..udp });
    }
    match Ethernet2HeaderSlice::from_slice(frame.bytes) {
        Ok(header) => network(header.ether_type(), frame.after(header.slice().len())),
        Err(_) => Content::Other(frame.too_short()),
    }
}

/// Short cut for what nearly all media frames are: IPv4 without options, tags or fragments, whole, with
/// lengths that agree. The long way answers the same and takes twice as long.
fn plain(frame: &[u8]) -> Option<Udp<'_>> {
    let header: &[u8; PLAIN_BYTES] = frame.first_chunk()?;
    let field = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    let address = |at: usize| Ip::v4([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let (total, udp) = (field(16), field(38));
    // EtherType; version and header length; all of the fragment field but "don't fragment"; protocol.
    let plain =
        field(12) == ether::IPV4.0 && header[14] == 0x45 && field(20) & 0xbfff == 0 && header[23] == 17;
    if !plain || udp < 8 || total.checked_sub(20) != Some(udp) {
        return None;
    }
    Some(Udp {
        net: Net::PLAIN,
        src: Endpoint::new(address(26), field(34)),
        dst: Endpoint::new(address(30), field(36)),
        payload: frame.get(PLAIN_BYTES..14 + usize::from(total))?,
        cut: false,
        tunnels: 0,
    })
}

/// Linux cooked capture: only the protocol field matters, and it is an EtherType.
fn cooked(frame: Seen<'_>, protocol_at: usize, header_bytes: usize) -> Content<'_> {
    match frame.bytes.get(protocol_at..protocol_at + 2) {
        Some(&[high, low]) if frame.bytes.len() >= header_bytes => {
            network(EtherType(u16::from_be_bytes([high, low])), frame.after(header_bytes))
        }
        _ => Content::Other(frame.too_short()),
    }
}

fn raw(packet: Seen<'_>) -> Content<'_> {
    match packet.bytes.first().map(|first| first >> 4) {
        Some(4) => ip::v4(packet),
        Some(6) => ip::v6(packet),
        Some(_) => Content::Other(Discard::Malformed),
        None => Content::Other(packet.too_short()),
    }
}

/// BSD loopback: an address family in the byte order of the capturing host, which both link types
/// get wrong somewhere, so both orders are tried. Families are small numbers, so at most one fits.
fn loopback(frame: Seen<'_>) -> Content<'_> {
    let Some(&family) = frame.bytes.first_chunk::<4>() else {
        return Content::Other(frame.too_short());
    };
    let family = u32::from_be_bytes(family).min(u32::from_le_bytes(family));
    match family {
        AF_INET => ip::v4(frame.after(4)),
        AF_INET6_LINUX | AF_INET6_BSD | AF_INET6_FREEBSD | AF_INET6_DARWIN => ip::v6(frame.after(4)),
        _ => Content::Other(Discard::UnknownLink),
    }
}

/// Takes VLAN tags off (IEEE 802.1Q, 802.1ad and its forerunners), then goes by the EtherType.
fn network(mut ether_type: EtherType, mut rest: Seen<'_>) -> Content<'_> {
    for _ in 0..=VLAN_TAGS_MAX {
        match ether_type {
            ether::IPV4 => return ip::v4(rest),
            ether::IPV6 => return ip::v6(rest),
            ether::VLAN_TAGGED_FRAME | ether::PROVIDER_BRIDGING | ether::VLAN_DOUBLE_TAGGED_FRAME => {
                let Some(&[tag_high, tag_low, high, low]) = rest.bytes.first_chunk() else {
                    return Content::Other(rest.too_short());
                };
                ether_type = EtherType(u16::from_be_bytes([high, low]));
                rest = rest.after(4).tagged(u16::from_be_bytes([tag_high, tag_low]));
            }
            tunnel::MPLS | tunnel::MPLS_UPSTREAM => return tunnel::mpls(rest),
            tunnel::PPPOE_SESSION => return tunnel::pppoe(rest),
            other => return Content::Other(not_ip(other)),
        }
    }
    Content::Other(Discard::Malformed)
}

/// Why a frame of this EtherType is not for us.
fn not_ip(ether_type: EtherType) -> Discard {
    match ether_type.0 {
        // IEEE 802.3 length, so LLC or SNAP follows; or one of Linux's own small protocol numbers.
        0..0x0600 => Discard::NotTelephony,
        // Trans Ether Bridging and ERSPAN without GRE around them, MACsec, 802.1ah, NSH.
        0x6558 | 0x88be | 0x22eb | 0x88e5 | 0x88e7 | 0x894f => Discard::Tunnel,
        // ARP, wake-on-LAN, reverse ARP, AppleTalk and its ARP, IPX, pause frames, slow protocols,
        // PPPoE discovery, 802.1X, RSTP of some vendors, LLDP, PTP, CFM, loop detection.
        0x0806 | 0x0842 | 0x8035 | 0x809b | 0x80f3 | 0x8137 | 0x8808 | 0x8809 | 0x8863 | 0x888e | 0x88a2
        | 0x88cc | 0x88f7 | 0x8902 | 0x9000 => Discard::NotTelephony,
        _ => Discard::UnknownLink,
    }
}

/// Ethernet, IPv4 and UDP headers.
const PLAIN_BYTES: usize = 14 + 20 + 8;
/// `DLT_RAW` of most systems, as some programs write it into files.
const RAW_BSD: LinkType = LinkType(12);
/// `DLT_RAW` of OpenBSD.
const RAW_OPENBSD: LinkType = LinkType(14);
/// Linux cooked capture v1: packet type, ARPHRD, address length, address (8), protocol.
const SLL_PROTOCOL_AT: usize = 14;
const SLL_BYTES: usize = 16;
/// Linux cooked capture v2: protocol first.
const SLL2_PROTOCOL_AT: usize = 0;
const SLL2_BYTES: usize = 20;
const AF_INET: u32 = 2;
const AF_INET6_LINUX: u32 = 10;
/// OpenBSD, NetBSD, and Npcap on Windows.
const AF_INET6_BSD: u32 = 24;
const AF_INET6_FREEBSD: u32 = 28;
const AF_INET6_DARWIN: u32 = 30;
/// Networks stack two, rarely three; without an end a frame of tags would cost a loop over it.
const VLAN_TAGS_MAX: usize = 8;
/// More than any datagram has.
const MISSING_UNKNOWN: usize = 1 << 20;

#[cfg(test)]
mod tests;
