//! `sejf vault notify`: ways on which people are told.

use std::io::Write;
use std::process::ExitCode;

use crate::cli::text::{clean_line, columns, json};
use crate::cli::vault::HomeArg;
use crate::shell::vault::notices;

/// Ways on which people are told of alarms, of what waits for them and of what is due: `[[notify]]` in vault.toml.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Status(StatusArgs),
    Test(TestArgs),
}

/// Says what arrived last on each way, what waits, and why.
///
/// Exit code: 0 all well, 1 the last try on a way failed.
#[derive(Debug, clap::Args)]
struct StatusArgs {
    #[command(flatten)]
    home: HomeArg,
    /// Print one JSON value.
    #[arg(long)]
    json: bool,
}

/// Sends a test message, at once.
///
/// Exit code: 0 it arrived on each, 1 not on all.
#[derive(Debug, clap::Args)]
struct TestArgs {
    #[command(flatten)]
    home: HomeArg,
    /// On this way only.
    #[arg(value_name = "NAME")]
    name: Option<String>,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.command {
        Command::Status(args) => status(args),
        Command::Test(args) => test(args),
    }
}

fn status(args: &StatusArgs) -> anyhow::Result<ExitCode> {
    let vault = args.home.open()?;
    let queue = notices::standing(&vault);
    let mut out = std::io::stdout().lock();
    let is_well = queue.outboxes().all(|(_, outbox)| outbox.fault.is_none());
    if args.json {
        writeln!(out, "{}", json(&notices::as_json(&queue))?)?;
    } else {
        let mut rows = vec![["WAY", "ARRIVED", "WAITING", "RESULT"].map(str::to_owned).to_vec()];
        for way in &vault.config.notify {
            let outbox = queue.outboxes().find(|(name, _)| *name == way.name).map(|(_, outbox)| outbox);
            let arrived = outbox.and_then(|outbox| outbox.delivered);
            let fault = outbox.and_then(|outbox| outbox.fault.as_deref());
            rows.push(vec![
                way.name.clone(),
                arrived
                    .map_or("not yet".into(), |at| at.to_string().get(..19).unwrap_or_default().to_owned()),
                outbox.map_or(0, |outbox| outbox.waiting()).to_string(),
                fault.map_or(String::new(), |why| format!("! {}", clean_line(why))),
            ]);
        }
        write!(out, "{}", columns(&rows))?;
    }
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn test(args: &TestArgs) -> anyhow::Result<ExitCode> {
    let vault = args.home.open()?;
    let is_asked = |name: &str| args.name.as_deref().is_none_or(|asked| asked == name);
    let ways: Vec<_> = vault.config.notify.iter().filter(|way| is_asked(&way.name)).collect();
    anyhow::ensure!(!ways.is_empty(), "vault.toml has no such [[notify]]: deploy/vault.toml shows how");
    let mut out = std::io::stdout().lock();
    let mut is_well = true;
    for way in ways {
        match notices::test(&vault, way) {
            Ok(()) => writeln!(out, "{}: arrived", way.name)?,
            Err(why) => {
                is_well = false;
                writeln!(out, "{}: {}", way.name, clean_line(&why))?;
            }
        }
    }
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::from(1) })
}
