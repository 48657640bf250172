//! The manifest: what a recording says of itself. Sealed like the audio, because numbers are personal data.
//!
//! Field names are stable once released; more fields may stand beside these.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::base::counters::Counters;
pub use crate::base::party::Party;
use crate::base::time::Stamp;
pub use crate::call::closing::EndedBy;
pub use crate::recording::parts::Part;
pub use crate::recording::pause::MaskedBy;

/// Version of the manifest's shape.
pub const SCHEMA: u32 = 1;

/// One recording.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Manifest {
    /// [`SCHEMA`].
    pub schema: u32,
    /// UUIDv7.
    pub id: String,
    /// Which part of its call it is, where the recorder was started anew during the call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<Part>,
    /// How it ended.
    pub state: State,
    /// Time of sample 0: the first INVITE, or the first packet of a call whose INVITE was not seen.
    pub start: Stamp,
    /// Last packet of the call.
    pub end: Stamp,
    /// First 2xx to an INVITE.
    pub answered: Option<Stamp>,
    /// `end - start` in seconds.
    pub duration_s: f64,
    /// Trunk the call came over.
    pub trunk: String,
    /// Rule that had it recorded, with its version.
    pub rule: String,
    /// Retention class.
    pub retention_class: String,
    /// Who called whom, and how it went.
    pub call: CallFacts,
    /// RTP streams, in order of first packet.
    pub streams: Vec<StreamFacts>,
    /// Stretches of the timeline without the sound that was sent.
    pub gaps: Vec<Gap>,
    /// Stretches that were left out on purpose, by their beginning. Each is a gap of a side as well.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub masked: Vec<MaskedSpan>,
    /// Sealed files of this recording, this manifest excluded.
    pub files: Vec<FileFacts>,
    /// The call's books.
    pub counters: Counters,
    /// SIP messages of the call, oldest first.
    pub ladder: Vec<LadderEntry>,
    /// Things a reader should know: media without signalling, a clock step, a codec kept as sent.
    pub notes: Vec<String>,
    /// What recorded it.
    pub recorder: RecorderFacts,
}

impl Manifest {
    /// Leaves no more than a receipt says: nothing of who called whom, when they spoke, and from where.
    pub fn forget_parties(&mut self) {
        let CallFacts { ended_by, orphan, .. } = self.call;
        self.call = CallFacts { ended_by, orphan, ..CallFacts::default() };
        self.answered = None;
        self.streams.clear();
        self.gaps.clear();
        self.masked.clear();
        self.ladder.clear();
        self.notes.clear();
    }
}

/// How a recording ended.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Recorded from start to end.
    Complete,
    /// A rule kept it out.
    Excluded,
    /// Could not be recorded; the notes say why.
    Failed,
    /// The recorder or the capture stopped before the call did. What came after is in the next part, where
    /// another process went on with the call.
    Interrupted,
    /// Never answered.
    Unanswered,
}

impl State {
    /// The name that the JSON uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Excluded => "excluded",
            Self::Failed => "failed",
            Self::Interrupted => "interrupted",
            Self::Unanswered => "unanswered",
        }
    }
}

/// Who called whom.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct CallFacts {
    /// Every Call-ID that belongs to the recording.
    pub call_ids: Vec<String>,
    /// URI of From in the first INVITE.
    pub from: String,
    /// URI of To in the first INVITE.
    pub to: String,
    /// User part of `from`.
    pub caller: String,
    /// User part of `to`.
    pub callee: String,
    /// What ended it.
    pub ended_by: Option<EndedBy>,
    /// Last final status of the first INVITE.
    pub status: Option<u16>,
    /// Whether media came without signalling.
    pub orphan: bool,
}

