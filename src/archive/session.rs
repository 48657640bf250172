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
}

/// A session.
#[derive(Clone, Debug)]
pub struct Session {
    /// Whose it is.
    pub user: String,
    /// From where they signed in.
    pub from: Network,
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
    /// Begins one, for somebody who has just shown both factors. The oldest of theirs ends where they have too many.
    pub fn begin(&mut self, user: &str, from: Network, now: Stamp, random: &mut dyn Randomness) -> Opened {
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
        let session = |csrf| Session {
            user: user.into(),
            from,
            begun: now,
            seen: now,
            second_factor: now,
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
