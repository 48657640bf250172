//! Sessions of those who have signed in. In memory alone: a vault that starts again has none.
//!
//! ```text
//! sign in ─► id, CSRF token ─► used within 15 min, and for 12 h at most ─► ended
//!                 ▲                        │
//!                 └── step-up: another id, the old one is worth nothing
//! ```

use std::collections::BTreeMap;
use std::time::Duration;

use crate::archive::once::{self, Kept, Shown};
use crate::archive::throttle::Network;
use crate::base::time::Stamp;
use crate::seal::random::Randomness;

/// All sessions.
#[derive(Debug, Default)]
pub struct Sessions {
    by_id: BTreeMap<[u8; 32], Session>,
    next: u64,
}

/// A session.
#[derive(Clone, Debug)]
pub struct Session {
    /// Whose it is.
    pub user: String,
    /// Its number, for lists: says nothing of its id.
    pub number: u64,
    /// From where they signed in, and with what.
    pub from: Client,
    /// When they signed in.
    pub begun: Stamp,
    /// When it was used last.
    pub seen: Stamp,
    /// When the second factor was shown last.
    pub second_factor: Stamp,
    /// Until when it reaches beyond its user's teams and trunks.
    pub glass_broken_until: Option<Stamp>,
    csrf: Kept,
}

/// At what somebody signs in.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Client {
    /// Where it is.
    pub network: Network,
    /// The same, as people write it.
    pub address: String,
    /// Which browser it says it is.
    pub browser: String,
}

impl Client {
    /// One that says of itself what is in `User-Agent`: of that a word for the browser and one for the system, for people
    /// to know it again. Nothing is decided by it.
    pub fn new(network: Network, address: String, agent: &str) -> Self {
        let named = |names: &[(&str, &str)]| {
            names.iter().find(|(mark, _)| agent.contains(mark)).map(|(_, name)| (*name).to_owned())
        };
        // Who calls themselves by several names is who comes first here.
        let words = [named(BROWSERS), named(SYSTEMS)];
        let browser = words.into_iter().flatten().collect::<Vec<_>>().join(", ");
        Self { network, address, browser }
    }
}

impl From<Network> for Client {
    fn from(network: Network) -> Self {
        Self { network, address: String::new(), browser: String::new() }
    }
}

/// What a browser is given.
#[derive(Debug)]
pub struct Opened {
    /// For its cookie.
    pub id: Shown,
    /// For a header of all that changes something.
    pub csrf: Shown,
}

impl Session {
    /// Whether this is the token that was given with it.
    pub fn is_csrf(&self, shown: &str) -> bool {
        self.csrf.is(shown)
    }

    /// Whether it reaches beyond its user's teams and trunks.
    pub fn has_broken_glass(&self, now: Stamp) -> bool {
        self.glass_broken_until.is_some_and(|until| now < until)
    }

    fn is_live(&self, now: Stamp) -> bool {
        now < self.seen.after(IDLE) && now < self.begun.after(LASTS)
    }
}

impl Sessions {
    /// Begins one, for somebody who has just shown both factors.
    pub fn begin(
        &mut self,
        user: &str,
        from: impl Into<Client>,
        now: Stamp,
        random: &mut dyn Randomness,
    ) -> Opened {
        self.begin_after(user, from.into(), now, now, random)
    }

    /// The same, for somebody who has shown the second factor elsewhere, at some time. The oldest of theirs ends where they
    /// have too many.
    pub fn begin_after(
        &mut self,
        user: &str,
        from: Client,
        second_factor: Stamp,
        now: Stamp,
        random: &mut dyn Randomness,
    ) -> Opened {
        self.by_id.retain(|_, session| session.is_live(now));
        let oldest = |of: Option<&str>, all: &BTreeMap<[u8; 32], Session>| {
            let theirs = all.iter().filter(|(_, one)| of.is_none_or(|user| one.user == user));
            theirs.min_by_key(|(_, one)| one.seen).map(|(id, _)| *id)
        };
        let theirs = self.by_id.values().filter(|one| one.user == user).count();
        if theirs >= OF_ONE_USER_MAX
            && let Some(id) = oldest(Some(user), &self.by_id)
        {
            self.by_id.remove(&id);
        }
        if self.by_id.len() >= SESSIONS_MAX
            && let Some(id) = oldest(None, &self.by_id)
        {
            self.by_id.remove(&id);
        }
        let number = self.next;
        self.next += 1;
        let session = |csrf| Session {
            user: user.into(),
            number,
            from,
            begun: now,
            seen: now,
            second_factor,
            glass_broken_until: None,
            csrf,
        };
        self.insert(session, random)
    }

