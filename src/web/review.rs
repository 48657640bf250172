//! The review: how the archive stands, its report, and whose roles are still right.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use serde_json::{Value, json};

use crate::archive::report::Language;
use crate::archive::review::State;
use crate::archive::user::{Roles, Standing, UserName};
use crate::archive::users::Change;
use crate::shell::vault::review::{self, ReviewError};
use crate::shell::vault::users::Voice;
use crate::web::call::{Call, ok};
use crate::web::problem::Problem;
use crate::web::shared::{Shared, aside, beside};

/// How it stands now.
pub(super) async fn show(shared: Arc<Shared>, _: Call) -> Result<Response, Problem> {
    let made = aside(async move {
        let made = review::younger_than(NOW, shared.vault(), Some(shared.intake.catalog())).await;
        made.map_err(problem)
    })
    .await?;
    let counts: serde_json::Map<String, Value> =
        State::ALL.iter().map(|state| (state.as_str().to_owned(), json!(made.count(*state)))).collect();
    let mut told = json!(made);
    told["counts"] = json!(counts);
    Ok(ok(&told))
}

/// The same as a page to be kept, signed. Of what was shown just now, where somebody has just looked.
pub(super) async fn report(shared: Arc<Shared>, call: Call) -> Result<Response, Problem> {
    let language = match call.query("language") {
        None | Some("en") => Language::English,
        Some("pl") => Language::Polish,
        Some(_) => return Err(Problem::bad("`language` is en or pl")),
    };
    let grant = Arc::clone(call.grant()?);
    let page = aside(async move {
        let vault = shared.vault();
        let made = review::younger_than(FRESH, vault, Some(shared.intake.catalog())).await;
        let made = made.map_err(problem)?;
        let page = review::signed_report(vault, &made, language, &grant).map_err(problem)?;
        Ok((page, made.at))
    });
    let (page, at) = page.await?;
    let day = at.to_string().get(..10).unwrap_or_default().to_owned();
    let mut response = Response::new(Body::from(page));
    *response.status_mut() = StatusCode::OK;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    // It is kept, and not shown here: its own style would not be taken.
    let name = HeaderValue::from_str(&format!("attachment; filename=\"sejf-review-{day}.html\""));
    headers.insert(CONTENT_DISPOSITION, name.unwrap_or(HeaderValue::from_static("attachment")));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(KEPT));
    Ok(response)
}

fn problem(fault: ReviewError) -> Problem {
    match fault {
        ReviewError::Denied(denied) => denied.into(),
        ReviewError::Log(fault) => Problem::unlogged(&fault),
        ReviewError::Busy => Problem::busy(fault.to_string()),
        fault => Problem::fault("reviewing the archive", &fault),
    }
}

/// Whose roles are to be looked at again, and when they were last.
pub(super) async fn certifications(shared: Arc<Shared>, call: Call) -> Result<Response, Problem> {
    let users = beside(&shared, |shared| Ok(shared.users.users(shared.vault())?)).await?;
    let every = shared.vault().config.review.certify.0;
    let told = users.all().filter(|(_, user)| user.standing != Standing::Disabled && !user.roles.is_empty());
    let told: Vec<_> = told
        .map(|(name, user)| {
            let since = user.certified_since();
            let by = since.after(every);
            json!({ "user": name, "roles": user.roles, "since": since, "by": by, "due": call.now >= by })
        })
        .collect();
    Ok(ok(&json!({ "users": told, "days": every.as_secs() / 86_400 })))
}

/// Says that somebody's roles are still right.
pub(super) async fn certify(shared: Arc<Shared>, call: Call) -> Result<Response, Problem> {
    let user: UserName =
        call.param("user").parse().map_err(|_| Problem::not_found("there is no such user"))?;
    let roles: Roles = serde_json::from_value(call.body["roles"].clone())
        .map_err(|_| Problem::bad("`roles` is all that were seen, each with its reach"))?;
    let (grant, by) = (Arc::clone(call.grant()?), Some(call.who()?.name.clone()));
    let change = Change::Certify { by, user: user.clone(), roles };
    beside(&shared, move |shared| {
        Ok(shared.users.change(shared.vault(), Voice::Granted(&grant), &change).map(drop)?)
    })
    .await?;
    Ok(ok(&json!({ "user": user, "certified": call.now })))
}

/// What is shown is as of now, or nearly: to look through all of it takes a while.
const NOW: Duration = Duration::from_secs(60);
/// A report says how it stood; it is made anew after this.
const FRESH: Duration = Duration::from_secs(15 * 60);
const KEPT: &str = "default-src 'none'; style-src 'unsafe-inline'; sandbox";
