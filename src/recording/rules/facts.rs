//! What is known of a call when it begins, each thing looked up once and only when a rule asks.

use std::borrow::Cow;
use std::cell::OnceCell;

use ring::digest;

use crate::base::endpoint::Endpoint;
use crate::recording::rules::pattern::{VALUE_BYTES_MAX, cut};
use crate::recording::rules::schedule::WallTime;
use crate::recording::rules::spec::Direction;
use crate::recording::rules::{Opening, RuleSet};
use crate::wire::sip::{Message, Method, StartLine, unfold, user_part};

/// User and host of an address.
#[derive(Debug, Default)]
pub(super) struct Address<'a> {
    /// As written, without escapes.
    user: Option<Cow<'a, [u8]>>,
    /// The bare number, where the user is one that is written in another way.
    number: Option<Vec<u8>>,
    pub(super) domain: Option<&'a [u8]>,
    /// It is so long that only a part is looked at.
    pub(super) cut: bool,
}

impl<'a> Address<'a> {
    fn new(uri: &'a [u8]) -> Self {
        let user = user(uri);
        let number = user.as_deref().and_then(|user| number(user, is_phone(uri)));
        Self { user, number, domain: domain(uri), cut: uri.len() > VALUE_BYTES_MAX }
    }

    /// The user as written, and as a bare number where that is another.
    pub(super) fn users(&self) -> impl Iterator<Item = &[u8]> {
        self.user.as_deref().into_iter().chain(self.number.as_deref())
    }
}

/// Where the sides of a call stand to a trunk.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Sides {
    /// The sender is one of its addresses.
    pub(super) src: bool,
    /// The receiver is.
    pub(super) dst: bool,
}

impl Sides {
    pub(super) fn any(self) -> bool {
        self.src || self.dst
    }

    /// None where both sides are the trunk's, or neither.
    pub(super) fn direction(self) -> Option<Direction> {
        match (self.src, self.dst) {
            (true, false) => Some(Direction::Inbound),
            (false, true) => Some(Direction::Outbound),
            _ => None,
        }
    }
}

pub(super) struct Facts<'a> {
    set: &'a RuleSet,
    /// Caller and callee are taken to be the other way round than the message has them.
    turned: bool,
    pub(super) opening: &'a Opening<'a>,
    user_agent: OnceCell<Option<&'a [u8]>>,
    request: OnceCell<Option<Address<'a>>>,
    from: OnceCell<Option<Address<'a>>>,
    to: OnceCell<Option<Address<'a>>>,
    identities: OnceCell<Vec<Address<'a>>>,
    /// Values of the headers that rules ask for, by the header's number, then in order.
    headers: OnceCell<Headers<'a>>,
    walls: Vec<OnceCell<WallTime>>,
    share: OnceCell<Option<u64>>,
    trunks: OnceCell<Vec<Sides>>,
}

/// Values of headers, as far as they are looked at.
#[derive(Default)]
struct Headers<'a> {
    kept: Vec<(usize, Cow<'a, [u8]>)>,
    /// There is more of them.
    cut: bool,
}

impl<'a> Facts<'a> {
    pub(super) fn new(set: &'a RuleSet, opening: &'a Opening<'a>, turned: bool) -> Self {
        Self {
            set,
            turned,
            opening,
            user_agent: OnceCell::new(),
            request: OnceCell::new(),
            from: OnceCell::new(),
            to: OnceCell::new(),
            identities: OnceCell::new(),
            headers: OnceCell::new(),
            walls: vec![OnceCell::new(); set.zones.len()],
            share: OnceCell::new(),
            trunks: OnceCell::new(),
        }
    }

    fn message(&self) -> Option<&'a Message<'a>> {
        self.opening.message
    }

    /// Whether the call was first seen in a message that came after the INVITE that began it. Either side may
    /// have sent it, or what it answers: From, To, sender and receiver may be the other way round. (A dialog
    /// may also change what From and To say, RFC 4916, which is rare and not seen here.)
    pub(super) fn is_late(&self) -> bool {
        self.message().is_some_and(|message| !message.begins_call())
    }

