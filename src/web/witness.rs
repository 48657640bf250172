//! A witness over HTTPS: C2SP `tlog-witness`.
//!
//! ```text
//! POST /add-checkpoint        old size, proof, checkpoint ─► cosignature, or why not
//! GET  /checkpoint/ORIGIN     the last checkpoint that was cosigned, for who checks a log
//! ```
//!
//! Whoever reaches it may ask: only what a log's own key has signed is looked at, and what is answered is a root hash.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Path as Named, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use axum::routing::{get, post};
use serde::Deserialize;
use tokio::net::TcpListener;

use crate::seal::cosign::CosignerKey;
use crate::seal::note::VerifyKey;
use crate::seal::witness::{AddCheckpoint, Declined};
use crate::shell::clock;
use crate::shell::signals::Stop;
use crate::shell::vault::audit::keeper::{Keeper, KeeperError};
use crate::shell::vault::intake::tls::{Authority, TlsError};
use crate::web::Certificate;
use crate::web::connections::{Peer, Served};

/// What a witness is: a TOML file. Paths are from its folder on.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Its name, as `witness.example.org/w1`: one that no other witness has.
    pub name: String,
    /// Where it listens.
    pub listen: SocketAddr,
    /// Folder of its key and of what it has cosigned.
    pub state: PathBuf,
    /// Public keys of the logs that it follows.
    pub logs: Vec<String>,
    /// Names by which it is reached, besides those of loopback: for the certificate that it makes itself.
    #[serde(default)]
    pub names: Vec<String>,
    /// Certificate with its chain, in PEM; made by an authority of its own (`tls/authority.pem` in `state`) where it is not
    /// said.
    #[serde(default)]
    pub certificate: Option<PathBuf>,
    /// Its private key, in PEM.
    #[serde(default)]
    pub key: Option<PathBuf>,
    /// Folder of the file.
    #[serde(skip)]
    folder: PathBuf,
}

/// Why no witness is served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WitnessError {
    /// The configuration is of no use.
    #[error("configuration `{}`: {fault}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        fault: String,
    },
    /// Key, or what was cosigned.
    #[error(transparent)]
    Keeper(#[from] KeeperError),
    /// Certificate.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The address.
    #[error("listening for HTTPS on {address}: {source}; choose another address")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
}

impl Config {
    /// Reads it.
    pub fn load(path: &Path) -> Result<Self, WitnessError> {
        let fault = |fault: String| WitnessError::Config { path: path.into(), fault };
        let text = std::fs::read_to_string(path).map_err(|error| fault(error.to_string()))?;
        let mut config: Self = toml::from_str(&text).map_err(|error| fault(error.to_string()))?;
        config.folder = path.parent().unwrap_or(Path::new("")).into();
        if config.certificate.is_some() != config.key.is_some() {
            return Err(fault("it takes `certificate` and `key`, or neither of them".into()));
        }
        for log in &config.logs {
            log.parse::<VerifyKey>().map_err(|error| {
                fault(format!("`{log}` is no log's public key, as `sejf vault status` tells it: {error}"))
            })?;
        }
        if config.logs.is_empty() {
            return Err(fault(
                "`logs` names no log: it has its public key, as `sejf vault status` tells it".into(),
            ));
        }
        Ok(config)
    }

    /// Takes up its key and what it has cosigned, or begins.
    pub fn keeper(&self) -> Result<Keeper, WitnessError> {
        let logs = self.logs.iter().filter_map(|log| log.parse().ok()).collect();
        Ok(Keeper::open(&self.folder.join(&self.state), &self.name, logs)?)
    }
}

/// A witness that is about to be served.
#[derive(Debug)]
pub struct Serving {
    keeper: Arc<Keeper>,
    listener: TcpListener,
    certificate: Certificate,
}

impl Serving {
    /// Takes its socket, and sees whether key and certificate are of use.
    pub async fn bind(config: &Config) -> Result<Self, WitnessError> {
        let keeper = Arc::new(config.keeper()?);
        let certificate = match (&config.certificate, &config.key) {
            (Some(certificate), Some(key)) => Certificate::Files {
                certificate: config.folder.join(certificate),
                key: config.folder.join(key),
            },
            _ => {
                let dir = config.folder.join(&config.state).join("tls");
                let authority = Authority::open(&dir, &config.name, clock::now())?;
                Certificate::Own { authority: Box::new(authority), names: config.names.clone() }
            }
        };
        certificate.config(clock::now())?;
        let listen = |source| WitnessError::Listen { address: config.listen, source };
        let listener = TcpListener::bind(config.listen).await.map_err(listen)?;
        Ok(Self { keeper, listener, certificate })
    }

