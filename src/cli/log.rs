//! `sejf log`: what the recorder has signed, in order.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::cli::scope::second;
use crate::cli::text::{clean, clock, grouped, json};
use crate::seal::event::{Entry, Event, EventKind};
use crate::seal::receipt::{Receipt, ReceiptState};
use crate::shell::verify::{Fault, ReadLog};

/// Prints the recorder's signed log: a line for each recording, and for what happened to the recorder itself.
/// Needs no key. Whether the recordings are as they were sealed, `sejf verify` says.
///
/// Exit code: 0 all as signed, 1 some of it is damaged or not proved, 2 could not read.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Directory of recordings.
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// The recorder's public key (`name+hash+key`), kept apart from the recordings.
    #[arg(long, value_name = "KEY")]
    recorder: Option<String>,
    /// Only what happened to the recorder itself.
    #[arg(long)]
    events: bool,
    /// Print an object a line: `index`, and `receipt` or `event`.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let log = ReadLog::open(&args.dir, args.recorder.as_deref())?;
    let mut out = std::io::stdout().lock();
    let mut faults: Vec<String> = log.faults.iter().map(ToString::to_string).collect();
    if !log.signed {
        faults.push(Fault::NoReceipts.to_string());
    } else if !log.key_fits {
        faults.push(Fault::PublicKey.to_string());
    }
    let mut running = false;
    for (index, entry) in &log.entries {
        let entry = match Entry::from_entry(entry) {
            Ok(entry) => entry,
            Err(source) => {
                faults.push(Fault::Receipt { index: *index, source }.to_string());
                continue;
            }
        };
        let died = running && is_start(&entry);
        running = runs(&entry, running);
        if args.events && matches!(entry, Entry::Receipt(_)) {
            continue;
        }
        if args.json {
            writeln!(out, "{}", json(&as_json(*index, &entry))?)?;
        } else {
            writeln!(out, "{}", clean(&line(&entry, died)).replace('\n', " "))?;
        }
    }
    if log.signed && !log.proved {
        faults.push("it is not proved that this is what the recorder signed".into());
    }
    for fault in &faults {
        #[expect(clippy::print_stderr, reason = "a warning, beside the result")]
        {
            eprintln!("sejf: {}", clean(fault));
        }
    }
    Ok(ExitCode::from(u8::from(!faults.is_empty())))
}

/// Whether the recorder runs after an entry.
fn runs(entry: &Entry, before: bool) -> bool {
    match entry {
        Entry::Event(Event { kind: EventKind::Started { .. }, .. }) => true,
        Entry::Event(Event { kind: EventKind::Stopped { .. }, .. }) => false,
        _ => before,
    }
}

fn is_start(entry: &Entry) -> bool {
    matches!(entry, Entry::Event(Event { kind: EventKind::Started { .. }, .. }))
}

fn as_json(index: u64, entry: &Entry) -> serde_json::Value {
    match entry {
        Entry::Event(event) => serde_json::json!({ "index": index, "event": event }),
        Entry::Receipt(receipt) => serde_json::json!({ "index": index, "receipt": receipt }),
    }
}

fn line(entry: &Entry, died: bool) -> String {
    let (at, what, more) = match entry {
        Entry::Event(event) => (event.at, event.kind.as_str(), happened(event, died)),
        Entry::Receipt(receipt) => (receipt.end, state(receipt.state), recorded(receipt)),
    };
    format!("{}  {what:<21}  {more}", second(at)).trim_end().to_owned()
}

fn state(state: ReceiptState) -> &'static str {
    match state {
        ReceiptState::Complete => "complete",
        ReceiptState::ExcludedByRule => "excluded-by-rule",
        ReceiptState::Failed => "failed",
        ReceiptState::Interrupted => "interrupted",
        ReceiptState::Unanswered => "unanswered",
    }
}

fn recorded(receipt: &Receipt) -> String {
    let bytes: u64 = receipt.files.iter().map(|file| file.bytes).sum();
    let length = clock(receipt.end.since(receipt.start).as_secs_f64());
    format!(
        "{} {length}, rule {}, {} files, {} bytes, {} of {} packets",
        receipt.id,
        receipt.rule,
        receipt.files.len(),
        grouped(bytes),
        grouped(receipt.counters.recorded),
        grouped(receipt.counters.captured),
    )
}

/// All but its name. `died` says that the run before left no word that it stopped.
fn happened(event: &Event, died: bool) -> String {
    match &event.kind {
        EventKind::ConfigurationChanged { rules_before, rules, config_sha256, changes, more } => {
            let rules = if rules_before == rules {
                format!("rules {rules} as before")
            } else {
                format!("rules {rules_before} to {rules}")
            };
            let more = if *more == 0 { String::new() } else { format!(", and {more} more") };
            let changes = if changes.is_empty() { "no key".into() } else { changes.join(", ") };
            format!("{rules}, file {}: {changes}{more}", short(config_sha256))
        }
        EventKind::Dropped { from, kernel, queue, .. } => format!(
            "{} packets by the kernel, {} by a queue, since {}",
            grouped(*kernel),
            grouped(*queue),
            second(*from)
        ),
        EventKind::InterfaceDown { interface } => format!("{interface}: nothing is captured from it"),
        EventKind::InterfaceUp { interface } => format!("{interface}: captured again"),
        EventKind::Recovered { recordings, journals, faults } => {
            let faults = if *faults == 0 { String::new() } else { format!(", {faults} things not done") };
            format!("{recordings} recordings and {journals} journal segments of a run that died{faults}")
        }
        EventKind::SheddingChanged { before, level } => format!("{before} to {level}"),
        EventKind::Started { rules, config_sha256 } => {
            let died = if died { "; the run before did not stop but died" } else { "" };
            let (recorder, version) = (&event.recorder, &event.version);
            format!("{recorder}, version {version}, rules {rules}, file {}{died}", short(config_sha256))
        }
        EventKind::Stopped { how } => how.as_str().into(),
        _ => String::new(),
    }
}

/// The beginning of a hash: enough to tell files apart.
fn short(sha256: &[u8; 32]) -> String {
    sha256.iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}
