//! The pages of holds, exports, retention and approvals, in a real browser.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::json;

use super::desk::{ids, site, verify};
use super::page::{Visitor, accessible, axe};
use super::{Site, entries};

/// Chooses a reason in the dialog that is open, with the keyboard, and confirms.
fn because(visitor: &Visitor<'_>, code: &str, text: &str) {
    let browser = &visitor.browser;
    browser.tab_to("dialog select[name=code]");
    browser.eval(&format!("document.activeElement.value = {}", json!(code)));
    browser.tab_to("dialog input[name=text]");
    browser.type_in(text);
    browser.tab_to("dialog button.main");
    browser.key("Enter");
}

fn closed(visitor: &Visitor<'_>) {
    visitor.browser.until("!document.querySelector('dialog') && !document.querySelector('.busy')");
}

/// What was downloaded whole.
fn downloaded(dir: &std::path::Path) -> PathBuf {
    let begun = Instant::now();
    loop {
        let mut files = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
        if let Some(file) = files.find(|path| path.extension().is_some_and(|end| end == "tar")) {
            return file;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "nothing was downloaded");
        std::thread::sleep(Duration::from_millis(100));
    }
}

const HOSTILE: &str = "<img src=x onerror=hit()>'; DROP TABLE holds; --\u{202e}=cmd|'/c calc'!A1";

#[test]
fn one_holds_and_asks_another_agrees_and_what_is_downloaded_verifies() {
    let site = site(1);
    let Some(cora) = Visitor::enrolled(&site, "cora", "compliance") else { return };
    let Some(kuba) = Visitor::enrolled(&site, "kuba", "custodian") else { return };
    let browser = &cora.browser;
    browser.eval("window.hits = 0; window.hit = () => { hits += 1; }; 1");
    // A hold on all that there are, with a reason that somebody tries something with.
    browser.eval("location.hash = '#/holds'");
    browser.until("document.querySelector('main .actions button.main')");
    browser.tab_to("main .actions button.main");
    browser.key("Enter");
    browser.tab_to("dialog input[name=name]");
    browser.type_in("XII-K.17/26");
    browser.tab_to("dialog input[name=all]");
    browser.key(" ");
    because(&cora, "court-order", HOSTILE);
    closed(&cora);
    let said = browser.until("document.querySelector('td .said')?.textContent");
    assert_eq!(said, HOSTILE);
    browser.picture("holds");
    // It is on each recording.
    browser.eval("location.hash = '#/recordings'");
    browser.until("document.querySelectorAll('input.choice').length > 1");
    let count = ids(&site).len();
    for nth in 0..count {
        let one = format!("tbody tr:nth-child({}) input.choice", nth + 1);
        browser.tab_to(&one);
        browser.key(" ");
    }
    assert_eq!(browser.eval("document.querySelectorAll('input.choice:checked').length"), count);
    browser.picture("chosen");
    // More than one gives away alone: asks.
    browser.eval("document.querySelector('.chosen button:last-child').focus()");
    browser.key("Enter");
    browser.until("document.querySelector('dialog input[name=for]')");
    browser.tab_to("dialog input[name=for]");
    browser.type_in("Sąd Rejonowy <b>Łódź</b>");
    browser.picture("export-ask");
    because(&cora, "court-order", "II K 12/26");
    browser.until("location.hash === '#/exports' && document.querySelector('tbody tr')");
    // Another agrees.
    kuba.browser.eval("location.hash = '#/approvals'");
    kuba.browser.until("document.querySelector('#mine') && document.querySelector('td button.main')");
    kuba.browser.picture("approvals");
    kuba.browser.tab_to("td button.main");
    kuba.browser.key("Enter");
    kuba.browser.until("document.querySelector('dialog dl.facts')");
    because(&kuba, "audit", "seen");
    closed(&kuba);
    kuba.browser.until("!document.querySelector('td button.main')");
    fetched(&site, &cora);
    cora.is_clean();
    kuba.is_clean();
}

/// Fetches what may be, and looks at the recording.
fn fetched(site: &Site, cora: &Visitor<'_>) {
    let (browser, dir) = (&cora.browser, tempfile::tempdir().unwrap());
    let to = json!({ "behavior": "allow", "downloadPath": dir.path() });
    browser.call("Page.setDownloadBehavior", &to);
    cora.go("exports");
    browser.until("document.querySelector('td button.main')");
    browser.picture("exports");
    browser.tab_to("td button.main");
    browser.key("Enter");
    let said = verify(site, &downloaded(dir.path()), &[]);
    assert!(said.contains("are what their recorder signed, to the last byte"), "{said}");
    let made = entries(site).into_iter().any(|entry| {
        entry.action.name() == "export" && matches!(entry.outcome, sejf::archive::entry::Outcome::Done(_))
    });
    assert!(made, "the log has it");
    browser.eval(&format!("location.hash = '#/recordings/{}'", ids(site)[0]));
    assert_eq!(browser.until("document.querySelector('#matters ~ ul strong')?.textContent"), "XII-K.17/26");
    browser.picture("recording-held");
    assert_eq!(browser.eval("window.hits ?? 0"), 0);
}

#[test]
fn each_page_of_the_desk_is_accessible_in_both_themes_and_on_a_phone() {
    let site = site(1);
    let Some(cora) = Visitor::enrolled(&site, "cora", "compliance") else { return };
    let Some(axe) = axe() else { return };
    let browser = &cora.browser;
    browser.eval("location.hash = '#/holds'");
    browser.until("document.querySelector('main .actions button.main')");
    for name in ["K.1/26", &"W".repeat(64)] {
        browser.until("document.querySelector('main .actions button.main')").as_bool();
        browser.eval("document.querySelector('main .actions button.main').click()");
        browser.eval(&format!("document.querySelector('dialog input[name=name]').value = {}", json!(name)));
        browser.eval("document.querySelector('dialog select[name=class]').value = 'calls-5y'");
        because(&cora, "court-order", "x");
        closed(&cora);
    }
    accessible(&cora.browser, &axe, "holds");
    browser.eval("document.querySelector('main .actions button.main').click()");
    accessible(&cora.browser, &axe, "hold-dialog");
    cora.go("retention");
    browser.until("document.querySelector('main .actions button.main')");
    browser.eval("document.querySelector('main .actions button.main').click()");
    browser.until("document.querySelector('dialog select[name=class]')");
    browser.eval("document.querySelector('dialog select[name=class]').value = 'calls-5y'");
    because(&cora, "retention", "x");
    closed(&cora);
    browser.until("document.querySelectorAll('#requests ~ table tbody tr').length === 1");
    accessible(&cora.browser, &axe, "retention");
    for place in ["exports", "approvals", "recordings"] {
        cora.go(place);
        accessible(&cora.browser, &axe, place);
    }
    browser.eval("document.querySelector('a.row').click()");
    browser.until("document.querySelector('#matters')");
    accessible(&cora.browser, &axe, "recording-desk");
    // A language is as wide as the other, or wider.
    browser.eval("document.getElementById('language').click()");
    cora.go("retention");
    browser.until("document.documentElement.lang === 'pl' && document.querySelector('#certificates')");
    browser.picture("retention-pl");
    cora.is_clean();
}
