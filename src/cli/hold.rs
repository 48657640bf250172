//! `sejf hold`: what is kept from destruction.

use std::io::Write;
use std::process::ExitCode;

use crate::archive::hold::HoldName;
use crate::cli::archive::SpeakArgs;
use crate::cli::scope::{ScopeArgs, block_on, covered, second, words};
use crate::cli::text::{clean, columns, json};
use crate::cli::vault::{HomeArg, ReasonArgs};
use crate::shell::vault::matters::{Matters, Speaker, known_scope};

/// Legal holds: what one covers is not destroyed, whatever else is said.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Add(AddArgs),
    List(ListArgs),
    Release(ReleaseArgs),
}

/// Lays a hold on recordings; those that come later and fit as well. Needs no key: whoever may, may at once.
#[derive(Debug, clap::Args)]
struct AddArgs {
    #[command(flatten)]
    home: HomeArg,
    /// Its name, as the court's file number.
    #[arg(value_name = "NAME")]
    name: HoldName,
    #[command(flatten)]
    scope: ScopeArgs,
    /// Every recording that there is and will be.
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    reason: ReasonArgs,
}

/// Lets a hold go. Takes a custodian's key.
#[derive(Debug, clap::Args)]
struct ReleaseArgs {
    #[command(flatten)]
    speak: SpeakArgs,
    /// Its name.
    #[arg(value_name = "NAME")]
    name: HoldName,
}

/// Lists holds, those that were let go included.
#[derive(Debug, clap::Args)]
struct ListArgs {
    #[command(flatten)]
    home: HomeArg,
    /// Print an object a line.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.command {
        Command::Add(args) => add(args),
        Command::List(args) => list(args),
        Command::Release(args) => release(args),
    }
}

fn add(args: &AddArgs) -> anyhow::Result<ExitCode> {
    let vault = args.home.open()?;
    let scope = args.scope.load()?;
    anyhow::ensure!(
        args.all == scope.is_all(),
        "say which recordings, or --all: --recording, --recordings-file, --class, --recorder, --from, --to"
    );
    let speaker = Speaker::here(&vault, Vec::new(), args.reason.load(&vault)?);
    let (scope, count) = block_on(async {
        let catalog = vault.catalog().await?;
        let scope = known_scope(&vault, &catalog, scope).await?;
        speaker.hold(&vault, &catalog, &args.name, &scope).await?;
        let count = catalog.count_covered(&scope).await?;
        Ok((scope, count))
    })?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "Hold {}: kept is {}; {}.", args.name, clean(&words(&scope)), covered(count))?;
    Ok(ExitCode::SUCCESS)
}

fn release(args: &ReleaseArgs) -> anyhow::Result<ExitCode> {
    let (vault, speaker) = args.speak.speaker()?;
    block_on(async {
        let catalog = vault.catalog().await?;
        Ok(speaker.release(&vault, &catalog, &args.name).await?)
    })?;
    writeln!(std::io::stdout(), "Hold {} is let go.", args.name)?;
    Ok(ExitCode::SUCCESS)
}

fn list(args: &ListArgs) -> anyhow::Result<ExitCode> {
    let vault = args.home.open()?;
    let matters = block_on(async {
        let catalog = vault.catalog().await?;
        Ok(Matters::load(&vault, &catalog).await?)
    })?;
    let mut out = std::io::stdout().lock();
    if args.json {
        for hold in &matters.holds {
            writeln!(out, "{}", json(hold)?)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let mut rows = vec![["NAME", "SINCE", "RELEASED", "BY", "WHAT"].map(str::to_owned).to_vec()];
    rows.extend(matters.holds.iter().map(|hold| {
        let released = hold.released.map_or_else(|| "-".into(), second);
        let what = clean(&words(&hold.scope));
        vec![hold.name.to_string(), second(hold.at), released, clean(&hold.by), what]
    }));
    write!(out, "{}", columns(&rows))?;
    Ok(ExitCode::SUCCESS)
}
