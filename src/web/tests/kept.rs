//! What is said of a recording, who saw it, and how what is kept stands.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::{Browser, World, kind, roles, wait};
use crate::archive::access::Role;
use crate::archive::copies::CopyState;
use crate::archive::duties::Duty;
use crate::archive::entry::{Entry, Outcome};
use crate::archive::media::Medium;
use crate::archive::reach::Reach;
use crate::shell::clock;
use crate::shell::vault::catalog::copies::{Seen, Standing};
use crate::shell::vault::catalog::media::Move;

fn sales() -> Reach {
    Reach::of(["sales".to_owned()], [])
}

impl World {
    fn somebody(&self, name: &str, role: Role, reach: Reach) -> Browser {
        self.user(name, roles(role, reach));
        self.browser(name, 0)
    }

    async fn say(&self, of: &Browser, path: &str, body: Value) -> (StatusCode, Value) {
        let mut body = body;
        body["reason"] = json!({ "code": "complaint", "text": "T-17" });
        self.ask("addVersion", path, Some(of), &body).await
    }

    /// The log's text.
    fn log(&self) -> String {
        let (entries, _) = self.shared.vault().log.read_from(0, 1_000).unwrap();
        entries.iter().map(|entry| String::from_utf8_lossy(entry) + "\n").collect()
    }
}

