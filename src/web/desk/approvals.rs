//! All that waits for a second person, and who that may be.

use std::sync::Arc;

use axum::response::Response;
use serde_json::{Value, json};
use tokio::runtime::Handle;

use crate::archive::access::{Action, Actor, Role, reaches, roles_for};
use crate::archive::person::Person;
use crate::archive::reach::{Belongs, Reach};
use crate::archive::record::RecordingId;
use crate::archive::user::{Roles, Standing};
use crate::archive::users::Users;
use crate::shell::vault::matters::Matters;
use crate::web::call::{Call, ok};
use crate::web::desk::{exports, inside, retention, sees_all};
use crate::web::guard::look_up;
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
        let whose = Whose::new(shared, runtime, &actor, &users);
        let mut add = |kind: &str, action: Action, mut one: Value, not: &[&Person], of: &[Belongs]| {
            let is_within = of.iter().all(|belongs| actor.reaches(action, belongs));
            let may = has(roles_for(action)) && is_within && not.iter().all(|other| !other.is(&user));
            one["kind"] = json!(kind);
            one["may"] = json!(may);
            one["roles"] = json!(roles_for(action));
            one["people"] = json!(people(&users, action, not, of));
            waiting.push(one);
        };
        if has(roles_for(Action::ListMatters)) {
            let all = sees_all(&actor);
            let requests = exports::all(shared)?;
            for asked in requests.0.values().filter(|asked| asked.agreed.is_none() && asked.is_open().is_ok())
            {
                let by = &asked.request.by;
                if all || *by == user {
                    let of = whose.are(&asked.request.recordings)?;
                    add("export", Action::ApproveExport, exports::told(asked, &user), &[by], &of);
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
                    let of = whose.are(&request.scope.recordings.iter().copied().collect::<Vec<_>>())?;
                    add("destruction", Action::ApproveDestruction, told, &[by], &of);
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
                add("user", Action::ApproveUsers, told, &[&not[0], &not[1]], &[]);
            }
        }
        waiting.sort_by_key(|one| one["at"].as_str().unwrap_or_default().to_owned());
        Ok(waiting)
    });
    Ok(ok(&json!({ "waiting": waiting.await? })))
}

/// Whose the recordings of a request are, where that makes a difference to anybody.
struct Whose<'a> {
    shared: &'a Shared,
    runtime: &'a Handle,
    is_asked: bool,
}

impl<'a> Whose<'a> {
    fn new(shared: &'a Shared, runtime: &'a Handle, actor: &Actor, users: &Users) -> Self {
        let agrees = [Action::ApproveExport, Action::ApproveDestruction].map(roles_for).concat();
        let is_limited =
            |roles: &Roles| roles.iter().any(|(role, reach)| agrees.contains(role) && *reach != Reach::All);
        let is_asked = is_limited(&actor.roles) || users.all().any(|(_, user)| is_limited(&user.roles));
        Self { shared, runtime, is_asked }
    }

    /// Of what names none, whatever comes may be: only who reaches all reaches that.
    fn are(&self, ids: &[RecordingId]) -> Result<Vec<Belongs>, Problem> {
        if !self.is_asked || ids.is_empty() {
            return Ok(vec![Belongs::default()]);
        }
        let mut all = Vec::new();
        for id in ids {
            let (_, belongs) = self.runtime.block_on(look_up(self.shared, id))?;
            let belongs = belongs.unwrap_or_default();
            if !all.contains(&belongs) {
                all.push(belongs);
            }
        }
        Ok(all)
    }
}

/// Users who may say yes: they have signed in before, reach all of it, and are none of `not`.
fn people(users: &Users, action: Action, not: &[&Person], of: &[Belongs]) -> Vec<String> {
    let may = users.all().filter(|(name, user)| {
        let is_other = !not.iter().any(|other| other.is(&Person::User((*name).clone())));
        let has_role = roles_for(action).iter().any(|role| user.roles.contains_key(role));
        let is_within = of.iter().all(|belongs| reaches(&user.roles, action, belongs));
        is_other && has_role && is_within && user.standing == Standing::Active
    });
    may.map(|(name, _)| name.to_string()).collect()
}
