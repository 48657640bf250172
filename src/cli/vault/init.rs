//! `sejf vault init`: begins a vault.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;

use crate::archive::custody::{CustodianName, Custody};
use crate::shell::keys::KeyKind;
use crate::shell::vault::home::{NewVault, Vault};

/// Begins a vault: makes its root key and splits it among custodians, so that it takes several of them to unlock it.
///
/// The vault itself never has a custodian's key: each makes their own (`sejf keygen`) and gives the recipient.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Home of the vault: a folder that is made.
    #[arg(value_name = "HOME")]
    home: PathBuf,
    #[command(flatten)]
    custody: CustodyArgs,
    /// Name of the vault, in its log.
    #[arg(long, value_name = "NAME", default_value = "vault")]
    name: String,
    /// Folder where recordings go first; made where it is missing.
    #[arg(long, value_name = "DIR", default_value_os_t = PathBuf::from("store"))]
    store: PathBuf,
    /// Further folder for the keys, on another device or host. Envelopes that are lost are recordings that are
    /// lost: take at least one. May be given several times.
    #[arg(long, value_name = "DIR")]
    key_place: Vec<PathBuf>,
    /// Post-quantum hybrid keys (ML-KEM-768 and X25519). Recorders then take no other recipients.
    #[arg(long)]
    pq: bool,
}

/// Who holds the root key.
#[derive(Debug, clap::Args)]
pub(super) struct CustodyArgs {
    /// A custodian and the recipient of their own key. Once for each.
    #[arg(long, value_name = "NAME=RECIPIENT", required = true, value_parser = custodian)]
    custodian: Vec<(CustodianName, String)>,
    /// How many custodians it takes.
    #[arg(long, value_name = "M")]
    threshold: u8,
}

impl CustodyArgs {
    pub(super) fn custody(&self) -> anyhow::Result<Custody> {
        let custody = Custody { threshold: self.threshold, custodians: self.custodian.clone() };
        custody.check()?;
        Ok(custody)
    }
}

pub(super) fn custodian(text: &str) -> Result<(CustodianName, String), String> {
    let (name, recipient) = text.split_once('=').ok_or("write NAME=RECIPIENT")?;
    Ok((
        name.parse().map_err(|fault: crate::archive::custody::CustodyError| fault.to_string())?,
        recipient.into(),
    ))
}

/// What to think about, where custody is thin.
pub(super) fn warnings(custody: &Custody) -> Vec<&'static str> {
    let mut said = Vec::new();
    if custody.threshold == 1 {
        said.push("each custodian alone can unlock: take --threshold 2 or more");
    }
    if usize::from(custody.threshold) == custody.custodians.len() {
        said.push(
            "a custodian's key that is lost is all recordings lost: take one custodian more than it takes",
        );
    }
    said
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let custody = args.custody.custody()?;
    let store = if args.store.is_absolute() { args.store.clone() } else { args.home.join(&args.store) };
    std::fs::create_dir_all(&store).with_context(|| format!("making folder `{}`", store.display()))?;
    let absolute = |path: &PathBuf| {
        std::path::absolute(path).with_context(|| format!("finding the folder `{}`", path.display()))
    };
    let key_places = args.key_place.iter().map(absolute).collect::<Result<Vec<_>, _>>()?;
    let kind = if args.pq { KeyKind::Hybrid } else { KeyKind::X25519 };
    let new = NewVault {
        name: args.name.clone(),
        store: absolute(&store)?,
        key_places,
        kind,
        custody: custody.clone(),
    };
    let vault = Vault::create(&args.home, &new)?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "Vault {} in {}", vault.config.vault.name, args.home.display())?;
    writeln!(out, "Log key: {}", vault.key)?;
    writeln!(out, "Root key: {}", vault.keys.scheme()?.root)?;
    writeln!(out, "Custody: {} of {}", custody.threshold, custody.custodians.len())?;
    for warning in warnings(&custody).into_iter().chain(place_warning(args)) {
        writeln!(out, "Warning: {warning}")?;
    }
    writeln!(
        out,
        "Next: name the retention classes in vault.toml, then `sejf vault unlock` makes their keys"
    )?;
    Ok(ExitCode::SUCCESS)
}

fn place_warning(args: &Args) -> Option<&'static str> {
    let said = "the keys are in one place only: name another under `key_places` in vault.toml";
    args.key_place.is_empty().then_some(said)
}
