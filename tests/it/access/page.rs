//! The page in a real browser, with a real vault behind it. Where no browser is installed, these say that they skip.

use std::process::Command;

use sejf::archive::totp;
use serde_json::json;

use super::browser::Browser;
use super::{PASSWORD, Site, code, entries, invitation};
use crate::vault_intake::World;

/// Somebody who has a browser of their own.
pub(super) struct Visitor<'a> {
    pub(super) browser: Browser,
    site: &'a Site,
    secret: totp::Secret,
}

fn site() -> Site {
    let world = World::new();
    world.record(&["demo.pcap"], "spool");
    world.take_in("spool", true).unwrap();
    Site::new(world, "")
}

impl<'a> Visitor<'a> {
    /// Invited, and through all of the steps, with the keyboard alone. Nothing where no browser is installed.
    pub(super) fn enrolled(site: &'a Site, name: &str, role: &str) -> Option<Self> {
        let browser = Browser::start()?;
        let invite = invitation(&site.user(&["add", name, "--role", role]));
        browser.open(&format!("{}/#/enrol/{invite}", site.base));
        browser.until("document.querySelector('input[name=again]')");
        browser.picture("enrol-password");
        for field in ["password", "again"] {
            browser.tab_to(&format!("input[name={field}]"));
            browser.type_in(PASSWORD);
        }
        browser.key("Enter");
        let secret = browser.until("document.querySelector('code.secret').textContent");
        let secret = totp::Secret::from_base32(&secret.as_str().unwrap().replace(' ', "")).unwrap();
        let qr = browser.eval("document.querySelector('svg.qr path').getBBox().width");
        assert!(qr.as_f64().unwrap() >= 21.0, "a QR code is drawn: {qr}");
        browser.picture("enrol-factor");
        browser.tab_to("input[name=code]");
        browser.type_in(&code(&secret, 0));
        browser.key("Enter");
        assert_eq!(browser.until("document.querySelectorAll('ol.codes code').length"), 10);
        browser.picture("enrol-recovery");
        let address = browser.eval("location.href + JSON.stringify(history.length) + document.referrer");
        assert!(
            !address.as_str().unwrap().contains(&invite),
            "the invitation is not in the history: {address}"
        );
        browser.tab_to("input[name=saved]");
        browser.key(" ");
        browser.tab_to("form button.main");
        browser.key("Enter");
        browser.until("document.querySelector('nav')");
        Some(Self { browser, site, secret })
    }

    pub(super) fn go(&self, place: &str) {
        self.browser.open(&format!("{}/#/{place}", self.site.base));
        self.browser.until("document.querySelector('h1') && !document.querySelector('.busy')");
    }

    /// Nothing failed, nothing was refused by the policy, and nothing was asked of anybody else.
    pub(super) fn is_clean(&self) {
        assert_eq!(self.browser.complaints(), Vec::<String>::new());
        let own = format!("{}/", self.site.base);
        let foreign: Vec<_> = self
            .browser
            .requests()
            .into_iter()
            .filter(|url| !url.starts_with(&own) && !url.starts_with("about:") && !url.starts_with(CALENDAR))
            .collect();
        assert_eq!(foreign, Vec::<String>::new());
    }
}

/// What Chromium draws into a field for a date, itself.
const CALENDAR: &str = "data:image/svg+xml;base64,PHN2ZyB4bWxucz0i";

#[test]
fn somebody_signs_in_finds_a_recording_and_hears_it_with_the_keyboard_alone() {
    let site = site();
    let Some(rita) = Visitor::enrolled(&site, "rita", "reviewer") else { return };
    let browser = &rita.browser;
    // Out, and in again.
    browser.tab_to(".who button:last-child");
    browser.key("Enter");
    browser.until("document.querySelector('input[name=user]')");
    browser.picture("sign-in");
    browser.type_in("rita");
    browser.tab_to("input[name=password]");
    browser.type_in("several words are hard");
    browser.key("Enter");
    browser.until("document.querySelector('.fault').textContent");
    browser.tab_to("input[name=password]");
    browser.eval("document.activeElement.value = ''");
    browser.type_in(PASSWORD);
    browser.key("Enter");
    browser.until("document.querySelector('input[name=code]')");
    browser.type_in(&code(&rita.secret, 1));
    browser.key("Enter");
    // Finds by how a number begins; no address has it.
    let number = browser.until("document.querySelector('td .party').textContent");
    let number = number.as_str().unwrap();
    browser.picture("search");
    browser.tab_to("input[name=party]");
    browser.type_in("nobody-has-this");
    browser.key("Enter");
    browser.until("document.querySelectorAll('tbody tr').length === 0 && document.querySelector('.count')");
    browser.eval("document.activeElement.value = ''");
    browser.type_in(&format!("{}*", &number[..number.len() - 1]));
    browser.key("Enter");
    browser.until("document.querySelectorAll('tbody tr').length > 0");
    assert!(!browser.eval("location.href").as_str().unwrap().contains(number));
    browser.tab_to("a.row");
    browser.key("Enter");
    hears(&rita);
    rita.is_clean();
}

