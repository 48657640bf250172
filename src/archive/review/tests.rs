use std::collections::BTreeMap;

use serde_json::json;

use crate::archive::access::{Action, Reason, Refusal, Role};
use crate::archive::copies::Worm;
use crate::archive::duties::{Came, Duty, Policy, Schedule, State as Done};
use crate::archive::entry::{Entry, Outcome, Resource, SCHEMA};
use crate::archive::media::Due;
use crate::archive::record::RecordingId;
use crate::archive::report::Language;
use crate::archive::review::report::{ReportError, html, sign, verify};
use crate::archive::review::{
    Advisories, CertificateFacts, CopiesFacts, CustodianFacts, Digested, Facts, Finding, KeyFacts, Limits,
    MediumFacts, PlaceStands, RecorderFacts, Restored, Review, State, TokenFacts, UserFacts, review,
};
use crate::base::time::Stamp;
use crate::seal::note::Signer;

const DAY: u64 = 86_400;
const NOW: u64 = 1_795_000_000;

fn at(seconds: u64) -> Stamp {
    Stamp::from_unix_nanos(seconds * 1_000_000_000)
}

fn days_ago(days: u64) -> Stamp {
    at(NOW - days * DAY)
}

fn user(name: &str) -> UserFacts {
    UserFacts {
        name: name.into(),
        is_active: true,
        is_disabled: false,
        has_roles: true,
        has_second_factor: true,
        recovery_codes: 8,
        certified: days_ago(10),
        tokens: Vec::new(),
    }
}

/// An archive of which nothing is wrong, as far as that can be known.
fn well() -> Facts {
    let mut schedule = Schedule::new(Policy::default(), Done::default(), at(NOW - 100));
    for duty in Duty::ALL {
        schedule.begin(duty, at(NOW - 90));
        schedule.end(at(NOW - 80), Came::Well, "all well".into());
    }
    let mut log = Digested::default();
    (log.size, log.newest, log.planned) = (100, Some(at(NOW - 5)), Some(days_ago(0)));
    log.restored.insert("first".into(), Restored { at: days_ago(1), files: 9, opened: 9, failures: 0 });
    Facts {
        now: at(NOW),
        vault: "vault-1+00000000+AA".into(),
        tool: "sejf 0.1.0".into(),
        users: Ok(vec![user("ewa"), user("jan")]),
        keys: Ok(KeyFacts {
            months: 2,
            threshold: 2,
            custodians: ["ewa", "jan", "ola"]
                .map(|name| CustodianFacts { name: name.into(), shown: Some(days_ago(20)) })
                .to_vec(),
            places: 2,
            made: days_ago(400),
            ..KeyFacts::default()
        }),
        places: Ok(vec![PlaceStands {
            name: "first".into(),
            absent: None,
            is_to_be_worm: true,
            worm: Worm::Passed,
            worm_tested: Some(at(NOW - 3_600)),
            good: 7,
            wrong: 0,
            oldest_read: Some(days_ago(20)),
        }]),
        copies: Ok(CopiesFacts { recordings: 7, need_worm: true, ..CopiesFacts::default() }),
        media: Ok(vec![MediumFacts { id: "m1".into(), due: Due::Check(at(NOW + DAY)) }]),
        duties: schedule.standing(at(NOW)),
        certificates: vec![CertificateFacts {
            subject: "web".into(),
            until: Ok(at(NOW + 90 * DAY)),
            is_renewed: false,
        }],
        recorders: Ok(vec![RecorderFacts {
            name: "r1".into(),
            taken_in: Some(at(NOW - 60)),
            log_size: 9,
            missing: 0,
            awaited: 0,
            version: Some(env!("CARGO_PKG_VERSION").into()),
            captured: 1_000,
            dropped: BTreeMap::new(),
            troubles: Vec::new(),
            newest_event: Some(days_ago(3)),
        }]),
        log,
        witnessed: Some(Ok(at(NOW - 60))),
        forwarded: Some(Ok(at(NOW - 60))),
        advisories: Some(Ok(Advisories { at: Some(days_ago(1)), open: Vec::new() })),
    }
}

fn found<'a>(made: &'a Review, id: &str) -> &'a Finding {
    made.findings.iter().find(|finding| finding.id == id).unwrap_or_else(|| panic!("no {id}"))
}

