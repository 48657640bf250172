//! SIP messages (RFC 3261 section 7), scanned in place.
//!
//! A recorder only listens, so it reads whatever both ends may have understood: compact and folded
//! headers, bare LF, white space in odd places, quotes that are never closed, any bytes in values.
//! Only what has no start line, or one that says nothing, is refused. Where a header that must be
//! single is there twice, the first counts.
//!
//! Nothing is copied: a [`Message`] borrows the datagram and holds ranges of it. The headers that a
//! call needs are found while parsing; others are looked up by [`Message::header`] when asked for.

mod body;
mod framing;
mod header;
mod name_addr;
mod start_line;

pub use crate::wire::sip::framing::{
    Framing, Opening, find_start, frame_length, head_end, message_length, opening,
};
pub use crate::wire::sip::header::{Header, Headers, unfold};
pub use crate::wire::sip::name_addr::{NameAddr, user_part};
pub use crate::wire::sip::start_line::{Method, StartLine};

use crate::base::limits::{SIP_HEADERS_MAX, SIP_MESSAGE_BYTES_MAX};
use crate::wire::sip::header::{find_unquoted, parameter, split_line, trim};
use crate::wire::sip::name_addr::NameAddrs;

/// Why bytes are no SIP message. Counted by variant.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SipError {
    /// Nothing but line ends or zeros: a keep-alive (RFC 5626 section 3.5.1).
    #[error("only line ends or zeros")]
    Empty,
    /// More header lines than a message may have.
    #[error("more than {SIP_HEADERS_MAX} header lines")]
    HeadersTooMany,
    /// The first line is neither a Request-Line nor a Status-Line.
    #[error("no SIP start line")]
    NotSip,
    /// The status code is not one of 100 to 699.
    #[error("status code is not one of 100 to 699")]
    Status,
    /// Longer than a message may be.
    #[error("{have} bytes are more than {SIP_MESSAGE_BYTES_MAX}")]
    TooLong {
        /// Bytes there are.
        have: usize,
    },
    /// A version other than 2.0.
    #[error("SIP version is not 2.0")]
    Version,
}

/// A SIP message.
#[derive(Clone, Debug)]
pub struct Message<'a> {
    raw: &'a [u8],
    start: StartLine<'a>,
    headers: Headers<'a>,
    known: Known<'a>,
    body: &'a [u8],
    body_cut: bool,
    headers_cut: bool,
}

/// Headers that a call needs from every message.
#[derive(Clone, Debug, Default)]
struct Known<'a> {
    call_id: Option<&'a [u8]>,
    from: Option<NameAddr<'a>>,
    to: Option<NameAddr<'a>>,
    cseq: Option<(u32, Method<'a>)>,
    content_length: Option<usize>,
    content_type: Option<&'a [u8]>,
}

impl<'a> Message<'a> {
    /// Reads one datagram, or one message that [`frame_length`] cut out of a stream.
    ///
    /// Bytes past Content-Length are no part of the message; without a Content-Length that is a
    /// number, the body goes to the end (RFC 3261 section 18.3).
    pub fn parse(datagram: &'a [u8]) -> Result<Self, SipError> {
        let raw = skip_line_ends(datagram);
        if raw.iter().all(|byte| *byte == 0) {
            return Err(SipError::Empty);
        }
        if raw.len() > SIP_MESSAGE_BYTES_MAX {
            return Err(SipError::TooLong { have: raw.len() });
        }
        let (line, rest) = split_line(raw);
        let start = StartLine::parse(line)?;
        let headers = Headers::new(rest);
        let (mut lines, mut known) = (headers.clone(), Known::default());
        for (number, line) in lines.by_ref().enumerate() {
            if number >= SIP_HEADERS_MAX {
                return Err(SipError::HeadersTooMany);
            }
            known.note(&line);
        }
        let there = lines.rest();
        let length = known.content_length.unwrap_or(there.len());
        let body = &there[..length.min(there.len())];
        let raw = &raw[..raw.len() - (there.len() - body.len())];
        let headers_cut = !lines.ended();
        let body_cut = length > there.len() || headers_cut;
        Ok(Self { raw, start, headers, known, body, body_cut, headers_cut })
    }

