//! `sejf vault serve`: a vault that runs.

use std::io::Write;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;

use crate::cli::vault::{CustodianArgs, HomeArg, wait};
use crate::shell::logging;
use crate::shell::notify::Notifier;
use crate::shell::signals::{self, Stop};
use crate::shell::vault::intake::Intake;
use crate::shell::vault::intake::serve::Server;
use crate::web::Web;

/// Runs the vault: takes in what recorders on this machine write ([[recorder]] with `spool`) and what others send with
/// `sejf forward`. It starts locked and takes in all the same; `sejf vault running unlock` gives it the keys, which it
/// keeps in memory. Meanwhile it does by itself what [duties] in vault.toml says: copies, scrubbing, tests; `sejf vault
/// status` says when. SIGINT and SIGTERM stop it. Where vault.toml has [web], people and programs reach it over HTTPS,
/// and SIGHUP has it read certificate and key again.
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
    let (stop, notifier) = (Stop::on_signals()?, Notifier::from_env()?);
    wait(async {
        let intake = Intake::open(vault).await?;
        intake.set_keys(ring);
        let web = match intake.vault().config.web.clone() {
            Some(config) => Some(Web::bind(&intake, &config).await?),
            None => None,
        };
        let server = Server::bind(intake, args.listen).await?;
        if let Some(web) = web {
            if let Some(address) = web.address() {
                writeln!(std::io::stdout(), "https://{address}/api/v1").context("saying where it listens")?;
            }
            tokio::spawn(web.run(stop.clone(), signals::on_hang_up()?));
        }
        if let Some(address) = server.address() {
            writeln!(std::io::stdout(), "listening on {address}").context("saying where it listens")?;
        }
        notifier.ready("takes recordings in")?;
        server.run(stop).await?;
        anyhow::Ok(())
    })??;
    Ok(ExitCode::SUCCESS)
}
