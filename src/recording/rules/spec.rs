//! Trunks and rules as an operator writes them.
//!
//! ```toml
//! [[trunk]]
//! name = "carrier-a"
//! addresses = ["192.0.2.0/28", "2001:db8:a::/64"]
//!
//! [[rule]]
//! name = "sales"
//! trunk = "carrier-a"
//! match = { direction = "inbound", to_user = ["+4822*", "+4861*"], not = { user_agent = "*scanner*" } }
//! action = "record"
//! ```

use serde::{Deserialize, Serialize};

pub use crate::recording::pause::PauseBy;
use crate::recording::pause::PauseRules;
use crate::recording::recorder::Content;
use crate::recording::rules::list::{OneOf, Tables};
use crate::recording::rules::pattern::Pattern;
use crate::recording::rules::schedule::{Days, Hours};
use crate::recording::rules::value::{Prefix, Range, Transport, TunnelPattern};

/// A group of addresses at the far end: a carrier, a customer, a branch. `[[trunk]]`.
///
/// What is said here holds for its calls unless the rule says otherwise.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrunkSpec {
    /// Its name, as manifests and metrics have it. Required.
    pub name: String,
    /// Addresses and prefixes of the far end. Required; `0.0.0.0/0` and `::/0` for all there are.
    pub addresses: OneOf<Prefix>,
    /// Form of recordings. Default: `opus`.
    pub format: Option<Format>,
    /// Retention class, as the archive knows it. Default: `default`.
    pub retention: Option<String>,
    /// Who can open recordings: names of groups in `[recipients]`, or recipients. Default: the group `default`.
    pub recipients: OneOf<String>,
    /// What is kept longest when the machine cannot keep up: 0 goes first, 255 last. Default: 100.
    pub priority: Option<u8>,
    /// Take digits (RFC 4733 events, in-band tones, INFO) out before sealing. Default: false.
    pub mask_digits: Option<bool>,
    /// How a call can pause its own recording. Default: not at all.
    pub pause: Option<Pause>,
}

/// What becomes of calls that match. `[[rule]]`; the first that matches decides.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RuleSpec {
    /// Its name, as manifests have it. Required.
    pub name: String,
    /// Only calls from or to this trunk. Default: any.
    #[serde(default)]
    pub trunk: Option<String>,
    /// Only calls of which this is true. Default: all.
    #[serde(default, rename = "match")]
    pub condition: Match,
    /// What is done with them. Required.
    pub action: Action,
    /// Form of recordings. Default: the trunk's.
    #[serde(default)]
    pub format: Option<Format>,
    /// Retention class. Default: the trunk's.
    #[serde(default)]
    pub retention: Option<String>,
    /// Who can open recordings. Default: the trunk's.
    #[serde(default)]
    pub recipients: OneOf<String>,
    /// What is kept longest, 0 to 255. Default: the trunk's.
    #[serde(default)]
    pub priority: Option<u8>,
    /// Take digits out. Default: the trunk's.
    #[serde(default)]
    pub mask_digits: Option<bool>,
    /// How a call can pause its own recording. Default: the trunk's.
    #[serde(default)]
    pub pause: Option<Pause>,
    /// Also take calls of which it cannot be told whether this rule, or an earlier one, matches: first seen after
    /// the INVITE that began them, or with more headers than are looked at. Default: false, such a call is not
    /// recorded.
    #[serde(default)]
    pub in_doubt: bool,
}

/// What is done with a call.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Nothing is kept but a receipt that says so.
    Exclude,
    /// The manifest is kept and no sound.
    Metadata,
    /// Sound, or packets, and manifest are kept.
    Record,
}

impl Action {
    /// As rules write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Exclude => "exclude",
            Self::Metadata => "metadata",
            Self::Record => "record",
        }
    }
}

/// Form of a recording.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// Ogg Opus.
    #[default]
    Opus,
    /// The call's own packets.
    Pcap,
    /// WAV.
    Wav,
}

impl From<Format> for Content {
    fn from(format: Format) -> Self {
        match format {
            Format::Opus => Self::Opus,
            Format::Pcap => Self::Packets,
            Format::Wav => Self::Wav,
        }
    }
}

/// How a call can pause its own recording, so that card data is not kept.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Pause {
    /// Digits that pause: `*1`. Default: none do.
    pub dtmf_pause: Option<String>,
    /// Digits that resume: `*2`; the same as `dtmf_pause` do both in turn. Default: none do.
    pub dtmf_resume: Option<String>,
    /// A SIP header that says `pause` or `resume` in any request of the call: `X-Recording`. Default: none does.
    pub header: Option<String>,
    /// Who may. Default: `either`.
    pub by: PauseBy,
}

impl From<&Pause> for PauseRules {
    fn from(pause: &Pause) -> Self {
        let Pause { dtmf_pause, dtmf_resume, header, by } = pause.clone();
        Self { dtmf_pause, dtmf_resume, header, by }
    }
}

