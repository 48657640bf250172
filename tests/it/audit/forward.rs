//! Forwarding, to receivers that speak TLS, go away, break off and come back.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use sejf::archive::log_query::leaf;
use sejf::seal::note::Signer;
use sejf::shell::clock;
use sejf::shell::vault::intake::tls::Authority;
use serde_json::Value;

use super::{Home, copy_dir, put_back, until};
use crate::support::text;

/// A receiver in the test: what each connection has brought to its end.
#[derive(Clone)]
pub(super) struct Receiver {
    pub(super) address: SocketAddr,
    whole: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Receiver {
    /// The first `broken` connections are broken off in the middle. `answer` is said at the end.
    pub(super) fn start(
        listener: TcpListener,
        config: ServerConfig,
        broken: usize,
        answer: &'static str,
    ) -> Self {
        let receiver = Self { address: listener.local_addr().unwrap(), whole: Arc::default() };
        let (whole, config) = (Arc::clone(&receiver.whole), Arc::new(config));
        std::thread::spawn(move || {
            for (number, stream) in listener.incoming().map_while(Result::ok).enumerate() {
                let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
                let mut stream = StreamOwned::new(connection, stream);
                stream.sock.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
                if number < broken {
                    // Reads a little, and goes with the rest unread.
                    let _ = stream.read(&mut [0; 64]);
                    continue;
                }
                if let Some(bytes) = read_whole(&mut stream, !answer.is_empty()) {
                    whole.lock().unwrap().push(bytes);
                    let _ = stream.write_all(answer.as_bytes());
                    stream.conn.send_close_notify();
                    let _ = stream.flush();
                }
            }
        });
        receiver
    }

    fn taken(&self) -> Vec<Vec<u8>> {
        self.whole.lock().unwrap().clone()
    }

    /// Messages of syslog, each by the length that stands before it.
    fn messages(&self) -> Vec<String> {
        let mut messages = Vec::new();
        for bytes in self.taken() {
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let space = rest.iter().position(|byte| *byte == b' ').unwrap();
                let length: usize = std::str::from_utf8(&rest[..space]).unwrap().parse().unwrap();
                let (message, after) = rest[space + 1..].split_at(length);
                messages.push(String::from_utf8(message.to_vec()).unwrap());
                rest = after;
            }
        }
        messages
    }
}

/// To the end of the stream, or of an HTTP request.
fn read_whole(stream: &mut StreamOwned<ServerConnection, TcpStream>, is_http: bool) -> Option<Vec<u8>> {
    let (mut bytes, mut part) = (Vec::new(), [0; 4096]);
    loop {
        match stream.read(&mut part) {
            Ok(0) => return (!bytes.is_empty()).then_some(bytes),
            Ok(read) => bytes.extend_from_slice(&part[..read]),
            Err(_) => return None,
        }
        if is_http && let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
            let length =
                head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
            if bytes.len() >= end + 4 + length? {
                return Some(bytes);
            }
        }
    }
}

fn param<'a>(message: &'a str, name: &str) -> &'a str {
    message.split_once(&format!(" {name}=\"")).unwrap().1.split_once('"').unwrap().0
}

/// Numbers and hashes of what came.
fn leaves(messages: &[String]) -> BTreeMap<u64, String> {
    messages
        .iter()
        .map(|message| (param(message, "index").parse().unwrap(), param(message, "leaf").to_owned()))
        .collect()
}

fn all_leaves(home: &Home) -> BTreeMap<u64, String> {
    (0..).zip(home.entries().iter().map(|entry| leaf(entry))).collect()
}

