//! Opens parts of a sealed file, in any order: what a player asks for who jumps ahead.
//!
//! A payload is chunks of 64 KiB, each sealed by itself with its number and whether it is the last (C2SP age), so a part
//! is as sure as the whole: a chunk that was changed, moved or is not the last one where the file ends does not open.

use std::ops::Range;

use ring::aead;
use zeroize::Zeroizing;

use crate::base::limits::CHUNK_BYTES;
use crate::seal::header::Header;
use crate::seal::identity::Identities;
use crate::seal::keys::{self, NONCE_BYTES, Secret, TAG_BYTES};
use crate::seal::open::OpenError;
use crate::seal::stream::{chunk_nonce, plain_bytes_of};

/// Key and lengths of one payload.
pub struct PartOpener {
    key: Secret,
    plain_bytes: u64,
    chunks: u64,
    body_bytes: u64,
}

impl PartOpener {
    /// Finds the key that fits, and checks the header's MAC. `nonce` is what the body begins with, and `body_bytes` how
    /// long it is with it.
    pub fn open(
        header: &[u8],
        nonce: &[u8; NONCE_BYTES],
        body_bytes: u64,
        identities: &Identities,
    ) -> Result<Self, OpenError> {
        let header = Header::read(&mut &header[..]).map_err(OpenError::from)?;
        let file_key = identities.unwrap(&header.stanzas).map_err(OpenError::Unwrap)?;
        if !header.verify(&file_key) {
            return Err(OpenError::HeaderChanged);
        }
        let chunks = body_bytes.saturating_sub(NONCE_BYTES as u64).div_ceil(SEALED_BYTES).max(1);
        let plain_bytes = plain_bytes_of(body_bytes).ok_or(OpenError::Cut { chunk: chunks - 1 })?;
        Ok(Self { key: file_key.payload_key(nonce), plain_bytes, chunks, body_bytes })
    }

    /// How long the plain file is.
    pub fn plain_bytes(&self) -> u64 {
        self.plain_bytes
    }

    /// The chunk that a plain byte is in.
    pub fn chunk_at(&self, place: u64) -> u64 {
        place / CHUNK_BYTES as u64
    }

    /// Where in the body a chunk is; nothing beyond the last.
    pub fn place_of(&self, chunk: u64) -> Option<Range<u64>> {
        let start = NONCE_BYTES as u64 + chunk.checked_mul(SEALED_BYTES)?;
        (chunk < self.chunks).then(|| start..self.body_bytes.min(start + SEALED_BYTES))
    }

    /// Opens a chunk from its place in the body.
    pub fn chunk(&self, chunk: u64, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let place = self.place_of(chunk).ok_or(OpenError::Cut { chunk })?;
        if sealed.len() as u64 != place.end - place.start {
            return Err(OpenError::Cut { chunk });
        }
        let mut plain = Zeroizing::new(sealed.to_vec());
        let nonce = chunk_nonce(chunk, chunk + 1 == self.chunks);
        let opened = keys::cipher(&self.key).open_in_place(nonce, aead::Aad::empty(), &mut plain);
        let length = opened.map_err(|_| OpenError::Changed { chunk })?.len();
        plain.truncate(length);
        Ok(plain)
    }
}

/// Says how long it is, never under which key.
impl std::fmt::Debug for PartOpener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PartOpener").field("plain_bytes", &self.plain_bytes).finish_non_exhaustive()
    }
}

const SEALED_BYTES: u64 = (CHUNK_BYTES + TAG_BYTES) as u64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::identity::generate_x25519;
    use crate::seal::random::Seeded;
    use crate::seal::recipient::Recipients;
    use crate::seal::stream::seal_whole;

    fn sealed(bytes: usize) -> (Vec<u8>, Vec<u8>, Vec<u8>, Identities) {
        let mut random = Seeded::new(&[1; 32], "part", 0);
        let (identity, recipient) = generate_x25519(&mut random);
        let plain: Vec<u8> = (0..bytes).map(|at| (at % 251) as u8).collect();
        let whole = seal_whole(&plain, &Recipients::parse([&recipient]).unwrap(), &mut random).unwrap();
        let header = Header::read(&mut &whole[..]).unwrap().to_bytes().len();
        let (header, body) = whole.split_at(header);
        (plain, header.to_vec(), body.to_vec(), Identities::parse(&identity).unwrap())
    }

    fn open(header: &[u8], body: &[u8], identities: &Identities) -> Result<PartOpener, OpenError> {
        let nonce = body.first_chunk().copied().unwrap_or_default();
        PartOpener::open(header, &nonce, body.len() as u64, identities)
    }

    fn read(opener: &PartOpener, body: &[u8], chunk: u64) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let place = opener.place_of(chunk).ok_or(OpenError::Cut { chunk })?;
        opener.chunk(chunk, body.get(place.start as usize..place.end as usize).unwrap_or_default())
    }

    #[test]
    fn each_part_is_what_the_whole_has_there() {
        for bytes in
            [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES, 3 * CHUNK_BYTES + 77]
        {
            let (plain, header, body, identities) = sealed(bytes);
            let opener = open(&header, &body, &identities).unwrap();
            assert_eq!(opener.plain_bytes(), bytes as u64);
            let chunks = bytes.div_ceil(CHUNK_BYTES).max(1) as u64;
            for chunk in (0..chunks).rev() {
                let from = chunk as usize * CHUNK_BYTES;
                let part = read(&opener, &body, chunk).unwrap();
                assert_eq!(part[..], plain[from..bytes.min(from + CHUNK_BYTES)]);
                assert!(part.is_empty() || opener.chunk_at(from as u64 + part.len() as u64 - 1) == chunk);
            }
            assert!(opener.place_of(chunks).is_none() && opener.place_of(u64::MAX).is_none());
        }
    }

    #[test]
    fn what_was_changed_moved_or_cut_does_not_open() {
        let (_, header, body, identities) = sealed(3 * CHUNK_BYTES);
        for place in [NONCE_BYTES, body.len() - 1] {
            let mut changed = body.clone();
            changed[place] ^= 1;
            let opener = open(&header, &changed, &identities).unwrap();
            let chunk = (place as u64 - NONCE_BYTES as u64) / SEALED_BYTES;
            assert!(matches!(read(&opener, &changed, chunk), Err(OpenError::Changed { .. })));
        }
        let opener = open(&header, &body, &identities).unwrap();
        let place = opener.place_of(1).unwrap();
        let second = &body[place.start as usize..place.end as usize];
        assert!(opener.chunk(0, second).is_err() && opener.chunk(2, second).is_err());
        assert!(opener.chunk(1, &second[1..]).is_err());
        // Cut after a whole chunk, it does not end there.
        let cut = &body[..place.end as usize];
        let shorter = open(&header, cut, &identities).unwrap();
        assert!(read(&shorter, cut, 0).is_ok() && read(&shorter, cut, 1).is_err());
        for bytes in [0, NONCE_BYTES, NONCE_BYTES + TAG_BYTES - 1, place.end as usize + TAG_BYTES] {
            assert!(open(&header, &body[..bytes], &identities).is_err(), "{bytes}");
        }
        let mut other = header.clone();
        let end = other.len() - 5;
        other[end] = if other[end] == b'A' { b'B' } else { b'A' };
        assert!(open(&other, &body, &identities).is_err());
        assert!(open(&header, &body, &Identities::default()).is_err());
    }
}
