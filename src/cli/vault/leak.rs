//! `sejf vault keys leak`: what a key that others have does open, and what to do.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;

use crate::archive::access::Grant;
use crate::archive::custody::{CustodianName, Scheme};
use crate::archive::epoch::Epoch;
use crate::cli::text::clean_line;
use crate::cli::vault::{CustodianArgs, HomeArg, ReasonArgs};
use crate::shell::vault::home::Vault;
use crate::shell::vault::keyring::KeyRing;
use crate::shell::vault::rewrap::{self, Renewal};

/// Says what a leaked key opens; with --rewrap, sees to it that it opens nothing any more.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    home: HomeArg,
    /// Whose key leaked: an epoch (CLASS/2026-11), or custodians.
    #[arg(value_name = "EPOCH|CUSTODIAN", required = true)]
    leaked: Vec<String>,
    #[command(flatten)]
    custodians: CustodianArgs,
    /// List the recordings' ids.
    #[arg(long)]
    list: bool,
    /// Of an epoch: make it another key, and put its recordings under new envelopes in all places.
    #[arg(long)]
    rewrap: bool,
    /// Go on with a re-wrap that was interrupted, or has left something: no other key is made. Not where the key that
    /// the epoch has got has leaked as well.
    #[arg(long, requires = "rewrap")]
    go_on: bool,
    #[command(flatten)]
    reason: ReasonArgs,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let vault = args.home.open()?;
    let scheme = vault.keys.scheme()?;
    let mut epochs: Vec<Epoch> = Vec::new();
    let mut custodians: Vec<CustodianName> = Vec::new();
    for leaked in &args.leaked {
        if leaked.contains('/') {
            epochs.push(leaked.parse()?);
        } else {
            let name: CustodianName = leaked.parse()?;
            anyhow::ensure!(scheme.holder(&name).is_some(), "`{name}` is no custodian");
            custodians.push(name);
        }
    }
    anyhow::ensure!(
        !args.rewrap || custodians.is_empty(),
        "--rewrap is of epochs. A custodian's key that leaked: `sejf vault keys rotate --add {}=RECIPIENT` with \
         their new key; where as many leaked as it takes, then also --rewrap each epoch",
        custodians.first().map_or("NAME", CustodianName::as_str)
    );
    custodians.dedup();
    if !custodians.is_empty() {
        let is_all = told(&scheme, &custodians)?;
        if is_all {
            let live = vault.keys.epochs()?.into_iter().filter(|state| state.recipient.is_some());
            epochs.extend(live.map(|state| state.epoch));
        }
    }
    if epochs.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    exposed(args, &vault, &epochs)
}

/// Says what custodians' keys open. True where they open everything.
fn told(scheme: &Scheme, custodians: &[CustodianName]) -> anyhow::Result<bool> {
    let mut out = std::io::stdout().lock();
    let is_all = custodians.len() >= usize::from(scheme.threshold);
    if is_all {
        writeln!(
            out,
            "{} keys are as many as it takes: whoever has the key places too opens everything",
            custodians.len()
        )?;
    } else {
        writeln!(
            out,
            "{} of the {} keys that it takes: they open nothing. `sejf vault keys rotate` before another leaks",
            custodians.len(),
            scheme.threshold
        )?;
    }
    Ok(is_all)
}

fn exposed(args: &Args, vault: &Vault, epochs: &[Epoch]) -> anyhow::Result<ExitCode> {
    let ring = args.custodians.unlock(vault)?;
    let reason = args.reason.load(vault)?;
    let mut grants = Vec::new();
    if args.rewrap {
        for epoch in epochs {
            grants.push(rewrap::ask(vault, &ring, epoch, reason.clone())?);
        }
    }
    let mut out = std::io::stdout().lock();
    for epoch in epochs {
        let ids = ring.recordings(epoch)?;
        writeln!(out, "{epoch}: its key and the key places open {} recordings", ids.len())?;
        if args.list {
            ids.iter().try_for_each(|id| writeln!(out, "{id}"))?;
        }
    }
    let mut is_done = true;
    for (epoch, grant) in epochs.iter().zip(&grants) {
        is_done &= renew(args, vault, &ring, grant, epoch)?;
    }
    if !is_done {
        writeln!(out, "Go on with --rewrap --go-on: without, there is yet another key")?;
    }
    Ok(if is_done { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// Whether nothing of the epoch is left under what leaked.
fn renew(args: &Args, vault: &Vault, ring: &KeyRing, grant: &Grant, epoch: &Epoch) -> anyhow::Result<bool> {
    let before = ring.epoch(epoch)?.recipient.clone();
    let renewal = if args.go_on { Renewal::GoOn } else { Renewal::Anew };
    let done = rewrap::epoch(vault, ring, grant, epoch, renewal)
        .with_context(|| format!("{epoch} is not finished: go on with --rewrap --go-on"))?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{epoch}: {} recordings are under new envelopes", done.renewed)?;
    let recipient = &ring.epoch(epoch)?.recipient;
    if *recipient != before {
        writeln!(out, "Recorders must get its new recipient: {recipient}")?;
    }
    if done.unknown > 0 {
        writeln!(
            out,
            "{} envelopes are of no recording that the catalog knows: just being taken in, or the catalog is \
             incomplete; go on later",
            done.unknown
        )?;
    }
    for (id, label) in &done.media {
        let said =
            format!("Medium {id} ({label}) opens nothing of them any more: write another, and destroy it");
        writeln!(out, "{}", clean_line(&said))?;
    }
    for fault in &done.faults {
        writeln!(out, "Not yet: {fault}")?;
    }
    Ok(done.faults.is_empty() && done.unknown == 0)
}
