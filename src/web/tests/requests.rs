//! What stands before the routes: strangers' pages, strange requests, full logs.

use std::collections::BTreeSet;

use axum::body::Body;
use axum::extract::Request;
use axum::http::StatusCode;
use serde_json::{Value, json};

use super::{Browser, HOST, PASSWORD, World, kind, request, roles, route, told, wait};
use crate::archive::access::{Action, Role};
use crate::archive::entry::Outcome;
use crate::archive::reach::Reach;
use crate::archive::search::Cursor;
use crate::archive::throttle::FAILURES_MAX;
use crate::archive::totp;
use crate::shell::clock;
use crate::web::openapi;
use crate::web::recall::{self, NAME_OR_PASSWORD};
use crate::web::shared::{ASKED_MAX, ASKED_SECONDS};
use crate::web::table::{ROUTES, Rule};

fn code(secret: &totp::Secret) -> String {
    format!("{:06}", secret.code(totp::step(clock::now())))
}

async fn first(world: &World, password: &str) -> (StatusCode, Value) {
    let body = json!({ "user": "rita", "password": password });
    world.ask("login", "/api/v1/login", None, &body).await
}

async fn second(world: &World, pending: &Value, code: &str) -> (StatusCode, Value) {
    let body = json!({ "pending": pending, "code": code });
    world.ask("loginFactor", "/api/v1/login/factor", None, &body).await
}

#[test]
fn a_strangers_page_does_nothing_with_our_users_cookie() {
    wait(async {
        let world = World::new().await;
        world.user("ada", roles(Role::Admin, Reach::All));
        let browser = world.browser("ada", 0);
        let body = json!({ "user": "new", "reason": { "code": "audit" } });
        let path = "/api/v1/users";
        let with = |change: &dyn Fn(&mut axum::http::HeaderMap)| {
            let mut request = request(route("addUser"), path, Some(&browser), &body);
            change(request.headers_mut());
            request
        };
        let value = |text: &str| text.parse::<axum::http::HeaderValue>().unwrap();
        let evil = "https://evil.example";
        for (expected, request) in [
            ("origin", with(&|headers| drop(headers.insert("origin", value(evil))))),
            ("origin", with(&|headers| _ = headers.append("origin", value(evil)))),
            ("origin", with(&|headers| drop(headers.insert("origin", value("null"))))),
            ("origin", with(&|headers| drop(headers.insert("origin", value("http://localhost:8443"))))),
            ("origin", with(&|headers| drop(headers.insert("origin", value("https://localhost:1"))))),
            ("origin", with(&|headers| drop(headers.remove("origin")))),
            ("csrf", with(&|headers| drop(headers.remove("sejf-csrf")))),
            ("csrf", with(&|headers| drop(headers.insert("sejf-csrf", value("x"))))),
            ("media-type", with(&|headers| drop(headers.insert("content-type", value("text/plain"))))),
            ("host", with(&|headers| drop(headers.insert("host", value("evil.example"))))),
            ("host", with(&|headers| drop(headers.insert("host", value("localhost.evil.example:8443"))))),
            ("host", with(&|headers| _ = headers.append("host", value(HOST)))),
            ("host", with(&|headers| drop(headers.remove("host")))),
            ("sign-in", with(&|headers| _ = headers.append("cookie", value("__Host-sejf=x")))),
            ("sign-in", with(&|headers| drop(headers.insert("cookie", value("sejf=x"))))),
        ] {
            let (_, answer) = told(world.send(route("addUser"), request).await).await;
            assert_eq!(kind(&answer), expected, "{answer}");
        }
        // Also where nobody has signed in yet: who is signed in by a stranger does not see it.
        let mut login =
            request(route("login"), "/api/v1/login", None, &json!({ "user": "x", "password": "y" }));
        login.headers_mut().insert("origin", value(evil));
        let (_, answer) = told(world.send(route("login"), login).await).await;
        assert_eq!(kind(&answer), "origin");
        let (status, _) = world.ask("addUser", path, Some(&browser), &body).await;
        assert_eq!(status, StatusCode::CREATED, "and with all of it, it is done");
    });
}

