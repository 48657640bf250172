//! Holds, exports, destruction: what one does alone, and what nobody does alone.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::{Browser, World, kind, record_of, request, roles, route, wait};
use crate::archive::access::Role;
use crate::archive::clock::ClockTrust;
use crate::archive::entry::{Entry, Outcome};
use crate::archive::reach::Reach;
use crate::archive::request::What;
use crate::archive::scope::Scope;
use crate::base::time::Stamp;
use crate::shell::vault::export_requests::{PATIENCE, alone};
use crate::shell::vault::matters::Matters;
use crate::web::shared::lock;

fn because(text: &str) -> Value {
    json!({ "code": "court-order", "text": text })
}

struct People {
    cora: Browser,
    carl: Browser,
    kuba: Browser,
    dora: Browser,
}

/// Two of compliance, a custodian, a data protection officer, each with a fresh second factor.
fn people(world: &World) -> People {
    for (name, role) in [
        ("cora", Role::Compliance),
        ("carl", Role::Compliance),
        ("kuba", Role::Custodian),
        ("dora", Role::Dpo),
    ] {
        world.user(name, roles(role, Reach::All));
    }
    let of = |name| world.browser(name, 0);
    People { cora: of("cora"), carl: of("carl"), kuba: of("kuba"), dora: of("dora") }
}

fn entries(world: &World) -> Vec<Entry> {
    let (entries, _) = world.shared.vault().log.read_from(0, 4_000).unwrap();
    entries.iter().map(|bytes| Entry::from_bytes(bytes).unwrap()).collect()
}

