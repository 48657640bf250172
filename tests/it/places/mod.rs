//! Places: what they do, what they cannot be talked into, and what is noticed when they lie.
//!
//! The same tests run against a folder, a store in this process, and real servers where there are some: Ceph's S3
//! at `SEJF_TEST_S3` (started by `tests/s3.sh`), Azurite at `SEJF_TEST_AZURE`.

mod copies;
mod lies;
pub(crate) mod store;

use std::fs;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use object_store::aws::{AwsAuthorizer, AwsCredential};
use object_store::client::{HttpRequest, HttpRequestBody};
use sejf::archive::copies::Worm;
use sejf::archive::record::Digest;
use sejf::shell::vault::config::PlaceConfig;
use sejf::shell::vault::place::{Content, Found, Pace, Patience, Place, PlaceError, Removal};
use sejf::shell::vault::place::{check, fetch, open, open_with};

use crate::places::store::{Lie, Store};

pub(crate) fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn bytes(text: &str) -> Content {
    Content::Bytes(Bytes::copy_from_slice(text.as_bytes()))
}

/// A place of kind S3.
fn s3(dir: &Path, endpoint: &str, bucket: &str, more: &str) -> PlaceConfig {
    let credentials = dir.join("credentials");
    fs::write(&credentials, "access_key_id = 'AK'\nsecret_access_key = 'SK'\n").unwrap();
    let text = format!(
        "name = 'store'\nsite = 'far'\nkind = 's3'\nendpoint = '{endpoint}'\nbucket = '{bucket}'\nprefix = 'sejf'\n\
         credentials = '{}'\nloopback_http = true\n{more}",
        credentials.display()
    );
    toml::from_str(&text).unwrap()
}

/// Tries again at once.
fn patient() -> Patience {
    Patience { retries: 3, backoff: Duration::from_millis(1), ..Patience::default() }
}

/// Waits for little, for what will fail; it fails as it would later.
fn impatient() -> Patience {
    Patience { idle: Duration::from_secs(2), request: Duration::from_secs(3), ..patient() }
}

/// What every place does.
async fn behaves(place: &dyn Place, dir: &Path) {
    let (body, header) = ("2026/11/23/a.opus.body", "2026/11/23/a.opus.hdr");
    assert_eq!(place.size(body).await.unwrap(), None);
    assert_eq!(place.get(body, None).await.unwrap(), None);
    assert_eq!(place.remove(body).await.unwrap(), Removal::Absent);
    place.put_new(body, bytes("one"), false).await.unwrap();
    // Again, by somebody who was interrupted.
    place.put_new(body, bytes("one"), true).await.unwrap();
    let other = place.put_new(body, bytes("two"), false).await;
    assert!(matches!(other, Err(PlaceError::Exists { .. })), "{other:?}");
    let other = place.put_new(body, bytes("longer"), false).await;
    assert!(matches!(other, Err(PlaceError::Exists { .. })), "{other:?}");
    assert_eq!(&place.get(body, None).await.unwrap().unwrap()[..], b"one");
    assert_eq!(&place.get(body, Some(1..9)).await.unwrap().unwrap()[..], b"ne");
    assert_eq!(&place.get(body, Some(3..9)).await.unwrap().unwrap()[..], b"");
    assert_eq!(place.size(body).await.unwrap(), Some(3));
    place.replace(header, Bytes::from_static(b"h")).await.unwrap();
    place.replace(header, Bytes::from_static(b"header")).await.unwrap();
    assert_eq!(&place.get(header, None).await.unwrap().unwrap()[..], b"header");
    place.flush().await.unwrap();

    let is = |found: Result<Found, PlaceError>| found.unwrap();
    let sum = Digest::of(b"one");
    assert_eq!(is(check(place, body, 3, sum, Pace::default()).await), Found::Good);
    assert_eq!(is(check(place, "2026/11/23/b", 3, sum, Pace::default()).await), Found::Missing);
    for (bytes, sum) in [(2, Digest::of(b"on")), (4, sum), (3, Digest::of(b"two"))] {
        assert!(matches!(is(check(place, body, bytes, sum, Pace::default()).await), Found::Wrong(_)));
    }
    place.put_new("2026/11/23/empty", bytes(""), false).await.unwrap();
    assert_eq!(is(check(place, "2026/11/23/empty", 0, Digest::of(b""), Pace::default()).await), Found::Good);

    large(place, dir).await;
    for name in ["2026/11/24/c.body", "2026/11/22/a.body", "2026/1.txt", "2025/12/31/z.body"] {
        place.put_new(name, bytes("x"), true).await.unwrap();
    }
    let names = ["2025/12/31/z.body", "2026/1.txt", "2026/11/22/a.body", body, header];
    let names = [&names[..], &["2026/11/23/empty", "2026/11/23/large.body", "2026/11/24/c.body"]].concat();
    assert_eq!(place.list("", None, 100).await.unwrap(), names);
    assert_eq!(place.list("2026/11/2", None, 100).await.unwrap(), names[2..]);
    assert_eq!(place.list("2026/11/23/", None, 2).await.unwrap(), names[3..5]);
    assert_eq!(place.list("2026/", Some(body), 2).await.unwrap(), names[4..6]);

    place.mend(body, bytes("new")).await.unwrap();
    assert_eq!(&place.get(body, None).await.unwrap().unwrap()[..], b"new");
    assert_eq!(place.remove(body).await.unwrap(), Removal::Removed);
    assert_eq!(place.size(body).await.unwrap(), None);
    // The name is free again, and holds nothing of before.
    place.put_new(body, bytes("again"), false).await.unwrap();
    assert_eq!(&place.get(body, None).await.unwrap().unwrap()[..], b"again");
    for name in ["../a", "/etc/passwd", "a/../../b", "", "a//b", ".tmp", "a b", "a?versions"] {
        assert!(place.put_new(name, bytes("x"), false).await.is_err(), "{name}");
        assert!(place.get(name, None).await.is_err(), "{name}");
    }
}

