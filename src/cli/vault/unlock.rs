//! `sejf vault unlock`: tries the custodians' keys, and makes the keys of the coming months.

use std::io::Write;
use std::process::ExitCode;

use crate::cli::vault::{CustodianArgs, HomeArg};

/// Unlocks the vault for a moment: finishes what was interrupted, brings all key places to the same, and makes the
/// keys of this month and the next two, whose recipients recorders need.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    home: HomeArg,
    #[command(flatten)]
    custodians: CustodianArgs,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let vault = args.home.open()?;
    let ring = args.custodians.unlock(&vault)?;
    let opened: Vec<_> = ring.opened_by().iter().map(|name| name.as_str()).collect();
    let mut out = std::io::stdout().lock();
    writeln!(out, "Unlocked by {}; locked again now", opened.join(", "))?;
    if ring.came_back() > 0 {
        let count = ring.came_back();
        writeln!(
            out,
            "{count} had been destroyed before and came back from an older state: destroyed again"
        )?;
    }
    for place in vault.keys.absent() {
        writeln!(out, "Warning: the key place `{}` is not there: no key can be changed", place.display())?;
    }
    Ok(if vault.keys.absent().is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}
