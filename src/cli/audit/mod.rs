//! `sejf audit`: the vault's log, for who checks it. One file a subcommand.

mod checkpoint;
mod export;
mod search;
mod verify;
mod witness;

use std::process::ExitCode;

use crate::archive::access::{Action, Grant, Reason, Request};
use crate::archive::entry::{Outcome, Resource};
use crate::archive::log_query::{Query, Went, action};
use crate::archive::record::RecordingId;
use crate::base::time::Stamp;
use crate::cli::scope::time;
use crate::shell::clock;
use crate::shell::vault::home::Vault;

/// The vault's log: who did what, when and why; and that it is whole. A recorder's own log is read by `sejf log`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Checkpoint(checkpoint::Args),
    Export(export::Args),
    Search(search::Args),
    Verify(verify::Args),
    Witness(witness::Args),
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.command {
        Command::Checkpoint(args) => checkpoint::run(args),
        Command::Export(args) => export::run(args),
        Command::Search(args) => search::run(args),
        Command::Verify(args) => verify::run(args),
        Command::Witness(args) => witness::run(args),
    }
}

/// Which entries.
#[derive(Debug, clap::Args)]
struct QueryArgs {
    /// Of whom: `user:rita`, `local:root`, or just `rita`.
    #[arg(long, value_name = "NAME")]
    actor: Option<String>,
    /// What was done, as the log has it: open, export, read-log.
    #[arg(long, value_name = "ACTION", value_parser = of_action)]
    action: Option<Action>,
    /// On which recording.
    #[arg(long, value_name = "ID")]
    recording: Option<RecordingId>,
    /// How it went: granted, refused, done, failed.
    #[arg(long, value_name = "OUTCOME")]
    outcome: Option<Went>,
    /// From then on: `2026-11-23` or `2026-11-23T21:08:41Z`.
    #[arg(long, value_name = "TIME", value_parser = time)]
    from: Option<Stamp>,
    /// Before.
    #[arg(long, value_name = "TIME", value_parser = time)]
    to: Option<Stamp>,
}

fn of_action(text: &str) -> Result<Action, String> {
    action(text).map_err(|fault| fault.to_string())
}

impl QueryArgs {
    fn query(&self) -> Query {
        let Self { actor, action, recording, outcome, from, to } = self;
        Query {
            actor: actor.clone(),
            action: *action,
            recording: *recording,
            outcome: *outcome,
            from: *from,
            to: *to,
        }
    }
}

/// That the log is read is in the log first.
fn granted(vault: &Vault, reason: Option<Reason>) -> anyhow::Result<Grant> {
    let (actor, action, resource, now) = (vault.actor(&[]), Action::ReadLog, Resource::Vault, clock::now());
    Ok(vault.log.ask(&Request { actor: &actor, action, resource, reason, now })?)
}

/// And what came of it.
fn came(vault: &Vault, grant: &Grant, details: serde_json::Value) -> anyhow::Result<()> {
    vault.log.outcome(grant, Outcome::Done(details))?;
    Ok(())
}
