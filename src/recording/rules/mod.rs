//! Which calls are recorded, and how.
//!
//! Rules are tried in order when a call begins, on what its first message says; the first that matches
//! decides. Where none does, nothing is recorded.
//!
//! A message need not tell all that rules ask: a call that is first seen in the middle has no Request-URI as it
//! was called by. What is then not known is neither true nor false, and where it would matter for what becomes
//! of the call, it is not recorded either: it may be one that must not be.
//!
//! ```text
//! [[trunk]] [[rule]] ─RuleSet::new─► RuleSet ─decide(&Opening)─► Decision: rule, trunk, action, settings
//!  (spec.rs)                            └────explain(&Opening)─► what kept each rule from matching
//! ```
//!
//! Everything here is total: an outsider's bytes can make a rule match or not, and nothing else. What he
//! sends is cut before patterns see it, and each value is taken out of the message once, however many
//! rules there are.

mod condition;
mod facts;
mod list;
mod pattern;
mod schedule;
mod spec;
mod truth;
mod value;

use jiff::tz::TimeZone;
use ring::digest;

use crate::base::endpoint::Endpoint;
use crate::base::time::Stamp;
use crate::recording::rules::condition::Node;
use crate::recording::rules::facts::Facts;
pub use crate::recording::rules::list::{OneOf, Tables};
pub use crate::recording::rules::pattern::{PATTERN_BYTES_MAX, Pattern, PatternError, VALUE_BYTES_MAX};
pub use crate::recording::rules::schedule::{Days, Hours, ScheduleError};
pub use crate::recording::rules::spec::{
    Action, Direction, Format, HeaderMatch, Match, Pause, PauseBy, RuleSpec, TimeMatch, TrunkSpec,
};
use crate::recording::rules::truth::Truth;
pub use crate::recording::rules::value::{
    Prefix, Range, Transport, Tunnel, TunnelKind, TunnelPattern, ValueError,
};
use crate::wire::sip::Message;

/// What is known of a call when it begins.
#[derive(Clone, Copy, Debug)]
pub struct Opening<'a> {
    /// When it began.
    pub at: Stamp,
    /// Sender of the first message, or of the first packet.
    pub src: Endpoint,
    /// Its receiver.
    pub dst: Endpoint,
    /// VLAN ids, the outermost first.
    pub vlans: &'a [u16],
    /// The tunnel that names the network, where there is one.
    pub tunnel: Option<Tunnel>,
    /// How signalling came.
    pub transport: Transport,
    /// The first message, where there is signalling.
    pub message: Option<&'a Message<'a>>,
    /// Whether it is media without signalling.
    pub orphan: bool,
}

/// Trunks and rules in order.
#[derive(Clone, Debug)]
pub struct RuleSet {
    trunks: Vec<TrunkSpec>,
    rules: Vec<Rule>,
    /// What is said of calls that no rule matches.
    fallback: Rule,
    /// What is said of calls of which it cannot be told which rule matches.
    undecided: Rule,
    /// Names of headers that rules ask for.
    headers: Vec<String>,
    /// Time zones that rules ask for.
    zones: Vec<Zone>,
    version: String,
}

/// A rule as it is tried.
#[derive(Clone, Debug)]
pub struct Rule {
    spec: RuleSpec,
    trunk: Option<usize>,
    orphans: bool,
    node: Node,
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug)]
pub struct Decision<'a> {
    /// The rule that matched; one named `default` where none did, and `undecided` where that cannot be told.
    pub rule: &'a Rule,
    /// Which that is.
    pub taken: Taken,
    /// The first rule of which it cannot be told whether it matches, where nothing is recorded for that.
    pub doubt: Option<&'a Rule>,
    /// The trunk: the rule's, else the first that has one of the call's sides.
    pub trunk: Option<&'a TrunkSpec>,
    /// Its place among the trunks. With `taken` it says all of [`Self::settings`].
    pub trunk_index: Option<usize>,
    /// What is done.
    pub action: Action,
}

/// Which rule takes a call.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Taken {
    /// None.
    Default,
    /// The one at this place.
    Rule(usize),
    /// It cannot be told, and it matters.
    Undecided,
}

/// How a call is recorded: the rule's word, else the trunk's, else the default.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Settings<'a> {
    /// Form of the recording.
    pub format: Format,
    /// Retention class.
    pub retention: &'a str,
    /// Names of groups, or recipients; empty where neither rule nor trunk names any.
    pub recipients: &'a [String],
    /// What is kept longest, 0 to 255.
    pub priority: u8,
    /// Whether digits are taken out.
    pub mask_digits: bool,
    /// How the call can pause its own recording.
    pub pause: Option<&'a Pause>,
}

