//! Every route for every role, of recordings within reach and beyond, with a second factor that is fresh, old or none,
//! with a reason and without: what is answered is what a table says that was written by hand, from the requirements
//! and not from the code.

use serde_json::{Value, json};

use super::{Browser, World, kind, request, roles, route, told, wait};
use crate::archive::access::Role;
use crate::archive::reach::Reach;
use crate::web::table::{ROUTES, Rule};

/// What the requirements say of a route.
struct Said {
    route: &'static str,
    /// `None`: whoever reaches it. Empty: whoever has signed in.
    roles: Option<&'static [&'static str]>,
    reach: bool,
    reason: bool,
    second_factor: bool,
    /// Whether a token that is for everything tokens are for may.
    token: bool,
}

const fn open(route: &'static str) -> Said {
    Said { route, roles: None, reach: false, reason: false, second_factor: false, token: true }
}

const fn own(route: &'static str, token: bool) -> Said {
    Said { route, roles: Some(&[]), reach: false, reason: false, second_factor: false, token }
}

const ANY: &[&str] = &["operator", "reviewer", "compliance", "custodian", "auditor", "admin", "dpo"];
const SEES: &[&str] = &["reviewer", "compliance", "auditor", "dpo"];
const HEARS: &[&str] = &["reviewer", "compliance"];
const STOCK: &[&str] = &["operator", "compliance", "custodian", "auditor"];
const MATTERS: &[&str] = &["compliance", "custodian", "auditor", "dpo"];
const SEES_TO_IT: &[&str] = &["operator", "compliance", "custodian", "auditor", "admin", "dpo"];

const fn role(route: &'static str, roles: &'static [&'static str]) -> Said {
    Said { route, roles: Some(roles), reach: false, reason: false, second_factor: false, token: false }
}

const SAID: &[Said] = &[
    open("page"),
    open("pageFile"),
    open("pageOidc"),
    open("openapi"),
    open("loginWays"),
    open("loginOidc"),
    open("loginOidcFinish"),
    open("login"),
    open("loginFactor"),
    open("enrol"),
    open("enrolConfirm"),
    open("loginPasskey"),
    open("enrolPasskey"),
    own("me", true),
    own("stepUp", false),
    own("logout", false),
    own("stepUpPasskey", false),
    own("sessions", false),
    own("endSession", false),
    own("endOtherSessions", false),
    Said { second_factor: true, ..role("passkeyOptions", ANY) },
    Said { second_factor: true, ..role("addPasskey", ANY) },
    Said { second_factor: true, ..role("removePasskey", ANY) },
    Said { second_factor: true, ..role("newRecoveryCodes", ANY) },
    Said { second_factor: true, ..role("changePassword", ANY) },
    Said { reason: true, second_factor: true, ..role("endSessions", &["admin"]) },
    own("sound", false),
    own("peaks", false),
    own("liveAgain", false),
    Said { reason: true, second_factor: true, ..role("breakGlass", HEARS) },
    Said { token: true, ..role("search", SEES) },
    Said { reach: true, token: true, ..role("recording", SEES) },
    Said { reach: true, token: true, ..role("manifest", SEES) },
    Said { reach: true, token: true, ..role("versions", SEES) },
    Said { reach: true, reason: true, ..role("addVersion", HEARS) },
    Said { reach: true, token: true, ..role("copies", SEES) },
    Said { reach: true, ..role("accesses", &["compliance", "auditor"]) },
    role("stock", STOCK),
    role("media", STOCK),
    role("medium", STOCK),
    Said { reason: true, ..role("moveMedium", &["operator"]) },
    role("keys", STOCK),
    role("live", &["operator", "reviewer", "compliance"]),
    Said { reach: true, reason: true, second_factor: true, ..role("play", HEARS) },
    Said { reach: true, token: true, ..role("matters", SEES) },
    role("holds", MATTERS),
    Said { reach: true, reason: true, ..role("hold", &["compliance"]) },
    Said { reach: true, reason: true, second_factor: true, ..role("releaseHold", &["compliance"]) },
    role("exportRequests", MATTERS),
    Said { reach: true, reason: true, ..role("askExport", &["compliance"]) },
    Said {
        reach: true,
        reason: true,
        second_factor: true,
        ..role("agreeToExport", &["compliance", "custodian"])
    },
    // For the reason of the request.
    Said { reach: true, second_factor: true, ..role("makeAskedExport", &["compliance"]) },
    Said { reach: true, reason: true, ..role("withdrawExport", &["compliance"]) },
    Said { reach: true, reason: true, second_factor: true, ..role("makeExport", &["compliance"]) },
    own("bundle", false),
    role("retention", MATTERS),
    role("retentionNow", MATTERS),
    Said { reach: true, reason: true, ..role("askDestruction", &["compliance", "dpo"]) },
    Said {
        reach: true,
        reason: true,
        second_factor: true,
        ..role("agreeToDestruction", &["custodian", "dpo"])
    },
    Said { reach: true, reason: true, ..role("withdrawDestruction", &["compliance", "dpo"]) },
    Said { reason: true, second_factor: true, ..role("destroy", &["custodian", "dpo"]) },
    role("certificate", MATTERS),
    role("approvals", &["compliance", "custodian", "auditor", "admin", "dpo"]),
    Said { token: true, ..role("log", &["auditor"]) },
    Said { token: true, ..role("logExport", &["auditor"]) },
    Said { token: true, ..role("users", &["admin", "auditor"]) },
    Said { reason: true, second_factor: true, ..role("addUser", &["admin"]) },
    Said { reason: true, second_factor: true, ..role("askForUser", &["admin"]) },
    Said { reason: true, second_factor: true, ..role("disableUser", &["admin"]) },
    Said { second_factor: true, ..role("agree", &["admin", "custodian"]) },
    Said { token: true, ..role("certifications", &["admin", "auditor"]) },
    Said { second_factor: true, ..role("certify", &["admin"]) },
    role("review", SEES_TO_IT),
    role("reviewReport", SEES_TO_IT),
    role("samples", &["reviewer"]),
    role("verdict", &["reviewer"]),
    Said { second_factor: true, ..role("makeToken", ANY) },
    Said { second_factor: true, ..role("revokeToken", ANY) },
];

/// Who asks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Proof {
    Nobody,
    Fresh,
    Old,
}

