//! Public keys that prove who somebody is, of passkeys and of identity providers: ES256, EdDSA (Ed25519), RS256, and
//! nothing else. As COSE has them (RFC 9052, RFC 9053, RFC 8812), and as JOSE does (RFC 7517, RFC 7518).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ciborium::Value;
use ring::signature::{
    self, ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256,
    RsaPublicKeyComponents, UnparsedPublicKey,
};
use serde::{Deserialize, Serialize};

/// Bytes, in texts as base 64 for addresses, without padding.
#[derive(Clone, Debug, Default, Eq, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Base64Url(pub Vec<u8>);

impl TryFrom<String> for Base64Url {
    type Error = base64::DecodeError;

    fn try_from(text: String) -> Result<Self, base64::DecodeError> {
        URL_SAFE_NO_PAD.decode(text).map(Self)
    }
}

impl From<Base64Url> for String {
    fn from(bytes: Base64Url) -> Self {
        URL_SAFE_NO_PAD.encode(bytes.0)
    }
}

/// A public key, with the one algorithm it is for.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum PublicKey {
    /// ECDSA on P-256 with SHA-256: an uncompressed point.
    Es256(Base64Url),
    /// Ed25519.
    EdDsa(Base64Url),
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256 {
        /// Modulus.
        n: Base64Url,
        /// Exponent.
        e: Base64Url,
    },
}

/// How a signature by ECDSA is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Form {
    /// As passkeys have it: DER.
    Asn1,
    /// As JOSE has it: two numbers of 32 bytes.
    Fixed,
}

impl PublicKey {
    /// Of a COSE key. Nothing where it is of another kind, no point of its curve, or too short or long.
    pub fn from_cose(key: &Value) -> Option<Self> {
        let of = |label: i64| cose(key, label);
        let number = |label| of(label).and_then(Value::as_integer).map(i128::from);
        let bytes = |label| of(label).and_then(Value::as_bytes).cloned();
        match (number(KTY)?, number(ALG)?) {
            (2, ES256) if number(CRV)? == 1 => Self::es256(&bytes(X)?, &bytes(Y)?),
            (1, EDDSA) if number(CRV)? == 6 => Self::ed_dsa(bytes(X)?),
            // A modulus is where a curve is with the others (RFC 8230 section 4).
            (3, RS256) => Self::rs256(bytes(CRV)?, bytes(X)?),
            _ => None,
        }
    }

    /// Of a JSON web key that is there for signatures. Nothing where it is for something else.
    pub fn from_jwk(key: &Jwk) -> Option<Self> {
        let is_for = |said: &Option<String>, name: &str| said.as_deref().is_none_or(|said| said == name);
        if !is_for(&key.purpose, "sig") {
            return None;
        }
        let bytes = |field: &Option<Base64Url>| field.clone().map(|bytes| bytes.0);
        match (key.kty.as_str(), key.crv.as_deref()) {
            ("EC", Some("P-256")) if is_for(&key.alg, "ES256") => {
                Self::es256(&bytes(&key.x)?, &bytes(&key.y)?)
            }
            ("OKP", Some("Ed25519")) if is_for(&key.alg, "EdDSA") || is_for(&key.alg, "Ed25519") => {
                Self::ed_dsa(bytes(&key.x)?)
            }
            ("RSA", _) if is_for(&key.alg, "RS256") => Self::rs256(bytes(&key.n)?, bytes(&key.e)?),
            _ => None,
        }
    }

    /// The algorithm, as JOSE names it.
    pub fn algorithm(&self) -> &'static str {
        match self {
            Self::Es256(_) => "ES256",
            Self::EdDsa(_) => "EdDSA",
            Self::Rs256 { .. } => "RS256",
        }
    }

    /// Whether a signature over a message is by it.
    pub fn verifies(&self, message: &[u8], signed: &[u8], form: Form) -> bool {
        let plain = |algorithm: &'static dyn signature::VerificationAlgorithm, key: &[u8]| {
            UnparsedPublicKey::new(algorithm, key).verify(message, signed).is_ok()
        };
        match (self, form) {
            (Self::Es256(key), Form::Asn1) => plain(&ECDSA_P256_SHA256_ASN1, &key.0),
            (Self::Es256(key), Form::Fixed) => plain(&ECDSA_P256_SHA256_FIXED, &key.0),
            (Self::EdDsa(key), _) => plain(&ED25519, &key.0),
            (Self::Rs256 { n, e }, _) => RsaPublicKeyComponents { n: &n.0, e: &e.0 }
                .verify(&RSA_PKCS1_2048_8192_SHA256, message, signed)
                .is_ok(),
        }
    }

    fn es256(x: &[u8], y: &[u8]) -> Option<Self> {
        if x.len() != 32 || y.len() != 32 {
            return None;
        }
        let point = [&[4], x, y].concat();
        p256::PublicKey::from_sec1_bytes(&point).ok()?;
        Some(Self::Es256(Base64Url(point)))
    }

    fn ed_dsa(key: Vec<u8>) -> Option<Self> {
        (key.len() == 32).then_some(Self::EdDsa(Base64Url(key)))
    }

    fn rs256(n: Vec<u8>, e: Vec<u8>) -> Option<Self> {
        let is_plain = RSA_BYTES.contains(&n.len()) && n.first() != Some(&0) && (1..=4).contains(&e.len());
        (is_plain && e.first() != Some(&0)).then_some(Self::Rs256 { n: Base64Url(n), e: Base64Url(e) })
    }
}

