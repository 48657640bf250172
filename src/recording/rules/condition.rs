//! Expressions as they are tried: compiled from [`Match`], told why where they fail.

use std::fmt;

use crate::base::endpoint::Endpoint;
use crate::recording::rules::facts::{Address, Facts};
use crate::recording::rules::list::OneOf;
use crate::recording::rules::pattern::{Pattern, VALUE_BYTES_MAX};
use crate::recording::rules::schedule::{Days, Hours};
use crate::recording::rules::spec::{Direction, Match};
use crate::recording::rules::truth::Truth;
use crate::recording::rules::value::{Prefix, Range, Transport, TunnelPattern};
use crate::recording::rules::{Builder, Fault, Unmet, check_header};

/// A compiled expression.
#[derive(Clone, Debug)]
pub(super) enum Node {
    All(Vec<Self>),
    Any(Vec<Self>),
    Not(Box<Self>),
    Is(Test),
}

/// One thing that is asked.
#[derive(Clone, Debug)]
pub(super) enum Test {
    Address(End, OneOf<Prefix>),
    Direction(Direction),
    Header {
        name: String,
        number: usize,
        values: OneOf<Pattern>,
    },
    Orphan(bool),
    /// Below this of 2^64, and as written.
    Percentage(Option<u64>, f64),
    Port(End, OneOf<Range>),
    Time {
        hours: OneOf<Hours>,
        days: OneOf<Days>,
        zone: usize,
        name: String,
    },
    Transport(OneOf<Transport>),
    Tunnel(OneOf<TunnelPattern>),
    Value(Subject, OneOf<Pattern>),
    Vlan(OneOf<Range>),
}

/// Which side of the first message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum End {
    Either,
    Receiver,
    Sender,
}

/// Which value of the first message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Subject {
    FromDomain,
    FromUser,
    IdentityDomain,
    IdentityUser,
    RequestDomain,
    RequestUser,
    ToDomain,
    ToUser,
    UserAgent,
}

impl Subject {
    fn as_str(self) -> &'static str {
        match self {
            Self::FromDomain => "from_domain",
            Self::FromUser => "from_user",
            Self::IdentityDomain => "identity_domain",
            Self::IdentityUser => "identity_user",
            Self::RequestDomain => "request_domain",
            Self::RequestUser => "request_user",
            Self::ToDomain => "to_domain",
            Self::ToUser => "to_user",
            Self::UserAgent => "user_agent",
        }
    }

    /// Whether only the INVITE that begins a call has it as rules mean it: what comes later has a contact for
    /// its Request-URI, and names whoever sent it.
    fn is_of_the_first(self) -> bool {
        match self {
            Self::FromDomain | Self::FromUser | Self::ToDomain | Self::ToUser => false,
            Self::IdentityDomain
            | Self::IdentityUser
            | Self::RequestDomain
            | Self::RequestUser
            | Self::UserAgent => true,
        }
    }

    /// Whether patterns see a part of it only.
    fn is_cut(self, facts: &Facts<'_>) -> bool {
        let cut = |address: Option<&Address<'_>>| address.is_some_and(|address| address.cut);
        match self {
            Self::FromDomain | Self::FromUser => cut(facts.from()),
            Self::IdentityDomain | Self::IdentityUser => facts.identities().iter().any(|its| its.cut),
            Self::RequestDomain | Self::RequestUser => cut(facts.request()),
            Self::ToDomain | Self::ToUser => cut(facts.to()),
            Self::UserAgent => facts.user_agent().is_some_and(|value| value.len() > VALUE_BYTES_MAX),
        }
    }

    /// Calls `take` with each value there is, until it says true. Returns whether it did.
    fn any(self, facts: &Facts<'_>, mut take: impl FnMut(&[u8]) -> bool) -> bool {
        let user = |address: Option<&Address<'_>>, take: &mut dyn FnMut(&[u8]) -> bool| {
            address.is_some_and(|address| address.users().any(take))
        };
        let domain = |address: Option<&Address<'_>>, take: &mut dyn FnMut(&[u8]) -> bool| {
            address.and_then(|address| address.domain).is_some_and(take)
        };
        match self {
            Self::FromDomain => domain(facts.from(), &mut take),
            Self::FromUser => user(facts.from(), &mut take),
            Self::IdentityDomain => facts.identities().iter().any(|its| domain(Some(its), &mut take)),
            Self::IdentityUser => facts.identities().iter().any(|its| user(Some(its), &mut take)),
            Self::RequestDomain => domain(facts.request(), &mut take),
            Self::RequestUser => user(facts.request(), &mut take),
            Self::ToDomain => domain(facts.to(), &mut take),
            Self::ToUser => user(facts.to(), &mut take),
            Self::UserAgent => facts.user_agent().is_some_and(take),
        }
    }
}

