//! What falls due and when, requests for destruction, certificates.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Body;
use axum::http::HeaderValue;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::Response;
use serde_json::{Value, json};

use crate::archive::certificate::{Certificate, Erased};
use crate::archive::class::{Approval, Base, Class, Period};
use crate::archive::epoch::Month;
use crate::archive::person::Person;
use crate::archive::record::RecordingId;
use crate::archive::request::{Request, What};
use crate::archive::retention::{FallsDue, Kept, WhyKept, falls_due};
use crate::base::time::Stamp;
use crate::shell::vault::catalog::Catalog;
use crate::shell::vault::destroy::preview;
use crate::shell::vault::matters::{Matters, catch_up, certificate_at, known_scope, look_at_clock};
use crate::web::call::{Call, json as answer, ok};
use crate::web::desk::{granted, inside, scope, sees_all, told_scope};
use crate::web::problem::Problem;
use crate::web::recordings::stamp;
use crate::web::shared::Shared;

/// The calendar, requests, certificates, and how a destruction goes.
pub(in crate::web) async fn overview(shared: Arc<Shared>, call: Call) -> Result<Response, Problem> {
    let actor = call.who()?.actor.clone();
    let user = Person::User(call.who()?.name.clone());
    let run = shared.desk.run_told();
    let told = inside(&shared, move |shared, runtime| {
        let (vault, catalog) = (shared.vault(), shared.intake.catalog());
        let matters = runtime.block_on(Matters::load(vault, catalog))?;
        let all = sees_all(&actor);
        let seen = matters.requests.iter().rev().filter(|one| all || one.by == user);
        let classes = &vault.config.classes;
        let requests: Vec<_> = seen.map(|one| self::told(one, approval_of(classes, one), &user)).collect();
        let doubt = look_at_clock(vault, matters.read.newest)?;
        let mut told = json!({
            "requests": requests,
            "classes": classes.iter().map(told_class).collect::<Vec<_>>(),
            "clock": match doubt {
                crate::archive::clock::ClockTrust::Trusted => None,
                crate::archive::clock::ClockTrust::Doubted(doubt) => Some(doubt.to_string()),
            },
            "limited": !all,
        });
        if all {
            told["calendar"] = runtime.block_on(calendar(catalog, classes))?;
            told["certificates"] = runtime.block_on(certificates(shared))?;
            told["run"] = run;
        }
        Ok(told)
    });
    Ok(ok(&told.await?))
}

/// How many fall due in which month, by class and by the month in which they began.
async fn calendar(catalog: &Catalog, classes: &[Class]) -> Result<Value, Problem> {
    let mut rows = Vec::new();
    for count in catalog.count_epochs().await?.into_iter().filter(|count| count.left > 0) {
        let class = classes.iter().find(|class| class.name == count.epoch.class);
        let (kind, due) = match class.map(|class| falls_due(class, &count.epoch)) {
            None => ("no-class", None),
            Some(FallsDue::NoEvent) => ("event", None),
            Some(FallsDue::Ever) => ("ever", None),
            Some(FallsDue::Between(first, last)) => ("due", Some((first, last))),
        };
        rows.push(json!({
            "class": count.epoch.class,
            "began": count.epoch.month.to_string(),
            "recordings": count.left,
            "kind": kind,
            "month": due.map(|(first, _)| Month::of(first).to_string()),
            "from": due.map(|(first, _)| first),
            "to": due.map(|(_, last)| last),
        }));
    }
    Ok(json!(rows))
}

/// The newest of them.
async fn certificates(shared: &Shared) -> Result<Value, Problem> {
    let numbers = shared.intake.catalog().certificates().await?;
    let count = numbers.len();
    let mut told = Vec::new();
    for number in numbers.into_iter().rev().take(CERTIFICATES_TOLD) {
        if let Some(certificate) = certificate_at(shared.vault(), number)? {
            told.push(json!({
                "number": number,
                "at": certificate.at,
                "by": certificate.by,
                "epoch": certificate.epoch,
                "recordings": match &certificate.erased {
                    Erased::Recordings(all) => Some(all.len()),
                    Erased::Epoch => None,
                },
                "request": certificate.authority.request,
                "reason": certificate.authority.reason,
            }));
        }
    }
    Ok(json!({ "count": count, "newest": told }))
}

