//! Custodians' keys in hardware: PKCS#11, a P-256 key that never leaves its token.
//!
//! An identity file has one line, a PKCS#11 URI (RFC 7512), and no secret:
//!
//! ```text
//! pkcs11:token=ewa;object=sejf?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=/run/ewa.pin
//! ```

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use age::Callbacks as _;
use age_core::format::Stanza;
use age_core::secrecy::ExposeSecret;
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error as CkError, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::elliptic_curve::{EcKdf, Ecdh1DeriveParams};
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::types::AuthPin;
use zeroize::Zeroizing;

use crate::seal::tagged::TaggedRecipient;

/// What a PKCS#11 URI names.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct KeyUri {
    /// Label of the token.
    pub token: String,
    /// Label of the key.
    pub object: String,
    /// The module: a shared library.
    pub module: PathBuf,
    /// File with the PIN; asked for at the terminal where it is not said.
    pub pin_source: Option<PathBuf>,
}

/// Why a key in hardware cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HsmError {
    /// No URI, or one with less than it takes.
    #[error("`{0}` names no key: write pkcs11:token=LABEL;object=LABEL?module-path=FILE&pin-source=FILE")]
    Uri(String),
    /// The PIN cannot be had.
    #[error("reading the PIN `{}`: {source}", path.display())]
    Pin {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Nobody is there to ask for the PIN.
    #[error("the PIN of token `{0}` was not given: say pin-source=FILE in the URI")]
    NoPin(String),
    /// The module does not do it.
    #[error("{doing} with PKCS#11 module `{}`: {source}", module.display())]
    Module {
        /// What was being done.
        doing: &'static str,
        /// The module.
        module: PathBuf,
        /// Why.
        source: Box<CkError>,
    },
    /// There is none of that name.
    #[error("module `{}` has no {what} `{name}`", module.display())]
    Missing {
        /// The module.
        module: PathBuf,
        /// A token or a key.
        what: &'static str,
        /// Its label.
        name: String,
    },
    /// There is one of that name.
    #[error("token `{token}` has a key `{object}` already: take another name")]
    Exists {
        /// The token.
        token: String,
        /// The key.
        object: String,
    },
    /// Not of P-256.
    #[error("key `{0}` is not of the curve P-256")]
    Curve(String),
}

/// A key in hardware, ready to open what is sealed to its recipient.
pub struct HsmIdentity {
    session: Mutex<Session>,
    private: ObjectHandle,
    recipient: TaggedRecipient,
}

impl KeyUri {
    /// Reads a URI.
    pub fn parse(text: &str) -> Result<Self, HsmError> {
        let fault = || HsmError::Uri(text.into());
        let rest = text.trim().strip_prefix("pkcs11:").ok_or_else(fault)?;
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut uri = Self::default();
        for (field, separator) in [(path, ';'), (query, '&')] {
            for pair in field.split(separator).filter(|pair| !pair.is_empty()) {
                let (name, value) = pair.split_once('=').ok_or_else(fault)?;
                let value = decode(value).ok_or_else(fault)?;
                match (separator, name) {
                    (';', "token") => uri.token = value,
                    (';', "object") => uri.object = value,
                    // Which of the key's two halves is ours to say.
                    (';', "type") => {}
                    ('&', "module-path") => uri.module = value.into(),
                    ('&', "pin-source") => {
                        uri.pin_source = Some(value.strip_prefix("file:").unwrap_or(&value).into());
                    }
                    _ => return Err(fault()),
                }
            }
        }
        let is_whole = !uri.token.is_empty() && !uri.object.is_empty() && uri.module.is_absolute();
        if is_whole { Ok(uri) } else { Err(fault()) }
    }

