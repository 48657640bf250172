//! Held against an oracle that knows nothing of `jiff`, spans or stamps: days are counted, months are clamped by hand.

use super::*;
use crate::archive::access::Reason;
use crate::archive::class::{Approval, CopyPolicy};
use crate::archive::clock::ClockDoubt;
use crate::archive::person::Person;
use crate::archive::request::Agreement;

const DAY: u64 = 86_400_000_000_000;

/// A policy, in the oracle's words: a number and a unit (`d`, `m`, `y`).
type Length = (i64, char);

/// One case, in plain numbers: what both sides are given.
#[derive(Clone, Copy, Debug)]
struct Case {
    min: Length,
    max: Option<Length>,
    base: Base,
    cooling_off: bool,
    early: bool,
    start: u64,
    end: u64,
    event: Option<u64>,
    held: bool,
    trusted: bool,
    what: What,
    asked: u64,
    due_by: Option<u64>,
    agreed: Option<(bool, u64)>,
    withdrawn: bool,
    now: u64,
}

/// Days since 1970 of a date, by counting (a year of 365.2425 days begins in March).
fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    365 * year + year.div_euclid(4) - year.div_euclid(100)
        + year.div_euclid(400)
        + (153 * month + 2) / 5
        + day
        - 719_469
}

/// The date of a day.
fn date(day: i64) -> (i64, i64, i64) {
    let mut year = 1970 + day.div_euclid(366);
    while days(year + 1, 1, 1) <= day {
        year += 1;
    }
    let month = (1..=12).rev().find(|month| days(year, *month, 1) <= day).unwrap();
    (year, month, day - days(year, month, 1) + 1)
}

fn add_length(at: u64, (count, unit): Length) -> i128 {
    let (day, rest) = ((at / DAY) as i64, i128::from(at % DAY));
    let (year, month, of_month) = date(day);
    let day = match unit {
        'd' => day + count,
        _ => {
            let months = year * 12 + month - 1 + if unit == 'y' { 12 * count } else { count };
            let (year, month) = (months.div_euclid(12), months.rem_euclid(12) + 1);
            let next = if month == 12 { days(year + 1, 1, 1) } else { days(year, month + 1, 1) };
            (days(year, month, 1) + of_month - 1).min(next - 1)
        }
    };
    i128::from(day) * i128::from(DAY) + rest
}

/// Whether it is to be destroyed: the whole rule, said once more.
fn oracle(case: &Case) -> bool {
    let base = match case.base {
        Base::Start => Some(case.start),
        Base::End => Some(case.end.max(case.start)),
        Base::NextYear => {
            let (year, ..) = date((case.end.max(case.start) / DAY) as i64);
            Some(days(year + 1, 1, 1) as u64 * DAY)
        }
        Base::Event => case.event,
    };
    let min = base.map(|base| add_length(base, case.min));
    let due = base.map(|base| case.max.map_or(0, |max| add_length(base, max)).max(min.unwrap()));
    let from = match case.what {
        What::Erasure if case.early => Some(i128::MIN),
        What::Due => due,
        _ => min,
    };
    let (now, asked) = (i128::from(case.now), i128::from(case.asked));
    let second = case.agreed.is_some_and(|(other, at)| other && case.asked <= at && at <= case.now);
    let waited = case.cooling_off && now >= asked + 14 * i128::from(DAY);
    let agreed = !case.withdrawn && asked <= now && (second || waited);
    // An erasure before its time is of calls that were over by the date that it names.
    let asked_of = if case.what == What::Erasure && case.early {
        Some(i128::from(if case.end < case.start { case.start } else { case.end }))
    } else {
        from
    };
    let in_time = from.is_some_and(|from| from <= now)
        && case.due_by.is_none_or(|by| asked_of.is_some_and(|asked_of| asked_of <= i128::from(by)));
    case.trusted && !case.held && agreed && in_time
}

fn person(name: &str) -> Person {
    name.parse().unwrap()
}

