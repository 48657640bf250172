//! Hand-written messages, most after a trap of RFC 4475.

use super::*;

const INVITE: &[u8] = b"INVITE sip:bob@example.com SIP/2.0\r\n\
    Via: SIP/2.0/UDP a.example.com:5060;rport;branch=z9hG4bK1;x=\"a,b\", SIP/2.0/TCP b;branch=z9hG4bK2\r\n\
    v: SIP/2.0/UDP c;branch=z9hG4bK3\r\n\
    From: \"Alice \\\"A\\\" <x>\" <sip:alice@example.com;user=phone>;tag=a1\r\n\
    t: sip:bob@example.com;x=y\r\n\
    I: one@a.example.com\r\n\
    CSeq: 00101   INVITE\r\n\
    m: \"A, lice\" <sip:alice@192.0.2.1:5062;transport=udp>;q=1, <sip:other@192.0.2.2>\r\n\
    P-Asserted-Identity: \"Alice\" <sip:+15551@example.com>\r\n\
    p-asserted-identity: tel:+15551\r\n\
    User-Agent: Phone/1\r\n  (folded)\r\n\
    Content-Type: application/sdp\r\n\
    Content-Length: 5\r\n\
    \r\n\
    v=0\r\n";

#[test]
fn everything_a_call_needs() {
    let message = Message::parse(INVITE).unwrap();
    assert!(matches!(
        message.start(),
        StartLine::Request { method: Method::Invite, uri: b"sip:bob@example.com" }
    ));
    assert_eq!(message.call_id(), Some(&b"one@a.example.com"[..]));
    let from = message.from().unwrap();
    assert_eq!((from.uri, from.tag), (&b"sip:alice@example.com;user=phone"[..], Some(&b"a1"[..])));
    assert_eq!(message.to().unwrap(), NameAddr { display: b"", uri: b"sip:bob@example.com", tag: None });
    assert_eq!(message.cseq(), Some((101, Method::Invite)));
    assert_eq!(message.via_branch(), Some(&b"z9hG4bK1"[..]));
    assert_eq!(message.headers("Via").count(), 2);
    assert_eq!(message.contact().unwrap().uri, b"sip:alice@192.0.2.1:5062;transport=udp");
    let identities: Vec<_> = message.p_asserted_identity().map(|found| found.uri).collect();
    assert_eq!(identities, [&b"sip:+15551@example.com"[..], b"tel:+15551"]);
    assert_eq!(*unfold(message.user_agent().unwrap()), *b"Phone/1 (folded)");
    assert_eq!(message.sdp(), Some(&b"v=0\r\n"[..]));
    assert_eq!(message.raw(), INVITE);
    assert!(!message.is_cut());
}

#[test]
fn a_datagram_may_hold_more_or_less_than_the_message() {
    let more = [b"\r\n\r\n", INVITE, b"INVITE sip:second@example.com SIP/2.0\r\n"].concat();
    let message = Message::parse(&more).unwrap();
    assert_eq!((message.raw(), message.body(), message.is_cut()), (INVITE, &b"v=0\r\n"[..], false));
    let message = Message::parse(&INVITE[..INVITE.len() - 2]).unwrap();
    assert_eq!((message.body(), message.is_cut()), (&b"v=0"[..], true));
    // Cut in the Content-Type line: the line is not believed.
    let cut = INVITE.windows(12).position(|word| word == b"Content-Type").unwrap() + 20;
    let message = Message::parse(&INVITE[..cut]).unwrap();
    assert_eq!((message.content_type(), message.body(), message.is_cut()), (None, &b""[..], true));
    assert_eq!(message.cseq(), Some((101, Method::Invite)));
}

#[test]
fn a_content_length_that_is_no_number_is_none() {
    for length in ["", "Content-Length: -999\r\n", "Content-Length: x\r\n", "Content-Length:\r\n"] {
        let text = format!("SIP/2.0 200 OK\r\nCall-ID: 1\r\n{length}\r\nv=0\r\n");
        let message = Message::parse(text.as_bytes()).unwrap();
        assert_eq!(
            (message.body(), message.sdp(), message.is_cut()),
            (&b"v=0\r\n"[..], Some(&b"v=0\r\n"[..]), false)
        );
    }
}

#[test]
fn bare_line_feeds_and_odd_white_space() {
    let text = b"\nsip/2.0   183  Sitzung l\xc3\xa4uft \xff \nTO :\n sip:bob@example.com ;   tag    = 19\n\
        from   : \"J \\\\\\\"\"   <sip:jd@example.com>\n  ;\n  tag = 98\nCALL-id:\t x \ncseq: 0009\n  INVITE\n\n";
    let message = Message::parse(text).unwrap();
    let StartLine::Response { status: 183, reason } = message.start() else { panic!("{message:?}") };
    assert_eq!(*reason, b"Sitzung l\xc3\xa4uft \xff");
    assert_eq!(message.to().unwrap().tag, Some(&b"19"[..]));
    let from = message.from().unwrap();
    assert_eq!((from.uri, from.tag), (&b"sip:jd@example.com"[..], Some(&b"98"[..])));
    assert_eq!((message.call_id(), message.cseq()), (Some(&b"x"[..]), Some((9, Method::Invite))));
}

