//! What recorders and the vault say to each other, over HTTP in TLS. A recorder can create, and nothing else: it reads,
//! lists and deletes nothing, and what it may ask is about its own recordings, by their ids.
//!
//! ```text
//! GET  /v1/receipts              how far its log is known              -> Known
//! POST /v1/receipts              LogPiece: what comes next             -> Known
//! GET  /v1/awaited?from=N        files that are to be sent             -> AwaitedFiles
//! HEAD /v1/recordings/ID/FILE    Upload-Offset: bytes that are there
//! PUT  /v1/recordings/ID/FILE    Content-Range: bytes FROM-TO/ALL      201 whole and as receipted, 202 more to come
//!                                nothing, where all bytes are there    201 as receipted
//! POST /v1/free                  Ids: may these be freed?              -> Ids
//! ```

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Json;
use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, DefaultBodyLimit, Path as UrlPath, Query, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use futures_util::{FutureExt, StreamExt};
use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::archive::intake::id_of;
use crate::archive::record::{Digest, Phase, Record, RecordingId};
use crate::seal::note::VerifyKey;
use crate::seal::receipt::ReceiptFile;
use crate::shell::vault::intake::files::Came;
use crate::shell::vault::intake::tls::Authority;
use crate::shell::vault::intake::{Intake, IntakeError, LogPiece};

/// How far a log is known.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KnownSize {
    /// Entries.
    pub size: u64,
}

/// Files that are to be sent.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct AwaitedFiles {
    /// Each with the id of its recording.
    pub files: Vec<(String, String)>,
    /// Where to go on; none where there are no more.
    pub next: Option<u64>,
}

/// Recordings.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Ids {
    /// Their ids.
    pub ids: Vec<String>,
}

/// Where to begin.
#[derive(Clone, Copy, Debug, Deserialize)]
struct From {
    #[serde(default)]
    from: u64,
}

/// Who is at the other end: it has proved it.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Whose receipts it may bring.
    pub recorder: VerifyKey,
    /// From where it came.
    pub address: std::net::SocketAddr,
    /// What it has proved it with.
    pub certificate: Arc<CertificateDer<'static>>,
}

/// What all connections share.
#[derive(Debug)]
pub struct Shared {
    /// What takes in.
    pub intake: Arc<Intake>,
    /// Who may send.
    pub authority: Arc<Authority>,
    /// Files that are being written.
    pub busy: Mutex<BTreeSet<PathBuf>>,
    /// Told when there is something to take in.
    pub came: Arc<Notify>,
    /// How long nothing may come of a file before its connection is given up.
    pub patience: Duration,
}

/// The ways in.
pub fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/v1/receipts", get(known).post(receipts).layer(DefaultBodyLimit::max(RECEIPTS_BYTES_MAX)))
        .route("/v1/awaited", get(awaited))
        // HEAD is given by hand: GET is not.
        .route("/v1/recordings/{id}/{file}", put(upload).head(offset))
        .route("/v1/free", post(free).layer(DefaultBodyLimit::max(FREE_BYTES_MAX)))
        .layer(middleware::from_fn_with_state(shared.clone(), is_enrolled))
        .with_state(shared)
}

/// Folder of what a recorder sends.
pub fn folder(intake: &Intake, recorder: &VerifyKey) -> PathBuf {
    intake.incoming(RECORDERS).join(folder_name(&recorder.to_string()))
}

/// Its name: keys have characters that names of files should not.
pub(super) fn folder_name(recorder: &str) -> String {
    Digest::of(recorder.as_bytes()).to_string()[..32].to_owned()
}

type Peers = ConnectInfo<Peer>;
type Answer = Result<Response, Refused>;

/// Why something was not done.
struct Refused(StatusCode, String);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        (self.0, self.1).into_response()
    }
}

impl std::convert::From<IntakeError> for Refused {
    fn from(error: IntakeError) -> Self {
        let status = match error {
            IntakeError::Refused { .. } => StatusCode::CONFLICT,
            IntakeError::Stranger { .. } => StatusCode::FORBIDDEN,
            IntakeError::Note { .. } | IntakeError::Tile { .. } => StatusCode::BAD_REQUEST,
            _ => {
                tracing::error!("taking in from a recorder: {error}");
                return Self(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "the vault cannot do it now: its log says why".into(),
                );
            }
        };
        Self(status, error.to_string())
    }
}