/// A rule that was tried.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Step {
    /// Its name.
    pub rule: String,
    /// Whether it matched; then it is the last.
    pub matched: bool,
    /// Why it cannot be told whether it matches, where that is so.
    pub doubt: Option<String>,
    /// What kept it from matching, or from being told: each of them, where one would have been enough.
    pub unmet: Vec<Unmet>,
}

/// A condition that is not met.
#[derive(Clone, Debug, Eq, PartialEq, serde::Serialize)]
pub struct Unmet {
    /// What was asked.
    pub condition: String,
    /// What the call has. Anything an outsider wrote may be in it.
    pub found: String,
}

/// Why trunks and rules make no sense, and which.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{place}: {fault}")]
pub struct RuleError {
    /// Where.
    pub place: Place,
    /// What.
    pub fault: Fault,
}

/// A trunk or a rule, by its place in the order and its name.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Place {
    /// A rule.
    Rule(usize, String),
    /// A trunk.
    Trunk(usize, String),
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Rule(index, name) if name.is_empty() => write!(f, "rule number {}", index + 1),
            Self::Rule(_, name) => write!(f, "rule `{name}`"),
            Self::Trunk(index, name) if name.is_empty() => write!(f, "trunk number {}", index + 1),
            Self::Trunk(_, name) => write!(f, "trunk `{name}`"),
        }
    }
}

/// What makes no sense.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// A trunk that nothing can belong to.
    #[error("it has no `addresses`: list those of the far end, or 0.0.0.0/0 and ::/0 for all there are")]
    Addresses,
    /// Expressions too deep inside each other.
    #[error("expressions are more than {max} deep")]
    Depth {
        /// Deepest there may be.
        max: usize,
    },
    /// A code that no telephone can send.
    #[error("`{code}` is no DTMF code: one to {DTMF_MAX} of 0-9, *, #, A-D")]
    Dtmf {
        /// As written.
        code: String,
    },
    /// No header can have this name.
    #[error("`{name}` is no header's `name`: write it as X-Tenant, without colon and blanks")]
    HeaderName {
        /// As written.
        name: String,
    },
    /// The name is missing, too long, or has other letters than names have.
    #[error(
        "`{name}` is no name: up to {NAME_MAX} letters, digits, `-`, `_` and `.`, as it goes into manifests and metrics"
    )]
    Name {
        /// As written.
        name: String,
    },
    /// The name is taken.
    #[error("the name `{name}` is used twice")]
    NameTwice {
        /// The name.
        name: String,
    },
    /// Not between 0 and 100.
    #[error("`percentage` is {percentage}, not 0 to 100")]
    Percentage {
        /// As written.
        percentage: f64,
    },
    /// More conditions than there may be.
    #[error("more than {max} conditions in all rules")]
    TooMany {
        /// Most there may be.
        max: usize,
    },
    /// No trunk of this name.
    #[error("there is no trunk `{name}`{}", suggestion(.near.as_deref()))]
    Trunk {
        /// As written.
        name: String,
        /// A trunk with nearly this name.
        near: Option<String>,
    },
    /// No time zone of this name.
    #[error(
        "there is no time zone `{zone}`: write an IANA name, as in Europe/Warsaw (they come with the package tzdata)"
    )]
    Zone {
        /// As written.
        zone: String,
    },
}

fn suggestion(near: Option<&str>) -> String {
    near.map(|near| format!(": did you mean `{near}`?")).unwrap_or_default()
}

impl RuleSet {
    /// Makes a set. `revision` is the operator's own count, and goes into [`Self::version`]. `zone` looks up
    /// a time zone by its IANA name.
    pub fn new(
        trunks: &[TrunkSpec],
        rules: &[RuleSpec],
        revision: Option<u64>,
        zone: &dyn Fn(&str) -> Option<TimeZone>,
    ) -> Result<Self, RuleError> {
        let mut builder = Builder { headers: Vec::new(), zones: Vec::new(), conditions: 0, zone };
        for (index, trunk) in trunks.iter().enumerate() {
            let earlier = trunks[..index].iter().any(|other| other.name == trunk.name);
            check_trunk(trunk, earlier)
                .map_err(|fault| RuleError { place: Place::Trunk(index, trunk.name.clone()), fault })?;
        }
        let mut made = Vec::with_capacity(rules.len());
        for (index, rule) in rules.iter().enumerate() {
            let earlier = rules[..index].iter().any(|other| other.name == rule.name);
            let rule = Rule::new(rule, earlier, trunks, &mut builder)
                .map_err(|fault| RuleError { place: Place::Rule(index, rule.name.clone()), fault })?;
            made.push(rule);
        }
        Ok(Self {
            trunks: trunks.to_vec(),
            rules: made,
            fallback: Rule::nothing(FALLBACK),
            undecided: Rule::nothing(UNDECIDED),
            headers: builder.headers,
            zones: builder.zones,
            version: version(trunks, rules, revision),
        })
    }

