//! A shard and the journal: what its recordings have gained, sealed before it leaves the thread.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crossbeam_channel::Sender;

use crate::recording::journal::Batch;
use crate::recording::recorder::Round;
use crate::seal::batch::BatchSealer;
use crate::seal::random::Randomness;
use crate::seal::stream::SealedChunk;
use crate::shell::shard::Shard;

/// What the journal asks for.
pub(in crate::shell) struct HandOver {
    /// Seals the batch: the key of the journal's segment.
    pub(in crate::shell) sealer: Arc<BatchSealer>,
    /// Which hand-over.
    pub(in crate::shell) round: Round,
    /// Nonces come from here: two shards must never draw the same.
    pub(in crate::shell) random: Box<dyn Randomness + Send>,
    /// Longest batch, before it is sealed.
    pub(in crate::shell) bytes_max: usize,
    /// Which shard it is to call itself.
    pub(in crate::shell) shard: usize,
    /// Memory for the batch.
    pub(in crate::shell) spare: Vec<u8>,
    /// Where the batch goes.
    pub(in crate::shell) reply: Sender<HandedOver>,
}

/// A shard's answer.
pub(in crate::shell) struct HandedOver {
    /// Which shard.
    pub(in crate::shell) shard: usize,
    /// Generation whose key sealed it.
    pub(in crate::shell) generation: u64,
    /// The `again_before` that was asked for.
    pub(in crate::shell) again_before: Option<u64>,
    /// The batch; none where nothing was gained.
    pub(in crate::shell) sealed: Option<SealedChunk>,
    /// Whether all that was asked for is in it.
    pub(in crate::shell) whole: bool,
    /// Bytes that left for their files before the journal saw them.
    pub(in crate::shell) skipped: u64,
}

/// What a shard keeps for the journal.
#[derive(Default)]
pub(super) struct Journaling {
    /// Where the last batch ended, so that every recording has its turn.
    next: usize,
    /// Emptied, to be filled again.
    batch: Option<Batch>,
    /// An answer that nobody has taken yet.
    unsent: Option<HandedOver>,
}

impl Shard {
    /// Answers the journal, without ever waiting for it.
    pub(super) fn hand_over(&mut self, asked: HandOver) {
        if let Some(unsent) = self.journaling.unsent.take() {
            // Its bytes count as given: they go first, and nothing new is gathered meanwhile.
            self.answer(&asked.reply, unsent);
            return;
        }
        let HandOver { sealer, round, mut random, bytes_max, shard, spare, reply } = asked;
        // The same memory each time: fresh pages for some megabytes four times a second are not cheap.
        let kept = self.journaling.batch.take().filter(|batch| batch.bytes_max() == bytes_max);
        let mut batch = kept.unwrap_or_else(|| Batch::new(bytes_max));
        let mut whole = true;
        let left = self.scratch.left.get_or_insert_with(|| Batch::new(LEFT_BYTES_MAX.min(bytes_max)));
        let mut skipped = left.skipped();
        if !left.is_empty() || skipped > 0 {
            whole = batch.append(left);
            *left = Batch::new(LEFT_BYTES_MAX.min(bytes_max));
        }
        let count = self.recorders.len();
        let from = self.journaling.next.min(count);
        for index in (from..count).chain(0..from) {
            let Some(recorder) = self.recorders.get_mut(index).and_then(Option::as_mut) else { continue };
            let captured = recorder.captured();
            let handed = catch_unwind(AssertUnwindSafe(|| recorder.hand_over(&mut batch, round)));
            if handed.is_err() {
                self.broke(index as u32, captured);
            }
            if let Ok(false) = handed {
                whole = false;
                self.journaling.next = index;
                break;
            }
        }
        skipped += batch.skipped();
        let sealed = (!batch.is_empty()).then(|| sealer.seal(batch.as_bytes(), &mut *random, spare));
        batch.clear();
        self.journaling.batch = Some(batch);
        let Round { generation, again_before } = round;
        self.answer(&reply, HandedOver { shard, generation, again_before, sealed, whole, skipped });
    }

    fn answer(&mut self, reply: &Sender<HandedOver>, answer: HandedOver) {
        if let Err(refused) = reply.try_send(answer) {
            self.journaling.unsent = Some(refused.into_inner());
        }
    }
}

/// What recordings that ended may leave between two hand-overs; what is more is in their files, which are
/// being committed.
const LEFT_BYTES_MAX: usize = 4 << 20;
