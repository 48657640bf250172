//! `sejf annotate`: what is said of a recording later.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;

use crate::archive::record::RecordingId;
use crate::archive::version::{Change, Field, TEXT_BYTES_MAX};
use crate::base::time::Span;
use crate::cli::text::json;
use crate::cli::vault::{CustodianArgs, HomeArg, ReasonArgs, wait};
use crate::shell::vault::annotate::{Annotator, Order, Wish};

/// Says something of a recording: a note, labels, who spoke, a correction. The recording itself is never changed: each is
/// a new version of it, with who said it, when, and why. See `sejf history`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Note(NoteArgs),
    /// Puts labels on a recording, or takes them off: `sejf vault search --tag` finds it by them.
    Label(NamesArgs),
    /// Says who of the call centre's people spoke, or did not: `sejf vault search --agent` finds it by them.
    Agent(NamesArgs),
    Correct(CorrectArgs),
    Redact(RedactArgs),
}

/// Of which recording, by whom and why.
#[derive(Debug, clap::Args)]
struct Common {
    #[command(flatten)]
    home: HomeArg,
    /// Its id.
    #[arg(value_name = "ID")]
    id: RecordingId,
    #[command(flatten)]
    custodians: CustodianArgs,
    #[command(flatten)]
    reason: ReasonArgs,
    /// The last version that you have seen: where another came after it, nothing is said.
    #[arg(long, value_name = "NUMBER")]
    after: Option<u32>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Adds a note.
#[derive(Debug, clap::Args)]
struct NoteArgs {
    #[command(flatten)]
    common: Common,
    /// The note. On a machine that others use they can read it among the processes: --text-file is better there.
    #[arg(long, required_unless_present = "text_file", conflicts_with = "text_file")]
    text: Option<String>,
    /// File with the note; `-` for standard input.
    #[arg(long, value_name = "FILE")]
    text_file: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
struct NamesArgs {
    #[command(flatten)]
    common: Common,
    /// One more. May be given several times.
    #[arg(long, value_name = "NAME", required_unless_present = "remove")]
    add: Vec<String>,
    /// One less. May be given several times.
    #[arg(long, value_name = "NAME")]
    remove: Vec<String>,
}

/// Says what something is that the recorder did not know, or got wrong. What it was stays in the history.
#[derive(Debug, clap::Args)]
struct CorrectArgs {
    #[command(flatten)]
    common: Common,
    /// What: caller, callee, from, to, trunk.
    #[arg(long, value_parser = field)]
    field: Field,
    /// What it is until now, as `sejf history` shows it: where it is something else by then, nothing is said.
    #[arg(long, value_name = "TEXT")]
    was: String,
    /// What it is.
    #[arg(long, value_name = "TEXT")]
    is: String,
}

/// Makes a copy of its sound in which nobody hears some spans, of neither side. The original stays as it is.
#[derive(Debug, clap::Args)]
struct RedactArgs {
    #[command(flatten)]
    common: Common,
    /// From when to when, of the sound's own time: 00:12-00:19, 1:02:03.5-1:02:10. May be given several times.
    #[arg(long, value_name = "FROM-TO", required = true, value_parser = span)]
    span: Vec<Span>,
}

fn span(text: &str) -> Result<Span, String> {
    let fault = || "write 00:12-00:19 or 1:02:03.5-1:02:10".to_owned();
    let (from, to) = text.split_once('-').ok_or_else(fault)?;
    let span =
        Span { from_ms: milliseconds(from).ok_or_else(fault)?, to_ms: milliseconds(to).ok_or_else(fault)? };
    if span.from_ms < span.to_ms { Ok(span) } else { Err("it ends before it begins".into()) }
}

/// Of `19`, `00:19`, `1:02:03.5`.
fn milliseconds(text: &str) -> Option<u64> {
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if part.len() > 3 || !is_number(part) {
        return None;
    }
    let mut parts = whole.split(':').rev();
    let (mut seconds, mut unit) = (0_u64, 1_u64);
    for number in parts.by_ref().take(3) {
        let count =
            Some(number).filter(|number| is_number(number) && number.len() <= 5)?.parse::<u64>().ok()?;
        seconds += count * unit;
        unit *= 60;
    }
    parts.next().is_none().then(|| seconds * 1_000 + format!("{part:0<3}").parse::<u64>().unwrap_or_default())
}

fn field(name: &str) -> Result<Field, String> {
    Field::from_name(name).ok_or_else(|| format!("one of {}", Field::ALL.map(Field::as_str).join(", ")))
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.command {
        Command::Note(args) => say(&args.common, &Wish::Say(&Change::Note { text: args.text()? })),
        Command::Label(NamesArgs { common, add, remove }) => {
            say(common, &Wish::Say(&Change::Labels { add: add.clone(), remove: remove.clone() }))
        }
        Command::Agent(NamesArgs { common, add, remove }) => {
            say(common, &Wish::Say(&Change::Agents { add: add.clone(), remove: remove.clone() }))
        }
        Command::Correct(CorrectArgs { common, field, was, is }) => {
            say(common, &Wish::Say(&Change::Correction { field: *field, was: was.clone(), is: is.clone() }))
        }
        Command::Redact(RedactArgs { common, span }) => {
            let mut spans = span.clone();
            spans.sort_unstable();
            say(common, &Wish::Redact(&spans))
        }
    }
}

impl NoteArgs {
    fn text(&self) -> anyhow::Result<String> {
        let Some(path) = &self.text_file else { return Ok(self.text.clone().unwrap_or_default()) };
        let mut text = String::new();
        // One byte more than is taken, so that a note that is too long is not taken for a shorter one.
        let most = TEXT_BYTES_MAX as u64 + 1;
        let read = if path.as_os_str() == "-" {
            std::io::stdin().take(most).read_to_string(&mut text)
        } else {
            std::fs::File::open(path).and_then(|file| file.take(most).read_to_string(&mut text))
        };
        read.with_context(|| format!("reading the note from `{}`", path.display()))?;
        let end = text.trim_end_matches(['\r', '\n']).len();
        text.truncate(end);
        Ok(text)
    }
}

fn say(args: &Common, wish: &Wish<'_>) -> anyhow::Result<ExitCode> {
    let vault = args.home.open()?;
    let reason = args.reason.load(&vault)?;
    let ring = args.custodians.unlock(&vault)?;
    let actor = vault.actor_of(&ring);
    let written = wait(async {
        let catalog = vault.catalog().await?;
        let annotator = Annotator::open(&vault, &ring, &catalog)?;
        let order =
            Order { id: args.id, wish: *wish, after: args.after, actor: &actor, belongs: None, reason };
        let written = annotator.say(&order).await;
        catalog.close().await;
        written
    })??;
    let mut out = std::io::stdout().lock();
    if args.json {
        let written = serde_json::json!({
            "id": args.id, "version": written.number, "kind": wish.kind(), "sha256": written.sha256,
            "was_there": written.was_there,
        });
        writeln!(out, "{}", json(&written)?)?;
    } else if written.was_there {
        writeln!(out, "Version {} of {} says so already.", written.number, args.id)?;
    } else {
        writeln!(out, "Version {} of {}: {}.", written.number, args.id, wish.kind())?;
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_as_people_write_times() {
        let read = |text| span(text).map(|span| (span.from_ms, span.to_ms));
        assert_eq!(read("00:12-00:19"), Ok((12_000, 19_000)));
        assert_eq!(read("7.25-1:02:03.5"), Ok((7_250, 3_723_500)));
        for wrong in
            ["", "-", "12", "12-", "-12", "12-12", "19-12", "a-b", "1:2:3:4-9", "1.2345-9", "1.-9", "+1-9"]
        {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        assert!(read("99999:99999:99999-999999").is_err());
    }
}
