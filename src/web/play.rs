//! Hearing a recording: it is decrypted in memory, part by part as a player asks for it, and nothing of it touches a
//! disk.
//!
//! ```text
//! POST …/plays ─► granted, logged ─► trace ─► GET /plays/TRACE/N, Range ─► first part opens ─► logged ─► bytes
//! ```

use std::ops::Range;
use std::sync::Arc;

use axum::body::Body;
use axum::http::header::{
    ACCEPT_RANGES, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, RANGE,
};
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use serde_json::json;
use zeroize::Zeroizing;

use crate::archive::access::{Action, Grant, Refusal};
use crate::archive::entry::Outcome;
use crate::archive::reach::Belongs;
use crate::archive::record::{ArchivedFile, Digest, Phase, Record, RecordingId};
use crate::base::limits::CHUNK_BYTES;
use crate::base::time::Stamp;
use crate::codec::loudness::{self, Loudness};
use crate::codec::wav;
use crate::seal::keys::NONCE_BYTES;
use crate::seal::part::PartOpener;
use crate::seal::random::Randomness;
use crate::shell::vault::place::Place;
use crate::web::call::{Call, json as answer, ok};
use crate::web::problem::Problem;
use crate::web::recordings::unknown;
use crate::web::shared::{Play, Shared, aside, beside, lock, random};

/// Begins to hear one: the log has who, what and why.
pub(super) async fn begin(shared: Arc<Shared>, call: Call) -> Result<Response, Problem> {
    let (record, details) = call.recording.as_ref().ok_or_else(unknown)?;
    let (grant, user) = (Arc::clone(call.grant()?), call.who()?.name.clone());
    call.session()?;
    if record.phase != Phase::Archived || audio(&record.files).next().is_none() {
        return Err(Problem::new(
            StatusCode::CONFLICT,
            "nothing",
            format!("recording {} has no sound here", record.id),
        ));
    }
    if shared.intake.keys().is_none() {
        return Err(Problem::locked());
    }
    lock(&shared.played)
        .take(&user.to_string(), call.now)
        .map_err(|retry_s| Problem::too_many(retry_s, "too many recordings in an hour: take a break"))?;
    if lock(&shared.played_much).take(&user.to_string(), call.now).is_err() {
        tracing::warn!(user = user.as_str(), alarm = true, "many recordings are being heard");
        let (grant, told) = (Arc::clone(&grant), Outcome::Done(json!({ "alarm": "many-recordings" })));
        logged(&shared, grant, told).await?;
    }
    let mut bytes = [0; 16];
    random()?.fill(&mut bytes);
    let trace: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    logged(&shared, Arc::clone(&grant), Outcome::Done(json!({ "trace": trace }))).await?;
    let until = call.now.after(LASTS);
    let files: Vec<_> = audio(&record.files)
        .map(|(number, file)| json!({ "name": file.name, "url": format!("/api/v1/plays/{trace}/{number}") }))
        .collect();
    let teams = &shared.vault().config.teams;
    let belongs = details.as_ref().map(|details| Belongs::of(details, teams)).unwrap_or_default();
    let play = Play { user, record: record.clone(), belongs, grant, until };
    {
        let mut plays = lock(&shared.plays);
        plays.retain(|_, play| call.now < play.until);
        if plays.len() >= PLAYS_MAX {
            return Err(Problem::too_many(60, "too many recordings are being heard at once"));
        }
        plays.insert(trace.clone(), Arc::new(play));
    }
    let mut response =
        answer(StatusCode::CREATED, &json!({ "trace": trace, "until": until, "files": files }));
    put_trace(&mut response, &trace);
    Ok(response)
}

