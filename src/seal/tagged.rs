//! Recipients that are keys in hardware: P-256, told by a tag (C2SP age, "p256tag recipient stanza").
//!
//! ```text
//! -> p256tag TAG ENC          4 bytes, to see whose it is without the key; 65 bytes, the sender's point
//! HPKE (RFC 9180): DHKEM(P-256, HKDF-SHA256), HKDF-SHA256, ChaCha20-Poly1305, base mode
//! ```
//!
//! Sealing is the library's. A key in hardware gives the product of two points and nothing else, so what follows
//! from it (RFC 9180 sections 4.1 and 5.1) is done here.

use age_core::format::Stanza;
use base64::Engine;
use base64::prelude::BASE64_STANDARD_NO_PAD;
use hpke::aead::ChaCha20Poly1305;
use hpke::kdf::HkdfSha256;
use hpke::kem::DhP256HkdfSha256;
use hpke::{Deserializable, Kem, OpModeS, Serializable};
use p256::elliptic_curve::sec1::ToSec1Point;
use ring::{aead, digest, hmac};
use zeroize::Zeroizing;

use crate::seal::header::decode_exact;
use crate::seal::keys::{FileKey, WRAPPED_KEY_BYTES};
use crate::seal::random::{RandCore, Randomness};
use crate::seal::wrap::{self, BadStanza};

/// A point of P-256, not at infinity: the public half of a key in hardware.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TaggedRecipient {
    compressed: [u8; 33],
    point: [u8; POINT_BYTES],
}

impl TaggedRecipient {
    /// From its 33 bytes.
    pub(crate) fn from_compressed(bytes: &[u8]) -> Option<Self> {
        (bytes.len() == 33).then(|| Self::from_sec1(bytes)).flatten()
    }

    /// From a point in any form of SEC 1 section 2.3.3.
    pub fn from_sec1(bytes: &[u8]) -> Option<Self> {
        let key = p256::PublicKey::from_sec1_bytes(bytes).ok()?;
        let compressed = key.to_sec1_point(true).as_bytes().try_into().ok()?;
        Some(Self { compressed, point: key.to_sec1_point(false).as_bytes().try_into().ok()? })
    }

    /// Its text: `age1tag1…`.
    pub fn to_text(&self) -> String {
        wrap::encode(TAGGED_RECIPIENT_HRP, &self.compressed)
    }

    pub(crate) fn wrap(&self, file_key: &FileKey, random: &mut dyn Randomness) -> Option<Stanza> {
        let key = <DhP256HkdfSha256 as Kem>::PublicKey::from_bytes(&self.point).ok()?;
        let (share, body) =
            hpke::single_shot_seal_with_rng::<ChaCha20Poly1305, HkdfSha256, DhP256HkdfSha256>(
                &OpModeS::Base,
                &key,
                INFO,
                file_key.expose(),
                b"",
                &mut RandCore(random),
            )
            .ok()?;
        let share: [u8; POINT_BYTES] = share.to_bytes()[..].try_into().ok()?;
        let args =
            vec![BASE64_STANDARD_NO_PAD.encode(self.tag_of(&share)), BASE64_STANDARD_NO_PAD.encode(share)];
        Some(Stanza { tag: TAG.into(), args, body })
    }

    /// The file key in a stanza, or `None` where it is for somebody else. `multiply` gives the x-coordinate of the
    /// sender's point (65 bytes) times the private key.
    pub(crate) fn unwrap(
        &self,
        stanza: &Stanza,
        multiply: impl FnOnce(&[u8; POINT_BYTES]) -> Option<Zeroizing<[u8; 32]>>,
    ) -> Result<Option<FileKey>, BadStanza> {
        if stanza.tag != TAG {
            return Ok(None);
        }
        let [tag, share] = &stanza.args[..] else { return Err(BadStanza) };
        let tag: [u8; TAG_BYTES] = decode_exact(tag.as_bytes()).ok_or(BadStanza)?;
        let share: [u8; POINT_BYTES] = decode_exact(share.as_bytes()).ok_or(BadStanza)?;
        let body: [u8; WRAPPED_KEY_BYTES] = stanza.body[..].try_into().map_err(|_| BadStanza)?;
        if tag != self.tag_of(&share) {
            return Ok(None);
        }
        // Hardware may not look whether the point is on the curve.
        p256::PublicKey::from_sec1_bytes(&share).map_err(|_| BadStanza)?;
        let Some(product) = multiply(&share) else { return Ok(None) };
        Ok(self.open(&share, &product, body))
    }

    fn tag_of(&self, share: &[u8; POINT_BYTES]) -> [u8; TAG_BYTES] {
        let own = digest::digest(&digest::SHA256, &self.compressed);
        let tag = hmac::sign(
            &hmac::Key::new(hmac::HMAC_SHA256, INFO),
            &[&share[..], &own.as_ref()[..TAG_BYTES]].concat(),
        );
        let mut first = [0; TAG_BYTES];
        first.copy_from_slice(&tag.as_ref()[..TAG_BYTES]);
        first
    }

