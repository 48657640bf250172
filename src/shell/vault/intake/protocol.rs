//! What recorders and the vault say to each other, over HTTP in TLS. A recorder can create, and nothing else: it reads,
//! lists and deletes nothing, and what it may ask is about its own recordings, by their ids.
//!
//! ```text
//! GET  /v1/receipts              how far its log is known              -> Known
//! POST /v1/receipts              LogPiece: what comes next             -> Known
//! GET  /v1/awaited?from=N        files that are to be sent             -> AwaitedFiles
//! HEAD /v1/recordings/ID/FILE    Upload-Offset: bytes that are there
//! PUT  /v1/recordings/ID/FILE    Content-Range: bytes FROM-TO/ALL      201 whole and as receipted, 202 more to come
//! POST /v1/free                  Ids: may these be freed?              -> Ids
//! ```

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use axum::Json;
use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, DefaultBodyLimit, Path as UrlPath, Query, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::archive::intake::id_of;
use crate::archive::record::{Digest, Phase, Record, RecordingId};
use crate::seal::note::VerifyKey;
use crate::seal::receipt::ReceiptFile;
use crate::shell::vault::intake::files::Came;
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
}

/// What all connections share.
#[derive(Debug)]
pub struct Shared {
    intake: Arc<Intake>,
    /// Files that are being written.
    busy: Mutex<BTreeSet<PathBuf>>,
    /// Told when there is something to take in.
    pub came: Arc<Notify>,
}

impl Shared {
    /// For an intake.
    pub fn new(intake: Arc<Intake>, came: Arc<Notify>) -> Self {
        Self { intake, busy: Mutex::default(), came }
    }
}

/// The ways in.
pub fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/v1/receipts", get(known).post(receipts).layer(DefaultBodyLimit::max(RECEIPTS_BYTES_MAX)))
        .route("/v1/awaited", get(awaited))
        // HEAD is given by hand: GET is not.
        .route("/v1/recordings/{id}/{file}", put(upload).head(offset))
        .route("/v1/free", post(free).layer(DefaultBodyLimit::max(FREE_BYTES_MAX)))
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
    // All of it came, and the vault ended before it looked.
    let is_all = std::fs::metadata(&part).is_ok_and(|facts| facts.len() >= receipted.bytes);
    if is_all && finish(&part, &dir.join(file), &receipted).is_ok() {
        return Ok(Place::Here);
    }
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
    let Some(_busy) = Busy::take(&shared, folder(&shared.intake, &peer.recorder).join(&file)) else {
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
    if from != length {
        let why = format!("{length} bytes are here: go on there");
        return Ok((StatusCode::CONFLICT, [(UPLOAD_OFFSET, HeaderValue::from(length))], why).into_response());
    }
    let length = append(&part, length, receipted.bytes, body).await?;
    if length < receipted.bytes {
        return Ok((StatusCode::ACCEPTED, [(UPLOAD_OFFSET, HeaderValue::from(length))]).into_response());
    }
    let whole = part.with_file_name(&file);
    tokio::task::spawn_blocking(move || finish(&part, &whole, &receipted))
        .await
        .map_err(|_| Refused(StatusCode::SERVICE_UNAVAILABLE, "the vault is ending".into()))??;
    shared.came.notify_one();
    Ok(StatusCode::CREATED.into_response())
}

/// Appends what comes, up to `all` bytes; how long the file is then. A connection that breaks leaves what came.
async fn append(part: &Path, mut length: u64, all: u64, body: Body) -> Result<u64, Refused> {
    let file = std::fs::OpenOptions::new().append(true).create(true).open(part);
    let mut file = Writer(file.map_err(IntakeError::io("opening", part))?);
    let mut stream = body.into_data_stream();
    while let Some(chunk) = stream.next().await {
        let Ok(chunk) = chunk else { break };
        if length + chunk.len() as u64 > all {
            return Err(Refused(
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("{all} bytes were sealed, and more came"),
            ));
        }
        file.write(&chunk).map_err(IntakeError::io("writing", part))?;
        length += chunk.len() as u64;
    }
    Ok(length)
}

struct Writer(std::fs::File);

impl Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        use std::io::Write;
        self.0.write_all(bytes)
    }
}

/// A file that is whole gets its name where it is what was receipted, and is removed where it is not.
fn finish(part: &Path, whole: &Path, receipted: &ReceiptFile) -> Result<(), Refused> {
    let came = Came::read(part).map_err(IntakeError::io("reading", part))?;
    let is_it = came.is_some_and(|came| came.is(receipted));
    if is_it {
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
    /// Which of a recorder's recordings it may free: those that are archived in as many copies as their class asks,
    /// those that have no files, and those that are destroyed.
    pub async fn may_be_freed(
        &self,
        recorder: &str,
        ids: &[RecordingId],
    ) -> Result<Vec<RecordingId>, IntakeError> {
        let mut free = Vec::new();
        let met = self.catalog().copies_met(ids).await?;
        for record in self.catalog().get_all(ids).await? {
            let has_copies = || met.contains(&record.id) || self.takes_one_copy(&record);
            let is_kept = match record.phase {
                Phase::Staged => false,
                Phase::Archived => record.files.is_empty() || has_copies(),
                Phase::Destroyed => true,
            };
            if record.recorder == recorder && is_kept {
                free.push(record.id);
            }
        }
        Ok(free)
    }

    /// Whether the class asks for no more than the copy in the first place, which is the one that intake makes.
    fn takes_one_copy(&self, record: &Record) -> bool {
        let class = record.class.as_ref().and_then(|class| self.vault().config.class(class));
        class.is_some_and(|class| {
            let copies = class.copies;
            copies.total <= 1 && copies.sites <= 1 && copies.offline == 0 && !class.worm
        })
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
struct Busy<'a>(&'a Shared, PathBuf);

impl<'a> Busy<'a> {
    fn take(shared: &'a Shared, whole: PathBuf) -> Option<Self> {
        let mut busy = shared.busy.lock().unwrap_or_else(PoisonError::into_inner);
        busy.insert(whole.clone()).then(|| Self(shared, whole))
    }
}

impl Drop for Busy<'_> {
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
