use std::collections::BTreeMap;

use serde_json::json;

use super::soft::Soft;
use super::*;
use crate::seal::random::Seeded;

fn at(seconds: u64) -> Stamp {
    Stamp::from_unix_nanos((1_800_000_000 + seconds) * 1_000_000_000)
}

fn ours() -> Party {
    Party::of_host("example.org").unwrap()
}

/// Vectors by name, each with its fields.
fn vectors() -> BTreeMap<&'static str, BTreeMap<&'static str, Base64Url>> {
    let (mut all, mut name) = (BTreeMap::<_, BTreeMap<_, _>>::new(), "");
    for line in include_str!("vectors.txt").lines().filter(|line| !line.starts_with('#')) {
        if let Some(section) = line.strip_prefix('[') {
            name = section.trim_end_matches(']');
            continue;
        }
        let (field, hex) = line.split_once(" = ").unwrap();
        let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        let bytes = (0..hex.len()).step_by(2).map(byte).collect();
        all.entry(name).or_default().insert(field, Base64Url(bytes));
    }
    all
}

type Fields = BTreeMap<&'static str, Base64Url>;

fn challenge(fields: &Fields, of: &str) -> Challenge {
    Challenge { bytes: fields[of].clone(), until: at(300) }
}

fn registration(fields: &Fields) -> Registration {
    Registration {
        id: fields["create.credential_id"].clone(),
        response: RegistrationResponse {
            client_data: fields["create.clientDataJSON"].clone(),
            attestation_object: fields["create.attestationObject"].clone(),
        },
    }
}

fn assertion(fields: &Fields) -> Assertion {
    Assertion {
        id: fields["create.credential_id"].clone(),
        response: AssertionResponse {
            client_data: fields["get.clientDataJSON"].clone(),
            authenticator_data: fields["get.authenticatorData"].clone(),
            signature: fields["get.signature"].clone(),
            user_handle: None,
        },
    }
}

fn register(fields: &Fields) -> Result<Passkey, PasskeyFault> {
    let challenge = challenge(fields, "create.challenge");
    Passkey::register(&registration(fields), (&challenge, &ours()), "key", &Base64Url(b"ewa".to_vec()), at(0))
}

/// The same with the statement of its maker taken away, as browsers do where none is asked for.
fn without_attestation(fields: &Fields) -> Fields {
    let object = whole(&fields["create.attestationObject"].0).unwrap();
    let stripped = Value::Map(vec![
        (Value::from("fmt"), Value::from("none")),
        (Value::from("attStmt"), Value::Map(Vec::new())),
        (Value::from("authData"), field(&object, "authData").unwrap().clone()),
    ]);
    let mut bytes = Vec::new();
    ciborium::into_writer(&stripped, &mut bytes).unwrap();
    let mut fields = fields.clone();
    fields.insert("create.attestationObject", Base64Url(bytes));
    fields
}

#[test]
fn the_vectors_of_the_standard_hold() {
    let all = vectors();
    assert_eq!(all.len(), 7);
    for (name, fields) in &all {
        let fields = match *name {
            name if name.starts_with("packed") => {
                assert_eq!(register(fields), Err(PasskeyFault::Attestation), "{name}");
                without_attestation(fields)
            }
            _ => fields.clone(),
        };
        if name.contains("Origin") {
            // Within another page: we are never.
            assert_eq!(register(&fields), Err(PasskeyFault::Origin), "{name}");
            continue;
        }
        let passkey = register(&fields).unwrap_or_else(|fault| panic!("{name}: {fault}"));
        assert_eq!((passkey.counter, &passkey.party), (0, &"example.org".to_owned()));
        let kind = if name.contains("rs256") {
            "RS256"
        } else if name.contains("eddsa") {
            "EdDSA"
        } else {
            "ES256"
        };
        assert_eq!(passkey.key.algorithm(), kind, "{name}");
        let asked = (&challenge(&fields, "get.challenge"), &ours());
        let answer = assertion(&fields);
        let shown = passkey.check(&answer, asked, false, at(0));
        let flags = fields["get.authenticatorData"].0[32];
        let is_verified = flags & VERIFIED != 0;
        assert_eq!(shown.map(|shown| shown.is_verified), Ok(is_verified), "{name}");
        let mut alone = answer.clone();
        alone.response.user_handle = Some(Base64Url(b"ewa".to_vec()));
        let expected = if is_verified { Ok(true) } else { Err(PasskeyFault::Verified) };
        assert_eq!(
            passkey.check(&alone, asked, true, at(0)).map(|shown| shown.is_verified),
            expected,
            "{name}"
        );
        // Each byte that is signed, and of the signature.
        for place in 0..answer.response.signature.0.len() {
            let mut edited = answer.clone();
            edited.response.signature.0[place] ^= 1;
            assert_eq!(
                passkey.check(&edited, asked, false, at(0)),
                Err(PasskeyFault::Signature),
                "{name} {place}"
            );
        }
        for place in 0..answer.response.authenticator_data.0.len() {
            let mut edited = answer.clone();
            edited.response.authenticator_data.0[place] ^= 1;
            assert!(passkey.check(&edited, asked, false, at(0)).is_err(), "{name} {place}");
        }
        for place in 0..answer.response.client_data.0.len() {
            let mut edited = answer.clone();
            edited.response.client_data.0[place] ^= 1;
            assert!(passkey.check(&edited, asked, false, at(0)).is_err(), "{name} {place}");
        }
    }
}

