//! The page for people: files of the program itself, the same for everybody. What it shows it asks of the API.
//!
//! Nothing of it is made for a request, and it runs no script but its own: markup that got into a name stays text.

use std::sync::{Arc, LazyLock};

use axum::body::Body;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;

use crate::archive::record::Digest;
use crate::web::call::Call;
use crate::web::problem::Problem;
use crate::web::shared::Shared;

/// A file of the page.
struct File {
    name: &'static str,
    kind: &'static str,
    text: &'static str,
}

macro_rules! file {
    ($name:literal, $kind:expr) => {
        File { name: $name, kind: $kind, text: include_str!(concat!("ui/", $name)) }
    };
}

/// All of them; the first is the page.
static FILES: &[File] = &[
    file!("index.html", "text/html; charset=utf-8"),
    file!("app.css", "text/css; charset=utf-8"),
    file!("icon.svg", "image/svg+xml"),
    file!("account.js", SCRIPT),
    file!("api.js", SCRIPT),
    file!("app.js", SCRIPT),
    file!("approvals.js", SCRIPT),
    file!("custody.js", SCRIPT),
    file!("desk.js", SCRIPT),
    file!("dom.js", SCRIPT),
    file!("exports.js", SCRIPT),
    file!("format.js", SCRIPT),
    file!("holds.js", SCRIPT),
    file!("keys.js", SCRIPT),
    file!("ladder.js", SCRIPT),
    file!("live.js", SCRIPT),
    file!("log.js", SCRIPT),
    file!("matters.js", SCRIPT),
    file!("media.js", SCRIPT),
    file!("passkey.js", SCRIPT),
    file!("player.js", SCRIPT),
    file!("quality.js", SCRIPT),
    file!("reason.js", SCRIPT),
    file!("recording.js", SCRIPT),
    file!("retention.js", SCRIPT),
    file!("review.js", SCRIPT),
    file!("sampling.js", SCRIPT),
    file!("search.js", SCRIPT),
    file!("security.js", SCRIPT),
    file!("sign_in.js", SCRIPT),
    file!("stock.js", SCRIPT),
    file!("strings.js", SCRIPT),
    file!("users.js", SCRIPT),
    file!("versions.js", SCRIPT),
    file!("waveform.js", SCRIPT),
];

/// What a browser compares with what it has: of each file its SHA-256.
static TAGS: LazyLock<Vec<String>> =
    LazyLock::new(|| FILES.iter().map(|file| format!("\"{}\"", Digest::of(file.text.as_bytes()))).collect());

/// The page.
pub(super) async fn page(_: Arc<Shared>, call: Call) -> Result<Response, Problem> {
    Ok(answer(0, &call.headers))
}

/// One of its files.
pub(super) async fn file(_: Arc<Shared>, call: Call) -> Result<Response, Problem> {
    let place = FILES.iter().skip(1).position(|file| file.name == call.param("file"));
    let place = place.ok_or_else(|| Problem::not_found("the page has no such file: it begins at /"))?;
    Ok(answer(place + 1, &call.headers))
}

fn answer(place: usize, asked: &HeaderMap) -> Response {
    let (file, tag) = (&FILES[place], &TAGS[place]);
    let known = asked.get_all(IF_NONE_MATCH).iter().filter_map(|known| known.to_str().ok());
    let is_known = known.flat_map(|known| known.split(',')).any(|known| known.trim() == tag);
    let mut response = if is_known {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response
    } else {
        let mut response = Response::new(Body::from(file.text));
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(file.text.len()));
        response
    };
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(file.kind));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    // Asked each time whether it is still that: a page of an older program would speak to a newer API.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.extend(HeaderValue::from_str(tag).ok().map(|tag| (ETAG, tag)));
    response
}

const SCRIPT: &str = "text/javascript; charset=utf-8";
/// Own files and the own API, and nothing else: no script or style in the markup, no text that becomes markup.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
     media-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; \
     require-trusted-types-for 'script'; trusted-types 'none'";

#[cfg(test)]
mod tests;
