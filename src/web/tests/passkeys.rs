//! Passkeys over the routes: made, shown, shown again, copied, taken away; and what strangers get out of them.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::{Browser, HOST, PASSWORD, World, kind, roles, wait};
use crate::archive::access::Role;
use crate::archive::once;
use crate::archive::passkey::soft::Soft;
use crate::archive::reach::Reach;
use crate::archive::throttle::FAILURES_MAX;
use crate::archive::user::UserName;
use crate::archive::users::Change;
use crate::shell::clock;
use crate::web::shared::lock;

fn soft(seed: u8) -> Soft {
    Soft::new(seed, &format!("https://{HOST}"))
}

async fn rita(world: &World) -> Browser {
    world.user("rita", roles(Role::Reviewer, Reach::All));
    world.browser("rita", 0)
}

/// Adds one. What the vault says, and its number.
async fn add(world: &World, browser: &Browser, soft: &mut Soft) -> (StatusCode, Value) {
    let (status, begun) =
        world.ask("passkeyOptions", "/api/v1/passkeys/options", Some(browser), &json!({})).await;
    assert_eq!(status, StatusCode::OK, "{begun}");
    assert_eq!(begun["passkey"]["rp"]["id"], "localhost");
    let made = soft.create(&begun["passkey"]);
    let body = json!({ "pending": begun["pending"], "passkey": made, "name": "blue key" });
    world.ask("addPasskey", "/api/v1/passkeys", Some(browser), &body).await
}

async fn begin(world: &World) -> Value {
    let (status, begun) = world.ask("loginPasskey", "/api/v1/login/passkey", None, &json!({})).await;
    assert_eq!(status, StatusCode::OK, "{begun}");
    begun
}

async fn finish(world: &World, begun: &Value, answer: &Value) -> (StatusCode, Value) {
    let body = json!({ "pending": begun["pending"], "passkey": answer });
    world.ask("loginFactor", "/api/v1/login/factor", None, &body).await
}

/// Signs in with it alone.
async fn alone(world: &World, soft: &mut Soft) -> (StatusCode, Value) {
    let begun = begin(world).await;
    let answer = soft.get(&begun["passkey"]);
    finish(world, &begun, &answer).await
}

async fn first(world: &World, password: &str) -> Value {
    let body = json!({ "user": "rita", "password": password });
    world.ask("login", "/api/v1/login", None, &body).await.1
}

fn logged(world: &World) -> Vec<String> {
    let (entries, _) = world.shared.vault().log.read_from(0, 1_000).unwrap();
    entries.iter().map(|entry| String::from_utf8_lossy(entry).into_owned()).collect()
}