#[test]
fn an_archive_that_is_well_is_told_so_and_what_nobody_can_know_too() {
    let made = review(&well(), &Limits::default());
    let not_ok: Vec<_> =
        made.findings.iter().filter(|one| one.state != State::Ok).map(|one| one.id.as_str()).collect();
    assert_eq!(not_ok, ["sampling", "recorder-canary"], "{:?}", made.findings);
    assert!(made.is_well());
    for finding in &made.findings {
        for text in [&finding.title, &finding.evidence, &finding.source] {
            assert!(!text.en.is_empty() && !text.pl.is_empty(), "{}", finding.id);
        }
        assert_ne!(finding.title.en, finding.title.pl, "{}", finding.id);
        assert_eq!(finding.remedy.en.is_empty(), finding.state == State::Ok, "{}", finding.id);
    }
}

type Spoil = fn(&mut Facts);

/// What may be wrong, and what its check says then.
const SPOILT: &[(&str, State, Spoil)] = &[
    ("mfa", State::Fails, |facts| facts.users.as_mut().unwrap()[0].has_second_factor = false),
    ("recovery-codes", State::Attention, |facts| facts.users.as_mut().unwrap()[0].recovery_codes = 2),
    ("roles-certified", State::Fails, |facts| facts.users.as_mut().unwrap()[1].certified = days_ago(91)),
    ("disabled-with-token", State::Fails, |facts| {
        let one = &mut facts.users.as_mut().unwrap()[1];
        (one.is_active, one.is_disabled) = (false, true);
        one.tokens.push(TokenFacts { number: 3, since: days_ago(1), until: at(NOW + 60 * DAY) });
    }),
    ("tokens-ending", State::Attention, |facts| {
        let token = TokenFacts { number: 3, since: days_ago(1), until: at(NOW + 3 * DAY) };
        facts.users.as_mut().unwrap()[1].tokens.push(token);
    }),
    ("tokens-unused", State::Attention, |facts| {
        let token = TokenFacts { number: 3, since: days_ago(40), until: at(NOW + 30 * DAY) };
        facts.users.as_mut().unwrap()[1].tokens.push(token);
    }),
    ("broken-glass", State::Attention, |facts| facts.log.glass.push_back((days_ago(2), "user:ewa".into()))),
    ("lockouts", State::Attention, |facts| {
        facts.log.lockouts.insert("user:ewa".into(), days_ago(2));
    }),
    ("keys-ahead", State::Fails, |facts| {
        let keys = facts.keys.as_mut().unwrap();
        (keys.lacking, keys.urgent) = (vec!["calls-5y/2026-11".into()], 1);
    }),
    ("key-places", State::Fails, |facts| facts.keys.as_mut().unwrap().absent.push("/mnt".into())),
    ("key-places", State::Attention, |facts| facts.keys.as_mut().unwrap().places = 1),
    ("custodians", State::Attention, |facts| {
        facts.keys.as_mut().unwrap().custodians.pop();
    }),
    ("custodians", State::Fails, |facts| facts.keys.as_mut().unwrap().threshold = 9),
    ("drills", State::Attention, |facts| {
        facts.keys.as_mut().unwrap().custodians[0].shown = Some(days_ago(366));
    }),
    ("drills", State::Fails, |facts| {
        for one in facts.keys.as_mut().unwrap().custodians.iter_mut().skip(1) {
            one.shown = Some(days_ago(366));
        }
    }),
    ("leaked-keys", State::Fails, |facts| {
        facts.log.leaked.insert("calls-5y/2026-11".into(), days_ago(1));
    }),
    ("copies-short", State::Fails, |facts| facts.copies.as_mut().unwrap().short_for_long = 1),
    ("copies-lost", State::Fails, |facts| facts.copies.as_mut().unwrap().lost = 1),
    ("place", State::Fails, |facts| facts.places.as_mut().unwrap()[0].absent = Some("not mounted".into())),
    ("worm-test", State::Fails, |facts| {
        facts.places.as_mut().unwrap()[0].worm_tested = Some(at(NOW - DAY - 1));
    }),
    ("restore-test", State::Fails, |facts| {
        facts.log.restored.clear();
    }),
    ("restore-test", State::Attention, |facts| {
        facts.log.restored.get_mut("first").unwrap().opened = 0;
    }),
    ("scrub", State::Fails, |facts| facts.places.as_mut().unwrap()[0].oldest_read = Some(days_ago(36))),
    ("media", State::Attention, |facts| facts.media.as_mut().unwrap()[0].due = Due::Destroy),
    ("media", State::Fails, |facts| facts.media.as_mut().unwrap()[0].due = Due::Mend),
    ("destruction", State::Fails, |facts| facts.log.destroyable = Some((days_ago(2), 4))),
    ("destruction", State::Attention, |facts| facts.log.destroyable = Some((at(NOW - 60), 4))),
    ("destruction", State::Unknown, |facts| facts.log.planned = None),
    ("certificate", State::Attention, |facts| facts.certificates[0].until = Ok(at(NOW + DAY))),
    ("certificate", State::Fails, |facts| facts.certificates[0].until = Ok(at(NOW - 1))),
    ("certificate", State::Unknown, |facts| facts.certificates[0].until = Err("no file".into())),
    ("recorder-intake", State::Fails, |facts| {
        let one = &mut facts.recorders.as_mut().unwrap()[0];
        (one.taken_in, one.newest_event) = (Some(days_ago(2)), Some(days_ago(4)));
    }),
    ("recorder-log", State::Fails, |facts| facts.recorders.as_mut().unwrap()[0].missing = 1),
    ("recorder-version", State::Attention, |facts| {
        facts.recorders.as_mut().unwrap()[0].version = Some("0.0.9".into());
    }),
    ("recorder-drops", State::Fails, |facts| {
        facts.recorders.as_mut().unwrap()[0].dropped.insert("capture-drop".into(), 3);
    }),
    ("recorder-state", State::Fails, |facts| {
        facts.recorders.as_mut().unwrap()[0].troubles.push("interface eth1 is down".into());
    }),
    ("log", State::Attention, |facts| facts.log.unreadable = 1),
    ("log-witness", State::Fails, |facts| facts.witnessed = Some(Ok(days_ago(2)))),
    ("log-witness", State::Unknown, |facts| facts.witnessed = None),
    ("log-forwarding", State::Fails, |facts| facts.forwarded = Some(Err("refused".into()))),
    ("advisories", State::Fails, |facts| {
        facts.advisories.as_mut().unwrap().as_mut().unwrap().open.push("RUSTSEC-1".into());
    }),
    ("advisories", State::Attention, |facts| {
        facts.advisories.as_mut().unwrap().as_mut().unwrap().at = Some(days_ago(8));
    }),
    ("advisories", State::Unknown, |facts| facts.advisories = None),
    ("users-unknown", State::Unknown, |facts| facts.users = Err("no file".into())),
];

