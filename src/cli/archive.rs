//! What the commands for places and copies share.

use anyhow::Context;

use crate::cli::vault::HomeArg;
use crate::shell::vault::copies::Copier;
use crate::shell::vault::home::Vault;

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