    /// Where it is reached.
    pub fn address(&self) -> Option<SocketAddr> {
        self.listener.local_addr().ok()
    }

    /// Its public key.
    pub fn key(&self) -> &CosignerKey {
        self.keeper.key()
    }

    /// Serves until it is asked to stop. Where `reload` is set, the certificate is read again.
    pub async fn run(self, stop: Stop, reload: Arc<AtomicBool>) {
        let Self { keeper, listener, certificate } = self;
        let router = Router::new()
            .route("/add-checkpoint", post(add))
            .route("/checkpoint/{origin}", get(known))
            .layer(DefaultBodyLimit::max(ASK_BYTES_MAX))
            .with_state(keeper);
        let served = Served::begin(listener, move |now| certificate.config(now), stop.clone(), reload);
        let app = router.into_make_service_with_connect_info::<Peer>();
        let serve = async {
            // Ends with its task: the listener has no error to give.
            let _ = axum::serve(served, app).await;
        };
        tokio::select! {
            () = serve => {}
            () = asked(&stop) => {}
        }
    }
}

async fn asked(stop: &Stop) {
    while !stop.asked() {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

async fn add(State(keeper): State<Arc<Keeper>>, body: Bytes) -> Response {
    let ask = std::str::from_utf8(&body).ok().and_then(AddCheckpoint::parse);
    let Some(ask) = ask else {
        return said(StatusCode::BAD_REQUEST, PLAIN, format!("{}\n", Declined::Malformed));
    };
    let added = tokio::task::spawn_blocking(move || (keeper.add(&ask), ask)).await;
    let (added, ask) = match added {
        Ok(added) => added,
        Err(fault) => return failed(&fault),
    };
    let declined = match added {
        Ok(lines) => return said(StatusCode::OK, PLAIN, lines),
        Err(KeeperError::Declined(declined)) => declined,
        Err(fault) => return failed(&fault),
    };
    tracing::warn!(log = ask.origin().escape_default().to_string(), "not cosigned: {declined}");
    match declined {
        Declined::OtherSize { size } => said(StatusCode::CONFLICT, SIZE, format!("{size}\n")),
        Declined::Forked { size } => said(StatusCode::CONFLICT, SIZE, format!("{size}\n")),
        Declined::Malformed => said(StatusCode::BAD_REQUEST, PLAIN, format!("{declined}\n")),
        Declined::UnknownLog => said(StatusCode::NOT_FOUND, PLAIN, format!("{declined}\n")),
        Declined::Unsigned => said(StatusCode::FORBIDDEN, PLAIN, format!("{declined}\n")),
        Declined::Inconsistent => said(StatusCode::UNPROCESSABLE_ENTITY, PLAIN, format!("{declined}\n")),
    }
}

async fn known(State(keeper): State<Arc<Keeper>>, Named(origin): Named<String>) -> Response {
    match tokio::task::spawn_blocking(move || keeper.known(&origin)).await {
        Ok(Ok(Some(note))) => said(StatusCode::OK, PLAIN, note),
        Ok(Ok(None)) => said(StatusCode::NOT_FOUND, PLAIN, format!("{}\n", Declined::UnknownLog)),
        Ok(Err(fault)) => failed(&fault),
        Err(fault) => failed(&fault),
    }
}

/// Files and paths are for its own log.
fn failed(fault: &dyn std::fmt::Display) -> Response {
    tracing::error!("{fault}");
    said(StatusCode::INTERNAL_SERVER_ERROR, PLAIN, "the witness cannot read or write its state\n".into())
}

fn said(status: StatusCode, kind: &'static str, text: String) -> Response {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

const PLAIN: &str = "text/plain; charset=utf-8";
/// A log's size: C2SP has a type of its own for it.
const SIZE: &str = "text/x.tlog.size";
const ASK_BYTES_MAX: usize = 64 << 10;
