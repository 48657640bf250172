//! Lockout: five failures, and half an hour of nothing.
//!
//! ```text
//! known here? ─yes─► failures of this account here ─five─► wait
//!      └─no─► failures of this address, whatever names it tried ─five─► wait
//!                  └─► failures of this account, wherever it is not known ─five─► wait
//! ```
//!
//! An account is known at an address once it has signed in there. So an address locks itself before it locks accounts;
//! whoever has many addresses can lock accounts, but not where their owners sign in from; and those who share an address
//! do not lock each other out.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use crate::base::time::Stamp;

/// Who has failed how often, and where. In memory alone, and so much of it at most.
#[derive(Debug, Default)]
pub struct Throttle {
    addresses: BTreeMap<Network, Failures<String>>,
    accounts: BTreeMap<String, Failures<()>>,
    /// Of accounts where they are known.
    own: BTreeMap<(String, Network), Failures<()>>,
    known: BTreeMap<String, BTreeSet<Network>>,
}

/// What counts as one address: of IPv6, what one customer has.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Network(IpAddr);

/// Nothing is tried before.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Wait {
    /// Until when.
    pub until: Stamp,
}

/// Failures that follow one another, by what failed.
#[derive(Debug)]
struct Failures<K> {
    of: BTreeMap<K, u32>,
    last: Stamp,
    until: Option<Stamp>,
}

impl From<IpAddr> for Network {
    fn from(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(v6) => {
                let [a, b, c, d, ..] = v6.segments();
                IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
            }
            v4 => v4,
        })
    }
}

impl<K: Ord> Failures<K> {
    fn new(now: Stamp) -> Self {
        Self { of: BTreeMap::new(), last: now, until: None }
    }

    fn add(&mut self, what: K, now: Stamp) {
        if !self.is_live(now) {
            *self = Self::new(now);
        }
        self.last = now;
        *self.of.entry(what).or_default() += 1;
        if self.of.values().sum::<u32>() >= FAILURES_MAX && self.until.is_none() {
            self.until = Some(now.after(LOCKED));
        }
    }

    fn take_back<Q: Ord + ?Sized>(&mut self, what: &Q)
    where
        K: std::borrow::Borrow<Q>,
    {
        if let Some(count) = self.of.get_mut(what) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.of.remove(what);
            }
        }
        self.unlock();
    }

    fn unlock(&mut self) {
        if self.of.values().sum::<u32>() < FAILURES_MAX {
            self.until = None;
        }
    }

    fn locked(&self, now: Stamp) -> Option<Stamp> {
        self.until.filter(|until| now < *until)
    }

    /// Whether it still counts: a clock that went back makes nothing forgotten.
    fn is_live(&self, now: Stamp) -> bool {
        self.locked(now).is_some() || (self.until.is_none() && now < self.last.after(LOCKED))
    }
}

impl Throttle {
    /// Whether anything may be tried for an account from an address. Names that nobody has are counted like others.
    pub fn check(&self, account: &str, from: Network, now: Stamp) -> Result<(), Wait> {
        let wait = |until: Option<Stamp>| until.map_or(Ok(()), |until| Err(Wait { until }));
        if self.is_known(account, from) {
            let own = self.own.get(&(account.to_owned(), from));
            return wait(own.and_then(|failures| failures.locked(now)));
        }
        wait(self.addresses.get(&from).and_then(|failures| failures.locked(now)))?;
        wait(self.accounts.get(account).and_then(|failures| failures.locked(now)))
    }

    /// The same where no account is named yet, as with an invitation.
    pub fn check_address(&self, from: Network, now: Stamp) -> Result<(), Wait> {
        self.check("", from, now)
    }

    /// Something failed: a password, a code, an invitation. What was not allowed to be tried is no failure.
    pub fn failed(&mut self, account: &str, from: Network, now: Stamp) {
        if self.is_known(account, from) {
            let own = self.own.entry((account.to_owned(), from));
            return own.or_insert_with(|| Failures::new(now)).add((), now);
        }
        make_room(&mut self.addresses, &from, now);
        self.addresses.entry(from).or_insert_with(|| Failures::new(now)).add(account.to_owned(), now);
        if !account.is_empty() {
            make_room(&mut self.accounts, &account.to_owned(), now);
            self.accounts.entry(account.to_owned()).or_insert_with(|| Failures::new(now)).add((), now);
        }
    }

    /// What was counted as a failure when it began was none, and proved no more than that: takes it back.
    pub fn passed(&mut self, account: &str, from: Network) {
        if self.is_known(account, from) {
            return take_back(&mut self.own, &(account.to_owned(), from), &());
        }
        take_back(&mut self.addresses, &from, account);
        take_back(&mut self.accounts, account, &());
    }

