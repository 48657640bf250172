//! WebSocket frames (RFC 6455 section 5), as SIP uses them: one of its messages is one of theirs
//! (RFC 7118 section 5). Compressed ones (RFC 7692) are not read.

use crate::base::limits::SIP_MESSAGE_BYTES_MAX;

/// What the beginning of a stream of frames holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum WebFraming {
    /// Not enough to tell. Ask again when there is more.
    Incomplete,
    /// A message of so many bytes with its frames' headers, and control frames that came between.
    Message(usize),
    /// A ping, a pong or a close of so many bytes.
    Control(usize),
    /// No frames, or past the limits.
    Other,
}

struct Header {
    last: bool,
    opcode: u8,
    /// Zero where the payload is not masked, as from servers.
    mask: [u8; 4],
    header_bytes: usize,
    payload_bytes: usize,
}

/// Measures the first message or control frame of a stream.
pub fn measure(bytes: &[u8]) -> WebFraming {
    let (mut at, mut begun) = (0, false);
    for _ in 0..FRAMES_MAX {
        let rest = &bytes[at..];
        if rest.first().is_some_and(|first| !is_first_byte(*first)) {
            return WebFraming::Other;
        }
        let Some(header) = Header::parse(rest) else { return WebFraming::Incomplete };
        let frame_bytes = header.header_bytes.saturating_add(header.payload_bytes);
        let fits = if header.is_control() {
            header.last && header.payload_bytes <= CONTROL_BYTES_MAX
        } else {
            (header.opcode == CONTINUATION) == begun
        };
        if !fits || frame_bytes > SIP_MESSAGE_BYTES_MAX || at > SIP_MESSAGE_BYTES_MAX {
            return WebFraming::Other;
        }
        at += frame_bytes;
        if at > bytes.len() {
            return WebFraming::Incomplete;
        }
        match header.is_control() {
            true if !begun => return WebFraming::Control(at),
            false if header.last => return WebFraming::Message(at),
            is_control => begun |= !is_control,
        }
    }
    WebFraming::Other
}

/// Returns what data frames carry, unmasked, as far as `bytes` have it.
pub fn payload(bytes: &[u8]) -> Vec<u8> {
    let mut payload = Vec::new();
    let mut rest = bytes;
    while let Some(header) = Header::parse(rest) {
        let data = &rest[header.header_bytes..];
        let (data, after) = data.split_at(header.payload_bytes.min(data.len()));
        if !header.is_control() {
            payload.extend(data.iter().zip(header.mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        }
        rest = after;
    }
    payload
}

/// Whether `bytes` could begin with the first frame of a message.
pub fn begins_message(bytes: &[u8]) -> bool {
    matches!(bytes.first(), Some(0x01 | 0x02 | 0x81 | 0x82))
}

impl Header {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let &[first, second] = bytes.first_chunk()?;
        let (payload_bytes, mut header_bytes) = match second & 0x7f {
            126 => (usize::from(u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?)), 4),
            127 => {
                let length = u64::from_be_bytes(*bytes.get(2..)?.first_chunk()?);
                (usize::try_from(length).unwrap_or(usize::MAX), 10)
            }
            short => (usize::from(short), 2),
        };
        let mut mask = [0; 4];
        if second & 0x80 != 0 {
            mask = *bytes.get(header_bytes..)?.first_chunk()?;
            header_bytes += 4;
        }
        Some(Self { last: first & 0x80 != 0, opcode: first & 0x0f, mask, header_bytes, payload_bytes })
    }

    fn is_control(&self) -> bool {
        self.opcode >= 8
    }
}

/// Whether the reserved bits are 0 and the opcode is one that there is.
fn is_first_byte(byte: u8) -> bool {
    byte & 0x70 == 0 && matches!(byte & 0x0f, 0..=2 | 8..=10)
}