    /// First line.
    pub fn start(&self) -> &StartLine<'a> {
        &self.start
    }

    /// Whether it is an INVITE that begins a call, and not one inside a dialog (RFC 3261 section 12.2).
    pub fn begins_call(&self) -> bool {
        matches!(self.start, StartLine::Request { method: Method::Invite, .. })
            && self.to().is_none_or(|to| to.tag.is_none())
    }

    /// Call-ID.
    pub fn call_id(&self) -> Option<&'a [u8]> {
        self.known.call_id
    }

    /// From.
    pub fn from(&self) -> Option<NameAddr<'a>> {
        self.known.from
    }

    /// To.
    pub fn to(&self) -> Option<NameAddr<'a>> {
        self.known.to
    }

    /// CSeq. A number that is too large for the protocol comes out as the largest.
    pub fn cseq(&self) -> Option<(u32, Method<'a>)> {
        self.known.cseq
    }

    /// The session description in the body, on its own or as a part of a multipart body.
    pub fn sdp(&self) -> Option<&'a [u8]> {
        body::session_description(self.known.content_type, self.body)
    }

    /// Header lines, in order.
    pub fn lines(&self) -> Headers<'a> {
        self.headers.clone()
    }

    /// Values of all lines of one header, by its long or its compact name.
    pub fn headers<'n>(&self, name: &'n str) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
        self.lines().filter(|line| line.is(name.as_bytes())).map(|line| line.value)
    }

    /// Value of the first line of one header, by its long or its compact name.
    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        self.headers(name).next()
    }

    /// User-Agent, or Server in a response.
    pub fn user_agent(&self) -> Option<&'a [u8]> {
        self.header("User-Agent").or_else(|| self.header("Server"))
    }

    /// Branch of the topmost Via: with CSeq's method, the transaction (RFC 3261 section 17.1.3).
    pub fn via_branch(&self) -> Option<&'a [u8]> {
        let via = self.header("Via")?;
        let via = &via[..find_unquoted(via, |byte| byte == b',').unwrap_or(via.len())];
        let parameters = &via[via.iter().position(|byte| *byte == b';')?..];
        parameter(parameters, b"branch").filter(|branch| !branch.is_empty())
    }

    /// Branches of all Vias, topmost first: those of the hops that the message has behind it.
    pub fn via_branches(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.headers("Via").flat_map(split_list).take(VIAS_MAX).filter_map(|via| {
            let parameters = &via[via.iter().position(|byte| *byte == b';')?..];
            parameter(parameters, b"branch").filter(|branch| !branch.is_empty())
        })
    }

    /// First Contact; its URI may be `*`.
    pub fn contact(&self) -> Option<NameAddr<'a>> {
        self.headers("Contact").flat_map(NameAddrs::new).next()
    }

    /// P-Asserted-Identity (RFC 3325 section 9.1): a SIP and a tel URI at most.
    pub fn p_asserted_identity(&self) -> impl Iterator<Item = NameAddr<'a>> + use<'a> {
        self.headers("P-Asserted-Identity").flat_map(NameAddrs::new).take(IDENTITIES_MAX)
    }

    /// Content-Type.
    pub fn content_type(&self) -> Option<&'a [u8]> {
        self.known.content_type
    }

    /// The body, as far as it is there.
    pub fn body(&self) -> &'a [u8] {
        self.body
    }

    /// Whether the message ends before its headers or its Content-Length do.
    pub fn is_cut(&self) -> bool {
        self.body_cut
    }

    /// Whether the message ends before its headers do, so that there may have been more of them.
    pub fn headers_cut(&self) -> bool {
        self.headers_cut
    }

    /// The message from start line to end of body, without what surrounds it.
    pub fn raw(&self) -> &'a [u8] {
        self.raw
    }
}

impl<'a> Known<'a> {
    fn note(&mut self, line: &Header<'a>) {
        let value = line.value;
        // Most lines are none of these: the first letter says so.
        match line.name.first().map(u8::to_ascii_lowercase) {
            Some(b'c' | b'i' | b'l') => {
                if line.is(b"Call-ID") {
                    let call_id = (!value.is_empty()).then_some(value);
                    self.call_id = self.call_id.or(call_id);
                } else if line.is(b"CSeq") {
                    self.cseq = self.cseq.or_else(|| cseq(value));
                } else if line.is(b"Content-Length") {
                    self.content_length = self.content_length.or_else(|| content_length(value));
                } else if line.is(b"Content-Type") {
                    self.content_type = self.content_type.or(Some(value));
                }
            }
            Some(b'f') if line.is(b"From") => self.from = self.from.or_else(|| NameAddr::parse(value)),
            Some(b't') if line.is(b"To") => self.to = self.to.or_else(|| NameAddr::parse(value)),
            _ => {}
        }
    }
}

fn cseq(value: &[u8]) -> Option<(u32, Method<'_>)> {
    let digits = value.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(value.len());
    let method = trim(&value[digits..]);
    let number = number(&value[..digits])?;
    (!method.is_empty()).then(|| (u32::try_from(number).unwrap_or(u32::MAX), Method::from_bytes(method)))
}

/// Reads a Content-Length; one that does not fit in memory comes out as the largest.
fn content_length(value: &[u8]) -> Option<usize> {
    number(value)
}

fn number(digits: &[u8]) -> Option<usize> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let add = |number: usize, digit: &u8| number.saturating_mul(10).saturating_add(usize::from(digit - b'0'));
    Some(digits.iter().fold(0, add))
}

/// The values that commas part in one line.
fn split_list(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(line);
    std::iter::from_fn(move || {
        let line = rest?;
        let comma = find_unquoted(line, |byte| byte == b',');
        rest = comma.map(|comma| &line[comma + 1..]);
        Some(&line[..comma.unwrap_or(line.len())])
    })
}

fn skip_line_ends(bytes: &[u8]) -> &[u8] {
    let start = bytes.iter().position(|byte| !matches!(byte, b'\r' | b'\n')).unwrap_or(bytes.len());
    &bytes[start..]
}

/// Hops read from one message: Max-Forwards begins at 70 (RFC 3261 section 8.1.1.6).
const VIAS_MAX: usize = 70;
/// Identities read from one message.
const IDENTITIES_MAX: usize = 8;

#[cfg(test)]
mod tests;
