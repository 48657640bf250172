//! A witness on another host, as far as a test has one: another process with a state of its own.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Command, Stdio};

use sejf::shell::clock;
use sejf::shell::vault::home::Vault;
use sejf::shell::vault::intake::tls::Authority;
use serde_json::json;

use super::forward::Receiver;
use super::{Home, Running, copy_dir, put_back, until};
use crate::support::text;

/// A witness that runs, its key and its address.
fn witness(home: &Home, listen: &str) -> (Running, String, String) {
    let config = home.path("witness.toml");
    let logs = json!([home.key()]);
    let state = "name = \"witness.example.org/w1\"\nstate = \"witness\"\n";
    fs::write(&config, format!("{state}listen = \"{listen}\"\nlogs = {logs}\n")).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_sejf"))
        .args(["audit", "witness", "--config", text(&config)])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut line = || lines.next().unwrap().unwrap();
    let (key, url) = (line(), line());
    (Running(child), key, url)
}

#[test]
fn a_witness_attests_what_goes_on_and_sees_what_was_put_back() {
    let home = Home::new();
    let (running_witness, key, url) = witness(&home, "127.0.0.1:0");
    home.configure(&format!(
        "[[audit.witness]]\nname = \"w1\"\nurl = {url:?}\nkey = {key:?}\nauthority = {:?}\n",
        home.path("witness/tls/authority.pem")
    ));
    let with_key = ["--witness-key", key.as_str()];
    assert_eq!(home.kinds(&with_key), ["not-witnessed"]);
    copy_dir(&home.home(), &home.path("older"));
    let vault = home.serve();
    let attested = |home: &Home| home.standing("w1")["behind"] == 0 && !home.standing("w1")["at"].is_null();
    until("it is attested", || attested(&home));
    home.grow(300);
    until("it is attested again", || attested(&home));
    assert_eq!(home.kinds(&with_key), [""; 0]);
    let (_, report) = home.verify(&with_key);
    let witnessed = &report["witnessed"][0];
    assert_eq!(witnessed["witness"], "witness.example.org/w1");
    assert!(witnessed["entries"].as_u64() > Some(300), "{report}");
    // The witness is away: nothing waits for it, and it is told.
    let address = url.trim_start_matches("https://").to_owned();
    running_witness.stop();
    home.grow(10);
    until("it is told that the witness is away", || !home.standing("w1")["fault"].is_null());
    assert!(home.standing("w1")["behind"].as_u64() >= Some(10));
    assert_eq!(home.kinds(&with_key), [""; 0]);
    let (running_witness, same_key, _) = witness(&home, &address);
    assert_eq!(same_key, key);
    until("it catches up", || attested(&home) && home.standing("w1")["fault"].is_null());
    vault.stop();
    // What the witness itself has kept proves it, whatever the vault's machine has forgotten.
    let known = fs::read_dir(home.path("witness/logs")).unwrap().next().unwrap().unwrap().path();
    let kept = ["--checkpoint", text(&known), "--witness-key", key.as_str()];
    assert_eq!(home.kinds(&kept), [""; 0]);
    // The whole machine as it was before, also what it knew of its witness.
    put_back(&home.path("older"), &home.home());
    assert_eq!(home.kinds(&kept), ["rolled-back"]);
    let vault = home.serve();
    until("it alarms", || {
        let is_alarm =
            |entry: &Vec<u8>| String::from_utf8_lossy(entry).contains("\"alarm\":\"log-rolled-back\"");
        home.entries().iter().any(is_alarm)
    });
    // Longer than it was, and another.
    let size = Vault::open(&home.home()).unwrap().log.read_from(0, 1).unwrap().1;
    home.grow(600 - size);
    until("the fork is seen", || {
        let is_alarm = |entry: &Vec<u8>| String::from_utf8_lossy(entry).contains("\"alarm\":\"log-forked\"");
        home.entries().iter().any(is_alarm)
    });
    assert_eq!(home.kinds(&kept), ["forked"]);
    assert_eq!(home.standing("w1")["wrong"], true);
    vault.stop();
    running_witness.stop();
}

/// Whatever length it declares, or none.
#[test]
fn of_a_witness_that_says_too_much_not_all_is_read() {
    let home = Home::new();
    let (running, key, _) = witness(&home, "127.0.0.1:0");
    running.stop();
    let other = Authority::open(&home.path("other"), "other", clock::now()).unwrap();
    let endless = "x".repeat(4 << 20);
    let answer = format!("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{endless}");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let config = other.web_config(&[], clock::now()).unwrap();
    let receiver = Receiver::start(listener, config, 0, Box::leak(answer.into_boxed_str()));
    home.configure(&format!(
        "[[audit.witness]]\nname = \"w1\"\nurl = \"https://{}\"\nkey = {key:?}\nauthority = {:?}\n",
        receiver.address,
        home.path("other/authority.pem")
    ));
    let _vault = home.serve();
    let fault = || home.standing("w1")["fault"]["words"].as_str().map(str::to_owned);
    until("it has asked", || fault().is_some());
    let fault = fault().unwrap();
    assert!(fault.contains("its answer is too long"), "{fault}");
}
