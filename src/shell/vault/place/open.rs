//! From configuration to place.
//!
//! What cannot be configured: connections that are not verified, TLS older than 1.3, redirects, plain HTTP to
//! anything but a loopback address.

use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use object_store::azure::MicrosoftAzureBuilder;
use object_store::client::{HttpClient, HttpConnector};
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, RetryConfig};
use reqwest::Url;
use serde::Deserialize;

use crate::shell::vault::config::{PlaceConfig, PlaceKind};
use crate::shell::vault::place::away::Away;
use crate::shell::vault::place::remote::Remote;
use crate::shell::vault::place::s3::{Address, S3};
use crate::shell::vault::place::{Directory, Place, PlaceError, is_plain};

/// How long is waited for a place on a network.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For a connection.
    pub connect: Duration,
    /// For the next byte.
    pub idle: Duration,
    /// For a request as a whole, of 16 MiB at most.
    pub request: Duration,
    /// How often a request is made again that failed for no reason of ours.
    pub retries: usize,
    /// The first wait between two; each is longer than the last.
    pub backoff: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            idle: Duration::from_secs(30),
            request: Duration::from_secs(300),
            retries: 6,
            backoff: Duration::from_millis(200),
        }
    }
}

impl Patience {
    pub(super) fn retry(self) -> RetryConfig {
        RetryConfig {
            backoff: BackoffConfig {
                init_backoff: self.backoff,
                max_backoff: BACKOFF_MAX.max(self.backoff),
                base: 2.0,
            },
            max_retries: self.retries,
            retry_timeout: RETRY_TIME_MAX,
        }
    }
}

/// Opens a place. Nothing is asked of a store before something is put or read.
pub fn open(config: &PlaceConfig) -> Result<Arc<dyn Place>, PlaceError> {
    open_with(config, Patience::default())
}

/// What was opened; a place that is not there says so of all that is asked of it. Where it is named so that it can never
/// be, this fails.
pub fn if_there(
    config: &PlaceConfig,
    opened: Result<Arc<dyn Place>, PlaceError>,
) -> Result<Arc<dyn Place>, PlaceError> {
    match opened {
        Err(error) if !matches!(error, PlaceError::Config { .. }) => {
            let PlaceConfig { name, site, .. } = config;
            Ok(Arc::new(Away { name: name.clone(), site: site.clone(), why: error.to_string() }))
        }
        other => other,
    }
}

/// Opens a place with another patience.
pub fn open_with(config: &PlaceConfig, patience: Patience) -> Result<Arc<dyn Place>, PlaceError> {
    let PlaceConfig { name, site, kind } = config;
    Ok(match kind {
        PlaceKind::Directory { path } => Arc::new(Directory::open(name, site, path)?),
        PlaceKind::S3 { .. } => Arc::new(open_s3(config, patience)?),
        PlaceKind::Azure { .. } => Arc::new(open_azure(config, patience)?),
        PlaceKind::Gcs { .. } => Arc::new(open_gcs(config, patience)?),
    })
}

fn open_s3(config: &PlaceConfig, patience: Patience) -> Result<Remote, PlaceError> {
    let opening = Opening { config, patience };
    let PlaceKind::S3 {
        endpoint,
        bucket,
        region,
        prefix,
        credentials,
        authority,
        object_lock,
        loopback_http,
    } = &config.kind
    else {
        return Err(opening.fault("is no S3 store"));
    };
    let region = region.clone().unwrap_or_else(|| REGION.into());
    let endpoint = match endpoint {
        Some(endpoint) => opening.endpoint(endpoint, *loopback_http)?,
        None => format!("https://s3.{region}.amazonaws.com"),
    };
    let key: S3Credentials = opening.credentials(credentials)?;
    let connector = opening.connector(&endpoint, authority.as_deref())?;
    let address = Address { endpoint, bucket: bucket.clone(), region };
    let s3 = S3::new(address, key.access_key_id, key.secret_access_key, connector.client, patience);
    let store =
        s3.store(Connector { client: s3.client() }).map_err(|error| opening.fault(&error.to_string()))?;
    opening.remote(Arc::new(store), prefix, Some(s3), *object_lock)
}

fn open_azure(config: &PlaceConfig, patience: Patience) -> Result<Remote, PlaceError> {
    let opening = Opening { config, patience };
    let PlaceKind::Azure { account, container, prefix, credentials, endpoint, loopback_http } = &config.kind
    else {
        return Err(opening.fault("is no Azure store"));
    };
    let endpoint = match endpoint {
        Some(endpoint) => opening.endpoint(endpoint, *loopback_http)?,
        None => format!("https://{account}.blob.core.windows.net"),
    };
    let key: AzureCredentials = opening.credentials(credentials)?;
    let is_plain = endpoint.starts_with("http:");
    let store = MicrosoftAzureBuilder::new()
        .with_account(account)
        .with_container_name(container)
        .with_access_key(key.access_key)
        .with_endpoint(endpoint.clone())
        .with_retry(patience.retry())
        .with_client_options(ClientOptions::new().with_allow_http(is_plain))
        .with_http_connector(opening.connector(&endpoint, None)?)
        .build()
        .map_err(|error| opening.fault(&error.to_string()))?;
    opening.remote(Arc::new(store), prefix, None, false)
}

