//! Signing in by somebody else's word (OpenID Connect Core 1.0, code flow with PKCE): what an ID token has to be.
//!
//! ```text
//! state, nonce, verifier ─► provider ─► code ─► token: algorithm, key, signature, issuer, audience, times, nonce
//!                                                  └─► claims ─► one of our users; two factors, or ours as the second
//! ```
//!
//! Who may do what stays with the vault: of the provider's word only the name counts, and how it was proved.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

use crate::archive::public_key::{Form, Jwk, PublicKey};
use crate::archive::record::Digest;
use crate::archive::user::UserName;
use crate::base::time::Stamp;

/// Keys of a provider, as it has them now.
#[derive(Clone, Debug, Default)]
pub struct Keys(Vec<(Option<String>, PublicKey)>);

/// What a token has to say.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// By whom.
    pub issuer: &'a str,
    /// For whom: us.
    pub client_id: &'a str,
    /// What we have sent with this one question.
    pub nonce: &'a str,
    /// When.
    pub now: Stamp,
}

/// What tells who somebody is among our users.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Claim {
    /// The provider's own name for them, which it never gives to another.
    #[default]
    Sub,
    /// Their address, where the provider says that it was verified.
    Email,
}

/// What the provider says of somebody.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Claims {
    iss: String,
    /// Its own name for them.
    pub sub: String,
    aud: Audience,
    #[serde(default)]
    azp: Option<String>,
    exp: f64,
    iat: f64,
    #[serde(default)]
    nbf: Option<f64>,
    #[serde(default)]
    nonce: Option<String>,
    #[serde(default)]
    auth_time: Option<f64>,
    #[serde(default)]
    acr: Option<String>,
    #[serde(default)]
    amr: Vec<String>,
    #[serde(default)]
    email: Option<String>,
    #[serde(default)]
    email_verified: Option<serde_json::Value>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

impl Default for Audience {
    fn default() -> Self {
        Self::Several(Vec::new())
    }
}

/// Why a token proves nothing.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum OidcFault {
    /// It cannot be read.
    #[error("the identity provider's token cannot be read")]
    Form,
    /// None, one with a secret, or one that is not known here.
    #[error("the identity provider's token is signed by another algorithm than RS256, ES256 or EdDSA")]
    Algorithm,
    /// A key that the provider does not have, or no more.
    #[error("the identity provider's token is signed by a key that it does not publish")]
    Key,
    /// It is not by the key.
    #[error("the signature of the identity provider's token is wrong")]
    Signature,
    /// Another's.
    #[error("the token is by another identity provider")]
    Issuer,
    /// For another.
    #[error("the token is for another client")]
    Audience,
    /// To another question.
    #[error("the token is the answer to another question")]
    Nonce,
    /// Too late, or too early.
    #[error("the token is too old, or from the future: compare the clocks")]
    Time,
    /// It names nobody that could be a user here.
    #[error("the token does not say who it is: no such claim, an address not verified, or no name of a user")]
    Name,
}

impl Keys {
    /// Of a JWK set. Keys that are of no use here are left out.
    pub fn parse(text: &[u8]) -> Result<Self, OidcFault> {
        #[derive(Deserialize)]
        struct Set {
            keys: Vec<serde_json::Value>,
        }
        let set: Set = serde_json::from_slice(text).map_err(|_| OidcFault::Form)?;
        let keys = set.keys.into_iter().take(KEYS_MAX).filter_map(|key| {
            let key: Jwk = serde_json::from_value(key).ok()?;
            Some((key.kid.clone(), PublicKey::from_jwk(&key)?))
        });
        Ok(Self(keys.collect()))
    }

    fn verify(&self, header: &Header, message: &[u8], signed: &[u8]) -> Result<(), OidcFault> {
        let is_named = |kid: &Option<String>| header.kid.is_none() || *kid == header.kid;
        let fitting = self.0.iter().filter(|(kid, key)| is_named(kid) && key.algorithm() == header.alg);
        let mut found = OidcFault::Key;
        for (_, key) in fitting {
            if key.verifies(message, signed, Form::Fixed) {
                return Ok(());
            }
            found = OidcFault::Signature;
        }
        Err(found)
    }
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    kid: Option<String>,
    #[serde(default)]
    crit: Option<serde_json::Value>,
}