fn told_class(class: &Class) -> Value {
    let period = |period: &Period| {
        let span = period.0;
        json!({
            "years": span.get_years(),
            "months": span.get_months(),
            "weeks": span.get_weeks(),
            "days": span.get_days(),
        })
    };
    json!({
        "name": class.name,
        "keep_min": period(&class.keep_min),
        "keep_max": class.keep_max.as_ref().map(period),
        "base": match class.base {
            Base::Start => "start",
            Base::End => "end",
            Base::NextYear => "next-year",
            Base::Event => "event",
        },
        "four_eyes": class.destruction == Approval::FourEyes,
        "early_erasure": class.early_erasure,
    })
}

/// What it takes: of a request that names no class, two people.
pub(super) fn approval_of(classes: &[Class], request: &Request) -> Option<Approval> {
    let named = request.scope.class.as_ref();
    let class = named.and_then(|named| classes.iter().find(|class| class.name == *named));
    class.map(|class| class.destruction)
}

/// A request, as `user` sees it.
pub(super) fn told(request: &Request, approval: Option<Approval>, user: &Person) -> Value {
    let state = match (&request.withdrawn, &request.agreed) {
        (Some(_), _) => "withdrawn",
        (None, Some(_)) => "agreed",
        (None, None) => "asked",
    };
    json!({
        "number": request.number,
        "by": request.by,
        "at": request.at,
        "scope": told_scope(&request.scope),
        "what": request.what,
        "due_by": request.due_by,
        "reason": request.reason,
        "state": state,
        "agreed": request.agreed.as_ref().map(|agreed| json!({ "by": agreed.by, "at": agreed.at })),
        "withdrawn": request.withdrawn,
        "own": request.by.is(user),
        "cools_off": approval == Some(Approval::CoolingOff),
    })
}

/// What would be destroyed now, and why the rest would not. Changes nothing.
pub(in crate::web) async fn look(shared: Arc<Shared>, call: Call) -> Result<Response, Problem> {
    let (actor, now) = (call.who()?.actor.clone(), call.now);
    if !sees_all(&actor) {
        return Ok(ok(&json!({ "limited": true })));
    }
    let busy = |_| Problem::too_many(10, "somebody looks through all recordings just now");
    let _alone = shared.desk.looking.try_acquire().map_err(busy)?;
    let told = inside(&shared, move |shared, runtime| {
        let (vault, catalog) = (shared.vault(), shared.intake.catalog());
        let mut kept = BTreeMap::<(&str, String), (u64, Vec<RecordingId>)>::new();
        let mut each = |one: &Kept| {
            let (code, detail) = kind(&one.why);
            let (count, some) = kept.entry((code, detail)).or_default();
            *count += 1;
            if some.len() < IDS_TOLD_MAX {
                some.push(one.id);
            }
        };
        let found = runtime.block_on(async {
            let newest = catch_up(vault, catalog).await?.newest;
            preview(vault, catalog, now, look_at_clock(vault, newest)?, &mut each).await
        })?;
        let mut purges = BTreeMap::<u64, (u64, Vec<RecordingId>)>::new();
        for purge in &found.purges {
            let (count, some) = purges.entry(purge.request()).or_default();
            *count += 1;
            if some.len() < IDS_TOLD_MAX {
                some.push(purge.id());
            }
        }
        let epochs: Vec<_> = found.epochs.iter().map(|epoch| epoch.epoch().to_string()).collect();
        let purges = purges
            .into_iter()
            .map(|(request, (count, some))| json!({ "request": request, "recordings": count, "some": some }));
        let kept = kept.into_iter().map(|((code, detail), (count, some))| {
            json!({ "kept": code, "detail": detail, "recordings": count, "some": some })
        });
        Ok(json!({
            "at": now,
            "destroyed": found.purges.len(),
            "by_request": purges.collect::<Vec<_>>(),
            "epochs": epochs,
            "kept": kept.collect::<Vec<_>>(),
        }))
    });
    Ok(ok(&told.await?))
}

/// What a reason is a case of, and which hold, request or class it names.
pub(super) fn kind(why: &WhyKept) -> (&'static str, String) {
    let none = String::new();
    match why {
        WhyKept::Clock(doubt) => ("clock", doubt.to_string()),
        WhyKept::Staged => ("staged", none),
        WhyKept::NothingRecorded => ("nothing-recorded", none),
        WhyKept::Destroyed => ("destroyed", none),
        WhyKept::NoClass(class) => ("no-class", class.to_string()),
        WhyKept::Held(hold) => ("held", hold.to_string()),
        WhyKept::NoEvent => ("no-event", none),
        WhyKept::KeepMin(_) => ("keep-min", none),
        WhyKept::Ever => ("ever", none),
        WhyKept::NotDue(_) => ("not-due", none),
        WhyKept::Unasked(_) => ("unasked", none),
        WhyKept::AwaitsApproval(number) => ("awaits-approval", number.to_string()),
        WhyKept::CoolsOff { request, .. } => ("cools-off", request.to_string()),
        WhyKept::HasRecordings(_) | WhyKept::HasStaged(_) => ("in-use", none),
    }
}