const CONTINUATION: u8 = 0;
const CONTROL_BYTES_MAX: usize = 125;
/// Frames of one message. Nobody cuts SIP into many, and each is looked at again as more comes.
const FRAMES_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(first: u8, mask: Option<[u8; 4]>, payload: &[u8]) -> Vec<u8> {
        let masked = if mask.is_some() { 0x80 } else { 0 };
        let mut bytes = vec![first];
        match payload.len() {
            short @ 0..126 => bytes.push(masked | short as u8),
            long @ 126..65_536 => {
                bytes.push(masked | 126);
                bytes.extend_from_slice(&(long as u16).to_be_bytes());
            }
            longest => {
                bytes.push(masked | 127);
                bytes.extend_from_slice(&(longest as u64).to_be_bytes());
            }
        }
        bytes.extend_from_slice(mask.as_ref().map_or(&[], |mask| &mask[..]));
        let mask = mask.unwrap_or_default();
        bytes.extend(payload.iter().enumerate().map(|(at, byte)| byte ^ mask[at % 4]));
        bytes
    }

    #[test]
    fn one_frame_of_any_length_masked_or_not() {
        for length in [0, 5, 125, 126, 65_535, 65_536] {
            for mask in [None, Some([1, 2, 3, 0xff])] {
                let text: Vec<u8> = (0..length).map(|at: u32| at as u8).collect();
                let bytes = frame(0x81, mask, &text);
                assert_eq!(measure(&bytes), WebFraming::Message(bytes.len()));
                assert_eq!(measure(&[&bytes[..], b"more"].concat()), WebFraming::Message(bytes.len()));
                assert_eq!(measure(&bytes[..bytes.len() - 1]), WebFraming::Incomplete);
                assert_eq!(payload(&bytes), text);
            }
        }
        // The RFC's own example, section 5.7.
        let hello = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
        assert_eq!((measure(&hello), payload(&hello)), (WebFraming::Message(11), b"Hello".to_vec()));
    }

    #[test]
    fn parts_with_a_ping_between() {
        let bytes = [frame(0x01, Some([7; 4]), b"Hel"), frame(0x89, None, b"ping"), frame(0x80, None, b"lo")]
            .concat();
        assert_eq!((measure(&bytes), payload(&bytes)), (WebFraming::Message(bytes.len()), b"Hello".to_vec()));
        assert_eq!(measure(&bytes[..9]), WebFraming::Incomplete);
        let ping = frame(0x8a, Some([1; 4]), b"pong");
        assert_eq!(measure(&ping), WebFraming::Control(ping.len()));
    }

    #[test]
    fn what_is_no_frame() {
        assert_eq!(measure(&[]), WebFraming::Incomplete);
        assert_eq!(measure(b"GET / HTTP/1.1"), WebFraming::Other);
        assert_eq!(measure(&frame(0xc1, None, b"compressed")), WebFraming::Other);
        assert_eq!(measure(&frame(0x80, None, b"nothing to continue")), WebFraming::Other);
        assert_eq!(measure(&[frame(0x01, None, b"a"), frame(0x81, None, b"b")].concat()), WebFraming::Other);
        assert_eq!(measure(&frame(0x09, None, b"a ping in parts")), WebFraming::Other);
        assert_eq!(measure(&[0x81, 127, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]), WebFraming::Other);
        assert_eq!(measure(&frame(0x01, None, b"").repeat(2)), WebFraming::Other);
        let endless = [frame(0x01, None, b""), frame(0x00, None, b"").repeat(100)].concat();
        assert_eq!(measure(&endless), WebFraming::Other);
    }

    #[test]
    fn any_bytes_have_an_answer() {
        let mut state = 3_u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        let mut found = 0;
        for round in 0..20_000_usize {
            let mut bytes: Vec<u8> = (0..round % 40).map(|_| next()).collect();
            if let [first, second, ..] = &mut bytes[..] {
                *first &= 0x8f;
                *second &= 0x9f;
            }
            if let WebFraming::Message(length) | WebFraming::Control(length) = measure(&bytes) {
                assert!(length <= bytes.len() && payload(&bytes[..length]).len() < length);
                found += 1;
            }
            let _ = payload(&bytes);
        }
        assert!(found > 500, "{found}");
    }
}
