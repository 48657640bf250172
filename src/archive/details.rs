//! Who spoke, for the catalog: sealed under the recording's envelope, so that it is erased with it.

use ring::aead;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::archive::envelope::Envelope;
use crate::seal::keys;
use crate::seal::random::Randomness;

/// What the catalog knows of a recording besides what everybody may know. Does not print.
#[derive(Clone, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct Details {
    /// User part of From in the first INVITE.
    pub caller: String,
    /// User part of To.
    pub callee: String,
    /// Others who came to it: by transfer, or in a conference.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<String>,
    /// URI of From.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub from: String,
    /// URI of To.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub to: String,
    /// Call-IDs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub call_ids: Vec<String>,
    /// Trunk the call came over.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub trunk: String,
    /// Who of the call centre's people spoke.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub agents: Vec<String>,
    /// What was put on it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
}

/// Details are not those that were sealed, or not this recording's.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("what the catalog knows of the parties does not open")]
pub struct DetailsError;

impl Details {
    /// All who spoke.
    pub fn parties(&self) -> impl Iterator<Item = &str> {
        [&self.caller, &self.callee].into_iter().chain(&self.others).map(String::as_str)
    }

    /// Seals them: a nonce, then ChaCha20-Poly1305 of JSON with blanks at its end, so that a length says little.
    pub fn seal(&self, envelope: &Envelope, random: &mut dyn Randomness) -> Vec<u8> {
        let mut nonce = [0; aead::NONCE_LEN];
        random.fill(&mut nonce);
        let mut sealed = serde_json::to_vec(self).expect("details are texts and lists of texts");
        sealed.resize(sealed.len().next_multiple_of(PADDED_TO), b' ');
        let nonce_used = aead::Nonce::assume_unique_for_key(nonce);
        keys::cipher(&envelope.derive(PURPOSE))
            .seal_in_place_append_tag(nonce_used, aead::Aad::from(envelope.id().as_bytes()), &mut sealed)
            .expect("details are within ChaCha20-Poly1305's limit");
        [&nonce[..], &sealed].concat()
    }

    /// Opens what [`Details::seal`] sealed.
    pub fn open(sealed: &[u8], envelope: &Envelope) -> Result<Self, DetailsError> {
        let (nonce, sealed) = sealed.split_first_chunk().ok_or(DetailsError)?;
        let mut plain = Zeroizing::new(sealed.to_vec());
        let plain = keys::cipher(&envelope.derive(PURPOSE))
            .open_in_place(
                aead::Nonce::assume_unique_for_key(*nonce),
                aead::Aad::from(envelope.id().as_bytes()),
                &mut plain,
            )
            .map_err(|_| DetailsError)?;
        serde_json::from_slice(plain).map_err(|_| DetailsError)
    }
}

impl std::fmt::Debug for Details {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Details(..)")
    }
}

const PURPOSE: &str = "catalog details";
const PADDED_TO: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::record::RecordingId;
    use crate::seal::random::Seeded;

    #[test]
    fn they_open_with_their_envelope_alone() {
        let mut random = Seeded::new(&[5; 32], "details", 0);
        let envelope = Envelope::generate(RecordingId::from_bytes([1; 16]), &mut random);
        let other = Envelope::generate(RecordingId::from_bytes([1; 16]), &mut random);
        let details =
            Details { caller: "+48221234567".into(), tags: vec!["vip".into()], ..Details::default() };
        let sealed = details.seal(&envelope, &mut random);
        assert_eq!((sealed.len() - 12 - 16) % PADDED_TO, 0);
        assert!(Details::open(&sealed, &envelope).unwrap() == details);
        assert_eq!(Details::open(&sealed, &other).unwrap_err(), DetailsError);
        for at in [0, 12, sealed.len() - 1] {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(Details::open(&changed, &envelope).is_err(), "{at}");
        }
        assert!(Details::open(&sealed[..11], &envelope).is_err());
        // Never twice the same, so that the same parties do not look the same.
        assert_ne!(sealed, details.seal(&envelope, &mut random));
        assert_eq!(format!("{details:?}"), "Details(..)");
    }
}
