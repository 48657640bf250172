//! Passkeys: what is asked of them, and what their answers do.
//!
//! There is nothing to guess about a passkey, so its owner is never locked out: what fails counts for the address alone,
//! and what is right is let in whatever failed there before.

use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::Response;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::archive::access::Action;
use crate::archive::passkey::{Assertion, Challenge, Party, Passkey, PasskeyFault, Registration};
use crate::archive::public_key::Base64Url;
use crate::archive::user::{Factor, User, UserName};
use crate::archive::users::{Change, Users, UsersFault};
use crate::base::time::Stamp;
use crate::seal::random::Randomness;
use crate::shell::vault::users::{UsersError, Voice};
use crate::web::call::{Call, json as answer, ok};
use crate::web::people::granted;
use crate::web::problem::Problem;
use crate::web::recall::PASSKEY;
use crate::web::shared::{Asked, Pending, Shared, Step, beside, lock, random};
use crate::web::sign_in::{PENDING, not_proved};

/// What is asked of the passkeys that somebody has here; nothing where they have none.
pub(super) fn ask(call: &Call, user: &User) -> Result<Option<(Asked, Value)>, Problem> {
    let Some(party) = Party::of_host(&call.host) else { return Ok(None) };
    let passkeys: Vec<_> =
        user.good_passkeys().into_iter().filter(|passkey| passkey.party == party.id).collect();
    if passkeys.is_empty() {
        return Ok(None);
    }
    let challenge = Challenge::generate(&mut random()?, call.now);
    let options = Passkey::request(&challenge, &party, &passkeys);
    let handle = Base64Url::default();
    Ok(Some((Asked { challenge, party, handle }, options)))
}

/// Begins to sign in with a passkey alone: it says whose it is, and it knows who uses it.
pub(super) async fn begin(shared: Arc<Shared>, call: Call) -> Result<Response, Problem> {
    let party = party(&call)?;
    let challenge = Challenge::generate(&mut random()?, call.now);
    let options = Passkey::request(&challenge, &party, &[]);
    let asked = Asked { challenge, party, handle: Base64Url::default() };
    pending(&shared, &call, None, Step::SignIn, (asked, options))
}

/// Begins to show a passkey again.
pub(super) async fn begin_step_up(shared: Arc<Shared>, call: Call) -> Result<Response, Problem> {
    let own = call.session().and(call.who())?.name.clone();
    let users = beside(&shared, |shared| Ok(shared.users.users(shared.vault())?)).await?;
    let asked = users.get(&own).map(|user| ask(&call, user)).transpose()?.flatten();
    let asked = asked.ok_or_else(|| Problem::not_found("you have no passkey for this name of the vault"))?;
    pending(&shared, &call, Some(own), Step::Again, asked)
}

/// Begins to add a passkey.
pub(super) async fn begin_adding(shared: Arc<Shared>, call: Call) -> Result<Response, Problem> {
    let own = call.session().and(call.who())?.name.clone();
    let users = beside(&shared, |shared| Ok(shared.users.users(shared.vault())?)).await?;
    let user = users.get(&own).ok_or_else(Problem::sign_in)?;
    let made = creation(&shared, &call, &own, Some(user))?;
    pending(&shared, &call, Some(own), Step::AddPasskey, made)
}

/// Begins to enrol with a passkey instead of an app: to be asked again where the last question is too old.
pub(super) async fn begin_enrolling(shared: Arc<Shared>, call: Call) -> Result<Response, Problem> {
    let shown = call.text("pending");
    let pending = shared.pending(shown, call.network(), call.now)?;
    let (Step::Enrol { .. }, Some(user)) = (pending.step, pending.user) else {
        return Err(Problem::pending());
    };
    let (asked, options) = creation(&shared, &call, &user, None)?;
    let until = asked.challenge.until();
    shared.ask_again(shown, asked)?;
    Ok(ok(&json!({ "pending": shown, "passkey": options, "until": until })))
}

/// Adds the passkey that was made.
pub(super) async fn add(shared: Arc<Shared>, call: Call) -> Result<Response, Problem> {
    let own = call.who()?.name.clone();
    let (pending, asked) = shared.take_asked(call.text("pending"), call.network(), call.now)?;
    if !matches!(pending.step, Step::AddPasskey) || pending.user.as_ref() != Some(&own) {
        return Err(Problem::pending());
    }
    shared.forget_pending(call.text("pending"));
    let change = Change::AddPasskey { user: own, passkey: registered(&call, &asked)? };
    let number =
        granted(&shared, &call, move |users: &Users| Ok((change, users.next_number()).into())).await?;
    Ok(answer(StatusCode::CREATED, &json!({ "number": number })))
}

/// Takes one away.
pub(super) async fn remove(shared: Arc<Shared>, call: Call) -> Result<Response, Problem> {
    let user = call.who()?.name.clone();
    let number: u64 =
        call.param("number").parse().map_err(|_| Problem::not_found("there is no such passkey of yours"))?;
    let change = Change::RemovePasskey { user, number };
    granted(&shared, &call, move |_| Ok((change, ()).into())).await?;
    Ok(ok(&json!({ "number": number, "removed": true })))
}

