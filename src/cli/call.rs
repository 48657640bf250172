//! `sejf call`: the calls that go on, and pauses of their recordings.

use std::io::Write;
use std::process::ExitCode;

use crate::base::time::Stamp;
use crate::cli::status::SocketArg;
use crate::cli::text::{self, clean, clean_line, clock, columns};
use crate::shell::clock as clocks;
use crate::shell::control::Request;
use crate::shell::control_client::Client;
use crate::shell::status::snapshot::LiveCall;

/// Lists the calls that a running recorder records; pauses and resumes a recording.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Lists the calls that go on, the newest first.
    Ls {
        #[command(flatten)]
        socket: SocketArg,
        /// Show who speaks, where the configuration permits it.
        #[arg(long)]
        parties: bool,
        /// Print a call a line as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Leaves out a call's sound until it is resumed; the gap is in the manifest.
    Pause {
        #[command(flatten)]
        socket: SocketArg,
        /// Id of the recording, as `sejf call ls` shows it.
        #[arg(value_name = "ID")]
        id: String,
        /// Why: goes into the manifest.
        #[arg(long, value_name = "TEXT")]
        reason: String,
        /// Who wants it: goes into the manifest. Without it, the user id.
        #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
        actor: String,
    },
    /// Ends a pause.
    Resume {
        #[command(flatten)]
        socket: SocketArg,
        /// Id of the recording.
        #[arg(value_name = "ID")]
        id: String,
        /// Who wants it: goes into the manifest. Without it, the user id.
        #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
        actor: String,
    },
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.what {
        What::Ls { socket, parties, json } => {
            let calls = Client::connect(&socket.socket)?.calls(*parties)?;
            let mut out = std::io::stdout().lock();
            if *json {
                for call in &calls {
                    writeln!(out, "{}", text::json(call)?)?;
                }
            } else {
                write!(out, "{}", table(&calls, clocks::now()))?;
            }
            Ok(ExitCode::SUCCESS)
        }
        What::Pause { socket, id, reason, actor } => {
            let (id, reason, actor) = (id.clone(), reason.clone(), actor.clone());
            ask(socket, &Request::Pause { id, reason, actor })
        }
        What::Resume { socket, id, actor } => {
            ask(socket, &Request::Resume { id: id.clone(), actor: actor.clone() })
        }
    }
}

fn ask(socket: &SocketArg, request: &Request) -> anyhow::Result<ExitCode> {
    let answer = Client::connect(&socket.socket)?.ask(request)?;
    writeln!(std::io::stdout().lock(), "{}", clean(&answer.said.unwrap_or_default()))?;
    Ok(ExitCode::SUCCESS)
}

/// One call a row.
pub(super) fn table(calls: &[LiveCall], now: Stamp) -> String {
    let with_parties = calls.iter().any(|call| call.parties.is_some());
    let mut head = vec![
        "AGE", "STATE", "TRUNK", "RULE", "CODECS", "PACKETS", "LOSS", "JITTER", "KBIT/S", "FORMAT", "ID",
    ];
    if with_parties {
        head.splice(2..2, ["FROM", "TO"]);
    }
    let mut rows = vec![head.into_iter().map(String::from).collect::<Vec<_>>()];
    for call in calls {
        let mut row = vec![
            clock(now.since(call.since).as_secs_f64()),
            call.state.as_str().into(),
            clean_line(&call.trunk),
            clean_line(&call.rule),
            codecs(call),
            call.packets.to_string(),
            format!("{:.1} %", call.loss_percent),
            format!("{:.1} ms", call.jitter_ms),
            format!("{:.0}", call.kbit_s),
            clean_line(&call.format),
            clean_line(&call.id),
        ];
        if with_parties {
            let parties = call.parties.as_ref();
            let [from, to] = parties
                .map_or([String::new(), String::new()], |p| [clean_line(&p.caller), clean_line(&p.callee)]);
            row.splice(2..2, [from, to]);
        }
        rows.push(row);
    }
    columns(&rows)
}

/// `PCMU`, or `PCMU/G722` where the sides differ.
pub(super) fn codecs(call: &LiveCall) -> String {
    let [caller, callee] = call.codecs.each_ref().map(|codec| clean_line(codec));
    match (caller.is_empty(), callee.is_empty()) {
        (true, true) => "-".into(),
        (false, true) => caller,
        (true, false) => callee,
        (false, false) if caller == callee => caller,
        (false, false) => format!("{caller}/{callee}"),
    }
}