/// One thing is spoilt, and its check says so, and no other.
#[test]
fn each_thing_that_is_wrong_is_found_by_its_check() {
    let before = review(&well(), &Limits::default());
    for (id, state, spoil) in SPOILT {
        let mut facts = well();
        spoil(&mut facts);
        let made = review(&facts, &Limits::default());
        let id = if *id == "users-unknown" { "mfa" } else { id };
        assert_eq!(found(&made, id).state, *state, "{id}: {:?}", found(&made, id).evidence);
        assert_eq!(made.is_well(), *state != State::Fails, "{id}");
        let worse: Vec<_> = before
            .findings
            .iter()
            .filter(|one| found(&made, &one.id).state < one.state && one.id != id)
            .map(|one| one.id.as_str())
            .collect();
        let expected = if facts.users.is_err() { 5 } else { 0 };
        assert_eq!(worse.len(), expected, "{id}: {worse:?}");
    }
}

fn entry(seconds: u64, actor: &str, action: Action, resource: Resource, outcome: Outcome) -> Vec<u8> {
    let (schema, at, origin, reason) = (SCHEMA, at(seconds), "192.0.2.1".into(), None::<Reason>);
    Entry { schema, at, actor: actor.into(), origin, action, resource, reason, outcome }.to_bytes()
}

