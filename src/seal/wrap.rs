//! The two recipient types that we write ourselves, so that every random byte is an argument:
//! X25519 and the post-quantum hybrid (C2SP age, "Native recipient types").

use std::sync::Arc;

use age_core::format::Stanza;
use base64::Engine;
use base64::prelude::BASE64_STANDARD_NO_PAD;
use bech32::FromBase32;
use bech32::ToBase32;
use curve25519_dalek::edwards::EdwardsBasepointTable;
use curve25519_dalek::montgomery::MontgomeryPoint;
use curve25519_dalek::traits::BasepointTable;
use hpke::Deserializable;
use hpke::Kem;
use hpke::OpModeR;
use hpke::OpModeS;
use hpke::Serializable;
use hpke::aead::ChaCha20Poly1305;
use hpke::kdf::HkdfSha256;
use hpke::kem::XWing;
use x25519_dalek::PublicKey;
use x25519_dalek::StaticSecret;
use zeroize::Zeroize;
use zeroize::Zeroizing;

use crate::seal::header::decode_exact;
use crate::seal::keys;
use crate::seal::keys::FileKey;
use crate::seal::random::RandCore;
use crate::seal::random::Randomness;

/// A stanza of our type that breaks its rules: the file is malformed, whatever key is tried.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct BadStanza;

/// Public half of an X25519 key. Not a low-order point.
///
/// A recorder multiplies the same point twice for every call, so its multiples are computed once: a
/// third of the time of the Montgomery ladder, with the same result.
#[derive(Clone)]
pub(crate) struct X25519Recipient {
    public: PublicKey,
    /// None where the point is on the curve's twist, which RFC 7748 allows and the table cannot have.
    multiples: Option<Arc<EdwardsBasepointTable>>,
}

impl X25519Recipient {
    /// Checks that the point is not one of those that make every shared secret zero.
    pub(crate) fn new(bytes: [u8; 32]) -> Option<Self> {
        if is_low_order(&bytes) {
            return None;
        }
        // Either sign will do: the shared secret is a u-coordinate, which both have in common.
        let point = MontgomeryPoint(bytes).to_edwards(0);
        let multiples = point.map(|point| Arc::new(EdwardsBasepointTable::create(&point)));
        Some(Self { public: PublicKey::from(bytes), multiples })
    }

    fn shared(&self, secret: &Zeroizing<[u8; 32]>) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(match &self.multiples {
            Some(table) => table.mul_base_clamped(**secret).to_montgomery().to_bytes(),
            None => *StaticSecret::from(**secret).diffie_hellman(&self.public).as_bytes(),
        })
    }

    pub(crate) fn wrap(&self, file_key: &FileKey, random: &mut dyn Randomness) -> Stanza {
        let mut secret = Zeroizing::new([0; 32]);
        random.fill(&mut *secret);
        let ephemeral = StaticSecret::from(*secret);
        let share = PublicKey::from(&ephemeral);
        let key = x25519_wrap_key(&self.shared(&secret), &share, &self.public);
        Stanza {
            tag: X25519_TAG.into(),
            args: vec![BASE64_STANDARD_NO_PAD.encode(share.as_bytes())],
            body: keys::wrap(&key, file_key),
        }
    }
}

/// An X25519 key. Zeroized when dropped.
pub(crate) struct X25519Identity {
    secret: StaticSecret,
    public: PublicKey,
}

impl X25519Identity {
    pub(crate) fn new(bytes: &[u8; 32]) -> Self {
        let secret = StaticSecret::from(*bytes);
        Self { public: PublicKey::from(&secret), secret }
    }

    /// The recipient's text.
    pub(crate) fn recipient(&self) -> String {
        encode(X25519_RECIPIENT_HRP, self.public.as_bytes())
    }

    /// The file key, or `None` where the stanza is for somebody else.
    pub(crate) fn unwrap(&self, stanza: &Stanza) -> Result<Option<FileKey>, BadStanza> {
        if stanza.tag != X25519_TAG {
            return Ok(None);
        }
        let [share] = &stanza.args[..] else { return Err(BadStanza) };
        let share: [u8; 32] = decode_exact(share.as_bytes()).ok_or(BadStanza)?;
        // The length is fixed before anything is tried, so that a file cannot ask which of many
        // keys fits (partitioning oracle).
        let body = stanza.body[..].try_into().map_err(|_| BadStanza)?;
        let share = PublicKey::from(share);
        let shared = self.secret.diffie_hellman(&share);
        if !shared.was_contributory() {
            return Err(BadStanza);
        }
        Ok(keys::unwrap(&x25519_wrap_key(shared.as_bytes(), &share, &self.public), body))
    }
}