/// A field of a COSE key; nothing where it is there twice.
fn cose(key: &Value, label: i64) -> Option<&Value> {
    let label = Value::from(label);
    let mut found = key.as_map()?.iter().filter(|(known, _)| *known == label);
    match (found.next(), found.next()) {
        (Some((_, value)), None) => Some(value),
        _ => None,
    }
}

/// A JSON web key, as far as it is looked at (RFC 7517).
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Jwk {
    /// Kind.
    pub kty: String,
    /// Its name.
    #[serde(default)]
    pub kid: Option<String>,
    /// What it is there for.
    #[serde(default, rename = "use")]
    pub purpose: Option<String>,
    /// The one algorithm it is for.
    #[serde(default)]
    pub alg: Option<String>,
    /// Curve.
    #[serde(default)]
    pub crv: Option<String>,
    /// Of a point, or the key.
    #[serde(default)]
    pub x: Option<Base64Url>,
    /// Of a point.
    #[serde(default)]
    pub y: Option<Base64Url>,
    /// Modulus.
    #[serde(default)]
    pub n: Option<Base64Url>,
    /// Exponent.
    #[serde(default)]
    pub e: Option<Base64Url>,
}

/// Algorithms of COSE.
pub const ES256: i128 = -7;
/// Ed25519 where the curve says so.
pub const EDDSA: i128 = -8;
/// Of older hardware.
pub const RS256: i128 = -257;
const KTY: i64 = 1;
const ALG: i64 = 3;
const CRV: i64 = -1;
const X: i64 = -2;
const Y: i64 = -3;
/// Bytes of a modulus that is neither weak nor a way to keep us busy.
const RSA_BYTES: std::ops::RangeInclusive<usize> = 256..=1_024;

#[cfg(test)]
mod tests {
    use super::*;

    fn map(fields: &[(i64, Value)]) -> Value {
        Value::Map(fields.iter().map(|(label, value)| (Value::from(*label), value.clone())).collect())
    }

    /// The key of RFC 7515 appendix A.3, and what is wrong with others.
    #[test]
    fn keys_of_jose_are_for_what_they_say() {
        let key = |text: &str| PublicKey::from_jwk(&serde_json::from_str(text).unwrap());
        let (x, y) =
            ("f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0");
        let ec = |more: &str| key(&format!(r#"{{"kty":"EC","crv":"P-256","x":"{x}","y":"{y}"{more}}}"#));
        let message = b"eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
        let signed = URL_SAFE_NO_PAD
            .decode("DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q")
            .unwrap();
        let found = ec("").unwrap();
        assert!(
            found.verifies(message, &signed, Form::Fixed) && !found.verifies(message, &signed, Form::Asn1)
        );
        assert!(!found.verifies(&message[1..], &signed, Form::Fixed));
        assert!(ec(r#","use":"sig","alg":"ES256""#).is_some());
        assert!(ec(r#","use":"enc""#).is_none() && ec(r#","alg":"ES384""#).is_none());
        let off_the_curve = format!(r#"{{"kty":"EC","crv":"P-256","x":"{x}","y":"{x}"}}"#);
        assert!(key(&off_the_curve).is_none());
        assert!(key(r#"{"kty":"oct","k":"AAAA"}"#).is_none(), "a secret is no public key");
        let short = format!(r#"{{"kty":"RSA","n":"{}","e":"AQAB"}}"#, URL_SAFE_NO_PAD.encode([255; 128]));
        assert!(key(&short).is_none(), "1024 bits");
    }

    #[test]
    fn keys_of_cose_are_of_three_kinds_and_whole() {
        let ed = |alg: i64, crv: i64, bytes: usize| {
            let (kty, x) = (Value::from(1), Value::Bytes(vec![7; bytes]));
            PublicKey::from_cose(&map(&[(1, kty), (3, Value::from(alg)), (-1, Value::from(crv)), (-2, x)]))
        };
        assert!(ed(-8, 6, 32).is_some());
        assert!(ed(-7, 6, 32).is_none() && ed(-8, 7, 32).is_none() && ed(-8, 6, 31).is_none());
        let twice = map(&[
            (1, Value::from(1)),
            (3, Value::from(-8)),
            (-1, Value::from(6)),
            (-2, Value::Bytes(vec![7; 32])),
            (-2, Value::Bytes(vec![8; 32])),
        ]);
        assert!(PublicKey::from_cose(&twice).is_none());
        assert!(PublicKey::from_cose(&Value::Null).is_none());
    }
}