#[test]
fn every_entry_reaches_a_receiver_that_was_away_and_one_that_breaks_off() {
    let home = Home::new();
    home.grow(1_500);
    let siem = Authority::open(&home.path("siem"), "siem", clock::now()).unwrap();
    let recorder = Signer::from_seed("r", &[1; 32]).unwrap();
    let enrolled = siem.enrol(recorder.verify_key(), None, clock::now()).unwrap();
    std::fs::write(home.path("home/siem.crt"), &enrolled.certificate).unwrap();
    std::fs::write(home.path("home/siem.key"), enrolled.key.unwrap().as_bytes()).unwrap();
    std::fs::create_dir(home.path("files")).unwrap();
    let other = Authority::open(&home.path("other"), "other", clock::now()).unwrap();
    let stranger = TcpListener::bind("127.0.0.1:0").unwrap();
    let stranger = Receiver::start(stranger, other.web_config(&[], clock::now()).unwrap(), 0, "");
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    // The receiver asks for our certificate; and is known by a name that is not its address.
    home.configure(&format!(
        "[[audit.forward]]\nname = \"siem\"\nkind = \"syslog\"\naddress = \"{address}\"\ntls_name = {:?}\n\
         authority = {:?}\ncertificate = \"siem.crt\"\nkey = \"siem.key\"\n\
         [[audit.forward]]\nname = \"files\"\nkind = \"file\"\nfolder = {:?}\n\
         [[audit.forward]]\nname = \"stranger\"\nkind = \"syslog\"\naddress = \"{}\"\nauthority = {:?}\n",
        siem.server_name(),
        home.path("siem/authority.pem"),
        home.path("files"),
        stranger.address,
        home.path("siem/authority.pem"),
    ));
    let running = home.serve();
    until("it is told that the receiver is away", || !home.standing("siem")["fault"].is_null());
    // The log goes on, and others do not wait for it.
    home.grow(5);
    until("the file has all", || home.standing("files")["behind"] == 0);
    assert!(home.standing("siem")["behind"].as_u64().unwrap() >= 1_500);
    let listener = TcpListener::bind(address).unwrap();
    let receiver = Receiver::start(listener, siem.server_config(clock::now()).unwrap(), 2, "");
    until("the receiver has all", || {
        let (there, standing) = (leaves(&receiver.messages()), home.standing("siem"));
        standing["fault"].is_null() && standing["behind"] == 0 && there.len() >= 1_505
    });
    running.stop();
    let (all, there) = (all_leaves(&home), leaves(&receiver.messages()));
    for (number, (index, leaf)) in (0..).zip(&there) {
        assert_eq!(
            (number, Some(leaf)),
            (*index, all.get(index)),
            "in order, none missing, and as it was signed"
        );
    }
    let numbers: Vec<u64> =
        receiver.messages().iter().map(|one| param(one, "index").parse().unwrap()).collect();
    assert!(numbers.is_sorted(), "each once, where nothing was broken off after it was taken");
    // Who cannot prove who they are gets nothing.
    assert!(stranger.taken().is_empty());
    let fault = home.standing("stranger")["fault"]["words"].as_str().unwrap().to_owned();
    assert!(fault.contains("certificate"), "{fault}");
    let mut lines = Vec::new();
    for file in std::fs::read_dir(home.path("files")).unwrap().map(|file| file.unwrap().path()) {
        assert!(text(&file).contains("/files-20") && text(&file).ends_with(".jsonl"), "{file:?}");
        lines.extend(crate::support::lines(&std::fs::read(file).unwrap()));
    }
    lines.sort_by_key(|line| line["index"].as_u64());
    for (number, line) in (0..).zip(&lines) {
        assert_eq!(
            (line["index"].as_u64(), line["leaf_sha256"].as_str()),
            (Some(number), Some(&*all[&number]))
        );
    }
    // It goes on where it was.
    home.grow(3);
    let _running = home.serve();
    until("what came meanwhile is sent", || leaves(&receiver.messages()).len() >= there.len() + 3);
}