/// The sound, or a part of it.
pub(super) async fn bytes(shared: Arc<Shared>, call: Call) -> Result<Response, Problem> {
    let (trace, now) = (call.param("trace").to_owned(), call.now);
    let play = find(&shared, &call, now)?;
    let number: usize = call.param("file").parse().map_err(|_| unknown_play())?;
    let file = play.record.files.get(number).filter(|file| is_audio(&file.name)).ok_or_else(unknown_play)?;
    let sound = Sound::open(&shared, &play.record, file).await?;
    let size = sound.opener.plain_bytes();
    let (range, is_part) = match wanted(&call, size)? {
        Some(range) => (range, true),
        None => (0..size, false),
    };
    // Opened before anything is answered: what does not open is told as that.
    let first = sound.part(range.clone()).await?;
    let told = json!({ "trace": trace, "file": file.name, "from": range.start, "to": range.end, "of": size });
    logged(&shared, Arc::clone(&play.grant), Outcome::Done(told)).await?;
    let (kind, length) = (media_type(&file.name), range.end - range.start);
    let mut response = Response::new(Body::from_stream(parts(sound, first, range.clone())));
    *response.status_mut() = if is_part { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(CONTENT_DISPOSITION, HeaderValue::from_static("inline"));
    if is_part {
        let of = format!("bytes {}-{}/{size}", range.start, range.end.saturating_sub(1));
        headers.extend(HeaderValue::from_str(&of).ok().map(|of| (CONTENT_RANGE, of)));
    }
    put_trace(&mut response, &trace);
    Ok(response)
}

/// How loud it is over its length, for a picture of it. The log has it as it has the sound.
pub(super) async fn peaks(shared: Arc<Shared>, call: Call) -> Result<Response, Problem> {
    let (trace, now) = (call.param("trace").to_owned(), call.now);
    let play = find(&shared, &call, now)?;
    let number: usize = call.param("file").parse().map_err(|_| unknown_play())?;
    let file = play.record.files.get(number).filter(|file| is_audio(&file.name)).ok_or_else(unknown_play)?;
    // Who waits does so until it is their turn, also where nobody is there any more to see it.
    let full = |_| Problem::too_many(5, "too many recordings are being drawn: try again in a few seconds");
    let _waiting = shared.drawing_or_waiting.try_acquire().map_err(full)?;
    let sound = Sound::open(&shared, &play.record, file).await?;
    // One after the other: each takes its memory, and all of a processor.
    let _drawing = shared.drawing.acquire().await.map_err(|fault| Problem::fault("drawing it", &fault))?;
    let (whole, is_wav) = (sound.whole(DRAWN_BYTES_MAX).await?, sound.is_wav);
    let told = json!({ "trace": trace, "file": file.name, "peaks": PEAKS });
    logged(&shared, Arc::clone(&play.grant), Outcome::Done(told)).await?;
    let drawn = beside(&shared, move |_| {
        let found = if is_wav { loudness::of_wav(&whole, PEAKS) } else { loudness::of_ogg(&whole, PEAKS) };
        found.ok_or_else(|| Problem::fault("drawing it", &"it is not as our recorders write it"))
    });
    let Loudness { seconds, sides } = drawn.await?;
    Ok(ok(&json!({ "seconds": seconds, "sides": sides })))
}

fn find(shared: &Shared, call: &Call, now: Stamp) -> Result<Arc<Play>, Problem> {
    let play = lock(&shared.plays).get(call.param("trace")).cloned();
    let who = call.who()?;
    call.session()?;
    let play = play.filter(|play| play.user == who.name && now < play.until).ok_or_else(unknown_play)?;
    // Roles may be others by now.
    if who.actor.reaches(Action::Open, &play.belongs) { Ok(play) } else { Err(Refusal::Reach.into()) }
}

fn unknown_play() -> Problem {
    Problem::not_found(
        "nothing is being heard by that name: begin anew with POST /api/v1/recordings/ID/plays",
    )
}

fn put_trace(response: &mut Response, trace: &str) {
    response.headers_mut().extend(HeaderValue::from_str(trace).ok().map(|trace| (TRACE, trace)));
}

async fn logged(shared: &Arc<Shared>, grant: Arc<Grant>, told: Outcome) -> Result<(), Problem> {
    beside(shared, move |shared| {
        shared.vault().log.outcome(&grant, told).map(drop).map_err(|fault| Problem::unlogged(&fault))
    })
    .await
}

/// One file, being opened.
pub(super) struct Sound {
    opener: PartOpener,
    places: Vec<Arc<dyn Place>>,
    object: String,
    id: RecordingId,
    is_wav: bool,
}

impl Sound {
    pub(super) async fn open(
        shared: &Arc<Shared>,
        record: &Record,
        file: &ArchivedFile,
    ) -> Result<Arc<Self>, Problem> {
        let (shared, record, file) = (Arc::clone(shared), record.clone(), file.clone());
        aside(async move { Self::find(&shared, &record, &file).await.map(Arc::new) }).await
    }

    async fn find(shared: &Shared, record: &Record, file: &ArchivedFile) -> Result<Self, Problem> {
        let ring = shared.intake.keys().ok_or_else(Problem::locked)?;
        let (id, epoch) = (record.id, record.epoch().ok_or_else(unknown)?);
        let identities = ring.opens(&epoch, &id);
        let identities = identities.map_err(|fault| Problem::fault("finding its key", &fault))?;
        let identities = identities.ok_or_else(unknown)?;
        let (header_at, object) =
            (file.header_object(&id, record.receipt.start), file.body_object(&id, record.receipt.start));
        let mut last = Problem::not_found(format!("recording {id} has no copy that can be read"));
        for place in &shared.places {
            let got = async {
                let header = place.get(&header_at, None).await?;
                Ok::<_, crate::shell::vault::place::PlaceError>((
                    header,
                    place.get(&object, Some(0..NONCE)).await?,
                ))
            };
            let (header, nonce) = match got.await {
                Ok((Some(header), Some(nonce))) if Digest::of(&header) == file.header_sha256 => {
                    (header, nonce)
                }
                Ok(_) => continue,
                Err(fault) => {
                    last = Problem::fault("reading a copy", &fault);
                    continue;
                }
            };
            let Some(nonce) = nonce.first_chunk() else { continue };
            match PartOpener::open(&header, nonce, file.body_bytes, &identities) {
                Ok(opener) => {
                    let places = shared.places.clone();
                    return Ok(Self { opener, places, object, id, is_wav: file.name.ends_with(".wav.age") });
                }
                Err(fault) => last = Problem::fault("opening a copy", &fault),
            }
        }
        Err(last)
    }

    /// All of it, where it is no longer than `bytes_max`.
    pub(super) async fn whole(self: &Arc<Self>, bytes_max: u64) -> Result<Zeroizing<Vec<u8>>, Problem> {
        let size = self.opener.plain_bytes();
        if size > bytes_max {
            let detail = format!("a file of {size} bytes is too long to be shown: export the recording");
            return Err(Problem::new(StatusCode::CONFLICT, "too-long", detail));
        }
        let sound = Arc::clone(self);
        aside(async move { sound.read_whole().await }).await
    }

    async fn read_whole(&self) -> Result<Zeroizing<Vec<u8>>, Problem> {
        let size = self.opener.plain_bytes();
        // Never grown: what is left behind by that would not be zeroed.
        let mut whole = Zeroizing::new(Vec::with_capacity(size as usize));
        while (whole.len() as u64) < size {
            let before = whole.len();
            let chunk = self.opener.chunk_at(before as u64);
            let end = self.opener.chunk_at(size - 1).min(chunk + CHUNKS_AT_ONCE - 1) + 1;
            let mut plain = self.chunks(chunk..end).await.unwrap_or_default();
            if plain.is_empty() {
                // Each of them may be whole somewhere.
                for chunk in chunk..end {
                    plain.extend(self.chunks(chunk..chunk + 1).await?);
                }
            }
            plain.iter().for_each(|part| whole.extend_from_slice(part));
            if whole.len() == before {
                return Err(Problem::fault("reading a recording", &format!("{} ends too early", self.id)));
            }
        }
        Ok(whole)
    }

    /// What of a range is in the chunk in which it begins.
    async fn part(self: &Arc<Self>, range: Range<u64>) -> Result<Bytes, Problem> {
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let (sound, chunk) = (Arc::clone(self), self.opener.chunk_at(range.start));
        let plain = aside(async move { sound.chunks(chunk..chunk + 1).await }).await?;
        let plain = plain.into_iter().next().ok_or_else(unknown)?;
        let begins = chunk * CHUNK_BYTES as u64;
        let from = (range.start - begins) as usize;
        let to = plain.len().min((range.end - begins) as usize);
        // Zeroed with the last of it: a copy would not be.
        Ok(Bytes::from_owner(plain).slice(from.min(to)..to))
    }

    /// Chunks that follow one another, from the first place where all of them are whole.
    async fn chunks(&self, chunks: Range<u64>) -> Result<Vec<Zeroizing<Vec<u8>>>, Problem> {
        let places: Option<Vec<_>> = chunks.clone().map(|chunk| self.opener.place_of(chunk)).collect();
        let places = places.ok_or_else(unknown)?;
        let (Some(first), Some(last)) = (places.first(), places.last()) else { return Err(unknown()) };
        let all = first.start..last.end;
        for copy in &self.places {
            let sealed = match copy.get(&self.object, Some(all.clone())).await {
                Ok(Some(sealed)) => sealed,
                Ok(None) => continue,
                Err(fault) => {
                    tracing::warn!(recording = %self.id, "reading a copy: {fault}");
                    continue;
                }
            };
            let open = |(chunk, place): (u64, &Range<u64>)| {
                let place = (place.start - all.start) as usize..(place.end - all.start) as usize;
                self.opener.chunk(chunk, sealed.get(place).unwrap_or_default())
            };
            match chunks.clone().zip(&places).map(open).collect::<Result<Vec<_>, _>>() {
                Ok(mut plain) => {
                    if let Some(first) = plain.first_mut().filter(|_| self.is_wav && chunks.start == 0) {
                        set_lengths(first, self.opener.plain_bytes());
                    }
                    return Ok(plain);
                }
                Err(fault) => {
                    tracing::error!(recording = %self.id, place = copy.name(), "a copy does not open: {fault}");
                }
            }
        }
        Err(Problem::fault("reading a recording", &format!("no copy of {} opens there", self.id)))
    }
}

/// The rest, each part when the one before was taken.
fn parts(
    sound: Arc<Sound>,
    first: Bytes,
    range: Range<u64>,
) -> impl futures_util::Stream<Item = Result<Bytes, std::io::Error>> {
    stream::unfold((Some(first), range), move |(ready, range)| {
        let sound = Arc::clone(&sound);
        async move {
            if range.is_empty() {
                return None;
            }
            let part = match ready {
                Some(part) => Ok(part),
                None => sound.part(range.clone()).await,
            };
            match part {
                Ok(part) if !part.is_empty() => {
                    let left = range.start + part.len() as u64..range.end;
                    Some((Ok(part), (None, left)))
                }
                // Cut off: what was promised does not come.
                Ok(_) => Some((Err(std::io::ErrorKind::UnexpectedEof.into()), (None, 0..0))),
                Err(problem) => Some((Err(std::io::Error::other(problem.detail)), (None, 0..0))),
            }
        }
    })
}

/// The one range that is asked for (RFC 9110 section 14); all of it where none is, or one that we do not read.
fn wanted(call: &Call, size: u64) -> Result<Option<Range<u64>>, Problem> {
    let text = call.headers.get(RANGE).and_then(|value| value.to_str().ok());
    let Some((first, last)) =
        text.and_then(|text| text.strip_prefix("bytes=")).and_then(|text| text.split_once('-'))
    else {
        return Ok(None);
    };
    let number =
        |text: &str| text.parse::<u64>().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
    let range = match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last => first..size.min(last.saturating_add(1)),
        (Some(first), None) if last.is_empty() => first..size,
        (None, Some(count)) if first.is_empty() && count > 0 => size.saturating_sub(count)..size,
        (None, Some(0)) if first.is_empty() => size..size,
        _ => return Ok(None),
    };
    if range.start >= size {
        let detail = format!("the file has {size} bytes: no such range");
        return Err(Problem::new(StatusCode::RANGE_NOT_SATISFIABLE, "range", detail));
    }
    Ok(Some(range))
}