/// A certificate may be revoked while a connection is open: it is looked up for each request.
async fn is_enrolled(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(peer): Peers,
    request: Request,
    next: Next,
) -> Answer {
    match shared.authority.recorder_of(&peer.certificate) {
        Ok(recorder) if recorder == peer.recorder => Ok(next.run(request).await),
        Ok(_) => Err(Refused(StatusCode::FORBIDDEN, "the certificate is another recorder's now".into())),
        Err(why) => Err(Refused(StatusCode::FORBIDDEN, why)),
    }
}

/// Does on another thread what waits for a disk: connections wait for each other otherwise.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Refused> + Send + 'static,
) -> Result<T, Refused> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| Refused(StatusCode::SERVICE_UNAVAILABLE, "the vault is ending".into()))?
}

async fn known(State(shared): State<Arc<Shared>>, ConnectInfo(peer): Peers) -> Answer {
    let known = shared.intake.known(&peer.recorder).await?;
    Ok(Json(KnownSize { size: known.size }).into_response())
}

async fn receipts(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(peer): Peers,
    Json(piece): Json<LogPiece>,
) -> Answer {
    shared.intake.check_recorder(&peer.recorder)?;
    if let Err(error) = shared.intake.note_piece(&peer.recorder, &piece).await {
        let intake = shared.intake.clone();
        // Waits for the disk.
        return blocking(move || {
            intake.tell_refusal(&error)?;
            Err(error.into())
        })
        .await;
    }
    shared.came.notify_one();
    let known = shared.intake.known(&peer.recorder).await?;
    Ok(Json(KnownSize { size: known.size }).into_response())
}

async fn awaited(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(peer): Peers,
    Query(From { from }): Query<From>,
) -> Answer {
    let name = peer.recorder.to_string();
    let awaited =
        shared.intake.catalog().awaited(&name, from, AWAITED_MAX).await.map_err(IntakeError::from)?;
    let dir = folder(&shared.intake, &peer.recorder);
    let mut answer = AwaitedFiles {
        next: awaited.last().filter(|_| awaited.len() == AWAITED_MAX as usize).map(|last| last.index + 1),
        ..AwaitedFiles::default()
    };
    for awaited in awaited.iter().filter(|awaited| id_of(&awaited.receipt).is_ok()) {
        let absent = awaited.receipt.files.iter().filter(|file| !dir.join(&file.name).exists());
        answer.files.extend(absent.map(|file| (awaited.receipt.id.clone(), file.name.clone())));
    }
    Ok(Json(answer).into_response())
}

/// A file that may be sent.
enum Place {
    /// It is here, as it was receipted.
    Here,
    /// It is to be written there.
    Part(PathBuf, ReceiptFile),
}

async fn place(shared: &Shared, peer: &Peer, id: &str, file: &str) -> Result<Place, Refused> {
    let unknown = || {
        Refused(StatusCode::NOT_FOUND, "no receipt of yours awaits this file: send the receipt first".into())
    };
    let id: RecordingId = id.parse().map_err(|_| unknown())?;
    let (name, catalog) = (peer.recorder.to_string(), shared.intake.catalog());
    let named = |files: &[ReceiptFile]| files.iter().find(|one| one.name == file).cloned();
    let dir = folder(&shared.intake, &peer.recorder);
    let mut part = None;
    // What is taken in leaves the folder after the catalog has it: a file that is not there is asked for once more.
    for _ in 0..2 {
        let awaited = catalog.awaited_one(&name, &id).await.map_err(IntakeError::from)?;
        let Some(awaited) = awaited.filter(|awaited| id_of(&awaited.receipt).is_ok()) else {
            part = None;
            break;
        };
        let receipted = named(&awaited.receipt.files).ok_or_else(unknown)?;
        if dir.join(file).exists() {
            return Ok(Place::Here);
        }
        part = Some((dir.join(format!(".{file}.part")), receipted));
    }
    let Some((part, receipted)) = part else {
        let record = catalog.get(&id).await.map_err(IntakeError::from)?;
        let is_theirs = |record: &Record| record.recorder == name && named(&record.receipt.files).is_some();
        return if record.as_ref().is_some_and(is_theirs) { Ok(Place::Here) } else { Err(unknown()) };
    };
    std::fs::create_dir_all(&dir).map_err(IntakeError::io("making folder", &dir))?;
    Ok(Place::Part(part, receipted))
}

