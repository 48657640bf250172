//! Tunnels: what mirror ports, clouds, providers and mobile networks wrap around a packet.
//!
//! Each function takes a tunnel's header off and goes on with what is inside, which is the same frame's
//! bytes: nothing is copied. What is inside too many tunnels stays as it is. Which tunnels name the
//! network that they carry, see [`crate::base::net::Net`].

use etherparse::{EtherType, IpNumber};
use etherparse::{ether_type as ether, ip_number as protocols};

use super::{Content, Discard, MISSING_UNKNOWN, Seen, Udp, ethernet, ip, network, raw};
use crate::base::net::Tunnel;

/// A tunnel that is an IP protocol: GRE, IP in IP (RFC 2003, 4213), EtherIP, MPLS in IP (RFC 4023).
pub(super) fn in_ip(protocol: IpNumber, payload: Seen<'_>) -> Content<'_> {
    match protocol {
        protocols::IPV4 => enter(payload, ip::v4),
        protocols::IPV6 => enter(payload, ip::v6),
        protocols::GRE => gre(payload),
        protocols::MPLS_IN_IP => mpls(payload),
        protocols::ETHER_IP => match payload.bytes {
            // RFC 3378: a version and nothing else.
            [0x30, 0, ..] => enter(payload.after(2), ethernet),
            [_, _, ..] => Content::Other(Discard::Malformed),
            _ => Content::Other(payload.too_short()),
        },
        _ => Content::Other(Discard::Tunnel),
    }
}

/// A tunnel over UDP, known by the port that the datagram is sent to.
pub(super) fn in_udp<'a>(udp: &Udp<'a>) -> Option<Content<'a>> {
    let open = match udp.dst.port {
        VXLAN_PORT | VXLAN_LINUX_PORT => vxlan,
        VXLAN_GPE_PORT => vxlan_gpe,
        GENEVE_PORT => geneve,
        GTP_U_PORT => gtp_u,
        TZSP_PORT => tzsp,
        _ => return None,
    };
    // How much is missing is not known any more; the headers inside say it again.
    let missing = if udp.cut { MISSING_UNKNOWN } else { 0 };
    match open(Seen { bytes: udp.payload, missing, tunnels: udp.tunnels, net: udp.net })? {
        Content::Other(Discard::Malformed) => None,
        content => Some(content),
    }
}

