//! A recording's page as a whole, and the pages of what is kept, in a real browser with a real vault behind them.

use std::fs;

use serde_json::json;

use super::hostile::plain;
use super::page::{Visitor, accessible, axe, site};
use super::{Site, entries};
use crate::support::{assert_success, sejf, text};

/// Goes to the first recording that there is something to hear of. Its id.
fn recording(visitor: &Visitor<'_>) -> String {
    visitor.go("recordings");
    visitor.browser.until("document.querySelector('a.row')");
    visitor.browser.eval("document.querySelector('a.row').click()");
    visitor.browser.until("document.querySelector('form.why') && document.querySelector('#ladder')");
    visitor.browser.eval("document.querySelector('dl.facts code').textContent").as_str().unwrap().to_owned()
}

/// Opens the form, with the keyboard, and chooses what is said.
fn say(visitor: &Visitor<'_>, kind: &str) {
    let browser = &visitor.browser;
    if browser.eval("document.querySelector('details.adding').open") == false {
        browser.tab_to("details.adding > summary");
        browser.key("Enter");
    }
    browser.tab_to("form.say select[name=kind]");
    for _ in 0..8 {
        if browser.eval("document.querySelector('form.say select[name=kind]').value") == kind {
            return;
        }
        browser.key("ArrowDown");
    }
    panic!("no {kind} among what can be said");
}

fn why(visitor: &Visitor<'_>) {
    let browser = &visitor.browser;
    browser.tab_to("form.say select[name=code]");
    browser.key("ArrowDown");
    browser.key("ArrowDown");
    browser.tab_to("form.say input[name=why]");
    browser.type_in("T-17");
    browser.tab_to("form.say button[type=submit]");
    browser.key("Enter");
}

fn rows(count: usize) -> String {
    format!("document.querySelectorAll('section.versions tbody tr').length === {count}")
}

#[test]
fn what_is_said_on_the_page_is_a_version_and_nobody_overwrites_another() {
    let site = site();
    let Some(rita) = Visitor::enrolled(&site, "rita", "reviewer") else { return };
    let browser = &rita.browser;
    let id = recording(&rita);
    say(&rita, "note");
    browser.tab_to("form.say textarea");
    browser.type_in("Called back on Friday");
    why(&rita);
    browser.until(&rows(1));
    assert_eq!(
        browser.eval("document.querySelector('.versions .note').textContent"),
        "Called back on Friday"
    );
    // Somebody says something meanwhile, who sees the page as it was.
    let (home, key) = (site.world.bench.path("home"), site.world.bench.path("ewa.key"));
    let label =
        ["annotate", "label", text(&home), &id, "--add", "vip", "--reason", "quality", "-i", text(&key)];
    assert_success(&sejf(&label));
    say(&rita, "correction");
    browser.tab_to("form.say input[name=is]");
    browser.type_in("+48229998877");
    why(&rita);
    browser.until("document.querySelector('form.say .fault').textContent");
    browser.until(&rows(2));
    browser.picture("meanwhile");
    browser.tab_to("form.say button[type=submit]");
    browser.key("Enter");
    browser.until(&rows(3));
    browser.until("document.querySelector('dl.facts .party').textContent === '+48229998877'");
    assert!(browser.eval("document.querySelector('dl.facts').textContent").as_str().unwrap().contains("vip"));
    let annotated = entries(&site)
        .into_iter()
        .filter(|entry| entry.actor == "user:rita" && entry.action.name() == "annotate");
    let reasons: Vec<_> = annotated.map(|entry| entry.reason.unwrap().text).collect();
    assert!(reasons.len() >= 4 && reasons.iter().all(|reason| reason == "T-17"), "{reasons:?}");
    rita.is_clean();
}