    /// Which rules these are: the operator's revision where he counts, and the first 48 bits of the SHA-256 of
    /// all that trunks and rules say. `7-1f2e3d4c5b6a`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The rules, in order.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Whether media without signalling can match any rule: where not, it need not be looked for.
    pub fn wants_orphans(&self) -> bool {
        self.rules.iter().any(|rule| rule.spec.condition.wants_orphans())
    }

    /// The trunks, in order.
    pub fn trunks(&self) -> &[TrunkSpec] {
        &self.trunks
    }

    /// Says what becomes of a call.
    pub fn decide(&self, opening: &Opening<'_>) -> Decision<'_> {
        let seen = Seen::new(self, opening);
        let mut doubts = Vec::new();
        let found = self.rules.iter().position(|rule| match rule.judge(&seen) {
            Truth::No => false,
            Truth::Yes => true,
            Truth::Unknown if rule.spec.in_doubt => true,
            Truth::Unknown => {
                doubts.push(rule);
                false
            }
        });
        let matched = found.and_then(|index| self.rules.get(index)).unwrap_or(&self.fallback);
        // A doubt that changes nothing is none.
        let matters = |rule: &&Rule| !matched.spec.in_doubt && !self.does_the_same(rule, matched, &seen);
        let doubt = doubts.into_iter().find(matters);
        let (rule, taken) = match (doubt, found) {
            (Some(_), _) => (&self.undecided, Taken::Undecided),
            (None, Some(index)) => (matched, Taken::Rule(index)),
            (None, None) => (matched, Taken::Default),
        };
        let trunk_index = rule.trunk.or_else(|| seen.facts.trunk());
        Decision {
            rule,
            taken,
            doubt,
            trunk: trunk_index.and_then(|index| self.trunks.get(index)),
            trunk_index,
            action: rule.spec.action,
        }
    }

    /// Whether a call fares the same by both rules, but for their names.
    fn does_the_same(&self, one: &Rule, other: &Rule, seen: &Seen<'_>) -> bool {
        let trunk = |rule: &Rule| self.trunks.get(rule.trunk.or_else(|| seen.facts.trunk())?);
        one.spec.action == other.spec.action
            && (one.spec.action == Action::Exclude
                || settings(one, trunk(one)) == settings(other, trunk(other)))
    }

    /// Says what each rule that is tried makes of a call. Where no step has matched, nothing is recorded.
    pub fn explain(&self, opening: &Opening<'_>) -> Vec<Step> {
        let seen = Seen::new(self, opening);
        let mut steps = Vec::new();
        for rule in &self.rules {
            let truth = rule.judge(&seen);
            let matched = truth == Truth::Yes || (truth == Truth::Unknown && rule.spec.in_doubt);
            let doubt = (truth == Truth::Unknown).then(|| seen.facts.doubt());
            let unmet = if matched { Vec::new() } else { rule.unmet(&seen, &self.trunks) };
            steps.push(Step { rule: rule.spec.name.clone(), matched, doubt, unmet });
            if matched {
                break;
            }
        }
        steps
    }

    /// Rules that can never match, each with the earlier rule that takes its calls: it asks for nothing, or for
    /// the same.
    pub fn shadowed(&self) -> Vec<(&Rule, &Rule)> {
        let mut found = Vec::new();
        for (index, rule) in self.rules.iter().enumerate() {
            let covers = |earlier: &&Rule| {
                let trunk = earlier.trunk.is_none() || earlier.trunk == rule.trunk;
                let all = earlier.spec.condition.is_empty() && !rule.orphans;
                trunk && (all || earlier.spec.condition == rule.spec.condition)
            };
            if let Some(earlier) = self.rules[..index].iter().find(covers) {
                found.push((rule, earlier));
            }
        }
        found
    }
}

impl Rule {
    fn new(
        spec: &RuleSpec,
        earlier: bool,
        trunks: &[TrunkSpec],
        builder: &mut Builder<'_>,
    ) -> Result<Self, Fault> {
        check_name(&spec.name, earlier || [FALLBACK, UNDECIDED].contains(&spec.name.as_str()))?;
        check_pause(spec.pause.as_ref())?;
        let trunk = match &spec.trunk {
            Some(name) => Some(trunks.iter().position(|trunk| trunk.name == *name).ok_or_else(|| {
                let near = nearest(name, trunks.iter().map(|trunk| trunk.name.as_str()));
                Fault::Trunk { name: name.clone(), near: near.map(String::from) }
            })?),
            None => None,
        };
        let node = Node::new(&spec.condition, 0, builder)?;
        Ok(Self { spec: spec.clone(), trunk, orphans: spec.condition.asks_for_orphans(), node })
    }

