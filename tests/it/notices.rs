//! People are told: by mail through a real server, and by webhook. What does not answer, or answers strangely, holds up
//! nothing and gets nothing in the open.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use sejf::archive::access::Action;
use sejf::archive::entry::{Entry, Outcome, Resource, SCHEMA};
use sejf::shell::clock;
use sejf::shell::vault::home::Vault;
use sejf::shell::vault::notices;

use crate::support::{assert_success, sejf, text};
use crate::vault_intake::World;

/// A certificate of `localhost`, its own authority.
struct Trust {
    certificate: rcgen::CertifiedKey<rcgen::KeyPair>,
}

impl Trust {
    fn new(dir: &Path) -> Self {
        let certificate = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        fs::write(dir.join("cert.pem"), certificate.cert.pem()).unwrap();
        fs::write(dir.join("key.pem"), certificate.signing_key.serialize_pem()).unwrap();
        Self { certificate }
    }

    fn server(&self) -> Arc<ServerConfig> {
        let key = PrivatePkcs8KeyDer::from(self.certificate.signing_key.serialize_der());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![self.certificate.cert.der().clone()], PrivateKeyDer::from(key));
        Arc::new(config.unwrap())
    }
}

/// How a receiver answers.
#[derive(Clone, Copy, Debug)]
enum Answer {
    Status(&'static str),
    /// Elsewhere, in the open.
    Redirect,
    /// A header without end.
    Endless,
    /// Nothing at all.
    Silent,
    Garbage,
}

/// A request that came.
#[derive(Clone, Debug)]
struct Got {
    head: String,
    body: String,
}

impl Got {
    fn header(&self, name: &str) -> &str {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map_or("", |(_, value)| value)
    }
}

/// A receiver over HTTPS that answers in this order, and then always as at the end.
struct Receiver {
    port: u16,
    got: Arc<Mutex<Vec<Got>>>,
}

impl Receiver {
    fn start(trust: &Trust, answers: &'static [Answer]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (port, config) = (listener.local_addr().unwrap().port(), trust.server());
        let got = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&got);
        std::thread::spawn(move || {
            for (number, stream) in listener.incoming().flatten().enumerate() {
                let answer = answers[number.min(answers.len() - 1)];
                let (config, kept) = (Arc::clone(&config), Arc::clone(&kept));
                std::thread::spawn(move || {
                    let connection = ServerConnection::new(config).unwrap();
                    let _ = converse(StreamOwned::new(connection, stream), answer, &kept);
                });
            }
        });
        Self { port, got }
    }

    fn got(&self) -> Vec<Got> {
        self.got.lock().unwrap().clone()
    }
}

fn converse(
    mut stream: StreamOwned<ServerConnection, TcpStream>,
    answer: Answer,
    kept: &Mutex<Vec<Got>>,
) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let read = stream.read(&mut buffer)?;
        bytes.extend_from_slice(&buffer[..read]);
        let told = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = told.split_once("\r\n\r\n") {
            let got = Got { head: head.to_owned(), body: body.to_owned() };
            if got.header("content-length").parse() == Ok(body.len()) {
                kept.lock().unwrap().push(got);
                break;
            }
        }
        if read == 0 {
            return Ok(());
        }
    }
    match answer {
        Answer::Status(status) => {
            write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")?;
        }
        Answer::Redirect => write!(
            stream,
            "HTTP/1.1 307 Temporary Redirect\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: 0\r\n\r\n"
        )?,
        Answer::Garbage => stream.write_all(&[0xff; 512])?,
        Answer::Endless => {
            write!(stream, "HTTP/1.1 200 OK\r\nX: ")?;
            while stream.write_all(&[b'a'; 4096]).and_then(|()| stream.flush()).is_ok() {}
        }
        Answer::Silent => std::thread::sleep(Duration::from_secs(60)),
    }
    stream.flush()
}

/// A vault with these ways.
struct Told {
    world: World,
}

impl Told {
    fn new(ways: impl FnOnce(&Path) -> String) -> Self {
        let world = World::new();
        fs::write(world.bench.path("secret"), SECRET).unwrap();
        let told = Self { world };
        let path = told.home().join("vault.toml");
        let config = fs::read_to_string(&path).unwrap();
        let dir = told.world.bench.path("");
        fs::write(&path, format!("{config}\n{}", ways(&dir))).unwrap();
        told
    }

