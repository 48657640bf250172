//! `sejf vault status`: how the vault's keys are, and what it does by itself.

use std::io::Write;
use std::process::ExitCode;

use crate::archive::duties::Standing;
use crate::archive::review::{Finding, Review, State};
use crate::cli::text::{clean, clean_line, json};
use crate::cli::vault::{HomeArg, duties};
use crate::shell::clock;
use crate::shell::vault::audit;
use crate::shell::vault::drills::DRILL_DAYS;
use crate::shell::vault::duties::standing;
use crate::shell::vault::review;

/// Tells how the vault's keys are, and what it did by itself and when. Takes no key.
///
/// Exit code: 0 all well, 1 something is to be done (lines with `!` say what).
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    home: HomeArg,
    /// Print it as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let vault = args.home.open()?;
    let scheme = vault.keys.scheme()?;
    let drills = vault.drills(&scheme, clock::now())?;
    let epochs = vault.keys.epochs()?;
    let destroyed = epochs.iter().filter(|state| state.recipient.is_none()).count();
    let absent = vault.keys.absent();
    let standing = standing(&vault, scheme.made);
    let audit = audit::standing(&vault);
    let last = review::last(&vault.home).filter(|made| made.vault == vault.key.to_string());
    let failing: Vec<&Finding> =
        last.iter().flat_map(|made| &made.findings).filter(|found| found.state == State::Fails).collect();
    let is_well = absent.is_empty()
        && failing.is_empty()
        && !audit.iter().any(|one| one.wrong)
        && drills.iter().all(|shown| !shown.is_overdue)
        && !standing.iter().any(Standing::is_wrong);
    let mut out = std::io::stdout().lock();
    if args.json {
        let custodians = drills.iter().map(|shown| {
            serde_json::json!({
                "name": shown.custodian, "shown": shown.at, "overdue": shown.is_overdue,
            })
        });
        let status = serde_json::json!({
            "name": vault.config.vault.name,
            "log_key": vault.key.to_string(),
            "root": { "generation": scheme.generation, "recipient": scheme.root, "made": scheme.made },
            "threshold": scheme.threshold,
            "custodians": custodians.collect::<Vec<_>>(),
            "key_places_absent": absent,
            "epochs": epochs.len() - destroyed,
            "epochs_destroyed": destroyed,
            "duties": standing,
            "audit": audit,
            "review": last.as_ref().map(|made| serde_json::json!({ "at": made.at, "fails": failing })),
            "well": is_well,
        });
        writeln!(out, "{}", json(&status)?)?;
    } else {
        let mut text = format!(
            "Vault      {}\nLog key    {}\nRoot key   {}, made {}\nCustody    {} of {}\nEpochs     {}, {} destroyed\n",
            vault.config.vault.name,
            vault.key,
            scheme.generation,
            scheme.made,
            scheme.threshold,
            scheme.holders.len(),
            epochs.len() - destroyed,
            destroyed,
        );
        for shown in &drills {
            let at = shown.at.map_or("not yet".into(), |at| at.to_string());
            let mark = if shown.is_overdue { "  ! overdue: `sejf vault keys drill`" } else { "" };
            text.push_str(&format!("Custodian  {}: share opened {at}{mark}\n", shown.custodian));
        }
        for place in absent {
            text.push_str(&format!(
                "! key place `{}` is not there: no key can be changed\n",
                place.display()
            ));
        }
        audit.iter().for_each(|one| text.push_str(&audit_line(one)));
        text.push_str(&duties::text(&standing));
        text.push_str(&reviewed(last.as_ref(), &failing));
        text.push_str(&format!("A custodian shows every {DRILL_DAYS} days that their share opens.\n"));
        write!(out, "{}", clean(&text))?;
    }
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// How a receiver of the log or a witness stands.
fn audit_line(one: &audit::Standing) -> String {
    let (kind, verb) = if one.kind == "witness" { ("Witness  ", "cosigned") } else { ("Forward  ", "taken") };
    let mark = if one.wrong { "! " } else { "" };
    let at = one.reached.at.map_or(String::new(), |at| format!(", last at {at}"));
    let fault = one.reached.fault.as_ref().map_or(String::new(), |fault| {
        format!("; since {}: {}", fault.since, fault.words.replace(['\r', '\n'], " "))
    });
    let (name, size, reached, behind) = (&one.name, one.entries, one.reached.size, one.behind);
    format!("{kind}  {mark}{name}: {reached} of {size} entries {verb}{at}, {behind} behind{fault}\n")
}

/// What the last review has found to fail.
fn reviewed(last: Option<&Review>, failing: &[&Finding]) -> String {
    let Some(made) = last else { return "Review     not yet: `sejf review`\n".into() };
    let mut text = format!("Review     {}, {} checks fail\n", made.at, failing.len());
    for found in failing {
        let said = format!("  ! {} {}: {}", found.id, found.subject, found.evidence.en);
        text.push_str(&format!("{}\n", clean_line(&said)));
    }
    text
}
