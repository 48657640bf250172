//! `sejf media`: sets of recordings for a safe.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use tokio::runtime::Runtime;

use crate::archive::access::Reason;
use crate::archive::epoch::Epoch;
use crate::archive::media::Due;
use crate::archive::record::RecordingId;
use crate::cli::text::{clean, clean_line, columns, json};
use crate::cli::vault::{HomeArg, ReasonArgs};
use crate::shell::clock;
use crate::shell::vault::catalog::Catalog;
use crate::shell::vault::catalog::recordings::Filter;
use crate::shell::vault::home::Vault;
use crate::shell::vault::media::{MediaWriter, Writing};
use crate::shell::verify;

/// Media for a safe: written, checked, mended, and who has them.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Writes archived recordings to an empty medium that is mounted, with parity, and the program that checks it.
    Write(WriteArgs),
    /// Checks a medium with nothing but the medium. Exit code: 0 whole, 1 not, 2 could not check.
    Verify(VerifyArgs),
    /// Mends a medium with the parity that is on it. Exit code: 0 whole now, 1 not.
    Repair(VerifyArgs),
    /// Says that somebody takes a medium out, to where and why.
    CheckOut(MoveArgs),
    /// Says that a medium is back, under which seal.
    CheckIn(MoveArgs),
    /// Says that a medium has been destroyed.
    Destroyed(MoveArgs),
    /// Lists media; of one, who had it when.
    List(ListArgs),
    /// Lists what is to be done: checks at least every 12 months, and destruction when all on it was destroyed.
    Due(DueArgs),
}

#[derive(Debug, clap::Args)]
struct WriteArgs {
    #[command(flatten)]
    home: HomeArg,
    /// Folder where the medium is mounted; empty.
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// What is written on it.
    #[arg(long, value_name = "TEXT")]
    label: String,
    /// Number of the seal it gets.
    #[arg(long, value_name = "TEXT", default_value = "")]
    seal: String,
    /// Where it will lie.
    #[arg(long, value_name = "TEXT", default_value = "")]
    place: String,
    /// These recordings only. May be given several times.
    #[arg(long = "id", value_name = "ID", conflicts_with = "epoch")]
    ids: Vec<RecordingId>,
    /// Of one class and month only: `calls-5y/2026-11`.
    #[arg(long, value_name = "CLASS/MONTH")]
    epoch: Option<Epoch>,
    /// The program to put on it, as a `sejf` that was built static. Without it, the one that runs.
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
    #[command(flatten)]
    reason: ReasonArgs,
}

#[derive(Debug, clap::Args)]
struct VerifyArgs {
    /// Folder where the medium is mounted.
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// The archive's public key (`name+hash+key`), known from elsewhere than the medium.
    #[arg(long, value_name = "KEY")]
    vault: Option<String>,
    /// Home of the vault: also write into its register what was found.
    #[arg(long, value_name = "HOME")]
    register: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct MoveArgs {
    #[command(flatten)]
    home: HomeArg,
    /// The medium's number.
    #[arg(value_name = "MEDIUM")]
    medium: String,
    /// Number of the seal that is on it.
    #[arg(long, value_name = "TEXT", default_value = "")]
    seal: String,
    /// Where it lies, or who has it.
    #[arg(long, value_name = "TEXT")]
    place: String,
    #[command(flatten)]
    reason: ReasonArgs,
}

#[derive(Debug, clap::Args)]
struct ListArgs {
    #[command(flatten)]
    home: HomeArg,
    /// One medium's number.
    #[arg(value_name = "MEDIUM")]
    medium: Option<String>,
    /// Print JSON, one object a line.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct DueArgs {
    #[command(flatten)]
    home: HomeArg,
    /// Also what is not due yet.
    #[arg(long)]
    all: bool,
    /// Print JSON, one object a line.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.command {
        Command::Write(args) => write(args),
        Command::Verify(args) => check(args, false),
        Command::Repair(args) => check(args, true),
        Command::CheckOut(args) => note(args, "check-out"),
        Command::CheckIn(args) => note(args, "check-in"),
        Command::Destroyed(args) => note(args, "destroyed"),
        Command::List(args) => list(args),
        Command::Due(args) => due(args),
    }
}

/// A vault with its catalog, locked.
struct Desk {
    vault: Vault,
    runtime: Runtime,
    catalog: Catalog,
}

impl Desk {
    fn open(vault: Vault) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.context("starting what waits for the catalog")?;
        let catalog = runtime.block_on(vault.catalog())?;
        Ok(Self { vault, runtime, catalog })
    }

    fn writer(&self, reads: bool) -> anyhow::Result<MediaWriter<'_>> {
        let places = if reads { self.vault.places_there()? } else { Vec::new() };
        Ok(MediaWriter { vault: &self.vault, catalog: &self.catalog, places, runtime: &self.runtime })
    }
}

fn reason(args: &ReasonArgs, vault: &Vault) -> anyhow::Result<Reason> {
    args.load(vault)?.context("this takes a reason: say why, with --reason CODE --note TEXT")
}

