//! `sejf export`: recordings given to a court or a customer, with what proves them.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;

use crate::archive::record::RecordingId;
use crate::archive::report::Language;
use crate::cli::open;
use crate::cli::text::{clean, json};
use crate::cli::vault::{CustodianArgs, HomeArg, ReasonArgs};
use crate::shell::keys;
use crate::shell::vault::export::{Exporter, Handing, Order, To};

/// Gives recordings of the archive away: a folder or one file with the sound, who called whom, the recorder's receipt
/// and what ties the sound to it, and a page for people, all of it signed. `sejf verify --bundle` checks it anywhere.
///
/// What is decrypted is written there alone. Given in the open, the keys of these files are disclosed with them: of no
/// other. Exit code: 0 made, 2 not made.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    home: HomeArg,
    /// Recordings, by their ids.
    #[arg(value_name = "ID", required = true)]
    ids: Vec<RecordingId>,
    /// Folder to make; must not exist.
    #[arg(long, value_name = "DIR", required_unless_present = "tar")]
    to: Option<PathBuf>,
    /// One file to make instead, a tar archive; must not exist.
    #[arg(long, value_name = "FILE", conflicts_with = "to")]
    tar: Option<PathBuf>,
    /// Who it is for: a court and its file number, a customer.
    #[arg(long = "for", value_name = "WHO")]
    receiver: String,
    /// Give it under the receiver's key instead of in the open: an age recipient or SSH public key.
    #[arg(long, short, value_name = "RECIPIENT")]
    recipient: Vec<String>,
    /// File of such recipients, one a line.
    #[arg(long, short = 'R', value_name = "FILE")]
    recipients_file: Vec<PathBuf>,
    #[command(flatten)]
    custodians: CustodianArgs,
    #[command(flatten)]
    reason: ReasonArgs,
    /// Language of the report.
    #[arg(long, value_enum, default_value_t = Lang::En)]
    language: Lang,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Lang {
    En,
    Pl,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let vault = args.home.open()?;
    let reason =
        args.reason.load(&vault)?.context("this takes a reason: say why, with --reason CODE --note TEXT")?;
    let recipients = match args.recipient.is_empty() && args.recipients_file.is_empty() {
        true => None,
        false => Some(keys::recipients(&args.recipient, &args.recipients_file)?),
    };
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
    };
    let made = exporter.export(&Order {
        ids: &args.ids,
        to,
        receiver: &args.receiver,
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
    });
    runtime.block_on(catalog.close());
    let bundle = made?;
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", json(&bundle)?)?;
    } else {
        let (count, to) = (bundle.recordings.len(), to.path().display());
        writeln!(out, "{}", clean(&format!("bundle {} with {count} recordings in `{to}`", bundle.id)))?;
        writeln!(out, "tell the receiver the archive's key by another way: {}", bundle.vault)?;
    }
    Ok(ExitCode::SUCCESS)
}
