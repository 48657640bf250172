//! `sejf verify`: is anything changed, missing or added?

use std::cell::RefCell;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde::Serialize;

use crate::cli::keys::OptionalIdentityArgs;
use crate::cli::progress::Meter;
use crate::cli::text::{clean, grouped, json};
use crate::shell::verify;

/// Checks a directory of recordings against the recorder's signed receipts. Needs no key; with one,
/// it also opens every file and holds the manifests against the receipts.
///
/// Exit code: 0 all whole, 1 something is changed, missing or added, 2 could not check.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Directory of recordings.
    #[arg(value_name = "DIR", required_unless_present = "bundle")]
    dir: Option<PathBuf>,
    /// Check a bundle that `sejf export` made, a folder or a tar file, with nothing but the bundle. One that is under
    /// the receiver's key is followed back to the recorder's receipts with that key.
    #[arg(long, value_name = "DIR|FILE", conflicts_with_all = ["dir", "checkpoint"])]
    bundle: Option<PathBuf>,
    /// The archive's public key (`name+hash+key`), told by another way than the bundle. Without it, the key in the
    /// bundle is taken, which proves only that nothing changed since somebody signed.
    #[arg(long, value_name = "KEY", requires = "bundle")]
    vault: Option<String>,
    #[command(flatten)]
    identity: OptionalIdentityArgs,
    /// The recorder's public key (`name+hash+key`), kept apart from the recordings. Without it, the key
    /// found beside the receipts is taken, which proves only that nothing changed since somebody signed.
    #[arg(long, value_name = "KEY")]
    recorder: Option<String>,
    /// A checkpoint kept from earlier: proves that nothing from then was removed or changed since.
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// Print only what is wrong.
    #[arg(long, short, conflicts_with = "json")]
    quiet: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match (&args.bundle, &args.dir) {
        (Some(dir), _) => bundle(args, dir),
        (None, Some(dir)) => recordings(args, dir),
        (None, None) => unreachable!("clap asks for one of them"),
    }
}

fn bundle(args: &Args, path: &Path) -> anyhow::Result<ExitCode> {
    let identities = args.identity.load()?;
    let asked = verify::BundleAsked {
        vault: args.vault.as_deref(),
        recorder: args.recorder.as_deref(),
        identities: identities.as_ref(),
    };
    let report = verify::bundle(path, &asked)?;
    let faults = report.faults.iter().map(ToString::to_string);
    told(args, faults, &report, &report.summary())
}

fn recordings(args: &Args, dir: &Path) -> anyhow::Result<ExitCode> {
    let identities = args.identity.load()?;
    let meter = RefCell::new(Meter::new(args.quiet || args.json));
    let tell = |progress: &verify::Progress| {
        let verify::Progress { files, of, bytes } = *progress;
        let text =
            || format!("{} of {} files, {} MB", grouped(files), grouped(of), grouped(bytes / 1_000_000));
        meter.borrow_mut().say(text);
    };
    let asked = verify::Asked {
        progress: Some(&tell),
        identities: identities.as_ref(),
        recorder: args.recorder.as_deref(),
        checkpoint: args.checkpoint.as_deref(),
    };
    let report = verify::directory(dir, &asked);
    meter.into_inner().finish();
    let report = report?;
    let faults = report.faults.iter().map(ToString::to_string);
    told(args, faults, &report, &report.summary())
}

fn told(
    args: &Args,
    faults: impl ExactSizeIterator<Item = String>,
    report: &impl Serialize,
    summary: &str,
) -> anyhow::Result<ExitCode> {
    let is_whole = faults.len() == 0;
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", json(report)?)?;
    } else {
        for fault in faults {
            writeln!(out, "{}", clean(&fault))?;
        }
        if !args.quiet {
            writeln!(out, "{}", clean(summary))?;
        }
    }
    Ok(ExitCode::from(u8::from(!is_whole)))
}
