//! An identity provider, asked over HTTPS: what it says of itself, its keys, and a code's token.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use reqwest::{Client, RequestBuilder};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::sync::Mutex;
use zeroize::Zeroizing;

use crate::archive::oidc::{Claim, Claims, Expected, Keys, OidcFault, challenge_of};
use crate::archive::totp::percent;
use crate::base::time::Stamp;
use crate::shell::clock;

/// What is known of a provider: `[web.oidc]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OidcConfig {
    /// Its address, as its tokens have it.
    pub issuer: String,
    /// What it is called where people sign in; the issuer's host where it is not said.
    #[serde(default)]
    pub name: Option<String>,
    /// As it knows us.
    pub client_id: String,
    /// A file with `client_secret = "…"`.
    pub credentials: PathBuf,
    /// What tells who somebody is among our users.
    #[serde(default)]
    pub claim: Claim,
    /// Ways of showing who one is (RFC 8176) that are two factors.
    #[serde(default = "multi_factor")]
    pub amr: Vec<String>,
    /// Classes that are two factors.
    #[serde(default)]
    pub acr: Vec<String>,
    /// PEM of an authority that is trusted for the provider alone.
    #[serde(default)]
    pub authority: Option<PathBuf>,
    /// Plain HTTP to a loopback address, for tests.
    #[serde(default)]
    pub loopback_http: bool,
}

fn multi_factor() -> Vec<String> {
    vec!["mfa".into()]
}

impl OidcConfig {
    /// What is wrong with it.
    pub fn fault(&self) -> Option<String> {
        if !self.may_ask(&self.issuer) || self.issuer.contains(['?', '#', ' ']) {
            return Some("[web.oidc] `issuer` is an address with https://, as its tokens have it".into());
        }
        self.client_id.is_empty().then(|| "[web.oidc] takes a `client_id`".into())
    }

    /// How people know it.
    pub fn label(&self) -> &str {
        let host = self.issuer.split("://").nth(1).and_then(|rest| rest.split('/').next());
        self.name.as_deref().or(host).unwrap_or(&self.issuer)
    }

    fn may_ask(&self, address: &str) -> bool {
        let plain = ["http://127.0.0.1", "http://localhost", "http://[::1]"];
        let is_loopback = |prefix: &&str| {
            address.strip_prefix(*prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '/']))
        };
        address.starts_with("https://") || (self.loopback_http && plain.iter().any(is_loopback))
    }
}

/// Why nobody signs in by it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OidcError {
    /// Its credentials, or authority.
    #[error("reading `{}` of [web.oidc]: {what}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        what: String,
    },
    /// It cannot be asked.
    #[error("asking the identity provider at {address}: {what}")]
    Http {
        /// Where.
        address: String,
        /// Why.
        what: String,
    },
    /// What it says of itself does not fit.
    #[error("the identity provider `{issuer}` says of itself that it is `{said}`: write `issuer` as it does")]
    Issuer {
        /// As it is configured.
        issuer: String,
        /// As it says.
        said: String,
    },
    /// Its token proves nothing.
    #[error(transparent)]
    Token(#[from] OidcFault),
}

/// A provider.
#[derive(Debug)]
pub struct Provider {
    /// How it is configured.
    pub config: OidcConfig,
    secret: Zeroizing<String>,
    client: Client,
    known: Mutex<Known>,
}

/// What it has said, and when.
#[derive(Debug, Default)]
struct Known {
    metadata: Option<(Metadata, Stamp)>,
    keys: Option<(Keys, Stamp)>,
    /// When it did not answer last: whoever waits for it does not wait for that again.
    failed: Option<Instant>,
}

#[derive(Clone, Debug, Deserialize)]
struct Metadata {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
}

/// What is sent to it with one question, and kept for the answer.
#[derive(Clone, Debug)]
pub struct Question {
    /// Comes back with the code.
    pub state: String,
    /// Comes back in the token.
    pub nonce: String,
    /// Shown with the code.
    pub verifier: Zeroizing<String>,
    /// Where people come back to.
    pub redirect: String,
}