/// A passkey that was made just now, by what the browser has sent of it.
pub(super) fn registered(call: &Call, asked: &Asked) -> Result<Passkey, Problem> {
    let made: Registration = sent(call)?;
    let name = match call.text("name").trim() {
        "" => "passkey",
        name => name,
    };
    let question = (&asked.challenge, &asked.party);
    let made = Passkey::register(&made, question, name, &asked.handle, call.now);
    made.map_err(|fault| UsersFault::Passkey(fault).into())
}

/// For who looks at their account.
pub(super) fn told(number: u64, passkey: &Passkey) -> Value {
    json!({
        "number": number,
        "name": passkey.name,
        "since": passkey.since,
        "used": passkey.used,
        "party": passkey.party,
        "synced": passkey.is_synced,
        "blocked": passkey.blocked,
    })
}

/// Tries what a passkey has answered: its counter is kept, and the log has it, when this returns. Where nobody is named
/// it stands alone, and says whose it is.
pub(super) async fn prove(
    shared: &Arc<Shared>,
    call: &Call,
    named: Option<UserName>,
    asked: Asked,
    action: Action,
) -> Result<UserName, Problem> {
    let (now, origin, shown) = (call.now, call.origin(), sent::<Assertion>(call)?);
    let (from, is_alone) = (origin.clone(), named.is_none());
    let proved = beside(shared, move |shared| {
        let users = shared.users.users(shared.vault())?;
        let whose = users.passkey(&shown.id).map(|(name, ..)| name.clone());
        let Some(own) = whose.filter(|whose| named.as_ref().is_none_or(|named| named == whose)) else {
            return Ok(Err((named, PasskeyFault::Unknown)));
        };
        let voice = Voice::Own { user: &own, origin: &from, action };
        let changed = shared.users.change_with(shared.vault(), voice, |users: &Users| {
            let (_, _, number, passkey) = users.passkey(&shown.id).ok_or(PasskeyFault::Unknown)?;
            let shown = passkey.check(&shown, (&asked.challenge, &asked.party), is_alone, now)?;
            Ok(Change::SignIn { user: own.clone(), factor: Factor::Passkey(number, shown) })
        });
        match changed {
            Ok(_) => Ok(Ok(own)),
            Err(UsersError::Fault(UsersFault::Passkey(fault))) => {
                if fault == PasskeyFault::Copied {
                    block(shared, &own, &from, &shown)?;
                }
                Ok(Err((Some(own), fault)))
            }
            Err(error) => Err(error.into()),
        }
    });
    match proved.await? {
        Ok(user) => Ok(user),
        Err((whose, fault)) => {
            let account = whose.as_ref().map_or("?", UserName::as_str);
            not_proved(shared, call, account, origin, action, PASSKEY).await?;
            Err(UsersFault::Passkey(fault).into())
        }
    }
}

/// Its counter went back: whoever has the copy is not let in either.
fn block(shared: &Shared, user: &UserName, origin: &str, shown: &Assertion) -> Result<(), Problem> {
    tracing::warn!(
        user = user.as_str(),
        origin,
        alarm = true,
        "there may be a copy of a passkey: it is blocked"
    );
    let voice = Voice::Own { user, origin, action: Action::ChangeOwn };
    let changed = shared.users.change_with(shared.vault(), voice, |users: &Users| {
        let (_, _, number, _) = users.passkey(&shown.id).ok_or(PasskeyFault::Unknown)?;
        Ok(Change::BlockPasskey { user: user.clone(), number })
    });
    changed?;
    // Of their sessions nobody knows which are the copy's.
    lock(&shared.sessions).end_all(user.as_str());
    lock(&shared.pending).retain(|_, one| one.user.as_ref() != Some(user));
    Ok(())
}

fn creation(
    shared: &Shared,
    call: &Call,
    name: &UserName,
    user: Option<&User>,
) -> Result<(Asked, Value), Problem> {
    let (party, mut random) = (party(call)?, random()?);
    let handle = user.and_then(User::handle).cloned().unwrap_or_else(|| {
        let mut bytes = vec![0; 32];
        random.fill(&mut bytes);
        Base64Url(bytes)
    });
    let others: Vec<_> = user.into_iter().flat_map(User::passkeys).map(|(_, passkey)| passkey).collect();
    let challenge = Challenge::generate(&mut random, call.now);
    let (vault, whom) = (&shared.vault().config.vault.name, (name.as_str(), &handle));
    let options = Passkey::creation(&challenge, &party, vault, whom, &others);
    Ok((Asked { challenge, party, handle }, options))
}

fn pending(
    shared: &Shared,
    call: &Call,
    user: Option<UserName>,
    step: Step,
    (asked, options): (Asked, Value),
) -> Result<Response, Problem> {
    let until: Stamp = call.now.after(PENDING);
    let pending = Pending { user, from: call.network(), until, step, asked: Some(asked) };
    let shown = shared.keep_pending(pending, call.now)?;
    Ok(ok(&json!({ "pending": *shown, "passkey": options, "until": until })))
}

fn party(call: &Call) -> Result<Party, Problem> {
    Party::of_host(&call.host).ok_or_else(|| {
        let detail =
            "passkeys are for names: reach the vault by one, as localhost or one of `names` of [web]";
        Problem::new(StatusCode::CONFLICT, "passkey-name", detail)
    })
}

fn sent<T: DeserializeOwned>(call: &Call) -> Result<T, Problem> {
    let sent = call.body.get("passkey").cloned().unwrap_or_default();
    serde_json::from_value(sent)
        .map_err(|_| Problem::bad("`passkey` is what PublicKeyCredential.toJSON() gives"))
}
