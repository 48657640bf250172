//! `sejf audit witness`: attests, on another host, that a vault's log only grows.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;

use crate::cli::text::clean_line;
use crate::cli::vault::wait;
use crate::shell::logging;
use crate::shell::signals::{self, Stop};
use crate::web::witness::{Config, Serving};

/// Runs a witness (C2SP tlog-witness) over HTTPS: it remembers the last checkpoint of each log that it follows, and cosigns
/// only what goes on from there. It belongs on a host that the vault's administrators do not reach. Its public key, which it
/// prints at its start, goes into [[audit.witness]] of vault.toml, and to who checks the log. SIGINT and SIGTERM stop it.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Configuration: name, listen, state, logs; perhaps names, certificate and key.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Print its public key and end.
    #[arg(long)]
    show_key: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let config = Config::load(&args.config)?;
    if args.show_key {
        writeln!(std::io::stdout(), "{}", clean_line(&config.keeper()?.key().to_string()))?;
        return Ok(ExitCode::SUCCESS);
    }
    let _log = logging::start(logging::Format::Text, "info")?;
    let stop = Stop::on_signals()?;
    wait(async {
        let serving = Serving::bind(&config).await?;
        let address = serving.address().context("looking where it listens")?;
        writeln!(std::io::stdout(), "{}\nhttps://{address}", clean_line(&serving.key().to_string()))?;
        serving.run(stop, signals::on_hang_up()?).await;
        anyhow::Ok(())
    })??;
    Ok(ExitCode::SUCCESS)
}
