//! `sejf vault running`: asks a vault that runs.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;

use crate::archive::duties::Standing;
use crate::cli::text::{clean, grouped, json};
use crate::cli::vault::{HomeArg, duties};
use crate::shell::vault::intake::serve::{self, Answer, Ask};

/// Asks a vault that runs: see `sejf vault serve`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Lock(LockArgs),
    Status(StatusArgs),
    Unlock(UnlockArgs),
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.command {
        Command::Lock(args) => lock(args),
        Command::Status(args) => status(args),
        Command::Unlock(args) => unlock(args),
    }
}

/// Gives a vault that runs the keys of custodians; it forgets them when it is locked, or ends.
#[derive(Debug, clap::Args)]
struct UnlockArgs {
    #[command(flatten)]
    home: HomeArg,
    /// Identity file of a custodian, as many as it takes. May be given several times.
    #[arg(long, short, value_name = "FILE", required = true)]
    identity: Vec<PathBuf>,
}

/// Has a vault that runs forget its keys. It goes on taking in.
#[derive(Debug, clap::Args)]
struct LockArgs {
    #[command(flatten)]
    home: HomeArg,
}

/// Says how a vault that runs is, and how what it does by itself stands.
///
/// Exit code: 0 all well, 1 a duty is late or has found something (lines with `!` say what).
#[derive(Debug, clap::Args)]
struct StatusArgs {
    #[command(flatten)]
    home: HomeArg,
    /// Print one JSON value.
    #[arg(long)]
    json: bool,
}

fn unlock(args: &UnlockArgs) -> anyhow::Result<ExitCode> {
    let read = |path: &PathBuf| {
        std::fs::read_to_string(path).with_context(|| format!("reading identity file `{}`", path.display()))
    };
    let identities = args.identity.iter().map(read).collect::<anyhow::Result<_>>()?;
    ask(&args.home, &Ask::Unlock { identities })?;
    Ok(ExitCode::SUCCESS)
}

fn lock(args: &LockArgs) -> anyhow::Result<ExitCode> {
    ask(&args.home, &Ask::Lock {})?;
    Ok(ExitCode::SUCCESS)
}

fn status(args: &StatusArgs) -> anyhow::Result<ExitCode> {
    let status = ask(&args.home, &Ask::Status {})?.status.context("the vault did not say how it is")?;
    let is_well = status.duties_fault.is_none() && !status.duties.iter().any(Standing::is_wrong);
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", json(&status)?)?;
        return Ok(ExitCode::from(u8::from(!is_well)));
    }
    writeln!(out, "{}", if status.locked { "locked" } else { "unlocked" })?;
    if let Some(address) = status.listening {
        writeln!(out, "recorders reach it at {address}")?;
    }
    writeln!(
        out,
        "{} archived and {} staged since it started; {} waited for, {} refused; {} connections refused",
        grouped(status.archived),
        grouped(status.staged),
        grouped(status.waiting),
        grouped(status.refused),
        grouped(status.refused_connections)
    )?;
    if let Some(fault) = status.fault {
        writeln!(out, "last fault: {}", clean(&fault))?;
    }
    write!(out, "{}", clean(&duties::text(&status.duties)))?;
    if let Some(fault) = status.duties_fault {
        writeln!(out, "! {}", clean(&fault))?;
    }
    Ok(ExitCode::from(u8::from(!is_well)))
}

fn ask(home: &HomeArg, ask: &Ask) -> anyhow::Result<Answer> {
    let answer = serve::ask(&home.home, ask).with_context(|| {
        format!("asking the vault of `{}`: does `sejf vault serve` run?", home.home.display())
    })?;
    anyhow::ensure!(answer.ok, "the vault refuses: {}", answer.error.unwrap_or_default());
    Ok(answer)
}
