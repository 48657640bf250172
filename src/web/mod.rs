//! The vault over HTTPS, for people and programs.
//!
//! ```text
//! connections: TLS 1.3, so many, none that stands still ─► guard: who, may they? ─log─► table: what answers
//!                                                               sign_in · recordings · manifest · versions · held · play
//!                                                               desk · stock · live · people · log · ui
//! ```
//!
//! All that is decided is decided by [`crate::archive`]; nothing is released that the vault's log does not have.

mod account;
mod call;
mod connections;
mod desk;
mod guard;
mod held;
mod live;
mod log;
mod manifest;
mod oidc;
mod openapi;
mod passkeys;
mod people;
mod places;
mod play;
mod problem;
mod qr;
mod recall;
mod recordings;
mod review;
mod samples;
mod shared;
mod sign_in;
mod stock;
mod table;
#[cfg(test)]
mod tests;
mod ui;
mod versions;
pub mod witness;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use axum::Router;
use axum::extract::{ConnectInfo, Request};
use axum::routing::{MethodFilter, on};
use rustls::ServerConfig;
use tokio::net::TcpListener;

use crate::base::time::Stamp;
use crate::shell::clock;
use crate::shell::entropy::NoRandomness;
use crate::shell::receipts::ReceiptsError;
use crate::shell::signals::Stop;
use crate::shell::vault::config::WebConfig;
use crate::shell::vault::home::VaultError;
use crate::shell::vault::intake::serve::TLS;
use crate::shell::vault::intake::tls::{Authority, TlsError, web_config_of};
use crate::shell::vault::intake::{Intake, IntakeError};
use crate::shell::vault::oidc::{OidcError, Provider};
use crate::shell::vault::users::UsersError;
use crate::web::connections::{Peer, Served};
use crate::web::shared::Shared;
use crate::web::table::ROUTES;

/// What is about to be served.
#[derive(Debug)]
pub struct Web {
    shared: Arc<Shared>,
    listener: TcpListener,
    certificate: Certificate,
}

/// Where the certificate comes from.
#[derive(Debug)]
enum Certificate {
    /// The vault's own authority makes one.
    Own { authority: Box<Authority>, names: Vec<String> },
    /// It is given.
    Files { certificate: PathBuf, key: PathBuf },
}

/// Why nothing is served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WebError {
    /// The catalog.
    #[error(transparent)]
    Intake(#[from] IntakeError),
    /// Certificate and key.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Users.
    #[error(transparent)]
    Users(#[from] UsersError),
    /// Places.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The log, which says who failed to sign in just now.
    #[error("reading in the vault's log who failed to sign in: {0}")]
    Log(#[from] ReceiptsError),
    /// The identity provider's credentials.
    #[error(transparent)]
    Oidc(#[from] OidcError),
    /// No random bytes.
    #[error(transparent)]
    Random(#[from] NoRandomness),
    /// The address.
    #[error("listening for HTTPS on {address}: {source}; choose another address in [web] of vault.toml")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
}

impl Certificate {
    fn config(&self, now: Stamp) -> Result<ServerConfig, TlsError> {
        match self {
            Self::Own { authority, names } => authority.web_config(names, now),
            Self::Files { certificate, key } => web_config_of(certificate, key),
        }
    }
}

impl Web {
    /// Takes its socket, and sees whether certificate and users are of use. `intake` is of the vault that runs: its keys
    /// are those that this one has.
    pub async fn bind(intake: &Intake, config: &WebConfig) -> Result<Self, WebError> {
        let intake = intake.another().await?;
        let vault = intake.vault();
        let (home, name) = (vault.home.clone(), vault.config.vault.name.clone());
        let authority = Authority::open(&home.join(TLS), &name, clock::now())?;
        let names: Vec<String> =
            config.names.iter().cloned().chain([authority.server_name().to_owned()]).collect();
        let certificate = match (&config.certificate, &config.key) {
            (Some(certificate), Some(key)) => {
                Certificate::Files { certificate: home.join(certificate), key: home.join(key) }
            }
            _ => Certificate::Own { authority: Box::new(authority), names: config.names.clone() },
        };
        certificate.config(clock::now())?;
        let provider = config.oidc.as_ref().map(|oidc| Provider::open(&home, oidc)).transpose()?;
        let mut shared = Shared::new(intake, names, config.password)?;
        shared.provider = provider.map(Arc::new);
        shared.users.users(shared.vault())?;
        let listen = |source| WebError::Listen { address: config.listen, source };
        let listener = TcpListener::bind(config.listen).await.map_err(listen)?;
        Ok(Self { shared: Arc::new(shared), listener, certificate })
    }

    /// Where it is reached.
    pub fn address(&self) -> Option<SocketAddr> {
        self.listener.local_addr().ok()
    }

    /// Serves until it is asked to stop. Where `reload` is set, certificate and key are read again.
    pub async fn run(self, stop: Stop, reload: Arc<AtomicBool>) {
        let Self { shared, listener, certificate } = self;
        // Set once: what is served runs once.
        let _ = shared.desk.stop.set(stop.clone());
        let app = router(&shared).into_make_service_with_connect_info::<Peer>();
        let made = move |now| certificate.config(now);
        let served = Served::begin(listener, made, stop, reload);
        // Ends with its task: the listener has no error to give.
        let _ = axum::serve(served, app).await;
    }
}

fn router(shared: &Arc<Shared>) -> Router {
    let mut router = Router::new();
    for route in ROUTES.iter() {
        let shared = Arc::clone(shared);
        let filter = MethodFilter::try_from(route.method.clone()).expect("methods of the table are ordinary");
        let answer = move |ConnectInfo(peer): ConnectInfo<Peer>, request: Request| {
            guard::serve(Arc::clone(&shared), Some(route), peer.0, request)
        };
        router = router.route(route.path, on(filter, answer));
    }
    let other = Arc::clone(shared);
    let nothing = move |ConnectInfo(peer): ConnectInfo<Peer>, request: Request| {
        guard::serve(Arc::clone(&other), None, peer.0, request)
    };
    router.fallback(nothing.clone()).method_not_allowed_fallback(nothing)
}
