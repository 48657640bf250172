//! What is done when something has no room, makes no sense or is not what it seems: one action each,
//! always counted.

/// A condition that is met with one action.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Condition {
    /// More media claims on an address than are kept: the oldest gives way.
    AddressClaimsFull,
    /// A BYE while media goes on: the call is recorded until its media is silent.
    ByeDisputed,
    /// A BYE that was refused (401, 407): the call goes on.
    ByeRefused,
    /// A call has more addresses, dialogs, holds or networks than are kept: what is more is ignored.
    CallFull,
    /// A Call-ID that names another call in another network, or one that has ended: a call of its own.
    CallIdReused,
    /// A fault of the recorder itself in what one call sent: that call ends as failed, the others go on.
    CallPanicked,
    /// No room for another call: the oldest that was never answered and has no media gives way, and
    /// where there is none the new one is not admitted.
    CallTableFull,
    /// Capture time jumped: what lives on does not time out at once, and the jump is handed on.
    ClockStepped,
    /// The recorder cannot keep up: load is shed step by step, cheapest loss first.
    CpuShort,
    /// The disk has no room, or less than is kept in reserve: tried again until there is.
    DiskFull,
    /// A write or sync took more than a second: waited for, and counted.
    DiskSlow,
    /// No room for another flow: the one of no call that is silent for longest gives way.
    FlowTableFull,
    /// Media for a call's address from where nobody negotiated: not taken.
    ForeignSource,
    /// The journal cannot be written: recording goes on, and a power cut would cost more.
    JournalDegraded,
    /// Media before the description that claims it: held, taken when it comes.
    MediaBeforeSdp,
    /// The queue of a shard is full: media of calls of the lowest priority is left out first.
    MediaQueueFull,
    /// Memory is near its limit: new calls are turned away, lowest priority first.
    MemoryShort,
    /// Signalling whose first INVITE was not seen: recorded from here on, where rules can tell.
    MidCallStart,
    /// Media that could be of calls in several other networks: taken by none.
    NetworkAmbiguous,
    /// Media in another network than the call's signalling, which only one call explains: taken.
    NetworkCrossed,
    /// A recipient that files cannot be sealed for: the call ends as failed, nothing is written open.
    RecipientMissing,
    /// A call of which it cannot be told whether a rule keeps it out, most often since it was first seen in the
    /// middle: not recorded, unless a rule takes calls `in_doubt`.
    RuleUndecided,
    /// One source began more calls than it may have unanswered: its oldest gives way.
    SourceBudget,
    /// A stream of a call began anew under another SSRC: another stream of the call.
    SsrcChanged,
    /// More waits for the disk than half its queue: Opus at a lower rate, then fewer new calls.
    StoreBacklog,
    /// A sync failed: what was written before it is written anew before it is receipted.
    SyncFailed,
}

/// How often each condition was met.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Conditions([u64; Condition::ALL.len()]);

impl Condition {
    /// All of them, by name.
    pub const ALL: [Self; 26] = [
        Self::AddressClaimsFull,
        Self::ByeDisputed,
        Self::ByeRefused,
        Self::CallFull,
        Self::CallIdReused,
        Self::CallPanicked,
        Self::CallTableFull,
        Self::ClockStepped,
        Self::CpuShort,
        Self::DiskFull,
        Self::DiskSlow,
        Self::FlowTableFull,
        Self::ForeignSource,
        Self::JournalDegraded,
        Self::MediaBeforeSdp,
        Self::MediaQueueFull,
        Self::MemoryShort,
        Self::MidCallStart,
        Self::NetworkAmbiguous,
        Self::NetworkCrossed,
        Self::RecipientMissing,
        Self::RuleUndecided,
        Self::SourceBudget,
        Self::SsrcChanged,
        Self::StoreBacklog,
        Self::SyncFailed,
    ];