    /// The session of an id, where it is still one. It has been used then.
    pub fn find(&mut self, id: &str, now: Stamp) -> Option<Session> {
        let key = Kept::of(id).bytes();
        let session = self.by_id.get_mut(&key)?;
        if !session.is_live(now) {
            self.by_id.remove(&key);
            return None;
        }
        session.seen = session.seen.max(now);
        Some(session.clone())
    }

    /// The second factor was shown again: the session goes on under another id, and ends when it would have ended.
    pub fn step_up(&mut self, id: &str, now: Stamp, random: &mut dyn Randomness) -> Option<Opened> {
        self.find(id, now)?;
        let old = self.by_id.remove(&Kept::of(id).bytes())?;
        Some(self.insert(|csrf| Session { second_factor: now, seen: now, csrf, ..old }, random))
    }

    /// Has it reach further for a while.
    pub fn break_glass(&mut self, id: &str, now: Stamp) -> Option<Stamp> {
        self.find(id, now)?;
        let session = self.by_id.get_mut(&Kept::of(id).bytes())?;
        let until = now.after(GLASS_BROKEN);
        session.glass_broken_until = Some(until);
        Some(until)
    }

    /// Ends it.
    pub fn end(&mut self, id: &str) {
        self.by_id.remove(&Kept::of(id).bytes());
    }

    /// Ends all of a user: who was disabled, or has other roles, or another second factor.
    pub fn end_all(&mut self, user: &str) {
        self.by_id.retain(|_, session| session.user != user);
    }

    /// Those of a user that go on, by number.
    pub fn of(&self, user: &str, now: Stamp) -> Vec<&Session> {
        let theirs = self.by_id.values().filter(|session| session.user == user && session.is_live(now));
        let mut all: Vec<_> = theirs.collect();
        all.sort_unstable_by_key(|session| session.number);
        all
    }

    /// How many of each user go on.
    pub fn counts(&self, now: Stamp) -> BTreeMap<&str, usize> {
        let mut counts = BTreeMap::new();
        for session in self.by_id.values().filter(|session| session.is_live(now)) {
            *counts.entry(session.user.as_str()).or_default() += 1;
        }
        counts
    }

    /// Ends one of a user. Whether there was one.
    pub fn end_number(&mut self, user: &str, number: u64) -> bool {
        let before = self.by_id.len();
        self.by_id.retain(|_, session| session.user != user || session.number != number);
        self.by_id.len() < before
    }

    /// Ends all of a user but one. How many there were.
    pub fn end_others(&mut self, user: &str, number: u64) -> usize {
        let before = self.by_id.len();
        self.by_id.retain(|_, session| session.user != user || session.number == number);
        before - self.by_id.len()
    }

    /// For tests: the second factor was shown then.
    #[cfg(test)]
    pub(crate) fn age(&mut self, id: &str, second_factor: Stamp) {
        if let Some(session) = self.by_id.get_mut(&Kept::of(id).bytes()) {
            session.second_factor = second_factor;
        }
    }

    fn insert(&mut self, session: impl FnOnce(Kept) -> Session, random: &mut dyn Randomness) -> Opened {
        let ((id, kept), (csrf, csrf_kept)) = (once::generate(random), once::generate(random));
        self.by_id.insert(kept.bytes(), session(csrf_kept));
        Opened { id, csrf }
    }
}

