//! Copies: how many there are that count, and what is to be done where they are too few.
//!
//! A copy counts where its bytes were read and had the right SHA-256, in a place that is still configured. Of a
//! class that needs WORM, copies in places that did not pass the self-test lately do not count; those that are
//! offline do, for nobody reaches them. Nothing is counted twice, and nothing that is merely hoped for.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use crate::archive::class::{Base, Class, CopyPolicy};
use crate::archive::record::{Digest, Record, RecordingId};
use crate::archive::slip::Slip;
use crate::archive::version::VersionSlip;
use crate::base::time::Stamp;

/// Whether a place keeps what was written once.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Worm {
    /// Not tried yet.
    #[default]
    Untested,
    /// Whatever was tried was refused.
    Passed,
    /// Something was let through, or could not be tried.
    Failed(String),
}

/// What is known of a place.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PlaceFacts {
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub site: String,
    /// Whether it is a medium that lies somewhere, and not reached by us.
    pub offline: bool,
    /// Whether copies can be put there now.
    pub takes: bool,
    /// What the self-test said.
    pub worm: Worm,
    /// When it said so.
    pub worm_tested: Option<Stamp>,
}

impl PlaceFacts {
    /// Whether it passed, and lately: what was so a week ago may have been configured away.
    pub fn is_worm(&self, now: Stamp) -> bool {
        self.worm == Worm::Passed
            && self.worm_tested.is_some_and(|at| at <= now && now.since(at) <= WORM_LASTS)
    }
}

/// What was found when a copy was last read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CopyState {
    /// It, byte for byte.
    Good,
    /// Something else.
    Broken,
    /// Nothing.
    Missing,
}

impl CopyState {
    /// The name that the catalog uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Broken => "broken",
            Self::Missing => "missing",
        }
    }

    /// From the name that the catalog uses.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Good, Self::Broken, Self::Missing].into_iter().find(|state| state.as_str() == name)
    }
}

/// One object of a copy.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ObjectFacts {
    /// Its name in every place.
    pub name: String,
    /// How long it is.
    pub bytes: u64,
    /// What it is.
    pub sha256: Digest,
    /// What part of a recording.
    pub part: Part,
}

/// What an object is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Part {
    /// The payload of a file, which never changes.
    Body,
    /// The header of a file: put anew when its recording gets another envelope, and destroyed with it.
    Header,
    /// What the archive notes beside it; it stays when the recording is destroyed.
    Slip,
}

/// The objects that a copy consists of. Payloads first, for a header alone is worth nothing; the slip last, for what
/// has one is whole.
pub fn objects(record: &Record) -> Vec<ObjectFacts> {
    let (id, start) = (&record.id, record.receipt.start);
    let bodies = record.files.iter().map(|file| ObjectFacts {
        name: file.body_object(id, start),
        bytes: file.body_bytes,
        sha256: file.body_sha256,
        part: Part::Body,
    });
    let headers = record.files.iter().map(|file| ObjectFacts {
        name: file.header_object(id, start),
        bytes: file.header_bytes,
        sha256: file.header_sha256,
        part: Part::Header,
    });
    let slips = slips(record).into_iter().map(|(name, slip)| ObjectFacts {
        name,
        bytes: slip.len() as u64,
        sha256: Digest::of(&slip),
        part: Part::Slip,
    });
    bodies.chain(headers).chain(slips).collect()
}

/// The slips of a recording and of its versions: what each object's name is, and what it holds.
pub fn slips(record: &Record) -> Vec<(String, Vec<u8>)> {
    let of_versions = VersionSlip::all_of(record);
    let of_versions =
        of_versions.iter().map(|slip| (record.version_slip_object(slip.number), slip.to_bytes()));
    [(record.slip_object(), Slip::of(record).to_bytes())].into_iter().chain(of_versions).collect()
}

/// Until when a payload is locked: as long as it must be kept whatever comes, and no longer, for a lock cannot be
/// taken back. Nothing where that is beyond what a date can be.
pub fn lock_until(class: &Class, record: &Record) -> Option<Stamp> {
    let at = |stamp: Stamp| {
        let at = Timestamp::from_nanosecond(i128::from(stamp.as_unix_nanos())).ok()?;
        Some(TimeZone::UTC.to_datetime(at))
    };
    let base: DateTime = match class.base {
        Base::Start => at(record.receipt.start)?,
        // An event comes after the end.
        Base::End | Base::Event => at(record.receipt.end)?,
        Base::NextYear => {
            let end = at(record.receipt.end)?;
            DateTime::new(end.year().checked_add(1)?, 1, 1, 0, 0, 0, 0).ok()?
        }
    };
    let until = base.checked_add(class.keep_min.0).ok()?;
    let until = TimeZone::UTC.to_timestamp(until).ok()?.as_nanosecond();
    Some(Stamp::from_unix_nanos(u64::try_from(until).ok()?))
}

