//! Users, what is asked for them, and tokens.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};

use crate::archive::access::Action;
use crate::archive::entry::Outcome;
use crate::archive::once::{self, Invite, Shown};
use crate::archive::user::{Roles, Standing, TOKEN_DAYS_MAX, Token, User, UserName};
use crate::archive::users::{Change, Users, UsersFault, Wish};
use crate::base::time::Stamp;
use crate::shell::clock;
use crate::shell::vault::users::{Planned, Voice};
use crate::web::call::{Call, json as answer, ok};
use crate::web::problem::Problem;
use crate::web::shared::{Shared, beside, lock, random};

/// All users.
pub(super) async fn list(shared: Arc<Shared>, _: Call) -> Result<Response, Problem> {
    let users = beside(&shared, |shared| Ok(shared.users.users(shared.vault())?)).await?;
    let all: Vec<_> = {
        let sessions = lock(&shared.sessions);
        let counts = sessions.counts(clock::now());
        let of = |name: &UserName| counts.get(name.as_str()).copied().unwrap_or_default();
        users.all().map(|(name, user)| told(name, user, of(name))).collect()
    };
    let asked: Vec<_> =
        users.asked().map(|(number, asked)| json!({ "number": number, "asked": asked })).collect();
    Ok(ok(&json!({ "users": all, "asked": asked })))
}

fn told(name: &UserName, user: &User, sessions: usize) -> Value {
    json!({
        "user": name,
        "roles": user.roles,
        "standing": user.standing,
        "since": user.since,
        "signed_in": user.signed_in,
        "has_second_factor": user.standing == Standing::Active,
        "recovery_codes": user.recovery_codes(),
        "passkeys": user.good_passkeys().len(),
        "sessions": sessions,
    })
}

/// Adds somebody, without roles.
pub(super) async fn add(shared: Arc<Shared>, call: Call) -> Result<Response, Problem> {
    let user: UserName =
        call.text("user").parse().map_err(|fault| Problem::bad(format!("`user`: {fault}")))?;
    let (shown, invite) = invitation(call.now)?;
    let until = invite.until;
    let change = Change::Add { user: user.clone(), roles: Roles::new(), invite, by_custodian: false };
    granted(&shared, &call, move |_| Ok((change, ()).into())).await?;
    Ok(answer(StatusCode::CREATED, &json!({ "user": user, "invite": *shown, "until": until })))
}

/// Asks for other roles, or for another second factor, for somebody.
pub(super) async fn ask(shared: Arc<Shared>, call: Call) -> Result<Response, Problem> {
    let (user, by) = (named(&call)?, call.who()?.name.clone());
    let what = match call.body.get("roles") {
        None if call.body.get("reset") == Some(&json!(true)) => Wish::Reset,
        Some(roles) if call.body.get("reset").is_none() => {
            let roles: Result<Roles, _> = serde_json::from_value(roles.clone());
            let detail = "`roles` is as {\"reviewer\": {\"teams\": [\"sales\"]}}, or {\"reviewer\": \"all\"}";
            Wish::Roles(roles.map_err(|_| Problem::bad(detail))?)
        }
        _ => return Err(Problem::bad("say `roles`, or `reset`: true")),
    };
    let change = Change::Ask { by, user, what };
    let number = granted(&shared, &call, move |users| Ok((change, users.next_number()).into())).await?;
    Ok(answer(StatusCode::ACCEPTED, &json!({ "number": number, "waits_for": "a second person" })))
}

/// Agrees to what another has asked.
pub(super) async fn agree(shared: Arc<Shared>, call: Call) -> Result<Response, Problem> {
    let detail = "nothing of that number is asked";
    let number: u64 = call.param("number").parse().map_err(|_| Problem::not_found(detail))?;
    let (by, (shown, invite)) = (call.who()?.name.clone(), invitation(call.now)?);
    let until = invite.until;
    let (user, is_reset) = granted(&shared, &call, move |users: &Users| {
        let asked = users.asked().find(|(known, _)| *known == number).map(|(_, asked)| asked);
        let asked = asked.ok_or(UsersFault::NotAsked(number))?;
        let more = (Some(asked.user.clone()), asked.what == Wish::Reset);
        Ok((Change::Agree { by, number, invite }, more).into())
    })
    .await?;
    let mut told = json!({ "user": user, "done": true });
    if let Some(user) = user {
        end_all(&shared, &user);
    }
    if is_reset {
        (told["invite"], told["until"]) = (json!(*shown), json!(until));
    }
    Ok(ok(&told))
}