    /// Somebody has signed in, with both factors: their own failures are forgotten, not those of others.
    pub fn succeeded(&mut self, account: &str, from: Network) {
        self.accounts.remove(account);
        self.own.remove(&(account.to_owned(), from));
        if let Some(failures) = self.addresses.get_mut(&from) {
            failures.of.remove(account);
            // It may have been locked by tries of this account that were right.
            failures.unlock();
            if failures.of.is_empty() {
                self.addresses.remove(&from);
            }
        }
        let known = self.known.entry(account.to_owned()).or_default();
        if known.len() >= KNOWN_MAX
            && !known.contains(&from)
            && let Some(other) = known.pop_first()
        {
            self.own.remove(&(account.to_owned(), other));
        }
        known.insert(from);
    }

    /// An administrator has given the account a new second factor, or taken it away.
    pub fn forget(&mut self, account: &str) {
        self.accounts.remove(account);
        for from in self.known.remove(account).unwrap_or_default() {
            self.own.remove(&(account.to_owned(), from));
        }
    }

    fn is_known(&self, account: &str, from: Network) -> bool {
        self.known.get(account).is_some_and(|known| known.contains(&from))
    }
}

/// Takes one failure back; where there is none left, nothing is kept of it.
fn take_back<K, Q, F, G>(all: &mut BTreeMap<K, Failures<F>>, key: &Q, what: &G)
where
    K: Ord + std::borrow::Borrow<Q>,
    Q: Ord + ?Sized,
    F: Ord + std::borrow::Borrow<G>,
    G: Ord + ?Sized,
{
    if let Some(failures) = all.get_mut(key) {
        failures.take_back(what);
        if failures.of.is_empty() {
            all.remove(key);
        }
    }
}

/// Drops what counts no more, else the oldest, where there are too many.
fn make_room<K: Clone + Ord, F: Ord>(all: &mut BTreeMap<K, Failures<F>>, key: &K, now: Stamp) {
    if all.len() < ENTRIES_MAX || all.contains_key(key) {
        return;
    }
    all.retain(|_, failures| failures.is_live(now));
    if all.len() >= ENTRIES_MAX {
        let oldest = all.iter().min_by_key(|(_, failures)| (failures.until.is_some(), failures.last));
        if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
            all.remove(&oldest);
        }
    }
}

