//! A recording and the journal.

use crate::base::time::Stamp;
use crate::call::closing::{Closed, EndedBy};
use crate::recording::journal::{Batch, FACTS_BYTES_MAX, Id};
use crate::recording::manifest::{CallFacts, Manifest, State};
use crate::recording::recorder::{Content, OpenFile, Recorder};

/// Which hand-over it is.
#[derive(Clone, Copy, Debug)]
pub struct Round {
    /// Generation of the journal's segment that the batch goes into.
    pub generation: u64,
    /// What was first given in an older generation than this is given again.
    pub again_before: Option<u64>,
}

/// What a recorder keeps for the journal.
#[derive(Debug, Default)]
pub(super) struct Journaled {
    /// Whether a journal is kept.
    on: bool,
    /// Generation and capture time of the last facts.
    facts: Option<(u64, Stamp)>,
    /// Whether something new is known.
    changed: bool,
    /// Who calls whom, where that is known before the call ends.
    call: CallFacts,
}

impl Journaled {
    /// Whether a journal is kept.
    pub(super) fn is_on(&self) -> bool {
        self.on
    }
}

impl Recorder {
    /// Keeps account for a journal from here on.
    pub fn keep_journal(&mut self) {
        if !std::mem::replace(&mut self.journaled.on, true)
            && let Some(audio) = &mut self.audio
        {
            audio.write_early();
        }
        for file in [&mut self.sound_file, &mut self.packet_file].into_iter().flatten() {
            file.sealer.keep_journal();
        }
    }

    /// Whether a journal is kept, so that new files keep account too.
    pub(super) fn keeps_journal(&self) -> bool {
        self.journaled.is_on()
    }

    /// Says who calls whom as soon as that is known, for a journal: the manifest of a call that ends takes
    /// it from signalling.
    pub fn call(&mut self, facts: CallFacts) {
        self.journaled.call = facts;
        self.journaled.changed = true;
    }

    /// More is known of the call.
    pub(super) fn changed(&mut self) {
        self.journaled.changed = true;
    }

    /// Adds to `batch` what the journal has not had of this recording. Returns false where some of it did
    /// not fit and waits for the next batch.
    pub fn hand_over(&mut self, batch: &mut Batch, round: Round) -> bool {
        if self.is_left_out() {
            return true;
        }
        self.keep_journal();
        let Some(id) = self.id_bytes() else { return true };
        if self.facts_due(round) {
            let json = self.facts_so_far();
            if !batch.facts(&id, &json) {
                return false;
            }
            self.journaled.facts = Some((round.generation, self.last_media));
            self.journaled.changed = false;
        }
        let sound = self.content;
        let mut whole = true;
        for (file, content) in [(&mut self.sound_file, sound), (&mut self.packet_file, Content::Packets)] {
            if let Some(file) = file {
                whole &= file.hand_over(&id, content, batch, round);
            }
        }
        whole
    }

    fn facts_due(&self, round: Round) -> bool {
        let Journaled { facts, changed, .. } = &self.journaled;
        facts.is_none_or(|(generation, at)| {
            *changed
                || round.again_before.is_some_and(|before| generation < before)
                || self.last_media.since(at) > FACTS_EVERY
        })
    }

    /// A manifest of what is known now, at most [`FACTS_BYTES_MAX`] of JSON.
    fn facts_so_far(&self) -> Vec<u8> {
        let call = &self.journaled.call;
        let closed = Closed {
            call_ids: call.call_ids.clone(),
            from: call.from.clone(),
            to: call.to.clone(),
            caller: call.caller.clone(),
            callee: call.callee.clone(),
            start: self.start,
            end: self.last_media,
            answered: None,
            status: call.status,
            ended_by: EndedBy::CaptureEnd,
            orphan: self.orphan,
            mid_call: false,
            holds: Vec::new(),
            media_after: None,
            ladder: Vec::new(),
            ladder_more: 0,
            sdp_unreadable: 0,
        };
        let manifest = self.manifest(closed, None, Vec::new());
        bounded_json(Manifest { state: State::Interrupted, ..manifest })
    }

    /// Gives what is left of a recording whose call has ended, and what it was: until its files are on the
    /// disk, this is all that a power cut would leave of its last moments.
    pub(super) fn hand_over_rest(&mut self, left: Option<&mut Batch>, manifest: Option<&Manifest>) {
        let Some(left) = left.filter(|_| self.journaled.on) else { return };
        let Some(id) = self.id_bytes() else { return };
        let sound = self.content;
        for (file, content) in [(&mut self.sound_file, sound), (&mut self.packet_file, Content::Packets)] {
            let Some(file) = file else { continue };
            let length = file.sealer.plain_bytes();
            // No generation: nothing of it will wait.
            if !file.hand_over(&id, content, left, Round { generation: 0, again_before: None }) {
                left.skip(file.sealer.unhanded_bytes());
            }
            left.end(&id, content, length);
        }
        if let Some(manifest) = manifest {
            left.facts(&id, &bounded_json(manifest.clone()));
        }
    }

    fn id_bytes(&self) -> Option<Id> {
        uuid::Uuid::parse_str(&self.id).ok().map(uuid::Uuid::into_bytes)
    }
}

impl OpenFile {
    fn hand_over(&mut self, id: &Id, content: Content, batch: &mut Batch, round: Round) -> bool {
        let Round { generation, again_before } = round;
        let mut whole = true;
        if let Some(before) = again_before {
            let room = batch.room();
            whole &= self.sealer.hand_over_again(before, generation, room, &mut |offset, bytes| {
                batch.bytes(id, content, offset, bytes);
            });
        }
        let room = batch.room();
        whole &= self.sealer.hand_over(generation, room, &mut |offset, bytes| {
            batch.bytes(id, content, offset, bytes);
        });
        batch.skip(self.sealer.take_skipped());
        whole
    }
}

/// Leaves out what is long until it is short enough.
fn bounded_json(mut manifest: Manifest) -> Vec<u8> {
    let json = |manifest: &Manifest| serde_json::to_vec(manifest).unwrap_or_default();
    let mut text = json(&manifest);
    if text.len() > FACTS_BYTES_MAX {
        manifest.ladder.clear();
        manifest.gaps.clear();
        manifest.streams.iter_mut().for_each(|stream| stream.loss_map.clear());
        manifest.notes.push("ladder, gaps and lists of losses were too long for the journal".into());
        text = json(&manifest);
    }
    if text.len() > FACTS_BYTES_MAX {
        manifest.streams.clear();
        manifest.call = CallFacts { orphan: manifest.call.orphan, ..CallFacts::default() };
        text = json(&manifest);
    }
    if text.len() > FACTS_BYTES_MAX { Vec::new() } else { text }
}

/// Counters of a call that goes on are written again so often (capture time).
const FACTS_EVERY: std::time::Duration = std::time::Duration::from_secs(5);
