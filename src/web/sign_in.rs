//! Signing in: password, second factor, session. Invitations, step-up, sign-out, broken glass.
//!
//! A try counts as a failure from when it begins, and is taken back where it was none: so many at once are no more than
//! so many one after the other.

use std::sync::Arc;

use axum::http::header::SET_COOKIE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use serde_json::json;

use crate::archive::access::{Action, SECOND_FACTOR_MINUTES};
use crate::archive::entry::Outcome;
use crate::archive::once::{self, Kept};
use crate::archive::passkey::Party;
use crate::archive::password::{Password, PasswordFault};
use crate::archive::review::LOCKED;
use crate::archive::session::{IDLE, LASTS, Opened};
use crate::archive::throttle::{Network, Wait};
use crate::archive::totp;
use crate::archive::user::{NewFactor, User, UserName};
use crate::archive::users::{Change, Users, UsersFault};
use crate::base::time::Stamp;
use crate::shell::clock;
use crate::shell::vault::users::{UsersError, Voice};
use crate::web::call::{Call, ok};
use crate::web::passkeys;
use crate::web::problem::Problem;
use crate::web::qr;
use crate::web::recall::{CODE, INVITATION, NAME_OR_PASSWORD};
use crate::web::shared::{Pending, Shared, Step, beside, lock, random};

/// The first factor. Whether the name is nobody's or the password is wrong cannot be told, neither by what is answered
/// nor by how long it takes.
pub(super) async fn login(shared: Arc<Shared>, call: Call) -> Result<Response, Problem> {
    let (now, network, origin) = (call.now, call.network(), call.origin());
    let name = call.text("user").parse::<UserName>().ok();
    let account = name.as_ref().map_or("?", UserName::as_str).to_owned();
    begin(&shared, &account, network, &origin, now).await?;
    let users = beside(&shared, |shared| Ok(shared.users.users(shared.vault())?)).await?;
    let known = name.as_ref().and_then(|name| users.get(name)).and_then(|user| user.password()).cloned();
    let is_known = known.is_some();
    let outdated = known.clone().filter(|kept| kept.cost() != shared.cost);
    let (kept, password) = (known.unwrap_or_else(|| shared.decoy.clone()), call.text("password").to_owned());
    let fits = hashing(&shared, move || kept.is(&password)).await.inspect_err(|_| {
        // Nothing was tried.
        lock(&shared.throttle).passed(&account, network);
    })?;
    match name.filter(|_| is_known && fits) {
        Some(user) => {
            lock(&shared.throttle).passed(&account, network);
            if let Some(before) = outdated {
                rehash(&shared, &call, &user, before).await?;
            }
            second_step(&shared, &call, &users, user)
        }
        None => {
            failed(&shared, &account, origin, Action::SignIn, NAME_OR_PASSWORD).await?;
            Err(Problem::new(StatusCode::UNAUTHORIZED, "credentials", "name or password is wrong"))
        }
    }
}

/// What is to come after the first factor: a code, or the answer of a passkey.
pub(super) fn second_step(
    shared: &Shared,
    call: &Call,
    users: &Users,
    user: UserName,
) -> Result<Response, Problem> {
    let (now, from, until) = (call.now, call.network(), call.now.after(PENDING));
    let known = users.get(&user);
    let asked = known.map(|user| passkeys::ask(call, user)).transpose()?.flatten();
    let (asked, options) = asked.unzip();
    let mut factors = Vec::new();
    factors.extend(options.is_some().then_some("passkey"));
    factors.extend(known.is_some_and(User::has_totp).then_some("totp"));
    factors.push("recovery-code");
    let pending = Pending { user: Some(user), from, until, step: Step::SignIn, asked };
    let shown = shared.keep_pending(pending, now)?;
    Ok(ok(&json!({ "pending": *shown, "factors": factors, "passkey": options, "until": until })))
}