/// Kinds of problem by which somebody is kept out.
const KEPT_OUT: &[&str] = &[
    "sign-in",
    "role",
    "reach",
    "reason",
    "second-factor",
    "token",
    "origin",
    "csrf",
    "host",
    "fault",
    "unlogged",
];

fn expected(
    said: &Said,
    role: Option<Role>,
    is_own: bool,
    proof: Proof,
    has_reason: bool,
) -> Option<&'static str> {
    let roles = said.roles?;
    if proof == Proof::Nobody {
        return Some("sign-in");
    }
    if !roles.is_empty() && !role.is_some_and(|role| roles.contains(&role.as_str())) {
        return Some("role");
    }
    if said.reach && !is_own {
        return Some("reach");
    }
    if said.reason && !has_reason {
        return Some("reason");
    }
    (said.second_factor && proof != Proof::Fresh).then_some("second-factor")
}

fn filled(world: &World, id: &str, number: usize, is_own: bool, has_reason: bool) -> (String, Value) {
    let recording = if is_own { world.own } else { world.other };
    let mut path = route(id).path.replace("{id}", &recording.to_string()).replace("{user}", "nobody");
    let asked = match id {
        _ if id.ends_with("Export") => world.asked.get().0,
        _ if id.ends_with("Destruction") => world.asked.get().1,
        _ => 999,
    };
    path = path
        .replace("{number}", &asked.to_string())
        .replace("{form}", "json")
        .replace("{trace}", "00")
        .replace("{watch}", "00")
        .replace("{medium}", "none")
        .replace("{file}", if id == "pageFile" { "app.css" } else { "0" });
    let mut body = match id {
        "login" => json!({ "user": "x", "password": "y" }),
        "loginFactor" | "enrolConfirm" => json!({ "pending": "x", "code": "000000" }),
        "enrol" => json!({ "invite": "x", "password": "y" }),
        "stepUp" => json!({ "code": "abc" }),
        "loginOidcFinish" => json!({ "state": "x", "code": "y" }),
        "enrolPasskey" => json!({ "pending": "x" }),
        "addPasskey" => json!({ "pending": "x", "passkey": { "id": "AA", "response": {} } }),
        "changePassword" => json!({ "password": "x", "new_password": "y" }),
        "addUser" => json!({ "user": format!("new-{number}") }),
        "askForUser" => json!({ "reset": true }),
        "addVersion" => json!({ "kind": "note", "text": "x", "after": 999 }),
        "moveMedium" => json!({ "what": "check-out", "place": "safe" }),
        "hold" => json!({ "name": format!("M.{number}"), "recordings": [world.own] }),
        "releaseHold" => json!({ "name": "K.1" }),
        "askExport" | "makeExport" => json!({ "recordings": [world.own], "for": "court" }),
        "askDestruction" => json!({ "recordings": [world.own], "what": "erasure" }),
        "certify" => json!({ "roles": {} }),
        "verdict" => json!({ "verdict": "fine" }),
        "makeToken" => json!({ "label": "ci", "only": ["search"], "days": 1 }),
        _ => json!({}),
    };
    let takes_reason = route(id).fields.iter().any(|field| field.name == "reason");
    if has_reason && takes_reason {
        body["reason"] = json!({ "code": "quality", "text": "T-1" });
    }
    (path, body)
}

