//! `sejf audit search`: who did what.

use std::io::Write;
use std::process::ExitCode;

use crate::archive::entry::{Entry, Resource};
use crate::archive::log_query::{Fit, Format, Went, details};
use crate::cli::audit::{QueryArgs, came, granted};
use crate::cli::scope::second;
use crate::cli::text::clean_line;
use crate::cli::vault::{HomeArg, ReasonArgs};

/// Prints entries of the vault's log, a line each, oldest first. That they were read is in the log too. One that cannot be
/// read may be any, and is always among them; so is, with `--recording`, one that names only some of its recordings.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    home: HomeArg,
    #[command(flatten)]
    query: QueryArgs,
    /// Only the last so many of those that fit.
    #[arg(long, value_name = "COUNT")]
    last: Option<usize>,
    /// Print an object a line: `index`, `leaf_sha256` and `entry`.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reason: ReasonArgs,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let vault = args.home.open()?;
    let grant = granted(&vault, args.reason.load(&vault)?)?;
    let (query, mut out) = (args.query.query(), std::io::stdout().lock());
    let (mut lines, mut shown) = (std::collections::VecDeque::new(), 0_u64);
    vault.log.each(0, |index, bytes| -> anyhow::Result<()> {
        let entry = Entry::from_bytes(bytes).ok();
        let fit = query.fit(entry.as_ref());
        if fit == Fit::No {
            return Ok(());
        }
        shown += 1;
        let line = match (args.json, entry) {
            (true, _) => Format::Jsonl.line(index, bytes).trim_end().to_owned(),
            (false, Some(entry)) => clean_line(&(line(index, &entry) + &perhaps(fit, &entry.resource))),
            (false, None) => format!("{index}  an entry that cannot be read, of {} bytes", bytes.len()),
        };
        match args.last {
            Some(last) => {
                lines.push_back(line);
                lines.drain(..lines.len().saturating_sub(last));
            }
            None => writeln!(out, "{line}")?,
        }
        Ok(())
    })?;
    lines.iter().try_for_each(|line| writeln!(out, "{line}"))?;
    came(&vault, &grant, serde_json::json!({ "entries": shown }))?;
    Ok(ExitCode::SUCCESS)
}

fn line(index: u64, entry: &Entry) -> String {
    let went = Went::of(&entry.outcome).as_str();
    let reason = entry.reason.as_ref().map_or(String::new(), |reason| {
        if reason.text.is_empty() {
            format!(" ({})", reason.code)
        } else {
            format!(" ({}: {})", reason.code, reason.text)
        }
    });
    let (at, action) = (second(entry.at), entry.action.name());
    let (actor, origin, on, more) =
        (&entry.actor, &entry.origin, on(&entry.resource), details(&entry.outcome));
    format!("{index}  {at}  {actor} from {origin}: {action} {on}{reason}: {went} {more}")
        .trim_end()
        .to_owned()
}

fn perhaps(fit: Fit, resource: &Resource) -> String {
    match resource {
        Resource::Recordings { count, .. } if fit == Fit::May => {
            format!(" [one of {count} recordings may be it]")
        }
        _ => String::new(),
    }
}

fn on(resource: &Resource) -> String {
    match resource {
        Resource::Vault => "vault".into(),
        Resource::Recording(id) => id.to_string(),
        Resource::Recordings { count, .. } => format!("{count} recordings"),
        Resource::Epoch(name)
        | Resource::Hold(name)
        | Resource::Medium(name)
        | Resource::Place(name)
        | Resource::Recorder(name)
        | Resource::User(name) => name.clone(),
        Resource::Request(number) | Resource::UserRequest(number) => format!("request {number}"),
    }
}
