//! Recorders that send: everything arrives, nothing else can be done, and nobody else gets in.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, date_time_ymd,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sejf::seal::note::VerifyKey;
use sejf::shell::clock;
use sejf::shell::signals::Stop;
use sejf::shell::vault::forward::{self, Config, ForwardError};
use sejf::shell::vault::intake::Intake;
use sejf::shell::vault::intake::serve::{Ask, Server, Status, TLS, ask};
use sejf::shell::vault::intake::tls::{Authority, client_config};

use crate::vault_intake::{World, files_of, wait};

/// A vault that runs, until it is dropped.
pub(super) struct Running {
    pub(super) address: SocketAddr,
    stop: Stop,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Running {
    pub(super) fn start(world: &World, unlocked: bool) -> Self {
        Self::start_as(world, unlocked, |server| server)
    }

    pub(super) fn start_as(
        world: &World,
        unlocked: bool,
        change: impl FnOnce(Server) -> Server + Send + 'static,
    ) -> Self {
        let vault = world.vault();
        let ring = unlocked.then(|| world.unlock(&vault));
        let (stop, (sender, receiver)) = (Stop::default(), std::sync::mpsc::channel());
        let asked = stop.clone();
        let thread = std::thread::spawn(move || {
            wait(async {
                let intake = Intake::open(vault).await.unwrap();
                intake.set_keys(ring);
                let server = Server::bind(intake, Some("127.0.0.1:0".parse().unwrap())).await.unwrap();
                let server = change(server);
                sender.send(server.address().unwrap()).unwrap();
                server.run(asked).await.unwrap();
            });
        });
        Self { address: receiver.recv().unwrap(), stop, thread: Some(thread) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.ask();
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking());
        }
    }
}

pub(super) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

pub(super) fn status(world: &World) -> Status {
    ask(&world.bench.path("home"), &Ask::Status {}).unwrap().status.unwrap()
}

fn recorder_of(world: &World, spool: &str) -> VerifyKey {
    let key = fs::read_to_string(world.bench.path(spool).join("receipts/recorder.pub")).unwrap();
    key.trim().parse().unwrap()
}

fn authority(world: &World) -> Authority {
    Authority::open(&world.bench.path("home").join(TLS), "test", clock::now()).unwrap()
}

/// Enrols the recorder of `spool`; its configuration, with what it needs in the folder `to`.
pub(super) fn enrol(world: &World, spool: &str, to: &str, address: SocketAddr) -> Config {
    let authority = authority(world);
    let enrolled = authority.enrol(&recorder_of(world, spool), None, clock::now()).unwrap();
    let dir = world.bench.path(to);
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("authority.pem"), authority.pem()).unwrap();
    fs::write(dir.join("recorder.pem"), &enrolled.certificate).unwrap();
    fs::write(dir.join("recorder.key"), enrolled.key.unwrap().as_bytes()).unwrap();
    Config {
        spool: world.bench.path(spool),
        address: address.to_string(),
        name: authority.server_name().into(),
        authority: dir.join("authority.pem"),
        certificate: dir.join("recorder.pem"),
        key: dir.join("recorder.key"),
        pin: Some(authority.pin(clock::now()).unwrap()),
        free: false,
    }
}

#[test]
fn what_is_sent_is_archived_and_freed_once_there_are_copies_enough() {
    let world = World::new();
    world.record(&["basic.pcap", "bye-from-callee.pcap"], "spool");
    let plain = world.opened_there("spool");
    {
        let running = Running::start(&world, true);
        let config = Config { free: true, ..enrol(&world, "spool", "peer", running.address) };
        let sent = wait(forward::pass(&config)).unwrap();
        assert_eq!((sent.files as usize, sent.absent), (plain.len(), 0));
        until("all archived", || status(&world).archived as usize * 2 == plain.len());
        let again = wait(forward::pass(&config)).unwrap();
        assert_eq!((again.entries, again.files, again.freed), (0, 0, 0), "three copies are asked for");
    }
    assert_eq!(world.opened(), plain);
    let path = world.bench.path("home/vault.toml");
    let copies = "keep_min = \"5 years\"\ncopies = { total = 1, sites = 1, offline = 0 }";
    fs::write(&path, fs::read_to_string(&path).unwrap().replace("keep_min = \"5 years\"", copies)).unwrap();
    let running = Running::start(&world, false);
    let config = Config { free: true, ..enrol(&world, "spool", "peer", running.address) };
    assert_eq!(
        wait(forward::pass(&config)).unwrap().freed,
        0,
        "nobody has looked whether the one copy is good"
    );
    world.run(&["copies", "run"]);
    let freed = wait(forward::pass(&config)).unwrap().freed;
    assert_eq!(freed as usize, plain.len());
    assert!(files_of(&world.bench.path("spool")).is_empty());
    drop(running);
    assert_eq!(world.opened(), plain);
}

