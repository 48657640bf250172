//! Options that say which recordings are meant, and when.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::Context;
use jiff::tz::TimeZone;
use jiff::{Timestamp, civil};

use crate::archive::epoch::ClassName;
use crate::archive::record::RecordingId;
use crate::archive::scope::Scope;
use crate::base::time::Stamp;
use crate::cli::text::grouped;

/// Which recordings: all of what is said must hold.
#[derive(Debug, clap::Args)]
pub(super) struct ScopeArgs {
    #[command(flatten)]
    ids: IdArgs,
    /// Recordings of this retention class.
    #[arg(long, value_name = "CLASS")]
    class: Option<ClassName>,
    /// Recordings of this recorder: its public key, or the name that it begins with.
    #[arg(long, value_name = "KEY")]
    recorder: Option<String>,
    /// Recordings that began then or later: a day (2026-11-23) or a time (2026-11-23T21:08:41Z), in UTC.
    #[arg(long, value_name = "TIME", value_parser = time)]
    from: Option<Stamp>,
    /// Recordings that began before.
    #[arg(long, value_name = "TIME", value_parser = time)]
    to: Option<Stamp>,
}

/// Recordings by their ids.
#[derive(Debug, clap::Args)]
pub(super) struct IdArgs {
    /// Id of a recording. May be given several times.
    #[arg(long = "recording", value_name = "ID")]
    recordings: Vec<RecordingId>,
    /// File of ids, one a line; `-` is standard input.
    #[arg(long, value_name = "FILE")]
    recordings_file: Option<PathBuf>,
}

impl IdArgs {
    pub(super) fn load(&self) -> anyhow::Result<BTreeSet<RecordingId>> {
        let mut ids: BTreeSet<_> = self.recordings.iter().copied().collect();
        if let Some(path) = &self.recordings_file {
            let text = if path.as_os_str() == "-" {
                std::io::read_to_string(std::io::stdin())
            } else {
                std::fs::read_to_string(path)
            };
            let text = text.with_context(|| format!("reading ids from `{}`", path.display()))?;
            let lines = text.lines().map(str::trim).enumerate().filter(|(_, line)| !line.is_empty());
            for (number, line) in lines {
                let id = line.parse().with_context(|| {
                    format!("`{}`, line {}: `{line}` is no id of a recording", path.display(), number + 1)
                })?;
                ids.insert(id);
            }
            // Nobody means all recordings by a file that turned out to be empty.
            anyhow::ensure!(!ids.is_empty(), "`{}` has no id of a recording", path.display());
        }
        Ok(ids)
    }
}

impl ScopeArgs {
    pub(super) fn load(&self) -> anyhow::Result<Scope> {
        Ok(Scope {
            recordings: self.ids.load()?,
            class: self.class.clone(),
            recorder: self.recorder.clone(),
            from: self.from,
            to: self.to,
        })
    }
}

/// What a scope covers now, in words.
pub(super) fn covered(count: u64) -> String {
    match count {
        0 => "no recording yet: is it written as it is meant?".into(),
        1 => "1 recording now".into(),
        count => format!("{} recordings now", grouped(count)),
    }
}

/// A day or a time, in UTC.
pub(super) fn time(text: &str) -> Result<Stamp, String> {
    let at = match text.parse::<civil::Date>() {
        Ok(date) if text.len() == 10 => TimeZone::UTC.to_timestamp(date.at(0, 0, 0, 0)),
        _ => text.parse::<Timestamp>(),
    };
    let nanos = at.ok().and_then(|at| u64::try_from(at.as_nanosecond()).ok());
    let fault = || format!("`{text}` is no time: write 2026-11-23 or 2026-11-23T21:08:41Z");
    nanos.map(Stamp::from_unix_nanos).ok_or_else(fault)
}

/// What a scope means, in words.
pub(super) fn words(scope: &Scope) -> String {
    let mut words = Vec::new();
    match scope.recordings.len() {
        0 => {}
        1..=3 => words.extend(scope.recordings.iter().map(ToString::to_string)),
        count => words.push(format!("{count} recordings by id")),
    }
    words.extend(scope.class.iter().map(|class| format!("class {class}")));
    words.extend(scope.recorder.iter().map(|recorder| format!("recorder {recorder}")));
    words.extend(scope.from.iter().map(|from| format!("from {}", second(*from))));
    words.extend(scope.to.iter().map(|to| format!("before {}", second(*to))));
    if words.is_empty() { "all recordings".into() } else { words.join(", ") }
}

/// `2026-11-23 21:08:41`, UTC.
pub(super) fn second(at: Stamp) -> String {
    at.to_string().get(..19).unwrap_or_default().replace('T', " ")
}

/// Runs what waits for databases and places.
pub(super) fn block_on<T>(future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("starting to work with databases")?.block_on(future)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_begins_at_midnight_in_utc() {
        assert_eq!(time("2026-11-23").unwrap().to_string(), "2026-11-23T00:00:00.000000000Z");
        assert_eq!(time("2026-11-23T21:08:41Z").unwrap().to_string(), "2026-11-23T21:08:41.000000000Z");
        for wrong in ["", "23.11.2026", "2026-13-01", "2026-11-23 21:08", "1969-12-31", "9000-01-01"] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
    }
}