#[test]
fn a_span_chosen_on_the_waveform_is_silenced_in_a_copy_that_is_heard() {
    let site = site();
    let Some(cora) = Visitor::enrolled(&site, "cora", "compliance") else { return };
    let browser = &cora.browser;
    recording(&cora);
    say(&cora, "redacted");
    // The loop, with the keys of the waveform.
    browser.eval("document.querySelector('.wave').focus()");
    browser.key("Home");
    browser.key("[");
    browser.key("End");
    browser.key("]");
    browser.tab_to("form.say fieldset .actions button");
    browser.key("Enter");
    assert_eq!(browser.until("document.querySelector('input[name=from_s]').value"), "0.00");
    let whole: f64 =
        browser.eval("document.querySelector('input[name=to_s]').value").as_str().unwrap().parse().unwrap();
    assert!(whole > 1.0, "{whole}");
    browser.eval("document.querySelector('input[name=from_s]').value = '0.2'; document.querySelector('input[name=to_s]').value = '0,7'");
    why(&cora);
    browser.until(&rows(1));
    browser.tab_to("form.why select[name=code]");
    browser.key("ArrowDown");
    browser.tab_to("form.why button");
    browser.key("Enter");
    browser.until("document.querySelectorAll('select.files option').length === 2");
    browser.until("document.querySelector('.player [role=status]').textContent === ''");
    let first = browser.eval("document.querySelector('audio').src");
    browser.tab_to("select.files");
    browser.key("ArrowDown");
    browser.until(&format!(
        "document.querySelector('audio').src !== {first} && document.querySelector('audio').currentTime > 0"
    ));
    browser.until("document.querySelector('.player [role=status]').textContent === ''");
    browser.picture("redacted");
    // What is released of the copy is in the log by its name.
    let heard = entries(&site).into_iter().any(|entry| match &entry.outcome {
        sejf::archive::entry::Outcome::Done(told) => {
            told["file"].as_str().is_some_and(|name| name.contains(".v1.opus")) && told["to"].is_u64()
        }
        _ => false,
    });
    assert!(heard, "the log has that the copy was heard");
    browser.tab_to("#accesses ~ div button");
    browser.key("Enter");
    browser.until("document.querySelectorAll('section[aria-labelledby=accesses] tbody tr').length >= 3");
    cora.is_clean();
}

#[test]
fn the_ladder_is_walked_with_the_keyboard_and_shows_strange_messages_as_text() {
    let site = site();
    let Some(rita) = Visitor::enrolled(&site, "rita", "reviewer") else { return };
    let browser = &rita.browser;
    recording(&rita);
    let count = browser.eval("document.querySelectorAll('g.rung:not(.media)').length").as_u64().unwrap();
    assert!(count >= 5, "{count}");
    let table = browser.eval("document.querySelectorAll('section.ladder table tbody tr').length");
    assert_eq!(table, count, "the table has the same");
    browser.tab_to("g.rung");
    browser.key("Enter");
    assert!(
        browser.eval("document.querySelector('.picked').textContent").as_str().unwrap().contains("INVITE")
    );
    browser.key("End");
    assert_eq!(
        browser.eval("[...document.querySelectorAll('g.rung')].at(-1) === document.activeElement"),
        true
    );
    browser.key("ArrowUp");
    assert_eq!(browser.eval("document.querySelectorAll('g.rung[aria-pressed=true]').length"), 1);
    browser.picture("ladder");
    // What strangers may have sent, wherever a manifest has text of theirs.
    let payloads: Vec<_> = plain().into_iter().flat_map(|one| [format!("INVITE {one}"), one]).collect();
    assert!(payloads.len() >= 100, "{}", payloads.len());
    let shown = browser.eval(&format!(
        "Promise.all([import('/ui/ladder.js'), import('/ui/quality.js')]).then(([{{ ladder }}, {{ quality }}]) => {{ \
           window.hits = 0; window.hit = () => {{ hits += 1; }}; \
           const payloads = {}, at = '2026-11-23T21:08:41Z', found = []; \
           for (const text of payloads) {{ \
             const entry = {{ at, src: text, dst: '192.0.2.1:5060', message: text, cseq: text, sdp: true }}; \
             const stream = {{ party: 'caller', src: text, dst: text, codec: text, ssrc: text, encrypted: text, first: at, last: at, packets: 9, \
               lost: 1, late: 0, reordered: 0, duplicate: 0, jitter_ms: 1, mos: 4, payload_types: {{ 0: 9, 8: 1 }}, loss_map: [[3, 1]], rtcp: null }}; \
             const manifest = {{ start: at, duration_s: 1, ladder: [entry, entry], streams: [stream], gaps: [], masked: [] }}; \
             const main = document.querySelector('main'); \
             main.replaceChildren(ladder(manifest), quality(manifest)); \
             main.querySelector('g.rung').dispatchEvent(new MouseEvent('click', {{ bubbles: true }})); \
             found.push({{ text: main.querySelector('tbody td:nth-child(3)').firstChild.textContent, \
               picked: main.querySelector('.picked dd').textContent, \
               strange: main.querySelectorAll('script, img, iframe, object, embed, style, link, meta, base, video, [onerror], [onload], foreignObject, a').length, \
               fits: document.documentElement.scrollWidth <= innerWidth }}); \
           }} \
           return new Promise((done) => setTimeout(() => done({{ found, hits }}), 300)); \
         }})",
        json!(payloads)
    ));
    assert_eq!(shown["hits"], 0);
    let found = shown["found"].as_array().unwrap();
    assert_eq!(found.len(), payloads.len());
    for (one, payload) in found.iter().zip(&payloads) {
        assert_eq!((one["strange"].as_u64(), one["fits"].as_bool()), (Some(0), Some(true)), "{payload}");
        assert_eq!(one["picked"], payload.as_str());
        assert!(one["text"].as_str().unwrap().starts_with(payload.as_str()), "not as it is: {payload}");
    }
    rita.is_clean();
}

