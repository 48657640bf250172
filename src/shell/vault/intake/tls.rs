//! TLS between recorders and the vault: 1.3 alone, both sides prove who they are, and the vault is its own authority.
//!
//! ```text
//! tls/authority.pem, authority.key   signs the vault's own certificate and those of recorders
//! tls/server.key                     the vault's own, so that a pin of it holds when its certificate is made anew
//! tls/enrolled/SHA256                of each certificate that was issued: whose it is
//! tls/revoked                        SHA-256 of certificates that count no more, one a line
//! ```
//!
//! That a certificate is signed by the authority is not enough: it must be one of those that are enrolled.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::ToSpan;
use jiff::tz::TimeZone;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme};

use crate::archive::record::Digest;
use crate::base::time::Stamp;
use crate::seal::note::VerifyKey;
use crate::shell::disk::remedy;

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The operating system refused.
    #[error("{doing} `{}`: {source}{}", path.display(), remedy(source))]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A certificate, key or request is malformed.
    #[error("`{}`: {source}", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: rcgen::Error,
    },
    /// A file has no certificate, or no key.
    #[error("`{}` is no {what} in PEM: make it anew with `sejf vault enrol`", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What it should be.
        what: &'static str,
    },
    /// rustls does not take it.
    #[error("setting up TLS: {0}")]
    Rustls(#[from] rustls::Error),
    /// The trust in an authority cannot be set up.
    #[error("setting up TLS: {0}")]
    Verifier(#[from] rustls::client::VerifierBuilderError),
    /// A pin makes no sense.
    #[error(
        "a pin is the SHA-256 of the vault's public key: 64 hexadecimal digits, as `sejf vault enrol` prints it"
    )]
    Pin,
}

