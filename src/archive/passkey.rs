//! Passkeys (WebAuthn level 3): what the browser's answer proves, and what not.
//!
//! ```text
//! challenge ─► register: type, challenge, origin, party, present, key            ─► passkey, kept
//!          └─► check:    type, challenge, origin, party, present, sign, counter  ─► shown: verified or present alone
//! ```
//!
//! A challenge is answered once, and within five minutes: whoever keeps it sees to that. No attestation is asked for,
//! and none is taken: which maker's key it is does not matter here, and would tell who somebody is elsewhere.

use ciborium::Value;
use serde::{Deserialize, Serialize};
use serde_json::json;
use subtle::ConstantTimeEq;

use crate::archive::public_key::{Base64Url, EDDSA, ES256, Form, PublicKey, RS256};
use crate::archive::record::Digest;
use crate::base::time::Stamp;
use crate::seal::random::Randomness;

/// What is to be signed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Challenge {
    bytes: Base64Url,
    until: Stamp,
}

/// Whom a passkey is for: the vault, under the name by which the browser has reached it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Party {
    /// The name, without port.
    pub id: String,
    /// With scheme and port.
    pub origin: String,
}

/// A passkey of a user.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Passkey {
    /// How its owner calls it.
    pub name: String,
    /// Since when.
    pub since: Stamp,
    /// When it was used last.
    pub used: Option<Stamp>,
    /// The name of the vault that it is for.
    pub party: String,
    /// Whether it can be on several devices, as the authenticator says.
    pub is_syncable: bool,
    /// Whether it is.
    pub is_synced: bool,
    /// Since when it counts no more, because there may be a copy of it.
    pub blocked: Option<Stamp>,
    pub(super) id: Base64Url,
    /// Of its user, as authenticators know them: says nothing.
    pub(super) handle: Base64Url,
    pub(super) key: PublicKey,
    pub(super) counter: u32,
}

/// What a passkey has shown.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Shown {
    /// Whether it has seen who used it, by PIN or body: then it is two factors.
    pub is_verified: bool,
    /// Whether it is on several devices now.
    pub is_synced: bool,
    pub(super) counter: u32,
}

/// What a browser gives where a passkey is made (`PublicKeyCredential.toJSON()`).
#[derive(Clone, Debug, Deserialize)]
pub struct Registration {
    /// Of the passkey.
    pub id: Base64Url,
    /// What the authenticator says.
    pub response: RegistrationResponse,
}

/// Of a [`Registration`].
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RegistrationResponse {
    /// JSON, signed.
    #[serde(rename = "clientDataJSON")]
    pub client_data: Base64Url,
    /// CBOR.
    pub attestation_object: Base64Url,
}

/// What a browser gives where a passkey is used.
#[derive(Clone, Debug, Deserialize)]
pub struct Assertion {
    /// Of the passkey.
    pub id: Base64Url,
    /// What the authenticator says.
    pub response: AssertionResponse,
}

/// Of an [`Assertion`].
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AssertionResponse {
    /// JSON, signed.
    #[serde(rename = "clientDataJSON")]
    pub client_data: Base64Url,
    /// Flags and counter, signed.
    pub authenticator_data: Base64Url,
    /// By the passkey.
    pub signature: Base64Url,
    /// Of its user.
    #[serde(default)]
    pub user_handle: Option<Base64Url>,
}