    /// Why something cannot be told, for people.
    pub(super) fn doubt(&self) -> String {
        let text = |bytes: &[u8]| String::from_utf8_lossy(cut(bytes)).into_owned();
        match self.message().filter(|_| self.is_late()).map(Message::start) {
            Some(StartLine::Request { method: Method::Invite, .. }) => "not told by a later INVITE".into(),
            Some(StartLine::Request { method, .. }) => format!("not told by {}", text(method.as_bytes())),
            Some(StartLine::Response { status, .. }) => format!("not told by response {status}"),
            None if self.is_cut_short() => "the message is cut".into(),
            None => "more than is looked at".into(),
        }
    }

    /// Whether headers may be missing, since the message was not captured whole.
    pub(super) fn is_cut_short(&self) -> bool {
        self.message().is_some_and(Message::headers_cut)
    }

    /// Sender and receiver of the request. A call that was seen from its answer on has them the other way.
    pub(super) fn ends(&self) -> (Endpoint, Endpoint) {
        let Opening { src, dst, .. } = *self.opening;
        let answer = matches!(self.message().map(Message::start), Some(StartLine::Response { .. }));
        if answer != self.turned { (dst, src) } else { (src, dst) }
    }

    pub(super) fn user_agent(&self) -> Option<&'a [u8]> {
        let of = |message: &'a Message<'a>| match message.start() {
            StartLine::Request { .. } => message.header("User-Agent"),
            StartLine::Response { .. } => None,
        };
        *self.user_agent.get_or_init(|| self.message().and_then(of))
    }

    pub(super) fn request(&self) -> Option<&Address<'a>> {
        let of = |message: &'a Message<'a>| match message.start() {
            StartLine::Request { uri, .. } => Some(Address::new(uri)),
            StartLine::Response { .. } => None,
        };
        self.request.get_or_init(|| self.message().and_then(of)).as_ref()
    }

    pub(super) fn from(&self) -> Option<&Address<'a>> {
        let of = |message: &'a Message<'a>| {
            let side = if self.turned { message.to() } else { message.from() };
            Some(Address::new(side?.uri))
        };
        self.from.get_or_init(|| self.message().and_then(of)).as_ref()
    }

    pub(super) fn to(&self) -> Option<&Address<'a>> {
        let of = |message: &'a Message<'a>| {
            let side = if self.turned { message.from() } else { message.to() };
            Some(Address::new(side?.uri))
        };
        self.to.get_or_init(|| self.message().and_then(of)).as_ref()
    }

    pub(super) fn identities(&self) -> &[Address<'a>] {
        self.identities.get_or_init(|| {
            let all = self.message().into_iter().flat_map(Message::p_asserted_identity);
            all.map(|identity| Address::new(identity.uri)).collect()
        })
    }

    /// Values of all lines of the header with this number in [`RuleSet`].
    pub(super) fn header(&self, number: usize) -> impl Iterator<Item = &[u8]> {
        let all = &self.all_headers().kept;
        all.iter().filter(move |(its, _)| *its == number).map(|(_, value)| value.as_ref())
    }

    /// Whether there is more of these headers than is looked at.
    pub(super) fn headers_cut(&self) -> bool {
        self.all_headers().cut
    }

    fn all_headers(&self) -> &Headers<'a> {
        self.headers.get_or_init(|| {
            let mut found = Headers::default();
            for line in self.message().into_iter().flat_map(Message::lines) {
                for (number, name) in self.set.headers.iter().enumerate() {
                    if !line.is(name.as_bytes()) {
                        continue;
                    }
                    found.cut |= line.value.len() > VALUE_BYTES_MAX || found.kept.len() >= HEADER_VALUES_MAX;
                    if found.kept.len() < HEADER_VALUES_MAX {
                        found.kept.push((number, unfold(cut(line.value))));
                    }
                }
            }
            found
        })
    }

    /// What clocks of this zone in [`RuleSet`] show.
    pub(super) fn wall(&self, zone: usize) -> Option<WallTime> {
        let rules = self.set.zones.get(zone)?;
        Some(*self.walls.get(zone)?.get_or_init(|| WallTime::new(self.opening.at, &rules.zone)))
    }

    /// Where the call stands between 0 and 2^64, by its Call-ID.
    pub(super) fn share(&self) -> Option<u64> {
        *self.share.get_or_init(|| {
            let hash = digest::digest(&digest::SHA256, self.message()?.call_id()?);
            Some(u64::from_be_bytes(*hash.as_ref().first_chunk()?))
        })
    }

    /// Where the sides stand to each trunk.
    pub(super) fn trunks(&self) -> &[Sides] {
        self.trunks.get_or_init(|| {
            let (src, dst) = self.ends();
            let sides = |trunk: &crate::recording::rules::spec::TrunkSpec| Sides {
                src: trunk.addresses.iter().any(|prefix| prefix.contains(src.ip)),
                dst: trunk.addresses.iter().any(|prefix| prefix.contains(dst.ip)),
            };
            self.set.trunks.iter().map(sides).collect()
        })
    }

    /// The trunk of a call for which no rule names one: the first that has one of its sides.
    pub(super) fn trunk(&self) -> Option<usize> {
        self.trunks().iter().position(|sides| sides.any())
    }
}

