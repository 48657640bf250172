//! What a recording says of itself, for who may see it: decrypted in memory, as the sound is.

use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;

use crate::archive::record::Phase;
use crate::recording::manifest::Manifest;
use crate::shell::vault::catalog::rebuild::MANIFEST_SUFFIX;
use crate::web::call::{Call, ok};
use crate::web::play::Sound;
use crate::web::problem::Problem;
use crate::web::recordings::unknown;
use crate::web::shared::{Shared, beside};

/// Shows it. That it is shown was logged when it was granted.
pub(super) async fn serve(shared: Arc<Shared>, call: Call) -> Result<Response, Problem> {
    let (record, _) = call.recording.as_ref().ok_or_else(unknown)?;
    let name = format!("{}{MANIFEST_SUFFIX}", record.id);
    let file = record.files.iter().find(|file| file.name == name);
    let Some(file) = file.filter(|_| record.phase == Phase::Archived) else {
        let detail = format!("recording {} has no manifest here", record.id);
        return Err(Problem::new(StatusCode::CONFLICT, "nothing", detail));
    };
    let whole = Sound::open(&shared, record, file).await?.whole(BYTES_MAX).await?;
    // A long ladder takes its time to read.
    let read = beside(&shared, move |_| {
        let manifest: Result<Manifest, _> = serde_json::from_slice(&whole);
        manifest.map_err(|fault| Problem::fault("reading a recording's manifest", &fault))
    });
    Ok(ok(&json!({ "manifest": read.await? })))
}

/// A call of hours with thousands of messages has less.
const BYTES_MAX: u64 = 16 << 20;