/// A copy of a recording.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CopyFacts {
    /// Where.
    pub place: String,
    /// What was found there.
    pub state: CopyState,
    /// When.
    pub checked: Stamp,
}

/// A recording, what its class asks, and the copies that there are.
#[derive(Clone, Debug)]
pub struct Holding {
    /// The recording.
    pub id: RecordingId,
    /// How many, and where.
    pub policy: CopyPolicy,
    /// Whether only copies that nobody can change count.
    pub worm: bool,
    /// What there is.
    pub copies: Vec<CopyFacts>,
}

/// Something that is missing.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Missing {
    /// Copies.
    Total {
        /// That count.
        has: u32,
        /// That the class asks for.
        needs: u32,
    },
    /// Sites.
    Sites {
        /// With a copy that counts.
        has: u32,
        /// That the class asks for.
        needs: u32,
    },
    /// Copies on media that are offline.
    Offline {
        /// There are.
        has: u32,
        /// That the class asks for.
        needs: u32,
    },
}

impl std::fmt::Display for Missing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Total { has, needs } => write!(f, "{has} of {needs} copies"),
            Self::Sites { has, needs } => write!(f, "copies in {has} of {needs} sites"),
            Self::Offline { has, needs } => write!(f, "{has} of {needs} offline copies"),
        }
    }
}

/// Why a copy is to be made.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Why {
    /// It is asked for, and not there.
    Missing(Missing),
    /// What is there is not the recording any more.
    Mend(CopyState),
}

impl std::fmt::Display for Why {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Missing(missing) => missing.fmt(f),
            Self::Mend(state) => write!(f, "the copy is {}", state.as_str()),
        }
    }
}

/// A copy that is to be made. Only [`plan`] makes one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PlannedCopy {
    id: RecordingId,
    to: String,
    from: Vec<String>,
    why: Why,
}

impl PlannedCopy {
    /// Of which recording.
    pub fn id(&self) -> RecordingId {
        self.id
    }

    /// To which place.
    pub fn to(&self) -> &str {
        &self.to
    }

    /// From which places, the best first.
    pub fn from(&self) -> &[String] {
        &self.from
    }

    /// Why.
    pub fn why(&self) -> &Why {
        &self.why
    }

    /// Whether what is there is to be written over.
    pub fn mends(&self) -> bool {
        matches!(self.why, Why::Mend(_))
    }
}

/// What is to be done, and what cannot be.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Copies to make.
    pub copies: Vec<PlannedCopy>,
    /// What stays missing when they are made: media to write, places to add.
    pub short: Vec<(RecordingId, Missing)>,
    /// Recordings of which nothing is there: nothing can be made from them.
    pub lost: Vec<RecordingId>,
}

/// What is missing of what the class asks; nothing where its policy is met, and the recorder may free its own.
pub fn missing(holding: &Holding, places: &[PlaceFacts], now: Stamp) -> Vec<Missing> {
    let counted: Vec<&PlaceFacts> = places
        .iter()
        .filter(|place| counts(holding, place, now) && state(holding, place) == Some(CopyState::Good))
        .collect();
    missing_of(holding.policy, &counted)
}

/// What is to be done so that nothing is missing.
pub fn plan(holdings: &[Holding], places: &[PlaceFacts], now: Stamp) -> Plan {
    let mut plan = Plan::default();
    for holding in holdings {
        plan_one(holding, places, now, &mut plan);
    }
    plan
}