impl Claims {
    /// What a token says, where it is one (OpenID Connect Core section 3.1.3.7).
    pub fn verify(token: &str, keys: &Keys, expected: &Expected<'_>) -> Result<Self, OidcFault> {
        let mut parts = token.split('.');
        let (Some(head), Some(body), Some(signed), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(OidcFault::Form);
        };
        if token.len() > TOKEN_BYTES_MAX {
            return Err(OidcFault::Form);
        }
        let header: Header = part(head)?;
        if !ALGORITHMS.contains(&header.alg.as_str()) || header.crit.is_some() {
            return Err(OidcFault::Algorithm);
        }
        let signed = URL_SAFE_NO_PAD.decode(signed).map_err(|_| OidcFault::Form)?;
        keys.verify(&header, &token.as_bytes()[..head.len() + 1 + body.len()], &signed)?;
        let claims: Self = part(body)?;
        claims.check(expected)?;
        Ok(claims)
    }

    fn check(&self, expected: &Expected<'_>) -> Result<(), OidcFault> {
        if self.iss != expected.issuer {
            return Err(OidcFault::Issuer);
        }
        let ours = |name: &String| name == expected.client_id;
        let (is_for_us, is_for_others) = match &self.aud {
            Audience::One(one) => (ours(one), false),
            Audience::Several(all) => (all.iter().any(ours), all.len() > 1),
        };
        let is_ours = self.azp.as_ref().map_or(!is_for_others, ours);
        if !is_for_us || !is_ours {
            return Err(OidcFault::Audience);
        }
        let now = expected.now.as_unix_millis() as f64 / 1_000.0;
        let begun = self.nbf.is_none_or(|nbf| nbf <= now + SKEW_S);
        let is_new = self.iat <= now + SKEW_S && now - SKEW_S < self.iat + LASTS_S;
        if !(begun && is_new && now - SKEW_S < self.exp) {
            return Err(OidcFault::Time);
        }
        let nonce = self.nonce.as_deref().unwrap_or_default();
        if expected.nonce.is_empty() || !bool::from(nonce.as_bytes().ct_eq(expected.nonce.as_bytes())) {
            return Err(OidcFault::Nonce);
        }
        if self.sub.is_empty() || self.sub.len() > 255 { Err(OidcFault::Name) } else { Ok(()) }
    }

    /// Which of our users it is, by the name that they would have.
    pub fn user(&self, claim: Claim) -> Result<UserName, OidcFault> {
        let name = match claim {
            Claim::Sub => self.sub.clone(),
            Claim::Email => {
                let is_verified = match &self.email_verified {
                    Some(serde_json::Value::Bool(is_verified)) => *is_verified,
                    Some(serde_json::Value::String(said)) => said == "true",
                    _ => false,
                };
                let email = self.email.as_ref().filter(|_| is_verified);
                email.ok_or(OidcFault::Name)?.to_ascii_lowercase()
            }
        };
        name.parse().map_err(|_| OidcFault::Name)
    }

    /// Whether two factors were shown there: one of these classes, or one of these ways (RFC 8176).
    pub fn is_multi_factor(&self, acr: &[String], amr: &[String]) -> bool {
        self.acr.as_ref().is_some_and(|said| acr.contains(said))
            || self.amr.iter().any(|said| amr.contains(said))
    }

    /// When they were shown; nothing where the provider does not say.
    pub fn shown(&self, now: Stamp) -> Option<Stamp> {
        let seconds = self.auth_time.filter(|at| at.is_finite() && *at >= 0.0)?;
        Some(Stamp::from_unix_nanos((seconds * 1e9) as u64).min(now))
    }
}

fn part<T: DeserializeOwned>(text: &str) -> Result<T, OidcFault> {
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| OidcFault::Form)?;
    serde_json::from_slice(&bytes).map_err(|_| OidcFault::Form)
}

/// What is shown of a verifier before it is (RFC 7636, S256).
pub fn challenge_of(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(Digest::of(verifier.as_bytes()).0)
}

