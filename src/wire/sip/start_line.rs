//! Request-Line and Status-Line (RFC 3261 section 7.1 and 7.2).

use crate::wire::sip::SipError;
use crate::wire::sip::header::trim;

/// A request method.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Method<'a> {
    /// RFC 3261.
    Ack,
    /// RFC 3261.
    Bye,
    /// RFC 3261.
    Cancel,
    /// RFC 6086.
    Info,
    /// RFC 3261.
    Invite,
    /// RFC 3262.
    Prack,
    /// RFC 3515.
    Refer,
    /// RFC 3311.
    Update,
    /// Any other.
    Other(&'a [u8]),
}

impl<'a> Method<'a> {
    /// Reads a method; names are case-sensitive (RFC 3261 section 7.1).
    pub fn from_bytes(name: &'a [u8]) -> Self {
        match name {
            b"ACK" => Self::Ack,
            b"BYE" => Self::Bye,
            b"CANCEL" => Self::Cancel,
            b"INFO" => Self::Info,
            b"INVITE" => Self::Invite,
            b"PRACK" => Self::Prack,
            b"REFER" => Self::Refer,
            b"UPDATE" => Self::Update,
            other => Self::Other(other),
        }
    }

    /// The method as written.
    pub fn as_bytes(self) -> &'a [u8] {
        match self {
            Self::Ack => b"ACK",
            Self::Bye => b"BYE",
            Self::Cancel => b"CANCEL",
            Self::Info => b"INFO",
            Self::Invite => b"INVITE",
            Self::Prack => b"PRACK",
            Self::Refer => b"REFER",
            Self::Update => b"UPDATE",
            Self::Other(name) => name,
        }
    }
}

/// First line.
#[derive(Clone, Copy, Debug)]
pub enum StartLine<'a> {
    /// Request-Line.
    Request {
        /// Method.
        method: Method<'a>,
        /// Request-URI as written, which may hold spaces and angle brackets that should not be there.
        uri: &'a [u8],
    },
    /// Status-Line.
    Response {
        /// Status code.
        status: u16,
        /// Reason phrase.
        reason: &'a [u8],
    },
}

impl<'a> StartLine<'a> {
    /// Reads a line without its line end.
    pub(super) fn parse(line: &'a [u8]) -> Result<Self, SipError> {
        let line = trim(line);
        if line.first_chunk().is_some_and(is_protocol) { response(line) } else { request(line) }
    }
}

fn response(line: &[u8]) -> Result<StartLine<'_>, SipError> {
    let (version, rest) = first_word(line);
    check_version(version)?;
    let (code, reason) = first_word(rest);
    let status = match *code {
        [a @ b'1'..=b'6', b, c] if b.is_ascii_digit() && c.is_ascii_digit() => {
            [a, b, c].iter().fold(0, |code, digit| code * 10 + u16::from(digit - b'0'))
        }
        _ => return Err(SipError::Status),
    };
    Ok(StartLine::Response { status, reason })
}

/// The URI is all between the first and the last word: some write spaces into it (RFC 4475 section 3.1.2.10).
fn request(line: &[u8]) -> Result<StartLine<'_>, SipError> {
    let (method, rest) = first_word(line);
    let last = rest.iter().rposition(|byte| is_blank(*byte)).ok_or(SipError::NotSip)?;
    let (uri, version) = (trim(&rest[..last]), &rest[last + 1..]);
    let shaped = !uri.is_empty() && is_token(method) && version.first_chunk().is_some_and(is_protocol);
    if !shaped {
        return Err(SipError::NotSip);
    }
    check_version(version)?;
    Ok(StartLine::Request { method: Method::from_bytes(method), uri })
}

fn check_version(version: &[u8]) -> Result<(), SipError> {
    if version.eq_ignore_ascii_case(b"SIP/2.0") { Ok(()) } else { Err(SipError::Version) }
}

fn is_protocol(word: &[u8; 4]) -> bool {
    word.eq_ignore_ascii_case(b"SIP/")
}

fn first_word(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = bytes.iter().position(|byte| is_blank(*byte)).unwrap_or(bytes.len());
    (&bytes[..end], trim(&bytes[end..]))
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// Whether this is a `token` (RFC 3261 section 25.1) of a length that a method or a name could have.
pub(super) fn is_token(word: &[u8]) -> bool {
    (1..=TOKEN_BYTES_MAX).contains(&word.len()) && word.iter().all(|byte| is_token_byte(*byte))
}

pub(super) fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&byte)
}

/// Longer words are no methods.
pub(super) const TOKEN_BYTES_MAX: usize = 128;