fn plan_one(holding: &Holding, places: &[PlaceFacts], now: Stamp, plan: &mut Plan) {
    let id = holding.id;
    let is_good = |place: &&PlaceFacts| state(holding, place) == Some(CopyState::Good);
    let is_wanted = |place: &PlaceFacts| place.takes && !place.offline;
    let is_broken = |place: &&PlaceFacts| state(holding, place).is_some_and(|state| state != CopyState::Good);
    // Known to be wrong: mended wherever it is, whether it counts or not.
    let broken = |place: &&PlaceFacts| is_wanted(place) && is_broken(place);
    // The last resort: a copy may be broken in one object, and each of them is compared when it is read.
    let online = || places.iter().filter(|place| !place.offline);
    let parts = online().filter(|place| state(holding, place) == Some(CopyState::Broken));
    let from: Vec<String> = online().filter(is_good).chain(parts).map(|place| place.name.clone()).collect();
    let mut counted: Vec<&PlaceFacts> =
        places.iter().filter(|place| counts(holding, place, now)).filter(is_good).collect();
    if from.is_empty() {
        if !places.iter().any(|place| is_good(&place)) {
            plan.lost.push(id);
        }
        plan.short.extend(missing_of(holding.policy, &counted).into_iter().map(|missing| (id, missing)));
        return;
    }
    for place in places.iter().filter(broken) {
        let why = Why::Mend(state(holding, place).unwrap_or(CopyState::Missing));
        plan.copies.push(PlannedCopy { id, to: place.name.clone(), from: from.clone(), why });
        if counts(holding, place, now) {
            counted.push(place);
        }
    }
    let free = |place: &&PlaceFacts| {
        is_wanted(place) && counts(holding, place, now) && state(holding, place).is_none()
    };
    let mut free: Vec<&PlaceFacts> = places.iter().filter(free).collect();
    loop {
        let missing = online_missing(holding.policy, &counted);
        let is_new_site = |place: &&PlaceFacts| !counted.iter().any(|other| other.site == place.site);
        // A copy in a new site is one more in number too, so new sites come first in any case.
        let (why, next) = match (&missing[..], free.iter().position(is_new_site)) {
            ([], _) => break,
            ([why, ..], Some(next)) => (why.clone(), next),
            (missing, None) => {
                match missing.iter().find(|missing| matches!(missing, Missing::Total { .. })) {
                    Some(why) if !free.is_empty() => (why.clone(), 0),
                    _ => break,
                }
            }
        };
        let place = free.remove(next);
        plan.copies.push(PlannedCopy {
            id,
            to: place.name.clone(),
            from: from.clone(),
            why: Why::Missing(why),
        });
        counted.push(place);
    }
    plan.short.extend(missing_of(holding.policy, &counted).into_iter().map(|missing| (id, missing)));
}

fn state(holding: &Holding, place: &PlaceFacts) -> Option<CopyState> {
    holding.copies.iter().find(|copy| copy.place == place.name).map(|copy| copy.state)
}

fn counts(holding: &Holding, place: &PlaceFacts, now: Stamp) -> bool {
    !holding.worm || place.offline || place.is_worm(now)
}

fn missing_of(policy: CopyPolicy, counted: &[&PlaceFacts]) -> Vec<Missing> {
    let total = count(counted.len());
    let offline = count(counted.iter().filter(|place| place.offline).count());
    let sites = sites(counted);
    let mut missing = Vec::new();
    if total < policy.total {
        missing.push(Missing::Total { has: total, needs: policy.total });
    }
    if sites < policy.sites {
        missing.push(Missing::Sites { has: sites, needs: policy.sites });
    }
    if offline < policy.offline {
        missing.push(Missing::Offline { has: offline, needs: policy.offline });
    }
    missing
}

/// What copies to places that we reach can do about it: room is left for the offline copies that will come.
fn online_missing(policy: CopyPolicy, counted: &[&PlaceFacts]) -> Vec<Missing> {
    let offline = count(counted.iter().filter(|place| place.offline).count());
    let (has, sites) = (count(counted.len()), sites(counted));
    let mut missing = Vec::new();
    if sites < policy.sites {
        missing.push(Missing::Sites { has: sites, needs: policy.sites });
    }
    if has + policy.offline.saturating_sub(offline) < policy.total {
        missing.push(Missing::Total { has, needs: policy.total });
    }
    missing
}

