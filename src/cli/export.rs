//! `sejf export`: recordings given to a court or a customer, with what proves them.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;

use crate::archive::bundle::{Bundle, Form};
use crate::archive::export_request::{Approved, Asked};
use crate::archive::record::RecordingId;
use crate::archive::report::Language;
use crate::base::time::Stamp;
use crate::cli::archive::{NumberArgs, SpeakArgs};
use crate::cli::open;
use crate::cli::scope::second;
use crate::cli::text::{clean, columns, json};
use crate::cli::vault::{CustodianArgs, HomeArg, ReasonArgs};
use crate::shell::keys;
use crate::shell::vault::export::{Exporter, Handing, Order, To};
use crate::shell::vault::export_requests;
use crate::shell::vault::home::Vault;

/// Gives recordings of the archive away: a folder or one file with the sound, who called whom, the recorder's receipt
/// and what ties the sound to it, and a page for people, all of it signed. `sejf verify --bundle` checks it anywhere.
///
/// What is decrypted is written there alone. Given in the open, the keys of these files are disclosed with them: of no
/// other. More than `export_alone_max` recordings in a day (vault.toml) take a second person: `ask`, then `approve` with
/// another custodian's key, then `sejf export HOME --request NUMBER`.
///
/// Exit code: 0 made, 2 not made.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    make: MakeArgs,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Agrees to what another custodian has asked for.
    Approve(NumberArgs),
    Ask(AskArgs),
    List(ListArgs),
    /// Takes a request back. Takes a custodian's key.
    Withdraw(NumberArgs),
}

#[derive(Debug, clap::Args)]
struct MakeArgs {
    /// Home of the vault: the folder with `vault.toml`.
    #[arg(value_name = "HOME", required = true)]
    home: Option<PathBuf>,
    /// Recordings, by their ids.
    #[arg(value_name = "ID", required_unless_present = "request")]
    ids: Vec<RecordingId>,
    /// Make what was asked for by this request, once another custodian has agreed.
    #[arg(long, value_name = "NUMBER",
        conflicts_with_all = ["ids", "receiver", "recipient", "recipients_file", "reason"])]
    request: Option<u64>,
    /// Folder to make; must not exist.
    #[arg(long, value_name = "DIR", required_unless_present = "tar")]
    to: Option<PathBuf>,
    /// One file to make instead, a tar archive; must not exist.
    #[arg(long, value_name = "FILE", conflicts_with = "to")]
    tar: Option<PathBuf>,
    /// Who it is for: a court and its file number, a customer.
    #[arg(long = "for", value_name = "WHO", required_unless_present = "request")]
    receiver: Option<String>,
    #[command(flatten)]
    recipients: RecipientArgs,
    #[command(flatten)]
    custodians: CustodianArgs,
    #[command(flatten)]
    reason: ReasonArgs,
    /// Language that comes first in the report.
    #[arg(long, value_enum, default_value_t = Lang::En)]
    language: Lang,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct RecipientArgs {
    /// Give it under the receiver's key instead of in the open: an age recipient or SSH public key.
    #[arg(long, short, value_name = "RECIPIENT")]
    recipient: Vec<String>,
    /// File of such recipients, one a line.
    #[arg(long, short = 'R', value_name = "FILE")]
    recipients_file: Vec<PathBuf>,
}

/// Asks for an export that nobody makes alone. Takes the key of the custodian who asks.
#[derive(Debug, clap::Args)]
struct AskArgs {
    #[command(flatten)]
    speak: SpeakArgs,
    /// Recordings, by their ids.
    #[arg(value_name = "ID", required = true)]
    ids: Vec<RecordingId>,
    /// Who it is for: a court and its file number, a customer.
    #[arg(long = "for", value_name = "WHO")]
    receiver: String,
    #[command(flatten)]
    recipients: RecipientArgs,
}

/// Lists requests.
#[derive(Debug, clap::Args)]
struct ListArgs {
    #[command(flatten)]
    home: HomeArg,
    /// Print an object a line, with the recordings.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Lang {
    En,
    Pl,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.command {
        Some(Command::Approve(args)) => approve(args),
        Some(Command::Ask(args)) => ask(args),
        Some(Command::List(args)) => list(args),
        Some(Command::Withdraw(args)) => withdraw(args),
        None => make(&args.make),
    }
}

impl RecipientArgs {
    fn texts(&self) -> anyhow::Result<Vec<String>> {
        let texts = keys::recipient_texts(&self.recipient, &self.recipients_file)?;
        let is_none = texts.is_empty() && !self.recipients_file.is_empty();
        anyhow::ensure!(!is_none, "the files of recipients hold none");
        Ok(texts)
    }
}

fn ask(args: &AskArgs) -> anyhow::Result<ExitCode> {
    let (vault, speaker) = args.speak.speaker()?;
    let recipients = args.recipients.texts()?;
    // One that is none is told now, and not to the one who agrees.
    keys::recipients_of(&recipients)?;
    let number = export_requests::ask(&vault, &speaker, &args.ids, &args.receiver, recipients)?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "Request {number}: {} recordings for {}.", args.ids.len(), clean(&args.receiver))?;
    let home = vault.home.display().to_string();
    let approve = format!("sejf export approve {home} --request {number} --reason CODE -i KEY");
    writeln!(out, "Another custodian agrees with `{}`.", clean(&approve))?;
    Ok(ExitCode::SUCCESS)
}

