//! `sejf forward`: a recorder's recordings to a vault.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;

use crate::cli::text::json;
use crate::shell::logging;
use crate::shell::signals::Stop;
use crate::shell::vault::forward::{self, Config};

/// Sends what a recorder writes to a vault, over TLS 1.3 with the certificate that `sejf vault enrol` gave, and goes on
/// until it is stopped. Nothing is removed here unless the configuration says `free = true`, and then only what the
/// vault has in as many copies as asked.
///
/// Exit code with --once: 0 all was sent, 1 some files could not be, which `fault` explains; 2 failed.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Configuration: spool, address, name, authority, certificate, key, and perhaps pin and free.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Send what there is, and end.
    #[arg(long)]
    once: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let config = Config::load(&args.config)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("starting to send")?;
    if args.once {
        let done = runtime.block_on(forward::pass(&config))?;
        writeln!(std::io::stdout(), "{}", json(&done)?)?;
        return Ok(ExitCode::from(u8::from(done.fault.is_some())));
    } else {
        let _log = logging::start(logging::Format::Text, "info")?;
        let stop = Stop::on_signals()?;
        runtime.block_on(forward::run(&config, &stop));
    }
    Ok(ExitCode::SUCCESS)
}
