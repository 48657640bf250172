//! `sejf destroy`: destruction that is due, asked for and agreed to.

use std::io::Write;
use std::process::ExitCode;

use crate::archive::clock::ClockTrust;
use crate::archive::request::{Request, What};
use crate::archive::retention::Kept;
use crate::base::time::Stamp;
use crate::cli::archive::{NumberArgs, SpeakArgs};
use crate::cli::scope::{ScopeArgs, block_on, covered, second, time, words};
use crate::cli::text::{clean, columns, grouped, json};
use crate::cli::vault::{CustodianArgs, HomeArg};
use crate::shell::clock;
use crate::shell::signals::Stop;
use crate::shell::vault::destroy::{CERTIFICATES, Destroyer, Done, preview};
use crate::shell::vault::matters::{
    Matters, MattersError, catch_up, clock_trust, known_scope, look_at_clock,
};

/// Destroys recordings: when their time is over, one custodian has asked, and another has agreed or the cooling-off
/// time is over. A hold beats everything.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Agrees to what another custodian has asked for.
    Approve(NumberArgs),
    Ask(AskArgs),
    /// Says that the clock is right, where destruction has stopped because it is not trusted. Takes the keys of as
    /// many custodians as unlocking does.
    Clock(SpeakArgs),
    List(ListArgs),
    Plan(PlanArgs),
    Run(RunArgs),
    /// Takes a request back. Takes a custodian's key.
    Withdraw(NumberArgs),
}

/// Asks for destruction. Takes the key of the custodian who asks.
#[derive(Debug, clap::Args)]
struct AskArgs {
    #[command(flatten)]
    speak: SpeakArgs,
    #[command(flatten)]
    scope: ScopeArgs,
    /// Not only what is due: whatever need not be kept any longer.
    #[arg(long, conflicts_with = "erasure")]
    unneeded: bool,
    /// The person whose data it is has asked (GDPR article 17): before the minimum is over where the class lets it.
    #[arg(long)]
    erasure: bool,
    /// Only what may go by this time; now, where it is not said.
    #[arg(long, value_name = "TIME", value_parser = time, conflicts_with = "standing")]
    due_by: Option<Stamp>,
    /// Also what comes to it later, until the request is withdrawn.
    #[arg(long)]
    standing: bool,
}

/// Lists requests.
#[derive(Debug, clap::Args)]
struct ListArgs {
    #[command(flatten)]
    home: HomeArg,
    /// Print an object a line.
    #[arg(long)]
    json: bool,
}

/// Tells what would be destroyed now, and why the rest would not. Changes nothing.
///
/// Exit code: 0 done, 1 something is due that nobody has asked for or agreed to.
#[derive(Debug, clap::Args)]
struct PlanArgs {
    #[command(flatten)]
    home: HomeArg,
    /// A line for each recording, the kept ones with their reason.
    #[arg(long)]
    each: bool,
    /// As it would be at another time.
    #[arg(long, value_name = "TIME", value_parser = time)]
    at: Option<Stamp>,
}

/// Destroys what may go now. Takes the keys of as many custodians as unlocking does.
///
/// SIGINT and SIGTERM stop it between two steps; the next run finishes what was begun.
///
/// Exit code: 0 all of it, 1 some objects or files could not be removed, a hold came in between, or it was stopped.
#[derive(Debug, clap::Args)]
struct RunArgs {
    #[command(flatten)]
    home: HomeArg,
    #[command(flatten)]
    custodians: CustodianArgs,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.command {
        Command::Approve(args) => approve(args),
        Command::Ask(args) => ask(args),
        Command::Clock(args) => confirm_clock(args),
        Command::List(args) => list(args),
        Command::Plan(args) => plan(args),
        Command::Run(args) => carry_out(args),
        Command::Withdraw(args) => withdraw(args),
    }
}

fn ask(args: &AskArgs) -> anyhow::Result<ExitCode> {
    let (vault, speaker) = args.speak.speaker()?;
    let scope = args.scope.load()?;
    let what = match (args.unneeded, args.erasure) {
        (true, _) => What::Unneeded,
        (_, true) => What::Erasure,
        _ => What::Due,
    };
    let due_by = (!args.standing).then(|| args.due_by.unwrap_or(speaker.now));
    let (number, scope, count) = block_on(async {
        let catalog = vault.catalog().await?;
        let scope = known_scope(&vault, &catalog, scope).await?;
        let number = speaker.ask_destruction(&vault, &catalog, &scope, what, due_by).await?;
        let count = catalog.count_covered(&scope).await?;
        Ok((number, scope, count))
    })?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "Request {number}: {}; {}.", clean(&words(&scope)), covered(count))?;
    let home = vault.home.display().to_string();
    let approve = format!("sejf destroy approve {home} --request {number} --reason CODE -i KEY");
    writeln!(out, "Another custodian agrees with `{}`.", clean(&approve))?;
    Ok(ExitCode::SUCCESS)
}

fn approve(args: &NumberArgs) -> anyhow::Result<ExitCode> {
    let (vault, speaker) = args.speak.speaker()?;
    let by = block_on(async {
        let catalog = vault.catalog().await?;
        Ok(speaker.approve(&vault, &catalog, args.request).await?)
    })?;
    writeln!(std::io::stdout(), "{by} has agreed to request {}.", args.request)?;
    Ok(ExitCode::SUCCESS)
}

