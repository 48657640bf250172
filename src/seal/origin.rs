//! The header that a file was made with, kept within the one that has replaced it.
//!
//! ```text
//! as recorded:  header {X25519 to the epoch …}                + payload     SHA-256 of both: what the receipt has
//! later:        header {sejf-envelope …} {sejf-origin MARK}   + the same payload
//!                                          └ the first header, under a key derived from the file key
//! ```
//!
//! It is sealed under the file key, so it is of no use to anybody who has not opened the file already: who holds the
//! key that the file was made for, and not the one that it is under now, gets nothing from it. Whoever re-wraps the
//! file key takes the stanza over as it is. Programs that do not know it pass it over (C2SP age, "Recipient stanza").

use age_core::format::Stanza;
use base64::Engine;
use base64::prelude::BASE64_STANDARD_NO_PAD;
use ring::aead;

use crate::seal::header::{self, Header};
use crate::seal::keys::{self, FileKey, Secret};

/// The header in it is not one that this file can have been made with.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("what the header keeps of the one that the file was made with is damaged")]
pub struct OriginError;

/// The stanza that keeps `header`; nothing where that is longer than [`ORIGIN_BYTES_MAX`].
pub fn stanza(header: &Header, file_key: &FileKey) -> Option<Stanza> {
    let mut body = header.to_bytes();
    if body.len() > ORIGIN_BYTES_MAX {
        return None;
    }
    // One key for each header that a file could ever have had, so that the nonce is used once.
    let mark = mark_of(&body);
    keys::cipher(&key(file_key, &mark))
        .seal_in_place_append_tag(aead::Nonce::assume_unique_for_key([0; 12]), aead::Aad::empty(), &mut body)
        .expect("a header is within ChaCha20-Poly1305's limit");
    Some(Stanza { tag: TAG.into(), args: vec![BASE64_STANDARD_NO_PAD.encode(mark)], body })
}

/// The stanza of a header that keeps another, where it has one: to be taken over.
pub fn kept(header: &Header) -> Option<Stanza> {
    let Stanza { tag, args, body } = header.stanzas.iter().find(|stanza| stanza.tag == TAG)?;
    Some(Stanza { tag: tag.clone(), args: args.clone(), body: body.clone() })
}

/// The header that a file was made with, as it stood there; nothing where it is not kept.
pub fn open(header: &Header, file_key: &FileKey) -> Result<Option<Vec<u8>>, OriginError> {
    let Some(stanza) = kept(header) else { return Ok(None) };
    let [mark] = &stanza.args[..] else { return Err(OriginError) };
    let mark: [u8; MARK_BYTES] = header::decode_exact(mark.as_bytes()).ok_or(OriginError)?;
    let mut body = stanza.body;
    let nonce = aead::Nonce::assume_unique_for_key([0; 12]);
    let opened = keys::cipher(&key(file_key, &mark)).open_in_place(nonce, aead::Aad::empty(), &mut body);
    let original = opened.map_err(|_| OriginError)?.to_vec();
    let is_whole = Header::read(&mut &original[..])
        .is_ok_and(|header| header.verify(file_key) && header.to_bytes() == original);
    if is_whole && mark_of(&original) == mark { Ok(Some(original)) } else { Err(OriginError) }
}

fn key(file_key: &FileKey, mark: &[u8; MARK_BYTES]) -> Secret {
    keys::derive(mark, TAG.as_bytes(), file_key.expose())
}

fn mark_of(header: &[u8]) -> [u8; MARK_BYTES] {
    let hash = ring::digest::digest(&ring::digest::SHA256, header);
    let mut mark = [0; MARK_BYTES];
    mark.copy_from_slice(&hash.as_ref()[..MARK_BYTES]);
    mark
}

/// The stanza's type.
pub const TAG: &str = "sejf-origin";
/// Of a longer header nothing is kept: headers of archived files stay short.
pub const ORIGIN_BYTES_MAX: usize = 32 << 10;
const MARK_BYTES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> FileKey {
        FileKey::from_bytes([byte; 16])
    }

    fn made(bytes: usize) -> Header {
        let stanza = Stanza { tag: "X25519".into(), args: vec!["share".into()], body: vec![7; bytes] };
        Header::read(&mut &header::write(&[stanza], &key(1))[..]).unwrap()
    }

    fn later(stanzas: &[Stanza]) -> Header {
        Header::read(&mut &header::write(stanzas, &key(1))[..]).unwrap()
    }

    #[test]
    fn the_first_header_comes_back_with_the_file_key_alone() {
        let first = made(32);
        let kept_in = || stanza(&first, &key(1)).unwrap();
        let header = later(&[kept_in()]);
        assert_eq!(open(&header, &key(1)), Ok(Some(first.to_bytes())));
        assert_eq!(open(&header, &key(2)), Err(OriginError));
        assert_eq!(open(&first, &key(1)), Ok(None));
        // The same whenever it is made again, and nothing of it in the open.
        assert_eq!(kept(&header).unwrap(), kept_in());
        let text = header.to_bytes();
        assert!(!text.windows(5).any(|window| window == b"share"));
    }

    #[test]
    fn another_header_is_not_taken_for_the_first() {
        let good = || stanza(&made(32), &key(1)).unwrap();
        let mut flipped = good();
        flipped.body[3] ^= 1;
        let others = [
            Stanza { args: Vec::new(), ..good() },
            Stanza { args: vec!["AAAA".into()], ..good() },
            Stanza { args: stanza(&made(33), &key(1)).unwrap().args, ..good() },
            Stanza { body: Vec::new(), ..good() },
            // A header whose MAC is another file's.
            stanza(&Header::read(&mut &header::write(&[good()], &key(2))[..]).unwrap(), &key(1)).unwrap(),
            flipped,
        ];
        for other in others {
            let header = later(&[other]);
            assert_eq!(open(&header, &key(1)), Err(OriginError), "{header:?}");
        }
        assert!(stanza(&made(ORIGIN_BYTES_MAX), &key(1)).is_none());
    }
}
