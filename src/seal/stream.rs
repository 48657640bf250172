//! The age payload: STREAM over ChaCha20-Poly1305 (C2SP age, "Payload").
//!
//! ```text
//! header | 16-byte nonce | chunk 0 | chunk 1 | … | last chunk        chunk = 64 KiB + 16-byte tag
//!                                                                    last  = 1 byte to 64 KiB + tag
//! ```
//!
//! A cut file is never taken for a whole one: the last chunk is sealed under another nonce, and only
//! [`Sealer::finish`], which consumes the sealer, makes it. A nonce is used once: the sealer owns key
//! and counter and cannot be cloned.
//!
//! A live call holds up to 64 KiB of plain bytes until its chunk is full. They lie in pages that all
//! sealers of a thread share ([`PagePool`]), so thousands of quiet calls cost what they hold, not
//! 64 KiB each.

use std::hint::black_box;

use ring::aead;
use ring::digest;

use crate::base::limits::CHUNK_BYTES;
use crate::seal::hand_over::Ledger;
use crate::seal::header;
use crate::seal::keys;
use crate::seal::keys::FileKey;
use crate::seal::keys::NONCE_BYTES;
use crate::seal::keys::Secret;
use crate::seal::keys::TAG_BYTES;
use crate::seal::random::Randomness;
use crate::seal::recipient::Recipients;
use crate::seal::recipient::WrapError;

/// Sealed bytes: all that storage accepts.
///
/// Its constructor is private to sealing, so nothing plain can be handed to storage by mistake.
#[derive(Debug, Eq, PartialEq)]
pub struct SealedChunk(Vec<u8>);

impl SealedChunk {
    /// The one constructor.
    pub(in crate::seal) fn new(sealed: Vec<u8>) -> Self {
        Self(sealed)
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Gives the bytes away without copying.
    pub fn into_vec(self) -> Vec<u8> {
        self.0
    }

    /// How many bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns whether there are none. No sealer makes such a chunk.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What a finished file is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SealedFile {
    /// Length.
    pub bytes: u64,
    /// SHA-256 of all of it, header included.
    pub sha256: [u8; 32],
}

/// Why a file could not be begun.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// The file key could not be wrapped for all recipients.
    #[error(transparent)]
    Wrap(#[from] WrapError),
}

/// Pages for plain bytes that wait for their chunk, shared by the sealers of one thread.
///
/// Grows with what is in use and shrinks again: it keeps no more spare pages than are in use, or
/// [`SPARE_PAGES_MIN`]. Pages are zeroed when they come back and when they are freed.
#[derive(Default)]
pub struct PagePool {
    spare: Vec<Page>,
    in_use: usize,
}

impl PagePool {
    /// Pages that hold plain bytes now.
    pub fn pages_in_use(&self) -> usize {
        self.in_use
    }

    /// Pages that wait for use.
    pub fn pages_spare(&self) -> usize {
        self.spare.len()
    }

    fn take(&mut self) -> Page {
        self.in_use += 1;
        self.spare.pop().unwrap_or_default()
    }

    fn give_back(&mut self, pages: impl Iterator<Item = Page>) {
        for mut page in pages {
            // A sealer may be finished on a pool other than its own, so this may not go below zero.
            self.in_use = self.in_use.saturating_sub(1);
            if self.spare.len() < self.in_use.max(SPARE_PAGES_MIN) {
                page.clear();
                self.spare.push(page);
            }
        }
    }
}

impl std::fmt::Debug for PagePool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PagePool").field("in_use", &self.in_use).field("spare", &self.spare.len()).finish()
    }
}

/// Seals one file.
pub struct Sealer {
    payload: PayloadSealer,
    /// Full but for the last one.
    pages: Vec<Page>,
    /// Plain bytes in `pages`.
    waiting: usize,
    hash: digest::Context,
    bytes: u64,
    /// Plain bytes in chunks that have left.
    sealed: u64,
    /// What the journal has been given; none where no journal is kept.
    ledger: Option<Box<Ledger>>,
}

