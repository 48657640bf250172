//! `sejf history`: what was said of a recording, and what held before.

use std::io::Write;
use std::process::ExitCode;

use crate::archive::details::Details;
use crate::archive::record::{Record, RecordingId};
use crate::archive::version::{Change, History, Step};
use crate::base::time::Span;
use crate::cli::scope::second;
use crate::cli::text::{clean, clean_line, json};
use crate::cli::vault::{CustodianArgs, HomeArg, ReasonArgs, wait};
use crate::shell::vault::annotate::Annotator;

/// Shows all that was said of a recording: by whom, when, why, and what held before. The recording as it was recorded is
/// version 0.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    home: HomeArg,
    /// Its id.
    #[arg(value_name = "ID")]
    id: RecordingId,
    #[command(flatten)]
    custodians: CustodianArgs,
    #[command(flatten)]
    reason: ReasonArgs,
    /// Print an object a version; the first is the recording, and a last one says what holds now.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let vault = args.home.open()?;
    let reason = args.reason.load(&vault)?;
    let ring = args.custodians.unlock(&vault)?;
    let actor = vault.actor_of(&ring);
    let (record, history) = wait(async {
        let catalog = vault.catalog().await?;
        let annotator = Annotator::open(&vault, &ring, &catalog)?;
        let shown = annotator.history(&args.id, &actor, None, reason).await;
        catalog.close().await;
        shown
    })??;
    let mut out = std::io::stdout().lock();
    let first = history.steps().first().map_or(history.now(), |step| &step.before);
    let lines = if args.json {
        let mut lines = vec![json(&serde_json::json!({
            "version": 0, "at": record.receipt.end, "recorder": record.receipt.recorder, "details": first,
        }))?];
        for step in history.steps() {
            lines.push(json(&in_json(step))?);
        }
        lines.push(json(&serde_json::json!({ "now": history.now() }))?);
        lines
    } else {
        in_words(&record, first, &history)
    };
    lines.iter().try_for_each(|line| writeln!(out, "{line}"))?;
    Ok(ExitCode::SUCCESS)
}

fn in_json(Step { version, digest, before }: &Step) -> serde_json::Value {
    let mut shown = serde_json::json!({
        "version": version.number, "at": version.at, "author": version.author, "reason": version.reason,
        "sha256": digest, "change": version.change,
    });
    // A correction says it itself.
    match &version.change {
        Change::Labels { .. } => shown["before"] = before.tags.clone().into(),
        Change::Agents { .. } => shown["before"] = before.agents.clone().into(),
        Change::Note { .. } | Change::Correction { .. } | Change::Redacted { .. } => {}
    }
    shown
}

fn in_words(record: &Record, first: &Details, history: &History) -> Vec<String> {
    let recorder = &record.receipt.recorder;
    let mut lines = vec![clean_line(&format!("0  {}  recorded by {recorder}", second(record.receipt.end)))];
    lines.extend(of_details(first));
    for Step { version, before, .. } in history.steps() {
        let reason = match version.reason.text.as_str() {
            "" => version.reason.code.clone(),
            text => format!("{}: {text}", version.reason.code),
        };
        lines.push(String::new());
        lines.push(clean_line(&format!(
            "{}  {}  {} by {} ({reason})",
            version.number,
            second(version.at),
            version.change.kind(),
            version.author,
        )));
        lines.extend(of_change(&version.change, before));
    }
    lines.push(String::new());
    lines.push("Now:".into());
    lines.extend(of_details(history.now()));
    lines
}

fn of_change(change: &Change, before: &Details) -> Vec<String> {
    match change {
        Change::Note { text } => text.lines().map(|line| format!("   | {}", clean(line))).collect(),
        Change::Labels { add, remove } => of_names(add, remove, &before.tags),
        Change::Agents { add, remove } => of_names(add, remove, &before.agents),
        Change::Correction { field, was, is } => {
            let shown = |text: &str| if text.is_empty() { "nothing".to_owned() } else { format!("`{text}`") };
            vec![clean_line(&format!("   {} is {}, and was {}", field.as_str(), shown(is), shown(was)))]
        }
        Change::Redacted { of, spans, file } => {
            let seconds = |ms: u64| ms as f64 / 1_000.0;
            let silent = |span: &Span| format!("{}-{} s", seconds(span.from_ms), seconds(span.to_ms));
            let silent = spans.iter().map(silent).collect::<Vec<_>>().join(", ");
            vec![clean_line(&format!("   {} is {of} with {silent} silenced", file.name))]
        }
    }
}

fn of_names(add: &[String], remove: &[String], before: &[String]) -> Vec<String> {
    let signed = |sign: &'static str| move |name: &String| clean_line(&format!("   {sign} {name}"));
    let was = if before.is_empty() { "none".into() } else { before.join(", ") };
    let changes = add.iter().map(signed("+")).chain(remove.iter().map(signed("-")));
    changes.chain([clean_line(&format!("   before: {was}"))]).collect()
}

fn of_details(details: &Details) -> Vec<String> {
    let mut lines = vec![clean_line(&format!("   {} → {}", details.caller, details.callee))];
    let mut line = |name: &str, text: &str| {
        if !text.is_empty() {
            lines.push(clean_line(&format!("   {name}: {text}")));
        }
    };
    line("trunk", &details.trunk);
    line("from", &details.from);
    line("to", &details.to);
    line("labels", &details.tags.join(", "));
    line("agents", &details.agents.join(", "));
    lines
}
