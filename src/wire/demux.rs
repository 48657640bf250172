//! What a datagram is, by its first bytes.

use crate::wire::rtp::looks_like_rtp;

/// What shares a media port (RFC 7983 section 7).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Protocol {
    /// RTP or SRTP.
    Rtp,
    /// RTCP or SRTCP.
    Rtcp,
    /// STUN, with the magic cookie (RFC 8489) or without (RFC 3489).
    Stun,
    /// DTLS, handshake or records.
    Dtls,
    /// ZRTP (RFC 6189).
    Zrtp,
    /// Channel data through a TURN server (RFC 8656 section 12).
    TurnChannel,
    /// None of these: T.38 over UDPTL, keep-alives, anything.
    Other,
}

/// Tells what a datagram on a media port is. Looks at the first 12 bytes at most, except that an RTP
/// header must be whole.
pub fn classify(datagram: &[u8]) -> Protocol {
    match *datagram {
        // RFC 5761 section 4: RTP payload types 64 to 95 are left to RTCP.
        [128..=191, 192..=223, _, _, _, _, _, _, ..] => Protocol::Rtcp,
        [128..=191, ..] if looks_like_rtp(datagram) => Protocol::Rtp,
        [0..=3, ..] if is_stun(datagram) => Protocol::Stun,
        [16..=19, _, _, _, b'Z', b'R', b'T', b'P', _, _, _, _, ..] => Protocol::Zrtp,
        // RFC 9147 section 4: content types up to 26 are followed by a version (1.2 is 0xfefd, and
        // OpenSSL's early one 0x0100); the encrypted records of DTLS 1.3 have no more than the first byte.
        [20..=31, 0xfe | 0x01, ..] if datagram.len() >= DTLS_HEADER_BYTES => Protocol::Dtls,
        [32..=63, ..] if datagram.len() >= DTLS_UNIFIED_BYTES_MIN => Protocol::Dtls,
        [64..=79, _, high, low, ref data @ ..] => {
            let length = usize::from(u16::from_be_bytes([high, low]));
            // Over UDP it may be padded to four bytes.
            if (length..length + 4).contains(&data.len()) { Protocol::TurnChannel } else { Protocol::Other }
        }
        _ => Protocol::Other,
    }
}

/// Whether STUN or channel data carries what a TURN server relays (RFC 8656 sections 11 and 12).
pub fn relays_media(datagram: &[u8]) -> bool {
    matches!(datagram, [64..=79, ..] | [0, SEND_INDICATION | DATA_INDICATION, ..])
}

/// Whether a UDP payload begins like a SIP message: `method uri SIP/2.0` or `SIP/2.0 status`.
///
/// Runs on everything that is not known media, so it decides by the first byte where it can. Empty
/// lines before the message are skipped (RFC 3261 section 7.5); a keep-alive that has nothing else
/// is no message.
pub fn looks_like_sip(payload: &[u8]) -> bool {
    let begin = payload.iter().position(|byte| !matches!(byte, b'\r' | b'\n')).unwrap_or(payload.len());
    let message = &payload[begin..];
    match message.first() {
        Some(first) if is_token(*first) => {}
        _ => return false,
    }
    if message.get(..4).is_some_and(|name| name.eq_ignore_ascii_case(b"SIP/")) {
        return is_status_line(message);
    }
    let method_end = message.iter().take(METHOD_BYTES_MAX + 1).position(|byte| !is_token(*byte));
    let Some((method, [b' ', rest @ ..])) = method_end.and_then(|end| message.split_at_checked(end)) else {
        return false;
    };
    let line = &rest[..rest.len().min(REQUEST_LINE_BYTES_MAX)];
    match line.iter().position(|byte| *byte == b'\n') {
        Some(end) => is_request_tail(&line[..end]),
        // A long URI, or cut by the snap length or in transit: go by the method.
        None => METHODS.contains(&method) && has_sip_scheme(line),
    }
}

/// Whether a port is one that tunnels use: VXLAN (RFC 7348, and Linux's own), VXLAN-GPE, GTP-U,
/// Geneve, TZSP, HEP. Media may use the same numbers, so this is an answer for what nobody claims.
pub fn is_tunnel_port(port: u16) -> bool {
    matches!(port, 2_152 | 4_789 | 4_790 | 6_081 | 8_472 | 9_060 | 37_008)
}