/// Seals something small at once: a key, a report.
pub fn seal_whole(
    plain: &[u8],
    recipients: &Recipients,
    random: &mut dyn Randomness,
) -> Result<Vec<u8>, SealError> {
    let (mut sealer, start) = Sealer::start(recipients, random)?;
    let mut pool = PagePool::default();
    let mut file = start.into_vec();
    let mut take = |chunk: SealedChunk| file.extend_from_slice(chunk.as_bytes());
    sealer.write(plain, &mut pool, &mut take);
    sealer.finish(&mut pool, &mut take);
    Ok(file)
}

/// Plain bytes of a whole payload that has `sealed` bytes, nonce included; nothing where no payload is so long.
pub fn plain_bytes_of(sealed: u64) -> Option<u64> {
    let (tag, full) = (TAG_BYTES as u64, (CHUNK_BYTES + TAG_BYTES) as u64);
    let sealed = sealed.checked_sub(NONCE_BYTES as u64)?;
    let chunks = sealed.div_ceil(full);
    let last = sealed - chunks.checked_sub(1)? * full;
    // Nothing makes an empty chunk after another one.
    let least = if chunks > 1 { tag + 1 } else { tag };
    (last >= least).then(|| sealed - chunks * tag)
}

impl Sealer {
    /// Begins a file under a key of its own. Returns what stands before the first chunk: header and nonce.
    pub fn start(
        recipients: &Recipients,
        random: &mut dyn Randomness,
    ) -> Result<(Self, SealedChunk), SealError> {
        let file_key = FileKey::generate(random);
        let stanzas = recipients.wrap(&file_key, random)?;
        let mut start = header::write(&stanzas, &file_key);
        let (payload, nonce) = PayloadSealer::new(&file_key, random);
        start.extend_from_slice(&nonce);
        let mut sealer = Self {
            payload,
            pages: Vec::new(),
            waiting: 0,
            hash: digest::Context::new(&digest::SHA256),
            bytes: 0,
            sealed: 0,
            ledger: None,
        };
        let start = sealer.count(start);
        Ok((sealer, start))
    }

    /// Takes plain bytes; gives out each chunk that is full and is not the last one.
    pub fn write(&mut self, plain: &[u8], pool: &mut PagePool, take: &mut dyn FnMut(SealedChunk)) {
        let at = self.waiting % PAGE_BYTES;
        // The usual case: some bytes more in a page that has room.
        if at != 0
            && let Some(page) = self.pages.last_mut()
            && let Some(room) = page.0.get_mut(at..at + plain.len())
        {
            room.copy_from_slice(plain);
            self.waiting += plain.len();
            return;
        }
        self.write_across_pages(plain, pool, take);
    }

    fn write_across_pages(
        &mut self,
        mut plain: &[u8],
        pool: &mut PagePool,
        take: &mut dyn FnMut(SealedChunk),
    ) {
        while !plain.is_empty() {
            // Only now is it known that the full chunk is not the last one.
            if self.waiting == CHUNK_BYTES {
                take(self.seal_waiting(false, pool));
            }
            if self.waiting == 0
                && plain.len() > CHUNK_BYTES
                && let Some((chunk, rest)) = plain.split_at_checked(CHUNK_BYTES)
            {
                let mut bytes = Vec::with_capacity(CHUNK_BYTES + TAG_BYTES);
                bytes.extend_from_slice(chunk);
                take(self.seal(bytes, false));
                plain = rest;
                continue;
            }
            let at = self.waiting % PAGE_BYTES;
            if at == 0 {
                self.pages.push(pool.take());
            }
            let Some(page) = self.pages.last_mut() else { return };
            let (now, rest) = plain.split_at(plain.len().min(PAGE_BYTES - at));
            page.0[at..at + now.len()].copy_from_slice(now);
            self.waiting += now.len();
            plain = rest;
        }
    }

