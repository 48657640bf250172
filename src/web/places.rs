//! Where a list goes on, for who may not see all of what was looked through: sealed, for the place is that of a
//! recording which may be another's. The key is of this process.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

use crate::archive::record::RecordingId;
use crate::archive::search::Cursor;
use crate::base::time::Stamp;
use crate::seal::random::Randomness;
use crate::web::problem::Problem;
use crate::web::shared::random;

/// What seals places, and opens them.
pub(super) struct Places(LessSafeKey);

impl Places {
    pub(super) fn new(random: &mut dyn Randomness) -> Self {
        let mut key = zeroize::Zeroizing::new([0; 32]);
        random.fill(&mut *key);
        let key = UnboundKey::new(&CHACHA20_POLY1305, &*key);
        Self(LessSafeKey::new(key.expect("32 bytes are the length of a ChaCha20-Poly1305 key")))
    }

    /// A place as its user may have it.
    pub(super) fn seal(&self, user: &str, place: &Cursor) -> Result<String, Problem> {
        let mut nonce = [0; NONCE_LEN];
        random()?.fill(&mut nonce);
        let mut bytes = place.start.as_unix_nanos().to_be_bytes().to_vec();
        bytes.extend(place.id.as_bytes());
        let sealed = self.0.seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(user.as_bytes()),
            &mut bytes,
        );
        sealed.map_err(|fault| Problem::fault("sealing where the list goes on", &fault))?;
        Ok(URL_SAFE_NO_PAD.encode([&nonce[..], &bytes].concat()))
    }

    /// The place that a user shows; nothing where it is none that they had from us.
    pub(super) fn open(&self, user: &str, shown: &str) -> Option<Cursor> {
        let mut bytes = URL_SAFE_NO_PAD.decode(shown).ok()?;
        let (nonce, sealed) = bytes.split_first_chunk_mut::<NONCE_LEN>()?;
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let place = self.0.open_in_place(nonce, Aad::from(user.as_bytes()), sealed).ok()?;
        let (start, id) = place.split_first_chunk::<8>()?;
        let start = Stamp::from_unix_nanos(u64::from_be_bytes(*start));
        Some(Cursor { start, id: RecordingId::from_bytes(*id.first_chunk()?) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::random::Seeded;

    #[test]
    fn a_place_is_its_users_alone_and_of_this_process() {
        let of = |seed| Places::new(&mut Seeded::new(&[seed; 32], "places", 0));
        let (places, other) = (of(1), of(2));
        let id = RecordingId::from_bytes([7; 16]);
        let place = Cursor { start: Stamp::from_unix_nanos(5), id };
        let sealed = places.seal("rita", &place).unwrap();
        assert_eq!(places.open("rita", &sealed), Some(place));
        assert_eq!(places.open("ola", &sealed), None);
        assert_eq!(other.open("rita", &sealed), None);
        for wrong in ["", "AAAA", &sealed[1..], &format!("{sealed}AAAA"), &place.to_string()] {
            assert_eq!(places.open("rita", wrong), None, "{wrong}");
        }
        assert_ne!(places.seal("rita", &place).unwrap(), sealed, "never twice the same");
    }
}