async fn offset(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(peer): Peers,
    UrlPath((id, file)): UrlPath<(String, String)>,
) -> Answer {
    Ok(match place(&shared, &peer, &id, &file).await? {
        Place::Here => StatusCode::CREATED.into_response(),
        Place::Part(part, _) => {
            let length = std::fs::metadata(&part).map_or(0, |facts| facts.len());
            (StatusCode::OK, [(UPLOAD_OFFSET, HeaderValue::from(length))]).into_response()
        }
    })
}

async fn upload(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(peer): Peers,
    UrlPath((id, file)): UrlPath<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let whole = folder(&shared.intake, &peer.recorder).join(&file);
    let Some(busy) = Busy::take(&shared, whole.clone()) else {
        return Err(Refused(StatusCode::CONFLICT, "the file is being sent by another connection".into()));
    };
    let (part, receipted) = match place(&shared, &peer, &id, &file).await? {
        // Sent again after an answer that was lost. Nothing is written over.
        Place::Here => return Ok(StatusCode::CREATED.into_response()),
        Place::Part(part, receipted) => (part, receipted),
    };
    let from = match headers.get(header::CONTENT_RANGE) {
        None => 0,
        Some(range) => range_start(range, receipted.bytes).ok_or_else(|| {
            Refused(
                StatusCode::BAD_REQUEST,
                format!("Content-Range must be `bytes FROM-TO/{}`", receipted.bytes),
            )
        })?,
    };
    let length = std::fs::metadata(&part).map_or(0, |facts| facts.len());
    // All of it came, and the vault ended before it looked: whatever comes now, that is looked at first.
    let is_all = length > 0 && length >= receipted.bytes;
    if from != length && !is_all {
        let why = format!("{length} bytes are here: go on there");
        return Ok((StatusCode::CONFLICT, [(UPLOAD_OFFSET, HeaderValue::from(length))], why).into_response());
    }
    let writing = Writing { busy, part, length, all: receipted.bytes };
    let writing = if is_all { writing } else { append(writing, body, shared.patience).await? };
    if writing.length < receipted.bytes {
        let offset = HeaderValue::from(writing.length);
        return Ok((StatusCode::ACCEPTED, [(UPLOAD_OFFSET, offset)]).into_response());
    }
    blocking(move || finish(&writing, &whole, &receipted)).await?;
    shared.came.notify_one();
    Ok(StatusCode::CREATED.into_response())
}

/// A file that is being written. It goes along to whichever thread does that: while one may still write, nobody else
/// does, even where the connection has broken meanwhile.
struct Writing {
    #[expect(dead_code, reason = "held, not used")]
    busy: Busy,
    part: PathBuf,
    length: u64,
    all: u64,
}

/// Appends what comes, as far as the file goes. A connection that breaks, or of which nothing comes any more, leaves
/// what came.
async fn append(writing: Writing, body: Body, patience: Duration) -> Result<Writing, Refused> {
    let (mut writing, mut file) = blocking(move || {
        let file = std::fs::OpenOptions::new().append(true).create(true).open(&writing.part);
        let file = file.map_err(IntakeError::io("opening", &writing.part))?;
        Ok((writing, file))
    })
    .await?;
    let mut stream = body.into_data_stream();
    while let Ok(Some(Ok(chunk))) = timeout(patience, stream.next()).await {
        let mut bytes = Vec::from(chunk);
        // What is there already goes with it.
        while bytes.len() < WRITE_BYTES
            && let Some(Some(Ok(more))) = stream.next().now_or_never()
        {
            bytes.extend_from_slice(&more);
        }
        if writing.length + bytes.len() as u64 > writing.all {
            let why = format!("{} bytes were sealed, and more came", writing.all);
            return Err(Refused(StatusCode::PAYLOAD_TOO_LARGE, why));
        }
        (writing, file) = blocking(move || {
            file.write_all(&bytes).map_err(IntakeError::io("writing", &writing.part))?;
            writing.length += bytes.len() as u64;
            Ok((writing, file))
        })
        .await?;
    }
    Ok(writing)
}