    fn home(&self) -> PathBuf {
        self.world.bench.path("home")
    }

    fn vault(&self) -> Vault {
        Vault::open(&self.home()).unwrap()
    }

    fn serve(&self) -> Serving {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sejf"));
        command.args(["vault", "serve", text(&self.home()), "--listen", "127.0.0.1:0"]);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.starts_with("listening on "), "{line}");
        let serving = Serving(child);
        // Until it has looked at the log for the first time, all of it is of before.
        until("it looks at the log", || fs::exists(self.home().join("notices.json")).unwrap_or(false));
        serving
    }

    /// Somebody breaks the glass.
    fn alarm(&self, user: &str) {
        let entry = Entry {
            schema: SCHEMA,
            at: clock::now(),
            actor: format!("user:{user}"),
            origin: "192.0.2.1".into(),
            action: Action::BreakGlass,
            resource: Resource::User(user.into()),
            reason: None,
            outcome: Outcome::Done(serde_json::json!({ "alarm": "glass-broken" })),
        };
        self.vault().log.write(&[entry]).unwrap();
    }

    /// What sending a test says.
    fn test(&self) -> (Option<i32>, String) {
        let done = sejf(&["vault", "notify", "test", text(&self.home())]);
        (done.status.code(), String::from_utf8_lossy(&done.stdout).into_owned())
    }
}

struct Serving(Child);

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn hook(dir: &Path, port: u16, more: &str) -> String {
    format!(
        "[[notify]]\nname = 'hook'\nkind = 'webhook'\nurl = 'https://localhost:{port}/sejf?x=1'\n\
         secret = {:?}\nauthority = {:?}\nwhat = ['alarms']\n{more}\n",
        dir.join("secret"),
        dir.join("cert.pem")
    )
}

/// It is signed, comes again until it has arrived, with the same id, also where the vault was killed meanwhile.
#[test]
fn a_webhook_is_told_at_least_once_and_knows_from_whom() {
    let dir = tempfile::tempdir().unwrap();
    let trust = Trust::new(dir.path());
    let receiver = Receiver::start(
        &trust,
        &[Answer::Status("503 Service Unavailable"), Answer::Status("204 No Content")],
    );
    let told = Told::new(|own| {
        fs::copy(dir.path().join("cert.pem"), own.join("cert.pem")).unwrap();
        hook(own, receiver.port, "every = '1 second'")
    });
    let serving = told.serve();
    for _ in 0..25 {
        told.alarm("rita");
    }
    until("the first try", || !receiver.got().is_empty());
    until("that it failed is kept", || {
        notices::standing(&told.vault()).outboxes().any(|(_, outbox)| outbox.failures == 1)
    });
    let status = sejf(&["vault", "notify", "status", text(&told.home())]);
    assert_eq!(status.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&status.stdout).contains("503"), "{status:?}");
    drop(serving);
    let _serving = told.serve();
    until("the second try", || receiver.got().len() > 1);
    let got = receiver.got();
    assert_eq!(got[0].header("sejf-id"), got[1].header("sejf-id"));
    let mut count = 0;
    until("all are told", || {
        let glass = |got: &Got| -> u64 {
            let told: serde_json::Value = serde_json::from_str(&got.body).unwrap();
            let all = told["notices"].as_array().unwrap();
            let of = |one: &&serde_json::Value| one["kind"] == "broken-glass" && one["subject"] == "rita";
            all.iter().filter(of).map(|one| one["count"].as_u64().unwrap()).sum()
        };
        let ids: std::collections::BTreeMap<_, _> =
            receiver.got().iter().map(|got| (got.header("sejf-id").to_owned(), glass(got))).collect();
        count = ids.values().sum();
        count >= 25
    });
    assert_eq!(count, 25);
    for got in receiver.got() {
        let time: u64 = got.header("sejf-time").parse().unwrap();
        let now = clock::now().as_unix_nanos() / 1_000_000_000;
        assert!(now - time < 120, "{time}");
        assert_eq!(got.header("sejf-signature"), notices::signature(SECRET.as_bytes(), time, &got.body));
        assert_ne!(got.header("sejf-signature"), notices::signature(SECRET.as_bytes(), time + 1, &got.body));
    }
}