#[test]
fn the_log_tells_who_heard_much_in_an_hour() {
    let id = Resource::Recording(RecordingId::from_bytes([1; 16]));
    let mut log = Digested::default();
    let mut hear = |who: &str, seconds: u64| {
        log.absorb(&entry(seconds, who, Action::Open, id.clone(), Outcome::Granted));
    };
    // Twenty an hour for a day, evenly; and one who hears 21 within the hour across its turn.
    for number in 0..480 {
        hear("user:slow", NOW + number * 180);
    }
    for number in 0..21 {
        hear("user:fast", NOW + 3_000 + number * 60);
    }
    assert_eq!(log.heard["user:slow"][0].count, 20);
    let most = log.heard["user:fast"][0];
    assert_eq!((most.count, most.at), (21, at(NOW + 3_000 + 20 * 60)));
    let mut facts = well();
    facts.log.heard = log.heard;
    facts.now = at(NOW + DAY);
    let made = review(&facts, &Limits::default());
    let bulk = found(&made, "bulk-listening");
    assert_eq!(bulk.state, State::Fails);
    assert!(bulk.evidence.en.contains("user:fast: 21") && !bulk.evidence.en.contains("slow"), "{bulk:?}");
    // What was refused was not heard.
    let mut log = Digested::default();
    let refused = Outcome::Refused(Refusal::Role { needs: vec![Role::Reviewer] });
    (0..30).for_each(|n| log.absorb(&entry(NOW + n, "user:x", Action::Open, id.clone(), refused.clone())));
    assert!(log.heard.is_empty() && log.size == 30);
}

#[test]
fn much_of_last_month_hides_nothing_of_this_one() {
    let id = Resource::Recording(RecordingId::from_bytes([1; 16]));
    let mut facts = well();
    for (day, count) in [(0, 25), (29, 22), (30, 3)] {
        for number in 0..count {
            let seconds = NOW + day * DAY + number * 60;
            facts.log.absorb(&entry(seconds, "user:rita", Action::Open, id.clone(), Outcome::Granted));
        }
    }
    for (day, said) in [(29, Some("rita: 25")), (31, Some("rita: 22")), (61, None)] {
        facts.now = at(NOW + day * DAY + 7_200);
        let made = review(&facts, &Limits::default());
        let bulk = found(&made, "bulk-listening");
        assert_eq!(bulk.state == State::Fails, said.is_some(), "{day}: {bulk:?}");
        assert!(said.is_none_or(|said| bulk.evidence.en.contains(said)), "{day}: {bulk:?}");
    }
}

#[test]
fn the_log_tells_of_leaks_restores_and_what_waits_to_be_destroyed() {
    let mut log = Digested::default();
    let epoch = || Resource::Epoch("calls-5y/2026-11".into());
    let done = |value| Outcome::Done(value);
    log.absorb(&entry(NOW, "local:root", Action::Rewrap, epoch(), Outcome::Granted));
    let part = done(json!({ "renewed": 3, "unknown": 0, "failed": 1 }));
    log.absorb(&entry(NOW + 1, "local:root", Action::Rewrap, epoch(), part));
    assert_eq!(log.leaked.len(), 1);
    let all = done(json!({ "renewed": 1, "unknown": 0, "failed": 0 }));
    log.absorb(&entry(NOW + 2, "local:root", Action::Rewrap, epoch(), all));
    assert!(log.leaked.is_empty());
    let report = json!({ "restore-test": { "places": [
        { "place": "a", "files": 4, "opened": 4, "failures": [] }, { "place": "b", "failures": ["x"] },
    ], "opened": true } });
    log.absorb(&entry(NOW, "vault", Action::RestoreTest, Resource::Vault, done(report)));
    assert_eq!(log.restored["a"], Restored { at: at(NOW), files: 4, opened: 4, failures: 0 });
    assert_eq!(log.restored["b"].failures, 1);
    let plan = |count: u64| {
        done(json!({ "duty": "destruction-plan", "came": "well", "words": "", "details": {
            "recordings": count, "epochs": 0, "kept": {} } }))
    };
    log.absorb(&entry(NOW, "vault", Action::Duty, Resource::Vault, plan(2)));
    log.absorb(&entry(NOW + DAY, "vault", Action::Duty, Resource::Vault, plan(5)));
    assert_eq!(log.destroyable, Some((at(NOW), 5)));
    log.absorb(&entry(NOW + DAY, "local:root", Action::Destroy, Resource::Vault, done(json!({}))));
    assert_eq!(log.destroyable, None);
    log.absorb(b"{\"schema\":9}");
    assert_eq!((log.unreadable, log.size), (1, 8));
}

