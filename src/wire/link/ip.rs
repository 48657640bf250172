//! IPv4 (RFC 791), IPv6 (RFC 8200), UDP (RFC 768) and TCP (RFC 9293) headers.

use etherparse::err::{ipv4, ipv6, tcp};
use etherparse::ip_number as protocols;
use etherparse::{IpNumber, Ipv4HeaderSlice, Ipv6FragmentHeaderSlice, Ipv6HeaderSlice};
use etherparse::{TcpHeaderSlice, UdpHeaderSlice};

use super::{Content, Fragment, FragmentKey, Seen, Tcp, Udp, tunnel};
use crate::base::counters::Discard;
use crate::base::endpoint::{Endpoint, Ip};

/// Between whom, and what.
#[derive(Clone, Copy)]
pub(super) struct Route {
    pub(super) protocol: u8,
    pub(super) src: Ip,
    pub(super) dst: Ip,
}

/// Where a fragment belongs.
struct Place {
    id: u32,
    offset_bytes: u32,
    more: bool,
}

/// An IPv4 packet.
pub(super) fn v4(packet: Seen<'_>) -> Content<'_> {
    let header = match Ipv4HeaderSlice::from_slice(packet.bytes) {
        Ok(header) => header,
        Err(ipv4::HeaderSliceError::Len(_)) => return Content::Other(packet.too_short()),
        Err(ipv4::HeaderSliceError::Content(_)) => return Content::Other(Discard::Malformed),
    };
    let header_bytes = header.slice().len();
    let datagram = match usize::from(header.total_len()) {
        // Left to the card by segmentation offload: the frame is the datagram.
        0 => Some(packet),
        total if total < header_bytes => None,
        total => packet.limit(total),
    };
    let Some(datagram) = datagram else { return Content::Other(Discard::Malformed) };
    let payload = datagram.after(header_bytes);
    let route = Route {
        protocol: header.protocol().0,
        src: Ip::v4(header.source()),
        dst: Ip::v4(header.destination()),
    };
    if header.is_fragmenting_payload() {
        let place = Place {
            id: u32::from(header.identification()),
            offset_bytes: u32::from(header.fragments_offset().value()) * 8,
            more: header.more_fragments(),
        };
        return fragment(route, &place, payload);
    }
    upper(route, payload)
}

/// An IPv6 packet.
pub(super) fn v6(packet: Seen<'_>) -> Content<'_> {
    let header = match Ipv6HeaderSlice::from_slice(packet.bytes) {
        Ok(header) => header,
        Err(ipv6::HeaderSliceError::Len(_)) => return Content::Other(packet.too_short()),
        Err(ipv6::HeaderSliceError::Content(_)) => return Content::Other(Discard::Malformed),
    };
    let rest = packet.after(header.slice().len());
    let payload = match usize::from(header.payload_length()) {
        // A jumbogram (RFC 2675), or left to the card by segmentation offload.
        0 => Some(rest),
        length => rest.limit(length),
    };
    let Some(payload) = payload else { return Content::Other(Discard::Malformed) };
    let route = Route {
        protocol: header.next_header().0,
        src: Ip::v6(header.source()),
        dst: Ip::v6(header.destination()),
    };
    upper(route, payload)
}

/// What follows an IP header: extension headers (RFC 8200 section 4), then UDP, TCP or a tunnel.
///
/// ICMP is never looked into: the datagram that an error quotes was not sent by the error's sender.
pub(super) fn upper(mut route: Route, mut payload: Seen<'_>) -> Content<'_> {
    for _ in 0..=EXTENSIONS_MAX {
        let header_bytes = match IpNumber(route.protocol) {
            protocols::UDP => return udp(route, payload),
            protocols::TCP => return tcp(route, payload),
            protocols::IPV4
            | protocols::IPV6
            | protocols::GRE
            | protocols::ETHER_IP
            | protocols::MPLS_IN_IP => return tunnel::in_ip(IpNumber(route.protocol), payload),
            protocols::IPV6_FRAG => match Ipv6FragmentHeaderSlice::from_slice(payload.bytes) {
                Err(_) => return Content::Other(payload.too_short()),
                Ok(header) if header.is_fragmenting_payload() => {
                    let place = Place {
                        id: header.identification(),
                        offset_bytes: u32::from(header.fragment_offset().value()) * 8,
                        more: header.more_fragments(),
                    };
                    let route = Route { protocol: header.next_header().0, ..route };
                    return fragment(route, &place, payload.after(header.slice().len()));
                }
                // An atomic fragment (RFC 6946) is a whole datagram.
                Ok(header) => header.slice().len(),
            },
            protocols::IPV6_HOP_BY_HOP | protocols::IPV6_ROUTE | protocols::IPV6_DEST_OPTIONS => {
                payload.bytes.get(1).map_or(usize::MAX, |units| (usize::from(*units) + 1) * 8)
            }
            // RFC 4302 section 2.2: in words, less two.
            protocols::AUTH => payload.bytes.get(1).map_or(usize::MAX, |words| (usize::from(*words) + 2) * 4),
            _ => return Content::Other(not_transport(route.protocol)),
        };
        match payload.bytes.first() {
            Some(next) if payload.bytes.len() >= header_bytes => route.protocol = *next,
            _ => return Content::Other(payload.too_short()),
        }
        payload = payload.after(header_bytes);
    }
    Content::Other(Discard::Malformed)
}

/// Why a datagram of this protocol is not for us.
fn not_transport(protocol: u8) -> Discard {
    match IpNumber(protocol) {
        protocols::ENCAP_SEC | protocols::LAYER2_TUNNELING_PROTOCOL => Discard::Tunnel,
        _ => Discard::NotTelephony,
    }
}

fn fragment<'a>(route: Route, place: &Place, payload: Seen<'a>) -> Content<'a> {
    let Route { protocol, src, dst } = route;
    match IpNumber(protocol) {
        protocols::UDP
        | protocols::TCP
        | protocols::IPV4
        | protocols::IPV6
        | protocols::GRE
        | protocols::ETHER_IP
        | protocols::MPLS_IN_IP
        | protocols::IPV6_HOP_BY_HOP
        | protocols::IPV6_ROUTE
        | protocols::IPV6_DEST_OPTIONS
        | protocols::AUTH => {}
        // Not worth the memory of putting it together.
        _ => return Content::Other(not_transport(protocol)),
    }
    let Ok(wire_bytes) = u32::try_from(payload.bytes.len() + payload.missing) else {
        return Content::Other(Discard::Malformed);
    };
    Content::Fragment(Fragment {
        key: FragmentKey { net: payload.net, src, dst, id: place.id, protocol },
        offset_bytes: place.offset_bytes,
        more: place.more,
        payload: payload.bytes,
        wire_bytes,
        cut: payload.is_cut(),
    })
}

fn udp(route: Route, datagram: Seen<'_>) -> Content<'_> {
    let Ok(header) = UdpHeaderSlice::from_slice(datagram.bytes) else {
        return Content::Other(datagram.too_short());
    };
    let whole = match usize::from(header.length()) {
        // A jumbogram (RFC 2675), or left to the card by segmentation offload.
        0 => Some(datagram),
        length if length < header.slice().len() => None,
        length => datagram.limit(length),
    };
    let Some(whole) = whole else { return Content::Other(Discard::Malformed) };
    Content::Udp(Udp {
        net: whole.net,
        src: Endpoint::new(route.src, header.source_port()),
        dst: Endpoint::new(route.dst, header.destination_port()),
        payload: whole.after(header.slice().len()).bytes,
        cut: whole.is_cut(),
        tunnels: whole.tunnels,
    })
}

fn tcp(route: Route, segment: Seen<'_>) -> Content<'_> {
    let header = match TcpHeaderSlice::from_slice(segment.bytes) {
        Ok(header) => header,
        Err(tcp::HeaderSliceError::Len(_)) => return Content::Other(segment.too_short()),
        Err(tcp::HeaderSliceError::Content(_)) => return Content::Other(Discard::Malformed),
    };
    Content::Tcp(Tcp {
        net: segment.net,
        src: Endpoint::new(route.src, header.source_port()),
        dst: Endpoint::new(route.dst, header.destination_port()),
        sequence: header.sequence_number(),
        syn: header.syn(),
        fin: header.fin(),
        rst: header.rst(),
        payload: segment.after(header.slice().len()).bytes,
        cut: segment.is_cut(),
    })
}

/// RFC 8200 lists six, destination options twice.
const EXTENSIONS_MAX: usize = 8;