/// User of a URI with escapes undone. White space, which a folded line leaves and no URI has, is passed over: a
/// rule that excludes must not be got round by it.
fn user(uri: &[u8]) -> Option<Cow<'_, [u8]>> {
    let user = cut(user_part(uri)?);
    if !user.iter().any(u8::is_ascii_whitespace) {
        return Some(unescape(user));
    }
    let bare: Vec<u8> = user.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    Some(Cow::Owned(unescape(&bare).into_owned()))
}

/// A telephone-subscriber as it is compared (RFC 3966 section 5.1.1, RFC 3261 section 19.1.6): without visual
/// separators and parameters. None where `user` is no number or is written so already. `phone`: the URI says
/// that it is one, and then it may have the letters of local numbers.
fn number(user: &[u8], phone: bool) -> Option<Vec<u8>> {
    let written = user.split(|byte| *byte == b';').next().unwrap_or_default();
    let separator = |byte: &u8| matches!(byte, b'-' | b'.' | b'(' | b')' | b' ');
    let number: Vec<u8> = written.iter().copied().filter(|byte| !separator(byte)).collect();
    let digits = number.strip_prefix(b"+").unwrap_or(&number);
    let fits = |byte: &u8| match byte {
        b'0'..=b'9' | b'*' | b'#' => true,
        byte => phone && byte.is_ascii_hexdigit(),
    };
    (!digits.is_empty() && digits.iter().all(fits) && number != user).then_some(number)
}

/// Whether a URI says that its user is a telephone-subscriber.
fn is_phone(uri: &[u8]) -> bool {
    let uri = uri.trim_ascii();
    let uri = uri.strip_prefix(b"<").unwrap_or(uri);
    let tel = uri.first_chunk::<4>().is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"tel:"));
    let after = uri.iter().position(|byte| *byte == b'@').map_or(&uri[..0], |at| &uri[at..]);
    tel || after.split(|byte| *byte == b';').any(|part| part.trim_ascii().eq_ignore_ascii_case(b"user=phone"))
}

/// RFC 3986 section 2.1: `%2B48` is `+48`.
fn unescape(bytes: &[u8]) -> Cow<'_, [u8]> {
    if !bytes.contains(&b'%') {
        return Cow::Borrowed(bytes);
    }
    let mut plain = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let [first, after @ ..] = rest {
        let digit = |at: usize| after.get(at).and_then(|digit| char::from(*digit).to_digit(16));
        match (first, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                plain.push((high * 16 + low) as u8);
                rest = &after[2..];
            }
            _ => {
                plain.push(*first);
                rest = after;
            }
        }
    }
    Cow::Owned(plain)
}

