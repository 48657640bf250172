//! Samples: what was drawn for a reviewer, and what they say it is.

use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;

use crate::archive::access::Action;
use crate::archive::reach::Belongs;
use crate::archive::record::{Phase, RecordingId};
use crate::archive::sampling::Verdict;
use crate::archive::version::Change;
use crate::shell::vault::annotate::{AnnotateError, Annotator, Order, Wish};
use crate::shell::vault::catalog::CatalogError;
use crate::shell::vault::sampling::{self, SamplingError};
use crate::web::call::{Call, ok};
use crate::web::problem::Problem;
use crate::web::shared::{Shared, aside, beside};

/// What is drawn for who asks, with the verdicts that they gave.
pub(super) async fn list(shared: Arc<Shared>, call: Call) -> Result<Response, Problem> {
    let (grant, name) = (Arc::clone(call.grant()?), call.who()?.name.clone());
    let users = beside(&shared, |shared| Ok(shared.users.users(shared.vault())?)).await?;
    // As they are: what a broken glass lets one reach is not drawn.
    let user = users.get(&name).ok_or_else(Problem::sign_in)?;
    let actor = user.actor(&name, &call.origin(), None);
    let (quarter, queue, rows) = aside(async move {
        let (vault, catalog, ring) = (shared.vault(), shared.intake.catalog(), shared.intake.keys());
        let drawn = sampling::queue(vault, catalog, ring.as_deref(), &actor, &grant).await;
        let (quarter, queue) = drawn.map_err(problem)?;
        let ids: Vec<_> = queue.drawn.iter().map(|(id, _)| *id).collect();
        let records = catalog.get_all(&ids).await?;
        let mut rows = Vec::new();
        for (id, given) in &queue.drawn {
            let record = records.iter().find(|record| record.id == *id);
            let details = match &ring {
                Some(ring) => match catalog.open_details(&**ring, id).await {
                    Err(CatalogError::Damaged { .. } | CatalogError::Keys { .. }) => None,
                    details => details?,
                },
                None => None,
            };
            // Whoever does not reach it any more sees that it is theirs to judge, and nothing of it.
            let belongs = details.as_ref().map(|details| Belongs::of(details, &vault.config.teams));
            let is_reached = actor.reaches(Action::Show, &belongs.unwrap_or_default());
            let shown = record.filter(|_| is_reached);
            rows.push(json!({
                "id": id,
                "start": shown.map(|record| record.receipt.start),
                "seconds": shown.map(|record| record.receipt.end.since(record.receipt.start).as_secs_f64()),
                "there": record.is_some_and(|record| record.phase == Phase::Archived),
                "reached": is_reached,
                "details": details.filter(|_| is_reached),
                "verdict": given.map(|given| given.verdict),
                "judged": given.map(|given| given.at),
                "version": given.and_then(|given| given.version),
            }));
        }
        Ok((quarter, queue, rows))
    })
    .await?;
    let verdicts = Verdict::ALL.map(Verdict::as_str);
    Ok(ok(&json!({ "quarter": quarter, "of": queue.of, "samples": rows, "verdicts": verdicts })))
}

/// Says what one of them is.
pub(super) async fn verdict(shared: Arc<Shared>, call: Call) -> Result<Response, Problem> {
    let unknown = |_| Problem::not_found("a recording's id is a UUID, in small letters");
    let id: RecordingId = call.param("id").parse().map_err(unknown)?;
    let verdict: Verdict =
        call.text("verdict").parse().map_err(|fault| Problem::bad(format!("`verdict`: {fault}")))?;
    let grant = Arc::clone(call.grant()?);
    let reviewer = grant.actor().to_owned();
    beside(&shared, move |shared| {
        sampling::is_drawn(shared.vault(), &reviewer, id).map(drop).map_err(problem)
    })
    .await?;
    let note = call.text("note").trim().to_owned();
    let version = if note.is_empty() { None } else { Some(say(&shared, &call, id, note).await?) };
    beside(&shared, move |shared| {
        sampling::judge(shared.vault(), &grant, id, verdict, version).map_err(problem)
    })
    .await?;
    Ok(ok(&json!({ "id": id, "verdict": verdict, "version": version })))
}

/// What more there is to say may name who spoke: it is sealed with the recording, as a note.
async fn say(shared: &Arc<Shared>, call: &Call, id: RecordingId, text: String) -> Result<u32, Problem> {
    let (actor, reason) = (call.who()?.actor.clone(), call.grant()?.reason().cloned());
    let teams = shared.vault().config.teams.clone();
    let details = call.recording.as_ref().and_then(|(_, details)| details.as_ref());
    let belongs = details.map(|details| Belongs::of(details, &teams)).unwrap_or_default();
    let ring = shared.intake.keys().ok_or_else(Problem::locked)?;
    let shared = Arc::clone(shared);
    aside(async move {
        let change = Change::Note { text };
        let annotator = Annotator::open(shared.vault(), &ring, shared.intake.catalog()).map_err(noted)?;
        let (wish, after, belongs) = (Wish::Say(&change), None, Some(&belongs));
        let order = Order { id, wish, after, actor: &actor, belongs, reason };
        Ok(annotator.say(&order).await.map_err(noted)?.number)
    })
    .await
}

fn noted(fault: AnnotateError) -> Problem {
    match fault {
        AnnotateError::Denied(denied) => denied.into(),
        AnnotateError::Log(fault) => Problem::unlogged(&fault),
        AnnotateError::Version { source, .. } => Problem::bad(format!("`note`: {source}")),
        AnnotateError::Unknown(_) | AnnotateError::Nothing { .. } => {
            Problem::new(StatusCode::CONFLICT, "nothing", "there is nothing of it here to note anything of")
        }
        fault => Problem::fault("noting it", &fault),
    }
}

fn problem(fault: SamplingError) -> Problem {
    match fault {
        SamplingError::Locked => Problem::locked(),
        SamplingError::NotDrawn(_) => Problem::not_found(fault.to_string()),
        SamplingError::Log(fault) => Problem::unlogged(&fault),
        SamplingError::Busy => Problem::busy(fault.to_string()),
        fault => Problem::fault("drawing a sample", &fault),
    }
}
