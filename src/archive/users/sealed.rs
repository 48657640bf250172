//! Users as bytes: sealed, so that nobody reads hashes of passwords, and an edit does not open.

use ring::aead;
use zeroize::Zeroizing;

use crate::archive::users::Users;
use crate::seal::keys;
use crate::seal::note::Signer;
use crate::seal::random::Randomness;

/// What was sealed does not open.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("it was changed, or is another vault's")]
pub struct SealedError;

impl Users {
    /// A nonce, then ChaCha20-Poly1305 of JSON, under a key of the vault's signer: whoever has that may write the log
    /// as well.
    pub fn seal(&self, signer: &Signer, random: &mut dyn Randomness) -> Vec<u8> {
        let mut nonce = [0; aead::NONCE_LEN];
        random.fill(&mut nonce);
        let mut sealed = serde_json::to_vec(self).expect("keys of maps are names and numbers");
        keys::cipher(&key(signer))
            .seal_in_place_append_tag(aead::Nonce::assume_unique_for_key(nonce), aad(), &mut sealed)
            .expect("users are within ChaCha20-Poly1305's limit");
        [&nonce[..], &sealed].concat()
    }

    /// Opens what [`Users::seal`] sealed.
    pub fn open(sealed: &[u8], signer: &Signer) -> Result<Self, SealedError> {
        let (nonce, sealed) = sealed.split_first_chunk().ok_or(SealedError)?;
        let mut plain = Zeroizing::new(sealed.to_vec());
        let plain = keys::cipher(&key(signer))
            .open_in_place(aead::Nonce::assume_unique_for_key(*nonce), aad(), &mut plain)
            .map_err(|_| SealedError)?;
        serde_json::from_slice(plain).map_err(|_| SealedError)
    }
}

fn key(signer: &Signer) -> keys::Secret {
    keys::derive(b"", PURPOSE, signer.to_text().as_bytes())
}

fn aad() -> aead::Aad<&'static [u8]> {
    aead::Aad::from(PURPOSE)
}

const PURPOSE: &[u8] = b"sejf users of a vault, 1";
