//! The review, certified roles and samples, as people reach them over HTTPS.

use axum::body::to_bytes;
use serde_json::{Value, json};

use super::{World, kind, request, roles, route, told, wait};
use crate::archive::access::Role;
use crate::archive::reach::Reach;
use crate::archive::review::report::verify;
use crate::archive::sampling::Sampling;
use crate::shell::clock;

#[test]
fn a_review_says_what_it_is_by_and_its_report_is_signed() {
    wait(async {
        let world = World::new().await;
        world.user("olga", roles(Role::Operator, Reach::All));
        let browser = world.browser("olga", 0);
        let (status, made) = world.ask("review", "/api/v1/review", Some(&browser), &Value::Null).await;
        assert!(status.is_success(), "{made}");
        let findings = made["findings"].as_array().unwrap();
        let counted: u64 =
            made["counts"].as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum();
        assert_eq!(counted, findings.len() as u64);
        for finding in findings {
            assert!(finding["evidence"]["en"].is_string() && finding["evidence"]["pl"].is_string());
            assert!(finding["state"] == "ok" || !finding["remedy"]["en"].as_str().unwrap().is_empty());
        }
        let of = |id: &str| findings.iter().find(|one| one["id"] == id).unwrap_or_else(|| panic!("no {id}"));
        // Without a vault that runs nobody has restored anything; and of nothing here who spoke is told.
        assert_eq!(
            (of("restore-test")["state"].as_str(), of("mfa")["state"].as_str()),
            (Some("fails"), Some("ok"))
        );
        assert!(!made.to_string().contains("48221234567") && !made.to_string().contains("jana"));

        let path = "/api/v1/review/report?language=pl";
        let answer = world
            .send(route("reviewReport"), request(route("reviewReport"), path, Some(&browser), &Value::Null));
        let answer = answer.await;
        let kept = answer.headers()["content-disposition"].to_str().unwrap().to_owned();
        assert!(kept.starts_with("attachment; filename=\"sejf-review-20"), "{kept}");
        let page = to_bytes(answer.into_body(), 1 << 22).await.unwrap();
        let page = String::from_utf8(page.to_vec()).unwrap();
        let signed = verify(&page, &world.shared.vault().key).unwrap();
        let (entries, _) = world.shared.vault().log.read_from(signed.entry, 1).unwrap();
        let entry: Value = serde_json::from_slice(&entries[0]).unwrap();
        assert_eq!(entry["actor"], "user:olga");
        let body = page.split("<!-- signed").next().unwrap();
        assert_eq!(entry["outcome"]["done"]["report"], json!(crate::archive::review::report::digest(body)));
        let (_, wrong) = told(
            world
                .send(
                    route("reviewReport"),
                    request(
                        route("reviewReport"),
                        "/api/v1/review/report?language=xx",
                        Some(&browser),
                        &Value::Null,
                    ),
                )
                .await,
        )
        .await;
        assert_eq!(kind(&wrong), "request");
    });
}

#[test]
fn roles_are_certified_by_another_and_as_they_are() {
    wait(async {
        let world = World::new().await;
        let sales = || Reach::of(["sales".to_owned()], []);
        world.user("ada", roles(Role::Admin, Reach::All));
        world.user("rita", roles(Role::Reviewer, sales()));
        let browser = world.browser("ada", 0);
        let certify = async |user: &str, roles: Value| {
            let path = format!("/api/v1/users/{user}/certify");
            world.ask("certify", &path, Some(&browser), &json!({ "roles": roles })).await
        };
        let (_, own) = certify("ada", json!({ "admin": "all" })).await;
        assert_eq!(kind(&own), "second-person");
        let (_, other) = certify("rita", json!({ "reviewer": "all" })).await;
        assert_eq!(kind(&other), "conflict", "not the roles that she has");
        let (_, nobody) = certify("nobody", json!({})).await;
        assert_eq!(kind(&nobody), "not-found");
        let before = clock::now();
        let (status, _) = certify("rita", json!({ "reviewer": { "teams": ["sales"] } })).await;
        assert!(status.is_success());
        let (_, listed) =
            world.ask("certifications", "/api/v1/certifications", Some(&browser), &Value::Null).await;
        let rita = listed["users"].as_array().unwrap().iter().find(|one| one["user"] == "rita").unwrap();
        assert_eq!((rita["due"].as_bool(), listed["days"].as_u64()), (Some(false), Some(90)));
        assert!(rita["since"].as_str().unwrap() >= before.to_string().as_str());
        // She stays signed in: nothing of hers has changed.
        let reviewer = world.browser("rita", 0);
        let (status, _) = world.ask("me", "/api/v1/me", Some(&reviewer), &Value::Null).await;
        assert!(status.is_success());
    });
}