fn io(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> TlsError {
    let path = path.to_path_buf();
    move |source| TlsError::Io { doing, path, source }
}

fn certificate(path: &Path) -> impl FnOnce(rcgen::Error) -> TlsError {
    let path = path.to_path_buf();
    move |source| TlsError::Certificate { path, source }
}

/// The vault's own authority. Does not print.
pub struct Authority {
    dir: PathBuf,
    name: String,
    pem: String,
    key: KeyPair,
}

/// What a recorder is given.
#[derive(Clone, Debug)]
pub struct Enrolled {
    /// Its certificate, in PEM.
    pub certificate: String,
    /// Its private key, in PEM; none where it made one itself and sent a request.
    pub key: Option<zeroize::Zeroizing<String>>,
    /// SHA-256 of the certificate, by which it is revoked.
    pub fingerprint: String,
}

impl Authority {
    /// Takes up the authority in `dir`, or makes one. `vault` is the vault's name.
    pub fn open(dir: &Path, vault: &str, now: Stamp) -> Result<Self, TlsError> {
        make_dir(dir)?;
        make_dir(&dir.join(ENROLLED))?;
        let (path, key_path) = (dir.join("authority.pem"), dir.join("authority.key"));
        // The key is written first: without a certificate it is made anew.
        if !path.exists() {
            let key = KeyPair::generate().map_err(certificate(&key_path))?;
            let mut params = params(&format!("authority of vault {vault}"), now, AUTHORITY_DAYS);
            params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
            let made = params.self_signed(&key).map_err(certificate(&path))?;
            write(&key_path, key.serialize_pem().as_bytes())?;
            write(&path, made.pem().as_bytes())?;
        }
        let pem = std::fs::read_to_string(&path).map_err(io("reading", &path))?;
        let key = read_key(&key_path)?;
        Ok(Self { dir: dir.into(), name: server_name(vault), pem, key })
    }

    /// Its certificate, in PEM: what a recorder trusts.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// The name by which recorders know the vault, wherever it is reached.
    pub fn server_name(&self) -> &str {
        &self.name
    }

    /// SHA-256 of the vault's public key: for a pin.
    pub fn pin(&self, now: Stamp) -> Result<String, TlsError> {
        let (certificate, _) = self.server(now)?;
        Ok(Digest::of(&ParsedCertificate::try_from(&certificate)?.subject_public_key_info()).to_string())
    }

    /// Issues a certificate for the recorder whose receipts are signed by `recorder`. `request` is a PKCS#10 request in
    /// PEM; with none a key is made for it.
    pub fn enrol(
        &self,
        recorder: &VerifyKey,
        request: Option<&str>,
        now: Stamp,
    ) -> Result<Enrolled, TlsError> {
        let path = self.dir.join(ENROLLED);
        let mut params = params(&format!("recorder {}", recorder.name()), now, RECORDER_DAYS);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let issuer = self.issuer()?;
        let (made, key) = match request {
            Some(request) => {
                // Of what it asks for only its key counts.
                let mut asked =
                    CertificateSigningRequestParams::from_pem(request).map_err(certificate(&path))?;
                asked.params = params;
                (asked.signed_by(&issuer).map_err(certificate(&path))?, None)
            }
            None => {
                let key = KeyPair::generate().map_err(certificate(&path))?;
                let made = params.signed_by(&key, &issuer).map_err(certificate(&path))?;
                (made, Some(zeroize::Zeroizing::new(key.serialize_pem())))
            }
        };
        let fingerprint = fingerprint(made.der());
        let (year, month, day) = day(now, RECORDER_DAYS);
        let enrolled = format!("{recorder}\n{year:04}-{month:02}-{day:02}\n");
        write(&path.join(&fingerprint), enrolled.as_bytes())?;
        Ok(Enrolled { certificate: made.pem(), key, fingerprint })
    }

    /// The recorder whose certificate this is; nothing where it is not enrolled, or revoked. Both are looked up anew
    /// each time.
    pub fn recorder_of(&self, certificate: &CertificateDer<'_>) -> Result<VerifyKey, String> {
        let fingerprint = fingerprint(certificate);
        let revoked = match std::fs::read_to_string(self.dir.join(REVOKED)) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            // Access fails closed.
            other => {
                other.map_err(|error| format!("the list of revoked certificates cannot be read: {error}"))?
            }
        };
        if revoked.lines().any(|line| line.trim().eq_ignore_ascii_case(&fingerprint)) {
            return Err(format!("certificate {fingerprint} is revoked"));
        }
        let enrolled = std::fs::read_to_string(self.dir.join(ENROLLED).join(&fingerprint))
            .map_err(|_| format!("certificate {fingerprint} is not enrolled"))?;
        let recorder = enrolled.lines().next().unwrap_or_default();
        recorder
            .trim()
            .parse()
            .map_err(|_| format!("what certificate {fingerprint} is enrolled for is damaged"))
    }

    /// What a server needs. Its certificate is made anew each time.
    pub fn server_config(&self, now: Stamp) -> Result<ServerConfig, TlsError> {
        let provider = provider();
        let roots = Arc::new(roots(&self.pem, &self.dir.join("authority.pem"))?);
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider)).build();
        let verifier = verifier.map_err(|error| rustls::Error::General(error.to_string()))?;
        let (certificate, key) = self.server(now)?;
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![certificate], key)?;
        // A certificate is looked up at each handshake: none is resumed.
        config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(config)
    }

    /// What a server needs that browsers and programs reach: it asks for no certificate. Its own is made anew each
    /// time, for these names and for those of loopback.
    pub fn web_config(&self, names: &[String], now: Stamp) -> Result<ServerConfig, TlsError> {
        let all = names.iter().map(String::as_str).chain([&*self.name, "localhost", "127.0.0.1", "::1"]);
        let (certificate, key) = self.certified(all, now)?;
        web_config(vec![certificate], key)
    }

    fn server(&self, now: Stamp) -> Result<(CertificateDer<'static>, PrivateKeyDer<'static>), TlsError> {
        self.certified([&*self.name].into_iter(), now)
    }

    fn certified<'a>(
        &self,
        names: impl Iterator<Item = &'a str>,
        now: Stamp,
    ) -> Result<(CertificateDer<'static>, PrivateKeyDer<'static>), TlsError> {
        let path = self.dir.join("server.key");
        if !path.exists() {
            let key = KeyPair::generate().map_err(certificate(&path))?;
            write(&path, key.serialize_pem().as_bytes())?;
        }
        let key = read_key(&path)?;
        let mut params = params(&self.name, now, SERVER_DAYS);
        for name in names {
            let san = match name.trim_start_matches('[').trim_end_matches(']').parse() {
                Ok(address) => rcgen::SanType::IpAddress(address),
                Err(_) => rcgen::SanType::DnsName(name.try_into().map_err(certificate(&path))?),
            };
            params.subject_alt_names.push(san);
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let made = params.signed_by(&key, &self.issuer()?).map_err(certificate(&path))?;
        let key = PrivateKeyDer::try_from(key.serialize_der())
            .map_err(|_| TlsError::Pem { path, what: "private key" })?;
        Ok((made.der().clone(), key))
    }

    fn issuer(&self) -> Result<Issuer<'static, &KeyPair>, TlsError> {
        Issuer::from_ca_cert_pem(&self.pem, &self.key).map_err(certificate(&self.dir.join("authority.pem")))
    }
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Authority({}, ..)", self.name)
    }
}

