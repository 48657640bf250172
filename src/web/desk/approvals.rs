//! All that waits for a second person, and who that may be.

use std::sync::Arc;

use axum::response::Response;
use serde_json::{Value, json};

use crate::archive::access::{Action, Role, roles_for};
use crate::archive::person::Person;
use crate::archive::user::Standing;
use crate::archive::users::Users;
use crate::shell::vault::matters::Matters;
use crate::web::call::{Call, ok};
use crate::web::desk::{exports, inside, retention, sees_all};
use crate::web::problem::Problem;
use crate::web::shared::Shared;

/// All of it that somebody of these roles sees, oldest first.
pub(in crate::web) async fn list(shared: Arc<Shared>, call: Call) -> Result<Response, Problem> {
    let (actor, name) = (call.who()?.actor.clone(), call.who()?.name.clone());
    let user = Person::User(name.clone());
    let waiting = inside(&shared, move |shared, runtime| {
        let has = |roles: &[Role]| roles.iter().any(|role| actor.roles.contains_key(role));
        let users = shared.users.users(shared.vault())?;
        let mut waiting = Vec::new();
        let mut add = |kind: &str, action: Action, mut one: Value, not: &[&Person]| {
            let may = has(roles_for(action)) && not.iter().all(|other| !other.is(&user));
            one["kind"] = json!(kind);
            one["may"] = json!(may);
            one["roles"] = json!(roles_for(action));
            one["people"] = json!(people(&users, action, not));
            waiting.push(one);
        };
        if has(roles_for(Action::ListMatters)) {
            let all = sees_all(&actor);
            let requests = exports::all(shared)?;
            for asked in requests.0.values().filter(|asked| asked.agreed.is_none() && asked.is_open().is_ok())
            {
                let by = &asked.request.by;
                if all || *by == user {
                    add("export", Action::ApproveExport, exports::told(asked, &user), &[by]);
                }
            }
            let matters = runtime.block_on(Matters::load(shared.vault(), shared.intake.catalog()))?;
            let classes = &shared.vault().config.classes;
            for request in
                matters.requests.iter().filter(|one| one.agreed.is_none() && one.withdrawn.is_none())
            {
                let by = &request.by;
                if all || *by == user {
                    let approval = retention::approval_of(classes, request);
                    let told = retention::told(request, approval, &user);
                    add("destruction", Action::ApproveDestruction, told, &[by]);
                }
            }
        }
        if has(roles_for(Action::ListUsers)) || has(roles_for(Action::ApproveUsers)) {
            for (number, asked) in users.asked() {
                let told = json!({
                    "number": number,
                    "by": asked.by,
                    "at": asked.at,
                    "user": asked.user,
                    "what": asked.what,
                    "own": asked.by == name,
                });
                let not = [Person::User(asked.by.clone()), Person::User(asked.user.clone())];
                add("user", Action::ApproveUsers, told, &[&not[0], &not[1]]);
            }
        }
        waiting.sort_by_key(|one| one["at"].as_str().unwrap_or_default().to_owned());
        Ok(waiting)
    });
    Ok(ok(&json!({ "waiting": waiting.await? })))
}

/// Users who may say yes: they have signed in before, and are none of `not`.
fn people(users: &Users, action: Action, not: &[&Person]) -> Vec<String> {
    let may = users.all().filter(|(name, user)| {
        let is_other = !not.iter().any(|other| other.is(&Person::User((*name).clone())));
        let has_role = roles_for(action).iter().any(|role| user.roles.contains_key(role));
        is_other && has_role && user.standing == Standing::Active
    });
    may.map(|(name, _)| name.to_string()).collect()
}