impl Node {
    /// Compiles `spec`. `depth` is how many expressions are around it.
    pub(super) fn new(spec: &Match, depth: usize, builder: &mut Builder<'_>) -> Result<Self, Fault> {
        if depth > DEPTH_MAX {
            return Err(Fault::Depth { max: DEPTH_MAX });
        }
        let mut all: Vec<Self> = Vec::new();
        plain_tests(spec, &mut all);
        value_tests(spec, &mut all);
        for header in spec.header.iter() {
            check_header(&header.name)?;
        }
        let headers = spec.header.iter().map(|header| {
            let number = builder.header(&header.name);
            Self::Is(Test::Header { name: header.name.clone(), number, values: header.value.clone() })
        });
        all.extend(any_of(headers.collect()));
        let mut times = Vec::new();
        for time in spec.time.iter() {
            let zone = builder.zone(&time.zone)?;
            let (hours, days, name) = (time.hours.clone(), time.days.clone(), time.zone.clone());
            times.push(Self::Is(Test::Time { hours, days, zone, name }));
        }
        all.extend(any_of(times));
        if let Some(percentage) = spec.percentage {
            all.push(Self::Is(Test::Percentage(threshold(percentage)?, percentage)));
        }
        for inner in spec.all.iter() {
            all.push(Self::new(inner, depth + 1, builder)?);
        }
        if !spec.any.is_empty() {
            let inner = spec.any.iter().map(|inner| Self::new(inner, depth + 1, builder));
            all.push(Self::Any(inner.collect::<Result<_, _>>()?));
        }
        if let Some(inner) = &spec.not {
            all.push(Self::Not(Box::new(Self::new(inner, depth + 1, builder)?)));
        }
        builder.count(all.len())?;
        Ok(if all.len() == 1 { all.remove(0) } else { Self::All(all) })
    }

    /// Whether it is true. `trunk` is the one that directions are told from.
    pub(super) fn judge(&self, facts: &Facts<'_>, trunk: Option<usize>) -> Truth {
        match self {
            Self::All(all) => least(all.iter().map(|node| node.judge(facts, trunk))),
            Self::Any(any) => least(any.iter().map(|node| node.judge(facts, trunk).not())).not(),
            Self::Not(node) => node.judge(facts, trunk).not(),
            Self::Is(test) => test.judge(facts, trunk),
        }
    }

    /// What keeps it from being true, or from being told; nothing where it is true.
    pub(super) fn unmet(&self, facts: &Facts<'_>, trunk: Option<usize>) -> Vec<Unmet> {
        let truth = self.judge(facts, trunk);
        if truth == Truth::Yes {
            return Vec::new();
        }
        let alike = |node: &&Self| node.judge(facts, trunk) == truth;
        match self {
            Self::All(all) => {
                let first = all.iter().find(alike);
                first.map_or_else(Vec::new, |node| node.unmet(facts, trunk))
            }
            Self::Any(any) => any.iter().filter(alike).flat_map(|node| node.unmet(facts, trunk)).collect(),
            Self::Not(node) => vec![Unmet { condition: self.to_string(), found: node.found(facts, trunk) }],
            Self::Is(test) => vec![Unmet { condition: test.to_string(), found: test.found(facts, trunk) }],
        }
    }

    /// The values that it looks at.
    fn found(&self, facts: &Facts<'_>, trunk: Option<usize>) -> String {
        match self {
            Self::All(nodes) | Self::Any(nodes) => {
                let mut found: Vec<_> = nodes.iter().map(|node| node.found(facts, trunk)).collect();
                found.dedup();
                found.join(", ")
            }
            Self::Not(node) => node.found(facts, trunk),
            Self::Is(test) => test.found(facts, trunk),
        }
    }
}

/// The least of `all`, which are looked at only for as long as it may be less.
fn least(all: impl Iterator<Item = Truth>) -> Truth {
    let mut least = Truth::Yes;
    for truth in all {
        least = least.min(truth);
        if least == Truth::No {
            break;
        }
    }
    least
}