fn sites(counted: &[&PlaceFacts]) -> u32 {
    count(counted.iter().map(|place| &place.site).collect::<BTreeSet<_>>().len())
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// How long a self-test's yes is good: it is made daily, and may fail to run once.
pub const WORM_LASTS: Duration = Duration::from_secs(50 * 3600);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hours: u64) -> Stamp {
        Stamp::from_unix_nanos(hours * 3_600_000_000_000)
    }

    fn place(name: &str, site: &str) -> PlaceFacts {
        PlaceFacts {
            name: name.into(),
            site: site.into(),
            offline: false,
            takes: true,
            worm: Worm::Untested,
            worm_tested: None,
        }
    }

    fn medium(name: &str, site: &str) -> PlaceFacts {
        PlaceFacts { offline: true, takes: false, ..place(name, site) }
    }

    fn worm(name: &str, site: &str) -> PlaceFacts {
        PlaceFacts { worm: Worm::Passed, worm_tested: Some(at(99)), ..place(name, site) }
    }

    fn holding(policy: (u32, u32, u32), copies: &[(&str, CopyState)]) -> Holding {
        let (total, sites, offline) = policy;
        let facts = |(place, state): &(&str, CopyState)| CopyFacts {
            place: (*place).into(),
            state: *state,
            checked: at(1),
        };
        Holding {
            id: RecordingId::from_bytes([1; 16]),
            policy: CopyPolicy { total, sites, offline },
            worm: false,
            copies: copies.iter().map(facts).collect(),
        }
    }

    fn targets(plan: &Plan) -> Vec<&str> {
        plan.copies.iter().map(PlannedCopy::to).collect()
    }

    use CopyState::{Broken, Good};

    #[test]
    fn another_site_comes_first_and_room_is_left_for_what_is_offline() {
        let places = [place("a", "here"), place("b", "here"), place("c", "far"), medium("m", "safe")];
        let one = holding((3, 2, 1), &[("a", Good)]);
        let made = plan(std::slice::from_ref(&one), &places, at(100));
        assert_eq!(targets(&made), ["c"]);
        assert_eq!(made.copies[0].why(), &Why::Missing(Missing::Sites { has: 1, needs: 2 }));
        assert_eq!(made.copies[0].from(), ["a"]);
        // Two of three, and the third is to be written by somebody.
        let id = one.id;
        let offline = Missing::Offline { has: 0, needs: 1 };
        assert_eq!(made.short, [(id, Missing::Total { has: 2, needs: 3 }), (id, offline)]);
        let all = holding((3, 2, 1), &[("a", Good), ("c", Good), ("m", Good)]);
        assert_eq!(missing(&all, &places, at(100)), []);
        assert!(plan(&[all], &places, at(100)).copies.is_empty());
        let many = plan(&[holding((3, 2, 0), &[("a", Good)])], &places, at(100));
        assert_eq!(targets(&many), ["c", "b"]);
    }

    #[test]
    fn a_medium_in_a_safe_is_no_source_and_what_is_in_no_place_is_lost() {
        let places = [place("a", "here"), medium("m", "safe")];
        let gone = CopyState::Missing;
        let on_medium = plan(&[holding((2, 1, 1), &[("a", gone), ("m", Good)])], &places, at(100));
        assert!(on_medium.copies.is_empty() && on_medium.lost.is_empty());
        let nowhere = plan(&[holding((2, 1, 1), &[("a", gone), ("m", Broken)])], &places, at(100));
        assert_eq!(nowhere.lost.len(), 1);
        assert_eq!(plan(&[holding((1, 1, 0), &[])], &places, at(100)).lost.len(), 1);
    }

    /// Each may be broken in another object.
    #[test]
    fn where_all_copies_are_broken_each_is_a_source() {
        let places = [place("a", "here"), place("b", "far"), place("c", "far")];
        let one = holding((3, 2, 0), &[("a", Broken), ("b", Broken), ("c", Good)]);
        let made = plan(&[one], &places, at(100));
        assert_eq!(made.copies[0].from(), ["c", "a", "b"]);
        let one = holding((3, 2, 0), &[("a", Broken), ("b", Broken), ("c", CopyState::Missing)]);
        let made = plan(&[one], &places, at(100));
        assert_eq!(targets(&made), ["a", "b", "c"]);
        assert_eq!(made.copies[2].from(), ["a", "b"]);
    }

    #[test]
    fn what_is_broken_is_mended_and_does_not_count_before() {
        let places = [place("a", "here"), place("b", "far"), place("c", "far")];
        let one = holding((2, 2, 0), &[("a", Good), ("b", Broken)]);
        assert_eq!(missing(&one, &places, at(100)).len(), 2);
        let made = plan(&[one], &places, at(100));
        assert_eq!(targets(&made), ["b"]);
        assert!(made.copies[0].mends() && made.short.is_empty());
        // A place that is not configured any more is nothing.
        let gone = holding((2, 2, 0), &[("a", Good), ("gone", Good)]);
        assert_eq!(targets(&plan(&[gone], &places, at(100))), ["b"]);
    }

    #[test]
    fn where_worm_is_asked_only_places_that_passed_lately_count() {
        let failed = PlaceFacts { worm: Worm::Failed("x".into()), ..worm("b", "far") };
        let untested = PlaceFacts { worm_tested: None, ..worm("b", "far") };
        let one = Holding { worm: true, ..holding((1, 1, 0), &[("a", Good)]) };
        for other in [failed, untested, place("b", "far")] {
            let made = plan(std::slice::from_ref(&one), &[place("a", "here"), other], at(100));
            assert!(made.copies.is_empty());
            assert_eq!(
                made.short,
                [
                    (one.id, Missing::Total { has: 0, needs: 1 }),
                    (one.id, Missing::Sites { has: 0, needs: 1 })
                ]
            );
        }
        let places = [place("a", "here"), worm("b", "far")];
        assert_eq!(targets(&plan(std::slice::from_ref(&one), &places, at(100))), ["b"]);
        assert!(plan(std::slice::from_ref(&one), &places, at(150)).copies.is_empty(), "the test is too old");
        assert!(plan(&[one], &places, at(98)).copies.is_empty(), "the test is from the future");
    }

    /// Whatever is planned: carried out, nothing is missing that was not said to be.
    #[test]
    fn what_is_planned_is_enough_or_it_says_what_is_not() {
        let mut random = 7_u64;
        let mut next = |below: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % below
        };
        let names = ["a", "b", "c", "d", "e", "f"];
        for _ in 0..20_000 {
            let places: Vec<PlaceFacts> = names[..1 + next(6) as usize]
                .iter()
                .map(|name| PlaceFacts {
                    offline: next(4) == 0,
                    takes: next(5) > 0,
                    worm: if next(2) == 0 { Worm::Passed } else { Worm::Untested },
                    worm_tested: Some(at(99)),
                    ..place(name, ["x", "y", "z"][next(3) as usize])
                })
                .collect();
            let copies: Vec<_> = names
                .iter()
                .filter_map(|name| match next(4) {
                    0 => Some((*name, Good)),
                    1 => Some((*name, Broken)),
                    2 => Some((*name, CopyState::Missing)),
                    _ => None,
                })
                .collect();
            let policy = (next(5) as u32, next(4) as u32, next(2) as u32);
            let mut one = Holding { worm: next(2) == 0, ..holding(policy, &copies) };
            let made = plan(std::slice::from_ref(&one), &places, at(100));
            for copy in &made.copies {
                let to = places.iter().find(|place| place.name == copy.to()).unwrap();
                assert!(to.takes && !to.offline);
                assert!(!copy.from().is_empty() && (copy.mends() || !copy.from().contains(&to.name)));
                one.copies.retain(|have| have.place != copy.to());
                one.copies.push(CopyFacts { place: copy.to().into(), state: Good, checked: at(100) });
            }
            let still: Vec<_> =
                missing(&one, &places, at(100)).into_iter().map(|what| (one.id, what)).collect();
            assert_eq!(made.short, still);
            assert_eq!(plan(&[one], &places, at(100)).copies, [], "a second look plans nothing more");
        }
    }

    #[test]
    fn a_payload_is_locked_for_as_long_as_it_must_be_kept() {
        let class = |base: &str| -> Class {
            toml::from_str(&format!("name = 'a'\nkeep_min = '5 years'\nbase = '{base}'")).unwrap()
        };
        let stamp = |text: &str| {
            let at: Timestamp = text.parse().unwrap();
            Stamp::from_unix_nanos(at.as_nanosecond() as u64)
        };
        let entry = r#"{"schema":1,"id":"0193c4a5-0000-7000-8000-000000000001","state":"complete","start":"2023-12-31T23:50:00Z","end":"2024-02-29T00:10:00Z","files":[],"rule":"r","counters":{"captured":0,"recorded":0,"discarded":{}},"recorder":"a","version":"1"}"#;
        let Ok(receipt) = serde_json::from_str(entry) else { panic!("a receipt has other fields now") };
        let record = Record {
            id: RecordingId::from_bytes([1; 16]),
            recorder: "a".into(),
            receipt_index: 0,
            receipt,
            class: None,
            phase: crate::archive::record::Phase::Archived,
            taken_in: Stamp::ZERO,
            files: Vec::new(),
        };
        for (base, until) in [
            ("start", "2028-12-31T23:50:00Z"),
            ("end", "2029-02-28T00:10:00Z"),
            ("event", "2029-02-28T00:10:00Z"),
            ("next-year", "2030-01-01T00:00:00Z"),
        ] {
            assert_eq!(lock_until(&class(base), &record), Some(stamp(until)), "{base}");
        }
    }
}