/// MPLS (RFC 3032). Nothing says what is below the last label: it is guessed as others do (RFC 4928).
pub(super) fn mpls(mut rest: Seen<'_>) -> Content<'_> {
    for _ in 0..MPLS_LABELS_MAX {
        let Some(&[_, _, traffic, _]) = rest.bytes.first_chunk() else {
            return Content::Other(rest.too_short());
        };
        rest = rest.after(4);
        if traffic & 1 != 0 {
            return enter(rest, below_labels);
        }
    }
    Content::Other(Discard::Malformed)
}

/// A session of PPP over Ethernet (RFC 2516).
pub(super) fn pppoe(frame: Seen<'_>) -> Content<'_> {
    let Some(&[version, code, _, _, high, low]) = frame.bytes.first_chunk() else {
        return Content::Other(frame.too_short());
    };
    if (version, code) != (0x11, 0) {
        return Content::Other(Discard::Malformed);
    }
    match frame.after(6).limit(usize::from(u16::from_be_bytes([high, low]))) {
        Some(payload) => enter(payload, ppp),
        None => Content::Other(Discard::Malformed),
    }
}

/// Goes on with what is inside.
fn enter<'a>(rest: Seen<'a>, read: impl FnOnce(Seen<'a>) -> Content<'a>) -> Content<'a> {
    rest.inside().map_or(Content::Other(Discard::Tunnel), read)
}

/// GRE (RFC 2784, 2890), which says what it carries by an EtherType.
fn gre(packet: Seen<'_>) -> Content<'_> {
    let Some(&[flags, version, high, low]) = packet.bytes.first_chunk() else {
        return Content::Other(packet.too_short());
    };
    // Source routes (RFC 1701) are gone; version 1 is PPTP (RFC 2637), which is nearly always encrypted.
    if version & 7 != 0 || flags & GRE_ROUTING != 0 {
        return Content::Other(Discard::Tunnel);
    }
    let options = (flags & (GRE_CHECKSUM | GRE_KEY | GRE_SEQUENCE)).count_ones() as usize;
    let header_bytes = 4 + 4 * options;
    if packet.bytes.len() < header_bytes {
        return Content::Other(packet.too_short());
    }
    let mut rest = packet.after(header_bytes);
    let key_at = if flags & GRE_CHECKSUM != 0 { 8 } else { 4 };
    if flags & GRE_KEY != 0
        && let Some(&key) = packet.after(key_at).bytes.first_chunk()
    {
        rest = rest.named(Tunnel::Gre(u32::from_be_bytes(key)));
    }
    match EtherType(u16::from_be_bytes([high, low])) {
        ETHERNET => enter(rest, ethernet),
        // Type I has no header of its own, and no sequence number by which to know it.
        ERSPAN if flags & GRE_SEQUENCE == 0 => enter(rest, ethernet),
        ERSPAN | ERSPAN_III => erspan(rest),
        PPP => enter(rest, ppp),
        MPLS | MPLS_UPSTREAM => mpls(rest),
        ether_type => enter(rest, |inner| network(ether_type, inner)),
    }
}

/// ERSPAN II and III (draft-foschiano-erspan-03), told apart by their version.
fn erspan(packet: Seen<'_>) -> Content<'_> {
    let header_bytes = match packet.bytes {
        [first, ..] if first >> 4 == 1 => 8,
        // The last bit says whether eight bytes of the platform follow.
        [first, _, _, _, _, _, _, _, _, _, _, last, ..] if first >> 4 == 2 => {
            if last & 1 == 0 {
                12
            } else {
                20
            }
        }
        [first, ..] if first >> 4 == 2 => usize::MAX,
        [_, ..] => return Content::Other(Discard::Malformed),
        [] => usize::MAX,
    };
    if packet.bytes.len() < header_bytes {
        return Content::Other(packet.too_short());
    }
    // Frame type 2 of ERSPAN III is a packet without Ethernet.
    let is_ip = header_bytes > 8 && packet.bytes[10] >> 2 & 0x1f == 2;
    let mut inner = packet.after(header_bytes);
    // The mirrored port's own VLAN, where the frame itself has no tag. The session says nothing of the
    // network: there may be one a direction.
    if let Some(&vlan) = packet.bytes.first_chunk()
        && (is_ip || !is_tagged(inner.bytes))
    {
        inner = inner.tagged(u16::from_be_bytes(vlan));
    }
    enter(inner, if is_ip { raw } else { ethernet })
}

/// What is below the last label: IP, or an Ethernet pseudowire (RFC 4448) with a control word or without.
/// An Ethernet address may begin like IP, so IP must make sense (RFC 8469).
fn below_labels(rest: Seen<'_>) -> Content<'_> {
    let as_ip = match rest.bytes.first().map(|first| first >> 4) {
        Some(4) => ip::v4(rest),
        Some(6) => ip::v6(rest),
        Some(_) => Content::Other(Discard::Malformed),
        None => return Content::Other(rest.too_short()),
    };
    match as_ip {
        Content::Other(Discard::Malformed) => {}
        content => return content,
    }
    if is_ethernet(rest.bytes) {
        ethernet(rest)
    } else if rest.bytes[0] >> 4 == 0 && is_ethernet(rest.after(4).bytes) {
        ethernet(rest.after(4))
    } else {
        Content::Other(Discard::Tunnel)
    }
}

/// Whether an Ethernet frame has a VLAN tag.
fn is_tagged(frame: &[u8]) -> bool {
    matches!(
        frame,
        [_, _, _, _, _, _, _, _, _, _, _, _, high, low, ..]
            if matches!(
                EtherType(u16::from_be_bytes([*high, *low])),
                ether::VLAN_TAGGED_FRAME | ether::PROVIDER_BRIDGING | ether::VLAN_DOUBLE_TAGGED_FRAME
            )
    )
}

/// Whether these bytes are an Ethernet frame of a kind that there is: for where nothing else says so.
fn is_ethernet(bytes: &[u8]) -> bool {
    matches!(
        bytes,
        [_, _, _, _, _, _, _, _, _, _, _, _, high, low, ..]
            if matches!(
                EtherType(u16::from_be_bytes([*high, *low])),
                ether::IPV4 | ether::IPV6 | ether::ARP | ether::VLAN_TAGGED_FRAME | ether::PROVIDER_BRIDGING
                    | ether::VLAN_DOUBLE_TAGGED_FRAME | MPLS | PPPOE_SESSION
            )
    )
}

/// PPP without its framing (RFC 1661): a protocol number, of one byte where that is odd.
fn ppp(frame: Seen<'_>) -> Content<'_> {
    let (protocol, header_bytes) = match *frame.bytes {
        [short, ..] if short & 1 == 1 => (u16::from(short), 1),
        [high, low, ..] => (u16::from_be_bytes([high, low]), 2),
        _ => return Content::Other(frame.too_short()),
    };
    match protocol {
        0x0021 => ip::v4(frame.after(header_bytes)),
        0x0057 => ip::v6(frame.after(header_bytes)),
        0x0281 | 0x0283 => mpls(frame.after(header_bytes)),
        // Link control, authentication, compressed headers.
        _ => Content::Other(Discard::NotTelephony),
    }
}

/// VXLAN (RFC 7348), also with a group policy (draft-smith-vxlan-group-policy).
fn vxlan(packet: Seen<'_>) -> Option<Content<'_>> {
    let &[flags, policy, group_high, group_low, v1, v2, v3, 0] = packet.bytes.first_chunk()? else {
        return None;
    };
    let plain = flags == 0x08 && (policy, group_high, group_low) == (0, 0, 0);
    let grouped = flags == 0x88 && policy & !0x48 == 0;
    let inner = packet.after(8).named(Tunnel::Vxlan(u32::from_be_bytes([0, v1, v2, v3])));
    (plain || (grouped && is_ethernet(inner.bytes))).then(|| enter(inner, ethernet))
}

/// VXLAN-GPE (draft-ietf-nvo3-vxlan-gpe): says what it carries.
fn vxlan_gpe(packet: Seen<'_>) -> Option<Content<'_>> {
    let &[flags, 0, 0, next, v1, v2, v3, 0] = packet.bytes.first_chunk()? else { return None };
    let inner = packet.after(8).named(Tunnel::Vxlan(u32::from_be_bytes([0, v1, v2, v3])));
    match (flags, next) {
        (0x08, 0) => Some(enter(inner, ethernet)),
        (0x0c | 0x0e, 1) => Some(enter(inner, ip::v4)),
        (0x0c | 0x0e, 2) => Some(enter(inner, ip::v6)),
        (0x0c | 0x0e, 3) => Some(enter(inner, ethernet)),
        (0x0c | 0x0e, 5) => Some(mpls(inner)),
        _ => None,
    }
}

/// Geneve (RFC 8926), whatever its options say.
fn geneve(packet: Seen<'_>) -> Option<Content<'_>> {
    let &[first @ 0..0x40, flags, high, low, v1, v2, v3, 0] = packet.bytes.first_chunk()? else {
        return None;
    };
    let header_bytes = 8 + 4 * usize::from(first);
    if flags & 0x3f != 0 || packet.bytes.len() < header_bytes {
        return None;
    }
    // Control packets are between the ends of the tunnel.
    if flags & 0x80 != 0 {
        return Some(Content::Other(Discard::NotTelephony));
    }
    let inner = packet.after(header_bytes).named(Tunnel::Geneve(u32::from_be_bytes([0, v1, v2, v3])));
    match EtherType(u16::from_be_bytes([high, low])) {
        ETHERNET => Some(enter(inner, ethernet)),
        ether::IPV4 => Some(enter(inner, ip::v4)),
        ether::IPV6 => Some(enter(inner, ip::v6)),
        MPLS => Some(mpls(inner)),
        _ => None,
    }
}

/// A user's packet in GTP-U (3GPP TS 29.281 section 5), with any extension headers.
fn gtp_u(packet: Seen<'_>) -> Option<Content<'_>> {
    let &[flags, 255, high, low, _, _, _, _] = packet.bytes.first_chunk()? else { return None };
    let wire_bytes = usize::from(u16::from_be_bytes([high, low]));
    let mut rest = packet.after(8);
    // Version 1, GTP and not GTP prime, a spare bit; and the length must be exact.
    if flags & 0xf8 != 0x30 || (!packet.is_cut() && rest.bytes.len() != wire_bytes) {
        return None;
    }
    rest = rest.limit(wire_bytes)?;
    if flags & 7 != 0 {
        let &[_, _, _, following] = rest.bytes.first_chunk()?;
        rest = rest.after(4);
        let mut next = if flags & 4 != 0 { following } else { 0 };
        for _ in 0..GTP_EXTENSIONS_MAX {
            if next == 0 {
                break;
            }
            let extension_bytes = 4 * usize::from(*rest.bytes.first()?);
            next = *rest.bytes.get(..extension_bytes)?.last()?;
            rest = rest.after(extension_bytes);
        }
        if next != 0 {
            return None;
        }
    }
    // 5G has sessions of Ethernet too.
    Some(enter(rest, if is_ethernet(rest.bytes) { ethernet } else { raw }))
}

/// TZSP, as access points and routers mirror by: tags, then an Ethernet frame.
fn tzsp(packet: Seen<'_>) -> Option<Content<'_>> {
    // Version 1; a received packet, or one to be sent; Ethernet.
    let &[1, 0 | 1, 0, 1] = packet.bytes.first_chunk()? else { return None };
    let mut rest = packet.after(4);
    for _ in 0..TZSP_TAGS_MAX {
        match *rest.bytes {
            [0, ..] => rest = rest.after(1),
            [1, ..] => return Some(enter(rest.after(1), ethernet)),
            [_, length, ref data @ ..] if usize::from(length) <= data.len() => {
                rest = rest.after(2 + usize::from(length));
            }
            _ => return None,
        }
    }
    None
}

pub(super) const MPLS: EtherType = EtherType(0x8847);
/// RFC 5332: with labels given out upstream, once multicast.
pub(super) const MPLS_UPSTREAM: EtherType = EtherType(0x8848);
pub(super) const PPPOE_SESSION: EtherType = EtherType(0x8864);
/// "Transparent Ethernet bridging".
const ETHERNET: EtherType = EtherType(0x6558);
const ERSPAN: EtherType = EtherType(0x88be);
const ERSPAN_III: EtherType = EtherType(0x22eb);
const PPP: EtherType = EtherType(0x880b);
const GRE_CHECKSUM: u8 = 0x80;
const GRE_ROUTING: u8 = 0x40;
const GRE_KEY: u8 = 0x20;
const GRE_SEQUENCE: u8 = 0x10;
const VXLAN_PORT: u16 = 4_789;
/// What Linux had before there was a number, and still has by default.
const VXLAN_LINUX_PORT: u16 = 8_472;
const VXLAN_GPE_PORT: u16 = 4_790;
const GENEVE_PORT: u16 = 6_081;
const GTP_U_PORT: u16 = 2_152;
const TZSP_PORT: u16 = 37_008;
/// Providers have five or six at worst; without an end a frame of labels would cost a loop over it.
const MPLS_LABELS_MAX: usize = 16;
const GTP_EXTENSIONS_MAX: usize = 8;
const TZSP_TAGS_MAX: usize = 32;

#[cfg(test)]
mod tests;
