//! A recording under pressure: what is done less well, and what is left where the recorder itself failed.

use std::sync::Arc;

use crate::base::counters::{Counters, Discard};
use crate::base::time::Stamp;
use crate::recording::recorder::{Config, Content, Keep, Recorder, new_id};
use crate::seal::random::Randomness;
use crate::seal::recipient::WrapError;
use crate::seal::stream::SealError;

/// What pressure has done to a recording.
#[derive(Debug, Default)]
pub(super) struct Pressed {
    /// Kept as it was sent, for lack of time.
    as_sent: bool,
    /// Since when there were fewer bits for the sound.
    cheaper: Option<Stamp>,
    /// The recorder failed in it.
    broken: bool,
    /// A sealer is at work.
    pub(super) sealing: bool,
    /// The id under which files were left that could not be finished.
    left: Option<String>,
}

impl Recorder {
    /// Begins a recording that keeps the call's packets where [`Config::content`] says Opus: there is no time
    /// to encode it. Where sound must be looked at, because keys are not kept, it begins as usual.
    pub fn as_sent(
        config: Arc<Config>,
        start: Stamp,
        orphan: bool,
        random: Box<dyn Randomness + Send>,
    ) -> Self {
        if config.content != Content::Opus || config.keep != Keep::All || config.wants_signals() {
            return Self::new(config, start, orphan, random);
        }
        let mut recorder = Self::with_content(config, Content::Packets, start, orphan, random);
        recorder.pressed.as_sent = true;
        recorder
    }

    /// Begins what is left of a recording that could not even be closed: a manifest without files, which
    /// says so. `books` are those of `left`.
    pub fn fallen(
        config: Arc<Config>,
        start: Stamp,
        orphan: bool,
        random: Box<dyn Randomness + Send>,
        (left, books): (String, Counters),
    ) -> Self {
        let mut recorder = Self::with_content(config, Content::Packets, start, orphan, random);
        recorder.books = books;
        recorder.pressed = Pressed { broken: true, left: Some(left), ..Pressed::default() };
        recorder
    }

    /// Encodes with fewer bits from here on, or as usual again.
    pub fn set_cheaper(&mut self, cheaper: bool) {
        let Some(audio) = self.audio.as_mut().filter(|_| self.content == Content::Opus) else { return };
        audio.set_cheaper(cheaper);
        if cheaper {
            self.pressed.cheaper.get_or_insert(self.last_media);
        }
    }

    /// The recorder failed in this call: what it has kept so far is all that there will be. `captured` is how
    /// many frames the call has had, with those it failed in.
    pub fn break_off(&mut self, captured: u64) {
        (self.pressed.broken, self.audio) = (true, None);
        self.books.captured = captured;
        if std::mem::take(&mut self.pressed.sealing) {
            // A nonce may have been used that was not counted. What is written is found at the next start,
            // under the old name.
            (self.sound_file, self.packet_file) = (None, None);
            let id = new_id(self.start, &mut *self.random);
            self.pressed.left = Some(std::mem::replace(&mut self.id, id));
        }
    }

    /// Whether [`Self::break_off`] was called.
    pub fn is_broken(&self) -> bool {
        self.pressed.broken
    }

    /// Counts frames that came after it broke off.
    pub fn pass(&mut self, frames: u64) {
        self.books.captured += frames;
        self.books.discard(Discard::Failed, frames);
    }

    /// Frames of the call so far.
    pub fn captured(&self) -> u64 {
        self.books.captured
    }

    /// Seals nothing but the manifest: a drill for a recipient that files cannot be sealed for.
    pub fn forget_recipients(&mut self) {
        self.failed.get_or_insert(SealError::Wrap(WrapError::NoRecipients));
    }

    /// What must be known to go on should [`Self::close`] fail.
    pub fn identity(&self) -> (Arc<Config>, String, Counters) {
        (self.config.clone(), self.id.clone(), self.books.clone())
    }

    /// Frames that waited when it broke off are in no recording.
    pub(super) fn settle_broken(&mut self) {
        let missing = self.books.captured.saturating_sub(self.books.accounted());
        if missing > 0 {
            self.books.discard(Discard::Failed, missing);
        }
    }
}

impl Pressed {
    pub(super) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.as_sent {
            notes.push(
                "kept as it was sent, not as Opus: the recorder was under load when the call began".into(),
            );
        }
        if let Some(since) = self.cheaper {
            notes.push(format!("sound has fewer bits from {since} on: the recorder was under load"));
        }
        if self.broken {
            notes.push(
                "a fault of the recorder ended this recording early: what it kept before that is here; please report it"
                    .into(),
            );
        }
        if let Some(left) = &self.left {
            notes.push(format!(
                "its files could not be finished: the next start recovers what is written, as {left}"
            ));
        }
        notes
    }
}
