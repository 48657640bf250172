//! A vault that runs: it watches the folders of recorders on this machine, lets others send to it, and keeps the keys in
//! memory once it is unlocked. It starts locked, and takes in all the same.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use zeroize::Zeroizing;

use crate::archive::access::{Action, Request};
use crate::archive::duties::{Duty, Standing};
use crate::archive::entry::{Outcome, Resource};
use crate::seal::identity::Identities;
use crate::seal::note::VerifyKey;
use crate::shell::clock;
use crate::shell::connections::Open;
use crate::shell::signals::Stop;
use crate::shell::socket::{self, Fault};
use crate::shell::vault::audit;
use crate::shell::vault::duties::{Bell, Worker};
use crate::shell::vault::intake::connections::{Connection, keep_alive, one_more};
use crate::shell::vault::intake::protocol::{self, Peer, Shared};
use crate::shell::vault::intake::tls::{Authority, TlsError};
use crate::shell::vault::intake::{Intake, IntakeError, Report, Whose};
use crate::shell::vault::notices;

/// A vault that is about to run.
pub struct Server {
    intake: Arc<Intake>,
    /// The same for the thread that takes in: databases do not like two.
    worker: Intake,
    authority: Arc<Authority>,
    listener: Option<TcpListener>,
    control: UnixListener,
    status: Arc<Mutex<Status>>,
    came: Arc<Notify>,
    bell: Arc<Bell>,
    patience: Duration,
}

/// How a running vault is.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Status {
    /// Whether it has no keys.
    pub locked: bool,
    /// Where recorders reach it; none where none is to.
    pub listening: Option<SocketAddr>,
    /// Recordings put under their envelopes since it started.
    pub archived: u64,
    /// Recordings staged since it started.
    pub staged: u64,
    /// Receipts whose files are not there, when that was last looked at.
    pub waiting: u64,
    /// Receipts that were refused, when that was last looked at.
    pub refused: u64,
    /// Connections that were refused since it started.
    pub refused_connections: u64,
    /// What went wrong last.
    pub fault: Option<String>,
    /// How what the vault does by itself stands.
    #[serde(default)]
    pub duties: Vec<Standing>,
    /// Why none of it is done any more.
    #[serde(default)]
    pub duties_fault: Option<String>,
}

/// What may be asked on the control socket, one JSON a line.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Ask {
    /// How it is.
    Status {},
    /// Here are the keys of custodians, as they are in their identity files.
    Unlock {
        /// One text a custodian.
        identities: Vec<String>,
    },
    /// Forget the keys.
    Lock {},
}

/// What is answered.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Answer {
    /// Whether it was done.
    pub ok: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// To [`Ask::Status`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
}

/// Why a vault does not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// Taking in.
    #[error(transparent)]
    Intake(#[from] IntakeError),
    /// TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The operating system refused.
    #[error("{doing} {what}: {source}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To which address or file.
        what: String,
        /// Why.
        source: io::Error,
    },
    /// Nothing is taken in any more.
    #[error(
        "the thread that takes in has ended, which it does only by a fault in this program: start the vault again"
    )]
    Ended,
    /// Another one runs.
    #[error("a vault runs already, and listens on `{}`: stop it first", path.display())]
    Busy {
        /// Its control socket.
        path: PathBuf,
    },
}

impl Server {
    /// Takes its sockets. Within a runtime.
    pub async fn bind(intake: Intake, listen: Option<SocketAddr>) -> Result<Self, ServeError> {
        let io = |doing, what: String| move |source| ServeError::Io { doing, what, source };
        let home = intake.vault().home.clone();
        let control = bind_control(&home.join(CONTROL))?;
        let name = &intake.vault().config.vault.name;
        let authority = Arc::new(Authority::open(&home.join(TLS), name, clock::now())?);
        let listener = match listen {
            Some(address) => {
                Some(TcpListener::bind(address).await.map_err(io("listening on", address.to_string()))?)
            }
            None => None,
        };
        let listening = listener.as_ref().and_then(|listener| listener.local_addr().ok());
        let status = Arc::new(Mutex::new(Status { locked: true, listening, ..Status::default() }));
        let worker = intake.another().await?;
        let came = Arc::new(Notify::new());
        let (intake, bell, patience) = (Arc::new(intake), Arc::new(Bell::default()), PATIENCE);
        Ok(Self { intake, worker, authority, listener, control, status, came, bell, patience })
    }