const ALGORITHMS: [&str; 3] = ["RS256", "ES256", "EdDSA"];
const KEYS_MAX: usize = 64;
const TOKEN_BYTES_MAX: usize = 32 << 10;
/// How far clocks may be apart.
const SKEW_S: f64 = 60.0;
/// How old a token may be: it comes straight from the provider.
const LASTS_S: f64 = 600.0;

#[cfg(test)]
mod tests {
    use super::*;
    use ring::hmac;
    use ring::signature::{Ed25519KeyPair, KeyPair};
    use serde_json::{Value, json};

    const NOW: u64 = 1_800_000_000;
    const ISSUER: &str = "https://id.example.org";

    fn pair(seed: u8) -> Ed25519KeyPair {
        Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap()
    }

    fn jwk(seed: u8, kid: &str) -> Value {
        let x = URL_SAFE_NO_PAD.encode(pair(seed).public_key());
        json!({ "kty": "OKP", "crv": "Ed25519", "kid": kid, "use": "sig", "alg": "EdDSA", "x": x })
    }

    fn keys(all: &[Value]) -> Keys {
        Keys::parse(json!({ "keys": all }).to_string().as_bytes()).unwrap()
    }

    fn message(header: &Value, claims: &Value) -> String {
        let [header, claims] = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
        format!("{header}.{claims}")
    }

    fn token(seed: u8, header: &Value, claims: &Value) -> String {
        let message = message(header, claims);
        let signed = URL_SAFE_NO_PAD.encode(pair(seed).sign(message.as_bytes()));
        format!("{message}.{signed}")
    }

    fn good() -> Value {
        json!({
            "iss": ISSUER, "sub": "rita", "aud": "sejf", "exp": NOW + 300, "iat": NOW - 5, "nonce": "n-1",
            "auth_time": NOW - 100, "amr": ["pwd", "mfa"], "email": "Rita@Example.org", "email_verified": true,
        })
    }

    fn check(token: &str, keys: &Keys) -> Result<Claims, OidcFault> {
        let now = Stamp::from_unix_nanos(NOW * 1_000_000_000);
        Claims::verify(token, keys, &Expected { issuer: ISSUER, client_id: "sejf", nonce: "n-1", now })
    }

    fn header() -> Value {
        json!({ "alg": "EdDSA", "kid": "a" })
    }

    #[test]
    fn a_token_says_who_it_is_and_how_that_was_proved() {
        let claims = check(&token(1, &header(), &good()), &keys(&[jwk(1, "a")])).unwrap();
        assert_eq!(claims.user(Claim::Sub).unwrap().as_str(), "rita");
        assert_eq!(claims.user(Claim::Email).unwrap().as_str(), "rita@example.org");
        let of = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        assert!(claims.is_multi_factor(&[], &of(&["mfa"])));
        assert!(!claims.is_multi_factor(&of(&["phr"]), &of(&["otp"])) && !claims.is_multi_factor(&[], &[]));
        let now = Stamp::from_unix_nanos(NOW * 1_000_000_000);
        assert_eq!(claims.shown(now), Some(now.before(std::time::Duration::from_secs(100))));
        let mut other = good();
        (other["email_verified"], other["sub"]) = (json!(false), json!("Rita Kot"));
        other["auth_time"] = json!(1e300);
        let claims = check(&token(1, &header(), &other), &keys(&[jwk(1, "a")])).unwrap();
        assert_eq!(claims.user(Claim::Email), Err(OidcFault::Name), "whoever types an address has it then");
        assert_eq!(claims.user(Claim::Sub), Err(OidcFault::Name));
        assert_eq!(claims.shown(now), Some(now), "not from the future");
    }

