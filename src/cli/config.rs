//! `sejf config`: what a configuration says, and what is odd about it.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::json;

use crate::base::policy::Condition;
use crate::cli::text::{self, clean, columns};
use crate::recording::rules::{self, Action, Rule};
use crate::shell::config::{Config, DEFAULT_PATH, Oddity, SAMPLE, shorten};

/// Looks at a recorder's configuration.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Check(CheckArgs),
    Policies(PoliciesArgs),
    Show(ShowArgs),
}

/// Says what is understood of a configuration, and what is odd about it.
///
/// Exit code: 0 all is well, 1 something is odd, 2 it is wrong: a recorder would not start with it.
#[derive(Debug, clap::Args)]
struct CheckArgs {
    /// The configuration.
    #[arg(long, short, value_name = "FILE", default_value = DEFAULT_PATH)]
    config: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Prints what is done when something has no room, makes no sense or fails: each condition has one action,
/// one counter, and one way to bring it about.
#[derive(Debug, clap::Args)]
struct PoliciesArgs {
    /// Print one JSON object a line.
    #[arg(long)]
    json: bool,
}

/// Prints a configuration with all keys.
#[derive(Debug, clap::Args)]
struct ShowArgs {
    /// The sample: every key with its default and what it is for.
    #[arg(long, required_unless_present = "config", conflicts_with = "config")]
    defaults: bool,
    /// This one, with the defaults of what it does not say.
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.command {
        Command::Check(args) => check(args),
        Command::Policies(args) => policies(args),
        Command::Show(args) => show(args),
    }
}

fn check(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    let (config, oddities) = match Config::load(&args.config) {
        Ok(loaded) => loaded,
        Err(error) if args.json => {
            let wrong = json!({
                "config": args.config, "ok": false, "line": error.line, "key": error.key,
                "error": error.to_string(),
            });
            writeln!(std::io::stdout(), "{}", text::json(&wrong)?)?;
            return Ok(ExitCode::from(2));
        }
        Err(error) => return Err(error.into()),
    };
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", text::json(&as_json(&config, &oddities))?)?;
    } else {
        write!(out, "{}", clean(&as_text(&config, &oddities)))?;
    }
    Ok(ExitCode::from(u8::from(!oddities.is_empty())))
}

fn policies(args: &PoliciesArgs) -> anyhow::Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    let counter =
        |condition: Condition| format!("sejf_conditions_total{{condition=\"{}\"}}", condition.as_str());
    let mut rows = vec![row(&["CONDITION", "ACTION", "COUNTER", "HOW TO FORCE"])];
    for condition in Condition::ALL {
        let (name, action, forced_by) = (condition.as_str(), condition.action(), condition.forced_by());
        if args.json {
            let line = json!({
                "condition": name, "action": action, "counter": counter(condition), "forced_by": forced_by,
            });
            writeln!(out, "{}", text::json(&line)?)?;
        }
        rows.push(row(&[name, action, &counter(condition), forced_by]));
    }
    if !args.json {
        write!(out, "{}", columns(&rows))?;
        writeln!(out, "\n--force is an option of `sejf record`, for tests and drills: it costs recordings.")?;
    }
    Ok(ExitCode::SUCCESS)
}