#[test]
fn a_locked_vault_takes_what_is_sent_and_archives_it_once_it_is_unlocked() {
    let world = World::new();
    world.record(&["basic.pcap"], "spool");
    let plain = world.opened_there("spool");
    let running = Running::start(&world, false);
    let config = enrol(&world, "spool", "peer", running.address);
    wait(forward::pass(&config)).unwrap();
    until("all staged", || status(&world).staged as usize * 2 == plain.len());
    assert!(status(&world).locked);
    let wrong = Ask::Unlock { identities: vec!["AGE-SECRET-KEY-1".into()] };
    assert!(!ask(&world.bench.path("home"), &wrong).unwrap().ok);
    let unlock = Ask::Unlock { identities: vec![world.identity.clone()] };
    assert!(ask(&world.bench.path("home"), &unlock).unwrap().ok);
    until("all archived", || status(&world).archived as usize * 2 == plain.len());
    assert!(ask(&world.bench.path("home"), &Ask::Lock {}).unwrap().ok);
    assert!(status(&world).locked);
    drop(running);
    assert_eq!(world.opened(), plain);
}

#[test]
fn a_vault_that_is_away_costs_nothing() {
    let world = World::new();
    world.record(&["basic.pcap"], "spool");
    let before = files_of(&world.bench.path("spool")).len();
    // Nobody listens where somebody did.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let config = Config { free: true, ..enrol(&world, "spool", "peer", address) };
    let away = wait(forward::pass(&config)).unwrap_err();
    assert!(matches!(away, ForwardError::Http { .. }), "{away}");
    assert_eq!(files_of(&world.bench.path("spool")).len(), before);
    let running = Running::start(&world, true);
    let config = Config { address: running.address.to_string(), ..config };
    assert_eq!(wait(forward::pass(&config)).unwrap().files as usize, before);
}

/// An HTTP client with the recorder's certificate.
pub(super) fn client(config: &Config) -> reqwest::Client {
    let tls = client_config(&config.authority, &config.certificate, &config.key, None).unwrap();
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .resolve(&config.name, config.address.parse().unwrap())
        .no_proxy()
        .build()
        .unwrap()
}

pub(super) fn url(config: &Config, path: &str) -> String {
    format!("https://{}:{}/v1/{path}", config.name, config.address.rsplit(':').next().unwrap())
}

#[test]
fn a_file_goes_on_where_it_ended_and_is_written_once() {
    let world = World::new();
    world.record(&["basic.pcap"], "spool");
    let running = Running::start(&world, false);
    let config = enrol(&world, "spool", "peer", running.address);
    // The receipts come first; the files are away.
    let away = world.bench.path("away");
    fs::create_dir(&away).unwrap();
    let files = files_of(&world.bench.path("spool"));
    for file in &files {
        fs::rename(file, away.join(file.file_name().unwrap())).unwrap();
    }
    assert_eq!(wait(forward::pass(&config)).unwrap().absent as usize, files.len());
    let name = files[0].file_name().unwrap().to_str().unwrap().to_owned();
    let sealed = fs::read(away.join(&name)).unwrap();
    let at = url(&config, &format!("recordings/{}/{name}", name.split('.').next().unwrap()));
    let put = |from: usize, to: usize, bytes: &[u8]| {
        let range = format!("bytes {from}-{to}/{}", sealed.len());
        let (at, bytes, client) = (at.clone(), bytes.to_vec(), client(&config));
        wait(async move {
            let done = client.put(at).header("content-range", range).body(bytes).send().await.unwrap();
            let offset = done.headers().get("upload-offset").map(|value| value.to_str().unwrap().to_owned());
            (done.status().as_u16(), offset)
        })
    };
    let (half, all) = (sealed.len() / 2, sealed.len());
    assert_eq!(put(0, half - 1, &sealed[..half]), (202, Some(half.to_string())));
    // Neither from the beginning again nor with a hole.
    assert_eq!(put(0, all - 1, &sealed), (409, Some(half.to_string())));
    assert_eq!(put(half + 1, all - 1, &sealed[half + 1..]), (409, Some(half.to_string())));
    // Something else than what was receipted is thrown away.
    let mut other = sealed[half..].to_vec();
    *other.last_mut().unwrap() ^= 1;
    assert_eq!(put(half, all - 1, &other).0, 422);
    assert_eq!(put(0, half - 1, &sealed[..half]).0, 202);
    assert_eq!(put(half, all - 1, &[&sealed[half..], b"more"].concat()).0, 413);
    // The connection broke: the file goes on where it is.
    for file in &files {
        fs::rename(away.join(file.file_name().unwrap()), file).unwrap();
    }
    wait(forward::pass(&config)).unwrap();
    assert_eq!(put(0, all - 1, &other).0, 201, "it is here already, and is not written over");
    until("all staged", || status(&world).staged == 1);
    drop(running);
    assert_eq!(world.take_in("spool", true).unwrap().archived, 1);
    assert_eq!(world.opened(), world.opened_there("spool"));
}