/// A passkey in software, and what it was made with.
struct Desk {
    random: Seeded,
    party: Party,
    soft: Soft,
    passkey: Passkey,
}

impl Desk {
    fn new() -> Self {
        let party = Party::of_host("vault.example.org:8443").unwrap();
        let (mut random, mut soft) = (Seeded::new(&[1; 32], "passkey", 0), Soft::new(7, &party.origin));
        let challenge = Challenge::generate(&mut random, at(0));
        let handle = Base64Url(vec![9; 32]);
        let options = Passkey::creation(&challenge, &party, "vault", ("ewa", &handle), &[]);
        let answer = serde_json::from_value(soft.create(&options)).unwrap();
        let passkey = Passkey::register(&answer, (&challenge, &party), "key", &handle, at(0)).unwrap();
        Self { random, party, soft, passkey }
    }

    fn challenge(&mut self) -> Challenge {
        Challenge::generate(&mut self.random, at(0))
    }

    /// Asks, has the software answer after `change`, and says what that proves.
    fn ask(&mut self, is_alone: bool, change: impl FnOnce(&mut Soft)) -> Result<Shown, PasskeyFault> {
        let challenge = self.challenge();
        change(&mut self.soft);
        let options = Passkey::request(&challenge, &self.party, &[&self.passkey]);
        let answer = serde_json::from_value(self.soft.get(&options)).unwrap();
        self.passkey.check(&answer, (&challenge, &self.party), is_alone, at(1))
    }
}

#[test]
fn what_a_stranger_gets_out_of_a_passkey_proves_nothing() {
    let party = Desk::new().party;
    assert_eq!(
        (party.id.as_str(), party.origin.as_str()),
        ("vault.example.org", "https://vault.example.org:8443")
    );
    assert!(Desk::new().ask(true, |_| ()).unwrap().is_verified);
    type Change = fn(&mut Soft);
    let cases: &[(&str, PasskeyFault, Change)] = &[
        ("another page", PasskeyFault::Origin, |soft| soft.origin = "https://evil.example".into()),
        ("plain", PasskeyFault::Origin, |soft| soft.origin = "http://vault.example.org:8443".into()),
        ("another port", PasskeyFault::Origin, |soft| soft.origin = "https://vault.example.org".into()),
        ("a name that begins so", PasskeyFault::Origin, |soft| {
            soft.origin = "https://vault.example.org.evil.example:8443".into();
        }),
        ("a frame", PasskeyFault::Origin, |soft| soft.cross_origin = true),
        ("another party", PasskeyFault::Party, |soft| soft.party = Some("example.org".into())),
        ("nobody there", PasskeyFault::Present, |soft| soft.flags = 4),
        ("not known who", PasskeyFault::Verified, |soft| soft.flags = 1),
        ("synced, and cannot be", PasskeyFault::Form, |soft| soft.flags = 5 | SYNCED),
        ("can be synced now", PasskeyFault::Form, |soft| soft.flags = 5 | SYNCABLE),
        ("another's", PasskeyFault::Unknown, |soft| soft.id = vec![8; 24]),
        ("another user's", PasskeyFault::Unknown, |soft| soft.handle = "AAAA".into()),
        ("a copy", PasskeyFault::Copied, |soft| soft.counter = 0),
        ("one that never counted", PasskeyFault::Copied, |soft| soft.counter = u32::MAX - 1),
    ];
    for (what, fault, change) in cases {
        let mut desk = Desk::new();
        if *what == "one that never counted" {
            desk.passkey.counter = u32::MAX;
        }
        assert_eq!(desk.ask(true, change), Err(*fault), "{what}");
    }
    // With a password beside it, to be there is enough.
    assert!(!Desk::new().ask(false, |soft| soft.flags = 1).unwrap().is_verified);
    let mut blocked = Desk::new();
    blocked.passkey.blocked = Some(at(0));
    assert_eq!(blocked.ask(true, |_| ()), Err(PasskeyFault::Blocked));
    let mut elsewhere = Desk::new();
    elsewhere.passkey.party = "localhost".into();
    assert_eq!(elsewhere.ask(true, |_| ()), Err(PasskeyFault::Party));
}