/// What the plan says of a case.
fn planned(case: &Case) -> Result<PlannedPurge, WhyKept> {
    let at = Stamp::from_unix_nanos;
    let period = |(count, unit): Length| {
        let unit = match unit {
            'd' => "days",
            'm' => "months",
            _ => "years",
        };
        Period::try_from(format!("{count} {unit}")).unwrap()
    };
    let class = Class {
        name: "calls".parse().unwrap(),
        keep_min: period(case.min),
        keep_max: case.max.map(period),
        base: case.base,
        destruction: if case.cooling_off { Approval::CoolingOff } else { Approval::FourEyes },
        copies: CopyPolicy::default(),
        worm: false,
        early_erasure: case.early,
    };
    let id = RecordingId::from_bytes([1; 16]);
    let facts = RetentionFacts {
        id,
        recorder: "a".into(),
        class: Some(class.name.clone()),
        phase: Phase::Archived,
        start: at(case.start),
        end: at(case.end),
        event: case.event.map(at),
    };
    let hold = Hold {
        name: "K.17".parse().unwrap(),
        scope: Scope { recordings: [id].into(), ..Scope::default() },
        by: "local:root".into(),
        at: at(0),
        reason: None,
        released: (!case.held).then(|| at(1)),
    };
    let agreement = |(other, when): (bool, u64)| Agreement {
        by: person(if other { "jan" } else { "ewa" }),
        actor: "local:root".into(),
        at: at(when),
    };
    let request = Request {
        number: 7,
        by: person("ewa"),
        actor: "local:root".into(),
        at: at(case.asked),
        scope: Scope { class: Some(class.name.clone()), ..Scope::default() },
        what: case.what,
        due_by: case.due_by.map(at),
        reason: Reason { code: "retention".into(), text: String::new() },
        agreed: case.agreed.map(agreement),
        withdrawn: case.withdrawn.then(|| at(case.asked)),
    };
    let doubt = ClockDoubt::BeforeLog { now: at(case.now), newest: at(case.now) };
    let trust = if case.trusted { ClockTrust::Trusted } else { ClockTrust::Doubted(doubt) };
    let mut plan = plan([facts].into_iter(), &[class], &[hold], &[request], at(case.now), trust);
    assert_eq!(plan.purges.len() + plan.kept.len(), 1);
    plan.purges.pop().ok_or_else(|| plan.kept.remove(0).why)
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % below
    }
}

fn case(random: &mut Random) -> Case {
    let mut pick = |below: u64| random.below(below);
    // Ends of months and years, and leap days, more often than chance would have it.
    let moment = |pick: &mut dyn FnMut(u64) -> u64| {
        let day = match pick(4) {
            0 => days(1996 + pick(40) as i64, 1 + pick(12) as i64, 1) - pick(4) as i64,
            1 => days(1996 + 4 * pick(10) as i64, 2, 28) + pick(3) as i64,
            2 => days(1996 + pick(40) as i64, 12, 31) + pick(2) as i64,
            _ => days(1996, 1, 1) + pick(15_000) as i64,
        };
        day as u64 * DAY + if pick(3) == 0 { 0 } else { pick(DAY) }
    };
    let length = |pick: &mut dyn FnMut(u64) -> u64| match pick(3) {
        0 => (pick(4_000) as i64, 'd'),
        1 => (pick(140) as i64, 'm'),
        _ => (pick(12) as i64, 'y'),
    };
    let start = moment(&mut pick);
    // The end may be before it where a clock was set back.
    let end = if pick(20) == 0 { start - pick(DAY) } else { start + pick(2 * DAY) };
    let (min, max) = (length(&mut pick), (pick(2) == 0).then(|| length(&mut pick)));
    let base = [Base::Start, Base::End, Base::NextYear, Base::Event][pick(4) as usize];
    let event = (pick(4) > 0).then(|| moment(&mut pick));
    let mut case = Case {
        min,
        max,
        base,
        cooling_off: pick(2) == 0,
        early: pick(3) == 0,
        start,
        end,
        event,
        held: pick(8) == 0,
        trusted: pick(16) > 0,
        what: [What::Due, What::Unneeded, What::Erasure][pick(3) as usize],
        asked: 0,
        due_by: None,
        agreed: None,
        withdrawn: pick(16) == 0,
        now: 0,
    };
    let over = end.max(start);
    // Now is mostly within a nanosecond of where the answer changes.
    let from = match base {
        Base::Start => start,
        Base::Event => case.event.unwrap_or(start),
        Base::End => end.max(start),
        Base::NextYear => days(date((end.max(start) / DAY) as i64).0 + 1, 1, 1) as u64 * DAY,
    };
    let edges = [add_length(from, min), add_length(from, max.unwrap_or(min))];
    case.now = match pick(4) {
        0 => moment(&mut pick),
        number => (edges[number as usize % 2] as u64 + pick(3)).saturating_sub(1),
    };
    let now = case.now;
    let near = |pick: &mut dyn FnMut(u64) -> u64| match pick(4) {
        0 => now + pick(2),
        1 => (now - 14 * DAY + 1).saturating_sub(pick(3)),
        2 => now.saturating_sub(pick(4_000) * DAY),
        _ => now.saturating_sub(pick(DAY)),
    };
    case.asked = near(&mut pick);
    case.due_by = match pick(6) {
        0 => Some(near(&mut pick)),
        1 => Some((over + pick(3)).saturating_sub(1)),
        _ => None,
    };
    case.agreed = (pick(3) > 0).then(|| (pick(8) > 0, near(&mut pick)));
    case
}

