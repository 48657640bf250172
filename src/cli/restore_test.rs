//! `sejf restore-test`: a sample from every place, restored and verified.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::cli::archive::with_places;
use crate::cli::text;
use crate::cli::vault::HomeArg;
use crate::shell::entropy::OsRandom;
use crate::shell::vault::restore_test::restore_test;
use crate::shell::vault::unlocking;

/// Restores a sample of recordings from every place into an empty folder and verifies them there; with custodians'
/// keys also opens them, decodes all sound to its end and holds its length against the manifest. No plain byte is written. The report is in the vault's signed log. Exit code 1 where something
/// was wrong, or there was nothing to restore.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    home: HomeArg,
    /// Folder to restore into: empty, or not there yet.
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// Recordings from each place.
    #[arg(long, value_name = "COUNT", default_value_t = 50)]
    sample: u32,
    /// Identity file of a custodian, once for each who is here: also open what was restored.
    #[arg(long, short, value_name = "FILE")]
    identity: Vec<PathBuf>,
    /// File with a passphrase for identity files that are under one. May be given several times.
    #[arg(long, value_name = "FILE")]
    passphrase_file: Vec<PathBuf>,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    with_places(&args.home, async |vault, copier| {
        let ring = if args.identity.is_empty() {
            None
        } else {
            Some(vault.unlock(&unlocking::identities(&args.identity, &args.passphrase_file)?)?)
        };
        let mut random = OsRandom::new()?;
        let report = restore_test(copier, ring.as_ref(), args.sample, &args.to, &mut random).await?;
        let mut out = std::io::stdout().lock();
        if args.json {
            writeln!(out, "{}", text::json(&report)?)?;
        } else {
            for place in &report.places {
                let (recordings, files) = (place.sample.len(), place.files);
                let opened = match report.opened {
                    true => format!(
                        ", {} opened, {} of them sound that was decoded to its end ({} s)",
                        place.opened, place.decoded, place.decoded_s
                    ),
                    false => String::new(),
                };
                let said =
                    format!("{}: {recordings} recordings, {files} files verified{opened}", place.place);
                writeln!(out, "{}, {}", text::clean_line(&said), text::bytes(place.bytes))?;
                for failure in &place.failures {
                    writeln!(out, "failed: {}", text::clean_line(failure))?;
                }
            }
        }
        if !report.opened && !args.json {
            writeln!(
                out,
                "The vault is locked: files were verified, and not opened (-i KEYFILE to have that too)."
            )?;
        }
        Ok(if report.is_good() { ExitCode::SUCCESS } else { ExitCode::from(1) })
    })
}
