//! What stands before every route: who asks, from where, how often, whether they may. The log has it before the route
//! runs.
//!
//! ```text
//! Host ─► rate ─► body ─► session or token ─► Origin, CSRF ─► fields ─► decide ─log─► run
//! ```

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::body::to_bytes;
use axum::extract::Request;
use axum::http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, COOKIE as COOKIES, ORIGIN,
    REFERRER_POLICY, STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::archive::access::{Reason, Request as Asking, Role};
use crate::archive::entry::Resource;
use crate::archive::reach::{Belongs, Reach};
use crate::archive::record::RecordingId;
use crate::archive::user::Standing;
use crate::shell::clock;
use crate::shell::http::our_host;
use crate::web::call::{Call, Who};
use crate::web::desk::targets;
use crate::web::problem::Problem;
use crate::web::shared::{Shared, aside, beside, lock};
use crate::web::sign_in::COOKIE;
use crate::web::table::{Field, Kind, Route, Rule, Target};

/// Answers a request for a route; `None` is one that we have not.
pub(super) async fn serve(
    shared: Arc<Shared>,
    route: Option<&'static Route>,
    from: SocketAddr,
    request: Request,
) -> Response {
    let answered = match route {
        Some(route) => answer(shared, route, from.ip(), request).await,
        None => Err(Problem::not_found("there is no such route: see /api/v1/openapi.json")),
    };
    let mut response = answered.unwrap_or_else(Problem::into_response);
    let headers = response.headers_mut();
    for (name, value) in SECURE {
        // The page has some of its own.
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

async fn answer(
    shared: Arc<Shared>,
    route: &'static Route,
    from: IpAddr,
    request: Request,
) -> Result<Response, Problem> {
    let now = clock::now();
    let (parts, body) = request.into_parts();
    let headers = parts.headers;
    let host = our_host(&headers, &shared.names).map(str::to_owned).ok_or_else(|| {
        let detail =
            "Host names another: whoever runs the vault adds the name to `names` of [web] in vault.toml";
        Problem::new(StatusCode::MISDIRECTED_REQUEST, "host", detail)
    })?;
    lock(&shared.asked)
        .take(&from.into(), now)
        .map_err(|retry_s| Problem::too_many(retry_s, "too many requests from this address"))?;
    let params =
        route.params(parts.uri.path()).ok_or_else(|| Problem::not_found("there is no such route"))?;
    let query = query(parts.uri.query().unwrap_or_default())?;
    let body = to_bytes(body, BODY_BYTES_MAX).await.map_err(|_| {
        let detail = format!("what is sent has at most {BODY_BYTES_MAX} bytes, and comes at once");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", detail)
    })?;
    let mut call = Call {
        now,
        from,
        host: host.clone(),
        params,
        query,
        headers,
        body: Value::Null,
        who: None,
        grant: None,
        recording: None,
    };
    if !matches!(route.rule, Rule::Public | Rule::Anybody) {
        call.who = Some(identify(&shared, &call).await?);
    }
    check_origin(&call, route, &host)?;
    call.body = parse(&call.headers, &body)?;
    check_fields(route, &call)?;
    if let Rule::Action(..) = route.rule {
        grant(&shared, route, &mut call).await?;
    }
    // In a task of its own: whoever closes the connection takes this future away, and with it would go what bounds work
    // that goes on beside it, as of hashes.
    let answered = tokio::spawn((route.run)(shared, call)).await;
    answered.unwrap_or_else(|fault| Err(Problem::fault("answering", &fault)))
}

/// Who asks: by cookie or token. Roles are those of now, not of when they signed in.
async fn identify(shared: &Arc<Shared>, call: &Call) -> Result<Who, Problem> {
    let now = call.now;
    let users = beside(shared, |shared| Ok(shared.users.users(shared.vault())?)).await?;
    if let Some(shown) = call.headers.get(AUTHORIZATION) {
        let shown = shown.to_str().ok().and_then(|shown| shown.strip_prefix("Bearer "));
        let (token, user) =
            shown.and_then(|shown| users.token(shown.trim(), now)).ok_or_else(Problem::sign_in)?;
        let mut actor = user.actor(&token.user, &call.origin(), None);
        actor.name.push_str("/token");
        actor.only = Some(token.only.clone());
        return Ok(Who { name: token.user.clone(), actor, session: None });
    }
    let id = cookie(&call.headers).ok_or_else(Problem::sign_in)?;
    let session = lock(&shared.sessions).find(&id, now).ok_or_else(Problem::sign_in)?;
    let name = session.user.parse().map_err(|_| Problem::sign_in())?;
    let is_current = |user: &&crate::archive::user::User| {
        user.standing == Standing::Active && user.enrolled.is_none_or(|enrolled| enrolled <= session.begun)
    };
    let Some(user) = users.get(&name).filter(is_current) else {
        lock(&shared.sessions).end(&id);
        return Err(Problem::sign_in());
    };
    let mut actor = user.actor(&name, &call.origin(), Some(session.second_factor));
    if session.has_broken_glass(now) {
        for (_, reach) in actor.roles.iter_mut().filter(|(role, _)| HEARS.contains(role)) {
            *reach = Reach::All;
        }
        actor.origin.push_str(", glass broken");
    }
    Ok(Who { name, actor, session: Some((id, session)) })
}

/// That it is our own page which asks, and no stranger's with our user's cookie. A program with a token has no cookie to
/// be had.
fn check_origin(call: &Call, route: &Route, host: &str) -> Result<(), Problem> {
    if !route.changes() {
        return Ok(());
    }
    let refused = |detail: &str| Problem::new(StatusCode::FORBIDDEN, "origin", detail);
    let origins: Vec<_> = call.headers.get_all(ORIGIN).iter().collect();
    let is_ours = |origin: &&HeaderValue| {
        origin.to_str().ok().and_then(|origin| origin.strip_prefix("https://")) == Some(host)
    };
    if !origins.iter().all(is_ours) || origins.len() > 1 {
        return Err(refused("another page's request: Origin is to be our own address"));
    }
    let Some((_, session)) = call.who.as_ref().and_then(|who| who.session.as_ref()) else { return Ok(()) };
    if origins.is_empty() {
        return Err(refused("say Origin: our own address, https:// and what Host says"));
    }
    let shown = call.headers.get(CSRF).and_then(|shown| shown.to_str().ok()).unwrap_or_default();
    if !session.is_csrf(shown) {
        let detail = "say Sejf-CSRF: the `csrf` that came with the session";
        return Err(Problem::new(StatusCode::FORBIDDEN, "csrf", detail));
    }
    Ok(())
}

/// Has it granted, and logged.
async fn grant(shared: &Arc<Shared>, route: &'static Route, call: &mut Call) -> Result<(), Problem> {
    let Rule::Action(action, target) = route.rule else { return Ok(()) };
    let mut reason = reason(shared, &call.body)?;
    let (mut belongs, mut resource) = (None, Resource::Vault);
    match target {
        Target::Vault => {}
        Target::Recording => {
            let unknown = |_| Problem::not_found("a recording's id is a UUID, in small letters");
            let id: RecordingId = call.param("id").parse().map_err(unknown)?;
            resource = Resource::Recording(id);
            (call.recording, belongs) = recording(shared, id).await?;
        }
        Target::User => {
            let user = Some(call.param("user")).filter(|user| !user.is_empty());
            let user: Result<crate::archive::user::UserName, _> = user.unwrap_or(call.text("user")).parse();
            resource = Resource::User(user.map_err(|fault| Problem::bad(format!("`user`: {fault}")))?.into());
        }
        Target::Asked => {
            let number = call.param("number").parse();
            let number = number.map_err(|_| Problem::not_found("nothing of that number is asked"))?;
            resource = Resource::UserRequest(number);
        }
        Target::Medium => resource = Resource::Medium(medium(call)?),
        Target::Own => resource = Resource::User(call.who()?.name.to_string()),
        target if target.is_of_the_desk() => {
            let on = targets::of(shared, call, action, target).await?;
            (resource, belongs) = (on.resource, on.belongs);
            reason = on.reason.or(reason);
        }
        _ => {}
    }
    let (actor, now) = (call.who()?.actor.clone(), call.now);
    let granted = beside(shared, move |shared| {
        let asking = Asking { actor: &actor, action, resource, reason, now };
        Ok(shared.vault().log.ask_within(&asking, belongs.as_ref())?)
    });
    call.grant = Some(Arc::new(granted.await?));
    Ok(())
}

/// The number of a medium. The log has it: whatever else is there is none.
fn medium(call: &Call) -> Result<String, Problem> {
    let name = call.param("medium");
    let is_number = !name.is_empty()
        && name.len() <= MEDIUM_BYTES_MAX
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if is_number { Ok(name.to_owned()) } else { Err(Problem::not_found("the register has no such medium")) }
}

type Known =
    (Option<(crate::archive::record::Record, Option<crate::archive::details::Details>)>, Option<Belongs>);

/// What is known of a recording. One that there is not is nobody's: whoever does not reach it learns no more.
async fn recording(shared: &Arc<Shared>, id: RecordingId) -> Result<Known, Problem> {
    let shared = Arc::clone(shared);
    aside(async move { look_up(&shared, &id).await }).await
}

pub(super) async fn look_up(shared: &Shared, id: &RecordingId) -> Result<Known, Problem> {
    let Some(record) = shared.intake.catalog().get(id).await? else {
        return Ok((None, Some(Belongs::default())));
    };
    let details = match shared.intake.keys() {
        Some(ring) => match shared.intake.catalog().open_details(&*ring, id).await {
            Ok(details) => details,
            Err(fault) => {
                tracing::warn!(recording = %id, "its details do not open: {fault}");
                None
            }
        },
        None => None,
    };
    let belongs = details.as_ref().map(|details| Belongs::of(details, &shared.vault().config.teams));
    Ok((Some((record, details)), Some(belongs.unwrap_or_default())))
}

fn reason(shared: &Shared, body: &Value) -> Result<Option<Reason>, Problem> {
    let Some(reason) = body.get("reason") else { return Ok(None) };
    let text = |name: &str| reason.get(name).and_then(Value::as_str).unwrap_or_default();
    if text("code").is_empty() {
        return Ok(None);
    }
    let known = shared.vault().reason(text("code"), text("text"));
    known.map(Some).map_err(|fault| Problem::new(StatusCode::BAD_REQUEST, "reason-code", fault.to_string()))
}

fn parse(headers: &HeaderMap, bytes: &[u8]) -> Result<Value, Problem> {
    if bytes.is_empty() {
        return Ok(json!({}));
    }
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    // A form of a stranger's page cannot say so.
    if !kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json")) {
        let detail = "send JSON, and say Content-Type: application/json";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "media-type", detail));
    }
    let value: Value =
        serde_json::from_slice(bytes).map_err(|fault| Problem::bad(format!("no JSON: {fault}")))?;
    if value.is_object() { Ok(value) } else { Err(Problem::bad("send an object: {…}")) }
}

