//! What people look after themselves: sessions, password, recovery codes; and what it takes to sign in.

use std::time::Duration;

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::{CHEAP, PASSWORD, World, kind, roles, wait};
use crate::archive::access::Role;
use crate::archive::password::{Cost, Password};
use crate::archive::reach::Reach;
use crate::archive::throttle::Throttle;
use crate::archive::users::Change;
use crate::seal::random::{Randomness, Seeded};
use crate::shell::clock;
use crate::shell::entropy::OsRandom;
use crate::web::shared::lock;

async fn login(world: &World, user: &str, password: &str) -> (StatusCode, Value) {
    let body = json!({ "user": user, "password": password });
    world.ask("login", "/api/v1/login", None, &body).await
}

#[test]
fn sessions_are_listed_and_ended_by_whose_they_are() {
    wait(async {
        let world = World::new().await;
        world.user("rita", roles(Role::Reviewer, Reach::All));
        world.user("ada", roles(Role::Admin, Reach::All));
        let (own, other, third) =
            (world.browser("rita", 0), world.browser("rita", 0), world.browser("rita", 0));
        let ada = world.browser("ada", 0);
        let list = async |browser| {
            world.ask("sessions", "/api/v1/sessions", Some(browser), &Value::Null).await.1["sessions"].clone()
        };
        let all = list(&own).await;
        assert_eq!(all.as_array().unwrap().len(), 3);
        assert_eq!(all.as_array().unwrap().iter().filter(|one| one["own"] == true).count(), 1);
        let number = |at: usize| all[at]["number"].clone();
        let path = |number: &Value| format!("/api/v1/sessions/{number}");
        let (status, _) = world.ask("endSession", &path(&number(1)), Some(&ada), &Value::Null).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "another's");
        let (status, _) = world.ask("endSession", &path(&number(1)), Some(&own), &Value::Null).await;
        assert_eq!(status, StatusCode::OK);
        let me = async |browser| world.ask("me", "/api/v1/me", Some(browser), &Value::Null).await.0;
        assert_eq!((me(&other).await, me(&third).await), (StatusCode::UNAUTHORIZED, StatusCode::OK));
        let (_, ended) =
            world.ask("endOtherSessions", "/api/v1/sessions/end-others", Some(&own), &json!({})).await;
        assert_eq!(ended["ended"], 1);
        assert_eq!((me(&own).await, me(&third).await), (StatusCode::OK, StatusCode::UNAUTHORIZED));
        // An administrator ends them all, and says why.
        let reason = json!({ "reason": { "code": "audit", "text": "laptop lost" } });
        let path = "/api/v1/users/rita/end-sessions";
        let (status, ended) = world.ask("endSessions", path, Some(&ada), &reason).await;
        assert_eq!((status, &ended["ended"]), (StatusCode::OK, &json!(1)));
        assert_eq!(me(&own).await, StatusCode::UNAUTHORIZED);
        assert_eq!(login(&world, "rita", PASSWORD).await.0, StatusCode::OK, "and may sign in again");
    });
}

#[test]
fn a_password_is_changed_by_who_knows_it_and_other_sessions_end() {
    wait(async {
        let world = World::new().await;
        world.user("rita", roles(Role::Reviewer, Reach::All));
        let (own, other) = (world.browser("rita", 0), world.browser("rita", 0));
        let ask = async |before: &str, after: &str| {
            let body = json!({ "password": before, "new_password": after });
            world.ask("changePassword", "/api/v1/password", Some(&own), &body).await
        };
        let new = "other words are easy";
        assert_eq!(kind(&ask("wrong horse battery", new).await.1), "credentials");
        assert_eq!(kind(&ask(PASSWORD, "short").await.1), "password");
        let (status, done) = ask(PASSWORD, new).await;
        assert_eq!((status, &done["ended"]), (StatusCode::OK, &json!(1)), "{done}");
        let me = world.ask("me", "/api/v1/me", Some(&other), &Value::Null).await.0;
        assert_eq!(me, StatusCode::UNAUTHORIZED);
        assert_eq!(kind(&login(&world, "rita", PASSWORD).await.1), "credentials");
        assert_eq!(login(&world, "rita", new).await.0, StatusCode::OK);
    });
}

