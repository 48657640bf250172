//! Keys of one file, and the three primitives that age makes them with.

use base64::Engine;
use base64::prelude::BASE64_STANDARD_NO_PAD;
use ring::aead;
use ring::hkdf;
use ring::hmac;
use zeroize::Zeroizing;

use crate::seal::header::decode_exact;
use crate::seal::random::Randomness;

/// The key that a file's header wraps (C2SP age, "File key"). Zeroized when dropped; does not print.
pub struct FileKey(Zeroizing<[u8; FILE_KEY_BYTES]>);

impl FileKey {
    /// Makes the key of a new file.
    pub fn generate(random: &mut dyn Randomness) -> Self {
        let mut bytes = Zeroizing::new([0; FILE_KEY_BYTES]);
        random.fill(&mut *bytes);
        Self(bytes)
    }

    /// Takes over a key that a stanza held.
    pub(crate) fn from_bytes(bytes: [u8; FILE_KEY_BYTES]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// Reads what [`FileKey::disclose`] wrote; nothing where it is no key.
    pub fn from_disclosed(text: &str) -> Option<Self> {
        decode_exact(text.as_bytes()).map(Self::from_bytes)
    }

    /// The key as text, to be given to whoever gets what it opens: base64 without padding.
    pub fn disclose(&self) -> Zeroizing<String> {
        Zeroizing::new(BASE64_STANDARD_NO_PAD.encode(*self.0))
    }

    /// The 16 bytes.
    pub(crate) fn expose(&self) -> &[u8; FILE_KEY_BYTES] {
        &self.0
    }

    /// The key under which one payload is sealed: one `nonce`, one payload.
    pub(crate) fn payload_key(&self, nonce: &[u8; NONCE_BYTES]) -> Secret {
        derive(nonce, b"payload", &*self.0)
    }

    /// The MAC of a header up to and including its `---` (C2SP age, "Header MAC").
    pub(crate) fn header_mac(&self, header: &[u8]) -> [u8; MAC_BYTES] {
        let tag = hmac::sign(&self.mac_key(), header);
        let mut mac = [0; MAC_BYTES];
        mac.copy_from_slice(tag.as_ref());
        mac
    }

    /// Returns whether `mac` is that of `header`; in constant time.
    pub(crate) fn verify_header(&self, header: &[u8], mac: &[u8; MAC_BYTES]) -> bool {
        hmac::verify(&self.mac_key(), header, mac).is_ok()
    }

    fn mac_key(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, &*derive(b"", b"header", &*self.0))
    }
}

impl std::fmt::Debug for FileKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FileKey(..)")
    }
}

/// A derived key. Zeroized when dropped.
pub(crate) type Secret = Zeroizing<[u8; 32]>;

/// HKDF-SHA-256 (RFC 5869) to 32 bytes.
pub(crate) fn derive(salt: &[u8], info: &[u8], ikm: &[u8]) -> Secret {
    let mut out = Zeroizing::new([0; 32]);
    hkdf::Salt::new(hkdf::HKDF_SHA256, salt)
        .extract(ikm)
        .expand(&[info], hkdf::HKDF_SHA256)
        .and_then(|okm| okm.fill(&mut *out))
        .expect("32 bytes are one block of HKDF-SHA-256");
    out
}

/// The cipher under `key`. Made anew for each use: a `LessSafeKey` is large and is not zeroized.
pub(crate) fn cipher(key: &Secret) -> aead::LessSafeKey {
    let key = aead::UnboundKey::new(&aead::CHACHA20_POLY1305, &**key);
    aead::LessSafeKey::new(key.expect("32 bytes are the length of a ChaCha20-Poly1305 key"))
}

/// Wraps a file key under a key that is used once (C2SP age: a nonce of zeros).
pub(crate) fn wrap(key: &Secret, file_key: &FileKey) -> Vec<u8> {
    let mut body = file_key.expose().to_vec();
    cipher(key)
        .seal_in_place_append_tag(aead::Nonce::assume_unique_for_key([0; 12]), aead::Aad::empty(), &mut body)
        .expect("16 bytes are within ChaCha20-Poly1305's limit");
    body
}

/// Unwraps what [`wrap`] made, or returns `None` where `key` is another.
pub(crate) fn unwrap(key: &Secret, body: &[u8; WRAPPED_KEY_BYTES]) -> Option<FileKey> {
    let mut body = Zeroizing::new(*body);
    let nonce = aead::Nonce::assume_unique_for_key([0; 12]);
    let plain = cipher(key).open_in_place(nonce, aead::Aad::empty(), &mut *body).ok()?;
    (&*plain).try_into().ok().map(FileKey::from_bytes)
}

/// Bytes of a file key.
pub const FILE_KEY_BYTES: usize = 16;
/// Bytes of a ChaCha20-Poly1305 tag.
pub const TAG_BYTES: usize = 16;
/// Bytes of the nonce before a payload.
pub const NONCE_BYTES: usize = 16;
/// Bytes of a header's MAC.
pub const MAC_BYTES: usize = 32;
/// Bytes of a wrapped file key.
pub const WRAPPED_KEY_BYTES: usize = FILE_KEY_BYTES + TAG_BYTES;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_key_comes_back_under_its_own_key_only() {
        let (key, other) = (Zeroizing::new([1; 32]), Zeroizing::new([2; 32]));
        let body: [u8; 32] = wrap(&key, &FileKey::from_bytes([9; 16])).try_into().unwrap();
        assert_eq!(unwrap(&key, &body).unwrap().expose(), &[9; 16]);
        assert!(unwrap(&other, &body).is_none());
    }

    /// RFC 5869 appendix A.1, cut to 32 bytes.
    #[test]
    fn hkdf_is_that_of_the_rfc() {
        let salt: Vec<u8> = (0..=0x0c).collect();
        let info: Vec<u8> = (0xf0..=0xf9).collect();
        let hex: String =
            derive(&salt, &info, &[0x0b; 22]).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf");
    }

    #[test]
    fn a_file_key_does_not_print() {
        assert_eq!(format!("{:?}", FileKey::from_bytes([0x41; 16])), "FileKey(..)");
    }

    #[test]
    fn a_disclosed_key_comes_back() {
        let text = FileKey::from_bytes([7; 16]).disclose();
        assert_eq!(FileKey::from_disclosed(&text).unwrap().expose(), &[7; 16]);
        for wrong in ["", "BwcH", &format!("{}A", *text), &format!("{}==", *text), "\u{202e}"] {
            assert!(FileKey::from_disclosed(wrong).is_none(), "{wrong}");
        }
    }
}
