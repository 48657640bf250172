use std::collections::BTreeMap;
use std::time::Duration;

use crate::archive::duties::policy::{Every, Length, Policy};
use crate::archive::duties::{Came, Duty, Next, SLICE_MAX, SLICE_MIN, Schedule, State};
use crate::base::time::Stamp;

const START: u64 = 1_795_000_000;
const HOUR: u64 = 3_600;
const DAY: u64 = 86_400;

fn at(seconds: u64) -> Stamp {
    Stamp::from_unix_nanos(seconds * 1_000_000_000)
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// A vault with a clock of its own, in seconds.
struct Simulated {
    schedule: Schedule,
    now: u64,
    runs: BTreeMap<Duty, Vec<u64>>,
}

impl Simulated {
    fn new(policy: Policy) -> Self {
        let schedule = Schedule::new(policy, State::default(), at(START));
        Self { schedule, now: START, runs: BTreeMap::new() }
    }

    /// One run, of which `how` says how long it takes and what comes of it, or the time until the next.
    fn step(&mut self, until: u64, how: &mut dyn FnMut(Duty) -> (u64, Came)) {
        match self.schedule.next(at(self.now)) {
            Next::Run(duty) => {
                self.schedule.begin(duty, at(self.now));
                assert!(matches!(self.schedule.next(at(self.now)), Next::Wait(None)), "none beside another");
                self.runs.entry(duty).or_default().push(self.now);
                let (takes, came) = how(duty);
                self.now += takes;
                self.schedule.end(at(self.now), came, String::new());
            }
            Next::Wait(next) => {
                let next = next.map_or(until, |next| next.as_unix_nanos().div_ceil(1_000_000_000));
                assert!(next > self.now, "waits for what has been");
                self.now = next.min(until);
            }
        }
    }

    fn run(&mut self, lasts: u64, mut how: impl FnMut(Duty) -> (u64, Came)) {
        let until = self.now + lasts;
        while self.now < until {
            self.step(until, &mut how);
        }
    }

    fn count(&self, duty: Duty) -> usize {
        self.runs.get(&duty).map_or(0, Vec::len)
    }

    fn restart(&mut self, policy: Policy) {
        let kept = serde_json::to_vec(self.schedule.state()).unwrap();
        self.schedule = Schedule::new(policy, serde_json::from_slice(&kept).unwrap(), at(self.now));
    }
}

#[test]
fn each_is_done_as_often_as_it_should_be() {
    let mut vault = Simulated::new(Policy::default());
    vault.run(10 * DAY, |_| (1, Came::Well));
    assert_eq!(vault.count(Duty::Copies), 2_880);
    assert_eq!((vault.count(Duty::Clock), vault.count(Duty::Scrub)), (240, 240));
    for duty in [Duty::Keys, Duty::WormTest, Duty::RestoreTest, Duty::DestructionPlan, Duty::Media] {
        assert_eq!(vault.count(duty), 10, "{duty}");
    }
    assert!(vault.schedule.standing(at(vault.now)).iter().all(|standing| !standing.is_wrong()));
}

#[test]
fn what_is_off_is_not_done_and_not_late() {
    let mut vault = Simulated::new(Policy { scrub: Every::Off, ..Policy::default() });
    vault.run(100 * DAY, |_| (1, Came::Well));
    assert_eq!(vault.count(Duty::Scrub), 0);
    let standing = vault.schedule.standing(at(vault.now));
    let off: Vec<_> = standing.iter().filter(|standing| standing.off).map(|standing| standing.duty).collect();
    assert_eq!(off, [Duty::Scrub]);
    assert!(standing.iter().all(|standing| !standing.is_wrong()));
}

/// What one slice has found is told while the others are being done.
#[test]
fn what_was_found_so_far_is_wrong_and_goes_on() {
    let mut vault = Simulated::new(Policy::default());
    vault.run(60, |duty| if duty == Duty::Scrub { (20, Came::FoundSoFar) } else { (1, Came::Well) });
    assert!(vault.count(Duty::Scrub) >= 2, "it goes on at once");
    let standing = vault.schedule.standing(at(vault.now));
    let wrong: Vec<_> = standing.iter().filter(|one| one.is_wrong()).map(|one| one.duty).collect();
    assert_eq!(wrong, [Duty::Scrub]);
    assert_eq!(vault.schedule.state().duties[&Duty::Scrub].done, None);
}

/// One that always fails and one that never comes to its end leave the others their time.
#[test]
fn none_starves_another() {
    let mut vault = Simulated::new(Policy::default());
    let lasts = 30 * DAY;
    vault.run(lasts, |duty| match duty {
        Duty::WormTest => (60, Came::Failed),
        Duty::Scrub => (SLICE_MIN.as_secs(), Came::More),
        _ => (1, Came::Well),
    });
    for duty in Duty::ALL {
        let Some(every) = Policy::default().every(duty) else { continue };
        let expected = (lasts / every.as_secs()) as usize;
        assert!(vault.count(duty) >= expected * 9 / 10, "{duty}: {} of {expected}", vault.count(duty));
    }
    // Again after half a minute, then later and later, and in the end once an hour.
    let failed = &vault.runs[&Duty::WormTest];
    let apart: Vec<u64> = failed.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!((30..150).contains(&apart[0]) && apart[1] > apart[0] && apart[2] > apart[1], "{apart:?}");
    assert!(apart[20..].iter().all(|apart| (HOUR..HOUR + 200).contains(apart)), "{apart:?}");
    // What never ends has what is left of the time.
    assert!(vault.count(Duty::Scrub) as u64 * SLICE_MIN.as_secs() > lasts * 9 / 10);
    let wrong: Vec<_> = vault.schedule.standing(at(vault.now));
    let wrong: Vec<_> = wrong.iter().filter(|standing| standing.is_wrong()).map(|one| one.duty).collect();
    assert_eq!(wrong, [Duty::WormTest]);
}

/// Whatever comes of the runs and whatever the clock does: what is due is begun before any other was begun twice.
#[test]
fn what_is_due_is_begun_whatever_the_clock_does() {
    let mut random = 7_u64;
    let mut dice = move |sides: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % sides
    };
    let mut vault = Simulated::new(Policy::default());
    let mut waited: BTreeMap<Duty, BTreeMap<Duty, u32>> = BTreeMap::new();
    let mut runs = 0;
    for _ in 0..200_000 {
        match vault.schedule.next(at(vault.now)) {
            Next::Run(duty) => {
                runs += 1;
                let standing = vault.schedule.standing(at(vault.now));
                let due = standing.iter().filter(|one| one.next.is_some_and(|next| next <= at(vault.now)));
                let due: Vec<Duty> = due.map(|one| one.duty).collect();
                assert!(due.contains(&duty));
                waited.retain(|duty, _| due.contains(duty));
                waited.remove(&duty);
                for other in due.into_iter().filter(|other| *other != duty) {
                    let before = waited.entry(other).or_default().entry(duty).or_default();
                    *before += 1;
                    // Twice where no time passes: both are as old then.
                    assert!(*before <= 3, "{other} waits while {duty} goes again");
                }
                vault.schedule.begin(duty, at(vault.now));
                vault.now += dice(700);
                let came = [Came::Well, Came::Found, Came::More, Came::Waits, Came::Failed, Came::Stopped];
                vault.schedule.end(at(vault.now), came[dice(6) as usize], String::new());
            }
            Next::Wait(next) => {
                let next = next.expect("all are on");
                // Nobody waits for longer than the longest pause.
                assert!(next.since(at(vault.now)) <= seconds(DAY + 60), "{next} at {}", at(vault.now));
                vault.now = next.as_unix_nanos().div_ceil(1_000_000_000);
            }
        }
        if dice(50) == 0 {
            let jump = dice(400 * DAY);
            vault.now = if dice(2) == 0 { vault.now + jump } else { vault.now.saturating_sub(jump).max(DAY) };
            waited.clear();
        }
        if dice(50) == 0 {
            vault.restart(Policy::default());
        }
    }
    assert!(runs > 10_000, "{runs}");
}