/// Why a passkey's answer proves nothing.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PasskeyFault {
    /// It is cut off, or no answer at all.
    #[error("the passkey's answer cannot be read")]
    Form,
    /// Made where a use was asked for, or the other way round.
    #[error("the passkey's answer is to another question")]
    Kind,
    /// Of another time, or of too long ago.
    #[error("the passkey has answered an earlier question, or too late: try again")]
    Challenge,
    /// Another page has asked, or ours within a stranger's.
    #[error("the passkey has answered another page")]
    Origin,
    /// For another vault.
    #[error("the passkey is for another name than this vault is reached by now")]
    Party,
    /// Nobody has touched it.
    #[error("nobody has confirmed at the passkey")]
    Present,
    /// It does not know who has touched it.
    #[error("this takes a passkey that asks for PIN, finger or face")]
    Verified,
    /// An algorithm that was not asked for, or a key that is none.
    #[error("the passkey has a kind of key that is not known here: use another one")]
    Key,
    /// Something besides the key.
    #[error("the passkey says who made it, which was not asked for: use another browser or passkey")]
    Attestation,
    /// It is not by the key.
    #[error("the passkey's signature is wrong")]
    Signature,
    /// Another's.
    #[error("this passkey is not known here")]
    Unknown,
    /// It counts backwards.
    #[error("the passkey's counter went back: there may be a copy of it, so it counts no more")]
    Copied,
    /// It did before.
    #[error("this passkey counts no more, because there may be a copy of it: remove it")]
    Blocked,
}

impl Challenge {
    /// A new one.
    pub fn generate(random: &mut dyn Randomness, now: Stamp) -> Self {
        let mut bytes = vec![0; 32];
        random.fill(&mut bytes);
        Self { bytes: Base64Url(bytes), until: now.after(CHALLENGE) }
    }

    /// Until when it may be answered.
    pub fn until(&self) -> Stamp {
        self.until
    }

    fn is(&self, answered: &[u8], now: Stamp) -> bool {
        now < self.until && bool::from(self.bytes.0.ct_eq(answered))
    }
}

impl Party {
    /// Of what a request has in `Host`. An address has no passkeys: they are for names alone.
    pub fn of_host(host: &str) -> Option<Self> {
        let host = host.to_ascii_lowercase();
        let name = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            _ => host.as_str(),
        };
        let is_name = !name.is_empty() && !name.contains([':', '[', ']']);
        let is_address = name.parse::<std::net::IpAddr>().is_ok();
        (is_name && !is_address).then(|| Self { id: name.to_owned(), origin: format!("https://{host}") })
    }
}

impl Passkey {
    /// What a passkey is made with, for `PublicKeyCredential.parseCreationOptionsFromJSON`. `others` are those that their
    /// owner has already.
    pub fn creation(
        challenge: &Challenge,
        party: &Party,
        vault: &str,
        (user, handle): (&str, &Base64Url),
        others: &[&Self],
    ) -> serde_json::Value {
        let kinds = [EDDSA, ES256, RS256].map(|alg| json!({ "type": "public-key", "alg": alg as i64 }));
        json!({
            "challenge": challenge.bytes,
            "rp": { "id": party.id, "name": vault },
            "user": { "id": handle, "name": user, "displayName": user },
            "pubKeyCredParams": kinds,
            "timeout": CHALLENGE.as_millis() as u64,
            "excludeCredentials": listed(others, party),
            "authenticatorSelection": { "residentKey": "preferred", "userVerification": "preferred" },
            "attestation": "none",
        })
    }

    /// What one is used with, for `PublicKeyCredential.parseRequestOptionsFromJSON`. Where `those` are none, any will do
    /// that its device knows by itself, and it is to know who uses it.
    pub fn request(challenge: &Challenge, party: &Party, those: &[&Self]) -> serde_json::Value {
        let verification = if those.is_empty() { "required" } else { "preferred" };
        json!({
            "challenge": challenge.bytes,
            "rpId": party.id,
            "timeout": CHALLENGE.as_millis() as u64,
            "allowCredentials": listed(those, party),
            "userVerification": verification,
        })
    }

    /// Of whom it is, as authenticators know them.
    pub fn handle(&self) -> &Base64Url {
        &self.handle
    }

