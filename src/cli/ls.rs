//! `sejf ls`: what a directory holds.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::cli::keys::IdentityArgs;
use crate::cli::text::{clean, clock, columns, json};
use crate::recording::manifest::Manifest;
use crate::recording::parts::Parts;
use crate::shell::library::{Library, OpenFault};

/// Lists recordings, oldest first. Parts of one call, where the recorder was started anew, are one line; with
/// --json one each.
///
/// Exit code: 0 all listed, 1 some could not be opened, 2 none could.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Directory of recordings.
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    #[command(flatten)]
    identity: IdentityArgs,
    /// Print a manifest a line.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let library = Library::open(&args.dir)?;
    let (manifests, faults) = library.manifests(&args.identity.load()?)?;
    let mut out = std::io::stdout().lock();
    if args.json {
        for manifest in &manifests {
            writeln!(out, "{}", json(manifest)?)?;
        }
    } else {
        write!(out, "{}", table(&manifests))?;
    }
    if library.lost() > 0 {
        #[expect(clippy::print_stderr, reason = "a warning, beside the result")]
        {
            eprintln!(
                "sejf: not listed: {} recordings of which the disk did not keep all; their receipts say that they \
                 failed, and `sejf salvage` makes of them what can be made",
                library.lost()
            );
        }
    }
    report(&manifests, faults)
}

fn report(manifests: &[Manifest], mut faults: Vec<OpenFault>) -> anyhow::Result<ExitCode> {
    for fault in &faults {
        #[expect(clippy::print_stderr, reason = "a warning, beside the result")]
        {
            eprintln!("sejf: {}", clean(&fault.to_string()));
        }
    }
    match faults.pop() {
        None => Ok(ExitCode::SUCCESS),
        Some(_) if manifests.is_empty() => Ok(ExitCode::from(2)),
        Some(_) => Ok(ExitCode::from(1)),
    }
}

/// One call a row.
pub(super) fn table(manifests: &[Manifest]) -> String {
    let head = ["START (UTC)", "LENGTH", "STATE", "FROM", "TO", "CODECS", "LOST", "MOS", "ID"];
    let mut rows = vec![head.map(String::from).to_vec()];
    for parts in Parts::of(manifests) {
        let Some(manifest) = parts.joined() else { continue };
        let codecs: BTreeSet<_> = manifest.streams.iter().map(|stream| stream.codec.as_str()).collect();
        let packets: u64 = manifest.streams.iter().map(|stream| stream.packets).sum();
        let lost: u64 = manifest.streams.iter().map(|stream| stream.lost).sum();
        let mos = manifest.streams.iter().map(|stream| stream.mos).fold(f64::INFINITY, f64::min);
        let start = manifest.start.to_string();
        rows.push(vec![
            start.get(..19).unwrap_or_default().replace('T', " "),
            clock(manifest.duration_s),
            format!("{}{}", manifest.state.as_str(), of_parts(&parts)),
            clean(&manifest.call.caller),
            clean(&manifest.call.callee),
            clean(&codecs.into_iter().collect::<Vec<_>>().join("+")),
            percent(lost, packets + lost),
            if mos.is_finite() { format!("{mos:.1}") } else { "-".into() },
            manifest.id.clone(),
        ]);
    }
    columns(&rows)
}

/// ` (2 parts)`, where there are several.
fn of_parts(parts: &Parts<'_>) -> String {
    match (parts.all().len(), parts.missing().len()) {
        (1, 0) => String::new(),
        (count, 0) => format!(" ({count} parts)"),
        (count, missing) => format!(" ({count} of {} parts)", count + missing),
    }
}

fn percent(part: u64, whole: u64) -> String {
    match (part, whole) {
        (_, 0) => "-".into(),
        (0, _) => "0 %".into(),
        (part, whole) => format!("{:.1} %", 100.0 * part as f64 / whole as f64),
    }
}