#[test]
fn strange_answers_are_no_delivery_and_end_in_time() {
    let dir = tempfile::tempdir().unwrap();
    let trust = Trust::new(dir.path());
    for (answers, slow) in [
        (&[Answer::Redirect][..], false),
        (&[Answer::Garbage], false),
        (&[Answer::Endless], false),
        (&[Answer::Silent], true),
        (&[Answer::Status("410 Gone")], false),
    ] {
        let receiver = Receiver::start(&trust, answers);
        let told = Told::new(|own| {
            fs::copy(dir.path().join("cert.pem"), own.join("cert.pem")).unwrap();
            hook(own, receiver.port, "")
        });
        let begun = Instant::now();
        let (code, said) = told.test();
        assert_eq!(code, Some(1), "{answers:?}: {said}");
        assert!(!said.contains("arrived") && said.lines().count() == 1, "{said}");
        assert!(begun.elapsed() < Duration::from_secs(if slow { 40 } else { 35 }), "{answers:?}");
    }
    // Nobody is there, and somebody is who is not trusted.
    let receiver = Receiver::start(&trust, &[Answer::Status("200 OK")]);
    let untrusted = Told::new(|own| {
        let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        fs::write(own.join("cert.pem"), other.cert.pem()).unwrap();
        hook(own, receiver.port, "")
    });
    assert_eq!(untrusted.test().0, Some(1));
    assert!(receiver.got().is_empty(), "told to somebody else");
    let nobody = Told::new(|own| {
        fs::copy(dir.path().join("cert.pem"), own.join("cert.pem")).unwrap();
        hook(own, 9, "")
    });
    assert_eq!(nobody.test().0, Some(1));
}

fn mail(dir: &Path, port: u16, more: &str) -> String {
    fs::write(dir.join("mail.toml"), "user = 'sejf'\npassword = 'hush-hush'\n").unwrap();
    format!(
        "[[notify]]\nname = 'mail'\nkind = 'email'\nserver = 'localhost'\nport = {port}\nfrom = 'sejf@example.org'\n\
         to = ['Ops <ops@example.org>', 'night@example.org']\ncredentials = {:?}\nauthority = {:?}\nlanguage = 'pl'\n\
         what = ['alarms']\nevery = '1 second'\n{more}\n",
        dir.join("mail.toml"),
        dir.join("cert.pem")
    )
}