    /// For tests: gives up connections of which nothing comes for so long.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Where recorders reach it.
    pub fn address(&self) -> Option<SocketAddr> {
        self.listener.as_ref().and_then(|listener| listener.local_addr().ok())
    }

    /// Runs until it is asked to stop.
    pub async fn run(self, stop: Stop) -> Result<(), ServeError> {
        let Self {
            intake,
            worker,
            authority,
            listener,
            control: control_socket,
            status,
            came,
            bell,
            patience,
        } = self;
        let (worker_status, worker_came, worker_stop) = (status.clone(), came.clone(), stop.clone());
        let worker_bell = bell.clone();
        let thread = start("intake", move || {
            take_in_until(&worker, &worker_status, &worker_came, &worker_bell, &worker_stop);
        })?;
        let (keys_of, copied) = (intake.clone(), came.clone());
        let duties = Worker {
            vault: intake.vault.clone(),
            keys: Box::new(move || keys_of.keys()),
            bell: bell.clone(),
            copied: Box::new(move || copied.notify_one()),
            stop: stop.clone(),
        };
        let duties = start("duties", move || duties.work())?;
        let (audited, audit_stop) = (intake.vault.clone(), stop.clone());
        let audit = start("audit", move || audit::work(&audited, &audit_stop))?;
        if !intake.vault.config.notify.is_empty() {
            let (vault, bell, stop) = (intake.vault.clone(), bell.clone(), stop.clone());
            // Ends by itself: what it was sending is sent again.
            start("notices", move || notices::Worker { vault, bell, stop }.work())?;
        }
        let refusals =
            Arc::new(Refusals { intake: intake.clone(), status: status.clone(), last: Mutex::new(None) });
        if let Some(listener) = listener {
            let (sender, ready) = mpsc::channel(1);
            let app = protocol::router(Arc::new(Shared {
                intake: intake.clone(),
                authority: authority.clone(),
                busy: Mutex::default(),
                came: came.clone(),
                patience,
            }));
            let app = app.into_make_service_with_connect_info::<Peer>();
            tokio::spawn(accept(listener, authority, intake.clone(), sender, refusals));
            tokio::spawn(async move {
                let _ = axum::serve(Ready(ready), app).await;
            });
        }
        let control = Control { intake: intake.clone(), status: status.clone(), came: came.clone(), bell };
        tokio::spawn(serve_control(control_socket, Arc::new(control)));
        while !stop.asked() && !thread.is_finished() {
            if duties.is_finished() && lock(&status).duties_fault.is_none() && !stop.asked() {
                // Taking in goes on all the same.
                tracing::error!("{DUTIES_ENDED}");
                lock(&status).duties_fault = Some(DUTIES_ENDED.into());
            }
            tokio::time::sleep(TICK).await;
        }
        let has_ended = !stop.asked();
        stop.ask();
        came.notify_one();
        // It ends after the batch that it is at.
        while !thread.is_finished() {
            tokio::time::sleep(TICK).await;
        }
        // What a disk or a store holds up is cut off, which it may be anywhere.
        let until = clock::monotonic() + DUTIES_PATIENCE;
        while !(duties.is_finished() && audit.is_finished()) && clock::monotonic() < until {
            tokio::time::sleep(TICK).await;
        }
        let _ = std::fs::remove_file(intake.vault().home.join(CONTROL));
        intake.catalog().close().await;
        if has_ended { Err(ServeError::Ended) } else { Ok(()) }
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("listening", &self.address()).finish_non_exhaustive()
    }
}

fn lock(status: &Mutex<Status>) -> std::sync::MutexGuard<'_, Status> {
    status.lock().unwrap_or_else(PoisonError::into_inner)
}

fn start(
    name: &'static str,
    body: impl FnOnce() + Send + 'static,
) -> Result<std::thread::JoinHandle<()>, ServeError> {
    let thread = std::thread::Builder::new().name(name.into()).spawn(body);
    thread.map_err(|source| ServeError::Io { doing: "starting", what: format!("the {name} thread"), source })
}