/// The same with a certificate and key that are given, in PEM.
pub fn web_config_of(certificate: &Path, key: &Path) -> Result<ServerConfig, TlsError> {
    let (chain, key) = read_chain(certificate, key)?;
    web_config(chain, key)
}

fn web_config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ServerConfig, TlsError> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn read_chain(
    certificate: &Path,
    key: &Path,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
    let read = |path: &Path| std::fs::read(path).map_err(io("reading", path));
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read(certificate)?).collect();
    let chain = chain.ok().filter(|chain| !chain.is_empty());
    let chain = chain.ok_or_else(|| TlsError::Pem { path: certificate.into(), what: "certificate" })?;
    let secret = zeroize::Zeroizing::new(read(key)?);
    let key = PrivateKeyDer::from_pem_slice(&secret)
        .map_err(|_| TlsError::Pem { path: key.into(), what: "private key" })?;
    Ok((chain, key))
}

/// What a recorder needs: files in PEM, and perhaps a pin.
pub fn client_config(
    authority: &Path,
    certificate: &Path,
    key: &Path,
    pin: Option<&str>,
) -> Result<ClientConfig, TlsError> {
    let provider = provider();
    let text = std::fs::read(authority).map_err(io("reading", authority))?;
    let roots = Arc::new(roots(&String::from_utf8_lossy(&text), authority)?);
    let (chain, key) = read_chain(certificate, key)?;
    let webpki = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider)).build()?;
    let pin =
        pin.map(|pin| Digest::try_from(pin.to_ascii_lowercase()).map_err(|_| TlsError::Pin)).transpose()?;
    let verifier = Arc::new(Pinned { webpki, pin });
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_auth_cert(chain, key)?;
    config.resumption = rustls::client::Resumption::disabled();
    Ok(config)
}

/// The oldest TLS that is spoken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Oldest {
    /// 1.2, with forward secrecy and authenticated encryption alone: RFC 9662 asks for it, and much syslog has no other.
    Tls12,
    /// 1.3.
    Tls13,
}

/// What it takes to reach a server of others: authorities in PEM, and our own certificate and key where it asks for them.
pub fn client_config_of(
    authority: &Path,
    own: Option<(&Path, &Path)>,
    oldest: Oldest,
) -> Result<ClientConfig, TlsError> {
    let both = [&rustls::version::TLS13, &rustls::version::TLS12];
    let versions = if oldest == Oldest::Tls12 { &both[..] } else { &both[..1] };
    let text = std::fs::read(authority).map_err(io("reading", authority))?;
    let roots = roots(&String::from_utf8_lossy(&text), authority)?;
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)?
        .with_root_certificates(roots);
    match own {
        Some((certificate, key)) => {
            let (chain, key) = read_chain(certificate, key)?;
            Ok(builder.with_client_auth_cert(chain, key)?)
        }
        None => Ok(builder.with_no_client_auth()),
    }
}

/// All that web PKI asks for, and the pin where there is one: it never takes away.
#[derive(Debug)]
struct Pinned {
    webpki: Arc<WebPkiServerVerifier>,
    pin: Option<Digest>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verified =
            self.webpki.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)?;
        if let Some(pin) = self.pin {
            let key = ParsedCertificate::try_from(end_entity)?.subject_public_key_info();
            if Digest::of(&key) != pin {
                return Err(rustls::CertificateError::ApplicationVerificationFailure.into());
            }
        }
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.webpki.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.webpki.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.webpki.supported_verify_schemes()
    }
}

/// When the first certificate of a file in PEM ends.
pub fn certificate_until(path: &Path) -> Result<Stamp, String> {
    let said = |fault: &dyn std::fmt::Display| format!("`{}`: {fault}", path.display());
    let bytes = std::fs::read(path).map_err(|fault| said(&fault))?;
    let first =
        CertificateDer::pem_slice_iter(&bytes).next().ok_or_else(|| said(&"no certificate in PEM"))?;
    let first = first.map_err(|fault| said(&fault))?;
    let (_, parsed) = x509_parser::parse_x509_certificate(&first).map_err(|fault| said(&fault))?;
    let seconds = u64::try_from(parsed.validity().not_after.timestamp()).unwrap_or(0);
    Ok(Stamp::from_unix_nanos(seconds.saturating_mul(1_000_000_000)))
}

