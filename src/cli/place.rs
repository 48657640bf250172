//! `sejf place`: where copies are.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;

use crate::archive::copies::Worm;
use crate::cli::archive::with_places;
use crate::cli::text;
use crate::cli::vault::HomeArg;
use crate::shell::vault::copies::worm_text;

/// Places where copies are: list them, and try whether they keep what was written once.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Begin(BeginArgs),
    List(ListArgs),
    Test(TestArgs),
}

/// Marks a folder as a place of this vault. Not needed for one that is only just named in vault.toml, which is begun
/// when it is first used: only where the disk of a place was lost, and an empty one is mounted there.
#[derive(Debug, clap::Args)]
struct BeginArgs {
    #[command(flatten)]
    home: HomeArg,
    /// Its name in vault.toml.
    #[arg(value_name = "NAME")]
    place: String,
}

/// Lists places, and what the last self-test showed.
#[derive(Debug, clap::Args)]
struct ListArgs {
    #[command(flatten)]
    home: HomeArg,
}

/// Locks a canary in each place, and tries to delete, shorten and overwrite it with the vault's own credentials. Exit
/// code 1 where a place could not be tried. Run it at set-up and daily: a yes is good for two days.
#[derive(Debug, clap::Args)]
struct TestArgs {
    #[command(flatten)]
    home: HomeArg,
    /// Only this place. May be given several times.
    #[arg(long, value_name = "NAME")]
    place: Vec<String>,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.command {
        Command::Begin(args) => begin(args),
        Command::List(args) => list(args),
        Command::Test(args) => test(args),
    }
}

fn begin(args: &BeginArgs) -> anyhow::Result<ExitCode> {
    let vault = args.home.open()?;
    let config = vault.config.places.iter().find(|place| place.name == args.place);
    let config = config.with_context(|| format!("`{}` is no place of vault.toml", args.place))?;
    vault.begin_place(config)?;
    writeln!(
        std::io::stdout(),
        "Begun: `sejf copies run` and `sejf scrub --days 0` fill it with what it should have"
    )?;
    Ok(ExitCode::SUCCESS)
}

fn list(args: &ListArgs) -> anyhow::Result<ExitCode> {
    with_places(&args.home, async |_, copier| {
        let mut rows = vec![["PLACE", "SITE", "REACHED", "SELF-TEST", "WHEN"].map(str::to_owned).to_vec()];
        for place in copier.facts().await? {
            let reached = match (place.offline, place.takes) {
                (true, _) => "offline",
                (false, true) => "yes",
                (false, false) => "no",
            };
            let when = place.worm_tested.map(|at| at.to_string()).unwrap_or_default();
            rows.push(vec![place.name, place.site, reached.into(), worm_text(&place.worm), when]);
        }
        let mut out = std::io::stdout().lock();
        write!(out, "{}", text::clean(&text::columns(&rows)))?;
        for (name, error) in &copier.absent {
            writeln!(out, "{}", text::clean_line(&format!("{name} is not there: {error}")))?;
        }
        Ok(if copier.absent.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) })
    })
}

fn test(args: &TestArgs) -> anyhow::Result<ExitCode> {
    with_places(&args.home, async |vault, copier| {
        let known = |name: &String| vault.config.places.iter().any(|place| place.name == *name);
        if let Some(unknown) = args.place.iter().find(|name| !known(name)) {
            anyhow::bail!("`{unknown}` is no place of vault.toml");
        }
        let mut out = std::io::stdout().lock();
        let mut code = ExitCode::SUCCESS;
        for tested in copier.test_worm(&args.place).await? {
            let said = match &tested.outcome {
                Ok(worm @ (Worm::Passed | Worm::Failed(_) | Worm::Untested)) => worm_text(worm),
                Err(error) => {
                    code = ExitCode::from(1);
                    format!("not tried: {error}")
                }
            };
            writeln!(out, "{}", text::clean_line(&format!("{}: {said}", tested.place)))?;
        }
        for (name, error) in &copier.absent {
            code = ExitCode::from(1);
            writeln!(out, "{}", text::clean_line(&format!("{name} is not there: {error}")))?;
        }
        Ok(code)
    })
}
