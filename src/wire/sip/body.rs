//! The session description in a body (RFC 3261 section 7.4, RFC 2046 section 5.1, RFC 5621).

use crate::wire::sip::header::{Headers, find_unquoted, parameter, split_line, trim, unquote};

/// Finds the session description, on its own or as the first such part of a multipart body.
pub(super) fn session_description<'a>(content_type: Option<&[u8]>, body: &'a [u8]) -> Option<&'a [u8]> {
    find(content_type, body, NESTED_MAX)
}

fn find<'a>(content_type: Option<&[u8]>, body: &'a [u8], nested: u32) -> Option<&'a [u8]> {
    let Some(content_type) = content_type else {
        return trim(body).starts_with(b"v=0").then_some(body);
    };
    let end = find_unquoted(content_type, |byte| byte == b';').unwrap_or(content_type.len());
    let (media_type, parameters) = (trim(&content_type[..end]), &content_type[end..]);
    if media_type.eq_ignore_ascii_case(b"application/sdp") {
        return (!trim(body).is_empty()).then_some(body);
    }
    let multipart = media_type.get(..10).is_some_and(|kind| kind.eq_ignore_ascii_case(b"multipart/"));
    if !multipart || nested == 0 {
        return None;
    }
    let boundary = parameter(parameters, b"boundary").map(unquote).or_else(|| guess_boundary(body))?;
    Parts { rest: skip_preamble(body, boundary)?, boundary, ended: false }.take(PARTS_MAX).find_map(|part| {
        let mut lines = Headers::new(part);
        let mut part_type = None;
        for line in lines.by_ref().filter(|line| line.is(b"Content-Type")) {
            part_type.get_or_insert(line.value);
        }
        find(part_type, lines.rest(), nested - 1)
    })
}

/// Without a boundary parameter, the first line that could be a delimiter is taken for one.
fn guess_boundary(body: &[u8]) -> Option<&[u8]> {
    let mut lines = body.split(|byte| *byte == b'\n').map(trim);
    lines.find_map(|line| line.strip_prefix(b"--").filter(|boundary| !boundary.is_empty()))
}

fn skip_preamble<'a>(body: &'a [u8], boundary: &[u8]) -> Option<&'a [u8]> {
    let mut rest = body;
    while !rest.is_empty() {
        let (line, after) = split_line(rest);
        rest = after;
        if delimiter(line, boundary) == Some(Delimiter::Next) {
            return Some(rest);
        }
    }
    None
}

#[derive(Eq, PartialEq)]
enum Delimiter {
    Next,
    Last,
}

fn delimiter(line: &[u8], boundary: &[u8]) -> Option<Delimiter> {
    match trim(line.strip_prefix(b"--")?.strip_prefix(boundary)?) {
        b"" => Some(Delimiter::Next),
        b"--" => Some(Delimiter::Last),
        _ => None,
    }
}

/// Parts after the first delimiter. The last one may lack its delimiter: the message was cut.
struct Parts<'a, 'b> {
    rest: &'a [u8],
    boundary: &'b [u8],
    ended: bool,
}

impl<'a> Iterator for Parts<'a, '_> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.ended {
            return None;
        }
        let part = self.rest;
        while !self.rest.is_empty() {
            let start = part.len() - self.rest.len();
            let (line, after) = split_line(self.rest);
            self.rest = after;
            if let Some(found) = delimiter(line, self.boundary) {
                self.ended = found == Delimiter::Last;
                // The line end before a delimiter belongs to it.
                let part = &part[..start];
                let part = part.strip_suffix(b"\n").unwrap_or(part);
                return Some(part.strip_suffix(b"\r").unwrap_or(part));
            }
        }
        self.ended = true;
        (!part.is_empty()).then_some(part)
    }
}

/// Multipart bodies inside multipart bodies that are looked into.
const NESTED_MAX: u32 = 2;
/// Parts looked at.
const PARTS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alone_or_undeclared() {
        assert_eq!(session_description(Some(b"Application/SDP;charset=x"), b"v=0"), Some(&b"v=0"[..]));
        assert_eq!(session_description(Some(b"application/sdp"), b"\r\n"), None);
        assert_eq!(session_description(None, b"v=0\r\n"), Some(&b"v=0\r\n"[..]));
        assert_eq!(session_description(None, b"hello"), None);
        assert_eq!(session_description(Some(b"text/plain"), b"v=0"), None);
    }

    #[test]
    fn first_part_of_a_multipart_body() {
        let body = b"preamble\r\n--b\r\nContent-Type: application/pidf+xml\r\n\r\n<x>v=0\r\n--bc\r\n</x>\r\n\
            --b \r\nC:\r\n application/sdp\r\nContent-Disposition: session\r\n\r\nv=0\r\ns=-\r\n--b--\r\nv=1";
        let want = Some(&b"v=0\r\ns=-"[..]);
        assert_eq!(session_description(Some(b"multipart/mixed;boundary=b"), body), want);
        assert_eq!(session_description(Some(b"Multipart/Mixed ; x=1; Boundary=\"b\""), body), want);
        assert_eq!(session_description(Some(b"multipart/mixed"), body), want);
        assert_eq!(session_description(Some(b"multipart/mixed;boundary=nope"), body), None);
    }

    #[test]
    fn nested_once_and_cut() {
        let body =
            b"--o\nContent-Type: multipart/alternative;boundary=i\n\n--i\nContent-Type: text/plain\n\nx\n\
            --i\nContent-Type: application/sdp\n\nv=0\nm=audio 1 RTP/AVP 0";
        let found = session_description(Some(b"multipart/mixed;boundary=o"), body);
        assert_eq!(found, Some(&b"v=0\nm=audio 1 RTP/AVP 0"[..]));
    }
}