/// Asks for destruction.
pub(in crate::web) async fn ask(shared: Arc<Shared>, call: Call) -> Result<Response, Problem> {
    let scope = scope(&call.body)?;
    let what: What = match call.text("what") {
        "" | "due" => What::Due,
        "unneeded" => What::Unneeded,
        "erasure" => What::Erasure,
        _ => return Err(Problem::bad("`what` is due, unneeded or erasure")),
    };
    let is_standing = call.body.get("standing") == Some(&json!(true));
    let due_by: Option<Stamp> = match call.text("due_by") {
        "" if is_standing => None,
        "" => Some(call.now),
        _ if is_standing => return Err(Problem::bad("say `due_by` or `standing`, and not both")),
        text => Some(stamp("due_by", text)?),
    };
    let done = granted(&shared, &call, move |shared, runtime, speaker| {
        runtime.block_on(async {
            let (vault, catalog) = (shared.vault(), shared.intake.catalog());
            let scope = known_scope(vault, catalog, scope).await?;
            let number = speaker.ask_destruction(vault, catalog, &scope, what, due_by).await?;
            let count = catalog.count_covered(&scope).await?;
            Ok(json!({ "number": number, "recordings": count, "waits_for": "a second person" }))
        })
    });
    Ok(answer(StatusCode::ACCEPTED, &done.await?))
}

/// Agrees to what another has asked for.
pub(in crate::web) async fn approve(shared: Arc<Shared>, call: Call) -> Result<Response, Problem> {
    let number = number(&call)?;
    let by = granted(&shared, &call, move |shared, runtime, speaker| {
        Ok(runtime.block_on(speaker.approve(shared.vault(), shared.intake.catalog(), number))?)
    });
    Ok(ok(&json!({ "number": number, "agreed_by": by.await? })))
}

/// Takes a request back.
pub(in crate::web) async fn withdraw(shared: Arc<Shared>, call: Call) -> Result<Response, Problem> {
    let number = number(&call)?;
    granted(&shared, &call, move |shared, runtime, speaker| {
        Ok(runtime.block_on(speaker.withdraw(shared.vault(), shared.intake.catalog(), number))?)
    })
    .await?;
    Ok(ok(&json!({ "number": number, "withdrawn": true })))
}

/// A certificate: as JSON, as a signed note or as a page, which a browser keeps and does not show.
pub(in crate::web) async fn certificate(shared: Arc<Shared>, call: Call) -> Result<Response, Problem> {
    let none = || Problem::not_found("the log has no certificate of that number");
    let (number, actor) = (number(&call)?, call.who()?.actor.clone());
    if !sees_all(&actor) {
        return Err(none());
    }
    let form = call.param("form").to_owned();
    let made = inside(&shared, move |shared, _| {
        let vault = shared.vault();
        let certificate: Certificate = certificate_at(vault, number)?.ok_or_else(none)?;
        Ok(match form.as_str() {
            "json" => ("application/json", json!({ "certificate": certificate }).to_string()),
            "note" => {
                let note = vault.signer().sign_statement(&certificate.to_text());
                ("text/plain; charset=utf-8", note.map_err(|fault| Problem::fault("signing", &fault))?)
            }
            "html" => ("text/html; charset=utf-8", certificate.to_html(number)),
            _ => return Err(Problem::not_found("a certificate comes as json, note or html")),
        })
    });
    let (kind, text) = made.await?;
    let mut response = Response::new(Body::from(text));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    if kind != "application/json" {
        let end = if kind.starts_with("text/html") { "html" } else { "note" };
        let name = format!("attachment; filename=\"certificate-{number:08}.{end}\"");
        headers.extend(HeaderValue::from_str(&name).ok().map(|name| (CONTENT_DISPOSITION, name)));
    }
    Ok(response)
}

fn number(call: &Call) -> Result<u64, Problem> {
    call.param("number").parse().map_err(|_| Problem::not_found("nothing of that number is there"))
}

const CERTIFICATES_TOLD: usize = 100;
/// Recordings that stand for those of one reason.
const IDS_TOLD_MAX: usize = 20;