    /// A passkey that was just made (WebAuthn section 7.1).
    pub fn register(
        answer: &Registration,
        (challenge, party): (&Challenge, &Party),
        name: &str,
        handle: &Base64Url,
        now: Stamp,
    ) -> Result<Self, PasskeyFault> {
        client_data(&answer.response.client_data.0, "webauthn.create", challenge, party, now)?;
        let attestation = whole(&answer.response.attestation_object.0)?;
        let of = |name: &str| field(&attestation, name).ok_or(PasskeyFault::Form);
        let bytes = of("authData")?.as_bytes().ok_or(PasskeyFault::Form)?;
        let data = AuthenticatorData::read(bytes)?;
        data.check(party)?;
        let (id, key) = data.credential.ok_or(PasskeyFault::Form)?;
        if id.is_empty() || id.len() > ID_BYTES_MAX || id != answer.id.0 {
            return Err(PasskeyFault::Form);
        }
        let is_empty = of("attStmt")?.as_map().is_some_and(Vec::is_empty);
        if of("fmt")?.as_text() != Some("none") || !is_empty {
            return Err(PasskeyFault::Attestation);
        }
        let key = PublicKey::from_cose(&key).ok_or(PasskeyFault::Key)?;
        Ok(Self {
            name: name.into(),
            since: now,
            used: None,
            party: party.id.clone(),
            is_syncable: data.flags & SYNCABLE != 0,
            is_synced: data.flags & SYNCED != 0,
            blocked: None,
            id: Base64Url(id),
            handle: handle.clone(),
            key,
            counter: data.counter,
        })
    }

    /// Whether an answer is this passkey's (WebAuthn section 7.2). `is_alone`: no password stands beside it.
    pub fn check(
        &self,
        answer: &Assertion,
        (challenge, party): (&Challenge, &Party),
        is_alone: bool,
        now: Stamp,
    ) -> Result<Shown, PasskeyFault> {
        let response = &answer.response;
        let is_owner = match &response.user_handle {
            Some(handle) => *handle == self.handle,
            // Where nobody was named, it is the passkey that says whose it is.
            None => !is_alone,
        };
        if answer.id != self.id || !is_owner {
            return Err(PasskeyFault::Unknown);
        }
        client_data(&response.client_data.0, "webauthn.get", challenge, party, now)?;
        let data = AuthenticatorData::read(&response.authenticator_data.0)?;
        data.check(party)?;
        if self.party != party.id {
            return Err(PasskeyFault::Party);
        }
        let is_verified = data.flags & VERIFIED != 0;
        if is_alone && !is_verified {
            return Err(PasskeyFault::Verified);
        }
        if (data.flags & SYNCABLE != 0) != self.is_syncable {
            return Err(PasskeyFault::Form);
        }
        let hash = Digest::of(&response.client_data.0).0;
        let signed = [&response.authenticator_data.0[..], &hash].concat();
        if !self.key.verifies(&signed, &response.signature.0, Form::Asn1) {
            return Err(PasskeyFault::Signature);
        }
        if self.blocked.is_some() {
            return Err(PasskeyFault::Blocked);
        }
        let shown = Shown { is_verified, is_synced: data.flags & SYNCED != 0, counter: data.counter };
        if self.is_copied(shown) { Err(PasskeyFault::Copied) } else { Ok(shown) }
    }

    /// Whether a counter that goes back says that there is a copy. Many passkeys have none: then it is always zero.
    pub(super) fn is_copied(&self, shown: Shown) -> bool {
        (shown.counter != 0 || self.counter != 0) && shown.counter <= self.counter
    }
}

fn listed(passkeys: &[&Passkey], party: &Party) -> Vec<serde_json::Value> {
    let ours = passkeys.iter().filter(|passkey| passkey.party == party.id);
    ours.map(|passkey| json!({ "type": "public-key", "id": passkey.id })).collect()
}

/// What the browser says of who has asked.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ClientData {
    r#type: String,
    challenge: Base64Url,
    origin: String,
    #[serde(default)]
    cross_origin: bool,
    #[serde(default)]
    top_origin: Option<String>,
}

