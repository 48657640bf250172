//! `sejf review`, `sejf sample`, roles certified again: over the command line, with a real vault.

use std::fs;

use sejf::archive::access::Action;
use sejf::archive::entry::{Entry, Outcome, Resource, SCHEMA};
use sejf::archive::review::{Review, State};
use sejf::archive::sampling::{Quarter, Told};
use sejf::shell::clock;

use crate::support::{assert_success, sejf, text};
use crate::vault_intake::World;

fn review(world: &World, more: &[&str]) -> (Option<i32>, String) {
    let home = world.bench.path("home");
    let args: Vec<&str> = ["review", text(&home)].into_iter().chain(more.iter().copied()).collect();
    let done = sejf(&args);
    (done.status.code(), String::from_utf8_lossy(&done.stdout).into_owned())
}

fn state(made: &Review, id: &str) -> State {
    made.findings.iter().find(|one| one.id == id).unwrap_or_else(|| panic!("no {id}")).state
}

fn of_json(world: &World) -> Review {
    serde_json::from_str(&review(world, &["--json"]).1).expect("a review")
}

#[test]
fn a_review_finds_what_is_wrong_and_its_report_is_the_vaults() {
    let world = World::new();
    world.record(&["basic.pcap"], "spool");
    world.take_in("spool", true).expect("taken in");
    let (code, said) = review(&world, &[]);
    // Nobody has restored anything yet.
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("! FAILS") && said.contains("restore-test first: never"), "{said}");
    assert!(said.contains("do:   `sejf restore-test HOME"), "{said}");
    let made = of_json(&world);
    assert_eq!(state(&made, "mfa"), State::Ok);
    assert_eq!(state(&made, "recorder-canary"), State::Unknown);
    assert_eq!(state(&made, "advisories"), State::Unknown);
    assert_eq!(state(&made, "copies-short"), State::Ok, "it was taken in just now");
    assert!(made.findings.windows(2).all(|two| two[0].state <= two[1].state), "the worst first");

    // Restored, and then it is well there.
    let to = world.bench.path("restored");
    let (home, key) = (world.bench.path("home"), world.bench.path("ewa.key"));
    // What is in the first place is no copy before it was looked at.
    sejf(&["copies", "run", text(&home)]);
    assert_success(&sejf(&["restore-test", text(&home), "--to", text(&to), "-i", text(&key)]));
    assert_eq!(state(&of_json(&world), "restore-test"), State::Ok);

    // What is configured against is found: a limit that everything breaks.
    let config = fs::read_to_string(home.join("vault.toml")).unwrap();
    fs::write(home.join("advisories.json"), AUDIT).unwrap();
    let strict = "\n[review]\nrecorder = '1 second'\nadvisories = 'advisories.json'\n";
    fs::write(home.join("vault.toml"), format!("{config}{strict}")).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(1_200));
    let made = of_json(&world);
    assert_eq!(state(&made, "recorder-intake"), State::Fails);
    assert_eq!(state(&made, "advisories"), State::Fails);
    let status = sejf(&["vault", "status", text(&home)]);
    let told = String::from_utf8_lossy(&status.stdout);
    assert_eq!(status.status.code(), Some(1));
    assert!(told.contains("! advisories") && told.contains("RUSTSEC-2026-0001"), "{told}");

    // The report: signed, in the log, and changed by nobody.
    let report = world.bench.path("report.html");
    let (_, said) = review(&world, &["--report", text(&report), "--language", "pl"]);
    assert!(said.contains("Report"), "{said}");
    let public = fs::read_to_string(home.join("signer.pub")).unwrap();
    let verify = || sejf(&["review", "--verify", text(&report), "--vault", public.trim()]);
    assert_success(&verify());
    let page = fs::read_to_string(&report).unwrap();
    assert!(page.contains("Przegląd archiwum") && !page.contains("<script"));
    let vault = world.vault();
    let (entries, _) = vault.log.read_from(0, 100_000).unwrap();
    let body = page.split("<!-- signed").next().unwrap();
    let digest = sejf::archive::record::Digest::of(body.as_bytes()).to_string();
    let is_there = entries.iter().any(|entry| String::from_utf8_lossy(entry).contains(&digest));
    assert!(is_there, "the log has not its SHA-256");
    fs::write(&report, page.replace("RUSTSEC-2026-0001", "RUSTSEC-2026-0002")).unwrap();
    let changed = verify();
    assert_eq!(changed.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&changed.stdout).contains("changed"));
    // Nothing is written over.
    let again = sejf(&["review", text(&home), "--report", text(&report)]);
    assert_eq!(again.status.code(), Some(2), "{}", String::from_utf8_lossy(&again.stderr));
}

