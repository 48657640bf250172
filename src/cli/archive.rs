//! What the commands of the archive share.

use anyhow::Context;

use crate::cli::vault::{CustodianArgs, HomeArg, ReasonArgs};
use crate::shell::vault::copies::Copier;
use crate::shell::vault::home::Vault;
use crate::shell::vault::matters::Speaker;

/// Who says something, and why.
#[derive(Debug, clap::Args)]
pub(super) struct SpeakArgs {
    #[command(flatten)]
    home: HomeArg,
    #[command(flatten)]
    custodians: CustodianArgs,
    #[command(flatten)]
    reason: ReasonArgs,
}

impl SpeakArgs {
    /// The vault, and who speaks there: custodians who have proved that they are.
    pub(super) fn speaker(&self) -> anyhow::Result<(Vault, Speaker)> {
        let vault = self.home.open()?;
        let custodians = vault.keys.prove(&self.custodians.load()?)?.custodians();
        let speaker = Speaker::here(&vault, custodians, self.reason.load(&vault)?);
        Ok((vault, speaker))
    }
}

/// The same about one request.
#[derive(Debug, clap::Args)]
pub(super) struct NumberArgs {
    #[command(flatten)]
    pub(super) speak: SpeakArgs,
    /// The request's number.
    #[arg(long, value_name = "NUMBER")]
    pub(super) request: u64,
}

/// Runs something with the vault's catalog and places.
pub(super) fn with_places<T>(
    home: &HomeArg,
    work: impl AsyncFnOnce(&Vault, &Copier<'_>) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let vault = home.open()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting what waits for networks and databases")?;
    runtime.block_on(async {
        let catalog = vault.catalog().await?;
        let copier = Copier::open(&vault, &catalog).await?;
        let done = work(&vault, &copier).await;
        drop(copier);
        catalog.close().await;
        done
    })
}