/// A file that is whole gets its name where it is what was receipted, and is removed where it is not.
fn finish(writing: &Writing, whole: &Path, receipted: &ReceiptFile) -> Result<(), Refused> {
    let part = &writing.part;
    let Some(came) = Came::read(part).map_err(IntakeError::io("reading", part))? else {
        // It came another way meanwhile, and what was left half way was swept.
        return Err(Refused(StatusCode::CONFLICT, "the file is not awaited any more: ask again".into()));
    };
    if came.is(receipted) {
        std::fs::rename(part, whole).map_err(IntakeError::io("naming", whole))?;
        return Ok(());
    }
    std::fs::remove_file(part).map_err(IntakeError::io("removing", part))?;
    Err(Refused(
        StatusCode::UNPROCESSABLE_ENTITY,
        "what came is not what was receipted: send it again".into(),
    ))
}

async fn free(State(shared): State<Arc<Shared>>, ConnectInfo(peer): Peers, Json(asked): Json<Ids>) -> Answer {
    if asked.ids.len() > FREE_MAX {
        return Err(Refused(StatusCode::BAD_REQUEST, format!("ask for at most {FREE_MAX} recordings")));
    }
    let ids: Vec<RecordingId> = asked.ids.iter().filter_map(|id| id.parse().ok()).collect();
    let free = shared.intake.may_be_freed(&peer.recorder.to_string(), &ids).await?;
    Ok(Json(Ids { ids: free.iter().map(ToString::to_string).collect() }).into_response())
}

impl Intake {
    /// Which of a recorder's recordings it may free: those of which as many copies as their class asks were read and
    /// found good, the first one too, those that have no files, and those that are destroyed.
    pub async fn may_be_freed(
        &self,
        recorder: &str,
        ids: &[RecordingId],
    ) -> Result<Vec<RecordingId>, IntakeError> {
        let mut free = Vec::new();
        let met: BTreeSet<_> = self.catalog().copies_met(ids).await?.into_iter().collect();
        for record in self.catalog().get_all(ids).await? {
            let is_kept = match record.phase {
                Phase::Staged => false,
                Phase::Archived => record.files.is_empty() || met.contains(&record.id),
                Phase::Destroyed => true,
            };
            if record.recorder == recorder && is_kept {
                free.push(record.id);
            }
        }
        Ok(free)
    }
}

/// `bytes 5-9/10`: 5.
fn range_start(range: &HeaderValue, all: u64) -> Option<u64> {
    let (range, total) = range.to_str().ok()?.strip_prefix("bytes ")?.split_once('/')?;
    let (from, to) = range.split_once('-')?;
    let (from, to): (u64, u64) = (from.parse().ok()?, to.parse().ok()?);
    (total.parse() == Ok(all) && from <= to && to < all).then_some(from)
}

/// A file is written by one connection at a time.
struct Busy(Arc<Shared>, PathBuf);

impl Busy {
    fn take(shared: &Arc<Shared>, whole: PathBuf) -> Option<Self> {
        let mut busy = shared.busy.lock().unwrap_or_else(PoisonError::into_inner);
        busy.insert(whole.clone()).then(|| Self(shared.clone(), whole))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.1);
    }
}

/// How much of a file is there.
pub const UPLOAD_OFFSET: HeaderName = HeaderName::from_static("upload-offset");
/// Folder of what recorders send.
pub(super) const RECORDERS: &str = "recorders";
/// A piece of a log: a few thousand entries of a few hundred bytes, and their quotes.
const RECEIPTS_BYTES_MAX: usize = 64 << 20;
const FREE_BYTES_MAX: usize = 1 << 20;
/// Recordings that are asked about at once, at most.
pub const FREE_MAX: usize = 1_000;
const AWAITED_MAX: u32 = 256;
const WRITE_BYTES: usize = 256 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_of_the_whole_file() {
        let start = |text: &'static str| range_start(&HeaderValue::from_static(text), 10);
        assert_eq!(start("bytes 5-9/10"), Some(5));
        assert_eq!(start("bytes 0-0/10"), Some(0));
        for wrong in ["bytes 5-9/11", "bytes 5-10/10", "bytes 9-5/10", "bytes 5-/10", "5-9/10", "bytes */10"]
        {
            assert_eq!(start(wrong), None, "{wrong}");
        }
    }
}
