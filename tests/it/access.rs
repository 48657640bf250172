//! The vault over HTTPS, as people and programs reach it: the program itself, and a client of somebody else's.

mod browser;
mod desk;
mod desk_page;
mod hostile;
mod kept;
mod oidc;
mod page;
mod passkey;
mod review_page;
mod stock_page;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use reqwest::header::HeaderMap;
use reqwest::{Client, Method};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use sejf::archive::entry::{Entry, Outcome};
use sejf::archive::record::Record;
use sejf::archive::totp;
use sejf::shell::clock;
use serde_json::{Value, json};

use crate::support::{assert_success, sejf, text};
use crate::vault_intake::World;

/// A vault that runs, in a process of its own.
struct Site {
    world: World,
    child: Child,
    /// `https://127.0.0.1:PORT`.
    base: String,
    runtime: tokio::runtime::Runtime,
}

/// Somebody at a browser.
#[derive(Default)]
struct Person {
    cookie: String,
    csrf: String,
    totp: Option<totp::Secret>,
    recovery: Vec<String>,
}

struct Answer {
    status: u16,
    headers: HeaderMap,
    bytes: Vec<u8>,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or_default()
    }

    fn problem(&self) -> String {
        let kind = self.json()["type"].as_str().unwrap_or_default().to_owned();
        kind.trim_start_matches("urn:sejf:problem:").to_owned()
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

impl Site {
    fn new(world: World, web: &str) -> Self {
        let path = world.bench.path("home/vault.toml");
        let config = fs::read_to_string(&path).unwrap();
        // The least that is allowed: a test's processor has others to serve.
        let cost = "password = { memory_mib = 19, passes = 2 }";
        fs::write(&path, format!("{config}\n[web]\nlisten = \"127.0.0.1:0\"\n{cost}\n{web}\n")).unwrap();
        let (home, key) = (world.bench.path("home"), world.bench.path("ewa.key"));
        let mut child = Command::new(env!("CARGO_BIN_EXE_sejf"))
            .args(["vault", "serve", text(&home), "-i", text(&key)])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let base = line.trim().strip_suffix("/api/v1").unwrap_or_else(|| panic!("{line}")).to_owned();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { world, child, base, runtime }
    }

    fn client(&self, root: &Path) -> Client {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(&fs::read(root).unwrap()).unwrap()).unwrap();
        let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Client::builder().tls_backend_preconfigured(tls).no_proxy().https_only(true).build().unwrap()
    }

    fn send(&self, method: &Method, path: &str, who: &Person, body: &Value, range: Option<&str>) -> Answer {
        let client = self.client(&self.world.bench.path("home/tls/authority.pem"));
        let mut request = client.request(method.clone(), format!("{}{path}", self.base));
        if !who.cookie.is_empty() {
            request = request.header("cookie", &who.cookie).header("sejf-csrf", &who.csrf);
            request = request.header("origin", &self.base);
        }
        if let Some(range) = range {
            request = request.header("range", range);
        }
        if *method == Method::POST {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        self.runtime.block_on(async {
            let response = request.send().await.unwrap();
            let (status, headers) = (response.status().as_u16(), response.headers().clone());
            Answer { status, headers, bytes: response.bytes().await.unwrap().to_vec() }
        })
    }

    fn get(&self, path: &str, who: &Person) -> Answer {
        self.send(&Method::GET, path, who, &Value::Null, None)
    }

    fn post(&self, path: &str, who: &Person, body: &Value) -> Answer {
        self.send(&Method::POST, path, who, body, None)
    }

    fn user(&self, args: &[&str]) -> Output {
        let (home, key) = (self.world.bench.path("home"), self.world.bench.path("ewa.key"));
        let (verb, rest) = args.split_first().unwrap();
        let mut all = vec!["vault", "user", verb, text(&home)];
        all.extend(rest);
        all.extend(["-i", text(&key), "--reason", "audit"]);
        sejf(&all)
    }

    /// Uses an invitation, as its user.
    fn enrol(&self, invite: &str) -> Person {
        let body = json!({ "invite": invite, "password": PASSWORD });
        let begun = self.post("/api/v1/enrol", &Person::default(), &body);
        assert_eq!(begun.status, 200, "{}", begun.json());
        let begun = begun.json();
        let secret = totp::Secret::from_base32(begun["secret"].as_str().unwrap()).unwrap();
        assert!(begun["uri"].as_str().unwrap().starts_with("otpauth://totp/"));
        let wrong = self.post(
            "/api/v1/enrol/confirm",
            &Person::default(),
            &json!({ "pending": begun["pending"], "code": "x" }),
        );
        assert_eq!((wrong.status, wrong.problem().as_str()), (401, "code"));
        let confirm = json!({ "pending": begun["pending"], "code": code(&secret, 0) });
        let done = self.post("/api/v1/enrol/confirm", &Person::default(), &confirm);
        assert_eq!(done.status, 200, "{}", done.json());
        let mut person = Person { totp: Some(secret), ..Person::default() };
        person.take(&done);
        person.recovery = done.json()["recovery_codes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|code| code.as_str().unwrap().into())
            .collect();
        assert_eq!(person.recovery.len(), 10);
        person
    }
}

impl Person {
    /// What a browser keeps of an answer.
    fn take(&mut self, answer: &Answer) {
        let cookie = answer.header("set-cookie");
        self.cookie = cookie.split(';').next().unwrap().to_owned();
        self.csrf = answer.json()["csrf"].as_str().unwrap().to_owned();
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn code(secret: &totp::Secret, later: u64) -> String {
    format!("{:06}", secret.code(totp::step(clock::now()) + later))
}

fn invitation(made: &Output) -> String {
    assert_success(made);
    String::from_utf8_lossy(&made.stdout).lines().last().unwrap().trim().to_owned()
}

const PASSWORD: &str = "several words are easy";

#[test]
fn from_nothing_to_hearing_a_recording_and_every_refusal_on_the_way() {
    let world = World::new();
    world.record(&["basic.pcap"], "spool");
    world.take_in("spool", true).unwrap();
    let plain = world.opened();
    let record = world.records().into_iter().find(Record::is_recorded).unwrap();
    let name =
        record.files.iter().map(|file| &file.name).find(|name| name.ends_with(".opus.age")).unwrap().clone();
    let site = Site::new(world, "");
    let home = site.world.bench.path("home");
    let nobody = Person::default();
    assert_eq!(site.get("/api/v1/me", &nobody).status, 401);
    let document = site.get("/api/v1/openapi.json", &nobody);
    assert_eq!((document.status, document.json()["openapi"].as_str()), (200, Some("3.1.0")));
    // The first administrator: once.
    let invite = invitation(&sejf(&["vault", "bootstrap", text(&home), "ada"]));
    let bad = json!({ "invite": "x", "password": PASSWORD });
    assert_eq!(site.post("/api/v1/enrol", &nobody, &bad).problem(), "invitation");
    let weak = json!({ "invite": invite, "password": "short" });
    assert_eq!(site.post("/api/v1/enrol", &nobody, &weak).problem(), "password");
    let ada = site.enrol(&invite);
    let used = site.post("/api/v1/enrol", &nobody, &json!({ "invite": invite, "password": PASSWORD }));
    assert_eq!(used.problem(), "invitation");
    assert_eq!(sejf(&["vault", "bootstrap", text(&home), "eve"]).status.code(), Some(2));
    // A user, and roles that take two.
    let reason = json!({ "code": "audit", "text": "T-1" });
    let added = site.post("/api/v1/users", &ada, &json!({ "user": "rita", "reason": reason }));
    assert_eq!(added.status, 201, "{}", added.json());
    let roles = json!({ "roles": { "reviewer": "all" }, "reason": reason });
    let asked = site.post("/api/v1/users/rita/requests", &ada, &roles);
    assert_eq!(asked.status, 202, "{}", asked.json());
    let agree = format!("/api/v1/requests/{}/agree", asked.json()["number"]);
    assert_eq!(site.post(&agree, &ada, &json!({})).problem(), "second-person");
    let both = json!({ "roles": { "reviewer": "all", "admin": "all" }, "reason": reason });
    assert_eq!(site.post("/api/v1/users/rita/requests", &ada, &both).problem(), "roles-conflict");
    let ola = site.enrol(&invitation(&site.user(&["add", "ola", "--role", "admin"])));
    assert_eq!(site.post(&agree, &ola, &json!({})).status, 200);
    let mut rita = site.enrol(added.json()["invite"].as_str().unwrap());
    hears(&site, &mut rita, &ada, &record, &plain[&name]);
    // Nothing of it is on a disk.
    let needle = &plain[&name][plain[&name].len() / 2..][..64];
    for folder in ["home", "store"] {
        assert!(!has(&site.world.bench.path(folder), needle), "{folder}");
    }
    // Whoever is disabled is out at once, also by somebody who is not on the network.
    assert_success(&site.user(&["disable", "ola"]));
    assert_eq!(site.get("/api/v1/me", &ola).status, 401);
    let listed = sejf(&["vault", "user", "list", text(&home)]);
    assert_success(&listed);
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(listed.contains("disabled") && listed.contains("reviewer") && listed.contains("ada"), "{listed}");
}

/// Signs in anew, and hears.
fn hears(site: &Site, rita: &mut Person, ada: &Person, record: &Record, plain: &[u8]) {
    let nobody = Person::default();
    assert_eq!(site.post("/api/v1/logout", rita, &json!({})).status, 200);
    assert_eq!(site.get("/api/v1/me", rita).status, 401);
    let secret = rita.totp.clone().unwrap();
    let wrong = json!({ "user": "rita", "password": "several words are hard" });
    assert_eq!(site.post("/api/v1/login", &nobody, &wrong).problem(), "credentials");
    let login = site.post("/api/v1/login", &nobody, &json!({ "user": "rita", "password": PASSWORD }));
    let pending = login.json()["pending"].clone();
    let factor = |code: &str| json!({ "pending": pending, "code": code });
    let used = site.post("/api/v1/login/factor", &nobody, &factor(&code(&secret, 0).replace(' ', "")));
    // That of the enrolment, or one step later where a step has gone by.
    if used.status == 401 {
        let next = site.post("/api/v1/login/factor", &nobody, &factor(&code(&secret, 1)));
        assert_eq!(next.status, 200, "{}", next.json());
        rita.take(&next);
    } else {
        rita.take(&used);
    }
    let found = site.get("/api/v1/recordings?limit=10", rita).json();
    let ids: Vec<_> =
        found["recordings"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap()).collect();
    assert!(ids.contains(&record.id.to_string().as_str()), "{found}");
    let plays = format!("/api/v1/recordings/{}/plays", record.id);
    assert_eq!(site.post(&plays, rita, &json!({})).problem(), "reason");
    let why = json!({ "reason": { "code": "complaint", "text": "T-17" } });
    assert_eq!(site.post(&plays, ada, &why).problem(), "role");
    let stranger = Person { csrf: "x".into(), cookie: rita.cookie.clone(), ..Person::default() };
    assert_eq!(site.post(&plays, &stranger, &why).problem(), "csrf");
    let play = site.post(&plays, rita, &why);
    assert_eq!(play.status, 201, "{}", play.json());
    let (play, trace) = (play.json(), play.header("sejf-trace").to_owned());
    let url = play["files"][0]["url"].as_str().unwrap().to_owned();
    sound(site, rita, &url, &trace, plain);
    assert_eq!(site.get(&url, ada).problem(), "not-found", "another's");
    around(site, rita, ada, record, &url);
    assert_eq!(site.get(&url, &nobody).status, 401);
    // A recovery code in place of the app: once.
    let step = json!({ "code": rita.recovery[0] });
    let stepped = site.post("/api/v1/step-up", rita, &step);
    assert_eq!(stepped.status, 200, "{}", stepped.json());
    let old = Person { cookie: rita.cookie.clone(), csrf: rita.csrf.clone(), ..Person::default() };
    rita.take(&stepped);
    assert_eq!(site.get("/api/v1/me", &old).status, 401, "the id of before");
    assert_eq!(site.post("/api/v1/step-up", rita, &step).problem(), "code");
    let granted = entries(site)
        .into_iter()
        .find(|entry| matches!(entry.outcome, Outcome::Granted) && entry.action.name() == "open");
    let granted = granted.expect("the log has it");
    assert_eq!((granted.actor.as_str(), granted.origin.as_str()), ("user:rita", "127.0.0.1"));
    assert_eq!(granted.reason.unwrap().text, "T-17");
    let released = entries(site).into_iter().filter(|entry| {
        matches!(&entry.outcome, Outcome::Done(told) if told["trace"] == trace && told["to"].is_u64())
    });
    assert_eq!(released.count(), RANGES.len() + 1, "each part that was released");
}

/// What is sent of a file of so many bytes.
type Part = fn(usize) -> std::ops::Range<usize>;

/// What is asked for, and what is sent.
const RANGES: &[(&str, Part)] = &[
    ("bytes=0-99", |_| 0..100),
    ("bytes=100-", |size| 100..size),
    ("bytes=-7", |size| size - 7..size),
    ("bytes=0-99999999999", |size| 0..size),
    ("bytes=5-5", |_| 5..6),
];

fn sound(site: &Site, rita: &Person, url: &str, trace: &str, plain: &[u8]) {
    let whole = site.get(url, rita);
    assert_eq!((whole.status, whole.header("content-type")), (200, "audio/ogg"));
    assert_eq!((whole.header("accept-ranges"), whole.header("sejf-trace")), ("bytes", trace));
    assert_eq!(whole.header("content-length"), plain.len().to_string());
    assert!(whole.bytes == plain, "all of it");
    for (range, part) in RANGES {
        let part = part(plain.len());
        let got = site.send(&Method::GET, url, rita, &Value::Null, Some(range));
        assert_eq!(got.status, 206, "{range}");
        let of = format!("bytes {}-{}/{}", part.start, part.end - 1, plain.len());
        assert_eq!(got.header("content-range"), of);
        assert!(got.bytes == plain[part], "{range}");
    }
    // The log is full, slow or dead: not a byte.
    let in_the_way = site.world.bench.path("home/log/receipts/checkpoint.new");
    fs::create_dir(&in_the_way).unwrap();
    for range in [None, Some("bytes=0-0")] {
        let got = site.send(&Method::GET, url, rita, &Value::Null, range);
        assert_eq!((got.status, got.problem().as_str()), (503, "unlogged"));
    }
    fs::remove_dir(&in_the_way).unwrap();
    let beyond = site.send(&Method::GET, url, rita, &Value::Null, Some(&format!("bytes={}-", plain.len())));
    assert_eq!((beyond.status, beyond.problem().as_str()), (416, "range"));
}

fn entries(site: &Site) -> Vec<Entry> {
    let (entries, _) = site.world.vault().log.read_from(0, 10_000).unwrap();
    entries.iter().map(|bytes| Entry::from_bytes(bytes).unwrap()).collect()
}

fn has(dir: &Path, needle: &[u8]) -> bool {
    fs::read_dir(dir).into_iter().flatten().flatten().any(|entry| {
        let path = entry.path();
        if path.is_dir() {
            return has(&path, needle);
        }
        fs::read(&path).is_ok_and(|bytes| bytes.windows(needle.len()).any(|window| window == needle))
    })
}

#[test]
fn a_certificate_that_is_given_is_read_again_when_asked() {
    let world = World::new();
    let dir = world.bench.path("certificates");
    fs::create_dir(&dir).unwrap();
    let make = |number: u8| {
        let key = rcgen::KeyPair::generate().unwrap();
        let made =
            rcgen::CertificateParams::new(vec!["127.0.0.1".into()]).unwrap().self_signed(&key).unwrap();
        fs::write(dir.join("web.key"), key.serialize_pem()).unwrap();
        fs::write(dir.join("web.pem"), made.pem()).unwrap();
        fs::write(dir.join(format!("root{number}.pem")), made.pem()).unwrap();
    };
    make(1);
    let site = Site::new(
        world,
        &format!("certificate = {:?}\nkey = {:?}", dir.join("web.pem"), dir.join("web.key")),
    );
    let reaches = |root: &str| {
        let client = site.client(&dir.join(root));
        let url = format!("{}/api/v1/openapi.json", site.base);
        site.runtime
            .block_on(async { client.get(url).send().await.is_ok_and(|answer| answer.status().is_success()) })
    };
    assert!(reaches("root1.pem"));
    make(2);
    assert!(reaches("root1.pem") && !reaches("root2.pem"));
    let process = rustix::process::Pid::from_raw(i32::try_from(site.child.id()).unwrap()).unwrap();
    rustix::process::kill_process(process, rustix::process::Signal::HUP).unwrap();
    let begun = std::time::Instant::now();
    while !reaches("root2.pem") {
        assert!(begun.elapsed() < Duration::from_secs(20), "not read again");
        std::thread::sleep(Duration::from_millis(50));
    }
    // What is no certificate does not take away the one that is there.
    fs::write(dir.join("web.pem"), "nothing").unwrap();
    rustix::process::kill_process(process, rustix::process::Signal::HUP).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    assert!(reaches("root2.pem"));
}

/// Nobody is there by default, and nothing listens unless it is said.
#[test]
fn without_configuration_there_is_nothing_to_reach() {
    let world = World::new();
    let home = world.bench.path("home");
    let listed = sejf(&["vault", "user", "list", text(&home)]);
    assert_success(&listed);
    assert_eq!(String::from_utf8_lossy(&listed.stdout), "");
    for args in [
        vec!["vault", "user", "add", text(&home), "Ewa"],
        vec!["vault", "user", "add", text(&home), "ewa", "--role", "root"],
        vec!["vault", "user", "add", text(&home), "ewa", "--role", "admin"],
        vec!["vault", "user", "disable", text(&home), "nobody", "--reason", "audit"],
    ] {
        assert_eq!(sejf(&args).status.code(), Some(2), "{args:?}");
    }
    assert!(!home.join("users").exists());
}

/// What a page shows besides: how loud it is, and what the recording says of itself.
fn around(site: &Site, rita: &Person, ada: &Person, record: &Record, url: &str) {
    let peaks = format!("{url}/peaks");
    let drawn = site.get(&peaks, rita);
    assert_eq!(drawn.status, 200, "{}", drawn.json());
    let drawn = drawn.json();
    let loud = |side: &Value| side.as_array().unwrap().iter().filter(|loud| loud.as_u64() > Some(20)).count();
    let sides: Vec<_> = drawn["sides"].as_array().unwrap().iter().map(loud).collect();
    assert!(sides.len() == 2 && sides.iter().all(|loud| *loud > 10), "{drawn}");
    assert_eq!(site.get(&peaks, ada).problem(), "not-found", "another's");
    assert_eq!(site.get(&peaks, &Person::default()).status, 401);
    let is_drawing = |entry: &Entry| match &entry.outcome {
        Outcome::Done(told) => told["peaks"].is_u64() && told["trace"].is_string(),
        _ => false,
    };
    assert!(entries(site).iter().any(is_drawing), "that it was drawn is in the log");
    let path = format!("/api/v1/recordings/{}/manifest", record.id);
    let manifest = site.get(&path, rita).json()["manifest"].clone();
    assert_eq!(manifest["id"], record.id.to_string());
    assert_eq!(manifest["streams"].as_array().unwrap().len(), 2);
    assert_eq!(site.get(&path, ada).problem(), "role");
}
