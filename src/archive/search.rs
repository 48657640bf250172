//! How recordings are found: what is asked, in which form numbers and names are compared, and the blind index.
//!
//! A database that somebody else reads must not tell who spoke. So a value is not kept, but a [`Term`] of it: an HMAC
//! under a key of its epoch, of which the same value has another term in the next month, and which goes when the
//! epoch's identity goes. What stays to be seen is how often a value comes in a month, and what comes with what.
//!
//! A party has terms of its first [`PREFIXES`] characters and of the whole. Who asks for a beginning of another length
//! is served by the longest that is indexed, and the rest is decided by the details, which are opened anyway to be
//! shown.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use ring::hmac;
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

use crate::archive::details::Details;
use crate::archive::envelope::Envelope;
use crate::archive::epoch::{ClassName, Epoch};
use crate::archive::record::RecordingId;
use crate::base::time::Stamp;
use crate::seal::receipt::ReceiptState;

/// What somebody looks for: all of what is said must hold.
#[derive(Clone, Default)]
pub struct Query {
    /// Begun then or later.
    pub from: Option<Stamp>,
    /// Begun before.
    pub to: Option<Stamp>,
    /// Each of these is one of the parties.
    pub parties: Vec<Wanted>,
    /// Trunk the call came over.
    pub trunk: Option<String>,
    /// Who of the call centre's people spoke.
    pub agent: Option<String>,
    /// Each of these was put on it.
    pub tags: Vec<String>,
    /// Retention class.
    pub class: Option<ClassName>,
    /// How it ended.
    pub state: Option<ReceiptState>,
    /// Not shorter.
    pub length_min: Option<Duration>,
    /// Not longer.
    pub length_max: Option<Duration>,
}

/// A number or name that is looked for, or how it begins.
#[derive(Clone, Eq, PartialEq)]
pub struct Wanted {
    value: String,
    is_prefix: bool,
}

/// Why a query cannot be answered.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum QueryError {
    /// Nothing is left of a value once blanks and the like are taken away.
    #[error("there is nothing to look for: give a number or a name")]
    Empty,
    /// The index knows no beginnings as short as this.
    #[error("the beginning of a number or name must have at least {} characters, `+`, `00` and blanks not counted", PREFIXES[0])]
    TooShort,
    /// No recording can be so.
    #[error("no recording can be so: a range ends before it begins")]
    EmptyRange,
}

/// Keys that searching needs. A vault that is locked has none.
pub trait IndexKeys: Send + Sync {
    /// The keys of an epoch's index, the newest first; none where the epoch has no identity any more. Never makes
    /// one. While an epoch is renewed, some recordings are found by one key and some by another.
    fn index_keys(&self, epoch: &Epoch) -> Result<Vec<IndexKey>, KeysFault>;

    /// The envelopes of a recording, the newest first; none where it is destroyed. While its epoch is renewed, its
    /// details are under any of them.
    fn envelopes(&self, epoch: &Epoch, id: &RecordingId) -> Result<Vec<Envelope>, KeysFault>;
}

/// Why there is no key.
pub type KeysFault = Box<dyn std::error::Error + Send + Sync>;

/// The key of an epoch's index.
#[derive(Clone)]
pub struct IndexKey(hmac::Key);

/// A kind of value: the same text is another term in another field.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Field {
    Party = 1,
    Trunk = 2,
    Agent = 3,
    Tag = 4,
}

/// What the catalog keeps of the parties of one recording: sealed, and findable by whoever has the epoch's key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Indexed {
    /// Sealed under the recording's envelope.
    pub details: Vec<u8>,
    /// Terms of the blind index, sorted, each once.
    pub terms: Vec<Term>,
}

/// A term of the blind index: the first 64 bits of an HMAC. Two values that meet in one term are told apart by the
/// details, so longer ones would make a larger index and no better answer.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Term(pub i64);

/// A place in the list of recordings, which is newest first: what follows is older, or as old with a smaller id.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Cursor {
    /// Start of the recording.
    pub start: Stamp,
    /// Its id.
    pub id: RecordingId,
}

/// A text that is no cursor.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("this is no place in a list: take it from the end of the page before, as it is")]
pub struct CursorError;

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.start.as_unix_nanos(), self.id)
    }
}

impl FromStr for Cursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, CursorError> {
        let (start, id) = text.split_once('.').ok_or(CursorError)?;
        let start = start.parse().map(Stamp::from_unix_nanos).map_err(|_| CursorError)?;
        Ok(Self { start, id: id.parse().map_err(|_| CursorError)? })
    }
}

