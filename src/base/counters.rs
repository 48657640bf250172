//! Every packet is recorded or counted with a reason.

use std::collections::BTreeMap;

/// Why a packet is in no recording.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Discard {
    /// The call table was full and the call was not admitted.
    CallTableFull,
    /// The kernel had no room left in the capture ring.
    CaptureDrop,
    /// The frame is cut by the snap length and its payload is incomplete.
    Cut,
    /// Seen before: same stream, same sequence number.
    Duplicate,
    /// Of a call that a rule keeps out.
    Excluded,
    /// Of a call that the recorder itself failed in.
    Failed,
    /// The operator's filter passes it over.
    Filtered,
    /// Media for a call's address from a sender that the call did not negotiate.
    ForeignSource,
    /// A fragment whose datagram never became whole, or that was refused.
    Fragment,
    /// A header contradicts itself or the frame's length.
    Malformed,
    /// Left out on purpose: media of a pause, keys that are not to be kept.
    Masked,
    /// RTP that no call claims.
    MediaUnclaimed,
    /// Media of a call of which a rule keeps only the manifest.
    MetadataOnly,
    /// Neither SIP nor media of a call: ARP, DNS, ICMP, other UDP and TCP.
    NotTelephony,
    /// A queue of the recorder was full: it could not keep up.
    QueueDrop,
    /// The same stream again at another hop, where sound is kept and not packets.
    RelayCopy,
    /// Of a call that was turned away: the recorder was at its limits.
    Shed,
    /// SIP outside a call: REGISTER, OPTIONS, SUBSCRIBE and the like.
    SipOutsideCall,
    /// Looks like SIP and cannot be read.
    SipUnparsable,
    /// TCP bytes without a message: lost segments, retransmissions, other protocols.
    TcpGap,
    /// A tunnel that is not taken apart.
    Tunnel,
    /// Of a call of which it cannot be told whether a rule keeps it out.
    Undecided,
    /// A link type or network protocol that is not understood.
    UnknownLink,
}

impl Discard {
    /// The name that manifests and summaries use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CallTableFull => "call-table-full",
            Self::CaptureDrop => "capture-drop",
            Self::Cut => "cut",
            Self::Duplicate => "duplicate",
            Self::Excluded => "excluded",
            Self::Failed => "failed",
            Self::Filtered => "filtered",
            Self::ForeignSource => "foreign-source",
            Self::Fragment => "fragment",
            Self::Malformed => "malformed",
            Self::Masked => "masked",
            Self::MediaUnclaimed => "media-unclaimed",
            Self::MetadataOnly => "metadata-only",
            Self::NotTelephony => "not-telephony",
            Self::QueueDrop => "queue-drop",
            Self::RelayCopy => "relay-copy",
            Self::Shed => "shed",
            Self::SipOutsideCall => "sip-outside-call",
            Self::SipUnparsable => "sip-unparsable",
            Self::TcpGap => "tcp-gap",
            Self::Tunnel => "tunnel",
            Self::Undecided => "undecided",
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
        self.captured == self.accounted()
    }

    /// Frames recorded or discarded.
    pub fn accounted(&self) -> u64 {
        self.recorded + self.discarded.values().sum::<u64>()
    }

    /// Takes over where the frames of `books` went; that they were captured is counted here already.
    pub fn settle(&mut self, books: &Self) {
        self.recorded += books.recorded;
        for (reason, frames) in &books.discarded {
            self.discard(*reason, *frames);
        }
    }

    /// Adds another book to this one.
    pub fn add(&mut self, other: &Self) {
        self.captured += other.captured;
        self.settle(other);
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
