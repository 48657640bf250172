use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;

use crate::archive::access::{Action, Reason};
use crate::archive::duties::{Came, Duty, Policy, Schedule, State};
use crate::archive::entry::{Entry, Outcome, Resource, SCHEMA};
use crate::archive::notice::queue::{AGAIN, BACK_OFF_MAX, WAITING_MAX};
use crate::archive::notice::{
    Batch, Channel, Conditions, Kind, Notice, Queue, Topic, body, conditions, json_body, of_entry, subject,
};
use crate::archive::record::RecordingId;
use crate::archive::report::Language;
use crate::archive::review::LOCKED;
use crate::base::time::Stamp;

const NOW: u64 = 1_795_000_000;

fn at(seconds: u64) -> Stamp {
    Stamp::from_unix_nanos((NOW + seconds) * 1_000_000_000)
}

fn channel(topics: &[Topic]) -> Channel {
    Channel { name: "ops".into(), topics: topics.iter().copied().collect(), every: Duration::from_secs(300) }
}

fn entry(actor: &str, action: Action, outcome: Outcome) -> Entry {
    let reason = Some(Reason { code: "complaint".into(), text: "+48 22 123 45 67, Jan Kowalski".into() });
    let (schema, at, resource) = (SCHEMA, at(0), Resource::Recording(RecordingId::from_bytes([1; 16])));
    Entry { schema, at, actor: actor.into(), origin: "192.0.2.1".into(), action, resource, reason, outcome }
}

#[test]
fn entries_become_notices_and_what_strangers_typed_stays_out() {
    let done = |value| Outcome::Done(value);
    let alarm = done(json!({ "alarm": "glass-broken", "until": "2026-11-23T21:08:41Z" }));
    let found = of_entry(7, &entry("user:rita", Action::BreakGlass, alarm)).unwrap();
    assert_eq!((found.kind, found.subject.as_str(), found.count), (Kind::BrokenGlass, "rita", 1));
    let much = entry("user:rita", Action::Open, done(json!({ "alarm": "many-recordings" })));
    assert_eq!(of_entry(7, &much).unwrap().kind, Kind::BulkListening);
    // Somebody typed a number for a name.
    let locked = entry("user:+48221234567", Action::SignIn, Outcome::Failed(LOCKED.into()));
    assert_eq!(of_entry(7, &locked).map(|one| (one.kind, one.subject)), Some((Kind::Lockout, String::new())));
    assert_eq!(of_entry(7, &entry("user:x", Action::SignIn, Outcome::Failed("code".into()))), None);
    let asked = entry("user:ada", Action::ManageUsers, done(json!({ "change": "ask", "number": 3 })));
    assert_eq!(of_entry(9, &asked).map(|one| one.subject), Some("3".into()));
    let added = entry("user:ada", Action::ManageUsers, done(json!({ "change": "add", "number": 3 })));
    assert_eq!(of_entry(9, &added), None);
    let mut export = entry("local:root", Action::AskExport, Outcome::Granted);
    assert_eq!(of_entry(9, &export).map(|one| one.subject), Some("9".into()));
    export.resource = Resource::Request(9);
    assert_eq!(of_entry(11, &export), None, "taken back");
    assert_eq!(of_entry(7, &entry("user:rita", Action::Open, Outcome::Granted)), None);
}

/// Whatever the log has of a call, nothing of it is in a message.
#[test]
fn no_message_has_numbers_or_names_of_callers() {
    let mut batch = Batch { id: "1-1".into(), made: at(0), notices: Vec::new(), left_out: 2 };
    let actors = ["user:rita", "user:Jan Kowalski", "user:+48221234567", "local:root"];
    for actor in actors {
        for action in [Action::BreakGlass, Action::Open, Action::SignIn, Action::AskExport, Action::Judge] {
            for outcome in [
                Outcome::Granted,
                Outcome::Failed(LOCKED.into()),
                Outcome::Done(json!({ "alarm": "Jan Kowalski", "change": "ask", "number": 3 })),
            ] {
                batch.notices.extend(of_entry(5, &entry(actor, action, outcome)));
            }
        }
    }
    batch.notices.push(Notice::new(Kind::CheckFails, "x\r\nBcc: a@b.c \u{202e}<b>", at(1)));
    assert!(batch.notices.len() > 10);
    for language in [Language::English, Language::Polish] {
        let (subject, body) = (subject("v\r\nBcc: x", &batch, language), body("v", &batch, language));
        assert!(!subject.contains(['\r', '\n']), "{subject}");
        assert!(!body.contains("\r\n") && !body.contains('\u{202e}') && !body.contains('<'), "{body}");
        for word in ["Kowalski", "+48", "221234567", "123 45"] {
            assert!(!subject.contains(word) && !body.contains(word), "{body}");
            assert!(!json_body("v", &batch).to_string().contains(word));
        }
    }
    // Each kind has words of its own in both languages.
    let sentences: BTreeSet<String> = Kind::ALL
        .into_iter()
        .flat_map(|kind| {
            let one = Notice::new(kind, "", at(0));
            [Language::English, Language::Polish].map(|language| super::words::sentence(&one, language))
        })
        .collect();
    assert_eq!(sentences.len(), Kind::ALL.len() * 2);
}