fn approve(args: &NumberArgs) -> anyhow::Result<ExitCode> {
    let (vault, speaker) = args.speak.speaker()?;
    let by = export_requests::approve(&vault, &speaker, args.request)?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{by} has agreed to request {}.", args.request)?;
    let home = vault.home.display().to_string();
    let make = format!("sejf export {home} --request {} --to DIR -i KEY", args.request);
    writeln!(out, "Its bundle is made with `{}`.", clean(&make))?;
    Ok(ExitCode::SUCCESS)
}

fn withdraw(args: &NumberArgs) -> anyhow::Result<ExitCode> {
    let (vault, speaker) = args.speak.speaker()?;
    export_requests::withdraw(&vault, &speaker, args.request, export_requests::PATIENCE)?;
    writeln!(std::io::stdout(), "Request {} is withdrawn.", args.request)?;
    Ok(ExitCode::SUCCESS)
}

fn list(args: &ListArgs) -> anyhow::Result<ExitCode> {
    let vault = args.home.open()?;
    let requests = export_requests::read(&vault.log, 0)?;
    let mut out = std::io::stdout().lock();
    if args.json {
        for asked in requests.0.values() {
            writeln!(out, "{}", json(asked)?)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let heading = ["REQUEST", "ASKED", "BY", "STATE", "RECORDINGS", "FOR"];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    rows.extend(requests.0.values().map(row));
    write!(out, "{}", columns(&rows))?;
    Ok(ExitCode::SUCCESS)
}

fn row(asked: &Asked) -> Vec<String> {
    let state = match (asked.withdrawn, asked.made, &asked.agreed) {
        (_, Some(_), _) => "made".into(),
        (Some(_), None, _) => "withdrawn".into(),
        (None, None, Some(agreed)) => format!("agreed by {}", agreed.by),
        (None, None, None) => "nobody has agreed".into(),
    };
    let request = &asked.request;
    vec![
        request.number.to_string(),
        second(request.at),
        request.by.to_string(),
        state,
        request.recordings.len().to_string(),
        clean(&request.receiver),
    ]
}

/// What is printed of a bundle: not the keys of its files, which are for who gets it.
#[derive(serde::Serialize)]
struct Made<'a> {
    id: &'a str,
    made: Stamp,
    vault: &'a str,
    entry: u64,
    form: Form,
    receiver: &'a str,
    recordings: Vec<RecordingId>,
}

impl<'a> Made<'a> {
    fn of(bundle: &'a Bundle) -> Self {
        Self {
            id: &bundle.id,
            made: bundle.made,
            vault: &bundle.vault,
            entry: bundle.entry,
            form: bundle.form,
            receiver: &bundle.receiver,
            recordings: bundle.recordings.iter().map(|recording| recording.id).collect(),
        }
    }
}

fn make(args: &MakeArgs) -> anyhow::Result<ExitCode> {
    let vault = Vault::open(args.home.as_deref().unwrap_or(Path::new(".")))?;
    let approved = match args.request {
        Some(number) => Some(export_requests::read(&vault.log, number)?.get(number)?.approved()?),
        None => None,
    };
    let asked = approved.as_ref().map(Approved::request);
    let reason = match asked {
        Some(request) => request.because(),
        None => args
            .reason
            .load(&vault)?
            .context("this takes a reason: say why, with --reason CODE --note TEXT")?,
    };
    let texts = asked.map_or_else(|| args.recipients.texts(), |request| Ok(request.recipients.clone()))?;
    let recipients = (!texts.is_empty()).then(|| keys::recipients_of(&texts)).transpose()?;
    let ring = args.custodians.unlock(&vault)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting what waits for the catalog")?;
    let catalog = runtime.block_on(vault.catalog())?;
    let actor = vault.actor_of(&ring);
    let to = match (&args.tar, &args.to) {
        (Some(file), _) => To::Tar(file),
        (None, Some(dir)) => To::Folder(dir),
        (None, None) => unreachable!("clap asks for one of them"),
    };
    let exporter = Exporter {
        vault: &vault,
        ring: &ring,
        catalog: &catalog,
        places: vault.places_if_there()?,
        runtime: &runtime,
        patience: export_requests::PATIENCE,
    };
    let made = exporter.export(&Order {
        ids: asked.map_or(&args.ids[..], |request| &request.recordings),
        to,
        receiver: asked.map_or(args.receiver.as_deref().unwrap_or_default(), |request| &request.receiver),
        reason,
        actor: &actor,
        language: match args.language {
            Lang::En => Language::English,
            Lang::Pl => Language::Polish,
        },
        handing: match &recipients {
            Some(recipients) => Handing::Sealed(recipients),
            None => Handing::Plain(&open::write_playable),
        },
        approved: approved.as_ref(),
        granted: None,
    });
    runtime.block_on(catalog.close());
    let bundle = made?;
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", json(&Made::of(&bundle))?)?;
    } else {
        let (count, to) = (bundle.recordings.len(), to.path().unwrap_or(Path::new("-")).display());
        writeln!(out, "{}", clean(&format!("bundle {} with {count} recordings in `{to}`", bundle.id)))?;
        writeln!(out, "tell the receiver the archive's key by another way: {}", bundle.vault)?;
    }
    Ok(ExitCode::SUCCESS)
}