/// Failures one after the other before nothing more is tried.
pub const FAILURES_MAX: u32 = 5;
/// For how long.
pub const LOCKED: Duration = Duration::from_secs(30 * 60);
/// Addresses, and accounts, of which failures are kept.
const ENTRIES_MAX: usize = 10_000;
/// Addresses at which an account is known.
const KNOWN_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::random::{Randomness, Seeded};

    fn at(seconds: u64) -> Stamp {
        Stamp::from_unix_nanos((1_800_000_000 + seconds) * 1_000_000_000)
    }

    fn from(number: u32) -> Network {
        IpAddr::from((0x0a00_0000 + number).to_be_bytes()).into()
    }

    #[test]
    fn five_failures_are_half_an_hour() {
        let mut throttle = Throttle::default();
        for number in 0..5 {
            assert_eq!(throttle.check("ewa", from(number), at(0)), Ok(()));
            throttle.failed("ewa", from(number), at(0));
        }
        let wait = Wait { until: at(1_800) };
        assert_eq!(throttle.check("ewa", from(9), at(1_799)), Err(wait));
        assert_eq!(throttle.check("jan", from(9), at(1_799)), Ok(()));
        assert_eq!(throttle.check("ewa", from(9), at(1_800)), Ok(()));
        // Then from the beginning.
        throttle.failed("ewa", from(9), at(1_800));
        assert_eq!(throttle.check("ewa", from(8), at(1_800)), Ok(()));
    }

    #[test]
    fn an_address_locks_itself_before_it_locks_two_accounts() {
        let mut throttle = Throttle::default();
        let names: Vec<String> = (0..50).map(|number| format!("user{number}")).collect();
        let mut tried = 0;
        for name in names.iter().flat_map(|name| std::iter::repeat_n(name, 5)) {
            if throttle.check(name, from(1), at(0)).is_ok() {
                throttle.failed(name, from(1), at(0));
                tried += 1;
            }
        }
        assert_eq!(tried, FAILURES_MAX);
        let locked = names.iter().filter(|name| throttle.check(name, from(2), at(0)).is_err()).count();
        assert_eq!(locked, 1);
        assert_eq!(throttle.check_address(from(1), at(1)), Err(Wait { until: at(1_800) }));
    }

    #[test]
    fn nobody_locks_somebody_out_where_they_always_sign_in() {
        let mut throttle = Throttle::default();
        throttle.succeeded("ewa", from(1));
        for number in 100..400 {
            throttle.failed("ewa", from(number), at(0));
        }
        assert!(throttle.check("ewa", from(2), at(1)).is_err());
        assert_eq!(throttle.check("ewa", from(1), at(1)), Ok(()));
        // There too five failures are enough.
        (0..5).for_each(|_| throttle.failed("ewa", from(1), at(2)));
        assert!(throttle.check("ewa", from(1), at(3)).is_err());
    }

    #[test]
    fn signing_in_forgets_ones_own_failures_alone() {
        let mut throttle = Throttle::default();
        (0..2).for_each(|_| throttle.failed("ewa", from(1), at(0)));
        throttle.succeeded("mine", from(1));
        // An account of one's own is no way to try on and on.
        for _ in 0..3 {
            assert!(throttle.check("ewa", from(1), at(0)).is_ok());
            throttle.failed("ewa", from(1), at(0));
            throttle.succeeded("mine", from(1));
        }
        assert!(throttle.check("ewa", from(1), at(0)).is_err());
    }

    #[test]
    fn those_who_share_an_address_do_not_lock_each_other_out() {
        let mut throttle = Throttle::default();
        throttle.succeeded("ewa", from(1));
        for number in 0..50 {
            throttle.failed(&format!("user{number}"), from(1), at(0));
        }
        assert_eq!(throttle.check("ewa", from(1), at(1)), Ok(()));
        assert!(throttle.check("jan", from(1), at(1)).is_err(), "nobody has seen him there");
        throttle.forget("ewa");
        assert!(throttle.check("ewa", from(1), at(1)).is_err());
    }

    #[test]
    fn tries_that_begin_at_once_are_no_more_than_others_and_those_that_pass_count_not() {
        let mut throttle = Throttle::default();
        let begin = |throttle: &mut Throttle| {
            let may = throttle.check("ewa", from(1), at(0)).is_ok();
            if may {
                throttle.failed("ewa", from(1), at(0));
            }
            may
        };
        let begun = (0..20).filter(|_| begin(&mut throttle)).count();
        assert_eq!(begun, 5);
        (0..2).for_each(|_| throttle.passed("ewa", from(1)));
        assert_eq!((0..20).filter(|_| begin(&mut throttle)).count(), 2);
        // Who knows the password and has no code is stopped by the codes.
        throttle.passed("other", from(1));
        assert!(!begin(&mut throttle));
    }

    #[test]
    fn of_whoever_passes_nothing_is_kept() {
        let mut throttle = Throttle::default();
        throttle.succeeded("jan", from(1));
        for account in ["ewa", "jan", ""] {
            throttle.failed(account, from(1), at(0));
            throttle.passed(account, from(1));
        }
        throttle.failed("ola", from(2), at(0));
        throttle.succeeded("ola", from(2));
        assert!(throttle.addresses.is_empty() && throttle.accounts.is_empty() && throttle.own.is_empty());
        // Of several names, the others stay.
        (0..2).for_each(|_| throttle.failed("ewa", from(3), at(0)));
        throttle.failed("adam", from(3), at(0));
        throttle.passed("adam", from(3));
        assert_eq!(throttle.addresses[&from(3)].of, [("ewa".to_owned(), 2)].into());
    }

    #[test]
    fn an_address_of_ipv6_is_what_one_customer_has() {
        let of = |text: &str| Network::from(text.parse::<IpAddr>().unwrap());
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
    }

    /// Whatever comes in whatever order: in any half hour an address gets five tries that fail, an account five from
    /// where it is not known and five from where it is, and memory has its ceiling.
    #[test]
    fn no_order_of_events_gives_more_tries() {
        let (mut random, mut throttle) = (Seeded::new(&[1; 32], "throttle", 0), Throttle::default());
        let (mut by_address, mut by_account) = (BTreeMap::<_, Vec<_>>::new(), BTreeMap::<_, Vec<_>>::new());
        let mut own = BTreeMap::<_, Vec<_>>::new();
        let (mut seconds, mut refused) = (0, 0);
        for _ in 0..30_000 {
            let mut bytes = [0; 4];
            random.fill(&mut bytes);
            seconds += u64::from(bytes[0] % 60);
            let (account, address) = (format!("user{}", bytes[1] % 8), from(u32::from(bytes[2] % 8)));
            if throttle.check(&account, address, at(seconds)).is_err() {
                refused += 1;
                continue;
            }
            let (known, succeeds) = (throttle.is_known(&account, address), bytes[3] == 0);
            if succeeds {
                throttle.succeeded(&account, address);
                by_account.remove(&account);
                own.remove(&(account.clone(), address));
                // Of others' failures none is forgotten.
                by_address.entry(address).or_default().retain(|(other, _)| *other != account);
                continue;
            }
            throttle.failed(&account, address, at(seconds));
            let count = |failed: &mut Vec<(String, u64)>| {
                failed.retain(|(_, then)| then + 1_800 > seconds);
                failed.push((account.clone(), seconds));
                assert!(failed.len() <= FAILURES_MAX as usize, "{account} {address:?} {failed:?}");
            };
            if known {
                count(own.entry((account.clone(), address)).or_default());
            } else {
                count(by_address.entry(address).or_default());
                count(by_account.entry(account.clone()).or_default());
            }
        }
        assert!(refused > 1_000, "{refused}");
        for number in 0..ENTRIES_MAX as u32 + 200 {
            throttle.failed(&format!("name{number}"), from(number), at(seconds));
        }
        assert!(throttle.addresses.len() <= ENTRIES_MAX && throttle.accounts.len() <= ENTRIES_MAX);
    }
}