/// In parts, from a file, and back into one.
async fn large(place: &dyn Place, dir: &Path) {
    let (file, scratch) = (dir.join("large"), dir.join("scratch"));
    let content: Vec<u8> = (0..LARGE_BYTES).map(|at| (at * 31 + at / 251) as u8).collect();
    fs::write(&file, &content).unwrap();
    let name = "2026/11/23/large.body";
    let from = Content::File { path: file.clone(), skip: 100 };
    place.put_new(name, from.clone(), false).await.unwrap();
    place.put_new(name, from, false).await.unwrap();
    let (bytes, sum) = (content.len() as u64 - 100, Digest::of(&content[100..]));
    let fetched = fetch(place, name, bytes, sum, &scratch).await.unwrap().unwrap();
    assert!(matches!(fetched, Content::File { .. }));
    assert!(fs::read(&scratch).unwrap() == content[100..]);
    let wrong = fetch(place, name, bytes, Digest::of(b""), &scratch).await.unwrap();
    assert!(matches!(wrong, Err(Found::Wrong(_))));
    fs::write(&file, &content[1..]).unwrap();
    let other = place.put_new(name, Content::File { path: file, skip: 100 }, false).await;
    assert!(matches!(other, Err(PlaceError::Exists { .. })), "{other:?}");
}

#[test]
fn a_folder_behaves() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("place");
    fs::create_dir(&folder).unwrap();
    let config =
        toml::from_str(&format!("name = 'a'\nsite = 'b'\nkind = 'directory'\npath = '{}'", folder.display()));
    let place = open(&config.unwrap()).unwrap();
    wait(async {
        behaves(&*place, dir.path()).await;
        assert!(matches!(place.worm_test(now()).await.unwrap(), Worm::Failed(_)));
        assert!(place.lock("2026/1.txt", now()).await.is_err());
    });
}

#[test]
fn the_store_of_the_tests_behaves() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::start();
    let place = open(&s3(dir.path(), &store.endpoint, "bucket", "")).unwrap();
    wait(behaves(&*place, dir.path()));
    assert!(store.keys().iter().all(|key| key.starts_with("sejf/")));
}

/// Else the header under an envelope that has leaked is there for ever.
#[test]
fn a_header_that_is_replaced_leaves_no_version_of_before() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::start();
    let place = open_with(&s3(dir.path(), &store.endpoint, "bucket", ""), patient()).unwrap();
    wait(async {
        place.put_new("a.hdr", bytes("old"), false).await.unwrap();
        // One with a longer name is another.
        place.put_new("a.hdr.other", bytes("other"), false).await.unwrap();
        place.mend("a.hdr", bytes("mended")).await.unwrap();
        assert_eq!(store.versions_of("sejf/a.hdr"), 2);
        place.replace("a.hdr", Bytes::from_static(b"new")).await.unwrap();
        assert_eq!((store.versions_of("sejf/a.hdr"), store.versions_of("sejf/a.hdr.other")), (1, 1));
        assert_eq!(&place.get("a.hdr", None).await.unwrap().unwrap()[..], b"new");
        store.lock_all("sejf/a.hdr");
        let kept = place.replace("a.hdr", Bytes::from_static(b"newer")).await;
        assert!(matches!(&kept, Err(PlaceError::Io { .. })), "{kept:?}");
        assert!(kept.unwrap_err().to_string().contains("locked"));
        store.tell(Lie::DeleteDoesNothing);
        assert!(place.replace("a.hdr.other", Bytes::from_static(b"newer")).await.is_err());
        store.tell(Lie::WormKeepsNoVersions);
        place.replace("b.hdr", Bytes::from_static(b"h")).await.unwrap();
    });
}