fn open_gcs(config: &PlaceConfig, patience: Patience) -> Result<Remote, PlaceError> {
    let opening = Opening { config, patience };
    let PlaceKind::Gcs { bucket, prefix, credentials, endpoint, loopback_http } = &config.kind else {
        return Err(opening.fault("is no Google store"));
    };
    let endpoint = match endpoint {
        Some(endpoint) => opening.endpoint(endpoint, *loopback_http)?,
        None => GOOGLE.into(),
    };
    let key = opening.read(credentials)?;
    let store = GoogleCloudStorageBuilder::new()
        .with_bucket_name(bucket)
        .with_service_account_key(key)
        // Said here, so that an address in the file of credentials counts for nothing.
        .with_base_url(&endpoint)
        .with_retry(patience.retry())
        .with_client_options(ClientOptions::new().with_allow_http(endpoint.starts_with("http:")))
        .with_http_connector(opening.connector(&endpoint, None)?)
        .build()
        .map_err(|error| opening.fault(&error.to_string()))?;
    opening.remote(Arc::new(store), prefix, None, false)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct S3Credentials {
    access_key_id: String,
    secret_access_key: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AzureCredentials {
    access_key: String,
}

struct Opening<'a> {
    config: &'a PlaceConfig,
    patience: Patience,
}

impl Opening<'_> {
    fn fault(&self, fault: &str) -> PlaceError {
        PlaceError::Config { place: self.config.name.clone(), fault: fault.into() }
    }

    /// The endpoint as it is used. Plain HTTP goes no further than this machine, and only where that is said.
    fn endpoint(&self, endpoint: &str, loopback_http: bool) -> Result<String, PlaceError> {
        let url = Url::parse(endpoint)
            .map_err(|error| self.fault(&format!("endpoint `{endpoint}` is no address: {error}")))?;
        // A name could be of anybody by the time it is used.
        let is_loopback = url
            .host_str()
            .and_then(|host| host.trim_matches(['[', ']']).parse::<IpAddr>().ok())
            .is_some_and(|address| address.is_loopback());
        match url.scheme() {
            "https" => {}
            "http" if loopback_http && is_loopback => {}
            _ => {
                return Err(self.fault(&format!(
                    "endpoint `{endpoint}` must begin with https:// (http:// is for 127.0.0.1 with \
                     loopback_http, in tests)"
                )));
            }
        }
        if url.username() != "" || url.password().is_some() || url.query().is_some() {
            return Err(
                self.fault("the endpoint holds more than an address: credentials belong in their file")
            );
        }
        Ok(url.as_str().trim_end_matches('/').to_owned())
    }

    fn read(&self, path: &Path) -> Result<String, PlaceError> {
        fs::read_to_string(path).map_err(|source| PlaceError::Io {
            place: self.config.name.clone(),
            doing: "reading credentials",
            object: path.display().to_string(),
            source: source.into(),
        })
    }

    fn credentials<T: for<'de> Deserialize<'de>>(&self, path: &Path) -> Result<T, PlaceError> {
        // What the parser says would quote the line, which may hold the secret.
        toml::from_str(&self.read(path)?).map_err(|error| {
            let at = error.span().map(|span| format!(" near byte {}", span.start)).unwrap_or_default();
            self.fault(&format!("credentials `{}` are not what they should be{at}", path.display()))
        })
    }

    fn connector(&self, endpoint: &str, authority: Option<&Path>) -> Result<Connector, PlaceError> {
        // Fails where there is one already, which is as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let is_plain = endpoint.starts_with("http:");
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("sejf/", env!("CARGO_PKG_VERSION")))
            .https_only(!is_plain)
            .redirect(reqwest::redirect::Policy::none())
            .http1_only()
            .connect_timeout(self.patience.connect)
            .read_timeout(self.patience.idle)
            .timeout(self.patience.request);
        if is_plain {
            builder = builder.no_proxy();
        } else {
            builder = builder.tls_version_min(reqwest::tls::Version::TLS_1_3);
        }
        if let Some(path) = authority {
            let pem = self.read(path)?;
            let trusted = reqwest::Certificate::from_pem_bundle(pem.as_bytes())
                .ok()
                .filter(|certificates| !certificates.is_empty())
                .ok_or_else(|| {
                    self.fault(&format!("authority `{}` holds no PEM certificate", path.display()))
                })?;
            // Alone: who controls one of the system's authorities is not to be in between.
            builder = builder.tls_certs_only(trusted);
        }
        let client = builder.build().map_err(|error| self.fault(&error.to_string()))?;
        Ok(Connector { client: HttpClient::new(client) })
    }

    fn remote(
        &self,
        store: Arc<dyn ObjectStore>,
        prefix: &str,
        s3: Option<S3>,
        locks: bool,
    ) -> Result<Remote, PlaceError> {
        let prefix = prefix.trim_matches('/');
        if !prefix.is_empty() && !is_plain(prefix) {
            return Err(self.fault("the prefix may have letters, digits, `-`, `.`, `_` and `/`"));
        }
        let PlaceConfig { name, site, .. } = self.config;
        Ok(Remote::new(name, site, prefix, store, s3, locks))
    }
}

/// Hands out the one client that is made as we want it.
#[derive(Debug)]
pub(super) struct Connector {
    client: HttpClient,
}

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(self.client.clone())
    }
}

const REGION: &str = "us-east-1";
const GOOGLE: &str = "https://storage.googleapis.com";
const BACKOFF_MAX: Duration = Duration::from_secs(15);
/// A signature is good for fifteen minutes.
const RETRY_TIME_MAX: Duration = Duration::from_secs(180);
