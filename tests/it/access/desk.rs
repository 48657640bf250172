//! Giving recordings away over HTTPS: what was fetched verifies anywhere, and nothing of it is on a disk of ours.

use std::fs;

use sejf::archive::entry::Outcome;
use sejf::archive::record::Record;
use serde_json::json;

use super::{Person, Site, entries, has, invitation};
use crate::support::{assert_success, sejf, text};
use crate::vault_intake::World;

/// Recordings as Opus and as WAV, of which one is given away alone.
pub(super) fn site(alone_max: usize) -> Site {
    site_with(&format!("export_alone_max = {alone_max}"))
}

fn site_with(policy: &str) -> Site {
    let world = World::new();
    world.record(&["basic.pcap", "demo.pcap"], "spool");
    world.take_in("spool", true).unwrap();
    let path = world.bench.path("home/vault.toml");
    let config = fs::read_to_string(&path).unwrap();
    let other = config.replace("export_alone_max = 20", policy);
    assert_ne!(config, other);
    fs::write(&path, other).unwrap();
    Site::new(world, "")
}

pub(super) fn ids(site: &Site) -> Vec<String> {
    let recorded = site.world.records().into_iter().filter(Record::is_recorded);
    recorded.map(|record| record.id.to_string()).collect()
}

fn somebody(site: &Site, name: &str, role: &str) -> Person {
    site.enrol(&invitation(&site.user(&["add", name, "--role", role])))
}

/// Checks it as a stranger does who was told both keys.
pub(super) fn verify(site: &Site, bundle: &std::path::Path, more: &[&str]) -> String {
    let key = site.world.vault().key.to_string();
    let recorder = site.world.records()[0].recorder.clone();
    let mut args = vec!["verify", "--bundle", text(bundle), "--vault", &key, "--recorder", &recorder];
    args.extend(more);
    let checked = sejf(&args);
    assert_success(&checked);
    String::from_utf8_lossy(&checked.stdout).into_owned()
}

#[test]
fn a_bundle_that_was_fetched_verifies_and_no_disk_has_what_was_opened() {
    let site = site(1);
    let plain = site.world.opened();
    let ids = ids(&site);
    assert!(ids.len() >= 2);
    let (cora, carl) = (somebody(&site, "cora", "compliance"), somebody(&site, "carl", "compliance"));
    let why = json!({ "code": "court-order", "text": "II K 12/26" });
    let body = |ids: &[String], recipients: &[&str]| json!({ "recordings": ids, "for": "Sąd <Łódź>", "recipients": recipients, "reason": why });
    // One, in the open, alone.
    let made = site.post("/api/v1/exports", &cora, &body(&ids[..1], &[]));
    assert_eq!((made.status, made.json()["form"].as_str()), (201, Some("plain")), "{}", made.json());
    let url = made.json()["url"].as_str().unwrap().to_owned();
    let bundle = site.get(&url, &cora);
    assert_eq!(
        (bundle.status, bundle.header("content-type")),
        (200, "application/x-tar"),
        "{}",
        bundle.json()
    );
    assert!(bundle.header("content-disposition").starts_with("attachment; filename=\"sejf-bundle-"));
    assert_eq!(site.get(&url, &cora).problem(), "not-found", "once");
    let file = site.world.bench.path("plain.tar");
    fs::write(&file, &bundle.bytes).unwrap();
    let said = verify(&site, &file, &[]);
    assert!(said.contains("1 recordings are what their recorder signed, to the last byte"), "{said}");
    fs::remove_file(&file).unwrap();
    // More takes another.
    let refused = site.post("/api/v1/exports", &cora, &body(&ids, &[]));
    assert_eq!(refused.problem(), "second-person");
    let (key, recipient) = (site.world.bench.key(), site.world.bench.recipient.clone());
    let asked = site.post("/api/v1/exports/requests", &cora, &body(&ids, &[&recipient]));
    assert_eq!(asked.status, 202, "{}", asked.json());
    let of = |what: &str| format!("/api/v1/exports/requests/{}/{what}", asked.json()["number"]);
    let agree = json!({ "reason": why });
    assert_eq!(site.post(&of("agree"), &cora, &agree).problem(), "second-person");
    assert_eq!(site.post(&of("agree"), &carl, &agree).status, 200);
    let made = site.post(&of("bundle"), &cora, &json!({ "language": "pl" }));
    assert_eq!((made.status, made.json()["form"].as_str()), (201, Some("sealed")), "{}", made.json());
    let bundle = site.get(made.json()["url"].as_str().unwrap(), &cora);
    assert_eq!(bundle.status, 200);
    let file = site.world.bench.path("sealed.tar");
    fs::write(&file, &bundle.bytes).unwrap();
    let said = verify(&site, &file, &["-i", &key]);
    assert!(said.contains("nothing is changed"), "{said}");
    let again = site.post(&of("bundle"), &cora, &json!({}));
    assert_eq!((again.status, again.problem().as_str()), (409, "conflict"), "made once");
    // Neither of the sound nor of who spoke.
    for (name, bytes) in &plain {
        let needle = &bytes[bytes.len() / 2..][..48.min(bytes.len() / 2)];
        for folder in ["home", "store", "sealed.tar"] {
            assert!(!has(&site.world.bench.path(folder), needle), "{name} is in {folder}");
        }
    }
    said_first(&site);
}

