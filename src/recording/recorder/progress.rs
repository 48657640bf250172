//! What a running recorder shows of a call while it goes on.

use crate::base::counters::Counters;
use crate::base::party::Party;
use crate::base::time::Stamp;
use crate::recording::recorder::{Keep, Recorder};

/// A call by now. Counts are since its start; a relay's copies are not counted again.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CallProgress {
    /// Whether media came.
    pub heard: bool,
    /// Whether its recording is paused.
    pub paused: bool,
    /// Codecs of caller and callee; empty where none is known.
    pub codecs: [String; 2],
    /// Media packets.
    pub packets: u64,
    /// Bytes of their payloads.
    pub bytes: u64,
    /// Packets that never came.
    pub lost: u64,
    /// Interarrival jitter, the worse side.
    pub jitter_ms: f64,
}

impl Recorder {
    /// Id of the recording.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Time of sample 0.
    pub fn start(&self) -> Stamp {
        self.start
    }

    /// Trunk, rule with version, retention class.
    pub fn labels(&self) -> &[String; 3] {
        &self.config.labels
    }

    /// `opus`, `wav` or `pcapng`; none where no media is kept.
    pub fn format(&self) -> Option<&'static str> {
        (self.config.keep == Keep::All && !self.refused).then(|| self.content.extension())
    }

    /// What became of its frames so far.
    pub fn books(&self) -> &Counters {
        &self.books
    }

    /// How far the call is.
    pub fn progress(&self) -> CallProgress {
        let mut progress =
            CallProgress { paused: self.paused(), bytes: self.media_bytes, ..CallProgress::default() };
        for stream in self.streams.iter().filter(|stream| !stream.is_copy()) {
            let Some(count) = stream.count() else { continue };
            progress.heard = true;
            progress.packets += count.packets();
            progress.lost += count.lost();
            progress.jitter_ms = progress.jitter_ms.max(count.jitter_ms());
            let side = usize::from(stream.party() == Party::Callee);
            if progress.codecs[side].is_empty() {
                progress.codecs[side] = stream.encoding();
            }
        }
        progress
    }
}