/// 0 early, 0 late.
#[test]
fn a_million_cases_are_as_the_oracle_says() {
    let count = if std::env::var_os("SEJF_LONG_TESTS").is_some() { 1_000_000 } else { 100_000 };
    let mut random = Random(37);
    let (mut early, mut late, mut purged) = (Vec::new(), Vec::new(), 0_u32);
    for _ in 0..count {
        let case = case(&mut random);
        let (expected, is) = (oracle(&case), planned(&case));
        purged += u32::from(expected);
        match (expected, is) {
            (true, Ok(_)) | (false, Err(_)) => {}
            (false, Ok(_)) => early.push(case),
            (true, Err(why)) => late.push((case, why)),
        }
    }
    assert!(early.is_empty(), "{} early, as {:#?}", early.len(), early[0]);
    assert!(late.is_empty(), "{} late, as {:#?}", late.len(), late[0]);
    // Enough of both, or nothing was tried.
    assert!(purged > count / 20 && purged < count / 20 * 19, "{purged} of {count}");
}

fn plain() -> Case {
    Case {
        min: (5, 'y'),
        max: None,
        base: Base::Start,
        cooling_off: false,
        early: false,
        start: days(2024, 2, 29) as u64 * DAY + 5,
        end: days(2024, 2, 29) as u64 * DAY + 9,
        event: None,
        held: false,
        trusted: true,
        what: What::Due,
        asked: days(2029, 2, 1) as u64 * DAY,
        due_by: None,
        agreed: Some((true, days(2029, 2, 1) as u64 * DAY)),
        withdrawn: false,
        now: days(2029, 2, 28) as u64 * DAY + 5,
    }
}

/// Agreed once, an erasure does not go on and on.
#[test]
fn an_early_erasure_is_of_calls_that_were_over_when_it_says() {
    let early = Case {
        early: true,
        what: What::Erasure,
        now: plain().start + 90 * DAY,
        asked: plain().end,
        ..plain()
    };
    let agreed = Some((true, early.asked));
    let of = |due_by| planned(&Case { due_by, agreed, ..early });
    assert_eq!(of(None).unwrap().since(), None);
    assert!(of(Some(plain().end)).is_ok());
    assert!(matches!(of(Some(plain().end - 1)), Err(WhyKept::KeepMin(_))));
}

#[test]
fn each_kept_recording_says_why() {
    let over = Stamp::from_unix_nanos(plain().now);
    assert_eq!(planned(&plain()).unwrap().since(), Some(over));
    let early = plain().now - 1;
    for (case, why) in [
        (Case { now: early, ..plain() }, WhyKept::KeepMin(over)),
        (Case { held: true, ..plain() }, WhyKept::Held("K.17".parse().unwrap())),
        (Case { agreed: None, ..plain() }, WhyKept::AwaitsApproval(7)),
        (Case { withdrawn: true, ..plain() }, WhyKept::Unasked(over)),
        (Case { base: Base::Event, ..plain() }, WhyKept::NoEvent),
        (
            Case { max: Some((6, 'y')), ..plain() },
            WhyKept::NotDue(over.after(Duration::from_secs(365 * 86_400))),
        ),
        (Case { min: (1_000, 'y'), ..plain() }, WhyKept::Ever),
    ] {
        assert_eq!(planned(&case).unwrap_err(), why, "{case:?}");
    }
    let cools = Case { cooling_off: true, agreed: None, asked: plain().now, ..plain() };
    let until = over.after(Duration::from_secs(14 * 86_400));
    assert_eq!(planned(&cools).unwrap_err(), WhyKept::CoolsOff { request: 7, until });
    assert!(matches!(planned(&Case { trusted: false, ..plain() }), Err(WhyKept::Clock(_))));
}

#[test]
fn what_was_not_recorded_is_told_from_what_is_not_opened_yet() {
    let facts = |phase| RetentionFacts {
        id: RecordingId::from_bytes([1; 16]),
        recorder: "a".into(),
        class: None,
        phase,
        start: Stamp::ZERO,
        end: Stamp::ZERO,
        event: None,
    };
    let phases = [Phase::Archived, Phase::Staged, Phase::Destroyed];
    let plan = plan(phases.into_iter().map(facts), &[], &[], &[], Stamp::ZERO, ClockTrust::Trusted);
    let why: Vec<_> = plan.kept.into_iter().map(|kept| kept.why).collect();
    assert_eq!(why, [WhyKept::NothingRecorded, WhyKept::Staged, WhyKept::Destroyed]);
}