    fn module_fault(&self, doing: &'static str) -> impl Fn(CkError) -> HsmError + '_ {
        move |source| HsmError::Module { doing, module: self.module.clone(), source: Box::new(source) }
    }

    fn missing(&self, what: &'static str, name: &str) -> HsmError {
        HsmError::Missing { module: self.module.clone(), what, name: name.into() }
    }

    fn pin(&self) -> Result<AuthPin, HsmError> {
        let text = match &self.pin_source {
            Some(path) => {
                let read = std::fs::read_to_string(path);
                read.map_err(|source| HsmError::Pin { path: path.clone(), source })?
            }
            None => {
                let asked =
                    age::cli_common::UiCallbacks.request_passphrase(&format!("PIN of token {}", self.token));
                asked.ok_or_else(|| HsmError::NoPin(self.token.clone()))?.expose_secret().to_owned()
            }
        };
        let text = Zeroizing::new(text);
        Ok(AuthPin::new(text.trim_end_matches(['\r', '\n']).to_owned().into()))
    }

    /// Logs in to the token.
    fn open(&self, writing: bool) -> Result<Session, HsmError> {
        let module = Pkcs11::new(&self.module).map_err(self.module_fault("loading"))?;
        match module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
            // Another custodian's key is in the same module.
            Err(CkError::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
            other => other.map_err(self.module_fault("beginning"))?,
        }
        let slots = module.get_slots_with_initialized_token().map_err(self.module_fault("listing tokens"))?;
        for slot in slots {
            let info = module.get_token_info(slot).map_err(self.module_fault("asking a token"))?;
            if info.label().trim_end() != self.token {
                continue;
            }
            let opened = if writing { module.open_rw_session(slot) } else { module.open_ro_session(slot) };
            let session = opened.map_err(self.module_fault("opening a session"))?;
            match session.login(UserType::User, Some(&self.pin()?)) {
                Err(CkError::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => {}
                other => other.map_err(self.module_fault("logging in"))?,
            }
            return Ok(session);
        }
        Err(self.missing("token", &self.token))
    }

    fn find(&self, session: &Session, class: ObjectClass) -> Result<Option<ObjectHandle>, HsmError> {
        let template = [
            Attribute::Class(class),
            Attribute::KeyType(KeyType::EC),
            Attribute::Label(self.object.clone().into_bytes()),
        ];
        let found = session.find_objects(&template).map_err(self.module_fault("looking for the key"))?;
        Ok(found.first().copied())
    }
}

impl HsmIdentity {
    /// Opens the key that a URI names.
    pub fn open(uri: &KeyUri) -> Result<Self, HsmError> {
        let session = uri.open(false)?;
        let private = uri.find(&session, ObjectClass::PRIVATE_KEY)?;
        let private = private.ok_or_else(|| uri.missing("key", &uri.object))?;
        let public = uri.find(&session, ObjectClass::PUBLIC_KEY)?;
        let public = public.ok_or_else(|| uri.missing("public key", &uri.object))?;
        let recipient = recipient_of(uri, &session, public)?;
        Ok(Self { session: Mutex::new(session), private, recipient })
    }

    /// Makes a key in a token, which it never leaves, and opens it.
    pub fn generate(uri: &KeyUri) -> Result<Self, HsmError> {
        let session = uri.open(true)?;
        if uri.find(&session, ObjectClass::PRIVATE_KEY)?.is_some() {
            return Err(HsmError::Exists { token: uri.token.clone(), object: uri.object.clone() });
        }
        let label = Attribute::Label(uri.object.clone().into_bytes());
        let public = [
            Attribute::Token(true),
            Attribute::Private(false),
            Attribute::Derive(true),
            Attribute::EcParams(P256_OID.to_vec()),
            label.clone(),
        ];
        let private = [
            Attribute::Token(true),
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::Derive(true),
            label,
        ];
        let (public, private) = session
            .generate_key_pair(&Mechanism::EccKeyPairGen, &public, &private)
            .map_err(uri.module_fault("making a key"))?;
        let recipient = recipient_of(uri, &session, public)?;
        Ok(Self { session: Mutex::new(session), private, recipient })
    }

    /// What is sealed to it: `age1tag1…`.
    pub fn recipient(&self) -> String {
        self.recipient.to_text()
    }

    /// The x-coordinate of a point times the key (ECDH, SP 800-56A section 5.7.1.2).
    fn multiply(&self, point: &[u8]) -> Result<Zeroizing<[u8; 32]>, CkError> {
        let session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        let template = [
            Attribute::Class(ObjectClass::SECRET_KEY),
            Attribute::KeyType(KeyType::GENERIC_SECRET),
            Attribute::Sensitive(false),
            Attribute::Extractable(true),
            Attribute::Token(false),
        ];
        let derive = |point: &[u8]| {
            let params = Ecdh1DeriveParams::new(EcKdf::null(), point);
            session.derive_key(&Mechanism::Ecdh1Derive(params), self.private, &template)
        };
        // Some take the point as it is, some in an OCTET STRING.
        let derived = derive(point).or_else(|_| derive(&octet_string(point)))?;
        let attributes = session.get_attributes(derived, &[AttributeType::Value]);
        session.destroy_object(derived)?;
        let mut product = Zeroizing::new([0; 32]);
        for attribute in attributes? {
            if let Attribute::Value(value) = attribute {
                let value = Zeroizing::new(value);
                if value.len() == product.len() {
                    product.copy_from_slice(&value);
                    return Ok(product);
                }
            }
        }
        Err(CkError::InvalidValue)
    }
}

impl age::Identity for HsmIdentity {
    fn unwrap_stanza(&self, stanza: &Stanza) -> Option<Result<age_core::format::FileKey, age::DecryptError>> {
        let mut fault = None;
        let unwrapped = self.recipient.unwrap(stanza, |point| {
            self.multiply(point).map_err(|error| fault = Some(std::io::Error::other(error.to_string()))).ok()
        });
        if let Some(fault) = fault {
            return Some(Err(age::DecryptError::Io(fault)));
        }
        match unwrapped {
            Ok(Some(key)) => Some(Ok(age_core::format::FileKey::new(Box::new(*key.expose())))),
            Ok(None) => None,
            Err(_) => Some(Err(age::DecryptError::InvalidHeader)),
        }
    }
}

impl std::fmt::Debug for HsmIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "HsmIdentity({}, ..)", self.recipient())
    }
}