fn client_data(
    bytes: &[u8],
    kind: &str,
    challenge: &Challenge,
    party: &Party,
    now: Stamp,
) -> Result<(), PasskeyFault> {
    let data: ClientData = serde_json::from_slice(bytes).map_err(|_| PasskeyFault::Form)?;
    if data.r#type != kind {
        return Err(PasskeyFault::Kind);
    }
    if !challenge.is(&data.challenge.0, now) {
        return Err(PasskeyFault::Challenge);
    }
    if data.origin != party.origin || data.cross_origin || data.top_origin.is_some() {
        return Err(PasskeyFault::Origin);
    }
    Ok(())
}

/// What the authenticator says (WebAuthn section 6.1).
struct AuthenticatorData {
    party: [u8; 32],
    flags: u8,
    counter: u32,
    /// Id and key of one that was just made.
    credential: Option<(Vec<u8>, Value)>,
}

impl AuthenticatorData {
    fn read(bytes: &[u8]) -> Result<Self, PasskeyFault> {
        let cut = PasskeyFault::Form;
        let (party, rest) = bytes.split_first_chunk::<32>().ok_or(cut)?;
        let ([flags], rest) = rest.split_first_chunk::<1>().ok_or(cut)?;
        let (counter, mut rest) = rest.split_first_chunk::<4>().ok_or(cut)?;
        let mut credential = None;
        if flags & CREDENTIAL != 0 {
            let (_model, more) = rest.split_first_chunk::<16>().ok_or(cut)?;
            let (length, more) = more.split_first_chunk::<2>().ok_or(cut)?;
            let (id, more) = more.split_at_checked(usize::from(u16::from_be_bytes(*length))).ok_or(cut)?;
            rest = more;
            credential = Some((id.to_vec(), first(&mut rest)?));
        }
        // Extensions that nobody has asked for: read over, and of no effect.
        if flags & EXTENSIONS != 0 && !first(&mut rest)?.is_map() {
            return Err(cut);
        }
        if !rest.is_empty() {
            return Err(cut);
        }
        Ok(Self { party: *party, flags: *flags, counter: u32::from_be_bytes(*counter), credential })
    }

    fn check(&self, party: &Party) -> Result<(), PasskeyFault> {
        if self.party != Digest::of(party.id.as_bytes()).0 {
            return Err(PasskeyFault::Party);
        }
        if self.flags & PRESENT == 0 {
            return Err(PasskeyFault::Present);
        }
        // One that cannot be on several devices is not.
        if self.flags & SYNCED != 0 && self.flags & SYNCABLE == 0 { Err(PasskeyFault::Form) } else { Ok(()) }
    }
}

/// The first value of some CBOR, which is then behind.
fn first(bytes: &mut &[u8]) -> Result<Value, PasskeyFault> {
    ciborium::de::from_reader_with_recursion_limit(bytes, DEPTH_MAX).map_err(|_| PasskeyFault::Form)
}

fn whole(mut bytes: &[u8]) -> Result<Value, PasskeyFault> {
    let value = first(&mut bytes)?;
    if bytes.is_empty() { Ok(value) } else { Err(PasskeyFault::Form) }
}

/// A field of a map; nothing where it is there twice.
fn field<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    let mut found = value.as_map()?.iter().filter(|(known, _)| known.as_text() == Some(name));
    match (found.next(), found.next()) {
        (Some((_, value)), None) => Some(value),
        _ => None,
    }
}

/// How long a challenge may be answered.
const CHALLENGE: std::time::Duration = std::time::Duration::from_secs(5 * 60);
/// Bytes of the longest id (WebAuthn section 4).
const ID_BYTES_MAX: usize = 1_023;
/// How deep CBOR of an authenticator goes at most (CTAP 2.1 section 8 says four).
const DEPTH_MAX: usize = 8;
const PRESENT: u8 = 1;
const VERIFIED: u8 = 1 << 2;
const SYNCABLE: u8 = 1 << 3;
const SYNCED: u8 = 1 << 4;
const CREDENTIAL: u8 = 1 << 6;
const EXTENSIONS: u8 = 1 << 7;

#[cfg(test)]
pub(crate) mod soft;
#[cfg(test)]
mod tests;