fn hears(rita: &Visitor<'_>) {
    let browser = &rita.browser;
    browser.until("document.querySelector('form.why')");
    browser.picture("recording");
    browser.tab_to("select[name=code]");
    browser.key("ArrowDown");
    browser.key("ArrowDown");
    assert_eq!(browser.eval("document.activeElement.value"), "complaint");
    browser.tab_to("form.why input[name=text]");
    browser.type_in("T-17");
    browser.key("Enter");
    let at = || browser.eval("document.querySelector('audio').currentTime").as_f64().unwrap();
    browser.until("document.querySelector('audio').currentTime > 0.3");
    let first = at();
    browser.until(&format!("document.querySelector('audio').currentTime > {first} + 0.2"));
    // The slider has the focus: its keys count.
    browser.key(" ");
    assert_eq!(browser.until("document.querySelector('audio').paused"), true);
    browser.picture("playing");
    browser.key("Home");
    assert!(at() < 0.1, "{}", at());
    let seconds = browser.eval("document.querySelector('audio').duration").as_f64().unwrap();
    browser.key("ArrowRight");
    assert!((at() - seconds.min(5.0)).abs() < 0.3, "{} of {seconds}", at());
    browser.key("+");
    assert_eq!(browser.eval("document.querySelector('audio').playbackRate"), 1.25);
    browser.key("-");
    browser.key("Home");
    browser.key("[");
    browser.eval("document.querySelector('audio').currentTime = 0.5");
    browser.until("document.querySelector('.clock').textContent.startsWith('0:00.5')");
    browser.key("]");
    browser.key(" ");
    std::thread::sleep(std::time::Duration::from_millis(2_000));
    assert!(at() < 0.9, "it stays within the loop: {}", at());
    assert_eq!(browser.eval("document.querySelector('audio').paused"), false);
    // Both sides are drawn: bars are in each half.
    browser.until("document.querySelector('.player [role=status]').textContent === ''");
    let drawn = "(() => { const c = document.querySelector('canvas'), half = c.height / 2, pen = c.getContext('2d'); \
                 const color = (name) => { c.style.color = `var(--wave-${name})`; return \
                 getComputedStyle(c).color.match(/\\d+/g).slice(0, 3).join(); }; \
                 const bars = [color('bar'), color('played')]; \
                 return [0, 1].map((side) => { const all = pen.getImageData(0, side * half, c.width, half).data; let count = 0; \
                 for (let at = 0; at < all.length; at += 4) count += bars.includes(all.slice(at, at + 3).join()); \
                 return count; }); })()";
    let bars = browser.eval(drawn);
    assert!(bars.as_array().unwrap().iter().all(|count| count.as_u64().unwrap() > 1_000), "{bars}");
    let mut why = entries(rita.site)
        .into_iter()
        .filter_map(|entry| entry.reason.filter(|_| entry.action.name() == "open"));
    assert!(why.any(|why| (why.code.as_str(), why.text.as_str()) == ("complaint", "T-17")));
}

/// The program with axe's rules, got from npm's registry; nothing where it cannot be had.
pub(super) fn axe() -> Option<String> {
    let dir = tempfile::tempdir().unwrap();
    let got = Command::new("npm")
        .args(["install", "--no-audit", "--no-fund", "--ignore-scripts", "axe-core@4"])
        .current_dir(dir.path())
        .output();
    let script = std::fs::read_to_string(dir.path().join("node_modules/axe-core/axe.min.js"));
    if script.is_err() {
        eprintln!("skipped: axe-core cannot be had with npm: {got:?}");
    }
    script.ok()
}

pub(super) fn accessible(visitor: &Visitor<'_>, axe: &str, place: &str) {
    let browser = &visitor.browser;
    for (width, theme) in [(1_280, "light"), (1_280, "dark"), (360, "light")] {
        browser.size(width, 860);
        browser.theme(theme);
        // Colours fade into each other.
        std::thread::sleep(std::time::Duration::from_millis(400));
        browser.eval(&format!("{axe};1"));
        let found = browser.eval(
            "axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa'] }).then((found) => \
             ({ passes: found.passes.length, violations: found.violations.map((one) => one.id + ': ' + \
             one.nodes.map((node) => node.html + ' ' + node.failureSummary).join(' | ')) }))",
        );
        let what = format!("{place} {theme} {width}");
        assert_eq!(found["violations"], json!([]), "{what}");
        assert!(found["passes"].as_u64().unwrap() > 10, "{what}: {found}");
        let fits = browser.eval("document.documentElement.scrollWidth <= innerWidth");
        assert_eq!(fits, true, "{what}: wider than the window");
        browser.picture(&format!("{}-{theme}-{width}", place.replace('/', "-")));
    }
    browser.size(1_280, 860);
    browser.theme("light");
}

#[test]
fn each_page_is_accessible_in_both_themes_and_on_a_phone() {
    let site = site();
    let Some(rita) = Visitor::enrolled(&site, "rita", "reviewer") else { return };
    let Some(axe) = axe() else { return };
    accessible(&rita, &axe, "recordings");
    rita.browser.eval("document.querySelector('a.row').click()");
    rita.browser.until("document.querySelector('form.why')");
    accessible(&rita, &axe, "recording");
    rita.browser.eval("document.querySelector('select[name=code]').value = 'quality'");
    rita.browser.tab_to("form.why button");
    rita.browser.key("Enter");
    rita.browser.until("document.querySelector('audio').currentTime > 0");
    accessible(&rita, &axe, "player");
    rita.go("account");
    accessible(&rita, &axe, "account");
    rita.is_clean();
    for (name, role, place) in [("iga", "auditor", "log"), ("ada", "admin", "users")] {
        let Some(visitor) = Visitor::enrolled(&site, name, role) else { return };
        visitor.go(place);
        visitor.browser.until("document.querySelectorAll('tbody tr').length > 0");
        accessible(&visitor, &axe, place);
        visitor.is_clean();
    }
}
