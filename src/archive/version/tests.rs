//! Nothing earlier ever changes or disappears.

use super::*;
use crate::seal::random::{Randomness, Seeded};

fn id(byte: u8) -> RecordingId {
    RecordingId::from_bytes([byte; 16])
}

fn details() -> Details {
    Details { caller: "+48221234567".into(), trunk: "Orange PL".into(), ..Details::default() }
}

fn said(at: u64, change: Change) -> Said {
    let reason = Reason { code: "complaint".into(), text: "T-17".into() };
    Said { at: Stamp::from_unix_nanos(at), author: "local:ewa".into(), reason, change }
}

fn note(text: &str) -> Change {
    Change::Note { text: text.into() }
}

fn labels(add: &[&str], remove: &[&str]) -> Change {
    let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    Change::Labels { add: list(add), remove: list(remove) }
}

fn number(random: &mut Seeded, below: usize) -> usize {
    let mut bytes = [0; 8];
    random.fill(&mut bytes);
    (u64::from_be_bytes(bytes) % below as u64) as usize
}

fn some_change(now: &Details, random: &mut Seeded) -> Change {
    const NAMES: [&str; 6] = ["VIP", "vip", "skarga", "Jana Nováčková", "jan", "łódź"];
    let names = |random: &mut Seeded| -> Vec<String> {
        (0..number(random, 3)).map(|_| NAMES[number(random, NAMES.len())].to_owned()).collect()
    };
    match number(random, 4) {
        0 => note(&"zażółć\n".repeat(1 + number(random, 50))),
        1 => Change::Labels { add: names(random), remove: names(random) },
        2 => Change::Agents { add: names(random), remove: names(random) },
        _ => {
            let field = Field::ALL[number(random, Field::ALL.len())];
            let was = if number(random, 5) == 0 { "?".to_owned() } else { field.of(now).to_owned() };
            Change::Correction { field, was, is: NAMES[number(random, NAMES.len())].to_owned() }
        }
    }
}

/// What a naive reader of the versions would say holds.
fn replay(steps: &[Step]) -> Details {
    let mut now = details();
    for step in steps {
        assert!(step.before == now);
        match &step.version.change {
            Change::Note { .. } | Change::Redacted { .. } => {}
            Change::Correction { field, is, .. } => *field.of_mut(&mut now) = is.clone(),
            Change::Labels { add, remove } | Change::Agents { add, remove } => {
                let is_labels = matches!(step.version.change, Change::Labels { .. });
                let names = if is_labels { &mut now.tags } else { &mut now.agents };
                for name in remove {
                    names.retain(|one| normalise_name(one) != normalise_name(name));
                }
                for name in add {
                    if names.iter().all(|one| normalise_name(one) != normalise_name(name)) {
                        names.push(name.clone());
                    }
                }
            }
        }
    }
    now
}

#[test]
fn in_random_histories_nothing_earlier_changes_or_disappears() {
    for seed in 0..12 {
        let mut random = Seeded::new(&[seed; 32], "history", 0);
        let mut history = History::begin(id(1), b"receipt", details());
        let mut documents: Vec<Vec<u8>> = Vec::new();
        for at in 0..60 {
            let change = some_change(history.now(), &mut random);
            let Ok(version) = history.next(said(at, change), [seed; 32]) else { continue };
            let document = version.to_bytes();
            assert!(document.len() as u64 <= DOCUMENT_BYTES_MAX && document.len().is_multiple_of(PADDED_TO));
            // Another who had seen the same and says something else: the second loses, and the history is as it was.
            let other = history.next(said(at, note("another")), [0; 32]).unwrap().to_bytes();
            history.push(&document).unwrap();
            assert!(history.push(&other).is_err());
            documents.push(document);
            // All of it is there still, byte for byte, and says the same.
            let read =
                History::of(id(1), b"receipt", details(), documents.iter().map(Vec::as_slice)).unwrap();
            assert_eq!(read.number() as usize, documents.len());
            for (step, document) in read.steps().iter().zip(&documents) {
                assert_eq!(step.version.to_bytes(), *document);
                assert_eq!(step.digest, Digest::of(document));
            }
            assert!(*read.now() == replay(read.steps()) && read.now() == history.now());
        }
        assert!(documents.len() > 10, "{seed}");
        refused_otherwise(&documents, &mut random);
    }
}

