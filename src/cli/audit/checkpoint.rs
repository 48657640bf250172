//! `sejf audit checkpoint`: what to keep elsewhere.

use std::io::Write;
use std::process::ExitCode;

use crate::cli::vault::HomeArg;

/// Prints the checkpoint that the vault's log has now: three lines and a signature. Kept where nobody reaches who runs the
/// vault, on paper if need be, it proves later by `sejf audit verify --checkpoint` that nothing of what is there now was
/// changed or taken away.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    home: HomeArg,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let vault = args.home.open()?;
    let note = vault.log.signed_with(|_, note, _| note.to_owned())?;
    write!(std::io::stdout(), "{note}")?;
    Ok(ExitCode::SUCCESS)
}