/// Public half of a hybrid key (MLKEM768-X25519, also called X-Wing).
#[derive(Clone, Eq, PartialEq)]
pub(crate) struct HybridRecipient(Box<<XWing as Kem>::PublicKey>);

impl HybridRecipient {
    pub(crate) fn new(bytes: &[u8]) -> Option<Self> {
        let (_, x25519) = bytes.split_last_chunk::<32>()?;
        let key = <XWing as Kem>::PublicKey::from_bytes(bytes).ok()?;
        (!is_low_order(x25519)).then(|| Self(Box::new(key)))
    }

    pub(crate) fn wrap(&self, file_key: &FileKey, random: &mut dyn Randomness) -> Option<Stanza> {
        let (share, body) = hpke::single_shot_seal_with_rng::<ChaCha20Poly1305, HkdfSha256, XWing>(
            &OpModeS::Base,
            &self.0,
            HYBRID_INFO,
            file_key.expose(),
            b"",
            &mut RandCore(random),
        )
        .ok()?;
        let args = vec![BASE64_STANDARD_NO_PAD.encode(share.to_bytes())];
        Some(Stanza { tag: HYBRID_TAG.into(), args, body })
    }
}

/// A hybrid key. Zeroized when dropped.
pub(crate) struct HybridIdentity(Box<<XWing as Kem>::PrivateKey>);

impl HybridIdentity {
    pub(crate) fn new(seed: &[u8; 32]) -> Self {
        let key = <XWing as Kem>::PrivateKey::from_bytes(seed);
        Self(Box::new(key.expect("any 32 bytes are the seed of an X-Wing key")))
    }

    /// The recipient's text.
    pub(crate) fn recipient(&self) -> String {
        encode(HYBRID_RECIPIENT_HRP, &XWing::sk_to_pk(&self.0).to_bytes())
    }

    /// The file key, or `None` where the stanza is for somebody else.
    pub(crate) fn unwrap(&self, stanza: &Stanza) -> Result<Option<FileKey>, BadStanza> {
        if stanza.tag != HYBRID_TAG {
            return Ok(None);
        }
        let [share] = &stanza.args[..] else { return Err(BadStanza) };
        let share: [u8; HYBRID_SHARE_BYTES] = decode_exact(share.as_bytes()).ok_or(BadStanza)?;
        if stanza.body.len() != keys::WRAPPED_KEY_BYTES {
            return Err(BadStanza);
        }
        // The library does not look at the X25519 half by itself.
        if share.last_chunk::<32>().is_none_or(is_low_order) {
            return Err(BadStanza);
        }
        let share = <XWing as Kem>::EncappedKey::from_bytes(&share).map_err(|_| BadStanza)?;
        let plain = hpke::single_shot_open::<ChaCha20Poly1305, HkdfSha256, XWing>(
            &OpModeR::Base,
            &self.0,
            &share,
            HYBRID_INFO,
            &stanza.body,
            b"",
        );
        let Ok(plain) = plain.map(Zeroizing::new) else { return Ok(None) };
        Ok(plain[..].try_into().ok().map(FileKey::from_bytes))
    }
}

/// Bech32 (BIP 173) without a limit on length, as age uses it.
pub(crate) fn encode(hrp: &str, bytes: &[u8]) -> String {
    bech32::encode(hrp, bytes.to_base32(), bech32::Variant::Bech32).expect("our prefixes are valid")
}

/// The prefix in lower case, and the bytes.
pub(crate) fn decode(text: &str) -> Option<(String, Zeroizing<Vec<u8>>)> {
    let (hrp, data, variant) = bech32::decode(text).ok()?;
    let bytes = Vec::from_base32(&data).ok()?;
    (variant == bech32::Variant::Bech32).then(|| (hrp, Zeroizing::new(bytes)))
}

/// The text of a secret key: upper case, as age writes it.
pub(crate) fn encode_secret(hrp: &str, bytes: &[u8; 32]) -> Zeroizing<String> {
    let mut lower = encode(hrp, bytes);
    let upper = Zeroizing::new(lower.to_ascii_uppercase());
    lower.zeroize();
    upper
}