#[test]
fn a_recorder_can_create_and_nothing_else() {
    let world = World::new();
    world.record(&["basic.pcap"], "spool");
    let running = Running::start(&world, true);
    let config = enrol(&world, "spool", "peer", running.address);
    wait(forward::pass(&config)).unwrap();
    until("archived", || status(&world).archived > 0);
    let name = files_of(&world.bench.path("spool"))[0].file_name().unwrap().to_str().unwrap().to_owned();
    let id = name.split('.').next().unwrap().to_owned();
    let own = format!("recordings/{id}/{name}");
    let other =
        "recordings/0193c4a5-0000-7000-8000-000000000001/0193c4a5-0000-7000-8000-000000000001.opus.age";
    let tries: &[(&str, &str, &[u16])] = &[
        ("GET", &own, &[405]),
        ("DELETE", &own, &[405]),
        ("POST", &own, &[405]),
        ("PATCH", &own, &[405]),
        ("PUT", other, &[404]),
        ("HEAD", other, &[404]),
        ("GET", "recordings", &[404]),
        ("GET", &format!("recordings/{id}"), &[404]),
        ("DELETE", &format!("recordings/{id}"), &[404]),
        ("DELETE", "receipts", &[405]),
        ("PUT", "receipts", &[405]),
        ("GET", "free", &[405]),
        ("PUT", &format!("recordings/{id}/..%2f..%2fvault.toml"), &[404]),
        ("PUT", &format!("recordings/{id}/{id}.more.age"), &[404]),
        ("GET", "../home/vault.toml", &[404]),
    ];
    let before = world.opened();
    for (method, path, wanted) in tries {
        let (client, at) = (client(&config), url(&config, path));
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let (status, body) = wait(async {
            let done = client.request(method.clone(), at).body("x").send().await.unwrap();
            (done.status().as_u16(), done.bytes().await.unwrap())
        });
        assert!(wanted.contains(&status), "{method} {path}: {status}");
        assert!(body.len() < 200, "{method} {path}: {body:?}");
    }
    assert_eq!(world.opened(), before);
}

/// What a certificate is to have.
struct Paper {
    name: String,
    from: i32,
    to: i32,
    usage: ExtendedKeyUsagePurpose,
}

impl Paper {
    fn client() -> Self {
        Self { name: "recorder".into(), from: 2020, to: 2090, usage: ExtendedKeyUsagePurpose::ClientAuth }
    }

    fn server(name: &str) -> Self {
        Self { name: name.into(), usage: ExtendedKeyUsagePurpose::ServerAuth, ..Self::client() }
    }

    /// Certificate and key, in PEM, signed by `issuer` or by itself.
    fn issue(&self, issuer: Option<&Issuer<'_, KeyPair>>) -> (String, String) {
        let mut params = CertificateParams::new([self.name.clone()]).unwrap();
        params.not_before = date_time_ymd(self.from, 1, 1);
        params.not_after = date_time_ymd(self.to, 1, 1);
        params.extended_key_usages = vec![self.usage.clone()];
        let key = KeyPair::generate().unwrap();
        let made = match issuer {
            Some(issuer) => params.signed_by(&key, issuer).unwrap(),
            None => params.self_signed(&key).unwrap(),
        };
        (made.pem(), key.serialize_pem())
    }
}

/// The vault's own authority, as only a thief would have it.
fn own_issuer(world: &World) -> Issuer<'static, KeyPair> {
    let read = |name: &str| fs::read_to_string(world.bench.path("home").join(TLS).join(name)).unwrap();
    let key = KeyPair::from_pem(&read("authority.key")).unwrap();
    Issuer::from_ca_cert_pem(&read("authority.pem"), key).unwrap()
}