/// Host of a SIP URI, without port, brackets, parameters and the dot of the root. A tel URI has none.
fn domain(uri: &[u8]) -> Option<&[u8]> {
    let uri = uri.trim_ascii();
    let uri = uri.strip_prefix(b"<").unwrap_or(uri);
    let colon = uri.iter().position(|byte| *byte == b':')?;
    let (scheme, rest) = (&uri[..colon], &uri[colon + 1..]);
    if !scheme.eq_ignore_ascii_case(b"sip") && !scheme.eq_ignore_ascii_case(b"sips") {
        return None;
    }
    let at = rest.iter().position(|byte| *byte == b'@').map_or(0, |at| at + 1);
    let host = cut(rest[at..].trim_ascii_start());
    let end = match host.first() {
        Some(b'[') => host.iter().position(|byte| *byte == b']'),
        _ => host
            .iter()
            .position(|byte| matches!(byte, b':' | b';' | b'?' | b'>' | b'/') || byte.is_ascii_whitespace()),
    };
    let host = &host[..end.unwrap_or(host.len())];
    let host = host.strip_prefix(b"[").unwrap_or(host);
    let host = host.strip_suffix(b".").unwrap_or(host);
    (!host.is_empty()).then_some(host)
}

/// Values of headers kept for one call. With the bound on each, 64 KiB.
const HEADER_VALUES_MAX: usize = 64;
const _: () = assert!(VALUE_BYTES_MAX * HEADER_VALUES_MAX <= 64 * 1024);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_plain_and_numbers_bare() {
        let read = |uri: &str| {
            let address = Address::new(uri.as_bytes());
            let users = address.users().map(|user| String::from_utf8(user.to_vec()).unwrap());
            users.collect::<Vec<_>>()
        };
        for (uri, want) in [
            ("sip:alice@example.com", &["alice"] as &[_]),
            ("sip:%2B48%3222@example.com", &["+48222"]),
            ("tel:+48-22(123).45;phone-context=x", &["+48-22(123).45", "+482212345"]),
            ("tel:+48-12-345;isub=7", &["+48-12-345", "+4812345"]),
            ("sip:+4822;npdi;rn=+4861@example.com;user=phone", &["+4822;npdi;rn=+4861", "+4822"]),
            ("sip:+48123;phone-context=x@h", &["+48123;phone-context=x", "+48123"]),
            ("sip:+48123;isub=9@h", &["+48123;isub=9", "+48123"]),
            ("sip:+48%2D123%3Bisub=9@h", &["+48-123;isub=9", "+48123"]),
            // A local number, with its context.
            ("sip:22-55;phone-context=+48@h", &["22-55;phone-context=+48", "2255"]),
            ("tel:863-1234;phone-context=+1-914-555", &["863-1234", "8631234"]),
            ("tel:*1-a", &["*1-a", "*1a"]),
            ("sip:a-b.c@example.com;user=phone", &["a-b.c", "abc"]),
            // A name that only looks a little like one.
            ("sip:a-b.c@example.com", &["a-b.c"]),
            ("sip:alice;day=1@example.com", &["alice;day=1"]),
            ("sip:-.@example.com", &["-."]),
            ("sip:a%zz%4@example.com", &["a%zz%4"]),
            ("sip:\r\n +48%32\t2@example.com", &["+4822"]),
            ("sip:example.com", &[]),
            ("", &[]),
        ] {
            assert_eq!(read(uri), want, "{uri}");
        }
        let long = [b"sip:".as_slice(), &[b'7'; 5_000], b"@x"].concat();
        let address = Address::new(&long);
        assert!(address.cut && address.users().eq([[b'7'; VALUE_BYTES_MAX].as_slice()]));
    }

    #[test]
    fn domains_are_hosts_without_ports() {
        let read =
            |uri: &str| domain(uri.as_bytes()).map(|host| std::str::from_utf8(host).unwrap().to_owned());
        for (uri, want) in [
            ("sip:alice@example.com", Some("example.com")),
            ("<sips:a:secret@example.com:5061;lr>", Some("example.com")),
            ("sip:example.com?subject=x", Some("example.com")),
            ("sip:a@[2001:db8::1]:5060", Some("2001:db8::1")),
            ("sip:a@[2001:db8::1", Some("[2001:db8::1").map(|host| &host[1..])),
            ("sip:a@example.com.:5060", Some("example.com")),
            ("sip:a@\r\n example.com\r\n ;lr", Some("example.com")),
            ("sip:a@", None),
            ("tel:+48", None),
            ("", None),
        ] {
            assert_eq!(read(uri).as_deref(), want, "{uri}");
        }
    }
}