/// The class of a length: four an octave, from 0 for less than a second. Those of one class are in one list by time,
/// so that lengths in a range are a few lists.
pub fn length_class(length: Duration) -> i64 {
    let seconds = length.as_secs();
    if seconds == 0 {
        return 0;
    }
    let octave = seconds.ilog2();
    // The two bits below the highest one.
    let quarter = if octave >= 2 { (seconds >> (octave - 2)) & 3 } else { (seconds << (2 - octave)) & 3 };
    (1 + i64::from(octave) * 4 + (quarter as i64)).min(LENGTH_CLASS_MAX)
}

impl IndexKey {
    /// From the secret that the epoch's identity gives.
    pub fn new(secret: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    /// The terms of a recording, sorted, each once.
    pub fn terms(&self, details: &Details) -> Vec<Term> {
        let mut terms = BTreeSet::new();
        for party in details.parties().map(normalise).filter(|party| !party.is_empty()) {
            terms.insert(self.term(Field::Party, 0, &party));
            let prefixes = PREFIXES.iter().filter_map(|length| Some((*length, beginning(&party, *length)?)));
            terms.extend(prefixes.map(|(length, start)| self.term(Field::Party, length, start)));
        }
        let mut whole = |field: Field, value: &str| {
            let value = normalise_name(value);
            if !value.is_empty() {
                terms.insert(self.term(field, 0, &value));
            }
        };
        whole(Field::Trunk, &details.trunk);
        details.agents.iter().for_each(|agent| whole(Field::Agent, agent));
        details.tags.iter().for_each(|tag| whole(Field::Tag, tag));
        terms.into_iter().collect()
    }

    /// `length` is that of a beginning, or 0 of a whole value.
    fn term(&self, field: Field, length: usize, value: &str) -> Term {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(&[field as u8, length as u8]);
        context.update(value.as_bytes());
        let tag = context.sign();
        let (first, _) = tag.as_ref().split_first_chunk().expect("an HMAC-SHA-256 has 32 bytes");
        Term(i64::from_be_bytes(*first))
    }
}

impl fmt::Debug for IndexKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IndexKey(..)")
    }
}

impl Wanted {
    /// Exactly this number or name, however it is written.
    pub fn exact(text: &str) -> Result<Self, QueryError> {
        let value = normalise(text);
        if value.is_empty() { Err(QueryError::Empty) } else { Ok(Self { value, is_prefix: false }) }
    }

    /// Numbers or names that begin so.
    pub fn beginning(text: &str) -> Result<Self, QueryError> {
        let value = normalise(text);
        if value.chars().count() < PREFIXES[0] {
            return Err(if value.is_empty() { QueryError::Empty } else { QueryError::TooShort });
        }
        Ok(Self { value, is_prefix: true })
    }

    fn matches(&self, party: &str) -> bool {
        let party = normalise(party);
        if self.is_prefix { party.starts_with(&self.value) } else { party == self.value }
    }

    fn term(&self, key: &IndexKey) -> Term {
        let longest = PREFIXES.iter().rev().filter(|_| self.is_prefix);
        let mut longest = longest.filter_map(|length| Some((*length, beginning(&self.value, *length)?)));
        let (length, value) = longest.next().unwrap_or((0, &self.value));
        key.term(Field::Party, length, value)
    }
}

/// `+48 22 123 45 67`, or how it begins: `+4822*`.
impl FromStr for Wanted {
    type Err = QueryError;

    fn from_str(text: &str) -> Result<Self, QueryError> {
        text.trim().strip_suffix('*').map_or_else(|| Self::exact(text), Self::beginning)
    }
}

impl fmt::Debug for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wanted(..)")
    }
}

impl Query {
    /// Whether it can be answered.
    pub fn check(&self) -> Result<(), QueryError> {
        let names = self.tags.iter().chain(&self.agent).chain(&self.trunk);
        if names.map(|name| normalise_name(name)).any(|name| name.is_empty()) {
            return Err(QueryError::Empty);
        }
        let is_empty = self.from.zip(self.to).is_some_and(|(from, to)| from >= to)
            || self.length_min.zip(self.length_max).is_some_and(|(min, max)| min > max);
        if is_empty { Err(QueryError::EmptyRange) } else { Ok(()) }
    }