/// An expression: all keys that are there must hold; of a list, any value.
///
/// Addresses and ports are those of the first message: `source` sent the request. Values of SIP are
/// compared with [`Pattern`]s. Users are compared without escapes; numbers as written, and also without
/// separators and parameters.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Match {
    /// Expressions that must all be true: the same key twice is written so.
    pub all: Tables<Match>,
    /// Expressions of which one must be true.
    pub any: Tables<Match>,
    /// An expression that must be false.
    pub not: Option<Box<Match>>,
    /// Address of either side.
    pub address: OneOf<Prefix>,
    /// Address of the sender.
    pub source: OneOf<Prefix>,
    /// Address of the receiver.
    pub destination: OneOf<Prefix>,
    /// Port of either side.
    pub port: OneOf<Range>,
    /// Port of the sender.
    pub source_port: OneOf<Range>,
    /// Port of the receiver.
    pub destination_port: OneOf<Range>,
    /// VLAN id, anywhere in the stack of tags.
    pub vlan: OneOf<Range>,
    /// Tunnel: `7`, `vxlan:7`, `gre`.
    pub tunnel: OneOf<TunnelPattern>,
    /// `udp`, `tcp`, `ws`, `hep`.
    pub transport: OneOf<Transport>,
    /// User-Agent.
    pub user_agent: OneOf<Pattern>,
    /// User of the Request-URI.
    pub request_user: OneOf<Pattern>,
    /// Host of the Request-URI.
    pub request_domain: OneOf<Pattern>,
    /// User of From.
    pub from_user: OneOf<Pattern>,
    /// Host of From.
    pub from_domain: OneOf<Pattern>,
    /// User of To.
    pub to_user: OneOf<Pattern>,
    /// Host of To.
    pub to_domain: OneOf<Pattern>,
    /// User of a P-Asserted-Identity (RFC 3325).
    pub identity_user: OneOf<Pattern>,
    /// Host of a P-Asserted-Identity.
    pub identity_domain: OneOf<Pattern>,
    /// Any header: `{ name = "X-Tenant", value = "acme" }`. Of several lines, one must match. Of all headers that
    /// rules ask for, 64 values of a call are looked at; where there are more, what is not found is not known.
    pub header: Tables<HeaderMatch>,
    /// `inbound` comes from the trunk's addresses, `outbound` goes to them.
    pub direction: Option<Direction>,
    /// Time of day of the first message that was seen.
    pub time: Tables<TimeMatch>,
    /// A part of the calls, 0 to 100, chosen by a hash of Call-ID: the same one on every recorder.
    pub percentage: Option<f64>,
    /// Media without signalling. Only rules that ask for it see such calls.
    pub orphan: Option<bool>,
}

/// A header and what it must say.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct HeaderMatch {
    /// Name, long or compact. Required.
    pub name: String,
    /// Value. Default: any, the header need only be there.
    pub value: OneOf<Pattern>,
}

/// Which way a call was made, as the trunk sees it.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// From the trunk's addresses, to others.
    Inbound,
    /// To the trunk's addresses, from others.
    Outbound,
}

impl Direction {
    /// As rules write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Inbound => "inbound",
            Self::Outbound => "outbound",
        }
    }
}

/// Hours of some days in a time zone.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct TimeMatch {
    /// `08:00-18:00`; over midnight `22:00-06:00`, which belongs to the day it begins on. Default: all day.
    pub hours: OneOf<Hours>,
    /// `mon-fri`, `sat`. Default: all.
    pub days: OneOf<Days>,
    /// IANA name, as in `Europe/Warsaw`. Default: `UTC`.
    pub zone: String,
}

impl Default for TimeMatch {
    fn default() -> Self {
        Self { hours: OneOf::default(), days: OneOf::default(), zone: "UTC".into() }
    }
}

impl Match {
    /// Whether nothing is asked.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether it asks, anywhere, for media without signalling.
    pub fn asks_for_orphans(&self) -> bool {
        self.orphan.is_some()
            || self.all.iter().chain(self.any.iter()).any(Self::asks_for_orphans)
            || self.not.as_deref().is_some_and(Self::asks_for_orphans)
    }

    /// Whether media without signalling can match it.
    pub fn wants_orphans(&self) -> bool {
        self.orphan == Some(true)
            || self.all.iter().chain(self.any.iter()).any(Self::wants_orphans)
            || self.not.as_deref().is_some_and(Self::asks_for_orphans)
    }

    /// Whether it asks, anywhere, for a direction.
    pub fn asks_for_direction(&self) -> bool {
        self.direction.is_some()
            || self.all.iter().chain(self.any.iter()).any(Self::asks_for_direction)
            || self.not.as_deref().is_some_and(Self::asks_for_direction)
    }
}
