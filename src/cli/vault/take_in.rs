//! `sejf vault take-in`: what a recorder's folder has, once.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use crate::cli::text::{clean, grouped, json};
use crate::cli::vault::{CustodianArgs, HomeArg, wait};
use crate::shell::vault::intake::{Intake, Report};

/// Takes in what the folder of a recorder has: receipts are verified first, then the files that they name. The recorder
/// must be known: see [[recorder]] in vault.toml.
///
/// Without keys of custodians recordings are staged as they are, and put under their envelopes by the next run that has
/// them, or by `sejf vault serve` once it is unlocked. May be run again at any time: each recording is taken in once.
///
/// Exit code: 0 all taken in, 1 something is waited for, refused or missing, 2 failed.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    home: HomeArg,
    /// Folder that a recorder writes to.
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    #[command(flatten)]
    custodians: CustodianArgs,
    /// Print one JSON value.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let vault = Arc::new(args.home.open()?);
    let ring = args.custodians.unlock_if_any(&vault)?;
    let report = wait(async {
        let intake = Intake::open(vault).await?;
        intake.set_keys(ring);
        let mut report = intake.archive_staged().await?;
        report.add(intake.take_in_folder(&args.dir).await?);
        intake.catalog().close().await;
        anyhow::Ok(report)
    })??;
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", json(&report)?)?;
    } else {
        writeln!(out, "{}", clean(&for_people(&report)))?;
    }
    for (id, why) in report.waiting.iter().chain(&report.refused) {
        warn(&format!("recording {id}: {why}"));
    }
    if report.missing > 0 {
        warn(&format!(
            "{} entries of the recorder's log are in no book: rebuild the catalog",
            report.missing
        ));
    }
    let is_all = report.waiting.is_empty() && report.refused.is_empty() && report.missing == 0;
    Ok(ExitCode::from(u8::from(!is_all)))
}

fn for_people(report: &Report) -> String {
    let mut parts = vec![format!("{} archived", grouped(report.archived))];
    for (count, what) in [
        (report.staged, "staged until the vault is unlocked"),
        (report.without_files, "calls without a recording"),
        (report.known, "known already"),
        (report.waiting.len() as u64, "waited for"),
        (report.refused.len() as u64, "refused"),
    ] {
        if count > 0 {
            parts.push(format!("{} {what}", grouped(count)));
        }
    }
    parts.join(", ")
}

#[expect(clippy::print_stderr, reason = "a warning, beside the result")]
fn warn(text: &str) {
    eprintln!("sejf: {}", clean(text));
}