/// That what is sent is what the table has, and of its kind.
fn check_fields(route: &Route, call: &Call) -> Result<(), Problem> {
    let known = |name: &str| route.fields.iter().find(|field| field.name == name);
    // Of the page: whoever sends people to it may add what they like, and none of it is read here.
    if route.rule == Rule::Public {
        return Ok(());
    }
    let strange = |name: &str| Problem::bad(format!("`{name}` is not known here: see /api/v1/openapi.json"));
    if !route.changes() {
        for (name, value) in &call.query {
            let field = known(name).ok_or_else(|| strange(name))?;
            let more = call.query.iter().filter(|(other, _)| other == name).count();
            let is_number = value.parse::<u64>().is_ok();
            if (field.kind == Kind::Number && !is_number) || (more > 1 && field.kind != Kind::Texts) {
                return Err(wrong(field));
            }
        }
        return Ok(());
    }
    for (name, value) in call.body.as_object().into_iter().flatten() {
        let field = known(name).ok_or_else(|| strange(name))?;
        let is_texts = || value.as_array().is_some_and(|all| all.iter().all(Value::is_string));
        let is_kind = match field.kind {
            Kind::Text => value.is_string(),
            Kind::Number => value.is_u64(),
            Kind::Flag => value.is_boolean(),
            Kind::Texts => is_texts(),
            Kind::Roles | Kind::Passkey => value.is_object(),
            Kind::Reason => value.as_object().is_some_and(|reason| {
                reason
                    .iter()
                    .all(|(name, text)| ["code", "text"].contains(&name.as_str()) && text.is_string())
            }),
        };
        if !is_kind {
            return Err(wrong(field));
        }
    }
    let missing = route.fields.iter().find(|field| field.is_needed && call.body.get(field.name).is_none());
    missing.map_or(Ok(()), |field| Err(Problem::bad(format!("`{}` is missing: {}", field.name, field.about))))
}

