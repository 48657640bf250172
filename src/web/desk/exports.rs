//! Requests for exports, and leave to fetch a bundle.

use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};

use crate::archive::entry::Entry;
use crate::archive::export_request::{Asked, ExportRequest, Requests};
use crate::archive::person::Person;
use crate::archive::report::Language;
use crate::seal::recipient::{RecipientError, Recipients};
use crate::shell::receipts::ReceiptsError;
use crate::shell::vault::export::ExportError;
use crate::shell::vault::export_requests::{self, PATIENCE_AT_A_BROWSER};
use crate::web::call::{Call, json as answer, ok};
use crate::web::desk::bundle::{self, Ticket};
use crate::web::desk::{granted, ids, inside, sees_all, sensible};
use crate::web::problem::Problem;
use crate::web::shared::{Shared, beside, lock};

/// All requests, newest first, and how much one gives away alone.
pub(in crate::web) async fn list(shared: Arc<Shared>, call: Call) -> Result<Response, Problem> {
    let (who, now) = (call.who()?, call.now);
    let (actor, user) = (who.actor.clone(), Person::User(who.name.clone()));
    let told = inside(&shared, move |shared, _| {
        let log = &shared.vault().log;
        let fault = |fault| Problem::fault("reading the log", &fault);
        let requests = all(shared)?;
        bundle::sweep(shared, now)?;
        let given = export_requests::given_alone(log, &actor.name, now).map_err(fault)?;
        let seen = |asked: &&Asked| sees_all(&actor) || asked.request.by == user;
        let told: Vec<_> =
            requests.0.values().rev().filter(seen).map(|asked| self::told(asked, &user)).collect();
        let max = shared.vault().config.vault.export_alone_max;
        let plain = shared.vault().config.vault.export_plain;
        Ok(json!({ "requests": told, "alone_max": max, "given_alone": given, "plain": plain }))
    });
    Ok(ok(&told.await?))
}

/// All requests, as the log has them: it is read on from where it was read before.
pub(super) fn all(shared: &Shared) -> Result<Requests, Problem> {
    let mut known = lock(&shared.desk.exports);
    let (requests, next) = &mut *known;
    let mut read = *next;
    let gone_through = shared.vault().log.each(*next, |index, bytes| -> Result<(), ReceiptsError> {
        // What a later version writes is no word that this one knows.
        if let Ok(entry) = Entry::from_bytes(bytes) {
            requests.read(&entry);
        }
        read = index + 1;
        Ok(())
    });
    gone_through.map_err(|fault| Problem::fault("reading the log", &fault))?;
    *next = read;
    Ok(requests.clone())
}

/// A request, as `user` sees it.
pub(super) fn told(asked: &Asked, user: &Person) -> Value {
    let ExportRequest { number, by, at, recordings, receiver, recipients, reason, .. } = &asked.request;
    let state = match (asked.withdrawn, asked.made, &asked.agreed) {
        (Some(_), _, _) => "withdrawn",
        (None, Some(_), _) => "made",
        (None, None, Some(_)) => "agreed",
        (None, None, None) => "asked",
    };
    json!({
        "number": number,
        "by": by,
        "at": at,
        "recordings": recordings,
        "receiver": receiver,
        "recipients": recipients,
        "reason": reason,
        "state": state,
        "agreed": asked.agreed.as_ref().map(|agreed| json!({ "by": agreed.by, "at": agreed.at })),
        "withdrawn": asked.withdrawn,
        "made": asked.made,
        "own": by.is(user),
    })
}

/// Asks for one that takes a second person.
pub(in crate::web) async fn ask(shared: Arc<Shared>, call: Call) -> Result<Response, Problem> {
    let ids = ids(&call.body, "recordings")?;
    let order = Order::of(&call).and_then(|order| {
        let is_let = !order.recipients.is_empty() || shared.vault().config.vault.export_plain;
        if is_let { Ok(order) } else { Err(ExportError::InTheOpen.into()) }
    });
    let order = sensible(&shared, &call, order).await?;
    let number = granted(&shared, &call, move |shared, _, speaker| {
        Ok(export_requests::ask(shared.vault(), speaker, &ids, &order.receiver, order.recipients)?)
    });
    let told = json!({ "number": number.await?, "waits_for": "a second person" });
    Ok(answer(StatusCode::ACCEPTED, &told))
}

