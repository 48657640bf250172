//! The torture messages of RFC 4475 and RFC 5118: each has one result that is meant.
//!
//! A recorder only listens. So a message that its receiver would answer with 400 is read as long as
//! it says which dialog it belongs to; only what has no sound start line is refused.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of tests: a failure is the result, and skipping is said"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use sejf::wire::sdp::SessionDescription;
use sejf::wire::sip::{Framing, Message, SipError, StartLine, frame_length, user_part};

/// Method or status, Call-ID, From tag, CSeq number, media sections.
type Said<'a> = (&'a str, &'a str, &'a str, u32, usize);

fn folder(name: &str) -> Option<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/captures/malformed").join(name);
    let found = folder.is_dir();
    if !found {
        println!("skipped: {} is not there", folder.display());
    }
    found.then_some(folder)
}

fn check(folder: &str, suffix: &str, want: &[(&str, Result<Said<'_>, SipError>)]) {
    let Some(folder) = self::folder(folder) else { return };
    let there: BTreeSet<String> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .map(|name| name.trim_end_matches(suffix).to_owned())
        .collect();
    let named: BTreeSet<String> = want.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(there, named, "every message has a result, and every result a message");
    for (name, want) in want {
        let bytes = fs::read(folder.join(format!("{name}{suffix}"))).unwrap();
        match (Message::parse(&bytes), want) {
            (Ok(message), Ok(want)) => said(name, &message, *want),
            (got, want) => assert_eq!(got.err(), want.err(), "{name}"),
        }
    }
}

fn said(name: &str, message: &Message<'_>, want: Said<'_>) {
    let text = |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned();
    let line = match message.start() {
        StartLine::Request { method, .. } => text(Some(method.as_bytes())),
        StartLine::Response { status, .. } => status.to_string(),
    };
    let media = message.sdp().map_or(0, |body| SessionDescription::parse(body).unwrap().media.len());
    let got = (
        line,
        text(message.call_id()),
        text(message.from().and_then(|from| from.tag)),
        message.cseq().map_or(0, |(number, _)| number),
        media,
    );
    assert_eq!(got, (want.0.into(), want.1.into(), want.2.into(), want.3, want.4), "{name}");
}

#[test]
fn rfc_4475_valid_messages_all_parse() {
    let Some(folder) = folder("rfc4475") else { return };
    for name in [
        "wsinv",
        "intmeth",
        "esc01",
        "escnull",
        "esc02",
        "lwsdisp",
        "longreq",
        "dblreq",
        "semiuri",
        "transports",
        "mpart01",
        "unreason",
        "noreason",
    ] {
        let bytes = fs::read(folder.join(format!("{name}.dat"))).unwrap();
        let message = Message::parse(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(message.call_id().is_some() && message.cseq().is_some(), "{name}");
        assert!(message.from().is_some_and(|from| from.tag.is_some()) && message.to().is_some(), "{name}");
        // That of longreq is older than branches.
        assert_eq!(message.via_branch().is_none(), name == "longreq", "{name}");
        assert!(!message.is_cut(), "{name}");
        let framed = if name == "dblreq" { message.raw().len() } else { bytes.len() };
        // Without Content-Length there would be no framing; these all have one.
        assert_eq!(frame_length(&bytes), Framing::Whole(framed), "{name}");
    }
}

#[test]
fn details_of_the_odder_ones() {
    let Some(folder) = folder("rfc4475") else { return };
    let read = |name: &str| fs::read(folder.join(format!("{name}.dat"))).unwrap();
    let bytes = read("wsinv");
    let message = Message::parse(&bytes).unwrap();
    assert_eq!(message.to().unwrap().tag, Some(&b"1918181833n"[..]));
    assert_eq!(message.to().unwrap().uri, b"sip:vivekg@chair-dnrc.example.com");
    assert_eq!(message.via_branch(), Some(&b"390skdjuw"[..]));
    assert_eq!(message.contact().unwrap().uri, b"sip:jdrosen@example.com");
    assert_eq!(message.headers("Via").count(), 2);
    let bytes = read("intmeth");
    let message = Message::parse(&bytes).unwrap();
    assert_eq!(
        user_part(message.to().unwrap().uri),
        Some(&b"1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*"[..])
    );
    assert_eq!(message.from().unwrap().uri, b"sip:mundane@example.com");
    let bytes = read("quotbal");
    assert_eq!(Message::parse(&bytes).unwrap().to().unwrap().uri, b"sip:j.user@example.com");
    let bytes = read("badaspec");
    assert_eq!(Message::parse(&bytes).unwrap().to().unwrap().uri, b"sip:t.watson@example.org");
    let bytes = read("clerr");
    assert!(Message::parse(&bytes).unwrap().is_cut());
    let bytes = read("ncl");
    assert!(!Message::parse(&bytes).unwrap().is_cut());
    let bytes = read("mcl01");
    assert_eq!(Message::parse(&bytes).unwrap().body(), b"There's no wa");
    let bytes = read("esc02");
    assert_eq!(Message::parse(&bytes).unwrap().headers("Contact").count(), 2);
}

#[test]
fn rfc_4475_every_message_has_its_result() {
    let long = format!("longreq.one{}longcallid", "really".repeat(20));
    let tag = format!("1{}2424", "298".repeat(50));
    let longreq = ("longreq", Ok(("INVITE", long.as_str(), tag.as_str(), 3_882_340, 2)));
    check("rfc4475", ".dat", &[RFC_4475, &[longreq]].concat());
}

#[test]
fn rfc_5118_every_message_has_its_result() {
    check(
        "rfc5118",
        "",
        &[
            ("ipv4-mapped-ipv6", Ok(("INVITE", "SSG9559905523997077@hlau_4100", "81x2", 612, 2))),
            ("ipv6-bad", Ok(("REGISTER", "SSG9559905523997077@hlau_4100", "81x2", 98_176, 0))),
            ("ipv6-bug-abnf-3-colons", Ok(("OPTIONS", "G9559905523997077@hlau_4100", "810x2", 689, 0))),
            ("ipv6-correct-abnf-2-colons", Ok(("OPTIONS", "G9559905523997077@hlau_4100", "810x2", 689, 0))),
            ("ipv6-good", Ok(("REGISTER", "SSG9559905523997077@hlau_4100", "81x2", 98_176, 0))),
            ("ipv6-in-sdp", Ok(("INVITE", "SSG9559905523997077@hlau_4100", "81x2", 8_612, 2))),
            ("mult-ip-in-header", Ok(("BYE", "997077@lau_4100", "81x2", 89_187, 0))),
            ("mult-ip-in-sdp", Ok(("INVITE", "SSG9559905523997077@hlau_4100", "81x2", 8_912, 2))),
            ("port-ambiguous", Ok(("REGISTER", "SSG9559905523997077@hlau_4100", "81x2", 98_176, 0))),
            ("port-unambiguous", Ok(("REGISTER", "SSG9559905523997077@hlau_4100", "81x2", 98_176, 0))),
            ("via-received-param-no-delim", Ok(("OPTIONS", "SSG95523997077@hlau_4100", "81x2", 921, 0))),
            ("via-received-param-with-delim", Ok(("BYE", "SSG9559905523997077@hlau_4100", "81x2", 321, 0))),
        ],
    );
}

/// All of RFC 4475 but longreq, whose values are made up of repeats.
const RFC_4475: &[(&str, Result<Said<'static>, SipError>)] = &[
    ("badaspec", Ok(("OPTIONS", "badaspec.sdf0234n2nds0a099u23h3hnnw009cdkne3", "433423", 3_923_239, 0))),
    ("badbranch", Ok(("OPTIONS", "badbranch.sadonfo23i420jv0as0derf3j3n", "33242", 8, 0))),
    ("baddate", Ok(("INVITE", "baddate.239423mnsadf3j23lj42--sedfnm234", "2234923", 1_392_934, 2))),
    ("baddn", Ok(("OPTIONS", "baddn.31415@c.example.com", "43", 3_923_239, 0))),
    ("badinv01", Ok(("INVITE", "badinv01.0ha0isndaksdjasdf3234nas", "134161461246", 8, 2))),
    ("badvers", Err(SipError::Version)),
    ("bcast", Ok(("200", "bcast.0384840201234ksdfak3j2erwedfsASdf", "11141343", 35, 2))),
    ("bext01", Ok(("OPTIONS", "bext01.0ha0isndaksdj", "242etr", 8, 0))),
    ("bigcode", Err(SipError::Status)),
    ("clerr", Ok(("INVITE", "clerr.0ha0isndaksdjweiafasdk3", "93942939o2", 8, 2))),
    ("cparam01", Ok(("REGISTER", "cparam01.70710@saturn.example.com", "DkfVgjkrtMwaerKKpe", 2, 0))),
    ("cparam02", Ok(("REGISTER", "cparam02.70710@saturn.example.com", "838293", 3, 0))),
    ("dblreq", Ok(("REGISTER", "dblreq.0ha0isndaksdj99sdfafnl3lk233412", "43251j3j324", 8, 0))),
    ("esc01", Ok(("INVITE", "esc01.239409asdfakjkn23onasd0-3234", "938", 234_234, 2))),
    ("esc02", Ok(("RE%47IST%45R", "esc02.asdfnqwo34rq23i34jrjasdcnl23nrlknsdf", "f232jadfj23", 29_344, 0))),
    ("escnull", Ok(("REGISTER", "escnull.39203ndfvkjdasfkq3w4otrq0adsfdfnavd", "839923423", 14_398_234, 0))),
    (
        "escruri",
        Ok(("INVITE", "escruri.23940-asdfhj-aje3br-234q098w-fawerh2q-h4n5", "341518", 149_209_342, 2)),
    ),
    // Which dialog, it does not say: the caller must look at `call_id`.
    ("insuf", Ok(("INVITE", "", "", 193_942, 2))),
    (
        "intmeth",
        Ok((
            "!interesting-Method0123456789_*+`.%indeed'~",
            "intmeth.word%ZK-!.*_+'@word`~)(><:\\/\"][?}{",
            "_token~1'+`*%!-.",
            139_122_385,
            0,
        )),
    ),
    ("inv2543", Ok(("INVITE", "inv2543.1717@ift.client.example.com", "", 56, 1))),
    ("invut", Ok(("INVITE", "invut.0ha0isndaksdjadsfij34n23d", "8392034", 235_448, 0))),
    ("ltgtruri", Ok(("INVITE", "ltgtruri.1@192.0.2.5", "39291", 1, 2))),
    ("lwsdisp", Ok(("OPTIONS", "lwsdisp.1234abcd@funky.example.com", "323", 60, 0))),
    (
        "lwsruri",
        Ok(("INVITE", "lwsruri.asdfasdoeoi2323-asdfwrn23-asd834rk423", "231413434", 2_130_706_432, 2)),
    ),
    ("lwsstart", Ok(("INVITE", "lwsstart.dfknq234oi243099adsdfnawe3@example.com", "8814", 1_893_884, 2))),
    ("mcl01", Ok(("OPTIONS", "mcl01.fhn2323orihawfdoa3o4r52o3irsdf", "3923942", 15_932, 0))),
    ("mismatch01", Ok(("OPTIONS", "mismatch01.dj0234sxdfl3", "34525", 8, 0))),
    ("mismatch02", Ok(("NEWMETHOD", "mismatch02.dj0234sxdfl3", "34525", 8, 2))),
    ("mpart01", Ok(("MESSAGE", "3d9485ad0c49859b@Zmx1ZmZ5LW1hYy0xNi5sb2NhbA..", "2fb0dcc9", 1, 0))),
    ("multi01", Ok(("INVITE", "multi01.98asdh@192.0.2.1", "3413415", 5, 2))),
    ("ncl", Ok(("INVITE", "ncl.0ha0isndaksdj2193423r542w35", "32394234", 0, 2))),
    ("noreason", Ok(("100", "noreason.asndj203insdf99223ndf", "39ansfi3", 35, 0))),
    ("novelsc", Ok(("OPTIONS", "novelsc.asdfasser0q239nwsdfasdkl34", "384", 3_923_423, 0))),
    ("quotbal", Ok(("INVITE", "quotbal.aksdj", "93334", 8, 2))),
    ("regaut01", Ok(("REGISTER", "regaut01.0ha0isndaksdj", "87321hj23128", 9_338, 0))),
    ("regbadct", Ok(("REGISTER", "regbadct.k345asrl3fdbv@10.0.0.1", "998332", 1, 0))),
    ("regescrt", Ok(("REGISTER", "regescrt.k345asrl3fdbv@192.0.2.1", "8", 14_398_234, 0))),
    ("scalar02", Ok(("REGISTER", "scalar02.23o0pd9vanlq3wnrlnewofjas9ui32", "239232jh3", u32::MAX, 0))),
    ("scalarlg", Ok(("503", "scalarlg.noase0of0234hn2qofoaf0232aewf2394r", "2easdjfejw", u32::MAX, 0))),
    ("sdp01", Ok(("INVITE", "sdp01.ndaksdj9342dasdd", "234", 8, 2))),
    ("semiuri", Ok(("OPTIONS", "semiuri.0ha0isndaksdj", "33242", 8, 0))),
    ("transports", Ok(("OPTIONS", "transports.kijh4akdnaqjkwendsasfdj", "323", 60, 0))),
    ("trws", Ok(("OPTIONS", "trws.oicu34958239neffasdhr2345r", "329429089", 238_923, 0))),
    ("unkscm", Ok(("OPTIONS", "unkscm.nasdfasser0q239nwsdfasdkl34", "384", 3_923_423, 0))),
    ("unksm2", Ok(("REGISTER", "unksm2.daksdj@hyphenated-host.example.com", "3234233", 234_902, 0))),
    ("unreason", Ok(("200", "unreason.1234ksdfak3j2erwedfsASdf", "11141343", 35, 2))),
    ("wsinv", Ok(("INVITE", "wsinv.ndaksdj@192.0.2.1", "98asjd8", 9, 2))),
    ("zeromf", Ok(("OPTIONS", "zeromf.jfasdlfnm2o2l43r5u0asdfas", "3ghsd41", 39_234_321, 0))),
];
