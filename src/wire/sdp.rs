//! Session descriptions (RFC 8866), as much as a recorder needs.
//!
//! One lenient scan of the lines instead of the `sdp-types` crate with such a scan behind it: the
//! crate refuses a whole body for a session version that is no number, a trailing NUL or a missing
//! `s=`, so the scan must know every line anyway, and one reader cannot disagree with itself. Lines
//! that are not understood are passed over; only a body without any `m=` line is refused.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use crate::base::endpoint::{Endpoint, Ip};
use crate::base::format::Format;
use crate::base::limits::SDP_MEDIA_MAX;

/// `m=` media type.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MediaKind {
    /// `audio`.
    Audio,
    /// `video`, `image`, `message`, `application` and others.
    Other,
}

/// `a=sendrecv` and the like (RFC 3264 section 5.1).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Direction {
    /// Neither.
    Inactive,
    /// Only receives.
    RecvOnly,
    /// Only sends: puts the other on hold.
    SendOnly,
    /// Both.
    #[default]
    SendRecv,
}

/// An ICE candidate (RFC 8839 section 5.1).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Candidate {
    /// 1 for RTP, 2 for RTCP.
    pub component: u16,
    /// Where.
    pub endpoint: Endpoint,
}

/// One `m=` section.
#[derive(Clone, Debug)]
pub struct MediaDescription {
    /// Media type.
    pub kind: MediaKind,
    /// Port; 0 where refused, or where it cannot be read.
    pub port: u16,
    /// Transport protocol in upper case, as `RTP/AVP`.
    pub protocol: String,
    /// `c=` of the section, else of the session; none where it is a name.
    pub connection: Option<Ip>,
    /// Direction, of the section or else of the session.
    pub direction: Direction,
    /// Payload types of the `m=` line and of `a=rtpmap`, where one of them or the static table says
    /// what they mean.
    pub formats: BTreeMap<u8, Format>,
    /// `a=rtcp` (RFC 3605): port, and address where it differs.
    pub rtcp: Option<(u16, Option<Ip>)>,
    /// `a=rtcp-mux` (RFC 5761).
    pub rtcp_mux: bool,
    /// ICE candidates over UDP whose address is not a name.
    pub candidates: Vec<Candidate>,
    /// `a=crypto` values (RFC 4568).
    pub crypto: Vec<String>,
    /// `a=fingerprint` value (RFC 8122), of the section.
    pub fingerprint: Option<String>,
    /// `a=ptime` in milliseconds.
    pub ptime_ms: Option<u32>,
    /// `a=mid` (RFC 5888), by which `a=group` names the section.
    pub mid: Option<String>,
}

/// A session description.
#[derive(Clone, Debug)]
pub struct SessionDescription {
    /// `a=fingerprint` of the session.
    pub fingerprint: Option<String>,
    /// `a=group` values (RFC 5888), as `BUNDLE 0 1`.
    pub groups: Vec<String>,
    /// Its `m=` sections, at most [`SDP_MEDIA_MAX`].
    pub media: Vec<MediaDescription>,
}

/// Why a body is no session description.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SdpError {
    /// No `m=` line at all.
    #[error("no media description")]
    NoMedia,
}

impl SessionDescription {
    /// Reads a body.
    pub fn parse(body: &[u8]) -> Result<Self, SdpError> {
        let mut session = Section::default();
        let mut groups = Vec::new();
        let mut sections: Vec<Section> = Vec::new();
        for line in body.split(|byte| matches!(byte, b'\n' | b'\r' | 0)) {
            let Some((kind, value)) = field(line) else { continue };
            if kind == b'm' {
                if sections.len() == SDP_MEDIA_MAX {
                    break;
                }
                sections.push(Section { line: value.into_owned(), ..Section::default() });
            } else if let Some(section) = sections.last_mut() {
                section.note(kind, &value);
            } else if let Some(group) = value.strip_prefix("group:").filter(|_| kind == b'a') {
                push_capped(&mut groups, group.trim());
            } else {
                session.note(kind, &value);
            }
        }
        if sections.is_empty() {
            return Err(SdpError::NoMedia);
        }
        let media = sections.into_iter().map(|section| section.finish(&session)).collect();
        Ok(Self { fingerprint: session.fingerprint, groups, media })
    }
}

