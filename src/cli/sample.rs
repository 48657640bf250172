//! `sejf sample`: recordings that were drawn to be heard and judged.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::archive::access::{Action, Request};
use crate::archive::entry::Resource;
use crate::archive::record::RecordingId;
use crate::archive::sampling::Verdict;
use crate::archive::version::Change;
use crate::cli::text::{columns, json};
use crate::cli::vault::{CustodianArgs, ReasonArgs, wait};
use crate::shell::clock;
use crate::shell::vault::annotate::{Annotator, Order, Wish};
use crate::shell::vault::home::Vault;
use crate::shell::vault::sampling;

/// Recordings of the quarter that is over, drawn by nobody's choice, for whoever hears recordings: what is drawn, and what
/// they are. Each person has their own; those of users are on the page Sampling.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Judge(JudgeArgs),
    List(ListArgs),
}

/// Lists what is drawn for who runs this, with the verdicts that were given. Draws where it is the first time. Exit code 1
/// while some have none.
#[derive(Debug, clap::Args)]
struct ListArgs {
    /// Home of the vault: the folder with `vault.toml`.
    #[arg(value_name = "HOME")]
    home: PathBuf,
    /// A line of JSON each.
    #[arg(long)]
    json: bool,
}

/// Says what a recording is that was drawn: fine, poor-sound, wrong-party, must-not-be-recorded, not-heard. The log has
/// that; what more there is to say becomes a note of the recording, and takes a custodian's key.
#[derive(Debug, clap::Args)]
struct JudgeArgs {
    /// Home of the vault: the folder with `vault.toml`.
    #[arg(value_name = "HOME")]
    home: PathBuf,
    /// Which.
    #[arg(value_name = "ID")]
    id: RecordingId,
    /// What it is.
    #[arg(value_name = "VERDICT")]
    verdict: Verdict,
    /// More on it: a note of the recording, sealed with it.
    #[arg(long, value_name = "TEXT", requires = "reason")]
    text: Option<String>,
    #[command(flatten)]
    reason: ReasonArgs,
    #[command(flatten)]
    custodians: CustodianArgs,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.command {
        Command::Judge(args) => judge(args),
        Command::List(args) => list(args),
    }
}

fn list(args: &ListArgs) -> anyhow::Result<ExitCode> {
    let vault = Vault::open(&args.home)?;
    let (actor, now) = (vault.actor(&[]), clock::now());
    let (action, resource) = (Action::Sample, Resource::Vault);
    let grant = vault.log.ask(&Request { actor: &actor, action, resource, reason: None, now })?;
    let (quarter, queue) = wait(async {
        let catalog = vault.catalog().await?;
        let queue = sampling::queue(&vault, &catalog, None, &actor, &grant).await?;
        catalog.close().await;
        Ok::<_, anyhow::Error>(queue)
    })??;
    let judged = queue.drawn.iter().filter(|(_, given)| given.is_some()).count();
    let mut out = std::io::stdout().lock();
    if args.json {
        for (id, given) in &queue.drawn {
            let line = serde_json::json!({
                "quarter": quarter, "id": id, "verdict": given.map(|given| given.verdict),
                "at": given.map(|given| given.at), "version": given.and_then(|given| given.version),
            });
            writeln!(out, "{}", json(&line)?)?;
        }
    } else {
        let verdict = |given: &Option<crate::archive::sampling::Given>| {
            given.map_or("-".to_owned(), |given| given.verdict.as_str().to_owned())
        };
        let rows = queue.drawn.iter().map(|(id, given)| vec![id.to_string(), verdict(given)]);
        write!(out, "{}", columns(&rows.collect::<Vec<_>>()))?;
        writeln!(out, "{quarter}: {judged} of {} judged, drawn out of {}", queue.drawn.len(), queue.of)?;
    }
    Ok(if judged == queue.drawn.len() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn judge(args: &JudgeArgs) -> anyhow::Result<ExitCode> {
    let vault = Vault::open(&args.home)?;
    let actor = vault.actor(&[]);
    sampling::is_drawn(&vault, &actor.name, args.id)?;
    let version = match &args.text {
        Some(text) => Some(note(&vault, args, text)?),
        None => None,
    };
    let (action, resource, now) = (Action::Judge, Resource::Recording(args.id), clock::now());
    let reason = args.reason.load(&vault)?;
    let grant = vault.log.ask(&Request { actor: &actor, action, resource, reason, now })?;
    sampling::judge(&vault, &grant, args.id, args.verdict, version)?;
    Ok(ExitCode::SUCCESS)
}

/// The number of the version that says it.
fn note(vault: &Vault, args: &JudgeArgs, text: &str) -> anyhow::Result<u32> {
    let ring = args.custodians.unlock(vault)?;
    let (actor, reason) = (vault.actor_of(&ring), args.reason.load(vault)?);
    wait(async {
        let catalog = vault.catalog().await?;
        let change = Change::Note { text: text.to_owned() };
        let annotator = Annotator::open(vault, &ring, &catalog)?;
        let (wish, after, belongs) = (Wish::Say(&change), None, None);
        let order = Order { id: args.id, wish, after, actor: &actor, belongs, reason };
        let written = annotator.say(&order).await?;
        catalog.close().await;
        Ok(written.number)
    })?
}
