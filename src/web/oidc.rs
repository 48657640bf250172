//! Signing in by an identity provider's word.
//!
//! ```text
//! page ─► begin: state, cookie ─► provider ─► page at /oidc ─► finish: state, cookie, code ─► token ─► session, or our
//!                                                                                                 own second factor
//! ```
//!
//! The provider sends people back to the page, which asks as any page of ours does: so the session's cookie stays strict,
//! and nobody is signed in by a link of somebody else's.

use std::sync::Arc;

use axum::http::header::{COOKIE as COOKIES, SET_COOKIE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use serde_json::json;

use crate::archive::access::Action;
use crate::archive::entry::Outcome;
use crate::archive::once;
use crate::archive::passkey::Party;
use crate::archive::user::{Factor, Standing, UserName};
use crate::archive::users::Change;
use crate::base::time::Stamp;
use crate::shell::clock;
use crate::shell::vault::oidc::{OidcError, Provider, Question};
use crate::shell::vault::users::Voice;
use crate::web::call::{Call, ok};
use crate::web::problem::Problem;
use crate::web::shared::{Pending, Shared, Step, beside, lock, random};
use crate::web::sign_in::{not_proved, second_step, signed_in};

/// In which ways one signs in here.
pub(super) async fn ways(shared: Arc<Shared>, call: Call) -> Result<Response, Problem> {
    let provider = shared.provider.as_ref().map(|provider| provider.config.label().to_owned());
    Ok(ok(&json!({ "oidc": provider, "passkeys": Party::of_host(&call.host).is_some() })))
}

/// Begins: where the browser is to go.
pub(super) async fn begin(shared: Arc<Shared>, call: Call) -> Result<Response, Problem> {
    let provider = provider(&shared)?;
    let (now, mut random) = (call.now, random()?);
    let ((browser, kept), (nonce, _)) = (once::generate(&mut random), once::generate(&mut random));
    let (verifier, _) = once::generate(&mut random);
    let redirect = format!("https://{}{PAGE}", call.host);
    let mut question = Question { state: String::new(), nonce: nonce.to_string(), verifier, redirect };
    let (user, from, until) = (None, call.network(), now.after(PENDING));
    let step = Step::Oidc { question: Box::new(question.clone()), browser: kept };
    let state = shared.keep_pending(Pending { user, from, until, step, asked: None }, now)?;
    question.state = state.to_string();
    let asked = provider.authorize(&question, now).await;
    let url = asked.map_err(|fault| {
        shared.forget_pending(&state);
        Problem::from_provider(&fault)
    })?;
    let mut response = ok(&json!({ "url": url, "until": until }));
    let age = PENDING.as_secs();
    let cookie = format!("{COOKIE}={}; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age={age}", *browser);
    let cookie = HeaderValue::from_str(&cookie).expect("base 64 and our own words");
    response.headers_mut().insert(SET_COOKIE, cookie);
    Ok(response)
}

/// Goes on where the provider has sent the browser back: the session, or our own second factor where the provider does not
/// say that it has seen two.
pub(super) async fn finish(shared: Arc<Shared>, call: Call) -> Result<Response, Problem> {
    let provider = Arc::clone(provider(&shared)?);
    let (now, state) = (call.now, call.text("state"));
    let pending = shared.pending(state, call.network(), now)?;
    let Step::Oidc { question, browser } = pending.step else { return Err(Problem::pending()) };
    // Whoever was sent here with a stranger's code would act as the stranger.
    if !cookie(&call.headers).is_some_and(|shown| browser.is(shown)) {
        return Err(Problem::pending());
    }
    shared.forget_pending(state);
    // Whoever has failed too often does not have the provider asked either.
    let waits = lock(&shared.throttle).check_address(call.network(), now);
    waits.map_err(|wait| Problem::wait(wait, now))?;
    // RFC 9207: an answer that another provider has given.
    let issuer = call.text("iss");
    if !issuer.is_empty() && issuer != provider.config.issuer {
        return Err(refused(&shared, &call, "?", "the answer is another provider's").await);
    }
    let claims = match provider.redeem(call.text("code"), &question, now).await {
        Ok(claims) => claims,
        Err(fault) => {
            // That it does not answer is nobody's failure.
            if !matches!(fault, OidcError::Http { .. }) {
                not_proved(&shared, &call, "?", call.origin(), Action::SignIn, PROVIDER).await?;
            }
            return Err(Problem::from_provider(&fault));
        }
    };
    let user = match claims.user(provider.config.claim) {
        Ok(user) => user,
        Err(fault) => return Err(refused(&shared, &call, "?", &fault.to_string()).await),
    };
    let users = beside(&shared, |shared| Ok(shared.users.users(shared.vault())?)).await?;
    if users.get(&user).is_none_or(|user| user.standing != Standing::Active) {
        let detail =
            format!("the identity provider says `{user}`, and there is no such user who may sign in");
        return Err(refused(&shared, &call, user.as_str(), &detail).await);
    }
    if !claims.is_multi_factor(&provider.config.acr, &provider.config.amr) {
        let (actor, origin) = (user.actor(), call.origin());
        let told = Outcome::Done(json!({ "change": "first-factor", "factor": "oidc" }));
        beside(&shared, move |shared| shared.log_own(actor, origin, Action::SignIn, told)).await?;
        return second_step(&shared, &call, &users, user);
    }
    // Where the provider does not say when it was, it was too long ago for what takes a fresh one.
    enter(&shared, &call, user, claims.shown(now).unwrap_or(Stamp::ZERO)).await
}

async fn enter(
    shared: &Arc<Shared>,
    call: &Call,
    user: UserName,
    second_factor: Stamp,
) -> Result<Response, Problem> {
    let (own, origin) = (user.clone(), call.origin());
    let users = beside(shared, move |shared| {
        let change = Change::SignIn { user: own.clone(), factor: Factor::Provider };
        let voice = Voice::Own { user: &own, origin: &origin, action: Action::SignIn };
        Ok(shared.users.change(shared.vault(), voice, &change)?)
    })
    .await?;
    lock(&shared.throttle).succeeded(user.as_str(), call.network());
    let (client, now) = (call.client(), clock::now());
    let opened =
        lock(&shared.sessions).begin_after(user.as_str(), client, second_factor, now, &mut random()?);
    tracing::info!(user = user.as_str(), origin = call.origin(), "signed in by the identity provider");
    Ok(signed_in(&users, &user, &opened, None))
}

async fn refused(shared: &Arc<Shared>, call: &Call, account: &str, detail: &str) -> Problem {
    match not_proved(shared, call, account, call.origin(), Action::SignIn, PROVIDER).await {
        Ok(()) => Problem::new(StatusCode::FORBIDDEN, "oidc-user", detail),
        Err(problem) => problem,
    }
}

fn provider(shared: &Shared) -> Result<&Arc<Provider>, Problem> {
    let none = "there is no identity provider: whoever runs the vault names one in [web.oidc] of vault.toml";
    shared.provider.as_ref().ok_or_else(|| Problem::not_found(none))
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    let all = headers.get_all(COOKIES).iter().filter_map(|value| value.to_str().ok());
    let mut ours = all.flat_map(|value| value.split(';')).filter_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        (name == COOKIE).then_some(value)
    });
    ours.next().filter(|_| ours.next().is_none())
}

impl Problem {
    /// The provider does not answer, or its token proves nothing.
    fn from_provider(fault: &OidcError) -> Self {
        tracing::error!("{fault}");
        let detail = "the identity provider did not prove who you are: try again; whoever runs the vault finds why in its output";
        Self::new(StatusCode::BAD_GATEWAY, "oidc", detail)
    }
}

/// What failed, for the log.
const PROVIDER: &str = "identity provider";
/// Where the provider sends people back to.
pub(super) const PAGE: &str = "/oidc";
/// Of the browser that has begun.
const COOKIE: &str = "__Host-sejf-oidc";
/// How long somebody may take at the provider.
const PENDING: std::time::Duration = std::time::Duration::from_secs(10 * 60);