    fn open(&self, share: &[u8], product: &[u8; 32], mut body: [u8; WRAPPED_KEY_BYTES]) -> Option<FileKey> {
        let context = [share, &self.point].concat();
        let prk = extract(KEM, b"", b"eae_prk", product);
        let shared = expand(KEM, &prk, b"shared_secret", &context, 32);
        let context =
            [&[0][..], &*extract(SUITE, b"", b"psk_id_hash", b""), &*extract(SUITE, b"", b"info_hash", INFO)]
                .concat();
        let secret = extract(SUITE, &*shared, b"secret", b"");
        let key =
            aead::UnboundKey::new(&aead::CHACHA20_POLY1305, &*expand(SUITE, &secret, b"key", &context, 32));
        let nonce = expand(SUITE, &secret, b"base_nonce", &context, 12);
        let nonce = aead::Nonce::try_assume_unique_for_key(&nonce[..12]).ok()?;
        let plain =
            aead::LessSafeKey::new(key.ok()?).open_in_place(nonce, aead::Aad::empty(), &mut body).ok()?;
        let key = <[u8; 16]>::try_from(&*plain).ok().map(FileKey::from_bytes);
        zeroize::Zeroize::zeroize(&mut body);
        key
    }
}

/// LabeledExtract of RFC 9180 section 4.
fn extract(suite: &[u8], salt: &[u8], label: &[u8], secret: &[u8]) -> Zeroizing<[u8; 32]> {
    let input = Zeroizing::new([b"HPKE-v1", suite, label, secret].concat());
    sign(salt, &input)
}

/// LabeledExpand of RFC 9180 section 4, to at most one block of SHA-256: `length` counts, the rest is not used.
fn expand(suite: &[u8], prk: &[u8; 32], label: &[u8], info: &[u8], length: u16) -> Zeroizing<[u8; 32]> {
    let input = [&length.to_be_bytes()[..], b"HPKE-v1", suite, label, info, &[1]].concat();
    sign(prk, &input)
}

fn sign(key: &[u8], message: &[u8]) -> Zeroizing<[u8; 32]> {
    let mut out = Zeroizing::new([0; 32]);
    out.copy_from_slice(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message).as_ref());
    out
}

pub(crate) const TAGGED_RECIPIENT_HRP: &str = "age1tag";
const TAG: &str = "p256tag";
const INFO: &[u8] = b"age-encryption.org/p256tag";
/// KEM, then also KDF and AEAD, by their numbers (RFC 9180 section 7).
const KEM: &[u8] = b"KEM\x00\x10";
const SUITE: &[u8] = b"HPKE\x00\x10\x00\x01\x00\x03";
const TAG_BYTES: usize = 4;
pub(crate) const POINT_BYTES: usize = 65;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::random::Seeded;

    fn copy(stanza: &Stanza) -> Stanza {
        Stanza { tag: stanza.tag.clone(), args: stanza.args.clone(), body: stanza.body.clone() }
    }

    /// What the library seals, we open with nothing but the product of two points.
    #[test]
    fn what_the_library_seals_opens_with_the_product_of_two_points() {
        for seed in 0..20 {
            let mut random = Seeded::new(&[seed; 32], "tagged", 0);
            let mut scalar = [0; 32];
            random.fill(&mut scalar);
            let secret = p256::SecretKey::from_slice(&scalar).unwrap();
            let multiply = |secret: &p256::SecretKey, share: &[u8; POINT_BYTES]| {
                let share = p256::PublicKey::from_sec1_bytes(share).unwrap();
                let product = p256::ecdh::diffie_hellman(secret.to_nonzero_scalar(), share.as_affine());
                Some(Zeroizing::new((*product.raw_secret_bytes()).into()))
            };
            let point = secret.public_key().to_sec1_point(false);
            let recipient = TaggedRecipient::from_sec1(point.as_bytes()).unwrap();
            let file_key = FileKey::generate(&mut random);
            let stanza = recipient.wrap(&file_key, &mut random).unwrap();
            let unwrapped = recipient.unwrap(&stanza, |share| multiply(&secret, share)).unwrap();
            assert_eq!(unwrapped.unwrap().expose(), file_key.expose());
            // Another's: told by the tag, without a key.
            scalar[0] ^= 1;
            let other = p256::SecretKey::from_slice(&scalar).unwrap().public_key().to_sec1_point(true);
            let other = TaggedRecipient::from_sec1(other.as_bytes()).unwrap();
            assert!(other.unwrap(&stanza, |_| panic!("not asked")).unwrap().is_none());
            // Malformed, or not on the curve.
            let mut wrong = copy(&stanza);
            wrong.args.pop();
            assert!(recipient.unwrap(&wrong, |_| None).is_err());
            let mut wrong = copy(&stanza);
            let mut share: [u8; POINT_BYTES] = decode_exact(wrong.args[1].as_bytes()).unwrap();
            share[64] ^= 1;
            wrong.args = vec![
                BASE64_STANDARD_NO_PAD.encode(recipient.tag_of(&share)),
                BASE64_STANDARD_NO_PAD.encode(share),
            ];
            assert!(recipient.unwrap(&wrong, |_| panic!("not asked")).is_err());
            let mut wrong = stanza;
            wrong.body[0] ^= 1;
            let unwrapped = recipient.unwrap(&wrong, |share| multiply(&secret, share)).unwrap();
            assert!(unwrapped.is_none());
        }
    }

    /// As rage and age 1.3 write it.
    #[test]
    fn a_recipient_is_written_as_others_write_it() {
        let text = "age1tag1qt8lw0ual6avlwmwatk888yqnmdamm7xfd0wak53ut6elz5c4swx2yqdj4e";
        let (_, bytes) = wrap::decode(text).unwrap();
        assert_eq!(TaggedRecipient::from_compressed(&bytes).unwrap().to_text(), text);
        assert!(TaggedRecipient::from_compressed(&bytes[1..]).is_none());
    }
}