/// What the lines of a section, or those before the first, say.
#[derive(Debug, Default)]
struct Section {
    line: String,
    /// The outer option is the line, the inner one whether it held an address.
    connection: Option<Option<Ip>>,
    direction: Option<Direction>,
    maps: BTreeMap<u8, Format>,
    parameters: BTreeMap<u8, String>,
    rtcp: Option<(u16, Option<Ip>)>,
    rtcp_mux: bool,
    candidates: Vec<Candidate>,
    crypto: Vec<String>,
    fingerprint: Option<String>,
    ptime_ms: Option<u32>,
    mid: Option<String>,
}

impl Section {
    fn note(&mut self, kind: u8, value: &str) {
        if kind == b'c' {
            self.connection.get_or_insert_with(|| address(value));
        } else if kind == b'a' {
            let (name, value) = value.split_once(':').unwrap_or((value, ""));
            self.attribute(&name.trim().to_ascii_lowercase(), value.trim());
        }
    }

    fn attribute(&mut self, name: &str, value: &str) {
        match name {
            "sendrecv" => self.direction = Some(Direction::SendRecv),
            "sendonly" => self.direction = Some(Direction::SendOnly),
            "recvonly" => self.direction = Some(Direction::RecvOnly),
            "inactive" => self.direction = Some(Direction::Inactive),
            "rtpmap" => {
                if let Some((payload_type, format)) = rtpmap(value) {
                    self.maps.entry(payload_type).or_insert(format);
                }
            }
            "fmtp" => self.fmtp(value),
            "rtcp" => self.rtcp = self.rtcp.or_else(|| rtcp(value)),
            "rtcp-mux" => self.rtcp_mux = true,
            "candidate" if self.candidates.len() < LIST_MAX => self.candidates.extend(candidate(value)),
            "crypto" => push_capped(&mut self.crypto, value),
            "fingerprint" => {
                self.fingerprint.get_or_insert_with(|| value.to_owned());
            }
            "ptime" => self.ptime_ms = self.ptime_ms.or_else(|| leading_number(value)),
            "mid" => {
                self.mid.get_or_insert_with(|| value.to_owned());
            }
            _ => {}
        }
    }

    /// Parameters of one payload type may come on several lines.
    fn fmtp(&mut self, value: &str) {
        let (payload_type, parameters) = value.split_once(is_blank).unwrap_or((value, ""));
        let Some(payload_type) = payload_type_of(payload_type) else { return };
        let known = self.parameters.entry(payload_type).or_default();
        if known.len() + parameters.len() > LINE_BYTES_MAX {
            return;
        }
        if !known.is_empty() {
            known.push(';');
        }
        known.push_str(parameters.trim());
    }

    fn finish(mut self, session: &Self) -> MediaDescription {
        let mut words = self.line.split(is_blank).filter(|word| !word.is_empty());
        let kind = words.next().unwrap_or_default();
        let kind = if kind.eq_ignore_ascii_case("audio") { MediaKind::Audio } else { MediaKind::Other };
        let port = words.next().unwrap_or_default();
        let port = port.split('/').next().unwrap_or_default().parse().unwrap_or(0);
        let protocol = words.next().unwrap_or_default().to_ascii_uppercase();
        let mut formats = std::mem::take(&mut self.maps);
        // `m=image 4000 udptl t38` lists no payload types.
        for payload_type in words.filter(|_| protocol.contains("RTP/")).filter_map(payload_type_of) {
            if let Some(format) = Format::static_payload_type(payload_type) {
                formats.entry(payload_type).or_insert(format);
            }
        }
        for (payload_type, parameters) in self.parameters {
            if let Some(format) = formats.get_mut(&payload_type) {
                format.fmtp = parameters;
            }
        }
        MediaDescription {
            kind,
            port,
            protocol,
            connection: self.connection.or(session.connection).flatten(),
            direction: self.direction.or(session.direction).unwrap_or_default(),
            formats,
            rtcp: self.rtcp,
            rtcp_mux: self.rtcp_mux,
            candidates: self.candidates,
            crypto: self.crypto,
            fingerprint: self.fingerprint,
            ptime_ms: self.ptime_ms,
            mid: self.mid,
        }
    }
}