#[test]
fn the_requirements_name_each_route_and_no_other() {
    let (said, there): (Vec<_>, Vec<_>) =
        (SAID.iter().map(|said| said.route).collect(), ROUTES.iter().map(|route| route.id).collect());
    assert!(there.iter().all(|id| said.contains(id)), "a route that the requirements do not name: {there:?}");
    assert_eq!(said.len(), there.len());
    // What changes or shows anything of others is an action: it is decided, and logged.
    for route in ROUTES.iter().filter(|route| !matches!(route.rule, Rule::Action(..))) {
        assert!(
            [
                "page",
                "pageFile",
                "pageOidc",
                "openapi",
                "loginWays",
                "loginOidc",
                "loginOidcFinish",
                "login",
                "loginFactor",
                "enrol",
                "enrolConfirm",
                "loginPasskey",
                "enrolPasskey",
                "me",
                "stepUp",
                "stepUpPasskey",
                "sessions",
                "endSession",
                "endOtherSessions",
                "logout",
                "sound",
                "peaks",
                "liveAgain",
                "bundle",
            ]
            .contains(&route.id),
            "{}",
            route.id
        );
    }
}

/// Routes for which more is needed than who one is: what is sent here is of nobody.
const NOT_REACHED: &[&str] = &[
    "login",
    "loginFactor",
    "enrol",
    "enrolConfirm",
    "stepUp",
    "sound",
    "peaks",
    "agree",
    "askForUser",
    "disableUser",
    "revokeToken",
    "manifest",
    "loginOidc",
    "loginOidcFinish",
    "enrolPasskey",
    "stepUpPasskey",
    "addPasskey",
    "removePasskey",
    "endSession",
    "changePassword",
    "endSessions",
    "liveAgain",
    "medium",
    "moveMedium",
    "addVersion",
    "bundle",
    "certificate",
    "certify",
    "verdict",
];