fn take_in_until(intake: &Intake, status: &Mutex<Status>, came: &Notify, bell: &Bell, stop: &Stop) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            return tracing::error!("starting to take in: {error}");
        }
    };
    runtime.block_on(async {
        let mut said = None;
        while !stop.asked() {
            let (report, fault) = intake.take_in_all().await;
            if fault != said {
                if let Some(fault) = &fault {
                    tracing::error!("taking in: {fault}");
                }
                said.clone_from(&fault);
            }
            if report.archived + report.without_files > 0 {
                bell.ring(Duty::Copies);
            }
            {
                let mut now = lock(status);
                now.archived += report.archived;
                now.staged += report.staged;
                (now.waiting, now.refused) = (report.waiting.len() as u64, report.refused.len() as u64);
                (now.locked, now.fault) = (intake.keys().is_none(), fault);
            }
            let until = clock::monotonic() + INTERVAL;
            while !stop.asked() && clock::monotonic() < until {
                if timeout(TICK, came.notified()).await.is_ok() {
                    break;
                }
            }
        }
        intake.catalog().close().await;
    });
}

impl Intake {
    /// Takes in what there is of all recorders. What goes wrong with one does not hold up the others.
    pub async fn take_in_all(&self) -> (Report, Option<String>) {
        let (mut report, mut fault) = (Report::default(), None);
        let mut add = |done: Result<Report, IntakeError>| match done {
            Ok(done) => report.add(done),
            // A recorder that has not begun.
            Err(IntakeError::NoReceipts { .. }) => {}
            Err(error) => fault = Some(error.to_string()),
        };
        add(self.archive_staged().await);
        for recorder in &self.vault().config.recorders {
            let Ok(key) = recorder.key.trim().parse::<VerifyKey>() else {
                add(Err(IntakeError::Stranger { recorder: recorder.key.clone() }));
                continue;
            };
            add(self.take_in_sent(&key).await);
            if let Some(spool) = &recorder.spool {
                let taken = self.take_in_folder(spool).await;
                // From a folder whose log is refused nothing is removed.
                let is_to_be_freed = taken.is_ok() && recorder.free;
                add(taken);
                if is_to_be_freed {
                    add(self.free_folder(&key, spool).await);
                }
            }
        }
        (report, fault)
    }

    /// Takes in what a recorder has sent, and nothing where it has sent nothing.
    pub async fn take_in_sent(&self, recorder: &VerifyKey) -> Result<Report, IntakeError> {
        let sent = protocol::folder(self, recorder);
        if !sent.is_dir() {
            return Ok(Report::default());
        }
        self.take_in_awaited(recorder, &sent, Whose::Vault).await
    }

    /// Removes from a recorder's folder the files of recordings that are archived in as many copies as asked.
    async fn free_folder(&self, recorder: &VerifyKey, dir: &Path) -> Result<Report, IntakeError> {
        let names = sealed_files(dir).map_err(IntakeError::io("listing", dir))?;
        let mut ids: Vec<_> = names.iter().filter_map(|name| name.split('.').next()?.parse().ok()).collect();
        ids.sort_unstable();
        ids.dedup();
        for ids in ids.chunks(protocol::FREE_MAX) {
            let free = self.may_be_freed(&recorder.to_string(), ids).await?;
            for record in self.catalog().get_all(&free).await? {
                let files = record.receipt.files.iter().map(|file| file.name.as_str());
                self.remove_files(dir, files.filter(|name| names.contains(*name)))?;
            }
        }
        Ok(Report::default())
    }
}

/// Names of sealed files in a folder.
pub(crate) fn sealed_files(dir: &Path) -> io::Result<std::collections::BTreeSet<String>> {
    let mut names = std::collections::BTreeSet::new();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            names.extend(entry.file_name().into_string().ok().filter(|name| name.ends_with(".age")));
        }
    }
    Ok(names)
}

/// Connections whose other end has proved who it is.
struct Ready(mpsc::Receiver<(Connection, Peer)>);

impl Listener for Ready {
    type Io = Connection;
    type Addr = Peer;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.0.recv().await {
            Some(connection) => connection,
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<Peer> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

impl Connected<IncomingStream<'_, Ready>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Ready>) -> Self {
        stream.remote_addr().clone()
    }
}