#[test]
fn a_real_s3_behaves_with_versions_and_without() {
    let Some(endpoint) = real("SEJF_TEST_S3", "tests/s3.sh") else { return };
    let dir = tempfile::tempdir().unwrap();
    for lock in [false, true] {
        let bucket = bucket(&endpoint, lock);
        let place = open(&s3(dir.path(), &endpoint, &bucket, "")).unwrap();
        wait(behaves(&*place, dir.path()));
    }
}

#[test]
fn a_real_s3_with_object_lock_passes_the_worm_test_and_one_without_does_not() {
    let Some(endpoint) = real("SEJF_TEST_S3", "tests/s3.sh") else { return };
    let dir = tempfile::tempdir().unwrap();
    let (locking, other) = (bucket(&endpoint, true), bucket(&endpoint, false));
    wait(async {
        let place = open(&s3(dir.path(), &endpoint, &locking, "object_lock = true")).unwrap();
        assert!(place.locks());
        for header in [&b"old"[..], b"new"] {
            place.replace("a.hdr", Bytes::copy_from_slice(header)).await.unwrap();
        }
        assert_eq!(&place.get("a.hdr", None).await.unwrap().unwrap()[..], b"new");
        for _ in 0..2 {
            assert_eq!(place.worm_test(now()).await.unwrap(), Worm::Passed);
        }
        locks(&*place).await;
        let place = open(&s3(dir.path(), &endpoint, &other, "")).unwrap();
        let worm = place.worm_test(now()).await.unwrap();
        assert!(matches!(&worm, Worm::Failed(why) if why.contains("versions")), "{worm:?}");
    });
}

/// What a lock does, in a store that has them.
async fn locks(place: &dyn Place) {
    let hour = Duration::from_secs(3_600);
    place.put_new("2026/11/23/locked", bytes("one"), false).await.unwrap();
    place.lock("2026/11/23/locked", now().after(hour)).await.unwrap();
    // Shorter: it is locked for longer already. Longer: it is made longer.
    place.lock("2026/11/23/locked", now()).await.unwrap();
    place.lock("2026/11/23/locked", now().after(hour * 2)).await.unwrap();
    let until = place.stat("2026/11/23/locked").await.unwrap().unwrap().locked_until.unwrap();
    assert!(until >= now().after(hour * 2).before(Duration::from_secs(60)));
    assert_eq!(place.remove("2026/11/23/locked").await.unwrap(), Removal::Locked);
    assert!(place.lock("2026/11/23/none", now().after(hour)).await.is_err());
}

#[test]
fn a_real_azure_behaves() {
    let Some(endpoint) = real("SEJF_TEST_AZURE", "npx azurite-blob") else { return };
    let dir = tempfile::tempdir().unwrap();
    let credentials = dir.path().join("credentials");
    // Azurite's account, which is the same everywhere.
    let key = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
    fs::write(&credentials, format!("access_key = '{key}'\n")).unwrap();
    let config = toml::from_str(&format!(
        "name = 'store'\nsite = 'far'\nkind = 'azure'\naccount = 'devstoreaccount1'\ncontainer = 'recordings'\n\
         prefix = 'sejf/t{}'\ncredentials = '{}'\nendpoint = '{endpoint}'\nloopback_http = true",
        std::process::id(),
        credentials.display()
    ));
    let place = open(&config.unwrap()).unwrap();
    wait(async {
        behaves(&*place, dir.path()).await;
        assert!(matches!(place.worm_test(now()).await.unwrap(), Worm::Failed(_)));
    });
}