fn wrong(field: &Field) -> Problem {
    Problem::bad(format!("`{}` is not what it should be: {}", field.name, field.about))
}

/// The session's id; nothing where there are two, of which one may be a stranger's.
fn cookie(headers: &HeaderMap) -> Option<Zeroizing<String>> {
    let all = headers.get_all(COOKIES).iter().filter_map(|value| value.to_str().ok());
    let mut ours = all.flat_map(|value| value.split(';')).filter_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        (name == COOKIE).then_some(value)
    });
    match (ours.next(), ours.next()) {
        (Some(id), None) => Some(Zeroizing::new(id.to_owned())),
        _ => None,
    }
}

/// `application/x-www-form-urlencoded`.
fn query(text: &str) -> Result<Vec<(String, String)>, Problem> {
    let mut pairs = Vec::new();
    for pair in text.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let decoded = decode(name).zip(decode(value));
        pairs.push(decoded.ok_or_else(|| Problem::bad("the query is not encoded as it should be"))?);
    }
    if pairs.len() > PAIRS_MAX { Err(Problem::bad("the query has too many parts")) } else { Ok(pairs) }
}

fn decode(text: &str) -> Option<String> {
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let Some((first, more)) = rest.split_first() {
        rest = more;
        match first {
            b'+' => bytes.push(b' '),
            b'%' => {
                let (two, more) = rest.split_at_checked(2)?;
                let two = std::str::from_utf8(two)
                    .ok()
                    .filter(|two| two.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
                bytes.push(u8::from_str_radix(two, 16).ok()?);
                rest = more;
            }
            byte => bytes.push(*byte),
        }
    }
    String::from_utf8(bytes).ok()
}

const HEARS: [Role; 2] = [Role::Reviewer, Role::Compliance];
/// Header with the token that came with the session.
pub(super) const CSRF: HeaderName = HeaderName::from_static("sejf-csrf");
const SECURE: [(HeaderName, &str); 9] = [
    (CACHE_CONTROL, "no-store"),
    (
        CONTENT_SECURITY_POLICY,
        "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("permissions-policy"), "camera=(), geolocation=(), microphone=()"),
    (REFERRER_POLICY, "no-referrer"),
    (STRICT_TRANSPORT_SECURITY, "max-age=31536000"),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (X_FRAME_OPTIONS, "DENY"),
];
/// Bytes of a request's body.
const BODY_BYTES_MAX: usize = 64 << 10;
const PAIRS_MAX: usize = 64;
const MEDIUM_BYTES_MAX: usize = 64;