/// Shakes hands with whoever comes, each in a task of its own.
async fn accept(
    listener: TcpListener,
    authority: Arc<Authority>,
    intake: Arc<Intake>,
    ready: mpsc::Sender<(Connection, Peer)>,
    refusals: Arc<Refusals>,
) {
    let places = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    let open = Open::default();
    let mut made: Option<(Instant, TlsAcceptor)> = None;
    loop {
        let Ok((stream, address)) = listener.accept().await else {
            tokio::time::sleep(TICK).await;
            continue;
        };
        let now = clock::monotonic();
        let is_old = |(at, _): &(Instant, TlsAcceptor)| now.duration_since(*at) > CERTIFICATE_LASTS;
        if made.as_ref().is_none_or(is_old) {
            match authority.server_config(clock::now()) {
                Ok(config) => made = Some((now, TlsAcceptor::from(Arc::new(config)))),
                Err(error) => tracing::error!("making the vault's certificate: {error}"),
            }
        }
        let Some((_, acceptor)) = &made else { continue };
        let Ok(place) = places.clone().try_acquire_owned() else {
            refusals.tell(address, "too many handshakes at once".into());
            continue;
        };
        let (acceptor, authority, intake) = (acceptor.clone(), authority.clone(), intake.clone());
        let (ready, refusals, open) = (ready.clone(), refusals.clone(), open.clone());
        tokio::spawn(async move {
            if let Err(error) = keep_alive(&stream) {
                tracing::warn!(%address, "having a connection watched: {error}");
            }
            let shaken = shake_hands(stream, &acceptor, &authority, &intake).await;
            let opened = shaken.and_then(|(stream, recorder, certificate)| {
                let counted = one_more(&open, &recorder)?;
                Ok((Connection { stream, counted }, Peer { recorder, address, certificate }))
            });
            match opened {
                Ok(opened) => {
                    let _ = ready.send(opened).await;
                }
                Err(why) => refusals.tell(address, why),
            }
            drop(place);
        });
    }
}

type Shaken = (TlsStream<TcpStream>, VerifyKey, Arc<CertificateDer<'static>>);

async fn shake_hands(
    stream: TcpStream,
    acceptor: &TlsAcceptor,
    authority: &Authority,
    intake: &Intake,
) -> Result<Shaken, String> {
    let stream = match timeout(HANDSHAKE_PATIENCE, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Err(error.to_string()),
        Err(_) => return Err("the handshake was not finished in time".into()),
    };
    let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
    let certificate = Arc::new(certificate.ok_or("no certificate")?.clone().into_owned());
    let recorder = authority.recorder_of(&certificate)?;
    intake.check_recorder(&recorder).map_err(|error| error.to_string())?;
    Ok((stream, recorder, certificate))
}

/// Connections that are refused are told; in the vault's log at most once a minute, so that nobody fills it.
struct Refusals {
    intake: Arc<Intake>,
    status: Arc<Mutex<Status>>,
    last: Mutex<Option<Instant>>,
}

impl Refusals {
    fn tell(self: &Arc<Self>, address: SocketAddr, why: String) {
        tracing::warn!(%address, "connection refused: {why}");
        let count = {
            let mut status = lock(&self.status);
            status.refused_connections += 1;
            status.refused_connections
        };
        let now = clock::monotonic();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_some_and(|last| now.duration_since(last) < REFUSALS_APART) {
            return;
        }
        *last = Some(now);
        let this = self.clone();
        // Waits for the disk.
        tokio::task::spawn_blocking(move || {
            let what = format!("{count} connections refused, the last one from {address}: {why}");
            if let Err(error) = this.intake.log(Resource::Vault, Outcome::Failed(what)) {
                tracing::error!("logging a refused connection: {error}");
            }
        });
    }
}

fn bind_control(path: &Path) -> Result<UnixListener, ServeError> {
    let io = |doing| move |source| ServeError::Io { doing, what: format!("`{}`", path.display()), source };
    // The vault's home is its owner's alone; until the mode is set nobody else can write.
    let listener = socket::bind(path).map_err(|fault| match fault {
        Fault::Busy => ServeError::Busy { path: path.into() },
        Fault::NoSocket => io("binding")(io::ErrorKind::AlreadyExists.into()),
        Fault::Io { doing, source } => io(doing)(source),
    })?;
    let bound = listener.set_nonblocking(true).and_then(|()| UnixListener::from_std(listener));
    let listener = bound.map_err(io("serving"))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
        .map_err(io("setting the mode of"))?;
    Ok(listener)
}

/// What is asked of on the control socket.
struct Control {
    intake: Arc<Intake>,
    status: Arc<Mutex<Status>>,
    came: Arc<Notify>,
    bell: Arc<Bell>,
}

async fn serve_control(listener: UnixListener, control: Arc<Control>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(TICK).await;
            continue;
        };
        let control = control.clone();
        tokio::spawn(async move {
            let _ = converse(stream, &control).await;
        });
    }
}