fn is_stun(datagram: &[u8]) -> bool {
    let Some(header) = datagram.first_chunk::<20>() else { return false };
    let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
    if !length.is_multiple_of(4) {
        return false;
    }
    if header[4..8] == STUN_COOKIE {
        return true;
    }
    // RFC 3489: Binding and Shared Secret, and the length must be exact for want of a cookie.
    let kind = u16::from_be_bytes([header[0], header[1]]);
    matches!(kind, 0x0001 | 0x0101 | 0x0111 | 0x0002 | 0x0102 | 0x0112) && length + 20 == datagram.len()
}

/// `SIP/2.0 200 OK`, given that it begins with `SIP/`.
fn is_status_line(message: &[u8]) -> bool {
    matches!(message.get(4..), Some([b'0'..=b'9', b'.', b'0'..=b'9', b' ', b'0'..=b'9', ..]))
}

/// Whether a request line, after its method, ends in `SIP/2.0`. Another version is still SIP, to be
/// refused by the one who reads it.
fn is_request_tail(line: &[u8]) -> bool {
    let line = line.trim_ascii_end();
    line.len() > 8
        && matches!(line[line.len() - 8..], [b' ', s, i, p, b'/', b'0'..=b'9', b'.', b'0'..=b'9']
            if [s, i, p].eq_ignore_ascii_case(b"SIP"))
}

fn has_sip_scheme(uri: &[u8]) -> bool {
    [&b"sip:"[..], b"sips:", b"tel:"]
        .iter()
        .any(|scheme| uri.get(..scheme.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(scheme)))
}

/// RFC 3261 section 25.1.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&byte)
}