    /// The name that metrics and logs use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AddressClaimsFull => "address-claims-full",
            Self::ByeDisputed => "bye-disputed",
            Self::ByeRefused => "bye-refused",
            Self::CallFull => "call-full",
            Self::CallIdReused => "call-id-reused",
            Self::CallPanicked => "call-panicked",
            Self::CallTableFull => "call-table-full",
            Self::ClockStepped => "clock-stepped",
            Self::CpuShort => "cpu-short",
            Self::DiskFull => "disk-full",
            Self::DiskSlow => "disk-slow",
            Self::FlowTableFull => "flow-table-full",
            Self::ForeignSource => "foreign-source",
            Self::JournalDegraded => "journal-degraded",
            Self::MediaBeforeSdp => "media-before-sdp",
            Self::MediaQueueFull => "media-queue-full",
            Self::MemoryShort => "memory-short",
            Self::MidCallStart => "mid-call-start",
            Self::NetworkAmbiguous => "network-ambiguous",
            Self::NetworkCrossed => "network-crossed",
            Self::RecipientMissing => "recipient-missing",
            Self::RuleUndecided => "rule-undecided",
            Self::SourceBudget => "source-budget",
            Self::SsrcChanged => "ssrc-changed",
            Self::StoreBacklog => "store-backlog",
            Self::SyncFailed => "sync-failed",
        }
    }

    /// What is done, in a few words.
    pub fn action(self) -> &'static str {
        match self {
            Self::AddressClaimsFull => "the oldest claim gives way",
            Self::ByeDisputed => "recorded until its media is silent",
            Self::ByeRefused => "the call goes on",
            Self::CallFull => "what is more is ignored",
            Self::CallIdReused => "a call of its own",
            Self::CallPanicked => "that call ends as failed; the others go on",
            Self::CallTableFull => "the oldest unanswered call without media gives way",
            Self::ClockStepped => "nothing times out at once; the jump is handed on",
            Self::CpuShort => "cheaper Opus, new calls as sent, new calls turned away, media left out",
            Self::DiskFull => "tried again until there is room; Opus at a lower rate",
            Self::DiskSlow => "waited for",
            Self::FlowTableFull => "the unclaimed flow silent for longest gives way",
            Self::ForeignSource => "not taken",
            Self::JournalDegraded => "recording goes on; a power cut would cost more",
            Self::MediaBeforeSdp => "held, and taken when its description comes",
            Self::MediaQueueFull => "media left out, lowest priority first; signalling kept",
            Self::MemoryShort => "new calls turned away, lowest priority first",
            Self::MidCallStart => "recorded from here on, where rules can tell",
            Self::NetworkAmbiguous => "taken by none",
            Self::NetworkCrossed => "taken",
            Self::RecipientMissing => "the call ends as failed; nothing is written open",
            Self::RuleUndecided => "not recorded, unless a rule takes calls in doubt",
            Self::SourceBudget => "the source's oldest unanswered call gives way",
            Self::SsrcChanged => "another stream of the call",
            Self::StoreBacklog => "Opus at a lower rate, then new calls turned away",
            Self::SyncFailed => "written anew before it is receipted",
        }
    }

    /// How to bring it about: an option of `sejf record`, or what the wire must carry.
    pub fn forced_by(self) -> &'static str {
        match self {
            Self::AddressClaimsFull => "packets: more than 64 calls of one network that name one address",
            Self::ByeDisputed => "packets: media after BYE",
            Self::ByeRefused => "packets: BYE answered by 401 or 407",
            Self::CallFull => "packets: a call that names more than 128 addresses",
            Self::CallIdReused => "packets: one Call-ID in two networks",
            Self::CallPanicked => "--force call-panicked",
            Self::CallTableFull => "packets: more INVITEs than `calls` in [limits]",
            Self::ClockStepped => "packets: capture times that jump",
            Self::CpuShort => "--force cpu-short",
            Self::DiskFull => "--force disk-full",
            Self::DiskSlow => "--force disk-slow",
            Self::FlowTableFull => "packets: RTP of more than 1,000,000 flows",
            Self::ForeignSource => "packets: RTP from an address that nobody negotiated",
            Self::JournalDegraded => "--force journal-degraded",
            Self::MediaBeforeSdp => "packets: RTP before its answer",
            Self::MediaQueueFull => "--force media-queue-full",
            Self::MemoryShort => "--force memory-short",
            Self::MidCallStart => "packets: a call without its first INVITE",
            Self::NetworkAmbiguous => "packets: one address in calls of several networks",
            Self::NetworkCrossed => "packets: RTP in another VLAN than its SIP",
            Self::RecipientMissing => "--force recipient-missing",
            Self::RuleUndecided => {
                "packets: a call without its first INVITE, a rule that asks for User-Agent"
            }
            Self::SourceBudget => "packets: more than 12,500 unanswered INVITEs of one source",
            Self::SsrcChanged => "packets: a new SSRC from the same address",
            Self::StoreBacklog => "--force store-backlog",
            Self::SyncFailed => "--force sync-failed",
        }
    }

    /// Whether `sejf record --force` brings it about.
    pub fn is_forcible(self) -> bool {
        self.forced_by().starts_with("--force ")
    }

    /// The one that has this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|condition| condition.as_str() == name)
    }
}

impl Conditions {
    /// Counts one more.
    pub fn note(&mut self, condition: Condition) {
        self.add_many(condition, 1);
    }

    /// Counts `times` more.
    pub fn add_many(&mut self, condition: Condition, times: u64) {
        self.0[condition as usize] += times;
    }

    /// How often `condition` was met.
    pub fn get(&self, condition: Condition) -> u64 {
        self.0[condition as usize]
    }

    /// Adds what another has counted.
    pub fn add(&mut self, other: &Self) {
        for (mine, more) in self.0.iter_mut().zip(other.0) {
            *mine += more;
        }
    }

    /// All that were met.
    pub fn met(&self) -> impl Iterator<Item = (Condition, u64)> + '_ {
        Condition::ALL
            .into_iter()
            .map(|condition| (condition, self.get(condition)))
            .filter(|(_, met)| *met > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_condition_has_its_own_place_and_name() {
        for (index, condition) in Condition::ALL.into_iter().enumerate() {
            assert_eq!(condition as usize, index, "{}", condition.as_str());
        }
        for condition in Condition::ALL.into_iter().filter(|condition| condition.is_forcible()) {
            assert_eq!(condition.forced_by(), format!("--force {}", condition.as_str()));
            assert_eq!(Condition::from_name(condition.as_str()), Some(condition));
        }
        let names: std::collections::BTreeSet<_> = Condition::ALL.map(Condition::as_str).into();
        assert_eq!(names.len(), Condition::ALL.len());
        let mut met = Conditions::default();
        met.note(Condition::SsrcChanged);
        let mut all = met.clone();
        all.add(&met);
        assert_eq!(all.met().collect::<Vec<_>>(), [(Condition::SsrcChanged, 2)]);
    }
}
