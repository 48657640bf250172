//! Header lines (RFC 3261 section 7.3), their names and their parameters.

use std::borrow::Cow;

/// One header line.
#[derive(Clone, Copy, Debug)]
pub struct Header<'a> {
    /// Name as written.
    pub name: &'a [u8],
    /// Value without white space around it. Where it is folded, the line ends are still in it: see [`unfold`].
    pub value: &'a [u8],
}

impl Header<'_> {
    /// Whether this is the header `name`, in whatever case, in its long or its compact form.
    pub fn is(&self, name: &[u8]) -> bool {
        long_name(self.name).eq_ignore_ascii_case(long_name(name))
    }
}

/// The header lines of a message or of a body part, in order. Ends at the empty line.
///
/// Lines without a colon are passed over, and so is a last line without a line end: a value cut in
/// two would be another value.
#[derive(Clone, Debug)]
pub struct Headers<'a> {
    rest: &'a [u8],
    ended: bool,
}

impl<'a> Headers<'a> {
    pub(super) fn new(head: &'a [u8]) -> Self {
        Self { rest: head, ended: false }
    }

    /// Whether the empty line has been seen.
    pub(super) fn ended(&self) -> bool {
        self.ended
    }

    /// What follows the lines that were read: the body, once [`Self::ended`].
    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for Headers<'a> {
    type Item = Header<'a>;

    fn next(&mut self) -> Option<Header<'a>> {
        while !self.ended {
            let Some((line, rest)) = folded_line(self.rest) else {
                self.rest = &[];
                return None;
            };
            self.rest = rest;
            self.ended = line.is_empty();
            if let Some(colon) = line.iter().position(|byte| *byte == b':') {
                return Some(Header { name: trim(&line[..colon]), value: trim(&line[colon + 1..]) });
            }
        }
        None
    }
}

/// Splits a line and its continuations off, if it is whole.
fn folded_line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut end = line_end(bytes)?;
    if without_cr(&bytes[..end]).is_empty() {
        return Some((&[], &bytes[end + 1..]));
    }
    while matches!(bytes.get(end + 1), Some(b' ' | b'\t')) {
        end += 1 + line_end(&bytes[end + 1..])?;
    }
    Some((without_cr(&bytes[..end]), &bytes[end + 1..]))
}

/// Splits a line off; the last one may lack its end.
pub(super) fn split_line(bytes: &[u8]) -> (&[u8], &[u8]) {
    match line_end(bytes) {
        Some(end) => (without_cr(&bytes[..end]), &bytes[end + 1..]),
        None => (bytes, &[]),
    }
}

pub(super) fn line_end(bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|byte| *byte == b'\n')
}

fn without_cr(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Takes white space and line ends off both sides.
pub(super) fn trim(bytes: &[u8]) -> &[u8] {
    let Some(start) = bytes.iter().position(|byte| !is_space(*byte)) else { return &[] };
    let end = bytes.iter().rposition(|byte| !is_space(*byte)).unwrap_or(start);
    &bytes[start..=end]
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// Makes each fold one space (RFC 3261 section 7.3.1). Copies only where there is one.
pub fn unfold(value: &[u8]) -> Cow<'_, [u8]> {
    if line_end(value).is_none() {
        return Cow::Borrowed(value);
    }
    let mut line = Vec::with_capacity(value.len());
    for part in value.split(|byte| *byte == b'\n').map(trim) {
        if !line.is_empty() {
            line.push(b' ');
        }
        line.extend_from_slice(part);
    }
    Cow::Owned(line)
}

/// Spells out a compact form (RFC 3261 section 7.3.3 and the IANA registry).
fn long_name(name: &[u8]) -> &[u8] {
    let &[letter] = name else { return name };
    match letter.to_ascii_lowercase() {
        b'a' => b"Accept-Contact",
        b'b' => b"Referred-By",
        b'c' => b"Content-Type",
        b'd' => b"Request-Disposition",
        b'e' => b"Content-Encoding",
        b'f' => b"From",
        b'i' => b"Call-ID",
        b'j' => b"Reject-Contact",
        b'k' => b"Supported",
        b'l' => b"Content-Length",
        b'm' => b"Contact",
        b'n' => b"Identity-Info",
        b'o' => b"Event",
        b'r' => b"Refer-To",
        b's' => b"Subject",
        b't' => b"To",
        b'u' => b"Allow-Events",
        b'v' => b"Via",
        b'x' => b"Session-Expires",
        b'y' => b"Identity",
        _ => name,
    }
}

/// Returns the value of parameter `name` in `;name=value;…`; empty where it has none.
pub(super) fn parameter<'a>(mut parameters: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    while !parameters.is_empty() {
        let end = find_unquoted(parameters, |byte| byte == b';').unwrap_or(parameters.len());
        let pair = &parameters[..end];
        parameters = parameters.get(end + 1..).unwrap_or_default();
        let equals = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
        if trim(&pair[..equals]).eq_ignore_ascii_case(name) {
            return Some(trim(pair.get(equals + 1..).unwrap_or_default()));
        }
    }
    None
}

/// Returns the first byte outside quoted strings that is wanted. A quote that is never closed is no quote.
pub(super) fn find_unquoted(bytes: &[u8], mut wanted: impl FnMut(u8) -> bool) -> Option<usize> {
    let (mut at, mut quotes) = (0, true);
    while let Some(byte) = bytes.get(at) {
        if *byte == b'"' && quotes {
            match quoted_len(&bytes[at..]) {
                Some(len) => {
                    at += len;
                    continue;
                }
                // Remembered, or each quote of a long value would be followed to its end.
                None => quotes = false,
            }
        }
        if wanted(*byte) {
            return Some(at);
        }
        at += 1;
    }
    None
}

/// Length of a quoted string with both quotes, if it is closed.
fn quoted_len(bytes: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        match bytes.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// Takes the quotes off a quoted string; escapes stay.
pub(super) fn unquote(value: &[u8]) -> &[u8] {
    value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folds_become_one_space() {
        assert_eq!(*unfold(b"a\r\n  b\n\tc"), *b"a b c");
        assert!(matches!(unfold(b"plain"), Cow::Borrowed(b"plain")));
    }

    #[test]
    fn lines_are_read_as_they_come() {
        let head = b"To :\r\n x\r\nno colon here\nl:0\n\nbody: no\n";
        let mut lines = Headers::new(head);
        let found: Vec<_> = lines.by_ref().map(|line| (line.name, line.value)).collect();
        assert_eq!(found, [(&b"To"[..], &b"x"[..]), (b"l", b"0")]);
        assert!(lines.ended());
        assert_eq!(lines.rest(), b"body: no\n");
        let mut cut = Headers::new(b"a:1\r\nCall-ID: half-of-i");
        assert_eq!(cut.by_ref().count(), 1);
        assert!(!cut.ended());
    }

    #[test]
    fn quotes_hide_what_is_in_them() {
        assert_eq!(find_unquoted(br#""a\";b";c"#, |byte| byte == b';'), Some(7));
        assert_eq!(find_unquoted(br#""never;closed"#, |byte| byte == b';'), Some(6));
        assert_eq!(find_unquoted(br#""\"#, |byte| byte == b'\\'), Some(1));
        assert_eq!(parameter(br#"; a = "x;tag=1" ;TAG= 2;lr"#, b"tag"), Some(&b"2"[..]));
        assert_eq!(parameter(b";a;lr", b"lr"), Some(&b""[..]));
        assert_eq!(parameter(b"", b"lr"), None);
    }
}