#[test]
fn a_hold_is_laid_at_once_and_let_go_with_a_fresh_factor() {
    wait(async {
        let world = World::new().await;
        let People { cora, .. } = people(&world);
        world.user("rita", roles(Role::Compliance, Reach::of(["sales".to_owned()], [])));
        let rita = world.browser("rita", 0);
        let world = &world;
        let text = "<img src=x onerror=hit()> '; DROP TABLE holds; --\u{202e}";
        let body = json!({ "name": "XII-K.17/26", "class": "calls-5y", "reason": because(text) });
        let (status, answer) = world.ask("hold", "/api/v1/holds", Some(&cora), &body).await;
        assert_eq!((status, &answer["recordings"]), (StatusCode::CREATED, &json!(2)), "{answer}");
        let (_, again) = world.ask("hold", "/api/v1/holds", Some(&cora), &body).await;
        assert_eq!(kind(&again), "conflict");
        refused(world, &cora, &rita).await;
        let own = json!({ "name": "r-1", "recordings": [world.own], "reason": because("x") });
        let (status, answer) = world.ask("hold", "/api/v1/holds", Some(&rita), &own).await;
        assert_eq!(status, StatusCode::CREATED, "{answer}");
        let names = |answer: &Value| {
            let all = answer["holds"].as_array().unwrap().iter();
            all.map(|hold| hold["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        let (_, seen) = world.ask("holds", "/api/v1/holds", Some(&cora), &Value::Null).await;
        assert_eq!(names(&seen), ["XII-K.17/26", "r-1"]);
        assert_eq!(seen["holds"][0]["reason"]["text"], text);
        // Who reaches only so far sees what they have said themselves; of a recording all that holds it.
        let (_, seen) = world.ask("holds", "/api/v1/holds", Some(&rita), &Value::Null).await;
        assert_eq!(names(&seen), ["r-1"]);
        let path = format!("/api/v1/recordings/{}/matters", world.own);
        let (_, seen) = world.ask("matters", &path, Some(&rita), &Value::Null).await;
        assert_eq!(names(&seen), ["XII-K.17/26", "r-1"]);
        assert_eq!((seen["standing"]["kept"].as_str(), seen["due"].is_string()), (Some("held"), true));
        let release = |name: &str| json!({ "name": name, "reason": because("it is over") });
        let path = "/api/v1/holds/release";
        let old = world.browser("cora", 301);
        for (browser, name, expected) in
            [(&old, "r-1", "second-factor"), (&rita, "XII-K.17/26", "reach"), (&cora, "nothing", "not-found")]
        {
            let (_, answer) = world.ask("releaseHold", path, Some(browser), &release(name)).await;
            assert_eq!(kind(&answer), expected, "{name}");
        }
        let (status, _) = world.ask("releaseHold", path, Some(&cora), &release("XII-K.17/26")).await;
        assert_eq!(status, StatusCode::OK);
        let (_, answer) = world.ask("releaseHold", path, Some(&cora), &release("XII-K.17/26")).await;
        assert_eq!(kind(&answer), "not-found", "once");
        // Each said once that it was granted, and once what came of it.
        let of = |outcome: fn(&Outcome) -> bool| {
            entries(world)
                .iter()
                .filter(|one| one.action.name() == "release-hold" && outcome(&one.outcome))
                .count()
        };
        assert_eq!(of(|outcome| matches!(outcome, Outcome::Granted)), 3);
        assert_eq!(of(|outcome| matches!(outcome, Outcome::Done(_))), 1);
        assert_eq!(of(|outcome| matches!(outcome, Outcome::Failed(_))), 2);
    });
}

/// What makes no sense, and what is beyond reach.
async fn refused(world: &World, cora: &Browser, rita: &Browser) {
    for (browser, body, expected) in [
        (cora, json!({ "name": "all", "reason": because("x") }), "request"),
        (cora, json!({ "name": "a b", "all": true, "reason": because("x") }), "request"),
        (cora, json!({ "name": "<b>", "all": true, "reason": because("x") }), "request"),
        (cora, json!({ "name": "a", "class": "no-such", "reason": because("x") }), "request"),
        (cora, json!({ "name": "a", "recordings": ["x"], "reason": because("x") }), "request"),
        (
            cora,
            json!({ "name": "a", "recordings": [world.own, world.own], "reason": because("x") }),
            "request",
        ),
        (cora, json!({ "name": "a", "all": true }), "reason"),
        // Others', or whatever will come.
        (rita, json!({ "name": "r", "recordings": [world.other], "reason": because("x") }), "reach"),
        (
            rita,
            json!({ "name": "r", "recordings": [world.own, world.other], "reason": because("x") }),
            "reach",
        ),
        (rita, json!({ "name": "r", "class": "calls-5y", "reason": because("x") }), "reach"),
        (rita, json!({ "name": "r", "all": true, "reason": because("x") }), "reach"),
    ] {
        let (status, answer) = world.ask("hold", "/api/v1/holds", Some(browser), &body).await;
        assert_eq!(kind(&answer), expected, "{body}: {status} {answer}");
    }
}

#[test]
fn more_than_one_gives_away_alone_takes_another() {
    wait(async {
        let world = World::new().await;
        let People { cora, carl, kuba, dora } = people(&world);
        let max = world.shared.vault().config.vault.export_alone_max;
        let numbers: Vec<_> = (10..10 + max + 1).map(|number| (number, "jana")).collect();
        let many = world.take_in(&numbers).await;
        let body = |ids: &[_], more: Value| {
            let mut body = json!({ "recordings": ids, "for": "Sąd <b>", "reason": because("II K 12/26") });
            body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            body
        };
        let (make, ask) = ("/api/v1/exports", "/api/v1/exports/requests");
        let (_, answer) = world.ask("makeExport", make, Some(&cora), &body(&many, json!({}))).await;
        assert_eq!(kind(&answer), "second-person", "{answer}");
        // What was refused does not count, and what makes no sense neither.
        for more in [
            json!({ "recipients": ["AGE-SECRET-KEY-1"] }),
            json!({ "recipients": ["age1yubikey1qxxx"] }),
            json!({ "recipients": ["x"] }),
            json!({ "language": "de" }),
            json!({ "for": "  " }),
        ] {
            let (_, answer) = world.ask("makeExport", make, Some(&cora), &body(&many, more)).await;
            assert_eq!(kind(&answer), "request", "{answer}");
        }
        let (_, told) = world.ask("exportRequests", ask, Some(&cora), &Value::Null).await;
        assert_eq!((&told["alone_max"], &told["given_alone"]), (&json!(max), &json!(0)));
        let (status, asked) = world.ask("askExport", ask, Some(&cora), &body(&many, json!({}))).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{asked}");
        let of = |what: &str| format!("{ask}/{}/{what}", asked["number"]);
        let why = json!({ "reason": because("seen") });
        let (_, answer) = world.ask("makeAskedExport", &of("bundle"), Some(&cora), &json!({})).await;
        assert_eq!(kind(&answer), "second-person", "nobody has agreed");
        let (_, waiting) = world.ask("approvals", "/api/v1/approvals", Some(&kuba), &Value::Null).await;
        let one = &waiting["waiting"][0];
        assert_eq!((&one["kind"], &one["may"]), (&json!("export"), &json!(true)));
        assert_eq!(one["people"], json!(["carl", "kuba"]));
        for (browser, expected) in [(&cora, "second-person"), (&dora, "role")] {
            let (_, answer) = world.ask("agreeToExport", &of("agree"), Some(browser), &why).await;
            assert_eq!(kind(&answer), expected, "{answer}");
        }
        let (_, answer) =
            world.ask("agreeToExport", &of("agree"), Some(&world.browser("carl", 301)), &why).await;
        assert_eq!(kind(&answer), "second-factor");
        let (status, answer) = world.ask("agreeToExport", &of("agree"), Some(&carl), &why).await;
        assert_eq!((status, &answer["agreed_by"]), (StatusCode::OK, &json!("user:carl")));
        let (_, answer) = world.ask("agreeToExport", &of("agree"), Some(&kuba), &why).await;
        assert_eq!(kind(&answer), "conflict");
        let (status, offered) = world.ask("makeAskedExport", &of("bundle"), Some(&cora), &json!({})).await;
        assert_eq!(status, StatusCode::CREATED, "{offered}");
        // Nobody else's, and once; the files are not there, which is told before a byte is sent.
        let url = offered["url"].as_str().unwrap();
        let (_, answer) = world.ask("bundle", url, Some(&carl), &Value::Null).await;
        assert_eq!(kind(&answer), "not-found");
        let (status, answer) = world.ask("bundle", url, Some(&cora), &Value::Null).await;
        assert_eq!((status, kind(&answer)), (StatusCode::INTERNAL_SERVER_ERROR, "fault"), "{answer}");
        let (_, answer) = world.ask("bundle", url, Some(&cora), &Value::Null).await;
        assert_eq!(kind(&answer), "not-found");
        let (status, _) = world.ask("withdrawExport", &of("withdraw"), Some(&cora), &why).await;
        assert_eq!(status, StatusCode::OK);
        let (_, answer) = world.ask("makeAskedExport", &of("bundle"), Some(&cora), &json!({})).await;
        assert_eq!(kind(&answer), "conflict", "withdrawn");
        let failed = entries(&world)
            .into_iter()
            .filter(|one| one.action.name() == "export" && matches!(&one.outcome, Outcome::Failed(_)));
        assert_eq!(failed.count(), 9);
    });
}

/// What nobody has fetched in time is in nobody's way.
#[test]
fn a_bundle_that_was_not_fetched_counts_no_longer() {
    wait(async {
        let world = World::new().await;
        let People { cora, .. } = people(&world);
        let max = world.shared.vault().config.vault.export_alone_max;
        let numbers: Vec<_> = (10..10 + max).map(|number| (number, "jana")).collect();
        let ids = world.take_in(&numbers).await;
        let body = json!({ "recordings": ids, "for": "court", "reason": because("II K 12/26") });
        let (make, path) = ("makeExport", "/api/v1/exports");
        let (status, offered) = world.ask(make, path, Some(&cora), &body).await;
        assert_eq!(status, StatusCode::CREATED, "{offered}");
        let (_, again) = world.ask(make, path, Some(&cora), &body).await;
        assert_eq!(kind(&again), "second-person", "it may be fetched still");
        let long_ago = || {
            for ticket in lock(&world.shared.desk.tickets).values_mut() {
                ticket.until = Stamp::ZERO;
            }
        };
        long_ago();
        let (status, offered) = world.ask(make, path, Some(&cora), &body).await;
        assert_eq!(status, StatusCode::CREATED, "{offered}");
        long_ago();
        let (_, told) =
            world.ask("exportRequests", "/api/v1/exports/requests", Some(&cora), &Value::Null).await;
        assert_eq!(told["given_alone"], 0, "{told}");
        let unfetched = entries(&world)
            .into_iter()
            .filter(|one| matches!(&one.outcome, Outcome::Failed(why) if why == "nobody has fetched it"));
        assert_eq!(unfetched.count(), 2);
    });
}

/// Nobody exports beside another: who comes meanwhile is told, and fetches it when that has ended.
#[test]
fn a_bundle_waits_while_another_is_made() {
    wait(async {
        let world = World::new().await;
        let People { cora, .. } = people(&world);
        let body = json!({ "recordings": [world.own], "for": "court", "reason": because("x") });
        let (_, offered) = world.ask("makeExport", "/api/v1/exports", Some(&cora), &body).await;
        let url = offered["url"].as_str().unwrap();
        let other = alone(world.shared.vault(), PATIENCE).unwrap();
        let before = world.entries();
        let (status, answer) = world.ask("bundle", url, Some(&cora), &Value::Null).await;
        assert_eq!((status, kind(&answer)), (StatusCode::CONFLICT, "conflict"), "{answer}");
        assert!(answer["detail"].as_str().unwrap().contains("again"), "{answer}");
        assert_eq!(world.entries(), before, "nothing has come of it yet");
        drop(other);
        // It is begun, and fails for that there are no files.
        let (_, answer) = world.ask("bundle", url, Some(&cora), &Value::Null).await;
        assert_eq!(kind(&answer), "fault", "{answer}");
        let (_, told) =
            world.ask("exportRequests", "/api/v1/exports/requests", Some(&cora), &Value::Null).await;
        assert_eq!(told["given_alone"], 0, "not a byte was sent: {told}");
        let (_, answer) = world.ask("bundle", url, Some(&cora), &Value::Null).await;
        assert_eq!(kind(&answer), "not-found");
    });
}

/// Whoever asks, agrees and runs: alone nobody destroys, and nobody destroys what is to be kept.
#[test]
fn nobody_destroys_alone_or_before_its_time() {
    wait(async {
        let world = World::new().await;
        let People { cora, kuba, dora, .. } = people(&world);
        let path = "/api/v1/destructions";
        let why = json!({ "reason": because("over") });
        let ask = |body: Value| {
            let mut body = body;
            body["reason"] = because("over");
            body
        };
        for (body, expected) in [
            (json!({}), "request"),
            (json!({ "from": "2026-01-01" }), "request"),
            (json!({ "class": "calls-5y", "what": "now" }), "request"),
            (json!({ "class": "calls-5y", "standing": true, "due_by": "2026-01-01" }), "request"),
        ] {
            let (_, answer) = world.ask("askDestruction", path, Some(&cora), &ask(body.clone())).await;
            assert_eq!(kind(&answer), expected, "{body}: {answer}");
        }
        let (_, answer) =
            world.ask("askDestruction", path, Some(&kuba), &ask(json!({ "class": "calls-5y" }))).await;
        assert_eq!(kind(&answer), "role", "who agrees does not ask");
        let body = ask(json!({ "recordings": [world.own], "what": "erasure" }));
        let (status, asked) = world.ask("askDestruction", path, Some(&dora), &body).await;
        assert_eq!((status, &asked["recordings"]), (StatusCode::ACCEPTED, &json!(1)), "{asked}");
        let agree = format!("{path}/{}/agree", asked["number"]);
        let (_, answer) = world.ask("agreeToDestruction", &agree, Some(&dora), &why).await;
        assert_eq!(kind(&answer), "second-person", "{answer}");
        let (_, answer) = world.ask("agreeToDestruction", &agree, Some(&cora), &why).await;
        assert_eq!(kind(&answer), "role");
        let (status, _) = world.ask("agreeToDestruction", &agree, Some(&kuba), &why).await;
        assert_eq!(status, StatusCode::OK);
        // Agreed to, and kept: its minimum is not over.
        let (_, now) = world.ask("retentionNow", "/api/v1/retention/now", Some(&dora), &Value::Null).await;
        assert_eq!((&now["destroyed"], &now["kept"][0]["kept"]), (&json!(0), &json!("keep-min")), "{now}");
        assert_eq!(now["kept"][0]["recordings"], 2);
        let run = "/api/v1/destructions/run";
        let (_, answer) = world.ask("destroy", run, Some(&cora), &why).await;
        assert_eq!(kind(&answer), "role");
        let (status, _) = world.ask("destroy", run, Some(&dora), &why).await;
        assert_eq!(status, StatusCode::ACCEPTED);
        let retention = "/api/v1/retention";
        let told = loop {
            let (_, told) = world.ask("retention", retention, Some(&dora), &Value::Null).await;
            if told["run"]["ended"].is_string() {
                break told;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        };
        assert_eq!(told["run"]["done"]["recordings"], 0, "{told}");
        let row = &told["calendar"][0];
        assert_eq!((&row["class"], &row["recordings"]), (&json!("calls-5y"), &json!(2)));
        assert_eq!((&row["began"], &row["month"]), (&json!("2026-11"), &json!("2031-11")));
        assert_eq!(told["certificates"]["count"], 0);
    });
}

/// Six years later, what was asked for by one and agreed to by another is planned; what a user asked for and the
/// custodian of the same name agreed to is not.
#[test]
fn a_users_word_counts_as_anothers_and_never_as_two() {
    wait(async {
        let world = World::new().await;
        let People { cora, .. } = people(&world);
        world.user("jan", roles(Role::Custodian, Reach::All));
        let jan = world.browser("jan", 0);
        world.ask_as("jan").await;
        let why = json!({ "reason": because("over") });
        let (export, destruction) = world.asked.get();
        let agree = format!("/api/v1/destructions/{destruction}/agree");
        let (_, answer) = world.ask("agreeToDestruction", &agree, Some(&jan), &why).await;
        assert_eq!(kind(&answer), "second-person", "the custodian of that name has asked");
        let agree = format!("/api/v1/exports/requests/{export}/agree");
        let (_, answer) = world.ask("agreeToExport", &agree, Some(&jan), &why).await;
        assert_eq!(kind(&answer), "second-person");
        let body = json!({ "recordings": [world.other], "due_by": "2033-01-01", "reason": because("over") });
        let (_, asked) = world.ask("askDestruction", "/api/v1/destructions", Some(&cora), &body).await;
        let agree = format!("/api/v1/destructions/{}/agree", asked["number"]);
        let (status, answer) = world.ask("agreeToDestruction", &agree, Some(&jan), &why).await;
        assert_eq!((status, &answer["agreed_by"]), (StatusCode::OK, &json!("user:jan")));
        let (vault, catalog) = (world.shared.vault(), world.shared.intake.catalog());
        let later = Stamp::from_unix_nanos(1_985_000_000_000_000_000);
        let mut kept = Vec::new();
        let mut each = |one: &crate::archive::retention::Kept| kept.push(one.id);
        let found =
            crate::shell::vault::destroy::preview(vault, catalog, later, ClockTrust::Trusted, &mut each);
        let found = found.await.unwrap();
        let purges: Vec<_> = found.purges.iter().map(|purge| (purge.id(), purge.what())).collect();
        assert_eq!((purges, kept), (vec![(world.other, What::Due)], vec![world.own]));
        let matters = Matters::load(vault, catalog).await.unwrap();
        let scope = Scope { recordings: [world.other].into(), ..Scope::default() };
        assert!(matters.requests.iter().any(|one| one.scope == scope && one.by.to_string() == "user:cora"));
    });
}

async fn run(world: &World, browser: &Browser) -> Value {
    let why = json!({ "reason": because("<b>over</b>") });
    let (status, begun) = world.ask("destroy", "/api/v1/destructions/run", Some(browser), &why).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{begun}");
    loop {
        let (_, told) = world.ask("retention", "/api/v1/retention", Some(browser), &Value::Null).await;
        if told["run"]["ended"].is_string() {
            assert_eq!(told["run"]["fault"], Value::Null, "{told}");
            return told;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

/// Asked for by one, agreed to by another, run by a third: what is due goes, with a certificate, unless a hold is on it.
#[test]
fn what_is_due_goes_by_two_words_and_stays_under_a_hold() {
    wait(async {
        let world = World::new().await;
        let People { cora, kuba, dora, .. } = people(&world);
        // Of 15 January 2020: its five years are over.
        let old = record_of(1_579_089_600, 50);
        let id = world.take_in_all(vec![(old, "jana")]).await[0];
        let hostile = "<script>hit()</script>\u{1b}[31m";
        let body = json!({ "class": "calls-5y", "reason": because(hostile) });
        let (_, asked) = world.ask("askDestruction", "/api/v1/destructions", Some(&cora), &body).await;
        assert_eq!(asked["recordings"], 3);
        assert_eq!(run(&world, &dora).await["run"]["done"]["recordings"], 0, "nobody has agreed");
        let hold = json!({ "name": "K.50", "recordings": [id], "reason": because("x") });
        world.ask("hold", "/api/v1/holds", Some(&cora), &hold).await;
        let agree = format!("/api/v1/destructions/{}/agree", asked["number"]);
        let why = json!({ "reason": because("x") });
        let (status, _) = world.ask("agreeToDestruction", &agree, Some(&kuba), &why).await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(run(&world, &dora).await["run"]["done"]["recordings"], 0, "it is held");
        let release = json!({ "name": "K.50", "reason": because("x") });
        let (status, _) = world.ask("releaseHold", "/api/v1/holds/release", Some(&cora), &release).await;
        assert_eq!(status, StatusCode::OK);
        let told = run(&world, &dora).await;
        assert_eq!(told["run"]["done"]["recordings"], 1, "{told}");
        let certificates = told["certificates"]["newest"].as_array().unwrap();
        let one = certificates.iter().find(|one| one["recordings"] == 1).unwrap();
        assert_eq!((&one["by"], &one["request"]), (&json!("user:dora"), &asked["number"]));
        let path = |form: &str| format!("/api/v1/certificates/{}/{form}", one["number"]);
        let (_, whole) = world.ask("certificate", &path("json"), Some(&cora), &Value::Null).await;
        let authority = &whole["certificate"]["authority"];
        assert_eq!(
            (&authority["asked_by"], &authority["agreed"]["by"]),
            (&json!("user:cora"), &json!("user:kuba"))
        );
        for (form, kept) in [("html", "&lt;script&gt;hit()"), ("note", "NIST SP 800-88")] {
            let asked = request(route("certificate"), &path(form), Some(&cora), &Value::Null);
            let response = world.send(route("certificate"), asked).await;
            let header = response.headers()["content-disposition"].to_str().unwrap().to_owned();
            assert!(header.starts_with("attachment; filename=\"certificate-"), "{header}");
            let bytes = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
            let text = String::from_utf8_lossy(&bytes);
            assert!(text.contains(kept) && (form == "note" || !text.contains("<script")), "{text}");
        }
        let (_, none) =
            world.ask("certificate", "/api/v1/certificates/0/json", Some(&cora), &Value::Null).await;
        assert_eq!(kind(&none), "not-found");
        let matters = format!("/api/v1/recordings/{id}/matters");
        let (_, now) = world.ask("matters", &matters, Some(&cora), &Value::Null).await;
        assert_eq!(now["standing"]["kept"], "destroyed", "{now}");
    });
}

/// Of a matter's other recordings, who reaches only so far learns nothing, nor how many they are.
#[test]
fn a_matter_names_no_recording_out_of_reach() {
    wait(async {
        let world = World::new().await;
        let People { cora, .. } = people(&world);
        world.user("rita", roles(Role::Compliance, Reach::of(["sales".to_owned()], [])));
        let rita = world.browser("rita", 0);
        let both = json!([world.own, world.other]);
        let hold = json!({ "name": "K.2", "recordings": both, "reason": because("x") });
        assert_eq!(world.ask("hold", "/api/v1/holds", Some(&cora), &hold).await.0, StatusCode::CREATED);
        let asked = json!({ "recordings": both, "due_by": "2033-01-01", "reason": because("x") });
        let path = "/api/v1/destructions";
        assert_eq!(world.ask("askDestruction", path, Some(&cora), &asked).await.0, StatusCode::ACCEPTED);
        let path = format!("/api/v1/recordings/{}/matters", world.own);
        let (_, all) = world.ask("matters", &path, Some(&cora), &Value::Null).await;
        assert_eq!(
            (&all["holds"][0]["scope"]["count"], &all["requests"][0]["scope"]["count"]),
            (&json!(2), &json!(2))
        );
        let (_, told) = world.ask("matters", &path, Some(&rita), &Value::Null).await;
        for one in [&told["holds"][0], &told["requests"][0]] {
            assert_eq!(
                (&one["scope"]["recordings"], &one["scope"]["count"]),
                (&json!([world.own]), &Value::Null)
            );
        }
        assert!(!told.to_string().contains(&world.other.to_string()), "{told}");
    });
}

/// Nobody agrees to what is done with recordings that they do not reach, and nobody is told that they may.
#[test]
fn who_agrees_reaches_what_they_agree_to() {
    wait(async {
        let world = World::new().await;
        let People { cora, kuba, .. } = people(&world);
        world.user("kaja", roles(Role::Custodian, Reach::of(["sales".to_owned()], [])));
        let kaja = world.browser("kaja", 0);
        let why = json!({ "reason": because("seen") });
        let mut numbers = Vec::new();
        for (recordings, may) in [(json!([world.own]), true), (json!([world.own, world.other]), false)] {
            let export = json!({ "recordings": recordings, "for": "court", "reason": because("x") });
            let due = json!({ "recordings": recordings, "due_by": "2033-01-01", "reason": because("x") });
            for (ask, path, agree, body) in [
                ("askExport", "/api/v1/exports/requests", "agreeToExport", export),
                ("askDestruction", "/api/v1/destructions", "agreeToDestruction", due),
            ] {
                let (status, asked) = world.ask(ask, path, Some(&cora), &body).await;
                assert_eq!(status, StatusCode::ACCEPTED, "{asked}");
                numbers.push((format!("{path}/{}/agree", asked["number"]), agree, may));
            }
        }
        let class = json!({ "class": "calls-5y", "reason": because("x") });
        let (_, asked) = world.ask("askDestruction", "/api/v1/destructions", Some(&cora), &class).await;
        numbers.push((
            format!("/api/v1/destructions/{}/agree", asked["number"]),
            "agreeToDestruction",
            false,
        ));
        let (_, told) = world.ask("approvals", "/api/v1/approvals", Some(&kuba), &Value::Null).await;
        let waiting = told["waiting"].as_array().unwrap();
        let named: Vec<_> =
            waiting.iter().map(|one| one["people"].as_array().unwrap().contains(&json!("kaja"))).collect();
        assert_eq!(named, [true, true, false, false, false], "{told}");
        assert!(waiting.iter().all(|one| one["may"] == true), "{told}");
        for (path, agree, may) in numbers {
            let (status, answer) = world.ask(agree, &path, Some(&kaja), &why).await;
            let expected = if may { (StatusCode::OK, "") } else { (StatusCode::FORBIDDEN, "reach") };
            assert_eq!((status, kind(&answer)), expected, "{path} {answer}");
        }
    });
}

/// What was granted and could not be begun has an outcome.
#[test]
fn a_destruction_that_fails_is_said_to_have() {
    wait(async {
        let world = World::new().await;
        let People { dora, .. } = people(&world);
        let believed = world.shared.vault().home.join("clock.json");
        let _ = std::fs::remove_file(&believed);
        std::fs::create_dir(&believed).unwrap();
        let why = json!({ "reason": because("over") });
        let (status, _) = world.ask("destroy", "/api/v1/destructions/run", Some(&dora), &why).await;
        assert_eq!(status, StatusCode::ACCEPTED);
        loop {
            let (_, told) = world.ask("retention", "/api/v1/retention", Some(&dora), &Value::Null).await;
            if told["run"]["ended"].is_string() {
                assert!(told["run"]["fault"].as_str().unwrap().contains("clock.json"), "{told}");
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        let said = entries(&world).into_iter().filter(|one| one.action.name() == "destroy");
        let said: Vec<_> = said.map(|one| one.outcome).collect();
        assert!(
            matches!(&said[..], [Outcome::Granted, Outcome::Failed(why)] if why.contains("clock.json")),
            "{said:?}"
        );
    });
}

/// Who hears a recording learns that it is held, and not in which matter.
#[test]
fn a_matter_is_not_for_everybody_who_hears() {
    wait(async {
        let world = World::new().await;
        world.ask_as("jan").await;
        world.user("rita", roles(Role::Reviewer, Reach::All));
        let rita = world.browser("rita", 0);
        let path = format!("/api/v1/recordings/{}/matters", world.own);
        let (_, told) = world.ask("matters", &path, Some(&rita), &Value::Null).await;
        assert_eq!((&told["standing"]["kept"], &told["holds"]), (&json!("held"), &json!([])), "{told}");
        assert!(!told.to_string().contains("K.1") && told["due"].is_string(), "{told}");
    });
}