    /// Ends the file.
    pub fn finish(mut self, pool: &mut PagePool, take: &mut dyn FnMut(SealedChunk)) -> SealedFile {
        take(self.seal_waiting(true, pool));
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(self.hash.finish().as_ref());
        SealedFile { bytes: self.bytes, sha256 }
    }

    /// Plain bytes that wait for their chunk to be full.
    pub fn waiting_bytes(&self) -> usize {
        self.waiting
    }

    /// Keeps account for a journal from here on: what waits has not been given to it.
    pub fn keep_journal(&mut self) {
        let sealed = self.sealed;
        self.ledger.get_or_insert_with(|| Box::new(Ledger::new(sealed)));
    }

    /// Gives plain bytes that the journal has not had, with their offset in the file, and at most `room`
    /// of them. Bytes that left in a chunk since the last time are among them: their chunk is in a file that
    /// nobody has synced. Returns false where some are left for another time.
    pub fn hand_over(&mut self, generation: u64, room: usize, take: &mut dyn FnMut(u64, &[u8])) -> bool {
        let Some(ledger) = &mut self.ledger else { return true };
        let room = ledger.give_departed(generation, room, take);
        if ledger.has_departed() {
            return false;
        }
        let from = ledger.handed();
        let left = (self.sealed + self.waiting as u64).saturating_sub(from);
        let count = left.min(room as u64);
        ledger.given(generation, count as usize);
        self.each_waiting(from, from + count, take);
        count == left
    }

    /// Gives again what waits and was first given before generation `before` of the journal, so that older
    /// generations can be let go. Returns false, having given nothing, where that is more than `room`.
    pub fn hand_over_again(
        &mut self,
        before: u64,
        generation: u64,
        room: usize,
        take: &mut dyn FnMut(u64, &[u8]),
    ) -> bool {
        let Some(ledger) = &mut self.ledger else { return true };
        let Some((start, end)) = ledger.old(self.sealed, before) else { return true };
        if end - start > room as u64 {
            return false;
        }
        ledger.given_again(before, generation, start);
        self.each_waiting(start, end, take);
        true
    }

    /// Takes the number of bytes that left for their file before the journal asked for them.
    pub fn take_skipped(&mut self) -> u64 {
        self.ledger.as_mut().map_or(0, |ledger| ledger.take_skipped())
    }

    /// Bytes that the journal has not been given; none where no journal is kept.
    pub fn unhanded_bytes(&self) -> u64 {
        self.ledger.as_ref().map_or(0, |ledger| self.plain_bytes().saturating_sub(ledger.handed()))
    }

    /// Plain bytes so far, those that wait included.
    pub fn plain_bytes(&self) -> u64 {
        self.sealed + self.waiting as u64
    }

    /// Waiting bytes by plain offset, page by page.
    fn each_waiting(&self, from: u64, to: u64, take: &mut dyn FnMut(u64, &[u8])) {
        let mut at = from.saturating_sub(self.sealed) as usize;
        let end = (to.saturating_sub(self.sealed) as usize).min(self.waiting);
        while at < end {
            let Some(page) = self.pages.get(at / PAGE_BYTES) else { return };
            let within = at % PAGE_BYTES;
            let count = (PAGE_BYTES - within).min(end - at);
            take(self.sealed + at as u64, &page.0[within..within + count]);
            at += count;
        }
    }

    fn seal_waiting(&mut self, last: bool, pool: &mut PagePool) -> SealedChunk {
        let mut bytes = Vec::with_capacity(self.waiting + TAG_BYTES);
        for page in &self.pages {
            let left = self.waiting - bytes.len();
            bytes.extend_from_slice(&page.0[..left.min(PAGE_BYTES)]);
        }
        pool.give_back(self.pages.drain(..));
        self.waiting = 0;
        self.seal(bytes, last)
    }

