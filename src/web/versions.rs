//! What was said of a recording later, and saying something: each is a version of it, and what was before stays.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};
use tokio::runtime::Handle;

use crate::archive::record::Record;
use crate::archive::version::{Change, Field, History, NAMES_MAX, SPANS_MAX, Step};
use crate::base::time::Span;
use crate::shell::vault::annotate::{AnnotateError, Annotator, Order, Wish, Written};
use crate::shell::vault::home::VaultError;
use crate::web::call::{Call, json as answer, ok};
use crate::web::problem::Problem;
use crate::web::recordings::unknown;
use crate::web::shared::{Shared, beside};

/// All that was said.
pub(super) async fn list(shared: Arc<Shared>, call: Call) -> Result<Response, Problem> {
    let (record, _) = call.recording.as_ref().ok_or_else(unknown)?;
    let (id, grant) = (record.id, Arc::clone(call.grant()?));
    let read = with(&shared, async move |annotator: Annotator<'_>| annotator.history_with(&id, &grant).await);
    let (record, history) = read.await?;
    Ok(ok(&told(&record, &history)))
}

fn told(record: &Record, history: &History) -> Value {
    let first = history.steps().first().map_or(history.now(), |step| &step.before);
    json!({
        "number": history.number(),
        "recorded": { "at": record.receipt.end, "recorder": record.receipt.recorder, "details": first },
        "versions": history.steps().iter().map(step).collect::<Vec<_>>(),
        "now": history.now(),
    })
}

fn step(Step { version, digest, before }: &Step) -> Value {
    let mut shown = json!({
        "version": version.number, "at": version.at, "author": version.author, "reason": version.reason,
        "sha256": digest, "kind": version.change.kind(), "change": version.change,
    });
    match &version.change {
        Change::Labels { .. } => shown["before"] = json!(before.tags),
        Change::Agents { .. } => shown["before"] = json!(before.agents),
        // A correction says it itself.
        Change::Note { .. } | Change::Correction { .. } | Change::Redacted { .. } => {}
    }
    shown
}

/// Says something, or makes a redacted copy, where nobody has said something since `after`.
pub(super) async fn say(shared: Arc<Shared>, call: Call) -> Result<Response, Problem> {
    let (record, _) = call.recording.as_ref().ok_or_else(unknown)?;
    let (id, said) = (record.id, said(&call)?);
    let after = call.body["after"].as_u64().and_then(|after| u32::try_from(after).ok());
    let after =
        after.ok_or_else(|| Problem::bad("`after` is the number of the last version that you have seen"))?;
    let (grant, actor) = (Arc::clone(call.grant()?), call.who()?.actor.clone());
    // A copy of hours of sound takes a processor and memory, as a picture of it does: one after the other.
    let full = |_| Problem::too_many(5, "too many copies are being made: try again in a few seconds");
    let _waiting = match said {
        Said::Redact(_) => Some(shared.drawing_or_waiting.try_acquire().map_err(full)?),
        Said::This(_) => None,
    };
    let _making = match said {
        Said::Redact(_) => {
            Some(shared.drawing.acquire().await.map_err(|fault| Problem::fault("making a copy", &fault))?)
        }
        Said::This(_) => None,
    };
    let (kind, written) = with(&shared, async move |annotator: Annotator<'_>| {
        let wish = match &said {
            Said::This(change) => Wish::Say(change),
            Said::Redact(spans) => Wish::Redact(spans),
        };
        let order = Order { id, wish, after: Some(after), actor: &actor, belongs: None, reason: None };
        let written = annotator.within(PATIENCE).say_with(&order, &grant).await?;
        Ok((wish.kind(), written))
    })
    .await?;
    let Written { number, sha256, was_there } = written;
    let status = if was_there { StatusCode::OK } else { StatusCode::CREATED };
    Ok(answer(status, &json!({ "version": number, "kind": kind, "sha256": sha256, "was_there": was_there })))
}

/// What is to be said.
enum Said {
    This(Change),
    Redact(Vec<Span>),
}

fn said(call: &Call) -> Result<Said, Problem> {
    let names = |name: &str| -> Result<Vec<String>, Problem> {
        let all = call.body[name].as_array().into_iter().flatten();
        let all: Vec<_> = all.filter_map(Value::as_str).map(str::to_owned).collect();
        if all.len() > NAMES_MAX {
            Err(Problem::bad(format!("`{name}` has at most {NAMES_MAX}")))
        } else {
            Ok(all)
        }
    };
    Ok(match call.text("kind") {
        "note" => Said::This(Change::Note { text: call.text("text").into() }),
        "labels" => Said::This(Change::Labels { add: names("add")?, remove: names("remove")? }),
        "agents" => Said::This(Change::Agents { add: names("add")?, remove: names("remove")? }),
        "correction" => {
            let field = Field::from_name(call.text("field"));
            let detail = || format!("`field` is one of {}", Field::ALL.map(Field::as_str).join(", "));
            let field = field.ok_or_else(|| Problem::bad(detail()))?;
            Said::This(Change::Correction { field, was: call.text("was").into(), is: call.text("is").into() })
        }
        "redacted" => Said::Redact(spans(&call.body["spans"])?),
        _ => return Err(Problem::bad("`kind` is note, labels, agents, correction or redacted")),
    })
}