    /// Whether it asks for what is sealed.
    pub fn needs_terms(&self) -> bool {
        !self.parties.is_empty() || !self.tags.is_empty() || self.agent.is_some() || self.trunk.is_some()
    }

    /// Terms that what is looked for has in an epoch.
    pub fn terms(&self, key: &IndexKey) -> Vec<Term> {
        let whole = |field, value: &String| key.term(field, 0, &normalise_name(value));
        let mut terms: Vec<Term> = self.parties.iter().map(|party| party.term(key)).collect();
        terms.extend(self.trunk.iter().map(|trunk| whole(Field::Trunk, trunk)));
        terms.extend(self.agent.iter().map(|agent| whole(Field::Agent, agent)));
        terms.extend(self.tags.iter().map(|tag| whole(Field::Tag, tag)));
        terms.sort_unstable();
        terms.dedup();
        terms
    }

    /// Whether this is in what the details say: decides where a term is not exact.
    pub fn matches(&self, details: &Details) -> bool {
        let same = |wanted: &String, value: &String| normalise_name(wanted) == normalise_name(value);
        self.parties.iter().all(|wanted| details.parties().any(|party| wanted.matches(party)))
            && self.trunk.iter().all(|trunk| same(trunk, &details.trunk))
            && self.agent.iter().all(|agent| details.agents.iter().any(|one| same(agent, one)))
            && self.tags.iter().all(|tag| details.tags.iter().any(|one| same(tag, one)))
    }
}

/// The form in which numbers and names of parties are compared: of a URI the user, of a number its digits without
/// `+` or `00` before them, of a name lower-case letters without accents.
pub fn normalise(text: &str) -> String {
    let text = text.trim();
    let scheme = text
        .split_once(':')
        .filter(|(scheme, _)| ["sip", "sips", "tel"].iter().any(|known| scheme.eq_ignore_ascii_case(known)));
    let user = scheme.map_or(text, |(_, rest)| rest.split(['@', ';']).next().unwrap_or_default());
    let is_number = user.chars().any(|c| c.is_ascii_digit())
        && user.chars().all(|c| c.is_ascii_digit() || "+-./() *#\u{a0}".contains(c));
    if !is_number {
        return normalise_name(user);
    }
    let digits: String = user.chars().filter(|c| c.is_ascii_digit() || "+*#".contains(*c)).collect();
    let bare = digits.strip_prefix('+').or_else(|| digits.strip_prefix("00")).unwrap_or(&digits);
    if bare.is_empty() { digits } else { bare.to_owned() }
}

/// The form in which names are compared, and all that is no party: lower-case letters without accents, single blanks.
pub fn normalise_name(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let letters = words.join(" ").to_lowercase();
    letters.nfkd().filter(|c| !is_combining_mark(*c)).map(|c| if c == 'ł' { 'l' } else { c }).collect()
}

/// The first `length` characters, where there are as many.
fn beginning(value: &str, length: usize) -> Option<&str> {
    let mut ends = value.char_indices().map(|(at, _)| at).chain([value.len()]);
    ends.nth(length).map(|end| &value[..end])
}

/// The last class of lengths: five days and more, as no call lasts.
pub const LENGTH_CLASS_MAX: i64 = 76;
/// Lengths of beginnings that are indexed, shortest first.
pub const PREFIXES: [usize; 3] = [4, 6, 8];

#[cfg(test)]
mod tests {
    use super::*;

    fn details() -> Details {
        Details {
            caller: "+48 22 123-45-67".into(),
            callee: "Łukasz.Nováček".into(),
            trunk: "Orange PL".into(),
            agents: vec!["jana".into()],
            tags: vec!["VIP".into(), "complaint".into()],
            ..Details::default()
        }
    }

    fn wanted(party: &str) -> Query {
        Query { parties: vec![party.parse().unwrap()], ..Query::default() }
    }

    #[test]
    fn a_number_is_the_same_however_it_is_written() {
        for text in ["+48221234567", "0048 22 123 45 67", "(+48) 22/123.45.67", "tel:+48-22-1234567;x=1"] {
            assert_eq!(normalise(text), "48221234567", "{text}");
        }
        assert_eq!(normalise("sip:+48221234567@pbx.example.org;user=phone"), "48221234567");
        assert_eq!(normalise("SIP:Łukasz.Nováček@example.org"), "lukasz.novacek");
        assert_eq!(normalise("  Jan   Novák "), "jan novak");
        assert_eq!(
            (normalise("*21#"), normalise("00"), normalise("+")),
            ("*21#".into(), "00".into(), "+".into())
        );
        assert_eq!(normalise("agent:7"), "agent:7");
    }