    #[test]
    fn a_forged_token_is_refused_whatever_it_says_of_itself() {
        let known = keys(&[jwk(1, "a"), jwk(2, "b")]);
        assert!(
            check(&token(2, &json!({ "alg": "EdDSA" }), &good()), &known).is_ok(),
            "without a name any of them"
        );
        let bare = message(&json!({ "alg": "none" }), &good());
        for token in [format!("{bare}."), format!("{bare}.AAAA")] {
            assert_eq!(check(&token, &known).map(drop), Err(OidcFault::Algorithm));
        }
        assert_eq!(check(&bare, &known).map(drop), Err(OidcFault::Form));
        // The public key as if it were a secret.
        for algorithm in ["HS256", "hs256", "NONE", "RS512", "PS256", "ES256K", ""] {
            let message = message(&json!({ "alg": algorithm, "kid": "a" }), &good());
            let secret = hmac::Key::new(hmac::HMAC_SHA256, pair(1).public_key().as_ref());
            let signed = URL_SAFE_NO_PAD.encode(hmac::sign(&secret, message.as_bytes()));
            assert_eq!(check(&format!("{message}.{signed}"), &known).map(drop), Err(OidcFault::Algorithm));
        }
        for (fault, forged) in [
            (OidcFault::Signature, token(3, &header(), &good())),
            (OidcFault::Signature, token(2, &header(), &good())),
            (OidcFault::Key, token(1, &json!({ "alg": "EdDSA", "kid": "c" }), &good())),
            (OidcFault::Key, token(1, &json!({ "alg": "RS256", "kid": "a" }), &good())),
            (OidcFault::Algorithm, token(1, &json!({ "alg": "EdDSA", "kid": "a", "crit": ["x"] }), &good())),
        ] {
            assert_eq!(check(&forged, &known).map(drop), Err(fault), "{forged}");
        }
        // A key that came in its header is nobody's.
        let own =
            json!({ "alg": "EdDSA", "kid": "a", "jwk": jwk(3, "a"), "jku": "https://evil.example/keys" });
        assert_eq!(check(&token(3, &own, &good()), &known).map(drop), Err(OidcFault::Signature));
        let whole = token(1, &header(), &good());
        for length in 0..whole.len() {
            assert!(check(&whole[..length], &known).is_err(), "{length}");
        }
        for strange in ["", ".", "..", "...", "a.b.c", "=.=.=", &"A".repeat(40_000)] {
            assert_eq!(check(strange, &known).map(drop), Err(OidcFault::Form), "{strange:.20}");
        }
    }

    #[test]
    fn what_is_anothers_or_of_another_time_is_refused() {
        let known = keys(&[jwk(1, "a")]);
        for (fault, field, value) in [
            (OidcFault::Issuer, "iss", json!("https://id.example.org/")),
            (OidcFault::Issuer, "iss", json!("https://evil.example")),
            (OidcFault::Audience, "aud", json!("other")),
            (OidcFault::Audience, "aud", json!([])),
            (OidcFault::Audience, "aud", json!(["sejf", "other"])),
            (OidcFault::Audience, "azp", json!("other")),
            (OidcFault::Time, "exp", json!(NOW - 60)),
            (OidcFault::Time, "iat", json!(NOW + 61)),
            (OidcFault::Time, "iat", json!(NOW - 700)),
            (OidcFault::Time, "nbf", json!(NOW + 61)),
            (OidcFault::Nonce, "nonce", json!("n-2")),
            (OidcFault::Nonce, "nonce", Value::Null),
            (OidcFault::Name, "sub", json!("")),
            (OidcFault::Form, "exp", json!("tomorrow")),
            (OidcFault::Form, "aud", json!(7)),
        ] {
            let mut claims = good();
            claims[field] = value.clone();
            assert_eq!(check(&token(1, &header(), &claims), &known).map(drop), Err(fault), "{field} {value}");
        }
        let mut several = good();
        (several["aud"], several["azp"]) = (json!(["other", "sejf"]), json!("sejf"));
        assert!(check(&token(1, &header(), &several), &known).is_ok());
        // The provider has other keys now.
        assert_eq!(
            check(&token(1, &header(), &good()), &keys(&[jwk(2, "b")])).map(drop),
            Err(OidcFault::Key)
        );
        assert!(Keys::parse(b"{}").is_err() && Keys::parse(b"").is_err());
        assert_eq!(keys(&[json!({ "kty": "oct", "k": "AAAA" }), json!({ "kty": 7 }), json!(1)]).0.len(), 0);
    }

    /// RFC 7636 appendix B.
    #[test]
    fn the_challenge_is_that_of_the_rfc() {
        let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        assert_eq!(challenge_of(verifier), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
    }
}