/// How long a session may be unused.
pub const IDLE: Duration = Duration::from_secs(15 * 60);
/// How long it lasts at most.
pub const LASTS: Duration = Duration::from_secs(12 * 3_600);
/// How long it reaches further once the glass is broken.
pub const GLASS_BROKEN: Duration = Duration::from_secs(15 * 60);
/// How browsers and systems are known by what they send: the first that fits.
const BROWSERS: &[(&str, &str)] = &[
    ("Edg", "Edge"),
    ("OPR/", "Opera"),
    ("Firefox/", "Firefox"),
    ("Chromium/", "Chromium"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
    ("curl/", "curl"),
];
const SYSTEMS: &[(&str, &str)] = &[
    ("Android", "Android"),
    ("iPhone", "iOS"),
    ("iPad", "iOS"),
    ("Windows", "Windows"),
    ("Mac OS X", "macOS"),
    ("CrOS", "ChromeOS"),
    ("Linux", "Linux"),
];
/// Sessions that one user has at once.
const OF_ONE_USER_MAX: usize = 16;
/// Sessions that there are at once.
const SESSIONS_MAX: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::random::Seeded;
    use std::collections::BTreeSet;
    use std::net::IpAddr;

    fn at(seconds: u64) -> Stamp {
        Stamp::from_unix_nanos((1_800_000_000 + seconds) * 1_000_000_000)
    }

    fn here() -> Network {
        IpAddr::from([192, 0, 2, 1]).into()
    }

    #[test]
    fn it_ends_when_it_is_not_used_and_after_twelve_hours() {
        let (mut random, mut sessions) = (Seeded::new(&[1; 32], "session", 0), Sessions::default());
        let opened = sessions.begin("ewa", here(), at(0), &mut random);
        let mut now = 0;
        while now < 12 * 3_600 {
            assert_eq!(sessions.find(&opened.id, at(now)).unwrap().user, "ewa");
            now += 899;
        }
        assert!(sessions.find(&opened.id, at(12 * 3_600)).is_none());
        let opened = sessions.begin("ewa", here(), at(0), &mut random);
        assert!(sessions.find(&opened.id, at(900)).is_none());
        assert!(sessions.find(&opened.id, at(1)).is_none(), "a clock that goes back brings none back");
        assert!(sessions.find("", at(0)).is_none() && sessions.find("x", at(0)).is_none());
    }

    #[test]
    fn a_step_up_has_another_id_and_token_and_lasts_no_longer() {
        let (mut random, mut sessions) = (Seeded::new(&[2; 32], "session", 0), Sessions::default());
        let first = sessions.begin("ewa", here(), at(0), &mut random);
        let second = sessions.step_up(&first.id, at(600), &mut random).unwrap();
        assert!(sessions.find(&first.id, at(601)).is_none());
        let session = sessions.find(&second.id, at(601)).unwrap();
        assert_eq!((session.begun, session.second_factor), (at(0), at(600)));
        assert!(session.is_csrf(&second.csrf) && !session.is_csrf(&first.csrf) && !session.is_csrf(""));
        assert!(sessions.step_up(&first.id, at(602), &mut random).is_none());
    }

    #[test]
    fn who_is_disabled_has_none_and_nobody_has_too_many() {
        let (mut random, mut sessions) = (Seeded::new(&[3; 32], "session", 0), Sessions::default());
        let (ewa, jan) = ("ewa", "jan");
        let other = sessions.begin(jan, here(), at(0), &mut random);
        let all: Vec<_> = (0..40).map(|at_s| sessions.begin(ewa, here(), at(at_s), &mut random)).collect();
        let live: Vec<_> = all.iter().filter(|one| sessions.find(&one.id, at(40)).is_some()).collect();
        assert_eq!(live.len(), OF_ONE_USER_MAX);
        assert!(live.iter().any(|one| one.id == all[39].id));
        sessions.end_all(ewa);
        assert!(all.iter().all(|one| sessions.find(&one.id, at(40)).is_none()));
        assert!(sessions.find(&other.id, at(40)).is_some());
        sessions.end(&other.id);
        assert!(sessions.find(&other.id, at(40)).is_none());
    }

    #[test]
    fn one_ends_one_of_ones_own_or_all_others() {
        let (mut random, mut sessions) = (Seeded::new(&[6; 32], "session", 0), Sessions::default());
        let agent = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/140.0.0.0 Safari/537.36";
        let client = |agent: &str| Client::new(here(), "192.0.2.1".into(), agent);
        let mut begin = |user, at_s| {
            let opened = sessions.begin(user, client(agent), at(at_s), &mut random);
            (sessions.find(&opened.id, at(at_s)).unwrap().number, opened.id)
        };
        let (first, second, third, other) =
            (begin("ewa", 0), begin("ewa", 1), begin("ewa", 2), begin("jan", 3));
        let numbers =
            |sessions: &Sessions| sessions.of("ewa", at(3)).iter().map(|one| one.number).collect::<Vec<_>>();
        assert_eq!(numbers(&sessions), [first.0, second.0, third.0]);
        assert_eq!(sessions.of("ewa", at(3))[0].from.browser, "Chrome, Linux");
        assert_eq!(client("<script>").browser, "");
        assert!(!sessions.end_number("ewa", other.0), "another's");
        assert!(sessions.end_number("ewa", first.0) && !sessions.end_number("ewa", first.0));
        assert!(sessions.find(&first.1, at(3)).is_none());
        // A step-up is no other session.
        let stepped = sessions.step_up(&third.1, at(4), &mut random).unwrap();
        assert_eq!(numbers(&sessions), [second.0, third.0]);
        assert_eq!(sessions.end_others("ewa", third.0), 1);
        assert!(sessions.find(&stepped.id, at(5)).is_some() && sessions.find(&other.1, at(5)).is_some());
        assert!(sessions.of("ewa", at(5 + 900)).is_empty(), "what is over is in no list");
    }

    #[test]
    fn a_broken_glass_is_whole_again_in_time() {
        let (mut random, mut sessions) = (Seeded::new(&[4; 32], "session", 0), Sessions::default());
        let opened = sessions.begin("ewa", here(), at(0), &mut random);
        assert!(!sessions.find(&opened.id, at(0)).unwrap().has_broken_glass(at(0)));
        assert_eq!(sessions.break_glass(&opened.id, at(1)), Some(at(901)));
        let session = sessions.find(&opened.id, at(2)).unwrap();
        assert!(session.has_broken_glass(at(900)) && !session.has_broken_glass(at(901)));
        assert_eq!(sessions.break_glass("other", at(1)), None);
    }

    /// Against a plain list of what was given out: nothing lives that should not, no id comes twice.
    #[test]
    fn whatever_happens_only_what_is_current_counts() {
        struct Given {
            id: Shown,
            begun: u64,
            seen: u64,
            live: bool,
        }
        let (mut random, mut sessions) = (Seeded::new(&[5; 32], "session", 0), Sessions::default());
        let (mut given, mut ids, mut now) = (Vec::<Given>::new(), BTreeSet::new(), 0);
        let mut found = 0;
        for round in 0..8_000 {
            let mut bytes = [0; 4];
            random.fill(&mut bytes);
            now += u64::from(bytes[0]) * 2;
            // One user a session, so that none ends for another.
            if bytes[1] % 8 == 0 || given.is_empty() {
                let id = sessions.begin(&format!("user{round}"), here(), at(now), &mut random).id;
                assert!(ids.insert(id.to_string()));
                given.push(Given { id, begun: now, seen: now, live: true });
                continue;
            }
            let which = usize::from(u16::from_be_bytes([bytes[2], bytes[3]])) % given.len().min(6);
            let place = given.len() - 1 - which;
            let one = &mut given[place];
            let lives = one.live && now < one.seen + 900 && now < one.begun + 12 * 3_600;
            (one.live, one.seen) = (lives, now);
            if bytes[1] % 8 == 1 {
                let other = sessions.step_up(&one.id, at(now), &mut random);
                assert_eq!(other.is_some(), lives);
                if let Some(other) = other {
                    assert!(ids.insert(other.id.to_string()));
                    one.id = other.id;
                }
            } else {
                assert_eq!(sessions.find(&one.id, at(now)).is_some(), lives);
                found += usize::from(lives);
            }
        }
        assert!(found > 500, "{found}");
    }
}