/// A mail server of Python's aiosmtpd, which takes nothing before TLS and a password.
#[test]
fn a_mail_server_gets_a_message_over_tls() {
    let python = std::env::var("SEJF_TEST_PYTHON").unwrap_or_else(|_| "python3".into());
    let has = Command::new(&python).args(["-c", "import aiosmtpd"]).stderr(Stdio::null()).status();
    if !has.is_ok_and(|status| status.success()) {
        return println!(
            "skipped: no aiosmtpd; `pip install aiosmtpd`, and SEJF_TEST_PYTHON names the Python"
        );
    }
    let dir = tempfile::tempdir().unwrap();
    Trust::new(dir.path());
    fs::write(dir.path().join("server.py"), SERVER).unwrap();
    // Free just now.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut command = Command::new(&python);
    command
        .current_dir(dir.path())
        .args(["-u", "server.py", &port.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut server = Serving(command.spawn().unwrap());
    let mut line = String::new();
    BufReader::new(server.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line.trim(), "ready");
    let told = Told::new(|own| {
        fs::copy(dir.path().join("cert.pem"), own.join("cert.pem")).unwrap();
        mail(own, port, "")
    });
    let (code, said) = told.test();
    assert_eq!((code, said.trim()), (Some(0), "mail: arrived"));
    let messages = || {
        let all = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
        let mails = all.filter(|path| path.extension().is_some_and(|end| end == "eml"));
        mails.map(|path| fs::read_to_string(path).unwrap()).collect::<Vec<_>>()
    };
    assert!(messages()[0].contains("To: Ops <ops@example.org>, night@example.org"), "{:?}", messages());
    let _serving = told.serve();
    told.alarm("rita");
    until("the mail is there", || messages().iter().any(|one| decoded(one).contains("zbito szybkę: rita")));
    // A wrong password is no delivery.
    fs::write(told.world.bench.path("mail.toml"), "user = 'sejf'\npassword = 'wrong'\n").unwrap();
    let (code, said) = told.test();
    assert_eq!(code, Some(1));
    assert!(!said.contains("wrong"), "the password is told: {said}");
    // And one that is not trusted gets none.
    let untrusted = Told::new(|own| {
        let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        fs::write(own.join("cert.pem"), other.cert.pem()).unwrap();
        mail(own, port, "")
    });
    let before = messages().len();
    assert_eq!(untrusted.test().0, Some(1));
    assert_eq!(messages().len(), before);
}

/// Of quoted-printable and base 64, as far as it matters here.
fn decoded(mail: &str) -> String {
    use base64::Engine;
    let (head, body) =
        mail.replace("\r\n", "\n").split_once("\n\n").map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    if head.to_lowercase().contains("base64") {
        let bytes = base64::prelude::BASE64_STANDARD.decode(body.replace('\n', "")).unwrap_or_default();
        return String::from_utf8_lossy(&bytes).into_owned();
    }
    let body = body.replace("=\n", "");
    let (mut bytes, mut rest) = (Vec::new(), body.as_bytes());
    while let Some((first, more)) = rest.split_first() {
        rest = more;
        let hex = (*first == b'=').then(|| std::str::from_utf8(rest.get(..2)?).ok()).flatten();
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &rest[2..];
            }
            None => bytes.push(*first),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A server that has no TLS, takes it back, or never comes to an end: nothing is said to it in the open.
#[test]
fn a_mail_server_without_tls_gets_nothing() {
    for (greeting, after_ehlo) in [
        ("220 plain\r\n", "250-localhost\r\n250 AUTH PLAIN LOGIN\r\n"),
        ("220 broken\r\n", "250-localhost\r\n250-AUTH PLAIN LOGIN\r\n250 STARTTLS\r\n"),
        ("421 go away\r\n", ""),
        ("220 endless\r\n", "250-endless\r\n"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, heard) = mpsc::channel();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let sender = sender.clone();
                std::thread::spawn(move || plain_mail(stream, greeting, after_ehlo, &sender));
            }
        });
        let dir = tempfile::tempdir().unwrap();
        Trust::new(dir.path());
        let told = Told::new(|own| {
            fs::copy(dir.path().join("cert.pem"), own.join("cert.pem")).unwrap();
            mail(own, port, "")
        });
        let begun = Instant::now();
        let (code, said) = told.test();
        assert_eq!(code, Some(1), "{greeting}: {said}");
        assert!(begun.elapsed() < Duration::from_secs(40), "{greeting}");
        let lines: Vec<String> = heard.try_iter().collect();
        let is_open = |line: &String| {
            ["AUTH", "MAIL", "RCPT", "DATA"].iter().any(|word| line.to_uppercase().starts_with(word))
        };
        assert!(!lines.iter().any(is_open), "{greeting}: {lines:?}");
    }
}

fn plain_mail(mut stream: TcpStream, greeting: &str, after_ehlo: &str, heard: &mpsc::Sender<String>) {
    let _ = stream.write_all(greeting.as_bytes());
    let Ok(other) = stream.try_clone() else { return };
    for line in BufReader::new(other).lines().map_while(Result::ok) {
        let word = line.get(..4).unwrap_or_default().to_uppercase();
        let _ = heard.send(line);
        let answer = match word.as_str() {
            "EHLO" => after_ehlo,
            // What is said after it is no TLS.
            "STAR" => "220 go on\r\n250 injected\r\n250 injected\r\n",
            _ => "250 as you like\r\n",
        };
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
        while answer == "250-endless\r\n" && stream.write_all(answer.as_bytes()).is_ok() {}
    }
}

/// Somebody in between has answered ahead, in the open, to all that we say within TLS: the server's own word is waited for.
#[test]
fn what_was_said_before_tls_is_no_answer_within_it() {
    let dir = tempfile::tempdir().unwrap();
    let config = Trust::new(dir.path()).server();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, began) = mpsc::channel();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.write_all(b"220 here\r\n");
            for line in BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok) {
                if line.to_uppercase() != "STARTTLS" {
                    let _ = stream.write_all(b"250-localhost\r\n250-AUTH PLAIN LOGIN\r\n250 STARTTLS\r\n");
                    continue;
                }
                let hello = "250-localhost\r\n250 AUTH PLAIN LOGIN\r\n";
                let all = "235 yes\r\n250 yes\r\n250 yes\r\n250 yes\r\n354 go on\r\n250 taken\r\n221 bye\r\n";
                let _ = stream.write_all(format!("220 go on\r\n{hello}{all}").as_bytes());
                break;
            }
            let _ = sender.send(());
            let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            let _ = StreamOwned::new(connection, stream).read_to_end(&mut Vec::new());
        }
    });
    let told = Told::new(|own| {
        fs::copy(dir.path().join("cert.pem"), own.join("cert.pem")).unwrap();
        mail(own, port, "")
    });
    let (code, said) = told.test();
    assert_eq!(code, Some(1), "{said}");
    assert!(began.try_recv().is_ok(), "it never came to TLS: {said}");
}