/// Left out, exchanged, twice, changed, or with something else before or under it: no history.
fn refused_otherwise(documents: &[Vec<u8>], random: &mut Seeded) {
    let read = |documents: &[Vec<u8>]| {
        History::of(id(1), b"receipt", details(), documents.iter().map(Vec::as_slice)).map(drop)
    };
    let at = number(random, documents.len() - 1);
    let mut gap = documents.to_vec();
    gap.remove(at);
    assert!(matches!(read(&gap), Err(HistoryError::Gap { number, .. }) if number as usize == at + 1));
    let mut swapped = documents.to_vec();
    swapped.swap(at, at + 1);
    assert!(read(&swapped).is_err());
    let mut twice = documents.to_vec();
    twice.insert(at, documents[at].clone());
    assert!(matches!(read(&twice), Err(HistoryError::Gap { .. })));
    let mut edited = documents.to_vec();
    let mut version = Version::from_bytes(&documents[at], at as u32 + 1).unwrap();
    version.author = "local:jan".into();
    edited[at] = version.to_bytes();
    assert!(matches!(read(&edited), Err(HistoryError::Forked { number }) if number as usize == at + 2));
    for byte in (0..documents[at].len()).step_by(11) {
        let mut damaged = documents.to_vec();
        damaged[at][byte] ^= 1;
        assert!(read(&damaged).is_err(), "byte {byte}");
    }
    let all = || documents.iter().map(Vec::as_slice);
    let other = History::of(id(2), b"receipt", details(), all());
    assert!(matches!(other, Err(HistoryError::Other { number: 1 })));
    let other = History::of(id(1), b"another receipt", details(), all());
    assert!(matches!(other, Err(HistoryError::Forked { number: 1 })));
}

#[test]
fn what_is_hostile_or_changes_nothing_is_not_said() {
    let mut history = History::begin(id(1), b"receipt", details());
    let refused = |history: &History, change| history.next(said(1, change), [0; 32]).map(drop).unwrap_err();
    for text in ["", " \n\t", "a\u{1b}[2J", "a\u{202e}b", "a\u{0}b", "a\rb", &"a".repeat(TEXT_BYTES_MAX + 1)]
    {
        assert!(matches!(refused(&history, note(text)), VersionError::Text { .. }), "{text:?}");
    }
    for name in ["", "\u{301}", "a\nb", "a\u{2066}b", &"a".repeat(NAME_BYTES_MAX + 1)] {
        assert!(matches!(refused(&history, labels(&[name], &[])), VersionError::Text { .. }), "{name:?}");
    }
    assert_eq!(refused(&history, labels(&[], &["vip"])), VersionError::Nothing);
    let many: Vec<String> = (0..=NAMES_MAX).map(|number| number.to_string()).collect();
    let many = Change::Agents { add: many, remove: Vec::new() };
    assert_eq!(refused(&history, many), VersionError::TooMany("agents"));
    let correct =
        |was: &str, is: &str| Change::Correction { field: Field::Caller, was: was.into(), is: is.into() };
    assert_eq!(refused(&history, correct("1", "2")), VersionError::Was(Field::Caller));
    assert_eq!(refused(&history, correct("+48221234567", "+48221234567")), VersionError::Nothing);
    assert!(history.next(said(1, correct("+48221234567", "")), [0; 32]).is_ok());
    let vip = history.next(said(1, labels(&["VIP"], &[])), [0; 32]).unwrap();
    history.push(&vip.to_bytes()).unwrap();
    assert_eq!(refused(&history, labels(&["vip"], &[])), VersionError::Nothing);
    assert!(history.says(&said(9, labels(&["VIP"], &[]))) && !history.says(&said(9, labels(&["vip"], &[]))));
    // What was refused says nothing of what it was: it goes into the log.
    assert!(!refused(&history, correct("secret", "2")).to_string().contains("secret"));
    assert_eq!(format!("{vip:?}"), format!("Version(1 of {}, ..)", id(1)));
}

#[test]
fn spans_are_in_order_and_apart_and_the_same_copy_is_made_once() {
    let mut history = History::begin(id(1), b"receipt", details());
    let redacted = |spans: &[(u64, u64)], sealed: &[u8]| Change::Redacted {
        of: format!("{}.opus.age", id(1)),
        spans: spans.iter().map(|(from_ms, to_ms)| Span { from_ms: *from_ms, to_ms: *to_ms }).collect(),
        file: Body { name: copy_name(&id(1), 1, "x.opus.age"), sha256: Digest::of(sealed), bytes: 7 },
    };
    for spans in [&[][..], &[(2, 2)], &[(3, 2)], &[(5, 6), (1, 2)], &[(1, 5), (4, 9)], &[(1, 5), (5, 9)]] {
        let refused = history.next(said(1, redacted(spans, b"x")), [0; 32]);
        assert!(matches!(refused, Err(VersionError::Spans(_))), "{spans:?}");
    }
    let many: Vec<_> = (0..=SPANS_MAX as u64).map(|n| (n * 10, n * 10 + 1)).collect();
    assert!(history.next(said(1, redacted(&many, b"x")), [0; 32]).is_err());
    let version = history.next(said(1, redacted(&many[1..], b"x")), [0; 32]).unwrap();
    assert!(version.to_bytes().len() as u64 <= DOCUMENT_BYTES_MAX);
    history.push(&version.to_bytes()).unwrap();
    assert!(*history.now() == details(), "nobody is found by it");
    assert!(history.says(&said(2, redacted(&many[1..], b"sealed again"))));
    assert!(!history.says(&said(2, redacted(&many[2..], b"x"))));
}