/// A recorder that answers with strange calls: what it says is shown as text as well.
fn recorder(path: &std::path::Path) {
    use std::io::{BufRead, BufReader, Write};
    let listener = std::os::unix::net::UnixListener::bind(path).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                for line in BufReader::new(stream.try_clone().unwrap()).lines() {
                    let asked: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
                    let call = json!({ "id": "x", "trunk": "<img src=x onerror=hit()>", "rule": "all@1", "format": "opus",
                        "since": "2026-11-23T21:08:41Z", "state": "talking", "codecs": ["PCMA", "PCMA"], "packets": 9,
                        "lost": 1, "loss_percent": 10.0, "jitter_ms": 1.5, "kbit_s": 64.0,
                        "parties": { "caller": "+48221234567", "callee": "<b>x</b>" } });
                    let answer = match asked["cmd"].as_str() {
                        Some("status") => {
                            json!({ "ok": true, "status": sejf::shell::status::snapshot::Snapshot::default() })
                        }
                        _ => json!({ "ok": true, "calls": [call] }),
                    };
                    let _ = stream.write_all(format!("{answer}\n").as_bytes());
                }
            });
        }
    });
}

#[test]
fn pages_of_what_is_kept_are_accessible_and_a_medium_is_moved_on_one() {
    let world = crate::vault_intake::World::new();
    world.record(&["demo.pcap"], "spool");
    world.take_in("spool", true).unwrap();
    let (home, medium) = (world.bench.path("home"), world.bench.path("medium"));
    fs::create_dir(&medium).unwrap();
    let program = world.bench.path("program");
    fs::write(&program, "no program: a test's").unwrap();
    let place = ["--program", text(&program), "--label", "November", "--seal", "S-1", "--place", "safe"];
    let write =
        [&["media", "write", text(&home), text(&medium)][..], &place, &["--reason", "transfer"]].concat();
    assert_success(&sejf(&write));
    let socket = world.bench.path("control.sock");
    recorder(&socket);
    let site = Site::new(world, &format!("recorder = {socket:?}"));
    let Some(olek) = Visitor::enrolled(&site, "olek", "operator") else { return };
    let browser = &olek.browser;
    olek.go("media");
    browser.tab_to("tbody button");
    browser.key("Enter");
    browser.until("document.querySelector('dialog input[name=place]')");
    browser.tab_to("dialog input[name=place]");
    browser.type_in("Ewa");
    browser.tab_to("dialog select[name=code]");
    browser.key("ArrowDown");
    browser.tab_to("dialog button.main");
    browser.key("Enter");
    browser.until("!document.querySelector('dialog') && document.querySelector('tbody .state.bad')");
    let moved =
        entries(&site).into_iter().any(|entry| entry.actor == "user:olek" && entry.action.name() == "media");
    assert!(moved, "the log has it");
    let axe = axe();
    for place in ["copies", "media", "keys", "live"] {
        olek.go(place);
        browser.until("document.querySelectorAll('tbody tr').length > 0");
        if let Some(axe) = &axe {
            accessible(&olek.browser, axe, place);
        }
    }
    assert_eq!(browser.eval("document.querySelectorAll('main img').length"), 0);
    assert!(
        !browser
            .eval("document.querySelector('main').textContent")
            .as_str()
            .unwrap()
            .contains("+48221234567"),
        "no number for an operator"
    );
    olek.is_clean();
}