async fn converse(stream: UnixStream, control: &Control) -> io::Result<()> {
    let Control { intake, status, came, bell } = control;
    let (read, mut write) = stream.into_split();
    let mut reader = BufReader::new(read.take(ASK_BYTES_MAX));
    let mut line = Zeroizing::new(Vec::with_capacity(64 * 1024));
    timeout(CONTROL_PATIENCE, reader.read_until(b'\n', &mut line)).await??;
    let answer = match serde_json::from_slice::<Ask>(&line) {
        Err(error) => refused(format!("no such request: {error}")),
        Ok(Ask::Status {}) => {
            let mut status = lock(status).clone();
            status.locked = intake.keys().is_none();
            status.duties = bell.standing();
            Answer { ok: true, status: Some(status), ..Answer::default() }
        }
        Ok(ask) => {
            let intake = intake.clone();
            let done = tokio::task::spawn_blocking(move || match ask {
                Ask::Unlock { identities } => unlock(&intake, identities),
                Ask::Lock {} => forget(&intake),
                Ask::Status {} => Ok(()),
            });
            match done.await.unwrap_or_else(|_| Err("the vault is ending".into())) {
                Ok(()) => Answer { ok: true, ..Answer::default() },
                Err(why) => refused(why),
            }
        }
    };
    came.notify_one();
    if answer.ok && answer.status.is_none() {
        bell.ring(Duty::Keys);
    }
    let mut line = serde_json::to_vec(&answer).unwrap_or_default();
    line.push(b'\n');
    timeout(CONTROL_PATIENCE, write.write_all(&line)).await?
}

fn refused(why: String) -> Answer {
    Answer { error: Some(why), ..Answer::default() }
}

fn unlock(intake: &Intake, texts: Vec<String>) -> Result<(), String> {
    let texts: Vec<_> = texts.into_iter().map(Zeroizing::new).collect();
    let identities: Result<Vec<_>, _> = texts.iter().map(|text| Identities::parse(text)).collect();
    let ring = intake.vault().unlock(&identities.map_err(|error| error.to_string())?);
    intake.set_keys(Some(Arc::new(ring.map_err(|error| error.to_string())?)));
    Ok(())
}

fn forget(intake: &Intake) -> Result<(), String> {
    let vault = intake.vault();
    let (actor, now) = (vault.actor(&[]), clock::now());
    let (action, resource) = (Action::Lock, Resource::Vault);
    // Taken away first: a log that cannot be written is no reason to keep keys.
    intake.set_keys(None);
    let grant = vault.log.ask(&Request { actor: &actor, action, resource, reason: None, now });
    let grant = grant.map_err(|error| error.to_string())?;
    let done = Outcome::Done(serde_json::json!({}));
    vault.log.outcome(&grant, done).map(drop).map_err(|error| error.to_string())
}

/// Asks a vault that runs.
pub fn ask(home: &Path, ask: &Ask) -> io::Result<Answer> {
    use std::io::{BufRead, Read, Write};
    let mut stream = std::os::unix::net::UnixStream::connect(home.join(CONTROL))?;
    stream.set_read_timeout(Some(ANSWER_PATIENCE))?;
    let mut line = Zeroizing::new(serde_json::to_vec(ask)?);
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut answer = Vec::new();
    io::BufReader::new(stream.take(ASK_BYTES_MAX)).read_until(b'\n', &mut answer)?;
    Ok(serde_json::from_slice(&answer)?)
}

/// Control socket, in the vault's home.
pub const CONTROL: &str = "control.sock";
/// Folder of certificates, in the vault's home.
pub const TLS: &str = "tls";
/// How often folders are looked at.
const INTERVAL: Duration = Duration::from_secs(5);
const TICK: Duration = Duration::from_millis(100);
/// How long nothing may come of a file that is being sent.
const PATIENCE: Duration = Duration::from_secs(60);
const HANDSHAKES_MAX: usize = 256;
const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(10);
const CERTIFICATE_LASTS: Duration = Duration::from_secs(86_400);
const REFUSALS_APART: Duration = Duration::from_secs(60);
const CONTROL_PATIENCE: Duration = Duration::from_secs(10);
const ANSWER_PATIENCE: Duration = Duration::from_secs(120);
const ASK_BYTES_MAX: u64 = 1 << 20;
/// How long the end waits for the duties.
const DUTIES_PATIENCE: Duration = Duration::from_secs(8);
const DUTIES_ENDED: &str = "the thread of the vault's duties has ended, which it does only by a fault in this program: \
    start the vault again";
