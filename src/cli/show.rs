//! `sejf show`: all that is known of one recording.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::cli::keys::IdentityArgs;
use crate::cli::text::{clean, columns, json};
use crate::recording::manifest::{Manifest, Party, StreamFacts};
use crate::shell::library;

/// Shows a recording: who called whom, the SIP messages, each stream's quality, gaps.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The recording: any of its files, or directory and id (`out/0193…`).
    #[arg(value_name = "RECORDING")]
    recording: PathBuf,
    #[command(flatten)]
    identity: IdentityArgs,
    /// Print the manifest.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let manifest = library::manifest_of(&args.recording, &args.identity.load()?)?;
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", json(&manifest)?)?;
    } else {
        write!(out, "{}", for_people(&manifest))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn for_people(manifest: &Manifest) -> String {
    let call = &manifest.call;
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        // Writing to a String does not fail.
        let _ = writeln!(text, "{name:<12}{}", clean(value));
    };
    line("Recording", &manifest.id);
    line("State", manifest.state.as_str());
    line("From", &call.from);
    line("To", &call.to);
    line("Start", &manifest.start.to_string());
    line("Answered", &manifest.answered.map_or_else(|| "never".into(), |at| at.to_string()));
    line("End", &format!("{} ({:.2} s)", manifest.end, manifest.duration_s));
    if let Some(status) = call.status {
        line("Status", &status.to_string());
    }
    for id in &call.call_ids {
        line("Call-ID", id);
    }
    for file in &manifest.files {
        line("File", &format!("{} ({} bytes, {})", file.name, file.bytes, file.format));
    }
    for note in &manifest.notes {
        line("Note", note);
    }
    text.push_str(&streams(&manifest.streams));
    text.push_str(&gaps(manifest));
    text.push_str(&ladder(manifest));
    text
}

fn streams(streams: &[StreamFacts]) -> String {
    if streams.is_empty() {
        return String::new();
    }
    let head = ["PARTY", "CODEC", "FROM", "TO", "PACKETS", "LOST", "LATE", "JITTER", "MOS", "LOSS MAP"];
    let mut rows = vec![head.map(String::from).to_vec()];
    for stream in streams {
        rows.push(vec![
            party(stream.party).into(),
            clean(&stream.codec),
            stream.src.clone(),
            stream.dst.clone(),
            stream.packets.to_string(),
            stream.lost.to_string(),
            stream.late.to_string(),
            format!("{:.1} ms", stream.jitter_ms),
            format!("{:.1}", stream.mos),
            loss_map(stream),
        ]);
    }
    format!("\nStreams\n{}", columns(&rows))
}

/// The stream in 30 parts: how much of each was lost.
fn loss_map(stream: &StreamFacts) -> String {
    const PARTS: u64 = 30;
    let expected = stream.packets + stream.lost;
    if stream.lost == 0 || expected < PARTS {
        return "-".into();
    }
    let mut lost = [0_u64; PARTS as usize];
    for (first, length) in &stream.loss_map {
        for sequence in *first..(*first + u64::from(*length)).min(expected) {
            lost[(sequence * PARTS / expected) as usize] += 1;
        }
    }
    let shade = |lost: &u64| match lost * PARTS * 100 / expected {
        0 if *lost == 0 => '·',
        0..=2 => '░',
        3..=9 => '▒',
        10..=49 => '▓',
        _ => '█',
    };
    lost.iter().map(shade).collect()
}

fn gaps(manifest: &Manifest) -> String {
    if manifest.gaps.is_empty() {
        return String::new();
    }
    let mut rows = vec![["AT", "LENGTH", "PARTY", "WHY"].map(String::from).to_vec()];
    for gap in manifest.gaps.iter().take(GAPS_SHOWN) {
        let why = serde_json::to_value(gap.reason).ok();
        rows.push(vec![
            format!("{:.2} s", gap.at_s),
            format!("{:.2} s", gap.length_s),
            party(gap.party).into(),
            why.as_ref().and_then(serde_json::Value::as_str).unwrap_or_default().into(),
        ]);
    }
    let more = manifest.gaps.len().saturating_sub(GAPS_SHOWN);
    let more = if more > 0 { format!("… and {more} more (--json has them all)\n") } else { String::new() };
    format!("\nGaps\n{}{more}", columns(&rows))
}

fn ladder(manifest: &Manifest) -> String {
    if manifest.ladder.is_empty() {
        return String::new();
    }
    let mut rows = vec![["AFTER", "FROM", "", "TO", "MESSAGE", "CSEQ", ""].map(String::from).to_vec()];
    for entry in &manifest.ladder {
        rows.push(vec![
            format!("{:.3} s", entry.at.nanos_after(manifest.start) as f64 / 1e9),
            entry.src.clone(),
            "→".into(),
            entry.dst.clone(),
            clean(&entry.message),
            clean(&entry.cseq),
            if entry.sdp { "SDP".into() } else { String::new() },
        ]);
    }
    format!("\nSignalling\n{}", columns(&rows))
}

fn party(party: Party) -> &'static str {
    match party {
        Party::Caller => "caller",
        Party::Callee => "callee",
        Party::Unknown => "unknown",
    }
}

const GAPS_SHOWN: usize = 30;
