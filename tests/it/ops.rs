//! A recorder is asked: control socket, metrics and health, and the commands that use them. The recorder
//! is a fake: a status, and a thread that answers commands.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use sejf::base::time::Stamp;
use sejf::shell::control::{self, Action, Command, ControlError, DEFAULT_MODE};
use sejf::shell::http;
use sejf::shell::ops::{Config, Ops};
use sejf::shell::status::snapshot::{CallState, Interface, Parties};
use sejf::shell::status::{About, CallOpened, CallStats, Status};

use crate::support::{assert_success, lines, sejf, text};

const ID: &str = "0193c4a5-0000-7000-8000-000000000001";
const CALLER: &str = "+12015550100";

struct Fake {
    dir: tempfile::TempDir,
    status: Arc<Status>,
    commands: Receiver<Command>,
    http: SocketAddr,
    ops: Ops,
}

fn fake(parties: bool) -> Fake {
    let dir = tempfile::tempdir().unwrap();
    let status = Arc::new(Status::new(About { recorder: "rec-1".into(), parties }));
    status.set_config("7", &["carrier".into()]);
    status.set_capturing(true);
    status.set_recipients_probed(true);
    status.set_interface(Interface { name: "eth0".into(), up: true, ..Interface::default() });
    status.call_opened(CallOpened {
        id: ID.into(),
        trunk: "car\u{1b}[2Jrier".into(),
        rule: "all@1".into(),
        format: "opus",
        since: Stamp::from_unix_nanos(1_795_468_121_000_000_000),
        parties: Some(Parties { caller: CALLER.into(), callee: "+16015550100".into() }),
    });
    let stats = CallStats { state: CallState::Talking, codecs: ["PCMU", "G722"], ..CallStats::default() };
    status.call_stats(ID, Stamp::from_unix_nanos(1_795_468_122_000_000_000), &stats);
    let (sender, commands) = bounded(4);
    let listener = control::bind(&dir.path().join("control"), DEFAULT_MODE, None).unwrap();
    let tcp = http::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let http = tcp.local_addr().unwrap();
    let config = Config {
        control: Some(control::Config { listener, commands: sender }),
        http: Some(http::Config { listener: tcp, hosts: Vec::new() }),
    };
    let ops = Ops::start(config, &status).unwrap();
    Fake { dir, status, commands, http, ops }
}

struct Pulse {
    _over: Sender<()>,
}

impl Fake {
    fn socket(&self) -> PathBuf {
        self.dir.path().join("control")
    }

    /// A pipeline that moves, for as long as what is returned lives.
    fn pulse(&self) -> Pulse {
        let (status, (over, ended)) = (self.status.clone(), bounded::<()>(0));
        status.beat();
        thread::spawn(move || {
            while ended.recv_timeout(Duration::from_millis(100)) == Err(RecvTimeoutError::Timeout) {
                status.beat();
            }
        });
        Pulse { _over: over }
    }

    fn connect(&self) -> BufReader<UnixStream> {
        BufReader::new(UnixStream::connect(self.socket()).unwrap())
    }

    fn sejf(&self, args: &[&str]) -> std::process::Output {
        let socket = self.socket();
        sejf(&[args, &["--socket", text(&socket)]].concat())
    }

