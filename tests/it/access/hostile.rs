//! Names that strangers have chosen, in every sink: the page, the terminal, JSON, SQL.

use std::sync::Arc;

use sejf::archive::access::{Action, Actor, Request};
use sejf::archive::details::Details;
use sejf::archive::entry::Resource;
use sejf::archive::record::{ArchivedFile, Digest, Phase, Record, RecordingId};
use sejf::archive::search::{IndexKeys as _, Indexed, Query};
use sejf::base::counters::Counters;
use sejf::base::time::Stamp;
use sejf::seal::receipt::{Receipt, ReceiptState, SCHEMA};
use sejf::shell::clock;
use sejf::shell::entropy::OsRandom;
use sejf::shell::vault::catalog::recordings::NewRecord;
use sejf::shell::vault::intake::Intake;
use serde_json::Value;

use super::Site;
use super::page::Visitor;
use crate::support::{assert_success, sejf, text};
use crate::vault_intake::{World, wait};

/// What people have tried to put into names, in all disguises.
fn payloads() -> Vec<String> {
    let plain = plain();
    let mut all: Vec<String> =
        DISGUISES.iter().flat_map(|disguise| plain.iter().map(|payload| disguise(payload))).collect();
    all.push("A".repeat(4_000));
    all.push("W".repeat(200) + "<script>hit()</script>");
    all
}

/// Out of what it may stand in, and past what looks for it.
const DISGUISES: [fn(&str) -> String; 18] = [
    str::to_owned,
    |payload| format!("\">{payload}"),
    |payload| format!("'>{payload}"),
    |payload| format!("</td></tr></table>{payload}"),
    |payload| format!("</title></textarea></style>{payload}"),
    |payload| format!("--><!-- -->{payload}"),
    |payload| format!("\\\"}}];{payload}//"),
    |payload| format!("' OR '1'='1'; {payload}; --"),
    |payload| format!("%_\\{payload}\u{0}"),
    |payload| payload.to_uppercase().replace("HIT()", "hit()"),
    |payload| payload.replace('<', "<\t").replace("javascript:", "java\tscript\n:"),
    |payload| payload.replace('<', "\u{ff1c}").replace('>', "\u{ff1e}"),
    |payload| payload.chars().map(|character| format!("&#{};", u32::from(character))).collect(),
    |payload| format!("=2+5+{payload}"),
    |payload| format!("@SUM(1)|{payload}"),
    |payload| format!("\u{1b}]0;{payload}\u{7}\u{1b}[2J"),
    |payload| format!("\n2026-11-23T21:08:41Z  60 s  forged  {payload}"),
    |payload| format!("\u{202e}\u{2066}{payload}"),
];

pub(super) fn plain() -> Vec<String> {
    [
        "<script>hit()</script>",
        "</script><script>hit()</script>",
        "<img src=x onerror=hit()>",
        "<img src=x onerror=\"hit()\">",
        "\"><img src=x onerror=hit()>",
        "'><svg onload=hit()>",
        "<svg><script>hit()</script></svg>",
        "<svg/onload=hit()>",
        "<body onload=hit()>",
        "<iframe src=\"javascript:hit()\"></iframe>",
        "<iframe srcdoc=\"<script>parent.hit()</script>\"></iframe>",
        "<object data=\"javascript:hit()\"></object>",
        "<embed src=\"javascript:hit()\">",
        "<a href=\"javascript:hit()\" autofocus onfocus=hit()>x</a>",
        "<input autofocus onfocus=hit()>",
        "<select autofocus onfocus=hit()></select>",
        "<details open ontoggle=hit()>",
        "<video><source onerror=hit()></video>",
        "<audio src=x onerror=hit()>",
        "<marquee onstart=hit()>",
        "<style>@import 'https://evil.example/x.css';</style>",
        "<style>*{background:url(https://evil.example/x)}</style>",
        "<link rel=stylesheet href=https://evil.example/x.css>",
        "<meta http-equiv=refresh content=\"0;url=https://evil.example\">",
        "<base href=https://evil.example/>",
        "<form action=https://evil.example><button>x</button></form>",
        "<math><mi xlink:href=\"javascript:hit()\">x</mi></math>",
        "<template><script>hit()</script></template>",
        "<noscript><p title=\"</noscript><img src=x onerror=hit()>\">",
        "<!--<img src=\"--><img src=x onerror=hit()//\">",
        "<![CDATA[<script>hit()</script>]]>",
        "<x contenteditable onblur=hit()>x</x>",
        "<div style=\"position:fixed;inset:0;background:red\">x</div>",
        "<img src=https://evil.example/pixel>",
        "&lt;script&gt;hit()&lt;/script&gt;",
        "&#60;img src=x onerror=hit()&#62;",
        "\\u003cscript\\u003ehit()\\u003c/script\\u003e",
        "%3Cscript%3Ehit()%3C/script%3E",
        "javascript:hit()",
        "data:text/html,<script>hit()</script>",
        "${hit()}",
        "`${hit()}`",
        "{{constructor.constructor('hit()')()}}",
        "{user} {count} {0}",
        "');hit();//",
        "\";hit();//",
        "\\\";hit();//",
        "*/hit()/*",
        "__proto__",
        "constructor",
        "toString",
        "=HYPERLINK(\"https://evil.example\")",
        "=cmd|'/c calc'!A1",
        "'; DROP TABLE recordings; --",
        "../../../../etc/passwd",
        "\u{202e}gnp.exe\u{202d}",
        "\u{0}\u{1}\u{1b}[31mred\u{7}",
        "\u{feff}\u{200b}\u{2028}\u{2029}",
        "\r\nSet-Cookie: __Host-sejf=x",
        "]]>",
    ]
    .map(str::to_owned)
    .into()
}