fn spans(given: &Value) -> Result<Vec<Span>, Problem> {
    let given = given.as_array().map(Vec::as_slice).unwrap_or_default();
    if given.is_empty() || given.len() > SPANS_MAX {
        return Err(Problem::bad(format!("`spans` has at least one, and at most {SPANS_MAX}")));
    }
    let read = |span: &Value| {
        let (from, to) = span.as_str()?.split_once('-')?;
        let span = Span { from_ms: milliseconds(from)?, to_ms: milliseconds(to)? };
        (span.from_ms < span.to_ms).then_some(span)
    };
    let spans: Option<Vec<_>> = given.iter().map(read).collect();
    let mut spans = spans.ok_or_else(|| Problem::bad("a span is in seconds of the sound, as 12.5-19.25"))?;
    spans.sort_unstable();
    Ok(spans)
}

/// Of seconds, with at most three places.
fn milliseconds(text: &str) -> Option<u64> {
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let is_number = |text: &str, max| {
        !text.is_empty() && text.len() <= max && text.bytes().all(|byte| byte.is_ascii_digit())
    };
    if !is_number(whole, 7) || !is_number(part, 3) {
        return None;
    }
    Some(whole.parse::<u64>().ok()? * 1_000 + format!("{part:0<3}").parse::<u64>().ok()?)
}

/// Does something with versions, beside the requests.
async fn with<T: Send + 'static>(
    shared: &Arc<Shared>,
    act: impl AsyncFnOnce(Annotator<'_>) -> Result<T, AnnotateError> + Send + 'static,
) -> Result<T, Problem> {
    let runtime = Handle::current();
    beside(shared, move |shared| {
        let ring = shared.intake.keys().ok_or_else(Problem::locked)?;
        let annotator = Annotator::open(shared.vault(), &ring, shared.intake.catalog())?;
        Ok(runtime.block_on(act(annotator))?)
    })
    .await
}

impl From<AnnotateError> for Problem {
    fn from(error: AnnotateError) -> Self {
        let conflict = |kind, error: &AnnotateError| Self::new(StatusCode::CONFLICT, kind, error.to_string());
        match error {
            AnnotateError::Denied(denied) => denied.into(),
            AnnotateError::Log(fault) => Self::unlogged(&fault),
            AnnotateError::Unknown(_) => unknown(),
            AnnotateError::Meanwhile { .. } => conflict("meanwhile", &error),
            AnnotateError::Nothing { .. } | AnnotateError::NoSound(_) => conflict("nothing", &error),
            AnnotateError::Version { source, .. } => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "version", source.to_string())
            }
            AnnotateError::Redact { source, .. } => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "version", source.to_string())
            }
            AnnotateError::Rewrapping | AnnotateError::Vault(VaultError::Annotating { .. }) => {
                Self::too_many(RETRY_S, "versions or envelopes are being written just now: try again")
            }
            other => Self::fault("reading or writing versions of a recording", &other),
        }
    }
}

/// Who waits for another's copy of hours is told so, and not kept waiting.
const PATIENCE: Duration = Duration::from_secs(20);
const RETRY_S: u64 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_seconds_with_at_most_three_places() {
        let read = |texts: &[&str]| {
            spans(&json!(texts)).map(|all| all.iter().map(|one| (one.from_ms, one.to_ms)).collect::<Vec<_>>())
        };
        assert_eq!(read(&["12.5-19.25", "0-1"]).unwrap_or_default(), [(0, 1_000), (12_500, 19_250)]);
        for wrong in [
            "",
            "-",
            "1",
            "1-",
            "-1",
            "2-1",
            "1-1",
            "a-b",
            "1.2345-9",
            "1.-9",
            "+1-2",
            "1e3-2e3",
            "99999999-999999999",
            "١-٢",
        ] {
            assert!(read(&[wrong]).is_err(), "{wrong}");
        }
        assert!(read(&[]).is_err());
        assert!(spans(&json!(["1-2"].repeat(SPANS_MAX + 1))).is_err());
    }
}
