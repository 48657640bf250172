//! `sejf salvage`: whole recordings from what a recorder that died has left.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;

use crate::cli::keys::{IdentityArgs, RecipientArgs};
use crate::cli::text::{clean, clock, json};
use crate::shell::entropy::OsRandom;
use crate::shell::salvage::{self, Asked, Salvaged};

/// Makes whole recordings of those that were being recorded when the recorder was killed or the power
/// failed: what is in the unfinished file, and what only the journal has. They are sealed again, into a folder
/// of their own; nothing is changed where they come from.
///
/// Exit code: 0 all salvaged, 1 some of it could not be used, 2 nothing could.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Directory of recordings, with the journals that start-up has put there.
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    #[command(flatten)]
    identity: IdentityArgs,
    #[command(flatten)]
    recipients: RecipientArgs,
    /// Folder of the recorder's journal, where no recorder has started since and it was not in DIR
    #[arg(long, value_name = "FOLDER")]
    journal: Option<PathBuf>,
    /// Directory for the whole recordings [default: `DIR-salvaged`, beside DIR]
    #[arg(long, value_name = "OUT")]
    to: Option<PathBuf>,
    /// Print a JSON object a recording.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let to = match &args.to {
        Some(to) => to.clone(),
        None => beside(&args.dir).context("say --to: the directory has no name to go beside")?,
    };
    let (identities, recipients) = (args.identity.load()?, args.recipients.load()?);
    let asked = Asked {
        dir: &args.dir,
        to: &to,
        identities: &identities,
        journal: args.journal.as_deref(),
        recipients: &recipients,
    };
    let report = salvage::salvage(&asked, &mut OsRandom::new()?)?;
    let mut out = std::io::stdout().lock();
    for salvaged in &report.salvaged {
        if args.json {
            writeln!(out, "{}", json(salvaged)?)?;
        } else {
            writeln!(out, "{}", for_people(salvaged))?;
        }
    }
    if !args.json {
        let (count, before) = (report.salvaged.len(), report.done_before);
        let before = if before > 0 { format!(", {before} were there already") } else { String::new() };
        writeln!(out, "{count} recordings salvaged into {}{before}", clean(&to.display().to_string()))?;
    }
    #[expect(clippy::print_stderr, reason = "warnings, beside the result")]
    {
        for fault in &report.faults {
            eprintln!("sejf: {}", clean(&fault.to_string()));
        }
        if report.closed > 0 {
            eprintln!("sejf: none of the keys opens {} files or parts of the journal", report.closed);
        }
    }
    Ok(ExitCode::from(u8::from(!report.faults.is_empty() || report.closed > 0)))
}

fn for_people(salvaged: &Salvaged) -> String {
    let Salvaged { id, state, duration_s, from_files, from_journal, whole } = salvaged;
    let end = if *whole { "" } else { ", its last moments missing" };
    format!(
        "{id}  {}  {}: {from_files} bytes from its file, {from_journal} from the journal{end}",
        clock(*duration_s),
        state.as_str()
    )
}

/// A folder beside another, so that a check of that one does not find strangers.
fn beside(dir: &std::path::Path) -> Option<PathBuf> {
    let dir = dir.canonicalize().ok()?;
    let mut name = dir.file_name()?.to_owned();
    name.push("-salvaged");
    Some(dir.with_file_name(name))
}