/// The second one; or a passkey alone, which is both.
pub(super) async fn factor(shared: Arc<Shared>, call: Call) -> Result<Response, Problem> {
    let (now, network, origin) = (call.now, call.network(), call.origin());
    let user = if call.body.get("passkey").is_some() {
        let (pending, asked) = shared.take_asked(call.text("pending"), network, now)?;
        if !matches!(pending.step, Step::SignIn) {
            return Err(Problem::pending());
        }
        passkeys::prove(&shared, &call, pending.user, asked, Action::SignIn).await?
    } else {
        let pending = shared.pending(call.text("pending"), network, now)?;
        let (Step::SignIn, Some(user)) = (pending.step, pending.user) else { return Err(Problem::pending()) };
        prove(&shared, &call, user, Action::SignIn).await?
    };
    shared.forget_pending(call.text("pending"));
    lock(&shared.throttle).succeeded(user.as_str(), network);
    let opened = lock(&shared.sessions).begin(user.as_str(), call.client(), clock::now(), &mut random()?);
    tracing::info!(user = user.as_str(), origin, "signed in");
    let users = beside(&shared, |shared| Ok(shared.users.users(shared.vault())?)).await?;
    Ok(signed_in(&users, &user, &opened, None))
}

/// The password was right, and what is kept of it costs another try than it should by now.
async fn rehash(shared: &Arc<Shared>, call: &Call, user: &UserName, before: Password) -> Result<(), Problem> {
    let (name, password, cost) = (user.clone(), call.text("password").to_owned(), shared.cost);
    let mut random = random()?;
    let made = hashing(shared, move || Password::new(name.as_str(), &password, cost, &mut random)).await?;
    // One that would not be taken today stays as it is.
    let Ok(password) = made else { return Ok(()) };
    let (own, from) = (user.clone(), call.origin());
    beside(shared, move |shared| {
        let change = Change::SetPassword { user: own.clone(), password, before, is_same: true };
        let voice = Voice::Own { user: &own, origin: &from, action: Action::ChangeOwn };
        match shared.users.change(shared.vault(), voice, &change) {
            // Somebody else was first.
            Ok(_) | Err(UsersError::Fault(UsersFault::PasswordChanged)) => Ok(()),
            Err(fault) => Err(fault.into()),
        }
    })
    .await
}

/// Sets a password by an invitation: the second factor is shown, and counts once it was proved to be there.
pub(super) async fn enrol(shared: Arc<Shared>, call: Call) -> Result<Response, Problem> {
    let (now, network, origin) = (call.now, call.network(), call.origin());
    begin(&shared, "", network, &origin, now).await?;
    let invite = call.text("invite").to_owned();
    let users = beside(&shared, |shared| Ok(shared.users.users(shared.vault())?)).await?;
    let Some(user) = users.invited(&invite, now).cloned() else {
        failed(&shared, "?", origin, Action::SignIn, INVITATION).await?;
        let detail = "the invitation is not valid, or not any more: have another one made";
        return Err(Problem::new(StatusCode::UNAUTHORIZED, "invitation", detail));
    };
    lock(&shared.throttle).passed("", network);
    let (name, password, cost) = (user.clone(), call.text("password").to_owned(), shared.cost);
    let mut random = random()?;
    let totp = totp::Secret::generate(&mut random);
    let made = hashing(&shared, move || Password::new(name.as_str(), &password, cost, &mut random)).await?;
    let password = made.map_err(|fault| match fault {
        PasswordFault::NoMemory => Problem::fault("hashing a password", &fault),
        fault => Problem::new(StatusCode::BAD_REQUEST, "password", fault.to_string()),
    })?;
    let (secret, uri) = (totp.to_base32(), totp.to_uri(&shared.vault().config.vault.name, user.as_str()));
    let step = Step::Enrol { shown: Kept::of(&invite), password, totp };
    let until = now.after(ENROLLING);
    let pending = Pending { user: Some(user.clone()), from: network, until, step, asked: None };
    let shown = shared.keep_pending(pending, now)?;
    Ok(ok(&json!({
        "pending": *shown,
        "user": user,
        "secret": *secret,
        "uri": *uri,
        "qr": qr::modules(&uri),
        "passkeys": Party::of_host(&call.host).is_some(),
        "until": until,
    })))
}