impl Provider {
    /// Reads its credentials; asks it nothing yet. Files are beside the vault's configuration where they are not said in
    /// full.
    pub fn open(home: &Path, config: &OidcConfig) -> Result<Self, OidcError> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Credentials {
            client_secret: String,
        }
        let read = |path: &Path| {
            let path = home.join(path);
            let text = std::fs::read_to_string(&path).map(Zeroizing::new);
            text.map_err(|fault| OidcError::File { path, what: fault.to_string() })
        };
        let wrong = |path: &Path, what: &str| OidcError::File { path: home.join(path), what: what.into() };
        // What the parser says would quote the line, which holds the secret.
        let credentials: Credentials = toml::from_str(&read(&config.credentials)?)
            .map_err(|_| wrong(&config.credentials, "it takes one line, `client_secret = \"…\"`"))?;
        // Fails where there is one already, which is as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = Client::builder()
            .user_agent(concat!("sejf/", env!("CARGO_PKG_VERSION")))
            .https_only(!config.loopback_http)
            .redirect(reqwest::redirect::Policy::none())
            // People sign in now and then: what was open since may be closed at the other end, and a code counts once.
            .pool_max_idle_per_host(0)
            .connect_timeout(PATIENCE)
            .timeout(PATIENCE * 2);
        if config.loopback_http {
            builder = builder.no_proxy();
        }
        if let Some(path) = &config.authority {
            let pem = read(path)?;
            let trusted = reqwest::Certificate::from_pem_bundle(pem.as_bytes()).unwrap_or_default();
            if trusted.is_empty() {
                return Err(wrong(path, "it holds no certificate in PEM"));
            }
            builder = builder.tls_certs_only(trusted);
        }
        let http = |fault: reqwest::Error| OidcError::Http {
            address: config.issuer.clone(),
            what: fault.to_string(),
        };
        let client = builder.build().map_err(http)?;
        let (config, secret) = (config.clone(), Zeroizing::new(credentials.client_secret));
        Ok(Self { config, secret, client, known: Mutex::default() })
    }

    /// Where somebody's browser goes.
    pub async fn authorize(&self, question: &Question, now: Stamp) -> Result<String, OidcError> {
        let endpoint = self.metadata(now).await?.authorization_endpoint;
        let scope = match self.config.claim {
            Claim::Sub => "openid",
            Claim::Email => "openid email",
        };
        let (challenge, acr) = (challenge_of(&question.verifier), self.config.acr.join(" "));
        let mut fields = vec![
            ("response_type", "code"),
            ("client_id", &self.config.client_id),
            ("redirect_uri", &question.redirect),
            ("scope", scope),
            ("state", &question.state),
            ("nonce", &question.nonce),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ];
        if !acr.is_empty() {
            fields.push(("acr_values", &acr));
        }
        let mark = if endpoint.contains('?') { '&' } else { '?' };
        Ok(format!("{endpoint}{mark}{}", *form(&fields)))
    }

    /// What the token says that a code is good for.
    pub async fn redeem(&self, code: &str, question: &Question, now: Stamp) -> Result<Claims, OidcError> {
        #[derive(Deserialize)]
        struct Answer {
            id_token: String,
        }
        let metadata = self.metadata(now).await?;
        let body = form(&[
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", &question.redirect),
            ("code_verifier", &question.verifier),
        ]);
        // As RFC 6749 section 2.3.1 has it: both are encoded before they are put together.
        let request = self
            .client
            .post(&metadata.token_endpoint)
            .basic_auth(percent(&self.config.client_id), Some(percent(&self.secret)))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(body.to_string());
        let answer: Answer = self.ask(&metadata.token_endpoint, request).await?;
        let expected = Expected {
            issuer: &self.config.issuer,
            client_id: &self.config.client_id,
            nonce: &question.nonce,
            now,
        };
        let keys = self.keys(&metadata, KEYS_LAST, now).await?;
        match Claims::verify(&answer.id_token, &keys, &expected) {
            // It may have other keys by now.
            Err(OidcFault::Key | OidcFault::Signature) => {
                let keys = self.keys(&metadata, KEYS_ASKED, now).await?;
                Ok(Claims::verify(&answer.id_token, &keys, &expected)?)
            }
            told => Ok(told?),
        }
    }

    async fn metadata(&self, now: Stamp) -> Result<Metadata, OidcError> {
        let mut known = self.known.lock().await;
        if let Some((metadata, asked)) = &known.metadata
            && is_within(*asked, METADATA_LASTS, now)
        {
            return Ok(metadata.clone());
        }
        let address =
            format!("{}/.well-known/openid-configuration", self.config.issuer.trim_end_matches('/'));
        if known.failed.is_some_and(|at| clock::monotonic().saturating_duration_since(at) < PATIENCE) {
            return Err(OidcError::Http { address, what: "it did not answer a moment ago".into() });
        }
        let asked = self.ask(&address, self.client.get(&address)).await;
        known.failed = asked.is_err().then(clock::monotonic);
        let metadata: Metadata = asked?;
        if metadata.issuer != self.config.issuer {
            return Err(OidcError::Issuer { issuer: self.config.issuer.clone(), said: metadata.issuer });
        }
        for endpoint in [&metadata.authorization_endpoint, &metadata.token_endpoint, &metadata.jwks_uri] {
            if !self.config.may_ask(endpoint) {
                let (address, what) = (address.clone(), format!("`{endpoint}` is not https"));
                return Err(OidcError::Http { address, what });
            }
        }
        known.metadata = Some((metadata.clone(), now));
        Ok(metadata)
    }

    /// Its keys: not older than that.
    async fn keys(&self, metadata: &Metadata, lasts: Duration, now: Stamp) -> Result<Keys, OidcError> {
        let mut known = self.known.lock().await;
        if let Some((keys, asked)) = &known.keys
            && is_within(*asked, lasts, now)
        {
            return Ok(keys.clone());
        }
        let bytes = self.bytes(&metadata.jwks_uri, self.client.get(&metadata.jwks_uri)).await?;
        let keys = Keys::parse(&bytes)?;
        known.keys = Some((keys.clone(), now));
        Ok(keys)
    }

    async fn ask<T: DeserializeOwned>(&self, address: &str, request: RequestBuilder) -> Result<T, OidcError> {
        let bytes = self.bytes(address, request).await?;
        let what = "what it answers cannot be read".to_owned();
        serde_json::from_slice(&bytes).map_err(|_| OidcError::Http { address: address.into(), what })
    }

    async fn bytes(&self, address: &str, request: RequestBuilder) -> Result<Zeroizing<Vec<u8>>, OidcError> {
        let fault = |what: String| OidcError::Http { address: address.into(), what };
        let sent = request.header("accept", "application/json").send().await;
        let mut response = sent.map_err(|error| fault(last(&error)))?;
        let mut bytes = Zeroizing::new(Vec::new());
        while let Some(chunk) = response.chunk().await.map_err(|error| fault(last(&error)))? {
            if bytes.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(fault("its answer is too long".into()));
            }
            bytes.extend_from_slice(&chunk);
        }
        if response.status().is_success() {
            return Ok(bytes);
        }
        // Its own words: which of them it was says more than the number.
        let said: serde_json::Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let said: String = said["error"].as_str().unwrap_or_default().chars().take(64).collect();
        Err(fault(format!("it answers {} {said}", response.status())))
    }
}

fn is_within(asked: Stamp, lasts: Duration, now: Stamp) -> bool {
    asked <= now && now < asked.after(lasts)
}

/// `reqwest` says the reason last.
fn last(error: &reqwest::Error) -> String {
    let mut error: &dyn std::error::Error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

/// `application/x-www-form-urlencoded`.
fn form(fields: &[(&str, &str)]) -> Zeroizing<String> {
    let fields: Vec<_> = fields.iter().map(|(name, value)| format!("{name}={}", percent(value))).collect();
    Zeroizing::new(fields.join("&"))
}

const PATIENCE: Duration = Duration::from_secs(5);
const METADATA_LASTS: Duration = Duration::from_secs(3_600);
const KEYS_LAST: Duration = Duration::from_secs(3_600);
/// Where a key is not among them: not at each token that somebody makes up.
const KEYS_ASKED: Duration = Duration::from_secs(5);
const ANSWER_BYTES_MAX: usize = 256 << 10;