#[test]
fn over_https_what_is_refused_is_sent_again_and_a_log_that_was_put_back_alarms() {
    let home = Home::new();
    let lake = Authority::open(&home.path("lake"), "lake", clock::now()).unwrap();
    let config = || lake.web_config(&[], clock::now()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let ok = "HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n";
    let receiver = Receiver::start(listener, config(), 0, ok);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let refusing = Receiver::start(
        listener,
        config(),
        0,
        "HTTP/1.1 503 No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
    );
    std::fs::write(home.path("home/token"), "s3cret\n").unwrap();
    for (name, receiver) in [("lake", &receiver), ("full", &refusing)] {
        home.configure(&format!(
            "[[audit.forward]]\nname = \"{name}\"\nkind = \"https\"\nurl = \"https://{}/in\"\nauthority = {:?}\ntoken = \"token\"\n",
            receiver.address,
            home.path("lake/authority.pem"),
        ));
    }
    copy_dir(&home.home(), &home.path("older"));
    home.grow(700);
    let running = home.serve();
    until("it has all", || {
        let standing = home.standing("lake");
        standing["size"].as_u64() > Some(700) && standing["behind"] == 0
    });
    until("the other is tried again", || refusing.taken().len() > 2);
    running.stop();
    let heads: Vec<_> =
        receiver.taken().iter().map(|bytes| String::from_utf8_lossy(bytes).into_owned()).collect();
    assert!(
        heads
            .iter()
            .all(|head| head.starts_with("POST /in ") && head.contains("authorization: Bearer s3cret"))
    );
    let lines: Vec<Value> = heads
        .iter()
        .flat_map(|head| crate::support::lines(head.split_once("\r\n\r\n").unwrap().1.as_bytes()))
        .collect();
    let all = all_leaves(&home);
    for (number, line) in (0..).zip(&lines) {
        assert_eq!(
            (line["index"].as_u64(), line["leaf_sha256"].as_str()),
            (Some(number), Some(&*all[&number]))
        );
    }
    let full = home.standing("full");
    assert_eq!((&full["size"], &full["at"]), (&Value::from(0), &Value::Null), "what is refused is not taken");
    // The whole vault as it was before, but for what it keeps of its receivers.
    copy_dir(&home.path("home/audit"), &home.path("audit"));
    put_back(&home.path("older"), &home.home());
    copy_dir(&home.path("audit"), &home.path("home/audit"));
    let _running = home.serve();
    until("it alarms", || {
        let is_alarm =
            |entry: &Vec<u8>| String::from_utf8_lossy(entry).contains("\"alarm\":\"log-rolled-back\"");
        home.entries().iter().any(is_alarm)
    });
    assert_eq!(home.standing("lake")["wrong"], true);
}

/// Its file is what says how far it is, also while the vault runs.
#[test]
fn a_receiver_begins_anew_where_what_is_kept_of_it_is_removed() {
    let home = Home::new();
    std::fs::create_dir(home.path("files")).unwrap();
    home.configure(&format!(
        "[[audit.forward]]\nname = \"files\"\nkind = \"file\"\nfolder = {:?}\n",
        home.path("files")
    ));
    home.grow(10);
    let _running = home.serve();
    let first = || -> usize {
        let files = std::fs::read_dir(home.path("files")).unwrap().map(|file| file.unwrap().path());
        let lines = files.flat_map(|file| crate::support::lines(&std::fs::read(file).unwrap()));
        lines.filter(|line| line["index"] == 0).count()
    };
    until("it has all", || first() == 1 && home.standing("files")["behind"] == 0);
    std::fs::remove_file(home.path("home/audit/forward-files.json")).unwrap();
    until("it has all again", || first() == 2 && home.standing("files")["behind"] == 0);
}

/// Somebody in between closes for a receiver that has read nothing of what was sent.
#[test]
fn syslog_counts_as_taken_once_the_receiver_has_closed_within_tls() {
    let home = Home::new();
    home.grow(3);
    let siem = Authority::open(&home.path("siem"), "siem", clock::now()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, config) = (listener.local_addr().unwrap(), siem.web_config(&[], clock::now()).unwrap());
    let config = Arc::new(config);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut stream = StreamOwned::new(ServerConnection::new(Arc::clone(&config)).unwrap(), stream);
            while stream.read(&mut [0; 4096]).is_ok_and(|read| read > 0) {}
            let _ = stream.sock.shutdown(std::net::Shutdown::Both);
        }
    });
    for (name, more) in [("strict", ""), ("lax", "close_notify = false\n")] {
        home.configure(&format!(
            "[[audit.forward]]\nname = \"{name}\"\nkind = \"syslog\"\naddress = \"{address}\"\nauthority = {:?}\n{more}",
            home.path("siem/authority.pem")
        ));
    }
    let _running = home.serve();
    until("the one without it has all", || home.standing("lax")["behind"] == 0);
    until("the other is not taken to have", || !home.standing("strict")["fault"].is_null());
    let strict = home.standing("strict");
    assert_eq!(strict["size"], 0);
    assert!(strict["fault"]["words"].as_str().unwrap().contains("close_notify"), "{strict}");
}