fn write(args: &WriteArgs) -> anyhow::Result<ExitCode> {
    let desk = Desk::open(args.home.open()?)?;
    let (actor, reason) = (desk.vault.actor(&[]), reason(&args.reason, &desk.vault)?);
    let medium = desk.writer(true)?.write(&Writing {
        dir: &args.dir,
        label: &args.label,
        seal: &args.seal,
        place: &args.place,
        ids: &args.ids,
        filter: Filter { epoch: args.epoch.clone(), ..Filter::default() },
        program: args.program.as_deref(),
        actor: &actor,
        reason,
    })?;
    let text = format!(
        "medium {} with {} recordings in `{}`",
        medium.id,
        medium.recordings.len(),
        args.dir.display()
    );
    writeln!(std::io::stdout().lock(), "{}", clean(&text))?;
    Ok(ExitCode::SUCCESS)
}

fn check(args: &VerifyArgs, mends: bool) -> anyhow::Result<ExitCode> {
    let look = if mends { verify::repair } else { verify::medium };
    let report = look(&args.dir, args.vault.as_deref())?;
    let is_whole = report.faults.is_empty();
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", json(&report)?)?;
    } else {
        for fault in &report.faults {
            writeln!(out, "{}", clean(&fault.to_string()))?;
        }
        writeln!(out, "{}", clean(&report.summary()))?;
    }
    if let Some(home) = &args.register {
        let desk = Desk::open(Vault::open(home)?)?;
        // A medium of another archive, or one that anybody signed, says nothing of ours.
        anyhow::ensure!(
            report.vault == desk.vault.key.to_string(),
            "`{}` is no medium that this vault has signed: nothing is written into its register",
            args.dir.display()
        );
        let actor = desk.vault.actor(&[]);
        let reason = Reason { code: "audit".into(), text: "check of the medium".into() };
        let what = if is_whole { "verified" } else { "damaged" };
        desk.writer(false)?.note(&report.id, what, ("", ""), &actor, &reason)?;
    }
    Ok(ExitCode::from(u8::from(!is_whole)))
}

fn note(args: &MoveArgs, what: &str) -> anyhow::Result<ExitCode> {
    let desk = Desk::open(args.home.open()?)?;
    let (actor, reason) = (desk.vault.actor(&[]), reason(&args.reason, &desk.vault)?);
    desk.writer(false)?.note(&args.medium, what, (&args.seal, &args.place), &actor, &reason)?;
    Ok(ExitCode::SUCCESS)
}

fn list(args: &ListArgs) -> anyhow::Result<ExitCode> {
    let desk = Desk::open(args.home.open()?)?;
    let mut out = std::io::stdout().lock();
    let media = desk.runtime.block_on(desk.catalog.media(args.medium.as_deref()))?;
    let second = |at: crate::base::time::Stamp| at.to_string().get(..10).unwrap_or_default().to_owned();
    if let Some(medium) = &args.medium {
        anyhow::ensure!(!media.is_empty(), "the register has no medium `{medium}`: see `sejf media list`");
        let mut rows = vec![["when", "what", "who", "seal", "place", "why"].map(str::to_owned).to_vec()];
        for moved in desk.runtime.block_on(desk.catalog.medium_moves(medium))? {
            if args.json {
                writeln!(out, "{}", json(&moved)?)?;
            }
            let texts = [&moved.what, &moved.who, &moved.seal, &moved.place, &moved.reason];
            let texts = texts.map(|text| clean_line(text));
            rows.push([vec![moved.at.to_string()], texts.to_vec()].concat());
        }
        if !args.json {
            write!(out, "{}", columns(&rows))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let head = ["medium", "label", "written", "checked", "recordings", "destroyed", "seal", "place"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for medium in &media {
        if args.json {
            writeln!(out, "{}", json(medium)?)?;
        }
        let place = if medium.is_out { format!("out: {}", medium.place) } else { medium.place.clone() };
        let checked = second(medium.checked) + if medium.is_whole { "" } else { " damaged" };
        rows.push(vec![
            medium.id.clone(),
            clean_line(&medium.label),
            second(medium.written),
            checked,
            medium.recordings.to_string(),
            medium.destroyed.to_string(),
            clean_line(&medium.seal),
            clean_line(&place),
        ]);
    }
    if !args.json {
        write!(out, "{}", columns(&rows))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn due(args: &DueArgs) -> anyhow::Result<ExitCode> {
    let desk = Desk::open(args.home.open()?)?;
    let mut out = std::io::stdout().lock();
    let now = clock::now();
    for medium in desk.runtime.block_on(desk.catalog.media(None))? {
        let due = medium.kept().due(now);
        if matches!(due, Due::Check(_)) && !args.all {
            continue;
        }
        if args.json {
            writeln!(out, "{}", json(&serde_json::json!({ "medium": medium, "due": due }))?)?;
            continue;
        }
        let what = match due {
            Due::Check(by) => format!("check by {}", by.to_string().get(..10).unwrap_or_default()),
            Due::CheckNow(by) => format!("check: was due {}", by.to_string().get(..10).unwrap_or_default()),
            Due::Mend => "mend it, or write another: it was found damaged".into(),
            Due::Destroy => "destroy it: all that is on it was destroyed".into(),
        };
        let text = format!("{}  {}  {}: {what}", medium.id, medium.label, medium.place);
        writeln!(out, "{}", clean_line(&text))?;
    }
    Ok(ExitCode::SUCCESS)
}
