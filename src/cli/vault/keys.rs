//! `sejf vault keys`: epochs, custodians, drills.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;

use crate::archive::access::{Action, Request};
use crate::archive::custody::{CustodianName, Custody};
use crate::archive::entry::{Outcome, Resource};
use crate::archive::epoch::{Epoch, Month};
use crate::cli::vault::{CustodianArgs, HomeArg, init, leak};
use crate::shell::clock;
use crate::shell::keys::KeyKind;
use crate::shell::vault::hsm::{HsmIdentity, KeyUri};
use crate::shell::vault::keyfault::KeyFault;
use crate::shell::vault::plugin;

/// The vault's keys: epochs, custodians, drills.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Opens every epoch and every envelope in every key place, and mends what is damaged in one of them.
    Check(Unlocked),
    /// Tries which custodians' shares these keys open, and writes it into the log.
    Drill(Unlocked),
    /// Lists the epochs: retention class, month, recipient.
    Epochs(HomeArg),
    Hsm(HsmArgs),
    /// Prints the identity with which the `age` command opens archived files through the vault.
    Identity(HomeArg),
    Leak(leak::Args),
    /// Prints the recipients of a month, as `[recipients]` of a recorder's configuration takes them.
    Recipients(RecipientsArgs),
    Repair(RepairArgs),
    Rotate(RotateArgs),
}

#[derive(Debug, clap::Args)]
struct Unlocked {
    #[command(flatten)]
    home: HomeArg,
    #[command(flatten)]
    custodians: CustodianArgs,
}

/// A custodian's key in hardware (PKCS#11, P-256): prints the recipient for `--custodian NAME=…`. The URI in a file is
/// the custodian's identity.
#[derive(Debug, clap::Args)]
struct HsmArgs {
    /// pkcs11:token=LABEL;object=LABEL?module-path=FILE&pin-source=FILE (RFC 7512).
    #[arg(value_name = "URI")]
    uri: String,
    /// Make the key in the token, which it never leaves.
    #[arg(long)]
    make: bool,
}

#[derive(Debug, clap::Args)]
struct RecipientsArgs {
    #[command(flatten)]
    home: HomeArg,
    /// The month, as 2026-11; this month where it is not said.
    #[arg(long, value_name = "MONTH")]
    month: Option<Month>,
}

/// Finishes what was interrupted and brings all key places to the same.
#[derive(Debug, clap::Args)]
struct RepairArgs {
    #[command(flatten)]
    home: HomeArg,
    /// A key place that is new, or whose disk was lost: it gets all keys.
    #[arg(long, value_name = "DIR")]
    begin: Vec<PathBuf>,
    /// Identity file of a custodian, once for each who is here: also put right the recipients that recorders get,
    /// where somebody has changed them.
    #[arg(long, short, value_name = "FILE")]
    identity: Vec<PathBuf>,
}

/// Makes another root key: a custodian leaves or joins. The shares of before open nothing any more.
#[derive(Debug, clap::Args)]
struct RotateArgs {
    #[command(flatten)]
    home: HomeArg,
    #[command(flatten)]
    custodians: CustodianArgs,
    /// A custodian who joins, or has another key, with their recipient.
    #[arg(long, value_name = "NAME=RECIPIENT", value_parser = init::custodian)]
    add: Vec<(CustodianName, String)>,
    /// A custodian who leaves.
    #[arg(long, value_name = "NAME")]
    remove: Vec<CustodianName>,
    /// How many custodians it takes; as before where it is not said.
    #[arg(long, value_name = "M")]
    threshold: Option<u8>,
    /// Post-quantum hybrid keys, for this root key and for epochs made from now on.
    #[arg(long)]
    pq: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.command {
        Command::Check(args) => check(args),
        Command::Drill(args) => drill(args),
        Command::Epochs(home) => epochs(home),
        Command::Hsm(args) => hsm(args),
        Command::Identity(home) => identity(home),
        Command::Leak(args) => leak::run(args),
        Command::Recipients(args) => recipients(args),
        Command::Repair(args) => repair(args),
        Command::Rotate(args) => rotate(args),
    }
}

