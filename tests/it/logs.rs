//! No number, address or Call-ID of those who speak stands in a log above the level *debug*.

use std::fmt::Debug;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use sejf::base::redacted::Redacted;
use sejf::fixture::{generate, scenarios};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

use crate::faults;
use crate::support::{again, is_again};

#[test]
fn a_replay_logs_no_party() {
    let output = again("logs::log_a_replay", &[]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("logs are clean"), "{}: {said}", output.status);
}

/// Not a test of its own: a log that all threads write to is the whole process's.
#[test]
#[ignore = "run by another test, in a process of its own"]
fn log_a_replay() {
    if !is_again() {
        return;
    }
    let said = Said::default();
    let subscriber = tracing_subscriber::registry().with(said.clone().with_filter(LevelFilter::INFO));
    tracing::subscriber::set_global_default(subscriber).expect("the only one");
    let fixture = generate(&scenarios::demo()).expect("a sound recipe");
    let mut secrets =
        vec!["192.0.2.".to_owned(), "198.51.100.".into(), "203.0.113.".into(), "2001:db8".into()];
    for call in &fixture.truth.calls {
        let bare = |number: &str| number.trim_start_matches('+').to_owned();
        secrets.extend([call.call_id.clone(), bare(&call.from), bare(&call.to)]);
    }
    let found = |said: &Said| {
        let text = said.0.lock().expect("no panic").join("\n");
        secrets.iter().filter(|secret| text.contains(secret.as_str())).count()
    };
    let dir = tempfile::tempdir().expect("folder");
    let capture = dir.path().join("demo.pcap");
    // Cut, so that a warning is logged too.
    fs::write(&capture, &fixture.capture[..fixture.capture.len() - 3]).expect("capture");
    faults::run(&capture, &dir.path().join("out"), 1, None).expect("a replay");
    let lines = said.0.lock().expect("no panic").clone();
    assert!(lines.iter().any(|line| line.contains("replay ends")), "{lines:?}");
    assert!(lines.iter().any(|line| line.contains("is damaged")), "{lines:?}");
    assert_eq!(found(&said), 0, "{lines:?}");

    let number = Redacted::new(secrets.last().expect("a call").clone());
    tracing::info!(caller = %number, "call begins");
    tracing::debug!(caller = %number.at_debug(), "call begins");
    assert_eq!(found(&said), 0);
    // The layer would have seen it.
    tracing::info!(caller = %number.inner(), "call begins");
    assert_eq!(found(&said), 1);
    println!("logs are clean");
}

/// `at_debug()` stands only within `debug!(…)` and `trace!(…)`.
#[test]
fn what_is_redacted_is_shown_at_debug_only() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders = vec![root];
    let mut seen = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("folder").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") && !path.ends_with("base/redacted.rs") {
                let text = fs::read_to_string(&path).expect("source file");
                seen += text.matches(".at_debug()").count();
                assert!(!shows_above_debug(&text), "{}: `.at_debug()` outside `debug!`", path.display());
            }
        }
    }
    assert!(seen > 0, "nothing uses it any more");
    assert!(shows_above_debug("tracing::info!(caller = %number.at_debug(), \"x\");"));
    assert!(shows_above_debug("debug!(\"x\");\nlet text = number.at_debug();"));
    assert!(!shows_above_debug("tracing::debug!(\n caller = %number.at_debug(),\n);"));
}

fn shows_above_debug(text: &str) -> bool {
    text.match_indices(".at_debug()").any(|(at, _)| {
        let statement = text[..at].rfind([';', '{', '}']).map_or(0, |end| end + 1);
        let before = &text[statement..at];
        !before.contains("debug!(") && !before.contains("trace!(")
    })
}

/// All that is logged, a line an event.
#[derive(Clone, Default)]
struct Said(Arc<Mutex<Vec<String>>>);

impl<S: tracing::Subscriber> Layer<S> for Said {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        struct Line(String);
        impl Visit for Line {
            fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
                self.0.push_str(&format!("{}={value:?} ", field.name()));
            }
        }
        let mut line = Line(String::new());
        event.record(&mut line);
        self.0.lock().expect("no panic").push(line.0);
    }
}