/// Recordings that have them wherever a name can be.
fn hostile(world: &World, payloads: &[String]) {
    let vault = world.vault();
    let ring = world.unlock(&vault);
    wait(async {
        let intake = Intake::open(Arc::clone(&vault)).await.unwrap();
        let mut records = Vec::new();
        for (number, payload) in (1..).zip(payloads) {
            let record = record(number);
            let epoch = record.epoch().unwrap();
            let envelope = ring.envelopes_for(&epoch, &[record.id]).unwrap().remove(0);
            let text = || payload.clone();
            let details = Details {
                caller: text(),
                callee: text(),
                others: vec![text()],
                from: text(),
                to: text(),
                call_ids: vec![text()],
                trunk: text(),
                agents: vec![text()],
                tags: vec![text()],
            };
            let key = ring.index_keys(&epoch).unwrap().remove(0);
            let sealed = details.seal(&envelope, &mut OsRandom::new().unwrap());
            let indexed = Some(Indexed { details: sealed, terms: key.terms(&details) });
            records.push(NewRecord { record, indexed });
        }
        intake.catalog().take_in(&records).await.unwrap();
        intake.catalog().close().await;
    });
}

fn record(number: u64) -> Record {
    let start = Stamp::from_unix_nanos((1_795_468_121 + number) * 1_000_000_000);
    let end = start.after(std::time::Duration::from_secs(60));
    let mut id = [0; 16];
    id[..8].copy_from_slice(&(start.as_unix_millis() << 16).to_be_bytes());
    id[8..].copy_from_slice(&number.to_be_bytes());
    let id = RecordingId::from_bytes(id);
    let receipt = Receipt {
        schema: SCHEMA,
        id: id.to_string(),
        state: ReceiptState::Complete,
        start,
        end,
        files: Vec::new(),
        rule: "all@1".into(),
        counters: Counters::default(),
        recorder: "recorder".into(),
        version: "0.1.0".into(),
    };
    let digest = Digest::of(b"not there");
    let name = format!("{id}.opus.age");
    let file =
        ArchivedFile { name, header_sha256: digest, header_bytes: 150, body_sha256: digest, body_bytes: 90 };
    Record {
        id,
        recorder: "recorder".into(),
        receipt_index: number,
        receipt,
        class: Some("calls-5y".parse().unwrap()),
        phase: Phase::Archived,
        taken_in: end,
        files: vec![file],
    }
}