/// A place that is away, a catalog that is lost: told, and the rest is reviewed all the same.
#[test]
fn what_is_not_there_is_told_and_hides_nothing_else() {
    let world = World::new();
    world.record(&["basic.pcap"], "spool");
    world.take_in("spool", true).expect("taken in");
    let (store, aside) = (world.bench.path("store"), world.bench.path("aside"));
    fs::rename(&store, &aside).unwrap();
    fs::create_dir(&store).unwrap();
    assert_eq!(state(&of_json(&world), "place"), State::Fails);
    fs::remove_dir(&store).unwrap();
    fs::rename(&aside, &store).unwrap();
    assert_ne!(state(&of_json(&world), "place"), State::Fails);
    fs::remove_file(world.bench.path("home/catalog.db")).unwrap();
    for file in ["catalog.db-wal", "catalog.db-shm"] {
        let _ = fs::remove_file(world.bench.path("home").join(file));
    }
    let made = of_json(&world);
    assert_eq!(state(&made, "copies-lost"), State::Unknown);
    assert_eq!(state(&made, "mfa"), State::Ok);
}

#[test]
fn roles_are_certified_by_a_custodian_and_the_log_has_it() {
    let world = World::new();
    let (home, key) = (world.bench.path("home"), world.bench.path("ewa.key"));
    let user = |args: &[&str]| {
        let all: Vec<&str> = ["vault", "user"].iter().chain(args).copied().collect();
        sejf(&all)
    };
    let key = text(&key);
    assert_success(&user(&[
        "add",
        text(&home),
        "rita",
        "--role",
        "reviewer",
        "-i",
        key,
        "--reason",
        "audit",
    ]));
    let done = user(&["certify", text(&home), "rita", "-i", key]);
    assert_success(&done);
    assert!(String::from_utf8_lossy(&done.stdout).contains("rita: reviewer"));
    let nobody = user(&["certify", text(&home), "nobody", "-i", key]);
    assert_eq!(nobody.status.code(), Some(2));
    let entries = world.vault().log.read_from(0, 100_000).unwrap().0;
    let certified = |entry: &&Vec<u8>| {
        let text = String::from_utf8_lossy(entry);
        text.contains(r#""action":"certify-roles""#) && text.contains(r#""change":"certify""#)
    };
    assert_eq!(entries.iter().filter(certified).count(), 1);
    let listed = user(&["list", text(&home), "--json"]);
    assert!(String::from_utf8_lossy(&listed.stdout).contains("\"certified\":"));
}

/// Our captures are of May 2026: the quarter before this one has none, so what is drawn is said by hand here.
#[test]
fn what_was_drawn_is_judged_by_whom_it_was_drawn_for() {
    let world = World::new();
    world.record(&["basic.pcap"], "spool");
    world.take_in("spool", true).expect("taken in");
    let home = world.bench.path("home");
    let list = || {
        let done = sejf(&["sample", "list", text(&home)]);
        (done.status.code(), String::from_utf8_lossy(&done.stdout).into_owned())
    };
    let quarter = Quarter::of(clock::now()).before();
    let (code, said) = list();
    assert_eq!(code, Some(0));
    assert!(said.contains(&format!("{quarter}: 0 of 0 judged")), "{said}");
    let id = world.records()[0].id;
    let actor = format!("local:{}", sejf::shell::vault::home::user());
    let entry = |told: &Told| Entry {
        schema: SCHEMA,
        at: clock::now(),
        actor: actor.clone(),
        origin: "local".into(),
        action: Action::Sample,
        resource: Resource::Vault,
        reason: None,
        outcome: Outcome::Done(told.to_json()),
    };
    let drawn = Told::Drawn { quarter, reviewer: actor.clone(), of: 1, ids: vec![id] };
    world.vault().log.write(&[entry(&drawn)]).unwrap();
    let (code, said) = list();
    assert_eq!(code, Some(1), "{said}");
    let (id, key) = (id.to_string(), world.bench.path("ewa.key"));
    let judge = |more: &[&str]| {
        let all: Vec<&str> = ["sample", "judge", text(&home)].iter().chain(more).copied().collect();
        sejf(&all)
    };
    assert_eq!(judge(&[&id, "splendid"]).status.code(), Some(2));
    let other = "0193c4a5-0000-7000-8000-000000000001";
    assert_eq!(judge(&[other, "fine"]).status.code(), Some(2), "not drawn");
    assert_success(&judge(&[&id, "fine"]));
    assert!(list().1.contains("1 of 1 judged"));
    // What more there is to say is sealed with the recording, and not in the log.
    let said = "must-not-be-recorded";
    let noted = [&*id, said, "--text", "Jana spoke of her health", "--reason", "quality", "-i", text(&key)];
    assert_success(&judge(&noted));
    let (entries, _) = world.vault().log.read_from(0, 100_000).unwrap();
    let all: String = entries.iter().map(|entry| String::from_utf8_lossy(entry).into_owned()).collect();
    assert!(all.contains(said) && !all.contains("health"), "{all}");
    let history = sejf(&["history", text(&home), &id, "-i", text(&key)]);
    assert!(String::from_utf8_lossy(&history.stdout).contains("her health"));
    let made = of_json(&world);
    assert_eq!(state(&made, "sampling"), State::Fails, "something must not have been recorded");
}

const AUDIT: &str = r#"{"database":{"last-updated":"2026-11-20T10:00:00Z"},"vulnerabilities":{"found":true,"count":1,
"list":[{"advisory":{"id":"RUSTSEC-2026-0001"},"package":{"name":"x","version":"1.0.0"}}]}}"#;