fn recipient_of(uri: &KeyUri, session: &Session, public: ObjectHandle) -> Result<TaggedRecipient, HsmError> {
    let attributes = session
        .get_attributes(public, &[AttributeType::EcPoint])
        .map_err(uri.module_fault("reading the public key"))?;
    let point = attributes.into_iter().find_map(|attribute| match attribute {
        Attribute::EcPoint(point) => Some(point),
        _ => None,
    });
    let point = point.ok_or_else(|| HsmError::Curve(uri.object.clone()))?;
    // An OCTET STRING in DER, or the point as it is.
    let raw = point.strip_prefix(&OCTET_STRING_OF_POINT).unwrap_or(&point);
    TaggedRecipient::from_sec1(raw).ok_or_else(|| HsmError::Curve(uri.object.clone()))
}

fn octet_string(point: &[u8]) -> Vec<u8> {
    [&OCTET_STRING_OF_POINT, point].concat()
}

/// Percent-decoding of RFC 3986.
fn decode(text: &str) -> Option<String> {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        rest = after;
        let digits = std::str::from_utf8(digits).ok().filter(|digits| !digits.starts_with('+'))?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
    }
    String::from_utf8(bytes).ok()
}

/// Of the curve P-256 (RFC 5480 section 2.1.1.1).
const P256_OID: [u8; 10] = [0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
/// Tag and length of 65 bytes.
const OCTET_STRING_OF_POINT: [u8; 2] = [0x04, 0x41];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_is_read_and_no_pin_is_taken_in_it() {
        let uri = KeyUri::parse(
            "pkcs11:token=My%20token;object=sejf;type=private?module-path=/usr/lib/p.so&pin-source=file:/run/pin",
        );
        let expected = KeyUri {
            token: "My token".into(),
            object: "sejf".into(),
            module: "/usr/lib/p.so".into(),
            pin_source: Some("/run/pin".into()),
        };
        assert_eq!(uri.unwrap(), expected);
        for wrong in [
            "",
            "pkcs11:",
            "pkcs11:token=a?module-path=/p.so",
            "pkcs11:token=a;object=b?module-path=p.so",
            "pkcs11:token=a;object=b?module-path=/p.so&pin-value=1234",
            "pkcs11:token=%+1;object=b?module-path=/p.so",
            "pkcs11:token=%2;object=b?module-path=/p.so",
        ] {
            assert!(KeyUri::parse(wrong).is_err(), "{wrong}");
        }
    }
}
