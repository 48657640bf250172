//! `sejf record`: a wire to sealed recordings.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::base::policy::Condition;
use crate::cli::text;
use crate::recording::manifest::Manifest;
use crate::shell::config::DEFAULT_PATH;
use crate::shell::service;

/// Records the calls that the configuration names, until SIGTERM or SIGINT. SIGHUP reads the
/// configuration again; calls in progress keep what they began with.
///
/// Exit code: 0 stopped as told, 2 not started or failed, 3 stopped as told, but the disk did not answer in 75 s:
/// the log says what is left to be recovered.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Configuration; `sejf config check` says what it means.
    #[arg(long, short, value_name = "FILE", default_value = DEFAULT_PATH)]
    config: PathBuf,
    /// Print a line of JSON for each call that ends, and the books at the end. Manifests have numbers of
    /// the parties: this is for testers.
    #[arg(long)]
    json: bool,
    /// Bring a condition about on purpose, for tests and drills: recordings are lost or worse by it. `sejf
    /// config policies` lists them. May be given several times.
    #[arg(long, value_name = "CONDITION", value_parser = condition, hide = true)]
    force: Vec<Condition>,
}

fn condition(name: &str) -> Result<Condition, String> {
    Condition::from_name(name).filter(|condition| condition.is_forcible()).ok_or_else(|| {
        let names = Condition::ALL.into_iter().filter(|condition| condition.is_forcible());
        let names: Vec<_> = names.map(Condition::as_str).collect();
        format!("no such condition: choose of {}", names.join(", "))
    })
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let summary = service::run(&args.config, &args.force, |manifest| tell(manifest, args.json))?;
    #[expect(clippy::print_stdout, reason = "the result")]
    if args.json {
        println!("{}", text::json(&serde_json::json!({ "summary": summary }))?);
    }
    Ok(ExitCode::SUCCESS)
}

fn tell(manifest: &Manifest, json: bool) {
    tracing::info!(id = manifest.id, state = manifest.state.as_str(), rule = manifest.rule, "call ended");
    #[expect(clippy::print_stdout, reason = "asked for")]
    if json && let Ok(line) = text::json(manifest) {
        println!("{line}");
    }
}
