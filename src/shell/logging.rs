//! The log: for people on a terminal, for journald where it listens, as lines of text or JSON elsewhere.
//!
//! No number and no address of those who speak above the level *debug*: see [`crate::base::redacted`].
//! An event is one line, whatever SIP it quotes: tracing-subscriber (0.3.20 and later) escapes terminal
//! sequences, and this module the line breaks that it leaves in messages.

use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::Arc;

use tracing::Subscriber;
use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry};

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// journald where it reads standard error; else text.
    #[default]
    Auto,
    /// A JSON object a line.
    Json,
    /// A line for people.
    Text,
}

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// The level makes no sense.
    #[error("log level `{level}`: {reason}; write `info`, or `info,sejf::shell::store=debug`")]
    Level {
        /// As it was written.
        level: String,
        /// What is wrong.
        reason: String,
    },
    /// There is a log already. Our fault.
    #[error("the log was started twice: this is a fault of the program, please report it")]
    Twice,
    /// journald does not answer.
    #[error("connecting to journald: {source}; set the log's format to `text` to do without")]
    Journald {
        /// Why.
        source: io::Error,
    },
}

/// Changes the level of a log that runs.
#[derive(Clone)]
pub struct Log(Arc<dyn Fn(EnvFilter) -> Result<(), String> + Send + Sync>);

/// Starts the log of this process, on standard error or in journald: before the sandbox, since it opens a
/// socket. `level` as in `info` or `info,sejf::shell::store=debug`.
pub fn start(format: Format, level: &str) -> Result<Log, LogError> {
    let (filter, handle) = reload::Layer::<EnvFilter, Registry>::new(filter(level)?);
    let layer = if format == Format::Auto && is_journald(io::stderr().as_fd()) {
        tracing_journald::layer().map_err(|source| LogError::Journald { source })?.boxed()
    } else {
        lines(format, io::stderr().is_terminal(), io::stderr)
    };
    let log = Log(Arc::new(move |filter| handle.reload(filter).map_err(|error| error.to_string())));
    // The filter must be the layer next to the registry, as its type says.
    tracing_subscriber::registry().with(filter).with(layer).try_init().map_err(|_| LogError::Twice)?;
    Ok(log)
}

impl Log {
    /// Logs from now on as `level` says; the one before stays where it makes no sense.
    pub fn set_level(&self, level: &str) -> Result<(), LogError> {
        let failed = |reason| LogError::Level { level: level.into(), reason };
        (self.0)(filter(level)?).map_err(failed)
    }
}

/// Lines to `writer`, with colours and without a time zone of people's where a terminal shows them.
fn lines<S, W>(format: Format, terminal: bool, writer: W) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'w> fmt::MakeWriter<'w> + Send + Sync + 'static,
{
    let writer = OneLineEach(writer);
    match format {
        Format::Json => fmt::layer().json().flatten_event(true).with_writer(writer).boxed(),
        Format::Auto | Format::Text => fmt::layer().with_ansi(terminal).with_writer(writer).boxed(),
    }
}

/// Makes writers that take an event a call, as the layer gives them, and write a line each.
struct OneLineEach<M>(M);

/// See [`OneLineEach`].
struct OneLine<W>(W);

impl<'w, M: fmt::MakeWriter<'w>> fmt::MakeWriter<'w> for OneLineEach<M> {
    type Writer = OneLine<M::Writer>;

    fn make_writer(&'w self) -> Self::Writer {
        OneLine(self.0.make_writer())
    }
}

impl<W: Write> Write for OneLine<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let line = event.strip_suffix(b"\n").unwrap_or(event);
        // ESC is the layer's own: those in messages and fields are escaped before.
        let breaks = |byte: &u8| byte.is_ascii_control() && *byte != 0x1b && *byte != b'\t';
        if line.iter().any(breaks) {
            let mut safe = Vec::with_capacity(event.len() + 16);
            for byte in line {
                if breaks(byte) { safe.extend(byte.escape_ascii()) } else { safe.push(*byte) }
            }
            safe.push(b'\n');
            self.0.write_all(&safe)?;
        } else {
            self.0.write_all(event)?;
        }
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