/// A WAV whose lengths are open would be taken for a file of 4 GiB by who reads parts of it.
fn set_lengths(first: &mut [u8], bytes: u64) {
    let Some(header) = first.first_chunk_mut::<{ wav::HEADER_BYTES }>() else { return };
    if let Some((exact, _)) = wav::exact_header(header, bytes.saturating_sub(wav::HEADER_BYTES as u64)) {
        *header = exact;
    }
}

/// Files with sound, each with its number among all of the recording.
fn audio(files: &[ArchivedFile]) -> impl Iterator<Item = (usize, &ArchivedFile)> {
    files.iter().enumerate().filter(|(_, file)| is_audio(&file.name))
}

/// Whether a file has sound.
pub(super) fn is_audio(name: &str) -> bool {
    media_type(name) != OTHER
}

fn media_type(name: &str) -> &'static str {
    match name.strip_suffix(".age").and_then(|plain| plain.rsplit_once('.')) {
        Some((_, "opus")) => "audio/ogg",
        Some((_, "wav")) => "audio/wav",
        _ => OTHER,
    }
}

/// Header with the name under which the log has it.
pub(super) const TRACE: axum::http::HeaderName = axum::http::HeaderName::from_static("sejf-trace");
const OTHER: &str = "application/octet-stream";
const NONCE: u64 = NONCE_BYTES as u64;
/// How long what was begun may be heard: a call and some pauses.
const LASTS: std::time::Duration = std::time::Duration::from_secs(2 * 3_600);
/// Chunks of a whole file that are read at once: 4 MiB.
const CHUNKS_AT_ONCE: u64 = 64;
const PLAYS_MAX: usize = 10_000;
/// Stretches of which the loudest sample is told.
const PEAKS: usize = 1_200;
/// Hours of Opus.
const DRAWN_BYTES_MAX: u64 = 128 << 20;
