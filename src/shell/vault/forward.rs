//! The recorder's side: sends what it has recorded to a vault, and frees what the vault has in enough copies.
//!
//! The folder stays as it is until the vault says so. A vault that is away for days costs nothing but room: what could
//! not be sent is sent when it is back, from the byte where it ended.

use std::io::{self, Read, Seek, SeekFrom};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::header::CONTENT_RANGE;
use reqwest::{Body, Client, Method, Response, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::archive::record::RecordingId;
use crate::shell::clock;
use crate::shell::signals::Stop;
use crate::shell::vault::intake::protocol::{AwaitedFiles, FREE_MAX, Ids, KnownSize, UPLOAD_OFFSET};
use crate::shell::vault::intake::serve::sealed_files;
use crate::shell::vault::intake::tls::{TlsError, client_config};
use crate::shell::vault::intake::{IntakeError, Spool};

/// Where to send what: a TOML file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Folder that the recorder writes to.
    pub spool: PathBuf,
    /// Where the vault is reached: `host:port`.
    pub address: String,
    /// Its name, which its certificate must have, wherever it is reached.
    pub name: String,
    /// PEM of the vault's authority.
    pub authority: PathBuf,
    /// PEM of this recorder's certificate.
    pub certificate: PathBuf,
    /// PEM of its private key.
    pub key: PathBuf,
    /// SHA-256 of the vault's public key; with it nothing else is the vault, whoever has signed it.
    #[serde(default)]
    pub pin: Option<String>,
    /// Whether files are removed here once the vault has them in as many copies as asked.
    #[serde(default)]
    pub free: bool,
}

/// What was done.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, serde::Serialize)]
pub struct Pass {
    /// Entries of the log that the vault did not know.
    pub entries: u64,
    /// Files that were sent.
    pub files: u64,
    /// Bytes of them that were sent now.
    pub bytes: u64,
    /// Files that the vault waits for, and that are not here.
    pub absent: u64,
    /// Files that were freed.
    pub freed: u64,
}