#[test]
fn strange_requests_are_refused_and_nothing_ends_by_them() {
    wait(async {
        let world = World::new().await;
        world.user("rita", roles(Role::Reviewer, Reach::All));
        let browser = world.browser("rita", 0);
        let recording = format!("/api/v1/recordings/{}", world.own);
        for (id, path) in [
            ("search", "/api/v1/recordings?limit=0"),
            ("search", "/api/v1/recordings?limit=x"),
            ("search", "/api/v1/recordings?limit=1&limit=2"),
            ("search", "/api/v1/recordings?sql=1"),
            ("search", "/api/v1/recordings?from=yesterday"),
            ("search", "/api/v1/recordings?party=%zz"),
            ("search", "/api/v1/recordings?party=%"),
            ("search", "/api/v1/recordings?party=%ff%fe"),
            ("search", "/api/v1/recordings?party="),
            ("search", "/api/v1/recordings?after=../.."),
            ("search", "/api/v1/recordings?state=gone"),
            ("search", "/api/v1/recordings?class=A%20b"),
            ("recording", "/api/v1/recordings/..%2f..%2fetc"),
            ("recording", "/api/v1/recordings/0193C4A5-0000-7000-8000-000000000001"),
            ("sound", "/api/v1/plays/x/99999999999999999999"),
        ] {
            let (status, answer) = world.ask(id, path, Some(&browser), &Value::Null).await;
            assert!(["request", "not-found"].contains(&kind(&answer)), "{path}: {status} {answer}");
        }
        let plays = format!("{recording}/plays");
        for body in
            ["[]", "{", "1", "\"x\"", "{\"reason\":1}", "{\"reason\":{\"code\":1}}", "{\"more\":1}", "\u{0}"]
        {
            let mut request = request(route("play"), &plays, Some(&browser), &json!({}));
            *request.body_mut() = Body::from(body);
            let (_, answer) = told(world.send(route("play"), request).await).await;
            assert_eq!(kind(&answer), "request", "{body}");
        }
        let strange = json!({ "reason": { "code": "because" } });
        let (_, answer) = world.ask("play", &plays, Some(&browser), &strange).await;
        assert_eq!(kind(&answer), "reason-code");
        let long = json!({ "reason": { "code": "quality", "text": "x".repeat(1_025) } });
        let (_, answer) = world.ask("play", &plays, Some(&browser), &long).await;
        assert_eq!(kind(&answer), "reason-code");
        let mut large = request(route("play"), &plays, Some(&browser), &json!({}));
        *large.body_mut() = Body::from(vec![b' '; 64 * 1_024 + 1]);
        let (status, _) = told(world.send(route("play"), large).await).await;
        assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
        let found =
            world.ask("search", "/api/v1/recordings?party=%2B4822*", Some(&browser), &Value::Null).await;
        assert_eq!(found.1["recordings"].as_array().unwrap().len(), 2);
    });
}

