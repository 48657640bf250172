//! Passkeys in a real browser, with an authenticator of its own making.

use serde_json::{Value, json};

use super::browser::Browser;
use super::page::{accessible, axe};
use super::{PASSWORD, Site, entries, invitation};
use crate::vault_intake::World;

/// Plugs an authenticator in that knows its user. Its id.
fn plug(browser: &Browser, transport: &str) -> Value {
    let options = json!({
        "protocol": "ctap2", "transport": transport, "hasResidentKey": true, "hasUserVerification": true,
        "isUserVerified": true, "automaticPresenceSimulation": true,
    });
    browser.call("WebAuthn.addVirtualAuthenticator", &json!({ "options": options }))["authenticatorId"]
        .clone()
}

fn press(browser: &Browser, selector: &str) {
    browser.until(&format!("document.querySelector({})", json!(selector)));
    browser.tab_to(selector);
    browser.key("Enter");
}

const SIGNED_IN: &str = "document.querySelector('.who .user')?.textContent";

fn out(browser: &Browser) {
    press(browser, ".who button:last-child");
    browser.until("document.querySelector('input[name=user]')");
}

#[test]
fn somebody_enrols_signs_in_and_confirms_with_a_passkey() {
    let site = Site::new(World::new(), "");
    let Some(browser) = Browser::start() else { return };
    let (_, port) = site.base.rsplit_once(':').unwrap();
    // An address has no passkeys.
    let base = format!("https://localhost:{port}");
    browser.call("WebAuthn.enable", &json!({ "enableUI": false }));
    let first = plug(&browser, "internal");
    let invite = invitation(&site.user(&["add", "rita", "--role", "reviewer"]));
    browser.open(&format!("{base}/#/enrol/{invite}"));
    browser.until("document.querySelector('input[name=again]')");
    for field in ["password", "again"] {
        browser.tab_to(&format!("input[name={field}]"));
        browser.type_in(PASSWORD);
    }
    browser.key("Enter");
    press(&browser, ".else button.main");
    assert_eq!(browser.until("document.querySelectorAll('ol.codes code').length"), 10);
    browser.tab_to("input[name=saved]");
    browser.key(" ");
    press(&browser, "form button.main");
    assert_eq!(browser.until(SIGNED_IN), "rita");
    // Alone: both factors.
    out(&browser);
    browser.picture("sign-in-passkey");
    press(&browser, "button.passkey");
    assert_eq!(browser.until(SIGNED_IN), "rita");
    // After the password.
    out(&browser);
    browser.type_in("rita");
    browser.tab_to("input[name=password]");
    browser.type_in(PASSWORD);
    browser.key("Enter");
    browser.until("document.activeElement?.matches('button.passkey')");
    browser.picture("sign-in-second-passkey");
    browser.key("Enter");
    assert_eq!(browser.until(SIGNED_IN), "rita");
    account(&browser, &base, &first);
    let told = entries(&site).iter().map(|entry| serde_json::to_string(entry).unwrap()).collect::<Vec<_>>();
    let count = |what: &str| told.iter().filter(|entry| entry.contains(what)).count();
    assert_eq!(count(r#""change":"sign-in","factor":"passkey""#), 3, "twice in, and once again");
    assert_eq!((count(r#""change":"add-passkey""#), count(r#""change":"remove-passkey""#)), (1, 1));
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

/// Another passkey, and the first one away; codes, a list of sessions.
fn account(browser: &Browser, base: &str, first: &Value) {
    browser.open(&format!("{base}/#/account"));
    let passkeys = "document.querySelectorAll('section[aria-labelledby=passkeys] tbody tr').length";
    assert_eq!(browser.until(passkeys), 1);
    // Confirms that it is them.
    press(browser, "main > .actions button:first-child");
    browser.until("document.querySelector('dialog')");
    browser.picture("step-up-passkey");
    browser.until("document.activeElement?.matches('dialog button.passkey')");
    browser.key("Enter");
    browser.until("!document.querySelector('dialog')");
    let add = || {
        press(browser, "section[aria-labelledby=passkeys] .actions button");
        browser.until("document.querySelector('dialog input[name=name]')");
        browser.tab_to("dialog input[name=name]");
        browser.type_in("work phone");
        browser.key("Enter");
    };
    // The same authenticator has one of theirs already.
    add();
    browser.until("document.querySelector('dialog .fault')?.textContent");
    browser.key("Escape");
    browser.until("!document.querySelector('dialog')");
    // Another one, in place of the first. Browsers have one of their own at most.
    browser.call("WebAuthn.removeVirtualAuthenticator", &json!({ "authenticatorId": first }));
    plug(browser, "usb");
    add();
    browser.until(&format!("!document.querySelector('dialog') && {passkeys} === 2"));
    press(browser, "section[aria-labelledby=passkeys] tbody tr:first-child button.danger");
    browser.until(&format!("!document.querySelector('dialog') && {passkeys} === 1"));
    // The last one stays.
    press(browser, "section[aria-labelledby=passkeys] tbody tr:first-child button.danger");
    browser.until("document.querySelector('dialog .fault')?.textContent");
    browser.key("Escape");
    browser.until("!document.querySelector('dialog')");
    press(browser, "section[aria-labelledby=secrets] .actions button:last-child");
    press(browser, "dialog button.main");
    assert_eq!(browser.until("document.querySelectorAll('dialog ol.codes code').length"), 10);
    browser.picture("recovery-new");
    press(browser, "dialog button.main");
    browser.until("!document.querySelector('dialog')");
    let sessions =
        browser.until("document.querySelector('section[aria-labelledby=sessions] tbody').textContent");
    assert!(sessions.as_str().unwrap().contains("Chrom"), "{sessions}");
    if let Some(axe) = axe() {
        accessible(browser, &axe, "account-passkeys");
    }
}
