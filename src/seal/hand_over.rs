//! Which plain bytes of a file the journal has been given, and which it has not.
//!
//! ```text
//!              handed            sealed                       end
//!  plain: ───────┼── departed ─────┼──────── waiting ──────────┤
//!         given  │  not given, in  │ in the sealer's pages;    │
//!                │  a sealed chunk │ given up to `handed` where that is beyond `sealed`
//! ```
//!
//! A chunk that leaves between two hand-overs is in a file that nobody has synced yet, so the part of it
//! that the journal has not seen is kept here until the next one. In a steady run that is a copy of a
//! quarter of a second of each call once a chunk, and nothing at all where no journal is kept.

use std::collections::VecDeque;

use zeroize::Zeroizing;

use crate::base::limits::CHUNK_BYTES;

/// The account of one file.
#[derive(Default)]
pub(in crate::seal) struct Ledger {
    /// Plain offset of the first byte that was neither given nor skipped.
    handed: u64,
    /// Bytes from `handed` on that are in chunks already.
    departed: Zeroizing<Vec<u8>>,
    /// Bytes that the journal never saw, because it did not ask for too long.
    skipped: u64,
    /// In which generation of the journal bytes were first given, and from which offset on. Rising in both.
    firsts: VecDeque<(u64, u64)>,
}

impl Ledger {
    /// Begins where the sealer stands: what waits has not been given.
    pub(in crate::seal) fn new(sealed: u64) -> Self {
        Self { handed: sealed, ..Self::default() }
    }

    /// A chunk leaves that begins at plain offset `from`.
    pub(in crate::seal) fn depart(&mut self, from: u64, plain: &[u8]) {
        let given = usize::try_from(self.handed.saturating_sub(from)).unwrap_or(usize::MAX);
        self.departed.extend_from_slice(plain.get(given..).unwrap_or_default());
        let excess = self.departed.len().saturating_sub(DEPARTED_BYTES_MAX);
        if excess > 0 {
            self.departed.drain(..excess);
            self.skipped += excess as u64;
            self.handed += excess as u64;
        }
        let sealed = from + plain.len() as u64;
        while self.firsts.get(1).is_some_and(|(_, from)| *from <= sealed) {
            self.firsts.pop_front();
        }
    }

    /// Gives at most `room` of the departed bytes. Returns what room is left.
    pub(in crate::seal) fn give_departed(
        &mut self,
        generation: u64,
        room: usize,
        take: &mut dyn FnMut(u64, &[u8]),
    ) -> usize {
        let count = self.departed.len().min(room);
        if count > 0 {
            take(self.handed, &self.departed[..count]);
            self.departed.drain(..count);
            self.given(generation, count);
        }
        room - count
    }

    /// Whether all departed bytes have been given: those that wait come only then.
    pub(in crate::seal) fn has_departed(&self) -> bool {
        !self.departed.is_empty()
    }

    /// Notes that `count` bytes more were given.
    pub(in crate::seal) fn given(&mut self, generation: u64, count: usize) {
        if count > 0 && self.firsts.back().is_none_or(|(last, _)| *last < generation) {
            self.firsts.push_back((generation, self.handed));
        }
        self.handed += count as u64;
    }

    /// Where the journal stands.
    pub(in crate::seal) fn handed(&self) -> u64 {
        self.handed
    }

    /// Takes the number of bytes that the journal never saw since it was last asked.
    pub(in crate::seal) fn take_skipped(&mut self) -> u64 {
        std::mem::take(&mut self.skipped)
    }

    /// The range of plain offsets, all of it waiting, that was first given before generation `before`.
    pub(in crate::seal) fn old(&self, sealed: u64, before: u64) -> Option<(u64, u64)> {
        let (oldest, from) = *self.firsts.front()?;
        if oldest >= before {
            return None;
        }
        let newer = self.firsts.iter().find(|(generation, _)| *generation >= before);
        let end = newer.map_or(self.handed, |(_, from)| *from);
        let start = from.max(sealed);
        (start < end).then_some((start, end))
    }

    /// Notes that all that was first given before generation `before` is given again in `generation`.
    pub(in crate::seal) fn given_again(&mut self, before: u64, generation: u64, start: u64) {
        while self.firsts.front().is_some_and(|(first, _)| *first < before) {
            self.firsts.pop_front();
        }
        match self.firsts.front_mut() {
            // As if it were as old as what follows it: given once more than it need be, at the worst.
            Some((_, from)) => *from = start,
            None => self.firsts.push_back((generation, start)),
        }
    }
}

/// Departed bytes kept for a journal that does not ask: one chunk. What is more is in the file's part
/// already, and the disk that the journal waits for is the same.
const DEPARTED_BYTES_MAX: usize = CHUNK_BYTES;