#[test]
fn a_clock_that_is_put_back_keeps_nothing_waiting() {
    let mut vault = Simulated::new(Policy::default());
    vault.run(DAY, |_| (1, Came::Well));
    let before: BTreeMap<_, _> = Duty::ALL.map(|duty| (duty, vault.count(duty))).into();
    vault.now -= 300 * DAY;
    vault.run(60, |_| (1, Came::Well));
    for duty in Duty::ALL {
        assert_eq!(vault.count(duty), before[&duty] + 1, "{duty}: once, and then as ever");
    }
    vault.now += 300 * DAY;
    vault.run(60, |_| (1, Came::Well));
    for duty in Duty::ALL {
        assert_eq!(vault.count(duty), before[&duty] + 2, "{duty}: once, however long it was");
    }
}

#[test]
fn what_was_cut_off_is_begun_again_after_a_rest() {
    let mut vault = Simulated::new(Policy::default());
    vault.run(HOUR, |_| (1, Came::Well));
    vault.now += DAY;
    for _ in 0..3 {
        let Next::Run(duty) = vault.schedule.next(at(vault.now)) else { panic!("something is due") };
        vault.schedule.begin(duty, at(vault.now));
        vault.restart(Policy::default());
        let done = vault.schedule.state().duties[&duty].clone();
        assert_eq!((done.came, done.failures), (Some(Came::CutOff), 1));
        assert_ne!(vault.schedule.next(at(vault.now)), Next::Run(duty), "not at once");
        let standing = vault.schedule.standing(at(vault.now));
        assert!(
            standing.iter().any(|one| one.duty == duty && one.is_wrong() && one.next > Some(at(vault.now)))
        );
    }
    // One that was stopped in order is no failure, and goes on at once.
    vault.run(HOUR, |_| (1, Came::Well));
    vault.now += DAY;
    let Next::Run(duty) = vault.schedule.next(at(vault.now)) else { panic!("something is due") };
    vault.schedule.begin(duty, at(vault.now));
    vault.schedule.end(at(vault.now), Came::Stopped, String::new());
    vault.restart(Policy::default());
    let standing = vault.schedule.standing(at(vault.now));
    assert!(
        standing.iter().any(|one| one.duty == duty && one.next <= Some(at(vault.now)) && one.came.is_some())
    );
}