#[test]
fn an_answer_is_to_one_question_and_in_time() {
    let mut desk = Desk::new();
    let (asked, other) = (desk.challenge(), desk.challenge());
    let options = Passkey::request(&asked, &desk.party, &[]);
    assert_eq!(options["userVerification"], "required");
    let answer: Assertion = serde_json::from_value(desk.soft.get(&options)).unwrap();
    let check = |challenge: &Challenge, now| desk.passkey.check(&answer, (challenge, &desk.party), true, now);
    assert_eq!(check(&other, at(1)), Err(PasskeyFault::Challenge));
    assert_eq!(check(&asked, at(300)), Err(PasskeyFault::Challenge));
    assert!(check(&asked, at(299)).is_ok());
    // What was to make one uses none, and the other way round.
    let mut twisted = answer.clone();
    let client = String::from_utf8(twisted.response.client_data.0.clone()).unwrap();
    twisted.response.client_data.0 = client.replace("webauthn.get", "webauthn.create").into_bytes();
    let twisted = desk.passkey.check(&twisted, (&asked, &desk.party), true, at(1));
    assert_eq!(twisted, Err(PasskeyFault::Kind));
    let nobody = Assertion {
        response: AssertionResponse { user_handle: None, ..answer.response.clone() },
        ..answer.clone()
    };
    let nobody = desk.passkey.check(&nobody, (&asked, &desk.party), true, at(1));
    assert_eq!(nobody, Err(PasskeyFault::Unknown));
}

#[test]
fn names_have_passkeys_and_addresses_have_none() {
    for host in ["localhost:8443", "vault.example.org", "Vault.Example.org:1"] {
        assert!(Party::of_host(host).is_some(), "{host}");
    }
    assert_eq!(Party::of_host("Vault.Example.org:1").unwrap().origin, "https://vault.example.org:1");
    for host in ["127.0.0.1:8443", "127.0.0.1", "[::1]:8443", "[::1]", "", ":8443"] {
        assert_eq!(Party::of_host(host), None, "{host}");
    }
}

/// Cut anywhere, long beyond all memory, nested beyond all stacks: no answer, and no harm.
#[test]
fn what_is_no_answer_is_refused_and_nothing_ends_by_it() {
    let fields = &vectors()["none-es256"];
    let object = fields["create.attestationObject"].0.clone();
    let with = |bytes: Vec<u8>| {
        let mut fields = fields.clone();
        fields.insert("create.attestationObject", Base64Url(bytes));
        register(&fields).map(drop)
    };
    assert_eq!(with(object.clone()), Ok(()));
    for length in 0..object.len() {
        assert!(with(object[..length].to_vec()).is_err(), "{length}");
    }
    assert_eq!(with([&object[..], &[0]].concat()), Err(PasskeyFault::Form), "something behind it");
    for head in [0x5b, 0x7b, 0x9b, 0xbb] {
        let huge = [&[head][..], &[0xff; 8], &[0x00; 64]].concat();
        assert_eq!(with(huge.clone()), Err(PasskeyFault::Form), "{head:x}");
        let inside = [&[0xa1, 0x63][..], b"fmt", &huge].concat();
        assert_eq!(with(inside), Err(PasskeyFault::Form), "{head:x}");
    }
    for deep in [0x81, 0xc6, 0x9f, 0xa1, 0xbf, 0x5f, 0x7f] {
        assert_eq!(with(vec![deep; 60_000]), Err(PasskeyFault::Form), "{deep:x}");
    }
    let mut random = Seeded::new(&[3; 32], "cbor", 0);
    for _ in 0..20_000 {
        let mut edited = object.clone();
        let mut bytes = [0; 4];
        random.fill(&mut bytes);
        let place = usize::from(u16::from_be_bytes([bytes[0], bytes[1]])) % edited.len();
        edited[place] = bytes[2];
        let length = edited.len() - usize::from(bytes[3] % 8);
        let _ = with(edited[..length].to_vec());
    }
    for client in ["", "{", "[]", "{\"type\":\"webauthn.create\"}", "\u{0}"] {
        let mut fields = fields.clone();
        fields.insert("create.clientDataJSON", Base64Url(client.as_bytes().to_vec()));
        assert_eq!(register(&fields), Err(PasskeyFault::Form), "{client}");
    }
}

#[test]
fn what_is_asked_names_no_other_vaults_passkeys() {
    let mut desk = Desk::new();
    let challenge = desk.challenge();
    let mut other = desk.passkey.clone();
    (other.party, other.id) = ("localhost".into(), Base64Url(vec![1]));
    let asked = Passkey::request(&challenge, &desk.party, &[&desk.passkey, &other]);
    assert_eq!(asked["allowCredentials"], json!([{ "type": "public-key", "id": desk.passkey.id }]));
    assert_eq!(asked["userVerification"], "preferred");
    let handle = desk.passkey.handle().clone();
    let made =
        Passkey::creation(&challenge, &desk.party, "vault", ("ewa", &handle), &[&desk.passkey, &other]);
    assert_eq!(made["excludeCredentials"].as_array().unwrap().len(), 1);
    assert_eq!(
        (made["attestation"].as_str(), made["rp"]["id"].as_str()),
        (Some("none"), Some("vault.example.org"))
    );
}