/// Proves that the second factor is there: the invitation is used up, and its user signed in.
pub(super) async fn confirm(shared: Arc<Shared>, call: Call) -> Result<Response, Problem> {
    let (now, network, origin) = (call.now, call.network(), call.origin());
    let pending = shared.pending(call.text("pending"), network, now)?;
    let (Step::Enrol { shown, password, totp }, Some(user)) = (pending.step, pending.user) else {
        return Err(Problem::pending());
    };
    let factor = if call.body.get("passkey").is_some() {
        let (_, asked) = shared.take_asked(call.text("pending"), network, now)?;
        NewFactor::Passkey(passkeys::registered(&call, &asked)?)
    } else {
        begin(&shared, user.as_str(), network, &origin, now).await?;
        let Some(step) = totp.check(call.text("code"), now, None) else {
            failed(&shared, user.as_str(), origin, Action::SignIn, CODE).await?;
            let detail = "the code is not that of the secret";
            return Err(Problem::new(StatusCode::UNAUTHORIZED, "code", detail));
        };
        NewFactor::Totp(totp, step)
    };
    let (codes, recovery) = once::recovery_codes(&mut random()?);
    let change = Change::Enrol { user: user.clone(), shown, password, factor, recovery };
    let (own, from) = (user.clone(), origin.clone());
    let users = beside(&shared, move |shared| {
        let voice = Voice::Own { user: &own, origin: &from, action: Action::SignIn };
        Ok(shared.users.change(shared.vault(), voice, &change)?)
    });
    let users = users.await?;
    shared.forget_pending(call.text("pending"));
    let opened = {
        let mut sessions = lock(&shared.sessions);
        sessions.end_all(user.as_str());
        sessions.begin(user.as_str(), call.client(), clock::now(), &mut random()?)
    };
    lock(&shared.throttle).succeeded(user.as_str(), network);
    let codes: Vec<&str> = codes.iter().map(|code| code.as_str()).collect();
    Ok(signed_in(&users, &user, &opened, Some(&codes)))
}

/// Shows the second factor again.
pub(super) async fn step_up(shared: Arc<Shared>, call: Call) -> Result<Response, Problem> {
    let (id, network) = (call.session()?.0.clone(), call.network());
    let own = call.who()?.name.clone();
    let user = if call.body.get("passkey").is_some() {
        let (pending, asked) = shared.take_asked(call.text("pending"), network, call.now)?;
        shared.forget_pending(call.text("pending"));
        if !matches!(pending.step, Step::Again) || pending.user.as_ref() != Some(&own) {
            return Err(Problem::pending());
        }
        passkeys::prove(&shared, &call, pending.user, asked, Action::StepUp).await?
    } else {
        prove(&shared, &call, own, Action::StepUp).await?
    };
    lock(&shared.throttle).succeeded(user.as_str(), network);
    let opened = lock(&shared.sessions).step_up(&id, clock::now(), &mut random()?);
    let opened = opened.ok_or_else(Problem::sign_in)?;
    let users = beside(&shared, |shared| Ok(shared.users.users(shared.vault())?)).await?;
    Ok(signed_in(&users, &user, &opened, None))
}

/// Ends the session.
pub(super) async fn logout(shared: Arc<Shared>, call: Call) -> Result<Response, Problem> {
    lock(&shared.sessions).end(&call.session()?.0);
    let (actor, origin) = (call.who()?.actor.name.clone(), call.origin());
    let told = Outcome::Done(json!({ "change": "sign-out" }));
    beside(&shared, move |shared| shared.log_own(actor, origin, Action::SignOut, told)).await?;
    let mut response = ok(&json!({ "signed_in": false }));
    response.headers_mut().insert(SET_COOKIE, HeaderValue::from_static(NO_COOKIE));
    Ok(response)
}