#[test]
fn a_passkey_is_both_factors_or_the_second_and_steps_up() {
    wait(async {
        let world = World::new().await;
        let (browser, mut key) = (rita(&world).await, soft(1));
        let (status, made) = add(&world, &browser, &mut key).await;
        assert_eq!(status, StatusCode::CREATED, "{made}");
        // Alone.
        let (status, signed_in) = alone(&world, &mut key).await;
        assert_eq!((status, &signed_in["user"]), (StatusCode::OK, &json!("rita")));
        // After the password: to be there is enough.
        key.flags = 1;
        let pending = first(&world, PASSWORD).await;
        assert_eq!(pending["factors"], json!(["passkey", "totp", "recovery-code"]));
        assert_eq!(pending["passkey"]["allowCredentials"].as_array().unwrap().len(), 1);
        let answer = key.get(&pending["passkey"]);
        let (status, _) = finish(&world, &pending, &answer).await;
        assert_eq!(status, StatusCode::OK);
        let (_, again) = finish(&world, &pending, &answer).await;
        assert_eq!(kind(&again), "pending", "an answer counts once");
        // Alone it has to know who.
        let (_, refused) = alone(&world, &mut key).await;
        assert_eq!(kind(&refused), "passkey");
        // Again, in a session whose second factor is old.
        let old = world.browser("rita", 3_000);
        let (_, refused) =
            world.ask("passkeyOptions", "/api/v1/passkeys/options", Some(&old), &json!({})).await;
        assert_eq!(kind(&refused), "second-factor");
        let (_, begun) = world.ask("stepUpPasskey", "/api/v1/step-up/passkey", Some(&old), &json!({})).await;
        let body = json!({ "pending": begun["pending"], "passkey": key.get(&begun["passkey"]) });
        let others = world.browser("rita", 3_000);
        let (status, stepped) = world.ask("stepUp", "/api/v1/step-up", Some(&old), &body).await;
        assert_eq!(status, StatusCode::OK, "{stepped}");
        let (_, refused) = world.ask("stepUp", "/api/v1/step-up", Some(&others), &body).await;
        assert_eq!(kind(&refused), "pending");
        let (_, me) = world.ask("me", "/api/v1/me", Some(&others), &Value::Null).await;
        let shown = &me["passkeys"][0];
        assert_eq!((&shown["name"], &shown["party"]), (&json!("blue key"), &json!("localhost")));
        assert!(shown["used"].is_number() || shown["used"].is_string(), "{shown}");
        assert_eq!((&me["has_totp"], &me["party"]), (&json!(true), &json!("localhost")));
        let texts = logged(&world);
        let has = |what: &str| texts.iter().any(|text| text.contains(what));
        assert!(
            has(r#""change":"add-passkey""#) && has(r#""factor":"passkey""#) && has(r#""verified":true"#)
        );
    });
}

#[test]
fn what_strangers_send_in_place_of_a_passkey_lets_nobody_in() {
    wait(async {
        let world = World::new().await;
        let (browser, mut key) = (rita(&world).await, soft(1));
        add(&world, &browser, &mut key).await;
        world.user("jan", roles(Role::Reviewer, Reach::All));
        let jan = world.browser("jan", 0);
        let (_, same) = add(&world, &jan, &mut soft(1)).await;
        assert_eq!(kind(&same), "passkey-known", "no two have the same");
        let mut own = soft(2);
        assert_eq!(add(&world, &jan, &mut own).await.0, StatusCode::CREATED);
        // An answer to what somebody else was asked.
        let (one, other) = (begin(&world).await, begin(&world).await);
        let answer = key.get(&one["passkey"]);
        assert_eq!(kind(&finish(&world, &other, &answer).await.1), "passkey");
        assert_eq!(kind(&finish(&world, &other, &answer).await.1), "pending", "what was asked is over");
        // Jan's passkey after Rita's password.
        let pending = first(&world, PASSWORD).await;
        let answer = own.get(&pending["passkey"]);
        assert_eq!(kind(&finish(&world, &pending, &answer).await.1), "passkey");
        // A page that looks like ours.
        key.origin = "https://localhost.evil.example".into();
        assert_eq!(kind(&alone(&world, &mut key).await.1), "passkey");
        key.origin = format!("https://{HOST}");
        // One that nobody has, and one that says it is another's.
        let mut strange = soft(9);
        strange.handle = "AAAA".into();
        assert_eq!(kind(&alone(&world, &mut strange).await.1), "passkey");
        for nonsense in [json!({}), json!({ "id": "AA" }), json!({ "id": 1, "response": [] })] {
            let begun = begin(&world).await;
            assert_eq!(kind(&finish(&world, &begun, &nonsense).await.1), "request");
        }
        let begun = begin(&world).await;
        let mut answer = key.get(&begun["passkey"]);
        answer["response"]["signature"] = json!("AAAA");
        assert_eq!(kind(&finish(&world, &begun, &answer).await.1), "passkey");
        // An address has none.
        let mut request =
            super::request(super::route("loginPasskey"), "/api/v1/login/passkey", None, &json!({}));
        request.headers_mut().insert("host", "127.0.0.1:8443".parse().unwrap());
        let (_, refused) = super::told(world.send(super::route("loginPasskey"), request).await).await;
        assert_eq!(kind(&refused), "passkey-name");
    });
}

/// Threat: whoever knows a name locks its owner out by failing for them.
#[test]
fn nobody_locks_out_who_has_a_passkey() {
    wait(async {
        let world = World::new().await;
        let (browser, mut key) = (rita(&world).await, soft(1));
        add(&world, &browser, &mut key).await;
        for _ in 0..3 * FAILURES_MAX {
            first(&world, "wrong horse battery").await;
        }
        assert_eq!(kind(&first(&world, PASSWORD).await), "too-many", "locked for passwords");
        assert_eq!(alone(&world, &mut key).await.0, StatusCode::OK);
        // Passkeys that fail lock the address they fail from, and nobody's account.
        let mut wrong = soft(1);
        wrong.handle = key.handle.clone();
        wrong.party = Some("evil.example".into());
        for _ in 0..3 * FAILURES_MAX {
            assert_eq!(kind(&alone(&world, &mut wrong).await.1), "passkey");
        }
        assert_eq!(alone(&world, &mut key).await.0, StatusCode::OK);
        let failed = logged(&world).iter().filter(|text| text.contains(r#""failed":"passkey""#)).count();
        assert!(failed > 0 && failed <= FAILURES_MAX as usize + 2, "nobody fills the log: {failed}");
    });
}

/// Anybody can begin with a passkey alone: it takes nobody's room.
#[test]
fn who_only_begins_keeps_nobody_out() {
    wait(async {
        let world = World::new().await;
        let browser = rita(&world).await;
        for _ in 0..300 {
            let (status, _) = world.ask("loginPasskey", "/api/v1/login/passkey", None, &json!({})).await;
            assert_eq!(status, StatusCode::OK);
        }
        assert_eq!(lock(&world.shared.pending).len(), 64);
        // What somebody has begun who is known is none of that.
        let path = "/api/v1/passkeys/options";
        assert_eq!(world.ask("passkeyOptions", path, Some(&browser), &json!({})).await.0, StatusCode::OK);
        assert_eq!(lock(&world.shared.pending).len(), 65);
    });
}

#[test]
fn a_copy_is_found_and_counts_no_more() {
    wait(async {
        let world = World::new().await;
        let (browser, mut key) = (rita(&world).await, soft(1));
        let (_, made) = add(&world, &browser, &mut key).await;
        key.counter = 40;
        assert_eq!(alone(&world, &mut key).await.0, StatusCode::OK);
        let mut copy = soft(1);
        (copy.handle, copy.counter) = (key.handle.clone(), 17);
        assert_eq!(kind(&alone(&world, &mut copy).await.1), "passkey-copied");
        // Neither of them, however far they count.
        copy.counter = 4_000;
        assert_eq!(kind(&alone(&world, &mut copy).await.1), "passkey-copied");
        assert_eq!(kind(&alone(&world, &mut key).await.1), "passkey-copied");
        assert!(first(&world, PASSWORD).await["passkey"].is_null());
        let (status, _) = world.ask("me", "/api/v1/me", Some(&browser), &Value::Null).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "it may be the copy's");
        let browser = world.browser("rita", 0);
        let (_, me) = world.ask("me", "/api/v1/me", Some(&browser), &Value::Null).await;
        assert!(!me["passkeys"][0]["blocked"].is_null(), "its owner is told: {me}");
        assert!(logged(&world).iter().any(|text| text.contains(r#""alarm":"passkey-copied""#)));
        let path = format!("/api/v1/passkeys/{}", made["number"]);
        let (status, _) = world.ask("removePasskey", &path, Some(&browser), &Value::Null).await;
        assert_eq!(status, StatusCode::OK);
    });
}

#[test]
fn an_invitation_is_used_with_a_passkey_and_the_last_factor_stays() {
    wait(async {
        let world = World::new().await;
        let user: UserName = "eva".parse().unwrap();
        let (shown, kept) = once::generate(&mut crate::shell::entropy::OsRandom::new().unwrap());
        let until = clock::now().after(std::time::Duration::from_secs(60));
        let invite = crate::archive::once::Invite { kept, until };
        let roles = roles(Role::Reviewer, Reach::All);
        world.change(&Change::Add { user, roles, invite, by_custodian: true });
        let body = json!({ "invite": *shown, "password": PASSWORD });
        let (_, begun) = world.ask("enrol", "/api/v1/enrol", None, &body).await;
        assert_eq!(begun["passkeys"], true);
        let asked = json!({ "pending": begun["pending"] });
        let (_, options) = world.ask("enrolPasskey", "/api/v1/enrol/passkey", None, &asked).await;
        let mut key = soft(5);
        let made = key.create(&options["passkey"]);
        let twice = json!({ "pending": begun["pending"], "passkey": made, "name": "laptop" });
        let mut wrong = twice.clone();
        wrong["passkey"]["response"]["attestationObject"] = json!("oA");
        let (_, refused) = world.ask("enrolConfirm", "/api/v1/enrol/confirm", None, &wrong).await;
        assert_eq!(kind(&refused), "passkey");
        let (_, refused) = world.ask("enrolConfirm", "/api/v1/enrol/confirm", None, &twice).await;
        assert_eq!(kind(&refused), "pending", "that question is over");
        let (_, options) = world.ask("enrolPasskey", "/api/v1/enrol/passkey", None, &asked).await;
        let made = key.create(&options["passkey"]);
        let body = json!({ "pending": begun["pending"], "passkey": made, "name": "laptop" });
        let (status, done) = world.ask("enrolConfirm", "/api/v1/enrol/confirm", None, &body).await;
        assert_eq!((status, done["recovery_codes"].as_array().map(Vec::len)), (StatusCode::OK, Some(10)));
        let browser = world.browser("eva", 0);
        let (_, me) = world.ask("me", "/api/v1/me", Some(&browser), &Value::Null).await;
        assert_eq!(me["has_totp"], false);
        let number = me["passkeys"][0]["number"].clone();
        let path = format!("/api/v1/passkeys/{number}");
        let (_, refused) = world.ask("removePasskey", &path, Some(&browser), &Value::Null).await;
        assert_eq!(kind(&refused), "last-factor");
        for seed in 10..22 {
            assert_eq!(add(&world, &browser, &mut soft(seed)).await.0, StatusCode::CREATED);
        }
        let (status, _) = world.ask("removePasskey", &path, Some(&browser), &Value::Null).await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(kind(&alone(&world, &mut key).await.1), "passkey", "and is worth nothing");
        let (status, _) = world.ask("removePasskey", &path, Some(&browser), &Value::Null).await;
        assert_eq!(status, StatusCode::NOT_FOUND);
        lock(&world.shared.pending).clear();
    });
}
