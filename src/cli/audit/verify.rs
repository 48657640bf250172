//! `sejf audit verify`: is the vault's log what it was?

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;

use crate::cli::text::{clean_line, json};
use crate::shell::vault::audit::verify::{Asked, Told, verify};

/// Checks the vault's log: that its files are those that were signed, and that it goes on from checkpoints that were kept.
/// Takes no key of the vault, asks nobody, and a copy of the log will do. What was edited, removed, inserted, reordered, cut,
/// forked or put back is found, and the entry named where that can be known. Without a checkpoint from elsewhere, whoever
/// has the log's key could have made it anew.
///
/// Exit code: 0 all as signed, 1 something is not, 2 could not check.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Home of the vault, or a folder with a copy of its log.
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
    /// A checkpoint kept from earlier (`sejf audit checkpoint`, or a witness's), `-` for standard input. May be given several
    /// times: the closer they are, the closer a fork is told.
    #[arg(long, value_name = "FILE")]
    checkpoint: Vec<PathBuf>,
    /// The vault's public key (`name+hash+key`), told by another way. Without it, the key found beside the log is taken.
    #[arg(long, value_name = "KEY")]
    vault: Option<String>,
    /// Public key of a witness that must have cosigned a checkpoint: one of those given, or of those that the vault keeps.
    /// May be given several times.
    #[arg(long, value_name = "KEY")]
    witness_key: Vec<String>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// Print only what is wrong.
    #[arg(long, short, conflicts_with = "json")]
    quiet: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let kept = args.checkpoint.iter().map(read).collect::<anyhow::Result<Vec<_>>>()?;
    let asked = Asked { key: args.vault.as_deref(), kept: &kept, witnesses: &args.witness_key };
    let report = verify(&args.folder, &asked)?;
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", json(&report)?)?;
    } else {
        for Told { finding, before, after, .. } in &report.findings {
            writeln!(out, "{}", clean_line(finding))?;
            for (side, entry) in [("before", before), ("after", after)] {
                if let Some(entry) = entry {
                    writeln!(out, "  {side} it: {}", clean_line(entry))?;
                }
            }
        }
        if !args.quiet {
            writeln!(out, "{}", clean_line(&report.summary()))?;
        }
    }
    Ok(ExitCode::from(u8::from(!report.findings.is_empty())))
}

/// As it was mailed or typed from paper: with line ends of other systems, or without the last one.
fn read(path: &PathBuf) -> anyhow::Result<String> {
    let mut text = String::new();
    if path.as_os_str() == "-" {
        std::io::stdin().take(BYTES_MAX).read_to_string(&mut text).context("reading a checkpoint")?;
    } else {
        let opened = std::fs::File::open(path);
        opened
            .and_then(|file| file.take(BYTES_MAX).read_to_string(&mut text))
            .with_context(|| format!("reading checkpoint `{}`", path.display()))?;
    }
    Ok(format!("{}\n", text.replace("\r\n", "\n").trim()))
}

/// Longer than any checkpoint.
const BYTES_MAX: u64 = 1 << 20;
