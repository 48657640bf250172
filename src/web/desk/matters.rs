//! One recording: what holds it, how long it is kept, what is asked of it.

use std::sync::Arc;

use axum::response::Response;
use serde_json::{Value, json};

use crate::archive::access::{Action, roles_for};
use crate::archive::matter::IDS_MAX;
use crate::archive::record::RecordingId;
use crate::archive::retention::{RetentionFacts, WhyKept};
use crate::archive::scope::{Scope, Subject};
use crate::shell::vault::matters::{Matters, look_at_clock};
use crate::web::call::{Call, ok};
use crate::web::desk::retention::{kind, told as told_request};
use crate::web::desk::{holds, inside, sees_all};
use crate::web::problem::Problem;
use crate::web::recordings::unknown;
use crate::web::shared::Shared;

/// All of that.
pub(in crate::web) async fn serve(shared: Arc<Shared>, call: Call) -> Result<Response, Problem> {
    let (record, _) = call.recording.as_ref().ok_or_else(unknown)?;
    let actor = &call.who()?.actor;
    let (record, now) = (record.clone(), call.now);
    // Whose matter it is, is not for everybody who hears the recording.
    let is_told = roles_for(Action::ListMatters).iter().any(|role| actor.roles.contains_key(role));
    let sees_all = sees_all(actor);
    let user = crate::archive::person::Person::User(call.who()?.name.clone());
    let told = inside(&shared, move |shared, runtime| {
        let (vault, catalog) = (shared.vault(), shared.intake.catalog());
        let (matters, events) = runtime.block_on(async {
            let matters = Matters::load(vault, catalog).await?;
            Ok::<_, Problem>((matters, catalog.events_of(&[record.id]).await?))
        })?;
        let rules = matters.rules(vault, now, look_at_clock(vault, matters.read.newest)?);
        let facts = RetentionFacts::of(&record, events.get(&record.id).copied());
        let terms = rules.terms(&facts);
        let plan = rules.plan(std::iter::once(facts));
        let standing = match (plan.kept.first(), plan.purges.first()) {
            (Some(kept), _) => {
                let (code, detail) = kind(&kept.why);
                let detail = if is_told { detail } else { String::new() };
                json!({ "kept": code, "detail": detail, "until": until(&kept.why) })
            }
            (None, Some(purge)) => json!({ "kept": null, "request": purge.request() }),
            (None, None) => json!(null),
        };
        let (may_go, due) = (terms.and_then(|terms| terms.min), terms.and_then(|terms| terms.due));
        let Some(class) = record.class.as_ref().filter(|_| is_told) else {
            let none = json!([]);
            return Ok(json!({
                "holds": none, "requests": none, "standing": standing, "may_go": may_go, "due": due,
            }));
        };
        let (id, recorder, start) = (record.id, record.recorder.as_str(), record.receipt.start);
        let subject = Subject { id, class, recorder, start };
        let held = matters.holds.iter().filter(|hold| hold.is_in_force() && hold.scope.covers(&subject));
        let seen = |told: Value, scope: &Scope| if sees_all { told } else { of_it_alone(told, scope, &id) };
        let held = held.take(IDS_MAX).map(|hold| seen(holds::told(hold, None), &hold.scope));
        let held: Vec<_> = held.collect();
        let asked = matters.requests.iter().rev().filter(|one| one.scope.covers(&subject));
        let asked = asked.take(IDS_MAX).map(|one| seen(told_request(one, None, &user), &one.scope));
        let asked: Vec<_> = asked.collect();
        Ok(json!({
            "holds": held,
            "requests": asked,
            "standing": standing,
            "may_go": may_go,
            "due": due,
        }))
    });
    Ok(ok(&told.await?))
}

/// A matter, as it is told to whoever reaches only so far: of the recordings that it names, this one.
fn of_it_alone(mut told: Value, scope: &Scope, id: &RecordingId) -> Value {
    let this: Vec<_> = scope.recordings.get(id).into_iter().collect();
    told["scope"]["recordings"] = json!(this);
    if let Some(scope) = told["scope"].as_object_mut() {
        scope.remove("count");
    }
    told
}

fn until(why: &WhyKept) -> Option<crate::base::time::Stamp> {
    match why {
        WhyKept::KeepMin(at) | WhyKept::NotDue(at) | WhyKept::Unasked(at) => Some(*at),
        WhyKept::CoolsOff { until, .. } => Some(*until),
        _ => None,
    }
}
