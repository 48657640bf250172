//! `sejf audit export`: the log for others' programs.

use std::fs::OpenOptions;
use std::io::{BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use ring::digest::{Context as Sha256, SHA256};

use crate::archive::entry::Entry;
use crate::archive::log_query::{Fit, Format};
use crate::archive::record::Digest;
use crate::cli::audit::{QueryArgs, came, granted};
use crate::cli::vault::{HomeArg, ReasonArgs};

/// Writes entries of the vault's log as JSON lines or CSV, each with its number and its hash in the log's tree. That it was
/// done, with how many entries and the file's SHA-256, is in the log. One that cannot be read may be any, and is always
/// among them.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    home: HomeArg,
    #[command(flatten)]
    query: QueryArgs,
    /// jsonl or csv.
    #[arg(long, default_value = "jsonl", value_name = "FORMAT")]
    format: Format,
    /// File to write, which must not be there yet; standard output where it is not said.
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    reason: ReasonArgs,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let vault = args.home.open()?;
    let grant = granted(&vault, args.reason.load(&vault)?)?;
    let mut out: Box<dyn Write> = match &args.output {
        Some(path) => {
            let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
            Box::new(BufWriter::new(made.with_context(|| format!("making `{}`", path.display()))?))
        }
        None => Box::new(std::io::stdout().lock()),
    };
    let (query, format) = (args.query.query(), args.format);
    let (mut entries, mut sha256) = (0_u64, Sha256::new(&SHA256));
    let mut put = |text: &str| -> anyhow::Result<()> {
        sha256.update(text.as_bytes());
        out.write_all(text.as_bytes()).context("writing entries of the log")
    };
    put(format.head())?;
    vault.log.each(0, |index, bytes| -> anyhow::Result<()> {
        let entry = Entry::from_bytes(bytes).ok();
        if query.fit(entry.as_ref()) != Fit::No {
            entries += 1;
            put(&format.line(index, bytes))?;
        }
        Ok(())
    })?;
    out.flush().context("writing entries of the log")?;
    let sha256 = Digest(sha256.finish().as_ref().try_into().context("the length of a SHA-256")?);
    let details = serde_json::json!({ "export": format.extension(), "entries": entries, "sha256": sha256 });
    came(&vault, &grant, details)?;
    Ok(ExitCode::SUCCESS)
}