fn check(args: &Unlocked) -> anyhow::Result<ExitCode> {
    let vault = args.home.open()?;
    let ring = args.custodians.unlock(&vault)?;
    let checked = ring.check()?;
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "{} epochs and {} envelopes open; {} files mended, {} lost",
        checked.epochs,
        checked.envelopes,
        checked.mended,
        checked.lost.len()
    )?;
    for lost in &checked.lost {
        writeln!(out, "Lost: {lost}")?;
    }
    Ok(if checked.lost.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn drill(args: &Unlocked) -> anyhow::Result<ExitCode> {
    let vault = args.home.open()?;
    let opened = vault.drill(&args.custodians.load()?)?;
    let scheme = vault.keys.scheme()?;
    let mut out = std::io::stdout().lock();
    for name in &opened {
        writeln!(out, "{name}: the share opens")?;
    }
    for shown in vault.drills(&scheme, clock::now())?.iter().filter(|shown| shown.is_overdue) {
        writeln!(out, "{}: overdue", shown.custodian)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn epochs(home: &HomeArg) -> anyhow::Result<ExitCode> {
    let vault = home.open()?;
    let mut out = std::io::stdout().lock();
    for state in vault.keys.epochs()? {
        writeln!(out, "{}  {}", state.epoch, state.recipient.as_deref().unwrap_or("destroyed"))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn hsm(args: &HsmArgs) -> anyhow::Result<ExitCode> {
    let uri = KeyUri::parse(&args.uri)?;
    let key = if args.make { HsmIdentity::generate(&uri)? } else { HsmIdentity::open(&uri)? };
    let mut out = std::io::stdout().lock();
    writeln!(out, "# recipient: {}", key.recipient())?;
    writeln!(out, "{}", args.uri.trim())?;
    Ok(ExitCode::SUCCESS)
}

fn identity(home: &HomeArg) -> anyhow::Result<ExitCode> {
    let vault = home.open()?;
    let path = std::path::absolute(&vault.home).context("finding the vault's folder")?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "# vault {} in {}", vault.config.vault.name, path.display())?;
    writeln!(out, "# `age` needs the program {}: a link of that name to sejf, in PATH", plugin::PROGRAM)?;
    writeln!(out, "{}", plugin::identity(&path))?;
    Ok(ExitCode::SUCCESS)
}

fn recipients(args: &RecipientsArgs) -> anyhow::Result<ExitCode> {
    let vault = args.home.open()?;
    let month = args.month.unwrap_or_else(|| Month::of(clock::now()));
    let mut out = std::io::stdout().lock();
    writeln!(out, "# Epochs of {month}, vault {}", vault.config.vault.name)?;
    writeln!(out, "[recipients]")?;
    for class in vault.classes() {
        match vault.keys.recipient(&Epoch { month, class: class.clone() }) {
            Ok(recipient) => writeln!(out, "{class} = \"{recipient}\"")?,
            Err(fault @ (KeyFault::Destroyed(_) | KeyFault::NoEpoch(_))) => {
                writeln!(out, "# {class}: {fault}")?;
            }
            Err(fault) => return Err(fault.into()),
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn repair(args: &RepairArgs) -> anyhow::Result<ExitCode> {
    let mut vault = args.home.open()?;
    for place in &args.begin {
        let place = std::path::absolute(place).context("finding the key place")?;
        anyhow::ensure!(
            vault.config.vault.key_places.contains(&place),
            "`{}` is not in `key_places` of vault.toml: add it there first",
            place.display()
        );
        vault.keys.begin_place(&place, &vault.key.to_string())?;
        vault = args.home.open()?;
    }
    let done = vault.keys.repair()?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{} files copied, {} shredded", done.copied, done.shredded)?;
    if !args.identity.is_empty() {
        let custodians = CustodianArgs { identity: args.identity.clone(), passphrase_file: Vec::new() };
        // Not through the vault: that makes keys, and does not where a recipient is wrong.
        let ring = vault.keys.unlock(&custodians.load()?)?;
        for epoch in ring.mend_recipients()? {
            writeln!(
                out,
                "The recipient of {epoch} is put right: recorders that have the other must get this one"
            )?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn rotate(args: &RotateArgs) -> anyhow::Result<ExitCode> {
    let vault = args.home.open()?;
    let scheme = vault.keys.scheme()?;
    let mut custody = scheme.custody();
    for name in &args.remove {
        anyhow::ensure!(scheme.holder(name).is_some(), "`{name}` is no custodian");
    }
    let leaves =
        |name: &CustodianName| args.remove.contains(name) || args.add.iter().any(|(new, _)| new == name);
    custody.custodians.retain(|(name, _)| !leaves(name));
    custody.custodians.extend(args.add.iter().cloned());
    custody.threshold = args.threshold.unwrap_or(custody.threshold);
    custody.check()?;
    let kind = if args.pq || scheme.root.starts_with("age1pq1") { KeyKind::Hybrid } else { KeyKind::X25519 };
    let ring = args.custodians.unlock(&vault)?;
    let (actor, now) = (vault.actor_of(&ring), clock::now());
    let (action, resource) = (Action::Rewrap, Resource::Vault);
    let grant = vault.log.ask(&Request { actor: &actor, action, resource, reason: None, now })?;
    let rotated = ring.rotate(&grant, kind, &custody);
    let outcome = match &rotated {
        Ok(_) => Outcome::Done(details(&vault.keys.scheme()?.root, &custody)),
        Err(fault) => Outcome::Failed(fault.to_string()),
    };
    vault.log.outcome(&grant, outcome)?;
    rotated?;
    let mut out = std::io::stdout().lock();
    let scheme = vault.keys.scheme()?;
    writeln!(
        out,
        "Root key {}: {} of {} custodians",
        scheme.generation,
        scheme.threshold,
        scheme.holders.len()
    )?;
    for warning in init::warnings(&custody) {
        writeln!(out, "Warning: {warning}")?;
    }
    Ok(ExitCode::SUCCESS)
}

fn details(root: &str, custody: &Custody) -> serde_json::Value {
    let custodians: Vec<_> = custody.custodians.iter().map(|(name, _)| name.as_str()).collect();
    serde_json::json!({ "root": root, "threshold": custody.threshold, "custodians": custodians })
}
