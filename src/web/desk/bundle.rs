//! A bundle, fetched: it is decrypted or put under the receiver's key part by part as it is taken, and nothing of it
//! touches a disk of ours.
//!
//! ```text
//! POST …/exports ─► granted, logged ─► trace ─► GET /exports/TRACE, once ─► made as it is sent ─► logged ─► signature
//! ```
//!
//! What fails half way has no end and no signature: nobody takes it for a bundle.

use std::cell::{Cell, RefCell};
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use serde_json::json;
use tokio::runtime::Handle;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::archive::access::{Actor, Grant, Reason, Refusal};
use crate::archive::entry::Outcome;
use crate::archive::export_request::Approved;
use crate::archive::record::RecordingId;
use crate::archive::report::Language;
use crate::archive::user::UserName;
use crate::base::time::Stamp;
use crate::recording::playable::Playable;
use crate::seal::random::Randomness;
use crate::shell::clock;
use crate::shell::vault::export::{
    ExportError, Exporter, Handing, Order, PlainWriter, To, is_anothers_word_there,
};
use crate::shell::vault::export_requests::{self, PATIENCE_AT_A_BROWSER};
use crate::shell::vault::wrapping::Sink;
use crate::web::call::{Call, json as answer};
use crate::web::desk::exports::recipients;
use crate::web::desk::failed;
use crate::web::problem::Problem;
use crate::web::shared::{Shared, beside, lock, random};

/// Leave to fetch one bundle, once.
#[derive(Debug)]
pub(in crate::web) struct Ticket {
    user: UserName,
    actor: Actor,
    grant: Arc<Grant>,
    recordings: Vec<RecordingId>,
    receiver: String,
    recipients: Vec<String>,
    reason: Reason,
    language: Language,
    /// The request at whose word it is made.
    request: Option<u64>,
    pub(in crate::web) until: Stamp,
}

impl Ticket {
    pub(super) fn of(
        call: &Call,
        recordings: Vec<RecordingId>,
        receiver: String,
        recipients: Vec<String>,
        language: Language,
        request: Option<u64>,
    ) -> Result<Self, Problem> {
        call.session()?;
        let (who, grant) = (call.who()?, Arc::clone(call.grant()?));
        let reason = grant.reason().cloned().ok_or_else(|| Problem::from(Refusal::Reason))?;
        let (user, actor, until) = (who.name.clone(), who.actor.clone(), call.now.after(LASTS));
        Ok(Self { user, actor, grant, recordings, receiver, recipients, reason, language, request, until })
    }

    fn order<'a>(&'a self, to: To<'a>, handing: Handing<'a>, approved: Option<&'a Approved>) -> Order<'a> {
        Order {
            ids: &self.recordings,
            to,
            receiver: &self.receiver,
            reason: self.reason.clone(),
            actor: &self.actor,
            language: self.language,
            handing,
            approved,
            granted: Some(&self.grant),
        }
    }

    fn approved(&self, shared: &Shared) -> Result<Option<Approved>, ExportError> {
        let Some(number) = self.request else { return Ok(None) };
        let requests = export_requests::read(&shared.vault().log, number)?;
        let approved = requests.get(number).and_then(crate::archive::export_request::Asked::approved);
        Ok(Some(approved.map_err(export_requests::ExportRequestError::from)?))
    }
}

/// Where it may be made, says from where it is fetched.
pub(super) async fn offer(shared: &Arc<Shared>, call: &Call, ticket: Ticket) -> Result<Response, Problem> {
    let (now, until, is_sealed) = (call.now, ticket.until, !ticket.recipients.is_empty());
    let mut bytes = [0; 16];
    random()?.fill(&mut bytes);
    let trace: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let url = format!("/api/v1/exports/{trace}");
    let kept = trace.clone();
    beside(shared, move |shared| {
        let may = sweep(shared, now).and_then(|()| may_be_made(shared, &ticket, now));
        may.map_err(|problem| failed(shared, &ticket.grant, problem))?;
        let mut tickets = lock(&shared.desk.tickets);
        if tickets.len() >= TICKETS_MAX {
            drop(tickets);
            return Err(failed(shared, &ticket.grant, Problem::too_many(60, "too many bundles wait")));
        }
        tickets.insert(kept, ticket);
        Ok(())
    })
    .await?;
    let form = if is_sealed { "sealed" } else { "plain" };
    Ok(answer(StatusCode::CREATED, &json!({ "trace": trace, "url": url, "until": until, "form": form })))
}