fn other_issuer() -> (String, Issuer<'static, KeyPair>) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let pem = params.self_signed(&key).unwrap().pem();
    (pem, Issuer::new(params, key))
}

fn asks(client: reqwest::Client, config: &Config) -> Result<u16, reqwest::Error> {
    let at = url(config, "receipts");
    wait(async move { client.get(at).send().await.map(|done| done.status().as_u16()) })
}

#[test]
fn whoever_is_no_recorder_of_ours_does_not_get_in_and_is_told() {
    let world = World::new();
    world.record(&["basic.pcap"], "spool");
    let running = Running::start(&world, false);
    let config = enrol(&world, "spool", "peer", running.address);
    assert_eq!(asks(client(&config), &config).unwrap(), 200);
    let (own, (other_pem, other)) = (own_issuer(&world), other_issuer());
    let dir = world.bench.path("bad");
    fs::create_dir(&dir).unwrap();
    let paper = Paper::client();
    let papers: Vec<(&str, (String, String))> = vec![
        ("self-signed", paper.issue(None)),
        ("of another authority", paper.issue(Some(&other))),
        ("expired", Paper { to: 2021, ..Paper::client() }.issue(Some(&own))),
        ("not yet valid", Paper { from: 2080, ..Paper::client() }.issue(Some(&own))),
        ("for servers", Paper::server("recorder").issue(Some(&own))),
        (
            "for mail",
            Paper { usage: ExtendedKeyUsagePurpose::EmailProtection, ..Paper::client() }.issue(Some(&own)),
        ),
        ("signed and not enrolled", paper.issue(Some(&own))),
        ("with the authority after it", {
            let (pem, key) = paper.issue(Some(&other));
            (format!("{pem}{other_pem}"), key)
        }),
    ];
    let mut refused = 0;
    for (what, (certificate, key)) in papers {
        let (certificate_path, key_path) = (dir.join("c.pem"), dir.join("c.key"));
        fs::write(&certificate_path, certificate).unwrap();
        fs::write(&key_path, key).unwrap();
        let bad = Config { certificate: certificate_path, key: key_path, ..config.clone() };
        assert!(asks(client(&bad), &bad).is_err(), "{what}");
        refused += 1;
    }
    // With the right certificate, and a key that is not its.
    let (_, key) = paper.issue(None);
    let tls = tls_of(&config, &config.certificate, Some(&key), &[&rustls::version::TLS13]);
    assert!(!tls.is_ok_and(|tls| asks(with(tls, &config), &config).is_ok()));
    for (what, versions, with_certificate) in
        [("no certificate", &[&rustls::version::TLS13], false), ("TLS 1.2", &[&rustls::version::TLS12], true)]
    {
        let tls = if with_certificate {
            tls_of(&config, &config.certificate, None, versions).unwrap()
        } else {
            tls_without(&config, versions)
        };
        assert!(asks(with(tls, &config), &config).is_err(), "{what}");
        refused += 1;
    }
    for bytes in [
        &b"GET /v1/receipts HTTP/1.1\r\nHost: a\r\n\r\n"[..],
        b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00",
        b"\0\0\0\0\0\0\0\0",
    ] {
        let mut stream = TcpStream::connect(running.address).unwrap();
        stream.write_all(bytes).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
        refused += 1;
    }
    // Enrolled, and then revoked: from the next connection on.
    let revoked = enrol(&world, "spool", "revoked", running.address);
    assert_eq!(asks(client(&revoked), &revoked).unwrap(), 200);
    let pem = fs::read(&revoked.certificate).unwrap();
    let fingerprint =
        sejf::shell::vault::intake::tls::fingerprint(&CertificateDer::from_pem_slice(&pem).unwrap());
    fs::write(world.bench.path("home").join(TLS).join("revoked"), format!("{fingerprint}\n")).unwrap();
    assert!(asks(client(&revoked), &revoked).is_err());
    refused += 1;
    assert_eq!(asks(client(&config), &config).unwrap(), 200, "the other is not");
    until("all told", || status(&world).refused_connections >= refused);
    // The vault's log has the first of them.
    let log = world.bench.path("home/log");
    until("in the log", || log_has(&files_below(&log), "connections refused"));
}

fn files_below(dir: &std::path::Path) -> Vec<PathBuf> {
    crate::vault_intake::objects(dir).into_keys().collect()
}

fn log_has(files: &[PathBuf], words: &str) -> bool {
    files.iter().any(|path| fs::read(path).is_ok_and(|bytes| String::from_utf8_lossy(&bytes).contains(words)))
}