#[test]
fn what_is_woken_is_done_soon_and_rests_after_a_failure() {
    let mut vault = Simulated::new(Policy::default());
    vault.run(600, |_| (1, Came::Well));
    let next = |vault: &Simulated| vault.schedule.next(at(vault.now));
    vault.now += 1;
    vault.schedule.wake(Duty::Copies);
    assert_eq!(next(&vault), Next::Run(Duty::Copies));
    vault.schedule.begin(Duty::Copies, at(vault.now));
    // Once: it is not woken again by what it was woken by before.
    vault.schedule.end(at(vault.now), Came::Well, String::new());
    assert_ne!(next(&vault), Next::Run(Duty::Copies));
    vault.schedule.wake(Duty::Copies);
    vault.schedule.begin(Duty::Copies, at(vault.now));
    for _ in 0..9 {
        vault.schedule.end(at(vault.now), Came::Failed, String::new());
        vault.schedule.begin(Duty::Copies, at(vault.now));
    }
    vault.schedule.end(at(vault.now), Came::Failed, String::new());
    vault.schedule.wake(Duty::Copies);
    assert_ne!(next(&vault), Next::Run(Duty::Copies));
    vault.now += 30;
    assert_eq!(next(&vault), Next::Run(Duty::Copies), "not later and later: something has come");
}