/// Why not all was sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ForwardError {
    /// The configuration cannot be read.
    #[error("configuration `{}`: {fault}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        fault: String,
    },
    /// The folder has no receipts, or damaged ones.
    #[error(transparent)]
    Spool(#[from] IntakeError),
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The address leads nowhere.
    #[error("looking for the vault at `{address}`: {source}")]
    Address {
        /// As configured.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// The vault cannot be reached, or is not the vault.
    #[error("asking the vault at `{address}`: {}", chain(source))]
    Http {
        /// As configured.
        address: String,
        /// Why.
        source: reqwest::Error,
    },
    /// It would not.
    #[error("the vault at `{address}` refuses ({status}): {why}")]
    Refused {
        /// As configured.
        address: String,
        /// HTTP's status.
        status: StatusCode,
        /// What it says.
        why: String,
    },
    /// The operating system refused.
    #[error("{doing} `{}`: {source}", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// `reqwest` says the reason last.
fn chain(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

impl Config {
    /// Reads it.
    pub fn load(path: &Path) -> Result<Self, ForwardError> {
        let fault = |fault: String| ForwardError::Config { path: path.into(), fault };
        let text = std::fs::read_to_string(path).map_err(|error| fault(error.to_string()))?;
        toml::from_str(&text).map_err(|error| fault(error.to_string()))
    }
}

/// Sends until it is asked to stop.
pub async fn run(config: &Config, stop: &Stop) {
    let mut wait = INTERVAL;
    while !stop.asked() {
        match pass(config).await {
            Ok(done) => {
                if done != (Pass { absent: done.absent, ..Pass::default() }) {
                    tracing::info!(?done, "sent to the vault");
                }
                wait = INTERVAL;
            }
            Err(error) => {
                tracing::warn!("{error}; tried again in {} s", wait.as_secs());
                wait = (wait * 2).min(INTERVAL_MAX);
            }
        }
        let until = clock::monotonic() + wait;
        while !stop.asked() && clock::monotonic() < until {
            tokio::time::sleep(TICK).await;
        }
    }
}

/// Sends what is to be sent, once.
pub async fn pass(config: &Config) -> Result<Pass, ForwardError> {
    let vault = Remote::reach(config).await?;
    let mut pass = Pass::default();
    vault.send_receipts(&mut pass).await?;
    vault.send_files(&mut pass).await?;
    if config.free {
        vault.free(&mut pass).await?;
    }
    Ok(pass)
}

/// A vault that is to be reached.
struct Remote<'a> {
    config: &'a Config,
    client: Client,
}

impl<'a> Remote<'a> {
    async fn reach(config: &'a Config) -> Result<Self, ForwardError> {
        let Config { authority, certificate, key, pin, .. } = config;
        let tls = client_config(authority, certificate, key, pin.as_deref())?;
        let address = |source| ForwardError::Address { address: config.address.clone(), source };
        let mut found = tokio::net::lookup_host(&config.address).await.map_err(address)?;
        let at: SocketAddr = found.next().ok_or_else(|| address(io::ErrorKind::NotFound.into()))?;
        let client = Client::builder()
            .tls_backend_preconfigured(tls)
            // By its own name, wherever it is; nobody stands between.
            .resolve(&config.name, at)
            .https_only(true)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(PATIENCE)
            .read_timeout(PATIENCE)
            .build()
            .map_err(|source| ForwardError::Http { address: config.address.clone(), source })?;
        Ok(Self { config, client })
    }

    fn url(&self, path: &str) -> String {
        let port = self.config.address.rsplit(':').next().unwrap_or_default();
        format!("https://{}:{port}/v1/{path}", self.config.name)
    }

    fn http(&self, source: reqwest::Error) -> ForwardError {
        ForwardError::Http { address: self.config.address.clone(), source }
    }

    async fn refused(&self, response: Response) -> ForwardError {
        let (address, status) = (self.config.address.clone(), response.status());
        let why = response.text().await.unwrap_or_default().chars().take(REASON_CHARS_MAX).collect();
        ForwardError::Refused { address, status, why }
    }

    async fn json<T: DeserializeOwned>(
        &self,
        response: reqwest::Result<Response>,
    ) -> Result<T, ForwardError> {
        let response = response.map_err(|error| self.http(error))?;
        if response.status() != StatusCode::OK {
            return Err(self.refused(response).await);
        }
        let bytes = response.bytes().await.map_err(|error| self.http(error))?;
        serde_json::from_slice(&bytes).map_err(|error| ForwardError::Refused {
            address: self.config.address.clone(),
            status: StatusCode::OK,
            why: format!("its answer makes no sense: {error}"),
        })
    }

    async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl serde::Serialize,
    ) -> Result<T, ForwardError> {
        let body = serde_json::to_vec(body).unwrap_or_default();
        let request = self.client.post(self.url(path)).header("content-type", "application/json").body(body);
        self.json(request.send().await).await
    }

    async fn send_receipts(&self, pass: &mut Pass) -> Result<(), ForwardError> {
        let spool = Spool::open(&self.config.spool)?;
        let mut known: KnownSize = self.json(self.client.get(self.url("receipts")).send().await).await?;
        // Also where nothing is new: the vault sees whether what it knows is still there.
        loop {
            let piece = spool.piece(known.size)?;
            let count = piece.entries.len() as u64;
            let now: KnownSize = self.post("receipts", &piece).await?;
            pass.entries += count;
            if count == 0 || now.size >= spool.size() || now.size <= known.size {
                return Ok(());
            }
            known = now;
        }
    }

    async fn send_files(&self, pass: &mut Pass) -> Result<(), ForwardError> {
        let mut from = Some(0);
        while let Some(at) = from {
            let asked = self.client.get(self.url(&format!("awaited?from={at}"))).send().await;
            let awaited: AwaitedFiles = self.json(asked).await?;
            for (id, file) in &awaited.files {
                // What a vault names goes into a path.
                let is_plain =
                    file.starts_with(id.as_str()) && !file.contains('/') && id.parse::<RecordingId>().is_ok();
                let path = self.config.spool.join(file);
                if is_plain && path.is_file() {
                    self.send_file(id, file, &path, pass).await?;
                } else {
                    pass.absent += 1;
                }
            }
            from = awaited.next.filter(|next| *next > at);
        }
        Ok(())
    }

    /// From where it ended the last time. Some tries, because something may come between two requests.
    async fn send_file(
        &self,
        id: &str,
        file: &str,
        path: &Path,
        pass: &mut Pass,
    ) -> Result<(), ForwardError> {
        let url = self.url(&format!("recordings/{id}/{file}"));
        let io = |doing| move |source| ForwardError::Io { doing, path: path.into(), source };
        let asked = self.client.request(Method::HEAD, &url).send().await.map_err(|error| self.http(error))?;
        let mut from = match asked.status() {
            StatusCode::CREATED => return Ok(()),
            StatusCode::OK => offset(&asked),
            _ => return Err(self.refused(asked).await),
        };
        for _ in 0..TRIES_MAX {
            let mut content = std::fs::File::open(path).map_err(io("opening"))?;
            let all = content.metadata().map_err(io("looking at"))?.len();
            if from >= all {
                // It has been another one: the vault begins anew.
                from = 0;
            }
            content.seek(SeekFrom::Start(from)).map_err(io("reading"))?;
            let mut put = self.client.put(&url).body(Body::wrap_stream(chunks(content)));
            if all > 0 {
                put = put.header(CONTENT_RANGE, format!("bytes {from}-{}/{all}", all - 1));
            }
            let done = put.send().await.map_err(|error| self.http(error))?;
            match done.status() {
                StatusCode::CREATED => {
                    pass.files += 1;
                    pass.bytes += all - from;
                    return Ok(());
                }
                StatusCode::ACCEPTED | StatusCode::CONFLICT
                    if done.headers().contains_key(&UPLOAD_OFFSET) =>
                {
                    from = offset(&done);
                }
                StatusCode::UNPROCESSABLE_ENTITY => from = 0,
                _ => return Err(self.refused(done).await),
            }
        }
        Err(ForwardError::Refused {
            address: self.config.address.clone(),
            status: StatusCode::CONFLICT,
            why: format!(
                "`{file}` does not arrive as it was receipted: `sejf verify` says whether it was changed"
            ),
        })
    }

    async fn free(&self, pass: &mut Pass) -> Result<(), ForwardError> {
        let dir = &self.config.spool;
        let io = |doing, path: PathBuf| move |source| ForwardError::Io { doing, path, source };
        let names = sealed_files(dir).map_err(io("listing", dir.clone()))?;
        let id_of = |name: &str| name.split('.').next().and_then(|id| id.parse::<RecordingId>().ok());
        let mut ids: Vec<_> = names.iter().filter_map(|name| id_of(name)).collect();
        ids.dedup();
        for ids in ids.chunks(FREE_MAX) {
            let asked = Ids { ids: ids.iter().map(ToString::to_string).collect() };
            let free: Ids = self.post("free", &asked).await?;
            let free: Vec<RecordingId> = free.ids.iter().filter_map(|id| id.parse().ok()).collect();
            for name in names.iter().filter(|name| id_of(name).is_some_and(|id| free.contains(&id))) {
                let path = dir.join(name);
                std::fs::remove_file(&path).map_err(io("removing", path.clone()))?;
                pass.freed += 1;
            }
        }
        Ok(())
    }
}

fn offset(response: &Response) -> u64 {
    let value = response.headers().get(&UPLOAD_OFFSET).and_then(|value| value.to_str().ok());
    value.and_then(|value| value.parse().ok()).unwrap_or(0)
}

fn chunks(file: std::fs::File) -> impl futures_util::Stream<Item = io::Result<Vec<u8>>> {
    futures_util::stream::unfold(Some(file), |file| async move {
        let mut file = file?;
        let mut chunk = vec![0; CHUNK_BYTES];
        match file.read(&mut chunk) {
            Ok(0) => None,
            Ok(read) => {
                chunk.truncate(read);
                Some((Ok(chunk), Some(file)))
            }
            Err(error) => Some((Err(error), None)),
        }
    })
}

/// How often the folder is looked at.
const INTERVAL: Duration = Duration::from_secs(5);
/// How long a vault that is away is left alone, at most.
const INTERVAL_MAX: Duration = Duration::from_secs(300);
const TICK: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(60);
const TRIES_MAX: usize = 4;
const CHUNK_BYTES: usize = 256 * 1024;
const REASON_CHARS_MAX: usize = 300;
