//! Signing in by a real identity provider (oidc-provider of npm), in a real browser. Where one of them cannot be had, this
//! says that it skips.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use sejf::archive::entry::Outcome;
use serde_json::{Value, json};

use super::browser::Browser;
use super::{Site, code, entries, invitation};
use crate::support::text;
use crate::vault_intake::World;

struct Provider {
    child: Child,
    issuer: String,
    client: reqwest::Client,
    _dir: tempfile::TempDir,
}

impl Provider {
    fn start() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let got = Command::new("npm")
            .args(["install", "--no-audit", "--no-fund", "--ignore-scripts", "oidc-provider@8"])
            .current_dir(dir.path())
            .output();
        if !dir.path().join("node_modules/oidc-provider/package.json").exists() {
            eprintln!("skipped: oidc-provider cannot be had with npm: {got:?}");
            return None;
        }
        let script = dir.path().join("provider.mjs");
        fs::write(&script, include_str!("provider.mjs")).unwrap();
        let mut child = Command::new("node")
            .arg(text(&script))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut issuer = String::new();
        while !issuer.starts_with("http://") {
            issuer.clear();
            assert!(out.read_line(&mut issuer).unwrap() > 0, "the provider has ended");
        }
        // What it says besides is nobody's.
        std::thread::spawn(move || std::io::copy(&mut out, &mut std::io::sink()));
        // The provider closes what is idle.
        let client = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).build().unwrap();
        Some(Self { child, issuer: issuer.trim().to_owned(), client, _dir: dir })
    }

    fn tell(&self, site: &Site, what: &str, body: &Value) {
        let url = format!("{}/test/{what}", self.issuer);
        let sent = async { self.client.post(url).body(body.to_string()).send().await.unwrap().status() };
        assert!(site.runtime.block_on(sent).is_success());
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn an_identity_provider_signs_in_who_is_a_user_here() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let Some(browser) = Browser::start() else { return };
    let Some(provider) = Provider::start() else { return };
    let world = World::new();
    fs::write(world.bench.path("home/oidc.toml"), "client_secret = \"a secret & more: %\"\n").unwrap();
    let config = format!(
        "[web.oidc]\nissuer = {:?}\nname = \"Example\"\nclient_id = \"sejf\"\ncredentials = \"oidc.toml\"\n\
         claim = \"email\"\nloopback_http = true",
        provider.issuer
    );
    let site = Site::new(world, &config);
    let redirect = format!("{}/oidc", site.base);
    provider.tell(&site, "make", &json!({ "redirect": redirect, "alg": "RS256" }));
    let rita = site.enrol(&invitation(&site.user(&["add", "rita@example.org", "--role", "reviewer"])));
    let sign_in = |sub: &str, amr: &[&str], until: &str| {
        browser.call("Network.clearBrowserCookies", &json!({}));
        provider.tell(&site, "user", &json!({ "sub": sub, "amr": amr }));
        browser.open(&site.base);
        browser.until("document.querySelector('button.oidc')");
        browser.picture("sign-in-oidc");
        browser.tab_to("button.oidc");
        browser.key("Enter");
        browser.until(until)
    };
    let signed_in = "document.querySelector('.who .user')?.textContent";
    // Two factors there are two factors here.
    assert_eq!(sign_in("rita", &["pwd", "mfa"], signed_in), "rita@example.org");
    let address = browser.eval("location.href").as_str().unwrap().to_owned();
    assert!(!address.contains("code=") && !address.contains("state="), "{address}");
    // One there takes ours besides.
    sign_in("rita", &["pwd"], "document.querySelector('input[name=code]')");
    assert_eq!(browser.eval(signed_in), Value::Null);
    browser.tab_to("input[name=code]");
    browser.type_in(&code(rita.totp.as_ref().unwrap(), 1));
    browser.key("Enter");
    assert_eq!(browser.until(signed_in), "rita@example.org");
    // Whom it knows and we do not.
    let fault = sign_in("eve", &["pwd", "mfa"], "document.querySelector('.fault')?.textContent");
    assert!(fault.as_str().unwrap().contains("administrator"), "{fault}");
    // Other keys, and another algorithm: what was kept of the old ones is asked for again.
    std::thread::sleep(std::time::Duration::from_secs(6));
    provider.tell(&site, "make", &json!({ "redirect": redirect, "alg": "ES256" }));
    assert_eq!(sign_in("rita", &["mfa"], signed_in), "rita@example.org");
    assert_eq!(browser.complaints(), Vec::<String>::new());
    let told: Vec<_> = entries(&site)
        .into_iter()
        .filter(|entry| entry.action.name() == "sign-in")
        .map(|entry| (entry.actor, entry.outcome))
        .collect();
    let by = |what: &str| {
        let is_it = |outcome: &Outcome| matches!(outcome, Outcome::Done(told) if told["factor"] == "oidc" && told["change"] == what);
        told.iter().filter(|(actor, outcome)| actor == "user:rita@example.org" && is_it(outcome)).count()
    };
    assert_eq!((by("sign-in"), by("first-factor")), (2, 1));
    let refused = told.iter().filter(|(actor, outcome)| {
        actor == "user:eve@example.org"
            && matches!(outcome, Outcome::Failed(what) if what == "identity provider")
    });
    assert_eq!(refused.count(), 1);
    forged(&site, &redirect);
}

/// Codes and states that nobody has given, and a way back that another browser has begun.
fn forged(site: &Site, redirect: &str) {
    let nobody = super::Person::default();
    let finish = |state: &str, code: &str, cookie: &str| {
        let who = super::Person { cookie: cookie.into(), ..super::Person::default() };
        let body = json!({ "state": state, "code": code });
        site.post("/api/v1/login/oidc/finish", &who, &body).problem()
    };
    assert_eq!(finish("x", "y", ""), "pending");
    let begun = site.post("/api/v1/login/oidc", &nobody, &json!({}));
    let cookie = begun.header("set-cookie").split(';').next().unwrap().to_owned();
    assert!(
        begun.header("set-cookie").contains("SameSite=Strict")
            && begun.header("set-cookie").contains("HttpOnly")
    );
    let url = begun.json()["url"].as_str().unwrap().to_owned();
    let field = |name: &str| {
        let found = url.split(['?', '&']).find_map(|pair| pair.strip_prefix(&format!("{name}="))).unwrap();
        found.to_owned()
    };
    assert_eq!((field("code_challenge_method").as_str(), field("response_type").as_str()), ("S256", "code"));
    assert!(field("redirect_uri").contains("%2Foidc") && redirect.ends_with("/oidc"));
    let state = field("state");
    assert_eq!(finish(&state, "y", ""), "pending", "another browser");
    assert_eq!(finish(&state, "y", "__Host-sejf-oidc=x"), "pending", "another browser");
    assert_eq!(finish(&state, "y", &cookie), "oidc", "a code that nobody has given");
    assert_eq!(finish(&state, "y", &cookie), "pending", "once");
}