#[test]
fn there_is_room_for_so_many_and_for_the_largest() {
    let mut history = History::begin(id(1), b"receipt", details());
    for at in 0..u64::from(VERSIONS_MAX) {
        // Each of these bytes takes two.
        let text = format!("{at}{}", "\"".repeat(TEXT_BYTES_MAX - 3));
        let document = history.next(said(at, note(&text)), [1; 32]).unwrap().to_bytes();
        assert!(document.len() as u64 <= DOCUMENT_BYTES_MAX);
        history.push(&document).unwrap();
    }
    assert_eq!(history.next(said(1, note("more")), [1; 32]).unwrap_err(), VersionError::Full);
    let names = |begin: &str| (0..NAMES_MAX / 2).map(|n| format!("{begin}{n}{}", "\"".repeat(120))).collect();
    let all = Change::Labels { add: names("a"), remove: names("b") };
    let version = History::begin(id(1), b"", details()).next(said(1, all), [1; 32]).unwrap();
    assert!(version.to_bytes().len() as u64 <= DOCUMENT_BYTES_MAX);
}

#[test]
fn a_document_has_one_text() {
    let history = History::begin(id(1), b"receipt", details());
    let version = history.next(said(7, note("zażalenie")), [2; 32]).unwrap();
    let text = String::from_utf8(version.to_bytes()).unwrap();
    let before = Digest::of(b"receipt");
    let salt = "02".repeat(32);
    assert_eq!(
        text.trim_end_matches(' '),
        format!(
            r#"{{"schema":1,"recording":"{}","number":1,"before":"{before}","salt":"{salt}","at":"1970-01-01T00:00:00.000000007Z","author":"local:ewa","reason":{{"code":"complaint","text":"T-17"}},"change":{{"note":{{"text":"zażalenie"}}}}}}"#,
            id(1)
        )
    );
    assert!(Version::from_bytes(text.as_bytes(), 1).unwrap() == version);
    for other in [
        format!("{text} "),
        text.trim_end().to_owned(),
        text.replacen('{', r#"{"x":1,"#, 1),
        text.replacen("{\"schema", "{ \"schema", 1),
    ] {
        assert!(Version::from_bytes(other.as_bytes(), 1).is_err(), "{other}");
    }
    let later = text.replacen("\"schema\":1", "\"schema\":2", 1);
    assert!(matches!(Version::from_bytes(later.as_bytes(), 1), Err(HistoryError::Schema { found: 2, .. })));
}

#[test]
fn a_slip_is_of_one_version_and_says_nothing_of_it() {
    let body = |name: String| Body { name, sha256: Digest::of(b"sealed"), bytes: 7 };
    let slip = VersionSlip {
        schema: SCHEMA,
        recording: id(1),
        number: 2,
        bodies: vec![body(document_name(&id(1), 2)), body(format!("{}.v2.opus.age", id(1)))],
    };
    let bytes = slip.to_bytes();
    assert_eq!(VersionSlip::from_bytes(&bytes, &id(1), 2).unwrap(), slip);
    assert!(matches!(VersionSlip::from_bytes(&bytes, &id(1), 1), Err(VersionSlipError::Other)));
    assert!(matches!(VersionSlip::from_bytes(&bytes, &id(2), 2), Err(VersionSlipError::Other)));
    for name in [document_name(&id(1), 1), format!("{}.opus.age", id(1)), "../x".into()] {
        let other = VersionSlip { bodies: vec![slip.bodies[0].clone(), body(name)], ..slip.clone() };
        assert!(VersionSlip::from_bytes(&other.to_bytes(), &id(1), 2).is_err());
    }
    let none = VersionSlip { bodies: Vec::new(), ..slip };
    assert!(VersionSlip::from_bytes(&none.to_bytes(), &id(1), 2).is_err());
    let spaced = [&bytes[..], b" "].concat();
    assert!(matches!(VersionSlip::from_bytes(&spaced, &id(1), 2), Err(VersionSlipError::Changed)));
    let object = format!("2026/11/23/{}.v2.version.json", id(1));
    assert_eq!(VersionSlip::named(&object), Some((id(1), 2)));
    for other in ["v2.x.version.json", "v02.version.json", "receipt.json", "version.json", "v2.body"] {
        assert_eq!(VersionSlip::named(&format!("2026/11/23/{}.{other}", id(1))), None, "{other}");
    }
}