const STUN_COOKIE: [u8; 4] = 0x2112_a442_u32.to_be_bytes();
const SEND_INDICATION: u8 = 0x16;
const DATA_INDICATION: u8 = 0x17;
const DTLS_HEADER_BYTES: usize = 13;
/// First byte, one of sequence number, and what RFC 9147 section 4.2.3 needs to hide that number.
const DTLS_UNIFIED_BYTES_MIN: usize = 18;
/// RFC 4475's longest has 43.
const METHOD_BYTES_MAX: usize = 64;
/// A Request-URI with parameters and embedded headers; beyond it the method decides.
const REQUEST_LINE_BYTES_MAX: usize = 2_048;
const METHODS: [&[u8]; 14] = [
    b"ACK",
    b"BYE",
    b"CANCEL",
    b"INFO",
    b"INVITE",
    b"MESSAGE",
    b"NOTIFY",
    b"OPTIONS",
    b"PRACK",
    b"PUBLISH",
    b"REFER",
    b"REGISTER",
    b"SUBSCRIBE",
    b"UPDATE",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn starting(first: &[u8], length: usize) -> Vec<u8> {
        let mut bytes = first.to_vec();
        bytes.resize(length, 0);
        bytes
    }

    #[test]
    fn rtp_and_rtcp_share_the_version() {
        assert_eq!(classify(&starting(&[0x80, 0], 172)), Protocol::Rtp);
        assert_eq!(classify(&starting(&[0x80, 0x80 | 63], 172)), Protocol::Rtp);
        assert_eq!(classify(&starting(&[0x90, 0xe0], 172)), Protocol::Rtp);
        for packet_type in 192..=223 {
            assert_eq!(classify(&starting(&[0x81, packet_type], 8)), Protocol::Rtcp);
        }
        assert_eq!(classify(&starting(&[0x81, 200], 7)), Protocol::Other);
        assert_eq!(classify(&starting(&[0x80, 0], 11)), Protocol::Other);
        assert_eq!(classify(&[]), Protocol::Other);
    }

    #[test]
    fn stun_with_and_without_cookie() {
        let cookie = [&[0, 1, 0, 8][..], &STUN_COOKIE].concat();
        assert_eq!(classify(&starting(&cookie, 28)), Protocol::Stun);
        assert_eq!(classify(&starting(&[1, 1, 0, 8], 28)), Protocol::Stun);
        assert_eq!(classify(&starting(&[1, 1, 0, 8], 29)), Protocol::Other);
        // The first packet of a T.38 session.
        assert_eq!(classify(&starting(&[0, 0, 0, 0], 20)), Protocol::Other);
    }

    #[test]
    fn zrtp_dtls_and_turn() {
        assert_eq!(classify(&starting(b"\x10\0\0\x01ZRTP", 24)), Protocol::Zrtp);
        assert_eq!(classify(&starting(b"\x10\0\0\x01zrtp", 24)), Protocol::Other);
        assert_eq!(classify(&starting(&[22, 0xfe, 0xfd], 60)), Protocol::Dtls);
        assert_eq!(classify(&starting(&[22, 3, 3], 60)), Protocol::Other);
        assert_eq!(classify(&starting(&[0x2f], 60)), Protocol::Dtls);
        assert_eq!(classify(&starting(&[0x40, 0, 0, 5], 12)), Protocol::TurnChannel);
        assert_eq!(classify(&starting(&[0x40, 0, 0, 5], 9)), Protocol::TurnChannel);
        assert_eq!(classify(&starting(&[0x40, 0, 0, 9], 12)), Protocol::Other);
        assert_eq!(classify(b"INVITE sip:a@b SIP/2.0\r\n"), Protocol::Other);
    }

    #[test]
    fn sip_is_told_from_its_look_alikes() {
        let sip: [&[u8]; 9] = [
            b"INVITE sip:bob@example.com SIP/2.0\r\nVia: x",
            b"\r\n\r\nOPTIONS sip:example.com SIP/2.0\r\n\r\n",
            b"SIP/2.0 200 OK\r\n",
            b"sip/2.0 100 \r\n",
            b"!interesting-Method0123456789_*+`.%indeed'~ sip:1_unusual.URI~(to-be!sure) SIP/2.0\r\n",
            b"INVITE  sip:user@example.com  SIP/2.0\r\n",
            b"OPTIONS soap.beep://192.0.2.103:3002 SIP/2.0  \n",
            b"INVITE sip:user@example.com SIP/7.0\r\n",
            b"INVITE sip:cut-by-the-snap-length@exam",
        ];
        for message in sip {
            assert!(looks_like_sip(message), "{}", message.escape_ascii());
        }
        let other: [&[u8]; 12] = [
            b"",
            b"\r\n\r\n",
            b"\0\0\0\0",
            b"GET / HTTP/1.1\r\nHost: x\r\n",
            b"M-SEARCH * HTTP/1.1\r\n",
            b"OPTIONS rtsp://x RTSP/1.0\r\n",
            b"SIP/2.0",
            b"SIP stands for",
            b"SIP/2.0\r\n",
            b"INVITE\r\n SIP/2.0\r\n",
            b"METHOD SIP/2.0\r\n",
            b"INVITEsip:bob@example.com SIP/2.0\r\n",
        ];
        for message in other {
            assert!(!looks_like_sip(message), "{}", message.escape_ascii());
        }
        assert!(!looks_like_sip(&[b'A'; 65_000]));
        assert!(!looks_like_sip(&[b'\n'; 65_000]));
    }

    #[test]
    fn tunnel_ports() {
        let ports: Vec<u16> = (0..=u16::MAX).filter(|port| is_tunnel_port(*port)).collect();
        assert_eq!(ports, [2_152, 4_789, 4_790, 6_081, 8_472, 9_060, 37_008]);
    }

    #[test]
    fn any_bytes_have_an_answer() {
        let mut state = 99_u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        let (mut media, mut sip) = (0, 0);
        for round in 0..20_000_usize {
            let mut bytes: Vec<u8> = (0..round % 64).map(|_| next()).collect();
            media += usize::from(classify(&bytes) != Protocol::Other);
            // Text that is nearly SIP.
            for byte in &mut bytes {
                *byte = b"INVTE sip:@/20.\r\n"[usize::from(*byte) % 17];
            }
            bytes.extend_from_slice(b" SIP/2.0\r\n");
            sip += usize::from(looks_like_sip(&bytes));
        }
        assert!(media > 1_000 && sip > 100 && sip < 19_000, "{media} {sip}");
    }
}
