//! `sejf vault serve`: a vault that runs.

use std::io::Write;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;

use crate::cli::vault::{CustodianArgs, HomeArg, wait};
use crate::shell::logging;
use crate::shell::signals::Stop;
use crate::shell::vault::intake::Intake;
use crate::shell::vault::intake::serve::Server;

/// Runs the vault: takes in what recorders on this machine write ([[recorder]] with `spool`) and what others send with
/// `sejf forward`. It starts locked and takes in all the same; `sejf vault running unlock` gives it the keys, which it
/// keeps in memory. SIGINT and SIGTERM stop it.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    home: HomeArg,
    /// Let recorders send to this address, over TLS 1.3 with certificates of `sejf vault enrol` on both sides.
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    #[command(flatten)]
    custodians: CustodianArgs,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let _log = logging::start(logging::Format::Text, "info")?;
    let vault = Arc::new(args.home.open()?);
    let ring = args.custodians.unlock_if_any(&vault)?;
    let stop = Stop::on_signals()?;
    wait(async {
        let intake = Intake::open(vault).await?;
        intake.set_keys(ring);
        let server = Server::bind(intake, args.listen).await?;
        if let Some(address) = server.address() {
            writeln!(std::io::stdout(), "listening on {address}").context("saying where it listens")?;
        }
        server.run(stop).await?;
        anyhow::Ok(())
    })??;
    Ok(ExitCode::SUCCESS)
}