#[test]
fn a_storm_is_one_message_and_what_follows_waits_its_turn() {
    let (mut queue, ops) = (Queue::default(), channel(&Topic::ALL));
    let channels = std::slice::from_ref(&ops);
    for number in 0..10_000 {
        queue.add(&Notice::new(Kind::Lockout, "", at(number / 1_000)), channels);
    }
    let first = queue.due(&ops, at(10)).unwrap().clone();
    assert_eq!((first.notices.len(), first.notices[0].count, first.left_out), (1, 10_000, 0));
    queue.delivered(&ops, at(11));
    assert!(queue.due(&ops, at(12)).is_none());
    queue.add(&Notice::new(Kind::BrokenGlass, "rita", at(13)), channels);
    assert!(queue.due(&ops, at(310)).is_none(), "within five minutes");
    let second = queue.due(&ops, at(311)).unwrap().clone();
    assert_ne!(second.id, first.id);
    // Of different ones there are so many at most; the others are counted.
    queue.delivered(&ops, at(312));
    for number in 0..WAITING_MAX + 50 {
        queue.add(&Notice::new(Kind::BrokenGlass, &format!("user{number}"), at(400)), channels);
    }
    let third = queue.due(&ops, at(1_000)).unwrap();
    assert_eq!((third.notices.len(), third.left_out), (WAITING_MAX, 50));
}

#[test]
fn what_did_not_arrive_is_the_same_message_again_later_and_later() {
    let (mut queue, ops) = (Queue::default(), channel(&Topic::ALL));
    let channels = std::slice::from_ref(&ops);
    queue.add(&Notice::new(Kind::BrokenGlass, "rita", at(0)), channels);
    let (mut now, mut waits, mut ids) = (0, Vec::new(), BTreeSet::new());
    for _ in 0..12 {
        let begun = now;
        while queue.due(&ops, at(now)).is_none() {
            now += 1;
        }
        waits.push(now - begun);
        ids.insert(queue.due(&ops, at(now)).unwrap().id.clone());
        queue.failed(&ops, "refused", at(now));
        // What comes meanwhile is not lost, and not in the message that is under way.
        queue.add(&Notice::new(Kind::Lockout, "", at(now)), channels);
        assert_eq!(queue.due(&ops, at(now + 100_000)).unwrap().notices.len(), 1);
    }
    assert_eq!(ids.len(), 1);
    assert_eq!(waits[..4], [0, 30, 60, 120]);
    assert!(waits.windows(2).all(|two| two[0] <= two[1]));
    assert_eq!(*waits.last().unwrap(), BACK_OFF_MAX.as_secs());
    // It survives a restart as it is.
    let kept: Queue = serde_json::from_slice(&serde_json::to_vec(&queue).unwrap()).unwrap();
    assert_eq!(kept, queue);
    // A clock that was set back by years keeps nothing back.
    assert!(queue.due(&ops, Stamp::from_unix_nanos(1)).is_some());
    queue.delivered(&ops, at(now + 5_000));
    let next = queue.due(&ops, at(now + 6_000)).unwrap();
    assert_eq!((next.notices[0].kind, next.notices[0].count), (Kind::Lockout, 12));
}

#[test]
fn what_goes_on_is_told_once_and_again_each_day() {
    let (mut queue, ops) = (Queue::default(), channel(&[Topic::Alarms]));
    let channels = std::slice::from_ref(&ops);
    let one: Conditions = [(Kind::DutyLate, "copies".to_owned())].into();
    let mut told = 0;
    for hour in 0..49 {
        let now = at(hour * 3_600);
        // It comes and goes: every other hour it is over.
        let none = Conditions::new();
        queue.conditions(if hour % 2 == 0 { &one } else { &none }, now, channels);
        queue.conditions(&one, now, channels);
        if queue.due(&ops, now).is_some() {
            told += 1;
            queue.delivered(&ops, now);
        }
    }
    assert_eq!(u64::from(told as u32), 1 + 48 * 3_600 / AGAIN.as_secs());
    // Of what is not on this way nothing waits.
    queue.conditions(&[(Kind::MediaDue, String::new())].into(), at(200_000), channels);
    assert!(queue.due(&ops, at(300_000)).is_none());
    // Once it was over for long, it is new.
    queue.conditions(&Conditions::new(), at(400_000), channels);
    queue.conditions(&one, at(400_001), channels);
    assert!(queue.due(&ops, at(400_002)).is_some());
}

#[test]
fn duties_that_found_or_failed_or_are_late_are_conditions() {
    let mut schedule = Schedule::new(Policy::default(), State::default(), at(0));
    let mut end = |duty, came| {
        schedule.begin(duty, at(1));
        schedule.end(at(2), came, "no good copy is known of 0193c4a5".into());
    };
    end(Duty::Copies, Came::Found);
    end(Duty::WormTest, Came::Found);
    end(Duty::Clock, Came::Found);
    end(Duty::RestoreTest, Came::Failed);
    end(Duty::Review, Came::Well);
    let found = conditions(&schedule.standing(at(3)), None, true);
    let expected: Conditions = [
        (Kind::CopiesLost, "copies".to_owned()),
        (Kind::WormFailed, String::new()),
        (Kind::ClockHalted, String::new()),
        (Kind::DutyFailed, "restore-test".to_owned()),
        (Kind::LogUnwritable, String::new()),
    ]
    .into();
    assert_eq!(found, expected);
    let late = conditions(&schedule.standing(at(40 * 86_400)), None, false);
    assert!(late.contains(&(Kind::DutyLate, "keys".to_owned())), "{late:?}");
}

#[test]
fn there_is_one_digest_a_day() {
    let mut queue = Queue::default();
    let begins = Stamp::from_unix_nanos(1_794_960_000_000_000_000);
    let days: Vec<usize> = (0..3)
        .map(|day| {
            let hour = |hour: u64| begins.after(Duration::from_secs(day * 86_400 + hour * 3_600));
            (0..24).filter(|one| queue.is_digest_due(hour(*one))).count()
        })
        .collect();
    assert_eq!(days, [1, 1, 1]);
}