/// Whatever the vault writes into its log as an alarm, somebody is told.
#[test]
fn each_alarm_of_the_log_becomes_a_notice() {
    let actions = [
        ("glass-broken", Action::BreakGlass),
        ("many-recordings", Action::Open),
        ("log-rolled-back", Action::Duty),
        ("log-forked", Action::Duty),
        ("passkey-copied", Action::ChangeOwn),
    ];
    let mut words = std::collections::BTreeSet::new();
    let mut folders = vec![PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() && !path.ends_with("tests") && !path.ends_with("ui") {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") && !path.ends_with("tests.rs") {
                let text = fs::read_to_string(path).unwrap();
                let production = text.split("\nmod tests {").next().unwrap().replace("alarm\":", "alarm:");
                let after = production.split("alarm: \"").skip(1);
                words.extend(after.map(|rest| rest.split('"').next().unwrap().to_owned()));
            }
        }
    }
    let known: std::collections::BTreeSet<_> = actions.iter().map(|(word, _)| (*word).to_owned()).collect();
    assert_eq!(words, known);
    for (word, action) in actions {
        let entry = Entry {
            schema: SCHEMA,
            at: clock::now(),
            actor: "user:rita".into(),
            origin: "192.0.2.1".into(),
            action,
            resource: Resource::Vault,
            reason: None,
            outcome: Outcome::Done(serde_json::json!({ "alarm": word, "witness": "w1" })),
        };
        let notice = sejf::archive::notice::of_entry(7, &entry).unwrap_or_else(|| panic!("{word}"));
        assert_eq!(notice.kind.topic(), sejf::archive::notice::Topic::Alarms);
        assert_eq!(notice.subject, if action == Action::Duty { "witness w1" } else { "rita" });
    }
}

/// Fewer entries than were read already: it was cut or put back.
#[test]
fn a_log_that_is_shorter_than_it_was_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let trust = Trust::new(dir.path());
    let receiver = Receiver::start(&trust, &[Answer::Status("204 No Content")]);
    let told = Told::new(|own| {
        fs::copy(dir.path().join("cert.pem"), own.join("cert.pem")).unwrap();
        hook(own, receiver.port, "every = '1 second'")
    });
    fs::write(told.home().join("notices.json"), r#"{"read":1000000}"#).unwrap();
    let _serving = told.serve();
    until("it is told", || receiver.got().iter().any(|got| got.body.contains(r#""kind":"log-changed""#)));
}

#[test]
fn a_way_that_is_not_there_is_told_as_that() {
    let told = Told::new(|_| String::new());
    let none = sejf(&["vault", "notify", "test", text(&told.home())]);
    assert_eq!(none.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&none.stderr).contains("deploy/vault.toml"));
    assert_success(&sejf(&["vault", "notify", "status", text(&told.home())]));
}

const PATIENCE: Duration = Duration::from_secs(90);
const SECRET: &str = "0123456789abcdef0123456789abcdef-secret";
const SERVER: &str = r#"
import ssl, sys, itertools
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult

count = itertools.count()
tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
tls.load_cert_chain("cert.pem", "key.pem")

class Kept:
    async def handle_DATA(self, server, session, envelope):
        assert session.ssl is not None and session.authenticated
        with open(f"{next(count)}.eml", "wb") as file:
            file.write(envelope.content)
        return "250 kept"

def known(server, session, envelope, mechanism, data):
    return AuthResult(success=(data.login, data.password) == (b"sejf", b"hush-hush"))

class Server(Controller):
    def factory(self):
        return SMTP(self.handler, require_starttls=True, tls_context=tls, authenticator=known, auth_required=True)

server = Server(Kept(), hostname="127.0.0.1", port=int(sys.argv[1]))
server.start()
print("ready", flush=True)
sys.stdin.read()
"#;