fn show(args: &ShowArgs) -> anyhow::Result<ExitCode> {
    let text = match &args.config {
        Some(path) => shown(path)?,
        None => SAMPLE.into(),
    };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// As JSON, because TOML has no word for what is not set.
fn shown(path: &Path) -> anyhow::Result<String> {
    let (config, _) = Config::load(path)?;
    Ok(text::json_in_lines(&config.sections)? + "\n")
}

fn as_json(config: &Config, oddities: &[Oddity]) -> serde_json::Value {
    let odd = oddities.iter().map(|oddity| {
        let mut value = serde_json::to_value(oddity).unwrap_or_default();
        value["text"] = oddity.to_string().into();
        value
    });
    let expressions =
        config.rules.rules().iter().map(|rule| (rule.name().to_owned(), rule.expression().into()));
    json!({
        "config": config.path,
        "ok": true,
        "rules_version": config.rules.version(),
        "expressions": expressions.collect::<serde_json::Map<_, _>>(),
        "sections": config.sections,
        "odd": odd.collect::<Vec<_>>(),
    })
}

fn as_text(config: &Config, oddities: &[Oddity]) -> String {
    let sections = &config.sections;
    let mut text = format!(
        "Configuration {}, rules {}.\nRecordings go to {}, receipts' key in {}, journal in {} ({} × {}, every {}).\n",
        config.path.display(),
        config.rules.version(),
        sections.recorder.to.display(),
        sections.recorder.state.display(),
        sections.journal.directory.display(),
        sections.journal.segments,
        sections.journal.segment,
        sections.journal.hand_over,
    );
    let canary =
        if sections.canary.enabled { format!("every {}", sections.canary.every) } else { "off".into() };
    text.push_str(&format!(
        "Metrics on {}, control at {}, log at {}, canary {canary}.\n",
        sections.metrics.listen,
        sections.control.socket.display(),
        sections.log.level.as_str(),
    ));
    for table in [captures(config), recipients(config), trunks(config), rule_table(config)] {
        if table.len() > 1 {
            text.push('\n');
            text.push_str(&columns(&table));
        }
    }
    text.push_str("\nCalls that no rule matches are not recorded.\n");
    for oddity in oddities {
        text.push_str(&format!("ODD: {oddity}\n"));
    }
    text
}

fn row(cells: &[&str]) -> Vec<String> {
    cells.iter().map(|cell| (*cell).into()).collect()
}

fn captures(config: &Config) -> Vec<Vec<String>> {
    let mut rows = vec![row(&["CAPTURE", "THREADS", "RING", "SNAPLEN", "PROMISCUOUS", "FILTER"])];
    for capture in &config.sections.capture {
        rows.push(vec![
            capture.interface.clone(),
            capture.threads.to_string(),
            capture.ring.to_string(),
            capture.snaplen.to_string(),
            if capture.promiscuous { "yes" } else { "no" }.into(),
            capture.filter.clone().unwrap_or_else(|| "-".into()),
        ]);
    }
    rows
}

fn recipients(config: &Config) -> Vec<Vec<String>> {
    let mut rows = vec![row(&["RECIPIENTS", "WHO"])];
    for (group, members) in &config.sections.recipients {
        let members: Vec<String> = members.iter().map(|member| shorten(member)).collect();
        rows.push(vec![group.clone(), members.join(", ")]);
    }
    rows
}

fn trunks(config: &Config) -> Vec<Vec<String>> {
    let mut rows = vec![row(&["TRUNK", "PRIORITY", "DIGITS", "PAUSE", "ADDRESSES"])];
    for trunk in config.rules.trunks() {
        let addresses: Vec<String> = trunk.addresses.iter().map(ToString::to_string).collect();
        rows.push(vec![
            trunk.name.clone(),
            trunk.priority.unwrap_or(rules::PRIORITY).to_string(),
            if trunk.mask_digits == Some(true) { "masked" } else { "kept" }.into(),
            if trunk.pause.is_some() { "yes" } else { "no" }.into(),
            addresses.join(", "),
        ]);
    }
    rows
}

fn rule_table(config: &Config) -> Vec<Vec<String>> {
    let mut rows = vec![row(&["#", "RULE", "TRUNK", "ACTION", "FORMAT", "RETENTION", "RECIPIENTS", "MATCH"])];
    for (index, rule) in config.rules.rules().iter().enumerate() {
        let mut cells = vec![(index + 1).to_string(), rule.name().into()];
        cells.push(rule.spec().trunk.clone().unwrap_or_else(|| "any".into()));
        cells.push(rule.spec().action.as_str().into());
        cells.extend(kept(config, rule));
        cells.push(rule.expression());
        rows.push(cells);
    }
    rows
}

/// Form, retention and recipients of what a rule keeps. What a rule for all trunks leaves to them is said so.
fn kept(config: &Config, rule: &Rule) -> [String; 3] {
    if rule.spec().action == Action::Exclude {
        return ["-".into(), "-".into(), "-".into()];
    }
    let name = rule.spec().trunk.as_deref();
    let trunk = config.rules.trunks().iter().find(|trunk| Some(trunk.name.as_str()) == name);
    let settings = rules::settings(rule, trunk);
    let recipients: Vec<String> = settings.recipients.iter().map(|name| shorten(name)).collect();
    let recipients = if recipients.is_empty() { "default".into() } else { recipients.join(", ") };
    let format = match (rule.spec().action, settings.format) {
        (Action::Metadata, _) => "-",
        (_, rules::Format::Opus) => "opus",
        (_, rules::Format::Pcap) => "pcap",
        (_, rules::Format::Wav) => "wav",
    };
    [format.into(), settings.retention.into(), recipients]
}