    /// Keeps nothing of any call.
    fn nothing(name: &str) -> Self {
        let spec = RuleSpec {
            name: name.into(),
            trunk: None,
            condition: Match::default(),
            action: Action::Exclude,
            format: None,
            retention: None,
            recipients: OneOf::default(),
            priority: None,
            mask_digits: None,
            pause: None,
            in_doubt: false,
        };
        Self { spec, trunk: None, orphans: true, node: Node::All(Vec::new()) }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// As written.
    pub fn spec(&self) -> &RuleSpec {
        &self.spec
    }

    /// What it asks, for people: `to_user +48* and not (user_agent *scanner*)`.
    pub fn expression(&self) -> String {
        self.node.to_string()
    }

    /// Whether it matches, however the call is looked at.
    fn judge(&self, seen: &Seen<'_>) -> Truth {
        let truth = self.judge_by(&seen.facts);
        match &seen.turned {
            Some(turned) if self.judge_by(turned) != truth => Truth::Unknown,
            _ => truth,
        }
    }

    fn judge_by(&self, facts: &Facts<'_>) -> Truth {
        let on_trunk = self.trunk.is_none_or(|trunk| facts.trunks().get(trunk).is_some_and(|its| its.any()));
        if !on_trunk || (facts.opening.orphan && !self.orphans) {
            return Truth::No;
        }
        self.node.judge(facts, self.trunk)
    }

    fn unmet(&self, seen: &Seen<'_>, trunks: &[TrunkSpec]) -> Vec<Unmet> {
        // Where it matches one way round, the other tells what is against it.
        let facts = match &seen.turned {
            Some(turned) if self.judge_by(&seen.facts) == Truth::Yes => turned,
            _ => &seen.facts,
        };
        let (src, dst) = facts.ends();
        if facts.opening.orphan && !self.orphans {
            return vec![Unmet { condition: "signalling".into(), found: "media without it".into() }];
        }
        if let Some(trunk) = self.trunk
            && !facts.trunks().get(trunk).is_some_and(|its| its.any())
        {
            let name = trunks.get(trunk).map_or("", |trunk| trunk.name.as_str());
            return vec![Unmet { condition: format!("trunk {name}"), found: format!("{src} to {dst}") }];
        }
        self.node.unmet(facts, self.trunk)
    }
}

impl<'a> Decision<'a> {
    /// How the call is recorded.
    pub fn settings(&self) -> Settings<'a> {
        settings(self.rule, self.trunk)
    }
}

/// How calls are recorded that `rule` takes on `trunk`.
pub fn settings<'a>(rule: &'a Rule, trunk: Option<&'a TrunkSpec>) -> Settings<'a> {
    let spec = &rule.spec;
    let recipients: &[String] = match trunk {
        Some(trunk) if spec.recipients.is_empty() => &trunk.recipients,
        _ => &spec.recipients,
    };
    Settings {
        format: spec.format.or(trunk.and_then(|trunk| trunk.format)).unwrap_or_default(),
        retention: spec
            .retention
            .as_deref()
            .or(trunk.and_then(|trunk| trunk.retention.as_deref()))
            .unwrap_or(RETENTION),
        recipients,
        priority: spec.priority.or(trunk.and_then(|trunk| trunk.priority)).unwrap_or(PRIORITY),
        mask_digits: spec.mask_digits.or(trunk.and_then(|trunk| trunk.mask_digits)).unwrap_or(false),
        pause: spec.pause.as_ref().or(trunk.and_then(|trunk| trunk.pause.as_ref())),
    }
}

/// Returns the one of `names` that `name` may have been meant to be: few letters are other.
pub fn nearest<'n>(name: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let near = names.into_iter().map(|other| (distance(name, other), other));
    let (far, nearest) = near.min_by_key(|(far, _)| *far)?;
    (far <= (name.chars().count() / 3).max(1)).then_some(nearest)
}

/// Letters to change, add, take out or swap (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) =
        (a.chars().take(NAME_MAX).collect(), b.chars().take(NAME_MAX).collect());
    let mut before = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let change = usize::from(a[i - 1] != b[j - 1]);
            row[j] = (last[j - 1] + change).min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or(0)
}

