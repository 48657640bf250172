//! What people look after themselves: sessions, password, recovery codes.

use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;

use crate::archive::access::Action;
use crate::archive::entry::Outcome;
use crate::archive::once;
use crate::archive::password::{Password, PasswordFault};
use crate::archive::session::LASTS;
use crate::archive::users::{Change, UsersFault};
use crate::web::call::{Call, ok};
use crate::web::people::granted;
use crate::web::problem::Problem;
use crate::web::recall::NAME_OR_PASSWORD;
use crate::web::shared::{Shared, beside, lock, random};
use crate::web::sign_in::{begin, failed, hashing};

/// Where one is signed in.
pub(super) async fn sessions(shared: Arc<Shared>, call: Call) -> Result<Response, Problem> {
    let (own, user) = (call.session()?.1.number, call.who()?.name.clone());
    let sessions = lock(&shared.sessions);
    let all: Vec<_> = sessions
        .of(user.as_str(), call.now)
        .into_iter()
        .map(|session| {
            json!({
                "number": session.number,
                "own": session.number == own,
                "begun": session.begun,
                "seen": session.seen,
                "ends": session.begun.after(LASTS),
                "from": session.from.address,
                "browser": session.from.browser,
            })
        })
        .collect();
    Ok(ok(&json!({ "sessions": all })))
}

/// Ends one of them.
pub(super) async fn end_session(shared: Arc<Shared>, call: Call) -> Result<Response, Problem> {
    call.session()?;
    let unknown = || Problem::not_found("there is no such session of yours");
    let (user, number) = (call.who()?.name.clone(), call.param("number").parse().map_err(|_| unknown())?);
    let is_there = {
        let sessions = lock(&shared.sessions);
        sessions.of(user.as_str(), call.now).iter().any(|session| session.number == number)
    };
    if !is_there {
        return Err(unknown());
    }
    told(&shared, &call, json!({ "change": "end-session", "session": number })).await?;
    lock(&shared.sessions).end_number(user.as_str(), number);
    Ok(ok(&json!({ "number": number, "ended": true })))
}

/// Ends all of them but the one that asks.
pub(super) async fn end_others(shared: Arc<Shared>, call: Call) -> Result<Response, Problem> {
    let (own, user) = (call.session()?.1.number, call.who()?.name.clone());
    told(&shared, &call, json!({ "change": "end-other-sessions" })).await?;
    let ended = lock(&shared.sessions).end_others(user.as_str(), own);
    Ok(ok(&json!({ "ended": ended })))
}

/// New recovery codes: those of before are dead.
pub(super) async fn recovery_codes(shared: Arc<Shared>, call: Call) -> Result<Response, Problem> {
    let user = call.session().and(call.who())?.name.clone();
    let (codes, recovery) = once::recovery_codes(&mut random()?);
    let change = Change::SetRecovery { user, recovery };
    granted(&shared, &call, move |_| Ok((change, ()).into())).await?;
    let codes: Vec<&str> = codes.iter().map(|code| code.as_str()).collect();
    Ok(ok(&json!({ "recovery_codes": codes })))
}

/// Another password, by who has the one of now. Other sessions end.
pub(super) async fn change_password(shared: Arc<Shared>, call: Call) -> Result<Response, Problem> {
    let (own, user) = (call.session()?.1.number, call.who()?.name.clone());
    let (now, network, origin) = (call.now, call.network(), call.origin());
    begin(&shared, user.as_str(), network, &origin, now).await?;
    let passed = |shared: &Shared| lock(&shared.throttle).passed(user.as_str(), network);
    let users = beside(&shared, |shared| Ok(shared.users.users(shared.vault())?)).await?;
    let before = users.get(&user).and_then(|user| user.password()).cloned().ok_or_else(Problem::sign_in)?;
    let (kept, password) = (before.clone(), call.text("password").to_owned());
    let fits = hashing(&shared, move || kept.is(&password)).await.inspect_err(|_| passed(&shared))?;
    if !fits {
        failed(&shared, user.as_str(), origin, Action::ChangeOwn, NAME_OR_PASSWORD).await?;
        return Err(Problem::new(StatusCode::UNAUTHORIZED, "credentials", "the password is wrong"));
    }
    passed(&shared);
    let (name, new, cost) = (user.clone(), call.text("new_password").to_owned(), shared.cost);
    let mut random = random()?;
    let made = hashing(&shared, move || Password::new(name.as_str(), &new, cost, &mut random)).await?;
    let password = made.map_err(|fault| match fault {
        PasswordFault::NoMemory => Problem::fault("hashing a password", &fault),
        fault => Problem::new(StatusCode::BAD_REQUEST, "password", fault.to_string()),
    })?;
    let change = Change::SetPassword { user: user.clone(), password, before, is_same: false };
    granted(&shared, &call, move |_| Ok::<_, UsersFault>((change, ()).into())).await?;
    lock(&shared.pending).retain(|_, pending| pending.user.as_ref() != Some(&user));
    let ended = lock(&shared.sessions).end_others(user.as_str(), own);
    Ok(ok(&json!({ "changed": true, "ended": ended })))
}

async fn told(shared: &Arc<Shared>, call: &Call, told: serde_json::Value) -> Result<(), Problem> {
    let (actor, origin) = (call.who()?.actor.name.clone(), call.origin());
    beside(shared, move |shared| shared.log_own(actor, origin, Action::SignOut, Outcome::Done(told))).await
}
