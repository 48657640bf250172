//! Reading what is believed of no place: compared with the SHA-256 that the catalog has.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;

use crate::archive::record::Digest;
use crate::shell::clock;
use crate::shell::vault::place::{Content, Place, PlaceError};

/// What was found where an object should be.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Found {
    /// It, byte for byte.
    Good,
    /// Nothing.
    Missing,
    /// Something else: why.
    Wrong(String),
}

/// How fast to read: bytes a second on average, or as fast as it goes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    /// Bytes a second.
    pub bytes_per_second: Option<u64>,
}

impl Pace {
    /// How long reading `bytes` should take.
    fn lasts(self, bytes: u64) -> Duration {
        let rate = self.bytes_per_second.unwrap_or(u64::MAX).max(1);
        Duration::from_millis(bytes.saturating_mul(1_000) / rate)
    }
}

/// Reads an object, and compares. An error is a place that cannot be asked; one that answers with anything else
/// than the object has something [`Found::Wrong`].
pub async fn check(
    place: &dyn Place,
    object: &str,
    bytes: u64,
    sha256: Digest,
    pace: Pace,
) -> Result<Found, PlaceError> {
    read(place, object, bytes, sha256, pace, &mut |_| Ok(())).await
}

/// Reads an object into memory, or into the new file `scratch` where it is large. Gives what it found where that
/// is not the object.
pub async fn fetch(
    place: &dyn Place,
    object: &str,
    bytes: u64,
    sha256: Digest,
    scratch: &Path,
) -> Result<Result<Content, Found>, PlaceError> {
    let pace = Pace::default();
    if bytes <= MEMORY_BYTES_MAX {
        let mut whole = Vec::new();
        let found = read(place, object, bytes, sha256, pace, &mut |chunk| {
            whole.extend_from_slice(chunk);
            Ok(())
        })
        .await?;
        return Ok(if found == Found::Good { Ok(Content::Bytes(whole.into())) } else { Err(found) });
    }
    let fault = |source: std::io::Error| PlaceError::Io {
        place: place.name().into(),
        doing: "keeping for a while",
        object: scratch.display().to_string(),
        source: source.into(),
    };
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(scratch).map_err(fault)?;
    let found =
        read(place, object, bytes, sha256, pace, &mut |chunk| file.write_all(chunk).map_err(fault)).await?;
    Ok(if found == Found::Good { Ok(Content::File { path: scratch.into(), skip: 0 }) } else { Err(found) })
}

async fn read(
    place: &dyn Place,
    object: &str,
    bytes: u64,
    sha256: Digest,
    pace: Pace,
    sink: &mut (dyn FnMut(&[u8]) -> Result<(), PlaceError> + Send),
) -> Result<Found, PlaceError> {
    let begun = clock::monotonic();
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    // One byte more than there should be: so the end is seen without asking how long it is.
    let (mut at, limit) = (0, bytes.saturating_add(1));
    while at < limit {
        let end = limit.min(at + CHUNK_BYTES);
        let chunk: Bytes = match place.get(object, Some(at..end)).await {
            Ok(Some(chunk)) => chunk,
            Ok(None) => return Ok(Found::Missing),
            Err(PlaceError::Lies { fault, .. }) => return Ok(Found::Wrong(fault)),
            Err(error) => return Err(error),
        };
        let read = at + chunk.len() as u64;
        if read > bytes {
            return Ok(Found::Wrong(format!("it goes on after its {bytes} bytes")));
        }
        if read != end.min(bytes) {
            return Ok(Found::Wrong(format!("it ends after {read} of {bytes} bytes")));
        }
        context.update(&chunk);
        sink(&chunk)?;
        at = end;
        if let Some(ahead) = pace.lasts(at).checked_sub(begun.elapsed()) {
            tokio::time::sleep(ahead).await;
        }
    }
    let is_same = context.finish().as_ref() == sha256.0;
    Ok(if is_same { Found::Good } else { Found::Wrong("its SHA-256 is not that of the recording".into()) })
}

const CHUNK_BYTES: u64 = 4 << 20;
const MEMORY_BYTES_MAX: u64 = 16 << 20;