/// A call as rules look at it.
struct Seen<'a> {
    facts: Facts<'a>,
    /// With caller and callee the other way round, where it cannot be told who is who.
    turned: Option<Facts<'a>>,
}

impl<'a> Seen<'a> {
    fn new(set: &'a RuleSet, opening: &'a Opening<'a>) -> Self {
        let facts = Facts::new(set, opening, false);
        let turned = facts.is_late().then(|| Facts::new(set, opening, true));
        Self { facts, turned }
    }
}

/// A time zone by its name.
#[derive(Clone, Debug)]
struct Zone {
    name: String,
    zone: TimeZone,
}

/// What rules share while they are made.
struct Builder<'z> {
    headers: Vec<String>,
    zones: Vec<Zone>,
    conditions: usize,
    zone: &'z dyn Fn(&str) -> Option<TimeZone>,
}

impl Builder<'_> {
    fn header(&mut self, name: &str) -> usize {
        let place = self.headers.iter().position(|other| other.eq_ignore_ascii_case(name));
        place.unwrap_or_else(|| {
            self.headers.push(name.into());
            self.headers.len() - 1
        })
    }

    fn zone(&mut self, name: &str) -> Result<usize, Fault> {
        if let Some(place) = self.zones.iter().position(|other| other.name == name) {
            return Ok(place);
        }
        let zone = if name == "UTC" { Some(TimeZone::UTC) } else { (self.zone)(name) };
        let zone = zone.ok_or_else(|| Fault::Zone { zone: name.into() })?;
        self.zones.push(Zone { name: name.into(), zone });
        Ok(self.zones.len() - 1)
    }

    fn count(&mut self, conditions: usize) -> Result<(), Fault> {
        self.conditions += conditions;
        if self.conditions > CONDITIONS_MAX { Err(Fault::TooMany { max: CONDITIONS_MAX }) } else { Ok(()) }
    }
}

fn check_trunk(trunk: &TrunkSpec, earlier: bool) -> Result<(), Fault> {
    check_name(&trunk.name, earlier)?;
    check_pause(trunk.pause.as_ref())?;
    if trunk.addresses.is_empty() { Err(Fault::Addresses) } else { Ok(()) }
}

fn check_name(name: &str, taken: bool) -> Result<(), Fault> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if name.is_empty() || name.len() > NAME_MAX || !name.bytes().all(fits) {
        return Err(Fault::Name { name: name.into() });
    }
    if taken { Err(Fault::NameTwice { name: name.into() }) } else { Ok(()) }
}

/// RFC 3261 section 25.1: a token.
fn check_header(name: &str) -> Result<(), Fault> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&byte);
    if name.is_empty() || !name.bytes().all(fits) {
        return Err(Fault::HeaderName { name: name.into() });
    }
    Ok(())
}

fn check_pause(pause: Option<&Pause>) -> Result<(), Fault> {
    if let Some(name) = pause.and_then(|pause| pause.header.as_ref()) {
        check_header(name)?;
    }
    let codes = pause.into_iter().flat_map(|pause| [&pause.dtmf_pause, &pause.dtmf_resume]).flatten();
    for code in codes {
        let fits = |byte: u8| byte.is_ascii_digit() || b"*#ABCD".contains(&byte);
        if code.is_empty() || code.len() > DTMF_MAX || !code.bytes().all(fits) {
            return Err(Fault::Dtmf { code: code.clone() });
        }
    }
    Ok(())
}

fn version(trunks: &[TrunkSpec], rules: &[RuleSpec], revision: Option<u64>) -> String {
    // Text, numbers and lists: this does not fail, and an empty text would only make the version say less.
    let canonical = serde_json::to_string(&(trunks, rules)).unwrap_or_default();
    let hash = digest::digest(&digest::SHA256, canonical.as_bytes());
    let short: String = hash.as_ref().iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    revision.map_or_else(|| short.clone(), |revision| format!("{revision}-{short}"))
}

/// Rule of calls that no rule matches.
pub const FALLBACK: &str = "default";
/// Rule of calls of which it cannot be told which rule matches.
pub const UNDECIDED: &str = "undecided";
/// Retention class where nothing is said.
pub const RETENTION: &str = "default";
/// Priority where nothing is said.
pub const PRIORITY: u8 = 100;
/// Longest name of a rule or a trunk.
const NAME_MAX: usize = 64;
/// Conditions of all rules together.
const CONDITIONS_MAX: usize = 10_000;
/// Longest code.
const DTMF_MAX: usize = 16;

#[cfg(test)]
mod tests;