/// Recorders with certificates that count, and until when: of each the one that lasts longest.
pub fn enrolled_until(dir: &Path) -> Result<BTreeMap<String, Stamp>, String> {
    let path = dir.join(ENROLLED);
    let said = |fault: std::io::Error| format!("listing `{}`: {fault}", path.display());
    let revoked = std::fs::read_to_string(dir.join(REVOKED)).unwrap_or_default().to_ascii_lowercase();
    let mut all: BTreeMap<String, Stamp> = BTreeMap::new();
    for entry in std::fs::read_dir(&path).map_err(said)? {
        let entry = entry.map_err(said)?;
        let name = entry.file_name().to_string_lossy().to_ascii_lowercase();
        if revoked.lines().any(|line| line.trim() == name) {
            continue;
        }
        let Ok(text) = std::fs::read_to_string(entry.path()) else { continue };
        let mut lines = text.lines();
        let Some(recorder) = lines.next().and_then(|line| line.trim().parse::<VerifyKey>().ok()) else {
            continue;
        };
        // What was enrolled before that was written down, lasts as long from when its file was made.
        let written = lines.next().and_then(|day| format!("{}T00:00:00Z", day.trim()).parse().ok());
        let made = || {
            let made = entry.metadata().ok()?.modified().ok()?;
            let made = jiff::Timestamp::try_from(made).ok()?;
            made.checked_add((RECORDER_DAYS * 24).hours()).ok()
        };
        let Some(until) = written.or_else(made) else { continue };
        let until = Stamp::from_unix_nanos(u64::try_from(until.as_nanosecond()).unwrap_or(0));
        let known = all.entry(recorder.name().to_owned()).or_insert(until);
        *known = (*known).max(until);
    }
    Ok(all)
}

/// SHA-256 of a certificate.
pub fn fingerprint(certificate: &CertificateDer<'_>) -> String {
    Digest::of(certificate).to_string()
}

/// The name by which a vault is known in TLS: `NAME.vault.sejf`, with what no host name has as `-`.
fn server_name(vault: &str) -> String {
    let plain = |character: char| {
        if character.is_ascii_alphanumeric() { character.to_ascii_lowercase() } else { '-' }
    };
    let name: String = vault.chars().map(plain).take(NAME_CHARS_MAX).collect();
    format!("{}.vault.sejf", name.trim_matches('-'))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn roots(pem: &str, path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate =
            certificate.map_err(|_| TlsError::Pem { path: path.into(), what: "certificate" })?;
        roots.add(certificate)?;
    }
    Ok(roots)
}

fn params(name: &str, now: Stamp, days: i64) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.use_authority_key_identifier_extension = true;
    // Clocks differ: from yesterday on.
    let (from, to) = (day(now, -1), day(now, days));
    params.not_before = rcgen::date_time_ymd(from.0, from.1, from.2);
    params.not_after = rcgen::date_time_ymd(to.0, to.1, to.2);
    params
}

fn day(now: Stamp, days: i64) -> (i32, u8, u8) {
    let nanos = i128::from(now.as_unix_nanos());
    let at = jiff::Timestamp::from_nanosecond(nanos).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    let date = TimeZone::UTC.to_datetime(at).date().saturating_add(days.days());
    (i32::from(date.year()), date.month().unsigned_abs(), date.day().unsigned_abs())
}

fn read_key(path: &Path) -> Result<KeyPair, TlsError> {
    let text = zeroize::Zeroizing::new(std::fs::read_to_string(path).map_err(io("reading", path))?);
    KeyPair::from_pem(&text).map_err(certificate(path))
}

fn make_dir(dir: &Path) -> Result<(), TlsError> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true).mode(0o700).create(dir).map_err(io("making folder", dir))
}

/// Writes a file that only its owner reads, whole or not at all.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), TlsError> {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".new");
    let aside = path.with_file_name(name);
    let put = || {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&aside, path)
    };
    put().map_err(io("writing", path))
}

const ENROLLED: &str = "enrolled";
const REVOKED: &str = "revoked";
const AUTHORITY_DAYS: i64 = 20 * 365;
/// Made anew every day.
const SERVER_DAYS: i64 = 30;
const RECORDER_DAYS: i64 = 2 * 365;
const NAME_CHARS_MAX: usize = 40;