/// Who one is.
pub(super) async fn me(shared: Arc<Shared>, call: Call) -> Result<Response, Problem> {
    let who = call.who()?;
    let users = beside(&shared, |shared| Ok(shared.users.users(shared.vault())?)).await?;
    let user = users.get(&who.name);
    let passkeys: Vec<_> = user
        .into_iter()
        .flat_map(User::passkeys)
        .map(|(number, passkey)| passkeys::told(number, passkey))
        .collect();
    let tokens: Vec<_> = users
        .tokens(&who.name)
        .map(|(number, token)| {
            let (label, only) = (&token.label, &token.only);
            json!({ "number": number, "label": label, "only": only, "since": token.since, "until": token.until })
        })
        .collect();
    let session = who.session.as_ref().map(|(_, session)| {
        json!({
            "begun": session.begun,
            "ends": session.begun.after(LASTS),
            // An identity provider may not have said when.
            "second_factor": Some(session.second_factor).filter(|shown| *shown != Stamp::ZERO),
            "glass_broken_until": session.glass_broken_until.filter(|until| call.now < *until),
        })
    });
    Ok(ok(&json!({
        "user": who.name,
        "roles": who.actor.roles,
        "only": who.actor.only,
        "recovery_codes": user.map(User::recovery_codes),
        "has_totp": user.is_some_and(User::has_totp),
        "passkeys": passkeys,
        // Of which name those are that work here; none where the vault is reached by an address.
        "party": Party::of_host(&call.host).map(|party| party.id),
        "tokens": tokens,
        "session": session,
        "vault": shared.vault().config.vault.name,
        "reason_codes": shared.vault().config.vault.reason_codes,
    })))
}

/// Reaches beyond the own teams and trunks for a while. The log has an alarm.
pub(super) async fn break_glass(shared: Arc<Shared>, call: Call) -> Result<Response, Problem> {
    let (grant, user) = (Arc::clone(call.grant()?), call.who()?.name.clone());
    let id = call.session()?.0.clone();
    tracing::warn!(user = user.as_str(), origin = call.origin(), alarm = true, "the glass was broken");
    let until = call.now.after(crate::archive::session::GLASS_BROKEN);
    let told = Outcome::Done(json!({ "alarm": "glass-broken", "until": until }));
    // The alarm is there before anything can be reached by it.
    beside(&shared, move |shared| {
        shared.vault().log.outcome(&grant, told).map_err(|fault| Problem::unlogged(&fault))
    })
    .await?;
    let until = lock(&shared.sessions).break_glass(&id, call.now).ok_or_else(Problem::sign_in)?;
    Ok(ok(&json!({ "glass_broken_until": until })))
}

/// Tries a second factor; it is used up, and the log has that, when this returns.
async fn prove(
    shared: &Arc<Shared>,
    call: &Call,
    user: UserName,
    action: Action,
) -> Result<UserName, Problem> {
    let (now, network, origin) = (call.now, call.network(), call.origin());
    begin(shared, user.as_str(), network, &origin, now).await?;
    let (own, code, from) = (user.clone(), call.text("code").to_owned(), origin.clone());
    let proved = beside(shared, move |shared| {
        let voice = Voice::Own { user: &own, origin: &from, action };
        let changed = shared.users.change_with(shared.vault(), voice, |users: &Users| {
            let factor = users.get(&own).and_then(|user| user.factor(&code, now));
            let factor = factor.ok_or(UsersFault::Code)?;
            Ok(Change::SignIn { user: own.clone(), factor })
        });
        Ok(changed.map(drop)?)
    });
    match proved.await {
        Ok(()) => Ok(user),
        Err(problem) => {
            if problem.kind == "code" {
                failed(shared, user.as_str(), origin, action, CODE).await?;
            } else {
                // Nothing was found wrong with the code.
                lock(&shared.throttle).passed(user.as_str(), network);
            }
            Err(problem)
        }
    }
}