/// One RTP stream: the packets of one SSRC from one address to another.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct StreamFacts {
    /// `0x` and eight hexadecimal digits.
    pub ssrc: String,
    /// Whose voice.
    pub party: Party,
    /// Sender.
    pub src: String,
    /// Receiver.
    pub dst: String,
    /// Encoding name of most packets.
    pub codec: String,
    /// Payload type of most packets.
    pub payload_type: u8,
    /// RTP clock rate.
    pub clock_rate_hz: u32,
    /// `none`, `sdes` or `dtls`.
    pub encrypted: String,
    /// Present and true where the media stayed closed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unopened: bool,
    /// First packet.
    pub first: Stamp,
    /// Last packet.
    pub last: Stamp,
    /// Packets, duplicates excluded.
    pub packets: u64,
    /// Expected less received (RFC 3550 A.3), never negative.
    pub lost: u64,
    /// Packets seen again.
    pub duplicate: u64,
    /// Packets that came after their place on the timeline had been given up, or so much faster than they were made
    /// that there was none.
    pub late: u64,
    /// Packets that came after a later one.
    pub reordered: u64,
    /// Interarrival jitter (RFC 3550 6.4.1), at the end.
    pub jitter_ms: f64,
    /// Listening quality estimate (ITU-T G.107), 1 to 4.5.
    pub mos: f64,
    /// RFC 4733 events.
    pub digits: u64,
    /// Runs of lost packets: first missing extended sequence number (from 0 at the first packet) and count.
    pub loss_map: Vec<(u64, u32)>,
    /// Payload types seen, with their packets.
    pub payload_types: BTreeMap<u8, u64>,
    /// What the two ends said of it themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtcp: Option<RemoteReport>,
}

/// What the two ends said of a stream (RFC 3550 section 6.4).
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct RemoteReport {
    /// Reports of the sender.
    pub sender_reports: u64,
    /// Packets that the sender says it has sent, in the last of them.
    pub sent: Option<u32>,
    /// Reports of who receives it.
    pub receiver_reports: u64,
    /// Packets lost on the whole way, in the last of them; negative where duplicates came.
    pub lost: Option<i32>,
    /// Jitter there.
    pub jitter_ms: Option<f64>,
    /// When it said goodbye.
    pub bye: Option<Stamp>,
}

/// A stretch of the timeline without the sound that was sent.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Gap {
    /// Whose side.
    pub party: Party,
    /// Seconds from the recording's start.
    pub at_s: f64,
    /// Seconds.
    pub length_s: f64,
    /// Why.
    pub reason: GapReason,
}

/// Why a stretch is without the sound that was sent.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum GapReason {
    /// The capture lost it.
    CaptureDrop,
    /// On hold: nothing was sent.
    Hold,
    /// Left out on purpose.
    Masked,
    /// Lost before the capture point.
    NetworkLoss,
    /// Shed by the recorder.
    QueueDrop,
    /// Nobody sent anything: silence suppression, or a sender that stopped.
    Silence,
    /// There, and not decodable.
    Undecodable,
}

/// A stretch that was left out on purpose.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct MaskedSpan {
    /// When it was said, or the tone began.
    pub at: Stamp,
    /// Its beginning, in seconds from the recording's start.
    pub from_s: f64,
    /// Its end.
    pub to_s: f64,
    /// Whose side; both where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub party: Option<Party>,
    /// How it was said.
    pub by: MaskedBy,
    /// Why, as given.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// One sealed file.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct FileFacts {
    /// File name.
    pub name: String,
    /// `audio` or `packets`.
    pub kind: String,
    /// Length of the sealed file.
    pub bytes: u64,
    /// SHA-256 of the sealed file, in hexadecimal.
    pub sha256: String,
    /// `opus`, `wav` or `pcapng`.
    pub format: String,
    /// Channels; 0 where it is no audio.
    pub channels: u8,
    /// Sample rate; 0 where it is no audio.
    pub sample_rate_hz: u32,
}

/// One SIP message of the ladder.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct LadderEntry {
    /// Capture time.
    pub at: Stamp,
    /// Sender.
    pub src: String,
    /// Receiver.
    pub dst: String,
    /// Method, or status code and reason.
    pub message: String,
    /// CSeq.
    pub cseq: String,
    /// Whether it carried a session description.
    pub sdp: bool,
}

/// What recorded it.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct RecorderFacts {
    /// The recorder's receipt key id.
    pub id: String,
    /// Program version.
    pub version: String,
}
