//! Recordings: searching, and one of them. Who reaches only so far sees only so much.

use std::sync::Arc;
use std::time::Duration;

use axum::response::Response;
use serde_json::{Value, json};

use crate::archive::access::Action;
use crate::archive::details::Details;
use crate::archive::reach::Belongs;
use crate::archive::record::Record;
use crate::archive::search::{Cursor, Query, Wanted};
use crate::base::time::Stamp;
use crate::shell::vault::catalog::search::{Hit, LIMIT_MAX};
use crate::web::call::{Call, ok};
use crate::web::play::is_audio;
use crate::web::problem::Problem;
use crate::web::shared::{Shared, aside};

/// Finds recordings, newest first.
pub(super) async fn search(shared: Arc<Shared>, call: Call) -> Result<Response, Problem> {
    let query = Arc::new(query(&call)?);
    let limit: usize = parsed(&call, "limit")?.unwrap_or(LIMIT);
    if limit == 0 || limit > LIMIT_MAX {
        return Err(Problem::bad(format!("`limit` is from 1 to {LIMIT_MAX}")));
    }
    let (grant, who) = (call.grant()?, call.who()?);
    let (actor, user) = (&who.actor, who.name.as_str());
    let mut after = after(&shared, &call, user)?;
    let ring = shared.intake.keys().ok_or_else(Problem::locked)?;
    let teams = &shared.vault().config.teams;
    // Who sees only so much looks through others' as well, and learns nothing of them: not where they are either.
    let is_limited = !actor.reaches(Action::Search, &Belongs::default());
    let (mut hits, mut last, mut unreadable) = (Vec::new(), None, 0);
    // Of pages in which little is within reach, a few: what follows is asked for.
    'pages: for _ in 0..PAGES_MAX {
        let (shared, grant, query) = (Arc::clone(&shared), Arc::clone(grant), Arc::clone(&query));
        let (ring, wanted) = (Arc::clone(&ring), if is_limited { LIMIT_MAX } else { limit - hits.len() });
        let page = aside(async move {
            Ok(shared.intake.catalog().search(&grant, &query, &*ring, after.as_ref(), wanted).await?)
        });
        let page = page.await?;
        after = page.next;
        unreadable += page.unreadable.len();
        let is_reached = |hit: &&Hit| {
            let belongs = hit.details.as_ref().map(|details| Belongs::of(details, teams));
            actor.reaches(Action::Search, &belongs.unwrap_or_default())
        };
        for hit in page.hits.iter().filter(is_reached) {
            if hits.len() == limit {
                after = last;
                break 'pages;
            }
            hits.push(told(&hit.record, hit.details.as_ref(), teams));
            last = Some(Cursor { start: hit.record.receipt.start, id: hit.record.id });
        }
        if after.is_none() || hits.len() == limit {
            break;
        }
    }
    let next = match after {
        Some(after) if is_limited => Some(shared.goes_on.seal(user, &after)?),
        after => after.map(|after| after.to_string()),
    };
    let unreadable = if is_limited { 0 } else { unreadable };
    Ok(ok(&json!({ "recordings": hits, "next": next, "unreadable": unreadable })))
}

/// Where to go on: as it is, or sealed.
fn after(shared: &Shared, call: &Call, user: &str) -> Result<Option<Cursor>, Problem> {
    let Some(shown) = call.query("after") else { return Ok(None) };
    let place = shown.parse().ok().or_else(|| shared.goes_on.open(user, shown));
    let none = || Problem::bad("`after` is no `next` of yours since the vault was started: search anew");
    place.map(Some).ok_or_else(none)
}

/// One recording.
pub(super) async fn one(shared: Arc<Shared>, call: Call) -> Result<Response, Problem> {
    let (record, details) = call.recording.as_ref().ok_or_else(unknown)?;
    Ok(ok(&told(record, details.as_ref(), &shared.vault().config.teams)))
}

pub(super) fn unknown() -> Problem {
    Problem::not_found("there is no such recording: look for it with /api/v1/recordings")
}

fn told(record: &Record, details: Option<&Details>, teams: &[crate::archive::reach::Team]) -> Value {
    let receipt = &record.receipt;
    let files: Vec<_> =
        record.files.iter().filter(|file| is_audio(&file.name)).map(|file| &file.name).collect();
    json!({
        "id": record.id,
        "start": receipt.start,
        "end": receipt.end,
        "seconds": receipt.end.since(receipt.start).as_secs_f64(),
        "state": receipt.state,
        "phase": record.phase,
        "class": record.class,
        "recorder": record.recorder,
        "audio": files,
        "details": details,
        "teams": details.map(|details| Belongs::of(details, teams).teams),
    })
}

fn query(call: &Call) -> Result<Query, Problem> {
    let all = |name: &'static str| {
        call.query.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.clone())
    };
    let text = |name: &str| call.query(name).map(str::to_owned);
    let wanted =
        |text: String| text.parse::<Wanted>().map_err(|fault| Problem::bad(format!("`party`: {fault}")));
    let seconds =
        |name| Ok::<_, Problem>(parsed::<u32>(call, name)?.map(|length| Duration::from_secs(length.into())));
    let class = call.query("class").map(str::parse).transpose();
    let state = call.query("state").map(|name| serde_json::from_value(json!(name))).transpose();
    let query = Query {
        from: time(call, "from")?,
        to: time(call, "to")?,
        parties: all("party").map(wanted).collect::<Result<_, _>>()?,
        trunk: text("trunk"),
        agent: text("agent"),
        tags: all("tag").collect(),
        class: class.map_err(|_| Problem::bad("`class` is no name of a class"))?,
        state: state.map_err(|_| {
            Problem::bad("`state` is complete, interrupted, failed, unanswered or excluded-by-rule")
        })?,
        length_min: seconds("min_length")?,
        length_max: seconds("max_length")?,
    };
    query.check().map_err(|fault| Problem::bad(fault.to_string()))?;
    Ok(query)
}

/// A parameter as a number or the like; nothing where it is not there.
pub(super) fn parsed<T: std::str::FromStr>(call: &Call, name: &str) -> Result<Option<T>, Problem> {
    let value = call.query(name).map(str::parse).transpose();
    value.map_err(|_| Problem::bad(format!("`{name}` is not what it should be: see /api/v1/openapi.json")))
}

/// A parameter as a time.
pub(super) fn time(call: &Call, name: &str) -> Result<Option<Stamp>, Problem> {
    call.query(name).map(|text| stamp(name, text)).transpose()
}

/// A day or a time, in UTC.
pub(super) fn stamp(name: &str, text: &str) -> Result<Stamp, Problem> {
    let whole = if text.contains('T') { text.to_owned() } else { format!("{text}T00:00:00Z") };
    serde_json::from_value(json!(whole))
        .map_err(|_| Problem::bad(format!("`{name}` is a time as 2026-11-23 or 2026-11-23T21:08:41Z")))
}

const LIMIT: usize = 50;
const PAGES_MAX: usize = 8;