fn withdraw(args: &NumberArgs) -> anyhow::Result<ExitCode> {
    let (vault, speaker) = args.speak.speaker()?;
    block_on(async {
        let catalog = vault.catalog().await?;
        Ok(speaker.withdraw(&vault, &catalog, args.request).await?)
    })?;
    writeln!(std::io::stdout(), "Request {} is withdrawn.", args.request)?;
    Ok(ExitCode::SUCCESS)
}

fn confirm_clock(args: &SpeakArgs) -> anyhow::Result<ExitCode> {
    let (vault, speaker) = args.speaker()?;
    block_on(async {
        let catalog = vault.catalog().await?;
        Ok(speaker.confirm_clock(&vault, &catalog).await?)
    })?;
    writeln!(std::io::stdout(), "The clock is right: it is {} UTC.", second(speaker.now))?;
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
        for request in &matters.requests {
            writeln!(out, "{}", json(request)?)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let heading = ["REQUEST", "ASKED", "BY", "STATE", "UNTIL", "WHAT"];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    rows.extend(matters.requests.iter().map(row));
    write!(out, "{}", columns(&rows))?;
    Ok(ExitCode::SUCCESS)
}

fn row(request: &Request) -> Vec<String> {
    let state = match (&request.withdrawn, &request.agreed) {
        (Some(_), _) => "withdrawn".into(),
        (None, Some(agreed)) => format!("agreed by {}", agreed.by),
        (None, None) => "nobody has agreed".into(),
    };
    let what = match request.what {
        What::Due => "due",
        What::Unneeded => "unneeded",
        What::Erasure => "erasure",
    };
    vec![
        request.number.to_string(),
        second(request.at),
        request.by.to_string(),
        state,
        request.due_by.map_or_else(|| "standing".into(), second),
        format!("{what}: {}", clean(&words(&request.scope))),
    ]
}

fn plan(args: &PlanArgs) -> anyhow::Result<ExitCode> {
    let vault = args.home.open()?;
    let mut lines = Vec::new();
    let mut waits = false;
    let preview = block_on(async {
        let catalog = vault.catalog().await?;
        let newest = catch_up(&vault, &catalog).await?.newest;
        let (now, trust) = match args.at {
            Some(at) => (at, ClockTrust::Trusted),
            None => (clock::now(), look_at_clock(&vault, newest)?),
        };
        let mut each = |kept: &Kept| {
            use crate::archive::retention::WhyKept::{AwaitsApproval, Unasked};
            waits |= matches!(kept.why, AwaitsApproval(_) | Unasked(_));
            if args.each {
                lines.push(format!("{}  keep     {}", kept.id, kept.why));
            }
        };
        Ok(preview(&vault, &catalog, now, trust, &mut each).await?)
    })?;
    let mut out = std::io::stdout().lock();
    if args.each {
        for purge in &preview.purges {
            writeln!(out, "{}  destroy  request {}", purge.id(), purge.request())?;
        }
        for line in &lines {
            writeln!(out, "{}", clean(line))?;
        }
    }
    writeln!(out, "{:>12}  to be destroyed", grouped(preview.purges.len() as u64))?;
    for epoch in &preview.epochs {
        writeln!(out, "{:>12}  key to be destroyed: {}", "", epoch.epoch())?;
    }
    for (why, count) in &preview.kept {
        writeln!(out, "{:>12}  kept: {}", grouped(*count), clean(why))?;
    }
    Ok(ExitCode::from(u8::from(waits)))
}

fn carry_out(args: &RunArgs) -> anyhow::Result<ExitCode> {
    let vault = args.home.open()?;
    let ring = args.custodians.unlock(&vault)?;
    let actor = vault.actor_of(&ring);
    let places = vault.places_if_there()?;
    let stop = Stop::on_signals()?;
    let done = block_on(async {
        let catalog = vault.catalog().await?;
        let newest = catch_up(&vault, &catalog).await?.newest;
        let destroyer = Destroyer {
            vault: &vault,
            ring: &ring,
            catalog: &catalog,
            places: &places,
            actor: &actor,
            now: clock::now(),
            trust: clock_trust(&vault, newest)?,
            go_on: &|_| !stop.asked(),
        };
        let done = match destroyer.run().await {
            Err(MattersError::Stopped) => None,
            other => Some(other?),
        };
        catalog.close().await;
        Ok(done)
    })?;
    let Some(done) = done else {
        writeln!(std::io::stdout(), "Stopped. What was begun is finished by the next run.")?;
        return Ok(ExitCode::from(1));
    };
    let Done { recordings, finished, epochs, again, left, received, spared } = done;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{} recordings and the keys of {epochs} epochs are destroyed.", grouped(recordings))?;
    if recordings + epochs > 0 {
        writeln!(out, "Certificates: {}", clean(&vault.home.join(CERTIFICATES).display().to_string()))?;
    }
    for (count, words) in [
        (finished, "of them had been begun by an earlier run"),
        (
            again + ring.came_back(),
            "had been destroyed before and came back from an older state: destroyed again",
        ),
        (left, "have objects left in places that lock them or were not reached; nobody opens them"),
        (received, "have files as they came that could not be removed: the keys of their epochs open those"),
        (spared, "are kept after all: a hold or something else came in between; run it again"),
    ] {
        if count > 0 {
            writeln!(out, "{} {words}.", grouped(count))?;
        }
    }
    Ok(ExitCode::from(u8::from(left + received + spared > 0)))
}