#[test]
fn requests_that_should_not_be() {
    let read = |line: &'static str| Message::parse(line.as_bytes()).map(|message| *message.start());
    let uri = |line| match read(line) {
        Ok(StartLine::Request { method, uri }) => (method.as_bytes(), uri),
        other => panic!("{other:?}"),
    };
    assert_eq!(uri("INVITE  sip:a@b; lr  SIP/2.0 \r\n\r\n"), (&b"INVITE"[..], &b"sip:a@b; lr"[..]));
    assert_eq!(uri("RE%47 <sip:a@b> sip/2.0\n"), (&b"RE%47"[..], &b"<sip:a@b>"[..]));
    for (line, error) in [
        ("", SipError::Empty),
        ("\r\n\r\n", SipError::Empty),
        ("\0\0\0\0", SipError::Empty),
        ("INVITE sip:a@b SIP/7.0\r\n\r\n", SipError::Version),
        ("SIP/3.0 200 OK\r\n\r\n", SipError::Version),
        ("SIP/2.0 4294967301 no\r\n\r\n", SipError::Status),
        ("SIP/2.0 99 no\r\n\r\n", SipError::Status),
        ("SIP/2.0\r\n\r\n", SipError::Status),
        ("INVITE SIP/2.0\r\n\r\n", SipError::NotSip),
        ("IN(ITE sip:a@b SIP/2.0\r\n\r\n", SipError::NotSip),
        ("GET / HTTP/1.1\r\n\r\n", SipError::NotSip),
        ("hello", SipError::NotSip),
    ] {
        assert_eq!(read(line).err(), Some(error), "{line:?}");
    }
}

#[test]
fn what_comes_twice_counts_once() {
    let text = b"BYE sip:a@b SIP/2.0\r\nCall-ID:\r\nCall-ID: first\r\ni: second\r\nCSeq: x\r\n\
        CSeq: 99999999999999999999 BYE\r\nFrom: sip:a@b;tag=1\r\nFrom: sip:c@d;tag=2\r\n\r\n";
    let message = Message::parse(text).unwrap();
    assert_eq!(message.call_id(), Some(&b"first"[..]));
    assert_eq!(message.cseq(), Some((u32::MAX, Method::Bye)));
    assert_eq!(message.from().unwrap().tag, Some(&b"1"[..]));
    assert_eq!(message.to(), None);
}

#[test]
fn limits_are_held() {
    let many = format!("BYE sip:a@b SIP/2.0\r\n{}\r\n", "a:b\r\n".repeat(SIP_HEADERS_MAX + 1));
    assert_eq!(Message::parse(many.as_bytes()).err(), Some(SipError::HeadersTooMany));
    let long = [b"BYE sip:a@b SIP/2.0\r\n\r\n", &vec![b'x'; SIP_MESSAGE_BYTES_MAX][..]].concat();
    assert_eq!(Message::parse(&long).err(), Some(SipError::TooLong { have: long.len() }));
}

/// Any bytes give a message or an error, and what a message says lies inside the bytes.
#[test]
fn any_bytes_are_read() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 16) as usize
    };
    let pieces: [&[u8]; 16] = [
        b"INVITE",
        b"SIP/2.0 ",
        b"200",
        b"\r\n",
        b"\n",
        b":",
        b"\"",
        b"<",
        b">",
        b";tag=",
        b"\\",
        b",",
        b"From",
        b" ",
        b"Content-Type: multipart/mixed;boundary=a\r\n\r\n--a",
        b"\xff\0",
    ];
    let mut parsed = 0;
    for _ in 0..20_000 {
        let mut bytes = INVITE.to_vec();
        for _ in 0..random() % 6 {
            if bytes.is_empty() {
                break;
            }
            let at = random() % bytes.len();
            match random() % 4 {
                0 => bytes[at] = random() as u8,
                1 => drop(bytes.splice(at..at, pieces[random() % 16].iter().copied())),
                2 => drop(bytes.drain(at..(at + random() % 20).min(bytes.len()))),
                _ => bytes.truncate(at + 1),
            }
        }
        let framing = frame_length(&bytes);
        assert!(!matches!(framing, Framing::Whole(length) if length > bytes.len()));
        find_start(&bytes);
        let Ok(message) = Message::parse(&bytes) else { continue };
        parsed += 1;
        assert!(message.raw().len() <= bytes.len() && message.raw().ends_with(message.body()));
        let uris = [message.from(), message.to(), message.contact()].into_iter().flatten();
        for uri in uris.chain(message.p_asserted_identity()).map(|found| found.uri) {
            assert!(!uri.is_empty() && user_part(uri).is_none_or(|user| user.len() < uri.len()));
        }
        let _ = (message.via_branch(), message.user_agent(), message.sdp());
    }
    assert!(parsed > 5_000, "{parsed}");
}
