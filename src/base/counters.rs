//! Every packet is recorded or counted with a reason.

use std::collections::BTreeMap;

/// Why a packet is in no recording.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Discard {
    /// The call table was full and the call was not admitted.
    CallTableFull,
    /// The frame is cut by the snap length and its payload is incomplete.
    Cut,
    /// Seen before: same stream, same sequence number.
    Duplicate,
    /// Media for a call's address from a sender that the call did not negotiate.
    ForeignSource,
    /// A fragment whose datagram never became whole, or that was refused.
    Fragment,
    /// A header contradicts itself or the frame's length.
    Malformed,
    /// RTP that no call claims.
    MediaUnclaimed,
    /// Neither SIP nor media of a call: ARP, DNS, ICMP, other UDP and TCP.
    NotTelephony,
    /// SIP outside a call: REGISTER, OPTIONS, SUBSCRIBE and the like.
    SipOutsideCall,
    /// Looks like SIP and cannot be read.
    SipUnparsable,
    /// TCP bytes without a message: lost segments, retransmissions, other protocols.
    TcpGap,
    /// A tunnel that is not taken apart.
    Tunnel,
    /// A link type or network protocol that is not understood.
    UnknownLink,
}

impl Discard {
    /// The name that manifests and summaries use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CallTableFull => "call-table-full",
            Self::Cut => "cut",
            Self::Duplicate => "duplicate",
            Self::ForeignSource => "foreign-source",
            Self::Fragment => "fragment",
            Self::Malformed => "malformed",
            Self::MediaUnclaimed => "media-unclaimed",
            Self::NotTelephony => "not-telephony",
            Self::SipOutsideCall => "sip-outside-call",
            Self::SipUnparsable => "sip-unparsable",
            Self::TcpGap => "tcp-gap",
            Self::Tunnel => "tunnel",
            Self::UnknownLink => "unknown-link",
        }
    }
}

/// The books of a run or of a call: `captured = recorded + Σ discarded`.
#[derive(Clone, Debug, Default, Eq, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Counters {
    /// Frames that came in.
    pub captured: u64,
    /// Frames whose content is in a recording: audio, signalling or both.
    pub recorded: u64,
    /// Frames that are not, by reason.
    pub discarded: BTreeMap<Discard, u64>,
}

impl Counters {
    /// Counts `frames` that are in no recording.
    pub fn discard(&mut self, reason: Discard, frames: u64) {
        *self.discarded.entry(reason).or_default() += frames;
    }

    /// Returns whether the books balance.
    pub fn balanced(&self) -> bool {
        self.captured == self.recorded + self.discarded.values().sum::<u64>()
    }

    /// Adds another book to this one.
    pub fn add(&mut self, other: &Self) {
        self.captured += other.captured;
        self.recorded += other.recorded;
        for (reason, frames) in &other.discarded {
            self.discard(*reason, *frames);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_json() {
        let mut book = Counters { captured: 3, recorded: 1, ..Counters::default() };
        assert!(!book.balanced());
        book.discard(Discard::ForeignSource, 2);
        assert!(book.balanced());
        let json = serde_json::to_string(&book).unwrap();
        assert!(json.contains(&format!("\"{}\":2", Discard::ForeignSource.as_str())), "{json}");
    }
}