/// What others make of it: rsyslog (`SEJF_TEST_RSYSLOGD`, with its modules in `SEJF_TEST_RSYSLOG_MODULES`, or the usual
/// places).
#[test]
fn rsyslog_reads_every_entry() {
    let program = std::env::var("SEJF_TEST_RSYSLOGD").unwrap_or_else(|_| "/usr/sbin/rsyslogd".into());
    if !std::path::Path::new(&program).exists() {
        eprintln!("skipped: there is no {program}");
        return;
    }
    let home = Home::new();
    home.grow(1_200);
    let (authority, certificate, key) = certificates();
    for (name, pem) in [("ca.pem", &authority), ("server.pem", &certificate), ("server.key", &key)] {
        std::fs::write(home.path(name), pem).unwrap();
    }
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    std::fs::create_dir(home.path("rsyslog")).unwrap();
    let path = |name: &str| text(&home.path(name)).to_owned();
    let config = format!(
        "global(workDirectory=\"{}\" maxMessageSize=\"64k\" defaultNetstreamDriverCAFile=\"{}\" \
         defaultNetstreamDriverCertFile=\"{}\" defaultNetstreamDriverKeyFile=\"{}\")\n\
         module(load=\"imtcp\" streamDriver.name=\"gtls\" streamDriver.mode=\"1\" streamDriver.authMode=\"anon\")\n\
         template(name=\"t\" type=\"string\" string=\"%app-name%|%msgid%|%pri%|%structured-data%|%msg%\\n\")\n\
         input(type=\"imtcp\" port=\"{port}\" address=\"127.0.0.1\")\n\
         action(type=\"omfile\" file=\"{}\" template=\"t\")\n",
        path("rsyslog"),
        path("ca.pem"),
        path("server.pem"),
        path("server.key"),
        path("received"),
    );
    std::fs::write(home.path("rsyslog.conf"), config).unwrap();
    let mut rsyslog = std::process::Command::new(&program);
    if let Ok(modules) = std::env::var("SEJF_TEST_RSYSLOG_MODULES") {
        rsyslog.arg("-M").arg(modules);
    }
    rsyslog.args(["-n", "-i", &path("rsyslog.pid"), "-f", &path("rsyslog.conf")]);
    let _rsyslog = super::Running(rsyslog.spawn().unwrap());
    home.configure(&format!(
        "[[audit.forward]]\nname = \"siem\"\nkind = \"syslog\"\naddress = \"127.0.0.1:{port}\"\nauthority = {:?}\n\
         close_notify = false\n",
        home.path("ca.pem")
    ));
    let running = home.serve();
    until("it has all", || {
        home.standing("siem")["size"].as_u64() > Some(1_200) && home.standing("siem")["behind"] == 0
    });
    running.stop();
    let sent = home.standing("siem")["size"].as_u64().unwrap();
    let received = || std::fs::read_to_string(home.path("received")).unwrap_or_default();
    let ours = |received: String| -> Vec<String> {
        received.lines().filter(|line| line.starts_with("sejf-vault|")).map(str::to_owned).collect()
    };
    until("rsyslog has written all", || ours(received()).len() as u64 >= sent);
    let (all, there) = (all_leaves(&home), leaves(&ours(received())));
    assert_eq!(there.len() as u64, sent);
    for (index, leaf) in &there {
        assert_eq!(all.get(index), Some(leaf), "{index}");
    }
    let entries = home.entries();
    for line in ours(received()) {
        let parts: Vec<_> = line.splitn(5, '|').collect();
        let index: usize = param(&line, "index").parse().unwrap();
        assert_eq!(parts[2], "110", "{line}");
        let entry: Value = serde_json::from_str(parts[4].trim_start_matches(['\u{feff}', ' '])).unwrap();
        assert_eq!(entry, serde_json::from_slice::<Value>(&entries[index]).unwrap());
    }
}

/// An authority, and a certificate of 127.0.0.1 with its key.
fn certificates() -> (String, String, String) {
    let (authority_key, key) = (rcgen::KeyPair::generate().unwrap(), rcgen::KeyPair::generate().unwrap());
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = params.self_signed(&authority_key).unwrap();
    let issuer = rcgen::Issuer::from_params(&params, &authority_key);
    let params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap();
    (authority.pem(), certificate.pem(), key.serialize_pem())
}