/// Counts a try, where one may be made.
pub(super) async fn begin(
    shared: &Arc<Shared>,
    account: &str,
    from: Network,
    origin: &str,
    now: Stamp,
) -> Result<(), Problem> {
    let refused: Option<Wait> = {
        let mut throttle = lock(&shared.throttle);
        match throttle.check(account, from, now) {
            Ok(()) => {
                throttle.failed(account, from, now);
                None
            }
            Err(wait) => Some(wait),
        }
    };
    let Some(wait) = refused else { return Ok(()) };
    // Nobody fills the log.
    if lock(&shared.told).take(&from, now).is_ok() {
        failed(shared, account, origin.to_owned(), Action::SignIn, LOCKED).await?;
    }
    Err(Problem::wait(wait, now))
}

/// Something proved nobody, and was not counted when it began: it is now, and the log has it.
pub(super) async fn not_proved(
    shared: &Arc<Shared>,
    call: &Call,
    account: &str,
    origin: String,
    action: Action,
    what: &'static str,
) -> Result<(), Problem> {
    let (from, now) = (call.network(), call.now);
    let is_counted = {
        let mut throttle = lock(&shared.throttle);
        let is_counted = throttle.check_address(from, now).is_ok();
        if is_counted {
            throttle.failed("", from, now);
        }
        is_counted
    };
    // Nobody fills the log.
    if is_counted || lock(&shared.told).take(&from, now).is_ok() {
        failed(shared, account, origin, action, what).await?;
    }
    Ok(())
}

/// Has the log say that a try failed. It was counted when it began.
pub(super) async fn failed(
    shared: &Arc<Shared>,
    account: &str,
    origin: String,
    action: Action,
    what: &'static str,
) -> Result<(), Problem> {
    let actor = format!("user:{}", if account.is_empty() { "?" } else { account });
    beside(shared, move |shared| shared.log_own(actor, origin, action, Outcome::Failed(what.into()))).await
}

/// Hashes beside the requests: so many at once, and so many that wait.
pub(super) async fn hashing<T: Send + 'static>(
    shared: &Arc<Shared>,
    hash: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    let full = || Problem::too_many(5, "too many people are signing in: try again in a few seconds");
    let _waiting = shared.hashing_or_waiting.try_acquire().map_err(|_| full())?;
    let _hashing = shared.hashing.acquire().await.map_err(|_| full())?;
    let done = tokio::task::spawn_blocking(hash).await;
    done.map_err(|fault| Problem::fault("hashing a password", &fault))
}

pub(super) fn signed_in(users: &Users, user: &UserName, opened: &Opened, codes: Option<&[&str]>) -> Response {
    let cookie = format!("{COOKIE}={}; Path=/; Secure; HttpOnly; SameSite=Strict", *opened.id);
    let mut told = json!({
        "user": user,
        "csrf": *opened.csrf,
        "roles": users.get(user).map(|user| &user.roles),
        "idle_minutes": IDLE.as_secs() / 60,
        "hours": LASTS.as_secs() / 3_600,
        "second_factor_minutes": SECOND_FACTOR_MINUTES,
    });
    if let Some(codes) = codes {
        told["recovery_codes"] = json!(codes);
    }
    let mut response = ok(&told);
    let cookie = HeaderValue::from_str(&cookie).expect("base 64 and our own words");
    response.headers_mut().insert(SET_COOKIE, cookie);
    response
}

/// Name of the cookie: browsers take it from us alone, over TLS, for all paths (RFC 6265bis).
pub(super) const COOKIE: &str = "__Host-sejf";
const NO_COOKIE: &str = "__Host-sejf=; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=0";
/// How long somebody may take for the second factor.
pub(super) const PENDING: std::time::Duration = std::time::Duration::from_secs(5 * 60);
/// The same, for who puts it into an app for the first time.
const ENROLLING: std::time::Duration = std::time::Duration::from_secs(15 * 60);
