//! The recorder's side: sends what it has recorded to a vault, and frees what the vault has in enough copies.
//!
//! The folder stays as it is until the vault says so. A vault that is away for days costs nothing but room: what could
//! not be sent is sent when it is back, from the byte where it ended.

use std::collections::BTreeMap;
use std::io::{self, Read, Seek, SeekFrom};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

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
#[derive(Clone, Debug, Default, Eq, PartialEq, serde::Serialize)]
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
    /// Files that could not be sent, or freed. The others do not wait for them.
    pub failed: u64,
    /// Why, of the first of them.
    pub fault: Option<String>,
}

impl Pass {
    /// Whether something of one file went wrong, which is noted; what went wrong with the vault ends the pass.
    fn note_failed(&mut self, done: Result<(), ForwardError>) -> Result<bool, ForwardError> {
        match done {
            Ok(()) => Ok(false),
            Err(fault @ (ForwardError::Refused { .. } | ForwardError::Io { .. })) => {
                self.failed += 1;
                self.fault.get_or_insert_with(|| fault.to_string());
                Ok(true)
            }
            Err(fault) => Err(fault),
        }
    }

    fn is_idle(&self) -> bool {
        self.entries + self.files + self.freed == 0
    }
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
    /// It takes nothing more, and does not say why.
    #[error(
        "sending `{}` to the vault at `{address}`: it takes nothing more; it is tried again from where it ended",
        path.display()
    )]
    Stalled {
        /// As configured.
        address: String,
        /// The file.
        path: PathBuf,
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
    let (mut wait, mut aside) = (INTERVAL, Aside::default());
    while !stop.asked() {
        match pass_leaving(config, &mut aside).await {
            Ok(done) => {
                if let Some(fault) = &done.fault {
                    tracing::warn!(files = done.failed, "not handed over, and tried again later: {fault}");
                }
                if !done.is_idle() {
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
    pass_leaving(config, &mut Aside::default()).await
}

async fn pass_leaving(config: &Config, aside: &mut Aside) -> Result<Pass, ForwardError> {
    let vault = Remote::reach(config).await?;
    let mut pass = Pass::default();
    vault.send_receipts(&mut pass).await?;
    vault.send_files(&mut pass, aside).await?;
    if config.free {
        vault.free(&mut pass).await?;
    }
    Ok(pass)
}

/// Files that failed are left alone for a while, longer each time: one that was changed would be sent for ever.
#[derive(Debug, Default)]
struct Aside(BTreeMap<String, (Duration, Instant)>);

impl Aside {
    fn has(&self, file: &str, now: Instant) -> bool {
        self.0.get(file).is_some_and(|(_, until)| now < *until)
    }

    fn note(&mut self, file: &str, has_failed: bool, now: Instant) {
        if has_failed {
            let wait = self.0.get(file).map_or(INTERVAL, |(wait, _)| (*wait * 2).min(INTERVAL_MAX));
            self.0.insert(file.into(), (wait, now + wait));
        } else {
            self.0.remove(file);
        }
    }
}

/// A vault that is to be reached.
struct Remote<'a> {
    config: &'a Config,
    client: Client,
    /// For what may take long: nobody but us says how long.
    patient: Client,
}

impl<'a> Remote<'a> {
    async fn reach(config: &'a Config) -> Result<Self, ForwardError> {
        let Config { authority, certificate, key, pin, .. } = config;
        let tls = client_config(authority, certificate, key, pin.as_deref())?;
        let address = |source| ForwardError::Address { address: config.address.clone(), source };
        let found = tokio::net::lookup_host(&config.address).await.map_err(address)?;
        let all: Vec<SocketAddr> = found.collect();
        if all.is_empty() {
            return Err(address(io::ErrorKind::NotFound.into()));
        }
        let builder = || {
            Client::builder()
                .tls_backend_preconfigured(tls.clone())
                // By its own name, wherever it is; nobody stands between.
                .resolve_to_addrs(&config.name, &all)
                .https_only(true)
                .no_proxy()
                .redirect(reqwest::redirect::Policy::none())
                .connect_timeout(PATIENCE)
        };
        let http = |source| ForwardError::Http { address: config.address.clone(), source };
        // This one counts from the beginning of a request, however much is being sent.
        let client = builder().read_timeout(PATIENCE).build().map_err(http)?;
        let patient = builder().build().map_err(http)?;
        Ok(Self { config, client, patient })
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
        let said = tokio::time::timeout(PATIENCE, response.text()).await;
        let why = said.ok().and_then(Result::ok).unwrap_or_default();
        ForwardError::Refused { address, status, why: why.chars().take(REASON_CHARS_MAX).collect() }
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
        let request = self.patient.post(self.url(path)).timeout(ANSWER_PATIENCE);
        self.json(request.header("content-type", "application/json").body(body).send().await).await
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

    async fn send_files(&self, pass: &mut Pass, aside: &mut Aside) -> Result<(), ForwardError> {
        let mut from = Some(0);
        while let Some(at) = from {
            let asked = self.client.get(self.url(&format!("awaited?from={at}"))).send().await;
            let awaited: AwaitedFiles = self.json(asked).await?;
            for (id, file) in &awaited.files {
                // What a vault names goes into a path.
                let is_plain =
                    file.starts_with(id.as_str()) && !file.contains('/') && id.parse::<RecordingId>().is_ok();
                let path = self.config.spool.join(file);
                if !is_plain || !path.is_file() {
                    pass.absent += 1;
                } else if !aside.has(file, clock::monotonic()) {
                    let sent = self.send_file(id, file, &path, pass).await;
                    let has_failed = pass.note_failed(sent)?;
                    aside.note(file, has_failed, clock::monotonic());
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
        let mut is_first = true;
        for _ in 0..TRIES_MAX {
            let mut content = std::fs::File::open(path).map_err(io("opening"))?;
            let all = content.metadata().map_err(io("looking at"))?.len();
            if from > all {
                // It has been another one: the vault begins anew.
                from = 0;
            }
            content.seek(SeekFrom::Start(from)).map_err(io("reading"))?;
            // Where all of it is there, nothing is sent but the question.
            let range = (from < all).then(|| format!("bytes {from}-{}/{all}", all - 1));
            let done = self.put(&url, range, content, path).await?;
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
                // What was there of it may have been spoilt by a power failure: once more, from the beginning.
                StatusCode::UNPROCESSABLE_ENTITY if is_first => (from, is_first) = (0, false),
                StatusCode::UNPROCESSABLE_ENTITY => break,
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

    /// Sends a file from where it is read, for as long as the vault goes on taking it.
    async fn put(
        &self,
        url: &str,
        range: Option<String>,
        content: std::fs::File,
        path: &Path,
    ) -> Result<Response, ForwardError> {
        let taken = Arc::new(Taken::default());
        let mut put = self.patient.put(url).body(Body::wrap_stream(chunks(content, taken.clone())));
        if let Some(range) = range {
            put = put.header(CONTENT_RANGE, range);
        }
        let (mut sending, mut watch) = (std::pin::pin!(put.send()), Watch::begin(clock::monotonic()));
        loop {
            match tokio::time::timeout(LOOK_EVERY, &mut sending).await {
                Ok(Ok(response)) => return Ok(response),
                // Where it is the file that cannot be read, that is no fault of the vault.
                Ok(Err(error)) => {
                    return Err(match taken.fault() {
                        Some(source) => ForwardError::Io { doing: "reading", path: path.into(), source },
                        None => self.http(error),
                    });
                }
                Err(_) if watch.is_stalled(&taken, clock::monotonic()) => {
                    let address = self.config.address.clone();
                    return Err(ForwardError::Stalled { address, path: path.into() });
                }
                Err(_) => {}
            }
        }
    }

    async fn free(&self, pass: &mut Pass) -> Result<(), ForwardError> {
        let dir = &self.config.spool;
        let io = |doing, path: PathBuf| move |source| ForwardError::Io { doing, path, source };
        let mut names: BTreeMap<RecordingId, Vec<String>> = BTreeMap::new();
        for name in sealed_files(dir).map_err(io("listing", dir.clone()))? {
            if let Some(Ok(id)) = name.split('.').next().map(str::parse) {
                names.entry(id).or_default().push(name);
            }
        }
        let ids: Vec<_> = names.keys().copied().collect();
        for ids in ids.chunks(FREE_MAX) {
            let asked = Ids { ids: ids.iter().map(ToString::to_string).collect() };
            let free: Ids = self.post("free", &asked).await?;
            let free = free.ids.iter().filter_map(|id| names.get(&id.parse().ok()?));
            for name in free.flatten() {
                let path = dir.join(name);
                let removed = std::fs::remove_file(&path).map_err(io("removing", path.clone()));
                pass.freed += u64::from(!pass.note_failed(removed)?);
            }
        }
        Ok(())
    }
}

fn offset(response: &Response) -> u64 {
    let value = response.headers().get(&UPLOAD_OFFSET).and_then(|value| value.to_str().ok());
    value.and_then(|value| value.parse().ok()).unwrap_or(0)
}

fn chunks(file: std::fs::File, taken: Arc<Taken>) -> impl futures_util::Stream<Item = io::Result<Vec<u8>>> {
    futures_util::stream::unfold(Some(file), move |file| {
        let next = file.and_then(|mut file| {
            let mut chunk = vec![0; CHUNK_BYTES];
            match file.read(&mut chunk) {
                Ok(0) => {
                    taken.is_all.store(true, Ordering::Relaxed);
                    None
                }
                Ok(read) => {
                    taken.chunks.fetch_add(1, Ordering::Relaxed);
                    chunk.truncate(read);
                    Some((Ok(chunk), Some(file)))
                }
                Err(error) => {
                    let said = io::Error::new(error.kind(), error.to_string());
                    *taken.fault.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                    Some((Err(said), None))
                }
            }
        });
        std::future::ready(next)
    })
}

/// How much of a file the connection has taken from us.
#[derive(Debug, Default)]
struct Taken {
    chunks: AtomicU64,
    is_all: AtomicBool,
    /// Why there is no more of it.
    fault: Mutex<Option<io::Error>>,
}

impl Taken {
    fn fault(&self) -> Option<io::Error> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Sees whether a file goes on.
struct Watch {
    chunks: u64,
    since: Instant,
}

impl Watch {
    fn begin(now: Instant) -> Self {
        Self { chunks: 0, since: now }
    }

    /// Whether nothing was taken for too long. What was taken as a whole is read once by the vault before it answers.
    fn is_stalled(&mut self, taken: &Taken, now: Instant) -> bool {
        let chunks = taken.chunks.load(Ordering::Relaxed);
        if chunks != self.chunks {
            (self.chunks, self.since) = (chunks, now);
        }
        let patience = if taken.is_all.load(Ordering::Relaxed) { ANSWER_PATIENCE } else { PATIENCE };
        now.duration_since(self.since) > patience
    }
}

/// How often the folder is looked at.
const INTERVAL: Duration = Duration::from_secs(5);
/// How long a vault that is away is left alone, at most.
const INTERVAL_MAX: Duration = Duration::from_secs(300);
const TICK: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(60);
const ANSWER_PATIENCE: Duration = Duration::from_secs(600);
const LOOK_EVERY: Duration = Duration::from_secs(1);
const TRIES_MAX: usize = 4;
/// So small that a slow line takes one within [`PATIENCE`].
const CHUNK_BYTES: usize = 64 * 1024;
const REASON_CHARS_MAX: usize = 300;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_may_take_as_long_as_it_goes_on() {
        let (taken, begun) = (Taken::default(), clock::monotonic());
        let at = |seconds: u64| begun + Duration::from_secs(seconds);
        let mut watch = Watch::begin(begun);
        // An hour, a chunk in each minute.
        for minute in 1..60 {
            taken.chunks.fetch_add(1, Ordering::Relaxed);
            assert!(!watch.is_stalled(&taken, at(60 * minute)), "{minute}");
        }
        assert!(!watch.is_stalled(&taken, at(60 * 60)));
        assert!(watch.is_stalled(&taken, at(60 * 60 + 1)));
        taken.is_all.store(true, Ordering::Relaxed);
        assert!(!watch.is_stalled(&taken, at(60 * 60 + 1)), "the vault may be reading it");
        assert!(watch.is_stalled(&taken, at(60 * 70)));
    }

    #[test]
    fn what_failed_is_left_alone_longer_each_time_and_no_longer_than_a_vault() {
        let (mut aside, begun) = (Aside::default(), clock::monotonic());
        let (mut now, mut waits) = (begun, Vec::new());
        for _ in 0..9 {
            assert!(!aside.has("a", now) && !aside.has("b", now));
            aside.note("a", true, now);
            let failed_at = now;
            while aside.has("a", now) {
                now += Duration::from_secs(1);
            }
            waits.push(now.duration_since(failed_at).as_secs());
        }
        assert_eq!(waits, [5, 10, 20, 40, 80, 160, 300, 300, 300]);
        aside.note("a", false, now);
        aside.note("a", true, now);
        assert!(!aside.has("a", now + INTERVAL));
    }

    /// That a file cannot be read here is no reason to leave the others.
    #[test]
    fn a_fault_of_one_file_is_noted_and_one_of_the_vault_ends_the_pass() {
        let mut pass = Pass::default();
        let io = |path: &str| ForwardError::Io {
            doing: "reading",
            path: path.into(),
            source: io::ErrorKind::InvalidData.into(),
        };
        assert!(pass.note_failed(Err(io("one"))).unwrap());
        assert!(pass.note_failed(Err(io("other"))).unwrap());
        assert!(!pass.note_failed(Ok(())).unwrap());
        assert_eq!(pass.failed, 2);
        assert!(pass.fault.as_ref().is_some_and(|fault| fault.contains("one")));
        let stalled = ForwardError::Stalled { address: "vault".into(), path: "one".into() };
        assert!(pass.note_failed(Err(stalled)).is_err());
    }
}