#[test]
fn new_recovery_codes_are_the_death_of_the_old_ones() {
    wait(async {
        let world = World::new().await;
        world.user("rita", roles(Role::Reviewer, Reach::All));
        let browser = world.browser("rita", 0);
        let make = async || {
            let made =
                world.ask("newRecoveryCodes", "/api/v1/recovery-codes", Some(&browser), &json!({})).await;
            let codes = made.1["recovery_codes"].as_array().unwrap().clone();
            assert_eq!(codes.len(), 10);
            codes
        };
        let (old, new) = (make().await, make().await);
        assert!(old.iter().all(|code| !new.contains(code)));
        let (_, pending) = login(&world, "rita", PASSWORD).await;
        let factor = async |code: &Value| {
            let body = json!({ "pending": pending["pending"], "code": code });
            world.ask("loginFactor", "/api/v1/login/factor", None, &body).await
        };
        assert_eq!(kind(&factor(&old[0]).await.1), "code");
        assert_eq!(factor(&new[0]).await.0, StatusCode::OK);
    });
}

/// What a password costs is another today: it is hashed anew where it was right.
#[test]
fn a_password_is_hashed_anew_at_the_cost_of_today() {
    wait(async {
        let world = World::new().await;
        world.user("rita", roles(Role::Reviewer, Reach::All));
        let user = "rita".parse().unwrap();
        let kept = || {
            let users = world.shared.users.users(world.shared.vault()).unwrap();
            users.get(&user).unwrap().password().unwrap().clone()
        };
        let cost = Cost { memory_mib: 2, passes: 1 };
        let password = Password::new("rita", PASSWORD, cost, &mut OsRandom::new().unwrap()).unwrap();
        world.change(&Change::SetPassword { user: user.clone(), password, before: kept(), is_same: true });
        login(&world, "rita", "wrong horse battery").await;
        assert_eq!(kept().cost(), cost, "who does not know it changes nothing");
        assert_eq!(login(&world, "rita", PASSWORD).await.0, StatusCode::OK);
        assert_eq!(kept().cost(), CHEAP);
        let before = world.entries();
        assert_eq!(login(&world, "rita", PASSWORD).await.0, StatusCode::OK);
        assert_eq!(world.entries(), before, "once");
    });
}

/// The median of what a wrong password takes, against a name that nobody has: end to end, log and all, at a cost that
/// leaves what stands around the hash to be seen. Another user whose password is wrong says how far two medians are apart
/// on this machine just now; long tests take enough of them to hold it to one percent where that is less.
#[test]
fn how_long_it_takes_does_not_say_whether_there_is_such_a_user() {
    let is_long = std::env::var_os("SEJF_LONG_TESTS").is_some();
    let (rounds, percent_max) = if is_long { (400, 1.0) } else { (12, 25.0) };
    wait(async {
        let world = World::with_cost(Cost::LEAST).await;
        let users = ["rita", "nobody", "jana"];
        for user in ["rita", "jana"] {
            world.user_at(user, roles(Role::Reviewer, Reach::All), Cost::LEAST);
        }
        let (mut random, mut took) = (Seeded::new(&[1; 32], "timing", 0), [const { Vec::new() }; 3]);
        for _ in 0..rounds {
            // In no order that anything else could keep step with.
            let mut bytes = [0; 2];
            random.fill(&mut bytes);
            let mut order = [0, 1, 2];
            order.swap(0, usize::from(bytes[0] % 3));
            order.swap(1, 1 + usize::from(bytes[1] % 2));
            for which in order {
                *lock(&world.shared.throttle) = Throttle::default();
                let begun = clock::monotonic();
                let (_, answer) = login(&world, users[which], "wrong horse battery").await;
                took[which].push(begun.elapsed());
                assert_eq!(kind(&answer), "credentials");
            }
        }
        let median = |mut all: Vec<Duration>| {
            all.sort_unstable();
            all[all.len() / 2].as_secs_f64() * 1_000.0
        };
        let [known, unknown, other] = took.map(median);
        let apart = |median: f64| (known - median).abs() / known * 100.0;
        let (percent, noise) = (apart(unknown), apart(other));
        println!(
            "wrong password {known:.2} ms, unknown user {unknown:.2} ms: {percent:.2} % apart in {rounds} rounds; \
             two users with a wrong password: {noise:.2} %"
        );
        assert!(percent < f64::max(percent_max, 3.0 * noise), "{known} ms against {unknown} ms");
    });
}