/// Splits `x=value`; white space around the sign is one of the faults of RFC 4475.
fn field(line: &[u8]) -> Option<(u8, std::borrow::Cow<'_, str>)> {
    let line = line.trim_ascii_start();
    let (kind, _) = line.split_first()?;
    // A long `m=` line still begins a section, or what follows would be said of the one before.
    if line.len() > LINE_BYTES_MAX && !kind.eq_ignore_ascii_case(&b'm') {
        return None;
    }
    let rest = &line[1..line.len().min(LINE_BYTES_MAX)];
    let value = rest.trim_ascii_start().strip_prefix(b"=")?.trim_ascii();
    // Values are text; what is not UTF-8 can only be in names and free text, which nobody reads here.
    Some((kind.to_ascii_lowercase(), String::from_utf8_lossy(value)))
}

/// `96 opus/48000/2` (RFC 8866 section 6.6). A clock rate left out is that of the static table, or 8000.
fn rtpmap(value: &str) -> Option<(u8, Format)> {
    let (payload_type, rest) = value.split_once(is_blank)?;
    let payload_type = payload_type_of(payload_type)?;
    let mut parts = rest.trim().split('/').map(str::trim);
    let encoding = parts.next().filter(|name| !name.is_empty() && name.len() <= ENCODING_BYTES_MAX)?;
    let table = Format::static_payload_type(payload_type);
    let rate = parts.next().and_then(leading_number).filter(|rate| *rate > 0);
    let rate = rate.or(table.map(|format| format.clock_rate_hz)).unwrap_or(8_000);
    let channels = parts.next().and_then(|channels| channels.parse().ok()).filter(|channels| *channels > 0);
    Some((payload_type, Format { channels: channels.unwrap_or(1), ..Format::new(encoding, rate) }))
}

/// `53020 IN IP4 126.16.64.4` (RFC 3605).
fn rtcp(value: &str) -> Option<(u16, Option<Ip>)> {
    let (port, rest) = value.split_once(is_blank).unwrap_or((value, ""));
    Some((port.parse().ok()?, address(rest)))
}

/// `1 1 UDP 2130706431 192.0.2.1 8998 typ host` (RFC 8839 section 5.1).
fn candidate(value: &str) -> Option<Candidate> {
    let mut words = value.split(is_blank).filter(|word| !word.is_empty());
    let _foundation = words.next()?;
    let component = words.next()?.parse().ok()?;
    let udp = words.next()?.eq_ignore_ascii_case("udp");
    let _priority = words.next()?;
    let ip = literal(words.next()?)?;
    let port = words.next()?.parse().ok().filter(|port| *port != 0)?;
    udp.then_some(Candidate { component, endpoint: Endpoint::new(ip, port) })
}

/// `IN IP4 224.2.1.1/127/3`: the address type is not believed over the address.
fn address(value: &str) -> Option<Ip> {
    literal(value.split(is_blank).rfind(|word| !word.is_empty())?)
}

/// Reads an address without its TTL, count of addresses or zone.
fn literal(word: &str) -> Option<Ip> {
    let word = word.split(['/', '%']).next()?.trim_start_matches('[').trim_end_matches(']');
    if let Ok(v6) = word.parse::<Ipv6Addr>() {
        return Some(Ip::v6(v6.octets()));
    }
    // Some devices write leading zeros, as in 192.168.001.010, and mean decimal.
    let mut octets = [0; 4];
    let mut parts = word.split('.');
    for octet in &mut octets {
        let digits = parts.next().filter(|part| (1..=3).contains(&part.len()))?;
        *octet = digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())??;
    }
    parts.next().is_none().then(|| Ipv4Addr::from(octets).into())
}

fn payload_type_of(word: &str) -> Option<u8> {
    word.parse().ok().filter(|payload_type| *payload_type <= 127)
}

/// `20` of `20` and of `20.0`.
fn leading_number(value: &str) -> Option<u32> {
    let end = value.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(value.len());
    value[..end].parse().ok()
}

fn push_capped(list: &mut Vec<String>, value: &str) {
    if list.len() < LIST_MAX {
        list.push(value.to_owned());
    }
}

fn is_blank(letter: char) -> bool {
    matches!(letter, ' ' | '\t')
}