fn plain_tests(spec: &Match, all: &mut Vec<Node>) {
    let mut add = |asked: bool, test: Test| {
        if asked {
            all.push(Node::Is(test));
        }
    };
    if let Some(orphan) = spec.orphan {
        add(true, Test::Orphan(orphan));
    }
    for (end, prefixes) in
        [(End::Either, &spec.address), (End::Sender, &spec.source), (End::Receiver, &spec.destination)]
    {
        add(!prefixes.is_empty(), Test::Address(end, prefixes.clone()));
    }
    for (end, ports) in
        [(End::Either, &spec.port), (End::Sender, &spec.source_port), (End::Receiver, &spec.destination_port)]
    {
        add(!ports.is_empty(), Test::Port(end, ports.clone()));
    }
    add(!spec.vlan.is_empty(), Test::Vlan(spec.vlan.clone()));
    add(!spec.tunnel.is_empty(), Test::Tunnel(spec.tunnel.clone()));
    add(!spec.transport.is_empty(), Test::Transport(spec.transport.clone()));
    if let Some(direction) = spec.direction {
        add(true, Test::Direction(direction));
    }
}

fn value_tests(spec: &Match, all: &mut Vec<Node>) {
    for (subject, patterns) in [
        (Subject::UserAgent, &spec.user_agent),
        (Subject::RequestUser, &spec.request_user),
        (Subject::RequestDomain, &spec.request_domain),
        (Subject::FromUser, &spec.from_user),
        (Subject::FromDomain, &spec.from_domain),
        (Subject::ToUser, &spec.to_user),
        (Subject::ToDomain, &spec.to_domain),
        (Subject::IdentityUser, &spec.identity_user),
        (Subject::IdentityDomain, &spec.identity_domain),
    ] {
        if !patterns.is_empty() {
            all.push(Node::Is(Test::Value(subject, patterns.clone())));
        }
    }
}

fn any_of(mut nodes: Vec<Node>) -> Option<Node> {
    if nodes.len() > 1 { Some(Node::Any(nodes)) } else { nodes.pop() }
}

/// The hash that is no more among the chosen; none where all are.
fn threshold(percentage: f64) -> Result<Option<u64>, Fault> {
    if !(0.0..=100.0).contains(&percentage) {
        return Err(Fault::Percentage { percentage });
    }
    // Casts of floats saturate. 2^64 is 100 %, and one too many for the type.
    Ok((percentage < 100.0).then(|| (percentage / 100.0 * 2f64.powi(64)) as u64))
}

impl Test {
    fn judge(&self, facts: &Facts<'_>, trunk: Option<usize>) -> Truth {
        let of_the_first = match self {
            Self::Header { .. } => true,
            Self::Value(subject, _) => subject.is_of_the_first(),
            _ => false,
        };
        if of_the_first && facts.is_late() {
            return Truth::Unknown;
        }
        let rest = match self {
            Self::Header { .. } => facts.is_cut_short() || facts.headers_cut(),
            Self::Value(subject, _) => facts.is_cut_short() || subject.is_cut(facts),
            _ => false,
        };
        Truth::from(self.holds(facts, trunk)).or(if rest { Truth::Unknown } else { Truth::No })
    }

    /// Whether what is there and looked at makes it true.
    fn holds(&self, facts: &Facts<'_>, trunk: Option<usize>) -> bool {
        match self {
            Self::Address(end, prefixes) => {
                end.any(facts, |endpoint| prefixes.iter().any(|prefix| prefix.contains(endpoint.ip)))
            }
            Self::Direction(direction) => direction_of(facts, trunk) == Some(*direction),
            Self::Header { number, values, .. } => {
                let is = |value: &[u8]| values.is_empty() || values.iter().any(|its| its.matches(value));
                facts.header(*number).any(is)
            }
            Self::Orphan(orphan) => facts.opening.orphan == *orphan,
            Self::Percentage(None, _) => true,
            Self::Percentage(Some(below), _) => facts.share().is_some_and(|share| share < *below),
            Self::Port(end, ports) => {
                end.any(facts, |endpoint| ports.iter().any(|range| range.contains(endpoint.port)))
            }
            Self::Time { hours, days, zone, .. } => {
                facts.wall(*zone).is_some_and(|wall| wall.is_in(hours, days))
            }
            Self::Transport(transports) => transports.contains(&facts.opening.transport),
            Self::Tunnel(patterns) => {
                facts.opening.tunnel.is_some_and(|its| patterns.iter().any(|pattern| pattern.matches(its)))
            }
            Self::Value(subject, patterns) => {
                subject.any(facts, |value| patterns.iter().any(|pattern| pattern.matches(value)))
            }
            Self::Vlan(ranges) => {
                facts.opening.vlans.iter().any(|vlan| ranges.iter().any(|range| range.contains(*vlan)))
            }
        }
    }