#[test]
fn versions_are_said_in_turn_and_found_by_what_holds_now() {
    wait(async {
        let world = World::new().await;
        let rita = world.somebody("rita", Role::Reviewer, Reach::All);
        let path = format!("/api/v1/recordings/{}/versions", world.own);
        let note = json!({ "kind": "note", "text": "Called back on Friday", "after": 0 });
        let (status, said) = world.say(&rita, &path, note.clone()).await;
        assert_eq!((status, &said["version"]), (StatusCode::CREATED, &json!(1)), "{said}");
        // Sent twice, as by a browser that was cut off, it is said once.
        let (status, said) = world.say(&rita, &path, note).await;
        assert_eq!((status, &said["version"], &said["was_there"]), (StatusCode::OK, &json!(1), &json!(true)));
        let label = |after: u32| json!({ "kind": "labels", "add": ["vip"], "remove": [], "after": after });
        let (status, told) = world.say(&rita, &path, label(0)).await;
        assert_eq!((status, kind(&told)), (StatusCode::CONFLICT, "meanwhile"), "{told}");
        let (status, told) = world.say(&rita, &path, label(1)).await;
        assert_eq!(status, StatusCode::CREATED, "{told}");
        let correction = |was: &str| json!({ "kind": "correction", "field": "caller", "was": was, "is": "+48229998877", "after": 2 });
        let (status, told) = world.say(&rita, &path, correction("somebody")).await;
        assert_eq!((status, kind(&told)), (StatusCode::UNPROCESSABLE_ENTITY, "version"), "{told}");
        let (status, told) = world.say(&rita, &path, correction("")).await;
        assert_eq!(status, StatusCode::CREATED, "{told}");
        let (_, all) = world.ask("versions", &path, Some(&rita), &Value::Null).await;
        assert_eq!(all["number"], 3);
        let kinds: Vec<_> = all["versions"].as_array().unwrap().iter().map(|one| &one["kind"]).collect();
        assert_eq!(kinds, ["note", "labels", "correction"]);
        assert_eq!(all["versions"][0]["author"], "user:rita");
        assert_eq!(all["versions"][0]["reason"], json!({ "code": "complaint", "text": "T-17" }));
        assert_eq!((&all["now"]["tags"], &all["now"]["caller"]), (&json!(["vip"]), &json!("+48229998877")));
        let (_, found) = world.ask("search", "/api/v1/recordings?tag=vip", Some(&rita), &Value::Null).await;
        assert_eq!(found["recordings"][0]["id"], world.own.to_string());
        let log = world.log();
        assert!(!log.contains("Friday") && !log.contains("vip") && !log.contains("+48229998877"), "{log}");
        assert!(log.contains(r#""action":"annotate""#) && log.contains(r#""kind":"labels""#));
    });
}

#[test]
fn what_is_out_of_reach_gets_no_version_and_what_makes_no_sense_is_told() {
    wait(async {
        let world = World::new().await;
        let rita = world.somebody("rita", Role::Reviewer, sales());
        let other = format!("/api/v1/recordings/{}/versions", world.other);
        let note = json!({ "kind": "note", "text": "x", "after": 0 });
        assert_eq!(kind(&world.say(&rita, &other, note).await.1), "reach");
        assert_eq!(kind(&world.ask("versions", &other, Some(&rita), &Value::Null).await.1), "reach");
        let own = format!("/api/v1/recordings/{}/versions", world.own);
        for (wrong, expected) in [
            (json!({ "kind": "note", "text": "" , "after": 0 }), "version"),
            (json!({ "kind": "note", "text": "\u{1b}[31mred", "after": 0 }), "version"),
            (json!({ "kind": "note", "text": "x".repeat(20_000), "after": 0 }), "version"),
            (json!({ "kind": "labels", "add": [], "remove": [], "after": 0 }), "version"),
            (json!({ "kind": "correction", "field": "id", "is": "x", "after": 0 }), "request"),
            (json!({ "kind": "erased", "after": 0 }), "request"),
            (json!({ "kind": "note", "text": "x" }), "request"),
            (json!({ "kind": "redacted", "spans": ["2-1"], "after": 0 }), "request"),
            (json!({ "kind": "redacted", "spans": ["0-1"], "after": 7 }), "meanwhile"),
        ] {
            let (_, told) = world.say(&rita, &own, wrong.clone()).await;
            assert_eq!(kind(&told), expected, "{wrong} {told}");
        }
        let ela = world.somebody("ela", Role::Reviewer, Reach::All);
        let nothing = "/api/v1/recordings/0193c4a5-0000-7000-8000-00000000ffff/versions";
        assert_eq!(kind(&world.ask("versions", nothing, Some(&ela), &Value::Null).await.1), "not-found");
        let (_, all) = world.ask("versions", &own, Some(&ela), &Value::Null).await;
        assert_eq!(all["number"], 0);
    });
}

#[test]
fn who_saw_and_heard_it_is_told_with_the_reason() {
    wait(async {
        let world = World::new().await;
        let rita = world.somebody("rita", Role::Reviewer, Reach::All);
        let cora = world.somebody("cora", Role::Compliance, sales());
        let one = format!("/api/v1/recordings/{}", world.own);
        world.ask("recording", &one, Some(&rita), &Value::Null).await;
        world.ask("recording", &one, Some(&rita), &Value::Null).await;
        let reason = json!({ "reason": { "code": "complaint", "text": "T-17" } });
        let (status, play) = world.ask("play", &format!("{one}/plays"), Some(&rita), &reason).await;
        assert_eq!(status, StatusCode::CREATED);
        let (_, told) = world.ask("accesses", &format!("{one}/accesses"), Some(&cora), &Value::Null).await;
        let all = told["accesses"].as_array().unwrap();
        let shown: Vec<_> = all.iter().map(|one| (one["action"].as_str().unwrap(), &one["went"])).collect();
        assert_eq!(
            shown,
            [("show-access", &json!("granted")), ("open", &json!("done")), ("show", &json!("granted"))]
        );
        assert_eq!((&all[1]["trace"], &all[1]["actor"]), (&play["trace"], &json!("user:rita")));
        assert_eq!(all[1]["reason"]["text"], "T-17");
        assert_eq!(all[2]["times"], 2);
        assert_eq!(told["before"], Value::Null);
        // From an entry back: of what came after it nothing.
        let earlier = format!("{one}/accesses?before={}", all[2]["entry"].as_u64().unwrap() + 1);
        let (_, told) = world.ask("accesses", &earlier, Some(&cora), &Value::Null).await;
        assert_eq!(told["accesses"].as_array().unwrap().len(), 1);
        let other = format!("/api/v1/recordings/{}/accesses", world.other);
        assert_eq!(kind(&world.ask("accesses", &other, Some(&cora), &Value::Null).await.1), "reach");
    });
}

#[test]
fn places_and_lost_recordings_are_told_and_ids_only_to_who_reaches_all() {
    wait(async {
        let world = World::new().await;
        let catalog = world.shared.intake.catalog();
        catalog.set_place("first", "here", false).await.unwrap();
        let seen = |id, state| Seen { id, place: "first".into(), state, at: clock::now() };
        catalog
            .set_copies(&[seen(world.own, CopyState::Broken), seen(world.other, CopyState::Good)])
            .await
            .unwrap();
        let changes = catalog.changes(&[world.own]).await.unwrap()[&world.own];
        catalog.set_standing(&[(world.own, Standing::Short, changes)]).await.unwrap();
        let olek = world.somebody("olek", Role::Operator, Reach::All);
        let (_, told) = world.ask("stock", "/api/v1/stock", Some(&olek), &Value::Null).await;
        assert_eq!((&told["short"], &told["due"], &told["met"]), (&json!(1), &json!(1), &json!(0)));
        assert_eq!(told["lost"], json!({ "count": 1, "more": false, "ids": [world.own.to_string()] }));
        let place = &told["places"][0];
        assert_eq!(
            (&place["good"], &place["broken"], &place["worm"]["state"]),
            (&json!(1), &json!(1), &json!("untested"))
        );
        assert_eq!(told["classes"][0]["class"], "calls-5y");
        assert_eq!(told["duties"].as_array().unwrap().len(), Duty::ALL.len());
        let cora = world.somebody("cora", Role::Compliance, sales());
        let (_, told) = world.ask("stock", "/api/v1/stock", Some(&cora), &Value::Null).await;
        assert_eq!(told["lost"], json!({ "count": 1, "more": false, "ids": [] }));
        let path = format!("/api/v1/recordings/{}/copies", world.own);
        let (_, told) = world.ask("copies", &path, Some(&cora), &Value::Null).await;
        assert_eq!((&told["copies"][0]["state"], &told["met"]), (&json!("broken"), &json!(false)));
        assert_eq!(told["policy"]["total"], 3);
    });
}

#[test]
fn a_medium_goes_out_and_comes_back_and_the_log_has_it_first() {
    wait(async {
        let world = World::new().await;
        let medium = Medium {
            schema: 1,
            id: "M-0001".into(),
            label: "November".into(),
            vault: world.shared.vault().key.to_string(),
            written: clock::now(),
            recordings: vec![world.own],
        };
        let written = Move {
            at: medium.written,
            what: "written".into(),
            who: "local:root".into(),
            seal: "S-1".into(),
            place: "safe".into(),
            reason: "transfer".into(),
            entry: 0,
        };
        world.shared.intake.catalog().add_medium(&medium, &[], &written).await.unwrap();
        let olek = world.somebody("olek", Role::Operator, Reach::All);
        let path = "/api/v1/media/M-0001/moves";
        let moving = |what: &str, place: &str| json!({ "what": what, "place": place, "seal": "S-2", "reason": { "code": "audit", "text": "T-9" } });
        let ask = async |body: Value| world.ask("moveMedium", path, Some(&olek), &body).await;
        assert_eq!(kind(&ask(moving("check-in", "safe")).await.1), "conflict");
        for (what, place) in
            [("destroyed", "x"), ("check-out", ""), ("check-out", "a\nb"), ("check-out", "\u{202e}x")]
        {
            assert_eq!(kind(&ask(moving(what, place)).await.1), "request", "{what} {place:?}");
        }
        let (status, told) = ask(moving("check-out", "Ewa")).await;
        assert_eq!((status, &told["medium"]["is_out"]), (StatusCode::OK, &json!(true)), "{told}");
        assert_eq!(kind(&ask(moving("check-out", "Jan")).await.1), "conflict");
        assert_eq!(ask(moving("check-in", "safe 2")).await.0, StatusCode::OK);
        let (_, told) = world.ask("medium", "/api/v1/media/M-0001", Some(&olek), &Value::Null).await;
        let moves: Vec<_> = told["moves"].as_array().unwrap().iter().map(|one| &one["what"]).collect();
        assert_eq!(moves, ["written", "check-out", "check-in"]);
        assert_eq!(
            (&told["moves"][1]["who"], &told["moves"][1]["reason"]),
            (&json!("user:olek"), &json!("audit T-9"))
        );
        assert_eq!((&told["medium"]["place"], &told["medium"]["seal"]), (&json!("safe 2"), &json!("S-2")));
        assert!(told["medium"]["due"]["check"].is_string(), "{told}");
        let (_, all) = world.ask("media", "/api/v1/media", Some(&olek), &Value::Null).await;
        assert_eq!(all["media"].as_array().unwrap().len(), 1);
        let log = world.log();
        let granted = log.find(r#""resource":{"medium":"M-0001"}"#).unwrap();
        assert!(granted < log.find(r#""what":"check-out""#).unwrap());
        let strange = "/api/v1/media/..%2fx/moves";
        let (_, told) = world.ask("moveMedium", strange, Some(&olek), &moving("check-out", "x")).await;
        assert_eq!(kind(&told), "not-found");
        let (_, told) =
            world.ask("moveMedium", "/api/v1/media/M-2/moves", Some(&olek), &moving("check-out", "x")).await;
        assert_eq!(kind(&told), "not-found");
        // What was granted and came to nothing, the log says of it: two conflicts, four that make no sense, no medium.
        let (entries, _) = world.shared.vault().log.read_from(0, 1_000).unwrap();
        let moves = entries.iter().map(|bytes| Entry::from_bytes(bytes).unwrap());
        let moves: Vec<_> = moves.filter(|entry| entry.action.name() == "media").collect();
        let of = |is: fn(&Outcome) -> bool| moves.iter().filter(|entry| is(&entry.outcome)).count();
        assert_eq!(of(|outcome| matches!(outcome, Outcome::Granted)), 9);
        assert_eq!(of(|outcome| matches!(outcome, Outcome::Failed(_))), 7);
        assert_eq!(of(|outcome| matches!(outcome, Outcome::Done(_))), 2);
    });
}

#[test]
fn how_the_keys_stand_is_told_without_a_key() {
    wait(async {
        let world = World::new().await;
        let kuba = world.somebody("kuba", Role::Custodian, Reach::All);
        let (_, told) = world.ask("keys", "/api/v1/keys", Some(&kuba), &Value::Null).await;
        assert_eq!((&told["locked"], &told["threshold"]), (&json!(false), &json!(1)));
        assert_eq!(told["custodians"][0]["name"], "ewa");
        assert_eq!(told["custodians"][0]["overdue"], false);
        let epochs = told["epochs"].as_array().unwrap();
        let of = epochs.iter().find(|epoch| epoch["month"] == "2026-11" && epoch["class"] == "calls-5y");
        assert_eq!(
            of.map(|epoch| (&epoch["left"], &epoch["destroyed"])),
            Some((&json!(2), &json!(false))),
            "{told}"
        );
        assert!(
            epochs.iter().all(|epoch| epoch["recipient"].as_str().is_some_and(|one| one.starts_with("age1")))
        );
        assert!(!told.to_string().to_uppercase().contains("SECRET-KEY"));
        world.shared.intake.set_keys(None);
        let (_, told) = world.ask("keys", "/api/v1/keys", Some(&kuba), &Value::Null).await;
        assert_eq!(told["locked"], true);
        let rita = world.somebody("rita", Role::Reviewer, Reach::All);
        let path = format!("/api/v1/recordings/{}/versions", world.own);
        assert_eq!(kind(&world.ask("versions", &path, Some(&rita), &Value::Null).await.1), "locked");
    });
}

/// A recorder's control socket, as far as it is asked.
fn recorder(path: &std::path::Path) {
    let listener = UnixListener::bind(path).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            for line in BufReader::new(stream.try_clone().unwrap()).lines() {
                let asked: Value = serde_json::from_str(&line.unwrap()).unwrap();
                let call = |trunk: &str| {
                    json!({ "id": "0193c4a5-0000-7000-8000-000000000001", "trunk": trunk, "rule": "all@1",
                        "format": "opus", "since": "2026-11-23T21:08:41Z", "state": "talking",
                        "codecs": ["PCMA", "PCMA"], "packets": 9, "lost": 1, "loss_percent": 10.0,
                        "jitter_ms": 1.5, "kbit_s": 64.0 })
                };
                let answer = match asked["cmd"].as_str() {
                    Some("status") => {
                        json!({ "ok": true, "status": crate::shell::status::snapshot::Snapshot::default() })
                    }
                    _ if asked["parties"] == true => json!({ "ok": false, "error": "not permitted" }),
                    _ => json!({ "ok": true, "calls": [call("orange"), call("other")] }),
                };
                stream.write_all(format!("{answer}\n").as_bytes()).unwrap();
            }
        }
    });
}

#[test]
fn live_calls_are_told_as_far_as_reach_goes_or_that_there_is_no_recorder() {
    wait(async {
        let world = World::new().await;
        let olek = world.somebody("olek", Role::Operator, Reach::All);
        let (_, told) = world.ask("live", "/api/v1/live", Some(&olek), &Value::Null).await;
        assert_eq!(told["configured"], false);
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("control.sock");
        let config = format!("[web]\nlisten = '127.0.0.1:0'\nrecorder = {socket:?}\n");
        let world = World::with(&config).await;
        let olek = world.somebody("olek", Role::Operator, Reach::All);
        let (_, told) = world.ask("live", "/api/v1/live", Some(&olek), &Value::Null).await;
        assert_eq!(told["configured"], true);
        assert!(told["fault"].as_str().unwrap().contains("does it run?"), "{told}");
        recorder(&socket);
        let (_, told) = world.ask("live", "/api/v1/live", Some(&olek), &Value::Null).await;
        assert_eq!((&told["count"], &told["all"]), (&json!(2), &json!(2)), "{told}");
        let rita = world.somebody("rita", Role::Reviewer, Reach::of([], ["orange".to_owned()]));
        let (_, told) = world.ask("live", "/api/v1/live", Some(&rita), &Value::Null).await;
        assert_eq!(
            (&told["count"], &told["all"], &told["calls"][0]["trunk"]),
            (&json!(1), &Value::Null, &json!("orange"))
        );
        // Again without another entry; by nobody else, nor when the roles are gone.
        let (before, watch) = (world.entries(), told["watch"].as_str().unwrap().to_owned());
        let path = format!("/api/v1/live/{watch}");
        let (_, again) = world.ask("liveAgain", &path, Some(&rita), &Value::Null).await;
        assert_eq!((&again["count"], world.entries()), (&json!(1), before));
        assert_eq!(kind(&world.ask("liveAgain", &path, Some(&olek), &Value::Null).await.1), "not-found");
    });
}