/// Longer lines are passed over.
const LINE_BYTES_MAX: usize = 4_096;
/// Candidates, keys or groups of one section.
const LIST_MAX: usize = 32;
/// Longer names are no encodings.
const ENCODING_BYTES_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> SessionDescription {
        SessionDescription::parse(text.as_bytes()).unwrap()
    }

    fn ip(text: &str) -> Option<Ip> {
        Some(text.parse::<std::net::IpAddr>().unwrap().into())
    }

    #[test]
    fn a_usual_offer() {
        let offer = parse(
            "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nb=AS:84\r\nt=0 0\r\na=sendonly\r\n\
             a=group:BUNDLE 0 1\r\na=fingerprint:sha-256 AA:BB\r\n\
             m=audio 49170/2 RTP/AVP 96 8 0 101 13\r\na=rtpmap:96 opus/48000/2\r\na=fmtp:96 useinbandfec=1\r\n\
             a=fmtp:96 stereo=1\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=ptime:20.0\r\n\
             a=rtcp:53020 IN IP4 192.0.2.9\r\na=rtcp-mux\r\na=mid:0\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:x\r\n\
             m=video 0 RTP/SAVPF 31\r\nc=IN IP6 2001:db8::1\r\na=inactive\r\na=fingerprint:sha-1 CC\r\na=rtcp:9",
        );
        let [audio, video] = &offer.media[..] else { panic!("{offer:?}") };
        assert_eq!((audio.kind, audio.port, audio.protocol.as_str()), (MediaKind::Audio, 49170, "RTP/AVP"));
        assert_eq!((audio.connection, audio.direction), (ip("192.0.2.1"), Direction::SendOnly));
        assert_eq!(audio.formats.keys().copied().collect::<Vec<_>>(), [0, 8, 13, 96, 101]);
        assert_eq!(audio.formats[&96].to_string(), "OPUS/48000/2");
        assert_eq!(audio.formats[&96].fmtp, "useinbandfec=1;stereo=1");
        assert_eq!(audio.formats[&101].encoding, "TELEPHONE-EVENT");
        assert_eq!(audio.formats[&8], Format::new("PCMA", 8_000));
        assert_eq!((audio.ptime_ms, audio.rtcp_mux), (Some(20), true));
        assert_eq!(audio.rtcp, Some((53020, ip("192.0.2.9"))));
        assert_eq!(audio.crypto, ["1 AES_CM_128_HMAC_SHA1_80 inline:x"]);
        assert_eq!((audio.fingerprint.as_deref(), audio.mid.as_deref()), (None, Some("0")));
        assert_eq!((video.kind, video.port, video.connection), (MediaKind::Other, 0, ip("2001:db8::1")));
        assert_eq!((video.direction, video.rtcp), (Direction::Inactive, Some((9, None))));
        assert_eq!(video.fingerprint.as_deref(), Some("sha-1 CC"));
        assert_eq!(offer.fingerprint.as_deref(), Some("sha-256 AA:BB"));
        assert_eq!(offer.groups, ["BUNDLE 0 1"]);
    }

    #[test]
    fn addresses_as_they_are_written() {
        for (value, want) in [
            ("IN IP4 224.2.1.1/127/3", ip("224.2.1.1")),
            ("IN IP6 FF15::101/3", ip("ff15::101")),
            ("IN IP6 fe80::1%eth0", ip("fe80::1")),
            ("IN IP4 2001:db8::7", ip("2001:db8::7")),
            ("IN IP6 [2001:db8::7]", ip("2001:db8::7")),
            ("IN IP6 ::ffff:192.0.2.2", ip("192.0.2.2")),
            ("IN  IP4\t192.168.001.010 ", ip("192.168.1.10")),
            ("IN IP4 0.0.0.0", ip("0.0.0.0")),
            ("IN IP4 host.example.com", None),
            ("IN IP4 1.2.3.4.5", None),
            ("IN IP4 1.2.3.+4", None),
            ("IN IP4 1.2.3.256", None),
            ("", None),
        ] {
            assert_eq!(address(value), want, "{value}");
        }
        // A name in the section hides the session's address: nobody listens there.
        let named =
            parse("c=IN IP4 192.0.2.1\nm=audio 4000 RTP/AVP 0\nc=IN IP4 host.example.com\nc=IN IP4 1.2.3.4");
        assert_eq!(named.media[0].connection, None);
    }

    #[test]
    fn candidates_with_literal_addresses() {
        let found = parse(
            "m=audio 9 UDP/TLS/RTP/SAVPF 111\na=candidate:1 1 udp 2130706431 192.0.2.5 5000 typ host generation 0\n\
             a=candidate:1 2 UDP 2130706430 2001:db8::5 5001 typ srflx raddr 10.0.0.1 rport 9\n\
             a=candidate:2 1 udp 1 8f1c.local 5002 typ host\na=candidate:3 1 tcp 1 192.0.2.5 9 typ host tcptype active\n\
             a=candidate:4 1 udp 1 192.0.2.5 0 typ host\na=candidate:5\n",
        );
        let media = &found.media[0];
        let at = |text: &str, port| Endpoint::new(ip(text).unwrap(), port);
        let want = [(1, at("192.0.2.5", 5000)), (2, at("2001:db8::5", 5001))];
        assert_eq!(media.candidates, want.map(|(component, endpoint)| Candidate { component, endpoint }));
        assert_eq!((media.protocol.as_str(), media.formats.len()), ("UDP/TLS/RTP/SAVPF", 0));
    }

    #[test]
    fn faults_that_are_read_over() {
        let odd = parse(
            "v=0\ro=x none 1\r m =Audio  5004  rtp/avp 0 0 200 x\ra = RTPMAP:0  pcmu\ra=rtpmap:97 L16/0/0\0\0\0",
        );
        let media = &odd.media[0];
        assert_eq!((media.kind, media.port, media.protocol.as_str()), (MediaKind::Audio, 5004, "RTP/AVP"));
        assert_eq!(media.formats[&0], Format::new("PCMU", 8_000));
        assert_eq!(media.formats[&97], Format::new("L16", 8_000));
        let fax = parse("m=image 4000 udptl t38 0\nm=audio 70000 RTP/AVP 0\nm=\nm=audio");
        assert_eq!(fax.media.iter().map(|media| media.port).collect::<Vec<_>>(), [4000, 0, 0, 0]);
        assert!(fax.media[0].formats.is_empty());
        for nothing in ["", "v=0\r\ns=-\r\n", "\0\0", "m audio", "=m"] {
            assert_eq!(
                SessionDescription::parse(nothing.as_bytes()).err(),
                Some(SdpError::NoMedia),
                "{nothing}"
            );
        }
    }

    #[test]
    fn everything_has_a_ceiling() {
        let many = "m=audio 1 RTP/AVP 0\n".repeat(SDP_MEDIA_MAX + 1) + "a=inactive\n";
        let found = parse(&many);
        assert_eq!(found.media.len(), SDP_MEDIA_MAX);
        assert_eq!(found.media[SDP_MEDIA_MAX - 1].direction, Direction::SendRecv);
        let line = "a=crypto:x\na=candidate:1 1 udp 1 192.0.2.5 5 typ host\na=fmtp:0 abcdefgh\n";
        let long = format!("a=mid:{}\n", "x".repeat(LINE_BYTES_MAX));
        let found = parse(&format!("m=audio 1 RTP/AVP 0\n{long}{}", line.repeat(2_000)));
        let media = &found.media[0];
        assert_eq!((media.crypto.len(), media.candidates.len(), &media.mid), (LIST_MAX, LIST_MAX, &None));
        assert!(media.formats[&0].fmtp.len() <= LINE_BYTES_MAX + 1);
        let found = parse(&format!(
            "m=audio 1 RTP/AVP 0\nm=video 2 RTP/AVP{}\na=inactive\n",
            " 31".repeat(LINE_BYTES_MAX)
        ));
        assert_eq!((found.media[0].direction, found.media[1].port), (Direction::SendRecv, 2));
    }

    #[test]
    fn any_bytes_are_read() {
        let seed = b"v=0\r\nc=IN IP4 192.0.2.1\r\nm=audio 4/2 RTP/AVP 0 96\r\na=rtpmap:96 opus/48000/2\r\n\
            a=fmtp:96 x=1\r\na=rtcp:5 IN IP4 1.2.3.4\r\na=candidate:1 1 udp 1 1.2.3.4 5 typ host\r\na=ptime:20\r\n";
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let mut random = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 16) as usize
        };
        let mut read = 0;
        for _ in 0..10_000 {
            let mut bytes = seed.to_vec();
            for _ in 0..1 + random() % 8 {
                let at = random() % bytes.len();
                if random() % 3 == 0 {
                    bytes[at] = random() as u8;
                } else {
                    bytes[at] = seed[random() % seed.len()];
                }
            }
            bytes.truncate(random() % (2 * bytes.len()));
            if let Ok(found) = SessionDescription::parse(&bytes) {
                read += 1;
                assert!(found.media.iter().all(|media| media.formats.keys().all(|key| *key <= 127)));
            }
        }
        assert!(read > 5_000, "{read}");
    }
}
