//! The vault's log over HTTPS: page by page, and as a file.

use std::sync::Arc;

use axum::body::Body;
use axum::http::HeaderValue;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::Response;
use serde_json::json;

use crate::archive::access::Grant;
use crate::archive::entry::{Entry, Outcome};
use crate::archive::log_query::{Fit, Format, Query, action};
use crate::web::call::{Call, ok};
use crate::web::problem::Problem;
use crate::web::recordings::{parsed, time};
use crate::web::shared::{Shared, beside};

/// Entries of the log.
pub(super) async fn page(shared: Arc<Shared>, call: Call) -> Result<Response, Problem> {
    let from: u64 = parsed(&call, "from")?.unwrap_or(0);
    let count: u64 = parsed(&call, "count")?.unwrap_or(ENTRIES).min(ENTRIES_MAX);
    let (entries, size) = read(&shared, from, count).await?;
    let entries: Vec<_> = (from..)
        .zip(&entries)
        .map(|(index, bytes)| json!({ "index": index, "entry": Entry::from_bytes(bytes).ok() }))
        .collect();
    let next = from.saturating_add(entries.len() as u64);
    Ok(ok(&json!({ "entries": entries, "size": size, "next": (next < size).then_some(next) })))
}

/// All of it, or what is asked for, as a file: up to the entry that says that it was asked for.
pub(super) async fn export(shared: Arc<Shared>, call: Call) -> Result<Response, Problem> {
    let (query, format) = (query(&call)?, parsed::<Format>(&call, "format")?.unwrap_or_default());
    let grant = Arc::clone(call.grant()?);
    // Where the log cannot be read, that is said before anything is sent.
    let (_, size) = read(&shared, 0, 0).await?;
    let name = format!("attachment; filename=\"sejf-log.{}\"", format.extension());
    let export = Export { shared, grant, query, format, next: 0, end: size, entries: 0 };
    let lots =
        futures_util::stream::try_unfold((Some(export), Some(format.head())), |(export, head)| async move {
            if let Some(head) = head {
                return Ok(Some((head.to_owned(), (export, None))));
            }
            let Some(mut export) = export else { return Ok(None) };
            match export.lot().await {
                Ok(Some(text)) => Ok(Some((text, (Some(export), None)))),
                Ok(None) => Ok(None),
                // What was sent is cut off there, and no whole answer.
                Err(fault) => Err(std::io::Error::other(fault.detail)),
            }
        });
    let mut response = Response::new(Body::from_stream(lots));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(format.media_type()));
    let name = HeaderValue::from_str(&name).map_err(|fault| Problem::fault("naming the file", &fault))?;
    headers.insert(CONTENT_DISPOSITION, name);
    Ok(response)
}

/// A file of the log that is being sent.
struct Export {
    shared: Arc<Shared>,
    grant: Arc<Grant>,
    query: Query,
    format: Format,
    next: u64,
    end: u64,
    entries: u64,
}

impl Export {
    /// Lines of the next entries that fit; nothing at the end, which the log has then.
    async fn lot(&mut self) -> Result<Option<String>, Problem> {
        let mut text = String::new();
        while text.is_empty() && self.next < self.end {
            let (entries, _) = read(&self.shared, self.next, LOT.min(self.end - self.next)).await?;
            if entries.is_empty() {
                return Err(Problem::fault("reading the log", &"it has fewer entries than it had"));
            }
            for bytes in &entries {
                let entry = Entry::from_bytes(bytes).ok();
                // One that cannot be read may be any.
                if self.query.fit(entry.as_ref()) != Fit::No {
                    text.push_str(&self.format.line(self.next, bytes));
                    self.entries += 1;
                }
                self.next += 1;
            }
        }
        if !text.is_empty() {
            return Ok(Some(text));
        }
        let details = json!({ "export": self.format.extension(), "entries": self.entries });
        let grant = Arc::clone(&self.grant);
        beside(&self.shared, move |shared| {
            let written = shared.vault().log.outcome(&grant, Outcome::Done(details));
            written.map(drop).map_err(|fault| Problem::unlogged(&fault))
        })
        .await?;
        Ok(None)
    }
}

async fn read(shared: &Arc<Shared>, from: u64, count: u64) -> Result<(Vec<Vec<u8>>, u64), Problem> {
    beside(shared, move |shared| {
        shared.vault().log.read_from(from, count).map_err(|fault| Problem::fault("reading the log", &fault))
    })
    .await
}

fn query(call: &Call) -> Result<Query, Problem> {
    let action = call.query("action").map(action).transpose();
    Ok(Query {
        actor: call.query("actor").map(str::to_owned),
        action: action.map_err(|fault| Problem::bad(fault.to_string()))?,
        recording: parsed(call, "recording")?,
        outcome: parsed(call, "outcome")?,
        from: time(call, "from")?,
        to: time(call, "to")?,
    })
}

const ENTRIES: u64 = 100;
/// Of the longest ones, 16 MiB.
const ENTRIES_MAX: u64 = 250;
/// The same, at a time.
const LOT: u64 = 250;