    fn get(&self, head: &str) -> String {
        let mut stream = TcpStream::connect(self.http).unwrap();
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

fn ask(client: &mut BufReader<UnixStream>, line: &str) -> serde_json::Value {
    client.get_mut().write_all(format!("{line}\n").as_bytes()).unwrap();
    let mut answer = String::new();
    client.read_line(&mut answer).unwrap();
    serde_json::from_str(&answer).unwrap()
}

#[test]
fn the_socket_tells_and_refuses() {
    let fake = fake(false);
    let mode = fake.socket().metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    let mut client = fake.connect();
    let status = ask(&mut client, r#"{"cmd":"status"}"#);
    assert_eq!((&status["ok"], &status["status"]["recorder"]), (&true.into(), &"rec-1".into()));
    let calls = ask(&mut client, r#"{"cmd":"calls"}"#);
    assert_eq!(calls["calls"][0]["codecs"][1], "G722");
    assert!(!calls.to_string().contains("555"));
    for (request, words) in [
        (r#"{"cmd":"calls","parties":true}"#, "does not permit"),
        (r#"{"cmd":"status","more":1}"#, "no such request"),
        (r#"{"cmd":"format"}"#, "no such request"),
        ("nonsense", "no such request"),
        (r#"{"cmd":"pause","id":"x","reason":"card"}"#, "none of a recording"),
        (&format!(r#"{{"cmd":"pause","id":"{ID}","reason":" "}}"#), "reason"),
        (&format!(r#"{{"cmd":"pause","id":"{ID}","reason":"a\nb"}}"#), "single lines"),
        (&format!(r#"{{"cmd":"resume","id":"{ID}","actor":"{}"}}"#, "a".repeat(65)), "single lines"),
    ] {
        let answer = ask(&mut client, request);
        assert_eq!(answer["ok"], false, "{request}");
        assert!(answer["error"].as_str().unwrap().contains(words), "{request}: {answer}");
    }
    assert!(fake.commands.is_empty());
    fake.ops.stop().unwrap();
    let mut rest = String::new();
    assert_eq!(client.read_line(&mut rest).unwrap_or(0), 0);
}

#[test]
fn a_line_without_end_and_too_many_clients_are_hung_up_on() {
    let fake = fake(false);
    let mut client = fake.connect();
    client.get_mut().write_all(&[b'x'; 4_096]).unwrap();
    let mut answer = String::new();
    client.read_line(&mut answer).unwrap();
    assert!(answer.contains("4096 bytes"), "{answer}");
    assert_eq!(client.read_line(&mut answer).unwrap_or(0), 0);
    let mut clients: Vec<_> = (0..8)
        .map(|_| {
            let mut client = fake.connect();
            // The one that was hung up on may still have its place.
            loop {
                if client.get_mut().write_all(b"{\"cmd\":\"status\"}\n").is_ok() {
                    let mut answer = String::new();
                    let _ = client.read_line(&mut answer);
                    if answer.contains("\"ok\":true") {
                        return client;
                    }
                }
                client = fake.connect();
            }
        })
        .collect();
    let mut ninth = fake.connect();
    let mut answer = String::new();
    ninth.read_line(&mut answer).unwrap();
    assert!(answer.contains("too many clients"), "{answer}");
    assert_eq!(ask(&mut clients[0], r#"{"cmd":"status"}"#)["ok"], true);
}

#[test]
fn what_acts_goes_to_the_runner_with_the_user_who_asked() {
    let fake = fake(false);
    let commands = fake.commands.clone();
    let runner = thread::spawn(move || {
        let mut done = Vec::new();
        for command in commands.iter().take(4) {
            assert_eq!(command.peer.uid, rustix_uid());
            match &command.action {
                Action::Resume { .. } => command.reply.refuse("it is not paused"),
                // Dropped: it answers nothing.
                Action::Reload => {}
                action => command.reply.done(format!("{action:?}")),
            }
        }
        done.push(commands.is_empty());
        done
    });
    let paused = fake.sejf(&["call", "pause", ID, "--reason", "card data", "--actor", "anna"]);
    assert_success(&paused);
    let said = String::from_utf8_lossy(&paused.stdout);
    assert!(said.contains(ID) && said.contains("card data") && said.contains("anna"), "{said}");
    let resumed = fake.sejf(&["call", "resume", ID]);
    assert_eq!(resumed.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&resumed.stderr).contains("not paused"));
    let mut client = fake.connect();
    let reloaded = ask(&mut client, r#"{"cmd":"reload"}"#);
    assert!(reloaded["error"].as_str().unwrap().contains("ended before"), "{reloaded}");
    assert_eq!(ask(&mut client, r#"{"cmd":"stop"}"#)["said"], "Stop");
    assert_eq!(runner.join().unwrap(), [true]);
    drop(fake.commands);
}

fn rustix_uid() -> u32 {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").unwrap().uid()
}

#[test]
fn a_socket_left_behind_is_replaced_and_one_in_use_is_not() {
    let fake = fake(false);
    assert!(matches!(control::bind(&fake.socket(), DEFAULT_MODE, None), Err(ControlError::Busy { .. })));
    let left = fake.dir.path().join("left");
    drop(control::bind(&left, 0o600, None).unwrap());
    assert_eq!(left.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    drop(control::bind(&left, 0o600, None).unwrap());
    let file = fake.dir.path().join("file");
    std::fs::write(&file, b"mine").unwrap();
    assert!(matches!(control::bind(&file, DEFAULT_MODE, None), Err(ControlError::Taken { .. })));
    assert_eq!(std::fs::read(&file).unwrap(), b"mine");
}

#[test]
fn status_has_the_exit_codes_of_a_check() {
    let fake = fake(false);
    let _pulse = fake.pulse();
    let well = fake.sejf(&["status"]);
    let said = String::from_utf8_lossy(&well.stdout);
    assert!(well.status.success() && said.starts_with("OK: rec-1"), "{said}");
    fake.status.set_interface(Interface { name: "eth1".into(), ..Interface::default() });
    let degraded = fake.sejf(&["status"]);
    assert_eq!(degraded.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&degraded.stdout).contains("! interface eth1 is down"));
    let json = fake.sejf(&["status", "--json"]);
    assert_eq!(json.status.code(), Some(1));
    assert_eq!(lines(&json.stdout)[0]["interfaces"][1]["up"], false);
    let missing = fake.dir.path().join("nobody");
    let gone = sejf(&["status", "--socket", text(&missing)]);
    assert_eq!(gone.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&gone.stderr).contains("does it run?"));
}

#[test]
fn calls_are_listed_and_strangers_words_do_not_steer() {
    let fake = fake(true);
    for args in [&["call", "ls"][..], &["top", "--once"]] {
        let listed = fake.sejf(args);
        assert_success(&listed);
        let said = String::from_utf8_lossy(&listed.stdout);
        assert!(said.contains(ID) && said.contains("PCMU/G722"), "{said}");
        assert!(!said.contains('\u{1b}') && said.contains("\\u{1b}"), "{said}");
        assert!(!said.contains(CALLER), "{said}");
    }
    let asked = fake.sejf(&["call", "ls", "--parties"]);
    assert!(String::from_utf8_lossy(&asked.stdout).contains(CALLER));
    let json = fake.sejf(&["call", "ls", "--json"]);
    assert_eq!(lines(&json.stdout)[0]["state"], "talking");
}

#[test]
fn metrics_and_health_are_served_to_who_names_us() {
    let fake = fake(false);
    let _pulse = fake.pulse();
    let metrics = fake.get("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(metrics.starts_with("HTTP/1.1 200 OK\r\n"), "{metrics}");
    assert!(metrics.contains("application/openmetrics-text"), "{metrics}");
    assert!(metrics.contains("\nsejf_interface_up{interface=\"eth0\"} 1\n"), "{metrics}");
    let ready = fake.get("GET /ready HTTP/1.1\r\nHost: 127.0.0.1:9100\r\n\r\n");
    assert!(ready.starts_with("HTTP/1.1 200"), "{ready}");
    fake.status.set_capturing(false);
    let ready = fake.get("GET /ready HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(ready.starts_with("HTTP/1.1 503") && ready.contains("not capturing"), "{ready}");
    assert!(ready.contains("application/problem+json"), "{ready}");
    for (request, status) in [
        ("GET /metrics HTTP/1.1\r\nHost: evil.example\r\n\r\n", "421"),
        ("GET /metrics HTTP/1.0\r\n\r\n", "421"),
        ("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "404"),
        ("POST /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n", "405"),
        ("nonsense\r\n\r\n", "400"),
    ] {
        let answer = fake.get(request);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}"))
                || answer.starts_with(&format!("HTTP/1.0 {status}")),
            "{request}: {answer}"
        );
    }
    assert!(http::bind(fake.http).unwrap_err().to_string().contains("choose another address"));
    fake.ops.stop().unwrap();
    assert!(TcpStream::connect(fake.http).is_err());
}

#[test]
fn a_request_without_end_is_hung_up_on() {
    let fake = fake(false);
    let mut stream = TcpStream::connect(fake.http).unwrap();
    let mut sent = stream.write_all(b"GET /health HTTP/1.1\r\n");
    // Hung up on by size long before this many bytes, and by time if sizes did not count.
    let mut lines = 0;
    while sent.is_ok() && lines < 100_000 {
        sent = stream.write_all(format!("X-Padding-{lines}: {}\r\n", "a".repeat(900)).as_bytes());
        lines += 1;
    }
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(lines < 100_000);
    assert!(!answer.starts_with(b"HTTP/1.1 200"));
}
