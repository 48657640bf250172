//! Addresses in From, To, Contact and the like (RFC 3261 section 20.10).

use crate::wire::sip::header::{find_unquoted, parameter, trim, unquote};

/// What From and To say.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NameAddr<'a> {
    /// Display name without quotes, escapes left in it; empty where there is none.
    pub display: &'a [u8],
    /// URI, without angle brackets and header parameters.
    pub uri: &'a [u8],
    /// Tag parameter.
    pub tag: Option<&'a [u8]>,
}

impl<'a> NameAddr<'a> {
    /// Reads a header that has one value. Commas are then part of it, whether quoted or not.
    pub fn parse(value: &'a [u8]) -> Option<Self> {
        split(value, false).0
    }
}

/// The addresses of a header with several values.
#[derive(Clone, Debug)]
pub(super) struct NameAddrs<'a> {
    rest: &'a [u8],
}

impl<'a> NameAddrs<'a> {
    pub(super) fn new(value: &'a [u8]) -> Self {
        Self { rest: value }
    }
}

impl<'a> Iterator for NameAddrs<'a> {
    type Item = NameAddr<'a>;

    fn next(&mut self) -> Option<NameAddr<'a>> {
        while !self.rest.is_empty() {
            let (found, rest) = split(self.rest, true);
            self.rest = rest;
            if found.is_some() {
                return found;
            }
        }
        None
    }
}

/// Reads one address and returns what follows it.
fn split(value: &[u8], list: bool) -> (Option<NameAddr<'_>>, &[u8]) {
    let mut scheme = false;
    // A comma before any colon is in an unquoted display name, as in `Bell, Alexander <sip:…>`.
    let open = find_unquoted(value, |byte| {
        scheme |= byte == b':';
        byte == b'<' || (list && scheme && byte == b',')
    });
    let (display, uri, after) = match open.map(|at| (at, value[at])) {
        Some((at, b'<')) => {
            let inside = &value[at + 1..];
            let close = inside.iter().position(|byte| *byte == b'>').unwrap_or(inside.len());
            (&value[..at], &inside[..close], inside.get(close + 1..).unwrap_or_default())
        }
        // Without brackets, parameters are the header's.
        _ => {
            let item = &value[..open.unwrap_or(value.len())];
            let end = item.iter().position(|byte| *byte == b';').unwrap_or(item.len());
            (&value[..0], &item[..end], &value[end..])
        }
    };
    let end = if list { find_unquoted(after, |byte| byte == b',') } else { None };
    let parameters = &after[..end.unwrap_or(after.len())];
    let rest = end.map_or(&value[..0], |end| &after[end + 1..]);
    let (display, uri) = (unquote(trim(display)), trim(uri));
    let tag = parameter(parameters, b"tag").filter(|tag| !tag.is_empty());
    ((!uri.is_empty()).then_some(NameAddr { display, uri, tag }), rest)
}

/// User part of a SIP or tel URI, escapes left in it, without a password.
pub fn user_part(uri: &[u8]) -> Option<&[u8]> {
    let uri = trim(uri);
    let uri = uri.strip_prefix(b"<").unwrap_or(uri);
    let uri = uri.strip_suffix(b">").unwrap_or(uri);
    let colon = uri.iter().position(|byte| *byte == b':')?;
    let (scheme, rest) = (&uri[..colon], &uri[colon + 1..]);
    let user = if scheme.eq_ignore_ascii_case(b"tel") {
        rest.split(|byte| *byte == b';').next()?
    } else if scheme.eq_ignore_ascii_case(b"sip") || scheme.eq_ignore_ascii_case(b"sips") {
        let at = rest.iter().position(|byte| *byte == b'@')?;
        rest[..at].split(|byte| *byte == b':').next()?
    } else {
        return None;
    };
    (!user.is_empty()).then_some(user)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: &str) -> (&str, &str, Option<&str>) {
        let text = |bytes| std::str::from_utf8(bytes).unwrap();
        let found = NameAddr::parse(value.as_bytes()).unwrap();
        (text(found.display), text(found.uri), found.tag.map(text))
    }

    #[test]
    fn both_forms_and_their_faults() {
        assert_eq!(read("<sip:a@b;x=1>;tag=t"), ("", "sip:a@b;x=1", Some("t")));
        assert_eq!(read("sip:a@b;x=1;tag=t"), ("", "sip:a@b", Some("t")));
        assert_eq!(read(r#""J <x> \"\\" < sip:a@b > ; tag = 9"#), (r#"J <x> \"\\"#, "sip:a@b", Some("9")));
        assert_eq!(read("Bell, A <sip:a@b>;tag=43"), ("Bell, A", "sip:a@b", Some("43")));
        assert_eq!(read("\"Mr. J. User <sip:j@b>"), ("\"Mr. J. User", "sip:j@b", None));
        assert_eq!(read("caller<sip:a@b>;x=\";tag=no\";TaG=yes"), ("caller", "sip:a@b", Some("yes")));
        assert_eq!(read("<sip:a@b"), ("", "sip:a@b", None));
        assert_eq!(NameAddr::parse(b" ;tag=1"), None);
        assert_eq!(NameAddr::parse(b"\"x\" <>"), None);
    }

    #[test]
    fn lists_are_split_at_commas_outside_addresses() {
        let value = br#""a, b" <sip:1@x,y>;q=1, sip:2@x;q="0,5" ,, Doe, J <tel:3>, *"#;
        let uris: Vec<_> = NameAddrs::new(value).map(|found| found.uri).collect();
        assert_eq!(uris, [&b"sip:1@x,y"[..], b"sip:2@x", b"tel:3", b"*"]);
    }

    #[test]
    fn user_parts() {
        assert_eq!(user_part(b"sip:alice:secret@example.com"), Some(&b"alice"[..]));
        assert_eq!(user_part(b"SIPS:%75ser%40x@example.com;a=b"), Some(&b"%75ser%40x"[..]));
        assert_eq!(user_part(b"tel:+358-555-1234567;postd=pp22"), Some(&b"+358-555-1234567"[..]));
        assert_eq!(user_part(b"<sip:bob@example.com>"), Some(&b"bob"[..]));
        assert_eq!(user_part(b"sip:example.com"), None);
        assert_eq!(user_part(b"sip::pw@example.com"), None);
        assert_eq!(user_part(b"isbn:2983792873"), None);
        assert_eq!(user_part(b""), None);
    }
}