#[test]
fn samples_are_within_reach_stay_the_same_and_are_judged_by_whose_they_are() {
    wait(async {
        let world = World::new().await;
        let (from, _) = Sampling::current(clock::now()).range();
        let first = from.as_unix_nanos() / 1_000_000_000 + 86_400;
        let agents = ["jana", "ola", "jana", "jana", "ola", "jana"];
        let starts: Vec<(u64, &str)> =
            agents.iter().enumerate().map(|(at, agent)| (first + at as u64, *agent)).collect();
        let ids = world.take_in_at(&starts).await;
        world.user("rita", roles(Role::Reviewer, Reach::of(["sales".to_owned()], [])));
        world.user("jan", roles(Role::Reviewer, Reach::All));
        let rita = world.browser("rita", 0);
        // What a broken glass reaches is not drawn.
        let reason = json!({ "reason": { "code": "court-order", "text": "now" } });
        world.ask("breakGlass", "/api/v1/break-glass", Some(&rita), &reason).await;
        let (status, drawn) = world.ask("samples", "/api/v1/samples", Some(&rita), &Value::Null).await;
        assert!(status.is_success(), "{drawn}");
        let list = |drawn: &Value| -> Vec<String> {
            drawn["samples"]
                .as_array()
                .unwrap()
                .iter()
                .map(|one| one["id"].as_str().unwrap().to_owned())
                .collect()
        };
        assert_eq!((list(&drawn).len(), drawn["of"].as_u64()), (4, Some(4)));
        let is_hers = |id: &String| {
            ids.iter().zip(agents).any(|(own, agent)| own.to_string() == *id && agent == "jana")
        };
        assert!(list(&drawn).iter().all(is_hers));
        let (_, jans) =
            world.ask("samples", "/api/v1/samples", Some(&world.browser("jan", 0)), &Value::Null).await;
        assert_eq!(list(&jans).len(), 6);
        // What comes later is drawn for nobody who has a draw already.
        world.take_in_at(&[(first + 99, "jana")]).await;
        let (_, again) = world.ask("samples", "/api/v1/samples", Some(&rita), &Value::Null).await;
        assert_eq!(list(&again), list(&drawn));

        let judge = async |id: &str, verdict: &str| {
            let path = format!("/api/v1/recordings/{id}/verdict");
            world.ask("verdict", &path, Some(&rita), &json!({ "verdict": verdict })).await
        };
        let one = list(&drawn)[0].clone();
        assert_eq!(kind(&judge(&one, "splendid").await.1), "request");
        let jans_alone = list(&jans).into_iter().find(|id| !list(&drawn).contains(id)).unwrap();
        assert_eq!(kind(&judge(&jans_alone, "fine").await.1), "not-found");
        assert_eq!(kind(&judge(&world.own.to_string(), "fine").await.1), "not-found", "of another quarter");
        assert!(judge(&one, "poor-sound").await.0.is_success());
        let (_, judged) = world.ask("samples", "/api/v1/samples", Some(&rita), &Value::Null).await;
        assert_eq!(judged["samples"][0]["verdict"], "poor-sound");
        let (entries, _) = world.shared.vault().log.read_from(0, 1_000).unwrap();
        let texts: Vec<_> = entries.iter().map(|entry| String::from_utf8_lossy(entry)).collect();
        assert_eq!(texts.iter().filter(|text| text.contains(r#""seed":"#)).count(), 1);
        assert_eq!(texts.iter().filter(|text| text.contains(r#""drawn":"#)).count(), 2);
    });
}

#[test]
fn reviews_and_draws_are_made_one_at_a_time_and_not_again_at_once() {
    wait(async {
        let world = World::new().await;
        world.user("olga", roles(Role::Operator, Reach::All));
        let (olga, vault) = (world.browser("olga", 0), world.shared.vault());
        let review = async || world.ask("review", "/api/v1/review", Some(&olga), &Value::Null).await;
        let turn = vault.reviewing.try_lock().unwrap();
        let (status, busy) = review().await;
        assert_eq!((status.as_u16(), kind(&busy)), (503, "busy"), "{busy}");
        drop(turn);
        let (_, first) = review().await;
        assert!(first["at"].is_string(), "{first}");
        assert_eq!(review().await.1["at"], first["at"]);

        world.user("nina", roles(Role::Reviewer, Reach::of(["sales".to_owned()], [])));
        let nina = world.browser("nina", 0);
        let count = async || {
            let (_, drawn) = world.ask("samples", "/api/v1/samples", Some(&nina), &Value::Null).await;
            drawn["samples"].as_array().unwrap_or_else(|| panic!("{drawn}")).len()
        };
        assert_eq!(count().await, 0);
        let (from, _) = Sampling::current(clock::now()).range();
        world.take_in_at(&[(from.as_unix_nanos() / 1_000_000_000 + 86_400, "jana")]).await;
        assert_eq!(count().await, 0, "that there is nothing is good for an hour");
        world.user("nora", roles(Role::Reviewer, Reach::of(["sales".to_owned()], [])));
        let nora = world.browser("nora", 0);
        let (_, drawn) = world.ask("samples", "/api/v1/samples", Some(&nora), &Value::Null).await;
        assert_eq!(drawn["samples"].as_array().map(Vec::len), Some(1), "{drawn}");
    });
}
