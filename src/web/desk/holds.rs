//! Holds: what is kept from destruction, and why.

use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};

use crate::archive::hold::{Hold, HoldName};
use crate::shell::vault::matters::{Matters, known_scope};
use crate::web::call::{Call, json as answer, ok};
use crate::web::desk::{granted, inside, scope, sees_all, told_scope};
use crate::web::problem::Problem;
use crate::web::shared::Shared;

/// All of them, those that were let go included; with how many recordings each keeps now.
pub(in crate::web) async fn list(shared: Arc<Shared>, call: Call) -> Result<Response, Problem> {
    let actor = call.who()?.actor.clone();
    let holds = inside(&shared, move |shared, runtime| {
        runtime.block_on(async {
            let catalog = shared.intake.catalog();
            let matters = Matters::load(shared.vault(), catalog).await?;
            let mut told = Vec::new();
            for hold in matters.holds.iter().filter(|hold| sees_all(&actor) || hold.by == actor.name) {
                let count = match hold.is_in_force() {
                    true => Some(catalog.count_covered(&hold.scope).await?),
                    false => None,
                };
                told.push(self::told(hold, count));
            }
            Ok(told)
        })
    });
    Ok(ok(&json!({ "holds": holds.await?, "classes": shared.vault().classes() })))
}

pub(super) fn told(hold: &Hold, count: Option<u64>) -> Value {
    json!({
        "name": hold.name,
        "scope": told_scope(&hold.scope),
        "since": hold.at,
        "by": hold.by,
        "reason": hold.reason,
        "released": hold.released,
        "recordings": count,
    })
}

/// Lays one on recordings: at once, and by one alone.
pub(in crate::web) async fn place(shared: Arc<Shared>, call: Call) -> Result<Response, Problem> {
    let (name, scope) = (name(&call)?, scope(&call.body)?);
    let is_all = call.body.get("all") == Some(&json!(true));
    let done = granted(&shared, &call, move |shared, runtime, speaker| {
        if scope.is_all() != is_all {
            let detail = "say which recordings, or `all`: recordings, class, recorder, from, to";
            return Err(Problem::bad(detail));
        }
        runtime.block_on(async {
            let (vault, catalog) = (shared.vault(), shared.intake.catalog());
            let scope = known_scope(vault, catalog, scope).await?;
            speaker.hold(vault, catalog, &name, &scope).await?;
            let count = catalog.count_covered(&scope).await?;
            Ok(json!({ "name": name, "scope": told_scope(&scope), "recordings": count }))
        })
    });
    Ok(answer(StatusCode::CREATED, &done.await?))
}

/// Lets one go.
pub(in crate::web) async fn release(shared: Arc<Shared>, call: Call) -> Result<Response, Problem> {
    let name = name(&call)?;
    let done = granted(&shared, &call, move |shared, runtime, speaker| {
        runtime.block_on(speaker.release(shared.vault(), shared.intake.catalog(), &name))?;
        Ok(json!({ "name": name, "released": speaker.now }))
    });
    Ok(ok(&done.await?))
}

fn name(call: &Call) -> Result<HoldName, Problem> {
    call.text("name").parse().map_err(|fault| Problem::bad(format!("`name`: {fault}")))
}