    /// What the call has there.
    fn found(&self, facts: &Facts<'_>, trunk: Option<usize>) -> String {
        if self.judge(facts, trunk) == Truth::Unknown {
            return facts.doubt();
        }
        let (src, dst) = facts.ends();
        let list = |values: Vec<String>| if values.is_empty() { "none".into() } else { values.join(", ") };
        match self {
            Self::Address(end, _) | Self::Port(end, _) => match end {
                End::Either => format!("{src} to {dst}"),
                End::Receiver => dst.to_string(),
                End::Sender => src.to_string(),
            },
            Self::Direction(_) => match direction_of(facts, trunk) {
                Some(direction) => direction.as_str().into(),
                None => "neither: one side, and one only, must be the trunk's".into(),
            },
            Self::Header { number, .. } => list(facts.header(*number).map(text).collect()),
            Self::Orphan(_) => if facts.opening.orphan { "no signalling" } else { "signalling" }.into(),
            Self::Percentage(..) => match facts.share() {
                Some(share) => format!("at {:.2} % by its Call-ID", share as f64 / 2f64.powi(64) * 100.0),
                None => "no Call-ID".into(),
            },
            Self::Time { zone, name, .. } => match facts.wall(*zone) {
                Some(wall) => format!("{wall} in {name}"),
                None => "no such zone".into(),
            },
            Self::Transport(_) => facts.opening.transport.to_string(),
            Self::Tunnel(_) => facts.opening.tunnel.map_or_else(|| "none".into(), |its| its.to_string()),
            Self::Value(subject, _) => {
                let mut values = Vec::new();
                subject.any(facts, |value| {
                    values.push(text(value));
                    false
                });
                list(values)
            }
            Self::Vlan(_) => list(facts.opening.vlans.iter().map(ToString::to_string).collect()),
        }
    }
}

impl End {
    fn any(self, facts: &Facts<'_>, is: impl Fn(Endpoint) -> bool) -> bool {
        let (src, dst) = facts.ends();
        match self {
            Self::Either => is(src) || is(dst),
            Self::Receiver => is(dst),
            Self::Sender => is(src),
        }
    }

    fn of(self, either: &'static str, receiver: &'static str, sender: &'static str) -> &'static str {
        match self {
            Self::Either => either,
            Self::Receiver => receiver,
            Self::Sender => sender,
        }
    }
}

fn direction_of(facts: &Facts<'_>, trunk: Option<usize>) -> Option<Direction> {
    facts.trunks().get(trunk.or_else(|| facts.trunk())?)?.direction()
}

fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value).into_owned()
}

/// For people: `to_user +48* or +49*, not (user_agent *scanner*)`.
impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let join = |f: &mut fmt::Formatter<'_>, nodes: &[Self], word: &str| {
            for (index, node) in nodes.iter().enumerate() {
                if index > 0 {
                    f.write_str(word)?;
                }
                match node {
                    Self::All(_) | Self::Any(_) => write!(f, "({node})")?,
                    Self::Is(_) | Self::Not(_) => node.fmt(f)?,
                }
            }
            Ok(())
        };
        match self {
            Self::All(all) if all.is_empty() => f.write_str("always"),
            Self::All(all) => join(f, all, " and "),
            Self::Any(any) => join(f, any, " or "),
            Self::Not(node) => write!(f, "not ({node})"),
            Self::Is(test) => test.fmt(f),
        }
    }
}

impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(end, prefixes) => {
                write!(f, "{} {prefixes}", end.of("address", "destination", "source"))
            }
            Self::Direction(direction) => write!(f, "direction {}", direction.as_str()),
            Self::Header { name, values, .. } if values.is_empty() => write!(f, "header {name} is there"),
            Self::Header { name, values, .. } => write!(f, "header {name} {values}"),
            Self::Orphan(true) => f.write_str("media without signalling"),
            Self::Orphan(false) => f.write_str("media with signalling"),
            Self::Percentage(_, percentage) => write!(f, "{percentage} % by Call-ID"),
            Self::Port(end, ports) => {
                write!(f, "{} {ports}", end.of("port", "destination_port", "source_port"))
            }
            Self::Time { hours, days, name, .. } => {
                f.write_str("time")?;
                if !days.is_empty() {
                    write!(f, " {days}")?;
                }
                if !hours.is_empty() {
                    write!(f, " {hours}")?;
                }
                write!(f, " in {name}")
            }
            Self::Transport(transports) => write!(f, "transport {transports}"),
            Self::Tunnel(patterns) => write!(f, "tunnel {patterns}"),
            Self::Value(subject, patterns) => write!(f, "{} {patterns}", subject.as_str()),
            Self::Vlan(ranges) => write!(f, "vlan {ranges}"),
        }
    }
}

/// Expressions inside each other.
const DEPTH_MAX: usize = 16;
