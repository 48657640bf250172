//! Many payloads under one header: what a journal segment is made of.
//!
//! A segment begins with an age header, and each batch is one age payload (nonce and chunks, the last
//! one short) under the segment's file key. A batch opens with nothing but the segment's header and a
//! key, so a torn tail costs the batch it tore and no other.

use zeroize::Zeroizing;

use crate::base::limits::CHUNK_BYTES;
use crate::seal::header;
use crate::seal::header::Header;
use crate::seal::identity::Identities;
use crate::seal::keys::FileKey;
use crate::seal::keys::NONCE_BYTES;
use crate::seal::keys::TAG_BYTES;
use crate::seal::open::OpenError;
use crate::seal::open::PayloadOpener;
use crate::seal::random::Randomness;
use crate::seal::recipient::Recipients;
use crate::seal::stream::PayloadSealer;
use crate::seal::stream::SealError;
use crate::seal::stream::SealedChunk;

/// Seals the batches of one segment. Holds the segment's file key for as long as it lives.
#[derive(Debug)]
pub struct BatchSealer(FileKey);

impl BatchSealer {
    /// Begins a segment under a key of its own. Returns its header.
    pub fn start(
        recipients: &Recipients,
        random: &mut dyn Randomness,
    ) -> Result<(Self, SealedChunk), SealError> {
        let file_key = FileKey::generate(random);
        let header = header::write(&recipients.wrap(&file_key, random)?, &file_key);
        Ok((Self(file_key), SealedChunk::new(header)))
    }

    /// Seals one batch, under a nonce of its own. `spare` is memory that is no longer needed.
    pub fn seal(&self, plain: &[u8], random: &mut dyn Randomness, spare: Vec<u8>) -> SealedChunk {
        let (mut payload, nonce) = PayloadSealer::new(&self.0, random);
        let chunks = plain.len().div_ceil(CHUNK_BYTES).max(1);
        let mut out = spare;
        out.clear();
        out.reserve(NONCE_BYTES + plain.len() + chunks * TAG_BYTES);
        out.extend_from_slice(&nonce);
        let mut rest = plain;
        for number in 1..=chunks {
            let (now, later) = rest.split_at(rest.len().min(CHUNK_BYTES));
            let start = out.len();
            out.extend_from_slice(now);
            payload.seal_from(&mut out, start, number == chunks);
            rest = later;
        }
        SealedChunk::new(out)
    }
}

/// Opens the batches of one segment.
#[derive(Debug)]
pub struct BatchOpener(FileKey);

impl BatchOpener {
    /// Finds the key that opens the segment which begins with `header`.
    pub fn open(header: &[u8], identities: &Identities) -> Result<Self, OpenError> {
        let header = Header::read(&mut &header[..])?;
        let file_key = identities.unwrap(&header.stanzas).map_err(OpenError::Unwrap)?;
        if header.verify(&file_key) { Ok(Self(file_key)) } else { Err(OpenError::HeaderChanged) }
    }

    /// Opens one whole batch.
    pub fn batch(&self, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let (nonce, mut rest) = sealed.split_first_chunk().ok_or(OpenError::Cut { chunk: 0 })?;
        let mut payload = PayloadOpener::new(self.0.payload_key(nonce));
        let mut all = Zeroizing::new(Vec::with_capacity(rest.len()));
        let mut plain = Zeroizing::new(Vec::new());
        while !payload.ended()? {
            let (now, later) = rest.split_at(rest.len().min(CHUNK_BYTES + TAG_BYTES));
            payload.open(now, !later.is_empty(), &mut plain)?;
            all.extend_from_slice(&plain);
            rest = later;
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::identity::generate_x25519;
    use crate::seal::random::Seeded;

    #[test]
    fn batches_come_back_and_cuts_do_not() {
        let mut random = Seeded::new(&[1; 32], "test", 0);
        let (identity, recipient) = generate_x25519(&mut random);
        let recipients = Recipients::parse([recipient]).unwrap();
        let identities = Identities::parse(&identity).unwrap();
        let (sealer, header) = BatchSealer::start(&recipients, &mut random).unwrap();
        let opener = BatchOpener::open(header.as_bytes(), &identities).unwrap();
        for size in [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES] {
            let plain: Vec<u8> = (0..size).map(|i| (i / 7) as u8).collect();
            let sealed = sealer.seal(&plain, &mut random, Vec::new());
            assert_eq!(*opener.batch(sealed.as_bytes()).unwrap(), plain, "{size}");
            for cut in [0, 10, 17, sealed.len() / 2, sealed.len() - 1] {
                if cut < sealed.len() {
                    assert!(opener.batch(&sealed.as_bytes()[..cut]).is_err(), "{size} cut to {cut}");
                }
            }
            let mut longer = sealed.into_vec();
            longer.push(0);
            assert!(opener.batch(&longer).is_err(), "{size} with a byte more");
        }
    }
}
