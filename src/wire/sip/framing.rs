//! Where messages begin and end in a stream (RFC 3261 section 7.5 and 18.3).

use crate::base::limits::{SIP_HEADERS_MAX, SIP_MESSAGE_BYTES_MAX};
use crate::wire::sip::SipError;
use crate::wire::sip::header::{Headers, line_end, split_line, trim};
use crate::wire::sip::start_line::{StartLine, TOKEN_BYTES_MAX, is_token, is_token_byte};
use crate::wire::sip::{content_length, skip_line_ends};

/// What the beginning of a stream holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Framing {
    /// The beginning of a message, as far as it can be told. Ask again when there is more.
    Incomplete,
    /// A whole message of so many bytes, keep-alive line ends before it included.
    Whole(usize),
    /// No message, or one past the limits, whose end is not looked for.
    NotSip,
}

/// Whether bytes begin with a start line.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Opening {
    /// They cannot.
    Other,
    /// They do.
    Start,
    /// The line is not whole yet, and could be one.
    Unclear,
}

/// Measures the first message of a stream. Without Content-Length, a message in a stream has no body.
pub fn frame_length(bytes: &[u8]) -> Framing {
    let message = skip_line_ends(bytes);
    match opening(message) {
        Opening::Other => return Framing::NotSip,
        Opening::Unclear => return Framing::Incomplete,
        Opening::Start => {}
    }
    let Some(head) = head_end(message, 0) else {
        return if message.len() > SIP_MESSAGE_BYTES_MAX { Framing::NotSip } else { Framing::Incomplete };
    };
    match message_length(&message[..head]) {
        None => Framing::NotSip,
        Some(length) if length > message.len() => Framing::Incomplete,
        Some(length) => Framing::Whole(bytes.len() - message.len() + length),
    }
}

/// Tells whether `bytes` begin with a start line. A version or status that makes no sense does not
/// make it another protocol.
pub fn opening(bytes: &[u8]) -> Opening {
    let window = &bytes[..bytes.len().min(START_LINE_BYTES_MAX)];
    if let Some(end) = line_end(window) {
        return match StartLine::parse(&window[..end]) {
            Err(SipError::NotSip) => Opening::Other,
            _ => Opening::Start,
        };
    }
    let word = window.iter().position(|byte| !is_token_byte(*byte)).unwrap_or(window.len());
    let response = window.len().min(4);
    let plausible = window[..response].eq_ignore_ascii_case(&b"SIP/"[..response])
        || (word > 0 && word <= TOKEN_BYTES_MAX && matches!(window.get(word), None | Some(b' ' | b'\t')));
    let text = window.iter().all(|byte| !byte.is_ascii_control() || matches!(byte, b'\t' | b'\r'));
    let room = bytes.len() < START_LINE_BYTES_MAX;
    if plausible && text && room { Opening::Unclear } else { Opening::Other }
}

/// Returns the length of start line and headers with the empty line, if it is there. `searched`
/// bytes were looked at before. `bytes` must begin with the start line.
pub fn head_end(bytes: &[u8], searched: usize) -> Option<usize> {
    let mut at = searched.saturating_sub(2);
    while let Some(end) = line_end(bytes.get(at..)?) {
        at += end + 1;
        match bytes.get(at..)? {
            [b'\n', ..] => return Some(at + 1),
            [b'\r', b'\n', ..] => return Some(at + 2),
            _ => {}
        }
    }
    None
}

/// Returns the length of the message that `head` begins, unless it is past the limits. A
/// Content-Length that is no number counts as none.
pub fn message_length(head: &[u8]) -> Option<usize> {
    let (_, lines) = split_line(head);
    let mut body = None;
    for (number, line) in Headers::new(lines).enumerate() {
        if number >= SIP_HEADERS_MAX {
            return None;
        }
        if body.is_none() && line.is(b"Content-Length") {
            body = content_length(line.value);
        }
    }
    let length = head.len().saturating_add(body.unwrap_or(0));
    (length <= SIP_MESSAGE_BYTES_MAX).then_some(length)
}

