//! `sejf keygen`: makes a key pair.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::shell::keys::{self, KeyKind};

/// Makes a key pair. The identity opens recordings: keep it away from the recorder. The recipient
/// (`age1…`) is what the recorder gets.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// File for the identity; must not exist. Without it, the identity goes to standard output.
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Hybrid post-quantum key (ML-KEM-768 and X25519). Opened by sejf and age 1.3 or later.
    #[arg(long)]
    pq: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let kind = if args.pq { KeyKind::Hybrid } else { KeyKind::X25519 };
    let pair = keys::generate(kind)?;
    match &args.output {
        Some(path) => {
            keys::write_identity(path, &pair)?;
            writeln!(std::io::stdout(), "Public key: {}", pair.recipient)?;
        }
        None => std::io::stdout().write_all(pair.identity_file().as_bytes())?,
    }
    Ok(ExitCode::SUCCESS)
}