#[test]
fn who_is_nobody_and_who_is_wrong_are_answered_alike_and_five_times() {
    wait(async {
        let world = World::new().await;
        let secret = world.user("rita", roles(Role::Reviewer, Reach::All));
        let body = json!({ "user": "nobody", "password": PASSWORD });
        let (status, nobody) = world.ask("login", "/api/v1/login", None, &body).await;
        let (same, wrong) = first(&world, "wrong horse battery").await;
        assert_eq!((status, &nobody), (same, &wrong));
        assert_eq!((status, kind(&wrong)), (StatusCode::UNAUTHORIZED, "credentials"));
        // The password alone is no way in, and a code counts once.
        let (_, pending) = first(&world, PASSWORD).await;
        let (_, answer) = second(&world, &pending["pending"], "000000").await;
        assert_eq!(kind(&answer), "code");
        let now = code(&secret);
        let (status, signed_in) = second(&world, &pending["pending"], &now).await;
        assert_eq!(status, StatusCode::OK, "{signed_in}");
        assert!(signed_in["csrf"].as_str().is_some_and(|csrf| csrf.len() == 43));
        let (_, again) = second(&world, &pending["pending"], &now).await;
        assert_eq!(kind(&again), "pending", "what was pending is not any more");
        let (_, pending) = first(&world, PASSWORD).await;
        let (_, replayed) = second(&world, &pending["pending"], &now).await;
        assert_eq!(kind(&replayed), "code");
        let mut refused = 0;
        for _ in 0..20 {
            refused += u32::from(kind(&first(&world, "wrong horse battery").await.1) == "too-many");
        }
        assert!(refused >= 20 - FAILURES_MAX, "{refused}");
        let (status, _) = first(&world, PASSWORD).await;
        assert_eq!(status, StatusCode::TOO_MANY_REQUESTS, "right, and too late");
        let (entries, _) = world.shared.vault().log.read_from(0, 1_000).unwrap();
        let texts: Vec<_> = entries.iter().map(|entry| String::from_utf8_lossy(entry).into_owned()).collect();
        let count = |what: &str| texts.iter().filter(|text| text.contains(what)).count();
        assert!(count(r#""failed":"name or password""#) >= 2 && count(r#""failed":"code""#) == 2);
        assert_eq!(count("too many failures"), 1, "nobody fills the log");
        assert!(
            texts
                .iter()
                .all(|text| !text.contains(PASSWORD) && !text.contains("horse") && !text.contains(&now))
        );
    });
}

/// Each hash takes its memory: so many at once, so many that wait, and nobody is locked out by it.
#[test]
fn passwords_are_hashed_so_many_at_once() {
    wait(async {
        let world = World::new().await;
        world.user("rita", roles(Role::Reviewer, Reach::All));
        let all = world.shared.hashing_or_waiting.available_permits();
        assert!(world.shared.hashing.available_permits() < all);
        let held = world.shared.hashing_or_waiting.try_acquire_many(u32::try_from(all).unwrap()).unwrap();
        for _ in 0..3 * FAILURES_MAX {
            let (status, answer) = first(&world, PASSWORD).await;
            assert_eq!((status, kind(&answer)), (StatusCode::TOO_MANY_REQUESTS, "too-many"));
        }
        drop(held);
        assert_eq!(first(&world, PASSWORD).await.0, StatusCode::OK);
    });
}

/// Of others' recordings it is not said that there are any, nor when.
#[test]
fn a_page_goes_on_from_nothing_that_is_anothers() {
    wait(async {
        let world = World::new().await;
        let ids = world.take_in(&[(3, "jana"), (4, "ola"), (5, "ola"), (6, "jana")]).await;
        let many: Vec<_> = (7..30).map(|number| (number, "ola")).collect();
        world.take_in(&many).await;
        let sales = Reach::of(["sales".to_owned()], []);
        world.user("rita", roles(Role::Reviewer, sales));
        world.user("ewa", roles(Role::Reviewer, Reach::All));
        let browser = world.browser("rita", 0);
        let ask = async |path: &str| world.ask("search", path, Some(&browser), &Value::Null).await.1;
        let mut path = "/api/v1/recordings?limit=1".to_owned();
        for (at, own) in [ids[3], ids[0], world.own].into_iter().enumerate() {
            let page = ask(&path).await;
            assert_eq!(page["recordings"].as_array().unwrap().len(), 1, "{page}");
            assert_eq!(page["recordings"][0]["id"], own.to_string());
            let Some(next) = page["next"].as_str() else {
                assert_eq!(at, 2, "{page}");
                continue;
            };
            assert!(next.parse::<Cursor>().is_err(), "it says where it is: {next}");
            path = format!("/api/v1/recordings?limit=1&after={next}");
        }
        let all = world.browser("ewa", 0);
        let (_, answer) = world.ask("search", &path, Some(&all), &Value::Null).await;
        assert_eq!(kind(&answer), "request", "another's place");
        let (_, page) = world.ask("search", "/api/v1/recordings?limit=1", Some(&all), &Value::Null).await;
        assert!(page["next"].as_str().unwrap().parse::<Cursor>().is_ok(), "{page}");
    });
}

/// Whoever asks and goes away takes as much of what is bounded as whoever stays.
#[test]
fn a_connection_that_is_closed_frees_nothing_of_what_goes_on() {
    wait(async {
        let world = std::rc::Rc::new(World::new().await);
        let all = world.shared.hashing_or_waiting.available_permits();
        let shared = std::sync::Arc::clone(&world.shared);
        let hashing = u32::try_from(shared.hashing.available_permits()).unwrap();
        let held = shared.hashing.acquire_many(hashing).await.unwrap();
        let local = tokio::task::LocalSet::new();
        let asking = std::rc::Rc::clone(&world);
        let asked = local.spawn_local(async move { first(&asking, PASSWORD).await });
        let waits = async {
            while world.shared.hashing_or_waiting.available_permits() == all {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        local.run_until(waits).await;
        asked.abort();
        assert!(local.run_until(asked).await.unwrap_err().is_cancelled());
        assert_eq!(world.shared.hashing_or_waiting.available_permits(), all - 1);
        drop(held);
        while world.shared.hashing_or_waiting.available_permits() < all {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    });
}

#[test]
fn a_vault_that_starts_again_gives_nobody_more_tries() {
    wait(async {
        let world = World::new().await;
        let secret = world.user("rita", roles(Role::Reviewer, Reach::All));
        let (_, pending) = first(&world, PASSWORD).await;
        let (status, _) = second(&world, &pending["pending"], &code(&secret)).await;
        assert_eq!(status, StatusCode::OK);
        let vault = world.shared.vault();
        let elsewhere = std::net::IpAddr::from([198, 51, 100, 1]).into();
        for _ in 0..FAILURES_MAX {
            let (actor, origin) = ("user:rita".to_owned(), "198.51.100.1".to_owned());
            let outcome = Outcome::Failed(NAME_OR_PASSWORD.into());
            world.shared.log_own(actor, origin, Action::SignIn, outcome).unwrap();
        }
        let now = clock::now();
        let throttle = recall::failures(vault, now).unwrap();
        assert!(
            throttle.check("rita", elsewhere, now).is_err()
                && throttle.check_address(elsewhere, now).is_err()
        );
        // Where she has signed in herself she still does.
        assert_eq!(throttle.check("rita", super::here().ip().into(), now), Ok(()));
        let later = now.after(crate::archive::throttle::LOCKED);
        assert_eq!(recall::failures(vault, later).unwrap().check("rita", elsewhere, later), Ok(()));
    });
}

#[test]
fn who_was_given_a_session_has_another_after_the_second_factor() {
    wait(async {
        let world = World::new().await;
        let secret = world.user("rita", roles(Role::Reviewer, Reach::All));
        let old = world.browser("rita", 301);
        let route_of = route("stepUp");
        let stepped = request(route_of, "/api/v1/step-up", Some(&old), &json!({ "code": code(&secret) }));
        let response = world.send(route_of, stepped).await;
        let cookie = response.headers()["set-cookie"].to_str().unwrap().to_owned();
        for word in ["__Host-sejf=", "Path=/", "Secure", "HttpOnly", "SameSite=Strict"] {
            assert!(cookie.contains(word), "{cookie}");
        }
        let id = cookie.trim_start_matches("__Host-sejf=").split(';').next().unwrap().to_owned();
        let (_, told) = told(response).await;
        let new = Browser { id, csrf: told["csrf"].as_str().unwrap().into() };
        let (_, answer) = world.ask("me", "/api/v1/me", Some(&old), &Value::Null).await;
        assert_eq!(kind(&answer), "sign-in");
        let plays = format!("/api/v1/recordings/{}/plays", world.own);
        let reason = json!({ "reason": { "code": "quality" } });
        let (status, _) = world.ask("play", &plays, Some(&new), &reason).await;
        assert_eq!(status, StatusCode::CREATED);
        let (status, _) = world.ask("logout", "/api/v1/logout", Some(&new), &json!({})).await;
        assert_eq!(status, StatusCode::OK);
        let (_, answer) = world.ask("me", "/api/v1/me", Some(&new), &Value::Null).await;
        assert_eq!(kind(&answer), "sign-in");
    });
}

#[test]
fn a_search_shows_what_is_within_reach() {
    wait(async {
        let world = World::new().await;
        world.user("rita", roles(Role::Reviewer, Reach::of(["sales".to_owned()], [])));
        world.user("cora", roles(Role::Compliance, Reach::All));
        let found = async |user: &str| {
            let browser = world.browser(user, 0);
            let (_, answer) = world.ask("search", "/api/v1/recordings", Some(&browser), &Value::Null).await;
            let ids = answer["recordings"].as_array().unwrap().iter();
            ids.map(|one| one["id"].as_str().unwrap().to_owned()).collect::<BTreeSet<_>>()
        };
        assert_eq!(found("rita").await, [world.own.to_string()].into());
        assert_eq!(found("cora").await, [world.own.to_string(), world.other.to_string()].into());
    });
}

/// Access fails closed: whatever is asked, nothing is said that the log does not have.
#[test]
fn where_the_log_cannot_be_written_nothing_is_released() {
    wait(async {
        let world = World::new().await;
        let secret = world.user("rita", roles(Role::Compliance, Reach::All));
        world.user("audrey", roles(Role::Auditor, Reach::All));
        let (rita, audrey) = (world.browser("rita", 0), world.browser("audrey", 0));
        let plays = format!("/api/v1/recordings/{}/plays", world.own);
        let reason = json!({ "reason": { "code": "quality" } });
        let (status, _) = world.ask("play", &plays, Some(&rita), &reason).await;
        assert_eq!(status, StatusCode::CREATED);
        let (_, pending) = first(&world, PASSWORD).await;
        // It can be read all the same, and so can everything else.
        let in_the_way = world.shared.vault().log.dir().join("receipts/checkpoint.new");
        std::fs::create_dir(&in_the_way).unwrap();
        let one = format!("/api/v1/recordings/{}", world.own);
        let manifest = format!("{one}/manifest");
        for (id, path, browser, body) in [
            ("search", "/api/v1/recordings", &rita, Value::Null),
            ("recording", one.as_str(), &rita, Value::Null),
            ("play", plays.as_str(), &rita, reason.clone()),
            ("breakGlass", "/api/v1/break-glass", &rita, reason),
            ("log", "/api/v1/log", &audrey, Value::Null),
            ("logExport", "/api/v1/log/export", &audrey, Value::Null),
            ("manifest", manifest.as_str(), &rita, Value::Null),
            ("users", "/api/v1/users", &audrey, Value::Null),
        ] {
            let (status, answer) = world.ask(id, path, Some(browser), &body).await;
            assert_eq!((status, kind(&answer)), (StatusCode::SERVICE_UNAVAILABLE, "unlogged"), "{id}");
            assert!(!answer.to_string().contains("4822"), "{answer}");
        }
        let (status, answer) = second(&world, &pending["pending"], &code(&secret)).await;
        assert_eq!((status, kind(&answer)), (StatusCode::SERVICE_UNAVAILABLE, "unlogged"));
        std::fs::remove_dir(&in_the_way).unwrap();
        let (status, _) = world.ask("search", "/api/v1/recordings", Some(&rita), &Value::Null).await;
        assert_eq!(status, StatusCode::OK);
    });
}

#[test]
fn the_log_is_given_away_as_a_file_and_has_that() {
    wait(async {
        let world = World::new().await;
        world.user("audrey", roles(Role::Auditor, Reach::All));
        let audrey = world.browser("audrey", 0);
        let get = async |query: &str| {
            let path = format!("/api/v1/log/export{query}");
            let route = route("logExport");
            let response = world.send(route, request(route, &path, Some(&audrey), &Value::Null)).await;
            let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
            let heads = (response.status() == StatusCode::OK)
                .then(|| (header("content-type"), header("content-disposition")));
            let bytes = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
            (heads, String::from_utf8(bytes.to_vec()).unwrap())
        };
        let before = world.entries();
        let (heads, text) = get("").await;
        assert_eq!(heads.unwrap().1, "attachment; filename=\"sejf-log.jsonl\"");
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        // Up to the entry that says that it was asked for; and one more says what came of it.
        assert_eq!(lines.len() as u64, before + 1);
        assert_eq!(lines.last().unwrap()["entry"]["action"], "read-log");
        assert_eq!(world.entries(), before + 2);
        let (entries, _) = world.shared.vault().log.read_from(before + 1, 1).unwrap();
        let said = String::from_utf8(entries[0].clone()).unwrap();
        assert!(said.contains(&format!("\"entries\":{}", before + 1)), "{said}");
        let (heads, text) = get("?format=csv&action=read-log&actor=audrey").await;
        assert!(heads.unwrap().0.starts_with("text/csv"));
        assert!(text.starts_with("index,at,") && text.lines().count() == 4, "{text}");
        for wrong in ["?format=xml", "?action=x", "?outcome=x", "?recording=x", "?from=x", "?more=1"] {
            assert!(get(wrong).await.0.is_none(), "{wrong}");
        }
    });
}

#[test]
fn every_answer_has_the_headers_that_keep_browsers_safe() {
    wait(async {
        let world = World::new().await;
        for (id, path) in
            [("openapi", "/api/v1/openapi.json"), ("me", "/api/v1/me"), ("me", "/api/v1/nothing")]
        {
            let response = world.send(route(id), request(route(id), path, None, &Value::Null)).await;
            let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
            assert!(header("content-security-policy").starts_with("default-src 'none'"));
            assert!(header("content-security-policy").contains("frame-ancestors 'none'"));
            assert_eq!(header("cache-control"), "no-store");
            assert_eq!(header("x-content-type-options"), "nosniff");
            assert_eq!(header("referrer-policy"), "no-referrer");
            assert!(header("strict-transport-security").starts_with("max-age="));
        }
    });
}

#[test]
fn an_address_asks_so_often_and_no_more() {
    wait(async {
        let world = World::new().await;
        let from = super::here();
        let (mut answered, mut is_refused) = (0, false);
        let begun = clock::monotonic();
        while !is_refused {
            let empty =
                Request::builder().uri("/api/v1/me").header("host", HOST).body(Body::empty()).unwrap();
            let shared = std::sync::Arc::clone(&world.shared);
            let response = crate::web::guard::serve(shared, Some(route("me")), from, empty).await;
            is_refused = response.status() == StatusCode::TOO_MANY_REQUESTS;
            if is_refused {
                assert!(response.headers().contains_key("retry-after"));
            } else {
                answered += 1;
            }
        }
        // As many more as the time has brought.
        let more = begun.elapsed().as_secs_f64() * f64::from(ASKED_MAX) / f64::from(ASKED_SECONDS);
        let most = f64::from(ASKED_MAX) + more;
        assert!((ASKED_MAX..=most.ceil() as u32).contains(&answered), "{answered} of {most}");
    });
}

/// The document says what the table has: each route, its parameters and what it takes.
#[test]
fn the_document_is_whole_and_of_its_version() {
    let document = openapi::document();
    assert_eq!(document["openapi"], "3.1.0");
    let (mut ids, mut operations) = (BTreeSet::new(), 0);
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            operations += 1;
            let id = operation["operationId"].as_str().unwrap();
            assert!(ids.insert(id), "{id} twice");
            let route = route(id);
            assert_eq!(
                (route.path, route.method.as_str().to_lowercase().as_str()),
                (path.as_str(), method.as_str())
            );
            let named = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
            let parameters = operation["parameters"].as_array().unwrap();
            for name in named {
                let is_it =
                    |one: &&Value| one["name"] == name && one["in"] == "path" && one["required"] == true;
                assert_eq!(parameters.iter().filter(is_it).count(), 1, "{path} {name}");
            }
            assert!(operation["responses"]["default"]["$ref"].is_string());
            assert_eq!(
                operation["requestBody"].is_object(),
                route.changes() && !route.fields.is_empty(),
                "{id}"
            );
            assert!(operation["summary"].as_str().is_some_and(|summary| summary.ends_with('.')), "{id}");
        }
    }
    let of_the_page = ROUTES.iter().filter(|route| route.rule == Rule::Public).count();
    assert_eq!((operations, of_the_page), (ROUTES.len() - of_the_page, 3));
    references(&document, &document);
}

/// What is referred to is there.
fn references(value: &Value, document: &Value) {
    match value {
        Value::Object(fields) => {
            if let Some(to) = fields.get("$ref").and_then(Value::as_str) {
                assert!(document.pointer(to.trim_start_matches('#')).is_some(), "{to}");
            }
            fields.values().for_each(|value| references(value, document));
        }
        Value::Array(all) => all.iter().for_each(|value| references(value, document)),
        _ => {}
    }
}
