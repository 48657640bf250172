//! `sejf rules`: which rule a call takes, and why.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;

use crate::cli::text::{self, clean, columns};
use crate::recording::policy;
use crate::recording::rules::{Decision, Rule, Step, Taken};
use crate::shell::config::{Config, DEFAULT_GROUP, DEFAULT_PATH};
use crate::shell::openings::{self, CallOpening};
use crate::shell::source::Captures;
use crate::wire::sip::Message;

/// Tries rules.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Test(TestArgs),
}

/// Says which rule each call of a capture takes, and why. Records nothing, and needs no key.
///
/// Exit code: 0 all read, 1 a capture is damaged, 2 failed.
#[derive(Debug, clap::Args)]
struct TestArgs {
    /// The configuration.
    #[arg(long, short, value_name = "FILE", default_value = DEFAULT_PATH)]
    config: PathBuf,
    /// Capture files, `-` for standard input.
    #[arg(long, required = true, num_args = 1.., value_name = "CAPTURE")]
    pcap: Vec<PathBuf>,
    /// Print an object a call.
    #[arg(long)]
    json: bool,
    /// Also say what kept each earlier rule from matching.
    #[arg(long)]
    explain: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.command {
        Command::Test(args) => test(args),
    }
}

fn test(args: &TestArgs) -> anyhow::Result<ExitCode> {
    let (config, _) = Config::load(&args.config)?;
    let mut captures = Captures::open(&args.pcap)?;
    let mut out = std::io::stdout().lock();
    let mut written = Ok(());
    let mut rows = vec![HEAD.map(String::from).to_vec()];
    openings::read(&mut captures, config.rules.wants_orphans(), |call| {
        if written.is_err() {
            return;
        }
        let message = Message::parse(&call.first.message).ok();
        let opening = policy::opening(call.at, call.orphan, &call.first, message.as_ref());
        let decision = config.rules.decide(&opening);
        let steps = if args.explain { config.rules.explain(&opening) } else { Vec::new() };
        if args.json {
            let value = as_json(&call, message.as_ref(), &decision, &steps, args.explain);
            let line = text::json(&value).map_err(std::io::Error::other);
            written = line.and_then(|line| writeln!(out, "{line}"));
        } else {
            rows.push(as_row(&call, message.as_ref(), &decision));
            rows.extend(steps.iter().filter(|step| !step.matched).map(as_reason));
        }
    });
    written?;
    if !args.json {
        write!(out, "{}", table(&rows))?;
    }
    for damage in captures.damages() {
        #[expect(clippy::print_stderr, reason = "a warning, beside the result")]
        {
            eprintln!("sejf: {}", clean(&damage.to_string()));
        }
    }
    Ok(ExitCode::from(u8::from(!captures.damages().is_empty())))
}

/// Rows of one cell are reasons: they run on below their call, and widen no column.
fn table(rows: &[Vec<String>]) -> String {
    let calls: Vec<Vec<String>> = rows.iter().filter(|row| row.len() > 1).cloned().collect();
    let laid = columns(&calls);
    let mut lines = laid.lines();
    let mut text = String::new();
    for row in rows {
        match row.as_slice() {
            [reason] => text.push_str(reason),
            _ => text.push_str(lines.next().unwrap_or_default()),
        }
        text.push('\n');
    }
    text
}

fn as_row(call: &CallOpening, message: Option<&Message<'_>>, decision: &Decision<'_>) -> Vec<String> {
    vec![
        call.frame.to_string(),
        call.first.src.to_string(),
        call.first.dst.to_string(),
        line(&uri(message.and_then(|message| message.from()).map(|from| from.uri))),
        line(&uri(message.and_then(|message| message.to()).map(|to| to.uri))),
        decision.trunk.map_or_else(|| "-".into(), |trunk| trunk.name.clone()),
        decision.rule.name().into(),
        decision.action.as_str().into(),
        match decision.taken {
            Taken::Rule(_) => clean(&decision.rule.expression()),
            Taken::Default => "no rule matches".into(),
            Taken::Undecided => format!("it cannot be told whether {} matches", doubtful(decision)),
        },
    ]
}

fn as_reason(step: &Step) -> Vec<String> {
    let unmet = step.unmet.iter().map(|unmet| format!("{} (it is {})", unmet.condition, unmet.found));
    let unmet = unmet.collect::<Vec<_>>().join("; ");
    vec![line(&match &step.doubt {
        None => format!("    not {}: {unmet}", step.rule),
        Some(doubt) => format!("    perhaps {}: {unmet}: {doubt}", step.rule),
    })]
}

fn doubtful<'a>(decision: &Decision<'a>) -> &'a str {
    decision.doubt.map_or("a rule", Rule::name)
}

fn as_json(
    call: &CallOpening,
    message: Option<&Message<'_>>,
    decision: &Decision<'_>,
    steps: &[Step],
    explain: bool,
) -> serde_json::Value {
    let settings = decision.settings();
    let fallback = [DEFAULT_GROUP.to_owned()];
    let recipients = if settings.recipients.is_empty() { &fallback } else { settings.recipients };
    let mut value = json!({
        "frame": call.frame,
        "at": call.at,
        "src": call.first.src.to_string(),
        "dst": call.first.dst.to_string(),
        "orphan": call.orphan,
        "transport": policy::transport(call.first.transport),
        "vlans": call.first.vlans,
        "call_id": message.and_then(Message::call_id).map(String::from_utf8_lossy),
        "from": uri(message.and_then(|message| message.from()).map(|from| from.uri)),
        "to": uri(message.and_then(|message| message.to()).map(|to| to.uri)),
        "trunk": decision.trunk.map(|trunk| &trunk.name),
        "rule": decision.rule.name(),
        "action": decision.action,
        "format": settings.format,
        "retention": settings.retention,
        "recipients": recipients,
        "priority": settings.priority,
        "mask_digits": settings.mask_digits,
        "why": matches!(decision.taken, Taken::Rule(_)).then(|| decision.rule.expression()),
        "doubt": decision.doubt.map(Rule::name),
    });
    if explain {
        value["steps"] = json!(steps);
    }
    value
}

/// Safe for a terminal and on one line: a stranger's value may be folded.
fn line(text: &str) -> String {
    clean(text).replace('\n', " ")
}

fn uri(uri: Option<&[u8]>) -> String {
    uri.map_or_else(|| "-".into(), |uri| String::from_utf8_lossy(uri).into_owned())
}

const HEAD: [&str; 9] =
    ["FRAME", "FROM ADDRESS", "TO ADDRESS", "FROM", "TO", "TRUNK", "RULE", "ACTION", "WHY"];