/// Has somebody not sign in any more.
pub(super) async fn disable(shared: Arc<Shared>, call: Call) -> Result<Response, Problem> {
    let user = named(&call)?;
    if call.who()?.name == user {
        return Err(UsersFault::SamePerson.into());
    }
    let change = Change::Disable { user: user.clone() };
    granted(&shared, &call, move |_| Ok((change, ()).into())).await?;
    end_all(&shared, &user);
    Ok(ok(&json!({ "user": user, "standing": Standing::Disabled })))
}

/// Ends all of somebody's sessions. They may sign in again.
pub(super) async fn end_sessions(shared: Arc<Shared>, call: Call) -> Result<Response, Problem> {
    let (user, grant) = (named(&call)?, Arc::clone(call.grant()?));
    let (known, now) = (user.clone(), call.now);
    beside(&shared, move |shared| {
        let users = shared.users.users(shared.vault())?;
        users.get(&known).ok_or_else(|| UsersFault::Unknown(known.clone()))?;
        let ended = lock(&shared.sessions).of(known.as_str(), now).len();
        let told = Outcome::Done(json!({ "change": "end-sessions", "ended": ended }));
        shared.vault().log.outcome(&grant, told).map_err(|fault| Problem::unlogged(&fault))
    })
    .await?;
    let ended = lock(&shared.sessions).of(user.as_str(), call.now).len();
    lock(&shared.sessions).end_all(user.as_str());
    Ok(ok(&json!({ "user": user, "ended": ended })))
}

/// Makes a token for a program that acts for whoever asks.
pub(super) async fn make_token(shared: Arc<Shared>, call: Call) -> Result<Response, Problem> {
    let user = call.who()?.name.clone();
    let only: BTreeSet<Action> = serde_json::from_value(call.body["only"].clone())
        .map_err(|_| Problem::bad("`only` is a list of `search`, `show`, `read-log`, `list-users`"))?;
    let days = call.body["days"].as_u64().filter(|days| (1..=TOKEN_DAYS_MAX).contains(days));
    let days = days.ok_or_else(|| Problem::bad(format!("`days` is from 1 to {TOKEN_DAYS_MAX}")))?;
    let until = call.now.after(Duration::from_secs(days * 86_400 - 60));
    let (shown, kept) = once::generate(&mut random()?);
    let token = Token::new(user, call.text("label").into(), only, kept, call.now, until);
    let change = Change::MakeToken(token);
    let number = granted(&shared, &call, move |users| Ok((change, users.next_number()).into())).await?;
    Ok(answer(StatusCode::CREATED, &json!({ "number": number, "token": *shown, "until": until })))
}

/// Takes one back.
pub(super) async fn revoke_token(shared: Arc<Shared>, call: Call) -> Result<Response, Problem> {
    let user = call.who()?.name.clone();
    let id: u64 =
        call.param("number").parse().map_err(|_| Problem::not_found("there is no such token of yours"))?;
    let change = Change::RevokeToken { user, id };
    granted(&shared, &call, move |_| Ok((change, ()).into())).await?;
    Ok(ok(&json!({ "number": id, "revoked": true })))
}

/// Has something happen that was granted.
pub(super) async fn granted<T: Default + Send + 'static>(
    shared: &Arc<Shared>,
    call: &Call,
    plan: impl FnOnce(&Users) -> Result<Planned<T>, UsersFault> + Send + 'static,
) -> Result<T, Problem> {
    let grant = Arc::clone(call.grant()?);
    beside(shared, move |shared| {
        let changed = shared.users.change_with(shared.vault(), Voice::Granted(&grant), plan);
        Ok(changed.map(|(_, more)| more)?)
    })
    .await
}

pub(super) fn end_all(shared: &Shared, user: &UserName) {
    lock(&shared.sessions).end_all(user.as_str());
    lock(&shared.throttle).forget(user.as_str());
    lock(&shared.pending).retain(|_, pending| pending.user.as_ref() != Some(user));
}

fn named(call: &Call) -> Result<UserName, Problem> {
    call.param("user").parse().map_err(|_| Problem::not_found("there is no such user"))
}

fn invitation(now: Stamp) -> Result<(Shown, Invite), Problem> {
    let (shown, kept) = once::generate(&mut random()?);
    Ok((shown, Invite { kept, until: now.after(INVITED) }))
}

/// How long an invitation waits.
const INVITED: Duration = Duration::from_secs(24 * 3_600);
