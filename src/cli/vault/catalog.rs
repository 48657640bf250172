//! `sejf vault catalog`: the catalog made anew.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;

use crate::cli::text::clean;
use crate::cli::vault::{CustodianArgs, HomeArg};
use crate::shell::vault::catalog::anew::rebuild_vault;
use crate::shell::vault::catalog::rebuild::differences;
use crate::shell::vault::catalog::{Catalog, Kind};
use crate::shell::vault::home::Vault;

/// The catalog: what there is and where. It can be made anew from the recordings and the keys.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Rebuild(Rebuild),
}

/// Makes the catalog anew beside the present one, and says what differs.
///
/// Exit code: 0 nothing is wrong and nothing differs, 1 something is or does.
#[derive(Debug, clap::Args)]
struct Rebuild {
    #[command(flatten)]
    home: HomeArg,
    #[command(flatten)]
    custodians: CustodianArgs,
    /// Where the new one is made: `sqlite:PATH`, or an empty PostgreSQL database. `catalog.new.db` in the vault's home
    /// where it is not said. What was interrupted goes on there.
    #[arg(long, value_name = "ADDRESS")]
    into: Option<String>,
    /// Put it in the place of the present one, which is kept as `catalog.old.db`. Stop the vault's service first.
    #[arg(long, conflicts_with = "into")]
    replace: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let Command::Rebuild(args) = &args.command;
    let vault = args.home.open()?;
    let ring = args.custodians.unlock(&vault)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let present_file = vault.home.join(PRESENT);
        let is_there = vault.config.vault.catalog.is_some() || present_file.exists();
        let present = if is_there { Some(vault.catalog_as_it_is().await?) } else { None };
        let is_file = present.as_ref().is_none_or(|present| present.kind() == Kind::Sqlite)
            && vault.config.vault.catalog.is_none();
        anyhow::ensure!(
            is_file || !args.replace,
            "--replace is for a catalog in the vault's home: name the new one in `vault.toml` instead"
        );
        let into = match &args.into {
            Some(address) => Catalog::open(address).await?,
            None => Catalog::open_file(&vault.home.join(NEW)).await?,
        };
        let rebuilt = rebuild_vault(&vault, &ring, present.as_ref(), &into).await?;
        let mut out = std::io::stdout().lock();
        writeln!(out, "{} recordings are in `{}`", rebuilt.recordings, clean(into.name()))?;
        for fault in &rebuilt.faults {
            writeln!(out, "! {}", clean(&fault.to_string()))?;
        }
        let mut is_same = rebuilt.faults.is_empty();
        if let Some(present) = &present {
            let found = differences(present, &into, &ring, SHOWN_MAX).await?;
            writeln!(out, "{} differences from `{}`", found.len(), clean(present.name()))?;
            found.iter().try_for_each(|line| writeln!(out, "! {}", clean(line)))?;
            is_same &= found.is_empty();
            present.close().await;
        }
        into.close().await;
        if args.replace {
            replace(&vault)?;
            writeln!(out, "It is the vault's catalog now")?;
        }
        Ok(ExitCode::from(u8::from(!is_same)))
    })
}

/// Both are closed, so that neither has a log of writes any more that belongs to it.
fn replace(vault: &Vault) -> anyhow::Result<()> {
    let [present, new, old] = [PRESENT, NEW, OLD].map(|name| vault.home.join(name));
    for file in [&present, &new] {
        anyhow::ensure!(
            !beside(file, "-wal").exists(),
            "`{}` is open in another process: stop the vault's service, and try again",
            file.display()
        );
    }
    if present.exists() {
        // Under both names for a moment: whoever finds none makes an empty one.
        match std::fs::remove_file(&old) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            other => other.with_context(|| format!("removing `{}`", old.display()))?,
        }
        std::fs::hard_link(&present, &old).with_context(|| format!("keeping `{}`", present.display()))?;
    }
    std::fs::rename(&new, &present).with_context(|| format!("renaming `{}`", new.display()))?;
    let home = std::fs::File::open(&vault.home).and_then(|home| home.sync_all());
    home.with_context(|| format!("syncing `{}`", vault.home.display()))
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

const PRESENT: &str = "catalog.db";
const NEW: &str = "catalog.new.db";
const OLD: &str = "catalog.old.db";
const SHOWN_MAX: usize = 1_000;