type Versions<'a> = &'a [&'static rustls::SupportedProtocolVersion];

fn builder(
    config: &Config,
    versions: Versions<'_>,
) -> rustls::ConfigBuilder<rustls::ClientConfig, rustls::client::WantsClientCert> {
    let mut roots = rustls::RootCertStore::empty();
    let pem = fs::read(&config.authority).unwrap();
    roots.add(CertificateDer::from_pem_slice(&pem).unwrap()).unwrap();
    rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
}

fn tls_of(
    config: &Config,
    certificate: &std::path::Path,
    key: Option<&str>,
    versions: Versions<'_>,
) -> Result<rustls::ClientConfig, rustls::Error> {
    let chain = CertificateDer::from_pem_slice(&fs::read(certificate).unwrap()).unwrap();
    let own = fs::read_to_string(&config.key).unwrap();
    let key = PrivateKeyDer::from_pem_slice(key.unwrap_or(&own).as_bytes()).unwrap();
    builder(config, versions).with_client_auth_cert(vec![chain], key)
}

fn tls_without(config: &Config, versions: Versions<'_>) -> rustls::ClientConfig {
    builder(config, versions).with_no_client_auth()
}

fn with(tls: rustls::ClientConfig, config: &Config) -> reqwest::Client {
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .resolve(&config.name, config.address.parse().unwrap())
        .no_proxy()
        .build()
        .unwrap()
}

/// Something that is to be taken for the vault; counts who sends it anything inside TLS.
fn impostor(certificate: &str, key: &str, versions: Versions<'_>) -> (SocketAddr, Arc<AtomicUsize>) {
    let chain =
        CertificateDer::pem_slice_iter(certificate.as_bytes()).collect::<Result<Vec<_>, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let tls = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, heard, tls) =
        (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)), Arc::new(tls));
    let counted = heard.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let connection = rustls::ServerConnection::new(tls.clone()).unwrap();
            let mut stream = rustls::StreamOwned::new(connection, stream);
            if stream.read(&mut [0; 1]).is_ok_and(|read| read > 0) {
                counted.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    (address, heard)
}

#[test]
fn a_recorder_sends_to_its_vault_and_to_nobody_else() {
    let world = World::new();
    world.record(&["basic.pcap"], "spool");
    let running = Running::start(&world, false);
    let config = enrol(&world, "spool", "peer", running.address);
    let (own, (_, other)) = (own_issuer(&world), other_issuer());
    let name = config.name.clone();
    let good = Paper::server(&name);
    let thirteen: Versions<'_> = &[&rustls::version::TLS13];
    let twelve: Versions<'_> = &[&rustls::version::TLS12];
    let bad: Vec<(&str, (String, String), Versions<'_>)> = vec![
        ("self-signed", good.issue(None), thirteen),
        ("of another authority", good.issue(Some(&other)), thirteen),
        ("of another name", Paper::server("other.vault.sejf").issue(Some(&own)), thirteen),
        ("of any name", Paper::server("*.sejf").issue(Some(&own)), thirteen),
        ("expired", Paper { to: 2021, ..Paper::server(&name) }.issue(Some(&own)), thirteen),
        ("not yet valid", Paper { from: 2080, ..Paper::server(&name) }.issue(Some(&own)), thirteen),
        ("for clients", Paper { name: name.clone(), ..Paper::client() }.issue(Some(&own)), thirteen),
        ("TLS 1.2", good.issue(Some(&own)), twelve),
        ("not pinned", good.issue(Some(&own)), thirteen),
    ];
    for (what, (certificate, key), versions) in bad {
        let (address, heard) = impostor(&certificate, &key, versions);
        let bad = Config { address: address.to_string(), ..config.clone() };
        let refused = wait(forward::pass(&bad)).unwrap_err();
        assert!(matches!(refused, ForwardError::Http { .. }), "{what}: {refused}");
        assert_eq!(heard.load(Ordering::Relaxed), 0, "{what}");
    }
    // Without TLS at all.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let plain = Config { address: listener.local_addr().unwrap().to_string(), ..config.clone() };
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{\"size\":0}");
        }
    });
    assert!(wait(forward::pass(&plain)).is_err());
    for pin in ["00".repeat(32), "00".into(), String::new()] {
        let wrong = Config { pin: Some(pin.clone()), ..config.clone() };
        assert!(wait(forward::pass(&wrong)).is_err(), "{pin}");
    }
    assert_eq!(wait(forward::pass(&config)).unwrap().files, 2);
}

const PATIENCE: Duration = Duration::from_secs(300);