#[test]
fn a_slice_ends_for_others_and_in_any_case() {
    let mut vault = Simulated::new(Policy::default());
    vault.run(7_300, |_| (1, Came::Well));
    vault.schedule.begin(Duty::Scrub, at(vault.now));
    let is_over = |vault: &Simulated, running| vault.schedule.is_slice_over(running, at(vault.now));
    assert!(is_over(&vault, SLICE_MAX) && !is_over(&vault, SLICE_MIN));
    vault.schedule.wake(Duty::Copies);
    assert!(is_over(&vault, SLICE_MIN) && !is_over(&vault, SLICE_MIN - seconds(1)));
}

#[test]
fn what_is_not_done_for_long_is_late() {
    let late = |vault: &Simulated| {
        let standing = vault.schedule.standing(at(vault.now));
        standing.iter().filter(|standing| standing.late).map(|standing| standing.duty).collect::<Vec<_>>()
    };
    let mut vault = Simulated::new(Policy::default());
    vault.now += 500;
    assert_eq!(late(&vault), []);
    vault.now = START + 2 * DAY + 1;
    let daily =
        [Duty::Keys, Duty::WormTest, Duty::RestoreTest, Duty::DestructionPlan, Duty::Media, Duty::Review];
    assert_eq!(late(&vault), [&[Duty::Copies, daily[0], Duty::Clock], &daily[1..]].concat());
    // The first time that all is read may take its thirty days, and a tenth.
    vault.now = START + 33 * DAY - 1;
    assert!(!late(&vault).contains(&Duty::Scrub));
    vault.now = START + 33 * DAY + 1;
    assert!(late(&vault).contains(&Duty::Scrub));
    vault.run(HOUR, |_| (1, Came::Well));
    assert_eq!(late(&vault), []);
    // From then on what is older than that is late after a tenth.
    vault.run(4 * DAY, |duty| (1, if duty == Duty::Scrub { Came::More } else { Came::Well }));
    assert_eq!(late(&vault), [Duty::Scrub]);
    // What waits for keys is late as any other.
    vault.run(3 * DAY, |duty| (1, if duty == Duty::Keys { Came::Waits } else { Came::Well }));
    assert_eq!(late(&vault), [Duty::Keys]);
}

#[test]
fn a_policy_is_read_and_what_makes_no_sense_is_refused() {
    let read = |text: &str| toml::from_str::<Policy>(text);
    assert_eq!(read("").unwrap(), Policy::default());
    let policy =
        read("copies = '2 seconds'\nscrub = 'off'\nscrub_period = '1 week'\nscrub_rate = 50").unwrap();
    assert_eq!(policy.copies, Every::After(seconds(2)));
    assert_eq!((policy.scrub, policy.scrub_period), (Every::Off, Length(seconds(7 * DAY))));
    assert_eq!(policy.scrub_rate.unwrap().bytes_per_second(), 50_000_000);
    assert_eq!(policy.keys, Policy::default().keys);
    for wrong in [
        "scrubs = '1 hour'",
        "scrub = '0 hours'",
        "scrub = '1'",
        "scrub = '-1 hours'",
        "scrub = '1 fortnight'",
        "scrub = '4000000000 weeks'",
        "scrub = '3651 days'",
        "scrub_period = 'off'",
        "scrub_rate = 0",
        "restore_sample = 0",
        "restore_sample = 10001",
        "scrub = 5",
    ] {
        assert!(read(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn a_name_is_the_same_everywhere() {
    for duty in Duty::ALL {
        assert_eq!(serde_json::to_string(&duty).unwrap(), format!("\"{duty}\""));
    }
    assert_eq!(Duty::ALL.len(), std::collections::BTreeSet::from(Duty::ALL).len());
}