fn x25519_wrap_key(shared: &[u8; 32], share: &PublicKey, recipient: &PublicKey) -> keys::Secret {
    let mut salt = [0; 64];
    salt[..32].copy_from_slice(share.as_bytes());
    salt[32..].copy_from_slice(recipient.as_bytes());
    keys::derive(&salt, X25519_INFO, shared)
}

/// Every clamped scalar is a multiple of the cofactor, so any one of them tells.
fn is_low_order(point: &[u8; 32]) -> bool {
    !StaticSecret::from([0x40; 32]).diffie_hellman(&PublicKey::from(*point)).was_contributory()
}

pub(crate) const X25519_RECIPIENT_HRP: &str = "age";
pub(crate) const X25519_IDENTITY_HRP: &str = "age-secret-key-";
pub(crate) const HYBRID_RECIPIENT_HRP: &str = "age1pq";
pub(crate) const HYBRID_IDENTITY_HRP: &str = "age-secret-key-pq-";
/// Label of recipients that withstand a quantum computer (C2SP age-plugin, "labels").
pub(crate) const POST_QUANTUM: &str = "postquantum";
const X25519_TAG: &str = "X25519";
const X25519_INFO: &[u8] = b"age-encryption.org/v1/X25519";
const HYBRID_TAG: &str = "mlkem768x25519";
const HYBRID_INFO: &[u8] = b"age-encryption.org/mlkem768x25519";
const HYBRID_SHARE_BYTES: usize = 1120;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::random::Seeded;

    fn file_key() -> FileKey {
        FileKey::from_bytes([3; 16])
    }

    /// Points of the curve, of its twist, and with a part of low order: RFC 7748 has one answer for each.
    #[test]
    fn multiples_computed_ahead_give_what_the_ladder_gives() {
        let mut random = Seeded::new(&[4; 32], "points", 0);
        let (mut on_curve, mut on_twist) = (0, 0);
        for _ in 0..200 {
            let (mut point, mut secret) = ([0; 32], Zeroizing::new([0; 32]));
            random.fill(&mut point);
            random.fill(&mut *secret);
            let Some(recipient) = X25519Recipient::new(point) else { continue };
            if recipient.multiples.is_some() {
                on_curve += 1;
            } else {
                on_twist += 1;
            }
            let ladder = StaticSecret::from(*secret).diffie_hellman(&PublicKey::from(point));
            assert_eq!(*recipient.shared(&secret), *ladder.as_bytes());
        }
        assert!(on_curve > 50 && on_twist > 50, "{on_curve} and {on_twist}");
    }

    #[test]
    fn x25519_comes_back_and_is_reproducible() {
        let identity = X25519Identity::new(&[1; 32]);
        let recipient = X25519Recipient::new(*identity.public.as_bytes()).unwrap();
        let wrap = || recipient.wrap(&file_key(), &mut Seeded::new(&[0; 32], "test", 0));
        assert_eq!(wrap(), wrap());
        assert_eq!(identity.unwrap(&wrap()).unwrap().unwrap().expose(), &[3; 16]);
        assert!(X25519Identity::new(&[2; 32]).unwrap(&wrap()).unwrap().is_none());
    }

    #[test]
    fn hybrid_comes_back_and_is_reproducible() {
        let identity = HybridIdentity::new(&[1; 32]);
        let recipient = HybridRecipient::new(&XWing::sk_to_pk(&identity.0).to_bytes()).unwrap();
        let wrap = || recipient.wrap(&file_key(), &mut Seeded::new(&[0; 32], "test", 0)).unwrap();
        assert_eq!(wrap(), wrap());
        assert_eq!(identity.unwrap(&wrap()).unwrap().unwrap().expose(), &[3; 16]);
        assert!(HybridIdentity::new(&[2; 32]).unwrap(&wrap()).unwrap().is_none());
    }

    #[test]
    fn low_order_points_are_no_recipients() {
        let mut one = [0; 32];
        one[0] = 1;
        assert!(X25519Recipient::new([0; 32]).is_none());
        assert!(X25519Recipient::new(one).is_none());
        assert!(X25519Recipient::new([9; 32]).is_some());
    }
}