    fn seal(&mut self, mut bytes: Vec<u8>, last: bool) -> SealedChunk {
        if let Some(ledger) = &mut self.ledger {
            ledger.depart(self.sealed, &bytes);
        }
        self.sealed += bytes.len() as u64;
        self.payload.seal(&mut bytes, last);
        self.count(bytes)
    }

    fn count(&mut self, sealed: Vec<u8>) -> SealedChunk {
        self.hash.update(&sealed);
        self.bytes += sealed.len() as u64;
        SealedChunk::new(sealed)
    }
}

/// Says how far it is, never under which key.
impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sealer")
            .field("bytes", &self.bytes)
            .field("waiting", &self.waiting)
            .finish_non_exhaustive()
    }
}

/// Key and counter of one payload.
pub(in crate::seal) struct PayloadSealer {
    key: Secret,
    chunk: u64,
}

impl PayloadSealer {
    /// A payload's own key, and the nonce that stands before it.
    pub(in crate::seal) fn new(file_key: &FileKey, random: &mut dyn Randomness) -> (Self, [u8; NONCE_BYTES]) {
        let mut nonce = [0; NONCE_BYTES];
        random.fill(&mut nonce);
        (Self { key: file_key.payload_key(&nonce), chunk: 0 }, nonce)
    }

    /// Seals the next chunk in place. Nothing may follow the last one.
    pub(in crate::seal) fn seal(&mut self, bytes: &mut Vec<u8>, last: bool) {
        self.seal_from(bytes, 0, last);
    }

    /// The same, of what stands in `bytes` from `start` on.
    pub(in crate::seal) fn seal_from(&mut self, bytes: &mut Vec<u8>, start: usize, last: bool) {
        let chunk = &mut bytes[start..];
        debug_assert!(chunk.len() <= CHUNK_BYTES && (last || chunk.len() == CHUNK_BYTES));
        let nonce = chunk_nonce(self.chunk, last);
        let tag = keys::cipher(&self.key)
            .seal_in_place_separate_tag(nonce, aead::Aad::empty(), chunk)
            .expect("64 KiB are within ChaCha20-Poly1305's limit");
        bytes.extend_from_slice(tag.as_ref());
        self.chunk = self.chunk.checked_add(1).expect("2^64 chunks are more than any disk holds");
    }
}

/// Counter and last flag: a nonce that is used once under its key.
pub(in crate::seal) fn chunk_nonce(chunk: u64, last: bool) -> aead::Nonce {
    let mut nonce = [0; aead::NONCE_LEN];
    nonce[3..11].copy_from_slice(&chunk.to_be_bytes());
    nonce[11] = u8::from(last);
    aead::Nonce::assume_unique_for_key(nonce)
}

/// Zeroed when dropped.
struct Page(Box<[u8; PAGE_BYTES]>);

impl Page {
    /// A plain `fill`, because it runs for every byte that is sealed and a volatile write takes as long
    /// as sealing; the barrier keeps it from being left out.
    fn clear(&mut self) {
        self.0.fill(0);
        black_box(&self.0);
    }
}

impl Default for Page {
    fn default() -> Self {
        Self(Box::new([0; PAGE_BYTES]))
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        self.clear();
    }
}