/// Whoever makes up names fills no memory.
#[test]
fn names_without_end_are_bounded() {
    let mut log = Digested::default();
    for number in 0..12_000_u64 {
        let failed = Outcome::Failed("too many failures".into());
        log.absorb(&entry(NOW + number, &format!("user:{number}"), Action::SignIn, Resource::Vault, failed));
    }
    assert_eq!(log.lockouts.len(), 10_000);
    assert!(log.lockouts.contains_key("user:11999") && !log.lockouts.contains_key("user:0"));
}

#[test]
fn a_report_is_signed_and_each_change_of_it_is_seen() {
    let signer = Signer::from_seed("vault-1", &[7; 32]).unwrap();
    let mut facts = well();
    facts.vault = signer.verify_key().to_string();
    facts.users.as_mut().unwrap()[0].has_second_factor = false;
    facts.users.as_mut().unwrap()[0].name = "<script>alert(1)</script>".into();
    let made = review(&facts, &Limits::default());
    for language in [Language::English, Language::Polish] {
        let page = html(&made, language);
        assert!(page.contains("&lt;script&gt;") && !page.contains("<script"));
        for both in ["Second factors of users", "Drugi składnik użytkowników", "fails", "nie spełniono"] {
            assert!(page.contains(both), "{both}");
        }
        let signed = sign(&page, made.at, 41, &signer).unwrap();
        let said = verify(&signed, signer.verify_key()).unwrap();
        assert_eq!((said.at, said.entry), (made.at, 41));
        let bytes = signed.as_bytes();
        // Every place of it, in steps.
        for place in (0..bytes.len()).step_by(bytes.len() / 300) {
            let mut other = bytes.to_vec();
            other[place] = if other[place] == b'x' { b'y' } else { b'x' };
            let other = String::from_utf8_lossy(&other);
            assert!(verify(&other, signer.verify_key()).is_err(), "{place}");
        }
        assert_eq!(verify(&page, signer.verify_key()), Err(ReportError::Unsigned));
        assert_eq!(verify(&format!("{signed} "), signer.verify_key()), Err(ReportError::Unsigned));
        assert!(verify(&format!("x{signed}"), signer.verify_key()).is_err());
        let stranger = Signer::from_seed("vault-1", &[8; 32]).unwrap();
        assert!(matches!(verify(&signed, stranger.verify_key()), Err(ReportError::Note(_))));
    }
}

#[test]
fn limits_and_advisories_are_read_and_what_makes_no_sense_is_refused() {
    let limits: Limits = toml::from_str("certify = '30 days'\nplays_an_hour = 5").unwrap();
    assert_eq!((limits.certify.0.as_secs(), limits.plays_an_hour, limits.sample), (30 * DAY, 5, 10));
    assert!(limits.fault().is_none());
    for wrong in ["plays_an_hour = 0", "sample = 501"] {
        assert!(toml::from_str::<Limits>(wrong).unwrap().fault().is_some(), "{wrong}");
    }
    assert!(toml::from_str::<Limits>("certfy = '30 days'").is_err());
    let audit = json!({
        "database": { "last-updated": "2026-11-20T10:00:00+01:00", "advisory-count": 900 },
        "lockfile": { "dependency-count": 400 },
        "vulnerabilities": { "found": true, "count": 1, "list": [{
            "advisory": { "id": "RUSTSEC-2026-0001", "title": "x" },
            "package": { "name": "crate\n<b>", "version": "1.2.3" },
        }] },
    });
    let read = Advisories::parse(audit.to_string().as_bytes()).unwrap();
    assert_eq!(read.open, ["RUSTSEC-2026-0001 (crate<b> 1.2.3)"]);
    assert_eq!(read.at.unwrap().to_string().get(..19), Some("2026-11-20T09:00:00"));
    for wrong in ["", "{}", "[]", "{\"database\":{},\"vulnerabilities\":{}}"] {
        assert!(Advisories::parse(wrong.as_bytes()).is_err(), "{wrong}");
    }
}
