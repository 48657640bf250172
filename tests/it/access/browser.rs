//! A real browser, told what to do over a pipe (Chrome DevTools Protocol: JSON, each message ended by a zero byte).

use std::cell::RefCell;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::{Value, json};

/// A browser with one tab.
pub(super) struct Browser {
    dir: tempfile::TempDir,
    child: Child,
    to: RefCell<File>,
    from: Receiver<Value>,
    session: RefCell<String>,
    count: RefCell<u64>,
    /// What the browser has told without being asked.
    told: RefCell<Vec<Value>>,
}

/// Where Chromium is; nothing where there is none.
fn program() -> Option<PathBuf> {
    let named = std::env::var_os("SEJF_TEST_CHROMIUM").map(PathBuf::from);
    let usual = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
    named.into_iter().chain(usual.map(PathBuf::from)).find(|path| path.exists())
}

impl Browser {
    /// Starts one; says that the test skips where there is none.
    pub(super) fn start() -> Option<Self> {
        let Some(program) = program() else {
            eprintln!(
                "skipped: no Chromium here; install `chromium`, or say where one is in SEJF_TEST_CHROMIUM"
            );
            return None;
        };
        let dir = tempfile::tempdir().unwrap();
        let (to, from) = (dir.path().join("to"), dir.path().join("from"));
        for path in [&to, &from] {
            mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        }
        let child = Command::new("sh")
            .args(["-c", "exec \"$0\" \"$@\" 3<\"$TO\" 4>\"$FROM\""])
            .arg(program)
            .args([
                "--headless=new",
                "--remote-debugging-pipe",
                "--no-sandbox",
                "--disable-gpu",
                "--no-first-run",
            ])
            .args(["--disable-dev-shm-usage", "--ignore-certificate-errors", "--mute-audio", "--lang=en-GB"])
            .args(["--disable-background-networking", "--disable-component-update", "--disable-extensions"])
            .arg(format!("--user-data-dir={}", dir.path().join("profile").display()))
            .arg("about:blank")
            .env("TO", &to)
            .env("FROM", &from)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let to = OpenOptions::new().write(true).open(to).unwrap();
        let from = read(File::open(from).unwrap());
        let (session, count, told) = (RefCell::default(), RefCell::default(), RefCell::default());
        let browser = Self { dir, child, to: RefCell::new(to), from, session, count, told };
        let target = browser.call("Target.createTarget", &json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let session =
            browser.call("Target.attachToTarget", &attach)["sessionId"].as_str().unwrap().to_owned();
        *browser.session.borrow_mut() = session;
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), &json!({}));
        }
        browser.size(1_280, 860);
        Some(browser)
    }

    /// Has the browser do something. What it answers.
    pub(super) fn call(&self, method: &str, params: &Value) -> Value {
        let id = {
            let mut count = self.count.borrow_mut();
            *count += 1;
            *count
        };
        let mut message = json!({ "id": id, "method": method, "params": params });
        if !self.session.borrow().is_empty() {
            message["sessionId"] = json!(*self.session.borrow());
        }
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        self.to.borrow_mut().write_all(&bytes).unwrap();
        let begun = Instant::now();
        loop {
            let got = self.next(PATIENCE).unwrap_or_else(|| panic!("{method}: no answer"));
            if got["id"] == id {
                assert!(got["error"].is_null(), "{method}: {}", got["error"]);
                return got["result"].clone();
            }
            self.told.borrow_mut().push(got);
            assert!(begun.elapsed() < PATIENCE, "{method}: no answer");
        }
    }

    fn next(&self, patience: Duration) -> Option<Value> {
        match self.from.recv_timeout(patience) {
            Ok(value) => Some(value),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => panic!("the browser has ended"),
        }
    }

    /// What a script says. It may be a promise.
    pub(super) fn eval(&self, script: &str) -> Value {
        let asked = json!({
            "expression": script, "awaitPromise": true, "returnByValue": true, "userGesture": true,
        });
        let done = self.call("Runtime.evaluate", &asked);
        assert!(done["exceptionDetails"].is_null(), "{script}: {}", done["exceptionDetails"]);
        done["result"]["value"].clone()
    }

    /// Waits until a script says something that is true.
    pub(super) fn until(&self, script: &str) -> Value {
        let begun = Instant::now();
        loop {
            // Nothing of a page is there while another is loaded.
            let value =
                self.eval(&format!("(() => {{ try {{ return {script} }} catch {{ return null }} }})()"));
            if !matches!(value, Value::Null | Value::Bool(false)) && value != "" && value != 0 {
                return value;
            }
            if begun.elapsed() > PATIENCE {
                let text = self.eval("document.body?.innerText ?? ''");
                panic!(
                    "not true in time: {script}\n{}\n{:?}",
                    text.as_str().unwrap_or_default(),
                    self.complaints()
                );
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Loads a page anew.
    pub(super) fn open(&self, url: &str) {
        self.call("Page.navigate", &json!({ "url": "about:blank" }));
        self.call("Page.navigate", &json!({ "url": url }));
    }

    pub(super) fn size(&self, width: u32, height: u32) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.call("Emulation.setDeviceMetricsOverride", &size);
    }

    /// `light` or `dark`, as the system says.
    pub(super) fn theme(&self, theme: &str) {
        let features = json!([{ "name": "prefers-color-scheme", "value": theme }]);
        self.call("Emulation.setEmulatedMedia", &json!({ "features": features }));
    }

    /// Presses a key, by its name in the DOM.
    pub(super) fn key(&self, key: &str) {
        let code = match key {
            "Tab" => 9,
            "Enter" => 13,
            "Escape" => 27,
            " " => 32,
            "End" => 35,
            "Home" => 36,
            "ArrowLeft" => 37,
            "ArrowUp" => 38,
            "ArrowRight" => 39,
            "ArrowDown" => 40,
            _ => 0,
        };
        let text = match key {
            "Enter" => "\r",
            key if key.chars().count() == 1 => key,
            _ => "",
        };
        let mut event = json!({ "type": "keyDown", "key": key, "windowsVirtualKeyCode": code });
        if !text.is_empty() {
            event["text"] = json!(text);
        }
        self.call("Input.dispatchKeyEvent", &event);
        let up = json!({ "type": "keyUp", "key": key, "windowsVirtualKeyCode": code });
        self.call("Input.dispatchKeyEvent", &up);
    }

    /// Types where the focus is.
    pub(super) fn type_in(&self, text: &str) {
        self.call("Input.insertText", &json!({ "text": text }));
    }

    /// Goes on with Tab until the focus is on what the selector names: as somebody without a mouse.
    pub(super) fn tab_to(&self, selector: &str) {
        for _ in 0..150 {
            if self.eval(&format!("document.activeElement?.matches({})", json!(selector))) == true {
                return;
            }
            self.key("Tab");
        }
        panic!("the keyboard does not reach {selector}");
    }

    /// What the browser has complained of: scripts that failed, what the policy refused, dialogs that opened.
    pub(super) fn complaints(&self) -> Vec<String> {
        self.eval("1");
        let told = self.told.borrow();
        let of = |event: &Value| match event["method"].as_str().unwrap_or_default() {
            "Runtime.exceptionThrown" | "Page.javascriptDialogOpening" => Some(event["params"].to_string()),
            "Log.entryAdded" => {
                let entry = &event["params"]["entry"];
                // An answer that says no is no fault of the page.
                let is_one = entry["level"] == "error" && entry["source"] != "network";
                is_one.then(|| entry["text"].to_string())
            }
            _ => None,
        };
        told.iter().filter_map(of).collect()
    }

    /// Addresses that were asked for.
    pub(super) fn requests(&self) -> Vec<String> {
        self.eval("1");
        let told = self.told.borrow();
        let sent = told.iter().filter(|event| event["method"] == "Network.requestWillBeSent");
        sent.filter_map(|event| event["params"]["request"]["url"].as_str().map(str::to_owned)).collect()
    }

    /// Keeps a picture, where somebody wants to look at it.
    pub(super) fn picture(&self, name: &str) {
        use base64::Engine as _;
        let Some(dir) = std::env::var_os("SEJF_TEST_PICTURES").map(PathBuf::from) else { return };
        fs::create_dir_all(&dir).unwrap();
        let shot = self.call("Page.captureScreenshot", &json!({ "captureBeyondViewport": true }));
        let bytes = base64::engine::general_purpose::STANDARD.decode(shot["data"].as_str().unwrap()).unwrap();
        fs::write(dir.join(format!("{name}.png")), bytes).unwrap();
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = &self.dir;
    }
}

fn read(from: File) -> Receiver<Value> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut from = BufReader::new(from);
        loop {
            let mut bytes = Vec::new();
            if from.read_until(0, &mut bytes).is_ok_and(|count| count == 0) || bytes.pop() != Some(0) {
                return;
            }
            let Ok(value) = serde_json::from_slice(&bytes) else { return };
            if sender.send(value).is_err() {
                return;
            }
        }
    });
    receiver
}

const PATIENCE: Duration = Duration::from_secs(60);