/// No server of Google's can be had here: what is held against the store of the tests is what is asked of it, and how.
#[test]
fn a_store_with_googles_interface_behaves() {
    let (dir, store) = (tempfile::tempdir().unwrap(), Store::start());
    let credentials = dir.path().join("credentials");
    let key = r#"{"private_key": "k", "private_key_id": "i", "client_email": "e", "disable_oauth": true,
                  "gcs_base_url": "https://elsewhere.example"}"#;
    fs::write(&credentials, key).unwrap();
    let config = |more: &str| {
        let text = format!(
            "name = 'store'\nsite = 'far'\nkind = 'gcs'\nbucket = 'bucket'\nprefix = 'sejf'\ncredentials = '{}'\n{more}",
            credentials.display()
        );
        toml::from_str::<PlaceConfig>(&text).unwrap()
    };
    let place = open(&config(&format!("endpoint = '{}'\nloopback_http = true", store.endpoint))).unwrap();
    wait(async {
        behaves(&*place, dir.path()).await;
        assert!(matches!(place.worm_test(now()).await.unwrap(), Worm::Failed(_)));
        store.tell(Lie::PutOverwritesNothing);
        let other = place.put_new("2026/1.txt", bytes("other"), false).await;
        assert!(matches!(other, Err(PlaceError::Exists { .. })), "{other:?}");
    });
    assert!(store.keys().iter().all(|key| key.starts_with("sejf/")));
    let plain = open(&config(&format!("endpoint = '{}'", store.endpoint)));
    assert!(matches!(plain, Err(PlaceError::Config { .. })), "{plain:?}");
}

#[test]
fn no_connection_that_anybody_can_read_or_be_in_the_middle_of() {
    let dir = tempfile::tempdir().unwrap();
    let config = |endpoint: &str| {
        let mut config = s3(dir.path(), endpoint, "bucket", "");
        config.name = endpoint.into();
        open(&config)
    };
    for good in ["https://store.example", "http://127.0.0.1:1", "http://[::1]:1"] {
        assert!(config(good).is_ok(), "{good}");
    }
    for bad in [
        "http://store.example",
        "http://localhost:1",
        "http://10.0.0.1",
        "ftp://127.0.0.1",
        "store.example",
        "https://user:word@store.example",
        "https://store.example/?x",
        "",
    ] {
        let opened = config(bad).map(drop);
        assert!(matches!(opened, Err(PlaceError::Config { .. })), "{bad}: {opened:?}");
    }
    // And not even there where it is not said.
    let text = toml::from_str::<PlaceConfig>(&format!(
        "name = 'a'\nsite = 'b'\nkind = 's3'\nendpoint = 'http://127.0.0.1:1'\nbucket = 'b'\ncredentials = '{}'",
        dir.path().join("credentials").display()
    ));
    assert!(open(&text.unwrap()).is_err());
}

#[test]
fn a_secret_is_not_in_what_is_said_of_its_file() {
    let dir = tempfile::tempdir().unwrap();
    let config = s3(dir.path(), "https://store.example", "bucket", "");
    fs::write(dir.path().join("credentials"), "secret_access_key = hunter2\n").unwrap();
    let fault = open(&config).map(drop).unwrap_err().to_string();
    assert!(fault.contains("credentials") && !fault.contains("hunter2"), "{fault}");
    fs::remove_file(dir.path().join("credentials")).unwrap();
    assert!(matches!(open(&config).map(drop), Err(PlaceError::Io { .. })));
}

fn now() -> sejf::base::time::Stamp {
    sejf::shell::clock::now()
}

/// A server for tests that is not part of the project.
fn real(variable: &str, start: &str) -> Option<String> {
    let endpoint = std::env::var(variable).ok();
    if endpoint.is_none() {
        println!("skipped: no server at {variable} (start one with {start})");
    }
    endpoint
}

/// Makes a bucket in a real store: with Object Lock, or without even versions.
fn bucket(endpoint: &str, lock: bool) -> String {
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let name = format!("t{}-{}-{number}", std::process::id(), now().as_unix_millis());
    let mut request = HttpRequest::new(HttpRequestBody::empty());
    *request.method_mut() = reqwest::Method::PUT;
    *request.uri_mut() = format!("{endpoint}/{name}").parse().unwrap();
    if lock {
        request.headers_mut().insert("x-amz-bucket-object-lock-enabled", "true".parse().unwrap());
    }
    let credential = AwsCredential { key_id: "AK".into(), secret_key: "SK".into(), token: None };
    AwsAuthorizer::new(&credential, "s3", "us-east-1").try_authorize(&mut request, None).unwrap();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let answer = wait(async {
        let client =
            object_store::client::HttpClient::new(reqwest::Client::builder().no_proxy().build().unwrap());
        client.execute(request).await.unwrap()
    });
    assert!(answer.status().is_success(), "{}", answer.status());
    name
}

const LARGE_BYTES: usize = 17 << 20;
