//! An authenticator in software, for tests: honest unless it is told otherwise.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ciborium::Value;
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::json;

use crate::archive::record::Digest;

/// One passkey.
pub(crate) struct Soft {
    pair: Ed25519KeyPair,
    pub(crate) id: Vec<u8>,
    pub(crate) handle: String,
    pub(crate) counter: u32,
    /// Present and verified.
    pub(crate) flags: u8,
    /// Where the browser is.
    pub(crate) origin: String,
    /// What it takes itself to be asked by; of the options where it is not said.
    pub(crate) party: Option<String>,
    pub(crate) cross_origin: bool,
}

impl Soft {
    pub(crate) fn new(seed: u8, origin: &str) -> Self {
        Self {
            pair: Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap(),
            id: vec![seed; 24],
            handle: String::new(),
            counter: 1,
            flags: 5,
            origin: origin.into(),
            party: None,
            cross_origin: false,
        }
    }

    /// What a browser sends where a passkey is made.
    pub(crate) fn create(&mut self, options: &serde_json::Value) -> serde_json::Value {
        options["user"]["id"].as_str().unwrap().clone_into(&mut self.handle);
        let key = Value::Map(vec![
            (Value::from(1), Value::from(1)),
            (Value::from(3), Value::from(-8)),
            (Value::from(-1), Value::from(6)),
            (Value::from(-2), Value::Bytes(self.pair.public_key().as_ref().to_vec())),
        ]);
        let mut data = self.data(options["rp"]["id"].as_str().unwrap(), 0x40);
        data.extend([0; 16]);
        data.extend(u16::try_from(self.id.len()).unwrap().to_be_bytes());
        data.extend(&self.id);
        ciborium::into_writer(&key, &mut data).unwrap();
        let attestation = Value::Map(vec![
            (Value::from("fmt"), Value::from("none")),
            (Value::from("attStmt"), Value::Map(Vec::new())),
            (Value::from("authData"), Value::Bytes(data)),
        ]);
        let mut object = Vec::new();
        ciborium::into_writer(&attestation, &mut object).unwrap();
        let client = self.client("webauthn.create", options);
        let response = json!({
            "clientDataJSON": URL_SAFE_NO_PAD.encode(client),
            "attestationObject": URL_SAFE_NO_PAD.encode(object),
            "transports": ["internal"],
        });
        self.answer(&response)
    }

    /// What a browser sends where it is used.
    pub(crate) fn get(&mut self, options: &serde_json::Value) -> serde_json::Value {
        self.counter += 1;
        let data = self.data(options["rpId"].as_str().unwrap(), 0);
        let client = self.client("webauthn.get", options);
        let signed = self.pair.sign(&[&data[..], &Digest::of(client.as_bytes()).0].concat());
        let response = json!({
            "clientDataJSON": URL_SAFE_NO_PAD.encode(client),
            "authenticatorData": URL_SAFE_NO_PAD.encode(data),
            "signature": URL_SAFE_NO_PAD.encode(signed.as_ref()),
            "userHandle": self.handle,
        });
        self.answer(&response)
    }

    fn answer(&self, response: &serde_json::Value) -> serde_json::Value {
        let id = URL_SAFE_NO_PAD.encode(&self.id);
        json!({ "id": id, "rawId": id, "type": "public-key", "response": response, "clientExtensionResults": {} })
    }

    fn data(&self, party: &str, more: u8) -> Vec<u8> {
        let party = self.party.as_deref().unwrap_or(party);
        let mut data = Digest::of(party.as_bytes()).0.to_vec();
        data.push(self.flags | more);
        data.extend(self.counter.to_be_bytes());
        data
    }

    fn client(&self, kind: &str, options: &serde_json::Value) -> String {
        let (challenge, origin) = (&options["challenge"], &self.origin);
        json!({ "type": kind, "challenge": challenge, "origin": origin, "crossOrigin": self.cross_origin })
            .to_string()
    }
}