#[test]
fn an_epoch_goes_when_nothing_of_it_can_come_that_is_not_due() {
    let class: Class = toml::from_str("name = 'calls'\nkeep_min = '1 year'\nbase = 'end'").unwrap();
    let epoch: Epoch = "calls/2026-01".parse().unwrap();
    let at = |year, month, day| Stamp::from_unix_nanos(days(year, month, day) as u64 * DAY);
    let scope = Scope { class: Some(class.name.clone()), ..Scope::default() };
    let request = |scope: &Scope| Request {
        number: 7,
        by: person("ewa"),
        actor: String::new(),
        at: at(2026, 2, 1),
        scope: scope.clone(),
        what: What::Due,
        due_by: None,
        reason: Reason { code: "retention".into(), text: String::new() },
        agreed: Some(Agreement { by: person("jan"), actor: String::new(), at: at(2026, 2, 1) }),
        withdrawn: None,
    };
    let hold = Hold {
        name: "K.17".parse().unwrap(),
        scope: Scope { from: Some(at(2026, 1, 31)), ..Scope::default() },
        by: String::new(),
        at: at(2026, 2, 1),
        reason: None,
        released: None,
    };
    let classes = [class];
    let judge = |now, left, scope: &Scope, holds: &[Hold]| {
        let requests = [request(scope)];
        let facts = EpochFacts { left, oldest_staged: None };
        Rules::new(&classes, holds, &requests, now, ClockTrust::Trusted).epoch(&epoch, &facts)
    };
    // The last call may have begun on the 31st, and lasted a month.
    let over = at(2028, 3, 3);
    assert_eq!(judge(over, 0, &scope, &[]).unwrap().epoch(), &epoch);
    assert!(matches!(judge(at(2027, 3, 2), 0, &scope, &[]), Err(WhyKept::KeepMin(_))));
    assert_eq!(judge(over, 3, &scope, &[]), Err(WhyKept::HasRecordings(3)));
    assert!(matches!(judge(over, 0, &scope, std::slice::from_ref(&hold)), Err(WhyKept::Held(_))));
    // Of what is staged nobody knows the class: it may be of this one unless it began later.
    for (began, is_kept) in [(at(2025, 6, 1), true), (at(2026, 1, 31), true), (at(2026, 2, 1), false)] {
        let (requests, facts) = ([request(&scope)], EpochFacts { left: 0, oldest_staged: Some(began) });
        let judged = Rules::new(&classes, &[], &requests, over, ClockTrust::Trusted).epoch(&epoch, &facts);
        assert_eq!(judged == Err(WhyKept::HasStaged(began)), is_kept, "{began}");
    }
    for part in [
        Scope { recordings: [RecordingId::from_bytes([1; 16])].into(), ..scope.clone() },
        Scope { to: Some(at(2026, 1, 31)), ..scope.clone() },
        Scope { class: Some("other".parse().unwrap()), ..scope },
    ] {
        assert!(matches!(judge(over, 0, &part, &[]), Err(WhyKept::Unasked(_))), "{part:?}");
    }
}

/// Whoever asked after the erasure did not have it done.
#[test]
fn what_was_begun_is_finished_at_the_word_that_it_was_begun_at() {
    let class: Class = toml::from_str("name = 'calls'\nkeep_min = '1 year'").unwrap();
    let at = |days: u64| Stamp::from_unix_nanos(days * DAY);
    let request = |number, withdrawn| Request {
        number,
        by: person("ewa"),
        actor: String::new(),
        at: at(number),
        scope: Scope { class: Some(class.name.clone()), ..Scope::default() },
        what: What::Due,
        due_by: None,
        reason: Reason { code: "retention".into(), text: String::new() },
        agreed: Some(Agreement { by: person("jan"), actor: String::new(), at: at(number) }),
        withdrawn,
    };
    let requests = [request(7, Some(at(20))), request(9, None)];
    let facts = RetentionFacts {
        id: RecordingId::from_bytes([1; 16]),
        recorder: "a".into(),
        class: Some(class.name.clone()),
        phase: Phase::Archived,
        start: at(1),
        end: at(1),
        event: None,
    };
    let classes = [class.clone()];
    let rules = Rules::new(&classes, &[], &requests, at(1_000), ClockTrust::Trusted);
    for (named, at_word) in [(Some(7), 7), (Some(9), 9), (Some(8), 9), (None, 9)] {
        assert_eq!(rules.finish(&facts, named).unwrap().request(), at_word, "{named:?}");
    }
}
