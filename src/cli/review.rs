//! `sejf review`: whether an archive is as it should be.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;

use crate::archive::report::Language;
use crate::archive::review::report;
use crate::archive::review::{Finding, Review, State};
use crate::cli::text::{clean, clean_line, json_in_lines};
use crate::cli::vault::wait;
use crate::seal::note::VerifyKey;
use crate::shell::vault::home::Vault;
use crate::shell::vault::review;

/// Holds an archive against what it should be: users, keys, copies, places, certificates, recorders, its log. Each check
/// says what was found, from where that is known, and what to type. Takes no key. What cannot be known is told as that.
///
/// Exit code: 0 nothing fails, 1 something does, 2 could not look.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Home of the vault: the folder with `vault.toml`.
    #[arg(value_name = "HOME", required_unless_present = "verify")]
    home: Option<PathBuf>,
    /// Print it as JSON, in both languages.
    #[arg(long)]
    json: bool,
    /// Also write a signed report, to be read and printed; its SHA-256 is in the vault's log.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Language that comes first in the report.
    #[arg(long, value_name = "LANGUAGE", value_parser = language, default_value = "en")]
    language: Language,
    /// Check that a vault has signed this report, and that nobody has changed it since.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["home", "json", "report"], requires = "vault")]
    verify: Option<PathBuf>,
    /// The vault's public key: `signer.pub` in its home, as it was told to you by another way.
    #[arg(long, value_name = "KEY")]
    vault: Option<VerifyKey>,
}

fn language(text: &str) -> Result<Language, String> {
    match text {
        "en" => Ok(Language::English),
        "pl" => Ok(Language::Polish),
        _ => Err("there are en and pl".into()),
    }
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if let (Some(file), Some(key)) = (&args.verify, &args.vault) {
        return verify(file, key);
    }
    let home = args.home.as_ref().context("name the vault's home")?;
    let vault = Vault::open(home)?;
    let actor = vault.actor(&[]);
    let (made, grant) = wait(async {
        let catalog = vault.catalog().await.ok();
        let made = review::ask(&vault, catalog.as_ref(), &actor).await;
        if let Some(catalog) = &catalog {
            catalog.close().await;
        }
        made
    })??;
    if let Some(path) = &args.report {
        review::write_report(path, &review::signed_report(&vault, &made, args.language, &grant)?)?;
    }
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", json_in_lines(&made)?)?;
    } else {
        write!(out, "{}", clean(&text(&made)))?;
        if let Some(path) = &args.report {
            writeln!(out, "Report     {}", path.display())?;
        }
    }
    Ok(if made.is_well() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn verify(file: &PathBuf, key: &VerifyKey) -> anyhow::Result<ExitCode> {
    let text =
        std::fs::read_to_string(file).with_context(|| format!("reading the report `{}`", file.display()))?;
    let mut out = std::io::stdout().lock();
    match report::verify(&text, key) {
        Ok(signed) => {
            writeln!(
                out,
                "signed by {key}: as it was made at {}, and entry {} of its log says so",
                signed.at, signed.entry
            )?;
            Ok(ExitCode::SUCCESS)
        }
        Err(fault) => {
            writeln!(out, "`{}`: {fault}", file.display())?;
            Ok(ExitCode::from(1))
        }
    }
}

fn text(made: &Review) -> String {
    let mut text = String::new();
    for finding in &made.findings {
        text.push_str(&lines(finding));
    }
    let [fails, attention, unknown, well] = State::ALL.map(|state| made.count(state));
    text.push_str(&format!(
        "\n{fails} fail, {attention} need attention, {unknown} cannot be known, {well} are as they should be\n"
    ));
    text
}

/// One line of what was found; of what is not as it should be, two more.
fn lines(finding: &Finding) -> String {
    let mark = match finding.state {
        State::Fails => "! FAILS",
        State::Attention => "! LOOK",
        State::Unknown => "? UNKNOWN",
        State::Ok => "  ok",
    };
    let subject = if finding.subject.is_empty() { String::new() } else { format!(" {}", finding.subject) };
    let said = format!("{mark:<10} {}{subject}: {}", finding.id, finding.evidence.en);
    let mut text = format!("{}\n", clean_line(&said));
    if finding.state != State::Ok {
        let at = finding
            .at
            .map_or(String::new(), |at| format!(", {}", at.to_string().get(..19).unwrap_or_default()));
        text.push_str(&format!("           from: {}{at}\n", clean_line(&finding.source.en)));
        if !finding.remedy.en.is_empty() {
            text.push_str(&format!("           do:   {}\n", clean_line(&finding.remedy.en)));
        }
    }
    text
}