/// A divisor of 64 KiB. Small, because half a page of each live call is empty.
const PAGE_BYTES: usize = 2048;
/// Spare pages kept however few are in use: four full chunks.
pub const SPARE_PAGES_MIN: usize = 4 * CHUNK_BYTES / PAGE_BYTES;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::identity::Identities;
    use crate::seal::identity::generate_x25519;
    use crate::seal::open::Opener;
    use crate::seal::random::Seeded;

    fn keys() -> (Identities, Recipients) {
        let (identity, recipient) = generate_x25519(&mut Seeded::new(&[1; 32], "test", 0));
        (Identities::parse(&identity).unwrap(), Recipients::parse([recipient]).unwrap())
    }

    fn seal(
        recipients: &Recipients,
        plain: &[u8],
        step: usize,
        pool: &mut PagePool,
    ) -> (Vec<u8>, SealedFile) {
        let (mut sealer, start) = Sealer::start(recipients, &mut Seeded::new(&[2; 32], "test", 0)).unwrap();
        let mut file = start.into_vec();
        let mut take = |chunk: SealedChunk| file.extend(chunk.into_vec());
        for part in plain.chunks(step) {
            sealer.write(part, pool, &mut take);
        }
        let sealed = sealer.finish(pool, &mut take);
        (file, sealed)
    }

    #[test]
    fn a_payload_has_so_many_plain_bytes_as_were_sealed() {
        let (_, recipients) = keys();
        for length in [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 2 * CHUNK_BYTES + 5] {
            let whole =
                seal_whole(&pattern(length), &recipients, &mut Seeded::new(&[2; 32], "test", 0)).unwrap();
            let header = header::Header::read(&mut &whole[..]).unwrap().to_bytes().len();
            assert_eq!(plain_bytes_of((whole.len() - header) as u64), Some(length as u64));
        }
        let full = NONCE_BYTES + CHUNK_BYTES + TAG_BYTES;
        for sealed in
            [0, NONCE_BYTES - 1, NONCE_BYTES, NONCE_BYTES + TAG_BYTES - 1, full + 5, full + TAG_BYTES]
        {
            assert_eq!(plain_bytes_of(sealed as u64), None, "{sealed}");
        }
    }

    fn pattern(length: usize) -> Vec<u8> {
        (0..length).map(|i| (i * 31 + i / 251) as u8).collect()
    }

    #[test]
    fn all_sizes_around_the_borders_come_back_however_they_are_written() {
        let (identities, recipients) = keys();
        let mut pool = PagePool::default();
        let border = |at: usize| [at - 1, at, at + 1];
        let mut sizes = vec![0, 1, 2];
        for at in [PAGE_BYTES, CHUNK_BYTES, CHUNK_BYTES + PAGE_BYTES, 2 * CHUNK_BYTES, 3 * CHUNK_BYTES] {
            sizes.extend(border(at));
        }
        for size in sizes {
            let plain = pattern(size);
            let (whole, facts) = seal(&recipients, &plain, usize::MAX, &mut pool);
            assert_eq!(facts.bytes, whole.len() as u64);
            assert_eq!(facts.sha256, digest::digest(&digest::SHA256, &whole).as_ref());
            assert_eq!(*Opener::open(&whole[..], &identities).unwrap().read_whole().unwrap(), plain);
            for step in [250, PAGE_BYTES, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1] {
                assert_eq!(seal(&recipients, &plain, step, &mut pool).0, whole, "{size} in steps of {step}");
            }
        }
        assert_eq!(pool.pages_in_use(), 0);
    }

    #[test]
    fn pages_are_recycled_zeroed_and_freed() {
        let (_, recipients) = keys();
        let mut pool = PagePool::default();
        let mut random = Seeded::new(&[2; 32], "test", 0);
        let mut sealers: Vec<_> =
            (0..20).map(|_| Sealer::start(&recipients, &mut random).unwrap().0).collect();
        for sealer in &mut sealers {
            sealer.write(&[0xaa; CHUNK_BYTES], &mut pool, &mut |_| panic!("nothing is full"));
            assert_eq!(sealer.waiting_bytes(), CHUNK_BYTES);
        }
        assert_eq!(pool.pages_in_use(), 20 * CHUNK_BYTES / PAGE_BYTES);
        for sealer in sealers.drain(1..) {
            sealer.finish(&mut pool, &mut |_| ());
        }
        assert_eq!(pool.pages_in_use(), CHUNK_BYTES / PAGE_BYTES);
        assert!(pool.pages_spare() <= 20 * CHUNK_BYTES / PAGE_BYTES / 2 + 1, "{pool:?}");
        assert!(pool.spare.iter().all(|page| page.0.iter().all(|byte| *byte == 0)));
    }

    /// What a journal was given, put together by offset, is the file from where it began, whenever it asks.
    #[test]
    fn a_journal_is_given_every_byte_in_time() {
        let (_, recipients) = keys();
        let mut random = Seeded::new(&[9; 32], "steps", 0);
        let mut chance = |below: usize| {
            let mut bytes = [0; 8];
            random.fill(&mut bytes);
            (u64::from_le_bytes(bytes) % below as u64) as usize
        };
        for round in 0..40 {
            let plain = pattern(5 * CHUNK_BYTES);
            let mut pool = PagePool::default();
            let (mut sealer, _) =
                Sealer::start(&recipients, &mut Seeded::new(&[2; 32], "test", round)).unwrap();
            let unseen = chance(CHUNK_BYTES);
            sealer.write(&plain[..unseen], &mut pool, &mut |_| ());
            sealer.keep_journal();
            let (mut at, mut given, mut generation) = (unseen, vec![false; plain.len()], 0);
            // By generation, what was given in it.
            let mut kept: Vec<(u64, u64, usize)> = Vec::new();
            while at < plain.len() {
                let step = (1 + chance(20_000)).min(plain.len() - at);
                sealer.write(&plain[at..at + step], &mut pool, &mut |_| ());
                at += step;
                generation += u64::from(chance(4) == 0);
                let mut take = |offset: u64, bytes: &[u8]| {
                    let from = offset as usize;
                    assert_eq!(bytes, &plain[from..from + bytes.len()]);
                    given[from..from + bytes.len()].fill(true);
                    kept.push((generation, offset, bytes.len()));
                };
                let before = generation.saturating_sub(1);
                let whole = sealer.hand_over_again(before, generation, usize::MAX, &mut take);
                assert!(whole && sealer.hand_over(generation, usize::MAX, &mut take));
                assert!(given[..at].iter().all(|given| *given), "round {round} at {at}");
                // What waits is in the generations that are not let go.
                let mut covered = vec![false; plain.len()];
                for (_, from, length) in kept.iter().filter(|(of, ..)| *of >= before) {
                    covered[*from as usize..*from as usize + length].fill(true);
                }
                let waiting = at - sealer.waiting_bytes()..at;
                assert!(covered[waiting].iter().all(|covered| *covered), "round {round} at {at}");
                assert_eq!((sealer.take_skipped(), sealer.unhanded_bytes()), (0, 0));
            }
        }
    }

    #[test]
    fn a_journal_that_does_not_ask_costs_a_chunk_at_most() {
        let (_, recipients) = keys();
        let (mut sealer, _) = Sealer::start(&recipients, &mut Seeded::new(&[2; 32], "test", 0)).unwrap();
        let mut pool = PagePool::default();
        sealer.keep_journal();
        let plain = pattern(10 * CHUNK_BYTES + 5);
        sealer.write(&plain, &mut pool, &mut |_| ());
        let mut got = Vec::new();
        let mut first = None;
        while !sealer.hand_over(1, 10_000, &mut |offset, bytes| {
            let from = *first.get_or_insert(offset);
            assert_eq!(offset, from + got.len() as u64);
            got.extend_from_slice(bytes);
        }) {}
        let from = first.unwrap() as usize;
        assert_eq!(from, 9 * CHUNK_BYTES);
        assert_eq!(got, plain[from..]);
        assert_eq!(sealer.take_skipped(), from as u64);
    }

    #[test]
    fn nothing_secret_prints() {
        let (_, recipients) = keys();
        let (mut sealer, _) = Sealer::start(&recipients, &mut Seeded::new(&[2; 32], "test", 0)).unwrap();
        sealer.write(b"secret", &mut PagePool::default(), &mut |_| ());
        let text = format!("{sealer:?}");
        assert!(text.contains("waiting: 6") && text.len() < 60, "{text}");
    }
}
