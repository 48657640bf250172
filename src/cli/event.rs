//! `sejf event`: the events from which retention counts.

use std::io::Write;
use std::process::ExitCode;

use crate::base::time::Stamp;
use crate::cli::scope::{IdArgs, block_on, second, time};
use crate::cli::vault::{HomeArg, ReasonArgs};
use crate::shell::vault::matters::Speaker;

/// Events from which retention counts, of classes with `base = "event"`: the end of a contract, a settled claim.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Name(NameArgs),
}

/// Says when the event came from which recordings count. Said twice, the later date counts.
#[derive(Debug, clap::Args)]
struct NameArgs {
    #[command(flatten)]
    home: HomeArg,
    /// When it came: a day (2026-11-23) or a time (2026-11-23T21:08:41Z), in UTC.
    #[arg(long, value_name = "TIME", value_parser = time)]
    at: Stamp,
    #[command(flatten)]
    ids: IdArgs,
    #[command(flatten)]
    reason: ReasonArgs,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let Command::Name(args) = &args.command;
    let vault = args.home.open()?;
    let ids: Vec<_> = args.ids.load()?.into_iter().collect();
    anyhow::ensure!(!ids.is_empty(), "name the recordings: --recording ID, or --recordings-file FILE");
    let speaker = Speaker::here(&vault, Vec::new(), args.reason.load(&vault)?);
    block_on(async {
        let catalog = vault.catalog().await?;
        Ok(speaker.name_event(&vault, &catalog, args.at, &ids).await?)
    })?;
    writeln!(std::io::stdout(), "{} recordings count from {} UTC.", ids.len(), second(args.at))?;
    Ok(ExitCode::SUCCESS)
}