/// Finds the first line that is a start line and has a header line after it, so that a message
/// quoted in a body (`message/sipfrag`) is not taken for one.
pub fn find_start(bytes: &[u8]) -> Option<usize> {
    let mut rest = bytes;
    while let Some(end) = line_end(rest) {
        let (line, after) = (&rest[..end], &rest[end + 1..]);
        if StartLine::parse(line).is_ok() && begins_with_header(after) {
            return Some(bytes.len() - rest.len());
        }
        rest = after;
    }
    None
}

/// Whether the next line is a header, or is not there yet.
fn begins_with_header(bytes: &[u8]) -> bool {
    let end = bytes.iter().position(|byte| matches!(byte, b':' | b'\n'));
    end.is_none_or(|end| bytes[end] == b':' && is_token(trim(&bytes[..end])))
}

/// Longest start line looked for in a stream.
const START_LINE_BYTES_MAX: usize = 8 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    const BYE: &[u8] = b"BYE sip:a@b SIP/2.0\r\nl: 4\r\n\r\nbody";

    #[test]
    fn a_message_is_whole_when_its_body_is() {
        for cut in 0..BYE.len() {
            assert_eq!(frame_length(&BYE[..cut]), Framing::Incomplete, "{cut}");
        }
        assert_eq!(frame_length(BYE), Framing::Whole(BYE.len()));
        assert_eq!(frame_length(&[BYE, BYE].concat()), Framing::Whole(BYE.len()));
        assert_eq!(frame_length(&[b"\r\n\r\n", BYE].concat()), Framing::Whole(BYE.len() + 4));
        assert_eq!(frame_length(b"SIP/2.0 200 OK\n\nx"), Framing::Whole(16));
    }

    #[test]
    fn an_empty_line_is_found_wherever_the_search_was_left() {
        for message in [&b"A\r\nb:c\r\n\r\nbody\r\n\r\n"[..], b"A\nb:c\n\nbody\n\n"] {
            let end = head_end(message, 0);
            for searched in 0..end.unwrap() {
                assert_eq!(head_end(message, searched), end, "{searched}");
            }
        }
    }

    #[test]
    fn other_protocols_are_known_by_their_first_bytes() {
        for other in [
            &b"\x16\x03\x01\x02\x00\x01\x00"[..],
            b"GET /ws HTTP/1.1\r\nUpgrade: websocket\r\n",
            b"SSH-2.0-OpenSSH_9\r\n",
            b" INVITE",
            b"INVITE sip:\x01",
            &[b'A'; 200],
            &[0; 8],
        ] {
            assert_eq!(frame_length(other), Framing::NotSip, "{other:?}");
        }
        assert_eq!(opening(b"GET /ws"), Opening::Unclear);
        assert_eq!(opening(b"SIP/2"), Opening::Unclear);
    }

    #[test]
    fn limits_end_the_search() {
        let long = [b"BYE sip:a@b SIP/2.0\r\nContent-Length: 99999999999999999999999\r\n\r\n", BYE].concat();
        assert_eq!(frame_length(&long), Framing::NotSip);
        let many =
            [b"BYE sip:a@b SIP/2.0\r\n", "a:b\r\n".repeat(SIP_HEADERS_MAX + 1).as_bytes(), b"\r\n"].concat();
        assert_eq!(frame_length(&many), Framing::NotSip);
    }

    #[test]
    fn a_start_is_told_from_a_quoted_one() {
        let bytes = [b"tail\r\nSIP/2.0 200 OK\r\n\r\n", BYE].concat();
        assert_eq!(find_start(&bytes), Some(bytes.len() - BYE.len()));
        assert_eq!(find_start(b"x\r\nBYE sip:a@b SIP/2.0\r\nCall-"), Some(3));
        assert_eq!(find_start(b"x\r\nBYE sip:a@b SIP/2.0"), None);
    }
}