/// Agrees to what another has asked for.
pub(in crate::web) async fn approve(shared: Arc<Shared>, call: Call) -> Result<Response, Problem> {
    let number = number(&call)?;
    let by = granted(&shared, &call, move |shared, _, speaker| {
        Ok(export_requests::approve(shared.vault(), speaker, number)?)
    });
    Ok(ok(&json!({ "number": number, "agreed_by": by.await? })))
}

/// Takes a request back.
pub(in crate::web) async fn withdraw(shared: Arc<Shared>, call: Call) -> Result<Response, Problem> {
    let number = number(&call)?;
    granted(&shared, &call, move |shared, _, speaker| {
        Ok(export_requests::withdraw(shared.vault(), speaker, number, PATIENCE_AT_A_BROWSER)?)
    })
    .await?;
    Ok(ok(&json!({ "number": number, "withdrawn": true })))
}

/// Leave to fetch a bundle that one may give away alone.
pub(in crate::web) async fn make(shared: Arc<Shared>, call: Call) -> Result<Response, Problem> {
    let ticket = ids(&call.body, "recordings").and_then(|ids| {
        let (order, language) = (Order::of(&call)?, language(&call)?);
        Ticket::of(&call, ids, order.receiver, order.recipients, language, None)
    });
    let ticket = sensible(&shared, &call, ticket).await?;
    bundle::offer(&shared, &call, ticket).await
}

/// Leave to fetch the bundle of a request to which somebody has agreed.
pub(in crate::web) async fn make_asked(shared: Arc<Shared>, call: Call) -> Result<Response, Problem> {
    let number = number(&call)?;
    let asked = beside(&shared, move |shared| {
        Ok(all(shared)?.get(number).and_then(Asked::approved)?.request().clone())
    });
    let ticket = asked.await.and_then(|request| {
        let ExportRequest { recordings, receiver, recipients, .. } = request;
        Ticket::of(&call, recordings, receiver, recipients, language(&call)?, Some(number))
    });
    let ticket = sensible(&shared, &call, ticket).await?;
    bundle::offer(&shared, &call, ticket).await
}

/// For whom, and under which keys.
struct Order {
    receiver: String,
    recipients: Vec<String>,
}

impl Order {
    fn of(call: &Call) -> Result<Self, Problem> {
        let receiver = call.text("for").trim().to_owned();
        if receiver.is_empty() || receiver.len() > RECEIVER_BYTES_MAX {
            let detail = format!("`for` says who it is for, in at most {RECEIVER_BYTES_MAX} bytes");
            return Err(Problem::bad(detail));
        }
        let texts = call.body.get("recipients").and_then(Value::as_array).into_iter().flatten();
        let texts = texts.filter_map(Value::as_str).map(|text| text.trim().to_owned());
        let recipients: Vec<_> = texts.filter(|text| !text.is_empty()).collect();
        if recipients.len() > RECIPIENTS_MAX {
            return Err(Problem::bad(format!("`recipients` has at most {RECIPIENTS_MAX} keys")));
        }
        // One that is none is told now, and not to the one who agrees.
        self::recipients(&recipients)?;
        Ok(Self { receiver, recipients })
    }
}

/// Keys of a receiver. One that takes a program beside ours is none here: nobody at a browser has programs run.
pub(super) fn recipients(texts: &[String]) -> Result<Recipients, Problem> {
    let mut recipients = Recipients::default();
    for text in texts {
        recipients
            .add(text)
            .map_err(|fault: RecipientError| Problem::bad(format!("`recipients`: {fault}")))?;
    }
    Ok(recipients)
}

fn language(call: &Call) -> Result<Language, Problem> {
    match call.text("language") {
        "" | "en" => Ok(Language::English),
        "pl" => Ok(Language::Polish),
        _ => Err(Problem::bad("`language` is en or pl")),
    }
}

fn number(call: &Call) -> Result<u64, Problem> {
    call.param("number").parse().map_err(|_| Problem::not_found("nothing of that number is asked"))
}

const RECEIVER_BYTES_MAX: usize = 512;
const RECIPIENTS_MAX: usize = 16;