/// What nobody has fetched in time was not given away, and counts no longer.
pub(super) fn sweep(shared: &Shared, now: Stamp) -> Result<(), Problem> {
    let over: Vec<_> = {
        let mut tickets = lock(&shared.desk.tickets);
        tickets.extract_if(.., |_, ticket| ticket.until <= now).collect()
    };
    let mut swept = Ok(());
    for (_, ticket) in over {
        let told = Outcome::Failed("nobody has fetched it".into());
        let logged = shared.vault().log.outcome(&ticket.grant, told);
        // Each is said, whatever came of the one before.
        swept = swept.and(logged.map(drop).map_err(|fault| Problem::unlogged(&fault)));
    }
    swept
}

fn may_be_made(shared: &Shared, ticket: &Ticket, now: Stamp) -> Result<(), Problem> {
    if shared.intake.keys().is_none() {
        return Err(Problem::locked());
    }
    let recipients = recipients(&ticket.recipients)?;
    let handing =
        if ticket.recipients.is_empty() { Handing::Plain(PLAYABLE) } else { Handing::Sealed(&recipients) };
    let approved = ticket.approved(shared)?;
    let nowhere = Sink { send: &|_: &[u8]| Ok(()), begun: &Cell::new(false) };
    let order = ticket.order(To::Sent(nowhere), handing, approved.as_ref());
    Ok(is_anothers_word_there(shared.vault(), &order, now)?)
}

