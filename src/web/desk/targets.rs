//! What an action of the desk is on, and whose that is: for who asks whether it may be done.

use std::sync::Arc;

use crate::archive::access::{Action, Actor, Reason};
use crate::archive::entry::Resource;
use crate::archive::hold::HoldName;
use crate::archive::reach::Belongs;
use crate::archive::record::RecordingId;
use crate::archive::scope::Scope;
use crate::shell::vault::matters::{Matters, destroyed};
use crate::web::call::Call;
use crate::web::desk::{exports, ids, inside, scope};
use crate::web::guard::look_up;
use crate::web::problem::Problem;
use crate::web::shared::Shared;
use crate::web::table::Target;

/// What is acted on, whose it is where that is known, and why it is done where another's words say so.
pub(in crate::web) struct On {
    pub(in crate::web) resource: Resource,
    pub(in crate::web) belongs: Option<Belongs>,
    pub(in crate::web) reason: Option<Reason>,
}

/// Looks up what a request of the desk is about.
pub(in crate::web) async fn of(
    shared: &Arc<Shared>,
    call: &Call,
    action: Action,
    target: Target,
) -> Result<On, Problem> {
    let actor = &call.who()?.actor;
    let on = |resource, belongs| On { resource, belongs, reason: None };
    match target {
        Target::Recordings => {
            let ids = ids(&call.body, "recordings")?;
            if ids.is_empty() || ids.len() > RECORDINGS_MAX {
                return Err(Problem::bad(format!("`recordings` has 1 to {RECORDINGS_MAX} ids")));
            }
            let belongs = belongs(shared, actor, action, &ids).await?;
            Ok(on(Resource::of(&ids), belongs))
        }
        Target::NewHold => {
            let scope = scope(&call.body)?;
            Ok(on(Resource::Hold(name(call)?.to_string()), of_scope(shared, actor, action, &scope).await?))
        }
        Target::Hold => {
            let name = name(call)?;
            let (wanted, resource) = (name.clone(), Resource::Hold(name.to_string()));
            let hold = inside(shared, move |shared, runtime| {
                let matters = runtime.block_on(Matters::load(shared.vault(), shared.intake.catalog()))?;
                Ok(matters.hold(&wanted).map(|hold| hold.scope.clone()))
            });
            let belongs = match hold.await? {
                Some(scope) => of_scope(shared, actor, action, &scope).await?,
                // Of one that there is not, whoever asks learns no more.
                None => Some(Belongs::default()),
            };
            Ok(on(resource, belongs))
        }
        Target::Scope => {
            let scope = scope(&call.body)?;
            Ok(on(destroyed(&scope), of_scope(shared, actor, action, &scope).await?))
        }
        Target::DestructionAsked => {
            let number = number(call)?;
            let asked = inside(shared, move |shared, runtime| {
                let matters = runtime.block_on(Matters::load(shared.vault(), shared.intake.catalog()))?;
                Ok(matters.request(number).ok().map(|request| request.scope.clone()))
            });
            let belongs = match asked.await? {
                Some(scope) => of_scope(shared, actor, action, &scope).await?,
                None => Some(Belongs::default()),
            };
            Ok(on(Resource::Request(number), belongs))
        }
        Target::ExportAsked => export(shared, call, action).await,
        _ => Err(Problem::fault("finding what it is on", &"the table of routes names no target of the desk")),
    }
}

async fn export(shared: &Arc<Shared>, call: &Call, action: Action) -> Result<On, Problem> {
    let number = number(call)?;
    let asked = inside(shared, move |shared, _| {
        Ok(exports::all(shared)?.get(number).ok().map(|asked| asked.request.clone()))
    });
    let Some(request) = asked.await? else {
        let belongs = Some(Belongs::default());
        return Ok(On { resource: Resource::Request(number), belongs, reason: None });
    };
    let belongs = belongs(shared, &call.who()?.actor, action, &request.recordings).await?;
    // Who makes the bundle gives what was asked for away, for the reason that was given then.
    Ok(match action {
        Action::Export => {
            On { resource: Resource::of(&request.recordings), belongs, reason: Some(request.because()) }
        }
        _ => On { resource: Resource::Request(number), belongs, reason: None },
    })
}

/// Whose recordings are: those of one that is out of reach, where there is one.
async fn belongs(
    shared: &Arc<Shared>,
    actor: &Actor,
    action: Action,
    ids: &[RecordingId],
) -> Result<Option<Belongs>, Problem> {
    if actor.reaches(action, &Belongs::default()) {
        return Ok(None);
    }
    let (actor, ids) = (actor.clone(), ids.to_vec());
    inside(shared, move |shared, runtime| {
        let mut all = None;
        for id in &ids {
            let (_, belongs) = runtime.block_on(look_up(shared, id))?;
            let belongs = belongs.unwrap_or_default();
            if !actor.reaches(action, &belongs) {
                return Ok(Some(belongs));
            }
            all = Some(belongs);
        }
        Ok(all)
    })
    .await
}

/// Whatever comes may be of a scope that names no recordings: only who reaches all reaches that.
async fn of_scope(
    shared: &Arc<Shared>,
    actor: &Actor,
    action: Action,
    scope: &Scope,
) -> Result<Option<Belongs>, Problem> {
    let ids: Vec<_> = scope.recordings.iter().copied().collect();
    belongs(shared, actor, action, &ids).await
}

fn name(call: &Call) -> Result<HoldName, Problem> {
    call.text("name").parse().map_err(|fault| Problem::bad(format!("`name`: {fault}")))
}

fn number(call: &Call) -> Result<u64, Problem> {
    call.param("number").parse().map_err(|_| Problem::not_found("nothing of that number is asked"))
}

const RECORDINGS_MAX: usize = crate::archive::export_request::RECORDINGS_MAX;
