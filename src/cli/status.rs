//! `sejf status`: how a running recorder does.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::cli::text::{bits_per_s, bytes, clean, grouped, json, span};
use crate::shell::control_client::{Client, DEFAULT_SOCKET};
use crate::shell::status::snapshot::{Canary, Snapshot, Store};

/// Where a running recorder is asked.
#[derive(Debug, clap::Args)]
pub(super) struct SocketArg {
    /// Control socket of the recorder.
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    pub(super) socket: PathBuf,
}

/// Tells how a running recorder does.
///
/// Exit code: 0 all well, 1 something is wrong (the first lines say what), 2 it cannot be asked.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    socket: SocketArg,
    /// Print all of it as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let status = Client::connect(&args.socket.socket)?.status()?;
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", json(&status)?)?;
    } else {
        write!(out, "{}", clean(&for_people(&status)))?;
    }
    Ok(if status.health.ok { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn for_people(status: &Snapshot) -> String {
    let mut text = String::new();
    let said = if status.health.ok { "OK" } else { "DEGRADED" };
    // Writing to a String does not fail.
    let _ = writeln!(text, "{said}: {} with sejf {}", status.recorder, status.version);
    for reason in &status.health.reasons {
        let _ = writeln!(text, "  ! {reason}");
    }
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "{name:<12}{value}");
    };
    line("Up", &format!("{}, since {}", span(status.uptime_s), status.started));
    let config = &status.config;
    let reloads = format!("{} reloads, {} refused", config.reloads, config.reloads_refused);
    line("Config", &format!("{} ({reloads})", or_dash(&config.version)));
    let packets = &status.packets;
    let (captured, recorded) = (grouped(packets.captured), grouped(packets.recorded));
    line("Packets", &format!("{captured} captured, {recorded} recorded"));
    let discarded = packets.discarded.iter();
    let discarded = discarded.map(|(reason, count)| format!("{} {}", grouped(*count), reason.as_str()));
    line("Discarded", or_dash(&discarded.collect::<Vec<_>>().join(", ")));
    let rates = &status.rates;
    let packets_per_s = grouped(rates.packets_per_s as u64);
    line("Rate", &format!("{packets_per_s} packets/s, {}", bits_per_s(rates.bits_per_s)));
    for interface in &status.interfaces {
        let state = if interface.up { "up" } else { "DOWN" };
        let (kernel, queue) = (grouped(interface.kernel_drops), grouped(interface.queue_drops));
        let captured = grouped(interface.captured);
        line(
            "Interface",
            &format!(
                "{} {state}, {captured} packets, dropped: kernel {kernel}, queue {queue}",
                interface.name
            ),
        );
    }
    let finished = status.calls.finished.iter();
    let finished = finished.map(|f| format!("{} {} on {}", grouped(f.calls), f.state, f.trunk));
    let finished: Vec<_> =
        std::iter::once(format!("{} live", grouped(status.calls.live))).chain(finished).collect();
    line("Calls", &finished.join(", "));
    let queues = status.queues.iter().map(|queue| format!("{} {}/{}", queue.name, queue.used, queue.size));
    line("Queues", or_dash(&queues.collect::<Vec<_>>().join(", ")));
    if let Some(journal) = &status.journal {
        let (lag, sync) = (journal.lag_ms, journal.sync.last_s * 1_000.0);
        let state = if journal.degraded { "DEGRADED, " } else { "" };
        line("Journal", &format!("{state}lag {lag:.0} ms, sync {sync:.1} ms, {} segments", journal.segments));
    }
    line("Store", &store(&status.store));
    line(
        "Shedding",
        &if status.shedding == 0 { "nothing".into() } else { format!("level {}", status.shedding) },
    );
    line("Canary", &canary(&status.canary, status));
    line("Memory", &status.memory_bytes.map_or_else(|| "-".into(), bytes));
    text
}

/// Disk and commits in a line.
fn store(store: &Store) -> String {
    let mut parts =
        vec![format!("{} commits, last {:.0} ms", grouped(store.commits), store.commit.last_s * 1_000.0)];
    if store.failing {
        parts.insert(0, "DISK FAILS".into());
    }
    if store.backlog_bytes > 0 {
        parts.push(format!("{} waiting", bytes(store.backlog_bytes)));
    }
    parts.extend(disk(store));
    parts.join(", ")
}

/// Free space, and until when.
fn disk(store: &Store) -> Option<String> {
    let free = bytes(store.disk_free_bytes?);
    Some(match store.full_in_s {
        Some(seconds) => format!("{free} free, full in {}", span(seconds)),
        None => format!("{free} free"),
    })
}

/// The canary in a few words.
pub(super) fn canary(canary: &Canary, status: &Snapshot) -> String {
    let ago = |at| format!("{} ago", span(status.now.since(at).as_secs_f64()));
    match (canary.enabled, &canary.fault, canary.last_success) {
        (false, ..) => "off".into(),
        (true, Some(fault), _) => format!("FAILS: {fault}"),
        (true, None, Some(at)) => ago(at),
        (true, None, None) => "not yet".into(),
    }
}

fn or_dash(text: &str) -> &str {
    if text.is_empty() { "-" } else { text }
}