/// The log has each before it was given away, with who, why and what came of it.
fn said_first(site: &Site) {
    let exports: Vec<_> = entries(site).into_iter().filter(|entry| entry.action.name() == "export").collect();
    let told = |outcome: &Outcome| match outcome {
        Outcome::Granted => "granted",
        Outcome::Refused(_) => "refused",
        Outcome::Done(_) => "done",
        Outcome::Failed(_) => "failed",
    };
    let outcomes: Vec<_> = exports.iter().map(|entry| told(&entry.outcome)).collect();
    let expected =
        ["granted", "done", "granted", "refused", "failed", "granted", "done", "granted", "failed"];
    assert_eq!(outcomes, expected);
    assert!(exports.iter().all(|entry| entry.actor == "user:cora"));
    let Outcome::Done(done) = &exports[6].outcome else { panic!("{:?}", exports[6]) };
    assert!(done["request"].is_u64() && done["form"] == "sealed");
}

/// Whoever takes half of it has no bundle, and the log has that it did not become whole.
#[test]
fn half_a_bundle_is_none() {
    let site = site(19);
    let cora = somebody(&site, "cora", "compliance");
    let body = json!({ "recordings": ids(&site), "for": "x", "reason": { "code": "audit", "text": "" } });
    let made = site.post("/api/v1/exports", &cora, &body);
    let bundle = site.get(made.json()["url"].as_str().unwrap(), &cora);
    assert_eq!(bundle.status, 200);
    let file = site.world.bench.path("half.tar");
    for length in [bundle.bytes.len() / 2, bundle.bytes.len() - 512, 0] {
        fs::write(&file, &bundle.bytes[..length]).unwrap();
        assert_eq!(sejf(&["verify", "--bundle", text(&file)]).status.code(), Some(1), "{length}");
    }
    // A copy that was changed is found before a byte of it is sent.
    let changed = site.world.records().into_iter().find(Record::is_recorded).unwrap();
    let object = changed.files[0].body_object(&changed.id, changed.receipt.start);
    let path = site.world.bench.path("store").join(object);
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let mut permissions = fs::metadata(&path).unwrap().permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o600);
    fs::set_permissions(&path, permissions).unwrap();
    fs::write(&path, bytes).unwrap();
    let one = json!({ "recordings": [changed.id], "for": "x", "reason": { "code": "audit", "text": "" } });
    let made = site.post("/api/v1/exports", &cora, &one);
    assert_eq!(made.status, 201);
    let client = site.client(&site.world.bench.path("home/tls/authority.pem"));
    let url = format!("{}{}", site.base, made.json()["url"].as_str().unwrap());
    let got = site.runtime.block_on(async {
        let response = client.get(url).header("cookie", &cora.cookie).send().await.unwrap();
        (response.status().as_u16(), response.bytes().await.map(|bytes| bytes.len()))
    });
    assert!(got.0 == 500 || got.1.is_err(), "{got:?}");
    let last = entries(&site).pop().unwrap();
    assert!(matches!(&last.outcome, Outcome::Failed(why) if why.contains("changed")), "{last:?}");
}

/// A vault that gives nothing away in the open asks for the receiver's key.
#[test]
fn where_nothing_is_given_in_the_open_it_takes_a_key() {
    let site = site_with("export_plain = false");
    let cora = somebody(&site, "cora", "compliance");
    let why = json!({ "code": "audit", "text": "" });
    let body = |recipients: &[&str]| json!({ "recordings": &ids(&site)[..1], "for": "x", "recipients": recipients, "reason": why });
    for path in ["/api/v1/exports", "/api/v1/exports/requests"] {
        let refused = site.post(path, &cora, &body(&[]));
        assert_eq!((refused.status, refused.problem().as_str()), (409, "conflict"), "{path}");
    }
    let made = site.post("/api/v1/exports", &cora, &body(&[&site.world.bench.recipient]));
    assert_eq!(made.status, 201, "{}", made.json());
    let requests = site.get("/api/v1/exports/requests", &cora).json();
    assert_eq!((&requests["plain"], &requests["requests"]), (&json!(false), &json!([])));
    assert_eq!(requests["given_alone"], 1, "what is offered counts");
}