/// The bundle, to whom it was granted.
pub(in crate::web) async fn fetch(shared: Arc<Shared>, call: Call) -> Result<Response, Problem> {
    let who = call.who()?;
    call.session()?;
    let trace = call.param("trace");
    let ticket = {
        let mut tickets = lock(&shared.desk.tickets);
        let is_theirs = tickets.get(trace).is_some_and(|one| one.user == who.name && call.now < one.until);
        if is_theirs { tickets.remove(trace) } else { None }
    };
    let ticket = ticket.ok_or_else(|| {
        let detail = "no bundle waits by that name: each is fetched once, soon after it was asked for";
        Problem::not_found(detail)
    })?;
    // Roles may be others by now.
    if who.actor.roles != ticket.actor.roles {
        let problem = Problem::from(Refusal::Reach);
        return beside(&shared, move |shared| Err(failed(shared, &ticket.grant, problem))).await;
    }
    let name = format!("attachment; filename=\"sejf-bundle-{}.tar\"", trace.get(..8).unwrap_or_default());
    let (sender, mut sent) = mpsc::channel(PARTS_WAITING);
    let (shared, runtime) = (Arc::clone(&shared), Handle::current());
    let trace = trace.to_owned();
    tokio::task::spawn_blocking(move || make(&shared, trace, ticket, &runtime, &sender));
    // What cannot be begun is told as that.
    let first = sent.recv().await;
    let first = first.unwrap_or_else(|| Err(Problem::fault("making the bundle", &"it ended early")))?;
    let mut response = Response::new(Body::from_stream(parts(first, sent)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-tar"));
    headers.extend(HeaderValue::from_str(&name).ok().map(|name| (CONTENT_DISPOSITION, name)));
    Ok(response)
}

type Part = Result<Bytes, Problem>;

fn parts(first: Bytes, sent: Receiver<Part>) -> impl futures_util::Stream<Item = Result<Bytes, io::Error>> {
    stream::unfold((Some(first), sent), |(first, mut sent)| async move {
        let part = match first {
            Some(first) => Ok(first),
            None => sent.recv().await?.map_err(|problem| io::Error::other(problem.detail)),
        };
        Some((part, (None, sent)))
    })
}

/// Makes it as it is taken, in a thread of its own. The exporter logs what came of it. Where another is being made, it
/// waits to be fetched as before.
fn make(shared: &Shared, trace: String, ticket: Ticket, runtime: &Handle, sender: &Sender<Part>) {
    let send = |part: Part| {
        let sent = runtime.block_on(timeout(PATIENCE, sender.send(part)));
        match sent {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(io::Error::from(io::ErrorKind::BrokenPipe)),
            Err(_) => Err(io::Error::from(io::ErrorKind::TimedOut)),
        }
    };
    let begun = Cell::new(false);
    let ready = RefCell::new(Zeroizing::new(Vec::with_capacity(PART_BYTES)));
    let flush = || -> io::Result<()> {
        let full = ready.replace(Zeroizing::new(Vec::with_capacity(PART_BYTES)));
        // Zeroed with the last of it: a copy would not be.
        if full.is_empty() {
            return Ok(());
        }
        send(Ok(Bytes::from_owner(full)))?;
        begun.set(true);
        Ok(())
    };
    let take = |mut bytes: &[u8]| {
        while !bytes.is_empty() {
            let room = PART_BYTES - ready.borrow().len();
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            ready.borrow_mut().extend_from_slice(now);
            bytes = later;
            if ready.borrow().len() == PART_BYTES {
                flush()?;
            }
        }
        Ok(())
    };
    let user = ticket.user.clone();
    let made = match export(shared, &ticket, Sink { send: &take, begun: &begun }) {
        Ok(true) => flush().map_err(|fault| Problem::fault("sending the end of the bundle", &fault)),
        Ok(false) => {
            let until = ticket.until;
            lock(&shared.desk.tickets).insert(trace, ticket);
            let detail =
                format!("another bundle is just being made: fetch this one again soon, until {until}");
            let problem = Problem::new(StatusCode::CONFLICT, "conflict", detail);
            Err(Problem { retry_s: Some(RETRY_SECONDS), ..problem })
        }
        Err(problem) => Err(problem),
    };
    if let Err(problem) = made {
        tracing::warn!(user = user.as_str(), "a bundle did not become whole: {}", problem.detail);
        // Nobody may be there any more.
        let _ = send(Err(problem));
    }
}

/// Whether it was made; it was not where another is just being made.
fn export(shared: &Shared, ticket: &Ticket, sink: Sink<'_>) -> Result<bool, Problem> {
    let failed = |problem: Problem| failed(shared, &ticket.grant, problem);
    let ring = shared.intake.keys().ok_or_else(|| failed(Problem::locked()))?;
    // What it reads by waits in this thread alone.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|fault| failed(Problem::fault("beginning a bundle", &fault)))?;
    let catalog = runtime.block_on(shared.vault().catalog());
    let catalog = catalog.map_err(|fault| failed(Problem::fault("opening the catalog", &fault)))?;
    let recipients = recipients(&ticket.recipients).map_err(failed)?;
    let handing =
        if ticket.recipients.is_empty() { Handing::Plain(PLAYABLE) } else { Handing::Sealed(&recipients) };
    let approved = ticket.approved(shared).map_err(|fault| failed(fault.into()))?;
    // Its own: connections that others wait for would stand still with this thread while a receiver is slow.
    let places = shared.vault().places_if_there();
    let places = places.map_err(|fault| failed(Problem::fault("opening the places of copies", &fault)))?;
    let (vault, patience) = (shared.vault(), PATIENCE_AT_A_BROWSER);
    let exporter = Exporter { vault, ring: &ring, catalog: &catalog, places, runtime: &runtime, patience };
    let made = exporter.export(&ticket.order(To::Sent(sink), handing, approved.as_ref()));
    runtime.block_on(catalog.close());
    if made.as_ref().is_err_and(ExportError::is_busy) {
        return Ok(false);
    }
    let bundle = made?;
    let at = clock::now();
    tracing::info!(user = ticket.user.as_str(), bundle = bundle.id, %at, "a bundle was given away");
    Ok(true)
}

const PLAYABLE: &PlainWriter<'static> =
    &|plain, bytes, to: &mut dyn Write| io::copy(&mut Playable::new(plain, bytes)?, to).map(drop);
/// How long a bundle waits to be fetched.
const LASTS: Duration = Duration::from_secs(300);
const TICKETS_MAX: usize = 1_000;
const RETRY_SECONDS: u64 = 10;
const PART_BYTES: usize = 64 << 10;
const PARTS_WAITING: usize = 4;
/// Nobody exports beside another: who takes nothing for so long lets others come.
const PATIENCE: Duration = Duration::from_secs(60);