#[test]
fn whatever_a_name_has_in_it_stays_text() {
    let world = World::new();
    let payloads = payloads();
    assert!(payloads.len() >= 1_000);
    hostile(&world, &payloads);
    let site = Site::new(world, "");
    let Some(rita) = Visitor::enrolled(&site, "rita", "reviewer") else { return };
    let browser = &rita.browser;
    let prepare = "window.hits = 0; window.hit = () => { hits += 1; }; 1";
    let strange = "document.querySelectorAll('main :is(script, img, iframe, object, embed, style, link, meta, base, \
                   video, marquee, math, template), main [onerror], main [onload], main [style]:not(canvas), a[href^=\"javascript\"]').length";
    let harmless = |what: &str| {
        assert_eq!(browser.eval("window.hits"), 0, "{what}");
        assert_eq!(browser.eval(strange), 0, "{what}");
        assert_eq!(browser.eval("document.documentElement.scrollWidth <= innerWidth"), true, "{what}");
    };
    browser.until("document.querySelectorAll('tbody tr').length === 50");
    browser.eval(prepare);
    let count = payloads.len();
    for shown in (100..count + 50).step_by(50) {
        browser.eval("document.querySelector('button.more').click()");
        let shown = shown.min(count);
        browser.until(&format!("document.querySelectorAll('tbody tr').length === {shown}"));
    }
    let texts = browser
        .eval("[...document.querySelectorAll('tbody td:nth-child(2)')].map((cell) => cell.textContent)");
    let texts: Vec<_> = texts.as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect();
    for payload in &payloads {
        assert!(texts.contains(&payload.as_str()), "not shown as it is: {payload}");
    }
    harmless("search");
    let plain = plain().len();
    // In the list all of them are; each on a page of its own takes its time.
    for number in (1..=count).filter(|number| *number <= plain || number % 5 == 0) {
        let number = number as u64;
        let id = record(number).id;
        browser.eval(&format!("location.hash = '#/recordings/{id}'"));
        browser.until(&format!("document.querySelector('dl.facts code')?.textContent === '{id}'"));
        let caller = browser.eval("document.querySelector('dl.facts .party').textContent");
        assert_eq!(caller, payloads[number as usize - 1].as_str());
        harmless(&payloads[number as usize - 1]);
    }
    rita.is_clean();
}

/// A line of its own each, whatever it holds, and nothing that steers a terminal; programs read just what was there.
#[test]
fn the_command_line_says_it_as_text() {
    let world = World::new();
    let payloads = payloads();
    hostile(&world, &payloads);
    let (home, key) = (world.bench.path("home"), world.bench.path("ewa.key"));
    let search = |more: &[&str]| {
        let output =
            sejf(&[&["vault", "search", text(&home), "-i", text(&key), "--limit", "5000"], more].concat());
        assert_success(&output);
        String::from_utf8(output.stdout).unwrap()
    };
    for more in [&[][..], &["--json"]] {
        let said = search(more);
        assert_eq!(said.lines().count(), payloads.len(), "{more:?}");
        let steers = |character: char| {
            character.is_control()
                || matches!(character, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        };
        let steering = said.chars().find(|character| *character != '\n' && steers(*character));
        assert_eq!(steering, None, "{more:?}");
        if !more.is_empty() {
            let hits: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            // Newest first.
            for (hit, payload) in hits.iter().rev().zip(&payloads) {
                assert_eq!(hit["details"]["caller"], payload.as_str());
                assert_eq!(hit["details"]["tags"][0], payload.as_str());
            }
        }
    }
}

/// Looked for, each finds itself, and does nothing else to the database.
#[test]
fn what_is_looked_for_is_no_statement() {
    let world = World::new();
    let payloads = payloads();
    hostile(&world, &payloads);
    let vault = world.vault();
    let ring = world.unlock(&vault);
    let actor = Actor::local_administrator("test", None);
    let (action, resource, now) = (Action::Search, Resource::Vault, clock::now());
    let grant = vault.log.ask(&Request { actor: &actor, action, resource, reason: None, now }).unwrap();
    wait(async {
        let catalog = vault.catalog().await.unwrap();
        for (number, payload) in (1..).zip(&payloads) {
            let text = || payload.clone();
            for query in [
                Query { trunk: Some(text()), ..Query::default() },
                Query { agent: Some(text()), tags: vec![text()], ..Query::default() },
            ] {
                // Some are no names at all: nobody can look for them.
                if query.check().is_err() {
                    continue;
                }
                let page = catalog.search(&grant, &query, &*ring, None, 500).await.unwrap();
                let found: Vec<_> = page.hits.iter().map(|hit| hit.record.id).collect();
                assert!(found.contains(&record(number).id), "{payload:?} finds {} others", found.len());
                assert!(found.len() < 40, "{payload:?} finds {}", found.len());
            }
        }
        let all = catalog.search(&grant, &Query::default(), &*ring, None, 500).await.unwrap();
        assert_eq!(all.hits.len(), 500);
        catalog.close().await;
    });
}