fn filter(level: &str) -> Result<EnvFilter, LogError> {
    EnvFilter::builder()
        .with_regex(false)
        .parse(level)
        .map_err(|error| LogError::Level { level: level.into(), reason: error.to_string() })
}

/// Whether `stream` is the one that journald gave this process: `JOURNAL_STREAM=device:inode` (systemd.exec(5)).
fn is_journald(stream: std::os::fd::BorrowedFd<'_>) -> bool {
    std::env::var("JOURNAL_STREAM").is_ok_and(|named| is_stream(stream, &named))
}

fn is_stream(stream: std::os::fd::BorrowedFd<'_>, named: &str) -> bool {
    rustix::fs::fstat(stream).is_ok_and(|stat| format!("{}:{}", stat.st_dev, stat.st_ino) == named)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::base::redacted::Redacted;

    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl Page {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: Format, level: &str, say: impl FnOnce()) -> String {
        let page = Page::default();
        let to = page.clone();
        let layer = lines(format, false, move || to.clone());
        let subscriber = tracing_subscriber::registry().with(filter(level).unwrap()).with(layer);
        tracing::subscriber::with_default(subscriber, say);
        page.text()
    }

    #[test]
    fn control_characters_do_not_forge_lines() {
        let evil = "x\n2026-01-01 ERROR all is lost\u{1b}[2J\r";
        let text = logged(Format::Text, "info", || tracing::info!(header = evil, "unparsable {evil}"));
        assert_eq!(text.lines().count(), 1, "{text:?}");
        assert!(text.contains("all is lost") && !text.contains('\u{1b}') && !text.contains('\r'), "{text:?}");
        let json = logged(Format::Json, "info", || tracing::info!(header = evil, "unparsable"));
        assert_eq!(json.lines().count(), 1, "{json:?}");
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!((value["header"].as_str(), value["level"].as_str()), (Some(evil), Some("INFO")));
    }

    #[test]
    fn redacted_values_show_at_debug_only() {
        let say = || {
            let number = Redacted::new("48221234567");
            tracing::info!(caller = %number, callee = ?number, "call begins");
            tracing::debug!(caller = %number.at_debug(), "call begins");
        };
        let info = logged(Format::Text, "info", say);
        assert!(info.contains("call begins") && !info.contains("48221234567"), "{info}");
        assert!(logged(Format::Text, "debug", say).contains("48221234567"));
    }

    #[test]
    fn the_level_can_be_changed_and_nonsense_is_refused() {
        let page = Page::default();
        let to = page.clone();
        let (filter, handle) = reload::Layer::<EnvFilter, Registry>::new(super::filter("warn").unwrap());
        let log = Log(Arc::new(move |filter| handle.reload(filter).map_err(|error| error.to_string())));
        let subscriber =
            tracing_subscriber::registry().with(filter).with(lines(Format::Text, false, move || to.clone()));
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!("first");
            log.set_level("info").unwrap();
            tracing::info!("second");
            let error = log.set_level("sejf=loud").unwrap_err().to_string();
            assert!(error.contains("sejf=loud"), "{error}");
            tracing::info!("third");
        });
        let text = page.text();
        assert!(!text.contains("first") && text.contains("second") && text.contains("third"), "{text}");
    }

    #[test]
    fn the_journal_is_known_by_its_stream() {
        let file = tempfile::tempfile().unwrap();
        let stat = rustix::fs::fstat(&file).unwrap();
        assert!(is_stream(file.as_fd(), &format!("{}:{}", stat.st_dev, stat.st_ino)));
        assert!(!is_stream(file.as_fd(), &format!("{}:{}", stat.st_dev, stat.st_ino + 1)));
        assert!(!is_stream(file.as_fd(), ""));
    }
}
