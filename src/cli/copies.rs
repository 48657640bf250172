//! `sejf copies`: how many there are, and making what is missing.

use std::io::Write;
use std::process::ExitCode;

use crate::archive::copies::CopyState;
use crate::cli::archive::with_places;
use crate::cli::text;
use crate::cli::vault::HomeArg;
use crate::shell::vault::catalog::copies::Standing;
use crate::shell::vault::copies::Report;

/// Copies of recordings: whether there are as many as their classes ask for, and making those that are missing.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Run(RunArgs),
    Status(StatusArgs),
}

/// Makes copies that are missing, and reads each back. Killed, it goes on where it was. Exit code 1 where something
/// failed or is lost.
#[derive(Debug, clap::Args)]
struct RunArgs {
    #[command(flatten)]
    home: HomeArg,
    /// Also look at recordings that lacked only what we cannot do: after a place or a medium came.
    #[arg(long)]
    short: bool,
    /// Look at all recordings: after a class or a place was changed.
    #[arg(long)]
    all: bool,
    /// Say what would be done for the first recordings that are due, and do nothing.
    #[arg(long)]
    dry_run: bool,
}

/// Says how many recordings have the copies that their classes ask for, and what is in each place. Exit code 1 where
/// some have not.
#[derive(Debug, clap::Args)]
struct StatusArgs {
    #[command(flatten)]
    home: HomeArg,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.command {
        Command::Run(args) => make(args),
        Command::Status(args) => status(args),
    }
}

fn make(args: &RunArgs) -> anyhow::Result<ExitCode> {
    with_places(&args.home, async |_, copier| {
        let mut out = std::io::stdout().lock();
        if args.dry_run {
            let plan = copier.planned(DRY_RUN_MAX).await?;
            for copy in &plan.copies {
                let said = format!("{}: to {}: {}", copy.id(), copy.to(), copy.why());
                writeln!(out, "{}", text::clean_line(&said))?;
            }
            for (id, missing) in &plan.short {
                writeln!(out, "{id}: then still only {missing}")?;
            }
            for id in &plan.lost {
                writeln!(out, "{id}: no good copy is known")?;
            }
            return Ok(ExitCode::SUCCESS);
        }
        if args.short || args.all {
            copier.look_at_all(args.all).await?;
        }
        let report = copier.run(&|| false).await?;
        write_report(&mut out, &report)?;
        for (name, error) in &copier.absent {
            writeln!(out, "{}", text::clean_line(&format!("{name} is not there: {error}")))?;
        }
        let is_well = report.failed == 0 && report.lost.is_empty() && copier.absent.is_empty();
        Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::from(1) })
    })
}

pub(super) fn write_report(out: &mut impl Write, report: &Report) -> std::io::Result<()> {
    let Report { recordings, made, mended, met, short, failed, .. } = report;
    writeln!(out, "{recordings} recordings looked at: {made} copies made, {mended} mended, {failed} failed")?;
    writeln!(out, "{met} have all their classes ask for, {short} lack what cannot be made from here")?;
    for failure in &report.failures {
        writeln!(out, "failed: {}", text::clean_line(failure))?;
    }
    for id in &report.lost {
        writeln!(out, "no good copy is known: {id}")?;
    }
    Ok(())
}

fn status(args: &StatusArgs) -> anyhow::Result<ExitCode> {
    with_places(&args.home, async |_, copier| {
        let (standing, places) = copier.counts().await?;
        let count = |which: Standing| standing.get(&which).copied().unwrap_or_default();
        let mut out = std::io::stdout().lock();
        if args.json {
            let places: Vec<_> = places
                .iter()
                .map(|place| {
                    serde_json::json!({ "place": place.place, "state": place.state.as_str(),
                        "count": place.count, "oldest_check": place.oldest })
                })
                .collect();
            let said = serde_json::json!({ "met": count(Standing::Met), "short": count(Standing::Short),
                "due": count(Standing::Due), "places": places,
                "absent": copier.absent.iter().map(|(name, _)| name).collect::<Vec<_>>() });
            writeln!(out, "{}", text::json(&said)?)?;
        } else {
            let [met, short, due] = [Standing::Met, Standing::Short, Standing::Due].map(count);
            writeln!(out, "{met} recordings have all copies that their classes ask for")?;
            writeln!(out, "{short} lack what cannot be made from here: media, or places")?;
            writeln!(out, "{due} are to be looked at: `sejf copies run`")?;
            let mut rows = vec![["PLACE", "COPIES", "COUNT", "ALL READ SINCE"].map(str::to_owned).to_vec()];
            for place in &places {
                let state = place.state.as_str().to_owned();
                rows.push(vec![
                    place.place.clone(),
                    state,
                    place.count.to_string(),
                    place.oldest.to_string(),
                ]);
            }
            write!(out, "{}", text::clean(&text::columns(&rows)))?;
            for (name, error) in &copier.absent {
                writeln!(out, "{}", text::clean_line(&format!("{name} is not there: {error}")))?;
            }
        }
        let is_whole = places.iter().all(|place| place.state == CopyState::Good);
        let is_well =
            is_whole && count(Standing::Short) + count(Standing::Due) == 0 && copier.absent.is_empty();
        Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::from(1) })
    })
}

const DRY_RUN_MAX: u32 = 1_000;
