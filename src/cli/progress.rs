//! Progress of long work: a spinner on a terminal, a line every few seconds elsewhere.

use std::io::IsTerminal;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::cli::text::grouped;
use crate::shell::clock;
use crate::shell::replay::Progress;

/// Shows how far long work is, on standard error.
pub(super) struct Meter {
    shown: Shown,
    started: Instant,
}

enum Shown {
    Bar(ProgressBar),
    Lines { last: Instant },
    Nothing,
}

impl Meter {
    pub(super) fn new(quiet: bool) -> Self {
        let started = clock::monotonic();
        let shown = if quiet {
            Shown::Nothing
        } else if std::io::stderr().is_terminal() {
            let bar = ProgressBar::new_spinner();
            bar.set_style(
                ProgressStyle::with_template("{spinner} {elapsed} {msg}")
                    .unwrap_or_else(|_| ProgressStyle::default_spinner()),
            );
            Shown::Bar(bar)
        } else {
            Shown::Lines { last: started }
        };
        Self { shown, started }
    }

    /// Of a replay.
    pub(super) fn show(&mut self, progress: &Progress) {
        let elapsed = self.started.elapsed();
        self.say(|| line(progress, elapsed));
    }

    /// Of anything else; `text` is made only where it is shown.
    pub(super) fn say(&mut self, text: impl FnOnce() -> String) {
        match &mut self.shown {
            Shown::Bar(bar) => {
                bar.set_message(text());
                bar.tick();
            }
            Shown::Lines { last } if last.elapsed() >= LINE_EVERY => {
                *last = clock::monotonic();
                #[expect(clippy::print_stderr, reason = "progress is for people")]
                {
                    eprintln!("sejf: {}", text());
                }
            }
            Shown::Lines { .. } | Shown::Nothing => {}
        }
    }

    /// Returns how long it took, and takes the bar away.
    pub(super) fn finish(self) -> Duration {
        if let Shown::Bar(bar) = &self.shown {
            bar.finish_and_clear();
        }
        self.started.elapsed()
    }
}

fn line(progress: &Progress, elapsed: Duration) -> String {
    let packets = progress.packets.load(Ordering::Relaxed);
    let rate = packets as f64 / elapsed.as_secs_f64().max(0.001);
    format!(
        "{} packets, {} calls ({} open), {} packets/s",
        grouped(packets),
        grouped(progress.calls.load(Ordering::Relaxed)),
        grouped(progress.live.load(Ordering::Relaxed)),
        grouped(rate as u64)
    )
}

const LINE_EVERY: Duration = Duration::from_secs(5);