    #[test]
    fn what_matches_has_the_terms_and_what_has_not_does_not_match() {
        let (key, other) = (IndexKey::new(&[1; 32]), IndexKey::new(&[2; 32]));
        let terms = key.terms(&details());
        assert!(terms.is_sorted());
        // Whole and three beginnings of each party, trunk, agent, two tags.
        assert_eq!(terms.len(), 2 * 4 + 4);
        assert!(other.terms(&details()).iter().all(|term| !terms.contains(term)));
        for (party, found) in [
            ("+48221234567", true),
            ("0048221234567", true),
            ("+48221234568", false),
            ("+4822*", true),
            ("+48221*", true),
            ("48221234567*", true),
            ("lukasz*", true),
            ("LUKASZ.NOVACEK", true),
            ("+4823*", false),
            ("jana", false),
        ] {
            let query = wanted(party);
            let has_terms = query.terms(&key).iter().all(|term| terms.contains(term));
            assert_eq!(query.matches(&details()), found, "{party}");
            assert!(has_terms || !found, "{party}");
        }
        // Served by a shorter beginning, and told apart by the details.
        let query = wanted("+48229*");
        assert!(query.terms(&key).iter().all(|term| terms.contains(term)) && !query.matches(&details()));
        let tags = |tags: &[&str]| Query {
            tags: tags.iter().map(|tag| (*tag).into()).collect(),
            ..Query::default()
        };
        assert!(tags(&["vip", "Complaint"]).matches(&details()));
        assert!(!tags(&["vip", "sale"]).matches(&details()));
        let fields =
            Query { trunk: Some("orange pl".into()), agent: Some("JANA".into()), ..Query::default() };
        assert!(fields.matches(&details()) && fields.terms(&key).iter().all(|term| terms.contains(term)));
    }

    #[test]
    fn a_value_of_one_field_is_not_found_in_another() {
        let key = IndexKey::new(&[1; 32]);
        let tag = Query { tags: vec!["jana".into()], ..Query::default() };
        let agent = Query { agent: Some("jana".into()), ..Query::default() };
        assert_ne!(tag.terms(&key), agent.terms(&key));
        // The whole of four letters is not the beginning of longer ones.
        assert_ne!(wanted("jana").terms(&key), wanted("jana*").terms(&key));
    }

    #[test]
    fn what_cannot_be_answered_says_so() {
        assert_eq!("+48*".parse::<Wanted>(), Err(QueryError::TooShort));
        assert_eq!(" * ".parse::<Wanted>(), Err(QueryError::Empty));
        assert_eq!("".parse::<Wanted>(), Err(QueryError::Empty));
        let at = Stamp::ZERO;
        let range = Query { from: Some(at), to: Some(at), ..Query::default() };
        assert_eq!(range.check(), Err(QueryError::EmptyRange));
        let tag = Query { tags: vec![" ".into()], ..Query::default() };
        assert_eq!(tag.check(), Err(QueryError::Empty));
        let lengths = (Some(Duration::from_secs(2)), Some(Duration::from_secs(1)));
        let lengths = Query { length_min: lengths.0, length_max: lengths.1, ..Query::default() };
        assert_eq!(lengths.check(), Err(QueryError::EmptyRange));
        assert_eq!(Query::default().check(), Ok(()));
    }

    #[test]
    fn lengths_have_classes_in_their_order() {
        let classes: Vec<i64> = (0..100_000).map(|s| length_class(Duration::from_secs(s))).collect();
        assert!(classes.is_sorted());
        assert_eq!((classes[0], classes[1], classes[2], classes[4], classes[5]), (0, 1, 5, 9, 10));
        assert!(classes[99_999] < LENGTH_CLASS_MAX);
        assert_eq!(length_class(Duration::MAX), LENGTH_CLASS_MAX);
    }

    #[test]
    fn a_cursor_comes_back() {
        let id = RecordingId::from_bytes([7; 16]);
        let cursor = Cursor { start: Stamp::from_unix_nanos(5), id };
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        for wrong in ["", "5", "5.", "x.07070707-0707-0707-0707-070707070707", "-1.x"] {
            assert_eq!(wrong.parse::<Cursor>(), Err(CursorError), "{wrong}");
        }
    }
}