#[test]
fn every_route_for_every_role_is_as_the_requirements_say() {
    wait(async {
        let world = World::new().await;
        let everybody: Vec<Option<Role>> = Role::ALL.into_iter().map(Some).chain([None]).collect();
        let name = |role: Option<Role>| role.map_or("nothing", Role::as_str);
        for role in &everybody {
            let sales = Reach::of(["sales".to_owned()], []);
            world.user(name(*role), role.map(|role| roles(role, sales)).unwrap_or_default());
        }
        world.ask_as("jan").await;
        let (mut number, mut done) = (0, 0);
        for said in SAID {
            let mut succeeded = 0;
            for (role, proof) in everybody
                .iter()
                .flat_map(|role| [Proof::Nobody, Proof::Fresh, Proof::Old].map(|proof| (*role, proof)))
            {
                for (is_own, has_reason) in [(true, true), (true, false), (false, true), (false, false)] {
                    let is_about_one = route(said.route).path.contains("{id}");
                    if !is_own && !is_about_one {
                        continue;
                    }
                    number += 1;
                    let (path, body) = filled(&world, said.route, number, is_own, has_reason);
                    let browser = match proof {
                        Proof::Nobody => None,
                        Proof::Fresh => Some(world.browser(name(role), 0)),
                        Proof::Old => Some(world.browser(name(role), 301)),
                    };
                    let before = world.entries();
                    let (status, answer) = world.ask(said.route, &path, browser.as_ref(), &body).await;
                    let what = format!(
                        "{} {role:?} own={is_own} {proof:?} reason={has_reason}: {answer}",
                        said.route
                    );
                    match expected(said, role, is_own, proof, has_reason) {
                        Some(refused) => assert_eq!(kind(&answer), refused, "{what}"),
                        None => assert!(!KEPT_OUT.contains(&kind(&answer)), "{what}"),
                    }
                    succeeded += usize::from(status.is_success());
                    // Nothing that is decided is not in the log.
                    let is_decided =
                        matches!(route(said.route).rule, Rule::Action(..)) && proof != Proof::Nobody;
                    assert!(!is_decided || world.entries() > before, "unlogged: {what}");
                    done += 1;
                }
            }
            let reaches_something = !NOT_REACHED.contains(&said.route);
            assert!(!reaches_something || succeeded > 0, "nobody gets through to {}", said.route);
        }
        assert_eq!(done, number);
        assert!(done > 1_000, "{done}");
    });
}

#[test]
fn a_token_does_what_it_is_for_and_nothing_that_takes_more() {
    wait(async {
        let world = World::new().await;
        for role in Role::ALL {
            world.user(role.as_str(), roles(role, Reach::All));
            let browser = world.browser(role.as_str(), 0);
            let body =
                json!({ "label": "ci", "only": ["search", "show", "read-log", "list-users"], "days": 90 });
            let (_, made) = world.ask("makeToken", "/api/v1/tokens", Some(&browser), &body).await;
            let token = made["token"].as_str().unwrap().to_owned();
            for (number, said) in SAID.iter().enumerate() {
                let (path, body) = filled(&world, said.route, number, true, true);
                let mut request = request(route(said.route), &path, None, &body);
                request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
                let (_, answer) = told(world.send(route(said.route), request).await).await;
                let may = said.token
                    && said.roles.is_none_or(|roles| roles.is_empty() || roles.contains(&role.as_str()));
                let what = format!("{} {role:?}: {answer}", said.route);
                assert_eq!(!KEPT_OUT.contains(&kind(&answer)), may, "{what}");
            }
            let revoke = format!("/api/v1/tokens/{}", made["number"]);
            let (status, _) = world.ask("revokeToken", &revoke, Some(&browser), &Value::Null).await;
            assert!(status.is_success());
            let mut request = request(route("me"), "/api/v1/me", None, &Value::Null);
            request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
            let (_, answer) = told(world.send(route("me"), request).await).await;
            assert_eq!(kind(&answer), "sign-in");
        }
    });
}

#[test]
fn a_broken_glass_reaches_further_and_alarms() {
    wait(async {
        let world = World::new().await;
        world.user("rita", roles(Role::Reviewer, Reach::of(["sales".to_owned()], [])));
        let browser: Browser = world.browser("rita", 0);
        let path = format!("/api/v1/recordings/{}", world.other);
        let (_, answer) = world.ask("recording", &path, Some(&browser), &Value::Null).await;
        assert_eq!(kind(&answer), "reach");
        let reason = json!({ "reason": { "code": "court-order", "text": "now" } });
        let (status, _) = world.ask("breakGlass", "/api/v1/break-glass", Some(&browser), &reason).await;
        assert!(status.is_success());
        let (status, _) = world.ask("recording", &path, Some(&browser), &Value::Null).await;
        assert!(status.is_success());
        let (entries, _) = world.shared.vault().log.read_from(0, 1_000).unwrap();
        let texts: Vec<_> = entries.iter().map(|entry| String::from_utf8_lossy(entry)).collect();
        assert!(texts.iter().any(|text| text.contains(r#""alarm":"glass-broken""#)));
        assert!(texts.iter().any(|text| text.contains("192.0.2.7, glass broken")));
    });
}
